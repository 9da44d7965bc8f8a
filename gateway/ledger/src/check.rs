//! Holding the log and the rows against each other.
//!
//! Full: the chain and a fold of all events from nothing, each checkpoint's digest on the way, then every row. Recent
//! (each boot): the rows as they were at the last checkpoint are rebuilt from the values kept since, must have that
//! checkpoint's digest, and a fold of the events after it must give the rows as they are.
//! Finds accidents and clumsy edits. Who can write the file can also recompute an unkeyed chain; `audit-heads.jsonl`
//! and exports kept elsewhere are what contradicts them then.

use std::collections::{BTreeMap, HashSet};
use std::fmt;

use crate::digest::RowDigest;
use crate::event::{Head, Recorded, hex};
use crate::heads::Noted;
use crate::machine::{CHECKPOINT, Machine};
use crate::store::{StoreError, View};

/// The first thing found wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// This event is not what was recorded.
    Event {
        /// Its place in the log.
        seq: u64,
        /// Its id, as far as it can still be read.
        id: Option<String>,
        /// What is wrong.
        why: String,
    },
    /// There is no event with this number, though there are later ones.
    Missing {
        /// Its place in the log.
        seq: u64,
    },
    /// This row is not what the events lead to.
    Row {
        /// The row's key.
        key: String,
        /// What is wrong.
        why: &'static str,
    },
    /// The values kept for this checkpoint are not the ones it vouches for, though all events and rows agree.
    Checkpoint {
        /// Its place in the log; 0 stands for the beginning.
        seq: u64,
        /// What is wrong.
        why: String,
    },
    /// `audit-heads.jsonl` knows of another log: it was cut short, put back or written anew.
    Head {
        /// The sequence in the file of heads.
        seq: u64,
        /// What is wrong.
        why: &'static str,
    },
    /// redb's own check failed; the rest was not looked at.
    Pages {
        /// What redb says.
        why: String,
    },
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Event {
                seq,
                id: Some(id),
                why,
            } => write!(f, "event {seq} ({id}): {why}"),
            Self::Event { seq, id: None, why } => write!(f, "event {seq}: {why}"),
            Self::Missing { seq } => write!(f, "event {seq} is missing"),
            Self::Row { key, why } => write!(f, "row `{key}`: {why}"),
            Self::Checkpoint { seq, why } => write!(f, "values kept for checkpoint {seq}: {why}"),
            Self::Head { seq, why } => write!(f, "head {seq} in audit-heads.jsonl: {why}"),
            Self::Pages { why } => write!(f, "the file's own structure: {why}"),
        }
    }
}

/// Why a check did not end well.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    /// Something is wrong with the content.
    #[error("{0}")]
    Found(Finding),
    /// The storage could not be read.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<Finding> for CheckError {
    fn from(finding: Finding) -> Self {
        Self::Found(finding)
    }
}

/// What a check that found nothing wrong has looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verified {
    /// The end of the log.
    pub head: Head,
    /// Events whose hash was recomputed.
    pub events: u64,
    /// Checkpoints whose digest was recomputed.
    pub checkpoints: u64,
    /// Rows compared.
    pub rows: u64,
    /// Lines of `audit-heads.jsonl` compared.
    pub heads: u64,
}

/// State and position that a check of the recent part arrived at.
pub(crate) struct Loaded<M: Machine> {
    pub(crate) state: M::State,
    pub(crate) head: Head,
    pub(crate) digest: RowDigest,
    /// Rows whose value at the last checkpoint is already kept.
    pub(crate) kept: HashSet<String>,
    pub(crate) checkpoint: u64,
    pub(crate) indexed: u64,
    pub(crate) verified: Verified,
}

/// Checks the part after the last checkpoint and gives the state it leads to.
pub(crate) fn recent<M: Machine>(view: &View) -> Result<Loaded<M>, CheckError> {
    let checkpoint = view.checkpoint()?;
    let (rows, base) = (view.rows()?, view.base()?);
    let mut then = rows.clone();
    for (key, value) in &base {
        match value {
            Some(value) => drop(then.insert(key.clone(), value.clone())),
            None => drop(then.remove(key)),
        }
    }
    let (start, digest) = match checkpoint {
        0 => (Head::START, RowDigest::default().hex()),
        seq => checkpoint_at(view, seq)?,
    };
    if RowDigest::of(then.iter()).hex() != digest {
        // Name the row, if a fold of everything can; the digest alone cannot.
        full::<M>(view)?;
        let why = "they do not have its digest".to_owned();
        return Err(Finding::Checkpoint {
            seq: checkpoint,
            why,
        }
        .into());
    }
    let state = M::restore(then.into_iter()).map_err(|e| Finding::Checkpoint {
        seq: checkpoint,
        why: e.0,
    })?;
    let mut fold = Fold::<M> {
        head: start,
        state,
        checkpoints: 0,
        touched: HashSet::new(),
    };
    fold.rest(view)?;
    compare::<M>(&fold.state, &rows)?;
    // A row that was touched and has its old value again was never kept; one that was kept may be back as well.
    if let Some(key) = base.keys().find(|key| !fold.touched.contains(*key)) {
        return Err(Finding::Row {
            key: key.clone(),
            why: "kept as changed, but no event changed it",
        }
        .into());
    }
    let events = fold.head.seq - checkpoint;
    let verified = Verified {
        head: fold.head,
        events,
        checkpoints: fold.checkpoints,
        rows: rows.len() as u64,
        heads: 0,
    };
    Ok(Loaded {
        state: fold.state,
        head: fold.head,
        digest: RowDigest::of(rows.iter()),
        kept: base.into_keys().collect(),
        checkpoint,
        indexed: view.indexed()?,
        verified,
    })
}

/// Checks all of it, from the first event.
pub(crate) fn full<M: Machine>(view: &View) -> Result<Verified, CheckError> {
    let rows = view.rows()?;
    let mut fold = Fold::<M> {
        head: Head::START,
        state: M::State::default(),
        checkpoints: 0,
        touched: HashSet::new(),
    };
    fold.rest(view)?;
    compare::<M>(&fold.state, &rows)?;
    Ok(Verified {
        head: fold.head,
        events: fold.head.seq,
        checkpoints: fold.checkpoints,
        rows: rows.len() as u64,
        heads: 0,
    })
}

/// Compares the noted heads with the log. Read them before the view is opened: both may be growing.
pub(crate) fn heads(view: &View, noted: &[Noted]) -> Result<u64, CheckError> {
    let last = view.last_seq()?;
    for line in noted {
        if line.seq > last {
            return Err(Finding::Head {
                seq: line.seq,
                why: "the log ends before it",
            }
            .into());
        }
        if view
            .event(line.seq)?
            .is_none_or(|event| hex(&event.hash()) != line.hash)
        {
            return Err(Finding::Head {
                seq: line.seq,
                why: "the log has another hash there",
            }
            .into());
        }
    }
    Ok(noted.len() as u64)
}

struct Fold<M: Machine> {
    head: Head,
    state: M::State,
    checkpoints: u64,
    touched: HashSet<String>,
}

impl<M: Machine> Fold<M> {
    /// Folds every event after the head.
    fn rest(&mut self, view: &View) -> Result<(), CheckError> {
        let mut found = None;
        view.walk(self.head.seq + 1, |key, stored| {
            found = self.step(key, stored).err();
            Ok(found.is_none())
        })?;
        found.map_or(Ok(()), |finding| Err(finding.into()))
    }

    fn step(&mut self, key: u64, stored: &[u8]) -> Result<(), Finding> {
        if key != self.head.seq + 1 {
            return Err(Finding::Missing {
                seq: self.head.seq + 1,
            });
        }
        let (head, event) = follow(&self.head, key, stored.to_vec())?;
        let wrong = |why: String| unreadable(key, Some(&event), why);
        if event.event_type() == CHECKPOINT {
            let rows: BTreeMap<_, _> = M::all_rows(&self.state).into_iter().collect();
            if noted_digest(&event).as_deref() != Some(&RowDigest::of(rows.iter()).hex()) {
                return Err(wrong(
                    "the events before it do not lead to the rows it vouches for".to_owned(),
                ));
            }
            self.checkpoints += 1;
            self.touched.clear();
        } else {
            let act = M::decode(event.event_type(), &event.members()).map_err(|e| wrong(e.0))?;
            self.touched.extend(M::touched_rows(&act, event.id()));
            M::apply(&mut self.state, &act, event.id(), event.at());
        }
        self.head = head;
        Ok(())
    }
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

/// The id in bytes that may be damaged elsewhere.
pub(crate) fn id_in(stored: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(stored);
    let at = text.find("\"evt_")? + 1;
    let id = text.get(at..at + 40)?;
    id.bytes()
        .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'))
        .then(|| id.to_owned())
}

fn unreadable(seq: u64, event: Option<&Recorded>, why: String) -> Finding {
    Finding::Event {
        seq,
        id: event.map(|e| e.id().to_string()),
        why,
    }
}

/// The head at a checkpoint and the digest it vouches for.
fn checkpoint_at(view: &View, seq: u64) -> Result<(Head, String), CheckError> {
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
        other => other.into(),
    }
}

fn noted_digest(event: &Recorded) -> Option<String> {
    let members: serde_json::Value = serde_json::from_slice(&event.members()).ok()?;
    Some(members.get("rows")?.as_str()?.to_owned())
}

fn compare<M: Machine>(state: &M::State, rows: &BTreeMap<String, Vec<u8>>) -> Result<(), Finding> {
    let folded: BTreeMap<_, _> = M::all_rows(state).into_iter().collect();
    for (key, value) in &folded {
        match rows.get(key) {
            None => {
                return Err(Finding::Row {
                    key: key.clone(),
                    why: "the events make it, the table lacks it",
                });
            }
            Some(stored) if stored != value => {
                return Err(Finding::Row {
                    key: key.clone(),
                    why: "the events lead to another value",
                });
            }
            Some(_) => {}
        }
    }
    match rows.keys().find(|key| !folded.contains_key(*key)) {
        Some(key) => Err(Finding::Row {
            key: key.clone(),
            why: "no event makes it",
        }),
        None => Ok(()),
    }
}
