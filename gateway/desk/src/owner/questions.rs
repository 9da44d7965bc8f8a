//! The owner's answer to a question that a source asks in the course of a call.
//!
//! Invariants: an answer is to the card that was seen, and is recorded before the source has it; what does not fit the
//! fields is given to nobody.
//!
//! Must not know: what a value means.

use super::{Narrowing, approvals::same_card};
use crate::{cards, desk::Desk};
use plexus_calls::questions::Answer;
use plexus_edge::reply::Refused;
use plexus_owner::{
    Done,
    pending::{Action, Decide, Decided, DecisionOutcome, Kind},
};
use plexus_protocol::{ErrorBody, ErrorCode, PendingId};
use std::sync::Arc;

/// Answers it, or tells the source that the owner does not.
pub(super) async fn decided(
    desk: &Arc<Desk>,
    narrowing: &Narrowing,
    id: &PendingId,
    action: Action,
    call: Decide,
) -> Result<Decided, Refused> {
    let over = || {
        let why = "the question is no longer pending: its time or its call is over";
        Refused::new(
            ErrorBody::new(ErrorCode::UnknownCapability, why).next("plexusctl approvals list"),
        )
    };
    let (mut acting, mut answer) = (None, Answer::Decline);
    if action == Action::Approve {
        acting = Some(narrowing.wider(desk).await?);
        let current = cards::question(desk, &desk.ledger.snapshot(), id).ok_or_else(over)?;
        same_card(true, current.card.digest(), call.card_digest.as_deref())?;
        let given = call.answers.unwrap_or_default();
        let checked = desk.questions.check(id, given).ok_or_else(over)?;
        answer = checked.map_err(|unfit| {
            let refused = Refused::malformed(unfit.why);
            match &unfit.field {
                Some(field) => refused.about(field),
                None => refused,
            }
        })?;
    }
    let taken = desk.questions.take(id).ok_or_else(over)?;
    let given = taken.answer(desk, answer).await?;
    drop(acting);
    match given {
        true => Ok(Decided {
            ok: Done,
            action,
            kind: Kind::Question,
            outcome: DecisionOutcome::Answered {},
        }),
        false => Err(over()),
    }
}
