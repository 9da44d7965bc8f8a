//! What would become of a call, and which rule says so: for the owner who wonders, before anybody calls.
//!
//! The machine itself is asked, on a copy of its state in which the agent has a session: there is no second set of
//! rules here that could say something else. Nothing is recorded and nothing changes.

mod ended;

use super::sources::{health, stopped};
use crate::{acting::Narrowing, desk::Desk, table::Served};
use plexus_calls::{
    change_author::{self, ChangeAuthor},
    refusal,
};
use plexus_edge::reply::Refused;
use plexus_owner::{
    explain::{
        CallDecision::{self, Pend, Permit, Refuse},
        Explain, Explanation,
    },
    sources::HealthStatus,
    troubles::{self, Trouble},
};
use plexus_protocol::{
    AgentId, CapabilityId, Constraint, Digest, PendingId, SessionId, SourceId, Timestamp, TokenId,
    TrustWindow,
    constraint::{MAX_PARTS, PathPrefix, calls_in_words, is_prefix},
    json as strict, shell,
    time::{ago, end, length},
};
use plexus_sources::catalogue::Entry as CatalogueEntry;
use plexus_trust::{
    Agent, Approval, AuthPath, Basis, Call, Ceiling, Command, DENIAL_MS, EnrollmentStatus, Entry,
    Extent, Facts, Grant, OnApproval, Refusal, Reply, RequestGrants, SESSION_MS, Session, Source,
    State as TrustState, Verdict, authorize, ceiling, decide, standing_for, visible,
};
use serde_json::Value;
use std::sync::Arc;

pub(super) fn serve(served: Served) -> Served {
    served.with(explain)
}

pub(crate) async fn explain(
    desk: Arc<Desk>,
    _: Narrowing,
    asked: Explain,
) -> Result<Explanation, Refused> {
    let needed = |key: &str, given: &str| match given.trim() {
        "" => Err(Refused::malformed(format!(
            "`{key}` (a string) is required"
        ))),
        text => Ok(text.to_owned()),
    };
    let agent = AgentId::parse(&needed("agentId", &asked.agent_id)?)
        .map_err(|e| Refused::malformed(format!("`agentId` is {e}")))?;
    let id = CapabilityId::parse(&needed("capabilityId", &asked.capability_id)?);
    let id = id.map_err(|e| Refused::malformed(format!("`capabilityId` is {e}")))?;
    let input = asked.input.map(Value::Object);
    let input = input.as_ref();
    let state = desk.ledger.snapshot();
    let now = desk.clock.now();
    let mut judged = judge(&state, &agent, &id, input, now);
    if matches!(&*judged.rule, "no-grant" | "grant.revoked")
        && let Some(end) = ended::of(&desk, &agent, &id).await?
    {
        judged.rule = end.rule().into();
        judged.why = end.in_words(&agent, &id, now);
    }
    if let (Permit | Pend, Some(known)) = (judged.decision, state.agent(&agent)) {
        judged.why.push_str(without_credential(known));
    }
    // If the call would go on, its input is looked at next.
    let catalogue = desk.catalogue.load();
    if let Some(entry) = catalogue.get(&id)
        && entry.is_undo()
        && judged.rule.starts_with("grant.")
        && judged.decision == Permit
    {
        judged = undo(&desk, &agent, entry, input, judged).await;
    }
    let misfit = catalogue.get(&id).zip(input);
    let misfit = misfit.and_then(|(entry, input)| entry.check(input).err());
    if judged.decision == Refuse {
        return Ok(judged);
    }
    if let Some(why) = misfit {
        return Ok(refuse("input.schema", why, ""));
    }
    if let Some(entry) = catalogue.get(&id) {
        judged.why.push_str(&away(&desk, &entry.source));
    }
    Ok(judged)
}

/// That a source does not serve, whatever its calls would come to.
fn away(desk: &Desk, source: &SourceId) -> String {
    let health = health(desk, source, desk.supervisor.health(source));
    if health.status != HealthStatus::Unavailable {
        return String::new();
    }
    let detail = health.detail.unwrap_or_default();
    let why = detail.trim_end_matches('.');
    let sign = if why.is_empty() { "" } else { ": " };
    format!(" Its source does not serve now{sign}{why}.")
}

/// A grant of undo covers what the agent itself did.
async fn undo(
    desk: &Desk,
    agent: &AgentId,
    entry: &CatalogueEntry,
    input: Option<&Value>,
    judged: Explanation,
) -> Explanation {
    let Some(input) = input else {
        let why = format!("{} Only changes of its own.", judged.why);
        return Explanation { why, ..judged };
    };
    match change_author::change(desk, agent, entry, &strict::canonical(input)).await {
        None | Some(ChangeAuthor::Own) => judged,
        Some(other) => {
            let why = format!(
                "Your grant covers changes of its own; whose this is: {}.",
                other.in_words()
            );
            explained(Pend, "undo.others", why, "")
        }
    }
}

fn explained(
    decision: CallDecision,
    rule: &'static str,
    why: impl Into<String>,
    next: impl Into<String>,
) -> Explanation {
    Explanation {
        decision,
        rule: rule.into(),
        why: why.into(),
        next: next.into(),
    }
}

fn refuse(rule: &'static str, why: impl Into<String>, next: impl Into<String>) -> Explanation {
    explained(Refuse, rule, why, next)
}

fn judge(
    state: &TrustState,
    agent: &AgentId,
    id: &CapabilityId,
    input: Option<&Value>,
    now: Timestamp,
) -> Explanation {
    let now = state.time(now);
    let Some(known) = state.agent(agent) else {
        return refuse(
            "agent.unknown",
            format!("No agent {agent} is connected."),
            format!("plexusctl connect {agent}"),
        );
    };
    if known.status == EnrollmentStatus::Revoked {
        return refuse(
            "agent.revoked",
            format!("You revoked {agent}."),
            format!("plexusctl connect {agent}"),
        );
    }
    let Some((source, facts)) = state.capability(id) else {
        return not_there(state, id);
    };
    if !state.exposed(id) {
        return refuse(
            "capability.hidden",
            format!("You do not expose {id}."),
            format!("plexusctl expose {id}"),
        );
    }
    if !visible(state, known, id, now) {
        let why =
            format!("{agent} sees only what you selected for it, and {id} is not among that.");
        return refuse("reach.selected", why, allow(agent, id));
    }
    if facts.verbs.is_empty() {
        let why =
            format!("{id} is a text to read, for each agent that sees it: it needs no grant.");
        return explained(Permit, "capability.text", why, "");
    }
    in_session(state, known, (source, facts), id, input, now)
}

/// That an agent cannot call at all so far, whatever becomes of its calls.
fn without_credential(agent: &Agent) -> &'static str {
    match (agent.status, &agent.code) {
        (EnrollmentStatus::Pending, Some(_)) => {
            " The agent has yet to redeem its code: until then it cannot call at all."
        }
        (EnrollmentStatus::Pending, None) => {
            " The agent has no credential: until you connect it anew it cannot call at all."
        }
        _ => "",
    }
}

fn allow(agent: &AgentId, id: &CapabilityId) -> String {
    format!("plexusctl grants allow {agent} {id} --window 1d")
}

/// The command that grants anew as narrowly as `grant`, and below `more` as well; `None`: no flags say the same. One that is valid
/// is granted for about the time that it has left.
fn allow_as(grant: &Grant, more: Option<&str>, now: Timestamp) -> Option<String> {
    let left = grant.expires_at.since(now);
    let window = match grant.window {
        TrustWindow::For { ms, .. } if left > 0 && left < ms => rounded_up(left, ms),
        window => window.argument(),
    };
    let flags = match &grant.constraint {
        None => String::new(),
        Some(constraint) => flags(constraint, grant.calls_left(), more)?,
    };
    Some(format!(
        "plexusctl grants allow {} {} --window {}{flags}",
        grant.agent, grant.capability, window
    ))
}

/// A length as an argument: in the largest unit that adds at most a twentieth to it and goes not beyond `most`, else in minutes.
fn rounded_up(ms: u64, most: u64) -> String {
    let units = [(86_400_000, 'd'), (3_600_000, 'h')];
    let fits = |(unit, _): &(u64, char)| {
        let up = ms.next_multiple_of(*unit);
        up <= most && up - ms <= ms / 20
    };
    let (unit, sign) = units.into_iter().find(fits).unwrap_or((60_000, 'm'));
    format!("{}{sign}", ms.div_ceil(unit))
}

/// The same of a grant whose call waits for the owner: where no flags say it, the card does.
fn allow_again(grant: &Grant, now: Timestamp) -> String {
    allow_as(grant, None, now).unwrap_or_else(|| "plexusctl approvals watch".to_owned())
}

/// A narrowing as flags of `plexusctl grants allow`; `None`: they cannot say it.
fn flags(constraint: &Constraint, left: Option<u32>, more: Option<&str>) -> Option<String> {
    if constraint.allow.is_some() || !constraint.rules.is_empty() {
        return None;
    }
    let mut flags = String::new();
    if let Some(PathPrefix { field, allow }) = &constraint.path_prefix {
        // An empty list allows nothing, and no flag says that.
        if allow.is_empty() || field.is_empty() || field.starts_with('-') || field.contains('=') {
            return None;
        }
        if allow.len() + usize::from(more.is_some()) > MAX_PARTS {
            return None;
        }
        for prefix in allow.iter().map(String::as_str).chain(more) {
            if prefix.chars().any(char::is_control) {
                return None;
            }
            let under = shell::quote(&format!("{field}={prefix}"));
            flags.push_str(&format!(" --under {under}"));
        }
    }
    if let Some(most) = constraint.max_calls {
        // One that is used up begins anew with its number; one that is valid goes on with what is left.
        let calls = left.filter(|left| *left > 0).unwrap_or(most);
        flags.push_str(&format!(" --max-calls {calls}"));
    }
    Some(flags)
}

fn not_there(state: &TrustState, id: &CapabilityId) -> Explanation {
    match state.sources.get(id.parts().0) {
        Some(source) if source.config.is_over() => refuse(
            "source.off",
            format!("The lending of {} has ended.", source.config.label),
            "plexusctl lend list",
        ),
        Some(source) if !source.config.enabled => {
            let next = format!("plexusctl sources enable {}", source.id);
            refuse(
                "source.off",
                format!("The source {} is switched off.", source.id),
                next,
            )
        }
        Some(source) => refuse(
            "capability.unknown",
            format!("{} offers no {id}.", source.id),
            "plexusctl sources list",
        ),
        None => refuse(
            "capability.unknown",
            format!("No source offers {id}."),
            "plexusctl sources list",
        ),
    }
}

/// Asks the machine as if the agent called with a session.
fn in_session(
    state: &TrustState,
    agent: &Agent,
    (source, facts): (&Source, &Facts),
    id: &CapabilityId,
    input: Option<&Value>,
    now: Timestamp,
) -> Explanation {
    let session = SessionId::fresh();
    let world = with_session(state, &agent.id, &session, now);
    let nothing = Value::Object(serde_json::Map::new());
    let canonical = strict::canonical(input.unwrap_or(&nothing));
    let digest = Digest::of(&canonical);
    let call = Call {
        agent: &agent.id,
        capability: id,
        input: input.unwrap_or(&nothing),
        digest,
    };
    match authorize(&world, call, AuthPath::Session(&session), now) {
        Verdict::Permit(permit) => allowed(state, agent, facts, &permit, input, now),
        Verdict::Refuse(refusal) => refused(&refusal, (agent, source, facts), call, now),
        Verdict::Pend { beyond_grant } => {
            // Without an input it cannot be said whether a narrowed grant reaches it.
            if let (None, Some(grant)) = (input, standing_for(state, agent, id, now)) {
                let why = format!(
                    "{}; only inputs within its constraint: {}. Name an input with --input to be sure.",
                    stands(grant, now),
                    narrowing(grant)
                );
                return explained(Permit, "grant.constrained", why, "");
            }
            let asked = Entry {
                beyond_grant,
                input: input.map(|_| (digest, canonical.len() as u64)),
                ..Entry::of(id.as_str())
            };
            let request = Command::Request(RequestGrants {
                agent: Some(agent.id.clone()),
                session,
                entries: vec![asked],
                purpose: None,
                on_approval: OnApproval::Wait,
                extent: Extent::Anything,
                token: TokenId::fresh(),
                item: PendingId::fresh(),
            });
            match decide(&world, &request, now) {
                Ok((_, Reply::Decided(decision))) if !decision.scopes.is_empty() => explained(
                    Permit,
                    "setting.auto-allow-reads",
                    "Your setting autoAllowReads lets reads that an agent was selected for allow themselves.",
                    "plexusctl config set autoAllowReads=false",
                ),
                Err(refusal) => refused(&refusal, (agent, source, facts), call, now),
                Ok(_) => match standing_for(state, agent, id, now).filter(|_| beyond_grant) {
                    Some(grant) => beyond(grant, facts, input.unwrap_or(&nothing), now),
                    None => waits(agent, (source, facts), id, now),
                },
            }
        }
    }
}

/// The state with one session more. A copy costs the maps' roots and this one agent.
fn with_session(
    state: &TrustState,
    agent: &AgentId,
    session: &SessionId,
    now: Timestamp,
) -> TrustState {
    let mut world = state.clone();
    if let Some(agent) = Arc::make_mut(&mut world.agents).get_mut(agent) {
        let open = Session {
            expires_at: now.plus(SESSION_MS),
            client: (None, None),
        };
        Arc::make_mut(agent).sessions.insert(session.clone(), open);
    }
    world
}

fn allowed(
    state: &TrustState,
    agent: &Agent,
    facts: &Facts,
    permit: &plexus_trust::Permit,
    input: Option<&Value>,
    now: Timestamp,
) -> Explanation {
    let item = match &permit.basis {
        Basis::Item(item) | Basis::Bounded(item) => Some(item),
        Basis::Grant(_) => None,
    };
    if let Some(item) = item {
        let held = agent.items.get(item);
        let mut asks = held.into_iter().flat_map(|item| &item.asks);
        let is_any = asks.any(|ask| {
            ask.capability == permit.capability && ask.approval == Approval::OneCallAnyInput
        });
        let what = match is_any {
            true => format!("one call of {}, with any input", permit.capability),
            false => "this very call".to_owned(),
        };
        let why = format!("You approved {what} ({item}); it has not been made yet.");
        let next = format!("plexusctl grants revoke {} {}", agent.id, permit.capability);
        return explained(Permit, "approval.once", why, &next);
    }
    let next = format!("plexusctl grants revoke {} {}", agent.id, permit.capability);
    let grant = standing_for(state, agent, &permit.capability, now);
    let mut why = grant.map_or_else(
        || "A standing grant allows it.".to_owned(),
        |g| format!("{}.", stands(g, now)),
    );
    if !facts.verbs.is_read() {
        why.push_str(" It may replace only what it has read as it is now.");
    }
    let rule = match (&permit.constraint, input) {
        (None, _) => "grant.standing",
        (Some(_), None) => {
            let narrow = grant.map(narrowing).unwrap_or_default();
            why.push_str(&format!(
                " Only for inputs within its constraint: {narrow}."
            ));
            "grant.constrained"
        }
        // As it is written, that is, with no field left to the source.
        (Some(constraint), Some(input)) => match constraint.permits(input, &[]) {
            Ok(()) => {
                why.push_str(" Its constraint reaches this input.");
                "grant.standing"
            }
            Err(miss) => {
                why.push_str(&format!(
                    " As it is written, {:?} lies outside its constraint; the source judges what it resolves to, and \
                     asks you for what is outside.",
                    miss.field
                ));
                "grant.constraint-resolved"
            }
        },
    };
    explained(Permit, rule, why, next)
}

fn stands(grant: &Grant, now: Timestamp) -> String {
    let until = match grant.window {
        TrustWindow::UntilRevoked => ", until you revoke it".to_owned(),
        _ => format!("; it {}", end(grant.expires_at, now)),
    };
    let left = grant
        .calls_left()
        .map(|left| format!(", {} left", calls_in_words(left)))
        .unwrap_or_default();
    format!("You granted it {}{until}{left}", ago(grant.granted_at, now))
}

fn narrowing(grant: &Grant) -> String {
    grant
        .constraint
        .as_ref()
        .map(Constraint::in_words)
        .unwrap_or_default()
}

fn refused(
    refusal: &Refusal,
    (agent, source, facts): (&Agent, &Source, &Facts),
    call: Call<'_>,
    now: Timestamp,
) -> Explanation {
    let id = call.capability;
    let said = || refusal::refused(refusal, Some(id)).message;
    let (rule, why, next) = match refusal {
        Refusal::Paused => {
            let paused = troubles::paused();
            ("paused", "You paused all agents.".to_owned(), paused.remedy)
        }
        Refusal::SourceStopped => match stopped(source) {
            Some(stopped) => {
                let Trouble { found, remedy, .. } = troubles::stopped(&source.id, &stopped);
                ("source stopped", format!("{} {found}.", source.id), remedy)
            }
            None => ("source stopped", said(), String::new()),
        },
        Refusal::Denied { reason } => {
            let reason = reason.as_ref();
            let reason = reason.map_or_else(String::new, |why| format!(": “{why}”"));
            let denial = agent.denials.get(&(id.clone(), call.digest));
            let left = denial.map(|denial| denial.at.plus(DENIAL_MS).since(now));
            let left = left.map_or_else(String::new, |left| format!(" for {} more", length(left)));
            let ends = match ceiling(facts, source.config.provenance) {
                Ceiling::Once => String::new(),
                _ => format!(
                    ", also where an existing grant covers it. A new grant of {id} for any input ends that"
                ),
            };
            let why =
                format!("You denied this call{reason}. The same call is refused{left}{ends}.");
            // The owner has decided it: a next step is only one that takes the decision back.
            let item = denial.and_then(|denial| denial.item.as_ref());
            let next = item.map(|item| format!("plexusctl approvals undeny {item}"));
            ("denied", why, next.unwrap_or_default())
        }
        Refusal::OutcomeUnknown { intent } => {
            let next = format!("plexusctl unknown list {intent}");
            ("outcome.unknown", said(), next)
        }
        Refusal::TooManyPending => (
            "pending.limit",
            said(),
            "plexusctl approvals list".to_owned(),
        ),
        _ => ("refused", said(), String::new()),
    };
    refuse(rule, why, next)
}

/// A call that a live grant does not reach.
fn beyond(grant: &Grant, facts: &Facts, input: &Value, now: Timestamp) -> Explanation {
    let resolved: Vec<&str> = facts.resolved.iter().map(String::as_str).collect();
    let miss = grant
        .constraint
        .as_ref()
        .and_then(|c| c.permits(input, &resolved).err());
    // The one thing that a further `--under` can add: this path.
    let path = miss.as_ref().filter(|miss| miss.part == "pathPrefix");
    let path = path.and_then(|miss| {
        let mut names = miss.field.split('.');
        names.try_fold(input, |at, name| at.get(name))?.as_str()
    });
    let path = path.filter(|path| is_prefix(path) && !matches!(*path, "" | "."));
    let next = path.and_then(|path| allow_as(grant, Some(path), now));
    let next = next.unwrap_or_else(|| format!("plexusctl grants list {}", grant.agent));
    let field = miss
        .map(|m| format!(" in {:?}", m.field))
        .unwrap_or_default();
    let why = format!(
        "Your grant does not reach this input{field}: {}. With its session the agent may ask you for this call; a token of it is refused.",
        narrowing(grant)
    );
    explained(Pend, "grant.constraint", why, next)
}

/// Why the call would wait for the owner.
fn waits(
    agent: &Agent,
    (source, facts): (&Source, &Facts),
    id: &CapabilityId,
    now: Timestamp,
) -> Explanation {
    let pend = |rule, why: String, next: String| explained(Pend, rule, why, next);
    if ceiling(facts, source.config.provenance) == Ceiling::Once {
        let why = format!("{id} is approved call by call only; no grant of it can stand.");
        return pend("ceiling.once", why, "plexusctl approvals watch".into());
    }
    let Some(grant) = agent.grants.get(id) else {
        if let Some((rule, why)) = ended(agent, source, id, now) {
            return pend(rule, why, "plexusctl approvals watch".into());
        }
        let sort = if facts.verbs.is_read() {
            "a read"
        } else {
            "an effect"
        };
        return pend(
            "no-grant",
            format!("You have not granted {id} to {}; it is {sort}.", agent.id),
            allow(&agent.id, id),
        );
    };
    if now >= grant.expires_at {
        return pend(
            "grant.lapsed",
            format!("Your grant ended {}.", ago(grant.expires_at, now)),
            allow_again(grant, now),
        );
    }
    if grant.calls_left() == Some(0) {
        return pend(
            "grant.used-up",
            "The number of calls of your grant is used up; one that failed counts.".into(),
            allow_again(grant, now),
        );
    }
    if let Some(why) = &grant.suspended {
        let next = format!("plexusctl sources resume {}", source.id);
        return pend(
            "grant.suspended",
            format!("Your grant is suspended: {why}."),
            next,
        );
    }
    if !grant.verbs.covers(facts.verbs) {
        let why = format!(
            "Your grant is for {:?}, and a call needs {:?}.",
            grant.verbs, facts.verbs
        );
        return pend("grant.verbs", why, allow_again(grant, now));
    }
    pend(
        "grant.source",
        "Your grant cannot be used while its source is as it is now.".into(),
        "plexusctl sources list".into(),
    )
}

/// Why no grant of `id` is valid any more; `None`: the state knows of none.
fn ended(
    agent: &Agent,
    source: &Source,
    id: &CapabilityId,
    now: Timestamp,
) -> Option<(&'static str, String)> {
    if let Some(at) = agent.voided.get(id) {
        let change = source.moved.iter().find(|moved| moved.at >= *at);
        let how = change.map_or_else(String::new, |change| {
            format!(": {}", change.words.join("; "))
        });
        let because = format!(
            "it was revoked {} because {} was changed{how}",
            ago(*at, now),
            source.id
        );
        return Some(("grant.void", none_is_valid(&agent.id, id, &because)));
    }
    let because = format!("it was revoked, or {} was changed", source.id);
    let is_barred = agent.tombstones.contains(id);
    is_barred.then(|| ("grant.revoked", none_is_valid(&agent.id, id, &because)))
}

fn none_is_valid(agent: &AgentId, id: &CapabilityId, because: &str) -> String {
    format!("No grant of {id} to {agent} is valid: {because}.")
}

#[cfg(test)]
mod tests;
