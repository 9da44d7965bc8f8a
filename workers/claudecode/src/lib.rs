//! The claudecode connector: Claude Code works on a copy of one folder.
//!
//! ```text
//! system/init ─▶ assistant | user … ─▶ result ─┬▶ is_error: false, and the model ended its turn     answered
//!                                              └▶ anything else                                      failed
//! ```
//! A result says `success` for a refused request too, and for an answer that was cut off: the two fields above decide.
//!
//! Must not know: agents, grants, the gateway, the key of the model server.

use plexus_coding_agent::{
    CodingAgent, HostServer, Named, Program, Shown, Turn, TurnEnd, Usage, word,
};
use plexus_ipc::worker::EgressAccess;
use serde_json::{Value, json};
use std::path::Path;

/// What this connector can do, as the gateway embeds it too.
pub const MANIFEST: &str = include_str!("../manifest.json");

/// One folder that Claude Code works on copies of.
pub type ClaudeCodeSource = CodingAgent<ClaudeCode>;

/// `claude -p --output-format stream-json`.
#[derive(Debug)]
pub struct ClaudeCode;

impl Program for ClaudeCode {
    const NAME: &'static str = "Claude Code";
    const COUNTS_THREADS: bool = false;
    const NO_THREAD: &'static str = "No conversation found";
    const SETTINGS: &'static [&'static str] = &["settings.json"];

    fn arguments(_: u16, host: Option<&HostServer>) -> Named {
        let mut servers = json!({"mcpServers": {}});
        if let Some(host) = host {
            servers["mcpServers"][&host.name] = json!({
                "type": "stdio", "command": host.program, "args": ["mcp-host"],
                "env": {"PLEXUM_MCP_SOCKET": host.address},
            });
        }
        // Without a server it allows the tools of none.
        let name = host.map_or("plexum-host", |host| &host.name);
        vec![
            ("host", servers.to_string()),
            ("tools", format!("mcp__{name}")),
        ]
    }

    fn environment(home: &Path, egress: &EgressAccess) -> Named {
        vec![
            ("CLAUDE_CONFIG_DIR", home.to_string_lossy().into_owned()),
            (
                "ANTHROPIC_BASE_URL",
                format!("http://127.0.0.1:{}", egress.port),
            ),
            ("ANTHROPIC_API_KEY", egress.credential.expose().to_owned()),
        ]
    }

    fn take(turn: &mut Turn, event: &Value) -> Option<Shown> {
        match (event["type"].as_str()?, event["subtype"].as_str()) {
            ("system", Some("init")) => {
                turn.begin(event["session_id"].as_str()?);
                None
            }
            ("system", Some("api_retry")) => Some(Shown::Event(
                json!({"kind": "error", "message": format!("another try: {}", word(&event["error"]))}),
            )),
            // One line for each block.
            ("assistant", _) => match &event["message"]["content"][0] {
                block if block["type"] == "text" => Some(turn.say(block["text"].as_str()?)),
                block if block["type"] == "tool_use" => Some(Shown::Event(tool(block))),
                _ => None,
            },
            ("result", _) => {
                turn.end = Some(end(event));
                None
            }
            _ => None,
        }
    }
}

fn tool(block: &Value) -> Value {
    let input = &block["input"];
    match block["name"].as_str() {
        Some("Bash") => json!({"kind": "command", "command": word(&input["command"])}),
        Some("Write" | "Edit") => json!({"kind": "files", "paths": [word(&input["file_path"])]}),
        _ => json!({"kind": "tool", "tool": word(&block["name"])}),
    }
}

fn end(result: &Value) -> TurnEnd {
    let is_whole = result["is_error"] == false && result["stop_reason"] == "end_turn";
    if !is_whole {
        let words = result["result"].as_str().or(result["errors"][0].as_str());
        let status = result["api_error_status"].as_u64();
        let status = status.map(|status| format!(" (status {status})"));
        let words = words.filter(|words| !words.is_empty());
        let words = words.unwrap_or("the answer was cut off");
        return TurnEnd::Failed(format!("{words}{}", status.unwrap_or_default()));
    }
    let of = |name: &str| result["usage"][name].as_u64().unwrap_or_default();
    let cached = of("cache_read_input_tokens");
    TurnEnd::Completed(Usage {
        input_tokens: of("input_tokens") + of("cache_creation_input_tokens") + cached,
        cached_input_tokens: cached,
        output_tokens: of("output_tokens"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Turn {
        let mut turn = Turn::default();
        turn.feed(ClaudeCode::take, text.as_bytes());
        turn
    }

    #[test]
    fn result_is_an_answer_only_where_the_model_ended_its_turn() {
        let result = |more: &str| {
            let text = format!(
                "{{\"type\":\"result\",\"subtype\":\"success\",\"result\":\"x\",{more}}}\n"
            );
            read(&text).end.unwrap()
        };
        let whole = r#""is_error":false,"stop_reason":"end_turn","usage":{"input_tokens":3,"cache_read_input_tokens":2,"output_tokens":1}"#;
        let usage = Usage {
            input_tokens: 5,
            cached_input_tokens: 2,
            output_tokens: 1,
        };
        assert_eq!(result(whole), TurnEnd::Completed(usage));
        for failed in [
            r#""is_error":false,"stop_reason":null"#,
            r#""is_error":true,"stop_reason":"end_turn""#,
        ] {
            assert_eq!(result(failed), TurnEnd::Failed("x".into()));
        }
        let refused = r#""is_error":true,"api_error_status":401"#;
        assert_eq!(result(refused), TurnEnd::Failed("x (status 401)".into()));
    }
}
