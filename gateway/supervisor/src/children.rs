//! What a worker's keeper is told: the manifest's programs, resolved, with their profiles.
//!
//! Invariant: a program that is not there, is no file, lies where the worker may write, or was not compared with what the
//! owner agreed to is never handed on; further programs of the owner's lie in no folder of the source's or of Plexus, nor above one; what
//! runs share of the source's folder lies in it, and is not git's own.
//!
//! Must not know: who asks for a run, what a program is for.

use super::{
    Context, Spec,
    agreed::AgreedCode,
    process::{Group, resolved, scratch_of, worker},
    records, runs,
    start::StartError,
};
use plexus_ipc::{
    manifest::{ChildArgument, ChildProgram, SignIn, SignInFile},
    message::Role,
};
use plexus_sandbox::children::{self, KeeperSettings, SharedFolder};
use serde_json::Value;
use std::{
    io,
    path::{Path, PathBuf},
};

/// Most folders of further programs.
const MOST_TOOLS: usize = 4;
/// Most folders of the source's own that runs read in place.
const MOST_SHARED: usize = 4;

/// In front of the path of a program. On macOS git, clang and make of `/usr/bin` only look for these, in places that runs do not read.
const FIRST_IN_PATH: &str = if cfg!(target_os = "macos") {
    "/Library/Developer/CommandLineTools/usr/bin:"
} else {
    ""
};

/// For a worker of this source in this role. Each role has runs of its own; `egress` is the source's port to the network.
pub(super) fn kept(
    context: &Context<Group>,
    spec: &Spec,
    role: Role,
    code: &AgreedCode,
    egress: Option<u16>,
) -> Result<KeeperSettings, StartError> {
    let runs = scratch_of(context, spec)
        .join("runs")
        .join(role.to_string());
    let prepared = records::make_dir(&scratch_of(context, spec).join("runs"))
        .and_then(|()| records::make_dir(&runs))
        .and_then(|()| resolved(&runs));
    let runs = prepared.map_err(StartError::prepare("the folder of its runs"))?;
    let state_dir =
        resolved(&context.state_dir).map_err(StartError::prepare("the state directory"))?;
    records::make_dir(&runs::dir(&context.state_dir))
        .map_err(StartError::prepare("the locks of its runs"))?;
    let refuse = StartError::prepare("a program that the worker may have started");
    let declared = spec.offer.manifest.children.iter();
    let declared = declared.filter(|child| child.role.is_none_or(|of| of == role));
    let mut programs = Vec::new();
    for child in declared {
        let agreed = code.program(&child.name).ok_or_else(|| {
            let named = child.program.named(&spec.config);
            let words = format!("{}: nobody agreed to it", named.display());
            refuse(io::Error::other(words))
        })?;
        let program = program(
            context,
            spec,
            child,
            agreed,
            (Path::new(&state_dir), egress),
        );
        programs.push(program.map_err(&refuse)?);
    }
    Ok(KeeperSettings {
        runs: runs.into(),
        locks: runs::locks(&context.state_dir, &spec.source, role),
        state_dir: state_dir.into(),
        programs,
    })
}

fn program(
    context: &Context<Group>,
    spec: &Spec,
    child: &ChildProgram,
    agreed: &Path,
    (state_dir, egress): (&Path, Option<u16>),
) -> io::Result<children::ChildProgram> {
    let program = PathBuf::from(resolved(agreed)?);
    let own = spec
        .folders
        .iter()
        .map(|folder| folder.path.as_path())
        .chain([state_dir]);
    if !program.is_file() || own.into_iter().any(|folder| program.starts_with(folder)) {
        return Err(io::Error::other(format!(
            "{} is no file, or lies in a folder of the source's or of Plexus",
            program.display()
        )));
    }
    let mut profiles = spec.offer.children.iter();
    let profile = profiles.find(|(name, _)| *name == child.name);
    let (_, profile) = profile.ok_or_else(|| io::Error::other("no profile of it"))?;
    let mut parameters: Vec<_> = egress
        .map(|port| ("EGRESS_PORT".to_owned(), port.to_string()))
        .into_iter()
        .collect();
    // A run has a root of its own.
    let folders = spec.folders.iter().filter(|of| of.parameter != "ROOT");
    for folder in folders {
        parameters.push((folder.parameter.clone(), resolved(&folder.path)?));
    }
    if child.host {
        parameters.push(("WORKER".to_owned(), resolved(&worker(context, spec))?));
    }
    let argument = |argument: &ChildArgument| match argument {
        ChildArgument::Fixed(text) => vec![children::ChildArgument::Fixed(text.clone())],
        ChildArgument::Named(named) => vec![children::ChildArgument::Named(named.name.clone())],
        ChildArgument::List(list) => vec![children::ChildArgument::List(list.list.clone())],
        ChildArgument::Words(words) => {
            let words = spec.config[&words.words].as_str().unwrap_or_default();
            let words = words.split_ascii_whitespace().map(str::to_owned);
            words.map(children::ChildArgument::Fixed).collect()
        }
    };
    let sign_in = child.sign_in.as_ref().map(|of| sign_in(spec, of));
    let tools = tools(spec, child, state_dir)?;
    let numbered = tools.iter().enumerate();
    parameters.extend(numbered.map(|(at, (_, folder))| (format!("TOOLS_{at}"), folder.clone())));
    let mut environment = child.environment.clone();
    if let Some(Some(path)) = environment.get_mut("PATH") {
        path.insert_str(0, FIRST_IN_PATH);
        for (_, folder) in &tools {
            path.push_str(&format!(":{folder}:{folder}/bin"));
        }
    }
    Ok(children::ChildProgram {
        name: child.name.clone(),
        program,
        profile: profile.to_string(),
        parameters,
        pipes: child.host,
        discard: child.discard,
        limits: child.limits.of_process(),
        tree_memory: Some(u64::from(child.limits.memory_mib) << 20),
        tree_processes: Some(child.limits.processes),
        disk: disk(spec, child)?.map(|mib| mib << 20),
        arguments: child.arguments.iter().flat_map(argument).collect(),
        environment: environment.into_iter().collect(),
        sign_in: sign_in.transpose()?.flatten(),
        shared: shared(spec, child)?,
    })
}

/// How many MiB a run may hold on the disk, where anything bounds it.
fn disk(spec: &Spec, child: &ChildProgram) -> io::Result<Option<u64>> {
    let most = spec.offer.manifest.disk_of(child, &spec.config);
    most.map_err(|why| {
        let field = child.disk_field.as_deref().unwrap_or_default();
        io::Error::other(format!("{field}: {why}"))
    })
}

/// The owner's own sign-in, where the owner has its runs have a copy of it. It is read when a run begins.
fn sign_in(spec: &Spec, of: &SignIn) -> io::Result<Option<children::SignIn>> {
    let file = of.file(&spec.config).map_err(|why| {
        let words = format!("{}: {why}", of.field);
        io::Error::other(words)
    })?;
    let from = match file {
        None => return Ok(None),
        Some(SignInFile::At(path)) => path,
        Some(SignInFile::InHome(below)) => {
            let home = std::env::var_os("HOME").filter(|home| !home.is_empty());
            let home = home.ok_or_else(|| {
                io::Error::other("the gateway knows no home folder: name the file itself")
            })?;
            Path::new(&home).join(below)
        }
    };
    let (folder, name) = of.to.clone();
    Ok(Some(children::SignIn {
        from,
        folder,
        name,
        without: of.without.clone(),
    }))
}

/// Further programs that the owner names: as they are spelled, and the folder that runs may use for each.
fn tools(spec: &Spec, child: &ChildProgram, state_dir: &Path) -> io::Result<Vec<(String, String)>> {
    let mut own = vec![(state_dir.to_owned(), "Plexus' own folder".to_owned())];
    for folder in &spec.folders {
        let path = PathBuf::from(resolved(&folder.path)?);
        own.push((path, "the source's folder".to_owned()));
    }
    let others = spec.elsewhere.iter();
    own.extend(others.map(|(of, path)| (path.clone(), format!("the folder of the source {of}"))));
    let home = std::env::var_os("HOME").and_then(|home| resolved(Path::new(&home)).ok());
    let mut folders: Vec<(String, String)> = Vec::new();
    for named in named_tools(spec, child) {
        let refused = |why: &str| io::Error::other(format!("further program {named}: {why}"));
        if !Path::new(named).is_absolute() {
            return Err(refused("no absolute path"));
        }
        let found = resolved(Path::new(named)).map_err(|error| refused(&error.to_string()))?;
        let found = Path::new(&found);
        let folder = match found.parent() {
            Some(folder) if !found.is_dir() => folder,
            _ => found,
        };
        if home
            .as_ref()
            .is_some_and(|home| Path::new(home).starts_with(folder))
        {
            return Err(refused(
                "it is your home folder, or above it: name a folder in it",
            ));
        }
        if folder.components().count() < 3 {
            return Err(refused("too much lies in its folder: name one below it"));
        }
        let overlaps = |own: &Path| own.starts_with(folder) || folder.starts_with(own);
        if let Some((_, whose)) = own.iter().find(|(own, _)| overlaps(own)) {
            return Err(refused(&format!("it lies in {whose}, or above one")));
        }
        let folder = folder.to_str().ok_or_else(|| refused("no text"))?;
        if !folders.iter().any(|(_, known)| known == folder) {
            folders.push((named.to_owned(), folder.to_owned()));
        }
    }
    match folders.len() > MOST_TOOLS {
        true => Err(io::Error::other("more than 4 folders of further programs")),
        false => Ok(folders),
    }
}

fn named_tools<'a>(spec: &'a Spec, child: &ChildProgram) -> impl Iterator<Item = &'a str> {
    listed(spec, child.tools_field.as_ref())
}

/// What a field of the owner's lists, with commas between.
fn listed<'a>(spec: &'a Spec, field: Option<&String>) -> impl Iterator<Item = &'a str> {
    let named = field.and_then(|field| spec.config[field].as_str());
    let named = named.unwrap_or_default().split(',').map(str::trim);
    named.filter(|named| !named.is_empty())
}

/// Folders of the source's own that its runs read in place, whether they are there or not.
fn shared(spec: &Spec, child: &ChildProgram) -> io::Result<Vec<SharedFolder>> {
    let mut folders: Vec<SharedFolder> = Vec::new();
    for named in listed(spec, child.share_field.as_ref()) {
        let refused = |why: &str| io::Error::other(format!("shared folder {named}: {why}"));
        let name = named.trim_end_matches('/');
        let is_plain = |part: &str| {
            !matches!(part, "" | "." | "..")
                && !part.eq_ignore_ascii_case(".git")
                && !part.contains(char::is_control)
        };
        if !name.split('/').all(is_plain) {
            return Err(refused(
                "no path below the source's folder, such as node_modules",
            ));
        }
        let within = |inner: &str, outer: &str| {
            let rest = inner.strip_prefix(outer);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        if folders
            .iter()
            .any(|known| within(name, &known.name) || within(&known.name, name))
        {
            return Err(refused("named twice, or it lies in another one"));
        }
        let mut roots = spec.folders.iter();
        let root = roots.find(|folder| folder.parameter == "ROOT");
        let root = root.ok_or_else(|| refused("the source has no folder"))?;
        folders.push(SharedFolder {
            name: name.to_owned(),
            from: PathBuf::from(resolved(&root.path)?).join(name),
        });
    }
    match folders.len() > MOST_SHARED {
        true => Err(io::Error::other("more than 4 shared folders")),
        false => Ok(folders),
    }
}

/// What a worker is told of its source: the route, how much of the disk its runs may hold, and where their further programs
/// lie, for the owner's cards.
pub(super) fn config(state_dir: &Path, spec: &Spec) -> Value {
    let mut config = spec.config.clone();
    let mut children = spec.offer.manifest.children.iter();
    // A source that was configured before there was such a field has its default.
    let bounded = children.find_map(|child| {
        let field = child.disk_field.clone()?;
        Some((field, disk(spec, child).ok()??))
    });
    if let (Some((field, mib)), Some(members)) = (bounded, config.as_object_mut()) {
        members.insert(field, mib.to_string().into());
    }
    let mut children = spec.offer.manifest.children.iter();
    let Some(child) = children.find(|child| named_tools(spec, child).next().is_some()) else {
        return config;
    };
    // If they cannot be used, the worker does not start.
    let found = resolved(state_dir).and_then(|dir| tools(spec, child, Path::new(&dir)));
    let shown = found.unwrap_or_default().into_iter();
    let shown = shown.map(|(named, folder)| match named == folder {
        true => named,
        false => format!("{named} (all of {folder})"),
    });
    if let Some(members) = config.as_object_mut() {
        let shown: Vec<_> = shown.collect();
        members.insert("toolFolders".to_owned(), shown.join(", ").into());
    }
    config
}
