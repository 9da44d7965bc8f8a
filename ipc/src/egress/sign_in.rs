//! A sign-in at the authorization server of a source's host (OAuth 2.1): what lies in the secret of such a source, and where
//! its tokens are had.
//!
//! ```text
//! Code ─exchanged once─▶ Refresh, access ─expires, or is refused─▶ Refresh, access ─▶ … ─refused for good─▶ ended
//!                └─ or access alone: nothing renews it
//! ```
//! The gateway makes the first record, from what the owner's browser brought back, and keeps each later one as it is; the
//! egress alone reads them, exchanges and renews.
//!
//! Invariants: nothing of a record is printed; a renewed record is durable before its token is used.
//!
//! Must not know: how a token is asked for.

use super::Scopes;
use crate::{
    manifest::Admitted,
    message::{MAX_SECRET, Secret, secret::single},
};
use serde::{Deserialize, Serialize};

/// Where tokens are had: the token endpoint, as the owner agreed to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenEndpoint {
    /// The host.
    pub to: Admitted,
    /// Its path, with a query if it has one.
    pub path: String,
}

/// How a client proves itself at the token endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClientAuth {
    /// It names itself: a client without a secret.
    None,
    /// Its secret stands in the form.
    ClientSecretPost,
    /// Its secret stands in the header `Authorization`.
    ClientSecretBasic,
}

/// Who Plexus is to an authorization server.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Client {
    /// Its id there.
    pub id: String,
    /// Its secret there; empty where it has none.
    #[serde(with = "single")]
    pub secret: Secret,
    /// How it proves itself.
    pub auth: ClientAuth,
}

/// What the next token is had for.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum Grant {
    /// What the owner's browser brought back, good for once.
    Code {
        /// The code.
        #[serde(with = "single")]
        code: Secret,
        /// What proves that the same program asked (RFC 7636).
        #[serde(with = "single")]
        verifier: Secret,
        /// Where the browser brought it.
        redirect: String,
    },
    /// A refresh token.
    Refresh(#[serde(with = "single")] Secret),
    /// Nothing: the owner signs in again.
    Nothing,
}

/// A token, added to requests as a bearer token.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Access {
    /// The token.
    #[serde(with = "single")]
    pub token: Secret,
    /// Second of the Unix epoch at which it ends; none where the server does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<u64>,
}

/// A record.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SignIn {
    /// Who Plexus is there.
    pub client: Client,
    /// What the tokens are for (RFC 8707).
    pub resource: String,
    /// What the next token is had for.
    pub grant: Grant,
    /// The token that is good now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access: Option<Access>,
    /// What it is good for, as the token endpoint says, and what was asked for before it does; none where nobody said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<Scopes>,
    /// The path at the token endpoint's host where a sign-in is ended (RFC 7009).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revocation: Option<String>,
}

/// What came of telling the authorization server that a sign-in is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Revocation {
    /// It took that.
    Done,
    /// It names no address for it.
    Unoffered {
        /// Second of the Unix epoch at which the token ends, where the server said.
        until: Option<u64>,
    },
    /// It was not reached, or did not take it.
    Failed {
        /// As above.
        until: Option<u64>,
    },
}

impl SignIn {
    /// Reads the text of a secret; none where that is no record.
    #[must_use]
    pub fn read(text: &Secret) -> Option<Self> {
        serde_json::from_str(text.expose()).ok()
    }

    /// As the text of a secret; none where it is longer than one may be.
    #[must_use]
    pub fn text(&self) -> Option<Secret> {
        let text = Secret::new(serde_json::to_string(self).ok()?);
        (text.expose().len() <= MAX_SECRET).then_some(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(text: &str) -> Secret {
        Secret::new(text.to_owned())
    }

    #[test]
    fn record_is_read_as_it_was_written_and_prints_nothing() {
        let record = SignIn {
            client: Client {
                id: "plexus".into(),
                secret: secret(""),
                auth: ClientAuth::None,
            },
            resource: "https://mcp.example.com/mcp".into(),
            grant: Grant::Refresh(secret("hush-1")),
            access: Some(Access {
                token: secret("hush-2"),
                expires: Some(7),
            }),
            scope: Scopes::parse("a b").ok(),
            revocation: Some("/revoke".into()),
        };
        let text = record.text().unwrap();
        let read = SignIn::read(&text).unwrap();
        assert_eq!(read.text().unwrap().expose(), text.expose());
        assert!(!format!("{read:?}").contains("hush"));
        assert!(SignIn::read(&secret("a token that was pasted")).is_none());
        let long = SignIn {
            grant: Grant::Refresh(secret(&"x".repeat(MAX_SECRET))),
            ..record
        };
        assert!(long.text().is_none());
    }
}
