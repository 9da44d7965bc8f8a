//! Another time of day for the daemon, without a switch in the daemon: `libfaketime` is loaded before it.

use std::path::PathBuf;

/// The variables that make a program believe it is `offset` (such as `+2h` or `-1d`) from now.
///
/// Only the wall clock moves: deadlines and probes go on as they are. Workers are started with an environment built from
/// nothing and keep the true time.
///
/// # Panics
/// When the library is not installed; the message is the command to type.
#[must_use]
#[track_caller]
pub fn shifted(offset: &str) -> Vec<(String, String)> {
    let library = library().unwrap_or_else(|| {
        panic!("libfaketime is missing; type: sudo apt-get install faketime (`cargo xtask test` does where it may)")
    });
    [
        ("LD_PRELOAD", library.to_string_lossy().into_owned()),
        ("FAKETIME", offset.to_owned()),
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()),
        ("FAKETIME_NO_CACHE", "1".to_owned()),
    ]
    .into_iter()
    .map(|(name, value)| (name.to_owned(), value))
    .collect()
}

/// Debian puts it below the triplet's folder, others below lib.
fn library() -> Option<PathBuf> {
    let roots = ["/usr/lib", "/usr/lib64", "/usr/local/lib"];
    let below = roots
        .iter()
        .filter_map(|root| std::fs::read_dir(root).ok())
        .flatten()
        .flatten()
        .map(|entry| entry.path());
    roots
        .iter()
        .map(PathBuf::from)
        .chain(below)
        .map(|folder| folder.join("faketime/libfaketime.so.1"))
        .find(|library| library.is_file())
}
