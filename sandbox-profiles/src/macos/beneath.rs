//! Opening what lies beneath a folder, through no link, whatever a run has put there.
//!
//! Type-checked alone; no Mac has run it.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Component, Path};

use nix::errno::Errno;
use nix::fcntl::{OFlag, openat};
use nix::sys::stat::{FchmodatFlags, Mode, fchmod, fchmodat};

/// How a folder is opened to be begun in alone.
pub(crate) const TO_BEGIN_IN: OFlag = OFlag::O_DIRECTORY.union(OFlag::O_CLOEXEC);

/// Opens what lies beneath a folder, and follows no link.
pub(crate) fn open(from: impl AsFd, path: &Path, flags: OFlag) -> nix::Result<OwnedFd> {
    let stays = |part| matches!(part, Component::Normal(_) | Component::CurDir);
    if !path.components().all(stays) {
        return Err(Errno::EXDEV);
    }
    // Of any part of the path, and so of the last: both together may be refused.
    let flags = flags.difference(OFlag::O_NOFOLLOW);
    let flags = flags | OFlag::from_bits_retain(libc::O_NOFOLLOW_ANY);
    openat(from, path, flags, Mode::empty())
}

/// Gives the owner of a folder beneath `root` all rights to it.
pub(crate) fn open_up(root: &OwnedFd, path: &Path) -> io::Result<()> {
    let (Some(above), Some(name)) = (path.parent(), path.file_name()) else {
        return Ok(fchmod(root, Mode::S_IRWXU)?);
    };
    let above = match above.as_os_str().is_empty() {
        true => root.try_clone()?,
        false => open(root, above, TO_BEGIN_IN)?,
    };
    let flags = FchmodatFlags::NoFollowSymlink;
    Ok(fchmodat(&above, name, Mode::S_IRWXU, flags)?)
}

/// Makes a pipe with a name.
pub(crate) fn make_pipe(folder: impl AsFd, name: &str) -> nix::Result<()> {
    super::os::make_pipe(folder, name)
}
