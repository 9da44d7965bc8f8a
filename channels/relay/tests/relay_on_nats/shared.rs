//! Two relays on one stream: each serves what the other was told.

use crate::harness::{FREELY, PATIENCE, Relay, event, history, id_of, listener, made, raw, story};
use crate::nats::Nats;
use plexus_channels::api::Credentials;
use plexus_channels::dial::Direct;
use plexus_channels::events::{EventsError, Listener};
use plexus_channels::wire::{Code, Event};
use plexus_channels::{Account, Api, Id};
use std::collections::BTreeSet;
use std::sync::Arc;

fn two(nats: &Nats) -> [Relay; 2] {
    [(), ()].map(|()| Relay::start_on(Some(nats.url()), &FREELY))
}

async fn message(listener: &mut Listener) -> Id {
    loop {
        if let Event::MessageCreated { message, .. } = event(listener).await {
            return message.message_id;
        }
    }
}

#[test]
fn two_relays_push_each_others_messages_in_one_order() {
    story(async {
        let nats = Nats::one("");
        let [a, b] = two(&nats);
        // Each is known to the other relay as soon as it has registered.
        let (ann, bob) = (a.account("Ann").await, b.account("Bob").await);
        let (mut of_ann, mut of_bob) = (listener(&ann).await, listener(&bob).await);
        let channel = made(&ann, &[&bob], Some("opening")).await;
        assert!(
            matches!(event(&mut of_bob).await, Event::ChannelAdded { by, .. } if by == id_of(&ann))
        );
        let opening = message(&mut of_bob).await;
        assert_eq!(message(&mut of_ann).await, opening);
        // Both at once: acts that lose to one of the other relay are decided again.
        let send = async |account: &Account| {
            let mut sent = BTreeSet::new();
            for n in 0..100 {
                let text = format!("{n}");
                sent.insert(account.send(channel, &text).await.expect("sent").message_id);
            }
            sent
        };
        let (by_ann, by_bob) = tokio::join!(send(&ann), send(&bob));
        let mut order = Vec::new();
        for _ in 0..200 {
            order.push(message(&mut of_ann).await);
            assert_eq!(message(&mut of_bob).await, order[order.len() - 1]);
        }
        assert!(order.is_sorted_by(|a, b| a < b));
        let pushed: BTreeSet<_> = order.iter().copied().collect();
        assert_eq!(pushed, by_ann.union(&by_bob).copied().collect());
        order.insert(0, opening);
        for account in [&ann, &bob] {
            let read = history(account, channel).await;
            assert_eq!(read.iter().map(|(id, _)| *id).collect::<Vec<_>>(), order);
        }
        // A rename at one, a removal at the other.
        ann.rename(channel, "other").await.expect("renamed");
        assert!(
            matches!(event(&mut of_bob).await, Event::ChannelRenamed { by, .. } if by == id_of(&ann))
        );
        bob.api()
            .remove_member(channel, id_of(&bob))
            .await
            .expect("left");
        let left = loop {
            if let Event::MemberRemoved { user, .. } = event(&mut of_ann).await {
                break user.id;
            }
        };
        assert_eq!(left, id_of(&bob));
    });
}

#[test]
fn removal_at_one_relay_shuts_out_at_the_other() {
    story(async {
        let nats = Nats::one("");
        let [a, b] = two(&nats);
        let (ann, eve) = (a.account("Ann").await, b.account("Eve").await);
        let channel = made(&ann, &[&eve], None).await;
        let mut of_eve = listener(&eve).await;
        let token = eve.api().token().await.expect("a token");
        let me = async || raw(&b.endpoint, "GET", "/v1/me", Some(&token), b"").await.0;
        assert_eq!(me().await, 200);
        assert_eq!(a.remove(id_of(&eve))["channels"], 1);
        let over = tokio::time::timeout(PATIENCE, of_eve.next()).await;
        assert!(matches!(over, Ok(Err(EventsError::Removed))), "{over:?}");
        assert_eq!(me().await, 401);
        let refused = eve.api().me().await.expect_err("removed");
        assert_eq!(refused.code(), Some(Code::InvalidProof));
        let sent = ann.send(channel, "after").await.expect("sent");
        assert_eq!(sent.key_version, 2);
    });
}

#[test]
fn client_goes_on_with_another_relay() {
    story(async {
        let nats = Nats::one("");
        let [mut a, b] = two(&nats);
        let (_, agent_id, device_id, key) = a.stranger("Acme").await;
        let at_b = |key| {
            let who = Credentials {
                agent_id,
                device_id,
                key,
            };
            Api::new(b.endpoint.clone(), Arc::new(Direct::default()), Some(who))
        };
        assert_eq!(
            at_b(Arc::clone(&key)).me().await.expect("known").profile.id,
            agent_id
        );
        // The name of an organization is one, whichever relay is asked; its first relay need not be there.
        let (_, second, ..) = b.stranger("Acme").await;
        let agents = at_b(Arc::clone(&key)).users().await.expect("listed");
        assert!(agents.iter().any(|agent| agent.id == second));
        a.kill();
        let agents = at_b(key).users().await.expect("listed");
        assert_eq!(agents.len(), 2);
    });
}

#[test]
fn relay_without_its_servers_refuses_and_comes_back() {
    story(async {
        let mut nats = Nats::one("");
        let relay = Relay::start_on(Some(nats.url()), &FREELY);
        let [ann, bob] = relay.accounts(["Ann", "Bob"]).await;
        let mut events = listener(&bob).await;
        let channel = made(&ann, &[&bob], Some("before")).await;
        let before = message(&mut events).await;
        nats.kill(0);
        // Nothing is acknowledged that is not in the log.
        let refused = ann.send(channel, "during").await.expect_err("refused");
        assert!(
            format!("{refused:?}").contains("Unavailable"),
            "{refused:?}"
        );
        // A balancer sees it, and so do clients: the events may be late.
        let health = async || raw(&relay.endpoint, "GET", "/v1/health", None, b"").await;
        loop {
            let (status, _, body) = health().await;
            if status == 503 {
                assert_eq!(body["error"]["code"], "unavailable");
                break;
            }
            assert_eq!(status, 200);
            tokio::task::yield_now().await;
        }
        nats.restart(0);
        while health().await.0 != 200 {
            tokio::task::yield_now().await;
        }
        ann.flush().await.expect("flushed");
        let read = history(&bob, channel).await;
        let [(id, first), (_, second)] = &read[..] else {
            panic!("{read:?}")
        };
        assert_eq!((*id, &**first, &**second), (before, "before", "during"));
    });
}

#[test]
fn store_without_its_cache_is_wrong_usage() {
    let run = |arguments: &[&str]| {
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_plexus-relay"))
            .arg("serve")
            .args(arguments)
            .output();
        let output = output.expect("it runs");
        let why = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.code(), why)
    };
    for (arguments, word) in [
        (&["--store", "nats://127.0.0.1:4222"][..], "--cache FILE"),
        (&["--store", "redb:s", "--cache", "c"], "--cache goes with"),
        (&["--store", "redb:s", "--nats-ca", "c"], "--cache"),
        (
            &["--store", "nats://10.0.0.1:4222", "--cache", "c"],
            "tls://",
        ),
    ] {
        let (status, why) = run(arguments);
        assert_eq!(status, Some(2), "{why}");
        assert!(why.contains(word), "{why}");
    }
}
