//! What a profile grants once its parameters are known, in terms both kernels share: trees, executables, ports.
//!
//! This is where operations get their meaning on Linux, and where a rule is refused that Linux could only meet
//! wider than written. On macOS nothing evaluates a profile but Apple's compiler.
//!
//! Invariants: a grant comes from exactly one allow rule and names it; no grant is wider than its rule except
//! for the residuals that [`Ruleset::residuals`] lists; an allowance for what Linux does not have grants nothing.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::profile::{
    Action, Argument, Clause, Condition, Filter, Form, Profile, ProfileError, Reason, Rule,
    SystemCalls, Text,
};

/// The values of a profile's parameters, as `-D KEY=VALUE` gives them.
pub type Parameters = BTreeMap<String, String>;

/// What a worker may do. Everything else is denied.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ruleset {
    /// The rule that grants the base list (`(import "bsd.sb")`), if there is one.
    pub base: Option<Origin>,
    /// What it may read.
    pub reads: Vec<PathGrant>,
    /// What it may write, create and remove.
    pub writes: Vec<PathGrant>,
    /// Whether it may also create symbolic links there.
    pub creates_links: bool,
    /// Whether it sets no permission bits through a descriptor.
    pub keeps_modes: bool,
    /// Devices that it may control.
    pub ioctls: Vec<PathGrant>,
    /// What it may execute.
    pub executes: Vec<PathGrant>,
    /// TCP ports that it may connect to.
    pub connects: Vec<PortGrant>,
    /// Unix stream sockets that it may connect to, each by its path.
    pub sockets: Vec<PathGrant>,
    /// Whether it may accept connections on a listening socket that it was given. It may make none.
    pub accepts: Option<PortGrant>,
    /// Whether it may have children.
    pub forks: bool,
    /// The flavour of its system call filter on Linux.
    pub system_calls: SystemCalls,
}

/// The rule a grant comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// Line of the profile, from 1.
    pub line: u32,
    /// The rule, as we understood it.
    pub rule: String,
}

/// A file, or a folder and all below it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathGrant {
    /// Absolute, in normal form. Whether it contains links is for the kernel's side to judge.
    pub path: PathBuf,
    /// How far it reaches.
    pub extent: Extent,
    /// Whether the profile spells the path out, rather than being given it. A machine may lack such a place.
    pub is_spelled_out: bool,
    /// Its rule.
    pub origin: Origin,
}

/// How far a [`PathGrant`] reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// `(literal …)`: the path alone. Grants nothing where the path is a folder.
    Literal,
    /// `(subpath …)`: the path and all below it.
    Subtree,
}

/// A TCP port of one machine or of any.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortGrant {
    /// Whose.
    pub host: Host,
    /// 1 to 65535.
    pub port: u16,
    /// Its rule.
    pub origin: Origin,
}

/// Whose port a [`PortGrant`] names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Host {
    /// `localhost`: this machine's, at 127.0.0.1 and at no other address. (On macOS at ::1 as well.)
    Localhost,
    /// `*`: at any address.
    Any,
}

/// What an operation means on Linux.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Meaning {
    Read,
    Write,
    Control,
    CreateOnly,
    Mode,
    /// A change that no profile allows, and that the system call filter refuses every worker.
    Refused,
    Execute,
    Fork,
    Signal,
    Connect,
    Listen,
    AllNetwork,
    /// Metadata by path, which Linux lets everyone read.
    Metadata,
    /// An object that Linux does not have.
    Absent,
}

/// All operations that we know; one that ends in `*` here is spelled so in profiles.
const OPERATIONS: &[(&str, Meaning)] = &[
    ("appleevent-send", Meaning::Absent),
    ("authorization-right-obtain", Meaning::Absent),
    ("distributed-notification-post", Meaning::Absent),
    ("darwin-notification-post", Meaning::Absent),
    ("file-ioctl", Meaning::Control),
    ("file-map-executable", Meaning::Absent),
    ("file-read*", Meaning::Read),
    ("file-read-data", Meaning::Read),
    ("file-read-metadata", Meaning::Metadata),
    ("file-read-xattr", Meaning::Metadata),
    ("file-test-existence", Meaning::Metadata),
    ("file-write*", Meaning::Write),
    ("file-write-create", Meaning::CreateOnly),
    ("file-write-mode", Meaning::Mode),
    ("file-write-setugid", Meaning::Refused),
    ("file-write-xattr", Meaning::Refused),
    ("iokit-get-properties", Meaning::Absent),
    ("iokit-open", Meaning::Absent),
    ("iokit-open*", Meaning::Absent),
    ("ipc-posix-sem", Meaning::Absent),
    ("ipc-posix-sem*", Meaning::Absent),
    ("ipc-posix-shm", Meaning::Absent),
    ("ipc-posix-shm*", Meaning::Absent),
    ("ipc-posix-shm-read*", Meaning::Absent),
    ("ipc-posix-shm-read-data", Meaning::Absent),
    ("lsopen", Meaning::Absent),
    ("mach-lookup", Meaning::Absent),
    ("mach-register", Meaning::Absent),
    ("managed-preference-read", Meaning::Absent),
    ("network*", Meaning::AllNetwork),
    ("network-bind", Meaning::Listen),
    ("network-inbound", Meaning::Listen),
    ("network-outbound", Meaning::Connect),
    ("process-exec", Meaning::Execute),
    ("process-exec*", Meaning::Execute),
    ("process-fork", Meaning::Fork),
    ("process-info*", Meaning::Absent),
    ("signal", Meaning::Signal),
    ("sysctl-read", Meaning::Absent),
    ("user-preference-read", Meaning::Absent),
    ("user-preference-write", Meaning::Absent),
];

impl Ruleset {
    /// Evaluates `profile` with `parameters`. A parameter that no rule asks for is ignored, as on macOS.
    /// # Errors
    /// The first rule, in order, that is unknown, lacks a parameter, or that Linux cannot meet as narrowly as
    /// it is written.
    pub fn evaluate(profile: &Profile, parameters: &Parameters) -> Result<Self, ProfileError> {
        let mut ruleset = Self {
            base: profile.import.map(|line| Origin {
                line,
                rule: "(import \"bsd.sb\")".to_owned(),
            }),
            system_calls: profile.system_calls(),
            ..Self::default()
        };
        for (form, rule) in in_effect(profile, parameters)? {
            let refuse = |reason| ProfileError::new(form.line, form, reason);
            let origin = Origin {
                line: form.line,
                rule: rule.to_string(),
            };
            for (meaning, name) in meanings(rule).map_err(refuse)? {
                match rule.action {
                    Action::Allow => ruleset.allow(meaning, name, rule, &origin, parameters),
                    Action::Deny => ruleset.deny(meaning, name, rule, parameters),
                }
                .map_err(refuse)?;
            }
        }
        Ok(ruleset)
    }

    /// Whether a rule names a port of this machine alone, or a Unix socket. On Linux such a rule needs somebody who reads
    /// addresses.
    #[must_use]
    pub fn names_an_address(&self) -> bool {
        let mut ports = self.connects.iter();
        !self.sockets.is_empty() || ports.any(|grant| grant.host == Host::Localhost)
    }

    /// What Linux lets through beyond the profile: one sentence each, for `doctor` and the docs.
    #[must_use]
    pub fn residuals(&self) -> Vec<String> {
        let mut all = vec![
            "metadata of any path (existence, size, times) can be read".to_owned(),
            "signals reach every process in the worker's own cage".to_owned(),
        ];
        let is_leaf = self.system_calls == SystemCalls::Leaf;
        if is_leaf && !self.writes.is_empty() && !self.names_an_address() {
            all.push("a file that may be read can be locked (flock)".to_owned());
        }
        all
    }

    fn allow(
        &mut self,
        meaning: Meaning,
        name: &str,
        rule: &Rule,
        origin: &Origin,
        parameters: &Parameters,
    ) -> Result<(), Reason> {
        // Apple's language has no filter for either.
        let is_whole = meaning == Meaning::Fork || name == "lsopen";
        if rule.filters.is_empty() && !is_whole {
            return Err(Reason::Unfiltered(name.to_owned()));
        }
        let paths = || {
            rule.filters
                .iter()
                .map(|filter| path_grant(filter, origin, parameters))
                .collect::<Result<Vec<_>, _>>()
        };
        match meaning {
            Meaning::Read => self.reads.extend(paths()?),
            Meaning::Write => {
                self.writes.extend(paths()?);
                self.creates_links = true;
            }
            Meaning::Control => self.ioctls.extend(paths()?),
            Meaning::Execute => self.executes.extend(paths()?),
            Meaning::Connect => {
                for filter in &rule.filters {
                    if filter.name == "literal" {
                        self.sockets.push(path_grant(filter, origin, parameters)?);
                        continue;
                    }
                    let (host, port) = endpoint(filter, parameters)?;
                    self.connects.push(PortGrant {
                        host,
                        port,
                        origin: origin.clone(),
                    });
                }
            }
            // Narrower than written: on the socket that it was given, and on no other.
            Meaning::Listen if name == "network-inbound" => match rule.filters.as_slice() {
                [filter] if self.accepts.is_none() => {
                    self.accepts = Some(PortGrant {
                        host: Host::Localhost,
                        port: own_port(filter, parameters)?,
                        origin: origin.clone(),
                    });
                }
                _ => return Err(Reason::Wider(rule.to_string())),
            },
            Meaning::Fork if rule.filters.is_empty() => self.forks = true,
            // Linux bounds signals to the worker's own domain, which no target of this rule is narrower than
            // in any way that matters: the residual is printed.
            Meaning::Signal => expect_target(rule)?,
            Meaning::Metadata | Meaning::Absent => {}
            Meaning::Fork
            | Meaning::CreateOnly
            | Meaning::Mode
            | Meaning::Refused
            | Meaning::Listen
            | Meaning::AllNetwork => {
                return Err(Reason::Wider(rule.to_string()));
            }
        }
        Ok(())
    }

    /// A denial restates the default, takes back all of an earlier allowance, or is refused.
    fn deny(
        &mut self,
        meaning: Meaning,
        name: &str,
        rule: &Rule,
        parameters: &Parameters,
    ) -> Result<(), Reason> {
        match meaning {
            Meaning::Fork if rule.filters.is_empty() => self.forks = false,
            Meaning::AllNetwork if rule.filters.is_empty() => {
                self.connects.clear();
                self.sockets.clear();
                self.accepts = None;
            }
            Meaning::Connect if rule.filters.is_empty() => {
                self.connects.clear();
                self.sockets.clear();
            }
            Meaning::Connect => {
                for filter in &rule.filters {
                    match whole(filter) {
                        Some(Whole::Addresses) => self.connects.clear(),
                        Some(Whole::Sockets) => self.sockets.clear(),
                        None => return Err(Reason::Wider(format!("a denial of {filter}"))),
                    }
                }
            }
            Meaning::Listen if self.accepts.is_none() => {}
            Meaning::Listen if rule.filters.is_empty() => self.accepts = None,
            Meaning::Absent | Meaning::Refused => {}
            Meaning::Mode if rule.filters.is_empty() => self.keeps_modes = true,
            Meaning::CreateOnly if is_link_filter(&rule.filters) => self.creates_links = false,
            Meaning::Write if !rule.filters.is_empty() => {
                for filter in &rule.filters {
                    let (denied, _) = path_filter(filter, parameters)?;
                    let overlaps = |grant: &&PathGrant| {
                        grant.path.starts_with(&denied) || denied.starts_with(&grant.path)
                    };
                    if let Some(grant) = self.writes.iter().find(overlaps) {
                        return Err(Reason::Subtracts(grant.origin.line));
                    }
                }
            }
            _ => return Err(Reason::Wider(format!("a denial of {name}"))),
        }
        Ok(())
    }
}

/// The rules that hold under `parameters`, in order, each with its form.
///
/// Both branches of a condition are held to the same grammar of operations, so a rule that is off today is sound too.
pub(crate) fn in_effect<'p>(
    profile: &'p Profile,
    parameters: &Parameters,
) -> Result<Vec<(&'p Form, &'p Rule)>, ProfileError> {
    let mut rules = Vec::new();
    for form in &profile.forms {
        let refuse = |reason| ProfileError::new(form.line, form, reason);
        let rule = match &form.what {
            Clause::SystemCalls(_) => None,
            Clause::Rule(rule) => Some(rule),
            Clause::If {
                when,
                then,
                otherwise,
            } => {
                for branch in std::iter::once(then).chain(otherwise) {
                    meanings(branch).map_err(refuse)?;
                }
                if holds(when, parameters).map_err(refuse)? {
                    Some(then)
                } else {
                    otherwise.as_ref()
                }
            }
        };
        rules.extend(rule.map(|rule| (form, rule)));
    }
    Ok(rules)
}

pub(crate) fn meanings(rule: &Rule) -> Result<Vec<(Meaning, &str)>, Reason> {
    let known = |name: &String| {
        OPERATIONS
            .iter()
            .find(|(operation, _)| operation == name)
            .map(|(operation, meaning)| (*meaning, *operation))
    };
    rule.operations
        .iter()
        .map(|name| known(name).ok_or_else(|| Reason::UnknownOperation(name.clone())))
        .collect()
}

fn holds(condition: &Condition, parameters: &Parameters) -> Result<bool, Reason> {
    match condition {
        Condition::Equal(left, right) => Ok(value(left, parameters)? == value(right, parameters)?),
        Condition::Given(name) => Ok(parameters.contains_key(name)),
    }
}

pub(crate) fn value(text: &Text, parameters: &Parameters) -> Result<String, Reason> {
    match text {
        Text::Literal(value) => Ok(value.clone()),
        Text::Param(name) => parameters
            .get(name)
            .cloned()
            .ok_or_else(|| Reason::MissingParameter(name.clone())),
        Text::Append(parts) => parts.iter().map(|part| value(part, parameters)).collect(),
    }
}

fn path_grant(
    filter: &Filter,
    origin: &Origin,
    parameters: &Parameters,
) -> Result<PathGrant, Reason> {
    let (path, extent) = path_filter(filter, parameters)?;
    Ok(PathGrant {
        path,
        extent,
        is_spelled_out: matches!(
            filter.arguments.as_slice(),
            [Argument::Text(Text::Literal(_))]
        ),
        origin: origin.clone(),
    })
}

/// Only whole files and whole trees: a pattern, or a tree less a part of it, has no counterpart on Linux.
fn path_filter(filter: &Filter, parameters: &Parameters) -> Result<(PathBuf, Extent), Reason> {
    let extent = match filter.name.as_str() {
        "literal" => Extent::Literal,
        "subpath" => Extent::Subtree,
        _ => return Err(Reason::Wider(filter.to_string())),
    };
    let [Argument::Text(text)] = filter.arguments.as_slice() else {
        return Err(Reason::Wider(filter.to_string()));
    };
    let path = value(text, parameters)?;
    if is_normal(&path) {
        Ok((PathBuf::from(path), extent))
    } else {
        Err(Reason::Path(path))
    }
}

/// Absolute and spelled in the one way the kernel spells it, so that text and meaning agree on both systems.
pub(crate) fn is_normal(path: &str) -> bool {
    let named = |part: &str| !matches!(part, "" | "." | "..");
    !path.contains(char::is_control)
        && path
            .strip_prefix('/')
            .is_some_and(|rest| rest.is_empty() || rest.split('/').all(named))
        && Path::new(path).is_absolute()
}

fn endpoint(filter: &Filter, parameters: &Parameters) -> Result<(Host, u16), Reason> {
    let ("remote", [Argument::Symbol(protocol), Argument::Text(endpoint)]) =
        (filter.name.as_str(), filter.arguments.as_slice())
    else {
        return Err(Reason::Wider(filter.to_string()));
    };
    if protocol != "tcp" {
        return Err(Reason::Wider(filter.to_string()));
    }
    let endpoint = value(endpoint, parameters)?;
    let parsed = match endpoint.split_once(':') {
        Some(("localhost", number)) => Some((Host::Localhost, number)),
        Some(("*", number)) => Some((Host::Any, number)),
        _ => None,
    };
    let parsed = parsed.and_then(|(host, number)| Some((host, number.parse().ok()?)));
    parsed
        .filter(|(_, port)| *port != 0)
        .ok_or(Reason::Endpoint(endpoint))
}

/// All of one kind of what can be connected to.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Whole {
    /// `(remote ip "*:*")`: every port at every address.
    Addresses,
    /// `(subpath "/")`: every Unix socket that has a path.
    Sockets,
}

/// What a filter of `network-outbound` names whole. On macOS a denial takes nothing back from a rule with a filter unless
/// it has one itself, so a profile says "all" in these two.
pub(crate) fn whole(filter: &Filter) -> Option<Whole> {
    let is = |argument: &Argument, said: &str| matches!(argument, Argument::Text(Text::Literal(text)) if text == said);
    match (filter.name.as_str(), filter.arguments.as_slice()) {
        ("remote", [Argument::Symbol(protocol), ports]) if protocol == "ip" => {
            is(ports, "*:*").then_some(Whole::Addresses)
        }
        ("subpath", [path]) => is(path, "/").then_some(Whole::Sockets),
        _ => None,
    }
}

/// The loopback port of an inherited listening socket.
fn own_port(filter: &Filter, parameters: &Parameters) -> Result<u16, Reason> {
    let ("local", [Argument::Symbol(protocol), Argument::Text(endpoint)]) =
        (filter.name.as_str(), filter.arguments.as_slice())
    else {
        return Err(Reason::Wider(filter.to_string()));
    };
    let endpoint = value(endpoint, parameters)?;
    match endpoint.split_once(':') {
        Some(("localhost", number)) if protocol == "tcp" => number
            .parse()
            .ok()
            .filter(|port| *port != 0)
            .ok_or(Reason::Endpoint(endpoint.clone())),
        _ => Err(Reason::Wider(filter.to_string())),
    }
}

fn expect_target(rule: &Rule) -> Result<(), Reason> {
    let is_own = |filter: &Filter| {
        let words = ["self", "children", "same-sandbox"];
        filter.name == "target"
            && matches!(filter.arguments.as_slice(), [Argument::Symbol(word)] if words.contains(&word.as_str()))
    };
    if rule.filters.iter().all(is_own) {
        Ok(())
    } else {
        Err(Reason::Wider(rule.to_string()))
    }
}

fn is_link_filter(filters: &[Filter]) -> bool {
    matches!(filters, [filter] if filter.name == "vnode-type"
        && matches!(filter.arguments.as_slice(), [Argument::Symbol(kind)] if kind == "SYMLINK"))
}
