//! Agents: connecting and ending them, their codes and their limits.

use crate::{Done, wire};
use plexus_protocol::{
    AgentId, AuditId, CapabilityId, Constraint, EnrollmentStatus, ErrorCode, PendingId, Reach,
    Timestamp, TokenId, TrustWindow,
    body::{CancelledCall, StandingGrant},
};
use serde::{Deserialize, Deserializer, Serialize, de::Error as _};
use serde_json::{Number, Value};

/// All agents, each at a glance.
#[derive(Debug, Serialize, Deserialize)]
pub struct List {}

/// All agents, each at a glance.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub struct Agents {
    /// Each of them.
    pub agents: Vec<AgentRow>,
}

/// An agent at a glance.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AgentRow {
    /// Its id.
    pub agent_id: AgentId,
    /// How its credential is.
    pub status: EnrollmentStatus,
    /// What it sees.
    pub reach: Reach,
    /// Grants that it can use now.
    pub grants: usize,
    /// Sessions that are open.
    pub sessions: usize,
    /// Requests that wait for the owner.
    pub pending: usize,
    /// Effects of unknown outcome.
    pub unsettled: usize,
    /// The form in which its install material is delivered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent_type: Option<String>,
    /// When it last did something.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_seen_at: Option<Timestamp>,
}

/// The credentials of all agents.
#[derive(Debug, Serialize, Deserialize)]
pub struct ListEnrollments {}

/// The credentials of all agents.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub struct Enrollments {
    /// One for each agent.
    pub agents: Vec<Enrollment>,
}

/// An agent's credential.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Enrollment {
    /// Whose it is.
    pub agent_id: AgentId,
    /// How it is.
    pub status: EnrollmentStatus,
    /// When the agent was connected.
    pub issued_at: Timestamp,
    /// When its code ends or ended.
    pub code_expires_at: Timestamp,
    /// When its code was redeemed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub redeemed_at: Option<Timestamp>,
    /// When it was revoked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked_at: Option<Timestamp>,
}

/// What an agent was connected for.
#[derive(Debug, Serialize, Deserialize)]
pub struct ShowSubset {
    /// The agent.
    pub id: String,
}

/// What an agent was connected for. One that is unknown was connected for nothing.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Subset {
    /// The agent, as it was asked for.
    pub agent_id: String,
    /// What it was selected for.
    pub capabilities: Vec<CapabilityId>,
    /// Effects of those that were to be granted as well.
    pub standing: Vec<CapabilityId>,
    /// The same under its earlier name.
    pub standing_execute: Vec<CapabilityId>,
    /// What it sees.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reach: Option<Reach>,
}

/// Connects an agent, anew where it is known.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Connect {
    /// Its id.
    #[serde(default)]
    pub agent_id: String,
    /// What sort of agent it is: how its install material is delivered.
    pub agent_type: Option<String>,
    /// What it is selected for; reads among them are granted.
    #[serde(default, deserialize_with = "wire::strings")]
    pub capabilities: Vec<String>,
    /// Effects of those that are granted as well.
    #[serde(
        default,
        deserialize_with = "wire::strings",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub standing: Vec<String>,
    /// The same under its earlier name.
    #[serde(
        default,
        deserialize_with = "wire::strings",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub standing_execute: Vec<String>,
    /// What it sees; else as the owner's settings say.
    pub reach: Option<Reach>,
    /// How long its code can be redeemed, in milliseconds.
    pub ttl_ms: Option<Number>,
    /// How long its grants are valid.
    pub trust_window: Option<TrustWindow>,
    /// How its grants are narrowed.
    pub constraint: Option<Constraint>,
}

/// A connected agent.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
pub enum Connected {
    /// One that redeems a code.
    Enrolling(EnrollingAgent),
    /// One whose source makes its calls.
    Nested(NestedAgent),
}

impl Connected {
    /// What it may do from the start.
    #[must_use]
    pub fn granted(&self) -> &[StandingGrant] {
        match self {
            Self::Enrolling(agent) => &agent.granted,
            Self::Nested(agent) => &agent.granted,
        }
    }
    /// What asks each time, and what was to be granted and cannot be.
    #[must_use]
    pub fn not_granted(&self) -> (&[CapabilityId], &[RefusedStanding]) {
        match self {
            Self::Enrolling(agent) => (&agent.skipped, &agent.refused),
            Self::Nested(agent) => (&agent.skipped, &agent.refused),
        }
    }
}

/// An agent that redeems a code.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EnrollingAgent {
    /// It is connected.
    pub ok: Done,
    /// Its id.
    pub agent_id: AgentId,
    /// The code: a secret, and shown this once.
    pub code: String,
    /// When the code ends.
    pub expires_at: Timestamp,
    /// Where it is redeemed.
    pub enroll_url: String,
    /// Where a session begins.
    pub handshake_url: String,
    /// What redeems it, as a command.
    pub enroll_command: String,
    /// What the agent sees.
    pub reach: Option<Reach>,
    /// What it may do from the start.
    pub granted: Vec<StandingGrant>,
    /// What asks each time.
    pub skipped: Vec<CapabilityId>,
    /// What was to be granted and cannot be.
    pub refused: Vec<RefusedStanding>,
    /// The event.
    pub audit_id: String,
    /// The form in which its install material is delivered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent_type: Option<String>,
}

/// An agent whose source makes its calls: it has no code.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NestedAgent {
    /// It is connected.
    pub ok: Done,
    /// Its id.
    pub agent_id: AgentId,
    /// The form in which its install material is delivered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent_type: Option<String>,
    /// The event.
    pub audit_id: String,
    /// What was to be granted and cannot be.
    pub refused: Vec<RefusedStanding>,
    /// What asks each time.
    pub skipped: Vec<CapabilityId>,
    /// What it may do from the start.
    pub granted: Vec<StandingGrant>,
    /// What it sees.
    pub reach: Option<Reach>,
    /// It is nested.
    pub nested: Done,
}

/// An effect that no grant can allow.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RefusedStanding {
    /// The capability.
    pub id: CapabilityId,
    /// Why, as a code.
    pub code: ErrorCode,
    /// Why, in words.
    pub reason: String,
}

/// Makes another code for an agent: its old credential ends, its grants stay.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RenewCode {
    /// The agent.
    pub id: String,
    /// How long the code can be redeemed, in milliseconds.
    pub ttl_ms: Option<Number>,
}

/// Another code.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RenewedCode {
    /// It is made.
    pub ok: Done,
    /// Whose it is.
    pub agent_id: AgentId,
    /// The code: a secret, and shown this once.
    pub code: String,
    /// When it ends.
    pub expires_at: Timestamp,
    /// Where it is redeemed.
    pub enroll_url: String,
    /// The event.
    pub audit_id: String,
    /// Requests and approvals that ended.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ended: Vec<PendingId>,
}

/// Ends an agent's credential, sessions, tokens and grants.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Revoke {
    /// The agent.
    #[serde(default)]
    pub agent_id: String,
    /// The owner's words for the log.
    pub reason: Option<String>,
    /// Whether it is forgotten as well.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub delete: bool,
}

/// What the end of an agent ended.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RevokedAgent {
    /// Whether there was anything to end.
    pub ok: bool,
    /// The agent, as it was named.
    pub agent_id: String,
    /// Whether a credential ended.
    pub enrollment_revoked: bool,
    /// Sessions that ended.
    pub sessions_invalidated: usize,
    /// Whether a grant ended.
    pub grants_removed: bool,
    /// How many did.
    pub grants_removed_count: usize,
    /// Tokens that ended.
    pub revoked_jtis: Vec<TokenId>,
    /// The event.
    pub audit_id: String,
    /// Effects that were sent before; those among `cancelled` are asked to stop, and may be done all the same.
    pub in_flight: Vec<AuditId>,
    /// Requests and approvals that ended.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ended: Vec<PendingId>,
    /// Calls that are being cancelled.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cancelled: Vec<CancelledCall>,
    /// The agent is forgotten.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deleted: Option<Done>,
}

/// How much an agent may do.
#[derive(Debug, Serialize, Deserialize)]
pub struct ShowLimits {
    /// The agent.
    pub id: String,
}

/// How much an agent may do.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Limits {
    /// The agent.
    pub agent_id: AgentId,
    /// Calls a second.
    pub calls_per_second: Limit,
    /// Bytes of the log a day.
    pub ledger_bytes_per_day: LedgerLimit,
}

/// What holds, and what would hold otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limit {
    /// What holds.
    pub limit: u64,
    /// What holds where the owner says nothing.
    pub default: u64,
}

/// The same, with what is used of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LedgerLimit {
    /// What holds.
    #[serde(flatten)]
    pub held: Limit,
    /// What is used of it today.
    pub used: u64,
}

/// Sets how much an agent may do. What is absent stays.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ChangeLimits {
    /// The agent.
    pub id: String,
    /// Calls a second.
    pub calls_per_second: Option<WantedLimit>,
    /// Bytes of the log a day.
    pub ledger_bytes_per_day: Option<WantedLimit>,
}

/// A limit as the owner wants it: a whole number, or `default`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WantedLimit {
    /// What holds where the owner says nothing.
    Default,
    /// So much.
    Number(u64),
}

impl Serialize for WantedLimit {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Default => to.serialize_str("default"),
            Self::Number(number) => to.serialize_u64(*number),
        }
    }
}

impl<'de> Deserialize<'de> for WantedLimit {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let value = Value::deserialize(from)?;
        match (value.as_str(), value.as_u64()) {
            (Some("default"), _) => Ok(Self::Default),
            (_, Some(number)) => Ok(Self::Number(number)),
            _ => Err(D::Error::custom("a whole number or \"default\" is wanted")),
        }
    }
}

/// Limits that were set.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ChangedLimits {
    /// As they are now.
    #[serde(flatten)]
    pub limits: Limits,
    /// They are set.
    pub ok: Done,
    /// The event.
    pub audit_id: String,
}
