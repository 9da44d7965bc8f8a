//! Files of a worker's own that are on the disk when a call returns, with each folder that leads to them.
//!
//! Invariant: a file is whole or as it was before, whenever the power goes. Must not know: what is in it.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
};

/// Has `path` hold `bytes`, 0600, with its folder made where it is missing; a file beside it that ends in `new` goes.
///
/// # Errors
/// The system's. What was there is there, or the new content.
pub fn put(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let folder = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    make_folder(folder)?;
    write_beside(path, bytes)?;
    let folder = File::open(folder)?;
    fs::rename(path.with_extension("new"), path)?;
    folder.sync_all()
}

/// The first half of [`put`]: the content is on the disk, beside `path`.
///
/// # Errors
/// The system's. Nothing was changed.
pub fn write_beside(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut options = OpenOptions::new();
    let options = options.write(true).create(true).truncate(true).mode(0o600);
    let mut file = options.open(path.with_extension("new"))?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// Makes a folder and what leads to it, 0700, on the disk.
///
/// # Errors
/// The system's.
pub fn make_folder(path: &Path) -> io::Result<()> {
    plexus_protocol::state_dir::make_folder(path, 0o700)
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn file_and_its_folders_survive_a_power_cut() {
        let done = |top: &Path| fs::read(top.join("a/b/file")).is_ok_and(|bytes| bytes == b"new");
        let act = |top: &Path| put(&top.join("a/b/file"), b"new").unwrap();
        plexus_power_cut::holds(|_| (), |disk, ()| act(&disk.path()), done, &[]);
        let before = |top: &Path| put(&top.join("a/b/file"), b"old").unwrap();
        plexus_power_cut::holds(before, |disk, ()| act(&disk.path()), done, &[]);
    }
}
