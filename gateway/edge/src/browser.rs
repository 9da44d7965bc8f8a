//! A browser's session as a request shows it: the cookies, and the secret of one of its tabs.
//!
//! Must not know: what the console shows or does.

use super::{
    reply::Refused,
    sessions::{Present, Sessions, Visitor},
};
use crate::edge::Edge;
use axum::http::{HeaderMap, header};
use plexus_protocol::{ErrorBody, ErrorCode};
use std::sync::atomic::Ordering;

/// Cookies of our name that are looked at in one request: more than a browser can hold for the paths of one.
const COOKIES: usize = 32;

/// The present, as sessions count it.
pub fn present(edge: &Edge) -> Present {
    Present {
        now: edge.ledger.snapshot().time(edge.clock.now()),
        epoch: edge.key_epoch.load(Ordering::Relaxed),
    }
}

/// `localhost:<port>`.
pub fn authority(edge: &Edge) -> String {
    format!("localhost:{}", edge.address.port())
}

/// The cookie's name. It has the port in it, because cookies do not keep ports apart.
pub fn cookie_name(edge: &Edge) -> String {
    format!("plexus_console_{}", edge.address.port())
}

/// The cookies that a request brings under `name`. There may be several: a page of another port of this host can set its
/// own beside ours, below a path of ours. None opens anything without a tab's secret, so the one that is known is taken.
pub(crate) fn cookies<'h>(name: &str, headers: &'h HeaderMap) -> impl Iterator<Item = &'h str> {
    headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .filter(move |(key, _)| *key == name)
        .map(|(_, value)| value)
        .take(COOKIES)
}

/// The first cookie of `name` that is one of a session that goes on.
pub fn known<'h>(
    sessions: &Sessions,
    name: &str,
    headers: &'h HeaderMap,
    at: Present,
) -> Option<&'h str> {
    cookies(name, headers).find(|cookie| sessions.knows(cookie, at))
}

/// Whether a cookie is one of a session that goes on. It opens nothing by itself.
pub(crate) fn has_session(edge: &Edge, headers: &HeaderMap) -> bool {
    known(&edge.console, &cookie_name(edge), headers, present(edge)).is_some()
}

/// The refusal of a request without a session.
pub fn signed_out() -> Refused {
    Refused::new(
        ErrorBody::new(
            ErrorCode::Unauthorized,
            "You are not signed in to the console, or no longer.",
        )
        .next("plexusctl console"),
    )
}

/// The session that one of the cookies opens together with the tab's secret.
pub fn entered(
    sessions: &Sessions,
    name: &str,
    headers: &HeaderMap,
    tab: &str,
    active: bool,
    at: Present,
) -> Option<Visitor> {
    cookies(name, headers).find_map(|cookie| sessions.visitor(cookie, tab, active, at))
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;
    use plexus_protocol::{Timestamp, credential::ConsoleCookie};

    const NAME: &str = "plexus_console_7077";

    #[test]
    fn a_cookie_that_another_port_sets_keeps_nobody_out() {
        let at = Present {
            now: Timestamp(1),
            epoch: 0,
        };
        let sessions = Sessions::default();
        let signed_in = sessions.enter(None, at).unwrap();
        let tab = signed_in.tab.expose();
        let own = format!("{NAME}={}", signed_in.cookie.as_ref().unwrap().expose());
        let foreign = format!("{NAME}={}", ConsoleCookie::fresh().unwrap().expose());
        let sent = |cookies: &[&str]| {
            let mut headers = HeaderMap::new();
            for cookies in cookies {
                headers.append(header::COOKIE, HeaderValue::from_str(cookies).unwrap());
            }
            headers
        };
        let enters = |headers: &HeaderMap, tab: &str| {
            let entered = entered(&sessions, NAME, headers, tab, true, at).is_some();
            assert!(!entered || known(&sessions, NAME, headers, at).is_some());
            entered
        };
        for cookies in [
            &[own.as_str()][..],
            &[&format!("{NAME}=x; {own}")],
            &[&format!("{own}; {NAME}=")],
            &[&format!("a=b; {foreign}; {NAME}=x; {own}; {foreign}")],
            &[&foreign, &own],
        ] {
            let sent = &sent(cookies);
            assert!(enters(sent, tab), "{cookies:?}");
            assert!(!enters(sent, "plx_tab_x"), "{cookies:?}");
            // Signing in again joins the session that is there.
            let again = sessions.enter(known(&sessions, NAME, sent, at), at);
            let again = again.unwrap();
            assert!(again.cookie.is_none() && enters(sent, again.tab.expose()));
        }
        for cookies in [
            &[][..],
            &[foreign.as_str()],
            &[&own.replace("7077", "7078")],
            &[&format!("{NAME}=x; ").repeat(COOKIES), &own],
        ] {
            let sent = &sent(cookies);
            assert!(!enters(sent, tab), "{cookies:?}");
            let known = known(&sessions, NAME, sent, at);
            assert!(known.is_none(), "{cookies:?}");
        }
    }
}
