//! The stream of events for agents and the owner (docs/protocol/events.md), made from what the ledger records.
//!
//! ```text
//! told ─▶ numbered and kept, and sent to who listens, in one step
//! listens since N ─ N of this launch, and all after it kept ─▶ what is kept after N ─▶ what is told from now on
//!                 └ anything else ─▶ `missed` ─▶ all that is kept ─────────────────▶ what is told from now on
//! ```
//! Invariants: a frame never holds a token; an agent gets only its own; no frame comes twice, and where one that was kept
//! is lost to a listener (it is too old, of another launch, or the log was faster than we) `missed` says so in its place.
//! The last frames that change something are kept for `Last-Event-ID`; `audit_appended` is not: the log is there to read.
//!
//! Must not know: HTTP.

use plexus_protocol::{AgentId, CapabilityId, RunId, SourceId};
use plexus_trust::State;
use serde_json::{Value, json, value::RawValue};
use std::{
    collections::{HashMap, VecDeque},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};
use tokio::sync::broadcast;

/// Frames that a slow reader may be behind.
const LAG: usize = 1_024;
/// Frames kept for a reader that comes back.
const KEPT: usize = 1_024;

/// The frame that stands where others were lost: its reader reads anew what frames tell of.
pub(crate) const MISSED: &str = "missed";

/// That a run streams. Not kept: the run's own log is there to read.
const PROGRESS: &str = "invoke_progress";

/// That something happened at a source. Not kept: what is there now is for the source to say.
const SOURCE_EVENT: &str = "source_event";

/// What is told that is not in the ledger.
#[derive(Clone, Debug)]
pub(crate) enum Notice {
    ManifestChanged {
        revision: u64,
        changed: Option<Changed>,
    },
    InvokeResolved {
        agent: AgentId,
        epoch: u64,
        run: RunId,
        id: String,
        ok: bool,
    },
    InvokeProgress {
        agent: AgentId,
        epoch: u64,
        run: RunId,
        id: String,
        /// The offset after the newest piece.
        next: u64,
    },
    SourceEvent {
        /// Who may hear of it, with their epochs: on record for each.
        agents: Vec<(AgentId, u64)>,
        /// The read that shows the same.
        capability: CapabilityId,
        source: SourceId,
        topic: String,
        summary: String,
        payload: Box<RawValue>,
    },
    SourceStatus {
        /// The one agent that may hear of it, where it is lent, and its epoch.
        borrower: Option<(AgentId, u64)>,
        /// What the source offers and the owner exposes: a listener that may know of none of it hears nothing.
        capabilities: Vec<CapabilityId>,
        source: SourceId,
        available: bool,
        /// For the owner.
        reason: Option<String>,
        /// For agents.
        told: Option<&'static str>,
    },
}

/// Which entries changed.
#[derive(Clone, Debug, Default)]
pub struct Changed {
    /// New in the catalogue.
    pub added: Vec<CapabilityId>,
    /// Not in it any more.
    pub removed: Vec<CapabilityId>,
    /// Still in it, with other terms.
    pub updated: Vec<CapabilityId>,
}

/// What an agent is told less of than the owner.
#[derive(Clone, Debug)]
pub(crate) enum Narrowed {
    /// The ids that it may know of.
    Changed(Changed),
    /// All, if it may know of one of these; the reason in these words.
    Source {
        capabilities: Vec<CapabilityId>,
        told: Option<&'static str>,
    },
}

/// Who may see a frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Audience {
    Everyone,
    Agent(AgentId, Epoch),
    /// These agents, in these epochs, and the owner.
    Agents(Vec<(AgentId, u64)>),
    Owner,
}

/// Which program of an agent's name: another credential is another epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Epoch {
    Is(u64),
    /// The one that this epoch ended.
    Before(u64),
}

impl Epoch {
    fn has(self, epoch: u64) -> bool {
        match self {
            Self::Is(is) => epoch == is,
            Self::Before(next) => epoch < next,
        }
    }
}

/// From where on a listener wants frames: what it sent as `Last-Event-ID`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Since {
    /// It has none.
    Now,
    /// A frame of ours.
    #[allow(missing_docs, reason = "the numbers of its id")]
    Frame { launch: u64, number: u64 },
    /// Nothing that we ever gave.
    Unknown,
}

/// One frame.
#[derive(Clone, Debug)]
pub(crate) struct QueuedEvent {
    number: u64,
    audience: Audience,
    kind: &'static str,
    data: Value,
    narrowed: Option<Narrowed>,
}

/// A frame as one listener may see it.
#[derive(Clone, Debug)]
pub struct VisibleEvent {
    /// The event's name.
    pub kind: &'static str,
    /// Its data.
    pub data: Value,
    /// What the listener sends as `Last-Event-ID` to go on after it.
    pub id: String,
}

/// Who listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listener {
    /// One agent.
    Agent {
        /// Which.
        agent: AgentId,
        /// The agent's epoch in which it began to listen.
        epoch: u64,
    },
    /// Who may see everything.
    Owner,
}

impl Listener {
    /// Whether it hears what only the owner may.
    fn is_owner(&self) -> bool {
        matches!(self, Self::Owner)
    }
}

/// The stream, and the frames that can be sent again.
pub struct Feed {
    frames: broadcast::Sender<Arc<QueuedEvent>>,
    kept: Arc<Mutex<Backlog>>,
    pub(crate) owners: Arc<AtomicUsize>,
    agents: Listeners,
    closed: tokio::sync::watch::Sender<bool>,
}

/// How many streams are open of each agent, in each epoch.
type Listeners = Arc<Mutex<HashMap<(AgentId, u64), usize>>>;

/// What can be told again.
struct Backlog {
    /// Numbers begin anew with each.
    launch: u64,
    /// The number of the last frame.
    last: u64,
    /// The number of the last one that is not kept any more.
    gone: u64,
    told: VecDeque<Arc<QueuedEvent>>,
}

impl Backlog {
    fn id(&self, number: u64) -> String {
        format!("{}-{number}", self.launch)
    }

    /// What a listener lacks, and whether more than that is lost to it.
    fn since(&self, since: Since) -> (VecDeque<Arc<QueuedEvent>>, bool) {
        let after = |number: u64| {
            let later = self.told.iter().filter(|told| told.number > number);
            later.cloned().collect()
        };
        match since {
            Since::Now => (VecDeque::new(), false),
            Since::Frame { launch, number }
                if launch == self.launch && (self.gone..=self.last).contains(&number) =>
            {
                (after(number), false)
            }
            Since::Frame { .. } | Since::Unknown => (after(0), true),
        }
    }
}

impl Feed {
    /// `owners` counts those who watch for the owner.
    pub fn new(launch: u64, owners: Arc<AtomicUsize>) -> Self {
        Self {
            frames: broadcast::Sender::new(LAG),
            kept: Arc::new(Mutex::new(Backlog {
                launch,
                last: 0,
                gone: 0,
                told: VecDeque::new(),
            })),
            owners,
            agents: Listeners::default(),
            closed: tokio::sync::watch::Sender::new(false),
        }
    }

    fn kept(&self) -> MutexGuard<'_, Backlog> {
        locked(&self.kept)
    }

    /// Tells everybody that frames were lost: what they have seen is to be read anew.
    pub(crate) fn missed(&self) {
        self.tell(Audience::Everyone, MISSED, json!({}), None);
    }

    pub(crate) fn publish(&self, notice: Notice) {
        match notice {
            Notice::ManifestChanged { revision, changed } => {
                self.tell(
                    Audience::Everyone,
                    "manifest_changed",
                    json!({"revision": revision}),
                    changed.map(Narrowed::Changed),
                );
            }
            Notice::InvokeResolved {
                agent,
                epoch,
                run,
                id,
                ok,
            } => {
                let status = if ok { "succeeded" } else { "failed" };
                let data = json!({"runId": run, "id": id, "status": status});
                let audience = Audience::Agent(agent, Epoch::Is(epoch));
                self.tell(audience, "invoke_resolved", data, None);
            }
            Notice::InvokeProgress {
                agent,
                epoch,
                run,
                id,
                next,
            } => {
                let data = json!({"runId": run, "id": id, "next": next});
                let audience = Audience::Agent(agent, Epoch::Is(epoch));
                self.tell(audience, PROGRESS, data, None);
            }
            Notice::SourceEvent {
                agents,
                capability,
                source,
                topic,
                summary,
                payload,
            } => {
                let data = json!({
                    "source": source, "capability": capability, "topic": topic, "summary": summary,
                    "payload": payload,
                });
                let (capabilities, told) = (vec![capability], None);
                let narrowed = Narrowed::Source { capabilities, told };
                self.tell(Audience::Agents(agents), SOURCE_EVENT, data, Some(narrowed));
            }
            Notice::SourceStatus {
                borrower,
                capabilities,
                source,
                available,
                reason,
                told,
            } => {
                let mut data = json!({"source": source, "available": available});
                if let Some(reason) = reason {
                    data["reason"] = json!(reason);
                }
                let audience = borrower.map_or(Audience::Everyone, |(agent, epoch)| {
                    Audience::Agent(agent, Epoch::Is(epoch))
                });
                let narrowed = Narrowed::Source { capabilities, told };
                self.tell(audience, "source_status", data, Some(narrowed));
            }
        }
    }

    /// Ends every stream.
    pub fn close(&self) {
        let _ = self.closed.send(true);
    }

    /// Tells the owner's clients that the card of a changed source is decided. Calls' own items are told from the log.
    pub fn change_decided(&self, card: &plexus_protocol::PendingId, decision: &str) {
        let data = json!({"pendingId": card, "kind": "change", "decision": decision});
        self.tell(Audience::Owner, "pending_resolved", data, None);
    }

    /// How a changed source's card was decided in this launch, where the frame that told of it is still kept.
    pub fn decision_on(&self, card: &plexus_protocol::PendingId) -> Option<String> {
        let kept = self.kept();
        let told = kept.told.iter().rev().find(|told| {
            told.kind == "pending_resolved" && told.data["pendingId"] == card.as_str()
        })?;
        told.data["decision"].as_str().map(str::to_owned)
    }

    pub(crate) fn tell(
        &self,
        audience: Audience,
        kind: &'static str,
        mut data: Value,
        narrowed: Option<Narrowed>,
    ) {
        data["type"] = json!(kind);
        // Numbered, kept and sent in one step: a new listener has each frame from one side or the other.
        let mut kept = self.kept();
        kept.last += 1;
        let told = Arc::new(QueuedEvent {
            number: kept.last,
            audience,
            kind,
            data,
            narrowed,
        });
        if !["audit_appended", PROGRESS, SOURCE_EVENT].contains(&kind) {
            if kept.told.len() == KEPT
                && let Some(oldest) = kept.told.pop_front()
            {
                kept.gone = oldest.number;
            }
            kept.told.push_back(told.clone());
        }
        // Nobody listening is fine.
        let _ = self.frames.send(told);
    }

    /// The agents that listen, with their epochs.
    pub(crate) fn agents(&self) -> Vec<(AgentId, u64)> {
        locked(&self.agents).keys().cloned().collect()
    }

    /// What a listener gets from now on, after what it lacks.
    pub fn listen(&self, listener: Listener, since: Since) -> Listening {
        let kept = self.kept();
        let (behind, lost) = kept.since(since);
        // A listener that is new to this launch goes on from here, as from a frame of its own.
        let heard = match since {
            Since::Now => kept.last,
            Since::Frame { number, .. } if !lost => number,
            Since::Frame { .. } | Since::Unknown => kept.gone,
        };
        let frames = self.frames.subscribe();
        match &listener {
            Listener::Owner => {
                self.owners.fetch_add(1, Ordering::Relaxed);
            }
            Listener::Agent { agent, epoch } => {
                *locked(&self.agents)
                    .entry((agent.clone(), *epoch))
                    .or_default() += 1;
            }
        }
        Listening {
            kept: self.kept.clone(),
            owners: self.owners.clone(),
            agents: self.agents.clone(),
            listener,
            behind,
            lost,
            heard,
            frames,
            closed: self.closed.subscribe(),
        }
    }
}

fn locked<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One open stream.
pub struct Listening {
    kept: Arc<Mutex<Backlog>>,
    owners: Arc<AtomicUsize>,
    agents: Listeners,
    listener: Listener,
    behind: VecDeque<Arc<QueuedEvent>>,
    /// It is to be told first that more is lost.
    lost: bool,
    /// The number of the last frame that was taken for it, shown or not.
    heard: u64,
    frames: broadcast::Receiver<Arc<QueuedEvent>>,
    closed: tokio::sync::watch::Receiver<bool>,
}

impl Drop for Listening {
    fn drop(&mut self) {
        match &self.listener {
            Listener::Owner => {
                self.owners.fetch_sub(1, Ordering::Relaxed);
            }
            Listener::Agent { agent, epoch } => {
                let mut agents = locked(&self.agents);
                let of = (agent.clone(), *epoch);
                if let Some(open) = agents.get_mut(&of) {
                    *open -= 1;
                    if *open == 0 {
                        agents.remove(&of);
                    }
                }
            }
        }
    }
}

impl Listening {
    /// The next frame that this listener may see; `None` when the gateway stops. `in_view` narrows what changed. May be
    /// dropped while it waits.
    pub async fn next(&mut self, in_view: impl Fn(&CapabilityId) -> bool) -> Option<VisibleEvent> {
        loop {
            if std::mem::take(&mut self.lost) {
                let id = locked(&self.kept).id(self.heard);
                let (kind, data) = (MISSED, json!({"type": MISSED}));
                return Some(VisibleEvent { kind, data, id });
            }
            let told = match self.behind.pop_front() {
                Some(told) => told,
                None => {
                    let told = tokio::select! {
                        told = self.frames.recv() => told,
                        _ = self.closed.wait_for(|c| *c) => return None,
                    };
                    match told {
                        Ok(told) => told,
                        Err(broadcast::error::RecvError::Lagged(_)) => {
                            self.catch_up();
                            continue;
                        }
                        Err(broadcast::error::RecvError::Closed) => return None,
                    }
                }
            };
            if told.number <= self.heard {
                continue;
            }
            self.heard = told.number;
            if let Some(shown) = self.shown(&told, &in_view) {
                return Some(shown);
            }
        }
    }

    /// It was slower than the frames came: it goes on from what is kept.
    fn catch_up(&mut self) {
        let kept = locked(&self.kept);
        let number = self.heard;
        let launch = kept.launch;
        (self.behind, self.lost) = kept.since(Since::Frame { launch, number });
        self.heard = self.heard.max(kept.gone);
    }

    fn shown(
        &self,
        told: &QueuedEvent,
        in_view: &impl Fn(&CapabilityId) -> bool,
    ) -> Option<VisibleEvent> {
        let owner = self.listener.is_owner();
        let allowed = match &told.audience {
            Audience::Everyone => true,
            Audience::Owner => owner,
            Audience::Agents(agents) => {
                owner
                    || matches!(&self.listener, Listener::Agent { agent: id, epoch }
                        if agents.iter().any(|(agent, of)| agent == id && of == epoch))
            }
            Audience::Agent(agent, told) => {
                owner
                    || matches!(&self.listener, Listener::Agent { agent: id, epoch, .. }
                        if id == agent && told.has(*epoch))
            }
        };
        if !allowed {
            return None;
        }
        let mut data = told.data.clone();
        if let Some(Narrowed::Source { capabilities, told }) = &told.narrowed
            && !owner
        {
            if !capabilities.iter().any(in_view) {
                return None;
            }
            if data["reason"].is_string() {
                data["reason"] = json!(told);
            }
        }
        if let Some(Narrowed::Changed(changed)) = &told.narrowed {
            let narrowed = |ids: &[CapabilityId]| -> Vec<CapabilityId> {
                ids.iter()
                    .filter(|id| owner || in_view(id))
                    .cloned()
                    .collect()
            };
            let mut members = serde_json::Map::new();
            for (key, ids) in [
                ("added", &changed.added),
                ("removed", &changed.removed),
                ("updated", &changed.updated),
            ] {
                let ids = narrowed(ids);
                if !ids.is_empty() {
                    members.insert(key.into(), json!(ids));
                }
            }
            if !members.is_empty() {
                data["changed"] = Value::Object(members);
            }
        }
        let id = locked(&self.kept).id(told.number);
        Some(VisibleEvent {
            kind: told.kind,
            data,
            id,
        })
    }
}

/// An agent's epoch; of none that there is, one that nobody has.
pub(crate) fn epoch_now(state: &State, agent: &AgentId) -> u64 {
    state.agent(agent).map_or(0, |agent| agent.epoch)
}

#[cfg(test)]
mod tests;
