//! What a worker may say to whom: nothing to anyone but over the stream it was given, unless its profile names
//! a TCP port.

use std::net::{TcpListener, UdpSocket};
use std::os::unix::net::{UnixDatagram, UnixListener};

#[cfg(target_os = "linux")]
use plexus_hostile::offered;

use crate::Cage;

/// Peers for every way of talking, all of them there.
struct Peers {
    tcp_port: String,
    /// A machine without IPv6 has nothing to deny there.
    tcp6_port: Option<String>,
    udp_port: String,
    stream_path: String,
    datagram_path: String,
    _listeners: (TcpListener, Option<TcpListener>, UnixListener),
    _sockets: (UdpSocket, UnixDatagram),
}

impl Peers {
    fn near(cage: &Cage) -> Self {
        let (stream_path, datagram_path) =
            (cage.in_root("stream.sock"), cage.in_root("datagram.sock"));
        let (tcp, tcp_port) = crate::listener("127.0.0.1:0");
        let tcp6 = TcpListener::bind("[::1]:0").ok();
        let tcp6_port = tcp6.as_ref().map(crate::port_of);
        let udp = UdpSocket::bind("127.0.0.1:0").expect("a port");
        let udp_port = udp.local_addr().expect("an address").port().to_string();
        let stream = UnixListener::bind(&stream_path).expect("a stream socket");
        let datagram = UnixDatagram::bind(&datagram_path).expect("a datagram socket");
        Self {
            tcp_port,
            tcp6_port,
            udp_port,
            stream_path,
            datagram_path,
            _listeners: (tcp, tcp6, stream),
            _sockets: (udp, datagram),
        }
    }
}

#[test]
fn a_worker_without_a_port_reaches_nobody() {
    for cage in Cage::leaves() {
        let peers = Peers::near(&cage);
        denies_all_but_tcp(&cage, &peers);
        cage.denies(&["tcp", &peers.tcp_port]);
        #[cfg(target_os = "linux")]
        cage.denies(&["tcp-socket"]);
    }
}

#[test]
fn a_worker_with_a_port_reaches_that_port_by_plain_tcp_alone() {
    let cage = Cage::reader();
    let open = Peers::near(&cage);
    let (_closed, closed) = crate::listener("127.0.0.1:0");
    // A port of this machine alone is more than Landlock can hold: see `connects`.
    let cage = cage.with(&to_port(&open.tcp_port));

    cage.allows(&["tcp", &open.tcp_port]);
    cage.denies(&["tcp", &closed]);
    denies_all_but_tcp(&cage, &open);
    #[cfg(target_os = "linux")]
    for port in [&closed, &open.tcp_port] {
        cage.denies(&["mptcp", port]);
        cage.denies(&["fast-open", port]);
        cage.denies(&["fast-open-connect", port]);
    }
}

/// One published escape from a sandbox to the kernel needed nothing but this. A stream pair stays.
#[cfg(target_os = "linux")]
#[test]
fn no_byte_goes_out_of_band() {
    for cage in Cage::leaves() {
        for how in ["send", "send-message", "take", "take-message"] {
            cage.denies_where_offered(&["out-of-band", how], offered::OUT_OF_BAND);
        }
    }
}

/// Descriptors on their way count for nobody's limit. The agent's list has messages: what it runs talks to servers.
#[cfg(target_os = "linux")]
#[test]
fn no_descriptor_is_sent() {
    for cage in Cage::leaves() {
        cage.denies(&["descriptor-along"]);
        cage.allows(&["stream-pair"]);
    }
}

/// Of its stream a worker asks what it is and how it is. A worker that asks who is there holds that process.
#[cfg(target_os = "linux")]
#[test]
fn the_other_side_of_a_stream_is_not_held() {
    for cage in Cage::leaves() {
        cage.denies(&["peer-by-pidfd"]);
        cage.denies(&["peer-by-number"]);
        cage.allows(&["stream-state"]);
    }
}

/// A rule that names no address is met by the port alone.
#[cfg(target_os = "linux")]
#[test]
fn port_of_any_machine_has_any_address() {
    let (_elsewhere, port) = crate::listener("127.0.0.2:0");
    let act = ["tcp-at", "127.0.0.2", &port];
    Cage::reader().denies(&act);
    Cage::reader().with(&to_port(&port)).allows(&act);
}

/// A port of any machine is granted.
fn to_port(port: &str) -> String {
    format!("(allow network-outbound (remote tcp \"*:{port}\"))")
}

fn denies_all_but_tcp(cage: &Cage, peers: &Peers) {
    cage.denies(&["unix", &peers.stream_path]);
    cage.denies(&["unix-datagram", &peers.datagram_path]);
    let own = cage.in_root(&format!("{}.sock", std::process::id()));
    cage.denies(&["unix-listen", &own]);
    std::fs::remove_file(&own).expect("left by the control");
    cage.denies(&["udp", &peers.udp_port]);
    cage.denies(&["tcp-listen"]);
    if let Some(port) = &peers.tcp6_port {
        cage.denies(&["tcp6", port]);
    }
    cage.allows(&["stream-pair"]);
    #[cfg(target_os = "linux")]
    {
        use std::os::linux::net::SocketAddrExt;
        let name = cage.in_root("abstract");
        let address = std::os::unix::net::SocketAddr::from_abstract_name(&name).expect("a name");
        let _listener = UnixListener::bind_addr(&address).expect("an abstract socket");
        cage.denies(&["abstract", &name]);
        cage.denies(&["datagram-pair", &peers.datagram_path]);
        cage.denies(&["datagram-pair"]);
        cage.denies(&["netlink"]);
        cage.denies(&["listen-unbound"]);
    }
}

/// A worker that may accept on the socket that it was given may make none: not even on the port that the rule names.
#[test]
fn accepting_is_no_right_to_listen() {
    let rule = "(allow network-inbound (local tcp \"localhost:7077\"))";
    let (_peer, port) = crate::listener("127.0.0.1:0");
    let cage = Cage::reader().with(rule).with(&to_port(&port));
    // The control: it has a socket call, and a host to use it on.
    cage.allows(&["tcp", &port]);
    cage.denies(&["tcp-listen"]);
    #[cfg(target_os = "linux")]
    cage.denies(&["listen-unbound"]);
    // Without a rule for a host there is no socket at all.
    Cage::reader().with(rule).denies(&["tcp", &port]);
}
