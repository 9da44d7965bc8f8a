//! What of a launcher stays outside of the cage: it decides on calls that a cage cannot judge from inside, and ends what
//! descends from the program.
//!
//! The launcher splits before it enters the cage: the child becomes the program, the parent stays as its monitor.
//!
//! ```text
//! program ─call─▶ kernel ─notice─▶ monitor: read what is named, once ▸ granted? ▸ does the call still wait? ▸ do it
//!         ◀─result─ kernel ◀─answer─
//! ```
//!
//! | stays for | decides on | ends with |
//! |---|---|---|
//! | a rule that names a port of this machine, or a Unix socket | `connect` | the program |
//! | a coding agent | that, modes, times and locks, the mask of modes | the program, and then with all that descends from it |
//! | a worker that has programs started | as its profile needs | the worker, and then with all of those: see `keeper` |
//!
//! A leaf that has a monitor and may write has locks decided as well.
//!
//! A coding agent's tools may leave its group and session. A helper between monitor and program ends all of them at once: when
//! the program has ended, at SIGTERM, and at the end of the monitor's starter (see `scope`). Orphans come back to the
//! helper, then to the monitor (subreapers). Both hold the run's lock until nobody is left (see `lock`).
//!
//! Invariants: the kernel never goes on with the caller's own arguments, so rewriting them while a call waits changes
//! nothing; the monitor keeps standard error and no other descriptor of the launcher, and so does a helper; the program ends
//! with the monitor (death signal) and the monitor with the program, in the same way; the cage bounds signals and tracing, so the program
//! cannot reach the monitor. Signals to the group reach the program; a leaf's monitor itself heeds SIGKILL alone.
//!
//! Must not know: who started the launcher, and what for.

mod connect;
mod locks;
mod mask;
mod metadata;
mod trees;

use std::convert::Infallible;
use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsRawFd, IntoRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::exit;
use std::sync::Arc;
use std::thread;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::prctl;
use nix::sys::signal::{SigSet, SigmaskHow, Signal, kill, sigprocmask};
use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, recvmsg, sendmsg};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{Pid, getpid, getppid};
use seccompiler::BackendError;

use super::os::notify::{self, Listener, Notice};
use super::scope::{self, Side};
use super::syscalls::Calls;
use super::{CageError, tree};
use crate::children::{KEEPER_FD, KeeperSettings};
use crate::keeper::Keeper;
use crate::launch::STREAM;
use crate::os;
use crate::packets;
use crate::profile::SystemCalls;
use crate::ruleset::Ruleset;
use crate::run_lock::RunLock;
use locks::Locks;
use trees::Trees;

/// How many calls of one cage may be under way. A full listener makes a connect wait; a further call waits for its turn.
const AT_ONCE: usize = 4;
/// Room for the few calls that a deciding thread nests.
const STACK: usize = 128 * 1024;
/// The launcher's status for a step that failed.
const FAILED: i32 = 71;
/// Descriptors that come with the listener at most.
const ALONG: usize = 8;

/// Why a launcher stays outside.
pub(super) enum Duty {
    /// It does not.
    None,
    /// To decide on calls.
    Decide,
    /// That, and to end what descends from the program. With the file that is locked meanwhile.
    EndTree(Option<PathBuf>),
    /// To decide on calls, and to start and end the programs that a worker may have.
    Keep(KeeperSettings),
}

impl Duty {
    /// What `ruleset` needs.
    pub(super) fn of(ruleset: &Ruleset) -> Self {
        if ruleset.system_calls == SystemCalls::Agent {
            Self::EndTree(None)
        } else if ruleset.names_an_address() {
            Self::Decide
        } else {
            Self::None
        }
    }
}

/// The program's end of the way to its monitor.
#[derive(Debug)]
pub(super) struct Handover(UnixStream);

/// Splits this process, which must have one thread. Returns in the child, which will be caged; the parent stays
/// outside as its monitor and ends when it ends.
#[expect(unsafe_code, reason = "two descriptors are known by their numbers")]
pub(super) fn stay_outside(ruleset: &Ruleset, duty: Duty) -> Result<Handover, CageError> {
    // Two numbers mean something to the program; nothing of this process's own gets one of them.
    // SAFETY: a launcher holds nothing yet that it opened itself; this number came over the exec, or is free.
    let stream = unsafe { os::adopt(STREAM) };
    let reserved = os::reserve(KEEPER_FD).map_err(failed("reserve descriptors"))?;
    let monitor = Monitor::of(ruleset)?;
    let (ours, theirs) = UnixStream::pair().map_err(failed("make a way to the monitor"))?;
    let (control, asks) = packets::pair().map_err(failed("make a way to the keeper"))?;
    os::hear_of_children().map_err(failed("hear of the program's end"))?;
    let mut inherited = SigSet::empty();
    sigprocmask(
        SigmaskHow::SIG_SETMASK,
        Some(&SigSet::all()),
        Some(&mut inherited),
    )
    .map_err(failed("hold back signals"))?;
    if matches!(duty, Duty::EndTree(_) | Duty::Keep(_)) {
        tree::adopt_orphans().map_err(failed("adopt orphans"))?;
    }
    let (mut lock, mut canary) = (None, None);
    if let Duty::EndTree(path) = &duty {
        // The starter ends it by this signal, where it ends itself. Until here it was SIGKILL or none.
        prctl::set_pdeathsig(Signal::SIGTERM).map_err(failed("hear of the starter's end"))?;
        let taken = path.as_deref().map(RunLock::take).transpose();
        lock = taken.map_err(failed("lock the run"))?;
        // A program that cannot fork needs no helper; one that can has the kernel for it (`floor`).
        let made = ruleset.forks.then(scope::canary).transpose();
        canary = made.map_err(failed("make a canary"))?;
    }
    let outside = getpid();
    match notify::split().map_err(failed("start the program beside its monitor"))? {
        None => {
            let mut parent = outside;
            if let Some(canary) = canary {
                match scope::split(outside, canary).map_err(failed("bound the run's signals"))? {
                    Side::Program(helper) => parent = helper,
                    Side::Helper(helper) => {
                        drop((theirs, ours, stream, reserved, asks, control, monitor));
                        let Err(error) = help(&helper, lock);
                        say(&error);
                        exit(FAILED)
                    }
                }
            }
            drop(lock);
            prctl::set_pdeathsig(Signal::SIGKILL)
                .map_err(failed("tie the program to its monitor"))?;
            // One that ended before the line above sends nothing any more.
            if getppid() != parent {
                exit(FAILED);
            }
            if matches!(duty, Duty::EndTree(_)) {
                scope::go_first().map_err(failed("go first where memory runs out"))?;
                scope::keep_pages_small().map_err(failed("keep its pages small"))?;
            }
            sigprocmask(SigmaskHow::SIG_SETMASK, Some(&inherited), None)
                .map_err(failed("let signals in again"))?;
            // It keeps its number, and stays open over the exec.
            _ = stream.map(IntoRawFd::into_raw_fd);
            drop(reserved);
            if matches!(duty, Duty::Keep(_)) {
                // SAFETY: the line before last has let go of the reserved number, and nothing was opened since.
                unsafe { os::place(&asks, KEEPER_FD) }.map_err(failed("hand over the keeper"))?;
            }
            Ok(Handover(theirs))
        }
        Some(below) => {
            drop((theirs, stream, reserved, asks));
            let below = Below {
                process: below,
                is_helper: canary.is_some(),
                lock,
            };
            let Err(error) = monitor.watch(&below, ours, duty, control);
            say(&error);
            // A program that cannot be watched must not go on. A helper ends all of it; a program dies with this process as well.
            _ = kill(below.process, below.end());
            exit(FAILED)
        }
    }
}

/// What a monitor has below it.
struct Below {
    process: Pid,
    /// Otherwise it is the program.
    is_helper: bool,
    lock: Option<RunLock>,
}

impl Below {
    fn end(&self) -> Signal {
        if self.is_helper {
            Signal::SIGTERM
        } else {
            Signal::SIGKILL
        }
    }

    fn until_over(&self) -> io::Result<WaitStatus> {
        if let Some(lock) = &self.lock
            && self.is_helper
        {
            lock.add(self.process)?;
        }
        let ended = tree::until_over(self.process, |is_there| {
            if is_there {
                _ = kill(self.process, self.end());
            }
        })?;
        self.lock.as_ref().map_or(Ok(()), RunLock::over)?;
        Ok(ended)
    }
}

/// A helper's life.
fn help(helper: &scope::Helper, lock: Option<RunLock>) -> io::Result<Infallible> {
    os::keep_stderr_alone()?;
    let ended = helper.serve()?;
    lock.as_ref().map_or(Ok(()), RunLock::over)?;
    os::pass_on(ended)
}

impl Handover {
    /// Puts every further call that the monitor decides on before it. It also gets `held`, to keep them open.
    pub(super) fn watch_calls(self, ruleset: &Ruleset, held: &[OwnedFd]) -> Result<(), CageError> {
        let Some(filter) = calls(ruleset)?.notifying()? else {
            return Ok(());
        };
        let listener = notify::notify_of(&filter).map_err(failed("have its calls watched"))?;
        let along: Vec<RawFd> = std::iter::once(&listener)
            .chain(held)
            .take(ALONG)
            .map(AsRawFd::as_raw_fd)
            .collect();
        let along = [ControlMessage::ScmRights(&along)];
        let byte = [IoSlice::new(b"l")];
        sendmsg::<()>(self.0.as_raw_fd(), &byte, &along, MsgFlags::empty(), None)
            .map_err(failed("hand its calls to the monitor"))?;
        Ok(())
    }
}

/// The calls that wait for the monitor.
fn calls(ruleset: &Ruleset) -> Result<Calls, BackendError> {
    let mut calls = Calls::default();
    if ruleset.names_an_address() {
        calls = calls.any(&[libc::SYS_connect]);
    }
    if ruleset.system_calls == SystemCalls::Agent {
        calls = locks::whole(calls.any(metadata::CALLS))?;
        calls = mask::lets_others_write(locks::ranges(calls)?)?;
    } else if !ruleset.writes.is_empty() {
        calls = locks::whole(calls)?;
    }
    Ok(calls)
}

fn failed<E: Into<io::Error>>(what: &'static str) -> impl Fn(E) -> CageError {
    move |source| CageError::Rights {
        what,
        source: source.into(),
    }
}

#[expect(
    clippy::print_stderr,
    reason = "the gateway logs what a launcher says on stderr"
)]
fn say(error: &io::Error) {
    eprintln!("plexus-sandbox-exec: the monitor: {error}");
}

/// What a monitor decides by.
struct Monitor {
    connects: connect::Grants,
    trees: Trees,
    locks: Locks,
}

impl Monitor {
    fn of(ruleset: &Ruleset) -> Result<Self, CageError> {
        Ok(Self {
            connects: connect::Grants::of(ruleset),
            trees: Trees::of(ruleset)?,
            locks: Locks::new().map_err(failed("make a way to wait for locks"))?,
        })
    }

    /// The monitor's life.
    fn watch(
        self,
        below: &Below,
        handover: UnixStream,
        duty: Duty,
        control: OwnedFd,
    ) -> io::Result<Infallible> {
        os::keep_stderr_alone()?;
        // A program that failed before has said why; its status is passed on below.
        let mut received = receive(&handover)?;
        let held = if received.is_empty() {
            Vec::new()
        } else {
            let held = received.split_off(1);
            let served = Arc::new((received.remove(0), self));
            for turn in 0..=AT_ONCE {
                let served = Arc::clone(&served);
                thread::Builder::new().stack_size(STACK).spawn(move || {
                    let (listener, monitor) = &*served;
                    let listener = Listener::new(listener);
                    let ended = match turn {
                        AT_ONCE => monitor.locks.serve(&listener),
                        _ => monitor.serve(&listener),
                    };
                    if let Err(errno) = ended {
                        say(&errno.into());
                        exit(FAILED);
                    }
                })?;
            }
            held
        };
        let ended = match duty {
            Duty::None | Duty::Decide => waitpid(below.process, None)?,
            Duty::EndTree(_) => below.until_over()?,
            Duty::Keep(kept) => Keeper::new(below.process, control, kept)?.keep()?,
        };
        drop(held);
        os::pass_on(ended)
    }

    /// Until all whose calls could come have ended.
    fn serve(&self, listener: &Listener<'_>) -> nix::Result<()> {
        while let Some(notice) = listener.next()? {
            if let Some(answer) = self.decide(listener, &notice) {
                listener.answer(&notice, answer)?;
            }
        }
        Ok(())
    }

    /// Nothing where the call waits for a lock: [`Locks::serve`] answers it.
    fn decide(&self, listener: &Listener<'_>, notice: &Notice) -> Option<nix::Result<i64>> {
        let done = match notice.call {
            libc::SYS_connect => connect::connect(listener, &self.connects, notice),
            libc::SYS_flock | libc::SYS_fcntl => {
                return self.locks.decide(listener, &self.trees, notice).transpose();
            }
            libc::SYS_umask => return Some(mask::of(notice)),
            _ => metadata::change(listener, &self.trees, notice),
        };
        Some(done.map(|()| 0))
    }
}

/// The listener and what else is to be held; nothing where the program ended without sending them.
#[expect(unsafe_code, reason = "descriptors come as numbers")]
fn receive(handover: &UnixStream) -> io::Result<Vec<OwnedFd>> {
    let mut byte = [0];
    let mut parts = [IoSliceMut::new(&mut byte)];
    let mut space = nix::cmsg_space!([RawFd; ALONG]);
    let message = recvmsg::<()>(
        handover.as_raw_fd(),
        &mut parts,
        Some(&mut space),
        MsgFlags::MSG_CMSG_CLOEXEC,
    )?;
    let numbers = message.cmsgs()?.find_map(|along| match along {
        ControlMessageOwned::ScmRights(numbers) => Some(numbers),
        _ => None,
    });
    let numbers = numbers.unwrap_or_default().into_iter();
    // SAFETY: numbers of the message that was received just above, each taken once.
    Ok(numbers.map(|number| unsafe { os::sent(number) }).collect())
}

/// The process that a thread belongs to.
fn process_of(thread: i32) -> nix::Result<i32> {
    let process = status_of(thread, "Tgid:")?;
    process.parse().map_err(|_| Errno::ESRCH)
}

/// What the kernel says of a thread under `label`.
fn status_of(thread: i32, label: &str) -> nix::Result<String> {
    let status =
        std::fs::read_to_string(format!("/proc/{thread}/status")).map_err(|_| Errno::ESRCH)?;
    let said = status.lines().find_map(|line| line.strip_prefix(label));
    Ok(said.ok_or(Errno::ESRCH)?.trim().to_owned())
}

/// A copy of a descriptor of the caller's.
fn take_descriptor(notice: &Notice, number: i32) -> nix::Result<OwnedFd> {
    notify::take_descriptor(notice.thread, || process_of(notice.thread), number)
}

/// What the descriptor in the first argument is open on: the caller's own open file, which no other thread can exchange
/// any more.
fn open_file(notice: &Notice) -> nix::Result<OwnedFd> {
    // The kernel reads 32 bits of a number that is an int.
    let number = notice.arguments[0] as i32;
    let file = take_descriptor(notice, number)?;
    let flags = OFlag::from_bits_retain(fcntl(&file, FcntlArg::F_GETFL)?);
    match flags.contains(OFlag::O_PATH) {
        true => Err(Errno::EBADF),
        false => Ok(file),
    }
}
