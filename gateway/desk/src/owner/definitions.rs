//! The owner's decision on what a lent server defines otherwise than agreed.
//!
//! Invariant: an approval puts in force what the card showed, and no grant goes on where anything else of the source has
//! changed in the meantime.
//!
//! Must not know: what a tool does.

use super::sources::{known, restart};
use crate::{
    acts::{blocking, failed, failed_halfway, unsaved},
    desk::Desk,
};
use plexus_edge::reply::Refused;
use plexus_protocol::Effect;
use plexus_sources::extensions::proposals::Proposal;
use plexus_trust::Source;
use serde_json::json;
use std::sync::Arc;

/// Puts the proposal in force, or forgets it. Answers with the revision of the source whose grants may go on.
pub(super) async fn decided(
    desk: &Arc<Desk>,
    source: &Source,
    proposal: &Arc<Proposal>,
    go_on: bool,
) -> Result<Option<u64>, Refused> {
    let id = &source.id;
    let (here, of, what) = (desk.clone(), id.clone(), proposal.clone());
    let put = blocking(move || {
        let (registry, state_dir) = (&here.registry, &here.state_dir);
        if go_on {
            registry
                .install(state_dir, &of, &what.manifest)
                .map_err(|why| format!("{why:#}"))?;
        }
        let forgotten = registry.propose(state_dir, &of, None);
        forgotten.map_err(|error| error.to_string())
    });
    put.await?
        .map_err(|why| unsaved(format!("it cannot be kept: {why}"), Effect::None))?;
    let event = if go_on {
        "extension.agreed"
    } else {
        "extension.blocked"
    };
    desk.remark(json!({"event": event, "source": id, "changes": proposal.changes.len()}))
        .await;
    if !go_on {
        return Ok(Some(source.revision));
    }
    let restarted = restart(desk, id).await;
    restarted.map_err(|why| failed_halfway(format!("it is changed, and does not serve: {why}")))?;
    let now = known(desk, id.as_str()).ok_or_else(|| failed("the source is gone"))?;
    // A program or a file of it was replaced meanwhile: that is another card.
    let is_same = now.found() == source.found() && now.base == source.base;
    match is_same && now.rules == source.rules {
        true => Ok(Some(now.revision)),
        false => Err(failed_halfway(
            "it is lent as shown; what it runs changed meanwhile, so its grants stay suspended until you decide on its next card",
        )),
    }
}
