//! Deciding a batch of commands: what would change, worked out in memory before any of it is written.
//!
//! Invariant: the batch's state and rows are what its records lead to; a command contributes all its events or none.

use std::collections::{BTreeSet, VecDeque};
use std::ops::Range;
use std::sync::Arc;

use crate::check::Older;
use crate::digest::RowDigest;
use crate::event::{Head, LAST_MS, Recorded};
use crate::index::Mark;
use crate::ledger::Clock;
use crate::machine::{CHECKPOINT, Machine, is_own};
use crate::store::RowChange;
use crate::writer::{Job, MOST};

/// What a batch of commands would change.
pub(super) struct Batch<M: Machine> {
    pub(super) state: M::State,
    pub(super) head: Head,
    pub(super) records: Vec<Arc<Recorded>>,
    /// What each of the records can be found by.
    pub(super) marks: Vec<Vec<Mark>>,
    pub(super) rows: Vec<RowChange>,
    /// One for each command taken, in their order.
    pub(super) decided: Vec<Decided<M>>,
    touched: BTreeSet<String>,
}

/// What came of one command.
pub(super) enum Decided<M: Machine> {
    /// Its reply, and which records are its own.
    Done(M::Reply, Range<usize>),
    Refused(M::Refusal),
    /// The machine gave an event that cannot be written down.
    Unwritable(String),
}

impl<M: Machine> Batch<M> {
    /// Nothing yet, after `head`.
    pub(super) fn after(head: Head, state: M::State) -> Self {
        let (records, marks, rows, decided, touched) = Default::default();
        Self {
            state,
            head,
            records,
            marks,
            rows,
            decided,
            touched,
        }
    }

    /// Decides as many of `jobs` as one commit takes, each on the state that the one before it left.
    pub(super) fn decide(
        head: Head,
        before: &M::State,
        jobs: &VecDeque<Job<M>>,
        older: &Older,
        clock: &Clock,
    ) -> Self {
        let mut batch = Self::after(head, before.clone());
        for job in jobs {
            if batch.records.len() >= MOST {
                break;
            }
            // A clock that was set back does not make the log run backwards.
            let now = clock().clamp(batch.head.at, LAST_MS);
            let decided = match M::decide(&batch.state, &job.command, now) {
                Ok((events, reply)) => match batch.record(&events, now) {
                    Ok(records) => Decided::Done(reply, records),
                    Err(why) => Decided::Unwritable(why),
                },
                Err(refusal) => Decided::Refused(refusal),
            };
            batch.decided.push(decided);
        }
        for key in std::mem::take(&mut batch.touched) {
            let stored = older.get(&key).cloned();
            let old = stored.unwrap_or_else(|| M::row(before, &key));
            let new = M::row(&batch.state, &key);
            if old != new {
                batch.rows.push(RowChange { key, old, new });
            }
        }
        batch
    }

    /// Ends the batch with a checkpoint.
    pub(super) fn seal_checkpoint(&mut self, digest: &RowDigest, at: u64) -> Result<(), String> {
        let members = format!(r#"{{"rows":"{}"}}"#, digest.hex());
        self.seal(
            CHECKPOINT,
            at.clamp(self.head.at, LAST_MS),
            Vec::new(),
            |into| {
                into.extend_from_slice(members.as_bytes());
            },
        )
    }

    /// Ends the batch with an event of the ledger's own about an archive; `members` is one JSON object.
    pub(super) fn seal_own(&mut self, kind: &str, at: u64, members: &str) -> Result<(), String> {
        self.seal(kind, at.clamp(self.head.at, LAST_MS), Vec::new(), |into| {
            into.extend_from_slice(members.as_bytes());
        })
    }

    /// The digest of all rows after this batch, given the one before.
    pub(super) fn digest(&self, mut digest: RowDigest) -> RowDigest {
        for RowChange { key, old, new } in &self.rows {
            old.iter().for_each(|value| digest.remove(key, value));
            new.iter().for_each(|value| digest.add(key, value));
        }
        digest
    }

    /// Writes the events down and applies them; all or none.
    fn record(&mut self, events: &[M::Event], now: u64) -> Result<Range<usize>, String> {
        let (first, start) = (self.records.len(), self.head);
        for event in events {
            let sealed = match M::event_type(event) {
                kind if is_own(kind) => Err(format!("`{kind}` is the ledger's own type")),
                kind => {
                    let marks = Mark::all(&M::index_terms(event));
                    self.seal(kind, now, marks, |into| M::encode(event, into))
                }
            };
            if let Err(why) = sealed {
                tracing::error!(name: "ledger.event_unwritable", error = why, "an event cannot be written down");
                self.records.truncate(first);
                self.marks.truncate(first);
                self.head = start;
                return Err(why);
            }
        }
        for (event, record) in events.iter().zip(&self.records[first..]) {
            M::apply(&mut self.state, event, record.id(), now);
            self.touched.extend(M::touched_rows(event, record.id()));
        }
        Ok(first..self.records.len())
    }

    fn seal(
        &mut self,
        kind: &str,
        at: u64,
        marks: Vec<Mark>,
        members: impl FnOnce(&mut Vec<u8>),
    ) -> Result<(), String> {
        let record = Recorded::seal(&self.head.hash, self.head.seq + 1, at, kind, members)?;
        self.head = Head::of(&record);
        self.records.push(Arc::new(record));
        self.marks.push(marks);
        Ok(())
    }
}
