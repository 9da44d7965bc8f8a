//! Filling the index: with each commit, and behind it where rows are missing.

use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;

use crate::index::{Mark, RUN, Row, Run};
use crate::machine::Machine;
use crate::store::{Change, StoreError};
use crate::writer::Writer;

/// Stretches of the log that no row is about: after a kill, in a copy, in a file of an earlier version.
#[derive(Default)]
pub(super) enum Unindexed {
    /// Nobody has looked since the file was opened.
    #[default]
    Unknown,
    /// The newest last.
    Known(Vec<Range<u64>>),
}

impl<M: Machine> Writer<M> {
    /// Where the index stands once events with these marks have followed: the run in hand, and rows that are full.
    pub(super) fn indexed(&self, marks: &[Vec<Mark>]) -> (Run, Vec<Row>) {
        let mut run = self.run.clone();
        let most = self.terms.index_run;
        let rows = marks.iter().filter_map(|marks| run.take(marks, most));
        let rows = rows.collect();
        (run, rows)
    }

    pub(super) fn has_to_index(&self) -> bool {
        let waits = self.closed.is_some() || self.full.is_some();
        !waits && !matches!(&self.unindexed, Unindexed::Known(left) if left.is_empty())
    }

    /// Makes one row that is missing, the newest first: what people look for is mostly new.
    pub(super) fn index(&mut self) {
        if !self.has_to_index() {
            return;
        }
        if let Err(error) = self.look_for_gaps() {
            return self.file_failed(&error, "the index could not be read");
        }
        let here = self.first_here();
        let Unindexed::Known(left) = &mut self.unindexed else {
            return;
        };
        let Some(gap) = left.pop() else {
            return;
        };
        let most = self.terms.index_run.min(RUN) as u64;
        let first = gap.start.max(gap.end.saturating_sub(most));
        if gap.start < first {
            left.push(gap.start..first);
        }
        // What was archived meanwhile needs none.
        let first = first.max(here);
        if first >= gap.end {
            return;
        }
        match catch_unwind(AssertUnwindSafe(|| self.make_up(first..gap.end))) {
            Ok(Ok(())) => self.unsettled = Some(Instant::now()),
            Ok(Err(error @ StoreError::Redb(_))) => {
                self.file_failed(&error, "the index could not be written");
            }
            Ok(Err(_)) | Err(_) => {
                // Queries read these one by one; trying again would fail again.
                tracing::error!(name: "ledger.index_stuck", sequence = first,
                    "an event cannot be indexed; queries read it and those beside it one by one"
                );
            }
        }
    }

    fn look_for_gaps(&mut self) -> Result<(), StoreError> {
        if matches!(self.unindexed, Unindexed::Known(_)) {
            return Ok(());
        }
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
        self.unindexed = Unindexed::Known(gaps);
        Ok(())
    }

    /// One row for these events.
    fn make_up(&self, range: Range<u64>) -> Result<(), StoreError> {
        let mut run = Run::from(range.start);
        let mut full = None;
        self.shared.store.read()?.walk(range.start, |seq, stored| {
            if seq >= range.end {
                return Ok(false);
            }
            let event = crate::store::read(seq, stored)?;
            let terms = crate::query::terms::<M>(&event)?;
            let marks: Vec<_> = terms.iter().map(Mark::of).collect();
            full = run.take(&marks, RUN);
            Ok(full.is_none())
        })?;
        let row = full.or_else(|| (!run.is_empty()).then(|| run.finish()));
        let change = Change {
            index: row.as_slice(),
            ..Change::default()
        };
        let committed = self.shared.store.commit(&change);
        committed.map_err(|failure| failure.error)
    }
}
