//! Lent folders: what is configured for one.
//!
//! Must not know: when one ends (the trust machine), and what becomes of its workers then.

use super::{Registry, configure::SourceRequest};
use plexus_home::state_dir::StateDir;
use plexus_ipc::manifest::{Audience, Capability, Manifest};
use plexus_protocol::{AgentId, SourceId, error::system_words};
use plexus_trust::{Source, SourceConfig, State};
use serde_json::json;
use std::{path::Path, sync::Arc};

/// What a folder is lent as.
pub struct Folder {
    /// The source's id.
    pub id: SourceId,
    /// What is configured.
    pub config: SourceConfig,
    /// The same lending, where there is or was one.
    pub before: Option<Arc<Source>>,
}

/// Checks a folder like any source's, and finds it an id: its own again where it was lent to this agent before, else
/// one that nothing has, nor left anything behind under.
///
/// # Errors
/// One sentence for the owner.
pub fn folder(
    registry: &Registry,
    state_dir: &StateDir,
    state: &State,
    agent: &AgentId,
    path: &Path,
) -> Result<Folder, String> {
    if !path.is_absolute() {
        return Err(format!(
            "a folder is named by its path from the root of the disk, as in /home/me/notes, and not {path:?}"
        ));
    }
    let real = path
        .canonicalize()
        .map_err(|e| match (e.kind(), path.display()) {
            (std::io::ErrorKind::NotFound, path) => format!("the folder {path} is not there"),
            (_, path) => format!("{path}: {}", system_words(&e.to_string())),
        })?;
    if !real.is_dir() {
        return Err(format!("{} is not a folder", real.display()));
    }
    let manifest = manifest(registry)?;
    let field = manifest.root.clone().ok_or("this kind opens no folder")?;
    let before = state.sources.values().find(|source| {
        let lent = source.config.lent.as_ref();
        lent.is_some_and(|lent| lent.agent == *agent)
            && source.config.route.get(&field) == Some(&json!(real))
    });
    if let Some(other) = hiding_over(state, &real) {
        return Err(format!(
            "{} holds what you have hidden in the source {other}, and a lending would show it; lend a folder that does not overlap it, or first: plexusctl sources unhide {other}",
            real.display()
        ));
    }
    let name = real
        .file_name()
        .map_or_else(String::new, |name| name.to_string_lossy().into_owned());
    let id = match before {
        Some(source) => source.id.clone(),
        None => fresh(registry, state_dir, state, &name)?,
    };
    let body = json!({"id": id, "kind": manifest.kind, "label": name, "route": {field: real}});
    let wanted = SourceRequest {
        body: body.as_object().ok_or("an object")?,
    };
    let (id, mut config) = wanted.check(registry, state_dir)?;
    // Other terms show nothing that the owner has hidden in it.
    if let Some(source) = before {
        config.hide = source.config.hide.clone();
    }
    Ok(Folder {
        id,
        config,
        before: before.cloned(),
    })
}

/// A source of the owner's own that hides something at, above or below this folder: what it hides is its own rule, which a
/// lending of the same files would not know.
fn hiding_over(state: &State, folder: &Path) -> Option<SourceId> {
    let over = |source: &&Arc<Source>| {
        let roots = source.config.route.as_object().into_iter().flatten();
        let mut roots = roots.filter_map(|(_, value)| value.as_str()).map(Path::new);
        roots.any(|root| {
            root.is_absolute() && (root.starts_with(folder) || folder.starts_with(root))
        })
    };
    let hides =
        |source: &&Arc<Source>| source.config.lent.is_none() && !source.config.hide.is_empty();
    state
        .sources
        .values()
        .filter(hides)
        .find(over)
        .map(|source| source.id.clone())
}

/// The manifest of what a folder is lent as.
///
/// # Errors
/// No connector of this build says that it is lendable.
pub fn manifest(registry: &Registry) -> Result<Arc<Manifest>, String> {
    let lendable = registry.manifest_with(|head| head.lendable);
    lendable.ok_or_else(|| "this build has no connector to lend a folder with".to_owned())
}

/// What of a manifest an agent may use: reads, and with `write` effects.
pub fn lent(manifest: &Manifest, write: bool) -> impl Iterator<Item = &Capability> {
    let all = manifest.capabilities.iter();
    all.filter(move |c| c.callable() && c.audience == Audience::Agents && (write || c.is_read()))
}

fn fresh(
    registry: &Registry,
    state_dir: &StateDir,
    state: &State,
    name: &str,
) -> Result<SourceId, String> {
    let is_reserved =
        |id: &SourceId| registry.reserved_for(id).is_some() || super::naming::reserved(id);
    let is_taken = |id: &SourceId| {
        state.sources.contains_key(id) || state_dir.join("workers").join(id.as_str()).exists()
    };
    free_id(name, "lent", is_reserved, is_taken)
        .ok_or_else(|| format!("{name:?} gives no free source id"))
}

/// An id made of a name, with `noun` before it where the name alone gives none, and a number behind it where it is taken.
#[must_use]
pub fn free_id(
    name: &str,
    noun: &str,
    is_reserved: impl Fn(&SourceId) -> bool,
    is_taken: impl Fn(&SourceId) -> bool,
) -> Option<SourceId> {
    let name = name.to_lowercase();
    let words = name
        .split(|c: char| !c.is_ascii_alphanumeric())
        .filter(|word| !word.is_empty());
    let slug = words.collect::<Vec<_>>().join("-");
    let plain = SourceId::parse(&slug).ok().filter(|id| !is_reserved(id));
    let base = match plain {
        Some(id) => id.to_string(),
        None if slug.is_empty() => noun.to_owned(),
        None => format!("{noun}-{slug}"),
    };
    let base = base.get(..40).unwrap_or(&base).trim_end_matches('-');
    let candidates =
        std::iter::once(base.to_owned()).chain((2..1000).map(|n| format!("{base}-{n}")));
    candidates
        .filter_map(|id| SourceId::parse(&id).ok())
        .find(|id| !is_taken(id))
}
