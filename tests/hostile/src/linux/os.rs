//! Raw system calls. What they change, they change in this process or in a file that the test made; the process
//! ends right after.
#![expect(
    unsafe_code,
    reason = "raw system calls; every block is argued where it stands"
)]

pub(super) mod files;
pub(super) mod holding;
pub(super) mod kernel;
pub(super) mod processes;
pub(super) mod regrowing;
pub(super) mod sockets;

use std::ffi::CStr;
use std::fs::File;
use std::io;
use std::mem::size_of;
use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::ptr::{null, null_mut};

use libc::c_long;
use nix::errno::Errno;

/// From `linux/in.h`.
const IPPROTO_MPTCP: i32 = 262;

fn socket(family: i32, kind: i32, protocol: i32) -> io::Result<OwnedFd> {
    // SAFETY: `socket` takes numbers only.
    let made = Errno::result(unsafe { libc::socket(family, kind | libc::SOCK_CLOEXEC, protocol) })?;
    // SAFETY: the kernel has just made this descriptor for us.
    Ok(unsafe { OwnedFd::from_raw_fd(made) })
}

fn loopback(port: u16) -> libc::sockaddr_in {
    libc::sockaddr_in {
        sin_family: libc::AF_INET as libc::sa_family_t,
        sin_port: port.to_be(),
        sin_addr: libc::in_addr {
            s_addr: u32::from(Ipv4Addr::LOCALHOST).to_be(),
        },
        sin_zero: [0; 8],
    }
}

const ADDRESS_SIZE: libc::socklen_t = size_of::<libc::sockaddr_in>() as libc::socklen_t;

pub(super) fn connect_mptcp(port: u16) -> io::Result<()> {
    let socket = socket(libc::AF_INET, libc::SOCK_STREAM, IPPROTO_MPTCP)?;
    let address = loopback(port);
    // SAFETY: the address is initialised, of the size given, and outlives the call.
    let answer = unsafe {
        libc::connect(
            socket.as_raw_fd(),
            (&raw const address).cast(),
            ADDRESS_SIZE,
        )
    };
    Ok(Errno::result(answer).map(drop)?)
}

pub(super) fn send_fast_open(port: u16) -> io::Result<()> {
    let socket = socket(libc::AF_INET, libc::SOCK_STREAM, 0)?;
    let address = loopback(port);
    let data = b"hostile";
    // SAFETY: data and address are initialised, of the sizes given, and outlive the call.
    let answer = unsafe {
        libc::sendto(
            socket.as_raw_fd(),
            data.as_ptr().cast(),
            data.len(),
            libc::MSG_FASTOPEN,
            (&raw const address).cast(),
            ADDRESS_SIZE,
        )
    };
    Ok(Errno::result(answer).map(drop)?)
}

pub(super) fn listen_unbound() -> io::Result<()> {
    let socket = socket(libc::AF_INET, libc::SOCK_STREAM, 0)?;
    // SAFETY: `listen` takes numbers only.
    Ok(Errno::result(unsafe { libc::listen(socket.as_raw_fd(), 1) }).map(drop)?)
}

pub(super) fn tcp_socket() -> io::Result<()> {
    socket(libc::AF_INET, libc::SOCK_STREAM, 0).map(drop)
}

pub(super) fn netlink() -> io::Result<()> {
    socket(libc::AF_NETLINK, libc::SOCK_RAW, libc::NETLINK_ROUTE).map(drop)
}

/// From `linux/fs.h`, for 64-bit machines.
const FS_IOC_GETFLAGS: libc::Ioctl = 0x8008_6601;
const FS_IOC_SETFLAGS: libc::Ioctl = 0x4008_6602;

pub(super) fn set_flags(file: &File) -> io::Result<()> {
    let mut flags: libc::c_int = 0;
    // SAFETY: both calls use one int through the pointer, which lives on this stack. What the first one answers is
    // of no interest: where it is refused, 0 is as good.
    unsafe { libc::ioctl(file.as_raw_fd(), FS_IOC_GETFLAGS, &raw mut flags) };
    // SAFETY: as above.
    let answer = unsafe { libc::ioctl(file.as_raw_fd(), FS_IOC_SETFLAGS, &raw const flags) };
    Ok(Errno::result(answer).map(drop)?)
}

/// From `linux/fs.h` and `linux/fscrypt.h`.
const FS_IOC_REMOVE_ENCRYPTION_KEY: libc::Ioctl = 0xc040_6618_u32 as libc::Ioctl;

/// Takes a key of the user's that nobody has added from the file system of `file`.
pub(super) fn remove_key(file: &File) -> io::Result<()> {
    let mut key = [0_u32; 16];
    // An identifier: of 16 bytes, all zero.
    key[0] = 2;
    // SAFETY: the request reads and writes one structure of 64 bytes, which outlives the call.
    let answer =
        unsafe { libc::ioctl(file.as_raw_fd(), FS_IOC_REMOVE_ENCRYPTION_KEY, &raw mut key) };
    match Errno::result(answer) {
        // Let through to a file system that has no such key, or no keys.
        Ok(_) | Err(Errno::ENOKEY | Errno::EOPNOTSUPP | Errno::ENOTTY) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

pub(super) fn set_attribute(path: &CStr) -> io::Result<()> {
    let value = b"1";
    // SAFETY: path and name are C strings, the value has the size given, and all outlive the call.
    let answer = unsafe {
        libc::setxattr(
            path.as_ptr(),
            c"user.hostile".as_ptr(),
            value.as_ptr().cast(),
            value.len(),
            0,
        )
    };
    Ok(Errno::result(answer).map(drop)?)
}

pub(super) fn lease(file: &File) -> io::Result<()> {
    // SAFETY: F_SETLEASE takes numbers; the lease ends with this process.
    Ok(
        Errno::result(unsafe { libc::fcntl(file.as_raw_fd(), libc::F_SETLEASE, libc::F_RDLCK) })
            .map(drop)?,
    )
}

pub(super) fn watch(path: &CStr) -> io::Result<()> {
    // SAFETY: takes a number.
    let queue = Errno::result(unsafe { libc::inotify_init1(libc::IN_CLOEXEC) })?;
    // SAFETY: `path` is a C string that outlives the call.
    Ok(
        Errno::result(unsafe { libc::inotify_add_watch(queue, path.as_ptr(), libc::IN_OPEN) })
            .map(drop)?,
    )
}

pub(super) fn name_to_handle(path: &CStr) -> io::Result<()> {
    // The header of `struct file_handle` with room for the largest handle (MAX_HANDLE_SZ, 128).
    let mut handle = [0_u32; 34];
    handle[0] = 128;
    let mut mount = 0;
    // SAFETY: the handle says its capacity (128 bytes after two words) and has it; `mount` is an int; `path` is a
    // C string.
    let answer = unsafe {
        libc::syscall(
            libc::SYS_name_to_handle_at,
            libc::AT_FDCWD,
            path.as_ptr(),
            handle.as_mut_ptr(),
            &raw mut mount,
            0,
        )
    };
    Ok(Errno::result(answer).map(drop)?)
}

pub(super) fn trace(pid: i32) -> io::Result<()> {
    // SAFETY: PTRACE_SEIZE reads no memory of ours; the kernel lets the tracee go when this process ends.
    let answer = unsafe {
        libc::ptrace(
            libc::PTRACE_SEIZE,
            pid,
            null_mut::<libc::c_void>(),
            null_mut::<libc::c_void>(),
        )
    };
    Ok(Errno::result(answer).map(drop)?)
}

/// The address that is mapped in every process of this program if it is in this one: the program is not
/// relocated between them only by luck, so an unmapped target counts as reached.
pub(super) fn read_memory(pid: i32) -> io::Result<()> {
    let mut byte = 0_u8;
    let local = libc::iovec {
        iov_base: (&raw mut byte).cast(),
        iov_len: 1,
    };
    let remote = libc::iovec {
        iov_base: (&raw mut byte).cast(),
        iov_len: 1,
    };
    // SAFETY: the local vector is one byte on this stack; the remote one is only a number here.
    let answer =
        unsafe { libc::process_vm_readv(pid, &raw const local, 1, &raw const remote, 1, 0) };
    match Errno::result(answer) {
        // The permission was checked before the address.
        Ok(_) | Err(Errno::EFAULT) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

pub(super) fn pidfd(pid: i32) -> io::Result<()> {
    // SAFETY: takes numbers.
    simple(unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) })
}

pub(super) fn memfd() -> io::Result<()> {
    // SAFETY: the name is a C string.
    simple(unsafe { libc::syscall(libc::SYS_memfd_create, c"hostile".as_ptr(), 0) })
}

pub(super) fn shared_memory() -> io::Result<()> {
    // SAFETY: takes numbers.
    let id = Errno::result(unsafe { libc::shmget(libc::IPC_PRIVATE, 4096, 0o600) })?;
    // SAFETY: IPC_RMID takes no buffer.
    simple(unsafe { libc::shmctl(id, libc::IPC_RMID, null_mut()) }.into())
}

pub(super) fn io_uring() -> io::Result<()> {
    // `struct io_uring_params` has 120 bytes; zero asks for the defaults.
    let mut parameters = [0_u64; 15];
    // SAFETY: the kernel reads and writes 120 bytes, which the array has.
    simple(unsafe { libc::syscall(libc::SYS_io_uring_setup, 1, parameters.as_mut_ptr()) })
}

pub(super) fn unshare_user() -> io::Result<()> {
    // SAFETY: takes a number; only this process changes.
    simple(unsafe { libc::unshare(libc::CLONE_NEWUSER) }.into())
}

/// A mount on a folder that is not there. That it is not is noticed before privileges are looked at, so hearing
/// of it means having been let through to the call.
pub(super) fn mount() -> io::Result<()> {
    let (name, nowhere) = (c"tmpfs".as_ptr(), c"/nowhere/at/all".as_ptr());
    // SAFETY: the names are C strings that outlive the call; the data is absent.
    match Errno::result(unsafe { libc::mount(name, nowhere, name, 0, null()) }) {
        Ok(_) | Err(Errno::ENOENT) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

/// `getpid` by its x32 number, which kernels without x32 do not know.
pub(super) fn x32() -> io::Result<()> {
    // SAFETY: `getpid` takes nothing, and so does whatever else may have this number: it has none.
    match Errno::result(unsafe { libc::syscall(0x4000_0000 | libc::SYS_getpid) }) {
        Ok(_) | Err(Errno::ENOSYS) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

pub(super) fn clone3() -> io::Result<()> {
    // SAFETY: a size of 0 is answered with EINVAL before anything is read.
    simple(unsafe { libc::syscall(libc::SYS_clone3, null::<libc::c_void>(), 0) })
}

pub(super) fn set_death_signal(signal: i32) -> io::Result<()> {
    // SAFETY: takes numbers.
    simple(unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, signal) }.into())
}

pub(super) fn own_death_signal() -> io::Result<i32> {
    let mut signal = 0;
    // SAFETY: writes one int, which `signal` is.
    simple(unsafe { libc::prctl(libc::PR_GET_PDEATHSIG, &raw mut signal) }.into())?;
    Ok(signal)
}

pub(super) fn dumpable() -> io::Result<()> {
    // SAFETY: takes numbers.
    simple(unsafe { libc::prctl(libc::PR_SET_DUMPABLE, 1, 0, 0, 0) }.into())
}

pub(super) fn subreaper() -> io::Result<()> {
    // SAFETY: takes numbers.
    simple(unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) }.into())
}

/// Lets any process trace this one where Yama would not; an error means there is no Yama.
pub(super) fn allow_tracing() -> io::Result<()> {
    // SAFETY: takes numbers.
    unsafe { libc::prctl(libc::PR_SET_PTRACER, libc::PR_SET_PTRACER_ANY, 0, 0, 0) };
    Ok(())
}

fn simple(answer: c_long) -> io::Result<()> {
    Ok(Errno::result(answer).map(drop)?)
}
