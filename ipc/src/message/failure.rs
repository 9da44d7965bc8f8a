//! Why a call failed, in the worker's words. The gateway turns it into the wire's closed set of codes.

use crate::text::{Line, Word};
use plexus_protocol::{Effect, Verb};
use serde::{Deserialize, Deserializer, Serialize, de};
use serde_json::Value;

/// Largest `detail`, in bytes of JSON.
pub const MAX_DETAIL: usize = 4_096;

/// The kinds of failure.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Failure {
    /// The source refused or failed: `not_found`, `path_confinement`, `too_large`, …
    TransportError {
        /// The word that the wire carries as `detail.reason`.
        reason: Word,
    },
    /// The operating system, or the app behind the source, refused us.
    PermissionDenied,
    /// The world is not as the plan, the agent or the input said: `unread`, `changed`, `gone`, `plan_changed`, …
    PreconditionChanged {
        /// The word that the wire carries as `detail.reason`.
        reason: Word,
    },
    /// What the call resolved to lies outside its constraint.
    ConstraintMiss {
        /// The constrained field.
        field: Word,
    },
    /// The input fits the schema and not the connector.
    InvalidInput,
    /// It took longer than it may.
    DeadlineExceeded,
    /// The gateway cancelled it.
    Cancelled,
    /// The app behind the source cannot be used now.
    SourceUnavailable,
    /// Its plan amounts to more than the permit allows.
    RatingExceeded {
        /// What it amounts to.
        rating: Verb,
    },
    /// The harness did not hand it on: `launch`, `replayed`, `input_digest`, `unknown_capability`, `kind`.
    Refused {
        /// Which check.
        reason: Word,
    },
    /// Too much is under way in this worker.
    Busy,
    /// Our own failure.
    Internal,
}

/// Why a call failed and whether anything was done.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, thiserror::Error)]
#[serde(deny_unknown_fields)]
#[error("{message}")]
pub struct WorkerError {
    /// The kind.
    pub code: Failure,
    /// One sentence for the agent, without content of other things than those it named.
    pub message: Line<1024>,
    /// Structured facts for the agent; at most [`MAX_DETAIL`] bytes of JSON.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "small"
    )]
    pub detail: Option<Value>,
    /// Whether anything was done.
    pub effect: Effect,
}

fn small<'de, D: Deserializer<'de>>(d: D) -> Result<Option<Value>, D::Error> {
    let detail = Option::<Value>::deserialize(d)?;
    if detail.as_ref().is_some_and(|value| !fits(value)) {
        return Err(de::Error::custom("a detail beyond 4 KiB"));
    }
    Ok(detail)
}

fn fits(value: &Value) -> bool {
    serde_json::to_vec(value).is_ok_and(|bytes| bytes.len() <= MAX_DETAIL)
}

impl WorkerError {
    /// A failure of this kind with nothing done.
    pub fn new(code: Failure, message: impl AsRef<str>) -> Self {
        Self {
            code,
            message: Line::new(message),
            detail: None,
            effect: Effect::None,
        }
    }
    /// The source refused or failed.
    pub fn transport(reason: &str, message: impl AsRef<str>) -> Self {
        let reason = reason.into();
        Self::new(Failure::TransportError { reason }, message)
    }
    /// The operating system, or the app behind the source, refused.
    pub fn denied(message: impl AsRef<str>) -> Self {
        Self::new(Failure::PermissionDenied, message)
    }
    /// The world is not as was assumed.
    pub fn changed(reason: &str, message: impl AsRef<str>) -> Self {
        let reason = reason.into();
        Self::new(Failure::PreconditionChanged { reason }, message)
    }
    /// What the call resolved to lies outside its constraint.
    #[must_use]
    pub fn constraint_miss(field: &str) -> Self {
        Self::new(
            Failure::ConstraintMiss {
                field: field.into(),
            },
            format!("outside what the grant allows for {field:?}"),
        )
    }
    /// The input fits the schema and not the connector.
    pub fn invalid(message: impl AsRef<str>) -> Self {
        Self::new(Failure::InvalidInput, message)
    }
    /// The app behind the source cannot be used now.
    pub fn unavailable(message: impl AsRef<str>) -> Self {
        Self::new(Failure::SourceUnavailable, message)
    }
    /// Our own failure.
    pub fn internal(message: impl AsRef<str>) -> Self {
        Self::new(Failure::Internal, message)
    }
    /// The harness did not hand the call on.
    pub(crate) fn refused(reason: &str, message: impl AsRef<str>) -> Self {
        let reason = reason.into();
        Self::new(Failure::Refused { reason }, message)
    }
    /// Adds structured facts; those beyond [`MAX_DETAIL`] are left out.
    #[must_use]
    pub fn detail(mut self, detail: Value) -> Self {
        self.detail = fits(&detail).then_some(detail);
        self
    }
    /// Says whether anything was done; `unknown` where a commit failed after it may have changed something.
    #[must_use]
    pub fn effect(mut self, effect: Effect) -> Self {
        self.effect = effect;
        self
    }
}
