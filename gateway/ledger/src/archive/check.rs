//! Holding archives against what is written down of them.
//!
//! Three statements about each file must agree with it and with each other: the ledger's table (or, where the files
//! stand alone, the list beside them), the event that sealed it, and the archive after it.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader};
use std::path::Path;

use sha2::{Digest as _, Sha256};

use super::{Archive, digest_text};
use crate::event::{GENESIS, Recorded};
use crate::finding::{CheckError, Finding};
use crate::machine::{FORGOTTEN, SEALED};
use crate::store::StoreError;

pub(crate) fn wrong(archive: &Archive, why: impl Into<String>) -> Finding {
    Finding::Archive {
        file: archive.file.clone(),
        first: archive.first,
        last: archive.last,
        why: why.into(),
    }
}

/// Checks the entries against each other (those given up are the first ones) and the files against their entries. How many
/// files were read.
pub(crate) fn sound(folder: &Path, list: &[Archive]) -> Result<u64, CheckError> {
    let (mut read, mut before): (u64, Option<&Archive>) = (0, None);
    for archive in list {
        let follows = match before {
            None => archive.first == 1 && archive.previous == digest_text(&GENESIS),
            Some(b) => archive.first == b.last + 1 && archive.previous == b.head,
        };
        if !follows || archive.before.as_ref() != before.map(|b| &b.sha256) {
            return Err(wrong(archive, "it does not follow from the archive before it").into());
        }
        if archive.forgotten && before.is_some_and(|b| !b.forgotten) {
            return Err(wrong(archive, "it was given up, and the one before it was not").into());
        }
        before = Some(archive);
        if archive.forgotten {
            continue;
        }
        let path = folder.join(&archive.file);
        let about = std::fs::metadata(&path).map_err(|e| unread(archive, &e))?;
        if !about.is_file() || about.len() != archive.bytes {
            return Err(wrong(archive, "it has another length than when it was sealed").into());
        }
        let digest = digest(&path).map_err(|e| unread(archive, &e))?;
        if digest != archive.sha256 {
            return Err(wrong(archive, "its content is not what was sealed").into());
        }
        read += 1;
    }
    Ok(read)
}

/// One that is not there is a finding; of one that the system does not read nothing is known.
pub(crate) fn unread(archive: &Archive, error: &io::Error) -> CheckError {
    use io::ErrorKind::{InvalidInput, NotADirectory, NotFound};
    if matches!(error.kind(), InvalidInput | NotADirectory | NotFound) {
        return wrong(archive, "it is missing").into();
    }
    let named = format!("archive {}: {error}", archive.file);
    let named = io::Error::new(error.kind(), named);
    StoreError::from(redb::Error::Io(named)).into()
}

fn digest(path: &Path) -> io::Result<String> {
    let mut reader = BufReader::with_capacity(1 << 20, File::open(path)?);
    let mut digest = Sha256::new();
    loop {
        let bytes = reader.fill_buf()?;
        if bytes.is_empty() {
            return Ok(digest_text(&digest.finalize()));
        }
        digest.update(bytes);
        let read = bytes.len();
        reader.consume(read);
    }
}

/// Holds the table against what the log says of its archives: `said` are the ledger's own events about them, in their
/// order.
pub(crate) fn held_against(list: &[Archive], said: &[Recorded]) -> Result<(), Finding> {
    let about = |event: &Recorded| serde_json::from_slice::<Archive>(&event.members()).ok();
    let sealed: Vec<_> = said.iter().filter(|e| e.event_type() == SEALED).collect();
    // What was given up may have held the events about the oldest of them.
    let gone = list.iter().take_while(|a| a.forgotten).count();
    let mut left = list[gone.min(list.len().saturating_sub(sealed.len()))..].iter();
    for event in sealed {
        let named = about(event);
        let entry = left.next();
        let same = named.as_ref().zip(entry).is_some_and(|(named, entry)| {
            Archive {
                forgotten: named.forgotten,
                ..entry.clone()
            } == *named
        });
        if !same {
            return Err(Finding::Event {
                seq: event.seq(),
                id: Some(event.id().to_string()),
                why: "it names an archive that the ledger does not, or names otherwise".to_owned(),
            });
        }
    }
    match left.next() {
        Some(extra) => Err(wrong(extra, "no event says that it was sealed")),
        None => Ok(()),
    }?;
    let given_up = |archive: &Archive| {
        let members = super::forgotten_members(archive);
        said.iter()
            .any(|e| e.event_type() == FORGOTTEN && e.members() == members.as_bytes())
    };
    // An owner who gives one up gives up all before it, and what was said of those may have gone with it. What was said of the
    // last lies after it, and so is there.
    match list.iter().rfind(|a| a.forgotten) {
        Some(archive) if !given_up(archive) => {
            Err(wrong(archive, "no event says that it was given up"))
        }
        _ => Ok(()),
    }
}
