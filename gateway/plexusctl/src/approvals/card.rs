//! A waiting request as the owner reads it: who asks, why, what will happen, and what a yes allows.
//!
//! Invariants, of this card and of the whole one ([`everything`]): only our own words begin at the left margin; what an
//! agent or a file says stands behind a label on the same line, or behind a bar, and holds no control, no change of
//! direction and no line break of its own. What this card leaves out is digests and other names for what it shows
//! already. A member that its type does not have is shown, because approving approves all of it.

pub(super) mod answers;
pub(super) mod everything;
pub(super) mod plan;

use crate::{diff, screen::lines::CHANGE, sheet};
use plexus_client::{Stop, span, text};
use plexus_owner::pending::{
    Ask, BriefCard, Card, Form, GrantCard, Heading, Item, Kind, MadePlan, OnApproval, Plan, Preview,
};
use plexus_protocol::{
    CapabilityId, PendingId, Timestamp, Verb,
    body::{Narration, Scope},
};
use serde::Serialize;
use serde_json::{Map, Value};
use std::fmt::Write as _;

/// How much of one text is shown.
struct Room<'i> {
    lines: usize,
    /// Of one line.
    characters: usize,
    /// Whose whole card shows the rest.
    item: Option<&'i PendingId>,
    /// Whether the text itself is a part of a longer one.
    is_part: bool,
}

/// All of it: a yes allows all of it.
const WHOLE: Room<'static> = Room {
    lines: usize::MAX,
    characters: usize::MAX,
    item: None,
    is_part: false,
};

impl<'i> Room<'i> {
    /// That of a card which is read at a glance.
    const fn short(item: &'i PendingId) -> Self {
        Self {
            lines: 200,
            characters: 2_000,
            item: Some(item),
            is_part: false,
        }
    }
}

/// What shows the rest of what is cut.
fn shows_all(item: &PendingId) -> String {
    format!("plexusctl approvals show --all {item}")
}

/// The card of `item`, as long as agents are paused or not.
pub(super) fn render(item: &Item, now: Timestamp, is_paused: bool) -> String {
    match &item.card {
        Card::Brief(card) => brief(&item.heading, card, now),
        Card::Grant(card) => grant(item, card, now, is_paused),
        Card::Change(_) | Card::Question(_) | Card::Register(_) => {
            let sheet = plexus_sheet::sheet_of(item);
            sheet.map_or_else(String::new, |sheet| sheet::card(&sheet, now))
        }
    }
}

/// The card of calls that an agent asks for.
fn grant(item: &Item, of: &GrantCard, now: Timestamp, is_paused: bool) -> String {
    let mut card = String::new();
    let all = named(item);
    consequence(&mut card, of);
    who(&mut card, &item.heading);
    for id in &all {
        wanted(&mut card, of, id);
    }
    purpose(&mut card, &item.heading);
    for id in &all {
        if let Some(ask) = of.asks.iter().find(|ask| ask.id == **id) {
            let mut below = String::new();
            happens(&mut below, ask, &item.heading.pending_id);
            if all.len() > 1 && !below.is_empty() {
                heading(&mut card, "about", &text::line(id.as_str()));
            }
            card.push_str(&below);
        }
    }
    answers::before(&mut card, of, now);
    answers::differs(&mut card, of, now);
    if !of.has_failed() {
        answers::offers(&mut card, of, is_paused);
    }
    object(&mut card, 0, &of.rest);
    if let Some(window) = of.requested_trust_window {
        heading(&mut card, "the agent would like it", window.phrase());
    }
    match of.has_failed() {
        true => {
            let again = format!("plexusctl approvals plan {}", item.heading.pending_id);
            heading(&mut card, "to compute it again", &again);
        }
        false => on_approval(&mut card, "if you approve", of.on_approval, is_paused),
    }
    request(&mut card, &item.heading, now);
    card
}

/// The preview of the only call that a card is about; before there is one its input, in short.
pub(super) fn about(item: &Item) -> Option<String> {
    let [ask] = item.card.asks() else { return None };
    let said = match (&ask.plan, ask.facts.first(), &ask.input) {
        (Plan::Made(plan), ..) => plan.preview.headline.clone(),
        (_, Some(fact), _) => format!("{}: {}", fact.name, fact.value),
        (_, None, Some(Value::Object(input))) => {
            plexus_sheet::input_in_short(input).paint(text::line)
        }
        _ => String::new(),
    };
    Some(said).filter(|said| !said.is_empty())
}

/// That an extension is to be added, or changed, in words; none of every other request.
pub(super) fn extension(item: &Item) -> Option<String> {
    let source = item.card.proposed_source()?;
    let act = match &item.card {
        // It does not say which.
        Card::Brief(_) => return Some(format!("an extension: {source}")),
        Card::Register(card) if card.changes.is_some() => "change",
        _ => "add",
    };
    Some(format!("{act} the extension {source}"))
}

/// An item whose card was not read.
fn brief(named: &Heading, of: &BriefCard, now: Timestamp) -> String {
    let mut card = String::new();
    who(&mut card, named);
    for id in &named.capabilities {
        heading(&mut card, "wants", &text::line(id.as_str()));
    }
    purpose(&mut card, named);
    if named.kind != Kind::Grant {
        heading(&mut card, "kind", named.kind.as_str());
    }
    object(&mut card, 0, &members_of(of));
    request(&mut card, named, now);
    card
}

/// The part of it that is hardest to take back: the first line.
fn consequence(card: &mut String, of: &GrantCard) {
    if let Some(line) = plexus_sheet::consequence(of) {
        heading(card, "does", &line.paint(text::line));
    }
}

fn who(card: &mut String, of: &Heading) {
    if let Some(agent) = &of.agent_id {
        heading(card, "agent", &text::line(agent.as_str()));
    }
}

fn purpose(card: &mut String, of: &Heading) {
    if let Some(purpose) = &of.agent_purpose {
        let said = format!("“{}”", text::words(purpose));
        heading(card, "purpose (the agent's words)", &said);
    }
}

/// Which item it is, since when and until when.
fn request(card: &mut String, of: &Heading, now: Timestamp) {
    let age = span::ago(of.created_at, now);
    let end = of.expires_at;
    let end = end.map_or(String::new(), |at| format!(", {}", span::end(at, now)));
    heading(card, "request", &format!("{}, {age}{end}", of.pending_id));
}

/// What a yes sets off.
fn on_approval(card: &mut String, label: &str, then: OnApproval, is_paused: bool) {
    let said = match then {
        OnApproval::Run if is_paused => {
            "the gateway makes the call when you resume: plexusctl resume"
        }
        OnApproval::Run => "the gateway makes the call now, whether or not the agent still waits",
        OnApproval::Wait => "the agent may call it; nothing happens until it does",
    };
    heading(card, label, said);
}

/// The verbs of a capability that is asked for and its rating, in brackets; empty where nothing says them.
fn rated(scope: Option<&Scope>, narration: Option<&Narration>) -> String {
    let verbs = scope.into_iter().flat_map(|scope| scope.verbs.iter());
    let rating = narration.map(|one| [one.provenance.as_str(), one.sensitivity.as_str()]);
    let words = verbs.map(Verb::as_str).chain(rating.into_iter().flatten());
    let words: Vec<_> = words.collect();
    match words.is_empty() {
        true => String::new(),
        false => format!(" ({})", words.join(", ")),
    }
}

/// What is asked for: one line, and one more where it is narrowed.
fn wanted(card: &mut String, of: &GrantCard, id: &CapabilityId) {
    let scope = of.scopes.iter().find(|scope| scope.id == *id);
    let ask = of.asks.iter().find(|ask| ask.id == *id);
    let narration = of.pending_narration.iter().find(|one| one.id == *id);
    let mut line = text::line(id.as_str()) + &rated(scope, narration);
    if let Some(label) = ask
        .and_then(|ask| ask.label.as_ref())
        .filter(|l| !l.is_empty())
    {
        line.push_str(&format!(": {}", text::line(label)));
    }
    heading(card, "wants", &line);
    if let Some(constraint) = scope.and_then(|scope| scope.constraint.as_ref()) {
        heading(card, "  only", &text::line(&constraint.in_words()));
    }
}

/// What would happen, and which answers there are.
fn happens(card: &mut String, ask: &Ask, item: &PendingId) {
    let has_diff = matches!(&ask.plan, Plan::Made(plan) if plan.preview.diff.is_some());
    match &ask.input {
        None | Some(Value::Null) => {}
        Some(Value::Object(input)) if has_diff => {
            // The change shows what the long values do.
            let input = plexus_sheet::input_in_short(input).paint(text::line);
            heading(card, "  input", &input);
        }
        Some(input) => member(card, 1, "input", input),
    }
    for fact in &ask.facts {
        let label = format!("  {}", text::short(&fact.name, 80));
        heading(card, &label, &text::line(&fact.value));
    }
    if let Some(plan) = plan::made(card, ask) {
        planned(card, ask, plan, item);
    }
    if let Some(permits) = plexus_sheet::permits(ask) {
        heading(card, "  permits", &permits.paint(text::line));
    }
    object(card, 1, &ask.rest);
}

/// What a preview shows beside its headline and its facts.
fn change_of(card: &mut String, preview: &Preview, room: &Room<'_>) {
    if let Some(diff) = &preview.diff {
        let bar = match preview.form {
            Form::Diff => CHANGE,
            Form::Text | Form::Fields => TEXT,
        };
        let is_part = preview.cut;
        block(card, "  ", bar, diff, &Room { is_part, ..*room });
    }
    if preview.cut {
        heading(card, "    note", "this is a part of the change only");
    }
    object(card, 2, &preview.rest);
}

fn planned(card: &mut String, ask: &Ask, plan: &MadePlan, item: &PendingId) {
    let preview = &plan.preview;
    let headline = &preview.headline;
    heading(card, "  plan", &text::line(headline));
    // The summary is the headline as the record will say it.
    if headline.is_empty() && !plan.summary.is_empty() {
        heading(card, "    summary", &text::line(&plan.summary));
    }
    for fact in plexus_sheet::telling_facts(preview) {
        let label = format!("    {}", text::short(&fact.name, 80));
        heading(card, &label, &text::line(&fact.value));
    }
    change_of(card, preview, &Room::short(item));
    object(card, 2, &plan.rest);
    for warning in plexus_sheet::warnings(ask, plan) {
        heading(card, "  WARNING", &warning.paint(text::line));
    }
}

/// One of our own lines.
fn heading(card: &mut String, label: &str, rest: &str) {
    // Writing to a String cannot fail, here and below.
    let _ = writeln!(card, "{label}: {rest}");
}

/// The members of a part of a card, as they are on the wire.
fn members_of(part: &impl Serialize) -> Map<String, Value> {
    match serde_json::to_value(part) {
        Ok(Value::Object(members)) => members,
        _ => Map::new(),
    }
}

/// Every capability that the item names anywhere, once.
fn named(item: &Item) -> Vec<&CapabilityId> {
    let scopes = item.card.grant().into_iter().flat_map(|card| &card.scopes);
    let described = item.card.asks().iter().map(|ask| &ask.id);
    let described = described.chain(scopes.map(|scope| &scope.id));
    let described = described.chain(item.card.narration().iter().map(|one| &one.id));
    let mut ids: Vec<&CapabilityId> = Vec::new();
    for id in item.heading.capabilities.iter().chain(described) {
        if !ids.contains(&id) {
            ids.push(id);
        }
    }
    ids
}

fn object(card: &mut String, depth: usize, members: &Map<String, Value>) {
    for (name, value) in members {
        member(card, depth, name, value);
    }
}

fn member(card: &mut String, depth: usize, name: &str, value: &Value) {
    let indent = "  ".repeat(depth);
    let name = text::short(name, 80);
    match value {
        Value::String(said) if said.contains('\n') || said.chars().count() > 200 => {
            let _ = writeln!(card, "{indent}{name}:");
            block(card, &indent, TEXT, said, &WHOLE);
        }
        Value::String(said) => {
            let _ = writeln!(card, "{indent}{name}: {}", text::line(said));
        }
        Value::Object(members) if !members.is_empty() => {
            let _ = writeln!(card, "{indent}{name}:");
            object(card, depth + 1, members);
        }
        Value::Array(items) if items.iter().any(|item| item.is_object() || item.is_array()) => {
            let _ = writeln!(card, "{indent}{name}:");
            for (number, item) in items.iter().enumerate() {
                member(card, depth + 1, &(number + 1).to_string(), item);
            }
        }
        other => {
            let _ = writeln!(card, "{indent}{name}: {}", text::line(&other.to_string()));
        }
    }
}

/// What stands before each line of a text.
const TEXT: char = '│';

/// A text of several lines, each behind a bar.
fn block(card: &mut String, indent: &str, bar: char, said: &str, room: &Room<'_>) {
    let shown_by = room
        .item
        .map_or_else(String::new, |item| format!(": {}", shows_all(item)));
    let mut lines = text::lines(said);
    for line in lines.by_ref().take(room.lines) {
        let cut: String = line.chars().take(room.characters).collect();
        let rest = line.chars().count() - cut.chars().count();
        let more = if rest > 0 {
            format!(" … {rest} more characters{shown_by}")
        } else {
            String::new()
        };
        let _ = writeln!(card, "{indent}  {bar} {cut}{more}");
    }
    let rest = lines.count();
    if rest > 0 {
        // Of a part nobody knows how many lines the whole has.
        let count = match room.is_part {
            true => String::new(),
            false => format!("{rest} "),
        };
        let _ = writeln!(card, "{indent}  … {count}more lines{shown_by}");
    }
    if !said.ends_with('\n') && said.contains('\n') {
        let _ = writeln!(card, "{indent}  (no line break at the end)");
    }
}

/// Writes a card to stdout; on a terminal, added and removed lines have their colours.
pub(super) fn print(card: &str) -> Result<(), Stop> {
    diff::print(card.lines(), |line| {
        let change = line.trim_start().strip_prefix(CHANGE)?.strip_prefix(' ')?;
        match change.chars().next()? {
            '+' => Some(diff::ADDED),
            '-' => Some(diff::REMOVED),
            _ => None,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::approvals::fixture::{ITEM, digest, grant as item, hidden, now, read};
    use serde_json::json;

    fn render(card: &Value, now: Timestamp) -> String {
        super::render(&read(card.clone()), now, false)
    }

    #[test]
    fn channel_of_a_read_is_named_beside_its_id() {
        let mut item = item();
        item["asks"][0]["plan"] = Value::Null;
        item["asks"][0]["input"] = json!({"channel": "01C"});
        item["asks"][0]["facts"] = json!([{"name": "channel", "value": "\"sums\u{1b}\" (01C)"}]);
        let shown = render(&item, now());
        let named = "\n  channel: \"sums\\u{1b}\" (01C)\n";
        assert!(shown.contains(named), "{shown}");
        let gist = about(&read(item));
        assert_eq!(gist.as_deref(), Some("channel: \"sums\u{1b}\" (01C)"));
    }

    #[test]
    fn paused_card_promises_no_call_before_you_resume() {
        let mut item = item();
        let words = "this call now, and every call for up to 1 hour";
        item["choices"] = json!([{"window": "1h", "words": words, "default": true}]);
        let item = read(item);
        let shown = super::render(&item, now(), true);
        let then = "if you approve: the gateway makes the call when you resume: plexusctl resume\n";
        assert!(shown.contains(then), "{shown}");
        let all = everything::render(&item, now(), true);
        for shown in [shown, all] {
            let then = "this call when you resume, and every";
            assert!(shown.contains(then), "{shown}");
            assert!(!shown.contains("call now"), "{shown}");
        }
    }

    #[test]
    fn what_a_person_reads() {
        let mut item = item();
        item["asks"][0]["plan"]["warnings"] = json!(["it is \u{1b} long"]);
        item["choices"] = json!([
            {"window": "once", "words": "this one call, exactly as shown", "default": true},
            {"window": "1h", "words": "every call for up to 1 hour, without asking; and every read for up to 1 hour", "default": false},
            {"window": "1d", "words": "every call for up to 1 day, without asking; and every read for up to 1 day", "default": false},
            {"window": "until-revoked", "words": "every call", "default": false, "refused": "your settings"}
        ]);
        assert_eq!(
            render(&item, now()).replace(ITEM, "pend_1"),
            "\
does: Changes something that its source does not name
agent: my-cc
wants: workspace.write (write, managed, elevated): Write a file
  only: path at or below A
purpose (the agent's words): “save the notes”
  input: path=a.md, content (2 lines)
  plan: replace a.md
    size: 8 bytes
    ┃ --- a.md
    ┃ +++ a.md
    ┃ -old
    ┃ +one
    ┃ +two
    (no line break at the end)
    note: this is a part of the change only
  WARNING: it is \\u{1b} long
differs: from the call that you approved 4 min ago, in
  /mode:
    ┃ -append
    ┃ +overwrite
  /content: 2 lines, 8 bytes (was 2 lines, 5 bytes)
  another path (was old.md)
  once: this one call, exactly as shown
  1h, 1d: every call for that long, without asking; and every read for that long
  not until-revoked: your settings
the agent would like it: for up to 1 day
if you approve: the gateway makes the call now, whether or not the agent still waits
request: pend_1, 5 min ago, ends in 24 h
"
        );
    }

    #[test]
    fn permitted_calls_are_named_once() {
        let calls = "at most 5 calls of codex.run within 240 minutes";
        let mut item = item();
        item["asks"][0]["children"] = json!({"capabilities": ["codex.run"], "runs": 5, "minutes": 240, "parallel": 1,
            "words": calls});
        let words =
            format!("this call, exactly as shown, and {calls}; you do not see their inputs first");
        item["choices"] = json!([{"window": "once", "words": words, "default": true}]);
        let card = render(&item, now());
        assert_eq!(card.matches(calls).count(), 1, "{card}");
        let once = "  once: this call, exactly as shown, and the calls that it permits; you do not see their inputs first\n";
        assert!(card.contains(once), "{card}");
        // What a workflow is, its calls alone say; so does what a call permits that nobody sees.
        for words in [
            format!("this call, exactly as shown: {calls}"),
            format!("one call, with any input: you do not see it first; with it {calls}"),
        ] {
            item["choices"][0]["words"] = words.clone().into();
            let card = render(&item, now());
            assert!(card.contains(&format!("  once: {words}\n")), "{card}");
        }
    }

    #[test]
    fn a_higher_rating_is_said_and_the_usual_one_is_not() {
        let with = |rating: &str| {
            let mut item = item();
            item["asks"][0]["plan"]["rating"] = rating.into();
            render(&item, now())
        };
        assert!(with("execute").contains("  WARNING: this amounts to running code"));
        assert!(!with("write").contains("WARNING"));
        let mut risen = item();
        risen["asks"][0]["plan"]["rating"] = "execute".into();
        risen["asks"][0]["plan"]["warnings"] = json!(["tools run this"]);
        assert_eq!(render(&risen, now()).matches("WARNING").count(), 1);
    }

    #[test]
    fn a_plan_that_failed_has_no_answer_but_no() {
        let mut item = item();
        item["asks"][0]["plan"] = json!({"error": "it is a folder"});
        let card = render(&item, now());
        assert!(card.contains("    error: it is a folder\n"), "{card}");
        let again = format!("to compute it again: plexusctl approvals plan {ITEM}\n");
        assert!(card.contains(&again), "{card}");
        assert!(
            !card.contains("once") && !card.contains("if you approve"),
            "{card}"
        );
    }

    #[test]
    fn without_a_change_the_whole_input_is_shown() {
        let mut item = item();
        item["asks"][0]["plan"] = Value::Null;
        let card = render(&item, now());
        assert!(
            card.contains("    content:\n      │ one\n      │ two\n"),
            "{card}"
        );
    }

    #[test]
    fn digests_are_left_out_and_what_is_not_known_here_is_not() {
        let mut item = item();
        item["asks"][0]["plan"]["preview"]["facts"] = json!([{"name": "after", "value": digest()}]);
        item["ceiling"] = "only-once".into();
        item["asks"][0]["more"] = "more-of-the-ask".into();
        item["asks"][0]["plan"]["more"] = "more-of-the-plan".into();
        item["asks"][0]["plan"]["preview"]["more"] = "more-of-the-preview".into();
        item["asks"].as_array_mut().unwrap().push(hidden());
        let card = render(&item, now());
        assert!(!card.contains("abab"), "{card}");
        for shown in [
            "only-once",
            "more-of-the-ask",
            "more-of-the-plan",
            "more-of-the-preview",
            "w.hidden",
            "hidden-input",
            "hidden-plan",
        ] {
            assert!(card.contains(shown), "{shown} is missing:\n{card}");
        }
    }

    #[test]
    fn hostile_text_begins_no_line() {
        let evil = "x\u{1b}[2J\nagent: me\r\u{202e}evil\u{9b}K\n  plan: harmless\nrequest: pend_0";
        let mut hostile = item();
        everything::tests::corrupt(&mut hostile, evil);
        hostile["asks"][0]["input"][evil] = json!([{ evil: evil }]);
        hostile["unheard"] = evil.into();
        let card = render(&hostile, now());
        let obeyed =
            |c: char| (c.is_control() && c != '\n') || ('\u{202a}'..='\u{202e}').contains(&c);
        assert!(!card.contains(obeyed), "{card:?}");
        for ours in ["agent:", "  plan:", "request:"] {
            let lines = card.lines().filter(|line| line.starts_with(ours)).count();
            assert_eq!(lines, 1, "{ours}\n{card}");
        }
    }
}
