//! What was installed into agents' own settings, so that `uninstall` can take it back.

use crate::integration::installed;
use plexus_client::{Home, Stop};

/// Something that was put into an agent's own files.
pub(super) struct Integration {
    /// The agent.
    pub(super) agent: String,
    /// What taking it back changes, one line each.
    pub(super) lines: Vec<String>,
    undo: Box<dyn Fn() -> Result<(), Stop>>,
}

impl Integration {
    /// Takes it back.
    pub(super) fn undo(&self) -> Result<(), Stop> {
        (self.undo)()
    }
}

/// Everything that was installed into agents from this state directory.
pub(super) fn integrations(home: &Home) -> Result<Vec<Integration>, Stop> {
    installed(home)
        .into_iter()
        .map(|installation| {
            let (plan, left) = installation.removal()?;
            let mut lines: Vec<String> = plan
                .edits()
                .map(|edit| {
                    let verb = match edit.after {
                        Some(_) => "take ours out of",
                        None => "remove",
                    };
                    format!("{verb} {}", edit.path.display())
                })
                .collect();
            let left = left.iter();
            lines.extend(left.map(|left| format!("{} {}", left.path.display(), left.what)));
            let (agent, home) = (installation.agent.to_string(), home.clone());
            Ok(Integration {
                agent,
                lines,
                undo: Box::new(move || installation.undo(&home).map(drop)),
            })
        })
        .collect()
}
