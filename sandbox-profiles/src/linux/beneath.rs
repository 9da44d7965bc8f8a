//! Opening what lies beneath a folder, through no link, whatever a run has put there.

use std::fs::{Permissions, set_permissions};
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};
use nix::sys::stat::Mode;
use nix::unistd::mkfifoat;

/// How a folder is opened to be begun in alone.
pub(crate) const TO_BEGIN_IN: OFlag = OFlag::O_DIRECTORY
    .union(OFlag::O_PATH)
    .union(OFlag::O_CLOEXEC);

/// Opens what lies beneath a folder, and follows no link.
pub(crate) fn open(from: impl AsFd, path: &Path, flags: OFlag) -> nix::Result<OwnedFd> {
    let how = OpenHow::new()
        .flags(flags)
        .resolve(ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_SYMLINKS);
    openat2(from, path, how)
}

/// Gives the owner of a folder beneath `root` all rights to it.
pub(crate) fn open_up(root: &OwnedFd, path: &Path) -> io::Result<()> {
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let found = open(root, path, flags)?;
    let path = format!("/proc/self/fd/{}", found.as_raw_fd());
    set_permissions(path, Permissions::from_mode(0o700))
}

/// Makes a pipe with a name.
pub(crate) fn make_pipe(folder: impl AsFd, name: &str) -> nix::Result<()> {
    mkfifoat(folder, name, Mode::S_IRUSR | Mode::S_IWUSR)
}
