//! The surface of an extension, as lines of text.
//!
//! Must not know: where it comes from, what is asked about it.

use crate::owner::{list_of, text_of};
use plexus_client::text;
use serde_json::Value;

/// All that the owner is to know before a yes.
pub(super) fn shown(seen: &Value) -> String {
    surface_lines(&seen["surface"], &seen["changes"])
}

/// The same of a surface, and of what differs from what the owner agreed to before.
pub(crate) fn surface_lines(surface: &Value, changes: &Value) -> String {
    let line = |value: &Value, member: &str| text::line(text_of(value, member));
    let mut lines = vec![format!(
        "extension    {} ({})",
        line(surface, "source"),
        line(surface, "label")
    )];
    for program in list_of(surface, "programs") {
        lines.push(format!("program      {}", line(program, "path")));
        lines.push(format!("  sha256     {}", line(program, "sha256")));
    }
    for folder in list_of(surface, "folders") {
        let does = match folder["access"] == "read" {
            true => "reads",
            false => "reads, and writes when you approve a call",
        };
        let path = match folder["path"].as_str() {
            Some(path) => text::line(path),
            None => "not named yet".to_owned(),
        };
        lines.push(format!(
            "folder       {path} ({}): {does}",
            line(folder, "name")
        ));
    }
    if list_of(surface, "folders").is_empty() {
        lines.push("folder       none".to_owned());
    }
    lines.extend(network_lines(surface));
    for capability in list_of(surface, "capabilities") {
        lines.extend(capability_lines(capability));
    }
    if let Some(changes) = changes.as_array() {
        let changes = changes.iter().filter_map(Value::as_str);
        let changes: Vec<_> = changes
            .map(|words| format!("  {}", text::line(words)))
            .collect();
        let changes = match changes.is_empty() {
            true => "  nothing".to_owned(),
            false => changes.join("\n"),
        };
        lines.push(format!("\nsince you agreed to it:\n{changes}"));
    }
    lines.join("\n")
}

/// What it reaches, and what is added on the way.
fn network_lines(surface: &Value) -> Vec<String> {
    let line = |value: &Value, member: &str| text::line(text_of(value, member));
    let hosts = list_of(surface, "hosts");
    let mut lines: Vec<_> = hosts
        .iter()
        .map(|host| {
            let how = match (host["encrypted"] == true, host["certificate"].is_string()) {
                (false, _) => "not encrypted".to_owned(),
                (true, true) => format!("with the certificate {}", line(host, "certificate")),
                (true, false) => "encrypted".to_owned(),
            };
            format!("network      {} alone, {how}", line(host, "url"))
        })
        .collect();
    if lines.is_empty() {
        lines.push("network      none".to_owned());
    }
    for socket in list_of(surface, "sockets") {
        let path = line(socket, "path");
        lines.push(format!("socket       {path} alone, of an app of yours"));
    }
    for secret in list_of(surface, "secrets") {
        let how = match secret["as"].as_str() {
            Some(header) => format!("the header {}", text::line(header)),
            None => "Authorization: Bearer".to_owned(),
        };
        let name = line(secret, "name");
        lines.push(format!(
            "secret       {name}: added outside of the sandbox, as {how}"
        ));
    }
    lines
}

/// The request of a capability.
fn request_lines(capability: &Value) -> Vec<String> {
    let texts = |member: &str| text::line(text_of(capability, member));
    let mut lines = vec![format!("  sends      {} {}", texts("method"), texts("url"))];
    let query = capability["query"].as_object().into_iter().flatten();
    let query: Vec<_> = query
        .map(|(name, value)| text::line(&format!("{name}={}", value.as_str().unwrap_or_default())))
        .collect();
    if !query.is_empty() {
        lines.push(format!("  query      {}", query.join(", ")));
    }
    if !capability["body"].is_null() {
        let body = text::line(&capability["body"].to_string());
        lines.push(format!("  body       {body}"));
    }
    lines
}

/// What a capability asks the app.
fn question_lines(capability: &Value) -> Vec<String> {
    let socket = text::line(text_of(capability, "socket"));
    vec![
        format!("  asks       the app at {socket}"),
        "  its input  all fields, as one line of JSON".to_owned(),
    ]
}

/// The run of a capability.
fn run_lines(capability: &Value) -> Vec<String> {
    let arguments = list_of(capability, "arguments").iter();
    let arguments: Vec<_> = arguments
        .map(|word| text::line(&word.to_string()))
        .collect();
    let program = text::line(text_of(capability, "program"));
    let mut lines = vec![format!("  runs       {program} {}", arguments.join(" "))];
    if capability["exchange"] == true {
        lines.push("  its input  all fields, as one line of JSON".to_owned());
    }
    if let Some(field) = capability["stdin"].as_str() {
        lines.push(format!("  its input  {{{}}}", text::line(field)));
    }
    let variables = capability["environment"].as_object().into_iter().flatten();
    let variables: Vec<_> = variables
        .map(|(name, value)| text::line(&format!("{name}={value}")))
        .collect();
    if !variables.is_empty() {
        lines.push(format!("  variables  {}", variables.join(", ")));
    }
    let writes = list_of(capability, "writes").iter();
    let writes: Vec<_> = writes.filter_map(Value::as_str).map(text::line).collect();
    if !writes.is_empty() {
        lines.push(format!("  writes in  {}", writes.join(", ")));
    }
    lines
}

fn capability_lines(capability: &Value) -> Vec<String> {
    let texts = |member: &str| {
        let all = list_of(capability, member).iter().filter_map(Value::as_str);
        all.map(text::line).collect::<Vec<_>>()
    };
    let is_text = text_of(capability, "kind") == "skill";
    let asks = match (
        capability["asksEachTime"] == true,
        capability["url"].is_string() || capability["socket"].is_string(),
    ) {
        _ if is_text => "a text that agents read without asking",
        (true, _) => "asks you each time",
        (false, true) => {
            "once granted it asks no more, and can send no other request than these reads"
        }
        (false, false) => "once granted it asks no more, and runs where it can write nothing",
    };
    let id = text::line(text_of(capability, "id"));
    let mut lines = vec![format!("\n{id} ({}): {asks}", texts("verbs").join(", "))];
    for words in text_of(capability, "describe").lines() {
        // Not as the facts below: these are the author's words.
        lines.push(format!("    | {}", text::line(words)));
    }
    if is_text {
        lines.push("  its text:".to_owned());
        let words = text::lines(text_of(capability, "text"));
        lines.extend(words.map(|words| format!("    | {words}")));
        return lines;
    }
    let sends = capability["url"].is_string();
    lines.extend(match (sends, capability["socket"].is_string()) {
        (true, _) => request_lines(capability),
        (false, true) => question_lines(capability),
        (false, false) => run_lines(capability),
    });
    let statuses = match (sends, capability["exitStatuses"].is_array()) {
        (true, _) => format!("; statuses {}", capability["statuses"]),
        (false, true) => format!("; exit statuses {}", capability["exitStatuses"]),
        (false, false) => String::new(),
    };
    lines.push(format!(
        "  answers    {} of at most {} bytes within {} ms{}",
        text::line(text_of(capability, "output")),
        capability["outputBytes"],
        capability["timeoutMs"],
        text::line(&statuses)
    ));
    lines.push(format!(
        "  input      {}",
        text::line(&capability["input"].to_string())
    ));
    lines
}
