//! Asking for grants, and the list of what stands (docs/protocol/agents.md#ask-for-grants).

use super::super::grant_reply;
use crate::{
    authenticate::{self, InSession},
    edge::Edge,
    guard::single,
    reply::{self, Refused, ok},
};
use axum::{
    extract::{Request, State},
    response::Response,
};
use bytes::Bytes;
use plexus_calls::{
    approvals::planner::{self, permits_as_written},
    call::{Asked, Caller, CallerProof},
    denial::{self, RefusedCall},
    finish::to_its_end,
    misfit::misfit,
    refusal,
};
use plexus_ledger::{Lane, SubmitError};
use plexus_protocol::{
    AgentId, CapabilityId, Constraint, Digest, ErrorBody, ErrorCode, NextKind, PendingId,
    SESSION_HEADER, SessionId, Timestamp, TokenId, TrustWindow, Verbs, body::ScopedToken,
    json as strict,
};
use plexus_sources::{
    catalogue::{self, Catalogue},
    narration::clean,
};
use plexus_trust::{
    Command, Entry, Extent, OnApproval, Refusal, Reply, RequestGrants, State as TrustState,
    standing_for, visible,
};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::{collections::BTreeMap, sync::Arc};

fn bad(why: impl Into<String>) -> Refused {
    Refused::bad(ErrorCode::SchemaValidationFailed, why)
}

pub(super) async fn list(
    State(edge): State<Arc<Edge>>,
    request: Request,
) -> Result<Response, Refused> {
    let session = authenticate::session(&edge, request.headers())?;
    let state = edge.ledger.snapshot();
    let agent = session.agent.as_ref().and_then(|a| state.agent(a));
    let grants = agent
        .map(|a| grant_reply::standing(&edge, &state, a))
        .unwrap_or_default();
    let waiting = agent.map(|agent| grant_reply::waiting(&edge, agent));
    let waiting = waiting.unwrap_or_default();
    let running = agent.map(|agent| edge.runs.under_way(&agent.id, agent.epoch));
    let running = running.unwrap_or_default();
    Ok(ok(
        &json!({"grants": grants, "waiting": waiting, "running": running}),
    ))
}

/// Bundles do not exist in this version: their contexts are as unknown as any other.
pub(super) async fn context(
    State(edge): State<Arc<Edge>>,
    request: Request,
) -> Result<Response, Refused> {
    authenticate::session(&edge, request.headers())?;
    if reply::query(&request, "bundle").is_none_or(|b| b.is_empty()) {
        return Err(Refused::malformed(
            "the query parameter `bundle` is missing",
        ));
    }
    Err(Refused::new(
        ErrorBody::new(ErrorCode::UnknownCapability, "No such bundle.")
            .then(NextKind::LookUp, "GET /manifest"),
    ))
}

/// An agent withdraws its own item.
pub(super) async fn cancel(
    State(edge): State<Arc<Edge>>,
    request: Request,
) -> Result<Response, Refused> {
    let session = authenticate::session(&edge, request.headers())?;
    let body = reply::object_body(request).await?;
    let item = body
        .get("pendingId")
        .and_then(Value::as_str)
        .and_then(|p| PendingId::parse(p).ok());
    let item = item.ok_or_else(|| Refused::malformed("`pendingId` must be a pending id"))?;
    let agent = session.agent.ok_or(Refusal::NoSuchItem)?;
    // Not held to any bound: there is no more to withdraw than was asked for within them.
    edge.withdraw(&agent, &item)
        .await
        .map_err(|error| match error {
            // The owner's words for it name the owner's command.
            SubmitError::Refused(Refusal::NoSuchItem) => {
                let why = "No request of yours with this id waits for a decision.";
                let error = ErrorBody::new(ErrorCode::UnknownCapability, why);
                Refused::new(error.next("go on: there is nothing left to withdraw"))
            }
            other => other.into(),
        })?;
    Ok(ok(
        &json!({"ok": true, "pendingId": item, "state": "expired"}),
    ))
}

/// One parsed request.
struct GrantRequest {
    entries: Vec<Entry>,
    inputs: BTreeMap<CapabilityId, Bytes>,
    purpose: Option<String>,
    on_approval: OnApproval,
}

pub(super) async fn request(
    State(edge): State<Arc<Edge>>,
    request: Request,
) -> Result<Response, Refused> {
    let header = single(request.headers(), SESSION_HEADER).map(str::to_owned);
    let has_header = request.headers().contains_key(SESSION_HEADER);
    // Shape before session (docs/protocol/agents.md#ask-for-grants).
    let Some(bytes) = crate::body::body_of(&edge, request).await? else {
        return Err(authenticate::no_session(if has_header {
            "unknown session, or it is over"
        } else {
            "so large a body needs its session in the header"
        }));
    };
    let parsed = reply::parsed_wide(&bytes, ErrorCode::SchemaValidationFailed)?;
    drop(bytes);
    let body = parsed
        .as_object()
        .ok_or_else(|| bad("the body must be an object"))?;
    let grants = body
        .get("grants")
        .and_then(Value::as_object)
        .ok_or_else(|| bad("`grants` must be an object"))?;
    if grants.is_empty() {
        return Err(bad("`grants` is empty: name at least one capability"));
    }
    let named = if has_header {
        header
    } else {
        body.get("sessionId")
            .and_then(Value::as_str)
            .map(str::to_owned)
    };
    let session = named
        .as_deref()
        .and_then(|s| authenticate::live_session(&edge, s));
    let session =
        session.ok_or_else(|| authenticate::no_session("unknown session, or it is over"))?;
    if let Some(agent) = &session.agent {
        edge.admit(agent)?;
    }
    if body.get("bundle").is_some_and(|b| !b.is_null()) {
        return Err(bad(
            "this gateway has no bundles: ask for the capabilities themselves",
        ));
    }
    let in_view = InView {
        catalogue: &edge.catalogue.load(),
        state: &edge.ledger.snapshot(),
        agent: session.agent.as_ref(),
        now: edge.clock.now(),
    };
    let wanted = read(&in_view, body, grants)?;
    not_paused(&edge, &session, &wanted).await?;
    if let Some(agent) = &session.agent {
        fit(&edge, agent, &session.id, &wanted).await?;
    }
    if session.agent.is_none() {
        all_known(&edge, &wanted)?;
    }
    drop(parsed);
    to_its_end(async move { decide(&edge, session, wanted).await }).await
}

/// What the caller may know of: an agent what it sees, the owner's nameless session all that there is.
struct InView<'a> {
    catalogue: &'a Catalogue,
    state: &'a TrustState,
    agent: Option<&'a AgentId>,
    now: Timestamp,
}

impl InView<'_> {
    fn get(&self, id: &CapabilityId) -> Option<&Arc<catalogue::Entry>> {
        let sees = |agent: &AgentId| {
            let agent = self.state.agent(agent);
            agent.is_some_and(|agent| visible(self.state, agent, id, self.now))
        };
        let found = self.catalogue.get(id)?;
        self.agent.is_none_or(sees).then_some(found)
    }

    /// Whether the agent's grant would refuse this call, as it is written. Not where what `asked` narrows would refuse it too.
    fn lies_outside(
        &self,
        found: &catalogue::Entry,
        asked: Option<&Constraint>,
        input: &Value,
    ) -> bool {
        let agent = self.agent.and_then(|agent| self.state.agent(agent));
        let held = agent.and_then(|agent| standing_for(self.state, agent, &found.id, self.now));
        let refuses = |limits: &Constraint| permits_as_written(found, limits, input).is_err();
        held.and_then(|held| held.constraint.as_ref())
            .is_some_and(refuses)
            && !asked.is_some_and(refuses)
    }
}

fn read(
    in_view: &InView<'_>,
    body: &Map<String, Value>,
    grants: &Map<String, Value>,
) -> Result<GrantRequest, Refused> {
    let on_approval = match body.get("onApproval") {
        None | Some(Value::Null) => OnApproval::Wait,
        Some(Value::String(word)) if word == "run" => OnApproval::Run,
        Some(Value::String(word)) if word == "wait" => OnApproval::Wait,
        Some(other) => {
            return Err(bad(format!(
                "`onApproval` is \"run\" or \"wait\", not {other}"
            )));
        }
    };
    let intents = match body.get("intents") {
        None | Some(Value::Null) => Map::new(),
        Some(Value::Object(intents)) => intents.clone(),
        Some(_) => return Err(bad("`intents` must be an object")),
    };
    if let Some(stray) = intents.keys().find(|id| !grants.contains_key(*id)) {
        return Err(bad(format!(
            "`intents` names {stray}, which `grants` does not"
        )));
    }
    let mut wanted = GrantRequest {
        entries: Vec::new(),
        inputs: BTreeMap::new(),
        purpose: None,
        on_approval,
    };
    for (id, decision) in grants {
        let decision = GrantDecision::read(id, decision).map_err(bad)?;
        wanted.purpose = wanted
            .purpose
            .or_else(|| clean(decision.purpose.as_deref()?));
        let mut entry = Entry {
            wanted: decision.is_allow,
            verbs: decision.verbs,
            wish: decision.trust_window,
            constraint: decision.constraint,
            ..Entry::of(id)
        };
        let known = CapabilityId::parse(id).ok();
        let found = known.as_ref().and_then(|id| in_view.get(id));
        if let Some(found) = found.filter(|found| found.capability().is_workflow()) {
            (entry.turns, entry.children) = found.turns(&Value::Null);
        }
        if let Some(intent) = intents.get(id) {
            let Value::Object(intent) = intent else {
                return Err(bad(format!("{id}: its intent must be an object")));
            };
            let input = intent.get("input").cloned().unwrap_or_else(|| json!({}));
            if !input.is_object() {
                return Err(bad(format!(
                    "{id}: the input of its intent must be an object"
                )));
            }
            // What the agent may not know of is declined below, alike whether or not it is there: nobody looks at its input.
            if let (Some(found), Some(known)) = (found, known.clone()) {
                found
                    .check(&input)
                    .map_err(|why| bad(format!("{id}: {why}")))?;
                (entry.turns, entry.children) = found.turns(&input);
                let canonical = Bytes::from(strict::canonical(&input));
                entry.beyond_grant = in_view.lies_outside(found, entry.constraint.as_ref(), &input);
                entry.input = Some((Digest::of(&canonical), canonical.len() as u64));
                wanted.inputs.insert(known, canonical);
            }
        }
        wanted.entries.push(entry);
    }
    Ok(wanted)
}

/// Refuses a request with an input that no approval could carry out. It is a call of the agent's meanwhile: where there is
/// no room for one, the owner is asked.
async fn fit(
    edge: &Arc<Edge>,
    agent: &AgentId,
    session: &SessionId,
    wanted: &GrantRequest,
) -> Result<(), Refused> {
    let Ok(_slot) = edge.place(agent) else {
        return Ok(());
    };
    for (id, canonical) in &wanted.inputs {
        let entry = edge.catalogue.load().get(id).cloned();
        let (Some(entry), Ok(input)) = (entry, strict::parse(canonical)) else {
            continue;
        };
        let mut asked = wanted.entries.iter();
        let is_outside = asked.any(|one| one.id == id.as_str() && one.beyond_grant);
        let of = (&*entry, &input);
        let told = misfit(&edge.kernel, agent, of, canonical.clone(), is_outside).await;
        if let Some(error) = told {
            let caller = Caller {
                agent: agent.clone(),
                by: CallerProof::Session(session.clone()),
            };
            let call = RefusedCall::from((&caller, id.as_str())).with(&input);
            denial::refuse(&edge.kernel, call, error.clone()).await;
            let refused = Refused::new(error);
            return Err(match refused.code() {
                ErrorCode::SchemaValidationFailed => refused.status(400),
                _ => refused,
            });
        }
    }
    Ok(())
}

/// Refuses a request while all agents are paused. Each thing that it asks for is recorded, as a refused call of it is.
async fn not_paused(
    edge: &Arc<Edge>,
    session: &InSession,
    wanted: &GrantRequest,
) -> Result<(), Refused> {
    let paused = edge.revocations.paused(&edge.ledger.snapshot());
    let Some(agent) = session.agent.clone().filter(|_| paused) else {
        return Ok(());
    };
    let by = CallerProof::Session(session.id.clone());
    let caller = Caller { agent, by };
    for entry in wanted.entries.iter().filter(|entry| entry.wanted) {
        let input = wanted
            .inputs
            .iter()
            .find(|(id, _)| id.as_str() == entry.id)
            .and_then(|(_, canonical)| strict::parse(canonical).ok());
        let call = RefusedCall::from((&caller, entry.id.as_str()));
        let call = match &input {
            Some(input) => call.with(input),
            None => call,
        };
        let error = refusal::refused(&Refusal::Paused, None);
        denial::refuse(&edge.kernel, call, error).await;
    }
    Err(Refusal::Paused.into())
}

/// What one entry of `grants` says (docs/protocol/agents.md#ask-for-grants): a word, or an object with one.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GrantDecision {
    #[serde(default)]
    decision: String,
    /// Whether it says `allow`, and not `deny`.
    #[serde(skip)]
    pub is_allow: bool,
    /// With which verbs.
    pub verbs: Option<Verbs>,
    /// For how long.
    pub trust_window: Option<TrustWindow>,
    /// How it is narrowed.
    pub constraint: Option<Constraint>,
    /// The asker's words.
    pub purpose: Option<String>,
}

impl GrantDecision {
    /// Reads that of the capability `id`.
    ///
    /// # Errors
    /// What it should be, in words.
    pub fn read(id: &str, value: &Value) -> Result<Self, String> {
        let mut read = match value {
            Value::String(word) => Self {
                decision: word.clone(),
                ..Self::default()
            },
            value => strict::read_value::<Self>(value.clone()).map_err(|e| format!("{id}: {e}"))?,
        };
        read.is_allow = match read.decision.as_str() {
            "allow" => true,
            "deny" => false,
            other => {
                return Err(format!(
                    "{id}: a decision is \"allow\" or \"deny\", not {other:?}"
                ));
            }
        };
        Ok(read)
    }
}

/// The owner's nameless session is told which ids do not exist; an agent never is.
fn all_known(edge: &Edge, wanted: &GrantRequest) -> Result<(), Refused> {
    let catalogue = edge.catalogue.load();
    let known = |id: &str| CapabilityId::parse(id).is_ok_and(|id| catalogue.get(&id).is_some());
    let unknown: Vec<&str> = wanted
        .entries
        .iter()
        .map(|e| e.id.as_str())
        .filter(|id| !known(id))
        .collect();
    if unknown.is_empty() {
        return Ok(());
    }
    let error = ErrorBody::new(
        ErrorCode::SchemaValidationFailed,
        format!(
            "unknown capability id(s): {}: list what there is",
            unknown.join(", ")
        ),
    );
    Err(Refused::new(
        error
            .detail(json!({ "unknownCapabilities": unknown }))
            .then(NextKind::LookUp, "GET /manifest"),
    )
    .status(400))
}

/// A request that is not of its form has another status here than on `/invoke` (docs/protocol/errors.md).
fn refused(error: SubmitError<Refusal>) -> Refused {
    let refused = Refused::from(error);
    match refused.code() {
        ErrorCode::SchemaValidationFailed => refused.status(400),
        _ => refused,
    }
}

async fn decide(
    edge: &Arc<Edge>,
    session: InSession,
    wanted: GrantRequest,
) -> Result<Response, Refused> {
    let item = PendingId::fresh();
    let token = TokenId::fresh();
    let command = Command::Request(RequestGrants {
        agent: session.agent.clone(),
        session: session.id.clone(),
        entries: wanted.entries,
        purpose: wanted.purpose,
        on_approval: wanted.on_approval,
        extent: Extent::Anything,
        token: token.clone(),
        item: item.clone(),
    });
    let reply = match edge.foresee(&command).map_err(refused)? {
        Some(reply) => {
            if let Reply::Decided(decision) = &reply
                && let Some(waiting) = &decision.item
            {
                let inputs: Vec<_> = wanted.inputs.iter().collect();
                edge.kernel
                    .keep_lost_inputs(waiting, session.agent.as_ref(), &inputs)
                    .await
                    .map_err(refused)?;
            }
            reply
        }
        None => {
            for (id, input) in &wanted.inputs {
                edge.keep_input(&item, session.agent.as_ref(), id, input)
                    .await
                    .map_err(refused)?;
            }
            let receipt = match &session.agent {
                Some(agent) => edge.submit_for(agent, command).await,
                None => edge.ledger.submit(command, Lane::Agent).await,
            };
            let receipt = receipt.inspect_err(|_| edge.approvals.drop_input(&item));
            receipt.map_err(refused)?.reply
        }
    };
    let Reply::Decided(decision) = reply else {
        return Err(Refused::failed(
            "a request was answered with something else",
        ));
    };
    if decision.item.as_ref() == Some(&item) {
        planner::start(&edge.kernel, &item);
    } else {
        edge.approvals.drop_input(&item);
    }
    Ok(ok(&grant_reply::decided(
        edge,
        session.agent.as_ref(),
        &session.id,
        &token,
        &decision,
    )?))
}

/// Mints the token that a call with a session alone is answered with, where it was allowed by a standing grant. If that
/// grant has ended with this call there is none to give, and the owner is asked for nothing.
pub(crate) async fn token_for(edge: &Arc<Edge>, asked: &Asked) -> Option<ScopedToken> {
    let session = asked.caller.by.session()?.clone();
    let entries = vec![Entry::of(asked.id().as_str())];
    token(edge, &asked.caller.agent, &session, entries).await
}

/// A token for what stands already of `entries`; none where that is nothing.
pub(super) async fn token(
    edge: &Arc<Edge>,
    agent: &AgentId,
    session: &SessionId,
    entries: Vec<Entry>,
) -> Option<ScopedToken> {
    let jti = TokenId::fresh();
    let command = RequestGrants::token(
        agent.clone(),
        session.clone(),
        jti.clone(),
        entries,
        Extent::Token,
    );
    let Reply::Decided(decision) = edge.submit_for(agent, command).await.ok()?.reply else {
        return None;
    };
    if decision.scopes.is_empty() {
        return None;
    }
    grant_reply::scoped_token(edge, agent, session, &jti, &decision)
}

#[cfg(test)]
mod oracles;
