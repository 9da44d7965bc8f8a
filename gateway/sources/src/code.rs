//! What the processes of a source run: its programs, the scripts that their arguments name, its folders of code. Each found is
//! one rule of `plexus_trust::pins`; so is each that lies where agents may write.
//!
//! ```text
//! manifest, route ─▶ pieces ─look─▶ rules ─▶ held against what the owner agreed to: by the machine, and before each start
//!                        other sources' folders ─▶ overlaps ─▶ rules
//! ```
//! Invariants: what cannot be read now has no rule; a path is resolved before it is compared; a script is looked for in the
//! arguments that name a file by an absolute path, or below a folder of the source.
//!
//! Must not know: what was agreed to, who starts what.

use crate::{Registry, configure::places, extensions::runs_others, pinned, programs};
use plexus_home::inspection;
use plexus_ipc::{
    manifest::{ChildArgument, Manifest},
    message::Role,
};
use plexus_protocol::{PYTHON_START, SourceId};
use plexus_trust::{
    Source, SourceConfig, State, Target,
    pins::{CHANGEABLE, FILES, PROGRAM, SCRIPT},
};
use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
    io::{self, ErrorKind, Read as _},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

/// Endings of files that are code for some interpreter.
const SCRIPTS: &[&str] = &[
    "awk", "bash", "cjs", "clj", "cts", "erb", "exs", "jar", "js", "jsx", "lua", "mjs", "mts",
    "php", "pl", "pm", "ps1", "py", "pyc", "pyz", "rb", "sed", "sh", "ts", "wasm",
];
/// Largest file of an argument that is looked at where nothing says that it is code.
const LARGEST: u64 = 64 << 20;

/// Something that a source's processes run.
#[derive(Clone, Debug)]
pub struct Piece {
    /// What its rule begins with.
    about: String,
    /// The role whose workers alone run it; none: all of them.
    pub role: Option<Role>,
    /// As the owner or the manifest names it.
    pub path: PathBuf,
    kind: PieceKind,
}

#[derive(Clone, Debug)]
enum PieceKind {
    Program(String),
    Folder,
    Script {
        /// It is code by what runs it.
        is_run: bool,
        /// Where the source's own calls write: what lies there and is no code is theirs to change.
        written: Vec<PathBuf>,
    },
}

impl Piece {
    /// The child that it is the program of.
    #[must_use]
    pub fn program(&self) -> Option<&str> {
        match &self.kind {
            PieceKind::Program(child) => Some(child),
            PieceKind::Folder | PieceKind::Script { .. } => None,
        }
    }

    /// Where it lies, and its rule; none where there is nothing to run. Reads all of it, unless it was read before.
    ///
    /// # Errors
    /// The system's; a folder that is too large, or changes while it is read.
    pub fn look(&self) -> io::Result<Option<(PathBuf, String)>> {
        let digest = match &self.kind {
            PieceKind::Program(_) => programs::digest,
            PieceKind::Folder => pinned::digest,
            PieceKind::Script { is_run, written } => {
                match self
                    .path
                    .canonicalize()
                    .and_then(|path| is_script(&path, *is_run, written))
                {
                    Ok(true) => programs::digest,
                    Ok(false) => return Ok(None),
                    Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
                    Err(error) => return Err(error),
                }
            }
        };
        let path = self.path.canonicalize()?;
        let rule = format!("{} {} {}", self.about, path.display(), digest(&path)?);
        Ok(Some((path, rule)))
    }
}

/// Whether a file of an argument is code: its name, its first bytes, its mode or its program says so; or nothing but the
/// owner changes it.
fn is_script(path: &Path, is_run: bool, written: &[PathBuf]) -> io::Result<bool> {
    let about = path.metadata()?;
    if !about.is_file() {
        return Ok(false);
    }
    let ending = path.extension().and_then(|ending| ending.to_str());
    let is_named =
        ending.is_some_and(|ending| SCRIPTS.contains(&ending.to_ascii_lowercase().as_str()));
    if is_run || is_named || about.permissions().mode() & 0o111 != 0 {
        return Ok(true);
    }
    let mut start = [0; 2];
    let begins = File::open(path)?.read_exact(&mut start).is_ok() && start == *b"#!";
    let mut written = written
        .iter()
        .filter_map(|folder| folder.canonicalize().ok());
    let is_owners = !written.any(|folder| path.starts_with(folder));
    Ok(begins || is_owners && about.len() <= LARGEST)
}

/// All that the processes of a source run. Looks at no disk.
pub fn pieces(manifest: &Manifest, config: &SourceConfig) -> Vec<Piece> {
    let route = &config.route;
    let folders: Vec<_> = manifest.places(route);
    let mut pieces = Vec::new();
    for field in manifest.fields.iter().filter(|field| field.pinned) {
        if let Some(path) = route[&field.name].as_str() {
            pieces.push(Piece {
                about: format!("{FILES}{}", field.name),
                role: None,
                path: path.into(),
                kind: PieceKind::Folder,
            });
        }
    }
    let is_pinned = |path: &Path| {
        let mut pinned = folders.iter().filter(|place| {
            let field = manifest.field(&place.field);
            field.is_some_and(|field| field.pinned)
        });
        pinned.any(|place| path.starts_with(&place.path))
    };
    let written: Vec<PathBuf> = folders
        .iter()
        .filter(|place| place.writable)
        .map(|place| place.path.clone())
        .collect();
    for child in &manifest.children {
        let program = child.program.named(route);
        let runs = runs_others(&program);
        pieces.push(Piece {
            about: format!("{PROGRAM}{}", child.name),
            role: child.role,
            path: program,
            kind: PieceKind::Program(child.name.clone()),
        });
        let mut arguments: Vec<(String, Vec<String>)> = vec![(child.name.clone(), Vec::new())];
        for argument in &child.arguments {
            let words = match argument {
                ChildArgument::Fixed(text) => vec![text.clone()],
                ChildArgument::Words(words) => {
                    let words = route[&words.words].as_str().unwrap_or_default();
                    words.split_ascii_whitespace().map(str::to_owned).collect()
                }
                ChildArgument::Named(_) | ChildArgument::List(_) => Vec::new(),
            };
            arguments[0].1.extend(words);
        }
        let lines = manifest.commands().into_iter();
        for (name, line) in lines.filter(|(_, line)| line.child == child.name) {
            let filled = line.arguments.iter().map(|text| in_folder(text, route));
            arguments.push((name.to_owned(), filled.collect()));
        }
        for (name, arguments) in arguments {
            let named = arguments.iter().enumerate();
            let mut named = named
                .filter_map(|(at, text)| Some((at, named_file(text)?)))
                .peekable();
            let first = named.peek().map(|(at, _)| *at);
            // A program in an argument may run each file behind it; this one runs the script behind both lists of modules.
            let text = arguments.iter().position(|word| word == "-c");
            let starts = arguments.iter().position(|word| word == PYTHON_START);
            let is_run = |at: usize| {
                runs && match starts {
                    Some(starts) => at == starts + 3,
                    None => first == Some(at) || text.is_some_and(|text| at > text),
                }
            };
            for (at, path) in named.filter(|(_, path)| !is_pinned(path)) {
                pieces.push(Piece {
                    about: format!("{SCRIPT}{name}.{}", at + 1),
                    role: child.role,
                    path,
                    kind: PieceKind::Script {
                        is_run: is_run(at),
                        written: written.clone(),
                    },
                });
            }
        }
    }
    pieces
}

/// A template with the folders that the owner gave: as a whole, or with what is left of it.
fn in_folder(template: &str, route: &Value) -> String {
    let mut text = template.to_owned();
    for (name, path) in route.as_object().into_iter().flatten() {
        if let Some(path) = path.as_str() {
            text = text.replace(&format!("{{folder.{name}}}"), path);
        }
    }
    text
}

/// The file that an argument names by an absolute path: by itself, or as the value of an option.
fn named_file(argument: &str) -> Option<PathBuf> {
    if argument.contains(['{', '}', '\0']) {
        return None;
    }
    let value = match argument.split_once('=') {
        Some((option, value)) if option.starts_with('-') => value,
        _ => argument,
    };
    let value = value.strip_prefix("file://").unwrap_or(value);
    value.starts_with('/').then(|| PathBuf::from(value))
}

/// How long the looks at what a source runs may take together. A large program that is not in memory takes longer than a
/// disk that answers; were it agreed to unseen, the next look would stop the source.
const PATIENCE: Duration = Duration::from_secs(20);

/// The rules of what a source runs, as that is now; without what cannot be read within 20 seconds.
pub async fn seen(manifest: &Manifest, config: &SourceConfig, id: &SourceId) -> Vec<String> {
    let until = Instant::now() + PATIENCE;
    let mut rules = Vec::new();
    for piece in pieces(manifest, config) {
        let path = piece.path.clone();
        let left = until.saturating_duration_since(Instant::now());
        let looked = inspection::within(left, &path, move || piece.look()).await;
        match looked.flatten() {
            Ok(found) => rules.extend(found.map(|(_, rule)| rule)),
            // The preview or the start that misses it says so.
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => {
                tracing::warn!(name: "source.silent", source = %id, path = %path.display(), %error, "what a source runs cannot be looked at");
            }
        }
    }
    rules
}

/// The paths of what a source runs, by its rules; those of its scripts alone where `scripts`.
fn paths(rules: &[String], scripts: bool) -> impl Iterator<Item = &Path> {
    let of = move |rule: &String| match scripts {
        true => rule.starts_with(SCRIPT),
        false => [PROGRAM, SCRIPT, FILES]
            .iter()
            .any(|begin| rule.starts_with(begin)),
    };
    rules
        .iter()
        .filter(move |rule| of(rule))
        .filter_map(|rule| {
            let named = rule.splitn(3, ' ').nth(2)?;
            named.rsplit_once(' ').map(|(path, _)| Path::new(path))
        })
}

/// The folders of a source that agents may have changed through it, resolved where they were looked at.
fn written(registry: &Registry, source: &Source) -> Vec<PathBuf> {
    let root = registry.of_source(&source.config);
    let root = root.and_then(|connector| connector.offer.manifest.root.clone());
    let seen = |field: &String| match root.as_ref() == Some(field) {
        true => source.target.as_ref(),
        false => source.paths.get(field),
    };
    let real = |target: &Target| PathBuf::from(&target.path);
    // What is lent to be read alone is not written.
    let lent = source.config.lent.as_ref();
    let is_read = |id| {
        source
            .capabilities
            .get(id)
            .is_some_and(|facts| facts.verbs.is_read())
    };
    if lent.is_some_and(|lent| lent.capabilities.iter().all(is_read)) {
        return Vec::new();
    }
    let written = places(registry, &source.config).into_iter();
    let written = written.filter(|place| place.writable);
    written
        .map(|place| seen(&place.field).map_or(place.path, real))
        .collect()
}

/// One rule for each of the files and folders in `rules`, which `source` of the registry `own` runs, that lies where agents
/// may write through a source, or in which they may.
pub fn overlaps(
    own: &Registry,
    registry: &Registry,
    state: &State,
    source: &Source,
    rules: &[String],
) -> Vec<String> {
    let mut found = BTreeSet::new();
    let others = state.sources.values().map(|other| &**other);
    let others = others.filter(|other| other.id != source.id && !other.config.is_over());
    for (other, is_own) in others.map(|other| (other, false)).chain([(source, true)]) {
        let folders = written(if is_own { own } else { registry }, other);
        for folder in &folders {
            let code: BTreeSet<&Path> = paths(rules, is_own).collect();
            for code in code.into_iter().filter(|code| overlap(code, folder)) {
                let whose = match is_own {
                    true => "its own calls".to_owned(),
                    false => format!("the source {}", other.id),
                };
                found.insert(format!(
                    "{CHANGEABLE}{} by {whose} in {}",
                    code.display(),
                    folder.display()
                ));
            }
        }
    }
    found.into_iter().collect()
}

/// The sources that run what lies where agents may write through `changed`, or whose code once did.
pub fn touched(registry: &Registry, state: &State, changed: &Source) -> Vec<SourceId> {
    let folders = written(registry, changed);
    let by = format!(" by the source {} in ", changed.id);
    let others = state.sources.values();
    let others = others.filter(|other| other.id != changed.id && other.pins.is_some());
    let is_touched = |other: &&std::sync::Arc<Source>| {
        let rules = other.found();
        let known = rules
            .iter()
            .any(|rule| rule.starts_with(CHANGEABLE) && rule.contains(&by));
        let mut code = paths(rules, false);
        known || code.any(|code| folders.iter().any(|folder| overlap(code, folder)))
    };
    others
        .filter(is_touched)
        .map(|other| other.id.clone())
        .collect()
}

fn overlap(one: &Path, other: &Path) -> bool {
    one.starts_with(other) || other.starts_with(one)
}

/// Programs by the names of their children, as `rules` have them.
#[must_use]
pub fn programs_of(rules: &[String]) -> BTreeMap<&str, (&str, &str)> {
    let named = rules.iter().filter_map(|rule| {
        let (name, rest) = rule.strip_prefix(PROGRAM)?.split_once(' ')?;
        Some((name, rest.rsplit_once(' ')?))
    });
    named.collect()
}
