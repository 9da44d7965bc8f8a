//! Host, Origin and repeated headers, before routing, authentication and parsing, on every path and method
//! (docs/protocol/README.md#host-and-origin).
//!
//! Ours is tighter in one thing (E3): a request that changes state takes an Origin only of the gateway's own pages.

use super::{
    address::{hostname, is_loopback_name},
    reply::Refused,
};
use crate::edge::Edge;
use axum::{
    extract::Request,
    http::{HeaderMap, Method, header},
};
use plexus_protocol::{ErrorBody, ErrorCode, KEY_HEADER, SESSION_HEADER};

/// Headers that are read and given once, besides Host and Origin, each in its form.
const GIVEN_ONCE: [(&str, &str); 7] = [
    (SESSION_HEADER, "sess_…"),
    (KEY_HEADER, "plx_live_…"),
    ("Authorization", "Bearer …"),
    ("Last-Event-ID", "the id of the last event"),
    ("MCP-Protocol-Version", "the version"),
    ("Mcp-Method", "the method"),
    ("Mcp-Name", "the name"),
];

/// What one listener serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Serves {
    /// TCP: everything.
    All,
    /// `run/agent/agent.sock`.
    Agents,
    /// `run/owner/owner.sock`.
    Owner,
}

/// Whether a request to the listener that serves `serves` may go on.
///
/// # Errors
/// 403 `host_forbidden`; 400 `internal_error` for a header of [`GIVEN_ONCE`] that is given more than once.
pub(super) fn judge(edge: &Edge, serves: Serves, request: &Request) -> Result<(), Refused> {
    let host = host(request)?;
    let accepted = match serves {
        Serves::All => edge.address.accepts_host(host),
        Serves::Agents | Serves::Owner => is_loopback_name(hostname(host)),
    };
    if !accepted {
        return Err(forbidden(format!(
            "Host '{host}' is not an accepted authority"
        )));
    }
    given_once(request.headers())?;
    let mut origins = request.headers().get_all(header::ORIGIN).iter();
    let Some(origin) = origins.next() else {
        return Ok(());
    };
    let shown = || {
        forbidden(format!(
            "Origin '{}' is not allowed",
            String::from_utf8_lossy(origin.as_bytes())
        ))
    };
    let text = origin.to_str().map_err(|_| shown())?;
    let reads = matches!(*request.method(), Method::GET | Method::HEAD);
    let allowed = if reads {
        edge.address.accepts_origin(text)
    } else {
        edge.address.is_own_origin(text)
    };
    if allowed && origins.next().is_none() {
        Ok(())
    } else {
        Err(shown())
    }
}

/// The one Host of a request. Two that differ, or one beside an absolute target that differs, are refused: a proxy and
/// we could read them differently.
fn host(request: &Request) -> Result<&str, Refused> {
    let mut hosts = request.headers().get_all(header::HOST).iter();
    let Some(first) = hosts.next() else {
        return Err(forbidden(
            "Host '<missing>' is not an accepted authority".into(),
        ));
    };
    let text = first
        .to_str()
        .map_err(|_| forbidden("Host is not an accepted authority".into()))?
        .trim();
    if hosts.next().is_some()
        || request
            .uri()
            .authority()
            .is_some_and(|a| a.as_str() != text)
    {
        let why = "The request names more than one host, or one more than once";
        return Err(forbidden(why.into()));
    }
    Ok(text)
}

/// Refuses a header that is repeated: two readers could take different ones, and it is not answered as one that is absent.
fn given_once(headers: &HeaderMap) -> Result<(), Refused> {
    if headers.len() == headers.keys_len() {
        return Ok(());
    }
    let is_repeated = |name: &str| headers.get_all(name).iter().nth(1).is_some();
    match GIVEN_ONCE.iter().find(|once| is_repeated(once.0)) {
        None => Ok(()),
        Some((name, form)) => {
            let why = format!("{name} is given more than once. Send it once, as `{name}: {form}`.");
            Err(Refused::malformed(why).about(name))
        }
    }
}

fn forbidden(message: String) -> Refused {
    Refused::new(
        ErrorBody::new(ErrorCode::HostForbidden, message)
            .next("use the address that discovery gives"),
    )
}

/// The value of a header that may be given once.
pub fn single<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    let mut all = headers.get_all(name).iter();
    let first = all.next()?.to_str().ok()?;
    all.next().is_none().then_some(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_before_the_last_colon() {
        for (host, name) in [
            ("127.0.0.1:7077", "127.0.0.1"),
            ("127.0.0.1", "127.0.0.1"),
            ("[::1]", "[::1]"),
            ("[::1]:7077", "[::1]"),
            ("localhost:", "localhost"),
            ("127.0.0.1.evil.example:7077", "127.0.0.1.evil.example"),
            ("127.0.0.1:80@evil.example", "127.0.0.1:80@evil.example"),
        ] {
            assert_eq!(hostname(host), name);
        }
        assert!(
            !is_loopback_name("LOCALHOST")
                && !is_loopback_name("127.0.0.2")
                && !is_loopback_name("::1")
        );
    }
}
