//! What the owner's routes need beside the edge.

pub use crate::console::RequestSets;
use crate::{
    kept_cards::{Comparisons, ProposalCards},
    upgrade::{LaunchOrigin, Upgrades},
};
pub use crate::{
    owner::{CallTally, Past},
    visits::Visits,
};

use crate::sign_ins::SignIns;
use plexus_calls::kernel::Kernel;
use plexus_edge::edge::Edge;
use plexus_protocol::Timestamp;
use std::{
    ops::Deref,
    path::PathBuf,
    sync::{Arc, Mutex},
    time::Instant,
};

/// Copies the ledger into a folder of its own; gives the folder, or why not. Blocks on the disk.
pub type CopyLedger = Box<dyn Fn(&Kernel) -> Result<PathBuf, CopyError> + Send + Sync>;

/// Why the ledger could not be copied.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// The disk of the state directory has no room for a copy.
    #[error("the disk of the state directory is full")]
    DiskFull,
    /// Another reason.
    #[error("{0}")]
    Failed(String),
}

/// An edge, and the owner's place at it.
pub struct Desk {
    /// The edge.
    pub edge: Arc<Edge>,
    /// When this launch began.
    pub started: Instant,
    /// What started it: a service manager, or a person.
    pub started_by: &'static str,
    /// The last time that the log and the rows were compared: at this start, or by the owner's `audit verify`.
    pub checked: Mutex<Checked>,
    /// Number of this launch, from 1.
    pub launch: u64,
    /// How it came about, where it was not a start.
    pub came: Option<LaunchOrigin>,
    /// The change to another build.
    pub upgrades: Upgrades,
    /// Cards of what agents propose.
    pub proposals: ProposalCards,
    /// Comparisons of stopped sources, for their pages.
    pub comparisons: Comparisons,
    /// Calls of the last day, for the console's pages.
    pub tally: CallTally,
    /// Which requests may be decided as a set.
    pub sets: RequestSets,
    /// Sign-ins at MCP servers that are under way.
    pub sign_ins: SignIns,
    /// When the owner was at the console, and what happened since.
    pub visits: Visits,
    /// See [`Self::visits`].
    pub past: Past,
    /// For `plexusctl backup`.
    pub copy: CopyLedger,
}

impl Deref for Desk {
    type Target = Edge;
    fn deref(&self) -> &Edge {
        &self.edge
    }
}

/// What a comparison of the log with the rows came to.
#[derive(Clone)]
pub struct Checked {
    /// When it ended.
    pub at: Timestamp,
    /// `start` (from the last checkpoint on) or `verify` (all of it).
    pub by: &'static str,
    /// Whether it found nothing wrong.
    pub holds: bool,
}
