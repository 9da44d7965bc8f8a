//! Making and opening what lies beneath a folder, through no link, whatever a run has put there.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::stat::{Mode, mkdirat};

use crate::platform::beneath::open;

/// Opens a folder, and makes it where there is nothing; anything else in its place is an error.
pub(super) fn make_folder(from: impl AsFd, name: &str) -> io::Result<File> {
    match mkdirat(from.as_fd(), name, Mode::S_IRWXU) {
        Ok(()) | Err(Errno::EEXIST) => {}
        Err(errno) => return Err(errno.into()),
    }
    let flags = OFlag::O_DIRECTORY | OFlag::O_RDONLY | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW;
    Ok(open(from, name.as_ref(), flags)?.into())
}
