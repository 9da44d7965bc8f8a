//! Digests of files that are run.
//!
//! Invariant: a file is read again when its inode, size or times have changed.
//!
//! Must not know: who runs a file.

use plexus_protocol::Digest;
use sha2::{Digest as _, Sha256};
use std::{
    collections::HashMap,
    fs::{File, Metadata},
    io::{self, Read as _},
    os::unix::fs::MetadataExt,
    path::Path,
    sync::{LazyLock, Mutex, PoisonError},
};

/// Digests by what changes with a file's content.
static KNOWN: LazyLock<Mutex<HashMap<Identity, Digest>>> = LazyLock::new(Mutex::default);

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
///
/// # Errors
/// As those of [`digest`].
pub(crate) fn content(path: &Path) -> io::Result<Digest> {
    let (mut file, key) = opened(path)?;
    read(&mut file, key)
}

fn opened(path: &Path) -> io::Result<(File, Identity)> {
    let file = File::open(path)?;
    let about = file.metadata()?;
    match about.is_file() {
        true => Ok((file, identity(&about))),
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
