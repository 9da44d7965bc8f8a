//! What a run has: memory, processes and threads, over all that descends from its launcher.
//!
//! | of each process | counts as |
//! |---|---|
//! | its pages | what the kernel says of the first of its threads that has memory: a process whose first thread has ended shows none |
//! | an open socket | the most that its buffers hold; a pipe, [`PIPE`]; each once, however many have it open |
//! | any other open file | [`FILE`] |
//!
//! Invariants: only processes of the run are looked at; a count goes on to [`MAX_THREADS`] and looks at [`MOST_DESCRIPTORS`] open
//! files at most, and what is not looked at counts as a socket.
//!
//! Not counted: descriptors that are under way in a socket, and what the kernel keeps in small pieces (decision 0117).
//!
//! Must not know: bounds of a run, what is done about them.

use std::collections::HashSet;
use std::ffi::OsString;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use nix::unistd::Pid;

use super::tree;
use crate::children::MAX_THREADS;
use crate::keeper::Count;

/// What the kernel gives a pipe, in bytes. More is bounded for all of a user's pipes together (`pipe-user-pages-soft`).
const PIPE: u64 = 64 * 1024;
/// Any other open file, in bytes. A pipe with a name is one, beyond the bound on a user's pipes: two pages.
const FILE: u64 = 8 * 1024;
/// The buffer of a socket where the machine does not say, in bytes: the kernel's own figure.
const SEND_BUFFER: u64 = 212_992;
/// How many open files a measurement looks at: a few hundredths of a second.
const MOST_DESCRIPTORS: u32 = 16_384;

/// Measures the run of one monitor.
pub(crate) struct Meter(Pid);

impl Meter {
    /// Of the run with this lock.
    pub(crate) fn of(monitor: Pid, _lock: PathBuf) -> Self {
        Self(monitor)
    }

    /// Counts what descends from the monitor, with itself.
    pub(crate) fn count(&mut self) -> Count {
        walk(self.0, |_, _| {})
    }

    /// The same, with the bytes of memory that all of them hold. Pages that several of them share count for each.
    pub(crate) fn measure(&mut self) -> (Count, u64) {
        measure(self.0)
    }
}

fn measure(root: Pid) -> (Count, u64) {
    let mut memory = 0;
    let mut open = OpenFiles::new();
    let count = walk(root, |process, threads| {
        // A process that ended meanwhile holds nothing.
        let held = threads.iter().find_map(|thread| {
            let folder = PathBuf::from(format!("/proc/{process}/task/{thread}"));
            let status = fs::read_to_string(folder.join("status")).ok()?;
            field(&status, "VmRSS:").map(|_| (folder, status))
        });
        if let Some((folder, status)) = held {
            let kib = |name| field(&status, name).unwrap_or(0);
            let pages = ["VmRSS:", "VmSwap:", "VmPTE:", "HugetlbPages:"];
            memory += pages.into_iter().map(kib).sum::<u64>() * 1024;
            open.add(&folder.join("fd"), kib("FDSize:"));
        }
    });
    (count, memory + open.bytes)
}

/// Shows each process with its threads.
fn walk(root: Pid, mut on: impl FnMut(Pid, &[Pid])) -> Count {
    let mut left = vec![root];
    let mut count = Count::default();
    while let Some(process) = left.pop()
        && count.threads <= MAX_THREADS
    {
        let threads = tree::threads(process);
        if !threads.is_empty() {
            count.processes += 1;
            count.threads += threads.len() as u32;
            on(process, &threads);
            left.extend(tree::children(process, &threads));
        }
    }
    count
}

/// The number that a line of `status` has, which is in KiB where it is one of memory.
fn field(status: &str, name: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    line.trim().trim_end_matches(" kB").parse().ok()
}

/// What open files hold in buffers of the kernel, at most.
struct OpenFiles {
    bytes: u64,
    /// Of one socket.
    socket: u64,
    seen: HashSet<OsString>,
    left: u32,
}

impl OpenFiles {
    fn new() -> Self {
        let buffer = fs::read_to_string("/proc/sys/net/core/wmem_default").ok();
        let buffer = buffer.and_then(|bytes| bytes.trim().parse().ok());
        Self {
            bytes: 0,
            // A message is taken while the buffer is not full, and may be as long as the buffer.
            socket: 2 * buffer.unwrap_or(SEND_BUFFER),
            seen: HashSet::new(),
            left: MOST_DESCRIPTORS,
        }
    }

    /// Adds a process's; `most` is how many they are at most.
    fn add(&mut self, folder: &Path, most: u64) {
        let entries = match fs::read_dir(folder) {
            Ok(entries) => entries,
            // A program that nobody may read hides them.
            Err(error) if error.kind() == ErrorKind::PermissionDenied => {
                self.bytes += most * self.socket;
                return;
            }
            Err(_) => return,
        };
        for entry in entries.flatten() {
            if self.left == 0 {
                self.bytes += self.socket;
                continue;
            }
            self.left -= 1;
            let Ok(what) = fs::read_link(entry.path()) else {
                continue;
            };
            let what = what.into_os_string();
            let kind = what.as_encoded_bytes();
            self.bytes += if kind.starts_with(b"socket:[") {
                self.socket * u64::from(self.seen.insert(what))
            } else if kind.starts_with(b"pipe:[") {
                PIPE * u64::from(self.seen.insert(what))
            } else {
                FILE
            };
        }
    }
}

/// The threads of the machine. One short file says so, while a count reads one for each thread of each run.
pub(crate) fn size_of_machine() -> Option<u64> {
    let load = fs::read_to_string("/proc/loadavg").ok()?;
    let (_running, all) = load.split_ascii_whitespace().nth(3)?.split_once('/')?;
    all.parse().ok()
}
