//! What stands against a manifest (`plexus-extension/0.1`), and which programs it means on this machine.
//!
//! ```text
//! file ─▶ ExtensionManifest ─▶ programs resolved ─▶ Agreed ─shown, agreed─▶ extensions/<id>.json
//! ```
//! Invariants: an unknown member is refused, and so is a program that would run another one for its input; a program is named
//! by the file that it is, and never by a link to it.
//!
//! Must not know: how a manifest becomes an offer, who may call it.

use super::{
    loader,
    manifest::{
        Agreed, DeclaredCapability, DeclaredSkill, DeclaredWorkflow, ExtensionManifest, FORMAT, Io,
        PinnedProgram, Route, read_part,
    },
    variables,
};
use crate::{
    Registry, budget,
    labels::{self, are_alike, speaks_of_plexus},
    programs,
};
use plexus_home::inspection;
use plexus_protocol::{Digest, SourceId};
use plexus_trust::Proposal;
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::Read as _,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

/// Largest manifest, in bytes, and most capabilities.
const MAX_MANIFEST: usize = 262_144;
const MAX_CAPABILITIES: usize = 256;
/// Most entries whose shape is said to be wrong at once.
const MAX_ODD: usize = 32;
/// Longest id, in bytes.
const MAX_ID: usize = 60;
/// Parameters of a command's profile, beside those that no path field may have.
const TAKEN: [&str; 3] = ["PROGRAM", "CALLS", "ANSWERS"];
/// Most programs of a manifest, and how long reading all of them may take.
const MAX_PROGRAMS: usize = 32;
const PATIENCE: Duration = Duration::from_secs(20);
/// How much of a program is looked at for what sort of file it is: loaders are smaller.
const LARGEST: u64 = 16 << 20;
/// Where a bare name is looked for; `PATH` is whoever set it.
const PLACES: [&str; 3] = ["/usr/local/bin", "/usr/bin", "/bin"];
/// Programs that run what their arguments or input say. Their names may end in a version.
const RUNS_OTHERS: [&str; 46] = [
    "ash",
    "awk",
    "bash",
    "bun",
    "busybox",
    "chroot",
    "csh",
    "dash",
    "deno",
    "doas",
    "ed",
    "emacs",
    "env",
    "expect",
    "fish",
    "gawk",
    "gdb",
    "java",
    "ksh",
    "lua",
    "make",
    "mawk",
    "nawk",
    "nice",
    "node",
    "nodejs",
    "nohup",
    "osascript",
    "perl",
    "php",
    "pkexec",
    "python",
    "ruby",
    "script",
    "setsid",
    "sh",
    "ssh",
    "su",
    "sudo",
    "tclsh",
    "tcsh",
    "timeout",
    "vi",
    "vim",
    "xargs",
    "zsh",
];

/// Whether a program runs what its arguments or input say, by its name.
pub(crate) fn runs_others(program: &Path) -> bool {
    let name = program.file_name().unwrap_or_default().to_string_lossy();
    let plain = name.trim_end_matches(|c: char| c.is_ascii_digit() || matches!(c, '.' | '-'));
    RUNS_OTHERS.contains(&plain)
}

/// Why this manifest lends no MCP server: an agent proposes it, or a tool stands among other capabilities.
const NO_SERVER: &str = "transport `mcp`: a server's tools are known only once it was started, so no agent proposes one, and \
                         none stands in a manifest of another transport; the owner types: plexusctl extension add FILE";

impl ExtensionManifest {
    /// Reads a manifest, and checks all of it that can be checked without this machine's files.
    ///
    /// # Errors
    /// What stands against it.
    pub fn read(value: &Value, registry: &Registry) -> Result<Self, Vec<String>> {
        let one = |why: String| vec![why];
        if value.to_string().len() > MAX_MANIFEST {
            return Err(one("the manifest has more than 256 KiB".to_owned()));
        }
        let mut transports = value["capabilities"].as_array().into_iter().flatten();
        if value["transport"] == "mcp" || transports.any(|one| one["transport"] == "mcp") {
            return Err(one(NO_SERVER.to_owned()));
        }
        let mut sorted = super::skills::sorted(value.clone()).map_err(one)?;
        let mut reasons = odd_entries(value);
        if !reasons.is_empty() {
            // The rest of it is judged without them.
            sorted["capabilities"] = Value::Array(Vec::new());
            for list in ["skills", "workflows"] {
                sorted.as_object_mut().map(|members| members.remove(list));
            }
            reasons.extend(Self::of_shape(sorted).err());
            return Err(reasons);
        }
        let read = Self::of_shape(sorted).map_err(one)?;
        if read.manifest != FORMAT {
            reasons.push(format!("manifest is {:?}, not {FORMAT:?}", read.manifest));
        }
        reasons.extend(odd_name(&read.source, &read.label, registry));
        let count = read.capabilities.len() + read.skills.len() + read.workflows.len();
        if !(1..=MAX_CAPABILITIES).contains(&count) {
            reasons.push(format!(
                "it has {count} capabilities, not 1 to {MAX_CAPABILITIES}"
            ));
        }
        for folder in &read.folders {
            // It stands behind a rule of a profile, and a line break in it would begin another rule.
            if let Some(why) = labels::refused(&folder.label) {
                reasons.push(format!("the label of the folder {:?} {why}", folder.name));
            }
            if TAKEN.contains(&folder.name.to_ascii_uppercase().as_str()) {
                reasons.push(format!("no folder can have the name {:?}", folder.name));
            }
        }
        reasons.extend(read.odd_app());
        reasons.extend(read.odd_socket());
        let entries = read.capabilities.iter().map(|one| (&one.name, &one.label));
        let texts = read.skills.iter().map(|one| (&one.name, &one.label));
        let workflows = read.workflows.iter().map(|one| (&one.name, &one.label));
        let entries: Vec<_> = entries.chain(texts).chain(workflows).collect();
        for (name, label) in &entries {
            if let Some(why) = labels::refused(label) {
                reasons.push(format!("the label of {name:?} {why}"));
            }
            if *name == Proposal::NAME {
                reasons.push(format!(
                    "{name:?} is the name of a request to add an extension; choose another"
                ));
            }
        }
        let entries: Vec<_> = entries.iter().map(|(_, label)| label.as_str()).collect();
        if let Some((label, other)) = labels::imitation(&entries) {
            reasons.push(format!(
                "the label {label:?} looks like {other:?} of another entry; choose another"
            ));
        }
        for capability in &read.capabilities {
            let name = &capability.name;
            if capability.transport != read.transport {
                reasons.push(format!(
                    "capability {name:?} has another transport than the manifest"
                ));
            }
            let why = capability.io.odd().into_iter();
            let variables = capability.route.env().into_iter().flatten();
            let why = why.chain(variables.filter_map(|(name, _)| variables::refused(name)));
            reasons.extend(why.map(|why| format!("capability {name:?}: {why}")));
        }
        reasons.extend(read.odd_skills());
        reasons.extend(read.odd_workflows());
        match reasons.is_empty() {
            true => Ok(read),
            false => Err(reasons),
        }
    }

    fn of_shape(value: Value) -> Result<Self, String> {
        read_part(value).map_err(|why| match why.starts_with("transport: unknown variant") {
            // A manifest of that one is read elsewhere.
            true => why + ", `mcp`",
            false => why,
        })
    }

    /// Checks the rest of what can be checked without this machine's files: that an offer can be made of it.
    ///
    /// # Errors
    /// What stands against it.
    pub fn check_offer(&self) -> Result<(), Vec<String>> {
        let offered = self.agreed_somewhere().registered().map(|_| ());
        offered.map_err(|why| vec![format!("{why:#}")])
    }

    /// As agreed to, with programs that are no files.
    pub(super) fn agreed_somewhere(&self) -> Agreed {
        let bins = self
            .capabilities
            .iter()
            .filter_map(|c| c.route.bin().cloned());
        let somewhere = PinnedProgram {
            path: PathBuf::from("/program"),
            sha256: Digest::of(b""),
        };
        Agreed {
            manifest: self.clone(),
            programs: bins.map(|bin| (bin, somewhere.clone())).collect(),
        }
    }

    /// The programs that its commands mean here. Waits a bounded time for the disks that they lie on, and no longer once one
    /// of them does not answer.
    ///
    /// # Errors
    /// Why one cannot be run, or could not be looked at.
    pub async fn programs(&self) -> Result<BTreeMap<String, PinnedProgram>, Vec<String>> {
        let routes = self.capabilities.iter().map(|c| &c.route);
        let bins: BTreeSet<&String> = routes.filter_map(Route::bin).collect();
        if bins.len() > MAX_PROGRAMS {
            let count = bins.len();
            return Err(vec![format!(
                "it names {count} programs, and at most {MAX_PROGRAMS} are looked at: make several sources of it"
            )]);
        }
        let until = Instant::now() + PATIENCE;
        let (mut found, mut reasons) = (BTreeMap::new(), Vec::new());
        let users = |bin: &String| {
            let uses = |one: &&DeclaredCapability| one.route.bin() == Some(bin);
            let names = self.capabilities.iter().filter(uses);
            let names: Vec<_> = names.map(|one| format!("{:?}", one.name)).collect();
            let first = names.first().map_or("", |name| name.as_str());
            match names.len() {
                1 => format!("capability {first}"),
                many => format!("capability {first} and {} more", many - 1),
            }
        };
        for bin in bins {
            let (named, of) = (PathBuf::from(bin), bin.clone());
            let placed = inspection::at(&named, move || located(&of)).await;
            let looked = match placed {
                Ok(Ok(path)) => {
                    let left = until.saturating_duration_since(Instant::now());
                    let of = path.clone();
                    inspection::within(left, &path, move || pinned(of)).await
                }
                Ok(Err(why)) => Ok(Err(why)),
                Err(error) => Err(error),
            };
            match looked {
                Ok(Ok(program)) => _ = found.insert(bin.clone(), program),
                Ok(Err(why)) => reasons.push(format!("{}: bin {bin:?}: {why}", users(bin))),
                // Each of the others could hold a thread of its own.
                Err(error) => return Err(vec![format!("{}: bin {bin:?}: {error}", users(bin))]),
            }
        }
        match reasons.is_empty() {
            true => Ok(found),
            false => Err(reasons),
        }
    }
}

/// What stands against the shape of each entry of `capabilities`, with its name, or its number where it has none; the first
/// [`MAX_ODD`] of them.
fn odd_entries(manifest: &Value) -> Vec<String> {
    let entries = manifest["capabilities"].as_array().into_iter().flatten();
    let odd = |(at, entry): (usize, &Value)| {
        let (kind, read) = match entry["transport"].as_str() {
            Some("skill") => ("skill", shape::<DeclaredSkill>(entry)),
            Some("workflow") => ("workflow", shape::<DeclaredWorkflow>(entry)),
            _ => ("capability", shape::<DeclaredCapability>(entry)),
        };
        let name = match entry["name"].as_str() {
            Some(name) => format!("{name:?}"),
            None => (at + 1).to_string(),
        };
        read.err().map(|why| format!("{kind} {name}: {why}"))
    };
    entries.enumerate().filter_map(odd).take(MAX_ODD).collect()
}

/// Whether a value has the shape of a `T`.
fn shape<T: DeserializeOwned>(value: &Value) -> Result<(), String> {
    if !value.is_object() {
        return Err("it is no object".to_owned());
    }
    read_part::<T>(value.clone()).map(drop)
}

impl Io {
    /// The input's schema: closed, whether it says so or not.
    pub(super) fn schema(&self) -> Value {
        let mut schema = self.input.clone();
        if let Some(schema) = schema.as_mut().and_then(Value::as_object_mut) {
            schema.entry("additionalProperties").or_insert(false.into());
        }
        schema
            .unwrap_or_else(|| serde_json::json!({"type": "object", "additionalProperties": false}))
    }

    /// What stands against it.
    pub(super) fn odd(&self) -> Option<String> {
        let schema = self.schema();
        if schema["type"] != "object" {
            return Some("io.input is no schema of an object".to_owned());
        }
        let has = |field: &str| schema["properties"].get(field).is_some();
        let required = schema["required"].as_array().into_iter().flatten();
        let is_closed = schema["additionalProperties"] == false;
        let missing = required
            .filter_map(Value::as_str)
            .find(|field| is_closed && !has(field));
        if let Some(field) = missing {
            return Some(format!(
                "io.input requires {field:?}, which is none of its properties: no call could give it"
            ));
        }
        budget::refused(&schema).map(|why| format!("io.input has {why}"))
    }
}

/// Why it cannot be called so: it is no id, or imitates what ships.
pub(super) fn odd_name(source: &str, label: &str, registry: &Registry) -> Vec<String> {
    let mut reasons = Vec::new();
    match SourceId::parse(source) {
        Ok(id) if source.len() <= MAX_ID => {
            let shipped = registry.heads().find(|known| {
                let names = [&known.connector, &known.kind];
                names.into_iter().any(|name| are_alike(name, id.as_str()))
            });
            let imitated = shipped.map(|known| known.label.clone());
            let imitated = imitated.or_else(|| {
                let own = crate::naming::reserved(&id) || speaks_of_plexus(id.as_str());
                own.then(|| "Plexus's own".to_owned())
            });
            if let Some(label) = imitated {
                reasons.push(format!(
                    "source {id:?} is, or looks like, an id of {label}; choose another"
                ));
            }
        }
        Ok(_) => reasons.push(format!("source {source:?} has more than {MAX_ID} letters")),
        Err(why) => reasons.push(format!("source {source:?} is {why}")),
    }
    let mut shipped = registry.heads().map(|known| &known.label);
    if let Some(why) = labels::refused(label) {
        reasons.push(format!("label {label:?} {why}"));
    } else if shipped.any(|known| are_alike(known, label)) {
        reasons.push(format!(
            "label {label:?} is one of Plexus's own sources; choose another"
        ));
    }
    reasons
}

/// How what an interpreter runs is lent.
const SCRIPTS: &str = "the owner lends a script that serves MCP with: plexusctl mcp add NAME --code FOLDER -- INTERPRETER SCRIPT";

/// Why no extension runs such a program.
fn interpreter(program: &Path) -> String {
    let name = program.file_name().unwrap_or_default().to_string_lossy();
    format!(
        "{name} runs what its arguments or input say: name the program that does the work; {SCRIPTS}"
    )
}

/// The file that a program's name means; never a link to it.
fn located(bin: &str) -> Result<PathBuf, String> {
    let path = match bin.contains('/') {
        true => PathBuf::from(bin),
        false => {
            let mut places = PLACES.iter().map(|place| Path::new(place).join(bin));
            let found = places.find(|path| path.symlink_metadata().is_ok());
            found.ok_or_else(|| format!("it is not in {}", PLACES.join(", ")))?
        }
    };
    let shown = path.display();
    if !path.is_absolute() {
        return Err("it is neither a bare name nor an absolute path".to_owned());
    }
    if runs_others(&path) {
        return Err(interpreter(&path));
    }
    let real = path
        .canonicalize()
        .map_err(|error| format!("{shown}: {error}"))?;
    if runs_others(&real) {
        return Err(interpreter(&real));
    }
    if real != path {
        return Err(format!(
            "{shown} is a link to {0}: name {0} itself",
            real.display()
        ));
    }
    Ok(path)
}

/// A [`located`] program with its content. Reads all of it.
fn pinned(path: PathBuf) -> Result<PinnedProgram, String> {
    let shown = path.display();
    let about = fs::metadata(&path).map_err(|error| format!("{shown}: {error}"))?;
    let mode = about.permissions().mode();
    if !about.is_file() || mode & 0o111 == 0 {
        return Err(format!("{shown} is no program"));
    }
    if mode & 0o6000 != 0 {
        return Err(format!("{shown} runs with another user's rights"));
    }
    let mut start = Vec::new();
    let read = programs::open(&path).and_then(|file| file.take(LARGEST).read_to_end(&mut start));
    read.map_err(|error| format!("{shown}: {error}"))?;
    if loader::is_library(&start) {
        return Err(format!(
            "{shown} is a library or a loader, which runs what its arguments say: name a program"
        ));
    }
    if start.starts_with(b"#!") {
        return Err(format!(
            "{shown} is a script, which its interpreter runs: name a compiled program; {SCRIPTS}"
        ));
    }
    let sha256 = programs::digest(&path).map_err(|error| format!("{shown}: {error}"))?;
    Ok(PinnedProgram { path, sha256 })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json as object;

    #[test]
    fn odd_entries_are_named_all_at_once() {
        let entry = |name: &str, grants: &str, argument: &str| {
            object!({
                "name": name, "kind": "capability", "label": name, "describe": "Does it.",
                "grants": [grants], "transport": "cli", "route": {"bin": "grep", argument: []},
            })
        };
        let mut nameless = entry("", "read", "args");
        nameless.as_object_mut().unwrap().remove("name");
        let mut labelled = entry("name", "read", "args");
        labelled["label"] = object!(7);
        let mut timed = entry("count", "read", "args");
        timed["route"]["timeoutMs"] = object!("5s");
        let manifest = object!({"capabilities": [
            entry("sound", "read", "args"),
            entry("list", "read", "argss"),
            entry("put", "wirte", "args"),
            nameless,
            "text",
            labelled,
            timed,
            {"name": "guide", "transport": "skill"},
        ]});
        let odd = odd_entries(&manifest);
        let begins = [
            "capability \"list\": route: unknown field `argss`",
            "capability \"put\": grants[0]: unknown variant `wirte`",
            "capability 4: missing field `name`",
            "capability 5: it is no object",
            "capability \"name\": label: got integer `7`, expected a string",
            "capability \"count\": route: timeoutMs: got string \"5s\", expected a whole number from 0 to 4294967295",
            "skill \"guide\": missing field",
        ];
        assert_eq!(odd.len(), begins.len(), "{odd:?}");
        for (why, begins) in odd.iter().zip(begins) {
            assert!(why.starts_with(begins), "{why}");
        }
    }

    #[test]
    fn interpreters_are_refused_before_links() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["python3.11", "tool"] {
            fs::write(dir.path().join(name), "").unwrap();
            let link = dir.path().join(format!("to-{name}"));
            std::os::unix::fs::symlink(name, link).unwrap();
        }
        let why = |name: &str| located(&dir.path().join(name).display().to_string()).unwrap_err();
        assert!(why("to-python3.11").starts_with("python3.11 runs what"));
        assert!(why("to-tool").contains("is a link to"));
    }
}
