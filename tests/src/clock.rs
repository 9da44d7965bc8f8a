//! Another time of day for the daemon, without a switch in the daemon: `libfaketime` is loaded before it.
//!
//! Only the wall clock moves: deadlines and probes go on as they are. Workers are started with an environment built from
//! nothing and keep the true time.

use std::path::PathBuf;
use tempfile::NamedTempFile;

/// A wall clock that a test moves while the daemon runs.
pub struct Clock(NamedTempFile);

impl Clock {
    /// A clock that shows the true time.
    ///
    /// # Panics
    /// When libfaketime is not installed; the message is the command to type.
    #[must_use]
    #[track_caller]
    pub fn new() -> Self {
        let clock = Self(NamedTempFile::new().expect("a temporary file"));
        clock.show("+0");
        clock
    }
    /// Shows the time that is `offset` from now, such as `+2h`, `-1d` or `+90m`.
    pub fn show(&self, offset: &str) {
        std::fs::write(self.0.path(), offset).expect("the clock can be set");
    }
    /// The variables that make a program look at this clock.
    #[must_use]
    #[track_caller]
    pub fn variables(&self) -> Vec<(String, String)> {
        let library = library().unwrap_or_else(|| {
            panic!("libfaketime is missing; type: sudo apt-get install faketime (`cargo xtask test` does where it may)")
        });
        [
            ("LD_PRELOAD", library.to_string_lossy()),
            ("FAKETIME_TIMESTAMP_FILE", self.0.path().to_string_lossy()),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1".into()),
            ("FAKETIME_NO_CACHE", "1".into()),
        ]
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value.into_owned()))
        .collect()
    }
}

/// A machine that a test puts to sleep while the daemon runs: the wall clock and the boot clock go on, the clock of
/// awake time stands still. The person may set the wall clock too.
///
/// A real suspend is not possible in a test. What is real here is everything above the clocks: the daemon reads the three
/// of them as after a suspend.
pub struct Machine {
    shifts: NamedTempFile,
    /// Seconds.
    slept: std::cell::Cell<i64>,
    set: std::cell::Cell<i64>,
}

impl Machine {
    /// A machine that has not slept, with the right time.
    #[must_use]
    pub fn new() -> Self {
        let machine = Self {
            shifts: NamedTempFile::new().expect("a temporary file"),
            slept: 0.into(),
            set: 0.into(),
        };
        machine.show();
        machine
    }
    /// Sleeps for so many seconds, at once.
    pub fn sleep(&self, seconds: i64) {
        self.slept.set(self.slept.get() + seconds);
        self.show();
    }
    /// Sets the wall clock to so many seconds from the right time.
    pub fn set_clock(&self, seconds: i64) {
        self.set.set(seconds);
        self.show();
    }
    fn show(&self) {
        let (slept, set) = (self.slept.get(), self.set.get());
        // In one step: the daemon may look at any moment.
        let next = self.shifts.path().with_extension("next");
        std::fs::write(&next, format!("{} {slept}", slept + set)).expect("the clocks can be set");
        std::fs::rename(&next, self.shifts.path()).expect("the clocks can be set");
    }
    /// The variables that make a program live on this machine.
    ///
    /// # Panics
    /// When the library was not built; the message is the command to type.
    #[must_use]
    #[track_caller]
    pub fn variables(&self) -> Vec<(String, String)> {
        crate::binaries::preloaded(
            "libsleeping_clock.so",
            "PLEXUS_TEST_CLOCK",
            &self.shifts.path().to_string_lossy(),
        )
    }
}

impl Default for Machine {
    fn default() -> Self {
        Self::new()
    }
}

impl Default for Clock {
    fn default() -> Self {
        Self::new()
    }
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
