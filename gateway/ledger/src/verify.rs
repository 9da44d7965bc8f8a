//! Verifying what is not the running ledger: a copy of its file, an export, or archives that stand alone.

use std::collections::HashSet;
use std::fmt;
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::Path;

use redb::DatabaseError;
use serde::de::{Deserializer as _, IgnoredAny, MapAccess, Visitor};

use crate::archive::{self, Archive, LIST, digest_text};
use crate::check::{self, Verified};
use crate::event::{Head, unhex};
use crate::finding::{CheckError, Finding};
use crate::heads;
use crate::ledger::{OpenError, verify_view};
use crate::machine::Machine;
use crate::store::{FORMATS, StoreError, View, archive_folder, open_unchanged};

/// Checks a copy of a ledger file, offline: redb's own integrity first, then everything, then `heads` (a copy of
/// `audit-heads.jsonl`) if given. Its archives are looked for in `archive` beside it. Nothing is changed: the file
/// may be evidence.
///
/// # Errors
/// [`OpenError::Damaged`] with the first thing that is wrong; otherwise why the file could not be looked at.
pub fn verify_file<M: Machine>(path: &Path, heads: Option<&Path>) -> Result<Verified, OpenError> {
    let pages = |why: String| OpenError::Damaged(Finding::Pages { why });
    let mut db = match open_unchanged(path) {
        Err(DatabaseError::Storage(redb::StorageError::Corrupted(why))) => return Err(pages(why)),
        opened => opened?,
    };
    match db.check_integrity() {
        Ok(true) => {}
        Ok(false) => {
            return Err(pages(
                "checksums did not match; an older commit was put back".to_owned(),
            ));
        }
        Err(DatabaseError::Storage(redb::StorageError::Corrupted(why))) => return Err(pages(why)),
        Err(error) => return Err(error.into()),
    }
    let view = View::of(&db, archive_folder(path))?;
    match view.format()? {
        Some(format) if FORMATS.contains(&format) => {}
        found => {
            return Err(OpenError::Format {
                found: found.unwrap_or(0),
            });
        }
    }
    let noted = match heads {
        Some(path) => heads::read(path).map_err(|error| OpenError::Io {
            what: "reading the heads",
            error,
        })?,
        None => Vec::new(),
    };
    verify_view::<M>(&view, &noted, true).map_err(|error| OpenError::found(error, &view))
}

/// What an export that holds together contains.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VerifiedExport {
    /// Number of the first event. If it is not 1, that event is the anchor: only what follows it is proven.
    pub first: u64,
    /// The last event.
    pub head: Head,
}

/// Checks an export: each line's hash must follow from its text and the line before. `None`: there is no line.
///
/// # Errors
/// [`CheckError::Found`] with the first bad event; [`CheckError::Store`] when reading fails.
pub fn verify_export(export: impl BufRead) -> Result<Option<VerifiedExport>, CheckError> {
    let mut so_far: Option<VerifiedExport> = None;
    for line in export.lines() {
        let line = line.map_err(|e| read_failed(e, "the export"))?;
        let expected = so_far.map_or(1, |v| v.head.seq + 1);
        let bad = |why: &str| Finding::Event {
            seq: expected,
            id: check::id_in(line.as_bytes()),
            why: why.to_owned(),
        };
        let (hash, json) = line
            .split_once(' ')
            .ok_or_else(|| bad("the line is not a hash, a space and JSON"))?;
        let hash = unhex(hash).ok_or_else(|| bad("its hash is not 64 lower-case hex digits"))?;
        // The chain holds whatever it was made over. A program that reads exports must be able to rely on what it finds.
        if !is_one_object(json) {
            return Err(bad("it is not one JSON object with each member once").into());
        }
        let stored = [&hash, json.as_bytes()].concat();
        let head = match so_far {
            Some(so_far) => check::follow(&so_far.head, expected, stored)?.0,
            None => {
                let event =
                    crate::event::Recorded::from_stored(stored.clone()).map_err(|why| bad(&why))?;
                if event.seq() == 1 {
                    check::follow(&Head::START, 1, stored)?.0
                } else if event.id().seq() == event.seq() {
                    Head::of(&event)
                } else {
                    return Err(bad("its id carries another number").into());
                }
            }
        };
        so_far = Some(VerifiedExport {
            first: so_far.map_or(head.seq, |v| v.first),
            head,
        });
    }
    Ok(so_far)
}

/// What archives that hold together contain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VerifiedArchives {
    /// How many files.
    pub archives: u64,
    /// Number of the first event in them. If it is not 1, what was before it is not proven.
    pub first: u64,
    /// The last event in them.
    pub head: Head,
}

/// Checks the archives in `folder` without their ledger, by the list beside them.
///
/// # Errors
/// [`CheckError::Found`] with the first thing that is wrong; [`CheckError::Store`] when a file cannot be read.
pub fn verify_archives(folder: &Path) -> Result<Option<VerifiedArchives>, CheckError> {
    let text = match std::fs::read_to_string(folder.join(LIST)) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        text => text.map_err(|e| read_failed(e, LIST))?,
    };
    let mut list = Vec::new();
    for (at, line) in text.lines().enumerate() {
        let archive: Archive = serde_json::from_str(line).map_err(|e| Finding::Pages {
            why: format!("line {} of {LIST}: {e}", at + 1),
        })?;
        list.push(archive);
    }
    let archives = archive::sound(folder, &list)?;
    let mut found: Option<VerifiedArchives> = None;
    for archive in list.iter().filter(|a| !a.forgotten) {
        let file =
            File::open(folder.join(&archive.file)).map_err(|e| archive::unread(archive, &e))?;
        let checked = verify_export(BufReader::with_capacity(1 << 16, file))?
            .ok_or_else(|| archive::wrong(archive, "it is empty"))?;
        if checked.first != archive.first
            || checked.head.seq != archive.last
            || digest_text(&checked.head.hash) != archive.head
        {
            return Err(
                archive::wrong(archive, "its events are not those that its entry names").into(),
            );
        }
        let first = found.map_or(checked.first, |found| found.first);
        found = Some(VerifiedArchives {
            archives,
            first,
            head: checked.head,
        });
    }
    Ok(found)
}

/// Whether `text` is one JSON object that two readers take alike: a member that is there twice is another one to each.
fn is_one_object(text: &str) -> bool {
    struct Members;
    impl<'de> Visitor<'de> for Members {
        type Value = bool;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object")
        }
        fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<bool, A::Error> {
            let mut names = HashSet::new();
            let mut once = true;
            while let Some(name) = members.next_key::<String>()? {
                once &= names.insert(name);
                members.next_value::<IgnoredAny>()?;
            }
            Ok(once)
        }
    }
    let mut reader = serde_json::Deserializer::from_str(text);
    let once = reader.deserialize_map(Members).unwrap_or(false);
    once && reader.end().is_ok()
}

fn read_failed(error: io::Error, what: &str) -> CheckError {
    if error.kind() == io::ErrorKind::InvalidData {
        let why = format!("{what} is not text");
        return Finding::Pages { why }.into();
    }
    StoreError::from(redb::Error::Io(error)).into()
}
