//! What a worker says unasked: its events, and calls of its own.
//!
//! Invariants: an event is of a topic of the manifest; no more of either are passed on than a bound; a call of its own
//! ends with the call that it serves, and all of them with the worker.
//!
//! Must not know: as whom a call is made, who hears of an event.

use super::super::{
    call::{Job, Question},
    notice::{HostCall, HostCaller, Notice, SourceEvent},
    setup::Spec,
};
use plexus_ipc::{
    message::{self, ChildAsk, Event, HOST_CALLS, HOST_WAITS, HostAsk, MAX_EVENT, MAX_HOST_INPUT},
    text::Payload,
};
use plexus_protocol::{ErrorBody, ErrorCode, NextKind, Scopes, body::InvokeResponse};
use std::{collections::BTreeMap, future::poll_fn, pin::Pin, sync::Arc, task::Poll};
use tokio::sync::oneshot;

/// Events that are passed on from one probe to the next; more are dropped, and counted.
const EVENTS: u32 = 320;
/// Events that are dropped from one probe to the next, at which a worker is ended.
const DROPPED: u32 = 1_000;

pub(super) struct Unasked {
    spec: Arc<Spec>,
    /// Since the last probe.
    events: u32,
    /// By the worker's number.
    calls: BTreeMap<u64, Serving>,
}

struct Serving {
    /// The call that it serves.
    call: Option<u64>,
    /// It may last until the owner decides.
    is_wait: bool,
    answer: oneshot::Receiver<Payload>,
}

impl Unasked {
    pub(super) fn new(spec: Arc<Spec>) -> Self {
        Self {
            spec,
            events: 0,
            calls: BTreeMap::new(),
        }
    }

    /// The notice that a server wants more than the owner's sign-in is good for.
    pub(super) fn scope_missing(&self, wanted: &Scopes) -> Notice {
        Notice::ScopeMissing {
            source: self.spec.source.clone(),
            wanted: wanted.clone(),
        }
    }

    /// The notice of an event; none where there were too many.
    pub(super) fn event(&mut self, event: Event) -> Result<Option<Notice>, &'static str> {
        let manifest = &self.spec.offer.manifest;
        let Some(capability) = manifest.capability_of(&event.topic) else {
            return Err("an event of no topic");
        };
        if event.payload.len() > MAX_EVENT {
            return Err("an event beyond its size");
        }
        self.events += 1;
        if self.events > EVENTS + DROPPED {
            return Err("a flood of events");
        }
        Ok((self.events <= EVENTS).then(|| {
            Notice::Event(SourceEvent {
                source: self.spec.source.clone(),
                revision: self.spec.revision,
                capability: capability.to_owned(),
                event: Box::new(event),
            })
        }))
    }

    /// The notice of those that were dropped since the last probe; a new count begins.
    pub(super) fn dropped(&mut self) -> Option<Notice> {
        let dropped = self.events.saturating_sub(EVENTS);
        self.events = 0;
        (dropped > 0).then(|| Notice::EventsDropped {
            source: self.spec.source.clone(),
            count: dropped,
        })
    }

    /// A call of its own, which serves `job` where it names one.
    pub(super) fn call(
        &mut self,
        call: message::HostCall,
        job: Option<&Job>,
    ) -> Result<HostCall, &'static str> {
        let manifest = &self.spec.offer.manifest;
        let may = match call.ask {
            HostAsk::Owner { .. } => manifest.mcp.is_some(),
            _ => manifest.host_calls,
        };
        if !may || (call.call.is_none() && !manifest.resident) {
            return Err("a call that its manifest does not allow");
        }
        let is_wait = call.ask.is_wait();
        let alike = self.calls.values().filter(|call| call.is_wait == is_wait);
        let most = if is_wait { HOST_WAITS } else { HOST_CALLS };
        if alike.count() >= most || self.calls.contains_key(&call.id) {
            return Err("more calls of its own than it may make");
        }
        let input = match &call.ask {
            HostAsk::Call { input, .. } => input.len(),
            HostAsk::Children {
                ask: ChildAsk::Call { input, .. },
                ..
            } => input.len(),
            _ => 0,
        };
        if input > MAX_HOST_INPUT {
            return Err("a call beyond its size");
        }
        let caller = match call.call {
            None => Some(HostCaller::Source),
            // One that is over is served no more; a plan changes nothing, and asks nobody.
            Some(_) => job.filter(|job| job.reply.is_some()).and_then(|job| {
                let is_read = match job.question {
                    Question::Read(_) => true,
                    Question::Commit(_) => false,
                    Question::Plan(_) | Question::Settle(_) => return None,
                };
                let origin = job.origin?;
                Some(HostCaller::Call { origin, is_read })
            }),
        };
        let (reply, answer) = oneshot::channel();
        let serving = Serving {
            call: call.call,
            is_wait,
            answer,
        };
        self.calls.insert(call.id, serving);
        Ok(HostCall {
            source: self.spec.source.clone(),
            caller,
            ask: call.ask,
            reply,
        })
    }

    /// The answer to a worker that is being stopped: a call that ends then waits for its own.
    pub(super) fn ends() -> Payload {
        let why = ErrorBody::new(ErrorCode::Busy, "The source that calls is being stopped.");
        let why = why.then(NextKind::Stop, "stop; this call is being ended");
        let told = serde_json::to_vec(&InvokeResponse::refused("", why, None));
        told.unwrap_or_default().into()
    }

    /// The calls that served `job` end with it.
    pub(super) fn over(&mut self, job: u64) {
        self.calls.retain(|_, serving| serving.call != Some(job));
    }

    /// Waits for the next answer; `None` where a call will have none. Cancelling it loses nothing.
    pub(super) async fn answered(&mut self) -> (u64, Option<Payload>) {
        let (id, answer) = poll_fn(|cx| {
            for (id, serving) in &mut self.calls {
                if let Poll::Ready(answer) = Pin::new(&mut serving.answer).poll(cx) {
                    return Poll::Ready((*id, answer.ok()));
                }
            }
            Poll::Pending
        })
        .await;
        self.calls.remove(&id);
        (id, answer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulation::stage;
    use plexus_ipc::{manifest::Manifest, text::Output};
    use plexus_protocol::SourceId;
    use serde_json::json;

    /// Of a worker whose manifest says this too.
    fn unasked(resident: bool, host_calls: bool) -> Unasked {
        let mut manifest = stage::manifest(resident);
        manifest["hostCalls"] = json!(host_calls);
        manifest["events"] =
            json!([{"topic": "rang", "capability": "read", "describe": "It rang."}]);
        let manifest = Manifest::parse(&manifest.to_string()).expect("a manifest");
        let source = SourceId::parse("bell").expect("an id");
        Unasked::new(stage::spec(source, Arc::new(manifest), 1))
    }

    fn call(id: u64, serves: Option<u64>, input: usize) -> message::HostCall {
        message::HostCall {
            id,
            call: serves,
            ask: HostAsk::Call {
                capability: "notes.read".into(),
                input: vec![b' '; input].into(),
            },
        }
    }

    #[test]
    fn own_calls_are_bounded_in_kind_number_and_size() {
        let begins = |unasked: &mut Unasked, asked| unasked.call(asked, None).map(|_| ());
        let refused = "a call that its manifest does not allow";
        assert_eq!(
            begins(&mut unasked(true, false), call(1, None, 2)),
            Err(refused)
        );
        assert_eq!(
            begins(&mut unasked(false, true), call(1, None, 2)),
            Err(refused)
        );
        let mut worker = unasked(true, true);
        assert_eq!(
            begins(&mut worker, call(1, None, MAX_HOST_INPUT + 1)),
            Err("a call beyond its size")
        );
        assert_eq!(begins(&mut worker, call(1, None, MAX_HOST_INPUT)), Ok(()));
        let many = "more calls of its own than it may make";
        assert_eq!(
            begins(&mut worker, call(1, None, 2)),
            Err(many),
            "a number twice"
        );
        for id in 2..=HOST_CALLS as u64 {
            assert_eq!(begins(&mut worker, call(id, None, 2)), Ok(()));
        }
        assert_eq!(begins(&mut worker, call(99, None, 2)), Err(many));
    }

    #[test]
    fn call_for_a_number_that_is_not_under_way_has_no_caller() {
        let asked = unasked(true, true).call(call(1, Some(7), 2), None);
        let Ok(asked) = asked else {
            panic!("it is refused by the gateway, in words");
        };
        assert!(asked.caller.is_none());
        let Ok(own) = unasked(true, true).call(call(1, None, 2), None) else {
            panic!("a resident worker's own");
        };
        assert!(matches!(own.caller, Some(HostCaller::Source)));
    }

    #[test]
    fn event_has_a_topic_and_a_bounded_size() {
        let event = |topic: &str, text: usize| Event {
            topic: topic.into(),
            summary: "rang".into(),
            payload: Output::of(&"x".repeat(text)).expect("JSON"),
            touched: Vec::new(),
        };
        let mut worker = unasked(true, true);
        // With its quotes.
        assert!(matches!(
            worker.event(event("rang", MAX_EVENT - 2)),
            Ok(Some(_))
        ));
        for (topic, text, why) in [
            ("rang", MAX_EVENT - 1, "an event beyond its size"),
            ("sang", 1, "an event of no topic"),
        ] {
            assert_eq!(worker.event(event(topic, text)).err(), Some(why));
        }
    }
}
