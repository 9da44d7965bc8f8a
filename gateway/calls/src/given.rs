//! Whether what was read may still be given: every way to an answer that outlived its caller asks here.
//!
//! Must not know: where an answer is kept, or how it is found.

use super::refusal;
use crate::{
    kernel::Kernel,
    member_reads,
    terms::{Terms, digest},
};
use plexus_protocol::{CapabilityId, ErrorBody, ErrorCode, NextKind};
use plexus_trust::{Refusal, visible};

/// Whether its agent may have what was read on these terms now.
pub(crate) fn may_still_be_given(kernel: &Kernel, terms: &Terms<'_>) -> Result<(), Box<ErrorBody>> {
    let (agent, id, state) = (terms.agent, terms.capability, kernel.ledger.snapshot());
    let paused = state.paused.then_some(Refusal::Paused);
    let unsaved = || kernel.revocations.refuses(agent, id, None);
    if let Some(refusal) = paused.or_else(unsaved) {
        return Err(Box::new(refusal::refused(&refusal, Some(id))));
    }
    let stands = || {
        let now = state.time(kernel.clock.now());
        let agent = state.agent(agent)?;
        let (source, _) = state.capability(id)?;
        let grant = agent.grants.get(id);
        let granted = terms.grant.is_none_or(|serial| {
            grant.is_some_and(|grant| grant.serial == serial && grant.suspended.is_none())
        });
        // What a workflow read was read on grants of the agent's own.
        let members = member_reads::read_on(kernel, &agent.id, id)?;
        let same = digest(agent.epoch, source.revision, terms.constraint, &members) == terms.read;
        Some(granted && same && visible(&state, agent, id, now))
    };
    match stands() {
        Some(true) => Ok(()),
        _ => Err(Box::new(read_is_over(id))),
    }
}

/// What is said of a read whose answer is not given, or not any more.
pub(crate) fn read_is_over(id: &CapabilityId) -> ErrorBody {
    ErrorBody::new(
        ErrorCode::GrantRequired,
        "What was read is given no more: that is too long ago, or the owner changed something since.",
    )
    .about(id)
    .then(NextKind::Retry, "ask again with the same call")
}
