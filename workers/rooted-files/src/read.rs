//! Reading one whole file as it was at one moment.

use std::{
    fs::File,
    io::{self, Read},
    os::fd::{AsFd, BorrowedFd},
};

use jiff::Timestamp;
use nix::errno::Errno;
use rustix::fs::Stat as FileStat;

use crate::{
    Digest, FileError, Identity, Policy, RelPath, Root,
    root::{open_file, open_seen_file, stat_in, stat_of},
};

/// Largest file read, in bytes: a digest needs the whole file in one pass, and a note of this size is no note.
pub const MAX_FILE_BYTES: u64 = 16 * 1024 * 1024;

/// How often a file that changes while it is read is read again.
const ATTEMPTS: usize = 3;

/// What the system says about a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Meta {
    /// Size in bytes.
    pub size: u64,
    /// Last change of content, to the millisecond.
    pub modified: Timestamp,
    /// Permission bits and set-id bits.
    pub mode: u32,
    /// Which file it is.
    pub identity: Identity,
}

impl Meta {
    /// Last change of content as RFC 3339 in UTC with milliseconds.
    #[must_use]
    pub fn modified_at(&self) -> String {
        format!("{:.3}", self.modified)
    }
}

/// A file's content as it was at one moment.
#[derive(Clone, Debug)]
pub struct FileBytes {
    /// The content.
    pub bytes: Vec<u8>,
    /// What the system said about the file.
    pub meta: Meta,
}

impl FileBytes {
    /// SHA-256 of the content. Computed at each call: a search reads thousands of files and names few of them.
    #[must_use]
    pub fn digest(&self) -> Digest {
        Digest::of(&self.bytes)
    }
}

impl Root {
    /// Reads the whole file.
    ///
    /// # Errors
    /// [`FileError::Symlink`] for a link anywhere on the way, [`FileError::HardLink`] unless the policy allows it,
    /// [`FileError::NotAFile`], [`FileError::NotFound`], [`FileError::TooLarge`] above [`MAX_FILE_BYTES`],
    /// [`FileError::Changing`] when another program kept writing it, [`FileError::Permission`], [`FileError::Io`].
    pub fn read(&self, path: &RelPath) -> Result<FileBytes, FileError> {
        let Some((parent, name)) = path.split_last() else {
            return Err(FileError::NotAFile {
                path: path.clone(),
                what: "a folder",
            });
        };
        self.refuse_hidden(path)?;
        let dir = self.walk_to(&parent, path)?;
        read_in(dir.as_fd(), name, path, self.policy(), MAX_FILE_BYTES)
    }

    /// Opens a file that is too large to be read whole, or that grows.
    ///
    /// # Errors
    /// As [`Root::read`], without the errors about content.
    pub fn open_file(&self, path: &RelPath) -> Result<(File, Meta), FileError> {
        let Some((parent, name)) = path.split_last() else {
            return Err(FileError::NotAFile {
                path: path.clone(),
                what: "a folder",
            });
        };
        self.refuse_hidden(path)?;
        let dir = self.walk_to(&parent, path)?;
        let (file, stat) = open_file(dir.as_fd(), name, path, self.policy())?;
        Ok((file, Meta::from(&stat)))
    }
}

/// Reads the file `name` of the folder `dir`.
pub(crate) fn read_in(
    dir: BorrowedFd<'_>,
    name: &str,
    asked: &RelPath,
    policy: Policy,
    limit: u64,
) -> Result<FileBytes, FileError> {
    let seen = stat_in(dir, name, asked)?;
    read_seen(dir, name, asked, policy, limit, seen)
}

/// As [`read_in`], where the look before opening was `seen`.
pub(crate) fn read_seen(
    dir: BorrowedFd<'_>,
    name: &str,
    asked: &RelPath,
    policy: Policy,
    limit: u64,
    seen: FileStat,
) -> Result<FileBytes, FileError> {
    read_with_stat(dir, name, asked, policy, limit, seen).map(|(bytes, _)| bytes)
}

/// As [`read_seen`], with what the handle that was read from said about the file: of the same moment as the content.
pub(crate) fn read_with_stat(
    dir: BorrowedFd<'_>,
    name: &str,
    asked: &RelPath,
    policy: Policy,
    limit: u64,
    seen: FileStat,
) -> Result<(FileBytes, FileStat), FileError> {
    let mut seen = Some(seen);
    for _ in 0..ATTEMPTS {
        let (mut file, before) = match seen.take() {
            Some(seen) => open_seen_file(dir, name, asked, policy, &seen)?,
            None => open_file(dir, name, asked, policy)?,
        };
        let bytes = read_at_most(&mut file, &before, asked, limit)?;
        let after = stat_of(file.as_fd(), asked)?;
        if is_unchanged(&before, &after) && after.st_size as u64 == bytes.len() as u64 {
            let meta = Meta::from(&after);
            return Ok((FileBytes { bytes, meta }, after));
        }
    }
    Err(FileError::Changing(asked.clone()))
}

fn read_at_most(
    file: &mut File,
    stat: &FileStat,
    asked: &RelPath,
    limit: u64,
) -> Result<Vec<u8>, FileError> {
    let too_large = |size| FileError::TooLarge {
        path: asked.clone(),
        size,
        limit,
        unit: "bytes",
    };
    let size = stat.st_size as u64;
    if size > limit {
        return Err(too_large(size));
    }
    let failed = |error: io::Error| {
        FileError::from_errno(
            asked,
            error.raw_os_error().map_or(Errno::EIO, Errno::from_raw),
        )
    };
    // One byte of room more than expected: what fills all but that has met the end, without a second call to see it.
    // A file that grew since is noticed by the look afterwards.
    let mut bytes = vec![0; size as usize + 1];
    let mut filled = 0;
    while filled < bytes.len() {
        match file.read(&mut bytes[filled..]) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(failed(error)),
        }
        if filled as u64 == size {
            break;
        }
    }
    bytes.truncate(filled);
    Ok(bytes)
}

/// Whether two looks at a handle show the same content. `st_ctime` cannot be set by a program, `st_mtime` can.
pub(crate) const fn is_unchanged(a: &FileStat, b: &FileStat) -> bool {
    a.st_size == b.st_size
        && a.st_mtime == b.st_mtime
        && a.st_mtime_nsec == b.st_mtime_nsec
        && a.st_ctime == b.st_ctime
        && a.st_ctime_nsec == b.st_ctime_nsec
}

#[expect(
    clippy::unnecessary_cast,
    reason = "each system has another of these types"
)]
impl From<&FileStat> for Meta {
    fn from(stat: &FileStat) -> Self {
        let millis = stat
            .st_mtime
            .saturating_mul(1000)
            .saturating_add(stat.st_mtime_nsec as i64 / 1_000_000);
        Self {
            size: stat.st_size as u64,
            modified: Timestamp::from_millisecond(millis).unwrap_or(Timestamp::UNIX_EPOCH),
            mode: stat.st_mode as u32 & 0o7777,
            identity: Identity::from(stat),
        }
    }
}
