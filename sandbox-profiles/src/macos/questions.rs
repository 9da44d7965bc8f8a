//! What a Mac has to show before the keeper is believed (decision 0138), each as a test whose name is the question.
//!
//! `cargo xtask rehearse-mac --only keeper` asks them. Type-checked alone; no Mac has run it.

use std::ffi::CString;
use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::event::{EventFilter, FilterFlag, Kqueue};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::waitpid;
use nix::unistd::{Pid, getsid, pipe};

use super::beneath;
use super::ends::{NOW, event};
use super::processes::SystemProcesses;
use super::start::SuspendedProgram;
use crate::sweep::{Ending, Process, ProcessState, ProcessTable as _, Sweep};

/// How long anything may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long a suspended program is listened to, in milliseconds.
const SILENCE: u16 = 500;

/// A shell that is a root of its own, as a run's program is. It ends with the test.
struct Root {
    pid: Pid,
    output: BufReader<File>,
    // A shell that reads its input waits for this end.
    _input: OwnedFd,
}

impl Root {
    fn suspended(script: &str) -> (SuspendedProgram, Self) {
        let shell = c"/bin/sh".to_owned();
        let arguments = ["sh", "-c", script].map(|word| CString::new(word).unwrap());
        let ((input, ours), (output, theirs)) = (pipe().unwrap(), pipe().unwrap());
        let streams = [input.as_fd(), theirs.as_fd(), theirs.as_fd()];
        let program = SuspendedProgram::start(&shell, &arguments, &[], streams).unwrap();
        let root = Self {
            pid: program.pid(),
            output: BufReader::new(File::from(output)),
            _input: ours,
        };
        (program, root)
    }

    fn begun(script: &str) -> Self {
        let (program, root) = Self::suspended(script);
        program.begin().unwrap();
        root
    }

    /// The number on its next line.
    fn number(&mut self) -> i32 {
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        line.trim().parse().unwrap_or_else(|_| panic!("{line:?}"))
    }

    /// None where nobody has its number any more.
    fn sweep(&self) -> Option<Sweep> {
        let unique = SystemProcesses::new().unique(self.pid.as_raw())?;
        let own = std::process::id().cast_signed();
        Some(Sweep::new(self.pid.as_raw(), unique, own))
    }
}

impl Drop for Root {
    fn drop(&mut self) {
        let Some(mut sweep) = self.sweep() else {
            return;
        };
        let ended = sweep.end(&mut SystemProcesses::new());
        // Also where the sweep failed: else the wait might not end.
        _ = kill(self.pid, Signal::SIGKILL);
        _ = waitpid(self.pid, None);
        // A second panic would hide the first.
        if !std::thread::panicking() {
            assert_eq!(ended.unwrap(), Ending::Over);
        }
    }
}

/// The entry of a process once it is as wanted.
#[track_caller]
fn entry(pid: i32, wanted: impl Fn(&Process) -> bool) -> Process {
    let began = Instant::now();
    loop {
        let scan = SystemProcesses::new().scan().unwrap();
        let found = scan.into_iter().find(|process| process.pid == pid);
        match found {
            Some(process) if wanted(&process) => return process,
            other => assert!(began.elapsed() < PATIENCE, "{pid}: {other:?}"),
        }
        SystemProcesses::new().settle();
    }
}

/// Sends a signal, and waits until a queue tells what the process does at it.
#[track_caller]
fn is_told(process: Pid, what: FilterFlag, signal: Signal) {
    let queue = Kqueue::new().unwrap();
    let number = usize::try_from(process.as_raw()).unwrap();
    let wanted = event(number, EventFilter::EVFILT_PROC, what);
    queue.kevent(&[wanted], &mut [], Some(NOW)).unwrap();
    kill(process, signal).unwrap();
    let mut told = [wanted];
    let most = libc::timespec {
        tv_sec: PATIENCE.as_secs().cast_signed(),
        tv_nsec: 0,
    };
    assert_eq!(queue.kevent(&[], &mut told, Some(most)), Ok(1));
    assert!(told[0].ident() == number && told[0].fflags().contains(what));
}

#[test]
fn program_starts_suspended_disclaimed_and_in_its_own_session() {
    let (program, mut root) = Root::suspended("echo 7; read line");
    let pid = root.pid.as_raw();
    let mut waited = [PollFd::new(
        root.output.get_ref().as_fd(),
        PollFlags::POLLIN,
    )];
    assert_eq!(
        poll(&mut waited, PollTimeout::from(SILENCE)),
        Ok(0),
        "it says nothing"
    );
    let entry = entry(pid, |_| true);
    assert_eq!(getsid(Some(root.pid)), Ok(root.pid));
    assert_eq!((entry.group, entry.responsible), (pid, Some(pid)));
    program.begin().unwrap();
    assert_eq!(root.number(), 7);
    // The control: who is started in the ordinary way answers to the process that answers for this test.
    let mut cat = Command::new("/bin/cat");
    let cat = cat.stdin(Stdio::piped()).stdout(Stdio::null()).spawn();
    let mut cat = cat.unwrap();
    let number = cat.id().cast_signed();
    let ordinary = self::entry(number, |_| true).responsible;
    drop(cat.stdin.take());
    cat.wait().unwrap();
    assert!(
        ordinary.is_some() && ordinary != Some(number),
        "{ordinary:?}"
    );
}

/// An orphan with a parent that has ended, whose session is its own.
const ORPHAN: &str = "( /usr/bin/perl -e 'use POSIX; fork and exit; POSIX::setsid(); $| = 1; print \"$$\\n\"; \
    kill STOP => $$; unless (fork) { exit } wait; sleep 600' ); read line";

#[test]
fn responsible_process_outlives_the_parents_end_and_its_own() {
    let mut root = Root::begun(ORPHAN);
    let orphan = root.number();
    let pid = root.pid.as_raw();
    let seen = entry(orphan, |process| process.parent == 1);
    assert_eq!((seen.group, seen.responsible), (orphan, Some(pid)));
    // Nobody reaps it before the sweep is over.
    is_told(root.pid, FilterFlag::NOTE_EXIT, Signal::SIGKILL);
    assert_eq!(entry(orphan, |_| true).responsible, Some(pid));
}

#[test]
fn fork_of_no_child_is_told() {
    let mut root = Root::begun(ORPHAN);
    let orphan = root.number();
    entry(orphan, |process| {
        process.parent == 1 && process.state == ProcessState::Stopped
    });
    let orphan = Pid::from_raw(orphan);
    is_told(orphan, FilterFlag::NOTE_FORK, Signal::SIGCONT);
}

#[test]
fn path_leads_through_no_link_and_makes_pipes() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path();
    std::fs::create_dir(path.join("real")).unwrap();
    std::fs::write(path.join("real/note"), "text").unwrap();
    std::os::unix::fs::symlink("real", path.join("link")).unwrap();
    let folder = File::open(path).unwrap();
    let open = |name: &str| beneath::open(&folder, name.as_ref(), OFlag::O_RDONLY);
    let mut text = String::new();
    File::from(open("real/note").unwrap())
        .read_to_string(&mut text)
        .unwrap();
    assert_eq!(text, "text");
    assert_eq!(open("link/note").unwrap_err(), Errno::ELOOP);
    beneath::make_pipe(&folder, "pipe").unwrap();
    let made = path.join("pipe").symlink_metadata().unwrap();
    assert!(std::os::unix::fs::FileTypeExt::is_fifo(&made.file_type()));
}

/// 60 processes, each in a session of its own, that fork 20 times a second and end, so that they are never more.
const REGROWING: &str = "/usr/bin/perl -e 'use POSIX; for (1..60) { next if fork; POSIX::setsid(); \
    while (1) { my $p = fork; exit if !defined $p || $p; select undef, undef, undef, 0.05 } } $| = 1; print \"60\\n\"; sleep 600'";

#[test]
fn sweep_of_sixty_that_fork_away_is_over() {
    let mut root = Root::begun(REGROWING);
    assert_eq!(root.number(), 60);
    let swept = root.sweep().unwrap().end(&mut SystemProcesses::new());
    // The report has this test's time, most of which the sweep takes.
    assert_eq!(swept.unwrap(), Ending::Over);
}
