//! What the owner has taken back, beside the ledger: heeded by calls that are on their way, and held where it cannot be
//! saved.
//!
//! ```text
//! take back ─▶ noted ─▶ submitted ─┬ saved, or refused
//!                                  └ cannot be saved ─▶ held ─ the ledger records again ─▶ saved
//! ```
//! Invariants: an effect that was recorded before a revoke and not sent yet is not sent; what is held refuses as if it
//! were saved, is saved before any later act of the owner, and ends with the process, which its answer says.

use crate::app::App;
use plexus_ledger::{Lane, Receipt, SubmitError};
use plexus_protocol::{AgentId, CapabilityId, TokenId};
use plexus_trust::{Command, Refusal, Reply};
use std::{
    collections::HashMap,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};
use tokio::sync::Notify;

/// Things whose last taking back is remembered one by one. Beyond, all that was noted so far counts as newly taken back.
const NOTED: usize = 4_096;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum What {
    Everything,
    Agent(AgentId),
    Grant(AgentId, CapabilityId),
    Token(TokenId),
}

#[derive(Default)]
pub(crate) struct TakenBack {
    /// Rises with each that is noted.
    count: AtomicU64,
    noted: Mutex<Noted>,
    held: Mutex<Vec<(What, Command)>>,
    any_held: AtomicBool,
    /// Wakes what a pause ends at once.
    paused: Notify,
}

#[derive(Default)]
struct Noted {
    last: HashMap<What, u64>,
    floor: u64,
}

/// A moment in the order of what is taken back.
#[derive(Clone, Copy)]
pub(crate) struct Mark(u64);

impl What {
    fn of(command: &Command) -> Option<Self> {
        match command {
            Command::Pause(true) => Some(Self::Everything),
            Command::RevokeAgent { agent, .. } => Some(Self::Agent(agent.clone())),
            Command::RevokeGrant {
                agent, capability, ..
            } => Some(Self::Grant(agent.clone(), capability.clone())),
            Command::RevokeToken { token, .. } => Some(Self::Token(token.clone())),
            _ => None,
        }
    }

    fn refusal(&self) -> Refusal {
        match self {
            Self::Everything => Refusal::Paused,
            Self::Agent(_) => Refusal::SessionExpired,
            Self::Grant(..) => Refusal::GrantRequired { constraint: None },
            Self::Token(_) => Refusal::TokenRevoked,
        }
    }

    /// Whether it is about a call of `agent` for `id` with `token`.
    fn concerns(&self, agent: &AgentId, id: &CapabilityId, token: Option<&TokenId>) -> bool {
        match self {
            Self::Everything => true,
            Self::Agent(whom) => whom == agent,
            Self::Grant(whom, what) => whom == agent && what == id,
            Self::Token(which) => token == Some(which),
        }
    }
}

impl TakenBack {
    pub(crate) fn mark(&self) -> Mark {
        Mark(self.count.load(Ordering::Acquire))
    }

    /// Whether anything that concerns the call was taken back after `mark`.
    pub(crate) fn since(
        &self,
        Mark(mark): Mark,
        agent: &AgentId,
        id: &CapabilityId,
        token: Option<&TokenId>,
    ) -> bool {
        if self.count.load(Ordering::Acquire) == mark {
            return false;
        }
        let noted = self.noted.lock().unwrap_or_else(PoisonError::into_inner);
        noted.floor > mark
            || noted
                .last
                .iter()
                .any(|(what, at)| *at > mark && what.concerns(agent, id, token))
    }

    /// Whether all agents were paused after `mark`.
    pub(crate) fn paused_since(&self, Mark(mark): Mark) -> bool {
        let noted = self.noted.lock().unwrap_or_else(PoisonError::into_inner);
        noted.floor > mark
            || noted
                .last
                .get(&What::Everything)
                .is_some_and(|at| *at > mark)
    }

    /// Waits until all agents are paused after `mark`, or by the state that `is_paused` looks at.
    async fn until_paused(&self, mark: Mark, is_paused: impl Fn() -> bool) {
        loop {
            let woken = self.paused.notified();
            if self.count.load(Ordering::Acquire) != mark.0 && self.paused_since(mark) {
                return;
            }
            if is_paused() {
                return;
            }
            woken.await;
        }
    }

    /// The refusal of a call that something held concerns.
    pub(crate) fn refuses(
        &self,
        agent: &AgentId,
        id: &CapabilityId,
        token: Option<&TokenId>,
    ) -> Option<Refusal> {
        if !self.any_held.load(Ordering::Acquire) {
            return None;
        }
        let held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.iter()
            .find(|(what, _)| what.concerns(agent, id, token))
            .map(|(what, _)| what.refusal())
    }

    /// Whether the end of an agent is held.
    pub(crate) fn ended(&self, agent: &AgentId) -> bool {
        self.holds(|what| matches!(what, What::Agent(whom) if whom == agent))
    }

    /// Whether the end of a token is held.
    pub(crate) fn ended_token(&self, token: &TokenId) -> bool {
        self.holds(|what| matches!(what, What::Token(which) if which == token))
    }

    fn holds(&self, is_it: impl Fn(&What) -> bool) -> bool {
        self.any_held.load(Ordering::Acquire)
            && self
                .held
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .iter()
                .any(|(what, _)| is_it(what))
    }

    fn note(&self, what: What) {
        let mut noted = self.noted.lock().unwrap_or_else(PoisonError::into_inner);
        let at = self.count.fetch_add(1, Ordering::AcqRel) + 1;
        if noted.last.len() >= NOTED {
            noted.last.clear();
            noted.floor = at;
        }
        let wakes = what == What::Everything || noted.floor == at;
        noted.last.insert(what, at);
        drop(noted);
        if wakes {
            self.paused.notify_waiters();
        }
    }

    fn hold(&self, what: What, command: Command) {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if !held.iter().any(|(known, _)| *known == what) {
            held.push((what, command));
        }
        self.any_held.store(true, Ordering::Release);
    }

    fn let_go(&self, saved: &What) {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.retain(|(what, _)| what != saved);
        self.any_held.store(!held.is_empty(), Ordering::Release);
    }
}

impl App {
    /// Has the machine take something back. What it cannot record is held: the call's error then says so.
    pub(crate) async fn take_back(
        &self,
        command: Command,
    ) -> Result<Receipt<Reply>, SubmitError<Refusal>> {
        let what = What::of(&command);
        if let Some(what) = what.clone() {
            self.taken_back.note(what.clone());
            if let What::Grant(agent, id) = &what {
                self.approvals.take_back(&self.ledger.snapshot(), agent, id);
            }
        }
        let submitted = self.ledger.submit(command.clone(), Lane::Owner).await;
        if matches!(what, Some(What::Everything)) {
            // Once more: a call that was authorized just before it was noted looks at the state.
            self.taken_back.paused.notify_waiters();
        }
        if let (Some(what), Err(error)) = (what, &submitted)
            && !matches!(error, SubmitError::Refused(_))
        {
            tracing::error!(name: "revoke.held", %error, "what the owner took back could not be saved; it is held in memory");
            self.taken_back.hold(what, command);
        }
        submitted
    }

    /// Waits until all agents are paused; `mark` is from the beginning of what waits.
    pub(crate) async fn until_paused(&self, mark: Mark) {
        self.taken_back
            .until_paused(mark, || self.ledger.snapshot().paused)
            .await;
    }

    /// Saves what is held, if the ledger records again.
    pub(crate) async fn save_held(&self) {
        if !self.taken_back.any_held.load(Ordering::Acquire) {
            return;
        }
        let held = self
            .taken_back
            .held
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        for (what, command) in held {
            match self.ledger.submit(command, Lane::Owner).await {
                // Refused: there is nothing left of it to take back.
                Ok(_) | Err(SubmitError::Refused(_)) => self.taken_back.let_go(&what),
                Err(_) => return,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> (AgentId, AgentId, CapabilityId, CapabilityId) {
        let agent = |id| AgentId::parse(id).unwrap();
        let id = |id| CapabilityId::parse(id).unwrap();
        (agent("a"), agent("b"), id("notes.read"), id("notes.write"))
    }

    #[test]
    fn calls_under_way_heed_what_concerns_them_and_came_later() {
        let (a, b, read, write) = names();
        let taken = TakenBack::default();
        let before = taken.mark();
        assert!(!taken.since(before, &a, &read, None));
        taken.note(What::Grant(a.clone(), read.clone()));
        assert!(taken.since(before, &a, &read, None));
        assert!(!taken.since(before, &a, &write, None) && !taken.since(before, &b, &read, None));
        assert!(!taken.since(taken.mark(), &a, &read, None));
        for n in 0..=NOTED {
            taken.note(What::Agent(AgentId::parse(&format!("x{n}")).unwrap()));
        }
        assert!(
            taken.since(before, &b, &write, None),
            "what is no longer remembered counts"
        );
    }

    #[tokio::test]
    async fn a_pause_wakes_what_was_begun_before_it_and_nothing_else_does() {
        let (a, ..) = names();
        let taken = TakenBack::default();
        let before = taken.mark();
        {
            let mut waiting = std::pin::pin!(taken.until_paused(before, || false));
            let mut is_over = async || {
                tokio::select! { biased; () = &mut waiting => true, () = std::future::ready(()) => false }
            };
            assert!(!is_over().await);
            taken.note(What::Agent(a));
            assert!(
                !is_over().await,
                "another agent's end is none of its business"
            );
            taken.note(What::Everything);
            assert!(is_over().await);
        }
        assert!(
            !taken.paused_since(taken.mark()),
            "what begins later is not ended by it"
        );
    }

    #[test]
    fn what_is_held_refuses_until_it_is_saved() {
        let (a, b, read, write) = names();
        let taken = TakenBack::default();
        let command = Command::RevokeAgent {
            agent: a.clone(),
            reason: None,
            delete: false,
        };
        let what = What::of(&command).unwrap();
        taken.hold(what.clone(), command);
        assert_eq!(
            taken.refuses(&a, &read, None),
            Some(Refusal::SessionExpired)
        );
        assert!(taken.ended(&a) && !taken.ended(&b));
        assert_eq!(taken.refuses(&b, &read, None), None);
        taken.hold(What::Grant(b.clone(), read.clone()), Command::Pause(true));
        assert!(taken.refuses(&b, &read, None).is_some());
        assert_eq!(taken.refuses(&b, &write, None), None);
        let token = TokenId::fresh();
        taken.hold(What::Token(token.clone()), Command::Pause(true));
        assert!(taken.ended_token(&token) && !taken.ended_token(&TokenId::fresh()));
        taken.let_go(&what);
        assert_eq!(taken.refuses(&a, &read, None), None);
    }
}
