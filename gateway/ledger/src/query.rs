//! Reading the log, off the writer.
//!
//! Every function here blocks on the file: call it where blocking is allowed. Each sees the log as it was after one
//! commit, with what lies in archives. None can hold the writer up. An archive has no index: it is searched, newest events
//! first, by the text that an event must have in it.

use std::ops::Range;

use crate::event::{EventId, Head, Recorded};
use crate::index::Mark;
use crate::ledger::Ledger;
use crate::machine::{IndexTerm, Machine, is_own};
use crate::store::{StoreError, View};

impl<M: Machine> Ledger<M> {
    /// The end of the log.
    ///
    /// # Errors
    /// When the storage cannot be read.
    pub fn head(&self) -> Result<Head, StoreError> {
        self.shared().store.read()?.head()
    }

    /// The number of the last checkpoint: from there on a start folds and compares. 0 before the first.
    ///
    /// # Errors
    /// When the storage cannot be read.
    pub fn last_checkpoint(&self) -> Result<u64, StoreError> {
        self.shared().store.read()?.checkpoint()
    }

    /// The event with this id, or `None` if there is none.
    ///
    /// # Errors
    /// When the storage cannot be read.
    pub fn event(&self, id: &EventId) -> Result<Option<Recorded>, StoreError> {
        let event = self.shared().store.read()?.event(id.seq())?;
        Ok(event.filter(|event| event.id() == *id))
    }

    /// The newest events below `before` (of all, if `None`), newest first, at most `limit`.
    ///
    /// # Errors
    /// When the storage cannot be read.
    pub fn tail(&self, limit: usize, before: Option<u64>) -> Result<Vec<Recorded>, StoreError> {
        let mut found = Vec::new();
        if limit > 0 {
            self.shared()
                .store
                .read()?
                .walk_back(0..before.unwrap_or(u64::MAX), |event| {
                    found.push(event);
                    found.len() < limit
                })?;
        }
        Ok(found)
    }

    /// The events after number `after`, oldest first, at most `limit`: an export is made by going on from the last
    /// one until none comes, so that a slow reader holds no old pages.
    ///
    /// # Errors
    /// When the storage cannot be read.
    pub fn after(&self, after: u64, limit: usize) -> Result<Vec<Recorded>, StoreError> {
        let mut found = Vec::new();
        if limit > 0 {
            self.shared()
                .store
                .read()?
                .walk(after.saturating_add(1), |seq, stored| {
                    found.push(crate::store::read(seq, stored)?);
                    Ok(found.len() < limit)
                })?;
        }
        Ok(found)
    }

    /// The newest events below `before` that `term` names, newest first, at most `limit`.
    ///
    /// # Errors
    /// When the storage cannot be read.
    pub fn find(
        &self,
        term: &IndexTerm,
        before: Option<u64>,
        limit: usize,
    ) -> Result<Vec<Recorded>, StoreError> {
        let mut found = Vec::new();
        if limit > 0 {
            let view = self.shared().store.read()?;
            let range = 0..before.unwrap_or(u64::MAX);
            search::<M>(&view, term, range, |_, event| {
                found.extend(event);
                found.len() < limit
            })?;
        }
        Ok(found)
    }

    /// Shows `each` the events of `range` that `term` names (every one, if `None`), newest first, until it returns
    /// false or `most` events were read. The answer is where to go on: the end of the range that is left, `None` when
    /// nothing is. However large the log, one call reads at most `most` events; what no row of the index is about counts
    /// whether or not `term` names it.
    ///
    /// # Errors
    /// When the storage cannot be read.
    pub fn walk_back(
        &self,
        term: Option<&IndexTerm>,
        range: Range<u64>,
        most: usize,
        mut each: impl FnMut(&Recorded) -> bool,
    ) -> Result<Option<u64>, StoreError> {
        if most == 0 || range.is_empty() {
            return Ok(Some(range.end).filter(|_| !range.is_empty()));
        }
        let view = self.shared().store.read()?;
        let (mut left, mut rest, start) = (most, range.end, range.start);
        let mut read = |seq: u64, event: Option<Recorded>| {
            (left, rest) = (left - 1, seq);
            event.is_none_or(|event| each(&event)) && left > 0
        };
        let whole = match term {
            Some(term) => search::<M>(&view, term, range, read)?,
            None => {
                let mut whole = true;
                view.walk_back(range, |event| {
                    whole = read(event.seq(), Some(event));
                    whole
                })?;
                whole
            }
        };
        Ok(Some(rest).filter(|at| !whole && *at > start))
    }

    /// The number of the first event recorded at `at` or later, in milliseconds since the epoch; the number after the
    /// last one, if there is none. Recorded time never goes back, so a few events are read however many there are; those
    /// in archives only if the file's own begin too late to tell.
    ///
    /// # Errors
    /// When the storage cannot be read.
    pub fn first_at(&self, at: u64) -> Result<u64, StoreError> {
        let view = self.shared().store.read()?;
        let (mut low, mut high) = (1, view.last_seq()? + 1);
        let first = view.first_seq()?;
        match view.event(first)? {
            Some(event) if event.at() >= at => high = first,
            Some(_) => low = first + 1,
            None => {}
        }
        while low < high {
            let middle = low + (high - low) / 2;
            match view.event(middle)? {
                Some(event) if event.at() >= at => high = middle,
                _ => low = middle + 1,
            }
        }
        Ok(low)
    }
}

/// Reads the events of `range` that `term` may name, newest first, until `each` returns false. `each` is given the event
/// if the term names it, and `None` otherwise. True if it went to the end.
///
/// What no row of the index is about is read event by event; an archive, by the text that its events must have.
fn search<M: Machine>(
    view: &View,
    term: &IndexTerm,
    range: Range<u64>,
    mut each: impl FnMut(u64, Option<Recorded>) -> bool,
) -> Result<bool, StoreError> {
    let mark = Mark::of(term);
    let mut show = |event: Recorded| -> Result<bool, StoreError> {
        Ok(each(event.seq(), named::<M>(event, term)?))
    };
    let here = range.start.max(view.first_seq()?);
    let (mut upto, mut whole) = (range.end.min(view.last_seq()? + 1), true);
    if here < upto {
        view.index_back(upto, |row| {
            if row.end() < upto {
                whole = one_by_one(view, row.end().max(here)..upto, &mut show)?;
            }
            for seq in row.named(mark) {
                if whole && (here..upto).contains(&seq) {
                    whole = match view.event(seq)? {
                        Some(event) => show(event)?,
                        None => true,
                    };
                }
            }
            upto = upto.min(row.first);
            Ok(whole && here < upto)
        })?;
        if whole && here < upto {
            whole = one_by_one(view, here..upto, &mut show)?;
        }
    }
    if !whole {
        return Ok(false);
    }
    let mut failed = None;
    let needle = M::text_of(term);
    let whole = view.archived_back(range, needle.as_deref(), |seq, event| {
        match event.map_or(Ok(None), |event| named::<M>(event, term)) {
            Ok(event) => each(seq, event),
            Err(error) => {
                failed = Some(error);
                false
            }
        }
    })?;
    failed.map_or(Ok(whole), Err)
}

/// Shows the events of `range`, newest first, until `show` says false or fails. True if it went to the end.
fn one_by_one(
    view: &View,
    range: Range<u64>,
    mut show: impl FnMut(Recorded) -> Result<bool, StoreError>,
) -> Result<bool, StoreError> {
    let mut whole = Ok(true);
    view.walk_back(range, |event| {
        whole = show(event);
        matches!(whole, Ok(true))
    })?;
    whole
}

/// The event, if `term` names it.
fn named<M: Machine>(event: Recorded, term: &IndexTerm) -> Result<Option<Recorded>, StoreError> {
    let named = terms::<M>(&event)?.contains(term);
    Ok(named.then_some(event))
}

/// What an event can be found by.
pub(crate) fn terms<M: Machine>(event: &Recorded) -> Result<Vec<IndexTerm>, StoreError> {
    if is_own(event.event_type()) {
        return Ok(Vec::new());
    }
    let act =
        M::decode(event.event_type(), &event.members()).map_err(|e| StoreError::Unreadable {
            seq: event.seq(),
            why: e.0,
        })?;
    Ok(M::index_terms(&act))
}
