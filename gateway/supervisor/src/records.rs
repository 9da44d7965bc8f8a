//! Which workers run, on disk: `run/workers.json`, so that the next daemon can end what a killed one left.
//!
//! Invariants: the file is replaced as a whole; a process is ended only if its id *and* its start are those that were
//! recorded. Residual: children of a worker that died before its daemon did are in no record.
//!
//! Must not know: sources, queues.

use super::os;
use nix::{
    sys::signal::{Signal, kill, killpg},
    unistd::{Pid, getpgid},
};
use serde::{Deserialize, Serialize};
use std::{
    fs,
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

/// One worker. Its process group has the same number.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Record {
    pid: u32,
    started: String,
}

/// The workers of this daemon, kept on disk.
#[derive(Debug)]
pub(super) struct Records {
    file: PathBuf,
    running: Vec<Record>,
}

impl Records {
    pub(super) fn new(state_dir: &Path) -> Self {
        Self {
            file: file(state_dir),
            running: Vec::new(),
        }
    }

    /// Adds a process that this one has just started and not yet reaped.
    ///
    /// # Errors
    /// The system's; then the process is not on record.
    pub(super) fn add(&mut self, pid: u32) -> io::Result<()> {
        let started = os::started(pid).ok_or(io::ErrorKind::NotFound)?;
        self.running.push(Record { pid, started });
        self.save()
    }

    /// Takes out a process that was reaped.
    pub(super) fn remove(&mut self, pid: u32) {
        self.running.retain(|record| record.pid != pid);
        if let Err(error) = self.save() {
            // A record too many does no harm: the next sweep compares the start.
            tracing::warn!(name: "worker.unlisted", %error, "cannot write the record of workers");
        }
    }

    fn save(&self) -> io::Result<()> {
        let fresh = self.file.with_extension("json.new");
        let mut file = fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&fresh)?;
        file.write_all(&serde_json::to_vec(&self.running)?)?;
        fs::rename(fresh, &self.file)
    }
}

fn file(state_dir: &Path) -> PathBuf {
    run_dir(state_dir).join("workers.json")
}

fn run_dir(state_dir: &Path) -> PathBuf {
    state_dir.join("run")
}

/// Where the things lie that a worker attacks at its start.
pub(super) fn probe_dir(state_dir: &Path) -> PathBuf {
    run_dir(state_dir).join("probe")
}

/// Makes `dir` and what leads to it, for the owner alone.
pub(super) fn make_dir(dir: &Path) -> io::Result<()> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
}

/// Ends the workers that a killed daemon left, and removes what their starts left in `run/`. Says which processes it
/// ended. To be called once, before the first worker is started and after it is sure that no other daemon runs.
///
/// # Errors
/// The system's. A record that cannot be read ends nothing and is removed: it is not known what it said.
pub fn sweep_leftovers(state_dir: &Path) -> io::Result<Vec<u32>> {
    make_dir(&run_dir(state_dir))?;
    match fs::remove_dir_all(probe_dir(state_dir)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let bytes = match fs::read(file(state_dir)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other?,
    };
    let records: Vec<Record> = serde_json::from_slice(&bytes).unwrap_or_else(|error| {
        tracing::warn!(name: "worker.unlisted", %error, "the record of workers cannot be read");
        Vec::new()
    });
    let ended = records.iter().filter(|record| end(record));
    let ended = ended.map(|record| record.pid).collect();
    fs::remove_file(file(state_dir))?;
    Ok(ended)
}

/// Ends the group of the recorded process, if that is who has the number now.
fn end(record: &Record) -> bool {
    let Some(pid) = worker_pid(record.pid) else {
        return false;
    };
    if os::started(record.pid).as_ref() != Some(&record.started) {
        return false;
    }
    let sent = match getpgid(Some(pid)) {
        Ok(group) if group == pid => killpg(pid, Signal::SIGKILL),
        _ => kill(pid, Signal::SIGKILL),
    };
    sent.is_ok()
}

/// `pid` as one that may be signalled: 0 and 1, and what turns negative, mean everyone, a group or init.
pub(super) fn worker_pid(pid: u32) -> Option<Pid> {
    i32::try_from(pid)
        .ok()
        .filter(|pid| *pid > 1)
        .map(Pid::from_raw)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        os::unix::process::{CommandExt, ExitStatusExt},
        process::{Child, Command},
    };

    fn sleeper() -> Child {
        let mut command = Command::new("/bin/sleep");
        command.arg("600").process_group(0).spawn().unwrap()
    }

    #[test]
    fn only_the_process_with_that_number_and_that_start_is_ended() {
        let home = tempfile::tempdir().unwrap();
        make_dir(&run_dir(home.path())).unwrap();
        let (mut left, mut other) = (sleeper(), sleeper());
        let mut records = Records::new(home.path());
        records.add(left.id()).unwrap();
        records.add(other.id()).unwrap();
        // A process that got the number of a worker: same id, another start.
        records.running[1].started.push('0');
        // Numbers that mean everyone or init are never signalled, whatever the file says.
        for pid in [0, 1, u32::MAX] {
            let started = os::started(pid).unwrap_or_default();
            records.running.push(Record { pid, started });
        }
        records.save().unwrap();

        assert_eq!(sweep_leftovers(home.path()).unwrap(), [left.id()]);
        assert_eq!(left.wait().unwrap().signal(), Some(9));
        assert!(other.try_wait().unwrap().is_none(), "it was not ours");
        other.kill().unwrap();
        other.wait().unwrap();
        assert!(sweep_leftovers(home.path()).unwrap().is_empty());
    }

    #[test]
    fn a_broken_record_ends_nothing_and_is_removed() {
        let home = tempfile::tempdir().unwrap();
        make_dir(&run_dir(home.path())).unwrap();
        fs::write(file(home.path()), b"[{\"pid\":").unwrap();
        assert!(sweep_leftovers(home.path()).unwrap().is_empty());
        assert!(!file(home.path()).exists());
    }
}
