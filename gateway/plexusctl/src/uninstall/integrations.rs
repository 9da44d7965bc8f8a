//! What was installed into agents' own settings, so that `uninstall` can take it back.

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
pub(super) fn integrations(_home: &Home) -> Result<Vec<Integration>, Stop> {
    Ok(Vec::new())
}
