//! Digests of files that are run.
//!
//! Invariants: a file is read again when its inode, size or times have changed; one of more than [`MOST_BYTES`] is not read, and
//! a pipe or a device is not opened to wait for.
//!
//! Must not know: who runs a file.

use nix::fcntl::OFlag;
use plexus_protocol::Digest;
use sha2::{Digest as _, Sha256};
use std::{
    collections::HashMap,
    fs::{File, Metadata},
    io::{self, Read as _},
    os::unix::fs::{MetadataExt, OpenOptionsExt as _},
    path::Path,
    sync::{LazyLock, Mutex, PoisonError},
};

/// Digests by what changes with a file's content.
static KNOWN: LazyLock<Mutex<HashMap<Identity, Digest>>> = LazyLock::new(Mutex::default);

/// Largest file that is read, in bytes: the largest program that people lend has a quarter of it.
pub(crate) const MOST_BYTES: u64 = 1 << 30;

/// Files whose digests are kept.
const KEPT: usize = 64;

type Identity = (u64, u64, u64, (i64, i64), (i64, i64));

fn identity(about: &Metadata) -> Identity {
    let modified = (about.mtime(), about.mtime_nsec());
    let changed = (about.ctime(), about.ctime_nsec());
    (about.dev(), about.ino(), about.size(), modified, changed)
}

/// SHA-256 of a file's content. Reads the whole file, unless it was read before.
///
/// # Errors
/// The system's; a path that is no file.
pub(crate) fn digest(path: &Path) -> io::Result<Digest> {
    let (mut file, key) = opened(path)?;
    let known = || KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    let found = known().get(&key).copied();
    match found {
        Some(digest) => Ok(digest),
        None => {
            let digest = read(&mut file, key)?;
            let mut known = known();
            if known.len() >= KEPT {
                known.clear();
            }
            known.insert(key, digest);
            Ok(digest)
        }
    }
}

/// The same, of a file that is not asked for again.
pub(crate) fn content(path: &Path) -> io::Result<Digest> {
    let (mut file, key) = opened(path)?;
    read(&mut file, key)
}

fn opened(path: &Path) -> io::Result<(File, Identity)> {
    let file = open(path)?;
    let about = file.metadata()?;
    if about.len() > MOST_BYTES {
        let why = "it has more than 1 GiB, and no program that large is read";
        return Err(io::Error::other(why));
    }
    Ok((file, identity(&about)))
}

/// Opens a file, without a wait for the other end of what is none.
///
/// # Errors
/// The system's; a path that is no file.
pub(crate) fn open(path: &Path) -> io::Result<File> {
    let mut options = File::options();
    let file = options
        .read(true)
        .custom_flags(OFlag::O_NONBLOCK.bits())
        .open(path)?;
    match file.metadata()?.is_file() {
        true => Ok(file),
        false => Err(io::Error::other("it is no file")),
    }
}

fn read(file: &mut File, key: Identity) -> io::Result<Digest> {
    let mut hasher = Sha256::new();
    let mut part = vec![0; 256 * 1024];
    loop {
        match file.read(&mut part)? {
            0 => break,
            read => hasher.update(&part[..read]),
        }
    }
    // Written meanwhile: what was read is no version of it.
    match identity(&file.metadata()?) == key {
        true => Ok(Digest(hasher.finalize().into())),
        false => Err(io::Error::other("it is being written")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::{sys::stat::Mode, unistd::mkfifo};

    #[test]
    fn large_file_and_pipe_are_not_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        File::create(path("large"))
            .unwrap()
            .set_len(MOST_BYTES + 1)
            .unwrap();
        let why = digest(&path("large")).unwrap_err().to_string();
        assert!(why.contains("more than 1 GiB"), "{why}");
        mkfifo(&path("pipe"), Mode::S_IRWXU).unwrap();
        let why = digest(&path("pipe")).unwrap_err().to_string();
        assert!(why.contains("no file"), "{why}");
        std::fs::write(path("small"), "x").unwrap();
        assert_eq!(
            digest(&path("small")).unwrap(),
            Digest::of(b"x"),
            "the control"
        );
    }
}
