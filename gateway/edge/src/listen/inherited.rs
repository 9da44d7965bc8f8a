//! Listening sockets that an earlier program of this process left.
//!
//! Invariant: a descriptor is used only if it is a listening socket at an address that is to be served.

use nix::sys::socket::{getsockopt, sockopt};
use std::{
    net::{SocketAddr, TcpListener},
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::net::UnixListener,
    },
    path::Path,
};

/// The sockets; what is not taken is closed with it.
pub struct Inherited(Vec<Socket>);

enum Socket {
    Tcp(SocketAddr, TcpListener),
    Local(UnixListener),
}

impl Inherited {
    /// Those of `sockets` that listen.
    pub fn of(sockets: Vec<OwnedFd>) -> Self {
        let sockets = sockets.into_iter().filter_map(|socket| {
            let number = socket.as_raw_fd();
            let known = listening(socket);
            if known.is_none() {
                tracing::warn!(
                    name: "daemon.socket_refused", count = number,
                    "what was handed over is no listening socket; closed"
                );
            }
            known
        });
        Self(sockets.collect())
    }

    /// The port on the loopback address of IPv4, or on all of them, if there is one among them.
    pub(crate) fn port(&self) -> Option<u16> {
        self.0.iter().find_map(|socket| match socket {
            Socket::Tcp(SocketAddr::V4(at), _)
                if at.ip().is_loopback() || at.ip().is_unspecified() =>
            {
                Some(at.port())
            }
            _ => None,
        })
    }

    /// The listener at `address`.
    pub(crate) fn tcp(&mut self, address: SocketAddr) -> Option<TcpListener> {
        let at = |socket: &Socket| matches!(socket, Socket::Tcp(at, _) if *at == address);
        let found = self.0.iter().position(at)?;
        match self.0.swap_remove(found) {
            Socket::Tcp(_, listener) => Some(listener),
            Socket::Local(_) => None,
        }
    }

    /// The listener at `path`, if that is still there for others to find.
    pub(crate) fn local(&mut self, path: &Path) -> Option<UnixListener> {
        let is = |listener: &UnixListener| {
            let at = listener.local_addr().ok();
            at.and_then(|at| at.as_pathname().map(|at| at == path)) == Some(true)
        };
        let at = |socket: &Socket| matches!(socket, Socket::Local(listener) if is(listener));
        let found = self.0.iter().position(at)?;
        match self.0.swap_remove(found) {
            Socket::Local(listener) if path.symlink_metadata().is_ok() => Some(listener),
            Socket::Local(_) | Socket::Tcp(..) => None,
        }
    }
}

fn listening(socket: OwnedFd) -> Option<Socket> {
    if !getsockopt(&socket, sockopt::AcceptConn).ok()? {
        return None;
    }
    let tcp = TcpListener::from(socket);
    if let Ok(at) = tcp.local_addr() {
        return Some(Socket::Tcp(at, tcp));
    }
    let local = UnixListener::from(OwnedFd::from(tcp));
    local.local_addr().ok()?.as_pathname()?;
    Some(Socket::Local(local))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{Ipv4Addr, TcpStream};

    #[test]
    fn only_listening_sockets_at_the_asked_address_are_used() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        let tcp = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let at = tcp.local_addr().unwrap();
        let connected = TcpStream::connect(at).unwrap();
        let local = UnixListener::bind(&path).unwrap();
        let file = std::fs::File::open("/dev/null").unwrap();
        let sockets: Vec<OwnedFd> = vec![file.into(), connected.into(), tcp.into(), local.into()];
        let mut handed = Inherited::of(sockets);
        assert_eq!(handed.0.len(), 2, "neither a file nor a connection");
        assert_eq!(handed.port(), Some(at.port()));
        assert!(handed.local(&dir.path().join("other")).is_none());
        assert!(handed.local(&path).is_some() && handed.local(&path).is_none());
        let other = SocketAddr::from((Ipv4Addr::LOCALHOST, at.port().wrapping_add(1)));
        assert!(handed.tcp(other).is_none());
        assert!(handed.tcp(at).is_some() && handed.tcp(at).is_none());
    }

    #[test]
    fn a_socket_whose_path_is_gone_is_not_used() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        let local = UnixListener::bind(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        let mut handed = Inherited::of(vec![local.into()]);
        assert!(handed.local(&path).is_none());
    }
}
