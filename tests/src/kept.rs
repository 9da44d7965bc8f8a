//! A client that keeps its connection for as long as the gateway does, as most of the world's clients do, and that tells
//! what became of it instead of failing.

use serde_json::Value;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::time::{Duration, Instant};

/// For how long a connection without a request is used again. Either end may close one that is idle (RFC 9112, 9.5), and
/// the gateway does after twice this when it gives way; a client that the machine let wait must not take that for a cut.
const IDLE: Duration = Duration::from_millis(250);

/// See the module.
#[derive(Debug)]
pub struct Kept {
    port: u16,
    /// Whether the connection is used again.
    keeps: bool,
    /// The connection, and when its last answer came.
    stream: Option<(BufReader<TcpStream>, Instant)>,
}

/// Why there was no answer.
#[derive(Debug)]
pub enum NoAnswer {
    /// Nobody took the connection; nothing was sent.
    Refused,
    /// It ended before the answer was complete.
    Cut,
}

impl Kept {
    /// A client of the gateway at `port` that keeps its connection, or opens one for each request.
    #[must_use]
    pub fn new(port: u16, keeps: bool) -> Self {
        Self {
            port,
            keeps,
            stream: None,
        }
    }

    /// One exchange: the status and the body. A request is never sent twice.
    ///
    /// # Errors
    /// [`NoAnswer`].
    pub fn send(
        &mut self,
        (method, path): (&str, &str),
        header: (&str, &str),
        body: &Value,
    ) -> Result<(u16, Value), NoAnswer> {
        let kept = self.stream.take();
        let mut stream = match kept.filter(|(_, answered)| answered.elapsed() < IDLE) {
            Some((stream, _)) => stream,
            None => {
                let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port));
                let stream = stream.map_err(|_| NoAnswer::Refused)?;
                stream
                    .set_read_timeout(Some(Duration::from_secs(60)))
                    .map_err(|_| NoAnswer::Refused)?;
                BufReader::new(stream)
            }
        };
        let body = body.to_string();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: 127.0.0.1:{}\r\n{}: {}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            self.port,
            header.0,
            header.1,
            body.len()
        );
        let sent = stream.get_mut().write_all(request.as_bytes());
        sent.map_err(|_| NoAnswer::Cut)?;
        let (status, kept, answer) = answer(&mut stream).ok_or(NoAnswer::Cut)?;
        if kept && self.keeps {
            self.stream = Some((stream, Instant::now()));
        }
        Ok((status, answer))
    }
}

fn answer(stream: &mut BufReader<TcpStream>) -> Option<(u16, bool, Value)> {
    let mut line = String::new();
    stream.read_line(&mut line).ok()?;
    let status = line.split(' ').nth(1)?.parse().ok()?;
    let (mut length, mut kept) = (0, true);
    loop {
        line.clear();
        stream.read_line(&mut line).ok()?;
        let text = line.trim_end().to_lowercase();
        if text.is_empty() {
            break;
        }
        match text.split_once(": ") {
            Some(("content-length", bytes)) => length = bytes.parse().ok()?,
            Some(("connection", "close")) => kept = false,
            Some(("transfer-encoding", how)) => panic!("an answer in parts ({how})"),
            _ => {}
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).ok()?;
    Some((status, kept, serde_json::from_slice(&body).ok()?))
}
