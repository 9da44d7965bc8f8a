//! [`Proxies`]: which address a request comes from, behind proxies that are trusted to say it.
//!
//! Each proxy adds the address that it was reached from at the right end of `X-Forwarded-For`, or of `Forwarded` (RFC 7239).
//! What stands to the left of the first address that is no trusted proxy's, anybody may have written.
//!
//! Invariants: only a trusted peer is asked; the rightmost hop that is not trusted is the client; where both headers are
//! there and differ, or a hop cannot be read, it is the last trusted one.

use axum::http::HeaderMap;
use axum::http::header::FORWARDED;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

const X_FORWARDED_FOR: &str = "x-forwarded-for";

/// An address, or all that have its first bits: `192.0.2.7`, `10.0.0.0/8`, `2001:db8::/32`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    bits: u32,
}

impl FromStr for Network {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let why = "an address, or ADDRESS/BITS";
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| why)?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let bits = bits.map_or(Ok(most), |bits| bits.parse().map_err(|_| why))?;
        if bits > most || (address.is_ipv6() && address != address.to_canonical()) {
            return Err(why);
        }
        Ok(Self { address, bits })
    }
}

impl Network {
    fn has(self, address: IpAddr) -> bool {
        let differ = match (self.address, address) {
            (IpAddr::V4(own), IpAddr::V4(other)) => {
                (own.to_bits() ^ other.to_bits()).leading_zeros()
            }
            (IpAddr::V6(own), IpAddr::V6(other)) => {
                (own.to_bits() ^ other.to_bits()).leading_zeros()
            }
            _ => return false,
        };
        differ >= self.bits
    }
}

/// The proxies that are trusted.
#[derive(Clone, Debug, Default)]
pub struct Proxies(pub Vec<Network>);

impl Proxies {
    /// Whether what this peer says of its client is believed.
    pub(crate) fn trust(&self, peer: IpAddr) -> bool {
        let peer = peer.to_canonical();
        self.0.iter().any(|network| network.has(peer))
    }

    /// Where a request comes from.
    pub(crate) fn client(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        let peer = peer.to_canonical();
        if !self.trust(peer) {
            return peer;
        }
        let hops = |name: &str| -> Option<Vec<&str>> {
            let lines = headers.get_all(name).iter();
            let lines: Option<Vec<&str>> = lines.map(|line| line.to_str().ok()).collect();
            let hops = lines?.into_iter().flat_map(|line| line.split(','));
            let hops: Vec<&str> = hops.collect();
            (!hops.is_empty()).then_some(hops)
        };
        let plain = hops(X_FORWARDED_FOR).map(|hops| self.last(peer, &hops, hop));
        let named = hops(FORWARDED.as_str()).map(|hops| self.last(peer, &hops, forwarded_for));
        match (plain, named) {
            (Some(one), Some(other)) if one != other => peer,
            (one, other) => one.or(other).unwrap_or(peer),
        }
    }

    /// The rightmost hop that is not trusted; where one cannot be read, the trusted one that wrote it.
    fn last(&self, peer: IpAddr, hops: &[&str], read: fn(&str) -> Option<IpAddr>) -> IpAddr {
        let mut last = peer;
        for hop in hops.iter().rev() {
            let Some(address) = read(hop) else { break };
            last = address;
            if !self.trust(address) {
                break;
            }
        }
        last
    }
}

/// An address, with a port or without.
fn hop(text: &str) -> Option<IpAddr> {
    let text = text.trim();
    let bare = text
        .strip_prefix('[')
        .and_then(|text| text.strip_suffix(']'));
    let address = bare.unwrap_or(text).parse().ok();
    let address = address.or_else(|| Some(text.parse::<SocketAddr>().ok()?.ip()));
    address.map(|address| address.to_canonical())
}

/// The address in one element of `Forwarded`.
fn forwarded_for(element: &str) -> Option<IpAddr> {
    let mut pairs = element.split(';').filter_map(|pair| pair.split_once('='));
    let (_, value) = pairs.find(|(name, _)| name.trim().eq_ignore_ascii_case("for"))?;
    let value = value.trim();
    let quoted = value
        .strip_prefix('"')
        .and_then(|value| value.strip_suffix('"'));
    hop(quoted.unwrap_or(value))
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::{HeaderName, HeaderValue};

    #[test]
    fn rightmost_hop_that_is_not_trusted_is_the_client() {
        let trusted = ["10.0.0.0/8", "2001:db8:1::/48", "127.0.0.1"];
        let trusted = trusted.map(|text| text.parse().expect(text));
        let proxies = Proxies(trusted.to_vec());
        let (plain, named) = ("x-forwarded-for", "forwarded");
        #[rustfmt::skip]
        let rows = [
            // Who is no proxy is believed nothing.
            ("192.0.2.1", &[(plain, "198.51.100.7")][..], "192.0.2.1"),
            ("10.1.1.1", &[], "10.1.1.1"),
            ("::ffff:10.1.1.1", &[(plain, "198.51.100.7")], "198.51.100.7"),
            // What a client wrote stands further left, in the same line or in one before.
            ("10.1.1.1", &[(plain, "6.6.6.6, 198.51.100.7")], "198.51.100.7"),
            ("10.1.1.1", &[(plain, "6.6.6.6"), (plain, "198.51.100.7")], "198.51.100.7"),
            ("10.1.1.1", &[(plain, "6.6.6.6, 198.51.100.7, 10.2.2.2")], "198.51.100.7"),
            ("127.0.0.1", &[(plain, "10.3.3.3, 10.2.2.2")], "10.3.3.3"),
            ("10.1.1.1", &[(plain, "[2001:db8::9]:443")], "2001:db8::9"),
            ("10.1.1.1", &[(plain, "198.51.100.7:5000")], "198.51.100.7"),
            ("2001:db8:1::2", &[(plain, "2001:db8:2::2")], "2001:db8:2::2"),
            // What cannot be read ends it.
            ("10.1.1.1", &[(plain, "198.51.100.7, unknown")], "10.1.1.1"),
            ("10.1.1.1", &[(plain, "6.6.6.6, , 10.2.2.2")], "10.2.2.2"),
            ("10.1.1.1", &[(named, "for=6.6.6.6, for=\"[2001:db8::9]:80\";proto=https")], "2001:db8::9"),
            ("10.1.1.1", &[(named, "proto=https;For=198.51.100.7")], "198.51.100.7"),
            ("10.1.1.1", &[(named, "for=_hidden")], "10.1.1.1"),
            // A proxy writes one of the two; the other one is its client's, and may say anything.
            ("10.1.1.1", &[(plain, "198.51.100.7"), (named, "for=6.6.6.6")], "10.1.1.1"),
            ("10.1.1.1", &[(plain, "198.51.100.7"), (named, "for=198.51.100.7")], "198.51.100.7"),
        ];
        for (peer, headers, client) in rows {
            let mut map = HeaderMap::new();
            for (name, value) in headers {
                let value = HeaderValue::from_static(value);
                map.append(HeaderName::from_static(name), value);
            }
            let found = proxies.client(peer.parse().expect(peer), &map);
            assert_eq!(found.to_string(), client, "{peer} {headers:?}");
        }
        for text in [
            "",
            "10.0.0.0/33",
            "10.0.0.0/x",
            "::ffff:10.0.0.1",
            "example",
        ] {
            let refused = text.parse::<Network>().err();
            assert_eq!(refused, Some("an address, or ADDRESS/BITS"), "{text}");
        }
        assert!(Proxies(vec!["0.0.0.0/0".parse().expect("all")]).trust([1, 2, 3, 4].into()));
    }
}
