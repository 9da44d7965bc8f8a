//! Cards for tests, as the gateway makes them.

use plexus_owner::pending::{Choice, Item};
use plexus_protocol::{Digest, Timestamp, TrustWindow};
use serde_json::{Value, json};

/// Their ids.
pub(crate) const ITEM: &str = "pend_00000000-0000-4000-8000-000000000001";
pub(crate) const OTHER: &str = "pend_00000000-0000-4000-8000-000000000002";

/// Five minutes after they were made.
pub(crate) fn now() -> Timestamp {
    serde_json::from_str("\"2026-01-01T00:05:00.000Z\"").unwrap()
}

/// A card of this JSON.
pub(crate) fn read(card: Value) -> Item {
    serde_json::from_value(card).unwrap()
}

/// A digest that is none of anything here.
pub(crate) fn digest() -> Value {
    json!(Digest([0xab; 32]))
}

/// One call, with its plan.
pub(crate) fn grant() -> Value {
    json!({
        "pendingId": ITEM, "kind": "grant", "state": "pending", "createdAt": "2026-01-01T00:00:00.000Z",
        "expiresAt": "2026-01-02T00:00:00.000Z", "agentId": "my-cc", "capabilities": ["workspace.write"],
        "agentPurpose": "save the notes",
        "scopes": [{"id": "workspace.write", "verbs": ["write"],
            "constraint": {"pathPrefix": {"field": "path", "allow": ["A"]}}}],
        "reasons": ["changes something"],
        "pendingNarration": [{"id": "workspace.write", "verbs": ["write"], "provenance": "managed",
            "sensitivity": "elevated", "defaultTrustWindow": {"kind": "once"},
            "summary": "Approving lets my-cc use “Write a file”", "notificationLine": "my-cc asks for “Write a file”"}],
        "requestedTrustWindow": {"kind": "1d", "ms": 86_400_000},
        "client": {"name": "plexus-cli"}, "onApproval": "run",
        "asks": [{
            "id": "workspace.write", "verbs": ["write"], "label": "Write a file", "inputDigest": digest(),
            "input": {"path": "a.md", "content": "one\ntwo\n"},
            "plan": {
                "preview": {"headline": "replace a.md", "facts": [{"name": "size", "value": "8 bytes"}],
                    "diff": "--- a.md\n+++ a.md\n-old\n+one\n+two", "form": "diff", "cut": true},
                "previewDigest": digest(), "stateToken": digest(), "rating": "write", "summary": "replace a.md",
                "touched": [], "warnings": []
            },
            "windows": [{"window": {"kind": "once"}, "allows": "this one call, exactly as shown"}]
        }],
        "choices": [
            {"window": "once", "words": "this one call, exactly as shown", "default": true},
            {"window": "1h", "words": "every call", "default": false, "refused": "it runs code"}
        ],
        "narrow": ["path"],
        "differs": {"since": "2026-01-01T00:01:00.000Z",
            "changes": [
                {"path": "/mode", "was": "append", "now": "overwrite"},
                {"path": "/content", "was": "2 lines, 5 bytes", "now": "2 lines, 8 bytes", "form": "size"},
                {"path": "/path", "was": "old.md", "now": "a.md", "form": "thing"}
            ]},
        "cardDigest": digest()
    })
}

/// Another capability of the same card.
pub(crate) fn hidden() -> Value {
    json!({"id": "w.hidden", "verbs": [], "label": null, "input": "hidden-input", "windows": [], "plan": {
        "preview": {"headline": "hidden-plan", "facts": [], "form": "fields", "cut": false},
        "previewDigest": digest(), "stateToken": digest(), "rating": "read", "summary": "", "touched": [],
        "warnings": []
    }})
}

/// A source that changed.
pub(crate) fn change() -> Value {
    json!({
        "pendingId": ITEM, "kind": "change", "state": "pending", "createdAt": "2026-01-01T00:00:00.000Z",
        "capabilities": ["notes.read"], "reasons": ["it changed"], "pendingNarration": [], "asks": [],
        "source": {"id": "notes", "label": "My\nnotes"}, "agents": ["a", "b"],
        "changes": [{"about": "notes.read", "words": ["it also takes `x`"], "at": "2026-01-01T00:00:00.000Z"}],
        "choices": [{"window": "once", "words": "its grant goes on", "default": true}],
        "narrow": [], "differs": null, "ifApproved": "its 2 grants go on", "ifDenied": "its 2 grants end",
        "definitions": null, "cardDigest": digest()
    })
}

/// The card of one call with this id.
pub(crate) fn waiting(id: &str) -> Item {
    let mut card = grant();
    card["pendingId"] = id.into();
    read(card)
}

/// Answers for these windows; a window with words against it cannot be chosen.
pub(crate) fn choices(of: &[(TrustWindow, Option<&str>)]) -> Vec<Choice> {
    let choice = |(window, refused): &(TrustWindow, Option<&str>)| Choice {
        window: *window,
        words: match window {
            TrustWindow::Once => "this one".to_owned(),
            _ => "every".to_owned(),
        },
        default: *window == TrustWindow::Once,
        any_input: false,
        refused: refused.map(str::to_owned),
    };
    of.iter().map(choice).collect()
}
