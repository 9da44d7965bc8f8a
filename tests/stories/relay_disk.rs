//! A relay whose disk is filled by something else while many write: nothing that it answered is lost, and it goes on once there
//! is room.

use crate::office::Office;
use plexus_channels::Id;
use plexus_channels::account::{Account, AccountError};
use plexus_channels::api::ApiError;
use plexus_channels::wire::Code;
use plexus_tests::small_disk::SmallDisk;
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};

const SIZE: u64 = 32 << 20;
/// Messages that are answered before the disk is full.
const BEFORE: usize = 60;

/// What the relay has answered: the ids of messages, and their texts.
type Answered = RefCell<BTreeMap<Id, String>>;

/// Writes until the relay refuses; the refused message is in the outbox.
async fn write(account: &Account, channel: Id, name: &str, answered: &Answered) -> AccountError {
    for n in 0.. {
        let text = format!("{name} {n} {}", "x".repeat(10_000));
        match account.send(channel, &text).await {
            Ok(sent) => answered.borrow_mut().insert(sent.message_id, text),
            Err(refused) => return refused,
        };
    }
    unreachable!("the disk has an end")
}

/// Sends what is in the outbox, once the relay takes it.
async fn flush(account: &Account, answered: &Answered) {
    loop {
        match account.flush().await {
            Ok(sent) => {
                let ids = sent.iter().map(|sent| (sent.message_id, String::new()));
                return answered.borrow_mut().extend(ids);
            }
            Err(other) => assert!(other.is_kept(), "{other}"),
        }
    }
}

/// Holds what is in the channel against what was answered: all of it, and nothing twice.
#[track_caller]
fn check(office: &Office, channel: Id, answered: &Answered) {
    let stored = office.history(channel).into_iter();
    let stored: Vec<_> = stored.map(|(sent, text)| (sent.message_id, text)).collect();
    assert!(stored.is_sorted_by(|(a, _), (b, _)| a < b));
    let stored: BTreeMap<Id, String> = stored.into_iter().collect();
    let answered = answered.borrow();
    let ids = |of: &BTreeMap<Id, String>| of.keys().copied().collect::<BTreeSet<_>>();
    assert_eq!(ids(&stored), ids(&answered));
    for (id, text) in answered.iter().filter(|(_, text)| !text.is_empty()) {
        assert_eq!(&stored[id], text);
    }
    let texts: BTreeSet<_> = stored.values().collect();
    assert_eq!(texts.len(), stored.len(), "a message stands twice");
}

#[test]
fn relay_on_a_full_disk_refuses_and_keeps_every_answered_message() {
    let test = "relay_disk::relay_on_a_full_disk_refuses_and_keeps_every_answered_message";
    SmallDisk::with(test, SIZE, |disk| {
        let mut office = Office::keeping_at(&disk.path().join("store"));
        let others = ["Ada", "Ben", "Cem"].map(|name| office.colleague(name));
        let ids: Vec<Id> = others.iter().map(|a| a.identity().facts.agent_id).collect();
        let channel = office.channel("load", &ids, None);
        let answered = Answered::default();
        let filler = Cell::new(None);
        let fill = async {
            while answered.borrow().len() < BEFORE {
                tokio::task::yield_now().await;
            }
            filler.set(Some(disk.fill()));
        };
        let [ada, ben, cem] = &others;
        let writes = |account, name| write(account, channel, name, &answered);
        let (ada, ben, cem, ()) = office.wait_for(async {
            tokio::join!(
                writes(ada, "Ada"),
                writes(ben, "Ben"),
                writes(cem, "Cem"),
                fill
            )
        });
        for refused in [ada, ben, cem] {
            let AccountError::Kept(ApiError::Refused(refusal)) = &refused else {
                panic!("{refused}")
            };
            assert_eq!(refusal.code, Code::Unavailable);
        }
        // It refuses for as long as there is no room.
        let person = writes(&office.person, "Pat");
        let refused = office.wait_for(person);
        assert!(refused.is_kept(), "{refused}");

        filler.take().expect("filled").remove().expect("removed");
        // Nothing of it has to be started again.
        for account in others.iter().chain([&office.person]) {
            office.wait_for(flush(account, &answered));
        }
        check(&office, channel, &answered);
        office.restart_relay();
        check(&office, channel, &answered);
    });
}
