//! [`Snapshot`]: the regular files of a folder at one moment, by path, with what tells two contents apart; and copying.
//!
//! Invariants: links and special files are counted, never followed or copied; what is ignored is no part of a snapshot, and
//! is named; what is shared is no part of one either; a folder beyond the bounds is an error, not a part of it.
//!
//! Must not know: what the folder is for.

use crate::{
    blocks,
    history::{self, History, LeftOut},
    ignored::{IgnoreRules, IgnoreTexts, Ignoring},
};
use plexus_ipc::worker::children::KEEP_FREE;
use plexus_rooted_files::{
    Digest, FileBytes, FileError, Kind, MOST_NAMED, Meta, RelPath, Root, WalkBounds, WalkEntry,
    WalkReport, WalkStep,
};
use serde::{Deserialize, Serialize};
use std::{
    cell::RefCell,
    collections::BTreeMap,
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _},
    path::Path,
};
use uuid::Uuid;

/// Most bytes of a folder that is copied.
pub(crate) const MOST_BYTES: u64 = 2 * 1024 * 1024 * 1024;
/// Most files and folders of it.
pub(crate) const MOST_ENTRIES: usize = 200_000;
/// Ignored files and folders that are noted; where there are more, one more is.
pub(crate) const MOST_IGNORED: usize = 1000;
/// Largest file that is copied, in bytes: half of what one process may write.
pub(crate) const LARGEST: u64 = 16 * 1024 * 1024;

/// What tells a file's versions apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct FileFacts {
    /// Of its content.
    pub(crate) digest: Digest,
    /// Of its content.
    pub(crate) bytes: u64,
    /// Whether its owner may execute it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) executable: bool,
}

/// The files of a folder.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Snapshot {
    pub(crate) files: BTreeMap<RelPath, FileFacts>,
    /// Links, special files, files with a second name, names that are no text, and folders that may not be read.
    pub(crate) omitted: usize,
    /// The first of those that have a name, [`MOST_NAMED`] at most.
    #[serde(skip)]
    pub(crate) omitted_names: Vec<RelPath>,
    /// Files larger than [`LARGEST`], and files and folders that may not be read.
    pub(crate) left_out: Vec<RelPath>,
    /// Ignored files and folders, [`MOST_IGNORED`] and one more at most.
    #[serde(default)]
    pub(crate) ignored: Vec<RelPath>,
    /// The rules by which they are.
    #[serde(default)]
    pub(crate) rules: IgnoreTexts,
    pub(crate) bytes: u64,
    /// Of a copy that was just made: why it has no history of the folder, where it is a repository.
    #[serde(skip)]
    pub(crate) history: Option<LeftOut>,
    /// The same: what version control keeps below the folder, of which nothing is in the copy.
    #[serde(skip)]
    pub(crate) repositories: Vec<RelPath>,
}

/// What a copy would have, without reading any file.
#[derive(Debug, Default)]
pub(crate) struct CopySize {
    pub(crate) files: usize,
    pub(crate) bytes: u64,
    /// What it would not have, because it is ignored; [`MOST_IGNORED`] and one more at most.
    pub(crate) ignored: Vec<RelPath>,
    /// What those hold, as far as it was counted.
    pub(crate) ignored_bytes: u64,
    /// There is more of it.
    pub(crate) ignores_more: bool,
    /// Why it would have no history of the folder, where it is a repository.
    pub(crate) history: Option<LeftOut>,
}

/// Why there is no snapshot.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SnapshotError {
    #[error(
        "the folder holds more than 2 GiB or 200,000 files; hide what a run need not see, or name it in .gitignore"
    )]
    TooLarge,
    #[error(
        "folders lie in one another more than 64 deep, which no copy takes; hide the deep ones, or name them in .gitignore"
    )]
    TooDeep,
    #[error(transparent)]
    File(#[from] FileError),
    #[error("the copy: {0}")]
    Copy(#[from] io::Error),
}

impl Snapshot {
    /// Reads every file of a copy that the rules of its folder do not ignore.
    ///
    /// # Errors
    /// [`SnapshotError`]; [`FileError::Over`] once `is_over` says that nobody waits any more.
    pub(crate) fn of_copy(
        root: &Root,
        rules: &IgnoreTexts,
        is_over: &dyn Fn() -> bool,
    ) -> Result<Self, SnapshotError> {
        let rules = (IgnoreRules::new(rules.clone()), None);
        let read = |entry: &WalkEntry<'_>| Ok(entry.read(LARGEST)?);
        Self::each(root, rules, is_over, read, |_| Ok(()))
    }

    /// Copies what is not ignored of a folder into the folder `to`, which is empty.
    pub(crate) fn copy(
        root: &Root,
        to: &Path,
        ignoring: &Ignoring,
        is_over: &dyn Fn() -> bool,
    ) -> Result<Self, SnapshotError> {
        let shares = blocks::are_shared_in(to);
        let history = RefCell::new(History::begin(root, to, ignoring, is_over)?);
        let copied = |entry: &WalkEntry<'_>| {
            let copy = to.join(entry.path.as_str());
            if shares {
                leave_free(to, entry.size()?)?;
                if let Some(read) = blocks::copied(entry, &copy)? {
                    return Ok(read);
                }
            }
            let read = entry.read(LARGEST)?;
            leave_free(to, read.bytes.len() as u64)?;
            created(&copy, &read.meta)?.write_all(&read.bytes)?;
            Ok::<_, SnapshotError>(read)
        };
        let file = |entry: &WalkEntry<'_>| {
            let read = copied(entry)?;
            let mut history = history.borrow_mut();
            history.file(entry.path, &read.bytes, read.meta.mode)?;
            Ok(read)
        };
        let folder = |path: &RelPath| {
            history.borrow_mut().folder(path);
            let mut made = DirBuilder::new();
            made.mode(0o700).create(to.join(path.as_str()))
        };
        let rules = (IgnoreRules::of(ignoring), Some(&ignoring.rules));
        let mut found = Self::each(root, rules, is_over, file, folder)?;
        let (why, without) = history.into_inner().end(&found.files)?;
        found.history = why;
        found.repositories.extend(without);
        Ok(found)
    }

    /// What a copy would have.
    pub(crate) fn size(
        root: &Root,
        ignoring: &Ignoring,
        is_over: &dyn Fn() -> bool,
    ) -> Result<CopySize, SnapshotError> {
        let mut found = CopySize {
            history: history::foreseen(root, ignoring).flatten(),
            ..CopySize::default()
        };
        let mut rules = IgnoreRules::of(ignoring);
        let mut ignored = Vec::new();
        let report = walk(
            root,
            &mut rules,
            Some(&ignoring.rules),
            is_over,
            |entry, part| {
                // One that is gone or has a second name is not in the copy.
                let size = match entry.kind {
                    Kind::File => entry.size().ok(),
                    Kind::Dir => None,
                };
                match (part, size) {
                    (Part::Ignored, size) => {
                        found.ignored_bytes += size.unwrap_or_default();
                        ignored.push((entry.path.clone(), entry.kind));
                    }
                    (Part::Copied, Some(size @ ..=LARGEST)) => {
                        found.files += 1;
                        found.bytes += size;
                    }
                    (Part::Copied | Part::Repository, _) => {}
                }
                found.bytes <= MOST_BYTES
            },
        )?;
        if report.too_deep {
            return Err(SnapshotError::TooDeep);
        }
        if report.bounded || found.bytes > MOST_BYTES {
            return Err(SnapshotError::TooLarge);
        }
        let mut left = MOST_ENTRIES;
        for (path, kind) in &ignored {
            if *kind == Kind::Dir && left > 0 {
                let bounds = WalkBounds {
                    max_entries: left,
                    ..WalkBounds::default()
                };
                let report = root.walk_choosing(path, bounds, is_over, |entry| {
                    left -= 1;
                    if entry.kind == Kind::File {
                        found.ignored_bytes += entry.size().unwrap_or_default();
                    }
                    WalkStep::On
                });
                match report {
                    Ok(report) => found.ignores_more |= report.bounded,
                    Err(FileError::Over) => return Err(FileError::Over.into()),
                    // It went, or is closed to us.
                    Err(_) => found.ignores_more = true,
                }
            }
            found.ignores_more |= left == 0;
        }
        found.ignores_more |= ignored.len() > MOST_IGNORED;
        found.ignored = ignored.into_iter().map(|(path, _)| path).collect();
        Ok(found)
    }

    fn each(
        root: &Root,
        (mut rules, rules_in): (IgnoreRules, Option<&Root>),
        is_over: &dyn Fn() -> bool,
        file: impl Fn(&WalkEntry<'_>) -> Result<FileBytes, SnapshotError>,
        folder: impl Fn(&RelPath) -> io::Result<()>,
    ) -> Result<Self, SnapshotError> {
        let mut found = Self::default();
        let mut failed = None;
        let mut ignored = Vec::new();
        let report = walk(root, &mut rules, rules_in, is_over, |entry, part| {
            match part {
                Part::Copied => {}
                Part::Ignored => {
                    ignored.push(entry.path.clone());
                    return true;
                }
                Part::Repository => {
                    found.repositories.push(entry.path.clone());
                    return true;
                }
            }
            let seen = match entry.kind {
                Kind::Dir => folder(entry.path).map_err(SnapshotError::from),
                Kind::File => match file(entry) {
                    Ok(read) => {
                        let facts = FileFacts {
                            digest: read.digest(),
                            bytes: read.bytes.len() as u64,
                            executable: read.meta.mode & 0o100 != 0,
                        };
                        found.bytes += facts.bytes;
                        found.files.insert(entry.path.clone(), facts);
                        Ok(())
                    }
                    // Gone since it was listed.
                    Err(SnapshotError::File(FileError::NotFound(_))) => Ok(()),
                    Err(SnapshotError::File(
                        FileError::TooLarge { .. } | FileError::Permission(_),
                    )) => {
                        found.left_out.push(entry.path.clone());
                        Ok(())
                    }
                    Err(SnapshotError::File(FileError::HardLink(_))) => {
                        found.omitted += 1;
                        if found.omitted_names.len() < MOST_NAMED {
                            found.omitted_names.push(entry.path.clone());
                        }
                        Ok(())
                    }
                    Err(error) => Err(error),
                },
            };
            match seen {
                Ok(()) if found.bytes > MOST_BYTES => failed = Some(SnapshotError::TooLarge),
                Ok(()) => return true,
                Err(error) => failed = Some(error),
            }
            false
        })?;
        match failed {
            Some(error) => Err(error),
            None if report.too_deep => Err(SnapshotError::TooDeep),
            None if report.bounded => Err(SnapshotError::TooLarge),
            None => {
                found.omitted += report.omitted + report.unreadable;
                let left = MOST_NAMED - found.omitted_names.len();
                found
                    .omitted_names
                    .extend(report.links.into_iter().take(left));
                (found.ignored, found.rules) = (ignored, rules.into_texts());
                Ok(found)
            }
        }
    }
}

/// What an entry of a folder is to a copy.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Copied,
    Ignored,
    /// A folder of version control.
    Repository,
}

/// Shows what is below a folder, and what it is to a copy: what an ignored folder holds is not shown, and nothing of `.git`.
/// `visit` says whether to go on. Of ignored files and folders [`MOST_IGNORED`] are shown, and one more. A copy that is read
/// has no `rules_in`; what its run keeps in a repository without a work tree are files as others.
fn walk(
    root: &Root,
    rules: &mut IgnoreRules,
    rules_in: Option<&Root>,
    is_over: &dyn Fn() -> bool,
    mut visit: impl FnMut(&WalkEntry<'_>, Part) -> bool,
) -> Result<WalkReport, FileError> {
    let bounds = WalkBounds {
        max_entries: MOST_ENTRIES,
        ..WalkBounds::default()
    };
    let mut ignored = 0;
    root.walk_choosing(&RelPath::root(), bounds, is_over, |entry| {
        let is_folder = entry.kind == Kind::Dir;
        if rules.is_shared(entry.path) || history::is_gits(entry.path.name()) {
            return WalkStep::Past;
        }
        let part = if rules.ignore(entry.path, is_folder) {
            ignored += 1;
            Part::Ignored
        } else if is_folder
            && rules_in.is_some()
            && history::is_of_version_control(root, entry.path)
        {
            Part::Repository
        } else {
            Part::Copied
        };
        let is_shown = part != Part::Ignored || ignored <= MOST_IGNORED + 1;
        if is_shown && !visit(entry, part) {
            return WalkStep::Stop;
        }
        if part != Part::Copied {
            return WalkStep::Past;
        }
        if let Some(root) = rules_in.filter(|_| is_folder) {
            rules.enter(root, entry.path);
        }
        WalkStep::On
    })
}

/// Makes the file of a copy, for nobody else's eyes; it can be run where the owner's file can.
pub(crate) fn created(copy: &Path, of: &Meta) -> io::Result<File> {
    let mode = if of.mode & 0o100 != 0 { 0o700 } else { 0o600 };
    let mut options = OpenOptions::new();
    let options = options.read(true).write(true).create_new(true);
    options.mode(mode).open(copy)
}

/// Holds that so many bytes more leave enough of the disk free for the gateway to go on.
///
/// # Errors
/// [`io::ErrorKind::StorageFull`] where they do not.
pub(crate) fn leave_free(folder: &Path, bytes: u64) -> io::Result<()> {
    let disk = rustix::fs::statvfs(folder)?;
    match disk.f_bavail.saturating_mul(disk.f_frsize) < KEEP_FREE.saturating_add(bytes) {
        true => Err(io::Error::new(
            io::ErrorKind::StorageFull,
            format!(
                "it would leave less than {} MiB of the disk of Plexus' folder free; free some, and repeat the call",
                KEEP_FREE >> 20
            ),
        )),
        false => Ok(()),
    }
}

/// Takes away from a copy that stays what its run made of it beside files and folders: special files, and bits of a mode by
/// which others could change it or act as its owner. For a copy whose run has ended. No worker changes a mode, so what has
/// such bits is made anew; what cannot be goes.
pub(crate) fn tidy(copy: &Path) {
    const BEYOND: u32 = 0o7022;
    let mut folders = vec![copy.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let (path, Ok(meta)) = (entry.path(), entry.metadata()) else {
                continue;
            };
            let kind = meta.file_type();
            let is_beyond = meta.mode() & BEYOND != 0;
            let _ = match (kind.is_dir(), kind.is_file(), kind.is_symlink()) {
                (true, ..) if is_beyond => made_anew(&path),
                (_, true, _) if is_beyond => written_anew(&path, meta.mode()),
                (false, false, false) => fs::remove_file(&path),
                _ => Ok(()),
            };
            if kind.is_dir() {
                folders.push(path);
            }
        }
    }
}

fn written_anew(path: &Path, mode: u32) -> io::Result<()> {
    let bytes = match fs::metadata(path)?.len() {
        0..=LARGEST => fs::read(path),
        _ => Err(io::ErrorKind::FileTooLarge.into()),
    };
    fs::remove_file(path)?;
    let mut options = OpenOptions::new();
    let options = options.write(true).create_new(true).mode(mode & 0o700);
    options.open(path)?.write_all(&bytes?)
}

fn made_anew(folder: &Path) -> io::Result<()> {
    let beside = folder.with_file_name(format!(".plexus-{}", Uuid::new_v4()));
    fs::rename(folder, &beside)?;
    DirBuilder::new().mode(0o700).create(folder)?;
    for entry in fs::read_dir(&beside)?.flatten() {
        fs::rename(entry.path(), folder.join(entry.file_name()))?;
    }
    fs::remove_dir(beside)
}

/// Makes an empty folder for nobody else's eyes, in place of whatever was there. What cannot be removed, because a
/// program took away its own rights on it, is put aside under another name.
pub(crate) fn empty_folder(path: &Path) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            fs::rename(path, path.with_extension(Uuid::new_v4().to_string()))?;
        }
        Ok(()) | Err(_) => {}
    }
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}
