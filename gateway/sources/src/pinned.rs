//! Digests of folders of code: one SHA-256 over the names, links and contents of all that lies in one.
//!
//! Invariants: no link is followed, and where it leads is part of the digest; a folder of more than `MOST_ENTRIES` entries
//! or `MOST_BYTES` has no digest.
//!
//! Must not know: what runs from it.

use crate::programs;
use plexus_protocol::Digest;
use sha2::{Digest as _, Sha256};
use std::{
    collections::{BTreeMap, HashMap},
    ffi::{OsStr, OsString},
    fs, io,
    os::unix::{ffi::OsStrExt as _, fs::MetadataExt as _},
    path::{Path, PathBuf},
    sync::{LazyLock, Mutex, PoisonError},
};

/// Entries of a folder, at every depth.
const MOST_ENTRIES: usize = 50_000;
/// Bytes of its files.
const MOST_BYTES: u64 = 512 << 20;
/// Folders whose digests are kept.
const KEPT: usize = 64;

/// Digests of contents, by that of what changes with them: inodes, sizes, times.
static KNOWN: LazyLock<Mutex<HashMap<Digest, Digest>>> = LazyLock::new(Mutex::default);

/// One SHA-256 over all of a folder. Reads all of it, unless it was read before.
///
/// # Errors
/// The system's; a folder that is too large, or changes while it is read.
pub(crate) fn digest(folder: &Path) -> io::Result<Digest> {
    let key = identity(folder)?;
    let known = || KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(digest) = known().get(&key).copied() {
        return Ok(digest);
    }
    let mut hasher = Sha256::new();
    for (name, about) in tree(folder)? {
        let path = || folder.join(&name);
        let (kind, content) = match about.file_type() {
            kind if kind.is_dir() => (b'd', Digest::of(b"")),
            kind if kind.is_symlink() => {
                let to = fs::read_link(path())?;
                (b'l', Digest::of(to.as_os_str().as_bytes()))
            }
            _ if about.mode() & 0o111 == 0 => (b'f', programs::content(&path())?),
            _ => (b'x', programs::content(&path())?),
        };
        hasher.update((name.len() as u64).to_le_bytes());
        hasher.update(name.as_bytes());
        hasher.update([kind]);
        hasher.update(content.0);
    }
    if identity(folder)? != key {
        return Err(io::Error::other("it is being written"));
    }
    let digest = Digest(hasher.finalize().into());
    let mut known = known();
    if known.len() >= KEPT {
        known.clear();
    }
    known.insert(key, digest);
    Ok(digest)
}

/// All that lies in a folder, by its path below it.
fn tree(folder: &Path) -> io::Result<BTreeMap<OsString, fs::Metadata>> {
    let mut tree = BTreeMap::new();
    walk(folder, |below, name, about| {
        tree.insert(below.join(name).into_os_string(), about.clone());
    })?;
    Ok(tree)
}

/// What changes with anything that lies in a folder. Each call of a source that runs it costs this, so it keeps no name:
/// in a folder that nobody changes, the system lists names in the same order again, and another order is another key.
fn identity(folder: &Path) -> io::Result<Digest> {
    let mut hasher = Sha256::new();
    walk(folder, |below, name, about| {
        for path in [below.as_os_str(), name] {
            hasher.update((path.len() as u64).to_le_bytes());
            hasher.update(path.as_bytes());
        }
        for number in [
            about.dev(),
            about.ino(),
            about.size(),
            u64::from(about.mode()),
        ] {
            hasher.update(number.to_le_bytes());
        }
        for number in [
            about.mtime(),
            about.mtime_nsec(),
            about.ctime(),
            about.ctime_nsec(),
        ] {
            hasher.update(number.to_le_bytes());
        }
    })?;
    Ok(Digest(hasher.finalize().into()))
}

/// Gives all that lies in a folder: the path of its own folder below that one, its name, what the system says of it.
fn walk(folder: &Path, mut each: impl FnMut(&Path, &OsStr, &fs::Metadata)) -> io::Result<()> {
    let (mut folders, mut entries, mut bytes) = (vec![PathBuf::new()], 0, 0);
    while let Some(below) = folders.pop() {
        for entry in fs::read_dir(folder.join(&below))? {
            let entry = entry?;
            let (name, about) = (entry.file_name(), entry.metadata()?);
            let kind = about.file_type();
            if !(kind.is_dir() || kind.is_symlink() || kind.is_file()) {
                return Err(io::Error::other("something in it is no file"));
            }
            entries += 1;
            bytes += about.size();
            if entries > MOST_ENTRIES || bytes > MOST_BYTES {
                let why = "it holds more than 50,000 files or 512 MiB: name the folder of the server alone";
                return Err(io::Error::other(why));
            }
            each(&below, &name, &about);
            if kind.is_dir() {
                folders.push(below.join(name));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_change_of_a_file_is_another_folder() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        fs::create_dir(path.join("lib")).unwrap();
        fs::write(path.join("lib/a.js"), "one").unwrap();
        let first = digest(path).unwrap();
        assert_eq!(digest(path).unwrap(), first, "the control");
        fs::write(path.join("lib/a.js"), "two").unwrap();
        let second = digest(path).unwrap();
        assert_ne!(second, first);
        fs::write(path.join("lib/a.js"), "one").unwrap();
        assert_eq!(
            digest(path).unwrap(),
            first,
            "contents count, and not times"
        );
        for (what, change) in [
            (
                "new",
                &(|| fs::write(path.join("b"), "").unwrap()) as &dyn Fn(),
            ),
            ("link", &|| {
                std::os::unix::fs::symlink("/etc", path.join("l")).unwrap();
            }),
            ("gone", &|| fs::remove_file(path.join("lib/a.js")).unwrap()),
        ] {
            let before = digest(path).unwrap();
            change();
            assert_ne!(digest(path).unwrap(), before, "{what}");
        }
    }
}
