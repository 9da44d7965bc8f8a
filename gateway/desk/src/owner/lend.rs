//! Lending a folder to one agent for a time (ours).
//!
//! Invariant: source and grants are one record; the workers and the catalogue follow it.

use super::survey::has_worker;
use crate::{
    acting::Narrowing,
    acts::{act, event_of, failed, narrow},
    desk::Desk,
    table::{Reading, Served},
};
use plexus_edge::reply::Refused;
use plexus_home::inspection;
use plexus_owner::{
    Done,
    lend::{End, EndedLending, Lend, Lending, LentFolder, LentFolders, List},
};
use plexus_protocol::{
    AgentId, CapabilityId, Constraint, ErrorBody, ErrorCode, SourceId, Timestamp, TrustWindow,
    capability::WindowKind,
};
use plexus_sources::{configure, lending};
use plexus_trust::{Command, EnrollmentStatus, GrantEntry, Lent, Source, State as TrustState};
use serde_json::Value;
use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

/// How long a folder is lent unless the owner says: one day.
const USUAL_MS: u64 = 24 * 3_600_000;
/// The shortest time: below it nothing can be done with it.
const LEAST_MS: u64 = 1_000;

pub(super) fn serve(served: Served) -> Served {
    served.with(list).with(lend).with(end)
}

pub(crate) async fn list(desk: Arc<Desk>, _: Reading, _: List) -> Result<LentFolders, Refused> {
    let state = desk.ledger.snapshot();
    let sources = state.sources.values();
    Ok(LentFolders {
        lent: sources.filter_map(|s| shown(&state, s)).collect(),
    })
}

/// A lending as the owner sees it.
fn shown(state: &TrustState, source: &Source) -> Option<LentFolder> {
    let lent = source.config.lent.as_ref()?;
    let agent = state.agent(&lent.agent);
    let is_effect = |id: &CapabilityId| {
        let facts = source.capabilities.get(id);
        facts.is_some_and(|facts| !facts.verbs.is_read())
    };
    let left = agent
        .into_iter()
        .flat_map(|agent| agent.grants.values())
        .filter(|grant| {
            lent.capabilities.contains(&grant.capability) && is_effect(&grant.capability)
        })
        .filter_map(|grant| grant.calls_left());
    let route = source.config.route.as_object();
    let path = route.and_then(|route| route.values().find_map(Value::as_str));
    Some(LentFolder {
        source: source.id.clone(),
        agent_id: lent.agent.clone(),
        path: path.map(str::to_owned),
        until: lent.until,
        write: lent.capabilities.iter().any(is_effect),
        writes_left: left.min(),
        ended_at: lent.ended,
    })
}

/// A lending that was looked at and not made.
pub(crate) struct PlannedLending {
    /// The source that it would be.
    pub(crate) source: SourceId,
    pub(crate) agent: AgentId,
    /// The folder, with every link followed.
    pub(crate) path: String,
    pub(crate) until: Timestamp,
    pub(crate) capabilities: Vec<CapabilityId>,
    /// As it is lent now.
    pub(crate) was: Option<LentFolder>,
    /// What lies in it now; none where that could not be counted in time.
    pub(crate) files: Option<FileCount>,
}

/// Files below a folder.
#[derive(Default)]
pub(crate) struct FileCount {
    pub(crate) files: usize,
    /// There are more than were counted.
    pub(crate) is_more: bool,
    /// It is a repository.
    pub(crate) is_repository: bool,
}

/// Entries of folders that are counted at most.
const COUNTED: usize = 20_000;

/// What a lending would be.
///
/// # Errors
/// As the lending itself would be refused.
pub(crate) async fn plan(desk: &Arc<Desk>, asked: Lend) -> Result<PlannedLending, Refused> {
    let wish = LendRequest::of(asked)?;
    let state = desk.ledger.snapshot();
    let (source, lend, was) = looked_at(desk, &state, &wish).await?;
    let lent = lend.config.lent.ok_or_else(|| failed("nothing is lent"))?;
    let route = lend.config.route.as_object();
    let path = route.and_then(|route| route.values().find_map(Value::as_str));
    let path = path.ok_or_else(|| failed("it has no folder"))?.to_owned();
    let folder = PathBuf::from(&path);
    let files = inspection::at(&folder.clone(), move || count(&folder)).await;
    Ok(PlannedLending {
        source,
        agent: lent.agent,
        path,
        until: lent.until,
        capabilities: lent.capabilities.into_iter().collect(),
        was,
        files: files.ok(),
    })
}

/// Counts the files below a folder by the lists of their folders alone: no file is opened, no link followed.
fn count(folder: &Path) -> FileCount {
    let mut count = FileCount {
        is_repository: folder.join(".git").exists(),
        ..FileCount::default()
    };
    let (mut open, mut left) = (vec![folder.to_owned()], COUNTED);
    while let Some(next) = open.pop() {
        // One that cannot be listed has nothing for the worker either.
        for entry in fs::read_dir(next).into_iter().flatten().flatten() {
            let Some(rest) = left.checked_sub(1) else {
                count.is_more = true;
                return count;
            };
            left = rest;
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => open.push(entry.path()),
                Ok(kind) if kind.is_file() => count.files += 1,
                _ => {}
            }
        }
    }
    count
}

pub(crate) async fn lend(
    desk: Arc<Desk>,
    narrowing: Narrowing,
    asked: Lend,
) -> Result<Lending, Refused> {
    let max = asked.max_writes;
    let wish = LendRequest::of(asked)?;
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
    let lent = state.sources.get(&id);
    let folder = lent.and_then(|source| shown(&state, source));
    Ok(Lending {
        folder: folder.ok_or_else(|| failed("the lending is gone"))?,
        ok: Done,
        audit_id: event_of(&receipt),
        max_writes: max,
        was,
        warning: usable.err(),
    })
}

/// What the owner asked for.
struct LendRequest {
    agent: AgentId,
    path: PathBuf,
    write: bool,
    ms: u64,
    max: Option<u32>,
}

impl LendRequest {
    fn of(asked: Lend) -> Result<Self, Refused> {
        let agent = AgentId::parse(&asked.agent_id)
            .map_err(|e| Refused::malformed(format!("agentId is {e}")))?;
        let max = asked.max_writes;
        if max == Some(0) || (max.is_some() && !asked.write) {
            return Err(Refused::malformed(
                "`maxWrites` is at least 1, and goes with `write`",
            ));
        }
        Ok(Self {
            agent,
            path: asked.path.into(),
            write: asked.write,
            ms: asked.for_ms.unwrap_or(USUAL_MS),
            max,
        })
    }
}

/// The lending that is wished for, with what its folder is now; and the same one as it was before, if there was one.
async fn looked_at(
    desk: &Arc<Desk>,
    state: &TrustState,
    wish: &LendRequest,
) -> Result<(SourceId, plexus_trust::Lend, Option<LentFolder>), Refused> {
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
            .next(format!("plexusctl connect {agent}")),
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
        let looked = looked.unwrap_or_else(silent);
        looked.map_err(|why| Refused::malformed(why).about("path"))?
    };
    let lending::Folder {
        id,
        mut config,
        before,
    } = folder;
    if let Some(connector) = desk.registry.of_source(&config) {
        has_worker(desk, &connector.offer)?;
    }
    let manifest = lending::manifest(&desk.registry).map_err(failed)?;
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
    let seen = seen.map_err(|why| Refused::malformed(why).about("path"))?;
    let was = before.and_then(|source| shown(state, &source));
    let lend = plexus_trust::Lend {
        config,
        seen,
        grants,
    };
    Ok((id, lend, was))
}

async fn end(desk: Arc<Desk>, narrowing: Narrowing, asked: End) -> Result<EndedLending, Refused> {
    let id = &asked.id;
    let none = || {
        let error = ErrorBody::new(ErrorCode::NotFound, format!("No folder is lent as {id:?}."));
        Refused::new(error.next("plexusctl lend list"))
    };
    let source = SourceId::parse(id).map_err(|_| none())?;
    let state = desk.ledger.snapshot();
    let known = state.sources.get(&source);
    let lent = known.and_then(|s| s.config.lent.as_ref());
    let lent = lent.filter(|lent| lent.ended.is_none()).ok_or_else(none)?;
    let command = Command::EndLending { id: source.clone() };
    let receipt = narrow(&desk, &narrowing, command).await?;
    plexus_calls::activation::follow_lendings(&desk, &state).await;
    Ok(EndedLending {
        ok: Done,
        source,
        agent_id: lent.agent.clone(),
        audit_id: event_of(&receipt),
    })
}
