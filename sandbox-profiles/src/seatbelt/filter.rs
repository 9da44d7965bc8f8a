//! The filters of rules, and what each matches.

use super::{Address, Endpoint, Evidence, Kind, Operation, Receiver};
use crate::profile::{Argument, Filter, Reason, Text};

const KNOWN: &str = "a filter whose meaning on macOS is known here";

/// One filter of a rule.
#[derive(Clone, Debug)]
pub(super) enum Pattern {
    Path(Spelling, String),
    /// Each folder above this path.
    Ancestors(String),
    Kind(Kind),
    Target(Receiver),
    Port(End, Protocol, String, Option<u16>),
    /// The name of a service, app, domain or value, for the operations that begin so.
    Name(&'static str, Spelling, String),
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Spelling {
    Exact,
    Subpath,
    Prefix,
}

/// Which end of a socket a filter names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Remote,
    Local,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    Tcp,
    Udp,
    /// Both.
    Ip,
}

/// Filters by a name: of which operations, and how.
const NAMES: &[(&str, &str, Spelling)] = &[
    ("global-name", "mach-lookup", Spelling::Exact),
    ("global-name-prefix", "mach-lookup", Spelling::Prefix),
    ("appleevent-destination", "appleevent-send", Spelling::Exact),
    ("preference-domain", "user-preference-read", Spelling::Exact),
    ("sysctl-name", "sysctl-read", Spelling::Exact),
    ("sysctl-name-prefix", "sysctl-read", Spelling::Prefix),
];
/// Filters of what no [`Operation`] here is about: they match none.
const OTHERS: &[&str] = &[
    "local-name",
    "xpc-service-name",
    "xpc-service-name-prefix",
    "ipc-posix-name",
    "iokit-registry-entry-class",
    "iokit-user-client-class",
    "right-name",
    "notification-name",
];

impl Pattern {
    pub(super) fn new(filter: &Filter) -> Result<Self, Reason> {
        let name = filter.name.as_str();
        if OTHERS.contains(&name) {
            return Ok(Self::Name("", Spelling::Exact, String::new()));
        }
        match (name, filter.arguments.as_slice()) {
            ("literal", [path]) => Ok(Self::Path(Spelling::Exact, text(path)?)),
            ("subpath", [path]) => Ok(Self::Path(Spelling::Subpath, text(path)?)),
            ("prefix", [path]) => Ok(Self::Path(Spelling::Prefix, text(path)?)),
            ("path-ancestors", [path]) => Ok(Self::Ancestors(text(path)?)),
            ("vnode-type", [Argument::Symbol(kind)]) => match kind.as_str() {
                "REGULAR-FILE" => Ok(Self::Kind(Kind::File)),
                "DIRECTORY" => Ok(Self::Kind(Kind::Folder)),
                "SYMLINK" => Ok(Self::Kind(Kind::Link)),
                _ => Err(Reason::Grammar(KNOWN)),
            },
            ("target", [Argument::Symbol(target)]) => match target.as_str() {
                "self" => Ok(Self::Target(Receiver::Itself)),
                "same-sandbox" => Ok(Self::Target(Receiver::SameSandbox)),
                "others" => Ok(Self::Target(Receiver::Other)),
                _ => Err(Reason::Grammar(KNOWN)),
            },
            ("remote", [protocol, port]) => Self::port(End::Remote, protocol, port),
            ("local", [protocol, port]) => Self::port(End::Local, protocol, port),
            (_, [one]) => NAMES
                .iter()
                .find(|(known, ..)| *known == name)
                .ok_or(Reason::Grammar(KNOWN))
                .and_then(|(_, of, how)| Ok(Self::Name(of, *how, text(one)?))),
            _ => Err(Reason::Grammar(KNOWN)),
        }
    }

    fn port(end: End, protocol: &Argument, port: &Argument) -> Result<Self, Reason> {
        let Argument::Symbol(protocol) = protocol else {
            return Err(Reason::Grammar(KNOWN));
        };
        let protocol = match protocol.as_str() {
            "tcp" => Protocol::Tcp,
            "udp" => Protocol::Udp,
            "ip" => Protocol::Ip,
            _ => return Err(Reason::Grammar(KNOWN)),
        };
        let endpoint = text(port)?;
        let refused = || Reason::Endpoint(endpoint.clone());
        // Apple's parser takes no other host.
        let (host, port) = endpoint
            .split_once(':')
            .filter(|(host, _)| ["localhost", "*"].contains(host))
            .ok_or_else(refused)?;
        let number = match port {
            "*" => None,
            number => Some(number.parse().map_err(|_| refused())?),
        };
        Ok(Self::Port(end, protocol, host.to_owned(), number))
    }

    /// How certain it is that this filter matches; `None` where it does not.
    pub(super) fn matches(&self, operation: &Operation) -> Option<Evidence> {
        let measured = |matches: bool| matches.then_some(Evidence::Measured);
        match self {
            Self::Path(how, path) => {
                let (asked, _) = operation.place()?;
                measured(how.matches(path, asked))
            }
            Self::Ancestors(path) => {
                let (asked, _) = operation.place()?;
                let below = path.strip_prefix(asked.trim_end_matches('/'));
                measured(below.is_some_and(|below| below.starts_with('/')))
            }
            Self::Kind(kind) => measured(operation.place()?.1? == *kind),
            Self::Target(target) => match operation {
                // Who is itself is in its own sandbox too.
                Operation::Signal(Receiver::Itself) => measured(*target != Receiver::Other),
                Operation::Signal(receiver) => measured(receiver == target),
                _ => None,
            },
            Self::Port(end, protocol, host, port) => {
                let (asked, endpoint) = match operation {
                    Operation::Connect(endpoint) => (End::Remote, endpoint),
                    Operation::Bind(endpoint) | Operation::Accept(endpoint) => {
                        (End::Local, endpoint)
                    }
                    _ => return None,
                };
                let (kind, address, number) = match endpoint {
                    Endpoint::Tcp(address, number) => (Protocol::Tcp, address, number),
                    Endpoint::Udp(address, number) => (Protocol::Udp, address, number),
                    Endpoint::Socket(_) => return None,
                };
                let is_kind = *protocol == Protocol::Ip || *protocol == kind;
                let is_port = port.is_none_or(|port| port == *number);
                if asked != *end {
                    // Each connection has a local end: such a rule lets all of them out.
                    return measured(*end == End::Local && is_kind);
                }
                (is_kind && is_port).then(|| at(host, *address)).flatten()
            }
            Self::Name(of, how, name) => {
                let asked = match operation {
                    Operation::LookUp(asked)
                    | Operation::SendEvent(asked)
                    | Operation::ReadPreferences(asked)
                    | Operation::ReadKernel(asked) => asked,
                    _ => return None,
                };
                measured(*of == operation.name() && how.matches(name, asked))
            }
        }
    }
}

/// Whether a rule's host is this address.
fn at(host: &str, address: Address) -> Option<Evidence> {
    match (host, address) {
        ("*", _) | (_, Address::Loopback) => Some(Evidence::Measured),
        // One report.
        (_, Address::OwnHost) => Some(Evidence::Assumed),
        (_, Address::MappedLoopback | Address::Elsewhere) => None,
    }
}

impl Spelling {
    fn matches(self, said: &str, asked: &str) -> bool {
        match self {
            Self::Exact => said == asked,
            Self::Prefix => asked.starts_with(said),
            Self::Subpath => asked
                .strip_prefix(said.trim_end_matches('/'))
                .is_some_and(|below| below.is_empty() || below.starts_with('/')),
        }
    }
}

fn text(argument: &Argument) -> Result<String, Reason> {
    match argument {
        Argument::Text(Text::Literal(text)) => Ok(text.clone()),
        _ => Err(Reason::Grammar(KNOWN)),
    }
}
