//! A call in words, the same in a terminal and in a browser.
//!
//! Invariant: what a call touched is named in its line, whatever its worker chose to say of it.

use super::{ActivityCall, ActivityKind, CallBasis, Totals};
use plexus_protocol::{Effect, words::counted};
use std::borrow::Cow;

/// The reason of a refusal where what a source runs is not what the owner agreed to.
const CODE_CHANGED: &str = "code_changed";

/// Things of one call that are named; the rest is counted.
const NAMED: usize = 3;

/// A text that says something.
fn given(text: &Option<String>) -> Option<&str> {
    text.as_deref().filter(|text| !text.is_empty())
}

/// What happened. Not escaped: parts of it are an agent's or a worker's.
#[must_use]
pub fn said(call: &ActivityCall) -> String {
    let id = given(&call.capability_id).unwrap_or_default();
    match call.did {
        ActivityKind::Read => format!("{}{}", deed(call, "read"), beside(call)),
        ActivityKind::Changed => format!("{}{}", deed(call, "changed"), beside(call)),
        ActivityKind::Failed => format!(
            "failed at {id}{}: {}{}{}",
            so_far(call.effect, given(&call.summary)),
            why(call),
            things(call, ""),
            given(&call.summary).map_or_else(String::new, |kept| format!("; {kept}"))
        ),
        ActivityKind::Refused => {
            // The line begins with the agent, or with `you`.
            let was = if call.agent_id.is_some() {
                "was"
            } else {
                "were"
            };
            match given(&call.capability_id).or(given(&call.asked)) {
                None => format!("{was} refused: {}", why(call)),
                Some(id) => {
                    let allowed = match call.basis {
                        Some(CallBasis::Item(_)) => " (approved by you)",
                        _ => "",
                    };
                    let what = things(call, "");
                    format!("{was} refused {id}: {}{what}{allowed}", why(call))
                }
            }
        }
        ActivityKind::Unknown => {
            let then = match call.unsettled == Some(true) {
                true => format!(": plexusctl unknown list {}", call.audit_id),
                false => ", settled since".to_owned(),
            };
            let what = things(call, "");
            format!(
                "{id}: NOT KNOWN whether it happened ({}){what}{then}",
                why(call)
            )
        }
        ActivityKind::UnderWay => format!("{id} is under way"),
        ActivityKind::Asked => match given(&call.agent_purpose) {
            None => format!("asked you for {}", wanted(id)),
            Some(purpose) => format!("asked you for {}, purpose: {purpose}", wanted(id)),
        },
        ActivityKind::Denied => match given(&call.reason) {
            None => format!("was denied {} by you", wanted(id)),
            Some(reason) => format!("was denied {} by you ({reason})", wanted(id)),
        },
        ActivityKind::Settled if call.in_part => {
            format!("{id}: you recorded that a part of it happened")
        }
        ActivityKind::Settled if call.happened == Some(true) => {
            format!("{id}: you recorded that it happened")
        }
        ActivityKind::Settled => format!("{id}: you recorded that it did not happen"),
        ActivityKind::Expired => {
            let wanted = match id {
                "" => Cow::Borrowed("what it asked for"),
                id => wanted(id),
            };
            format!("did not get {wanted}: {}", why(call))
        }
    }
}

/// What was asked for: a capability, or the extension that this name stands for.
fn wanted(id: &str) -> Cow<'_, str> {
    // No source lends a capability of this name.
    match id.split_once('.') {
        Some((source, "extension")) => format!("the extension {source}").into(),
        _ => id.into(),
    }
}

/// How much was done of a call that failed, as it goes on after the call. `kept` says by itself what was done on a copy, of which
/// a part may be in the folder, too.
#[must_use]
pub fn so_far(effect: Option<Effect>, kept: Option<&str>) -> &'static str {
    match effect {
        Some(Effect::None) | None if kept.is_some() => "",
        Some(Effect::Partial) => ", a part of it was done",
        Some(Effect::Done) => ", which ran",
        Some(Effect::Unknown) => ", NOT KNOWN whether it happened",
        Some(Effect::None) | None => ", nothing was done",
    }
}

/// Whether calls of this kind that say the same may share a line. What changed something never does.
#[must_use]
pub fn folds(did: ActivityKind) -> bool {
    use ActivityKind::{Asked, Denied, Failed, Read, Refused};
    matches!(did, Read | Refused | Failed | Asked | Denied)
}

/// What the worker says that it did, and everything touched that this does not name.
fn deed(call: &ActivityCall, verb: &str) -> String {
    if let Some(summary) = given(&call.summary) {
        return format!("{summary}{}", things(call, summary));
    }
    let id = given(&call.capability_id).unwrap_or_default();
    match things(call, "").strip_prefix(": ") {
        Some(things) => format!("{verb} {things}"),
        None => format!("{verb} by {id}"),
    }
}

/// What was touched and is not named in `told`.
fn things(call: &ActivityCall, told: &str) -> String {
    let touched = call.touched.as_deref().unwrap_or_default();
    let count = call.touched_count.unwrap_or(touched.len());
    // A folder's root has an empty name; naming it says nothing.
    let named: Vec<&str> = touched
        .iter()
        .map(|thing| thing.id.as_str())
        .filter(|id| !id.is_empty() && !told.contains(id))
        .take(NAMED)
        .collect();
    let left = match touched.iter().all(|thing| told.contains(&thing.id)) {
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
fn beside(call: &ActivityCall) -> String {
    let mut parts: Vec<String> = given(&call.source).map(str::to_owned).into_iter().collect();
    if call.did == ActivityKind::Read {
        let answer = |bytes| format!("answer of {}", size(bytes));
        parts.extend(call.output_bytes.map(answer));
    }
    match &call.basis {
        Some(CallBasis::Item(_)) => parts.push("approved by you".to_owned()),
        Some(CallBasis::Grant(_)) if call.did == ActivityKind::Changed => {
            parts.push("by standing grant".to_owned());
        }
        _ => {}
    }
    match parts.is_empty() {
        true => String::new(),
        false => format!(" ({})", parts.join(", ")),
    }
}

/// Why a call was not made, failed, or is not known. Not escaped, as [`said`].
#[must_use]
pub fn why(call: &ActivityCall) -> String {
    let code = call.code.as_deref().unwrap_or_default();
    let reason = call.reason.as_deref().unwrap_or_default();
    match call.did {
        ActivityKind::Refused => {
            let has_grant = matches!(call.basis, Some(CallBasis::Grant(_)));
            refusal_in_words(code, reason, has_grant)
        }
        _ => reason_in_words(code, reason),
    }
}

/// Why a call was not made, as [`reason_in_words`]; `has_grant` where a grant was held against it.
#[must_use]
pub fn refusal_in_words(code: &str, reason: &str, has_grant: bool) -> String {
    match code {
        "grant_required" if has_grant && reason != CODE_CHANGED => {
            "what you granted does not reach it".to_owned()
        }
        "approval_required" if reason == "outside" => {
            "it lies outside of what you granted, so you were asked".to_owned()
        }
        "outcome_unknown" => "an earlier same call is not settled".to_owned(),
        _ => reason_in_words(code, reason),
    }
}

/// Why a call came to nothing, by its code and the reason beside it; either may be empty. A word of code that has none here is
/// shown without its underscores.
#[must_use]
pub fn reason_in_words(code: &str, reason: &str) -> String {
    let plain = code.replace('_', " ");
    let words = match (code, reason) {
        ("grant_required", CODE_CHANGED) => {
            return "what it runs had changed: plexusctl approvals".to_owned();
        }
        ("precondition_changed" | "transport_error" | "source_unavailable", reason)
            if let Some(words) = of_source(reason) =>
        {
            return words.to_owned();
        }
        ("", "") => return "no reason is recorded".to_owned(),
        ("", "the daemon ended") => return "the gateway ended".to_owned(),
        ("", reason) => return reason.to_owned(),
        ("paused", _) => "you have paused all agents",
        // The reason is the owner's own.
        ("denied_by_owner", "") => return "you denied this before".to_owned(),
        ("denied_by_owner", reason) => return format!("you denied this before ({reason})"),
        ("grant_required", _) => "nothing allows it",
        ("token_revoked" | "token_expired", _) => "its token is over",
        ("session_expired", _) => "its session is over",
        ("unknown_capability", _) => "there is no such capability for it, or its source is off",
        ("capability_unexposed", _) => "it is hidden",
        ("schema_validation_failed", _) => "its input does not fit",
        ("rate_limited", _) => "too much at once",
        ("precondition_changed", _) => "what it was about had changed",
        ("approval_required", _) => "you have to approve it",
        ("source_unavailable", _) => "the source cannot be reached",
        ("transport_error", _) => "the source could not do it",
        ("outcome_unknown", _) => "there was no answer",
        ("busy", _) => "too many calls waited",
        ("audit_unavailable", _) => "it could not be recorded",
        ("permission_denied", _) => "the system refused it",
        ("deadline_exceeded", _) => "it took longer than it may",
        ("cancelled", "owner") => return "you stopped it".to_owned(),
        ("cancelled", "agent") => return "it was cancelled by the agent".to_owned(),
        ("cancelled", "stop") => return "the gateway was stopped".to_owned(),
        ("cancelled", "source") => return "its source was disabled, changed or removed".to_owned(),
        ("cancelled", "pause") => return "you paused all agents".to_owned(),
        ("cancelled", "revoke") => return "you revoked what allowed it".to_owned(),
        ("cancelled", _) => "it was cancelled",
        ("internal_error", _) => "the gateway failed at it",
        _ => &plain,
    };
    match reason {
        "" => words.to_owned(),
        reason => format!("{words} ({})", reason.replace('_', " ")),
    }
}

/// Words for what a source, its worker or a program that it runs met, by the detail's reason.
fn of_source(reason: &str) -> Option<&'static str> {
    Some(match reason {
        "unread" => "it had not read what it would replace",
        "plan_changed" => "it would no longer do what you saw",
        "changed" | "changed_since" | "digest" | "outdated" => "what it was about had changed",
        "conflict" => "it does not go together with what is there",
        "gone" => "what it was about is gone",
        "gone_already" => "what it made is gone already",
        "no_change" => "it named no change that is known",
        "already_undone" => "it was taken back already",
        "already_applied" => "it was applied already",
        "already_done" => "it was done already",
        CODE_CHANGED => "what it runs is not what you agreed to, so it is stopped",
        "definition_changed" => "the tool is not the one that you agreed to",
        "not_found" => "what it named is not there",
        "path_confinement" => "its path is not inside of what you share",
        "symlink" => "its path leads through a symbolic link",
        "leads_out" => "its repository leads out of what you share, or is not read",
        "hard_link" => "the file has a second name, which may lie elsewhere",
        "ambiguous" => "what it named is there more than once",
        "too_large" => "it is too large",
        "not_text" => "what it named is no text",
        "not_kept" => "what was there before is not kept",
        "read_only" => "it can be read and not changed",
        "not_undoable" => "it cannot be taken back",
        "io" => "the disk or the system failed at it",
        "timeout" | "timed_out" => "there was no answer in time",
        "rate_limited" => "its server takes no more calls for now",
        "refused" => "its program or server refused it",
        "server_refused" => "its server refused it",
        "server_error" => "its server failed at it",
        "not_a_file" => "a file is needed there",
        "not_a_directory" => "a folder is needed there",
        "damaged" => "it is damaged",
        "hidden" => "it is hidden",
        "exists" => "it is there already",
        "busy" => "something else is at it",
        "bad_answer" | "not_json" => "the answer could not be read",
        "broken_off" => "the connection broke off",
        "command_failed" => "the command failed",
        "tool_failed" => "it says that it failed",
        "stopped" => "its worker stopped",
        "CannotStart" => "its worker could not be started",
        "CannotOpen" => "the source could not be opened",
        "Replaced" => "the source was changed meanwhile",
        "Unsendable" => "its input is too large",
        "agent_failed" => "the program that the source runs failed",
        "agent_killed" => "the program that the source runs was ended from outside",
        "out_of_time" => "its time was over",
        "key_refused" => "the model server does not accept the key or the sign-in",
        "model_refused" => "the model server refuses the model",
        "turn_failed" => "the model server or its program failed at it",
        "no_host_tools" => "the program cannot use tools of the gateway",
        "over_limit" => "it went beyond a limit",
        "disk_full" => "the disk is full",
        _ => return None,
    })
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
#[must_use]
pub fn totals(totals: Totals) -> String {
    let no_calls = totals.asked + totals.denied + totals.settled + totals.expired;
    let calls = totals.all() - no_calls;
    let mut told = vec![
        format!("{} read", totals.read),
        format!("{} changed", totals.changed),
        format!("{} refused", totals.refused),
        format!("{} unknown", totals.unknown),
    ];
    for (count, word) in [(totals.failed, "failed"), (totals.under_way, "under way")] {
        if count > 0 {
            told.push(format!("{count} {word}"));
        }
    }
    let mut line = format!("{}: {}", counted(calls, "call"), told.join(", "));
    if totals.asked > 0 {
        line.push_str(&format!("; {} to you", counted(totals.asked, "request")));
    }
    if totals.denied > 0 {
        line.push_str(&format!("; {} denied by you", totals.denied));
    }
    if totals.expired > 0 {
        line.push_str(&format!("; {} came to nothing", totals.expired));
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    /// A call with these members.
    fn call(mut members: Value) -> ActivityCall {
        for (member, usual) in [
            ("auditId", json!("evt_0")),
            ("seq", json!(1)),
            ("at", json!("2026-11-20T00:00:00.000Z")),
        ] {
            if members.get(member).is_none() {
                members[member] = usual;
            }
        }
        serde_json::from_value(members).unwrap()
    }

    /// A thing that was touched.
    fn thing(id: &str) -> Value {
        json!({"kind": "file", "id": id, "access": "read"})
    }

    #[test]
    fn calls_in_words() {
        let touched = json!(["a.md", "b.md", "c.md", "d.md"].map(thing));
        for (members, words) in [
            (
                json!({"did": "changed", "source": "w", "summary": "replaced notes/today.md, +12 −3",
                    "touched": [thing("notes/today.md")], "basis": {"item": "pend_1"}}),
                "replaced notes/today.md, +12 −3 (w, approved by you)",
            ),
            (
                json!({"did": "changed", "source": "w", "touched": [thing("a.md")], "basis": {"grant": 3}}),
                "changed a.md (w, by standing grant)",
            ),
            (
                json!({"did": "read", "source": "w", "summary": "found 25 places", "touched": touched,
                    "touchedCount": 25, "outputBytes": 999}),
                "found 25 places: a.md, b.md, c.md and 22 more (w, answer of 999 B)",
            ),
            (
                json!({"did": "read", "source": "w", "summary": "read something else", "touched": [thing("secret.md")]}),
                "read something else: secret.md (w)",
            ),
            (
                json!({"did": "refused", "agentId": "cc", "capabilityId": "w.write", "code": "denied_by_owner", "reason": "not now"}),
                "was refused w.write: you denied this before (not now)",
            ),
            (
                json!({"did": "refused", "agentId": "cc", "capabilityId": "w.write", "code": "grant_required"}),
                "was refused w.write: nothing allows it",
            ),
            (
                json!({"did": "refused", "agentId": "cc", "capabilityId": "w.write", "code": "grant_required",
                    "basis": {"grant": 33}}),
                "was refused w.write: what you granted does not reach it",
            ),
            (
                json!({"did": "refused", "agentId": "cc", "capabilityId": "w.write", "code": "precondition_changed", "reason": "unread",
                    "touched": [thing("a.md")]}),
                "was refused w.write: it had not read what it would replace: a.md",
            ),
            (
                json!({"did": "refused", "agentId": "cc", "asked": "no.such", "code": "unknown_capability"}),
                "was refused no.such: there is no such capability for it, or its source is off",
            ),
            (
                json!({"did": "refused", "capabilityId": "w.undo", "code": "unknown_capability"}),
                "were refused w.undo: there is no such capability for it, or its source is off",
            ),
            (
                json!({"did": "failed", "capabilityId": "w.read", "code": "transport_error", "reason": "not_found"}),
                "failed at w.read, nothing was done: what it named is not there",
            ),
            (
                json!({"did": "failed", "capabilityId": "codex.run", "reason": "the daemon ended"}),
                "failed at codex.run, nothing was done: the gateway ended",
            ),
            (
                json!({"did": "failed", "capabilityId": "codex.run", "code": "source_unavailable", "reason": "stopped"}),
                "failed at codex.run, nothing was done: its worker stopped",
            ),
            (
                json!({"did": "failed", "capabilityId": "filing.file", "code": "transport_error", "reason": "not_found", "effect": "partial"}),
                "failed at filing.file, a part of it was done: what it named is not there",
            ),
            (
                json!({"did": "failed", "capabilityId": "tea.burn", "code": "transport_error", "reason": "tool_failed", "effect": "done"}),
                "failed at tea.burn, which ran: it says that it failed",
            ),
            (
                json!({"did": "failed", "capabilityId": "codex.run", "code": "cancelled", "reason": "owner", "effect": "none",
                    "summary": "what it did until then is in the change set cs_1"}),
                "failed at codex.run: you stopped it; what it did until then is in the change set cs_1",
            ),
            (
                json!({"did": "failed", "capabilityId": "codex.run", "code": "transport_error", "reason": "io", "effect": "partial",
                    "summary": "what it did until then is in the change set cs_1"}),
                "failed at codex.run, a part of it was done: the disk or the system failed at it; \
                 what it did until then is in the change set cs_1",
            ),
            (
                json!({"did": "refused", "capabilityId": "w.write", "code": "outcome_unknown"}),
                "were refused w.write: an earlier same call is not settled",
            ),
            (
                json!({"did": "unknown", "capabilityId": "w.write", "code": "outcome_unknown", "auditId": "evt_1",
                    "unsettled": true}),
                "w.write: NOT KNOWN whether it happened (there was no answer): plexusctl unknown list evt_1",
            ),
            (
                json!({"did": "failed", "agentId": "cc", "capabilityId": "codex.run", "code": "transport_error",
                    "reason": "agent_failed"}),
                "failed at codex.run, nothing was done: the program that the source runs failed",
            ),
            (
                json!({"did": "refused", "agentId": "cc", "capabilityId": "w.write", "code": "precondition_changed",
                    "reason": "conflict"}),
                "was refused w.write: it does not go together with what is there",
            ),
            (
                json!({"did": "refused", "agentId": "cc", "capabilityId": "w.write", "code": "paused",
                    "touched": [thing("a.md")], "basis": {"item": "pend_1"}}),
                "was refused w.write: you have paused all agents: a.md (approved by you)",
            ),
            (
                json!({"did": "refused", "agentId": "cc", "capabilityId": "tea.burn", "code": "grant_required",
                    "reason": "code_changed", "basis": {"item": "pend_1"}}),
                "was refused tea.burn: what it runs had changed: plexusctl approvals (approved by you)",
            ),
            (
                json!({"did": "refused", "agentId": "cc", "capabilityId": "tea.burn", "code": "source_unavailable",
                    "reason": "code_changed"}),
                "was refused tea.burn: what it runs is not what you agreed to, so it is stopped",
            ),
            (
                json!({"did": "denied", "agentId": "cc", "capabilityId": "w.write", "reason": "not now"}),
                "was denied w.write by you (not now)",
            ),
            (
                json!({"did": "asked", "capabilityId": "w.write", "agentPurpose": "tidy up"}),
                "asked you for w.write, purpose: tidy up",
            ),
            (
                json!({"did": "asked", "capabilityId": "diary.extension"}),
                "asked you for the extension diary",
            ),
            (
                json!({"did": "asked", "capabilityId": "diary.read.extension"}),
                "asked you for diary.read.extension",
            ),
            (
                json!({"did": "expired", "capabilityId": "w.write", "reason": "the request expired undecided"}),
                "did not get w.write: the request expired undecided",
            ),
        ] {
            assert_eq!(said(&call(members)), words);
        }
    }

    #[test]
    fn no_code_is_shown_to_a_person() {
        let codes = plexus_protocol::ErrorCode::ALL
            .iter()
            .map(|code| code.as_str());
        for code in codes.filter(|code| *code != "denied_by_owner") {
            for reason in ["", "odd_name"] {
                let words = reason_in_words(code, reason);
                assert!(!words.contains('_'), "{code}, {reason}: {words}");
            }
        }
        #[rustfmt::skip]
        let rows = [
            ("precondition_changed", "plan_changed", "it would no longer do what you saw"),
            ("source_unavailable", "CannotOpen", "the source could not be opened"),
            // The owner's own word.
            ("denied_by_owner", "not_now", "you denied this before (not_now)"),
        ];
        for (code, reason, words) in rows {
            assert_eq!(reason_in_words(code, reason), words);
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
