//! [`DiskCount`]: what a run's folder holds on the disk, counted on a thread of its own, again and again while the run lasts.
//!
//! Invariants: no link is followed, and nothing outside of the folder is looked at; what cannot be counted because it lies too
//! deep counts as more than any bound; a count of a large folder uses a tenth of one processor at most.
//!
//! Not counted: what a folder holds that the run has closed to itself, and files that are open and have no name any more.
//! Both take room of the disk, which the keeper looks at beside.
//!
//! Must not know: bounds, what is done about them.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, open, renameat};
use nix::sys::stat::{FileStat, Mode, SFlag, fstatat};

use super::MEASURE;
use crate::platform::beneath;

/// Least that a file or folder counts for, in bytes: an empty one takes room as well.
const LEAST: u64 = 4096;
/// How many times as long as a count the pause after it lasts at least.
const PAUSES: u32 = 10;
/// Most folders between a run's folder and one that is removed where it is: `remove_dir_all` holds a descriptor for each, and
/// names of 255 bytes fit into one path (4096 bytes).
const DEEPEST: usize = 14;
const FOLDER: OFlag = OFlag::O_RDONLY
    .union(OFlag::O_DIRECTORY)
    .union(OFlag::O_NOFOLLOW)
    .union(OFlag::O_CLOEXEC);

/// See the module. Dropping it ends the counting.
pub(super) struct DiskCount {
    bytes: Arc<AtomicU64>,
    _wanted: mpsc::Sender<()>,
}

impl DiskCount {
    /// Begins to count, each time no further than a little beyond `most` bytes.
    ///
    /// # Errors
    /// There is no thread to be had.
    pub(super) fn counted(folder: PathBuf, most: u64) -> io::Result<Self> {
        let bytes = Arc::new(AtomicU64::new(0));
        let (wanted, over) = mpsc::channel();
        let counted = Arc::clone(&bytes);
        let count = move || {
            let mut pause = Duration::ZERO;
            while over.recv_timeout(pause) == Err(RecvTimeoutError::Timeout) {
                let began = Instant::now();
                counted.store(below(&folder, most), Ordering::Relaxed);
                pause = MEASURE.max(began.elapsed() * PAUSES);
            }
        };
        thread::Builder::new().spawn(count)?;
        Ok(Self {
            bytes,
            _wanted: wanted,
        })
    }

    /// What was counted last.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }
}

/// What lies below a folder, in bytes of the disk; where that is more than `most`, some of it.
fn below(folder: &Path, most: u64) -> u64 {
    let mut bytes = 0_u64;
    let walked = walk(folder, |meta| {
        // A file with several names counts once, over all of them.
        let names = if is_folder(meta) { 1 } else { names(meta) };
        let held = (meta.st_blocks as u64).saturating_mul(512).max(LEAST);
        bytes = bytes.saturating_add(held / names);
        bytes <= most
    });
    match walked {
        Err(TooDeep) => u64::MAX,
        Ok(()) => bytes,
    }
}

/// Makes all below this folder removable: gives the owner of each folder the rights to remove what it holds, and moves a
/// folder that lies deeper than [`DEEPEST`] up to this one. For a run that has ended.
pub(super) fn open_up(folder: &Path) {
    let Ok(root) = open(folder, FOLDER, Mode::empty()) else {
        return;
    };
    let mut moved = 0;
    let mut left = vec![(PathBuf::from("."), 0)];
    while let Some((path, depth)) = left.pop() {
        _ = beneath::open_up(&root, &path);
        let Ok((opened, names)) = listed(&root, &path) else {
            continue;
        };
        for name in names {
            if !stat(&opened, &name).is_ok_and(|meta| is_folder(&meta)) {
                continue;
            }
            let below = path.join(&name);
            if depth < DEEPEST {
                left.push((below, depth + 1));
                continue;
            }
            // Without the right to write to it, its entry for the folder above cannot change.
            _ = beneath::open_up(&root, &below);
            if let Some(to) = move_up(&opened, &name, &root, &mut moved) {
                left.push((to, 1));
            }
        }
    }
}

/// Moves one entry to a name in `root` that nothing has yet, the `moved`th or a later one.
fn move_up(from: &OwnedFd, name: &OsStr, root: &OwnedFd, moved: &mut u64) -> Option<PathBuf> {
    loop {
        let to = PathBuf::from(format!("moved-{moved}"));
        *moved += 1;
        match renameat(from, name, root, &to) {
            Ok(()) => return Some(to),
            // An earlier removal that was cut short left it.
            Err(Errno::EEXIST | Errno::ENOTEMPTY | Errno::ENOTDIR) => {}
            Err(_) => return None,
        }
    }
}

struct TooDeep;

/// Shows what is said of each entry, until `on` says no.
fn walk(folder: &Path, mut on: impl FnMut(&FileStat) -> bool) -> Result<(), TooDeep> {
    let Ok(root) = open(folder, FOLDER.difference(OFlag::O_NOFOLLOW), Mode::empty()) else {
        return Ok(());
    };
    let mut left = vec![PathBuf::from(".")];
    while let Some(path) = left.pop() {
        let (opened, names) = match listed(&root, &path) {
            Ok(listed) => listed,
            Err(Errno::ENAMETOOLONG) => return Err(TooDeep),
            // It went, became something else, or is closed.
            Err(_) => continue,
        };
        for name in names {
            let Ok(meta) = stat(&opened, &name) else {
                continue;
            };
            if !on(&meta) {
                return Ok(());
            }
            if is_folder(&meta) {
                left.push(path.join(name));
            }
        }
    }
    Ok(())
}

/// A folder below `root`, and the names of what is in it, as far as they can be read.
fn listed(root: &OwnedFd, path: &Path) -> nix::Result<(OwnedFd, impl Iterator<Item = OsString>)> {
    let opened = beneath::open(root, path, FOLDER)?;
    let again = opened.try_clone().map_err(|_| Errno::EMFILE)?;
    // A folder that fails does so at every further call.
    let names = Dir::from_fd(again)?.into_iter().map_while(Result::ok);
    let names = names.map(|entry| OsStr::from_bytes(entry.file_name().to_bytes()).to_owned());
    Ok((opened, names.filter(|name| name != "." && name != "..")))
}

fn stat(folder: &OwnedFd, name: &OsStr) -> nix::Result<FileStat> {
    fstatat(folder, name, AtFlags::AT_SYMLINK_NOFOLLOW)
}

#[cfg_attr(
    all(target_os = "linux", target_arch = "x86_64"),
    expect(clippy::unnecessary_cast, reason = "the types differ elsewhere")
)]
fn names(meta: &FileStat) -> u64 {
    (meta.st_nlink as u64).max(1)
}

fn is_folder(meta: &FileStat) -> bool {
    SFlag::from_bits_truncate(meta.st_mode) & SFlag::S_IFMT == SFlag::S_IFDIR
}
