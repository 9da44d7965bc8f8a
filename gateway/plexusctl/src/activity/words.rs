//! A call in words.
//!
//! Invariant: what a call touched is named in its line, whatever its worker chose to say of it.

use crate::owner::{list_of, text_of};
use serde_json::{Map, Value};

/// Things of one call that are named; the rest is counted.
const NAMED: usize = 3;

/// What happened. Not escaped: parts of it are an agent's or a worker's.
pub(super) fn said(call: &Value) -> String {
    let id = text_of(call, "capabilityId");
    let did = text_of(call, "did");
    match did {
        "read" => format!("{}{}", deed(call, "read"), beside(call, did)),
        "changed" => format!("{}{}", deed(call, "changed"), beside(call, did)),
        "failed" => format!(
            "failed at {id}, nothing was done: {}{}",
            why(call),
            things(call, "")
        ),
        "refused" => {
            let id = match (id, text_of(call, "asked")) {
                ("", asked) => asked,
                (id, _) => id,
            };
            match id {
                "" => format!("was refused: {}", why(call)),
                id => format!("was refused {id}: {}{}", why(call), things(call, "")),
            }
        }
        "unknown" => {
            let event = text_of(call, "auditId");
            let then = match call["unsettled"] == true {
                true => format!(": plexusctl unknown list {event}"),
                false => ", settled since".to_owned(),
            };
            let what = things(call, "");
            format!(
                "{id}: NOT KNOWN whether it happened ({}){what}{then}",
                why(call)
            )
        }
        "underWay" => format!("{id} is under way"),
        "asked" => match text_of(call, "agentPurpose") {
            "" => format!("asked you for {id}"),
            purpose => format!("asked you for {id}, purpose: {purpose}"),
        },
        "settled" if call["happened"] == true => format!("{id}: you recorded that it happened"),
        "settled" => format!("{id}: you recorded that it did not happen"),
        other => format!("{id}: {other}"),
    }
}

/// Whether calls of this kind that say the same may share a line. What changed something never does.
pub(super) fn folds(did: &str) -> bool {
    matches!(did, "read" | "refused" | "failed" | "asked")
}

/// What the worker says that it did, and everything touched that this does not name.
fn deed(call: &Value, verb: &str) -> String {
    let summary = text_of(call, "summary");
    if summary.is_empty() {
        return match things(call, summary).strip_prefix(": ") {
            Some(things) => format!("{verb} {things}"),
            None => format!("{verb} by {}", text_of(call, "capabilityId")),
        };
    }
    format!("{summary}{}", things(call, summary))
}

/// What was touched and is not named in `told`.
fn things(call: &Value, told: &str) -> String {
    let touched = list_of(call, "touched");
    let count = call["touchedCount"]
        .as_u64()
        .and_then(|count| usize::try_from(count).ok())
        .unwrap_or(touched.len());
    // A folder's root has an empty name; naming it says nothing.
    let named: Vec<&str> = touched
        .iter()
        .map(|thing| text_of(thing, "id"))
        .filter(|id| !id.is_empty() && !told.contains(id))
        .take(NAMED)
        .collect();
    let left = match touched.iter().all(|t| told.contains(text_of(t, "id"))) {
        true => 0,
        false => count.saturating_sub(named.len()),
    };
    match (named.is_empty(), left) {
        (true, _) => String::new(),
        (false, 0) => format!(": {}", named.join(", ")),
        (false, left) => format!(": {} and {left} more", named.join(", ")),
    }
}

/// Where, how much, and who allowed it.
fn beside(call: &Value, did: &str) -> String {
    let mut parts = vec![text_of(call, "source").to_owned()];
    if did == "read" {
        parts.extend(call["outputBytes"].as_u64().map(size));
    }
    let basis = &call["basis"];
    if basis["item"].is_string() {
        parts.push("approved by you once".to_owned());
    } else if did == "changed" && !basis["grant"].is_null() {
        parts.push("by standing grant".to_owned());
    }
    parts.retain(|part| !part.is_empty());
    match parts.is_empty() {
        true => String::new(),
        false => format!(" ({})", parts.join(", ")),
    }
}

/// Why not. A code that has no words of its own here is told as it is.
fn why(call: &Value) -> String {
    let reason = text_of(call, "reason");
    let words = match (text_of(call, "code"), reason) {
        ("precondition_changed", "unread") => {
            return "it had not read what it would replace".to_owned();
        }
        ("", "") => return "no reason is recorded".to_owned(),
        ("", "the daemon ended") => return "the gateway ended".to_owned(),
        ("", reason) => return reason.to_owned(),
        ("paused", _) => "you have paused all agents",
        ("denied_by_owner", _) => "you denied this before",
        ("grant_required", _) => "nothing allows it",
        ("token_revoked" | "token_expired", _) => "its token is over",
        ("session_expired", _) => "its session is over",
        ("unknown_capability", _) => "there is no such capability for it",
        ("capability_unexposed", _) => "it is hidden",
        ("schema_validation_failed", _) => "its input does not fit",
        ("rate_limited", _) => "too much at once",
        ("precondition_changed", _) => "what it was about had changed",
        ("approval_required", _) => "you have to approve it",
        ("source_unavailable", _) => "the source cannot be reached",
        ("outcome_unknown", _) => "there was no answer",
        (code, _) => code,
    };
    match reason {
        "" => words.to_owned(),
        reason => format!("{words} ({reason})"),
    }
}

/// `0 B`, `812 B`, `3.1 KB`, `12 MB`.
fn size(bytes: u64) -> String {
    let tenths = |unit: u64| (bytes + unit / 20) / (unit / 10);
    let with = |unit: u64, name: &str| match tenths(unit) {
        tenths @ ..100 => format!("{}.{} {name}", tenths / 10, tenths % 10),
        tenths => format!("{} {name}", tenths / 10),
    };
    match bytes {
        ..1_000 => format!("{bytes} B"),
        1_000..1_000_000 => with(1_000, "KB"),
        _ => with(1_000_000, "MB"),
    }
}

/// How many calls of which kind.
pub(super) fn totals(totals: &Map<String, Value>) -> String {
    let count = |word: &str| totals.get(word).and_then(Value::as_u64).unwrap_or(0);
    let kinds = [
        "read", "changed", "refused", "unknown", "failed", "underWay",
    ];
    let calls: u64 = kinds.iter().map(|kind| count(kind)).sum();
    let mut told: Vec<String> = kinds[..4]
        .iter()
        .map(|kind| format!("{} {kind}", count(kind)))
        .collect();
    for (kind, word) in [("failed", "failed"), ("underWay", "under way")] {
        if count(kind) > 0 {
            told.push(format!("{} {word}", count(kind)));
        }
    }
    let s = |n: u64| if n == 1 { "" } else { "s" };
    let mut line = format!("{calls} call{}: {}", s(calls), told.join(", "));
    let asked = count("asked");
    if asked > 0 {
        line.push_str(&format!("; {asked} request{} to you", s(asked)));
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn calls_in_words() {
        let touched = json!([{"id": "a.md"}, {"id": "b.md"}, {"id": "c.md"}, {"id": "d.md"}]);
        for (call, words) in [
            (
                json!({"did": "changed", "source": "w", "summary": "replaced notes/today.md, +12 −3",
                    "touched": [{"id": "notes/today.md"}], "basis": {"item": "pend_1"}}),
                "replaced notes/today.md, +12 −3 (w, approved by you once)",
            ),
            (
                json!({"did": "changed", "source": "w", "touched": [{"id": "a.md"}], "basis": {"grant": 3}}),
                "changed a.md (w, by standing grant)",
            ),
            (
                json!({"did": "read", "source": "w", "summary": "found 25 places", "touched": touched,
                    "touchedCount": 25, "outputBytes": 999}),
                "found 25 places: a.md, b.md, c.md and 22 more (w, 999 B)",
            ),
            (
                json!({"did": "read", "source": "w", "summary": "read something else", "touched": [{"id": "secret.md"}]}),
                "read something else: secret.md (w)",
            ),
            (
                json!({"did": "refused", "capabilityId": "w.write", "code": "denied_by_owner", "reason": "not now"}),
                "was refused w.write: you denied this before (not now)",
            ),
            (
                json!({"did": "refused", "capabilityId": "w.write", "code": "precondition_changed", "reason": "unread",
                    "touched": [{"id": "a.md"}]}),
                "was refused w.write: it had not read what it would replace: a.md",
            ),
            (
                json!({"did": "refused", "asked": "no.such", "code": "unknown_capability"}),
                "was refused no.such: there is no such capability for it",
            ),
            (
                json!({"did": "failed", "capabilityId": "w.read", "code": "transport_error", "reason": "not_found"}),
                "failed at w.read, nothing was done: transport_error (not_found)",
            ),
            (
                json!({"did": "failed", "capabilityId": "codex.run", "reason": "the daemon ended"}),
                "failed at codex.run, nothing was done: the gateway ended",
            ),
            (
                json!({"did": "unknown", "capabilityId": "w.write", "code": "outcome_unknown", "auditId": "evt_1",
                    "unsettled": true}),
                "w.write: NOT KNOWN whether it happened (there was no answer): plexusctl unknown list evt_1",
            ),
            (
                json!({"did": "asked", "capabilityId": "w.write", "agentPurpose": "tidy up"}),
                "asked you for w.write, purpose: tidy up",
            ),
        ] {
            assert_eq!(said(&call), words);
        }
    }

    #[test]
    fn sizes() {
        for (bytes, text) in [
            (0, "0 B"),
            (999, "999 B"),
            (1_000, "1.0 KB"),
            (3_140, "3.1 KB"),
            (9_949, "9.9 KB"),
            (12_345, "12 KB"),
            (1_048_576, "1.0 MB"),
        ] {
            assert_eq!(size(bytes), text);
        }
    }
}
