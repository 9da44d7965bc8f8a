//! Extensions, as agents have to do with them: the guide, and proposing one (docs/protocol/agents.md#propose-an-extension).
//!
//! Invariants: an agent adds and removes nothing: its proposal waits for the owner; nothing of this machine's files, and of no source
//! that the agent does not see, is in an answer, so a manifest is judged by its own words alone here.

use super::super::grant_reply::status_url;
use crate::{
    authenticate,
    edge::Edge,
    guard::single,
    reply::{self, Refused, ok},
};
use axum::{
    extract::{Path, Request, State},
    http::header::CONTENT_TYPE,
    response::{IntoResponse as _, Response},
};
use plexus_calls::{
    denial,
    proposals::{Proposed, propose},
};
use plexus_home::tasks::blocking;
use plexus_protocol::{
    AgentId, ErrorCode, SESSION_HEADER, SessionId, SourceId, extension_guide, json as strict,
};
use plexus_sources::{
    extensions::{id_taken, manifest::ExtensionManifest},
    labels::NamesRead,
    naming::by_manifest_kind,
    narration::clean,
};
use plexus_trust::{Source, visible};
use serde_json::{Map, Value, json};
use std::{collections::BTreeMap, sync::Arc};

/// The authoring guide.
pub(super) async fn guide() -> Response {
    let kind = [(CONTENT_TYPE, "text/markdown; charset=utf-8")];
    (kind, extension_guide()).into_response()
}

/// `{manifest, folders?, purpose?}`, in a session.
pub(super) async fn register(
    State(edge): State<Arc<Edge>>,
    request: Request,
) -> Result<Response, Refused> {
    let header = single(request.headers(), SESSION_HEADER).map(str::to_owned);
    let Some(bytes) = crate::body::body_of(&edge, request).await? else {
        return Err(authenticate::no_session(
            "so large a body needs its session in the header",
        ));
    };
    let body = reply::members(reply::parsed(&bytes, ErrorCode::InternalError)?)?;
    drop(bytes);
    let named = body.get("sessionId").and_then(Value::as_str);
    let session = header.as_deref().or(named);
    let (agent, session) = in_session(&edge, session)?;
    edge.admit(&agent)?;
    let refused = |why: &str| {
        ok(&json!({
            "ok": false, "source": body.get("manifest").and_then(|m| m["source"].as_str()).unwrap_or_default(),
            "registered": [], "revision": edge.catalogue.load().revision, "reason": why,
        }))
    };
    let (manifest, folders) = match read(&edge, &agent, &body).await? {
        Ok(read) => read,
        Err(reasons) => return Ok(refused(&reasons.join("; "))),
    };
    let source = match SourceId::parse(&manifest.source) {
        Ok(source) => source,
        Err(why) => return Ok(refused(&format!("source is {why}"))),
    };
    let content = json!({"manifest": body.get("manifest"), "folders": folders});
    let proposed = Proposed {
        agent: agent.clone(),
        session,
        source: source.clone(),
        content: strict::canonical(&content).into(),
        purpose: body.get("purpose").and_then(Value::as_str).and_then(clean),
    };
    let made = propose(&edge.kernel, proposed).await;
    denial::note_paused(&edge.kernel, &agent, &made).await;
    let item = made?;
    Ok(ok(&json!({
        "status": "grant_pending_user",
        "pendingId": item,
        "pending": [source],
        "statusUrl": status_url(&edge, &item),
        "approvalUrl": format!("{}/admin", edge.address.base()),
    })))
}

/// An agent removes no extension: the owner does.
pub(super) async fn remove(
    State(edge): State<Arc<Edge>>,
    Path(source): Path<String>,
    request: Request,
) -> Result<Response, Refused> {
    let session = single(request.headers(), SESSION_HEADER);
    in_session(&edge, session)?;
    let name = SourceId::parse(&source).map_or_else(|_| "NAME".to_owned(), |id| id.to_string());
    let reason = format!("only the owner removes an extension: plexusctl extension remove {name}");
    Ok(ok(&json!({
        "ok": false, "source": source, "removed": [], "reason": reason,
    })))
}

fn in_session(edge: &Edge, session: Option<&str>) -> Result<(AgentId, SessionId), Refused> {
    let open = session.and_then(|session| authenticate::live_session(edge, session));
    let open = open.and_then(|open| Some((open.agent?, open.id)));
    open.ok_or_else(|| authenticate::no_session("a live session of an agent is needed"))
}

type Folders = Option<BTreeMap<String, String>>;

async fn read(
    edge: &Arc<Edge>,
    agent: &AgentId,
    body: &Map<String, Value>,
) -> Result<Result<(ExtensionManifest, Folders), Vec<String>>, Refused> {
    let mut reasons = Vec::new();
    let folders: Folders = match body.get("folders").filter(|folders| !folders.is_null()) {
        None => None,
        Some(folders) => {
            let read = serde_json::from_value(folders.clone());
            let read = read.map_err(|_| "`folders` holds a path for each name".to_owned());
            read.map_err(|why| reasons.push(why)).ok()
        }
    };
    let Some(manifest) = body.get("manifest").filter(|m| m.is_object()).cloned() else {
        reasons.push("`manifest` is required, and an object".to_owned());
        return Ok(Err(reasons));
    };
    let here = edge.clone();
    let turn = edge.judging.take(agent).await?;
    let judged = blocking(move || {
        // Also where the client has gone meanwhile.
        let _turn = turn;
        ExtensionManifest::judge_whole(&manifest, &here.registry, here.address.port())
    });
    let (manifest, odd) = judged
        .await
        .map_err(|error| Refused::failed(error.to_string()))?;
    reasons.extend(odd);
    let Some(manifest) = manifest else {
        return Ok(Err(reasons));
    };
    let mut given = folders.iter().flat_map(BTreeMap::iter);
    let is_declared = |name: &str| manifest.folders.iter().any(|folder| folder.name == name);
    if given.any(|(name, path)| !is_declared(name) || !path.starts_with('/') || path.len() > 4096) {
        let why = "`folders` names a folder that is not declared, or a path that is not absolute";
        reasons.push(why.to_owned());
    }
    // A refused label may be long; and with a fault of its own, a manifest costs nobody a card, however often it is sent.
    if reasons.is_empty() {
        reasons.extend(taken(edge, agent, &manifest));
    }
    Ok(match reasons.is_empty() {
        true => Ok((manifest, folders)),
        false => Err(reasons),
    })
}

/// Why a source cannot be called so, where the agent sees another one of that id, or one that reads like it.
fn taken(edge: &Edge, agent: &AgentId, manifest: &ExtensionManifest) -> Option<String> {
    let state = edge.ledger.snapshot();
    let now = state.time(edge.clock.now());
    let agent = state.agent(agent)?;
    let sees = |there: &Source| {
        let mut ids = there.capabilities.keys();
        ids.any(|id| visible(&state, agent, id, now))
    };
    let (id, label) = (manifest.source.as_str(), manifest.label.as_str());
    let there = state.sources.get(id).filter(|there| sees(there));
    if let Some(there) = there.filter(|there| there.config.kind != by_manifest_kind(id)) {
        return Some(id_taken(&there.id));
    }
    let mut seen = state.sources.values().filter(|other| sees(other));
    let read = NamesRead::of([label, id]);
    let other = seen.find(|other| {
        // The owner's own label is not for agents: the owner's card compares with that.
        let offer = edge.registry.of_source(&other.config);
        let other_id = other.id.as_str();
        let label = offer.as_ref().map_or(other_id, |c| &c.offer.manifest.label);
        other_id != id && read.imitate([label, other_id])
    })?;
    Some(format!(
        "its label {label:?} or its id {id} looks like the source {}: choose another",
        other.id
    ))
}
