//! What Apple's `bsd.sb` allows, with the `system.sb` that it imports, as far as it is known: a small model, which a Mac may
//! widen at each release. What no profile of ours could lean on (graphics, kernel extensions) is left out.

use super::{Decider, EvaluatedRule, Evidence, Operation};
use crate::profile::{Clause, Profile, ProfileError};

/// A rule of the base in our language, and how well it is known.
///
/// Sources: Firefox carries the `system.sb` of macOS 10.13 word by word; two programs check the present one at their start and
/// go on only if the log socket is the one address in it; the rest was measured through profiles that import it. What was read
/// in the old text alone is assumed.
const RULES: &[(&str, Evidence)] = &[
    // Measured: a stat passes, the same file's content does not.
    ("(allow file-read-metadata)", Evidence::Measured),
    // Measured: no child where it is denied, and children where only the base speaks of them.
    ("(allow process-fork)", Evidence::Measured),
    ("(allow sysctl-read)", Evidence::Measured),
    (
        "(allow file-read* (subpath \"/System\") (subpath \"/usr/lib\") (subpath \"/usr/share\") (subpath \"/private/var/db/dyld\"))",
        Evidence::Measured,
    ),
    (
        "(allow file-map-executable (subpath \"/System/Library\") (subpath \"/usr/lib\"))",
        Evidence::Measured,
    ),
    (
        "(allow file-read* (literal \"/dev/random\") (literal \"/dev/urandom\") (literal \"/private/etc/localtime\"))",
        Evidence::Measured,
    ),
    (
        "(allow file-read* file-write-data (literal \"/dev/null\") (literal \"/dev/zero\"))",
        Evidence::Measured,
    ),
    (
        "(allow file-read* file-write-data file-ioctl (literal \"/dev/dtracehelper\"))",
        Evidence::Measured,
    ),
    (
        "(allow file-read* (literal \"/private/etc/passwd\") (literal \"/private/etc/master.passwd\"))",
        Evidence::Assumed,
    ),
    (
        "(allow file-read* (subpath \"/private/var/db/timezone\") (subpath \"/usr/share/zoneinfo\"))",
        Evidence::Measured,
    ),
    // macOS 26: the loader aborts without; whether the base has it since is not said.
    ("(allow file-read* (literal \"/\"))", Evidence::Assumed),
    (
        "(allow network-outbound (literal \"/private/var/run/syslog\"))",
        Evidence::Measured,
    ),
    (
        "(allow network-outbound (literal \"/private/var/run/asl_input\"))",
        Evidence::Assumed,
    ),
    // Core files; the limit of their size is 0 for a worker.
    (
        "(allow file-write-create (prefix \"/cores/\"))",
        Evidence::Assumed,
    ),
    (
        "(allow mach-lookup (global-name \"com.apple.system.notification_center\") (global-name \"com.apple.system.logger\") (global-name \"com.apple.logd\") (global-name \"com.apple.system.opendirectoryd.libinfo\"))",
        Evidence::Measured,
    ),
    (
        "(allow mach-lookup (global-name \"com.apple.system.opendirectoryd.membership\") (global-name \"com.apple.bsd.dirhelper\") (global-name \"com.apple.diagnosticd\"))",
        Evidence::Assumed,
    ),
    (
        "(allow mach-lookup (global-name \"com.apple.cfprefsd.agent\") (global-name \"com.apple.cfprefsd.daemon\"))",
        Evidence::Assumed,
    ),
    (
        "(allow mach-lookup (global-name \"com.apple.trustd\") (global-name \"com.apple.trustd.agent\"))",
        Evidence::Assumed,
    ),
];

/// What holds without any import.
const IMPLICIT: &[(&str, Evidence)] = &[("(allow signal (target self))", Evidence::Assumed)];

/// Where the base reads more than its model says: Apple's own places.
const APPLE: [&str; 7] = [
    "/System/",
    "/Library/",
    "/usr/",
    "/private/",
    "/dev/",
    "/bin/",
    "/sbin/",
];

pub(super) fn rules() -> Result<Vec<EvaluatedRule>, ProfileError> {
    evaluated(RULES)
}

pub(super) fn implicit() -> Result<Vec<EvaluatedRule>, ProfileError> {
    evaluated(IMPLICIT)
}

fn evaluated(table: &'static [(&str, Evidence)]) -> Result<Vec<EvaluatedRule>, ProfileError> {
    let mut all = Vec::new();
    for (text, evidence) in table {
        for form in Profile::parse(&format!("(version 1)(deny default){text}"))?.forms {
            if let Clause::Rule(rule) = &form.what {
                let rule = EvaluatedRule::new(rule, Decider::Base(text), *evidence);
                all.push(rule.map_err(|reason| ProfileError::new(form.line, &form, reason))?);
            }
        }
    }
    Ok(all)
}

/// Whether a rule of the base that nobody here has read may allow it. No report has the base grant a person's files, a
/// program, an address or an app.
pub(super) fn may_allow_more(operation: &Operation) -> bool {
    match operation {
        Operation::Read(place) | Operation::MapCode(place) => {
            APPLE.iter().any(|folder| place.path.starts_with(folder))
        }
        Operation::Control(_) | Operation::LookUp(_) | Operation::ReadPreferences(_) => true,
        _ => false,
    }
}
