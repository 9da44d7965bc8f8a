//! The states of a plan as the wire has them, told apart in one place.

use super::{heading, member, object};
use crate::owner::list_of;
use serde_json::{Map, Value};

/// What is known of what a call would do.
#[derive(Clone, Copy)]
pub(super) enum State<'p> {
    /// Nothing is computed for it: a read, or a request without input.
    None,
    /// It is being computed.
    Making,
    /// It could not be computed.
    Failed(&'p Map<String, Value>),
    /// It is there.
    Made(&'p Map<String, Value>),
    /// A form that is not known here.
    Unknown(&'p Value),
}

/// The state of an ask's plan.
pub(super) fn of(ask: &Value) -> State<'_> {
    match &ask["plan"] {
        Value::Null => State::None,
        Value::String(word) if word == "making" => State::Making,
        Value::Object(members) if members.contains_key("error") => State::Failed(members),
        Value::Object(members) => State::Made(members),
        other => State::Unknown(other),
    }
}

/// The plan of `ask` where it is made; in any other state that state is said.
pub(super) fn made<'p>(card: &mut String, ask: &'p Value) -> Option<&'p Map<String, Value>> {
    match of(ask) {
        State::None => {}
        State::Making => heading(card, "  plan", "it is still being made"),
        State::Failed(members) => {
            let said = "it FAILED: this can be denied, not approved";
            heading(card, "  plan", said);
            object(card, 2, members);
        }
        State::Made(members) => return Some(members),
        State::Unknown(other) => member(card, 1, "plan", other),
    }
    None
}

/// Whether a plan of `item` is still being made; until then it has no digest (docs/design.md#approvals).
pub(in super::super) fn is_planning(item: &Value) -> bool {
    let mut asks = list_of(item, "asks").iter();
    asks.any(|ask| matches!(of(ask), State::Making))
}

/// Whether a plan of `item` could not be computed: there is nothing to approve.
pub(in super::super) fn has_failed(item: &Value) -> bool {
    let mut asks = list_of(item, "asks").iter();
    asks.any(|ask| matches!(of(ask), State::Failed(_)))
}

/// Whether `item` can only be denied, or planned again; of a question: is answered by a command of its own.
pub(in super::super) fn is_lost(item: &Value) -> bool {
    let is_form = item["question"]["fields"].is_array();
    is_form || item["problems"].is_array() || has_failed(item)
}
