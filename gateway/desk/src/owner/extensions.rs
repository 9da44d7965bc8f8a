//! MCP servers that the owner lends: what one is and may reach, shown before it is there; adding, comparing, removing
//! (ours).
//!
//! ```text
//! preview: a worker of the server in its cage ─▶ what it says ─▶ manifest, digest ─▶ shown
//! add: the same again ─▶ the digest that was shown? ─▶ extensions/<id>.json ─▶ registry ─▶ source
//! ```
//! Invariants: the server runs in its cage and nowhere else; a preview changes nothing; what is added is what was shown.
//!
//! Must not know: what a tool does.

use super::{
    Narrowing,
    body::Fields,
    declared, server_manifests,
    servers::{InspectedServer, ServerAsk, files, installed, surface},
    sources::{added, configured, known, members, removed, restart, resumed_code},
    survey::is_installed,
};
use crate::{
    acts::{Named, act, blocking, failed, failed_halfway, unsaved},
    desk::Desk,
};
use axum::{
    extract::{Request, State},
    http::header::CONTENT_TYPE,
    response::{IntoResponse as _, Response},
};
use plexus_edge::reply::{Refused, ok};
use plexus_protocol::{Effect, ErrorBody, ErrorCode, SourceId};
use plexus_sources::{
    extensions::{LISTING, lends_server},
    let_go,
    naming::is_by_manifest,
    secrets,
};
use plexus_trust::Command;
use serde_json::{Value, json};
use std::sync::Arc;

pub(super) async fn list(State(desk): State<Arc<Desk>>) -> Response {
    let rows = desk.registry.installed().into_iter();
    let rows = rows.map(|(id, read)| declared::row(&desk, &id, read));
    let revision = desk.catalogue.load().revision;
    ok(&json!({"extensions": rows.collect::<Vec<_>>(), "revision": revision}))
}

/// What the owner agreed to.
pub(super) async fn show(
    State(desk): State<Arc<Desk>>,
    Named(id): Named,
) -> Result<Response, Refused> {
    if let Some(source) = known(&desk, &id).filter(|s| is_by_manifest(&s.config.kind)) {
        return declared::show(&desk, &source).await;
    }
    let (request, manifest) = installed(&desk, &id).await?;
    let tools = manifest.capabilities.iter().filter(|c| c.name != LISTING);
    let tools = tools.map(|tool| {
        json!({
            "name": tool.name, "description": tool.describe, "verbs": tool.verbs,
            "sensitivity": tool.sensitivity, "input": tool.input,
        })
    });
    let mut out = surface(&request);
    out["ok"] = json!(true);
    out["tools"] = tools.collect();
    Ok(ok(&out))
}

/// How an extension is written.
pub(super) async fn guide() -> Response {
    let kind = [(CONTENT_TYPE, "text/markdown; charset=utf-8")];
    (kind, plexus_protocol::extension_guide()).into_response()
}

/// What a body is of.
enum Form {
    /// A server, by its program or URL, or one that is there.
    Server,
    /// A server, by a manifest of the transport `mcp`.
    ServerManifest,
    /// An extension by another manifest.
    Declared,
}

impl Form {
    fn of(body: &Fields) -> Self {
        match (body.given("name"), body.given("manifest")) {
            (Some(_), _) => Self::Server,
            (None, Some(manifest)) if lends_server(manifest) => Self::ServerManifest,
            (None, _) => Self::Declared,
        }
    }
}

/// `{name, program, arguments?, environment?, secrets?, folders?, code?, reads?}`, `{name, url, secrets?, reads?}`, or
/// `{name, refresh: true}` for one that is there; an extension by manifest has no `name`, and one of the transport `mcp` is a
/// server as well. `secrets` are values by name.
pub(super) async fn preview(
    State(desk): State<Arc<Desk>>,
    narrowing: Narrowing,
    request: Request,
) -> Result<Response, Refused> {
    let body = Fields::read(request).await?;
    let mut asked = match Form::of(&body) {
        Form::Declared => return declared::preview(&desk, &body).await,
        Form::Server => ServerAsk::read(&desk, body).await?,
        Form::ServerManifest => match ServerAsk::of_manifest(&desk, &body).await? {
            Ok(asked) => asked,
            Err(reasons) => return Ok(declared::invalid(&reasons)),
        },
    };
    // A program of the owner's is started.
    narrowing.wider(&desk).await?;
    let looked = InspectedServer::at(&desk, &mut asked).await?;
    let mut out = match asked.by_manifest {
        true => looked.shown_of_manifest(&asked.request),
        false => looked.shown(&asked.request),
    };
    if let Some(before) = &asked.before {
        out["changes"] = looked.changes(before);
    }
    Ok(ok(&out))
}

/// The same with `digest`, of what was shown.
pub(super) async fn add(
    State(desk): State<Arc<Desk>>,
    narrowing: Narrowing,
    request: Request,
) -> Result<Response, Refused> {
    let body = Fields::read(request).await?;
    let mut asked = match Form::of(&body) {
        Form::Declared => return declared::add(&desk, &narrowing, &body).await,
        Form::Server => ServerAsk::read(&desk, body).await?,
        Form::ServerManifest => match ServerAsk::of_manifest(&desk, &body).await? {
            Ok(asked) => asked,
            Err(reasons) => return Ok(server_manifests::refused(&desk, &body, &reasons)),
        },
    };
    let Some(digest) = asked.digest.take() else {
        return Err(Refused::malformed(
            "`digest` is required: that of what a preview showed",
        ));
    };
    let name = asked.request.name.clone();
    if asked.before.is_none() && known(&desk, name.as_str()).is_some() {
        let why = format!("There is a source {name} already; choose another name.");
        return Err(Refused::malformed(why));
    }
    narrowing.wider(&desk).await?;
    let looked = InspectedServer::at(&desk, &mut asked).await?;
    if looked.digest() != digest {
        let why = format!(
            "{name} says something else than what you were shown, or its program is another one: look again."
        );
        let error = ErrorBody::new(ErrorCode::PreconditionChanged, why);
        return Err(Refused::new(
            error.next("plexusctl mcp add, or refresh, again"),
        ));
    }
    let (here, id, text) = (desk.clone(), name.clone(), looked.generated.text.clone());
    let given = asked.values.clone();
    let installed = blocking(move || {
        for (field, value) in given.iter() {
            let file = format!("secrets/{id}.{field}");
            let written = here.state_dir.write_private(&file, value.as_bytes());
            written.map_err(|error| format!("{file}: {error}"))?;
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
    let answer = added(&desk, &narrowing, source).await;
    let is_there = known(&desk, name.as_str()).is_some();
    if !is_there {
        uninstall(&desk, &name).await?;
        let (here, of) = (desk.clone(), name.clone());
        let forgotten = blocking(move || secrets::forget(&here.state_dir, &of)).await?;
        forgotten
            .map_err(|error| failed(format!("secrets/{name}.* cannot be deleted: {error}")))?;
    } else if asked.before.is_some() {
        // Its workers still have the manifest of before.
        let restarted = restart(&desk, &name).await;
        restarted
            .map_err(|why| failed_halfway(format!("it is changed, and does not serve: {why}")))?;
        resumed(&desk, &narrowing, &looked, &name).await?;
    } else if known(&desk, name.as_str()).is_some_and(|source| source.stopped.is_some()) {
        // It was shown that agents can change its code.
        resumed(&desk, &narrowing, &looked, &name).await?;
    }
    desk.renew_catalogue(Some(Default::default()));
    let about = json!({"event": "extension.agreed", "source": name, "digest": digest});
    if is_there {
        desk.remark(about).await;
        if asked.by_manifest {
            return Ok(server_manifests::added(&desk, &asked.request, &looked));
        }
    }
    Ok(ok(&answer??))
}

/// Lets the grants go on that were suspended for what the owner has now agreed to, unless a program or a folder was replaced
/// since it was shown.
async fn resumed(
    desk: &Arc<Desk>,
    narrowing: &Narrowing,
    looked: &InspectedServer,
    name: &SourceId,
) -> Result<(), Refused> {
    let source = known(desk, name.as_str()).ok_or_else(|| failed("the source is gone"))?;
    if files(&source) != looked.files || source.paths != looked.folders {
        return Ok(());
    }
    let resumed = Command::ResumeSource {
        id: name.clone(),
        revision: Some(source.revision),
        go_on: true,
    };
    act(desk, &narrowing.wider(desk).await?, resumed).await?;
    resumed_code(desk, &source).await
}

pub(super) async fn remove(
    State(desk): State<Arc<Desk>>,
    narrowing: Narrowing,
    Named(id): Named,
) -> Result<Response, Refused> {
    let source = known(&desk, &id);
    let capabilities = source.iter().flat_map(|source| source.capabilities.keys());
    let capabilities: Vec<_> = capabilities.cloned().collect();
    let there = match SourceId::parse(&id) {
        Ok(name) if is_installed(&desk, &id) => {
            removed(&desk, &narrowing, &id).await?;
            // What it kept is not for the next server of this name.
            let (here, folder) = (desk.clone(), id.clone());
            let aside = blocking(move || let_go::put_aside(here.state_dir.path(), &folder)).await?;
            let there = uninstall(&desk, &name).await?;
            aside.map_err(|error| {
                failed_halfway(format!("it is removed; workers/{id} cannot be: {error}"))
            })?;
            there
        }
        _ => false,
    };
    let capabilities = if there { capabilities } else { Vec::new() };
    Ok(ok(
        &json!({"ok": there, "known": there, "source": id, "removed": capabilities}),
    ))
}

pub(super) async fn uninstall(desk: &Arc<Desk>, id: &SourceId) -> Result<bool, Refused> {
    let (here, name) = (desk.clone(), id.clone());
    let gone = blocking(move || here.registry.uninstall(&here.state_dir, &name)).await?;
    gone.map_err(|error| failed(format!("extensions/{id}.json cannot be removed: {error}")))
}
