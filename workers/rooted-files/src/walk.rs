//! A bounded walk over everything below a folder, in the order of full paths.

use std::{
    fs::File,
    ops::ControlFlow,
    os::fd::{AsFd, BorrowedFd},
};

use crate::{
    Entry, FileBytes, FileError, Kind, Meta, Policy, RelPath, Root,
    list::{Contents, contents_of},
    names::code_unit_order,
    read::read_in,
    root::{accept_file, open_dir, open_file, stat_in},
};

/// Where a walk stops by itself.
#[derive(Clone, Copy, Debug)]
pub struct WalkBounds {
    /// Folders deeper than this below the start are not entered. One handle is held per level.
    pub max_depth: usize,
    /// Entries seen in all.
    pub max_entries: usize,
}

impl Default for WalkBounds {
    /// 64 levels (a quarter of a worker's 256 handles) and 200,000 entries (forty vaults of 5,000 notes).
    fn default() -> Self {
        Self {
            max_depth: 64,
            max_entries: 200_000,
        }
    }
}

/// Most links, special files and unreadable folders that a report names.
pub const MOST_NAMED: usize = 8;

/// What a walk did not show.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WalkReport {
    /// A bound was met: there is more.
    pub bounded: bool,
    /// It was the one of depth.
    pub too_deep: bool,
    /// Links, special files and unusable names left out.
    pub omitted: usize,
    /// The first links and special files of those, and folders that could not be read.
    pub links: Vec<RelPath>,
    /// Folders that could not be read.
    pub unreadable: usize,
}

/// Where a walk goes from an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WalkStep {
    /// On, into a folder.
    On,
    /// On, past what a folder holds.
    Past,
    /// No further.
    Stop,
}

/// What a walk leaves out in a folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missed {
    /// Some of its names: links, special files and names that cannot be used.
    Names,
    /// All of it: it cannot be read.
    Folder,
}

/// One entry met on a walk, with the handle of the folder it lies in.
#[derive(Debug)]
pub struct WalkEntry<'a> {
    dir: BorrowedFd<'a>,
    policy: Policy,
    /// Its path below the root.
    pub path: &'a RelPath,
    /// What it is.
    pub kind: Kind,
}

impl WalkEntry<'_> {
    /// Reads the file, through the folder's handle; at most `limit` bytes.
    ///
    /// # Errors
    /// As [`Root::read`].
    pub fn read(&self, limit: u64) -> Result<FileBytes, FileError> {
        read_in(self.dir, self.path.name(), self.path, self.policy, limit)
    }

    /// Opens the file, through the folder's handle.
    ///
    /// # Errors
    /// As [`Root::open_file`].
    pub fn open(&self) -> Result<(File, Meta), FileError> {
        let (file, stat) = open_file(self.dir, self.path.name(), self.path, self.policy)?;
        Ok((file, Meta::from(&stat)))
    }

    /// What a file holds now, in bytes, without opening it. A file with a second name is none where the policy says so.
    ///
    /// # Errors
    /// As [`Root::read`], without the errors about content.
    pub fn size(&self) -> Result<u64, FileError> {
        let stat = stat_in(self.dir, self.path.name(), self.path)?;
        accept_file(&stat, self.path, self.policy)?;
        Ok(Meta::from(&stat).size)
    }
}

impl Root {
    /// Shows every entry below `start` to `visit`, ordered by full path in code units, until it breaks. A folder is
    /// shown before what it holds. `is_over` is asked at each entry. What denies itself meanwhile is counted, not an error; a
    /// folder that vanishes is neither.
    ///
    /// # Errors
    /// As [`Root::list`], for `start` itself; [`FileError::Over`] anywhere.
    pub fn walk(
        &self,
        start: &RelPath,
        bounds: WalkBounds,
        is_over: &dyn Fn() -> bool,
        mut visit: impl FnMut(&WalkEntry<'_>) -> ControlFlow<()>,
    ) -> Result<WalkReport, FileError> {
        self.walk_choosing(start, bounds, is_over, |entry| match visit(entry) {
            ControlFlow::Continue(()) => WalkStep::On,
            ControlFlow::Break(()) => WalkStep::Stop,
        })
    }

    /// As [`Root::walk`]; `visit` says of each folder whether it is entered.
    ///
    /// # Errors
    /// As [`Root::walk`].
    pub fn walk_choosing(
        &self,
        start: &RelPath,
        bounds: WalkBounds,
        is_over: &dyn Fn() -> bool,
        visit: impl FnMut(&WalkEntry<'_>) -> WalkStep,
    ) -> Result<WalkReport, FileError> {
        self.walk_noting(start, bounds, is_over, visit, |_, _| {})
    }

    /// As [`Root::walk_choosing`]; `missed` is told of each folder in which something is left out.
    ///
    /// # Errors
    /// As [`Root::walk`].
    pub fn walk_noting(
        &self,
        start: &RelPath,
        bounds: WalkBounds,
        is_over: &dyn Fn() -> bool,
        mut visit: impl FnMut(&WalkEntry<'_>) -> WalkStep,
        mut missed: impl FnMut(&RelPath, Missed),
    ) -> Result<WalkReport, FileError> {
        let (visit, leftover) = (&mut visit, &mut |_: BorrowedFd<'_>, _: &str| {});
        self.walk_with(start, bounds, is_over, visit, leftover, &mut missed)
    }

    /// Shows the name of every temporary file of ours below the root, with the handle of its folder.
    pub(crate) fn walk_leftovers(
        &self,
        bounds: WalkBounds,
        found: &mut dyn FnMut(BorrowedFd<'_>, &str),
    ) -> Result<WalkReport, FileError> {
        self.walk_with(
            &RelPath::root(),
            bounds,
            &|| false,
            &mut |_| WalkStep::On,
            found,
            &mut |_, _| {},
        )
    }

    fn walk_with(
        &self,
        start: &RelPath,
        bounds: WalkBounds,
        is_over: &dyn Fn() -> bool,
        visit: &mut dyn FnMut(&WalkEntry<'_>) -> WalkStep,
        leftover: &mut dyn FnMut(BorrowedFd<'_>, &str),
        missed: &mut dyn FnMut(&RelPath, Missed),
    ) -> Result<WalkReport, FileError> {
        let dir = self.walk_to(start, start)?;
        let report = WalkReport::default();
        let mut walk = Walk {
            root: self,
            bounds,
            seen: 0,
            report,
            is_over,
            visit,
            leftover,
            missed,
        };
        let contents = contents_of(dir.as_fd(), start, self, is_over)?;
        match walk.folder(dir.as_fd(), start, contents, 0) {
            ControlFlow::Break(Some(error)) => Err(error),
            ControlFlow::Break(None) | ControlFlow::Continue(()) => Ok(walk.report),
        }
    }
}

struct Walk<'a> {
    root: &'a Root,
    bounds: WalkBounds,
    seen: usize,
    report: WalkReport,
    is_over: &'a dyn Fn() -> bool,
    visit: &'a mut dyn FnMut(&WalkEntry<'_>) -> WalkStep,
    leftover: &'a mut dyn FnMut(BorrowedFd<'_>, &str),
    missed: &'a mut dyn FnMut(&RelPath, Missed),
}

impl Walk<'_> {
    fn folder(
        &mut self,
        dir: BorrowedFd<'_>,
        at: &RelPath,
        mut contents: Contents,
        depth: usize,
    ) -> ControlFlow<Option<FileError>> {
        self.report.omitted += contents.omitted;
        let left = MOST_NAMED.saturating_sub(self.report.links.len());
        self.report
            .links
            .extend(contents.links.drain(..).take(left));
        if contents.omitted > 0 {
            (self.missed)(at, Missed::Names);
        }
        for name in &contents.leftovers {
            (self.leftover)(dir, name);
        }
        contents.entries.sort_by(by_full_path);
        for Entry { path, kind } in contents.entries {
            if (self.is_over)() {
                return ControlFlow::Break(Some(FileError::Over));
            }
            self.seen += 1;
            if self.seen > self.bounds.max_entries {
                self.report.bounded = true;
                return ControlFlow::Break(None);
            }
            let entry = WalkEntry {
                dir,
                policy: self.root.policy(),
                path: &path,
                kind,
            };
            match (self.visit)(&entry) {
                WalkStep::On => {}
                WalkStep::Past => continue,
                WalkStep::Stop => return ControlFlow::Break(None),
            }
            if kind == Kind::Dir {
                if depth >= self.bounds.max_depth {
                    (self.report.bounded, self.report.too_deep) = (true, true);
                    continue;
                }
                let inner = open_dir(dir, path.name(), &path).and_then(|inner| {
                    Ok((
                        contents_of(inner.as_fd(), &path, self.root, self.is_over)?,
                        inner,
                    ))
                });
                match inner {
                    Ok((contents, inner)) => {
                        self.folder(inner.as_fd(), &path, contents, depth + 1)?;
                    }
                    Err(FileError::Over) => return ControlFlow::Break(Some(FileError::Over)),
                    // Gone since it was listed.
                    Err(FileError::NotFound(_)) => {}
                    Err(_) => {
                        self.report.unreadable += 1;
                        if self.report.links.len() < MOST_NAMED {
                            self.report.links.push(path.clone());
                        }
                        (self.missed)(&path, Missed::Folder);
                    }
                }
            }
        }
        ControlFlow::Continue(())
    }
}

/// Order of siblings that makes a depth-first walk run in the order of full paths: a folder sorts as if its name ended
/// in the `/` that follows it there, so `a.md` comes before `a/b.md`.
fn by_full_path(a: &Entry, b: &Entry) -> std::cmp::Ordering {
    let key = |entry: &Entry| match entry.kind {
        Kind::Dir => format!("{}/", entry.path.name()),
        Kind::File => entry.path.name().to_owned(),
    };
    code_unit_order(&key(a), &key(b))
}
