//! Modes and times by path, which Landlock does not see: of what the profile lets the program write, and of nothing else.
//!
//! ```text
//! path, descriptor ─▶ open as the caller would (a handle, no access) ─▶ its name now ─▶ below a granted tree?
//!                 ─▶ opened once more beneath that tree, through no link ─▶ changed by that handle
//! ```
//! The first handle only gives a name; what is changed lies beneath a tree, whoever moves or links what meanwhile.
//!
//! Invariant: no mode is set that lets others act with the owner's rights or write the owner's files.

use std::ffi::OsStr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use libc::c_long;
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag, OpenHow, ResolveFlag, openat2, readlink};

use super::super::CageError;
use super::super::agent::FCHMODAT2;
use super::super::os::notify::{self, Listener, Notice, Times};
use crate::ruleset::{Extent, PathGrant, Ruleset};

/// The calls that are decided here.
#[cfg(target_arch = "x86_64")]
pub(super) const CALLS: [c_long; 4] = [
    libc::SYS_fchmodat,
    FCHMODAT2,
    libc::SYS_utimensat,
    libc::SYS_chmod,
];
#[cfg(not(target_arch = "x86_64"))]
pub(super) const CALLS: [c_long; 3] = [libc::SYS_fchmodat, FCHMODAT2, libc::SYS_utimensat];

/// Bits that no caged program may set: to act as the owner, and for others to write.
const NEVER: u64 = (libc::S_ISUID | libc::S_ISGID | libc::S_IWOTH) as u64;

/// How often a file that is being replaced is looked for once more.
const TRIES: u32 = 8;

/// What a profile lets be written, held open.
#[derive(Debug, Default)]
pub(super) struct Trees(Vec<(PathBuf, Extent, OwnedFd)>);

impl Trees {
    pub(super) fn of(ruleset: &Ruleset) -> Result<Self, CageError> {
        let held = ruleset
            .writes
            .iter()
            .filter_map(|grant| match super::super::files::open_grant(grant) {
                Ok(handle) => handle.map(|handle| Ok((grant, handle))),
                Err(error) => Some(Err(error)),
            });
        let held = held.map(|held| {
            held.map(|(PathGrant { path, extent, .. }, handle)| (path.clone(), *extent, handle))
        });
        Ok(Self(held.collect::<Result<_, _>>()?))
    }

    /// A handle to what has this name, reached beneath the tree that holds it and through no link.
    fn open(&self, name: &Path, follow: OFlag) -> nix::Result<OwnedFd> {
        for (path, extent, tree) in &self.0 {
            let Ok(below) = name.strip_prefix(path) else {
                continue;
            };
            if below.as_os_str().is_empty() {
                return tree.try_clone().map_err(|_| Errno::EMFILE);
            }
            if *extent == Extent::Subtree {
                // Without following, a link at the end is what is meant.
                let resolve = ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_SYMLINKS;
                return handle(tree.as_fd(), below, follow, resolve);
            }
        }
        Err(Errno::EPERM)
    }
}

/// What one call wants changed.
enum Change {
    Mode(u32),
    Times(Times),
}

/// Does what was asked for, where the profile grants it.
pub(super) fn change(listener: &Listener<'_>, trees: &Trees, notice: &Notice) -> nix::Result<()> {
    let [first, second, third, fourth, ..] = notice.arguments;
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

/// A handle that says which file is meant and gives no access to it.
fn handle(
    from: BorrowedFd<'_>,
    path: &Path,
    more: OFlag,
    resolve: ResolveFlag,
) -> nix::Result<OwnedFd> {
    let how = OpenHow::new()
        .flags(OFlag::O_PATH | OFlag::O_CLOEXEC | more)
        .resolve(resolve);
    openat2(from, path, how)
}
