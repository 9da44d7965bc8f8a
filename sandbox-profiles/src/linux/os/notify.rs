//! What decides on a system call of another process: the notifying filter, that process's memory and descriptors, and
//! the fork that puts the one who decides outside. Numbers of processes and descriptors come from the kernel's notice;
//! nothing here trusts what they lead to before [`Listener::is_waiting`] has confirmed the notice.

use std::io;
use std::mem::size_of;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigHandler, SigSet, SigmaskHow, Signal, raise, signal, sigprocmask};
use nix::sys::socket::{SockaddrStorage, UnixAddr, connect};
use nix::unistd::{ForkResult, Pid, fork};

/// The longest address that is read: that of a Unix socket.
pub(in super::super) const LONGEST_ADDRESS: usize = size_of::<libc::sockaddr_un>();
/// The longest path that is read, with its end: `PATH_MAX` of `linux/limits.h`.
const LONGEST_PATH: usize = 4096;
/// Nothing that is mapped ends within a piece of this size that begins at a multiple of it.
const PIECE: u64 = 4096;
/// Offsets in `struct seccomp_data`.
const NUMBER: u32 = 0;
const SECOND_ARGUMENT: u32 = 24;

/// Makes a second process, in which this returns `None`.
pub(in super::super) fn split() -> nix::Result<Option<Pid>> {
    // SAFETY: the launcher has one thread, so no lock is held by a thread that the child lacks, and the child may do
    // whatever its parent may.
    match unsafe { fork() }? {
        ForkResult::Parent { child } => Ok(Some(child)),
        ForkResult::Child => Ok(None),
    }
}

/// Ends this process as `signal` ended another.
pub(in super::super) fn end_by(by: Signal) -> nix::Result<()> {
    // SIGKILL has no other disposition, and the kernel refuses to set it.
    if by != Signal::SIGKILL {
        // SAFETY: SIG_DFL installs no handler, so no code runs in signal context; nothing here relies on the old one.
        unsafe { signal(by, SigHandler::SigDfl) }?;
    }
    let mut only = SigSet::empty();
    only.add(by);
    sigprocmask(SigmaskHow::SIG_UNBLOCK, Some(&only), None)?;
    raise(by)
}

/// Makes this process one that the end of a child is told to, whatever it inherited.
pub(in super::super) fn hear_of_children() -> nix::Result<()> {
    // SAFETY: SIG_DFL installs no handler, so no code runs in signal context; nothing here relies on the old one.
    unsafe { signal(Signal::SIGCHLD, SigHandler::SigDfl) }.map(drop)
}

/// From now on each of `calls` by this process, and by what descends from it, waits for the answer of whoever holds what
/// this returns; but not a `utimensat` without a path, which is about a descriptor. A signal that does not end the caller
/// does not interrupt it, so that no call is made twice.
pub(in super::super) fn notify_of(calls: &[libc::c_long]) -> io::Result<OwnedFd> {
    let step = |code: u32, jt: u8, jf: u8, k: u32| libc::sock_filter {
        code: code as u16,
        jt,
        jf,
        k,
    };
    let load = |offset| step(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, offset);
    let skip = |if_equal, unless, value| {
        let code = libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K;
        step(code, if_equal, unless, value)
    };
    let answer = |action| step(libc::BPF_RET | libc::BPF_K, 0, 0, action);
    let mut steps = vec![load(NUMBER)];
    for call in calls {
        if *call == libc::SYS_utimensat {
            steps.extend([
                skip(0, 6, *call as u32),
                load(SECOND_ARGUMENT),
                skip(0, 2, 0),
                load(SECOND_ARGUMENT + 4),
                skip(1, 0, 0),
                answer(libc::SECCOMP_RET_USER_NOTIF),
                answer(libc::SECCOMP_RET_ALLOW),
            ]);
        } else {
            steps.extend([
                skip(0, 1, *call as u32),
                answer(libc::SECCOMP_RET_USER_NOTIF),
            ]);
        }
    }
    steps.push(answer(libc::SECCOMP_RET_ALLOW));
    let program = libc::sock_fprog {
        len: steps.len() as u16,
        filter: steps.as_ptr().cast_mut(),
    };
    // SAFETY: the kernel copies the program, which lives until the call returns, and writes nothing.
    let listener = Errno::result(unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            libc::SECCOMP_FILTER_FLAG_NEW_LISTENER | libc::SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV,
            &raw const program,
        )
    })?;
    // SAFETY: with this flag the call returns a new descriptor, which nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(listener as i32) })
}

/// Where the notices of a filter arrive.
#[derive(Debug)]
pub(in super::super) struct Listener<'a>(&'a OwnedFd);

/// A call that waits for its answer.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct Notice {
    id: u64,
    /// Which call.
    pub(in super::super) call: libc::c_long,
    /// The thread that called.
    pub(in super::super) thread: i32,
    /// The arguments, as the kernel read them.
    pub(in super::super) arguments: [u64; 6],
}

impl<'a> Listener<'a> {
    pub(in super::super) fn new(descriptor: &'a OwnedFd) -> Self {
        Self(descriptor)
    }

    /// The next call that waits; none when all whose calls could come have ended. Whole again after an answer that nobody
    /// waited for.
    pub(in super::super) fn next(&self) -> nix::Result<Option<Notice>> {
        loop {
            // SAFETY: all zero is a value of this struct of numbers, and what the kernel wants to be given.
            let mut notice: libc::seccomp_notif = unsafe { std::mem::zeroed() };
            // SAFETY: the request writes one such struct, which `notice` is.
            let got = unsafe {
                libc::ioctl(
                    self.0.as_raw_fd(),
                    libc::SECCOMP_IOCTL_NOTIF_RECV,
                    &raw mut notice,
                )
            };
            match Errno::result(got) {
                Ok(_) => {
                    return Ok(Some(Notice {
                        id: notice.id,
                        call: notice.data.nr.into(),
                        thread: notice.pid as i32,
                        arguments: notice.data.args,
                    }));
                }
                // From Linux 6.11 on this is also what comes, at once and for ever, when nobody is left.
                Err(Errno::ENOENT) if self.is_over()? => return Ok(None),
                // The caller was ended meanwhile.
                Err(Errno::ENOENT | Errno::EINTR) => {}
                Err(errno) => return Err(errno),
            }
        }
    }

    /// Whether all whose calls could come have ended.
    fn is_over(&self) -> nix::Result<bool> {
        let mut asked = [PollFd::new(self.0.as_fd(), PollFlags::empty())];
        match poll(&mut asked, PollTimeout::ZERO) {
            Ok(_) => {}
            Err(Errno::EINTR) => return Ok(false),
            Err(errno) => return Err(errno),
        }
        let told = asked[0].revents();
        Ok(told.is_some_and(|told| told.contains(PollFlags::POLLHUP)))
    }

    /// Whether the call still waits. Then its thread has lived all the time, and its number meant no other.
    pub(in super::super) fn is_waiting(&self, notice: &Notice) -> bool {
        // SAFETY: the request reads one such number, which outlives the call.
        let valid = unsafe {
            libc::ioctl(
                self.0.as_raw_fd(),
                libc::SECCOMP_IOCTL_NOTIF_ID_VALID,
                &raw const notice.id,
            )
        };
        valid == 0
    }

    /// Lets the call return. A caller that is gone needs no answer.
    pub(in super::super) fn answer(
        &self,
        notice: &Notice,
        answer: nix::Result<()>,
    ) -> nix::Result<()> {
        let reply = libc::seccomp_notif_resp {
            id: notice.id,
            val: 0,
            error: answer.err().map_or(0, |errno| -(errno as i32)),
            flags: 0,
        };
        // SAFETY: the request reads one such struct, which `reply` is.
        let sent = unsafe {
            libc::ioctl(
                self.0.as_raw_fd(),
                libc::SECCOMP_IOCTL_NOTIF_SEND,
                &raw const reply,
            )
        };
        match Errno::result(sent) {
            Ok(_) | Err(Errno::ENOENT) => Ok(()),
            Err(errno) => Err(errno),
        }
    }
}

/// Reads `into` from what a thread has at `address`; all of it or nothing.
pub(in super::super) fn read_memory(thread: i32, address: u64, into: &mut [u8]) -> nix::Result<()> {
    let here = libc::iovec {
        iov_base: into.as_mut_ptr().cast(),
        iov_len: into.len(),
    };
    let there = libc::iovec {
        iov_base: std::ptr::without_provenance_mut(address as usize),
        iov_len: into.len(),
    };
    // SAFETY: the kernel writes at most `into.len()` bytes to `into`; the other address is one of the other process,
    // which the kernel reads with fault handling.
    let read = Errno::result(unsafe {
        libc::process_vm_readv(thread, &raw const here, 1, &raw const there, 1, 0)
    })?;
    if read as usize == into.len() {
        Ok(())
    } else {
        Err(Errno::EFAULT)
    }
}

/// The path that a thread has at `address`.
pub(in super::super) fn read_path(thread: i32, address: u64) -> nix::Result<Vec<u8>> {
    let mut path = Vec::new();
    while path.len() < LONGEST_PATH {
        let at = address.wrapping_add(path.len() as u64);
        let mut piece = [0; PIECE as usize];
        let piece = &mut piece[..(PIECE - at % PIECE) as usize];
        read_memory(thread, at, piece)?;
        if let Some(end) = piece.iter().position(|byte| *byte == 0) {
            path.extend_from_slice(&piece[..end]);
            return Ok(path);
        }
        path.extend_from_slice(piece);
    }
    Err(Errno::ENAMETOOLONG)
}

/// Times of a file, as the kernel takes them: of access and of change, or none for now.
pub(in super::super) struct Times(Option<[libc::timespec; 2]>);

/// The times that a thread has at `address`, which may be null.
pub(in super::super) fn read_times(thread: i32, address: u64) -> nix::Result<Times> {
    if address == 0 {
        return Ok(Times(None));
    }
    let mut bytes = [0; size_of::<[libc::timespec; 2]>()];
    read_memory(thread, address, &mut bytes)?;
    // SAFETY: the array is two structures of two integers each, for which all bytes are a value, and of this very size.
    Ok(Times(Some(unsafe {
        std::mem::transmute::<[u8; size_of::<[libc::timespec; 2]>()], [libc::timespec; 2]>(bytes)
    })))
}

/// Sets the mode of what a handle is open on.
pub(in super::super) fn set_mode(handle: &OwnedFd, mode: u32) -> nix::Result<()> {
    // SAFETY: the empty path is a C string, which the kernel only reads.
    Errno::result(unsafe {
        libc::syscall(
            super::super::agent::FCHMODAT2,
            handle.as_raw_fd(),
            c"".as_ptr(),
            mode,
            libc::AT_EMPTY_PATH,
        )
    })
    .map(drop)
}

/// Sets the times of what a handle is open on.
pub(in super::super) fn set_times(handle: &OwnedFd, times: &Times) -> nix::Result<()> {
    let times = times
        .0
        .as_ref()
        .map_or(std::ptr::null(), |times| times.as_ptr());
    // SAFETY: the empty path is a C string; the times are null or two structures that outlive the call. The kernel only
    // reads both.
    Errno::result(unsafe {
        libc::syscall(
            libc::SYS_utimensat,
            handle.as_raw_fd(),
            c"".as_ptr(),
            times,
            libc::AT_EMPTY_PATH,
        )
    })
    .map(drop)
}

/// A copy of descriptor `number` of `process`, which must be the number of a whole process.
pub(in super::super) fn take_descriptor(process: i32, number: i32) -> nix::Result<OwnedFd> {
    // SAFETY: takes numbers only.
    let handle = Errno::result(unsafe { libc::syscall(libc::SYS_pidfd_open, process, 0) })?;
    // SAFETY: the kernel has just made this descriptor for us.
    let handle = unsafe { OwnedFd::from_raw_fd(handle as i32) };
    // SAFETY: takes numbers only.
    let taken = Errno::result(unsafe {
        libc::syscall(libc::SYS_pidfd_getfd, handle.as_raw_fd(), number, 0)
    })?;
    // SAFETY: the kernel has just made this descriptor for us.
    Ok(unsafe { OwnedFd::from_raw_fd(taken as i32) })
}

/// What is open at `number`, as this process's own from now on.
pub(in super::super) fn adopt(number: i32) -> Option<OwnedFd> {
    // SAFETY: takes numbers only.
    let open = unsafe { libc::fcntl(number, libc::F_GETFD) };
    // SAFETY: it is open, and the two callers are its only owners: one has just been sent it, the other inherited it
    // over an exec and has no other use for it.
    (open != -1).then(|| unsafe { OwnedFd::from_raw_fd(number) })
}

/// Family, type and protocol of a socket.
pub(in super::super) fn kind_of(socket: &OwnedFd) -> nix::Result<(i32, i32, i32)> {
    let ask = |option| {
        let mut value: libc::c_int = -1;
        let mut length = size_of::<libc::c_int>() as libc::socklen_t;
        // SAFETY: the option is one int, of the size given; both outlive the call.
        Errno::result(unsafe {
            libc::getsockopt(
                socket.as_raw_fd(),
                libc::SOL_SOCKET,
                option,
                (&raw mut value).cast(),
                &raw mut length,
            )
        })
        .map(|_| value)
    };
    Ok((
        ask(libc::SO_DOMAIN)?,
        ask(libc::SO_TYPE)?,
        ask(libc::SO_PROTOCOL)?,
    ))
}

/// Connects a socket, as its own flags say: it waits, or answers `EINPROGRESS`.
pub(in super::super) fn connect_to(socket: &OwnedFd, to: SocketAddr) -> nix::Result<()> {
    connect(socket.as_raw_fd(), &SockaddrStorage::from(to))
}

/// Connects a Unix socket to the one that a handle is open on, whatever its path has come to mean.
pub(in super::super) fn connect_to_open(socket: &OwnedFd, open: &OwnedFd) -> nix::Result<()> {
    let path = format!("/proc/self/fd/{}", open.as_raw_fd());
    connect(socket.as_raw_fd(), &UnixAddr::new(path.as_str())?)
}
