//! A proxy on this machine that adds a credential to each request, for checkers that cannot be given one.
//!
//! Each connection carries one request, so that there is one head to add to. It names the gateway in `Host` and `Origin`
//! where the request names the proxy; any other name passes as it is.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::thread;

/// Longest head of a request, in bytes.
const MAX_HEAD: usize = 64 << 10;

/// A listener that serves until its process ends.
pub struct BearerProxy {
    port: u16,
}

impl BearerProxy {
    /// Before the gateway on `gateway`, with `bearer` for each request.
    ///
    /// # Panics
    /// When this machine has no port.
    #[must_use]
    #[track_caller]
    pub fn before(gateway: u16, bearer: &str) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let added = format!("authorization: Bearer {bearer}\r\nconnection: close\r\n\r\n");
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let added = added.clone();
                // One that goes away in the middle ends its own connection alone.
                thread::spawn(move || pass(client, (port, gateway), &added));
            }
        });
        Self { port }
    }

    /// Where MCP is served.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}/mcp", self.port)
    }
}

fn pass(mut client: TcpStream, (proxy, gateway): (u16, u16), added: &str) -> io::Result<()> {
    let mut read = Vec::new();
    let end = loop {
        if let Some(end) = memchr::memmem::find(&read, b"\r\n\r\n") {
            break end;
        }
        let mut part = [0; 4096];
        match client.read(&mut part)? {
            0 => return Ok(()),
            _ if read.len() > MAX_HEAD => return Ok(()),
            length => read.extend_from_slice(&part[..length]),
        }
    };
    let head = String::from_utf8_lossy(&read[..end]).into_owned();
    let mut lines = head.split("\r\n");
    let mut sent = format!("{}\r\n", lines.next().unwrap_or_default());
    for line in lines {
        let name = line.split(':').next().unwrap_or_default();
        let line = match name.to_ascii_lowercase().as_str() {
            "connection" => continue,
            "host" | "origin" => ["127.0.0.1", "localhost"]
                .iter()
                .find_map(|own| {
                    let before = line.strip_suffix(&format!("{own}:{proxy}"))?;
                    Some(format!("{before}{own}:{gateway}"))
                })
                .unwrap_or_else(|| line.to_owned()),
            _ => line.to_owned(),
        };
        sent.push_str(&format!("{line}\r\n"));
    }
    sent.push_str(added);
    let mut served = TcpStream::connect((Ipv4Addr::LOCALHOST, gateway))?;
    served.write_all(sent.as_bytes())?;
    served.write_all(&read[end + 4..])?;
    let (mut from, mut to) = (client.try_clone()?, served.try_clone()?);
    thread::spawn(move || {
        let _ = io::copy(&mut from, &mut to);
        // The client is gone: so is its request.
        let _ = to.shutdown(Shutdown::Both);
    });
    io::copy(&mut served, &mut client)?;
    client.shutdown(Shutdown::Both)
}
