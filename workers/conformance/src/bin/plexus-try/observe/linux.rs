//! Linux: a tracer of one process and its threads.
//!
//! ```text
//! Held ─exec─▶ Launching ─exec─▶ Loading ─Start read from 3─▶ Proving ─Hello written to 3─▶ Serving
//!              (exec only)       reported   └ what the harness attacks on purpose: not reported  reported
//! ```
//! The phases are read off the process's own calls on descriptor 3, so nothing can slip between them.
//!
//! Invariants: all requests come from the one thread that attached; a tracee that cannot be understood goes on untouched.

use super::{
    HELD, Observation,
    os::{Stop, stop},
};
use crate::denial::{Act, Denial};
use nix::{
    errno::Errno,
    sys::{
        ptrace::{self, Options},
        signal::{Signal, kill, raise},
        wait::{WaitPidFlag, WaitStatus, waitpid},
    },
    unistd::Pid,
};
use std::{
    collections::HashMap,
    ffi::{OsStr, OsString, c_void},
    io,
    os::unix::{ffi::OsStrExt, process::CommandExt},
    path::{Path, PathBuf},
    process::Command,
    thread::JoinHandle,
};

/// Longest path that is read from a tracee, in bytes. Source: `PATH_MAX` on Linux.
const MAX_PATH: usize = 4_096;
/// The gateway's stream in a worker.
const STREAM: u64 = plexus_ipc::stream::WORKER_FD as u64;

/// What stands before the launcher's command line.
pub(crate) fn before() -> Vec<OsString> {
    match std::env::current_exe() {
        Ok(this) => vec![this.into_os_string(), HELD.into()],
        Err(_) => Vec::new(),
    }
}

/// Waits, stopped, for the observer; then becomes what `line` says. Returns only where it cannot.
pub(crate) fn held(line: Vec<OsString>) -> io::Error {
    let Some((program, arguments)) = line.split_first() else {
        return io::Error::other("nothing to become");
    };
    match raise(Signal::SIGSTOP) {
        Ok(()) => Command::new(program).args(arguments).exec(),
        Err(error) => error.into(),
    }
}

/// A thread that watches one process until it ends, and reaps it.
pub(crate) struct Observer(JoinHandle<Observation>);

impl Observer {
    /// Watches `pid`, a child of this process that is held.
    pub(crate) fn watch(pid: u32) -> Self {
        Self(std::thread::spawn(move || {
            let pid = Pid::from_raw(i32::try_from(pid).unwrap_or(0));
            watch(pid)
        }))
    }

    /// Waits for the end of the process.
    pub(crate) fn finish(self) -> Observation {
        self.0.join().unwrap_or_else(|_| Observation {
            blind: Some("the observer failed".to_owned()),
            ..Observation::default()
        })
    }
}

fn watch(pid: Pid) -> Observation {
    // Pid 0 and below would name groups.
    if pid.as_raw() <= 0 {
        return Observation::default();
    }
    let mut tracer = Tracer::default();
    match waitpid(pid, Some(WaitPidFlag::WUNTRACED)) {
        Ok(WaitStatus::Stopped(..)) => {}
        _ => return tracer.seen,
    }
    let options = Options::PTRACE_O_TRACESYSGOOD
        | Options::PTRACE_O_TRACECLONE
        | Options::PTRACE_O_TRACEFORK
        | Options::PTRACE_O_TRACEVFORK
        | Options::PTRACE_O_TRACEEXEC
        | Options::PTRACE_O_EXITKILL;
    let seized = ptrace::seize(pid, options);
    let _ = kill(pid, Signal::SIGCONT);
    if let Err(error) = seized {
        tracer.seen.blind = Some(format!(
            "this process may not be traced ({error}); see kernel.yama.ptrace_scope"
        ));
        let _ = waitpid(pid, None);
        return tracer.seen;
    }
    tracer.follow(pid);
    tracer.seen
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Phase {
    #[default]
    Held,
    Launching,
    Loading,
    Proving,
    Serving,
}

#[derive(Default)]
struct Tracer {
    phase: Phase,
    /// The call that each thread is in.
    entered: HashMap<Pid, (i64, [u64; 6])>,
    seen: Observation,
}

impl Tracer {
    fn follow(&mut self, leader: Pid) {
        loop {
            let status = match waitpid(None, Some(WaitPidFlag::__WALL)) {
                Ok(status) => status,
                Err(Errno::EINTR) => continue,
                Err(_) => return,
            };
            let (pid, deliver) = match status {
                WaitStatus::Exited(pid, _) | WaitStatus::Signaled(pid, ..) => {
                    if pid == leader {
                        return;
                    }
                    continue;
                }
                WaitStatus::PtraceSyscall(pid) => {
                    self.system_call(pid);
                    (pid, None)
                }
                WaitStatus::PtraceEvent(pid, _, event) => {
                    if event == libc::PTRACE_EVENT_EXEC {
                        self.phase = match self.phase {
                            Phase::Held => Phase::Launching,
                            _ => Phase::Loading,
                        };
                    }
                    (pid, None)
                }
                WaitStatus::Stopped(pid, signal) => (pid, Some(signal)),
                _ => continue,
            };
            // A thread that was killed meanwhile is told by its end.
            let _ = ptrace::syscall(pid, deliver);
        }
    }

    fn system_call(&mut self, pid: Pid) {
        match stop(pid) {
            Ok(Some(Stop::Entry { number, arguments })) => {
                self.entered.insert(pid, (number, arguments));
                // Hello, and with it the end of the proof, begins with this call.
                if self.phase == Phase::Proving && writes(number) && arguments[0] == STREAM {
                    self.phase = Phase::Serving;
                }
            }
            Ok(Some(Stop::Exit(result))) => {
                let Some((number, arguments)) = self.entered.remove(&pid) else {
                    return;
                };
                if self.phase == Phase::Loading
                    && reads(number)
                    && arguments[0] == STREAM
                    && result > 0
                {
                    self.phase = Phase::Proving;
                }
                let Ok(error) = i32::try_from(-result) else {
                    return;
                };
                let errno = match Errno::from_raw(error) {
                    errno @ (Errno::EACCES | Errno::EPERM) => errno,
                    // A link out of what is allowed is refused in another word.
                    Errno::EXDEV if is_link(number) => Errno::EXDEV,
                    _ => return,
                };
                self.refused(pid, number, &arguments, errno);
            }
            Ok(None) | Err(_) => {}
        }
    }

    fn refused(&mut self, pid: Pid, number: i64, arguments: &[u64; 6], errno: Errno) {
        let is_due = match self.phase {
            Phase::Loading | Phase::Serving => true,
            // Of the launcher only that it could not become the worker.
            Phase::Launching => number == libc::SYS_execve,
            Phase::Held | Phase::Proving => false,
        };
        if !is_due {
            return;
        }
        let Some(act) = act(pid, number, arguments) else {
            return;
        };
        // The C library looks there for the bounds of the first thread's stack, and does without.
        if self.phase == Phase::Loading && act == Act::Read(format!("/proc/{pid}/maps").into()) {
            return;
        }
        let denial = Denial {
            act,
            errno: format!("{errno:?}"),
        };
        if !self.seen.denials.contains(&denial) {
            self.seen.denials.push(denial);
        }
    }
}

fn reads(number: i64) -> bool {
    [
        libc::SYS_read,
        libc::SYS_readv,
        libc::SYS_recvfrom,
        libc::SYS_recvmsg,
    ]
    .contains(&number)
}

fn writes(number: i64) -> bool {
    [
        libc::SYS_write,
        libc::SYS_writev,
        libc::SYS_sendto,
        libc::SYS_sendmsg,
    ]
    .contains(&number)
}

fn is_link(number: i64) -> bool {
    [libc::SYS_linkat, libc::SYS_renameat2].contains(&number)
}

/// What a refused call was about. `None`: nothing that a connector asked for.
fn act(pid: Pid, number: i64, a: &[u64; 6]) -> Option<Act> {
    let at = |folder: u64, address: u64| path(pid, Some(folder), address);
    let here = |address: u64| path(pid, None, address);
    match number {
        libc::SYS_openat => Some(open(at(a[0], a[1])?, a[2])),
        libc::SYS_openat2 => Some(open(at(a[0], a[1])?, word(pid, a[2])?)),
        libc::SYS_mkdirat
        | libc::SYS_unlinkat
        | libc::SYS_mknodat
        | libc::SYS_fchmodat
        | libc::SYS_fchownat => Some(Act::Write(at(a[0], a[1])?)),
        libc::SYS_renameat2 | libc::SYS_linkat => Some(Act::Write(at(a[2], a[3])?)),
        libc::SYS_symlinkat => Some(Act::Write(at(a[1], a[2])?)),
        libc::SYS_truncate => Some(Act::Write(here(a[0])?)),
        libc::SYS_execve => Some(Act::Execute(here(a[0])?)),
        libc::SYS_execveat => Some(Act::Execute(at(a[0], a[1])?)),
        libc::SYS_clone | libc::SYS_clone3 => Some(Act::Fork),
        libc::SYS_connect => port(pid, a[1]).map(Act::Connect),
        libc::SYS_socket => Some(socket(a[0], a[1])),
        other => older(pid, other, a).or_else(|| Some(Act::Call(name(other)))),
    }
}

/// Spellings that only this machine has.
#[cfg(target_arch = "x86_64")]
fn older(pid: Pid, number: i64, a: &[u64; 6]) -> Option<Act> {
    let here = |address: u64| path(pid, None, address);
    match number {
        libc::SYS_open => Some(open(here(a[0])?, a[1])),
        libc::SYS_creat
        | libc::SYS_mkdir
        | libc::SYS_rmdir
        | libc::SYS_unlink
        | libc::SYS_chmod
        | libc::SYS_mknod => Some(Act::Write(here(a[0])?)),
        libc::SYS_rename | libc::SYS_link | libc::SYS_symlink => Some(Act::Write(here(a[1])?)),
        libc::SYS_fork | libc::SYS_vfork => Some(Act::Fork),
        _ => None,
    }
}
#[cfg(not(target_arch = "x86_64"))]
fn older(_: Pid, _: i64, _: &[u64; 6]) -> Option<Act> {
    None
}

fn open(path: PathBuf, flags: u64) -> Act {
    let has = |flag: i32| flags & u64::from(flag.unsigned_abs()) != 0;
    let writes =
        has(libc::O_WRONLY) || has(libc::O_RDWR) || has(libc::O_CREAT) || has(libc::O_TRUNC);
    if writes {
        Act::Write(path)
    } else if has(libc::O_DIRECTORY) || path.is_dir() {
        Act::List(path)
    } else {
        Act::Read(path)
    }
}

fn socket(family: u64, kind: u64) -> Act {
    let is = |value: i32| family == u64::from(value.unsigned_abs());
    // The kind's upper bits are flags.
    let stream = kind & 0xf == u64::from(libc::SOCK_STREAM.unsigned_abs());
    if (is(libc::AF_INET) || is(libc::AF_INET6)) && stream {
        Act::Tcp
    } else if is(libc::AF_UNIX) {
        Act::Socket("AF_UNIX".to_owned())
    } else {
        Act::Socket(format!("family {family}, type {}", kind & 0xf))
    }
}

/// A few that people meet; any other by its number.
fn name(number: i64) -> String {
    let known = [
        (libc::SYS_ioctl, "ioctl"),
        (libc::SYS_fcntl, "fcntl"),
        (libc::SYS_flock, "flock"),
        (libc::SYS_fchmod, "fchmod"),
        (libc::SYS_fchown, "fchown"),
        (libc::SYS_utimensat, "utimensat"),
        (libc::SYS_ftruncate, "ftruncate"),
        (libc::SYS_fsync, "fsync"),
        (libc::SYS_fdatasync, "fdatasync"),
        (libc::SYS_memfd_create, "memfd_create"),
        (libc::SYS_inotify_init1, "inotify_init1"),
        (libc::SYS_io_uring_setup, "io_uring_setup"),
        (libc::SYS_prctl, "prctl"),
        (libc::SYS_prlimit64, "prlimit64"),
        (libc::SYS_ptrace, "ptrace"),
        (libc::SYS_kill, "kill"),
        (libc::SYS_socketpair, "socketpair"),
        (libc::SYS_bind, "bind"),
        (libc::SYS_listen, "listen"),
        (libc::SYS_sched_setaffinity, "sched_setaffinity"),
        (libc::SYS_getxattr, "getxattr"),
        (libc::SYS_copy_file_range, "copy_file_range"),
    ];
    known
        .iter()
        .find(|(known, _)| *known == number)
        .map_or_else(
            || format!("number {number}"),
            |(_, name)| (*name).to_owned(),
        )
}

/// The path at `address` in the tracee, as the disk spells it.
fn path(pid: Pid, folder: Option<u64>, address: u64) -> Option<PathBuf> {
    let text = text(pid, address)?;
    let path = Path::new(OsStr::from_bytes(&text));
    let whole = if let Ok(own) = path.strip_prefix("/proc/self") {
        // Resolved here, it would be this process.
        Path::new("/proc").join(pid.to_string()).join(own)
    } else if path.is_absolute() {
        path.to_path_buf()
    } else {
        // An int in a register: only its lower half counts.
        let folder = folder.map(|folder| folder as u32 as i32);
        let base = match folder {
            Some(folder) if folder != libc::AT_FDCWD => format!("/proc/{pid}/fd/{folder}"),
            _ => format!("/proc/{pid}/cwd"),
        };
        std::fs::read_link(base).ok()?.join(path)
    };
    // A rule speaks of what a path leads to; what is not there yet, by its folder.
    if let Ok(found) = whole.canonicalize() {
        return Some(found);
    }
    let parent = whole.parent()?.canonicalize().ok()?;
    Some(parent.join(whole.file_name()?))
}

fn word(pid: Pid, address: u64) -> Option<u64> {
    let at = usize::try_from(address).ok()? as *mut c_void;
    ptrace::read(pid, at).ok().map(|word| word as u64)
}

fn text(pid: Pid, address: u64) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    while bytes.len() < MAX_PATH {
        let at = address.checked_add(bytes.len() as u64)?;
        for byte in word(pid, at)?.to_ne_bytes() {
            if byte == 0 {
                return Some(bytes);
            }
            bytes.push(byte);
        }
    }
    None
}

/// The port of a socket address of IPv4 or IPv6, which stands in the same place in both.
fn port(pid: Pid, address: u64) -> Option<u16> {
    let bytes = word(pid, address)?.to_ne_bytes();
    let family = i32::from(u16::from_ne_bytes([bytes[0], bytes[1]]));
    (family == libc::AF_INET || family == libc::AF_INET6)
        .then(|| u16::from_be_bytes([bytes[2], bytes[3]]))
}
