//! What each agent called lately in this launch, so that long lists can begin with it.
//!
//! Invariant: it decides nothing, and a restart forgets it.

use plexus_protocol::{AgentId, CapabilityId};
use std::{
    collections::{HashMap, VecDeque},
    sync::{Mutex, MutexGuard, PoisonError},
};

/// How many capabilities of an agent are remembered.
const KEPT: usize = 16;

/// Capabilities by agent, the latest first.
#[derive(Default)]
pub struct Lately(Mutex<HashMap<AgentId, VecDeque<CapabilityId>>>);

impl Lately {
    fn all(&self) -> MutexGuard<'_, HashMap<AgentId, VecDeque<CapabilityId>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes a call.
    pub(crate) fn note(&self, agent: &AgentId, id: &CapabilityId) {
        let mut all = self.all();
        let called = all.entry(agent.clone()).or_default();
        if called.front() == Some(id) {
            return;
        }
        called.retain(|known| known != id);
        called.push_front(id.clone());
        called.truncate(KEPT);
    }

    /// What an agent called, the latest first.
    pub fn of(&self, agent: &AgentId) -> Vec<CapabilityId> {
        let all = self.all();
        let called = all.get(agent).into_iter().flatten();
        called.cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn latest_is_first_and_oldest_is_forgotten() {
        let (lately, agent) = (Lately::default(), AgentId::parse("a").unwrap());
        let id = |n: usize| CapabilityId::parse(&format!("s.c{n}")).unwrap();
        for n in (0..KEPT + 4).chain([KEPT]) {
            lately.note(&agent, &id(n));
        }
        let called = lately.of(&agent);
        assert_eq!((called.len(), &called[0]), (KEPT, &id(KEPT)));
        assert!(!called.contains(&id(0)));
        assert!(lately.of(&AgentId::parse("b").unwrap()).is_empty());
    }
}
