//! Making what others would run or could write, by each call that makes a file.

use std::fs::{File, metadata, remove_file};
use std::io;
use std::os::unix::fs::MetadataExt;

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag, OpenHow, open, openat2};
use nix::sys::stat::{Mode, SFlag, mknod};

use crate::{Arguments, silent};

/// What an act's file must have, or it counts as refused.
const SET_ID: Mode = Mode::S_ISUID;

pub(super) fn act(arguments: Arguments<'_>) -> Option<io::Result<String>> {
    match arguments {
        ["make-set-id", by, path] => silent(make(by, path, SET_ID | Mode::S_IRWXU)),
        ["make-for-all", by, path] => {
            crate::os::mask_no_modes();
            silent(make(by, path, Mode::S_IRWXU | Mode::S_IWOTH))
        }
        ["mask"] => Some(Ok(format!("{:03o}", crate::os::mask()))),
        _ => None,
    }
}

fn make(by: &str, path: &str, mode: Mode) -> io::Result<()> {
    let flags = OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_WRONLY | OFlag::O_CLOEXEC;
    match by {
        "open" => drop(open(path, flags, mode)?),
        "openat2" => drop(openat2(
            AT_FDCWD,
            path,
            OpenHow::new().flags(flags).mode(mode),
        )?),
        "mknod" => mknod(path, SFlag::S_IFREG, mode, 0)?,
        // One without a name, which gets one.
        "unnamed" => {
            let folder = path.rsplit_once('/').map_or(".", |(folder, _)| folder);
            let flags = OFlag::O_TMPFILE | OFlag::O_WRONLY | OFlag::O_CLOEXEC;
            let file = File::from(open(folder, flags, mode)?);
            return has(file.metadata()?.mode(), mode);
        }
        _ => return Err(io::Error::other(format!("no such way: {by}"))),
    }
    let made = has(metadata(path)?.mode(), mode);
    remove_file(path)?;
    made
}

fn has(made: u32, wanted: Mode) -> io::Result<()> {
    match made & wanted.bits() == wanted.bits() {
        true => Ok(()),
        false => Err(Errno::EPERM.into()),
    }
}
