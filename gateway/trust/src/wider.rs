//! What a changed manifest lets a grant do that the owner has not seen: nothing that can be proven, or a list in words.
//!
//! [`no_wider`] is right whenever it says yes: every input that the new schema accepts, the old one accepted. It knows the
//! part of JSON Schema that manifests use; about anything else it says no, and the owner is asked.
//! Must not know: sources, agents, what the worker makes of an input.

use crate::Facts;
use serde_json::{Map, Value};
use std::{cmp::Ordering, collections::BTreeSet};

/// Keywords that are understood, each by a rule of its own below.
const RULED: &[&str] = &[
    "type",
    "enum",
    "const",
    "minimum",
    "exclusiveMinimum",
    "maximum",
    "exclusiveMaximum",
    "minLength",
    "maxLength",
    "minItems",
    "maxItems",
    "minProperties",
    "maxProperties",
    "required",
    "properties",
    "additionalProperties",
    "items",
];
/// Keywords that are right as long as they stay as they are: their meaning hangs on no other. `default` accepts nothing,
/// but a changed one changes what a call does.
const KEPT: &[&str] = &["pattern", "multipleOf", "uniqueItems", "format", "default"];
/// Keywords that only people read.
pub(crate) const WORDING: &[&str] = &["title", "description", "$comment", "examples"];

/// Whether every input that `new` accepts is one that `old` accepts. `false` where that is not certain.
#[must_use]
pub fn no_wider(old: &Value, new: &Value) -> bool {
    // What a reference says stands elsewhere, and narrowing it there can widen here: below `not`, say.
    old == new || (!refers(old) && !refers(new) && narrower(old, new))
}

/// Whether any part of a schema stands elsewhere.
fn refers(schema: &Value) -> bool {
    match schema {
        Value::Object(members) => members.iter().any(|(key, below)| {
            matches!(key.as_str(), "$ref" | "$dynamicRef" | "$recursiveRef") || refers(below)
        }),
        Value::Array(list) => list.iter().any(refers),
        _ => false,
    }
}

fn narrower(old: &Value, new: &Value) -> bool {
    match (old, new) {
        (Value::Bool(true), _) | (_, Value::Bool(false)) => true,
        (Value::Bool(false), _) => false,
        (Value::Object(old), Value::Bool(true)) => keywords(old).next().is_none(),
        (Value::Object(old), Value::Object(new)) => narrows(old, new),
        _ => false,
    }
}

fn keywords(schema: &Map<String, Value>) -> impl Iterator<Item = &String> {
    let counts = |key: &&String| !WORDING.contains(&key.as_str());
    schema.keys().filter(counts)
}

fn narrows(old: &Map<String, Value>, new: &Map<String, Value>) -> bool {
    let known = |key: &String| RULED.contains(&key.as_str()) || KEPT.contains(&key.as_str());
    if !keywords(old).chain(keywords(new)).all(known) {
        return old == new;
    }
    let at_least = |key: &str, as_well: &[&str]| bounds(old, new, key, as_well, Ordering::Greater);
    let at_most = |key: &str, as_well: &[&str]| bounds(old, new, key, as_well, Ordering::Less);
    KEPT.iter().all(|key| old.get(*key) == new.get(*key))
        && types_narrow(old, new)
        && values_narrow(old, new)
        && at_least("minimum", &["exclusiveMinimum"])
        && at_least("exclusiveMinimum", &[])
        && at_most("maximum", &["exclusiveMaximum"])
        && at_most("exclusiveMaximum", &[])
        && ["minLength", "minItems", "minProperties"]
            .iter()
            .all(|key| at_least(key, &[]))
        && ["maxLength", "maxItems", "maxProperties"]
            .iter()
            .all(|key| at_most(key, &[]))
        && required(old).is_subset(&required(new))
        && narrower(sub(old, "items"), sub(new, "items"))
        && members_narrow(old, new)
}

/// Whether `new` bounds at least as tightly as `old` does by `key`: by the same keyword, or by one that excludes more.
fn bounds(
    old: &Map<String, Value>,
    new: &Map<String, Value>,
    key: &str,
    as_well: &[&str],
    tighter: Ordering,
) -> bool {
    let Some(was) = old.get(key) else { return true };
    let holds = |key: &&str| {
        let is = new.get(*key)?;
        let order = exact(is)?.partial_cmp(&exact(was)?)?;
        Some(order == tighter || order == Ordering::Equal)
    };
    let mut keys = [key].into_iter().chain(as_well.iter().copied());
    keys.any(|key| holds(&key) == Some(true))
}

/// A number, where comparing it loses nothing.
fn exact(value: &Value) -> Option<f64> {
    let number = value.as_f64()?;
    (number.abs() <= 9_007_199_254_740_992.0).then_some(number)
}

fn types(schema: &Map<String, Value>) -> Option<BTreeSet<&str>> {
    match schema.get("type")? {
        Value::String(one) => Some(BTreeSet::from([one.as_str()])),
        Value::Array(some) => some.iter().map(Value::as_str).collect(),
        _ => Some(BTreeSet::new()),
    }
}

fn types_narrow(old: &Map<String, Value>, new: &Map<String, Value>) -> bool {
    let Some(was) = types(old) else {
        return !old.contains_key("type");
    };
    let fits = |name: &&str| was.contains(name) || (*name == "integer" && was.contains("number"));
    types(new).is_some_and(|is| is.iter().all(fits))
}

/// The values that `enum` and `const` leave.
fn values(schema: &Map<String, Value>) -> Option<Vec<&Value>> {
    let listed = schema
        .get("enum")
        .map(|list| list.as_array().map_or(Vec::new(), |l| l.iter().collect()));
    match (schema.get("const"), listed) {
        (None, listed) => listed,
        (Some(one), None) => Some(vec![one]),
        (Some(one), Some(listed)) => Some(listed.into_iter().filter(|v| *v == one).collect()),
    }
}

fn values_narrow(old: &Map<String, Value>, new: &Map<String, Value>) -> bool {
    let Some(was) = values(old) else { return true };
    // 1 and 1.0 are one value to a validator and two here: so `const` counts alone, and `enum` takes nothing from it.
    let is = match new.get("const") {
        Some(one) => Some(vec![one]),
        None => values(new),
    };
    is.is_some_and(|is| is.iter().all(|value| was.contains(value)))
}

fn required(schema: &Map<String, Value>) -> BTreeSet<&str> {
    let list = schema.get("required").and_then(Value::as_array);
    list.into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect()
}

const ANYTHING: &Value = &Value::Bool(true);

fn sub<'s>(schema: &'s Map<String, Value>, key: &str) -> &'s Value {
    schema.get(key).unwrap_or(ANYTHING)
}

/// What a schema says of the member `name`.
fn member<'s>(schema: &'s Map<String, Value>, name: &str) -> &'s Value {
    let named = schema.get("properties").and_then(|p| p.get(name));
    named.unwrap_or_else(|| sub(schema, "additionalProperties"))
}

fn members_narrow(old: &Map<String, Value>, new: &Map<String, Value>) -> bool {
    let others = narrower(
        sub(old, "additionalProperties"),
        sub(new, "additionalProperties"),
    );
    others
        && names(old, new)
            .into_iter()
            .all(|name| narrower(member(old, name), member(new, name)))
}

fn names<'s>(old: &'s Map<String, Value>, new: &'s Map<String, Value>) -> BTreeSet<&'s str> {
    [old, new]
        .into_iter()
        .filter_map(|schema| schema.get("properties")?.as_object())
        .flat_map(|properties| properties.keys().map(String::as_str))
        .collect()
}

impl Facts {
    /// Whether nothing that decisions depend on differs: at most the wording does.
    #[must_use]
    pub fn same(&self, other: &Self) -> bool {
        (self.verbs, self.sensitivity, self.shape) == (other.verbs, other.sensitivity, other.shape)
            && self.resolved == other.resolved
    }

    /// Whether a grant made on `was` allows nothing more on `self`, as far as that can be proven.
    #[must_use]
    pub fn within(&self, was: &Self) -> bool {
        let (Some(old), Some(new)) = (&was.input, &self.input) else {
            return self.same(was);
        };
        self.verbs == was.verbs
            && self.sensitivity <= was.sensitivity
            && self.narrow == was.narrow
            && self.resolved == was.resolved
            && no_wider(old, new)
    }

    /// What differs from `was`, one sentence each, in the manifest's own names.
    #[must_use]
    pub fn differences(&self, was: &Self) -> Vec<String> {
        let mut said = Vec::new();
        let verbs = |facts: &Self| {
            let words: Vec<_> = facts
                .verbs
                .iter()
                .map(plexus_protocol::Verb::as_str)
                .collect();
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
    let (Value::Object(was), Value::Object(is)) = (old, new) else {
        if old != new {
            said.push(format!(
                "{}: {} instead of {}",
                what(path),
                brief(new),
                brief(old)
            ));
        }
        return;
    };
    for name in names(was, is) {
        let path = match path {
            "" => name.to_owned(),
            path => format!("{path}.{name}"),
        };
        let of = |schema: &Map<String, Value>| schema.get("properties")?.get(name).cloned();
        let must = |schema| required(schema).contains(name);
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
    if let (Some(old), Some(new)) = (values(was), values(is)) {
        let list = |these: &[&Value], those: &[&Value]| {
            let more = these.iter().filter(|value| !those.contains(value));
            more.map(|value| brief(value))
                .collect::<Vec<_>>()
                .join(", ")
        };
        let (more, fewer) = (list(&new, &old), list(&old, &new));
        if !more.is_empty() {
            said.push(format!("{} may also be {more}", what(path)));
        }
        if !fewer.is_empty() {
            said.push(format!("{} may no longer be {fewer}", what(path)));
        }
    }
    if let (old @ Value::Object(_), new @ Value::Object(_)) = (sub(was, "items"), sub(is, "items"))
    {
        told(&format!("{path}[]"), old, new, said);
    }
    let listed = values(was).is_some() && values(is).is_some();
    let keys: BTreeSet<&String> = keywords(was).chain(keywords(is)).collect();
    for key in keys {
        let told_above = match key.as_str() {
            "properties" | "required" => true,
            "enum" | "const" => listed,
            "items" => sub(was, "items").is_object() && sub(is, "items").is_object(),
            _ => false,
        };
        let (old, new) = (was.get(key), is.get(key));
        if !told_above && old != new {
            let word = |value: Option<&Value>| value.map_or("nothing".to_owned(), brief);
            said.push(format!(
                "{}: {key} is {}, it was {}",
                what(path),
                word(new),
                word(old)
            ));
        }
    }
}

fn what(path: &str) -> String {
    match path {
        "" => "the input".to_owned(),
        path => format!("`{path}`"),
    }
}

/// A value on one line, cut where it is long.
fn brief(value: &Value) -> String {
    let text = value.to_string();
    if text.chars().count() <= 80 {
        return text;
    }
    text.chars().take(79).chain(['…']).collect()
}
