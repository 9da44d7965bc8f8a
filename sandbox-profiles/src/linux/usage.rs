//! What a run has: memory, processes and threads, over all that descends from its launcher.
//!
//! | of each process | counts as |
//! |---|---|
//! | its pages | what the kernel says of the first of its threads that has memory: a process whose first thread has ended shows none. If that would be beyond the run's bound, a page that several of them share counts once |
//! | an open socket | the most that its buffers hold; a pipe, [`PIPE`]; each once, however many have it open |
//! | any other open file | [`FILE`] |
//!
//! Invariants: only processes of the run are looked at; a count goes on to [`MAX_THREADS`] and looks at [`MOST_DESCRIPTORS`] open
//! files at most, and what is not looked at counts as a socket. Shared pages that the kernel does not show count for each.
//!
//! Not counted: descriptors that are under way in a socket, and what the kernel keeps in small pieces (decision 0117).
//!
//! Must not know: bounds of a run, what is done about them.

use std::collections::HashSet;
use std::ffi::OsString;
use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::unistd::Pid;

use super::{os, tree};
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
/// A run whose processes show more than this many times its bound is looked at no closer: that takes 12 ms for each GiB.
const CLOSER: u64 = 4;

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

    /// The same, with the bytes of memory that all of them hold. Pages that several of them share count for each, and once if the
    /// sum would be more than `most`: a program shares all of its own with one that it is about to start.
    pub(crate) fn measure(&mut self, most: Option<u64>) -> (Count, u64) {
        measure(self.0, most)
    }
}

/// A process that has memory.
struct Member {
    process: Pid,
    parent: Option<Pid>,
    /// The first of its threads that has memory, and the kernel's folder of it.
    thread: Pid,
    folder: PathBuf,
    /// In bytes: pages in memory and in swap, of which others may have a share.
    pages: u64,
    /// In bytes: what is its own, whatever it shares.
    beside: u64,
}

fn measure(root: Pid, most: Option<u64>) -> (Count, u64) {
    let mut members = Vec::new();
    let mut open = OpenFiles::new();
    let count = walk(root, |process, threads| {
        // A thread that ended meanwhile holds nothing, and another one of its process may.
        for &thread in threads {
            let folder = PathBuf::from(format!("/proc/{process}/task/{thread}"));
            let Some(status) = status_with_memory(&folder) else {
                continue;
            };
            let kib = |name| field(&status, name).unwrap_or(0);
            let added = open.add(&folder.join("fd"), kib("FDSize:"));
            // The kernel hides from a user also what an ending one has open: it has no memory by then.
            if added.is_err() && status_with_memory(&folder).is_none() {
                continue;
            }
            open.bytes += added.err().unwrap_or(0);
            members.push(Member {
                process,
                parent: i32::try_from(kib("PPid:")).map(Pid::from_raw).ok(),
                thread,
                folder,
                pages: (kib("VmRSS:") + kib("VmSwap:")) * 1024,
                beside: (kib("VmPTE:") + kib("HugetlbPages:")) * 1024,
            });
            break;
        }
    });
    let each = members.iter().map(|member| member.pages + member.beside);
    let each = each.sum::<u64>() + open.bytes;
    let closer = most.is_some_and(|most| each > most && each / CLOSER <= most);
    let held = match closer {
        true => once(&members) + open.bytes,
        false => each,
    };
    (count, held)
}

/// The bytes that they hold, with each page once. A program that is about to start is a child of the process whose memory it has.
fn once(members: &[Member]) -> u64 {
    let is_lent = |member: &Member| {
        let mut parent = members.iter().filter(|m| Some(m.process) == member.parent);
        // By their threads: of two processes whose first thread has ended the kernel compares nothing with nothing.
        parent.any(|parent| os::same_memory(parent.thread, member.thread))
            && status_with_memory(&member.folder).is_some()
    };
    let counted = members.iter().filter(|member| !is_lent(member));
    counted.map(|member| member.beside + member.share()).sum()
}

impl Member {
    /// In bytes: its pages, and of those that others have too its share. All of them where the kernel does not show it, as when
    /// the thread ended and another one has its memory.
    fn share(&self) -> u64 {
        match fs::read_to_string(self.folder.join("smaps_rollup")) {
            Ok(sums) => {
                let kib = |name| field(&sums, name).unwrap_or(0);
                (kib("Pss:") + kib("SwapPss:")) * 1024
            }
            Err(error) if has_ended(&error) && !has_memory(self.process) => 0,
            Err(_) => self.pages,
        }
    }
}

fn has_memory(process: Pid) -> bool {
    let folder = |thread| PathBuf::from(format!("/proc/{process}/task/{thread}"));
    let mut threads = tree::threads(process).into_iter();
    threads.any(|thread| status_with_memory(&folder(thread)).is_some())
}

fn has_ended(error: &io::Error) -> bool {
    error.kind() == ErrorKind::NotFound || error.raw_os_error() == Some(Errno::ESRCH as i32)
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

/// The kernel's words on a thread. One that has no memory has ended, or is about to.
fn status_with_memory(thread: &Path) -> Option<String> {
    let status = fs::read_to_string(thread.join("status")).ok()?;
    field(&status, "VmRSS:").map(|_| status)
}

/// The number that a line of the kernel's has, which is in KiB where it is one of memory.
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
    ///
    /// # Errors
    /// The bytes that they hold at most, of which none is added: they are hidden, as those of a program that nobody may read.
    fn add(&mut self, folder: &Path, most: u64) -> Result<(), u64> {
        let entries = match fs::read_dir(folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == ErrorKind::PermissionDenied => {
                return Err(most * self.socket);
            }
            Err(_) => return Ok(()),
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
        Ok(())
    }
}

/// The threads of the machine. One short file says so, while a count reads one for each thread of each run.
pub(crate) fn size_of_machine() -> Option<u64> {
    let load = fs::read_to_string("/proc/loadavg").ok()?;
    let (_running, all) = load.split_ascii_whitespace().nth(3)?.split_once('/')?;
    all.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::process::{Command, Stdio};

    use nix::unistd::{Uid, setuid};

    use super::*;

    /// Says that the test is run by itself as an ordinary user: root sees what an ending process has open.
    const ORDINARY: &str = "PLEXUS_TEST_ORDINARY";

    #[test]
    fn ending_process_does_not_count_as_one_that_hides_its_files() {
        let name = "linux::usage::tests::ending_process_does_not_count_as_one_that_hides_its_files";
        if std::env::var_os(ORDINARY).is_some() {
            setuid(Uid::from_raw(65534)).expect("root may be anybody");
        } else if Uid::effective().is_root() {
            let mut itself = Command::new(std::env::current_exe().expect("this test"));
            itself.args(["--exact", name]).env(ORDINARY, "1");
            let ran = itself.output().expect("this test");
            let said = String::from_utf8_lossy(&ran.stdout);
            assert!(said.contains("1 passed"), "{said}");
            return;
        }
        let mut short = Command::new("bash");
        short.args([
            "-c",
            "echo; for i in {1..400}; do /usr/bin/true & wait; done",
        ]);
        short.stdin(Stdio::null()).stdout(Stdio::piped());
        let mut short = short.spawn().expect("a shell");
        // A copy of this process, which changed its user, hides its files until it is the shell.
        let mut said = short.stdout.take().expect("piped");
        said.read_exact(&mut [0]).expect("what the shell says");
        let root = Pid::from_raw(short.id() as i32);
        let (mut most, mut count) = (0, 0);
        while short.try_wait().expect("our child").is_none() {
            let (now, memory) = measure(root, None);
            (most, count) = (most.max(memory), count.max(now.processes));
        }
        assert!(count > 1 && most > 0, "it was seen: {count}, {most} bytes");
        assert!(most < 64 << 20, "{most} bytes");
    }

    /// A bound, and what this process has beside what is the test's.
    const BOUND: u64 = 96 << 20;

    #[test]
    fn memory_lent_to_a_program_that_is_about_to_start_counts_once() {
        let held = vec![1_u8; 64 << 20];
        let own = Pid::this();
        let starting = std::thread::spawn(|| {
            for _ in 0..400 {
                Command::new("/usr/bin/true").status().expect("a program");
            }
        });
        let (mut each, mut once) = (0, 0);
        while !starting.is_finished() {
            each = each.max(measure(own, None).1);
            once = once.max(measure(own, Some(BOUND)).1);
        }
        starting.join().expect("programs");
        assert!(each > 128 << 20, "it was seen twice: {each} bytes");
        assert!(once < BOUND, "{once} bytes");
        drop(std::hint::black_box(held));
    }
}
