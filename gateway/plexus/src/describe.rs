//! `plexus describe`: one capability in full.

use crate::{
    command,
    manifest::{Entry, State},
    session::Session,
    settings::Settings,
};
use clap::Args;
use plexus_client::{Exit, Stop, out, shell, span, text};
use plexus_mcp::is_example;
use plexus_protocol::{CapabilityId, Provenance, Timestamp, body::StandingGrant};
use serde_json::{Value, json};
use std::fmt::Write;

/// Keywords of a field's schema that are shown with it.
const RULES: [&str; 13] = [
    "pattern",
    "format",
    "enum",
    "const",
    "minimum",
    "maximum",
    "exclusiveMinimum",
    "exclusiveMaximum",
    "multipleOf",
    "minLength",
    "maxLength",
    "minItems",
    "maxItems",
];
/// How much of a bound is shown, in characters.
const MAX_BOUND: usize = 200;

/// Showing one capability.
#[derive(Args, Debug, PartialEq)]
pub(crate) struct Describe {
    /// Capability, as `plexus list` shows it
    capability: String,
    /// Print as JSON
    #[arg(long)]
    json: bool,
}

/// Asks the gateway and prints.
pub(crate) async fn run(settings: &Settings, describe: Describe) -> Result<Exit, Stop> {
    let word = &describe.capability;
    let Ok(id) = CapabilityId::parse(word) else {
        let why = format!("{word:?} is no capability (those have a dot in them)");
        let next = command::line(format_args!("list {}", shell::quote(word)));
        return Err(Stop::usage(why).next(next));
    };
    let mut session = Session::open(settings).await?;
    let grants = session.grants().await?;
    let entry = session
        .entry(&id)
        .ok_or_else(|| session.meant(&id, unknown(&id)))?;
    if describe.json {
        out::line(&as_json(entry, &grants, span::now()).to_string())?;
    } else {
        out::line(&as_text(entry, &grants, span::now()))?;
    }
    Ok(Exit::Ok)
}

/// What is said of an id that the manifest does not have; the gateway says no more either.
fn unknown(id: &CapabilityId) -> Stop {
    Stop::new(
        Exit::Failed,
        "unknown_capability",
        format!("{id} is not among what you may see"),
    )
    .next(command::line("list"))
}

fn as_json(entry: &Entry, grants: &[StandingGrant], now: Timestamp) -> Value {
    let (state, why) = entry.state(grants, now);
    json!({
        "id": entry.id, "kind": entry.kind, "label": entry.label, "describe": entry.describe,
        "verbs": entry.grants, "provenance": entry.provenance, "sensitivity": entry.sensitivity,
        "state": state, "why": why, "limits": entry.limits(grants, now), "longRunning": entry.long_running,
        "input": entry.io.input, "output": entry.io.output,
        "skills": entry.skills.iter().map(|s| &s.id).collect::<Vec<_>>(),
        "example": example(entry),
    })
}

fn as_text(entry: &Entry, grants: &[StandingGrant], now: Timestamp) -> String {
    let mut text = String::new();
    let (state, why) = entry.state(grants, now);
    let verbs: Vec<_> = entry.grants.iter().map(|v| v.as_str()).collect();
    // Writing to a String cannot fail, here and below.
    let _ = writeln!(text, "{} ({})", entry.id, text::line(&entry.label));
    for line in text::lines(&entry.describe) {
        let _ = writeln!(text, "  {line}");
    }
    let end = entry.grant(grants, now).map_or(String::new(), |g| {
        format!(", {}", span::end(g.expires_at, now))
    });
    let why = why.map_or(String::new(), |why| format!(" ({why})"));
    let _ = writeln!(text, "state: {}{why}{end}", state.word());
    if let (State::Now, Some(limits)) = (state, entry.limits(grants, now)) {
        let _ = writeln!(text, "limited to: {limits}; another call asks the owner");
    }
    if !verbs.is_empty() {
        let rating = [entry.provenance.as_str(), entry.sensitivity.as_str()]
            .map(text::line)
            .join(", ");
        let _ = writeln!(text, "verbs: {} ({rating})", verbs.join(", "));
    }
    let (required, others) = entry.fields();
    if !required.is_empty() || !others.is_empty() {
        text.push_str("input:\n");
    }
    let width = required
        .iter()
        .chain(&others)
        .map(|name| name.chars().count())
        .max()
        .unwrap_or(0)
        .min(24);
    for (name, must) in required
        .iter()
        .map(|n| (n, true))
        .chain(others.iter().map(|n| (n, false)))
    {
        let about = &entry.io.input["properties"][*name];
        let kind = match &about["type"] {
            Value::String(one) => one.clone(),
            Value::Array(many) => many
                .iter()
                .filter_map(Value::as_str)
                .collect::<Vec<_>>()
                .join("|"),
            _ => "any".to_owned(),
        };
        let must = if must { "required" } else { "optional" };
        let says = about["description"].as_str().unwrap_or("");
        let says = format!("{} {}", text::line(says), rules(about));
        let line = format!(
            "  {:<width$} {kind:<7} {must}  {}",
            text::line(name),
            says.trim()
        );
        let _ = writeln!(text, "{}", line.trim_end());
    }
    for skill in &entry.skills {
        let skill = command::line(text::line(&skill.id));
        let _ = writeln!(text, "guidance: {skill}");
    }
    if !gives_example(entry) {
        let _ = writeln!(text, "example: {}", example(entry));
    }
    text
}

/// Whether a shipped connector describes it with a call that works. Third-party text hides no example of ours.
fn gives_example(entry: &Entry) -> bool {
    Provenance::is_ours(&entry.provenance) && entry.describe.lines().any(is_example)
}

/// The rules of a field's schema and their bounds, as a refusal names them.
fn rules(about: &Value) -> String {
    let bound = |rule: &&str| {
        let bound = match &about[*rule] {
            Value::Null => return None,
            Value::String(bound) => text::short(bound, MAX_BOUND),
            bound => text::short(&bound.to_string(), MAX_BOUND),
        };
        Some(format!("{rule}: {bound}"))
    };
    match RULES.iter().filter_map(bound).collect::<Vec<_>>() {
        none if none.is_empty() => String::new(),
        rules => format!("({})", rules.join(", ")),
    }
}

/// A command that has every required field.
fn example(entry: &Entry) -> String {
    let (required, _) = entry.fields();
    let words = required.iter().map(|name| {
        let about = &entry.io.input["properties"][*name];
        let value = match (about["enum"][0].as_str(), about["type"].as_str()) {
            (Some(value), _) => value.to_owned(),
            (None, Some("integer" | "number")) if about["minimum"].is_number() => {
                about["minimum"].to_string()
            }
            (None, Some("integer" | "number")) => "1".to_owned(),
            (None, Some("boolean")) => "true".to_owned(),
            (None, Some("object")) => "{}".to_owned(),
            _ => format!("<{name}>"),
        };
        format!(" {}", text::line(&shell::quote(&format!("{name}={value}"))))
    });
    let words: String = words.collect();
    command::line(format_args!("{}{words}", entry.id))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_that_a_call_needs() {
        let mut entry: Entry = serde_json::from_value(json!({
            "id": "workspace.write", "kind": "capability", "label": "Write a file",
            "describe": "Write a text file.\nParents are made.", "grants": ["write"],
            "provenance": "managed", "sensitivity": "elevated",
            "skills": [{"id": "workspace.how-to-use", "label": "x"}],
            "io": {"input": {"properties": {
                "path": {"type": "string", "description": "Relative path", "pattern": "^[a-z/]+$", "minLength": 1},
                "content": {"type": "string", "enum": ["tea", "mil\u{202e}k"]},
                "times": {"type": "integer", "minimum": 2, "maximum": 9},
                "ifDigest": {"type": ["string", "null"], "description": "What it held \u{202e}when read"}
            }, "required": ["path", "content", "times"]}}
        }))
        .unwrap();
        assert_eq!(
            as_text(&entry, &[], Timestamp(0)),
            "\
workspace.write (Write a file)
  Write a text file.
  Parents are made.
state: asks
verbs: write (managed, elevated)
input:
  path     string  required  Relative path (pattern: ^[a-z/]+$, minLength: 1)
  content  string  required  (enum: [\"tea\",\"mil\\u{202e}k\"])
  times    integer required  (minimum: 2, maximum: 9)
  ifDigest string|null optional  What it held \\u{202e}when read
guidance: plexus workspace.how-to-use
example: plexus workspace.write 'path=<path>' content=tea times=2
"
        );
        assert_eq!(as_json(&entry, &[], Timestamp(0))["state"], "asks");
        let mut shows = |provenance: &str, line: &str| {
            entry.provenance = provenance.to_owned();
            entry.describe = format!("Write a text file.\n{line}");
            let text = as_text(&entry, &[], Timestamp(0));
            assert!(text.contains(&format!("  {line}\n")), "{text}");
            text.contains("\nexample: plexus workspace.write ")
        };
        assert!(!shows("managed", "Example: path=a"));
        assert!(!shows("managed", "Examples: path=a; path=b"));
        assert!(shows("managed", "Examples are in the guide."));
        assert!(shows("managed", "See Example: path=a"));
        assert!(shows("extension", "Example: path=a"));
    }
}
