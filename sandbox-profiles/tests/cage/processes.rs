//! Other processes are out of a worker's reach, and it has no second one of its own.

use crate::{Bystander, Cage};

#[test]
fn nobody_is_signalled() {
    let bystander = Bystander::start();
    let own = std::process::id().to_string();
    for cage in Cage::leaves() {
        cage.denies(&["signal", &own]); // its parent
        cage.denies(&["signal", &bystander.pid()]);
    }
}

#[test]
fn no_second_process_and_as_many_threads_as_wanted() {
    let cage = Cage::reader();
    cage.denies(&["fork"]);
    cage.denies(&["fork-twice"]);
    cage.allows(&["thread"]);
    cage.allows(&["give-up", "thread"]);
}

/// Descriptors are limited for each table of them, so a second table would be a second allowance.
#[cfg(target_os = "linux")]
#[test]
fn threads_share_their_descriptors() {
    for cage in [Cage::reader(), Cage::writer()] {
        cage.allows(&["thread-apart", "nothing"]);
        cage.denies(&["thread-apart", "descriptors"]);
        cage.denies(&["thread-apart", "folder"]);
        cage.denies(&["descriptors-apart"]);
    }
}
