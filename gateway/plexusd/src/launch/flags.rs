//! What the command line says of rows: settings of a first start, and sources that stay configured when the flag is gone.

use super::refused_start;
use crate::{
    app::App,
    arguments::{Arguments, DefaultReach},
    sources::{Registry, configure},
    state_dir::StateDir,
};
use anyhow::Context;
use plexus_protocol::SourceId;
use plexus_trust::{Command, Reach, Settings, SourceConfig};
use serde_json::json;
use std::path::PathBuf;

/// The sources that flags name, or why one cannot be had.
pub(crate) fn sources(
    arguments: &Arguments,
    registry: &Registry,
    state_dir: &StateDir,
) -> impl Iterator<Item = anyhow::Result<(SourceId, SourceConfig)>> {
    let flags = [
        (
            "--vault",
            &arguments.vault,
            "obsidian-fs",
            "vaultPath",
            "obsidian",
        ),
        (
            "--workspace",
            &arguments.workspace,
            "workspace-dir",
            "path",
            "workspace",
        ),
    ];
    let named = flags
        .into_iter()
        .filter_map(|(flag, dir, kind, field, id)| Some((flag, dir.as_ref()?, kind, field, id)));
    named.map(|(flag, dir, kind, field, id): (_, &PathBuf, _, _, _)| {
        let real = dir
            .canonicalize()
            .with_context(|| format!("{flag} {}", dir.display()))?;
        let name = real
            .file_name()
            .map_or_else(|| real.to_string_lossy(), |n| n.to_string_lossy());
        let label = registry
            .of_kind(kind)
            .map_or("", |c| c.manifest.label.as_str());
        let body = json!({"id": id, "kind": kind, "label": format!("{label} ({name})"), "route": {field: real}});
        let wanted = configure::Wanted {
            body: body.as_object().context("an object")?,
        };
        let checked = wanted.check(registry, state_dir);
        checked.map_err(|why| anyhow::anyhow!("{flag} {}: {why}", dir.display()))
    })
}

impl App {
    pub(crate) async fn first_settings(&self, reach: Option<DefaultReach>) -> anyhow::Result<()> {
        let state = self.ledger.snapshot();
        let Some(reach) = reach else { return Ok(()) };
        let default_reach = match reach {
            DefaultReach::Exposed => Reach::Exposed,
            DefaultReach::Selected => Reach::Selected,
        };
        let settings = Settings {
            default_reach,
            ..(*state.settings).clone()
        };
        self.owner(Command::Configure(settings))
            .await
            .map_err(refused_start)?;
        Ok(())
    }

    /// `--vault` and `--workspace` are sources like others; they stay configured when the flag is gone.
    pub(crate) async fn flag_sources(&self, arguments: &Arguments) -> anyhow::Result<()> {
        for source in sources(arguments, &self.registry, &self.state_dir) {
            let (id, mut config) = source?;
            // A flag says where a source lies, and nothing of what the owner hides in it.
            let state = self.ledger.snapshot();
            if let Some(known) = state.sources.get(&id) {
                config.hide = known.config.hide.clone();
            }
            self.owner(Command::PutSource { id, config })
                .await
                .map_err(refused_start)?;
        }
        Ok(())
    }
}
