//! What a worker's keeper is told: the manifest's programs, resolved, with their profiles.
//!
//! Invariant: a program that is not there, is no file, lies where the worker may write, or is not the one that was granted
//! on is never handed on; further programs of the owner's lie in no folder of the source's or of Plexus, nor above one.
//!
//! Must not know: who asks for a run, what a program is for.

use super::{
    Context, Spec,
    process::{Group, resolved, scratch_of, worker},
    records,
    start::StartError,
};
use plexus_ipc::{
    manifest::{ChildArgument, ChildProgram},
    message::Role,
};
use plexus_sandbox::children::{self, KeeperSettings};
use std::{
    io,
    path::{Path, PathBuf},
};

/// Most folders of further programs.
const MOST_TOOLS: usize = 4;

/// For a worker of this source in this role. Each role has runs of its own; `egress` is the source's port to the network.
pub(super) fn kept(
    context: &Context<Group>,
    spec: &Spec,
    role: Role,
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
    let refuse = StartError::prepare("a program that the worker may have started");
    let declared = spec.offer.manifest.children.iter();
    let declared = declared.filter(|child| child.role.is_none_or(|of| of == role));
    let mut programs = Vec::new();
    for child in declared {
        let program = program(context, spec, child, (Path::new(&state_dir), egress));
        let program = program.map_err(&refuse)?;
        if !(spec.is_program)(&child.name, &program.program).map_err(&refuse)? {
            return Err(StartError::Program(program.program));
        }
        programs.push(program);
    }
    Ok(KeeperSettings {
        runs: runs.into(),
        state_dir: state_dir.into(),
        programs,
    })
}

fn program(
    context: &Context<Group>,
    spec: &Spec,
    child: &ChildProgram,
    (state_dir, egress): (&Path, Option<u16>),
) -> io::Result<children::ChildProgram> {
    let named = child.program.named(&spec.config);
    let program = resolved(&named).map_err(|error| {
        let words = format!("{}: {error}", named.display());
        io::Error::new(error.kind(), words)
    })?;
    let program = PathBuf::from(program);
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
    let tools = tools(spec, child, state_dir)?;
    let numbered = tools.iter().enumerate();
    parameters.extend(numbered.map(|(at, folder)| (format!("TOOLS_{at}"), folder.clone())));
    let mut environment = child.environment.clone();
    if let Some(Some(path)) = environment.get_mut("PATH") {
        for folder in &tools {
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
        arguments: child.arguments.iter().flat_map(argument).collect(),
        environment: environment.into_iter().collect(),
    })
}

/// The folders of further programs that the owner names: a folder, or that of a program.
fn tools(spec: &Spec, child: &ChildProgram, state_dir: &Path) -> io::Result<Vec<String>> {
    let field = child.tools_field.as_ref();
    let named = field
        .and_then(|field| spec.config[field].as_str())
        .unwrap_or_default();
    let mut own = vec![state_dir.to_owned()];
    for folder in &spec.folders {
        own.push(resolved(&folder.path)?.into());
    }
    let mut folders = Vec::new();
    for named in named
        .split(',')
        .map(str::trim)
        .filter(|named| !named.is_empty())
    {
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
        if folder.components().count() < 3 {
            return Err(refused("too much lies in its folder: name one below it"));
        }
        if own
            .iter()
            .any(|own| own.starts_with(folder) || folder.starts_with(own))
        {
            return Err(refused(
                "it lies in a folder of the source's or of Plexus, or above one",
            ));
        }
        let folder = folder
            .to_str()
            .ok_or_else(|| refused("no text"))?
            .to_owned();
        if !folders.contains(&folder) {
            folders.push(folder);
        }
    }
    match folders.len() > MOST_TOOLS {
        true => Err(io::Error::other("more than 4 folders of further programs")),
        false => Ok(folders),
    }
}

/// What is said where there is no keeper.
pub(super) fn nobody_keeps() -> StartError {
    StartError::Spawn(io::Error::other(
        "programs of a worker are started on Linux only",
    ))
}
