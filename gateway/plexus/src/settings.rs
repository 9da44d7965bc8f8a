//! What the command line and the environment say, read once.

use crate::cli::Target;
use plexus_client::{Address, Home, Stop};
use plexus_protocol::{AgentId, credential::Pat};
use std::{env, time::Duration};

/// Where the gateway is and who we are, as far as we were told.
pub(crate) struct Settings {
    /// The state directory.
    pub(crate) home: Home,
    /// The gateway, where one was named.
    pub(crate) gateway: Option<Address>,
    /// The agent, where one was named.
    pub(crate) agent: Option<AgentId>,
    /// The credential, where it was handed over directly.
    pub(crate) pat: Option<Pat>,
}

/// How long the command waits for the owner unless it is told otherwise: less than the time that agents commonly give
/// a command.
pub(crate) const WAIT: Duration = Duration::from_secs(40);
/// The longest it waits, in seconds.
pub(crate) const MAX_WAIT_S: u64 = 600;

impl Settings {
    /// Flags first, then `PLEXUS_GATEWAY`, `PLEXUS_HOME`, `PLEXUS_AGENT_ID`, `PLEXUS_PAT`.
    pub(crate) fn read(target: Target) -> Result<Self, Stop> {
        let variable = |name: &str| env::var(name).ok().filter(|v| !v.is_empty());
        let agent = match (target.agent, variable("PLEXUS_AGENT_ID")) {
            (Some(agent), _) => Some(agent),
            (None, Some(text)) => {
                let named = AgentId::parse(&text);
                Some(named.map_err(|e| Stop::usage(format!("PLEXUS_AGENT_ID is {e}")))?)
            }
            (None, None) => None,
        };
        let pat = match variable("PLEXUS_PAT") {
            None => None,
            Some(text) => Some(Pat::parse(&text).ok_or_else(|| {
                Stop::usage(
                    "PLEXUS_PAT is not an agent's credential (plx_agent_ and 43 characters)",
                )
            })?),
        };
        let gateway = target.url.or_else(|| variable("PLEXUS_GATEWAY"));
        Ok(Self {
            home: Home::resolve(target.home)?,
            gateway: gateway
                .map(|url| {
                    url.parse()
                        .map_err(|e: plexus_client::address::NotAnAddress| {
                            Stop::usage(e.to_string())
                        })
                })
                .transpose()?,
            agent,
            pat,
        })
    }
}
