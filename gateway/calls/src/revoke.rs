//! Carries out what the owner, or an agent, takes back: saved, or held in memory until it can be.
//!
//! Invariant: what ends an approval cancels the calls that stand on it, also one that began while the end was recorded.

use crate::{
    kernel::Kernel,
    refusal,
    revocations::{RevocationScope, UnsavedRevocation},
    under_way::{CallUnderWay, CancelledBy, Principal},
};
use plexus_ledger::{Lane, Receipt, SubmitError};
use plexus_protocol::{AgentId, CapabilityId, ErrorBody, PendingId, TokenId};
use plexus_trust::{Command, Refusal, Reply};
use std::{collections::BTreeMap, sync::Arc};

/// What the owner took back, once it is recorded.
pub struct TakenBack {
    /// The event and what it ended.
    pub receipt: Receipt<Reply>,
    /// The calls that it cancels.
    pub cancelled: Vec<Arc<CallUnderWay>>,
}

/// Why a token that was given back is not ended on record.
pub enum GaveBack {
    /// The trust machine refused it.
    Refused(Refusal),
    /// What the agent is told.
    Unsaved(ErrorBody),
}

impl Kernel {
    /// Has the machine take back what the owner says. What it cannot record is held: the call's error then says so.
    pub async fn take_back(&self, command: Command) -> Result<TakenBack, SubmitError<Refusal>> {
        let what = RevocationScope::of(&command);
        let mut cancelled = BTreeMap::new();
        if let Some(what) = what.clone() {
            cancelled = self.cancel_calls(&what);
            if let RevocationScope::Grant(agent, id) = &what {
                self.approvals.take_back(&self.ledger.snapshot(), agent, id);
            }
        }
        let submitted = self.ledger.submit(command.clone(), Lane::Owner).await;
        if let (Some(what), Ok(_)) = (&what, &submitted) {
            cancelled.append(&mut self.cancel_calls(what));
        }
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
        Ok(TakenBack {
            receipt: submitted?,
            cancelled: cancelled.into_values().collect(),
        })
    }

    /// Cancels the further turns or child calls of a bounded approval, and the approved call where that goes on.
    pub fn cancel_under(&self, item: &PendingId, by: CancelledBy) -> Vec<Arc<CallUnderWay>> {
        let state = self.ledger.snapshot();
        let mut calls = self.under_way.all();
        calls.retain(|call| {
            let intent = call.intent().and_then(|id| state.open_intents.get(id));
            call.turn_of.as_ref() == Some(item)
                || intent.is_some_and(|open| open.item.as_ref() == Some(item))
        });
        for call in &calls {
            call.cancel(by);
        }
        calls
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
    fn cancel_calls(&self, what: &RevocationScope) -> BTreeMap<u64, Arc<CallUnderWay>> {
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
        let mut cancelled = self.under_way.all();
        cancelled.retain(|call| concerns(&call.principal, &call.capability));
        for call in &cancelled {
            call.cancel(by);
        }
        if let RevocationScope::Grant(agent, id) = what {
            let state = self.ledger.snapshot();
            let items = state.agent(agent).map(|agent| agent.items.values());
            for item in items.into_iter().flatten().filter(|i| i.concerns(id)) {
                cancelled.extend(self.cancel_under(&item.id, by));
            }
        }
        if by == CancelledBy::Revoke {
            self.runs
                .revoke(|call| concerns(&call.principal, &call.capability));
        }
        let numbered = cancelled.into_iter().map(|call| (call.number(), call));
        numbered.collect()
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
