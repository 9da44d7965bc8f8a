//! Key versions: one successor, of a member, whatever the relay shows.

use crate::harness::{Relay, at_relay, id_of, made, text, texts};
use crate::liar::{Liar, Lied, account, reopened};
use plexus_channels::account::{Account, AccountError, Agreed, KeyNews, Opened, Standing, Trouble};
use plexus_channels::api::Cursor;
use plexus_channels::chain::{Chain, Draft, Print, StateView};
use plexus_channels::crypto::WrapContext;
use plexus_channels::wire::{Code, CreateChannel, KeyState, Rotate, Wrap};
use plexus_channels::{ChannelKey, Id};
use serde_json::json;
use std::collections::BTreeSet;
use std::sync::Arc;

/// What a member reads of a channel; of what does not open why.
async fn read(account: &Account, channel: Id) -> Vec<Result<String, Trouble>> {
    let page = account.history(channel, Cursor::After(Id::ZERO), 200).await;
    let opened = page.expect("a page").0.into_iter();
    let read = |opened: Opened| match &opened.content {
        Ok(_) => Ok(text(opened)),
        Err(trouble) => Err(trouble.clone()),
    };
    opened.map(read).collect()
}

fn newest(account: &Account, channel: Id) -> StateView {
    match account.standing(channel).expect("known") {
        Standing::Authenticated { newest, .. } => newest,
        other => panic!("{other:?}"),
    }
}

fn print_of(account: &Account) -> Print {
    Print::of_key(account.identity().key.public())
}

/// The chain of a channel, as the relay has it, up to a version.
async fn chain(account: &Account, channel: Id, version: u32) -> Chain {
    let keys = account.api().keys(channel, 0).await.expect("keys");
    let mut chain = Chain::new(channel);
    for state in keys
        .states
        .into_iter()
        .filter(|state| state.key_version <= version)
    {
        chain.take(state).expect("taken");
    }
    chain
}

/// A state that an account signs behind a chain, for the members of the chain and itself.
fn signed(chain: &Chain, by: &Account) -> KeyState {
    let (facts, key) = (&by.identity().facts, &by.identity().key);
    let version = chain.newest().unwrap_or(0);
    let mut members = chain.members(version);
    members.insert(facts.device_id, (facts.agent_id, key.public().clone()));
    let draft = Draft {
        key_version: version + 1,
        members: &members,
        key: &ChannelKey::generate(),
        earlier: Vec::new(),
        by: (facts.agent_id, facts.device_id),
    };
    chain.signed(draft, key).expect("signed")
}

/// From now on the answers with key states are what `change` makes of them.
fn shows(liar: &Liar, change: impl Fn(Vec<KeyState>) -> Vec<KeyState> + Send + 'static) {
    liar.changes("/keys?", move |answer| {
        if let Ok(states) = serde_json::from_value(answer["states"].take()) {
            answer["states"] = json!(change(states));
        }
    });
}

/// Whether a channel's member is told that two keys of a version are signed, by these.
fn is_stopped<T>(result: &Result<T, AccountError>, held: &Account, second: &Account) -> bool {
    matches!(
        result,
        Err(AccountError::Trouble(Trouble::Stopped(both)))
            if both.held.is_some_and(|one| one.key == Some(print_of(held)) && one.state != both.other.state)
                && both.other.key == Some(print_of(second))
    )
}

#[test]
fn two_rotations_at_once_leave_one_successor() {
    at_relay(async |relay| {
        let [ann, bob] = relay.accounts(["Ann", "Bob"]).await;
        let channel = made(&ann, &[&bob], Some("one")).await;
        bob.send(channel, "two").await.expect("sent");
        for _ in 0..4 {
            let (one, other) = tokio::join!(ann.rotate(channel), bob.rotate(channel));
            one.expect("rotated");
            other.expect("rotated");
        }
        ann.send(channel, "three").await.expect("sent");
        bob.send(channel, "four").await.expect("sent");
        assert_eq!(newest(&ann, channel), newest(&bob, channel));
        for account in [&ann, &bob] {
            let all = ["one", "two", "three", "four"];
            assert_eq!(texts(account, channel).await, all);
        }
    });
}

#[test]
fn second_successor_stops_the_channel_and_both_are_shown() {
    at_relay(async |relay| {
        let (ann, liar) = account(&relay, "Ann").await;
        let [bob, carol] = relay.accounts(["Bob", "Carol"]).await;
        let channel = made(&bob, &[&ann, &carol], Some("one")).await;
        assert_eq!(texts(&ann, channel).await, ["one"]);
        // Two members have signed a version 2: the relay took one, and shows Ann the other one too.
        let second = signed(&chain(&carol, channel, 1).await, &carol);
        bob.rotate(channel).await.expect("rotated");
        bob.send(channel, "two").await.expect("sent");
        assert_eq!(texts(&ann, channel).await, ["one", "two"]);
        shows(&liar, move |mut states| {
            states.push(second.clone());
            states
        });
        ann.look_at_keys(channel).await.expect("looked");
        let sent = ann.send(channel, "three").await;
        assert!(is_stopped(&sent, &bob, &carol), "{sent:?}");
        let told = ann.take_key_news();
        let stop = |news: &KeyNews| matches!(news, KeyNews::Refused(at, Trouble::Stopped(_)) if *at == channel);
        assert_eq!(told.iter().filter(|news| stop(news)).count(), 1, "{told:?}");
        // For good, also in another process; what came before opens still.
        liar.tells_the_truth();
        drop(ann);
        let ann = reopened(&relay, "Ann", &liar);
        let sent = ann.send(channel, "three").await;
        assert!(is_stopped(&sent, &bob, &carol), "{sent:?}");
        let rotated = ann.rotate(channel).await;
        assert!(is_stopped(&rotated, &bob, &carol), "{rotated:?}");
        let opened = read(&ann, channel).await;
        assert_eq!(opened[0].as_deref(), Ok("one"));
        assert!(matches!(opened[1], Err(Trouble::Stopped(_))), "{opened:?}");
        // Nothing was sent.
        assert_eq!(texts(&bob, channel).await, ["one", "two"]);
    });
}

#[test]
fn states_of_strangers_and_gaps_are_refused_and_the_honest_ones_walked() {
    at_relay(async |relay| {
        let (ann, liar) = account(&relay, "Ann").await;
        let [bob, eve] = relay.accounts(["Bob", "Eve"]).await;
        let channel = made(&bob, &[&ann], Some("one")).await;
        assert_eq!(texts(&ann, channel).await, ["one"]);
        drop(ann);
        // Ann is away for three versions.
        for text in ["two", "three", "four"] {
            bob.rotate(channel).await.expect("rotated");
            bob.send(channel, text).await.expect("sent");
        }
        let injected = signed(&chain(&bob, channel, 1).await, &eve);
        let ann = reopened(&relay, "Ann", &liar);
        // A stranger's state in the place of the next one; the next one left out.
        let shown = injected.clone();
        shows(&liar, move |_| vec![shown.clone()]);
        let sent = ann.send(channel, "five").await;
        let (held_by, eves) = (Some(print_of(&bob)), Some(print_of(&eve)));
        let of_eve = move |trouble: &Trouble| {
            matches!(
                trouble,
                Trouble::NoSuccessor(both)
                    if both.held.is_some_and(|held| (held.key_version, held.key) == (1, held_by))
                        && (both.other.key_version, both.other.key) == (2, eves)
            )
        };
        assert!(
            matches!(&sent, Err(AccountError::Trouble(trouble)) if of_eve(trouble)),
            "{sent:?}"
        );
        let opened = read(&ann, channel).await;
        assert_eq!(opened[0].as_deref(), Ok("one"));
        assert!(
            opened[1..].iter().all(|it| it.as_ref().is_err_and(of_eve)),
            "{opened:?}"
        );
        shows(&liar, |states| states.into_iter().skip(1).collect());
        let sent = ann.send(channel, "five").await;
        assert!(
            matches!(&sent, Err(AccountError::Trouble(Trouble::NoSuccessor(both))) if both.other.key_version == 3),
            "{sent:?}"
        );
        // The truth, link by link.
        liar.tells_the_truth();
        ann.send(channel, "five").await.expect("sent");
        let all = ["one", "two", "three", "four", "five"];
        assert_eq!(texts(&ann, channel).await, all);
        assert_eq!(newest(&ann, channel).key_version, 4);
    });
}

#[test]
fn relay_brings_nobody_into_the_next_key_and_a_removed_member_out_of_it() {
    at_relay(async |relay| {
        let (ann, liar) = account(&relay, "Ann").await;
        let [bob, carol, eve] = relay.accounts(["Bob", "Carol", "Eve"]).await;
        let channel = made(&ann, &[&bob, &carol], Some("one")).await;
        let (path, of_eve) = (format!("GET /v1/channels/{channel} "), id_of(&eve));
        let listed = json!({"id": of_eve, "kind": "agent", "name": "Carol"});
        liar.changes(&path, move |channel| {
            let members = channel["members"].as_array_mut().expect("members");
            members.push(listed.clone());
        });
        // The honest relay behind the liar would take no key of hers: none was made.
        ann.rotate(channel).await.expect("rotated");
        let shown = ann.channel(channel).await.expect("a channel");
        let ids: BTreeSet<_> = shown.members.iter().map(|member| member.id).collect();
        assert_eq!(ids, [&ann, &bob, &carol].map(|of| id_of(of)).into());
        liar.tells_the_truth();
        // Who is removed has no further key, and all others are told.
        bob.look_at_keys(channel).await.expect("looked");
        bob.take_key_news();
        let removed = ann.remove_member(channel, id_of(&carol)).await;
        removed.expect("removed");
        ann.send(channel, "two").await.expect("sent");
        bob.look_at_keys(channel).await.expect("looked");
        let told = bob.take_key_news();
        let is_told = |news: &KeyNews| matches!(news, KeyNews::Renewed { state, removed, .. } if state.key == Some(print_of(&ann)) && *removed == [id_of(&carol)]);
        assert!(told.iter().any(is_told), "{told:?}");
        let keys = carol.api().keys(channel, 0).await.map(drop);
        assert_eq!(keys.expect_err("no member").code(), Some(Code::NotFound));
        // Back again, she reads on from the state that she held, and what was written meanwhile.
        bob.add_member(channel, id_of(&carol)).await.expect("added");
        assert_eq!(texts(&carol, channel).await, ["one", "two"]);
        assert_eq!(newest(&carol, channel), newest(&bob, channel));
    });
}

#[test]
fn rejoined_member_is_led_to_no_other_chain() {
    at_relay(async |relay| {
        let (ann, liar) = account(&relay, "Ann").await;
        let [bob, eve] = relay.accounts(["Bob", "Eve"]).await;
        let channel = made(&bob, &[&ann], Some("one")).await;
        assert_eq!(texts(&ann, channel).await, ["one"]);
        let removed = bob.remove_member(channel, id_of(&ann)).await;
        removed.expect("removed");
        ann.keep_channels(&[]).expect("forgotten");
        bob.add_member(channel, id_of(&ann)).await.expect("added");
        // A whole chain of the relay's own, that names everybody with their true keys.
        let mut own = Chain::new(channel);
        let first = signed(&own, &eve);
        own.take(first.clone()).expect("taken");
        let states = vec![first, signed(&own, &eve)];
        shows(&liar, move |_| states.clone());
        let sent = ann.send(channel, "two").await;
        assert!(
            matches!(sent, Err(AccountError::Trouble(Trouble::NoSuccessor(_)))),
            "{sent:?}"
        );
        liar.tells_the_truth();
        ann.send(channel, "two").await.expect("sent");
        assert_eq!(texts(&bob, channel).await, ["one", "two"]);
    });
}

/// The relay tells key states by pages of 100.
#[test]
fn chain_of_many_pages_is_walked() {
    at_relay(async |relay| {
        let (ann, liar) = account(&relay, "Ann").await;
        let [bob, carol] = relay.accounts(["Bob", "Carol"]).await;
        let channel = made(&bob, &[&ann], Some("one")).await;
        assert_eq!(texts(&ann, channel).await, ["one"]);
        drop(ann);
        let mut all = vec!["one".to_owned()];
        for number in 1..=105 {
            bob.rotate(channel).await.expect("rotated");
            if [1, 100, 101, 105].contains(&number) {
                let text = format!("of {number}");
                bob.send(channel, &text).await.expect("sent");
                all.push(text);
            }
        }
        let ann = reopened(&relay, "Ann", &liar);
        // A relay that says again and again that there is more brings nobody to ask without end.
        let pages = bob.api().keys(channel, 0).await.expect("keys");
        assert!(pages.has_more, "the control: {} states", pages.states.len());
        liar.changes("/keys?", move |answer| {
            answer["states"] = json!(pages.states);
            answer["has_more"] = json!(true);
        });
        ann.send(channel, "lied to")
            .await
            .expect_err("states that were not asked for");
        liar.tells_the_truth();
        // Who was away for all of it, and who comes now.
        assert_eq!(texts(&ann, channel).await, all);
        assert_eq!(newest(&ann, channel).key_version, 106);
        ann.send(channel, "back").await.expect("sent");
        all.push("back".to_owned());
        bob.add_member(channel, id_of(&carol)).await.expect("added");
        for account in [&bob, &carol] {
            assert_eq!(texts(account, channel).await, all);
        }
    });
}

/// A channel's key of a version that no state has, wrapped by one account for another.
fn wrapped(key: &ChannelKey, of: (Id, u32), by: &Account, to: &Account) -> Wrap {
    let context = WrapContext {
        channel_id: of.0,
        key_version: of.1,
        sender_device_id: by.identity().facts.device_id,
        recipient_device_id: to.identity().facts.device_id,
        recipient: to.identity().key.public(),
        state: None,
    };
    by.identity().key.wrap(key, &context)
}

/// A channel as a client of before made it: its key is signed by nobody.
async fn unsigned(by: &Account, with: &[&Account]) -> Id {
    let (channel, key) = (Id::generate(), ChannelKey::generate());
    let facts = &by.identity().facts;
    let wrap = |to: &Account| wrapped(&key, (channel, 1), by, to);
    let create = CreateChannel {
        channel_id: channel,
        name: key.seal_name(channel, (1, None), facts.device_id, "of before"),
        members: with.iter().map(|one| id_of(one)).collect(),
        keys: with.iter().copied().chain([by]).map(wrap).collect(),
        message: None,
        state: None,
    };
    by.api().create(&create).await.expect("made");
    channel
}

/// An account whose files are those of a client of before, which has read up to a message of a channel.
async fn of_before(
    relay: &Relay,
    account: Arc<Account>,
    name: &str,
    liar: &Arc<Liar>,
    channel: Id,
) -> Arc<Account> {
    account
        .advance(&[(channel, Id::from_parts(1, 1))])
        .await
        .expect("kept");
    let chains = account.identity().folder().join("chains");
    drop(account);
    std::fs::remove_dir_all(chains).expect("removed");
    reopened(relay, name, liar)
}

#[test]
fn channel_of_before_is_unauthenticated_until_a_member_signs() {
    at_relay(async |relay| {
        let (ann, liar) = account(&relay, "Ann").await;
        let (bob, bobs) = account(&relay, "Bob").await;
        let carol = relay.account("Carol").await;
        let channel = unsigned(&bob, &[&ann]).await;
        // To a client of now it is new, and not used.
        let sent = ann.send(channel, "zero").await;
        assert!(
            matches!(sent, Err(AccountError::Trouble(Trouble::Unsigned))),
            "{sent:?}"
        );
        let ann = of_before(&relay, ann, "Ann", &liar, channel).await;
        let bob = of_before(&relay, bob, "Bob", &bobs, channel).await;
        for account in [&ann, &bob] {
            assert_eq!(
                account.standing(channel).expect("known"),
                Standing::Unauthenticated
            );
        }
        bob.send(channel, "one").await.expect("sent");
        assert_eq!(texts(&ann, channel).await, ["one"]);
        for refused in [
            ann.add_member(channel, id_of(&carol)).await,
            ann.rotate(channel).await,
        ] {
            let is_so = matches!(
                refused,
                Err(AccountError::Trouble(Trouble::Unauthenticated))
            );
            assert!(is_so, "{refused:?}");
        }
        // On a card with the members and their keys, a member signs the first state.
        let mut agreed = Agreed::default();
        agreed.add(&ann.api().user(id_of(&bob)).await.expect("a profile"));
        ann.authenticate(channel, &agreed).await.expect("signed");
        ann.send(channel, "two").await.expect("sent");
        assert_eq!(texts(&bob, channel).await, ["one", "two"]);
        let told = bob.take_key_news();
        let began = |news: &KeyNews| matches!(news, KeyNews::Began(at, state) if *at == channel && state.key == Some(print_of(&ann)));
        assert!(told.iter().any(began), "{told:?}");
        assert_eq!(newest(&bob, channel).key_version, 2);
        bob.add_member(channel, id_of(&carol)).await.expect("added");
        assert_eq!(texts(&carol, channel).await, ["one", "two"]);
        // There is no way back, for a client of before and for the relay.
        let rotate = Rotate {
            key_version: 4,
            keys: Vec::new(),
            state: None,
        };
        let refused = bob.api().rotate(channel, &rotate).await;
        assert_eq!(
            refused.expect_err("refused").code(),
            Some(Code::KeysMissing)
        );
        shows(&liar, |_| Vec::new());
        let keyless = ann.send(channel, "three").await;
        keyless.expect_err("it has no key of version 3");
        liar.tells_the_truth();
        ann.send(channel, "three").await.expect("sent");
        assert_eq!(texts(&carol, channel).await, ["one", "two", "three"]);
    });
}

#[test]
fn relay_that_hides_all_states_gets_no_message() {
    at_relay(async |relay| {
        let (ann, liar) = account(&relay, "Ann").await;
        let bob = relay.account("Bob").await;
        let channel = made(&bob, &[&ann], Some("one")).await;
        shows(&liar, |_| Vec::new());
        let sent = ann.send(channel, "two").await;
        assert!(
            matches!(sent, Err(AccountError::Trouble(Trouble::Unsigned))),
            "{sent:?}"
        );
        liar.tells_the_truth();
        ann.send(channel, "two").await.expect("sent");
        assert_eq!(texts(&bob, channel).await, ["one", "two"]);
    });
}

#[test]
fn key_that_a_stranger_wrapped_is_not_held() {
    at_relay(async |relay| {
        let (ann, liar) = account(&relay, "Ann").await;
        let [bob, eve] = relay.accounts(["Bob", "Eve"]).await;
        let channel = made(&bob, &[&ann], Some("one")).await;
        let key = ChannelKey::from_bytes([9; 32]);
        let mut wrap = json!(wrapped(&key, (channel, 2), &eve, &ann));
        wrap["sender_id"] = json!(id_of(&eve));
        wrap["sender_public_key"] = json!(eve.identity().key.public().to_wire());
        let path = format!("/v1/channels/{channel}");
        liar.lies(move |line, answer| {
            let mut answer = answer.clone();
            if line.contains(&format!("{path}/keys")) && answer["keys"].is_array() {
                answer["keys"]
                    .as_array_mut()
                    .expect("keys")
                    .push(wrap.clone());
            } else if line.contains(&format!("GET {path} ")) {
                answer["key_version"] = json!(2);
            } else {
                return Lied::Truth;
            }
            Lied::Answer(200, answer)
        });
        // Bob's honest key, not that of a user whom the relay shows, is what Ann writes under.
        let sent = ann.send(channel, "two").await.expect("sent");
        assert_eq!(sent.key_version, 1);
        assert!(!ann.held_keys(channel).contains(&[9; 32]));
        assert_eq!(texts(&bob, channel).await, ["one", "two"]);
    });
}
