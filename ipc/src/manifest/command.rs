//! A capability that is one run of a program: the words of its command line, and which fields of the input stand in them.
//!
//! ```text
//! "--regexp={pattern}"  "--"  "{folder.notes}/{file}"      {{ and }} stand for braces
//! ```
//! Invariants: one template is one argument, whatever the values are; no value becomes an option: an argument that begins with
//! a value may begin with `-` only after a literal `--`; an option that takes a value is written out up to its `=`.
//!
//! Must not know: how the program is started, what it does.

use super::{Capability, Manifest, ManifestError, invalid};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet};

/// The child's argument that stands for all of a command line.
pub const ARGUMENTS: &str = "arguments";
/// Most arguments of a command line.
const MAX_ARGUMENTS: usize = 64;
/// Longest template, in bytes.
const MAX_TEMPLATE: usize = 1024;
/// Longest command line with its values, in bytes: what a message to the keeper has room for, less what is said beside it.
const MAX_LINE: usize = 64 * 1024;
/// Longest run, in milliseconds.
pub(super) const MAX_TIMEOUT: u32 = 600_000;
/// From here on an exit status may be the launcher's.
const MAX_STATUS: u8 = 63;

/// How a capability runs a child of its manifest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CommandLine {
    /// The child.
    pub child: String,
    /// Its arguments, each a template.
    pub arguments: Vec<String>,
    /// The field of the input that is its standard input; absent: it has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stdin: Option<String>,
    /// Whether it is asked in one line of JSON with the whole input, and answers in lines of JSON.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub exchange: bool,
    /// Whether its standard output is JSON; otherwise it is text.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub json: bool,
    /// The exit statuses that are answers.
    pub exit_statuses: BTreeSet<u8>,
    /// Longest standard output, in bytes.
    pub output_bytes: u32,
    /// How long a run may take, in milliseconds of awake time.
    pub timeout_ms: u32,
}

/// A part of an argument.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Part {
    Literal(String),
    Field(String),
    Folder(String),
}

/// A part of a template before its names are read.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Piece<'t> {
    Literal(String),
    /// What stands between braces.
    Braces(&'t str),
}

/// The pieces of a template.
pub(super) fn pieces(template: &str) -> Result<Vec<Piece<'_>>, &'static str> {
    if template.len() > MAX_TEMPLATE || template.contains('\0') {
        return Err("it has more than 1024 bytes, or a zero byte");
    }
    let (mut pieces, mut literal) = (Vec::new(), String::new());
    let mut rest = template;
    while let Some(at) = rest.find(['{', '}']) {
        literal.push_str(&rest[..at]);
        let here = &rest[at..];
        if let Some(after) = here.strip_prefix("{{").or_else(|| here.strip_prefix("}}")) {
            literal.push_str(&here[..1]);
            rest = after;
            continue;
        }
        let named = here.strip_prefix('{').and_then(|here| here.split_once('}'));
        let (name, after) =
            named.ok_or("a brace stands alone; write {{ or }} for the sign itself")?;
        if !literal.is_empty() {
            pieces.push(Piece::Literal(std::mem::take(&mut literal)));
        }
        pieces.push(Piece::Braces(name));
        rest = after;
    }
    literal.push_str(rest);
    if !literal.is_empty() || pieces.is_empty() {
        pieces.push(Piece::Literal(literal));
    }
    Ok(pieces)
}

/// Whether it can be the name of a field.
pub(super) fn is_word(name: &str) -> bool {
    let fits = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-');
    (1..=64).contains(&name.len()) && name.bytes().all(fits)
}

/// The parts of a template.
pub(super) fn parts(template: &str) -> Result<Vec<Part>, &'static str> {
    let part = |piece| match piece {
        Piece::Literal(text) => Ok(Part::Literal(text)),
        Piece::Braces(name) => match name.strip_prefix("folder.") {
            Some(folder) if is_word(folder) => Ok(Part::Folder(folder.to_owned())),
            None if is_word(name) => Ok(Part::Field(name.to_owned())),
            _ => Err("a name in braces is not 1 to 64 ASCII letters, digits, '_' or '-'"),
        },
    };
    pieces(template)?.into_iter().map(part).collect()
}

/// Whether this begins an option that takes its value glued to it: `--name=`.
fn is_glued_option(literal: &str) -> bool {
    let name = literal
        .strip_prefix("--")
        .and_then(|text| text.split_once('='));
    name.is_some_and(|(name, _)| {
        !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
    })
}

impl CommandLine {
    /// The program's arguments for one input. A template whose fields the input leaves out is left out.
    ///
    /// # Errors
    /// Why there are none: in words for the caller that hold no value of the input.
    pub fn line(&self, input: &Value, folders: &Map<String, Value>) -> Result<Vec<String>, String> {
        let (mut line, mut after_options, mut length) = (Vec::new(), false, 0);
        for template in &self.arguments {
            let parts = parts(template).map_err(|why| format!("{template}: {why}"))?;
            let mut argument = String::new();
            let mut is_there = true;
            for part in &parts {
                match part {
                    Part::Literal(text) => argument.push_str(text),
                    Part::Folder(name) => {
                        let path = folders.get(name).and_then(Value::as_str);
                        argument
                            .push_str(path.ok_or_else(|| format!("there is no folder {name}"))?);
                    }
                    Part::Field(name) => match input.get(name) {
                        None | Some(Value::Null) => is_there = false,
                        Some(Value::String(text)) => argument.push_str(text),
                        Some(value @ (Value::Number(_) | Value::Bool(_))) => {
                            argument.push_str(&value.to_string());
                        }
                        Some(_) => return Err(format!("{name} is no text, number or truth value")),
                    },
                }
            }
            if !is_there {
                continue;
            }
            let literal = match parts.first() {
                Some(Part::Literal(text)) => text.as_str(),
                _ => "",
            };
            if argument.starts_with('-') && literal.is_empty() && !after_options {
                return Err(format!(
                    "the value for {template} begins with '-', and would be an option"
                ));
            }
            if argument.contains('\0') {
                return Err(format!("the value for {template} has a zero byte"));
            }
            after_options |= template == "--";
            length += argument.len() + 1;
            line.push(argument);
        }
        match length > MAX_LINE {
            true => Err("the command line has more than 64 KiB".to_owned()),
            false => Ok(line),
        }
    }

    /// Its fields, each with the template that it stands in.
    fn fields(&self) -> impl Iterator<Item = (String, &str)> {
        self.arguments.iter().flat_map(|template| {
            let parts = parts(template).unwrap_or_default().into_iter();
            parts.filter_map(|part| match part {
                Part::Field(name) => Some((name, template.as_str())),
                Part::Literal(_) | Part::Folder(_) => None,
            })
        })
    }

    fn check(&self, entry: &Capability, manifest: &Manifest) -> Result<(), ManifestError> {
        let at = |place: String| format!("capability {:?}, {place}", entry.name);
        let mut children = manifest.children.iter();
        let child = children.find(|child| child.name == self.child);
        let fits = |role| child.is_some_and(|child| child.role == Some(role) && child.discard);
        if !fits(entry.role()) {
            let why = "names no child of its role that leaves nothing behind";
            return Err(invalid(at("child".into()), why));
        }
        if self.arguments.len() > MAX_ARGUMENTS {
            return Err(invalid(at("arguments".into()), "more than 64"));
        }
        if self.exit_statuses.is_empty() || self.exit_statuses.iter().any(|s| *s > MAX_STATUS) {
            let why = "none, or one above 63: those may be the sandbox's own";
            return Err(invalid(at("exit statuses".into()), why));
        }
        let schema = entry.input.as_ref().unwrap_or(&Value::Null);
        let properties = schema["properties"].as_object();
        let property = |name: &str| properties.and_then(|all| all.get(name));
        let required = |name: &str| {
            let mut required = schema["required"].as_array().into_iter().flatten();
            required.any(|known| known == name)
        };
        for template in &self.arguments {
            let at = || at(format!("argument {template:?}"));
            let parts = parts(template).map_err(|why| invalid(at(), why))?;
            let literal = match parts.first() {
                Some(Part::Literal(text)) => text.as_str(),
                _ => "",
            };
            let is_option = parts.len() > 1 && literal.starts_with('-');
            if is_option && !is_glued_option(literal) {
                let why = "a value could become an option here: write --name={field}, or the value as an argument of its own";
                return Err(invalid(at(), why));
            }
            for part in &parts {
                match part {
                    Part::Literal(_) => {}
                    Part::Folder(name) => {
                        if !manifest.paths().any(|(field, _)| field.name == *name) {
                            return Err(invalid(at(), "names a folder that is not declared"));
                        }
                    }
                    Part::Field(name) => {
                        let field = || format!("{}, field {name:?}", at());
                        let kind = property(name).and_then(|p| p["type"].as_str());
                        if !matches!(kind, Some("string" | "integer" | "number" | "boolean")) {
                            let why = "is no property of the input of type string, integer, number or boolean";
                            return Err(invalid(field(), why));
                        }
                        // Left out, it would shift the arguments that follow.
                        if !is_option && !required(name) {
                            let why = "a field that the input may leave out stands in --name={field} alone: make it required";
                            return Err(invalid(field(), why));
                        }
                    }
                }
            }
        }
        let used: BTreeSet<String> = self.fields().map(|(name, _)| name).collect();
        if self.exchange && self.stdin.is_some() {
            return Err(invalid(
                at("stdin".into()),
                "its input is the line that asks it",
            ));
        }
        if let Some(stdin) = &self.stdin {
            let text = property(stdin).is_some_and(|p| p["type"] == "string");
            if !text || used.contains(stdin) {
                let why = "is no property of the input of type string, or is an argument as well";
                return Err(invalid(at(format!("stdin field {stdin:?}")), why));
            }
        }
        let unused = properties.into_iter().flat_map(Map::keys);
        let mut unused =
            unused.filter(|name| !used.contains(*name) && self.stdin.as_ref() != Some(*name));
        if let Some(name) = unused.next().filter(|_| !self.exchange) {
            return Err(invalid(
                at(format!("field {name:?}")),
                "no argument uses it",
            ));
        }
        if schema["additionalProperties"] != Value::Bool(false) {
            return Err(invalid(
                at("input".into()),
                "additionalProperties is not false",
            ));
        }
        if !(1..=1 << 20).contains(&self.output_bytes) {
            return Err(invalid(at("output".into()), "not 1 byte to 1 MiB"));
        }
        if !(1..=MAX_TIMEOUT).contains(&self.timeout_ms) {
            return Err(invalid(at("timeout".into()), "not 1 to 600,000 ms"));
        }
        Ok(())
    }
}

impl Manifest {
    pub(super) fn check_commands(&self) -> Result<(), ManifestError> {
        for entry in &self.capabilities {
            if let Some(command) = &entry.command {
                command.check(entry, self)?;
            }
        }
        Ok(())
    }

    /// Its capabilities that run a program, by name.
    #[must_use]
    pub fn commands(&self) -> BTreeMap<&str, &CommandLine> {
        let entries = self.capabilities.iter();
        entries
            .filter_map(|entry| Some((entry.name.as_str(), entry.command.as_ref()?)))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn command(arguments: &[&str]) -> CommandLine {
        CommandLine {
            child: "reader-1".into(),
            arguments: arguments.iter().map(|text| (*text).to_owned()).collect(),
            stdin: None,
            exchange: false,
            json: false,
            exit_statuses: BTreeSet::from([0]),
            output_bytes: 1024,
            timeout_ms: 1000,
        }
    }

    fn folders() -> Map<String, Value> {
        Map::from_iter([("notes".to_owned(), json!("/srv/my notes"))])
    }

    #[test]
    fn one_template_is_one_argument() {
        let command = command(&["-n", "--max={n}", "--", "{what}", "{folder.notes}/{{x}}"]);
        let line = command.line(&json!({"n": 3, "what": "-e a\n; b"}), &folders());
        let expected = ["-n", "--max=3", "--", "-e a\n; b", "/srv/my notes/{x}"];
        assert_eq!(line.unwrap(), expected);
        // What the input leaves out is left out as a whole.
        let line = command.line(&json!({"what": "a"}), &folders()).unwrap();
        assert_eq!(line, ["-n", "--", "a", "/srv/my notes/{x}"]);
    }

    #[test]
    fn value_never_becomes_an_option() {
        let folders = folders();
        for (templates, refused) in [
            (&["{a}"][..], true),
            (&["{a}{b}"], true),
            (&["--", "{a}"], false),
            (&["--x={a}"], false),
            (&["x{a}"], false),
            (&["{folder.notes}{a}"], false),
            (&["{a}", "--"], true),
        ] {
            for a in ["-e", "--", "-", "--pre=sh"] {
                let line = command(templates).line(&json!({"a": a, "b": ""}), &folders);
                let why = line.err().unwrap_or_default();
                assert_eq!(
                    why.contains("would be an option"),
                    refused,
                    "{templates:?} {a}"
                );
                assert!(refused || why.is_empty(), "{templates:?} {a}: {why}");
            }
            let line = command(templates).line(&json!({"a": "", "b": "-e"}), &folders);
            let why = line.err().unwrap_or_default();
            let is_option = why.contains("would be an option");
            assert_eq!(is_option, templates == ["{a}{b}"], "{templates:?} {why}");
        }
        let negative = command(&["{a}"]).line(&json!({"a": -1}), &folders);
        assert!(negative.unwrap_err().contains("would be an option"));
        for (odd, why) in [
            (json!({"a": ["x"]}), "no text, number or truth value"),
            (json!({"a": "x\0y"}), "a zero byte"),
            (json!({"a": "x".repeat(MAX_LINE)}), "more than 64 KiB"),
        ] {
            let refused = command(&["{a}"]).line(&odd, &folders).unwrap_err();
            assert!(refused.contains(why), "{odd:.40}: {refused}");
        }
    }

    #[test]
    fn braces_that_name_nothing_are_refused() {
        for template in "{|}|{}|{a b}|{a|{folder.}|{folder.a.b}|{{a}".split('|') {
            let why = parts(template).unwrap_err();
            let is_meant = ["a brace stands alone", "a name in braces is not"];
            assert!(
                is_meant.iter().any(|is| why.contains(is)),
                "{template}: {why}"
            );
        }
        assert_eq!(parts("").unwrap(), [Part::Literal(String::new())]);
    }
}
