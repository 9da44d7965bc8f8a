//! Who may come in: the one name, the one origin, the cookie and the tab.
//!
//! Invariants: a request of the console names exactly `localhost` and this port; what changes something comes from
//! exactly this origin; it carries the cookie of a session *and* the secret of one of its tabs; what it does is carried
//! to its end, and only while the session still stands. The connection key opens nothing here but the sign-in.

use super::assets::digest;
use crate::{
    acting::{Acting, Narrowing},
    acts::{self, blocking},
    desk::Desk,
    table::Served,
};
use axum::{
    extract::{Request, State},
    http::{HeaderMap, HeaderValue, Method, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use plexus_calls::finish::to_its_end;
pub(crate) use plexus_edge::{
    authenticate::{carry, failed, peer},
    browser::{authority, cookie_name, entered, known, present, signed_out},
    ends::Ends,
    guard::single,
    reply::{self, Refused},
    sessions::{self, Visitor},
    throttle::{Kind, Peer},
};
use plexus_owner::{
    Done,
    console::{MakeLink, SignInLink},
};
use plexus_protocol::{ErrorBody, ErrorCode, TAB_HEADER};
use plexus_trust::{Command, Note};
use serde_json::{Value, json};
use std::sync::Arc;

/// Sent by the page where the owner has touched it since its last request.
const ACTIVE_HEADER: &str = "x-plexus-active";

fn set_cookie(desk: &Desk, value: &str, age: &str) -> Option<HeaderValue> {
    let name = cookie_name(desk);
    let text = format!("{name}={value}; Path=/admin; HttpOnly; SameSite=Strict{age}");
    HeaderValue::from_str(&text).ok()
}

/// Wants the console's own name and, for what changes something, its own origin.
fn at_home(desk: &Desk, method: &Method, headers: &HeaderMap) -> Result<(), Refused> {
    let authority = authority(desk);
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

/// Whose session a request is of.
async fn visitor(
    desk: &Arc<Desk>,
    method: &Method,
    headers: &HeaderMap,
    peer: Peer,
) -> Result<Visitor, Refused> {
    at_home(desk, method, headers)?;
    let (at, name) = (present(desk), cookie_name(desk));
    let Some(tab) = single(headers, TAB_HEADER) else {
        return Err(signed_out());
    };
    let active = headers.contains_key(ACTIVE_HEADER);
    match entered(&desk.console, &name, headers, tab, active, at) {
        Some(visitor) => Ok(visitor),
        // Half a credential that is good is a guess, or a theft: counted and recorded. None of it good is a session
        // that has ended.
        None if known(&desk.console, &name, headers, at).is_some() => {
            let error = signed_out().into_error();
            Err(failed(&desk.edge, Kind::Console, peer, error).await)
        }
        None => Err(signed_out()),
    }
}

/// Lets in who is signed in; routes behind it find the [`Visitor`] in the request.
pub(super) async fn signed_in(
    State(desk): State<Arc<Desk>>,
    request: Request,
    next: Next,
) -> Response {
    match admitted(&desk, request, next).await {
        Ok(response) => response,
        Err(refused) => refused.into_response(),
    }
}

async fn admitted(desk: &Arc<Desk>, request: Request, next: Next) -> Result<Response, Refused> {
    let from = peer(&request);
    let who = visitor(desk, request.method(), request.headers(), from).await?;
    if request.headers().contains_key(ACTIVE_HEADER) {
        touched(desk).await;
    }
    carry(request, next, who).await
}

/// Notes that the owner is at the console, once a minute at most.
async fn touched(desk: &Arc<Desk>) {
    let now = desk.ledger.snapshot().time(desk.clock.now());
    if desk.visits.is_due(now) {
        let of = desk.clone();
        // A panic is logged there; the page goes on without it.
        let _ = blocking(move || of.visits.touch(&of.state_dir, now)).await;
    }
}

/// Signs in with the key or with a link. Other users of this machine may see a link, among the arguments of the program
/// that opens it: where their program brings one, it opens nothing for them. It stays good, unless that program hung up before
/// we looked: a closed socket has no user, and nobody reads that answer.
pub(super) async fn sign_in(
    State(desk): State<Arc<Desk>>,
    request: Request,
) -> Result<Response, Refused> {
    at_home(&desk, request.method(), request.headers())?;
    let (peer, headers) = (peer(&request), request.headers().clone());
    let ends = request.extensions().get::<Ends>().copied();
    let body = reply::json_body(request, reply::SMALL_BODY, ErrorCode::InternalError).await?;
    let given = |member: &str| body.get(member).and_then(Value::as_str);
    if let (Some(_), Some(ends)) = (given("link"), ends)
        && let Some(user) = blocking(move || ends.other_user()).await?
    {
        drop(body);
        let why = "This link opens the console for programs of the gateway's own user.";
        let error = ErrorBody::new(ErrorCode::Unauthorized, why);
        let error = error.next("sign in with the connection key: plexusctl key print");
        return Err(failed(&desk.edge, Kind::Link, Peer::User(user), error).await);
    }
    let acting = desk.key_lock.begin().await;
    let (kind, by, good) = match (given("key"), given("link")) {
        (Some(key), None) => (Kind::Key, "key", desk.key.accepts(key)),
        (None, Some(link)) => (
            Kind::Link,
            "link",
            desk.console.redeem(link, present(&desk)),
        ),
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
        return Err(failed(&desk.edge, kind, peer, error).await);
    }
    to_its_end(async move {
        note(&desk, json!({"event": "console.sign-in", "by": by})).await?;
        let at = present(&desk);
        let entered = desk
            .console
            .enter(known(&desk.console, &cookie_name(&desk), &headers, at), at)
            .map_err(|error| acts::failed(error.to_string()))?;
        drop(acting);
        touched(&desk).await;
        let mut response =
            reply::ok(&json!({"ok": true, "tab": entered.tab.expose(), "page": digest()}));
        if let Some(fresh) = entered
            .cookie
            .as_ref()
            .and_then(|c| set_cookie(&desk, c.expose(), ""))
        {
            response.headers_mut().insert(header::SET_COOKIE, fresh);
        }
        Ok(response)
    })
    .await
}

/// Ends the session, with every tab of it.
pub(super) async fn sign_out(
    State(desk): State<Arc<Desk>>,
    axum::Extension(who): axum::Extension<Visitor>,
    _: Narrowing,
) -> Result<Response, Refused> {
    desk.console.leave(who, present(&desk));
    let (of, now) = (desk.clone(), desk.ledger.snapshot().time(desk.clock.now()));
    // A panic is logged there; the session ends without it.
    let _ = blocking(move || of.visits.leave(&of.state_dir, now)).await;
    // It has ended whether or not that can be recorded.
    let noted = note(&desk, json!({"event": "console.sign-out"})).await;
    let mut response = match noted {
        Ok(()) => reply::ok(&json!({"ok": true})),
        Err(refused) => refused.into_response(),
    };
    if let Some(gone) = set_cookie(&desk, "", "; Max-Age=0") {
        response.headers_mut().insert(header::SET_COOKIE, gone);
    }
    Ok(response)
}

/// For a holder of the key.
pub(crate) fn serve(served: Served) -> Served {
    served.with(link)
}

/// Makes a link that leads in once.
async fn link(desk: Arc<Desk>, _: Acting, _: MakeLink) -> Result<SignInLink, Refused> {
    note(&desk, json!({"event": "console.link"})).await?;
    let link = desk
        .console
        .link(present(&desk))
        .map_err(|error| acts::failed(error.to_string()))?;
    Ok(SignInLink {
        ok: Done,
        url: format!("http://{}/admin#{}", authority(&desk), link.expose()),
        expires_in_ms: sessions::LINK_MS,
    })
}

/// Records who comes and goes.
async fn note(desk: &Desk, detail: Value) -> Result<(), Refused> {
    let note = Note {
        kind: "handshake",
        agent: None,
        capability: None,
        outcome: Some("ok"),
        detail,
    };
    desk.owner(Command::Note(note))
        .await
        .map(|_| ())
        .map_err(Refused::from)
}
