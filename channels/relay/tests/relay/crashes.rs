//! Ends in the middle: what was answered is there afterwards, in its order.

use crate::harness::{Relay, history, id_of, made, story, texts};
use plexus_channels::Account;
use plexus_channels::account::AccountError;
use plexus_channels::api::ApiError;
use plexus_channels::dial::Direct;
use plexus_channels::identity::Home;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

#[test]
fn answered_message_survives_kill_and_resend_is_no_second_one() {
    story(async {
        let mut relay = Relay::start();
        let accounts = relay.accounts(["A", "B", "C", "D"]).await;
        let members: Vec<&Account> = accounts.iter().map(|account| &**account).collect();
        let channel = made(&accounts[0], &members, None).await;
        let mut answered = BTreeMap::new();
        for round in 0..4 {
            let stop = Arc::new(AtomicBool::new(false));
            let senders: Vec<_> = accounts
                .iter()
                .map(|account| {
                    let (account, stop) = (Arc::clone(account), Arc::clone(&stop));
                    tokio::spawn(async move {
                        let (mut answered, mut n) = (Vec::new(), 0);
                        while !stop.load(Ordering::Relaxed) {
                            let text = format!("{} {round} {n}", id_of(&account));
                            n += 1;
                            match account.send(channel, &text).await {
                                Ok(sent) => answered.push((sent.message_id, text)),
                                // The message waits in the outbox.
                                Err(AccountError::Relay(error) | AccountError::Kept(error))
                                    if error.is_passing() =>
                                {
                                    break;
                                }
                                Err(other) => panic!("{other}"),
                            }
                        }
                        answered
                    })
                })
                .collect();
            // Some have been answered, others are under way.
            let (watcher, floor) = (&accounts[0], answered.len());
            while history(watcher, channel).await.len() < floor + 30 {}
            relay.kill();
            stop.store(true, Ordering::Relaxed);
            for sender in senders {
                answered.extend(sender.await.expect("ends"));
            }
            // The clock goes back by a day while the relay is away.
            relay.go_on((cfg!(target_os = "linux") && round % 2 == 0).then_some("-1d"));
            for account in &accounts {
                for sent in account.flush().await.expect("flushed") {
                    answered.insert(sent.message_id, String::new());
                }
            }
        }
        let all = history(&accounts[1], channel).await;
        assert!(all.iter().map(|(id, _)| id).is_sorted_by(|a, b| a < b));
        let mut texts: Vec<_> = all.iter().map(|(_, text)| text).collect();
        let stored: BTreeMap<_, _> = all.iter().cloned().collect();
        for (id, text) in &answered {
            let found = stored.get(id);
            assert!(
                found.is_some_and(|found| text.is_empty() || found == text),
                "{id} {text} was lost"
            );
        }
        texts.sort();
        let many = texts.len();
        texts.dedup();
        assert_eq!(texts.len(), many, "a message stands twice");
        assert!(answered.len() > 100, "{}", answered.len());
    });
}

#[test]
fn kept_message_that_is_refused_later_holds_up_no_other() {
    story(async {
        let mut relay = Relay::start();
        let ann = relay.account("Ann").await;
        let archived = made(&ann, &[], Some("one")).await;
        let other = made(&ann, &[], Some("one")).await;
        relay.kill();
        let away = ann.send(archived, "two").await.expect_err("away");
        assert!(matches!(away, AccountError::Kept(_)), "{away}");
        relay.go_on(None);
        ann.api().archive(archived, true).await.expect("archived");
        ann.send(other, "two").await.expect("sent");
        let refused = ann.send(archived, "three").await.expect_err("archived");
        assert!(!refused.is_kept(), "{refused}");
        ann.flush().await.expect("nothing is left");
        assert_eq!(texts(&ann, archived).await, ["one"]);
    });
}

#[test]
fn kept_message_refused_after_crash_is_listed_with_its_text() {
    story(async {
        let mut relay = Relay::start();
        let [ann, bob] = relay.accounts(["Ann", "Bob"]).await;
        let channel = bob.create("plans", &[id_of(&ann)], None).await;
        let channel = channel.expect("made").id;
        let shown = ann.api().channel(channel).await.expect("shown");
        ann.name_of(&shown).await.expect("opened");
        relay.kill();
        let away = ann.send(channel, "two").await.expect_err("away");
        assert!(matches!(away, AccountError::Kept(_)), "{away}");
        relay.go_on(None);
        bob.remove_member(channel, id_of(&ann))
            .await
            .expect("removed");
        // Each time another process, as after a crash: it gets no key of the channel any more.
        let ann = reopened(&relay, ann);
        ann.flush().await.expect_err("refused");
        let ann = reopened(&relay, ann);
        let unsent = ann.unsent();
        let [unsent] = unsent.as_slice() else {
            panic!("{unsent:?}")
        };
        assert_eq!(unsent.channel_id, channel);
        assert_eq!(unsent.channel_name.as_deref(), Some("plans"));
        assert_eq!(unsent.text.as_deref(), Some("two"));
        assert!(unsent.may_be_there && !unsent.why.is_empty(), "{unsent:?}");
        assert_eq!(ann.forget_unsent(&[unsent.id]).expect("kept"), 1);
        let ann = reopened(&relay, ann);
        assert!(ann.unsent().is_empty() && ann.flush().await.expect("nothing waits").is_empty());
    });
}

/// The account of Ann, as another process opens it.
pub(crate) fn reopened(relay: &Relay, ann: Arc<Account>) -> Arc<Account> {
    let folder = ann.identity().folder().to_owned();
    drop(ann);
    let name = folder.file_name().and_then(|name| name.to_str());
    let home = Home::at(&relay.folder.path().join("Ann")).expect("a home");
    let identity = home.open(name.expect("a name")).expect("opens");
    let account = Account::open(identity, Arc::new(Direct::default()));
    Arc::new(account.expect("opens"))
}

#[test]
fn message_sent_while_the_relay_is_away_goes_out_once_later() {
    story(async {
        let mut relay = Relay::start();
        let ann = relay.account("Ann").await;
        let channel = made(&ann, &[], Some("one")).await;
        ann.send(channel, "two").await.expect("sent");
        relay.kill();
        let away = ann.send(channel, "three").await.expect_err("away");
        assert!(matches!(
            away,
            AccountError::Kept(ApiError::Unreachable { .. })
        ));
        let folder = ann.identity().folder().to_owned();
        let state = || -> serde_json::Value {
            let state = std::fs::read(folder.join("state.json")).expect("state");
            serde_json::from_slice(&state).expect("JSON")
        };
        assert_eq!(state()["outbox"][0]["post"]["seq"], 3);
        relay.go_on(None);
        // As after a crash between the relay's answer and its note here: the next process sends the same bytes.
        let outbox = std::fs::read(folder.join("state.json")).expect("state");
        ann.flush().await.expect("flushed");
        assert_eq!(state()["outbox"], serde_json::json!([]));
        std::fs::write(folder.join("state.json"), outbox).expect("written");
        let ann = reopened(&relay, ann);
        ann.send(channel, "four").await.expect("sent");
        let all = ["one", "two", "three", "four"];
        assert_eq!(texts(&ann, channel).await, all);
    });
}
