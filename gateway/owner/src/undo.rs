//! Effects that are taken back, by the audit id of the effect or of its outcome.

use crate::{Done, plan::Plan};
use plexus_protocol::{AuditId, CapabilityId, Digest, ErrorBody, Timestamp};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

/// What taking one back would do.
#[derive(Debug, Serialize, Deserialize)]
pub struct Show {
    /// Its audit id.
    pub id: String,
}

/// A plan of an undo.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct UndoPlan {
    /// The effect.
    pub intent: AuditId,
    /// When it was meant.
    pub at: Timestamp,
    /// Whose it was; none where it was the owner's.
    pub agent_id: Option<String>,
    /// What did it.
    pub capability_id: CapabilityId,
    /// What it did, in its source's words.
    pub did: Option<String>,
    /// What takes it back.
    pub undo: CapabilityId,
    /// What that does.
    #[serde(flatten)]
    pub plan: Plan,
}

/// Takes it back, as it was planned.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TakeBack {
    /// Its audit id.
    pub id: String,
    /// The plan that the owner saw.
    pub state_token: Digest,
}

/// What was taken back.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct UndoOutcome {
    /// It is done.
    pub ok: Done,
    /// The effect that was taken back.
    pub intent: AuditId,
    /// The event of the undo.
    pub audit_id: AuditId,
    /// What was done, in one line.
    pub summary: Option<String>,
    /// By which id it can be taken back in turn.
    pub undo: Option<String>,
}

/// Why an effect is not taken back: the `detail` of the refusal.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct UndoRefusal {
    /// Its source's word for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The later change that is taken back first.
    #[serde(
        default,
        deserialize_with = "lenient",
        skip_serializing_if = "Option::is_none"
    )]
    pub later: Option<AuditId>,
    /// Further members of its source.
    #[serde(flatten)]
    pub rest: Map<String, Value>,
}

impl UndoRefusal {
    /// That of a refusal; empty where it has none.
    #[must_use]
    pub fn of(error: &ErrorBody) -> Self {
        let detail = error.detail.as_ref();
        let read = detail.and_then(|detail| Self::deserialize(detail).ok());
        read.unwrap_or_default()
    }
}

/// An id; none where a source names something else, which costs no other member.
fn lenient<'de, D: Deserializer<'de>>(from: D) -> Result<Option<AuditId>, D::Error> {
    let value = Value::deserialize(from)?;
    Ok(value.as_str().and_then(|id| AuditId::parse(id).ok()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use plexus_protocol::ErrorCode;
    use serde_json::json;

    #[test]
    fn refusal_with_an_odd_later_keeps_its_reason() {
        let id = "evt_00000000-004c-8601-9a97-6ab6eec8d02f";
        for (later, read) in [
            (json!(id), AuditId::parse(id).ok()),
            (json!("rm"), None),
            (json!(7), None),
        ] {
            let detail = json!({"reason": "gone_already", "later": later, "path": "a"});
            let error = ErrorBody::new(ErrorCode::PreconditionChanged, "no").detail(detail);
            let said = UndoRefusal::of(&error);
            assert_eq!(said.reason.as_deref(), Some("gone_already"), "{later}");
            assert_eq!(said.later, read, "{later}");
            assert_eq!(said.rest.len(), 1, "{later}");
        }
    }
}
