//! What a call differs in from the last one of its kind that the owner approved: "the same as yesterday, but for this".
//!
//! ```text
//! approved with an input ─▶ kept as the agent's last of that capability ─▶ compared when the next is asked ─▶ on its card
//! ```
//! Invariants: inputs are the owner's: what is kept lies in `pending/` with mode 0600, never in the ledger or the log;
//! it is bounded, one for each agent and capability, and goes with the agent; a comparison is made once, when its item
//! is, because a card does not change under its reader.

use plexus_home::state_dir::write_private;
use plexus_protocol::{AgentId, CapabilityId, Digest, Timestamp, words::counted};
use plexus_trust::{EnrollmentStatus, State};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

/// Largest input that is kept, in bytes. After a larger one nothing is compared.
const MAX_INPUT: usize = 256 * 1024;
/// Most inputs that are kept; the one that was approved longest ago goes first.
const MAX_KEPT: usize = 500;
/// Most changes that a card lists.
const MAX_CHANGES: usize = 20;
/// Most characters of one side of a change. Of a longer text, and of one with several lines, the size is given.
const MAX_TEXT: usize = 200;

/// The last approved call.
#[derive(Serialize, Deserialize)]
struct Last {
    at: Timestamp,
    input: Value,
}

/// One difference: where, what it was, what it is. Texts as they are, anything else as JSON; none where nothing was.
#[derive(Debug, PartialEq, Serialize)]
struct Change {
    path: String,
    was: Option<String>,
    now: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    form: Option<Form>,
}

/// How both sides are given, where that is not their value.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Form {
    /// How large they are, in words: their lines beside those of the plan would read as a part of the change.
    Size,
    /// As what the call acts on. The rest of two calls on different things is not compared.
    Thing,
}

fn file(dir: &Path, agent: &AgentId, capability: &CapabilityId) -> PathBuf {
    // A capability's name may be as long as a file's.
    dir.join(format!(
        "last.{agent}.{}.approved",
        Digest::of(capability.as_str().as_bytes())
    ))
}

/// The agent whose last approved call a file of this name holds.
fn agent_of(name: &str) -> Option<AgentId> {
    let (agent, _) = name
        .strip_prefix("last.")?
        .strip_suffix(".approved")?
        .rsplit_once('.')?;
    AgentId::parse(agent).ok()
}

/// Keeps `input` as the last approved call of its kind.
pub(super) fn keep(
    dir: &Path,
    agent: &AgentId,
    capability: &CapabilityId,
    input: &[u8],
    at: Timestamp,
) -> io::Result<()> {
    let path = file(dir, agent, capability);
    let Some(input) = parsed(input) else {
        // Comparing with one before the last would mislead.
        return match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        };
    };
    write_private(&path, &serde_json::to_vec(&Last { at, input })?)
}

/// What `input` differs in from the last approved call of its kind, as the card has it; none where there is no such call.
/// `things` are its fields, as dotted paths, that name what it acts on.
pub(super) fn compared(
    dir: &Path,
    agent: &AgentId,
    capability: &CapabilityId,
    input: &[u8],
    things: &[String],
) -> Option<Value> {
    let last: Last = serde_json::from_slice(&fs::read(file(dir, agent, capability)).ok()?).ok()?;
    let input = parsed(input)?;
    let of = |field: &String| other_thing(field, &last.input, &input);
    let mut changes: Vec<Change> = things.iter().filter_map(of).collect();
    if changes.is_empty() {
        differences("", Some(&last.input), Some(&input), &mut changes);
    }
    let more = changes.len().saturating_sub(MAX_CHANGES);
    changes.truncate(MAX_CHANGES);
    let mut out = json!({"since": last.at, "changes": changes});
    if more > 0 {
        out["more"] = json!(more);
    }
    Some(out)
}

/// What is kept and needed no more: the calls of agents that are gone, and the oldest beyond the bound.
pub(super) fn tidy(dir: &Path, state: impl Fn() -> Arc<State>) {
    let Ok(files) = fs::read_dir(dir) else {
        return;
    };
    let files: Vec<_> = files.flatten().collect();
    let state = state();
    let mut kept = Vec::new();
    for file in files {
        let name = file.file_name();
        let Some(agent) = name.to_str().and_then(agent_of) else {
            continue;
        };
        if state
            .agent(&agent)
            .is_some_and(|agent| agent.status != EnrollmentStatus::Revoked)
        {
            let at = file.metadata().and_then(|m| m.modified()).ok();
            kept.push((at, file.path()));
        } else {
            let _ = fs::remove_file(file.path());
        }
    }
    kept.sort();
    let beyond = kept.len().saturating_sub(MAX_KEPT);
    for (_, path) in kept.into_iter().take(beyond) {
        let _ = fs::remove_file(path);
    }
}

fn parsed(input: &[u8]) -> Option<Value> {
    (input.len() <= MAX_INPUT).then(|| plexus_protocol::json::parse_wide(input).ok())?
}

/// Adds every place in which the two differ, by its JSON pointer, in the order of the names.
fn differences(path: &str, was: Option<&Value>, now: Option<&Value>, out: &mut Vec<Change>) {
    match (was, now) {
        (was, now) if was == now => {}
        (Some(Value::Object(was)), Some(Value::Object(now))) => {
            for name in names(was, now) {
                let below = format!("{path}/{}", plexus_protocol::json::pointer_token(name));
                differences(&below, was.get(name), now.get(name), out);
            }
        }
        (Some(Value::Array(was)), Some(Value::Array(now))) => {
            for index in 0..was.len().max(now.len()) {
                differences(
                    &format!("{path}/{index}"),
                    was.get(index),
                    now.get(index),
                    out,
                );
            }
        }
        (was, now) => out.push(change(path, was, now)),
    }
}

/// That the two act on different things by this field.
fn other_thing(field: &str, was: &Value, now: &Value) -> Option<Change> {
    let path = field.split('.').fold(String::new(), |path, name| {
        format!("{path}/{}", plexus_protocol::json::pointer_token(name))
    });
    let (was, now) = (was.pointer(&path)?, now.pointer(&path)?);
    (was != now).then(|| Change {
        was: Some(cut(&said(was))),
        now: Some(cut(&said(now))),
        path,
        form: Some(Form::Thing),
    })
}

fn names<'v>(was: &'v Map<String, Value>, now: &'v Map<String, Value>) -> Vec<&'v String> {
    let mut names: Vec<&String> = was.keys().chain(now.keys()).collect();
    names.sort();
    names.dedup();
    names
}

fn change(path: &str, was: Option<&Value>, now: Option<&Value>) -> Change {
    let is_text = |value: Option<&Value>| value.is_none_or(Value::is_string);
    let texts = is_text(was) && is_text(now);
    // A text beside something else keeps its quotes: "17" is not 17.
    let side = |value: &Value| match texts {
        true => said(value),
        false => value.to_string(),
    };
    let (was, now) = (was.map(side), now.map(side));
    let large = was.as_deref().is_some_and(is_large) || now.as_deref().is_some_and(is_large);
    let side = |text: String| if large { size(&text) } else { text };
    Change {
        path: cut(path),
        was: was.map(side),
        now: now.map(side),
        form: large.then_some(Form::Size),
    }
}

/// A text as it is, anything else as JSON.
fn said(value: &Value) -> String {
    value
        .as_str()
        .map_or_else(|| value.to_string(), str::to_owned)
}

fn is_large(text: &str) -> bool {
    let mut lines = text.split(['\n', '\r']).filter(|line| !line.is_empty());
    text.chars().nth(MAX_TEXT).is_some() || lines.nth(1).is_some()
}

fn size(text: &str) -> String {
    let bytes = counted(text.len(), "byte");
    match text.lines().count() {
        0 | 1 => bytes,
        lines => format!("{lines} lines, {bytes}"),
    }
}

fn cut(text: &str) -> String {
    match text.char_indices().nth(MAX_TEXT) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn between(was: &Value, now: &Value) -> Vec<(String, Option<String>, Option<String>)> {
        let mut changes = Vec::new();
        differences("", Some(was), Some(now), &mut changes);
        let changes = changes.into_iter();
        changes.map(|c| (c.path, c.was, c.now)).collect()
    }

    #[test]
    fn each_place_that_differs_is_named() {
        let some = |text: &str| Some(text.to_owned());
        let was = json!({"path": "a.md", "n": 17, "list": [1, 2], "gone": "x", "a/b": 1});
        let now =
            json!({"path": "b.md", "n": "17", "list": [1, 3, 4], "new": {"deep": true}, "a/b": 2});
        assert_eq!(
            between(&was, &now),
            [
                ("/a~1b".into(), some("1"), some("2")),
                ("/gone".into(), some("x"), None),
                ("/list/1".into(), some("2"), some("3")),
                ("/list/2".into(), None, some("4")),
                ("/n".into(), some("17"), some("\"17\"")),
                ("/new".into(), None, some("{\"deep\":true}")),
                ("/path".into(), some("a.md"), some("b.md")),
            ]
        );
        assert_eq!(between(&was, &was), []);
    }

    #[test]
    fn of_long_texts_the_size_is_given() {
        let of = |was: &str, now: &str| {
            let change = change("/x", Some(&json!(was)), Some(&json!(now)));
            let sides = (change.was.unwrap(), change.now.unwrap());
            (sides.0, sides.1, change.form)
        };
        let pair = |was: &str, now: &str, form| (was.to_owned(), now.to_owned(), form);
        assert_eq!(of("one\n", "two\n"), pair("one\n", "two\n", None));
        assert_eq!(
            of("x", "one\ntwo\n"),
            pair("1 byte", "2 lines, 8 bytes", Some(Form::Size))
        );
        assert_eq!(
            of(&"a".repeat(201), "b\r\nc"),
            pair("201 bytes", "2 lines, 4 bytes", Some(Form::Size))
        );
    }

    #[test]
    fn of_another_thing_only_that_is_said() {
        let dir = tempfile::tempdir().unwrap();
        let (agent, id) = ("me".parse().unwrap(), "w.write".parse().unwrap());
        let at: Timestamp = serde_json::from_str("\"2026-01-01T00:00:00.000Z\"").unwrap();
        let last = br#"{"to":{"path":"a.md"},"content":"a\nb"}"#;
        keep(dir.path(), &agent, &id, last, at).unwrap();
        let changes = |input: &[u8]| {
            let things = ["to.path".to_owned()];
            compared(dir.path(), &agent, &id, input, &things).unwrap()["changes"].take()
        };
        assert_eq!(
            changes(br#"{"to":{"path":"b.md"},"content":"c\nd"}"#),
            json!([{"path": "/to/path", "was": "a.md", "now": "b.md", "form": "thing"}])
        );
        assert_eq!(
            changes(br#"{"to":{"path":"a.md"},"content":"c\nd"}"#),
            json!([{"path": "/content", "was": "2 lines, 3 bytes", "now": "2 lines, 3 bytes", "form": "size"}])
        );
    }

    #[test]
    fn the_last_one_is_compared_and_goes_with_its_agent() {
        let dir = tempfile::tempdir().unwrap();
        let (agent, id) = ("my.agent-1".parse().unwrap(), "w.write".parse().unwrap());
        let at: Timestamp = serde_json::from_str("\"2026-01-01T00:00:00.000Z\"").unwrap();
        assert_eq!(compared(dir.path(), &agent, &id, b"{}", &[]), None);
        keep(dir.path(), &agent, &id, br#"{"content":"a"}"#, at).unwrap();
        let said = compared(dir.path(), &agent, &id, br#"{"content":"b"}"#, &[]).unwrap();
        assert_eq!(
            said,
            json!({"since": "2026-01-01T00:00:00.000Z", "changes": [{"path": "/content", "was": "a", "now": "b"}]})
        );
        let other: AgentId = "other".parse().unwrap();
        // Of the same agent only.
        assert_eq!(compared(dir.path(), &other, &id, b"{}", &[]), None);

        // One that is too large leaves nothing to compare with, rather than something older.
        let large = serde_json::to_vec(&json!({"content": "x".repeat(MAX_INPUT)})).unwrap();
        keep(dir.path(), &agent, &id, &large, at).unwrap();
        assert_eq!(compared(dir.path(), &agent, &id, b"{}", &[]), None);

        keep(dir.path(), &agent, &id, b"{}", at).unwrap();
        tidy(dir.path(), Arc::<State>::default);
        // The agent is not known.
        assert_eq!(compared(dir.path(), &agent, &id, b"{}", &[]), None);
    }

    proptest! {
        #[test]
        fn a_side_is_one_bounded_line(was in any::<String>(), now in "[ab\n]{0,400}") {
            let change = change("/x", Some(&json!(was)), Some(&json!(now)));
            for side in [change.was.unwrap(), change.now.unwrap()] {
                let lines = side.split(['\n', '\r']).filter(|line| !line.is_empty());
                prop_assert!(side.chars().count() <= MAX_TEXT && lines.count() <= 1);
            }
        }
    }
}
