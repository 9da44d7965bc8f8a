//! How an agent stands with the gateway.

use serde::{Deserialize, Serialize};

/// How far an agent sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Reach {
    /// Every exposed capability; what it was not granted pends.
    Exposed,
    /// Only what the owner selected; everything else is declined as if it did not exist.
    Selected,
}

impl Reach {
    /// Its word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Exposed => "exposed",
            Self::Selected => "selected",
        }
    }
}

/// Where an agent stands with its credential.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EnrollmentStatus {
    /// A code was made, no PAT redeemed yet (or the key was rotated).
    Pending,
    /// A PAT is live.
    Active,
    /// The owner ended it.
    Revoked,
}

impl EnrollmentStatus {
    /// Its word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Active => "active",
            Self::Revoked => "revoked",
        }
    }
}
