//! The gateway in one line, and what waits as a list: what the page shows beside the open card.

use super::{
    card::{self, Moment},
    foreign::ForeignText,
    sheet::Line,
    together::SetLine,
    words,
};
use crate::{
    cards,
    desk::Desk,
    owner::{calls, sources::health_now, status::unsaved},
};
use askama::Template;
use plexus_ipc::message::Role;
use plexus_ledger::Condition;
use plexus_owner::calls::OpenApproval;
use plexus_protocol::Timestamp;
use plexus_trust::{Item, Plan, State};
use serde_json::{Value, json};
use std::sync::Arc;

/// Requests that the list names; more are counted.
const LISTED: usize = 40;
/// Sources that are named.
const SOURCES: usize = 12;
/// Bytes of an input that is told in a row.
const SHORT: u64 = 4_096;

#[derive(Template)]
#[template(path = "glance.html")]
struct Glance {
    machine: ForeignText,
    port: u16,
    paused: bool,
    stopping: bool,
    waiting: usize,
    /// What is wrong with the ledger.
    ledger: Option<String>,
    /// Effects whose end nobody knows.
    unsettled: usize,
    cages: Cages,
    sources: Vec<SourceView>,
    open: Vec<OpenView>,
    more_sources: usize,
    /// Whether something of it needs the owner.
    sound: bool,
}

/// A conversation that takes further messages, or child calls that may still be made.
struct OpenView {
    agent: ForeignText,
    capability: ForeignText,
    left: u32,
    /// Whether child calls are left, and not turns.
    runs: bool,
}

struct Cages {
    mechanism: String,
    /// Workers that run.
    up: usize,
    /// Of those: whose attacks on their own cage were all held.
    proven: usize,
}

struct SourceView {
    id: ForeignText,
    label: ForeignText,
    /// `ok`, `idle`, `bad` or `off`, for the style.
    class: &'static str,
    words: ForeignText,
    cage: String,
}

#[derive(Template)]
#[template(path = "queue.html")]
pub(super) struct Queue {
    /// Questions, for each of which a call waits; then sources that changed, for which what is asked on them waits.
    pub(super) lines: Vec<Line>,
    pub(super) rows: Vec<Row>,
    /// The requests that may be decided together.
    sets: Vec<SetLine>,
    /// How many there is no room for.
    pub(super) more: usize,
    /// How many there are.
    all: usize,
}

pub(super) struct Row {
    pub(super) id: String,
    revision: u64,
    pub(super) agent: ForeignText,
    pub(super) title: ForeignText,
    pub(super) what: ForeignText,
    pub(super) asked: Moment,
    making: bool,
    lost: bool,
}

/// What the page needs to follow the gateway: both parts as HTML, and which revision of which item they show.
pub(super) fn view(desk: &Desk, state: &State) -> Result<Value, askama::Error> {
    let queue = Queue::of(desk, state);
    let lines = queue
        .lines
        .iter()
        .map(|line| json!([line.id, line.revision]));
    let rows = queue.rows.iter().map(|row| json!([row.id, row.revision]));
    let items: Vec<Value> = lines.chain(rows).collect();
    let glance = Glance::of(desk, state, queue.all);
    Ok(json!({
        "waiting": queue.all,
        "paused": desk.revocations.paused(state),
        "items": items,
        "glance": glance.render()?,
        "queue": queue.render()?,
    }))
}

impl Queue {
    /// What waits, the first that there is room for.
    pub(super) fn of(desk: &Desk, state: &State) -> Self {
        let now = state.time(desk.clock.now());
        let mut waiting: Vec<&Arc<Item>> = state
            .agents
            .values()
            .flat_map(|agent| agent.items.values())
            .filter(|item| item.waits(now))
            .collect();
        // The oldest first: nothing that is there already moves when another comes.
        waiting.sort_by(|a, b| (a.created_at, &a.id).cmp(&(b.created_at, &b.id)));
        let catalogue = desk.catalogue.load();
        let of_sources =
            cards::questions(desk, state).chain(cards::changes(desk, state, &catalogue));
        let mut lines: Vec<_> = of_sources.filter_map(|item| Line::of(&item, now)).collect();
        let all = lines.len() + waiting.len();
        // Of all that waits: a set is decided as a whole, also where the list has no room for it.
        let sets = desk.sets.among(desk, state, &catalogue, &waiting);
        lines.truncate(LISTED);
        waiting.truncate(LISTED - lines.len());
        Self {
            sets,
            rows: waiting
                .iter()
                .map(|item| Row::of(desk, state, item, now))
                .collect(),
            more: all.saturating_sub(LISTED),
            all,
            lines,
        }
    }

    /// Whether nothing waits.
    pub(super) fn is_empty(&self) -> bool {
        self.all == 0
    }
}

impl Row {
    pub(super) fn of(desk: &Desk, state: &State, item: &Item, now: Timestamp) -> Self {
        let catalogue = desk.catalogue.load();
        let first = item.asks.first();
        let label = first.and_then(|ask| catalogue.get(&ask.capability));
        let title = match (label, first) {
            (Some(entry), _) => entry.capability().label.clone(),
            (None, Some(ask)) => ask.capability.to_string(),
            (None, None) => "An extension to add".to_owned(),
        };
        let headline = first.and_then(|ask| desk.approvals.headline(&item.id, ask));
        let more = item.asks.len().saturating_sub(1);
        let about = headline.or_else(|| sent(desk, item));
        let what = match (about, more) {
            (Some(headline), 0) => headline,
            (Some(headline), more) => format!("{headline}, and {more} more"),
            (None, 0) => match (first, &item.register) {
                (Some(ask), _) => ask.capability.to_string(),
                (None, Some(proposal)) => proposal.source.to_string(),
                (None, None) => String::new(),
            },
            (None, more) => format!("and {more} more"),
        };
        Self {
            id: item.id.to_string(),
            revision: card::revision(desk, state, &catalogue, item),
            agent: ForeignText::short(item.agent.as_str(), 60),
            title: ForeignText::short(&title, 60),
            what: ForeignText::short(&what, 90),
            asked: Moment::ago(item.created_at, now),
            making: item.asks.iter().any(|ask| ask.plan == Plan::Making),
            lost: item.asks.iter().any(|ask| ask.plan == Plan::Failed),
        }
    }
}

/// The input of the only call that a request is about, in short; none of a long one.
fn sent(desk: &Desk, item: &Item) -> Option<String> {
    let [ask] = &*item.asks else { return None };
    if ask.input_bytes > SHORT {
        return None;
    }
    let input = desk.approvals.input_value(&item.id, ask)?;
    let said = plexus_sheet::input_in_short(input.as_object()?).paint(str::to_owned);
    Some(format!("{}: {said}", ask.capability)).filter(|_| !said.is_empty())
}

impl Glance {
    fn of(desk: &Desk, state: &State, waiting: usize) -> Self {
        let lost = unsaved(desk);
        let ledger = match desk.ledger.condition().0 {
            Condition::Open => None,
            Condition::DiskFull => {
                let why = lost.unwrap_or("only your own acts are recorded");
                Some(format!("The disk is full: {why}."))
            }
            Condition::Closed(why) => Some(match lost {
                Some(lost) => format!("The ledger is closed: {why}; {lost}"),
                None => format!("The ledger is closed: {why}"),
            }),
        };
        let workers = desk.supervisor.workers();
        let up: Vec<_> = workers
            .iter()
            .filter(|w| w.pid.is_some() && w.cage.is_some())
            .collect();
        let holds = |worker: &&&plexus_supervisor::WorkerStatus| {
            worker
                .cage
                .as_ref()
                .is_some_and(|report| report.checks.iter().all(|check| check.held))
        };
        let source = |source: &plexus_trust::Source| {
            let out = desk.unsandboxed.contains(&source.id);
            let (class, said) = match source.config.enabled && out {
                true => ("bad", "ITS WORKERS RUN WITHOUT A SANDBOX".to_owned()),
                false => words::serving(source.config.enabled, &health_now(desk, source)),
            };
            let mine = up.iter().filter(|w| w.source == source.id);
            let roles: Vec<&str> = mine
                .map(|w| match w.role {
                    Role::Reader if out => "reader NOT SANDBOXED",
                    Role::Writer if out => "writer NOT SANDBOXED",
                    Role::Reader => "reader sandboxed",
                    Role::Writer => "writer sandboxed",
                })
                .collect();
            SourceView {
                id: ForeignText::short(source.id.as_str(), 40),
                label: ForeignText::short(&source.config.label, 60),
                class,
                words: ForeignText::short(&said, 160),
                cage: roles.join(", "),
            }
        };
        let cages = Cages {
            mechanism: match plexus_sandbox::kernel_support() {
                Ok(support) => support.mechanism.to_string(),
                Err(_) => String::new(),
            },
            up: up.len(),
            proven: up.iter().filter(holds).count(),
        };
        let sources = shown(state.sources.values().map(|s| source(s)).collect());
        let unsettled = state.open_intents.len();
        Self {
            machine: ForeignText::short(&machine(desk), 60),
            port: desk.address.port(),
            paused: desk.revocations.paused(state),
            stopping: desk.phase() != plexus_calls::kernel::Phase::Serving,
            waiting,
            sound: ledger.is_none()
                && cages.proven == cages.up
                && sources.iter().all(|s| s.class != "bad"),
            ledger,
            unsettled,
            cages,
            open: calls::conversations(desk)
                .iter()
                .map(OpenView::of)
                .collect(),
            more_sources: state.sources.len().saturating_sub(SOURCES),
            sources,
        }
    }
}

impl OpenView {
    fn of(open: &OpenApproval) -> Self {
        Self {
            agent: ForeignText::short(open.agent_id.as_str(), 60),
            capability: ForeignText::short(open.capability_id.as_str(), 60),
            left: open.turns_left,
            runs: open.children.is_some(),
        }
    }
}

/// The sources that are named: those that need the owner first, so that there is room for them.
fn shown(mut sources: Vec<SourceView>) -> Vec<SourceView> {
    sources.sort_by_key(|source| source.class != "bad");
    sources.truncate(SOURCES);
    sources
}

/// What the owner calls this machine.
fn machine(desk: &Desk) -> String {
    let host = || nix::unistd::gethostname().map(|name| name.to_string_lossy().into_owned());
    desk.instance
        .clone()
        .or_else(|| host().ok())
        .unwrap_or_else(|| "this machine".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bad_source_is_shown_beyond_many_sound_ones() {
        let source = |number: usize| SourceView {
            id: ForeignText::short(&format!("notes-{number}"), 40),
            label: ForeignText::short("notes", 60),
            class: if number == 20 { "bad" } else { "ok" },
            words: ForeignText::short("", 160),
            cage: String::new(),
        };
        let shown = shown((0..30).map(source).collect());
        let classes: Vec<_> = shown.iter().map(|source| source.class).collect();
        assert_eq!(
            (classes.len(), classes[0], classes[1]),
            (SOURCES, "bad", "ok")
        );
    }
}
