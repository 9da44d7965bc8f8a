//! Commands, records, snapshots, subscribers.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use plexus_ledger::{
    CHECKPOINT, Condition, EventId, IndexTerm, Lane, Ledger, Options, SubmitError,
};
use tokio::sync::broadcast::error::{RecvError, TryRecvError};

use crate::bank::{Bank, Command, Overdrawn, deposit_each, open, open_with, options, submit, wait};

#[test]
fn an_acknowledged_command_is_in_the_snapshot_in_the_log_and_there_after_reopening() {
    let dir = tempfile::tempdir().expect("a directory");
    let ledger = open(dir.path());
    let receipt = submit(&ledger, Command::Deposit("alice", 7)).expect("recorded");
    assert_eq!(receipt.reply, 7);
    let durable = receipt.durable.expect("a proof");
    assert_eq!(
        (durable.launch(), durable.sequence(), durable.audit_id()),
        (1, 1, receipt.events[0].id)
    );
    assert_eq!(ledger.snapshot().get("alice"), Some(&7));
    let event = ledger
        .event(&durable.audit_id())
        .expect("readable")
        .expect("there");
    assert_eq!(
        event.json(),
        format!(
            r#"{{"seq":1,"id":"{}","time":"2026-01-31T08:15:00.000Z","type":"deposit","act":"deposited","account":"alice","amount":7}}"#,
            durable.audit_id()
        )
    );
    assert!(ledger.close());

    let (ledger, report) = Ledger::<Bank>::open(dir.path(), options()).expect("the ledger opens");
    assert_eq!(
        (report.launch, report.clean, report.rolled_back),
        (2, true, None)
    );
    assert_eq!(ledger.snapshot().get("alice"), Some(&7));
    let durable = submit(&ledger, Command::Look("alice"))
        .expect("recorded")
        .durable
        .expect("a proof");
    // Number 2 is the checkpoint of the stop.
    assert_eq!((durable.launch(), durable.sequence()), (2, 3));
}
