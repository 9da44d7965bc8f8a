//! A call as it is asked for: who, what, with which input. Plain data; nothing here decides.

use bytes::Bytes;
use plexus_protocol::{AgentId, CapabilityId, Digest, PendingId, SessionId, TokenId, json};
use plexus_sources::catalogue::Entry;
use plexus_trust::{AuthPath, OnApproval};
use serde_json::Value;
use std::sync::Arc;

/// Who calls, proven.
#[derive(Clone, Debug)]
pub struct Caller {
    /// The agent.
    pub agent: AgentId,
    /// The proof.
    pub by: CallerProof,
}

/// With what it was proven.
#[derive(Clone, Debug)]
pub enum CallerProof {
    /// A scoped token.
    Token {
        /// Its id.
        jti: TokenId,
        /// The session that it was made in.
        session: SessionId,
    },
    /// A session alone.
    Session(SessionId),
    /// The gateway itself, for what the owner approved.
    Approval(PendingId),
    /// The gateway itself, for a further turn of what the owner approved.
    Turn(PendingId),
    /// The gateway itself, for a read of a workflow: a standing grant of the agent's own allows it, and nothing else.
    Grant,
}

impl CallerProof {
    pub(crate) fn auth_path(&self) -> AuthPath<'_> {
        match self {
            Self::Token { jti, .. } => AuthPath::Token(jti),
            Self::Session(session) => AuthPath::Session(session),
            Self::Approval(item) => AuthPath::Approved(item),
            Self::Turn(item) => AuthPath::Bounded(item),
            Self::Grant => AuthPath::Standing,
        }
    }
    /// The session, where an agent asks itself.
    pub fn session(&self) -> Option<&SessionId> {
        match self {
            Self::Token { session, .. } | Self::Session(session) => Some(session),
            Self::Approval(_) | Self::Turn(_) | Self::Grant => None,
        }
    }
}

/// What is wished for, as the body says it.
pub struct InvokeRequest {
    /// The capability, as it was typed.
    pub id: String,
    /// Its input.
    pub input: Value,
    /// Why, in the agent's words.
    pub purpose: Option<String>,
    /// What an approval is to do.
    pub on_approval: OnApproval,
    /// Whether the answer is a run's handle.
    pub in_background: bool,
    /// The idempotency key.
    pub key: Option<String>,
}

/// A call of a known capability with a parsed input.
#[derive(Clone)]
pub struct Asked {
    /// Who asks.
    pub caller: Caller,
    pub(crate) entry: Arc<Entry>,
    pub(crate) input: Arc<Value>,
    /// RFC 8785: exactly what the worker gets.
    pub(crate) canonical: Bytes,
    pub(crate) digest: Digest,
    /// Why, in the agent's words, should the owner be asked.
    pub(crate) purpose: Option<String>,
    /// The act of the owner's yes, should it come to that.
    pub(crate) on_approval: OnApproval,
    /// The idempotency key of an effect.
    pub(crate) key: Option<Digest>,
}

impl Asked {
    /// With the canonical form and digest of `input`.
    pub fn new(caller: Caller, entry: Arc<Entry>, input: Value) -> Self {
        let canonical = Bytes::from(json::canonical(&input));
        let digest = Digest::of(&canonical);
        Self {
            caller,
            entry,
            input: Arc::new(input),
            canonical,
            digest,
            purpose: None,
            on_approval: OnApproval::default(),
            key: None,
        }
    }

    /// The capability.
    pub fn id(&self) -> &CapabilityId {
        &self.entry.id
    }
}
