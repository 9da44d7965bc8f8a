//! From a call to the right to carry it out. [`Permitted`] is made here and nowhere else.
//!
//! Invariant: what is not [`Permitted`] is not dispatched; the ledger's writer decides once more and last.

use crate::{
    bounded,
    call::{Asked, CallerProof},
    kernel::Kernel,
};
use plexus_protocol::Digest;
use plexus_trust::{Call, Permit, Refusal, Verdict, authorize};

/// A call that may go on. Made only by [`Asked::authorize`].
pub(crate) struct Permitted {
    asked: Asked,
    permit: Permit,
}

impl Permitted {
    pub(crate) fn asked(&self) -> &Asked {
        &self.asked
    }

    pub(crate) fn permit(&self) -> &Permit {
        &self.permit
    }

    /// The same for a call that its caller does not wait for.
    pub(crate) fn for_a_run(self) -> Self {
        let permit = self.permit.for_a_run();
        Self { permit, ..self }
    }

    /// The same, held to what a plan assumed about the world, where the owner saw one.
    pub(crate) fn held_to(mut self, planned: Option<Digest>) -> Self {
        self.permit.state_token = self.permit.state_token.or(planned);
        self
    }

    /// To carry it out.
    pub(crate) fn into_parts(self) -> (Asked, Permit) {
        (self.asked, self.permit)
    }
}

/// What [`Asked::authorize`] came to.
pub(crate) enum Authorized {
    Yes(Box<Permitted>),
    Pend {
        asked: Box<Asked>,
        /// The input lies outside of the agent's grant.
        beyond_grant: bool,
    },
}

impl Asked {
    /// Whether it may go on, by the newest snapshot.
    ///
    /// # Errors
    /// Why not, where asking the owner would not help.
    pub(crate) fn authorize(self, kernel: &Kernel) -> Result<Authorized, Refusal> {
        if let Some(refusal) = self.held_back(kernel) {
            return Err(refusal);
        }
        let state = kernel.ledger.snapshot();
        let call = Call {
            agent: &self.caller.agent,
            capability: &self.entry.id,
            input: &self.input,
            digest: self.digest,
        };
        let verdict = authorize(&state, call, self.caller.by.auth_path(), kernel.clock.now());
        let late = kernel
            .under_way
            .refuses(&self.caller.agent, self.id(), self.digest);
        match (verdict, late) {
            (Verdict::Refuse(refusal), _) | (_, Some(refusal)) => Err(refusal),
            (Verdict::Permit(permit), None) => Ok(Authorized::Yes(Box::new(Permitted {
                permit: *permit,
                asked: self,
            }))),
            (Verdict::Pend { beyond_grant }, None) => Ok(Authorized::Pend {
                asked: Box::new(self),
                beyond_grant,
            }),
        }
    }

    /// The refusal where the owner took back what this stands on and it could not be saved.
    fn held_back(&self, kernel: &Kernel) -> Option<Refusal> {
        let token = match &self.caller.by {
            CallerProof::Token { jti, .. } => Some(jti),
            CallerProof::Session(_)
            | CallerProof::Approval(_)
            | CallerProof::Turn(_)
            | CallerProof::Grant => None,
        };
        let agent = &self.caller.agent;
        let held = kernel.revocations.refuses(agent, &self.entry.id, token);
        held.or_else(|| match &self.caller.by {
            CallerProof::Turn(item) => bounded::held_back(kernel, agent, item),
            _ => None,
        })
    }
}
