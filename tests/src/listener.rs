//! The other side of a denied connection: a listener on loopback that keeps what reaches it; and a port where nobody listens.

use crate::waiting::PATIENCE;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, TcpStream};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::sync::mpsc::{self, Receiver};
use std::time::Duration;

use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrIn, bind, setsockopt, socket, sockopt,
};

/// What [`Listener::heard`] sends to know that nothing is under way.
const MARK: &[u8] = b"that is all";

/// Keeps a port of 127.0.0.1, where every connection is refused until the answer is dropped.
///
/// # Panics
/// If somebody else has it.
#[must_use]
pub fn kept_closed(port: u16) -> OwnedFd {
    let made = socket(
        AddressFamily::Inet,
        SockType::Stream,
        SockFlag::empty(),
        None,
    );
    let socket = made.expect("a socket");
    let alone = FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC);
    fcntl(&socket, alone).expect("a socket of this process alone");
    // Connections of the one that had it may linger.
    setsockopt(&socket, sockopt::ReuseAddr, &true).expect("an option");
    let address = SockaddrIn::from(SocketAddrV4::new(Ipv4Addr::LOCALHOST, port));
    bind(socket.as_raw_fd(), &address).expect("the port");
    socket
}

/// Answers every connection as a web server does, and keeps the first bytes of each.
pub struct Listener {
    port: u16,
    heard: Receiver<Vec<u8>>,
}

impl Listener {
    /// Listens on a free port of 127.0.0.1.
    ///
    /// # Panics
    /// When there is none.
    #[must_use]
    pub fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let (tell, heard) = mpsc::channel();
        std::thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let mut first = vec![0; 4096];
                // Who connects and says nothing has reached it too.
                let _ = stream.set_read_timeout(Some(Duration::from_secs(5)));
                let read = stream.read(&mut first).unwrap_or(0);
                first.truncate(read);
                let _ = stream.write_all(
                    b"HTTP/1.1 200 OK\r\ncontent-length: 7\r\nconnection: close\r\n\r\nreached",
                );
                if tell.send(first).is_err() {
                    return;
                }
            }
        });
        Self { port, heard }
    }
    /// Its port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }
    /// The first bytes of each connection since the last call: empty where nobody came. A connection of its own comes last,
    /// so that none that was made before is missed.
    ///
    /// # Panics
    /// When it does not answer itself.
    #[must_use]
    #[track_caller]
    pub fn heard(&self) -> Vec<String> {
        let mut own = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).expect("a connection");
        own.write_all(MARK).expect("sent");
        let next = || self.heard.recv_timeout(PATIENCE).expect("a connection");
        let told = std::iter::repeat_with(next);
        told.take_while(|first| first != MARK)
            .map(|first| String::from_utf8_lossy(&first).into_owned())
            .collect()
    }
}
