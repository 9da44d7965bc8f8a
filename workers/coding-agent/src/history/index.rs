//! [`Index`]: an index of git, of version 3. It says what a commit has and nothing of the files, so that git compares each.
//!
//! Must not know: where its entries are from.

use super::pack::hash;
use plexus_worker_git::ObjectId;
use std::io;

/// What git makes of an entry.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Staged {
    /// It compares the file with it.
    Compared,
    /// It takes the file for the same, whatever is there (`skip-worktree`).
    Skipped,
}

/// An index that is being made.
#[derive(Default)]
pub(super) struct Index {
    entries: Vec<u8>,
    count: u32,
}

impl Index {
    /// Adds the next entry in the order of paths.
    pub(super) fn add(&mut self, path: &[u8], mode: u32, id: &ObjectId, staged: Staged) {
        let from = self.entries.len();
        // Times, device, inode.
        self.entries.extend_from_slice(&[0; 24]);
        self.entries.extend_from_slice(&mode.to_be_bytes());
        // Owner, group, size.
        self.entries.extend_from_slice(&[0; 12]);
        self.entries.extend_from_slice(id.as_slice());
        let length = u16::try_from(path.len()).unwrap_or(u16::MAX).min(0x0fff);
        // The extended flag, and the flag that it announces.
        let flags: &[u16] = match staged {
            Staged::Compared => &[length],
            Staged::Skipped => &[length | 0x4000, 0x4000],
        };
        let flags = flags.iter().flat_map(|flags| flags.to_be_bytes());
        self.entries.extend(flags);
        self.entries.extend_from_slice(path);
        // One zero at least, up to a multiple of eight.
        let length = self.entries.len() - from;
        self.entries.resize(from + (length + 8) / 8 * 8, 0);
        self.count += 1;
    }

    /// The file.
    pub(super) fn bytes(self) -> io::Result<Vec<u8>> {
        let mut bytes = b"DIRC\0\0\0\x03".to_vec();
        bytes.extend_from_slice(&self.count.to_be_bytes());
        bytes.extend_from_slice(&self.entries);
        let sum = hash(&bytes)?;
        bytes.extend_from_slice(sum.as_slice());
        Ok(bytes)
    }
}
