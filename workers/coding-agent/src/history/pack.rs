//! [`Packs`]: objects of git, written as packs of version 2 with their indexes.
//!
//! Invariants: an object is written once; a pack with the largest object is below what one process may write.
//!
//! Must not know: where the objects are from.

use super::write_new;
use crate::snapshot::leave_free;
use gix_zlib::{
    Compression, Status,
    stream::deflate::{Compress, FlushCompress},
};
use plexus_worker_git::{Kind, ObjectId};
use std::{
    collections::HashSet,
    io,
    path::{Path, PathBuf},
};

/// A pack is written once it holds so many bytes.
const FULL: usize = 12 * 1024 * 1024;
/// `PACK`, version and count.
const HEADER: usize = 12;

/// Packs that are being written.
pub(super) struct Packs {
    dir: PathBuf,
    written: HashSet<ObjectId>,
    /// Of the pack that is being filled: each object, its checksum and where it begins.
    entries: Vec<(ObjectId, u32, u32)>,
    bytes: Vec<u8>,
    compress: Compress,
}

impl Packs {
    /// Of the repository in the folder `git`.
    pub(super) fn in_folder(git: &Path) -> Self {
        Self {
            dir: git.join("objects/pack"),
            written: HashSet::new(),
            entries: Vec::new(),
            bytes: vec![0; HEADER],
            compress: Compress::new(Compression::BEST_SPEED),
        }
    }

    /// Whether an object was added.
    pub(super) fn has(&self, id: &ObjectId) -> bool {
        self.written.contains(id)
    }

    /// Adds an object that is new, and answers with its id.
    pub(super) fn add_new(&mut self, kind: Kind, bytes: &[u8]) -> io::Result<ObjectId> {
        let id = gix_object::compute_hash(gix_hash::Kind::Sha1, kind, bytes);
        let id = id.map_err(io::Error::other)?;
        self.add(id, kind, bytes)?;
        Ok(id)
    }

    /// Adds an object with its id.
    pub(super) fn add(&mut self, id: ObjectId, kind: Kind, bytes: &[u8]) -> io::Result<()> {
        if !self.written.insert(id) {
            return Ok(());
        }
        let at = self.bytes.len();
        let kind: u8 = match kind {
            Kind::Commit => 1,
            Kind::Tree => 2,
            Kind::Blob => 3,
            Kind::Tag => 4,
        };
        // Four bits of the length, then seven at a time.
        let low =
            |length: usize, bits: usize| u8::try_from(length & ((1 << bits) - 1)).unwrap_or(0);
        let mut rest = bytes.len() >> 4;
        let more = |rest: usize| if rest > 0 { 0x80 } else { 0 };
        self.bytes
            .push(more(rest) | kind << 4 | low(bytes.len(), 4));
        while rest > 0 {
            let bits = low(rest, 7);
            rest >>= 7;
            self.bytes.push(more(rest) | bits);
        }
        let from = self.bytes.len();
        // At this level a byte that cannot be compressed takes nine bits at most.
        self.bytes
            .resize(from + bytes.len() + bytes.len() / 8 + 128, 0);
        self.compress.reset();
        let end = self
            .compress
            .compress(bytes, &mut self.bytes[from..], FlushCompress::Finish);
        if !matches!(end, Ok(Status::StreamEnd)) {
            return Err(io::Error::other("an object could not be compressed"));
        }
        let length = usize::try_from(self.compress.total_out()).unwrap_or(usize::MAX);
        self.bytes.truncate(from.saturating_add(length));
        let sum = crc32fast::hash(&self.bytes[at..]);
        let at = u32::try_from(at).map_err(io::Error::other)?;
        self.entries.push((id, sum, at));
        match self.bytes.len() > FULL {
            true => self.finish(),
            false => Ok(()),
        }
    }

    /// Writes what is not written yet.
    pub(super) fn finish(&mut self) -> io::Result<()> {
        if self.entries.is_empty() {
            return Ok(());
        }
        let count = u32::try_from(self.entries.len()).map_err(io::Error::other)?;
        self.bytes[..4].copy_from_slice(b"PACK");
        self.bytes[4..8].copy_from_slice(&2_u32.to_be_bytes());
        self.bytes[8..HEADER].copy_from_slice(&count.to_be_bytes());
        let sum = hash(&self.bytes)?;
        self.bytes.extend_from_slice(sum.as_slice());
        leave_free(&self.dir, self.bytes.len() as u64)?;
        let name = format!("pack-{}", sum.to_hex());
        write_new(&self.dir.join(format!("{name}.pack")), &self.bytes)?;
        self.entries.sort_unstable();
        let index = index(&self.entries, &sum)?;
        write_new(&self.dir.join(format!("{name}.idx")), &index)?;
        self.entries.clear();
        self.bytes.truncate(HEADER);
        Ok(())
    }
}

/// The index of a pack, whose entries are sorted by id.
fn index(entries: &[(ObjectId, u32, u32)], pack: &ObjectId) -> io::Result<Vec<u8>> {
    let mut index = vec![0xff, b't', b'O', b'c', 0, 0, 0, 2];
    for first in 0..=u8::MAX {
        let upto = entries.partition_point(|(id, ..)| id.as_slice()[0] <= first);
        let upto = u32::try_from(upto).map_err(io::Error::other)?;
        index.extend_from_slice(&upto.to_be_bytes());
    }
    for (id, ..) in entries {
        index.extend_from_slice(id.as_slice());
    }
    for (_, sum, _) in entries {
        index.extend_from_slice(&sum.to_be_bytes());
    }
    for (.., at) in entries {
        index.extend_from_slice(&at.to_be_bytes());
    }
    index.extend_from_slice(pack.as_slice());
    let sum = hash(&index)?;
    index.extend_from_slice(sum.as_slice());
    Ok(index)
}

/// The checksum at the end of a file of git's.
pub(super) fn hash(bytes: &[u8]) -> io::Result<ObjectId> {
    let mut hasher = gix_hash::hasher(gix_hash::Kind::Sha1);
    hasher.update(bytes);
    hasher.try_finalize().map_err(io::Error::other)
}
