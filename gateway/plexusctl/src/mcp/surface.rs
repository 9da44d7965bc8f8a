//! What an MCP server is, may reach and says: all that the owner is to know before an approval.

use crate::owner::{list_of, text_of};
use plexus_client::text;
use serde_json::Value;

/// The whole surface, one fact a line.
pub(crate) fn surface(seen: &Value) -> String {
    let texts = |member: &str| {
        let all = list_of(seen, member).iter().filter_map(Value::as_str);
        let all: Vec<_> = all.map(text::line).collect();
        match all.is_empty() {
            true => "none".to_owned(),
            false => all.join(", "),
        }
    };
    let mut lines = vec![format!(
        "MCP server   {}",
        text::line(text_of(seen, "name"))
    )];
    let url = seen["url"].as_str();
    match url {
        Some(url) => lines.push(format!("URL          {}", text::line(url))),
        None => lines.push(format!(
            "program      {}",
            text::line(text_of(seen, "program"))
        )),
    }
    if let Some(resolved) = seen["resolved"].as_str() {
        let resolved = resolved.trim_start_matches("program reader ");
        lines.push(format!("  which is   {}", text::line(resolved)));
    }
    let claims = match (
        seen["serverInfo"]["name"].as_str(),
        seen["serverInfo"]["version"].as_str(),
    ) {
        (Some(name), version) => format!(
            "{} {}",
            text::line(name),
            text::line(version.unwrap_or_default())
        ),
        (None, _) => "nothing".to_owned(),
    };
    match url {
        Some(_) => lines.extend([
            format!("secret       {}", texts("secrets")),
            "sandbox      none: it runs elsewhere, and may do with a call what it likes".to_owned(),
        ]),
        None => lines.extend([
            format!("arguments    {}", texts("arguments")),
            format!("environment  {}", texts("environment")),
            format!("secrets      {}", texts("secrets")),
            format!("reads        {}", texts("code")),
            format!(
                "  and changes, when you approve a call: {}",
                texts("folders")
            ),
            "network      none".to_owned(),
        ]),
    }
    for files in list_of(seen, "pinned").iter().filter_map(Value::as_str) {
        let (_, files) = files.split_once(' ').unwrap_or_default();
        lines.push(format!("every file   {}", text::line(files)));
    }
    for code in list_of(seen, "changeable").iter().filter_map(Value::as_str) {
        let code = code.trim_start_matches("changeable ");
        lines.push(format!(
            "AGENTS CAN CHANGE THIS CODE: {}; each change stops it until you agree again",
            text::line(code)
        ));
    }
    lines.push(format!("it says that it is {claims}"));
    if let Some(instructions) = seen["instructions"].as_str() {
        lines.push(indented("it instructs", instructions));
    }
    for tool in list_of(seen, "tools") {
        let name = text::line(text_of(tool, "name"));
        let treated = match (tool["refused"].as_str(), tool["verbs"][0] == "read") {
            (Some(why), _) => format!("not lent: {}", text::line(why)),
            (None, true) if url.is_some() => {
                "a read by this server's word; nothing holds it".to_owned()
            }
            (None, true) => "a read: runs where it can change nothing".to_owned(),
            (None, false) => "asks you each time".to_owned(),
        };
        lines.push(format!("\ntool {name}: {treated}"));
        lines.push(indented("described as", text_of(tool, "description")));
        if tool["claims"].is_object() {
            lines.push(format!(
                "  the server claims {}",
                text::line(&tool["claims"].to_string())
            ));
        }
        lines.push(format!(
            "  input {}",
            text::line(&tool["input"].to_string())
        ));
    }
    if let Some(changes) = seen["changes"].as_object() {
        let list = |member: &str| {
            let all = changes[member].as_array().into_iter().flatten();
            let all: Vec<_> = all.filter_map(Value::as_str).map(text::line).collect();
            (!all.is_empty()).then(|| format!("{member} {}", all.join(", ")))
        };
        let mut what: Vec<String> = ["new", "changed", "gone"]
            .into_iter()
            .filter_map(list)
            .collect();
        if changes["instructions"] == true {
            what.push("other instructions".to_owned());
        }
        let what = match what.is_empty() {
            true => "nothing".to_owned(),
            false => what.join("; "),
        };
        lines.push(format!("\nsince you agreed to it: {what}"));
    }
    lines.join("\n")
}

fn indented(what: &str, words: &str) -> String {
    let lines: Vec<_> = words
        .lines()
        .map(|line| format!("    {}", text::line(line)))
        .collect();
    format!("  {what}:\n{}", lines.join("\n"))
}
