//! Where the gateway is: a Unix socket or a TCP authority. Nothing else is ever contacted.

use std::{fmt, path::PathBuf, str::FromStr};

/// The one place that a command talks to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// A socket in the state directory.
    Unix(PathBuf),
    /// `host:port`; the host may be a name, an IPv4 address or an IPv6 address in brackets.
    Tcp {
        /// As written, brackets included.
        host: String,
        /// The port; 80 where the URL names none.
        port: u16,
    },
}

impl Address {
    /// The gateway on this machine at `port`.
    #[must_use]
    pub fn loopback(port: u16) -> Self {
        Self::Tcp {
            host: "127.0.0.1".to_owned(),
            port,
        }
    }

    /// Whether what is sent there stays on this machine.
    #[must_use]
    pub fn is_local(&self) -> bool {
        match self {
            Self::Unix(_) => true,
            Self::Tcp { host, .. } => {
                let bare = host.trim_start_matches('[').trim_end_matches(']');
                host.eq_ignore_ascii_case("localhost")
                    || bare
                        .parse::<std::net::IpAddr>()
                        .is_ok_and(|ip| ip.is_loopback())
            }
        }
    }

    /// The Host header; a socket has no authority of its own, and any loopback name is accepted on it
    /// (docs/design.md#http).
    #[must_use]
    pub fn authority(&self) -> String {
        match self {
            Self::Unix(_) => "localhost".to_owned(),
            Self::Tcp { host, port } => format!("{host}:{port}"),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Tcp { .. } => write!(f, "http://{}", self.authority()),
        }
    }
}

/// A text that names no gateway we can talk to.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NotAnAddress(String);

impl FromStr for Address {
    type Err = NotAnAddress;

    /// Reads `http://host[:port][/]` or `unix:/path`.
    fn from_str(text: &str) -> Result<Self, NotAnAddress> {
        let fail = |why: &str| {
            Err(NotAnAddress(format!(
                "{text:?} is no gateway address: {why} (write http://127.0.0.1:7077 or unix:/path)"
            )))
        };
        if let Some(path) = text.strip_prefix("unix:") {
            return if path.starts_with('/') {
                Ok(Self::Unix(PathBuf::from(path)))
            } else {
                fail("the path of a socket is absolute")
            };
        }
        let Some(rest) = text.strip_prefix("http://") else {
            return fail(if text.starts_with("https://") {
                "the gateway itself speaks plain HTTP"
            } else {
                "it has no http:// or unix: in front"
            });
        };
        let authority = rest.strip_suffix('/').unwrap_or(rest);
        if authority.contains(['/', '?', '#', '@'])
            || authority.contains(|c: char| c.is_whitespace() || c.is_control())
        {
            return fail("it is more than a host and a port");
        }
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => match port.parse() {
                Ok(port) => (host, port),
                Err(_) => return fail("its port is not a number up to 65535"),
            },
            _ => (authority, 80),
        };
        let bracketed = host.starts_with('[') && host.ends_with(']');
        if host.is_empty() || (host.contains(':') && !bracketed) {
            return fail("its host is empty, or an IPv6 address without brackets");
        }
        Ok(Self::Tcp {
            host: host.to_owned(),
            port,
        })
    }
}

#[cfg(test)]
mod shown;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        let tcp = |host: &str, port| Address::Tcp {
            host: host.into(),
            port,
        };
        assert_eq!("http://127.0.0.1:7077/".parse(), Ok(tcp("127.0.0.1", 7077)));
        assert_eq!("http://[::1]:7078".parse(), Ok(tcp("[::1]", 7078)));
        assert_eq!("http://[::1]".parse(), Ok(tcp("[::1]", 80)));
        let socket = Address::Unix("/run/p.sock".into());
        assert_eq!("unix:/run/p.sock".parse(), Ok(socket));
        let (host, more) = ("its host is empty", "more than a host and a port");
        let (unknown, port) = ("no http:// or unix:", "its port is not a number");
        for (bad, words) in [
            ("", unknown),
            ("127.0.0.1:7077", unknown),
            ("https://127.0.0.1:7077", "speaks plain HTTP"),
            ("http://", host),
            ("http://:7077", host),
            ("http://a:b", port),
            ("http://a/path", more),
            ("http://user@a:1", more),
            ("http://::1:7077", host),
            ("http://[::1:80", host),
            ("http://::1]:80", host),
            ("http://a:70000", port),
            ("http://a b:1", more),
            ("http://a\u{7}:1", more),
            ("http://a?b", more),
            ("http://a#b", more),
            ("unix:run/p.sock", "the path of a socket is absolute"),
        ] {
            let why = bad.parse::<Address>().expect_err(bad).to_string();
            assert!(why.contains(words), "{why}");
        }
    }

    #[test]
    fn local_or_not() {
        for (url, local) in [
            ("http://localhost:1", true),
            ("http://[::1]:1", true),
            ("http://127.9.9.9:1", true),
            ("unix:/x", true),
            ("http://127.0.0.1.evil.example:1", false),
            ("http://192.168.1.2:1", false),
        ] {
            assert_eq!(url.parse::<Address>().unwrap().is_local(), local, "{url}");
        }
    }
}
