//! The harness: everything that a worker process is, apart from its connector.
//!
//! ```text
//! descriptor 3 ─▶ Start ─▶ give up exec and fork ─▶ attack the cage ─▶ runtime ─▶ Hello, Described ─▶ open ─▶ serve
//!                (one thread, blocking, one deadline)                  (threads from here on)
//! ```
//!
//! A connector implements [`Source`] and its `main` is one line:
//!
//! ```text
//! fn main() -> std::process::ExitCode {
//!     plexus_ipc::worker::main::<Vault>(include_str!("../manifest.json"))
//! }
//! ```
//!
//! Invariants: no thread exists before exec and fork are given up; nothing is said before the cage was attacked; a
//! connector sees a call only after every check of [`mod@serve`]; nothing of an input or an output is logged.
//!
//! Must not know: what the connector reaches, who asks.

pub(crate) mod cage;
mod call;
pub mod children;
pub mod durable;
mod handlers;
mod host;
mod kept;
mod os;
mod process;
pub mod serve;

/// Why a handler failed.
pub use crate::message::WorkerError as SourceError;
pub use crate::message::{
    Content, EGRESS_CREDENTIAL, EgressAccess, Fact, Health, OpenError, OpenFailure, Preview, Role,
    Secret, Secrets, Touched, Verdict,
};
pub use call::CallContext;
pub use handlers::{Handlers, Mismatch, NoInput, Plan, Reply};
pub use host::Host;
pub use kept::{ALREADY_UNDONE, KeptChanges};
pub use os::take_stream;
pub use process::{main, serve_any};

use plexus_protocol::{AuditId, Effect, SourceId};
use serde::de::DeserializeOwned;

/// What a source is opened with, beside its configuration.
#[derive(Debug)]
pub struct SourceContext {
    /// The source's id, for words that name a command; `None` outside of a gateway.
    pub source: Option<SourceId>,
    /// By field name.
    pub secrets: Secrets,
    /// What the worker is for.
    pub role: Role,
    /// A folder of its own, outside of what it serves; a reader may only look.
    pub scratch: Option<std::path::PathBuf>,
    /// How much it may keep there, by its manifest.
    pub kept: Option<crate::manifest::KeepLimits>,
    /// Its way to the hosts of its manifest, where the owner's fields name any.
    pub egress: Option<EgressAccess>,
    /// The programs of its manifest; `None` where there are none, or nobody who would start them.
    pub children: Option<children::Children>,
    /// Of an MCP server, the definitions that the owner agreed to.
    pub pins: Option<crate::manifest::McpPins>,
    /// For what it says unasked.
    pub host: Host,
}

impl SourceContext {
    /// The source's id, for words that name a command.
    #[must_use]
    pub fn name(&self) -> String {
        let id = self.source.as_ref().map(SourceId::to_string);
        id.unwrap_or_else(|| "SOURCE".to_owned())
    }
}

/// Does `work`, which may block, on a file thread: where a handler's work on files belongs.
///
/// # Errors
/// Where it panicked: the error is internal, and whether a commit had changed something by then is not known.
pub async fn on_file_thread<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, SourceError> + Send + 'static,
) -> Result<T, SourceError> {
    #[expect(
        clippy::disallowed_methods,
        reason = "it costs a worker the call that asked"
    )]
    let work = tokio::task::spawn_blocking(work);
    work.await.unwrap_or_else(|_| {
        Err(SourceError::internal("the work on a file thread panicked").effect(Effect::Unknown))
    })
}

/// One connector. Its handlers share one thread with the probes: work that may block, files above all, goes through
/// [`on_file_thread`].
pub trait Source: Sized + Send + Sync + 'static {
    /// The source's route, as the manifest's fields describe it.
    type Config: DeserializeOwned;

    /// Opens the source. Calls wait for it, probes are answered meanwhile.
    fn open(
        config: Self::Config,
        secrets: Secrets,
        role: Role,
    ) -> impl Future<Output = Result<Self, OpenError>> + Send;

    /// As [`Source::open`], for a source that keeps something of its own in `given.scratch`: what it replaced, above
    /// all, so that it can be taken back.
    fn open_with(
        config: Self::Config,
        given: SourceContext,
    ) -> impl Future<Output = Result<Self, OpenError>> + Send {
        Self::open(config, given.secrets, given.role)
    }

    /// The state of the app behind it; asked with every probe, so it answers from what it knows, within milliseconds.
    fn health(&self) -> impl Future<Output = Health> + Send {
        async { Health::Well }
    }

    /// The same, asked of the app now, because the owner wants to know. It may take
    /// [`CHECK_WITHIN`](serve::CHECK_WITHIN) and may be dropped then. A source whose [`Source::health`] looks each time
    /// needs no other.
    fn check(&self) -> impl Future<Output = Health> + Send {
        self.health()
    }

    /// What runs for each of the manifest's capabilities.
    fn handlers() -> Handlers<Self>;

    /// As [`Source::handlers`], for a program that [serves any manifest](serve_any).
    fn handlers_of(_manifest: &crate::manifest::Manifest) -> Handlers<Self> {
        Self::handlers()
    }

    /// Whether the effect with this intent happened, from the source's own record of it.
    fn settle(&self, _intent: AuditId) -> impl Future<Output = Verdict> + Send {
        async { Verdict::CannotTell }
    }
}
