//! A disk that turns read-only under a running daemon, and works again: `examples/read_only_disk.rs` is loaded before it.
//!
//! Only the state directory is read-only, and only for the daemon: workers are started with an environment built from
//! nothing, so an effect that must not happen could.

use std::path::PathBuf;
use tempfile::TempDir;

/// The disk of a daemon's state directory.
pub struct FailingDisk(TempDir);

impl FailingDisk {
    /// A disk that works.
    ///
    /// # Panics
    /// Where no temporary folder can be made.
    #[must_use]
    #[track_caller]
    pub fn new() -> Self {
        Self(TempDir::with_prefix("plx").expect("a temporary folder"))
    }
    /// From here on nothing can be written to it.
    ///
    /// # Panics
    /// Where the switch cannot be set.
    #[track_caller]
    pub fn turn_read_only(&self) {
        std::fs::write(self.switch(), "").expect("a file");
    }
    /// It works again.
    ///
    /// # Panics
    /// Where it was not read-only.
    #[track_caller]
    pub fn work_again(&self) {
        std::fs::remove_file(self.switch()).expect("it is read-only");
    }
    fn switch(&self) -> PathBuf {
        self.0.path().join("read-only")
    }
    /// The variables that make a daemon live on it.
    ///
    /// # Panics
    /// When the library was not built; the message is the command to type.
    #[must_use]
    #[track_caller]
    pub fn variables(&self) -> Vec<(String, String)> {
        crate::binaries::preloaded(
            "libread_only_disk.so",
            "PLEXUS_TEST_READ_ONLY",
            &self.switch().to_string_lossy(),
        )
    }
}

impl Default for FailingDisk {
    fn default() -> Self {
        Self::new()
    }
}
