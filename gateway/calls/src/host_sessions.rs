//! The gateway's own sessions as nested agents, one each. None leaves the gateway.
//!
//! Must not know: which of them are over.

use plexus_protocol::{AgentId, SessionId};
use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

/// See the module.
#[derive(Default)]
pub struct HostSessions(Mutex<HashMap<AgentId, SessionId>>);

impl HostSessions {
    fn sessions(&self) -> MutexGuard<'_, HashMap<AgentId, SessionId>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The last one of `agent`.
    pub(crate) fn of(&self, agent: &AgentId) -> Option<SessionId> {
        self.sessions().get(agent).cloned()
    }

    /// From here on it is that of `agent`.
    pub(crate) fn keep(&self, agent: &AgentId, session: &SessionId) {
        self.sessions().insert(agent.clone(), session.clone());
    }
}
