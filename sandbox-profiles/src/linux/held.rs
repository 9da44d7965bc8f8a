//! [`Held`]: what a run's folder holds on the disk, counted on a thread of its own, again and again while the run lasts.
//!
//! Invariants: no link is followed, and nothing outside of the folder is looked at; what cannot be counted because it lies too
//! deep counts as more than any bound; a count of a large folder uses a tenth of one processor at most.
//!
//! Not counted: what a folder holds that the run has closed to itself, and files that are open and have no name any more.
//! Both take room of the disk, which the keeper looks at beside.
//!
//! Must not know: bounds, what is done about them.

use std::fs::{self, File, Metadata};
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};

use super::keeper::MEASURE;

/// Least that a file or folder counts for, in bytes: an empty one takes room as well.
const LEAST: u64 = 4096;
/// How many times as long as a count the pause after it lasts at least.
const PAUSES: u32 = 10;

/// See the module. Dropping it ends the counting.
pub(super) struct Held {
    bytes: Arc<AtomicU64>,
    _wanted: mpsc::Sender<()>,
}

impl Held {
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
    let walked = walk(
        folder,
        |_, _| {},
        |meta| {
            // A file with several names counts once, over all of them.
            let names = if meta.is_dir() {
                1
            } else {
                meta.nlink().max(1)
            };
            bytes = bytes.saturating_add((meta.blocks() * 512).max(LEAST) / names);
            bytes <= most
        },
    );
    match walked {
        Err(TooDeep) => u64::MAX,
        Ok(()) => bytes,
    }
}

/// Gives the owner of all folders below this one the rights to remove what they hold. For a run that has ended.
pub(super) fn open_up(folder: &Path) {
    let open = |root: &File, path: &Path| {
        let how = how().flags(OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW);
        if let Ok(found) = openat2(root.as_fd(), path, how) {
            let path = format!("/proc/self/fd/{}", found.as_raw_fd());
            _ = fs::set_permissions(path, fs::Permissions::from_mode(0o700));
        }
    };
    _ = walk(folder, open, |_| true);
}

struct TooDeep;

/// Shows each folder before it is opened, and what is said of each entry, until `on` says no.
fn walk(
    folder: &Path,
    before: impl Fn(&File, &Path),
    mut on: impl FnMut(&Metadata) -> bool,
) -> Result<(), TooDeep> {
    let Ok(root) = File::open(folder) else {
        return Ok(());
    };
    let mut left = vec![PathBuf::from(".")];
    while let Some(path) = left.pop() {
        before(&root, &path);
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let opened = match openat2(root.as_fd(), &path, how().flags(flags)) {
            Ok(opened) => opened,
            Err(Errno::ENAMETOOLONG) => return Err(TooDeep),
            // It went, became something else, or is closed.
            Err(_) => continue,
        };
        let entries = fs::read_dir(format!("/proc/self/fd/{}", opened.as_raw_fd()));
        for entry in entries.into_iter().flatten().flatten() {
            let Ok(meta) = entry.metadata() else { continue };
            if !on(&meta) {
                return Ok(());
            }
            if meta.is_dir() {
                left.push(path.join(entry.file_name()));
            }
        }
    }
    Ok(())
}

fn how() -> OpenHow {
    OpenHow::new().resolve(ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_SYMLINKS)
}
