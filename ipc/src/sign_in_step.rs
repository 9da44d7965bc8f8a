//! What the worker of an MCP server is asked while the owner signs in at it (OAuth 2.1): one question about one host a worker,
//! whose egress leads to that host alone. What hosts say is read there, and nowhere else.
//!
//! ```text
//! Resource ─▶ who signs its users in? ─▶ Issuer ─▶ its endpoints ─▶ Registration ─▶ who Plexus is there
//! ```
//! Must not know: codes, tokens.

use crate::egress::Client;
use serde::{Deserialize, Serialize};

/// The capability that answers a step; the owner's alone.
pub const SIGN_IN_STEP: &str = "server.sign-in";

/// The scope for which an authorization server that lists it gives a refresh token (OpenID Connect Core, section 11; MCP's
/// SEP-2207).
pub const OFFLINE_ACCESS: &str = "offline_access";

/// A question.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum SignInStep {
    /// Who signs in users of the server at this URL? Answered by [`Resource`].
    Resource {
        /// The URL.
        url: String,
    },
    /// Which endpoints has this authorization server? Answered by [`Issuer`].
    Issuer {
        /// Its issuer identifier, a URL.
        issuer: String,
    },
    /// Register as a client there (RFC 7591). Answered by [`Client`].
    Registration {
        /// The registration endpoint.
        url: String,
        /// Where browsers are sent back to.
        redirect: String,
    },
}

/// What a server says of its sign-in (RFC 9728).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Resource {
    /// Whether it wants one at all.
    pub needed: bool,
    /// What tokens for it are for.
    pub resource: String,
    /// Its authorization servers, in its order; its own origin where it names none.
    pub issuers: Vec<String>,
    /// What it wants a token to be good for.
    pub scope: Option<String>,
}

/// What an authorization server says of itself (RFC 8414). It offers PKCE with SHA-256.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Issuer {
    /// Its identifier, as it writes it: that of a slash more or less at its end is taken for the one that was asked for.
    pub issuer: String,
    /// Where the owner's browser goes.
    pub authorization: String,
    /// The token endpoint.
    pub token: String,
    /// The registration endpoint.
    pub registration: Option<String>,
    /// Where a sign-in is ended (RFC 7009).
    pub revocation: Option<String>,
    /// It names itself in what the browser brings back (RFC 9207).
    pub names_itself: bool,
    /// It takes the secret of a client in the form alone, and in no header.
    pub secret_in_form: bool,
    /// It lists [`OFFLINE_ACCESS`] among its scopes.
    pub offers_offline_access: bool,
}

/// The answer to [`SignInStep::Registration`].
pub type Registered = Client;
