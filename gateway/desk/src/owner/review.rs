//! What an agent changed, put together: one difference for each file (ours).
//!
//! Which effects there were is the log's to say, what they came to the sources': the gateway opens no file.

use super::{activity, changes, undo};
use crate::{
    acts::blocking,
    desk::Desk,
    table::{Reading, Served},
};
use plexus_calls::own::{self, OwnerCapability, Upkeep};
use plexus_edge::reply::Refused;
use plexus_ledger::{IndexTerm, StoreError};
use plexus_owner::{
    changes::ChangeSetRow,
    review::{Review, ReviewedEffect, ReviewedFile, Show, SourceReview},
};
use plexus_protocol::{ErrorBody, ErrorCode, SourceId, Timestamp};
use plexus_record::Ledger;
use serde::Deserialize;
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// Most effects that are put together; older ones are left out, and the answer says so.
const MOST: usize = 2_000;
/// For how long change sets are kept at least, in milliseconds.
const KEPT_MS: u64 = 6 * 24 * 3_600_000;
/// Events that are read at once, of the agent's or not: a reader of more would hold old pages for long.
const PAGE: usize = 20_000;

/// One effect that happened, or may have.
struct Effect {
    past: undo::Past,
    unknown: bool,
}

pub(super) fn serve(served: Served) -> Served {
    served.with(show)
}

pub(crate) async fn show(desk: Arc<Desk>, _: Reading, asked: Show) -> Result<Review, Refused> {
    let agent = asked.agent;
    let since = asked.since.map_or(Ok(Timestamp(0)), |s| moment(&s))?;
    let only = asked.source.map(|s| SourceId::parse(&s)).transpose();
    let only = only.map_err(|_| Refused::malformed("`source` is no source id"))?;
    let (ledger, of) = (desk.ledger.clone(), agent.clone());
    let found = blocking(move || effects(&ledger, &of, since)).await?;
    let (effects, cut) = found.map_err(|error| super::audit::unreadable(&error))?;
    let state = desk.ledger.snapshot();
    let known = state.agents.contains_key(agent.as_str());
    if effects.is_empty() && !known {
        let why =
            format!("No agent {agent:?} is connected, and none of that name changed anything.");
        return Err(Refused::new(
            ErrorBody::new(ErrorCode::UnknownAgent, why).next("plexusctl agents"),
        ));
    }
    let mut by_source: BTreeMap<SourceId, Vec<Effect>> = BTreeMap::new();
    for effect in effects {
        let source = &effect.past.source;
        if only.as_ref().is_none_or(|only| only == source) {
            by_source.entry(source.clone()).or_default().push(effect);
        }
    }
    let (listed, heard) = changes::listed(&desk, only.as_ref().map(SourceId::as_str)).await;
    let sets: Vec<_> = listed.sets.iter().collect();
    for set in sets.iter().filter(|set| is_of(set, &agent, since)) {
        by_source.entry(set.of.source.clone()).or_default();
    }
    let mut sources = Vec::new();
    for (source, mut effects) in by_source {
        // A run on a copy changed nothing of the owner's: its change set is looked at and applied, not taken back.
        let is_heard = heard.contains(&source);
        let logged = effects.len();
        let registry = &desk.edge.kernel.registry;
        effects.retain(|one| !one.past.is_on_copy(&state, registry));
        let logged = logged - effects.len();
        let of_source = sets.iter().filter(|set| set.of.source == source);
        let of_source: Vec<_> = of_source.collect();
        let apply = OwnerCapability::open(&desk, &source, Upkeep::Apply)
            .await
            .ok();
        let is_gone = |one: &Effect| {
            // A run that names what takes it back has applied files.
            let facts = state.capability(&one.past.capability);
            let is_run = facts.is_some_and(|(_, facts)| facts.staged) && one.past.undo.is_some();
            let is_apply = is_run
                || apply
                    .as_ref()
                    .is_some_and(|apply| apply.id == one.past.capability);
            let is_there = of_source
                .iter()
                .any(|set| set.calls.contains(&one.past.intent));
            is_apply && !is_there && is_recent(&one.past, desk.clock.now())
        };
        // The source says of each change set that it lists which calls hold files of it in the folder. It leaves out one that a
        // later run has joined, so the log has to have the undo as well.
        let gone = effects.iter().filter(|one| is_heard && is_gone(one));
        let gone = gone.map(|one| one.past.intent.to_string()).collect();
        let gone = activity::taken_back(&desk, gone).await;
        let mut review = match effects.is_empty() {
            true => SourceReview::nothing(source),
            false => review_of(&desk, source, &effects).await,
        };
        let made = of_source.iter().filter(|set| is_of(set, &agent, since));
        // Of a source that did not answer the log has the runs.
        match is_heard {
            true => review.copies = made.count(),
            false => review.runs = logged,
        }
        for one in &mut review.not_kept {
            if gone.contains(one.audit_id.as_str()) {
                let did = one.summary.as_deref().unwrap_or("applied files");
                one.summary = Some(format!("{did}; all of it was taken back"));
            }
        }
        sources.push(review);
    }
    Ok(Review {
        agent_id: agent,
        since,
        sources,
        cut,
    })
}

/// Whether a run of the agent made a change set since then.
fn is_of(set: &ChangeSetRow, agent: &str, since: Timestamp) -> bool {
    let made = set.about.made.unwrap_or(Timestamp(0));
    set.about.agent.as_deref() == Some(agent) && made >= since
}

/// Whether the change set of an apply is kept for sure.
fn is_recent(past: &undo::Past, now: Timestamp) -> bool {
    let at = serde_json::from_value::<Timestamp>(past.at.clone());
    at.is_ok_and(|at| now.since(at) < KEPT_MS)
}

/// A moment: milliseconds since 1970, or RFC 3339.
fn moment(text: &str) -> Result<Timestamp, Refused> {
    if let Ok(ms) = text.parse::<u64>() {
        return Ok(Timestamp(ms));
    }
    serde_json::from_value(json!(text)).map_err(|_| {
        Refused::malformed("`since` is milliseconds, or a time as in 2026-01-31T00:00:00Z")
    })
}

/// The effects of an agent since then, oldest first, and whether older ones are left out.
fn effects(
    ledger: &Ledger,
    agent: &str,
    since: Timestamp,
) -> Result<(Vec<Effect>, bool), StoreError> {
    let term = IndexTerm::Agent(agent.to_owned());
    // Where it begins, so that an agent who did little since is not looked for in what is older.
    let first = match since {
        Timestamp(0) => 0,
        since => ledger.first_at(since.0)?,
    };
    let (mut end, mut found) = (u64::MAX, Vec::new());
    let mut outcomes: BTreeMap<String, Value> = BTreeMap::new();
    let mut settled: BTreeMap<String, bool> = BTreeMap::new();
    loop {
        let rest = ledger.walk_back(Some(&term), first..end, PAGE, |event| {
            if event.event_type() != "invoke" {
                return true;
            }
            // An outcome is younger than its intent, so it is met first; what settles it is younger still.
            let members = undo::members(event);
            let of = members["detail"]["intent"].as_str();
            settled.extend(
                of.map(str::to_owned)
                    .zip(members["detail"]["happened"].as_bool()),
            );
            match undo::phase(&members) {
                Some("outcome") => {
                    let intent = members["detail"]["intent"].as_str().unwrap_or_default();
                    outcomes.insert(intent.to_owned(), members);
                }
                Some("intent") => {
                    let id = members["id"].as_str().unwrap_or_default();
                    let outcome = outcomes.remove(id);
                    found.extend(effect(&members, outcome.as_ref(), settled.remove(id)));
                }
                _ => {}
            }
            found.len() < MOST
        })?;
        if found.len() >= MOST {
            return Ok((in_order(found), true));
        }
        match rest {
            Some(rest) => end = rest,
            None => return Ok((in_order(found), false)),
        }
    }
}

fn in_order(mut effects: Vec<Effect>) -> Vec<Effect> {
    effects.reverse();
    effects
}

/// An effect that changed something, or may have: a call that failed is one where it had done so before. `settled` is the
/// owner's word for one whose outcome nobody knew: whether it happened.
fn effect(intent: &Value, outcome: Option<&Value>, settled: Option<bool>) -> Option<Effect> {
    let mut past = undo::of(intent, outcome)?;
    let detail = &outcome?["detail"];
    let (result, effect) = (detail["result"].as_str()?, detail["effect"].as_str());
    let unknown = match (result, effect, settled) {
        ("ok", ..) | ("failed", Some("done" | "partial"), _) => false,
        ("unknown", ..) | ("failed", Some("unknown"), _) if settled != Some(false) => {
            settled.is_none()
        }
        _ => return None,
    };
    if result == "failed" && past.summary.is_none() {
        past.summary = Some(format!("{}, which failed", past.capability));
    }
    Some(Effect { past, unknown })
}

/// What a source answers to `changes`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Changes {
    files: Vec<ReviewedFile>,
    /// Events of calls whose content it has not kept.
    not_kept: BTreeSet<String>,
}

async fn review_of(desk: &Desk, source: SourceId, effects: &[Effect]) -> SourceReview {
    let calls: Vec<&str> = effects.iter().map(|e| e.past.intent.as_str()).collect();
    let asked = own::ask(desk, &source, Upkeep::Changes, &json!({ "calls": calls })).await;
    let mut undoes = false;
    let (answer, why): (Changes, _) = match asked {
        Ok(answer) => (answer, None),
        // A source that keeps nothing, is gone, or cannot be asked now: its effects are named by the log.
        Err(error) => {
            let lists = OwnerCapability::open(desk, &source, Upkeep::Changes).await;
            let takes_back = OwnerCapability::open(desk, &source, Upkeep::Undo).await;
            undoes = lists.is_err() && takes_back.is_ok();
            let lost = calls.iter().map(|id| (*id).to_owned()).collect();
            (
                Changes {
                    files: Vec::new(),
                    not_kept: lost,
                },
                (!undoes).then_some(error.message),
            )
        }
    };
    let named = |wanted: &dyn Fn(&Effect) -> bool| -> Vec<ReviewedEffect> {
        let those = effects.iter().filter(|e| wanted(e));
        let those = those.map(|e| ReviewedEffect {
            audit_id: e.past.intent.clone(),
            at: e.past.at.clone(),
            summary: e.past.summary.clone(),
        });
        those.collect()
    };
    SourceReview {
        source,
        effects: effects.len(),
        files: answer.files,
        not_kept: named(&|e| answer.not_kept.contains(e.past.intent.as_str())),
        unknown: named(&|e| e.unknown),
        why,
        undoes,
        copies: 0,
        runs: 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settled_outcome_is_as_the_owner_found_it() {
        let id = "evt_00000000-004c-8601-9a97-6ab6eec8d02f";
        let intent = json!({"id": id, "capabilityId": "w.write", "time": "t"});
        let ended = |result: &str, done: Option<&str>, settled| {
            let outcome = json!({"detail": {"intent": id, "result": result, "effect": done}});
            effect(&intent, Some(&outcome), settled).map(|effect| effect.unknown)
        };
        let unknown = |result: &str, settled| ended(result, None, settled);
        assert_eq!(unknown("unknown", None), Some(true));
        assert_eq!(unknown("unknown", Some(true)), Some(false));
        assert_eq!(unknown("unknown", Some(false)), None);
        assert_eq!(unknown("ok", None), Some(false));
        assert_eq!(unknown("failed", None), None);
        // A call that failed once its change was made.
        let failed = |done: &str, settled| ended("failed", Some(done), settled);
        assert_eq!(failed("none", None), None);
        assert_eq!(failed("partial", None), Some(false));
        assert_eq!(failed("done", None), Some(false));
        assert_eq!(failed("unknown", None), Some(true));
        assert_eq!(failed("unknown", Some(false)), None);
    }
}
