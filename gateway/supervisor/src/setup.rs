//! What the supervisor is given: where things lie, how patient to be, what to run for a source.
//!
//! Must not know: what becomes of it.

use super::{
    agreed::{AgreedCode, Code, CodeError},
    notice::Notice,
    process::Process,
};
use plexus_ipc::{
    message::{Role, Secret, Secrets},
    offer::Offer,
};
use plexus_protocol::{Digest, SourceId};
use serde_json::Value;
use std::{
    fmt, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use tokio::sync::mpsc;

/// What a supervisor needs.
#[derive(Debug)]
pub struct Setup {
    /// `plexus-sandbox-exec`; on macOS used for a worker that has programs started.
    pub launcher: PathBuf,
    /// The folder with `plexus-worker-<connector>`.
    pub workers: PathBuf,
    /// The daemon's state, resolved. Workers are recorded in its `run/`, keep their own in its `workers/<source>/`.
    pub state_dir: PathBuf,
    /// This launch of the ledger: what commits are stamped with.
    pub launch: u64,
    /// A loopback port that the daemon listens on, for workers to fail to reach.
    pub tcp_port: u16,
    /// Who is told what happens to workers.
    pub notices: mpsc::UnboundedSender<Notice>,
    /// How patient to be.
    pub pace: Pace,
}

/// How patient to be, all in awake time.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// From the start of the process to its first word, its attack on the cage included.
    pub hello_within: Duration,
    /// From there until the source is open.
    pub open_within: Duration,
    /// Between two probes of a worker.
    pub probe_every: Duration,
    /// Until a probe is answered.
    pub probe_within: Duration,
    /// Before the second start in a row; doubled for each one after.
    pub backoff: Duration,
    /// Before a call has a failed source tried again; before it is tried again by itself, doubled for each try that fails.
    pub failed_pause: Duration,
    /// What that grows to.
    pub longest_pause: Duration,
    /// Without a call before a worker is stopped.
    pub idle: Duration,
    /// For a worker that was asked to stop and has no effect under way.
    pub stop_within: Duration,
    /// For effects that are under way when a worker is asked to stop.
    pub effects_within: Duration,
    /// Between SIGTERM, SIGKILL and giving up.
    pub signal_within: Duration,
}

impl Default for Pace {
    /// Probes, the failed pause and the patience with effects are those of docs/design.md#workers.
    fn default() -> Self {
        Self {
            hello_within: Duration::from_secs(10),
            open_within: Duration::from_secs(30),
            probe_every: Duration::from_secs(5),
            probe_within: Duration::from_secs(2),
            backoff: Duration::from_millis(200),
            failed_pause: Duration::from_secs(60),
            longest_pause: Duration::from_secs(3600),
            idle: Duration::from_secs(600),
            stop_within: Duration::from_secs(1),
            effects_within: Duration::from_secs(5),
            signal_within: Duration::from_secs(1),
        }
    }
}

/// Gives the secrets of a source when a worker of it starts.
pub type SecretsOf = Box<dyn Fn() -> io::Result<Secrets> + Send + Sync>;

/// Keeps what a sign-in has become, in the field of a source, where that is still what it was.
pub type KeepSecret = Box<dyn Fn(&str, Digest, &Secret) -> io::Result<()> + Send + Sync>;

/// Whether a folder is the one that a source's grants are about.
pub type IsTarget = Arc<dyn Fn(&Path) -> io::Result<bool> + Send + Sync>;

/// A folder of a source.
pub struct Folder {
    /// Its parameter in the profile.
    pub parameter: String,
    /// Where it is, resolved.
    pub path: PathBuf,
    /// Asked of it before each start: no worker serves another one under its name. None where it was not seen yet.
    pub is_target: Option<IsTarget>,
}

/// What to run for a source: everything that a start needs, nothing of policy.
pub struct Spec {
    /// The source.
    pub source: SourceId,
    /// Its manifest, profile and program.
    pub offer: Arc<Offer>,
    /// Its folders.
    pub folders: Vec<Folder>,
    /// Folders of other sources, resolved: further programs of its runs lie in none of them.
    pub elsewhere: Vec<(SourceId, PathBuf)>,
    /// What its processes run, compared before each call and each start.
    pub code: Vec<Code>,
    /// Its route, as the connector's configuration reads it.
    pub config: Value,
    /// Its secrets; asked on the spawner's thread.
    pub secrets: SecretsOf,
    /// Where a renewed one goes; it blocks on the disk.
    pub keep: KeepSecret,
    /// Which of the source's versions this is.
    pub revision: u64,
    /// The owner asked by name that it serve without a cage.
    pub uncaged: bool,
}

impl Spec {
    /// Compares all that workers of `role` run.
    pub(super) async fn compared(&self, role: Role) -> Result<AgreedCode, CodeError> {
        AgreedCode::compared((&self.source, self.revision), &self.code, role).await
    }

    /// Whether its worker's launcher stays outside to start programs.
    pub(super) fn has_keeper(&self) -> bool {
        !self.offer.manifest.children.is_empty() && !self.uncaged
    }
}

impl fmt::Debug for Spec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Spec")
            .field("source", &self.source)
            .field("program", &self.offer.program)
            .field("revision", &self.revision)
            .finish_non_exhaustive()
    }
}

/// What all actors share, whose workers are processes of `P`.
#[derive(Debug)]
pub(super) struct Context<P: Process> {
    pub(super) launcher: PathBuf,
    pub(super) workers: PathBuf,
    pub(super) state_dir: PathBuf,
    pub(super) launch: u64,
    pub(super) tcp_port: u16,
    pub(super) notices: mpsc::UnboundedSender<Notice>,
    pub(super) pace: Pace,
    pub(super) spawner: P::Spawner,
}

impl<P: Process> Context<P> {
    pub(super) fn notify(&self, notice: Notice) {
        // Nobody listens while the daemon stops.
        drop(self.notices.send(notice));
    }
}
