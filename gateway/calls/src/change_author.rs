//! Whose change an undo takes back. A standing permission to undo covers an agent's own changes and nobody else's.
//!
//! An agent is a program, not a name: what was done before it redeemed its code is another's, also under its own name
//! (docs/decisions/0027). Only the log knows, so the id has to be that of the change's own event. Whatever is not found
//! there, or cannot be looked for, is taken for somebody else's: it asks, and the agent is not told which of these it was.

use crate::kernel::Kernel;
use plexus_home::tasks::blocking;
use plexus_ledger::EventId;
use plexus_protocol::{AgentId, Timestamp, json};
use plexus_record::Ledger;
use plexus_sources::catalogue::Entry;
use plexus_trust::Agent;
use serde_json::Value;

/// Who made a change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChangeAuthor {
    /// The agent that wants it undone.
    Own,
    /// An agent's.
    Agent(AgentId),
    /// A program that had the agent's name before it.
    Predecessor,
    /// The owner's own.
    Owner,
    /// The log does not say.
    Nobody,
}

impl ChangeAuthor {
    /// Whose change it is, for a card.
    pub fn in_words(&self) -> String {
        match self {
            Self::Own => "its own".into(),
            Self::Agent(agent) => format!("the agent {agent}"),
            Self::Predecessor => "a program that had its name before".into(),
            Self::Owner => "you".into(),
            Self::Nobody => "not known".into(),
        }
    }
}

/// Whose change a call of `entry` with this canonical input takes back, for `agent`; none where it is no undo.
pub async fn change(
    kernel: &Kernel,
    agent: &AgentId,
    entry: &Entry,
    input: &[u8],
) -> Option<ChangeAuthor> {
    if !entry.is_undo() {
        return None;
    }
    let named = json::parse_wide(input)
        .ok()
        .and_then(|input| input["id"].as_str()?.parse().ok());
    let Some(id) = named else {
        return Some(ChangeAuthor::Nobody);
    };
    let since = kernel
        .ledger
        .snapshot()
        .agent(agent)
        .and_then(present_since);
    let (ledger, agent, source) = (kernel.ledger.clone(), agent.clone(), entry.source.clone());
    let look = move || maker(&ledger, &id, (&agent, since), source.as_str());
    let found = blocking(look).await;
    Some(found.unwrap_or(ChangeAuthor::Nobody))
}

/// From when on the agent is the program that it is now: each credential is redeemed anew, and each ends with its epoch.
/// Who has none comes with the owner's key, and nothing tells it from another.
fn present_since(agent: &Agent) -> Option<Timestamp> {
    agent.pat.and(agent.redeemed_at)
}

fn maker(
    ledger: &Ledger,
    id: &EventId,
    (agent, since): (&AgentId, Option<Timestamp>),
    source: &str,
) -> ChangeAuthor {
    let event = match ledger.event(id) {
        Ok(Some(event)) => event,
        Ok(None) => return ChangeAuthor::Nobody,
        Err(error) => {
            tracing::error!(name: "audit.unreadable", %error, "the audit log cannot be read: a change counts as somebody else's");
            return ChangeAuthor::Nobody;
        }
    };
    let at = Timestamp(event.at());
    let event = serde_json::from_str(event.json()).unwrap_or_default();
    maker_of(&event, at, (agent, since), source)
}

fn maker_of(
    event: &Value,
    at: Timestamp,
    (agent, since): (&AgentId, Option<Timestamp>),
    source: &str,
) -> ChangeAuthor {
    let of_source = event["capabilityId"]
        .as_str()
        .and_then(|id| id.split_once('.'))
        .is_some_and(|(of, _)| of == source);
    if event["detail"]["phase"] != "intent" || !of_source {
        return ChangeAuthor::Nobody;
    }
    match event["agentId"].as_str().map(AgentId::parse) {
        Some(Ok(maker)) if maker == *agent => match since {
            Some(since) if since < at => ChangeAuthor::Own,
            _ => ChangeAuthor::Predecessor,
        },
        Some(Ok(maker)) => ChangeAuthor::Agent(maker),
        Some(Err(_)) => ChangeAuthor::Nobody,
        None if event["detail"]["owner"] == true => ChangeAuthor::Owner,
        None => ChangeAuthor::Nobody,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use plexus_protocol::Digest;
    use serde_json::json;

    #[test]
    fn its_own_is_what_it_did_since_it_redeemed_its_code() {
        let agent = AgentId::parse("one").expect("an id");
        let event = json!({
            "agentId": "one", "capabilityId": "notes.write", "detail": {"phase": "intent"},
        });
        let since = Some(Timestamp(5));
        let made = |at, since| maker_of(&event, Timestamp(at), (&agent, since), "notes");
        assert_eq!(made(6, since), ChangeAuthor::Own);
        assert_eq!(made(4, since), ChangeAuthor::Predecessor);
        // Of two in one moment nobody knows which came first.
        assert_eq!(made(5, since), ChangeAuthor::Predecessor);
        assert_eq!(made(6, None), ChangeAuthor::Predecessor);
        let other = AgentId::parse("two").expect("an id");
        let others = maker_of(&event, Timestamp(6), (&other, since), "notes");
        assert_eq!(others, ChangeAuthor::Agent(agent));

        let row = json!({
            "id": "one", "status": "active", "epoch": 1, "issued_at": Timestamp(1), "reach": "exposed",
        });
        let mut row: Agent = serde_json::from_value(row).expect("a row");
        row.redeemed_at = since;
        // Its credential has ended: what it redeemed says nothing of who comes next.
        assert_eq!(present_since(&row), None);
        row.pat = Some(Digest::of(b"pat"));
        assert_eq!(present_since(&row), since);
    }
}
