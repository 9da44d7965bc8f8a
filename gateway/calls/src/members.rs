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
    denial::note_denial,
    kernel::Kernel,
    life,
    permit::Authorized,
    refusal,
    under_way::CallUnderWay,
};
use plexus_protocol::{
    AgentId, CapabilityId, Digest, ErrorBody, ErrorCode, PendingId, body::InvokeResponse, json,
};
use plexus_sources::catalogue::Entry;
use plexus_trust::{Refusal, State, standing_for, visible};
use serde_json::{Value, json};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

/// Why a worker says that a workflow ended: the member's own answer says more.
const MEMBER_FAILED: &str = "member_failed";

/// A workflow's call while it is under way.
pub struct Workflow {
    entry: Arc<Entry>,
    input: Arc<Value>,
    /// What the card showed of its members' plans.
    planned: OnceLock<Vec<Option<Digest>>>,
    made: Mutex<Made>,
}

/// What was made of it.
#[derive(Default)]
struct Made {
    /// The members that were called, in order: id, whether it was done, its event, its code.
    over: Vec<Value>,
    /// The refusal or failure of the last.
    failed: Option<ErrorBody>,
}

impl Workflow {
    pub(crate) fn of(asked: &Asked) -> Option<Self> {
        asked.entry.capability().is_workflow().then(|| Self {
            entry: asked.entry.clone(),
            // As the worker gets it: 5.0 is 5 there.
            input: Arc::new(json::parse(&asked.canonical).unwrap_or_default()),
            planned: OnceLock::new(),
            made: Mutex::default(),
        })
    }

    /// Holds its members to what the approved card showed of them.
    pub(crate) fn hold_to(&self, planned: Vec<Option<Digest>>) {
        let _ = self.planned.set(planned);
    }

    fn made(&self) -> MutexGuard<'_, Made> {
        self.made.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Which member this is; none where it is not the one that the manifest has now. A member that failed ends
    /// its workflow; one of reads may be made twice, from its start.
    fn place(&self, id: &str, input: &Value) -> Option<usize> {
        let capability = self.entry.capability();
        let fits = |at: usize| {
            let member = capability.members.get(at);
            member.is_some_and(|member| member.id == id && member.admits(&self.input, input))
        };
        let made = self.made();
        let (next, has_failed) = (made.over.len(), made.failed.is_some());
        drop(made);
        match (capability.is_read(), has_failed) {
            (true, false) => (0..capability.members.len()).find(|at| fits(*at)),
            (true, true) => fits(0).then_some(0),
            (false, false) => fits(next).then_some(next),
            (false, true) => None,
        }
    }

    fn note(&self, at: usize, answer: &InvokeResponse) {
        let mut made = self.made();
        if at == 0 {
            made.over.clear();
        }
        let mut told = json!({"id": answer.id, "ok": answer.ok, "auditId": answer.audit_id});
        if let Some(error) = &answer.error {
            told["code"] = json!(error.code);
        }
        made.over.push(told);
        made.failed.clone_from(&answer.error);
    }
}

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
    let input = json::parse(input).unwrap_or_default();
    let Some(at) = workflow.place(id, &input) else {
        let why = "This is not the member that the workflow calls now.";
        let error = ErrorBody::new(ErrorCode::GrantRequired, why);
        let error = error.next("stop; tell the owner: this workflow does not keep to its manifest");
        return refused(kernel, agent, id, error).await;
    };
    let planned = workflow.planned.get().and_then(|planned| *planned.get(at)?);
    let carried = carried(kernel, call, agent, id, input, (at, planned));
    let answer = match carried.await {
        Ok(answer) => answer,
        Err(error) => refused(kernel, agent, id, *error).await,
    };
    workflow.note(at, &answer);
    answer
}

async fn refused(kernel: &Kernel, agent: &AgentId, id: &str, error: ErrorBody) -> InvokeResponse {
    let audit = Box::pin(note_denial(kernel, agent, None, id, &error)).await;
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
        return Err(Box::new(error.next(look_again(&call.capability))));
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
        return Err(Box::new(error.next("give an input that fits")));
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
        Ok(Authorized::Pend(_)) => Err(refuses(&Refusal::GrantRequired { constraint: None })),
        Err(Refusal::NoChild { why } | Refusal::NoTurn { why }) => {
            let why = format!("The approval of this workflow does not permit {id} now: {why}.");
            let error = ErrorBody::new(ErrorCode::GrantRequired, why).about(&id);
            Err(Box::new(
                error.next("ask for a new approval: call the workflow again"),
            ))
        }
        Err(refusal) => Err(refuses(&refusal)),
    }
}

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
    error.next(format!(
        "withdraw {item} if it is still approved, then ask again with the same call"
    ))
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
            return Some(error.next(format!("stop; tell the owner: {} calls {id}", asked.id())));
        };
        if entry.capability().verbs != member.verbs || entry.capability().is_workflow() {
            let why = format!("{id} is another than when this workflow was added.");
            let error = told(ErrorCode::PreconditionChanged, why);
            return Some(error.next(look_again(asked.id())));
        }
        let may_read = || {
            let unsaved = kernel.revocations.refuses(&agent.id, &id, None);
            unsaved.is_none() && standing_for(&state, agent, &id, now).is_some()
        };
        (member.is_read() && !may_read()).then(|| {
            let why = format!(
                "This workflow reads {id}, for which you have no standing grant. A workflow gives you none."
            );
            told(ErrorCode::GrantRequired, why).next(format!(
                "stop; tell the owner: plexusctl grants allow {} {id} --window 1d",
                agent.id
            ))
        })
    })
}

fn look_again(workflow: &CapabilityId) -> String {
    let (source, _) = workflow.parts();
    format!("stop; tell the owner: plexusctl extension show {source}")
}

/// The failure of a workflow: that of the member that ended it, with all that were called.
pub(crate) fn passed_on(call: &CallUnderWay, error: ErrorBody) -> ErrorBody {
    let Some(workflow) = &call.workflow else {
        return error;
    };
    let made = workflow.made();
    let reason = error.detail.as_ref().map(|detail| &detail["reason"]);
    let by_member = reason.is_some_and(|reason| reason == MEMBER_FAILED);
    let mut told = match made.failed.clone().filter(|_| by_member) {
        Some(failed) => ErrorBody {
            message: error.message,
            effect: error.effect,
            capability_id: failed.capability_id.or(error.capability_id),
            ..failed
        },
        None => error,
    };
    let mut detail = told
        .detail
        .take()
        .filter(Value::is_object)
        .unwrap_or_else(|| json!({}));
    detail["members"] = json!(made.over);
    told.detail(detail)
}
