//! Holding the log and the rows against each other.
//!
//! Full (here): the chain and a fold of all events from nothing, each checkpoint's digest on the way, then every row.
//! Recent (each start): [`crate::recent`].
//! Finds accidents and clumsy edits. Who can write the file can also recompute an unkeyed chain; `audit-heads.jsonl`
//! and exports kept elsewhere are what contradicts them then.

use std::collections::{HashMap, HashSet};

use crate::archive;
use crate::digest::RowDigest;
use crate::event::{Head, Recorded, hex};
use crate::finding::{CheckError, Finding, Unknown};
use crate::heads::Noted;
use crate::machine::{CHECKPOINT, DecodeError, FORGOTTEN, Machine, Restored, Rows, SEALED};
use crate::store::{StoreError, View};

/// What a check that found nothing wrong has looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verified {
    /// The end of the log.
    pub head: Head,
    /// Number of the first event whose hash was recomputed; 1 in a check of everything, unless archives were given up.
    pub first: u64,
    /// Events whose hash was recomputed.
    pub events: u64,
    /// Checkpoints whose digest was recomputed.
    pub checkpoints: u64,
    /// Rows compared.
    pub rows: u64,
    /// Lines of `audit-heads.jsonl` compared.
    pub heads: u64,
    /// Archives whose digest was recomputed.
    pub archives: u64,
}

/// See [`Loaded::older`].
pub(crate) type Older = HashMap<String, Option<Vec<u8>>>;

/// State and position that a check of the recent part arrived at.
pub(crate) struct Loaded<M: Machine> {
    pub(crate) state: M::State,
    pub(crate) head: Head,
    pub(crate) digest: RowDigest,
    /// Rows whose value at the last checkpoint is already kept.
    pub(crate) kept: HashSet<String>,
    /// Rows as an earlier version left them (`None`: not at all), where this one would write them otherwise.
    pub(crate) older: Older,
    pub(crate) checkpoint: u64,
    pub(crate) verified: Verified,
}

/// The first thing that a check of everything finds, if that is not an archive or its reading: no start needs one.
pub(crate) fn named<M: Machine>(view: &View) -> Result<(), CheckError> {
    match full::<M>(view) {
        Ok(_) | Err(CheckError::Found(Finding::Archive { .. }) | CheckError::Store(_)) => Ok(()),
        Err(error) => Err(error),
    }
}

/// Checks all of it, from the first event, archives first. Where the owner has given archives up, what is left of the
/// chain; the rows are then those of the last checkpoint's digest and no more.
pub(crate) fn full<M: Machine>(view: &View) -> Result<Verified, CheckError> {
    let archives = archive::sound(view.archive_folder(), view.archives()?)?;
    if let Some(gone) = view.archives()?.iter().rposition(|a| a.forgotten) {
        return left::<M>(view, gone, archives);
    }
    let rows = view.rows()?;
    let mut fold = Fold::<M> {
        head: Head::START,
        state: M::State::default(),
        rows: Rows::new(),
        checkpoints: 0,
        touched: HashSet::new(),
        archived: Vec::new(),
    };
    fold.rest(view)?;
    archive::held_against(view.archives()?, &fold.archived)?;
    fold.compare(&rows)?;
    Ok(Verified {
        head: fold.head,
        first: 1,
        events: fold.head.seq,
        checkpoints: fold.checkpoints,
        rows: rows.len() as u64,
        heads: 0,
        archives,
    })
}

/// The chain after the archive at `gone`, the last that was given up.
fn left<M: Machine>(view: &View, gone: usize, archives: u64) -> Result<Verified, CheckError> {
    let list = view.archives()?;
    let start = archive::end(&list[..=gone])?;
    let (mut head, mut said, mut checkpoints, mut found) = (start, Vec::new(), 0, None);
    let walked = view.walk(start.seq + 1, |seq, stored| {
        match follow(&head, seq, stored.to_vec()) {
            Ok((next, event)) => {
                head = next;
                checkpoints += u64::from(event.event_type() == CHECKPOINT);
                if matches!(event.event_type(), SEALED | FORGOTTEN) {
                    said.push(event);
                }
            }
            Err(finding) => found = Some(finding),
        }
        Ok(found.is_none())
    });
    walked.map_err(damaged)?;
    if let Some(finding) = found {
        return Err(finding.into());
    }
    archive::held_against(list, &said)?;
    Ok(Verified {
        head,
        first: start.seq + 1,
        events: head.seq - start.seq,
        checkpoints,
        rows: crate::recent::recent::<M>(view)?.verified.rows,
        heads: 0,
        archives,
    })
}

/// Compares the noted heads with the log. Read them before the view is opened: both may be growing.
pub(crate) fn heads(view: &View, noted: &[Noted]) -> Result<u64, CheckError> {
    let gone = view.archives()?.iter().rfind(|a| a.forgotten);
    let gone = gone.map_or(0, |archive| archive.last);
    match contradicted(view, noted.iter().filter(|line| line.seq > gone))? {
        Some((_, finding)) => Err(finding.into()),
        None => Ok(noted.len() as u64),
    }
}

/// The first of these lines that the log contradicts, and how.
pub(crate) fn contradicted<'n>(
    view: &View,
    noted: impl Iterator<Item = &'n Noted>,
) -> Result<Option<(&'n Noted, Finding)>, StoreError> {
    let last = view.last_seq()?;
    for line in noted {
        let why = if line.seq > last {
            "the log ends before it"
        } else if view
            .event(line.seq)?
            .is_none_or(|event| hex(&event.hash()) != line.hash)
        {
            "the log has another hash there"
        } else {
            continue;
        };
        let seq = line.seq;
        return Ok(Some((line, Finding::Head { seq, why })));
    }
    Ok(None)
}

struct Fold<M: Machine> {
    head: Head,
    /// What the events mean to this version.
    state: M::State,
    /// What they wrote, in their own bytes.
    rows: Rows,
    checkpoints: u64,
    touched: HashSet<String>,
    /// The ledger's own events about archives.
    archived: Vec<Recorded>,
}

impl<M: Machine> Fold<M> {
    /// Folds every event after the head.
    fn rest(&mut self, view: &View) -> Result<(), CheckError> {
        let mut found = None;
        view.walk(self.head.seq + 1, |key, stored| {
            found = self.step(key, stored).err();
            Ok(found.is_none())
        })
        .map_err(damaged)?;
        found.map_or(Ok(()), Err)
    }

    fn step(&mut self, key: u64, stored: &[u8]) -> Result<(), CheckError> {
        let (head, event) = in_turn(&self.head, key, stored)?;
        if event.event_type() == CHECKPOINT {
            vouches(&event, &RowDigest::of(self.rows.iter()))?;
            self.checkpoints += 1;
            self.touched.clear();
        } else if matches!(event.event_type(), SEALED | FORGOTTEN) {
            self.archived.push(event);
        } else {
            let later = |error| later_event(key, error);
            let members = event.members();
            let act = M::decode(event.event_type(), &members).map_err(later)?;
            M::replay(&mut self.rows, event.id(), &members).map_err(later)?;
            self.touched.extend(M::touched_rows(&act, event.id()));
            M::apply(&mut self.state, &act, event.id(), event.at());
        }
        self.head = head;
        Ok(())
    }

    /// Holds the table against the fold twice: byte for byte against what the events wrote, so that no edit passes as
    /// another version's spelling; and, as this version reads both, against what they mean.
    fn compare(&self, stored: &Rows) -> Result<(), CheckError> {
        differs(&self.rows, stored)?;
        let read = restored::<M>(stored).map_err(later_rows)?.state;
        let read: Rows = M::all_rows(&read).into_iter().collect();
        let folded: Rows = M::all_rows(&self.state).into_iter().collect();
        Ok(differs(&folded, &read)?)
    }
}

/// The state of some rows, read in one part.
pub(crate) fn restored<M: Machine>(rows: &Rows) -> Result<Restored<M>, DecodeError> {
    let rows = rows.iter().map(|(key, value)| (key.as_str(), &value[..]));
    M::restore(vec![M::read(rows)?])
}

/// Reads a stored event and checks that it is number `seq` and follows `head`.
pub(crate) fn follow(head: &Head, seq: u64, stored: Vec<u8>) -> Result<(Head, Recorded), Finding> {
    let id = id_in(&stored);
    let event = Recorded::from_stored(stored).map_err(|why| Finding::Event {
        seq,
        id: id.clone(),
        why,
    })?;
    match head.follow(&event) {
        Ok(head) => Ok((head, event)),
        Err(why) => Err(Finding::Event { seq, id, why }),
    }
}

/// The event under `key`, if it is whole and the one that follows `head`.
pub(crate) fn in_turn(head: &Head, key: u64, stored: &[u8]) -> Result<(Head, Recorded), Finding> {
    let seq = head.seq + 1;
    if key != seq {
        return Err(Finding::Missing { seq });
    }
    follow(head, key, stored.to_vec())
}

/// Whether the checkpoint `event` vouches for the rows that the events before it lead to.
pub(crate) fn vouches(event: &Recorded, rows: &RowDigest) -> Result<(), Finding> {
    if noted_digest(event).as_deref() == Some(&rows.hex()) {
        return Ok(());
    }
    let why = "the events before it do not lead to the rows it vouches for".to_owned();
    Err(unreadable(event.seq(), Some(event), why))
}

/// An event whose hash is right is what was recorded: what cannot be read of it is a later version's.
pub(crate) fn later_event(key: u64, error: DecodeError) -> Unknown {
    let what = format!("event {key}");
    Unknown { what, why: error.0 }
}

/// The id in bytes that may be damaged elsewhere.
pub(crate) fn id_in(stored: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(stored);
    let at = text.find("\"evt_")? + 1;
    let id = text.get(at..at + 40)?;
    id.bytes()
        .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'))
        .then(|| id.to_owned())
}

pub(crate) fn unreadable(seq: u64, event: Option<&Recorded>, why: String) -> Finding {
    Finding::Event {
        seq,
        id: event.map(|e| e.id().to_string()),
        why,
    }
}

/// The head at a checkpoint and the digest it vouches for.
pub(crate) fn checkpoint_at(view: &View, seq: u64) -> Result<(Head, String), CheckError> {
    let before = match seq {
        1 => Head::START,
        _ => match view.event(seq - 1) {
            Ok(Some(event)) => Head::of(&event),
            Ok(None) => return Err(Finding::Missing { seq: seq - 1 }.into()),
            Err(e) => return Err(damaged(e)),
        },
    };
    let event = match view.event(seq) {
        Ok(Some(event)) => event,
        Ok(None) => return Err(Finding::Missing { seq }.into()),
        Err(e) => return Err(damaged(e)),
    };
    let head = before
        .follow(&event)
        .map_err(|why| unreadable(seq, Some(&event), why))?;
    match noted_digest(&event) {
        Some(digest) if event.event_type() == CHECKPOINT => Ok((head, digest)),
        _ => Err(unreadable(
            seq,
            Some(&event),
            "it should be the last checkpoint".to_owned(),
        )
        .into()),
    }
}

fn damaged(error: StoreError) -> CheckError {
    match error {
        StoreError::Unreadable { seq, why } => Finding::Event { seq, id: None, why }.into(),
        StoreError::Archive {
            file,
            first,
            last,
            why,
        } => Finding::Archive {
            file,
            first,
            last,
            why,
        }
        .into(),
        other => other.into(),
    }
}

fn noted_digest(event: &Recorded) -> Option<String> {
    let members: serde_json::Value = serde_json::from_slice(&event.members()).ok()?;
    Some(members.get("rows")?.as_str()?.to_owned())
}

pub(crate) fn later_rows(error: DecodeError) -> Unknown {
    let what = "the rows".to_owned();
    Unknown { what, why: error.0 }
}

/// Whether a row that the events `made` is the one `found` in the table.
pub(crate) fn same(
    key: &str,
    made: Option<&Vec<u8>>,
    found: Option<&Vec<u8>>,
) -> Result<(), Finding> {
    let why = match (made, found) {
        (Some(_), None) => "the events make it, the table lacks it",
        (None, Some(_)) => "no event makes it",
        (made, found) if made != found => "the events lead to another value",
        _ => return Ok(()),
    };
    let key = key.to_owned();
    Err(Finding::Row { key, why })
}

/// The first row that one side has otherwise than the other; `found` stands in the table, `made` by the events.
fn differs(made: &Rows, found: &Rows) -> Result<(), Finding> {
    for (key, value) in made {
        same(key, Some(value), found.get(key))?;
    }
    match found.keys().find(|key| !made.contains_key(*key)) {
        Some(extra) => same(extra, None, found.get(extra)),
        None => Ok(()),
    }
}
