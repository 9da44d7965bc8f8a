//! Reading all rows once: as they are now their digest, as they were at the last checkpoint their digest and their state.
//!
//! Rows are taken from the table in portions, one thread after the other, and hashed and read where they were taken; a
//! small table is one portion and starts no thread. Nothing is kept of a row but what it says.
//! Invariant: what a row says is handed out only together with the digests of what was read. A caller that uses it has compared
//! them.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::digest::RowDigest;
use crate::machine::{DecodeError, Machine, Restored};
use crate::store::{RowsInOrder, StoreError, View};

/// Rows that one thread takes at a time: few enough that two threads end together, enough that they seldom meet.
const PORTION: usize = 4_096;
/// More threads than that only wait for each other at the table.
const THREADS: usize = 4;

/// The values that some rows had at the last checkpoint, where they have changed since.
pub(crate) type Base = BTreeMap<String, Option<Vec<u8>>>;

/// All rows, read once.
pub(crate) struct Read<M: Machine> {
    /// How many there are.
    pub(crate) rows: u64,
    /// As they are.
    pub(crate) now: RowDigest,
    /// As they were at the last checkpoint.
    pub(crate) then: RowDigest,
    /// What they said then.
    pub(crate) restored: Result<Restored<M>, DecodeError>,
}

/// Some rows in one piece of memory.
#[derive(Default)]
pub(crate) struct Portion {
    bytes: Vec<u8>,
    /// Where each key and each value ends.
    ends: Vec<(usize, usize)>,
}

impl Portion {
    fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
    }
    fn add(&mut self, key: &str, value: &[u8]) {
        self.bytes.extend_from_slice(key.as_bytes());
        let key = self.bytes.len();
        self.bytes.extend_from_slice(value);
        self.ends.push((key, self.bytes.len()));
    }
    fn rows(&self) -> impl Iterator<Item = (&str, &[u8])> {
        let starts = std::iter::once(0).chain(self.ends.iter().map(|(_, end)| *end));
        starts.zip(&self.ends).map(|(start, (key, end))| {
            // It was a key when it was added.
            let text = std::str::from_utf8(&self.bytes[start..*key]).unwrap_or_default();
            (text, &self.bytes[*key..*end])
        })
    }
}

/// The table, for the next reader.
struct Source<'v> {
    rows: RowsInOrder<'v>,
    /// Portions that were taken.
    taken: usize,
    failed: Option<StoreError>,
}

impl Source<'_> {
    /// Fills `portion` with the next rows; gives its number, or `None` at the end.
    fn take(&mut self, portion: &mut Portion) -> Option<usize> {
        portion.clear();
        if self.failed.is_some() {
            return None;
        }
        while portion.ends.len() < PORTION {
            match self.rows.next(|key, value| portion.add(key, value)) {
                Ok(true) => {}
                Ok(false) => break,
                Err(error) => {
                    self.failed = Some(error);
                    return None;
                }
            }
        }
        self.taken += 1;
        (!portion.ends.is_empty()).then_some(self.taken)
    }
}

/// What one thread has read.
struct Share<M: Machine> {
    rows: u64,
    now: RowDigest,
    then: RowDigest,
    parts: Vec<(usize, Result<M::Part, DecodeError>)>,
    /// Keys of [`Base`] that have a row now.
    met: Vec<String>,
}

/// Reads every row of `view`, of which `base` says how some were at the last checkpoint.
pub(crate) fn all<M: Machine>(view: &View, base: &Base) -> Result<Read<M>, StoreError> {
    let source = Mutex::new(Source {
        rows: view.rows_in_order()?,
        taken: 0,
        failed: None,
    });
    let next = |portion: &mut Portion| {
        let mut source = source.lock().unwrap_or_else(PoisonError::into_inner);
        source.take(portion)
    };
    // One that cannot be read is enough: what remains is only hashed.
    let unreadable = AtomicBool::new(false);
    let work = |first: Option<(usize, Portion)>| {
        let mut share = Share::<M> {
            rows: 0,
            now: RowDigest::default(),
            then: RowDigest::default(),
            parts: Vec::new(),
            met: Vec::new(),
        };
        let mut portion = Portion::default();
        let mut number = match first {
            Some((number, first)) => {
                portion = first;
                Some(number)
            }
            None => next(&mut portion),
        };
        while let Some(this) = number {
            share.take(this, &portion, base, &unreadable);
            number = next(&mut portion);
        }
        share
    };
    let mut first = Portion::default();
    let number = next(&mut first);
    let helpers = match first.ends.len() {
        PORTION.. => std::thread::available_parallelism().map_or(1, usize::from),
        _ => 1,
    };
    let mut shares = std::thread::scope(|threads| {
        let others: Vec<_> = (1..helpers.min(THREADS))
            .map(|_| threads.spawn(|| work(None)))
            .collect();
        let mut shares = vec![Ok(work(number.map(|number| (number, first))))];
        shares.extend(others.into_iter().map(|thread| thread.join()));
        shares
    })
    .into_iter()
    // A machine that panics does so here as anywhere.
    .map(|share| share.unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    .collect::<Vec<_>>();
    let source = source.into_inner().unwrap_or_else(PoisonError::into_inner);
    if let Some(error) = source.failed {
        return Err(error);
    }
    shares.push(gone::<M>(base, &shares, source.taken + 1));
    Ok(Read::of(shares))
}

/// The rows of `base` that are there no longer.
fn gone<M: Machine>(base: &Base, shares: &[Share<M>], number: usize) -> Share<M> {
    let mut gone: BTreeMap<_, _> = base.iter().collect();
    for key in shares.iter().flat_map(|share| &share.met) {
        gone.remove(key);
    }
    let mut then = RowDigest::default();
    let rows = gone.into_iter();
    let rows: Vec<_> = rows
        .filter_map(|(key, value)| Some((key.as_str(), value.as_deref()?)))
        .collect();
    for (key, value) in &rows {
        then.add(key, value);
    }
    Share {
        rows: 0,
        now: RowDigest::default(),
        then,
        parts: vec![(number, M::read(rows.into_iter()))],
        met: Vec::new(),
    }
}

impl<M: Machine> Share<M> {
    fn take(&mut self, number: usize, portion: &Portion, base: &Base, unreadable: &AtomicBool) {
        let mut then = Vec::with_capacity(portion.ends.len());
        for (key, value) in portion.rows() {
            self.rows += 1;
            let row = RowDigest::of_row(key, value);
            self.now.join(&row);
            match base.get_key_value(key) {
                None => {
                    self.then.join(&row);
                    then.push((key, value));
                }
                Some((known, before)) => {
                    self.met.push(known.clone());
                    if let Some(before) = before {
                        self.then.add(key, before);
                        then.push((key, before));
                    }
                }
            }
        }
        if !unreadable.load(Ordering::Relaxed) {
            let part = M::read(then.into_iter());
            unreadable.fetch_or(part.is_err(), Ordering::Relaxed);
            self.parts.push((number, part));
        }
    }
}

impl<M: Machine> Read<M> {
    fn of(shares: Vec<Share<M>>) -> Self {
        let (mut rows, mut now, mut then) = (0, RowDigest::default(), RowDigest::default());
        let mut parts = Vec::new();
        for share in shares {
            rows += share.rows;
            now.join(&share.now);
            then.join(&share.then);
            parts.extend(share.parts);
        }
        parts.sort_by_key(|(number, _)| *number);
        let parts: Result<Vec<_>, _> = parts.into_iter().map(|(_, part)| part).collect();
        Self {
            rows,
            now,
            then,
            restored: parts.and_then(M::restore),
        }
    }
}
