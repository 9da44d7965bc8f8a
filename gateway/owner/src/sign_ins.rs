//! Sign-ins of the owner at MCP servers (OAuth 2.1): begun here, made in the owner's browser, used by a draft of the server.
//!
//! ```text
//! Begin ─▶ address ─the owner's browser─▶ Look: signed in ─▶ a draft names it, or Renew gives it to a source that is there
//! ```

use crate::{Done, wire};
use plexus_protocol::{Scopes, SourceId, Timestamp};
use serde::{Deserialize, Serialize};

/// Begins one. No `Debug`: it may hold a secret.
#[derive(Serialize, Deserialize)]
pub struct Begin {
    /// The source that the server is, or is to be.
    pub name: SourceId,
    /// The server's URL; that of the source where it is there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// A PEM file with further certificate authorities for that URL, an absolute path; that of the source where it is there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca: Option<String>,
    /// Which of its authorization servers: its first where none is named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issuer: Option<String>,
    /// Who Plexus is at the authorization server; it registers itself where none is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_id: Option<String>,
    /// The secret of that client.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_secret: Option<String>,
    /// What the token is to be good for; what the server asks for where it is not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<String>,
}

/// What the owner's browser opens.
#[derive(Debug, Serialize, Deserialize)]
pub struct Begun {
    /// It is begun.
    pub ok: Done,
    /// The sign-in; none where the server asks for none.
    pub sign_in: Option<BegunSignIn>,
}

/// A sign-in that is begun.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BegunSignIn {
    /// Its id.
    pub id: String,
    /// Who signs in: the authorization server.
    pub issuer: String,
    /// The page where the owner signs in there.
    pub address: String,
    /// Where that page leads back to.
    pub redirect: String,
    /// Where tokens are had.
    pub tokens: String,
    /// What the token is to be good for.
    pub scope: Option<String>,
    /// What of that the sign-in that is there is not good for; none where there is none, or nothing is new.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub new_scope: Option<Scopes>,
    /// Seconds until it is forgotten.
    pub within: u64,
}

/// How far one is.
#[derive(Debug, Serialize, Deserialize)]
pub struct Look {
    /// Its id.
    pub id: String,
    /// How long to wait until it has ended, in seconds; at most 20 count.
    #[serde(default, deserialize_with = "wire::number::deserialize")]
    pub wait: u64,
}

/// How far one is.
#[derive(Debug, Serialize, Deserialize)]
pub struct SignInProgress {
    /// The stage.
    pub stage: SignInStage,
    /// Why it was refused.
    pub why: Option<String>,
}

/// A stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SignInStage {
    /// The owner has not come back from the browser.
    Waiting,
    /// The owner has signed in.
    SignedIn,
    /// The authorization server, or what came back, was refused.
    Refused,
}

/// Gives a sign-in to the source that it was begun for. What was granted on that ends: it may be another account.
#[derive(Debug, Serialize, Deserialize)]
pub struct Renew {
    /// Its id.
    pub id: String,
}

/// It is given.
#[derive(Debug, Serialize, Deserialize)]
pub struct RenewedSignIn {
    /// It is.
    pub ok: Done,
    /// The source.
    pub source: SourceId,
}

/// What came of telling a server that the owner's sign-in at it is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ServerSignOut {
    /// In a word.
    pub came_to: ServerSignOutResult,
    /// When the token ends there by itself, where it lives on and the server has said that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
}

/// The same in a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ServerSignOutResult {
    /// It ended the sign-in.
    Revoked,
    /// It names no address for that.
    Unoffered,
    /// It was not reached, or did not take it.
    Failed,
}

/// Forgets the sign-in of a source, and tells its server.
#[derive(Debug, Serialize, Deserialize)]
pub struct SignOut {
    /// The source.
    pub source: SourceId,
}

/// It is forgotten.
#[derive(Debug, Serialize, Deserialize)]
pub struct SignedOut {
    /// Whether there was one.
    pub ok: bool,
    /// The source.
    pub source: SourceId,
    /// What came of it at the server; none where there was no sign-in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server: Option<ServerSignOut>,
}
