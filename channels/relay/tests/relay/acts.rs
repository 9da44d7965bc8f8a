//! What members do, and what each of them then sees.

use crate::harness::{Relay, at_relay, event, id_of, listener, made, message, story, text, texts};
use plexus_channels::account::{AccountError, Trouble};
use plexus_channels::api::{Api, ApiError, Cursor};
use plexus_channels::crypto::Content;
use plexus_channels::dial::Direct;
use plexus_channels::identity::{Home, IdentityError, Registration};
use plexus_channels::wire::{Code, Event, Message, NewDevice, Register, Status};
use plexus_channels::{Account, DeviceKey, Id, base64url};
use std::sync::Arc;

#[test]
fn members_talk_and_see_each_act() {
    at_relay(async |relay| {
        let [ann, bob] = relay.accounts(["Ann", "Bob"]).await;
        let (mut at_ann, mut at_bob) = (listener(&ann).await, listener(&bob).await);
        let made = ann.create("Ship it", &[id_of(&bob)], Some("hello")).await;
        let channel = made.expect("made");
        let channel_id = channel.id;
        let Event::ChannelAdded { channel: added, by } = event(&mut at_bob).await else {
            panic!("not added")
        };
        assert_eq!((by, &added), (id_of(&ann), &channel));
        assert_eq!(bob.name_of(&added).await.expect("opens"), "Ship it");
        for (account, listener) in [(&bob, &mut at_bob), (&ann, &mut at_ann)] {
            let sent = message(listener).await;
            assert_eq!((sent.channel_id, &*sent.sender_name), (channel_id, "Ann"));
            let receive = || account.receive(channel_id, sent.clone());
            let opened = receive().await.expect("received").expect("new");
            assert_eq!(text(opened), "hello");
            assert!(receive().await.expect("received").is_none());
        }
        let sent = bob.send(channel_id, "hi Ann").await.expect("sent");
        assert_eq!(message(&mut at_ann).await, sent);
        assert_eq!(message(&mut at_bob).await, sent);
        assert_eq!(texts(&ann, channel_id).await, ["hello", "hi Ann"]);

        ann.rename(channel_id, "Shipped").await.expect("renamed");
        let Event::ChannelRenamed { name, .. } = event(&mut at_bob).await else {
            panic!("not renamed")
        };
        let opened = bob.open_name(channel_id, &name).await.expect("opens");
        assert_eq!(opened, "Shipped");
        ann.api().archive(channel_id, true).await.expect("archived");
        let by = id_of(&ann);
        let archived = Event::ChannelArchived { channel_id, by };
        assert_eq!(event(&mut at_bob).await, archived);
        // Again, without an event.
        ann.api().archive(channel_id, true).await.expect("archived");
        let refused = bob.send(channel_id, "late").await.expect_err("archived");
        assert!(
            matches!(refused, AccountError::Relay(refused) if refused.code() == Some(Code::Archived))
        );
        // An archived channel stays readable.
        assert_eq!(texts(&bob, channel_id).await.len(), 2);
        for (status, count) in [(Status::Archived, 1), (Status::Active, 0)] {
            let listed = bob.api().channels(Some(status)).await.expect("listed");
            assert_eq!(listed.len(), count, "{status:?}");
        }
        bob.api().archive(channel_id, false).await.expect("back");
        let by = id_of(&bob);
        let back = Event::ChannelUnarchived { channel_id, by };
        assert_eq!(event(&mut at_bob).await, back);
        bob.send(channel_id, "in time").await.expect("sent");
    });
}

#[test]
fn added_member_reads_history_and_removed_one_nothing_new() {
    at_relay(async |relay| {
        let [ann, bob, eve] = relay.accounts(["Ann", "Bob", "Eve"]).await;
        let channel = made(&ann, &[&bob], Some("one")).await;
        eve.api().ask_to_join(channel).await.expect("asked");
        // The same answer where there is no channel.
        let nowhere = eve.api().ask_to_join(Id::generate()).await;
        nowhere.expect("asked");
        let asking = async || {
            let asking = bob.api().join_requests(channel).await;
            let asking = asking.expect("members see it").into_iter();
            asking.map(|member| member.id).collect::<Vec<_>>()
        };
        assert_eq!(asking().await, [id_of(&eve)]);
        let (mut at_ann, mut at_eve) = (listener(&ann).await, listener(&eve).await);
        bob.add_member(channel, id_of(&eve)).await.expect("added");
        assert_eq!(asking().await, []);
        let added = event(&mut at_eve).await;
        assert!(matches!(added, Event::ChannelAdded { by, .. } if by == id_of(&bob)));
        let added = event(&mut at_ann).await;
        assert!(matches!(added, Event::MemberAdded { user, .. } if user.id == id_of(&eve)));
        assert_eq!(texts(&eve, channel).await, ["one"]);

        let left = ann.api().remove_member(channel, id_of(&eve)).await;
        assert!(left.expect("removed").rotation_due);
        let removed = event(&mut at_eve).await;
        assert!(
            matches!(removed, Event::ChannelRemoved { channel_id, .. } if channel_id == channel)
        );
        let removed = event(&mut at_ann).await;
        assert!(
            matches!(removed, Event::MemberRemoved { rotation_due: true, user, .. } if user.id == id_of(&eve))
        );
        let of_eve = eve.api();
        for refused in [
            of_eve.channel(channel).await.map(drop),
            of_eve.keys(channel, 0).await.map(drop),
            of_eve.history(channel, Cursor::Newest, 1).await.map(drop),
        ] {
            assert_eq!(refused.expect_err("gone").code(), Some(Code::NotFound));
        }
        // The next sender rotates; the version that the removed one held opens nothing after that.
        let sent = bob.send(channel, "two").await.expect("sent");
        assert_eq!(sent.key_version, 3);
        let rotated = event(&mut at_ann).await;
        assert!(matches!(rotated, Event::KeyRotated { key_version: 3, .. }));
        assert_eq!(texts(&ann, channel).await, ["one", "two"]);
        // Added again, by one who holds both versions.
        ann.add_member(channel, id_of(&eve)).await.expect("added");
        assert_eq!(texts(&eve, channel).await, ["one", "two"]);
    });
}

#[test]
fn racing_rotations_leave_one_version_that_all_hold() {
    at_relay(async |relay| {
        let [ann, bob] = relay.accounts(["Ann", "Bob"]).await;
        let channel = made(&ann, &[&bob], None).await;
        for version in 2..8 {
            let (one, two) = tokio::join!(ann.rotate(channel), bob.rotate(channel));
            let (one, two) = (one.expect("rotated"), two.expect("rotated"));
            assert!(one.key_version.max(two.key_version) >= version);
            let sent = tokio::join!(ann.send(channel, "a"), bob.send(channel, "b"));
            sent.0.expect("sent");
            sent.1.expect("sent");
        }
        let read = texts(&ann, channel).await;
        assert_eq!(read, texts(&bob, channel).await);
        assert_eq!(read.len(), 12);
    });
}

#[test]
fn members_bounds_are_held_before_anything_is_sent() {
    at_relay(async |relay| {
        let ann = relay.account("Ann").await;
        let longest = ann.create(&"n".repeat(120), &[], None).await;
        let channel = longest.expect("made").id;
        let beyond = ann.create(&"n".repeat(121), &[], None).await;
        assert!(matches!(beyond, Err(AccountError::Name)));
        let empty = ann.rename(channel, "").await;
        assert!(matches!(empty, Err(AccountError::Name)));
        // The longest, and escapes that fit. The JSON of the last is six times as long as the text, and more than a relay takes.
        for (text, fits) in [
            ("\u{1}".repeat(5_000), true),
            ("x".repeat(32_768), true),
            ("x".repeat(32_769), false),
            (String::new(), false),
            ("\u{1}".repeat(32_768), false),
        ] {
            match ann.send(channel, &text).await {
                Ok(_) => assert!(fits, "{}", text.len()),
                Err(AccountError::Text) => assert!(!fits, "{}", text.len()),
                Err(other) => panic!("{other}"),
            }
        }
        let four = "🐸".repeat(120);
        let renamed = ann.rename(channel, &four).await.expect("renamed");
        assert_eq!(ann.name_of(&renamed).await.expect("opens"), four);
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
            let away = home.register(dial(), &registration).await.err();
            assert!(
                matches!(
                    away,
                    Some(IdentityError::Relay(ApiError::Unreachable { .. }))
                ),
                "{away:?}"
            );
        }
        let folders = std::fs::read_dir(root.join("agents")).expect("read");
        let folders: Vec<_> = folders.flatten().map(|entry| entry.path()).collect();
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
            registration_id: serde_json::from_value(pending["registration_id"].clone())
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
        let found = home.register(dial(), &registration).await;
        let found = found.expect("found again").facts.agent_id;
        assert_eq!(found, lost.agent_id);
        assert_eq!(home.identities().expect("names").len(), 1);
        register.device.public_key = DeviceKey::generate().public().to_wire();
        let other = open.register(&register).await.expect_err("another key");
        assert_eq!(other.code(), Some(Code::Conflict));
        let ann = relay.account("Ann").await;
        let users = ann.api().users().await.expect("listed");
        let found = users.iter().filter(|user| user.name == "Lost Found");
        assert_eq!(found.count(), 1);
    });
}

#[test]
fn false_key_of_known_device_gets_nothing_wrapped() {
    at_relay(async |relay| {
        let [ann, bob] = relay.accounts(["Ann", "Bob"]).await;
        let channel = made(&ann, &[&bob], None).await;
        // As if the relay showed another key from now on than the one pinned before.
        let pins = ann.identity().folder().join("known_devices");
        let text = std::fs::read_to_string(&pins).expect("pins");
        let encoded = |key: &DeviceKey| base64url::encode(&key.public().to_wire().0);
        let key = encoded(&bob.identity().key);
        assert_eq!(text.matches(&key).count(), 1);
        let text = text.replace(&key, &encoded(&DeviceKey::generate()));
        std::fs::write(&pins, text).expect("written");
        let name = ann.identity().folder().file_name().expect("a name");
        let name = name.to_str().expect("a name").to_owned();
        drop(ann);
        let home = Home::at(&relay.folder.path().join("Ann")).expect("a home");
        let identity = home.open(&name).expect("opens");
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
        // The other way round it is known; a key from that device is not opened.
        bob.rotate(channel).await.expect("rotated");
        let sent = ann.send(channel, "x").await;
        assert!(
            matches!(sent, Err(AccountError::Trouble(Trouble::Device { user_id, .. })) if user_id == id_of(&bob)),
            "{sent:?}"
        );
    });
}

#[test]
fn replayed_moved_or_altered_message_is_refused() {
    at_relay(async |relay| {
        let [ann, bob] = relay.accounts(["Ann", "Bob"]).await;
        let channel = made(&ann, &[&bob], None).await;
        let other = made(&ann, &[&bob], None).await;
        let mut sent = Vec::new();
        for text in ["one", "two", "three"] {
            sent.push(ann.send(channel, text).await.expect("sent"));
        }
        let receive = async |channel, message: &Message| {
            let opened = bob.receive(channel, message.clone()).await;
            let opened = opened.expect("received");
            opened.map(|opened| opened.content)
        };
        let altered = |change: fn(&mut Message)| {
            let mut message = sent[1].clone();
            change(&mut message);
            message
        };
        let refused = |trouble| Some(Err(trouble));
        // As a relay could push them: altered first, so that nothing of them may count.
        for message in [
            altered(|message| message.ciphertext.0[0] ^= 1),
            altered(|message| message.nonce.0[0] ^= 1),
            altered(|message| message.seq = 9),
            altered(|message| message.client_message_id = Id::generate()),
        ] {
            let unclear = receive(channel, &message).await;
            assert_eq!(unclear, refused(Trouble::Undecryptable));
        }
        let newer = altered(|message| message.key_version = 2);
        let newer = receive(channel, &newer).await;
        assert_eq!(newer, refused(Trouble::UnknownKeyVersion(2)));
        let mut moved = sent[1].clone();
        for named in [channel, other] {
            moved.channel_id = named;
            let moved = receive(other, &moved).await;
            assert_eq!(moved, refused(Trouble::Undecryptable));
        }
        let mut forged = sent[1].clone();
        forged.sender_id = id_of(&bob);
        let forged = receive(channel, &forged).await;
        assert!(matches!(forged, Some(Err(Trouble::Device { .. }))));
        // The true ones open; out of order and again they do not.
        let opens = |text: &str| Some(Ok(Content::Text(text.into())));
        assert_eq!(receive(channel, &sent[1]).await, opens("two"));
        assert_eq!(receive(channel, &sent[1]).await, None);
        let late = receive(channel, &sent[0]).await;
        assert_eq!(late, refused(Trouble::Replayed));
        let renamed = altered(|message| message.message_id = Id::generate());
        let renamed = receive(channel, &renamed).await;
        assert_eq!(renamed, refused(Trouble::Replayed));
        assert_eq!(receive(channel, &sent[2]).await, opens("three"));
    });
}
