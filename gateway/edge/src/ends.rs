//! Whose program is at the other end of a TCP connection, where that end is on this machine.
//!
//! Linux names the user of each socket in a table. A program of another machine or network namespace has no row there, and
//! macOS has no such table: the user is unknown then.

use nix::unistd::geteuid;
use std::net::{IpAddr, SocketAddr};

/// The user that acts for every other one: forwarders of connections run as it.
const ROOT: u32 = 0;

/// The two ends of a TCP connection.
#[derive(Clone, Copy, Debug)]
pub struct Ends {
    /// The client's.
    pub(crate) theirs: SocketAddr,
    /// The gateway's.
    pub(crate) ours: SocketAddr,
}

impl Ends {
    /// The user of the client's end, if it is known and neither the gateway's own nor root. Reads files of the system.
    #[must_use]
    pub fn other_user(self) -> Option<u32> {
        let own = geteuid().as_raw();
        self.user().filter(|user| ![own, ROOT].contains(user))
    }

    fn user(self) -> Option<u32> {
        ["/proc/net/tcp", "/proc/net/tcp6"]
            .iter()
            .filter_map(|table| std::fs::read_to_string(table).ok())
            .find_map(|table| self.user_in(&table))
    }

    /// The user in the client's row of a table: number, its own end, the other end, state, three words more, user.
    fn user_in(self, table: &str) -> Option<u32> {
        // A client whose socket takes both families is in the table of IPv6, by mapped addresses.
        let spelled = [row_end, mapped_row_end].map(|spell| [self.theirs, self.ours].map(spell));
        table.lines().find_map(|row| {
            let mut words = row.split_whitespace().skip(1);
            let ends = [words.next()?, words.next()?];
            let is_it = spelled.iter().any(|spelled| *spelled == ends);
            words.nth(4).filter(|_| is_it)?.parse().ok()
        })
    }
}

/// An end as the kernel prints it: the address by words in the machine's own order, and the port.
fn row_end(end: SocketAddr) -> String {
    let address = match end.ip() {
        IpAddr::V4(v4) => words(&v4.octets()),
        IpAddr::V6(v6) => words(&v6.octets()),
    };
    format!("{address}:{:04X}", end.port())
}

fn mapped_row_end(end: SocketAddr) -> String {
    let address: IpAddr = match end.ip() {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().into(),
        v6 @ IpAddr::V6(_) => v6,
    };
    row_end((address, end.port()).into())
}

fn words(octets: &[u8]) -> String {
    let (words, _) = octets.as_chunks::<4>();
    words.iter().fold(String::new(), |text, word| {
        text + &format!("{:08X}", u32::from_ne_bytes(*word))
    })
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;
    use std::net::{TcpListener, TcpStream};

    fn ends_of(listener: &TcpListener, asked: &str) -> (TcpStream, TcpStream, Ends) {
        let port = listener.local_addr().unwrap().port();
        let client = TcpStream::connect((asked, port)).unwrap();
        let (served, theirs) = listener.accept().unwrap();
        let ours = served.local_addr().unwrap();
        (client, served, Ends { theirs, ours })
    }

    #[test]
    fn user_of_a_local_client_is_found() {
        let own = Some(geteuid().as_raw());
        for address in ["127.0.0.1", "::1"] {
            // A machine without IPv6.
            let Ok(listener) = TcpListener::bind((address, 0)) else {
                continue;
            };
            let (_client, _served, ends) = ends_of(&listener, address);
            assert_eq!(ends.user(), own, "{address}");
            assert_eq!(ends.other_user(), None, "{address}");
            let gone = Ends {
                theirs: ends.ours,
                ours: ends.ours,
            };
            assert_eq!(gone.user(), None, "{address}");
        }
        // A client that takes both families asks for the address of IPv4 in the form of IPv6.
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        if TcpListener::bind("[::1]:0").is_ok() {
            let (_client, _served, ends) = ends_of(&listener, "::ffff:127.0.0.1");
            assert_eq!(ends.user(), own, "mapped");
        }
    }

    #[test]
    fn other_user_is_read_from_its_row() {
        let ends = Ends {
            theirs: "127.0.0.1:40000".parse().unwrap(),
            ours: "127.0.0.1:7077".parse().unwrap(),
        };
        let row = |from: &str, to: &str, user: u32| {
            format!(
                "  12: {from} {to} 01 00000000:00000000 00:00000000 00000000  {user}        0 91 1 0000\n"
            )
        };
        let [theirs, ours] = [ends.theirs, ends.ours].map(row_end);
        let [far, near] = [ends.theirs, ends.ours].map(mapped_row_end);
        // The gateway's own row of the connection has the ends the other way round.
        for (first, second) in [(&theirs, &ours), (&far, &near)] {
            let table = row(second, first, 1004) + &row(first, second, 1005);
            assert_eq!(ends.user_in(&table), Some(1005));
        }
        assert_eq!(ends.user_in(&row(&ours, &theirs, 1004)), None);
        assert_eq!(ends.user_in("sl local_address rem_address st\n"), None);
    }
}
