//! The tables of a ledger's file, for who changes it behind the ledger's back.

use std::borrow::Borrow;
use std::path::Path;

use redb::{Database, Key, ReadableTable, TableDefinition, Value, WriteTransaction};

pub(crate) const EVENTS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("events");
pub(crate) const ROWS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("rows");
pub(crate) const BASE: TableDefinition<'_, &str, Option<&[u8]>> =
    TableDefinition::new("rows_at_checkpoint");
pub(crate) const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");
pub(crate) const ARCHIVES: TableDefinition<'_, u64, &str> = TableDefinition::new("archives");
pub(crate) const RUNS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("index_runs");

/// Changes the file of the ledger in `dir`, which is not open, in one transaction.
pub(crate) fn change<T>(dir: &Path, change: impl FnOnce(&WriteTransaction) -> T) -> T {
    let file = Database::open(dir.join("ledger.redb")).expect("the file opens");
    let tx = file.begin_write().expect("a transaction");
    let done = change(&tx);
    tx.commit().expect("committed");
    done
}

pub(crate) fn put<'k, 'v, K: Key + 'static, V: Value + 'static>(
    tx: &WriteTransaction,
    table: TableDefinition<'_, K, V>,
    key: impl Borrow<K::SelfType<'k>>,
    value: impl Borrow<V::SelfType<'v>>,
) {
    let mut table = tx.open_table(table).expect("a table");
    table.insert(key, value).expect("written");
}

/// Removes a value that is there.
pub(crate) fn remove<'k, K: Key + 'static, V: Value + 'static>(
    tx: &WriteTransaction,
    table: TableDefinition<'_, K, V>,
    key: impl Borrow<K::SelfType<'k>>,
) {
    let mut table = tx.open_table(table).expect("a table");
    assert!(table.remove(key).expect("removed").is_some(), "it is there");
}

/// An event as it is stored: its hash, and its text.
pub(crate) fn stored(tx: &WriteTransaction, seq: u64) -> Vec<u8> {
    let events = tx.open_table(EVENTS).expect("a table");
    let event = events.get(seq).expect("readable").expect("there");
    event.value().to_vec()
}

/// The number of the format that the file says it has.
pub(crate) fn format(tx: &WriteTransaction) -> u64 {
    let meta = tx.open_table(META).expect("a table");
    let format = meta.get("format").expect("readable").expect("there");
    format.value()
}

/// All of a table, in order.
pub(crate) fn all<K: Key + 'static, V: Value + 'static, T, C: FromIterator<T>>(
    table: &impl ReadableTable<K, V>,
    read: impl for<'a> Fn(K::SelfType<'a>, V::SelfType<'a>) -> T,
) -> C {
    let rows = table.iter().expect("readable");
    rows.map(|row| row.expect("readable"))
        .map(|(key, value)| read(key.value(), value.value()))
        .collect()
}

/// What the rows of the index are about: first event, and the number after the last.
pub(crate) fn runs(table: &impl ReadableTable<u64, &'static [u8]>) -> Vec<(u64, u64)> {
    all(table, |first, row| {
        let count = u16::from_le_bytes(*row.first_chunk().expect("a count"));
        (first, first + u64::from(count))
    })
}
