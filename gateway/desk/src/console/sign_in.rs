//! The sign-in at an MCP server as a part of a form: where its server asks for one, the form shows the page to sign in at, waits
//! until the owner is back from it, and goes on with its step.
//!
//! ```text
//! preview ─server asks─▶ sign-in shown ─the owner's browser is back─▶ preview again, with its id ─▶ add
//! page of a source ─▶ sign-in shown ─the owner's browser is back─▶ Renew
//! ```
//! Invariant: the page that is opened is the one that the gateway checked; a token is in no page.
//!
//! Must not know: how a host is asked, what a sign-in is.

use super::{foreign::ForeignText, sent, shell};
use crate::{acting::Narrowing, acts::Named, desk::Desk, owner::sign_ins};
use askama::Template;
use axum::{
    Router,
    extract::{Request, State},
    response::Response,
    routing::post,
};
use plexus_edge::reply::{self, Refused};
use plexus_owner::{
    extensions::Draft,
    sign_ins::{Begin, BegunSignIn, Renew},
};
use plexus_protocol::{MAX_SCOPES_TEXT, SourceId};
use serde::Deserialize;
use std::sync::Arc;

/// A client of the owner's own, where the authorization server registers none. No `Debug`: it holds a secret.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct OwnClient {
    pub(super) client_id: Option<String>,
    pub(super) client_secret: Option<String>,
    pub(super) scope: Option<String>,
}

impl OwnClient {
    fn begin(self, name: SourceId, url: Option<String>, ca: Option<String>) -> Begin {
        Begin {
            name,
            url,
            ca,
            issuer: None,
            client_id: self.client_id,
            client_secret: self.client_secret,
            scope: self.scope,
        }
    }
}

#[derive(Template)]
#[template(path = "sign_in.html")]
struct SignInPart {
    id: String,
    name: String,
    issuer: ForeignText,
    scope: Option<ForeignText>,
    /// What of it the sign-in that is there is not good for.
    new_scope: Option<ForeignText>,
    tokens: ForeignText,
    /// The gateway has checked it: `https`, or this machine, of plain characters.
    address: String,
    minutes: u64,
    /// The step of the form that follows.
    then: &'static str,
}

impl SignInPart {
    fn of(name: String, begun: BegunSignIn, then: &'static str) -> Self {
        Self {
            id: begun.id,
            name,
            issuer: ForeignText::short(&begun.issuer, 300),
            scope: begun
                .scope
                .map(|scope| ForeignText::short(&scope, MAX_SCOPES_TEXT)),
            new_scope: begun
                .new_scope
                .map(|scope| ForeignText::short(&scope.to_string(), MAX_SCOPES_TEXT)),
            tokens: ForeignText::short(&begun.tokens, 300),
            address: begun.address,
            minutes: begun.within / 60,
            then,
        }
    }
}

/// The sign-in that a draft has to begin with: of a server at a URL, without a secret, that asks for one.
pub(super) async fn wanted(
    desk: &Arc<Desk>,
    narrowing: &Narrowing,
    draft: &Draft,
    client: OwnClient,
) -> Result<Option<Result<String, askama::Error>>, Refused> {
    let Draft::Server(server) = draft else {
        return Ok(None);
    };
    if server.url.is_none() || server.sign_in.is_some() || !server.secrets.is_empty() {
        return Ok(None);
    }
    let begin = client.begin(server.name.clone(), server.url.clone(), server.ca.clone());
    let begun = sign_ins::begun(desk, narrowing, begin).await?;
    let part = |begun| SignInPart::of(server.name.to_string(), begun, "preview").render();
    Ok(begun.sign_in.map(part))
}

/// The routes of the form on a source's page.
pub(super) fn form() -> Router<Arc<Desk>> {
    Router::new()
        .route("/sources/{id}/sign-in/preview", post(begin))
        .route("/sources/{id}/sign-in/add", post(renew))
}

async fn begin(
    State(desk): State<Arc<Desk>>,
    Named(id): Named,
    narrowing: Narrowing,
    request: Request,
) -> Result<Response, Refused> {
    let client: OwnClient = sent(request).await?;
    let name = SourceId::parse(&id).map_err(|_| super::gone())?;
    let begin = client.begin(name, None, None);
    let begun = sign_ins::begun(&desk, &narrowing, begin).await?.sign_in;
    let begun = begun.ok_or_else(|| Refused::malformed("The server asks for no sign-in."))?;
    shell::made(&desk, SignInPart::of(id, begun, "add").render())
}

/// What the form sends once the owner is back.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct BackForm {
    sign_in: String,
}

async fn renew(
    State(desk): State<Arc<Desk>>,
    Named(_): Named,
    narrowing: Narrowing,
    request: Request,
) -> Result<Response, Refused> {
    let BackForm { sign_in } = sent(request).await?;
    let renewed = sign_ins::renew(desk, narrowing, Renew { id: sign_in }).await?;
    Ok(reply::ok(&renewed))
}
