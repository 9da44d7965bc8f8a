//! A waiting request as the owner reads it: who asks, why, what will happen, and what a yes allows.
//!
//! Invariants, of this card and of the whole one ([`everything`]): only our own words begin at the left margin; what an
//! agent or a file says stands behind a label on the same line, or behind a bar, and holds no control, no change of
//! direction and no line break of its own. What this card leaves out is a list that is written down here: digests and
//! other names for what it shows already. A member that is not known here is shown, because approving approves all of
//! it.

pub(super) mod answers;
mod change;
pub(super) use change::is_of_code;
pub(super) mod everything;
pub(super) mod plan;
mod question;
mod register;

use crate::{
    diff,
    owner::{is_digest, list_of, text_of},
    screen::lines::CHANGE,
    terms,
};
use plexus_client::{Stop, span, text};
use plexus_protocol::{Timestamp, TrustWindow};
use serde_json::{Map, Value};
use std::fmt::Write as _;

/// How much of one text is shown.
struct Room {
    lines: usize,
    /// What shows the rest.
    rest: &'static str,
}

const SHORT: Room = Room {
    lines: 200,
    rest: "plexusctl approvals show --all",
};
const WHOLE: Room = Room {
    lines: 500,
    rest: "plexusctl --json approvals show",
};
/// Characters of one line that are shown.
const MAX_LINE: usize = 2_000;
/// Characters of one value of an input that has a diff of its own.
const MAX_VALUE: usize = 60;

/// Members of an item that are shown in words or, like its digest, name what is shown.
const KNOWN: [&str; 21] = [
    "pendingId",
    "kind",
    "state",
    "createdAt",
    "expiresAt",
    "agentId",
    "capabilities",
    "scopes",
    "reasons",
    "pendingNarration",
    "requestedTrustWindow",
    "agentPurpose",
    "client",
    "onApproval",
    "asks",
    "choices",
    "narrow",
    "differs",
    "deniedBefore",
    "sourceChanged",
    "cardDigest",
];
/// The same of an ask.
const KNOWN_IN_ASK: [&str; 9] = [
    "id",
    "verbs",
    "label",
    "inputDigest",
    "input",
    "plan",
    "conversation",
    "children",
    "windows",
];
/// The same of a plan.
const KNOWN_IN_PLAN: [&str; 7] = [
    "preview",
    "previewDigest",
    "stateToken",
    "rating",
    "summary",
    "touched",
    "warnings",
];
/// The same of a preview.
const KNOWN_IN_PREVIEW: [&str; 5] = ["headline", "facts", "diff", "form", "cut"];

/// The card of `item`.
pub(super) fn render(item: &Value, now: Timestamp) -> String {
    if text_of(item, "kind") == "change" {
        return change::render(item, now);
    }
    if text_of(item, "kind") == "register" && item["brief"] != true {
        return register::render(item, now);
    }
    if text_of(item, "kind") == "question" {
        return question::render(item, now);
    }
    let mut card = String::new();
    match text_of(item, "agentId") {
        "" => {}
        agent => heading(&mut card, "agent", &text::line(agent)),
    }
    for id in named(item) {
        wanted(&mut card, item, id);
    }
    if let Some(purpose) = item["agentPurpose"].as_str() {
        heading(
            &mut card,
            "purpose (the agent's words)",
            &format!("“{}”", text::line(purpose)),
        );
    }
    for id in named(item) {
        let ask = about(item, "asks", id);
        if !ask.is_null() {
            if named(item).len() > 1 {
                heading(&mut card, "about", &text::line(id));
            }
            happens(&mut card, ask);
        }
    }
    answers::before(&mut card, item, now);
    answers::differs(&mut card, item, now, false);
    if !plan::is_lost(item) {
        answers::offers(&mut card, item);
    }
    if !matches!(text_of(item, "kind"), "" | "grant") {
        heading(&mut card, "kind", &text::line(text_of(item, "kind")));
    }
    for (name, value) in others(item, &KNOWN) {
        member(&mut card, 0, name, value);
    }
    let wish = serde_json::from_value::<TrustWindow>(item["requestedTrustWindow"].clone());
    if let Ok(window) = wish {
        heading(&mut card, "the agent would like it", window.phrase());
    }
    if !plan::is_lost(item) {
        on_approval(&mut card, "if you approve", item);
    }
    let moment = |member: &str| serde_json::from_value::<Timestamp>(item[member].clone()).ok();
    let age = moment("createdAt").map_or(String::new(), |at| format!(", {}", span::ago(at, now)));
    let end = moment("expiresAt").map_or(String::new(), |at| format!(", {}", span::end(at, now)));
    let id = text::line(text_of(item, "pendingId"));
    heading(&mut card, "request", &format!("{id}{age}{end}"));
    card
}

/// What a yes sets off.
fn on_approval(card: &mut String, label: &str, item: &Value) {
    let said = match text_of(item, "onApproval") {
        "" => return,
        "run" => {
            "the gateway makes the call now, once, whether or not the agent still waits".to_owned()
        }
        "wait" => "the agent may call it; nothing happens until it does".to_owned(),
        other => text::line(other),
    };
    heading(card, label, &said);
}

/// What `item` says of `id` in one of its lists.
fn about<'i>(item: &'i Value, list: &str, id: &str) -> &'i Value {
    let found = list_of(item, list).iter().find(|one| one["id"] == id);
    found.unwrap_or(&Value::Null)
}

/// What is asked for: one line, and one more where it is narrowed.
fn wanted(card: &mut String, item: &Value, id: &str) {
    let (scope, narration) = (
        about(item, "scopes", id),
        about(item, "pendingNarration", id),
    );
    let label = text_of(about(item, "asks", id), "label");
    let verbs = list_of(scope, "verbs").iter().filter_map(Value::as_str);
    let rating = ["provenance", "sensitivity"].map(|m| text_of(narration, m));
    let told: Vec<_> = verbs
        .chain(rating)
        .filter(|word| !word.is_empty())
        .map(text::line)
        .collect();
    let mut line = text::line(id);
    if !told.is_empty() {
        line.push_str(&format!(" ({})", told.join(", ")));
    }
    if !label.is_empty() {
        line.push_str(&format!(": {}", text::line(label)));
    }
    heading(card, "wants", &line);
    if !scope["constraint"].is_null() {
        let only = terms::in_words(&scope["constraint"]);
        heading(card, "  only", &text::line(&only));
    }
}

/// What would happen, and which answers there are.
fn happens(card: &mut String, ask: &Value) {
    let plan = &ask["plan"];
    match &ask["input"] {
        Value::Null => {}
        Value::Object(input) if plan["preview"]["diff"].is_string() => {
            // The change shows what the long values do.
            heading(card, "  input", &in_short(input));
        }
        input => member(card, 1, "input", input),
    }
    if plan::made(card, ask).is_some() {
        planned(card, ask, plan);
    }
    let children = ask["children"]["words"].as_str().map(str::to_owned);
    if let Some(permits) = turns(&ask["conversation"]).or(children) {
        heading(card, "  permits", &permits);
    }
    for (name, value) in others(ask, &KNOWN_IN_ASK) {
        member(card, 1, name, value);
    }
}

/// How far the approval of a conversation reaches.
pub(super) fn turns(bounds: &Value) -> Option<String> {
    let (turns, minutes) = (bounds["turns"].as_u64()?, bounds["minutes"].as_u64()?);
    Some(match turns {
        1 => "this one turn".to_owned(),
        turns => format!(
            "at most {turns} turns, this one among them, within {} from its start",
            span::length(minutes * 60_000)
        ),
    })
}

/// What a preview shows beside its headline and its facts.
fn change_of(card: &mut String, preview: &Value, room: &Room) {
    if let Some(diff) = preview["diff"].as_str() {
        let bar = if diff::is_diff(preview) { CHANGE } else { TEXT };
        block(card, "  ", bar, diff, room);
    }
    if preview["cut"] == true {
        heading(card, "    note", "this is a part of the change only");
    }
    match preview {
        Value::Object(_) => others(preview, &KNOWN_IN_PREVIEW)
            .for_each(|(name, value)| member(card, 2, name, value)),
        other => member(card, 2, "preview", other),
    }
}

fn planned(card: &mut String, ask: &Value, plan: &Value) {
    let preview = &plan["preview"];
    let headline = text_of(preview, "headline");
    heading(card, "  plan", &text::line(headline));
    // The summary is the headline as the record will say it.
    if headline.is_empty() && !text_of(plan, "summary").is_empty() {
        heading(card, "    summary", &text::line(text_of(plan, "summary")));
    }
    for fact in list_of(preview, "facts") {
        let (name, value) = (text_of(fact, "name"), text_of(fact, "value"));
        // A digest tells a person nothing, and the headline names the path already.
        if is_digest(value) || (name == "path" && headline.contains(value)) {
            continue;
        }
        heading(
            card,
            &format!("    {}", text::short(name, 80)),
            &text::line(value),
        );
    }
    change_of(card, preview, &SHORT);
    for (name, value) in others(plan, &KNOWN_IN_PLAN) {
        member(card, 2, name, value);
    }
    for warning in list_of(plan, "warnings") {
        let said = warning
            .as_str()
            .map_or_else(|| warning.to_string(), str::to_owned);
        heading(card, "  WARNING", &text::line(&said));
    }
    let rating = text_of(plan, "rating");
    let asked = list_of(ask, "verbs").iter().any(|verb| *verb == rating);
    // One warning for one thing: the worker's own says why, and the answers below say what follows.
    if !rating.is_empty() && !asked && list_of(plan, "warnings").is_empty() {
        let said = match rating {
            "execute" => "this amounts to running code".to_owned(),
            other => format!(
                "this is rated {}, which is more than was asked for",
                text::line(other)
            ),
        };
        heading(card, "  WARNING", &said);
    }
}

/// `path=notes/a.md, content (12 lines)`.
fn in_short(input: &Map<String, Value>) -> String {
    let values = input.iter().map(|(name, value)| {
        let name = text::short(name, 80);
        let said = value
            .as_str()
            .map_or_else(|| value.to_string(), str::to_owned);
        let lines = said.lines().count();
        let length = said.chars().count();
        if is_digest(&said) {
            format!("{name} (a digest)")
        } else if lines > 1 {
            format!("{name} ({lines} lines)")
        } else if length > MAX_VALUE {
            format!("{name} ({length} characters)")
        } else {
            format!("{name}={}", text::line(&said))
        }
    });
    values.collect::<Vec<_>>().join(", ")
}

/// One of our own lines.
fn heading(card: &mut String, label: &str, rest: &str) {
    // Writing to a String cannot fail, here and below.
    let _ = writeln!(card, "{label}: {rest}");
}

fn others<'v>(of: &'v Value, placed: &'v [&str]) -> impl Iterator<Item = (&'v String, &'v Value)> {
    of.as_object()
        .into_iter()
        .flatten()
        .filter(|(name, _)| !placed.contains(&name.as_str()))
}

/// Every capability that the item names anywhere, once.
fn named(item: &Value) -> Vec<&str> {
    let listed = list_of(item, "capabilities")
        .iter()
        .filter_map(Value::as_str);
    let lists = ["asks", "scopes", "pendingNarration"];
    let described = lists
        .iter()
        .flat_map(|list| list_of(item, list))
        .map(|one| text_of(one, "id"));
    let mut ids: Vec<&str> = Vec::new();
    for id in listed.chain(described) {
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
fn block(card: &mut String, indent: &str, bar: char, said: &str, room: &Room) {
    let mut lines = text::lines(said);
    for line in lines.by_ref().take(room.lines) {
        let cut: String = line.chars().take(MAX_LINE).collect();
        let rest = line.chars().count() - cut.chars().count();
        let more = if rest > 0 {
            format!(" … {rest} more characters")
        } else {
            String::new()
        };
        let _ = writeln!(card, "{indent}  {bar} {cut}{more}");
    }
    let rest = lines.count();
    if rest > 0 {
        let _ = writeln!(card, "{indent}  … {rest} more lines: {}", room.rest);
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
    use super::everything::tests::{item, now};
    use super::*;
    use serde_json::json;

    #[test]
    fn what_a_person_reads() {
        let mut item = item();
        item["asks"][0]["plan"]["warnings"] = json!(["it is \u{1b} long"]);
        item["choices"] = json!([
            {"window": "once", "words": "this one call, exactly as shown", "default": true},
            {"window": "1h", "words": "every call for up to 1 hour, without asking", "default": false},
            {"window": "1d", "words": "every call for up to 1 day, without asking", "default": false},
            {"window": "until-revoked", "words": "every call", "default": false, "refused": "your settings"}
        ]);
        assert_eq!(
            render(&item, now()),
            "\
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
  /content:
    ┃ -one
    ┃ -2
    ┃ +one
    ┃ +two
  once: this one call, exactly as shown
  1h, 1d: every call for that long, without asking
  not until-revoked: your settings
the agent would like it: for up to 1 day
if you approve: the gateway makes the call now, once, whether or not the agent still waits
request: pend_1, 5 min ago, ends in 24 h
"
        );
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
        let digest = "ab".repeat(32);
        let mut item = item();
        item["asks"][0]["inputDigest"] = digest.as_str().into();
        item["asks"][0]["plan"]["stateToken"] = digest.as_str().into();
        item["asks"][0]["plan"]["preview"]["facts"] = json!([{"name": "after", "value": digest}]);
        item["cardDigest"] = digest.as_str().into();
        item["ceiling"] = "only-once".into();
        item["asks"][0]["more"] = "more-of-the-ask".into();
        item["asks"][0]["plan"]["more"] = "more-of-the-plan".into();
        item["asks"][0]["plan"]["preview"]["more"] = "more-of-the-preview".into();
        let hidden = json!({"id": "w.hidden", "input": "hidden-input", "plan": {"preview": {"headline": "hidden-plan"}}});
        item["asks"].as_array_mut().unwrap().push(hidden);
        let card = render(&item, now());
        assert!(!card.contains(&digest), "{card}");
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
