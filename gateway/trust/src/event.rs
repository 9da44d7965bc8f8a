//! What happened, and exactly what it changed.
//!
//! An event is a [`Fact`] for readers and a list of [`Change`]s for the machine. Changes carry whole rows, so applying
//! them needs no judgement, and folding a log gives the very rows that were saved with it.
//!
//! Invariant: no field of an event can hold a secret, an input, an output or a preview: digests, sizes, ids and the
//! owner's and agents' cleaned words only.

use crate::{
    Agent, Bounds, Denial, Grant, Item, OpenIntent, Session, Settings, Source, State, Token,
    Unknown, UsedKey,
};
use plexus_protocol::{
    AgentId, AuditId, CapabilityId, Digest, Effect, PendingId, SessionId, SourceId, Timestamp,
    TokenId, TrustWindow, Verb, Verbs, body::Scope,
};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use serde_json::Value;
use std::{collections::BTreeSet, sync::Arc};

/// One entry of the audit log.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Event {
    /// The wire's audit type (docs/protocol/owner.md#audit-log).
    #[serde(skip)]
    pub kind: &'static str,
    /// Whom it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent_id: Option<AgentId>,
    /// What it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capability_id: Option<CapabilityId>,
    /// The token that was used or made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jti: Option<TokenId>,
    /// The session it happened in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_id: Option<SessionId>,
    /// The verbs it was about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verbs: Option<Verbs>,
    /// `ok`, `error` or `denied`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<std::borrow::Cow<'static, str>>,
    /// What happened.
    pub detail: Fact,
    /// What it changed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) changes: Vec<Change>,
}

/// Every audit type that the machine makes.
pub const KINDS: &[&str] = &[
    "handshake",
    "grant.allow",
    "grant.pending",
    "grant.deny",
    "grant.revoke",
    "token.issue",
    "token.refresh",
    "invoke",
    "exposure.set",
    "source.install",
    "source.settings",
];

impl Event {
    /// Reads an event of a stored type and its members; `None` for a type that this machine never made.
    ///
    /// # Errors
    /// What is wrong with the members.
    pub fn read(kind: &str, members: &[u8]) -> Option<Result<Self, serde_json::Error>> {
        let kind = KINDS.iter().find(|known| **known == kind)?;
        Some(serde_json::from_slice::<Self>(members).map(|event| Self { kind, ..event }))
    }
}

/// How a call went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OutcomeKind {
    /// Done.
    Ok,
    /// It failed; its worker says how much was done, most often nothing.
    Failed,
    /// It was stopped before any change: the world, the rating or a constraint said no, or its worker died before it
    /// began. Its idempotency key is free.
    Refused,
    /// Nobody knows.
    Unknown,
}

/// One thing that a call read or changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Touch {
    /// What sort of thing: `note`, `file`, `folder`, …
    pub kind: String,
    /// Which, as the source names it.
    pub id: String,
    /// `read` or `write`.
    pub access: Verb,
    /// Digest of its content after the call, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<Digest>,
}

impl Touch {
    /// The same thing without what is there, of which a call that has no answer says nothing.
    #[must_use]
    pub fn without_digest(self) -> Self {
        Self {
            digest: None,
            ..self
        }
    }
}

/// What happened, in words that a reader of the log can search for. The tag is `event`; a call is told by its `phase`
/// alone, because calls are most of a log.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(remote = "Self", tag = "event", rename_all_fields = "camelCase")]
#[allow(
    missing_docs,
    reason = "the members are the wire's and repeat the commands' own"
)]
pub enum Fact {
    #[serde(rename = "agent.connect")]
    Connected {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        agent_type: Option<String>,
        granted_count: usize,
        skipped_count: usize,
    },
    #[serde(rename = "agent.deliver")]
    Delivered {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        agent_type: Option<String>,
        code: bool,
        reissued: bool,
    },
    #[serde(rename = "agent.revoke")]
    AgentRevoked {
        agent_revoke: bool,
        revoked_count: usize,
        grants_removed: usize,
        deleted: bool,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
    #[serde(rename = "agent.enroll")]
    Enrolled {
        outcome: std::borrow::Cow<'static, str>,
    },
    #[serde(rename = "session.open")]
    SessionOpened {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        client: Option<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        version: Option<String>,
        auth: std::borrow::Cow<'static, str>,
    },
    #[serde(rename = "grant.allow")]
    Allowed {
        policy: std::borrow::Cow<'static, str>,
        trust_window: TrustWindow,
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        constrained: bool,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        via_approval: Option<PendingId>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        card: Option<Digest>,
    },
    #[serde(rename = "grant.pending")]
    Pending {
        item: PendingId,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        input: Option<Digest>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        agent_purpose: Option<String>,
    },
    #[serde(rename = "grant.deny")]
    Denied {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        item: Option<PendingId>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
    /// The owner takes a denial back.
    #[serde(rename = "denial.end")]
    DenialEnded { item: PendingId },
    /// An extension that an agent proposed is added.
    #[serde(rename = "extension.register")]
    Registered {
        item: PendingId,
        source: SourceId,
        card: Digest,
        capabilities: Vec<CapabilityId>,
    },
    #[serde(rename = "item.lapse")]
    Lapsed {
        item: PendingId,
        /// Whether it was approved, and the approval not used in time.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        approved: bool,
    },
    #[serde(rename = "item.void")]
    Voided { item: PendingId, why: String },
    /// A bounded approval takes no further turn.
    #[serde(rename = "turns.end")]
    TurnsEnded {
        item: PendingId,
        used: u32,
        turns: u32,
        why: String,
    },
    /// One call of an approved item was refused before it was begun. The item is what it was for its other calls.
    #[serde(rename = "item.not_made")]
    NotMade { item: PendingId, why: String },
    #[serde(rename = "plan.ready")]
    PlanReady {
        item: PendingId,
        preview: Digest,
        state_token: Digest,
        rating: Verb,
    },
    #[serde(rename = "plan.failed")]
    PlanFailed { item: PendingId },
    #[serde(rename = "plan.again")]
    PlanAgain { item: PendingId },
    #[serde(rename = "token.issue")]
    TokenIssued {
        scope_count: usize,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        grant_expires_at: Option<Timestamp>,
    },
    #[serde(rename = "token.refresh")]
    TokenRefreshed {
        previous_jti: TokenId,
        scope_count: usize,
    },
    #[serde(rename = "grant.revoke")]
    Revoked {
        revoked_count: usize,
        grant_removed: bool,
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        by_jti: bool,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
    #[serde(rename = "exposure.set")]
    Exposure {
        enabled: bool,
        surface: std::borrow::Cow<'static, str>,
    },
    #[serde(rename = "default-grant.set")]
    DefaultGrant { ticked: bool },
    #[serde(rename = "source.change")]
    Source {
        source: SourceId,
        what: std::borrow::Cow<'static, str>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        why: Option<String>,
        grants_voided: usize,
        grants_suspended: usize,
    },
    #[serde(rename = "settings.change")]
    Configured { settings: Settings },
    #[serde(rename = "key.rotate")]
    KeyRotated { agents: usize },
    #[serde(rename = "restored")]
    Restored {
        made_at: Timestamp,
        agents: usize,
        grants_suspended: usize,
    },
    #[serde(rename = "agent.code")]
    NewCode {},
    #[serde(rename = "agent.bound")]
    Bounded { bounds: Bounds },
    #[serde(rename = "pause")]
    Paused { on: bool },
    #[serde(rename = "launch")]
    Launched {},
    #[serde(rename = "sweep")]
    Swept { forgotten: usize },
    #[serde(rename = "unknown.settle")]
    Settled {
        intent: AuditId,
        happened: bool,
        /// Of what happened: only a part of it did.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        in_part: bool,
    },
    #[serde(rename = "call.read")]
    Read(CallFact),
    #[serde(rename = "call.intent")]
    Intent(CallFact),
    #[serde(rename = "call.outcome")]
    Outcome(CallFact),
    #[serde(rename = "note")]
    Note { about: Value },
}

impl Serialize for Fact {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Read(call) | Self::Intent(call) | Self::Outcome(call) => call.serialize(s),
            // The derived one, which writes the tag.
            other => Self::serialize(other, s),
        }
    }
}

impl<'de> Deserialize<'de> for Fact {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let mut members = Value::deserialize(d)?;
        // Formats 1 and 2 of the log have the tag in calls too, and their results.
        if members.get("event").is_none() {
            spell_out(&mut members);
        }
        let fact = Self::deserialize(members).map_err(de::Error::custom)?;
        // It is written without its tag: what the two say must be one thing.
        let told = match &fact {
            Self::Read(call) => call.phase == "read",
            Self::Intent(call) => call.phase == "intent",
            Self::Outcome(call) => call.phase == "outcome",
            _ => true,
        };
        match told {
            true => Ok(fact),
            false => Err(de::Error::custom("a call's event and its phase differ")),
        }
    }
}

/// Puts into the `detail` of a call's event what it leaves out: `event`, and a `result` of `ok`.
pub fn spell_out(detail: &mut Value) {
    let Some(call) = detail.as_object_mut() else {
        return;
    };
    let event = match call.get("phase").and_then(Value::as_str) {
        Some("read") => "call.read",
        Some("intent") => "call.intent",
        Some("outcome") => "call.outcome",
        _ => return,
    };
    call.entry("event").or_insert(event.into());
    if event != "call.intent" {
        call.entry("result").or_insert("ok".into());
    }
}

/// What is kept of a call.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct CallFact {
    /// `read`, `intent` or `outcome` (docs/design.md#ledger).
    pub phase: std::borrow::Cow<'static, str>,
    /// The grant's serial or the item that allowed it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub basis: Option<crate::Basis>,
    /// Whether it is the owner's own act: no grant and no agent.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub owner: bool,
    /// Digest of the canonical input.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub input: Option<Digest>,
    /// Its size.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub input_bytes: Option<u64>,
    /// What the approved plan assumed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state_token: Option<Digest>,
    /// Which turn or child call of a bounded approval it is, counted from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub turn: Option<u32>,
    /// The intent of the call whose approval permits this one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parent: Option<AuditId>,
    /// The source whose worker made this child call.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub via: Option<SourceId>,
    /// The event of the intent, on an outcome.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub intent: Option<AuditId>,
    /// How it went. In the log the absence of it is `ok`, except of an intent.
    #[serde(skip_serializing_if = "is_ok")]
    pub result: Option<OutcomeKind>,
    /// The error code.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// `detail.reason` of the error.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Bytes of output.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output_bytes: Option<u64>,
    /// What was touched; on an intent what is about to be, with the digests from before.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub touched: Vec<Touch>,
    /// One typed line without content.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub summary: Option<String>,
    /// By which id the effect can be taken back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub undo: Option<String>,
    /// What was done by then, where it was cancelled, or failed when something was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub effect: Option<Effect>,
    /// What it streamed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub progress: Option<crate::Streamed>,
    /// Awake time it took, in microseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub micros: Option<u64>,
}

/// Whether there is no bad news to write down.
const fn is_ok(result: &Option<OutcomeKind>) -> bool {
    matches!(result, None | Some(OutcomeKind::Ok))
}

/// One row that an event sets or removes. Private to this crate: only [`crate::decide`] makes them.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
pub(crate) enum Change {
    Serial(u64),
    Paused(bool),
    Settings(Arc<Settings>),
    Agent(Box<Agent>),
    AgentGone(AgentId),
    Grant(Grant),
    GrantGone(AgentId, CapabilityId),
    Item(Box<Item>),
    ItemGone(AgentId, PendingId),
    Denial(AgentId, CapabilityId, Digest, Denial),
    DenialGone(AgentId, CapabilityId, Digest),
    Unknown(AgentId, CapabilityId, Digest, Unknown),
    UnknownGone(AgentId, CapabilityId, Digest),
    /// Reserved by the event's own intent.
    Key(AgentId, UsedKey),
    KeyOver(AgentId, AuditId, UsedKey),
    KeyGone(AgentId, AuditId),
    Open(OpenIntent),
    Closed(AuditId),
    Source(Source),
    SourceGone(SourceId),
    Exposure(CapabilityId, bool),
    DefaultGrants(BTreeSet<CapabilityId>),
    // Of this launch only; no rows.
    Session {
        agent: Option<AgentId>,
        id: SessionId,
        expires_at: Timestamp,
        client: (Option<String>, Option<String>),
    },
    SessionGone {
        agent: Option<AgentId>,
        id: SessionId,
    },
    Token {
        agent: AgentId,
        id: TokenId,
        session: SessionId,
        scopes: Vec<Scope>,
        expires_at: Timestamp,
    },
    TokenGone {
        agent: AgentId,
        id: TokenId,
    },
    LaunchOver,
}

impl State {
    /// Carries out what an event changed. `id` and `at` are the event's own.
    pub fn apply(&mut self, event: &Event, id: &AuditId, at: Timestamp) {
        self.latest = self.latest.max(at);
        for change in &event.changes {
            self.change(change, id);
        }
    }

    fn change(&mut self, change: &Change, event: &AuditId) {
        match change {
            Change::Serial(n) => self.serial = *n,
            Change::Paused(on) => self.paused = *on,
            Change::Settings(settings) => self.settings = settings.clone(),
            Change::Agent(row) => {
                let agents = Arc::make_mut(&mut self.agents);
                match agents.get_mut(&row.id) {
                    Some(agent) => Arc::make_mut(agent).take_row(row),
                    None => {
                        agents.insert(row.id.clone(), Arc::new((**row).clone()));
                    }
                }
            }
            Change::AgentGone(id) => {
                Arc::make_mut(&mut self.agents).remove(id);
            }
            Change::Grant(grant) => {
                if let Some(agent) = self.agent_mut(&grant.agent) {
                    agent
                        .grants
                        .insert(grant.capability.clone(), Arc::new(grant.clone()));
                }
            }
            Change::GrantGone(agent, id) => self.of(agent, |a| {
                a.grants.remove(id);
            }),
            Change::Item(item) => {
                if let Some(agent) = self.agent_mut(&item.agent) {
                    agent
                        .items
                        .insert(item.id.clone(), Arc::new((**item).clone()));
                }
            }
            Change::ItemGone(agent, id) => self.of(agent, |a| {
                a.items.remove(id);
            }),
            Change::Denial(agent, id, input, denial) => self.of(agent, |a| {
                a.denials.insert((id.clone(), *input), denial.clone());
            }),
            Change::DenialGone(agent, id, input) => self.of(agent, |a| {
                a.denials.remove(&(id.clone(), *input));
            }),
            Change::Unknown(agent, id, input, unknown) => self.of(agent, |a| {
                a.unknown.insert((id.clone(), *input), unknown.clone());
            }),
            Change::UnknownGone(agent, id, input) => self.of(agent, |a| {
                a.unknown.remove(&(id.clone(), *input));
            }),
            Change::Key(agent, used) => self.of(agent, |a| {
                Arc::make_mut(&mut a.keys).insert(event.clone(), used.clone());
            }),
            Change::KeyOver(agent, intent, used) => self.of(agent, |a| {
                Arc::make_mut(&mut a.keys).insert(intent.clone(), used.clone());
            }),
            Change::KeyGone(agent, intent) => self.of(agent, |a| {
                Arc::make_mut(&mut a.keys).remove(intent);
            }),
            Change::Open(intent) => {
                Arc::make_mut(&mut self.open_intents).insert(event.clone(), intent.clone());
            }
            Change::Closed(intent) => {
                Arc::make_mut(&mut self.open_intents).remove(intent);
            }
            Change::Source(source) => {
                Arc::make_mut(&mut self.sources)
                    .insert(source.id.clone(), Arc::new(source.clone()));
            }
            Change::SourceGone(id) => {
                Arc::make_mut(&mut self.sources).remove(id);
            }
            Change::Exposure(id, enabled) => {
                Arc::make_mut(&mut self.exposure).insert(id.clone(), *enabled);
            }
            Change::DefaultGrants(ids) => self.default_grants = Arc::new(ids.clone()),
            Change::Session {
                agent,
                id,
                expires_at,
                client,
            } => {
                let session = Session {
                    expires_at: *expires_at,
                    client: client.clone(),
                };
                match agent {
                    Some(agent) => self.of(agent, |a| {
                        a.sessions.insert(id.clone(), session);
                    }),
                    None => {
                        Arc::make_mut(&mut self.console_sessions).insert(id.clone(), session);
                    }
                }
            }
            Change::SessionGone { agent, id } => match agent {
                Some(agent) => self.of(agent, |a| {
                    a.sessions.remove(id);
                }),
                None => {
                    Arc::make_mut(&mut self.console_sessions).remove(id);
                }
            },
            Change::Token {
                agent,
                id,
                session,
                scopes,
                expires_at,
            } => self.of(agent, |a| {
                let token = Token {
                    session: session.clone(),
                    scopes: scopes.clone(),
                    expires_at: *expires_at,
                };
                a.tokens.insert(id.clone(), token);
            }),
            Change::TokenGone { agent, id } => self.of(agent, |a| {
                a.tokens.remove(id);
            }),
            Change::LaunchOver => {
                self.launched = true;
                // After a restart nobody has any, and no agent is copied.
                let open = |a: &&Arc<Agent>| !(a.sessions.is_empty() && a.tokens.is_empty());
                let open = self.agents.values().filter(open);
                let ids: Vec<AgentId> = open.map(|agent| agent.id.clone()).collect();
                for id in ids {
                    self.of(&id, |a| {
                        a.sessions.clear();
                        a.tokens.clear();
                    });
                }
                self.console_sessions = Arc::default();
            }
        }
    }

    fn of(&mut self, agent: &AgentId, act: impl FnOnce(&mut Agent)) {
        if let Some(agent) = self.agent_mut(agent) {
            act(agent);
        }
    }
}

impl Agent {
    /// Takes over the members of a row and keeps what has rows of its own.
    fn take_row(&mut self, row: &Self) {
        let mut next = row.clone();
        std::mem::swap(&mut next.grants, &mut self.grants);
        std::mem::swap(&mut next.items, &mut self.items);
        std::mem::swap(&mut next.denials, &mut self.denials);
        std::mem::swap(&mut next.unknown, &mut self.unknown);
        std::mem::swap(&mut next.keys, &mut self.keys);
        std::mem::swap(&mut next.sessions, &mut self.sessions);
        std::mem::swap(&mut next.tokens, &mut self.tokens);
        *self = next;
    }
}
