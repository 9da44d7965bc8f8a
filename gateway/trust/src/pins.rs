//! What the code of a source is: its programs, the scripts that their arguments name, its folders of code, each by path and
//! SHA-256; and which of them lies where agents may write. One rule each.
//!
//! Invariants: what was found is held against what the owner agreed to, never against what was found before; a file that is
//! missing for now is no difference; what the owner agreed to for one name is gone once another file is agreed to for it; where the
//! owner is shown all that a source runs and agrees, nothing else of it is agreed to.
//!
//! Must not know: files, how a digest is made.

use crate::{Difference, Source};
use plexus_protocol::Timestamp;
use serde::{Deserialize, Serialize};

/// What a rule of a program begins with; then its name, path and digest.
pub const PROGRAM: &str = "program ";
/// What a rule of a script begins with: then where its name stands, its path and digest.
pub const SCRIPT: &str = "script ";
/// What a rule of a folder of code begins with; then its field, path and digest.
pub const FILES: &str = "files ";
/// What a rule of code that agents may change begins with.
pub const CHANGEABLE: &str = "changeable ";

/// Code that is not what the owner agreed to: nothing of its source is started.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stopped {
    /// When it was noticed.
    pub at: Timestamp,
    /// All that was found.
    pub found: Vec<String>,
    /// Whether the owner has said no to it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub denied: bool,
}

/// Whether a rule is of the code of a source.
#[must_use]
pub fn is_pin(rule: &str) -> bool {
    [PROGRAM, SCRIPT, FILES, CHANGEABLE]
        .iter()
        .any(|begin| rule.starts_with(begin))
}

/// What a rule is about, whatever lies there.
fn about(rule: &str) -> &str {
    if rule.starts_with(CHANGEABLE) {
        return rule;
    }
    let mut spaces = rule.match_indices(' ').map(|(at, _)| at);
    spaces.nth(1).and_then(|at| rule.get(..at)).unwrap_or(rule)
}

/// What a rule is about, and where that lies, whatever its content is.
fn place(rule: &str) -> &str {
    match rule.starts_with(CHANGEABLE) {
        true => rule,
        false => rule.rsplit_once(' ').map_or(rule, |(place, _)| place),
    }
}

/// What is agreed to once the owner agrees to `found`: all of it, and of before what is missing for now.
pub(crate) fn agreed(before: &[String], found: &[String]) -> Vec<String> {
    let missing = before
        .iter()
        .filter(|was| !found.iter().any(|is| about(is) == about(was)));
    found.iter().chain(missing).cloned().collect()
}

/// What is agreed to where the owner names other files: a file that is named as before is still what it was agreed to be.
pub(crate) fn named_anew(before: &[String], named: &[String]) -> Vec<String> {
    let kept = |is: &String| {
        let was = before.iter().find(|was| place(was) == place(is));
        was.unwrap_or(is).clone()
    };
    named.iter().map(kept).collect()
}

/// What a row of an earlier version is agreed to be, once: it kept what was last seen among its other rules, and nothing
/// of what it did not know.
pub(crate) fn of_an_earlier_version(base: &[String], found: &[String]) -> Vec<String> {
    let kept: Vec<String> = base.iter().filter(|rule| is_pin(rule)).cloned().collect();
    let new = found
        .iter()
        .filter(|is| !kept.iter().any(|was| about(was) == about(is)));
    let new: Vec<String> = new.cloned().collect();
    [kept, new].concat()
}

/// Whether these are the same rules, in whatever order.
#[must_use]
pub fn same(these: &[String], those: &[String]) -> bool {
    let holds = |all: &[String], some: &[String]| some.iter().all(|rule| all.contains(rule));
    holds(these, those) && holds(those, these)
}

/// Rules without those of code.
pub(crate) fn without(rules: &[String]) -> Vec<String> {
    rules.iter().filter(|rule| !is_pin(rule)).cloned().collect()
}

impl Stopped {
    /// What was found, held against what the owner agreed to; none where nothing differs.
    pub(crate) fn of(
        agreed: &[String],
        found: &[String],
        before: Option<&Self>,
        now: Timestamp,
    ) -> Option<Self> {
        if found.iter().all(|rule| agreed.contains(rule)) {
            return None;
        }
        let same = before.filter(|before| before.found == found);
        Some(same.cloned().unwrap_or(Self {
            at: now,
            found: found.to_vec(),
            denied: false,
        }))
    }

    /// What is not agreed to, and what was in its place.
    #[must_use]
    pub fn differs(&self, agreed: &[String]) -> (Vec<String>, Vec<String>) {
        let new = self.found.iter().filter(|is| !agreed.contains(is));
        let new: Vec<String> = new.cloned().collect();
        let gone = agreed
            .iter()
            .filter(|was| new.iter().any(|is| about(is) == about(was)));
        (new.clone(), gone.cloned().collect())
    }

    /// The same, for the owner's card.
    #[must_use]
    pub fn difference(&self, agreed: &[String]) -> Difference {
        let (rules, rules_gone) = self.differs(agreed);
        Difference {
            at: self.at,
            capability: None,
            words: Vec::new(),
            rules,
            rules_gone,
        }
    }
}

impl Source {
    /// What its code is now, as far as it was looked at.
    #[must_use]
    pub fn found(&self) -> &[String] {
        match &self.stopped {
            Some(stopped) => &stopped.found,
            None => self.agreed(),
        }
    }

    /// What the owner agreed that its code is.
    #[must_use]
    pub fn agreed(&self) -> &[String] {
        self.pins.as_deref().unwrap_or_default()
    }

    /// Whether its code, as far as it was looked at, is what these rules say. What of them is missing for now is no difference.
    #[must_use]
    pub fn is_as_shown(&self, rules: &[String]) -> bool {
        match &self.stopped {
            Some(stopped) => stopped.found.iter().all(|is| rules.contains(is)),
            // Its code is among all that is agreed to, which may be more than these rules: a look once they alone are finds that.
            None => rules.iter().all(|rule| self.agreed().contains(rule)),
        }
    }

    /// Whether the owner is to decide on its code.
    #[must_use]
    pub fn asks(&self) -> bool {
        self.stopped.as_ref().is_some_and(|stopped| !stopped.denied)
    }
}
