//! What a run streams, shown on stderr as it comes.

use crate::{out, text};
use plexus_protocol::streamed;
use serde::Deserialize;
use serde_json::Value;

/// What a run streamed since the last question.
#[derive(Deserialize)]
pub struct Progress {
    from: u64,
    /// Where to go on.
    pub next: u64,
    /// The pieces.
    pub chunks: Vec<Chunk>,
}

/// One piece.
#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Chunk {
    /// Continues the text before it.
    Text(String),
    /// One event.
    Json(Value),
}

/// What was shown of a run's stream.
#[derive(Default)]
pub struct Streamed {
    upto: u64,
    /// Whether anything was said.
    pub any: bool,
    /// Whether the last line is not ended.
    open: bool,
}

impl Streamed {
    /// Shows a part; says whether there was any.
    pub fn show(&mut self, part: Progress) -> bool {
        if part.from > self.upto {
            self.end();
            out::say(&format!(
                "({} bytes are no longer kept)",
                part.from - self.upto
            ));
        }
        let news = part.next > self.upto;
        self.upto = part.next;
        for chunk in part.chunks {
            match chunk {
                Chunk::Text(text) => {
                    out::murmur(&text);
                    self.open = !text.ends_with('\n');
                }
                Chunk::Json(event) => {
                    let Some(words) = streamed::words(&event) else {
                        continue;
                    };
                    self.end();
                    out::say(&text::line(&words));
                }
            }
            self.any = true;
        }
        news
    }

    /// Ends a line that is open.
    pub fn end(&mut self) {
        if std::mem::take(&mut self.open) {
            out::say("");
        }
    }
}
