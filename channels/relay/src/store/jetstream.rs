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
mod tail;

use super::tables::{self, Commit, Tables, failed};
use super::{Append, Follow, Full, Rows, Snapshot, Store, StoreError, Subject, Then};
use async_nats::jetstream::context::{Context, CreateStreamErrorKind, GetStreamErrorKind};
use async_nats::jetstream::stream::{
    Config, DiscardPolicy, Info, RawMessageErrorKind, RetentionPolicy, StorageType,
};
use async_nats::jetstream::{self, ErrorCode};
use futures_util::future::BoxFuture;
use plexus_channels::{Base64Url, Id};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
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
const START_REQUEST: Duration = Duration::from_secs(3);
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
    then: Then,
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
}

/// A store in a log of NATS JetStream.
pub struct JetStream {
    shared: Arc<Shared>,
    lanes: Arc<lanes::Lanes>,
    tasks: Vec<AbortHandle>,
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
        let info = stream(&context).await?;
        let applied = check_cache(&tables, cache, &info)?;
        if !holds_last(&context, &tables).await? {
            return Err(lost(applied, &cache.display().to_string()));
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
        });
        let (queue, came) = tokio::sync::mpsc::channel(tail::QUEUE);
        let applying = Arc::clone(&shared);
        let applier = std::thread::Builder::new()
            .name("store-apply".to_owned())
            .spawn(move || apply::run(&applying, came))
            .map_err(failed)?;
        let reading = Arc::clone(&shared);
        let checking = Arc::clone(&shared);
        let tasks = vec![
            tokio::spawn(async move { tail::run(&reading, &reconnected, queue).await })
                .abort_handle(),
            tokio::spawn(async move { checking.check().await }).abort_handle(),
        ];
        let store = Self {
            lanes: Arc::new(lanes::Lanes::new(Arc::clone(&shared))),
            shared,
            tasks,
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
    /// What is on its way may be durable or not; nobody is answered any more.
    fn drop(&mut self) {
        self.tasks.iter().for_each(AbortHandle::abort);
        if let Some(applier) = self.applier.take() {
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

/// The stream, which is made where there is none.
async fn stream(context: &Context) -> Result<Info, StoreError> {
    let began = Instant::now();
    loop {
        // A request to a cluster without a leader is answered by nobody.
        let why = match timeout(START_REQUEST, found_or_made(context)).await {
            Ok(Ok(info)) => return check_stream(info),
            Ok(Err(why)) => why,
            Err(_) => failed("no answer"),
        };
        if began.elapsed() > START_PATIENCE {
            return Err(failed(format!(
                "JetStream does not answer ({why}); start the servers with JetStream, and most of a cluster's nodes"
            )));
        }
        tracing::info!(name: "store.waits", %why, "JetStream is not ready");
        tokio::time::sleep(PAUSE).await;
    }
}

async fn found_or_made(context: &Context) -> Result<Info, StoreError> {
    let found = context.get_stream(STREAM).await;
    let why = match found {
        Ok(stream) => return Ok(stream.cached_info().clone()),
        Err(why) => why,
    };
    match why.kind() {
        GetStreamErrorKind::JetStream(why) if why.error_code() == ErrorCode::STREAM_NOT_FOUND => {}
        _ => return Err(failed(why)),
    }
    match context.create_stream(config(REPLICAS)).await {
        Ok(stream) => Ok(stream.cached_info().clone()),
        Err(why) => match why.kind() {
            // A single node. A cluster with too few nodes has another answer, and no stream.
            CreateStreamErrorKind::JetStream(why)
                if why.error_code() == ErrorCode::STREAM_REPLICAS_NOT_SUPPORTED =>
            {
                let made = context.create_stream(config(1)).await.map_err(failed)?;
                Ok(made.cached_info().clone())
            }
            _ => Err(failed(why)),
        },
    }
}

fn config(replicas: usize) -> Config {
    Config {
        name: STREAM.to_owned(),
        subjects: vec![SUBJECTS.to_owned()],
        retention: RetentionPolicy::Limits,
        discard: DiscardPolicy::New,
        storage: StorageType::File,
        max_bytes: -1,
        max_messages: -1,
        max_messages_per_subject: -1,
        max_message_size: -1,
        max_consumers: -1,
        num_replicas: replicas,
        deny_delete: true,
        deny_purge: true,
        ..Config::default()
    }
}

/// A stream that drops messages is none to keep acts in.
fn check_stream(info: Info) -> Result<Info, StoreError> {
    let found = &info.config;
    let wanted = config(found.num_replicas);
    let keeps = found.subjects == wanted.subjects
        && found.storage == wanted.storage
        && found.retention == wanted.retention
        && found.discard == wanted.discard
        && found.max_messages <= 0
        && found.max_messages_per_subject <= 0
        && found.max_age.is_zero()
        && found.deny_delete
        && found.deny_purge;
    let clustered = info.cluster.is_some();
    if !keeps {
        return Err(failed(format!(
            "the stream {STREAM} may lose messages; it needs the subject {SUBJECTS}, file storage, no limits of age or number, discard new, deny_delete and deny_purge"
        )));
    }
    if clustered && found.num_replicas < REPLICAS {
        tracing::warn!(
            name: "store.replicas",
            replicas = found.num_replicas,
            "the stream has fewer than {REPLICAS} replicas: a lost node may lose messages"
        );
    }
    Ok(info)
}

/// How far the cache has read this stream.
fn check_cache(tables: &Tables, cache: &Path, info: &Info) -> Result<u64, StoreError> {
    let made = u64::try_from(info.created.unix_timestamp_nanos()).unwrap_or(0);
    let [applied, known] = tables.marks([APPLIED, MADE])?;
    let applied = applied.unwrap_or(0);
    let cache = cache.display();
    match known {
        None => {
            let marks = [(MADE, made)];
            let marks = Commit {
                marks: &marks,
                ..Commit::default()
            };
            tables.commit(&marks).map_err(failed)?;
        }
        Some(found) if found != made => {
            return Err(failed(format!(
                "the cache {cache} is of another stream; delete it if this stream is the right one"
            )));
        }
        Some(_) => {}
    }
    Ok(applied)
}

fn lost(applied: u64, cache: &str) -> StoreError {
    failed(format!(
        "the stream does not have message {applied} as this relay has read it: messages were lost; restore the stream, or delete the cache {cache} to go on without them"
    ))
}

/// Whether the stream has the last message that was read, as it was read.
async fn holds_last(context: &Context, tables: &Tables) -> Result<bool, StoreError> {
    let [applied, digest] = tables.marks([APPLIED, DIGEST])?;
    let Some(applied) = applied.filter(|applied| *applied > 0) else {
        return Ok(true);
    };
    let stream = context.get_stream_no_info(STREAM).await.map_err(failed)?;
    let last = async || {
        let info = stream.get_info().await.map_err(failed)?;
        Ok::<_, StoreError>(info.state.last_sequence)
    };
    // A leader that has just been elected applies what it has before it is behind for good.
    let began = Instant::now();
    while last().await? < applied {
        if began.elapsed() > PATIENCE {
            return Ok(false);
        }
        tokio::time::sleep(PAUSE).await;
    }
    match stream.get_raw_message(applied).await {
        Ok(found) => Ok(Some(digest_of(&found.payload)) == digest),
        Err(why) if why.kind() == RawMessageErrorKind::NoMessageFound => Ok(false),
        Err(why) => Err(failed(why)),
    }
}

fn digest_of(payload: &[u8]) -> u64 {
    let digest = Sha256::digest(payload);
    u64::from_be_bytes(std::array::from_fn(|at| digest[at]))
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
