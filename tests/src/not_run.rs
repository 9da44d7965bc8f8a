//! The one way in which a test says that this machine cannot run it.
//!
//! It stands on standard error and, where `cargo xtask test` runs, in its summary: a test that passed because it did
//! nothing must not look like one that held.

use std::io::Write as _;

/// The file whose lines `cargo xtask test` prints at its end.
pub const FILE: &str = "PLEXUS_TESTS_NOT_RUN";

/// How a line begins whose test ran, but not all of it.
const IN_PART: &str = "in part: ";

/// Says that `test` was not run, and why. In CI that is a failure.
///
/// # Panics
/// When the file that `cargo xtask test` named cannot be written.
pub fn say(test: &str, why: &str) {
    note(&format!("{test}: {why}"));
}

/// Says that `test` ran and held, and which part of it, such as a control, this machine does not offer.
///
/// # Panics
/// As [`say`].
pub fn in_part(test: &str, why: &str) {
    note(&format!("{IN_PART}{test}: {why}"));
}

fn note(line: &str) {
    eprintln!("NOT RUN: {line}");
    if let Some(file) = std::env::var_os(FILE) {
        let mut file = std::fs::OpenOptions::new()
            .append(true)
            .create(true)
            .open(file)
            .expect("the file for tests that were not run");
        writeln!(file, "{line}").expect("a line");
    }
}
