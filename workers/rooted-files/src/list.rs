//! Names in one folder.

use std::os::fd::{AsFd, BorrowedFd};

use nix::{
    dir::{Dir, Type},
    errno::Errno,
    fcntl::OFlag,
    sys::stat::{Mode, SFlag},
};
use serde::Serialize;

use crate::{
    FileError, Identity, RelPath, Root, is_leftover_name,
    names::{code_unit_order, fold_for_lookup},
    root::{kind_of, stat_in},
};

/// Most entries of one folder that are taken: sorting needs them all in memory.
pub const MAX_DIRECTORY_ENTRIES: usize = 100_000;

/// What an entry is. Links and special files have no kind: they are left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A regular file.
    File,
    /// A directory.
    Dir,
}

/// One entry of a folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its path below the root.
    pub path: RelPath,
    /// What it is.
    pub kind: Kind,
}

/// A stretch of a folder's entries, by name in code-unit order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listing {
    /// The entries.
    pub entries: Vec<Entry>,
    /// The last name shown, when there are more: `after` of the next call.
    pub next_after: Option<String>,
    /// Entries of the whole folder that cannot be opened here: links, special files, names that are no UTF-8 or hold
    /// control characters. Hidden dot-files are not counted: they do not exist.
    pub omitted: usize,
}

impl Listing {
    /// Words for what is left out: those of a search.
    #[must_use]
    pub fn warnings(&self) -> Vec<&'static str> {
        let skipped = (self.omitted > 0).then_some("names_skipped");
        skipped.into_iter().collect()
    }
}

impl Root {
    /// Lists at most `limit` entries of a folder, those after the name `after`. `is_over` is asked at each entry.
    ///
    /// # Errors
    /// As [`Root::kind`], [`FileError::NotADirectory`], [`FileError::Over`], and [`FileError::TooLarge`] above [`MAX_DIRECTORY_ENTRIES`].
    pub fn list(
        &self,
        path: &RelPath,
        limit: usize,
        after: Option<&str>,
        is_over: &dyn Fn() -> bool,
    ) -> Result<Listing, FileError> {
        let dir = self.walk_to(path, path)?;
        let Contents {
            mut entries,
            omitted,
            ..
        } = contents_of(dir.as_fd(), path, self, is_over)?;
        entries.sort_by(|a, b| code_unit_order(a.path.name(), b.path.name()));
        let start = after.map_or(0, |after| {
            entries.partition_point(|entry| code_unit_order(entry.path.name(), after).is_le())
        });
        let more = entries.len() - start > limit;
        let entries: Vec<Entry> = entries.into_iter().skip(start).take(limit).collect();
        let next_after = entries
            .last()
            .filter(|_| more)
            .map(|entry| entry.path.name().to_owned());
        Ok(Listing {
            entries,
            next_after,
            omitted,
        })
    }
}

/// Everything in a folder, unsorted.
#[derive(Default)]
pub(crate) struct Contents {
    pub(crate) entries: Vec<Entry>,
    /// As [`Listing::omitted`].
    pub(crate) omitted: usize,
    /// Of those the links and special files.
    pub(crate) links: Vec<RelPath>,
    /// Names of our own temporary files.
    pub(crate) leftovers: Vec<String>,
}

pub(crate) fn contents_of(
    dir: BorrowedFd<'_>,
    path: &RelPath,
    root: &Root,
    is_over: &dyn Fn() -> bool,
) -> Result<Contents, FileError> {
    let mut contents = Contents::default();
    let mut seen = 0;
    for_each_name(dir, path, |name, kind| {
        if is_over() {
            return Err(FileError::Over);
        }
        seen += 1;
        if seen > MAX_DIRECTORY_ENTRIES {
            let limit = MAX_DIRECTORY_ENTRIES as u64;
            return Err(FileError::TooLarge {
                path: path.clone(),
                size: limit + 1,
                limit,
                unit: "entries",
            });
        }
        if let Some(leftover) = std::str::from_utf8(name)
            .ok()
            .filter(|name| is_leftover_name(name))
        {
            contents.leftovers.push(leftover.to_owned());
            return Ok(());
        }
        if name.first() == Some(&b'.') && root.policy().hide_dot_files {
            return Ok(());
        }
        let Some((name, child)) = std::str::from_utf8(name)
            .ok()
            .and_then(|name| Some((name, path.join(name).ok()?)))
        else {
            contents.omitted += 1;
            return Ok(());
        };
        // Before it is counted: a link that is hidden is not left out, it does not exist.
        if root.is_hidden(&child) {
            return Ok(());
        }
        let kind = match kind {
            Some(Type::File) => Some(Kind::File),
            Some(Type::Directory) => Some(Kind::Dir),
            Some(_) => None,
            // Not every file system tells in the listing.
            None => match stat_in(dir, name, &child).map(|stat| kind_of(&stat)) {
                Ok(SFlag::S_IFREG) => Some(Kind::File),
                Ok(SFlag::S_IFDIR) => Some(Kind::Dir),
                Ok(_) => None,
                Err(FileError::NotFound(_)) => return Ok(()), // gone since
                Err(error) => return Err(error),
            },
        };
        match kind {
            Some(kind) => contents.entries.push(Entry { path: child, kind }),
            None => {
                contents.omitted += 1;
                contents.links.push(child);
            }
        }
        Ok(())
    })?;
    Ok(contents)
}

/// How the folder's listing spells the entry that `asked_as` finds: the same name, else one that folds to it, else
/// whichever is that entry, for a folder may fold what we do not know of.
pub(crate) fn name_of_inode(
    dir: BorrowedFd<'_>,
    found: Identity,
    asked_as: &str,
    path: &RelPath,
) -> Result<String, FileError> {
    let wanted = fold_for_lookup(asked_as);
    let is_it = |name: &str| -> Result<bool, FileError> {
        match stat_in(dir, name, path) {
            Ok(stat) => Ok(Identity::from(&stat) == found),
            Err(FileError::NotFound(_)) => Ok(false), // gone since
            Err(error) => Err(error),
        }
    };
    let mut spelled = None;
    for_each_name(dir, path, |name, _| {
        let Ok(name) = std::str::from_utf8(name) else {
            return Ok(());
        };
        let is_wanted = name == asked_as
            || (spelled.is_none() && fold_for_lookup(name) == wanted && is_it(name)?);
        if is_wanted {
            spelled = Some(name.to_owned());
        }
        Ok(())
    })?;
    if spelled.is_none() {
        for_each_name(dir, path, |name, _| {
            if let Ok(name) = std::str::from_utf8(name)
                && spelled.is_none()
                && is_it(name)?
            {
                spelled = Some(name.to_owned());
            }
            Ok(())
        })?;
    }
    Ok(spelled.unwrap_or_else(|| asked_as.to_owned()))
}

/// Shows each name of a folder but `.` and `..` to `visit`, until that fails.
pub(crate) fn for_each_name(
    dir: BorrowedFd<'_>,
    path: &RelPath,
    mut visit: impl FnMut(&[u8], Option<Type>) -> Result<(), FileError>,
) -> Result<(), FileError> {
    let failed = |errno: Errno| FileError::from_errno(path, errno);
    // A handle of its own, because reading a directory moves a position that duplicates share.
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let mut listing = Dir::openat(dir, ".", flags, Mode::empty()).map_err(failed)?;
    for entry in listing.iter() {
        let entry = entry.map_err(failed)?;
        match entry.file_name().to_bytes() {
            b"." | b".." => {}
            name => visit(name, entry.file_type())?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};

    use super::*;

    /// What a file system that folds would make of a name is told apart by the entry it found, not by the name alone.
    #[test]
    fn a_spelling_is_that_of_the_entry_found() {
        let temp = tempfile::tempdir().unwrap();
        for name in ["U\u{308}ber.md", "other.md"] {
            fs::write(temp.path().join(name), name).unwrap();
        }
        let dir = File::open(temp.path()).unwrap();
        let path = RelPath::root();
        let found = stat_in(dir.as_fd(), "U\u{308}ber.md", &path).unwrap();
        let spelled =
            |asked| name_of_inode(dir.as_fd(), Identity::from(&found), asked, &path).unwrap();
        assert_eq!(spelled("\u{fc}BER.MD"), "U\u{308}ber.md");
        assert_eq!(spelled("u\u{ad}\u{308}ber.md"), "U\u{308}ber.md");
        assert_eq!(
            spelled("OTHER.md"),
            "U\u{308}ber.md",
            "the same letters, another file"
        );
        assert_eq!(spelled("UBER~1.MD"), "U\u{308}ber.md", "a fold of its own");
        assert_eq!(
            spelled("other.md"),
            "other.md",
            "listed as it was asked for"
        );
        assert_eq!(spelled("U\u{308}ber.md"), "U\u{308}ber.md");
    }
}
