//! The lock of a run: a file that somebody of the run holds until nobody is left of it.
//!
//! ```text
//! Linux: monitor: lock, number ▸ helper: number  ▸ … ▸ nobody is left: the file is empty ▸ unlocked
//! macOS: monitor: lock, number ▸ program: number ▸ … ▸ nobody is left: the file is empty ▸ unlocked
//! ```
//!
//! On Linux monitor and helper hold it together, on macOS the monitor alone. The program never does: it is closed before the
//! program begins. If all who held it were killed, the file is free and still has the numbers.
//!
//! Invariants: a file lies where no worker and no program writes; an empty file that is free means that nobody is left; a
//! process is signalled only where its number *and* its start are those in the file.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::children::RunState;
use crate::platform::lock::{boot, started};

/// Held by a monitor, and by a helper that inherits it.
pub(crate) struct RunLock(File);

impl RunLock {
    /// # Errors
    /// Somebody holds it, or the system's.
    pub(crate) fn take(path: &Path) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        options.append(true).create(true).mode(0o600);
        let file = options.custom_flags(libc::O_NOFOLLOW).open(path)?;
        file.try_lock()?;
        file.set_len(0)?;
        let lock = Self(file);
        lock.add(Pid::this())?;
        Ok(lock)
    }

    /// Adds a process: a helper, which holds it as well, or the program.
    pub(crate) fn add(&self, process: Pid) -> io::Result<()> {
        (&self.0).write_all(entry(process)?.as_bytes())
    }

    /// Nobody is left. The lock goes with its holder.
    pub(crate) fn over(&self) -> io::Result<()> {
        self.0.set_len(0)
    }
}

fn entry(process: Pid) -> io::Result<String> {
    let started = started(process.as_raw().unsigned_abs()).ok_or(io::ErrorKind::NotFound)?;
    Ok(format!("{process} {started}\n"))
}

/// How it is about the run with this lock.
///
/// # Errors
/// The system's.
pub fn state_of_run(path: &Path) -> io::Result<RunState> {
    let file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(RunState::Over),
        opened => opened?,
    };
    match file.try_lock() {
        Err(TryLockError::WouldBlock) => return Ok(RunState::UnderWay),
        locked => locked?,
    }
    // Nobody outlives the machine's own end.
    let (text, boot) = (io::read_to_string(&file)?, boot()?);
    Ok(match text.contains(&boot) {
        true => RunState::Unknown,
        false => RunState::Over,
    })
}

/// Asks those whose numbers the lock of a run has to end all of it; the others are not signalled.
///
/// # Errors
/// The system's.
pub fn end_run(path: &Path) -> io::Result<()> {
    for process in holders(path)? {
        _ = kill(process, Signal::SIGTERM);
    }
    Ok(())
}

/// Those of the numbers in the file that still mean the same process.
pub(crate) fn holders(path: &Path) -> io::Result<Vec<Pid>> {
    let text = std::fs::read_to_string(path)?;
    let same = |line: &str| {
        let (number, since) = line.split_once(' ')?;
        let number: u32 = number.parse().ok().filter(|number| *number > 1)?;
        (started(number)? == since).then(|| Pid::from_raw(number.cast_signed()))
    };
    Ok(text.lines().filter_map(same).collect())
}
