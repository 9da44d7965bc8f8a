//! `POST /invoke/input {runId, messageId, text}`: a further message of a conversation
//! (docs/protocol/agents.md#conversations). Missing, unknown and foreign conversations are one answer.

use super::run_status::{asking, no_such_run, not_yours};
use crate::{
    authenticate::bearer,
    edge::Edge,
    reply::{self, Refused, ok},
};
use axum::{
    extract::{Request, State},
    response::Response,
};
use plexus_calls::conversation::{self, Message};
use plexus_protocol::{ErrorBody, ErrorCode, NextKind, RunId};
use serde_json::{Value, json};
use std::sync::Arc;

/// Longest `messageId`, in bytes.
const ID_BYTES: usize = 200;

pub(super) async fn say(
    State(edge): State<Arc<Edge>>,
    request: Request,
) -> Result<Response, Refused> {
    // Who asks comes first: for nobody nothing is read. A token looks at runs after its end, and whatever its scopes are:
    // a message makes a turn, so it takes a session.
    let by_session = bearer(request.headers()).is_none();
    let asked = by_session
        .then(|| asking(&edge, request.headers()))
        .flatten();
    let (agent, epoch) = asked.ok_or_else(no_such_run)?;
    edge.admit(&agent)?;
    if edge.is_stopping() {
        let error = ErrorBody::new(ErrorCode::Busy, "The gateway is stopping.");
        let error = error.with("retryAfterMs", 2_000);
        return Err(Refused::new(error.then(
            NextKind::Retry,
            "send the same message when the gateway is back",
        )));
    }
    let body = reply::object_body(request).await?;
    let text_of = |name: &str| body.get(name).and_then(Value::as_str);
    let run = text_of("runId").and_then(|run| RunId::parse(run).ok());
    let run = run.ok_or_else(|| {
        Refused::malformed("`runId` must be the runId of a conversation, as an answer names it")
    })?;
    let id = text_of("messageId").filter(|id| (1..=ID_BYTES).contains(&id.len()));
    let id = id.ok_or_else(|| {
        Refused::malformed(format!(
            "`messageId` must be a string of 1 to {ID_BYTES} bytes"
        ))
    })?;
    let text = text_of("text").filter(|text| !text.is_empty());
    let text = text.ok_or_else(|| Refused::malformed("`text` must be a string, and not empty"))?;
    let message = Message {
        agent: &agent,
        epoch,
        conversation: &run,
        id,
        text,
    };
    let said = Box::pin(conversation::say(&edge.kernel, &message)).await;
    let turn = said
        .ok_or_else(no_such_conversation)?
        .map_err(|e| Refused::new(*e))?;
    Ok(ok(&json!({
        "ok": true,
        "turn": turn.turn,
        "turnsLeft": turn.turns_left,
        "run": turn.run,
    })))
}

/// Of an agent that is known. Its own run that is no conversation may be there all the same.
fn no_such_conversation() -> Refused {
    let why = "No such conversation of yours. A single run takes no further message: call its capability again, with its \
               thread where it takes one.";
    not_yours(why)
}
