//! What a worker says unasked: events of its source, and calls of what other sources offer.
//!
//! Invariants: nothing is said before the source is open; no more calls are under way than the gateway takes.
//!
//! Must not know: who listens, as whom a call is made.

use super::SourceError;
use crate::frame::{FrameSender, MAX_FRAME, WeakFrameSender, writer};
use crate::manifest::Manifest;
use crate::message::{
    Event, Failure, FromWorker, HOST_CALLS, HostAsk, HostCall, MAX_EVENT, MAX_EVENT_TOUCHED,
    MAX_HOST_INPUT, Touched,
};
use crate::text::{Line, Output, Payload};
use serde::Serialize;
use serde_json::Value;
use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};
use tokio::sync::{Semaphore, oneshot, watch};

/// The gateway, as a source may speak to it of its own accord. Clones are the same.
#[derive(Clone, Debug)]
pub struct Host(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    topics: Vec<String>,
    /// Weak: a task that outlives the worker's end must not keep its writer waiting.
    out: WeakFrameSender<FromWorker>,
    open: watch::Sender<bool>,
    slots: Semaphore,
    next: AtomicU64,
    waiting: Mutex<HashMap<u64, oneshot::Sender<Payload>>>,
}

impl Host {
    pub(super) fn new(manifest: &Manifest, out: &FrameSender<FromWorker>) -> Self {
        let topics = manifest.events.iter().map(|e| e.topic.clone());
        Self::over(topics.collect(), out.downgrade(), false)
    }

    /// One that nobody hears: for a connector's own tests, and for a source that is opened without a gateway.
    #[must_use]
    pub fn detached() -> Self {
        let (out, _) = writer::<_, FromWorker>(tokio::io::sink(), MAX_FRAME);
        Self::over(Vec::new(), out.downgrade(), true)
    }

    fn over(topics: Vec<String>, out: WeakFrameSender<FromWorker>, is_open: bool) -> Self {
        Self(Arc::new(Inner {
            topics,
            out,
            open: watch::Sender::new(is_open),
            slots: Semaphore::new(HOST_CALLS),
            next: AtomicU64::new(1),
            waiting: Mutex::default(),
        }))
    }

    /// Tells of something that happened at the source: `topic` is one of the manifest's, `touched` is what it is about.
    /// Agents that hold the topic's capability hear of it as far as their grants allow what it is about; what the owner
    /// hides is not told of. Waits until the source is open.
    ///
    /// # Errors
    /// A topic that the manifest lacks; a payload of more than 16 KiB; more than 64 things.
    pub async fn event(
        &self,
        topic: &str,
        summary: impl AsRef<str>,
        payload: &impl Serialize,
        touched: Vec<Touched>,
    ) -> Result<(), SourceError> {
        if !self.0.topics.iter().any(|known| known == topic) {
            return Err(SourceError::internal("an event of no topic"));
        }
        let payload = Output::of(payload)
            .ok()
            .filter(|payload| payload.len() <= MAX_EVENT && touched.len() <= MAX_EVENT_TOUCHED)
            .ok_or_else(|| SourceError::internal("an event is too large"))?;
        self.opened().await;
        let event = Event {
            topic: topic.into(),
            summary: Line::new(summary),
            payload,
            touched,
        };
        self.say(&FromWorker::Event(Box::new(event))).await
    }

    /// Calls `capability` of another source as this source itself: for resident workers. Answers what `POST /invoke`
    /// would: refusals and pending approvals are answers too. Waits until the source is open.
    ///
    /// # Errors
    /// An input that is no JSON, or of more than 1 MiB; a gateway that is gone.
    pub async fn call(
        &self,
        capability: &str,
        input: &impl Serialize,
    ) -> Result<Value, SourceError> {
        self.opened().await;
        self.ask_in(None, called(capability, input)?).await
    }

    /// What this source itself may call, as `{"capabilities": […]}`: for resident workers.
    ///
    /// # Errors
    /// A gateway that is gone.
    pub async fn capabilities(&self) -> Result<Value, SourceError> {
        self.opened().await;
        self.ask_in(None, HostAsk::List).await
    }

    pub(super) async fn ask_in(
        &self,
        call: Option<u64>,
        ask: HostAsk,
    ) -> Result<Value, SourceError> {
        let _slot = self.0.slots.acquire().await;
        let id = self.0.next.fetch_add(1, Ordering::Relaxed);
        let (answer, answered) = oneshot::channel();
        self.waiting().insert(id, answer);
        let _entry = Entry { host: self, id };
        self.say(&FromWorker::HostCall(HostCall { id, call, ask }))
            .await?;
        let response = answered.await.map_err(|_| gone())?;
        serde_json::from_slice(&response)
            .map_err(|_| SourceError::internal("the gateway's answer is no JSON"))
    }

    pub(super) fn answer(&self, id: u64, response: Payload) {
        // The caller may have gone.
        if let Some(waiting) = self.waiting().remove(&id) {
            drop(waiting.send(response));
        }
    }

    pub(super) fn open(&self) {
        self.0.open.send_replace(true);
    }

    async fn opened(&self) {
        // The sender is ours, so it does not go first.
        let _ = self.0.open.subscribe().wait_for(|open| *open).await;
    }

    async fn say(&self, message: &FromWorker) -> Result<(), SourceError> {
        self.0.out.send(message).await.map_err(|_| gone())
    }

    fn waiting(&self) -> MutexGuard<'_, HashMap<u64, oneshot::Sender<Payload>>> {
        let waiting = self.0.waiting.lock();
        waiting.unwrap_or_else(PoisonError::into_inner)
    }
}

/// A call that waits for its answer.
struct Entry<'h> {
    host: &'h Host,
    id: u64,
}

impl Drop for Entry<'_> {
    fn drop(&mut self) {
        self.host.waiting().remove(&self.id);
    }
}

/// A call of `capability`.
pub(super) fn called(capability: &str, input: &impl Serialize) -> Result<HostAsk, SourceError> {
    let input = serde_json::to_vec(input)
        .ok()
        .filter(|input| input.len() <= MAX_HOST_INPUT)
        .ok_or_else(|| SourceError::invalid("the input of a call is no JSON, or too large"))?;
    Ok(HostAsk::Call {
        capability: Line::new(capability),
        input: input.into(),
    })
}

fn gone() -> SourceError {
    SourceError::new(Failure::SourceUnavailable, "the gateway is gone")
}
