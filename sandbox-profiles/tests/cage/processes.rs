//! Other processes are out of a worker's reach, and it has no second one of its own.

use crate::{Bystander, Cage, OBSIDIAN};

#[test]
fn nobody_is_signalled() {
    let bystander = Bystander::start();
    let own = std::process::id().to_string();
    for cage in [
        Cage::reader(),
        Cage::writer(),
        Cage::new(OBSIDIAN, "reader"),
    ] {
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
