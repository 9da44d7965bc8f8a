//! Talking to anybody but the gateway.

use super::{Family, Probe, Targets};
use plexus_hostile::{act, offered};
use std::path::Path;

fn text(path: &Path) -> String {
    path.display().to_string()
}

fn tcp(at: &Targets) -> String {
    at.tcp.to_string()
}

pub(super) const FAMILY: Family = Family {
    title: "Sockets",
    probes: &[
        probe!(refused "connect to the gateway's port", |at| "tcp", &tcp(at)),
        Probe::refused("connect to a port on ::1", |at| match at.tcp6 {
            Some(port) => act(&["tcp6", &port.to_string()]),
            None => act(&["socket", "inet6", "stream"]),
        })
        .where_offered(offered::FAMILY),
        probe!(refused "listen on a port", |_| "tcp-listen"),
        probe!(refused "listen on a socket without an address", |_| "listen-unbound"),
        probe!(refused "multipath TCP", |at| "mptcp", &tcp(at))
            .where_offered(offered::MULTIPATH),
        probe!(refused "TCP fast open", |at| "fast-open", &tcp(at))
            .where_offered(offered::FAST_OPEN),
        probe!(refused "TCP fast open, asked for of the socket", |at| "fast-open-connect", &tcp(at))
        .where_offered(offered::FAST_OPEN),
        probe!(refused "SCTP", |_| "socket", "inet", "sctp")
            .where_offered(offered::PROTOCOL),
        probe!(refused "send a UDP datagram", |at| "udp", &at.udp.to_string()),
        probe!(refused "send many datagrams in one call", |at| "send-many", &at.udp.to_string()),
        probe!(refused "make a raw socket", |_| "socket", "inet", "raw").where_offered(&[]),
        probe!(refused "make a ping socket", |_| "socket", "inet", "ping")
            .where_offered(&[]),
        probe!(refused "make a packet socket", |_| "socket", "packet", "raw")
        .where_offered(offered::FAMILY),
        probe!(refused "connect to a Unix socket by its path", |at| "unix", &text(&at.stream)),
        probe!(refused "connect to the agents' socket", |at| "unix", &at.state("run/agent/agent.sock")),
        probe!(refused "connect to the owner's socket", |at| "unix", &at.state("run/owner/owner.sock")),
        probe!(refused "connect to an abstract Unix socket", |at| "abstract", &at.abstract_name),
        probe!(refused "listen on a Unix socket", |at| "unix-listen", &at.inside("listener")),
        probe!(refused "send a datagram to a Unix socket", |at| "unix-datagram", &text(&at.datagram)),
        probe!(refused "send from a datagram pair to a Unix socket", |at| "datagram-pair", &text(&at.datagram)),
        probe!(refused "point a connected stream elsewhere", |_| "reconnect"),
        probe!(refused "hold the other side of a stream by a pidfd", |_| "peer-by-pidfd"),
        probe!(refused "send a byte out of band", |_| "out-of-band", "send")
            .where_offered(offered::OUT_OF_BAND),
        probe!(refused "send one in a message", |_| "out-of-band", "send-message")
        .where_offered(offered::OUT_OF_BAND),
        probe!(refused "take a byte out of band", |_| "out-of-band", "take")
            .where_offered(offered::OUT_OF_BAND),
        probe!(refused "take one in a message", |_| "out-of-band", "take-message")
        .where_offered(offered::OUT_OF_BAND),
        probe!(refused "make a Unix socket of packets", |_| "socket", "unix", "packets"),
        probe!(refused "netlink", |_| "netlink"),
        probe!(refused "vsock", |_| "socket", "vsock", "stream")
            .where_offered(offered::FAMILY),
        probe!(refused "the kernel's ciphers (AF_ALG)", |_| "socket", "alg", "packets")
        .where_offered(offered::FAMILY),
        probe!(refused "the kernel's keys (AF_KEY)", |_| "socket", "key", "raw")
        .where_offered(offered::FAMILY),
        probe!(refused "bluetooth", |_| "socket", "bluetooth", "raw")
            .where_offered(offered::FAMILY),
        probe!(refused "send a descriptor along a stream", |_| "descriptor-along"),
        probe!(open "make a stream pair, which reaches nobody", |_| "stream-pair"),
    ],
};
