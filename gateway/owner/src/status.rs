//! The gateway at a glance: what runs, what waits, what is wrong.

use crate::{
    calls::OpenApproval,
    profile::WorkerRole,
    sources::{Health, Stopped},
};
use plexus_protocol::{AgentId, AuditId, CapabilityId, Digest, PendingId, SourceId, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// All of it.
#[derive(Debug, Serialize, Deserialize)]
pub struct Show {}

/// All of it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// What is told without the key.
    #[serde(flatten)]
    pub versions: Versions,
    /// The gateway's process.
    pub pid: u32,
    /// The port that it listens on.
    pub port: u16,
    /// For how long it has run, in milliseconds.
    pub uptime_ms: u64,
    /// Whether all agents are paused.
    pub paused: bool,
    /// Who started it: `terminal`, `program` or a service manager.
    pub started_by: String,
    /// Whether it is about to end.
    pub stopping: bool,
    /// Its build.
    pub build: String,
    /// Number of this launch, from 1.
    pub launch: u64,
    /// Whether only this machine reaches it.
    pub loopback_only: bool,
    /// Its audit log.
    pub ledger: LedgerState,
    /// Whether workers can be caged here.
    pub cages: CageSupport,
    /// Its workers.
    pub workers: Vec<Worker>,
    /// Its sources.
    pub sources: Vec<SourceState>,
    /// Its agents.
    pub agents: AgentCounts,
    /// How much there is of what.
    pub counts: Counts,
    /// Effects that are under way.
    pub effects_under_way: usize,
    /// Approvals that permit further calls.
    pub conversations: Vec<OpenApproval>,
    /// Effects whose outcome is unknown.
    pub unsettled: Vec<UnsettledCall>,
    /// Sources on which grants are suspended, or tools hidden, until the owner decides.
    pub resting: Vec<RestingSource>,
    /// Sources whose workers run without a sandbox.
    pub unsandboxed: BTreeSet<SourceId>,
    /// How this launch came about, where it was a change to another build.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upgrade: Option<ChangeOver>,
}

/// What is told without the key.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Versions {
    /// Of the surface for shells.
    pub lra_version: String,
    /// Of the protocol, in short.
    pub protocol_version: String,
    /// Of the protocol.
    pub protocol_exact: String,
    /// Of the software.
    pub runtime_version: String,
}

/// The state of the audit log.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct LedgerState {
    /// Whether it takes events.
    pub condition: LedgerCondition,
    /// Why it does not take all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Events that wait for the disk.
    pub queued: usize,
    /// When it was last compared with the state.
    pub checked: LedgerCheck,
    /// How many events it has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub events: Option<u64>,
    /// The digest of the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub head: Option<Digest>,
    /// The event from which a start checks it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checkpoint: Option<u64>,
}

/// Whether the audit log takes events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LedgerCondition {
    /// It does.
    Open,
    /// Only those of the owner's acts.
    DiskFull,
    /// It does not.
    Closed,
}

impl LedgerCondition {
    /// Its word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::DiskFull => "disk_full",
            Self::Closed => "closed",
        }
    }
}

/// A comparison of the audit log with the state.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct LedgerCheck {
    /// When it ended.
    pub at: Timestamp,
    /// `start`, from the last checkpoint on, or `verify`, all of it.
    pub by: String,
    /// Whether it found nothing wrong.
    pub holds: bool,
}

/// Whether workers can be caged on this machine.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CageSupport {
    /// Whether they can.
    pub supported: bool,
    /// By what.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mechanism: Option<String>,
    /// Of which version; 0 where it has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<u32>,
    /// Why they cannot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// A worker.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Worker {
    /// Its source.
    pub source: SourceId,
    /// What it is for.
    pub role: WorkerRole,
    /// Where it is in its life.
    pub state: WorkerState,
    /// Since when.
    pub since: Timestamp,
    /// How often it was started again after it had ended by itself.
    pub restarts: u32,
    /// Its process, while there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid: Option<u32>,
    /// What the last attack on its cage found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cage: Option<CageProof>,
}

/// Where a worker is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WorkerState {
    /// There is no process.
    Stopped,
    /// It starts.
    Starting,
    /// It serves.
    Ready,
    /// It ends.
    Stopping,
    /// It waits to be started again.
    Backoff,
    /// It is not started again by itself.
    Failed,
}

impl WorkerState {
    /// Its word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Stopped => "stopped",
            Self::Starting => "starting",
            Self::Ready => "ready",
            Self::Stopping => "stopping",
            Self::Backoff => "backoff",
            Self::Failed => "failed",
        }
    }
}

/// What an attack on a cage found.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct CageProof {
    /// What was tried.
    pub checks: usize,
    /// How much of it the cage held.
    pub held: usize,
}

/// A source in short.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SourceState {
    /// Its id.
    pub id: SourceId,
    /// Its name for people.
    pub label: String,
    /// Its kind.
    pub kind: String,
    /// Whether it serves.
    pub enabled: bool,
    /// How it does.
    pub health: Health,
    /// Why nothing of it is started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stopped: Option<Stopped>,
}

/// Agents.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AgentCounts {
    /// How many there are.
    pub known: usize,
    /// Those with a grant.
    pub with_grants: Vec<AgentId>,
}

/// How much there is of what.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Counts {
    /// Enabled sources.
    pub sources: usize,
    /// Capabilities.
    pub capabilities: usize,
    /// Grants.
    pub grants: usize,
    /// Requests that wait for the owner.
    pub pending: usize,
    /// Sessions, of agents and of the console.
    pub sessions: usize,
}

/// An effect of which nobody knows whether it happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct UnsettledCall {
    /// Its intent.
    pub audit_id: AuditId,
    /// Who called.
    pub agent_id: AgentId,
    /// What was called.
    pub capability_id: CapabilityId,
    /// With which input.
    pub input_digest: Digest,
    /// When it became unknown.
    pub at: Timestamp,
}

/// A source on which grants are suspended.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RestingSource {
    /// The source.
    pub source: SourceId,
    /// How many grants; 0 where only tools are hidden.
    pub grants: usize,
    /// The card on which the owner decides.
    pub pending_id: Option<PendingId>,
}

/// A change to another build.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ChangeOver {
    /// From this build to the one that runs.
    From(Build),
    /// To this one, which could not be started.
    Failed {
        /// The build.
        to: Build,
        /// Why it could not.
        why: String,
    },
}

/// The name of a build.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Build {
    /// Of the software.
    pub version: String,
    /// With the protocol of its workers.
    pub build: String,
}
