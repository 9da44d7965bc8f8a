//! What was put into coding agents' own files, to be taken back.

use super::failed;
use crate::integration::{self, Edit, Installation};
use plexus_client::{Home, Stop};

/// One agent that was set up here.
pub(super) struct Integration {
    /// The agent.
    pub(super) agent: String,
    /// What taking it back changes, one line each.
    pub(super) lines: Vec<String>,
    installation: Installation,
}

impl Integration {
    /// Takes it back; gives what a person edited since, which stays.
    pub(super) fn undo(&self, home: &Home) -> Result<Vec<String>, Stop> {
        let left = self.installation.undo(home)?;
        // The credential that came with it; its holder has no gateway any more.
        let pat = home.pat(&self.installation.agent);
        match std::fs::remove_file(&pat) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(failed(&pat, &e)),
            _ => {}
        }
        let left = left.into_iter();
        Ok(left
            .map(|finding| format!("{}: {}", finding.path.display(), finding.what))
            .collect())
    }
}

/// Everything that was set up for agents from this state directory.
pub(super) fn integrations(home: &Home) -> Result<Vec<Integration>, Stop> {
    let installed = integration::installed(home).into_iter();
    let found = installed.map(|installation| {
        let (plan, _) = installation.removal()?;
        Ok(Integration {
            agent: installation.agent.to_string(),
            lines: plan.edits().map(line).collect(),
            installation,
        })
    });
    found.collect()
}

fn line(edit: &Edit) -> String {
    let act = match edit.word() {
        "removed" => "remove",
        _ => "take our part out of",
    };
    format!("{act} {}", edit.path.display())
}
