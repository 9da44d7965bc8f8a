//! The whole card: everything that its digest covers, nothing that it does not. For `--all`.
//!
//! Invariant: every member of the item is shown, known to us or not.

use super::{
    WHOLE, answers, change_of, consequence, heading, member, members_of, named, on_approval, plan,
    purpose, rated, request, who,
};
use plexus_client::text;
use plexus_owner::pending::Item;
use plexus_protocol::{CapabilityId, Timestamp};

/// Members of an item that have a place of their own in the card.
const PLACED: [&str; 17] = [
    "pendingId",
    "kind",
    "state",
    "createdAt",
    "expiresAt",
    "agentId",
    "capabilities",
    "scopes",
    "pendingNarration",
    "asks",
    "agentPurpose",
    "onApproval",
    "choices",
    "differs",
    "deniedBefore",
    "sourceChanged",
    "cardDigest",
];
/// Members of an ask that have a place of their own.
const PLACED_IN_ASK: [&str; 5] = ["id", "verbs", "label", "plan", "windows"];

/// The card of `item`.
pub(in super::super) fn render(item: &Item, now: Timestamp, is_paused: bool) -> String {
    let mut card = String::new();
    if let Some(of) = item.card.grant() {
        consequence(&mut card, of);
    }
    request(&mut card, &item.heading, now);
    who(&mut card, &item.heading);
    purpose(&mut card, &item.heading);
    for id in named(item) {
        wanted(&mut card, item, id);
    }
    let grant = item.card.grant();
    if let Some(of) = grant {
        answers::before(&mut card, of, now);
        answers::differs(&mut card, of, now);
    }
    for choice in item.card.choices() {
        let words = answers::words(choice, is_paused);
        let said = format!("{} ({})", choice.window.kind(), text::line(&words));
        match &choice.refused {
            None => heading(&mut card, "you may choose", &said),
            Some(why) => {
                let said = format!("{said}: {}", text::line(why));
                heading(&mut card, "you may not choose", &said);
            }
        }
    }
    if let Some(of) = grant {
        on_approval(&mut card, "when you approve", of.on_approval, is_paused);
    }
    for (name, value) in &item.members() {
        if !PLACED.contains(&name.as_str()) {
            member(&mut card, 0, name, value);
        }
    }
    match item.card.digest() {
        Some(digest) => heading(&mut card, "card", &digest.to_string()),
        None if plan::is_planning(item) => {
            heading(&mut card, "card", "not complete yet");
        }
        None => {}
    }
    card
}

/// One capability that is asked for: what it is, with which input, and what it would do.
fn wanted(card: &mut String, item: &Item, id: &CapabilityId) {
    let mut scopes = item.card.grant().into_iter().flat_map(|of| &of.scopes);
    let scope = scopes.find(|scope| scope.id == *id);
    let ask = item.card.asks().iter().find(|ask| ask.id == *id);
    let narration = item.card.narration().iter().find(|one| one.id == *id);
    heading(card, "wants", &format!("{id}{}", rated(scope, narration)));
    let label = ask.and_then(|ask| ask.label.as_ref());
    let means = narration.map(|one| &one.summary);
    for (label, said) in [("  label", label), ("  means", means)] {
        if let Some(said) = said.filter(|said| !said.is_empty()) {
            heading(card, label, &text::line(said));
        }
    }
    if let Some(constraint) = scope.and_then(|scope| scope.constraint.as_ref()) {
        let only = serde_json::to_string(constraint).unwrap_or_default();
        heading(card, "  only", &text::line(&only));
    }
    let Some(ask) = ask else {
        return;
    };
    for (name, value) in &members_of(ask) {
        if !PLACED_IN_ASK.contains(&name.as_str()) {
            member(card, 1, name, value);
        }
    }
    let Some(made) = plan::made(card, ask) else {
        return;
    };
    heading(card, "  plan", &text::line(&made.preview.headline));
    for fact in &made.preview.facts {
        let label = format!("    {}", text::short(&fact.name, 80));
        heading(card, &label, &text::line(&fact.value));
    }
    change_of(card, &made.preview, &WHOLE);
    for (name, value) in &members_of(made) {
        if name != "preview" {
            member(card, 2, name, value);
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::approvals::fixture::{ITEM, digest, grant as item, hidden, now, read};
    use serde_json::{Value, json};

    fn render(card: &Value, now: Timestamp) -> String {
        super::render(&read(card.clone()), now, false)
    }

    #[test]
    fn the_whole_card() {
        assert_eq!(
            render(&item(), now())
                .replace(ITEM, "pend_1")
                .replace(digest().as_str().unwrap(), "cd"),
            "\
does: Changes something that its source does not name
request: pend_1, 5 min ago, ends in 24 h
agent: my-cc
purpose (the agent's words): “save the notes”
wants: workspace.write (write, managed, elevated)
  label: Write a file
  means: Approving lets my-cc use “Write a file”
  only: {\"pathPrefix\":{\"field\":\"path\",\"allow\":[\"A\"]}}
  inputDigest: cd
  input:
    path: a.md
    content:
      │ one
      │ two
  plan: replace a.md
    size: 8 bytes
    ┃ --- a.md
    ┃ +++ a.md
    ┃ -old
    ┃ +one
    ┃ +two
    (no line break at the end)
    note: this is a part of the change only
    previewDigest: cd
    stateToken: cd
    rating: write
    summary: replace a.md
    touched: []
    warnings: []
differs: from the call that you approved 4 min ago, in
  /mode:
    ┃ -append
    ┃ +overwrite
  /content: 2 lines, 8 bytes (was 2 lines, 5 bytes)
  another path (was old.md)
you may choose: once (this one call, exactly as shown)
you may not choose: 1h (every call): it runs code
when you approve: the gateway makes the call now, whether or not the agent still waits
reasons: [\"changes something\"]
requestedTrustWindow:
  kind: 1d
  ms: 86400000
client:
  name: plexus-cli
narrow: [\"path\"]
card: cd
"
        );
    }

    /// Members that are no text: a card with another value in one of them is not read at all.
    const TYPED: [&str; 21] = [
        "pendingId",
        "kind",
        "state",
        "createdAt",
        "expiresAt",
        "agentId",
        "capabilities",
        "id",
        "verbs",
        "provenance",
        "sensitivity",
        "onApproval",
        "inputDigest",
        "previewDigest",
        "stateToken",
        "rating",
        "form",
        "window",
        "since",
        "cardDigest",
        "touched",
    ];

    /// Puts `evil` in the place of every text of `value`.
    pub(in super::super) fn corrupt(value: &mut Value, evil: &str) {
        match value {
            Value::String(text) => evil.clone_into(text),
            Value::Array(items) => items.iter_mut().for_each(|item| corrupt(item, evil)),
            Value::Object(members) => members
                .iter_mut()
                .filter(|(name, _)| !TYPED.contains(&name.as_str()))
                .for_each(|(_, member)| corrupt(member, evil)),
            _ => {}
        }
    }

    #[test]
    fn hostile_text_is_seen_and_cannot_look_like_the_card() {
        let evil =
            "x\u{1b}[2J\u{1b}[H\ncard: 0000\r\u{202e}evil\u{9b}K\n  plan: harmless\ncard: 1111";
        let mut hostile = item();
        hostile["unheard"] = "of".into();
        corrupt(&mut hostile, evil);
        hostile["asks"][0]["input"][evil] = json!([{ evil: evil }]);
        let card = render(&hostile, now());
        let obeyed =
            |c: char| (c.is_control() && c != '\n') || ('\u{202a}'..='\u{202e}').contains(&c);
        assert!(!card.contains(obeyed), "{card:?}");
        let ours = |beginning: &str| {
            card.lines()
                .filter(|line| line.starts_with(beginning))
                .count()
        };
        assert_eq!(
            (ours("card"), ours("  plan"), ours("unheard")),
            (1, 1, 1),
            "{card}"
        );
        assert!(card.contains(r"\u{1b}[2J") && card.contains(r"\u{202e}evil"));
    }

    #[test]
    fn nothing_that_is_approved_goes_unseen() {
        fn texts(value: &Value, out: &mut Vec<String>) {
            match value {
                Value::String(text) => out.extend(text.lines().map(str::to_owned)),
                Value::Array(items) => items.iter().for_each(|item| texts(item, out)),
                Value::Object(members) => members.values().for_each(|member| texts(member, out)),
                Value::Number(number) => out.push(number.to_string()),
                Value::Null | Value::Bool(_) => {}
            }
        }
        let mut item = item();
        item["ceiling"] = json!("only-once");
        item["limits"] = json!({"calls": [17, 2], "deep": {"er": "deepest"}});
        item["asks"][0]["more"] = json!("more-of-the-ask");
        item["asks"].as_array_mut().unwrap().push(hidden());
        item["asks"][0]["plan"]["preview"]["more"] = json!("more-of-the-preview");
        let card = render(&item, now());
        let mut all = Vec::new();
        texts(&item, &mut all);
        // Said in other words: what kind of thing it is, its state, three moments, and what happens on approval; how a
        // preview is to be read, the line of a notification, and the field that names another thing.
        let reworded = [
            "/path",
            "fields",
            "my-cc asks for “Write a file”",
            "grant",
            "pending",
            "2026-01-01T00:00:00.000Z",
            "2026-01-02T00:00:00.000Z",
            "2026-01-01T00:01:00.000Z",
            "run",
        ];
        for text in all.iter().filter(|text| !reworded.contains(&text.as_str())) {
            assert!(card.contains(text.as_str()), "{text} is missing:\n{card}");
        }
    }

    #[test]
    fn plans_that_are_not_there() {
        let with = |plan: Value| {
            let mut item = item();
            item["asks"][0]["plan"] = plan;
            item.as_object_mut().unwrap().shift_remove("cardDigest");
            render(&item, now())
        };
        let making = with(json!("making"));
        assert!(
            making.contains("  plan: it is still being made\n"),
            "{making}"
        );
        assert!(making.ends_with("card: not complete yet\n"), "{making}");
        let failed = with(json!({"error": "no\u{7} such folder"}));
        assert!(failed.contains("  plan: it FAILED"), "{failed}");
        assert!(
            failed.contains("    error: no\\u{7} such folder\n"),
            "{failed}"
        );
        assert!(!with(Value::Null).contains("plan:"));
    }

    #[test]
    fn a_long_text_is_cut_on_the_short_card_alone() {
        let mut item = item();
        let long = "y".repeat(3_000);
        item["asks"][0]["plan"]["preview"]["diff"] =
            format!("{long}\n{}", "x\n".repeat(600)).into();
        // Nobody knows how many lines are missing from a part.
        let part = super::super::render(&read(item.clone()), now(), false);
        let rest = "  … more lines: plexusctl approvals show --all pend_";
        assert!(part.contains(rest), "{part}");
        item["asks"][0]["plan"]["preview"]["cut"] = false.into();
        let card = render(&item, now());
        assert!(card.contains(&long), "{}", &card[..200]);
        assert_eq!(card.matches("┃ x\n").count(), 600);
        let short = super::super::render(&read(item), now(), false);
        for said in ["… 1000 more characters", "… 401 more lines"] {
            let said = format!("{said}: plexusctl approvals show --all pend_");
            assert!(short.contains(&said), "{said}: {short}");
        }
    }
}
