//! Files that hold a credential: read only where nobody else could have read or written them, written whole or not
//! at all.

use nix::{libc::O_NOFOLLOW, unistd::geteuid};
use plexus_protocol::state_dir::make_folder;
use std::{
    fs::{File, OpenOptions, Permissions},
    io::{self, Read, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};
use zeroize::Zeroizing;

/// More than any credential of ours, in bytes.
const MAX: u64 = 4096;

/// Why a private file is not used.
#[derive(Debug, thiserror::Error)]
pub enum Unusable {
    /// There is none.
    #[error("{0} does not exist")]
    Missing(PathBuf),
    /// It belongs to somebody else.
    #[error("{path} belongs to user {uid}, not to you")]
    Foreign {
        /// Which.
        path: PathBuf,
        /// Whose.
        uid: u32,
    },
    /// Others can read or write it.
    #[error("{path} has mode {mode:04o}: others can use it")]
    Open {
        /// Which.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// It is a link, a directory or a device.
    #[error("{0} is not a plain file or directory of its own")]
    Strange(PathBuf),
    /// The system refused.
    #[error("{path}: {error}")]
    Io {
        /// Which.
        path: PathBuf,
        /// What it said.
        error: io::Error,
    },
}

impl Unusable {
    fn io(path: &Path, error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::NotFound => Self::Missing(path.to_owned()),
            // What O_NOFOLLOW answers on a link.
            _ if error.raw_os_error() == Some(nix::libc::ELOOP) => Self::Strange(path.to_owned()),
            _ => Self::Io {
                path: path.to_owned(),
                error,
            },
        }
    }
}

/// Reads the text of a private file, without the white space at its end.
///
/// # Errors
/// [`Unusable`] unless it is a plain file of ours (not reached through a link) that nobody else may open.
pub fn read(path: &Path) -> Result<Zeroizing<String>, Unusable> {
    read_bounded(path, MAX)
}

/// Reads a private file that is no longer than `most` bytes, like [`read`].
///
/// # Errors
/// As [`read`].
pub fn read_bounded(path: &Path, most: u64) -> Result<Zeroizing<String>, Unusable> {
    let file = OpenOptions::new()
        .read(true)
        // A pipe put in its place would otherwise make us wait.
        .custom_flags(O_NOFOLLOW | nix::libc::O_NONBLOCK)
        .open(path)
        .map_err(|e| Unusable::io(path, e))?;
    let about = file.metadata().map_err(|e| Unusable::io(path, e))?;
    if !about.is_file() || about.len() > most {
        return Err(Unusable::Strange(path.to_owned()));
    }
    check_ours(path, about.uid(), about.mode())?;
    let mut text = Zeroizing::new(String::with_capacity(about.len() as usize));
    file.take(most)
        .read_to_string(&mut text)
        .map_err(|e| Unusable::io(path, e))?;
    let end = text.trim_end().len();
    text.truncate(end);
    Ok(text)
}

/// The user that this process acts as.
#[must_use]
pub fn uid() -> u32 {
    geteuid().as_raw()
}

fn check_ours(path: &Path, uid: u32, mode: u32) -> Result<(), Unusable> {
    if uid != geteuid().as_raw() {
        let path = path.to_owned();
        return Err(Unusable::Foreign { path, uid });
    }
    if mode & 0o077 != 0 {
        let path = path.to_owned();
        return Err(Unusable::Open {
            path,
            mode: mode & 0o7777,
        });
    }
    Ok(())
}

/// Makes `path` and what lies above it, for us alone; an existing one of ours is narrowed to 0700.
///
/// # Errors
/// [`Unusable`] where it is a link or belongs to somebody else.
pub fn make_dir(path: &Path) -> Result<(), Unusable> {
    make_folder(path, 0o700).map_err(|e| Unusable::io(path, e))?;
    let dir = open_dir(path)?;
    let about = dir.metadata().map_err(|e| Unusable::io(path, e))?;
    match check_ours(path, about.uid(), about.mode()) {
        Err(Unusable::Open { .. }) => dir
            .set_permissions(Permissions::from_mode(0o700))
            .map_err(|e| Unusable::io(path, e)),
        checked => checked,
    }
}

fn open_dir(path: &Path) -> Result<File, Unusable> {
    OpenOptions::new()
        .read(true)
        .custom_flags(O_NOFOLLOW | nix::libc::O_DIRECTORY)
        .open(path)
        .map_err(|e| match e.raw_os_error() {
            Some(nix::libc::ENOTDIR) => Unusable::Strange(path.to_owned()),
            _ => Unusable::io(path, e),
        })
}

/// A file that does not have its name yet. Made before a one-time code is spent, so that a full or read-only disk
/// costs nothing.
pub struct Unnamed {
    file: File,
    at: PathBuf,
    named: bool,
}

impl Unnamed {
    /// Makes an empty file of mode 0600 in `dir`, which [`make_dir`] made.
    ///
    /// # Errors
    /// [`Unusable::Io`].
    pub fn create(dir: &Path) -> Result<Self, Unusable> {
        let at = dir.join(format!(".{}.new", std::process::id()));
        let open = || {
            OpenOptions::new()
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(&at)
        };
        let file = match open() {
            // Left by a process of this number that was killed: ours, and without a name that anybody reads.
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
                std::fs::remove_file(&at).and_then(|()| open())
            }
            opened => opened,
        };
        match file {
            Ok(file) => Ok(Self {
                file,
                at,
                named: false,
            }),
            Err(e) => Err(Unusable::io(dir, e)),
        }
    }

    /// Writes `text` and gives the file its name in the same directory, at once and durably. A file of that name is
    /// replaced; a link of that name is replaced and not followed.
    ///
    /// # Errors
    /// [`Unusable::Io`]; then no file of that name was changed.
    pub fn name(mut self, name: &str, text: &str) -> Result<PathBuf, Unusable> {
        let dir = self.at.parent().unwrap_or(Path::new(".")).to_owned();
        let path = dir.join(name);
        let mut write = || {
            self.file.write_all(text.as_bytes())?;
            self.file.sync_all()?;
            std::fs::rename(&self.at, &path)?;
            self.named = true;
            File::open(&dir)?.sync_all()
        };
        write().map_err(|e| Unusable::io(&path, e))?;
        Ok(path)
    }
}

impl Drop for Unnamed {
    fn drop(&mut self) {
        if !self.named {
            // Nothing is in it; a leftover is harmless.
            let _ = std::fs::remove_file(&self.at);
        }
    }
}

#[cfg(test)]
mod bounds;

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn mode(path: &Path) -> u32 {
        std::fs::symlink_metadata(path).unwrap().mode() & 0o7777
    }

    fn written(dir: &Path, name: &str, text: &str) -> PathBuf {
        Unnamed::create(dir).unwrap().name(name, text).unwrap()
    }

    #[test]
    fn what_is_written_is_private_and_can_be_read() {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("home/agents");
        make_dir(&dir).unwrap();
        for dir in [&dir, &root.path().join("home")] {
            assert_eq!(mode(dir), 0o700);
        }
        let path = written(&dir, "a.pat", "secret\n");
        assert_eq!(mode(&path), 0o600);
        assert_eq!(*read(&path).unwrap(), "secret");
        let again = written(&dir, "a.pat", "newer\n");
        assert_eq!(*read(&again).unwrap(), "newer");
        drop(Unnamed::create(&dir).unwrap());
        let left = std::fs::read_dir(&dir).unwrap();
        assert_eq!(left.count(), 1, "nothing is left behind");
    }

    #[test]
    fn what_others_could_use_is_refused() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("key");
        std::fs::write(&path, "secret").unwrap();
        std::fs::set_permissions(&path, Permissions::from_mode(0o640)).unwrap();
        let open = read(&path);
        assert!(matches!(open, Err(Unusable::Open { mode: 0o640, .. })));
        std::fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        assert_eq!(*read(&path).unwrap(), "secret");

        let link = root.path().join("link");
        symlink(&path, &link).unwrap();
        assert!(matches!(read(&link), Err(Unusable::Strange(_))));
        assert!(matches!(read(root.path()), Err(Unusable::Strange(_))));
        let none = read(&root.path().join("none"));
        assert!(matches!(none, Err(Unusable::Missing(_))));
        std::fs::write(&path, "x".repeat(5000)).unwrap();
        assert!(matches!(read(&path), Err(Unusable::Strange(_))));
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn credential_survives_a_power_cut() {
        let file = |top: &Path| top.join("home/agents/a.pat");
        let write = |top: &Path, text: &str| {
            let dir = top.join("home/agents");
            make_dir(&dir).unwrap();
            written(&dir, "a.pat", text);
        };
        let done = |top: &Path| read(&file(top)).is_ok_and(|text| *text == "new");
        let act = |disk: &plexus_power_cut::Disk, ()| write(&disk.path(), "new");
        plexus_power_cut::holds(|_| (), act, done, &[]);
        plexus_power_cut::holds(|top| write(top, "old"), act, done, &[]);
    }

    /// Root gives away what is its own; anybody else finds enough of root's.
    #[test]
    fn what_another_user_owns_is_refused() {
        let root = tempfile::tempdir().unwrap();
        let (mut file, mut folder) = (root.path().join("key"), root.path().join("agents"));
        std::fs::write(&file, "secret").unwrap();
        std::fs::set_permissions(&file, Permissions::from_mode(0o600)).unwrap();
        make_dir(&folder).unwrap();
        assert_eq!(*read(&file).unwrap(), "secret", "the control");
        if geteuid().is_root() {
            for theirs in [&file, &folder] {
                std::os::unix::fs::chown(theirs, Some(65534), None).unwrap();
            }
        } else {
            (file, folder) = ("/etc/passwd".into(), "/etc".into());
        }
        let foreign = |refused: &Unusable, of: &Path| {
            let is = matches!(refused, Unusable::Foreign { path, .. } if path == of);
            assert!(is, "{refused}");
        };
        foreign(&read(&file).unwrap_err(), &file);
        let before = mode(&folder);
        foreign(&make_dir(&folder).unwrap_err(), &folder);
        assert_eq!(mode(&folder), before);
    }

    #[test]
    fn a_link_in_the_way_is_not_followed() {
        let root = tempfile::tempdir().unwrap();
        let (dir, victim) = (root.path().join("agents"), root.path().join("victim"));
        make_dir(&dir).unwrap();
        std::fs::write(&victim, "untouched").unwrap();
        symlink(&victim, dir.join("a.pat")).unwrap();
        written(&dir, "a.pat", "secret");
        assert_eq!(std::fs::read_to_string(&victim).unwrap(), "untouched");
        assert_eq!(*read(&dir.join("a.pat")).unwrap(), "secret");

        let linked = root.path().join("linked");
        symlink(&dir, &linked).unwrap();
        assert!(matches!(make_dir(&linked), Err(Unusable::Strange(_))));
        std::fs::set_permissions(&dir, Permissions::from_mode(0o755)).unwrap();
        make_dir(&dir).unwrap();
        assert_eq!(mode(&dir), 0o700, "our own directory is narrowed");
    }
}
