//! The grants and the open approvals on one source: counted for a question, and those that an act ended.

use crate::{ended::ended_items, owner::Owner, pause::PATIENCE};
use plexus_client::Stop;
use plexus_owner::{
    calls::{self, OpenApproval},
    grants::{GrantRow, List},
};
use plexus_protocol::SourceId;
use tokio::time::timeout;

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

/// The conversations and orchestrations on a source that are open.
pub(super) async fn open_on(
    owner: &mut Owner,
    source: &SourceId,
) -> Result<Vec<OpenApproval>, Stop> {
    let mut open = owner.call(&calls::List {}).await?.conversations;
    open.retain(|one| one.capability_id.parts().0 == source.as_str());
    Ok(open)
}

/// Which of those that were open `before` an act has ended, as a line of their own; that it was not heard, where it was not, or
/// not within [`PATIENCE`].
pub(super) async fn ended_since(
    owner: &mut Owner,
    source: &SourceId,
    before: Option<&[OpenApproval]>,
) -> String {
    let now = match before {
        Some([]) => return String::new(),
        Some(_) => timeout(PATIENCE, open_on(owner, source)).await.ok(),
        None => None,
    };
    let (Some(before), Some(Ok(now))) = (before, now) else {
        return "\nwhich approvals this ended was not heard: plexusctl calls".to_owned();
    };
    let goes_on = |one: &&OpenApproval| now.iter().any(|open| open.pending_id == one.pending_id);
    let ended = before.iter().filter(|one| !goes_on(one));
    let ended: Vec<_> = ended.map(|one| one.pending_id.clone()).collect();
    ended_items(&ended)
}

/// What another target or secret takes from agents, in words; none where that is nothing.
pub(super) fn lost(granted: usize, open: &[OpenApproval]) -> Option<String> {
    let ended = |is_runs: bool, what: &str, unit: &str| {
        let of = open.iter().filter(|one| one.children.is_some() == is_runs);
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
    let lost: Vec<_> = [grants, talks, runs].into_iter().flatten().collect();
    (!lost.is_empty()).then(|| lost.join(" and "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn open_approvals_are_counted_with_the_grants() {
        let item = plexus_protocol::PendingId::fresh();
        let open = |left: u32, children: serde_json::Value| {
            let row = json!({"id": item.conversation(), "pendingId": item, "agentId": "cc", "capabilityId": "codex.chat",
                "turn": 1, "turnsLeft": left, "expiresAt": null, "underWay": false, "children": children});
            serde_json::from_value::<OpenApproval>(row).expect("an open approval")
        };
        assert_eq!(lost(0, &[]), None);
        assert_eq!(lost(2, &[]).as_deref(), Some("revokes the 2 grants"));
        assert_eq!(
            lost(1, &[open(6, json!(null)), open(1, json!(["codex.run"]))]).as_deref(),
            Some(
                "revokes the grant and ends 1 conversation with 6 turns left and ends 1 orchestration with 1 run left"
            )
        );
    }
}
