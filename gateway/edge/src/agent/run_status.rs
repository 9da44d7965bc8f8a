//! Progress, result and cancelling of an asynchronous call (docs/protocol/agents.md#follow-a-run). Missing, unknown and
//! foreign runs are one answer.

use crate::{
    authenticate::{self, bearer},
    edge::Edge,
    guard::single,
    reply::{self, Refused},
};
use axum::{
    extract::{Request, State},
    http::HeaderMap,
    response::Response,
};
use plexus_calls::runs::OneRun;
use plexus_protocol::{
    AgentId, ErrorBody, ErrorCode, NextKind, SESSION_HEADER, Timestamp,
    body::{InvokeResponse, Progress, Run},
};
use serde::Serialize;
use serde_json::{Value, json};
use std::{sync::Arc, time::Duration};

/// Longest wait that is granted, in seconds.
const LONGEST: u64 = 60;

pub(super) async fn show(
    State(edge): State<Arc<Edge>>,
    request: Request,
) -> Result<Response, Refused> {
    let headers = request.headers().clone();
    let id = reply::query(&request, "runId").unwrap_or_default();
    let (run, mut asker) = run_of(&edge, &headers, &id).await?;
    let after = number(&request, "after", "`after` is an offset in bytes")?;
    let wait = number(&request, "wait", "`wait` is a number of seconds")?;
    drop(request);
    if let Some(wait) = wait {
        let news = async {
            match after {
                Some(after) => tokio::select! {
                    () = run.finished() => {}
                    () = run.beyond(after) => {}
                },
                None => run.finished().await,
            }
        };
        let news = tokio::time::timeout(Duration::from_secs(wait.min(LONGEST)), news);
        tokio::select! {
            _ = news => {}
            () = edge.ending() => {}
        }
        // The credential of before the wait must still be valid.
        let still = Asker::of(&edge, &headers).filter(|asker| asker.may_see(&run));
        asker = still.ok_or_else(no_such_run)?;
    }
    let owner = matches!(asker, Asker::Owner);
    let place = match !owner && run.is_over() {
        true => Some(edge.place(&run.whose().0).map_err(|e| Refused::new(*e))?),
        false => None,
    };
    // Before the result, which it comes before.
    let progress = after.and_then(|after| run.progress(&edge, after));
    let answer = if owner {
        run.result()
    } else {
        run.given(&edge)
    };
    // An agent that is behind asks again before it gets the result.
    let behind = progress
        .as_ref()
        .is_some_and(|p| run.streams_beyond(p.next));
    let (finished_at, result) = answer.filter(|_| !behind).unzip();
    let mut handle = run.handle(&edge.address.base(), edge.clock.now());
    if behind {
        handle.status = "running".to_owned();
    }
    let shown = RunStatusBody {
        handle,
        id: run.capability(),
        finished_at,
        progress,
        result,
    };
    Ok(reply::leaving(&shown, place))
}

fn number(request: &Request, name: &str, what: &str) -> Result<Option<u64>, Refused> {
    let text = reply::query(request, name);
    let number = text.map(|text| text.parse::<u64>()).transpose();
    number.map_err(|_| Refused::malformed(what))
}

/// `POST /invoke/cancel {runId}`: asks that the run end. What was done by then its result says; of one that is over,
/// nothing changes.
pub(super) async fn cancel(
    State(edge): State<Arc<Edge>>,
    request: Request,
) -> Result<Response, Refused> {
    let headers = request.headers().clone();
    let body = reply::object_body(request).await?;
    let id = body.get("runId").and_then(Value::as_str);
    let id = id.ok_or_else(|| Refused::malformed("`runId` must be the id of a run"))?;
    let (run, _) = run_of(&edge, &headers, id).await?;
    run.cancel();
    let handle = run.handle(&edge.address.base(), edge.clock.now());
    Ok(reply::accepted(&json!({"ok": true, "run": handle})))
}

/// The run, for its agent or the owner. Missing, unknown and foreign ones are one answer.
async fn run_of(
    edge: &Edge,
    headers: &HeaderMap,
    id: &str,
) -> Result<(Arc<OneRun>, Asker), Refused> {
    // Who asks comes first: for nobody nothing is looked for.
    let asker = Asker::of(edge, headers).ok_or_else(no_such_run)?;
    let run = edge.find_run(id).await;
    let run = run.filter(|run| asker.may_see(run));
    Ok((
        run.ok_or_else(|| not_yours("No such run of yours."))?,
        asker,
    ))
}

pub(super) fn no_such_run() -> Refused {
    let error = ErrorBody::new(ErrorCode::SessionExpired, "No such run of yours.");
    Refused::new(error.then(NextKind::Ask, "open a session: POST /link/handshake")).status(403)
}

/// The same to an agent that is known, in words of its own: another session finds the run no better. A run is forgotten when
/// the gateway ends.
pub(super) fn not_yours(why: &str) -> Refused {
    let error = ErrorBody::new(ErrorCode::SessionExpired, why);
    let next = "stop; tell the owner: plexusctl activity";
    Refused::new(error.then(NextKind::Stop, next)).status(403)
}

/// Who asks for a run.
enum Asker {
    Owner,
    /// By id and epoch.
    Agent((AgentId, u64)),
}

impl Asker {
    fn of(edge: &Edge, headers: &HeaderMap) -> Option<Self> {
        if authenticate::is_owner(edge, headers) {
            return Some(Self::Owner);
        }
        asking(edge, headers).map(Self::Agent)
    }

    fn may_see(&self, run: &OneRun) -> bool {
        match self {
            Self::Owner => true,
            Self::Agent(agent) => *agent == run.whose(),
        }
    }
}

/// The body: an output in it leaves as the worker's own bytes.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct RunStatusBody<'a> {
    #[serde(flatten)]
    handle: Run,
    id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    finished_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    progress: Option<Progress>,
    #[serde(skip_serializing_if = "Option::is_none")]
    result: Option<InvokeResponse>,
}

/// The agent that asks, and its epoch: by a token (5 min grace, not revoked) or by any live session.
pub(super) fn asking(edge: &Edge, headers: &HeaderMap) -> Option<(AgentId, u64)> {
    if let Some(text) = bearer(headers) {
        return authenticate::held_token(edge, text);
    }
    let session = single(headers, SESSION_HEADER)?;
    let live = authenticate::live_session(edge, session)?;
    // In one snapshot: a session is of the epoch that its agent is in.
    let state = edge.ledger.snapshot();
    let (agent, _) = state.agent_by_session(&live.id)?;
    Some((agent.id.clone(), agent.epoch))
}

#[cfg(test)]
mod tests {
    use super::*;
    use plexus_protocol::RunId;
    use serde_json::value::RawValue;

    /// Whatever a worker says, by our library's own names too, is passed on and not read.
    #[test]
    fn an_output_leaves_as_it_came() {
        let output = r#"{"$serde_json::private::RawValue":1, "n" : 1.0}"#;
        let mut result = InvokeResponse::ok("notes.read", None);
        result.output = Some(RawValue::from_string(output.into()).expect("JSON"));
        // The control: what reads it on the way cannot.
        let why = serde_json::to_value(&result).unwrap_err().to_string();
        assert!(why.contains("expected"), "{why}");
        let shown = RunStatusBody {
            handle: Run {
                run_id: RunId::fresh(),
                status: "succeeded".into(),
                status_url: String::new(),
                started_at: Timestamp(1),
                expires_at: Timestamp(2),
            },
            id: "notes.read",
            finished_at: Some(Timestamp(2)),
            progress: None,
            result: Some(result),
        };
        let body = serde_json::to_string(&shown).expect("it serialises");
        assert!(body.contains(output), "{body}");
        assert!(body.contains(r#""runId":"run_"#), "{body}");
    }
}
