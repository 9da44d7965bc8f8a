//! Carries out what the owner, or an agent, takes back: saved, or held in memory until it can be.

use crate::{
    kernel::Kernel,
    refusal,
    revocations::{RevocationScope, UnsavedRevocation},
    under_way::{CancelledBy, Principal},
};
use plexus_ledger::{Lane, Receipt, SubmitError};
use plexus_protocol::{AgentId, CapabilityId, ErrorBody, TokenId};
use plexus_trust::{Command, Refusal, Reply};

/// Why a token that was given back is not ended on record.
pub enum GaveBack {
    /// The trust machine refused it.
    Refused(Refusal),
    /// What the agent is told.
    Unsaved(ErrorBody),
}

impl Kernel {
    /// Has the machine take back what the owner says. What it cannot record is held: the call's error then says so.
    pub async fn take_back(
        &self,
        command: Command,
    ) -> Result<Receipt<Reply>, SubmitError<Refusal>> {
        let what = RevocationScope::of(&command);
        if let Some(what) = what.clone() {
            self.cancel_calls(&what);
            if let RevocationScope::Grant(agent, id) = &what {
                self.approvals.take_back(&self.ledger.snapshot(), agent, id);
            }
        }
        let submitted = self.ledger.submit(command.clone(), Lane::Owner).await;
        if let (Some(what), Err(error)) = (what, &submitted)
            && !matches!(error, SubmitError::Refused(_))
        {
            tracing::error!(name: "revoke.held", %error, "what the owner took back could not be saved; it is held in memory");
            let agent = None;
            self.revocations.hold(UnsavedRevocation {
                what,
                command,
                agent,
            });
        }
        submitted
    }

    /// Has the machine end a token that its own agent gives back: as any act of an agent, and charged to it. Where the
    /// ledger takes nothing it is held; where there is only too much waiting, the agent asks again.
    ///
    /// # Errors
    /// The machine's refusal, and whether it is held.
    pub async fn give_back(
        &self,
        agent: &AgentId,
        token: TokenId,
        reason: Option<String>,
    ) -> Result<Receipt<Reply>, GaveBack> {
        let what = RevocationScope::Token(token.clone());
        self.cancel_calls(&what);
        let command = Command::RevokeToken { token, reason };
        let error = match self.submit_for(agent, command.clone()).await {
            Ok(receipt) => return Ok(receipt),
            Err(SubmitError::Refused(refusal)) => return Err(GaveBack::Refused(refusal)),
            Err(error) => error,
        };
        let held = UnsavedRevocation {
            what,
            command,
            agent: Some(agent.clone()),
        };
        let is_held = !matches!(error, SubmitError::Busy) && self.revocations.hold(held);
        Err(GaveBack::Unsaved(if is_held {
            refusal::held(&error)
        } else {
            refusal::not_recorded(&error, None)
        }))
    }

    /// Cancels the calls that stand on what is taken back, and withholds the answers of runs that did. The command is
    /// submitted before anything else is awaited: a call that begins from now on is recorded after it, or refused.
    fn cancel_calls(&self, what: &RevocationScope) {
        let by = match what {
            RevocationScope::Everything => CancelledBy::Pause,
            _ => CancelledBy::Revoke,
        };
        let concerns = |principal: &Principal, id: &CapabilityId| match principal {
            Principal::Agent {
                id: agent, token, ..
            } => what.concerns(agent, id, token.as_ref()),
            Principal::Owner => false,
        };
        for call in self.under_way.all() {
            if concerns(&call.principal, &call.capability) {
                call.cancel(by);
            }
        }
        if by == CancelledBy::Revoke {
            self.runs
                .revoke(|call| concerns(&call.principal, &call.capability));
        }
    }

    /// Saves what the owner took back and is held, if the ledger records again.
    pub async fn save_held(&self) {
        let held = self.revocations.all_held();
        for held in held.into_iter().filter(|held| held.agent.is_none()) {
            let saved = self.ledger.submit(held.command, Lane::Owner).await;
            if !self.is_over(&held.what, &saved) {
                return;
            }
        }
    }

    /// The same of what agents gave back.
    pub async fn save_given_back(&self) {
        for held in self.revocations.all_held() {
            let Some(agent) = held.agent else { continue };
            let saved = self.submit_for(&agent, held.command).await;
            if !self.is_over(&held.what, &saved) {
                return;
            }
        }
    }

    fn is_over(
        &self,
        held: &RevocationScope,
        saved: &Result<Receipt<Reply>, SubmitError<Refusal>>,
    ) -> bool {
        // Refused: there is nothing left of it to take back.
        let over = matches!(saved, Ok(_) | Err(SubmitError::Refused(_)));
        if over {
            self.revocations.let_go(held);
        }
        over
    }
}
