//! Lending a folder to one agent for a time (ours).
//!
//! Invariant: source and grants are one record; the workers and the catalogue follow it.

use super::{Narrowing, body::Fields, survey::has_worker};
use crate::{
    acts::{Named, act, event_of, narrow},
    desk::Desk,
};
use axum::{
    extract::{Request, State},
    response::Response,
};
use plexus_edge::reply::{Refused, ok};
use plexus_home::inspection;
use plexus_protocol::{
    AgentId, CapabilityId, Constraint, ErrorBody, ErrorCode, SourceId, TrustWindow,
    capability::WindowKind,
};
use plexus_sources::{configure, lending};
use plexus_trust::{
    Command, EnrollmentStatus, GrantEntry, Lend, Lent, Source, State as TrustState,
};
use serde_json::{Value, json};
use std::{path::PathBuf, sync::Arc};

/// How long a folder is lent unless the owner says: one day.
const USUAL_MS: u64 = 24 * 3_600_000;
/// The shortest time: below it nothing can be done with it.
const LEAST_MS: u64 = 1_000;

pub(super) async fn list(State(desk): State<Arc<Desk>>) -> Response {
    let state = desk.ledger.snapshot();
    let rows = state.sources.values();
    let rows: Vec<Value> = rows.filter_map(|s| lending::shown(&state, s)).collect();
    ok(&json!({ "lent": rows }))
}

/// `{agentId, path, write?, forMs?, maxWrites?}`.
pub(super) async fn lend(
    State(desk): State<Arc<Desk>>,
    narrowing: Narrowing,
    request: Request,
) -> Result<Response, Refused> {
    let body = Fields::read(request).await?;
    let agent = body.text("agentId")?.unwrap_or_default();
    let agent = AgentId::parse(agent).map_err(|e| Refused::malformed(format!("agentId is {e}")))?;
    let path = body.text("path")?.map(PathBuf::from);
    let path = path.ok_or_else(|| Refused::malformed("`path` is required"))?;
    let write = body.flag("write")?.unwrap_or(false);
    let ms = body.typed::<u64>("forMs")?.unwrap_or(USUAL_MS);
    let max: Option<u32> = body.typed("maxWrites")?;
    if max == Some(0) || (max.is_some() && !write) {
        return Err(Refused::malformed(
            "`maxWrites` is at least 1, and goes with `write`",
        ));
    }
    let wish = LendRequest {
        agent,
        path,
        write,
        ms,
        max,
    };
    let (guards, id, lend, was) = loop {
        let state = desk.ledger.snapshot();
        let (id, lend, was) = looked_at(&desk, &state, &wish).await?;
        let acting = narrowing.wider(&desk).await?;
        let guards = (desk.turn().await, acting);
        // Else a source changed while the folder was looked at: its id may be taken, or something in it hidden.
        if Arc::ptr_eq(&state.sources, &desk.ledger.snapshot().sources) {
            break (guards, id, lend, was);
        }
    };
    let receipt = act(&desk, &guards.1, Command::Lend(Box::new(lend))).await?;
    drop(guards);
    let usable = desk.look_at(&id).await;
    desk.renew_catalogue(Some(Default::default()));
    let state = desk.ledger.snapshot();
    let shown = state.sources.get(&id);
    let mut answer = shown
        .and_then(|source| lending::shown(&state, source))
        .ok_or_else(|| crate::acts::failed("the lending is gone"))?;
    answer["ok"] = json!(true);
    answer["auditId"] = json!(event_of(&receipt));
    if let Some(most) = max {
        answer["maxWrites"] = json!(most);
    }
    if let Some(was) = was {
        answer["was"] = was;
    }
    if let Err(why) = usable {
        answer["warning"] = json!(why);
    }
    Ok(ok(&answer))
}

/// What the owner asked for.
struct LendRequest {
    agent: AgentId,
    path: PathBuf,
    write: bool,
    ms: u64,
    max: Option<u32>,
}

/// The lending that is wished for, with what its folder is now; and the same one as it was before, if there was one.
async fn looked_at(
    desk: &Arc<Desk>,
    state: &TrustState,
    wish: &LendRequest,
) -> Result<(SourceId, Lend, Option<Value>), Refused> {
    let LendRequest {
        ref agent,
        ref path,
        write,
        ms,
        max,
    } = *wish;
    let longest = state.settings.max_trust_window_ms;
    if !(LEAST_MS..=longest).contains(&ms) {
        return Err(Refused::malformed(format!(
            "`forMs` is {LEAST_MS} to {longest} (maxTrustWindowMs)"
        )));
    }
    let known = state.agent(agent);
    if known.is_none_or(|agent| agent.status == EnrollmentStatus::Revoked) {
        return Err(Refused::new(
            ErrorBody::new(
                ErrorCode::UnknownAgent,
                format!("No agent {agent} is connected."),
            )
            .next(format!("plexusctl connect {agent}; then lend again")),
        ));
    }
    let folder = {
        let (desk, agent, folder) = (desk.clone(), agent.clone(), path.clone());
        let check = move || {
            let state = desk.ledger.snapshot();
            lending::folder(&desk.registry, &desk.state_dir, &state, &agent, &folder)
        };
        let looked = inspection::at(path, check).await;
        let silent = |e| Err(format!("{}: {e}; repeat it when it does", path.display()));
        looked.unwrap_or_else(silent).map_err(Refused::malformed)?
    };
    let lending::Folder {
        id,
        mut config,
        before,
    } = folder;
    if let Some(connector) = desk.registry.of_source(&config) {
        has_worker(desk, &connector.offer)?;
    }
    let manifest = lending::manifest(&desk.registry).map_err(crate::acts::failed)?;
    let window = TrustWindow::For {
        kind: WindowKind::Custom,
        ms,
    };
    let grants: Vec<GrantEntry> = lending::lent(&manifest, write)
        .filter_map(|capability| {
            Some(GrantEntry {
                capability: CapabilityId::of(&id, &capability.name).ok()?,
                verbs: None,
                window: Some(window),
                constraint: max
                    .filter(|_| !capability.is_read())
                    .map(|most| Constraint {
                        path_prefix: None,
                        allow: None,
                        rules: Vec::new(),
                        max_calls: Some(most),
                    }),
            })
        })
        .collect();
    let until = state.time(desk.clock.now()).plus(ms);
    config.lent = Some(Lent {
        agent: agent.clone(),
        until,
        capabilities: grants.iter().map(|g| g.capability.clone()).collect(),
        ended: None,
    });
    // As it is now: the machine wants the source and the look at it at once.
    let source = Source::new(id.clone(), config.clone(), 0);
    let seen = configure::look(&desk.registry, &source, &desk.state_dir).await;
    let seen = seen.map_err(Refused::malformed)?;
    let was = before.and_then(|source| lending::shown(state, &source));
    let lend = Lend {
        config,
        seen,
        grants,
    };
    Ok((id, lend, was))
}

pub(super) async fn end(
    State(desk): State<Arc<Desk>>,
    narrowing: Narrowing,
    Named(id): Named,
) -> Result<Response, Refused> {
    let none = || {
        let error = ErrorBody::new(ErrorCode::NotFound, format!("No folder is lent as {id:?}."));
        Refused::new(error.next("plexusctl lend list"))
    };
    let source = SourceId::parse(&id).map_err(|_| none())?;
    let state = desk.ledger.snapshot();
    let known = state.sources.get(&source);
    let lent = known.and_then(|s| s.config.lent.as_ref());
    let lent = lent.filter(|lent| lent.ended.is_none()).ok_or_else(none)?;
    let receipt = narrow(
        &desk,
        &narrowing,
        Command::EndLending { id: source.clone() },
    )
    .await?;
    plexus_calls::activation::follow_lendings(&desk, &state).await;
    Ok(ok(&json!({
        "ok": true,
        "source": source,
        "agentId": lent.agent,
        "auditId": event_of(&receipt),
    })))
}
