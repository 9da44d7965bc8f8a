//! The applying thread: what the stream says becomes tables, answers and events, in its order.
//!
//! Invariant: while there is a follower a commit has one message of a subject, so that it sees each act before the next one.

use super::stream::digest_of;
use super::tail::StreamMessage;
use super::{APPLIED, DIGEST, Entry, Pending, Shared, lock};
use crate::store::tables::{Change, Commit};
use crate::store::{AbortOnPanic, Outcome, Rows, Snapshot, Subject};
use plexus_channels::Id;
use std::collections::HashSet;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use tokio::sync::mpsc::Receiver;

/// Messages of one commit.
const MOST: usize = 512;
/// The cache may lose so much when the machine stops; it is read again.
const DEFERRED: usize = 1_024;
const DEFERRED_FOR: Duration = Duration::from_secs(5);

/// The number of no subject's last act.
const NEVER: u64 = u64::MAX;

/// A message in a subject of ours.
struct Read {
    sequence: u64,
    subject: Subject,
    entry: Entry,
    rows: Rows,
    own: Option<Pending>,
}

/// Applies messages until the store is dropped.
pub(super) fn run(shared: &Shared, mut queue: Receiver<Option<StreamMessage>>) {
    let _abort = AbortOnPanic;
    let mut kept: Option<StreamMessage> = None;
    let mut snapshots: Vec<(Subject, Snapshot)> = Vec::new();
    let (mut deferred, mut synced) = (0, Instant::now());
    while let Some(first) = kept.take().or_else(|| queue.blocking_recv().flatten()) {
        if shared.stopping.load(Ordering::Acquire) {
            break;
        }
        let follower = shared.follower();
        let mut subjects = HashSet::from([first.subject]);
        let mut batch = vec![first];
        while batch.len() < MOST {
            match queue.try_recv() {
                Ok(Some(came)) if follower.is_none() || subjects.insert(came.subject) => {
                    batch.push(came);
                }
                Ok(Some(came)) => {
                    kept = Some(came);
                    break;
                }
                Ok(None) | Err(_) => break,
            }
        }
        let Some(last) = batch.last() else { continue };
        let (last, digest) = (last.sequence, digest_of(&last.payload));
        let marks = [(APPLIED, last), (DIGEST, digest)];
        deferred += batch.len();
        let due = deferred >= DEFERRED || synced.elapsed() >= DEFERRED_FOR;
        let batch: Vec<Read> = batch.into_iter().filter_map(|c| read(shared, c)).collect();
        let committed = commit(shared, &batch, &snapshots, &marks, !due);
        snapshots.clear();
        if due {
            (deferred, synced) = (0, Instant::now());
        }
        let taken = match committed {
            Ok(taken) => taken,
            Err(why) => {
                tracing::error!(name: "store.cache_failed", %why, "the cache cannot be written; start the relay again when it can");
                for own in batch.into_iter().filter_map(|read| read.own) {
                    (own.then)(Outcome::Unknown);
                }
                shared.fail();
                return;
            }
        };
        for (read, taken) in batch.into_iter().zip(taken) {
            let number = read.entry.expected.wrapping_add(1);
            match read.own {
                Some(own) => {
                    (own.then)(Outcome::of(taken));
                    // Its lane may have given up.
                    let _ = own.told.send(taken.then_some((number, read.sequence)));
                }
                None if taken => {
                    let act = &read.entry.act.0;
                    let told = follower
                        .as_ref()
                        .and_then(|f| f.appended(read.subject, number, act));
                    snapshots.extend(told.map(|snapshot| (read.subject, snapshot)));
                }
                None => {}
            }
        }
        shared.applied.send_replace(last);
    }
    // What is lost of the cache is read again.
    let _ = commit(shared, &[], &snapshots, &[], false);
}

fn read(shared: &Shared, came: StreamMessage) -> Option<Read> {
    let entry = rmp_serde::from_slice::<Entry>(&came.payload).ok();
    if entry.is_none() || came.subject.is_none() {
        tracing::warn!(name: "store.not_an_act", sequence = came.sequence, "a message that no relay wrote is left out");
    }
    // In a subject of ours it has a place all the same, behind which the next act stands.
    let mut entry = entry.unwrap_or_else(|| Entry::new(Id::ZERO, NEVER, Vec::new(), Rows::new()));
    let rows = std::mem::take(&mut entry.rows).into_iter();
    let rows = rows.map(|(key, value)| (key.0, value.map(|value| value.0)));
    Some(Read {
        sequence: came.sequence,
        subject: came.subject?,
        own: lock(&shared.pending).remove(&entry.origin),
        rows: rows.collect(),
        entry,
    })
}

fn commit(
    shared: &Shared,
    batch: &[Read],
    snapshots: &[(Subject, Snapshot)],
    marks: &[(&'static str, u64)],
    deferred: bool,
) -> Result<Vec<bool>, redb::Error> {
    let changes = batch.iter().map(|read| Change {
        subject: read.subject,
        expected: read.entry.expected,
        act: &read.entry.act.0,
        rows: &read.rows,
        snapshot: read.own.as_ref().and_then(|own| own.snapshot.as_ref()),
        logged: Some(read.sequence),
    });
    shared.tables.commit(&Commit {
        changes: changes.collect(),
        snapshots,
        marks,
        deferred,
    })
}
