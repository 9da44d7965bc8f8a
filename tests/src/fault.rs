//! A fault of the system that a test begins and ends under a running daemon: a library of `examples` is loaded before it, and
//! looks for a file.

use crate::waiting::until_true;
use std::path::PathBuf;
use tempfile::TempDir;

/// A fault; none until it is begun.
pub struct Fault {
    dir: TempDir,
    library: &'static str,
    variable: &'static str,
}

impl Fault {
    /// The disk of the state directory turns read-only, for the daemon alone: workers are started with an environment built
    /// from nothing, so an effect that must not happen could.
    #[must_use]
    #[track_caller]
    pub fn read_only_disk() -> Self {
        Self::of("libread_only_disk.so", "PLEXUS_TEST_READ_ONLY")
    }
    /// A look at a folder on a network share, which is [`Self::folder`], hangs.
    #[must_use]
    #[track_caller]
    pub fn dead_share() -> Self {
        Self::of("libdead_share.so", "PLEXUS_TEST_DEAD_SHARE")
    }
    /// A flush hangs that is made when a secret is written: of the new file, or of the folder in which it has its own name.
    #[must_use]
    #[track_caller]
    pub fn held_flush() -> Self {
        Self::of("libheld_flush.so", "PLEXUS_TEST_HELD_FLUSH")
    }
    #[track_caller]
    fn of(library: &'static str, variable: &'static str) -> Self {
        let dir = TempDir::with_prefix("plx").expect("a temporary folder");
        std::fs::create_dir(dir.path().join("share")).expect("a folder");
        Self {
            dir,
            library,
            variable,
        }
    }
    /// The folder on the share.
    #[must_use]
    pub fn folder(&self) -> PathBuf {
        self.dir.path().join("share")
    }
    /// From here on it is there.
    #[track_caller]
    pub fn begin(&self) {
        self.begin_at("");
    }
    /// From here on it is there: for a flush, of the `file` or of the `folder`.
    ///
    /// # Panics
    /// If the switch cannot be set.
    #[track_caller]
    pub fn begin_at(&self, what: &str) {
        let _ = std::fs::remove_file(self.dir.path().join("asked"));
        std::fs::write(self.switch(), what).expect("a file");
    }
    /// Waits until somebody hangs in it.
    #[track_caller]
    pub fn wait_until_asked(&self) {
        until_true("somebody who hangs", || {
            self.dir.path().join("asked").exists()
        });
    }
    /// It is over.
    pub fn end(&self) {
        let _ = std::fs::remove_file(self.switch());
    }
    fn switch(&self) -> PathBuf {
        self.dir.path().join("switch")
    }
    /// The variables that make a daemon live with it.
    ///
    /// # Panics
    /// When the library was not built; the message is the command to type.
    #[must_use]
    #[track_caller]
    pub fn variables(&self) -> Vec<(String, String)> {
        let switch = self.switch();
        crate::binaries::preloaded(self.library, self.variable, &switch.to_string_lossy())
    }
}
