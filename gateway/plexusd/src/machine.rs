//! Joins the two halves that know nothing of each other: the machine of `plexus-trust` is what `plexus-ledger` keeps.

use plexus_ledger::{DecodeError, EventId, IndexTerm, Machine, Restored, Rows};
use plexus_protocol::{AuditId, Timestamp};
use plexus_trust::{Command, Event, Fact, Refusal, Reply, State};
use std::{path::Path, process::ExitCode};

/// Marker: the ledger of a gateway. Public so that tests can make a home with a long past.
pub enum Trust {}

/// The gateway's ledger.
pub(crate) type Ledger = plexus_ledger::Ledger<Trust>;

/// Audit events that stay in the ledger's file unless the owner says otherwise: some 200 MB, and months of one person's
/// use. Older ones lie in archives, for ever.
const KEEP_EVENTS: u64 = 250_000;

/// How many events stay in the ledger's file.
pub(crate) fn keep_events(settings: &plexus_trust::Settings) -> u64 {
    settings.audit_keep_events.unwrap_or(KEEP_EVENTS)
}

/// An event id as the wire writes it.
pub(crate) fn audit_id(id: EventId) -> AuditId {
    // `evt_` and a UUID is what both print.
    AuditId::parse(&id.to_string()).unwrap_or_else(|_| unreachable!("an event id is an audit id"))
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
        let touched = match &event.detail {
            Fact::Read(call) | Fact::Intent(call) | Fact::Outcome(call) => call.touched.as_slice(),
            _ => &[],
        };
        agent
            .chain(touched.iter().map(|t| IndexTerm::Touched(t.id.clone())))
            .collect()
    }
    fn text_of(term: &IndexTerm) -> Option<String> {
        // Both are members of an event, or of what it touched.
        let (IndexTerm::Agent(id) | IndexTerm::Touched(id)) = term;
        serde_json::to_string(id).ok()
    }
}

/// `plexusd verify FILE`: a copy of the ledger (with its archives in `archive` beside it), an export or an archive, or a
/// folder: a copy of a state directory, or of archives alone. Says what it found; 0 only where all of it holds.
pub(crate) fn verify_offline(file: &Path) -> ExitCode {
    let within = file.join("ledger.redb");
    if file.is_dir() && !within.is_file() {
        return tell(archives_offline(file));
    }
    let file = if file.is_dir() { &within } else { file };
    let is_export = std::fs::File::open(file).and_then(|mut f| {
        use std::io::Read;
        let mut head = [0; 65];
        let read = f.read(&mut head)?;
        Ok(read == 65 && head[..64].iter().all(u8::is_ascii_hexdigit) && head[64] == b' ')
    });
    // A copy may come with the heads that were noted beside it.
    let heads = Some(file.with_file_name("audit-heads.jsonl")).filter(|heads| heads.is_file());
    let found = match is_export {
        Err(error) => Err(error.to_string()),
        Ok(true) => std::fs::File::open(file)
            .map_err(|e| e.to_string())
            .and_then(|f| {
                let checked = plexus_ledger::verify_export(std::io::BufReader::new(f))
                    .map_err(|e| e.to_string())?;
                Ok(format!("{checked:?}"))
            }),
        Ok(false) => plexus_ledger::verify_file::<Trust>(file, heads.as_deref())
            .map(|v| format!("{v:?}"))
            .map_err(|e| e.to_string()),
    };
    tell(found)
}

/// Archives without their ledger: what they hold, and by the list beside them that none is missing up to the last.
fn archives_offline(folder: &Path) -> Result<String, String> {
    match plexus_ledger::verify_archives(folder) {
        Ok(Some(verified)) => Ok(format!("{verified:?}")),
        Ok(None) => Err("there is neither a ledger.redb nor an archives.jsonl in it".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

#[expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a one-off command: its findings are its output"
)]
fn tell(found: Result<String, String>) -> ExitCode {
    match found {
        Ok(summary) => {
            println!("sound: {summary}");
            ExitCode::SUCCESS
        }
        Err(why) => {
            eprintln!("not sound: {why}");
            ExitCode::FAILURE
        }
    }
}
