//! Where the gateway listens beyond loopback, by the owner's choice (`network.json`, docs/protocol/owner.md#network).

use crate::state_dir::{Lasting, StateDir};
use anyhow::Context;
use plexus_protocol::json;
use serde::{Deserialize, Serialize};
use std::net::{IpAddr, Ipv4Addr, TcpListener};

const FILE: &str = "network.json";

/// What `network.json` says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Network {
    version: u32,
    /// Addresses to listen on; loopback is always among what is served.
    pub bind_addresses: Vec<IpAddr>,
    /// Names under which a proxy publishes the gateway.
    pub public_hostnames: Vec<String>,
}

impl Default for Network {
    fn default() -> Self {
        Self {
            version: 1,
            bind_addresses: vec![Ipv4Addr::LOCALHOST.into()],
            public_hostnames: Vec::new(),
        }
    }
}

impl Network {
    /// # Errors
    /// A file that is there and cannot be read: guessing could open a port.
    pub fn load(dir: &StateDir, public: Option<&str>) -> anyhow::Result<Self> {
        let path = dir.join(FILE);
        let mut network = match std::fs::read(&path) {
            Ok(bytes) => json::parse_as::<Self>(&bytes).map_err(|why| {
                Lasting(format!(
                    "{} cannot be read: fix it, or remove it for loopback only: {why}",
                    path.display()
                ))
            })?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Self::default(),
            Err(error) => return Err(error).with_context(|| path.display().to_string()),
        };
        if let Some(name) = public {
            let name = hostname(name)
                .ok_or_else(|| Lasting(format!("{name:?} is not a public host name")))?;
            network.public_hostnames.retain(|known| *known != name);
            network.public_hostnames.insert(0, name);
        }
        Ok(network)
    }

    /// Writes the file.
    ///
    /// # Errors
    /// The system's; the old file stays then.
    pub fn save(&self, dir: &StateDir) -> std::io::Result<()> {
        dir.write_private(
            FILE,
            &serde_json::to_vec(self).map_err(std::io::Error::other)?,
        )
    }

    /// Checks what the owner typed.
    ///
    /// # Errors
    /// The entries that are refused.
    pub fn wanted(
        &self,
        addresses: &[String],
        names: Option<&[String]>,
    ) -> Result<Self, Vec<String>> {
        let local = local_addresses();
        let mut rejected = Vec::new();
        let mut bind = Vec::new();
        for text in addresses {
            match text.parse::<IpAddr>() {
                Ok(address)
                    if address.is_unspecified() && addresses.len() == 1 && address.is_ipv4() =>
                {
                    bind.push(address);
                }
                Ok(address)
                    if address.is_loopback()
                        || local.iter().any(|(_, known)| *known == address) =>
                {
                    bind.push(address);
                }
                _ => rejected.push(text.clone()),
            }
        }
        if bind.is_empty() {
            bind.push(Ipv4Addr::LOCALHOST.into());
        }
        let mut public = self.public_hostnames.clone();
        if let Some(names) = names {
            public.clear();
            for text in names {
                match hostname(text) {
                    Some(name) => public.push(name),
                    None => rejected.push(text.clone()),
                }
            }
        }
        if rejected.is_empty() {
            Ok(Self {
                version: 1,
                bind_addresses: bind,
                public_hostnames: public,
            })
        } else {
            Err(rejected)
        }
    }

    /// Addresses beside loopback that are listened on.
    pub fn beyond_loopback(&self) -> Vec<IpAddr> {
        self.bind_addresses
            .iter()
            .copied()
            .filter(|a| !a.is_loopback())
            .collect()
    }

    /// What is listened on for the loopback of IPv4: every address takes it in, and the system gives a port to only one
    /// of the two.
    pub fn of_loopback(&self) -> Ipv4Addr {
        match self.bind_addresses.contains(&Ipv4Addr::UNSPECIFIED.into()) {
            true => Ipv4Addr::UNSPECIFIED,
            false => Ipv4Addr::LOCALHOST,
        }
    }

    /// Why one of the addresses that are not served `now` could not be listened on at this moment.
    pub fn cannot_be_had(&self, now: &Self) -> Option<String> {
        let (wanted, now) = (self.beyond_loopback(), now.beyond_loopback());
        let fresh = wanted.into_iter().filter(|address| !now.contains(address));
        fresh
            .filter_map(|address| Some((address, TcpListener::bind((address, 0)).err()?)))
            .map(|(address, error)| format!("cannot listen on {address} ({FILE}): {error}"))
            .next()
    }

    /// Whether only loopback is listened on.
    pub fn active_is_loopback(&self) -> bool {
        self.beyond_loopback().is_empty()
    }

    /// Whether a Host names an address that we were told to listen on; `0.0.0.0` stands for every local address.
    pub fn accepts(&self, name: &str) -> bool {
        let bare = name
            .strip_prefix('[')
            .and_then(|n| n.strip_suffix(']'))
            .unwrap_or(name);
        let Ok(address) = bare.parse::<IpAddr>() else {
            return false;
        };
        if address.is_unspecified() || address.is_ipv6() != name.starts_with('[') {
            return false;
        }
        self.beyond_loopback().iter().any(|bound| {
            *bound == address
                || (bound.is_unspecified()
                    && local_addresses().iter().any(|(_, known)| *known == address))
        })
    }
}

/// A lower-case DNS name of at least two labels, the last with a letter (docs/protocol/owner.md#network).
fn hostname(text: &str) -> Option<String> {
    let name = text.trim().to_ascii_lowercase();
    let labels: Vec<&str> = name.split('.').collect();
    let label = |l: &&str| {
        !l.is_empty()
            && l.len() <= 63
            && !l.starts_with('-')
            && !l.ends_with('-')
            && l.bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
    };
    let last_has_letter = labels
        .last()
        .is_some_and(|l| l.bytes().any(|b| b.is_ascii_lowercase()));
    (labels.len() >= 2 && name.len() <= 253 && labels.iter().all(label) && last_has_letter)
        .then_some(name)
}

/// This machine's addresses by interface.
pub fn local_addresses() -> Vec<(String, IpAddr)> {
    let Ok(all) = nix::ifaddrs::getifaddrs() else {
        return Vec::new();
    };
    all.filter_map(|interface| {
        let address = interface.address?;
        let ip = match (address.as_sockaddr_in(), address.as_sockaddr_in6()) {
            (Some(v4), _) => IpAddr::V4(v4.ip()),
            (_, Some(v6)) => IpAddr::V6(v6.ip()),
            _ => return None,
        };
        Some((interface.interface_name, ip))
    })
    .collect()
}

#[cfg(test)]
mod bounds;
