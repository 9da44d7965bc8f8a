//! The one way in which a test says that this machine cannot run it.
//!
//! It stands on standard error and, where `cargo xtask test` runs, in its summary: a test that passed because it did
//! nothing must not look like one that held.

use std::io::Write as _;

/// The file whose lines `cargo xtask test` prints at its end.
pub const FILE: &str = "PLEXUS_TESTS_NOT_RUN";

/// Says that `test` was not run, and why.
///
/// # Panics
/// When the file that `cargo xtask test` named cannot be written.
pub fn say(test: &str, why: &str) {
    eprintln!("NOT RUN: {test}: {why}");
    if let Some(file) = std::env::var_os(FILE) {
        let mut file = std::fs::OpenOptions::new()
            .append(true)
            .create(true)
            .open(file)
            .expect("the file for tests that were not run");
        writeln!(file, "{test}: {why}").expect("a line");
    }
}
