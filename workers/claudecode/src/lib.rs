//! The claudecode connector: Claude Code works on a copy of one folder.
//!
//! ```text
//! system/init ─▶ assistant | user … ─▶ result ─┬▶ is_error: false, and the model ended its turn     answered
//!                                              └▶ anything else                                      failed
//! ```
//! A result says `success` for a refused request too, and for an answer that was cut off: the two fields above decide, and
//! whether a text that has a price has tokens.
//!
//! Must not know: agents, grants, the gateway, the key of the model server.

#[cfg(test)]
mod oracles;

use plexus_coding_agent::{
    CodingAgent, EGRESS_HEADER, HostServer, ModelServer, NamedValues, Program, Task, Turn, TurnEnd,
    TurnProgress, Usage, list, word,
};
use serde_json::{Value, json};
use std::path::Path;

/// What this connector can do, as the gateway embeds it too.
pub const MANIFEST: &str = include_str!("../manifest.json");

/// One folder that Claude Code works on copies of.
pub type ClaudeCodeSource = CodingAgent<ClaudeCode>;

/// Its own tools that a run may use without asking anybody.
const TOOLS: [&str; 6] = ["Bash", "Write", "Edit", "Read", "Glob", "Grep"];

/// No turn costs as much, in US dollars: such a number is no cost.
const DEAREST: f64 = 1e6;

/// Why an answer is none that has no end.
const CUT_OFF: &str = "the answer was cut off";

/// `claude -p --output-format stream-json`.
#[derive(Debug)]
pub struct ClaudeCode;

impl Program for ClaudeCode {
    const NAME: &'static str = "Claude Code";
    const VERSION: &'static str = "2.1.197";
    const COUNTS_THREADS: bool = false;
    const NO_THREAD: &'static str = "No conversation found";
    const SETTINGS: &'static [&'static str] = &["settings.json", ".credentials.json"];

    fn arguments(task: &Task, _: &ModelServer, host: Option<&HostServer>) -> NamedValues {
        let mut servers = json!({"mcpServers": {}});
        if let Some(host) = host {
            servers["mcpServers"][&host.name] = json!({
                "type": "stdio", "command": host.program, "args": ["mcp-host"],
                "env": {"PLEXUM_MCP_SOCKET": host.address},
            });
        }
        // Without a server it allows the tools of none.
        let name = host.map_or("plexum-host", |host| &host.name);
        let own = task.allowed_tools.clone();
        let own = own.unwrap_or_else(|| TOOLS.map(str::to_owned).to_vec());
        let allowed = own.into_iter().chain([format!("mcp__{name}")]);
        vec![
            ("host", servers.to_string()),
            ("tools", list(allowed)),
            ("options", list(options(task))),
        ]
    }

    fn environment(home: &Path, model: &ModelServer) -> NamedValues {
        let credential = model.egress.credential.expose();
        let credential = match model.signs_in {
            true => (
                "ANTHROPIC_CUSTOM_HEADERS",
                format!("{EGRESS_HEADER}: {credential}"),
            ),
            // It sends either as its own kind of credential is sent, and the egress puts the owner's in its place.
            false if model.egress.bearer => ("CLAUDE_CODE_OAUTH_TOKEN", credential.to_owned()),
            false => ("ANTHROPIC_API_KEY", credential.to_owned()),
        };
        // It asks for /v1/messages below its base.
        let path = model.path.strip_suffix("/v1").unwrap_or(&model.path);
        vec![
            ("CLAUDE_CONFIG_DIR", home.to_string_lossy().into_owned()),
            (
                "ANTHROPIC_BASE_URL",
                format!("http://127.0.0.1:{}{path}", model.egress.port),
            ),
            credential,
        ]
    }

    fn take(turn: &mut Turn, event: &Value) -> Option<TurnProgress> {
        match (event["type"].as_str()?, event["subtype"].as_str()) {
            ("system", Some("init")) => {
                turn.begin(event["session_id"].as_str()?);
                None
            }
            ("system", Some("api_retry")) => Some(TurnProgress::Event(
                json!({"kind": "error", "message": format!("another try: {}", word(&event["error"]))}),
            )),
            // One line for each block.
            ("assistant", _) => {
                count(turn, &event["message"]);
                match &event["message"]["content"][0] {
                    block if block["type"] == "text" => Some(turn.say(block["text"].as_str()?)),
                    block if block["type"] == "tool_use" => Some(TurnProgress::Event(tool(block))),
                    _ => None,
                }
            }
            ("result", _) => {
                // To a millionth of a US dollar: what is beyond is of adding.
                let cost = event["total_cost_usd"].as_f64();
                let cost = cost.map(|cost| (cost * 1e6).round() / 1e6);
                // Less than nothing would add to the budget of a board.
                turn.cost = cost.filter(|cost| (0.0..DEAREST).contains(cost));
                turn.end = Some(end(event));
                None
            }
            _ => None,
        }
    }
}

/// The options that not every run has.
fn options(task: &Task) -> Vec<String> {
    let option = |name: &str, value: Option<String>| value.map(|value| [name.to_owned(), value]);
    [
        option("--model", task.program_model.clone()),
        option(
            "--max-budget-usd",
            task.max_cost.map(|most| most.to_string()),
        ),
        option("--max-turns", task.max_turns.map(|most| most.to_string())),
        // The others are not there at all; without this they are, and may be refused.
        option(
            "--tools",
            task.allowed_tools.as_ref().map(|tools| tools.join(",")),
        ),
    ]
    .into_iter()
    .flatten()
    .flatten()
    .collect()
}

fn tool(block: &Value) -> Value {
    let input = &block["input"];
    match block["name"].as_str() {
        Some("Bash") => json!({"kind": "command", "command": word(&input["command"])}),
        Some("Write" | "Edit") => json!({"kind": "files", "paths": [word(&input["file_path"])]}),
        _ => json!({"kind": "tool", "tool": word(&block["name"])}),
    }
}

/// Adds what an answer of the model used, once for all of its blocks.
fn count(turn: &mut Turn, message: &Value) {
    let id = message["id"].as_str().map(str::to_owned);
    if id.is_some() && turn.counted != id {
        let more = usage(&message["usage"]);
        let used = &mut turn.used;
        used.input_tokens = used.input_tokens.saturating_add(more.input_tokens);
        used.cached_input_tokens =
            (used.cached_input_tokens).saturating_add(more.cached_input_tokens);
        used.output_tokens = used.output_tokens.saturating_add(more.output_tokens);
        turn.counted = id;
    }
}

fn usage(usage: &Value) -> Usage {
    let of = |name: &str| usage[name].as_u64().unwrap_or_default();
    let cached = of("cache_read_input_tokens");
    Usage {
        input_tokens: of("input_tokens")
            .saturating_add(of("cache_creation_input_tokens"))
            .saturating_add(cached),
        cached_input_tokens: cached,
        output_tokens: of("output_tokens"),
        reasoning_tokens: 0,
    }
}

fn end(result: &Value) -> TurnEnd {
    match result["subtype"].as_str() {
        Some("error_max_budget_usd") => return TurnEnd::TooDear(usage(&result["usage"])),
        Some("error_max_turns") => return TurnEnd::TooLong(usage(&result["usage"])),
        _ => {}
    }
    let used = usage(&result["usage"]);
    let is_error = result["is_error"] != false;
    let has_text = result["result"]
        .as_str()
        .is_some_and(|text| !text.is_empty());
    // Both are known at the end of an answer alone. Of a server that counts nothing there is no price either.
    let is_priced = result["total_cost_usd"].as_f64() > Some(0.0);
    let is_uncounted = has_text && used.output_tokens == 0 && is_priced;
    let is_cut = result["stop_reason"].is_null() || is_uncounted;
    if !is_error && is_cut {
        return TurnEnd::Failed(CUT_OFF.to_owned());
    }
    if is_error || result["stop_reason"] != "end_turn" {
        let words = result["result"].as_str().or(result["errors"][0].as_str());
        let status = result["api_error_status"].as_u64();
        let status = status.map(|status| format!(" (status {status})"));
        let words = words.filter(|words| !words.is_empty());
        let words = words.unwrap_or(CUT_OFF);
        return TurnEnd::Failed(format!("{words}{}", status.unwrap_or_default()));
    }
    TurnEnd::Completed(used)
}

#[cfg(test)]
mod tests {
    use super::*;
    use plexus_ipc::message::{EgressAccess, Secret};

    fn read(text: &str) -> Turn {
        let mut turn = Turn::default();
        turn.feed(ClaudeCode::take, text.as_bytes());
        turn
    }

    #[test]
    fn base_address_keeps_the_path_of_the_server() {
        let base = |path: &str| {
            let egress = EgressAccess {
                port: 7078,
                credential: Secret::new("opens".into()),
                authorities: String::new(),
                bearer: false,
            };
            let model = ModelServer {
                egress,
                path: path.to_owned(),
                signs_in: false,
            };
            let environment = ClaudeCode::environment(Path::new("/home"), &model);
            let base = environment
                .into_iter()
                .find(|(name, _)| *name == "ANTHROPIC_BASE_URL");
            base.unwrap().1
        };
        assert_eq!(base("/claude"), "http://127.0.0.1:7078/claude");
        assert_eq!(base("/claude/v1"), "http://127.0.0.1:7078/claude");
        assert_eq!(base(""), "http://127.0.0.1:7078");
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
            reasoning_tokens: 0,
        };
        assert_eq!(result(whole), TurnEnd::Completed(usage));
        for cut in [
            r#""is_error":false,"stop_reason":null"#,
            r#""is_error":false,"stop_reason":"end_turn","total_cost_usd":0.00075,"usage":{"output_tokens":0}"#,
        ] {
            assert_eq!(result(cut), TurnEnd::Failed(CUT_OFF.into()), "{cut}");
        }
        let uncounted = r#""is_error":false,"stop_reason":"end_turn","total_cost_usd":0"#;
        assert_eq!(result(uncounted), TurnEnd::Completed(Usage::default()));
        for failed in [
            r#""is_error":false,"stop_reason":"refusal","usage":{"output_tokens":1}"#,
            r#""is_error":true,"stop_reason":"end_turn""#,
        ] {
            assert_eq!(result(failed), TurnEnd::Failed("x".into()), "{failed}");
        }
        let refused = r#""is_error":true,"api_error_status":401"#;
        assert_eq!(result(refused), TurnEnd::Failed("x (status 401)".into()));
        let priced = "{\"type\":\"result\",\"total_cost_usd\":0.0022500000000000003}\n";
        assert_eq!(read(priced).cost, Some(0.00225));
        for odd in ["-1000", "1e300", "1e308"] {
            let odd = format!("{{\"type\":\"result\",\"total_cost_usd\":{odd}}}\n");
            assert_eq!(read(&odd).cost, None, "{odd}");
        }
    }
}
