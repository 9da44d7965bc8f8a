//! Nested lists to a [`Profile`]: the grammar and nothing else.

use super::sexp::{Node, Sexp};
use super::{
    Action, Argument, Clause, Condition, Filter, Form, Profile, ProfileError, Reason, Rule,
    SystemCalls, Text,
};

const RULE: &str = "(allow | deny operation ... (filter ...) ...)";
const CONDITION: &str = "(string=? text text) or (param \"NAME\")";
const FILTER: &str = "(filter word-or-text ...)";
const TEXT: &str = "\"text\", (param \"NAME\") or (string-append text ...)";
const FORM: &str =
    "a rule, (if condition rule [rule]) or (define plexus-system-calls \"leaf\" | \"agent\")";
const IMPORT: &str = "(import \"bsd.sb\")";

pub(super) fn profile(top: &[Sexp]) -> Result<Profile, ProfileError> {
    let after_header = match top {
        [version, default, rest @ ..] if is_version(version) && is_deny_default(default) => rest,
        _ => {
            return Err(ProfileError::new(
                top.first().map_or(1, |first| first.line),
                "",
                Reason::Header,
            ));
        }
    };
    let (import, forms) = match after_header {
        [first, rest @ ..] if first.head() == Some("import") => match first.tail() {
            [
                Sexp {
                    node: Node::Text(name),
                    ..
                },
            ] if name == "bsd.sb" => (Some(first.line), rest),
            _ => return Err(first.refuse(IMPORT)),
        },
        all => (None, all),
    };
    Ok(Profile {
        import,
        forms: forms.iter().map(form).collect::<Result<_, _>>()?,
    })
}

fn is_version(sexp: &Sexp) -> bool {
    sexp.head() == Some("version") && matches!(sexp.tail(), [one] if one.symbol() == Some("1"))
}

fn is_deny_default(sexp: &Sexp) -> bool {
    sexp.head() == Some("deny") && matches!(sexp.tail(), [what] if what.symbol() == Some("default"))
}

fn form(sexp: &Sexp) -> Result<Form, ProfileError> {
    let what = match (sexp.head(), sexp.tail()) {
        (Some("allow" | "deny"), _) => Clause::Rule(rule(sexp)?),
        (Some("if"), [when, then]) => Clause::If {
            when: condition(when)?,
            then: rule(then)?,
            otherwise: None,
        },
        (Some("if"), [when, then, otherwise]) => Clause::If {
            when: condition(when)?,
            then: rule(then)?,
            otherwise: Some(rule(otherwise)?),
        },
        (
            Some("define"),
            [
                name,
                Sexp {
                    node: Node::Text(value),
                    ..
                },
            ],
        ) if name.symbol() == Some("plexus-system-calls") => {
            Clause::SystemCalls(match value.as_str() {
                "leaf" => SystemCalls::Leaf,
                "agent" => SystemCalls::Agent,
                _ => return Err(sexp.refuse(FORM)),
            })
        }
        _ => return Err(sexp.refuse(FORM)),
    };
    Ok(Form {
        line: sexp.line,
        what,
    })
}

fn rule(sexp: &Sexp) -> Result<Rule, ProfileError> {
    let action = match sexp.head() {
        Some("allow") => Action::Allow,
        Some("deny") => Action::Deny,
        _ => return Err(sexp.refuse(RULE)),
    };
    let operations: Vec<String> = sexp
        .tail()
        .iter()
        .map_while(Sexp::symbol)
        .map(str::to_owned)
        .collect();
    // `default` is no operation: `(allow default)` is the one line that would undo all others.
    if operations.is_empty() || operations.iter().any(|name| name == "default") {
        return Err(sexp.refuse(RULE));
    }
    let filters = sexp
        .tail()
        .iter()
        .skip(operations.len())
        .map(filter)
        .collect::<Result<_, _>>()?;
    Ok(Rule {
        action,
        operations,
        filters,
    })
}

fn filter(sexp: &Sexp) -> Result<Filter, ProfileError> {
    match (sexp.head(), sexp.tail()) {
        (Some(name), arguments @ [_, ..]) => Ok(Filter {
            name: name.to_owned(),
            arguments: arguments.iter().map(argument).collect::<Result<_, _>>()?,
        }),
        _ => Err(sexp.refuse(FILTER)),
    }
}

fn argument(sexp: &Sexp) -> Result<Argument, ProfileError> {
    match &sexp.node {
        Node::Symbol(word) => Ok(Argument::Symbol(word.clone())),
        Node::Text(_) | Node::List(_) => text(sexp).map(Argument::Text),
    }
}

fn condition(sexp: &Sexp) -> Result<Condition, ProfileError> {
    match (sexp.head(), sexp.tail()) {
        (Some("string=?"), [left, right]) => Ok(Condition::Equal(text(left)?, text(right)?)),
        (
            Some("param"),
            [
                Sexp {
                    node: Node::Text(name),
                    ..
                },
            ],
        ) => Ok(Condition::Given(name.clone())),
        _ => Err(sexp.refuse(CONDITION)),
    }
}

fn text(sexp: &Sexp) -> Result<Text, ProfileError> {
    match (&sexp.node, sexp.head(), sexp.tail()) {
        (Node::Text(value), _, _) => Ok(Text::Literal(value.clone())),
        (
            _,
            Some("param"),
            [
                Sexp {
                    node: Node::Text(name),
                    ..
                },
            ],
        ) => Ok(Text::Param(name.clone())),
        (_, Some("string-append"), parts @ [_, ..]) => Ok(Text::Append(
            parts.iter().map(text).collect::<Result<_, _>>()?,
        )),
        _ => Err(sexp.refuse(TEXT)),
    }
}

impl Sexp {
    fn symbol(&self) -> Option<&str> {
        match &self.node {
            Node::Symbol(word) => Some(word),
            Node::Text(_) | Node::List(_) => None,
        }
    }

    fn head(&self) -> Option<&str> {
        match &self.node {
            Node::List(items) => items.first().and_then(Self::symbol),
            Node::Text(_) | Node::Symbol(_) => None,
        }
    }

    fn tail(&self) -> &[Self] {
        match &self.node {
            Node::List(items) => items.get(1..).unwrap_or_default(),
            Node::Text(_) | Node::Symbol(_) => &[],
        }
    }

    fn refuse(&self, expected: &'static str) -> ProfileError {
        let shown = match self.head() {
            Some(name) => format!("({name} ...)"),
            None => self.symbol().unwrap_or_default().to_owned(),
        };
        ProfileError::new(self.line, shown, Reason::Grammar(expected))
    }
}
