//! Taking an effect back, as the owner: by the audit id of the effect.
//!
//! `GET` plans it and shows what would change; `POST` commits exactly that plan, named by its state token. The
//! gateway knows of the past only what the log says; what was replaced is the worker's to know.

use super::activity;
use crate::{
    acting::Narrowing,
    acts::{blocking, failed, worker_refused},
    desk::Desk,
    plans::plan_of,
    table::{Reading, Served},
};
use plexus_calls::own::{self, OwnerCapability, Upkeep};
use plexus_edge::reply::Refused;
use plexus_ledger::{EventId, Recorded, StoreError};
use plexus_owner::{
    Done,
    undo::{Show, TakeBack, UndoOutcome, UndoPlan, UndoRefusal},
};
use plexus_protocol::{AuditId, CapabilityId, ErrorBody, ErrorCode, SourceId, Timestamp};
use plexus_record::Ledger;
use plexus_sources::Registry;
use plexus_trust::State as TrustState;
use serde::Deserialize as _;
use serde_json::{Value, json};
use std::sync::Arc;

/// How far behind its intent an outcome is looked for, in events.
const FAR: u64 = 100_000;
/// Events that are read at once.
const BATCH: usize = 500;

/// An effect of the past, as the log has it.
#[derive(Debug)]
pub(super) struct Past {
    pub(super) intent: AuditId,
    pub(super) at: Value,
    pub(super) agent: Option<String>,
    pub(super) capability: CapabilityId,
    pub(super) source: SourceId,
    pub(super) summary: Option<String>,
    /// `ok`, `failed`, `refused`, `unknown`; none: it has no outcome.
    result: Option<String>,
    pub(super) undo: Option<String>,
    /// The things that it changed, as its source names them.
    pub(super) touched: Vec<String>,
    /// It failed when something was done.
    is_partial: bool,
}

impl Past {
    /// Whether it worked on a copy and changed nothing of the owner's. One that was asked to apply what it made names what
    /// takes it back; of one whose answer is lost nobody knows that it applied nothing. No turn of a conversation applies
    /// anything, so one that was cut off did not either.
    pub(super) fn is_on_copy(&self, state: &TrustState, registry: &Registry) -> bool {
        let Some((_, facts)) = state.capability(&self.capability) else {
            return false;
        };
        let is_turn = || is_turn(state, registry, &self.capability);
        let is_copy = match self.result.as_deref() {
            Some("ok") => facts.staged || is_turn(),
            Some("failed") => is_turn(),
            _ => false,
        };
        self.undo.is_none() && is_copy
    }
}

/// Whether a capability is a turn of a conversation, which works on a copy and applies nothing.
pub(crate) fn is_turn(state: &TrustState, registry: &Registry, capability: &CapabilityId) -> bool {
    let found = || {
        let (source, _) = state.capability(capability)?;
        let connector = registry.of_source(&source.config)?;
        let manifest = &connector.offer.manifest;
        let turn = manifest.capability(capability.parts().1)?;
        Some(turn.conversation.is_some() && manifest.change_sets.is_some())
    };
    found() == Some(true)
}

pub(super) fn serve(served: Served) -> Served {
    served.with(show).with(take_back)
}

pub(crate) async fn show(desk: Arc<Desk>, _: Reading, call: Show) -> Result<UndoPlan, Refused> {
    let past = past(&desk, &call.id).await?;
    let (capability, input) = undo_of(&desk, &past).await?;
    let made = match own::plan(&desk, &capability, &input).await {
        Err(error) => return Err(told(&desk, error, &past).await),
        Ok(made) => made,
    };
    let at = serde_json::from_value(past.at);
    Ok(UndoPlan {
        intent: past.intent,
        at: at.map_err(|_| failed("The event of that call has no time."))?,
        agent_id: past.agent,
        capability_id: past.capability,
        did: past.summary,
        undo: capability.id,
        plan: plan_of(&made),
    })
}

/// Carries out the plan that the owner saw.
async fn take_back(
    desk: Arc<Desk>,
    narrowing: Narrowing,
    call: TakeBack,
) -> Result<UndoOutcome, Refused> {
    let past = past(&desk, &call.id).await?;
    let (capability, input) = undo_of(&desk, &past).await?;
    let acting = narrowing.wider(&desk).await?;
    let kernel = &desk.edge.kernel;
    let done = own::commit(kernel, &capability, input, call.state_token, acting);
    let done = match done.await {
        Err(error) => return Err(told(&desk, error, &past).await),
        Ok(done) => done,
    };
    Ok(UndoOutcome {
        ok: Done,
        intent: past.intent,
        audit_id: done.audit,
        summary: done.summary,
        undo: done.undo,
    })
}

/// What a worker says, with the next step of an owner who wants an effect undone.
async fn told(desk: &Desk, mut error: ErrorBody, past: &Past) -> Refused {
    let mut said = UndoRefusal::of(&error);
    // The log alone names the later change.
    said.later = None;
    let is = |wanted| said.reason.as_deref() == Some(wanted);
    let (is_undone, is_lost) = (is("already_undone"), is("not_kept"));
    let moved = moved_since(&desk.ledger.snapshot(), past).filter(|_| !is_undone);
    let is_moved = moved.is_some();
    let is_gone = is("gone_already") && !is_moved;
    let mut words = error.message.trim_end_matches('.').to_owned();
    if let Some(moved) = moved {
        let source = &past.source;
        words.push_str(&format!(
            "; the settings of {source} changed since this change: {moved}"
        ));
    }
    let next = match error.code {
        ErrorCode::PreconditionChanged if is_gone => "nothing is left to do".to_owned(),
        ErrorCode::PreconditionChanged if is_undone => {
            "nothing is left to do; an undo can itself be taken back by its own audit id".to_owned()
        }
        ErrorCode::PreconditionChanged => match activity::later_change(desk, past).await {
            // Of the same name in another folder it is a change of another thing.
            Some(later) if !is_moved && !is_lost && is_undoable(desk, &later).await => {
                error.message = format!("{words}; a later change of it is undone first");
                let next = format!("plexusctl undo {later}");
                said.later = AuditId::parse(&later).ok();
                next
            }
            _ => {
                error.message = format!("{words}; put it right by hand");
                match &past.agent {
                    Some(agent) => format!("plexusctl review {agent}"),
                    None => format!("plexusctl audit show {}", past.intent),
                }
            }
        },
        ErrorCode::SourceUnavailable | ErrorCode::Busy => "plexusctl status".to_owned(),
        ErrorCode::OutcomeUnknown => "look at what is there; do not repeat it unseen".to_owned(),
        _ => "look at what is there, and put it right by hand".to_owned(),
    };
    if error.detail.is_some() || said.later.is_some() {
        error.detail = Some(json!(said));
    }
    worker_refused(error, next)
}

/// Whether an undo of this effect can be planned, as far as its source says: one whose source is away may be.
async fn is_undoable(desk: &Desk, id: &str) -> bool {
    let Ok(later) = past(desk, id).await else {
        return false;
    };
    let Ok((capability, input)) = undo_of(desk, &later).await else {
        return false;
    };
    let refused = own::plan(desk, &capability, &input).await.err();
    refused.is_none_or(|error| error.code != ErrorCode::PreconditionChanged)
}

/// Settings of a source that lead to no other thing, as they begin in a difference.
const NO_ADDRESS: [&str; 4] = [
    "asking for each read ",
    "where it comes from ",
    "its secret ",
    "the name of its secret ",
];

/// How the settings of its source that lead to what it changed differ after a past effect, as far as the ledger still has it: its worker looks where the
/// source points now.
fn moved_since(state: &TrustState, past: &Past) -> Option<String> {
    let at = Timestamp::deserialize(&past.at).ok()?;
    let moves = state.sources.get(&past.source)?.moved.iter();
    let words = moves.filter(|moved| moved.at >= at);
    let leads = |words: &&String| !NO_ADDRESS.iter().any(|begin| words.starts_with(begin));
    let words = words.flat_map(|moved| &moved.words).filter(leads);
    let words: Vec<_> = words.cloned().collect();
    (!words.is_empty()).then(|| words.join("; "))
}

/// The capability that takes a past effect back, and its input.
async fn undo_of(desk: &Desk, past: &Past) -> Result<(OwnerCapability, Value), Refused> {
    let not = |reason: &'static str, why: String| {
        Refused::new(
            ErrorBody::new(ErrorCode::PreconditionChanged, why)
                .detail(json!({"reason": reason}))
                .next("plexusctl audit tail"),
        )
    };
    match past.result.as_deref() {
        Some("ok" | "unknown") => {}
        // Its source says whether it kept what the halfway change replaced.
        Some("failed") if past.is_partial => {}
        Some("failed") => {
            let why = "It failed and changed nothing: there is nothing to take back.";
            return Err(not("not_done", why.into()));
        }
        Some(_) => {
            return Err(not(
                "not_done",
                "It did not happen: there is nothing to take back.".into(),
            ));
        }
        None => return Err(not("under_way", "It has no outcome yet.".into())),
    }
    let state = desk.ledger.snapshot();
    if past.is_on_copy(&state, &desk.edge.kernel.registry) {
        let why = "It worked on a copy and changed nothing of yours: its change set says what it would change.";
        let next = format!("plexusctl changes --source {}", past.source);
        return Err(Refused::new(
            ErrorBody::new(ErrorCode::PreconditionChanged, why)
                .detail(json!({"reason": "not_undoable"}))
                .next(next),
        ));
    }
    let capability = OwnerCapability::open(desk, &past.source, Upkeep::Undo).await;
    let capability = capability.map_err(|error| {
        Refused::new(
            ErrorBody::new(ErrorCode::PreconditionChanged, error.message)
                .detail(json!({"reason": "not_undoable"}))
                .next(error.next),
        )
    })?;
    // Of one that was settled the answer is lost, and with it the worker's word for it: that is its event.
    let name = past.undo.clone().unwrap_or_else(|| past.intent.to_string());
    Ok((capability, input_of(&name)))
}

/// The input that names a change to its source's undo, by the worker's word for it.
pub(super) fn input_of(name: &str) -> Value {
    json!({ "id": name })
}

/// Finds the effect that an audit id names: its intent or its outcome.
async fn past(desk: &Desk, id: &str) -> Result<Past, Refused> {
    let none = || {
        Refused::new(
            ErrorBody::new(ErrorCode::NotFound, "No such audit event.")
                .next("plexusctl audit tail"),
        )
    };
    let id: EventId = id.parse().map_err(|_| none())?;
    let ledger = desk.ledger.clone();
    let found = blocking(move || look_up(&ledger, &id)).await?;
    match found {
        Err(error) => Err(super::audit::unreadable(&error)),
        Ok(UndoLookup::Nothing) => Err(none()),
        Ok(UndoLookup::NoEffect(why)) => Err(Refused::new(
            ErrorBody::new(ErrorCode::NotFound, why)
                .detail(json!({"reason": "no_effect"}))
                .next("plexusctl audit tail"),
        )),
        Ok(UndoLookup::Effect(past)) => Ok(*past),
    }
}

enum UndoLookup {
    Nothing,
    NoEffect(&'static str),
    Effect(Box<Past>),
}

fn look_up(ledger: &Ledger, id: &EventId) -> Result<UndoLookup, StoreError> {
    let Some(event) = ledger.event(id)? else {
        return Ok(UndoLookup::Nothing);
    };
    let first = members(&event);
    let (intent, outcome) = match phase(&first) {
        Some("intent") => {
            let outcome = outcome_of(ledger, event.seq(), &id.to_string())?;
            (first, outcome.as_ref().map(members))
        }
        Some("outcome") => {
            let named = first["detail"]["intent"].as_str().unwrap_or_default();
            let intent = named.parse::<EventId>().ok();
            let intent = intent.map(|id| ledger.event(&id)).transpose()?.flatten();
            match intent {
                Some(intent) => (members(&intent), Some(first)),
                None => return Ok(UndoLookup::Nothing),
            }
        }
        Some("read") => {
            return Ok(UndoLookup::NoEffect(
                "That call was a read: it changed nothing.",
            ));
        }
        _ => return Ok(UndoLookup::NoEffect("That event is no call.")),
    };
    Ok(
        of(&intent, outcome.as_ref()).map_or(UndoLookup::Nothing, |past| {
            UndoLookup::Effect(Box::new(past))
        }),
    )
}

/// The outcome of an intent, which usually comes right behind it.
pub(super) fn outcome_of(
    ledger: &Ledger,
    seq: u64,
    intent: &str,
) -> Result<Option<Recorded>, StoreError> {
    let mut after = seq;
    while after < seq + FAR {
        let batch = ledger.after(after, BATCH)?;
        let Some(last) = batch.last() else {
            return Ok(None);
        };
        after = last.seq();
        let found = batch.into_iter().find(|event| {
            let of = (event.event_type() == "invoke").then(|| members(event));
            of.is_some_and(|of| phase(&of) == Some("outcome") && of["detail"]["intent"] == intent)
        });
        if found.is_some() {
            return Ok(found);
        }
    }
    Ok(None)
}

pub(super) fn members(event: &Recorded) -> Value {
    super::audit::members(event.json())
        .map(Value::Object)
        .unwrap_or_default()
}

pub(super) fn phase(event: &Value) -> Option<&str> {
    event["detail"]["phase"].as_str()
}

/// Reads both events of an effect.
pub(super) fn of(intent: &Value, outcome: Option<&Value>) -> Option<Past> {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let capability = CapabilityId::parse(intent["capabilityId"].as_str()?).ok()?;
    let source = SourceId::parse(capability.parts().0).ok()?;
    Some(Past {
        intent: AuditId::parse(intent["id"].as_str()?).ok()?,
        at: intent["time"].clone(),
        agent: text(&intent["agentId"]),
        capability,
        source,
        summary: outcome.and_then(|o| text(&o["detail"]["summary"])),
        result: outcome.and_then(|o| text(&o["detail"]["result"])),
        undo: outcome.and_then(|o| text(&o["detail"]["undo"])),
        touched: outcome
            .and_then(|o| o["detail"]["touched"].as_array())
            .map(|all| all.iter().filter_map(|one| text(&one["id"])).collect())
            .unwrap_or_default(),
        is_partial: outcome.is_some_and(|o| {
            let effect = o["detail"]["effect"].as_str();
            effect.is_some_and(|effect| ["partial", "done"].contains(&effect))
        }),
    })
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use plexus_protocol::{Digest, Provenance, Sensitivity, Verb, Verbs};
    use plexus_sources::Connector;
    use plexus_trust::{Difference, Facts, Source, SourceConfig};

    pub(crate) fn registry() -> Registry {
        const CHILD: &str = include_str!("../../../../sandbox-profiles/children/claude.sb");
        const CLAUDE: Connector = Connector {
            name: "claudecode",
            manifest: include_str!("../../../../workers/claudecode/manifest.json"),
            profile: include_str!("../../../../sandbox-profiles/claudecode.sb"),
            children: &[("turn", CHILD), ("resumed-turn", CHILD), ("version", CHILD)],
        };
        Registry::read(&[CLAUDE]).unwrap()
    }

    /// A source whose `run` and `chat` work on copies, and whose `write` does not.
    pub(crate) fn state() -> TrustState {
        let id = SourceId::parse("desk").unwrap();
        let config = SourceConfig {
            kind: "claudecode-folder".into(),
            label: "Desk".into(),
            enabled: true,
            hide: Default::default(),
            lent: None,
            route: json!({}),
            secret_ref: None,
            ask: false,
            provenance: Provenance::Managed,
        };
        let facts = |staged| Facts {
            verbs: Verbs::of([Verb::Execute]),
            sensitivity: Sensitivity::High,
            resolved: Vec::new(),
            fields: Vec::new(),
            shape: Digest::of(b""),
            input: None,
            narrow: Value::Null,
            staged,
        };
        let mut source = Source::new(id.clone(), config, 1);
        for (name, staged) in [("run", true), ("chat", false), ("write", false)] {
            let capability = CapabilityId::of(&id, name).unwrap();
            source.capabilities.insert(capability, facts(staged));
        }
        let mut state = TrustState::default();
        Arc::make_mut(&mut state.sources).insert(id, Arc::new(source));
        state
    }

    #[test]
    fn refusal_names_where_its_source_pointed_then() {
        let mut state = state();
        let id = SourceId::parse("desk").unwrap();
        let sources = Arc::make_mut(&mut state.sources);
        let source = Arc::make_mut(sources.get_mut(&id).unwrap());
        let moved = |at: &str, words: &str| -> Difference {
            serde_json::from_value(json!({"at": at, "words": [words]})).unwrap()
        };
        let [first, second] = ["2026-01-01T00:00:00.000Z", "2026-01-03T00:00:00.000Z"];
        source.moved = vec![
            moved(first, "path is /b, it was /a"),
            moved(second, "path is /c, it was /b"),
            moved(second, "asking for each read is on, it was off"),
        ];
        let moved_since = |time: &str| {
            let id = "evt_00000000-004c-8601-9a97-6ab6eec8d02f";
            let intent = json!({"id": id, "capabilityId": "desk.write", "time": time});
            moved_since(&state, &of(&intent, None).unwrap())
        };
        let between = moved_since("2026-01-02T00:00:00.000Z");
        assert_eq!(between.as_deref(), Some("path is /c, it was /b"));
        assert_eq!(moved_since("2026-01-04T00:00:00.000Z"), None);
    }

    #[test]
    fn only_answered_turns_and_finished_runs_were_on_copies() {
        let registry = registry();
        let id = "evt_00000000-004c-8601-9a97-6ab6eec8d02f";
        let on_copy = |name: &str, result: &str, undo: Option<&str>| {
            let intent = json!({"id": id, "capabilityId": format!("desk.{name}"), "time": "t"});
            let outcome = json!({"detail": {"intent": id, "result": result, "undo": undo}});
            let past = of(&intent, Some(&outcome)).unwrap();
            past.is_on_copy(&state(), &registry)
        };
        for (name, result) in [("run", "ok"), ("chat", "ok"), ("chat", "failed")] {
            assert!(on_copy(name, result, None), "{name} {result}");
        }
        for (name, result, undo) in [
            ("run", "ok", Some("cs_1")),
            // Whatever the owner has found since: its answer is lost.
            ("run", "unknown", None),
            ("chat", "unknown", None),
            ("run", "failed", None),
            ("write", "ok", None),
        ] {
            assert!(!on_copy(name, result, undo), "{name} {result} {undo:?}");
        }
    }
}
