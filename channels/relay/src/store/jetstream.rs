//! [`JetStream`]: a store in a log of NATS JetStream, for several relays.
//!
//! ```text
//! append ▸ lane (one act of a subject at a time) ──publish, expected sequence──▶ the stream
//!                                                                                   │ ordered consumer
//! Append::then, Follow ◀── the applying thread: validates, commits to the cache ◀── tail
//! ```
//! The stream decides: an act is valid when it names the number of its subject's last valid act, and every relay that reads
//! the stream finds the same. The server refuses most of the others by the expected sequence; a cluster may take one all the
//! same (nats-server issues 4320 and 8469), which no relay then counts. Tables are folds of the stream, in a cache file of this
//! relay's own.
//!
//! Invariants: an act is called durable when this relay has read it back from the stream, not before; the cache holds exactly
//! the stream up to its mark; a relay that has not known for [`STALE`] that it has read everything does not call itself current.
//!
//! Must not know: what an act says.

mod address;
mod apply;
mod lanes;
mod stream;
mod tail;

use super::tables::{self, Tables, failed};
use super::{Append, AppendCallback, Follow, Full, Rows, Snapshot, Store, StoreError, Subject};
use async_nats::jetstream::{self, context::Context};
use futures_util::future::BoxFuture;
use plexus_channels::{Base64Url, Id};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use stream::StreamMatch;
use tail::StreamMessage;
use tokio::sync::mpsc::Sender;
use tokio::sync::{Notify, oneshot, watch};
use tokio::task::AbortHandle;
use tokio::time::timeout;

pub use address::Address;

const STREAM: &str = "plexus-relay";
const SUBJECTS: &str = "plexus.relay.>";
/// On a cluster: one node may be lost.
const REPLICAS: usize = 3;
/// The largest act is smaller than the largest request.
const PAYLOAD: usize = 1 << 20;
/// How long one request to the servers, or an act's way to the log and back, may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long a cluster may take to elect its leaders when a relay starts.
const START_PATIENCE: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(500);
const LEADER_PAUSE: Duration = Duration::from_millis(20);
/// How often the relay asks for the stream's end.
const CHECK: Duration = Duration::from_secs(2);
/// Longer than an election takes.
const STALE: Duration = Duration::from_secs(20);

/// What this relay has read of the stream: the last sequence number in the cache.
const APPLIED: &str = "applied";
/// The digest of that message: a stream that was restored from an older state has another one, or none.
const DIGEST: &str = "digest";
/// When the stream was made: a cache belongs to one.
const MADE: &str = "stream";

/// A message of the stream.
#[derive(Serialize, Deserialize)]
struct Entry {
    /// Of this append, and no other.
    origin: Id,
    expected: u64,
    act: Base64Url,
    rows: Vec<(Base64Url, Option<Base64Url>)>,
}

/// An append that has left, until it is read back or given up.
struct Pending {
    then: AppendCallback,
    snapshot: Option<Snapshot>,
    /// Where the subject ends now, as number and sequence; none where another act came before this one.
    told: oneshot::Sender<Option<(u64, u64)>>,
}

struct Shared {
    context: Context,
    tables: Tables,
    pending: Mutex<HashMap<Id, Pending>>,
    follower: OnceLock<Weak<dyn Follow>>,
    /// The last sequence number that was applied and told of.
    applied: watch::Sender<u64>,
    /// When this relay was last known to have read everything; never again after a failure of the cache.
    current: Mutex<Option<Instant>>,
    /// The tail has to be opened again.
    reopen: Notify,
    /// The applying thread ends behind what it has in hand.
    stopping: AtomicBool,
}

/// A store in a log of NATS JetStream.
pub struct JetStream {
    shared: Arc<Shared>,
    lanes: Arc<lanes::Lanes>,
    tasks: Vec<AbortHandle>,
    queue: Sender<Option<StreamMessage>>,
    applier: Option<JoinHandle<()>>,
}

impl JetStream {
    /// Connects, makes the stream where there is none, and reads what the cache lacks.
    ///
    /// # Errors
    /// Where no server answers, the stream is one that may lose messages, or the cache is of another stream or cannot be used.
    pub async fn open(address: &Address, cache: &Path) -> Result<Self, StoreError> {
        let tables = Tables::open(cache, tables::COPY)
            .map_err(|why| failed(format!("the cache {}: {}", cache.display(), why.0)))?;
        let reconnected = Arc::new(Notify::new());
        let client = address.connect(Arc::clone(&reconnected)).await?;
        if client.server_info().max_payload < PAYLOAD {
            return Err(failed(format!(
                "the server takes messages of {} bytes; set max_payload to {PAYLOAD} or more",
                client.server_info().max_payload
            )));
        }
        let mut context = jetstream::new(client);
        context.set_timeout(PATIENCE);
        let info = stream::open(&context).await?;
        let applied = stream::check_cache(&tables, cache, &info)?;
        match stream::held(&context, &tables).await? {
            StreamMatch::Yes => {}
            held => return Err(stream::lost(applied, held, cache)),
        }
        tracing::info!(
            name: "store.opened",
            replicas = info.config.num_replicas,
            messages = info.state.messages,
            read = applied,
            "the stream is there"
        );
        let shared = Arc::new(Shared {
            context,
            tables,
            pending: Mutex::default(),
            follower: OnceLock::new(),
            applied: watch::Sender::new(applied),
            current: Mutex::new(Some(Instant::now())),
            reopen: Notify::new(),
            stopping: AtomicBool::new(false),
        });
        let (queue, came) = tokio::sync::mpsc::channel(tail::QUEUE);
        let applying = Arc::clone(&shared);
        let applier = std::thread::Builder::new()
            .name("store-apply".to_owned())
            .spawn(move || apply::run(&applying, came))
            .map_err(failed)?;
        let (reading, tail) = (Arc::clone(&shared), queue.clone());
        let checking = Arc::clone(&shared);
        let tasks = vec![
            tokio::spawn(async move { tail::run(&reading, &reconnected, tail).await })
                .abort_handle(),
            tokio::spawn(async move { checking.check().await }).abort_handle(),
        ];
        let store = Self {
            lanes: Arc::new(lanes::Lanes::new(Arc::clone(&shared))),
            shared,
            tasks,
            queue,
            applier: Some(applier),
        };
        store.read_all(info.state.last_sequence).await?;
        Ok(store)
    }

    /// Waits for the tail to have read so far, as long as it gets on.
    async fn read_all(&self, last: u64) -> Result<(), StoreError> {
        let mut applied = self.shared.applied.subscribe();
        let mut reached = *applied.borrow_and_update();
        while reached < last {
            let next = timeout(START_PATIENCE, applied.changed()).await;
            let next = next.map_err(|_| {
                failed(format!("the stream stopped at message {reached} of {last}"))
            })?;
            next.map_err(failed)?;
            reached = *applied.borrow_and_update();
        }
        Ok(())
    }
}

impl Drop for JetStream {
    /// What is on its way may be durable or not; nobody is answered any more. Waits for one commit of the cache at most: the
    /// tasks that feed the applying thread may need this thread to end.
    fn drop(&mut self) {
        self.tasks.iter().for_each(AbortHandle::abort);
        self.shared.stopping.store(true, Ordering::Release);
        // A full queue needs no word: the thread looks at the flag behind each commit.
        let _ = self.queue.try_send(None);
        let Some(applier) = self.applier.take() else {
            return;
        };
        // The follower may have been the last one to hold the store; then this is the applying thread.
        if applier.thread().id() != std::thread::current().id() {
            // A panic of the thread has ended the process already.
            let _ = applier.join();
        }
    }
}

impl Shared {
    /// The sequence number of the stream's last message.
    async fn last(&self) -> Result<u64, StoreError> {
        let stream = self.context.get_stream_no_info(STREAM).await;
        let info = stream.map_err(failed)?.get_info().await;
        Ok(info.map_err(failed)?.state.last_sequence)
    }

    async fn catch_up(&self) -> Result<(), StoreError> {
        let caught_up = async {
            let mut applied = self.applied.subscribe();
            let floor = *applied.borrow_and_update();
            let mut last = self.last().await?;
            while last < floor {
                // The leader may apply later than the node that this relay reads from.
                tokio::time::sleep(LEADER_PAUSE).await;
                last = self.last().await?;
            }
            let reached = applied.wait_for(|applied| *applied >= last).await;
            reached.map(|_| ()).map_err(failed)
        };
        let late = |_| failed("the servers do not answer in time");
        timeout(PATIENCE, caught_up).await.map_err(late)?
    }

    fn is_current(&self) -> bool {
        let current = *lock(&self.current);
        current.is_some_and(|at| at.elapsed() < STALE)
    }

    /// The cache cannot be written: what is read from now on is old.
    fn fail(&self) {
        *lock(&self.current) = None;
        self.tell_lost();
    }

    fn follower(&self) -> Option<Arc<dyn Follow>> {
        self.follower.get().and_then(Weak::upgrade)
    }

    fn tell_lost(&self) {
        if let Some(follower) = self.follower() {
            follower.lost();
        }
    }

    /// Compares what was read with the stream's end, for as long as it is polled.
    async fn check(&self) {
        let mut interval = tokio::time::interval(CHECK);
        interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut was_current = true;
        loop {
            interval.tick().await;
            let before = *self.applied.borrow();
            match self.catch_up().await {
                Ok(()) => {
                    if let Some(current) = &mut *lock(&self.current) {
                        *current = Instant::now();
                    }
                }
                Err(why) => {
                    tracing::warn!(name: "store.not_checked", %why, "the end of the stream is not known");
                    if *self.applied.borrow() == before {
                        self.reopen.notify_one();
                    }
                }
            }
            let is_current = self.is_current();
            if is_current != was_current {
                if is_current {
                    tracing::info!(name: "store.current", "the store is current again");
                } else {
                    tracing::error!(name: "store.lost", "the store is not current; requests are answered 503");
                    self.tell_lost();
                }
                was_current = is_current;
            }
        }
    }
}

impl Store for JetStream {
    fn append(&self, append: Append) -> Result<(), Full> {
        lanes::append(&self.lanes, append)
    }

    fn acts(
        &self,
        subject: Subject,
        numbers: (u64, u64),
        most: usize,
        backwards: bool,
    ) -> Result<Vec<(u64, Vec<u8>)>, StoreError> {
        self.shared.tables.acts(subject, numbers, most, backwards)
    }

    fn snapshot(&self, subject: Subject) -> Result<Option<Snapshot>, StoreError> {
        self.shared.tables.snapshot(subject)
    }

    fn row(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.shared.tables.row(key)
    }

    fn row_keys(&self, prefix: &[u8], most: usize) -> Result<Vec<Vec<u8>>, StoreError> {
        self.shared.tables.row_keys(prefix, most)
    }

    fn follow(&self, follower: Weak<dyn Follow>) {
        // The first one stays.
        let _ = self.shared.follower.set(follower);
    }

    fn catch_up(&self) -> BoxFuture<'_, Result<bool, StoreError>> {
        Box::pin(async { self.shared.catch_up().await.map(|()| true) })
    }

    fn is_current(&self) -> bool {
        self.shared.is_current()
    }
}

/// Where a subject's acts are in the stream.
fn path_of(subject: Subject) -> String {
    match subject {
        Subject::Organization(id) => format!("plexus.relay.o.{id}"),
        Subject::Channel(id) => format!("plexus.relay.c.{id}"),
    }
}

fn subject_of(path: &str) -> Option<Subject> {
    let (kind, id) = path.strip_prefix("plexus.relay.")?.split_once('.')?;
    let id = id.parse().ok()?;
    match kind {
        "o" => Some(Subject::Organization(id)),
        "c" => Some(Subject::Channel(id)),
        _ => None,
    }
}

impl Entry {
    fn new(origin: Id, expected: u64, act: Vec<u8>, rows: Rows) -> Self {
        let rows = rows.into_iter();
        let rows = rows.map(|(key, value)| (Base64Url(key), value.map(Base64Url)));
        Self {
            origin,
            expected,
            act: Base64Url(act),
            rows: rows.collect(),
        }
    }
}

fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
