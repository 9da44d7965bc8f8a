//! A [`Profile`] as text: the form in which a refusal quotes a rule, and the other half of the parser's
//! round-trip test.

use std::fmt::{Display, Formatter, Result, Write as _};

use super::{Action, Argument, Clause, Condition, Filter, Form, Profile, Rule, SystemCalls, Text};

impl Display for Profile {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        f.write_str("(version 1)\n(deny default)\n")?;
        if self.import.is_some() {
            f.write_str("(import \"bsd.sb\")\n")?;
        }
        self.forms.iter().try_for_each(|form| writeln!(f, "{form}"))
    }
}

impl Display for Form {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match &self.what {
            Clause::Rule(rule) => rule.fmt(f),
            Clause::If {
                when,
                then,
                otherwise: None,
            } => write!(f, "(if {when} {then})"),
            Clause::If {
                when,
                then,
                otherwise: Some(other),
            } => write!(f, "(if {when} {then} {other})"),
            Clause::SystemCalls(SystemCalls::Leaf) => {
                f.write_str("(define plexus-system-calls \"leaf\")")
            }
            Clause::SystemCalls(SystemCalls::Agent) => {
                f.write_str("(define plexus-system-calls \"agent\")")
            }
        }
    }
}

impl Display for Rule {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        f.write_str(match self.action {
            Action::Allow => "(allow",
            Action::Deny => "(deny",
        })?;
        self.operations
            .iter()
            .try_for_each(|name| write!(f, " {name}"))?;
        self.filters
            .iter()
            .try_for_each(|filter| write!(f, " {filter}"))?;
        f.write_char(')')
    }
}

impl Display for Filter {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        write!(f, "({}", self.name)?;
        for argument in &self.arguments {
            match argument {
                Argument::Symbol(word) => write!(f, " {word}")?,
                Argument::Text(text) => write!(f, " {text}")?,
            }
        }
        f.write_char(')')
    }
}

impl Display for Condition {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self {
            Self::Equal(left, right) => write!(f, "(string=? {left} {right})"),
            Self::Given(name) => write!(f, "(param {})", Quoted(name)),
        }
    }
}

impl Display for Text {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self {
            Self::Literal(value) => Quoted(value).fmt(f),
            Self::Param(name) => write!(f, "(param {})", Quoted(name)),
            Self::Append(parts) => {
                f.write_str("(string-append")?;
                parts.iter().try_for_each(|part| write!(f, " {part}"))?;
                f.write_char(')')
            }
        }
    }
}

struct Quoted<'a>(&'a str);

impl Display for Quoted<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        f.write_char('"')?;
        for letter in self.0.chars() {
            if matches!(letter, '"' | '\\') {
                f.write_char('\\')?;
            }
            f.write_char(letter)?;
        }
        f.write_char('"')
    }
}
