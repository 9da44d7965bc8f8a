//! What a call streams beside text, in words: the steps of a coding agent, and any other event by its members.
//!
//! The words are as their author wrote them: who shows them escapes them.
//!
//! Must not know: who shows it.

use crate::words::cut;
use serde_json::Value;

/// Longest value that is shown, in characters.
const LONGEST: usize = 200;

/// One event in a few words. None for one that adds nothing to what was said: a step that goes on, ended well, or is recorded.
#[must_use]
pub fn words(event: &Value) -> Option<String> {
    let Value::Object(members) = event else {
        return Some(shown(event));
    };
    let status = event["status"].as_str();
    let is_begun = matches!(status, None | Some("in_progress" | "started"));
    let ended = |what: &str| match (status, event["exitCode"].as_i64()) {
        (_, Some(code @ 1..)) => Some(format!("{what} ended with {code}")),
        (Some("failed" | "declined"), _) => Some(format!("{what}: {}", shown(&event["status"]))),
        _ => None,
    };
    match event["kind"].as_str() {
        Some("command") if is_begun => Some(format!("$ {}", shown(&event["command"]))),
        Some("command") => ended(&shown(&event["command"])),
        Some("files") => Some(format!("changes {}", shown(&event["paths"]))),
        Some("tool") => {
            let server = event["server"].as_str().filter(|name| !name.is_empty());
            let server = server.map(|name| format!("{name}: "));
            let tool = format!("{}{}", server.unwrap_or_default(), shown(&event["tool"]));
            match is_begun {
                true => Some(format!("uses {tool}")),
                false => ended(&tool),
            }
        }
        Some("error") => Some(format!("error: {}", shown(&event["message"]))),
        // The record of a step that was told when it began.
        Some("call") => None,
        Some("waits") => Some(format!(
            "waits for the owner: {}",
            shown(&event["capability"])
        )),
        Some(kind @ ("reasoning" | "todo_list" | "web_search")) => is_begun.then(|| {
            let does = match kind {
                "reasoning" => "thinks",
                "todo_list" => "plans",
                _ => "searches the web",
            };
            does.to_owned()
        }),
        None if event["member"].is_u64() && event["of"].is_u64() => Some(format!(
            "{} of {}: {} {}",
            event["member"],
            event["of"],
            shown(&event["id"]),
            shown(&event["state"])
        )),
        _ => {
            let members = members.iter();
            let all = members.map(|(name, value)| format!("{name}: {}", shown(value)));
            let all: Vec<_> = all.collect();
            Some(all.join(", "))
        }
    }
}

fn shown(value: &Value) -> String {
    let whole = match value {
        Value::String(text) => text.clone(),
        Value::Array(all) => all.iter().map(shown).collect::<Vec<_>>().join(", "),
        other => other.to_string(),
    };
    cut(&whole, LONGEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_read_as_words() {
        #[rustfmt::skip]
        let rows = [
            (r#"{"kind": "command", "command": "ls docs"}"#, "$ ls docs"),
            (r#"{"kind": "command", "command": "ls", "status": "in_progress", "exitCode": null}"#, "$ ls"),
            (r#"{"kind": "command", "command": "ls", "status": "completed", "exitCode": 0}"#, ""),
            (r#"{"kind": "command", "command": "ls x", "status": "failed", "exitCode": 2}"#, "ls x ended with 2"),
            (r#"{"kind": "files", "paths": ["a.txt", "b.txt"]}"#, "changes a.txt, b.txt"),
            (r#"{"kind": "tool", "tool": "Read"}"#, "uses Read"),
            (r#"{"kind": "tool", "server": "notes", "tool": "read", "status": "failed"}"#, "notes: read: failed"),
            (r#"{"kind": "reasoning", "status": "started"}"#, "thinks"),
            (r#"{"kind": "reasoning", "status": "completed"}"#, ""),
            (r#"{"kind": "error", "message": "no route"}"#, "error: no route"),
            (r#"{"state": "done", "auditId": "evt_1", "member": 1, "of": 3, "id": "notes.read"}"#, "1 of 3: notes.read done"),
            (r#"{"kind": "call", "id": "call_1", "name": "exec_command", "output": "too\n"}"#, ""),
            (r#"{"step": "two"}"#, "step: two"),
            ("7", "7"),
        ];
        for (event, line) in rows {
            let event: Value = serde_json::from_str(event).unwrap();
            let told = Some(line).filter(|line| !line.is_empty());
            assert_eq!(words(&event).as_deref(), told, "{event}");
        }
    }
}
