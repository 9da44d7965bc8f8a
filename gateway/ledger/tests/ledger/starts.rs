//! What a start costs, counted and not timed; and that reading once refuses what reading all of it twice refused.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use plexus_ledger::{
    Decision, DecodeError, EventId, IndexTerm, Lane, Ledger, Machine, OpenError, Opener, Restored,
    Rows,
};
use proptest::prelude::*;
use redb::backends::FileBackend;
use redb::{ReadableTable as _, StorageBackend};
use sha2::{Digest as _, Sha256};

use crate::bank::{Bank, Command, Event, folder, open_with, options, recorded, submit, wait, with};
use crate::histories::command;
use crate::tables::{BASE, EVENTS, META, ROWS, all, change, put};

/// Copies the file of an open ledger, as a kill would leave it.
pub(crate) fn killed(live: &Path) -> tempfile::TempDir {
    let dir = folder();
    std::fs::copy(live.join("ledger.redb"), dir.path().join("ledger.redb")).expect("copied");
    dir
}

/// Counts what it is asked for. A row is a number; the one test that uses it is alone in its process or the only user.
struct Tally;

/// Rows read, rows spelled, events replayed, rows in the hands of replay.
static DONE: [AtomicU64; 4] = [const { AtomicU64::new(0) }; 4];

fn done(what: usize, times: usize) {
    DONE[what].fetch_add(times as u64, Ordering::Relaxed);
}

impl Machine for Tally {
    type State = BTreeMap<String, u64>;
    type Command = Vec<(String, u64)>;
    type Event = (String, u64);
    type Reply = ();
    type Refusal = ();
    type Part = Self::State;

    fn decide(_: &Self::State, command: &Self::Command, _: u64) -> Decision<Self> {
        Ok((command.clone(), ()))
    }
    fn apply(state: &mut Self::State, (key, n): &Self::Event, _: EventId, _: u64) {
        state.insert(key.clone(), *n);
    }
    fn event_type(_: &Self::Event) -> &'static str {
        "set"
    }
    fn encode((key, n): &Self::Event, into: &mut Vec<u8>) {
        into.extend_from_slice(format!(r#"{{"key":"{key}","n":{n}}}"#).as_bytes());
    }
    fn decode(_: &str, members: &[u8]) -> Result<Self::Event, DecodeError> {
        let value: serde_json::Value =
            serde_json::from_slice(members).map_err(|e| DecodeError(e.to_string()))?;
        let (key, n) = (value["key"].as_str(), value["n"].as_u64());
        key.zip(n)
            .map(|(key, n)| (key.to_owned(), n))
            .ok_or_else(|| DecodeError("not an event".to_owned()))
    }
    fn replay(rows: &mut Rows, _: EventId, members: &[u8]) -> Result<(), DecodeError> {
        let (key, n) = Self::decode("", members)?;
        rows.insert(key, n.to_string().into_bytes());
        done(2, 1);
        DONE[3].fetch_max(rows.len() as u64, Ordering::Relaxed);
        Ok(())
    }
    fn touched_rows((key, _): &Self::Event, _: EventId) -> Vec<String> {
        vec![key.clone()]
    }
    fn row(state: &Self::State, key: &str) -> Option<Vec<u8>> {
        done(1, 1);
        Some(state.get(key)?.to_string().into_bytes())
    }
    fn all_rows(state: &Self::State) -> Vec<(String, Vec<u8>)> {
        done(1, state.len());
        let rows = state.iter();
        rows.map(|(key, n)| (key.clone(), n.to_string().into_bytes()))
            .collect()
    }
    fn read<'r>(
        rows: impl Iterator<Item = (&'r str, &'r [u8])>,
    ) -> Result<Self::Part, DecodeError> {
        let number = |row: &[u8]| std::str::from_utf8(row).ok()?.parse().ok();
        let read: Option<Self::Part> = rows
            .map(|(key, row)| Some((key.to_owned(), number(row)?)))
            .collect();
        let read = read.ok_or_else(|| DecodeError("not a number".to_owned()))?;
        done(0, read.len());
        Ok(read)
    }
    fn restore(parts: Vec<Self::Part>) -> Result<Restored<Self>, DecodeError> {
        Ok(Restored {
            state: parts.into_iter().flatten().collect(),
            otherwise: Vec::new(),
        })
    }
    fn needs(_: &str) -> Option<String> {
        None
    }
    fn index_terms(_: &Self::Event) -> Vec<IndexTerm> {
        Vec::new()
    }
}

/// A start reads each row once and each event since the checkpoint once, and handles of the rows again only those that
/// these events changed: at ten thousand rows anything else shows.
#[test]
fn a_start_reads_each_row_once_and_again_only_what_changed() {
    const ROWS_IN_ALL: usize = 10_000;
    const CHANGED: usize = 50;
    let dir = folder();
    let counted = |dir: &Path| {
        DONE.iter().for_each(|n| n.store(0, Ordering::Relaxed));
        let (ledger, boot) = Ledger::<Tally>::open(dir, options()).expect("opens");
        let counts = DONE.each_ref().map(|n| n.load(Ordering::Relaxed) as usize);
        assert_eq!(boot.checked.rows as usize, ROWS_IN_ALL);
        assert_eq!(ledger.snapshot().len(), ROWS_IN_ALL);
        (ledger, counts)
    };
    let set = |ledger: &Ledger<Tally>, n: usize, to: u64| {
        let rows = (0..n).map(|n| (format!("row-{n}"), to)).collect();
        wait(ledger.submit(rows, Lane::Agent)).expect("recorded");
    };
    let ledger = Ledger::<Tally>::open(dir.path(), options())
        .expect("opens")
        .0;
    set(&ledger, ROWS_IN_ALL, 0);
    assert!(ledger.close());

    let (ledger, [read, spelled, replayed, _]) = counted(dir.path());
    assert_eq!((read, spelled, replayed), (ROWS_IN_ALL, 0, 0), "clean");

    set(&ledger, CHANGED, 1);
    set(&ledger, CHANGED, 2);
    let left = killed(dir.path());
    let (after, [read, spelled, replayed, held]) = counted(left.path());
    assert_eq!(read, ROWS_IN_ALL + CHANGED, "killed");
    assert!((1..=4 * CHANGED).contains(&spelled), "{spelled} spelled");
    assert_eq!((replayed, held), (2 * CHANGED, CHANGED));
    assert_eq!(after.snapshot()["row-0"], 2);
    assert_eq!(after.snapshot()[&format!("row-{}", ROWS_IN_ALL - 1)], 0);
}

/// The real file, which tells of its flushes.
#[derive(Debug)]
struct Told {
    file: FileBackend,
    flushed: mpsc::Sender<()>,
}

impl StorageBackend for Told {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }
    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.file.read(offset, out)
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }
    fn sync_data(&self) -> io::Result<()> {
        self.file.sync_data()?;
        // Nobody may listen any more.
        let _ = self.flushed.send(());
        Ok(())
    }
    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.file.write(offset, data)
    }
}

/// An opener of such files, and their flushes.
pub(crate) fn told() -> (Opener, mpsc::Receiver<()>) {
    let (flushed, flushes) = mpsc::channel();
    let opener = move |path: &Path| {
        let file = std::fs::OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)?;
        let told: Arc<dyn StorageBackend> = Arc::new(Told {
            file: FileBackend::new(file)?,
            flushed: flushed.clone(),
        });
        Ok(told)
    };
    (Arc::new(opener), flushes)
}

/// A gateway that is killed while nobody calls starts as after a clean stop: nobody walks through the file. One that is
/// killed at work has it walked through.
#[test]
fn a_file_is_settled_once_nothing_has_come_for_a_while() {
    // Whether a kill right after one of the ledger's flushes leaves a file that is not walked through.
    let settled = |settle_after: Duration| {
        let (opener, flushes) = told();
        let dir = folder();
        let with = with(|o| {
            o.opener = opener;
            o.settle_after = settle_after;
        });
        let ledger = open_with(dir.path(), with);
        recorded(&ledger, Command::Deposit("bob", 7));
        // The deposit's flush is among those that were heard by now; those of a file that is settled may yet come.
        let mut heard = flushes.try_iter().count();
        loop {
            let left = killed(dir.path());
            let (again, boot) = Ledger::<Bank>::open(left.path(), options()).expect("opens");
            assert!(!boot.clean, "a kill is no clean stop");
            assert_eq!(again.snapshot()["bob"], 7);
            if !boot.walked || !settle_after.is_zero() {
                assert!(heard > 0);
                return !boot.walked;
            }
            let next = flushes.recv_timeout(Duration::from_secs(20));
            next.expect("the file is settled");
            heard += 1;
        }
    };
    assert!(!settled(Duration::from_secs(3_600)), "at work");
    assert!(settled(Duration::ZERO), "at rest");
}

/// What somebody does to the file.
#[derive(Clone, Debug)]
enum Edit {
    Nothing,
    Row(usize),
    RowGone(usize),
    RowMore(&'static str),
    RowsSwapped(usize, usize),
    Kept(usize),
    KeptGone(usize),
    KeptMore(&'static str, Option<u64>),
    Checkpoint(u64),
}

fn edit() -> impl Strategy<Value = Edit> {
    let name = || prop::sample::select(vec!["a", "b", "c", "z"]);
    prop_oneof![
        2 => Just(Edit::Nothing),
        2 => (0_usize..4).prop_map(Edit::Row),
        2 => (0_usize..4).prop_map(Edit::RowGone),
        1 => name().prop_map(Edit::RowMore),
        2 => (0_usize..4, 0_usize..4).prop_map(|(a, b)| Edit::RowsSwapped(a, b)),
        2 => (0_usize..4).prop_map(Edit::Kept),
        1 => (0_usize..4).prop_map(Edit::KeptGone),
        2 => (name(), prop::option::of(0_u64..9)).prop_map(|(key, n)| Edit::KeptMore(key, n)),
        1 => (0_u64..30).prop_map(Edit::Checkpoint),
    ]
}

type Kept = BTreeMap<String, Option<Vec<u8>>>;

/// Everything of the file that a start compares.
struct Content {
    rows: Rows,
    base: Kept,
    checkpoint: u64,
    events: Vec<Vec<u8>>,
}

impl Content {
    fn of(dir: &Path) -> Self {
        change(dir, |tx| {
            let (rows, base) = (tx.open_table(ROWS), tx.open_table(BASE));
            let (rows, base) = (rows.expect("a table"), base.expect("a table"));
            let (events, meta) = (tx.open_table(EVENTS), tx.open_table(META));
            let (events, meta) = (events.expect("a table"), meta.expect("a table"));
            let checkpoint = meta.get("checkpoint").expect("readable");
            Self {
                rows: all(&rows, |key, row| (key.to_owned(), row.to_vec())),
                base: all(&base, |key, row| (key.to_owned(), row.map(<[u8]>::to_vec))),
                checkpoint: checkpoint.map_or(0, |seq| seq.value()),
                events: all(&events, |_, event| event[32..].to_vec()),
            }
        })
    }

    /// Puts rows, kept values and the number of the checkpoint into the file.
    fn put(&self, dir: &Path) {
        change(dir, |tx| {
            tx.delete_table(ROWS).expect("deleted");
            tx.delete_table(BASE).expect("deleted");
            // They are there, also where nothing is in them.
            let rows = tx.open_table(ROWS).expect("a table");
            drop((rows, tx.open_table(BASE).expect("a table")));
            for (key, value) in &self.rows {
                put(tx, ROWS, key.as_str(), value.as_slice());
            }
            for (key, value) in &self.base {
                put(tx, BASE, key.as_str(), value.as_deref());
            }
            put(tx, META, "checkpoint", self.checkpoint);
        });
    }

    fn edit(&mut self, edit: &Edit) {
        let key =
            |of: usize, keys: Vec<&String>| keys.get(of % keys.len().max(1)).map(|k| (*k).clone());
        let row = |content: &Self, n| key(n, content.rows.keys().collect());
        match *edit {
            Edit::Nothing => {}
            Edit::Row(n) => {
                if let Some(key) = row(self, n) {
                    self.rows.insert(key, b"1000".to_vec());
                }
            }
            Edit::RowGone(n) => {
                if let Some(key) = row(self, n) {
                    self.rows.remove(&key);
                }
            }
            Edit::RowMore(key) => drop(self.rows.insert(key.to_owned(), b"7".to_vec())),
            Edit::RowsSwapped(a, b) => {
                if let (Some(a), Some(b)) = (row(self, a), row(self, b)) {
                    let (one, other) = (self.rows[&a].clone(), self.rows[&b].clone());
                    self.rows.insert(a, other);
                    self.rows.insert(b, one);
                }
            }
            Edit::Kept(n) => {
                if let Some(key) = key(n, self.base.keys().collect()) {
                    self.base.insert(key, Some(b"1000".to_vec()));
                }
            }
            Edit::KeptGone(n) => {
                if let Some(key) = key(n, self.base.keys().collect()) {
                    self.base.remove(&key);
                }
            }
            Edit::KeptMore(key, n) => {
                let value = n.map(|n| n.to_string().into_bytes());
                self.base.insert(key.to_owned(), value);
            }
            Edit::Checkpoint(seq) => self.checkpoint = seq,
        }
    }

    /// Whether it holds together, found the long way: all rows put back, all hashed, all folded, all compared.
    fn holds(&self) -> bool {
        let mut then = self.rows.clone();
        for (key, value) in &self.base {
            match value {
                Some(value) => drop(then.insert(key.clone(), value.clone())),
                None => drop(then.remove(key)),
            }
        }
        let event = |seq: u64| -> Option<serde_json::Value> {
            let at = usize::try_from(seq.checked_sub(1)?).ok()?;
            serde_json::from_slice(self.events.get(at)?).ok()
        };
        let noted = match self.checkpoint {
            0 => Some("0".repeat(64)),
            seq => event(seq)
                .filter(|event| event["type"] == "checkpoint")
                .and_then(|event| Some(event["rows"].as_str()?.to_owned())),
        };
        if noted != Some(sum(&then)) {
            return false;
        }
        let mut touched = BTreeSet::new();
        for seq in self.checkpoint + 1..=self.events.len() as u64 {
            let Some(event) = event(seq) else {
                return false;
            };
            if event["type"] == "checkpoint" {
                if event["rows"] != sum(&then) {
                    return false;
                }
                touched.clear();
                continue;
            }
            let Ok(act) = serde_json::from_value::<Event>(event) else {
                return false;
            };
            let key = match &act {
                Event::Deposited { account, .. }
                | Event::Withdrawn { account, .. }
                | Event::Closed { account } => account.clone(),
                _ => continue,
            };
            let number = then.get(&key).and_then(|row| std::str::from_utf8(row).ok());
            let balance: u64 = number.and_then(|n| n.parse().ok()).unwrap_or(0);
            let balance = match act {
                Event::Deposited { amount, .. } => Some(balance + amount),
                Event::Withdrawn { amount, .. } => balance.checked_sub(amount),
                _ => None,
            };
            match balance {
                Some(n) => drop(then.insert(key.clone(), n.to_string().into_bytes())),
                None => drop(then.remove(&key)),
            }
            touched.insert(key);
        }
        then == self.rows && self.base.keys().all(|key| touched.contains(key))
    }
}

/// The digest of rows, as a checkpoint notes it: a sum of numbers of 256 bits.
fn sum(rows: &Rows) -> String {
    let mut sum = [0_u8; 32];
    for (key, value) in rows {
        let row = [key.as_bytes(), &[0], value].concat();
        let mut carry = 0;
        for (byte, other) in sum.iter_mut().zip(Sha256::digest(&row)) {
            let added = u16::from(*byte) + u16::from(other) + carry;
            (*byte, carry) = ((added & 0xff) as u8, added >> 8);
        }
    }
    sum.iter().rev().map(|byte| format!("{byte:02x}")).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]
    /// Two edits, because one can hide another.
    #[test]
    fn reading_once_refuses_exactly_what_reading_everything_refuses(
        commands in prop::collection::vec(command(), 1..40),
        checkpoint_every in 2_u64..12,
        close in any::<bool>(),
        edits in (edit(), edit()),
    ) {
        let live = folder();
        let ledger = open_with(live.path(), with(|o| o.checkpoint_every = checkpoint_every));
        for command in commands {
            drop(submit(&ledger, command));
        }
        if close {
            prop_assert!(ledger.close());
        }
        let left = killed(live.path());

        let mut content = Content::of(left.path());
        prop_assert!(content.holds(), "untouched");
        content.edit(&edits.0);
        content.edit(&edits.1);
        content.put(left.path());
        match Ledger::<Bank>::open(left.path(), options()) {
            Ok((ledger, _)) => {
                prop_assert!(content.holds(), "it was opened");
                let rows: Rows = Bank::all_rows(&ledger.snapshot()).into_iter().collect();
                prop_assert_eq!(rows, content.rows);
            }
            Err(OpenError::Damaged(_) | OpenError::Later { .. }) => prop_assert!(!content.holds(), "it was refused"),
            Err(other) => prop_assert!(false, "{}", other),
        }
    }
}
