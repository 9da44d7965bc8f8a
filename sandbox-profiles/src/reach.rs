//! A profile in words: what a worker may do under it, each with the profile's own reason, and what the system does
//! not hide from it.
//!
//! Invariant: the words are of the [`Ruleset`] that is enforced, not of a second reading of the rules; where they say
//! nothing, nothing is allowed.

use serde::{Deserialize, Serialize};
use std::fmt;

use crate::lint::reason;
use crate::profile::{Action, Argument, Profile, ProfileError, Rule, SystemCalls};
use crate::ruleset::{
    Extent, Host, Meaning, Origin, Parameters, PathGrant, Ruleset, in_effect, meanings,
};

/// One thing that a worker may do, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AllowedAction {
    /// What, in words, with the parameters filled in.
    pub what: String,
    /// The reason that the profile gives.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// The line of its rule.
    pub line: u32,
}

/// All that a worker may do. What is not here is denied.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Reach {
    /// Files that it may read.
    pub may_read: Vec<AllowedAction>,
    /// Files that it may change, create and remove.
    pub may_write: Vec<AllowedAction>,
    /// Programs that it may run.
    pub may_run: Vec<AllowedAction>,
    /// Whom it may talk to: ports, and on macOS apps and services of the system.
    pub may_talk_to: Vec<AllowedAction>,
    /// Other things, by the names that macOS has for them.
    pub may_also: Vec<AllowedAction>,
    /// What this system lets through beyond that, one sentence each.
    pub not_hidden: Vec<String>,
}

/// A system that the gateway runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Platform {
    /// Linux: Landlock and seccomp.
    Linux,
    /// macOS: Seatbelt.
    MacOs,
}

impl Platform {
    /// The one that this program was built for.
    #[must_use]
    pub const fn here() -> Self {
        if cfg!(target_os = "macos") {
            Self::MacOs
        } else {
            Self::Linux
        }
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Linux => "Linux",
            Self::MacOs => "macOS",
        })
    }
}

/// What Apple's base lets through beside a profile. From reading it; nobody has measured it yet.
const NOT_HIDDEN_ON_MACOS: [&str; 3] = [
    "metadata of any path (existence, size, times) can be read",
    "Apple's bsd.sb also grants services of the system and the list of accounts",
    "a new session or process group can be made",
];

/// Where Homebrew keeps what it installs, on a Mac.
const MACOS_ALONE: &str = "/opt/homebrew";

/// The operation that maps a file as code.
const MAPS: &str = "file-map-executable";

/// The base in words: of what it grants, these two alone are more than reading.
const NEEDED_ON_LINUX: &str =
    "what any program needs to start; of that, it may also run the loader and write to /dev/null";

/// What `profile`, a text, lets a worker do under `parameters`.
/// # Errors
/// As [`Ruleset::evaluate`].
pub fn reach(
    profile: &str,
    parameters: &Parameters,
    system: Platform,
) -> Result<Reach, ProfileError> {
    let read = Profile::parse(profile)?;
    let ruleset = Ruleset::evaluate(&read, parameters)?;
    let may = |what: String, line| AllowedAction {
        what,
        why: reason(profile, line).map(str::to_owned),
        line,
    };
    let place = |grant: &PathGrant| {
        let path = grant.path.display();
        let what = match grant.extent {
            Extent::Literal if grant.path.as_os_str() == "/" => "the names in /".to_owned(),
            Extent::Literal => path.to_string(),
            Extent::Subtree => format!("{path} and all below it"),
        };
        may(what, grant.origin.line)
    };
    // On Linux a folder alone grants nothing, and neither does a place of macOS that is missing.
    let here = |grant: &&PathGrant| {
        let is_missing = grant.path.starts_with(MACOS_ALONE) && !grant.path.exists();
        system == Platform::MacOs
            || !is_missing && (grant.extent == Extent::Subtree || grant.path.as_os_str() != "/")
    };
    let places = |grants: &[PathGrant]| grants.iter().filter(here).map(place).collect();
    let mut reach = Reach {
        may_read: places(&ruleset.reads),
        may_write: places(&ruleset.writes),
        may_run: places(&ruleset.executes),
        not_hidden: match system {
            Platform::Linux => ruleset.residuals(),
            Platform::MacOs => NOT_HIDDEN_ON_MACOS.map(str::to_owned).into(),
        },
        ..Reach::default()
    };
    if let Some(Origin { line, .. }) = ruleset.base {
        let what = match system {
            Platform::Linux => NEEDED_ON_LINUX,
            Platform::MacOs => "what any program needs to start",
        };
        reach.may_read.push(may(what.to_owned(), line));
    }
    for grant in &ruleset.connects {
        let whose = match grant.host {
            Host::Localhost => "this machine",
            Host::Any => "any machine",
        };
        let what = format!("TCP port {} of {whose}", grant.port);
        reach.may_talk_to.push(may(what, grant.origin.line));
    }
    for grant in &ruleset.sockets {
        let what = format!("the Unix socket {}", grant.path.display());
        reach.may_talk_to.push(may(what, grant.origin.line));
    }
    if let Some(grant) = &ruleset.accepts {
        let what = format!("whoever connects to its own TCP port {}", grant.port);
        reach.may_talk_to.push(may(what, grant.origin.line));
    }
    let filled = read.expanded(parameters)?;
    for (form, rule) in in_effect(&filled, parameters)? {
        if rule.action == Action::Deny {
            continue;
        }
        for (meaning, operation) in meanings(rule).into_iter().flatten() {
            let list = match meaning {
                Meaning::Fork if ruleset.forks => &mut reach.may_also,
                Meaning::Signal | Meaning::Metadata | Meaning::Control => &mut reach.may_also,
                // Linux has no such thing; code that may be read or run may be mapped.
                Meaning::Absent if system == Platform::Linux || operation == MAPS => continue,
                Meaning::Absent if talks(operation) => &mut reach.may_talk_to,
                Meaning::Absent => &mut reach.may_also,
                _ => continue,
            };
            list.push(may(in_words(operation, rule), form.line));
        }
    }
    if ruleset.system_calls == SystemCalls::Agent {
        reach.may_also.push(AllowedAction {
            what: "use any system call but those that reach around the cage".to_owned(),
            why: None,
            line: 1,
        });
    }
    Ok(reach)
}

fn talks(operation: &str) -> bool {
    ["mach-lookup", "appleevent-send"].contains(&operation)
}

/// An operation that is about no path and no port.
fn in_words(operation: &str, rule: &Rule) -> String {
    let about: Vec<String> = rule
        .filters
        .iter()
        .flat_map(|filter| &filter.arguments)
        .map(|argument| match argument {
            Argument::Symbol(word) => word.clone(),
            Argument::Text(text) => text.to_string(),
        })
        .collect();
    let about = about.join(", ");
    match operation {
        "process-fork" => "start processes".to_owned(),
        "lsopen" => "open any app or address, as a person would".to_owned(),
        "signal" if about == "self" => "signal itself".to_owned(),
        "signal" => format!("signal: {about}"),
        "file-ioctl" => format!("control the device {about}"),
        "appleevent-send" => format!("the app {about}"),
        "mach-lookup" => format!("the system's service {about}"),
        other => format!("{other} {about}"),
    }
}
