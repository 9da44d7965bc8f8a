//! What decides on a system call of another process: the notifying filter, that process's memory and descriptors, and
//! the fork that puts the one who decides outside. Numbers of processes and descriptors come from the kernel's notice;
//! nothing here trusts what they lead to before [`Listener::is_waiting`] has confirmed the notice.

use std::io;
use std::mem::size_of;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{SockaddrStorage, UnixAddr, connect};
use nix::unistd::{ForkResult, Pid, fork};
use seccompiler::BpfProgram;

/// The longest address that is read: that of a Unix socket.
pub(in super::super) const LONGEST_ADDRESS: usize = size_of::<libc::sockaddr_un>();
/// From `linux/pidfd.h`: a hold on one thread.
const PIDFD_THREAD: u32 = libc::O_EXCL as u32;
/// The longest path that is read, with its end: `PATH_MAX` of `linux/limits.h`.
const LONGEST_PATH: usize = 4096;
/// Nothing that is mapped ends within a piece of this size that begins at a multiple of it.
const PIECE: u64 = 4096;

/// Makes a second process, in which this returns `None`.
pub(in super::super) fn split() -> nix::Result<Option<Pid>> {
    // SAFETY: the launcher has one thread, so no lock is held by a thread that the child lacks, and the child may do
    // whatever its parent may.
    match unsafe { fork() }? {
        ForkResult::Parent { child } => Ok(Some(child)),
        ForkResult::Child => Ok(None),
    }
}

/// From now on each call by this process, and by what descends from it, that `filter` notifies of waits for the answer of
/// the holder of what this returns. A signal that does not end the caller does not interrupt it, so that no call is made
/// twice.
pub(in super::super) fn notify_of(filter: &BpfProgram) -> io::Result<OwnedFd> {
    let program = libc::sock_fprog {
        len: filter.len() as u16,
        filter: filter.as_ptr().cast_mut().cast(),
    };
    // SAFETY: the kernel copies the program, which lives until the call returns, and writes nothing. Its steps are the
    // kernel's own structure under another name.
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

    /// Lets the call return, and says whether somebody waited: a caller that is gone needs no answer.
    pub(in super::super) fn answer(
        &self,
        notice: &Notice,
        answer: nix::Result<i64>,
    ) -> nix::Result<bool> {
        let (val, error) = match answer {
            Ok(val) => (val, 0),
            Err(errno) => (0, -(errno as i32)),
        };
        let reply = libc::seccomp_notif_resp {
            id: notice.id,
            val,
            error,
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
            Ok(_) => Ok(true),
            Err(Errno::ENOENT) => Ok(false),
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

/// The lock of a range that a thread has at `address`.
pub(in super::super) fn read_lock(thread: i32, address: u64) -> nix::Result<libc::flock> {
    let mut bytes = [0; size_of::<libc::flock>()];
    read_memory(thread, address, &mut bytes)?;
    // SAFETY: the structure is integers and padding, for which all bytes are a value, and of this very size.
    Ok(unsafe { std::mem::transmute::<[u8; size_of::<libc::flock>()], libc::flock>(bytes) })
}

/// Locks the whole of an open file for all that have this opening, or lets go of it. Never waits.
pub(in super::super) fn lock_whole(file: &OwnedFd, operation: i32) -> nix::Result<()> {
    // SAFETY: takes numbers only.
    Errno::result(unsafe { libc::flock(file.as_raw_fd(), operation | libc::LOCK_NB) }).map(drop)
}

/// A hold on `process`, which must be the number of a whole process: readable once it has ended.
pub(in super::super) fn hold_process(process: i32) -> nix::Result<OwnedFd> {
    hold(process, 0)
}

fn hold(number: i32, flags: u32) -> nix::Result<OwnedFd> {
    // SAFETY: takes numbers only.
    let handle = Errno::result(unsafe { libc::syscall(libc::SYS_pidfd_open, number, flags) })?;
    // SAFETY: the kernel has just made this descriptor for us.
    Ok(unsafe { OwnedFd::from_raw_fd(handle as i32) })
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

/// A copy of descriptor `number` of a thread; before Linux 6.9, of its process.
pub(in super::super) fn take_descriptor(
    thread: i32,
    process: impl FnOnce() -> nix::Result<i32>,
    number: i32,
) -> nix::Result<OwnedFd> {
    let handle = match hold(thread, PIDFD_THREAD) {
        Err(Errno::EINVAL) => hold_process(process()?)?,
        held => held?,
    };
    // SAFETY: takes numbers only.
    let taken = Errno::result(unsafe {
        libc::syscall(libc::SYS_pidfd_getfd, handle.as_raw_fd(), number, 0)
    })?;
    // SAFETY: the kernel has just made this descriptor for us.
    Ok(unsafe { OwnedFd::from_raw_fd(taken as i32) })
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
