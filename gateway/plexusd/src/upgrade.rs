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
pub(crate) use handover::Handed;
pub(crate) use program::{Candidate, Program};

use plexus_desk::upgrade::Upgrades;
use std::{ffi::OsString, sync::Arc, time::Duration};
use tokio::sync::{OwnedMutexGuard, mpsc};

/// How long calls that run may take to end. Longer than an ordinary one takes, shorter than a person waits; what needs
/// longer is ended as at a stop.
pub(crate) const RUNNING: Duration = Duration::from_secs(10);

/// A change that was agreed on.
pub(crate) struct AcceptedUpgrade {
    pub(crate) candidate: Candidate,
    _one: OwnedMutexGuard<()>,
}

/// What the owner's route asks, and where the daemon hears what was agreed on.
pub(crate) fn upgrades(program: Arc<Program>) -> (Upgrades, mpsc::Receiver<AcceptedUpgrade>) {
    let (asked, hears) = mpsc::channel(1);
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    let inspect = move || {
        let candidate = program.next(&arguments)?;
        let to = candidate.to.clone();
        let asked = asked.clone();
        let begin = Box::new(move |one: OwnedMutexGuard<()>| {
            // There is room for one, and `one` is held by its sender.
            let _ = asked.try_send(AcceptedUpgrade {
                candidate,
                _one: one,
            });
        });
        Ok(plexus_desk::upgrade::Candidate { to, begin })
    };
    (Upgrades::new(Box::new(inspect)), hears)
}
