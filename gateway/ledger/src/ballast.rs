//! Space set aside, so that the owner can still act when the disk is full.
//!
//! Present ─disk full, an act of the owner waits─▶ freed ─space is back─▶ Present
//!
//! The file's bytes are not zeros: a file system that compresses or leaves holes would keep nothing aside.

use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;

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
        if self.bytes == 0 || std::fs::metadata(&self.path).is_ok_and(|m| m.len() == self.bytes) {
            return Ok(());
        }
        self.fill().inspect_err(|_| {
            let _ = std::fs::remove_file(&self.path);
        })
    }

    /// Gives the space back. False when there was none.
    pub(crate) fn free(&self) -> bool {
        std::fs::remove_file(&self.path).is_ok()
    }

    fn fill(&self) -> io::Result<()> {
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&self.path)?;
        let mut block = [0_u8; 1 << 16];
        let mut noise = 0x9e37_79b9_7f4a_7c15_u64; // any odd start: the bytes must be dull to a compressor, not secret
        let mut left = self.bytes;
        while left > 0 {
            for word in block.as_chunks_mut::<8>().0 {
                noise ^= noise << 13;
                noise ^= noise >> 7;
                noise ^= noise << 17;
                *word = noise.to_le_bytes();
            }
            let now = block
                .len()
                .min(usize::try_from(left).unwrap_or(block.len()));
            file.write_all(&block[..now])?;
            left -= now as u64;
        }
        file.sync_all()
    }
}
