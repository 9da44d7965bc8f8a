//! Any bytes as what a server says: messages that every reader takes, or none; and as the parameters of a sign-in.

use crate::{question, sign_in::Challenge, wire::messages};
use hyper::header::{HeaderMap, HeaderValue, WWW_AUTHENTICATE};
use plexus_mutation::{Accepted, hold};
use plexus_protocol::json;

fn corpus(name: &str) -> String {
    format!("{}/tests/corpus/{name}", env!("CARGO_MANIFEST_DIR"))
}

/// A message is an object of JSON, within the depth that is passed on, and comes to the same when it is read again.
fn message(bytes: &[u8]) -> Accepted {
    let Ok(found) = messages(bytes) else {
        return false;
    };
    for message in &found {
        assert!(message.value.is_object());
        let written = serde_json::to_vec(&message.value).expect("JSON");
        let again = messages(&written).expect("what was read is a message");
        assert_eq!(again.len(), 1);
        assert_eq!(again[0].value, message.value);
        assert!(again[0].changes.is_empty(), "{:?}", again[0].changes);
        if let Some(structured) = &message.structured {
            json::scan(structured.get().as_bytes()).expect("it is passed on");
        }
        if let Some(asked) = question::read(&message.value["params"]) {
            let _ = format!("{asked:?}");
        }
    }
    !found.is_empty()
}

/// A challenge has parameters or it has none, and a scope that it asks for is one.
fn challenge(bytes: &[u8]) -> Accepted {
    let Ok(value) = HeaderValue::from_bytes(bytes) else {
        return false;
    };
    let headers: HeaderMap = [(WWW_AUTHENTICATE, value)].into_iter().collect();
    let missing = Challenge::of(&headers).scope_missing();
    missing.is_some_and(|scopes| {
        let text = scopes.to_string();
        assert!(!text.contains(['"', '\\', '\n', '\u{1b}']), "{text:?}");
        true
    })
}

#[test]
fn a_server_says_messages_or_none() {
    let words: &[&[u8]] = &[
        b"\"jsonrpc\":\"2.0\"",
        b"\"result\":{",
        b"\"structuredContent\":",
        b"\"method\":\"elicitation/create\"",
        b"\"requestedSchema\":{\"type\":\"object\",\"properties\":{",
        b"\"enum\":[",
        b"\"oneOf\":[{\"const\":\"a\",\"title\":\"A\"}]",
        b"\xef\xbb\xbf",
        b"\\ud800",
        b"1e999",
        b"null",
        b"],[",
    ];
    hold(corpus("messages"), words, message);
}

#[test]
fn a_challenge_asks_for_scopes_or_not() {
    let words: &[&[u8]] = &[
        b"Bearer ",
        b"error=\"insufficient_scope\"",
        b"scope=\"",
        b"=",
        b", ",
        b"\"",
        b"\xc3\xa9",
    ];
    hold(corpus("challenges"), words, challenge);
}
