//! Whether Seatbelt allows an operation under a profile, said without a Mac: Apple's rules of evaluation as far as they are
//! known, applied to our part of the language.
//!
//! ```text
//! profile + parameters ─expand▶ rules ─┐
//!                 Apple's bsd.sb: base ─┴▶ for each spelling of the operation, the most exact first:
//!                     the last matching rule with a filter ▸ else the last rule without one ▸ else the next spelling
//!                 ▸ else (deny default)
//! ```
//!
//! Two rules with filters: the later wins. A rule without a filter decides only where no rule with one matches, whichever
//! stands later. A more exact spelling is asked first (`file-read-data` before `file-read*`).
//!
//! Invariants: an [`Answer`] names the rule that decided and says how well that is known; a filter that is not understood
//! is an error, never "does not match".
//!
//! Must not know: what a connector is for, Linux, or the machine it runs on. Nothing enforces an answer; Apple's compiler
//! and kernel have the last word.

mod base;
mod filter;
mod operation;

use std::fmt;

use crate::profile::{Action, Clause, Profile, ProfileError, Rule};
use crate::ruleset::Parameters;
use filter::Pattern;
pub use operation::{Address, Endpoint, Kind, Operation, Place, Receiver};

/// How well something about Seatbelt is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Evidence {
    /// Concluded from what is known, one report alone, or read in a text that nobody was seen to rely on.
    Assumed,
    /// Measured on a Mac by others, or software that ships breaks without it. Decision 0137 lists the sources; each rule of the
    /// base names its own.
    Measured,
}

/// What decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decider {
    /// The rule of the profile on this line.
    Rule(u32),
    /// A rule of Apple's `bsd.sb`, as it is known.
    Base(&'static str),
    /// No rule: `(deny default)`.
    Default,
}

/// What Seatbelt says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It lets the operation through.
    Allowed(Decider, Evidence),
    /// It refuses it.
    Denied(Decider, Evidence),
}

impl Answer {
    /// Whether the operation goes through.
    #[must_use]
    pub fn allows(self) -> bool {
        matches!(self, Self::Allowed(..))
    }

    /// How well that is known.
    #[must_use]
    pub fn evidence(self) -> Evidence {
        let (Self::Allowed(_, evidence) | Self::Denied(_, evidence)) = self;
        evidence
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (verdict, decider, evidence) = match self {
            Self::Allowed(decider, evidence) => ("allowed", decider, evidence),
            Self::Denied(decider, evidence) => ("denied", decider, evidence),
        };
        let evidence = match evidence {
            Evidence::Measured => "measured",
            Evidence::Assumed => "assumed",
        };
        match decider {
            Decider::Rule(line) => write!(f, "{verdict} by line {line} ({evidence})"),
            Decider::Base(rule) => write!(f, "{verdict} by bsd.sb: {rule} ({evidence})"),
            Decider::Default => write!(f, "{verdict} by default ({evidence})"),
        }
    }
}

/// A profile as Seatbelt evaluates it.
#[derive(Clone, Debug)]
pub struct Seatbelt {
    rules: Vec<EvaluatedRule>,
    imports: bool,
}

/// A rule and where it comes from.
#[derive(Clone, Debug)]
struct EvaluatedRule {
    action: Action,
    operations: Vec<String>,
    /// Any that matches is enough; none is a rule without a filter.
    patterns: Vec<Pattern>,
    decider: Decider,
    evidence: Evidence,
}

impl Seatbelt {
    /// Reads `profile` with `parameters` filled in.
    /// # Errors
    /// As [`Profile::expanded`], and a filter that this evaluator does not know.
    pub fn new(profile: &Profile, parameters: &Parameters) -> Result<Self, ProfileError> {
        let imports = profile.import.is_some();
        let mut rules = base::implicit()?;
        if imports {
            rules.extend(base::rules()?);
        }
        for form in profile.expanded(parameters)?.forms {
            let rule = match &form.what {
                Clause::Rule(rule) => rule,
                // Expanded away, or nothing to Apple's compiler.
                Clause::If { .. } | Clause::SystemCalls(_) => continue,
            };
            let evaluated = EvaluatedRule::new(rule, Decider::Rule(form.line), Evidence::Measured);
            rules.push(evaluated.map_err(|reason| ProfileError::new(form.line, &form, reason))?);
        }
        Ok(Self { rules, imports })
    }

    /// What Seatbelt says to `operation`.
    #[must_use]
    pub fn ask(&self, operation: &Operation) -> Answer {
        let spellings = self.spellings(operation.name());
        for (at, spelling) in spellings.iter().enumerate() {
            let of = |rule: &&EvaluatedRule| rule.operations.iter().any(|name| name == spelling);
            let mut all = self.rules.iter().filter(of);
            let mut filtered = all.clone().filter_map(|rule| rule.matches(operation));
            if let Some((rule, evidence)) = filtered.next_back() {
                return rule.answer(evidence);
            }
            if let Some(rule) = all.rfind(|rule| rule.patterns.is_empty()) {
                // Whether a filter of a wider spelling is asked before a bare rule of this one: nobody has said.
                let doubted = self.decides_otherwise(rule.action, &spellings[at + 1..], operation);
                return rule.answer(if doubted {
                    Evidence::Assumed
                } else {
                    Evidence::Measured
                });
            }
        }
        // A denial is only as certain as what the base is known not to allow.
        let assumed = self.imports && base::may_allow_more(operation);
        Answer::Denied(
            Decider::Default,
            if assumed {
                Evidence::Assumed
            } else {
                Evidence::Measured
            },
        )
    }

    /// The spellings under which rules speak of `name`, the most exact first.
    fn spellings(&self, name: &str) -> Vec<&str> {
        let covers = |spelling: &&str| {
            *spelling == name
                || spelling
                    .strip_suffix('*')
                    .is_some_and(|family| name.starts_with(family))
        };
        let all = self.rules.iter().flat_map(|rule| &rule.operations);
        let mut found: Vec<&str> = all.map(String::as_str).filter(covers).collect();
        // The exact name has no `*`: of equal length it comes first.
        found.sort_unstable_by_key(|spelling| {
            (spelling.ends_with('*'), std::cmp::Reverse(spelling.len()))
        });
        found.dedup();
        found
    }

    fn decides_otherwise(&self, action: Action, spellings: &[&str], operation: &Operation) -> bool {
        self.rules.iter().any(|rule| {
            let wider = rule
                .operations
                .iter()
                .any(|name| spellings.contains(&name.as_str()));
            wider && rule.action != action && rule.matches(operation).is_some()
        })
    }
}

impl EvaluatedRule {
    fn new(
        rule: &Rule,
        decider: Decider,
        evidence: Evidence,
    ) -> Result<Self, crate::profile::Reason> {
        let patterns = rule.filters.iter().map(Pattern::new);
        Ok(Self {
            action: rule.action,
            operations: rule.operations.clone(),
            patterns: patterns.collect::<Result<_, _>>()?,
            decider,
            evidence,
        })
    }

    /// The rule and how certain the match is, where one of its filters matches.
    fn matches(&self, operation: &Operation) -> Option<(&Self, Evidence)> {
        let found = self
            .patterns
            .iter()
            .filter_map(|pattern| pattern.matches(operation));
        found.max().map(|evidence| (self, evidence))
    }

    fn answer(&self, evidence: Evidence) -> Answer {
        let evidence = evidence.min(self.evidence);
        match self.action {
            Action::Allow => Answer::Allowed(self.decider, evidence),
            Action::Deny => Answer::Denied(self.decider, evidence),
        }
    }
}
