//! What a changed manifest means for a grant: whether anything but the wording differs, and what differs in words.
//!
//! Must not know: sources, agents, what the worker makes of an input, and which of two schemas accepts more: the owner
//! decides on every change.

use crate::Facts;
use plexus_protocol::{Verb, words::cut};
use serde_json::{Map, Value};
use std::collections::BTreeSet;

impl Facts {
    /// Whether nothing that decisions depend on differs: at most the wording does.
    #[must_use]
    pub fn same(&self, other: &Self) -> bool {
        (self.verbs, self.sensitivity, self.shape) == (other.verbs, other.sensitivity, other.shape)
            && self.resolved == other.resolved
    }

    /// What differs from `was`, one sentence each, in the manifest's own names.
    #[must_use]
    pub fn differences(&self, was: &Self) -> Vec<String> {
        let mut said = Vec::new();
        let verbs = |facts: &Self| {
            let words: Vec<_> = facts.verbs.iter().map(Verb::as_str).collect();
            words.join(" and ")
        };
        if self.verbs != was.verbs {
            said.push(format!("it needs {}, not {}", verbs(self), verbs(was)));
        }
        if self.sensitivity != was.sensitivity {
            let (is, was) = (self.sensitivity.as_str(), was.sensitivity.as_str());
            said.push(format!("its harm is rated {is}, it was {was}"));
        }
        let (Some(old), Some(new)) = (&was.input, &self.input) else {
            if self.shape != was.shape {
                said.push(
                    "its input or its limits changed; the version before did not keep how they were"
                        .to_owned(),
                );
            }
            return said;
        };
        if self.narrow != was.narrow || self.resolved != was.resolved {
            said.push("what a grant of it can be narrowed by has changed".to_owned());
        }
        told("", old, new, &mut said);
        if said.is_empty() && !self.same(was) {
            said.push("its input is described otherwise".to_owned());
        }
        said
    }
}

/// Says how the schema of the input, or of its part `path`, differs.
fn told(path: &str, old: &Value, new: &Value, said: &mut Vec<String>) {
    let what = match path {
        "" => "the input".to_owned(),
        path => format!("`{path}`"),
    };
    let (Value::Object(was), Value::Object(is)) = (old, new) else {
        if old != new {
            said.push(format!("{what}: {} instead of {}", brief(new), brief(old)));
        }
        return;
    };
    for name in members(was, is, Some("properties")) {
        let path = match path {
            "" => name.to_owned(),
            path => format!("{path}.{name}"),
        };
        let of = |schema: &Map<String, Value>| schema.get("properties")?.get(name).cloned();
        let must = |schema: &Map<String, Value>| {
            let list = schema.get("required").and_then(Value::as_array);
            list.is_some_and(|list| list.iter().any(|required| required == name))
        };
        match (of(was), of(is)) {
            (None, Some(_)) if must(is) => {
                said.push(format!("it takes `{path}`, which is required"));
            }
            (None, Some(_)) => said.push(format!("it also takes `{path}`")),
            (Some(_), None) => said.push(format!("it no longer takes `{path}`")),
            (Some(old), Some(new)) => {
                match (must(was), must(is)) {
                    (true, false) => said.push(format!("`{path}` may be left out")),
                    (false, true) => said.push(format!("`{path}` is required")),
                    _ => {}
                }
                told(&path, &old, &new, said);
            }
            (None, None) => {}
        }
    }
    for key in members(was, is, None) {
        match (key, was.get(key), is.get(key)) {
            ("properties" | "required", ..) => {}
            ("items", Some(old), Some(new)) => told(&format!("{path}[]"), old, new, said),
            (_, old, new) if old != new => {
                let word = |value: Option<&Value>| value.map_or("nothing".to_owned(), brief);
                said.push(format!(
                    "{what}: {key} is {}, it was {}",
                    word(new),
                    word(old)
                ));
            }
            _ => {}
        }
    }
}

/// The names that either schema has, or that either has below `key`.
fn members<'s>(
    old: &'s Map<String, Value>,
    new: &'s Map<String, Value>,
    key: Option<&str>,
) -> BTreeSet<&'s str> {
    let of = |schema: &'s Map<String, Value>| match key {
        Some(key) => schema.get(key)?.as_object(),
        None => Some(schema),
    };
    let schemas = [old, new].into_iter().filter_map(of);
    schemas
        .flat_map(|members| members.keys().map(String::as_str))
        .collect()
}

/// A value on one line, cut where it is long.
fn brief(value: &Value) -> String {
    cut(&value.to_string(), 80)
}
