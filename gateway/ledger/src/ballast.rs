//! Space set aside, so that the owner can still act when the disk is full.
//!
//! Present ─disk full, an act of the owner waits or the daemon starts─▶ freed ─space is back, and room beside it─▶ Present
//!
//! The file's bytes are not zeros: a file system that compresses or leaves holes would keep nothing aside.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use crate::store::is_full;

/// What must be free beside the ballast before agents' commands are taken again: a dozen of the largest commits.
const ROOM: u64 = 1 << 20;
/// Room for the writes of a start beside the ledger, several times over: `runtime.json`, the workers' list, its lines of the log.
const START_ROOM: u64 = 64 << 10;

pub(crate) struct Ballast {
    path: PathBuf,
    bytes: u64,
}

impl Ballast {
    pub(crate) fn new(path: PathBuf, bytes: u64) -> Self {
        Self { path, bytes }
    }

    /// Sets the space aside unless it is.
    ///
    /// # Errors
    /// When there is no room; nothing is left behind then.
    pub(crate) fn ensure(&self) -> io::Result<()> {
        // Left by a process that was killed.
        let _ = std::fs::remove_file(self.probe());
        if self.bytes == 0 || std::fs::metadata(&self.path).is_ok_and(|m| m.len() == self.bytes) {
            return Ok(());
        }
        let filled = fill(&self.path, self.bytes).and_then(|file| file.sync_all());
        filled.inspect_err(|_| {
            let _ = std::fs::remove_file(&self.path);
        })
    }

    /// Sets the space aside for a daemon that starts, and gives it back where the disk is full beside it: the start is the
    /// owner's act, and needs more than the ledger's own pages.
    ///
    /// # Errors
    /// When there is no room beside it; the space is not set aside then.
    pub(crate) fn ensure_for_start(&self) -> io::Result<()> {
        self.ensure()?;
        if self.bytes == 0 {
            return Ok(());
        }
        // Not synced: each start would wait for the disk.
        let room = fill(&self.probe(), START_ROOM);
        let _ = std::fs::remove_file(self.probe());
        match room {
            Err(error) if is_full(&error) => {
                self.free();
                Err(error)
            }
            _ => Ok(()),
        }
    }

    /// Sets the space aside, and sees that there is room beside it. For a disk that was full a moment ago: the space may be
    /// there still, untouched, and the disk as full as it was.
    ///
    /// # Errors
    /// When there is no room.
    pub(crate) fn ensure_with_room(&self) -> io::Result<()> {
        self.ensure()?;
        if self.bytes == 0 {
            return Ok(());
        }
        let room = fill(&self.probe(), ROOM).and_then(|file| file.sync_all());
        let _ = std::fs::remove_file(self.probe());
        room
    }

    fn probe(&self) -> PathBuf {
        self.path.with_extension("probe")
    }

    /// Gives the space back. False when there was none.
    pub(crate) fn free(&self) -> bool {
        std::fs::remove_file(&self.path).is_ok()
    }
}

/// Makes a file of so many bytes; its caller brings it to the disk.
fn fill(path: &Path, bytes: u64) -> io::Result<File> {
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)?;
    let block = noise();
    let mut left = bytes;
    while left > 0 {
        let now = block
            .len()
            .min(usize::try_from(left).unwrap_or(block.len()));
        file.write_all(&block[..now])?;
        left -= now as u64;
    }
    Ok(file)
}

/// A mebibyte without a pattern: no file system compresses more than that at a time.
fn noise() -> Vec<u8> {
    let mut noise = 0x9e37_79b9_7f4a_7c15_u64; // any odd start: the bytes must be dull to a compressor, not secret
    let mut block = vec![0; 1 << 20];
    for word in block.chunks_exact_mut(8) {
        noise ^= noise << 13;
        noise ^= noise >> 7;
        noise ^= noise << 17;
        word.copy_from_slice(&noise.to_le_bytes());
    }
    block
}
