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
    Registry,
    budget::{self, SchemaBudget},
    labels::{self, are_alike, speaks_of_plexus},
    programs,
    schema::{PatternHolder, Schema},
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
/// Most reasons that are named at once, and most offers that are made to find them.
const MAX_ODD: usize = 32;
const MAX_OFFERS: usize = 128;
/// Longest id, in bytes.
const MAX_ID: usize = 60;
/// Parameters of a command's profile, beside those that no path field may have.
const TAKEN: [&str; 3] = ["PROGRAM", "CALLS", "ANSWERS"];
/// Most programs of a manifest, and how long reading all of them may take.
const MAX_PROGRAMS: usize = 32;
const PATIENCE: Duration = Duration::from_secs(20);
/// How much of a program is looked at for what sort of file it is: loaders are smaller.
const LARGEST: u64 = 16 << 20;
/// Where a bare name is looked for; a caller can set `PATH`.
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

/// The reasons against a manifest, and whether some of its entries were not checked, so that there may be more.
#[derive(Default)]
struct Reasons {
    found: Vec<String>,
    is_cut: bool,
}

impl Reasons {
    /// All that there are.
    fn whole(found: Vec<String>) -> Self {
        Self {
            found,
            is_cut: false,
        }
    }

    /// The first [`MAX_ODD`] reasons, and how many more there are, as far as that is known.
    fn first(self) -> Vec<String> {
        let mut reasons = self.found;
        let more = reasons.len().saturating_sub(MAX_ODD);
        reasons.truncate(MAX_ODD);
        match (self.is_cut, more) {
            (true, _) => reasons.push("and perhaps more".to_owned()),
            (false, 0) => {}
            (false, _) => reasons.push(format!("and {more} more")),
        }
        reasons
    }
}

impl ExtensionManifest {
    /// Judges a manifest by its own words, beside its [schemas](Self::odd_schemas): the manifest where it reads, and all that stands
    /// against it. `own` is the port of this gateway.
    #[must_use]
    pub fn judge(value: &Value, registry: &Registry, own: u16) -> (Option<Self>, Vec<String>) {
        let (read, reasons) = Self::judged(value, registry, own);
        (read, reasons.first())
    }

    fn judged(value: &Value, registry: &Registry, own: u16) -> (Option<Self>, Reasons) {
        if value.to_string().len() > MAX_MANIFEST {
            let why = "the manifest has more than 256 KiB".to_owned();
            return (None, Reasons::whole(vec![why]));
        }
        let mut transports = value["capabilities"].as_array().into_iter().flatten();
        if value["transport"] == "mcp" || transports.any(|one| one["transport"] == "mcp") {
            return (None, Reasons::whole(vec![NO_SERVER.to_owned()]));
        }
        let mut reasons = odd_entries(value);
        let is_whole = reasons.is_empty();
        // The rest of it is judged without them.
        let mut sound = value.clone();
        if let Some(Value::Array(entries)) = sound.get_mut("capabilities") {
            entries.retain(|entry| odd_shape(entry).is_none());
        }
        let read = match super::skills::sorted(sound).and_then(Self::of_shape) {
            Ok(read) => read,
            Err(why) => {
                reasons.push(why);
                return (None, Reasons::whole(reasons));
            }
        };
        reasons.extend(read.odd_head(registry));
        reasons.extend(read.odd_labels());
        reasons.extend(read.odd_capabilities());
        let count = read.odd_count();
        if is_whole {
            reasons.extend(count.clone());
            reasons.extend(read.odd_skills());
            reasons.extend(read.odd_workflows());
        }
        // An offer has no fewer and no more entries.
        let offers = match count {
            None => read.odd_offers(&reasons, own),
            Some(_) => Reasons::default(),
        };
        reasons.extend(offers.found);
        let reasons = Reasons {
            found: reasons,
            is_cut: offers.is_cut,
        };
        (is_whole.then_some(read), reasons)
    }

    /// The same, with its schemas compiled.
    #[must_use]
    pub fn judge_whole(
        value: &Value,
        registry: &Registry,
        own: u16,
    ) -> (Option<Self>, Vec<String>) {
        let (read, mut reasons) = Self::judged(value, registry, own);
        let odd = read.iter().flat_map(Self::odd_schemas);
        reasons.found.extend(odd);
        (read, reasons.first())
    }

    fn of_shape(value: Value) -> Result<Self, String> {
        read_part(value).map_err(|why| match why.starts_with("transport: unknown variant") {
            // A manifest of that one is read elsewhere.
            true => why + ", `mcp`",
            false => why,
        })
    }

    /// The faults of the manifest as a whole.
    fn odd_head(&self, registry: &Registry) -> Vec<String> {
        let mut reasons = Vec::new();
        if self.manifest != FORMAT {
            reasons.push(format!("manifest is {:?}, not {FORMAT:?}", self.manifest));
        }
        reasons.extend(odd_name(&self.source, &self.label, registry));
        for folder in &self.folders {
            // It stands behind a rule of a profile, and a line break in it would begin another rule.
            if let Some(why) = labels::refused(&folder.label) {
                reasons.push(format!("the label of the folder {:?} {why}", folder.name));
            }
            if TAKEN.contains(&folder.name.to_ascii_uppercase().as_str()) {
                reasons.push(format!("no folder can have the name {:?}", folder.name));
            }
        }
        reasons.extend(self.odd_app());
        reasons.extend(self.odd_socket());
        let bins = self.bins();
        if bins.len() > MAX_PROGRAMS {
            let count = bins.len();
            reasons.push(format!(
                "it names {count} programs, and at most {MAX_PROGRAMS} are looked at: make several sources of it"
            ));
        }
        let bins = bins.into_iter();
        reasons.extend(bins.filter_map(|bin| Some(self.about_bin(bin, &odd_bin(bin)?))));
        reasons
    }

    fn odd_count(&self) -> Option<String> {
        let count = self.capabilities.len() + self.skills.len() + self.workflows.len();
        let fits = (1..=MAX_CAPABILITIES).contains(&count);
        (!fits).then(|| format!("it has {count} capabilities, not 1 to {MAX_CAPABILITIES}"))
    }

    /// The faults of its entries' names and labels.
    fn odd_labels(&self) -> Vec<String> {
        let mut reasons = Vec::new();
        let entries = self.capabilities.iter().map(|one| (&one.name, &one.label));
        let texts = self.skills.iter().map(|one| (&one.name, &one.label));
        let workflows = self.workflows.iter().map(|one| (&one.name, &one.label));
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
        reasons
    }

    fn odd_capabilities(&self) -> Vec<String> {
        let mut reasons = Vec::new();
        for capability in &self.capabilities {
            let name = &capability.name;
            if capability.transport != self.transport {
                reasons.push(format!(
                    "capability {name:?} has another transport than the manifest"
                ));
            }
            let why = capability.io.odd().into_iter();
            let variables = capability.route.env().into_iter().flatten();
            let why = why.chain(variables.filter_map(|(name, _)| variables::refused(name)));
            reasons.extend(why.map(|why| format!("capability {name:?}: {why}")));
        }
        reasons
    }

    /// Why no offer can be made of it. An offer names its first fault alone, so of what is refused each half is offered by itself, down
    /// to one entry; of one that the `known` reasons name, nothing more is said.
    fn odd_offers(&self, known: &[String], own: u16) -> Reasons {
        // Its id and label are judged by themselves.
        let whole = Self {
            source: "offered".to_owned(),
            label: "Offered".to_owned(),
            ..self.clone()
        };
        let Some(first) = whole.odd_offer(own) else {
            return Reasons::default();
        };
        let bare = Self {
            capabilities: Vec::new(),
            skills: Vec::new(),
            workflows: Vec::new(),
            ..whole
        };
        let is_named = |why: &str, name: &str| why.contains(&format!("{name:?}"));
        let is_known = |name: &str| known.iter().any(|why| is_named(why, name));
        let offer_of = |names: &[&str]| {
            let is_of = |name: &str| names.contains(&name);
            let mut part = bare.clone();
            let named = self.capabilities.iter().filter(|one| is_of(&one.name));
            part.capabilities.extend(named.cloned());
            let named = self.skills.iter().filter(|one| is_of(&one.name));
            part.skills.extend(named.cloned());
            let named = self.workflows.iter().filter(|one| is_of(&one.name));
            part.workflows.extend(named.cloned());
            part.odd_offer(own)
        };
        let texts = self.skills.iter().map(|one| &*one.name);
        let (named, unnamed): (Vec<&str>, Vec<&str>) = self
            .callable()
            .chain(texts)
            .partition(|name| is_known(name));
        let mut is_said = named.iter().any(|name| is_named(&first, name));
        let mut reasons: Vec<String> = Vec::new();
        let (mut parts, mut offers) = (vec![&*unnamed], 0);
        let mut is_cut = false;
        while let Some(part) = parts.pop().filter(|part| !part.is_empty()) {
            is_cut = reasons.len() >= MAX_ODD || offers >= MAX_OFFERS;
            if is_cut {
                break;
            }
            offers += 1;
            let Some(why) = offer_of(part) else {
                continue;
            };
            let [name] = part else {
                let (front, rest) = part.split_at(part.len() / 2);
                parts.extend([rest, front]);
                continue;
            };
            // Its program has no name but the capability's.
            let of_child = why.strip_prefix("child ");
            let why = match of_child.and_then(|why| why.split_once(": ")) {
                Some((_, why)) => format!("capability {name:?}: {why}"),
                None => why,
            };
            if !reasons.contains(&why) {
                reasons.push(why);
            }
        }
        // Faults between entries.
        is_said |= first.starts_with("child ") || reasons.contains(&first);
        if !is_said || (known.is_empty() && reasons.is_empty()) {
            reasons.push(first);
        }
        Reasons {
            found: reasons,
            is_cut,
        }
    }

    /// Why no offer can be made of it, beside its schemas: the first fault.
    fn odd_offer(&self, own: u16) -> Option<String> {
        match self.agreed_somewhere().uncompiled() {
            Err(why) => {
                let why = format!("{why:#}");
                // The manifest names its app by a socket or a URL, and knows no egress.
                let app = self.socket().map(|socket| format!("socket {socket:?}"));
                let app = app.as_deref().unwrap_or("baseUrl");
                Some(match why.strip_prefix("egress 0: ") {
                    Some(why) => format!("{app}: {why}"),
                    None => why,
                })
            }
            Ok(offer) => {
                let hosts = offer.offer.manifest.admitted(&Value::Null);
                let mut hosts = hosts.unwrap_or_default().into_iter();
                // A sandbox tells ports apart, and not every address: what may reach this port of another machine reaches ours.
                let reaches = hosts.any(|(_, host)| host.port == own);
                reaches.then(|| format!(
                    "{own} is this gateway's own port, and no source reaches that port of any host: let the app listen on another"
                ))
            }
        }
    }

    /// Why its schemas cannot be compiled. They have one budget of memory and time.
    #[must_use]
    pub fn odd_schemas(&self) -> Vec<String> {
        let capabilities = self.capabilities.iter().map(|one| (&one.name, &one.io));
        let workflows = self.workflows.iter().map(|one| (&one.name, &one.io));
        let named = capabilities.chain(workflows);
        let named: Vec<_> = named.map(|(name, io)| (name, io.schema())).collect();
        if let Err(why) = SchemaBudget::check(named.iter().map(|(_, schema)| schema)) {
            return vec![why];
        }
        let odd = named.iter().filter_map(|(name, schema)| {
            let compiled = Schema::compile(schema, PatternHolder::Gateway);
            Some(format!("capability {name:?}, input: {}", compiled.err()?))
        });
        odd.collect()
    }

    /// As agreed to, with programs that are no files.
    pub(super) fn agreed_somewhere(&self) -> Agreed {
        let somewhere = |bin: &str| PinnedProgram {
            path: match bin.starts_with('/') {
                true => PathBuf::from(bin),
                false => PathBuf::from("/program"),
            },
            sha256: Digest::of(b""),
        };
        let bins = self.bins().into_iter();
        Agreed {
            manifest: self.clone(),
            programs: bins.map(|bin| (bin.clone(), somewhere(bin))).collect(),
            stable_names: true,
        }
    }

    /// Its programs, by the names that it has for them.
    fn bins(&self) -> BTreeSet<&String> {
        let routes = self.capabilities.iter().map(|one| &one.route);
        routes.filter_map(Route::bin).collect()
    }

    /// A fault of one of them, behind the capabilities that run it.
    fn about_bin(&self, bin: &str, why: &str) -> String {
        let uses = |one: &&DeclaredCapability| one.route.bin().is_some_and(|of| of == bin);
        let names = self.capabilities.iter().filter(uses);
        let names: Vec<_> = names.map(|one| format!("{:?}", one.name)).collect();
        let first = names.first().map_or("", |name| name.as_str());
        match names.len() {
            1 => format!("capability {first}: bin {bin:?}: {why}"),
            many => format!(
                "capability {first} and {} more: bin {bin:?}: {why}",
                many - 1
            ),
        }
    }

    /// The programs that its commands mean here. Waits a bounded time for the disks that they lie on, and no longer once one
    /// of them does not answer.
    ///
    /// # Errors
    /// Why one cannot be run, or could not be looked at.
    pub async fn programs(&self) -> Result<BTreeMap<String, PinnedProgram>, Vec<String>> {
        let until = Instant::now() + PATIENCE;
        let (mut found, mut reasons) = (BTreeMap::new(), Vec::new());
        for bin in self.bins().into_iter().take(MAX_PROGRAMS) {
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
                Ok(Err(why)) => reasons.push(self.about_bin(bin, &why)),
                // Each of the others could hold a thread of its own.
                Err(error) => {
                    reasons.push(self.about_bin(bin, &error.to_string()));
                    return Err(reasons);
                }
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
        let (kind, why) = odd_shape(entry)?;
        let name = match entry["name"].as_str() {
            Some(name) => format!("{name:?}"),
            None => (at + 1).to_string(),
        };
        Some(format!("{kind} {name}: {why}"))
    };
    entries.enumerate().filter_map(odd).take(MAX_ODD).collect()
}

/// The kind of an entry, and the fault of its shape.
fn odd_shape(entry: &Value) -> Option<(&'static str, String)> {
    let (kind, read) = match entry["transport"].as_str() {
        Some("skill") => ("skill", shape::<DeclaredSkill>(entry)),
        Some("workflow") => ("workflow", shape::<DeclaredWorkflow>(entry)),
        _ => ("capability", shape::<DeclaredCapability>(entry)),
    };
    Some((kind, read.err()?))
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

/// Why no source can be added under an id that another one has.
#[must_use]
pub fn id_taken(id: &SourceId) -> String {
    format!("there is a source {id} already; choose another id")
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

/// Why no program can be named so, by the name alone.
fn odd_bin(bin: &str) -> Option<String> {
    let path = Path::new(bin);
    if bin.contains('/') && !path.is_absolute() {
        return Some("it is neither a bare name nor an absolute path".to_owned());
    }
    runs_others(path).then(|| interpreter(path))
}

/// The file that a program's name means; never a link to it.
fn located(bin: &str) -> Result<PathBuf, String> {
    if let Some(why) = odd_bin(bin) {
        return Err(why);
    }
    let path = match bin.contains('/') {
        true => PathBuf::from(bin),
        false => {
            let mut places = PLACES.iter().map(|place| Path::new(place).join(bin));
            let found = places.find(|path| path.symlink_metadata().is_ok());
            let places = PLACES.join(", ");
            let why = format!("it is not in {places}: install it, or name it by its absolute path");
            found.ok_or(why)?
        }
    };
    let shown = path.display();
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
    fn every_fault_is_named_at_once() {
        let entry = |name: &str, route: Value| {
            object!({
                "name": name, "kind": "capability", "label": name, "describe": "Does it.", "grants": ["read"],
                "transport": "cli", "route": route,
            })
        };
        let manifest = |capabilities: Vec<Value>| {
            object!({
                "manifest": FORMAT, "source": "box", "label": "Box", "transport": "cli", "capabilities": capabilities,
            })
        };
        let registry = Registry::read(&[]).unwrap();
        let judge = |manifest: &Value| ExtensionManifest::judge_whole(manifest, &registry, 7777);
        let mut ahead = entry("ahead", object!({"bin": "grep", "args": ["{text}"]}));
        let text = object!({"type": "string", "pattern": "^(?!x)"});
        ahead["io"]["input"] =
            object!({"type": "object", "properties": {"text": text}, "required": ["text"]});
        let mut bad = manifest(vec![
            entry("sound", object!({"bin": "grep"})),
            entry("shell", object!({"bin": "bash"})),
            entry("near", object!({"bin": "./grep"})),
            entry("odd", object!({"bin": "/usr/bin/../bin/grep"})),
            entry("long", object!({"bin": "grep", "timeoutMs": 3_600_000})),
            entry("option", object!({"bin": "grep", "args": ["-e{text}"]})),
            ahead,
        ]);
        bad["source"] = object!("admin");
        bad["label"] = object!("Checked by Plexus");
        let (read, reasons) = judge(&bad);
        assert!(read.is_some(), "{reasons:?}");
        let begins = [
            "source \"admin\" is, or looks like, an id of Plexus's own",
            "label \"Checked by Plexus\"",
            "capability \"near\": bin \"./grep\": it is neither",
            "capability \"shell\": bin \"bash\": bash runs what",
            "capability \"odd\": its path is not absolute, or not in its one spelling",
            "capability \"long\", timeout: not 1 to 600,000 ms",
            "capability \"option\", argument \"-e{text}\": a value could become an option",
            "capability \"ahead\", input: the pattern",
        ];
        assert_eq!(reasons.len(), begins.len(), "{reasons:?}");
        for begins in begins {
            let is_there = reasons.iter().any(|why| why.starts_with(begins));
            assert!(is_there, "{begins}: {reasons:?}");
        }
        // An entry that does not read keeps no other from being judged.
        let misspelt = object!({"bin": "grep", "argss": []});
        let (read, reasons) = judge(&manifest(vec![
            entry("misspelt", misspelt.clone()),
            entry("shell", object!({"bin": "bash"})),
        ]));
        assert!(read.is_none() && reasons.len() == 2, "{reasons:?}");
        let (_, reasons) = judge(&manifest(vec![entry("misspelt", misspelt)]));
        assert_eq!(reasons.len(), 1, "{reasons:?}");
        let programs = (0..40).map(|n| entry(&format!("do{n}"), object!({"bin": format!("p{n}")})));
        let (_, reasons) = judge(&manifest(programs.collect()));
        assert!(
            matches!(&*reasons, [many, _] if many.starts_with("it names 40 programs")),
            "{reasons:?}"
        );
        // As many as can be read, each by its own name; and one among many sound ones.
        let fast = object!({"bin": "grep", "timeoutMs": 3_600_000});
        let bad = |n: usize| entry(&format!("bad{n}"), fast.clone());
        let (_, reasons) = judge(&manifest((0..200).map(bad).collect()));
        assert_eq!(reasons.len(), MAX_ODD + 1, "{reasons:?}");
        assert_eq!(reasons[MAX_ODD], "and perhaps more");
        assert!(reasons[0].starts_with("capability \"bad0\""), "{reasons:?}");
        let shells = |n: usize| entry(&format!("sh{n}"), object!({"bin": format!("./{n}")}));
        let (_, reasons) = judge(&manifest((0..MAX_ODD + 7).map(shells).collect()));
        assert_eq!(reasons.len(), MAX_ODD + 1, "{reasons:?}");
        let last = &reasons[MAX_ODD];
        assert!(
            last.starts_with("and ") && last.ends_with(" more"),
            "{last}"
        );
        let sound = |n: usize| entry(&format!("do{n}"), object!({"bin": "grep"}));
        let one = (0..250).map(|n| if n == 170 { bad(n) } else { sound(n) });
        let (_, reasons) = judge(&manifest(one.collect()));
        assert!(
            matches!(&*reasons, [why] if why.starts_with("capability \"bad170\"")),
            "{reasons:?}"
        );
        let mut app = manifest(vec![entry(
            "state",
            object!({"baseUrl": "http://127.0.0.1:7777", "path": "/state"}),
        )]);
        app["transport"] = object!("local-rest");
        app["capabilities"][0]["transport"] = object!("local-rest");
        let (_, reasons) = judge(&app);
        assert!(
            matches!(&*reasons, [why] if why.starts_with("7777 is this gateway's own port")),
            "{reasons:?}"
        );
        // The control.
        let (read, reasons) = judge(&manifest(vec![entry("sound", object!({"bin": "grep"}))]));
        assert!(read.is_some() && reasons.is_empty(), "{reasons:?}");
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
