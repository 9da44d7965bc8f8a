//! Reading the log, off the writer.
//!
//! Every function here blocks on the file: call it where blocking is allowed. Each sees the log as it was after one
//! commit, with what lies in archives. None can hold the writer up. An archive has no index: it is searched, newest events
//! first, by the text that an event must have in it.

use std::ops::Range;

use crate::event::{EventId, Head, Recorded};
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

    /// The newest events below `before` that `term` names, newest first, at most `limit`. The part that the index
    /// does not cover yet is scanned.
    ///
    /// # Errors
    /// When the storage cannot be read.
    pub fn find(
        &self,
        term: &IndexTerm,
        before: Option<u64>,
        limit: usize,
    ) -> Result<Vec<Recorded>, StoreError> {
        let view = self.shared().store.read()?;
        let (before, indexed) = (before.unwrap_or(u64::MAX), indexed(&view)?);
        let mut found = Vec::new();
        let mut failed = None;
        if limit > 0 && before > indexed + 1 {
            view.walk_back(indexed + 1..before, |event| {
                match terms::<M>(&event) {
                    Ok(terms) if terms.contains(term) => found.push(event),
                    Ok(_) => {}
                    Err(error) => failed = Some(error),
                }
                failed.is_none() && found.len() < limit
            })?;
        }
        if let Some(error) = failed {
            return Err(error);
        }
        let left = limit - found.len();
        for seq in view.indexed_under(term, before.min(indexed + 1), left)? {
            found.extend(view.event(seq)?);
        }
        if found.len() < limit {
            let needle = M::text_of(term);
            view.archived_back(0..before.min(indexed + 1), needle.as_deref(), |_, event| {
                match event.map(|event| named::<M>(event, term)) {
                    None | Some(Ok(None)) => {}
                    Some(Ok(Some(event))) => found.push(event),
                    Some(Err(error)) => failed = Some(error),
                }
                failed.is_none() && found.len() < limit
            })?;
        }
        failed.map_or(Ok(found), Err)
    }

    /// Shows `each` the events of `range` that `term` names (every one, if `None`), newest first, until it returns
    /// false or `most` events were read. The answer is where to go on: the end of the range that is left, `None` when
    /// nothing is. However large the log, one call reads at most `most` events; what the index does not cover yet, or no
    /// more because it is archived, counts whether or not `term` names it.
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
        let view = self.shared().store.read()?;
        // A log without a term needs no index: all of it is its own tail.
        let indexed = term.map_or(Ok(0), |_| indexed(&view))?;
        let (mut left, mut rest, mut failed) = (most, Some(range.end), None);
        if most == 0 || range.is_empty() {
            return Ok(rest.filter(|_| !range.is_empty()));
        }
        let mut read = |event: &Recorded, named: Result<bool, StoreError>| {
            left -= 1;
            rest = Some(event.seq());
            match named {
                Ok(named) => (!named || each(event)) && left > 0,
                Err(error) => {
                    failed = Some(error);
                    false
                }
            }
        };
        let mut whole = true;
        let tail = range.start.max(indexed + 1)..range.end;
        if !tail.is_empty() {
            view.walk_back(tail, |event| {
                let named = term.map_or(Ok(true), |term| {
                    terms::<M>(&event).map(|terms| terms.contains(term))
                });
                whole = read(&event, named);
                whole
            })?;
        }
        if let Some(term) = term.filter(|_| whole) {
            for seq in view.indexed_under(term, range.end.min(indexed + 1), most)? {
                if seq < range.start {
                    break;
                }
                let event = view.event(seq)?;
                if let Some(event) = event
                    && !read(&event, Ok(true))
                {
                    whole = false;
                    break;
                }
            }
        }
        if let Some(term) = term.filter(|_| whole) {
            let range = range.start..range.end.min(indexed + 1);
            whole = view.archived_back(range, M::text_of(term).as_deref(), |seq, event| {
                (left, rest) = (left - 1, Some(seq));
                let go_on = match event.map(|event| named::<M>(event, term)) {
                    None | Some(Ok(None)) => true,
                    Some(Ok(Some(event))) => each(&event),
                    Some(Err(error)) => {
                        failed = Some(error);
                        false
                    }
                };
                go_on && left > 0
            })?;
        }
        if let Some(error) = failed {
            return Err(error);
        }
        Ok(rest.filter(|at| !whole && *at > range.start))
    }

    /// The number of the first event recorded at `at` or later, in milliseconds since the epoch; the number after the
    /// last one, if there is none. Recorded time never goes back, so a few events are read however many there are.
    ///
    /// # Errors
    /// When the storage cannot be read.
    pub fn first_at(&self, at: u64) -> Result<u64, StoreError> {
        let view = self.shared().store.read()?;
        let (mut low, mut high) = (1, view.last_seq()? + 1);
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

/// Up to where events are found by the index, or by the text of archives.
fn indexed(view: &View) -> Result<u64, StoreError> {
    Ok(view.indexed()?.max(view.first_seq()?.saturating_sub(1)))
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
