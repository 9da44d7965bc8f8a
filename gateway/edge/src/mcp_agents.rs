//! What is kept of agents that speak MCP: one session for each credential, and its list of tools as it was last made.
//!
//! Must not know: how either is made.

use plexus_mcp::View;
use plexus_protocol::{CapabilityId, Digest, SessionId};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// By the digest of a credential. None leaves the gateway.
#[derive(Default)]
pub struct McpAgents(Mutex<HashMap<Digest, AgentConnection>>);

#[derive(Default)]
pub(crate) struct AgentConnection {
    pub(crate) session: Option<SessionId>,
    pub(crate) view: Option<MadeView>,
}

/// A list of tools, and what it was made of.
pub(crate) struct MadeView {
    pub(crate) revision: u64,
    pub(crate) ids: Vec<CapabilityId>,
    pub(crate) marks: Vec<Marks>,
    pub(crate) view: Arc<View>,
}

/// What decides whether a list that is too long names a capability.
#[derive(Clone, Copy, PartialEq)]
pub(crate) struct Marks {
    pub(crate) standing: bool,
    pub(crate) lately: bool,
}

impl McpAgents {
    pub(crate) fn all(&self) -> MutexGuard<'_, HashMap<Digest, AgentConnection>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
