//! Submitting to the ledger against the bare price of redb's commits, on the disk that holds the temporary directory.
//!
//! `cargo bench -p plexus-ledger`. Compare `submit` with `raw_commit` of the same number: what the ledger adds is two
//! thread hops, the encoding, the hash and the answers. Items are records. Each event is about 300 bytes, as a read's is.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use divan::Bencher;
use divan::counter::ItemsCount;
use plexus_ledger::{
    Decision, DecodeError, EventId, IndexTerm, Lane, Ledger, Machine, Options, Restored, Rows,
};
use redb::{Database, Durability, TableDefinition};
use sha2::{Digest as _, Sha256};

const EVENTS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("events");

fn main() {
    divan::main();
}

/// Calls each client makes in one sample.
const CALLS: u64 = 20;

/// Records reads: no rows, as most calls of agents.
struct Reads;

struct Read(u64);

impl Machine for Reads {
    type State = ();
    type Command = u64;
    type Event = Read;
    type Reply = ();
    type Refusal = ();
    type Part = ();

    fn decide((): &(), command: &u64, _now: u64) -> Decision<Self> {
        Ok((vec![Read(*command)], ()))
    }
    fn apply((): &mut (), _event: &Read, _id: EventId, _at: u64) {}
    fn event_type(_: &Read) -> &'static str {
        "invoke"
    }
    fn encode(event: &Read, into: &mut Vec<u8>) {
        use std::io::Write as _;
        let _ = write!(
            into,
            r#"{{"agentId":"claude-code","capabilityId":"obsidian.vault.read","outcome":"ok","call":{},"#,
            event.0
        );
        into.extend_from_slice(
            br#""inputDigest":"9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08","touched":["a.md"]}"#,
        );
    }
    fn decode(_: &str, _: &[u8]) -> Result<Read, DecodeError> {
        Ok(Read(0))
    }
    fn replay(_: &mut Rows, _: EventId, _: &[u8]) -> Result<(), DecodeError> {
        Ok(())
    }
    fn touched_rows(_: &Read, _: EventId) -> Vec<String> {
        Vec::new()
    }
    fn row((): &(), _: &str) -> Option<Vec<u8>> {
        None
    }
    fn all_rows((): &()) -> Vec<(String, Vec<u8>)> {
        Vec::new()
    }
    fn read<'r>(_: impl Iterator<Item = (&'r str, &'r [u8])>) -> Result<(), DecodeError> {
        Ok(())
    }
    fn restore(_: Vec<()>) -> Result<Restored<Self>, DecodeError> {
        let (state, otherwise) = Default::default();
        Ok(Restored { state, otherwise })
    }
    fn needs(_: &str) -> Option<String> {
        None
    }
    fn index_terms(_: &Read) -> Vec<IndexTerm> {
        Vec::new()
    }
}

/// Clients that each submit, wait for the answer, and submit again.
#[divan::bench(args = [1, 16, 64], sample_count = 50, sample_size = 1)]
fn submit(bencher: Bencher<'_, '_>, clients: u64) {
    let dir = tempfile::tempdir().expect("a directory");
    let ticks = AtomicU64::new(1);
    let clock = Arc::new(move || ticks.fetch_add(1, Ordering::Relaxed));
    let options = Options {
        ballast: 0,
        ..Options::new(clock)
    };
    let ledger = Ledger::<Reads>::open(dir.path(), options).expect("opens").0;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime");
    bencher
        .counter(ItemsCount::new(clients * CALLS))
        .bench_local(|| {
            runtime.block_on(async {
                let mut calls = tokio::task::JoinSet::new();
                for client in 0..clients {
                    let ledger = ledger.clone();
                    calls.spawn(async move {
                        for _ in 0..CALLS {
                            let receipt = ledger.submit(client, Lane::Agent).await;
                            assert!(receipt.is_ok_and(|r| r.durable.is_some()));
                        }
                    });
                }
                calls.join_all().await
            })
        });
}

/// The writer of the measurements that the design rests on: a channel, drain, encode, hash, commit, answer; no
/// decision, no snapshot, no rows, no lanes. `submit` is to reach four fifths of it.
#[divan::bench(args = [1, 16, 64], sample_count = 50, sample_size = 1)]
fn bare_writer(bencher: Bencher<'_, '_>, clients: u64) {
    let dir = tempfile::tempdir().expect("a directory");
    let db = Database::create(dir.path().join("raw.redb")).expect("made");
    let (calls, queue) =
        std::sync::mpsc::sync_channel::<(u64, tokio::sync::oneshot::Sender<u64>)>(4096);
    let writer = std::thread::spawn(move || {
        let (mut seq, mut hash) = (0_u64, [0_u8; 32]);
        while let Ok(first) = queue.recv() {
            let batch: Vec<_> = std::iter::once(first)
                .chain(queue.try_iter().take(255))
                .collect();
            let mut tx = db.begin_write().expect("a transaction");
            tx.set_durability(Durability::Immediate).expect("set");
            {
                let mut events = tx.open_table(EVENTS).expect("a table");
                for (client, _) in &batch {
                    seq += 1;
                    let mut value = vec![0; 32];
                    value.extend_from_slice(
                        format!("{{\"seq\":{seq},\"time\":1769847300000,").as_bytes(),
                    );
                    Reads::encode(&Read(*client), &mut value);
                    hash = Sha256::new()
                        .chain_update(hash)
                        .chain_update(&value[32..])
                        .finalize()
                        .into();
                    value[..32].copy_from_slice(&hash);
                    events.insert(seq, value.as_slice()).expect("written");
                }
            }
            tx.commit().expect("committed");
            for (_, ack) in batch {
                let _ = ack.send(seq);
            }
        }
    });
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime");
    bencher
        .counter(ItemsCount::new(clients * CALLS))
        .bench_local(|| {
            runtime.block_on(async {
                let mut tasks = tokio::task::JoinSet::new();
                for client in 0..clients {
                    let calls = calls.clone();
                    tasks.spawn(async move {
                        for _ in 0..CALLS {
                            let (ack, answer) = tokio::sync::oneshot::channel();
                            calls.try_send((client, ack)).expect("room");
                            answer.await.expect("answered");
                        }
                    });
                }
                tasks.join_all().await
            })
        });
    drop(calls);
    writer.join().expect("ended");
}

/// One durable commit of as many records, again and again, on the calling thread.
#[divan::bench(args = [1, 16, 64], sample_count = 50, sample_size = 1)]
fn raw_commit(bencher: Bencher<'_, '_>, records: u64) {
    let dir = tempfile::tempdir().expect("a directory");
    let db = Database::create(dir.path().join("raw.redb")).expect("made");
    let value = [b'x'; 350];
    let mut seq = 0;
    bencher
        .counter(ItemsCount::new(records * CALLS))
        .bench_local(|| {
            for _ in 0..CALLS {
                let mut tx = db.begin_write().expect("a transaction");
                tx.set_durability(Durability::Immediate).expect("set");
                {
                    let mut events = tx.open_table(EVENTS).expect("a table");
                    for _ in 0..records {
                        seq += 1;
                        events.insert(seq, value.as_slice()).expect("written");
                    }
                }
                tx.commit().expect("committed");
            }
        });
}
