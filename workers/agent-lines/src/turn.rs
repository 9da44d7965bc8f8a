//! One turn of a coding agent: its lines of JSON in, what they come to out.
//!
//! Invariants: a line of an unknown kind, or of none, changes nothing; a line is held up to 1 MiB, and what is
//! longer is skipped to its end; text of the model is text, whatever it holds; what is kept of a turn is bounded.
//!
//! Must not know: processes, pipes, folders, which agent it is.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

/// Longest line that is read, in bytes.
const LONGEST_LINE: usize = 1024 * 1024;
/// Most text of a turn that is answered, in bytes; all of it is streamed.
const LONGEST_TEXT: usize = 256 * 1024;
/// Most of a command or a path in an event, in bytes.
const LONGEST_WORD: usize = 1024;
/// Most warnings of a turn.
const MOST_WARNINGS: usize = 50;

/// Tokens, as the model server counts them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Usage {
    /// Of what was sent.
    pub input_tokens: u64,
    /// Of those, what the server had at hand.
    pub cached_input_tokens: u64,
    /// Of what came back.
    pub output_tokens: u64,
    /// Of those, what was thought and not said; 0 where nobody counts that.
    #[serde(default, skip_serializing_if = "is_none")]
    pub reasoning_tokens: u64,
}

fn is_none(tokens: &u64) -> bool {
    *tokens == 0
}

impl Usage {
    /// All of them.
    #[must_use]
    pub fn total(self) -> u64 {
        self.input_tokens.saturating_add(self.output_tokens)
    }

    /// What was used since `before`.
    #[must_use]
    pub fn since(self, before: Self) -> Self {
        Self {
            input_tokens: self.input_tokens.saturating_sub(before.input_tokens),
            cached_input_tokens: self
                .cached_input_tokens
                .saturating_sub(before.cached_input_tokens),
            output_tokens: self.output_tokens.saturating_sub(before.output_tokens),
            reasoning_tokens: self
                .reasoning_tokens
                .saturating_sub(before.reasoning_tokens),
        }
    }
}

/// What is to be passed on of a line.
#[derive(Debug, PartialEq)]
pub enum TurnProgress {
    /// The model said this.
    Text(String),
    /// Something began or ended.
    Event(Value),
}

/// How a turn ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TurnEnd {
    /// Answered, with what its thread has used so far.
    Completed(Usage),
    /// Ended by the agent itself because it would have cost more than it may.
    TooDear(Usage),
    /// Ended by the agent itself because the model had answered as often as it may.
    TooLong(Usage),
    /// In the agent's own words.
    Failed(String),
}

/// Takes one event of an agent's output; answers with what it shows.
pub type Take = fn(&mut Turn, &Value) -> Option<TurnProgress>;

/// A turn, as far as it was read.
#[derive(Debug, Default)]
pub struct Turn {
    thread: Option<String>,
    /// What the model said, the end of it where it is long.
    pub text: String,
    /// What the agent complains of.
    pub warnings: Vec<String>,
    /// What its answers have used so far, where the lines say so.
    pub used: Usage,
    /// What it has cost, in US dollars, where the lines say so.
    pub cost: Option<f64>,
    /// The answer of the model that `used` counted last.
    pub counted: Option<String>,
    /// Once it has ended.
    pub end: Option<TurnEnd>,
    line: Vec<u8>,
    /// The line that comes is longer than a line may be.
    skips: bool,
}

impl Turn {
    /// Takes the next bytes; answers with what they show. `take` is one agent's reading of an event.
    pub fn feed(&mut self, take: Take, bytes: &[u8]) -> Vec<TurnProgress> {
        let mut shown = Vec::new();
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            if self.line.len() + part.len() > LONGEST_LINE {
                self.skips = true;
                self.line = Vec::new();
            }
            if !self.skips {
                self.line.extend_from_slice(part);
            }
            if part.ends_with(b"\n") {
                let line = std::mem::take(&mut self.line);
                match std::mem::take(&mut self.skips) {
                    true => self.warn("a line was longer than 1 MiB, and was left out".into()),
                    false => match serde_json::from_slice(&line) {
                        Ok(event) => shown.extend(take(self, &event)),
                        Err(_) if line.trim_ascii().is_empty() => {}
                        Err(_) => self.warn("a line was no JSON, and was left out".into()),
                    },
                }
            }
        }
        shown
    }

    /// The conversation, as the agent names it.
    #[must_use]
    pub fn thread(&self) -> Option<&str> {
        self.thread.as_deref()
    }

    /// The agent names the conversation; the first name counts, and it is a UUID.
    pub fn begin(&mut self, thread: &str) {
        if self.thread.is_none() && thread.len() == 36 && Uuid::try_parse(thread).is_ok() {
            self.thread = Some(thread.to_owned());
        }
    }

    /// Adds to what the model said.
    pub fn say(&mut self, text: &str) -> TurnProgress {
        let text = format!("{text}\n");
        self.text.push_str(&text);
        let beyond = self.text.len().saturating_sub(LONGEST_TEXT);
        let beyond = self.text.ceil_char_boundary(beyond);
        self.text.drain(..beyond);
        TurnProgress::Text(text)
    }

    /// Adds a complaint; beyond 50 they are left out.
    pub fn warn(&mut self, warning: String) {
        if self.warnings.len() < MOST_WARNINGS {
            self.warnings.push(warning);
        }
    }
}

/// A text of an event, as far as it is shown.
#[must_use]
pub fn word(value: &Value) -> String {
    let text = value.as_str().unwrap_or_default();
    text[..text.floor_char_boundary(LONGEST_WORD)].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(turn: &mut Turn, event: &Value) -> Option<TurnProgress> {
        turn.begin(event["thread"].as_str()?);
        None
    }

    #[test]
    fn long_line_is_skipped_and_the_next_one_read() {
        let mut turn = Turn::default();
        let piece = vec![b'x'; 1 << 20];
        for _ in 0..20 {
            assert!(turn.feed(plain, &piece).is_empty());
            assert!(turn.line.len() <= LONGEST_LINE);
        }
        turn.feed(plain, b"\n\xff\xfe\n \n{\"thread\":\"../../x\"}\n");
        assert_eq!(turn.thread(), None);
        let ids = ["0", "1"].map(|digit| format!("{digit}0000000-0000-4000-8000-000000000000"));
        for id in &ids {
            turn.feed(plain, format!("{{\"thread\":\"{id}\"}}\n").as_bytes());
        }
        assert_eq!(turn.thread(), Some(&*ids[0]));
        assert_eq!(
            turn.warnings,
            [
                "a line was longer than 1 MiB, and was left out",
                "a line was no JSON, and was left out"
            ]
        );
        // A last line that was cut off is none.
        let half = format!("{{\"thread\":\"{}", ids[1]);
        assert!(turn.feed(plain, half.as_bytes()).is_empty());
        assert_eq!(turn.thread(), Some(&*ids[0]));
    }
}
