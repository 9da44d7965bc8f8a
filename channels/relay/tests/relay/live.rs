//! Events: who gets which connection closed and how, and that no message is missed between a socket and a history.

use crate::harness::{
    PATIENCE, Relay, api, at_relay, bound, listener, made, message, raw, story, tls_file,
};
use plexus_channels::account::Account;
use plexus_channels::api::{ApiError, Credentials, Cursor};
use plexus_channels::dial::{Direct, Endpoint};
use plexus_channels::events::{EventsError, Listener, Notice};
use plexus_channels::identity::{Home, IdentityError, Registration};
use plexus_channels::wire::{Event, Post};
use plexus_channels::{Base64Url, Id};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

#[test]
fn second_connection_of_device_ends_the_first_for_good() {
    at_relay(async |relay| {
        let ann = relay.account("Ann").await;
        let mut first = listener(&ann).await;
        let mut second = listener(&ann).await;
        let over = tokio::time::timeout(PATIENCE, first.next())
            .await
            .expect("closed");
        assert!(matches!(over, Err(EventsError::Replaced)));
        made(&ann, &[], Some("x")).await;
        message(&mut second).await;
    });
}

#[test]
fn ended_token_closes_the_connection_and_a_login_opens_another() {
    at_relay(async |relay| {
        let ann = relay.account("Ann").await;
        let mut events = listener(&ann).await;
        let token = ann.api().token().await.expect("a token");
        let path = "/v1/auth/token";
        let ended = raw(&relay.endpoint, "DELETE", path, Some(&token), b"");
        assert_eq!(ended.await.0, 204);
        assert!(matches!(events.next().await, Ok(Notice::Lost(_))));
        bound(&mut events).await;
    });
}

#[test]
fn newer_logins_close_the_connection_of_the_oldest_token() {
    at_relay(async |relay| {
        let (first, agent_id, device_id, key) = relay.stranger("Acme").await;
        let mut events = Listener::new(Arc::clone(&first));
        bound(&mut events).await;
        let login = async || {
            let who = Credentials {
                agent_id,
                device_id,
                key: Arc::clone(&key),
            };
            api(&relay, Some(who)).token().await.expect("a token")
        };
        for _ in 0..3 {
            login().await;
        }
        let token = first.token().await.expect("the first token");
        let own = async || {
            raw(&relay.endpoint, "GET", "/v1/me", Some(&token), b"")
                .await
                .0
        };
        assert_eq!(own().await, 200, "four tokens of a device are valid");
        login().await;
        assert_eq!(own().await, 401);
        let next = tokio::time::timeout(PATIENCE, events.next()).await;
        assert!(matches!(next, Ok(Ok(Notice::Lost(_)))), "closed");
    });
}

#[test]
fn identity_that_the_relay_does_not_know_is_over_at_once() {
    story(async {
        let (relay, other) = (Relay::start(), Relay::start());
        let (_, agent_id, device_id, key) = relay.stranger("Acme").await;
        let who = Credentials {
            agent_id,
            device_id,
            key,
        };
        let mut events = Listener::new(Arc::new(api(&other, Some(who))));
        assert!(matches!(events.next().await, Err(EventsError::Unknown)));
    });
}

#[test]
fn nothing_is_missed_over_restarts_of_the_relay() {
    story(async {
        let mut relay = Relay::start();
        let [ann, bob] = relay.accounts(["Ann", "Bob"]).await;
        let channel = made(&ann, &[&bob], None).await;
        let mut events = listener(&bob).await;
        let (mut seen, mut order) = (BTreeSet::new(), Vec::new());
        let mut sent = BTreeSet::new();
        for round in 0..2 {
            for n in 0..20 {
                let message = ann.send(channel, &format!("{round} {n}")).await;
                sent.insert(message.expect("sent").message_id);
            }
            if round % 2 == 0 {
                relay.kill();
            } else {
                relay.stop();
            }
            relay.go_on(None);
            // One comes before the reader is bound again, or after: nobody can tell.
            sent.insert(ann.send(channel, "between").await.expect("sent").message_id);
            let take = |event: Event, seen: &mut BTreeSet<Id>, order: &mut Vec<Id>| {
                if let Event::MessageCreated { message, .. } = event
                    && seen.insert(message.message_id)
                {
                    order.push(message.message_id);
                }
            };
            loop {
                let next = tokio::time::timeout(PATIENCE, events.next()).await;
                match next.expect("a notice") {
                    Ok(Notice::Event(event)) => take(event, &mut seen, &mut order),
                    Ok(Notice::Lost(_)) => {}
                    Ok(Notice::Bound { .. }) => break,
                    Err(over) => panic!("{over}"),
                }
            }
            let after = order.last().copied().unwrap_or(Id::ZERO);
            let mut cursor = after;
            loop {
                let page = bob.history(channel, Cursor::After(cursor), 7).await;
                let (page, more) = page.expect("a page");
                for opened in page {
                    cursor = opened.message.message_id;
                    opened.content.expect("opens");
                    if seen.insert(cursor) {
                        order.push(cursor);
                    }
                }
                if !more {
                    break;
                }
            }
        }
        assert_eq!(seen, sent);
        assert!(order.is_sorted());
    });
}

#[test]
fn reader_too_slow_for_its_queue_is_closed_and_reads_the_rest() {
    at_relay(async |relay| {
        let [ann, bob] = relay.accounts(["Ann", "Bob"]).await;
        let mut channels = Vec::new();
        for _ in 0..4 {
            channels.push(made(&ann, &[&bob], None).await);
        }
        let mut slow = listener(&bob).await;
        // Nobody reads: what the system holds for a socket fills, then the queue.
        let send = async |channel| {
            let mut sent = Vec::new();
            for seq in 1..=400 {
                let post = Post {
                    client_message_id: Id::generate(),
                    key_version: 1,
                    seq,
                    nonce: Base64Url(vec![1; 12]),
                    ciphertext: Base64Url(vec![1; 20_000]),
                };
                let message = ann.api().post(channel, &post).await.expect("sent");
                sent.push(message.message_id);
            }
            sent
        };
        let [a, b, c, d] = channels.try_into().expect("four");
        let sent = tokio::join!(send(a), send(b), send(c), send(d));
        let sent = BTreeMap::from([(a, sent.0), (b, sent.1), (c, sent.2), (d, sent.3)]);
        let mut pushed = BTreeMap::<Id, Vec<Id>>::new();
        let why = loop {
            let next = tokio::time::timeout(PATIENCE, slow.next()).await;
            match next.expect("a notice") {
                Ok(Notice::Event(Event::MessageCreated { message, .. })) => {
                    let of = pushed.entry(message.channel_id).or_default();
                    of.push(message.message_id);
                }
                Ok(Notice::Lost(why)) => break why,
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(why, "closed (4013)");
        // What came before is whole and in order in each channel; the rest is in the history.
        let all: usize = pushed.values().map(Vec::len).sum();
        assert!((1..1_600).contains(&all), "{all}");
        for (channel, pushed) in &pushed {
            assert_eq!(pushed, &sent[channel][..pushed.len()]);
        }
        bound(&mut slow).await;
        let (channel, before) = pushed.first_key_value().expect("one");
        let cursor = Cursor::After(*before.last().expect("one"));
        let page = bob.api().history(*channel, cursor, 1).await;
        let page = page.expect("a page").messages;
        let next = page.first().map(|message| message.message_id);
        assert_eq!(next.as_ref(), sent[channel].get(before.len()));
    });
}

#[test]
fn relay_with_certificate_serves_those_who_trust_it() {
    story(async {
        let file = |name: &str| tls_file(name).display().to_string();
        let (chain, key) = (file("server.pem"), file("server.key"));
        let arguments = ["--tls-certificate", &chain, "--tls-key", &key];
        let relay = Relay::start_with(&arguments);
        let port = relay.endpoint.to_string();
        let (_, port) = port.rsplit_once(':').expect("a port");
        let endpoint = Endpoint::parse(&format!("https://localhost:{port}")).expect("an address");
        let home = Home::at(&relay.folder.path().join("ann")).expect("a home");
        let registration = Registration {
            endpoint,
            invitation: relay.invitation().into(),
            first_name: None,
            last_name: None,
            skills: Vec::new(),
        };
        let plain = Arc::new(Direct::default());
        let refused = home.register(plain, &registration).await.err();
        assert!(
            matches!(
                refused,
                Some(IdentityError::Relay(ApiError::Unreachable { .. }))
            ),
            "not trusted: {refused:?}"
        );
        let authority = std::fs::read(tls_file("ca.pem")).expect("a certificate");
        let dial = Arc::new(Direct::trusting(&authority).expect("a certificate"));
        let trusting = Arc::clone(&dial) as Arc<_>;
        let identity = home.register(trusting, &registration).await;
        let ann = Account::open(identity.expect("registered"), dial).expect("opens");
        let mut events = listener(&ann).await;
        made(&ann, &[], Some("x")).await;
        message(&mut events).await;
    });
}

#[test]
fn plain_listener_beyond_this_machine_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = format!("redb:{}", folder.path().join("s").display());
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_plexus-relay"))
        .args(["serve", "--store", &store, "--listen", "0.0.0.0:0"])
        .output()
        .expect("it runs");
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("--tls-certificate"));
}
