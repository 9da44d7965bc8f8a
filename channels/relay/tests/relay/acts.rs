//! What members do, and what each of them then sees.

use crate::harness::{Relay, event, id_of, listener, story};
use plexus_channels::account::{AccountError, Opened, Trouble};
use plexus_channels::api::{Api, Cursor};
use plexus_channels::crypto::Content;
use plexus_channels::dial::Direct;
use plexus_channels::identity::{Home, Registration};
use plexus_channels::wire::{Code, Event, Message, NewDevice, Register, Status};
use plexus_channels::{Account, DeviceKey, Id, base64url};
use std::sync::Arc;

fn texts(page: &[Opened]) -> Vec<String> {
    let text = |opened: &Opened| match &opened.content {
        Ok(Content::Text(text)) => text.clone(),
        other => panic!("{other:?}"),
    };
    page.iter().map(text).collect()
}

async fn all(account: &Account, channel: Id) -> Vec<String> {
    let (page, more) = account
        .history(channel, Cursor::After(Id::ZERO), 200)
        .await
        .expect("a page");
    assert!(!more);
    texts(&page)
}

#[test]
fn members_talk_and_see_each_act() {
    story(async {
        let relay = Relay::start();
        let (ann, bob) = (relay.account("Ann").await, relay.account("Bob").await);
        let (mut at_ann, mut at_bob) = (listener(&ann).await, listener(&bob).await);
        let channel = ann
            .create("Ship it", &[id_of(&bob)], Some("hello"))
            .await
            .expect("made");
        let Event::ChannelAdded { channel: added, by } = event(&mut at_bob).await else {
            panic!()
        };
        assert_eq!((by, &added), (id_of(&ann), &channel));
        assert_eq!(bob.name_of(&added).await.expect("opens"), "Ship it");
        for (account, listener) in [(&bob, &mut at_bob), (&ann, &mut at_ann)] {
            let Event::MessageCreated {
                channel_id,
                message,
            } = event(listener).await
            else {
                panic!()
            };
            assert_eq!(message.sender_name, "Ann");
            let opened = account
                .receive(channel_id, message.clone())
                .await
                .expect("received");
            assert_eq!(texts(&[opened.expect("new")]), ["hello"]);
            assert!(
                account
                    .receive(channel_id, message)
                    .await
                    .expect("received")
                    .is_none()
            );
        }
        let sent = bob.send(channel.id, "hi Ann").await.expect("sent");
        let Event::MessageCreated { message, .. } = event(&mut at_ann).await else {
            panic!()
        };
        assert_eq!(message, sent);
        assert_eq!(
            event(&mut at_bob).await,
            Event::MessageCreated {
                channel_id: channel.id,
                message
            }
        );
        assert_eq!(all(&ann, channel.id).await, ["hello", "hi Ann"]);

        ann.rename(channel.id, "Shipped").await.expect("renamed");
        let Event::ChannelRenamed {
            channel_id, name, ..
        } = event(&mut at_bob).await
        else {
            panic!()
        };
        assert_eq!(
            bob.open_name(channel_id, &name).await.expect("opens"),
            "Shipped"
        );
        ann.api().archive(channel.id, true).await.expect("archived");
        assert_eq!(
            event(&mut at_bob).await,
            Event::ChannelArchived {
                channel_id,
                by: id_of(&ann)
            }
        );
        ann.api()
            .archive(channel.id, true)
            .await
            .expect("again, without an event");
        let refused = bob.send(channel.id, "late").await.expect_err("archived");
        assert!(
            matches!(refused, AccountError::Relay(refused) if refused.code() == Some(Code::Archived))
        );
        assert_eq!(
            all(&bob, channel.id).await.len(),
            2,
            "an archived channel stays readable"
        );
        let archived = bob
            .api()
            .channels(Some(Status::Archived))
            .await
            .expect("listed");
        assert_eq!(archived.len(), 1);
        assert!(
            bob.api()
                .channels(Some(Status::Active))
                .await
                .expect("listed")
                .is_empty()
        );
        bob.api().archive(channel.id, false).await.expect("back");
        assert_eq!(
            event(&mut at_bob).await,
            Event::ChannelUnarchived {
                channel_id,
                by: id_of(&bob)
            }
        );
        bob.send(channel.id, "in time").await.expect("sent");
    });
}

#[test]
fn added_member_reads_history_and_removed_one_nothing_new() {
    story(async {
        let relay = Relay::start();
        let (ann, bob, eve) = (
            relay.account("Ann").await,
            relay.account("Bob").await,
            relay.account("Eve").await,
        );
        let channel = ann
            .create("a", &[id_of(&bob)], Some("one"))
            .await
            .expect("made")
            .id;
        eve.api().ask_to_join(channel).await.expect("asked");
        eve.api()
            .ask_to_join(Id::generate())
            .await
            .expect("the same answer where there is no channel");
        let asking = bob
            .api()
            .join_requests(channel)
            .await
            .expect("members see it");
        assert_eq!(
            asking.iter().map(|m| m.id).collect::<Vec<_>>(),
            [id_of(&eve)]
        );
        let (mut at_ann, mut at_eve) = (listener(&ann).await, listener(&eve).await);
        bob.add_member(channel, id_of(&eve)).await.expect("added");
        assert!(
            bob.api()
                .join_requests(channel)
                .await
                .expect("settled")
                .is_empty()
        );
        assert!(
            matches!(event(&mut at_eve).await, Event::ChannelAdded { by, .. } if by == id_of(&bob))
        );
        assert!(
            matches!(event(&mut at_ann).await, Event::MemberAdded { user, .. } if user.id == id_of(&eve))
        );
        assert_eq!(all(&eve, channel).await, ["one"]);

        let left = ann
            .api()
            .remove_member(channel, id_of(&eve))
            .await
            .expect("removed");
        assert!(left.rotation_due);
        assert!(
            matches!(event(&mut at_eve).await, Event::ChannelRemoved { channel_id, .. } if channel_id == channel)
        );
        assert!(matches!(
            event(&mut at_ann).await,
            Event::MemberRemoved {
                rotation_due: true,
                ..
            }
        ));
        for refused in [
            eve.api().channel(channel).await.map(|_| ()),
            eve.api().keys(channel, 0).await.map(|_| ()),
            eve.api()
                .history(channel, Cursor::Newest, 1)
                .await
                .map(|_| ()),
        ] {
            assert_eq!(refused.expect_err("gone").code(), Some(Code::NotFound));
        }
        // The next sender rotates; the version that the removed one held opens nothing after that.
        let sent = bob.send(channel, "two").await.expect("sent");
        assert_eq!(sent.key_version, 3);
        assert!(matches!(
            event(&mut at_ann).await,
            Event::KeyRotated { key_version: 3, .. }
        ));
        assert_eq!(all(&ann, channel).await, ["one", "two"]);
        // Added again, by one who holds both versions.
        ann.add_member(channel, id_of(&eve)).await.expect("added");
        assert_eq!(all(&eve, channel).await, ["one", "two"]);
    });
}

#[test]
fn racing_rotations_leave_one_version_that_all_hold() {
    story(async {
        let relay = Relay::start();
        let (ann, bob) = (relay.account("Ann").await, relay.account("Bob").await);
        let channel = ann
            .create("a", &[id_of(&bob)], None)
            .await
            .expect("made")
            .id;
        for version in 2..8 {
            let (one, two) = tokio::join!(ann.rotate(channel), bob.rotate(channel));
            let (one, two) = (one.expect("rotated"), two.expect("rotated"));
            let newest = one.key_version.max(two.key_version);
            assert!(newest >= version);
            let sent = tokio::join!(ann.send(channel, "a"), bob.send(channel, "b"));
            sent.0.expect("sent");
            sent.1.expect("sent");
        }
        assert_eq!(all(&ann, channel).await, all(&bob, channel).await);
        assert_eq!(all(&ann, channel).await.len(), 12);
    });
}

#[test]
fn members_bounds_are_held_before_anything_is_sent() {
    story(async {
        let relay = Relay::start();
        let ann = relay.account("Ann").await;
        let channel = ann
            .create(&"n".repeat(120), &[], None)
            .await
            .expect("made")
            .id;
        assert!(matches!(
            ann.create(&"n".repeat(121), &[], None).await,
            Err(AccountError::Name)
        ));
        assert!(matches!(
            ann.rename(channel, "").await,
            Err(AccountError::Name)
        ));
        ann.send(channel, &"\u{1}".repeat(5_000))
            .await
            .expect("escapes fit");
        ann.send(channel, &"x".repeat(32_768))
            .await
            .expect("the longest");
        assert!(matches!(
            ann.send(channel, &"x".repeat(32_769)).await,
            Err(AccountError::Text)
        ));
        // Its JSON is six times as long as the text, and more than a relay takes.
        assert!(matches!(
            ann.send(channel, &"\u{1}".repeat(32_768)).await,
            Err(AccountError::Text)
        ));
        assert!(matches!(
            ann.send(channel, "").await,
            Err(AccountError::Text)
        ));
        let four = "🐸".repeat(120);
        assert_eq!(
            ann.name_of(&ann.rename(channel, &four).await.expect("renamed"))
                .await
                .expect("opens"),
            four
        );
    });
}

#[test]
fn registration_that_lost_its_answer_leaves_one_user() {
    story(async {
        let mut relay = Relay::start();
        let registration = Registration {
            endpoint: relay.endpoint.clone(),
            invitation: relay.invitation().into(),
            first_name: Some("Lost".into()),
            last_name: Some("Found".into()),
            skills: Vec::new(),
        };
        relay.kill();
        let root = relay.folder.path().join("lost");
        let home = Home::at(&root).expect("a home");
        let dial = || Arc::new(Direct::default());
        for _ in 0..2 {
            assert!(
                home.register(dial(), &registration).await.is_err(),
                "not reached"
            );
        }
        let folders = std::fs::read_dir(root.join("agents"))
            .expect("read")
            .flatten();
        let folders: Vec<_> = folders.map(|entry| entry.path()).collect();
        let [folder] = folders.as_slice() else {
            panic!("{folders:?}")
        };
        // The relay takes the request, and its answer is lost.
        relay.go_on(None);
        let pending = std::fs::read(folder.join("pending.json")).expect("the request");
        let pending: serde_json::Value = serde_json::from_slice(&pending).expect("JSON");
        let pem = std::fs::read_to_string(folder.join("private_key.pem")).expect("the key");
        let key = DeviceKey::from_pem(&pem).expect("a key");
        let open = Api::new(relay.endpoint.clone(), dial(), None);
        let mut register = Register {
            registration_id: pending["registration_id"]
                .as_str()
                .expect("an id")
                .parse()
                .expect("an id"),
            invitation_key: registration.invitation.to_string(),
            first_name: Some("Lost".into()),
            last_name: Some("Found".into()),
            skills: Vec::new(),
            device: NewDevice {
                public_key: key.public().to_wire(),
            },
        };
        let lost = open.register(&register).await.expect("taken");
        let found = home
            .register(dial(), &registration)
            .await
            .expect("found again");
        assert_eq!(found.facts.agent_id, lost.agent_id);
        assert_eq!(home.identities().expect("names").len(), 1);
        register.device.public_key = DeviceKey::generate().public().to_wire();
        let other = open.register(&register).await.expect_err("another key");
        assert_eq!(other.code(), Some(Code::Conflict));
        let ann = relay.account("Ann").await;
        let users = ann.api().users().await.expect("listed");
        assert_eq!(
            users
                .iter()
                .filter(|user| user.name == "Lost Found")
                .count(),
            1
        );
    });
}

#[test]
fn false_key_of_known_device_gets_nothing_wrapped() {
    story(async {
        let relay = Relay::start();
        let (ann, bob) = (relay.account("Ann").await, relay.account("Bob").await);
        let channel = ann
            .create("a", &[id_of(&bob)], None)
            .await
            .expect("made")
            .id;
        // As if the relay showed another key from now on than the one pinned before.
        let pins = ann.identity().folder().join("known_devices");
        let text = std::fs::read_to_string(&pins).expect("pins");
        let encoded = |key: &DeviceKey| base64url::encode(&key.public().to_wire().0);
        let key = encoded(&bob.identity().key);
        assert_eq!(text.matches(&key).count(), 1);
        let text = text.replace(&key, &encoded(&DeviceKey::generate()));
        std::fs::write(&pins, text).expect("written");
        let name = ann
            .identity()
            .folder()
            .file_name()
            .expect("a name")
            .to_owned();
        drop(ann);
        let home = Home::at(&relay.folder.path().join("Ann")).expect("a home");
        let identity = home.open(name.to_str().expect("a name")).expect("opens");
        let ann = Account::open(identity, Arc::new(Direct::default())).expect("opens");
        let refused = ann.rotate(channel).await.expect_err("refused");
        assert!(
            matches!(refused, AccountError::Trouble(Trouble::Device { user_id, .. }) if user_id == id_of(&bob))
        );
        // The effect: no version with a wrap for anybody has reached the relay.
        let shown = bob.api().channel(channel).await.expect("shown");
        assert_eq!(shown.key_version, 1);
        let profile = ann.api().user(id_of(&bob)).await.expect("a profile");
        ann.pin(&[profile]).expect("read");
        assert_eq!(ann.take_refused_devices().len(), 1);
        bob.rotate(channel)
            .await
            .expect("the other way round it is known");
        assert!(
            ann.send(channel, "x").await.is_err(),
            "a key from that device is not opened"
        );
    });
}

#[test]
fn replayed_moved_or_altered_message_is_refused() {
    story(async {
        let relay = Relay::start();
        let (ann, bob) = (relay.account("Ann").await, relay.account("Bob").await);
        let channel = ann
            .create("a", &[id_of(&bob)], None)
            .await
            .expect("made")
            .id;
        let other = ann
            .create("b", &[id_of(&bob)], None)
            .await
            .expect("made")
            .id;
        let mut sent = Vec::new();
        for text in ["one", "two", "three"] {
            sent.push(ann.send(channel, text).await.expect("sent"));
        }
        let receive = async |channel, message: &Message| {
            let opened = bob
                .receive(channel, message.clone())
                .await
                .expect("received");
            opened.map(|opened| opened.content)
        };
        let altered = |change: fn(&mut Message)| {
            let mut message = sent[1].clone();
            change(&mut message);
            message
        };
        // As a relay could push them: altered first, so that nothing of them may count.
        for message in [
            altered(|message| message.ciphertext.0[0] ^= 1),
            altered(|message| message.nonce.0[0] ^= 1),
            altered(|message| message.seq = 9),
            altered(|message| message.client_message_id = Id::generate()),
        ] {
            assert_eq!(
                receive(channel, &message).await,
                Some(Err(Trouble::Undecryptable))
            );
        }
        let newer = altered(|message| message.key_version = 2);
        assert_eq!(
            receive(channel, &newer).await,
            Some(Err(Trouble::UnknownKeyVersion(2)))
        );
        let mut moved = sent[1].clone();
        assert_eq!(
            receive(other, &moved).await,
            Some(Err(Trouble::Undecryptable))
        );
        moved.channel_id = other;
        assert_eq!(
            receive(other, &moved).await,
            Some(Err(Trouble::Undecryptable))
        );
        let mut forged = sent[1].clone();
        forged.sender_id = id_of(&bob);
        assert!(matches!(
            receive(channel, &forged).await,
            Some(Err(Trouble::Device { .. }))
        ));
        // The true ones open; out of order and again they do not.
        assert_eq!(
            receive(channel, &sent[1]).await,
            Some(Ok(Content::Text("two".into())))
        );
        assert_eq!(receive(channel, &sent[1]).await, None);
        assert_eq!(
            receive(channel, &sent[0]).await,
            Some(Err(Trouble::Replayed))
        );
        let mut renamed = sent[1].clone();
        renamed.message_id = Id::generate();
        assert_eq!(
            receive(channel, &renamed).await,
            Some(Err(Trouble::Replayed))
        );
        assert_eq!(
            receive(channel, &sent[2]).await,
            Some(Ok(Content::Text("three".into())))
        );
    });
}
