//! What was revoked and cannot be saved: it narrows the ledger's snapshot for as long as this process lives.
//!
//! ```text
//! take back ─▶ calls under way cancelled ─▶ submitted ─┬ saved, or refused
//!                                                      └ cannot be saved ─▶ held ─ the ledger records again ─▶ saved
//! ```
//! Invariants: what is held refuses as if it were saved, and ends with the process, which its answer says; what the owner
//! took back is saved before any later act of the owner. A token that an agent gives back takes no place of the owner's.

use plexus_protocol::{AgentId, CapabilityId, TokenId};
use plexus_trust::{Command, Refusal, State};
use std::sync::{
    Mutex, PoisonError,
    atomic::{AtomicBool, Ordering},
};

/// Tokens of one agent that are held.
const HELD: usize = 256;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum RevocationScope {
    Everything,
    Agent(AgentId),
    Grant(AgentId, CapabilityId),
    Token(TokenId),
}

/// Revocations that are not saved.
#[derive(Default)]
pub struct Revocations {
    held: Mutex<Vec<UnsavedRevocation>>,
    any_held: AtomicBool,
}

#[derive(Clone)]
pub(crate) struct UnsavedRevocation {
    pub(crate) what: RevocationScope,
    pub(crate) command: Command,
    /// Whose own it was to give back; none: the owner took it.
    pub(crate) agent: Option<AgentId>,
}

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
    pub(crate) fn concerns(
        &self,
        agent: &AgentId,
        id: &CapabilityId,
        token: Option<&TokenId>,
    ) -> bool {
        match self {
            Self::Everything => true,
            Self::Agent(whom) => whom == agent || agent.is_nested_in(whom),
            Self::Grant(whom, what) => whom == agent && what == id,
            Self::Token(which) => token == Some(which),
        }
    }
}

impl Revocations {
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

    /// Whether something is held that the owner took back.
    pub fn holds_the_owners(&self) -> bool {
        self.all_held().iter().any(|held| held.agent.is_none())
    }

    /// Whether the owner has paused all agents, on record or held.
    pub fn paused(&self, state: &State) -> bool {
        state.paused || self.holds(|what| matches!(what, RevocationScope::Everything))
    }

    /// Whether the end of an agent is held.
    pub fn ended(&self, agent: &AgentId) -> bool {
        self.holds(|what| matches!(what, RevocationScope::Agent(whom) if whom == agent))
    }

    /// Whether the end of an agent, or of its grant of a capability, is held.
    pub fn ended_grant(&self, agent: &AgentId, id: &CapabilityId) -> bool {
        self.holds(|what| *what != RevocationScope::Everything && what.concerns(agent, id, None))
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

    /// Whether it is held now: of an agent's own only so much is.
    pub(crate) fn hold(&self, new: UnsavedRevocation) -> bool {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = held.iter_mut().find(|known| known.what == new.what) {
            // The owner's word for it stays the owner's.
            if new.agent.is_none() {
                *known = new;
            }
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

    pub(crate) fn all_held(&self) -> Vec<UnsavedRevocation> {
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
    fn only_so_much_of_an_agents_own_is_held() {
        let (a, b, ..) = names();
        let taken = Revocations::default();
        let hold = |agent: Option<&AgentId>| {
            let token = TokenId::fresh();
            taken.hold(UnsavedRevocation {
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
        assert!(hold(Some(&b)) && !taken.holds_the_owners());
        assert!(hold(None) && taken.holds_the_owners(), "the control");
        // A token that its agent gave back is the owner's once the owner takes it.
        let (taken, token) = (Revocations::default(), TokenId::fresh());
        for agent in [Some(a), None] {
            taken.hold(UnsavedRevocation {
                what: RevocationScope::Token(token.clone()),
                command: Command::RevokeToken {
                    token: token.clone(),
                    reason: None,
                },
                agent,
            });
        }
        assert!(taken.holds_the_owners() && taken.all_held().len() == 1);
    }

    #[test]
    fn what_is_held_refuses_until_it_is_saved() {
        let (a, b, read, write) = names();
        let taken = Revocations::default();
        let hold = |what, command| {
            let agent = None;
            taken.hold(UnsavedRevocation {
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
        let refused = taken.refuses(&a, &read, None);
        assert_eq!(refused, Some(Refusal::SessionExpired));
        assert!(taken.ended(&a) && !taken.ended(&b));
        assert_eq!(taken.refuses(&b, &read, None), None);
        let grant = RevocationScope::Grant(b.clone(), read.clone());
        hold(grant, Command::Pause(true));
        assert!(taken.refuses(&b, &read, None).is_some());
        assert!(taken.ended_grant(&b, &read) && !taken.ended_grant(&b, &write));
        assert!(taken.ended_grant(&a, &write), "its agent has ended");
        assert_eq!(taken.refuses(&b, &write, None), None);
        let token = TokenId::fresh();
        hold(RevocationScope::Token(token.clone()), Command::Pause(true));
        assert!(taken.ended_token(&token) && !taken.ended_token(&TokenId::fresh()));
        taken.let_go(&what);
        assert_eq!(taken.refuses(&a, &read, None), None);
        assert!(!taken.paused(&State::default()));
        hold(RevocationScope::Everything, Command::Pause(true));
        assert!(taken.paused(&State::default()));
        assert!(!taken.ended_grant(&b, &write), "a pause ends no grant");
    }
}
