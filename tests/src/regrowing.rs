//! The attack on the end of a run, `plexus-regrow`: a line of processes that grows again as it is killed. Each test's own have
//! a name of their own, for tests run beside each other and look at all processes of the machine.

use crate::processes::{self, Process};
use crate::{binaries, waiting};
use std::path::Path;

/// How many they are at a time; a run may have 256.
pub const LINE: usize = 150;

/// Copies the program into a folder; the answer is the command that starts it there.
///
/// # Panics
/// When it cannot be copied.
#[must_use]
#[track_caller]
pub fn command_in(folder: &Path) -> String {
    std::fs::copy(binaries::path("plexus-regrow"), folder.join(name())).expect("a copy");
    format!("./{} {LINE}", name())
}

/// Those that are there.
#[must_use]
pub fn line() -> Vec<Process> {
    processes::named(&name())
}

/// Waits until all are.
///
/// # Panics
/// When they do not come.
#[track_caller]
pub fn until_whole() {
    waiting::until_true("the whole line", || line().len() >= LINE);
}

/// Of a process that this test starts: the kernel keeps 15 bytes of a name.
fn name() -> String {
    format!("regrow-{}", std::process::id())
}
