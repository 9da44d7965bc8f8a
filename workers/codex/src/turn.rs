//! One turn of `codex exec --json`: its lines in, what they come to out.
//!
//! ```text
//! thread.started ─▶ turn.started ─▶ item.* … ─┬▶ turn.completed      answered, whatever became of its tools
//!                                             └▶ turn.failed         the only line that is a failure
//! ```
//! Invariants: a line of an unknown kind, or of none, changes nothing; a line is held up to [`LONGEST_LINE`], and what is
//! longer is skipped to its end; text of the model is text, whatever it holds.
//!
//! Must not know: processes, pipes, folders.

use plexus_protocol::Digest;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// Longest line that is read, in bytes.
const LONGEST_LINE: usize = 16 * 1024 * 1024;
/// Most text of a turn that is answered, in bytes; all of it is streamed.
const LONGEST_TEXT: usize = 256 * 1024;
/// Most of a command or a path in an event, in bytes.
const LONGEST_WORD: usize = 1024;
/// Most paths in an event.
const MOST_PATHS: usize = 50;

/// Tokens, as the model server counts them. Codex reports the sum over a thread.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Usage {
    #[serde(alias = "input_tokens", default)]
    pub(crate) input_tokens: u64,
    #[serde(alias = "cached_input_tokens", default)]
    pub(crate) cached_input_tokens: u64,
    #[serde(alias = "output_tokens", default)]
    pub(crate) output_tokens: u64,
}

impl Usage {
    /// What was used since `before`.
    pub(crate) fn since(self, before: Self) -> Self {
        Self {
            input_tokens: self.input_tokens.saturating_sub(before.input_tokens),
            cached_input_tokens: self
                .cached_input_tokens
                .saturating_sub(before.cached_input_tokens),
            output_tokens: self.output_tokens.saturating_sub(before.output_tokens),
        }
    }
}

/// What is to be passed on of a line.
#[derive(Debug, PartialEq)]
pub(crate) enum Shown {
    /// The model said this.
    Text(String),
    /// Something began or ended.
    Event(Value),
}

/// How a turn ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum TurnEnd {
    Completed(Usage),
    Failed(String),
}

/// A turn, as far as it was read.
#[derive(Debug, Default)]
pub(crate) struct Turn {
    pub(crate) thread: Option<String>,
    /// What the model said, the end of it where it is long.
    pub(crate) text: String,
    pub(crate) warnings: Vec<String>,
    pub(crate) end: Option<TurnEnd>,
    line: Vec<u8>,
    /// The line that comes is longer than a line may be.
    skips: bool,
}

impl Turn {
    /// Takes the next bytes; answers with what they show.
    pub(crate) fn feed(&mut self, bytes: &[u8]) -> Vec<Shown> {
        let mut shown = Vec::new();
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            if self.line.len() + part.len() > LONGEST_LINE {
                self.skips = true;
                self.line.clear();
            }
            if !self.skips {
                self.line.extend_from_slice(part);
            }
            if part.ends_with(b"\n") {
                let line = std::mem::take(&mut self.line);
                match std::mem::take(&mut self.skips) {
                    true => self
                        .warnings
                        .push("a line of Codex was longer than 16 MiB, and was left out".into()),
                    false => shown.extend(self.take(&line)),
                }
            }
        }
        shown
    }

    fn take(&mut self, line: &[u8]) -> Option<Shown> {
        let event: Value = serde_json::from_slice(line).ok()?;
        match event["type"].as_str()? {
            "thread.started" => {
                let thread = event["thread_id"].as_str()?;
                self.thread = Some(thread.to_owned());
                None
            }
            "turn.completed" => {
                let usage = serde_json::from_value(event["usage"].clone()).unwrap_or_default();
                self.end = Some(TurnEnd::Completed(usage));
                None
            }
            "turn.failed" => {
                let why = event["error"]["message"].as_str().unwrap_or("no reason");
                self.end = Some(TurnEnd::Failed(why.to_owned()));
                None
            }
            // Not final: a new connection is one too.
            "error" => Some(Shown::Event(
                json!({"kind": "error", "message": word(&event["message"])}),
            )),
            began @ ("item.started" | "item.completed") => {
                self.item(&event["item"], began == "item.completed")
            }
            _ => None,
        }
    }

    fn item(&mut self, item: &Value, ended: bool) -> Option<Shown> {
        let kind = item["type"].as_str()?;
        match (kind, ended) {
            ("agent_message", true) => {
                let text = format!("{}\n", item["text"].as_str()?);
                self.text.push_str(&text);
                let beyond = self.text.len().saturating_sub(LONGEST_TEXT);
                let beyond = self.text.ceil_char_boundary(beyond);
                self.text.drain(..beyond);
                Some(Shown::Text(text))
            }
            ("error", true) => {
                self.warnings.push(word(&item["message"]));
                None
            }
            ("command_execution", _) => Some(Shown::Event(json!({
                "kind": "command", "command": word(&item["command"]), "status": item["status"].as_str(),
                "exitCode": item["exit_code"].as_i64(),
            }))),
            ("file_change", true) => {
                let changes = item["changes"].as_array()?.iter().take(MOST_PATHS);
                let paths: Vec<_> = changes.map(|change| word(&change["path"])).collect();
                Some(Shown::Event(json!({"kind": "files", "paths": paths})))
            }
            ("mcp_tool_call", _) => Some(Shown::Event(json!({
                "kind": "tool", "server": word(&item["server"]), "tool": word(&item["tool"]),
                "status": item["status"].as_str(),
            }))),
            _ => None,
        }
    }
}

fn word(value: &Value) -> String {
    let text = value.as_str().unwrap_or_default();
    text[..text.floor_char_boundary(LONGEST_WORD)].to_owned()
}

/// What names the folder of a thread: its id's digest, so that no id of Codex is ever a path.
pub(crate) fn folder_name(thread: &str) -> String {
    let digest = Digest::of(thread.as_bytes()).to_string();
    format!("thread-{}", &digest[..32])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> (Turn, Vec<Shown>) {
        let mut turn = Turn::default();
        // In pieces that end anywhere.
        let shown = text.as_bytes().chunks(7).flat_map(|bytes| turn.feed(bytes));
        let shown = shown.collect();
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
{"type":"something.new","item":7}
{"type":"turn.completed","usage":{"input_tokens":200,"cached_input_tokens":10,"output_tokens":20,"reasoning_output_tokens":0}}
"#,
        );
        assert_eq!(
            turn.thread.as_deref(),
            Some("01a1f7be-94ef-7750-9432-11926ef85bf9")
        );
        assert_eq!(turn.text, "Done.\n");
        assert_eq!(turn.warnings, ["Model metadata not found."]);
        let usage = Usage {
            input_tokens: 200,
            cached_input_tokens: 10,
            output_tokens: 20,
        };
        assert_eq!(turn.end, Some(TurnEnd::Completed(usage)));
        assert_eq!(usage.since(usage), Usage::default());
        assert_eq!(shown.len(), 4, "{shown:?}");
        assert_eq!(
            shown[2],
            Shown::Event(
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

    #[test]
    fn long_line_is_skipped_and_the_next_one_read() {
        let mut turn = Turn::default();
        let piece = vec![b'x'; 1 << 20];
        for _ in 0..20 {
            assert!(turn.feed(&piece).is_empty());
            assert!(turn.line.len() <= LONGEST_LINE);
        }
        let bytes = b"\xff\xfe\n{\"type\":\"thread.started\",\"thread_id\":\"t\"}\n";
        turn.feed(bytes);
        assert_eq!(turn.thread.as_deref(), Some("t"));
        assert_eq!(turn.warnings.len(), 1);
    }
}
