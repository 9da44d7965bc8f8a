//! Extensions by manifest: what one is and may reach, shown before it is there; adding, comparing (docs/protocol/compatibility.md).
//!
//! ```text
//! preview: manifest, folders ─▶ programs and folders as they are now ─▶ surface, digest ─▶ shown
//! add: the same again ─▶ the digest that was shown? ─▶ extensions/<id>.json ─▶ source, still the same? ─▶ grants resumed
//! ```
//! Invariants: a preview starts no program and changes nothing; what is added is what was shown; grants are resumed only on
//! what the owner agreed to.
//!
//! Must not know: what a command does.

use super::{
    Narrowing,
    body::Fields,
    extensions::uninstall,
    inspected::Inspected,
    sources::{added, known, removed, restart, resumed_code},
};
use crate::{
    acts::{act, blocking, failed, failed_halfway, unsaved},
    desk::Desk,
};
use axum::response::Response;
use plexus_calls::approvals::change;
use plexus_edge::reply::{Refused, ok, with_status};
use plexus_protocol::{Effect, ErrorBody, ErrorCode, SourceId, json as strict};
use plexus_sources::Registered;
use plexus_sources::{
    extensions::{differences, manifest::Agreed, stored, surface, whole_surface},
    naming::is_by_manifest,
};
use plexus_trust::{Command, Source};
use serde_json::{Value, json};
use std::{collections::BTreeSet, sync::Arc};

/// `{manifest, folders?}`; `folders` of one that is there may be left out.
pub(super) async fn preview(desk: &Arc<Desk>, body: &Fields) -> Result<Response, Refused> {
    let reply = match Inspected::of(desk, body).await? {
        Err(reasons) => return Ok(invalid(&reasons)),
        Ok(inspected) => {
            let surface = inspected.surface();
            let mut reply = json!({
                "ok": true, "valid": true, "reasons": [], "surface": surface,
                "digest": inspected.digest(&inspected.source),
            });
            if let Value::Object(reply) = &mut reply {
                reply.extend(inspected.outcome(desk));
            }
            if let Some(changes) = inspected.changes() {
                reply["changes"] = json!(changes);
            }
            reply
        }
    };
    Ok(ok(&reply))
}

/// The answer to a manifest that is not valid.
pub(super) fn invalid(reasons: &[String]) -> Response {
    ok(&json!({"ok": true, "valid": false, "reasons": reasons, "surface": null}))
}

/// The same with `digest`, of what was shown.
pub(super) async fn add(
    desk: &Arc<Desk>,
    narrowing: &Narrowing,
    body: &Fields,
) -> Result<Response, Refused> {
    let revision = || desk.catalogue.load().revision;
    let Some(manifest) = body.given("manifest") else {
        let why = "`manifest` is required";
        let reply = json!({"ok": false, "source": "", "registered": [], "revision": revision(), "reason": why});
        return Ok(with_status(400, &reply));
    };
    let inspected = match Inspected::of(desk, body).await? {
        Ok(inspected) => inspected,
        Err(reasons) => {
            let status = match manifest["capabilities"].as_array().map(Vec::len) {
                // Other gateways answer so where nothing would come of it.
                Some(0) => 422,
                _ => 200,
            };
            let reply = json!({
                "ok": false, "source": manifest["source"].as_str().unwrap_or_default(),
                "registered": [], "revision": revision(), "reason": reasons.join("; "),
            });
            return Ok(with_status(status, &reply));
        }
    };
    let Some(shown) = body.text("digest")? else {
        let why = "`digest` is required: that of what a preview showed";
        return Err(Refused::malformed(why));
    };
    if inspected.digest(&inspected.source) != shown {
        let id = &inspected.source.id;
        let why = format!(
            "{id}, its folders or its programs are not what you were shown; preview it again."
        );
        let error = ErrorBody::new(ErrorCode::PreconditionChanged, why);
        return Err(Refused::new(
            error.next("plexusctl extension add FILE, again"),
        ));
    }
    let keeps = kept_secrets(body);
    let capabilities = inspected.put(desk, narrowing, &keeps).await?;
    Ok(ok(&json!({
        "ok": true, "source": inspected.source.id, "registered": capabilities,
        "revision": revision(), "secretsMissing": inspected.secrets.missing(&keeps),
    })))
}

/// The stored secrets that the owner lets go to another host.
pub(super) fn kept_secrets(body: &Fields) -> BTreeSet<String> {
    let names = body.strings("keepSecrets").into_iter();
    names.map(str::to_owned).collect()
}

impl Inspected {
    /// Adds just this, or puts it in place of what the owner agreed to before. The capabilities that are there then.
    ///
    /// # Errors
    /// A program or folder was replaced meanwhile, and others.
    pub(super) async fn put(
        &self,
        desk: &Arc<Desk>,
        narrowing: &Narrowing,
        keeps: &BTreeSet<String>,
    ) -> Result<Vec<String>, Refused> {
        self.secrets.check(keeps)?;
        let shown = self.digest(&self.source);
        let id = self.source.id.clone();
        drop(narrowing.wider(desk).await?);
        // Before anything can be sent to the new host.
        self.secrets.settle(desk, narrowing, keeps).await?;
        let (here, of, text) = (desk.clone(), id.clone(), self.agreed.text());
        let installed =
            blocking(move || here.registry.install(&here.state_dir, &of, &text)).await?;
        installed.map_err(|why| unsaved(format!("it cannot be kept: {why:#}"), Effect::None))?;
        let is_new = self.before.is_none();
        let mut body = self.body.clone();
        if let Some(file) = self.secrets.reference(keeps) {
            body.insert("secretRef".into(), json!(file));
        }
        let answer = added(desk, narrowing, body).await;
        if known(desk, id.as_str()).is_none() {
            uninstall(desk, &id).await?;
            answer??;
            return Err(failed("the source is gone"));
        }
        // One that cannot be used now is there all the same.
        let _ = answer?;
        if !is_new {
            // Its workers still have the manifest of before.
            let restarted = restart(desk, &id).await;
            restarted.map_err(|why| {
                failed_halfway(format!("it is changed, and does not serve: {why}"))
            })?;
        }
        let source = known(desk, id.as_str()).ok_or_else(|| failed("the source is gone"))?;
        if self.digest(&source) != shown {
            // A program or folder was replaced in the meantime: nothing goes on, or begins, on what nobody saw.
            if is_new {
                removed(desk, narrowing, id.as_str()).await?;
                uninstall(desk, &id).await?;
            }
            let why =
                format!("a program or folder of {id} was replaced meanwhile; preview it again.");
            let error = ErrorBody::new(ErrorCode::PreconditionChanged, why);
            return Err(Refused::new(
                error.next("plexusctl extension add FILE, again"),
            ));
        }
        if !is_new || source.stopped.is_some() {
            let acting = narrowing.wider(desk).await?;
            let resumed = Command::ResumeSource {
                id: id.clone(),
                revision: Some(source.revision),
                go_on: true,
            };
            act(desk, &acting, resumed).await?;
            drop(acting);
            resumed_code(desk, &source).await?;
        }
        desk.renew_catalogue(Some(Default::default()));
        if source.config.enabled && !self.secrets.missing(keeps).is_empty() {
            // It does not start, and its status says why.
            desk.supervisor.probe(&id).await;
        }
        desk.remark(json!({"event": "extension.agreed", "source": id, "digest": shown}))
            .await;
        Ok(capabilities(&self.agreed))
    }
}

/// What the owner agreed to, and what is otherwise now.
pub(super) async fn show(desk: &Arc<Desk>, source: &Source) -> Result<Response, Refused> {
    let agreed = kept(desk, &source.id).await?;
    let offer = desk.registry.of_source(&source.config);
    let offer = offer.ok_or_else(|| failed("this build has no such extension"))?;
    let then = whole_surface(&agreed, &offer.offer, &source.paths);
    let mut changes = match agreed.manifest.programs().await {
        Ok(programs) => {
            let now = Agreed {
                programs,
                ..agreed.clone()
            };
            differences(&then, &surface(&now, &source.paths))
        }
        Err(reasons) => reasons,
    };
    let card = change::card(&desk.ledger.snapshot(), &desk.catalogue.load(), source);
    if source.stopped.is_some() {
        changes.push("it is stopped until you agree again".to_owned());
    } else if card.is_some() {
        changes.push("grants on it are suspended until you agree again".to_owned());
    }
    Ok(ok(&json!({
        "ok": true, "source": source.id, "surface": then, "manifest": agreed.manifest,
        "suspended": card.is_some(), "changes": changes,
    })))
}

/// The ids of what agents may ask for.
fn capabilities(agreed: &Agreed) -> Vec<String> {
    let declared = &agreed.manifest;
    let texts = declared.skills.iter().map(|skill| &*skill.name);
    let names = declared.callable().chain(texts);
    names
        .map(|name| format!("{}.{name}", declared.source))
        .collect()
}

pub(super) async fn kept(desk: &Arc<Desk>, id: &SourceId) -> Result<Agreed, Refused> {
    let (here, of) = (desk.clone(), id.clone());
    let text = blocking(move || stored(&here.state_dir, &of)).await?;
    let text = text.map_err(|error| failed(format!("extensions/{id}.json: {error}")))?;
    strict::parse_as(text.as_bytes()).map_err(|why| failed(format!("extensions/{id}.json: {why}")))
}

/// A row of the list.
pub(super) fn row(desk: &Desk, id: &str, read: Result<Arc<Registered>, String>) -> Value {
    let configured = known(desk, id);
    let kind = match (&read, &configured) {
        (Ok(read), _) => read.offer.manifest.kind.clone(),
        (Err(_), Some(source)) => source.config.kind.clone(),
        (Err(_), None) => String::new(),
    };
    let ids: Option<Vec<_>> = configured
        .as_ref()
        .map(|source| source.capabilities.keys().collect());
    json!({
        "source": id,
        "label": configured.as_ref().map_or(id, |source| &source.config.label),
        "capabilities": ids.clone().unwrap_or_default(),
        "transport": match (&read, is_by_manifest(&kind)) {
            (Ok(read), _) => read.offer.manifest.transport.as_str(),
            (Err(_), true) => "cli",
            (Err(_), false) => "mcp",
        },
        "name": id,
        "configured": configured.is_some(),
        "unusable": read.err(),
        "tools": ids.map(|ids| ids.len()),
    })
}
