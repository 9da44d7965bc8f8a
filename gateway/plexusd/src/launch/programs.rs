//! Where the launcher and the workers lie. Never looked for through PATH.

use anyhow::{Context, bail};
use plexus_protocol::installation;
use std::path::{Path, PathBuf};

/// See the module.
pub(crate) struct Programs {
    pub(crate) launcher: PathBuf,
    pub(crate) workers: PathBuf,
}

impl Programs {
    pub(crate) fn find(given: Option<&Path>) -> anyhow::Result<Self> {
        let own = std::env::current_exe().context("where this program is")?;
        let own = own.canonicalize().unwrap_or(own);
        let beside = own.parent().unwrap_or(Path::new("/")).to_owned();
        let candidates = match given {
            Some(dir) => vec![
                dir.canonicalize()
                    .with_context(|| format!("--workers {}", dir.display()))?,
            ],
            None => vec![beside.join("../libexec/plexus"), beside],
        };
        let launcher_in = |dir: &PathBuf| dir.join("plexus-sandbox-exec").is_file();
        let found = candidates
            .iter()
            .filter_map(|dir| dir.canonicalize().ok())
            .find(launcher_in);
        let Some(workers) = found else {
            let looked: Vec<_> = candidates
                .iter()
                .map(|dir| dir.display().to_string())
                .collect();
            bail!(
                "plexus-sandbox-exec is not in {}; {}, or pass --workers DIR",
                looked.join(" nor in "),
                installation::remedy(own.parent().unwrap_or(&own))
            );
        };
        let launcher = workers.join("plexus-sandbox-exec");
        Ok(Self { launcher, workers })
    }
}
