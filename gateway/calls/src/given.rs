//! Whether what was read may still be given: every way to an answer that outlived its caller asks here.
//!
//! Must not know: where an answer is kept, or how it is found.

use super::{refusal, taken_back::Mark};
use crate::kernel::Kernel;
use plexus_protocol::{AgentId, CapabilityId, Constraint, Digest, ErrorBody, ErrorCode, json};
use plexus_trust::{Basis, Permit, Refusal, visible};

/// The terms on which something was read.
pub(crate) struct Terms<'a> {
    pub(crate) agent: &'a AgentId,
    pub(crate) capability: &'a CapabilityId,
    /// What the owner narrowed it to.
    pub(crate) constraint: Option<&'a Constraint>,
    /// [`digest`] of the moment in which it was read.
    pub(crate) read: Digest,
    /// The serial of the grant that allowed it.
    pub(crate) grant: Option<u64>,
    /// From when on a revoke counts.
    pub(crate) mark: Option<Mark>,
}

impl<'a> Terms<'a> {
    pub(crate) fn of(permit: &'a Permit, mark: Mark) -> Self {
        let grant = match permit.basis {
            Basis::Grant(serial) => Some(serial),
            Basis::Item(_) => None,
        };
        Self {
            agent: &permit.agent,
            capability: &permit.capability,
            constraint: permit.constraint.as_ref(),
            read: of_permit(permit),
            grant,
            mark: Some(mark),
        }
    }
}

/// Of the agent's epoch, the source's revision and the narrowing: another credential of the agent, another folder behind
/// the source, more that is hidden or another narrowing is another digest.
pub(crate) fn digest(epoch: u64, revision: u64, constraint: Option<&Constraint>) -> Digest {
    json::digest(&serde_json::json!([epoch, (revision, constraint)]))
}

/// The same of what `permit` allows.
pub(super) fn of_permit(permit: &Permit) -> Digest {
    let (epoch, revision) = (permit.agent_epoch(), permit.source_revision());
    digest(epoch, revision, permit.constraint.as_ref())
}

/// Whether its agent may have what was read on these terms now.
///
/// # Errors
/// What it is told instead.
pub(crate) fn may_still_be_given(kernel: &Kernel, terms: &Terms<'_>) -> Result<(), Box<ErrorBody>> {
    let (agent, id, state) = (terms.agent, terms.capability, kernel.ledger.snapshot());
    let paused = state.paused.then_some(Refusal::Paused);
    let unsaved = || kernel.taken_back.refuses(agent, id, None);
    if let Some(refusal) = paused.or_else(unsaved) {
        return Err(Box::new(refusal::refused(&refusal, Some(id))));
    }
    let revoked = |mark| kernel.taken_back.revoked_since(mark, agent, id);
    let stands = || {
        let now = state.time(kernel.clock.now());
        let agent = state.agent(agent)?;
        let (source, _) = state.capability(id)?;
        let grant = agent.grants.get(id);
        let granted = terms.grant.is_none_or(|serial| {
            grant.is_some_and(|grant| grant.serial == serial && grant.suspended.is_none())
        });
        let same = digest(agent.epoch, source.revision, terms.constraint) == terms.read;
        Some(granted && same && visible(&state, agent, id, now))
    };
    match stands() {
        Some(true) if !terms.mark.is_some_and(revoked) => Ok(()),
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
    .next("ask again with the same call")
}
