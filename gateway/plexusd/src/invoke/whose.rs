//! Whose change an undo takes back. A standing permission to undo covers an agent's own changes and nobody else's.
//!
//! Only the log knows, so the id has to be that of the change's own event. Whatever is not found there, or cannot be
//! looked for, is taken for somebody else's: it asks, and the agent is not told which of these it was.

use crate::{app::App, machine::Ledger, sources::catalogue::Entry};
use plexus_ledger::EventId;
use plexus_protocol::{AgentId, json};
use serde_json::Value;

/// The capability by which every source that keeps what it replaces takes it back.
pub(crate) const UNDO: &str = "undo";

/// Who made a change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Whose {
    /// The agent that wants it undone.
    Own,
    Agent(AgentId),
    Owner,
    /// The log does not say.
    Nobody,
}

impl Whose {
    /// Whose change it is, for a card.
    pub(crate) fn in_words(&self) -> String {
        match self {
            Self::Own => "its own".into(),
            Self::Agent(agent) => format!("the agent {agent}"),
            Self::Owner => "you".into(),
            Self::Nobody => "not known".into(),
        }
    }
}

/// Whose change a call of `entry` with this canonical input takes back, for `agent`; none where it is no undo.
pub(crate) async fn change(
    app: &App,
    agent: &AgentId,
    entry: &Entry,
    input: &[u8],
) -> Option<Whose> {
    if entry.capability().name != UNDO {
        return None;
    }
    let named = json::parse(input)
        .ok()
        .and_then(|input| input["id"].as_str()?.parse().ok());
    let Some(id) = named else {
        return Some(Whose::Nobody);
    };
    let (ledger, agent, source) = (app.ledger.clone(), agent.clone(), entry.source.clone());
    let look = move || maker(&ledger, &id, &agent, source.as_str());
    let found = tokio::task::spawn_blocking(look).await;
    Some(found.unwrap_or(Whose::Nobody))
}

fn maker(ledger: &Ledger, id: &EventId, agent: &AgentId, source: &str) -> Whose {
    let event = match ledger.event(id) {
        Ok(Some(event)) => event,
        Ok(None) => return Whose::Nobody,
        Err(error) => {
            tracing::error!(name: "audit.unreadable", %error, "the audit log cannot be read: a change counts as somebody else's");
            return Whose::Nobody;
        }
    };
    let event: Value = serde_json::from_str(event.json()).unwrap_or_default();
    let of_source = event["capabilityId"]
        .as_str()
        .and_then(|id| id.split_once('.'))
        .is_some_and(|(of, _)| of == source);
    if event["detail"]["phase"] != "intent" || !of_source {
        return Whose::Nobody;
    }
    match event["agentId"].as_str().map(AgentId::parse) {
        Some(Ok(maker)) if maker == *agent => Whose::Own,
        Some(Ok(maker)) => Whose::Agent(maker),
        Some(Err(_)) => Whose::Nobody,
        None if event["detail"]["owner"] == true => Whose::Owner,
        None => Whose::Nobody,
    }
}
