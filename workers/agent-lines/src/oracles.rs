//! Any bytes as the output of Codex: shown the same however they arrive, within the bounds of a turn.

use crate::{Turn, codex};
use plexus_mutation::{Accepted, hold};

fn turn(bytes: &[u8]) -> Accepted {
    let mut whole = Turn::default();
    let shown = whole.feed(codex, bytes);
    for size in [1, 7] {
        let mut turn = Turn::default();
        let pieces = bytes.chunks(size);
        let again: Vec<_> = pieces.flat_map(|piece| turn.feed(codex, piece)).collect();
        assert_eq!(again, shown, "in pieces of {size}");
        assert_eq!(turn.text, whole.text);
        assert_eq!(turn.warnings, whole.warnings);
        assert_eq!(
            (turn.end.clone(), turn.thread()),
            (whole.end.clone(), whole.thread())
        );
    }
    assert!(whole.warnings.len() <= 50);
    // A line has become one thing that is shown, at most.
    let lines = bytes.iter().filter(|byte| **byte == b'\n').count();
    assert!(shown.len() <= lines);
    whole.end.is_some()
}

#[test]
fn output_of_codex_is_read_however_it_arrives() {
    let words: &[&[u8]] = &[
        b"\n",
        b"{\"type\":\"turn.completed\",\"usage\":{\"input_tokens\":18446744073709551615}}\n",
        b"{\"type\":\"turn.failed\",\"error\":{\"message\":\"no\"}}\n",
        b"{\"type\":\"item.completed\",\"item\":{\"type\":\"agent_message\",\"text\":\"a\"}}\n",
        b"\"type\":\"command_execution\"",
        b"\"type\":\"file_change\",\"changes\":[{\"path\":\"a\",\"kind\":\"add\"}]",
        b"\"type\":\"mcp_tool_call\"",
        b"\"type\":\"todo_list\",\"items\":[{\"text\":\"a\",\"completed\":true}]",
        b"null",
    ];
    let corpus = concat!(env!("CARGO_MANIFEST_DIR"), "/src/oracles-corpus");
    hold(corpus, words, turn);
}
