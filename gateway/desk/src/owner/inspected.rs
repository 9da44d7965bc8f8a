//! Extensions by manifest, looked at: the programs that one means and the folders that it is given, as they are now.
//!
//! Invariants: nothing is started and nothing changed; what the digest covers is what the surface shows, and a program
//! that was replaced between two inspections is no part of either; folders that nobody names stay those that are there.
//!
//! Must not know: who asks, what becomes of it.

use super::{
    declared::kept,
    sources::known,
    stored_secrets::StoredSecrets,
    survey::{has_worker, imitated, is_installed, surveyed, unfree},
};
use crate::{
    acts::{blocking, failed},
    desk::Desk,
};
use plexus_edge::reply::Refused;
use plexus_ipc::offer::Offer;
use plexus_owner::{
    extensions::ManifestDraft,
    pending::{MovedSecret, Surface},
};
use plexus_protocol::{CapabilityId, SourceId};
use plexus_sources::{
    Registered, Registry,
    extensions::{
        agreement, differences, id_taken,
        manifest::{Access, Agreed, ExtensionManifest},
        sections::{Fact, Section},
        surface, whole_surface,
    },
    naming::by_manifest_kind,
};
use plexus_trust::{Grant, Source, Target, pins};
use serde::Deserialize as _;
use serde_json::{Map, Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

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
    /// The source of its id that is there.
    pub(super) there: Option<Arc<Source>>,
    /// Its secrets, and what becomes of those that are stored.
    pub(super) secrets: StoredSecrets,
    offer: Arc<Offer>,
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
    /// Its name for people, which the owner may have changed.
    label: String,
    secrets: StoredSecrets,
}

/// Judges a manifest by its own words.
type Judge = fn(&Value, &Registry, u16) -> (Option<ExtensionManifest>, Vec<String>);

impl Drafted {
    /// A manifest that the owner brings: its schemas are compiled.
    ///
    /// # Errors
    /// Our own; the inner one: all that stands against it.
    pub(super) async fn of(
        desk: &Arc<Desk>,
        manifest: &Value,
    ) -> Result<Result<Self, Vec<String>>, Refused> {
        Self::read(desk, manifest, ExtensionManifest::judge_whole).await
    }

    /// One that an agent proposed: its schemas were compiled then, and will be when it is added.
    pub(super) async fn of_proposal(
        desk: &Arc<Desk>,
        manifest: &Value,
    ) -> Result<Result<Self, Vec<String>>, Refused> {
        let read = Self::read(desk, manifest, ExtensionManifest::judge).await?;
        Ok(read.and_then(|drafted| {
            let without = desk.registry.without_worker(&drafted.offer.offer);
            without.map_or(Ok(drafted), |why| Err(vec![why]))
        }))
    }

    async fn read(
        desk: &Arc<Desk>,
        manifest: &Value,
        judge: Judge,
    ) -> Result<Result<Self, Vec<String>>, Refused> {
        let (here, manifest) = (desk.clone(), manifest.clone());
        let judged = blocking(move || judge(&manifest, &here.registry, here.address.port()));
        let (manifest, mut reasons) = judged.await?;
        let Some(manifest) = manifest else {
            return Ok(Err(reasons));
        };
        let programs = manifest.programs().await.unwrap_or_else(|odd| {
            // One that no program can be called is judged already.
            let new = odd.into_iter().filter(|why| !reasons.contains(why));
            let new: Vec<_> = new.collect();
            reasons.extend(new);
            BTreeMap::new()
        });
        reasons.extend(manifest.odd_members(&desk.catalogue.load()));
        let kind = by_manifest_kind(&manifest.source);
        if let Ok(id) = SourceId::parse(&manifest.source) {
            let is_left = known(desk, id.as_str()).is_none() && is_installed(desk, id.as_str());
            let unfree = unfree(desk, &id, &kind);
            reasons.extend(unfree.or_else(|| is_left.then(|| id_taken(&id))));
            reasons.extend(imitated(desk, &id, &manifest.label));
        }
        if !reasons.is_empty() {
            return Ok(Err(reasons));
        }
        let agreed = Agreed {
            manifest,
            programs,
            stable_names: true,
        };
        let drawn = blocking(move || agreed.uncompiled().map(|offer| (agreed, offer)));
        let (agreed, offer) = match drawn.await? {
            Ok(drawn) => drawn,
            Err(why) => return Ok(Err(vec![format!("{why:#}")])),
        };
        let declared = &agreed.manifest;
        let id = SourceId::parse(&declared.source).map_err(|why| failed(why.to_string()))?;
        let there = known(desk, id.as_str());
        let mut label = declared.label.clone();
        let before = match &there {
            Some(source) => {
                let kept = kept(desk, &id).await;
                let kept = kept.map(|kept| kept.as_pinned(source.agreed())).ok();
                if kept.as_ref().map(|kept| &kept.manifest.label) != Some(&source.config.label) {
                    label.clone_from(&source.config.label);
                }
                // One that cannot be read, such as that of a later version, is compared as one that had nothing.
                Some(kept.map_or(Value::Null, |kept| surface(&kept, &source.paths)))
            }
            None => None,
        };
        let after = surface(&agreed, &BTreeMap::new());
        let secrets =
            StoredSecrets::of(desk, &id, there.as_deref(), before.as_ref(), &after).await?;
        Ok(Ok(Self {
            agreed,
            offer,
            there,
            before,
            label,
            secrets,
        }))
    }

    /// What it declares and may reach, as far as that is known without its folders.
    pub(super) fn surface(&self, given: Option<&BTreeMap<String, String>>) -> Value {
        let named = self.route(given);
        let there = self.there.iter().flat_map(|source| &source.paths);
        // A folder that is another one by now is not that of before.
        let stays = |name: &String| {
            self.there
                .as_ref()
                .is_some_and(|source| source.config.route.get(name) == named.get(name))
        };
        let folders = there.filter(|(name, _)| stays(name));
        let folders = folders.map(|(name, target)| (name.clone(), target.clone()));
        let whole = whole_surface(&self.agreed, &self.offer.offer, &folders.collect());
        self.secrets.shown_in(whole)
    }

    /// What differs from what the owner agreed to before, as far as its folders are named; none of a new one.
    pub(super) fn changes(&self, given: Option<&BTreeMap<String, String>>) -> Option<Vec<String>> {
        Some(differences(self.before.as_ref()?, &self.surface(given)))
    }

    /// The stored secrets that would go to another host.
    pub(super) fn moved_secrets(&self) -> Vec<MovedSecret> {
        self.secrets.offered()
    }

    /// What an approval does, where a folder is named at the approval.
    pub(super) fn consequence(&self, desk: &Desk) -> String {
        let (there, manifest) = (self.there.as_deref(), &self.agreed.manifest);
        consequence(desk, there, manifest, Some("a folder is new"))
    }

    /// The folders that it has, by name: those of the one that is there, and in their place those that are given.
    fn route(&self, given: Option<&BTreeMap<String, String>>) -> Map<String, Value> {
        let is_declared = |name: &str| {
            let mut declared = self.agreed.manifest.folders.iter();
            declared.any(|folder| folder.name == name)
        };
        let there = self
            .there
            .iter()
            .filter_map(|source| source.config.route.as_object());
        let there = there
            .flatten()
            .map(|(name, path)| (name.clone(), path.clone()));
        let given = given.into_iter().flatten();
        let given = given.map(|(name, path)| (name.clone(), json!(path)));
        // What the manifest does not declare any more is not configured any more.
        there
            .chain(given)
            .filter(|(name, _)| is_declared(name))
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
        let declared = &self.agreed.manifest;
        let is_declared = |name: &&String| declared.folders.iter().any(|f| f.name == **name);
        let stray = given.into_iter().flat_map(BTreeMap::keys);
        let stray = stray.filter(|name| !is_declared(name));
        let mut reasons: Vec<String> = stray
            .map(|name| format!("the manifest declares no folder {name:?}"))
            .collect();
        let missing = self.missing(given).into_iter();
        reasons.extend(missing.map(|(name, label)| {
            format!("the folder {name} ({label}) is not named: --folder {name}=PATH")
        }));
        if !reasons.is_empty() {
            return Ok(Err(reasons));
        }
        let id = SourceId::parse(&declared.source).map_err(|why| failed(why.to_string()))?;
        let route = self.route(given);
        // What the owner has said of it otherwise stays.
        let before = self.there.as_ref().map(|source| &source.config);
        let mut whole = json!({
            "id": id, "kind": by_manifest_kind(&declared.source), "label": self.label, "route": route,
            "enabled": before.is_none_or(|config| config.enabled),
            "approval": if before.is_some_and(|config| config.ask) { "ask" } else { "auto" },
        });
        if let Some(kept) = self.secrets.reference(&Default::default()) {
            whole["secretRef"] = json!(kept);
        }
        let offer = self.offer.offer.clone();
        let only = desk.registry.only(self.offer);
        let source = match surveyed(desk, &only, &whole, id).await {
            Ok(source) => source,
            Err(why) => {
                let mut folders = declared.folders.iter().map(|folder| &folder.name);
                let odd = folders.find(|name| {
                    let path = route.get(*name).and_then(Value::as_str);
                    path.is_some_and(|path| why.contains(path))
                });
                return Ok(Err(vec![match odd {
                    Some(name) => format!("{why}: --folder {name}=PATH"),
                    None => why,
                }]));
            }
        };
        for folder in &declared.folders {
            let name = &folder.name;
            let Some(target) = source.paths.get(name) else {
                reasons.push(format!("there is no folder {}", route[name]));
                continue;
            };
            let mut programs = self.agreed.programs.values();
            if let Some(program) = programs.find(|program| program.path.starts_with(&target.path)) {
                let program = program.path.display();
                reasons.push(format!(
                    "{program} lies in the folder {name}; keep programs elsewhere, or give another: --folder {name}=PATH"
                ));
            }
            if folder.access == Access::ReadWrite && target.path == "/" {
                reasons.push(format!(
                    "a folder that is written is not the whole machine: --folder {name}=PATH"
                ));
            }
        }
        if let Some(program) = self.agreed.unlike(source.found()) {
            let program = program.display();
            reasons.push(format!("{program} is being replaced: preview it again"));
        }
        if !reasons.is_empty() {
            return Ok(Err(reasons));
        }
        let Value::Object(body) = whole else {
            return Err(failed("no source"));
        };
        Ok(Ok(Inspected {
            agreed: self.agreed,
            source,
            body,
            before: self.before,
            there: self.there,
            secrets: self.secrets,
            offer,
        }))
    }
}

impl Inspected {
    /// # Errors
    /// Our own; the inner one: what stands against it.
    pub(super) async fn of(
        desk: &Arc<Desk>,
        draft: &ManifestDraft,
    ) -> Result<Result<Self, Vec<String>>, Refused> {
        let Some(manifest) = &draft.manifest else {
            return Ok(Err(vec![NO_MANIFEST.to_owned()]));
        };
        match Drafted::of(desk, manifest).await? {
            Ok(drafted) => {
                has_worker(desk, &drafted.offer.offer)?;
                drafted.placed(desk, draft.folders.as_ref()).await
            }
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
        agreement(&self.agreed.text(), self.source.found(), &self.source.paths).to_string()
    }

    pub(super) fn surface(&self) -> Value {
        let mut whole = whole_surface(&self.agreed, &self.offer, &self.source.paths);
        let facts = code(&self.source);
        if let (false, Some(sections)) = (facts.is_empty(), whole["sections"].as_array_mut()) {
            sections.insert(1, json!(Section::new("Code", facts)));
        }
        self.secrets.shown_in(whole)
    }

    /// What an approval does; and what one does that keeps the stored secrets that would go to another host, where there
    /// are such.
    pub(super) fn consequences(&self, desk: &Desk) -> (String, Option<String>) {
        let moving: BTreeSet<_> = self.secrets.moving().cloned().collect();
        let kept = (!moving.is_empty()).then(|| self.consequence(desk, &moving));
        (self.consequence(desk, &BTreeSet::new()), kept)
    }

    /// What an approval does that keeps these secrets.
    fn consequence(&self, desk: &Desk, keeps: &BTreeSet<String>) -> String {
        let ends = self
            .there
            .as_ref()
            .and_then(|there| self.ends_grants(there, keeps));
        consequence(desk, self.there.as_deref(), &self.agreed.manifest, ends)
    }

    /// Why another target is meant than the one that grants are on.
    fn ends_grants(&self, there: &Source, keeps: &BTreeSet<String>) -> Option<&'static str> {
        let is_same = |(name, place): (&String, &Target)| {
            there.paths.get(name).is_some_and(|was| was.same(place))
        };
        if there.config.route != self.source.config.route || !self.source.paths.iter().all(is_same)
        {
            return Some("a folder is another one");
        }
        let dropped = self.secrets.drops(keeps);
        dropped.then_some("a stored secret is deleted")
    }
}

/// Why nothing comes of a request without one.
pub(super) const NO_MANIFEST: &str = "`manifest` is required";

/// A surface as the owner's clients read it.
///
/// # Errors
/// Our own: it is none.
pub(super) fn surface_of(whole: &Value) -> Result<Surface, Refused> {
    Surface::deserialize(whole).map_err(|why| failed(format!("its surface: {why}")))
}

/// What it runs beside its programs, and what of its code agents can change.
fn code(source: &Source) -> Vec<Fact> {
    let facts = source.found().iter().filter_map(|rule| {
        if let Some(what) = rule.strip_prefix(pins::CHANGEABLE) {
            let words = format!("{what}; each change stops it until you agree again");
            return Some(Fact::line("agents can change", words));
        }
        let (_, named) = rule.strip_prefix(pins::SCRIPT)?.split_once(' ')?;
        let (path, digest) = named.rsplit_once(' ')?;
        Some(Fact::line("script", format!("{path}, SHA-256 {digest}")))
    });
    facts.collect()
}

/// What an approval of this manifest does, and what becomes of the grants on the source that is there; `ends` says why they
/// are revoked.
fn consequence(
    desk: &Desk,
    there: Option<&Source>,
    manifest: &ExtensionManifest,
    ends: Option<&str>,
) -> String {
    let Some(there) = there else {
        return "it is added as shown; nothing is granted by that".to_owned();
    };
    let state = desk.ledger.snapshot();
    let now = state.time(desk.clock.now());
    let grants = state
        .agents
        .values()
        .flat_map(|agent| agent.grants.values());
    let grants = grants.filter(|grant| !state.has_ended(grant, now));
    let of_it = |grant: &&Arc<Grant>| grant.capability.parts().0 == there.id.as_str();
    let grants: Vec<_> = grants.filter(of_it).collect();
    let is_gone = |id: &CapabilityId| !manifest.callable().any(|name| name == id.parts().1);
    let then = match ends {
        _ if grants.is_empty() => "nothing is granted by that".to_owned(),
        Some(why) => format!("every grant on it is revoked, since {why}"),
        None => {
            let is_suspended = grants.iter().any(|grant| grant.suspended.is_some());
            let stay = match is_suspended {
                true => "its suspended grants are resumed, with what it can do then",
                false => "its grants stay valid, with what it can do then",
            };
            let gone = match grants.iter().any(|grant| is_gone(&grant.capability)) {
                true => "; those of capabilities that are gone are suspended",
                false => "",
            };
            format!("{stay}{gone}")
        }
    };
    format!("it is changed as shown; {then}")
}
