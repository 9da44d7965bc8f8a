//! The log as text on standard error: a line each, nothing in it that a terminal would obey.
//!
//! At a terminal all of it. Under systemd's journal with the priority that it reads (`sd-daemon(3)`), and without the
//! time, which it has. Anywhere else (launchd, a pipe) warnings and errors: whoever keeps those keeps them unbounded.

use super::{Line, level};
use nix::sys::stat::fstat;
use serde_json::Value;
use std::{
    fmt::Write as _,
    io::{self, IsTerminal, Write as _},
};
use tracing::{Event, Level, Subscriber, level_filters::LevelFilter};
use tracing_subscriber::{Layer, layer::Context};

/// Who reads standard error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reader {
    Terminal,
    Journal,
    Other,
}

/// The layer that writes to standard error.
pub(super) struct Spoken(Reader);

impl Spoken {
    pub(super) fn here() -> Self {
        Self(if io::stderr().is_terminal() {
            Reader::Terminal
        } else if is_journal(std::env::var("JOURNAL_STREAM").ok().as_deref()) {
            Reader::Journal
        } else {
            Reader::Other
        })
    }

    pub(super) fn least(&self) -> LevelFilter {
        match self.0 {
            Reader::Terminal => LevelFilter::TRACE,
            Reader::Journal | Reader::Other => LevelFilter::WARN,
        }
    }
}

/// Whether standard error is the stream that `JOURNAL_STREAM` (device and inode) speaks of: the variable is inherited
/// by whoever is started with other streams, too.
fn is_journal(stream: Option<&str>) -> bool {
    let named = stream.and_then(|s| s.split_once(':'));
    let here = fstat(io::stderr()).ok();
    named.zip(here).is_some_and(|((device, inode), here)| {
        device == here.st_dev.to_string() && inode == here.st_ino.to_string()
    })
}

impl<S: Subscriber> Layer<S> for Spoken {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let text = text(self.0, *event.metadata().level(), &Line::of(event));
        // Whoever does not listen any more is told nothing; the files have it.
        let _ = io::stderr().lock().write_all(text.as_bytes());
    }
}

fn text(reader: Reader, at: Level, line: &Line) -> String {
    let mut out = match reader {
        Reader::Journal => format!("<{}>", priority(at)),
        Reader::Terminal | Reader::Other => format!("{} {:<5} ", line.time, level(at)),
    };
    let message = line.fields.get("message").and_then(Value::as_str);
    out.push_str(line.event);
    out.push_str(": ");
    out.extend(message.unwrap_or_default().chars().flat_map(shown));
    for (name, value) in line.fields.iter().filter(|(name, _)| *name != "message") {
        // Writing to a string cannot fail.
        let _ = match value {
            Value::String(text) if plain(text) => write!(out, " {name}={text}"),
            Value::String(text) => write!(out, " {name}={text:?}"),
            other => write!(out, " {name}={other}"),
        };
    }
    out.push('\n');
    out
}

/// What needs no quotes.
fn plain(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_graphic() && c != '"')
}

/// A character as it may be shown: itself, or escaped where it is none to see.
fn shown(c: char) -> impl Iterator<Item = char> {
    let escaped = !matches!(c, '"' | '\'' | '\\');
    let (kept, debug) = match escaped {
        true => (None, Some(c.escape_debug())),
        false => (Some(c), None),
    };
    kept.into_iter().chain(debug.into_iter().flatten())
}

/// As syslog counts.
fn priority(level: Level) -> u8 {
    match level {
        Level::ERROR => 3,
        Level::WARN => 4,
        Level::INFO => 6,
        Level::DEBUG | Level::TRACE => 7,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_line_is_one_line_whatever_is_in_it() {
        let fields = json!({"message": "it's \u{1b}[2J", "source": "notes", "pid": 7, "line": "a\nb \u{202e}c"});
        let line = Line {
            time: plexus_protocol::Timestamp(0),
            event: "worker.said",
            target: "plexusd::worker",
            fields: fields.as_object().unwrap().clone(),
        };
        let rest = r#"worker.said: it's \u{1b}[2J source=notes pid=7 line="a\nb \u{202e}c""#;
        assert_eq!(
            text(Reader::Other, Level::WARN, &line),
            format!("1970-01-01T00:00:00.000Z warn  {rest}\n")
        );
        assert_eq!(
            text(Reader::Journal, Level::WARN, &line),
            format!("<4>{rest}\n")
        );
    }

    #[test]
    fn the_journal_is_known_by_its_stream_and_not_by_the_variable_alone() {
        let here = fstat(io::stderr()).unwrap();
        assert!(is_journal(Some(&format!(
            "{}:{}",
            here.st_dev, here.st_ino
        ))));
        assert!(!is_journal(Some(&format!(
            "{}:{}",
            here.st_dev,
            here.st_ino + 1
        ))));
        assert!(!is_journal(Some("odd")));
        assert!(!is_journal(None));
    }
}
