//! From what the owner typed to a source that may be started, or to a reason why not (docs/protocol/owner.md#sources,
//! docs/design.md#sandbox).

use super::{Registry, code, extensions::file_changes, naming, private, programs, sockets};
use plexus_home::{
    inspection,
    state_dir::{StateDir, boot_id, file_system_id, secret_name},
};
use plexus_ipc::manifest::{FieldKind, FieldTarget, FolderField, Manifest, Program, SocketPath};
use plexus_protocol::SourceId;
use plexus_trust::{Source, SourceConfig, SourceSeen, Target};
use serde_json::{Map, Value};
use std::{
    collections::BTreeMap,
    fmt,
    io::Read as _,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

/// How much of a script's first line is read, in bytes.
const FIRST_LINE: u64 = 256;

/// Why a source cannot be configured so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Objection {
    /// The field that is to be filled in otherwise, where it is one: `id`, or a field of the kind.
    pub field: Option<String>,
    /// One sentence for the owner.
    pub why: String,
}

impl Objection {
    fn to(field: &str, why: impl Into<String>) -> Self {
        let field = Some(field.to_owned());
        let why = why.into();
        Self { field, why }
    }
}

impl fmt::Display for Objection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.why)
    }
}

impl From<String> for Objection {
    fn from(why: String) -> Self {
        Self { field: None, why }
    }
}

impl From<Objection> for String {
    fn from(objection: Objection) -> Self {
        objection.why
    }
}

/// A ConfiguredSource as a body carries it. Reads leniently: what is wrong is said as a reason, in the owner's terms.
pub struct SourceRequest<'a> {
    /// The body, as it came.
    pub body: &'a Map<String, Value>,
}

impl SourceRequest<'_> {
    fn text(&self, key: &str) -> Option<&str> {
        self.body
            .get(key)
            .and_then(Value::as_str)
            .map(str::trim)
            .filter(|t| !t.is_empty())
    }

    /// Checks everything that can be checked without starting a worker. Blocks on the disks of its folders.
    ///
    /// # Errors
    /// What stands against it.
    pub fn check(
        &self,
        registry: &Registry,
        state_dir: &StateDir,
    ) -> Result<(SourceId, SourceConfig), Objection> {
        let (id, config) = self.read(registry)?;
        let is_installed = is_installed(&config);
        let look =
            |place: FolderField| match look_in(&place, state_dir, &registry.programs, is_installed)
            {
                Ok(looked) => Ok((place, looked)),
                Err(why) => Err(Objection::to(&place.field, why)),
            };
        let places = places(registry, &config).into_iter().map(look);
        let looked: Vec<_> = places.collect::<Result<_, Objection>>()?;
        if let Some((path, field)) = socket(registry, &config)
            && let Some(why) = sockets::refused(&path, state_dir.path())
        {
            return Err(Objection { field, why });
        }
        apart(looked.iter().map(|(place, looked)| (place, looked)))?;
        Ok((id, config))
    }

    /// As [`Self::check`], with a bounded wait for each folder's disk; and its worker's program is there.
    ///
    /// # Errors
    /// What stands against it.
    pub async fn inspect(
        &self,
        registry: &Registry,
        state_dir: &StateDir,
    ) -> Result<(SourceId, SourceConfig), Objection> {
        let (id, config) = self.read(registry)?;
        let served_by = registry.of_source(&config);
        if let Some(why) = served_by.and_then(|by| registry.without_worker(&by.offer)) {
            return Err(why.into());
        }
        let folders = places(registry, &config);
        let looked = look_at_all(registry, state_dir, folders, is_installed(&config)).await?;
        look_at_socket(registry, &config, state_dir).await?;
        look_at_programs(registry, &config).await?;
        match looked
            .into_iter()
            .find_map(|(place, looked)| Some((place, looked.err()?)))
        {
            Some((place, error)) => Err(Objection::to(
                &place.field,
                format!("{}: {error}; repeat it when it does", place.path.display()),
            )),
            None => Ok((id, config)),
        }
    }

    /// What the body says, as far as no folder has to be looked at for it.
    fn read(&self, registry: &Registry) -> Result<(SourceId, SourceConfig), Objection> {
        let kind = self.text("kind").unwrap_or_default();
        let connector = registry.of_kind(kind).ok_or_else(|| {
            registry.unreadable(kind).unwrap_or_else(|| {
                let known: Vec<_> = registry.heads().map(|head| head.kind.as_str()).collect();
                format!("unknown source kind {kind:?}; known: {}", known.join(", "))
            })
        })?;
        let of_id = |why: String| Objection::to("id", why);
        let id = self.text("id").ok_or("a source needs an id");
        let id = id.map_err(|why| of_id(why.into()))?;
        let id = SourceId::parse(id).map_err(|e| of_id(format!("{id:?} is {e}")))?;
        match registry.reserved_for(&id) {
            Some(owner) if owner.kind != kind => {
                return Err(of_id(format!(
                    "the id {id} is reserved for {}; choose another",
                    owner.label
                )));
            }
            None if naming::reserved(&id) => {
                return Err(of_id(format!("the id {id} is reserved; choose another")));
            }
            Some(_) | None => {}
        }
        let manifest = &connector.offer.manifest;
        if let Some(why) = registry.out_of_place(manifest) {
            return Err(why.into());
        }
        if connector.offer.given.is_some() && naming::source_of(kind) != Some(id.as_str()) {
            return Err(of_id(format!(
                "{kind} is the kind of one source, and not of {id}"
            )));
        }
        let ask = match self.body.get("approval") {
            None | Some(Value::Null) => false,
            Some(Value::String(word)) if word == "auto" => false,
            Some(Value::String(word)) if word == "ask" => true,
            Some(other) => {
                return Err(format!("approval is \"auto\" or \"ask\", not {other}").into());
            }
        };
        let secret_ref = match self.body.get("secretRef") {
            None | Some(Value::Null) => None,
            Some(Value::String(name)) if secret_name(name) && !name.contains('.') => {
                Some(name.clone())
            }
            Some(_) => {
                let why = format!(
                    "secretRef is a plain name without a dot; a secret of this source's own is set with plexusctl sources secret {id} FIELD"
                );
                return Err(why.into());
            }
        };
        if secret_ref.is_some() && manifest.secrets().count() != 1 {
            let why = format!(
                "secretRef stands for the one secret of a kind, and {kind} has {}",
                manifest.secrets().count()
            );
            return Err(why.into());
        }
        let route = route(self.body.get("route"), &id, manifest)?;
        let label = self
            .text("label")
            .map_or_else(|| manifest.label.clone(), str::to_owned);
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
                route: Value::Object(route),
                secret_ref,
                ask,
                provenance: manifest.provenance,
                hide: Default::default(),
                lent: None,
            },
        ))
    }
}

/// The route of a body: the fields that belong there, each a text, with the manifest's defaults for those that are left
/// out.
fn route(
    given: Option<&Value>,
    source: &SourceId,
    manifest: &Manifest,
) -> Result<Map<String, Value>, Objection> {
    let kind = &manifest.kind;
    let mut route = match given {
        None | Some(Value::Null) => Map::new(),
        Some(Value::Object(route)) => route.clone(),
        Some(_) => return Err("route must be an object".to_owned().into()),
    };
    route.retain(|_, value| !value.is_null());
    for (key, value) in &route {
        match manifest.field(key).map(|field| field.target) {
            Some(FieldTarget::Route) if value.is_string() => {}
            Some(FieldTarget::Route) => {
                return Err(Objection::to(key, format!("route.{key} is a text")));
            }
            // The value is not repeated: the owner may have meant it as a secret.
            Some(FieldTarget::Secret) => {
                let why = format!(
                    "{key} is a secret, and a route is none: plexusctl sources secret {source} {key}"
                );
                return Err(Objection::to(key, why));
            }
            None if key == HARD_LINKS && value.is_boolean() => {}
            None if key == HARD_LINKS => {
                return Err(format!("route.{key} is true or false").into());
            }
            Some(FieldTarget::Label) | None => {
                return Err(format!("route.{key} is not a field of {kind}").into());
            }
        }
    }
    let fields = manifest.fields.iter();
    for field in fields.filter(|field| field.target == FieldTarget::Route) {
        let (name, empty) = (&field.name, Value::from(""));
        if let Some(default) = &field.default
            && route.get(name).is_none_or(|value| *value == empty)
        {
            route.insert(name.clone(), default.as_str().into());
        }
        let value = route.get(name).and_then(Value::as_str).unwrap_or_default();
        if field.required && value.is_empty() {
            let why = format!("route.{name} ({}) is required", field.label);
            return Err(Objection::to(name, why));
        }
        let is_path = field.kind == FieldKind::Path;
        if is_path && !value.is_empty() && !Path::new(value).is_absolute() {
            let why = format!(
                "{} is a path from the root of the disk, as in /home/me/notes, and not {value:?}",
                field.label
            );
            return Err(Objection::to(name, why));
        }
    }
    let admitted = Value::Object(route);
    let mut sign_ins = manifest
        .children
        .iter()
        .filter_map(|child| child.sign_in.as_ref());
    let wrong = sign_ins.find_map(|of| Some((of, of.file(&admitted).err()?)));
    if let Some((of, why)) = wrong {
        return Err(Objection::to(
            &of.field,
            format!("route.{} is {why}", of.field),
        ));
    }
    let mut children = manifest.children.iter();
    let wrong = children.find_map(|child| {
        let field = child.disk_field.as_ref()?;
        Some((field, manifest.disk_of(child, &admitted).err()?))
    });
    if let Some((field, why)) = wrong {
        return Err(Objection::to(field, format!("route.{field} is {why}")));
    }
    let hosts = manifest.admitted(&admitted).map(drop);
    if let Err((field, why)) = hosts.and_then(|()| manifest.admitted_socket(&admitted).map(drop)) {
        return Err(Objection::to(field, format!("route.{field} is {why}")));
    }
    match admitted {
        Value::Object(route) => Ok(route),
        _ => Err("route must be an object".to_owned().into()),
    }
}

/// The certificates that differ between two configurations of a source which differ in nothing else; none where anything
/// else does, or nothing.
pub fn repinned(
    registry: &Registry,
    was: &SourceConfig,
    is: &SourceConfig,
) -> Option<BTreeMap<String, Option<String>>> {
    let mut as_is = was.clone();
    // No change of a source's configuration changes what it hides.
    as_is.hide.clone_from(&is.hide);
    let mut pins = BTreeMap::new();
    for pin in registry.of_source(was)?.offer.manifest.pins() {
        let (old, new) = (was.route.get(pin), is.route.get(pin));
        if old == new {
            continue;
        }
        let route = as_is.route.as_object_mut()?;
        match new {
            Some(new) => route.insert(pin.to_owned(), new.clone()),
            None => route.remove(pin),
        };
        pins.insert(
            pin.to_owned(),
            new.and_then(Value::as_str).map(str::to_owned),
        );
    }
    (as_is == *is && !pins.is_empty()).then_some(pins)
}

/// The member of a route that no manifest names: whether files with several names are served.
const HARD_LINKS: &str = "allowHardLinks";

/// Of the route that a body carries, the members that may be repeated in an answer: no secret that was put there by
/// mistake.
pub fn shown_route(registry: &Registry, body: &Map<String, Value>) -> Value {
    let kind = body.get("kind").and_then(Value::as_str).map(str::trim);
    let connector = kind.and_then(|kind| registry.of_kind(kind));
    let is_shown = |key: &String| {
        let field = connector.as_ref().and_then(|c| c.offer.manifest.field(key));
        key == HARD_LINKS || field.is_some_and(|field| field.target == FieldTarget::Route)
    };
    let route = body.get("route").and_then(Value::as_object);
    let shown = route.into_iter().flatten().filter(|(key, _)| is_shown(key));
    Value::Object(
        shown
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect(),
    )
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

/// A folder of a source, looked at.
struct CheckedFolder {
    /// What its path leads to; the path itself where nothing is there for now.
    real: PathBuf,
    target: Option<Target>,
}

/// A source's folder may not hold the state directory, lie in it, or be the home directory itself
/// (docs/design.md#sandbox); and where something may be written in it, it may not hold the gateway's programs, which
/// run without a cage.
fn look_in(
    place: &FolderField,
    state_dir: &StateDir,
    programs: &[PathBuf],
    is_installed: bool,
) -> Result<CheckedFolder, String> {
    // A folder that is missing for now registers; it is looked at again before its worker starts.
    let real = place.path.canonicalize();
    let real = real.unwrap_or_else(|_| place.path.clone());
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
    if overlap(state_dir.path(), &real) {
        return Err(format!(
            "{} overlaps the gateway's own state in {}",
            real.display(),
            state_dir.path().display()
        ));
    }
    let mut programs = programs.iter();
    if place.writable
        && let Some(programs) = programs.find(|folder| folder.starts_with(&real))
    {
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
    if is_installed && let Some(why) = private::refused(&real, place.writable) {
        return Err(why);
    }
    let target = identity(&real).ok();
    Ok(CheckedFolder { real, target })
}

/// Whether a source is served with what the owner installed: then it is given no folder of keys or settings.
fn is_installed(config: &SourceConfig) -> bool {
    naming::source_of(&config.kind).is_some()
}

fn overlap(one: &Path, other: &Path) -> bool {
    one.starts_with(other) || other.starts_with(one)
}

/// What a source only reads may not overlap what it writes: the cage allows what any rule of its allows.
fn apart<'a>(
    looked: impl Iterator<Item = (&'a FolderField, &'a CheckedFolder)> + Clone,
) -> Result<(), String> {
    for (written, there) in looked.clone().filter(|(place, _)| place.writable) {
        for (read, here) in looked.clone().filter(|(place, _)| !place.writable) {
            if overlap(&there.real, &here.real) {
                return Err(format!(
                    "{} is only read and may not overlap {}, which is written: {} and {}",
                    read.field,
                    written.field,
                    here.real.display(),
                    there.real.display()
                ));
            }
        }
    }
    Ok(())
}

/// Looks at the folders of a source, at all of them at once; an error of the inner kind says that a disk does not answer.
async fn look_at_all(
    registry: &Registry,
    state_dir: &StateDir,
    places: Vec<FolderField>,
    is_installed: bool,
) -> Result<Vec<(FolderField, std::io::Result<CheckedFolder>)>, Objection> {
    let looks = places.iter().cloned().map(|place| {
        let (field, state_dir) = (place.field.clone(), state_dir.clone());
        let programs = registry.programs.clone();
        let look = async move {
            let folder = place.path.clone();
            let look = move || look_in(&place, &state_dir, &programs, is_installed);
            inspection::at(&folder, look).await
        };
        (field, look)
    });
    let mut found = inspection::at_once(looks).await;
    let mut looked = Vec::new();
    for place in places {
        let one = match found.remove(&place.field) {
            Some(Ok(looked)) => Ok(looked.map_err(|why| Objection::to(&place.field, why))?),
            Some(Err(error)) => Err(error),
            None => Err(std::io::ErrorKind::NotFound.into()),
        };
        looked.push((place, one));
    }
    let seen = looked.iter();
    apart(seen.filter_map(|(place, looked)| Some((place, looked.as_ref().ok()?))))?;
    Ok(looked)
}

/// The Unix socket that a source reaches, and the field that names it.
fn socket(registry: &Registry, config: &SourceConfig) -> Option<(PathBuf, Option<String>)> {
    let connector = registry.of_source(config)?;
    let manifest = &connector.offer.manifest;
    let socket = manifest.admitted_socket(&config.route).ok()??;
    let field = match &manifest.socket()?.unix {
        SocketPath::Owner { field } => Some(field.clone()),
        SocketPath::Fixed(_) => None,
    };
    Some((socket.path.into(), field))
}

/// Looks at the socket of a source, with a bounded wait for its disk.
async fn look_at_socket(
    registry: &Registry,
    config: &SourceConfig,
    state_dir: &StateDir,
) -> Result<(), Objection> {
    let Some((path, field)) = socket(registry, config) else {
        return Ok(());
    };
    let (of, state_dir) = (path.clone(), state_dir.path().to_owned());
    let looked = inspection::at(&path, move || sockets::refused(&of, &state_dir)).await;
    let why = match looked {
        Ok(None) => return Ok(()),
        Ok(Some(why)) => why,
        Err(error) => format!("{}: {error}", path.display()),
    };
    Err(Objection { field, why })
}

/// Refuses the script that npm puts on the path where the native program that it starts is meant. Waits a bounded time for its
/// disk, and lets pass what cannot be read now.
async fn look_at_programs(registry: &Registry, config: &SourceConfig) -> Result<(), Objection> {
    let Some(connector) = registry.of_source(config) else {
        return Ok(());
    };
    let manifest = &connector.offer.manifest;
    for child in &manifest.children {
        let Program::Field(name) = &child.program else {
            continue;
        };
        let find = manifest.field(name).and_then(|field| field.find.as_ref());
        let native = find.and_then(|find| find.npm.first());
        let (Some(native), Some(path)) = (native, config.route[name].as_str()) else {
            continue;
        };
        let path = PathBuf::from(path);
        let of = path.clone();
        if let Ok(true) = inspection::at(&path, move || needs_node(&of)).await {
            let why = format!(
                "{} is npm's script, which needs node and lies beside the program, and no run has either: name the native program itself, as at node_modules/{native}",
                path.display()
            );
            return Err(Objection::to(name, why));
        }
    }
    Ok(())
}

/// Whether a file is a script that node runs, by its first line.
fn needs_node(path: &Path) -> bool {
    let mut start = Vec::new();
    let read = programs::open(path).and_then(|file| file.take(FIRST_LINE).read_to_end(&mut start));
    let first = String::from_utf8_lossy(&start);
    let line = first.lines().next().unwrap_or_default();
    let mut words = line
        .strip_prefix("#!")
        .unwrap_or_default()
        .split_whitespace();
    let is_node = |word: &str| matches!(word.rsplit('/').next(), Some("node" | "nodejs"));
    read.is_ok() && words.any(is_node)
}

/// The folders that a source names, as they were typed.
pub fn places(registry: &Registry, config: &SourceConfig) -> Vec<FolderField> {
    let connector = registry.of_source(config);
    connector.map_or_else(Vec::new, |c| c.offer.manifest.places(&config.route))
}

/// Whether a folder is what the source pointed at when it was last looked at.
pub fn is_target(seen: Target) -> impl Fn(&Path) -> std::io::Result<bool> + Send + Sync + 'static {
    move |folder| Ok(identity(folder)?.same(&seen))
}

/// Looks at a source: what it points at now, and what its connector offers.
///
/// # Errors
/// Why it may not be started: its kind is gone or serves elsewhere, a folder of it has come to overlap the state
/// directory, or its socket is one that no source reaches.
pub async fn look(
    registry: &Registry,
    source: &Source,
    state_dir: &StateDir,
) -> Result<SourceSeen, String> {
    let connector = registry
        .of_source(&source.config)
        .ok_or_else(|| registry.missing(&source.config.kind))?;
    let manifest = &connector.offer.manifest;
    if let Some(why) = registry.out_of_place(manifest) {
        return Err(why);
    }
    look_at_socket(registry, &source.config, state_dir).await?;
    let (mut target, mut paths) = (None, BTreeMap::new());
    let places = places(registry, &source.config);
    let is_installed = is_installed(&source.config);
    for (place, looked) in look_at_all(registry, state_dir, places, is_installed).await? {
        let seen = match looked {
            Ok(looked) => looked.target,
            // Like one that is missing for now: it is looked at again before each start of its worker.
            Err(error) => {
                tracing::warn!(name: "source.silent", source = %source.id, path = %place.path.display(), %error, "a source's folder does not answer");
                None
            }
        };
        match manifest.root.as_ref() == Some(&place.field) {
            true => target = seen,
            false => paths.extend(seen.map(|seen| (place.field, seen))),
        }
    }
    let pins = code::seen(manifest, &source.config, &source.id).await;
    Ok(SourceSeen {
        id: source.id.clone(),
        target,
        paths,
        profile: connector.profile_digest,
        capabilities: connector.facts(&source.id),
        rules: connector.rules.clone(),
        base: connector.base.clone(),
        file_changes: file_changes(state_dir, source, &pins).await,
        pins,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shipped::SHIPPED;
    use serde_json::json;

    #[test]
    fn npms_script_needs_node() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("codex");
        for (first, is_nodes) in [
            ("#!/usr/bin/env node\n", true),
            ("#!/usr/bin/env -S node --no-warnings\n", true),
            ("#! /opt/node/bin/nodejs", true),
            ("#!/bin/sh\nnode\n", false),
            ("#!/opt/node/bin/deno\n", false),
            ("\u{7f}ELF node", false),
        ] {
            std::fs::write(&path, first).unwrap();
            assert_eq!(needs_node(&path), is_nodes, "{first}");
        }
        assert!(!needs_node(&dir.path().join("none")));
    }

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
            let wanted = SourceRequest {
                body: body.as_object().unwrap(),
            };
            wanted.check(&registry, &state_dir)
        };
        for holds in ["", "libexec", "libexec/plexus", "notes/link"] {
            let why = check("workspace-dir", &prefix.join(holds)).unwrap_err();
            assert_eq!(why.field.as_deref(), Some("path"));
            let why = why.why;
            assert!(why.contains("the gateway's own programs"), "{holds}: {why}");
        }
        std::fs::write(prefix.join("notes/file"), "no folder").unwrap();
        let why = check("workspace-dir", &prefix.join("notes/file")).unwrap_err();
        assert!(why.why.contains("is not a folder"), "{why}");
        // The controls: a folder beside them, and reading what lies there.
        check("workspace-dir", &prefix.join("notes")).unwrap();
        check("git-repository", &prefix).unwrap();
    }
}
