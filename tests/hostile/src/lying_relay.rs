//! A relay that lies: on the way between clients and the real relay it alters answers, and takes requests for itself.
//!
//! Invariant: it reaches the address that it was given, and no other.
//!
//! Must not know: what the answers mean; the story that lies does.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

/// What becomes of a request, by its first line and its body.
pub enum Turn {
    /// The real relay answers.
    Passes,
    /// This is the answer, and the real relay hears nothing: status and body.
    Taken(u16, String),
}

/// What a relay lies.
pub trait Lies: Send {
    /// A request.
    fn request(&mut self, line: &str, body: &str) -> Turn;
    /// The real relay's answer to it, and what arrives in its place.
    fn answer(&mut self, line: &str, body: String) -> String;
}

/// The way to a relay. Without lies it tells the truth.
pub struct LyingRelay {
    /// Where clients reach it.
    pub address: String,
    lies: Arc<Mutex<Option<Box<dyn Lies>>>>,
}

impl LyingRelay {
    /// In front of a relay at this address, over plain HTTP on this machine.
    ///
    /// # Errors
    /// Where there is no port.
    pub fn before(relay: &str) -> io::Result<Self> {
        let relay = relay.trim_start_matches("http://").to_owned();
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = format!("http://{}", listener.local_addr()?);
        let lies: Arc<Mutex<Option<Box<dyn Lies>>>> = Arc::default();
        let told = Arc::clone(&lies);
        thread::spawn(move || {
            for near in listener.incoming().flatten() {
                let (relay, lies) = (relay.clone(), Arc::clone(&told));
                // A connection ends when either side does.
                thread::spawn(move || drop(carry(near, &relay, &lies)));
            }
        });
        Ok(Self { address, lies })
    }

    /// From now on it lies so, or tells the truth.
    pub fn lies(&self, lies: Option<Box<dyn Lies>>) {
        *self.lies.lock().unwrap_or_else(PoisonError::into_inner) = lies;
    }
}

/// Carries requests and answers until one side ends.
fn carry(near: TcpStream, relay: &str, lies: &Mutex<Option<Box<dyn Lies>>>) -> io::Result<()> {
    let far = TcpStream::connect(relay)?;
    let (mut to_near, mut to_far) = (near.try_clone()?, far.try_clone()?);
    let (mut near, mut far) = (BufReader::new(near), BufReader::new(far));
    let lies = || lies.lock().unwrap_or_else(PoisonError::into_inner);
    while let Some((head, body)) = message(&mut near)? {
        let line = head.lines().next().unwrap_or_default().to_owned();
        let turn = lies().as_mut().map(|lies| lies.request(&line, &body));
        if let Some(Turn::Taken(status, body)) = turn {
            answer(&mut to_near, status, &body)?;
            continue;
        }
        write!(to_far, "{head}{body}")?;
        if head.to_ascii_lowercase().contains("upgrade: websocket") {
            let mut up = near.into_inner();
            thread::spawn(move || {
                let _ = io::copy(&mut up, &mut to_far);
                let _ = to_far.shutdown(Shutdown::Both);
            });
            io::copy(&mut far, &mut to_near)?;
            return to_near.shutdown(Shutdown::Both);
        }
        let Some((head, body)) = message(&mut far)? else {
            break;
        };
        let status = head
            .split(' ')
            .nth(1)
            .and_then(|status| status.parse().ok());
        let altered = lies().as_mut().map(|lies| lies.answer(&line, body.clone()));
        match altered.filter(|altered| *altered != body) {
            Some(altered) => answer(&mut to_near, status.unwrap_or(200), &altered)?,
            None => write!(to_near, "{head}{body}")?,
        }
    }
    to_near.shutdown(Shutdown::Both)
}

fn answer(to: &mut TcpStream, status: u16, body: &str) -> io::Result<()> {
    let length = body.len();
    let head = format!("HTTP/1.1 {status} So\r\ncontent-type: application/json\r\n");
    write!(to, "{head}content-length: {length}\r\n\r\n{body}")
}

/// A request or an answer: its head with the empty line, and its body.
fn message(from: &mut BufReader<TcpStream>) -> io::Result<Option<(String, String)>> {
    let (mut head, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        if from.read_line(&mut line)? == 0 {
            return Ok(None);
        }
        head.push_str(&line);
        if line == "\r\n" {
            break;
        }
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            length = value.trim().parse().map_err(io::Error::other)?;
        }
    }
    let mut body = vec![0; length];
    from.read_exact(&mut body)?;
    let body = String::from_utf8(body).map_err(io::Error::other)?;
    Ok(Some((head, body)))
}
