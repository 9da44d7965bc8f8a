//! Commands, records, snapshots, subscribers.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use plexus_ledger::{
    CHECKPOINT, Condition, EventId, Lane, Ledger, NotAnEventId, Options, StoreError, SubmitError,
};
use tokio::sync::broadcast::error::{RecvError, TryRecvError};

use crate::bank::{
    Bank, Command, Overdrawn, deposit_each, event, events, folder, head, open, open_with, options,
    recorded, seqs, sound, start, submit, wait, with,
};
use crate::waiting::{PATIENCE, until_true};

#[test]
fn an_acknowledged_command_is_in_the_snapshot_in_the_log_and_there_after_reopening() {
    let dir = folder();
    let ledger = open(dir.path());
    let receipt = recorded(&ledger, Command::Deposit("alice", 7));
    assert_eq!(receipt.reply, 7);
    let durable = receipt.durable.expect("a proof");
    assert_eq!(
        (durable.launch(), durable.sequence(), durable.audit_id()),
        (1, 1, receipt.events[0].id)
    );
    assert_eq!(ledger.snapshot().get("alice"), Some(&7));
    let event = event(&ledger, &durable.audit_id());
    assert_eq!(
        event.json(),
        format!(
            r#"{{"seq":1,"id":"{}","time":"2026-01-31T08:15:00.000Z","type":"deposit","act":"deposited","account":"alice","amount":7}}"#,
            durable.audit_id()
        )
    );
    assert!(ledger.close());

    let (ledger, report) = start(dir.path());
    assert_eq!(
        (report.launch, report.clean, report.rolled_back),
        (2, true, None)
    );
    assert_eq!(ledger.snapshot().get("alice"), Some(&7));
    let durable = recorded(&ledger, Command::Look("alice"))
        .durable
        .expect("a proof");
    // Number 2 is the checkpoint of the stop.
    assert_eq!((durable.launch(), durable.sequence()), (2, 3));
}

/// Holds the writer inside a command until the returned sender is dropped.
fn hold(ledger: &Ledger<Bank>) -> SyncSender<()> {
    let (entered, is_in): (_, Receiver<()>) = sync_channel(1);
    let (release, released) = sync_channel(1);
    let (ledger, held) = (ledger.clone(), Arc::new(std::sync::Mutex::new(released)));
    std::thread::spawn(move || submit(&ledger, Command::Wait(entered, held)).map(drop));
    let entered = is_in.recv_timeout(PATIENCE);
    entered.expect("the writer has come in");
    release
}

/// Waits until `count` commands stand in the queue.
fn queued(ledger: &Ledger<Bank>, count: usize) {
    until_true("commands in the queue", || ledger.condition().1 >= count);
}

#[test]
fn commands_of_one_batch_are_decided_each_on_the_state_left_by_the_one_before() {
    let dir = folder();
    let ledger = open(dir.path());
    let mut events = ledger.subscribe();
    let release = hold(&ledger);
    let (first, second, third, fourth) = wait(async {
        let all = async {
            tokio::join!(
                ledger.submit(Command::Deposit("a", 5), Lane::Agent),
                ledger.submit(Command::Move("a", "b", 4), Lane::Agent),
                ledger.submit(Command::Move("a", "b", 4), Lane::Agent),
                ledger.submit(Command::Move("a", "b", 1), Lane::Agent),
            )
        };
        let opener = async {
            queued(&ledger, 4);
            drop(release);
        };
        tokio::join!(all, opener).0
    });
    assert_eq!(first.expect("recorded").events.len(), 1);
    let second = second.expect("recorded");
    assert_eq!(
        second.events.iter().map(|e| e.seq).collect::<Vec<_>>(),
        [2, 3]
    );
    assert_eq!(second.durable.expect("a proof").sequence(), 2);
    assert_eq!(
        third.expect_err("overdrawn"),
        SubmitError::Refused(Overdrawn)
    );
    assert_eq!(fourth.expect("recorded").events[0].seq, 4);
    let seen: Vec<_> = (0..5)
        .map(|_| wait(events.recv()).expect("told").event_type().to_owned())
        .collect();
    assert_eq!(
        seen,
        ["deposit", "withdraw", "deposit", "withdraw", "deposit"]
    );
    assert_eq!(ledger.snapshot().get("b"), Some(&5));
}

#[test]
fn a_command_without_events_is_answered_without_a_record_and_without_a_proof() {
    let dir = folder();
    let ledger = open(dir.path());
    let ping = submit(&ledger, Command::Ping).expect("answered");
    assert!(ping.durable.is_none() && ping.events.is_empty());
    assert_eq!(
        submit(&ledger, Command::Move("a", "b", 1)).expect_err("overdrawn"),
        SubmitError::Refused(Overdrawn)
    );
    assert_eq!(head(&ledger), 0);
    assert!(recorded(&ledger, Command::Look("a")).durable.is_some());
    assert_eq!(head(&ledger), 1);
}

#[test]
fn a_full_lane_says_busy_and_the_owner_is_served_before_those_who_fill_it() {
    let dir = folder();
    let ledger = open_with(
        dir.path(),
        with(|o| {
            o.queue = 3;
            o.owner_queue = 1;
        }),
    );
    let release = hold(&ledger);
    wait(async {
        let filled = async {
            tokio::join!(
                ledger.submit(Command::Deposit("agent", 1), Lane::Agent),
                ledger.submit(Command::Deposit("agent", 1), Lane::Agent),
                ledger.submit(Command::Deposit("agent", 1), Lane::Agent),
                ledger.submit(Command::Deposit("agent", 1), Lane::Agent),
                ledger.submit(Command::Deposit("owner", 1), Lane::Owner),
                ledger.submit(Command::Deposit("owner", 1), Lane::Owner),
            )
        };
        let opener = async {
            queued(&ledger, 4);
            drop(release);
        };
        let ((a, b, c, d, owner, owner2), ()) = tokio::join!(filled, opener);
        assert_eq!(owner.expect("recorded").events[0].seq, 1);
        assert_eq!(
            [a, b, c].map(|r| r.expect("recorded").events[0].seq),
            [2, 3, 4]
        );
        assert_eq!(d.expect_err("the lane is full"), SubmitError::Busy);
        assert_eq!(owner2.expect_err("the owner's too"), SubmitError::Busy);
    });
    assert_eq!(ledger.snapshot().get("agent"), Some(&3));
}

#[test]
fn a_subscriber_who_sleeps_misses_events_and_holds_nobody_up() {
    let dir = folder();
    let ledger = open_with(dir.path(), with(|o| o.subscriber_lag = 4));
    let (mut sleeper, mut listener) = (ledger.subscribe(), ledger.subscribe());
    for seq in 1..=20 {
        deposit_each(&ledger, 1);
        let told = wait(listener.recv()).expect("told");
        assert_eq!((told.seq(), told.event_type()), (seq, "deposit"));
        assert_eq!(told.json(), event(&ledger, &told.id()).json());
    }
    assert_eq!(
        wait(sleeper.recv()).map(|e| e.seq()),
        Err(RecvError::Lagged(16))
    );
    assert_eq!(wait(sleeper.recv()).map(|e| e.seq()), Ok(17));
    assert!(matches!(listener.try_recv(), Err(TryRecvError::Empty)));
}

#[test]
fn a_dropped_call_is_recorded_all_the_same() {
    let dir = folder();
    let ledger = open(dir.path());
    let release = hold(&ledger);
    wait(async {
        let call = ledger.submit(Command::Deposit("alice", 1), Lane::Agent);
        tokio::select! {
            biased;
            _ = call => unreachable!("the writer is held"),
            () = std::future::ready(()) => {}
        }
    });
    queued(&ledger, 1);
    drop(release);
    assert_eq!(recorded(&ledger, Command::Look("alice")).reply, 1);
}

#[test]
fn a_panic_of_the_machine_fails_its_batch_and_nothing_else() {
    let dir = folder();
    let ledger = open(dir.path());
    deposit_each(&ledger, 1);
    let answer = submit(&ledger, Command::Panic).expect_err("not recorded");
    assert_eq!(
        answer,
        SubmitError::Unavailable("internal error".to_owned())
    );
    deposit_each(&ledger, 1);
    assert_eq!(ledger.verify(true).expect("sound").events, 2);
}

#[test]
fn an_event_that_cannot_be_written_down_leaves_nothing_of_its_command() {
    let dir = folder();
    let ledger = open(dir.path());
    for command in [Command::Forge, Command::Garble] {
        assert!(matches!(
            submit(&ledger, command),
            Err(SubmitError::Unavailable(_))
        ));
    }
    assert_eq!(ledger.snapshot().len(), 0);
    // In one batch with others, too.
    let release = hold(&ledger);
    let (before, bad, after) = wait(async {
        let all = async {
            tokio::join!(
                ledger.submit(Command::Look("alice"), Lane::Agent),
                ledger.submit(Command::Garble, Lane::Agent),
                ledger.submit(Command::Look("alice"), Lane::Agent),
            )
        };
        let opener = async {
            queued(&ledger, 3);
            drop(release);
        };
        tokio::join!(all, opener).0
    });
    assert!(matches!(bad, Err(SubmitError::Unavailable(_))));
    assert_eq!(
        [before, after].map(|r| r.expect("recorded").events[0].seq),
        [1, 2]
    );
    assert_eq!(recorded(&ledger, Command::Look("alice")).events[0].seq, 3);
    sound(&ledger);
}

#[test]
fn a_command_with_more_events_than_a_batch_holds_is_recorded_whole() {
    let dir = folder();
    let ledger = open(dir.path());
    assert_eq!(
        recorded(&ledger, Command::Many("alice", 700)).events.len(),
        700
    );
    assert_eq!(recorded(&ledger, Command::Look("alice")).reply, 700);
    sound(&ledger);
}

#[test]
fn a_clock_set_back_does_not_make_the_log_run_backwards() {
    let dir = folder();
    let ledger = open(dir.path());
    deposit_each(&ledger, 3);
    ledger.close();
    let early = Options {
        clock: Arc::new(|| 1),
        ..options()
    };
    let (ledger, report) = Ledger::<Bank>::open(dir.path(), early).expect("the ledger opens");
    let latest = report.checked.head.at;
    assert!(latest > 1);
    let receipt = recorded(&ledger, Command::Look("alice"));
    assert_eq!(receipt.events[0].at, latest);
    sound(&ledger);
}

#[test]
fn a_closed_ledger_refuses_and_says_so() {
    let dir = folder();
    let ledger = open(dir.path());
    assert_eq!(ledger.condition().0, Condition::Open);
    assert!(ledger.close());
    assert!(matches!(
        submit(&ledger, Command::Ping),
        Err(SubmitError::Unavailable(_))
    ));
    assert!(matches!(ledger.condition().0, Condition::Closed(_)));
    assert!(matches!(ledger.head(), Err(StoreError::Closed)));
}

#[test]
fn the_log_gets_a_checkpoint_each_so_many_events_and_at_a_stop() {
    let dir = folder();
    let ledger = open_with(dir.path(), with(|o| o.checkpoint_every = 5));
    deposit_each(&ledger, 9);
    let mut at = events(&ledger);
    at.retain(|e| e.event_type() == CHECKPOINT);
    let at = seqs(&at);
    assert_eq!(at, [5, 10]);
    deposit_each(&ledger, 1);
    ledger.close();
    let (ledger, report) = start(dir.path());
    assert_eq!((report.checked.head.seq, report.checked.events), (13, 0));
    assert_eq!(ledger.verify(true).expect("sound").checkpoints, 3);
    // A stop without news adds nothing.
    ledger.close();
    assert_eq!(open(dir.path()).head().expect("readable").seq, 13);
}

#[test]
fn an_id_carries_its_sequence_and_has_one_spelling() {
    let dir = folder();
    let ledger = open(dir.path());
    deposit_each(&ledger, 300);
    let id = ledger.tail(1, None).expect("readable")[0].id();
    assert_eq!(id.seq(), 300);
    assert!(id.to_string().starts_with("evt_00000000-012c-8"), "{id}");
    assert_eq!(id.to_string().parse::<EventId>(), Ok(id));
    let upper = id.to_string().to_uppercase().replace("EVT_", "evt_");
    for wrong in [
        upper,
        id.to_string().replace("-8", "-4"),
        id.to_string()[4..].to_owned(),
        "evt_".to_owned(),
    ] {
        assert_eq!(wrong.parse::<EventId>(), Err(NotAnEventId), "{wrong}");
    }
    // The same place in the log, another id: not that event.
    let other = open(folder().path());
    deposit_each(&other, 300);
    let foreign = other.tail(1, None).expect("readable")[0].id();
    assert_eq!(
        (
            foreign.seq(),
            ledger.event(&foreign).expect("readable").is_none()
        ),
        (300, true)
    );
}

#[test]
fn subscribers_are_told_of_what_their_audience_is_and_all_of_it_is_recorded() {
    let dir = folder();
    let with = Options {
        audience: Arc::new(|record| record.json().contains("carol")),
        ..options()
    };
    let ledger = open_with(dir.path(), with);
    let mut told = ledger.subscribe();
    for who in ["alice", "carol", "bob", "carol"] {
        recorded(&ledger, Command::Look(who));
    }
    let heard = [(); 2].map(|()| wait(told.recv()).expect("told").seq());
    assert_eq!(heard, [2, 4]);
    assert_eq!(head(&ledger), 4);
}
