//! A cluster of three that loses the node that leads the stream: no acknowledged message is lost, and each channel keeps its
//! order.

use crate::harness::{FREELY, Relay, history, id_of, story};
use crate::nats::Nats;
use plexus_channels::account::AccountError;
use plexus_channels::{Account, Id};
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::sync::watch;

/// The node that leads the stream.
async fn leader(nats: &Nats) -> usize {
    let urls = nats.url();
    let (scheme, hosts) = urls.split_once("://").expect("a URL");
    let hosts: Vec<_> = hosts
        .split(',')
        .map(|host| format!("{scheme}://{host}"))
        .collect();
    let client = async_nats::connect(hosts).await.expect("connected");
    let context = async_nats::jetstream::new(client);
    let stream = context.get_stream("plexus-relay").await.expect("a stream");
    let info = stream.cached_info();
    assert_eq!(info.config.num_replicas, 3);
    let leader = info
        .cluster
        .as_ref()
        .and_then(|cluster| cluster.leader.as_deref());
    let leader = leader.and_then(|name| name.strip_prefix('n'));
    leader.and_then(|n| n.parse().ok()).expect("a leader")
}

/// Sends until told to stop: what was acknowledged.
async fn send(
    account: Arc<Account>,
    channel: Id,
    stop: watch::Receiver<bool>,
    done: Arc<watch::Sender<usize>>,
) -> BTreeMap<Id, String> {
    let mut acknowledged = BTreeMap::new();
    let mut n = 0;
    loop {
        let text = format!("{} {n}", id_of(&account));
        n += 1;
        match account.send(channel, &text).await {
            Ok(sent) => acknowledged.insert(sent.message_id, text),
            // It waits in the outbox: the same bytes again.
            Err(AccountError::Kept(error)) if error.is_passing() => loop {
                match account.flush().await {
                    Ok(sent) => {
                        let [sent] = sent.as_slice() else {
                            panic!("{sent:?}")
                        };
                        break acknowledged.insert(sent.message_id, text);
                    }
                    Err(AccountError::Relay(error)) if error.is_passing() => {
                        tokio::task::yield_now().await;
                    }
                    Err(other) => panic!("{other}"),
                }
            },
            Err(AccountError::Relay(error)) if error.is_passing() => continue,
            Err(other) => panic!("{other}"),
        };
        done.send_modify(|done| *done += 1);
        if *stop.borrow() {
            return acknowledged;
        }
    }
}

/// The history of a channel, once its relay has followed the log to so many messages: it may be behind the other relay.
async fn followed(account: &Account, channel: Id, many: usize) -> Vec<(Id, String)> {
    loop {
        let all = history(account, channel).await;
        if all.len() >= many {
            return all;
        }
        tokio::task::yield_now().await;
    }
}

#[test]
fn lost_leader_of_a_cluster_loses_no_acknowledged_message() {
    story(async {
        let mut nats = Nats::three();
        let relays = [(), ()].map(|()| Relay::start_on(Some(nats.url()), &FREELY));
        let mut accounts = Vec::new();
        for (n, relay) in relays.iter().cycle().take(4).enumerate() {
            accounts.push(relay.account(&format!("A{n}")).await);
        }
        let members: Vec<Id> = accounts.iter().map(|account| id_of(account)).collect();
        let mut channels = Vec::new();
        for name in ["a", "b"] {
            channels.push(
                accounts[0]
                    .create(name, &members, None)
                    .await
                    .expect("made")
                    .id,
            );
        }
        let done = Arc::new(watch::Sender::new(0));
        let (stop, stops) = watch::channel(false);
        let senders: Vec<_> = accounts
            .iter()
            .enumerate()
            .map(|(n, account)| {
                let (account, done) = (Arc::clone(account), Arc::clone(&done));
                tokio::spawn(send(account, channels[n / 2], stops.clone(), done))
            })
            .collect();
        let acknowledged = async |more: usize| {
            let mut seen = done.subscribe();
            let floor = *seen.borrow_and_update() + more;
            seen.wait_for(|done| *done >= floor)
                .await
                .expect("they send")
                .to_owned()
        };
        acknowledged(100).await;
        let lost = leader(&nats).await;
        nats.kill(lost);
        // Two of three go on.
        acknowledged(100).await;
        nats.restart(lost);
        acknowledged(100).await;
        stop.send_replace(true);
        let mut sent = Vec::new();
        for sender in senders {
            sent.push(sender.await.expect("ends"));
        }
        for (n, channel) in channels.iter().enumerate() {
            let acknowledged = sent[n * 2].len() + sent[n * 2 + 1].len();
            let all = followed(&accounts[0], *channel, acknowledged).await;
            assert_eq!(followed(&accounts[1], *channel, all.len()).await, all);
            assert!(all.iter().map(|(id, _)| id).is_sorted_by(|a, b| a < b));
            let stored: BTreeMap<_, _> = all.iter().cloned().collect();
            for (id, text) in sent[n * 2].iter().chain(&sent[n * 2 + 1]) {
                assert!(stored.get(id) == Some(text), "{id} {text} was lost");
            }
            let mut texts: Vec<_> = all.iter().map(|(_, text)| text).collect();
            texts.sort();
            let many = texts.len();
            texts.dedup();
            assert_eq!(texts.len(), many, "a message stands twice");
        }
    });
}
