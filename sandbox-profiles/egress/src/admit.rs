//! Who may go where: the credential, the listed hosts, and the addresses that a host may lead to.
//!
//! | address | a host of the manifest | a host of the owner's |
//! |---|---|---|
//! | public | yes | yes |
//! | private: RFC 1918, shared (RFC 6598), unique local | no | yes |
//! | loopback, link-local | no | only where the owner wrote the address itself, or `localhost` |
//! | anything else: multicast, reserved, documentation | no | no |
//!
//! A host without TLS leads to loopback only, whatever its name is resolved to. A host of an extension leads to no public
//! address; it may lie in the network without TLS, as the owner agreed to it.
//!
//! An address of version 6 that holds one of version 4 is judged as the latter.
//!
//! Must not know: sockets.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use hyper::header::HeaderValue;
use plexus_ipc::egress::AuditId;
use plexus_ipc::{
    egress::{call_named, credential_of_call},
    manifest::Admitted,
    message::Secret,
};
use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    time::Duration,
};
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

/// Whether a credential is this one.
pub(crate) fn opens(given: &[u8], credential: &Secret) -> bool {
    given.ct_eq(credential.expose().as_bytes()).into()
}

/// The call whose own credential this is, made from the worker's, if it has not expired at `now`, by the clock
/// [`plexus_ipc::egress::awake`].
pub(crate) fn opens_for(given: &[u8], credential: &Secret, now: Duration) -> Option<AuditId> {
    let (call, until) = call_named(given)?;
    let is_of_it = opens(given, &credential_of_call(credential, &call, until));
    (is_of_it && now.as_secs() < until).then_some(call)
}

/// The credential in a header's value: as `Bearer`, as the password of `Basic`, or as it is.
pub(crate) fn given(value: &HeaderValue) -> Option<Zeroizing<Vec<u8>>> {
    let text = value.to_str().ok()?;
    Some(match text.split_once(' ') {
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case("bearer") => {
            Zeroizing::new(rest.trim().as_bytes().to_vec())
        }
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case("basic") => {
            let decoded = Zeroizing::new(BASE64_STANDARD.decode(rest.trim()).unwrap_or_default());
            let colon = decoded.iter().position(|byte| *byte == b':')?;
            Zeroizing::new(decoded[colon + 1..].to_vec())
        }
        Some(_) => return None,
        None => Zeroizing::new(text.as_bytes().to_vec()),
    })
}

/// The entry that admits `host` and `port`.
pub(crate) fn listed<'a>(hosts: &'a [Admitted], host: &str, port: u16) -> Option<&'a Admitted> {
    let address: Option<IpAddr> = host.parse().ok();
    hosts.iter().find(|entry| {
        let same = match (address, entry.host.parse::<IpAddr>()) {
            (Some(asked), Ok(listed)) => asked == listed,
            (None, Err(_)) => entry.host == host,
            (Some(_), Err(_)) | (None, Ok(_)) => false,
        };
        same && entry.port == port
    })
}

/// Whether a connection for `host` may go to `address`.
pub(crate) fn may_lead_to(host: &Admitted, address: IpAddr) -> bool {
    let spelled = || {
        let wrote = host
            .host
            .parse::<IpAddr>()
            .map(|wrote| wrote.to_canonical());
        wrote == Ok(address.to_canonical()) || host.host == "localhost"
    };
    match kind(address) {
        Kind::Loopback => host.owners && spelled(),
        _ if host.plain && !host.local => false,
        Kind::Public => !host.local,
        Kind::Private => host.owners,
        Kind::LinkLocal => host.owners && spelled() && host.host != "localhost",
        Kind::Other => false,
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Public,
    Private,
    Loopback,
    LinkLocal,
    Other,
}

fn kind(address: IpAddr) -> Kind {
    match address {
        IpAddr::V4(address) => kind_of_4(address),
        IpAddr::V6(address) => kind_of_6(address),
    }
}

/// Source: IANA's registry of special-purpose addresses (RFC 6890 and its updates).
fn kind_of_4(address: Ipv4Addr) -> Kind {
    match address.octets() {
        [127, ..] => Kind::Loopback,
        [169, 254, ..] => Kind::LinkLocal,
        [10, ..] | [192, 168, ..] => Kind::Private,
        [172, b, ..] if b & 0xf0 == 16 => Kind::Private,
        [100, b, ..] if b & 0xc0 == 64 => Kind::Private,
        // This network; protocol assignments; documentation; relays; benchmarks; multicast and reserved.
        [0, ..] | [192, 0, 0 | 2, _] | [192, 88, 99, _] | [198, 51, 100, _] | [203, 0, 113, _] => {
            Kind::Other
        }
        [198, 18 | 19, ..] | [224..=255, ..] => Kind::Other,
        _ => Kind::Public,
    }
}

fn kind_of_6(address: Ipv6Addr) -> Kind {
    let [a, b, c, d, e, f, g, h] = address.segments();
    let embedded = || {
        let [p, q] = g.to_be_bytes();
        let [r, s] = h.to_be_bytes();
        kind_of_4(Ipv4Addr::new(p, q, r, s))
    };
    match (a, b) {
        _ if address == Ipv6Addr::LOCALHOST => Kind::Loopback,
        // Mapped, and translated by a network without version 4 (RFC 6052).
        (0, 0) if (c, d, e, f) == (0, 0, 0, 0xffff) => embedded(),
        (0x64, 0xff9b) if (c, d, e, f) == (0, 0, 0, 0) => embedded(),
        _ if a & 0xfe00 == 0xfc00 => Kind::Private,
        _ if a & 0xffc0 == 0xfe80 => Kind::LinkLocal,
        // Protocol assignments with Teredo; documentation; 6to4: what they carry is not judged, so none passes.
        (0x2001, b) if b < 0x200 => Kind::Other,
        (0x2001, 0xdb8) | (0x2002, _) | (0x3fff, _) => Kind::Other,
        _ if a & 0xe000 == 0x2000 => Kind::Public,
        _ => Kind::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(host: &str, owners: bool) -> Admitted {
        Admitted {
            host: host.into(),
            port: 443,
            owners,
            plain: false,
            local: false,
        }
    }

    #[test]
    fn addresses_are_judged_by_what_they_reach() {
        for (address, expected) in [
            ("1.1.1.1", Kind::Public),
            ("172.32.0.1", Kind::Public),
            ("2606:4700::1111", Kind::Public),
            ("::ffff:1.1.1.1", Kind::Public),
            ("64:ff9b::1.1.1.1", Kind::Public),
            ("10.1.2.3", Kind::Private),
            ("172.16.0.1", Kind::Private),
            ("172.31.255.255", Kind::Private),
            ("192.168.0.1", Kind::Private),
            ("100.64.0.1", Kind::Private),
            ("fd12::1", Kind::Private),
            ("::ffff:10.0.0.1", Kind::Private),
            ("64:ff9b::192.168.0.1", Kind::Private),
            ("127.0.0.1", Kind::Loopback),
            ("127.0.0.2", Kind::Loopback),
            ("::1", Kind::Loopback),
            ("::ffff:127.0.0.1", Kind::Loopback),
            ("169.254.169.254", Kind::LinkLocal),
            ("fe80::1", Kind::LinkLocal),
            ("0.0.0.0", Kind::Other),
            ("::", Kind::Other),
            ("::127.0.0.1", Kind::Other),
            ("224.0.0.1", Kind::Other),
            ("255.255.255.255", Kind::Other),
            ("198.18.0.1", Kind::Other),
            ("2001:db8::1", Kind::Other),
            ("2001::7f00:1", Kind::Other),
            ("2002:7f00:1::", Kind::Other),
            ("ff02::1", Kind::Other),
        ] {
            assert_eq!(kind(address.parse().unwrap()), expected, "{address}");
        }
    }

    #[test]
    fn only_the_owner_leads_inwards_and_to_itself_only_by_its_address() {
        let leads = |host: &Admitted, address: &str| may_lead_to(host, address.parse().unwrap());
        let theirs = host("api.example.com", false);
        assert!(leads(&theirs, "1.1.1.1"));
        for inward in ["10.0.0.1", "127.0.0.1", "::1", "169.254.169.254"] {
            assert!(!leads(&theirs, inward), "{inward}");
            assert!(!leads(&host(inward, false), inward), "{inward}");
        }
        let mine = host("cal.home.example", true);
        assert!(leads(&mine, "1.1.1.1") && leads(&mine, "192.168.1.5"));
        for inward in ["127.0.0.1", "::1", "169.254.169.254", "fe80::1", "0.0.0.0"] {
            assert!(!leads(&mine, inward), "{inward}");
        }
        assert!(leads(&host("127.0.0.1", true), "127.0.0.1"));
        assert!(leads(&host("169.254.1.1", true), "169.254.1.1"));
        assert!(!leads(&host("127.0.0.1", true), "127.0.0.2"));
        assert!(leads(&host("localhost", true), "::1"));
        assert!(!leads(&host("localhost", true), "fe80::1"));
        assert!(!leads(&host("0.0.0.0", true), "0.0.0.0"));
        let plain = Admitted {
            plain: true,
            ..host("localhost", true)
        };
        assert!(leads(&plain, "127.0.0.1") && leads(&plain, "::1"));
        let extensions = |name| Admitted {
            plain: true,
            local: true,
            ..host(name, true)
        };
        assert!(leads(&extensions("lamp.home.example"), "192.168.1.5"));
        assert!(leads(&extensions("127.0.0.1"), "127.0.0.1"));
        for outward in ["1.1.1.1", "2606:4700::1111", "127.0.0.1", "169.254.169.254"] {
            assert!(
                !leads(&extensions("lamp.home.example"), outward),
                "{outward}"
            );
        }
        // A hosts file that says something else of this name gets no secret in the clear.
        for elsewhere in ["1.1.1.1", "192.168.1.5", "fe80::1"] {
            assert!(!leads(&plain, elsewhere), "{elsewhere}");
        }
    }

    #[test]
    fn the_credential_opens_in_three_spellings_and_nothing_else_does() {
        let credential = Secret::new("word".into());
        let with = |value: &str| {
            let given = given(&HeaderValue::from_str(value).unwrap());
            given.is_some_and(|given| opens(&given, &credential))
        };
        assert!(with("Bearer word") && with("bearer  word") && with("word"));
        // any:word
        assert!(with("Basic YW55OndvcmQ="));
        for wrong in [
            "",
            "Bearer",
            "Bearer ",
            "Bearer other",
            "Bearer words",
            "wor",
            "Basic word",
            "Basic d29yZA==",
            "Digest word",
        ] {
            assert!(!with(wrong), "{wrong}");
        }
    }

    #[test]
    fn credential_of_a_call_opens_until_it_expires() {
        let credential = Secret::new("word".into());
        let call = AuditId::parse("evt_01234567-89ab-8def-8123-456789abcdef").unwrap();
        let made = credential_of_call(&credential, &call, 1000);
        let at = |given: &str, seconds| {
            opens_for(given.as_bytes(), &credential, Duration::from_secs(seconds))
        };
        assert_eq!(at(made.expose(), 999), Some(call.clone()));
        assert_eq!(at(made.expose(), 1000), None);
        let of_another = credential_of_call(&Secret::new("other".into()), &call, 1000);
        assert_eq!(at(of_another.expose(), 999), None);
        let later = made.expose().replacen("3e8", "3e9", 1);
        assert_ne!(later, made.expose());
        assert_eq!(at(&later, 999), None);
        assert_eq!(at("word", 999), None);
    }

    #[test]
    fn a_host_is_listed_with_its_port_and_however_its_address_is_spelled() {
        let hosts = [host("a.example", false), host("fd00::1", true)];
        assert!(listed(&hosts, "a.example", 443).is_some());
        assert!(listed(&hosts, "fd00:0::1", 443).is_some());
        assert!(listed(&hosts, "a.example", 444).is_none());
        assert!(listed(&hosts, "b.a.example", 443).is_none());
        assert!(listed(&hosts, "a.example.", 443).is_none());
    }
}
