//! What the owner installs beside the connectors: MCP servers, with the manifest that is made of what the owner asks for and of
//! what the server says; extensions [by manifest](declared); and the files that hold what the owner agreed to.
//!
//! ```text
//! ServerRequest ─▶ manifest without tools ─▶ listing, by a worker ─▶ manifest with tools ─agreed─▶ extensions/<id>.json
//!                                                                                              └─▶ Registry
//! ```
//! Invariants: one server is one kind, `mcp-<id>`, one extension `ext-<id>`, and each one source, `<id>`; a path is a parameter of a profile and no text
//! of it; a manifest that is installed is, byte for byte, the one that was shown.
//!
//! Must not know: how a server is started, who may call it.

mod commands;
pub mod declared;
mod loader;
mod rest;
mod skills;
mod stdio;
mod surface;
mod variables;

pub use surface::{differences, surface};

use crate::{Registered, Registry, schema::Schema};
use arc_swap::ArcSwap;
use declared::Agreed;
use plexus_home::state_dir::{StateDir, write_private};
use plexus_ipc::{
    manifest::{ChildArgument, Manifest, McpPins, Program},
    offer::Offer,
    text::{Line, Text},
};
use plexus_protocol::{CapabilityId, Digest, SourceId, json};
use plexus_trust::Target;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json as object};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    path::PathBuf,
    sync::Arc,
};

/// The source that a server is looked at as, before there is one.
pub const PREVIEW: &str = "mcp-preview";
/// The owner's read that answers what a server says of itself.
pub const LISTING: &str = "server.tools";
/// The folder in the state directory.
const FOLDER: &str = "extensions";
/// Most folders of either kind.
const MAX_FOLDERS: usize = 7;
/// Most tools: with the listing, as many as a manifest has room for.
const MAX_TOOLS: usize = plexus_ipc::manifest::MAX_ENTRIES - 1;
/// Largest input schema of a tool, in bytes, and most patterns in it.
const MAX_SCHEMA: usize = 65_536;
const MAX_PATTERNS: usize = 32;
/// How many patterns a reference counts as.
const REFERENCE: usize = 2;
const SERVER_KIND: &str = "mcp-";
const BY_MANIFEST: &str = "ext-";
const WORKER: &str = include_str!("../../../sandbox-profiles/mcp.sb");
const SERVER: &str = include_str!("../../../sandbox-profiles/children/mcp.sb");

/// A server, as the owner asks for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ServerRequest {
    /// The source's id.
    pub name: SourceId,
    /// The program, an absolute path.
    pub program: String,
    /// Its arguments.
    #[serde(default)]
    pub arguments: Vec<String>,
    /// Its environment.
    #[serde(default)]
    pub environment: BTreeMap<String, String>,
    /// Folders that it reads, and changes in its writer.
    #[serde(default)]
    pub folders: Vec<String>,
    /// Folders with its own files, which it only reads.
    #[serde(default)]
    pub code: Vec<String>,
    /// The tools that only read, by the owner's word.
    #[serde(default)]
    pub reads: BTreeSet<String>,
}

/// What a server says of itself, as the worker answers it.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Listing {
    /// Name and version, as it claims them.
    #[serde(default)]
    pub server_info: Value,
    /// Its instructions.
    #[serde(default)]
    pub instructions: Option<String>,
    /// Its tools, each as it came.
    pub tools: Vec<Value>,
}

/// A manifest that was made of a listing.
#[derive(Debug)]
pub struct Generated {
    /// The manifest.
    pub text: String,
    /// Tools that cannot be lent, each with the reason.
    pub refused: Vec<(String, String)>,
}

/// The kind of a server's source.
#[must_use]
pub fn kind_of(id: &SourceId) -> String {
    format!("{SERVER_KIND}{id}")
}

/// The kind of the source of an extension by manifest.
#[must_use]
pub fn by_manifest_kind(id: &str) -> String {
    format!("{BY_MANIFEST}{id}")
}

/// Whether a kind is that of an extension by manifest.
#[must_use]
pub fn is_by_manifest(kind: &str) -> bool {
    kind.starts_with(BY_MANIFEST)
}

/// The one source of an installed kind.
pub(crate) fn source_of(kind: &str) -> Option<&str> {
    let server = kind.strip_prefix(SERVER_KIND);
    server.or_else(|| kind.strip_prefix(BY_MANIFEST))
}

impl ServerRequest {
    /// As it was installed, where its folders are those of `route`.
    ///
    /// # Errors
    /// The manifest is none that was made here.
    pub fn installed(id: &SourceId, manifest: &Manifest, route: &Value) -> Result<Self, String> {
        let child = manifest.children.first().ok_or("it has no program")?;
        let Program::Path(program) = &child.program else {
            return Err("its program has no path".to_owned());
        };
        let fixed = child
            .arguments
            .iter()
            .filter_map(|argument| match argument {
                ChildArgument::Fixed(text) => Some(text.clone()),
                ChildArgument::Named(_) | ChildArgument::Words(_) | ChildArgument::List(_) => None,
            });
        let folders = |begins: &str| {
            let fields = manifest
                .fields
                .iter()
                .filter(|f| f.name.starts_with(begins));
            let paths = fields.filter_map(|field| route[&field.name].as_str());
            paths.map(str::to_owned).collect()
        };
        let reads = manifest.capabilities.iter();
        let reads = reads.filter(|c| c.is_read() && c.name != LISTING);
        let environment = child.environment.clone().into_iter();
        Ok(Self {
            name: id.clone(),
            program: program.clone(),
            arguments: fixed.collect(),
            environment: environment
                .filter_map(|(name, value)| Some((name, value?)))
                .collect(),
            folders: folders("folder"),
            code: folders("code"),
            reads: reads.map(|c| c.name.clone()).collect(),
        })
    }

    /// The source's route.
    fn route(&self) -> Value {
        let folders = |what: &'static str, paths: &[String]| {
            let paths = paths.iter().cloned().enumerate();
            let paths = paths.map(move |(at, path)| (format!("{what}{}", at + 1), path.into()));
            paths.collect::<Vec<(String, Value)>>()
        };
        let mut route = folders("code", &self.code);
        route.extend(folders("folder", &self.folders));
        Value::Object(route.into_iter().collect())
    }

    /// The source, as a body adds it.
    #[must_use]
    pub fn source(&self, id: &SourceId) -> Value {
        let kind = kind_of(&self.name);
        object!({"id": id, "kind": kind, "label": self.name, "route": self.route()})
    }

    /// The manifest that is good for nothing but to ask the server what it has.
    ///
    /// # Errors
    /// What stands against it.
    pub fn to_ask(&self) -> Result<Registered, String> {
        registered(&self.text(Vec::new(), None)).map_err(|why| format!("{why:#}"))
    }

    /// The manifest of what the server says. Every tool executes, unless the owner says that it reads.
    ///
    /// # Errors
    /// What stands against it.
    pub fn generate(&self, listing: &Listing) -> Result<Generated, String> {
        let mut names = BTreeSet::new();
        let (mut entries, mut refused) = (Vec::new(), Vec::new());
        let mut pins = McpPins {
            instructions: listing
                .instructions
                .as_ref()
                .map(|text| json::digest(&object!(text))),
            tools: BTreeMap::new(),
        };
        for tool in &listing.tools {
            let name = tool["name"].as_str().unwrap_or_default();
            match self.entry(name, tool) {
                _ if !names.insert(name) => return Err(format!("it has two tools {name:?}")),
                Ok(entry) => {
                    pins.tools.insert(name.to_owned(), json::digest(tool));
                    entries.push(entry);
                }
                Err(why) => refused.push((shown_line(name), why)),
            }
        }
        if entries.len() > MAX_TOOLS {
            return Err(format!("it has more than {MAX_TOOLS} tools"));
        }
        if let Some(unknown) = self
            .reads
            .iter()
            .find(|read| !pins.tools.contains_key(*read))
        {
            return Err(format!("it has no tool {unknown:?} that could be a read"));
        }
        let text = self.text(entries, Some(pins));
        registered(&text).map_err(|why| format!("{why:#}"))?;
        Ok(Generated { text, refused })
    }

    /// One tool as a capability, or why it can be none.
    fn entry(&self, name: &str, tool: &Value) -> Result<Value, String> {
        let fits = name.len() <= 128
            && !name.starts_with('.')
            && CapabilityId::parse(&format!("source.{name}")).is_ok();
        if !fits {
            let why = "its name is not 1 to 128 letters, digits, '.', '_' or '-', without a dot at either end";
            return Err(why.to_owned());
        }
        if name == LISTING {
            return Err("its name is that of Plexus's own question to the server".to_owned());
        }
        let input = &tool["inputSchema"];
        if !input.is_object() {
            return Err("its input schema is no object".to_owned());
        }
        let (bytes, patterns) = (input.to_string().len(), patterns(input));
        if bytes > MAX_SCHEMA || patterns > MAX_PATTERNS {
            let why = "its input schema has more than 64 KiB, or more than 32 patterns; a reference counts as two";
            return Err(why.to_owned());
        }
        Schema::compile(input).map_err(|why| format!("its input schema: {}", shown_line(&why)))?;
        let is_read = self.reads.contains(name);
        Ok(object!({
            "name": name,
            "kind": "capability",
            "label": name,
            "describe": format!("Third-party tool of {}:\n{}", self.name, described(tool)),
            "verbs": [if is_read { "read" } else { "execute" }],
            "sensitivity": if is_read { "low" } else { "high" },
            "input": input,
            "output": {
                "type": "object",
                "properties": {
                    "text": {"type": "string"},
                    // The server's own schema has words in it, which no owner was shown.
                    "structured": {},
                    "images": {"type": "array", "items": {"type": "object"}},
                },
                "additionalProperties": false,
            },
        }))
    }

    fn text(&self, tools: Vec<Value>, pins: Option<McpPins>) -> String {
        let field = |what: &str, label: &str, at: usize, writable: bool| {
            object!({
                "name": format!("{what}{at}"), "label": format!("{label} {at}"), "type": "path",
                "required": true, "target": "route", "writable": writable,
            })
        };
        let code = (1..=self.code.len()).map(|at| field("code", "Program folder", at, false));
        let folders = (1..=self.folders.len()).map(|at| field("folder", "Folder", at, true));
        let child = |role: &str| {
            let mut environment = BTreeMap::from([
                ("PATH".to_owned(), "/usr/local/bin:/usr/bin:/bin".to_owned()),
                ("LANG".to_owned(), "C.UTF-8".to_owned()),
            ]);
            environment.extend(self.environment.clone());
            object!({
                "name": role, "program": {"path": self.program}, "tools": true,
                "discard": role == "reader",
                "arguments": self.arguments, "environment": environment,
                "limits": {"openFiles": 1024, "fileBytes": 268_435_456, "memoryMiB": 1024, "processes": 16},
            })
        };
        let listing = object!({
            "name": LISTING, "kind": "capability", "audience": "owner", "label": "What the server says",
            "describe": "All that the server says of itself.", "verbs": ["read"],
            "input": {"type": "object"}, "output": {"type": "object"},
        });
        let kind = kind_of(&self.name);
        let capabilities: Vec<Value> = [listing].into_iter().chain(tools).collect();
        let whole = object!({
            "connector": kind,
            "kind": kind,
            "label": self.name,
            "blurb": "An MCP server that you lend. Each of its tools asks you first, unless you class it as a read.",
            "provenance": "extension",
            "transport": "mcp",
            "platforms": ["linux"],
            "fields": code.chain(folders).collect::<Vec<_>>(),
            "roles": ["reader", "writer"],
            "limits": {"frameBytes": 8_388_608, "openFiles": 256, "fileBytes": 1_048_576, "callMs": 120_000, "memoryMiB": 512},
            "children": [child("reader"), child("writer")],
            "mcp": pins,
            "capabilities": capabilities,
        });
        let mut text = format!("{whole:#}");
        text.push('\n');
        text
    }
}

/// A third party's description, as text without what would reorder or imitate.
#[must_use]
pub fn described(tool: &Value) -> Text<16_384> {
    Text::new(tool["description"].as_str().unwrap_or("(no description)"))
}

/// How much work a schema makes beside its length: each regular expression is compiled, and each reference may double what a
/// call costs.
fn patterns(schema: &Value) -> usize {
    match schema {
        Value::Array(all) => all.iter().map(patterns).sum(),
        Value::Object(members) => members
            .iter()
            .map(|(name, value)| {
                let own = match (&**name, value) {
                    ("pattern", Value::String(_)) => 1,
                    ("$ref" | "$dynamicRef" | "$recursiveRef", Value::String(_)) => REFERENCE,
                    ("patternProperties", Value::Object(all)) => all.len(),
                    _ => 0,
                };
                own + patterns(value)
            })
            .sum(),
        _ => 0,
    }
}

fn shown_line(text: &str) -> String {
    Line::<256>::new(text).to_string()
}

/// A profile with the rules of the owner's folders, before what it denies at last.
fn with_folders(base: &str, manifest: &Manifest, may_write: &str) -> String {
    let end = base.rfind("(deny file-write-create").unwrap_or(base.len());
    let mut profile = base[..end].to_owned();
    for (field, parameter) in manifest.paths() {
        profile.push_str(&format!(
            "(allow file-read* (subpath (param \"{parameter}\"))) ; the owner's \"{}\"\n",
            shown_line(&field.label)
        ));
        if field.writable {
            profile.push_str(&may_write.replace("FIELD", &parameter));
        }
    }
    profile.push_str(&base[end..]);
    profile
}

/// The offer of what is installed, by its text.
fn registered(text: &str) -> anyhow::Result<Registered> {
    // Whose manifest is an object within it is an extension by manifest.
    if json::parse(text.as_bytes()).is_ok_and(|whole| whole["manifest"].is_object()) {
        return json::parse_as::<Agreed>(text.as_bytes())?.registered();
    }
    let manifest = Manifest::parse(text)?;
    let fields = |begins: &str| {
        let fields = manifest
            .fields
            .iter()
            .filter(|f| f.name.starts_with(begins));
        fields.count()
    };
    if fields("code") > MAX_FOLDERS || fields("folder") > MAX_FOLDERS {
        anyhow::bail!("more than {MAX_FOLDERS} folders of a kind");
    }
    let worker = with_folders(
        WORKER,
        &manifest,
        "; Only the writer changes it.\n(if (string=? (param \"ROLE\") \"writer\")\n  (allow file-write* (subpath (param \"FIELD\"))))\n",
    );
    let reader = with_folders(SERVER, &manifest, "");
    let writes = "(allow file-write* (subpath (param \"FIELD\"))) ; and changes it\n";
    let writer = with_folders(SERVER, &manifest, writes);
    let mut offer = Offer::of_connector(text, &worker)?
        .with_children(&[("reader", &reader), ("writer", &writer)])?;
    offer.program = "plexus-worker-mcp".into();
    offer.given = Some(text.into());
    Registered::of(Arc::new(offer))
}

fn file(state_dir: &StateDir, id: &SourceId) -> PathBuf {
    state_dir.join(FOLDER).join(format!("{id}.json"))
}

/// The manifest that the owner agreed to, as it lies in its file.
///
/// # Errors
/// The system's; `NotFound` where there is no such server.
pub fn stored(state_dir: &StateDir, id: &SourceId) -> io::Result<String> {
    fs::read_to_string(file(state_dir, id))
}

impl Registry {
    /// Reads what was installed. What does not read is kept as a reason, and keeps nothing else from serving.
    pub fn read_installed(&self, state_dir: &StateDir) {
        let mut all = BTreeMap::new();
        for entry in fs::read_dir(state_dir.join(FOLDER))
            .into_iter()
            .flatten()
            .flatten()
        {
            let name = entry.file_name().to_string_lossy().into_owned();
            let id = name.strip_suffix(".json").map(SourceId::parse);
            let Some(Ok(id)) = id else { continue };
            let read = stored(state_dir, &id).map_err(anyhow::Error::from);
            let read = read.and_then(|text| registered(&text)).and_then(|read| {
                let kind = &read.offer.manifest.kind;
                anyhow::ensure!(
                    source_of(kind) == Some(id.as_str()),
                    "it is of the kind {kind}"
                );
                Ok(Arc::new(read))
            });
            let read = read.map_err(|why| format!("{}: {why:#}", entry.path().display()));
            if let Err(why) = &read {
                tracing::warn!(name: "extension.unreadable", source = %id, error = why, "what was installed cannot be used");
            }
            all.insert(id.to_string(), read);
        }
        self.installed.store(Arc::new(all));
    }

    /// The ids of all that is installed, each with its offer or with why it cannot be used.
    pub fn installed(&self) -> Vec<(String, Result<Arc<Registered>, String>)> {
        let all = self.installed.load();
        let all = all.iter();
        all.map(|(id, read)| (id.clone(), read.clone())).collect()
    }

    /// Keeps a manifest that the owner agreed to, in place of an earlier one of the same server.
    ///
    /// # Errors
    /// It cannot be kept, or is none.
    pub fn install(&self, state_dir: &StateDir, id: &SourceId, text: &str) -> anyhow::Result<()> {
        let read = Arc::new(registered(text)?);
        let path = file(state_dir, id);
        if let Some(folder) = path.parent()
            && !folder.is_dir()
        {
            std::os::unix::fs::DirBuilderExt::mode(&mut fs::DirBuilder::new(), 0o700)
                .create(folder)?;
        }
        write_private(&path, text.as_bytes())?;
        self.installed.rcu(|all| {
            let mut all = BTreeMap::clone(all);
            all.insert(id.to_string(), Ok(read.clone()));
            all
        });
        Ok(())
    }

    /// Forgets a server. Whether there was one.
    ///
    /// # Errors
    /// Its file cannot be removed.
    pub fn uninstall(&self, state_dir: &StateDir, id: &SourceId) -> io::Result<bool> {
        let there = match fs::remove_file(file(state_dir, id)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => false,
            removed => removed.map(|()| true)?,
        };
        self.installed.rcu(|all| {
            let mut all = BTreeMap::clone(all);
            all.remove(id.as_str());
            all
        });
        Ok(there)
    }

    /// A registry of this offer alone, which looks at folders as this one does.
    pub fn only(&self, offer: Registered) -> Self {
        let kind = &offer.offer.manifest.kind;
        let id = source_of(kind).unwrap_or(kind).to_owned();
        Self {
            connectors: Vec::new(),
            installed: ArcSwap::from_pointee(BTreeMap::from([(id, Ok(Arc::new(offer)))])),
            programs: self.programs.clone(),
            platforms: self.platforms.clone(),
        }
    }
}

/// What the owner agrees to: the manifest, which file its program is, and which folders it has.
#[must_use]
pub fn agreement(text: &str, programs: &[String], folders: &BTreeMap<String, Target>) -> Digest {
    let folders = object!(folders);
    Digest::of(format!("{text}\n{}\n{folders}", programs.join("\n")).as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(reads: &[&str]) -> ServerRequest {
        ServerRequest {
            name: SourceId::parse("notes").unwrap(),
            program: "/usr/bin/node".into(),
            arguments: vec!["/srv/mcp/index.js".into()],
            environment: BTreeMap::from([("TOKEN".into(), "hush".into())]),
            folders: vec!["/srv/notes".into()],
            code: vec!["/srv/mcp".into()],
            reads: reads.iter().map(|read| (*read).to_owned()).collect(),
        }
    }

    fn listing(tools: &[Value]) -> Listing {
        Listing {
            server_info: Value::Null,
            instructions: None,
            tools: tools.to_vec(),
        }
    }

    fn tool(name: &str) -> Value {
        object!({"name": name, "description": "Does\u{202e}it", "inputSchema": {"type": "object"}})
    }

    #[test]
    fn manifest_is_what_was_asked_for() {
        let asked = request(&["look"]);
        let made = asked
            .generate(&listing(&[tool("look"), tool("do")]))
            .unwrap();
        let offer = registered(&made.text).unwrap().offer;
        let look = offer.manifest.capability("look").unwrap();
        let act = offer.manifest.capability("do").unwrap();
        assert!(look.is_read() && !act.is_read());
        assert_eq!(act.describe, "Third-party tool of notes:\nDoes\u{fffd}it");
        let pins = offer.manifest.mcp.as_ref().unwrap();
        assert_eq!(pins.tools["do"], json::digest(&tool("do")));
        let again = ServerRequest::installed(&asked.name, &offer.manifest, &asked.route());
        let mut again = again.unwrap();
        for added in ["PATH", "LANG"] {
            again.environment.remove(added);
        }
        assert_eq!(again, asked);
    }

    #[test]
    fn only_the_writers_cages_write() {
        let made = request(&[]).generate(&listing(&[tool("do")])).unwrap();
        let offer = registered(&made.text).unwrap().offer;
        let writes = |text: &str| {
            text.matches("(allow file-write* (subpath (param \"FOLDER1\")))")
                .count()
        };
        let of = |name: &str| {
            offer
                .children
                .iter()
                .find(|(of, _)| of == name)
                .unwrap()
                .1
                .clone()
        };
        assert_eq!(writes(&of("reader")), 0);
        assert_eq!(writes(&of("writer")), 1);
        assert!(
            !of("writer").contains("/srv"),
            "a path is text of a profile"
        );
        assert!(of("writer").contains("(param \"CODE1\")"));
    }

    #[test]
    fn tool_that_fits_no_capability_is_refused() {
        let odd = [
            tool("two words"),
            tool(LISTING),
            object!({"name": "bare"}),
            tool("do"),
        ];
        let made = request(&[]).generate(&listing(&odd)).unwrap();
        let names: Vec<_> = made.refused.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["two words", LISTING, "bare"]);
        let twice = request(&[]).generate(&listing(&[tool("do"), tool("do")]));
        assert!(twice.unwrap_err().contains("two tools"));
        let unknown = request(&["no"]).generate(&listing(&[tool("do")]));
        assert!(unknown.unwrap_err().contains("no tool \"no\""));
    }
}
