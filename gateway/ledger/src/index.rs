//! What makes an event easy to find: for a run of events, one row that says which term names which of them.
//!
//! ```text
//! events   1 ─────────── 256 │ 257 ───────── 512 │ 513 ── 600
//! rows     [ its marks      ] │ [ its marks     ] │ the writer has them in hand
//! ```
//! A row goes into the commit that fills its run, so the index costs no commit of its own and is never behind by more than
//! a run. What no row is about is searched event by event, so a row that is missing makes a query slow and not wrong; the
//! writer makes up for it, quickly while nobody calls and slowly while somebody does (after a kill, in a copy, in a file of an
//! earlier version).
//!
//! A row has 4 bytes of a term's digest and not the term: an event that it names is read and asked. So no row can make
//! a query answer with an event that the term does not name.
//! Invariants: runs do not overlap. Rows are derived from events, and nothing rests on them.
//! Must not know: what terms mean.

use sha2::{Digest as _, Sha256};

use crate::machine::IndexTerm;

/// Events that one row is about, at most: positions in a run have one byte.
pub(crate) const RUN: usize = 256;
/// Bytes in a row before its marks: how many events it is about.
const COUNT: usize = 2;
/// Bytes of one mark in a row: the position in the run, and the mark.
const ENTRY: usize = 5;

/// What a term is in the index: the first four bytes of SHA-256(kind ‖ id).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Mark([u8; ENTRY - 1]);

impl Mark {
    pub(crate) fn of(term: &IndexTerm) -> Self {
        let (kind, id) = term.key();
        let digest = Sha256::new()
            .chain_update([kind])
            .chain_update(id)
            .finalize();
        let (first, _) = digest.split_at(ENTRY - 1);
        Self(first.try_into().unwrap_or_default())
    }

    /// The marks of all terms of one event, each once: a row that had one twice would have the event found twice.
    pub(crate) fn all(terms: &[IndexTerm]) -> Vec<Self> {
        let mut marks: Vec<_> = terms.iter().map(Self::of).collect();
        marks.sort_unstable();
        marks.dedup();
        marks
    }
}

/// A row that is being filled.
#[derive(Clone, Debug)]
pub(crate) struct Run {
    first: u64,
    count: usize,
    marks: Vec<u8>,
}

impl Run {
    /// Empty, beginning with the event `first`.
    pub(crate) fn from(first: u64) -> Self {
        Self {
            first,
            count: 0,
            marks: Vec::new(),
        }
    }

    pub(crate) fn first(&self) -> u64 {
        self.first
    }
    pub(crate) fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Takes the next event. The row, if it is full with it: what follows begins anew.
    pub(crate) fn take(&mut self, marks: &[Mark], most: usize) -> Option<Row> {
        if let Ok(position) = u8::try_from(self.count) {
            for Mark(mark) in marks {
                self.marks.push(position);
                self.marks.extend_from_slice(mark);
            }
        }
        self.count += 1;
        (self.count >= most.min(RUN)).then(|| self.finish())
    }

    /// The row as far as it is; what follows begins anew.
    pub(crate) fn finish(&mut self) -> Row {
        let next = Self::from(self.first + self.count as u64);
        let Self {
            first,
            count,
            marks,
        } = std::mem::replace(self, next);
        // At most `RUN`.
        let count = u16::try_from(count).unwrap_or(u16::MAX);
        let bytes = [&count.to_le_bytes(), marks.as_slice()].concat();
        Row { first, bytes }
    }
}

/// A row as it is stored, under the number of its first event.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) first: u64,
    pub(crate) bytes: Vec<u8>,
}

impl Row {
    /// Reads a stored row. `None`: this crate did not write it.
    pub(crate) fn read(first: u64, bytes: &[u8]) -> Option<Self> {
        let (count, marks) = bytes.split_at_checked(COUNT)?;
        let count = usize::from(u16::from_le_bytes(count.try_into().ok()?));
        let within = |entry: &[u8]| entry.first().is_some_and(|at| usize::from(*at) < count);
        let sound = (1..=RUN).contains(&count)
            && marks.len().is_multiple_of(ENTRY)
            && marks.chunks_exact(ENTRY).all(within);
        sound.then(|| Self {
            first,
            bytes: bytes.to_vec(),
        })
    }

    /// The number after its last event.
    pub(crate) fn end(&self) -> u64 {
        let count = self
            .bytes
            .first_chunk()
            .map_or(0, |c| u16::from_le_bytes(*c));
        self.first + u64::from(count)
    }

    /// The events that `mark` may name, the newest first.
    pub(crate) fn named(&self, mark: Mark) -> impl Iterator<Item = u64> {
        let entries = self.bytes.get(COUNT..).unwrap_or_default();
        entries
            .rchunks_exact(ENTRY)
            .filter_map(move |entry| match entry {
                [at, rest @ ..] if *rest == mark.0 => Some(self.first + u64::from(*at)),
                _ => None,
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn agent(id: &str) -> Mark {
        Mark::of(&IndexTerm::Agent(id.to_owned()))
    }

    #[test]
    fn a_run_is_a_row_when_it_is_full_and_the_next_goes_on_behind_it() {
        let mut run = Run::from(11);
        let (ada, bob) = (agent("ada"), agent("bob"));
        for at in 0..RUN - 1 {
            let marks: &[Mark] = if at % 2 == 0 { &[ada] } else { &[] };
            assert!(run.take(marks, RUN).is_none());
        }
        let row = run.take(&[ada, bob], RUN).expect("full");
        assert_eq!((row.first, row.end()), (11, 11 + 256));
        assert_eq!(row.named(bob).collect::<Vec<_>>(), [266]);
        let named: Vec<_> = row.named(ada).collect();
        assert_eq!(named[..3], [266, 265, 263]);
        assert_eq!(named.last(), Some(&11));
        assert_eq!(row.named(agent("carol")).count(), 0);
        assert_eq!(run.first(), 267);
        assert!(run.is_empty());
    }

    #[test]
    fn a_kind_is_part_of_a_mark() {
        let touched = Mark::of(&IndexTerm::Touched("ada".to_owned()));
        assert_ne!(agent("ada"), touched);
    }

    #[test]
    fn only_what_was_written_here_is_read() {
        let mut run = Run::from(1);
        assert!(run.take(&[agent("ada")], RUN).is_none());
        assert!(run.take(&[agent("bob")], RUN).is_none());
        let row = run.finish();
        let read = Row::read(1, &row.bytes).expect("as it was written");
        assert_eq!(read.named(agent("bob")).collect::<Vec<_>>(), [2]);
        for wrong in [
            &[] as &[u8],
            &[2],
            &[0, 0],
            &[1, 2],
            &row.bytes[..row.bytes.len() - 1],
            // A position beyond the run.
            &[1, 0, 1, 9, 9, 9, 9],
        ] {
            assert!(Row::read(1, wrong).is_none(), "{wrong:?}");
        }
    }
}
