//! A user whose key was stolen: the operator removes them, and the key opens nothing any more.

use crate::harness::{
    PATIENCE, Relay, api, at_relay, credentials, event, id_of, listener, made, post, proven, raw,
    registration, story, texts,
};
use plexus_channels::account::{Account, AccountError};
use plexus_channels::api::Api;
use plexus_channels::events::{EventsError, Listener};
use plexus_channels::wire::{Code, Event};
use plexus_channels::{DeviceKey, Id};
use serde_json::json;
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;

/// A client of a thief, who has a copy of the key.
fn thief(relay: &Relay, of: &Account) -> Api {
    api(relay, Some(credentials(of)))
}

/// The status of a route for who has this token.
async fn status(relay: &Relay, token: &str) -> u16 {
    raw(&relay.endpoint, "GET", "/v1/me", Some(token), b"")
        .await
        .0
}

#[test]
fn removed_user_is_shut_out_for_good() {
    story(async {
        let mut relay = Relay::start();
        let [ann, bob, eve] = relay.accounts(["Ann", "Bob", "Eve"]).await;
        let shared = made(&ann, &[&bob, &eve], Some("one")).await;
        eve.send(shared, "by Eve").await.expect("sent");
        made(&eve, &[&bob], None).await;
        let other = made(&ann, &[&bob], None).await;
        let (mut at_ann, mut at_eve) = (listener(&ann).await, listener(&eve).await);
        let stolen = thief(&relay, &eve).token().await.expect("logged in");
        assert_eq!(status(&relay, &stolen).await, 200);
        let under_way = proven(&relay, &credentials(&eve)).await;

        let removed = relay.remove(id_of(&eve));
        assert_eq!(removed["user"]["name"], "Eve", "{removed}");
        assert_eq!(removed["organization"], "Acme");
        assert_eq!(removed["channels"], 2);
        // Connections, sessions, challenges, and each later login.
        let closed = tokio::time::timeout(PATIENCE, at_eve.next()).await;
        assert!(
            matches!(closed, Ok(Err(EventsError::Removed))),
            "{closed:?}"
        );
        assert_eq!(status(&relay, &stolen).await, 401);
        let (status, answer) = post(&relay, "/v1/auth/token", &json!(under_way)).await;
        assert_eq!(
            (status, &answer["error"]["code"]),
            (401, &json!("invalid_proof"))
        );
        let refused = thief(&relay, &eve).token().await.expect_err("removed");
        assert_eq!(refused.code(), Some(Code::InvalidProof));
        let again = Listener::new(Arc::new(thief(&relay, &eve))).next().await;
        assert!(matches!(again, Err(EventsError::Unknown)), "{again:?}");
        // The others log in as before.
        let of_bob = json!(proven(&relay, &credentials(&bob)).await);
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
        let untouched = ann.api().channel(other).await.expect("there");
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
        let back = ann.add_member(shared, id_of(&eve)).await.map(drop);
        let anew = ann.create("d", &[id_of(&eve)], None).await.map(drop);
        for refused in [back, anew] {
            assert!(
                matches!(&refused, Err(AccountError::Relay(why)) if why.code() == Some(Code::NotFound)),
                "{refused:?}"
            );
        }

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
    at_relay(async |relay| {
        let open = api(&relay, None);
        let twice = relay.invite(&["--organization", "Acme", "--uses", "2"]);
        let register = registration(&twice, &DeviceKey::generate());
        let made = open.register(&register).await.expect("registered");
        let again = open.register(&register).await.expect("the same");
        assert_eq!(again.agent_id, made.agent_id);
        relay.remove(made.agent_id);
        let refused = open.register(&register).await.expect_err("removed");
        assert_eq!(refused.code(), Some(Code::InvalidInvitation));
    });
}

/// Root gives the socket away; anybody else may not connect to it any more.
#[test]
fn operator_of_another_user_is_told_whose_relay() {
    at_relay(async |relay| {
        let socket = relay.folder.path().join("store.redb.operator");
        let changed = match nix::unistd::geteuid().is_root() {
            true => std::os::unix::fs::chown(&socket, Some(65534), None),
            false => std::fs::set_permissions(&socket, Permissions::from_mode(0o0)),
        };
        changed.expect("changed");
        let refused = relay.operator("invite", &["--organization", "Acme"]);
        let why = refused.expect_err("of another user");
        assert!(why.contains("answers its own user alone"), "{why}");
    });
}
