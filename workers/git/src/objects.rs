//! Commits, trees and blobs, measured before they are unpacked.

use crate::{error::GitError, scope::CallScope};
use gix_hash::ObjectId;
use gix_object::{Find as _, Kind};
use gix_odb::Header as _;
use jiff::{Timestamp, tz};
use std::cell::{Cell, RefCell};

/// Largest commit or tag, in bytes.
const MAX_COMMIT: u64 = 1 << 20;
/// Most parents of a commit; git's own largest merges have some sixty.
const MAX_PARENTS: usize = 256;
/// Largest tree, in bytes, and in names.
const MAX_TREE: u64 = 16 << 20;
const MAX_ENTRIES: usize = 200_000;
/// Longest name in a tree, and longest path, in bytes: what a system takes for a path at most.
pub(crate) const MAX_NAME: usize = 4 << 10;
/// Largest blob, in bytes.
pub(crate) const MAX_BLOB: u64 = 8 << 20;

/// Reads objects for one call.
pub(crate) struct Reader {
    handle: gix_odb::HandleArc,
    buffer: RefCell<Vec<u8>>,
    /// Whether a tree had names that no folder can hold, which were left out.
    pub(crate) skipped_names: Cell<bool>,
}

/// A commit, as far as it is shown.
#[derive(Clone, Debug)]
pub(crate) struct Commit {
    pub(crate) id: ObjectId,
    pub(crate) tree: ObjectId,
    pub(crate) parents: Vec<ObjectId>,
    pub(crate) author: Person,
    pub(crate) committer: Person,
    pub(crate) message: String,
}

/// Who, and when.
#[derive(Clone, Debug, Default)]
pub(crate) struct Person {
    pub(crate) name: String,
    pub(crate) email: String,
    /// Seconds since 1970.
    pub(crate) seconds: i64,
    /// East of Greenwich, in seconds.
    offset: i32,
}

/// One name in a folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// What it stands for.
    pub kind: EntryKind,
    /// As the tree has it: the kind, and whether it may be executed.
    pub mode: u32,
    /// What it names.
    pub id: ObjectId,
}

/// What a name stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntryKind {
    /// A tree.
    Folder,
    /// A file, or the text of a link.
    Blob,
    /// A commit of another repository.
    Submodule,
}

impl std::fmt::Debug for Reader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Reader(…)")
    }
}

impl Reader {
    pub(crate) fn new(handle: gix_odb::HandleArc) -> Self {
        Self {
            handle,
            buffer: RefCell::default(),
            skipped_names: Cell::default(),
        }
    }

    /// Kind and size of an object.
    pub(crate) fn header(&self, id: &ObjectId) -> Result<(Kind, u64), GitError> {
        match self.handle.try_header(id) {
            Ok(Some(header)) => Ok((header.kind(), header.size())),
            Ok(None) => Err(GitError::NotFound(format!(
                "this clone does not have the object {id}"
            ))),
            Err(_) => Err(damaged(id)),
        }
    }

    pub(crate) fn read<T>(
        &self,
        id: &ObjectId,
        kind: Kind,
        most: u64,
        take: impl FnOnce(&[u8]) -> Result<T, GitError>,
    ) -> Result<T, GitError> {
        let (found, size) = self.header(id)?;
        if found != kind {
            return Err(GitError::Invalid(format!(
                "{id} is a {found}, not a {kind}"
            )));
        }
        if size > most {
            return Err(GitError::TooLarge(format!(
                "{id} has {size} bytes, at most {most} are read"
            )));
        }
        let mut buffer = self.buffer.borrow_mut();
        match self.handle.try_find(id, &mut buffer) {
            Ok(Some(data)) => take(data.data),
            Ok(None) => Err(GitError::NotFound(format!("{id} is gone"))),
            Err(_) => Err(damaged(id)),
        }
    }

    pub(crate) fn commit(&self, id: &ObjectId) -> Result<Commit, GitError> {
        self.read(id, Kind::Commit, MAX_COMMIT, |bytes| commit(*id, bytes))
    }

    /// What a tag names.
    pub(crate) fn tagged(&self, id: &ObjectId) -> Result<ObjectId, GitError> {
        self.read(id, Kind::Tag, MAX_COMMIT, |bytes| {
            let line = bytes.split(|b| *b == b'\n').next().unwrap_or_default();
            hex(line.strip_prefix(b"object ").unwrap_or_default())
        })
    }

    pub(crate) fn blob(&self, id: &ObjectId) -> Result<Vec<u8>, GitError> {
        self.read(id, Kind::Blob, MAX_BLOB, |bytes| Ok(bytes.to_vec()))
    }

    /// The names in a folder, in the order of git. Names that no folder can hold are left out.
    pub(crate) fn tree(&self, id: &ObjectId) -> Result<Vec<(Vec<u8>, Entry)>, GitError> {
        let (entries, skipped) = self.read(id, Kind::Tree, MAX_TREE, tree)?;
        self.skipped_names.set(self.skipped_names.get() || skipped);
        Ok(entries)
    }

    /// What lies at a path of this tree.
    pub(crate) fn at(
        &self,
        scope: &CallScope<'_>,
        tree: &ObjectId,
        path: &str,
    ) -> Result<Option<Entry>, GitError> {
        let mut folder = *tree;
        let mut parts = path.split('/').peekable();
        while let Some(part) = parts.next() {
            scope.go_on()?;
            let entries = self.tree(&folder)?;
            let Some((_, entry)) = entries
                .into_iter()
                .find(|(name, _)| name == part.as_bytes())
            else {
                return Ok(None);
            };
            if parts.peek().is_none() {
                return Ok(Some(entry));
            }
            if entry.kind != EntryKind::Folder {
                return Ok(None);
            }
            folder = entry.id;
        }
        Ok(None)
    }
}

impl Person {
    /// RFC 3339, with the offset that was written down.
    pub(crate) fn at(&self) -> String {
        let Ok(moment) = Timestamp::from_second(self.seconds) else {
            return "unknown".to_owned();
        };
        let offset = tz::Offset::from_seconds(self.offset).unwrap_or(tz::Offset::UTC);
        moment.display_with_offset(offset).to_string()
    }
}

impl Commit {
    /// The first line of the message.
    pub(crate) fn subject(&self) -> String {
        cut(self.message.lines().next().unwrap_or_default().trim(), 300)
    }

    /// Without what stands below the first line of its message: what is kept of a commit beside others.
    pub(crate) fn brief(mut self) -> Self {
        self.message = self.subject();
        self
    }

    /// What it takes in memory, in bytes, or a little more.
    pub(crate) fn weight(&self) -> usize {
        let texts = [&self.author, &self.committer].map(|by| by.name.len() + by.email.len());
        size_of::<Self>()
            + texts.iter().sum::<usize>()
            + self.message.capacity()
            + self.parents.capacity() * size_of::<ObjectId>()
    }

    /// The rest of the message.
    pub(crate) fn body(&self) -> String {
        let rest = self.message.split_once('\n').map_or("", |(_, rest)| rest);
        cut(rest.trim(), 4_000)
    }
}

/// At most `most` characters, with a mark where there were more.
pub(crate) fn cut(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.to_owned(),
    }
}

/// In our words: those of the library name paths of the owner's machine.
fn damaged(id: &ObjectId) -> GitError {
    GitError::Broken(format!("the object {id} cannot be read"))
}

fn hex(digits: &[u8]) -> Result<ObjectId, GitError> {
    ObjectId::from_hex(digits).map_err(|_| GitError::Broken("an object without an id".to_owned()))
}

pub(crate) fn commit(id: ObjectId, bytes: &[u8]) -> Result<Commit, GitError> {
    let end = memchr::memmem::find(bytes, b"\n\n").unwrap_or(bytes.len());
    let (head, message) = bytes.split_at(end);
    let mut commit = Commit {
        id,
        tree: ObjectId::null(gix_hash::Kind::Sha1),
        parents: Vec::new(),
        author: Person::default(),
        committer: Person::default(),
        message: String::new(),
    };
    let mut latin = false;
    for line in head.split(|byte| *byte == b'\n') {
        let (word, rest) = match line.iter().position(|byte| *byte == b' ') {
            Some(at) => (&line[..at], &line[at + 1..]),
            None => (line, &line[line.len()..]),
        };
        match word {
            b"tree" => commit.tree = hex(rest)?,
            b"parent" if commit.parents.len() == MAX_PARENTS => {
                return Err(GitError::TooLarge(format!(
                    "{id} has more than {MAX_PARENTS} parents"
                )));
            }
            b"parent" => commit.parents.push(hex(rest)?),
            b"author" => commit.author = person(rest),
            b"committer" => commit.committer = person(rest),
            b"encoding" => latin = rest.eq_ignore_ascii_case(b"ISO-8859-1"),
            _ => {}
        }
    }
    if commit.tree.is_null() {
        return Err(GitError::Broken(format!("the commit {id} has no tree")));
    }
    let message = message.strip_prefix(b"\n\n").unwrap_or_default();
    commit.message = if latin {
        message.iter().map(|byte| char::from(*byte)).collect()
    } else {
        String::from_utf8_lossy(message).into_owned()
    };
    Ok(commit)
}

/// `Name <email> seconds +hhmm`; what is missing is empty.
fn person(line: &[u8]) -> Person {
    let text = String::from_utf8_lossy(line);
    let (name, rest) = text.split_once('<').unwrap_or((&text, ""));
    let (email, when) = rest.rsplit_once('>').unwrap_or((rest, ""));
    let mut words = when.split_whitespace();
    let seconds = words.next().and_then(|w| w.parse().ok()).unwrap_or(0);
    let offset = words.next().and_then(offset).unwrap_or(0);
    Person {
        name: cut(name.trim(), 200),
        email: cut(email.trim(), 200),
        seconds,
        offset,
    }
}

fn offset(text: &str) -> Option<i32> {
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => (-1, digits),
        None => (1, text.strip_prefix('+')?),
    };
    let number: i32 = digits.parse().ok().filter(|n| (0..=2_400).contains(n))?;
    Some(sign * (number / 100 * 3_600 + number % 100 * 60))
}

/// The names of a folder, as git has them.
pub(crate) type Entries = Vec<(Vec<u8>, Entry)>;

/// The names, and whether some were left out.
pub(crate) fn tree(mut bytes: &[u8]) -> Result<(Entries, bool), GitError> {
    let broken = || GitError::Broken("a tree that cannot be read".to_owned());
    let (mut entries, mut skipped) = (Vec::new(), false);
    while !bytes.is_empty() {
        let space = memchr::memchr(b' ', bytes).ok_or_else(broken)?;
        let mode = std::str::from_utf8(&bytes[..space]).map_err(|_| broken())?;
        let mode = u32::from_str_radix(mode, 8).map_err(|_| broken())?;
        let rest = &bytes[space + 1..];
        let nul = memchr::memchr(0, rest).ok_or_else(broken)?;
        let name = &rest[..nul];
        if name.len() > MAX_NAME {
            return Err(GitError::TooLarge(format!(
                "a name of {} bytes in a folder, at most {MAX_NAME} are read",
                name.len()
            )));
        }
        if entries.len() == MAX_ENTRIES {
            return Err(GitError::TooLarge(format!(
                "a folder of more than {MAX_ENTRIES} names"
            )));
        }
        let id = rest.get(nul + 1..nul + 21).ok_or_else(broken)?;
        bytes = &rest[nul + 21..];
        let kind = match mode & 0o170_000 {
            0o040_000 => EntryKind::Folder,
            0o160_000 => EntryKind::Submodule,
            _ => EntryKind::Blob,
        };
        let odd = name.is_empty() || name == b"." || name == b".." || name.contains(&b'/');
        if odd {
            skipped = true;
        } else {
            let id = gix_hash::oid::try_from_bytes(id).map_err(|_| broken())?;
            entries.push((
                name.to_vec(),
                Entry {
                    kind,
                    mode,
                    id: id.to_owned(),
                },
            ));
        }
    }
    Ok((entries, skipped))
}
