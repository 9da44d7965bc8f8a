//! Any bytes as an answer of a token endpoint: a token that a request can hold and a record that is kept, or a refusal that
//! ends a sign-in only where the server says so.

use super::{Refused, Tokens, Verdict, bearer, read, take};
use hyper::StatusCode;
use plexus_ipc::{
    egress::{Grant, SignIn},
    message::Secret,
};
use plexus_mutation::{Accepted, hold};

const NOW: u64 = 1_763_800_000;

/// A record before an exchange, of a code and of a refresh token.
const BEFORE: [&str; 2] = [
    r#"{"client":{"id":"p","secret":"","auth":"none"},"resource":"https://a.example/mcp","grant":{"code":{"code":"c","verifier":"v","redirect":"http://127.0.0.1:1/"}},"scope":"asked"}"#,
    r#"{"client":{"id":"p","secret":"","auth":"none"},"resource":"https://a.example/mcp","grant":{"refresh":"r"},"access":{"token":"old","expires":1},"scope":"asked"}"#,
];

fn taken(before: &str, tokens: Tokens) {
    let mut record = SignIn::read(&Secret::new(before.to_owned())).expect("a record");
    let had = matches!(record.grant, Grant::Refresh(_));
    let gave = tokens
        .refresh_token
        .clone()
        .filter(|token| !token.is_empty());
    take(&mut record, tokens, NOW);
    match (&record.grant, gave) {
        (Grant::Refresh(token), Some(gave)) => assert_eq!(token.expose(), gave),
        (Grant::Refresh(token), None) => assert!(had && token.expose() == "r"),
        (Grant::Nothing, None) => assert!(!had),
        (other, _) => panic!("{other:?}"),
    }
    let access = record.access.as_ref().expect("a token");
    assert!(bearer(access.token.expose()).is_some());
    assert!(access.expires.is_none_or(|at| at >= NOW));
    assert!(record.scope.as_ref().is_some_and(|scope| !scope.is_empty()));
    if let Some(text) = record.text() {
        let again = SignIn::read(&text).expect("what was kept is read");
        assert_eq!(again.text().expect("a text").expose(), text.expose());
    }
}

/// A status of three digits, and a body.
fn answer(bytes: &[u8]) -> Accepted {
    let Some((status, body)) = bytes.split_first_chunk::<3>() else {
        return false;
    };
    let Ok(status) = StatusCode::from_bytes(status) else {
        return false;
    };
    for before in BEFORE {
        match read(status, body) {
            Ok(tokens) => taken(before, tokens),
            Err(Refused(verdict, why)) => {
                let may_end = status.is_client_error();
                assert!(
                    verdict == Verdict::Unreachable || may_end,
                    "{status}: {why}"
                );
                return false;
            }
        }
    }
    assert_eq!(status, StatusCode::OK);
    true
}

#[test]
fn token_is_kept_or_there_is_none() {
    let words: &[&[u8]] = &[
        b"200",
        b"400",
        b"401",
        b"502",
        b"\"access_token\":\"t\"",
        b"\"token_type\":\"DPoP\"",
        b"\"token_type\":\"BEARER\"",
        b"\"expires_in\":18446744073709551615",
        b"\"expires_in\":-1",
        b"\"refresh_token\":\"\"",
        b"\"refresh_token\":null",
        b"\"scope\":[\"a\"]",
        b"\"error\":\"invalid_grant\"",
        b"\"error\":\"invalid_target\"",
        b"\\r\\nHost: evil.example",
        b"\\u0000",
        b"null",
    ];
    let corpus = concat!(env!("CARGO_MANIFEST_DIR"), "/src/sign_in/corpus");
    hold(corpus, words, answer);
}
