//! What is counted while the daemon runs, for the owner's monitor (`/metrics`).
//!
//! Invariant: the number of series is bounded by this file: labels are words of closed lists, never an agent's, a
//! source's or a path. Counting takes no lock that another holds for long, and cannot fail.
//!
//! Must not know: HTTP, the state. What is only looked at, and not counted, is read when it is asked for
//! (`http/owner/metrics.rs`).

use crate::{answer::Answer, limits::Exceeded};
use plexus_ledger::Committed;
use plexus_protocol::ErrorCode;
use prometheus_client::{
    metrics::{
        counter::Counter,
        family::Family,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
    },
    registry::Registry,
};
use std::time::{Duration, SystemTime};

/// What all our names begin with.
pub const PREFIX: &str = "plexus";

type Labelled<M> = Family<[(&'static str, &'static str); 1], M>;

/// How a call that was carried out ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum OutcomeLabel {
    Ok,
    Failed,
    Refused,
    Unknown,
}

impl OutcomeLabel {
    const ALL: [Self; 4] = [Self::Ok, Self::Failed, Self::Refused, Self::Unknown];

    fn of(answer: &Answer) -> Self {
        match &answer.body.error {
            None => Self::Ok,
            Some(error) if error.code == ErrorCode::OutcomeUnknown => Self::Unknown,
            // What was dispatched is answered with 200, whatever came of it.
            Some(_) if answer.status == 200 => Self::Failed,
            Some(_) => Self::Refused,
        }
    }

    fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Failed => "failed",
            Self::Refused => "refused",
            Self::Unknown => "unknown",
        }
    }
}

/// Calls of one kind.
struct Calls {
    ended: [Counter; 4],
    took: Histogram,
}

/// Which of the listeners a connection came by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListenerKind {
    /// Loopback, and what the owner added.
    Tcp,
    /// `run/agent/agent.sock`.
    Agents,
    /// `run/owner/owner.sock`.
    Owner,
}

impl ListenerKind {
    const ALL: [Self; 3] = [Self::Tcp, Self::Agents, Self::Owner];

    fn word(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Agents => "agent_socket",
            Self::Owner => "owner_socket",
        }
    }
}

/// The counted figures. Clones of the parts are the same.
pub struct Metrics {
    registry: Registry,
    began: SystemTime,
    reads: Calls,
    effects: Calls,
    refused: Labelled<Counter>,
    limited: Labelled<Counter>,
    credentials: Labelled<Counter>,
    throttled: Labelled<Counter>,
    connected: Labelled<Counter>,
    open: Labelled<Gauge>,
    evicted: Counter,
    worker_starts: Labelled<Counter>,
    worker_ends: Labelled<Counter>,
    commit: Histogram,
    batch: Histogram,
    linger: Histogram,
    commits_failed: Counter,
}

/// A connection that is counted as open until this goes.
pub struct Open(Gauge);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// A series at nought for each word, so that a rate is known from the first event on.
fn zeroed<M: Clone + Default>(
    label: &'static str,
    words: impl IntoIterator<Item = &'static str>,
) -> Labelled<M> {
    let family = Labelled::<M>::default();
    for word in words {
        drop(family.get_or_create_owned(&[(label, word)]));
    }
    family
}

impl Default for Metrics {
    /// All at zero.
    fn default() -> Self {
        let mut registry = Registry::with_prefix(PREFIX);
        // From 100 µs (a read from the cache) to 1.6 s; deadlines are beyond the last.
        let times = || Histogram::new(exponential_buckets(0.000_1, 2.0, 15));
        let calls = Family::<[(&str, &str); 2], Counter>::default();
        let took =
            Family::<[(&str, &str); 1], Histogram, _>::new_with_constructor(times as fn() -> _);
        let kind = |kind: &'static str| Calls {
            ended: OutcomeLabel::ALL.map(|ended| {
                calls.get_or_create_owned(&[("kind", kind), ("outcome", ended.word())])
            }),
            took: took.get_or_create_owned(&[("kind", kind)]),
        };
        let (reads, effects) = (kind("read"), kind("effect"));
        let kinds = || {
            FailedCredential::ALL
                .into_iter()
                .map(FailedCredential::word)
        };
        let made = Self {
            reads,
            effects,
            refused: zeroed("code", ErrorCode::ALL.iter().map(|code| code.as_str())),
            limited: zeroed("bound", ["calls", "ledger", "under_way"]),
            credentials: zeroed("credential", kinds()),
            throttled: zeroed("credential", kinds()),
            connected: zeroed("door", ListenerKind::ALL.map(ListenerKind::word)),
            open: zeroed("door", ListenerKind::ALL.map(ListenerKind::word)),
            evicted: Counter::default(),
            worker_starts: zeroed("result", ["ok", "failed"]),
            worker_ends: zeroed("wanted", ["yes", "no"]),
            commit: times(),
            batch: Histogram::new(exponential_buckets(1.0, 2.0, 9)),
            linger: times(),
            commits_failed: Counter::default(),
            began: SystemTime::now(),
            registry: Registry::default(),
        };
        registry.register(
            "calls",
            "Calls that were carried out, by what they are and how they ended",
            calls,
        );
        registry.register(
            "call_duration_seconds",
            "From the permission to the answer of a call",
            took,
        );
        registry.register(
            "refusals",
            "Answers with an error, by its code, on every route",
            made.refused.clone(),
        );
        registry.register(
            "agent_limited",
            "Requests refused because an agent had used up a bound of its own",
            made.limited.clone(),
        );
        registry.register(
            "credential_failures",
            "Wrong credentials",
            made.credentials.clone(),
        );
        registry.register(
            "credential_throttles",
            "Wrong credentials that were refused for their number",
            made.throttled.clone(),
        );
        registry.register(
            "connections_accepted",
            "Connections that were taken",
            made.connected.clone(),
        );
        registry.register("connections", "Connections now", made.open.clone());
        registry.register(
            "connections_evicted",
            "Idle connections without a credential that were closed to free a slot",
            made.evicted.clone(),
        );
        registry.register(
            "worker_starts",
            "Starts of workers",
            made.worker_starts.clone(),
        );
        registry.register(
            "worker_ends",
            "Ends of workers, by whether we wanted them",
            made.worker_ends.clone(),
        );
        registry.register(
            "ledger_commit_duration_seconds",
            "One commit, from the first write to the end of the flush",
            made.commit.clone(),
        );
        registry.register(
            "ledger_commit_events",
            "Events that one commit took in",
            made.batch.clone(),
        );
        registry.register(
            "ledger_linger_seconds",
            "How long a commit lingered to fill its batch",
            made.linger.clone(),
        );
        registry.register(
            "ledger_unrecorded",
            "Commands that the ledger could not record",
            made.commits_failed.clone(),
        );
        Self { registry, ..made }
    }
}

impl Metrics {
    /// For `/metrics`.
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// When this launch began, by the wall clock.
    pub fn began(&self) -> SystemTime {
        self.began
    }

    pub(crate) fn called(&self, is_read: bool, answer: &Answer, took: Duration) {
        let calls = if is_read { &self.reads } else { &self.effects };
        calls.ended[OutcomeLabel::of(answer) as usize].inc();
        calls.took.observe(took.as_secs_f64());
    }

    /// Counts a refusal by its code.
    pub fn refused(&self, code: ErrorCode) {
        self.refused.get_or_create(&[("code", code.as_str())]).inc();
    }

    pub(crate) fn limited(&self, exceeded: Exceeded) {
        let bound = match exceeded {
            Exceeded::Calls { .. } => "calls",
            Exceeded::Ledger { .. } => "ledger",
        };
        self.limited.get_or_create(&[("bound", bound)]).inc();
    }

    pub(crate) fn too_many_under_way(&self) {
        self.limited.get_or_create(&[("bound", "under_way")]).inc();
    }

    /// Counts a failed credential.
    pub fn credential_failed(&self, kind: FailedCredential, throttled: bool) {
        let label = [("credential", kind.word())];
        self.credentials.get_or_create(&label).inc();
        if throttled {
            self.throttled.get_or_create(&label).inc();
        }
    }

    /// Counts a connection for as long as the result lives.
    pub fn connected(&self, kind: ListenerKind) -> Open {
        let label = [("door", kind.word())];
        self.connected.get_or_create(&label).inc();
        let open = self.open.get_or_create_owned(&label);
        open.inc();
        Open(open)
    }

    /// Counts a connection that was closed for another.
    pub fn evicted(&self) {
        self.evicted.inc();
    }

    pub(crate) fn worker_started(&self, ok: bool) {
        let result = if ok { "ok" } else { "failed" };
        self.worker_starts
            .get_or_create(&[("result", result)])
            .inc();
    }

    pub(crate) fn worker_ended(&self, wanted: bool) {
        let wanted = if wanted { "yes" } else { "no" };
        self.worker_ends.get_or_create(&[("wanted", wanted)]).inc();
    }

    /// Counts a commit of the ledger.
    pub fn committed(&self, committed: Committed) {
        self.commit.observe(committed.took.as_secs_f64());
        // No batch has more than a few hundred.
        let records = u32::try_from(committed.records).unwrap_or(u32::MAX);
        self.batch.observe(f64::from(records));
        self.linger.observe(committed.lingered.as_secs_f64());
    }

    pub(crate) fn unrecorded(&self) {
        self.commits_failed.inc();
    }
}

/// Which credential failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FailedCredential {
    /// The connection key.
    Key,
    /// An agent's PAT.
    Pat,
    /// An enrollment code.
    Code,
    /// A session.
    Session,
    /// The id of an item that a live session may not know of: one that is gone, or another's.
    Item,
    /// A one-time link into the console.
    Link,
    /// A console's cookie or tab.
    Console,
}

impl FailedCredential {
    pub(crate) const ALL: [Self; 7] = [
        Self::Key,
        Self::Pat,
        Self::Code,
        Self::Session,
        Self::Item,
        Self::Link,
        Self::Console,
    ];

    /// Its label.
    pub fn word(self) -> &'static str {
        match self {
            Self::Key => "connection-key",
            Self::Pat => "pat",
            Self::Code => "code",
            Self::Session => "session",
            Self::Item => "pending-id",
            Self::Link => "console-link",
            Self::Console => "console-session",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use plexus_protocol::{ErrorBody, body::InvokeResponse};

    #[test]
    fn an_answer_is_counted_by_what_it_says() {
        let ended = |status, code| {
            let body = InvokeResponse::refused("a.b", ErrorBody::new(code, "x"), None);
            OutcomeLabel::of(&Answer { status, body })
        };
        assert_eq!(ended(200, ErrorCode::TransportError), OutcomeLabel::Failed);
        assert_eq!(ended(200, ErrorCode::OutcomeUnknown), OutcomeLabel::Unknown);
        assert_eq!(
            ended(503, ErrorCode::AuditUnavailable),
            OutcomeLabel::Refused
        );
    }
}
