//! What a run streams, shown on stderr as it comes.

use crate::{out, text};
use plexus_protocol::{
    body::{Progress, ProgressChunk},
    streamed,
};
use serde_json::Value;

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
                ProgressChunk::Text(text) => {
                    out::murmur(&text);
                    self.open = !text.ends_with('\n');
                }
                ProgressChunk::Json(event) => {
                    let event: Value = serde_json::from_str(event.get()).unwrap_or_default();
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
