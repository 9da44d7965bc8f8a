//! What is kept of agents that speak MCP: one session for each credential, its list of tools as it was last made, and which of
//! its requests are under way.
//!
//! Must not know: how either is made.

use plexus_mcp::View;
use plexus_protocol::{CapabilityId, Digest, SessionId};
use serde_json::Value;
use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

/// How long a refusal by a pause stands in the log for all that follow it: a client tries again with each message.
const PAUSE_RECORD_INTERVAL: Duration = Duration::from_secs(600);

/// By the digest of a credential. None leaves the gateway.
#[derive(Default)]
pub struct McpAgents {
    agents: Mutex<HashMap<Digest, AgentConnection>>,
    under_way: Mutex<Vec<Weak<ClientRequest>>>,
}

/// A request that is under way.
pub(crate) struct ClientRequest {
    pat: Digest,
    /// Its id, which another client of the same credential may use too.
    id: Value,
    /// Its client, or another one with the same id, has said that it waits no longer: what it is answered may reach nobody.
    given_up: AtomicBool,
}

impl ClientRequest {
    pub(crate) fn is_given_up(&self) -> bool {
        self.given_up.load(Ordering::Relaxed)
    }
}

#[derive(Default)]
pub(crate) struct AgentConnection {
    pub(crate) session: Option<SessionId>,
    pub(crate) view: Option<MadeView>,
    /// When a refusal by a pause was recorded; none once it ended.
    pub(crate) paused: Option<Instant>,
}

/// A list of tools, and what it was made of.
pub(crate) struct MadeView {
    pub(crate) revision: u64,
    pub(crate) ids: Vec<CapabilityId>,
    pub(crate) marks: Vec<Marks>,
    pub(crate) view: Arc<View>,
}

/// What decides how a list shows a capability, and whether one that is too long names it.
#[derive(Clone, Copy, PartialEq)]
pub(crate) struct Marks {
    pub(crate) standing: bool,
    pub(crate) narrowed: bool,
    pub(crate) lately: bool,
}

impl McpAgents {
    pub(crate) fn all(&self) -> MutexGuard<'_, HashMap<Digest, AgentConnection>> {
        self.agents.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a refusal by a pause that comes now is to be recorded.
    pub(crate) fn records_pause(&self, pat: &Digest) -> bool {
        let mut all = self.all();
        let paused = &mut all.entry(*pat).or_default().paused;
        let is_due = paused.is_none_or(|at| at.elapsed() >= PAUSE_RECORD_INTERVAL);
        if is_due {
            *paused = Some(Instant::now());
        }
        is_due
    }

    /// A pause has ended: the first refusal by the next one is recorded too.
    pub fn end_pause(&self) {
        for kept in self.all().values_mut() {
            kept.paused = None;
        }
    }

    /// Takes a request in for as long as its caller holds it.
    pub(crate) fn enter(&self, pat: Digest, id: Value) -> Arc<ClientRequest> {
        let request = Arc::new(ClientRequest {
            pat,
            id,
            given_up: AtomicBool::new(false),
        });
        let mut under_way = self.requests();
        under_way.retain(|known| known.strong_count() > 0);
        under_way.push(Arc::downgrade(&request));
        request
    }

    /// A client with this credential waits no longer for the request of this id.
    pub(crate) fn give_up(&self, pat: &Digest, id: &Value) {
        for known in self.requests().iter().filter_map(Weak::upgrade) {
            if known.pat == *pat && known.id == *id {
                known.given_up.store(true, Ordering::Relaxed);
            }
        }
    }

    fn requests(&self) -> MutexGuard<'_, Vec<Weak<ClientRequest>>> {
        self.under_way
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}
