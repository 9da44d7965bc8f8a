//! Constraints narrow a grant by argument (docs/protocol/agents.md#constraints; `maxCalls` is ours).
//!
//! Invariants: every part that is present must hold; a field that is absent from the input denies; an empty list
//! allows nothing; a part, operator or shape that is not known here does not parse, so it can never widen anything; a
//! prefix with a `.` or `..` among its names, which reads narrower than what it comes to, is refused when made and
//! matches nothing.

use crate::words::counted;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Prefixes, values of one list, and rules that one constraint may have.
pub const MAX_PARTS: usize = 64;
/// Bytes that one constraint may take as JSON: it is on cards and in tokens, and is compared while everybody waits.
pub const MAX_TEXT: usize = 16 * 1024;

/// The narrowing of one grant. An empty constraint does not exist: it is `None`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Constraint {
    /// The field is a relative path that lies at or below one of these.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path_prefix: Option<PathPrefix>,
    /// The field is one of these values.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allow: Option<AllowList>,
    /// Each of these holds.
    #[serde(default, rename = "match", skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<MatchRule>,
    /// At most so many calls over all tokens of the grant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_calls: Option<u32>,
}

/// `{"field": "path", "allow": ["Projects"]}`; `""` allows every path inside the root.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PathPrefix {
    /// Dotted path into the input.
    pub field: String,
    /// Relative paths, each a [`is_prefix`]; the value equals one of them or lies below it, by segments.
    pub allow: Vec<String>,
}

/// `{"field": "list", "values": ["Home"]}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AllowList {
    /// Dotted path into the input.
    pub field: String,
    /// The values that are allowed.
    pub values: Vec<Value>,
}

/// `{"field": …, "op": "eq" | "prefix" | "in", …}`. The wire's `regex` always denies, so it is refused when made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MatchRule {
    /// Dotted path into the input.
    pub field: String,
    /// How the value is compared.
    pub op: MatchOp,
    /// For `eq` and `prefix`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<Value>,
    /// For `in`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub values: Option<Vec<Value>>,
}

/// The operators of [`MatchRule`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MatchOp {
    /// Equal as JSON values.
    Eq,
    /// Both strings, and the rule's is a prefix.
    Prefix,
    /// One of `values`.
    In,
}

/// Which part of a constraint a call missed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Miss {
    /// The field that decided.
    pub field: String,
    /// `pathPrefix`, `allow` or `match`.
    pub part: &'static str,
}

/// A path as segments, or `None` when it is absolute, climbs out, or holds NUL.
fn segments(path: &str) -> Option<Vec<&str>> {
    if path.starts_with('/') || path.contains(['\0', '\\']) {
        return None;
    }
    let mut out = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                out.pop()?;
            }
            name => out.push(name),
        }
    }
    Some(out)
}

/// A path prefix as segments, or `None` where it is not what it looks like: `a/b/../..` reads narrow and comes to
/// everything, which is written `""`, or `.` as records name the root.
fn names(prefix: &str) -> Option<Vec<&str>> {
    if is_root(prefix) {
        return Some(Vec::new());
    }
    let dots = prefix.split('/').any(|part| matches!(part, "." | ".."));
    segments(prefix).filter(|_| !dots)
}

/// Whether a path prefix is everything, and looks like it.
fn is_root(prefix: &str) -> bool {
    matches!(prefix, "" | ".")
}

/// Whether a path prefix is relative and each of its segments a name, or is the root.
#[must_use]
pub fn is_prefix(text: &str) -> bool {
    names(text).is_some()
}

/// Whether `path` equals `prefix` or lies below it, by segments. Both are relative; one that is not is never below, and
/// nothing lies below what is no [`is_prefix`].
#[must_use]
pub fn lies_below(path: &str, prefix: &str) -> bool {
    match (segments(path), names(prefix)) {
        (Some(path), Some(prefix)) => path.starts_with(&prefix),
        _ => false,
    }
}

fn field<'a>(input: &'a Value, dotted: &str) -> Option<&'a Value> {
    dotted.split('.').try_fold(input, |at, key| at.get(key))
}

impl PathPrefix {
    fn holds(&self, value: &Value) -> bool {
        value
            .as_str()
            .is_some_and(|path| self.allow.iter().any(|prefix| lies_below(path, prefix)))
    }
}

impl AllowList {
    fn holds(&self, value: &Value) -> bool {
        self.values.contains(value)
    }
}

/// So many calls, in words.
#[must_use]
pub fn calls_in_words(number: u32) -> String {
    counted(number, "call")
}

impl Constraint {
    /// Whether there is nothing in it, which means the same as no constraint at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.path_prefix.is_none()
            && self.allow.is_none()
            && self.rules.is_empty()
            && self.max_calls.is_none()
    }

    /// What it allows, as a person reads it: "path at or below A or B, at most 3 calls". Values are as they came: a caller that
    /// shows the words escapes them.
    #[must_use]
    pub fn in_words(&self) -> String {
        let plain = |value: &Value| {
            value
                .as_str()
                .map_or_else(|| value.to_string(), str::to_owned)
        };
        let listed = |values: &[Value]| values.iter().map(plain).collect::<Vec<_>>().join(" or ");
        let mut words = Vec::new();
        if let Some(PathPrefix { field, allow }) = &self.path_prefix {
            words.push(match &allow[..] {
                [] => format!("no {field}"),
                allow if allow.iter().any(|prefix| is_root(prefix)) => format!("{field} anywhere"),
                allow => format!("{field} at or below {}", allow.join(" or ")),
            });
        }
        if let Some(list) = &self.allow {
            words.push(match &list.values[..] {
                [] => format!("no {}", list.field),
                values => format!("{} is {}", list.field, listed(values)),
            });
        }
        for rule in &self.rules {
            let value = rule.value.as_ref().map_or(String::new(), plain);
            words.push(match rule.op {
                MatchOp::Eq => format!("{} is {value}", rule.field),
                MatchOp::Prefix => format!("{} begins with {value}", rule.field),
                MatchOp::In => {
                    let values = rule.values.as_deref().unwrap_or_default();
                    format!("{} is {}", rule.field, listed(values))
                }
            });
        }
        if let Some(most) = self.max_calls {
            words.push(format!("at most {}", calls_in_words(most)));
        }
        words.join(", ")
    }

    /// Judges an input. `resolved` names fields that the worker judges on what they resolve to: those are skipped
    /// here and enforced there.
    ///
    /// # Errors
    /// The first part that does not hold.
    pub fn permits(&self, input: &Value, resolved: &[&str]) -> Result<(), Miss> {
        let check = |name: &str, part: &'static str, holds: &dyn Fn(&Value) -> bool| {
            if resolved.contains(&name) || field(input, name).is_some_and(holds) {
                Ok(())
            } else {
                Err(Miss {
                    field: name.to_owned(),
                    part,
                })
            }
        };
        if let Some(rule) = &self.path_prefix {
            check(&rule.field, "pathPrefix", &|v| rule.holds(v))?;
        }
        if let Some(rule) = &self.allow {
            check(&rule.field, "allow", &|v| rule.holds(v))?;
        }
        for rule in &self.rules {
            check(&rule.field, "match", &|v| rule.holds(v))?;
        }
        Ok(())
    }

    /// The same of an input whose `resolved` fields a source judges by what they lead to: here as they are written, where they
    /// are there.
    ///
    /// # Errors
    /// The first miss.
    pub fn permits_as_written(&self, input: &Value, resolved: &[String]) -> Result<(), Miss> {
        let absent = resolved.iter().map(String::as_str);
        let absent: Vec<&str> = absent.filter(|name| field(input, name).is_none()).collect();
        self.permits(input, &absent)
    }

    /// Whether it says anything of `field`.
    #[must_use]
    pub fn is_about(&self, field: &str) -> bool {
        self.fields().any(|name| name == field)
    }

    /// Whether all that it says of `field` lets `value` pass: what the field of an input came to, or a thing that was
    /// found for an input without it.
    #[must_use]
    pub fn lets_pass(&self, field: &str, value: &Value) -> bool {
        let mut path = self.path_prefix.iter().filter(|rule| rule.field == field);
        let mut allow = self.allow.iter().filter(|rule| rule.field == field);
        let mut rules = self.rules.iter().filter(|rule| rule.field == field);
        path.all(|rule| rule.holds(value))
            && allow.all(|rule| rule.holds(value))
            && rules.all(|rule| rule.holds(value))
    }

    /// The input fields that it looks at.
    pub fn fields(&self) -> impl Iterator<Item = &str> {
        let path = self.path_prefix.iter().map(|rule| rule.field.as_str());
        let allow = self.allow.iter().map(|rule| rule.field.as_str());
        path.chain(allow)
            .chain(self.rules.iter().map(|rule| rule.field.as_str()))
    }

    /// Whether everything that `self` lets pass, `other` lets pass too. Errs on the side of "no".
    #[must_use]
    pub fn narrows(&self, other: &Self) -> bool {
        let paths = match (&self.path_prefix, &other.path_prefix) {
            (_, None) => true,
            (None, Some(_)) => false,
            (Some(mine), Some(theirs)) => {
                mine.field == theirs.field
                    && mine
                        .allow
                        .iter()
                        .all(|p| theirs.allow.iter().any(|q| lies_below(p, q)))
            }
        };
        let values = match (&self.allow, &other.allow) {
            (_, None) => true,
            (None, Some(_)) => false,
            (Some(mine), Some(theirs)) => {
                mine.field == theirs.field && mine.values.iter().all(|v| theirs.values.contains(v))
            }
        };
        let calls = match (self.max_calls, other.max_calls) {
            (_, None) => true,
            (None, Some(_)) => false,
            (Some(mine), Some(theirs)) => mine <= theirs,
        };
        paths && values && calls && other.rules.iter().all(|rule| self.rules.contains(rule))
    }

    /// What both let pass, as one constraint; `None` where they look at different fields and no single one says it.
    #[must_use]
    pub fn and(&self, other: &Self) -> Option<Self> {
        let path_prefix = match (&self.path_prefix, &other.path_prefix) {
            (Some(mine), Some(theirs)) if mine.field == theirs.field => {
                let lower = |p: &String, q: &String| {
                    if lies_below(p, q) {
                        Some(p.clone())
                    } else {
                        lies_below(q, p).then(|| q.clone())
                    }
                };
                let both = mine
                    .allow
                    .iter()
                    .flat_map(|p| theirs.allow.iter().filter_map(move |q| lower(p, q)));
                Some(PathPrefix {
                    field: mine.field.clone(),
                    allow: both.collect(),
                })
            }
            (Some(_), Some(_)) => return None,
            (one, other) => one.clone().or_else(|| other.clone()),
        };
        let allow = match (&self.allow, &other.allow) {
            (Some(mine), Some(theirs)) if mine.field == theirs.field => {
                let both = mine.values.iter().filter(|v| theirs.values.contains(v));
                Some(AllowList {
                    field: mine.field.clone(),
                    values: both.cloned().collect(),
                })
            }
            (Some(_), Some(_)) => return None,
            (one, other) => one.clone().or_else(|| other.clone()),
        };
        let mut rules = self.rules.clone();
        rules.extend(
            other
                .rules
                .iter()
                .filter(|rule| !self.rules.contains(rule))
                .cloned(),
        );
        let max_calls = match (self.max_calls, other.max_calls) {
            (Some(mine), Some(theirs)) => Some(mine.min(theirs)),
            (one, other) => one.or(other),
        };
        Some(Self {
            path_prefix,
            allow,
            rules,
            max_calls,
        })
    }

    /// Refuses a constraint that can match nothing: it would be a grant that says yes and means no. And one that is too
    /// large, which is asked when one is made, never of one that is stored.
    ///
    /// # Errors
    /// One sentence that names the part.
    pub fn check(&self) -> Result<(), String> {
        if self.is_empty() {
            return Err("an empty constraint says nothing: leave it out".into());
        }
        self.is_small()?;
        if let Some(rule) = &self.path_prefix {
            if rule.allow.is_empty() {
                return Err(format!(
                    "pathPrefix on {:?} has an empty list: it allows nothing",
                    rule.field
                ));
            }
            if let Some(bad) = rule.allow.iter().find(|p| !is_prefix(p)) {
                return Err(format!(
                    "pathPrefix on {:?}: {bad:?} is no path inside of the source. It has no \"/\" at its beginning, no \".\" \
                     and no \"..\"; \"\" is everything in it",
                    rule.field
                ));
            }
        }
        if self
            .allow
            .as_ref()
            .is_some_and(|rule| rule.values.is_empty())
        {
            return Err("allow has an empty list: it allows nothing".into());
        }
        if self.max_calls == Some(0) {
            return Err("maxCalls is 0: it allows nothing".into());
        }
        for rule in &self.rules {
            let sound = match rule.op {
                MatchOp::Eq => rule.value.is_some(),
                MatchOp::Prefix => rule.value.as_ref().is_some_and(Value::is_string),
                MatchOp::In => rule.values.as_ref().is_some_and(|v| !v.is_empty()),
            };
            if !sound {
                return Err(format!("match on {:?} can match nothing", rule.field));
            }
        }
        Ok(())
    }

    /// A reader of a card reads all of it, and two constraints are compared part by part.
    fn is_small(&self) -> Result<(), String> {
        let listed = |list: Option<&Vec<Value>>| list.map_or(0, Vec::len);
        let prefixes = self.path_prefix.as_ref().map_or(0, |rule| rule.allow.len());
        let in_rules = self.rules.iter().map(|rule| listed(rule.values.as_ref()));
        for (part, count) in [
            ("prefixes in pathPrefix", prefixes),
            (
                "values in allow",
                listed(self.allow.as_ref().map(|rule| &rule.values)),
            ),
            ("rules in match", self.rules.len()),
            ("values in a rule of match", in_rules.max().unwrap_or(0)),
        ] {
            if count > MAX_PARTS {
                return Err(format!(
                    "{count} {part}: a constraint has at most {MAX_PARTS}"
                ));
            }
        }
        let fits = serde_json::to_vec(self).is_ok_and(|text| text.len() <= MAX_TEXT);
        match fits {
            true => Ok(()),
            false => Err(format!(
                "a constraint takes at most {} KiB as JSON",
                MAX_TEXT / 1024
            )),
        }
    }
}

impl MatchRule {
    fn holds(&self, value: &Value) -> bool {
        match self.op {
            MatchOp::Eq => self.value.as_ref() == Some(value),
            MatchOp::Prefix => {
                match (value.as_str(), self.value.as_ref().and_then(Value::as_str)) {
                    (Some(value), Some(prefix)) => value.starts_with(prefix),
                    _ => false,
                }
            }
            MatchOp::In => self
                .values
                .as_ref()
                .is_some_and(|values| values.contains(value)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn below(allow: &[&str]) -> Constraint {
        serde_json::from_value(json!({"pathPrefix": {"field": "path", "allow": allow}})).unwrap()
    }

    fn missed(field: &str) -> Result<(), Miss> {
        let (field, part) = (field.to_owned(), "pathPrefix");
        Err(Miss { field, part })
    }

    fn calls(max_calls: Option<u32>) -> Constraint {
        Constraint {
            path_prefix: None,
            allow: None,
            rules: vec![],
            max_calls,
        }
    }

    #[test]
    fn path_prefix_goes_by_segments() {
        let rule = below(&["Projects"]);
        for (path, ok) in [
            ("Projects", true),
            ("Projects/a.md", true),
            ("Projects/../Projects/a.md", true),
            ("Projects2/a.md", false),
            ("Projects/../Private/a.md", false),
            ("../Projects/a.md", false),
            ("/Projects/a.md", false),
            ("", false),
        ] {
            let permitted = rule.permits(&json!({ "path": path }), &[]);
            assert_eq!(permitted.is_ok(), ok, "{path}");
        }
        // A missing field denies, unless the worker judges it.
        assert_eq!(rule.permits(&json!({}), &[]), missed("path"));
        assert!(rule.permits(&json!({}), &["path"]).is_ok());
        assert!(below(&[""]).permits(&json!({"path": "x/y"}), &[]).is_ok());
        let none = below(&[]);
        assert_eq!(none.permits(&json!({"path": "x"}), &[]), missed("path"));
        let why = none.check().unwrap_err();
        assert!(
            why.ends_with("has an empty list: it allows nothing"),
            "{why}"
        );
    }

    #[test]
    fn a_prefix_is_what_it_looks_like() {
        for (prefix, names) in [
            ("", true),
            ("Projects", true),
            ("Projects/Plexus/", true),
            (".obsidian/..a", true),
            (".", true),
            ("..", false),
            ("./Projects", false),
            ("Projects/.", false),
            ("Projects/Plexus/..", false),
            ("Projects/Plexus/../..", false),
            ("Projects/../..", false),
            ("/", false),
            ("/Projects", false),
        ] {
            let rule = below(&[prefix]);
            assert_eq!(rule.check().is_ok(), names, "{prefix:?}");
            // One that was stored before reads back, and lets nothing pass.
            let within = format!("{prefix}/a.md");
            let path = within.trim_start_matches('/');
            for path in [path, "a.md", "Projects/a.md", ""] {
                let passes = rule.permits(&json!({ "path": path }), &[]).is_ok();
                let lies = names && (prefix == "." || path.starts_with(prefix));
                assert_eq!(passes, lies, "{path:?} under {prefix:?}");
                let passes = rule.lets_pass("path", &json!(path));
                assert_eq!(passes, lies, "{path:?} under {prefix:?}");
            }
            // With another it lets nothing pass, and none is narrower than it.
            if !names {
                let meet = below(&[""]).and(&rule).unwrap();
                let permitted = meet.permits(&json!({"path": "a.md"}), &[]);
                assert_eq!(permitted, missed("path"), "{prefix:?}");
                assert!(!below(&["a"]).narrows(&rule), "{prefix:?}");
                assert!(!below(&[""]).narrows(&rule), "{prefix:?}");
            }
        }
    }

    #[test]
    fn what_is_said_of_a_field_is_held_against_what_it_came_to() {
        let said: Constraint = serde_json::from_value(json!({
            "pathPrefix": {"field": "path", "allow": ["a"]},
            "allow": {"field": "list", "values": ["Home"]},
            "match": [{"field": "list", "op": "prefix", "value": "H"}, {"field": "path", "op": "eq", "value": "a/x"}],
        }))
        .unwrap();
        for (field, value, passes) in [
            ("path", "a/x", true),
            ("path", "a/y", false),
            ("path", "b", false),
            ("list", "Home", true),
            ("list", "House", false),
            ("other", "b", true),
        ] {
            let found = said.lets_pass(field, &json!(value));
            assert_eq!(found, passes, "{field}: {value}");
        }
        assert!(!said.lets_pass("path", &json!(null)));
        assert!(said.is_about("path") && said.is_about("list") && !said.is_about("other"));
    }

    #[test]
    fn both_at_once() {
        let meet = below(&["a", "b/c"]).and(&below(&["a/x", "b", "d"]));
        let meet = meet.unwrap();
        assert_eq!(meet.path_prefix.as_ref().unwrap().allow, ["a/x", "b/c"]);
        let nothing = below(&["a"]).and(&below(&["b"])).unwrap();
        // An empty list allows nothing.
        let permitted = nothing.permits(&json!({"path": "a"}), &[]);
        assert_eq!(permitted, missed("path"));
        let meet = below(&[""]).and(&calls(Some(3))).unwrap();
        assert_eq!(meet.max_calls, Some(3));
        assert_eq!(meet.path_prefix.unwrap().allow.len(), 1);
    }

    #[test]
    fn narrowing() {
        assert!(below(&["a/b"]).narrows(&below(&["a"])));
        assert!(!below(&["a"]).narrows(&below(&["a/b"])));

        assert!(calls(Some(1)).narrows(&calls(Some(2))) && !calls(None).narrows(&calls(Some(2))));
        let operator = json!({"match": [{"field": "a", "op": "regex", "pattern": ".*"}]});
        for (unknown, words) in [
            (json!({"regex": 1}), "unknown field `regex`"),
            (operator, "unknown variant `regex`"),
        ] {
            let why = serde_json::from_value::<Constraint>(unknown).unwrap_err();
            assert!(why.to_string().starts_with(words), "{why}");
        }
    }
}
