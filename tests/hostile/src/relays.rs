//! What a hostile client does to a relay of channels: it asks, and reads nothing of the answers.
//!
//! Invariant: what a caller holds is given back when it drops it.

use std::io::{self, Read as _, Write as _};
use std::net::TcpStream;
use std::os::fd::AsFd as _;
use std::time::Duration;

use nix::sys::socket::{setsockopt, sockopt};

/// Bytes that the kernel keeps of an answer for its client, about.
const RECEIVED: usize = 4 << 10;
/// How long an answer may take to begin.
const PATIENCE: Duration = Duration::from_secs(30);

/// A request whose answer nobody reads.
pub struct Unread(TcpStream);

impl Unread {
    /// Asks. The head of the request has no empty line at its end.
    ///
    /// # Errors
    /// Where the relay takes no connection.
    pub fn asked(relay: &str, head: &str, body: &str) -> io::Result<Self> {
        let mut stream = TcpStream::connect(relay)?;
        setsockopt(&stream.as_fd(), sockopt::RcvBuf, &RECEIVED)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let length = body.len();
        write!(
            stream,
            "{head}\r\nHost: {relay}\r\nContent-Length: {length}\r\n\r\n{body}"
        )?;
        Ok(Self(stream))
    }

    /// Waits for the answer, and reads its status of it.
    ///
    /// # Errors
    /// Where none begins.
    pub fn status(&mut self) -> io::Result<u16> {
        let mut line = [0; 12];
        self.0.read_exact(&mut line)?;
        let status = str::from_utf8(&line[9..]).map_err(io::Error::other)?;
        status.parse().map_err(io::Error::other)
    }
}
