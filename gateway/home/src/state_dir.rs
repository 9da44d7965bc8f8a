//! The state directory: `~/.plexus`, the owner's alone.
//!
//! Invariants: the directory and its named entries belong to us and are 0700 or 0600; wrong modes are repaired without
//! following links; foreign ownership and links are refused. Nobody else's files are touched.

use nix::{
    fcntl::{OFlag, open},
    sys::stat::{Mode, SFlag, fchmod, fstat},
    unistd::geteuid,
};
use plexus_protocol::state_dir::{FILES, FOLDERS, make_folder};
use std::{
    fs,
    io::{self, Write},
    os::unix::{
        ffi::OsStrExt,
        fs::{DirBuilderExt, OpenOptionsExt},
    },
    path::{Path, PathBuf},
};

/// What the names of files begin with while they are written.
const TEMPORARY: &str = ".plexus-";

/// The directory, checked.
#[derive(Clone, Debug)]
pub struct StateDir {
    path: PathBuf,
}

/// Says that only a change by the owner will help.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Lasting(pub String);

/// Why the state directory cannot be used.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "each message describes its variant")]
pub enum StateDirError {
    #[error("no home directory: set PLEXUS_HOME or pass --home DIR")]
    NoHome,
    #[error("{path}: {error}")]
    Io { path: PathBuf, error: io::Error },
    #[error(
        "{path} belongs to another user (uid {uid}): refusing to trust it; choose another --home"
    )]
    Foreign { path: PathBuf, uid: u32 },
    #[error("{path} is not a {wanted}: refusing to follow it; move it away")]
    Shape { path: PathBuf, wanted: &'static str },
}

impl StateDir {
    /// Opens the directory, making it and its parts where they are missing.
    pub fn open(home: Option<PathBuf>) -> Result<Self, StateDirError> {
        let path = Self::place(home)?;
        // The state directory itself may be reached through a link of the owner's; what is in it may not be one.
        let path = path.canonicalize().unwrap_or(path);
        make_private(&path)?;
        let path = path.canonicalize().map_err(|error| io_at(&path, error))?;
        make_parts(&path)?;
        for name in FILES {
            let file = path.join(name);
            if file.symlink_metadata().is_ok() {
                repair(&file, SFlag::S_IFREG, "plain file", 0o600)?;
            }
        }
        Ok(Self { path })
    }

    /// The directory that a daemon serves from: found, and otherwise left as it is.
    pub fn as_it_is(home: Option<PathBuf>) -> Result<Self, StateDirError> {
        let path = Self::place(home)?;
        match path.canonicalize() {
            Ok(path) => Ok(Self { path }),
            Err(error) => Err(StateDirError::Io { path, error }),
        }
    }

    /// Where the state directory is, if it is: the one that is named, else `~/.plexus`.
    pub fn place(named: Option<PathBuf>) -> Result<PathBuf, StateDirError> {
        let home = || std::env::var_os("HOME").filter(|home| !home.is_empty());
        named
            .or_else(|| Some(PathBuf::from(home()?).join(".plexus")))
            .ok_or(StateDirError::NoHome)
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The path of an entry in it.
    pub fn join(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Removes the temporary files that writes of an earlier process left behind when it was killed: they hold content.
    /// For the one process that holds the ledger.
    pub fn remove_leftovers(&self) {
        for folder in ["", "pending", "secrets", "extensions"] {
            let entries = fs::read_dir(self.join(folder)).into_iter().flatten();
            for entry in entries.flatten() {
                if !entry
                    .file_name()
                    .as_bytes()
                    .starts_with(TEMPORARY.as_bytes())
                {
                    continue;
                }
                if let Err(error) = fs::remove_file(entry.path()) {
                    tracing::warn!(name: "home.leftover", path = %entry.path().display(), %error, "a temporary file of an earlier process cannot be removed");
                }
            }
        }
    }

    /// Writes a file whole or not at all, 0600, durable with its directory.
    pub fn write_private(&self, name: &str, content: &[u8]) -> io::Result<()> {
        write_private(&self.join(name), content)
    }
}

/// Writes a file whole or not at all, 0600, durable with its directory.
pub fn write_private(path: &Path, content: &[u8]) -> io::Result<()> {
    let dir = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    let mut file = tempfile::Builder::new()
        .prefix(TEMPORARY)
        .tempfile_in(dir)?;
    file.write_all(content)?;
    file.as_file().sync_all()?;
    file.persist(path).map_err(|e| e.error)?;
    fs::File::open(dir)?.sync_all()
}

/// Creates a 0600 file that must not exist yet, durable with its directory.
pub fn create_private(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::File::open(path.parent().ok_or(io::ErrorKind::InvalidInput)?)?.sync_all()
}

/// Removes a file for good: a power cut does not bring it back. Whether it was there.
pub fn remove(path: &Path) -> io::Result<bool> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        removed => removed?,
    }
    fs::File::open(path.parent().ok_or(io::ErrorKind::InvalidInput)?)?.sync_all()?;
    Ok(true)
}

fn make_private(path: &Path) -> Result<(), StateDirError> {
    make_folder(path, 0o700).map_err(|error| io_at(path, error))?;
    repair(path, SFlag::S_IFDIR, "directory", 0o700)
}

/// Makes the folders that are missing in `home`; their names are on the disk when this returns, by one wait for it, also where
/// a later one is refused. What lies in `run` serves one process, and waits for no disk.
fn make_parts(home: &Path) -> Result<(), StateDirError> {
    let mut is_any_new = false;
    let made = FOLDERS.iter().try_for_each(|name| {
        let path = home.join(name);
        match fs::DirBuilder::new().mode(0o700).create(&path) {
            Ok(()) => is_any_new = true,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(io_at(&path, error)),
        }
        repair(&path, SFlag::S_IFDIR, "directory", 0o700)
    });
    if is_any_new {
        let synced = fs::File::open(home).and_then(|home| home.sync_all());
        synced.map_err(|error| io_at(home, error))?;
    }
    made
}

fn io_at(path: &Path, error: io::Error) -> StateDirError {
    StateDirError::Io {
        path: path.to_owned(),
        error,
    }
}

/// Checks owner and shape through a handle that follows no link, and sets the mode there.
fn repair(path: &Path, kind: SFlag, wanted: &'static str, mode: u32) -> Result<(), StateDirError> {
    let io = |errno: nix::Error| io_at(path, errno.into());
    let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
    let handle = match open(path, flags, Mode::empty()) {
        Err(nix::Error::ELOOP) => {
            return Err(StateDirError::Shape {
                path: path.to_owned(),
                wanted,
            });
        }
        other => other.map_err(io)?,
    };
    let stat = fstat(&handle).map_err(io)?;
    if stat.st_mode & SFlag::S_IFMT.bits() != kind.bits() {
        return Err(StateDirError::Shape {
            path: path.to_owned(),
            wanted,
        });
    }
    if stat.st_uid != geteuid().as_raw() {
        return Err(StateDirError::Foreign {
            path: path.to_owned(),
            uid: stat.st_uid,
        });
    }
    let bits = Mode::from_bits_truncate(mode as nix::libc::mode_t);
    if stat.st_mode & 0o7777 != bits.bits() {
        tracing::warn!(name: "home.mode_repaired", path = %path.display(), "repaired the mode");
        fchmod(&handle, bits).map_err(io)?;
    }
    Ok(())
}

/// Names the running boot of this machine; empty where the system has no such name, which then compares as equal.
pub fn boot_id() -> String {
    #[cfg(target_os = "linux")]
    let id = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    // macOS has no boot id that a plain read gives: the device number then counts always, which errs on asking again.
    #[cfg(not(target_os = "linux"))]
    let id = String::new();
    id.trim().to_owned()
}

/// The id of the file system that `path` lies on, where it is derived from the UUID that was written when the file system
/// was made (ext, btrfs); 0 elsewhere: other ids are device numbers, which another boot changes.
pub fn file_system_id(path: &Path) -> u64 {
    #[cfg(target_os = "linux")]
    {
        use nix::sys::{statfs, statvfs};
        let is_uuid = statfs::statfs(path).is_ok_and(|found| {
            let kind = found.filesystem_type();
            kind == statfs::EXT4_SUPER_MAGIC || kind == statfs::BTRFS_SUPER_MAGIC
        });
        // The id has the width of a C long.
        #[allow(clippy::useless_conversion, reason = "not on every machine")]
        let id = || statvfs::statvfs(path).map_or(0, |found| found.filesystem_id().into());
        if is_uuid { id() } else { 0 }
    }
    #[cfg(not(target_os = "linux"))]
    {
        let _ = path;
        0
    }
}

/// A name below `secrets/` (docs/protocol/owner.md#secrets).
pub fn secret_name(name: &str) -> bool {
    let plain = |c: char| !matches!(c, '/' | '\\' | '\0') && !c.is_control();
    !name.is_empty()
        && name.len() <= 128
        && !name.starts_with('.')
        && !name.contains("..")
        && !name.contains(':')
        && name.chars().all(plain)
}

#[cfg(test)]
mod bounds;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leftovers_of_a_killed_write_are_removed() {
        let outer = tempfile::tempdir().unwrap();
        let home = StateDir::open(Some(outer.path().join("home"))).unwrap();
        home.write_private("secrets/mail", b"kept").unwrap();
        let left = [".plexus-a1b2", "pending/.plexus-c3", "secrets/.plexus-d4"];
        for name in left {
            fs::write(home.join(name), "content").unwrap();
        }
        home.remove_leftovers();
        for name in left {
            assert!(!home.join(name).exists(), "{name}");
        }
        assert!(home.join("secrets/mail").exists(), "the control");
    }
    use std::os::unix::fs::{PermissionsExt, symlink};

    /// `stat` says of which kind a file system is, and whether two folders lie on one.
    #[test]
    #[cfg(target_os = "linux")]
    fn only_an_id_that_a_boot_keeps_counts() {
        let stat = |path: &Path| {
            let mut stat = std::process::Command::new("stat");
            let said = stat.args(["-f", "-c", "%T %i"]).arg(path).output().unwrap();
            String::from_utf8(said.stdout).unwrap().trim().to_owned()
        };
        let outer = tempfile::tempdir().unwrap();
        let inner = outer.path().join("inner");
        fs::create_dir(&inner).unwrap();
        assert_eq!(stat(outer.path()), stat(&inner), "one file system");
        assert_eq!(file_system_id(outer.path()), file_system_id(&inner));
        for path in [outer.path(), Path::new("/"), Path::new("/proc")] {
            let said = stat(path);
            let is_kept = said.starts_with("ext2/ext3 ") || said.starts_with("btrfs ");
            assert_eq!(file_system_id(path) != 0, is_kept, "{path:?} is {said}");
        }
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn what_is_written_survives_a_power_cut() {
        use plexus_power_cut::{Disk, holds};
        let file = |top: &Path| top.join("above/home/secrets/mail");
        let is = |top: &Path, text: &str| fs::read_to_string(file(top)).is_ok_and(|t| t == text);
        let make = |top: &Path| StateDir::open(Some(top.join("above/home"))).unwrap();
        let put = |top: &Path| make(top).write_private("secrets/mail", b"new").unwrap();
        // The first start and the first secret: the folders above, those in the home, the file and its name.
        let done = |top: &Path| is(top, "new");
        holds(|_| (), |disk, ()| put(&disk.path()), done, &[]);
        // Another one over it.
        let before = |top: &Path| make(top).write_private("secrets/mail", b"old").unwrap();
        holds(before, |disk, ()| put(&disk.path()), done, &[]);
        let gone = |top: &Path| !file(top).exists();
        let removal = |disk: &Disk, ()| assert!(remove(&file(&disk.path())).unwrap());
        holds(before, removal, gone, &[]);
        let create = |disk: &Disk, ()| create_private(&file(&disk.path()), b"new").unwrap();
        holds(|top| drop(make(top)), create, done, &[]);
    }

    /// Root gives away what is its own; anybody else finds enough of root's.
    #[test]
    fn what_another_user_owns_is_refused_and_left_as_it_is() {
        let outer = tempfile::tempdir().unwrap();
        let home = outer.path().join("home");
        StateDir::open(Some(home.clone())).expect("the control");
        let mut entries = vec![PathBuf::from("/etc")];
        if geteuid().is_root() {
            fs::write(home.join("connection-key"), "theirs").unwrap();
            entries = ["connection-key", "secrets", ""]
                .map(|name| home.join(name))
                .into();
        }
        for entry in entries {
            let given = match entry.starts_with(&home) {
                true => home.clone(),
                false => entry.clone(),
            };
            if given == home {
                std::os::unix::fs::chown(&entry, Some(65534), None).unwrap();
                fs::set_permissions(&entry, fs::Permissions::from_mode(0o755)).unwrap();
            }
            let refused = StateDir::open(Some(given.clone())).unwrap_err();
            let StateDirError::Foreign { path, .. } = &refused else {
                panic!("{}: {refused}", entry.display())
            };
            assert_eq!(path.join(""), entry.join(""));
            let mode = fs::metadata(&entry).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o755);
            if given == home {
                std::os::unix::fs::chown(&entry, Some(0), None).unwrap();
                StateDir::open(Some(given)).expect("ours again");
            }
        }
    }

    #[test]
    fn a_link_inside_is_not_followed_and_the_home_may_be_one() {
        let outer = tempfile::tempdir().unwrap();
        let [home, link, elsewhere] =
            ["home", "link", "elsewhere"].map(|name| outer.path().join(name));
        fs::create_dir(&home).unwrap();
        fs::create_dir(&elsewhere).unwrap();
        fs::set_permissions(&elsewhere, fs::Permissions::from_mode(0o755)).unwrap();
        symlink(&home, &link).unwrap();
        StateDir::open(Some(link.clone())).expect("the home itself");
        fs::remove_dir(home.join("secrets")).unwrap();
        symlink(&elsewhere, home.join("secrets")).unwrap();
        let refused = StateDir::open(Some(link)).unwrap_err();
        assert!(matches!(refused, StateDirError::Shape { .. }), "{refused}");
        let mode = fs::metadata(&elsewhere).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o755);
    }
}
