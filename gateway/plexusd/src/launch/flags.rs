//! What the command line says of rows: settings of a first start, and sources that stay configured when the flag, or the
//! variable, is gone.

use super::refused_start;
use crate::arguments::{Arguments, DefaultReach};
use anyhow::Context;
use plexus_calls::kernel::Kernel;
use plexus_home::{inspection, state_dir::StateDir};
use plexus_ipc::manifest::Manifest;
use plexus_protocol::SourceId;
use plexus_sources::{Registry, configure};
use plexus_trust::{Command, Reach, Settings, SourceConfig};
use serde_json::{Value, json};
use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

/// A folder that a flag names as a source.
pub(crate) struct Flag {
    /// The option without dashes, as a manifest names it.
    option: &'static str,
    dir: PathBuf,
}

/// The flags that are there.
pub(crate) fn named(arguments: &Arguments) -> impl Iterator<Item = Flag> {
    let flags = [
        ("vault", &arguments.vault),
        ("workspace", &arguments.workspace),
    ];
    flags.into_iter().filter_map(|(option, dir)| {
        let dir = dir.clone()?;
        Some(Flag { option, dir })
    })
}

impl Flag {
    /// The connector that says it is named so, and the field of its root.
    fn of(&self, registry: &Registry) -> anyhow::Result<(Arc<Manifest>, String)> {
        let named = registry.manifest_with(|head| head.flag.as_deref() == Some(self.option));
        named
            .and_then(|manifest| {
                let root = manifest.root.clone()?;
                Some((manifest, root))
            })
            .with_context(|| format!("this build has no connector for --{}", self.option))
    }

    /// The source as the flag alone says it.
    ///
    /// Blocks on the folder's disk.
    pub(crate) fn source(
        &self,
        registry: &Registry,
        state_dir: &StateDir,
    ) -> anyhow::Result<(SourceId, SourceConfig)> {
        let (manifest, field) = self.of(registry)?;
        let real = self
            .dir
            .canonicalize()
            .with_context(|| format!("--{} {}", self.option, self.dir.display()))?;
        let label = label(&manifest, &real);
        let body = json!({
            "id": manifest.connector, "kind": manifest.kind, "label": label, "route": {field: real},
        });
        let wanted = configure::SourceRequest {
            body: body.as_object().context("an object")?,
        };
        let checked = wanted.check(registry, state_dir);
        checked.map_err(|why| anyhow::anyhow!("--{} {}: {why}", self.option, self.dir.display()))
    }

    /// The source that is known, at the place of the one that the flag says: a flag says where a source lies, and
    /// nothing of whether it serves, whether it asks, what it hides.
    fn placed(
        &self,
        registry: &Registry,
        flagged: SourceConfig,
        known: &SourceConfig,
    ) -> SourceConfig {
        let Ok((manifest, field)) = self.of(registry) else {
            return flagged;
        };
        if known.kind != flagged.kind {
            return flagged;
        }
        let mut config = known.clone();
        let before = known.route.get(&field).and_then(Value::as_str);
        // A label that a flag made names the folder.
        if before.is_some_and(|before| known.label == label(&manifest, Path::new(before))) {
            config.label = flagged.label;
        }
        if let (Some(route), Value::Object(place)) = (config.route.as_object_mut(), flagged.route) {
            route.extend(place);
        }
        config
    }
}

/// What a flag calls a source.
fn label(manifest: &Manifest, folder: &Path) -> String {
    let name = folder.file_name().unwrap_or(folder.as_os_str());
    format!("{} ({})", manifest.label, name.to_string_lossy())
}

pub(super) async fn first_settings(
    app: &Kernel,
    reach: Option<DefaultReach>,
) -> anyhow::Result<()> {
    let state = app.ledger.snapshot();
    let Some(reach) = reach else { return Ok(()) };
    let default_reach = match reach {
        DefaultReach::Exposed => Reach::Exposed,
        DefaultReach::Selected => Reach::Selected,
    };
    let settings = Settings {
        default_reach,
        ..(*state.settings).clone()
    };
    app.owner(Command::Configure(settings))
        .await
        .map_err(refused_start)?;
    Ok(())
}

/// `--vault` and `--workspace` are sources like others; they stay configured when the flag is gone.
pub(super) async fn flag_sources(app: &Arc<Kernel>, arguments: &Arguments) -> anyhow::Result<()> {
    for flag in named(arguments).map(Arc::new) {
        let (own, asked) = (app.clone(), flag.clone());
        let look = move || asked.source(&own.registry, &own.state_dir);
        let found = inspection::at(&flag.dir, look).await;
        let (id, mut config) =
            found.with_context(|| format!("--{} {}", flag.option, flag.dir.display()))??;
        let state = app.ledger.snapshot();
        if let Some(known) = state.sources.get(&id) {
            config = flag.placed(&app.registry, config, &known.config);
        }
        app.owner(Command::PutSource {
            id,
            config,
            // Nothing that a flag names runs a program of the owner's.
            pins: Vec::new(),
        })
        .await
        .map_err(refused_start)?;
    }
    Ok(())
}

/// With `PLEXUS_FAKE_APPLE=1` each app that a fake stands in for is a source. Nobody is asked for consent, as macOS does
/// where the app is there. One that is known stays as it is.
pub(super) async fn fake_sources(app: &Kernel) -> anyhow::Result<()> {
    for manifest in app.registry.faked() {
        let body = json!({"id": manifest.connector, "kind": manifest.kind});
        let wanted = configure::SourceRequest {
            body: body.as_object().context("an object")?,
        };
        let checked = wanted.check(&app.registry, &app.state_dir);
        let (id, config) = checked.map_err(|why| anyhow::anyhow!("PLEXUS_FAKE_APPLE: {why}"))?;
        let state = app.ledger.snapshot();
        let mut sources = state.sources.values();
        if state.sources.contains_key(&id) || sources.any(|one| one.config.kind == config.kind) {
            continue;
        }
        app.owner(Command::PutSource {
            id,
            config,
            pins: Vec::new(),
        })
        .await
        .map_err(refused_start)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SHIPPED;

    /// What the owner has closed, or set to ask, stays so, whatever the service's command line says.
    #[test]
    fn a_flag_moves_a_known_source_and_changes_nothing_else_of_it() {
        let registry = Registry::read(SHIPPED).unwrap();
        let (home, one, other) = (
            tempfile::tempdir().unwrap(),
            tempfile::tempdir().unwrap(),
            tempfile::tempdir().unwrap(),
        );
        let state_dir = StateDir::as_it_is(Some(home.path().to_owned())).unwrap();
        let flagged = |dir: &Path| {
            let flag = Flag {
                option: "workspace",
                dir: dir.to_owned(),
            };
            let (_, config) = flag.source(&registry, &state_dir).unwrap();
            (flag, config)
        };
        let (flag, fresh) = flagged(one.path());
        assert!(
            fresh.enabled && !fresh.ask,
            "the control: what a new one is"
        );
        let mut known = fresh.clone();
        (known.enabled, known.ask) = (false, true);
        known.secret_ref = Some("mail".into());
        known.hide.folders.insert("Private".into());
        known.route["allowHardLinks"] = json!(true);
        assert_eq!(flag.placed(&registry, fresh, &known), known);

        let (flag, moved) = flagged(other.path());
        let placed = flag.placed(&registry, moved.clone(), &known);
        let mut expected = known.clone();
        expected.route["path"] = moved.route["path"].clone();
        expected.label = moved.label.clone();
        assert_eq!(
            placed, expected,
            "the label that a flag made names the folder"
        );
        known.label = "What I call it".into();
        assert_eq!(flag.placed(&registry, moved, &known).label, known.label);
    }
}
