//! Finds what the owner could add on this machine, as the manifests say where to look (docs/design.md#http).
//!
//! Invariants: of an app's data only its list of folders is read, 64 KiB at most; of a plugin's file, which may hold its
//! key, only the existence is checked; a port is connected to and sent nothing. A suggested id is a free one.
//!
//! Must not know: which apps there are.

use crate::{Registry, lending::free_id, naming};
use plexus_home::state_dir::StateDir;
use plexus_ipc::manifest::{Detect, FolderList, Manifest, Platform};
use plexus_protocol::SourceId;
use plexus_trust::State;
use serde_json::{Map, Value, json};
use std::{
    io::Read,
    net::{Ipv4Addr, SocketAddr, TcpStream},
    path::{Path, PathBuf},
    time::Duration,
};

/// Most bytes of a list that are read.
const LIST_BYTES: u64 = 64 * 1024;
/// Most folders of one list that are reported.
const MOST: usize = 64;
/// How long a port of this machine may take to accept a connection.
const CONNECT_WITHIN: Duration = Duration::from_millis(200);

/// A source that could be added.
#[derive(Debug)]
pub struct Detected {
    /// Its kind.
    pub kind: String,
    /// The suggested id, which no source has.
    pub id: SourceId,
    /// What it would be called.
    pub label: String,
    /// Its fields, as far as they are known.
    pub route: Map<String, Value>,
    /// Why it is believed to be there, in a sentence without a full stop.
    pub evidence: String,
    /// Whether a source of it is configured already.
    pub is_configured: bool,
    /// Whether it would serve now, as far as that is seen from outside.
    pub is_reachable: bool,
    /// How its app is reached.
    pub transport: String,
    /// The secret that it does not start without, by its name in the store.
    pub secret: Option<String>,
    /// The owner's command that adds it, word by word.
    pub command: Vec<String>,
}

/// What is found, in the order of the connectors. Never an error.
pub fn detect(registry: &Registry, state_dir: &StateDir, state: &State) -> Vec<Detected> {
    let home = std::env::var_os("HOME").map_or_else(PathBuf::new, PathBuf::from);
    let mut found: Vec<Detected> = Vec::new();
    for manifest in registry.manifests() {
        let manifest = &*manifest;
        if registry.out_of_place(manifest).is_some() {
            continue;
        }
        for hit in hits(manifest, &home, state) {
            let is_reserved = |id: &SourceId| {
                let of = registry.reserved_for(id);
                naming::reserved(id) || of.is_some_and(|of| of.kind != manifest.kind)
            };
            let is_taken = |id: &SourceId| {
                found.iter().any(|other| other.id == *id)
                    || state.sources.contains_key(id)
                    || state_dir.join("workers").join(id.as_str()).exists()
            };
            if let Some(id) = free_id(&hit.name, hit.noun, is_reserved, is_taken) {
                found.push(suggested(manifest, hit, id));
            }
        }
    }
    found
}

/// Something that is there.
struct Hit<'m> {
    /// What its id is made of; with `noun` before it where it gives none.
    name: String,
    noun: &'m str,
    label: String,
    route: Map<String, Value>,
    evidence: String,
    is_configured: bool,
    is_reachable: bool,
}

fn suggested(manifest: &Manifest, hit: Hit<'_>, id: SourceId) -> Detected {
    let mut command = ["plexusctl", "sources", "add", &manifest.kind]
        .map(str::to_owned)
        .to_vec();
    let root = manifest
        .root
        .as_ref()
        .and_then(|root| hit.route.get(root)?.as_str());
    command.extend(root.map(str::to_owned));
    if id.as_str() != manifest.connector {
        command.extend(["--id".to_owned(), id.to_string()]);
    }
    // Until its certificate is pinned, it does not serve.
    if manifest.pins().any(|pin| !hit.route.contains_key(pin)) {
        command.push("--keep".to_owned());
    }
    let mut secrets = manifest.secrets();
    let secret = secrets.find(|field| field.required);
    Detected {
        kind: manifest.kind.clone(),
        label: hit.label,
        route: hit.route,
        evidence: hit.evidence,
        is_configured: hit.is_configured,
        is_reachable: hit.is_reachable,
        transport: manifest.transport.clone(),
        secret: secret.map(|field| format!("{id}.{}", field.name)),
        command,
        id,
    }
}

fn hits<'m>(manifest: &'m Manifest, home: &Path, state: &State) -> Vec<Hit<'m>> {
    match &manifest.detect {
        None => Vec::new(),
        Some(Detect::Folders {
            list,
            evidence,
            noun,
        }) => folders(home, list)
            .filter_map(|folder| vault(manifest, &folder, (evidence, noun), state))
            .collect(),
        Some(Detect::Plugin {
            list,
            file,
            port,
            evidence,
        }) => {
            let lies = folders(home, list).find(|folder| folder.join(file).exists());
            let is_reachable = connects(*port);
            let evidence = match (lies, is_reachable) {
                (Some(folder), true) => format!(
                    "{evidence} is in {}, and port {port} answers",
                    folder.display()
                ),
                (Some(folder), false) => format!(
                    "{evidence} is in {}; port {port} does not answer now",
                    folder.display()
                ),
                (None, true) => format!("port {port} answers, where {evidence} listens"),
                (None, false) => return Vec::new(),
            };
            vec![app(manifest, evidence, is_reachable, state)]
        }
        Some(Detect::App { macos, evidence }) => {
            let evidence = match manifest.serves_on(Platform::here()) {
                // The gateway was started with it.
                false => "a fake stands in for the app (PLEXUS_FAKE_APPLE)",
                true if macos.iter().any(|place| Path::new(place).exists()) => evidence,
                true => return Vec::new(),
            };
            vec![app(manifest, evidence.to_owned(), true, state)]
        }
    }
}

/// A folder that an app lists; none for one that no source could be of.
fn vault<'m>(
    manifest: &'m Manifest,
    folder: &Path,
    (evidence, noun): (&str, &'m str),
    state: &State,
) -> Option<Hit<'m>> {
    let field = manifest.root.as_ref()?;
    let name = folder.file_name()?.to_string_lossy().into_owned();
    // Sources have it as the owner's command resolved it.
    let real = folder.canonicalize();
    let is_it = |path: &Value| {
        let path = path.as_str().map(Path::new);
        path == Some(folder) || real.as_deref().ok() == path
    };
    let mut sources = state.sources.values();
    Some(Hit {
        label: format!("{} ({name})", manifest.label),
        evidence: format!("{evidence} at {}", folder.display()),
        is_configured: sources.any(|source| source.config.route.get(field).is_some_and(is_it)),
        is_reachable: folder.is_dir(),
        route: Map::from_iter([(field.clone(), json!(folder))]),
        name,
        noun,
    })
}

/// Something of which a machine has one, with the defaults of its fields.
fn app<'m>(manifest: &'m Manifest, evidence: String, is_reachable: bool, state: &State) -> Hit<'m> {
    let default = |field: &plexus_ipc::manifest::Field| {
        Some((field.name.clone(), json!(field.default.as_ref()?)))
    };
    let mut sources = state.sources.values();
    Hit {
        name: manifest.connector.clone(),
        noun: &manifest.connector,
        label: manifest.label.clone(),
        route: manifest.fields.iter().filter_map(default).collect(),
        evidence,
        is_configured: sources.any(|source| source.config.kind == manifest.kind),
        is_reachable,
    }
}

/// The folders that an app lists, without what no path of a source could be.
fn folders(home: &Path, list: &FolderList) -> impl Iterator<Item = PathBuf> {
    let files = match cfg!(target_os = "macos") {
        true => &list.macos,
        false => &list.linux,
    };
    let listed = files.iter().flat_map(|file| listed(&home.join(file), list));
    listed.take(MOST).collect::<Vec<_>>().into_iter()
}

fn listed(file: &Path, list: &FolderList) -> Vec<PathBuf> {
    let mut bytes = Vec::new();
    let read = std::fs::File::open(file);
    if read
        .and_then(|file| file.take(LIST_BYTES).read_to_end(&mut bytes))
        .is_err()
    {
        return Vec::new();
    }
    let whole: Value = serde_json::from_slice(&bytes).unwrap_or_default();
    let entries = whole.get(&list.members).and_then(Value::as_object);
    entries
        .into_iter()
        .flat_map(Map::values)
        .filter_map(|entry| entry.get(&list.path)?.as_str())
        .filter(|path| !path.contains(char::is_control))
        .map(PathBuf::from)
        .filter(|path| path.is_absolute())
        .collect()
}

fn connects(port: u16) -> bool {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    TcpStream::connect_timeout(&address, CONNECT_WITHIN).is_ok()
}
