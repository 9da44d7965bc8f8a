//! Joins the two halves that know nothing of each other: the machine of `plexus-trust` is what `plexus-ledger` keeps.

use plexus_ledger::{DecodeError, EventId, IndexTerm, Lane, Machine, Restored, Rows};
use plexus_protocol::{AgentId, AuditId, SourceId, Timestamp};
use plexus_trust::{Command, Event, Fact, ItemState, Refusal, Reply, State};
use serde_json::Value;
use std::collections::BTreeSet;

/// Marker: the ledger of a gateway. Public so that tests can make a home with a long past.
pub enum Trust {}

/// The gateway's ledger.
pub type Ledger = plexus_ledger::Ledger<Trust>;

/// Audit events that stay in the ledger's file unless the owner says otherwise: some 200 MB, and months of one person's
/// use. Older ones lie in archives, for ever.
const KEEP_EVENTS: u64 = 250_000;

/// How many events stay in the ledger's file.
pub fn keep_events(settings: &plexus_trust::Settings) -> u64 {
    settings.audit_keep_events.unwrap_or(KEEP_EVENTS)
}

/// An event id as the wire writes it.
pub fn audit_id(id: EventId) -> AuditId {
    // `evt_` and a UUID is what both print.
    AuditId::parse(&id.to_string()).unwrap_or_else(|_| unreachable!("an event id is an audit id"))
}

/// What recording a restoration suspended and revoked.
#[derive(Debug)]
pub struct Restoration {
    /// Agents that need a new code.
    pub agents: Vec<AgentId>,
    /// How many grants are suspended until the owner resumes them.
    pub grants: usize,
    /// How many requests, and approvals that were not used, are void.
    pub requests: usize,
    /// Sources whose lending ended.
    pub lendings: Vec<SourceId>,
    /// Sources with suspended grants.
    pub suspended: Vec<SourceId>,
}

/// Records in a ledger that came out of a backup that it did: what it allowed is suspended or revoked with it.
///
/// # Errors
/// One sentence: the command could not be recorded.
pub async fn record_restoration(
    ledger: &Ledger,
    made_at: Timestamp,
) -> Result<Restoration, String> {
    let void_before = void_items(&ledger.snapshot());
    let command = Command::Restored { made_at };
    let receipt = ledger
        .submit(command, Lane::Owner)
        .await
        .map_err(|error| error.to_string())?;
    let Reply::Restored {
        agents,
        grants,
        lendings,
    } = receipt.reply
    else {
        return Err("the ledger answered with another reply".to_owned());
    };
    let state = ledger.snapshot();
    let suspended: BTreeSet<SourceId> = state
        .agents
        .values()
        .flat_map(|agent| agent.grants.values())
        .filter(|grant| grant.suspended.is_some() && !state.has_ended(grant, state.latest))
        .filter_map(|grant| SourceId::parse(grant.capability.parts().0).ok())
        .collect();
    Ok(Restoration {
        agents,
        grants,
        requests: void_items(&state).saturating_sub(void_before),
        lendings,
        suspended: suspended.into_iter().collect(),
    })
}

fn void_items(state: &State) -> usize {
    let items = state.agents.values().flat_map(|agent| agent.items.values());
    items
        .filter(|item| matches!(item.state, ItemState::Void { .. }))
        .count()
}

impl Machine for Trust {
    type State = State;
    type Command = Command;
    type Event = Event;
    type Reply = Reply;
    type Refusal = Refusal;
    type Part = plexus_trust::Part;

    fn decide(state: &State, command: &Command, now: u64) -> plexus_ledger::Decision<Self> {
        plexus_trust::decide(state, command, Timestamp(now))
    }
    fn apply(state: &mut State, event: &Event, id: EventId, at: u64) {
        state.apply(event, &audit_id(id), Timestamp(at));
    }
    fn event_type(event: &Event) -> &'static str {
        event.kind
    }
    fn encode(event: &Event, into: &mut Vec<u8>) {
        if let Err(error) = serde_json::to_writer(&mut *into, event) {
            // The ledger refuses an event that is not one JSON object, and with it the command.
            tracing::error!(name: "audit.unserialisable", %error, "an event does not serialise");
        }
    }
    fn decode(event_type: &str, members: &[u8]) -> Result<Event, DecodeError> {
        match Event::read(event_type, members) {
            Some(Ok(event)) => Ok(event),
            Some(Err(error)) => Err(DecodeError(error.to_string())),
            None => Err(DecodeError(format!(
                "events of type {event_type:?} are not known to this version"
            ))),
        }
    }
    fn replay(rows: &mut Rows, id: EventId, members: &[u8]) -> Result<(), DecodeError> {
        plexus_trust::replay(rows, &audit_id(id), members).map_err(|e| DecodeError(e.to_string()))
    }
    fn touched_rows(event: &Event, id: EventId) -> Vec<String> {
        plexus_trust::touched_rows(event, &audit_id(id))
    }
    fn row(state: &State, key: &str) -> Option<Vec<u8>> {
        plexus_trust::row(state, key)
    }
    fn all_rows(state: &State) -> Vec<(String, Vec<u8>)> {
        plexus_trust::all_rows(state)
    }
    fn read<'r>(
        rows: impl Iterator<Item = (&'r str, &'r [u8])>,
    ) -> Result<plexus_trust::Part, DecodeError> {
        plexus_trust::read_part(rows).map_err(|e| DecodeError(e.to_string()))
    }
    fn restore(parts: Vec<plexus_trust::Part>) -> Result<Restored<Self>, DecodeError> {
        let put_together = plexus_trust::put_together(parts);
        let (state, otherwise) = put_together.map_err(|e| DecodeError(e.to_string()))?;
        Ok(Restored { state, otherwise })
    }
    fn needs(key: &str) -> Option<String> {
        plexus_trust::needs(key)
    }
    fn index_terms(event: &Event) -> Vec<IndexTerm> {
        let agent = event
            .agent_id
            .iter()
            .map(|id| IndexTerm::Agent(id.to_string()));
        let touched: Vec<&str> = match &event.detail {
            Fact::Read(call) | Fact::Intent(call) | Fact::Outcome(call) => {
                call.touched.iter().map(|thing| &*thing.id).collect()
            }
            // A call that was refused.
            Fact::Note { about } => {
                let touched = about.get("touched").and_then(Value::as_array);
                let ids = touched.into_iter().flatten();
                ids.filter_map(|thing| thing.get("id")?.as_str()).collect()
            }
            _ => Vec::new(),
        };
        let touched = touched.into_iter();
        agent
            .chain(touched.map(|id| IndexTerm::Touched(id.to_owned())))
            .collect()
    }
    fn text_of(term: &IndexTerm) -> Option<String> {
        // Both are members of an event, or of what it touched.
        let (IndexTerm::Agent(id) | IndexTerm::Touched(id)) = term;
        serde_json::to_string(id).ok()
    }
}
