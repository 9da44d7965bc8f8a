//! Hosts as owners type them, and as they stand in a manifest that an owner agreed to.
//!
//! Invariants: what ends in a number is an address or nothing; without TLS a host lies on this machine, or the owner agreed
//! to it in its network.
//!
//! Must not know: what is sent to a host.

use super::{Admitted, NOT_ENCRYPTED, lines::split};
use std::net::IpAddr;

const NO_URL: &str = "no URL with http or https and a host";

/// A host that stands in a manifest which the owner agreed to.
pub(super) fn agreed_host(url: &str) -> Result<Admitted, &'static str> {
    let (scheme, rest) = url.split_once("://").ok_or(NO_URL)?;
    let plain = match scheme {
        "http" => true,
        "https" => false,
        _ => return Err(NO_URL),
    };
    let port = if plain { 80 } else { 443 };
    let host = owners_host(rest, port).map_err(|_| NO_URL)?;
    if host
        .host
        .parse()
        .is_ok_and(|address: IpAddr| !is_near(address))
    {
        return Err("its host is neither this machine nor in its network");
    }
    Ok(Admitted {
        plain,
        local: true,
        ..host
    })
}

/// Whether an address is of this machine or of a network of its own; `plexus-egress` judges what a name leads to.
fn is_near(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(v4) => {
            let shared = v4.octets()[0] == 100 && v4.octets()[1] & 0xc0 == 64;
            v4.is_loopback() || v4.is_private() || v4.is_link_local() || shared
        }
        IpAddr::V6(v6) => v6.is_loopback() || v6.is_unique_local() || v6.is_unicast_link_local(),
    }
}

/// The path of a URL, with all that follows it; `/` where it has none.
#[must_use]
pub fn path_of(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    rest.find('/').map_or("/", |at| &rest[at..])
}

/// Lines of `paths` below the path of a URL; a URL that begins or ends with one of them names the whole path itself.
#[must_use]
pub fn paths_below(url: &str, lines: &[impl AsRef<str>]) -> Vec<String> {
    let own = path_of(url).trim_end_matches('/');
    let parts = || lines.iter().map(|line| split(line.as_ref()));
    let names_it = |path: &str| {
        own.ends_with(path)
            || own
                .strip_prefix(path.trim_end_matches('/'))
                .is_some_and(|rest| rest.starts_with('/'))
    };
    let is_whole = parts().any(|(_, path)| path.is_some_and(names_it));
    let below = |(method, path): (Option<&str>, Option<&str>)| {
        let path = path.filter(|_| !is_whole).unwrap_or_default();
        let method = method.map_or_else(String::new, |method| format!("{method} "));
        format!("{method}{own}{path}")
    };
    let mut all: Vec<String> = parts().map(below).collect();
    all.dedup();
    all
}

/// A host as an owner types it: `host`, `host:port` or a URL; over TLS unless it is of this machine.
///
/// # Errors
/// Why it is none.
pub fn owners_host(text: &str, port: u16) -> Result<Admitted, &'static str> {
    let (rest, port, plain) = match text.split_once("://") {
        Some(("https", rest)) => (rest, port, false),
        Some(("http", rest)) => (rest, 80, true),
        Some(_) => return Err(NOT_ENCRYPTED),
        None => (text, port, false),
    };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    if authority.contains('@') {
        return Err("a URL with a user's name in it");
    }
    let number = |text: &str| text.parse().ok().filter(|port| *port != 0);
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => match rest.split_once(']') {
            Some((host, "")) => (host, Some(port)),
            Some((host, port)) => (host, port.strip_prefix(':').and_then(number)),
            None => return Err("no host, host:port or https URL"),
        },
        // An address of version 6 has more than one colon.
        None if authority.matches(':').count() > 1 => (authority, Some(port)),
        None => match authority.split_once(':') {
            Some((host, port)) => (host, number(port)),
            None => (authority, Some(port)),
        },
    };
    let host = host.to_ascii_lowercase();
    let here = |host: &str| {
        host.parse()
            .map_or(host == "localhost", |ip: IpAddr| ip.is_loopback())
    };
    match port {
        Some(_) if plain && !here(&host) => Err(NOT_ENCRYPTED),
        Some(port) if is_host(&host) => Ok(Admitted {
            host,
            port,
            owners: true,
            plain,
            local: false,
        }),
        _ => Err("no host, host:port or https URL"),
    }
}

/// Whether `host` is an address, or a name in lower case as DNS has them.
#[must_use]
pub fn is_host(host: &str) -> bool {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-_".contains(&b))
    };
    // What ends in a number is an address or nothing: other programs read `127.1` and `0x7f.1` as one.
    let numeric = |host: &str| {
        let last = host.rsplit('.').next().unwrap_or_default();
        last.starts_with(|c: char| c.is_ascii_digit())
    };
    host.parse::<IpAddr>().is_ok()
        || host.len() <= 253 && host.split('.').all(label) && !numeric(host)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_lie_below_the_owners_own() {
        let lines = ["/v1", "/backend-api/codex"];
        let below = |url| paths_below(url, &lines);
        assert_eq!(below("https://api.example.com"), lines);
        assert_eq!(below("https://api.example.com/"), lines);
        let own = ["/c/v1", "/c/backend-api/codex"];
        assert_eq!(below("http://127.0.0.1:4177/c/"), own);
        assert_eq!(below("/c"), own);
        for whole in ["/v1", "/c/v1", "/v1/account/model", "/backend-api/codex"] {
            assert_eq!(below(whole), [whole]);
        }
        // Another segment.
        assert_eq!(below("/v10")[0], "/v10/v1");
        assert_eq!(paths_below("/c", &["GET /menu"]), ["GET /c/menu"]);
    }

    #[test]
    fn an_owners_host_is_read_as_a_browser_would() {
        let read = |text| owners_host(text, 443).map(|a| (a.host, a.port)).ok();
        let is = |text, host: &str, port| {
            assert_eq!(read(text), Some((host.to_owned(), port)), "{text}");
        };
        is("Cal.Example.org", "cal.example.org", 443);
        is("cal.example.org:8443", "cal.example.org", 8443);
        is("https://cal.example.org/dav/?x#y", "cal.example.org", 443);
        is("https://[::1]:8443/dav", "::1", 8443);
        is("[fd00::1]", "fd00::1", 443);
        is("fd00::1", "fd00::1", 443);
        is("192.168.1.5", "192.168.1.5", 443);
        let plain = |text| {
            let host = owners_host(text, 443).ok();
            host.map(|a| (a.host, a.port, a.plain))
        };
        for (text, host, port) in [
            ("http://localhost:5232/me/", "localhost", 5232),
            ("http://127.0.0.1", "127.0.0.1", 80),
            ("http://[::1]:5232", "::1", 5232),
        ] {
            assert_eq!(plain(text), Some((host.to_owned(), port, true)), "{text}");
        }
        let odd = "http://cal.example.org|http://192.168.1.5|http://localhost.example.org|\
            ftp://localhost|https://user@cal.example.org|https://user:word@cal.example.org|\
            cal.example.org:0|cal.example.org:99999|cal example|https://|[::1|127.1|0x7f.0.0.1|\
            2130706433|a..b|-a.org";
        for text in odd.split('|') {
            assert_eq!(read(text), None, "{text}");
        }
    }
}
