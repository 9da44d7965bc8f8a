//! A network share that goes away under a running daemon and comes back: `examples/dead_share.rs` is loaded before it.

use crate::waiting::until_true;
use std::path::PathBuf;
use tempfile::TempDir;

/// A folder on a network share.
pub struct DeadShare(TempDir);

impl DeadShare {
    /// A share that answers.
    ///
    /// # Panics
    /// Where no temporary folder can be made.
    #[must_use]
    #[track_caller]
    pub fn new() -> Self {
        let dir = TempDir::with_prefix("plx").expect("a temporary folder");
        std::fs::create_dir(dir.path().join("share")).expect("a folder");
        Self(dir)
    }
    /// Its folder.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        self.0.path().join("share")
    }
    /// From here on a look at it hangs.
    ///
    /// # Panics
    /// Where the switch cannot be set.
    #[track_caller]
    pub fn die(&self) {
        let _ = std::fs::remove_file(self.0.path().join("asked"));
        std::fs::write(self.switch(), "").expect("a file");
    }
    /// Waits until somebody looks at it in vain.
    ///
    /// # Panics
    /// Where nobody does.
    #[track_caller]
    pub fn wait_until_asked(&self) {
        until_true("a look at the dead share", || {
            self.0.path().join("asked").exists()
        });
    }
    /// It answers again.
    ///
    /// # Panics
    /// Where it was not dead.
    #[track_caller]
    pub fn come_back(&self) {
        std::fs::remove_file(self.switch()).expect("it is dead");
    }
    fn switch(&self) -> PathBuf {
        self.0.path().join("dead")
    }
    /// The variables that make a daemon live with it.
    ///
    /// # Panics
    /// When the library was not built; the message is the command to type.
    #[must_use]
    #[track_caller]
    pub fn variables(&self) -> Vec<(String, String)> {
        crate::binaries::preloaded(
            "libdead_share.so",
            "PLEXUS_TEST_DEAD_SHARE",
            &self.switch().to_string_lossy(),
        )
    }
}

impl Default for DeadShare {
    fn default() -> Self {
        Self::new()
    }
}
