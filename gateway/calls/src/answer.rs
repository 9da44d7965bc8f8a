//! An answer and the status that it travels with.

use plexus_protocol::{AuditId, ErrorBody, body::InvokeResponse};

/// An answer and the status it travels with.
pub struct Answer {
    /// HTTP's.
    pub status: u16,
    /// What the wire says.
    pub body: InvokeResponse,
}

impl Answer {
    /// A call that was not made.
    pub fn refused(id: &str, error: ErrorBody, audit: Option<&AuditId>) -> Self {
        Self {
            status: error.code.status(),
            body: InvokeResponse::refused(id, error, audit),
        }
    }
    /// Something that was dispatched is answered with 200, whatever came of it (docs/protocol/agents.md#call).
    pub(crate) fn dispatched(body: InvokeResponse) -> Self {
        Self { status: 200, body }
    }
}
