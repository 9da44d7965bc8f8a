//! What is left of a run whose monitor was killed: the keeper ends it.
//!
//! Type-checked alone; no Mac has run it.

use std::path::Path;

use nix::unistd::Pid;

use super::{SystemProcesses, lock};

/// Kills what is there, and says whether there was nothing any more.
pub(crate) fn is_gone(lock: &Path, _worker: Pid, _launchers: &[Pid]) -> bool {
    let descended = lock::descended(lock);
    descended.is_ok_and(|sweep| {
        sweep.is_none_or(|mut sweep| {
            let killed = sweep.kill_once(&mut SystemProcesses::new());
            killed.unwrap_or(false)
        })
    })
}
