//! Has the reader compute what an effect would do, after the agent was answered.
//!
//! ```text
//! to be made ─▶ a place ─▶ made, or failed ─▶ recorded ─▶ the card is whole
//!      ▲                     │                  │
//!      └─ no room, stopping ─┴──────────────────┘
//! ```
//! Invariants: a plan is a call of the agent whose item it is, wherever calls stand in line, and an agent has few at a
//! time; what there was no room for is made later, and has not failed; none is begun for an item that does not wait.

use crate::{
    approvals::{foreseen, names, store::Planned},
    change_author::{self, ChangeAuthor},
    kernel::{Kernel, Phase},
};
use bytes::Bytes;
use plexus_ipc::{
    message::{Failure, PlanMade, Preview},
    text::Line,
};
use plexus_ledger::SubmitError;
use plexus_protocol::{
    AgentId, CapabilityId, Constraint, Digest, PendingId, SourceId, Verb, constraint::Miss, json,
};
use plexus_sources::{catalogue::Entry, code};
use plexus_supervisor::{CallRequest, DispatchError, Stands};
use plexus_trust::{Agent, Ask, Command, Item, ItemState, Plan, standing_for};
use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

/// How long a plan may take.
const DEADLINE: Duration = Duration::from_secs(30);
/// From one try to the next, where there was no room.
const AGAIN: Duration = Duration::from_secs(1);

/// Capabilities that a card names one by one.
const SHOWN_TOOLS: usize = 12;

/// The fact of a card that says which program a call runs.
const PROGRAM: &str = "program";
/// Digits of a program's digest on a card.
const SHOWN_DIGITS: usize = 12;

/// Why there is no plan.
enum NotMade {
    Failed(String),
    /// Nothing is wrong with it.
    Later,
}

/// Plans what has to be planned of an item, and of others of its agent that wait for that longer. Returns at once.
pub fn start(kernel: &Arc<Kernel>, item: &PendingId) {
    let state = kernel.ledger.snapshot();
    if let Some(item) = state.item(item) {
        go_on(kernel, &item.agent);
    }
}

/// Plans again what waits, and asks again for names: after a restart, and what a change over cut off.
pub fn resume(kernel: &Arc<Kernel>) {
    let state = kernel.ledger.snapshot();
    for agent in state.agents.keys() {
        go_on(kernel, agent);
    }
}

/// Takes the places of an agent that are left: for plans first, then for the names of what is read.
pub(super) fn go_on(kernel: &Arc<Kernel>, agent: &AgentId) {
    let state = kernel.ledger.snapshot();
    if let Some(agent) = state.agent(agent) {
        plan_all(kernel, agent);
        names::begin(kernel, agent);
    }
}

fn plan_all(kernel: &Arc<Kernel>, agent: &Agent) {
    let waits = |item: &&Arc<Item>| item.state == ItemState::Pending;
    let mut items: Vec<_> = agent.items.values().filter(waits).collect();
    items.sort_by_key(|item| item.created_at);
    for item in items {
        for ask in item.asks.iter().filter(|ask| is_wanted(kernel, item, ask)) {
            let places = &kernel.approvals.planning;
            let Some(place) = places.take(&item.id, &item.agent, &ask.capability) else {
                continue;
            };
            let (kernel, item, ask) = (kernel.clone(), item.clone(), ask.clone());
            tokio::spawn(async move {
                plan(&kernel, &item, &ask).await;
                drop(place);
                // Its place is another's.
                go_on(&kernel, &item.agent);
            });
        }
    }
}

/// Whether an ask still has to be planned, and by this launch.
fn is_wanted(kernel: &Kernel, item: &Item, ask: &Ask) -> bool {
    let state = kernel.ledger.snapshot();
    let now = state.time(kernel.clock.now());
    let waits = |item: &&Arc<Item>| item.state == ItemState::Pending && now < item.expires_at;
    let making = |a: &Ask| a.capability == ask.capability && a.plan == Plan::Making;
    kernel.phase() == Phase::Serving
        && state
            .item(&item.id)
            .filter(waits)
            .is_some_and(|item| item.asks.iter().any(making))
}

async fn plan(kernel: &Arc<Kernel>, item: &Item, ask: &Ask) {
    let made = loop {
        if !is_wanted(kernel, item, ask) {
            return;
        }
        // Not while it could not be recorded.
        let made = match kernel.takes_nothing() {
            None => make(kernel, item, ask).await,
            Some(_) => Err(NotMade::Later),
        };
        match made {
            Ok(made) => break Ok(made),
            Err(NotMade::Failed(why)) => break Err(why),
            Err(NotMade::Later) => tokio::time::sleep(AGAIN).await,
        }
    };
    let (command, view) = match made {
        Ok((made, once, members)) => {
            let preview = json::digest(&serde_json::to_value(&made.preview).unwrap_or_default());
            let command = Command::PlanReady {
                item: item.id.clone(),
                capability: ask.capability.clone(),
                preview,
                state_token: made.state_token,
                rating: made.rating,
                once,
            };
            (command, Planned::Made(made, preview, members))
        }
        Err(why) => {
            let command = Command::PlanFailed {
                item: item.id.clone(),
                capability: ask.capability.clone(),
            };
            (command, Planned::Failed(why))
        }
    };
    // The view first: a card that is complete by the machine has its preview.
    kernel.approvals.keep_plan(&item.id, &ask.capability, view);
    record(kernel, item, ask, command).await;
    kernel.approvals.note_change();
}

/// Records a plan as soon as the ledger takes it. Its view is kept for no item that does not wait any more.
async fn record(kernel: &Arc<Kernel>, item: &Item, ask: &Ask, command: Command) {
    loop {
        let error = match kernel.submit_for(&item.agent, command.clone()).await {
            Ok(_) => return,
            Err(error) => error,
        };
        let refused = matches!(error, SubmitError::Refused(_));
        if !refused {
            tokio::time::sleep(AGAIN).await;
            while is_wanted(kernel, item, ask) && kernel.takes_nothing().is_some() {
                tokio::time::sleep(AGAIN).await;
            }
        }
        if refused || !is_wanted(kernel, item, ask) {
            tracing::debug!(name: "pending.plan_late", %error, pendingId = %item.id, "a plan came too late");
            let state = kernel.ledger.snapshot();
            let waits = |item: &Arc<Item>| item.state == ItemState::Pending;
            if !state.item(&item.id).is_some_and(waits) {
                kernel.approvals.drop_plans(&item.id);
            }
            return;
        }
    }
}

async fn make(
    kernel: &Arc<Kernel>,
    item: &Item,
    ask: &Ask,
) -> Result<(Arc<PlanMade>, bool, Vec<Option<Digest>>), NotMade> {
    let failed = |why: &str| NotMade::Failed(why.to_owned());
    let entry = kernel
        .catalogue
        .load()
        .get(&ask.capability)
        .cloned()
        .ok_or_else(|| failed("this capability is gone"))?;
    let (input, _) = super::input_aside(kernel, &item.id, ask)
        .await
        .ok_or_else(|| failed("its input is lost, until its agent asks the same again"))?;
    let undoes = change_author::change(kernel, &item.agent, &entry, &input).await;
    // Withdrawn while it stood in line: not sent.
    let stands = Stands::while_so({
        let (kernel, item, ask) = (kernel.clone(), item.clone(), ask.clone());
        move || is_wanted(&kernel, &item, &ask)
    });
    let input = Bytes::from(input);
    let constraint = ask.constraint.clone();
    let request = request_of(kernel, &entry, input.clone(), constraint, stands.clone());
    match kernel.plan(&entry.source, request).await {
        Ok(Ok(mut made)) => {
            // The harness has raised it; a worker that was taken over has no harness.
            made.rating = made.rating.max(entry.capability().rating());
            if let Some(tools) = tools_of_runs(kernel, &item.agent, &entry, ask) {
                ours_first(&mut made.preview, "its tools", &tools);
            }
            if let Some(programs) = programs(kernel, &entry) {
                // What the worker calls it is what the owner typed; this is what the grants are about.
                let facts = &mut made.preview.facts;
                facts.retain(|fact| fact.name.as_str() != PROGRAM);
                ours_first(&mut made.preview, PROGRAM, &programs);
            }
            let once = mark(&mut made, undoes, &item.agent);
            let (members, of_another) = match entry.capability().is_workflow() {
                true => {
                    let content = json::parse_wide(&input).unwrap_or_default();
                    let (agent, made) = (&item.agent, &mut made);
                    foreseen::add(kernel, agent, &entry, &content, &stands, made).await
                }
                false => (Vec::new(), false),
            };
            Ok((Arc::new(*made), once || of_another, members))
        }
        Ok(Err(error)) if error.code == Failure::Busy => Err(NotMade::Later),
        Ok(Err(error)) => Err(NotMade::Failed(error.to_string())),
        Err(error) if is_for_want_of_room(&error) => Err(NotMade::Later),
        Err(error) => Err(NotMade::Failed(error.to_string())),
    }
}

/// Holds an input against a narrowing before its source does: a path is what it says. A note has a name, too, several things
/// are named in a list, and what is absent is for the source to leave out: those fields are left to it.
///
/// # Errors
/// The first field that lies outside.
pub fn permits_as_written(
    entry: &Entry,
    constraint: &Constraint,
    input: &Value,
) -> Result<(), Miss> {
    let fields = entry.capability().constrainable.iter();
    let is_path = |kind: &str, field: &str| {
        matches!(kind, "file" | "path") && input.get(field).is_some_and(Value::is_string)
    };
    let left = fields.filter(|one| {
        let kind = one.touched.as_deref();
        kind.is_some_and(|kind| !is_path(kind, &one.field))
    });
    let left: Vec<&str> = left.map(|one| one.field.as_str()).collect();
    constraint.permits(input, &left)
}

/// The field by which the call that `item` keeps this input of lies outside of `constraint`, as its source judges it; of a
/// read, which no source plans, as it is written, a name that the source resolves aside. None where it lies within; where the
/// source gives no answer, the call itself is held against it again.
pub async fn field_outside(
    kernel: &Arc<Kernel>,
    item: &Item,
    id: &CapabilityId,
    input: Bytes,
    constraint: &Constraint,
) -> Option<String> {
    let entry = kernel.catalogue.load().get(id).cloned()?;
    if entry.facts.verbs.is_read() {
        let input = json::parse_wide(&input).ok()?;
        let miss = permits_as_written(&entry, constraint, &input).err();
        return miss.map(|miss| miss.field);
    }
    let stands = Stands::while_so({
        let (kernel, id) = (kernel.clone(), item.id.clone());
        move || {
            let state = kernel.ledger.snapshot();
            state
                .item(&id)
                .is_some_and(|item| item.state == ItemState::Pending)
        }
    });
    let request = request_of(kernel, &entry, input, Some(constraint.clone()), stands);
    match kernel.plan(&entry.source, request).await {
        Ok(Err(error)) => match error.code {
            Failure::ConstraintMiss { field } => Some(field.as_str().to_owned()),
            _ => None,
        },
        Ok(Ok(_)) | Err(_) => None,
    }
}

/// A plan of an agent's call, as the supervisor takes it.
pub(crate) fn request_of(
    kernel: &Kernel,
    entry: &Entry,
    input: Bytes,
    constraint: Option<Constraint>,
    stands: Stands,
) -> CallRequest {
    let state = kernel.ledger.snapshot();
    let source = state.sources.get(&entry.source);
    CallRequest {
        capability: entry.capability().name.clone(),
        digest: Digest::of(&input),
        input,
        constraint,
        deadline: DEADLINE,
        revision: source.map_or(0, |source| source.revision),
        origin: None,
        owner: false,
        stands,
        audit: None,
        progress: None,
        cancel: None,
        late: None,
    }
}

/// Whether a call was never sent, for a reason that is not its own.
fn is_for_want_of_room(error: &DispatchError) -> bool {
    match error {
        DispatchError::Busy { .. } | DispatchError::ShuttingDown | DispatchError::TakenBack => true,
        DispatchError::Deadline { dispatched } | DispatchError::Died { dispatched } => !dispatched,
        DispatchError::NoSource | DispatchError::Unavailable { .. } => false,
    }
}

/// The plan of an undo says whose change it takes back. Whether it has to be approved by itself.
pub(super) fn mark(made: &mut PlanMade, undoes: Option<ChangeAuthor>, agent: &AgentId) -> bool {
    let Some(whose) = undoes else {
        return false;
    };
    let words = whose.in_words();
    ours_first(&mut made.preview, "change_of", &words);
    if whose != ChangeAuthor::Own {
        let warning = format!("This undoes a change that {agent} did not make: {words}.");
        made.warnings.insert(0, Line::new(warning));
    }
    whose != ChangeAuthor::Own
}

/// Adds a fact of ours before those of the source, which so cannot push it out.
fn ours_first(preview: &mut Preview, name: &str, value: &str) {
    let rest = std::mem::take(&mut preview.facts);
    let mut whole = std::mem::take(preview).fact(name, value);
    for fact in rest {
        whole = whole.fact(fact.name.as_str(), fact.value.as_str());
    }
    *preview = whole;
}

/// The program that a call runs and that runs others itself: where it lies and what it is, as it was last reviewed.
fn programs(kernel: &Kernel, entry: &Entry) -> Option<String> {
    if !entry.capability().verbs.contains(Verb::Execute) {
        return None;
    }
    let state = kernel.ledger.snapshot();
    let agreed = code::programs_of(state.sources.get(&entry.source)?.agreed());
    let children = entry.connector.offer.manifest.children.iter();
    let told: BTreeSet<_> = children
        .filter(|child| child.tools)
        .filter_map(|child| {
            let (path, digest) = agreed.get(&*child.name)?;
            let digits = digest.get(..SHOWN_DIGITS)?;
            Some(format!("{path} (SHA-256 {digits}…)"))
        })
        .collect();
    let told: Vec<_> = told.into_iter().collect();
    (!told.is_empty()).then(|| told.join(", "))
}

/// What the programs that an approval has run may do at other sources: those of this call, or of its child calls.
fn tools_of_runs(kernel: &Kernel, caller: &AgentId, entry: &Entry, ask: &Ask) -> Option<String> {
    let children = ask.bounded.as_ref().and_then(|b| b.children.as_ref());
    let Some(children) = children else {
        return tools(kernel, caller, entry);
    };
    let catalogue = kernel.catalogue.load();
    let entries = children
        .capabilities
        .keys()
        .filter_map(|id| catalogue.get(id));
    let told: BTreeMap<_, _> = entries
        .filter_map(|entry| Some((&entry.source, tools(kernel, caller, entry)?)))
        .collect();
    by_source(told)
}

/// The words about each source; of several, each begins with the name of its source.
fn by_source(words: BTreeMap<&SourceId, String>) -> Option<String> {
    let is_one = words.len() == 1;
    let words = words.into_iter().map(|(source, words)| match is_one {
        true => words,
        false => format!("of {source}: {words}"),
    });
    words.reduce(|all, next| format!("{all}; {next}"))
}

/// What a program that this call runs may do at other sources, and how the owner changes that; `None` where it runs none,
/// or its source calls no other.
fn tools(kernel: &Kernel, caller: &AgentId, entry: &Entry) -> Option<String> {
    let calls = entry.connector.offer.manifest.host_calls;
    if !calls || !entry.capability().verbs.contains(Verb::Execute) {
        return None;
    }
    let agent = AgentId::via(Some(caller), &entry.source).ok()?;
    let state = kernel.ledger.snapshot();
    let now = kernel.clock.now();
    let catalogue = kernel.catalogue.load();
    let known = state.agent(&agent);
    let seen = known.map(|known| catalogue.view(&state, known, now));
    let callable = seen.into_iter().flatten();
    let callable = callable.filter(|entry| entry.capability().callable());
    let stands = |entry: &&Arc<Entry>| {
        known.is_some_and(|known| standing_for(&state, known, &entry.id, now).is_some())
    };
    let (free, asking): (Vec<_>, Vec<_>) = callable.partition(stands);
    let mut words = Vec::new();
    for (what, entries) in [("may", free), ("asks you for", asking)] {
        let ids: Vec<_> = entries.iter().map(|entry| entry.id.as_str()).collect();
        match ids.len() {
            0 => {}
            count if count <= SHOWN_TOOLS => words.push(format!("{what} {}", ids.join(", "))),
            count => words.push(format!(
                "{what} {} and {} more",
                ids[..SHOWN_TOOLS].join(", "),
                count - SHOWN_TOOLS
            )),
        }
    }
    Some(match words.is_empty() {
        true => format!(
            "none; plexusctl connect {agent} --reach selected --allow CAPABILITY gives it some"
        ),
        false => format!(
            "{agent} {}; plexusctl grants allow {agent} CAPABILITY --window 1d gives it more",
            words.join(" and ")
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn undo_of_anothers_change_is_marked_on_the_card() {
        let agent = AgentId::parse("one").expect("an id");
        let mut made = PlanMade {
            preview: Preview::default(),
            state_token: Digest::of(b"state"),
            touched: Vec::new(),
            rating: Verb::Write,
            summary: Default::default(),
            warnings: Vec::new(),
        };
        assert!(!mark(&mut made, None, &agent));
        assert!(!mark(&mut made, Some(ChangeAuthor::Own), &agent));
        assert!(made.warnings.is_empty());
        assert!(mark(&mut made, Some(ChangeAuthor::Owner), &agent));
        assert_eq!(made.warnings.len(), 1);
        assert_eq!(made.preview.facts.len(), 2);
    }

    #[test]
    fn tools_of_several_sources_are_told_apart() {
        let [claude, codex] = ["claudecode", "codex"].map(|id| SourceId::parse(id).expect("an id"));
        let none = || "none".to_owned();
        assert_eq!(by_source(BTreeMap::new()), None);
        let one = by_source(BTreeMap::from([(&codex, none())]));
        assert_eq!(one.as_deref(), Some("none"));
        let both = by_source(BTreeMap::from([(&codex, none()), (&claude, none())]));
        let told = "of claudecode: none; of codex: none";
        assert_eq!(both.as_deref(), Some(told));
    }

    #[test]
    fn what_was_not_sent_for_want_of_room_has_not_failed() {
        let busy = DispatchError::Busy { retry_after: AGAIN };
        let unsent = |dispatched| DispatchError::Deadline { dispatched };
        for later in [busy, DispatchError::ShuttingDown, unsent(false)] {
            assert!(is_for_want_of_room(&later), "{later:?}");
        }
        for failed in [DispatchError::NoSource, unsent(true)] {
            assert!(!is_for_want_of_room(&failed), "{failed:?}");
        }
    }
}
