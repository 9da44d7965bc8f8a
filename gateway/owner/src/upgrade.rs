//! The change to the build that lies in the place of the one that runs. It is asked for on the owner's socket alone.

use crate::{Done, status::Build};
use serde::{Deserialize, Serialize};

/// Has the gateway change over.
#[derive(Debug, Serialize, Deserialize)]
pub struct BeginChange {
    /// Only looks whether it could.
    #[serde(default)]
    pub check: bool,
}

/// What is about to run, and whether the change is begun.
#[derive(Debug, Serialize, Deserialize)]
pub struct PlannedChange {
    /// It could be looked at.
    pub ok: Done,
    /// Whether it is begun; the next request is answered by the new build.
    pub changed: bool,
    /// Whether this very program runs already.
    #[serde(default)]
    pub same: bool,
    /// Number of the launch that answers.
    pub launch: u64,
    /// Its build.
    pub from: Build,
    /// The build that lies in its place.
    pub to: Build,
}
