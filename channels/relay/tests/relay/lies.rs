//! A relay that lies, loses and waits: the real one, with a liar on the way to it that alters, drops or holds its answers.

use crate::crashes::reopened;
use crate::harness::{PATIENCE, Relay, at_relay, history, id_of, made, story, text, texts};
use crate::liar::{Liar, Lied, account};
use plexus_channels::account::{Account, AccountError, Agreed, NewChannel, Trouble};
use plexus_channels::api::{ApiError, Cursor};
use plexus_channels::dial::Direct;
use plexus_channels::events::{Listener, Notice};
use plexus_channels::identity::{Home, IdentityError, Registration};
use plexus_channels::state::{Once, WriteStatus};
use plexus_channels::wire::{Code, Event};
use plexus_channels::{DeviceKey, Id};
use plexus_participant::Tools;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::timeout;

fn is_post(line: &str) -> bool {
    line.starts_with("POST ") && line.contains("/messages ")
}

/// Ann, whose way leads over a liar, in a channel of her own with one message.
async fn alone(relay: &Relay) -> (Arc<Account>, Arc<Liar>, Id) {
    let (ann, liar) = account(relay, "Ann").await;
    let channel = made(&ann, &[], Some("one")).await;
    (ann, liar, channel)
}

#[test]
fn message_is_kept_while_the_login_is_refused() {
    at_relay(async |relay| {
        let (ann, liar, channel) = alone(&relay).await;
        liar.refuses_logins();
        ann.api().forget_token();
        let call = Once::call("evt_1");
        let kept = ann.send_once(call.clone(), channel, "two").await;
        assert!(matches!(kept, Err(AccountError::Kept(_))), "{kept:?}");
        assert_eq!(ann.fate(&call), Some(WriteStatus::Waiting));
        // What follows it does not overtake it, and is not kept.
        let next = ann.send(channel, "three").await.expect_err("not sent");
        assert!(matches!(next, AccountError::Relay(_)), "{next}");
        liar.tells_the_truth();
        assert_eq!(ann.flush().await.expect("flushed").len(), 1);
        assert_eq!(texts(&ann, channel).await, ["one", "two"]);
        assert!(matches!(ann.fate(&call), Some(WriteStatus::Taken(..))));
    });
}

#[test]
fn message_is_kept_when_its_answer_cannot_be_read() {
    at_relay(async |relay| {
        let (ann, liar, channel) = alone(&relay).await;
        liar.lies(|line, _| match is_post(line) {
            true => Lied::Answer(201, json!({"taken": "perhaps"})),
            false => Lied::Truth,
        });
        let kept = ann.send(channel, "two").await.expect_err("kept");
        let is_unread = matches!(kept, AccountError::Kept(ApiError::Malformed(_)));
        assert!(is_unread, "{kept}");
        liar.tells_the_truth();
        assert_eq!(ann.flush().await.expect("flushed").len(), 1);
        assert_eq!(texts(&ann, channel).await, ["one", "two"]);
    });
}

#[test]
fn refusal_after_a_removal_says_that_the_message_may_be_there() {
    at_relay(async |relay| {
        let (ann, liar) = account(&relay, "Ann").await;
        let bob = relay.account("Bob").await;
        let channel = made(&bob, &[&ann], Some("one")).await;
        ann.send(channel, "two").await.expect("sent");
        let lost = Once::call("evt_1");
        liar.lies(|line, _| match is_post(line) {
            true => Lied::Lost,
            false => Lied::Truth,
        });
        let kept = ann.send_once(lost.clone(), channel, "three").await;
        assert!(matches!(kept, Err(AccountError::Kept(_))), "{kept:?}");
        liar.tells_the_truth();
        let removed = bob.api().remove_member(channel, id_of(&ann)).await;
        removed.expect("removed");
        let doubtful = ann.flush().await.expect_err("no member");
        assert!(matches!(doubtful, AccountError::Doubtful(_)), "{doubtful}");
        assert_eq!(ann.fate(&lost), Some(WriteStatus::Doubtful));
        assert_eq!(texts(&bob, channel).await, ["one", "two", "three"]);
        // One that was never tried before is refused, and nobody doubts it.
        let refused = Once::call("evt_2");
        let end = ann.send_once(refused.clone(), channel, "four").await;
        assert!(matches!(end, Err(AccountError::Relay(_))), "{end:?}");
        assert_eq!(ann.fate(&refused), Some(WriteStatus::Refused));
        assert_eq!(texts(&bob, channel).await, ["one", "two", "three"]);
    });
}

#[test]
fn relay_that_is_slow_to_take_a_message_holds_up_nothing_else() {
    at_relay(async |relay| {
        let (ann, liar, channel) = alone(&relay).await;
        let (asked, gate) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let (seen, held) = (Arc::clone(&asked), Arc::clone(&gate));
        liar.lies(move |line, _| match is_post(line) {
            true => {
                seen.notify_one();
                Lied::After(Arc::clone(&held))
            }
            false => Lied::Truth,
        });
        let sender = Arc::clone(&ann);
        let sending = tokio::spawn(async move { sender.send(channel, "two").await });
        asked.notified().await;
        let meanwhile = async {
            let last = history(&ann, channel).await.last().expect("a message").0;
            ann.advance(&[(channel, last)]).await.expect("kept");
            assert_eq!(ann.watermark(channel).await, Some(last));
            assert_eq!(ann.fate(&Once::call("evt_1")), None);
        };
        let held_up = timeout(Duration::from_secs(20), meanwhile).await;
        assert!(held_up.is_ok(), "it waited for the send");
        assert!(!sending.is_finished());
        gate.notify_one();
        sending.await.expect("it ends").expect("sent");
        assert_eq!(texts(&ann, channel).await, ["one", "two"]);
    });
}

#[test]
fn who_left_many_channels_is_asked_for_once() {
    at_relay(async |relay| {
        let (ann, liar) = account(&relay, "Ann").await;
        let eve = relay.account("Eve").await;
        for _ in 0..3 {
            made(&ann, &[&eve], None).await;
        }
        relay.remove(id_of(&eve));
        let asked = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&asked);
        liar.lies(move |line, _| {
            if line.contains("/v1/agents/") {
                count.fetch_add(1, Ordering::Relaxed);
            }
            Lied::Truth
        });
        let channels = ann.channels(None).await.expect("listed");
        let mut left = channels.iter().map(|channel| &channel.left);
        assert!(left.all(|left| left.contains(&id_of(&eve))));
        assert_eq!((channels.len(), asked.load(Ordering::Relaxed)), (3, 1));
    });
}

#[test]
fn page_of_users_that_was_not_asked_for_is_refused() {
    at_relay(async |relay| {
        let (ann, liar) = account(&relay, "Ann").await;
        let bob = relay.account("Bob").await;
        let ids = async || -> Result<Vec<Id>, ApiError> {
            let users = ann.api().users().await?;
            Ok(users.iter().map(|user| user.id).collect())
        };
        let all = [id_of(&ann), id_of(&bob)];
        assert_eq!(ids().await.expect("the truth"), all);
        type Change = fn(&mut Value);
        let lies: [(&str, Change); 3] = [
            ("reordered", |page| {
                page["users"].as_array_mut().expect("a page").reverse();
            }),
            ("more without any", |page| {
                *page = json!({"users": [], "has_more": true});
            }),
            // The same page again and again.
            ("more", |page| page["has_more"] = json!(true)),
        ];
        for (name, change) in lies {
            liar.changes("/users?", change);
            let lied = ids().await;
            assert!(matches!(lied, Err(ApiError::Malformed(_))), "{name}");
        }
        // One of before has no pages.
        liar.lies(|line, _| match line.contains("/users?") {
            true => Lied::Answer(404, json!({"error": {"code": "not_found", "message": ""}})),
            false => Lied::Truth,
        });
        assert_eq!(ids().await.expect("both lists"), all);
    });
}

#[test]
fn page_that_was_not_asked_for_is_refused() {
    at_relay(async |relay| {
        let (ann, liar, channel) = alone(&relay).await;
        for text in ["two", "three"] {
            ann.send(channel, text).await.expect("sent");
        }
        let first = ann.history(channel, Cursor::After(Id::ZERO), 1).await;
        let first = first.expect("a page").0[0].message.message_id;
        let read = || ann.history(channel, Cursor::After(first), 2);
        assert_eq!(read().await.expect("the truth").0.len(), 2);
        type Change = fn(&mut Value);
        let lies: [(&str, Change); 4] = [
            ("reordered", |page| {
                page["messages"].as_array_mut().expect("a page").reverse();
            }),
            ("one twice", |page| {
                page["messages"][1] = page["messages"][0].clone();
            }),
            ("one too many", |page| {
                let mut more = page["messages"][1].clone();
                more["message_id"] = json!(Id::generate());
                page["messages"].as_array_mut().expect("a page").push(more);
            }),
            // Who goes on reading would never come to an end.
            ("more without any", |page| {
                *page = json!({"messages": [], "has_more": true});
            }),
        ];
        for (name, change) in lies {
            liar.changes("/messages?", change);
            let lied = read().await;
            let is_refused = matches!(lied, Err(AccountError::Relay(ApiError::Malformed(_))));
            assert!(is_refused, "{name}: {lied:?}");
        }
        // The same page again and again.
        liar.tells_the_truth();
        let all = ann.history(channel, Cursor::After(Id::ZERO), 3).await;
        let same = json!({"messages": [all.expect("read").0[0].message], "has_more": true});
        liar.changes("/messages?", move |page| *page = same.clone());
        let lied = read().await;
        let is_refused = matches!(lied, Err(AccountError::Relay(ApiError::Malformed(_))));
        assert!(is_refused, "{lied:?}");
    });
}

#[test]
fn socket_that_dies_at_each_frame_loses_no_message() {
    at_relay(async |relay| {
        let (ann, liar) = account(&relay, "Ann").await;
        let bob = relay.account("Bob").await;
        let channel = made(&bob, &[&ann], None).await;
        // Before `ready`; in it; in the frame of a message.
        *liar.cuts.lock().expect("no panic") = [0, 40, 450].into();
        let mut events = Listener::new(Arc::clone(ann.api()));
        let said = ["one", "two"];
        let (mut bounds, mut heard) = (0, Vec::new());
        while heard.len() < said.len() {
            match timeout(PATIENCE, events.next()).await {
                Ok(Ok(Notice::Bound { .. })) => {
                    // What it missed, as every client reads it.
                    heard = texts(&ann, channel).await;
                    bob.send(channel, said[bounds]).await.expect("sent");
                    bounds += 1;
                }
                Ok(Ok(Notice::Event(Event::MessageCreated { message, .. }))) => {
                    let opened = ann.receive(channel, message).await.expect("received");
                    heard.push(text(opened.expect("new")));
                }
                Ok(Ok(Notice::Event(_) | Notice::Lost(_))) => {}
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(heard, said);
        assert_eq!(bounds, 2, "a frame was cut");
        assert!(
            liar.cuts.lock().expect("no panic").is_empty(),
            "all were met"
        );
    });
}

#[test]
fn full_disk_sends_nothing_and_says_so() {
    at_relay(async |relay| {
        let (ann, _liar, channel) = alone(&relay).await;
        let folder = ann.identity().folder().to_owned();
        away(&folder)();
        let refused = ann.send(channel, "two").await.expect_err("no disk");
        assert!(matches!(refused, AccountError::Disk(_)), "{refused}");
        back(&folder);
        assert_eq!(texts(&ann, channel).await, ["one"]);
        assert!(ann.flush().await.expect("nothing waits").is_empty());
        ann.send(channel, "three").await.expect("sent");
        assert_eq!(texts(&ann, channel).await, ["one", "three"]);
    });
}

/// As on a full disk, for whichever user: no file can be made in a folder that is away.
fn away(folder: &Path) -> impl Fn() + Send + 'static {
    let (folder, aside) = (folder.to_owned(), folder.with_extension("aside"));
    move || {
        // The first time alone.
        if folder.exists() {
            std::fs::rename(&folder, &aside).expect("moved");
        }
    }
}

fn back(folder: &Path) {
    std::fs::rename(folder.with_extension("aside"), folder).expect("moved back");
}

#[test]
fn disk_that_fills_up_behind_a_message_doubles_and_loses_none() {
    at_relay(async |relay| {
        let (ann, liar) = account(&relay, "Ann").await;
        let bob = relay.account("Bob").await;
        let channel = made(&ann, &[&bob], Some("one")).await;
        let folder = ann.identity().folder().to_owned();
        let fills = || {
            let away = away(&folder);
            liar.lies(move |line, _| {
                if is_post(line) {
                    away();
                }
                Lied::Truth
            });
        };
        // The relay has it, and that cannot be noted here.
        fills();
        let call = Once::call("evt_1");
        let sent = ann.send_once(call.clone(), channel, "two").await;
        assert!(sent.is_ok_and(|sent| !sent.is_repeated), "the relay has it");
        assert!(matches!(ann.fate(&call), Some(WriteStatus::Taken(..))));
        // Nothing goes out that is not on disk first.
        let refused = ann.send(channel, "three").await.expect_err("no disk");
        assert!(matches!(refused, AccountError::Disk(_)), "{refused}");
        back(&folder);
        liar.tells_the_truth();
        assert!(ann.flush().await.expect("nothing waits").is_empty());
        // Its key is old, and no new form of it can be kept: it goes out later.
        bob.rotate(channel).await.expect("rotated");
        fills();
        let kept = ann.send(channel, "four").await.expect_err("no disk");
        let is_kept = matches!(kept, AccountError::KeptHere(_)) && kept.is_kept();
        assert!(is_kept, "{kept}");
        back(&folder);
        liar.tells_the_truth();
        assert_eq!(ann.flush().await.expect("flushed").len(), 1);
        assert_eq!(texts(&ann, channel).await, ["one", "two", "four"]);
    });
}

#[test]
fn refused_message_of_the_outbox_is_reported_with_its_text() {
    at_relay(async |relay| {
        let (ann, liar, channel) = alone(&relay).await;
        let other = made(&ann, &[], Some("one")).await;
        liar.refuses_logins();
        ann.api().forget_token();
        let kept = ann.send(channel, "two").await.expect_err("kept");
        assert!(matches!(kept, AccountError::Kept(_)), "{kept}");
        liar.tells_the_truth();
        ann.api().archive(channel, true).await.expect("archived");
        // Whatever sends it: here the message behind it.
        ann.send(other, "three").await.expect("sent");
        let unsent = ann.unsent();
        let [unsent] = unsent.as_slice() else {
            panic!("{unsent:?}")
        };
        assert_eq!(unsent.channel_id, channel);
        assert_eq!(unsent.text.as_deref(), Some("two"));
        assert_eq!((&*unsent.why, unsent.may_be_there), ("archived", false));
        assert_eq!(ann.forget_unsent(&[unsent.id]).expect("kept"), 1);
        assert!(ann.unsent().is_empty());
    });
}

#[test]
fn devices_beyond_those_agreed_to_get_no_key() {
    at_relay(async |relay| {
        let (ann, liar) = account(&relay, "Ann").await;
        let bob = relay.account("Bob").await;
        let mut agreed = Agreed::default();
        agreed.add(&ann.api().user(id_of(&bob)).await.expect("a profile"));
        let members = [id_of(&bob)];
        let new = NewChannel {
            name: "b",
            members: &members,
            opening: None,
            agreed: Some(&agreed),
        };
        let channel = made(&ann, &[], None).await;
        // One more device, since the owner saw the card.
        let key = DeviceKey::generate().public().to_wire();
        let path = format!("/{} ", id_of(&bob));
        liar.changes(&path, move |profile| {
            let mut device = profile["devices"][0].clone();
            device["device_id"] = json!(Id::generate());
            device["public_key"] = json!(key);
            profile["devices"] = json!([profile["devices"][0], device]);
        });
        let not_agreed = |refused: &AccountError| matches!(refused, AccountError::Trouble(Trouble::NotAgreed { user_id }) if *user_id == id_of(&bob));
        let refused = ann.add_agreed(channel, id_of(&bob), Some(&agreed)).await;
        assert!(refused.is_err_and(|refused| not_agreed(&refused)));
        let refused = ann.create_as(None, new).await;
        assert!(refused.is_err_and(|refused| not_agreed(&refused)));
        assert!(bob.api().channels(None).await.expect("channels").is_empty());
        liar.tells_the_truth();
        let added = ann.add_agreed(channel, id_of(&bob), Some(&agreed)).await;
        added.expect("added");
        ann.create_as(None, new).await.expect("made");
        assert_eq!(bob.api().channels(None).await.expect("channels").len(), 2);
    });
}

#[test]
fn relay_that_asks_for_keys_of_a_stranger_gets_none() {
    at_relay(async |relay| {
        let (ann, liar) = account(&relay, "Ann").await;
        let bob = relay.account("Bob").await;
        let posts: Arc<Mutex<Vec<String>>> = Arc::default();
        let (stranger, seen) = (bob.identity().facts.device_id, Arc::clone(&posts));
        liar.lies(
            move |line, _| match line.starts_with("POST /v1/channels ") {
                true => {
                    seen.lock().expect("no panic").push(line.to_owned());
                    let detail = json!({"devices": [stranger]});
                    let error =
                        json!({"code": "keys_missing", "message": "more", "detail": detail});
                    Lied::Answer(422, json!({"error": error}))
                }
                false => Lied::Truth,
            },
        );
        let refused = ann.create("a", &[], Some("one")).await;
        let is_refused = matches!(refused, Err(AccountError::Relay(_)));
        assert!(is_refused, "{refused:?}");
        // It was asked once.
        assert_eq!(posts.lock().expect("no panic").len(), 1);
    });
}

fn is_rewound(held: u32, shown: u32) -> impl Fn(AccountError) -> bool {
    let rewound = Trouble::Rewound { held, shown };
    move |why| matches!(why, AccountError::Trouble(why) if why == rewound)
}

/// A copy of the store as it is now.
fn copied(relay: &mut Relay) -> PathBuf {
    let copy = relay.folder.path().join("copy.redb");
    relay.stop();
    std::fs::copy(relay.store(), &copy).expect("a copy");
    relay.go_on(None);
    copy
}

fn put_back(relay: &mut Relay, copy: &Path) {
    relay.stop();
    std::fs::copy(copy, relay.store()).expect("put back");
    relay.go_on(None);
}

#[test]
fn restored_older_store_is_brought_forward_by_members() {
    story(async {
        let mut relay = Relay::start();
        let [ann, bob, cid, dan] = relay.accounts(["Ann", "Bob", "Cid", "Dan"]).await;
        let channel = made(&ann, &[&bob, &dan], Some("one")).await;
        let copy = copied(&mut relay);
        let added = ann.add_member(channel, id_of(&cid)).await;
        added.expect("added");
        let removed = bob.remove_member(channel, id_of(&dan)).await;
        removed.expect("removed");
        ann.send(channel, "lost").await.expect("sent");
        put_back(&mut relay, &copy);
        // The next version is Ann's, and that behind it Bob's.
        let refused = bob.send(channel, "no").await;
        assert!(refused.is_err_and(is_rewound(3, 1)));
        let refused = bob.rotate(channel).await;
        assert!(refused.is_err_and(is_rewound(3, 1)));
        let refused = ann.send(channel, "no").await;
        assert!(refused.is_err_and(is_rewound(3, 2)));
        bob.send(channel, "two").await.expect("sent");
        ann.send(channel, "three").await.expect("sent");
        assert_eq!(texts(&cid, channel).await, ["one", "two", "three"]);
        let of_dan = dan.api().channels(None).await.expect("channels");
        assert!(of_dan.is_empty());
        ann.rotate(channel).await.expect("a new key");
    });
}

#[test]
fn removal_at_an_older_store_is_not_taken_back() {
    story(async {
        let mut relay = Relay::start();
        let [ann, bob, cid] = relay.accounts(["Ann", "Bob", "Cid"]).await;
        let channel = made(&ann, &[&bob], Some("one")).await;
        let copy = copied(&mut relay);
        let added = ann.add_member(channel, id_of(&cid)).await;
        added.expect("added");
        bob.send(channel, "lost").await.expect("sent");
        put_back(&mut relay, &copy);
        // Cid is no member there, and Ann's version would make him one again.
        let refused = bob.remove_member(channel, id_of(&cid)).await;
        assert!(refused.is_err_and(is_rewound(2, 1)));
        let removed = ann.remove_member(channel, id_of(&cid)).await;
        removed.expect("removed");
        ann.send(channel, "two").await.expect("sent");
        let of_cid = cid.api().channels(None).await.expect("channels");
        assert!(of_cid.is_empty());
        assert_eq!(texts(&bob, channel).await, ["one", "two"]);
    });
}

#[test]
fn restored_older_store_is_named_where_the_key_is_lost() {
    story(async {
        let mut relay = Relay::start();
        let [ann, bob] = relay.accounts(["Ann", "Bob"]).await;
        let channel = made(&ann, &[&bob], Some("one")).await;
        let copy = copied(&mut relay);
        ann.rotate(channel).await.expect("a new key");
        put_back(&mut relay, &copy);
        // Keys are on no disk of a client.
        let ann = reopened(&relay, ann);
        let refused = ann.send(channel, "two").await;
        assert!(refused.is_err_and(is_rewound(2, 1)));
        let refused = ann.rotate(channel).await;
        assert!(refused.is_err_and(is_rewound(2, 1)));
        // A member who has not seen the later key writes on.
        bob.send(channel, "three").await.expect("sent");
        assert_eq!(texts(&bob, channel).await, ["one", "three"]);
    });
}

#[test]
fn last_number_that_a_relay_invents_stops_no_channel() {
    at_relay(async |relay| {
        let (ann, liar, channel) = alone(&relay).await;
        for last in [u64::MAX, (1 << 52) + 1] {
            let conflict = json!({"error": {"code": "seq_conflict", "message": "no", "detail": {"last_seq": last}}});
            liar.lies(move |line, _| match is_post(line) {
                true => Lied::Answer(409, conflict.clone()),
                false => Lied::Truth,
            });
            let lost = ann.send(channel, "lost").await;
            assert!(matches!(lost, Err(AccountError::Unsettled)), "{lost:?}");
        }
        liar.tells_the_truth();
        let sent = ann.send(channel, "two").await.expect("sent");
        assert!(sent.seq < 100, "{}", sent.seq);
        let said = texts(&ann, channel).await;
        assert_eq!(said.last().map(String::as_str), Some("two"));
    });
}

#[test]
fn tool_shows_the_key_that_is_pinned() {
    at_relay(async |relay| {
        let (ann, liar) = account(&relay, "Ann").await;
        let bob = relay.account("Bob").await;
        let tools = Tools::new(Arc::clone(&ann));
        let shown = async || {
            let asked = json!({"agent_id": id_of(&bob)});
            let asked = asked.as_object().expect("an object").clone();
            let shown = tools.call("get_agent", asked).await.expect("a tool");
            shown["structuredContent"]["fingerprint"].clone()
        };
        let own = bob.identity().key.public().shown_fingerprint();
        assert_eq!(shown().await, json!(own));
        let key = DeviceKey::generate().public().to_wire();
        liar.changes("/v1/agents/", move |profile| {
            profile["devices"][0]["public_key"] = json!(key);
        });
        assert_eq!(shown().await, json!(own));
        assert_eq!(ann.take_refused_devices().len(), 1, "and it is told");
    });
}

#[test]
fn refused_registration_leaves_no_key() {
    story(async {
        let mut relay = Relay::start();
        let root = relay.folder.path().join("Eve");
        let home = Home::at(&root).expect("a home");
        let agents = root.join("agents");
        let entries = || std::fs::read_dir(&agents).expect("a folder").count();
        let endpoint = relay.endpoint.clone();
        let register = async |invitation: &str| {
            let registration = Registration {
                endpoint: endpoint.clone(),
                invitation: invitation.to_owned().into(),
                first_name: None,
                last_name: None,
                skills: Vec::new(),
            };
            home.register(Arc::new(Direct::default()), &registration)
                .await
        };
        let refused = register("plxinv_of_nobody").await.err();
        assert!(
            matches!(&refused, Some(IdentityError::Relay(why)) if why.code() == Some(Code::InvalidInvitation)),
            "{refused:?}"
        );
        assert_eq!(entries(), 0);
        // One that nobody has judged stays, and is gone on with.
        let invitation = relay.invitation();
        relay.kill();
        let away = register(&invitation).await.err();
        assert!(
            matches!(
                away,
                Some(IdentityError::Relay(ApiError::Unreachable { .. }))
            ),
            "{away:?}"
        );
        assert_eq!(entries(), 1);
        relay.go_on(None);
        register(&invitation).await.expect("registered");
        assert_eq!(entries(), 1);
    });
}
