//! The laws of a [`Store`], for every store that there is.

use super::{Append, Outcome, Rows, Snapshot, Store, Subject};
use plexus_channels::Id;
use std::sync::mpsc::{Receiver, channel};

fn append(store: &impl Store, subject: Subject, expected: u64, act: &[u8]) -> Receiver<Outcome> {
    full(store, subject, expected, act, Vec::new(), None)
}

fn full(
    store: &impl Store,
    subject: Subject,
    expected: u64,
    act: &[u8],
    rows: Rows,
    snapshot: Option<Snapshot>,
) -> Receiver<Outcome> {
    let (tell, told) = channel();
    let append = Append {
        subject,
        expected,
        act: act.to_vec(),
        rows,
        snapshot,
        then: Box::new(move |outcome| {
            let _ = tell.send(outcome);
        }),
    };
    store.append(append).expect("room");
    told
}

/// Holds a store to every law. `open` opens the same one again.
pub(crate) fn all<S: Store>(open: impl Fn() -> S) {
    let (organization, channel) = (Id::generate(), Id::generate());
    let (a, b) = (
        Subject::Organization(organization),
        Subject::Channel(channel),
    );
    let store = open();
    // An act follows the one that it was decided on, or it is refused and leaves no trace.
    assert_eq!(append(&store, b, 1, b"early").recv(), Ok(Outcome::Behind));
    let told: Vec<_> = (0..1_000_u32)
        .map(|n| append(&store, b, u64::from(n), &n.to_be_bytes()))
        .collect();
    for (n, told) in told.into_iter().enumerate() {
        assert_eq!(told.recv(), Ok(Outcome::Durable), "act {n}");
    }
    assert_eq!(append(&store, b, 999, b"late").recv(), Ok(Outcome::Behind));
    let row = |key: &[u8], value: Option<&[u8]>| (key.to_vec(), value.map(<[u8]>::to_vec));
    let refused = full(
        &store,
        b,
        7,
        b"late",
        vec![row(b"r1", Some(b"x"))],
        Some((9, b"s".to_vec())),
    );
    assert_eq!(refused.recv(), Ok(Outcome::Behind));
    assert_eq!(store.row(b"r1").expect("read"), None);
    assert!(store.snapshot(b).expect("read").is_none());
    // Subjects are numbered apart; rows and snapshot come with their act.
    let rows = vec![
        row(b"r1", Some(b"one")),
        row(b"r2", Some(b"two")),
        row(b"s", Some(b"other")),
    ];
    let first = full(&store, a, 0, b"first", rows, Some((0, b"fold".to_vec())));
    let second = full(&store, a, 1, b"second", vec![row(b"r1", None)], None);
    assert_eq!(first.recv(), Ok(Outcome::Durable));
    assert_eq!(second.recv(), Ok(Outcome::Durable));
    let check = |store: &S| {
        let numbers = |numbers, most, backwards| -> Vec<u64> {
            let acts = store.acts(b, numbers, most, backwards).expect("read");
            acts.iter().for_each(|(n, act)| {
                assert_eq!(act, &u32::try_from(n - 1).expect("small").to_be_bytes());
            });
            acts.into_iter().map(|(n, _)| n).collect()
        };
        assert_eq!(numbers((1, u64::MAX), 3, false), [1, 2, 3]);
        assert_eq!(numbers((0, u64::MAX), 3, true), [1_000, 999, 998]);
        assert_eq!(numbers((5, 6), 9, false), [5, 6]);
        assert_eq!(numbers((5, 6), 9, true), [6, 5]);
        assert_eq!(numbers((6, 5), 9, false), Vec::<u64>::new());
        assert_eq!(numbers((1_001, u64::MAX), 9, false), Vec::<u64>::new());
        assert_eq!(store.acts(a, (1, 9), 9, false).expect("read").len(), 2);
        assert_eq!(store.row(b"r1").expect("read"), None);
        assert_eq!(
            store.row(b"r2").expect("read").as_deref(),
            Some(&b"two"[..])
        );
        assert_eq!(store.row_keys(b"r", 9).expect("read"), [b"r2"]);
        assert_eq!(store.row_keys(b"", 1).expect("read").len(), 1);
        assert_eq!(
            store.snapshot(a).expect("read"),
            Some((0, b"fold".to_vec()))
        );
    };
    check(&store);
    drop(store);
    check(&open());
}
