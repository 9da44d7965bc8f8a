//! Change sets as the owner sees and applies them: what runs of coding agents left for a decision (ours).
//!
//! ```text
//! list: each source that makes change sets ─▶ show: file by file ─▶ plan: what applying does ─▶ apply: that very plan
//! ```
//! Which change sets there are, and what is in them, is the sources' to say: the gateway opens no file.

use super::{Acting, body::Fields, of_source};
use crate::{
    acts::{Named, blocking},
    desk::Desk,
};
use axum::{
    extract::{Request, State},
    response::Response,
};
use plexus_calls::own::{self, OwnerCapability, Upkeep};
use plexus_edge::reply::{self, Refused, ok};
use plexus_ledger::EventId;
use plexus_protocol::{ErrorBody, ErrorCode, PendingId, SourceId};
use serde_json::{Value, json};
use std::sync::Arc;

/// Why a source's change set is not shown.
const NO_ITEM: &str = "the source answered what is no change set";
const NOT_TOLD: &str = "the gateway failed on its change sets";

/// `{sets: [{source, id, …}], away: [{source, why}]}`, of each source the newest first.
pub(super) async fn list(
    State(desk): State<Arc<Desk>>,
    request: Request,
) -> Result<Response, Refused> {
    let only = reply::query(&request, "source").filter(|source| !source.is_empty());
    Ok(ok(&listed(&desk, only.as_deref()).await))
}

/// The change sets of one source, or of all.
pub(crate) async fn listed(desk: &Desk, only: Option<&str>) -> Value {
    let (mut sets, mut away, mut more) = (Vec::new(), Vec::new(), 0);
    for source in sources(desk) {
        if only.is_some_and(|only| only != source.as_str()) {
            continue;
        }
        match own::ask::<Value>(desk, &source, Upkeep::ChangeSets, &json!({})).await {
            Ok(answer) => {
                more += answer["more"].as_u64().unwrap_or_default();
                let all = answer["sets"].as_array().into_iter().flatten();
                let mut found = Vec::new();
                for set in all.map(|set| of_source(set, &source)) {
                    match set {
                        Some(set) => found.push(set),
                        None => away.push(json!({"source": source, "why": NO_ITEM})),
                    }
                }
                match told_of(desk, &source, found, "/call").await {
                    Ok(told) => sets.extend(told),
                    Err(_) => away.push(json!({"source": source, "why": NOT_TOLD})),
                }
            }
            Err(error) => away.push(json!({"source": source, "why": error.message})),
        }
    }
    json!({ "sets": sets, "away": away, "more": more })
}

/// `?after=` goes on in a long one, `?path=` shows one file of it.
pub(super) async fn show(
    State(desk): State<Arc<Desk>>,
    Named(id): Named,
    request: Request,
) -> Result<Response, Refused> {
    let (path, after) = (
        reply::query(&request, "path"),
        reply::query(&request, "after"),
    );
    drop(request);
    Ok(ok(&shown(&desk, &id, path, after).await?))
}

/// A stretch of a change set, with the source that has it.
pub(crate) async fn shown(
    desk: &Desk,
    id: &str,
    path: Option<String>,
    after: Option<String>,
) -> Result<Value, Refused> {
    let mut input = json!({"changes": id});
    for (name, value) in [("path", path), ("after", after)] {
        if let Some(value) = value {
            input[name] = value.into();
        }
    }
    let mut away = None;
    for source in sources(desk) {
        match own::ask::<Value>(desk, &source, Upkeep::ChangeSet, &input).await {
            Ok(set) => match of_source(&set, &source) {
                Some(set) => {
                    let told = told_of(desk, &source, vec![set], "/about/call").await?;
                    return Ok(told.into_iter().next().unwrap_or_default());
                }
                None => {
                    let code = ErrorCode::SourceUnavailable;
                    away = Some(ErrorBody::new(code, NO_ITEM));
                }
            },
            Err(error) if is_elsewhere(&error) => {}
            Err(error) => away = Some(error),
        }
    }
    Err(away.map_or_else(|| unknown(id), |error| told(error, id)))
}

/// `{source, paths?}`: what applying it does, and the token that stands for that.
pub(crate) async fn plan(
    State(desk): State<Arc<Desk>>,
    Named(id): Named,
    request: Request,
) -> Result<Response, Refused> {
    let body = Fields::read(request).await?;
    let (capability, input) = applying(&desk, &id, &body).await?;
    let made = own::plan(&desk, &capability, &input).await;
    let made = made.map_err(|error| told(error, &id))?;
    Ok(ok(&json!({
        "id": id,
        "source": body.text("source")?,
        "capabilityId": capability.id,
        "stateToken": made.state_token,
        "rating": made.rating,
        "summary": made.summary,
        "preview": serde_json::to_value(&made.preview).unwrap_or_default(),
        "warnings": made.warnings,
    })))
}

/// `{source, paths?, stateToken}` of the plan that the owner saw.
pub(crate) async fn apply(
    State(desk): State<Arc<Desk>>,
    _: Acting,
    Named(id): Named,
    request: Request,
) -> Result<Response, Refused> {
    let body = Fields::read(request).await?;
    let token = body.state_token()?;
    let (capability, input) = applying(&desk, &id, &body).await?;
    let done = own::commit(&desk.edge.kernel, &capability, input, token).await;
    let done = done.map_err(|error| told(error, &id))?;
    Ok(ok(&json!({
        "ok": true,
        "id": id,
        "auditId": done.audit,
        "summary": done.summary,
        "undo": done.undo,
    })))
}

/// The capability that applies a change set, and its input.
async fn applying(
    desk: &Desk,
    id: &str,
    body: &Fields,
) -> Result<(OwnerCapability, Value), Refused> {
    let source: Option<SourceId> = body.typed("source")?;
    let source = source.ok_or_else(|| Refused::malformed("`source` is required"))?;
    let capability = OwnerCapability::open(desk, &source, Upkeep::Apply).await;
    let capability = capability.map_err(|error| Refused::new(*error))?;
    let mut input = json!({"changes": id});
    if let Some(paths) = body.typed::<Vec<String>>("paths")? {
        input["paths"] = json!(paths);
    }
    Ok((capability, input))
}

/// Change sets with what the gateway knows of them: the folder, and why the run that `call` points to was asked for, as long
/// as that request is kept.
async fn told_of(
    desk: &Desk,
    source: &SourceId,
    mut sets: Vec<Value>,
    call: &'static str,
) -> Result<Vec<Value>, Refused> {
    let (ledger, state) = (desk.ledger.clone(), desk.ledger.snapshot());
    let route = state.sources.get(source).map(|known| &known.config.route);
    let folder = route.and_then(|route| route.get("path")).cloned();
    let told = blocking(move || {
        for set in &mut sets {
            let item = set.pointer(call).and_then(Value::as_str).and_then(|call| {
                let event = ledger.event(&call.parse::<EventId>().ok()?).ok()??;
                let event: Value = serde_json::from_str(event.json()).ok()?;
                let basis = &event["detail"]["basis"];
                let item = basis["item"].as_str().or(basis["bounded"].as_str())?;
                state.item(&PendingId::parse(item).ok()?)
            });
            if let Some(purpose) = item.and_then(|item| item.purpose.as_ref()) {
                set["purpose"] = json!(purpose);
            }
            if let Some(folder) = &folder {
                set["folder"] = json!(folder);
            }
        }
        sets
    });
    told.await
}

/// Whether a source makes any.
pub(crate) fn are_made(desk: &Desk) -> bool {
    !sources(desk).is_empty()
}

/// The sources that make change sets.
fn sources(desk: &Desk) -> Vec<SourceId> {
    let state = desk.ledger.snapshot();
    let makes = |source: &&Arc<plexus_trust::Source>| {
        let connector = desk.registry.of_source(&source.config);
        source.config.enabled
            && !source.config.is_over()
            && connector.is_some_and(|connector| connector.offer.manifest.change_sets.is_some())
    };
    let makers = state.sources.values().filter(makes);
    makers.map(|source| source.id.clone()).collect()
}

/// Whether a source says that it has no such change set.
fn is_elsewhere(error: &ErrorBody) -> bool {
    let reason = error
        .detail
        .as_ref()
        .and_then(|detail| detail.get("reason"));
    reason.is_some_and(|reason| reason == "not_found")
}

fn unknown(id: &str) -> Refused {
    let why = format!("No source has a change set {id}; they are kept for a week.");
    let error = ErrorBody::new(ErrorCode::NotFound, why);
    Refused::new(error.next("plexusctl changes"))
}

/// What a worker says, with the next step of an owner who looks at a change set.
fn told(error: ErrorBody, id: &str) -> Refused {
    if is_elsewhere(&error) {
        return unknown(id);
    }
    let next = match error.code {
        ErrorCode::SourceUnavailable | ErrorCode::Busy => "plexusctl status".to_owned(),
        ErrorCode::OutcomeUnknown => "plexusctl unknown".to_owned(),
        _ => format!("plexusctl changes {id}   shows which files can still be applied"),
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
