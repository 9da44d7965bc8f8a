//! MCP servers that the owner lends: what one is and may reach, shown before it is there; adding, comparing, removing
//! (ours).
//!
//! ```text
//! preview: a worker of the server in its cage ─▶ what it says ─▶ manifest, digest ─▶ shown
//! add: the same again ─▶ the digest that was shown? ─▶ extensions/<id>.json ─▶ registry ─▶ source, still the same? ─▶ look
//! ```
//! Invariants: the server runs in its cage and nowhere else; a preview changes nothing; what is added is what was shown.
//!
//! Must not know: what a tool does.

use super::{
    Narrowing, declared,
    servers::{InspectedServer, ServerAsk, facts, installed, taken},
    sign_ins::{self, FIELD},
    sources::{
        added, agreed_as_shown, configured, granted_on, known, members, removed, restart,
        why_stopped,
    },
    survey::is_installed,
};
use crate::{
    acts::{blocking, failed, failed_halfway, unsaved},
    desk::Desk,
    table::{Reading, Served},
};
use axum::{
    http::header::CONTENT_TYPE,
    response::{IntoResponse as _, Response},
};
use plexus_edge::reply::Refused;
use plexus_owner::{
    Done,
    extensions::{
        Add, AddedExtension, Draft, ExtensionPreview, Extensions, InstallResult,
        InstalledExtension, LentServer, LentTool, List, Preview, RefusedExtension, Remove,
        RemovedExtension, Show,
    },
};
use plexus_protocol::{Effect, ErrorBody, ErrorCode, SourceId};
use plexus_sources::{extensions::LISTING, let_go, naming::is_by_manifest, secrets};
use serde_json::{Value, json};
use std::sync::Arc;
use zeroize::Zeroizing;

pub(super) fn serve(served: Served) -> Served {
    let reads = served.with(list).with(show).with(preview);
    reads.with(add).with(remove)
}

pub(crate) async fn list(desk: Arc<Desk>, _: Reading, _: List) -> Result<Extensions, Refused> {
    let rows = desk.registry.installed().into_iter();
    let rows = rows.map(|(id, read)| declared::row(&desk, &id, read));
    Ok(Extensions {
        extensions: rows.collect(),
        revision: desk.catalogue.load().revision,
    })
}

/// What the owner agreed to.
async fn show(desk: Arc<Desk>, _: Reading, call: Show) -> Result<InstalledExtension, Refused> {
    let id = &call.id;
    if let Some(source) = known(&desk, id).filter(|s| is_by_manifest(&s.config.kind)) {
        let agreed = declared::show(&desk, &source).await?;
        return Ok(InstalledExtension::Declared(Box::new(agreed)));
    }
    let (request, manifest) = installed(&desk, id).await?;
    let tools = manifest.capabilities.iter().filter(|c| c.name != LISTING);
    let tools = tools.map(|tool| LentTool {
        name: tool.name.clone(),
        description: tool.describe.clone(),
        verbs: tool.verbs,
        sensitivity: tool.sensitivity,
        input: tool.input.clone(),
    });
    let hidden = declared::hidden(&desk, &request.name);
    let withheld = manifest.mcp.iter().flat_map(|pins| pins.withheld.keys());
    let withheld = withheld.filter(|name| !hidden.contains(*name)).cloned();
    Ok(InstalledExtension::Server(Box::new(LentServer {
        server: facts(&request),
        ok: Done,
        unusable: known(&desk, id).and_then(|source| why_stopped(&source)),
        tools: tools.collect(),
        withheld: withheld.collect(),
        hidden,
    })))
}

/// How an extension is written.
pub(super) async fn guide() -> Response {
    let kind = [(CONTENT_TYPE, "text/markdown; charset=utf-8")];
    (kind, plexus_protocol::extension_guide()).into_response()
}

/// A server is started, or asked; a manifest alone is only read.
pub(crate) async fn preview(
    desk: Arc<Desk>,
    narrowing: Narrowing,
    Preview { draft }: Preview,
) -> Result<ExtensionPreview, Refused> {
    let by_manifest = match draft {
        Draft::Manifest(draft) if !draft.lends_server() => {
            return declared::preview(&desk, &draft).await;
        }
        Draft::Manifest(_) => true,
        Draft::Refresh(_) | Draft::Server(_) => false,
    };
    let mut asked = match ServerAsk::of(&desk, draft).await? {
        Ok(asked) => asked,
        Err(reasons) => return Ok(declared::invalid(reasons)),
    };
    // A program of the owner's is started.
    narrowing.wider(&desk).await?;
    let looked = InspectedServer::at(&desk, &mut asked).await?;
    let mut shown = match by_manifest {
        true => looked.shown_of_manifest(&asked.request),
        false => looked.shown(&asked.request),
    };
    if let Some(before) = &asked.before {
        let mut changes = looked.changes(before);
        changes.unchanged = looked.is_agreed(&desk, &asked.request.name).await?;
        changes.files = looked.other_code(&desk, &asked.request.name).await;
        shown.changes = Some(changes);
    }
    Ok(ExtensionPreview::Server(Box::new(shown)))
}

/// Why an extension is not installed.
pub(super) fn not_added(desk: &Desk, status: u16, source: &str, reason: String) -> Refused {
    let refused = RefusedExtension {
        ok: false,
        source: source.to_owned(),
        registered: [],
        revision: desk.catalogue.load().revision,
        reason,
    };
    Refused::result(status, json!(refused))
}

/// The refusal of what was agreed to without its digest.
pub(super) fn undigested() -> Refused {
    Refused::malformed("`digest` is required: that of what a preview showed")
}

/// The same with `digest`, of what was shown.
pub(crate) async fn add(
    desk: Arc<Desk>,
    narrowing: Narrowing,
    call: Add,
) -> Result<InstallResult, Refused> {
    let by_manifest = match &call.draft {
        Draft::Manifest(draft) if !draft.lends_server() => {
            let (digest, keeps) = (call.digest, call.keep_secrets);
            let added = declared::add(&desk, &narrowing, draft, digest, keeps).await?;
            return Ok(InstallResult::Extension(added));
        }
        Draft::Manifest(draft) => Some(draft.source().to_owned()),
        Draft::Refresh(_) | Draft::Server(_) => None,
    };
    let mut asked = match ServerAsk::of(&desk, call.draft).await? {
        Ok(asked) => asked,
        Err(reasons) => {
            let source = by_manifest.as_deref().unwrap_or_default();
            return Err(not_added(&desk, 200, source, reasons.join("; ")));
        }
    };
    let digest = call.digest.ok_or_else(undigested)?;
    let name = asked.request.name.clone();
    if asked.before.is_none() && known(&desk, name.as_str()).is_some() {
        return Err(taken(&desk, &name));
    }
    narrowing.wider(&desk).await?;
    let looked = InspectedServer::at(&desk, &mut asked).await?;
    if looked.digest() != digest {
        let why = format!(
            "{name} says something else than what you were shown, or its program is another one: look again."
        );
        let error = ErrorBody::new(ErrorCode::PreconditionChanged, why);
        return Err(Refused::new(error.next("plexusctl mcp list")));
    }
    let (here, id, text) = (desk.clone(), name.clone(), looked.generated.text.clone());
    let given = asked.values.clone();
    // As the look has left it: what it began with is used up.
    let signed_in = match &asked.sign_in {
        Some(made) => {
            let record = desk.sign_ins.record(made).ok_or_else(sign_ins::gone)?;
            Some(Zeroizing::new(record.expose().to_owned()))
        }
        None => None,
    };
    let field = FIELD.to_owned();
    let installed = blocking(move || {
        let signed_in = signed_in.iter().map(|record| (&field, record));
        for (field, value) in given.iter().chain(signed_in) {
            let name = format!("{id}.{field}");
            let written = secrets::write(&here.state_dir, &name, value.as_bytes());
            written.map_err(|error| format!("secrets/{name}: {error}"))?;
        }
        let (registry, state_dir) = (&here.registry, &here.state_dir);
        let installed = registry.install(state_dir, &id, &text);
        installed.map_err(|why| format!("{why:#}"))?;
        // All that it says now was shown.
        let forgotten = registry.propose(state_dir, &id, None);
        forgotten.map_err(|error| error.to_string())
    });
    installed
        .await?
        .map_err(|why| unsaved(format!("it cannot be kept: {why}"), Effect::None))?;
    let Value::Object(mut source) = asked.request.source(&name) else {
        return Err(failed("no source"));
    };
    if let Some(there) = known(&desk, name.as_str()) {
        // What the owner has said of it otherwise stays.
        let route = source.remove("route");
        source = members(&configured(&desk, &name, &there.config));
        source.extend(route.map(|route| ("route".to_owned(), route)));
    }
    let answer = added(&desk, &narrowing, source, &looked.files).await;
    let is_there = known(&desk, name.as_str()).is_some();
    if !is_there {
        uninstall(&desk, &name).await?;
        let (here, of) = (desk.clone(), name.clone());
        let forgotten = blocking(move || secrets::forget(&here.state_dir, &of)).await?;
        forgotten
            .map_err(|error| failed(format!("secrets/{name}.* cannot be deleted: {error}")))?;
    } else {
        let is_new = asked.before.is_none();
        if !is_new {
            // Its workers still have the manifest of before.
            let restarted = restart(&desk, &name).await;
            restarted.map_err(|why| {
                failed_halfway(format!("it is changed, and does not serve: {why}"))
            })?;
        }
        let shown = (&*looked.files, &looked.folders);
        if let Err(why) = agreed_as_shown(&desk, &narrowing, &name, shown).await? {
            let unusable = answer.ok().and_then(Result::err);
            let why =
                unusable.map_or_else(|| why.clone(), |refusal| format!("{why}; {}", refusal.why));
            let error = not_as_shown(&desk, &narrowing, &name, is_new, &why).await?;
            return Err(Refused::new(match (&by_manifest, is_new) {
                (Some(_), _) => error.next("plexusctl extension preview FILE"),
                (None, true) => error.next("plexusctl mcp list"),
                (None, false) => error.next(format!("plexusctl mcp refresh {name}")),
            }));
        }
    }
    desk.renew_catalogue(Some(Default::default()));
    let about = json!({"event": "extension.agreed", "source": name, "digest": digest});
    if is_there {
        if let Some(made) = &asked.sign_in {
            desk.sign_ins.forget(made);
        }
        desk.remark(about).await;
        if by_manifest.is_some() {
            let tools = looked.lent(&asked.request).into_iter();
            return Ok(InstallResult::Extension(AddedExtension {
                ok: Done,
                source: asked.request.name,
                registered: tools.map(|(id, _)| id).collect(),
                revision: desk.catalogue.load().revision,
                secrets_missing: Vec::new(),
            }));
        }
    }
    Ok(InstallResult::Server(Box::new(answer??)))
}

/// The error of one that is not as it was shown: a new one is removed again.
///
/// # Errors
/// It cannot be removed.
pub(super) async fn not_as_shown(
    desk: &Arc<Desk>,
    narrowing: &Narrowing,
    id: &SourceId,
    is_new: bool,
    why: &str,
) -> Result<ErrorBody, Refused> {
    let (why, effect) = match is_new {
        true => {
            removed(desk, narrowing, id.as_str()).await?;
            uninstall(desk, id).await?;
            let why = format!("{id} is not added: {why}; preview it again.");
            (why, Effect::None)
        }
        false => {
            desk.renew_catalogue(Some(Default::default()));
            let why = format!(
                "{id} is changed, and {why}: its grants stay suspended until you decide on its card, or preview and add it again."
            );
            (why, Effect::Done)
        }
    };
    Ok(ErrorBody::new(ErrorCode::PreconditionChanged, why).effect(effect))
}

async fn remove(
    desk: Arc<Desk>,
    narrowing: Narrowing,
    call: Remove,
) -> Result<RemovedExtension, Refused> {
    let id = call.id;
    let source = known(&desk, &id);
    let capabilities = source.iter().flat_map(|source| source.capabilities.keys());
    let capabilities: Vec<_> = capabilities.cloned().collect();
    let grants = granted_on(&desk, &id);
    let (there, sign_out) = match SourceId::parse(&id) {
        Ok(name) if is_installed(&desk, &id) => {
            let told = sign_ins::sign_out_there(&desk, &name).await;
            removed(&desk, &narrowing, &id).await?;
            // What it kept is not for the next server of this name.
            let (here, folder) = (desk.clone(), id.clone());
            let aside = blocking(move || let_go::put_aside(here.state_dir.path(), &folder)).await?;
            let there = uninstall(&desk, &name).await?;
            aside.map_err(|error| {
                failed_halfway(format!("it is removed; workers/{id} cannot be: {error}"))
            })?;
            (there, told)
        }
        _ => (false, None),
    };
    Ok(RemovedExtension {
        ok: there,
        known: there,
        source: id,
        removed: if there { capabilities } else { Vec::new() },
        grant_count: there.then_some(grants),
        sign_out,
    })
}

pub(super) async fn uninstall(desk: &Arc<Desk>, id: &SourceId) -> Result<bool, Refused> {
    let (here, name) = (desk.clone(), id.clone());
    let gone = blocking(move || here.registry.uninstall(&here.state_dir, &name)).await?;
    gone.map_err(|error| failed(format!("extensions/{id}.json cannot be removed: {error}")))
}
