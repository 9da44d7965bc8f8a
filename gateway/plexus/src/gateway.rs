//! Finding the gateway and, where it is not its own socket that answers, reading its discovery document
//! (docs/protocol/agents.md#discovery).
//!
//! Invariant: of an advertised URL only the path is used, on the connection that we were told to open. A gateway that
//! publishes another name for itself, or a document that lies, cannot make us send a credential elsewhere.

use crate::settings::Settings;
use hyper::{Response, body::Incoming};
use plexus_client::{Address, Connection, Exit, Failure, Reply, Request, Stop, out};
use plexus_protocol::DEFAULT_PORT;
use serde_json::Value;
use std::fs;

/// A gateway that answered, or whose own socket took our connection.
pub(crate) struct Gateway {
    connection: Connection,
    /// Null where nobody had to ask: behind a gateway's own socket the routes are the wire's.
    discovery: Value,
}

/// The routes that an agent uses: the member of discovery's `auth` that names each, and the wire's own path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Route {
    Enroll,
    Handshake,
    Manifest,
    GrantsList,
    GrantStatus,
    GrantCancel,
    Invoke,
    InvokeStatus,
    InvokeCancel,
    InvokeInput,
    Events,
    Extensions,
}

impl Route {
    fn advertised(self) -> (&'static str, &'static str) {
        match self {
            Self::Enroll => ("enrollmentUrl", "/agents/enroll"),
            Self::Handshake => ("handshakeUrl", "/link/handshake"),
            Self::Manifest => ("manifestUrl", "/manifest"),
            Self::GrantsList => ("grantsListUrl", "/grants"),
            Self::GrantStatus => ("grantStatusUrl", "/grants/status"),
            Self::GrantCancel => ("grantCancelUrl", "/grants/cancel"),
            Self::Invoke => ("invokeUrl", "/invoke"),
            Self::InvokeStatus => ("invokeStatusUrl", "/invoke/status"),
            Self::InvokeCancel => ("invokeCancelUrl", "/invoke/cancel"),
            Self::InvokeInput => ("invokeInputUrl", "/invoke/input"),
            Self::Extensions => ("extensionsUrl", "/extensions"),
            Self::Events => ("eventsUrl", "/events"),
        }
    }
}

impl Gateway {
    /// Finds the gateway: the one that was named, else the agents' socket. Where this home is no gateway's own, or a
    /// proxy is the only way out, else the one that an installer pinned, else the port of the running one, else the
    /// default port.
    pub(crate) async fn find(settings: &Settings) -> Result<Self, Stop> {
        let connection = connect(settings).await?;
        if !connection.address().is_local() {
            out::say(
                "note: this gateway is not on this machine; what you send can be read on the way",
            );
        }
        let own = matches!(connection.address(), Address::Unix(_));
        let mut gateway = Self {
            connection,
            discovery: Value::Null,
        };
        if !own {
            gateway.discover().await?;
        }
        Ok(gateway)
    }

    async fn discover(&mut self) -> Result<(), Stop> {
        let request = Request::get("/.well-known/plexus");
        let reply = self.connection.send(request).await?;
        let discovery: Value = reply.json()?;
        if !reply.is_success() || !discovery["auth"].is_object() {
            let what = format!("{} has no discovery document", self.address());
            return Err(Failure::Foreign(what).into());
        }
        self.discovery = discovery;
        Ok(())
    }

    /// The path of `route`, as advertised or as the wire has it.
    pub(crate) fn path(&self, route: Route) -> String {
        let (member, path) = route.advertised();
        let url = self.discovery["auth"][member].as_str();
        url.and_then(path_of).unwrap_or_else(|| path.to_owned())
    }

    /// The gateway's own words about itself.
    pub(crate) async fn about(&mut self) -> Result<&Value, Stop> {
        if self.discovery.is_null() {
            self.discover().await?;
        }
        Ok(&self.discovery["gateway"])
    }

    /// Where it is.
    pub(crate) fn address(&self) -> &Address {
        self.connection.address()
    }

    /// Opens a stream.
    pub(crate) async fn stream(&mut self, request: Request) -> Result<Response<Incoming>, Failure> {
        self.connection.stream(request).await
    }

    /// One exchange.
    pub(crate) async fn send(&mut self, request: Request) -> Result<Reply, Failure> {
        self.connection.send(request).await
    }
}

/// Path and query of an absolute URL, or of something that is a path already.
pub(crate) fn path_of(url: &str) -> Option<String> {
    let uri: hyper::Uri = url.parse().ok()?;
    let path = uri.path_and_query()?.as_str();
    path.starts_with('/').then(|| path.to_owned())
}

async fn connect(settings: &Settings) -> Result<Connection, Stop> {
    if let Some(address) = &settings.gateway {
        return open(settings, address.clone()).await;
    }
    let socket = Address::Unix(settings.home.agent_socket());
    let failure = match Connection::open(socket).await {
        Ok(connection) => return Ok(connection),
        Err(failure) => failure,
    };
    // Anybody can take the port of a gateway that is down, and would be handed the credential. A sandbox whose only way
    // out is a proxy hides the socket.
    if settings.home.is_a_gateways() && settings.proxy.is_none() {
        return Err(not_reached(failure));
    }
    let address = match pinned(settings)? {
        Some(address) => address,
        None => Address::loopback(running_port(settings).unwrap_or(DEFAULT_PORT)),
    };
    open(settings, address).await
}

async fn open(settings: &Settings, address: Address) -> Result<Connection, Stop> {
    let opened = match &settings.proxy {
        Some(proxy) => Connection::open_through(address, proxy.clone()).await,
        None => Connection::open(address).await,
    };
    opened.map_err(not_reached)
}

/// A gateway that is not running and a sandbox that hides it need different help.
fn not_reached(failure: Failure) -> Stop {
    let next = match &failure {
        Failure::Unreachable {
            forbidden: true, ..
        } => {
            "stop; tell the owner: my sandbox forbids me to connect to the gateway; let me reach it"
        }
        _ => "stop; tell the owner: start plexusd",
    };
    Stop::from(failure).next(next)
}

fn pinned(settings: &Settings) -> Result<Option<Address>, Stop> {
    let path = settings.home.gateway();
    match fs::read_to_string(&path) {
        Err(_) => Ok(None),
        Ok(text) => text.trim().parse().map(Some).map_err(|e| {
            let why = format!("{}: {e}", path.display());
            Stop::new(Exit::Unreachable, "unreachable", why).next("give --url, or remove that file")
        }),
    }
}

fn running_port(settings: &Settings) -> Option<u16> {
    let text = fs::read_to_string(settings.home.runtime()).ok()?;
    let about: Value = serde_json::from_str(&text).ok()?;
    about["port"]
        .as_u64()
        .and_then(|port| u16::try_from(port).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sandbox_is_told_from_a_gateway_that_does_not_run() {
        let next = |forbidden| {
            not_reached(Failure::Unreachable {
                address: Address::loopback(1),
                reason: String::new(),
                forbidden,
            })
            .next
        };
        assert!(next(true).contains("sandbox") && next(false).contains("start plexusd"));
    }

    #[test]
    fn only_the_path_of_a_url_counts() {
        for (url, path) in [
            ("http://127.0.0.1:7077/invoke", Some("/invoke")),
            ("https://evil.example/grants?x=1", Some("/grants?x=1")),
            ("/invoke", Some("/invoke")),
            ("not a url", None),
        ] {
            assert_eq!(path_of(url).as_deref(), path);
        }
    }
}
