//! Whether anybody is left of the runs of a worker that has ended. Its next start waits for that.
//!
//! ```text
//! a lock in run/runs/ ─ free and empty ─▶ over
//!                     ─ held ─▶ wait ▸ ask its helper to end ▸ wait ─▶ over, or the source does not start
//!                     ─ free, with numbers ─▶ its helper was killed: is anybody left? ▸ wait ─▶ over, or the same
//! ```
//!
//! Invariant: nothing is killed from here. Who holds a lock is asked, by number and start; all else is the owner's to end, who is
//! told the numbers.
//!
//! Must not know: what the programs are for.

use super::os;
use plexus_ipc::message::Role;
use plexus_protocol::SourceId;
use plexus_sandbox::children::RunState;
use std::{
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::time::{Instant, sleep};

/// How long what was told to end by the death of its keeper may take, before it is asked; and again, before that is an error.
const PATIENCE: Duration = Duration::from_secs(2);
/// How often a lock is looked at meanwhile.
const LOOK: Duration = Duration::from_millis(10);
/// How often all processes are, of which there may be thousands.
const LOOK_AT_ALL: Duration = Duration::from_millis(200);
/// How many processes are named.
const NAMED: usize = 16;

/// Workers that live and may have runs, by what the names of their locks begin with. Their keepers see to those runs.
pub(super) type Living = Arc<Mutex<Vec<PathBuf>>>;

/// One of those, until it is dropped.
#[derive(Debug)]
pub(super) struct Keeping {
    locks: PathBuf,
    living: Living,
}

impl Keeping {
    pub(super) fn new(locks: PathBuf, living: &Living) -> Self {
        let mut all = living.lock().unwrap_or_else(PoisonError::into_inner);
        all.push(locks.clone());
        drop(all);
        Self {
            locks,
            living: Arc::clone(living),
        }
    }

    /// Its keeper has ended: returns when nobody is left of its runs.
    pub(super) async fn ended(self) -> io::Result<()> {
        let (locks, living) = (self.locks.clone(), Arc::clone(&self.living));
        drop(self);
        over(&locks, &living).await
    }
}

impl Drop for Keeping {
    fn drop(&mut self) {
        let mut all = self.living.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(at) = all.iter().position(|locks| *locks == self.locks) {
            all.swap_remove(at);
        }
    }
}

/// The folder with the locks of all runs, which no worker reaches.
pub(super) fn dir(state_dir: &Path) -> PathBuf {
    state_dir.join("run").join("runs")
}

/// What the names of the locks of one worker's runs begin with.
pub(super) fn locks(state_dir: &Path, source: &SourceId, role: Role) -> PathBuf {
    dir(state_dir).join(format!("{source}.{role}"))
}

/// Returns when nobody is left of any run with such a lock, unless a worker lives whose they are.
///
/// # Errors
/// Somebody is left who does not end.
pub(super) async fn over(locks: &Path, living: &Living) -> io::Result<()> {
    let living = living
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .clone();
    if living.iter().any(|living| living == locks) {
        return Ok(());
    }
    for lock in named(locks)? {
        let began = Instant::now();
        let mut asked = false;
        loop {
            match os::state_of_run(&lock)? {
                RunState::Over => break,
                RunState::UnderWay if began.elapsed() < PATIENCE => {}
                RunState::UnderWay if !asked => {
                    asked = true;
                    os::end_run(&lock)?;
                }
                RunState::UnderWay if began.elapsed() < 2 * PATIENCE => {}
                state => match os::left_of_run(&lock)?.as_slice() {
                    // All who could be of it are gone.
                    [] if state == RunState::Unknown => break,
                    // Whatever killed their helper may have killed them as well.
                    _ if state == RunState::Unknown && began.elapsed() < PATIENCE => {
                        sleep(LOOK_AT_ALL).await;
                    }
                    left => return Err(io::Error::other(words(left))),
                },
            }
            sleep(LOOK).await;
        }
        std::fs::remove_file(&lock)?;
    }
    Ok(())
}

/// For the owner.
fn words(left: &[i32]) -> String {
    let named: Vec<String> = left.iter().take(NAMED).map(i32::to_string).collect();
    format!(
        "{} processes are left whose helper was killed; end them, and the source starts again: kill -9 {}",
        left.len(),
        named.join(" ")
    )
}

/// The locks whose names begin so.
fn named(locks: &Path) -> io::Result<Vec<PathBuf>> {
    let (Some(dir), Some(begin)) = (locks.parent(), locks.file_name()) else {
        return Ok(Vec::new());
    };
    let begin = format!("{}.", begin.to_string_lossy());
    let entries = match std::fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(&begin) {
            found.push(entry.path());
        }
    }
    Ok(found)
}
