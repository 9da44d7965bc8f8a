//! What the owner has taken back, beside the ledger: heeded by calls that are on their way, and held where it cannot be
//! saved.
//!
//! ```text
//! take back ─▶ noted ─▶ submitted ─┬ saved, or refused
//!                                  └ cannot be saved ─▶ held ─ the ledger records again ─▶ saved
//! ```
//! Invariants: an effect that was recorded before a revoke and not sent yet is not sent; what is held refuses as if it
//! were saved, and ends with the process, which its answer says; what the owner took back is saved before any later act
//! of the owner. A token that an agent gives back takes no place of the owner's and concerns no other agent's calls.

use plexus_protocol::{AgentId, CapabilityId, TokenId};
use plexus_trust::{Command, Refusal};
use std::{
    collections::HashMap,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};
use tokio::sync::Notify;

/// Things whose last taking back is remembered one by one, for the owner and for each agent. Beyond, the older half is
/// forgotten: a call that began before any of it counts as taken back.
const NOTED: usize = 4_096;
/// Tokens of one agent that are held.
const HELD: usize = 256;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum RevocationScope {
    Everything,
    Agent(AgentId),
    Grant(AgentId, CapabilityId),
    Token(TokenId),
}

/// What was revoked since calls under way began, and what of it is not saved.
#[derive(Default)]
pub struct Revocations {
    /// Rises with each that is noted.
    count: AtomicU64,
    noted: Mutex<AllNoted>,
    held: Mutex<Vec<Held>>,
    any_held: AtomicBool,
    /// Wakes what a pause ends at once.
    pub(crate) paused: Notify,
}

#[derive(Default)]
struct AllNoted {
    /// The last pause.
    paused: u64,
    /// What the owner took back.
    owners: Noted,
    /// What each agent gave back.
    agents: HashMap<AgentId, Noted>,
}

#[derive(Default)]
struct Noted {
    last: HashMap<RevocationScope, u64>,
    /// The newest that is forgotten.
    floor: u64,
}

impl Noted {
    fn note(&mut self, what: RevocationScope, at: u64) {
        if self.last.len() >= NOTED {
            let mut ages: Vec<u64> = self.last.values().copied().collect();
            let (_, middle, _) = ages.select_nth_unstable(NOTED / 2);
            self.floor = *middle;
            self.last.retain(|_, at| *at > self.floor);
        }
        self.last.insert(what, at);
    }

    fn since(&self, mark: u64, concerns: impl Fn(&RevocationScope) -> bool) -> bool {
        self.floor > mark
            || self
                .last
                .iter()
                .any(|(what, at)| *at > mark && concerns(what))
    }
}

#[derive(Clone)]
pub(crate) struct Held {
    pub(crate) what: RevocationScope,
    pub(crate) command: Command,
    /// Whose own it was to give back; none: the owner took it.
    pub(crate) agent: Option<AgentId>,
}

/// A moment in the order of what is taken back.
#[derive(Clone, Copy)]
pub(crate) struct Mark(u64);

impl RevocationScope {
    pub(crate) fn of(command: &Command) -> Option<Self> {
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

impl Revocations {
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
        let concerns = |what: &RevocationScope| what.concerns(agent, id, token);
        let given_back = || {
            let own = noted.agents.get(agent).filter(|_| token.is_some());
            own.is_some_and(|own| own.since(mark, concerns))
        };
        noted.paused > mark || noted.owners.since(mark, concerns) || given_back()
    }

    /// Whether the owner has revoked what concerns these calls after `mark`; a pause is over once it ends.
    pub(crate) fn revoked_since(&self, mark: Mark, agent: &AgentId, id: &CapabilityId) -> bool {
        let noted = self.noted.lock().unwrap_or_else(PoisonError::into_inner);
        noted
            .owners
            .since(mark.0, |what| what.concerns(agent, id, None))
    }

    /// Whether all agents were paused after `mark`.
    pub(crate) fn paused_since(&self, Mark(mark): Mark) -> bool {
        let noted = self.noted.lock().unwrap_or_else(PoisonError::into_inner);
        noted.paused > mark
    }

    /// Waits until all agents are paused after `mark`, or by the state that `is_paused` looks at.
    pub(crate) async fn until_paused(&self, mark: Mark, is_paused: impl Fn() -> bool) {
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
            .find(|held| held.what.concerns(agent, id, token))
            .map(|held| held.what.refusal())
    }

    /// Whether the end of an agent is held.
    pub fn ended(&self, agent: &AgentId) -> bool {
        self.holds(|what| matches!(what, RevocationScope::Agent(whom) if whom == agent))
    }

    /// Whether the end of a token is held.
    pub fn ended_token(&self, token: &TokenId) -> bool {
        self.holds(|what| matches!(what, RevocationScope::Token(which) if which == token))
    }

    fn holds(&self, is_it: impl Fn(&RevocationScope) -> bool) -> bool {
        self.any_held.load(Ordering::Acquire)
            && self
                .held
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .iter()
                .any(|held| is_it(&held.what))
    }

    /// Notes what the owner takes back, or what an agent gives back itself.
    pub(crate) fn note(&self, what: RevocationScope, by: Option<&AgentId>) {
        let mut noted = self.noted.lock().unwrap_or_else(PoisonError::into_inner);
        let at = self.count.fetch_add(1, Ordering::AcqRel) + 1;
        let pauses = what == RevocationScope::Everything;
        match by {
            _ if pauses => noted.paused = at,
            None => noted.owners.note(what, at),
            Some(agent) => noted
                .agents
                .entry(agent.clone())
                .or_default()
                .note(what, at),
        }
        drop(noted);
        if pauses {
            self.paused.notify_waiters();
        }
    }

    /// Whether it is held now: of an agent's own only so much is.
    pub(crate) fn hold(&self, new: Held) -> bool {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if held.iter().any(|known| known.what == new.what) {
            return true;
        }
        let own = held.iter().filter(|known| known.agent == new.agent);
        if new.agent.is_some() && own.count() >= HELD {
            return false;
        }
        held.push(new);
        self.any_held.store(true, Ordering::Release);
        true
    }

    pub(crate) fn let_go(&self, saved: &RevocationScope) {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.retain(|known| known.what != *saved);
        self.any_held.store(!held.is_empty(), Ordering::Release);
    }

    pub(crate) fn all_held(&self) -> Vec<Held> {
        if !self.any_held.load(Ordering::Acquire) {
            return Vec::new();
        }
        self.held
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
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
        let taken = Revocations::default();
        let before = taken.mark();
        assert!(!taken.since(before, &a, &read, None));
        taken.note(RevocationScope::Grant(a.clone(), read.clone()), None);
        assert!(taken.since(before, &a, &read, None));
        assert!(!taken.since(before, &a, &write, None) && !taken.since(before, &b, &read, None));
        assert!(!taken.since(taken.mark(), &a, &read, None));
        for n in 0..=NOTED {
            taken.note(
                RevocationScope::Agent(AgentId::parse(&format!("x{n}")).unwrap()),
                None,
            );
        }
        assert!(
            taken.since(before, &b, &write, None),
            "what is no longer remembered counts"
        );
        assert!(!taken.paused_since(before), "and is no pause");
        let half = Mark(taken.mark().0 - NOTED as u64 / 2 + 1);
        assert!(
            !taken.since(half, &b, &write, None),
            "what is remembered does not"
        );
    }

    #[tokio::test]
    async fn tokens_that_an_agent_gives_back_are_its_own_affair() {
        let (a, b, read, write) = names();
        let taken = Revocations::default();
        let before = taken.mark();
        let mut waiting = std::pin::pin!(taken.until_paused(before, || false));
        let (first, other) = (TokenId::fresh(), TokenId::fresh());
        taken.note(RevocationScope::Token(first.clone()), Some(&a));
        assert!(taken.since(before, &a, &read, Some(&first)));
        assert!(!taken.since(before, &a, &read, Some(&other)));
        for _ in 0..3 * NOTED {
            taken.note(RevocationScope::Token(TokenId::fresh()), Some(&a));
        }
        assert!(
            taken.since(before, &a, &read, Some(&first)),
            "what is no longer remembered counts, for calls by a token of the same agent"
        );
        assert!(!taken.since(before, &a, &read, None));
        assert!(!taken.since(before, &b, &write, Some(&other)));
        let paused = tokio::select! { biased; () = &mut waiting => true, () = std::future::ready(()) => false };
        assert!(!paused && !taken.paused_since(before));
        taken.note(RevocationScope::Token(other.clone()), None);
        assert!(taken.since(before, &b, &write, Some(&other)), "the control");
    }

    #[test]
    fn only_so_much_of_an_agents_own_is_held() {
        let (a, b, ..) = names();
        let taken = Revocations::default();
        let hold = |agent: Option<&AgentId>| {
            let token = TokenId::fresh();
            taken.hold(Held {
                what: RevocationScope::Token(token.clone()),
                command: Command::RevokeToken {
                    token,
                    reason: None,
                },
                agent: agent.cloned(),
            })
        };
        let held = (0..HELD + 10).filter(|_| hold(Some(&a))).count();
        assert_eq!(held, HELD);
        assert!(hold(Some(&b)) && hold(None), "the control");
    }

    #[tokio::test]
    async fn a_pause_wakes_what_was_begun_before_it_and_nothing_else_does() {
        let (a, ..) = names();
        let taken = Revocations::default();
        let before = taken.mark();
        {
            let mut waiting = std::pin::pin!(taken.until_paused(before, || false));
            let mut is_over = async || {
                tokio::select! { biased; () = &mut waiting => true, () = std::future::ready(()) => false }
            };
            assert!(!is_over().await);
            taken.note(RevocationScope::Agent(a), None);
            assert!(
                !is_over().await,
                "another agent's end is none of its business"
            );
            taken.note(RevocationScope::Everything, None);
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
        let taken = Revocations::default();
        let hold = |what, command| {
            let agent = None;
            taken.hold(Held {
                what,
                command,
                agent,
            })
        };
        let command = Command::RevokeAgent {
            agent: a.clone(),
            reason: None,
            delete: false,
        };
        let what = RevocationScope::of(&command).unwrap();
        hold(what.clone(), command);
        assert_eq!(
            taken.refuses(&a, &read, None),
            Some(Refusal::SessionExpired)
        );
        assert!(taken.ended(&a) && !taken.ended(&b));
        assert_eq!(taken.refuses(&b, &read, None), None);
        hold(
            RevocationScope::Grant(b.clone(), read.clone()),
            Command::Pause(true),
        );
        assert!(taken.refuses(&b, &read, None).is_some());
        assert_eq!(taken.refuses(&b, &write, None), None);
        let token = TokenId::fresh();
        hold(RevocationScope::Token(token.clone()), Command::Pause(true));
        assert!(taken.ended_token(&token) && !taken.ended_token(&TokenId::fresh()));
        taken.let_go(&what);
        assert_eq!(taken.refuses(&a, &read, None), None);
    }
}
