//! Sources: what the owner configured, and changing it (docs/protocol/owner.md#sources, docs/design.md#re-gating).
//!
//! Invariant: each change in this order: the machine records it (and voids what must not survive it), the source is
//! looked at, its workers are put in place, the catalogue is built anew and listeners are notified. Changes are recorded
//! one at a time; nobody waits for another's look. The rules of hiding change beside them: they wait for no
//! other change, and need no look.

use super::survey::{KEPT_ID, has_worker};
use crate::{
    acting::{Acting, Narrowing},
    acts::{act, blocking, event_of, failed, failed_halfway, narrow},
    desk::Desk,
    table::{Reading, Served},
};
use plexus_calls::{approvals::change, events::Changed, finish::to_its_end};
use plexus_edge::reply::Refused;
use plexus_ipc::manifest::{Audience, HideKind};
use plexus_owner::{
    Done,
    sources::{
        self, Add, AddResult, Approval, ConfiguredSource, Disable, Enable, EndResult, Health,
        HealthStatus, HiddenParts, HideResult, Lending, List, Reconfigure, Remove, Resume,
        Resumption, SourceRow, Sources, Stopped,
    },
};
use plexus_protocol::{CapabilityId, ErrorBody, ErrorCode, PendingId, SourceId};
use plexus_sources::{
    catalogue::Catalogue,
    code,
    configure::{Objection, SourceRequest, repinned, shown_route},
    secrets,
};
use plexus_supervisor::SourceHealth;
use plexus_trust::{Command, Hide, Item, Reply, Source, SourceConfig, Target};
use serde::Serialize;
use serde_json::{Map, Value, json};
use std::{collections::BTreeMap, path::PathBuf, sync::Arc};
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

pub(super) fn serve(served: Served) -> Served {
    let changes = served.with(add).with(enable).with(disable);
    let changes = changes.with(reconfigure).with(resume).with(remove);
    changes.with(list).with(hide)
}

pub(crate) async fn list(desk: Arc<Desk>, _: Reading, _: List) -> Result<Sources, Refused> {
    let state = desk.ledger.snapshot();
    let now = desk.clock.now();
    let catalogue = desk.catalogue.load();
    // What a lending that ended leaves behind is no source any more: see `lend`.
    let there = state
        .sources
        .values()
        .filter(|source| !source.config.is_over());
    let rows = there.map(|source| {
        let live = catalogue.iter().filter(|e| e.source == source.id).count();
        SourceRow {
            source: configured(&desk, &source.id, &source.config),
            live: live > 0,
            live_capability_count: live,
            health: health_now(&desk, source),
            provenance: source.config.provenance,
            suspended_grants: state.resting(source, now).count(),
            stopped: stopped(source),
        }
    });
    Ok(Sources {
        sources: rows.collect(),
        revision: catalogue.revision,
    })
}

/// How a source does, as far as is known: one that is stopped is asked nothing.
pub(crate) fn health_now(desk: &Desk, source: &Source) -> Health {
    match stopped(source) {
        Some(stopped) => health_of_stopped(&source.id, &stopped),
        None => health(desk, &source.id, desk.supervisor.health(&source.id)),
    }
}

/// How a source does, for the owner; one whose server wants more than its sign-in is good for serves in part.
pub(super) fn health(desk: &Desk, source: &SourceId, of: SourceHealth) -> Health {
    let wanted_scope = desk.wanted_scopes.of(source);
    if let Some(wanted) = &wanted_scope
        && of.status != plexus_supervisor::Health::Unavailable
    {
        let why = format!(
            "its server wants more than your sign-in is good for{}. If you want that, sign in again: plexusctl mcp login {source}",
            wanted.in_its_words()
        );
        return Health {
            status: HealthStatus::Degraded,
            detail: Some(why),
            wanted_scope,
            checked_at: of.checked_at,
        };
    }
    Health {
        wanted_scope,
        status: match of.status {
            plexus_supervisor::Health::Ok => HealthStatus::Ok,
            plexus_supervisor::Health::Degraded => HealthStatus::Degraded,
            plexus_supervisor::Health::Unavailable => HealthStatus::Unavailable,
            plexus_supervisor::Health::Unknown => HealthStatus::Unknown,
        },
        detail: of.detail,
        checked_at: of.checked_at,
    }
}

/// Why nothing of a source is started, where what it runs is not what the owner agreed to.
pub(crate) fn stopped(source: &Source) -> Option<Stopped> {
    let stopped = source.stopped.as_ref()?;
    let (found, agreed) = stopped.differs(source.agreed());
    Some(Stopped {
        at: stopped.at,
        pending_id: change::id(source).filter(|_| source.asks()),
        found,
        agreed,
    })
}

/// That it is stopped, and the command that helps.
pub(super) fn why_stopped(source: &Source) -> Option<String> {
    health_of_stopped(&source.id, &stopped(source)?).detail
}

/// How a source does of which nothing is started: nobody is there to be asked.
pub(super) fn health_of_stopped(source: &SourceId, stopped: &Stopped) -> Health {
    let next = match &stopped.pending_id {
        Some(card) => format!("plexusctl approvals show {card}"),
        None => format!("plexusctl sources resume {source}"),
    };
    let why = format!("what it runs is not what you agreed to, so it is stopped: {next}");
    Health {
        status: HealthStatus::Unavailable,
        detail: Some(why),
        wanted_scope: None,
        checked_at: Some(stopped.at),
    }
}

/// Puts workers of a source in place whose code the owner has agreed to: those of `before` compare it with what was agreed to
/// then.
pub(super) async fn resumed_code(desk: &Desk, before: &Source) -> Result<(), Refused> {
    let is_same = known(desk, before.id.as_str()).is_some_and(|now| now.pins == before.pins);
    if before.stopped.is_none() && is_same {
        return Ok(());
    }
    let looked = desk.look_at(&before.id).await;
    looked.map_err(|why| failed_halfway(format!("it is agreed to, and does not serve: {why}")))
}

/// Agrees to a source with the code and the folders that were shown, and to no other code; then looks at it with that in force.
///
/// # Errors
/// The source is gone, the act cannot be recorded, or it does not serve; the inner one: why it is not as it was shown. What
/// differs is not agreed to.
pub(super) async fn agreed_as_shown(
    desk: &Arc<Desk>,
    narrowing: &Narrowing,
    id: &SourceId,
    (code, folders): (&[String], &BTreeMap<String, Target>),
) -> Result<Result<(), String>, Refused> {
    let as_shown = |source: &Source| {
        let mut folders_shown = folders.iter();
        let unseen = folders_shown.find(|(field, _)| !source.paths.contains_key(*field));
        if let Some((_, folder)) = unseen {
            let why = format!("{} is missing, or its disk does not answer", folder.path);
            return Err(why);
        }
        match source.is_as_shown(code) && source.paths == *folders {
            true => Ok(()),
            false => Err("a program or folder of it is not as it was shown".to_owned()),
        }
    };
    let acting = narrowing.wider(desk).await?;
    // Under `turn` no look changes it between the comparison and the act.
    let turn = desk.turn().await;
    let source = known(desk, id.as_str()).ok_or_else(|| failed("the source is gone"))?;
    if let Err(why) = as_shown(&source) {
        return Ok(Err(why));
    }
    let agreed = Command::AgreeToSource {
        id: id.clone(),
        revision: source.revision,
        pins: code.to_vec(),
    };
    act(desk, &acting, agreed).await?;
    drop((turn, acting));
    resumed_code(desk, &source).await?;
    Ok(match known(desk, id.as_str()) {
        Some(now) => as_shown(&now),
        None => Err("it was removed meanwhile".to_owned()),
    })
}

/// Looks once more at a source that is stopped: what it runs may be again what the owner agreed to.
pub(super) async fn compared_again(desk: &Arc<Desk>, before: &Source) {
    let (here, id, revision) = (desk.clone(), before.id.clone(), before.revision);
    to_its_end(async move {
        if let Err(why) = here.look_at(&id).await {
            tracing::warn!(name: "source.unusable", source = %id, error = why, "a source cannot be used");
        }
        if known(&here, id.as_str()).is_none_or(|now| now.revision != revision) {
            here.renew_catalogue(None);
        }
    })
    .await;
}

pub(super) fn configured(desk: &Desk, id: &SourceId, config: &SourceConfig) -> ConfiguredSource {
    let connector = desk.registry.of_source(config);
    let transport = connector
        .as_ref()
        .map_or("ipc", |c| c.offer.manifest.transport.as_str());
    ConfiguredSource {
        id: id.clone(),
        kind: config.kind.clone(),
        label: config.label.clone(),
        enabled: config.enabled,
        transport: transport.to_owned(),
        route: config.route.as_object().cloned(),
        secret_ref: config.secret_ref.clone(),
        approval: config.ask.then_some(Approval::Ask),
        lent: config.lent.as_ref().map(|lent| Lending {
            agent: lent.agent.clone(),
            until: lent.until,
            capabilities: lent.capabilities.clone(),
            ended: lent.ended,
        }),
        hide: Some(parts(&config.hide)).filter(|_| !config.hide.is_empty()),
    }
}

fn parts(hide: &Hide) -> HiddenParts {
    HiddenParts {
        folders: hide.folders.clone(),
        globs: hide.globs.clone(),
        tags: hide.tags.clone(),
    }
}

/// A source or a change of one as a body that configures it.
pub(super) fn members(of: &impl Serialize) -> Map<String, Value> {
    match serde_json::to_value(of) {
        Ok(Value::Object(members)) => members,
        _ => Map::new(),
    }
}

pub(super) async fn add(
    desk: Arc<Desk>,
    narrowing: Narrowing,
    call: Add,
) -> Result<AddResult, Refused> {
    if call.kind.trim().is_empty() {
        return Err(Refused::malformed("`kind` is required"));
    }
    let mut whole = members(&call);
    let only_new = whole.remove("onlyNew") == Some(Value::Bool(true));
    Ok(placed(&desk, &narrowing, whole, None, only_new).await??)
}

/// Adds a source whose code was `shown`, or puts it in place of the one of its id.
pub(super) async fn added(
    desk: &Arc<Desk>,
    narrowing: &Narrowing,
    whole: Map<String, Value>,
    shown: &[String],
) -> Result<Result<AddResult, AddRefusal>, Refused> {
    placed(desk, narrowing, whole, Some(shown), false).await
}

/// The same; where it is to be `only_new`, it takes the id of none that is there.
async fn placed(
    desk: &Arc<Desk>,
    narrowing: &Narrowing,
    whole: Map<String, Value>,
    shown: Option<&[String]>,
    only_new: bool,
) -> Result<Result<AddResult, AddRefusal>, Refused> {
    let checked = Checked::of(desk, whole, shown).await;
    let acting = narrowing.wider(desk).await?;
    let turn = desk.turn().await;
    if let Ok((id, _)) = &checked.wanted
        && let Some(there) = known(desk, id.as_str()).filter(|_| only_new)
    {
        let why = format!(
            "There is a source {id} already, of the kind {}.",
            there.config.kind
        );
        let error = ErrorBody::new(ErrorCode::PreconditionChanged, why)
            .detail(json!({"field": "id"}))
            .next(format!("plexusctl sources set {id}"));
        return Err(Refused::new(error));
    }
    put(desk, acting, turn, checked).await
}

pub(super) async fn reconfigure(
    desk: Arc<Desk>,
    narrowing: Narrowing,
    call: Reconfigure,
) -> Result<AddResult, Refused> {
    Ok(reconfigured(&desk, &narrowing, &call).await??)
}

/// Changes the named members of a source.
pub(super) async fn reconfigured(
    desk: &Arc<Desk>,
    narrowing: &Narrowing,
    call: &Reconfigure,
) -> Result<Result<AddResult, AddRefusal>, Refused> {
    let id = &call.id;
    loop {
        let Some(source) = known(desk, id) else {
            return Ok(Err(no_such(desk, id)));
        };
        let mut whole = members(&configured(desk, &source.id, &source.config));
        whole.extend(members(call));
        let checked = Checked::of(desk, whole, None).await;
        let acting = narrowing.wider(desk).await?;
        let turn = desk.turn().await;
        // Changed while it was checked: what stays is read anew.
        if known(desk, id).is_some_and(|now| Arc::ptr_eq(&now, &source)) {
            return put(desk, acting, turn, checked).await;
        }
    }
}

/// Hides more of a source from agents, or shows it again; without any rule it says what is hidden.
async fn hide(
    desk: Arc<Desk>,
    narrowing: Narrowing,
    call: sources::Hide,
) -> Result<HideResult, Refused> {
    let (id, remove) = (&call.id, call.remove);
    let source = known(&desk, id).ok_or_else(|| no_such(&desk, id))?;
    let connector = desk.registry.of_source(&source.config);
    let hides = connector
        .map(|c| c.offer.manifest.hides.clone())
        .unwrap_or_default();
    let (there, mut rules) = (&source.config.hide, Hide::default());
    #[rustfmt::skip]
    let rows = [
        ("folders", HideKind::Folder, &call.folders, &there.folders, &mut rules.folders),
        ("globs", HideKind::Glob, &call.globs, &there.globs, &mut rules.globs),
        ("tags", HideKind::Tag, &call.tags, &there.tags, &mut rules.tags),
    ];
    for (key, kind, given, there, rules) in rows {
        for text in given {
            if !hides.contains(&kind) {
                return Err(Refused::malformed(format!("{id} cannot hide {key}")));
            }
            let rule = hidden(kind, text);
            let rule = rule.map_err(|why| Refused::malformed(why).about(key))?;
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
        state.resting(&source, desk.clock.now()).count()
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
    let now = known(&desk, id).unwrap_or_else(|| source.clone());
    if now.revision != source.revision {
        if let Err(why) = desk.replace_workers(&now).await {
            tracing::warn!(name: "source.unusable", source = %now.id, error = why, "a source cannot be used");
        }
        renew(&desk, &now.id, Some(&source), Some(&now));
    }
    Ok(HideResult {
        ok: Done,
        id: source.id.clone(),
        hide: parts(&now.config.hide),
        suspended_grants: resting(&desk),
    })
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
    desk: Arc<Desk>,
    acting: Acting,
    call: Enable,
) -> Result<AddResult, Refused> {
    let turn = desk.turn().await;
    let source = known(&desk, &call.id).ok_or_else(|| no_such(&desk, &call.id))?;
    let config = SourceConfig {
        enabled: true,
        ..source.config.clone()
    };
    if let Some(connector) = desk.registry.of_source(&config) {
        has_worker(&desk, &connector.offer)?;
    }
    let id = source.id.clone();
    Ok(carry_out(&desk, acting, turn, id, (config, Vec::new())).await??)
}

/// `ok` whether there is such a source or not (docs/protocol/owner.md#sources); `known` says which.
pub(super) async fn disable(
    desk: Arc<Desk>,
    narrowing: Narrowing,
    call: Disable,
) -> Result<EndResult, Refused> {
    let turn = desk.turn().await;
    let source = known(&desk, &call.id);
    let grants = source.as_ref().map(|_| granted_on(&desk, &call.id));
    if let Some(source) = &source {
        let id = source.id.clone();
        narrow(&desk, &narrowing, Command::DisableSource { id }).await?;
        drop(turn);
        let _ = follow(&desk, &source.id, Some(source)).await;
    }
    Ok(EndResult {
        ok: Done,
        known: source.is_some(),
        grant_count: grants,
        request_count: Some(waiting_for(&desk, &call.id)).filter(|count| *count > 0),
    })
}

/// How many grants a source has, suspended ones too.
pub(super) fn granted_on(desk: &Desk, source: &str) -> usize {
    let (state, now) = (desk.ledger.snapshot(), desk.clock.now());
    let grants = state.agents.values().flat_map(|a| a.grants.values());
    let on_it = grants.filter(|grant| grant.capability.parts().0 == source);
    on_it.filter(|grant| !state.has_ended(grant, now)).count()
}

/// How many requests for a source wait.
fn waiting_for(desk: &Desk, source: &str) -> usize {
    let state = desk.ledger.snapshot();
    let now = state.time(desk.clock.now());
    let items = state.agents.values().flat_map(|a| a.items.values());
    let waits = items.filter(|item| item.waits(now));
    let is_for = |item: &Item| {
        item.asks
            .iter()
            .any(|ask| ask.capability.parts().0 == source)
    };
    waits.filter(|item| is_for(item)).count()
}

/// Lets grants that rest since the source changed be used again.
async fn resume(desk: Arc<Desk>, acting: Acting, call: Resume) -> Result<Resumption, Refused> {
    let now = || known(&desk, &call.id).ok_or_else(|| no_such(&desk, &call.id));
    let mut source = now()?;
    let was_stopped = source.stopped.is_some();
    if was_stopped {
        compared_again(&desk, &source).await;
        source = now()?;
    }
    let state = desk.ledger.snapshot();
    let rests = state.resting(&source, desk.clock.now()).next().is_some();
    // A look cannot tell what else changed while it was stopped: its card shows that, however often this is asked for.
    if source.stopped.is_none() && rests && (was_stopped || source.code_differed()) {
        let why = "is stopped no more. Its grants are suspended until you decide on its card.";
        return Err(on_its_card(&source, why));
    }
    let goes_on = was_stopped && source.stopped.is_none();
    if source.asks() {
        return Err(stopped_first(&source));
    }
    let receipt = act(
        &desk,
        &acting,
        Command::ResumeSource {
            id: source.id.clone(),
            // One that is stopped is asked about again: with a revision, its code would be agreed to.
            revision: source.stopped.is_none().then_some(source.revision),
            go_on: true,
        },
    )
    .await?;
    if source.stopped.is_some() {
        source = now()?;
        return Err(stopped_first(&source));
    }
    Ok(Resumption {
        ok: Done,
        id: source.id.clone(),
        resumed: goes_on || matches!(receipt.reply, Reply::Resumed { .. }),
        audit_id: event_of(&receipt),
        also_answered: answered_by_resuming(receipt.reply),
    })
}

/// The requests that resumed grants answered.
pub(super) fn answered_by_resuming(reply: Reply) -> Vec<PendingId> {
    match reply {
        Reply::Resumed { also } => also,
        _ => Vec::new(),
    }
}

/// Code is agreed to on a card that shows it.
fn stopped_first(source: &Source) -> Refused {
    let why = "runs something else than you agreed to; it is stopped until you decide on its card.";
    on_its_card(source, why)
}

/// What this source is, and the card that decides on it.
fn on_its_card(source: &Source, why: &str) -> Refused {
    let error = ErrorBody::new(
        ErrorCode::PreconditionChanged,
        format!("{} {why}", source.id),
    );
    Refused::new(match change::id(source) {
        Some(card) => error.next(format!("plexusctl approvals show {card}")),
        None => error.next("plexusctl approvals list"),
    })
}

/// `ok` whether there is such a source or not (docs/protocol/owner.md#sources); `known` says which.
pub(super) async fn remove(
    desk: Arc<Desk>,
    narrowing: Narrowing,
    call: Remove,
) -> Result<EndResult, Refused> {
    let grants = granted_on(&desk, &call.id);
    let known = removed(&desk, &narrowing, &call.id).await?;
    Ok(EndResult {
        ok: Done,
        known,
        grant_count: known.then_some(grants),
        request_count: None,
    })
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
    // After the last of its calls: another source may have this name.
    desk.wanted_scopes.forget(&source.id);
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

/// Why a source is not in place, or is and does not serve: the AddResult that says so.
pub(super) struct AddRefusal {
    result: Value,
    /// The reason alone, whether it is saved or not.
    pub(super) why: String,
}

impl From<AddRefusal> for Refused {
    fn from(refusal: AddRefusal) -> Self {
        Self::result(422, refusal.result)
    }
}

/// That of an id that is not configured.
fn no_such(desk: &Desk, id: &str) -> AddRefusal {
    let source = json!({"id": id, "kind": "", "label": id, "enabled": true, "transport": "ipc"});
    objected(desk, source, format!("no configured source {id:?}"))
}

fn objected(desk: &Desk, source: Value, objection: impl Into<Objection>) -> AddRefusal {
    let revision = desk.catalogue.load().revision;
    let Objection { field, why } = objection.into();
    let mut out = json!({"ok": false, "source": source, "registered": [], "revision": revision, "reason": why});
    if let Some(field) = field {
        out["field"] = json!(field);
    }
    AddRefusal { result: out, why }
}

/// A whole ConfiguredSource, looked at.
struct Checked {
    shown: Value,
    wanted: Result<(SourceId, SourceConfig), Objection>,
    /// What it runs, as that was shown, or is now.
    pins: Vec<String>,
}

impl Checked {
    async fn of(
        desk: &Arc<Desk>,
        mut whole: Map<String, Value>,
        code_shown: Option<&[String]>,
    ) -> Self {
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
        let pins = match (code_shown, &wanted) {
            (Some(shown), _) => shown.to_vec(),
            (None, Ok((id, config))) => match desk.registry.of_source(config) {
                Some(connector) => code::seen(&connector.offer.manifest, config, id).await,
                None => Vec::new(),
            },
            (None, Err(_)) => Vec::new(),
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
) -> Result<Result<AddResult, AddRefusal>, Refused> {
    match wanted {
        Err(objection) => Ok(Err(objected(desk, shown, objection))),
        Ok((id, mut config)) => {
            // Whom it is lent to is no member of a body: it stays, or there is a new source.
            let there = desk.ledger.snapshot().sources.get(&id).cloned();
            config.lent = there.as_ref().and_then(|s| s.config.lent.clone());
            // Nor is what it hides: see `hide`.
            let same_kind = there.filter(|s| s.config.kind == config.kind);
            config.hide = same_kind.map(|s| s.config.hide.clone()).unwrap_or_default();
            if config.is_over() {
                return Ok(Err(objected(desk, shown, KEPT_ID.to_owned())));
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
) -> Result<Result<AddResult, AddRefusal>, Refused> {
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
    let source = configured(desk, &id, &config);
    if let Err(why) = looked {
        let said = format!("saved, but it cannot be used now: {why}");
        let refusal = objected(desk, json!(source), said);
        return Ok(Err(AddRefusal { why, ..refusal }));
    }
    // In the manifest's order; the same for a source that is switched off for now.
    let names = desk
        .registry
        .of_source(&config)
        .map(|c| c.offer.manifest.clone());
    let registered = names
        .iter()
        .flat_map(|manifest| &manifest.capabilities)
        .filter(|capability| capability.audience == Audience::Agents)
        .filter_map(|capability| CapabilityId::of(&id, &capability.name).ok())
        .collect();
    Ok(Ok(AddResult {
        ok: Done,
        source,
        registered,
        revision: desk.catalogue.load().revision,
        shares_folder_with: sharing(desk, &id, &config),
    }))
}

/// The other sources that open the folder of this one, a folder within it or one around it.
fn sharing(desk: &Desk, id: &SourceId, config: &SourceConfig) -> Vec<SourceId> {
    let folder_of = |config: &SourceConfig| {
        let connector = desk.registry.of_source(config)?;
        let root = connector.offer.manifest.root.as_deref()?;
        config.route.get(root)?.as_str().map(PathBuf::from)
    };
    let Some(folder) = folder_of(config) else {
        return Vec::new();
    };
    let state = desk.ledger.snapshot();
    let others = state.sources.values();
    let others = others.filter(|other| other.id != *id && !other.config.is_over());
    let shares = |other: PathBuf| other.starts_with(&folder) || folder.starts_with(other);
    others
        .filter(|other| folder_of(&other.config).is_some_and(shares))
        .map(|other| other.id.clone())
        .collect()
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
