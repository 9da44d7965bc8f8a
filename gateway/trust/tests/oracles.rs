//! Any bytes as the next events of a log: not an event, or folded and read back to the same rows.

use crate::support::player::Player;
use plexus_mutation::{Accepted, hold};
use plexus_protocol::AuditId;
use plexus_trust::{Event, Rows, State, all_rows, replay, restore, row, touched_rows};
use std::sync::LazyLock;

/// A log of two agents and two sources, folded, and its rows as they were saved.
static BEGUN: LazyLock<(State, Rows)> = LazyLock::new(|| {
    let mut player = Player::new();
    let _ = player.begin();
    let mut rows = Rows::new();
    for logged in &player.world.log {
        let bytes = serde_json::to_vec(&logged.event).expect("JSON");
        replay(&mut rows, &logged.id, &bytes).expect("an event");
    }
    (player.world.state, rows)
});

fn id(n: usize) -> AuditId {
    AuditId::parse(&format!("evt_00000000-{n:04x}-8000-8000-000000000000")).expect("an id")
}

/// Lines of a type, a space and the members of an event. A program that can write the file can write any of them and a chain
/// that fits: then the rows must say the same as the fold, or be refused; and nothing ends the daemon.
fn fold(bytes: &[u8]) -> Accepted {
    let (mut state, mut rows) = BEGUN.clone();
    let mut any = false;
    for (n, line) in bytes.split(|b| *b == b'\n').enumerate().take(50) {
        let Some(space) = line.iter().position(|b| *b == b' ') else {
            continue;
        };
        let kind = String::from_utf8_lossy(&line[..space]);
        let Some(Ok(event)) = Event::read(&kind, &line[space + 1..]) else {
            continue;
        };
        let (id, at) = (id(0x4000 + n), crate::support::START.plus(n as u64));
        // What it is written as is read as the same.
        let written = serde_json::to_vec(&event).expect("JSON");
        let again = Event::read(event.kind, &written)
            .expect("a known type")
            .expect("reads back");
        assert_eq!(serde_json::to_vec(&again).expect("JSON"), written);
        let mut other = state.clone();
        other.apply(&again, &id, at);
        let before = state.latest;
        state.apply(&event, &id, at);
        assert_eq!(all_rows(&other), all_rows(&state));
        assert!(state.latest >= before, "time does not go back");
        // Rows get the bytes of our own spelling; those that the event names are those that it brings.
        let mut kept = rows.clone();
        replay(&mut rows, &id, &written).expect("what could be read can be replayed");
        for key in touched_rows(&event, &id) {
            match rows.get(&key) {
                Some(bytes) => kept.insert(key.clone(), bytes.clone()),
                None => kept.remove(&key),
            };
            // A row that is there is a row of the state, or one that a start refuses.
            let _ = row(&state, &key);
        }
        assert_eq!(kept, rows, "no row changes unnamed");
        any = true;
    }
    match restore(rows) {
        Ok(back) => {
            let folded: Rows = all_rows(&state).into_iter().collect();
            let read: Rows = all_rows(&back).into_iter().collect();
            assert_eq!(read, folded, "rows and fold agree");
        }
        Err(error) => assert!(!error.key.is_empty() && !error.why.is_empty()),
    }
    any
}

#[test]
fn a_log_is_folded_or_refused() {
    let words: &[&[u8]] = &[
        b"\nhandshake ",
        b"\ninvoke ",
        b"\"changes\":[",
        b"{\"agentGone\":\"ann\"}",
        b"{\"sourceGone\":\"notes\"}",
        b"{\"serial\":18446744073709551615}",
        b"\"launchOver\"",
        b"\"ann\"",
        b"\"bob\"",
        b"\"notes.read\"",
        b"\"expires_at\":0",
        b"null",
        b"[]",
        b"{}",
    ];
    let corpus = format!("{}/tests/corpus/log", env!("CARGO_MANIFEST_DIR"));
    hold(corpus, words, fold);
}
