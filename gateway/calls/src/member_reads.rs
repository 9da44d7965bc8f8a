//! What a workflow stands on beside its own approval: its members in the agent's view, and the grants of those that read.
//!
//! Invariant: a workflow gives its caller nothing: what a member reads the agent may read by a grant of its own.
//!
//! Must not know: how a member is called.

use crate::{call::Asked, kernel::Kernel, refusal};
use plexus_protocol::{AgentId, CapabilityId, ErrorBody, ErrorCode, NextKind, PendingId};
use plexus_trust::{Refusal, State, standing_for, visible};
use serde_json::{Value, json};

/// What the read members of the workflow `id` are read on now, in order: of each its grant, its narrowing and the revision of
/// its source. Empty where `id` is no workflow, or reads nothing; none where a grant is gone or suspended. One whose calls are
/// used up, or whose time is over, allowed what was read by then.
pub(crate) fn read_on(kernel: &Kernel, agent: &AgentId, id: &CapabilityId) -> Option<Vec<Value>> {
    let catalogue = kernel.catalogue.load();
    let Some(workflow) = catalogue
        .get(id)
        .map(|entry| entry.capability())
        .filter(|one| one.is_workflow())
    else {
        return Some(Vec::new());
    };
    let state = kernel.ledger.snapshot();
    let reads = workflow.members.iter().filter(|one| one.is_read());
    let reads = reads.map(|member| {
        let id = CapabilityId::parse(&member.id).ok()?;
        let unsaved = kernel.revocations.refuses(agent, &id, None);
        match unsaved {
            Some(_) => None,
            None => one_on(&state, agent, &id),
        }
    });
    reads.collect()
}

fn one_on(state: &State, agent: &AgentId, id: &CapabilityId) -> Option<Value> {
    let (source, _) = state.capability(id).filter(|_| state.exposed(id))?;
    let grant = state.agent(agent)?.grants.get(id)?;
    let on = || json!([id, grant.serial, grant.constraint, source.revision]);
    grant.suspended.is_none().then(on)
}

/// The refusal of a workflow whose members could no longer be held to what its card showed of them.
pub(crate) fn plans_are_gone(id: &CapabilityId, item: &PendingId) -> ErrorBody {
    let why = "The gateway restarted since this was approved, and the plans of its members are gone. Nothing was done.";
    let error = ErrorBody::new(ErrorCode::PreconditionChanged, why).about(id);
    error.then(
        NextKind::Retry,
        format!("withdraw {item} if it is still approved, then ask again with the same call"),
    )
}

/// Why a workflow is not begun: a member is not there, is another than it was, or reads what the agent may not
/// read by itself.
pub(crate) fn stopped_by(kernel: &Kernel, asked: &Asked) -> Option<ErrorBody> {
    if !asked.entry.capability().is_workflow() {
        return None;
    }
    let state = kernel.ledger.snapshot();
    let agent = state.agent(&asked.caller.agent)?;
    let now = state.time(kernel.clock.now());
    let catalogue = kernel.catalogue.load();
    let mut members = asked.entry.capability().members.iter();
    members.find_map(|member| {
        let id = CapabilityId::parse(&member.id).ok()?;
        let told = |code, why: String| ErrorBody::new(code, why).about(&id);
        if state.capability(&id).is_some() && !state.exposed(&id) {
            return Some(refusal::refused(&Refusal::Unexposed, Some(&id)));
        }
        let entry = catalogue.get(&id).filter(|_| visible(&state, agent, &id, now));
        let Some(entry) = entry else {
            let why = format!("This workflow calls {id}, which is not in your view.");
            let error = told(ErrorCode::UnknownCapability, why);
            return Some(error.then(NextKind::Stop, format!("stop; tell the owner: {} calls {id}", asked.id())));
        };
        if entry.capability().verbs != member.verbs || entry.capability().is_workflow() {
            let why = format!("{id} is another than when this workflow was added.");
            let error = told(ErrorCode::PreconditionChanged, why);
            return Some(error.then(NextKind::Stop, look_again(asked.id())));
        }
        let may_read = || {
            let unsaved = kernel.revocations.refuses(&agent.id, &id, None);
            unsaved.is_none() && standing_for(&state, agent, &id, now).is_some()
        };
        (member.is_read() && !may_read()).then(|| {
            let why = format!(
                "This workflow reads {id}, for which you have no standing grant. A workflow gives you none."
            );
            told(ErrorCode::GrantRequired, why).then(NextKind::Stop, format!(
                "stop; tell the owner: plexusctl grants allow {} {id} --window 1d",
                agent.id
            ))
        })
    })
}

pub(crate) fn look_again(workflow: &CapabilityId) -> String {
    let (source, _) = workflow.parts();
    format!("stop; tell the owner: plexusctl extension show {source}")
}
