//! What the command line and the environment say, read once.

use clap::Args;
use plexus_client::{Address, Home, Stop};
use plexus_protocol::{AgentId, credential::Pat};
use std::{env, fs, path::PathBuf};

/// Where the gateway is and who calls.
#[derive(Args, Clone, Default, Debug, PartialEq)]
pub(crate) struct Target {
    /// Gateway to use, http://host:port or unix:/path [env: PLEXUS_GATEWAY]
    #[arg(
        long,
        value_name = "URL",
        global = true,
        help_heading = "Options of every command"
    )]
    pub(crate) url: Option<String>,
    /// State directory [env: PLEXUS_HOME] [default: ~/.plexus]
    #[arg(
        long,
        value_name = "DIR",
        global = true,
        help_heading = "Options of every command"
    )]
    pub(crate) home: Option<PathBuf>,
    /// Agent to act as, where several are enrolled here [env: PLEXUS_AGENT_ID]
    #[arg(
        long,
        value_name = "ID",
        global = true,
        help_heading = "Options of every command"
    )]
    pub(crate) agent: Option<AgentId>,
}

impl Target {
    /// What this says, else what `other` says.
    pub(crate) fn or(self, other: Self) -> Self {
        Self {
            url: self.url.or(other.url),
            home: self.home.or(other.home),
            agent: self.agent.or(other.agent),
        }
    }
}

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
    /// A proxy on this machine that leads to the gateway: the only way out of some sandboxes.
    pub(crate) proxy: Option<Address>,
    /// Whether this runs as one agent's own command, which speaks for that agent to that gateway only.
    pub(crate) pinned: bool,
}

/// The longest that the command waits for the owner, in seconds: longer than any request stays undecided.
pub(crate) const MAX_WAIT_S: u64 = 25 * 3600;

impl Settings {
    /// Flags first, then `PLEXUS_GATEWAY`, `PLEXUS_HOME`, `PLEXUS_AGENT_ID`, `PLEXUS_PAT`.
    ///
    /// `PLEXUS_PINNED` says that an agent's own command set them: then no flag may say otherwise. An agent's rules let
    /// that command run unasked, and outside of the agent's sandbox; it must not be able to send what it is given to an
    /// address of the agent's choice.
    pub(crate) fn read(target: Target) -> Result<Self, Stop> {
        let variable = |name: &str| env::var(name).ok().filter(|v| !v.is_empty());
        let pinned = variable("PLEXUS_PINNED").is_some();
        if pinned && target != Target::default() {
            return Err(Stop::usage(
                "this command speaks for one agent to one gateway: --url, --home and --agent are not for it",
            )
            .next("run it again without them"));
        }
        let home = Home::resolve(target.home)?;
        let proxy = variable("PLEXUS_PROXY").filter(|_| is_confined(&home));
        let proxy = proxy.map(|url| through(&url)).transpose()?;
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
            home,
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
            proxy,
            pinned,
        })
    }
}

/// Whether this may run where a proxy is the only way out: in a sandbox that keeps the owner's key from being opened, as
/// the profile does that `plexusctl connect` writes. Who can open it reaches the gateway directly, and a variable that
/// names a proxy then comes from the environment's author: it would be handed the agent's credential.
fn is_confined(home: &Home) -> bool {
    let key = fs::File::open(home.connection_key()).and_then(|key| key.metadata());
    // Some sandboxes put an empty file in the place of one that they hide.
    !key.is_ok_and(|key| key.len() > 0)
}

/// Reads the address of a proxy. One that is not on this machine would see what agents send.
fn through(url: &str) -> Result<Address, Stop> {
    let address: Address = url
        .parse()
        .map_err(|e: plexus_client::address::NotAnAddress| Stop::usage(e.to_string()))?;
    match &address {
        Address::Tcp { .. } if address.is_local() => Ok(address),
        _ => Err(Stop::usage(
            "PLEXUS_PROXY is not an address of this machine",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proxy_is_on_this_machine() {
        assert!(through("http://127.0.0.1:4100").is_ok());
        for (other, words) in [
            ("http://10.0.0.1:4100", "is not an address of this machine"),
            ("unix:/tmp/p.sock", "is not an address of this machine"),
            ("socks5h://127.0.0.1:1", "has no http:// or unix: in front"),
        ] {
            let why = through(other).unwrap_err().why;
            assert!(why.contains(words), "{why}");
        }
    }
}
