//! The gateway's own words for what the console shows.

use super::links;
use plexus_calls::approvals::card::permits_more;
use plexus_owner::{
    activity::{ActivityCall, words as calls},
    pending::MissingSecret,
    sources::{Health, HealthStatus},
};
pub(super) use plexus_protocol::time::length as span;
use plexus_protocol::{
    AgentId, CapabilityId, PendingId, Provenance, Sensitivity, Timestamp, Verb, Verbs,
    body::VoidReason,
};
use plexus_sources::catalogue::Entry;
use plexus_trust::{Approval, Item, ItemState, OutcomeKind, State};

/// Sorts of agents: as a form sends one, in words, and what comes with it.
#[rustfmt::skip]
pub(super) const AGENT_SORTS: [(&str, &str, &str); 5] = [
    ("claude-code", "Claude Code", "one command installs a plugin with its instructions"),
    ("codex", "Codex", "two commands: a launcher with a section of AGENTS.md, and its code"),
    ("mcp", "Another MCP client", "it starts plexus mcp"),
    ("script", "A script or another command-line agent", ""),
    ("in-context", "One without a shell", "it is told in its conversation"),
];

/// The sort of an agent that is connected, of which the gateway keeps how its material is delivered.
pub(super) fn agent_sort(kept: &str) -> &'static str {
    match kept {
        "generic" => "Codex, an MCP client or a script",
        kept => {
            let mut sorts = AGENT_SORTS.into_iter();
            let found = sorts.find(|(word, ..)| *word == kept);
            found.map_or("of another sort", |(_, words, _)| words)
        }
    }
}

/// A number of bytes, in the largest unit that says it.
pub(super) fn bytes(count: u64) -> String {
    match count {
        0..1_024 => format!("{count} B"),
        1_024..1_048_576 => format!("{} KiB", count / 1_024),
        _ => format!("{} MiB", count / 1_048_576),
    }
}

/// A call in words. The commands that a terminal names stand for pages here.
pub(super) fn said(call: &ActivityCall) -> String {
    let said = calls::said(call);
    let settle = format!(": plexusctl unknown list {}", call.audit_id);
    without_command(said.strip_suffix(&settle).unwrap_or(&said))
}

/// Why a call came to nothing, likewise.
pub(super) fn why(call: &ActivityCall) -> String {
    without_command(&calls::why(call))
}

/// Only our own sentence is cut: the words around it may be another's.
fn without_command(words: &str) -> String {
    words.replace(
        "what it runs had changed: plexusctl approvals",
        "what it runs had changed",
    )
}

/// What is wrong, without the command behind it that a page stands for.
pub(super) fn found(detail: &str) -> &str {
    match detail.rsplit_once(": ") {
        Some((found, command)) if links::page_for(command).is_some() => found,
        _ => detail,
    }
}

/// What an item is called in markup.
pub(super) fn state(item: &Item, now: Timestamp) -> &'static str {
    match &item.state {
        ItemState::Pending if now >= item.expires_at => "over",
        ItemState::Pending => "pending",
        ItemState::Approved { .. } | ItemState::Consumed | ItemState::Over { .. } => "approved",
        ItemState::Denied { .. } => "denied",
        ItemState::Lapsed | ItemState::Void { .. } => "over",
    }
}

/// The end of an item that no longer waits; `by` says in which browser it was decided, behind a space, or is empty; `held`
/// says that the gateway does it once agents are not paused any more.
pub(super) fn verdict(item: &Item, now: Timestamp, by: &str, held: bool) -> String {
    match &item.state {
        ItemState::Pending if now >= item.expires_at => {
            "Nobody decided in time. The agent may ask again.".into()
        }
        ItemState::Pending => String::new(),
        ItemState::Approved { .. } if held => {
            format!("Approved{by}. All agents are paused: it is done when you resume them.")
        }
        ItemState::Approved { .. } => format!("Approved{by}."),
        ItemState::Consumed => format!("Approved{by}. It is being done now."),
        ItemState::Over { outcome } => {
            let more = match permits_more(item, now) {
                true => " It permits further calls; you end that under Runs and boards.",
                false => "",
            };
            format!("Approved{by}. {}{more}", outcome_words(*outcome))
        }
        ItemState::Denied { .. } => format!("Denied{by}."),
        ItemState::Lapsed if item.asks.iter().any(|ask| ask.approval != Approval::Open) => {
            "It was approved, and that ended before it could be made.".into()
        }
        ItemState::Lapsed => "Nobody decided in time. The agent may ask again.".into(),
        ItemState::Void {
            why: VoidReason::MadeByGrant,
        } => "Its agent made this call by a grant.".into(),
        ItemState::Void { why } => format!("Nothing will come of it: {why}."),
    }
}

/// The outcome of the call that an item's approval allowed, in markup and in words; none while that is open.
pub(super) fn outcome(item: &Item) -> Option<(&'static str, &'static str)> {
    match &item.state {
        ItemState::Over { outcome } => {
            let kind = match outcome {
                OutcomeKind::Ok => "done",
                OutcomeKind::Failed => "failed",
                OutcomeKind::Refused => "refused",
                OutcomeKind::Unknown => "unknown",
            };
            Some((kind, outcome_words(*outcome)))
        }
        ItemState::Void { .. } => Some(("void", VOID)),
        _ => None,
    }
}

const VOID: &str = "Nothing will come of it.";

fn outcome_words(outcome: OutcomeKind) -> &'static str {
    match outcome {
        OutcomeKind::Ok => "It was done.",
        OutcomeKind::Failed => "It was tried and failed.",
        OutcomeKind::Refused => "It was refused before anything changed.",
        OutcomeKind::Unknown => "Whether it was done is not known.",
    }
}

/// That a grant answered other requests, `of` an agent, and which need no answer of the owner's for that.
pub(super) fn also_answered(of: &str, items: &[PendingId]) -> Option<String> {
    let requests = match items.len() {
        0 => return None,
        1 => "1 other request".to_owned(),
        more => format!("{more} other requests"),
    };
    Some(format!(
        "Also answered: {requests}{of}, which waited for this"
    ))
}

/// The notes beside a new grant: the requests that it answered, how many denials it ended, and the requests for it that wait all
/// the same.
pub(super) fn beside_grant(
    state: &State,
    agent: &AgentId,
    granted: &[CapabilityId],
    (also, denials_ended): (&[PendingId], usize),
    now: Timestamp,
) -> Vec<String> {
    let items = state.agent(agent).map(|agent| agent.items.values());
    let waiting = items.into_iter().flatten().filter(|item| {
        let mut asks = item.asks.iter();
        item.waits(now) && asks.any(|ask| granted.contains(&ask.capability))
    });
    let requests = match waiting.count() {
        0 => None,
        1 => Some("1 request".to_owned()),
        more => Some(format!("{more} requests")),
    };
    let waiting = requests.map(|requests| {
        format!(
            "Still waiting for you: {requests} for this. {agent} may make a call that this covers again, without one"
        )
    });
    let denials = (denials_ended > 0).then(|| {
        format!("Denials ended: {denials_ended} (calls that you had denied are refused no more)")
    });
    also_answered(&format!(" of {agent}"), also)
        .into_iter()
        .chain(denials)
        .chain(waiting)
        .collect()
}

/// What an extension that was added still needs.
pub(super) fn secret_missing(missing: &MissingSecret) -> String {
    format!(
        "It serves once its secret {} is set: {}",
        missing.name, missing.next
    )
}

pub(super) fn verbs(verbs: Verbs) -> String {
    let words: Vec<_> = verbs.iter().map(Verb::as_str).collect();
    words.join(", ")
}

pub(super) fn access(access: Verb) -> &'static str {
    match access {
        Verb::Read => "reads",
        Verb::Write => "changes",
        Verb::Execute => "runs",
    }
}

/// What a call of a capability amounts to, in a few words.
pub(super) fn consequence(entry: &Entry) -> String {
    match (access(strongest(entry)), rating(entry)) {
        (does, "") => does.to_owned(),
        ("changes", rating) if rating.starts_with("changes") => rating.to_owned(),
        (does, rating) => format!("{does}: {rating}"),
    }
}

/// The strongest that a call of it does.
pub(super) fn strongest(entry: &Entry) -> Verb {
    let verbs = entry.capability().verbs;
    verbs.iter().max().unwrap_or(Verb::Read)
}

/// Why a capability is handled as it is.
pub(super) fn rating(entry: &Entry) -> &'static str {
    match (entry.facts.sensitivity, entry.provenance) {
        (_, Provenance::Extension) => "by an extension: Plexus has not reviewed it",
        (Sensitivity::High, _) => "leaves this machine, runs code, or cannot be undone",
        (Sensitivity::Elevated, _) => "changes things of yours",
        (Sensitivity::Low, _) => "",
    }
}

/// How a source does: a class for the style, and words. A page has its own way to what a command would do.
pub(super) fn serving(enabled: bool, health: &Health) -> (&'static str, String) {
    let class = match (enabled, health.status) {
        (false, _) => return ("off", "disabled".to_owned()),
        (true, HealthStatus::Ok) => "ok",
        (true, HealthStatus::Degraded | HealthStatus::Unavailable) => "bad",
        (true, HealthStatus::Unknown) => "idle",
    };
    let words = health.status.in_words();
    match &health.detail {
        Some(detail) if class == "bad" => (class, format!("{words}: {}", found(detail))),
        _ => (class, words.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use plexus_protocol::SessionId;
    use plexus_trust::{Bounded, BoundedState, OnApproval, Plan, TurnLimits};
    use serde_json::json;

    #[test]
    fn verdict_says_what_is_still_to_come() {
        let limits = TurnLimits {
            turns: 2,
            minutes: 1,
        };
        let mut bounded = Bounded::asked(limits, None);
        let until = Timestamp(60_000);
        bounded.state = BoundedState::Open { until };
        let ask = json!({"capability": "codex.chat", "verbs": ["execute"], "plan": Plan::None, "bounded": bounded});
        let item = json!({"id": PendingId::fresh(), "agent": "a", "session": SessionId::fresh(), "created_at": Timestamp(0),
            "expires_at": Timestamp(86_400_000), "asks": [ask], "on_approval": OnApproval::Run, "revision": 0,
            "state": ItemState::Over { outcome: OutcomeKind::Ok }});
        let mut item: Item = serde_json::from_value(item).unwrap();
        let open = verdict(&item, Timestamp(0), "", false);
        assert!(open.starts_with("Approved. It was done. It permits further calls"));
        assert_eq!(verdict(&item, until, "", false), "Approved. It was done.");
        // A pause holds an approved call, and none that was made.
        assert_eq!(verdict(&item, until, "", true), "Approved. It was done.");
        item.state = ItemState::Approved { at: Timestamp(0) };
        assert_eq!(verdict(&item, until, "", false), "Approved.");
        let held = verdict(&item, until, " here", true);
        assert!(held.starts_with("Approved here. All agents are paused: it is done when"));
    }

    #[test]
    fn command_that_has_a_page_is_left_out() {
        let stopped = "so it is stopped: plexusctl approvals show pend_1";
        assert_eq!(found(stopped), "so it is stopped");
        let old = "it is of another build; change over: plexusctl upgrade";
        assert_eq!(found(old), old, "only a terminal does that");
        assert_eq!(found("the app says: no"), "the app says: no");
    }
}
