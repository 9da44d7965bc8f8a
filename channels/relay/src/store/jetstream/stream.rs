//! The stream: made where there is none, refused where it may lose messages, and compared with what the cache has read.
//!
//! Invariant: a stream that lacks what this relay has read is called lost only when it has gone on without it; one that ends
//! earlier may be that of a leader that was just elected and applies what it has.

use super::tables::{Commit, Tables, failed};
use super::{
    APPLIED, DIGEST, MADE, PATIENCE, PAUSE, REPLICAS, START_PATIENCE, STREAM, SUBJECTS, StoreError,
};
use async_nats::jetstream::ErrorCode;
use async_nats::jetstream::context::{Context, CreateStreamErrorKind, GetStreamErrorKind};
use async_nats::jetstream::stream::{
    Config, DiscardPolicy, Info, RawMessageErrorKind, RetentionPolicy, StorageType,
};
use sha2::{Digest as _, Sha256};
use std::path::Path;
use std::time::{Duration, Instant};
use tokio::time::timeout;

/// How long one request may take while a relay starts.
const START_REQUEST: Duration = Duration::from_secs(3);

/// The stream, which is made where there is none.
pub(super) async fn open(context: &Context) -> Result<Info, StoreError> {
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

pub(super) fn config(replicas: usize) -> Config {
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
pub(super) fn check_cache(tables: &Tables, cache: &Path, info: &Info) -> Result<u64, StoreError> {
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

/// What to do about a stream that lacks what was read.
pub(super) fn lost(applied: u64, held: StreamMatch, cache: &Path) -> StoreError {
    let cache = cache.display();
    let first = match held {
        StreamMatch::NotYet => {
            "messages were lost, or its servers are still starting: start this relay again in a minute; then "
        }
        StreamMatch::Yes | StreamMatch::Lost => "messages were lost: ",
    };
    failed(format!(
        "the stream does not have message {applied} as this relay has read it; {first}restore the stream, or delete the cache {cache} to go on without them"
    ))
}

/// Whether a stream has the last message that this relay has read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StreamMatch {
    /// It has, as it was read.
    Yes,
    /// It ends earlier: its leader is behind, or messages were lost.
    NotYet,
    /// It has another one in its place, or none among later ones.
    Lost,
}

/// Compares the stream with the last message that was read, and gives a leader that was just elected [`PATIENCE`].
pub(super) async fn held(context: &Context, tables: &Tables) -> Result<StreamMatch, StoreError> {
    let [applied, digest] = tables.marks([APPLIED, DIGEST])?;
    let Some(applied) = applied.filter(|applied| *applied > 0) else {
        return Ok(StreamMatch::Yes);
    };
    let stream = context.get_stream_no_info(STREAM).await.map_err(failed)?;
    let deadline = Instant::now() + PATIENCE;
    loop {
        let info = stream.get_info().await.map_err(failed)?;
        let reaches = info.state.last_sequence >= applied;
        if reaches {
            match stream.get_raw_message(applied).await {
                Ok(found) if Some(digest_of(&found.payload)) == digest => {
                    return Ok(StreamMatch::Yes);
                }
                Ok(_) => return Ok(StreamMatch::Lost),
                // Another leader may have answered, which is behind.
                Err(why) if why.kind() == RawMessageErrorKind::NoMessageFound => {}
                Err(why) => return Err(failed(why)),
            }
        }
        if Instant::now() > deadline {
            return Ok(if reaches {
                StreamMatch::Lost
            } else {
                StreamMatch::NotYet
            });
        }
        tokio::time::sleep(PAUSE).await;
    }
}

pub(super) fn digest_of(payload: &[u8]) -> u64 {
    let digest = Sha256::digest(payload);
    u64::from_be_bytes(std::array::from_fn(|at| digest[at]))
}
