//! Any bytes as Codex's own record of a thread: read the same however it arrives, written as it was where no call is
//! chosen, and without what a chosen call held.

use crate::rollout::{Consumed, Rollout, consume, used};
use plexus_mutation::{Accepted, hold};
use std::{
    collections::BTreeSet,
    io::{BufReader, Cursor},
};

const MARKER: &str = "[gone]";

fn read(bytes: &[u8]) -> Rollout {
    Rollout::read(Cursor::new(bytes), &|| false).expect("bytes can be read")
}

fn consumed(bytes: &[u8], chosen: &BTreeSet<String>) -> (Vec<u8>, Consumed) {
    let mut new = Vec::new();
    let consumed = consume(Cursor::new(bytes), &mut new, chosen, MARKER, &|| false);
    (new, consumed.expect("bytes can be written"))
}

fn rollout(bytes: &[u8]) -> Accepted {
    let found = read(bytes);
    for size in [1, 7] {
        let pieces = BufReader::with_capacity(size, bytes);
        let again = Rollout::read(pieces, &|| false).expect("bytes can be read");
        assert_eq!(again.entries, found.entries, "in pieces of {size}");
        assert_eq!(again.unread, found.unread);
    }
    used(Cursor::new(bytes)).expect("bytes can be read");
    let (same, nothing) = consumed(bytes, &BTreeSet::new());
    assert_eq!((same.as_slice(), nothing.lines), (bytes, 0));
    assert_eq!(nothing.unread, found.unread);

    let chosen: BTreeSet<String> = found.pairs().map(|pair| pair.id.clone()).collect();
    let (new, counts) = consumed(bytes, &chosen);
    let lines = |bytes: &[u8]| bytes.iter().filter(|byte| **byte == b'\n').count();
    assert_eq!(lines(&new), lines(bytes));
    assert!(counts.lines <= lines(bytes) && counts.unread == found.unread);
    let left = read(&new);
    assert_eq!(left.unread, found.unread);
    for pair in left.pairs().filter(|pair| chosen.contains(&pair.id)) {
        assert!(["", "{}"].contains(&&*pair.arguments), "{pair:?}");
        let output = pair.output.as_deref().unwrap_or_default();
        assert!(["", MARKER].contains(&output), "{pair:?}");
    }
    assert_eq!(consumed(&new, &chosen), (new, counts));
    found.pairs().next().is_some()
}

#[test]
fn record_of_a_thread_loses_what_is_chosen() {
    let words: &[&[u8]] = &[
        b"\n",
        b"{\"ordinal\":1,\"type\":\"response_item\",\"payload\":{",
        b"\"type\":\"function_call\"",
        b"\"type\":\"custom_tool_call\"",
        b"\"type\":\"local_shell_call\"",
        b"\"type\":\"function_call_output\"",
        b"\"call_id\":\"call_1\"",
        b"\"id\":\"call_1\"",
        b"\"arguments\":\"a\"",
        b"\"arguments\":{\"id\":\"call_1\"}",
        b"\"input\":\"b\"",
        b"\"output\":[{\"text\":\"c\"}]",
        b"\"type\":\"token_count\"",
        b"1e999",
        b"-0.0",
        b"\\ud800",
        b"null",
    ];
    let corpus = concat!(env!("CARGO_MANIFEST_DIR"), "/src/oracles-corpus");
    hold(corpus, words, rollout);
}
