//! Which processes a gateway started, and whether one of them is still there. Linux only: elsewhere they say nothing.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::{collections::BTreeMap, time::Duration};

/// A process that cannot be mistaken for a later one of the same number.
#[derive(Clone, Debug)]
pub struct Process {
    /// Its number.
    pub pid: u32,
    /// Its parent's number, when it was looked at: an orphan gets another.
    pub parent: u32,
    /// Its name, at most 15 bytes, when it was looked at: what it executes gives it another.
    pub name: String,
    /// When it started, in ticks since boot.
    started: u64,
}

impl PartialEq for Process {
    fn eq(&self, other: &Self) -> bool {
        (self.pid, self.started) == (other.pid, other.started)
    }
}

impl Process {
    /// Whether it still runs; a zombie does not.
    #[must_use]
    pub fn alive(&self) -> bool {
        // Its own file alone: a story looks every few milliseconds, and many run at once.
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid));
        stat.is_ok_and(|stat| read(&stat).as_ref() == Some(self))
    }
    /// Signals it. It may be gone already, which is as good.
    pub fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.pid).expect("a pid");
        assert!(pid > 1);
        let _ = kill(Pid::from_raw(pid), signal);
    }
}

/// The children of `pid` that are dead and not reaped.
#[must_use]
pub fn zombies(pid: u32) -> usize {
    entries(|stat| {
        let (_, rest) = stat.rsplit_once(')')?;
        let mut fields = rest.split_whitespace();
        let (state, parent) = (fields.next()?, fields.next()?);
        (state == "Z" && parent == pid.to_string()).then_some(())
    })
    .len()
}

/// How many descriptors `pid` has open; nobody may look at another user's.
#[must_use]
pub fn descriptors(pid: u32) -> usize {
    let folder = std::fs::read_dir(format!("/proc/{pid}/fd"));
    folder.map_or(0, Iterator::count)
}

/// The processor time that each thread of `pid` and of everything below it has had so far: by the process's number and
/// the thread's number and name. Of threads that have ended nothing is known. Empty where the system does not say.
#[must_use]
pub fn threads_time(pid: u32) -> BTreeMap<(u32, String, String), Duration> {
    let all = std::iter::once(pid).chain(below(pid).into_iter().map(|process| process.pid));
    let threads = all.flat_map(|pid| {
        let tasks = std::fs::read_dir(format!("/proc/{pid}/task"));
        let tasks = tasks.into_iter().flatten().flatten();
        tasks.filter_map(move |task| {
            let read = |file| std::fs::read_to_string(task.path().join(file)).ok();
            // The first field is the time on a processor, in nanoseconds (Documentation/scheduler/sched-stats.rst).
            let on = read("schedstat")?.split_whitespace().next()?.parse().ok()?;
            let number = task.file_name().to_string_lossy().into_owned();
            let name = read("comm")?.trim().to_owned();
            Some(((pid, number, name), Duration::from_nanos(on)))
        })
    });
    threads.collect()
}

/// The processor time that `pid` and everything below it have had so far, to a hundredth of a second; what has been
/// reaped counts for its parent. `None` where the system does not say.
#[must_use]
pub fn processor_time(pid: u32) -> Option<Duration> {
    let spent = |pid: u32| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let (_, rest) = stat.rsplit_once(')')?;
        // Fields 14 to 17 of proc_pid_stat(5): its own time in both modes, and its reaped children's.
        let ticks = rest.split_whitespace().skip(11).take(4);
        ticks
            .map(|ticks| ticks.parse::<u64>().ok())
            .sum::<Option<u64>>()
    };
    let all = std::iter::once(pid).chain(below(pid).into_iter().map(|process| process.pid));
    // A tick is a hundredth of a second to programs, whatever the kernel counts in (USER_HZ).
    let ticks: u64 = all.filter_map(spent).sum();
    (ticks > 0).then(|| Duration::from_millis(ticks * 10))
}

/// The most memory that `pid` has held so far, in bytes (`VmHWM` of proc_pid_status(5)).
///
/// # Panics
/// Where the system does not say.
#[cfg(target_os = "linux")]
#[must_use]
#[track_caller]
pub fn peak_memory(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("a process");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    kib.expect("a peak in KiB") << 10
}

/// Every process below `pid`, however deep.
#[must_use]
pub fn below(pid: u32) -> Vec<Process> {
    let all = all();
    let mut found: Vec<Process> = Vec::new();
    let mut parents = vec![pid];
    while let Some(parent) = parents.pop() {
        for process in all.iter().filter(|process| process.parent == parent) {
            parents.push(process.pid);
            found.push(process.clone());
        }
    }
    found
}

/// Every process of this name, wherever it has gone; a zombie is none.
#[must_use]
pub fn named(name: &str) -> Vec<Process> {
    let all = all().into_iter();
    all.filter(|process| process.name == name && process.alive())
        .collect()
}

fn all() -> Vec<Process> {
    entries(read)
}

/// What `look` finds in the `stat` of each process.
fn entries<T>(look: impl Fn(&str) -> Option<T>) -> Vec<T> {
    let Ok(entries) = std::fs::read_dir("/proc") else {
        return Vec::new();
    };
    entries
        .flatten()
        .filter(|entry| {
            let name = entry.file_name();
            name.to_str()
                .is_some_and(|name| name.parse::<u32>().is_ok())
        })
        .filter_map(|entry| look(&std::fs::read_to_string(entry.path().join("stat")).ok()?))
        .collect()
}

/// Reads `/proc/<pid>/stat`: the name stands in parentheses and may hold any byte, so the last `)` ends it.
fn read(stat: &str) -> Option<Process> {
    let (pid, rest) = stat.split_once('(')?;
    let (name, rest) = rest.rsplit_once(')')?;
    let fields: Vec<&str> = rest.split_whitespace().collect();
    let (state, parent, started) = (fields.first()?, fields.get(1)?, fields.get(19)?);
    if *state == "Z" || *state == "X" {
        return None;
    }
    Some(Process {
        pid: pid.trim().parse().ok()?,
        parent: parent.parse().ok()?,
        name: name.to_owned(),
        started: started.parse().ok()?,
    })
}
