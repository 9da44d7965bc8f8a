//! What the agents' routes and every credential need.

use crate::{
    address::Address, connection_key::KeyFile, kept_discovery::KeptDiscovery, key_lock::KeyLock,
    mcp_agents::McpAgents, sessions::Sessions, throttle::Throttle, token::TokenKey,
};
use plexus_calls::{kernel::Kernel, proposals::JudgingTurns};
use std::{
    ops::Deref,
    sync::{Arc, atomic::AtomicU64},
};

/// A kernel, and the listeners before it.
pub struct Edge {
    /// The calls.
    pub kernel: Arc<Kernel>,
    /// The answer to discovery, made once.
    pub discovery: KeptDiscovery,
    /// Signs scoped tokens.
    pub tokens: TokenKey,
    /// The connection key.
    pub key: KeyFile,
    /// Failed credentials.
    pub throttle: Throttle,
    /// Where this gateway listens, and under which names.
    pub address: Address,
    /// Who is signed in to the console.
    pub console: Sessions,
    /// What the owner calls this installation.
    pub instance: Option<String>,
    /// Rises with each rotation of the connection key in this launch.
    pub key_epoch: AtomicU64,
    /// Agents that speak MCP over HTTP.
    pub mcp: McpAgents,
    /// Who has a proposal judged.
    pub judging: JudgingTurns,
    /// Between acts that the key allows and its rotation.
    pub key_lock: KeyLock,
}

impl Deref for Edge {
    type Target = Kernel;
    fn deref(&self) -> &Kernel {
        &self.kernel
    }
}
