//! What became of an asynchronous call (wire §4.10). Missing, unknown and foreign runs are one answer.

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
    AgentId, ErrorBody, ErrorCode, SESSION_HEADER, Timestamp,
    body::{InvokeResponse, Run},
};
use serde::Serialize;
use std::{sync::Arc, time::Duration};

/// Longest wait that is granted, in seconds.
const LONGEST: u64 = 60;

pub(super) async fn show(
    State(edge): State<Arc<Edge>>,
    request: Request,
) -> Result<Response, Refused> {
    let no_such_run = || {
        Refused::new(
            ErrorBody::new(ErrorCode::SessionExpired, "No such run of yours.")
                .next("open a session: POST /link/handshake"),
        )
        .status(403)
    };
    let owner = authenticate::is_owner(&edge, request.headers());
    let headers = request.headers().clone();
    let whose = |run: &OneRun| Some((run.agent.clone(), run.epoch));
    // Who asks comes first: for nobody nothing is looked for.
    let who = asking(&edge, &headers);
    if !owner && who.is_none() {
        return Err(no_such_run());
    }
    let id = reply::query(&request, "runId").unwrap_or_default();
    let run = edge
        .runs
        .get(&id, edge.clock.now())
        .filter(|run| owner || who == whose(run));
    let run = run.ok_or_else(no_such_run)?;
    if let Some(text) = reply::query(&request, "wait") {
        let wait = text
            .parse::<u64>()
            .map_err(|_| Refused::malformed("`wait` is a number of seconds"))?
            .min(LONGEST);
        let finished = tokio::time::timeout(Duration::from_secs(wait), run.finished());
        tokio::select! {
            _ = finished => {}
            () = edge.ending() => {}
        }
        // What opened the door before the wait must still open it.
        if !owner && asking(&edge, &headers) != whose(&run) {
            return Err(no_such_run());
        }
    }
    let place = match !owner && run.is_over() {
        true => Some(edge.place(&run.agent).map_err(|e| Refused::new(*e))?),
        false => None,
    };
    let answer = if owner {
        run.result()
    } else {
        run.given(&edge)
    };
    let (finished_at, result) = answer.unzip();
    let shown = Shown {
        handle: run.handle(&edge.address.base(), edge.clock.now()),
        id: &run.capability,
        finished_at,
        result,
    };
    Ok(reply::leaving(&shown, place))
}

/// The body: an output in it leaves as the worker's own bytes.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Shown<'a> {
    #[serde(flatten)]
    handle: Run,
    id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    finished_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    result: Option<InvokeResponse>,
}

/// The agent that asks, and its epoch: by a token (5 min grace, not revoked) or by any live session.
fn asking(edge: &Edge, headers: &HeaderMap) -> Option<(AgentId, u64)> {
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
        assert!(serde_json::to_value(&result).is_err());
        let shown = Shown {
            handle: Run {
                run_id: RunId::fresh(),
                status: "succeeded".into(),
                status_url: String::new(),
                started_at: Timestamp(1),
                expires_at: Timestamp(2),
            },
            id: "notes.read",
            finished_at: Some(Timestamp(2)),
            result: Some(result),
        };
        let body = serde_json::to_string(&shown).expect("it serialises");
        assert!(body.contains(output), "{body}");
        assert!(body.contains(r#""runId":"run_"#), "{body}");
    }
}
