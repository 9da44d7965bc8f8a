//! Which kinds of source there are: the connectors that ship, and the offers that the owner has installed.
//!
//! ```text
//! a connector's head, at the start ─▶ compiled, when its first source needs it
//!                                  └▶ cannot be read: serves nothing, and says why
//! ```
//!
//! Invariant: no installed offer takes the place of a connector that ships.

use crate::{extensions, naming, registered::Registered};
use anyhow::Context as _;
use arc_swap::ArcSwap;
use plexus_ipc::{
    manifest::{Detect, Manifest, Platform},
    offer::Offer,
};
use plexus_protocol::{SourceId, installation};
use plexus_trust::SourceConfig;
use serde::Deserialize;
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
};

/// A kind of thing that can be reached, embedded in the gateway: its manifest and its profile, as text.
#[derive(Clone, Copy, Debug)]
pub struct Connector {
    /// Its name, which its worker's program carries: `plexus-worker-<name>`.
    pub name: &'static str,
    /// `manifest.json` of the worker's crate.
    pub manifest: &'static str,
    /// `<connector>.sb`.
    pub profile: &'static str,
    /// The profile of each program that the manifest lets its worker have started, by its name.
    pub children: &'static [(&'static str, &'static str)],
}

/// The few fields of a manifest that a connector is found by, read before a source needs the rest.
#[derive(Debug, Deserialize)]
pub struct ConnectorHead {
    /// Its name.
    pub connector: String,
    /// The wire kind of its sources.
    pub kind: String,
    /// Its name for people.
    pub label: String,
    /// The option of `plexusd` that names its folder, without dashes.
    pub flag: Option<String>,
    /// Whether folders are lent with it.
    #[serde(default)]
    pub lendable: bool,
}

/// A connector that ships. Compiled it takes many times the memory of its text, so it is compiled for the first source
/// that needs it, and stays.
struct Shipped {
    text: Connector,
    head: ConnectorHead,
    compiled: OnceLock<Result<Arc<Registered>, String>>,
}

/// All connectors of this build, and the offers that the owner has installed: each of one source, under a kind of its own.
pub struct Registry {
    shipped: Vec<Shipped>,
    /// By source; the reason where its file cannot be read.
    pub(crate) installed: ArcSwap<BTreeMap<String, Result<Arc<Registered>, String>>>,
    /// The changes of installed servers that wait for the owner.
    pub(crate) proposals: extensions::proposals::Proposals,
    /// Folders with the gateway's own programs, resolved.
    pub(crate) programs: Vec<PathBuf>,
    /// The one of them with the workers; none where no worker is started.
    workers: Option<PathBuf>,
    /// The systems whose sources serve here.
    platforms: Vec<Platform>,
}

impl Registry {
    /// Reads the head of every manifest. The rest of a manifest is read when it is needed: a test reads all that ship.
    ///
    /// # Errors
    /// A manifest without a head, or of another connector: the build is wrong, so the start fails.
    pub fn read(connectors: &[Connector]) -> anyhow::Result<Self> {
        let own = std::env::current_exe().ok();
        let own = own.as_deref().and_then(Path::parent);
        Ok(Self {
            shipped: connectors
                .iter()
                .map(Shipped::read)
                .collect::<Result<_, _>>()?,
            installed: ArcSwap::default(),
            proposals: Default::default(),
            programs: own.map(Path::to_owned).into_iter().collect(),
            workers: None,
            platforms: vec![Platform::here()],
        })
    }

    /// With the folder of the launcher and the workers, which no source to write in may hold either.
    pub fn served_from(mut self, programs: &Path) -> Self {
        self.programs.push(programs.to_owned());
        self.workers = Some(programs.to_owned());
        self
    }

    /// Serves sources of macOS wherever this runs: a worker that is built for another system has a fake of what is not
    /// there.
    pub fn faking_apple(mut self) -> Self {
        self.platforms.push(Platform::MacOs);
        self
    }

    /// A registry of this offer alone, which looks at folders as this one does.
    pub fn only(&self, offer: Registered) -> Self {
        let kind = &offer.offer.manifest.kind;
        let id = naming::source_of(kind).unwrap_or(kind).to_owned();
        Self {
            shipped: Vec::new(),
            proposals: Default::default(),
            installed: ArcSwap::from_pointee(BTreeMap::from([(id, Ok(Arc::new(offer)))])),
            programs: self.programs.clone(),
            workers: self.workers.clone(),
            platforms: self.platforms.clone(),
        }
    }

    /// Why no source of a connector can serve here; none where it can.
    pub fn out_of_place(&self, manifest: &Manifest) -> Option<String> {
        let mut platforms = self.platforms.iter();
        if platforms.any(|platform| manifest.serves_on(*platform)) {
            return None;
        }
        let there: Vec<String> = manifest.platforms.iter().map(Platform::to_string).collect();
        Some(format!(
            "{} serves on {} only, and this is {}",
            manifest.label,
            there.join(" and "),
            Platform::here()
        ))
    }

    /// The connectors of an app that a fake stands in for here.
    pub fn faked(&self) -> impl Iterator<Item = Arc<Manifest>> {
        self.manifests().filter(|manifest| {
            matches!(manifest.detect, Some(Detect::App { .. }))
                && !manifest.serves_on(Platform::here())
                && self.out_of_place(manifest).is_none()
        })
    }

    /// Why no worker of this offer can be started, and what to do; none where its program lies with the others.
    pub fn without_worker(&self, offer: &Offer) -> Option<String> {
        let folder = self.workers.as_ref()?;
        let program = folder.join(&offer.program);
        (!program.is_file()).then(|| {
            let remedy = installation::remedy(folder);
            format!("{} is not there; {remedy}", program.display())
        })
    }

    /// The heads of the connectors that ship, in the order of registration.
    pub(crate) fn heads(&self) -> impl Iterator<Item = &ConnectorHead> {
        self.shipped.iter().map(|shipped| &shipped.head)
    }

    /// The manifests of the connectors that ship, in that order: what a source can be added of.
    pub fn manifests(&self) -> impl Iterator<Item = Arc<Manifest>> {
        self.shipped.iter().filter_map(Shipped::manifest)
    }

    /// The manifest of the first connector that ships with such a head.
    pub fn manifest_with(&self, wanted: impl Fn(&ConnectorHead) -> bool) -> Option<Arc<Manifest>> {
        self.shipped
            .iter()
            .find(|one| wanted(&one.head))?
            .manifest()
    }

    /// The connector of a source's kind, or the installed offer.
    pub fn of_source(&self, config: &SourceConfig) -> Option<Arc<Registered>> {
        self.of_kind(&config.kind)
    }

    /// The connector of a wire kind, or the installed offer.
    pub fn of_kind(&self, kind: &str) -> Option<Arc<Registered>> {
        self.found(kind)?.ok()
    }

    /// Why there is nothing to serve a source of this kind with.
    pub fn missing(&self, kind: &str) -> String {
        self.unreadable(kind)
            .unwrap_or_else(|| format!("this build has no connector for {kind:?}"))
    }

    /// Why the connector or the installed offer of this kind cannot be read; none where it can, or where there is none.
    pub(crate) fn unreadable(&self, kind: &str) -> Option<String> {
        self.found(kind)?.err()
    }

    /// The connector of a kind that ships, else the offer installed under it; the reason where it cannot be read.
    fn found(&self, kind: &str) -> Option<Result<Arc<Registered>, String>> {
        if let Some(shipped) = self.shipped.iter().find(|one| one.head.kind == kind) {
            let compiled = shipped.compiled().clone();
            return Some(
                compiled.map_err(|why| format!("the connector for {kind:?} cannot be read: {why}")),
            );
        }
        match self.installed.load().get(naming::source_of(kind)?)? {
            Ok(offer) => (offer.offer.manifest.kind == kind).then(|| Ok(offer.clone())),
            Err(why) => Some(Err(format!(
                "what was installed as {kind} cannot be read: {why}"
            ))),
        }
    }

    /// Whether a source id is one that only its own connector may use.
    pub(crate) fn reserved_for(&self, id: &SourceId) -> Option<&ConnectorHead> {
        self.heads().find(|head| head.connector == id.as_str())
    }
}

impl Shipped {
    fn read(text: &Connector) -> anyhow::Result<Self> {
        let head: ConnectorHead = serde_json::from_str(text.manifest)
            .with_context(|| format!("the connector {}", text.name))?;
        if head.connector != text.name {
            anyhow::bail!("the manifest of {} says {}", text.name, head.connector);
        }
        Ok(Self {
            text: *text,
            head,
            compiled: OnceLock::new(),
        })
    }

    /// Parsed for the caller alone where no source needs it.
    fn manifest(&self) -> Option<Arc<Manifest>> {
        match self.compiled.get() {
            Some(kept) => Some(kept.as_ref().ok()?.offer.manifest.clone()),
            None => Manifest::parse(self.text.manifest).ok().map(Arc::new),
        }
    }

    fn compiled(&self) -> &Result<Arc<Registered>, String> {
        self.compiled.get_or_init(|| {
            let compiled = self.compile().map(Arc::new);
            compiled.map_err(|why| {
                let why = format!("{why:#}");
                tracing::error!(name: "connector.unusable", connector = self.text.name, error = why, "a connector of this build cannot be read");
                why
            })
        })
    }

    fn compile(&self) -> anyhow::Result<Registered> {
        let offer = Offer::of_connector(self.text.manifest, self.text.profile)?;
        Registered::of(Arc::new(offer.with_children(self.text.children)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{configure::SourceRequest, shipped::SHIPPED};
    use plexus_home::state_dir::StateDir;
    use plexus_ipc::manifest::Audience;
    use serde_json::json;

    /// The start has looked at its head alone.
    #[test]
    fn a_connector_that_cannot_be_read_serves_nothing_and_says_why() {
        let workspace = SHIPPED.iter().find(|one| one.name == "workspace").unwrap();
        let broken = Connector {
            manifest: "{\"connector\": \"workspace\", \"kind\": \"workspace-dir\", \"label\": \"Folder\"}",
            ..*workspace
        };
        let registry = Registry::read(&[broken]).unwrap();
        assert!(registry.of_kind("workspace-dir").is_none());
        assert_eq!(registry.manifests().count(), 0);
        let why = registry.missing("workspace-dir");
        assert!(
            why.starts_with("the connector for \"workspace-dir\" cannot be read: the manifest"),
            "{why}"
        );
        // Its owner is told the same.
        let home = tempfile::tempdir().unwrap();
        let home = StateDir::as_it_is(Some(home.path().to_owned())).unwrap();
        let body = json!({"id": "notes", "kind": "workspace-dir"});
        let body = body.as_object().unwrap();
        let objection = SourceRequest { body }.check(&registry, &home).unwrap_err();
        assert_eq!(objection.why, why);
        let other = Connector {
            name: "obsidian",
            ..broken
        };
        let refused = Registry::read(&[other]).map(drop).unwrap_err();
        assert_eq!(
            refused.to_string(),
            "the manifest of obsidian says workspace"
        );
    }

    #[test]
    fn missing_worker_of_a_release_is_had_without_a_compiler() {
        let prefix = tempfile::tempdir().unwrap();
        let at = |path: &str| {
            let path = prefix.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            path
        };
        let program = at("libexec/plexus/plexus-worker-workspace");
        let registry = Registry::read(SHIPPED).unwrap();
        let registry = registry.served_from(program.parent().unwrap());
        let kind = registry.of_kind("workspace-dir").unwrap();
        let prefix = prefix.path().display();
        let said = |install: &str| {
            let missing = format!("{} is not there", program.display());
            Some(format!("{missing}; install all programs together{install}"))
        };
        let by_clone = format!(": cargo xtask install --prefix {prefix}");
        assert_eq!(registry.without_worker(&kind.offer), said(&by_clone));
        std::fs::write(at(installation::PUBLIC_KEY), "").unwrap();
        let folder = "in the folder of the release that is installed";
        let by_release = format!(", {folder}: sh install.sh --prefix {prefix}");
        assert_eq!(registry.without_worker(&kind.offer), said(&by_release));
        std::fs::write(&program, "").unwrap();
        assert_eq!(registry.without_worker(&kind.offer), None);
    }

    /// A start reads heads alone: here each connector is read whole.
    #[test]
    fn every_shipped_connector_reads() {
        let registry = Registry::read(SHIPPED).unwrap();
        assert_eq!(registry.manifests().count(), SHIPPED.len());
        for kind in registry.heads().map(|head| &head.kind) {
            let connector = registry.of_kind(kind);
            let connector = connector.unwrap_or_else(|| panic!("{}", registry.missing(kind)));
            let source = SourceId::parse(&connector.offer.manifest.connector).unwrap();
            let all = connector.offer.manifest.capabilities.iter();
            let shown = all.filter(|capability| capability.audience == Audience::Agents);
            assert_eq!(connector.facts(&source).len(), shown.count());
        }
    }
}
