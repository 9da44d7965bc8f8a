//! Effects whose outcome is unknown: the owner looks and says so; until then the same call is not
//! run again (docs/design.md#the-life-of-a-call).

use super::{Acting, activity, audit::unreadable};
use crate::{
    acts::{act, blocking, event_of},
    desk::Desk,
    table::{Reading, Served},
};
use plexus_edge::reply::Refused;
use plexus_ledger::StoreError;
use plexus_owner::{
    Done,
    activity::CallBasis,
    status::UnsettledCall,
    unsettled::{List, Settle, Settlement, Unsettled, UnsettledRow},
};
use plexus_protocol::{AuditId, PendingId, Timestamp};
use plexus_trust::{Command, Refusal, State as TrustState};
use std::sync::Arc;

pub(super) fn serve(served: Served) -> Served {
    served.with(list).with(settle)
}

/// Each with what its intent said of it: what it was about to change, and what allowed it.
async fn list(desk: Arc<Desk>, _: Reading, _: List) -> Result<Unsettled, Refused> {
    let (state, ledger) = (desk.ledger.snapshot(), desk.ledger.clone());
    let unsettled = all(&state);
    let rows = blocking(move || {
        let mut rows = Vec::new();
        for call in unsettled {
            let id = call.audit_id.as_str().parse().ok();
            let event = id.map(|id| ledger.event(&id)).transpose()?.flatten();
            let intent = event.as_ref().and_then(activity::entry);
            let basis = intent.as_ref().and_then(|intent| intent.basis());
            let item = match &basis {
                Some(CallBasis::Item(id) | CallBasis::Bounded(id)) => PendingId::parse(id).ok(),
                Some(CallBasis::Grant(_)) | None => None,
            };
            let item = item.and_then(|id| state.item(&id));
            rows.push(UnsettledRow {
                begun_at: event.as_ref().map(|event| Timestamp(event.at())),
                pending_id: item.map(|item| item.id.clone()),
                agent_purpose: item.and_then(|item| item.purpose.clone()),
                basis,
                touched: intent.as_ref().and_then(|intent| intent.touched()),
                call,
            });
        }
        Ok(rows)
    });
    let unsettled = rows.await?.map_err(|e: StoreError| unreadable(&e))?;
    Ok(Unsettled { unsettled })
}

/// Every intent of which nobody knows, also where several were for the same call.
pub(super) fn all(state: &TrustState) -> Vec<UnsettledCall> {
    let rows = state.agents.values().flat_map(|agent| {
        agent
            .unknown
            .iter()
            .flat_map(move |((capability, input), unknown)| {
                let intents = [&unknown.intent].into_iter().chain(&unknown.also);
                intents.map(move |intent| UnsettledCall {
                    audit_id: intent.clone(),
                    agent_id: agent.id.clone(),
                    capability_id: capability.clone(),
                    input_digest: *input,
                    at: unknown.at,
                })
            })
    });
    rows.collect()
}

async fn settle(desk: Arc<Desk>, acting: Acting, call: Settle) -> Result<Settlement, Refused> {
    let (happened, in_part) = (call.happened, call.in_part);
    let intent = AuditId::parse(&call.id).map_err(|_| Refusal::NoSuchIntent)?;
    let state = desk.ledger.snapshot();
    let of = state.agents.values().find_map(|agent| {
        let mut unknown = agent.unknown.iter();
        let ((capability, _), _) = unknown.find(|(_, unknown)| unknown.names(&intent))?;
        Some((agent.id.clone(), capability.clone()))
    });
    let (agent, capability) = of.ok_or(Refusal::NoSuchIntent)?;
    let command = Command::SettleUnknown {
        agent,
        intent: intent.clone(),
        happened,
        in_part,
    };
    let receipt = act(&desk, &acting, command).await?;
    let kernel = &desk.edge.kernel;
    let undo = match happened && !in_part {
        true => kernel.undo_of_found(&capability, &intent).await,
        false => None,
    };
    Ok(Settlement {
        ok: Done,
        intent,
        happened,
        in_part,
        audit_id: event_of(&receipt),
        undo,
    })
}
