//! What an act ended, in lines: tokens, requests, approvals, and calls that were on their way; and the requests it answered.

use crate::calls;
use plexus_client::text;
use plexus_protocol::{AuditId, PendingId, TokenId, body::CancelledCall, words};

/// What a revoke ended besides the grant: tokens, approvals, and calls that were sent before it; and whether its reason was cut.
pub(crate) fn ended(
    reason: Option<&str>,
    tokens: &[TokenId],
    items: &[PendingId],
    cancelled: &[CancelledCall],
    in_flight: &[AuditId],
) -> String {
    let long = words::given_reason(reason).err();
    format!(
        "; tokens ended: {}{}{}{}",
        tokens.len(),
        ended_items(items),
        sent_before(cancelled, in_flight),
        long.map_or_else(String::new, |long| format!("\nthe reason was cut: {long}"))
    )
}

/// The requests and approvals that an act ended, as a line of their own.
pub(crate) fn ended_items(items: &[PendingId]) -> String {
    if items.is_empty() {
        return String::new();
    }
    format!("\nrequests and approvals ended: {}", few_or_count(items))
}

/// Ids that are named; of more their number says as much.
const NAMED: usize = 5;

fn few_or_count(items: &[PendingId]) -> String {
    match items.len() {
        0..=NAMED => text::listed(items, ", "),
        many => many.to_string(),
    }
}

/// The requests that waited and that a new grant answered, behind `before`; nothing where there are none.
pub(crate) fn also_answered(before: &str, items: &[PendingId]) -> String {
    match items {
        [] => String::new(),
        items => format!(
            "{before}requests that waited for this and need no answer of yours: {}",
            few_or_count(items)
        ),
    }
}

/// How many calls that the owner had denied may be made or asked for again, behind `before`.
pub(crate) fn denials_ended(before: &str, count: usize) -> String {
    match count {
        0 => String::new(),
        count => format!(
            "{before}denials ended: {count} (calls that you had denied are refused no more)"
        ),
    }
}

/// The calls that an act has asked to stop, and those that it came too late for; each kind is a line.
pub(crate) fn sent_before(cancelled: &[CancelledCall], in_flight: &[AuditId]) -> String {
    let said = calls::cancelled(cancelled).map_or_else(String::new, |said| format!("\n{said}"));
    let is_cancelled = |id: &AuditId| {
        cancelled
            .iter()
            .any(|call| call.audit_id.as_ref() == Some(id))
    };
    let flying: Vec<_> = in_flight.iter().filter(|id| !is_cancelled(id)).collect();
    match &flying[..] {
        [] => said,
        flying => {
            let flying = text::listed(flying, ", ");
            format!("{said}\nalready sent before this, and not stopped: {flying}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use plexus_protocol::CapabilityId;

    #[test]
    fn many_ended_requests_are_counted() {
        let many: Vec<_> = (0..=NAMED).map(|_| PendingId::fresh()).collect();
        assert_eq!(ended_items(&many), "\nrequests and approvals ended: 6");
        assert!(ended_items(&many[1..]).ends_with(many[NAMED].as_str()));
    }

    #[test]
    fn a_revoke_names_what_it_could_not_stop() {
        let event = |id: &str| AuditId::parse(&format!("evt_{id}")).unwrap();
        let [one, two] = [
            "00000000-0000-4000-8000-000000000001",
            "00000000-0000-4000-8000-000000000002",
        ]
        .map(event);
        let run = CancelledCall {
            id: "call_1".to_owned(),
            audit_id: Some(two.clone()),
            capability_id: CapabilityId::parse("codex.run").unwrap(),
        };
        let item = PendingId::fresh();
        assert_eq!(
            ended(
                Some(&"x".repeat(281)),
                &[TokenId::fresh()],
                std::slice::from_ref(&item),
                &[run],
                &[one.clone(), two.clone()]
            ),
            format!(
                "; tokens ended: 1\nrequests and approvals ended: {item}\nasked to stop, and perhaps done all the same: codex.run ({two})\n\
                 already sent before this, and not stopped: {one}\n\
                 the reason was cut: a reason has 280 characters at most, and this one has 281"
            )
        );
    }
}
