//! A log says everything: folding it gives the rows that were saved with it, and rows give the state back.

#[allow(dead_code, reason = "each test binary uses its own part")]
mod support;

use plexus_trust::{Event, State, all_rows, restore, row, touched_rows};
use proptest::{prelude::*, test_runner::TestCaseError};
use std::collections::{BTreeMap, BTreeSet};
use support::{
    World,
    history::history,
    player::{Player, Step},
};

type Rows = BTreeMap<String, Vec<u8>>;

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
) -> Result<(), TestCaseError> {
    for logged in &world.log[step.events.clone()] {
        let bytes = serde_json::to_vec(&logged.event).unwrap();
        let event = Event::read(logged.event.kind, &bytes).unwrap().unwrap();
        folded.apply(&event, &logged.id, logged.at);
        for key in touched_rows(&event, &logged.id) {
            match row(folded, &key) {
                Some(bytes) => saved.insert(key, bytes),
                None => saved.remove(&key),
            };
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: ProptestConfig::default().cases / 2, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_folded_log_gives_the_rows_that_were_saved_with_it(acts in history(60)) {
        let mut player = Player::new();
        let (mut folded, mut saved) = (State::default(), Rows::new());
        let launch = Step {
            command: plexus_trust::Command::Launch,
            result: Ok(plexus_trust::Reply::Done),
            now: player.world.now,
            events: 0..player.world.log.len(),
        };
        let begun = player.begin();
        let setup = std::iter::once(launch).chain(begun);
        for step in setup {
            follow(&player.world, &step, &mut folded, &mut saved)?;
        }
        for act in &acts {
            let before = rows(&player.world.state);
            let steps = player.play(act);
            for step in &steps {
                follow(&player.world, step, &mut folded, &mut saved)?;
            }
            let live = rows(&player.world.state);
            prop_assert_eq!(&rows(&folded), &live, "folded, after {:?}", act);
            prop_assert_eq!(&saved, &live, "rows kept by what events name, after {:?}", act);
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
    }
}

#[test]
fn rows_that_do_not_fit_are_refused() {
    let mut world = World::new();
    let who = world.member("ann", &[support::READ]);
    world.member("bob", &[]);
    let good = all_rows(&world.state);
    assert!(restore(good.clone()).is_ok());
    let held = |key: &str| {
        let found = good.iter().find(|(k, _)| k == key);
        found.expect("a row").1.clone()
    };
    let grant = held(&format!("grant/{}/{}", who.agent, support::READ));
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
