//! Lent folders: what is configured for one, and what becomes of its workers and its store when it ends.
//!
//! That it ends, and when, is the machine's; here its workers are stopped and, a week later, what they kept is let go of.

use super::{Registry, configure::Wanted, let_go};
use crate::{app::App, http::feed::Changed};
use plexus_ipc::manifest::{Audience, Capability, Manifest};
use plexus_protocol::{AgentId, CapabilityId, SourceId};
use plexus_trust::{Source, SourceConfig, State};
use serde_json::{Value, json};
use std::{path::Path, sync::Arc};

/// The kind of source that a folder is lent as.
pub(crate) const KIND: &str = "workspace-dir";

/// What a folder is lent as.
pub(crate) struct Folder {
    pub(crate) id: SourceId,
    pub(crate) config: SourceConfig,
    /// The same lending, where there is or was one.
    pub(crate) before: Option<Arc<Source>>,
}

/// Checks a folder like any source's, and finds it an id: its own again where it was lent to this agent before, else
/// one that nothing has, nor left anything behind under.
///
/// # Errors
/// One sentence for the owner.
pub(crate) fn folder(app: &App, agent: &AgentId, path: &Path) -> Result<Folder, String> {
    if !path.is_absolute() {
        return Err("path must be absolute".into());
    }
    let real = path
        .canonicalize()
        .map_err(|e| format!("{}: {e}", path.display()))?;
    if !real.is_dir() {
        return Err(format!("{} is not a folder", real.display()));
    }
    let state = app.ledger.snapshot();
    let manifest = manifest(&app.registry)?;
    let field = manifest.root.clone().ok_or("this kind opens no folder")?;
    let before = state.sources.values().find(|source| {
        let lent = source.config.lent.as_ref();
        lent.is_some_and(|lent| lent.agent == *agent)
            && source.config.route.get(&field) == Some(&json!(real))
    });
    if let Some(other) = hiding_over(&state, &real) {
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
        None => fresh(app, &state, &name)?,
    };
    let body = json!({"id": id, "kind": KIND, "label": name, "route": {field: real}});
    let wanted = Wanted {
        body: body.as_object().ok_or("an object")?,
    };
    let (id, mut config) = wanted.check(&app.registry, &app.state_dir)?;
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
pub(crate) fn manifest(registry: &Registry) -> Result<Arc<Manifest>, String> {
    let connector = registry.of_kind(KIND);
    connector
        .map(|connector| connector.manifest.clone())
        .ok_or_else(|| format!("this build cannot lend folders: it has no {KIND}"))
}

/// What of a manifest an agent may use: reads, and with `write` effects.
pub(crate) fn lent(manifest: &Manifest, write: bool) -> impl Iterator<Item = &Capability> {
    let all = manifest.capabilities.iter();
    all.filter(move |c| c.callable() && c.audience == Audience::Agents && (write || c.is_read()))
}

fn fresh(app: &App, state: &State, name: &str) -> Result<SourceId, String> {
    let name = name.to_lowercase();
    let words = name
        .split(|c: char| !c.is_ascii_alphanumeric())
        .filter(|word| !word.is_empty());
    let slug = words.collect::<Vec<_>>().join("-");
    let plain = SourceId::parse(&slug)
        .ok()
        .filter(|id| app.registry.reserved_for(id).is_none() && !super::configure::reserved(id));
    let base = match plain {
        Some(id) => id.to_string(),
        None if slug.is_empty() => "lent".to_owned(),
        None => format!("lent-{slug}"),
    };
    let base = base.get(..40).unwrap_or(&base).trim_end_matches('-');
    let free = |id: &SourceId| {
        !state.sources.contains_key(id) && !app.state_dir.join("workers").join(id.as_str()).exists()
    };
    let candidates =
        std::iter::once(base.to_owned()).chain((2..1000).map(|n| format!("{base}-{n}")));
    candidates
        .filter_map(|id| SourceId::parse(&id).ok())
        .find(free)
        .ok_or_else(|| format!("{name:?} gives no free source id"))
}

/// After what may have ended lendings: stops their workers, tells who listens, and lets go of what was kept for those
/// that were there `before` and are forgotten now.
pub(crate) async fn follow(app: &App, before: &State) {
    let state = app.ledger.snapshot();
    let mut removed: Vec<CapabilityId> = Vec::new();
    for source in state.sources.values() {
        let lent = source.config.lent.as_ref();
        if lent.is_some_and(|lent| lent.ended.is_some()) {
            // Also what the owner's look at it has woken since.
            app.supervisor.remove(&source.id).await;
            let catalogue = app.catalogue.load();
            let still = source.capabilities.keys();
            removed.extend(still.filter(|id| catalogue.get(id).is_some()).cloned());
        }
    }
    if !removed.is_empty() {
        app.renew_catalogue(Some(Changed {
            removed,
            ..Changed::default()
        }));
    }
    let was = before.sources.values();
    let was = was.filter(|s| s.config.lent.is_some() && !state.sources.contains_key(&s.id));
    for source in was {
        app.supervisor.remove(&source.id).await;
        // One rename, whatever its writer has put there; the sweep removes it, away from whoever waits.
        if let Err(error) = let_go::put_aside(app.state_dir.path(), source.id.as_str()) {
            tracing::warn!(name: "lending.left_behind", source = %source.id, %error, "what was kept for a lending cannot be put aside; it is yours to remove");
        }
    }
}

/// One lending as the owner sees it.
pub(crate) fn shown(state: &State, source: &Source) -> Option<Value> {
    let lent = source.config.lent.as_ref()?;
    let agent = state.agent(&lent.agent);
    let effect = |id: &CapabilityId| {
        source
            .capabilities
            .get(id)
            .is_some_and(|f| !f.verbs.is_read())
    };
    let write = lent.capabilities.iter().any(effect);
    let left = agent
        .into_iter()
        .flat_map(|agent| agent.grants.values())
        .filter(|grant| lent.capabilities.contains(&grant.capability) && effect(&grant.capability))
        .filter_map(|grant| grant.calls_left())
        .min();
    let path = source.config.route.as_object();
    let path = path.and_then(|route| route.values().find(|value| value.is_string()));
    let mut out = json!({
        "source": source.id,
        "agentId": lent.agent,
        "path": path,
        "until": lent.until,
        "write": write,
    });
    if let Some(left) = left {
        out["writesLeft"] = json!(left);
    }
    if let Some(ended) = lent.ended {
        out["endedAt"] = json!(ended);
    }
    Some(out)
}
