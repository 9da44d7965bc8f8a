//! A log says everything: folding it gives the rows that were saved with it, and rows give the state back.

use crate::support::{
    World,
    history::history,
    player::{Player, Step},
};
use plexus_trust::{
    Command, Event, Rows, State, all_rows, needs, put_together, read_part, replay, restore, row,
    touched_rows,
};
use proptest::{prelude::*, test_runner::TestCaseError};
use serde_json::Value;
use std::{collections::BTreeSet, sync::Arc};

fn rows(state: &State) -> Rows {
    let all = all_rows(state);
    let count = all.len();
    let rows: Rows = all.into_iter().collect();
    assert_eq!(rows.len(), count, "each key once");
    rows
}

/// Applies the events of a step to a second state, read back from their bytes, and keeps saved rows as a ledger would.
fn follow(
    world: &World,
    step: &Step,
    folded: &mut State,
    saved: &mut Rows,
    older: &mut Older,
) -> Result<(), TestCaseError> {
    for logged in &world.log[step.events.clone()] {
        let bytes = serde_json::to_vec(&logged.event).unwrap();
        let event = Event::read(logged.event.kind, &bytes).unwrap().unwrap();
        folded.apply(&event, &logged.id, logged.at);
        let earlier = older.spelling(&event, &bytes);
        replay(&mut older.rows, &logged.id, &earlier).unwrap();
        replay(&mut older.replayed, &logged.id, &bytes).unwrap();
        for key in touched_rows(&event, &logged.id) {
            match row(folded, &key) {
                Some(bytes) => saved.insert(key, bytes),
                None => saved.remove(&key),
            };
        }
    }
    Ok(())
}

/// A home that an earlier version has written: one that did not know some of the members which have a default now.
struct Older {
    rows: Rows,
    /// The same without that: in this version's own spelling.
    replayed: Rows,
    choice: u64,
    left_out: usize,
}

impl Older {
    fn new(choice: u64) -> Self {
        let (rows, replayed) = Default::default();
        Self {
            rows,
            replayed,
            choice,
            left_out: 0,
        }
    }

    /// The event as that version wrote it: it lacks members of its rows which are their default by now.
    fn spelling(&mut self, event: &Event, bytes: &[u8]) -> Vec<u8> {
        let mut spelled: Value = serde_json::from_slice(bytes).unwrap();
        for place in members(&spelled) {
            self.choice = self
                .choice
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            if self.choice >> 62 != 0 {
                continue;
            }
            let mut without = spelled.clone();
            let (parent, name) = place.rsplit_once('/').unwrap();
            let Some(Value::Object(parent)) = without.pointer_mut(parent) else {
                continue;
            };
            parent.shift_remove(&name.replace("~1", "/"));
            let read = Event::read(event.kind, &serde_json::to_vec(&without).unwrap()).unwrap();
            if read.is_ok_and(|read| serde_json::to_vec(&read).unwrap() == bytes) {
                spelled = without;
                self.left_out += 1;
            }
        }
        serde_json::to_vec(&spelled).unwrap()
    }
}

/// Pointers to the members inside an event's changes.
fn members(event: &Value) -> Vec<String> {
    fn below(value: &Value, path: &str, into: &mut Vec<String>) {
        match value {
            Value::Object(object) => {
                for (name, value) in object {
                    let path = format!("{path}/{}", name.replace('/', "~1"));
                    below(value, &path, into);
                    into.push(path);
                }
            }
            Value::Array(array) => {
                for (at, value) in array.iter().enumerate() {
                    below(value, &format!("{path}/{at}"), into);
                }
            }
            _ => {}
        }
    }
    let mut found = Vec::new();
    below(
        event.get("changes").unwrap_or(&Value::Null),
        "/changes",
        &mut found,
    );
    found
}

proptest! {
    #![proptest_config(ProptestConfig { cases: ProptestConfig::default().cases / 2, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_folded_log_gives_the_rows_that_were_saved_with_it(acts in history(60), choice: u64) {
        let mut player = Player::new();
        let (mut folded, mut saved) = (State::default(), Rows::new());
        let mut older = Older::new(choice);
        let launch = Step {
            command: Command::Launch,
            result: Ok(plexus_trust::Reply::Done),
            now: player.world.now,
            events: 0..player.world.log.len(),
        };
        let begun = player.begin();
        let setup = std::iter::once(launch).chain(begun);
        for step in setup {
            follow(&player.world, &step, &mut folded, &mut saved, &mut older)?;
        }
        for act in &acts {
            let before = rows(&player.world.state);
            let steps = player.play(act);
            for step in &steps {
                follow(&player.world, step, &mut folded, &mut saved, &mut older)?;
            }
            let live = rows(&player.world.state);
            prop_assert_eq!(&rows(&folded), &live, "folded, after {:?}", act);
            prop_assert_eq!(&saved, &live, "rows kept by what events name, after {:?}", act);
            prop_assert_eq!(&older.replayed, &live, "rows that events bring, after {:?}", act);
            prop_assert_eq!(folded.latest, player.world.state.latest);

            let named: BTreeSet<String> = steps
                .iter()
                .flat_map(|s| &player.world.log[s.events.clone()])
                .flat_map(|l| touched_rows(&l.event, &l.id))
                .collect();
            let keys = before.keys().chain(live.keys());
            for key in keys.filter(|key| before.get(*key) != live.get(*key)) {
                prop_assert!(named.contains(key), "{} changed and {:?} did not say so", key, act);
            }

        }
        let live = rows(&player.world.state);
        let back = restore(all_rows(&player.world.state)).unwrap();
        prop_assert_eq!(rows(&back), live, "restored");
        prop_assert_eq!(back.serial, folded.serial);
        prop_assert!(older.left_out > 0, "the earlier version wrote nothing otherwise");
        // Read in parts, wherever they are cut: the same, and every row that would be written otherwise is named.
        let all: Vec<_> = older.rows.iter().collect();
        let third = all.len() / 3 + 1;
        let parts = all.chunks(third).map(|part| {
            read_part(part.iter().map(|(key, bytes)| (key.as_str(), &bytes[..])))
        });
        let parts = parts.collect::<Result<Vec<_>, _>>().map_err(|e| TestCaseError::fail(e.to_string()))?;
        let (back, otherwise) = put_together(parts).map_err(|e| TestCaseError::fail(e.to_string()))?;
        let live = rows(&back);
        prop_assert_eq!(&live, &rows(&player.world.state), "read from an earlier version's rows");
        let keys: BTreeSet<_> = live.keys().chain(older.rows.keys()).collect();
        let differ: BTreeSet<_> = keys.into_iter().filter(|key| live.get(*key) != older.rows.get(*key)).collect();
        prop_assert_eq!(otherwise.iter().collect::<BTreeSet<_>>(), differ);
        for key in live.keys().filter_map(|key| needs(key)) {
            prop_assert!(live.contains_key(&key), "{} is needed", key);
        }
    }
}

#[test]
fn a_row_with_more_than_this_version_knows_is_refused_and_one_with_less_is_read() {
    let mut world = World::new();
    world.member("ann", &[crate::support::READ]);
    let good = all_rows(&world.state);
    for (key, member) in [
        ("settings", "/later"),
        ("agent/ann", "/later"),
        ("grant/ann/notes.read", "/constraint"),
        ("source/notes", "/config/later"),
        ("source/notes", "/capabilities/notes.read/later"),
    ] {
        let with = |value: Value| {
            let mut rows = good.clone();
            let row = rows.iter_mut().find(|(k, _)| k == key).expect("a row");
            let mut object: Value = serde_json::from_slice(&row.1).unwrap();
            let (parent, name) = member.rsplit_once('/').unwrap();
            object.pointer_mut(parent).unwrap()[name] = value;
            row.1 = serde_json::to_vec(&object).unwrap();
            restore(rows)
        };
        let error = with(serde_json::json!({"later": 1})).unwrap_err();
        assert_eq!(error.key, key);
        assert!(error.why.contains("later"), "{error}");
        // What says nothing loses nothing.
        assert!(with(Value::Null).is_ok(), "{key}");
    }
    let fewer = good.into_iter().map(|(key, bytes)| match key.as_str() {
        "settings" => (key, b"{}".to_vec()),
        _ => (key, bytes),
    });
    let usual = plexus_trust::Settings {
        // An earlier version's: the next start copies its windows.
        managed_by_owner: false,
        ..(*world.state.settings).clone()
    };
    assert_eq!(*restore(fewer).unwrap().settings, usual);
}

#[test]
fn rows_that_do_not_fit_are_refused() {
    let mut world = World::new();
    let who = world.member("ann", &[crate::support::READ]);
    world.member("bob", &[]);
    let good = all_rows(&world.state);
    assert!(restore(good.clone()).is_ok());
    let held = |key: &str| {
        let found = good.iter().find(|(k, _)| k == key);
        found.expect("a row").1.clone()
    };
    let grant = held(&format!("grant/{}/{}", who.agent, crate::support::READ));
    for (key, bytes) in [
        ("grant/bob/notes.read", grant.clone()),
        ("grant/ann/notes.write", grant.clone()),
        ("grant/eve/notes.read", grant),
        ("agent/eve", held("agent/ann")),
        ("source/other", held("source/notes")),
        ("meta", b"{}".to_vec()),
        ("nothing/known", b"1".to_vec()),
    ] {
        let mut bad = good.clone();
        bad.retain(|(k, _)| k != key);
        bad.push((key.to_owned(), bytes));
        let error = restore(bad).unwrap_err();
        assert_eq!(error.key, key);
    }
}

/// What a start does to a large home: no agent is copied for what it does not have.
#[test]
fn a_launch_and_a_look_at_an_unchanged_source_copy_no_agent() {
    let mut world = World::new();
    world.member("ann", &[crate::support::READ]);
    world.member("bob", &[]);
    let open = |world: &World| world.state.agents.values().any(|a| !a.sessions.is_empty());
    assert!(open(&world), "a member has a session");
    // The control: who has something is copied, and loses it.
    let before = world.state.agents.clone();
    world.ok(Command::Launch);
    assert!(!open(&world) && !Arc::ptr_eq(&before, &world.state.agents));

    let restored = restore(all_rows(&world.state)).unwrap();
    world.state = restored.clone();
    world.ok(Command::Launch);
    world.ok(Command::SourceSeen(crate::support::seen("notes")));
    assert!(Arc::ptr_eq(&restored.agents, &world.state.agents));
}
