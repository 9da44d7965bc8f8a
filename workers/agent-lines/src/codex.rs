//! What the lines of `codex exec --json` mean.
//!
//! ```text
//! thread.started ─▶ turn.started ─▶ item.* … ─┬▶ turn.completed      answered, whatever became of its tools
//!                                             └▶ turn.failed         the only line that is a failure
//! ```

use crate::turn::{Turn, TurnEnd, TurnProgress, Usage, word};
use serde_json::{Value, json};

/// Most paths in an event.
const MOST_PATHS: usize = 50;

/// Takes one event of Codex.
pub fn codex(turn: &mut Turn, event: &Value) -> Option<TurnProgress> {
    match event["type"].as_str()? {
        "thread.started" => {
            turn.begin(event["thread_id"].as_str()?);
            None
        }
        "turn.completed" => {
            let usage = &event["usage"];
            let of = |name: &str| usage[name].as_u64().unwrap_or_default();
            // The sum over the thread.
            turn.end = Some(TurnEnd::Completed(Usage {
                input_tokens: of("input_tokens"),
                cached_input_tokens: of("cached_input_tokens"),
                output_tokens: of("output_tokens"),
                reasoning_tokens: of("reasoning_output_tokens"),
            }));
            None
        }
        "turn.failed" => {
            let why = event["error"]["message"].as_str().unwrap_or("no reason");
            turn.end = Some(TurnEnd::Failed(why.to_owned()));
            None
        }
        // Not final: a new connection is one too.
        "error" => Some(TurnProgress::Event(
            json!({"kind": "error", "message": word(&event["message"])}),
        )),
        "item.started" => item(turn, &event["item"], ItemStage::Started),
        "item.updated" => item(turn, &event["item"], ItemStage::Updated),
        "item.completed" => item(turn, &event["item"], ItemStage::Completed),
        _ => None,
    }
}

/// How far an item has come.
#[derive(Clone, Copy)]
enum ItemStage {
    Started,
    Updated,
    Completed,
}

fn item(turn: &mut Turn, item: &Value, stage: ItemStage) -> Option<TurnProgress> {
    match (item["type"].as_str()?, stage) {
        ("agent_message", ItemStage::Completed) => Some(turn.say(item["text"].as_str()?)),
        ("error", ItemStage::Completed) => {
            turn.warn(word(&item["message"]));
            None
        }
        ("command_execution", _) => Some(TurnProgress::Event(json!({
            "kind": "command", "command": word(&item["command"]), "status": item["status"].as_str(),
            "exitCode": item["exit_code"].as_i64(),
        }))),
        ("file_change", ItemStage::Completed) => {
            let changes = item["changes"].as_array()?.iter().take(MOST_PATHS);
            let paths: Vec<_> = changes.map(|change| word(&change["path"])).collect();
            Some(TurnProgress::Event(
                json!({"kind": "files", "paths": paths}),
            ))
        }
        ("mcp_tool_call", _) => Some(TurnProgress::Event(json!({
            "kind": "tool", "server": word(&item["server"]), "tool": word(&item["tool"]),
            "status": item["status"].as_str(),
        }))),
        ("agent_message" | "error" | "file_change", ItemStage::Started | ItemStage::Updated) => {
            None
        }
        // It thinks, plans or searches, or does what this version has no words for.
        (_, stage) => {
            let status = item["status"].as_str().unwrap_or(match stage {
                ItemStage::Started => "started",
                ItemStage::Updated => "updated",
                ItemStage::Completed => "completed",
            });
            Some(TurnProgress::Event(
                json!({"kind": word(&item["type"]), "status": status}),
            ))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> (Turn, Vec<TurnProgress>) {
        let mut turn = Turn::default();
        // In pieces that end anywhere.
        let pieces = text.as_bytes().chunks(7);
        let shown = pieces.flat_map(|bytes| turn.feed(codex, bytes)).collect();
        (turn, shown)
    }

    #[test]
    fn lines_come_to_a_turn() {
        let (turn, shown) = read(
            r#"{"type":"thread.started","thread_id":"01a1f7be-94ef-7750-9432-11926ef85bf9"}
no JSON
{"type":"item.completed","item":{"type":"error","message":"Model metadata not found."}}
{"type":"turn.started"}
{"type":"error","message":"Reconnecting... 1/1"}
{"type":"item.started","item":{"type":"command_execution","command":"ls","exit_code":null,"status":"in_progress"}}
{"type":"item.completed","item":{"type":"command_execution","command":"ls","exit_code":3,"status":"failed"}}
{"type":"item.completed","item":{"type":"agent_message","text":"Done."}}
{"type":"item.completed","item":{"type":"reasoning","text":"Hm."}}
{"type":"item.updated","item":{"type":"todo_list","items":[]}}
{"type":"item.started","item":{"type":"file_change","changes":[],"status":"in_progress"}}
{"type":"something.new","item":7}
{"type":"turn.completed","usage":{"input_tokens":200,"cached_input_tokens":10,"output_tokens":20,"reasoning_output_tokens":5}}
"#,
        );
        assert_eq!(turn.thread(), Some("01a1f7be-94ef-7750-9432-11926ef85bf9"));
        assert_eq!(turn.text, "Done.\n");
        let left_out = "a line was no JSON, and was left out";
        assert_eq!(turn.warnings, [left_out, "Model metadata not found."]);
        let usage = Usage {
            input_tokens: 200,
            cached_input_tokens: 10,
            output_tokens: 20,
            reasoning_tokens: 5,
        };
        assert_eq!(turn.end, Some(TurnEnd::Completed(usage)));
        assert_eq!(shown.len(), 6, "{shown:?}");
        let thought = json!({"kind": "reasoning", "status": "completed"});
        let planned = json!({"kind": "todo_list", "status": "updated"});
        assert_eq!(shown[4..], [thought, planned].map(TurnProgress::Event));
        assert_eq!(
            shown[2],
            TurnProgress::Event(
                json!({"kind": "command", "command": "ls", "status": "failed", "exitCode": 3})
            )
        );
    }

    #[test]
    fn failed_turn_is_told_from_a_passing_error() {
        let (turn, _) = read("{\"type\":\"error\",\"message\":\"x\"}\n");
        assert_eq!(turn.end, None);
        let (turn, _) = read("{\"type\":\"turn.failed\",\"error\":{\"message\":\"401\"}}\n");
        assert_eq!(turn.end, Some(TurnEnd::Failed("401".into())));
        // Without its line break a line is none: Codex was killed in it.
        let (turn, _) = read("{\"type\":\"turn.failed\",\"error\":{\"message\":\"401\"}}");
        assert_eq!(turn.end, None);
    }
}
