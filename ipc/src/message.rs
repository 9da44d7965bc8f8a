//! The messages, and the table of who may say what when.
//!
//! ```text
//! Starting ─Hello─▶ Greeted ─Described─▶ Opening ─Opened─▶ Ready ─(Stop sent)─▶ Stopping
//! ```
//!
//! Invariants: [`ToWorker::permitted`] and [`FromWorker::permitted`] are the whole table and both ends ask it; a reader
//! is never sent a commit and a writer never a read; every text and list in a message has a bound of its own.
//!
//! Must not know: how frames travel, what a connector does.

mod call;
mod failure;
mod host;
mod question;
pub(crate) mod secret;

pub use call::{
    Answer, CHUNK_COST, Call, Chunk, Commit, Content, Done, Fact, Form, MAX_CHUNK, MAX_DIFF,
    MAX_LINES, MAX_SUMMARY, MAX_TOUCHED, PROGRESS_WINDOW, PlanMade, Planned, Preview, Progress,
    Stamp, Summary, Touched, TouchedId, UndoId, Verdict,
};
pub use failure::{Failure, MAX_DETAIL, SERVER_REFUSED, WorkerError};
pub use host::{
    ChildAsk, Event, HOST_CALLS, HOST_WAITS, HostAsk, HostCall, MAX_EVENT, MAX_EVENT_TOUCHED,
    MAX_HOST_INPUT, MAX_ITEM_WAIT,
};
pub use question::{
    Field, FieldKind, FieldOption, MAX_FIELDS, MAX_OPTIONS, MAX_QUESTION_WAIT, Question, Wants,
};
pub(crate) use secret::MAX_SECRETS;
pub use secret::{MAX_SECRET, Secret, Secrets};

use crate::manifest::Limits;
use crate::text::{Line, Payload, digest};
use plexus_protocol::{AuditId, Digest, SourceId};
use serde::{Deserialize, Serialize};
use std::{fmt, path::PathBuf};

pub use plexus_sandbox::probe::CageReport;

/// What a worker process is for. The cage of each allows no more than it needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Reads and plans; can change nothing.
    Reader,
    /// Commits.
    Writer,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Reader => "reader",
            Self::Writer => "writer",
        })
    }
}

/// Where a worker's start has come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Phase {
    /// Nothing said yet.
    Starting,
    /// It said what it is and what its cage is worth.
    Greeted,
    /// It named its manifest and opens its source.
    Opening,
    /// It serves calls.
    Ready,
    /// It was told to stop.
    Stopping,
}

/// From the gateway.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub enum ToWorker {
    /// First of all: what it serves and how.
    Start(Box<Start>),
    /// A read.
    Read(Call),
    /// A plan of an effect.
    Plan(Call),
    /// An effect.
    Commit(Box<Commit>),
    /// Whether an earlier effect happened.
    Settle {
        /// Correlates the answer.
        id: u64,
        /// The intent of that effect.
        audit: AuditId,
    },
    /// Nobody wants this call any more. A read or a plan ends; a commit that has begun says what was done.
    Cancel {
        /// The call.
        id: u64,
    },
    /// So much more progress may be sent.
    Credit {
        /// The call.
        id: u64,
        /// In bytes.
        bytes: u32,
    },
    /// What came of a call of its own.
    HostAnswer {
        /// The call's.
        id: u64,
        /// The answer as `POST /invoke` gives it.
        response: Payload,
    },
    /// Are you alive?
    Probe {
        /// Comes back.
        nonce: u64,
    },
    /// A probe for the owner: the source asks its app now.
    Check {
        /// Comes back.
        nonce: u64,
    },
    /// Finish commits, then end.
    Stop,
}

/// From the worker.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub enum FromWorker {
    /// What it is, and what the attack on its cage found.
    Hello {
        /// Its [`crate::BUILD`].
        build: Line<64>,
        /// The result of the attack; its `sound` decides.
        #[serde(deserialize_with = "crate::worker::cage::bounded")]
        cage: Box<CageReport>,
    },
    /// The manifest it was built with, or was given.
    Described {
        /// Digest of the file.
        #[serde(with = "digest")]
        manifest: Digest,
    },
    /// The source is open: calls may come.
    Opened {
        /// Of the app behind it.
        health: Health,
    },
    /// The source could not be opened; the worker ends.
    OpenFailed(OpenError),
    /// The plan of an effect, or why there is none.
    Planned(Box<Planned>),
    /// A call goes on.
    Progress(Progress),
    /// A read or a commit is over.
    Done(Box<Done>),
    /// Whether that effect happened.
    Settled {
        /// Correlates.
        id: u64,
        /// What the source knows.
        verdict: Verdict,
    },
    /// Something happened at the source.
    Event(Box<Event>),
    /// It calls what another source offers.
    HostCall(HostCall),
    /// Alive.
    Probed {
        /// The probe's.
        nonce: u64,
        /// Of the app behind the source.
        health: Health,
    },
}

/// What a worker is told before anything else.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Start {
    /// The source it serves.
    pub source: SourceId,
    /// What it is for.
    pub role: Role,
    /// The launch of the gateway that started it: a commit of another launch is refused.
    pub launch: u64,
    /// The source's route: one JSON object, as the connector's configuration reads it.
    pub config: Payload,
    /// By field name.
    #[serde(with = "secret::wire")]
    pub secrets: Secrets,
    /// What it may use.
    pub limits: Limits,
    /// A folder of its own, outside of what it serves: a writer may write in it, a reader look.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scratch: Option<PathBuf>,
    /// The manifest, as text, for a program that was built without one: it serves whatever source it is started for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manifest: Option<Box<str>>,
    /// Its way to the hosts of its manifest, where the source has any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub egress: Option<EgressAccess>,
    /// What it attacks to prove its cage.
    pub probe: Probe,
    /// It has a keeper, which starts the programs of its manifest.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub keeper: bool,
    /// The owner asked by name that it serve without a cage: it attacks and reports all the same, and goes on.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub uncaged: bool,
    /// Only its cage and its manifest are asked for: it ends after `Described` and opens nothing.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub proof_only: bool,
}

/// How each credential of an egress begins, so that it is told from other words.
pub const EGRESS_CREDENTIAL: &str = "plx_egress_";

/// Where a worker finds the `plexus-egress` of its source. A CONNECT names the credential in `Proxy-Authorization`, a
/// forwarded request in `Authorization`: as `Bearer`, or as the password of `Basic`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EgressAccess {
    /// The port on 127.0.0.1.
    pub port: u16,
    /// Opens that port until the worker ends. Worth nothing elsewhere.
    #[serde(with = "secret::single")]
    pub credential: Secret,
    /// The owner's own certificate authorities, as PEM, for a worker that makes TLS itself.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub authorities: String,
    /// The secret that it adds goes out as `Authorization: Bearer`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub bearer: bool,
}

/// Things outside the cage, made or named by the gateway for one start, that the worker must fail to reach.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Probe {
    /// A file that was just made where the worker may not read.
    pub canary: PathBuf,
    /// The gateway's state directory.
    pub state_dir: PathBuf,
    /// A loopback port that the gateway listens on.
    pub tcp_port: u16,
    /// A Unix socket that the gateway listens on.
    pub unix_socket: PathBuf,
    /// The gateway's process, which the worker must fail to signal.
    pub parent_pid: u32,
    /// The process that the gateway started: the worker, or its launcher, where that stays outside of the cage.
    pub launcher_pid: u32,
}

/// The state of the app behind a source; being unwell never restarts a worker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub enum Health {
    /// Usable.
    Well,
    /// Usable in part; says what is missing.
    Degraded(Line<512>),
    /// Not usable now; says why and what the owner can do.
    Unavailable(Line<512>),
}

/// Why a source could not be opened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(deny_unknown_fields)]
#[error("{message}")]
pub struct OpenError {
    /// The kind of failure.
    pub reason: OpenFailure,
    /// One sentence for the owner.
    pub message: Line<512>,
}

/// The kinds of [`OpenError`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OpenFailure {
    /// The configuration is wrong: trying again changes nothing.
    Config,
    /// What it names is not there now.
    Unavailable,
    /// The operating system refused.
    Denied,
    /// Our own failure.
    Internal,
}

impl OpenError {
    /// The configuration is wrong.
    pub fn config(message: impl AsRef<str>) -> Self {
        Self::of(OpenFailure::Config, message)
    }
    /// What the configuration names is not there now.
    pub fn unavailable(message: impl AsRef<str>) -> Self {
        Self::of(OpenFailure::Unavailable, message)
    }
    /// The operating system refused `what` the source opens. On macOS the owner's consent is missing, as a rule.
    #[must_use]
    pub fn denied(what: &str) -> Self {
        let consent = if cfg!(target_os = "macos") {
            "; allow it in System Settings > Privacy & Security > Files and Folders, or Full Disk Access"
        } else {
            ""
        };
        let message = format!("the system does not let Plexus read {what}{consent}");
        Self::of(OpenFailure::Denied, message)
    }
    /// Our own failure.
    pub fn internal(message: impl AsRef<str>) -> Self {
        Self::of(OpenFailure::Internal, message)
    }
    fn of(reason: OpenFailure, message: impl AsRef<str>) -> Self {
        Self {
            reason,
            message: Line::new(message),
        }
    }
}

impl ToWorker {
    /// Whether the gateway may say this to a worker of `role` in `phase`.
    #[must_use]
    pub fn permitted(&self, phase: Phase, role: Role) -> bool {
        match self {
            Self::Start(_) => phase == Phase::Starting,
            Self::Read(_) | Self::Plan(_) => phase == Phase::Ready && role == Role::Reader,
            Self::Cancel { .. } | Self::Credit { .. } => phase == Phase::Ready,
            Self::Commit(_) | Self::Settle { .. } => phase == Phase::Ready && role == Role::Writer,
            Self::Probe { .. } | Self::Check { .. } => {
                matches!(phase, Phase::Opening | Phase::Ready)
            }
            // What finishes before the end may wait for it.
            Self::HostAnswer { .. } => matches!(phase, Phase::Ready | Phase::Stopping),
            Self::Stop => phase != Phase::Stopping,
        }
    }

    /// Its name, for errors and logs.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Start(_) => "Start",
            Self::Read(_) => "Read",
            Self::Plan(_) => "Plan",
            Self::Commit(_) => "Commit",
            Self::Settle { .. } => "Settle",
            Self::Cancel { .. } => "Cancel",
            Self::Credit { .. } => "Credit",
            Self::HostAnswer { .. } => "HostAnswer",
            Self::Probe { .. } => "Probe",
            Self::Check { .. } => "Check",
            Self::Stop => "Stop",
        }
    }
}

impl FromWorker {
    /// Whether a worker of `role` may say this in `phase`. While stopping, what was under way when `Stop` was sent may
    /// still arrive, so only the role decides.
    #[must_use]
    pub fn permitted(&self, phase: Phase, role: Role) -> bool {
        let stopping = phase == Phase::Stopping;
        match self {
            Self::Hello { .. } => phase == Phase::Starting || stopping,
            Self::Described { .. } => phase == Phase::Greeted || stopping,
            Self::Opened { .. } | Self::OpenFailed(_) => phase == Phase::Opening || stopping,
            Self::Planned(_) => (phase == Phase::Ready || stopping) && role == Role::Reader,
            Self::Settled { .. } => (phase == Phase::Ready || stopping) && role == Role::Writer,
            Self::Done(_) | Self::Progress(_) | Self::Event(_) | Self::HostCall(_) => {
                phase == Phase::Ready || stopping
            }
            Self::Probed { .. } => matches!(phase, Phase::Opening | Phase::Ready | Phase::Stopping),
        }
    }

    /// The phase after this was said in `phase`, where it was permitted.
    #[must_use]
    pub fn then(&self, phase: Phase) -> Phase {
        match (phase, self) {
            (Phase::Stopping, _) => Phase::Stopping,
            (_, Self::Hello { .. }) => Phase::Greeted,
            (_, Self::Described { .. }) => Phase::Opening,
            (_, Self::Opened { .. }) => Phase::Ready,
            (_, Self::OpenFailed(_)) => Phase::Stopping,
            (
                _,
                Self::Planned(_)
                | Self::Progress(_)
                | Self::Done(_)
                | Self::Settled { .. }
                | Self::Event(_)
                | Self::HostCall(_)
                | Self::Probed { .. },
            ) => phase,
        }
    }

    /// Its name, for errors and logs.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Hello { .. } => "Hello",
            Self::Described { .. } => "Described",
            Self::Opened { .. } => "Opened",
            Self::OpenFailed(_) => "OpenFailed",
            Self::Planned(_) => "Planned",
            Self::Progress(_) => "Progress",
            Self::Done(_) => "Done",
            Self::Settled { .. } => "Settled",
            Self::Event(_) => "Event",
            Self::HostCall(_) => "HostCall",
            Self::Probed { .. } => "Probed",
        }
    }
}
