//! What is left of a run whose monitor and helper were killed: orphans of both come to the keeper.

use std::path::Path;

use nix::unistd::Pid;

use super::tree;

/// Whether the keeper has no child that could be of it: none but its worker and the monitors of other runs.
pub(crate) fn is_gone(_lock: &Path, worker: Pid, launchers: &[Pid]) -> bool {
    let children = tree::children(Pid::this(), &tree::threads(Pid::this()));
    let mut others = children.iter().filter(|child| **child != worker);
    others.all(|child| launchers.contains(child))
}
