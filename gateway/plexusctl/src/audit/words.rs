//! What an event says, in a sentence for its owner.
//!
//! An event that is not known here is told by its own names: nothing of the record is left out.

use crate::owner::{list_of, text_of};
use plexus_protocol::TrustWindow;
use serde_json::Value;

/// What happened. Not escaped: parts of it are an agent's or a worker's.
pub(super) fn said(event: &Value) -> String {
    let capability = text_of(event, "capabilityId");
    // The ledger's own, which have no detail.
    match text_of(event, "type") {
        "audit.sealed" => {
            let file = text_of(event, "file");
            return format!(
                "events {} to {} are put into {file}",
                event["first"], event["last"]
            );
        }
        "audit.forgotten" => {
            let file = text_of(event, "file");
            return format!(
                "you GIVE UP events {} to {}, in {file}",
                event["first"], event["last"]
            );
        }
        _ => {}
    }
    let what = happened(event, &event["detail"]);
    if capability.is_empty() {
        what
    } else {
        format!("{capability}: {what}")
    }
}

fn happened(event: &Value, detail: &Value) -> String {
    let text = |member: &str| text_of(detail, member);
    let count = |member: &str| detail[member].as_u64().unwrap_or(0);
    let because = |what: &str, member: &str| match text(member) {
        "" => what.to_owned(),
        why => format!("{what}: {why}"),
    };
    match text("event") {
        "call.read" => call("read", detail),
        "call.intent" => match (count("turn"), text("via")) {
            (0, _) => "begins".to_owned(),
            (turn, "") => format!("begins, turn {turn} of its conversation"),
            (run, via) => format!("begins, run {run} that {via} makes"),
        },
        "call.outcome" => call("done", detail),
        "grant.pending" => because("asks you", "agentPurpose"),
        "plan.ready" => "what it would do is computed".to_owned(),
        "plan.failed" => "what it would do could not be computed".to_owned(),
        "plan.again" => "what it would do is computed again".to_owned(),
        "grant.allow" => allowed(detail),
        "grant.deny" => because("you denied it", "reason"),
        "grant.revoke" => because("revoked", "reason"),
        "extension.register" => {
            format!("you add the extension {} that it proposed", text("source"))
        }
        "item.lapse" => "the request lapsed undecided".to_owned(),
        "item.void" => because("the request is void", "why"),
        "turns.end" => because("its approval permits no further call", "why"),
        "item.not_made" => because("an approved call was not made", "why"),
        "agent.connect" => match (count("grantedCount"), count("skippedCount")) {
            (granted, 0) => format!("you connect it, {granted} granted at once"),
            (granted, skipped) => {
                format!("you connect it, {granted} granted at once, {skipped} not")
            }
        },
        "agent.deliver" => match detail["reissued"].as_bool() {
            Some(true) => "you replace its credential: a new code is made".to_owned(),
            _ if detail["code"] == true => {
                "you fetch what it is set up from: a new code is made".to_owned()
            }
            _ => "you fetch what it is set up from".to_owned(),
        },
        "agent.enroll" if text("outcome") == "redeemed" => "enrolls".to_owned(),
        "agent.enroll" => because("an enrollment code is refused", "reason"),
        "agent.revoke" => because("you end its access", "reason"),
        "session.open" => match text("client") {
            "" => "opens a session".to_owned(),
            client => format!("opens a session with {client}"),
        },
        "credential.refused" if count("count") > 0 => format!(
            "{} more wrong {}s are refused, from {}",
            count("count"),
            text("credential"),
            text("peer")
        ),
        "credential.refused" => format!(
            "a wrong {} is refused ({}, from {})",
            text("credential"),
            text("reason"),
            text("peer")
        ),
        "token.issue" => "gets a token".to_owned(),
        "token.refresh" => "renews a token".to_owned(),
        "exposure.set" if detail["enabled"] == true => "you expose it".to_owned(),
        "exposure.set" => "you hide it".to_owned(),
        "default-grant.set" if detail["ticked"] == true => "granted to new agents".to_owned(),
        "default-grant.set" => "no longer granted to new agents".to_owned(),
        "source.change" => source(detail),
        "sources.unsandboxed" => {
            let all = list_of(detail, "sources").iter();
            let all: Vec<_> = all.filter_map(Value::as_str).collect();
            format!("you let RUN WITHOUT A SANDBOX: {}", all.join(", "))
        }
        "worker.start" if detail["unsandboxed"] == true => {
            format!(
                "{} of {} starts WITHOUT A SANDBOX",
                text("role"),
                text("source")
            )
        }
        // The same report as before, or one that came too soon after another.
        "worker.start" if detail["cage"].is_null() => {
            format!(
                "{} of {} starts; its cage held",
                text("role"),
                text("source")
            )
        }
        "worker.restarts" => format!(
            "{} of {} started {} more times and ended {}",
            text("role"),
            text("source"),
            count("starts"),
            count("ends")
        ),
        "worker.start" => {
            let checks = list_of(&detail["cage"], "checks");
            let held = checks.iter().filter(|c| c["held"] == true).count();
            format!(
                "{} of {} starts; its cage held in {held} of {} checks",
                text("role"),
                text("source"),
                checks.len()
            )
        }
        "worker.refused" => because(
            &format!("{} of {} did not start", text("role"), text("source")),
            "why",
        ),
        "worker.end" => because(
            &format!("{} of {} ends", text("role"), text("source")),
            "cause",
        ),
        "worker.egress" => format!("{} reaches {}", text("source"), reached(detail)),
        "run.cage" => may_reach(detail),
        "settings.change" => "you change the settings".to_owned(),
        "network.set" => {
            let addresses: Vec<_> = list_of(detail, "bindAddresses")
                .iter()
                .filter_map(Value::as_str)
                .collect();
            format!("you choose where to listen: {}", addresses.join(" "))
        }
        "secret.set" => because("you set a secret", "name"),
        "secret.deleted" => because("a stored secret is deleted", "name"),
        "secret.kept" => format!(
            "you keep the stored secret {} for {}",
            text("name"),
            text("host")
        ),
        "key.rotate" => format!(
            "you replace the connection key; {} agents end",
            count("agents")
        ),
        "restored" => format!(
            "the state is restored from a backup of {}; every credential is revoked, {} grants are suspended",
            text("madeAt"),
            count("grantsSuspended")
        ),
        "agent.code" => "you give it another code; its old credential ends".to_owned(),
        "agent.bound" => "you say how much it may do".to_owned(),
        "console.link" => "you make a link into the console".to_owned(),
        "console.sign-in" => format!("you sign in to the console with a {}", text("by")),
        "console.sign-out" => "you sign out of the console".to_owned(),
        "pause" if detail["on"] == true => "you pause everything".to_owned(),
        "pause" => "you end the pause".to_owned(),
        "pause.signal" => "a signal pauses everything".to_owned(),
        "launch" => "the gateway starts".to_owned(),
        "upgrade.begin" => format!("you upgrade the gateway: {}", crate::upgrade::names(detail)),
        "upgraded" => format!("the gateway changed over {}", crate::upgrade::names(detail)),
        "upgrade.refused" => because("another build was refused; this one keeps running", "why"),
        "upgrade.failed" => because(
            "another build could not be started; this one keeps running",
            "why",
        ),
        "sweep" => format!("{} ended things are forgotten", count("forgotten")),
        "unknown.settle" if detail["happened"] == true => "you say that it happened".to_owned(),
        "unknown.settle" => "you say that it did not happen".to_owned(),
        "" if !text("code").is_empty() => because("refused", "code"),
        other => {
            let named = [other, text_of(event, "auditType"), text_of(event, "type")];
            let name = named.into_iter().find(|n| !n.is_empty()).unwrap_or("?");
            match text_of(event, "outcome") {
                "" => name.to_owned(),
                outcome => format!("{name}: {outcome}"),
            }
        }
    }
}

/// The hosts of a source's connections, each with what came of it.
fn reached(detail: &Value) -> String {
    let hosts = list_of(detail, "connections").iter().map(|to| {
        let (host, count) = (text_of(to, "host"), &to["count"]);
        let host = match to["port"] == 0 {
            // A Unix socket.
            true => host.to_owned(),
            false => format!("{host}:{}", to["port"]),
        };
        let host = match text_of(to, "call") {
            "" => host,
            call => format!("{host} for {call}"),
        };
        match text_of(to, "verdict") {
            "admitted" => format!(
                "{host} ({count} times, {} bytes in, {} out)",
                to["bytesIn"], to["bytesOut"]
            ),
            verdict => format!("{host} in vain ({count} times: {verdict})"),
        }
    });
    hosts.collect::<Vec<_>>().join(", ")
}

/// What the programs of a run may reach.
fn may_reach(detail: &Value) -> String {
    let programs = list_of(detail, "programs").iter().map(|child| {
        let profile = text_of(child, "profile");
        let profile = profile.get(..12).unwrap_or(profile);
        format!("{} under the profile {profile}", text_of(child, "program"))
    });
    let mut programs: Vec<_> = programs.collect();
    programs.dedup();
    let hosts: Vec<_> = list_of(detail, "hosts")
        .iter()
        .filter_map(Value::as_str)
        .collect();
    let hosts = if detail["hosts"].is_null() {
        "hosts that are not known".to_owned()
    } else if hosts.is_empty() {
        "no host".to_owned()
    } else {
        hosts.join(", ")
    };
    format!(
        "{} may run {} and reach {hosts}, for {}",
        text_of(detail, "source"),
        programs.join(", "),
        text_of(detail, "call")
    )
}

/// How a call went: what the worker says it did, or why not.
fn call(verb: &str, detail: &Value) -> String {
    let text = |member: &str| text_of(detail, member);
    let why = match (text("code"), text("reason")) {
        ("", reason) | (reason, "") => reason.to_owned(),
        (code, reason) => format!("{code}, {reason}"),
    };
    let why = if why.is_empty() {
        why
    } else {
        format!(" ({why})")
    };
    match (text("result"), text("summary")) {
        ("ok", "") => verb.to_owned(),
        ("ok", summary) => summary.to_owned(),
        ("unknown", _) => format!("NOT KNOWN whether it happened{why}"),
        ("", _) => format!("{verb}{why}"),
        (result, _) => format!("{result}, nothing was done{why}"),
    }
}

fn allowed(detail: &Value) -> String {
    let who = match text_of(detail, "policy") {
        "owner" => "you allow it",
        "user-confirm" => "you approve it",
        "connect" => "you allow it as you connect the agent",
        _ => "allowed by your settings",
    };
    let window: Option<TrustWindow> = serde_json::from_value(detail["trustWindow"].clone()).ok();
    let window = window.map_or(String::new(), |w| format!(" {}", w.phrase()));
    let narrowed = if detail["constrained"] == true {
        ", narrowed"
    } else {
        ""
    };
    format!("{who}{window}{narrowed}")
}

fn source(detail: &Value) -> String {
    let count = |member: &str| detail[member].as_u64().unwrap_or(0);
    let mut said = format!(
        "source {}: {}",
        text_of(detail, "source"),
        text_of(detail, "what")
    );
    if !text_of(detail, "why").is_empty() {
        said.push_str(&format!(" ({})", text_of(detail, "why")));
    }
    for (member, word) in [("grantsVoided", "void"), ("grantsSuspended", "suspended")] {
        if count(member) > 0 {
            said.push_str(&format!(", {} grants {word}", count(member)));
        }
    }
    said
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn events_in_words() {
        for (detail, words) in [
            (
                json!({"event": "call.outcome", "result": "ok", "summary": "replaced a.md, +1 −1"}),
                "w.write: replaced a.md, +1 −1",
            ),
            (
                json!({"event": "call.outcome", "result": "refused", "code": "precondition_changed", "reason": "unread"}),
                "w.write: refused, nothing was done (precondition_changed, unread)",
            ),
            (
                json!({"event": "call.outcome", "result": "unknown"}),
                "w.write: NOT KNOWN whether it happened",
            ),
            (json!({"event": "call.intent"}), "w.write: begins"),
            (
                json!({"event": "grant.allow", "policy": "owner", "trustWindow": {"kind": "1h", "ms": 3_600_000},
                    "constrained": true}),
                "w.write: you allow it for up to 1 hour, narrowed",
            ),
            (
                json!({"event": "grant.deny", "reason": "not now"}),
                "w.write: you denied it: not now",
            ),
            (
                json!({"event": "exposure.set", "enabled": false}),
                "w.write: you hide it",
            ),
            (
                json!({"code": "rate_limited"}),
                "w.write: refused: rate_limited",
            ),
            (
                json!({"event": "unheard.of"}),
                "w.write: unheard.of: denied",
            ),
        ] {
            let event = json!({"type": "invoke", "capabilityId": "w.write", "outcome": "denied", "detail": detail});
            assert_eq!(said(&event), words);
        }
        let worker = json!({"detail": {"event": "worker.start", "source": "w", "role": "reader",
            "cage": {"checks": [{"held": true}, {"held": false}]}}});
        assert_eq!(
            said(&worker),
            "reader of w starts; its cage held in 1 of 2 checks"
        );
        let again = json!({"detail": {"event": "worker.start", "source": "w", "role": "reader",
            "cageDigest": "00"}});
        assert_eq!(said(&again), "reader of w starts; its cage held");
        let more = json!({"detail": {"event": "worker.restarts", "source": "w", "role": "reader",
            "starts": 9, "ends": 10}});
        assert_eq!(said(&more), "reader of w started 9 more times and ended 10");
        let hosts = json!({"detail": {"event": "worker.egress", "source": "w", "connections": [
            {"host": "a.example", "port": 443, "verdict": "admitted", "count": 2, "bytesIn": 10, "bytesOut": 3, "durationMs": 5},
            {"host": "b.example", "port": 25, "verdict": "unlisted", "count": 1, "bytesIn": 0, "bytesOut": 0, "durationMs": 0},
        ]}});
        assert_eq!(
            said(&hosts),
            "w reaches a.example:443 (2 times, 10 bytes in, 3 out), b.example:25 in vain (1 times: unlisted)"
        );
        let cage = json!({"detail": {"event": "run.cage", "source": "w", "call": "evt_1", "hosts": ["a.example:443"],
            "programs": [{"name": "turn", "program": "/usr/bin/codex", "profile": "0123456789abcdef"}]}});
        assert_eq!(
            said(&cage),
            "w may run /usr/bin/codex under the profile 0123456789ab and reach a.example:443, for evt_1"
        );
        let sealed = json!({"type": "audit.sealed", "file": "a.log", "first": 1, "last": 9});
        assert_eq!(said(&sealed), "events 1 to 9 are put into a.log");
        let frame = json!({"type": "audit_appended", "auditType": "grant.allow"});
        assert_eq!(said(&frame), "grant.allow");
    }
}
