//! `connect`, decided by its address and made outside of the cage.
//!
//! | address | connected |
//! |---|---|
//! | TCP, granted by a rule | a plain TCP socket of the address's own family |
//! | the path of a Unix socket, granted by a rule | a Unix stream socket, to what lies at that path: a socket of this user's, with no other name, behind no link |
//! | anything else: abstract Unix sockets, no address at all | nothing |
//!
//! Invariants: the address is read once, and the connection goes to what was read; of a path, to the very socket that was
//! judged, whatever the path means by then.
//!
//! Must not know: what is said over a connection, who listens.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag, OpenHow, ResolveFlag, openat2};
use nix::sys::stat::{SFlag, fstat};
use nix::unistd::geteuid;

use super::super::os::notify::{self, LONGEST_ADDRESS, Listener, Notice};
use super::take_descriptor;
use crate::ruleset::{Host, Ruleset};

/// Where a connection is to go.
#[derive(Debug, PartialEq, Eq)]
enum Address {
    Tcp(SocketAddr),
    /// The path of a Unix socket, as it was spelled.
    Path(Vec<u8>),
}

/// Connects the socket that is meant, where the profile grants it.
pub(super) fn connect(
    listener: &Listener<'_>,
    grants: &Grants,
    notice: &Notice,
) -> nix::Result<()> {
    // The kernel reads 32 bits of a number that is an int.
    let [number, address, length, ..] = notice.arguments;
    let to = read_address(notice.thread, address, length as i32)?;
    if !grants.allow(&to) {
        return Err(Errno::EACCES);
    }
    let socket = take_descriptor(notice, number as i32)?;
    if !listener.is_waiting(notice) {
        return Err(Errno::ESRCH);
    }
    let kind = match &to {
        Address::Tcp(SocketAddr::V4(_)) => (libc::AF_INET, libc::SOCK_STREAM, libc::IPPROTO_TCP),
        Address::Tcp(SocketAddr::V6(_)) => (libc::AF_INET6, libc::SOCK_STREAM, libc::IPPROTO_TCP),
        Address::Path(_) => (libc::AF_UNIX, libc::SOCK_STREAM, 0),
    };
    if notify::kind_of(&socket)? != kind {
        return Err(Errno::EACCES);
    }
    match to {
        Address::Tcp(to) => notify::connect_to(&socket, to),
        Address::Path(path) => {
            let found = own_socket(Path::new(std::ffi::OsStr::from_bytes(&path)))?;
            notify::connect_to_open(&socket, &found)
        }
    }
}

/// What lies at a path, where it is a socket that this user made and that has no other name.
fn own_socket(path: &Path) -> nix::Result<OwnedFd> {
    let how = OpenHow::new()
        .flags(OFlag::O_PATH | OFlag::O_CLOEXEC)
        .resolve(ResolveFlag::RESOLVE_NO_SYMLINKS);
    let found = openat2(AT_FDCWD, path, how)?;
    let about = fstat(&found)?;
    if SFlag::from_bits_truncate(about.st_mode) & SFlag::S_IFMT != SFlag::S_IFSOCK {
        return Err(Errno::ENOTSOCK);
    }
    if about.st_nlink != 1 {
        return Err(Errno::EMLINK);
    }
    match about.st_uid == geteuid().as_raw() {
        true => Ok(found),
        false => Err(Errno::EPERM),
    }
}

/// The address that a thread names, of the families that a rule can mean.
fn read_address(thread: i32, at: u64, length: i32) -> nix::Result<Address> {
    let length = usize::try_from(length).map_err(|_| Errno::EINVAL)?;
    let mut bytes = [0; LONGEST_ADDRESS];
    let read = bytes
        .get_mut(..length.min(LONGEST_ADDRESS))
        .ok_or(Errno::EINVAL)?;
    notify::read_memory(thread, at, read)?;
    parse(read)
}

/// Reads `struct sockaddr_in`, `struct sockaddr_in6` (the scope of a link-local address is not carried over) and `struct
/// sockaddr_un` with a path.
fn parse(address: &[u8]) -> nix::Result<Address> {
    fn part<const N: usize>(address: &[u8], at: usize) -> nix::Result<[u8; N]> {
        address
            .get(at..at + N)
            .and_then(|part| part.try_into().ok())
            .ok_or(Errno::EINVAL)
    }
    let family = i32::from(u16::from_ne_bytes(part(address, 0)?));
    if family == libc::AF_UNIX {
        let path = address.get(2..).unwrap_or_default();
        let path = path.split(|byte| *byte == 0).next().unwrap_or_default();
        // An abstract name begins with a zero byte, and an unnamed socket has none.
        return match path.is_empty() {
            true => Err(Errno::EACCES),
            false => Ok(Address::Path(path.to_vec())),
        };
    }
    let port = u16::from_be_bytes(part(address, 2)?);
    match family {
        libc::AF_INET if address.len() >= size_of::<libc::sockaddr_in>() => Ok(Address::Tcp(
            (Ipv4Addr::from(part::<4>(address, 4)?), port).into(),
        )),
        libc::AF_INET6 if address.len() >= size_of::<libc::sockaddr_in6>() => Ok(Address::Tcp(
            (Ipv6Addr::from(part::<16>(address, 8)?), port).into(),
        )),
        libc::AF_INET | libc::AF_INET6 => Err(Errno::EINVAL),
        // AF_UNSPEC, which lets a connection go, among them.
        _ => Err(Errno::EACCES),
    }
}

/// What a profile says of TCP and of Unix sockets.
#[derive(Debug)]
pub(super) struct Grants {
    ports: Vec<(Host, u16)>,
    sockets: Vec<PathBuf>,
}

impl Grants {
    pub(super) fn of(ruleset: &Ruleset) -> Self {
        let ports = ruleset.connects.iter();
        let sockets = ruleset.sockets.iter();
        Self {
            ports: ports.map(|grant| (grant.host, grant.port)).collect(),
            sockets: sockets.map(|grant| grant.path.clone()).collect(),
        }
    }

    fn allow(&self, to: &Address) -> bool {
        match to {
            Address::Tcp(to) => self.ports.iter().any(|(host, port)| match host {
                Host::Localhost => *to == SocketAddr::from((Ipv4Addr::LOCALHOST, *port)),
                Host::Any => to.port() == *port,
            }),
            // Letter by letter: a path has one spelling.
            Address::Path(path) => self
                .sockets
                .iter()
                .any(|granted| granted.as_os_str().as_bytes() == path),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn v4(family: u16, port: u16, address: [u8; 4]) -> Vec<u8> {
        let mut bytes = family.to_ne_bytes().to_vec();
        bytes.extend(port.to_be_bytes());
        bytes.extend(address);
        bytes.extend([0; 8]);
        bytes
    }

    fn v6(port: u16, address: Ipv6Addr) -> Vec<u8> {
        let mut bytes = (libc::AF_INET6 as u16).to_ne_bytes().to_vec();
        bytes.extend(port.to_be_bytes());
        bytes.extend([0; 4]);
        bytes.extend(address.octets());
        bytes.extend([0; 4]);
        bytes
    }

    fn tcp(to: impl Into<SocketAddr>) -> Address {
        Address::Tcp(to.into())
    }

    #[test]
    fn addresses_of_two_families_are_read() {
        let inet = libc::AF_INET as u16;
        let whole = v4(inet, 80, [127, 0, 0, 1]);
        assert_eq!(parse(&whole), Ok(tcp((Ipv4Addr::LOCALHOST, 80))));
        for length in 0..whole.len() {
            assert_eq!(parse(&whole[..length]), Err(Errno::EINVAL), "{length}");
        }
        let whole = v6(80, Ipv6Addr::LOCALHOST);
        assert_eq!(parse(&whole), Ok(tcp((Ipv6Addr::LOCALHOST, 80))));
        for length in 0..whole.len() {
            assert_eq!(parse(&whole[..length]), Err(Errno::EINVAL), "{length}");
        }
        for other in [libc::AF_UNSPEC, libc::AF_NETLINK] {
            assert_eq!(
                parse(&v4(other as u16, 80, [127, 0, 0, 1])),
                Err(Errno::EACCES)
            );
        }
    }

    #[test]
    fn localhost_is_one_address() {
        let mapped = Ipv4Addr::LOCALHOST.to_ipv6_mapped();
        let grants = Grants {
            ports: vec![(Host::Localhost, 80), (Host::Any, 443)],
            sockets: Vec::new(),
        };
        assert!(grants.allow(&tcp(([127, 0, 0, 1], 80))));
        for refused in [
            SocketAddr::from(([127, 0, 0, 1], 81)),
            SocketAddr::from(([127, 0, 0, 2], 80)),
            SocketAddr::from(([0, 0, 0, 0], 80)),
            SocketAddr::from((Ipv6Addr::LOCALHOST, 80)),
            SocketAddr::from((mapped, 80)),
        ] {
            assert!(!grants.allow(&tcp(refused)), "{refused}");
        }
        assert!(grants.allow(&tcp(([192, 0, 2, 1], 443))));
        assert!(grants.allow(&tcp((Ipv6Addr::LOCALHOST, 443))));
    }

    #[test]
    fn a_unix_socket_is_its_path_letter_by_letter() {
        let of = |name: &[u8]| {
            let mut bytes = (libc::AF_UNIX as u16).to_ne_bytes().to_vec();
            bytes.extend(name);
            parse(&bytes)
        };
        let path = |text: &str| Ok(Address::Path(text.as_bytes().to_vec()));
        assert_eq!(of(b"/run/a.sock"), path("/run/a.sock"));
        assert_eq!(of(b"/run/a.sock\0more"), path("/run/a.sock"));
        for nameless in [&b""[..], b"\0", b"\0/run/a.sock"] {
            assert_eq!(of(nameless), Err(Errno::EACCES), "{nameless:?}");
        }
        let grants = Grants {
            ports: Vec::new(),
            sockets: vec!["/run/a.sock".into()],
        };
        assert!(grants.allow(&of(b"/run/a.sock").unwrap()));
        for other in [
            "/run/b.sock",
            "/run/a.soc",
            "/run/a.sock/",
            "/run//a.sock",
            "run/a.sock",
            "/run/./a.sock",
        ] {
            assert!(!grants.allow(&of(other.as_bytes()).unwrap()), "{other}");
        }
    }
}
