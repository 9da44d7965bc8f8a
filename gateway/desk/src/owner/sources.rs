//! Sources: what the owner configured, and changing it (docs/protocol/owner.md#sources, docs/design.md#re-gating).
//!
//! Invariant: each change in this order: the machine records it (and voids what must not survive it), the source is
//! looked at, its workers are put in place, the catalogue is built anew and whoever listens is told. Changes are recorded
//! one at a time; nobody waits for another's look. The rules of hiding change beside them: they wait for no
//! other change, and need no look.

use super::{Acting, Narrowing, body::Fields, survey::has_worker};
use crate::{
    acts::{Named, act, blocking, event_of, failed_halfway, narrow},
    desk::Desk,
};
use axum::{
    extract::{Request, State},
    response::Response,
};
use plexus_calls::{approvals::change, events::Changed};
use plexus_edge::reply::{Refused, ok, with_status};
use plexus_ipc::manifest::{Audience, HideKind};
use plexus_protocol::{CapabilityId, ErrorBody, ErrorCode, SourceId};
use plexus_sources::{
    catalogue::Catalogue,
    code,
    configure::{Objection, SourceRequest, repinned, shown_route},
    detect::{self, Detected},
    form, secrets,
};
use plexus_trust::{Command, Hide, Reply, Source, SourceConfig};
use serde_json::{Map, Value, json};
use std::sync::Arc;
use tokio::sync::MutexGuard;

/// Members of a ConfiguredSource (docs/protocol/owner.md#sources), in the wire's order.
const MEMBERS: &[&str] = &[
    "id",
    "kind",
    "label",
    "enabled",
    "transport",
    "route",
    "secretRef",
    "approval",
];

pub(super) async fn list(State(desk): State<Arc<Desk>>) -> Response {
    let state = desk.ledger.snapshot();
    let catalogue = desk.catalogue.load();
    // What a lending that ended leaves behind is no source any more: see `lend`.
    let there = state
        .sources
        .values()
        .filter(|source| !source.config.is_over());
    let rows = there.map(|source| {
        let mut out = configured(&desk, &source.id, &source.config);
        let live = catalogue.iter().filter(|e| e.source == source.id).count();
        let resting = state.resting(source);
        out.insert("live".into(), json!(live > 0));
        out.insert("liveCapabilityCount".into(), json!(live));
        out.insert("health".into(), json!(desk.supervisor.health(&source.id)));
        out.insert("provenance".into(), json!(source.config.provenance));
        out.insert("suspendedGrants".into(), json!(resting.count()));
        if let Some(stopped) = stopped(source) {
            out.insert("stopped".into(), stopped);
        }
        Value::Object(out)
    });
    ok(&json!({"sources": rows.collect::<Vec<_>>(), "revision": catalogue.revision}))
}

/// Why nothing of a source is started, where what it runs is not what the owner agreed to.
pub(super) fn stopped(source: &Source) -> Option<Value> {
    let stopped = source.stopped.as_ref()?;
    let (new, gone) = stopped.differs(source.agreed());
    Some(json!({
        "at": stopped.at,
        "pendingId": change::id(source).filter(|_| source.asks()),
        "found": new,
        "agreed": gone,
    }))
}

/// Puts workers of a source in place whose code the owner has agreed to.
pub(super) async fn resumed_code(desk: &Desk, before: &Source) -> Result<(), Refused> {
    if before.stopped.is_none() {
        return Ok(());
    }
    let looked = desk.look_at(&before.id).await;
    looked.map_err(|why| failed_halfway(format!("it is agreed to, and does not serve: {why}")))
}

pub(super) fn configured(desk: &Desk, id: &SourceId, config: &SourceConfig) -> Map<String, Value> {
    let connector = desk.registry.of_source(config);
    let transport = connector
        .as_ref()
        .map_or("ipc", |c| c.offer.manifest.transport.as_str());
    let whole = json!({
        "id": id,
        "kind": config.kind,
        "label": config.label,
        "enabled": config.enabled,
        "transport": transport,
        "route": config.route,
        "secretRef": config.secret_ref,
        "approval": config.ask.then_some("ask"),
        "lent": config.lent,
        "hide": Some(&config.hide).filter(|hide| !hide.is_empty()),
    });
    match whole {
        Value::Object(members) => members
            .into_iter()
            .filter(|(_, value)| !value.is_null())
            .collect(),
        _ => Map::new(),
    }
}

pub(super) async fn detected(State(desk): State<Arc<Desk>>) -> Result<Response, Refused> {
    let found = blocking(move || {
        let state = desk.ledger.snapshot();
        let found = detect::detect(&desk.registry, &desk.state_dir, &state);
        found.iter().map(Detected::shown).collect::<Vec<_>>()
    })
    .await?;
    Ok(ok(&json!({ "detected": found })))
}

pub(super) async fn connectors(State(desk): State<Arc<Desk>>) -> Response {
    let rows = desk.registry.manifests().map(|manifest| {
        let manifest = &*manifest;
        let offers: Vec<&str> = manifest
            .capabilities
            .iter()
            .filter(|c| c.callable() && c.audience == Audience::Agents)
            .map(|c| c.label.as_str())
            .collect();
        let mut row = json!({
            "kind": manifest.kind,
            "connector": manifest.connector,
            "label": manifest.label,
            "blurb": manifest.blurb,
            "provenanceClass": manifest.provenance,
            "transport": manifest.transport,
            "detectable": manifest.detect.is_some(),
            "wireable": true,
            "exposesSummary": offers.join(" · "),
            "fields": manifest.fields,
            "form": form::schema(manifest),
        });
        if let Some(root) = &manifest.root {
            row["root"] = json!(root);
        }
        if !manifest.platforms.is_empty() {
            row["platforms"] = json!(manifest.platforms);
        }
        if let Some(why) = desk.registry.out_of_place(manifest) {
            row["wireable"] = json!(false);
            row["reason"] = json!(why);
        }
        row
    });
    ok(&json!({"connectors": rows.collect::<Vec<_>>(), "revision": desk.catalogue.load().revision}))
}

pub(super) async fn add(
    State(desk): State<Arc<Desk>>,
    narrowing: Narrowing,
    request: Request,
) -> Result<Response, Refused> {
    let body = Fields::read(request).await?;
    if body.text("kind")?.is_none_or(|kind| kind.trim().is_empty()) {
        return Err(Refused::malformed("`kind` is required"));
    }
    added(&desk, &narrowing, body.0).await
}

/// Adds a source, or puts it in place of the one of its id.
pub(super) async fn added(
    desk: &Arc<Desk>,
    narrowing: &Narrowing,
    whole: Map<String, Value>,
) -> Result<Response, Refused> {
    let checked = Checked::of(desk, whole).await;
    let acting = narrowing.wider(desk).await?;
    let turn = desk.turn().await;
    put(desk, acting, turn, checked).await
}

pub(super) async fn reconfigure(
    State(desk): State<Arc<Desk>>,
    narrowing: Narrowing,
    Named(id): Named,
    request: Request,
) -> Result<Response, Refused> {
    let body = Fields::read(request).await?;
    reconfigured(&desk, &narrowing, &id, &body.0).await
}

/// Changes the named members of a source: what `named` leaves out stays, null takes away.
pub(super) async fn reconfigured(
    desk: &Arc<Desk>,
    narrowing: &Narrowing,
    id: &str,
    named: &Map<String, Value>,
) -> Result<Response, Refused> {
    loop {
        let Some(source) = known(desk, id) else {
            return Ok(no_such(desk, id));
        };
        let mut whole = configured(desk, &source.id, &source.config);
        let named = named.iter().filter(|(key, _)| *key != "id");
        whole.extend(named.map(|(key, value)| (key.clone(), value.clone())));
        let checked = Checked::of(desk, whole).await;
        let acting = narrowing.wider(desk).await?;
        let turn = desk.turn().await;
        // Changed while it was checked: what stays is read anew.
        if known(desk, id).is_some_and(|now| Arc::ptr_eq(&now, &source)) {
            return put(desk, acting, turn, checked).await;
        }
    }
}

/// `{folders?, globs?, tags?, remove?}`: hides more of a source from agents, or with `remove` shows it again; without any
/// it says what is hidden.
pub(super) async fn hide(
    State(desk): State<Arc<Desk>>,
    narrowing: Narrowing,
    Named(id): Named,
    request: Request,
) -> Result<Response, Refused> {
    let body = Fields::read(request).await?;
    let remove = body.flag("remove")?.unwrap_or(false);
    let Some(source) = known(&desk, &id) else {
        return Ok(no_such(&desk, &id));
    };
    let connector = desk.registry.of_source(&source.config);
    let hides = connector
        .map(|c| c.offer.manifest.hides.clone())
        .unwrap_or_default();
    let (there, mut rules) = (&source.config.hide, Hide::default());
    for (key, kind, there, rules) in [
        (
            "folders",
            HideKind::Folder,
            &there.folders,
            &mut rules.folders,
        ),
        ("globs", HideKind::Glob, &there.globs, &mut rules.globs),
        ("tags", HideKind::Tag, &there.tags, &mut rules.tags),
    ] {
        for text in body.strings(key) {
            if !hides.contains(&kind) {
                return Err(Refused::malformed(format!("{id} cannot hide {key}")));
            }
            let rule = hidden(kind, text).map_err(Refused::malformed)?;
            if remove && !there.contains(&rule) {
                return Err(Refused::malformed(format!("{id} does not hide {text:?}")));
            }
            rules.insert(rule);
        }
        if !remove && there.union(rules).count() > MOST_HIDDEN {
            return Err(Refused::malformed(format!("more than {MOST_HIDDEN} {key}")));
        }
    }
    let resting = |desk: &Desk| {
        let state = desk.ledger.snapshot();
        let grants = state.agents.values().flat_map(|a| a.grants.values());
        let of = grants.filter(|g| source.capabilities.contains_key(&g.capability));
        of.filter(|g| g.suspended.is_some()).count()
    };
    if !rules.is_empty() {
        let id = source.id.clone();
        let command = Command::Hide { id, rules, remove };
        match remove {
            true => act(&desk, &narrowing.wider(&desk).await?, command).await?,
            false => narrow(&desk, &narrowing, command).await?,
        };
    }
    // A call that was permitted before reaches no worker any more, replaced or not: its revision is another.
    let now = known(&desk, &id).unwrap_or_else(|| source.clone());
    if now.revision != source.revision {
        if let Err(why) = desk.replace_workers(&now).await {
            tracing::warn!(name: "source.unusable", source = %now.id, error = why, "a source cannot be used");
        }
        renew(&desk, &now.id, Some(&source), Some(&now));
    }
    Ok(ok(&json!({
        "ok": true,
        "id": source.id,
        "hide": now.config.hide,
        "suspendedGrants": resting(&desk),
    })))
}

/// Rules of one sort that a source may have.
const MOST_HIDDEN: usize = 256;

/// One rule, in the form in which it is kept.
fn hidden(kind: HideKind, text: &str) -> Result<String, String> {
    let text = match kind {
        HideKind::Folder | HideKind::Glob => text.trim_end_matches('/'),
        HideKind::Tag => text.trim().trim_start_matches('#').trim_end_matches('/'),
    };
    let odd = text.is_empty() || text.len() > 1024 || text.chars().any(char::is_control);
    let up = text.starts_with('/') || text.split('/').any(|part| matches!(part, "" | "." | ".."));
    if odd || up {
        return Err(format!(
            "{text:?} is no folder, pattern or tag within the source"
        ));
    }
    Ok(text.to_owned())
}

pub(super) async fn enable(
    State(desk): State<Arc<Desk>>,
    acting: Acting,
    Named(id): Named,
) -> Result<Response, Refused> {
    let turn = desk.turn().await;
    let Some(source) = known(&desk, &id) else {
        return Ok(no_such(&desk, &id));
    };
    let config = SourceConfig {
        enabled: true,
        ..source.config.clone()
    };
    if let Some(connector) = desk.registry.of_source(&config) {
        has_worker(&desk, &connector.offer)?;
    }
    carry_out(&desk, acting, turn, source.id.clone(), (config, Vec::new())).await
}

/// `ok` whether there is such a source or not (docs/protocol/owner.md#sources); `known` says which.
pub(super) async fn disable(
    State(desk): State<Arc<Desk>>,
    narrowing: Narrowing,
    Named(id): Named,
) -> Result<Response, Refused> {
    let turn = desk.turn().await;
    let source = known(&desk, &id);
    if let Some(source) = &source {
        let id = source.id.clone();
        narrow(&desk, &narrowing, Command::DisableSource { id }).await?;
        drop(turn);
        let _ = follow(&desk, &source.id, Some(source)).await;
    }
    Ok(ok(&json!({"ok": true, "known": source.is_some()})))
}

/// Lets grants that rest since the source changed be used again.
pub(crate) async fn resume(
    State(desk): State<Arc<Desk>>,
    acting: Acting,
    Named(id): Named,
) -> Result<Response, Refused> {
    let Some(source) = known(&desk, &id) else {
        return Ok(no_such(&desk, &id));
    };
    let is_stopped = source.stopped.is_some();
    if source.asks() {
        return Err(stopped_first(&source));
    }
    let receipt = act(
        &desk,
        &acting,
        Command::ResumeSource {
            id: source.id.clone(),
            revision: None,
            go_on: true,
        },
    )
    .await?;
    if let Some(source) = known(&desk, &id).filter(|_| is_stopped) {
        return Err(stopped_first(&source));
    }
    let resumed = matches!(receipt.reply, Reply::Changed(true));
    Ok(ok(
        &json!({"ok": true, "id": source.id, "resumed": resumed, "auditId": event_of(&receipt)}),
    ))
}

/// Code is agreed to on a card that shows it.
fn stopped_first(source: &Source) -> Refused {
    let why = format!(
        "What {} runs is not what you agreed to; it is stopped until you decide on its card.",
        source.id
    );
    let error = ErrorBody::new(ErrorCode::PreconditionChanged, why);
    Refused::new(match change::id(source) {
        Some(card) => error.next(format!("plexusctl approvals show {card}")),
        None => error.next("plexusctl approvals list"),
    })
}

/// `ok` whether there is such a source or not (docs/protocol/owner.md#sources); `known` says which.
pub(super) async fn remove(
    State(desk): State<Arc<Desk>>,
    narrowing: Narrowing,
    Named(id): Named,
) -> Result<Response, Refused> {
    let known = removed(&desk, &narrowing, &id).await?;
    Ok(ok(&json!({"ok": true, "known": known})))
}

/// Removes a source. Whether there was one.
pub(super) async fn removed(
    desk: &Arc<Desk>,
    narrowing: &Narrowing,
    id: &str,
) -> Result<bool, Refused> {
    let turn = desk.turn().await;
    let Some(source) = known(desk, id) else {
        return Ok(false);
    };
    let command = Command::RemoveSource {
        id: source.id.clone(),
    };
    let touched = code::touched(&desk.registry, &desk.ledger.snapshot(), &source);
    narrow(desk, narrowing, command).await?;
    let gone = desk.supervisor.remove(&source.id);
    let forgotten = forget(desk, &source.id).await;
    drop(turn);
    gone.await;
    desk.look_again(touched).await;
    let removed = of_source(&desk.catalogue.load(), &source.id);
    desk.renew_catalogue(Some(Changed {
        removed,
        ..Changed::default()
    }));
    forgotten?;
    Ok(true)
}

pub(super) fn known(desk: &Desk, id: &str) -> Option<Arc<Source>> {
    let source = desk.ledger.snapshot().sources.get(id).cloned();
    source.filter(|source| !source.config.is_over())
}

/// The AddResult of an id that is not configured.
fn no_such(desk: &Desk, id: &str) -> Response {
    let source = json!({"id": id, "kind": "", "label": id, "enabled": true, "transport": "ipc"});
    refused(desk, source, format!("no configured source {id:?}"))
}

fn refused(desk: &Desk, source: Value, objection: impl Into<Objection>) -> Response {
    let revision = desk.catalogue.load().revision;
    let Objection { field, why } = objection.into();
    let mut out = json!({"ok": false, "source": source, "registered": [], "revision": revision, "reason": why});
    if let Some(field) = field {
        out["field"] = json!(field);
    }
    with_status(422, &out)
}

/// A whole ConfiguredSource, looked at.
struct Checked {
    shown: Value,
    wanted: Result<(SourceId, SourceConfig), Objection>,
    /// What it runs, as that is now.
    pins: Vec<String>,
}

impl Checked {
    async fn of(desk: &Arc<Desk>, mut whole: Map<String, Value>) -> Self {
        let enabled = match whole.get("enabled") {
            None | Some(Value::Null) => Ok(true),
            Some(Value::Bool(enabled)) => Ok(*enabled),
            Some(_) => Err(Objection::from("enabled is true or false".to_owned())),
        };
        whole.insert("enabled".into(), json!(enabled.as_ref().unwrap_or(&true)));
        let member = |key: &&str| {
            let value = whole.get(*key).filter(|v| !v.is_null());
            value.map(|v| ((*key).to_owned(), v.clone()))
        };
        let mut shown: Map<String, Value> = MEMBERS.iter().filter_map(member).collect();
        shown.entry("transport").or_insert_with(|| json!("ipc"));
        if let Some(route) = shown.get_mut("route") {
            *route = shown_route(&desk.registry, &whole);
        }
        let wanted = SourceRequest { body: &whole };
        let checked = wanted.inspect(&desk.registry, &desk.state_dir).await;
        let wanted = enabled.and(checked);
        let pins = match &wanted {
            Ok((id, config)) => match desk.registry.of_source(config) {
                Some(connector) => code::seen(&connector.offer.manifest, config, id).await,
                None => Vec::new(),
            },
            Err(_) => Vec::new(),
        };
        Self {
            shown: Value::Object(shown),
            wanted,
            pins,
        }
    }
}

/// Puts a whole ConfiguredSource in place.
async fn put(
    desk: &Arc<Desk>,
    acting: Acting,
    turn: MutexGuard<'_, ()>,
    Checked {
        shown,
        wanted,
        pins,
    }: Checked,
) -> Result<Response, Refused> {
    match wanted {
        Err(objection) => Ok(refused(desk, shown, objection)),
        Ok((id, mut config)) => {
            // Whom it is lent to is no member of a body: it stays, or there is a new source.
            let there = desk.ledger.snapshot().sources.get(&id).cloned();
            config.lent = there.as_ref().and_then(|s| s.config.lent.clone());
            // Nor is what it hides: see `hide`.
            let same_kind = there.filter(|s| s.config.kind == config.kind);
            config.hide = same_kind.map(|s| s.config.hide.clone()).unwrap_or_default();
            if config.is_over() {
                let why = "this id is kept for what was changed in a lent folder; choose another";
                return Ok(refused(desk, shown, why.to_owned()));
            }
            carry_out(desk, acting, turn, id, (config, pins)).await
        }
    }
}

async fn carry_out(
    desk: &Arc<Desk>,
    acting: Acting,
    turn: MutexGuard<'_, ()>,
    id: SourceId,
    (config, named): (SourceConfig, Vec<String>),
) -> Result<Response, Refused> {
    let before = known(desk, id.as_str());
    // Under `turn` nothing else changes it meanwhile.
    let pins = before
        .as_ref()
        .and_then(|before| repinned(&desk.registry, &before.config, &config));
    let command = match pins {
        Some(pins) => Command::PinSource {
            id: id.clone(),
            pins,
        },
        None => Command::PutSource {
            id: id.clone(),
            config: config.clone(),
            pins: named,
        },
    };
    act(desk, &acting, command).await?;
    // What was given to one app is not for another.
    if before
        .as_ref()
        .is_some_and(|before| before.config.kind != config.kind)
    {
        forget(desk, &id).await?;
    }
    // Its folder may be on a disk that does not answer.
    drop((turn, acting));
    let looked = follow(desk, &id, before.as_deref()).await;
    let source = Value::Object(configured(desk, &id, &config));
    if let Err(why) = looked {
        return Ok(refused(
            desk,
            source,
            format!("saved, but it cannot be used now: {why}"),
        ));
    }
    // In the manifest's order; the same for a source that is switched off for now.
    let names = desk
        .registry
        .of_source(&config)
        .map(|c| c.offer.manifest.clone());
    let registered: Vec<CapabilityId> = names
        .iter()
        .flat_map(|manifest| &manifest.capabilities)
        .filter(|capability| capability.audience == Audience::Agents)
        .filter_map(|capability| CapabilityId::of(&id, &capability.name).ok())
        .collect();
    let revision = desk.catalogue.load().revision;
    Ok(ok(
        &json!({"ok": true, "source": source, "registered": registered, "revision": revision}),
    ))
}

/// Looks at a source that was changed, and tells who listens.
async fn follow(desk: &Desk, id: &SourceId, before: Option<&Source>) -> Result<(), String> {
    let looked = desk.look_at(id).await;
    let after = known(desk, id.as_str());
    if before != after.as_deref() {
        renew(desk, id, before, after.as_deref());
    }
    looked
}

/// Builds the catalogue anew and tells what came, what went and what is not as it was.
fn renew(desk: &Desk, id: &SourceId, before: Option<&Source>, after: Option<&Source>) {
    let old = of_source(&desk.catalogue.load(), id);
    let state = desk.ledger.snapshot();
    let new: Vec<CapabilityId> = after.map_or_else(Vec::new, |source| {
        source
            .capabilities
            .keys()
            .filter(|id| state.capability(id).is_some())
            .cloned()
            .collect()
    });
    let moved = before.map(|s| s.revision) != after.map(|s| s.revision);
    desk.renew_catalogue(Some(Changed {
        added: new.iter().filter(|id| !old.contains(id)).cloned().collect(),
        removed: old.iter().filter(|id| !new.contains(id)).cloned().collect(),
        updated: new
            .iter()
            .filter(|id| moved && old.contains(id))
            .cloned()
            .collect(),
    }));
}

fn of_source(catalogue: &Catalogue, id: &SourceId) -> Vec<CapabilityId> {
    catalogue
        .iter()
        .filter(|e| &e.source == id)
        .map(|e| e.id.clone())
        .collect()
}

/// Deletes the secrets of a source that is gone, so that no later one of its name is given them.
async fn forget(desk: &Arc<Desk>, id: &SourceId) -> Result<(), Refused> {
    let (here, source) = (desk.clone(), id.clone());
    let forgotten = blocking(move || secrets::forget(&here.state_dir, &source)).await?;
    forgotten.map_err(|error| {
        tracing::error!(name: "secret.left_behind", source = %id, %error, "secrets of a source that is gone cannot be deleted");
        failed_halfway(format!(
            "The source is gone; its secrets cannot be deleted: {error}. Delete secrets/{id}.* in the state directory before another source has this id."
        ))
    })
}

/// Starts the workers of a source afresh, with what they read at their start.
pub(super) async fn restart(desk: &Desk, id: &SourceId) -> Result<(), String> {
    desk.supervisor.remove(id).await;
    desk.look_at(id).await
}
