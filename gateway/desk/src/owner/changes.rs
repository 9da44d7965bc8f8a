//! Change sets as the owner sees and applies them: what runs of coding agents left for a decision (ours).
//!
//! ```text
//! list: each source that makes change sets ─▶ show: file by file ─▶ plan: what applying does ─▶ apply: that very plan
//! ```
//! Which change sets there are, and what is in them, is the sources' to say: the gateway opens no file.

use super::of_source;
use crate::{
    acting::Narrowing,
    acts::blocking,
    desk::Desk,
    plans::plan_of,
    table::{Reading, Served},
};
use plexus_calls::own::{self, OwnerCapability, OwnerResult, Upkeep};
use plexus_edge::reply::Refused;
use plexus_ledger::EventId;
use plexus_owner::{
    Done,
    changes::{
        Apply, ApplyOutcome, ApplyPlan, AwaySource, ChangeSet, ChangeSetRow, ChangeSets,
        GatewayFacts, List, PlanApply, Show, UnreadSet,
    },
};
use plexus_protocol::{AuditId, ErrorBody, ErrorCode, PendingId, SourceId};
use serde::Deserialize;
use serde_json::{Value, json};
use std::{collections::BTreeSet, sync::Arc, time::Duration};
use tokio::{task::JoinSet, time::timeout};

/// How long the change sets of a source are waited for.
const LOOK: Duration = Duration::from_secs(10);
/// Why a source's change set is not shown.
const NO_ITEM: &str = "the source answered what is no change set";
const NOT_TOLD: &str = "the gateway failed on its change sets";

pub(super) fn serve(served: Served) -> Served {
    served.with(list).with(show).with(plan).with(apply)
}

async fn list(desk: Arc<Desk>, _: Reading, call: List) -> Result<ChangeSets, Refused> {
    Ok(listed(&desk, call.source.as_deref()).await.0)
}

/// What a source answers of its change sets.
#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    sets: Vec<Value>,
    #[serde(default)]
    unread: Vec<Value>,
    #[serde(default)]
    more: u64,
}

/// The change sets of one source, or of all, the newest first: each is asked by itself, for as long as [`LOOK`]. Beside them
/// the sources that told of all of theirs.
pub(crate) async fn listed(
    desk: &Arc<Desk>,
    only: Option<&str>,
) -> (ChangeSets, BTreeSet<SourceId>) {
    let mut all = ChangeSets::default();
    let is_named = |source: &SourceId| only.is_none_or(|only| only == source.as_str());
    let disabled = makers(desk, false).into_iter().filter(is_named);
    all.away.extend(disabled.map(|source| AwaySource {
        why: format!("it is disabled: plexusctl sources enable {source}"),
        source,
    }));
    let mut asked: BTreeSet<_> = makers(desk, true).into_iter().filter(is_named).collect();
    let mut looks = JoinSet::new();
    for source in asked.clone() {
        let desk = desk.clone();
        looks.spawn(async move {
            let one = timeout(LOOK, of_one(&desk, &source)).await;
            (source, one)
        });
    }
    let mut heard = BTreeSet::new();
    // A look that panicked answers nothing: its source stays among those that were asked.
    while let Some(looked) = looks.join_next().await {
        let Ok((source, one)) = looked else { continue };
        asked.remove(&source);
        match one {
            Ok(one) => {
                if one.more == 0 && one.away.is_empty() && one.unread.is_empty() {
                    heard.insert(source);
                }
                all.sets.extend(one.sets);
                all.unread.extend(one.unread);
                all.away.extend(one.away);
                all.more = all.more.saturating_add(one.more);
            }
            Err(_) => {
                let why = format!("it did not answer within {} s", LOOK.as_secs());
                all.away.push(AwaySource { source, why });
            }
        }
    }
    all.away.extend(asked.into_iter().map(|source| AwaySource {
        source,
        why: NOT_TOLD.to_owned(),
    }));
    all.away.sort_by(|one, other| one.source.cmp(&other.source));
    all.unread
        .sort_by(|one, other| (&one.source, &one.id).cmp(&(&other.source, &other.id)));
    all.sets.sort_by(|one, other| {
        let newest_first = other.about.made.cmp(&one.about.made);
        newest_first.then_with(|| one.of.source.cmp(&other.of.source))
    });
    (all, heard)
}

/// What one source says of its change sets.
async fn of_one(desk: &Desk, source: &SourceId) -> ChangeSets {
    let mut all = ChangeSets::default();
    let away = |why: String| AwaySource {
        source: source.clone(),
        why,
    };
    let answer = match own::ask::<Answer>(desk, source, Upkeep::ChangeSets, &json!({})).await {
        Ok(answer) => answer,
        Err(error) => {
            all.away.push(away(error.message));
            return all;
        }
    };
    let mut found = Vec::new();
    let mut is_odd = false;
    for set in &answer.sets {
        match of_source::<ChangeSetRow>(set, source) {
            Ok(set) => found.push(set),
            Err(_) => is_odd = true,
        }
    }
    for set in &answer.unread {
        match of_source::<UnreadSet>(set, source) {
            Ok(set) => all.unread.push(set),
            Err(_) => is_odd = true,
        }
    }
    // Once, however many there are.
    if is_odd {
        all.away.push(away(NO_ITEM.to_owned()));
    }
    match told_of(desk, source, found, |set| {
        (set.about.call.clone(), &mut set.of)
    })
    .await
    {
        Ok(told) => all.sets = told,
        Err(_) => all.away.push(away(NOT_TOLD.to_owned())),
    }
    all.more = answer.more;
    all
}

async fn show(desk: Arc<Desk>, _: Reading, call: Show) -> Result<ChangeSet, Refused> {
    shown(&desk, &call.id, call.path, call.after).await
}

/// A stretch of a change set, with the source that has it.
pub(crate) async fn shown(
    desk: &Desk,
    id: &str,
    path: Option<String>,
    after: Option<String>,
) -> Result<ChangeSet, Refused> {
    let mut input = json!({"changes": id});
    for (name, value) in [("path", path), ("after", after)] {
        if let Some(value) = value {
            input[name] = value.into();
        }
    }
    let mut away = None;
    for source in makers(desk, true) {
        match own::ask::<Value>(desk, &source, Upkeep::ChangeSet, &input).await {
            Ok(set) => match of_source::<ChangeSet>(&set, &source) {
                Ok(set) if set.id == id => {
                    let told = told_of(desk, &source, vec![set], |set| {
                        (set.about.call.clone(), &mut set.of)
                    });
                    return told.await?.pop().ok_or_else(|| unknown(desk, id));
                }
                Ok(_) | Err(_) => {
                    let code = ErrorCode::SourceUnavailable;
                    away = Some(ErrorBody::new(code, NO_ITEM));
                }
            },
            Err(error) if is_elsewhere(&error) => {}
            Err(error) => away = Some(error),
        }
    }
    // One that cannot be shown leads to the list.
    Err(away.map_or_else(
        || unknown(desk, id),
        |error| told(desk, error, id, "plexusctl changes".to_owned()),
    ))
}

/// What applying a change set does, and the token that stands for that.
pub(crate) async fn plan(
    desk: Arc<Desk>,
    _: Reading,
    call: PlanApply,
) -> Result<ApplyPlan, Refused> {
    let (capability, input) = opened(&desk, Upkeep::Apply, &call.id, &call.source).await?;
    let input = narrowed(input, call.paths);
    let made = own::plan(&desk, &capability, &input).await;
    let made = made.map_err(|error| told(&desk, error, &call.id, look_at(&call.id)))?;
    Ok(ApplyPlan {
        id: call.id,
        source: call.source,
        capability_id: capability.id,
        plan: plan_of(&made),
    })
}

/// Carries out the plan that the owner saw.
pub(crate) async fn apply(
    desk: Arc<Desk>,
    narrowing: Narrowing,
    call: Apply,
) -> Result<ApplyOutcome, Refused> {
    let (capability, input) = opened(&desk, Upkeep::Apply, &call.id, &call.source).await?;
    let input = narrowed(input, call.paths);
    let acting = narrowing.wider(&desk).await?;
    let kernel = &desk.edge.kernel;
    let done = own::commit(kernel, &capability, input, call.state_token, acting).await;
    let done = done.map_err(|error| told(&desk, error, &call.id, look_at(&call.id)))?;
    Ok(outcome(call.id, done))
}

/// What the owner is answered.
pub(super) fn outcome(id: String, done: OwnerResult) -> ApplyOutcome {
    ApplyOutcome {
        ok: Done,
        id,
        audit_id: done.audit,
        summary: done.summary,
        undo: done.undo,
    }
}

/// A capability for a change set, and its input.
pub(super) async fn opened(
    desk: &Desk,
    upkeep: Upkeep,
    id: &str,
    source: &SourceId,
) -> Result<(OwnerCapability, Value), Refused> {
    let capability = OwnerCapability::open(desk, source, upkeep).await;
    let capability = capability.map_err(|error| Refused::new(*error))?;
    Ok((capability, json!({"changes": id})))
}

/// The input for these files alone.
fn narrowed(mut input: Value, paths: Option<Vec<String>>) -> Value {
    if let Some(paths) = paths {
        input["paths"] = json!(paths);
    }
    input
}

/// Change sets with what the gateway knows of them: the folder, and why the run of their call was asked for, as long as that
/// request is kept.
async fn told_of<T: Send + 'static>(
    desk: &Desk,
    source: &SourceId,
    mut sets: Vec<T>,
    of: impl Fn(&mut T) -> (Option<AuditId>, &mut GatewayFacts) + Send + 'static,
) -> Result<Vec<T>, Refused> {
    let (ledger, state) = (desk.ledger.clone(), desk.ledger.snapshot());
    let route = state.sources.get(source).map(|known| &known.config.route);
    let folder = route.and_then(|route| route.get("path")?.as_str().map(str::to_owned));
    let told = blocking(move || {
        for set in &mut sets {
            let (call, known) = of(set);
            let item = call.and_then(|call| {
                let event = ledger
                    .event(&call.as_str().parse::<EventId>().ok()?)
                    .ok()??;
                let event: Value = serde_json::from_str(event.json()).ok()?;
                let basis = &event["detail"]["basis"];
                let item = basis["item"].as_str().or(basis["bounded"].as_str())?;
                state.item(&PendingId::parse(item).ok()?)
            });
            known.purpose = item.and_then(|item| item.purpose.clone());
            known.folder.clone_from(&folder);
        }
        sets
    });
    told.await
}

/// The sources that make change sets: those that serve, or else the disabled ones.
pub(super) fn makers(desk: &Desk, enabled: bool) -> Vec<SourceId> {
    let state = desk.ledger.snapshot();
    let makes = |source: &&Arc<plexus_trust::Source>| {
        let connector = desk.registry.of_source(&source.config);
        source.config.enabled == enabled
            && !source.config.is_over()
            && connector.is_some_and(|connector| connector.offer.manifest.change_sets.is_some())
    };
    let makers = state.sources.values().filter(makes);
    makers.map(|source| source.id.clone()).collect()
}

/// Whether a capability's source makes change sets.
pub(super) fn makes_change_sets(desk: &Desk, capability: &str) -> bool {
    let source = capability.split_once('.').map(|(source, _)| source);
    let mut makers = makers(desk, true).into_iter();
    makers.any(|maker| Some(maker.as_str()) == source)
}

/// Whether a source says that it has no such change set.
fn is_elsewhere(error: &ErrorBody) -> bool {
    error.reason() == Some("not_found")
}

fn unknown(desk: &Desk, id: &str) -> Refused {
    let more = match makers(desk, false).first() {
        None => String::new(),
        Some(source) => format!(
            "; {source} is disabled, and has its own still: plexusctl sources enable {source}"
        ),
    };
    let why = format!(
        "No source that serves has a change set {id}: they are kept for a week, or until you drop them{more}."
    );
    let error = ErrorBody::new(ErrorCode::NotFound, why);
    Refused::new(error.next("plexusctl changes"))
}

fn look_at(id: &str) -> String {
    format!("plexusctl changes {id}")
}

/// What a worker says of a change set, with the next step of an owner: `next`, as far as the source serves.
pub(super) fn told(desk: &Desk, error: ErrorBody, id: &str, next: String) -> Refused {
    if is_elsewhere(&error) {
        return unknown(desk, id);
    }
    let next = match error.code {
        ErrorCode::SourceUnavailable | ErrorCode::Busy => "plexusctl status".to_owned(),
        ErrorCode::OutcomeUnknown => "plexusctl unknown".to_owned(),
        _ => next,
    };
    // What a worker found out is no bad request of the owner's.
    let status = match error.code {
        ErrorCode::TransportError | ErrorCode::SchemaValidationFailed => {
            ErrorCode::PreconditionChanged.status()
        }
        code => code.status(),
    };
    Refused::new(error.next(next)).status(status)
}
