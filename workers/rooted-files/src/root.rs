//! [`Root`]: the handle everything starts from, and the walk along a path.

use std::{
    fs::File,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::Path,
    sync::Arc,
};

use nix::{
    errno::Errno,
    fcntl::{OFlag, open, openat},
    sys::stat::{Mode, SFlag},
};
// The other crate's `fstat` goes by a path that is empty, which the kernel copies and looks at for each call.
use rustix::fs::{AtFlags, Stat as FileStat, fstat, statat};

use crate::{FileError, Hide, Kind, RelPath, at_hand::Hand, list, names};

/// What a root leaves out or lets through.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// Open files that have more than one hard link. Off: such a file's other name may lie outside the root.
    pub allow_hard_links: bool,
    /// Treat every name that begins with a dot as absent, folders with all they hold.
    pub hide_dot_files: bool,
}

/// Which directory or file a handle holds, whatever it is called. Device numbers may change with a reboot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Identity {
    /// Device number.
    pub device: u64,
    /// Inode number.
    pub inode: u64,
}

/// An open directory below which paths are resolved. It stays the same directory even if it is renamed.
#[derive(Debug)]
pub struct Root {
    dir: OwnedFd,
    policy: Policy,
    hide: Option<Arc<dyn Hide>>,
    /// The folder that was last seen to take names that differ in case for different names.
    pub(crate) hand: Hand<RelPath>,
}

/// Opens a directory without following a link; harmless on anything else.
const DIRECTORY: OFlag = OFlag::O_RDONLY
    .union(OFlag::O_DIRECTORY)
    .union(OFlag::O_NOFOLLOW)
    .union(OFlag::O_CLOEXEC)
    .union(OFlag::O_NONBLOCK);

/// Opens a file without following a link, becoming a terminal's owner, or waiting for a FIFO's other end.
const FILE: OFlag = OFlag::O_RDONLY
    .union(OFlag::O_NOFOLLOW)
    .union(OFlag::O_CLOEXEC)
    .union(OFlag::O_NONBLOCK)
    .union(OFlag::O_NOCTTY);

impl Root {
    /// Opens the root. Links in `path` itself are the owner's and are followed.
    ///
    /// # Errors
    /// [`FileError::NotADirectory`], [`FileError::NotFound`], [`FileError::Permission`] or [`FileError::Io`], all
    /// naming the root as `.`.
    pub fn open(path: &Path, policy: Policy) -> Result<Self, FileError> {
        let flags = DIRECTORY.difference(OFlag::O_NOFOLLOW);
        match open(path, flags, Mode::empty()) {
            Ok(dir) => Ok(Self {
                hand: Hand::on(&dir),
                dir,
                policy,
                hide: None,
            }),
            Err(Errno::ENOTDIR) => Err(FileError::NotADirectory(RelPath::root())),
            Err(errno) => Err(FileError::from_errno(&RelPath::root(), errno)),
        }
    }

    /// The same root, with what `hide` says treated as absent.
    #[must_use]
    pub fn hiding(self, hide: Arc<dyn Hide>) -> Self {
        Self {
            hide: Some(hide),
            ..self
        }
    }

    /// Which directory this is.
    ///
    /// # Errors
    /// [`FileError::Io`] when the system does not say.
    pub fn identity(&self) -> Result<Identity, FileError> {
        identity_of(self.dir.as_fd(), &RelPath::root())
    }

    /// What was chosen when the root was opened.
    #[must_use]
    pub const fn policy(&self) -> Policy {
        self.policy
    }

    /// Whether `path` is a file or a folder.
    ///
    /// # Errors
    /// As [`Root::read`](Root::read), without the errors about content.
    pub fn kind(&self, path: &RelPath) -> Result<Kind, FileError> {
        let Some((parent, name)) = path.split_last() else {
            return Ok(Kind::Dir);
        };
        self.refuse_hidden(path)?;
        let dir = self.walk_to(&parent, path)?;
        let stat = stat_in(dir.as_fd(), name, path)?;
        match kind_of(&stat) {
            SFlag::S_IFDIR => Ok(Kind::Dir),
            SFlag::S_IFREG => Ok(Kind::File),
            other => Err(wrong_kind(other, path)),
        }
    }

    /// The path with every component spelled as its folder's listing spells it. Differs from `path` only where the file
    /// system folds case or normal forms; a path that does not exist comes back as it is from there on.
    ///
    /// # Errors
    /// As [`Root::kind`], except that what does not exist is no error. [`FileError::NotFound`] where only the folder's
    /// spelling says that it is hidden.
    pub fn spelling(&self, path: &RelPath) -> Result<RelPath, FileError> {
        // How a hidden name is really written would tell that it is there.
        if self.is_hidden(path) {
            return Ok(path.clone());
        }
        let mut spelled = RelPath::root();
        let mut dir = self.reopen(path)?;
        for component in path.components() {
            let name = match statat(&dir, component, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) => {
                    spelled_name(dir.as_fd(), component, path, || Ok(Identity::from(&stat)))?
                        .unwrap_or_else(|| component.to_owned())
                }
                Err(_) => component.to_owned(),
            };
            spelled = spelled.join(&name)?;
            match openat(&dir, component, DIRECTORY, Mode::empty()) {
                Ok(next) => dir = next,
                Err(_) => {
                    let rest: Vec<&str> = path
                        .components()
                        .skip(spelled.components().count())
                        .collect();
                    spelled = rest
                        .into_iter()
                        .try_fold(spelled, |base, name| base.join(name))?;
                    break;
                }
            }
        }
        self.refuse_spelling(path, &spelled)?;
        Ok(spelled)
    }

    /// Whether the owner hides something, which may have to be looked up.
    #[cfg(target_os = "linux")]
    pub(crate) const fn has_rules(&self) -> bool {
        self.hide.is_some()
    }

    /// The root's own handle: to resolve from, not to list.
    pub(crate) fn handle(&self) -> BorrowedFd<'_> {
        self.dir.as_fd()
    }

    /// A handle on the folder `path`. Errors name `asked`, the path of the call.
    pub(crate) fn walk_to(&self, path: &RelPath, asked: &RelPath) -> Result<OwnedFd, FileError> {
        self.refuse_hidden(path)?;
        let mut components = path.components();
        let mut dir = match components.next() {
            None => return self.reopen(asked),
            Some(first) => open_dir(self.handle(), first, asked)?,
        };
        for component in components {
            dir = open_dir(dir.as_fd(), component, asked)?;
        }
        Ok(dir)
    }

    /// A second handle on the root with a read position of its own.
    pub(crate) fn reopen(&self, asked: &RelPath) -> Result<OwnedFd, FileError> {
        openat(&self.dir, ".", DIRECTORY, Mode::empty())
            .map_err(|errno| FileError::from_errno(asked, errno))
    }

    /// Whether `path` is treated as absent, whatever is there.
    #[must_use]
    pub fn is_hidden(&self, path: &RelPath) -> bool {
        (self.policy.hide_dot_files && path.has_dot_component())
            || self
                .hide
                .as_ref()
                .is_some_and(|hide| hide.hides(self, path))
    }

    /// As [`Root::refuse_hidden`], by how the folders spell what `asked` found: they may fold what we do not know of.
    pub(crate) fn refuse_spelling(
        &self,
        asked: &RelPath,
        spelled: &RelPath,
    ) -> Result<(), FileError> {
        if spelled != asked && self.is_hidden(spelled) {
            return Err(FileError::NotFound(asked.clone()));
        }
        Ok(())
    }

    pub(crate) fn refuse_hidden(&self, path: &RelPath) -> Result<(), FileError> {
        if self.is_hidden(path) {
            return Err(FileError::NotFound(path.clone()));
        }
        Ok(())
    }
}

/// Opens the folder `name` in `dir`.
pub(crate) fn open_dir(
    dir: BorrowedFd<'_>,
    name: &str,
    asked: &RelPath,
) -> Result<OwnedFd, FileError> {
    match openat(dir, name, DIRECTORY, Mode::empty()) {
        Ok(next) => Ok(next),
        // Linux reports a link met with O_DIRECTORY as ENOTDIR, macOS as ELOOP.
        Err(Errno::ENOTDIR) => match kind_of(&stat_in(dir, name, asked)?) {
            SFlag::S_IFLNK => Err(FileError::Symlink(asked.clone())),
            _ if asked.name() == name => Err(FileError::NotADirectory(asked.clone())),
            _ => Err(FileError::NotFound(asked.clone())),
        },
        Err(errno) => Err(FileError::from_errno(asked, errno)),
    }
}

/// Opens the regular file `name` in `dir`, with what the handle says about it.
///
/// The look before opening keeps us from touching a device at all; the look afterwards is the one that counts.
pub(crate) fn open_file(
    dir: BorrowedFd<'_>,
    name: &str,
    asked: &RelPath,
    policy: Policy,
) -> Result<(File, FileStat), FileError> {
    open_seen_file(dir, name, asked, policy, &stat_in(dir, name, asked)?)
}

/// As [`open_file`], where the look before opening was `seen`.
pub(crate) fn open_seen_file(
    dir: BorrowedFd<'_>,
    name: &str,
    asked: &RelPath,
    policy: Policy,
    seen: &FileStat,
) -> Result<(File, FileStat), FileError> {
    accept_file(seen, asked, policy)?;
    let handle = match openat(dir, name, FILE, Mode::empty()) {
        Ok(handle) => handle,
        // Sockets, where one took the file's place since.
        Err(Errno::ENXIO | Errno::EOPNOTSUPP) => return Err(wrong_kind(SFlag::S_IFSOCK, asked)),
        Err(errno) => return Err(FileError::from_errno(asked, errno)),
    };
    let stat = stat_of(handle.as_fd(), asked)?;
    accept_file(&stat, asked, policy)?;
    Ok((File::from(handle), stat))
}

pub(crate) fn accept_file(
    stat: &FileStat,
    asked: &RelPath,
    policy: Policy,
) -> Result<(), FileError> {
    match kind_of(stat) {
        SFlag::S_IFREG if stat.st_nlink > 1 && !policy.allow_hard_links => {
            Err(FileError::HardLink(asked.clone()))
        }
        SFlag::S_IFREG if is_dataless(stat) => Err(FileError::NotDownloaded(asked.clone())),
        SFlag::S_IFREG => Ok(()),
        other => Err(wrong_kind(other, asked)),
    }
}

pub(crate) fn wrong_kind(kind: SFlag, asked: &RelPath) -> FileError {
    let what = match kind {
        SFlag::S_IFLNK => return FileError::Symlink(asked.clone()),
        SFlag::S_IFDIR => "a folder",
        SFlag::S_IFIFO => "a FIFO",
        SFlag::S_IFSOCK => "a socket",
        _ => "a device",
    };
    FileError::NotAFile {
        path: asked.clone(),
        what,
    }
}

/// Whether only a placeholder is on this disk (`SF_DATALESS`; macOS file providers such as iCloud Drive).
#[cfg(target_os = "macos")]
fn is_dataless(stat: &FileStat) -> bool {
    const SF_DATALESS: u32 = 0x4000_0000; // <sys/stat.h>
    stat.st_flags & SF_DATALESS != 0
}

#[cfg(not(target_os = "macos"))]
const fn is_dataless(_: &FileStat) -> bool {
    false
}

/// How the listing of `dir` spells the entry that `name` finds, if that may be otherwise: if `dir` finds `found` under a
/// different spelling too. Costs one call of the system where nothing folds.
pub(crate) fn spelled_name(
    dir: BorrowedFd<'_>,
    name: &str,
    asked: &RelPath,
    found: impl Fn() -> Result<Identity, FileError>,
) -> Result<Option<String>, FileError> {
    let is_same = |other: &str| -> Result<bool, FileError> {
        if other == name {
            return Ok(false);
        }
        match statat(dir, other, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Identity::from(&stat) == found()?),
            Err(_) => Ok(false),
        }
    };
    let flipped: String = name.chars().map(flip_case).collect();
    let folds = is_same(&flipped)?
        || (!name.is_ascii()
            && (is_same(&names::nfc(name))?
                || is_same(&names::nfd(name))?
                || is_same(&names::without_ignored(name))?));
    if folds {
        list::name_of_inode(dir, found()?, name, asked).map(Some)
    } else {
        Ok(None)
    }
}

/// The same letter in the other case, where that is one character.
pub(crate) fn flip_case(c: char) -> char {
    if c.is_ascii() {
        return if c.is_ascii_lowercase() {
            c.to_ascii_uppercase()
        } else {
            c.to_ascii_lowercase()
        };
    }
    let mut other = if c.is_lowercase() {
        c.to_uppercase().to_string()
    } else {
        c.to_lowercase().to_string()
    };
    match (other.pop(), other.is_empty()) {
        (Some(flipped), true) => flipped,
        _ => c,
    }
}

fn refused(asked: &RelPath, errno: rustix::io::Errno) -> FileError {
    FileError::from_errno(asked, Errno::from_raw(errno.raw_os_error()))
}

pub(crate) fn stat_in(
    dir: BorrowedFd<'_>,
    name: &str,
    asked: &RelPath,
) -> Result<FileStat, FileError> {
    statat(dir, name, AtFlags::SYMLINK_NOFOLLOW).map_err(|errno| refused(asked, errno))
}

pub(crate) fn stat_of(handle: BorrowedFd<'_>, asked: &RelPath) -> Result<FileStat, FileError> {
    fstat(handle).map_err(|errno| refused(asked, errno))
}

pub(crate) fn identity_of(handle: BorrowedFd<'_>, asked: &RelPath) -> Result<Identity, FileError> {
    Ok(Identity::from(&stat_of(handle, asked)?))
}

#[cfg_attr(
    target_os = "linux",
    expect(clippy::unnecessary_cast, reason = "the types differ on macOS")
)]
impl From<&FileStat> for Identity {
    fn from(stat: &FileStat) -> Self {
        Self {
            device: stat.st_dev as u64,
            inode: stat.st_ino,
        }
    }
}

pub(crate) const fn kind_of(stat: &FileStat) -> SFlag {
    SFlag::from_bits_truncate(stat.st_mode).intersection(SFlag::S_IFMT)
}
