//! What the supervisor tells about workers: as events, and on request.
//!
//! Must not know: the audit log, HTTP.

use super::start::{Exit, StartError};
use plexus_ipc::{
    egress::Connections,
    message::{CageReport, Event, HostAsk, Role},
    text::Payload,
};
use plexus_protocol::{Scopes, SourceId, Timestamp};
use serde::Serialize;
use std::{
    fmt,
    sync::Arc,
    time::{Duration, SystemTime},
};
use tokio::sync::oneshot;

/// Something happened to a worker.
#[derive(Debug)]
pub enum Notice {
    /// It serves.
    Started {
        /// The source.
        source: SourceId,
        /// The role.
        role: Role,
        /// The process, and its group.
        pid: u32,
        /// What its attack on the cage found.
        cage: CageReport,
        /// Its build, which is ours.
        build: &'static str,
    },
    /// It did not come to serve. Of a failed source only where the reason is another than before.
    StartFailed {
        /// The source.
        source: SourceId,
        /// The role.
        role: Role,
        /// Why; [`StartError::Unsound`] holds the report.
        why: StartError,
        /// How many starts in a row have failed.
        attempts: u32,
    },
    /// It is gone and reaped.
    Ended {
        /// The source.
        source: SourceId,
        /// The role.
        role: Role,
        /// The process.
        pid: u32,
        /// Why it ended.
        cause: Cause,
        /// How it ended. SIGKILL may be our own, which follows the end of its stream at once, even of one that goes by
        /// itself: nothing of its group is to be left.
        exit: Exit,
    },
    /// Connections to the hosts of a source have ended.
    Egress {
        /// The source.
        source: SourceId,
        /// By host and outcome.
        connections: Vec<Connections>,
    },
    /// Something happened at a source.
    Event(SourceEvent),
    /// More happened at a source than is passed on.
    EventsDropped {
        /// The source.
        source: SourceId,
        /// How many events were dropped.
        count: u32,
    },
    /// A worker calls what another source offers.
    HostCall(Box<HostCall>),
    /// A server wants more than the owner's sign-in at it is good for.
    ScopeMissing {
        /// The source.
        source: SourceId,
        /// What it wants.
        wanted: Scopes,
    },
    /// The app behind a source, or its reader, does better or worse than before.
    Health {
        /// The source.
        source: SourceId,
        /// As it is now.
        health: SourceHealth,
    },
}

/// An event, and where it comes from.
#[derive(Debug)]
pub struct SourceEvent {
    /// The source.
    pub source: SourceId,
    /// The revision that the worker serves.
    pub revision: u64,
    /// The read that shows the same, by the name that the manifest gives.
    pub capability: String,
    /// The worker's words.
    pub event: Box<Event>,
}

/// A call of a worker's own.
#[derive(Debug)]
pub struct HostCall {
    /// The source that the worker serves.
    pub source: SourceId,
    /// For whom; none: for nobody who may ask.
    pub caller: Option<HostCaller>,
    /// What it asks for, as the worker says it.
    pub ask: HostAsk,
    /// Takes the answer; closed when nobody waits for one any more.
    pub reply: oneshot::Sender<Payload>,
}

/// For whom a worker calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HostCaller {
    /// For the call that it serves.
    Call {
        /// As [`CallRequest::origin`](crate::CallRequest::origin) named it.
        origin: u64,
        /// Whether that call is a read: one may be made twice.
        is_read: bool,
    },
    /// For itself: it is resident.
    Source,
}

/// Why a worker ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cause {
    /// Nobody called it for long.
    Idle,
    /// Its source was replaced.
    Replaced,
    /// Its source was removed.
    Removed,
    /// The daemon stops.
    Shutdown,
    /// By itself, or by another's hand.
    Exited,
    /// It broke the protocol; says how.
    Broke(String),
    /// It did not answer a probe.
    Mute,
    /// It used more memory than its manifest allows.
    Memory,
    /// It made more threads than any worker has a use for.
    Threads,
    /// It kept a call long after its deadline.
    Overdue,
    /// Its way to the network ended.
    Egress,
}

impl Cause {
    /// Whether we wanted it.
    #[must_use]
    pub fn asked_for(&self) -> bool {
        match self {
            Self::Idle | Self::Replaced | Self::Removed | Self::Shutdown => true,
            Self::Exited
            | Self::Broke(_)
            | Self::Mute
            | Self::Memory
            | Self::Threads
            | Self::Overdue
            | Self::Egress => false,
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Idle => f.write_str("idle"),
            Self::Replaced => f.write_str("replaced"),
            Self::Removed => f.write_str("removed"),
            Self::Shutdown => f.write_str("shutdown"),
            Self::Exited => f.write_str("it exited"),
            Self::Broke(how) => write!(f, "it broke the protocol: {how}"),
            Self::Mute => f.write_str("it did not answer a probe"),
            Self::Memory => f.write_str("it used more memory than it may"),
            Self::Threads => f.write_str("it made more threads than it may"),
            Self::Overdue => f.write_str("it kept a call long after its deadline"),
            Self::Egress => f.write_str("its way to the network ended"),
        }
    }
}

/// How a source does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Health {
    /// Usable.
    Ok,
    /// Usable in part.
    Degraded,
    /// Not usable now.
    Unavailable,
    /// Nobody has asked yet.
    Unknown,
}

/// How a source does, and since when that is known. Its JSON is the wire's, for the owner.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SourceHealth {
    /// In a word.
    pub status: Health,
    /// One sentence for the owner.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// The same for an agent: a sentence of ours.
    #[serde(skip)]
    pub told: Option<&'static str>,
    /// When this was found; `None` while unknown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub checked_at: Option<Timestamp>,
}

impl SourceHealth {
    pub(super) fn unknown() -> Self {
        Self {
            status: Health::Unknown,
            detail: None,
            told: None,
            checked_at: None,
        }
    }

    pub(super) fn of(status: Health, why: Option<(String, &'static str)>) -> Self {
        let (detail, told) = why.unzip();
        Self {
            status,
            detail,
            told,
            checked_at: Some(now()),
        }
    }

    /// That of a source that reads, and whose writer cannot run.
    pub(super) fn without_writer(self, why: Option<String>) -> Self {
        Self {
            status: Health::Degraded,
            detail: why.map(|why| format!("nothing can be written: {why}")),
            told: Some("Nothing can be written."),
            ..self
        }
    }

    /// As an agent sees it. The owner's words may name paths, and may be the worker's own.
    pub fn for_agents(self) -> Self {
        let detail = self.told.map(str::to_owned);
        Self { detail, ..self }
    }

    /// That of a source of which nothing is started since `at`: what it runs is not what the owner agreed to.
    #[must_use]
    pub fn stopped(self, at: Timestamp) -> Self {
        let why = "what it runs has changed since the owner looked at it";
        Self {
            status: Health::Unavailable,
            detail: Some(why.to_owned()),
            checked_at: Some(at),
            ..self
        }
    }

    pub(super) fn differs(&self, other: &Self) -> bool {
        (self.status, &self.detail) != (other.status, &other.detail)
    }
}

/// Where a worker is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WorkerState {
    /// None runs and none is wanted.
    Stopped,
    /// It comes up.
    Starting,
    /// It serves.
    Ready,
    /// It goes down.
    Stopping,
    /// A start failed; the next is soon.
    Backoff,
    /// Too many starts failed; calls are refused until a later one succeeds.
    Failed,
}

/// One worker, as `status` and `doctor` show it.
#[derive(Clone, Debug)]
pub struct WorkerStatus {
    /// The source.
    pub source: SourceId,
    /// The role.
    pub role: Role,
    /// The process, while there is one.
    pub pid: Option<u32>,
    /// Where it is in its life.
    pub state: WorkerState,
    /// Since when.
    pub since: Timestamp,
    /// How often it was started again after it had ended by itself.
    pub restarts: u32,
    /// What the last attack on its cage found.
    pub cage: Option<Arc<CageReport>>,
}

/// The wall clock, for people.
pub(super) fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let ms = since.unwrap_or(Duration::ZERO).as_millis();
    Timestamp(ms.try_into().unwrap_or(u64::MAX))
}
