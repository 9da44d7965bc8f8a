//! Any bytes as the output of Claude Code: shown the same however they arrive, and never less used than before.

use crate::ClaudeCode;
use plexus_coding_agent::{Program as _, Turn};
use plexus_mutation::{Accepted, hold};

fn turn(bytes: &[u8]) -> Accepted {
    let mut whole = Turn::default();
    let shown = whole.feed(ClaudeCode::take, bytes);
    for size in [1, 7] {
        let mut turn = Turn::default();
        let pieces = bytes.chunks(size);
        let again: Vec<_> = pieces
            .flat_map(|piece| turn.feed(ClaudeCode::take, piece))
            .collect();
        assert_eq!(again, shown, "in pieces of {size}");
        assert_eq!((&turn.text, turn.used), (&whole.text, whole.used));
        assert_eq!(turn.warnings, whole.warnings);
        assert_eq!((&turn.end, turn.thread()), (&whole.end, whole.thread()));
    }
    let (mut counted, mut before) = (Turn::default(), 0);
    for line in bytes.split_inclusive(|byte| *byte == b'\n') {
        counted.feed(ClaudeCode::take, line);
        assert!(counted.used.total() >= before);
        before = counted.used.total();
    }
    whole.end.is_some()
}

#[test]
fn output_of_claude_is_read_however_it_arrives() {
    let words: &[&[u8]] = &[
        b"\n",
        b"{\"type\":\"result\",\"is_error\":false,\"stop_reason\":\"end_turn\"}\n",
        b"\"subtype\":\"error_max_turns\"",
        b"\"input_tokens\":18446744073709551615",
        b"\"cache_read_input_tokens\":18446744073709551615",
        b"\"output_tokens\":18446744073709551615",
        b"\"content\":[{\"type\":\"text\",\"text\":\"a\"}]",
        b"\"content\":[{\"type\":\"tool_use\",\"name\":\"Bash\",\"input\":{\"command\":\"a\"}}]",
        b"\"total_cost_usd\":1e308",
        b"\"session_id\":\"00000000-0000-4000-8000-000000000000\"",
        b"null",
    ];
    let corpus = concat!(env!("CARGO_MANIFEST_DIR"), "/src/oracles-corpus");
    hold(corpus, words, turn);
}
