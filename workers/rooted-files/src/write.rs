//! Putting new content in a [`WriteTarget`], all or nothing.
//!
//! ```text
//! locate, compare ─▶ missing folders made ─▶ temporary file: written, synced ─▶ last look ─▶ rename ─▶ folder synced
//!       │ differs              │ taken meanwhile                                  │ differs
//!       ▼                      ▼                                                  ▼
//!     Moved ◀──────────────────┴── our folders and temporary file removed ◀───────┘
//! ```
//! Invariants: the file's name leads to the old content or to all of the new; nothing is opened for writing but a file
//! this module created exclusively a moment ago; a name that is swapped for a link is replaced, never written through.
//!
//! Residual: a program that rewrites the file between the last look and the rename, some microseconds, loses what it
//! wrote. Owner, access lists and extended attributes of a replaced file are not kept; permission bits are.

use std::{
    fs::File,
    io::Write,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    sync::{
        PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
    time::SystemTime,
};

use serde::{Deserialize, Serialize};

use nix::{
    errno::Errno,
    fcntl::{AtFlags, Flock, FlockArg, OFlag, openat, renameat},
    sys::stat::{Mode, mkdirat, umask},
    unistd::{UnlinkatFlags, fsync, linkat, unlinkat},
};

use rustix::{
    fs::{RenameFlags, renameat_with},
    io::Errno as Refused,
};

use crate::{
    FileError, Meta, RelPath, Root, WalkBounds, WriteError, WriteTarget,
    read::is_unchanged,
    root::{Identity, identity_of, open_dir, stat_in, stat_of},
};

/// Permission bits a replaced file keeps.
const KEPT_MODE: u32 = 0o775;
const PREFIX: &str = ".plexus-";
const SUFFIX: &str = ".tmp";

/// Whether `name` is one that this crate gives its temporary files: `.plexus-`, hex digits and dashes, `.tmp`.
#[must_use]
pub fn is_leftover_name(name: &str) -> bool {
    // Compared without case, because a file system may.
    let name = name.to_ascii_lowercase();
    name.strip_prefix(PREFIX)
        .and_then(|rest| rest.strip_suffix(SUFFIX))
        .is_some_and(|id| !id.is_empty() && id.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-'))
}

/// A change that is ready and not yet visible: what tells later whether it became so.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ready {
    /// The name beside the file that holds the new content, or that a removed file gets for a moment.
    pub temporary: RelPath,
    /// The inode of the new content, or of the file that goes.
    pub inode: u64,
    /// How many folders on the way were made for it.
    pub folders: usize,
}

/// `name` in the folder of `path`.
fn sibling(path: &RelPath, name: &str) -> Result<RelPath, FileError> {
    let (parent, _) = path.split_last().unwrap_or_default();
    Ok(parent.join(name)?)
}

impl Root {
    /// Writes `content` to the place if it still is as `planned` saw it; a missing file and missing folders are
    /// created, a present file is replaced and keeps its permission bits, except those that would lend the owner's rights
    /// to others: set-id, sticky, and writable by everybody.
    ///
    /// # Errors
    /// [`WriteError::Moved`] and [`WriteError::Before`]: nothing was done. [`WriteError::Unconfirmed`]: done.
    pub fn put(&self, planned: &WriteTarget, content: &[u8]) -> Result<Meta, WriteError> {
        self.put_noting(planned, content, |_| Ok(()))
    }

    /// As [`Root::put`]; a user who may read the file may execute it afterwards, or nobody may.
    ///
    /// # Errors
    /// As [`Root::put`].
    pub fn put_marked(
        &self,
        planned: &WriteTarget,
        content: &[u8],
        executable: bool,
    ) -> Result<Meta, WriteError> {
        self.put_as(planned, content, Some(executable), |_| Ok(()))
    }

    /// As [`Root::put`]; `note` is told what is about to happen when all is ready and nothing visible is done yet. Where
    /// it fails, nothing is done. What it was told lets [`Root::happened`] say later whether the rename took place.
    ///
    /// # Errors
    /// As [`Root::put`]; an error of `note` is a [`WriteError::Before`].
    pub fn put_noting(
        &self,
        planned: &WriteTarget,
        content: &[u8],
        note: impl FnOnce(&Ready) -> Result<(), FileError>,
    ) -> Result<Meta, WriteError> {
        self.put_as(planned, content, None, note)
    }

    fn put_as(
        &self,
        planned: &WriteTarget,
        content: &[u8],
        executable: Option<bool>,
        note: impl FnOnce(&Ready) -> Result<(), FileError>,
    ) -> Result<Meta, WriteError> {
        let path = planned.path();
        let (now, dir) = self
            .locate(path)
            .map_err(|error| moved_or_failed(path, error))?;
        compare(planned, &now)?;
        let mut folders = NewFolders {
            made: Vec::new(),
            innermost: dir,
        };
        let (parent, name) = path.split_last().unwrap_or_default();
        for component in parent.components().skip(now.folder.components().count()) {
            folders.make(component, path)?;
        }
        let result = self.replace_within(&now, &folders, name, (content, executable), note);
        if !matches!(result, Ok(_) | Err(WriteError::Unconfirmed(_))) {
            folders.remove();
        }
        result
    }

    fn replace_within(
        &self,
        now: &WriteTarget,
        folders: &NewFolders,
        name: &str,
        content: (&[u8], Option<bool>),
        note: impl FnOnce(&Ready) -> Result<(), FileError>,
    ) -> Result<Meta, WriteError> {
        let path = now.path();
        let dir = folders.innermost.as_fd();
        let temporary = Temporary::create(dir, now, content).map_err(WriteError::Before)?;
        let stat = stat_of(temporary.file.as_fd(), path).map_err(WriteError::Before)?;
        let ready = Ready {
            temporary: sibling(path, &temporary.name).map_err(WriteError::Before)?,
            inode: Identity::from(&stat).inode,
            folders: folders.made.len(),
        };
        note(&ready).map_err(WriteError::Before)?;
        self.last_look(now, folders, name)?;
        match &now.current {
            Some(_) => {
                renameat(dir, temporary.name.as_str(), dir, name).map_err(NotRenamed::Nothing)
            }
            None => rename_to_unused(dir, &temporary.name, name),
        }
        .map_err(|not| match not {
            NotRenamed::Nothing(Errno::EEXIST | Errno::ENOTEMPTY | Errno::EISDIR) => moved(path),
            NotRenamed::Nothing(errno) => WriteError::Before(FileError::from_errno(path, errno)),
            // It is there. The temporary name is tried once more when it is dropped.
            NotRenamed::Doubled(errno) => {
                WriteError::Unconfirmed(FileError::from_errno(path, errno))
            }
        })?;
        temporary.keep();
        folders.sync(path).map_err(WriteError::Unconfirmed)?;
        Ok(Meta::from(&stat))
    }

    /// Removes the file at the place if it still is as `planned` saw it, and then as many of the folders above it as
    /// `folders` says, innermost first, as far as they are empty. `note` is told before anything visible is done.
    ///
    /// The file first gets a name of our own, so that what is removed is what was compared.
    ///
    /// # Errors
    /// As [`Root::put_noting`]; a place without a file is [`WriteError::Moved`].
    pub fn remove_noting(
        &self,
        planned: &WriteTarget,
        folders: usize,
        note: impl FnOnce(&Ready) -> Result<(), FileError>,
    ) -> Result<(), WriteError> {
        let path = planned.path();
        let (now, dir) = self
            .locate(path)
            .map_err(|error| moved_or_failed(path, error))?;
        compare(planned, &now)?;
        let Some(current) = &now.current else {
            return Err(moved(path));
        };
        let (parent, name) = path.split_last().unwrap_or_default();
        let held = NewFolders {
            made: Vec::new(),
            innermost: dir,
        };
        let aside = unused_name();
        let ready = Ready {
            temporary: sibling(path, &aside).map_err(WriteError::Before)?,
            inode: Identity::from(&current.stat).inode,
            folders: 0,
        };
        note(&ready).map_err(WriteError::Before)?;
        self.last_look(&now, &held, name)?;
        let dir = held.innermost.as_fd();
        rename_to_unused(dir, name, &aside).map_err(|not| {
            let (NotRenamed::Nothing(errno) | NotRenamed::Doubled(errno)) = not;
            if matches!(not, NotRenamed::Doubled(_)) {
                let _ = unlinkat(dir, aside.as_str(), UnlinkatFlags::NoRemoveDir);
            }
            WriteError::Before(FileError::from_errno(path, errno))
        })?;
        let is_it = stat_in(dir, &aside, path)
            .is_ok_and(|stat| Identity::from(&stat) == Identity::from(&current.stat));
        if !is_it {
            let _ = rename_to_unused(dir, &aside, name);
            return Err(moved(path));
        }
        unlinkat(dir, aside.as_str(), UnlinkatFlags::NoRemoveDir)
            .and_then(|()| fsync(dir))
            .map_err(|errno| WriteError::Unconfirmed(FileError::from_errno(path, errno)))?;
        self.remove_empty(&parent, folders);
        Ok(())
    }

    /// Removes `folder` and those above it, `count` in all, as far as they are empty.
    fn remove_empty(&self, folder: &RelPath, count: usize) {
        let mut folder = folder.clone();
        for _ in 0..count {
            let Some((above, name)) = folder.split_last() else {
                return;
            };
            let gone = self
                .walk_to(&above, &folder)
                .ok()
                .and_then(|dir| unlinkat(&dir, name, UnlinkatFlags::RemoveDir).ok());
            if gone.is_none() {
                return;
            }
            folder = above;
        }
    }

    /// Whether what `ready` announced at `path` took place, from what is there. To be asked before
    /// [`Root::remove_leftovers`]. `before` is the inode that was there, `removal` whether the file was to go. A file that a
    /// kill left under both names keeps its own alone: with two it would be refused as a hard link.
    #[must_use]
    pub fn happened(
        &self,
        path: &RelPath,
        ready: &Ready,
        before: Option<u64>,
        removal: bool,
    ) -> Option<bool> {
        let inode_at = |path: &RelPath| -> Result<Option<u64>, FileError> {
            let (parent, name) = path.split_last().unwrap_or_default();
            let found = self
                .walk_to(&parent, path)
                .and_then(|dir| stat_in(dir.as_fd(), name, path));
            match found {
                Ok(stat) => Ok(Some(Identity::from(&stat).inode)),
                Err(FileError::NotFound(_)) => Ok(None),
                Err(error) => Err(error),
            }
        };
        let (aside, there) = (inode_at(&ready.temporary).ok()?, inode_at(path).ok()?);
        if aside == Some(ready.inode) && there == aside {
            self.remove_own_name(&ready.temporary);
            return Some(!removal);
        }
        if removal {
            return match (aside, there) {
                // Its name is gone; that its content still has one of ours is for the sweep.
                (Some(aside), None) if aside == ready.inode => Some(true),
                (None, Some(there)) if there == ready.inode => Some(false),
                _ => None,
            };
        }
        match (aside, there) {
            (Some(aside), _) if aside == ready.inode => Some(false),
            (None, Some(there)) if there == ready.inode => Some(true),
            // A rename would have put another file there.
            (None, Some(there)) if Some(there) == before => Some(false),
            _ => None,
        }
    }

    /// Takes a temporary name of ours from a file that has another; where that fails, it is for the sweep.
    fn remove_own_name(&self, temporary: &RelPath) {
        let (parent, name) = temporary.split_last().unwrap_or_default();
        if is_leftover_name(name)
            && let Ok(dir) = self.walk_to(&parent, temporary)
        {
            let _ = unlinkat(&dir, name, UnlinkatFlags::NoRemoveDir);
        }
    }

    /// Walks the path once more: the folder we hold must still be the one the path leads to, the file unchanged.
    fn last_look(
        &self,
        now: &WriteTarget,
        folders: &NewFolders,
        name: &str,
    ) -> Result<(), WriteError> {
        let path = now.path();
        let (parent, _) = path.split_last().unwrap_or_default();
        let again = self
            .walk_to(&parent, path)
            .map_err(|error| moved_or_failed(path, error))?;
        let held = identity_of(folders.innermost.as_fd(), path).map_err(WriteError::Before)?;
        if identity_of(again.as_fd(), path).map_err(WriteError::Before)? != held {
            return Err(moved(path));
        }
        match (&now.current, stat_in(again.as_fd(), name, path)) {
            (None, Err(FileError::NotFound(_))) => Ok(()),
            (Some(current), Ok(stat)) if Identity::from(&stat) != Identity::from(&current.stat) => {
                Err(moved(path))
            }
            (Some(current), Ok(stat)) if is_unchanged(&stat, &current.stat) => Ok(()),
            (Some(_), Ok(_)) => Err(WriteError::Moved {
                path: path.clone(),
                what: "digest",
            }),
            (_, Ok(_) | Err(FileError::NotFound(_))) => Err(moved(path)),
            (_, Err(error)) => Err(WriteError::Before(error)),
        }
    }

    /// Removes temporary files that a killed writer left anywhere below the root; one that is being written is locked
    /// and stays. Returns how many were removed. What cannot be looked at is left alone.
    pub fn remove_leftovers(&self) -> usize {
        let mut removed = 0;
        let _ = self.walk_leftovers(WalkBounds::default(), &mut |dir, name| {
            let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK;
            let Ok(handle) = openat(dir, name, flags, Mode::empty()) else {
                return;
            };
            let is_abandoned =
                Flock::lock(File::from(handle), FlockArg::LockExclusiveNonblock).is_ok();
            if is_abandoned && unlinkat(dir, name, UnlinkatFlags::NoRemoveDir).is_ok() {
                removed += 1;
            }
        });
        removed
    }
}

fn compare(planned: &WriteTarget, now: &WriteTarget) -> Result<(), WriteError> {
    if planned.token() == now.token() {
        return Ok(());
    }
    let only_content = planned.folder == now.folder
        && planned.folder_identity == now.folder_identity
        && planned.current.as_ref().map(|c| c.content.meta.mode)
            == now.current.as_ref().map(|c| c.content.meta.mode);
    let what = if only_content { "digest" } else { "moved" };
    Err(WriteError::Moved {
        path: now.path().clone(),
        what,
    })
}

fn moved(path: &RelPath) -> WriteError {
    WriteError::Moved {
        path: path.clone(),
        what: "moved",
    }
}

/// What a plan found in order and a commit does not, has moved; what the system refuses, has failed.
fn moved_or_failed(path: &RelPath, error: FileError) -> WriteError {
    match error {
        FileError::Permission(_)
        | FileError::Io { .. }
        | FileError::Path(_)
        | FileError::NotKept(_) => WriteError::Before(error),
        _ => moved(path),
    }
}

/// The folders a write had to make, outermost first, each with the handle of the folder it lies in.
struct NewFolders {
    made: Vec<(OwnedFd, String)>,
    innermost: OwnedFd,
}

impl NewFolders {
    fn make(&mut self, name: &str, path: &RelPath) -> Result<(), WriteError> {
        let made = {
            let _mask = MASK.read().unwrap_or_else(PoisonError::into_inner);
            mkdirat(&self.innermost, name, Mode::from_bits_truncate(0o777))
        };
        let opened = made.map(|()| open_dir(self.innermost.as_fd(), name, path));
        let failure = match opened {
            Ok(Ok(inner)) => {
                self.made.push((
                    std::mem::replace(&mut self.innermost, inner),
                    name.to_owned(),
                ));
                return Ok(());
            }
            Ok(Err(_)) | Err(Errno::EEXIST) => moved(path), // someone was faster
            Err(errno) => WriteError::Before(FileError::from_errno(path, errno)),
        };
        self.remove();
        Err(failure)
    }

    /// Undoes what was made, as far as it is still empty.
    fn remove(&self) {
        for (dir, name) in self.made.iter().rev() {
            let _ = unlinkat(dir, name.as_str(), UnlinkatFlags::RemoveDir);
        }
    }

    fn sync(&self, path: &RelPath) -> Result<(), FileError> {
        self.made
            .iter()
            .map(|(dir, _)| dir)
            .chain([&self.innermost])
            .try_for_each(|dir| fsync(dir).map_err(|errno| FileError::from_errno(path, errno)))
    }
}

/// The new content under a name of its own, removed again unless kept.
struct Temporary<'a> {
    dir: BorrowedFd<'a>,
    name: String,
    file: File,
    kept: bool,
    /// Tells [`Root::remove_leftovers`] that a living process is at work; the kernel ends it with the process.
    lock: Option<Flock<File>>,
}

impl<'a> Temporary<'a> {
    fn create(
        dir: BorrowedFd<'a>,
        place: &WriteTarget,
        (content, executable): (&[u8], Option<bool>),
    ) -> Result<Self, FileError> {
        let failed = |errno: Errno| FileError::from_errno(place.path(), errno);
        let from_io = |error: std::io::Error| {
            failed(error.raw_os_error().map_or(Errno::EIO, Errno::from_raw))
        };
        let keep = place
            .current
            .as_ref()
            .map(|current| Mode::from_bits_truncate((current.content.meta.mode & KEPT_MODE) as _));
        let name = unused_name();
        let handle = create_new(dir, &name, keep, executable).map_err(failed)?;
        let mut temporary = Self {
            dir,
            name,
            file: File::from(handle),
            kept: false,
            lock: None,
        };
        temporary.lock = lock_of(&temporary.file);
        temporary.file.write_all(content).map_err(from_io)?;
        temporary.file.sync_all().map_err(from_io)?;
        Ok(temporary)
    }

    fn keep(mut self) {
        self.kept = true;
    }
}

impl Drop for Temporary<'_> {
    fn drop(&mut self) {
        if !self.kept {
            let _ = unlinkat(self.dir, self.name.as_str(), UnlinkatFlags::NoRemoveDir);
        }
    }
}

/// What holds for the mask of modes, which is the whole process's: to make something takes it to read, to set another mask for a
/// moment takes it to write.
static MASK: RwLock<()> = RwLock::new(());

/// Makes a file that has its mode from the first moment: in the sandbox none can be set later. It is `keep`, or what the mask
/// leaves, with marks of a program for its readers, or none, where that is said.
fn create_new(
    dir: BorrowedFd<'_>,
    name: &str,
    keep: Option<Mode>,
    executable: Option<bool>,
) -> nix::Result<OwnedFd> {
    let flags =
        OFlag::O_RDWR | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let usual = Mode::from_bits_truncate(0o666);
    if keep.is_none() && executable != Some(true) {
        let _mask = MASK.read().unwrap_or_else(PoisonError::into_inner);
        return openat(dir, name, flags, usual);
    }
    let _mask = MASK.write().unwrap_or_else(PoisonError::into_inner);
    let mask = umask(Mode::S_IWOTH);
    let mut mode = keep.unwrap_or(usual - mask - Mode::S_IWOTH);
    if let Some(executable) = executable {
        let mark = |read, mark| match executable && mode.contains(read) {
            true => mark,
            false => Mode::empty(),
        };
        let marks = mark(Mode::S_IRUSR, Mode::S_IXUSR)
            | mark(Mode::S_IRGRP, Mode::S_IXGRP)
            | mark(Mode::S_IROTH, Mode::S_IXOTH);
        mode = (mode - Mode::from_bits_truncate(0o111)) | marks;
    }
    let made = openat(dir, name, flags, mode);
    umask(mask);
    made
}

/// A second handle on the file that holds its lock. If the system has no locks, cleaning up leaves the file alone.
fn lock_of(file: &File) -> Option<Flock<File>> {
    Flock::lock(file.try_clone().ok()?, FlockArg::LockExclusiveNonblock).ok()
}

/// A name that is very likely unused; that it is, `O_EXCL` decides.
fn unused_name() -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let nanos = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |since| since.as_nanos());
    format!(
        "{PREFIX}{:x}-{nanos:x}-{count:x}{SUFFIX}",
        std::process::id()
    )
}

/// How a file did not get another name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum NotRenamed {
    /// It has the old one alone.
    Nothing(Errno),
    /// It has both: the old one could not be taken from it.
    Doubled(Errno),
}

/// Gives `from` the name `to`, which must not exist. If the file system cannot do that in one rename, a link and an
/// unlink do it, which no profile of macOS allows: a kill between the two leaves the complete file under both names, which [`Root::happened`] ends.
fn rename_to_unused(dir: BorrowedFd<'_>, from: &str, to: &str) -> Result<(), NotRenamed> {
    match renameat_with(dir, from, dir, to, RenameFlags::NOREPLACE) {
        Err(Refused::INVAL | Refused::NOSYS | Refused::NOTSUP) => link_to_unused(dir, from, to),
        done => done.map_err(|errno| NotRenamed::Nothing(Errno::from_raw(errno.raw_os_error()))),
    }
}

fn link_to_unused(dir: BorrowedFd<'_>, from: &str, to: &str) -> Result<(), NotRenamed> {
    linkat(dir, from, dir, to, AtFlags::empty()).map_err(NotRenamed::Nothing)?;
    match unlinkat(dir, from, UnlinkatFlags::NoRemoveDir) {
        // Somebody else took it.
        Ok(()) | Err(Errno::ENOENT) => Ok(()),
        Err(errno) => Err(NotRenamed::Doubled(errno)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The way of file systems without an exclusive rename.
    #[test]
    fn linking_creates_exclusively_too() {
        let temp = tempfile::tempdir().unwrap();
        let at = |name: &str| temp.path().join(name);
        std::fs::write(at("from"), "new").unwrap();
        std::fs::write(at("taken"), "old").unwrap();
        std::os::unix::fs::symlink("nowhere", at("link")).unwrap();
        let dir = File::open(temp.path()).unwrap();
        for way in [link_to_unused, rename_to_unused] {
            for taken in ["taken", "link"] {
                assert_eq!(
                    way(dir.as_fd(), "from", taken),
                    Err(NotRenamed::Nothing(Errno::EEXIST))
                );
            }
            assert_eq!(std::fs::read_to_string(at("taken")).unwrap(), "old");
            way(dir.as_fd(), "from", "to").unwrap();
            assert_eq!(std::fs::read_to_string(at("to")).unwrap(), "new");
            assert!(!at("from").exists());
            std::fs::rename(at("to"), at("from")).unwrap();
        }
    }
}
