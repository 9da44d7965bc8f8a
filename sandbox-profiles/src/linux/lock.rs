//! The lock of a run: a file that somebody of the run holds until nobody is left of it.
//!
//! ```text
//! monitor: lock, number ▸ helper: number ▸ … ▸ nobody is left: the file is empty ▸ unlocked
//! ```
//!
//! Monitor and helper hold it together, and the program does not: it is closed before the program begins. Where both were killed,
//! the file is free and still has their numbers.
//!
//! Invariants: a file lies where no worker and no program writes; an empty file that is free means that nobody is left; a
//! process is signalled only where its number *and* its start are those in the file.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::children::RunState;

/// Filters that a program in a cage has at least, and whatever descends from it: see `syscalls`.
const FILTERS: i32 = 4;

/// Held by a monitor, and by the helper that inherits it.
pub(super) struct RunLock(File);

impl RunLock {
    /// # Errors
    /// Somebody holds it, or the system's.
    pub(super) fn take(path: &Path) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        options.append(true).create(true).mode(0o600);
        let file = options.custom_flags(libc::O_NOFOLLOW).open(path)?;
        file.try_lock()?;
        file.set_len(0)?;
        let lock = Self(file);
        lock.add(Pid::this())?;
        Ok(lock)
    }

    /// Adds a process that holds it as well.
    pub(super) fn add(&self, process: Pid) -> io::Result<()> {
        (&self.0).write_all(entry(process)?.as_bytes())
    }

    /// Nobody is left. The lock goes with whoever holds it.
    pub(super) fn over(&self) -> io::Result<()> {
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

/// Asks those who hold the lock of a run to end all of it; the others are not signalled.
///
/// # Errors
/// The system's.
pub fn end_run(path: &Path) -> io::Result<()> {
    for process in holders(path)? {
        _ = kill(process, Signal::SIGTERM);
    }
    Ok(())
}

/// What is left of a run whose helper has ended: what descends from its monitor. Where that has ended too, all that could be of
/// it: whoever has the filters of a cage, which nobody sheds, and descends from no monitor of a run.
///
/// # Errors
/// The system's.
pub fn left_of_run(path: &Path) -> io::Result<Vec<i32>> {
    let all = Processes::read()?;
    let own = holders(path)?;
    if !own.is_empty() {
        let left = all.0.keys().filter(|process| {
            let is_helper = own.iter().any(|own| own.as_raw() == **process);
            !is_helper && all.descends_from(**process, &own)
        });
        return Ok(left.copied().collect());
    }
    let mut others = Vec::new();
    for lock in std::fs::read_dir(path.parent().unwrap_or(path))? {
        others.extend(holders(&lock?.path()).unwrap_or_default());
    }
    let this = Pid::this().as_raw();
    let beside = all.0.get(&this).map_or(0, |this| this.filters);
    let is_caged = |process: &Process| process.filters >= beside + FILTERS;
    let left = all
        .0
        .iter()
        .filter(|(number, process)| is_caged(process) && !all.descends_from(**number, &others));
    Ok(left.map(|(number, _)| *number).collect())
}

struct Process {
    parent: i32,
    filters: i32,
}

/// All of this user.
struct Processes(BTreeMap<i32, Process>);

impl Processes {
    fn read() -> io::Result<Self> {
        let mut all = BTreeMap::new();
        let user = nix::unistd::getuid().to_string();
        for entry in std::fs::read_dir("/proc")? {
            let entry = entry?;
            let number = entry
                .file_name()
                .to_str()
                .and_then(|name| name.parse().ok());
            let status = std::fs::read_to_string(entry.path().join("status"));
            let (Some(number), Ok(status)) = (number, status) else {
                continue;
            };
            let field = |name: &str| {
                let line = status.lines().find_map(|line| line.strip_prefix(name))?;
                line.split_ascii_whitespace().next()
            };
            // One that has ended is waited for by its parent.
            if field("Uid:") != Some(user.as_str()) || field("State:") == Some("Z") {
                continue;
            }
            let number_in = |name| {
                field(name)
                    .and_then(|value| value.parse().ok())
                    .unwrap_or(0)
            };
            let (parent, filters) = (number_in("PPid:"), number_in("Seccomp_filters:"));
            all.insert(number, Process { parent, filters });
        }
        Ok(Self(all))
    }

    fn descends_from(&self, process: i32, above: &[Pid]) -> bool {
        let mut now = process;
        // A number that was given twice meanwhile makes no ring of it.
        for _ in 0..=self.0.len() {
            let Some(found) = self.0.get(&now) else {
                return false;
            };
            if above.iter().any(|above| above.as_raw() == found.parent) {
                return true;
            }
            now = found.parent;
        }
        false
    }
}

/// Those of the numbers in the file that still mean the same process.
fn holders(path: &Path) -> io::Result<Vec<Pid>> {
    let text = std::fs::read_to_string(path)?;
    let same = |line: &str| {
        let (number, since) = line.split_once(' ')?;
        let number: u32 = number.parse().ok().filter(|number| *number > 1)?;
        (started(number)? == since).then(|| Pid::from_raw(number.cast_signed()))
    };
    Ok(text.lines().filter_map(same).collect())
}

/// When a process started, with the machine's own start: with its number this means one process. `None` where there is none.
#[must_use]
pub fn started(pid: u32) -> Option<String> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    Some(format!("{}/{}", boot().ok()?, ticks(&stat)?))
}

fn boot() -> io::Result<String> {
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id")?;
    Ok(boot.trim().to_owned())
}

/// Field 22 of `/proc/<pid>/stat`. The name, field 2, is in parentheses and may hold anything, so counting starts
/// behind its last one. Source: proc_pid_stat(5).
fn ticks(stat: &str) -> Option<u64> {
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_ascii_whitespace().nth(22 - 3)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_parentheses_and_spaces_moves_no_field() {
        let fields: Vec<String> = (4..=30).map(|n| n.to_string()).collect();
        let stat = format!("17 (a) (b c) S {}", fields.join(" "));
        assert_eq!(ticks(&stat), Some(22));
        assert_eq!(ticks("17 (short) S 1 2"), None);
    }
}
