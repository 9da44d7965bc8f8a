//! Acts on sockets, by the means every program has.

use std::io::{self, IoSlice};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsRawFd as _;
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};

use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};

use crate::{Arguments, silent};

pub(crate) fn act(arguments: Arguments<'_>) -> Option<io::Result<String>> {
    match arguments {
        ["tcp", port] => silent(
            port_number(port).and_then(|port| TcpStream::connect((Ipv4Addr::LOCALHOST, port))),
        ),
        ["tcp6", port] => silent(
            port_number(port)
                .and_then(|port| TcpStream::connect(SocketAddr::from((Ipv6Addr::LOCALHOST, port)))),
        ),
        ["tcp-at", address, port] => silent(
            port_number(port)
                .and_then(|port| Ok((address.parse::<IpAddr>().map_err(io::Error::other)?, port)))
                .and_then(TcpStream::connect),
        ),
        ["tcp-listen"] => silent(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))),
        ["udp", port] => silent(port_number(port).and_then(udp)),
        ["unix", path] => silent(UnixStream::connect(path)),
        ["unix-listen", path] => silent(UnixListener::bind(path)),
        ["unix-datagram", path] => {
            silent(UnixDatagram::unbound().and_then(|socket| socket.send_to(b"hostile", path)))
        }
        // A pair needs no `socket()`, and on Linux its ends can be pointed at any address.
        ["datagram-pair", path] => {
            silent(UnixDatagram::pair().and_then(|(socket, _)| socket.send_to(b"hostile", path)))
        }
        ["datagram-pair"] => silent(UnixDatagram::pair()),
        ["stream-pair"] => silent(UnixStream::pair()),
        ["descriptor-along"] => {
            silent(UnixStream::pair().and_then(|(near, _far)| send_with_itself(&near)))
        }
        _ => None,
    }
}

fn port_number(text: &str) -> io::Result<u16> {
    text.parse().map_err(io::Error::other)
}

fn udp(port: u16) -> io::Result<usize> {
    UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?.send_to(b"hostile", (Ipv4Addr::LOCALHOST, port))
}

/// A byte and, along with it, a copy of the stream itself.
fn send_with_itself(stream: &UnixStream) -> io::Result<usize> {
    let stream = stream.as_raw_fd();
    let along = [ControlMessage::ScmRights(&[stream])];
    let byte = [IoSlice::new(b"h")];
    Ok(sendmsg::<()>(
        stream,
        &byte,
        &along,
        MsgFlags::empty(),
        None,
    )?)
}
