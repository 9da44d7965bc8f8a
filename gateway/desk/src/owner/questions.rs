//! The owner's answer to a question that a source asks in the course of a call.
//!
//! Invariants: an answer is to the card that was seen, and is recorded before the source has it; what does not fit the
//! fields is given to nobody.
//!
//! Must not know: what a value means.

use super::{Narrowing, approvals::same_card, body::Fields};
use crate::desk::Desk;
use axum::response::Response;
use plexus_calls::questions::Answer;
use plexus_edge::reply::{Refused, ok};
use plexus_protocol::{ErrorBody, ErrorCode, PendingId};
use serde_json::json;
use std::sync::Arc;

/// Answers it, or tells the source that the owner does not.
pub(super) async fn decided(
    desk: &Arc<Desk>,
    narrowing: &Narrowing,
    id: &PendingId,
    body: &Fields,
    card: Option<&str>,
    is_answered: bool,
) -> Result<Response, Refused> {
    let over = || {
        let why = "the question waits no longer: its time or its call is over";
        Refused::new(
            ErrorBody::new(ErrorCode::UnknownCapability, why).next("plexusctl approvals list"),
        )
    };
    let (mut acting, mut answer) = (None, Answer::Decline);
    if is_answered {
        acting = Some(narrowing.wider(desk).await?);
        let current = desk
            .questions
            .card(id, &desk.ledger.snapshot())
            .ok_or_else(over)?;
        same_card(
            true,
            current.get("cardDigest").and_then(|digest| digest.as_str()),
            card,
        )?;
        let given = body.typed("answers")?.unwrap_or_default();
        let checked = desk.questions.check(id, given).ok_or_else(over)?;
        answer = checked.map_err(Refused::malformed)?;
    }
    let taken = desk.questions.take(id).ok_or_else(over)?;
    let given = taken.answer(desk, answer).await?;
    drop(acting);
    match given {
        true => {
            let action = if is_answered { "approve" } else { "deny" };
            Ok(ok(
                &json!({"ok": true, "action": action, "kind": "question"}),
            ))
        }
        false => Err(over()),
    }
}
