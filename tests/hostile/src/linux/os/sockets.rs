//! Sockets of every family, and sending past `connect`.

use std::io;
use std::os::fd::AsRawFd;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use nix::errno::Errno;

use super::{ADDRESS_SIZE, loopback, socket};

/// From `linux/in.h`.
const IPPROTO_SCTP: i32 = 132;
/// From `linux/pfkeyv2.h`: the one that AF_KEY has.
const PF_KEY_V2: i32 = 2;
/// From `net/bluetooth/bluetooth.h`: the one that speaks with the device itself.
const BTPROTO_HCI: i32 = 1;

pub(in super::super) fn make(family: &str, kind: &str) -> io::Result<()> {
    let number = match family {
        "unix" => libc::AF_UNIX,
        "inet" => libc::AF_INET,
        "inet6" => libc::AF_INET6,
        "netlink" => libc::AF_NETLINK,
        "packet" => libc::AF_PACKET,
        "vsock" => libc::AF_VSOCK,
        "alg" => libc::AF_ALG,
        "key" => libc::AF_KEY,
        "bluetooth" => libc::AF_BLUETOOTH,
        other => return Err(io::Error::other(format!("no such family: {other}"))),
    };
    let (kind, protocol) = match (family, kind) {
        (_, "stream") => (libc::SOCK_STREAM, 0),
        (_, "datagram") => (libc::SOCK_DGRAM, 0),
        (_, "packets") => (libc::SOCK_SEQPACKET, 0),
        ("key", "raw") => (libc::SOCK_RAW, PF_KEY_V2),
        ("bluetooth", "raw") => (libc::SOCK_RAW, BTPROTO_HCI),
        (_, "raw") => (libc::SOCK_RAW, libc::IPPROTO_ICMP),
        (_, "ping") => (libc::SOCK_DGRAM, libc::IPPROTO_ICMP),
        (_, "sctp") => (libc::SOCK_STREAM, IPPROTO_SCTP),
        (_, other) => return Err(io::Error::other(format!("no such kind: {other}"))),
    };
    socket(number, kind, protocol).map(drop)
}

/// Fast open without its flag: the socket is told to connect with what is sent first.
pub(in super::super) fn connect_fast_open(port: u16) -> io::Result<()> {
    let socket = socket(libc::AF_INET, libc::SOCK_STREAM, 0)?;
    let (yes, address, data) = (1_i32, loopback(port), b"hostile");
    // SAFETY: the option is one int, of the size given, which outlives the call.
    let told = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_FASTOPEN_CONNECT,
            (&raw const yes).cast(),
            size_of::<i32>() as libc::socklen_t,
        )
    };
    Errno::result(told)?;
    // SAFETY: the address is initialised, of the size given, and outlives the call.
    let connected = unsafe {
        libc::connect(
            socket.as_raw_fd(),
            (&raw const address).cast(),
            ADDRESS_SIZE,
        )
    };
    Errno::result(connected)?;
    // SAFETY: the data is initialised, of the size given, and outlives the call.
    let sent = unsafe { libc::send(socket.as_raw_fd(), data.as_ptr().cast(), data.len(), 0) };
    Ok(Errno::result(sent).map(drop)?)
}

/// A pair that keeps messages apart, with one sent over it.
pub(in super::super) fn packet_pair() -> io::Result<()> {
    use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};
    let (near, far) = socketpair(
        AddressFamily::Unix,
        SockType::SeqPacket,
        None,
        SockFlag::SOCK_CLOEXEC,
    )?;
    nix::unistd::write(&near, b"h")?;
    let mut byte = [0];
    nix::unistd::read(&far, &mut byte)?;
    Ok(())
}

/// A datagram socket with a peer.
pub(in super::super) fn connect_datagrams(port: u16) -> io::Result<()> {
    let socket = socket(libc::AF_INET, libc::SOCK_DGRAM, 0)?;
    connect(&socket, &loopback(port))
}

/// Over a stream to `port`, a byte that names another destination, which the stream does not heed.
pub(in super::super) fn send_to_another(port: u16) -> io::Result<()> {
    let socket = socket(libc::AF_INET, libc::SOCK_STREAM, 0)?;
    connect(&socket, &loopback(port))?;
    let (byte, elsewhere) = (b"h", loopback(port.wrapping_add(1)));
    // SAFETY: byte and address are initialised, of the sizes given, and outlive the call.
    let sent = unsafe {
        libc::sendto(
            socket.as_raw_fd(),
            byte.as_ptr().cast(),
            1,
            0,
            (&raw const elsewhere).cast(),
            ADDRESS_SIZE,
        )
    };
    Ok(Errno::result(sent).map(drop)?)
}

/// A socket that does not wait, connected to `port`; then it waits, and asks what came of it.
pub(in super::super) fn connect_later(port: u16) -> io::Result<()> {
    let socket = socket(libc::AF_INET, libc::SOCK_STREAM | libc::SOCK_NONBLOCK, 0)?;
    match connect(&socket, &loopback(port)) {
        Err(error) if error.raw_os_error() == Some(libc::EINPROGRESS) => {}
        other => return other,
    }
    let mut poll = libc::pollfd {
        fd: socket.as_raw_fd(),
        events: libc::POLLOUT,
        revents: 0,
    };
    // SAFETY: one structure, which outlives the call.
    Errno::result(unsafe { libc::poll(&raw mut poll, 1, 10_000) })?;
    match std::net::TcpStream::from(socket).take_error()? {
        None => Ok(()),
        Some(error) => Err(error),
    }
}

fn connect(socket: &std::os::fd::OwnedFd, address: &libc::sockaddr_in) -> io::Result<()> {
    // SAFETY: the address is initialised, of the size given, and outlives the call.
    let connected = unsafe {
        libc::connect(
            socket.as_raw_fd(),
            std::ptr::from_ref(address).cast(),
            ADDRESS_SIZE,
        )
    };
    Ok(Errno::result(connected).map(drop)?)
}

/// An address in the kernel's layout whose middle another thread may write.
#[repr(C)]
struct Rewritten {
    family: libc::sa_family_t,
    port: u16,
    address: AtomicU32,
    zero: [u8; 8],
}

/// Connects to 127.0.0.1 while another thread goes on rewriting the address to 127.0.0.2 and back. Done when a
/// connection came to 127.0.0.2; the kernel's last refusal when all `rounds` came to 127.0.0.1 or were refused, and there
/// were both: with either alone nothing was raced.
pub(in super::super) fn connect_rewritten(port: u16, rounds: u32) -> io::Result<()> {
    let [granted, other] = [[127, 0, 0, 1], [127, 0, 0, 2]].map(u32::from_ne_bytes);
    let shared = Rewritten {
        family: libc::AF_INET as libc::sa_family_t,
        port: port.to_be(),
        address: AtomicU32::new(granted),
        zero: [0; 8],
    };
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                shared.address.store(other, Ordering::Relaxed);
                shared.address.store(granted, Ordering::Relaxed);
            }
        });
        let outcome = race(&shared, rounds, other);
        over.store(true, Ordering::Relaxed);
        outcome
    })
}

fn race(shared: &Rewritten, rounds: u32, other: u32) -> io::Result<()> {
    let (mut connected, mut refused) = (0, None);
    for round in 0..rounds * 50 {
        // On a busy machine it takes more rounds to see both.
        if round >= rounds && connected > 0 && refused.is_some() {
            break;
        }
        let socket = socket(libc::AF_INET, libc::SOCK_STREAM, 0)?;
        // SAFETY: the structure has the layout and size of an IPv4 address and outlives the call. The kernel copies it
        // while another thread may write its middle, which is an atomic: a copy of either value is what is being tried.
        let answer = unsafe {
            libc::connect(
                socket.as_raw_fd(),
                std::ptr::from_ref(shared).cast(),
                ADDRESS_SIZE,
            )
        };
        match Errno::result(answer) {
            Err(errno @ (Errno::EACCES | Errno::EPERM)) => refused = Some(errno),
            Err(errno) => return Err(errno.into()),
            Ok(_) => {
                let peer = std::net::TcpStream::from(socket).peer_addr()?;
                if peer.ip() == std::net::Ipv4Addr::from(other.to_ne_bytes()) {
                    return Ok(());
                }
                connected += 1;
            }
        }
    }
    match refused {
        Some(errno) if connected > 0 => Err(errno.into()),
        _ => Err(io::Error::other("nothing was raced")),
    }
}

/// Nanoseconds for each of so many connects to `port`, one after the other.
pub(in super::super) fn time_connects(port: u16, count: u32) -> io::Result<String> {
    let mut spent = std::time::Duration::ZERO;
    for _ in 0..count {
        let socket = socket(libc::AF_INET, libc::SOCK_STREAM, 0)?;
        let began = std::time::Instant::now();
        connect(&socket, &loopback(port))?;
        spent += began.elapsed();
    }
    Ok((spent / count.max(1)).as_nanos().to_string())
}

/// Two datagrams in one call.
pub(in super::super) fn send_many(port: u16) -> io::Result<()> {
    let socket = socket(libc::AF_INET, libc::SOCK_DGRAM, 0)?;
    let mut address = loopback(port);
    let mut data = *b"hostile";
    let mut part = libc::iovec {
        iov_base: data.as_mut_ptr().cast(),
        iov_len: data.len(),
    };
    let message = libc::mmsghdr {
        msg_hdr: libc::msghdr {
            msg_name: (&raw mut address).cast(),
            msg_namelen: ADDRESS_SIZE,
            msg_iov: &raw mut part,
            msg_iovlen: 1,
            msg_control: null_mut(),
            msg_controllen: 0,
            msg_flags: 0,
        },
        msg_len: 0,
    };
    let mut messages = [message, message];
    // SAFETY: two headers, whose address and data are initialised, of the sizes given, and outlive the call.
    let sent = unsafe { libc::sendmmsg(socket.as_raw_fd(), messages.as_mut_ptr(), 2, 0) };
    Ok(Errno::result(sent).map(drop)?)
}

/// A byte out of band, to itself over a stream. Taking one that nobody sent is let through where it is answered EINVAL.
pub(in super::super) fn out_of_band(how: &str) -> io::Result<()> {
    let (near, _far) = std::os::unix::net::UnixStream::pair()?;
    let mut byte = 0_u8;
    let mut part = libc::iovec {
        iov_base: (&raw mut byte).cast(),
        iov_len: 1,
    };
    let mut message = libc::msghdr {
        msg_name: null_mut(),
        msg_namelen: 0,
        msg_iov: &raw mut part,
        msg_iovlen: 1,
        msg_control: null_mut(),
        msg_controllen: 0,
        msg_flags: 0,
    };
    let (near, flags) = (near.as_raw_fd(), libc::MSG_OOB | libc::MSG_DONTWAIT);
    // SAFETY: all four use one byte, alone or as the only part of a message without address and descriptors, and byte,
    // part and message outlive the call.
    let answer = unsafe {
        match how {
            "send" => libc::send(near, (&raw const byte).cast(), 1, flags),
            "send-message" => libc::sendmsg(near, &raw const message, flags),
            "take" => libc::recv(near, (&raw mut byte).cast(), 1, flags),
            "take-message" => libc::recvmsg(near, &raw mut message, flags),
            other => return Err(io::Error::other(format!("no such way: {other}"))),
        }
    };
    match Errno::result(answer) {
        Ok(_) => Ok(()),
        Err(Errno::EINVAL) if how.starts_with("take") => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

/// Points a stream that it has somewhere else.
pub(in super::super) fn reconnect() -> io::Result<()> {
    let (stream, _other) = std::os::unix::net::UnixStream::pair()?;
    let nowhere = libc::sockaddr_un {
        sun_family: libc::AF_UNIX as libc::sa_family_t,
        sun_path: [0; 108],
    };
    // SAFETY: the address is initialised, longer than the size given, and outlives the call.
    match Errno::result(unsafe {
        libc::connect(stream.as_raw_fd(), (&raw const nowhere).cast(), 8)
    }) {
        // Let through, to hear that it is connected, or that nobody listens there.
        Ok(_) | Err(Errno::EISCONN | Errno::ECONNREFUSED | Errno::EINVAL) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

/// From `asm-generic/socket.h`: the process on the other side, held.
pub(in super::super) const SO_PEERPIDFD: i32 = 77;

/// Asks a stream of its own.
pub(in super::super) fn option(option: i32) -> io::Result<()> {
    let (near, _far) = std::os::unix::net::UnixStream::pair()?;
    // More than any of these options has.
    let mut answer = [0_u64; 8];
    let mut length = size_of_val(&answer) as libc::socklen_t;
    // SAFETY: the kernel writes at most the length given, which the answer has; both outlive the call.
    let asked = unsafe {
        libc::getsockopt(
            near.as_raw_fd(),
            libc::SOL_SOCKET,
            option,
            answer.as_mut_ptr().cast(),
            &raw mut length,
        )
    };
    Ok(Errno::result(asked).map(drop)?)
}
