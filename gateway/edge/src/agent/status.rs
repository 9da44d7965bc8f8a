//! What became of an item (docs/protocol/agents.md#follow-a-request), with `wait=` to be told as soon as there is
//! something to tell.

use super::super::grant_reply;
use crate::{
    authenticate,
    edge::Edge,
    guard::single,
    reply::{self, Refused},
    throttle::Kind,
};
use axum::{
    extract::{Request, State},
    http::{HeaderMap, Method},
    response::Response,
};
use plexus_calls::{
    bounded::{self, Left},
    kernel::Phase,
};
use plexus_protocol::{
    ErrorBody, ErrorCode, KEY_HEADER, NextKind, PendingId, SESSION_HEADER, SessionId,
    body::{InvokeResponse, Run},
};
use plexus_trust::{
    Agent, Approval, EnrollmentStatus, Entry, Item, ItemState, OnApproval, standing_for,
};
use serde::Serialize;
use serde_json::{Value, json};
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use tokio::time::Instant;

/// Longest wait that is granted, in seconds.
const LONGEST: u64 = 60;

pub(super) async fn show(
    State(edge): State<Arc<Edge>>,
    request: Request,
) -> Result<Response, Refused> {
    let Some(id) = reply::query(&request, "pendingId").filter(|id| !id.is_empty()) else {
        return Err(Refused::malformed(
            "the query parameter `pendingId` is missing",
        ));
    };
    let wait = match reply::query(&request, "wait") {
        None => 0,
        Some(text) => text
            .parse::<u64>()
            .map_err(|_| Refused::malformed("`wait` is a number of seconds"))?
            .min(LONGEST),
    };
    let session = single(request.headers(), SESSION_HEADER).map(str::to_owned);
    let peer = authenticate::peer(&request);
    let follows = reply::query(&request, "run").is_some_and(|word| word == "1");
    let known = PendingId::parse(&id).ok();
    let until = Instant::now() + Duration::from_secs(wait);
    let mut changed = edge.approvals.changed();
    loop {
        let owner = authenticate::is_owner(&edge, request.headers());
        let state = edge.ledger.snapshot();
        let item = known.as_ref().and_then(|id| state.item(id)).cloned();
        // Authorization first: who may not know of an item is not told whether it exists (E7).
        let live = session
            .as_deref()
            .and_then(|s| authenticate::live_session(&edge, s));
        let asked = |item: &Item| session.as_deref() == Some(item.session.as_str());
        let mine = item.as_ref().is_some_and(|item| {
            // Another program under the same name has not asked.
            let agent = state
                .agent(&item.agent)
                .filter(|agent| item.is_of(agent) && agent.status != EnrollmentStatus::Revoked);
            // The session that asked need not be live (docs/protocol/agents.md#follow-a-request); its agent must be.
            let speaks = |agent: &Agent| {
                live.as_ref()
                    .is_some_and(|s| agent.sessions.contains_key(&s.id))
            };
            agent.is_some_and(|agent| asked(item) || speaks(agent))
        });
        // After its credential has ended, the session that asked reads how what it asked for ended, and nothing else.
        let unbegun = item
            .as_ref()
            .filter(|item| asked(item) && item.ended_unbegun());
        if let (false, false, Some(item)) = (owner, mine, unbegun) {
            let said = ended(&edge, item);
            return Ok(reply::leaving(&said, None));
        }
        if !owner && !mine {
            let (why, next) = match &live {
                Some(_) => (
                    "No request of yours has this id.".to_owned(),
                    "make the call again that you wanted to wait for",
                ),
                None => (
                    format!(
                        "Only the agent that asked may read this: send its session in {SESSION_HEADER}."
                    ),
                    "open a session: POST /link/handshake",
                ),
            };
            let error = ErrorBody::new(ErrorCode::SessionExpired, why).then(NextKind::Ask, next);
            let refused = match wrong(request.headers(), live.is_some()) {
                Some(kind) => authenticate::failed(&edge, kind, peer, error).await,
                None => Refused::new(error),
            };
            let slowed = refused.code() == ErrorCode::RateLimited;
            return Err(if slowed { refused } else { refused.status(403) });
        }
        let Some(item) = item else {
            let error = ErrorBody::new(ErrorCode::UnknownCapability, "No such pending item.");
            return Err(Refused::new(error.next("plexusctl approvals list")));
        };
        let undecided =
            matches!(item.state, ItemState::Pending) || edge.approvals.is_running(&edge, &item);
        let run = (follows && mine && live.is_some()).then(|| under_way(&edge, &item));
        let run = run.flatten();
        if !undecided || run.is_some() || Instant::now() >= until || edge.phase() != Phase::Serving
        {
            let place = match mine && item.on_approval == OnApproval::Run {
                true => Some(edge.place(&item.agent).map_err(|e| Refused::new(*e))?),
                false => None,
            };
            // A HEAD brings nobody the result.
            let given = *request.method() != Method::HEAD;
            let mut shown = shown(&edge, &item, live.map(|s| s.id), mine, given).await;
            if let Some(run) = run {
                shown.said["run"] = json!(run);
            }
            return Ok(reply::leaving(&shown, place));
        }
        tokio::select! {
            _ = tokio::time::timeout_at(until, changed.changed()) => {}
            () = edge.ending() => {}
        }
    }
}

/// The call that the gateway makes for an approved item, while it is under way.
fn under_way(edge: &Edge, item: &Item) -> Option<Run> {
    let now = edge.clock.now();
    let run = edge.runs.in_memory(item.id.conversation().as_str(), now);
    let run = run.filter(|run| !run.is_over() && edge.approvals.is_running(edge, item))?;
    Some(run.handle(&edge.address.base(), now))
}

/// What was given and does not open what was asked for. No credential is no guess: any page can let a browser ask. A live
/// session with the wrong item is not a wrong session: who asks for an item that is gone slows nobody whose session ended.
fn wrong(headers: &HeaderMap, live: bool) -> Option<Kind> {
    let given = |name| headers.contains_key(name);
    match (given(KEY_HEADER), given(SESSION_HEADER)) {
        (true, _) => Some(Kind::Key),
        (false, true) if live => Some(Kind::Item),
        (false, true) => Some(Kind::Session),
        (false, false) => None,
    }
}

/// The body: outputs in it leave as the workers' own bytes.
#[derive(Default, Serialize)]
struct StatusBody {
    #[serde(flatten)]
    said: Value,
    #[serde(skip_serializing_if = "Option::is_none")]
    result: Option<InvokeResponse>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    results: BTreeMap<String, InvokeResponse>,
}

/// How a request ended.
fn ended(edge: &Edge, item: &Item) -> StatusBody {
    let mut said = json!({
        "pendingId": item.id,
        "state": item.wire_state(edge.clock.now()),
        "expiresAt": item.expires_at,
    });
    if let Some(why) = why_over(item) {
        said["reason"] = json!(why);
    }
    StatusBody {
        said,
        ..StatusBody::default()
    }
}

fn why_over(item: &Item) -> Option<&str> {
    match &item.state {
        ItemState::Denied { reason } => reason.as_deref(),
        ItemState::Void { why } => Some(why.as_str()),
        _ => None,
    }
}

async fn shown(
    edge: &Arc<Edge>,
    item: &Item,
    session: Option<SessionId>,
    mine: bool,
    given: bool,
) -> StatusBody {
    let state = edge.ledger.snapshot();
    let mut shown = StatusBody::default();
    let out = &mut shown.said;
    *out = json!({
        "pendingId": item.id,
        "state": item.wire_state(edge.clock.now()),
        "capabilities": item.asks.iter().map(|a| &a.capability).collect::<Vec<_>>(),
        "pendingNarration": grant_reply::narrate(edge, &state, item),
        "expiresAt": item.expires_at,
    });
    if let Some(proposal) = &item.register {
        out["register"] = json!({"source": proposal.source, "registered": proposal.registered});
    }
    if let Some(why) = why_over(item) {
        out["reason"] = json!(why);
    }
    if !mine || out["state"] != "approved" {
        return shown;
    }
    if let Some(left) = bounded::of_item(edge, item) {
        match left {
            Left::Conversation(left) => out["conversation"] = json!(left),
            Left::Children(left) => out["children"] = json!(left),
        }
    }
    if item.on_approval == OnApproval::Run {
        // Content is for a live session only.
        let results = session
            .is_some()
            .then(|| edge.approvals.results(edge, item, given));
        if let Some(results) = results.flatten() {
            // Of several, a reader of only one learns of the first that was not done.
            let told = results.iter().find(|result| !result.ok);
            shown.result = told.or(results.last()).cloned();
            if results.len() > 1 {
                let by_id = results.into_iter().map(|r| (r.id.clone(), r));
                shown.results = by_id.collect();
            }
        }
        // An approved run is the gateway's to do: there is nothing for a token to open.
        if item.asks.iter().all(|ask| ask.input.is_some()) {
            return shown;
        }
    }
    if let Some(token) = token(edge, item, session.unwrap_or_else(|| item.session.clone())).await {
        shown.said["token"] = token;
    }
    shown
}

async fn token(edge: &Arc<Edge>, item: &Item, session: SessionId) -> Option<Value> {
    let now = edge.clock.now();
    if let Some(token) = edge.approvals.made_token(&item.id, &session, now) {
        return Some(token);
    }
    let state = edge.ledger.snapshot();
    let agent = state.agent(&item.agent)?;
    // Looking at a status asks the owner for nothing: a grant that has ended gives no token.
    let usable = |ask: &&plexus_trust::Ask| match ask.approval {
        Approval::OneCall | Approval::OneCallAnyInput => true,
        Approval::Granted => standing_for(&state, agent, &ask.capability, now)
            .is_some_and(|grant| grant.verbs.covers(ask.verbs)),
        Approval::Open | Approval::Used | Approval::Ended => false,
    };
    let entries: Vec<Entry> = item
        .asks
        .iter()
        .filter(usable)
        .map(|ask| Entry {
            verbs: Some(ask.verbs),
            input: (ask.approval == Approval::OneCall)
                .then_some(ask.input)
                .flatten()
                .map(|digest| (digest, ask.input_bytes)),
            ..Entry::of(ask.capability.as_str())
        })
        .collect();
    if entries.is_empty() {
        return None;
    }
    edge.admit(&item.agent).ok()?;
    let token = super::grants::token(edge, &item.agent, &session, entries).await?;
    let until = token.expires_at;
    let token = serde_json::to_value(token).ok()?;
    let state = edge.ledger.snapshot();
    edge.approvals
        .keep_token(&state, &item.id, &session, until, &token);
    Some(token)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::value::RawValue;

    /// Whatever a worker says, by our library's own names too, is passed on and not read.
    #[test]
    fn outputs_leave_as_they_came() {
        let output = r#"{"$serde_json::private::RawValue":1, "n" : 1.0}"#;
        let mut result = InvokeResponse::ok("notes.write", None);
        result.output = Some(RawValue::from_string(output.into()).expect("JSON"));
        let shown = StatusBody {
            said: json!({"state": "approved"}),
            result: Some(result.clone()),
            results: [("notes.write".to_owned(), result)].into(),
        };
        let body = serde_json::to_string(&shown).expect("it serialises");
        assert_eq!(body.matches(output).count(), 2, "{body}");
        assert!(
            body.starts_with(r#"{"state":"approved","result":{"#),
            "{body}"
        );
    }
}
