//! What a profile lets a program write, held open: the places where it may change more of a file than its content.
//!
//! Invariant: a name is looked for beneath what lay at a tree's path when the monitor began, through no link.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, OpenHow, ResolveFlag, fcntl, openat2, readlink};
use nix::sys::stat::fstat;

use super::super::CageError;
use super::super::files::open_grant;
use crate::ruleset::{Extent, PathGrant, Ruleset};

/// How often a file that is being replaced is looked for once more.
pub(super) const TRIES: u32 = 8;

/// The places, each with its path and a handle.
#[derive(Debug)]
pub(super) struct Trees(Vec<(PathBuf, Extent, OwnedFd)>);

impl Trees {
    pub(super) fn of(ruleset: &Ruleset) -> Result<Self, CageError> {
        let held = ruleset
            .writes
            .iter()
            .filter_map(|grant| match open_grant(grant) {
                Ok(handle) => handle.map(|handle| Ok((grant, handle))),
                Err(error) => Some(Err(error)),
            });
        let held = held.map(|held| {
            held.map(|(PathGrant { path, extent, .. }, handle)| (path.clone(), *extent, handle))
        });
        Ok(Self(held.collect::<Result<_, _>>()?))
    }

    /// A handle to what has this name, reached beneath the tree that holds it and through no link.
    pub(super) fn open(&self, name: &Path, follow: OFlag) -> nix::Result<OwnedFd> {
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

    /// Whether an open file lies in one of the places now. One that has lost its last name does where it is open to write:
    /// nothing is, that was opened elsewhere.
    pub(super) fn hold(&self, file: &OwnedFd) -> nix::Result<bool> {
        let own = fstat(file)?;
        if own.st_nlink == 0 {
            let flags = OFlag::from_bits_retain(fcntl(file, FcntlArg::F_GETFL)?);
            return Ok(flags.intersects(OFlag::O_WRONLY | OFlag::O_RDWR));
        }
        let magic = format!("/proc/self/fd/{}", file.as_raw_fd());
        for _ in 0..TRIES {
            let name = readlink(magic.as_str())?;
            match self.open(Path::new(&name), OFlag::O_NOFOLLOW) {
                Ok(found) => {
                    let found = fstat(&found)?;
                    if (found.st_dev, found.st_ino) == (own.st_dev, own.st_ino) {
                        return Ok(true);
                    }
                }
                // It was moved or replaced between the two looks.
                Err(Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP) => {}
                Err(Errno::EPERM) => return Ok(false),
                Err(errno) => return Err(errno),
            }
        }
        Ok(false)
    }
}

/// A handle that says which file is meant and gives no access to it.
pub(super) fn handle(
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
