//! What of a request and an answer goes on.

use super::*;
use plexus_ipc::egress::{AddedSecret, Proof};

fn forwarder(auth: Auth<String>, paths: &[&str]) -> Forwarder {
    let forward = Forward {
        to: Admitted {
            host: "api.example.com".into(),
            port: 443,
            owners: false,
            plain: false,
            local: false,
        },
        secret: Some(AddedSecret {
            value: Secret::new("hunter2\n".into()),
            auth,
        }),
        tokens: None,
        clients_own: false,
        whole: false,
        paths: paths.iter().map(|path| (*path).to_owned()).collect(),
        reads: vec!["GET".into(), "REPORT".into()],
        proof: Proof::Name(Vec::new().into()),
    };
    Forwarder::new(forward, &[]).unwrap()
}

#[test]
fn a_path_is_admitted_segment_by_segment() {
    let some = forwarder(Auth::Bearer, &["/v1/messages", "/dav/", "GET /menu"]);
    for path in [
        "/v1/messages",
        "/v1/messages/",
        "/v1/messages/x",
        "/dav",
        "/dav/a%20b",
    ] {
        assert!(some.admits(&Method::PUT, path), "{path}");
    }
    for path in [
        "/",
        "/v1",
        "/v1/messagesx",
        "/v1/messages/../keys",
        "/v1/messages//x",
        "/dav/%2e%2e/x",
        "/davx",
    ] {
        assert!(!some.admits(&Method::GET, path), "{path}");
    }
    assert!(some.admits(&Method::GET, "/menu/x") && !some.admits(&Method::POST, "/menu/x"));
    assert!(!some.admits(&Method::GET, "/menu/../keys"));
    let all = forwarder(Auth::Bearer, &["/"]);
    assert!(all.admits(&Method::GET, "/") && all.admits(&Method::PUT, "/anything"));
    assert!(!all.admits(&Method::GET, "/a/../b"));
}

#[test]
fn a_reader_has_the_methods_that_the_manifest_lists() {
    let mut forwarder = forwarder(Auth::Bearer, &["/"]);
    forwarder.reads.push("POST /find".into());
    let method = |name: &str| Method::from_bytes(name.as_bytes()).unwrap();
    for (name, reads) in [
        ("GET", true),
        ("REPORT", true),
        ("PUT", false),
        ("DELETE", false),
        ("get", false),
    ] {
        let may = forwarder.reads_by(&method(name), "/x");
        assert_eq!(may, reads, "{name}");
    }
    assert!(forwarder.reads_by(&Method::POST, "/find/simple"));
    for path in ["/", "/finds", "/commands/run"] {
        assert!(!forwarder.reads_by(&Method::POST, path), "{path}");
    }
    forwarder.reads.clear();
    assert!(forwarder.reads_by(&Method::DELETE, "/x"));
}

#[test]
fn whole_requests_admit_nothing_below() {
    let mut forwarder = forwarder(Auth::Bearer, &["GET /api/states/*", "POST /api/on"]);
    forwarder.whole = true;
    forwarder.reads = vec!["GET /api/states/*".into()];
    for (method, path, admitted, reads) in [
        (Method::GET, "/api/states/lamp", true, true),
        (Method::POST, "/api/on", true, false),
        (Method::GET, "/api/states", false, false),
        (Method::GET, "/api/states/lamp/x", false, false),
        (Method::GET, "/api/states/..", false, true),
        (Method::PUT, "/api/states/lamp", false, false),
        (Method::POST, "/api/on/x", false, false),
    ] {
        assert_eq!(forwarder.admits(&method, path), admitted, "{method} {path}");
        assert_eq!(forwarder.reads_by(&method, path), reads, "{method} {path}");
    }
    // If no request is a read, a reader sends none.
    forwarder.reads.clear();
    assert!(!forwarder.reads_by(&Method::GET, "/api/states/lamp"));
}

#[test]
fn the_secret_is_added_as_the_manifest_says_and_is_never_printed() {
    for (auth, name, value) in [
        (Auth::Bearer, "authorization", "Bearer hunter2"),
        (
            Auth::Basic("me".into()),
            "authorization",
            "Basic bWU6aHVudGVyMg==",
        ),
        (Auth::Header("x-api-key".into()), "x-api-key", "hunter2"),
    ] {
        let forwarder = forwarder(auth, &["/"]);
        let secret = forwarder.secret.as_ref().unwrap();
        assert_eq!(
            (secret.0.as_str(), secret.1.to_str().unwrap()),
            (name, value)
        );
        assert!(!format!("{forwarder:?} {:?}", secret.1).contains("hunter2"));
    }
    let two_lines = Secret::new("hunter2\r\nX-Evil: 1".into());
    let refused = secret(&Auth::Bearer, &two_lines).unwrap_err().to_string();
    assert!(
        refused.contains("header") && !refused.contains("hunter2"),
        "{refused}"
    );
    let none = secret(&Auth::Bearer, &Secret::new(String::new()));
    assert!(none.unwrap().is_none());
}

#[test]
fn no_header_names_another_method_or_path() {
    let mut request = Request::get("/x?y").header("x-kept", "1");
    for name in &OTHER_REQUESTS {
        // Some servers read both as one.
        let other = name.as_str().replace('-', "_");
        request = request.header(name, "DELETE").header(other, "DELETE");
    }
    let forwarder = forwarder(Auth::Bearer, &["/"]);
    let sent = forwarder.without_credentials(request.body(()).unwrap());
    let mut left: Vec<_> = sent.headers().keys().map(HeaderName::as_str).collect();
    left.sort_unstable();
    assert_eq!(left, ["host", "x-kept"]);
}

#[test]
fn clients_credential_is_dropped_however_it_is_spelled() {
    let request = Request::get("/x")
        .header("authorization", "1")
        .header("x_api_key", "1")
        .header("key_of_it", "1");
    let request = request.body(()).unwrap();
    let forwarder = forwarder(Auth::Header("key-of-it".into()), &["/"]);
    let sent = forwarder.without_credentials(request);
    let left: Vec<_> = sent.headers().keys().map(HeaderName::as_str).collect();
    assert_eq!(left, ["host"]);
}

#[test]
fn headers_of_one_connection_stay_there() {
    let mut headers = HeaderMap::new();
    for (name, value) in [
        ("connection", "x-mine, close, content-length"),
        ("x-mine", "1"),
        ("keep-alive", "1"),
        ("te", "trailers"),
        ("content-length", "3"),
        ("x-kept", "1"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    drop_hop_by_hop(&mut headers);
    let mut left: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
    left.sort_unstable();
    assert_eq!(left, ["content-length", "x-kept"]);
}
