//! The owner signs in at an MCP server (OAuth 2.1; RFC 7591, 7636, 8414, 8707, 9207, 9728).
//!
//! ```text
//! begin: whose? ─▶ which endpoints? ─▶ register ─▶ address ─▶ browser ─▶ GET /admin/signed-in ─▶ a draft, or Renew
//! ```
//! Each question is asked by a worker of its own, in a sandbox whose egress leads to that one host. A host that the server or
//! its authorization server names, and the owner has not, is reached over TLS at public addresses alone.
//!
//! Invariants: what hosts say is read in those workers; the owner is sent to an `https` address, or to this machine; a token is
//! in no answer.
//!
//! Must not know: how a token is renewed.

use super::{
    secrets,
    servers::{InspectedServer, ServerAsk, WorkerAnswer, installed},
    sources::{known, restart},
};
use crate::{
    acting::Narrowing,
    acts::{blocking, failed},
    console::shell,
    desk::Desk,
    sign_ins::{BrowserAnswer, PendingSignIn, Stage, WITHIN},
    table::{Reading, Served},
};
use axum::{
    extract::{Query, State},
    http::Uri,
    response::Response,
};
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use plexus_edge::{browser::authority, reply::Refused};
use plexus_ipc::{
    egress::{Client, ClientAuth, Digest, Revocation},
    manifest::{Manifest, owners_host, path_of},
    message::Secret,
    sign_in_step::{Issuer, OFFLINE_ACCESS, Resource, SIGN_IN_STEP, SignInStep},
    text::Line,
};
use plexus_owner::{
    Done, encoded,
    extensions::{Draft, Refresh},
    secrets as owner_secrets,
    sign_ins::{
        Begin, Begun, BegunSignIn, Look, Renew, RenewedSignIn, ServerSignOut, ServerSignOutResult,
        SignInProgress, SignOut, SignedOut,
    },
};
use plexus_protocol::{ErrorBody, ErrorCode, Scopes, SourceId, Timestamp};
use plexus_sources::{
    extensions::ServerRequest,
    naming,
    secrets::{of_source, sign_in_scope},
};
use serde::de::DeserializeOwned;
use serde_json::json;
use std::{
    sync::Arc,
    time::{Duration, Instant},
};

/// The field of a server at a URL that holds a sign-in.
pub(super) const FIELD: &str = "authorization";
/// Where browsers come back to, at the gateway.
pub(crate) const CAME_BACK: &str = "/admin/signed-in";
/// Longest wait of a look.
const MAX_WAIT: u64 = 20;

pub(super) fn serve(served: Served) -> Served {
    served.with(begin).with(look).with(renew).with(sign_out)
}

async fn begin(desk: Arc<Desk>, narrowing: Narrowing, call: Begin) -> Result<Begun, Refused> {
    begun(&desk, &narrowing, call).await
}

/// Begins a sign-in at a server.
pub(crate) async fn begun(
    desk: &Arc<Desk>,
    narrowing: &Narrowing,
    call: Begin,
) -> Result<Begun, Refused> {
    let is_there = call.url.is_none();
    let (url, ca) = match call.url {
        Some(url) => (Some(url), call.ca),
        None => {
            let (there, _) = installed(desk, call.name.as_str()).await?;
            (there.url, there.ca)
        }
    };
    let url = url.ok_or_else(|| {
        Refused::malformed(format!(
            "{} is a program: only a server at a URL is signed in at",
            call.name
        ))
    })?;
    // An authorization server without TLS is on this machine, and proves no name.
    let of = |url: &str| ServerRequest {
        ca: ca.clone().filter(|_| url.starts_with("https://")),
        ..ServerRequest::at(&call.name, url)
    };
    let asked = ServerRequest {
        ca: ca.clone(),
        ..of(&url)
    };
    let step = SignInStep::Resource { url: url.clone() };
    let found: Resource = stepped(desk, &asked, true, step).await?;
    if !found.needed {
        return Ok(Begun {
            ok: Done,
            sign_in: None,
        });
    }
    let issuer = match call.issuer {
        Some(issuer) if found.issuers.contains(&issuer) => issuer,
        Some(issuer) => {
            let why = format!(
                "the server names {}, not {issuer}",
                found.issuers.join(", ")
            );
            return Err(Refused::malformed(why));
        }
        None => found.issuers.into_iter().next().unwrap_or_default(),
    };
    let place = |url: &str| {
        owners_host(url, 443)
            .ok()
            .map(|to| (to.host, to.port, to.plain))
    };
    let host = |url: &str| place(url).map(|(host, _, plain)| (host, plain));
    let own = host(&url);
    let is_owners = |other: &str| own.is_some() && host(other) == own;
    let step = SignInStep::Issuer {
        issuer: issuer.clone(),
    };
    let endpoints: Issuer = stepped(desk, &of(&issuer), is_owners(&issuer), step).await?;
    for address in [&endpoints.authorization, &endpoints.token] {
        if !is_address(address) {
            let why = format!(
                "{issuer} names {}, which is no https address",
                Line::<200>::new(address)
            );
            return Err(Refused::malformed(why));
        }
    }
    let redirect = format!("http://{}{CAME_BACK}", authority(desk));
    let (state, verifier, id) = (random()?, random()?, random()?);
    let challenge = BASE64_URL_SAFE_NO_PAD.encode(Digest::of(verifier.as_bytes()).0);
    let had = match is_there {
        true => scope_of(desk, &call.name).await?,
        false => None,
    };
    let wanted = desk.wanted_scopes.of(&call.name).filter(|_| is_there);
    let is_typed = call.scope.is_some();
    let scope = match (call.scope, &had, &wanted) {
        (Some(scope), ..) => Some(scope),
        // Of a server that is there: what the sign-in was good for, and what was missing.
        (None, Some(had), wanted) => {
            Some(had.with(&wanted.clone().unwrap_or_default()).to_string())
        }
        (None, None, Some(wanted)) => {
            let usual = found.scope.as_deref().map(Scopes::parse);
            let usual = usual.and_then(Result::ok).unwrap_or_default();
            Some(usual.with(wanted).to_string())
        }
        (None, None, None) => found.scope,
    };
    let scope = scope.filter(|scope| !scope.is_empty());
    let scope = match endpoints.offers_offline_access && !is_typed {
        true => scope.map(|scope| with_offline_access(&scope)),
        false => scope,
    };
    // It is good for the rest: that it can be renewed opens nothing, and some servers do not name it.
    let asked = scope.as_deref().map(without_offline_access);
    let asked = asked.and_then(|text| Scopes::parse(&text).ok());
    let new_scope = match (&had, &asked) {
        (Some(had), Some(asked)) => Some(asked.beyond(had)),
        // Nobody knows what it was good for; what was missing is new.
        (None, Some(_)) => wanted,
        (_, None) => None,
    };
    // Another host would hear of a token that it did not give.
    let ends = (endpoints.revocation.as_deref())
        .filter(|url| is_address(url) && place(url) == place(&endpoints.token));
    // One that is yet to be registered has an id that no page has.
    let client_id = call.client_id.clone().unwrap_or_else(|| state.clone());
    let page_for = |client_id: &str| {
        let asked_for = [
            ("client_id", client_id),
            ("response_type", "code"),
            ("redirect_uri", &redirect),
            ("state", &state),
            ("code_challenge", &challenge),
            ("code_challenge_method", "S256"),
            ("resource", &found.resource),
            ("scope", scope.as_deref().unwrap_or_default()),
        ];
        page_that_asks(&endpoints.authorization, &asked_for).ok_or_else(|| {
            let page = Line::<200>::new(&endpoints.authorization);
            Refused::malformed(format!(
                "{issuer} names {page}, which says otherwise what is asked there"
            ))
        })
    };
    page_for(&client_id)?;
    let client = match (call.client_id, endpoints.registration) {
        (Some(id), _) => Client {
            auth: match &call.client_secret {
                Some(_) if endpoints.secret_in_form => ClientAuth::ClientSecretPost,
                Some(_) => ClientAuth::ClientSecretBasic,
                None => ClientAuth::None,
            },
            id,
            secret: Secret::new(call.client_secret.unwrap_or_default()),
        },
        (None, Some(at)) => {
            let step = SignInStep::Registration {
                url: at.clone(),
                redirect: redirect.clone(),
            };
            stepped(desk, &of(&at), is_owners(&at), step).await?
        }
        (None, None) => {
            let why = format!(
                "{issuer} registers no client by itself: register Plexus there, with the redirect address {redirect}, and give the id"
            );
            let error = ErrorBody::new(ErrorCode::SchemaValidationFailed, why);
            return Err(Refused::new(
                error.next(format!("plexusctl mcp login {} --client-id ID", call.name)),
            ));
        }
    };
    let address = page_for(&client.id)?;
    let begun = PendingSignIn {
        name: call.name,
        url,
        tokens: endpoints.token.clone(),
        state: Digest::of(state.as_bytes()),
        issuer: endpoints.issuer,
        names_itself: endpoints.names_itself,
        began: Instant::now(),
        stage: Stage::Waiting {
            client,
            resource: found.resource,
            verifier: Secret::new(verifier),
            redirect: redirect.clone(),
            scope: asked,
            revocation: ends.map(|url| path_of(url).to_owned()),
        },
    };
    let _acting = narrowing.wider(desk).await?;
    if !desk.sign_ins.begin(id.clone(), begun) {
        return Err(Refused::malformed(
            "too many sign-ins wait: end one, or wait ten minutes",
        ));
    }
    Ok(Begun {
        ok: Done,
        sign_in: Some(BegunSignIn {
            id,
            issuer,
            address,
            redirect,
            tokens: endpoints.token,
            scope,
            new_scope: new_scope.filter(|new| !new.is_empty()),
            within: WITHIN.as_secs(),
        }),
    })
}

/// What the owner's sign-in at the server of a source is good for; none where nobody knows.
async fn scope_of(desk: &Arc<Desk>, source: &SourceId) -> Result<Option<Scopes>, Refused> {
    let (_, manifest) = installed(desk, source.as_str()).await?;
    let Some(known) = known(desk, source.as_str()) else {
        return Ok(None);
    };
    let files = of_source(&manifest, source, &known.config);
    let here = desk.clone();
    blocking(move || sign_in_scope(&here.state_dir, &files)).await
}

/// Scopes, with the one that gives a refresh token: without one the owner signs in again each time a token ends. Alone it would
/// stand in for those that the server gives by itself, so it is asked for beside others only.
fn with_offline_access(scope: &str) -> String {
    match scope.split(' ').any(|one| one == OFFLINE_ACCESS) {
        true => scope.to_owned(),
        false => format!("{scope} {OFFLINE_ACCESS}"),
    }
}

fn without_offline_access(scope: &str) -> String {
    let rest = scope.split(' ').filter(|one| *one != OFFLINE_ACCESS);
    rest.collect::<Vec<_>>().join(" ")
}

/// What one host says.
async fn stepped<T: DeserializeOwned>(
    desk: &Arc<Desk>,
    request: &ServerRequest,
    is_owners: bool,
    step: SignInStep,
) -> Result<T, Refused> {
    let step = serde_json::to_value(step).map_err(|why| failed(why.to_string()))?;
    let asking = request.to_step(is_owners).map_err(Refused::malformed)?;
    let question = (SIGN_IN_STEP, step);
    WorkerAnswer::at(desk, request, asking, None, question)
        .await?
        .read()
}

async fn look(desk: Arc<Desk>, _: Reading, call: Look) -> Result<SignInProgress, Refused> {
    let wait = Duration::from_secs(call.wait.min(MAX_WAIT));
    let told = desk.sign_ins.progress(&call.id, wait).await;
    told.ok_or_else(gone)
}

/// The owner's browser is back. Nobody is signed in at the gateway by it: what it brings is good for one sign-in alone.
pub(crate) async fn came_back(
    State(desk): State<Arc<Desk>>,
    Query(answer): Query<BrowserAnswer>,
) -> Result<Response, Refused> {
    shell::came_back(&desk, desk.sign_ins.answered(answer).err())
}

/// Gives a sign-in to its source, once it has shown that it is good.
pub(crate) async fn renew(
    desk: Arc<Desk>,
    narrowing: Narrowing,
    call: Renew,
) -> Result<RenewedSignIn, Refused> {
    let (source, url, tokens) = desk.sign_ins.made(&call.id).ok_or_else(gone)?;
    let (there, manifest) = installed(&desk, source.as_str()).await?;
    if there.url.as_ref() != Some(&url) {
        let why = format!("the sign-in was made for {source} at {url}, and it is elsewhere now");
        return Err(Refused::malformed(why));
    }
    if token_endpoint(&manifest) != Some(&tokens) {
        let why = format!(
            "{source} had its tokens elsewhere when you agreed to it: remove it and add it again"
        );
        return Err(Refused::malformed(why));
    }
    let refresh = Refresh {
        name: source.to_string(),
        refresh: Done,
        reads: None,
    };
    let asked = ServerAsk::of(&desk, Draft::Refresh(refresh)).await?;
    let mut asked = asked.map_err(|why| Refused::malformed(why.join("; ")))?;
    asked.sign_in = Some(call.id.clone());
    InspectedServer::at(&desk, &mut asked).await?;
    let value = desk.sign_ins.record(&call.id).ok_or_else(gone)?;
    desk.sign_ins.forget(&call.id);
    let write = owner_secrets::Write {
        name: format!("{source}.{FIELD}"),
        value: value.expose().to_owned(),
    };
    let acting = narrowing.wider(&desk).await?;
    secrets::write(desk, acting, write).await?;
    Ok(RenewedSignIn { ok: Done, source })
}

/// Tells the server of a source that the owner's sign-in at it is over, where there is one. Whatever comes of it, it is over here.
pub(super) async fn sign_out_there(desk: &Arc<Desk>, source: &SourceId) -> Option<ServerSignOut> {
    let connector = desk.registry.of_kind(&naming::kind_of(source))?;
    token_endpoint(&connector.offer.manifest)?;
    let path = desk.state_dir.join(&format!("secrets/{source}.{FIELD}"));
    if !blocking(move || path.exists()).await.ok()? {
        return None;
    }
    let (came_to, until) = match desk.supervisor.revoke(source).await {
        Revocation::Done => (ServerSignOutResult::Revoked, None),
        Revocation::Unoffered { until } => (ServerSignOutResult::Unoffered, until),
        Revocation::Failed { until } => (ServerSignOutResult::Failed, until),
    };
    let about = json!({"event": "sign-in.revoked", "source": source, "cameTo": came_to});
    desk.remark(about).await;
    Some(ServerSignOut {
        came_to,
        until: until.map(|second| Timestamp(second.saturating_mul(1_000))),
    })
}

/// Forgets the sign-in of a source, and tells its server.
async fn sign_out(
    desk: Arc<Desk>,
    narrowing: Narrowing,
    call: SignOut,
) -> Result<SignedOut, Refused> {
    let source = call.source;
    let (_, manifest) = installed(&desk, source.as_str()).await?;
    if token_endpoint(&manifest).is_none() {
        return Err(Refused::malformed(format!("{source} has no sign-in")));
    }
    let name = format!("{source}.{FIELD}");
    let server = sign_out_there(&desk, &source).await;
    let acting = narrowing.wider(&desk).await?;
    let ok = secrets::delete(&desk, acting, &source, name).await?;
    if known(&desk, source.as_str()).is_some() {
        // It does not serve without: that is what was asked for.
        let _ = restart(&desk, &source).await;
        // A call that was under way may have told of one.
        desk.wanted_scopes.forget(&source);
    }
    Ok(SignedOut { ok, source, server })
}

/// Where the tokens of the owner's sign-in are had, of a server that is signed in at.
pub(crate) fn token_endpoint(manifest: &Manifest) -> Option<&String> {
    manifest.hosts().find_map(|host| host.sign_in.as_ref())
}

/// Whether an owner may be sent there: over TLS, or to this machine.
fn is_address(url: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_graphic() && !b"\"<>\\^`{|}#".contains(&byte);
    url.contains("://") && url.bytes().all(plain) && owners_host(url, 443).is_ok()
}

/// A page with what is asked there; none where it has another value of that already, which its server might take instead.
fn page_that_asks(page: &str, asked_for: &[(&str, &str)]) -> Option<String> {
    let query = page.split_once('?').map_or("", |(_, query)| query);
    let query: Uri = format!("/?{query}").parse().ok()?;
    let Query(had): Query<Vec<(String, String)>> = Query::try_from_uri(&query).ok()?;
    let mut asks = page.to_owned();
    for (name, value) in asked_for.iter().filter(|(_, value)| !value.is_empty()) {
        let mut had = had.iter().filter(|(had, _)| had == name).peekable();
        if had.peek().is_none() {
            let between = if asks.contains('?') { '&' } else { '?' };
            asks.push_str(&format!("{between}{name}={}", encoded(value)));
        } else if had.any(|(_, had)| had != value) {
            return None;
        }
    }
    Some(asks)
}

/// 256 random bits, as an address may hold them.
fn random() -> Result<String, Refused> {
    let mut bits = [0_u8; 32];
    getrandom::fill(&mut bits).map_err(|error| failed(error.to_string()))?;
    Ok(BASE64_URL_SAFE_NO_PAD.encode(bits))
}

pub(super) fn gone() -> Refused {
    let error = ErrorBody::new(
        ErrorCode::NotFound,
        "No such sign-in is under way: it was made use of, or is older than ten minutes.",
    );
    Refused::new(error.next("plexusctl mcp list"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn page_that_has_another_value_already_is_refused() {
        let of = |page: &str| page_that_asks(page, &[("state", "a b"), ("scope", "")]);
        for (query, asks) in [
            ("", "?state=a%20b"),
            ("?t=1", "?t=1&state=a%20b"),
            ("?scope=c&t%25=%41", "?scope=c&t%25=%41&state=a%20b"),
            ("?%73tate=a+b", "?%73tate=a+b"),
        ] {
            let page = "https://a.example/x";
            let asked = of(&format!("{page}{query}"));
            assert_eq!(asked, Some(format!("{page}{asks}")));
        }
        for query in ["state=c", "t=1&state=a+b&state=c", "%73tate=c", "state"] {
            assert_eq!(of(&format!("https://a.example/x?{query}")), None, "{query}");
        }
    }

    #[test]
    fn owners_are_sent_over_tls_or_to_this_machine() {
        for good in [
            "https://auth.example.com/a?b=c",
            "http://localhost:9/a",
            "http://127.0.0.1/",
            "http://[::1]:9/",
        ] {
            assert!(is_address(good), "{good}");
        }
        for bad in [
            "http://auth.example.com/",
            "javascript:alert(1)",
            "data:text/html,x",
            "https://",
            "//auth.example.com",
            "http://localhost.example.com/",
            "http://user@evil.example/",
            "https://a.example/ b",
            "file:///etc/passwd",
        ] {
            assert!(!is_address(bad), "{bad}");
        }
    }
}
