//! Any bytes as what a server says: messages that every reader takes, or none; and as the parameters and metadata of a sign-in.

use crate::{
    question,
    sign_in::{Challenge, ClientMetadata, IssuerMetadata, ResourceMetadata},
    wire::messages,
};
use hyper::header::{HeaderMap, HeaderValue, WWW_AUTHENTICATE};
use plexus_ipc::{
    egress::{Client, ClientAuth},
    sign_in_step::{Issuer, Resource},
};
use plexus_mutation::{Accepted, hold};
use plexus_protocol::json;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

/// The server and the authorization server that are asked, and the longest text that each may give.
const SERVER: &str = "https://mcp.example.com/a/mcp";
const ISSUER: &str = "https://auth.example.com/tenant";
const LONGEST: usize = 2_048;

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

/// As the gateway reads it; `None` where it is refused, in few words.
fn judged_again<T: DeserializeOwned, U: Serialize + DeserializeOwned>(
    bytes: &[u8],
    judged: impl FnOnce(T) -> Result<U, String>,
) -> Option<U> {
    let found = match judged(serde_json::from_slice(bytes).ok()?) {
        Ok(found) => found,
        Err(why) => {
            assert!(!why.is_empty() && why.len() <= LONGEST, "{why}");
            return None;
        }
    };
    let written = serde_json::to_value(&found).expect("JSON");
    let again: U = serde_json::from_value(written.clone()).expect("the gateway reads it");
    assert_eq!(serde_json::to_value(&again).expect("JSON"), written);
    Some(found)
}

/// A server is the one that was asked, and so is an authorization server, whose endpoints may be anywhere; neither says more
/// than is kept of it.
fn metadata(bytes: &[u8]) -> Accepted {
    let resource = judged_again(bytes, |read: ResourceMetadata| {
        read.resource_at(SERVER, None)
    });
    if let Some(Resource {
        needed,
        resource,
        issuers,
        scope,
    }) = &resource
    {
        let named = resource.trim_end_matches('/');
        assert!(named == SERVER || SERVER.starts_with(&format!("{named}/")));
        assert!(named.starts_with("https://mcp.example.com"), "{named}");
        assert!(*needed && (1..=8).contains(&issuers.len()));
        let scope = scope.as_deref().unwrap_or_default();
        let plain = |byte: u8| (b' '..=b'~').contains(&byte) && !b"\"\\".contains(&byte);
        assert!(scope.bytes().all(plain), "{scope:?}");
        let mut texts = issuers
            .iter()
            .map(String::as_str)
            .chain([&**resource, scope]);
        assert!(texts.all(|text| text.len() <= LONGEST));
    }
    let issuer = judged_again(bytes, |read: IssuerMetadata| read.issuer_at(ISSUER));
    if let Some(issuer) = &issuer {
        let Issuer {
            issuer,
            authorization,
            token,
            registration,
            revocation,
            ..
        } = issuer;
        assert_eq!(issuer.trim_end_matches('/'), ISSUER);
        let optional = [registration, revocation].into_iter().flatten();
        let mut texts = [issuer, authorization, token].into_iter().chain(optional);
        assert!(texts.all(|text| text.len() <= LONGEST));
        // A text that is no text may stand in a member that is not read.
        if let Ok(all) = serde_json::from_slice::<Value>(bytes) {
            let methods = all["code_challenge_methods_supported"].as_array();
            assert!(methods.is_some_and(|all| all.iter().any(|one| one == "S256")));
        }
    }
    let client = judged_again(bytes, ClientMetadata::client);
    if let Some(Client { id, secret, auth }) = &client {
        assert!(!id.is_empty() && id.len() <= LONGEST);
        assert!(secret.expose().len() <= LONGEST);
        assert!(!secret.expose().is_empty() || *auth == ClientAuth::None);
    }
    resource.is_some() || issuer.is_some() || client.is_some()
}

#[test]
fn metadata_are_of_whom_was_asked() {
    let words: &[&[u8]] = &[
        b"\"resource\":\"https://mcp.example.com\"",
        b"\"authorization_servers\":[",
        b"\"scopes_supported\":[\"a\"]",
        b"\"issuer\":\"https://auth.example.com/tenant/\"",
        b"\"token_endpoint\":\"https://evil.example/token\"",
        b"\"code_challenge_methods_supported\":[\"S256\"]",
        b"\"client_id\":\"a\",\"client_secret\":\"\"",
        b"https://mcp.example.com@evil.example/",
        b"https://mcp.example.com.evil.example/",
        b"////////////////////////////////////////////////////////////////",
        b"\\u0000",
        b"\\u001b",
        b"\\u202e",
        b"null",
    ];
    hold(corpus("metadata"), words, metadata);
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
