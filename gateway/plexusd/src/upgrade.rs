//! The change from one build of the gateway to the next, in the same process: no connection is refused, no call is lost.
//!
//! ```text
//! serving ─asked─▶ looked at ─refused, in words─▶ serving
//!                      │ recorded
//!                      ▼
//!          winding down: nobody new is let in, who is in gets an answer, each the last of its connection
//!                      ▼
//!          stopped: no worker, ledger closed ─exec─▶ the new program, with the listening sockets ─▶ serving
//!                      └─exec failed─▶ this program opens everything again ─▶ serving
//! ```
//! Invariants: nothing is given up before the new program has said what it is and that it would start here; the
//! program that runs next lies where this one was started from, and nobody names another; connections that are made
//! meanwhile wait in the sockets, which are open all the time; of this process the next program has the sockets, its
//! pid and its outputs, and no memory: neither key nor session crosses.
//!
//! Must not know: how a call is served.

pub(crate) mod edition;
pub(crate) mod handover;
mod program;

pub(crate) use edition::Edition;
pub(crate) use handover::{Came, Handed};
pub(crate) use program::{Candidate, Program};

use std::{ffi::OsString, sync::Arc, time::Duration};
use tokio::sync::{Mutex, OwnedMutexGuard, mpsc};

/// How long calls that run may take to end. Longer than an ordinary one takes, shorter than a person waits; what needs
/// longer is ended as at a stop.
pub(crate) const RUNNING: Duration = Duration::from_secs(10);

/// Why the change was not begun.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UpgradeError {
    /// It is this very program.
    #[error("the gateway runs this very program already")]
    Same,
    /// What lies there is not to run next.
    #[error("{0}")]
    Refused(String),
}

/// What a daemon needs to be asked for the change.
pub(crate) struct Desk {
    /// This program as it was started.
    program: Arc<Program>,
    arguments: Vec<OsString>,
    /// One at a time, from the look until the process is another.
    one: Arc<Mutex<()>>,
    asked: mpsc::Sender<Asked>,
}

/// A change that was agreed on.
pub(crate) struct Asked {
    pub(crate) candidate: Candidate,
    _one: OwnedMutexGuard<()>,
}

impl Desk {
    /// The desk, and where the daemon hears of it.
    pub(crate) fn new(program: Arc<Program>) -> (Self, mpsc::Receiver<Asked>) {
        let (asked, hears) = mpsc::channel(1);
        let desk = Self {
            program,
            arguments: std::env::args_os().skip(1).collect(),
            one: Arc::default(),
            asked,
        };
        (desk, hears)
    }

    /// The right to change over, if nobody else is at it.
    pub(crate) fn begin(&self) -> Option<OwnedMutexGuard<()>> {
        self.one.clone().try_lock_owned().ok()
    }

    /// Looks at what lies where this program was started from. Blocks for as long as it takes to say what it is.
    ///
    /// # Errors
    /// Why it is not to run next; nothing was done.
    pub(crate) fn look(&self) -> Result<Candidate, UpgradeError> {
        self.program.next(&self.arguments)
    }

    /// Tells the daemon to change over.
    pub(crate) fn go(&self, candidate: Candidate, one: OwnedMutexGuard<()>) {
        // There is room for one, and `one` is held by whoever put it there.
        let asked = Asked {
            candidate,
            _one: one,
        };
        let _ = self.asked.try_send(asked);
    }
}
