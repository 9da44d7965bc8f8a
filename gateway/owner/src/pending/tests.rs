//! Cards as the gateway makes them, read and written.

use super::*;
use plexus_protocol::json;
use serde_json::json;

const ITEM: &str = "pend_00000000-0000-4000-8000-000000000001";
const AT: &str = "2026-01-01T00:00:00.000Z";

fn digest(of: &str) -> Value {
    json!(Digest::of(of.as_bytes()))
}

/// With its digest, as the gateway puts it last.
fn sealed(mut card: Value) -> Value {
    card["cardDigest"] = json!(json::digest(&card));
    card
}

fn grant() -> Value {
    json!({
        "pendingId": ITEM, "kind": "grant", "state": "pending", "createdAt": AT,
        "expiresAt": "2026-01-02T00:00:00.000Z", "agentId": "my-cc",
        "capabilities": ["workspace.write", "codex.run"], "agentPurpose": "save the notes",
        "scopes": [
            {"id": "workspace.write", "verbs": ["write"],
                "constraint": {"pathPrefix": {"field": "path", "allow": ["A"]}, "maxCalls": 3}},
            {"id": "codex.run", "verbs": ["execute"]},
        ],
        "reasons": ["changes something", "changes something"],
        "pendingNarration": [{"id": "workspace.write", "verbs": ["write"], "provenance": "managed",
            "sensitivity": "elevated", "defaultTrustWindow": {"kind": "once"},
            "summary": "Approving lets my-cc use “Write a file”", "notificationLine": "my-cc asks for “Write a file”"}],
        "requestedTrustWindow": {"kind": "1d", "ms": 86_400_000},
        "client": {"name": "plexus-cli", "version": "1"},
        "onApproval": "run",
        "asks": [
            {"id": "workspace.write", "verbs": ["write"], "label": "Write a file", "inputDigest": digest("input"),
                "input": {"path": "a.md", "size": 2.5, "large": u64::MAX, "small": -1, "none": null},
                "plan": {"preview": {"headline": "replace a.md", "facts": [{"name": "size", "value": "8 bytes"}],
                        "diff": "-old\n+new\n", "form": "diff", "cut": false},
                    "previewDigest": digest("preview"), "stateToken": digest("state"), "rating": "write",
                    "summary": "replace a.md",
                    "touched": [{"kind": "file", "id": "a.md", "access": "write", "digest": digest("old")},
                        {"kind": "file", "id": "b.md", "access": "read"}],
                    "warnings": ["it is long"]},
                "windows": [{"window": {"kind": "once"}, "allows": "this one call"},
                    {"window": {"kind": "1h", "ms": 3_600_000}, "allows": "every call"}]},
            {"id": "codex.run", "verbs": ["execute"], "label": null, "inputDigest": digest("gone"), "input": null,
                "plan": {"error": "it could not be computed"}, "conversation": {"turns": 3, "minutes": 30},
                "windows": []},
            {"id": "cc.run", "verbs": ["execute"], "label": "Run", "plan": "making", "children":
                {"capabilities": ["codex.run"], "runs": 2, "minutes": 5, "parallel": 1, "words": "at most 2"},
                "windows": []},
            {"id": "notes.read", "verbs": ["read"], "label": "Read", "plan": null, "windows": []},
        ],
        "choices": [
            {"window": "once", "words": "this one call", "default": true, "anyInput": true},
            {"window": "1h", "words": "every call", "default": false},
            {"window": "until-revoked", "words": "every call", "default": false, "refused": "it runs code"},
        ],
        "narrow": ["path"],
        "differs": {"since": AT, "changes": [
            {"path": "/content", "was": "one", "now": null, "capability": "workspace.write"},
            {"path": "/to", "was": null, "now": "two"}], "more": 3},
        "deniedBefore": [{"id": "workspace.write", "count": 2, "words": "you denied 2 other calls"}],
        "sourceChanged": [{"source": "workspace", "at": AT, "words": "its grants were revoked"}],
    })
}

fn change() -> Value {
    json!({
        "pendingId": ITEM, "kind": "change", "state": "pending", "createdAt": AT, "capabilities": ["notes.read"],
        "reasons": ["it changed"],
        "pendingNarration": [{"id": "notes.read", "verbs": ["read"], "provenance": "extension", "sensitivity": "high",
            "defaultTrustWindow": {"kind": "once"}, "summary": "Approving resumes", "notificationLine": "suspended"}],
        "asks": [], "source": {"id": "notes", "label": "My\nnotes"}, "agents": ["a", "b"],
        "changes": [{"about": "what it runs", "words": ["another program"], "at": AT}],
        "choices": [{"window": "once", "words": "its grants are resumed", "default": true}],
        "narrow": [], "differs": null, "ifApproved": "its grants are resumed", "ifDenied": "they are revoked",
        "definitions": null,
    })
}

fn question(wants: Value) -> Value {
    json!({
        "pendingId": ITEM, "kind": "question", "state": "pending", "createdAt": AT, "expiresAt": AT, "agentId": "a",
        "capabilities": ["s.book"], "source": {"id": "s", "label": "S"}, "question": wants,
        "reasons": ["type no password"], "pendingNarration": [], "asks": [], "narrow": [], "differs": null,
        "choices": [{"window": "once", "words": "it goes to s", "default": true}],
        "ifApproved": "it goes to s", "ifDenied": "s is told",
    })
}

fn register(surface: Value) -> Value {
    json!({
        "pendingId": ITEM, "kind": "register", "state": "pending", "createdAt": AT, "expiresAt": AT,
        "agentId": "a", "capabilities": [], "register": surface, "changes": ["it has another program"],
        "movedSecrets": [{"name": "token", "host": "example.org"}],
        "foldersToName": [{"name": "pages", "label": "Pages"}],
        "ifApproved": "it is added as shown", "ifKept": "its grants stay", "client": {"name": "plexus-cli"},
        "choices": [{"window": "once", "words": "it is added as shown", "default": true}],
        "asks": [], "narrow": [], "differs": null,
    })
}

fn surface() -> Value {
    json!({
        "source": "journal", "label": "Journal", "programs": [], "capabilities": [{"id": "journal.add"}],
        "transportBacked": true, "sections": [
            {"title": "Programs", "note": "none", "facts": []},
            {"title": "journal.add", "capability": true, "facts": [
                {"name": "runs", "value": "/bin/true"}, {"name": "describes itself", "text": "a\nb"}]},
        ],
    })
}

fn cards() -> Vec<Value> {
    let mut whole = grant();
    whole["asks"].as_array_mut().unwrap().truncate(1);
    let mut plain = register(json!({"source": "journal", "label": "", "capabilities": []}));
    plain["problems"] = json!(["its program is gone"]);
    for member in [
        "changes",
        "movedSecrets",
        "foldersToName",
        "ifKept",
        "client",
    ] {
        plain.as_object_mut().unwrap().shift_remove(member);
    }
    let fields = json!({"words": "Where to?", "fields": [
        {"name": "city", "label": "City", "required": true, "hint": "of birth", "type": "text", "min": 1, "max": 9},
        {"name": "share", "label": "Share", "required": false, "type": "number", "min": 0.5},
        {"name": "seat", "label": "Seat", "required": false, "type": "choices", "of": [{"value": "a", "label": "A"}]},
    ]});
    let page = json!({"words": "Sign in", "url": "https://example.org/a", "host": "example.org"});
    vec![
        grant(),
        sealed(whole),
        sealed(change()),
        sealed(question(fields)),
        sealed(question(page)),
        sealed(register(surface())),
        plain,
        json!({"pendingId": ITEM, "kind": "grant", "state": "expired", "createdAt": AT, "expiresAt": AT,
            "agentId": "a", "capabilities": ["w.write"], "brief": true}),
        json!({"pendingId": ITEM, "kind": "register", "state": "pending", "createdAt": AT, "expiresAt": AT,
            "agentId": "a", "capabilities": [], "register": {"source": "journal"}, "brief": true}),
    ]
}

#[test]
fn card_is_written_as_it_was_read() {
    for card in cards() {
        let text = card.to_string();
        let read: Item = serde_json::from_str(&text).unwrap_or_else(|why| panic!("{why}: {text}"));
        assert_eq!(serde_json::to_string(&read).unwrap(), text);
        // A sealed one has the digest that is computed here.
        let digest = card["cardDigest"]
            .is_string()
            .then(|| read.computed_digest());
        assert_eq!(read.card.digest(), digest);
    }
}

#[test]
fn unknown_members_stay_and_count() {
    let mut card = grant();
    let places = [
        "",
        "/asks/0",
        "/asks/0/plan",
        "/asks/0/plan/preview",
        "/asks/1/plan",
    ];
    for place in places {
        card.pointer_mut(place).unwrap()["more"] = json!({"of": [1, null]});
    }
    let read: Item = serde_json::from_value(card.clone()).unwrap();
    assert_eq!(Value::Object(read.members()), card);
    assert_eq!(read.computed_digest(), json::digest(&card));
    assert_ne!(read.computed_digest(), json::digest(&grant()));
}

#[test]
fn card_of_no_kind_or_form_is_refused() {
    for (place, value, words) in [
        ("/kind", json!("other"), "unknown variant `other`"),
        ("/pendingId", json!("pend_1"), "not a pending"),
        ("/asks/0/plan", json!(7), "a plan of no form"),
        ("/asks/0/plan/rating", json!("more"), "`more`"),
        ("/choices/0/window", json!("forever"), "forever"),
        ("/capabilities", json!(null), "invalid type: null"),
    ] {
        let mut card = grant();
        *card.pointer_mut(place).unwrap() = value;
        let why = serde_json::from_value::<Item>(card)
            .unwrap_err()
            .to_string();
        assert!(why.contains(words), "{place}: {why}");
    }
}

#[test]
fn decision_says_whether_it_widens() {
    let keeping = |action: Value, keeps: Value| {
        let body =
            json!({"action": action, "cardDigest": "ab", "keepSecrets": keeps, "anyInput": null});
        let Value::Object(body) = body else {
            unreachable!()
        };
        crate::read::<Decide>([("id".to_owned(), ITEM.to_owned())], &[], body)
    };
    // A secret that it does not name is deleted.
    for wrong in [json!("a"), json!(["a", 1])] {
        let why = keeping(json!("approve"), wrong).unwrap_err().to_string();
        assert!(why.starts_with("`keepSecrets"), "{why}");
    }
    let decide = |action: Value| keeping(action, json!(["a"])).unwrap();
    let yes = decide(json!("approve"));
    assert_eq!(
        (yes.action, yes.keep_secrets.len()),
        (Some(Action::Approve), 1)
    );
    assert_eq!(crate::OwnerCall::act(&yes), crate::Act::Widens);
    assert_eq!(
        crate::OwnerCall::act(&decide(json!("deny"))),
        crate::Act::Narrows
    );
    assert_eq!(decide(json!("maybe")).action, None);
    assert_eq!(decide(json!(5)).action, None);
    let sent = crate::write(&Decide {
        id: ITEM.to_owned(),
        action: Some(Action::Deny),
        ..Decide::default()
    });
    assert_eq!(sent.body, Some(json!({"action": "deny"})));
}

#[test]
fn outcome_is_written_as_it_was_read() {
    for decided in [
        json!({"ok": true, "action": "approve", "kind": "grant", "granted": ["w.write"], "once": [],
            "onApproval": "run", "auditId": "evt_1"}),
        json!({"ok": true, "action": "deny", "kind": "register", "auditId": "evt_1", "reason": "no"}),
        json!({"ok": true, "action": "deny", "kind": "change", "source": "notes", "resumed": false, "auditId": ""}),
        json!({"ok": true, "action": "approve", "kind": "question"}),
        json!({"ok": true, "action": "approve", "kind": "register", "registered": ["a.b"],
            "secretsMissing": [{"name": "token", "next": "plexusctl"}], "auditId": "evt_1"}),
    ] {
        let text = decided.to_string();
        let read: Decided = serde_json::from_str(&text).unwrap();
        assert_eq!(serde_json::to_string(&read).unwrap(), text);
    }
}
