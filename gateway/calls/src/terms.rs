//! The terms on which something was read. Plain data.

use crate::answers::RunFacts;
use plexus_protocol::{AgentId, CapabilityId, Constraint, Digest, json};
use plexus_trust::{Basis, Permit};

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
}

impl<'a> Terms<'a> {
    /// Of a run whose permit is gone.
    pub(crate) fn of_run(run: &'a RunFacts) -> Self {
        Self {
            agent: &run.agent,
            capability: &run.capability,
            constraint: run.constraint.as_ref(),
            read: run.read,
            grant: run.grant,
        }
    }

    pub(crate) fn of(permit: &'a Permit) -> Self {
        let grant = match permit.basis {
            Basis::Grant(serial) => Some(serial),
            Basis::Item(_) | Basis::Bounded(_) => None,
        };
        Self {
            agent: &permit.agent,
            capability: &permit.capability,
            constraint: permit.constraint.as_ref(),
            read: of_permit(permit),
            grant,
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
