//! The state directory as the two commands see it: names of the few entries that they use.

use crate::Stop;
use plexus_protocol::AgentId;
use std::{
    env,
    path::{Path, PathBuf},
};

/// The state directory (docs/design.md#commands).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Home(PathBuf);

impl Home {
    /// The directory at `path`.
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }

    /// `flag`, else `PLEXUS_HOME`, else `~/.plexus`.
    ///
    /// # Errors
    /// A usage stop where none of them is there.
    pub fn resolve(flag: Option<PathBuf>) -> Result<Self, Stop> {
        let named = |name| {
            env::var_os(name)
                .filter(|v| !v.is_empty())
                .map(PathBuf::from)
        };
        flag.or_else(|| named("PLEXUS_HOME"))
            .or_else(|| named("HOME").map(|home| home.join(".plexus")))
            .map(Self)
            .ok_or_else(|| {
                Stop::usage(
                    "neither --home, PLEXUS_HOME nor HOME says where Plexus keeps its files",
                )
                .next("name the folder with --home")
            })
    }

    /// Itself.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }
    /// The owner's credential.
    #[must_use]
    pub fn connection_key(&self) -> PathBuf {
        self.0.join("connection-key")
    }
    /// The socket that serves the owner's routes.
    #[must_use]
    pub fn owner_socket(&self) -> PathBuf {
        self.0.join("run/owner/owner.sock")
    }
    /// The socket that serves the agents' routes.
    #[must_use]
    pub fn agent_socket(&self) -> PathBuf {
        self.0.join("run/agent/agent.sock")
    }
    /// Whether a gateway keeps its state here, running or not. If that cannot be seen, one does.
    #[must_use]
    pub fn is_a_gateways(&self) -> bool {
        self.0.join("run/agent").try_exists().unwrap_or(true)
    }
    /// Where agents' credentials lie.
    #[must_use]
    pub fn agents(&self) -> PathBuf {
        self.0.join("agents")
    }
    /// The credential of `agent`.
    #[must_use]
    pub fn pat(&self, agent: &AgentId) -> PathBuf {
        self.agents().join(format!("{agent}.pat"))
    }
    /// A gateway URL that an installer pinned.
    #[must_use]
    pub fn gateway(&self) -> PathBuf {
        self.0.join("gateway")
    }
    /// What the running gateway says of itself.
    #[must_use]
    pub fn runtime(&self) -> PathBuf {
        self.0.join("runtime.json")
    }
}
