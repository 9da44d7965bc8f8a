//! What Apple's `bsd.sb` allows, with the `system.sb` that it imports, as far as it is known: a small model, which a Mac may
//! widen at each release. What no profile of ours could lean on (graphics, kernel extensions) is left out.

use super::{Decider, EvaluatedRule, Evidence, Operation};
use crate::profile::{Clause, Profile, ProfileError};

/// A rule of the base in our language, how well it is known, and who says so: a report by its name, listed in decision 0137.
///
/// Measured is what programs that import the base were seen to have, or to rely on, and what an audit of a release found in its
/// text. What is said of it otherwise is assumed; the rehearsal asks each such answer that has a place among its questions.
type BaseRule = (&'static str, Evidence, &'static str);

#[rustfmt::skip]
const RULES: &[BaseRule] = &[
    // A stat passes, the same file's content does not.
    ("(allow file-read-metadata)", Evidence::Measured, STAT),
    // No child where it is denied, and children where only the base speaks of them.
    ("(allow process-fork)", Evidence::Measured, "tya5/reyn#1930"),
    // Threads of Rust abort without.
    ("(allow sysctl-read)", Evidence::Measured, "avalan-ai/avalan#1060"),
    ("(allow file-read* (subpath \"/System\") (subpath \"/usr/lib\") (subpath \"/usr/share\"))", Evidence::Measured, AUDIT),
    ("(allow file-read* (subpath \"/private/var/db/dyld\"))", Evidence::Assumed, FIREFOX),
    ("(allow file-map-executable (subpath \"/System/Library\") (subpath \"/usr/lib\"))", Evidence::Measured, AUDIT),
    ("(allow file-read* (literal \"/dev/random\") (literal \"/dev/urandom\"))", Evidence::Measured, AUDIT),
    // The audit has its metadata alone: it is a link.
    ("(allow file-read* (literal \"/private/etc/localtime\"))", Evidence::Assumed, FIREFOX),
    ("(allow file-read* file-write-data (literal \"/dev/null\") (literal \"/dev/zero\"))", Evidence::Measured, AUDIT),
    ("(allow file-read* file-write-data file-ioctl (literal \"/dev/dtracehelper\"))", Evidence::Measured, AUDIT),
    ("(allow file-read* (literal \"/private/etc/passwd\") (literal \"/private/etc/master.passwd\"))", Evidence::Assumed, AUDIT),
    ("(allow file-read* (subpath \"/private/var/db/timezone\") (subpath \"/usr/share/zoneinfo\"))", Evidence::Measured, AUDIT),
    // macOS 26: the loader aborts without; whether the base had it before is not said.
    ("(allow file-read* (literal \"/\"))", Evidence::Assumed, AUDIT),
    ("(allow network-outbound (literal \"/private/var/run/syslog\"))", Evidence::Measured, AUDIT),
    ("(allow network-outbound (literal \"/private/var/run/asl_input\"))", Evidence::Assumed, FIREFOX),
    // Core files; the limit of their size is 0 for a worker.
    ("(allow file-write-create (prefix \"/cores/\"))", Evidence::Assumed, AUDIT),
    ("(allow mach-lookup (global-name \"com.apple.system.notification_center\") (global-name \"com.apple.system.logger\") \
      (global-name \"com.apple.logd\") (global-name \"com.apple.system.opendirectoryd.libinfo\"))",
     Evidence::Measured, AUDIT),
    ("(allow mach-lookup (global-name \"com.apple.system.opendirectoryd.membership\") (global-name \"com.apple.bsd.dirhelper\") \
      (global-name \"com.apple.diagnosticd\"))",
     Evidence::Assumed, AUDIT),
    ("(allow mach-lookup (global-name \"com.apple.cfprefsd.agent\") (global-name \"com.apple.cfprefsd.daemon\"))",
     Evidence::Assumed, AUDIT),
    ("(allow mach-lookup (global-name \"com.apple.trustd\") (global-name \"com.apple.trustd.agent\"))", Evidence::Assumed, AUDIT),
];

/// The text of macOS 26.3, listed line by line.
const AUDIT: &str = "lockin, audit of system.sb";
/// The text of macOS 10.13, word by word.
const FIREFOX: &str = "Firefox, system.sb of 10.13";
/// Tests that run on a Mac.
const STAT: &str = "TestFS_StatAllowedByBsdSb";

/// What holds without any import.
const IMPLICIT: &[BaseRule] = &[(
    "(allow signal (target self))",
    Evidence::Assumed,
    "blacktop/ipsw#1268",
)];

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

fn evaluated(table: &'static [BaseRule]) -> Result<Vec<EvaluatedRule>, ProfileError> {
    let mut all = Vec::new();
    for (text, evidence, _) in table {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_row_cites_a_source_that_the_decision_lists() {
        let page = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../docs/decisions/0137-answers-of-seatbelt.md"
        );
        let page = std::fs::read_to_string(page).expect("the decision");
        let (_, listed) = page.split_once("**Sources.**").expect("its sources");
        for (rule, _, source) in RULES.iter().chain(IMPLICIT) {
            assert!(
                source.len() > 5 && listed.contains(&format!("`{source}`")),
                "{rule}: {source:?} is in no list of 0137"
            );
        }
    }
}
