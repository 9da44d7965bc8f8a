//! Small files that the kernel has in memory: read without ever waiting for a disk, so that a runtime's own thread may.
//!
//! ```text
//! each folder on the way: does a name in the other case lead anywhere? ─▶ the file: a handle that only looks ─▶ a handle
//! that reads ─▶ its bytes, if they are in memory ─▶ the same file, unchanged
//! ```
//! Invariants: what is answered is what [`Root::find`] and [`crate::Found::read`] would have answered; whatever else
//! is met (an error, a folder, a large file, a name that may be spelled otherwise, anything that is not in memory) is no
//! answer, and the caller asks them, on a thread that may wait. No call waits for a disk or for another program:
//! `RESOLVE_CACHED` (openat2(2), Linux 5.12) looks names up in memory only, `RWF_NOWAIT` (preadv2(2), 4.14) reads what is
//! in memory only, and file systems whose `open` asks a program or another machine are left to the other way.
//!
//! Two of the questions are about folders and not about the file: whether the root is still where it was, and whether
//! names fold in the folder. What was found is taken to hold for 5 ms, so a burst of reads asks once.
//!
//! macOS has no such calls: there nothing is at hand.

use crate::{Adrift, Anchor, FileBytes, RelPath, Root};
#[cfg(target_os = "linux")]
use std::time::Duration;
use std::{os::fd::AsFd, sync::Mutex, time::Instant};

/// Largest file that is read at hand, in bytes. What is done with a file's content afterwards takes a multiple of the
/// reading, and all of it holds up others that wait for the thread: well under a millisecond for this much.
pub const MAX_AT_HAND: u64 = 32 * 1024;

/// How long what was found about a folder is taken to hold: well below the time that a person, or another program on
/// a person's behalf, takes from a change to the next read.
#[cfg(target_os = "linux")]
const JUST_NOW: Duration = Duration::from_millis(5);

/// What is remembered of a folder, to read from it at hand.
#[cfg_attr(
    not(target_os = "linux"),
    expect(dead_code, reason = "nothing is at hand there")
)]
#[derive(Debug)]
pub(crate) struct Hand<T> {
    medium: Medium,
    /// What was found, and when.
    lately: Mutex<Option<(T, Instant)>>,
}

/// What stands between a name and its file.
#[cfg_attr(
    not(target_os = "linux"),
    expect(dead_code, reason = "nothing is at hand there")
)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Medium {
    /// Nothing: all names are in memory.
    Memory,
    /// A disk of this machine.
    Disk,
    /// What may be anything: another machine, a program.
    Other,
}

impl<T> Hand<T> {
    /// For what `folder` is on.
    pub(crate) fn on(folder: impl AsFd) -> Self {
        Self::of(system::medium(folder.as_fd()))
    }
    /// Where nothing is at hand.
    pub(crate) fn nowhere() -> Self {
        Self::of(Medium::Other)
    }
    fn of(medium: Medium) -> Self {
        Self {
            medium,
            lately: Mutex::default(),
        }
    }
}

impl<T> Clone for Hand<T> {
    /// A clone asks for itself.
    fn clone(&self) -> Self {
        Self::of(self.medium)
    }
}

impl Root {
    /// The file at `path`, if it is at hand and called exactly that.
    #[must_use]
    pub fn read_at_hand(&self, path: &RelPath) -> Option<FileBytes> {
        system::read(&self.hand, self, path)
    }
}

impl Anchor {
    /// As [`Anchor::check`], if that can be told without waiting.
    #[must_use]
    pub fn check_at_hand(&self) -> Option<Result<(), Adrift>> {
        system::check(&self.hand, self)
    }
}

#[cfg(target_os = "linux")]
mod system {
    use std::{
        io::IoSliceMut,
        os::fd::{AsFd, BorrowedFd, OwnedFd},
        path::Path,
        sync::PoisonError,
        time::Instant,
    };

    use nix::sys::{
        stat::SFlag,
        statfs::{
            BTRFS_SUPER_MAGIC, EXT4_SUPER_MAGIC, F2FS_SUPER_MAGIC, TMPFS_MAGIC, XFS_SUPER_MAGIC,
            fstatfs,
        },
    };
    use rustix::{
        fs::{CWD, Mode, OFlags, ResolveFlags, Stat as FileStat, fstat, openat2},
        io::{Errno, ReadWriteFlags, preadv2},
    };

    use super::{Hand, JUST_NOW, MAX_AT_HAND, Medium};
    use crate::{
        Adrift, Anchor, FileBytes, Identity, Meta, RelPath, Root,
        read::is_unchanged,
        root::{accept_file, flip_case, kind_of},
    };

    /// Looks at what a name leads to, and opens nothing.
    const LOOK: OFlags = OFlags::PATH.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
    /// As the walk opens files.
    const READ: OFlags = OFlags::RDONLY
        .union(OFlags::NOFOLLOW)
        .union(OFlags::CLOEXEC)
        .union(OFlags::NONBLOCK)
        .union(OFlags::NOCTTY);
    /// Below the root, on its file system, without links, and in memory.
    const CONFINED: ResolveFlags = ResolveFlags::BENEATH
        .union(ResolveFlags::NO_SYMLINKS)
        .union(ResolveFlags::NO_XDEV)
        .union(ResolveFlags::CACHED);

    pub(super) fn medium(handle: BorrowedFd<'_>) -> Medium {
        // `f_type` of statfs(2), of the file systems whose `open` and `stat` ask no program and no other machine.
        match fstatfs(handle).map(|found| found.filesystem_type()) {
            Ok(TMPFS_MAGIC) => Medium::Memory,
            Ok(BTRFS_SUPER_MAGIC | EXT4_SUPER_MAGIC | F2FS_SUPER_MAGIC | XFS_SUPER_MAGIC) => {
                Medium::Disk
            }
            Ok(_) | Err(_) => Medium::Other,
        }
    }

    impl<T> Hand<T> {
        /// Whether what `is_it` says yes to was found just now.
        fn holds(&self, is_it: impl FnOnce(&T) -> bool) -> bool {
            let lately = self.lately.lock().unwrap_or_else(PoisonError::into_inner);
            lately
                .as_ref()
                .is_some_and(|(what, at)| at.elapsed() < JUST_NOW && is_it(what))
        }
        fn found(&self, what: T) {
            let mut lately = self.lately.lock().unwrap_or_else(PoisonError::into_inner);
            *lately = Some((what, Instant::now()));
        }
    }

    pub(super) fn read(hand: &Hand<RelPath>, root: &Root, path: &RelPath) -> Option<FileBytes> {
        let policy = root.policy();
        // Other normal forms of a name, and what the owner hides, are the other way's.
        if hand.medium == Medium::Other || root.has_rules() || !path.as_str().is_ascii() {
            return None;
        }
        if root.is_hidden(path) {
            return None;
        }
        let dir = root.handle();
        let (folder, name) = path.split_last()?;
        let is_known = hand.holds(|plain| *plain == folder);
        if !is_known && is_folding(dir, path, hand.medium)? {
            return None;
        }
        let seen = looked(&open(dir, path.as_str(), LOOK)?)?;
        if kind_of(&seen) != SFlag::S_IFREG || seen.st_size as u64 > MAX_AT_HAND {
            return None;
        }
        let file = open(dir, path.as_str(), READ)?;
        let before = looked(&file)?;
        accept_file(&before, path, policy).ok()?;
        let bytes = in_memory(file.as_fd(), &before, hand.medium)?;
        let after = looked(&file)?;
        if !is_unchanged(&before, &after) || after.st_size as usize != bytes.len() {
            return None;
        }
        // The name is there and its other spelling is not: so this folder keeps them apart.
        if !is_known && flipped(name) != name {
            hand.found(folder);
        }
        Some(FileBytes {
            bytes,
            meta: Meta::from(&after),
        })
    }

    pub(super) fn check(hand: &Hand<()>, anchor: &Anchor) -> Option<Result<(), Adrift>> {
        if hand.medium == Medium::Other {
            return None;
        }
        if hand.holds(|()| true) {
            return Some(Ok(()));
        }
        // Links in the path itself are the owner's and are followed.
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let now = openat2(
            CWD,
            &anchor.path,
            flags,
            Mode::empty(),
            ResolveFlags::CACHED,
        )
        .ok()?;
        let judged = anchor.judge(Identity::from(&looked(&now)?));
        if judged.is_ok() {
            hand.found(());
        }
        Some(judged)
    }

    /// Whether some component's other spelling leads anywhere; `None` where the kernel would have to look.
    fn is_folding(dir: BorrowedFd<'_>, path: &RelPath, medium: Medium) -> Option<bool> {
        let looking = match medium {
            // It keeps no note of names that do not exist, and needs none.
            Medium::Memory => CONFINED.difference(ResolveFlags::CACHED),
            Medium::Disk | Medium::Other => CONFINED,
        };
        let mut above = String::with_capacity(path.as_str().len());
        for component in path.components() {
            let start = above.len();
            above.push_str(&flipped(component));
            if above[start..] != *component {
                match openat2(dir, above.as_str(), LOOK, Mode::empty(), looking) {
                    Err(Errno::NOENT) => {}
                    Ok(_) => return Some(true),
                    Err(_) => return None,
                }
            }
            above.truncate(start);
            above.push_str(component);
            above.push('/');
        }
        Some(false)
    }

    fn flipped(name: &str) -> String {
        name.chars().map(flip_case).collect()
    }

    fn open(dir: BorrowedFd<'_>, path: impl AsRef<Path>, flags: OFlags) -> Option<OwnedFd> {
        openat2(dir, path.as_ref(), flags, Mode::empty(), CONFINED).ok()
    }

    fn looked(handle: &OwnedFd) -> Option<FileStat> {
        fstat(handle).ok()
    }

    /// All of a file's bytes, if they are in memory.
    fn in_memory(file: BorrowedFd<'_>, stat: &FileStat, medium: Medium) -> Option<Vec<u8>> {
        if stat.st_size as u64 > MAX_AT_HAND {
            return None;
        }
        // One byte of room more: what fills all but that has met the end.
        let mut bytes = vec![0; stat.st_size as usize + 1];
        let flags = match medium {
            // It does not know the flag. What is swapped out waits as all memory of this process may.
            Medium::Memory => ReadWriteFlags::empty(),
            Medium::Disk | Medium::Other => ReadWriteFlags::NOWAIT,
        };
        let filled = preadv2(file, &mut [IoSliceMut::new(&mut bytes)], 0, flags).ok()?;
        bytes.truncate(filled);
        Some(bytes)
    }
}

#[cfg(not(target_os = "linux"))]
mod system {
    use std::os::fd::BorrowedFd;

    use super::{Hand, Medium};
    use crate::{Adrift, Anchor, FileBytes, RelPath, Root};

    pub(super) const fn medium(_: BorrowedFd<'_>) -> Medium {
        Medium::Other
    }

    pub(super) const fn read(_: &Hand<RelPath>, _: &Root, _: &RelPath) -> Option<FileBytes> {
        None
    }

    pub(super) const fn check(_: &Hand<()>, _: &Anchor) -> Option<Result<(), Adrift>> {
        None
    }
}
