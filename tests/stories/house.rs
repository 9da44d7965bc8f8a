//! Where most stories happen: a gateway with a vault and a workspace.

use plexus_tests::{Agent, Folder, Gateway, Owner, vault, workspace};
use serde_json::{Value, json};

/// Reads of both sources.
pub(crate) const READS: &[&str] = &[
    "obsidian.vault.read",
    "obsidian.vault.search",
    "workspace.list",
    "workspace.read",
];
/// A read.
pub(crate) const READ: &str = "workspace.read";
/// An effect.
pub(crate) const WRITE: &str = "workspace.write";

/// A gateway and what it may reach.
pub(crate) struct House {
    pub(crate) gateway: Gateway,
    pub(crate) vault: Folder,
    pub(crate) workspace: Folder,
}

impl House {
    pub(crate) fn open() -> Self {
        Self::with(|builder| builder)
    }
    pub(crate) fn with(
        describe: impl FnOnce(plexus_tests::Builder) -> plexus_tests::Builder,
    ) -> Self {
        let (vault, workspace) = (vault(), workspace());
        let builder = Gateway::builder()
            .vault(&vault.path())
            .workspace(&workspace.path());
        let gateway = describe(builder).start();
        Self {
            gateway,
            vault,
            workspace,
        }
    }
    pub(crate) fn owner(&self) -> Owner {
        self.gateway.owner()
    }
    /// An agent whose reads stand.
    pub(crate) fn reader(&self, id: &str) -> Agent {
        self.gateway.agent_with(id, READS)
    }
}

/// The input of a write.
pub(crate) fn note(path: &str, content: &str) -> Value {
    json!({"path": path, "content": content})
}

/// An id of the right form that was never given out.
pub(crate) fn nobody(prefix: &str) -> String {
    format!("{prefix}00000000-0000-4000-8000-000000000000")
}
