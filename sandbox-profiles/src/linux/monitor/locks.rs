//! Locks on files. A descriptor that was opened to read is enough for one, and a lock holds up the owner's own programs: a
//! program locks what its profile lets it write, and of anything else it is told that it did.
//!
//! ```text
//! call ─▶ the caller's open file, taken once ─▶ in a granted tree? ─no─▶ "done", without effect
//!                                              └yes▶ free? ─▶ locked, answered
//!                                                     └no▶ waits its turn ─▶ tried again until it is free or the caller gone
//! ```
//! | lock | the kernel keeps it with | the monitor |
//! |---|---|---|
//! | `flock`, `F_OFD_*` | the open file | locks the open file that it took |
//! | `F_SETLK`, `F_SETLKW` | the process, so nobody can lock for another one | opens the file once more for each process, and locks that |
//!
//! A lock of a process ends with its `F_UNLCK` and with the process; where another one of the run wants the range, also when the
//! process has the file open no more. (The kernel lets go of it at the first `close`, which is too frequent to be watched.)
//! Each excludes the locks of programs outside of the run, of either kind, as the kernel's own do.
//!
//! Invariants: no thread of the monitor waits for a lock of the program's; a lock is on the file that was judged.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl, open};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::stat::{Mode, SFlag, fstat};
use nix::unistd::{Whence, lseek, pipe2, read, write};
use seccompiler::BackendError;

use super::super::os::notify::{self, Listener, Notice};
use super::super::syscalls::{Calls, not_set};
use super::trees::Trees;
use super::{open_file, process_of, status_of};

/// From `linux/fcntl.h`; absent from some C libraries.
const F_OFD_SETLK: i32 = 37;
const F_OFD_SETLKW: i32 = 38;
/// Between two attempts at a lock that another one holds. The kernel tells of one that is free only who waits in a call of
/// its own; and a thread that did could not be told that its caller has gone.
/// In milliseconds.
const PAUSE: u8 = 10;
/// How many files processes may have locks of their own on: each costs the monitor two descriptors.
const MOST_OWNERS: usize = 256;

/// Adds what locks a whole file. To let go of a lock is harmless, and most frequent.
pub(super) fn whole(calls: Calls) -> Result<Calls, BackendError> {
    calls.when(libc::SYS_flock, &[not_set(1, libc::LOCK_UN)])
}

/// Adds what locks a range, or lets go of it: which of the two lies behind a pointer.
pub(super) fn ranges(calls: Calls) -> Result<Calls, BackendError> {
    let commands = [libc::F_SETLK, libc::F_SETLKW, F_OFD_SETLK, F_OFD_SETLKW];
    calls.one_of(libc::SYS_fcntl, 1, &commands.map(i64::from))
}

/// The locks of one program and of what descends from it.
#[derive(Debug)]
pub(super) struct Locks {
    state: Mutex<State>,
    /// A byte for whatever the thread that serves should look at again.
    wake: OwnedFd,
    woken: OwnedFd,
}

#[derive(Debug, Default)]
struct State {
    waiting: Vec<Waiting>,
    owners: Vec<Owner>,
}

/// A call that waits for its turn.
#[derive(Debug)]
struct Waiting {
    notice: Notice,
    file: OwnedFd,
    request: Request,
}

#[derive(Clone, Copy, Debug)]
enum Request {
    /// `flock`, with its operation.
    Whole(i32),
    /// A range, for all that have this opening of the file.
    Range(libc::flock),
    /// A range from the file's beginning, for a process.
    OfProcess(i32, libc::flock),
}

/// A process with locks of its own on a file, which are on `file`: another opening of it.
#[derive(Debug)]
struct Owner {
    process: i32,
    /// Readable once the process has ended.
    life: Arc<OwnedFd>,
    number: FileNumber,
    file: OwnedFd,
    /// It holds no lock. It is kept for the next one: most processes lock the same file again.
    is_idle: bool,
}

/// A file, by device and number.
type FileNumber = (libc::dev_t, libc::ino_t);

impl Locks {
    pub(super) fn new() -> nix::Result<Self> {
        let (woken, wake) = pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK)?;
        Ok(Self {
            state: Mutex::default(),
            wake,
            woken,
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has [`Locks::serve`] look again.
    fn wake(&self) -> nix::Result<()> {
        match write(&self.wake, b"w") {
            // One that is full wakes as well.
            Ok(_) | Err(Errno::EAGAIN) => Ok(()),
            Err(errno) => Err(errno),
        }
    }

    /// Locks or lets go. Nothing where the call waits for its turn.
    pub(super) fn decide(
        &self,
        listener: &Listener<'_>,
        trees: &Trees,
        notice: &Notice,
    ) -> nix::Result<Option<i64>> {
        let file = open_file(notice)?;
        let (request, waits) = request_of(notice, &file)?;
        if !self.state().is_judged(&file, request)? && !trees.hold(&file)? {
            return Ok(Some(0));
        }
        if !listener.is_waiting(notice) {
            return Err(Errno::ESRCH);
        }
        let mut state = self.state();
        let owners = state.owners.len();
        let done = state.lock(&file, request);
        let waits = waits && done == Err(Errno::EAGAIN);
        if waits {
            state.waiting.push(Waiting {
                notice: *notice,
                file,
                request,
            });
        }
        if waits || state.owners.len() != owners {
            self.wake()?;
        }
        match waits {
            true => Ok(None),
            false => done.map(|()| Some(0)),
        }
    }

    /// Gives waiting calls their turn, and lets go of what processes held that have ended.
    pub(super) fn serve(&self, listener: &Listener<'_>) -> nix::Result<()> {
        loop {
            let (lives, waits) = {
                let mut state = self.state();
                state.give_turns(listener)?;
                let lives = state.owners.iter().map(|owner| Arc::clone(&owner.life));
                (lives.collect::<Vec<_>>(), !state.waiting.is_empty())
            };
            let mut asked: Vec<_> = lives
                .iter()
                .map(|life| PollFd::new(life.as_fd(), PollFlags::POLLIN))
                .collect();
            asked.push(PollFd::new(self.woken.as_fd(), PollFlags::POLLIN));
            let pause = match waits {
                true => PollTimeout::from(PAUSE),
                false => PollTimeout::NONE,
            };
            match poll(&mut asked, pause) {
                Ok(_) | Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno),
            }
            if asked.last().and_then(PollFd::any) == Some(true) {
                read(&self.woken, &mut [0; 64])?;
            }
            self.state().owners.retain(|owner| !has_ended(&owner.life));
        }
    }
}

/// What a call asks for, and whether it waits for it.
fn request_of(notice: &Notice, file: &OwnedFd) -> nix::Result<(Request, bool)> {
    let [_, command, address, ..] = notice.arguments;
    let command = command as i32;
    if notice.call == libc::SYS_flock {
        let operation = command & !libc::LOCK_NB;
        if operation != libc::LOCK_SH && operation != libc::LOCK_EX {
            return Err(Errno::EINVAL);
        }
        return Ok((Request::Whole(operation), command == operation));
    }
    let mut range = notify::read_lock(notice.thread, address)?;
    let flags = fcntl(file, FcntlArg::F_GETFL)? & libc::O_ACCMODE;
    // As the kernel has it: what is shared must be open to read, what is not to write.
    match i32::from(range.l_type) {
        libc::F_UNLCK => {}
        libc::F_RDLCK if flags != libc::O_WRONLY => {}
        libc::F_WRLCK if flags != libc::O_RDONLY => {}
        libc::F_RDLCK | libc::F_WRLCK => return Err(Errno::EBADF),
        _ => return Err(Errno::EINVAL),
    }
    if command == F_OFD_SETLK || command == F_OFD_SETLKW {
        return Ok((Request::Range(range), command == F_OFD_SETLKW));
    }
    // Another opening has another position, and the kernel wants no process beside it.
    if i32::from(range.l_whence) == libc::SEEK_CUR {
        let here = lseek(file, 0, Whence::SeekCur)?;
        range.l_start = range.l_start.checked_add(here).ok_or(Errno::EOVERFLOW)?;
        range.l_whence = libc::SEEK_SET as i16;
    }
    range.l_pid = 0;
    let process = process_of(notice.thread)?;
    Ok((
        Request::OfProcess(process, range),
        command == libc::F_SETLKW,
    ))
}

impl State {
    /// Whether a process has locked this very file before: it stays open, so that no other one gets its number.
    fn is_judged(&mut self, file: &OwnedFd, request: Request) -> nix::Result<bool> {
        match request {
            Request::OfProcess(process, _) => {
                let number = number_of(file)?;
                Ok(self.position(process, number).is_some())
            }
            Request::Whole(_) | Request::Range(_) => Ok(false),
        }
    }

    /// Tries once.
    fn lock(&mut self, file: &OwnedFd, request: Request) -> nix::Result<()> {
        match request {
            Request::Whole(operation) => notify::lock_whole(file, operation),
            Request::Range(range) => lock_range(file, &range),
            Request::OfProcess(process, range) => self.lock_for(process, file, &range),
        }
    }

    fn lock_for(&mut self, process: i32, file: &OwnedFd, range: &libc::flock) -> nix::Result<()> {
        let number = number_of(file)?;
        let lets_go = i32::from(range.l_type) == libc::F_UNLCK;
        let mut owner = match self.position(process, number) {
            Some(at) => self.owners.swap_remove(at),
            None if lets_go => return Ok(()),
            None => self.new_owner(process, number, file)?,
        };
        let done = match lets_go {
            true => lock_range(&owner.file, range),
            false => self.lock_against_others(&owner, range),
        };
        if done.is_ok() {
            let from_beginning = i32::from(range.l_whence) == libc::SEEK_SET && range.l_start == 0;
            owner.is_idle = lets_go && from_beginning && range.l_len == 0;
        }
        self.owners.push(owner);
        done
    }

    fn position(&mut self, process: i32, number: FileNumber) -> Option<usize> {
        let is = |owner: &Owner| owner.process == process && owner.number == number;
        let at = self.owners.iter().position(is)?;
        // One that had the process's number before has ended.
        if has_ended(&self.owners[at].life) {
            self.owners.swap_remove(at);
            return None;
        }
        Some(at)
    }

    fn new_owner(
        &mut self,
        process: i32,
        number: FileNumber,
        file: &OwnedFd,
    ) -> nix::Result<Owner> {
        if self.owners.len() >= MOST_OWNERS {
            self.owners.retain(|owner| !owner.is_idle);
        }
        if self.owners.len() >= MOST_OWNERS {
            return Err(Errno::ENOLCK);
        }
        Ok(Owner {
            process,
            life: Arc::new(notify::hold_process(process)?),
            number,
            file: open_again(file)?,
            is_idle: true,
        })
    }

    /// Those that have the file open no more let go of it.
    fn lock_against_others(&mut self, owner: &Owner, range: &libc::flock) -> nix::Result<()> {
        match lock_range(&owner.file, range) {
            Err(Errno::EAGAIN) => {}
            done => return done,
        }
        self.owners.retain(|other| {
            other.number != owner.number
                || (!has_ended(&other.life) && has_open(other.process, owner.number))
        });
        lock_range(&owner.file, range)
    }

    fn give_turns(&mut self, listener: &Listener<'_>) -> nix::Result<()> {
        for one in std::mem::take(&mut self.waiting) {
            if !listener.is_waiting(&one.notice) {
                continue;
            }
            let answer = match self.lock(&one.file, one.request) {
                Err(Errno::EAGAIN) if has_alarm(one.notice.thread) => Err(Errno::EINTR),
                Err(Errno::EAGAIN) => {
                    self.waiting.push(one);
                    continue;
                }
                done => done.map(|()| 0),
            };
            let is_locked = answer.is_ok();
            if !listener.answer(&one.notice, answer)? && is_locked {
                // The caller was ended meanwhile. Others may have the file open still.
                self.let_go(&one);
            }
        }
        Ok(())
    }

    fn let_go(&mut self, one: &Waiting) {
        let unlocked = |mut range: libc::flock| {
            range.l_type = libc::F_UNLCK as i16;
            range
        };
        let request = match one.request {
            Request::Whole(_) => Request::Whole(libc::LOCK_UN),
            Request::Range(range) => Request::Range(unlocked(range)),
            Request::OfProcess(process, range) => Request::OfProcess(process, unlocked(range)),
        };
        _ = self.lock(&one.file, request);
    }
}

/// Whether a thread that waits should hear of an alarm, by which programs bound their waiting.
fn has_alarm(thread: i32) -> bool {
    let signals = |label| {
        let mask = status_of(thread, label).unwrap_or_default();
        u64::from_str_radix(&mask, 16).unwrap_or(0)
    };
    let pending = signals("SigPnd:") | signals("ShdPnd:");
    let alarm = 1 << (libc::SIGALRM - 1);
    pending & signals("SigCgt:") & !signals("SigBlk:") & alarm != 0
}

fn lock_range(file: &OwnedFd, range: &libc::flock) -> nix::Result<()> {
    fcntl(file, FcntlArg::F_OFD_SETLK(range)).map(drop)
}

/// Another opening of the same file, for locks of either kind. If the file does not let itself be opened so, or would do
/// something, the caller's own one serves.
fn open_again(file: &OwnedFd) -> nix::Result<OwnedFd> {
    let kind = SFlag::from_bits_truncate(fstat(file)?.st_mode) & SFlag::S_IFMT;
    let access = match fcntl(file, FcntlArg::F_GETFL)? & libc::O_ACCMODE {
        libc::O_RDONLY => [OFlag::O_RDWR, OFlag::O_RDONLY],
        _ => [OFlag::O_RDWR; 2],
    };
    let again = format!("/proc/self/fd/{}", file.as_raw_fd());
    let how = OFlag::O_CLOEXEC | OFlag::O_NOCTTY | OFlag::O_NONBLOCK;
    let opened = access
        .into_iter()
        .filter(|_| kind == SFlag::S_IFREG || kind == SFlag::S_IFDIR)
        .find_map(|access| open(again.as_str(), how | access, Mode::empty()).ok());
    opened.map_or_else(|| file.try_clone().map_err(|_| Errno::EMFILE), Ok)
}

fn number_of(file: &OwnedFd) -> nix::Result<FileNumber> {
    let about = fstat(file)?;
    Ok((about.st_dev, about.st_ino))
}

/// Whether the process behind a hold is over.
fn has_ended(life: &OwnedFd) -> bool {
    let mut asked = [PollFd::new(life.as_fd(), PollFlags::POLLIN)];
    matches!(poll(&mut asked, PollTimeout::ZERO), Ok(count) if count > 0)
}

/// Whether a process has a file open. One that cannot be looked at may.
fn has_open(process: i32, number: FileNumber) -> bool {
    let Ok(descriptors) = std::fs::read_dir(format!("/proc/{process}/fd")) else {
        return true;
    };
    let mut files = descriptors
        .filter_map(Result::ok)
        .filter_map(|descriptor| nix::sys::stat::stat(&descriptor.path()).ok());
    files.any(|file| (file.st_dev, file.st_ino) == number)
}
