//! Reading the log, off the writer.
//!
//! Every function here blocks on the file: call it where blocking is allowed. Each sees the log as it was after one
//! commit. None can hold the writer up.

use crate::event::{EventId, Head, Recorded};
use crate::ledger::Ledger;
use crate::machine::{CHECKPOINT, IndexTerm, Machine};
use crate::store::StoreError;

impl<M: Machine> Ledger<M> {
    /// The end of the log.
    ///
    /// # Errors
    /// When the storage cannot be read.
    pub fn head(&self) -> Result<Head, StoreError> {
        self.shared().store.read()?.head()
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
        let (before, indexed) = (before.unwrap_or(u64::MAX), view.indexed()?);
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
        Ok(found)
    }
}

/// What an event can be found by.
pub(crate) fn terms<M: Machine>(event: &Recorded) -> Result<Vec<IndexTerm>, StoreError> {
    if event.event_type() == CHECKPOINT {
        return Ok(Vec::new());
    }
    let act =
        M::decode(event.event_type(), &event.members()).map_err(|e| StoreError::Unreadable {
            seq: event.seq(),
            why: e.0,
        })?;
    Ok(M::index_terms(&act))
}
