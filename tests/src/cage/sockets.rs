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
        Probe::refused("connect to the gateway's port", |at| {
            act(&["tcp", &tcp(at)])
        }),
        Probe::refused("connect to a port on ::1", |at| match at.tcp6 {
            Some(port) => act(&["tcp6", &port.to_string()]),
            None => act(&["socket", "inet6", "stream"]),
        })
        .where_offered(offered::FAMILY),
        Probe::refused("listen on a port", |_| act(&["tcp-listen"])),
        Probe::refused("listen on a socket without an address", |_| {
            act(&["listen-unbound"])
        }),
        Probe::refused("multipath TCP", |at| act(&["mptcp", &tcp(at)]))
            .where_offered(offered::MULTIPATH),
        Probe::refused("TCP fast open", |at| act(&["fast-open", &tcp(at)]))
            .where_offered(offered::FAST_OPEN),
        Probe::refused("TCP fast open, asked for of the socket", |at| {
            act(&["fast-open-connect", &tcp(at)])
        })
        .where_offered(offered::FAST_OPEN),
        Probe::refused("SCTP", |_| act(&["socket", "inet", "sctp"]))
            .where_offered(offered::PROTOCOL),
        Probe::refused("send a UDP datagram", |at| {
            act(&["udp", &at.udp.to_string()])
        }),
        Probe::refused("send many datagrams in one call", |at| {
            act(&["send-many", &at.udp.to_string()])
        }),
        Probe::refused("make a raw socket", |_| act(&["socket", "inet", "raw"])).where_offered(&[]),
        Probe::refused("make a ping socket", |_| act(&["socket", "inet", "ping"]))
            .where_offered(&[]),
        Probe::refused("make a packet socket", |_| {
            act(&["socket", "packet", "raw"])
        })
        .where_offered(offered::FAMILY),
        Probe::refused("connect to a Unix socket by its path", |at| {
            act(&["unix", &text(&at.stream)])
        }),
        Probe::refused("connect to the agents' socket", |at| {
            act(&["unix", &at.state("run/agent/agent.sock")])
        }),
        Probe::refused("connect to the owner's socket", |at| {
            act(&["unix", &at.state("run/owner/owner.sock")])
        }),
        Probe::refused("connect to an abstract Unix socket", |at| {
            act(&["abstract", &at.abstract_name])
        }),
        Probe::refused("listen on a Unix socket", |at| {
            act(&["unix-listen", &at.inside("listener")])
        }),
        Probe::refused("send a datagram to a Unix socket", |at| {
            act(&["unix-datagram", &text(&at.datagram)])
        }),
        Probe::refused("send from a datagram pair to a Unix socket", |at| {
            act(&["datagram-pair", &text(&at.datagram)])
        }),
        Probe::refused("point a connected stream elsewhere", |_| {
            act(&["reconnect"])
        }),
        Probe::refused("hold the other side of a stream by a pidfd", |_| {
            act(&["peer-by-pidfd"])
        }),
        Probe::refused("send a byte out of band", |_| act(&["out-of-band", "send"]))
            .where_offered(offered::OUT_OF_BAND),
        Probe::refused("send one in a message", |_| {
            act(&["out-of-band", "send-message"])
        })
        .where_offered(offered::OUT_OF_BAND),
        Probe::refused("take a byte out of band", |_| act(&["out-of-band", "take"]))
            .where_offered(offered::OUT_OF_BAND),
        Probe::refused("take one in a message", |_| {
            act(&["out-of-band", "take-message"])
        })
        .where_offered(offered::OUT_OF_BAND),
        Probe::refused("make a Unix socket of packets", |_| {
            act(&["socket", "unix", "packets"])
        }),
        Probe::refused("netlink", |_| act(&["netlink"])),
        Probe::refused("vsock", |_| act(&["socket", "vsock", "stream"]))
            .where_offered(offered::FAMILY),
        Probe::refused("the kernel's ciphers (AF_ALG)", |_| {
            act(&["socket", "alg", "packets"])
        })
        .where_offered(offered::FAMILY),
        Probe::refused("the kernel's keys (AF_KEY)", |_| {
            act(&["socket", "key", "raw"])
        })
        .where_offered(offered::FAMILY),
        Probe::refused("bluetooth", |_| act(&["socket", "bluetooth", "raw"]))
            .where_offered(offered::FAMILY),
        Probe::refused("send a descriptor along a stream", |_| {
            act(&["descriptor-along"])
        }),
        Probe::open("make a stream pair, which reaches nobody", |_| {
            act(&["stream-pair"])
        }),
    ],
};
