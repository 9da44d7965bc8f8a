//! What is checked after a handler and before its answer leaves: a connector that forgot a rule does not break it.

use crate::manifest::{Capability, Limits};
use crate::message::{MAX_TOUCHED, Touched};
use crate::text::Output;
use crate::worker::{Reply, SourceError};
use plexus_protocol::Constraint;
use serde_json::json;

/// Holds everything that was touched against the constraint on the fields that resolve to it. An effect must have
/// touched something of a constrained kind; a read that found nothing may have touched nothing.
pub(super) fn touched(
    entry: &Capability,
    constraint: Option<&Constraint>,
    touched: &[Touched],
    effect: bool,
) -> Result<(), SourceError> {
    if touched.len() > MAX_TOUCHED {
        return Err(SourceError::transport(
            "too_large",
            format!("it would touch more than {MAX_TOUCHED} things"),
        ));
    }
    let Some(constraint) = constraint else {
        return Ok(());
    };
    for constrainable in &entry.constrainable {
        let field = constrainable.field.as_str();
        let Some(kind) = constrainable.touched.as_deref() else {
            continue;
        };
        if !constraint.is_about(field) {
            continue;
        }
        let mut of_kind = touched.iter().filter(|t| *t.kind == *kind).peekable();
        if effect && of_kind.peek().is_none() {
            return Err(SourceError::constraint_miss(field));
        }
        if of_kind.any(|t| !constraint.lets_pass(field, &json!(t.id.as_str()))) {
            return Err(SourceError::constraint_miss(field));
        }
    }
    Ok(())
}

/// Holds an answer against the limits of its call.
pub(super) fn output(limits: &Limits, reply: &Reply<Output>) -> Result<(), SourceError> {
    if reply.output.len() > limits.frame_bytes as usize {
        return Err(SourceError::transport(
            "too_large",
            format!("the answer is larger than {} bytes", limits.frame_bytes),
        ));
    }
    Ok(())
}
