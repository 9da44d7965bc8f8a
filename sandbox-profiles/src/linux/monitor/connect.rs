//! `connect`, decided by its address and made outside of the cage.
//!
//! Invariants: the address is read once, and the connection goes to what was read; only a plain TCP socket is connected,
//! of the address's own family.
//!
//! Must not know: what is said over a connection.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use nix::errno::Errno;

use super::super::os::notify::{self, LONGEST_ADDRESS, Listener, Notice};
use super::process_of;
use crate::ruleset::{Host, Ruleset};

/// Connects the socket that is meant, where the profile grants it.
pub(super) fn connect(
    listener: &Listener<'_>,
    grants: &Grants,
    notice: &Notice,
) -> nix::Result<()> {
    // The kernel reads 32 bits of a number that is an int.
    let [number, address, length, ..] = notice.arguments;
    let to = read_address(notice.thread, address, length as i32)?;
    if !grants.allow(to) {
        return Err(Errno::EACCES);
    }
    let socket = notify::take_descriptor(process_of(notice.thread)?, number as i32)?;
    if !listener.is_waiting(notice) {
        return Err(Errno::ESRCH);
    }
    let family = match to {
        SocketAddr::V4(_) => libc::AF_INET,
        SocketAddr::V6(_) => libc::AF_INET6,
    };
    if notify::kind_of(&socket)? != (family, libc::SOCK_STREAM, libc::IPPROTO_TCP) {
        return Err(Errno::EACCES);
    }
    notify::connect_to(&socket, to)
}

/// The address that a thread names, of the two families that a rule can mean.
fn read_address(thread: i32, at: u64, length: i32) -> nix::Result<SocketAddr> {
    let length = usize::try_from(length).map_err(|_| Errno::EINVAL)?;
    let mut bytes = [0; LONGEST_ADDRESS];
    let read = bytes
        .get_mut(..length.min(LONGEST_ADDRESS))
        .ok_or(Errno::EINVAL)?;
    notify::read_memory(thread, at, read)?;
    parse(read)
}

/// Reads `struct sockaddr_in` and `struct sockaddr_in6` (the scope of a link-local address is not carried over).
fn parse(address: &[u8]) -> nix::Result<SocketAddr> {
    fn part<const N: usize>(address: &[u8], at: usize) -> nix::Result<[u8; N]> {
        address
            .get(at..at + N)
            .and_then(|part| part.try_into().ok())
            .ok_or(Errno::EINVAL)
    }
    let family = i32::from(u16::from_ne_bytes(part(address, 0)?));
    let port = u16::from_be_bytes(part(address, 2)?);
    match family {
        libc::AF_INET if address.len() >= size_of::<libc::sockaddr_in>() => {
            Ok((Ipv4Addr::from(part::<4>(address, 4)?), port).into())
        }
        libc::AF_INET6 if address.len() >= LONGEST_ADDRESS => {
            Ok((Ipv6Addr::from(part::<16>(address, 8)?), port).into())
        }
        libc::AF_INET | libc::AF_INET6 => Err(Errno::EINVAL),
        // AF_UNSPEC, which lets a connection go, among them.
        _ => Err(Errno::EACCES),
    }
}

/// What a profile says of TCP.
#[derive(Debug)]
pub(super) struct Grants(Vec<(Host, u16)>);

impl Grants {
    pub(super) fn of(ruleset: &Ruleset) -> Self {
        let grants = ruleset.connects.iter();
        Self(grants.map(|grant| (grant.host, grant.port)).collect())
    }

    fn allow(&self, to: SocketAddr) -> bool {
        self.0.iter().any(|(host, port)| match host {
            Host::Localhost => to == SocketAddr::from((Ipv4Addr::LOCALHOST, *port)),
            Host::Any => to.port() == *port,
        })
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

    #[test]
    fn addresses_of_two_families_are_read() {
        let inet = libc::AF_INET as u16;
        let whole = v4(inet, 80, [127, 0, 0, 1]);
        assert_eq!(
            parse(&whole),
            Ok(SocketAddr::from((Ipv4Addr::LOCALHOST, 80)))
        );
        for length in 0..whole.len() {
            assert_eq!(parse(&whole[..length]), Err(Errno::EINVAL), "{length}");
        }
        let whole = v6(80, Ipv6Addr::LOCALHOST);
        assert_eq!(
            parse(&whole),
            Ok(SocketAddr::from((Ipv6Addr::LOCALHOST, 80)))
        );
        for length in 0..whole.len() {
            assert_eq!(parse(&whole[..length]), Err(Errno::EINVAL), "{length}");
        }
        for other in [libc::AF_UNSPEC, libc::AF_UNIX, libc::AF_NETLINK] {
            assert_eq!(
                parse(&v4(other as u16, 80, [127, 0, 0, 1])),
                Err(Errno::EACCES)
            );
        }
    }

    #[test]
    fn localhost_is_one_address() {
        let mapped = Ipv4Addr::LOCALHOST.to_ipv6_mapped();
        let grants = Grants(vec![(Host::Localhost, 80), (Host::Any, 443)]);
        assert!(grants.allow(SocketAddr::from(([127, 0, 0, 1], 80))));
        for refused in [
            SocketAddr::from(([127, 0, 0, 1], 81)),
            SocketAddr::from(([127, 0, 0, 2], 80)),
            SocketAddr::from(([0, 0, 0, 0], 80)),
            SocketAddr::from((Ipv6Addr::LOCALHOST, 80)),
            SocketAddr::from((mapped, 80)),
        ] {
            assert!(!grants.allow(refused), "{refused}");
        }
        assert!(grants.allow(SocketAddr::from(([192, 0, 2, 1], 443))));
        assert!(grants.allow(SocketAddr::from((Ipv6Addr::LOCALHOST, 443))));
    }
}
