//! What a server is spoken to by: two pipes of a program, or requests over HTTP. Messages whole, in either direction.
//!
//! Invariant: no more than [`MAX_MESSAGE`] of one message is held.
//!
//! Must not know: what a message says, but for whether it is one.

use crate::{http::Http, session::SessionError};
use plexus_ipc::worker::children::{Child, LastWords};
use plexus_protocol::json;
use serde_json::Value;
use std::{io, sync::Arc};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::unix::pipe,
};

/// The longest message that is read, in bytes.
pub(crate) const MAX_MESSAGE: usize = 16 << 20;

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
    pub(crate) async fn receive(&mut self) -> Result<Value, SessionError> {
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
    output: BufReader<pipe::Receiver>,
    /// The part of a line that was read when a wait ended.
    line: Vec<u8>,
    last_words: Arc<LastWords>,
}

impl Pipes {
    /// `None` for a program without pipes.
    pub(crate) fn of(mut child: Child) -> Option<Self> {
        let last_words = Arc::<LastWords>::default();
        let error = child.stderr.take()?;
        let hears = Arc::clone(&last_words);
        tokio::spawn(async move { hears.hear(error).await });
        Some(Self {
            input: child.stdin.take()?,
            output: BufReader::new(child.stdout.take()?),
            child,
            line: Vec::new(),
            last_words,
        })
    }

    async fn send(&mut self, message: &Value) -> Result<(), SessionError> {
        let mut line = message.to_string().into_bytes();
        line.push(b'\n');
        Ok(self.input.write_all(&line).await?)
    }

    /// A line that is no message is passed over: some servers log on their standard output.
    async fn receive(&mut self) -> Result<Value, SessionError> {
        loop {
            let room = MAX_MESSAGE + 1 - self.line.len();
            let part = (&mut self.output).take(room as u64);
            let read = { part }.read_until(b'\n', &mut self.line).await?;
            if self.line.len() > MAX_MESSAGE {
                return Err(SessionError::TooLong);
            }
            if self.line.last() == Some(&b'\n') {
                let line = std::mem::take(&mut self.line);
                match message(line.trim_ascii())? {
                    Some(message) => return Ok(message),
                    None => continue,
                }
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
        SessionError::Ended(match self.last_words.line() {
            Some(line) => format!("; its last words: {line}"),
            None => String::new(),
        })
    }

    async fn end(&mut self) {
        self.child.end();
        drop(self.child.wait().await);
    }
}

/// A message; `None` for a text that is none.
pub(crate) fn message(text: &[u8]) -> Result<Option<Value>, SessionError> {
    match json::parse(text) {
        Ok(message @ Value::Object(_)) => Ok(Some(message)),
        Err(_) if text.windows(9).any(|part| part == b"\"jsonrpc\"") => {
            Err(SessionError::Protocol(
                "a message with numbers, depth or members beyond what can be carried",
            ))
        }
        _ => Ok(None),
    }
}
