//! One file, several versions of the machine: what an earlier one wrote stays readable, what a later one added is not lost.

use std::collections::BTreeMap;
use std::path::Path;

use plexus_ledger::{
    Decision, DecodeError, EventId, Finding, IndexTerm, Lane, Ledger, Machine, OpenError, Restored,
    Rows, verify_file,
};
use proptest::prelude::*;
use redb::TableDefinition;
use serde_json::{Value, json};

use crate::bank::{folder, wait, with};
use crate::tables::{self, META, ROWS, change, put};

/// A machine of version `V`: each row has members `m0` to `mV`, and one that a row lacks is 0.
struct Version<const V: usize>;

/// A row's members, as many as the version has.
type Row = Vec<u64>;

/// Sets the members of a row, or removes it.
struct Set(&'static str, Option<Row>);

impl<const V: usize> Version<V> {
    fn spell(row: &Row) -> Vec<u8> {
        let members = row.iter().enumerate();
        let object: serde_json::Map<String, Value> =
            members.map(|(i, n)| (format!("m{i}"), json!(n))).collect();
        serde_json::to_vec(&object).expect("JSON")
    }
    fn understand(row: &[u8]) -> Result<Row, DecodeError> {
        let object: BTreeMap<String, u64> =
            serde_json::from_slice(row).map_err(|e| DecodeError(e.to_string()))?;
        let mut row = vec![0; V + 1];
        for (name, n) in object {
            let at: Option<usize> = name[1..].parse().ok().filter(|at| *at <= V);
            row[at.ok_or_else(|| DecodeError(format!("`{name}` is not known")))?] = n;
        }
        Ok(row)
    }
}

impl<const V: usize> Machine for Version<V> {
    type State = BTreeMap<String, Row>;
    type Command = (&'static str, Option<u64>);
    type Event = Set;
    type Reply = ();
    type Refusal = ();
    type Part = Vec<(String, Row, bool)>;

    fn decide(_: &Self::State, (key, n): &Self::Command, _: u64) -> Decision<Self> {
        Ok((vec![Set(key, n.map(|n| vec![n; V + 1]))], ()))
    }
    fn apply(state: &mut Self::State, event: &Set, _: EventId, _: u64) {
        match &event.1 {
            Some(row) => state.insert(event.0.to_owned(), row.clone()),
            None => state.remove(event.0),
        };
    }
    fn event_type(_: &Set) -> &'static str {
        "set"
    }
    fn encode(event: &Set, into: &mut Vec<u8>) {
        let row = event.1.as_ref().map(Self::spell);
        let row = row.unwrap_or_else(|| b"null".to_vec());
        into.extend_from_slice(format!(r#"{{"key":"{}","row":"#, event.0).as_bytes());
        into.extend_from_slice(&row);
        into.push(b'}');
    }
    fn decode(_: &str, members: &[u8]) -> Result<Set, DecodeError> {
        let mut rows = Rows::new();
        let key = carried(members, &mut rows)?;
        let row = rows.get(key).map(|row| Self::understand(row)).transpose()?;
        Ok(Set(key, row))
    }
    fn replay(rows: &mut Rows, _: EventId, members: &[u8]) -> Result<(), DecodeError> {
        carried(members, rows).map(drop)
    }
    fn touched_rows(event: &Set, _: EventId) -> Vec<String> {
        vec![event.0.to_owned()]
    }
    fn row(state: &Self::State, key: &str) -> Option<Vec<u8>> {
        state.get(key).map(Self::spell)
    }
    fn all_rows(state: &Self::State) -> Vec<(String, Vec<u8>)> {
        let rows = state.iter();
        rows.map(|(key, row)| (key.clone(), Self::spell(row)))
            .collect()
    }
    fn read<'r>(
        rows: impl Iterator<Item = (&'r str, &'r [u8])>,
    ) -> Result<Self::Part, DecodeError> {
        rows.map(|(key, saved)| {
            let row = Self::understand(saved)?;
            let otherwise = Self::spell(&row) != saved;
            Ok((key.to_owned(), row, otherwise))
        })
        .collect()
    }
    fn restore(parts: Vec<Self::Part>) -> Result<Restored<Self>, DecodeError> {
        let (mut state, mut otherwise) = (BTreeMap::new(), Vec::new());
        for (key, row, other) in parts.into_iter().flatten() {
            otherwise.extend(other.then(|| key.clone()));
            state.insert(key, row);
        }
        Ok(Restored { state, otherwise })
    }
    fn needs(_: &str) -> Option<String> {
        None
    }
    fn index_terms(_: &Set) -> Vec<IndexTerm> {
        Vec::new()
    }
}

const KEYS: [&str; 3] = ["a", "b", "c"];

/// Carries an event over to rows without a look at what is in them; gives the key.
fn carried(members: &[u8], rows: &mut Rows) -> Result<&'static str, DecodeError> {
    let wrong = || DecodeError("not an event".to_owned());
    let event: BTreeMap<String, Box<serde_json::value::RawValue>> =
        serde_json::from_slice(members).map_err(|e| DecodeError(e.to_string()))?;
    let named = event.get("key").ok_or_else(wrong)?.get();
    let key = KEYS.into_iter().find(|key| named == format!("\"{key}\""));
    let (key, row) = (key.ok_or_else(wrong)?, event.get("row").ok_or_else(wrong)?);
    match row.get() {
        "null" => rows.remove(key),
        row => rows.insert(key.to_owned(), row.into()),
    };
    Ok(key)
}

/// One launch of version `V` that carries out `sets`, checks everything, and stops.
fn launch<const V: usize>(
    dir: &Path,
    sets: &[(&'static str, Option<u64>)],
) -> Result<BTreeMap<String, Row>, OpenError> {
    let options = with(|o| (o.checkpoint_every, o.build) = (4, format!("0.{V}.0")));
    let (ledger, _) = Ledger::<Version<V>>::open(dir, options)?;
    for set in sets {
        wait(ledger.submit(*set, Lane::Agent)).expect("recorded");
    }
    for full in [true, false] {
        ledger.verify(full).expect("sound");
    }
    let state = (*ledger.snapshot()).clone();
    assert!(ledger.close(), "a clean stop");
    verify_file::<Version<V>>(&dir.join("ledger.redb"), None).expect("sound offline");
    Ok(state)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]
    /// Versions 0, 1 and 3 after one another on one file, with checkpoints between: each reads all that came before.
    #[test]
    fn a_later_version_reads_and_goes_on_with_what_an_earlier_one_wrote(
        launches in prop::collection::vec(
            prop::collection::vec((prop::sample::select(KEYS.to_vec()), prop::option::weighted(0.8, 1_u64..9)), 0..12), 6..7),
    ) {
        let dir = folder();
        let mut expected: BTreeMap<String, Row> = BTreeMap::new();
        for (at, sets) in launches.iter().enumerate() {
            let version = [0, 0, 1, 1, 3, 3][at];
            for (key, n) in sets {
                match n {
                    Some(n) => drop(expected.insert((*key).to_owned(), vec![*n; version + 1])),
                    None => drop(expected.remove(*key)),
                }
            }
            expected.values_mut().for_each(|row| row.resize(version + 1, 0));
            let found = match version {
                0 => launch::<0>(dir.path(), sets),
                1 => launch::<1>(dir.path(), sets),
                _ => launch::<3>(dir.path(), sets),
            };
            prop_assert_eq!(found.expect("it opens"), expected.clone());
        }
    }
}

#[test]
fn what_a_later_version_added_is_not_lost_by_an_earlier_one() {
    let dir = folder();
    launch::<0>(dir.path(), &[("a", Some(1)), ("b", Some(2))]).expect("it opens");
    // The later version ran, and wrote nothing that the earlier one would not know.
    launch::<1>(dir.path(), &[("b", None)]).expect("it opens");
    launch::<0>(dir.path(), &[]).expect("the way back is open as long as nothing would be lost");

    launch::<1>(dir.path(), &[("a", Some(3))]).expect("it opens");
    let before = std::fs::read(dir.path().join("ledger.redb")).expect("readable");
    let error = launch::<0>(dir.path(), &[]).expect_err("refused");
    assert!(matches!(&error, OpenError::Later { by: Some(by), .. } if by == "0.1.0"));
    for words in [
        "a later plexusd (0.1.0)",
        "`m1` is not known",
        "start that version again",
    ] {
        assert!(error.to_string().contains(words), "{error}");
    }
    // The refused start changed nothing that the later version would miss.
    assert_eq!(
        launch::<1>(dir.path(), &[]).expect("it opens")["a"],
        [3, 3],
        "{} bytes before",
        before.len()
    );
}

#[test]
fn an_edited_row_is_found_whichever_version_spelled_it() {
    let edits: [&[u8]; 4] = [
        b"{\"m0\":2}",
        // As the later version spells the very same, and with more.
        b"{\"m0\":1,\"m1\":0}",
        b"{\"m0\":1,\"m1\":7}",
        b"{}",
    ];
    for edit in edits {
        for stopped in [true, false] {
            let dir = folder();
            launch::<0>(dir.path(), &[("a", Some(1)), ("b", Some(2))]).expect("it opens");
            if stopped {
                // Unchanged since its checkpoint, and changed by an event after it.
                launch::<1>(dir.path(), &[("b", Some(3))]).expect("it opens");
            }
            change(dir.path(), |tx| put(tx, ROWS, "a", edit));
            let error = launch::<1>(dir.path(), &[]).expect_err("refused");
            let OpenError::Damaged(Finding::Row { key, .. }) = &error else {
                panic!("{error}")
            };
            assert_eq!(key, "a");
        }
    }
}

#[test]
fn an_earlier_format_is_copied_and_then_taken_over() {
    for format in [1, 2] {
        taken_over(format);
    }
}

fn taken_over(format: u64) {
    let dir = folder();
    launch::<0>(dir.path(), &[("a", Some(1))]).expect("it opens");
    let copy = dir.path().join(format!("ledger.redb.format-{format}"));
    assert!(!copy.exists(), "today's format needs no copy");
    change(dir.path(), |tx| {
        put(tx, META, "format", format);
        if format == 1 {
            let notes = TableDefinition::<&str, &str>::new("notes");
            tx.delete_table(notes).expect("removed");
        }
    });
    launch::<1>(dir.path(), &[("a", Some(2))]).expect("it opens");
    // The copy is whole, is the owner's alone, and is what it was.
    verify_file::<Version<0>>(&copy, None).expect("sound");
    let mode = std::os::unix::fs::MetadataExt::mode(&copy.metadata().expect("there"));
    assert_eq!(mode & 0o777, 0o600);
    std::fs::rename(&copy, dir.path().join("ledger.redb")).expect("put back");
    std::fs::remove_file(dir.path().join("audit-heads.jsonl")).expect("removed");
    assert_eq!(launch::<0>(dir.path(), &[]).expect("it opens")["a"], [1]);
}

#[test]
fn without_its_copy_an_earlier_format_is_left_as_it_is() {
    let dir = folder();
    launch::<0>(dir.path(), &[("a", Some(1))]).expect("it opens");
    let found = || change(dir.path(), tables::format);
    change(dir.path(), |tx| put(tx, META, "format", 1));
    // A folder stands where the copy would be made.
    let part = dir.path().join("ledger.redb.format-1.part");
    std::fs::create_dir(&part).expect("made");
    let error = launch::<0>(dir.path(), &[]).expect_err("refused");
    assert!(error.to_string().contains("keeping a copy"), "{error}");
    assert_eq!(found(), 1);
    std::fs::remove_dir(&part).expect("removed");
    launch::<0>(dir.path(), &[]).expect("it opens");
    assert_eq!(found(), 3);
}
