//! Coding agents as sources: a command-line agent works on a copy of one folder; what it changed comes into the folder by an
//! effect of its own. Each connector adds a [`Program`]: how its agent is started, and what its lines mean.
//!
//! ```text
//! source.rs     calls in, answers out; what a failure means to an agent
//!   run.rs      copy ─▶ the program in a cage of its own ─▶ what it changed
//!     threads.rs  which conversation is whose folder; plexus-agent-lines reads its lines
//!     host.rs   its tools of the host, by way of bridge.rs in its cage
//!   apply.rs    a change set into the folder, and back; direct.rs says what of it a run's own approval reaches
//! program_check.rs  whether the program runs at all
//! sessions.rs   threads as capabilities
//! snapshot.rs   what a folder holds, and a copy of it; ignored.rs says what of it no copy has, history.rs makes its .git
//! onto.rs       what earlier runs changed, onto a copy
//! change_set.rs what lies between two snapshots, and where that is kept
//! ```
//!
//! Invariants: a run changes its copy alone; a change set is read from a copy only after every process of its run has
//! ended; contents are believed only where their digest is the change set's; applying checks each file before the first
//! one is changed.
//!
//! Must not know: agents of the gateway, grants, the key of the model server, one coding agent by name.

mod apply;
mod blocks;
mod bridge;
mod change_set;
mod credential;
mod direct;
mod history;
mod host;
mod ignored;
mod onto;
mod program_check;
mod run;
mod sessions;
mod snapshot;
mod source;
mod threads;

pub use bridge::mcp_host;
pub use credential::without_credentials;
pub use host::{Asker, HostServer, HostTools, Pended, Serving, Waiting};
pub use plexus_agent_lines::{Turn, TurnEnd, TurnProgress, Usage, word};
pub use run::{Task, prepare_home};
pub use sessions::ThreadFolder;
pub use source::{CodingAgent, Config};

use plexus_ipc::worker::{CallContext, EgressAccess, Handlers, SourceError};
use serde::Serialize;
use serde_json::Value;
use std::path::Path;

/// Values for names of the manifest's `children`.
pub type NamedValues = Vec<(&'static str, String)>;

/// Where a run's model is.
#[derive(Debug)]
pub struct ModelServer {
    /// The source's egress, which leads to it and nowhere else.
    pub egress: EgressAccess,
    /// The path of the owner's `server`; empty where that names a host alone.
    pub path: String,
    /// Whether a run has a copy of the owner's own sign-in: it sends that, and opens the egress by the header
    /// [`EGRESS_HEADER`].
    pub signs_in: bool,
}

/// The value of a named list of the manifest: these arguments.
#[must_use]
pub fn list(words: impl IntoIterator<Item = impl std::fmt::Display>) -> String {
    let words = words.into_iter().map(|word| format!("{word}\0"));
    words.collect()
}

/// Opens an egress that adds no secret.
pub const EGRESS_HEADER: &str = "x-plexus-egress";

impl ModelServer {
    /// The same for the program of one call, which has a credential of its own until the call's time is over.
    pub(crate) fn of_call(&self, call: &CallContext) -> Result<Self, SourceError> {
        Ok(Self {
            egress: EgressAccess {
                port: self.egress.port,
                credential: call.credential(&self.egress.credential)?,
                authorities: String::new(),
                bearer: self.egress.bearer,
            },
            path: self.path.clone(),
            signs_in: self.signs_in,
        })
    }

    pub(crate) fn new(egress: EgressAccess, server: &str, login: &str) -> Self {
        let server = server.trim();
        let rest = server.split_once("://").map_or(server, |(_, rest)| rest);
        let path = rest.find('/').map_or("", |at| &rest[at..]);
        Self {
            egress,
            path: path.trim_end_matches('/').to_owned(),
            signs_in: !login.is_empty(),
        }
    }
}

/// A call of a tool, as the agent recorded it.
#[derive(Clone, Debug, Serialize)]
pub struct ToolCall {
    /// The agent's own id of it.
    pub id: String,
    /// The tool.
    pub name: String,
    /// The beginning of what it was called with.
    pub arguments: String,
    /// The beginning of what came back, once something did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output: Option<String>,
}

/// A command-line coding agent. Its manifest has the children `turn`, `resumed-turn` and `version`, which says its version on
/// standard output.
pub trait Program: std::fmt::Debug + Send + Sync + 'static {
    /// What people call it.
    const NAME: &'static str;
    /// The version that this was written for.
    const VERSION: &'static str;
    /// Whether it counts the tokens of a whole thread, and not those of a turn.
    const COUNTS_THREADS: bool;
    /// What it says on standard error where it has no such thread.
    const NO_THREAD: &'static str;
    /// Files of its home with settings, which a run must not leave for the next one.
    const SETTINGS: &'static [&'static str];

    /// The arguments beside `prompt` and `thread`; `host` is the server of the host's tools, where it has any. It does not
    /// begin a turn without that server.
    fn arguments(task: &Task, model: &ModelServer, host: Option<&HostServer>) -> NamedValues;

    /// Its environment, with a home that is there and its own credential for the model.
    fn environment(home: &Path, model: &ModelServer) -> NamedValues;

    /// Its handlers beside those of every coding agent.
    #[must_use]
    fn handlers(handlers: Handlers<CodingAgent<Self>>) -> Handlers<CodingAgent<Self>>
    where
        Self: Sized,
    {
        handlers
    }

    /// Where its own record of a thread ends now, in bytes.
    #[must_use]
    fn record_end(_: &ThreadFolder) -> u64 {
        0
    }

    /// What that record says the whole thread has used so far; none for an agent whose lines say so.
    #[must_use]
    fn used(_: &ThreadFolder) -> Option<Usage> {
        None
    }

    /// The calls in that record from a byte on, as far as it can be read.
    #[must_use]
    fn recorded(_: &ThreadFolder, _from: u64, _is_over: &dyn Fn() -> bool) -> Vec<ToolCall> {
        Vec::new()
    }

    /// Takes one event of its output; answers with what it shows.
    fn take(turn: &mut Turn, event: &Value) -> Option<TurnProgress>;
}
