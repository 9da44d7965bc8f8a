//! A user whose key was stolen: the operator removes them, and the key opens nothing any more.

use crate::harness::{PATIENCE, Relay, event, id_of, listener, raw, story};
use plexus_channels::account::Account;
use plexus_channels::api::{Api, Credentials, Cursor};
use plexus_channels::crypto::{Content, Login};
use plexus_channels::dial::Direct;
use plexus_channels::events::{EventsError, Listener};
use plexus_channels::wire::{Challenge, Code, Event, NewDevice, Register};
use plexus_channels::{DeviceKey, Id, PublicKey, base64url};
use serde_json::{Value, json};
use std::sync::Arc;

/// A client of a thief, who has a copy of the key.
fn thief(relay: &Relay, of: &Account) -> Api {
    let who = Credentials {
        agent_id: of.identity().facts.agent_id,
        device_id: of.identity().facts.device_id,
        key: Arc::clone(&of.identity().key),
    };
    Api::new(
        relay.endpoint.clone(),
        Arc::new(Direct::default()),
        Some(who),
    )
}

/// The status of a route for who has this token.
async fn status(relay: &Relay, token: &str) -> u16 {
    raw(&relay.endpoint, "GET", "/v1/me", Some(token), b"")
        .await
        .0
}

async fn post(relay: &Relay, path: &str, body: &Value) -> (u16, Value) {
    let body = body.to_string();
    let answer = raw(&relay.endpoint, "POST", path, None, body.as_bytes()).await;
    (answer.0, answer.2)
}

/// A challenge of a user, and the right answer to it.
async fn challenge(relay: &Relay, of: &Account) -> Value {
    let facts = &of.identity().facts;
    let ask = json!({"agent_id": facts.agent_id, "device_id": facts.device_id});
    let (_, open) = post(relay, "/v1/auth/challenge", &ask).await;
    let open: Challenge = serde_json::from_value(open).expect("a challenge");
    let proof = of.identity().key.prove(&Login {
        challenge_id: open.challenge_id,
        agent_id: facts.agent_id,
        device_id: facts.device_id,
        nonce: &open.nonce.0,
        server_public_key: &PublicKey::from_bytes(&open.server_public_key.0).expect("a key"),
        device_public_key: of.identity().key.public(),
    });
    json!({"challenge_id": open.challenge_id, "proof": base64url::encode(&proof)})
}

async fn texts(account: &Account, channel: Id) -> Vec<String> {
    let page = account.history(channel, Cursor::Newest, 50).await;
    let texts = page.expect("a page").0.into_iter();
    let text = texts.map(|opened| match opened.content {
        Ok(Content::Text(text)) => text,
        other => panic!("{other:?}"),
    });
    text.collect()
}

#[test]
fn removed_user_is_shut_out_for_good() {
    story(async {
        let mut relay = Relay::start();
        let (ann, bob) = (relay.account("Ann").await, relay.account("Bob").await);
        let eve = relay.account("Eve").await;
        let all = [id_of(&bob), id_of(&eve)];
        let shared = ann.create("a", &all, Some("one")).await.expect("made").id;
        eve.send(shared, "by Eve").await.expect("sent");
        eve.create("b", &[id_of(&bob)], None).await.expect("made");
        let other = ann.create("c", &[id_of(&bob)], None).await.expect("made");
        let (mut at_ann, mut at_eve) = (listener(&ann).await, listener(&eve).await);
        let stolen = thief(&relay, &eve).token().await.expect("logged in");
        assert_eq!(status(&relay, &stolen).await, 200);
        let under_way = challenge(&relay, &eve).await;

        let removed = relay.remove(id_of(&eve));
        assert_eq!(removed["user"]["name"], "Eve", "{removed}");
        assert_eq!(
            (&removed["organization"], &removed["channels"]),
            (&json!("Acme"), &json!(2))
        );
        // Connections, sessions, challenges, and each later login.
        let closed = tokio::time::timeout(PATIENCE, at_eve.next()).await;
        assert!(
            matches!(closed, Ok(Err(EventsError::Removed))),
            "{closed:?}"
        );
        assert_eq!(status(&relay, &stolen).await, 401);
        let proven = post(&relay, "/v1/auth/token", &under_way).await;
        assert_eq!(
            (proven.0, &proven.1["error"]["code"]),
            (401, &json!("invalid_proof"))
        );
        let refused = thief(&relay, &eve).token().await.expect_err("removed");
        assert_eq!(refused.code(), Some(Code::InvalidProof));
        let again = Listener::new(Arc::new(thief(&relay, &eve))).next().await;
        assert!(matches!(again, Err(EventsError::Unknown)), "{again:?}");
        // The others log in as before.
        let of_bob = challenge(&relay, &bob).await;
        assert_eq!(post(&relay, "/v1/auth/token", &of_bob).await.0, 200);

        // Members hear of it. The next message is under a key that the removed one does not have.
        let Event::MemberRemoved {
            user, rotation_due, ..
        } = event(&mut at_ann).await
        else {
            panic!("not removed")
        };
        assert_eq!((user.id, rotation_due), (id_of(&eve), true));
        let seen = ann.api().channel(shared).await.expect("there");
        assert!(seen.rotation_due && seen.members.iter().all(|member| member.id != id_of(&eve)));
        let untouched = ann.api().channel(other.id).await.expect("there");
        assert!(!untouched.rotation_due && untouched.members.len() == 2);
        let sent = ann.send(shared, "two").await.expect("sent");
        assert_eq!(sent.key_version, 2);
        // What the removed one wrote stays readable, to who comes later too.
        let dan = relay.account("Dan").await;
        ann.add_member(shared, id_of(&dan)).await.expect("added");
        for account in [&bob, &dan] {
            assert_eq!(texts(account, shared).await, ["one", "by Eve", "two"]);
        }
        // Nobody finds them, and nobody brings them back.
        let users = ann.api().users().await.expect("listed");
        let users: Vec<Id> = users.into_iter().map(|user| user.id).collect();
        assert!(users.contains(&id_of(&dan)) && !users.contains(&id_of(&eve)));
        let back = ann.add_member(shared, id_of(&eve)).await;
        assert!(format!("{back:?}").contains("NotFound"), "{back:?}");
        let anew = ann.create("d", &[id_of(&eve)], None).await;
        assert!(format!("{anew:?}").contains("NotFound"), "{anew:?}");

        // It can be said again, and holds over a restart.
        assert_eq!(relay.remove(id_of(&eve))["channels"], 0);
        relay.kill();
        relay.go_on(None);
        let refused = thief(&relay, &eve).token().await.expect_err("removed");
        assert_eq!(refused.code(), Some(Code::InvalidProof));
        thief(&relay, &bob).token().await.expect("logged in");
        let unknown = relay.operator("remove", &[&Id::generate().to_string()]);
        let why = unknown.expect_err("nobody");
        assert!(why.contains("no user has this id"), "{why}");
    });
}

#[test]
fn registration_of_a_removed_user_is_not_repeated() {
    story(async {
        let relay = Relay::start();
        let open = Api::new(relay.endpoint.clone(), Arc::new(Direct::default()), None);
        let register = Register {
            registration_id: Id::generate(),
            invitation_key: relay.invite(&["--organization", "Acme", "--uses", "2"]),
            first_name: None,
            last_name: None,
            skills: Vec::new(),
            device: NewDevice {
                public_key: DeviceKey::generate().public().to_wire(),
            },
        };
        let made = open.register(&register).await.expect("registered");
        let again = open.register(&register).await.expect("the same");
        assert_eq!(again.agent_id, made.agent_id);
        relay.remove(made.agent_id);
        let refused = open.register(&register).await.expect_err("removed");
        assert_eq!(refused.code(), Some(Code::InvalidInvitation));
    });
}
