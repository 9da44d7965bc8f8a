//! Grants that stand, what the owner grants unasked, live tokens, and what is taken back.

use plexus_protocol::{
    AgentId, CapabilityId, Constraint, PendingId, Provenance, SessionId, Timestamp, TokenId,
    TrustWindow, Verbs,
    body::{Declined, Scope, ScopedToken, StandingGrant},
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use std::{collections::BTreeMap, ops::Deref};

/// All standing grants.
#[derive(Debug, Serialize, Deserialize)]
pub struct List {}

/// All standing grants.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Grants {
    /// Each of them.
    pub grants: Vec<GrantRow>,
    /// From when on their uses are known; none: from the beginning of the log on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uses_since: Option<Timestamp>,
    /// Approvals of one call, whatever its input, that have not been used.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub any_input: Vec<AnyInputCall>,
    /// Grants whose time ended in the last 30 days, and that were neither given again nor revoked; their sources have not changed
    /// since.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ended: Vec<StandingGrant>,
}

/// An approval of one call, whatever its input.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AnyInputCall {
    /// Whose.
    pub agent_id: AgentId,
    /// Of what.
    pub capability_id: CapabilityId,
    /// The request that was approved.
    pub pending_id: PendingId,
    /// How it is narrowed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub constraint: Option<Constraint>,
    /// First moment at which it is over.
    pub expires_at: Timestamp,
}

/// A standing grant, with its last use.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GrantRow {
    /// The grant.
    #[serde(flatten)]
    pub grant: StandingGrant,
    /// When it last allowed a call, as far as that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_used_at: Option<Timestamp>,
}

impl Deref for GrantRow {
    type Target = StandingGrant;
    fn deref(&self) -> &StandingGrant {
        &self.grant
    }
}

/// When a grant last allowed a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LastUse {
    /// Then.
    At(Timestamp),
    /// Never so far.
    Never,
    /// Not since then; of the time before nothing is known.
    NotSince(Timestamp),
}

impl Grants {
    /// The last use of one of them.
    #[must_use]
    pub fn last_use(&self, row: &GrantRow) -> LastUse {
        let unknown = self.uses_since.filter(|since| *since > row.granted_at);
        match (row.last_used_at, unknown) {
            (Some(at), _) => LastUse::At(at),
            (None, Some(since)) => LastUse::NotSince(since),
            (None, None) => LastUse::Never,
        }
    }
}

/// Grants something to an agent that did not ask for it.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Give {
    /// The agent.
    pub agent_id: Option<String>,
    /// How long each grant is valid; else as its decision says.
    pub trust_window: Option<TrustWindow>,
    /// Capabilities with decisions, as an agent's `PUT /grants` has them; required.
    pub grants: Option<Map<String, Value>>,
}

impl Give {
    /// One capability, for one agent.
    #[must_use]
    pub fn one(
        agent: &AgentId,
        capability: &CapabilityId,
        window: TrustWindow,
        constraint: Option<&Constraint>,
    ) -> Self {
        let mut decision = json!({"decision": "allow"});
        if let Some(constraint) = constraint {
            decision["constraint"] = json!(constraint);
        }
        Self {
            agent_id: Some(agent.to_string()),
            trust_window: Some(window),
            grants: Some(Map::from_iter([(capability.to_string(), decision)])),
        }
    }

    /// Grants of one agent that have ended, each with its verbs, its window and its narrowing; calls count anew.
    #[must_use]
    pub fn again<'g>(agent: &AgentId, ended: impl IntoIterator<Item = &'g StandingGrant>) -> Self {
        let decisions = ended.into_iter().map(|grant| {
            let mut decision = json!({"decision": "allow", "verbs": grant.verbs,
                "trustWindow": grant.trust_window});
            if let Some(constraint) = &grant.constraint {
                decision["constraint"] = json!(constraint);
            }
            (grant.capability_id.to_string(), decision)
        });
        Self {
            agent_id: Some(agent.to_string()),
            trust_window: None,
            grants: Some(decisions.collect()),
        }
    }
}

/// Whether a grant that has ended is given again with all others, unnamed: a read. An effect is given again by its name.
#[must_use]
pub fn is_renewed_unnamed(ended: &StandingGrant) -> bool {
    ended.verbs.is_read()
}

/// Grants by their agents: those of one agent are given again in one act.
#[must_use]
pub fn by_agent<'g>(
    grants: impl IntoIterator<Item = &'g StandingGrant>,
) -> BTreeMap<&'g AgentId, Vec<&'g StandingGrant>> {
    let mut by_agent: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for grant in grants {
        by_agent.entry(&grant.agent_id).or_default().push(grant);
    }
    by_agent
}

/// What one agent was given again.
#[derive(Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Renewed {
    /// The agent.
    pub agent_id: AgentId,
    /// What it may use again.
    pub granted: Vec<CapabilityId>,
    /// The rest, each with the reason.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub declined: Vec<Declined>,
    /// The agent's requests that waited and that the new grants answered.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub also_answered: Vec<PendingId>,
    /// How many denials the new grants ended.
    #[serde(skip_serializing_if = "crate::review::is_zero")]
    pub denials_ended: usize,
}

impl Renewed {
    /// After the answer to an act that was to give an agent all of these.
    #[must_use]
    pub fn of(agent: &AgentId, grants: &[&StandingGrant], given: Given) -> Self {
        match given {
            Given::Nothing(nothing) => Self::but(agent, grants, nothing.declined),
            Given::Token(given) => Self {
                also_answered: given.also_answered,
                denials_ended: given.denials_ended,
                ..Self::but(agent, grants, given.token.declined)
            },
        }
    }

    /// All but those that were declined.
    fn but(agent: &AgentId, grants: &[&StandingGrant], declined: Vec<Declined>) -> Self {
        let ids = grants.iter().map(|grant| &grant.capability_id);
        let is_given = |id: &&CapabilityId| !declined.iter().any(|one| one.id == id.as_str());
        Self {
            agent_id: agent.clone(),
            granted: ids.filter(is_given).cloned().collect(),
            declined,
            also_answered: Vec::new(),
            denials_ended: 0,
        }
    }

    /// After a refusal of all of them.
    #[must_use]
    pub fn none(agent: &AgentId, grants: &[&StandingGrant], reason: &str) -> Self {
        let declined = grants.iter().map(|grant| Declined {
            id: grant.capability_id.to_string(),
            reason: reason.to_owned(),
        });
        Self::but(agent, grants, declined.collect())
    }
}

/// What was granted.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
pub enum Given {
    /// Something may be: a token says what.
    Token(GivenToken),
    /// Nothing: no agent was named.
    Nothing(NothingGiven),
}

/// A token for what was granted.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GivenToken {
    /// The token.
    #[serde(flatten)]
    pub token: ScopedToken,
    /// The agent's requests that waited and that the new grants answered.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub also_answered: Vec<PendingId>,
    /// How many denials the new grants ended; the others refuse their calls as before.
    #[serde(default, skip_serializing_if = "crate::review::is_zero")]
    pub denials_ended: usize,
}

/// A request that named no agent.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub struct NothingGiven {
    /// None.
    pub scopes: Vec<Scope>,
    /// All that was named.
    pub declined: Vec<Declined>,
}

/// All live tokens.
#[derive(Debug, Serialize, Deserialize)]
pub struct ListTokens {}

/// All live tokens.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub struct Tokens {
    /// Each of them, without itself.
    pub tokens: Vec<LiveToken>,
}

/// A live token, without itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LiveToken {
    /// Its id.
    pub jti: TokenId,
    /// The session that it is of.
    pub session_id: SessionId,
    /// Whose it is.
    pub agent_id: AgentId,
    /// What it opens.
    pub scopes: Vec<LiveScope>,
    /// When it ends.
    pub expires_at: Timestamp,
}

/// A scope of a live token.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LiveScope {
    /// The capability.
    pub id: CapabilityId,
    /// What the token may do with it.
    pub verbs: Verbs,
    /// When the grant behind it ends.
    pub grant_expires_at: Timestamp,
    /// Where the capability comes from.
    pub provenance: Provenance,
    /// The window of the grant behind it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trust_window: Option<TrustWindow>,
    /// Its narrowing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub constraint: Option<Constraint>,
}

/// Takes back a token, or a grant with its agent's tokens.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Revoke {
    /// The token.
    pub jti: Option<String>,
    /// Whose grant it is.
    pub agent_id: Option<String>,
    /// What it opens.
    pub capability_id: Option<String>,
    /// A bundle; there is none in this version.
    pub bundle_id: Option<String>,
    /// The owner's words for the log.
    pub reason: Option<String>,
}
