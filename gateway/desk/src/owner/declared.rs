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
    extensions::{is_installed, surveyed, uninstall},
    sources::{added, known, removed, restart},
};
use crate::{
    acts::{act, blocking, failed, failed_halfway},
    desk::Desk,
};
use axum::response::Response;
use plexus_calls::approvals::change;
use plexus_edge::reply::{Refused, ok, with_status};
use plexus_home::network::local_addresses;
use plexus_ipc::manifest::Admitted;
use plexus_protocol::{ErrorBody, ErrorCode, SourceId, json as strict};
use plexus_sources::Registered;
use plexus_sources::extensions::{
    agreement, by_manifest_kind,
    declared::{Access, Agreed, ExtensionManifest},
    differences, is_by_manifest, stored, surface,
};
use plexus_trust::{Command, Source};
use serde_json::{Map, Value, json};
use std::{collections::BTreeMap, net::IpAddr, sync::Arc};

/// `{manifest, folders?}`; `folders` of one that is there may be left out.
pub(super) async fn preview(desk: &Arc<Desk>, body: &Fields) -> Result<Response, Refused> {
    let reply = match Inspected::of(desk, body).await? {
        Err(reasons) => json!({"ok": true, "valid": false, "reasons": reasons, "surface": null}),
        Ok(inspected) => {
            let surface = inspected.surface();
            let mut reply = json!({
                "ok": true, "valid": true, "reasons": [], "surface": surface,
                "digest": inspected.digest(&inspected.source),
            });
            if let Some(before) = &inspected.before {
                reply["changes"] = json!(differences(before, &surface));
            }
            reply
        }
    };
    Ok(ok(&reply))
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
            return Ok(ok(&json!({
                "ok": false, "source": manifest["source"], "registered": [], "revision": revision(),
                "reason": reasons.join("; "),
            })));
        }
    };
    let id = inspected.source.id.clone();
    let Some(shown) = body.text("digest")? else {
        let why = "`digest` is required: that of what a preview showed";
        return Err(Refused::malformed(why));
    };
    if inspected.digest(&inspected.source) != shown {
        let why =
            format!("{id}, its folders or its programs are not what you were shown; look again.");
        let error = ErrorBody::new(ErrorCode::PreconditionChanged, why);
        return Err(Refused::new(
            error.next("plexusctl extension add FILE, again"),
        ));
    }
    drop(narrowing.wider(desk).await?);
    let (here, of, text) = (desk.clone(), id.clone(), inspected.agreed.text());
    let installed = blocking(move || here.registry.install(&here.state_dir, &of, &text)).await?;
    installed.map_err(|why| failed(format!("it cannot be kept: {why:#}")))?;
    let is_new = inspected.before.is_none();
    let answer = added(desk, narrowing, inspected.body.clone()).await;
    if known(desk, id.as_str()).is_none() {
        uninstall(desk, &id).await?;
        return answer;
    }
    answer?;
    if !is_new {
        // Its workers still have the manifest of before.
        let restarted = restart(desk, &id).await;
        restarted
            .map_err(|why| failed_halfway(format!("it is changed, and does not serve: {why}")))?;
    }
    let source = known(desk, id.as_str()).ok_or_else(|| failed("the source is gone"))?;
    if inspected.digest(&source) != shown {
        // A program or folder was replaced in the meantime: nothing goes on, or begins, on what nobody saw.
        if is_new {
            removed(desk, narrowing, id.as_str()).await?;
            uninstall(desk, &id).await?;
        }
        let why = format!("a program or folder of {id} was replaced meanwhile; look again.");
        let error = ErrorBody::new(ErrorCode::PreconditionChanged, why);
        return Err(Refused::new(
            error.next("plexusctl extension add FILE, again"),
        ));
    }
    if !is_new {
        let acting = narrowing.wider(desk).await?;
        let resumed = Command::ResumeSource {
            id: id.clone(),
            revision: Some(source.revision),
            go_on: true,
        };
        act(desk, &acting, resumed).await?;
    }
    desk.renew_catalogue(Some(Default::default()));
    desk.remark(json!({"event": "extension.agreed", "source": id, "digest": shown}))
        .await;
    Ok(ok(&json!({
        "ok": true, "source": id, "registered": capabilities(&inspected.agreed), "revision": revision(),
    })))
}

/// What the owner agreed to, and what is otherwise now.
pub(super) async fn show(desk: &Arc<Desk>, source: &Source) -> Result<Response, Refused> {
    let agreed = kept(desk, &source.id).await?;
    let then = surface(&agreed, &source.paths);
    let mut now = agreed.clone();
    let found = blocking(move || {
        now.manifest.programs().map(|found| {
            now.programs = found;
            now
        })
    });
    let mut changes = match found.await? {
        Ok(now) => differences(&then, &surface(&now, &source.paths)),
        Err(reasons) => reasons,
    };
    let card = change::card(&desk.ledger.snapshot(), &desk.catalogue.load(), source);
    if card.is_some() {
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
    let names = declared.capabilities.iter().map(|c| &c.name);
    names
        .map(|name| format!("{}.{name}", declared.source))
        .collect()
}

async fn kept(desk: &Arc<Desk>, id: &SourceId) -> Result<Agreed, Refused> {
    let (here, of) = (desk.clone(), id.clone());
    let text = blocking(move || stored(&here.state_dir, &of)).await?;
    let text = text.map_err(|error| failed(format!("extensions/{id}.json: {error}")))?;
    strict::parse_as(text.as_bytes()).map_err(|why| failed(format!("extensions/{id}.json: {why}")))
}

/// An extension, with its programs and folders as they are now.
struct Inspected {
    agreed: Agreed,
    /// As it would be configured, and was looked at.
    source: Source,
    /// The body that configures it.
    body: Map<String, Value>,
    /// Of one that is there, what the owner agreed to.
    before: Option<Value>,
}

impl Inspected {
    async fn of(desk: &Arc<Desk>, body: &Fields) -> Result<Result<Self, Vec<String>>, Refused> {
        let one = |why: String| Ok(Err(vec![why]));
        let Some(manifest) = body.given("manifest").cloned() else {
            return one("`manifest` is required".to_owned());
        };
        let here = desk.clone();
        // Schemas are compiled, and programs read.
        let read = blocking(move || {
            let manifest = ExtensionManifest::read(&manifest, &here.registry)?;
            let programs = manifest.programs()?;
            let agreed = Agreed { manifest, programs };
            let offer = agreed
                .registered()
                .map_err(|why| vec![format!("{why:#}")])?;
            Ok::<_, Vec<String>>((agreed, offer))
        });
        let (agreed, offer) = match read.await? {
            Ok(read) => read,
            Err(reasons) => return Ok(Err(reasons)),
        };
        let hosts = offer
            .offer
            .manifest
            .admitted(&Value::Null)
            .unwrap_or_default();
        if hosts.iter().any(|(_, host)| is_own(desk, host)) {
            return one("its host is this gateway, which lends nothing to itself".to_owned());
        }
        let declared = &agreed.manifest;
        let id = SourceId::parse(&declared.source).map_err(|why| failed(why.to_string()))?;
        let kind = by_manifest_kind(&declared.source);
        let there = known(desk, id.as_str());
        let of_other = there
            .as_ref()
            .is_some_and(|source| source.config.kind != kind);
        if of_other || (there.is_none() && is_installed(desk, id.as_str())) {
            return one(format!("there is a source {id} already; choose another id"));
        }
        let folders: Option<BTreeMap<String, String>> = body.typed("folders")?;
        let before = match &there {
            Some(source) => Some(surface(&kept(desk, &id).await?, &source.paths)),
            None => None,
        };
        let route = match (folders, &there) {
            (Some(folders), _) => json!(folders),
            (None, Some(source)) => source.config.route.clone(),
            (None, None) => json!({}),
        };
        // What the manifest does not declare any more is not configured any more.
        let is_declared = |name: &str| declared.folders.iter().any(|folder| folder.name == name);
        let given = route.as_object().into_iter().flatten();
        if let Some((name, _)) = given.clone().find(|(name, _)| !is_declared(name))
            && body.given("folders").is_some()
        {
            return one(format!("the manifest declares no folder {name:?}"));
        }
        let route: Map<String, Value> = given
            .filter(|(name, _)| is_declared(name))
            .map(|(name, path)| (name.clone(), path.clone()))
            .collect();
        let missing = declared
            .folders
            .iter()
            .find(|folder| !route.contains_key(&folder.name));
        if let Some(folder) = missing {
            let (name, label) = (&folder.name, &folder.label);
            return one(format!(
                "the folder {name} ({label}) is not named: --folder {name}=PATH"
            ));
        }
        let whole = json!({"id": id, "kind": kind, "label": declared.label, "route": route});
        let only = desk.registry.only(offer);
        let source = match surveyed(desk, &only, &whole, id).await {
            Ok(source) => source,
            Err(why) => return one(why),
        };
        for folder in &declared.folders {
            let Some(place) = source.paths.get(&folder.name) else {
                return one(format!("there is no folder {}", route[&folder.name]));
            };
            let mut programs = agreed.programs.values();
            if let Some(program) = programs.find(|program| program.path.starts_with(&place.path)) {
                let (program, name) = (program.path.display(), &folder.name);
                return one(format!(
                    "{program} lies in the folder {name}: keep programs elsewhere"
                ));
            }
            if folder.access == Access::ReadWrite && place.path == "/" {
                return one("a folder that is written is not the whole machine".to_owned());
            }
        }
        let Value::Object(body) = whole else {
            return Err(failed("no source"));
        };
        Ok(Ok(Self {
            agreed,
            source,
            body,
            before,
        }))
    }

    fn surface(&self) -> Value {
        surface(&self.agreed, &self.source.paths)
    }

    /// What the owner agrees to, where the source's programs and folders are those of `source`.
    fn digest(&self, source: &Source) -> String {
        let rules = source.base.iter();
        let programs: Vec<String> = rules
            .filter(|rule| rule.starts_with("program "))
            .cloned()
            .collect();
        agreement(&self.agreed.text(), &programs, &source.paths).to_string()
    }
}

/// Whether a host is where this gateway listens.
fn is_own(desk: &Desk, host: &Admitted) -> bool {
    let here = |address: IpAddr| {
        let mut addresses = local_addresses().into_iter();
        address.is_loopback() || addresses.any(|(_, own)| own == address)
    };
    let name = host.host == "localhost" || host.host.ends_with(".localhost");
    let is_here = name || host.host.parse().is_ok_and(here);
    is_here && host.port == desk.address.port()
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
