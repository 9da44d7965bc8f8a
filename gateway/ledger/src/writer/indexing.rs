//! Filling the index: with each commit, and behind it where rows are missing.

use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use crate::index::{Mark, RUN, Row, Run};
use crate::machine::Machine;
use crate::store::{Change, StoreError};
use crate::writer::{Unindexed, Writer};

/// Rows that are made up for at once: a thousand events take some 4 ms.
const BUSY: usize = 4;
const IDLE: usize = 16;
/// The least time between two steps while calls keep coming.
const BREATH: Duration = Duration::from_secs(1);

impl<M: Machine> Writer<M> {
    /// The rows that are full once events with these marks have followed. They go into the commit of these events: if it
    /// fails, the ledger is opened anew, and begins a new run.
    pub(super) fn indexed(&mut self, marks: &[Vec<Mark>]) -> Vec<Row> {
        let most = self.terms.index_run;
        let rows = marks.iter().filter_map(|marks| self.run.take(marks, most));
        rows.collect()
    }

    pub(super) fn has_to_index(&self) -> bool {
        let waits = self.closed.is_some() || self.full.is_some();
        !waits && !matches!(&self.unindexed, Unindexed::Known(left) if left.is_empty())
    }

    /// Makes rows that are missing, while nobody calls.
    pub(super) fn index(&mut self) {
        self.make_up(IDLE);
    }

    /// Makes a few of them, while calls keep coming.
    pub(super) fn index_between(&mut self, now: Instant) {
        let breathes = |last: Instant| now.duration_since(last) >= BREATH;
        if self.made_up.is_none_or(breathes) && self.has_to_index() {
            self.make_up(BUSY);
            self.made_up = Some(Instant::now());
        }
    }

    /// Makes up to `most` of the rows that are missing, the newest first: what people look for is mostly new.
    fn make_up(&mut self, most: usize) {
        if !self.has_to_index() {
            return;
        }
        let wanted = self.take_gaps(most);
        if wanted.is_empty() {
            return;
        }
        let make = || {
            let rows: Result<Vec<_>, _> = wanted.iter().map(|gap| self.row_of(gap)).collect();
            let change = Change {
                index: &rows?,
                ..Change::default()
            };
            let committed = self.shared.store.commit(&change);
            committed.map_err(|failure| failure.error)
        };
        match catch_unwind(AssertUnwindSafe(make)) {
            Ok(Ok(())) => self.unsettled = Some(Instant::now()),
            Ok(Err(error @ StoreError::Redb(_))) => {
                self.file_failed(&error, "the index could not be written");
            }
            Ok(Err(_)) | Err(_) => {
                // Queries read these one by one; trying again would fail again.
                let sequence = wanted.last().map_or(0, |gap| gap.start);
                tracing::error!(name: "ledger.index_stuck", sequence,
                    "an event cannot be indexed; queries read it and those beside it one by one"
                );
            }
        }
    }

    /// The newest stretches that lack a row, none longer than a run; they are not given out again.
    fn take_gaps(&mut self, most: usize) -> Vec<Range<u64>> {
        let (here, run) = (self.first_here(), self.terms.index_run.min(RUN) as u64);
        if matches!(self.unindexed, Unindexed::Unknown) {
            let gaps = self.gaps().unwrap_or_else(|error| {
                tracing::error!(name: "ledger.index_stuck", sequence = here, %error,
                    "the index cannot be read; nothing is made up for"
                );
                Vec::new()
            });
            self.unindexed = Unindexed::Known(gaps);
        }
        let Unindexed::Known(left) = &mut self.unindexed else {
            return Vec::new();
        };
        let mut wanted = Vec::new();
        while wanted.len() < most
            && let Some(gap) = left.pop()
        {
            // What was archived meanwhile needs none.
            let start = gap.start.max(here);
            if start >= gap.end {
                continue;
            }
            let first = start.max(gap.end.saturating_sub(run));
            if start < first {
                left.push(start..first);
            }
            wanted.push(first..gap.end);
        }
        wanted
    }

    /// What no row is about, before the run in hand; the newest last.
    fn gaps(&self) -> Result<Vec<Range<u64>>, StoreError> {
        let view = self.shared.store.read()?;
        let first = view.first_seq()?;
        let (mut upto, mut gaps) = (self.run.first(), Vec::new());
        view.index_back(upto, |row| {
            if row.end() < upto {
                gaps.push(row.end().max(first)..upto);
            }
            upto = upto.min(row.first);
            Ok(first < upto)
        })?;
        if first < upto {
            gaps.push(first..upto);
        }
        gaps.reverse();
        Ok(gaps)
    }

    /// The row for these events, at least one and at most a run.
    fn row_of(&self, range: &Range<u64>) -> Result<Row, StoreError> {
        let (mut run, mut full) = (Run::from(range.start), None);
        let view = self.shared.store.read()?;
        view.walk(range.start, |seq, stored| {
            let event = crate::store::read(seq, stored)?;
            let marks = Mark::all(&crate::query::terms::<M>(&event)?);
            full = run.take(&marks, RUN);
            Ok(seq + 1 < range.end)
        })?;
        Ok(full.unwrap_or_else(|| run.finish()))
    }
}
