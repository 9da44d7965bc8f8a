//! Waiting with a bound: for a state of the world that sends no event to this process, and for the lines of a program.
//!
//! It knows the standard library alone: crates that cannot depend on this one have this file as a module.

use std::io::{BufRead as _, BufReader, Read};
use std::process::{Child, ExitStatus};
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// How long anything may take before a test calls it lost. Only a test that fails waits that long, so it says nothing about
/// how fast the machine is, which may be shared by many.
pub const PATIENCE: Duration = Duration::from_secs(120);
/// How often a state is looked at: far below what a person notices, far above what a look costs.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// Looks until `look` gives something.
///
/// For what cannot be awaited: processes that are not our children, files that another process writes, items whose plan
/// is still being made.
///
/// # Panics
/// After [`PATIENCE`], saying what was waited for.
#[track_caller]
pub fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(
            began.elapsed() < PATIENCE,
            "waited {PATIENCE:?} in vain: {what}"
        );
        std::thread::park_timeout(LOOK_EVERY);
    }
}

/// Looks until `holds` says so, as [`until`] does.
///
/// # Panics
/// As [`until`].
#[track_caller]
pub fn until_true(what: &str, mut holds: impl FnMut() -> bool) {
    until(what, || holds().then_some(()));
}

/// How a program ends that was told to, or that has nothing left to do.
///
/// # Panics
/// As [`until`].
#[track_caller]
pub fn ended(what: &str, child: &mut Child) -> ExitStatus {
    until(&format!("the end of {what}"), || {
        child.try_wait().expect("our child")
    })
}

/// What `act` gives, on a thread of its own: for what blocks and takes no bound itself.
///
/// # Panics
/// Where `bound` passes, saying what was waited for; and where `act` panics.
#[track_caller]
pub fn within<T: Send + 'static>(
    bound: Duration,
    what: &str,
    act: impl FnOnce() -> T + Send + 'static,
) -> T {
    let (sender, done) = mpsc::channel();
    std::thread::spawn(move || sender.send(act()));
    match done.recv_timeout(bound) {
        Ok(done) => done,
        Err(why) => panic!("waited {bound:?} in vain: {what} ({why})"),
    }
}

/// The lines of a pipe, as far as each comes within [`PATIENCE`]: a program that neither speaks nor ends is taken for one
/// that ended. The pipe is read on in any case, so that a full one stops nobody.
pub fn lines(pipe: impl Read + Send + 'static) -> impl Iterator<Item = String> {
    let (sender, lines) = mpsc::channel();
    std::thread::spawn(move || {
        for line in BufReader::new(pipe).lines().map_while(Result::ok) {
            // The test may be done with it.
            let _ = sender.send(line);
        }
    });
    std::iter::from_fn(move || lines.recv_timeout(PATIENCE).ok())
}
