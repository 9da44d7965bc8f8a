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
    declared,
    sources::{added, known, removed, restart},
};
use crate::{
    acts::{Named, blocking, failed, failed_halfway},
    desk::Desk,
};
use axum::{
    extract::{Request, State},
    http::header::CONTENT_TYPE,
    response::{IntoResponse as _, Response},
};
use plexus_calls::own;
use plexus_edge::reply::{Refused, ok};
use plexus_ipc::manifest::{Manifest, McpPins};
use plexus_protocol::{ErrorBody, ErrorCode, SourceId};
use plexus_sources::{
    Registry,
    configure::{Wanted, look},
    extensions::{
        self, Generated, LISTING, Listing, PREVIEW, ServerRequest, agreement, described,
        is_by_manifest,
    },
    let_go,
};
use plexus_trust::{Source, Target};
use serde_json::{Map, Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};
use tokio::sync::Mutex;

/// One server is looked at at a time: they share the source's id.
static LOOKING: Mutex<()> = Mutex::const_new(());

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

/// `{name, program, arguments?, environment?, folders?, code?, reads?}`, or `{name, refresh: true}` for one that is there; an
/// extension by manifest has no `name`.
pub(super) async fn preview(
    State(desk): State<Arc<Desk>>,
    narrowing: Narrowing,
    request: Request,
) -> Result<Response, Refused> {
    let body = Fields::read(request).await?;
    if body.given("name").is_none() {
        return declared::preview(&desk, &body).await;
    }
    let mut asked = Asked::read(&desk, body).await?;
    // A program of the owner's is started.
    narrowing.wider(&desk).await?;
    let looked = Looked::at(&desk, &mut asked).await?;
    let mut out = looked.shown(&asked.request);
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
    if body.given("name").is_none() {
        return declared::add(&desk, &narrowing, &body).await;
    }
    let mut asked = Asked::read(&desk, body).await?;
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
    let looked = Looked::at(&desk, &mut asked).await?;
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
    let installed = blocking(move || here.registry.install(&here.state_dir, &id, &text)).await?;
    installed.map_err(|why| failed(format!("it cannot be kept: {why:#}")))?;
    let Value::Object(source) = asked.request.source(&name) else {
        return Err(failed("no source"));
    };
    let answer = added(&desk, &narrowing, source).await;
    let is_there = known(&desk, name.as_str()).is_some();
    if !is_there {
        uninstall(&desk, &name).await?;
    } else if asked.before.is_some() {
        // Its workers still have the manifest of before.
        let restarted = restart(&desk, &name).await;
        restarted
            .map_err(|why| failed_halfway(format!("it is changed, and does not serve: {why}")))?;
    }
    desk.renew_catalogue(Some(Default::default()));
    let about = json!({"event": "extension.agreed", "source": name, "digest": digest});
    if is_there {
        desk.remark(about).await;
    }
    answer
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

pub(super) fn is_installed(desk: &Desk, id: &str) -> bool {
    desk.registry
        .installed()
        .iter()
        .any(|(there, _)| there == id)
}

/// A source that is not there yet, as `body` would configure it, with its folders and programs as they are now.
///
/// # Errors
/// What stands against it.
pub(super) async fn surveyed(
    desk: &Desk,
    only: &Registry,
    body: &Value,
    id: SourceId,
) -> Result<Source, String> {
    let empty = Map::new();
    let wanted = Wanted {
        body: body.as_object().unwrap_or(&empty),
    };
    let (_, config) = wanted
        .inspect(only, &desk.state_dir)
        .await
        .map_err(|objection| objection.why)?;
    // The revision is of no look before: nothing that is left of one answers for this one.
    let mut source = Source::new(id, config, desk.clock.now().0);
    let seen = look(only, &source, &desk.state_dir).await?;
    (source.paths, source.base) = (seen.paths, seen.base);
    Ok(source)
}

/// A server that is there, as it was asked for and agreed to.
async fn installed(desk: &Arc<Desk>, id: &str) -> Result<(ServerRequest, Manifest), Refused> {
    let none = || {
        let error = ErrorBody::new(
            ErrorCode::NotFound,
            format!("No extension and no MCP server {id:?} is there."),
        );
        Refused::new(error.next("plexusctl mcp list"))
    };
    let name = SourceId::parse(id).map_err(|_| none())?;
    let source = known(desk, id)
        .filter(|_| is_installed(desk, id))
        .ok_or_else(none)?;
    let (here, of) = (desk.clone(), name.clone());
    let text = blocking(move || extensions::stored(&here.state_dir, &of)).await?;
    let text = text.map_err(|error| failed(format!("extensions/{name}.json: {error}")))?;
    let manifest = Manifest::parse(&text).map_err(|why| failed(why.to_string()))?;
    let request = ServerRequest::installed(&name, &manifest, &source.config.route);
    Ok((request.map_err(failed)?, manifest))
}

/// What a body asks for.
struct Asked {
    request: ServerRequest,
    digest: Option<String>,
    /// Of one that is there, its tools as they were agreed to.
    before: Option<McpPins>,
}

impl Asked {
    async fn read(desk: &Arc<Desk>, mut body: Fields) -> Result<Self, Refused> {
        let digest = body.text("digest")?.map(str::to_owned);
        if body.flag("refresh")? == Some(true) {
            let name = body.text("name")?.unwrap_or_default();
            let (mut request, manifest) = installed(desk, name).await?;
            // A read is one by the owner's word for the tool as it was; one that is gone is none any more.
            if let Some(reads) = body.typed::<BTreeSet<String>>("reads")? {
                request.reads = reads;
            }
            let before = Some(manifest.mcp.unwrap_or_default());
            return Ok(Self {
                request,
                digest,
                before,
            });
        }
        body.0
            .retain(|key, _| !matches!(key.as_str(), "digest" | "refresh"));
        let request = serde_json::from_value(Value::Object(body.0));
        let request = request.map_err(|why| Refused::malformed(why.to_string()))?;
        Ok(Self {
            request,
            digest,
            before: None,
        })
    }
}

/// A server that was looked at.
struct Looked {
    listing: Listing,
    generated: Generated,
    /// Which files its programs are, as rules of the source.
    programs: Vec<String>,
    /// Which folders it has, by field.
    folders: BTreeMap<String, Target>,
}

impl Looked {
    async fn at(desk: &Arc<Desk>, asked: &mut Asked) -> Result<Self, Refused> {
        let request = &mut asked.request;
        let unusable = |why: String| Refused::malformed(why);
        let only = desk.registry.only(request.to_ask().map_err(unusable)?);
        let id = SourceId::parse(PREVIEW).map_err(|why| failed(why.to_string()))?;
        let body = request.source(&request.name);
        let source = surveyed(desk, &only, &body, id).await.map_err(unusable)?;
        let programs = source
            .base
            .iter()
            .filter(|rule| rule.starts_with("program "));
        let programs: Vec<String> = programs.cloned().collect();
        if programs.is_empty() {
            return Err(unusable(format!("there is no program {}", request.program)));
        }
        let looking = LOOKING.lock().await;
        let spec = desk.spec_in(&only, &source).await.map_err(unusable)?;
        let told = own::ask_once(&desk.edge.kernel, spec, LISTING).await;
        let here = desk.clone();
        let left = blocking(move || let_go::put_aside(here.state_dir.path(), PREVIEW));
        if let Err(error) = left.await? {
            tracing::warn!(name: "extension.left_behind", %error, "what a server wrote while it was looked at cannot be removed");
        }
        drop(looking);
        let told = told.map_err(Refused::new)?;
        let listing: Listing = serde_json::from_str(told.get())
            .map_err(|why| failed(format!("the worker's answer: {why}")))?;
        if asked.before.is_some() {
            // One that is gone is no read any more.
            let there: BTreeSet<_> = listing.tools.iter().map(|t| t["name"].as_str()).collect();
            request.reads.retain(|read| there.contains(&Some(read)));
        }
        // Schemas of a third party are compiled.
        let (wanted, told) = (request.clone(), listing.clone());
        let generated = blocking(move || wanted.generate(&told)).await?;
        Ok(Self {
            listing,
            generated: generated.map_err(unusable)?,
            programs,
            folders: source.paths,
        })
    }

    fn digest(&self) -> String {
        agreement(&self.generated.text, &self.programs, &self.folders).to_string()
    }

    /// The whole surface.
    fn shown(&self, request: &ServerRequest) -> Value {
        let refused = |name: &str| {
            let mut refused = self.generated.refused.iter();
            refused.find(|(known, _)| known == name).map(|(_, why)| why)
        };
        let tools = self.listing.tools.iter().map(|tool| {
            let name = tool["name"].as_str().unwrap_or_default();
            let is_read = request.reads.contains(name);
            json!({
                "name": name,
                "description": described(tool),
                "input": tool["inputSchema"],
                "claims": tool["annotations"],
                "verbs": [if is_read { "read" } else { "execute" }],
                "cage": if is_read { "reader" } else { "writer" },
                "refused": refused(name),
            })
        });
        let mut out = surface(request);
        let about = json!({
            "ok": true,
            "digest": self.digest(),
            "resolved": self.programs.first(),
            "serverInfo": self.listing.server_info,
            "instructions": self.listing.instructions,
            "tools": tools.collect::<Vec<_>>(),
        });
        if let (Some(out), Value::Object(about)) = (out.as_object_mut(), about) {
            out.extend(about);
        }
        out
    }

    /// What is not as it was agreed to.
    fn changes(&self, before: &McpPins) -> Value {
        let now = Manifest::parse(&self.generated.text)
            .ok()
            .and_then(|m| m.mcp);
        let now = now.unwrap_or_default();
        let new = now
            .tools
            .keys()
            .filter(|name| !before.tools.contains_key(*name));
        let gone = before
            .tools
            .keys()
            .filter(|name| !now.tools.contains_key(*name));
        let other = now.tools.iter().filter(|(name, digest)| {
            before
                .tools
                .get(*name)
                .is_some_and(|known| known != *digest)
        });
        json!({
            "new": new.collect::<Vec<_>>(),
            "gone": gone.collect::<Vec<_>>(),
            "changed": other.map(|(name, _)| name).collect::<Vec<_>>(),
            "instructions": now.instructions != before.instructions,
        })
    }
}

/// What the owner has said of it. Values of variables may be secrets: only their names are shown.
fn surface(request: &ServerRequest) -> Value {
    json!({
        "name": request.name,
        "program": request.program,
        "arguments": request.arguments,
        "environment": request.environment.keys().collect::<Vec<_>>(),
        "folders": request.folders,
        "code": request.code,
        "reads": request.reads,
        "network": false,
    })
}
