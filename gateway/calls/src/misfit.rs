//! Inputs that no approval could carry out: told to the agent at once, and the owner is not asked.
//!
//! ```text
//! an effect that says `shownBy` ─ may the agent read by one? ──┬ yes ▸ planned within that grant's constraint ▸ the source's words
//!                                                              └ no  ▸ planned within nothing ▸ the gateway's words
//! ```
//! What becomes of such a plan is told only where the source says that the input is wrong. Else the owner is asked as ever.
//!
//! Invariants: the source looks at nothing that the agent may not read by a standing grant, so neither words nor their
//! absence tell of it; words of a source reach only an agent that may read from it; a source that does not answer in
//! time holds nobody up for longer than `PATIENCE`.
//!
//! Must not know: HTTP, what a source holds.

use crate::{
    approvals::planner::request_of,
    call::{Asked, Caller, CallerProof},
    kernel::Kernel,
    permit::Authorized,
    refusal,
};
use bytes::Bytes;
use plexus_ipc::{manifest::Capability, message::Failure};
use plexus_protocol::{
    AgentId, CapabilityId, Constraint, ErrorBody, ErrorCode, NextKind, constraint::PathPrefix,
};
use plexus_sources::catalogue::Entry;
use plexus_supervisor::{CallRequest, Stands};
use serde_json::{Value, json};
use std::{sync::Arc, time::Duration};

/// How long a call waits to hear that its input is wrong.
const PATIENCE: Duration = Duration::from_secs(2);

/// Why this input of an effect cannot be carried out, as far as the agent may know. Of one that lies outside of a narrowed
/// grant, `beyond_grant`, a narrowed read tells as absent what the owner may allow: it says nothing then.
pub async fn misfit(
    kernel: &Arc<Kernel>,
    agent: &AgentId,
    (entry, input): (&Entry, &Value),
    canonical: Bytes,
    beyond_grant: bool,
) -> Option<ErrorBody> {
    let capability = entry.capability();
    let mut reads = capability.shown_by.as_ref()?.names().iter();
    let seen = reads.find_map(|read| seen(kernel, agent, entry, read, input));
    let may_read = seen.is_some();
    if let (false, Some(field)) = (may_read, no_path(capability, input)) {
        return Some(in_our_words(capability, Some(field)).about(&entry.id));
    }
    let constraint = match seen {
        Some(Some(_)) if beyond_grant => return None,
        Some(constraint) => constraint,
        None => Some(nothing(capability)?),
    };
    let stands = Stands::while_so({
        let (kernel, agent) = (kernel.clone(), agent.clone());
        move || kernel.ledger.snapshot().agent(&agent).is_some()
    });
    let request = CallRequest {
        deadline: PATIENCE,
        ..request_of(kernel, entry, canonical, constraint, stands)
    };
    let Ok(Err(error)) = kernel.plan(&entry.source, request).await else {
        return None;
    };
    match (&error.code, may_read) {
        (Failure::InvalidInput, false) => {
            let named = error.detail.as_ref();
            let named = named.and_then(|detail| detail["field"].as_str());
            Some(in_our_words(capability, named).about(&entry.id))
        }
        (code, true) if is_of_the_input(code) => Some(refusal::failed(&error, &entry.id)),
        _ => None,
    }
}

/// Whether another input is what helps, and not another time or another owner.
fn is_of_the_input(code: &Failure) -> bool {
    match code {
        Failure::InvalidInput | Failure::PreconditionChanged { .. } => true,
        Failure::TransportError { reason } => refusal::OF_THE_INPUT.contains(&reason.as_str()),
        _ => false,
    }
}

/// The field with a path that is none, by its spelling: nothing on a disk decides what an agent that may not read hears.
fn no_path<'c>(capability: &'c Capability, input: &Value) -> Option<&'c str> {
    let mut fields = capability.constrainable.iter();
    // Elsewhere it is a name or an id, with any spelling.
    let is_path = |kind: &str| matches!(kind, "file" | "note");
    let field = fields.find(|one| one.touched.as_deref().is_some_and(is_path))?;
    let field = field.field.as_str();
    let path = input[field].as_str()?;
    let mut parts = path.strip_suffix('/').unwrap_or(path).split('/');
    let is_none = parts.any(|part| matches!(part, "" | "..")) || path.chars().any(char::is_control);
    is_none.then_some(field)
}

/// The narrowing under which the agent may read what a plan looks at; none where it may not read there.
fn seen(
    kernel: &Arc<Kernel>,
    agent: &AgentId,
    entry: &Entry,
    shown_by: &str,
    input: &Value,
) -> Option<Option<Constraint>> {
    let id = CapabilityId::parse(&format!("{}.{shown_by}", entry.source)).ok()?;
    let read = kernel.catalogue.load().get(&id).cloned()?;
    let caller = Caller {
        agent: agent.clone(),
        by: CallerProof::Grant,
    };
    match Asked::new(caller, read, input.clone()).authorize(kernel) {
        Ok(Authorized::Yes(permitted)) => {
            let constraint = permitted.permit().constraint.clone();
            can_narrow(entry.capability(), constraint.as_ref()).then_some(constraint)
        }
        Ok(Authorized::Pend { .. }) | Err(_) => None,
    }
}

/// Whether an effect can be planned within a narrowing of the read: what it has no field for would be looked at in full.
fn can_narrow(effect: &Capability, constraint: Option<&Constraint>) -> bool {
    let mut fields = constraint.into_iter().flat_map(Constraint::fields);
    fields.all(|field| effect.constrainable.iter().any(|one| one.field == field))
}

/// A constraint that no plan fits that looks at anything; none where the capability cannot be narrowed so.
fn nothing(capability: &Capability) -> Option<Constraint> {
    let mut fields = capability.constrainable.iter();
    let field = fields.find(|one| one.touched.is_some())?.field.clone();
    Some(Constraint {
        path_prefix: Some(PathPrefix {
            field,
            allow: Vec::new(),
        }),
        allow: None,
        rules: Vec::new(),
        max_calls: None,
    })
}

/// The manifest's words for the field that the source says is wrong: an agent that may not read from a source is told
/// nothing that the source could choose but that field.
fn in_our_words(capability: &Capability, named: Option<&str>) -> ErrorBody {
    let properties = capability
        .input
        .as_ref()
        .map(|schema| &schema["properties"]);
    let field = named.zip(properties).and_then(|(name, properties)| {
        let words = properties.get(name)?["description"].as_str()?;
        Some((name, words))
    });
    let why = match field {
        Some((name, words)) => format!("No call can have this input. {name}: {words}"),
        None => "No call can have this input, whatever is there.".to_owned(),
    };
    let told = ErrorBody::new(ErrorCode::SchemaValidationFailed, why)
        .then(NextKind::LookUp, "fix the input, then repeat the call");
    match field {
        Some((name, _)) => told.detail(json!({"field": name})),
        None => told,
    }
}
