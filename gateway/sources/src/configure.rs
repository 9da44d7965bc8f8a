//! From what the owner typed to a source that may be started, or to a reason why not (wire §4.20, DESIGN 8).

use super::Registry;
use plexus_home::{
    inspection,
    state_dir::{StateDir, boot_id, file_system_id, secret_name},
};
use plexus_ipc::manifest::Manifest;
use plexus_protocol::{Provenance, SourceId};
use plexus_trust::{Source, SourceConfig, SourceSeen, Target};
use serde_json::{Map, Value};
use std::{
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

/// A ConfiguredSource as a body carries it. Reads leniently: what is wrong is said as a reason, in the owner's terms.
pub struct Wanted<'a> {
    /// The body, as it came.
    pub body: &'a Map<String, Value>,
}

impl Wanted<'_> {
    fn text(&self, key: &str) -> Option<&str> {
        self.body
            .get(key)
            .and_then(Value::as_str)
            .map(str::trim)
            .filter(|t| !t.is_empty())
    }

    /// Checks everything that can be checked without starting a worker.
    ///
    /// # Errors
    /// One sentence for the owner.
    pub fn check(
        &self,
        registry: &Registry,
        state_dir: &StateDir,
    ) -> Result<(SourceId, SourceConfig), String> {
        let kind = self.text("kind").unwrap_or_default();
        let connector = registry.of_kind(kind).ok_or_else(|| {
            let known: Vec<_> = registry.iter().map(|c| c.manifest.kind.as_str()).collect();
            format!("unknown source kind {kind:?}; known: {}", known.join(", "))
        })?;
        let id = self.text("id").ok_or("a source needs an id")?;
        let id = SourceId::parse(id).map_err(|e| format!("{id:?} is {e}"))?;
        if let Some(owner) = registry
            .reserved_for(&id)
            .filter(|o| o.manifest.kind != kind)
        {
            return Err(format!(
                "the id {id} is reserved for {}; choose another",
                owner.manifest.label
            ));
        }
        if reserved(&id) {
            return Err(format!("the id {id} is reserved; choose another"));
        }
        let manifest = &connector.manifest;
        let ask = match self.body.get("approval") {
            None | Some(Value::Null) => false,
            Some(Value::String(word)) if word == "auto" => false,
            Some(Value::String(word)) if word == "ask" => true,
            Some(other) => return Err(format!("approval is \"auto\" or \"ask\", not {other}")),
        };
        let secret_ref = match self.body.get("secretRef") {
            None | Some(Value::Null) => None,
            Some(Value::String(name)) if secret_name(name) => Some(name.clone()),
            Some(other) => {
                return Err(format!(
                    "secretRef {other} is not a plain name of a file in secrets/"
                ));
            }
        };
        let route = match self.body.get("route") {
            None | Some(Value::Null) => Value::Object(Map::new()),
            Some(route @ Value::Object(_)) => route.clone(),
            Some(_) => return Err("route must be an object".into()),
        };
        if let Some(unknown) = route.as_object().and_then(|r| {
            r.keys()
                .find(|k| !manifest.fields.iter().any(|f| &f.name == *k) && *k != "allowHardLinks")
        }) {
            return Err(format!("route.{unknown} is not a field of {kind}"));
        }
        if route.get("allowHardLinks").is_some_and(|v| !v.is_boolean()) {
            return Err("route.allowHardLinks is true or false".into());
        }
        for field in manifest
            .fields
            .iter()
            .filter(|f| f.target == plexus_ipc::manifest::FieldTarget::Route)
        {
            let value = route
                .get(&field.name)
                .and_then(Value::as_str)
                .unwrap_or_default();
            if field.required && value.is_empty() {
                return Err(format!(
                    "route.{} ({}) is required",
                    field.name, field.label
                ));
            }
            let is_path = field.kind == plexus_ipc::manifest::FieldKind::Path;
            if is_path && !value.is_empty() && !Path::new(value).is_absolute() {
                return Err(format!(
                    "route.{} must be an absolute path, not {value:?}: a relative one would depend on where the daemon runs",
                    field.name
                ));
            }
        }
        let root = manifest
            .root
            .as_ref()
            .and_then(|f| route.get(f))
            .and_then(Value::as_str)
            .map(PathBuf::from);
        if let Some(root) = &root {
            check_root(root, state_dir, &registry.programs, manifest)?;
        }
        let label = self
            .text("label")
            .map_or_else(|| manifest.label.clone(), str::to_owned);
        let built_in = manifest.connector == id.as_str();
        let provenance = match manifest.provenance {
            Provenance::FirstParty if !built_in => Provenance::Managed,
            other => other,
        };
        let enabled = self
            .body
            .get("enabled")
            .and_then(Value::as_bool)
            .unwrap_or(true);
        Ok((
            id,
            SourceConfig {
                kind: kind.to_owned(),
                label,
                enabled,
                route,
                secret_ref,
                ask,
                provenance,
                hide: Default::default(),
                lent: None,
            },
        ))
    }
}

/// Ids that the wire gives to built-in modules (§5.1), whether this build has them or not.
const RESERVED: &[&str] = &[
    "claudecode",
    "codex",
    "sysinfo",
    "plexus",
    "bundle",
    "admin",
];

/// Whether no owner may name a source so.
pub(crate) fn reserved(id: &SourceId) -> bool {
    RESERVED.contains(&id.as_str())
}

/// What a worker is told of its source: the route, and what is hidden.
pub fn for_worker(config: &SourceConfig) -> Value {
    let mut route = config.route.clone();
    if let Some(members) = route.as_object_mut()
        && !config.hide.is_empty()
    {
        members.insert("hide".into(), serde_json::json!(config.hide));
    }
    route
}

/// Real path, inode, device and boot of a folder: by which a change of target is noticed.
fn identity(path: &Path) -> std::io::Result<Target> {
    let real = path.canonicalize()?;
    let meta = std::fs::metadata(&real)?;
    Ok(Target {
        path: real.to_string_lossy().into_owned(),
        inode: meta.ino(),
        device: meta.dev(),
        boot: boot_id(),
        file_system: file_system_id(&real),
    })
}

/// A source's root may not hold the state directory, lie in it, or be the home directory itself (DESIGN 8); and where
/// something may be written in it, it may not hold the gateway's programs, which run without a cage.
fn check_root(
    root: &Path,
    state_dir: &StateDir,
    programs: &[PathBuf],
    manifest: &Manifest,
) -> Result<(), String> {
    // A folder that is missing for now registers; it is looked at again before its worker starts.
    let real = root.canonicalize().unwrap_or_else(|_| root.to_owned());
    if real.metadata().is_ok_and(|found| !found.is_dir()) {
        return Err(format!("{} is not a folder", real.display()));
    }
    // Its cage could not be written down, so its worker would never start.
    if real
        .to_str()
        .is_none_or(|text| text.contains(char::is_control))
    {
        return Err(format!(
            "the name {:?} holds a control character, or is not UTF-8: no cage can be made around it; rename the folder",
            real.display().to_string()
        ));
    }
    if state_dir.path().starts_with(&real) || real.starts_with(state_dir.path()) {
        return Err(format!(
            "{} overlaps the gateway's own state in {}",
            real.display(),
            state_dir.path().display()
        ));
    }
    let mut offered = manifest.capabilities.iter();
    let writes = offered.any(|one| one.callable() && !one.is_read());
    let mut programs = programs.iter();
    if writes && let Some(programs) = programs.find(|folder| folder.starts_with(&real)) {
        return Err(format!(
            "{} holds the gateway's own programs, in {}: whatever may write there could replace them; choose a folder in \
             it, or install them elsewhere",
            real.display(),
            programs.display()
        ));
    }
    let home = std::env::var_os("HOME").and_then(|h| PathBuf::from(h).canonicalize().ok());
    if home.is_some_and(|home| home.starts_with(&real)) {
        return Err(
            "the home directory itself, or what holds it, cannot be a source: choose a folder in it"
                .into(),
        );
    }
    Ok(())
}

/// The root folder that a source names, as it was typed.
pub fn root_of(registry: &Registry, config: &SourceConfig) -> Option<PathBuf> {
    root(registry, &config.kind, &config.route)
}

/// The same of a ConfiguredSource as a body carries it.
pub fn root_in(registry: &Registry, body: &Map<String, Value>) -> Option<PathBuf> {
    root(
        registry,
        body.get("kind")?.as_str()?.trim(),
        body.get("route")?,
    )
}

fn root(registry: &Registry, kind: &str, route: &Value) -> Option<PathBuf> {
    let field = registry.of_kind(kind)?.manifest.root.as_ref()?;
    route.get(field)?.as_str().map(PathBuf::from)
}

/// Whether a folder is what the source pointed at when it was last looked at.
pub fn is_target(seen: Target) -> impl Fn(&Path) -> std::io::Result<bool> + Send + Sync + 'static {
    move |folder| Ok(identity(folder)?.same(&seen))
}

/// Looks at a source: what it points at now, and what its connector offers.
///
/// # Errors
/// Why it may not be started: its kind is gone, or its root has come to overlap the state directory.
pub async fn look(
    registry: &Registry,
    source: &Source,
    state_dir: &StateDir,
) -> Result<SourceSeen, String> {
    let connector = registry
        .of_kind(&source.config.kind)
        .ok_or_else(|| format!("this build has no connector for {:?}", source.config.kind))?;
    let root = root_of(registry, &source.config);
    let target = match &root {
        Some(root) => {
            let (folder, state_dir) = (root.clone(), state_dir.clone());
            let (manifest, programs) = (connector.manifest.clone(), registry.programs.clone());
            let seen = inspection::at(root, move || {
                check_root(&folder, &state_dir, &programs, &manifest)?;
                Ok::<_, String>(identity(&folder).ok())
            });
            match seen.await {
                Ok(seen) => seen?,
                // Like one that is missing for now: it is looked at again before each start of its worker.
                Err(error) => {
                    tracing::warn!(name: "source.silent", source = %source.id, path = %root.display(), %error, "a source's folder does not answer");
                    None
                }
            }
        }
        None => None,
    };
    Ok(SourceSeen {
        id: source.id.clone(),
        target,
        profile: connector.profile_digest,
        capabilities: connector.facts(&source.id),
        rules: connector.rules.clone(),
        base: connector.base.clone(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shipped::SHIPPED;
    use serde_json::json;

    /// An install keeps the launcher and the workers elsewhere than the daemon, and so may `--workers`.
    #[test]
    fn a_folder_that_holds_the_launcher_and_the_workers_is_no_source_to_write_in() {
        let (home, prefix) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let prefix = prefix.path().canonicalize().unwrap();
        let workers = prefix.join("libexec/plexus");
        std::fs::create_dir_all(&workers).unwrap();
        std::fs::create_dir(prefix.join("notes")).unwrap();
        std::os::unix::fs::symlink(prefix.join("libexec"), prefix.join("notes/link")).unwrap();
        let state_dir = StateDir::as_it_is(Some(home.path().to_owned())).unwrap();
        let registry = Registry::read(SHIPPED).unwrap().served_from(&workers);
        let check = |kind: &str, path: &Path| {
            let body = json!({"id": "notes", "kind": kind, "route": {"path": path}});
            let wanted = Wanted {
                body: body.as_object().unwrap(),
            };
            wanted.check(&registry, &state_dir)
        };
        for holds in ["", "libexec", "libexec/plexus", "notes/link"] {
            let why = check("workspace-dir", &prefix.join(holds)).unwrap_err();
            assert!(why.contains("the gateway's own programs"), "{holds}: {why}");
        }
        std::fs::write(prefix.join("notes/file"), "no folder").unwrap();
        let why = check("workspace-dir", &prefix.join("notes/file")).unwrap_err();
        assert!(why.contains("is not a folder"), "{why}");
        // The controls: a folder beside them, and reading what lies there.
        check("workspace-dir", &prefix.join("notes")).unwrap();
        check("git-repository", &prefix).unwrap();
    }
}
