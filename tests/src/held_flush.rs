//! A disk that takes no flush of a secret while a test says so: `examples/held_flush.rs` is loaded before the daemon.

use crate::waiting::until_true;
use std::path::PathBuf;
use tempfile::TempDir;

/// What is flushed when a secret is written, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SecretFlush {
    /// The new file, which has another name yet.
    File,
    /// The folder, in which it has its own name.
    Folder,
}

/// The disk of a daemon's secrets.
pub struct HeldFlush(TempDir);

impl HeldFlush {
    /// A disk that works.
    ///
    /// # Panics
    /// Where no temporary folder can be made.
    #[must_use]
    #[track_caller]
    pub fn new() -> Self {
        Self(TempDir::with_prefix("plx").expect("a temporary folder"))
    }
    /// From here on such a flush hangs.
    ///
    /// # Panics
    /// Where the switch cannot be set.
    #[track_caller]
    pub fn hold(&self, flush: SecretFlush) {
        let _ = std::fs::remove_file(self.0.path().join("asked"));
        let what = match flush {
            SecretFlush::File => "file",
            SecretFlush::Folder => "folder",
        };
        std::fs::write(self.switch(), what).expect("a file");
    }
    /// Waits until one hangs.
    ///
    /// # Panics
    /// Where none does.
    #[track_caller]
    pub fn wait_until_asked(&self) {
        until_true("a flush that hangs", || {
            self.0.path().join("asked").exists()
        });
    }
    /// It works again.
    pub fn let_go(&self) {
        let _ = std::fs::remove_file(self.switch());
    }
    fn switch(&self) -> PathBuf {
        self.0.path().join("held")
    }
    /// The variables that make a daemon live on it.
    ///
    /// # Panics
    /// When the library was not built; the message is the command to type.
    #[must_use]
    #[track_caller]
    pub fn variables(&self) -> Vec<(String, String)> {
        crate::binaries::preloaded(
            "libheld_flush.so",
            "PLEXUS_TEST_HELD_FLUSH",
            &self.switch().to_string_lossy(),
        )
    }
}

impl Default for HeldFlush {
    fn default() -> Self {
        Self::new()
    }
}
