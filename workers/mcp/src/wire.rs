//! What a server is spoken to by: two pipes of a program, or requests over HTTP. Messages whole, in either direction.
//!
//! Invariant: no more than [`MAX_MESSAGE`] of one message is held.
//!
//! Must not know: what a message says, but for whether it is one.

use crate::{http::Http, session::SessionError};
use plexus_ipc::worker::children::{Child, LastWords};
use plexus_protocol::json::{self, Changes};
use serde_json::{Map, Value, value::RawValue};
use std::{
    collections::{BTreeMap, VecDeque},
    io,
    sync::Arc,
    time::Duration,
};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::unix::pipe,
    task::JoinHandle,
    time::timeout,
};

/// The longest message that is read, in bytes.
pub(crate) const MAX_MESSAGE: usize = 16 << 20;
/// Most values of a message besides its structured content, of which no tree is made: a value takes eighty bytes.
const MAX_VALUES: usize = 1 << 20;
/// How long the last words of a server that has ended are waited for.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// One message, as every reader takes it ([`json::repaired`]).
#[derive(Debug, Default)]
pub(crate) struct Message {
    /// All of it but the structured content of a result.
    pub(crate) value: Value,
    /// The structured content of a result.
    pub(crate) structured: Option<Box<RawValue>>,
    /// What stands for something that the server sent otherwise.
    pub(crate) changes: Changes,
}

#[derive(Debug)]
pub(crate) enum Wire {
    Pipes(Box<Pipes>),
    Http(Box<Http>),
}

impl Wire {
    pub(crate) async fn send(&mut self, message: &Value) -> Result<(), SessionError> {
        match self {
            Self::Pipes(pipes) => pipes.send(message).await,
            Self::Http(http) => http.send(message).await,
        }
    }

    /// The next message.
    pub(crate) async fn receive(&mut self) -> Result<Message, SessionError> {
        match self {
            Self::Pipes(pipes) => pipes.receive().await,
            Self::Http(http) => http.receive().await,
        }
    }

    /// Whether the server can say something while nobody asks: over HTTP, nobody listens then.
    pub(crate) fn hears_unasked(&self) -> bool {
        matches!(self, Self::Pipes(_))
    }

    /// The revision that was agreed on.
    pub(crate) fn speaks(&mut self, version: &str) {
        if let Self::Http(http) = self {
            http.speaks(version);
        }
    }

    /// With the last words of a server that has ended.
    pub(crate) async fn explained(&mut self, error: SessionError) -> SessionError {
        match self {
            Self::Pipes(pipes) => pipes.explained(error).await,
            Self::Http(_) => error,
        }
    }

    /// The last lines that a program said on its standard error.
    pub(crate) async fn last_words(&mut self) -> Vec<String> {
        match self {
            Self::Pipes(pipes) => {
                pipes.end().await;
                pipes.last_words().await
            }
            Self::Http(_) => Vec::new(),
        }
    }

    /// Over when the server has ended, or was told that nobody speaks to it any more.
    pub(crate) async fn end(self) {
        match self {
            Self::Pipes(mut pipes) => pipes.end().await,
            Self::Http(http) => http.end().await,
        }
    }
}

/// A program that runs, one message a line.
#[derive(Debug)]
pub(crate) struct Pipes {
    child: Child,
    input: pipe::Sender,
    /// What of earlier messages is not sent yet, where a wait ended.
    unsent: Vec<u8>,
    output: BufReader<pipe::Receiver>,
    /// The rest of a batch, as the revision 2025-03-26 has them.
    ready: VecDeque<Message>,
    /// The part of a line that was read when a wait ended.
    line: Vec<u8>,
    last_words: Arc<LastWords>,
    /// What it said on its standard output that was no message.
    said: LastWords,
    /// Over when the server has closed its standard error.
    hears: JoinHandle<()>,
}

impl Pipes {
    /// `None` for a program without pipes.
    pub(crate) fn of(mut child: Child) -> Option<Self> {
        let last_words = Arc::<LastWords>::default();
        let error = child.stderr.take()?;
        let hearing = Arc::clone(&last_words);
        let hears = tokio::spawn(async move { hearing.hear(error).await });
        Some(Self {
            input: child.stdin.take()?,
            unsent: Vec::new(),
            output: BufReader::new(child.stdout.take()?),
            child,
            ready: VecDeque::new(),
            line: Vec::new(),
            last_words,
            said: LastWords::default(),
            hears,
        })
    }

    async fn send(&mut self, message: &Value) -> Result<(), SessionError> {
        self.unsent.extend(message.to_string().bytes());
        self.unsent.push(b'\n');
        while !self.unsent.is_empty() {
            // A wait that ends here has written nothing.
            let written = self.input.write(&self.unsent).await?;
            self.unsent.drain(..written);
        }
        Ok(())
    }

    /// A line that is no message is passed over: some servers log on their standard output, and say there why they end.
    async fn receive(&mut self) -> Result<Message, SessionError> {
        loop {
            if let Some(message) = self.ready.pop_front() {
                return Ok(message);
            }
            let room = MAX_MESSAGE + 1 - self.line.len();
            let part = (&mut self.output).take(room as u64);
            let read = { part }.read_until(b'\n', &mut self.line).await?;
            if self.line.len() > MAX_MESSAGE {
                return Err(SessionError::TooLong);
            }
            if self.line.last() == Some(&b'\n') {
                let line = std::mem::take(&mut self.line);
                self.ready = messages(line.trim_ascii())?;
                if self.ready.is_empty() && !line.trim_ascii().is_empty() {
                    self.said.keep(&line);
                }
                continue;
            }
            if read == 0 {
                return Err(SessionError::Ended(String::new()));
            }
        }
    }

    async fn explained(&mut self, error: SessionError) -> SessionError {
        let ended = match &error {
            SessionError::Ended(_) => true,
            SessionError::Pipe(error) => error.kind() == io::ErrorKind::BrokenPipe,
            _ => false,
        };
        if !ended {
            return error;
        }
        self.end().await;
        SessionError::Ended(match telling(&self.last_words().await) {
            Some(line) => format!("; its last words: {line}"),
            None => String::new(),
        })
    }

    async fn end(&mut self) {
        self.child.end();
        drop(self.child.wait().await);
    }

    /// The last lines of its standard error, and where it said nothing there, of its standard output; all of them where it has
    /// ended.
    async fn last_words(&mut self) -> Vec<String> {
        // One that was heard to its end is not heard again.
        if !self.hears.is_finished() {
            drop(timeout(LAST_WORDS, &mut self.hears).await);
        }
        let words = self.last_words.lines();
        if !words.is_empty() {
            return words;
        }
        self.said.keep(&std::mem::take(&mut self.line));
        drop(timeout(LAST_WORDS, self.hear_rest()).await);
        let mut words = self.said.lines();
        words.retain(|line| matches!(message(line.as_bytes()), Ok(None)));
        words
    }

    /// Reads what is left of its standard output, for its words.
    async fn hear_rest(&mut self) {
        while let Ok(part @ [_, ..]) = self.output.fill_buf().await {
            self.said.keep(part);
            let read = part.len();
            self.output.consume(read);
        }
    }
}

/// The messages of a text: one, the elements of a batch, or none.
pub(crate) fn messages(text: &[u8]) -> Result<VecDeque<Message>, SessionError> {
    let found = match text.first() {
        Some(b'[') => json::repaired(text, json::MAX_DEPTH).ok(),
        _ => return Ok(message(text)?.into_iter().collect()),
    };
    let batch = found.and_then(|batch| {
        let parts: Vec<&RawValue> = serde_json::from_str(&batch.text).ok()?;
        Some(parts.into_iter().map(ToOwned::to_owned).collect::<Vec<_>>())
    });
    let parts = batch.into_iter().flatten();
    let read = parts.map(|part| message(part.get().as_bytes()));
    read.filter_map(Result::transpose).collect()
}

/// A message; `None` for a text that is none.
pub(crate) fn message(text: &[u8]) -> Result<Option<Message>, SessionError> {
    let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
    let about = |text: &[u8]| text.windows(9).any(|part| part == b"\"jsonrpc\"");
    let repaired = match json::repaired(text, json::MAX_DEPTH) {
        Ok(repaired) => repaired,
        Err(_) if about(text) => {
            return Err(SessionError::Protocol("a message that is no JSON"));
        }
        Err(_) => return Ok(None),
    };
    let members: BTreeMap<String, &RawValue> = match serde_json::from_str(&repaired.text) {
        Ok(members) => members,
        Err(_) => return Ok(None),
    };
    let tree = |raw: &RawValue| -> Result<Value, SessionError> {
        let too_many = repaired.values > MAX_VALUES
            && json::repaired(raw.get().as_bytes(), json::MAX_DEPTH)
                .is_ok_and(|part| part.values > MAX_VALUES);
        match too_many {
            true => Err(SessionError::Protocol(
                "a message of more than a million values",
            )),
            // What was repaired is JSON that every reader takes.
            false => Ok(serde_json::from_str(raw.get()).unwrap_or_default()),
        }
    };
    let (mut value, mut structured) = (Map::new(), None);
    for (name, raw) in members {
        let result: Option<BTreeMap<String, &RawValue>> = match &*name {
            "result" => serde_json::from_str(raw.get()).ok(),
            _ => None,
        };
        let Some(result) = result else {
            value.insert(name, tree(raw)?);
            continue;
        };
        let mut rest = Map::new();
        for (name, raw) in result {
            match &*name {
                "structuredContent" => {
                    structured = Some(raw.to_owned()).filter(|raw| raw.get() != "null");
                }
                _ => _ = rest.insert(name, tree(raw)?),
            }
        }
        value.insert(name, Value::Object(rest));
    }
    Ok(Some(Message {
        value: Value::Object(value),
        structured,
        changes: repaired.changes,
    }))
}

/// The line of a program's last ones that says why it ended: the last that names an error, else the last that is no frame of a
/// stack, no bracket, no version and no advice to its author.
fn telling(words: &[String]) -> Option<&String> {
    let is_error = |line: &&String| {
        line.trim_start()
            .split(' ')
            .any(|word| word.ends_with("Error:"))
    };
    let says = |line: &&String| {
        let line = line.trim_start();
        !(line.starts_with("at ")
            || line.starts_with("Node.js v")
            || line.starts_with("note: run with `RUST_BACKTRACE")
            || line.trim_matches(['{', '}', ' ', '^', '~']).is_empty())
    };
    let mut last = words.iter().rev();
    last.clone()
        .find(is_error)
        .or_else(|| last.clone().find(says))
        .or_else(|| last.next())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn last_words_say_why_and_not_what_else_to_try() {
        let of = |words: &[&str]| {
            let words: Vec<_> = words.iter().map(ToString::to_string).collect();
            telling(&words).cloned()
        };
        let rust = [
            "thread 'main' panicked at src/main.rs:4:5:",
            "no database at /data",
            "note: run with `RUST_BACKTRACE=1` environment variable to display a backtrace",
        ];
        assert_eq!(of(&rust).as_deref(), Some("no database at /data"));
        let node = [
            "Error: no token",
            "    at main (x.js:1:2)",
            "}",
            "Node.js v20.1.0",
        ];
        assert_eq!(of(&node).as_deref(), Some("Error: no token"));
        assert_eq!(of(&["}"]).as_deref(), Some("}"));
    }

    #[test]
    fn message_is_repaired_and_its_structured_content_kept_as_text() {
        let text = br#"{"jsonrpc":"2.0","id":7,"result":{"content":[],"structuredContent":{"a":NaN,"b":0.10,"c":1915883588174806058}}}"#;
        let found = message(text).expect("JSON").expect("a message");
        assert_eq!(
            found.value,
            json!({"id": 7, "jsonrpc": "2.0", "result": {"content": []}})
        );
        let structured = found.structured.expect("structured content");
        assert_eq!(
            structured.get(),
            r#"{"a":null,"b":0.10,"c":1915883588174806058}"#
        );
        assert!(!found.changes.is_empty());
        for none in [&b"Loading"[..], b"[1]", b"\"x\"", b"3", b""] {
            assert!(message(none).expect("passed over").is_none());
        }
        let refused = |text: &[u8]| message(text).map(drop).unwrap_err().to_string();
        let broken = refused(b"{\"jsonrpc\": ");
        assert!(broken.ends_with("a message that is no JSON"), "{broken}");
        let batch = br#"[{"jsonrpc":"2.0","method":"a"},7,{"jsonrpc":"2.0","id":1,"result":{}}]"#;
        let methods: Vec<_> = messages(batch)
            .expect("JSON")
            .into_iter()
            .map(|m| m.value)
            .collect();
        assert_eq!((methods.len(), &methods[0]["method"]), (2, &json!("a")));
        let text = "\u{feff}{\"jsonrpc\":\"2.0\",\"result\":\"plain\"}";
        let found = message(text.as_bytes()).expect("JSON").expect("a message");
        assert_eq!(found.value["result"], "plain");
    }

    #[test]
    fn rows_of_a_table_have_no_bound_but_their_bytes() {
        let rows = vec!["[1,2]"; 400_000].join(",");
        let text =
            |name: &str| format!(r#"{{"jsonrpc":"2.0","id":1,"result":{{"{name}":[{rows}]}}}}"#);
        let found = message(text("structuredContent").as_bytes()).expect("JSON");
        assert!(found.is_some_and(|found| found.structured.is_some()));
        let many = message(text("content").as_bytes()).map(drop);
        let many = many.unwrap_err().to_string();
        assert!(
            many.ends_with("a message of more than a million values"),
            "{many}"
        );
    }
}
