//! The log as text on standard error: a line each, nothing in it that a terminal would obey.
//!
//! At a terminal all of it. Under systemd's journal with the priority that it reads (`sd-daemon(3)`), and without the
//! time, which it has. Anywhere else (launchd, a pipe) warnings and errors: their reader keeps them unbounded.
//!
//! Invariant: a reader that stops (a full pipe, a terminal at Ctrl-S) loses lines, and holds up nothing.

use super::{Line, level};
use nix::{
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::stat::fstat,
};
use serde_json::Value;
use std::{
    borrow::Cow,
    fmt::Write as _,
    io::{self, IsTerminal, Write},
    os::fd::AsFd,
};
use tracing::{Event, Level, Subscriber, level_filters::LevelFilter};
use tracing_subscriber::{Layer, layer::Context};

/// Longest line, in bytes: `PIPE_BUF` of Linux (`pipe(7)`).
const LINE: usize = 4_096;

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
/// by a process with other streams, too.
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
        say(&mut io::stderr().lock(), &text);
    }
}

/// Writes a line for a reader that goes on; one that does not loses it: the files have it.
fn say(to: &mut (impl Write + AsFd), line: &str) {
    let mut room = [PollFd::new(to.as_fd(), PollFlags::POLLOUT)];
    // What cannot be asked (an old macOS, of a terminal) is written to.
    if poll(&mut room, PollTimeout::ZERO) == Ok(0) {
        return;
    }
    let _ = to.write_all(cut(line).as_bytes());
}

/// At most as much as a pipe with any room takes whole: `PIPE_BUF` bytes on Linux; macOS takes 512, and then waits for the
/// reader of the rest.
fn cut(line: &str) -> Cow<'_, str> {
    if line.len() <= LINE {
        return Cow::Borrowed(line);
    }
    Cow::Owned(format!(
        "{}…\n",
        &line[..line.floor_char_boundary(LINE - 4)]
    ))
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

    /// Without the look before it the last write would wait for ever.
    #[test]
    fn a_reader_that_stopped_holds_up_nobody() {
        let (mut reader, mut writer) = io::pipe().unwrap();
        let line = format!("{}\n", "x".repeat(9_000));
        let said = cut(&line).len();
        assert!(said <= LINE);
        // More than any pipe holds.
        for _ in 0..1_000 {
            say(&mut writer, &line);
        }
        let mut heard = vec![0; said];
        io::Read::read_exact(&mut reader, &mut heard).unwrap();
        assert!(heard.ends_with("…\n".as_bytes()));
        drop(reader);
        say(&mut writer, "nobody");
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
