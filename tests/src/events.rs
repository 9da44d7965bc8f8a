//! Reading a stream of server-sent events frame by frame.

use crate::http::{Client, Request};
use crate::waiting::PATIENCE;
use serde_json::Value;
use std::io::{BufRead as _, BufReader, Read, Write as _};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

/// One frame, or one comment.
#[derive(Clone, Debug, PartialEq)]
pub enum Frame {
    /// A line that begins with a colon.
    Comment(String),
    /// An event.
    Event {
        /// Its `event:` line.
        kind: String,
        /// Its `id:` line.
        id: Option<String>,
        /// Its joined `data:` lines as JSON.
        data: Value,
    },
}

/// An open stream; dropping it closes nothing until the gateway writes again or goes.
pub struct Events {
    /// The status of the answer.
    pub status: u16,
    /// Header names in lower case.
    pub headers: Vec<(String, String)>,
    frames: Receiver<Frame>,
}

impl Events {
    /// Opens a stream on `path`.
    ///
    /// # Panics
    /// When the gateway does not answer with HTTP.
    #[must_use]
    #[track_caller]
    pub fn open(client: &Client, path: &str) -> Self {
        Self::of(&client.request("GET", path))
    }
    /// Opens the stream that answers a request.
    ///
    /// # Panics
    /// When the gateway does not answer with HTTP.
    #[must_use]
    #[track_caller]
    pub fn of(request: &Request) -> Self {
        let mut stream = request.client().connect();
        stream
            .write_all(&request.bytes_kept_alive())
            .expect("the request is taken");
        let mut reader = BufReader::new(stream);
        let mut line = String::new();
        reader.read_line(&mut line).expect("a status line");
        let status = line
            .split(' ')
            .nth(1)
            .and_then(|word| word.parse().ok())
            .unwrap_or_else(|| panic!("not a status line: {line:?}"));
        let mut headers = Vec::new();
        loop {
            line.clear();
            reader.read_line(&mut line).expect("a header");
            let Some((name, value)) = line.trim_end().split_once(':') else {
                break;
            };
            headers.push((name.to_lowercase(), value.trim().to_owned()));
        }
        let chunked = headers
            .iter()
            .any(|(name, value)| name == "transfer-encoding" && value == "chunked");
        let (to_test, frames) = channel();
        std::thread::spawn(move || {
            let body: Box<dyn Read> = if chunked {
                Box::new(Chunks {
                    inner: reader,
                    left: 0,
                })
            } else {
                Box::new(reader)
            };
            let mut frame = Vec::new();
            for line in BufReader::with_capacity(1, body).lines() {
                let Ok(line) = line else { return };
                if !line.is_empty() {
                    frame.push(line);
                    continue;
                }
                for whole in read_frame(&std::mem::take(&mut frame)) {
                    if to_test.send(whole).is_err() {
                        return;
                    }
                }
            }
        });
        Self {
            status,
            headers,
            frames,
        }
    }
    /// The next frame.
    ///
    /// # Panics
    /// When none comes.
    #[track_caller]
    pub fn next_frame(&self) -> Frame {
        self.frames.recv_timeout(PATIENCE).expect("a frame")
    }
    /// Skips to the next event of a kind; gives its data.
    #[track_caller]
    pub fn wait_for(&self, wanted: &str) -> Value {
        self.wait_until(wanted, |_| true)
    }
    /// Skips to the next event of a kind whose data fit.
    ///
    /// # Panics
    /// When none comes, with what came instead.
    #[track_caller]
    pub fn wait_until(&self, wanted: &str, fits: impl Fn(&Value) -> bool) -> Value {
        let until = Instant::now() + PATIENCE;
        let mut seen = Vec::new();
        loop {
            let left = until.saturating_duration_since(Instant::now());
            match self.frames.recv_timeout(left) {
                Ok(Frame::Event { kind, data, .. }) if kind == wanted && fits(&data) => {
                    return data;
                }
                Ok(other) => seen.push(other),
                Err(error) => panic!("{error} before {wanted}; seen: {seen:#?}"),
            }
        }
    }
    /// Everything that has come so far, and what still comes until `quiet` has passed without a frame.
    #[must_use]
    pub fn rest(&self, quiet: Duration) -> Vec<Frame> {
        std::iter::from_fn(|| self.frames.recv_timeout(quiet).ok()).collect()
    }
    /// Whether the gateway ends the stream.
    #[must_use]
    pub fn ends(&self) -> bool {
        let until = Instant::now() + PATIENCE;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            match self.frames.recv_timeout(left) {
                Ok(_) => {}
                Err(error) => return error == std::sync::mpsc::RecvTimeoutError::Disconnected,
            }
        }
    }
}

/// The event of the lines between two blank ones, and the comments among them.
fn read_frame(lines: &[String]) -> Vec<Frame> {
    let mut frames = Vec::new();
    let (mut kind, mut id, mut data) = (None, None, Vec::new());
    for line in lines {
        let (name, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value).to_owned();
        match name {
            "" => frames.push(Frame::Comment(value)),
            "event" => kind = Some(value),
            "id" => id = Some(value),
            "data" => data.push(value),
            _ => {}
        }
    }
    if kind.is_some() || !data.is_empty() {
        // What has no name is a message.
        let kind = kind.unwrap_or_else(|| "message".to_owned());
        let data = data.join("\n");
        let data = serde_json::from_str(&data)
            .unwrap_or_else(|error| panic!("event {kind}: {error}: {data}"));
        frames.push(Frame::Event { kind, id, data });
    }
    frames
}

/// Takes the chunk heads out of a chunked body.
struct Chunks<R> {
    inner: R,
    left: usize,
}

impl<R: std::io::BufRead> Read for Chunks<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        while self.left == 0 {
            let mut line = String::new();
            if self.inner.read_line(&mut line)? == 0 {
                return Ok(0);
            }
            let line = line.trim();
            if line.is_empty() {
                continue;
            }
            let size = line.split(';').next().unwrap_or(line);
            self.left = usize::from_str_radix(size, 16).map_err(std::io::Error::other)?;
            if self.left == 0 {
                return Ok(0);
            }
        }
        let most = buffer.len().min(self.left);
        let read = self.inner.read(&mut buffer[..most])?;
        self.left -= read;
        Ok(read)
    }
}
