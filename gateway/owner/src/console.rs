//! The way into the console, where pages show all that is in this table.

use crate::Done;
use serde::{Deserialize, Serialize};

/// Makes a link that signs a browser in, once.
#[derive(Debug, Serialize, Deserialize)]
pub struct MakeLink {}

/// A link that signs in once. No `Debug`: it is a credential.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SignInLink {
    /// It is made.
    pub ok: Done,
    /// Where it leads.
    pub url: String,
    /// How long it lasts, in milliseconds.
    pub expires_in_ms: u64,
}

impl SignInLink {
    /// The same link, leading to the page at `page` (`/admin/…`) instead of the first one.
    #[must_use]
    pub fn to(&self, page: &str) -> String {
        match self.url.split_once("/admin#") {
            Some((origin, link)) => format!("{origin}{page}#{link}"),
            None => self.url.clone(),
        }
    }
}
