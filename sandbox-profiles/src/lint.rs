//! What a profile must be beyond what parses: readable, narrow, and the same on both kernels.
//!
//! ```text
//! text ─▶ parse, evaluate as reader and as writer ─▶ each rule: why, paths, parameters, filters, order ─▶ findings
//! ```
//!
//! Invariants: a profile without findings grants no write but behind the writer's switch, names no path by a link
//! and no person's home, and asks for nothing that the gateway does not pass. The tests hold every shipped profile
//! to it; `plexusd examine` holds the one that is used.
//!
//! Must not know: a connector, or what its rules are for; that is what the reasons are for.

use std::fmt::{self, Display, Formatter};

use crate::profile::{
    Action, Argument, Clause, Condition, Filter, Form, Profile, ProfileError, Reason, Rule, Text,
};
use crate::ruleset::{Parameters, Ruleset, Whole, is_normal, meanings, value, whole};

/// What the gateway passes to every worker; `ROOT` where its source has a folder, `EGRESS_PORT` where it reaches hosts.
/// Beside them it passes the further path fields of the manifest. What follows is for `plexus-egress`: its own port, the
/// Unix socket and the ports of the hosts that it admits.
pub const PARAMETERS: [&str; 15] = [
    "WORKER",
    "ROOT",
    "SCRATCH",
    "ROLE",
    "EGRESS_PORT",
    "PORT",
    "PORT_0",
    "PORT_1",
    "PORT_2",
    "PORT_3",
    "PORT_4",
    "PORT_5",
    "PORT_6",
    "PORT_7",
    SOCKET,
];
/// The path of a Unix socket, which `plexus-egress` alone is given.
const SOCKET: &str = "SOCKET";
/// What `ROLE` may be.
pub const ROLES: [&str; 2] = ["reader", "writer"];
/// A reason in fewer letters than this is none.
const SHORTEST_REASON: usize = 10;
/// What Apple's `bsd.sb` allows and no profile inherits by accident.
const TAKEN_BACK: [&str; 2] = ["process-fork", "network-outbound"];

/// What is wrong with a profile, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Line of the profile, from 1.
    pub line: u32,
    /// The rule as we understood it; empty where it is about the whole.
    pub rule: String,
    /// What is wrong with it.
    pub fault: Fault,
}

impl Display for Finding {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self.rule.as_str() {
            "" => write!(f, "line {}: {}", self.line, self.fault),
            rule => write!(f, "line {}: {rule}: {}", self.line, self.fault),
        }
    }
}

/// What can be wrong with a profile that may well start.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// It does not parse, or Linux could not meet it as narrowly as it is written.
    #[error(transparent)]
    Refused(Reason),
    /// Nobody can judge a rule without knowing what needs it.
    #[error("it does not say why: `; why` after it, or alone on the line above")]
    NoReason,
    /// Without the base no program starts.
    #[error("(import \"bsd.sb\") is missing: without it no program comes to its main")]
    NoImport,
    /// Apple's base allows it; a profile says so itself if it wants it.
    #[error("Apple's bsd.sb allows {0}: deny it after the import, or allow what is needed of it")]
    NotTakenBack(&'static str),
    /// On macOS a rule without a filter never overrides one that has one, in whichever order.
    #[error(
        "a denial of {0} without a filter takes back nothing that bsd.sb, or a rule here, allows with one: name what is denied, as (subpath \"/\") or (remote ip \"*:*\")"
    )]
    BareDenial(String),
    /// A parameter that nobody passes.
    #[error(
        "nobody passes the parameter {0}; there are WORKER, ROOT, SCRATCH, ROLE and the manifest's path fields in upper case"
    )]
    UnknownParameter(String),
    /// A name of a parameter inside a text, where it is only letters.
    #[error("{0:?} names a parameter in a text, where nothing fills it in: (param …)")]
    NotFilledIn(String),
    /// A switch that no role turns.
    #[error("there is no role {0:?}: the switch is never on")]
    UnknownRole(String),
    /// A write that readers have as well.
    #[error(
        "it lets a reader write: put it in (if (string=? (param \"ROLE\") \"writer\") …), without a second rule"
    )]
    AlwaysWrites,
    /// A tree that holds what is not this connector's.
    #[error("{0:?} is a tree that holds other people's and other programs' files")]
    Wide(String),
    /// A path that a system reaches through a link, which no rule matches.
    #[error("{path:?} leads through a link on {system}, and a rule matches what a path leads to")]
    Link {
        /// The path.
        path: String,
        /// Where.
        system: &'static str,
    },
    /// A path of one account.
    #[error("{0:?} lies in one person's home: pass it as a parameter")]
    Home(String),
    /// A text glued to a folder without a slash names its neighbour.
    #[error("a text after (param {0:?}) must begin with a slash, or it names what lies beside it")]
    Beside(String),
    /// A socket that is not the one of the manifest.
    #[error(
        "a Unix socket stands in the manifest, as egress: [{{\"unix\": …}}], and plexus-egress connects to it"
    )]
    Socket,
    /// Something that Apple's compiler takes as no filter at all, or refuses.
    #[error("{operation} has no filter {filter} on macOS, and may then be allowed without one")]
    Filter {
        /// The operation.
        operation: String,
        /// The filter's name.
        filter: String,
    },
    /// The later rule holds, so this one takes nothing away.
    #[error("line {0} allows it again: where two rules speak of one act, the later holds")]
    Overruled(u32),
}

/// Everything that is wrong with `profile`, in the order of its lines. What does not parse, or what a kernel would
/// refuse for both roles, is one finding and the last. `paths` are the parameters of further path fields.
#[must_use]
pub fn lint(profile: &str, paths: &[&str]) -> Vec<Finding> {
    let known: Vec<&str> = PARAMETERS.iter().chain(paths).copied().collect();
    let read = match Profile::parse(profile) {
        Ok(read) => read,
        Err(error) => return vec![refused(error)],
    };
    let mut findings = Vec::new();
    match read.import {
        None => findings.push(Finding {
            line: 1,
            rule: String::new(),
            fault: Fault::NoImport,
        }),
        Some(line) if reason(profile, line).is_none() => findings.push(Finding {
            line,
            rule: "(import \"bsd.sb\")".to_owned(),
            fault: Fault::NoReason,
        }),
        Some(_) => {}
    }
    let mut lines_with_reason = Vec::new();
    for (at, form) in read.forms.iter().enumerate() {
        let mut found = |fault| {
            findings.push(Finding {
                line: form.line,
                rule: form.to_string(),
                fault,
            });
        };
        // One reason is one rule's.
        if reason(profile, form.line).is_none() || lines_with_reason.contains(&form.line) {
            found(Fault::NoReason);
        }
        lines_with_reason.push(form.line);
        if read.import.is_some() {
            bare_denials(form).for_each(|name| found(Fault::BareDenial(name.to_owned())));
        }
        look_at_form(form, &read.forms[at + 1..], &known, &mut found);
    }
    if read.import.is_some() {
        findings.extend(not_taken_back(&read));
    }
    findings.sort_by_key(|finding| finding.line);
    // Not even a profile that is on in one role only may be one that the other cannot start with.
    let evaluated = ROLES.map(|role| Ruleset::evaluate(&read, &placeholders(role, &known)));
    let first = evaluated.into_iter().find_map(Result::err);
    // A parameter that nobody passes has its own finding.
    let is_new = |error: &ProfileError| !matches!(error.reason, Reason::MissingParameter(_));
    let first = first.filter(is_new).map(refused);
    let first = first.filter(|finding| !findings.contains(finding));
    findings.extend(first);
    findings
}

/// The reason of the rule that begins on `line`: the comment behind it, or the one alone on the line above.
#[must_use]
pub fn reason(profile: &str, line: u32) -> Option<&str> {
    let at = (line as usize).checked_sub(1)?;
    let text = |at: usize| profile.lines().nth(at);
    let long = |why: &&str| why.len() >= SHORTEST_REASON;
    comment(text(at)?).filter(long).or_else(|| {
        let above = text(at.checked_sub(1)?)?;
        comment(above)
            .filter(|_| above.trim_start().starts_with(';'))
            .filter(long)
    })
}

/// What stands behind the first semicolon outside of a string.
fn comment(line: &str) -> Option<&str> {
    let (mut in_string, mut escaped) = (false, false);
    for (at, letter) in line.char_indices() {
        match letter {
            ';' if !in_string => return Some(line[at..].trim_start_matches(';').trim()),
            '"' if !escaped => in_string = !in_string,
            _ => {}
        }
        escaped = in_string && letter == '\\' && !escaped;
    }
    None
}

fn refused(error: ProfileError) -> Finding {
    Finding {
        line: error.line,
        rule: error.rule,
        fault: Fault::Refused(error.reason),
    }
}

/// Values that no rule can tell from real ones. Nothing below them is a place that a finding is about.
fn placeholders(role: &str, known: &[&str]) -> Parameters {
    let place = |name: &str| match name {
        "ROLE" => role.to_owned(),
        port if port.contains("PORT") => "7077".to_owned(),
        other => format!("/plexus/{}", other.to_lowercase()),
    };
    known
        .iter()
        .map(|name| ((*name).to_owned(), place(name)))
        .collect()
}

fn look_at_form(form: &Form, later: &[Form], known: &[&str], found: &mut impl FnMut(Fault)) {
    match &form.what {
        Clause::SystemCalls(_) => {}
        Clause::Rule(rule) => {
            if writes(rule) {
                found(Fault::AlwaysWrites);
            }
            look_at_rule(rule, known, found);
            if let Some(line) = overruled(rule, later) {
                found(Fault::Overruled(line));
            }
        }
        Clause::If {
            when,
            then,
            otherwise,
        } => {
            look_at_condition(when, known, found);
            let for_writers = for_writers(when);
            if writes(then) && !for_writers || otherwise.as_ref().is_some_and(writes) {
                found(Fault::AlwaysWrites);
            }
            for rule in std::iter::once(then).chain(otherwise) {
                look_at_rule(rule, known, found);
                if let Some(line) = overruled(rule, later) {
                    found(Fault::Overruled(line));
                }
            }
        }
    }
}

/// Whether a rule grants a change of files. Its spelling counts, not what Linux makes of it: on macOS every
/// operation of that family is a write.
fn writes(rule: &Rule) -> bool {
    let family = |name: &String| name == "file*" || name.starts_with("file-write");
    rule.action == Action::Allow && rule.operations.iter().any(family)
}

fn for_writers(when: &Condition) -> bool {
    let is_role = |text: &Text| matches!(text, Text::Param(name) if name == "ROLE");
    let is_writer = |text: &Text| matches!(text, Text::Literal(word) if word == "writer");
    match when {
        Condition::Given(_) => false,
        Condition::Equal(left, right) => {
            is_role(left) && is_writer(right) || is_role(right) && is_writer(left)
        }
    }
}

fn look_at_condition(when: &Condition, known: &[&str], found: &mut impl FnMut(Fault)) {
    match when {
        Condition::Given(name) => look_at_parameter(name, known, found),
        Condition::Equal(left, right) => {
            let of_role = |text: &Text| matches!(text, Text::Param(name) if name == "ROLE");
            for (text, other) in [(left, right), (right, left)] {
                match text {
                    Text::Literal(word) if of_role(other) && !ROLES.contains(&word.as_str()) => {
                        found(Fault::UnknownRole(word.clone()));
                    }
                    // A role is a word, not a path: it may be spelled out.
                    Text::Literal(_) if of_role(other) => {}
                    other => look_at_text(other, known, found),
                }
            }
        }
    }
}

fn look_at_parameter(name: &str, known: &[&str], found: &mut impl FnMut(Fault)) {
    if !known.contains(&name) {
        found(Fault::UnknownParameter(name.to_owned()));
    }
}

fn look_at_text(text: &Text, known: &[&str], found: &mut impl FnMut(Fault)) {
    match text {
        Text::Param(name) => look_at_parameter(name, known, found),
        Text::Literal(words) => {
            let mut words_of = words.split(|c: char| !c.is_ascii_alphanumeric());
            if words_of.any(|word| known.contains(&word)) {
                found(Fault::NotFilledIn(words.clone()));
            }
        }
        Text::Append(_) => {
            // However it is nested, it names the texts one after the other.
            let mut parts = Vec::new();
            pieces(text, &mut parts);
            for pair in parts.windows(2) {
                let begins_below =
                    matches!(pair[1], Text::Literal(after) if after.starts_with('/'));
                if let Text::Param(name) = pair[0]
                    && !begins_below
                {
                    found(Fault::Beside(name.clone()));
                }
            }
            for part in parts {
                look_at_text(part, known, found);
            }
        }
    }
}

/// The parameters and literals of a text, in order.
fn pieces<'a>(text: &'a Text, into: &mut Vec<&'a Text>) {
    match text {
        Text::Append(parts) => parts.iter().for_each(|part| pieces(part, into)),
        piece => into.push(piece),
    }
}

fn look_at_rule(rule: &Rule, known: &[&str], found: &mut impl FnMut(Fault)) {
    // What is unknown is the evaluation's to say.
    for (_, operation) in meanings(rule).into_iter().flatten() {
        let known = filters_of(operation);
        for filter in &rule.filters {
            if !known.contains(&filter.name.as_str()) {
                found(Fault::Filter {
                    operation: operation.to_owned(),
                    filter: filter.name.clone(),
                });
            }
        }
    }
    let connects = rule
        .operations
        .iter()
        .any(|name| name == "network-outbound");
    let allows = rule.action == Action::Allow;
    for filter in &rule.filters {
        for argument in &filter.arguments {
            let Argument::Text(text) = argument else {
                continue;
            };
            let is_given = matches!(text, Text::Param(name) if name == SOCKET);
            if connects && allows && filter.name == "literal" && !is_given {
                found(Fault::Socket);
            }
            look_at_text(text, known, found);
            let is_path = ["literal", "subpath", "path-ancestors"].contains(&filter.name.as_str());
            if let (true, Ok(path)) = (is_path, value(text, &placeholders("reader", known))) {
                // Nothing is too much to deny.
                let is_tree = filter.name == "subpath" && allows;
                look_at_path(&path, is_tree, found);
            }
        }
    }
}

/// The filters that Apple's compiler knows for an operation, as far as shipping profiles show them. What takes a
/// pattern is left out: a pattern has no counterpart on Linux and surprises on macOS.
fn filters_of(operation: &str) -> &'static [&'static str] {
    match operation {
        "file-read-metadata" | "file-read-xattr" | "file-test-existence" => {
            &["literal", "subpath", "path-ancestors", "vnode-type"]
        }
        "file-write-create" => &["literal", "subpath", "vnode-type"],
        name if name.starts_with("file-") || name.starts_with("process-exec") => {
            &["literal", "subpath"]
        }
        "signal" | "process-info*" => &["target"],
        "network-outbound" => &["remote", "literal", "subpath"],
        "network-bind" | "network-inbound" => &["local"],
        "mach-lookup" | "mach-register" => &["global-name", "local-name", "xpc-service-name"],
        "appleevent-send" => &["appleevent-destination"],
        "iokit-open" | "iokit-open*" | "iokit-get-properties" => {
            &["iokit-registry-entry-class", "iokit-user-client-class"]
        }
        name if name.starts_with("ipc-posix-") => &["ipc-posix-name"],
        "sysctl-read" => &["sysctl-name"],
        "authorization-right-obtain" => &["right-name"],
        "distributed-notification-post" | "darwin-notification-post" => &["notification-name"],
        name if name.contains("-preference-") => &["preference-domain"],
        // process-fork, lsopen: all or nothing.
        _ => &[],
    }
}

/// Links that a system has where others have folders.
const LINKS: [(&str, &str); 5] = [
    ("/tmp", "macOS"),
    ("/var", "macOS"),
    ("/etc", "macOS"),
    ("/System/Volumes/Data", "macOS"),
    ("/proc/self", "Linux"),
];
/// Trees two folders deep that are as wide as one folder deep is elsewhere.
const WIDE: [&str; 6] = [
    // The person's own terminals are there too.
    "/dev/pts",
    "/private/etc",
    "/private/tmp",
    "/private/var",
    "/usr/local",
    "/usr/share",
];

fn look_at_path(path: &str, is_tree: bool, found: &mut impl FnMut(Fault)) {
    // What is not spelled in the one way is the evaluation's to say, where Linux has the operation at all.
    if !is_normal(path) {
        return found(Fault::Refused(Reason::Path(path.to_owned())));
    }
    let below = |folder: &str| {
        path.strip_prefix(folder)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    // Two files of the program's own are granted by these names: see `linux/files.rs`.
    let own = ["/proc/self/maps", "/proc/self/stat"].contains(&path);
    let link = LINKS.iter().find(|(folder, _)| below(folder) && !own);
    if let Some((_, system)) = link {
        found(Fault::Link {
            path: path.to_owned(),
            system,
        });
    }
    let depth = path.split('/').filter(|part| !part.is_empty()).count();
    if is_tree && (depth < 2 || WIDE.contains(&path)) {
        found(Fault::Wide(path.to_owned()));
    } else if ["/home", "/Users", "/root"].iter().any(|home| below(home)) {
        found(Fault::Home(path.to_owned()));
    }
}

/// The operations that a form denies without a filter although they can have one.
fn bare_denials(form: &Form) -> impl Iterator<Item = &str> {
    let rules = match &form.what {
        Clause::SystemCalls(_) => [None, None],
        Clause::Rule(rule) => [Some(rule), None],
        Clause::If {
            then, otherwise, ..
        } => [Some(then), otherwise.as_ref()],
    };
    let denials = rules.into_iter().flatten();
    let denials = denials.filter(|rule| rule.action == Action::Deny && rule.filters.is_empty());
    let names = denials.flat_map(|rule| rule.operations.iter().map(String::as_str));
    names.filter(|name| *name == "network*" || !filters_of(name).is_empty())
}

/// The line of a later rule that allows again what `denied` takes away in part, or allows the whole.
fn overruled(denied: &Rule, later: &[Form]) -> Option<u32> {
    if denied.action == Action::Allow {
        return None;
    }
    let again = |rule: &Rule| {
        let same = |name: &String| denied.operations.iter().any(|other| overlap(name, other));
        // To deny all and then allow a part is how a part is said.
        let of_part = !denied.filters.is_empty() && !denied.filters.iter().all(names_all);
        let whole = rule.filters.is_empty() || of_part;
        rule.action == Action::Allow && whole && rule.operations.iter().any(same)
    };
    let form = later.iter().find(|form| match &form.what {
        Clause::SystemCalls(_) => false,
        Clause::Rule(rule) => again(rule),
        Clause::If {
            then, otherwise, ..
        } => std::iter::once(then).chain(otherwise).any(again),
    });
    form.map(|form| form.line)
}

fn names_all(filter: &Filter) -> bool {
    whole(filter).is_some()
}

/// Whether two operations speak of one act: `file-write*` of all that begins so.
fn overlap(one: &str, other: &str) -> bool {
    let covers = |wide: &str, name: &str| {
        wide.strip_suffix('*')
            .is_some_and(|family| name.starts_with(family))
    };
    one == other || covers(one, other) || covers(other, one)
}

/// Whether a rule names every address and every socket.
fn takes_back_network(rule: &Rule) -> bool {
    [Whole::Addresses, Whole::Sockets].iter().all(|all| {
        let mut named = rule.filters.iter().filter_map(whole);
        named.any(|named| named == *all)
    })
}

/// What the base allows and the profile neither denies nor, knowing what it does, allows.
fn not_taken_back(profile: &Profile) -> impl Iterator<Item = Finding> + '_ {
    let line = profile.import.unwrap_or(1);
    TAKEN_BACK
        .into_iter()
        .filter(|operation| {
            let says = |form: &&Form| match &form.what {
                Clause::Rule(rule) => {
                    let denies = rule.action == Action::Deny
                        && match *operation {
                            "network-outbound" => takes_back_network(rule),
                            _ => rule.filters.is_empty(),
                        };
                    let allows = rule.action == Action::Allow && *operation == "process-fork";
                    (denies || allows) && rule.operations.iter().any(|name| name == operation)
                }
                // What is denied in one branch alone is not denied.
                Clause::If { .. } | Clause::SystemCalls(_) => false,
            };
            profile.forms.iter().find(says).is_none()
        })
        .map(move |operation| Finding {
            line,
            rule: "(import \"bsd.sb\")".to_owned(),
            fault: Fault::NotTakenBack(operation),
        })
}
