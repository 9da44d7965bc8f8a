//! [`Lanes`]: appends on their way to the stream, one of a subject at a time.
//!
//! ```text
//! queued ──its turn──▶ published ──read back──▶ Durable, or Behind where another act came first
//!    │                     ├──refused by the expected sequence, the other act read──▶ Behind
//!    │                     ├──taken by nobody, or refused by a leader that is behind──▶ published again
//!    └─decided on an act   └──no answer in time, no leader──▶ Unknown
//!      that is not there──▶ Behind
//! ```
//! Invariants: an append is over once, by who takes it out of `pending`; an act is published only when the act that it was
//! decided on has been read from the stream. So what is queued behind one that is not durable goes with it: its number may be
//! right, but another act has it.

use super::{Entry, PATIENCE, PAUSE, Pending, Shared, lock, path_of};
use crate::store::{Append, Full, Outcome, Subject};
use async_nats::HeaderMap;
use async_nats::header::NATS_EXPECTED_LAST_SUBJECT_SEQUENCE;
use async_nats::jetstream::context::{PublishError, PublishErrorKind};
use bytes::Bytes;
use plexus_channels::Id;
use std::collections::hash_map::Entry as Slot;
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex};
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};

/// Acts that wait.
const QUEUE: usize = 8_192;

#[derive(Default)]
struct Waiting {
    /// A subject is here as long as its lane runs.
    subjects: HashMap<Subject, VecDeque<Append>>,
    total: usize,
}

/// The lanes.
pub(super) struct Lanes {
    shared: Arc<Shared>,
    runtime: Handle,
    waiting: Mutex<Waiting>,
}

impl Lanes {
    /// Lanes on the runtime of the caller.
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self {
            shared,
            runtime: Handle::current(),
            waiting: Mutex::default(),
        }
    }

    fn next(&self, subject: Subject) -> Option<Append> {
        let mut waiting = lock(&self.waiting);
        let next = waiting.subjects.get_mut(&subject)?.pop_front();
        match next {
            Some(_) => waiting.total -= 1,
            None => drop(waiting.subjects.remove(&subject)),
        }
        next
    }

    async fn run(&self, subject: Subject) {
        let mut head = None;
        while let Some(append) = self.next(subject) {
            let known = match head.take() {
                Some(head) => Some(head),
                None => self.head(subject).await,
            };
            if known.is_some_and(|(number, _)| number != append.expected) {
                // Taken before anybody is told: what is decided on the news does not go with them.
                let behind = self.take_all(subject);
                (append.then)(Outcome::Behind);
                for behind in behind {
                    (behind.then)(Outcome::Behind);
                }
                continue;
            }
            head = self.write(append, known).await;
            if head.is_none() {
                // Their cell is over: what comes from now on is decided on another one.
                for behind in self.take_all(subject) {
                    (behind.then)(Outcome::Behind);
                }
            }
        }
    }

    fn take_all(&self, subject: Subject) -> VecDeque<Append> {
        let mut waiting = lock(&self.waiting);
        let queued = waiting.subjects.get_mut(&subject).map(std::mem::take);
        let queued = queued.unwrap_or_default();
        waiting.total -= queued.len();
        queued
    }

    /// Writes one act that was decided on `head`: where the subject ends then, or none where the act is not known to be durable.
    async fn write(&self, append: Append, head: Option<(u64, u64)>) -> Option<(u64, u64)> {
        let Some((_, sequence)) = head else {
            (append.then)(Outcome::Unknown);
            return None;
        };
        let deadline = Instant::now() + PATIENCE;
        let Append {
            subject,
            expected,
            act,
            rows,
            snapshot,
            then,
        } = append;
        let entry = Entry::new(Id::generate(), expected, act, rows);
        let payload = rmp_serde::to_vec(&entry).expect("an entry is numbers and bytes");
        let (origin, payload) = (entry.origin, Bytes::from(payload));
        let (told, mut back) = oneshot::channel();
        let pending = Pending {
            then,
            snapshot,
            told,
        };
        lock(&self.shared.pending).insert(origin, pending);
        let outcome = loop {
            let refused = tokio::select! {
                biased;
                end = &mut back => return end.ok().flatten(),
                refused = self.publish(subject, payload.clone(), sequence) => refused,
            };
            match refused {
                None => match timeout_at(deadline, back).await {
                    Ok(end) => return end.ok().flatten(),
                    Err(_) => break Outcome::Unknown,
                },
                Some(why) if why.kind() == PublishErrorKind::WrongLastSequence => {
                    // The next decision is made on what came before this one.
                    if self.shared.catch_up().await.is_err() {
                        break Outcome::Unknown;
                    }
                    if self.head(subject).await != head || Instant::now() > deadline {
                        break Outcome::Behind;
                    }
                    // The leader applies what it has committed later than the node that this relay reads from.
                }
                // Nobody took it: the stream has no leader at the moment.
                Some(why)
                    if why.kind() == PublishErrorKind::StreamNotFound
                        && Instant::now() < deadline =>
                {
                    tokio::time::sleep(PAUSE).await;
                }
                Some(why) => {
                    tracing::warn!(name: "store.not_appended", %why, "an act was not acknowledged");
                    break Outcome::Unknown;
                }
            }
        };
        // The applying thread may have read it in this moment.
        let given_up = lock(&self.shared.pending).remove(&origin);
        if let Some(pending) = given_up {
            (pending.then)(outcome);
        }
        None
    }

    /// Where a subject ends in the cache.
    async fn head(&self, subject: Subject) -> Option<(u64, u64)> {
        let shared = Arc::clone(&self.shared);
        #[expect(clippy::disallowed_methods, reason = "it costs the act that asked")]
        let read = tokio::task::spawn_blocking(move || shared.tables.head(subject));
        read.await.ok().and_then(Result::ok)
    }

    async fn publish(
        &self,
        subject: Subject,
        payload: Bytes,
        sequence: u64,
    ) -> Option<PublishError> {
        let mut headers = HeaderMap::new();
        // Replicas of old servers may differ in how they check for 0 (nats-server pull request 5794). Of two first acts the
        // second one in the stream counts for nobody.
        if sequence > 0 {
            headers.insert(
                NATS_EXPECTED_LAST_SUBJECT_SEQUENCE,
                sequence.to_string().as_str(),
            );
        }
        let context = &self.shared.context;
        let sent = context.publish_with_headers(path_of(subject), headers, payload);
        match sent.await {
            Ok(acknowledged) => acknowledged.await.err(),
            Err(why) => Some(why),
        }
    }
}

/// Queues an append, in a lane of its own where its subject has none.
pub(super) fn append(lanes: &Arc<Lanes>, append: Append) -> Result<(), Full> {
    let subject = append.subject;
    let mut waiting = lock(&lanes.waiting);
    if waiting.total >= QUEUE {
        return Err(Full);
    }
    waiting.total += 1;
    match waiting.subjects.entry(subject) {
        Slot::Occupied(mut lane) => lane.get_mut().push_back(append),
        Slot::Vacant(lane) => {
            lane.insert(VecDeque::from([append]));
            let lanes = Arc::clone(lanes);
            let runtime = lanes.runtime.clone();
            runtime.spawn(async move { lanes.run(subject).await });
        }
    }
    Ok(())
}
