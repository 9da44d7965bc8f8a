//! The change to another build, as the owner's route sees it: which builds, why not, and the word to begin.
//!
//! Must not know: how a program is found, proven or started.

pub use plexus_owner::status::Build;

use std::sync::Arc;
use tokio::sync::{Mutex, OwnedMutexGuard};

/// This build.
#[must_use]
pub fn own_build() -> Build {
    let build = plexus_ipc::BUILD;
    let version = build.split_once('+').map_or(build, |(version, _)| version);
    Build {
        version: version.to_owned(),
        build: build.to_owned(),
    }
}

/// How this launch came about, where it was not a start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LaunchOrigin {
    /// From this build, which had looked at ours.
    From(Build),
    /// Back, because this build could not be started.
    #[allow(missing_docs, reason = "see the variants")]
    Back { to: Build, why: String },
}

/// Why the change was not begun.
#[derive(Debug, thiserror::Error)]
pub enum UpgradeError {
    /// It is this very program.
    #[error("the gateway runs this very program already")]
    Same,
    /// What lies there is not to run next.
    #[error("{0}")]
    Refused(String),
}

/// A build that may run next.
pub struct Candidate {
    /// What lies in its place.
    pub to: Build,
    /// Tells the daemon to change over; with the right to be the only one, which lasts until it has.
    pub begin: Box<dyn FnOnce(OwnedMutexGuard<()>) + Send>,
}

/// Inspects what lies where this program was started from. Blocks for as long as it takes to say what it is.
type Inspect = Box<dyn Fn() -> Result<Candidate, UpgradeError> + Send + Sync>;

/// The way to a change.
pub struct Upgrades {
    /// One at a time, from the inspection until the process is another.
    one: Arc<Mutex<()>>,
    inspect: Inspect,
}

impl Upgrades {
    /// With `inspect`, which finds the candidate.
    #[must_use]
    pub fn new(inspect: Inspect) -> Self {
        let one = Arc::default();
        Self { one, inspect }
    }

    /// The right to change over, if nobody else is at it.
    pub(crate) fn begin(&self) -> Option<OwnedMutexGuard<()>> {
        self.one.clone().try_lock_owned().ok()
    }

    /// What may run next.
    ///
    /// # Errors
    /// Why it is not to run; nothing was done.
    pub(crate) fn inspect(&self) -> Result<Candidate, UpgradeError> {
        (self.inspect)()
    }
}
