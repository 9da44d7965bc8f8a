//! The whole card: everything that its digest covers, nothing that it does not. For `--all`.
//!
//! Invariant: every member of the item is shown, known to us or not.

use super::{WHOLE, about, answers, change_of, heading, member, named, on_approval, others, plan};
use crate::owner::{list_of, text_of};
use plexus_client::{span, text};
use plexus_protocol::Timestamp;
use serde_json::Value;

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
pub(in super::super) fn render(item: &Value, now: Timestamp) -> String {
    let mut card = String::new();
    let moment = |member: &str| serde_json::from_value::<Timestamp>(item[member].clone()).ok();
    let age = moment("createdAt").map_or(String::new(), |at| format!(", {}", span::ago(at, now)));
    let end = moment("expiresAt").map_or(String::new(), |at| format!(", {}", span::end(at, now)));
    heading(
        &mut card,
        "request",
        &format!("{}{age}{end}", text::line(text_of(item, "pendingId"))),
    );
    match text_of(item, "agentId") {
        "" => {}
        agent => heading(&mut card, "agent", &text::line(agent)),
    }
    if let Some(purpose) = item["agentPurpose"].as_str() {
        heading(
            &mut card,
            "purpose (the agent's words)",
            &format!("“{}”", text::line(purpose)),
        );
    }
    for id in named(item) {
        wanted(&mut card, item, id);
    }
    answers::before(&mut card, item, now);
    answers::differs(&mut card, item, now, true);
    for choice in list_of(item, "choices") {
        let kind = text::line(text_of(choice, "window"));
        let words = text::line(text_of(choice, "words"));
        match choice["refused"].as_str() {
            None => heading(&mut card, "you may choose", &format!("{kind} ({words})")),
            Some(why) => heading(
                &mut card,
                "you may not choose",
                &format!("{kind} ({words}): {}", text::line(why)),
            ),
        }
    }
    on_approval(&mut card, "when you approve", item);
    for (name, value) in others(item, &PLACED) {
        member(&mut card, 0, name, value);
    }
    match item["cardDigest"].as_str() {
        Some(digest) => heading(&mut card, "card", &text::line(digest)),
        None if plan::is_planning(item) => {
            heading(&mut card, "card", "not complete yet");
        }
        None => {}
    }
    card
}

/// One capability that is asked for: what it is, with which input, and what it would do.
fn wanted(card: &mut String, item: &Value, id: &str) {
    let (scope, ask) = (about(item, "scopes", id), about(item, "asks", id));
    let narration = about(item, "pendingNarration", id);
    let verbs: Vec<_> = list_of(scope, "verbs")
        .iter()
        .filter_map(Value::as_str)
        .collect();
    let rating: Vec<_> = ["provenance", "sensitivity"]
        .map(|m| text_of(narration, m))
        .into_iter()
        .collect();
    let told: Vec<_> = [&verbs[..], &rating[..]]
        .concat()
        .into_iter()
        .filter(|t| !t.is_empty())
        .map(text::line)
        .collect();
    let told = if told.is_empty() {
        String::new()
    } else {
        format!(" ({})", told.join(", "))
    };
    heading(card, "wants", &format!("{}{told}", text::line(id)));
    for (label, said) in [
        ("  label", text_of(ask, "label")),
        ("  means", text_of(narration, "summary")),
    ] {
        if !said.is_empty() {
            heading(card, label, &text::line(said));
        }
    }
    if !scope["constraint"].is_null() {
        heading(
            card,
            "  only",
            &text::line(&scope["constraint"].to_string()),
        );
    }
    for (name, value) in others(ask, &PLACED_IN_ASK) {
        member(card, 1, name, value);
    }
    let Some(made) = plan::made(card, ask) else {
        return;
    };
    let preview = &ask["plan"]["preview"];
    heading(card, "  plan", &text::line(text_of(preview, "headline")));
    for fact in list_of(preview, "facts") {
        let name = text::short(text_of(fact, "name"), 80);
        heading(
            card,
            &format!("    {name}"),
            &text::line(text_of(fact, "value")),
        );
    }
    change_of(card, preview, &WHOLE);
    for (name, value) in made.iter().filter(|(name, _)| *name != "preview") {
        member(card, 2, name, value);
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use serde_json::json;

    pub(in super::super) fn now() -> Timestamp {
        serde_json::from_str("\"2026-01-01T00:05:00.000Z\"").unwrap()
    }

    pub(in super::super) fn item() -> Value {
        json!({
            "pendingId": "pend_1", "kind": "grant", "state": "pending", "createdAt": "2026-01-01T00:00:00.000Z",
            "expiresAt": "2026-01-02T00:00:00.000Z", "agentId": "my-cc", "capabilities": ["workspace.write"],
            "scopes": [{"id": "workspace.write", "verbs": ["write"],
                "constraint": {"pathPrefix": {"field": "path", "allow": ["A"]}}}],
            "reasons": ["changes something"],
            "pendingNarration": [{"id": "workspace.write", "verbs": ["write"], "provenance": "managed",
                "sensitivity": "elevated", "summary": "Approving lets my-cc WRITE a file"}],
            "agentPurpose": "save the notes", "client": {"name": "plexus-cli"}, "onApproval": "run",
            "requestedTrustWindow": {"kind": "1d", "ms": 86_400_000},
            "asks": [{
                "id": "workspace.write", "verbs": ["write"], "label": "Write a file", "inputDigest": "cd",
                "input": {"path": "a.md", "content": "one\ntwo\n"},
                "plan": {
                    "preview": {"headline": "replace a.md", "facts": [{"name": "size", "value": "8 bytes"}],
                        "diff": "--- a.md\n+++ a.md\n-old\n+one\n+two", "form": "diff", "cut": true},
                    "rating": "write", "warnings": []
                },
                "windows": [{"window": {"kind": "once"}, "allows": "this one call, exactly as shown"}]
            }],
            "choices": [
                {"window": "once", "words": "this one call, exactly as shown", "default": true},
                {"window": "1h", "words": "every call", "default": false, "refused": "it runs code"}
            ],
            "narrow": ["path"],
            "differs": {"since": "2026-01-01T00:01:00.000Z",
                "changes": [{"path": "/content", "was": "one\n2", "now": "one\ntwo\n"}]},
            "cardDigest": "ab"
        })
    }

    #[test]
    fn the_whole_card() {
        assert_eq!(
            render(&item(), now()),
            "\
request: pend_1, 5 min ago, ends in 24 h
agent: my-cc
purpose (the agent's words): “save the notes”
wants: workspace.write (write, managed, elevated)
  label: Write a file
  means: Approving lets my-cc WRITE a file
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
    rating: write
    warnings: []
differs: from the call that you approved 4 min ago, in
  /content:
    ┃ -one
    ┃ -2
    ┃ +one
    ┃ +two
you may choose: once (this one call, exactly as shown)
you may not choose: 1h (every call): it runs code
when you approve: the gateway makes the call now, once, whether or not the agent still waits
reasons: [\"changes something\"]
client:
  name: plexus-cli
requestedTrustWindow:
  kind: 1d
  ms: 86400000
narrow: [\"path\"]
card: ab
"
        );
    }

    /// Puts `evil` in the place of every text of `value` but those that name capabilities.
    pub(in super::super) fn corrupt(value: &mut Value, evil: &str) {
        match value {
            Value::String(text) if text != "workspace.write" => evil.clone_into(text),
            Value::Array(items) => items.iter_mut().for_each(|item| corrupt(item, evil)),
            Value::Object(members) => members
                .values_mut()
                .for_each(|member| corrupt(member, evil)),
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
        hostile["cardDigest"] = "ab".into();
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
        let hidden = json!({"id": "w.hidden", "input": "hidden-input", "plan": {"preview": {"headline": "hidden-plan"}}});
        item["asks"].as_array_mut().unwrap().push(hidden);
        item["asks"][0]["plan"]["preview"]["more"] = json!("more-of-the-preview");
        let card = render(&item, now());
        let mut all = Vec::new();
        texts(&item, &mut all);
        // Said in other words: what kind of thing it is, its state, three moments, and what happens on approval.
        let reworded = [
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
        let failed =
            with(json!({"error": {"code": "transport_error", "message": "no\u{7} such folder"}}));
        assert!(failed.contains("  plan: it FAILED"), "{failed}");
        assert!(
            failed.contains("      message: no\\u{7} such folder\n"),
            "{failed}"
        );
        assert!(!with(Value::Null).contains("plan:"));
    }

    #[test]
    fn a_long_text_is_cut_and_says_so() {
        let mut item = item();
        item["asks"][0]["plan"]["preview"]["diff"] =
            format!("{}\n{}", "y".repeat(3_000), "x\n".repeat(600)).into();
        let card = render(&item, now());
        assert!(card.contains("… 1000 more characters"), "{}", &card[..200]);
        assert!(card.contains("… 101 more lines: plexusctl --json approvals show"));
    }
}
