//! Any bytes as an export: refused with the event that is wrong, or a chain that others compute too.

use plexus_ledger::{CheckError, Finding, verify_export};
use plexus_mutation::{Accepted, hold};
use serde_json::value::RawValue;
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Each line with the hash that follows from the one before, as docs/design.md#ledger has it; the first may be an
/// anchor.
fn follows(text: &str) -> bool {
    let mut previous: Option<Vec<u8>> = None;
    text.lines().enumerate().all(|(n, line)| {
        let Some((hash, json)) = line.split_once(' ') else {
            return false;
        };
        let anchor = n == 0 && !json.starts_with("{\"seq\":1,");
        let before = previous.clone().unwrap_or_else(|| vec![0; 32]);
        let own = Sha256::digest([&before[..], json.as_bytes()].concat());
        previous = (0..64)
            .step_by(2)
            .map(|at| u8::from_str_radix(hash.get(at..at + 2)?, 16).ok())
            .collect();
        anchor || hash == hex(&own)
    })
}

/// The lines as somebody would write them who knows how hashes are made.
pub(crate) fn sealed(text: &str) -> String {
    let mut previous = vec![0; 32];
    let lines = text.lines().map(|line| {
        let json = line.split_once(' ').map_or(line, |(_, json)| json);
        previous = Sha256::digest([&previous[..], json.as_bytes()].concat()).to_vec();
        format!("{} {json}\n", hex(&previous))
    });
    lines.collect()
}

fn checked(text: &str) -> Accepted {
    match verify_export(text.as_bytes()) {
        Ok(None) => {
            assert_eq!(text.lines().count(), 0);
            false
        }
        Ok(Some(sound)) => {
            assert!(follows(text));
            let count = text.lines().count() as u64;
            assert_eq!(sound.head.seq + 1 - sound.first, count, "without gaps");
            assert!(sound.first >= 1);
            // Every line begins as an event must: its number, its id of that number, a time, a type.
            for (n, line) in text.lines().enumerate() {
                let (_, json) = line.split_once(' ').expect("a hash and an event");
                // A reader that takes the last of two equal members must find the same.
                let event: BTreeMap<String, &RawValue> = serde_json::from_str(json).expect("JSON");
                let seq = sound.first + n as u64;
                assert_eq!(event["seq"].get(), seq.to_string());
                let id = event["id"].get().replace('-', "");
                assert!(id.starts_with(&format!("\"evt_{seq:012x}")), "{id}");
                for member in ["time", "type"] {
                    assert!(event[member].get().starts_with('"'), "{json}");
                }
            }
            true
        }
        Err(CheckError::Found(finding)) => {
            if let Finding::Event { seq, .. } = finding {
                assert!(seq >= 1);
            }
            false
        }
        Err(other) => panic!("reading from memory does not fail: {other}"),
    }
}

/// As it came, and with hashes that fit: a chain that was made anew is no excuse for what stands in it.
fn export(bytes: &[u8]) -> Accepted {
    let Ok(text) = std::str::from_utf8(bytes) else {
        let refused = verify_export(bytes);
        let is_found = matches!(refused, Err(CheckError::Found(_)));
        assert!(is_found, "an export is text: {refused:?}");
        return false;
    };
    let as_it_came = checked(text);
    checked(&sealed(text)) || as_it_came
}

#[test]
fn an_export_is_a_chain_or_refused() {
    let words: &[&[u8]] = &[
        b"\"seq\":",
        b"\"id\":\"evt_",
        b"\"time\":\"",
        b"\"type\":\"",
        b"{\"seq\":1,",
        b"18446744073709551615",
        b"\n",
        b"\r\n",
        b" ",
        b"\\u0000",
        b"00",
        b"\"seq\":2,\"seq\":3,",
    ];
    let corpus = format!("{}/tests/corpus/export", env!("CARGO_MANIFEST_DIR"));
    hold(corpus, words, export);
}
