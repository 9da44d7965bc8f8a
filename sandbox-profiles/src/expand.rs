//! A profile with its parameters filled in: what Apple's compiler makes of the text and the `-D`s, as text again.
//!
//! For people and for tests. The gateway hands over the profile as it is written and the parameters beside it: a
//! path never becomes part of a program.

use crate::profile::{Argument, Clause, Filter, Form, Profile, ProfileError, Reason, Rule, Text};
use crate::ruleset::{Parameters, in_effect, value};

impl Profile {
    /// The rules that hold under `parameters`, in order and on the lines they came from, with every text filled in.
    /// # Errors
    /// A parameter that is missing, an operation that nobody knows.
    pub fn expanded(&self, parameters: &Parameters) -> Result<Self, ProfileError> {
        let mut forms = Vec::new();
        for form in &self.forms {
            if matches!(form.what, Clause::SystemCalls(_)) {
                forms.push(form.clone());
            }
        }
        for (form, rule) in in_effect(self, parameters)? {
            let filled = filled(rule, parameters)
                .map_err(|reason| ProfileError::new(form.line, form, reason))?;
            forms.push(Form {
                line: form.line,
                what: Clause::Rule(filled),
            });
        }
        forms.sort_by_key(|form| form.line);
        Ok(Self {
            import: self.import,
            forms,
        })
    }
}

fn filled(rule: &Rule, parameters: &Parameters) -> Result<Rule, Reason> {
    let argument = |argument: &Argument| match argument {
        Argument::Symbol(word) => Ok(Argument::Symbol(word.clone())),
        Argument::Text(text) => {
            value(text, parameters).map(|text| Argument::Text(Text::Literal(text)))
        }
    };
    let filter = |filter: &Filter| {
        let arguments = filter.arguments.iter().map(argument);
        Ok(Filter {
            name: filter.name.clone(),
            arguments: arguments.collect::<Result<_, Reason>>()?,
        })
    };
    Ok(Rule {
        action: rule.action,
        operations: rule.operations.clone(),
        filters: rule.filters.iter().map(filter).collect::<Result<_, _>>()?,
    })
}
