//! Files by handle, attributes, notices, mappings, terminals.

use std::ffi::CStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::ptr::null_mut;

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};
use nix::sys::statfs::{OVERLAYFS_SUPER_MAGIC, statfs};

use super::simple;

pub(in super::super) fn remove_attribute(path: &CStr) -> io::Result<()> {
    // SAFETY: both names are C strings that outlive the call.
    let answer = unsafe { libc::removexattr(path.as_ptr(), c"user.hostile".as_ptr()) };
    match Errno::result(answer) {
        // Let through to the file, which has none.
        Ok(_) | Err(Errno::ENODATA) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

/// The same numbers on every architecture; not every C library names them.
const SETXATTRAT: libc::c_long = 463;
const REMOVEXATTRAT: libc::c_long = 466;
const FILE_GETATTR: libc::c_long = 468;
const FILE_SETATTR: libc::c_long = 469;

/// `struct xattr_args`, from `linux/xattr.h`.
#[repr(C, align(8))]
struct Attribute {
    value: *const u8,
    size: u32,
    flags: u32,
}

pub(in super::super) fn set_attribute_at(path: &CStr) -> io::Result<()> {
    let value = b"1";
    let attribute = Attribute {
        value: value.as_ptr(),
        size: 1,
        flags: 0,
    };
    // SAFETY: both names are C strings, the structure has the size given and its value the size that it says; all
    // outlive the call.
    simple(unsafe {
        libc::syscall(
            SETXATTRAT,
            libc::AT_FDCWD,
            path.as_ptr(),
            0,
            c"user.hostile".as_ptr(),
            &raw const attribute,
            size_of::<Attribute>(),
        )
    })
}

pub(in super::super) fn remove_attribute_at(path: &CStr) -> io::Result<()> {
    // SAFETY: both names are C strings that outlive the call.
    let answer = unsafe {
        libc::syscall(
            REMOVEXATTRAT,
            libc::AT_FDCWD,
            path.as_ptr(),
            0,
            c"user.hostile".as_ptr(),
        )
    };
    match Errno::result(answer) {
        // Let through to the file, which has none.
        Ok(_) | Err(Errno::ENODATA) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

/// Sets the flags that the file has.
pub(in super::super) fn set_flags_at(path: &CStr) -> io::Result<()> {
    // `struct file_attr` of the first version, 24 bytes, from `linux/fs.h`.
    let mut flags = [0_u64; 3];
    // SAFETY: the path is a C string; the kernel writes the size given, which the flags have. What it answers is of no
    // interest: where it is refused, 0 is as good.
    unsafe {
        libc::syscall(
            FILE_GETATTR,
            libc::AT_FDCWD,
            path.as_ptr(),
            flags.as_mut_ptr(),
            size_of_val(&flags),
            0,
        )
    };
    // SAFETY: as above, read.
    simple(unsafe {
        libc::syscall(
            FILE_SETATTR,
            libc::AT_FDCWD,
            path.as_ptr(),
            flags.as_ptr(),
            size_of_val(&flags),
            0,
        )
    })
}

pub(in super::super) fn list_attributes(path: &CStr) -> io::Result<()> {
    // SAFETY: the path is a C string; with a size of 0 nothing is written.
    simple(unsafe { libc::listxattr(path.as_ptr(), null_mut(), 0) } as libc::c_long)
}

/// `struct file_handle` with room for the largest one (MAX_HANDLE_SZ, 128).
#[repr(C)]
struct Handle {
    bytes: u32,
    kind: i32,
    handle: [u8; 128],
}

pub(in super::super) fn open_by_handle(path: &CStr) -> io::Result<()> {
    let mut handle = Handle {
        bytes: 128,
        kind: 0,
        handle: [0; 128],
    };
    let mut mount = 0;
    // SAFETY: the handle says its capacity and has it; `mount` is an int; `path` is a C string.
    let answer = unsafe {
        libc::syscall(
            libc::SYS_name_to_handle_at,
            libc::AT_FDCWD,
            path.as_ptr(),
            &raw mut handle,
            &raw mut mount,
            0,
        )
    };
    Errno::result(answer)?;
    // SAFETY: the handle is the one that the kernel has just filled in.
    let opened = unsafe {
        libc::syscall(
            libc::SYS_open_by_handle_at,
            libc::AT_FDCWD,
            &raw mut handle,
            libc::O_RDONLY | libc::O_CLOEXEC,
        )
    };
    let opened = Errno::result(opened)?;
    // SAFETY: the kernel has just made this descriptor for us.
    drop(unsafe { OwnedFd::from_raw_fd(opened as i32) });
    Ok(())
}

/// Both from `linux/fcntl.h`, absent from the C library's Rust names.
const F_SETSIG: i32 = 10;
const DN_MODIFY: i32 = 2;

/// Asks for a signal at every change in a folder; the signal is one that does nothing.
pub(in super::super) fn be_told(folder: &File) -> io::Result<()> {
    // SAFETY: takes numbers.
    let signal = unsafe { libc::fcntl(folder.as_raw_fd(), F_SETSIG, libc::SIGURG) };
    Errno::result(signal)?;
    // SAFETY: takes numbers; the notice ends with this descriptor.
    simple(unsafe { libc::fcntl(folder.as_raw_fd(), libc::F_NOTIFY, DN_MODIFY) }.into())
}

pub(in super::super) fn watch_all() -> io::Result<()> {
    // SAFETY: takes numbers. What it makes is a descriptor, which ends with this process.
    simple(unsafe { libc::syscall(libc::SYS_fanotify_init, 0, libc::O_RDONLY) })
}

const PAGE: usize = 4096;

/// Maps a file that it may read as code; nothing of it runs.
pub(in super::super) fn map_code(file: &File) -> io::Result<()> {
    // SAFETY: a fresh private mapping at a place of the kernel's choice, which nothing refers to and which is removed
    // below.
    let mapped = unsafe {
        libc::mmap(
            null_mut(),
            PAGE,
            libc::PROT_READ | libc::PROT_EXEC,
            libc::MAP_PRIVATE,
            file.as_raw_fd(),
            0,
        )
    };
    unmap(mapped, PAGE)
}

/// Memory that can be written and run.
pub(in super::super) fn map_both() -> io::Result<()> {
    // SAFETY: a fresh private mapping at a place of the kernel's choice, which nothing refers to and which is removed
    // below.
    let mapped = unsafe {
        libc::mmap(
            null_mut(),
            PAGE,
            libc::PROT_READ | libc::PROT_WRITE | libc::PROT_EXEC,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
            -1,
            0,
        )
    };
    unmap(mapped, PAGE)
}

/// Asks for memory and does not use it.
pub(in super::super) fn memory(bytes: usize) -> io::Result<()> {
    anonymous(bytes, libc::MAP_PRIVATE)
}

/// Memory that was writable, and stays whatever it holds when it is not any more: no count of what a process can write
/// has it. Nothing is written, so it costs nothing; it is asked for piece by piece, and all of it is given back.
pub(in super::super) fn memory_hidden(bytes: usize) -> io::Result<()> {
    const PIECE: usize = 256 << 20;
    let mut pieces = Vec::new();
    let mut refused = Ok(());
    while refused.is_ok() && pieces.len() * PIECE < bytes {
        match map_anonymous(PIECE, libc::MAP_PRIVATE) {
            Err(error) => refused = Err(error),
            Ok(piece) => {
                pieces.push(piece);
                // SAFETY: exactly what was mapped a moment ago, and nothing refers to it.
                refused = simple(unsafe { libc::mprotect(piece, PIECE, libc::PROT_READ) }.into());
            }
        }
    }
    pieces
        .into_iter()
        .map(|piece| unmap(piece, PIECE))
        .fold(refused, Result::and)
}

/// Addresses at which nothing lies and nothing can be written. To read there fills no memory but the kernel's tables.
pub(in super::super) fn addresses(bytes: usize) -> io::Result<()> {
    let how = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    // SAFETY: a fresh mapping at a place of the kernel's choice, which nothing refers to and which is removed below.
    let mapped = unsafe { libc::mmap(null_mut(), bytes, libc::PROT_READ, how, -1, 0) };
    unmap(mapped, bytes)
}

/// Memory that grows like a stack, and counts as one: not among what a process can write.
pub(in super::super) fn memory_as_stack() -> io::Result<()> {
    anonymous(PAGE, libc::MAP_PRIVATE | libc::MAP_GROWSDOWN)
}

/// Huge pages: no figure of what a process holds has them. Without a reserve none is taken before its use, and none is.
pub(in super::super) fn memory_huge() -> io::Result<()> {
    /// A multiple of the size that any machine's have.
    const LENGTH: usize = 1 << 30;
    let how = libc::MAP_PRIVATE | libc::MAP_HUGETLB | libc::MAP_NORESERVE;
    anonymous(LENGTH, how)
}

/// Makes more of memory that is there. It keeps its kind: more of a stack counts as one.
pub(in super::super) fn memory_moved() -> io::Result<()> {
    let page = map_anonymous(PAGE, libc::MAP_PRIVATE)?;
    // SAFETY: exactly what was mapped a moment ago, and nothing refers to it.
    let moved = unsafe { libc::mremap(page, PAGE, 2 * PAGE, libc::MREMAP_MAYMOVE) };
    if moved == libc::MAP_FAILED {
        let refused = io::Error::last_os_error();
        unmap(page, PAGE)?;
        return Err(refused);
    }
    unmap(moved, 2 * PAGE)
}

/// A rename for which the kernel leaves a device behind, and back. Overlays have none, and say EINVAL, as to a mistake.
pub(in super::super) fn whiteout(from: &str, to: &str) -> io::Result<()> {
    match renameat2(AT_FDCWD, from, AT_FDCWD, to, RenameFlags::RENAME_WHITEOUT) {
        Ok(()) => {
            std::fs::remove_file(from)?;
            std::fs::rename(to, from)
        }
        Err(Errno::EINVAL) if statfs(from)?.filesystem_type() == OVERLAYFS_SUPER_MAGIC => {
            Err(Errno::ENOSYS.into())
        }
        Err(errno) => Err(errno.into()),
    }
}

/// A page that is nobody's own, and so is in no count of a process's memory of its own.
pub(in super::super) fn memory_shared() -> io::Result<()> {
    anonymous(PAGE, libc::MAP_SHARED)
}

/// A file of memory that is out of the kernel's own reach, and in no figure of what a process holds.
pub(in super::super) fn memory_secret() -> io::Result<()> {
    // SAFETY: takes a number.
    let made = Errno::result(unsafe { libc::syscall(libc::SYS_memfd_secret, 0) })?;
    // SAFETY: the kernel has just made this descriptor for us.
    drop(unsafe { OwnedFd::from_raw_fd(made as i32) });
    Ok(())
}

fn anonymous(bytes: usize, how: i32) -> io::Result<()> {
    unmap(map_anonymous(bytes, how)?, bytes)
}

pub(super) fn map_anonymous(bytes: usize, how: i32) -> io::Result<*mut libc::c_void> {
    // SAFETY: a fresh mapping at a place of the kernel's choice, which nothing refers to.
    let mapped = unsafe {
        libc::mmap(
            null_mut(),
            bytes,
            libc::PROT_READ | libc::PROT_WRITE,
            how | libc::MAP_ANONYMOUS,
            -1,
            0,
        )
    };
    if mapped == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    Ok(mapped)
}

fn unmap(mapped: *mut libc::c_void, bytes: usize) -> io::Result<()> {
    if mapped == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: exactly what was mapped a moment ago, and nothing refers to it.
    simple(unsafe { libc::munmap(mapped, bytes) }.into())
}

/// Whether a terminal's calls get as far as something that is no terminal: it says ENOTTY. A pipe, because Landlock speaks
/// of devices that were opened in the cage, and a terminal may have been inherited.
pub(in super::super) fn terminal(request: libc::Ioctl) -> io::Result<()> {
    let (nothing, _end) = io::pipe()?;
    let byte = b' ';
    // SAFETY: the request reads one byte, which outlives the call; the pipe is no terminal, so it does not even do that.
    match Errno::result(unsafe { libc::ioctl(nothing.as_raw_fd(), request, &raw const byte) }) {
        Ok(_) | Err(Errno::ENOTTY) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}
