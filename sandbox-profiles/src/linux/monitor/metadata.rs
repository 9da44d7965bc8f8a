//! Modes and times, which Landlock does not see: of what the profile lets the program write, and of nothing else.
//!
//! ```text
//! path       ─▶ open as the caller would (a handle, no access) ─▶ its name now ─▶ below a granted tree?
//!           ─▶ opened once more beneath that tree, through no link ─▶ changed by that handle
//! descriptor ─▶ the caller's open file itself, taken once ─▶ in a granted tree? ─▶ changed by that descriptor
//! ```
//! The first handle only gives a name; what is changed lies beneath a tree, also if a program moves or links files meanwhile. A
//! descriptor that was opened to read is enough for the kernel, so the place decides and not what it was opened for.
//!
//! Invariant: no mode is set that lets others act with the owner's rights or write the owner's files.

use std::ffi::OsStr;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use libc::c_long;
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag, ResolveFlag, readlink};
use nix::sys::stat::{Mode, fchmod};

use super::super::agent::FCHMODAT2;
use super::super::os::notify::{self, Listener, Notice, Times};
use super::open_file;
use super::trees::{TRIES, Trees, handle};

/// The calls that are decided here.
pub(super) const CALLS: &[c_long] = &[
    libc::SYS_fchmod,
    libc::SYS_fchmodat,
    FCHMODAT2,
    libc::SYS_utimensat,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_chmod,
];

/// Bits that no caged program may set: to act as the owner, and for others to write.
const NEVER: u64 = (libc::S_ISUID | libc::S_ISGID | libc::S_IWOTH) as u64;

/// What one call wants changed.
enum Change {
    Mode(u32),
    Times(Times),
}

/// Does what was asked for, where the profile grants it.
pub(super) fn change(listener: &Listener<'_>, trees: &Trees, notice: &Notice) -> nix::Result<()> {
    let [first, second, third, fourth, ..] = notice.arguments;
    if notice.call == libc::SYS_fchmod {
        let change = mode(second)?;
        return change_open(listener, trees, notice, &change);
    }
    if notice.call == libc::SYS_utimensat && second == 0 {
        if fourth as i32 != 0 {
            return Err(Errno::EINVAL);
        }
        let change = Change::Times(notify::read_times(notice.thread, third)?);
        return change_open(listener, trees, notice, &change);
    }
    let (descriptor, path, change, flags) = match notice.call {
        libc::SYS_utimensat => {
            let times = notify::read_times(notice.thread, third)?;
            (first as i32, second, Change::Times(times), fourth as i32)
        }
        libc::SYS_fchmodat => (first as i32, second, mode(third)?, 0),
        FCHMODAT2 => (first as i32, second, mode(third)?, fourth as i32),
        // chmod, which only some machines have.
        _ => (libc::AT_FDCWD, first, mode(second)?, 0),
    };
    if flags & !(libc::AT_SYMLINK_NOFOLLOW | libc::AT_EMPTY_PATH) != 0 {
        return Err(Errno::EINVAL);
    }
    let path = notify::read_path(notice.thread, path)?;
    let mut tries = 0..TRIES;
    let meant = loop {
        let named = resolve(notice.thread, descriptor, OsStr::from_bytes(&path), flags)?;
        match trees.open(&named, follow(flags)) {
            // What had the name has lost it between the two looks: somebody replaces the file.
            Err(Errno::ENOENT | Errno::ELOOP) if tries.next().is_some() => {}
            opened => break opened?,
        }
    };
    if !listener.is_waiting(notice) {
        return Err(Errno::ESRCH);
    }
    match change {
        Change::Mode(mode) => notify::set_mode(&meant, mode),
        Change::Times(times) => notify::set_times(&meant, &times),
    }
}

/// Changes what the descriptor in the first argument is open on.
fn change_open(
    listener: &Listener<'_>,
    trees: &Trees,
    notice: &Notice,
    change: &Change,
) -> nix::Result<()> {
    let file = open_file(notice)?;
    if !trees.hold(&file)? {
        return Err(Errno::EPERM);
    }
    if !listener.is_waiting(notice) {
        return Err(Errno::ESRCH);
    }
    match change {
        Change::Mode(mode) => fchmod(&file, Mode::from_bits_truncate(*mode)),
        Change::Times(times) => notify::set_times(&file, times),
    }
}

fn mode(bits: u64) -> nix::Result<Change> {
    if bits & NEVER == 0 {
        Ok(Change::Mode(bits as u32))
    } else {
        Err(Errno::EPERM)
    }
}

/// What a caller means, by the name that it has now.
fn resolve(thread: i32, descriptor: i32, path: &OsStr, flags: i32) -> nix::Result<PathBuf> {
    // A C library without a call of its own for it names a descriptor by a path.
    let by_number = Path::new(path)
        .strip_prefix("/proc/self/fd")
        .ok()
        .and_then(|number| number.to_str()?.parse().ok());
    let (base, path) = match by_number {
        Some(number) => (base_of(thread, number)?, OsStr::new("")),
        None => (base_of(thread, descriptor)?, path),
    };
    let meant = if path.is_empty() {
        if by_number.is_none() && flags & libc::AT_EMPTY_PATH == 0 {
            return Err(Errno::ENOENT);
        }
        base
    } else {
        let magic = ResolveFlag::RESOLVE_NO_MAGICLINKS;
        handle(base.as_fd(), Path::new(path), follow(flags), magic)?
    };
    let name = readlink(format!("/proc/self/fd/{}", meant.as_raw_fd()).as_str())?;
    Ok(PathBuf::from(name))
}

fn follow(flags: i32) -> OFlag {
    if flags & libc::AT_SYMLINK_NOFOLLOW == 0 {
        OFlag::empty()
    } else {
        OFlag::O_NOFOLLOW
    }
}

/// The folder that a relative path begins at, or what a descriptor is open on.
fn base_of(thread: i32, descriptor: i32) -> nix::Result<OwnedFd> {
    let magic = if descriptor == libc::AT_FDCWD {
        format!("/proc/{thread}/cwd")
    } else {
        format!("/proc/{thread}/fd/{descriptor}")
    };
    let opened = handle(
        AT_FDCWD,
        Path::new(&magic),
        OFlag::empty(),
        ResolveFlag::empty(),
    );
    opened.map_err(|errno| match errno {
        Errno::ENOENT => Errno::EBADF,
        other => other,
    })
}
