//! The grants, the open approvals and the waiting requests on one source: counted for a question, and those that an act ended.

use crate::{
    ended::ended_items,
    owner::{Desk, Owner},
    pause::heard,
};
use plexus_client::Stop;
use plexus_owner::{
    calls::{self, OpenApproval},
    grants::{GrantRow, List},
    pending::{self, Kind},
    sources::EndResult,
};
use plexus_protocol::{CapabilityId, PendingId, SourceId};

/// The grants on a source.
pub(super) fn grants_on<'g>(
    grants: &'g [GrantRow],
    source: &SourceId,
) -> impl Iterator<Item = &'g GrantRow> {
    let is_on = move |grant: &&GrantRow| grant.capability_id.parts().0 == source.as_str();
    grants.iter().filter(is_on)
}

/// How many grants there are on a source.
pub(super) async fn granted_on(owner: &mut Owner, source: &SourceId) -> Result<usize, Stop> {
    let grants = owner.call(&List {}).await?.grants;
    Ok(grants_on(&grants, source).count())
}

/// So many grants, in words.
pub(super) fn the_grants(count: usize) -> String {
    match count {
        1 => "the grant".to_owned(),
        many => format!("the {many} grants"),
    }
}

/// That a source is removed, with the grants that were on it.
pub(crate) fn removed(source: &SourceId, grants: Option<usize>) -> String {
    let grants = match grants {
        Some(0) => "; nothing was granted on it".to_owned(),
        Some(count) => format!(", and {} on it", the_grants(count)),
        None => ", and every grant on it".to_owned(),
    };
    format!("{source} is removed{grants}")
}

/// That a source is disabled, with the grants on it and the requests for it that wait.
pub(super) fn disabled(source: &SourceId, ended: &EndResult) -> String {
    let grants = match ended.grant_count {
        Some(0) => "nothing was granted on it".to_owned(),
        Some(1) => "the grant on it is suspended".to_owned(),
        Some(many) => format!("the {many} grants on it are suspended"),
        None => "its grants are suspended".to_owned(),
    };
    let requests = match ended.request_count {
        None | Some(0) => String::new(),
        Some(1) => "; 1 request for it still waits".to_owned(),
        Some(many) => format!("; {many} requests for it still wait"),
    };
    format!("{source} no longer serves; {grants}{requests}")
}

/// What is open on a source, and ends with it.
pub(crate) struct OpenItems {
    /// Its conversations and orchestrations.
    pub(super) approvals: Vec<OpenApproval>,
    /// The requests that wait.
    pub(super) requests: Vec<PendingId>,
}

impl OpenItems {
    fn ids(&self) -> impl Iterator<Item = &PendingId> {
        let approvals = self.approvals.iter().map(|open| &open.pending_id);
        approvals.chain(&self.requests)
    }
}

/// What is open on a source.
pub(super) async fn open_on(owner: &mut Owner, source: &SourceId) -> Result<OpenItems, Stop> {
    let is_on = |id: &CapabilityId| id.parts().0 == source.as_str();
    let mut approvals = owner.call(&calls::List {}).await?.conversations;
    approvals.retain(|one| is_on(&one.capability_id));
    let waiting = owner.call(&pending::List::default()).await?.pending;
    let waiting = waiting.into_iter().flatten().map(|item| item.heading);
    let requests = waiting
        .filter(|item| item.kind == Kind::Grant && item.capabilities.iter().any(is_on))
        .map(|item| item.pending_id)
        .collect();
    Ok(OpenItems {
        approvals,
        requests,
    })
}

/// The same for an act that takes away, and waits for a list only so long.
pub(crate) async fn heard_open_on(owner: &mut Owner, source: &SourceId) -> Option<OpenItems> {
    heard(open_on(owner, source)).await
}

/// What of that which was open `before` an act has ended, as a line of its own; that it was not heard, where it was not, or
/// not in time.
pub(crate) async fn ended_since(
    owner: &mut Owner,
    source: &SourceId,
    before: Option<&OpenItems>,
) -> String {
    let now = match before {
        Some(before) if before.ids().next().is_none() => return String::new(),
        Some(_) => heard_open_on(owner, source).await,
        None => None,
    };
    let (Some(before), Some(now)) = (before, now) else {
        return "\nwhich requests and approvals this ended was not heard: plexusctl approvals, plexusctl calls"
            .to_owned();
    };
    let ended = before.ids().filter(|id| !now.ids().any(|open| open == *id));
    ended_items(&ended.cloned().collect::<Vec<_>>())
}

/// What another target or secret takes from agents, in words; none where that is nothing.
pub(super) fn lost(granted: usize, open: &OpenItems) -> Option<String> {
    let ended = |is_runs: bool, what: &str, unit: &str| {
        let of = open.approvals.iter();
        let of = of.filter(|one| one.children.is_some() == is_runs);
        let left: Vec<u32> = of.map(|one| one.turns_left).collect();
        let s = |many: bool| if many { "s" } else { "" };
        let (count, sum) = (left.len(), left.iter().sum::<u32>());
        let (many, units) = (s(count != 1), s(sum != 1));
        (count > 0).then(|| format!("ends {count} {what}{many} with {sum} {unit}{units} left"))
    };
    let grants = (granted > 0).then(|| format!("revokes {}", the_grants(granted)));
    let (talks, runs) = (
        ended(false, "conversation", "turn"),
        ended(true, "orchestration", "run"),
    );
    let parts = [grants, talks, runs, requests_ended(open)];
    let lost: Vec<_> = parts.into_iter().flatten().collect();
    (!lost.is_empty()).then(|| lost.join(" and "))
}

/// Whether a loss is asked about. No script fails because an agent has asked for something just now.
pub(super) fn is_asked(desk: &Desk, granted: usize, open: &OpenItems) -> bool {
    granted > 0 || !open.approvals.is_empty() || desk.can_ask()
}

/// What a field that suspends takes from agents, in words; none where that is nothing.
pub(super) fn suspended(source: &SourceId, granted: usize, open: &OpenItems) -> Option<String> {
    let requests = requests_ended(open).map(|ends| format!("{ends} on {source}"));
    let grants = the_grants(granted);
    let grants = format!("suspends {grants} on {source} until you approve it");
    let parts = [requests, (granted > 0).then_some(grants)];
    let parts: Vec<_> = parts.into_iter().flatten().collect();
    (!parts.is_empty()).then(|| parts.join(" and "))
}

/// So many waiting requests, in words.
fn requests_ended(open: &OpenItems) -> Option<String> {
    match open.requests.len() {
        0 => None,
        1 => Some("ends 1 waiting request".to_owned()),
        many => Some(format!("ends {many} waiting requests")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn end_of_a_source_counts_what_is_on_it() {
        let notes = SourceId::parse("notes").unwrap();
        let gone = |grants| removed(&notes, grants);
        assert_eq!(gone(None), "notes is removed, and every grant on it");
        assert_eq!(gone(Some(0)), "notes is removed; nothing was granted on it");
        assert_eq!(gone(Some(1)), "notes is removed, and the grant on it");
        assert_eq!(gone(Some(3)), "notes is removed, and the 3 grants on it");
        let off = |counts: serde_json::Value| {
            let ended = json!({"ok": true, "known": true, "grantCount": counts[0], "requestCount": counts[1]});
            disabled(&notes, &serde_json::from_value(ended).unwrap())
        };
        let older = "notes no longer serves; its grants are suspended";
        assert_eq!(off(json!([null, null])), older);
        assert_eq!(
            off(json!([2, 1])),
            "notes no longer serves; the 2 grants on it are suspended; 1 request for it still waits"
        );
    }

    #[test]
    fn open_approvals_are_counted_with_the_grants() {
        let item = PendingId::fresh();
        let open = |left: u32, children: serde_json::Value| {
            let row = json!({"id": item.conversation(), "pendingId": item, "agentId": "cc", "capabilityId": "codex.chat",
                "turn": 1, "turnsLeft": left, "expiresAt": null, "underWay": false, "children": children});
            serde_json::from_value::<OpenApproval>(row).expect("an open approval")
        };
        let lost = |granted, approvals: Vec<OpenApproval>, requests: &[PendingId]| {
            let requests = requests.to_vec();
            let open = OpenItems {
                approvals,
                requests,
            };
            lost(granted, &open)
        };
        assert_eq!(lost(0, vec![], &[]), None);
        let grants = lost(2, vec![], &[]);
        assert_eq!(grants.as_deref(), Some("revokes the 2 grants"));
        let both = vec![open(6, json!(null)), open(1, json!(["codex.run"]))];
        assert_eq!(
            lost(1, both, &[]).as_deref(),
            Some(
                "revokes the grant and ends 1 conversation with 6 turns left and ends 1 orchestration with 1 run left"
            )
        );
        let waits = [item.clone(), item.clone()];
        assert_eq!(
            lost(1, vec![], &waits[..1]).as_deref(),
            Some("revokes the grant and ends 1 waiting request")
        );
        let requests = lost(0, vec![], &waits);
        assert_eq!(requests.as_deref(), Some("ends 2 waiting requests"));
        // Only a grant comes back by an approval.
        let suspended = |granted| {
            let requests = waits[..1].to_vec();
            let approvals = vec![];
            let open = OpenItems {
                approvals,
                requests,
            };
            suspended(&SourceId::parse("web").unwrap(), granted, &open)
        };
        let ends = "ends 1 waiting request on web";
        assert_eq!(suspended(0).as_deref(), Some(ends));
        assert_eq!(
            suspended(1),
            Some(format!(
                "{ends} and suspends the grant on web until you approve it"
            ))
        );
    }
}
