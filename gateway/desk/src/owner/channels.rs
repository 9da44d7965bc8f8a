//! Conversations of people and agents, as the owner takes part in them (ours).
//!
//! What is in a channel is its source's to say: the gateway keeps nothing of it. A read of the owner's leaves no event; an
//! act is planned and committed at once, and is in the audit log as the owner's.

use super::{Acting, body::Fields, of_source};
use crate::{
    acts::{Named, worker_refused},
    desk::Desk,
};
use axum::{
    extract::{Path, Request, State},
    response::Response,
};
use plexus_calls::own::{self, OwnerCapability, Talk, Upkeep};
use plexus_edge::reply::{self, Refused, ok};
use plexus_protocol::{ErrorBody, ErrorCode, SourceId};
use plexus_trust::Source;
use serde_json::{Value, json};
use std::sync::Arc;

/// `{channels: [{source, id, peer, …}], more, you: [{source, id, name, peer, unsent, …}], away: [{source, why}]}` of all sources that
/// have channels; `peer` where the source speaks there by itself, and the owner does not.
pub(super) async fn list(State(desk): State<Arc<Desk>>) -> Result<Response, Refused> {
    let (mut channels, mut you, mut away) = (Vec::new(), Vec::new(), Vec::new());
    let mut more = 0;
    for (source, peer) in sources(&desk) {
        match own::ask::<Value>(&desk, &source, Upkeep::Channels(Talk::List), &json!({})).await {
            Ok(answer) => {
                more += answer["more"].as_u64().unwrap_or_default();
                let seen_there = |item: &Value| {
                    let mut item: Value = of_source(item, &source).ok()?;
                    item["peer"] = json!(peer);
                    Some(item)
                };
                you.extend(seen_there(&answer["you"]).map(|mut you| {
                    you["unsent"] = answer["unsent"].clone();
                    you
                }));
                let all = answer["channels"].as_array().into_iter().flatten();
                channels.extend(all.filter_map(seen_there));
            }
            Err(error) => away.push(json!({"source": source, "why": error.message})),
        }
    }
    Ok(ok(
        &json!({"channels": channels, "more": more, "you": you, "away": away}),
    ))
}

/// Who can be in a channel of this source, a page of them: `?after=` reads on from a user.
pub(super) async fn people(
    State(desk): State<Arc<Desk>>,
    Named(source): Named,
    request: Request,
) -> Result<Response, Refused> {
    let input = match reply::query(&request, "after") {
        Some(after) => json!({ "after": after }),
        None => json!({}),
    };
    drop(request);
    shown(&desk, &source, Talk::Members, &input).await
}

/// The messages of this source that were kept and refused later.
pub(super) async fn unsent(
    State(desk): State<Arc<Desk>>,
    Named(source): Named,
) -> Result<Response, Refused> {
    shown(&desk, &source, Talk::Unsent, &json!({})).await
}

pub(super) async fn forget(
    State(desk): State<Arc<Desk>>,
    acting: Acting,
    Path((source, message)): Path<(String, String)>,
) -> Result<Response, Refused> {
    let input = json!({ "message": message });
    done(&desk, acting, &source, Talk::Forget, input).await
}

/// `{name}`.
pub(super) async fn rename(
    State(desk): State<Arc<Desk>>,
    acting: Acting,
    Path((source, channel)): Path<(String, String)>,
    request: Request,
) -> Result<Response, Refused> {
    let body = Fields::read(request).await?;
    let name = body.needed_text("name")?;
    let input = json!({"channel": channel, "name": name});
    done(&desk, acting, &source, Talk::Rename, input).await
}

pub(super) async fn members(
    State(desk): State<Arc<Desk>>,
    Path((source, channel)): Path<(String, String)>,
) -> Result<Response, Refused> {
    shown(&desk, &source, Talk::Members, &json!({"channel": channel})).await
}

/// `?after=` reads on from a message, `?before=` those that came before one, `?limit=` at most so many.
pub(super) async fn messages(
    State(desk): State<Arc<Desk>>,
    Path((source, channel)): Path<(String, String)>,
    request: Request,
) -> Result<Response, Refused> {
    let mut input = json!({"channel": channel});
    for cursor in ["after", "before"] {
        if let Some(id) = reply::query(&request, cursor) {
            input[cursor] = id.into();
        }
    }
    if let Some(limit) = reply::query(&request, "limit") {
        let limit: Result<u32, _> = limit.parse();
        let limit = limit.map_err(|_| Refused::malformed("`limit` is a number"))?;
        input["limit"] = limit.into();
    }
    drop(request);
    shown(&desk, &source, Talk::Read, &input).await
}

/// `{text}`.
pub(super) async fn say(
    State(desk): State<Arc<Desk>>,
    acting: Acting,
    Path((source, channel)): Path<(String, String)>,
    request: Request,
) -> Result<Response, Refused> {
    let body = Fields::read(request).await?;
    let text = body.needed_text("text")?;
    let input = json!({"channel": channel, "text": text});
    done(&desk, acting, &source, Talk::Send, input).await
}

/// `{name, members}`.
pub(super) async fn create(
    State(desk): State<Arc<Desk>>,
    acting: Acting,
    Named(source): Named,
    request: Request,
) -> Result<Response, Refused> {
    let body = Fields::read(request).await?;
    let name = body.needed_text("name")?;
    let members: Vec<String> = body.typed("members")?.unwrap_or_default();
    let input = json!({"name": name, "members": members});
    done(&desk, acting, &source, Talk::Create, input).await
}

/// `{user}`.
pub(super) async fn add(
    State(desk): State<Arc<Desk>>,
    acting: Acting,
    Path((source, channel)): Path<(String, String)>,
    request: Request,
) -> Result<Response, Refused> {
    let body = Fields::read(request).await?;
    let user = body.needed_text("user")?;
    let input = json!({"channel": channel, "user": user});
    done(&desk, acting, &source, Talk::Add, input).await
}

pub(super) async fn remove(
    State(desk): State<Arc<Desk>>,
    acting: Acting,
    Path((source, channel, user)): Path<(String, String, String)>,
) -> Result<Response, Refused> {
    let input = json!({"channel": channel, "user": user});
    done(&desk, acting, &source, Talk::Remove, input).await
}

/// `{archived}`.
pub(super) async fn archive(
    State(desk): State<Arc<Desk>>,
    acting: Acting,
    Path((source, channel)): Path<(String, String)>,
    request: Request,
) -> Result<Response, Refused> {
    let archived: Option<bool> = Fields::read(request).await?.typed("archived")?;
    let archived = archived.ok_or_else(|| Refused::malformed("`archived` is required"))?;
    let input = json!({"channel": channel, "archived": archived});
    done(&desk, acting, &source, Talk::Archive, input).await
}

pub(super) async fn leave(
    State(desk): State<Arc<Desk>>,
    acting: Acting,
    Path((source, channel)): Path<(String, String)>,
) -> Result<Response, Refused> {
    let input = json!({"channel": channel});
    done(&desk, acting, &source, Talk::Leave, input).await
}

pub(super) async fn rotate(
    State(desk): State<Arc<Desk>>,
    acting: Acting,
    Path((source, channel)): Path<(String, String)>,
) -> Result<Response, Refused> {
    let input = json!({"channel": channel});
    done(&desk, acting, &source, Talk::Rotate, input).await
}

/// The enabled sources that have channels, each with whether it speaks there by itself.
fn sources(desk: &Desk) -> Vec<(SourceId, bool)> {
    let state = desk.ledger.snapshot();
    let enabled = state.sources.values().filter(|it| it.config.enabled);
    let with_channels = enabled.filter_map(|it| Some((it.id.clone(), is_peer(desk, it)?)));
    with_channels.collect()
}

/// Whether a source speaks in its channels by itself; nothing where it has none.
fn is_peer(desk: &Desk, source: &Source) -> Option<bool> {
    let connector = desk.registry.of_source(&source.config)?;
    let channels = connector.offer.manifest.channels.as_ref()?;
    Some(channels.send.is_none())
}

async fn shown(desk: &Desk, source: &str, talk: Talk, input: &Value) -> Result<Response, Refused> {
    let source = parsed(source)?;
    let answer = own::ask(desk, &source, Upkeep::Channels(talk), input).await;
    let mut answer: Value = answer.map_err(|error| refused(error, &source))?;
    answer["source"] = json!(source);
    let state = desk.ledger.snapshot();
    let known = state.sources.get(&source);
    if known.and_then(|known| is_peer(desk, known)) == Some(true) {
        name_peer(&mut answer);
    }
    Ok(ok(&answer))
}

/// What a peer calls `you` is not the owner.
fn name_peer(answer: &mut Value) {
    for list in ["members", "messages"] {
        let entries = answer.get_mut(list).and_then(Value::as_array_mut);
        for entry in entries.into_iter().flatten() {
            let user = match list {
                "messages" => &mut entry["sender"],
                _ => entry,
            };
            if user["you"] == true {
                (user["you"], user["peer"]) = (json!(false), json!(true));
            }
        }
    }
}

/// Plans an act and commits that very plan.
async fn done(
    desk: &Arc<Desk>,
    _: Acting,
    source: &str,
    talk: Talk,
    input: Value,
) -> Result<Response, Refused> {
    let source = parsed(source)?;
    let capability = OwnerCapability::open(desk, &source, Upkeep::Channels(talk)).await;
    let capability = capability.map_err(|error| Refused::new(*error))?;
    let refused = |error| refused(error, &source);
    let plan = own::plan(desk, &capability, &input)
        .await
        .map_err(refused)?;
    let done = own::commit(&desk.edge.kernel, &capability, input, plan.state_token).await;
    let done = done.map_err(refused)?;
    Ok(ok(&json!({
        "ok": true,
        "source": source,
        "auditId": done.audit,
        "summary": done.summary,
        "output": done.output,
    })))
}

fn parsed(source: &str) -> Result<SourceId, Refused> {
    SourceId::parse(source).map_err(|_| Refused::malformed("that is no id of a source"))
}

/// What a worker says, with the owner's next step.
fn refused(error: ErrorBody, source: &SourceId) -> Refused {
    let reason = error.detail.as_ref().and_then(|d| d.get("reason"));
    let next = match (&error.code, reason.and_then(Value::as_str)) {
        (ErrorCode::OutcomeUnknown, _) => "plexusctl unknown".to_owned(),
        (_, Some("not_found")) => "plexusctl channels list".to_owned(),
        _ => format!("plexusctl sources test {source}"),
    };
    worker_refused(error, next)
}
