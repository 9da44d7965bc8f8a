//! Events of sources, on their way to the agents that may hear of them.
//!
//! ```text
//! event ─▶ batch of its source ─ the first at once, others once a second ─▶ who listens and may? ─▶ record ─▶ frames
//! ```
//! Invariants: an agent hears of an event only where a standing grant of the topic's capability allows all that it is
//! about, and only once that is recorded, as a read; no approval is used for one. What waits has a bound: more is dropped,
//! and counted in the audit log. An event that nobody hears leaves no record.
//!
//! Must not know: HTTP.

use crate::{events::Notice, kernel::Kernel};
use plexus_home::tasks::lasting;
use plexus_ipc::{manifest::Capability, message::Event};
use plexus_ledger::Lane;
use plexus_protocol::{AgentId, CapabilityId, Digest, SourceId, json};
use plexus_sources::catalogue::Entry;
use plexus_supervisor::SourceEvent;
use plexus_trust::{
    AuthPath, Call, Command, Outcome, OutcomeKind, Permit, State, Verdict, authorize,
};
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};
use tokio::{
    sync::{Mutex, mpsc},
    time::{Instant, sleep_until},
};

/// Between two batches of one source.
const EVERY: Duration = Duration::from_secs(1);
/// Between two records of events that were dropped.
const RECORDS_EVERY: Duration = Duration::from_secs(10);
/// Events that wait for all sources.
const WAITING: usize = 256;
/// Things that a record of one batch names.
const TOUCHED: usize = 1_024;

/// The way to [`run`].
pub(crate) struct SourceEvents {
    events: mpsc::Sender<SourceEvent>,
    /// Not recorded yet.
    dropped: HashMap<SourceId, u32>,
    recorded: Option<Instant>,
}

impl SourceEvents {
    /// Starts the task that delivers them.
    pub(crate) fn start(kernel: &Arc<Kernel>) -> Self {
        let (events, queue) = mpsc::channel(WAITING);
        let waiting = Arc::new(Mutex::new((queue, HashMap::new())));
        let kernel = kernel.clone();
        lasting("the events of sources", move || {
            let (kernel, waiting) = (kernel.clone(), Arc::clone(&waiting));
            async move {
                let (queue, batches) = &mut *waiting.lock().await;
                run(&kernel, queue, batches).await;
            }
        });
        Self {
            events,
            dropped: HashMap::new(),
            recorded: None,
        }
    }

    /// Takes an event in. Waits for nothing.
    pub(crate) fn take(&mut self, event: SourceEvent) {
        let source = event.source.clone();
        if self.events.try_send(event).is_err() {
            self.count(source, 1);
        }
    }

    /// Counts events that reach nobody.
    pub(crate) fn count(&mut self, source: SourceId, count: u32) {
        *self.dropped.entry(source).or_default() += count;
    }

    /// Whether some were dropped that are not recorded yet.
    pub(crate) fn owes(&self) -> bool {
        !self.dropped.is_empty()
    }

    /// The records of those that were dropped, now and again.
    pub(crate) fn dropped(&mut self) -> Vec<Value> {
        let now = Instant::now();
        if !self.owes() || self.recorded.is_some_and(|at| now < at + RECORDS_EVERY) {
            return Vec::new();
        }
        self.recorded = Some(now);
        let record = |(source, count)| json!({"event": "worker.events_dropped", "source": source, "count": count});
        self.dropped.drain().map(record).collect()
    }
}

struct Batch {
    events: Vec<SourceEvent>,
    /// When it may go.
    due: Instant,
}

async fn run(
    kernel: &Kernel,
    queue: &mut mpsc::Receiver<SourceEvent>,
    batches: &mut HashMap<SourceId, Batch>,
) {
    loop {
        let waiting = batches.values().filter(|batch| !batch.events.is_empty());
        let next = waiting.map(|batch| batch.due).min();
        tokio::select! {
            event = queue.recv() => match event {
                Some(event) => {
                    let batch = batches.entry(event.source.clone()).or_insert_with(|| Batch {
                        events: Vec::new(),
                        due: Instant::now(),
                    });
                    batch.events.push(event);
                }
                None => return,
            },
            () = sleep_until(next.unwrap_or_else(Instant::now)), if next.is_some() => {}
        }
        let now = Instant::now();
        // A source's pace is forgotten with its last batch.
        batches.retain(|_, batch| !batch.events.is_empty() || batch.due > now);
        for batch in batches.values_mut() {
            if !batch.events.is_empty() && batch.due <= now {
                batch.due = now + EVERY;
                deliver(kernel, std::mem::take(&mut batch.events)).await;
            }
        }
    }
}

/// Delivers events of one source to the agents that listen and may hear of them.
async fn deliver(kernel: &Kernel, events: Vec<SourceEvent>) {
    let state = kernel.ledger.snapshot();
    let catalogue = kernel.catalogue.load();
    let known: Vec<(SourceEvent, Arc<Entry>)> = events
        .into_iter()
        .filter_map(|event| {
            let same = state.sources.get(&event.source)?.revision == event.revision;
            let id = CapabilityId::of(&event.source, &event.capability).ok()?;
            let entry = catalogue.get(&id)?.clone();
            same.then_some((event, entry))
        })
        .collect();
    let mut by_capability: BTreeMap<&CapabilityId, Vec<usize>> = BTreeMap::new();
    for (number, (_, entry)) in known.iter().enumerate() {
        by_capability.entry(&entry.id).or_default().push(number);
    }
    let mut audience: Vec<Vec<(AgentId, u64)>> = vec![Vec::new(); known.len()];
    for (agent, epoch) in kernel.feed.agents() {
        if state.agent(&agent).is_none_or(|known| known.epoch != epoch) {
            continue;
        }
        for (id, numbers) in &by_capability {
            let Some(permit) = permitted(kernel, &state, &agent, id) else {
                continue;
            };
            let is_heard = |number: &usize| {
                let (event, entry) = &known[*number];
                is_within(&permit, entry.capability(), &event.event)
            };
            let heard: Vec<usize> = numbers.iter().copied().filter(is_heard).collect();
            if heard.is_empty() || kernel.revocations.refuses(&agent, id, None).is_some() {
                continue;
            }
            let events = heard.iter().map(|number| &*known[*number].0.event);
            let outcome = outcome(events);
            // Not charged to the agent: it has not asked for it.
            let command = Command::Read { permit, outcome };
            match kernel.ledger.submit(command, Lane::Agent).await {
                Ok(receipt) if receipt.durable.is_some() => {
                    for number in heard {
                        audience[number].push((agent.clone(), epoch));
                    }
                }
                Ok(_) => {}
                Err(error) => {
                    tracing::warn!(name: "event.not_recorded", %agent, capability = %id, %error, "events of a source are withheld from an agent");
                }
            }
        }
    }
    for ((event, entry), agents) in known.into_iter().zip(audience) {
        let SourceEvent { source, event, .. } = event;
        let Event {
            topic,
            summary,
            payload,
            ..
        } = *event;
        kernel.feed.publish(Notice::SourceEvent {
            agents,
            capability: entry.id.clone(),
            source,
            topic: topic.as_str().to_owned(),
            summary: summary.as_str().to_owned(),
            payload: payload.into_json(),
        });
    }
}

/// The permit of an agent whose standing grant lets it read what the events tell of.
fn permitted(
    kernel: &Kernel,
    state: &State,
    agent: &AgentId,
    capability: &CapabilityId,
) -> Option<Permit> {
    let input = json!({});
    let call = Call {
        agent,
        capability,
        input: &input,
        digest: Digest::of(&json::canonical(&input)),
    };
    match authorize(state, call, AuthPath::Standing, kernel.clock.now()) {
        Verdict::Permit(permit) => Some(*permit),
        Verdict::Pend { .. } | Verdict::Refuse(_) => None,
    }
}

/// Whether the grant allows all that the event is about. An event names something of each kind that the grant narrows.
fn is_within(permit: &Permit, capability: &Capability, event: &Event) -> bool {
    let Some(constraint) = &permit.constraint else {
        return true;
    };
    let rules = capability.constrainable.iter();
    let mut rules = rules.filter(|rule| constraint.is_about(&rule.field));
    rules.all(|rule| {
        let mut of_kind = event
            .touched
            .iter()
            .filter(|touched| rule.touched.as_deref() == Some(touched.kind.as_str()))
            .peekable();
        of_kind.peek().is_some()
            && of_kind.all(|touched| constraint.lets_pass(&rule.field, &json!(touched.id.as_str())))
    })
}

/// What is recorded of the events of one batch that an agent hears of.
fn outcome<'e>(events: impl Iterator<Item = &'e Event>) -> Outcome {
    let mut topics: BTreeMap<&str, u32> = BTreeMap::new();
    let (mut bytes, mut touched) = (0, Vec::new());
    for event in events {
        *topics.entry(event.topic.as_str()).or_default() += 1;
        bytes += event.payload.len() as u64;
        for touch in crate::touches::reported(&event.touched) {
            if touched.len() < TOUCHED && !touched.contains(&touch) {
                touched.push(touch);
            }
        }
    }
    let topics: Vec<String> = topics
        .into_iter()
        .map(|(topic, count)| format!("{count} {topic}"))
        .collect();
    Outcome {
        kind: OutcomeKind::Ok,
        code: None,
        reason: None,
        input_bytes: 0,
        output_bytes: bytes,
        touched,
        summary: Some(format!("events: {}", topics.join(", "))),
        undo: None,
        effect: None,
        progress: None,
        micros: 0,
    }
}
