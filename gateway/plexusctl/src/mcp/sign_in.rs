//! `plexusctl mcp login`, and the sign-in that `mcp add` of a URL begins: the owner signs in at a server by a browser.
//!
//! The gateway asks the hosts, keeps the tokens and hears the browser; this shows the page, and waits.

use super::{LOOK, given_id};
use crate::{owner::Desk, sources::from_file};
use clap::Args;
use plexus_client::{Exit, Stop, out, span, text};
use plexus_owner::sign_ins::{
    Begin, Look, Renew, ServerSignOut, ServerSignOutResult, SignInStage, SignOut,
};
use plexus_owner_client::browser;
use plexus_protocol::{SourceId, Timestamp};
use std::path::PathBuf;

/// Longest wait of one question, in seconds.
const AT_ONCE: u64 = 20;

/// How the owner signs in.
#[derive(Args, Clone, Default)]
pub(super) struct SignInOptions {
    /// Id of a client that you registered at the server's authorization server [default: Plexus registers itself]
    #[arg(long, value_name = "ID")]
    client_id: Option<String>,
    /// File with the secret of that client
    #[arg(long, value_name = "FILE", requires = "client_id")]
    client_secret: Option<PathBuf>,
    /// Authorization server, where the server names several
    #[arg(long, value_name = "URL")]
    issuer: Option<String>,
    /// What the sign-in is to be good for, in the server's own words [default: what the server asks for; with a sign-in there, what that is good for and what was missing]
    #[arg(long, value_name = "SCOPES")]
    scope: Option<String>,
    /// Open the page in this desktop's browser
    #[arg(long)]
    open: bool,
}

/// A server that is not lent yet; nothing of it for one that is.
#[derive(Default)]
pub(super) struct ServerUrl {
    pub(super) url: Option<String>,
    /// Its further certificate authorities.
    pub(super) ca: Option<String>,
}

impl SignInOptions {
    /// Signs the owner in; gives the id of the sign-in, or none where the server asks for none.
    pub(super) async fn sign_in(
        &self,
        desk: &Desk,
        name: &SourceId,
        at: ServerUrl,
    ) -> Result<Option<String>, Stop> {
        let secret = self.client_secret.as_deref().map(from_file).transpose()?;
        let begin = Begin {
            name: name.clone(),
            url: at.url,
            ca: at.ca,
            issuer: self.issuer.clone(),
            client_id: self.client_id.clone(),
            client_secret: secret.map(|secret| secret.to_string()),
            scope: self.scope.clone(),
        };
        let begun = desk.open().await?.call_within(&begin, LOOK).await?;
        let Some(begun) = begun.sign_in else {
            return Ok(None);
        };
        let scope = begun.scope.as_deref().map(text::line);
        let new = begun.new_scope.as_ref().map(|new| {
            let new = new.to_string();
            format!(
                "  new        {} (your sign-in is not good for it now)\n",
                text::line(&new)
            )
        });
        let new = new.unwrap_or_default();
        out::say(&format!(
            "{name} signs you in at {}\n  for        {}\n{new}  tokens     {}\nOpen this page in a browser on this machine, and sign in there:\n\n{}\n",
            text::line(&begun.issuer),
            scope.as_deref().unwrap_or("whatever it gives by itself"),
            text::line(&begun.tokens),
            text::line(&begun.address),
        ));
        if self.open {
            browser::open(&begun.address)?;
        }
        out::say(&format!(
            "waiting for you, {} minutes at most; Ctrl-C ends it, and nothing is kept",
            begun.within / 60
        ));
        loop {
            // A connection for each look: a person takes their time.
            let look = Look {
                id: begun.id.clone(),
                wait: AT_ONCE,
            };
            let told = desk.open().await?.call_waiting(&look, look.wait).await?;
            match told.stage {
                SignInStage::Waiting => {}
                SignInStage::SignedIn => return Ok(Some(begun.id)),
                SignInStage::Refused => {
                    let why = told.why.unwrap_or_default();
                    let stop = Stop::new(Exit::Refused, "not_signed_in", text::line(&why));
                    return Err(stop.next("the same command again"));
                }
            }
        }
    }
}

/// Signs in again at a server that is lent.
pub(super) async fn login(
    desk: &Desk,
    name: &SourceId,
    options: &SignInOptions,
) -> Result<Exit, Stop> {
    desk.widen("signing in at an MCP server")?;
    let Some(id) = options.sign_in(desk, name, ServerUrl::default()).await? else {
        let why = format!("{name} asks for no sign-in");
        return Err(Stop::new(Exit::Failed, "not_needed", why).next(given_id(name)));
    };
    let renewed = desk.open().await?.call_within(&Renew { id }, LOOK).await?;
    desk.show(&renewed, || {
        format!(
            "{name} is signed in; the grants on it are revoked, since it may be another account"
        )
    })
}

/// What became of a sign-in at its server.
pub(super) fn there(told: Option<ServerSignOut>, now: Timestamp) -> String {
    let until = match told.and_then(|told| told.until) {
        Some(until) => format!("for {}", span::length(until.since(now))),
        None => "until it ends there".to_owned(),
    };
    match told.map(|told| told.came_to) {
        Some(ServerSignOutResult::Revoked) => "its server ended it too".to_owned(),
        Some(ServerSignOutResult::Failed) => {
            format!("its server could not be reached, and may take its token {until}")
        }
        Some(ServerSignOutResult::Unoffered) | None => {
            format!("its server offers no way to end it, and may take its token {until}")
        }
    }
}

/// Forgets the sign-in of a server.
pub(super) async fn logout(desk: &Desk, source: SourceId) -> Result<Exit, Stop> {
    let call = SignOut { source };
    let reply = desk.open().await?.call_within(&call, LOOK).await?;
    let name = &call.source;
    desk.show(&reply, || match reply.ok {
        true => format!(
            "the sign-in of {name} is deleted here, and the grants on it are revoked; {}",
            there(reply.server, span::now())
        ),
        false => format!("{name} was not signed in"),
    })
}
