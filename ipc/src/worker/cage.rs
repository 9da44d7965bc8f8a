//! The proof of the cage: the one place that knows how the attack is called.

use crate::manifest::Manifest;
use crate::message::Start;
use serde::{Deserialize, Serialize};

/// What the attack found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CageReport {
    /// Whether every attack failed and every control succeeded.
    pub sound: bool,
}

impl CageReport {
    /// Whether every attack failed and every control succeeded.
    #[must_use]
    pub fn sound(&self) -> bool {
        self.sound
    }
}

/// Why nothing is known about the cage.
#[derive(Debug, thiserror::Error)]
#[error("the cage cannot be proven: {0}")]
pub(super) struct Unproven(&'static str);

/// Attacks the cage from inside.
pub(super) fn attack(_start: &Start, _manifest: &Manifest) -> Result<CageReport, Unproven> {
    Err(Unproven("this build has no attack"))
}

/// Gives up exec and fork for good. Only before there is a second thread.
pub(super) fn give_up_exec_and_fork() -> Result<(), Unproven> {
    Err(Unproven("this build cannot give up exec and fork"))
}
