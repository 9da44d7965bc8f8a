//! What strangers send first: JSON, ids, the terms of a grant. Each oracle is a plain function over bytes.

use plexus_mutation::{Accepted, hold};
use plexus_protocol::{
    AgentId, AuditId, CapabilityId, Constraint, Digest, PendingId, RunId, SessionId, SourceId,
    Timestamp, TokenId, TrustWindow, constraint::lies_below, json,
};
use serde_json::Value;

fn corpus(name: &str) -> String {
    format!("{}/tests/corpus/{name}", env!("CARGO_MANIFEST_DIR"))
}

const JSON_WORDS: &[&[u8]] = &[
    b"\"a\":",
    b"{\"a\":1,",
    b"null",
    b"true",
    b"-0",
    b"1e308",
    b"1E-7",
    b"9007199254740992",
    b"0.1",
    b"\\ud83d\\ude00",
    b"\\ud800",
    b"\\u0000",
    b"\xe2\x80\xa8",
    b"\xef\xbb\xbf",
    b"\xff",
    b"}{",
    b"],[",
];

fn depth(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
        Value::Object(members) => 1 + members.values().map(depth).max().unwrap_or(0),
        _ => 0,
    }
}

/// Strict JSON: what is accepted is read the same by a reader that knows nothing of us, and has one canonical form.
fn strict_json(bytes: &[u8]) -> Accepted {
    let Ok(value) = json::parse(bytes) else {
        return false;
    };
    assert!(depth(&value) <= json::MAX_DEPTH);
    let other: Value = serde_json::from_slice(bytes).expect("another reader takes it too");
    assert_eq!(other, value);
    json::scan(bytes).expect("what is strict can be passed on");
    let canonical = json::canonical(&value);
    let again = json::parse(&canonical).expect("the canonical form is strict");
    assert_eq!(json::canonical(&again), canonical, "a fixed point");
    assert_eq!(json::digest(&value), Digest::of(&canonical));
    // The same members in another order are the same input.
    let turned = turned(&value);
    assert_eq!(json::canonical(&turned), canonical);
    let text = std::str::from_utf8(&canonical).expect("UTF-8");
    let outside = outside_of_strings(text);
    assert!(!outside.contains([' ', '\n', '\t', '\r']), "{text}");
    assert!(sorted(&again), "members in order: {text}");
    true
}

fn turned(value: &Value) -> Value {
    match value {
        Value::Array(items) => items.iter().map(turned).collect(),
        Value::Object(members) => {
            let turned = members.iter().rev().map(|(k, v)| (k.clone(), turned(v)));
            Value::Object(turned.collect())
        }
        scalar => scalar.clone(),
    }
}

/// Members in the order of their UTF-16 code units (RFC 8785 §3.2.3).
fn sorted(value: &Value) -> bool {
    match value {
        Value::Array(items) => items.iter().all(sorted),
        Value::Object(members) => {
            let keys = members
                .keys()
                .map(|key| key.encode_utf16().collect::<Vec<_>>());
            keys.is_sorted() && members.values().all(sorted)
        }
        _ => true,
    }
}

fn outside_of_strings(text: &str) -> String {
    let (mut inside, mut escaped) = (false, false);
    let outside = text.chars().filter(|c| {
        let was = inside;
        match c {
            _ if escaped => escaped = false,
            '\\' if inside => escaped = true,
            '"' => inside = !inside,
            _ => {}
        }
        !was && !inside
    });
    outside.collect()
}

/// The scan of a worker's output: exactly one value, not too deep, passed on as it came.
fn output(bytes: &[u8]) -> Accepted {
    let read: Result<Value, _> = serde_json::from_slice(bytes);
    match json::scan(bytes) {
        Ok(raw) => {
            // A number that no `f64` holds is JSON all the same; only then may the other reader stop.
            if let Ok(value) = &read {
                assert!(depth(value) <= json::MAX_DEPTH);
            }
            let text = std::str::from_utf8(bytes).expect("UTF-8");
            assert_eq!(raw.get(), text.trim_matches([' ', '\t', '\n', '\r']));
            // It stands inside of an answer without changing what is around it.
            let answer = format!("{{\"output\":{},\"ok\":true}}", raw.get());
            let around: std::collections::BTreeMap<String, &serde_json::value::RawValue> =
                serde_json::from_str(&answer).expect("still JSON");
            assert_eq!((around.len(), around["ok"].get()), (2, "true"));
            // In a stream of events every line of it begins a `data:` line: no line break is another byte.
            assert!(!raw.get().contains('\0'));
            true
        }
        Err(_) => {
            let fits = read.is_ok_and(|value| depth(&value) <= json::MAX_DEPTH);
            assert!(!fits, "what is one value and not too deep is passed on");
            false
        }
    }
}

/// Foreign JSON that is written again: then every reader takes it, and it is not changed once more.
fn repaired(bytes: &[u8]) -> Accepted {
    let Ok(read) = json::repaired(bytes, json::MAX_DEPTH) else {
        return false;
    };
    let value: Value = serde_json::from_str(&read.text).expect("another reader takes it");
    assert!(depth(&value) <= json::MAX_DEPTH);
    json::scan(read.text.as_bytes()).expect("it can be passed on");
    let again = json::repaired(read.text.as_bytes(), json::MAX_DEPTH).expect("JSON");
    assert!(again.changes.is_empty(), "{:?}", again.changes);
    assert_eq!(again.text, read.text);
    assert_eq!(read.changes.is_empty(), read.changes.first().is_none());
    assert_eq!(
        read.changes.is_empty(),
        read.changes.sentences("").is_empty()
    );
    true
}

/// Ids: one spelling, no way out of a file name, a URL's path, a row's key or a line of a terminal.
fn ids(bytes: &[u8]) -> Accepted {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return false;
    };
    macro_rules! accepted {
        ($($id:ty),*) => {[$(match <$id>::parse(text) {
            Ok(id) => {
                assert_eq!(id.as_str(), text);
                let written = serde_json::to_string(&id).expect("JSON");
                assert_eq!(written, format!("\"{text}\""), "nothing in it is escaped");
                assert_eq!(serde_json::from_str::<$id>(&written).expect("reads back"), id);
                true
            }
            Err(refused) => {
                let read = serde_json::from_value::<$id>(text.into());
                assert_eq!(read.expect_err("refused").to_string(), refused.to_string());
                false
            }
        }),*]};
    }
    let which = accepted!(
        AgentId,
        SourceId,
        CapabilityId,
        SessionId,
        PendingId,
        TokenId,
        RunId,
        AuditId
    );
    let any = which.contains(&true);
    if any {
        assert!((1..=200).contains(&text.len()));
        assert!(
            text.bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
        );
        assert!(text != "." && text != "..");
    }
    // One of the random kinds is of one kind.
    assert!(which[3..].iter().filter(|is| **is).count() <= 1);
    if let Ok(capability) = CapabilityId::parse(text) {
        let (source, name) = capability.as_str().split_once('.').expect("a dot");
        assert!(!source.is_empty() && !name.is_empty());
        if let Ok(source) = SourceId::parse(source) {
            assert_eq!(
                CapabilityId::of(&source, name).expect("joined again"),
                capability
            );
        }
    }
    if let Some(digest) = Digest::parse(text) {
        assert_eq!(digest.to_string(), text);
    }
    any
}

/// Terms of a grant: a window, a constraint, a time. What is accepted is written and read back, allows no more than it
/// says, and narrows itself.
fn terms(bytes: &[u8]) -> Accepted {
    let Ok(value) = json::parse(bytes) else {
        return false;
    };
    let mut accepted = false;
    if let Ok(window) = serde_json::from_value::<TrustWindow>(value.clone()) {
        let written = serde_json::to_value(window).expect("JSON");
        assert_eq!(
            serde_json::from_value::<TrustWindow>(written).expect("reads back"),
            window
        );
        accepted = true;
    }
    if let Ok(time) = serde_json::from_value::<Timestamp>(value.clone()) {
        let written = serde_json::to_value(time).expect("JSON");
        assert_eq!(
            serde_json::from_value::<Timestamp>(written).expect("reads back"),
            time
        );
        accepted = true;
    }
    let Ok(constraint) = serde_json::from_value::<Constraint>(value.clone()) else {
        return accepted;
    };
    let written = serde_json::to_value(&constraint).expect("JSON");
    let back: Constraint = serde_json::from_value(written).expect("reads back");
    assert_eq!(back, constraint);
    let _ = constraint.in_words();
    if constraint.check().is_err() {
        return accepted;
    }
    assert!(
        constraint.narrows(&constraint),
        "it is no wider than itself"
    );
    // Any part of the request as an input: no panic, and an empty constraint alone lets everything through.
    let inputs = value
        .as_object()
        .into_iter()
        .flat_map(|members| members.values());
    for input in inputs.chain([&value]) {
        let permitted = constraint.permits(input, &[]).is_ok();
        assert!(permitted || !constraint.is_empty());
        if let Some(both) = constraint.and(&constraint) {
            assert_eq!(
                both.permits(input, &[]).is_ok(),
                permitted,
                "said twice is said once"
            );
        }
    }
    if let Some(rule) = &constraint.path_prefix {
        for prefix in &rule.allow {
            // Whole segments: a name that only begins the same lies elsewhere, and what climbs out lies nowhere.
            let below = |path: &str| lies_below(path, prefix);
            let plain = prefix.trim_end_matches('/');
            assert!(
                !below(&format!("{plain}/../zq")) && !below("../zq"),
                "{prefix:?}"
            );
            let last = plain.rsplit('/').next().unwrap_or_default();
            if below(plain) && !["", ".", ".."].contains(&last) {
                assert!(
                    below(&format!("{plain}/x")) && !below(&format!("{plain}x")),
                    "{prefix:?}"
                );
            }
        }
    }
    true
}

#[test]
fn json_is_strict_and_canonical() {
    hold(corpus("json"), JSON_WORDS, strict_json);
}

#[test]
fn output_is_one_value() {
    hold(corpus("json"), JSON_WORDS, output);
}

#[test]
fn foreign_json_is_repaired_once() {
    hold(corpus("json"), JSON_WORDS, repaired);
}

#[test]
fn ids_have_one_spelling_and_no_way_out() {
    let words: &[&[u8]] = &[
        b".",
        b"..",
        b"/",
        b"%2e",
        b"sess_",
        b"evt_",
        b"-",
        b"\0",
        b"A",
        b"plexus-admin",
    ];
    hold(corpus("ids"), words, ids);
}

#[test]
fn terms_say_no_more_than_they_say() {
    let words: &[&[u8]] = &[
        b"\"pathPrefix\"",
        b"\"allow\"",
        b"\"match\"",
        b"\"prefix\"",
        b"\"maxCalls\"",
        b"\"field\"",
        b"\"kind\"",
        b"\"once\"",
        b"\"custom\"",
        b"\"ms\":",
        b"..",
        b"/",
        b"[]",
        b"\"\"",
        b"null",
    ];
    hold(corpus("terms"), words, terms);
}
