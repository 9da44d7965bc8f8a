//! The terms on which something was read. Plain data.

use crate::{answers::RunFacts, kernel::Kernel, member_reads};
use plexus_protocol::{AgentId, CapabilityId, Constraint, Digest, json};
use plexus_trust::{Basis, Permit};
use serde_json::{Value, json};

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

    pub(crate) fn of(kernel: &Kernel, permit: &'a Permit) -> Self {
        let grant = match permit.basis {
            Basis::Grant(serial) => Some(serial),
            Basis::Item(_) | Basis::Bounded(_) => None,
        };
        Self {
            agent: &permit.agent,
            capability: &permit.capability,
            constraint: permit.constraint.as_ref(),
            read: of_permit(kernel, permit),
            grant,
        }
    }
}

/// Of the agent's epoch, the source's revision and the narrowing: another credential of the agent, another folder behind
/// the source, more that is hidden or another narrowing is another digest. A workflow's is also of what its `members` read
/// on, [`member_reads::read_on`].
pub(crate) fn digest(
    epoch: u64,
    revision: u64,
    constraint: Option<&Constraint>,
    members: &[Value],
) -> Digest {
    match members {
        [] => json::digest(&json!([epoch, (revision, constraint)])),
        members => json::digest(&json!([epoch, (revision, constraint), members])),
    }
}

/// The same of what `permit` allows.
pub(super) fn of_permit(kernel: &Kernel, permit: &Permit) -> Digest {
    let (epoch, revision) = (permit.agent_epoch(), permit.source_revision());
    // If a member's grant is not valid now, nothing is given on these terms: no later list of members is empty.
    let members =
        member_reads::read_on(kernel, &permit.agent, &permit.capability).unwrap_or_default();
    digest(epoch, revision, permit.constraint.as_ref(), &members)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn member_on_another_grant_is_another_digest() {
        let on = |serial: u64| digest(1, 1, None, &[json!(["notes.read", serial, null, 1])]);
        assert_eq!(on(1), on(1));
        assert_ne!(on(1), on(2));
        // If a member could not be read, nothing is given on those terms later.
        assert_ne!(on(1), digest(1, 1, None, &[]));
        // A capability without members keeps the digest that an earlier version wrote.
        let before = json::digest(&json!([1, (1, None::<Constraint>)]));
        assert_eq!(digest(1, 1, None, &[]), before);
    }
}
