//! Under which names this gateway is reached: its base URL, the hosts and origins it accepts.

use plexus_home::network::Network;

/// Where this gateway can be reached.
pub struct Address {
    port: u16,
    network: Network,
}

impl Address {
    /// Of a port and what the owner set.
    pub fn new(port: u16, network: Network) -> Self {
        Self { port, network }
    }
    /// The port.
    pub fn port(&self) -> u16 {
        self.port
    }
    /// What the owner set.
    pub fn network(&self) -> &Network {
        &self.network
    }
    /// `https://<first public hostname>` where one is configured, else the loopback address
    /// (docs/protocol/agents.md#discovery).
    pub fn base(&self) -> String {
        match self.network.public_hostnames.first() {
            Some(name) => format!("https://{name}"),
            None => format!("http://127.0.0.1:{}", self.port),
        }
    }
    /// Whether nobody but this machine can reach the gateway.
    pub fn is_loopback_only(&self) -> bool {
        self.network.public_hostnames.is_empty() && self.network.active_is_loopback()
    }

    pub(crate) fn accepts_host(&self, host: &str) -> bool {
        let name = hostname(host);
        let public = name.to_ascii_lowercase();
        let public = public.strip_suffix('.').unwrap_or(&public);
        is_loopback_name(name)
            || self.network.accepts(name)
            || self
                .network
                .public_hostnames
                .iter()
                .any(|known| known == public)
    }

    /// Origins that may read.
    pub(crate) fn accepts_origin(&self, origin: &str) -> bool {
        let on_this_machine = origin.strip_prefix("http://").is_some_and(|authority| {
            let name = hostname(authority);
            let port = authority.strip_prefix(name).unwrap_or_default();
            (is_loopback_name(name) || self.network.accepts(name)) && is_port(port)
        });
        on_this_machine || self.is_own_origin(origin)
    }

    /// Origins that may change state: the gateway's own pages (E3).
    pub(crate) fn is_own_origin(&self, origin: &str) -> bool {
        let own = format!("http://localhost:{}", self.port);
        let public = |name: &String| origin.strip_prefix("https://") == Some(name);
        origin == own
            || origin == self.base()
            || self.network.public_hostnames.iter().any(public)
            || origin == format!("http://127.0.0.1:{}", self.port)
    }
}

fn is_port(text: &str) -> bool {
    text.is_empty()
        || text
            .strip_prefix(':')
            .is_some_and(|p| p.parse::<u16>().is_ok())
}

/// The part before the last `:`, unless that colon is inside brackets.
/// What follows must be a port: `127.0.0.1:80@evil.example` is no name of ours.
pub fn hostname(host: &str) -> &str {
    match host.rfind(':') {
        Some(colon) if !host[colon..].contains(']') => {
            let port = &host[colon + 1..];
            if port.bytes().all(|b| b.is_ascii_digit()) {
                &host[..colon]
            } else {
                host
            }
        }
        _ => host,
    }
}

pub(crate) fn is_loopback_name(hostname: &str) -> bool {
    matches!(hostname, "127.0.0.1" | "localhost" | "[::1]")
}
