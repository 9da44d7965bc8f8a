//! What a worker says unasked: events of its source, and calls of what other sources offer.
//!
//! Invariants: nothing is said before the source is open; no more calls are under way than the gateway takes: a call holds
//! its slot until the gateway has answered it, or the call that it serves, whether or not somebody still waits for it;
//! waits for the owner's decision have slots of their own.
//!
//! Must not know: who listens, as whom a call is made.

use super::SourceError;
use crate::frame::{FrameSender, MAX_FRAME, WeakFrameSender, writer};
use crate::manifest::Manifest;
use crate::message::{
    ChildAsk, Event, Failure, FromWorker, HOST_CALLS, HOST_WAITS, HostAsk, HostCall, MAX_EVENT,
    MAX_EVENT_TOUCHED, MAX_HOST_INPUT, MAX_ITEM_WAIT, Touched,
};
use crate::text::{Line, Output, Payload};
use plexus_protocol::{Digest, PendingId};
use serde::Serialize;
use serde_json::Value;
use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot, watch};

/// The gateway, as a source may speak to it of its own accord. Clones are the same.
#[derive(Clone, Debug)]
pub struct Host(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    topics: Vec<String>,
    /// Weak: a task that outlives the worker's end must not keep its writer waiting.
    out: WeakFrameSender<FromWorker>,
    open: watch::Sender<bool>,
    slots: Arc<Semaphore>,
    /// Of waits for a decision.
    waits: Arc<Semaphore>,
    next: AtomicU64,
    under_way: Mutex<HashMap<u64, UnderWay>>,
}

/// A call that the gateway has not answered.
#[derive(Debug)]
struct UnderWay {
    /// The call that it serves.
    call: Option<u64>,
    answer: oneshot::Sender<Payload>,
    _slot: OwnedSemaphorePermit,
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
            slots: Arc::new(Semaphore::new(HOST_CALLS)),
            waits: Arc::new(Semaphore::new(HOST_WAITS)),
            next: AtomicU64::new(1),
            under_way: Mutex::default(),
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

    /// Calls `capability` of another source, or of its own, as this source itself: for resident workers. Answers what `POST /invoke`
    /// would: refusals and pending approvals are answers too. Waits until the source is open.
    ///
    /// # Errors
    /// An input that is no JSON, or of more than 1 MiB; a gateway that is gone.
    pub async fn call(
        &self,
        capability: &str,
        input: &impl Serialize,
    ) -> Result<Value, SourceError> {
        self.ask_opened(called(capability, input)?).await
    }

    /// What this source itself may call, as `{"capabilities": […]}`: for resident workers.
    ///
    /// # Errors
    /// A gateway that is gone.
    pub async fn capabilities(&self) -> Result<Value, SourceError> {
        self.ask_opened(HostAsk::List).await
    }

    /// How a call of [`Host::call`] that waits for the owner stands, as
    /// [`CallContext::host_item`](super::CallContext::host_item) has it.
    ///
    /// # Errors
    /// A gateway that is gone.
    pub async fn item(&self, item: &PendingId, wait: Duration) -> Result<Value, SourceError> {
        let (item, seconds) = (item.clone(), seconds(wait));
        self.ask_opened(HostAsk::Item { item, seconds }).await
    }

    /// Withdraws such a call: nothing comes of it any more.
    ///
    /// # Errors
    /// A gateway that is gone.
    pub async fn withdraw(&self, item: &PendingId) -> Result<Value, SourceError> {
        let item = item.clone();
        self.ask_opened(HostAsk::Withdraw { item }).await
    }

    /// Makes the child call `name` of another source's `capability` under `approval`, which
    /// [`CallContext::conversation`](super::CallContext::conversation) names in the commit of the approved call. Answers
    /// `{"ok": true, "run", "used", "left"}` once it is recorded, else `{"ok": false, "error"}` and nothing was done. The
    /// same name again is the same run. Waits until the source is open.
    ///
    /// # Errors
    /// A name that is no line of at most 128 bytes; an input that is no JSON, or of more than 1 MiB; a gateway that is
    /// gone.
    pub async fn child(
        &self,
        approval: Digest,
        name: &str,
        capability: &str,
        input: &impl Serialize,
    ) -> Result<Value, SourceError> {
        let ask = ChildAsk::Call {
            name: child_name(name)?,
            capability: Line::new(capability),
            input: payload(input)?,
        };
        self.ask_opened(HostAsk::Children { approval, ask }).await
    }

    /// How the run of the child call `name` stands, as `{"ok": true, "state": "running" | "over" | "unknown"}`, once it is
    /// over with its `answer`; its end is waited for as long as `wait` says, 20 s at most. It is unknown where the gateway
    /// or its answer is gone: this name does not make it again. If the owner is to say what became of it, the answer says so.
    ///
    /// # Errors
    /// As of [`Host::child`].
    pub async fn child_run(
        &self,
        approval: Digest,
        name: &str,
        wait: Duration,
    ) -> Result<Value, SourceError> {
        let ask = ChildAsk::Run {
            name: child_name(name)?,
            seconds: seconds(wait),
        };
        self.ask_opened(HostAsk::Children { approval, ask }).await
    }

    /// How an approval of child calls stands, as `{"ok": true, "state", "left", "until"}`; `state` is `open`,
    /// `suspended`, `spent`, `over` or `void`.
    ///
    /// # Errors
    /// A gateway that is gone.
    pub async fn child_approval(&self, approval: Digest) -> Result<Value, SourceError> {
        let ask = ChildAsk::Approval;
        self.ask_opened(HostAsk::Children { approval, ask }).await
    }

    /// Ends an approval of child calls, as `{"ok": true}`: its source makes no more. One that is over stays as it is.
    ///
    /// # Errors
    /// A gateway that is gone.
    pub async fn end_children(&self, approval: Digest) -> Result<Value, SourceError> {
        let ask = ChildAsk::End;
        self.ask_opened(HostAsk::Children { approval, ask }).await
    }

    /// Cancels the run of the child call `name`.
    ///
    /// # Errors
    /// As of [`Host::child`].
    pub async fn stop_child(&self, approval: Digest, name: &str) -> Result<Value, SourceError> {
        let name = child_name(name)?;
        let ask = ChildAsk::Stop { name };
        self.ask_opened(HostAsk::Children { approval, ask }).await
    }

    async fn ask_opened(&self, ask: HostAsk) -> Result<Value, SourceError> {
        self.opened().await;
        self.ask_in(None, ask).await
    }

    pub(super) async fn ask_in(
        &self,
        call: Option<u64>,
        ask: HostAsk,
    ) -> Result<Value, SourceError> {
        let slots = match ask.is_wait() {
            true => &self.0.waits,
            false => &self.0.slots,
        };
        let slot = slots.clone().acquire_owned().await.map_err(|_| gone())?;
        let id = self.0.next.fetch_add(1, Ordering::Relaxed);
        let (answer, answered) = oneshot::channel();
        let under_way = UnderWay {
            call,
            answer,
            _slot: slot,
        };
        self.under_way().insert(id, under_way);
        let unsent = Unsent { host: self, id };
        self.say(&FromWorker::HostCall(HostCall { id, call, ask }))
            .await?;
        // The gateway counts it from here on, also without a waiter.
        std::mem::forget(unsent);
        let response = answered.await.map_err(|_| gone())?;
        serde_json::from_slice(&response)
            .map_err(|_| SourceError::internal("the gateway's answer is no JSON"))
    }

    pub(super) fn answer(&self, id: u64, response: Payload) {
        // The caller may have gone.
        if let Some(under_way) = self.under_way().remove(&id) {
            drop(under_way.answer.send(response));
        }
    }

    /// The gateway hears that `call` is answered, and forgets what served it.
    pub(super) fn ended(&self, call: u64) {
        self.under_way()
            .retain(|_, under_way| under_way.call != Some(call));
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

    fn under_way(&self) -> MutexGuard<'_, HashMap<u64, UnderWay>> {
        let under_way = self.0.under_way.lock();
        under_way.unwrap_or_else(PoisonError::into_inner)
    }
}

/// A call that the gateway has not been sent.
struct Unsent<'h> {
    host: &'h Host,
    id: u64,
}

impl Drop for Unsent<'_> {
    fn drop(&mut self) {
        self.host.under_way().remove(&self.id);
    }
}

/// A call of `capability`.
pub(super) fn called(capability: &str, input: &impl Serialize) -> Result<HostAsk, SourceError> {
    Ok(HostAsk::Call {
        capability: Line::new(capability),
        input: payload(input)?,
    })
}

fn payload(input: &impl Serialize) -> Result<Payload, SourceError> {
    let input = serde_json::to_vec(input)
        .ok()
        .filter(|input| input.len() <= MAX_HOST_INPUT)
        .ok_or_else(|| SourceError::invalid("the input of a call is no JSON, or too large"))?;
    Ok(input.into())
}

/// Two names are never one: nothing of a name is left out.
fn child_name(name: &str) -> Result<Line<128>, SourceError> {
    let line = Line::new(name);
    match !name.is_empty() && line.as_str() == name {
        true => Ok(line),
        false => Err(SourceError::invalid(
            "the name of a child call is no line of 1 to 128 bytes",
        )),
    }
}

/// How long a wait may be, for the gateway.
pub(super) fn seconds(wait: Duration) -> u8 {
    u8::try_from(wait.as_secs()).map_or(MAX_ITEM_WAIT, |seconds| seconds.min(MAX_ITEM_WAIT))
}

fn gone() -> SourceError {
    SourceError::new(Failure::SourceUnavailable, "the gateway is gone")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::FrameReader;
    use std::time::Duration;

    #[tokio::test]
    async fn slot_is_held_until_the_gateway_counts_no_more() {
        let (near, far) = tokio::io::duplex(1 << 20);
        let (out, writing) = writer::<_, FromWorker>(near, MAX_FRAME);
        tokio::spawn(writing);
        let host = Host::over(Vec::new(), out.downgrade(), true);
        let mut heard = FrameReader::<_, FromWorker>::new(far, MAX_FRAME);
        let ask = |call: u64, ask: HostAsk| {
            let host = host.clone();
            tokio::spawn(async move { host.ask_in(Some(call), ask).await })
        };
        let mut calls = Vec::new();
        for _ in 0..HOST_CALLS {
            calls.push(ask(1, HostAsk::List));
        }
        for _ in 0..HOST_CALLS {
            heard.next().await.unwrap();
        }
        // Nobody waits for them any more; the gateway does not know.
        for call in calls {
            call.abort();
            let _ = call.await;
        }
        let _next = ask(2, HostAsk::List);
        let soon = Duration::from_millis(50);
        let early = tokio::time::timeout(soon, heard.next()).await;
        let _in_vain = early.expect_err("nobody asks before there is room");
        // A wait for the owner holds up no call, and no call holds it up.
        let item = PendingId::fresh();
        let _wait = ask(2, HostAsk::Item { item, seconds: 20 });
        assert!(matches!(
            heard.next().await.unwrap(),
            Some(FromWorker::HostCall(call)) if call.ask.is_wait()
        ));
        host.answer(1, b"{}".to_vec().into());
        assert!(matches!(
            heard.next().await.unwrap(),
            Some(FromWorker::HostCall(call)) if call.call == Some(2)
        ));
        // With the answer to the call that they served the rest are free.
        host.ended(1);
        assert_eq!(host.0.slots.available_permits(), HOST_CALLS - 1);
    }
}
