//! Who may come in: the one name, the one origin, the cookie and the tab.
//!
//! Invariants: a request of the console names exactly `localhost` and this port; what changes something comes from
//! exactly this origin; it carries the cookie of a session *and* the secret of one of its tabs; what it does is carried
//! to its end, and only while the session still stands. The connection key opens nothing here but the sign-in.

use super::sessions::{Present, Sessions, Visitor};
use crate::{
    app::App,
    finish::to_its_end,
    http::{
        acting::{Acting, Narrowing},
        authenticate::{carry, failed, peer},
        guard::single,
        reply::{self, Refused},
        throttle::{Kind, Peer},
    },
};
use axum::{
    extract::{Request, State},
    http::{HeaderMap, HeaderValue, Method, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use plexus_protocol::{ErrorBody, ErrorCode, TAB_HEADER};
use plexus_trust::{Command, Note};
use serde_json::{Value, json};
use std::sync::{Arc, atomic::Ordering};

/// Sent by the page where the owner has touched it since its last request.
const ACTIVE_HEADER: &str = "x-plexus-active";

/// Cookies of our name that are looked at in one request: more than a browser can hold for the paths of one.
const COOKIES: usize = 32;

/// The present, as sessions count it.
pub(crate) fn present(app: &App) -> Present {
    Present {
        now: app.ledger.snapshot().time(app.clock.now()),
        epoch: app.key_epoch.load(Ordering::Relaxed),
    }
}

/// `localhost:<port>`.
pub(super) fn authority(app: &App) -> String {
    format!("localhost:{}", app.address.port())
}

/// The cookie's name. It has the port in it, because cookies do not keep ports apart.
fn cookie_name(app: &App) -> String {
    format!("plexus_console_{}", app.address.port())
}

/// The cookies that a request brings under `name`. There may be several: a page of another port of this host can set its
/// own beside ours, below a path of ours. None opens anything without a tab's secret, so the one that is known is taken.
fn cookies<'h>(name: &str, headers: &'h HeaderMap) -> impl Iterator<Item = &'h str> {
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
fn known<'h>(
    sessions: &Sessions,
    name: &str,
    headers: &'h HeaderMap,
    at: Present,
) -> Option<&'h str> {
    cookies(name, headers).find(|cookie| sessions.knows(cookie, at))
}

/// Whether a cookie is one of a session that goes on. It opens nothing by itself.
pub(crate) fn has_session(app: &App, headers: &HeaderMap) -> bool {
    known(&app.console, &cookie_name(app), headers, present(app)).is_some()
}

fn set_cookie(app: &App, value: &str, age: &str) -> Option<HeaderValue> {
    let name = cookie_name(app);
    let text = format!("{name}={value}; Path=/admin; HttpOnly; SameSite=Strict{age}");
    HeaderValue::from_str(&text).ok()
}

/// Wants the console's own name and, for what changes something, its own origin.
fn at_home(app: &App, method: &Method, headers: &HeaderMap) -> Result<(), Refused> {
    let authority = authority(app);
    let own = format!("http://{authority}");
    let refuse = |why: &str| {
        let error = ErrorBody::new(ErrorCode::HostForbidden, why.to_owned());
        Err(Refused::new(error.next(format!(
            "open {own}/admin in a browser of this machine"
        ))))
    };
    if single(headers, "host") != Some(&authority) {
        return refuse("the console has one name, and this request uses another");
    }
    let reads = matches!(*method, Method::GET | Method::HEAD);
    match (
        headers.contains_key(header::ORIGIN),
        single(headers, "origin"),
    ) {
        (false, _) if reads => {}
        (_, Some(origin)) if origin == own => {}
        _ => return refuse("this request is not of the console's own page"),
    }
    match single(headers, "sec-fetch-site") {
        None | Some("same-origin") => Ok(()),
        Some(_) => refuse("this request is not of the console's own page"),
    }
}

pub(crate) fn signed_out() -> Refused {
    Refused::new(
        ErrorBody::new(
            ErrorCode::Unauthorized,
            "You are not signed in to the console, or no longer.",
        )
        .next("plexusctl console"),
    )
}

/// The session that one of the cookies opens together with the tab's secret.
fn entered(
    sessions: &Sessions,
    name: &str,
    headers: &HeaderMap,
    tab: &str,
    active: bool,
    at: Present,
) -> Option<Visitor> {
    cookies(name, headers).find_map(|cookie| sessions.visitor(cookie, tab, active, at))
}

/// Whose session a request is of.
async fn visitor(
    app: &Arc<App>,
    method: &Method,
    headers: &HeaderMap,
    peer: Peer,
) -> Result<Visitor, Refused> {
    at_home(app, method, headers)?;
    let (at, name) = (present(app), cookie_name(app));
    let Some(tab) = single(headers, TAB_HEADER) else {
        return Err(signed_out());
    };
    let active = headers.contains_key(ACTIVE_HEADER);
    match entered(&app.console, &name, headers, tab, active, at) {
        Some(visitor) => Ok(visitor),
        // Half a credential that is good is a guess, or a theft: counted and recorded. None of it good is a session
        // that has ended.
        None if known(&app.console, &name, headers, at).is_some() => {
            let error = signed_out().into_error();
            Err(failed(app, Kind::Console, peer, error).await)
        }
        None => Err(signed_out()),
    }
}

/// Lets in who is signed in; routes behind it find the [`Visitor`] in the request.
pub(super) async fn signed_in(
    State(app): State<Arc<App>>,
    request: Request,
    next: Next,
) -> Response {
    match admitted(&app, request, next).await {
        Ok(response) => response,
        Err(refused) => refused.into_response(),
    }
}

async fn admitted(app: &Arc<App>, request: Request, next: Next) -> Result<Response, Refused> {
    let from = peer(&request);
    let who = visitor(app, request.method(), request.headers(), from).await?;
    carry(request, next, who).await
}

/// Signs in with the key or with a link.
pub(super) async fn sign_in(
    State(app): State<Arc<App>>,
    request: Request,
) -> Result<Response, Refused> {
    at_home(&app, request.method(), request.headers())?;
    let (peer, headers) = (peer(&request), request.headers().clone());
    let body = reply::json_body(request, reply::SMALL_BODY, ErrorCode::InternalError).await?;
    let given = |member: &str| body.get(member).and_then(Value::as_str);
    let acting = app.acts.begin().await;
    let (kind, by, good) = match (given("key"), given("link")) {
        (Some(key), None) => (Kind::Key, "key", app.key.accepts(key)),
        (None, Some(link)) => (Kind::Link, "link", app.console.redeem(link, present(&app))),
        _ => return Err(Refused::malformed("either `key` or `link` is needed")),
    };
    if !good {
        drop((acting, body));
        let (why, next) = match kind {
            Kind::Link => (
                "This link was used already, or is too old.",
                "plexusctl console",
            ),
            _ => ("That is not the connection key.", "plexusctl console"),
        };
        let error = ErrorBody::new(ErrorCode::Unauthorized, why).next(next);
        return Err(failed(&app, kind, peer, error).await);
    }
    to_its_end(async move {
        note(&app, json!({"event": "console.sign-in", "by": by})).await?;
        let at = present(&app);
        let entered = app
            .console
            .enter(known(&app.console, &cookie_name(&app), &headers, at), at)
            .map_err(|error| Refused::malformed(error.to_string()).status(500))?;
        drop(acting);
        let mut response = reply::ok(&json!({"ok": true, "tab": entered.tab.expose()}));
        if let Some(fresh) = entered
            .cookie
            .as_ref()
            .and_then(|c| set_cookie(&app, c.expose(), ""))
        {
            response.headers_mut().insert(header::SET_COOKIE, fresh);
        }
        Ok(response)
    })
    .await
}

/// Ends the session, with every tab of it.
pub(super) async fn sign_out(
    State(app): State<Arc<App>>,
    axum::Extension(who): axum::Extension<Visitor>,
    _: Narrowing,
) -> Result<Response, Refused> {
    app.console.leave(who, present(&app));
    // It has ended whether or not that can be recorded.
    let noted = note(&app, json!({"event": "console.sign-out"})).await;
    let mut response = match noted {
        Ok(()) => reply::ok(&json!({"ok": true})),
        Err(refused) => refused.into_response(),
    };
    if let Some(gone) = set_cookie(&app, "", "; Max-Age=0") {
        response.headers_mut().insert(header::SET_COOKIE, gone);
    }
    Ok(response)
}

/// Makes a link that leads in once. For whoever holds the key.
pub(crate) async fn link(State(app): State<Arc<App>>, _: Acting) -> Result<Response, Refused> {
    note(&app, json!({"event": "console.link"})).await?;
    let link = app
        .console
        .link(present(&app))
        .map_err(|error| Refused::malformed(error.to_string()).status(500))?;
    let url = format!("http://{}/admin#{}", authority(&app), link.expose());
    Ok(reply::ok(
        &json!({"ok": true, "url": url, "expiresInMs": super::sessions::LINK_MS}),
    ))
}

/// Records who comes and goes.
async fn note(app: &App, detail: Value) -> Result<(), Refused> {
    let note = Note {
        kind: "handshake",
        agent: None,
        capability: None,
        outcome: Some("ok"),
        detail,
    };
    app.owner(Command::Note(note))
        .await
        .map(|_| ())
        .map_err(Refused::from)
}

#[cfg(test)]
mod tests {
    use super::*;
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
            assert!(enters(&sent(cookies), tab), "{cookies:?}");
            assert!(!enters(&sent(cookies), "plx_tab_x"), "{cookies:?}");
            // Signing in again joins the session that is there.
            let again = sessions
                .enter(known(&sessions, NAME, &sent(cookies), at), at)
                .unwrap();
            assert!(again.cookie.is_none() && enters(&sent(cookies), again.tab.expose()));
        }
        for cookies in [
            &[][..],
            &[foreign.as_str()],
            &[&own.replace("7077", "7078")],
            &[&format!("{NAME}=x; ").repeat(COOKIES), &own],
        ] {
            assert!(!enters(&sent(cookies), tab), "{cookies:?}");
            assert!(
                known(&sessions, NAME, &sent(cookies), at).is_none(),
                "{cookies:?}"
            );
        }
    }
}
