//! The public wire of Plexus: what agents, the owner's commands and the gateway say to each other.
//!
//! Purpose: one place for identifiers, credentials, codes and bodies, so that a string is parsed once, at the edge,
//! and is a type from there on. No I/O, no clock, no policy. Changes only by addition
//! (`docs/protocol/compatibility.md`).
//!
//! Must not know: HTTP, the ledger, workers.

pub mod agent;
pub mod body;
pub mod capability;
pub mod constraint;
pub mod credential;
pub mod digest;
pub mod error;
pub mod id;
pub mod installation;
pub mod json;
pub mod scopes;
pub mod shell;
pub mod skill;
pub mod state_dir;
pub mod streamed;
pub mod time;
pub mod unseen;
pub mod words;

pub use agent::{EnrollmentStatus, Reach};
pub use capability::{Provenance, Sensitivity, TrustWindow, Verb, Verbs};
pub use constraint::Constraint;
pub use digest::Digest;
pub use error::{Effect, ErrorBody, ErrorCode, NextAction, NextKind};
pub use id::{AgentId, AuditId, CapabilityId, PendingId, RunId, SessionId, SourceId, TokenId};
pub use scopes::{MAX_SCOPES_TEXT, Scopes};
pub use time::Timestamp;

/// How an agent writes an extension and proposes it: Markdown, true to what this version accepts.
#[must_use]
pub const fn extension_guide() -> &'static str {
    include_str!("extension.md")
}

/// The protocol family, the only version that travels (`gateway.protocol`).
pub const PROTOCOL_FAMILY: &str = "0.1";
/// The exact revision that this crate speaks, sent as additive `gateway.protocolExact`.
pub const PROTOCOL_EXACT: &str = "0.1.4";
/// The port of a gateway that was given none.
pub const DEFAULT_PORT: u16 = 7077;
/// Most bytes of a request's body, and of a message of MCP (docs/protocol/README.md#limits).
pub const MAX_BODY: usize = 1 << 20;
/// What an agent whose credential is unknown or over is to do.
pub const NEW_CODE: &str = "stop; tell the owner: a new enrollment code is needed (plexusctl agents code AGENT; after a revocation, plexusctl connect AGENT)";
/// [`NEW_CODE`] with the agent's name, where that is known.
#[must_use]
pub fn new_code(agent: Option<&AgentId>) -> String {
    agent.map_or_else(
        || NEW_CODE.to_owned(),
        |agent| NEW_CODE.replace("AGENT", agent.as_str()),
    )
}
/// Header that carries an agent's session.
pub const SESSION_HEADER: &str = "X-Plexus-Session";
/// Header that carries the owner's connection key.
pub const KEY_HEADER: &str = "X-Plexus-Connection-Key";
/// Carries what one tab of the console holds beside its cookie.
pub const TAB_HEADER: &str = "X-Plexus-Tab";
/// The program that Python is given behind `-c`: it starts a script, or a module by `-m`, with the modules of the first
/// argument before Python's own and those of the second after them, each with `:` between two. With a second, packages beside
/// Python's own are left out, as in a virtual environment. It imports nothing from its working folder, and runs no other file of
/// its arguments.
pub const PYTHON_START: &str = "import sys; a = sys.argv; b, c = ([x for x in y.split(':') if x] for y in a[1:3]); sys.path[:] = b + [x for x in sys.path if x and not (c and x.endswith('-packages'))] + c; import os.path, runpy; del a[:3]; runpy.run_module((a.pop(0), a[0])[1], run_name='__main__', alter_sys=True) if a[0] == '-m' else (sys.path.insert(0, os.path.dirname(a[0])), runpy.run_path(a[0], run_name='__main__'))";
