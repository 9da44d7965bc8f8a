//! Extensions by manifest, looked at: the programs that one means and the folders that it is given, as they are now.
//!
//! Invariants: nothing is started and nothing changed; what the digest covers is what the surface shows, and a program
//! that was replaced between two looks is no part of either.
//!
//! Must not know: who asks, what becomes of it.

use super::{
    body::Fields,
    declared::kept,
    extensions::{is_installed, surveyed},
    sources::known,
};
use crate::{
    acts::{blocking, failed},
    desk::Desk,
};
use plexus_edge::reply::Refused;
use plexus_protocol::SourceId;
use plexus_sources::{
    Registered,
    extensions::{
        agreement, by_manifest_kind,
        declared::{Access, Agreed, ExtensionManifest},
        differences, surface,
    },
};
use plexus_trust::Source;
use serde_json::{Map, Value, json};
use std::{collections::BTreeMap, sync::Arc};

/// An extension, with its programs and folders as they are now.
pub(super) struct Inspected {
    /// The manifest, and the programs that it means.
    pub(super) agreed: Agreed,
    /// As it would be configured, and was looked at.
    pub(super) source: Source,
    /// The body that configures it.
    pub(super) body: Map<String, Value>,
    /// Of one that is there, what the owner agreed to.
    pub(super) before: Option<Value>,
}

/// A manifest that reads, with its programs as they are now; its folders are not looked at yet.
pub(super) struct Drafted {
    /// The manifest, and the programs that it means.
    pub(super) agreed: Agreed,
    offer: Registered,
    /// The source of its id that is there.
    there: Option<Arc<Source>>,
    /// Of one that is there, what the owner agreed to.
    before: Option<Value>,
}

impl Drafted {
    /// # Errors
    /// Our own; the inner one: what stands against it.
    pub(super) async fn of(
        desk: &Arc<Desk>,
        manifest: &Value,
    ) -> Result<Result<Self, Vec<String>>, Refused> {
        let (here, manifest) = (desk.clone(), manifest.clone());
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
        let hosts = offer.offer.manifest.admitted(&Value::Null);
        let mut hosts = hosts.unwrap_or_default().into_iter();
        let own = desk.address.port();
        // A sandbox tells ports apart, and not every address: what may reach this port of another machine reaches ours.
        if hosts.any(|(_, host)| host.port == own) {
            let why = format!(
                "{own} is this gateway's own port, and no source reaches that port of any host: let the app listen on another"
            );
            return Ok(Err(vec![why]));
        }
        let declared = &agreed.manifest;
        let id = SourceId::parse(&declared.source).map_err(|why| failed(why.to_string()))?;
        let kind = by_manifest_kind(&declared.source);
        let there = known(desk, id.as_str());
        let of_other = there
            .as_ref()
            .is_some_and(|source| source.config.kind != kind);
        if of_other || (there.is_none() && is_installed(desk, id.as_str())) {
            let why = format!("there is a source {id} already; choose another id");
            return Ok(Err(vec![why]));
        }
        let before = match &there {
            Some(source) => Some(surface(&kept(desk, &id).await?, &source.paths)),
            None => None,
        };
        Ok(Ok(Self {
            agreed,
            offer,
            there,
            before,
        }))
    }

    /// What it declares and may reach, as far as that is known without its folders.
    pub(super) fn surface(&self) -> Value {
        surface(&self.agreed, &BTreeMap::new())
    }

    /// The folders that it has, by name: those that are given, else those of the one that is there.
    fn route(&self, given: Option<&BTreeMap<String, String>>) -> Map<String, Value> {
        let is_declared = |name: &str| {
            let mut declared = self.agreed.manifest.folders.iter();
            declared.any(|folder| folder.name == name)
        };
        let whole = match (given, &self.there) {
            (Some(folders), _) => json!(folders),
            (None, Some(source)) => source.config.route.clone(),
            (None, None) => json!({}),
        };
        // What the manifest does not declare any more is not configured any more.
        let whole = whole.as_object().into_iter().flatten();
        whole
            .filter(|(name, _)| is_declared(name))
            .map(|(name, path)| (name.clone(), path.clone()))
            .collect()
    }

    /// The folders that nobody has named: name and label of each.
    pub(super) fn missing(&self, given: Option<&BTreeMap<String, String>>) -> Vec<(&str, &str)> {
        let route = self.route(given);
        let folders = self.agreed.manifest.folders.iter();
        folders
            .filter(|folder| !route.contains_key(&folder.name))
            .map(|folder| (&*folder.name, &*folder.label))
            .collect()
    }

    /// With its folders as they are now.
    ///
    /// # Errors
    /// Our own; the inner one: what stands against it.
    pub(super) async fn placed(
        self,
        desk: &Arc<Desk>,
        given: Option<&BTreeMap<String, String>>,
    ) -> Result<Result<Inspected, Vec<String>>, Refused> {
        let one = |why: String| Ok(Err(vec![why]));
        let declared = &self.agreed.manifest;
        let is_declared = |name: &String| declared.folders.iter().any(|f| f.name == *name);
        let stray = given.and_then(|given| given.keys().find(|name| !is_declared(name)));
        if let Some(name) = stray {
            return one(format!("the manifest declares no folder {name:?}"));
        }
        if let Some((name, label)) = self.missing(given).first() {
            return one(format!(
                "the folder {name} ({label}) is not named: --folder {name}=PATH"
            ));
        }
        let id = SourceId::parse(&declared.source).map_err(|why| failed(why.to_string()))?;
        let route = self.route(given);
        // What the owner has said of it otherwise stays.
        let before = self.there.as_ref().map(|source| &source.config);
        let mut whole = json!({
            "id": id, "kind": by_manifest_kind(&declared.source), "label": declared.label, "route": route,
            "enabled": before.is_none_or(|config| config.enabled),
            "approval": if before.is_some_and(|config| config.ask) { "ask" } else { "auto" },
        });
        if let Some(kept) = before.and_then(|config| config.secret_ref.as_ref()) {
            whole["secretRef"] = json!(kept);
        }
        let only = desk.registry.only(self.offer);
        let source = match surveyed(desk, &only, &whole, id).await {
            Ok(source) => source,
            Err(why) => return one(why),
        };
        for folder in &declared.folders {
            let Some(place) = source.paths.get(&folder.name) else {
                return one(format!("there is no folder {}", route[&folder.name]));
            };
            let mut programs = self.agreed.programs.values();
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
        if let Some(program) = self.agreed.unlike(&source.base) {
            return one(format!(
                "{} is being replaced: look again",
                program.display()
            ));
        }
        let Value::Object(body) = whole else {
            return Err(failed("no source"));
        };
        Ok(Ok(Inspected {
            agreed: self.agreed,
            source,
            body,
            before: self.before,
        }))
    }
}

impl Inspected {
    /// # Errors
    /// Our own; the inner one: what stands against it.
    pub(super) async fn of(
        desk: &Arc<Desk>,
        body: &Fields,
    ) -> Result<Result<Self, Vec<String>>, Refused> {
        let Some(manifest) = body.given("manifest") else {
            return Ok(Err(vec!["`manifest` is required".to_owned()]));
        };
        let folders: Option<BTreeMap<String, String>> = body.typed("folders")?;
        match Drafted::of(desk, manifest).await? {
            Ok(drafted) => drafted.placed(desk, folders.as_ref()).await,
            Err(reasons) => Ok(Err(reasons)),
        }
    }

    /// What differs from what the owner agreed to before; none of a new one.
    pub(super) fn changes(&self) -> Option<Vec<String>> {
        let before = self.before.as_ref()?;
        Some(differences(before, &self.surface()))
    }

    /// What the owner agrees to.
    pub(super) fn agreement(&self) -> String {
        self.digest(&self.source)
    }

    pub(super) fn surface(&self) -> Value {
        surface(&self.agreed, &self.source.paths)
    }

    /// What the owner agrees to, where the source's programs and folders are those of `source`.
    pub(super) fn digest(&self, source: &Source) -> String {
        let rules = source.base.iter();
        let programs: Vec<String> = rules
            .filter(|rule| rule.starts_with("program "))
            .cloned()
            .collect();
        agreement(&self.agreed.text(), &programs, &source.paths).to_string()
    }
}
