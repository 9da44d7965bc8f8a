//! The profile language: the part of Apple's sandbox language (SBPL) that our profiles use, as a tree with
//! line numbers. Apple's own compiler reads the same text on macOS.
//!
//! ```text
//! profile   := (version 1) (deny default) [(import "bsd.sb")] form*
//! form      := rule | (if condition rule [rule]) | (define plexus-system-calls "leaf" | "agent")
//! rule      := (allow | deny operation+ filter*)
//! condition := (string=? text text) | (param "NAME")
//! filter    := (name argument+)            argument := text | symbol
//! text      := "..." | (param "NAME") | (string-append text+)
//! ```
//!
//! Invariant: what is not in this grammar is refused with its line; nothing is skipped but comments.
//! This module knows no kernel and gives operations no meaning: [`crate::ruleset`] does.

mod parse;
mod print;
mod sexp;

use std::collections::BTreeSet;

/// A parsed profile. `Display` writes it back as text that parses to an equal profile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Profile {
    /// The line of `(import "bsd.sb")`, which may only stand directly after `(deny default)`.
    pub import: Option<u32>,
    /// Everything after it, in order: where two rules speak of one act, the later holds.
    pub forms: Vec<Form>,
}

/// One top-level element and the line it starts on (from 1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Form {
    /// Line of its opening parenthesis.
    pub line: u32,
    /// What it says.
    pub what: Clause,
}

/// What a form says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Clause {
    /// A rule that always holds.
    Rule(Rule),
    /// A rule that holds under a condition on the parameters.
    If {
        /// The condition.
        when: Condition,
        /// The rule if it is true.
        then: Rule,
        /// The rule if it is not.
        otherwise: Option<Rule>,
    },
    /// `(define plexus-system-calls …)`: Apple's compiler binds a name that nothing reads, Linux takes it as
    /// the flavour of the system call filter.
    SystemCalls(SystemCalls),
}

/// Which system calls a worker has on Linux.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SystemCalls {
    /// `"leaf"`: those of a program that serves files from one process; all others are refused.
    #[default]
    Leaf,
    /// `"agent"`: all but those that reach around the cage. For a coding agent, which runs the owner's tools.
    Agent,
}

/// `(allow …)` or `(deny …)`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Which of the two.
    pub action: Action,
    /// At least one operation, as spelled.
    pub operations: Vec<String>,
    /// What the operations may be done to; any one that matches is enough.
    pub filters: Vec<Filter>,
}

/// Allow or deny.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Allow.
    Allow,
    /// Deny.
    Deny,
}

/// `(name argument…)`, as in `(subpath (param "ROOT"))` or `(remote tcp "localhost:80")`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter {
    /// Its name, as spelled.
    pub name: String,
    /// At least one argument.
    pub arguments: Vec<Argument>,
}

/// An argument of a filter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Argument {
    /// A bare word, such as `tcp` or `self`.
    Symbol(String),
    /// Something that evaluates to a string.
    Text(Text),
}

/// Something that evaluates to a string.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Text {
    /// `"…"`
    Literal(String),
    /// `(param "NAME")`
    Param(String),
    /// `(string-append …)`
    Append(Vec<Text>),
}

/// What an `if` asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Condition {
    /// `(string=? a b)`
    Equal(Text, Text),
    /// `(param "NAME")`: was it given at all?
    Given(String),
}

impl Profile {
    /// Reads a profile.
    /// # Errors
    /// The first thing that is not in the grammar, with its line.
    pub fn parse(text: &str) -> Result<Self, ProfileError> {
        parse::profile(&sexp::read(text)?)
    }

    /// The flavour of its system call filter: what it says last of that.
    #[must_use]
    pub fn system_calls(&self) -> SystemCalls {
        let said = self.forms.iter().rev().find_map(|form| match form.what {
            Clause::SystemCalls(flavour) => Some(flavour),
            _ => None,
        });
        said.unwrap_or_default()
    }

    /// The names of all parameters it asks for, in whichever branch.
    #[must_use]
    pub fn parameters(&self) -> BTreeSet<&str> {
        let mut names = BTreeSet::new();
        for form in &self.forms {
            match &form.what {
                Clause::SystemCalls(_) => {}
                Clause::Rule(rule) => rule.parameters(&mut names),
                Clause::If {
                    when,
                    then,
                    otherwise,
                } => {
                    match when {
                        Condition::Given(name) => _ = names.insert(name),
                        Condition::Equal(left, right) => {
                            left.parameters(&mut names);
                            right.parameters(&mut names);
                        }
                    }
                    then.parameters(&mut names);
                    if let Some(rule) = otherwise {
                        rule.parameters(&mut names);
                    }
                }
            }
        }
        names
    }
}

impl Rule {
    fn parameters<'a>(&'a self, names: &mut BTreeSet<&'a str>) {
        for argument in self.filters.iter().flat_map(|filter| &filter.arguments) {
            if let Argument::Text(text) = argument {
                text.parameters(names);
            }
        }
    }
}

impl Text {
    fn parameters<'a>(&'a self, names: &mut BTreeSet<&'a str>) {
        match self {
            Self::Literal(_) => {}
            Self::Param(name) => _ = names.insert(name),
            Self::Append(parts) => parts.iter().for_each(|part| part.parameters(names)),
        }
    }
}

/// Why a profile is refused: where, which rule, and what about it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {}{reason}", if rule.is_empty() { String::new() } else { format!("{rule}: ") })]
pub struct ProfileError {
    /// Line of the profile, from 1.
    pub line: u32,
    /// The rule as we understood it; empty where there is none yet.
    pub rule: String,
    /// What is wrong with it.
    pub reason: Reason,
}

impl ProfileError {
    pub(crate) fn new(line: u32, rule: impl ToString, reason: Reason) -> Self {
        Self {
            line,
            rule: rule.to_string(),
            reason,
        }
    }
}

/// What is wrong with a profile.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Reason {
    /// Longer than the bound.
    #[error("the profile has {bytes} bytes, the limit is {most}")]
    TooLarge {
        /// Its length.
        bytes: usize,
        /// The bound.
        most: usize,
    },
    /// Nested deeper than the bound.
    #[error("nested deeper than {most} lists")]
    TooDeep {
        /// The bound.
        most: usize,
    },
    /// A parenthesis or quote without its partner.
    #[error("has no partner")]
    Unbalanced,
    /// A byte that has no place outside (or inside) a string.
    #[error("byte 0x{0:02x} has no place here")]
    Byte(u8),
    /// The first two forms are fixed.
    #[error("a profile begins (version 1) (deny default)")]
    Header,
    /// Not in the grammar.
    #[error("not in the part of the language we use; expected {0}")]
    Grammar(&'static str),
    /// A parameter that nobody passed.
    #[error("parameter {0} was not given")]
    MissingParameter(String),
    /// An operation that we do not know.
    #[error("unknown operation {0}")]
    UnknownOperation(String),
    /// `(allow file-read*)` and its like allow everything.
    #[error("an allowance of {0} without a filter would allow all of it")]
    Unfiltered(String),
    /// A filter that the operation cannot have, or that Linux cannot meet as narrowly as written.
    #[error("Linux can only meet {0} wider than written")]
    Wider(String),
    /// A denial of something that an earlier rule allows in part.
    #[error("Linux cannot take back a part of what line {0} allows")]
    Subtracts(u32),
    /// A path that could match something else than it says.
    #[error(
        "{0:?} is not an absolute path without empty, '.' or '..' components and control characters"
    )]
    Path(String),
    /// Not `localhost:PORT` or `*:PORT`.
    #[error("{0:?} is not localhost:PORT or *:PORT")]
    Endpoint(String),
}
