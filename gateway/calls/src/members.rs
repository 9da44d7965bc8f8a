//! Members of a workflow: calls that its worker makes for the agent that called it (docs/design.md#bounded-approvals).
//!
//! ```text
//! worker ─▶ the next member, with an input that the manifest admits ─┬─ a read: the agent's own standing grant
//!             └─ no: refused                                         └─ an effect: the approval of the workflow's call
//! ```
//! Invariants: each is a call of the agent itself, decided and recorded like any other; a workflow gives its caller nothing:
//! what a member reads the agent may read by a grant of its own, what it changes stands on the card; the members of an effect
//! come in the order of the manifest, each once; a value of an earlier answer goes where the manifest has it, and nowhere else.
//!
//! Must not know: HTTP, what a member does.

use crate::{
    call::{Asked, Caller, CallerProof},
    denial::{RefusedCall, note_denial},
    kernel::Kernel,
    life, member_reads,
    permit::Authorized,
    refusal,
    under_way::CallUnderWay,
    workflow::Workflow,
};
use plexus_protocol::{
    AgentId, CapabilityId, Digest, ErrorBody, ErrorCode, NextKind, body::InvokeResponse, json,
};
use plexus_trust::Refusal;
use serde_json::Value;
use std::sync::Arc;

/// Calls `id` for the workflow whose call is `call`.
pub(crate) async fn answer(
    kernel: &Arc<Kernel>,
    call: &CallUnderWay,
    workflow: &Workflow,
    id: &str,
    input: &[u8],
) -> InvokeResponse {
    let Some(agent) = call.principal.agent() else {
        let error = ErrorBody::new(
            ErrorCode::GrantRequired,
            "The owner's own call has no members.",
        );
        return InvokeResponse::refused(id, error.next("call them one by one"), None);
    };
    let sent = input;
    let input = json::parse_wide(sent).unwrap_or_default();
    let Some(at) = workflow.place(id, &input) else {
        let why = "This is not the member that the workflow calls now.";
        let error = ErrorBody::new(ErrorCode::GrantRequired, why);
        let error = error.then(
            NextKind::Stop,
            "stop; tell the owner: this workflow does not keep to its manifest",
        );
        let call = RefusedCall::from((agent, id)).with(&input);
        return refused(kernel, call, id, error).await;
    };
    let planned = workflow.planned(at);
    let carried = carried(kernel, call, agent, id, input, (at, planned));
    let answer = match carried.await {
        Ok(answer) => answer,
        Err(error) => {
            let input = json::parse_wide(sent).unwrap_or_default();
            let call = RefusedCall::from((agent, id)).with(&input);
            refused(kernel, call, id, *error).await
        }
    };
    workflow.note(at, &answer);
    answer
}

async fn refused(
    kernel: &Kernel,
    call: RefusedCall<'_>,
    id: &str,
    error: ErrorBody,
) -> InvokeResponse {
    let audit = Box::pin(note_denial(kernel, call, &error)).await;
    InvokeResponse::refused(id, error, audit.as_ref())
}

async fn carried(
    kernel: &Arc<Kernel>,
    call: &CallUnderWay,
    agent: &AgentId,
    id: &str,
    input: Value,
    (at, planned): (usize, Option<Digest>),
) -> Result<InvokeResponse, Box<ErrorBody>> {
    let id = CapabilityId::parse(id).ok();
    let entry = id.and_then(|id| kernel.catalogue.load().get(&id).cloned());
    let unknown = || Box::new(refusal::refused(&Refusal::UnknownCapability, None));
    let entry = entry.ok_or_else(unknown)?;
    let id = entry.id.clone();
    let refuses = |refusal: &Refusal| Box::new(refusal::refused(refusal, Some(&id)));
    kernel.admit(agent)?;
    let _place = kernel.place(agent)?;
    let state = kernel.ledger.snapshot();
    if let Some(by) = call.cancelled_by() {
        return Err(Box::new(refusal::cancelled(by, &id)));
    }
    let is_same = |epoch| state.agent(agent).is_some_and(|agent| agent.epoch == epoch);
    if !call.principal.epoch().is_some_and(is_same) {
        return Err(refuses(&Refusal::SessionExpired));
    }
    let mut needed = [&call.capability, &id].into_iter();
    if let Some(hidden) = needed.find(|id| !state.exposed(id)) {
        return Err(Box::new(refusal::refused(
            &Refusal::Unexposed,
            Some(hidden),
        )));
    }
    let is_read = entry.capability().is_read();
    if call.is_read && !is_read {
        let why = "A read changes nothing, so it calls reads alone.";
        let error = ErrorBody::new(ErrorCode::GrantRequired, why).about(&id);
        return Err(Box::new(
            error.then(NextKind::Stop, member_reads::look_again(&call.capability)),
        ));
    }
    let by = match is_read {
        true => CallerProof::Grant,
        false => {
            let open = call
                .intent()
                .and_then(|intent| state.open_intents.get(intent));
            let item = open.and_then(|open| open.item.clone());
            CallerProof::Turn(item.ok_or_else(|| refuses(&Refusal::NoSuchItem))?)
        }
    };
    drop(state);
    let agent = agent.clone();
    let asked = Asked::new(Caller { agent, by }, entry, input);
    if let Err(why) = asked.entry.check(&asked.input) {
        let error = ErrorBody::new(ErrorCode::SchemaValidationFailed, why).about(&id);
        return Err(Box::new(
            error.then(NextKind::LookUp, "give an input that fits"),
        ));
    }
    let entered = life::enter(kernel, &asked, None);
    match asked.authorize(kernel) {
        Ok(Authorized::Yes(permitted)) => {
            // Each member is one run of the approval, by its place.
            let name = (!is_read).then(|| Digest::of(at.to_string().as_bytes()));
            let permitted = Box::new(permitted.held_to(planned));
            let performed = life::perform(kernel, permitted, entered, None, name);
            Ok(Box::pin(performed).await.body)
        }
        Ok(Authorized::Pend { .. }) => Err(refuses(&Refusal::GrantRequired { constraint: None })),
        Err(Refusal::NoChild { why } | Refusal::NoTurn { why }) => {
            let why = format!("The approval of this workflow does not permit {id} now: {why}.");
            let error = ErrorBody::new(ErrorCode::GrantRequired, why).about(&id);
            Err(Box::new(error.then(
                NextKind::Retry,
                "ask for a new approval: call the workflow again",
            )))
        }
        Err(refusal) => Err(refuses(&refusal)),
    }
}
