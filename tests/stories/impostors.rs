//! Somebody who pretends: guesses a credential, forges or borrows a token, listens where the gateway should, moves the
//! clock. Beside each the honest one, who notices nothing.

use crate::house::{House, READ, nobody, report};
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD as BASE64};
use plexus_tests::agent::handshake;
use plexus_tests::texts::assert_contains;
use plexus_tests::{Agent, Clock, Response};
use serde_json::{Value, json};
use std::net::TcpListener;
use std::time::{Duration, Instant};

/// Wrong credentials of one kind slow further ones of that kind and nothing else: no other kind, no right one.
#[test]
fn guesses_are_slowed_by_kind_and_nobody_is_locked_out() {
    let (mut house, agent) = House::with_reader("one");
    let client = house.gateway.client();
    let code = house.owner().connect("late", &[READ]);
    let item = agent.must_ask("workspace.write", crate::house::note("a.txt", "a"));
    let guess = |kind: &str, n: usize| -> Response {
        match kind {
            "connection-key" => {
                let key = format!("plx_live_{n:048x}");
                client
                    .with("x-plexus-connection-key", &key)
                    .get("/admin/api/pending")
            }
            "pat" => handshake(&client, &format!("plx_agent_{n:043}")),
            "code" => client.post(
                "/agents/enroll",
                json!({"code": format!("plx_enroll_{n:043}")}),
            ),
            "session" => client
                .with("x-plexus-session", &nobody("sess_"))
                .get(&format!("/grants/status?pendingId={item}")),
            "pending-id" => agent
                .client()
                .get(&format!("/grants/status?pendingId={}", nobody("pend_"))),
            _ => unreachable!("a kind"),
        }
    };
    let kinds = ["connection-key", "pat", "code", "session", "pending-id"];
    let right = |kind: &str| match kind {
        "connection-key" => house.owner().get("/admin/api/pending").expect_ok(),
        "pat" => handshake(&client, &agent.pat).expect_ok(),
        "session" | "pending-id" => agent.status(&item).expect_ok(),
        // It works once: at the end.
        _ => Value::Null,
    };
    let mut limited = Vec::new();
    for kind in kinds {
        // Kinds before this one are at their limit; this one has all its tries.
        let status = match kind {
            "session" | "pending-id" => 403,
            _ => 401,
        };
        guess(kind, 0).expect_status(status);
        let statuses: Vec<u16> = std::thread::scope(|scope| {
            let guesses: Vec<_> = (1..90)
                .map(|n| {
                    let guess = &guess;
                    scope.spawn(move || guess(kind, n).status)
                })
                .collect();
            let all = guesses
                .into_iter()
                .map(|guess| guess.join().expect("an answer"));
            all.collect()
        });
        let over = statuses.iter().filter(|status| **status == 429).count() as u64;
        assert!(over > 0, "{kind}: {statuses:?}");
        let refused = guess(kind, 90);
        refused.expect_error(429, "rate_limited");
        assert!(refused.header("retry-after").is_some());
        limited.push((kind, over + 1));
        // Slowed for a wrong one is up to two seconds; a right one is not even looked at for that.
        // One of several is as quick as that, whatever else this machine does; few, since wrong ones are forgotten in a minute.
        let is_quick = (0..5).any(|_| {
            let began = Instant::now();
            for kind in kinds {
                right(kind);
            }
            began.elapsed() < Duration::from_secs(2)
        });
        assert!(is_quick, "a right credential waits");
    }
    Agent::enroll(&client, code["code"].as_str().expect("a code"));
    // Each wrong one is in the log: up to a number by itself, then in a count.
    house.gateway.restart();
    let events = house.owner().audit(1000);
    for (kind, over) in limited {
        let mine = events.iter().filter(|e| {
            e["detail"]["event"] == "credential.refused" && e["detail"]["credential"] == kind
        });
        let (counts, singly): (Vec<&Value>, Vec<&Value>) = mine
            .map(|event| &event["detail"]["count"])
            .partition(|count| !count.is_null());
        let counted: u64 = counts.iter().filter_map(|count| count.as_u64()).sum();
        assert_eq!(counted, over, "{kind}");
        assert_eq!(singly.len() as u64 + counted, 91, "{kind}");
        assert!(counts.len() <= 3, "{kind}: a count is one event");
    }
}

/// Any page can let a browser ask without a credential: that guesses nothing, and a caller with a session that is
/// over is still told so.
#[test]
fn asking_without_a_session_is_no_guess() {
    let house = House::open();
    let client = house.gateway.client();
    let path = format!("/grants/status?pendingId={}", nobody("pend_"));
    std::thread::scope(|scope| {
        let asks: Vec<_> = (0..90).map(|_| scope.spawn(|| client.get(&path))).collect();
        for ask in asks {
            let reply = ask.join().expect("an answer");
            reply.expect_error(403, "session_expired");
        }
    });
    let over = client.with("x-plexus-session", &nobody("sess_"));
    over.get(&path).expect_error(403, "session_expired");
    // A key is not guessed here either.
    let wrong = client.with("x-plexus-connection-key", "plx_live_wrong");
    wrong.get(&path).expect_error(403, "session_expired");
    let mut counted: Vec<Value> = house
        .owner()
        .audit(200)
        .into_iter()
        .filter(|event| event["detail"]["event"] == "credential.refused")
        .map(|event| event["detail"]["credential"].clone())
        .collect();
    counted.sort_by_key(Value::to_string);
    assert_eq!(counted, ["connection-key", "session"]);
}

/// Tokens that were made, mended or put together from others.
#[test]
fn forged_tokens_open_nothing() {
    let house = House::open();
    let (one, two) = (house.reader("one"), house.gateway.agent("two"));
    let token = |agent: &Agent| {
        agent.token(&[READ])["token"]
            .as_str()
            .expect("a token")
            .to_owned()
    };
    house.owner().must_grant("two", "workspace.list", "1d");
    let good = token(&one);
    let other = two.token(&["workspace.list"])["token"]
        .as_str()
        .expect("a token")
        .to_owned();
    let parts = |token: &str| -> [String; 3] {
        let parts: Vec<String> = token.split('.').map(str::to_owned).collect();
        parts.try_into().expect("three parts")
    };
    let ([head, claims, signature], [_, foreign, foreign_signature]) =
        (parts(&good), parts(&other));
    let encode = |text: &str| BASE64.encode(text);
    let read = |claims: &str| -> Value {
        serde_json::from_slice(&BASE64.decode(claims).expect("base64")).expect("claims")
    };
    // Every member of the claims, changed to what would be somebody else's or last longer.
    let mut changed = Vec::new();
    let held = read(&claims);
    for (member, value) in held.as_object().expect("an object") {
        let mut forged = held.clone();
        forged[member] = match value {
            Value::Number(_) => json!(4_102_444_800_u64),
            Value::String(_) => read(&foreign)[member].clone(),
            _ => json!([{"id": "workspace.write", "verbs": ["read", "write"]}]),
        };
        if forged[member] != *value {
            changed.push(format!(
                "{head}.{}.{signature}",
                encode(&forged.to_string())
            ));
        }
    }
    assert!(changed.len() >= 4, "{held}");
    let hmac = |key: &[u8], head: &str| {
        use hmac::{Hmac, KeyInit as _, Mac as _};
        let mut mac = Hmac::<sha2::Sha256>::new_from_slice(key).expect("a key");
        mac.update(format!("{head}.{claims}").as_bytes());
        format!(
            "{head}.{claims}.{}",
            BASE64.encode(mac.finalize().into_bytes())
        )
    };
    let mut forged = vec![
        format!("{head}.{foreign}.{signature}"),
        format!("{head}.{claims}.{foreign_signature}"),
        format!("{head}.{claims}.{signature}="),
        format!(" {head}.{claims}.{signature}.{signature}"),
        format!("{head}.{claims}"),
        format!("{}.{claims}.{signature}", head.to_uppercase()),
        // Keys that somebody could know.
        hmac(b"", &head),
        hmac(house.gateway.key().as_bytes(), &head),
        hmac(one.pat.as_bytes(), &head),
        hmac(signature.as_bytes(), &head),
    ];
    for header in [
        r#"{"alg":"none","typ":"JWT"}"#,
        r#"{"alg":"None","typ":"JWT"}"#,
        r#"{"alg":"HS384","typ":"JWT"}"#,
        r#"{"alg":"HS512","typ":"JWT"}"#,
        r#"{"alg":"RS256","typ":"JWT"}"#,
        r#"{"alg":"ES256","typ":"JWT"}"#,
        r#"{"alg":"EdDSA","typ":"JWT"}"#,
        r#"{"typ":"JWT"}"#,
        r#"{"alg":["HS256","none"],"typ":"JWT"}"#,
        r#"{"alg":"HS256","alg":"none","typ":"JWT"}"#,
        r#"{"alg":"HS256","typ":"JWT","jwk":{"kty":"oct","k":"AAAA"}}"#,
        r#"{"alg":"HS256","typ":"JWT","kid":"/dev/null","jku":"http://127.0.0.1/keys"}"#,
    ] {
        let head = encode(header);
        forged.push(format!("{head}.{claims}."));
        forged.push(format!("{head}.{claims}.{signature}"));
        forged.push(hmac(b"", &head));
        forged.push(hmac(&[0; 32], &head));
    }
    forged.extend(changed);
    // The same peer's failures are slowed: side by side, not one after the other.
    let opened: Vec<&String> = std::thread::scope(|scope| {
        let tries: Vec<_> = forged
            .iter()
            .map(|token| {
                (
                    token,
                    scope.spawn(|| one.invoke_with(token, READ, report())),
                )
            })
            .collect();
        let refused = |reply: &Response| [401, 429].contains(&reply.status);
        let all = tries
            .into_iter()
            .map(|(token, reply)| (token, reply.join().expect("an answer")));
        all.filter(|(_, reply)| !refused(reply))
            .map(|(token, _)| token)
            .collect()
    });
    assert_eq!(opened, Vec::<&String>::new());
    one.invoke_with(&good, READ, report()).expect_ok();
    two.invoke_with(&other, "workspace.list", json!({}))
        .expect_ok();
}

/// A token is its agent's and its sources', whatever is sent beside it.
#[test]
fn a_token_stays_with_its_agent_and_its_sources() {
    let house = House::open();
    let (one, two) = (house.reader("one"), house.reader("two"));
    let token = one.token(&[READ]);
    // With another agent's session beside it: it is still the first one's call.
    let mixed = one.bearing(&token).with("x-plexus-session", &two.session);
    let call = json!({"id": READ, "input": report()});
    let reply = mixed.post("/invoke", call.clone());
    let id = reply.text_at("/auditId");
    reply.expect_ok();
    let event = house.owner().must_get(&format!("/admin/api/audit/{id}"));
    assert_eq!(event["event"]["agentId"], "one");
    // And what it does not open, the session beside it does not open either, though it could by itself.
    let vault = json!({"id": "obsidian.vault.search", "input": {"query": "x"}});
    mixed
        .post("/invoke", vault.clone())
        .expect_error(401, "grant_required");
    two.client().post("/invoke", vault).expect_ok();
    // A request, an item and a run by the session are the session's.
    let asked = one
        .bearing(&token)
        .put("/grants", json!({"grants": {READ: "allow"}}));
    asked.expect_error(401, "session_expired");
    // The other one's ways to exchange, end and follow it.
    for (path, body) in [
        (
            "/grants/refresh",
            json!({"sessionId": two.session, "jti": token["jti"]}),
        ),
        ("/grants/revoke", json!({"jti": token["jti"]})),
    ] {
        let theirs = two.token(&[READ]);
        let by_theirs = two.bearing(&theirs);
        let reply = by_theirs.post(path, body);
        assert_eq!(reply.status, 401, "{path}: {reply}");
    }
    let run = one.invoke_body(json!({"id": READ, "input": report(), "async": true}));
    let at = format!("/invoke/status?runId={}", run.text_at("/run/runId"));
    two.client().get(&at).expect_error(403, "session_expired");
    one.client().get(&at).expect_ok();
    // One agent's end is its own.
    house.owner().revoke_agent("two");
    one.bearing(&token)
        .post("/invoke", call.clone())
        .expect_ok();
    house.owner().revoke_agent("one");
    let late = one.bearing(&token).post("/invoke", call);
    assert_eq!(late.status, 401, "{late}");
}

/// Nobody else can listen where agents and browsers look for the gateway, and it does not start where somebody does.
#[test]
fn there_is_one_listener_on_the_port() {
    let refused = |holder: &TcpListener| {
        let port = holder.local_addr().expect("an address").port().to_string();
        let home = tempfile::TempDir::with_prefix("plx").expect("a folder");
        let plexusd = plexus_tests::binaries::path("plexusd");
        let mut command = plexus_tests::programs::command(&plexusd, home.path());
        command
            .arg("--home")
            .arg(home.path().join("state"))
            .args(["--port", &port]);
        let said = plexus_tests::programs::run(command);
        said.expect_status(1);
        assert_contains(&said.all(), &port);
        assert_contains(&said.all(), "taken");
    };
    for address in ["127.0.0.1:0", "[::1]:0", "0.0.0.0:0", "[::]:0"] {
        refused(&TcpListener::bind(address).expect(address));
    }
    // The other way round.
    let house = House::open();
    let port = house.gateway.port();
    for address in ["127.0.0.1", "[::1]", "0.0.0.0", "[::]"] {
        let other = TcpListener::bind(format!("{address}:{port}"));
        let error = other.map(|_| ()).expect_err(address);
        assert_eq!(error.kind(), std::io::ErrorKind::AddrInUse, "{address}");
    }
    // The control: the port is taken at these addresses and a free one can be had.
    TcpListener::bind("127.0.0.1:0").expect("a free port");
    // Both families are the gateway's, and it is the same one.
    for name in ["127.0.0.1", "[::1]"] {
        let client = house
            .gateway
            .client()
            .with("host", &format!("{name}:{port}"));
        client.get("/v1/health").expect_ok();
    }
    let v6 = std::net::TcpStream::connect(("::1", port)).expect("it listens");
    assert_eq!(v6.peer_addr().expect("an address").port(), port);
}

/// A wall clock that goes back and forth ends what it must and never brings anything back.
#[test]
fn a_clock_that_goes_back_and_forth_brings_nothing_back() {
    let clock = Clock::new();
    let mut house = House::with(|builder| builder.clock(&clock));
    let agent = house.gateway.agent("one");
    house.owner().grant("one", READ, "1h").expect_ok();
    let allowed = |house: &House, agent: &Agent| house.back(agent).invoke(READ, report()).status;
    for offset in ["+20m", "-10d", "+40m", "-1h", "+50m", "+0"] {
        clock.show(offset);
        assert_eq!(
            allowed(&house, &agent),
            200,
            "within the window, at {offset}"
        );
    }
    // What is granted while the clock is back counts from the latest time that was seen, not from then.
    house.owner().must_grant("one", "workspace.list", "1h");
    clock.show("+61m");
    assert_eq!(allowed(&house, &agent), 401, "over");
    for (n, offset) in ["+0", "-30d", "+59m", "-1m", "+30m"]
        .into_iter()
        .enumerate()
    {
        clock.show(offset);
        assert_eq!(allowed(&house, &agent), 401, "over is over, at {offset}");
        if n % 2 == 1 {
            house.gateway.restart();
            assert_eq!(
                allowed(&house, &agent),
                401,
                "after a restart at {offset} as well"
            );
        }
    }
    // The later grant had its hour from +50m on.
    let listed = |house: &House| {
        house
            .back(&agent)
            .invoke("workspace.list", json!({}))
            .status
    };
    clock.show("+100m");
    assert_eq!(listed(&house), 200);
    clock.show("+112m");
    assert_eq!(listed(&house), 401);
    clock.show("+100m");
    assert_eq!(listed(&house), 401);
    // Nothing was lost but time: the owner grants anew and it counts.
    house.owner().grant("one", READ, "1h").expect_ok();
    assert_eq!(allowed(&house, &agent), 200);
    // Times in the log never fall.
    let events = house.owner().audit(1000);
    let times: Vec<&str> = events
        .iter()
        .rev()
        .filter_map(|e| e["time"].as_str().or(e["at"].as_str()))
        .collect();
    assert!(times.len() > 10 && times.is_sorted(), "{times:?}");
}
