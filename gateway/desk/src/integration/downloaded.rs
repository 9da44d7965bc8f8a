//! A file that many fetch at once, in memory once.
//!
//! Invariants: all who are given the same file share its bytes, however slowly they take them; when the last has them,
//! nothing stays; a file that was replaced is read anew, and who began with the old one gets all of that.
//!
//! Must not know: what the file is, who fetches it.

use bytes::Bytes;
use std::{
    fs::File,
    io::{self, Read as _},
    os::unix::fs::MetadataExt as _,
    path::Path,
    sync::{Arc, Mutex, PoisonError, Weak},
};

/// See the module.
pub(super) struct Downloaded(Mutex<Option<(Version, Weak<Content>)>>);

/// Which content of a path it is: another one has another.
#[derive(PartialEq, Eq)]
struct Version {
    device: u64,
    inode: u64,
    length: u64,
    /// Seconds and nanoseconds.
    changed: (i64, i64),
}

struct Content(Vec<u8>);

/// One share of the content, as the owner that [`Bytes`] wants.
struct Share(Arc<Content>);

impl AsRef<[u8]> for Share {
    fn as_ref(&self) -> &[u8] {
        &self.0.0
    }
}

impl Downloaded {
    pub(super) const fn nothing() -> Self {
        Self(Mutex::new(None))
    }

    /// The content of the file at `path`. Blocks; of those who ask at once, one reads.
    ///
    /// # Errors
    /// The system's.
    pub(super) fn read(&self, path: &Path) -> io::Result<Bytes> {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut file = File::open(path)?;
        let about = file.metadata()?;
        let version = Version {
            device: about.dev(),
            inode: about.ino(),
            length: about.len(),
            changed: (about.ctime(), about.ctime_nsec()),
        };
        if let Some((of, content)) = &*held
            && *of == version
            && let Some(content) = content.upgrade()
        {
            return Ok(Bytes::from_owner(Share(content)));
        }
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        let content = Arc::new(Content(bytes));
        *held = Some((version, Arc::downgrade(&content)));
        Ok(Bytes::from_owner(Share(content)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn all_share_one_copy_and_none_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("program");
        let downloaded = Downloaded::nothing();
        assert!(downloaded.read(&path).is_err());
        fs::write(&path, "one").unwrap();
        let (first, second) = (
            downloaded.read(&path).unwrap(),
            downloaded.read(&path).unwrap(),
        );
        assert_eq!((first.as_ptr(), &*first), (second.as_ptr(), &b"one"[..]));

        // An upgrade puts another in its place.
        fs::write(folder.path().join("new"), "two").unwrap();
        fs::rename(folder.path().join("new"), &path).unwrap();
        let third = downloaded.read(&path).unwrap();
        assert_eq!((&*first, &*third), (&b"one"[..], &b"two"[..]));

        drop((first, second));
        let stays = |downloaded: &Downloaded| {
            let held = downloaded.0.lock().unwrap();
            let (_, content) = held.as_ref().unwrap();
            content.upgrade().is_some()
        };
        assert!(stays(&downloaded));
        drop(third);
        assert!(!stays(&downloaded), "nobody fetches it");
        assert_eq!(&*downloaded.read(&path).unwrap(), b"two");
    }
}
