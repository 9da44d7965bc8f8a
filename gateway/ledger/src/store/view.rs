//! Reading the file: one view is the file as it was after one commit, however long it is held.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};

use redb::{Database, ReadTransaction, ReadableDatabase as _, ReadableTable as _, TableError};

use super::{
    ARCHIVES, BASE, EVENTS, INDEX, META, META_CHECKPOINT, META_CLEAN, META_FORMAT, NOTE_BUILD,
    NOTES, ROWS, StoreError,
};
use crate::archive::{Archive, Archives};
use crate::event::{Head, Recorded};
use crate::index::Row;

/// The file as it was after one commit, and the archives that it names.
pub(crate) struct View(ReadTransaction, Archives);

impl View {
    /// The database as it is now; its archives are in `folder`.
    pub(crate) fn of(db: &Database, folder: PathBuf) -> Result<Self, StoreError> {
        Ok(Self(db.begin_read()?, Archives::new(folder)))
    }

    /// The archives of this ledger, oldest first.
    pub(crate) fn archives(&self) -> Result<&[Archive], StoreError> {
        self.1.list(|| {
            let table = match self.0.open_table(ARCHIVES) {
                Err(TableError::TableDoesNotExist(_)) => return Ok(Vec::new()),
                table => table?,
            };
            let mut list = Vec::new();
            for row in table.iter()? {
                let (key, value) = row?;
                let (seq, unreadable) = (key.value(), |e: serde_json::Error| e.to_string());
                let archive = serde_json::from_str(value.value()).map_err(unreadable);
                list.push(archive.map_err(|why| StoreError::Unreadable { seq, why })?);
            }
            Ok(list)
        })
    }

    pub(crate) fn archive_folder(&self) -> &Path {
        self.1.folder()
    }

    /// Number of the first event that the file itself has; after the last archived one if it has none.
    pub(crate) fn first_seq(&self) -> Result<u64, StoreError> {
        match self.0.open_table(EVENTS)?.first()? {
            Some((key, _)) => Ok(key.value()),
            None => Ok(self
                .archives()?
                .last()
                .map_or(1, |archive| archive.last + 1)),
        }
    }

    /// The archived events of `range` that are no longer in the file, newest first, until `each` returns false; where
    /// `needle` is given, those whose text lacks it come without their content. True if it went to the end.
    pub(crate) fn archived_back(
        &self,
        range: Range<u64>,
        needle: Option<&str>,
        mut each: impl FnMut(u64, Option<Recorded>) -> bool,
    ) -> Result<bool, StoreError> {
        let range = range.start..range.end.min(self.first_seq()?);
        if range.is_empty() {
            return Ok(true);
        }
        self.1.walk_back(self.archives()?, range, needle, &mut each)
    }

    fn meta(&self, key: &str) -> Result<Option<u64>, StoreError> {
        match self.0.open_table(META) {
            Ok(table) => Ok(table.get(key)?.map(|v| v.value())),
            Err(TableError::TableDoesNotExist(_)) => Ok(None),
            Err(e) => Err(e.into()),
        }
    }

    /// `None`: the file is new.
    pub(crate) fn format(&self) -> Result<Option<u64>, StoreError> {
        let format = self.meta(META_FORMAT)?;
        // Tables of somebody else's, and no format: not a new file of ours.
        if format.is_none() && self.0.list_tables()?.next().is_some() {
            return Ok(Some(0));
        }
        Ok(format)
    }

    pub(crate) fn checkpoint(&self) -> Result<u64, StoreError> {
        Ok(self.meta(META_CHECKPOINT)?.unwrap_or(0))
    }
    pub(crate) fn clean(&self) -> Result<bool, StoreError> {
        Ok(self.meta(META_CLEAN)?.unwrap_or(1) == 1)
    }

    /// The build that opened the file last, where one has said so.
    pub(crate) fn build(&self) -> Option<String> {
        let table = self.0.open_table(NOTES).ok()?;
        Some(table.get(NOTE_BUILD).ok()??.value().to_owned())
    }

    /// Every row, in the order of the keys, one at a time.
    pub(crate) fn rows_in_order(&self) -> Result<RowsInOrder<'static>, StoreError> {
        Ok(RowsInOrder(self.0.open_table(ROWS)?.range::<&str>(..)?))
    }

    /// One row as it is stored.
    pub(crate) fn row(&self, key: &str) -> Result<Option<Vec<u8>>, StoreError> {
        let found = self.0.open_table(ROWS)?.get(key)?;
        Ok(found.map(|value| value.value().to_vec()))
    }

    pub(crate) fn rows(&self) -> Result<BTreeMap<String, Vec<u8>>, StoreError> {
        let mut rows = BTreeMap::new();
        for row in self.0.open_table(ROWS)?.iter()? {
            let (key, value) = row?;
            rows.insert(key.value().to_owned(), value.value().to_vec());
        }
        Ok(rows)
    }

    /// Writes all but the index to an empty database, in one transaction, marked as closed cleanly.
    pub(crate) fn copy_to(&self, db: &Database) -> Result<(), StoreError> {
        let tx = db.begin_write()?;
        {
            let mut events = tx.open_table(EVENTS)?;
            for row in self.0.open_table(EVENTS)?.iter()? {
                let (key, value) = row?;
                events.insert(key.value(), value.value())?;
            }
            let mut rows = tx.open_table(ROWS)?;
            for row in self.0.open_table(ROWS)?.iter()? {
                let (key, value) = row?;
                rows.insert(key.value(), value.value())?;
            }
            let mut base = tx.open_table(BASE)?;
            for row in self.0.open_table(BASE)?.iter()? {
                let (key, value) = row?;
                base.insert(key.value(), value.value())?;
            }
            let mut meta = tx.open_table(META)?;
            for row in self.0.open_table(META)?.iter()? {
                let (key, value) = row?;
                meta.insert(key.value(), value.value())?;
            }
            meta.insert(META_CLEAN, 1)?;
            let archives = self.archives()?;
            if !archives.is_empty() {
                let mut table = tx.open_table(ARCHIVES)?;
                for archive in archives {
                    table.insert(archive.first, archive.line().as_str())?;
                }
            }
            tx.open_table(INDEX)?;
        }
        tx.commit()?;
        Ok(())
    }

    /// Rows changed since the last checkpoint, as they were there.
    pub(crate) fn base(&self) -> Result<BTreeMap<String, Option<Vec<u8>>>, StoreError> {
        let mut rows = BTreeMap::new();
        for row in self.0.open_table(BASE)?.iter()? {
            let (key, value) = row?;
            rows.insert(key.value().to_owned(), value.value().map(<[u8]>::to_vec));
        }
        Ok(rows)
    }

    pub(crate) fn event(&self, seq: u64) -> Result<Option<Recorded>, StoreError> {
        let table = self.0.open_table(EVENTS)?;
        let Some(value) = table.get(seq)? else {
            return self.1.event(self.archives()?, seq);
        };
        read(seq, value.value()).map(Some)
    }

    /// The newest event's sequence, 0 if there is none.
    pub(crate) fn last_seq(&self) -> Result<u64, StoreError> {
        Ok(self
            .0
            .open_table(EVENTS)?
            .last()?
            .map_or(0, |(key, _)| key.value()))
    }

    pub(crate) fn head(&self) -> Result<Head, StoreError> {
        let newest = self.event(self.last_seq()?)?;
        Ok(newest.as_ref().map_or(Head::START, Head::of))
    }

    /// Stored values from `first` on, archived ones among them, oldest first; `each` stops the walk by returning false.
    pub(crate) fn walk(
        &self,
        first: u64,
        mut each: impl FnMut(u64, &[u8]) -> Result<bool, StoreError>,
    ) -> Result<(), StoreError> {
        let here = self.first_seq()?;
        if first < here && !self.1.walk(self.archives()?, first..here, &mut each)? {
            return Ok(());
        }
        for row in self.0.open_table(EVENTS)?.range(first..)? {
            let (key, value) = row?;
            if !each(key.value(), value.value())? {
                break;
            }
        }
        Ok(())
    }

    /// Events in `range`, archived ones among them, newest first, until `each` returns false.
    pub(crate) fn walk_back(
        &self,
        range: Range<u64>,
        mut each: impl FnMut(Recorded) -> bool,
    ) -> Result<(), StoreError> {
        for row in self.0.open_table(EVENTS)?.range(range.clone())?.rev() {
            let (key, value) = row?;
            if !each(read(key.value(), value.value())?) {
                return Ok(());
            }
        }
        self.archived_back(range, None, |_, event| event.is_none_or(&mut each))?;
        Ok(())
    }

    /// The rows of the index whose runs begin before `before`, the newest first, until `each` returns false. One that this
    /// crate would not write is as if it were not there.
    pub(crate) fn index_back(
        &self,
        before: u64,
        mut each: impl FnMut(Row) -> Result<bool, StoreError>,
    ) -> Result<(), StoreError> {
        for row in self.0.open_table(INDEX)?.range(..before)?.rev() {
            let (first, bytes) = row?;
            if let Some(row) = Row::read(first.value(), bytes.value())
                && !each(row)?
            {
                break;
            }
        }
        Ok(())
    }
}

/// A walk over the rows.
pub(crate) struct RowsInOrder<'v>(redb::Range<'v, &'static str, &'static [u8]>);

impl RowsInOrder<'_> {
    /// Shows the next row; false at the end.
    pub(crate) fn next(&mut self, show: impl FnOnce(&str, &[u8])) -> Result<bool, StoreError> {
        match self.0.next() {
            None => Ok(false),
            Some(row) => {
                let (key, value) = row?;
                show(key.value(), value.value());
                Ok(true)
            }
        }
    }
}

/// A stored value under its key.
pub(crate) fn read(seq: u64, stored: &[u8]) -> Result<Recorded, StoreError> {
    let event = Recorded::from_stored(stored.to_vec())
        .map_err(|why| StoreError::Unreadable { seq, why })?;
    if event.seq() == seq {
        Ok(event)
    } else {
        Err(StoreError::Unreadable {
            seq,
            why: format!("it says it is number {}", event.seq()),
        })
    }
}
