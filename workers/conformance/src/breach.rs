//! The rules, and what breaks one.

use std::fmt;

/// What a connector must hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Rule {
    /// Every callable entry of the manifest has an example, and it succeeds.
    Examples,
    /// Every answer fits the output schema of its entry, and has no member that the schema does not name.
    Answers,
    /// Reads and plans change nothing in the world: no content, no name, no mode, no time of change.
    ChangesNothing,
    /// A call that has too little time is an error or the whole answer, never less.
    Deadlines,
    /// While calls run, a probe is answered within two seconds; cancelled calls are answered and let go of.
    Promptness,
    /// Whatever the input is, the answer is no failure of the connector's own; a wrong type or a missing member is an
    /// error, and what is answered all the same fits the schema.
    Malformed,
    /// An answer names what was read, an outcome what was changed, a read nothing as changed.
    Touched,
    /// A constraint is judged on what an input came to, however it was spelled and wherever links lead.
    Constraints,
    /// A plan's state token stays while the world stays and moves when it moves; a stale one commits nothing.
    StateToken,
    /// An effect that was cancelled and says that nothing was done has changed nothing.
    Cancelled,
    /// A read whose host refuses, closes or never answers is an error or the whole answer, never less.
    Hosts,
    /// No answer, plan or error holds a secret of the source.
    Secrets,
    /// The program proves its cage in each role, answers in it, and as a reader may write nowhere; nobody writes in a
    /// path that is only read.
    Cage,
}

impl Rule {
    /// All of them.
    pub const ALL: [Self; 13] = [
        Self::Examples,
        Self::Answers,
        Self::ChangesNothing,
        Self::Deadlines,
        Self::Promptness,
        Self::Malformed,
        Self::Touched,
        Self::Constraints,
        Self::StateToken,
        Self::Cancelled,
        Self::Hosts,
        Self::Secrets,
        Self::Cage,
    ];

    /// Its name in words.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Examples => "every capability has an example that succeeds",
            Self::Answers => "answers fit the manifest",
            Self::ChangesNothing => "reads and plans change nothing",
            Self::Deadlines => "too little time is an error, not a smaller answer",
            Self::Promptness => "probes and cancellations are answered promptly",
            Self::Malformed => "malformed input is an error, not a failure",
            Self::Touched => "touched names what was read and changed",
            Self::Constraints => "constraints are judged on what an input came to",
            Self::StateToken => "the state token follows the world",
            Self::Cancelled => "a cancelled effect says what it did",
            Self::Hosts => "a host that cannot be reached is an error, not a smaller answer",
            Self::Secrets => "secrets stay inside",
            Self::Cage => "the cage holds",
        }
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// One rule that does not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Breach {
    /// Which.
    pub rule: Rule,
    /// The capability, or the role.
    pub at: String,
    /// What was seen, with the input that shows it.
    pub what: String,
}

impl fmt::Display for Breach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}: {}", self.rule, self.at, self.what)
    }
}
