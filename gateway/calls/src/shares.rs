//! Shares of work that the gateway does for agents outside of their calls: each agent has as many, whatever the others do.
//!
//! Must not know: what the work is.

use plexus_protocol::AgentId;
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The shares of some work.
pub struct Shares {
    of_each: usize,
    all: Mutex<HashMap<AgentId, Arc<Semaphore>>>,
}

/// One share, given back when it goes.
pub type Share = OwnedSemaphorePermit;

impl Shares {
    /// With `of_each` shares for each agent.
    #[must_use]
    pub fn new(of_each: usize) -> Self {
        Self {
            of_each,
            all: Mutex::default(),
        }
    }

    /// A share for `agent`, if it has one left.
    pub fn take(&self, agent: &AgentId) -> Option<Share> {
        self.of(agent).try_acquire_owned().ok()
    }

    /// A share for `agent`, once it has one left.
    pub async fn wait(&self, agent: &AgentId) -> Option<Share> {
        // Fails only once it is closed, and it never is.
        self.of(agent).acquire_owned().await.ok()
    }

    fn of(&self, agent: &AgentId) -> Arc<Semaphore> {
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        // Those that nobody has a share of or waits for.
        all.retain(|_, shares| Arc::strong_count(shares) > 1);
        let shares = all.entry(agent.clone());
        shares
            .or_insert_with(|| Arc::new(Semaphore::new(self.of_each)))
            .clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn full_agent_leaves_the_shares_of_others() {
        let (a, b) = (AgentId::parse("a").unwrap(), AgentId::parse("b").unwrap());
        let shares = Shares::new(2);
        let first = shares.take(&a).unwrap();
        let _second = shares.take(&a).unwrap();
        assert!(shares.take(&a).is_none());
        assert!(shares.take(&b).is_some());
        drop(first);
        assert!(shares.take(&a).is_some(), "given back");
    }
}
