//! What the owner does through a source: planned, recorded as an intent, committed once, recorded as an outcome.
//!
//! The same path as an agent's effect, without a grant: what allows it is that the owner saw this very plan, so a commit
//! names its state token. Also the owner's questions to a source that no agent can ask.
//!
//! Invariant: nothing here is retried; once the commit frame may have been written, the answer is the worker's outcome
//! or `unknown`.

use super::{effect, read, refusal};
use crate::{
    app::App,
    finish::to_its_end,
    machine::audit_id,
    sources::catalogue::Entry,
    supervisor::{CallRequest, CommitTerms, DispatchError, Finished, Stands},
};
use plexus_ipc::{
    manifest::{Capability, Manifest},
    message::PlanMade,
};
use plexus_ledger::Lane;
use plexus_protocol::{AuditId, Digest, ErrorBody, ErrorCode, SourceId, Verb, json};
use plexus_trust::{Command, Outcome, OutcomeKind};
use serde_json::{Value, value::RawValue};
use std::{sync::Arc, time::Duration, time::Instant};

/// What an effect of the owner's came to.
#[derive(Debug)]
pub(crate) struct Done {
    /// The event of its intent.
    pub(crate) audit: AuditId,
    /// One line without content.
    pub(crate) summary: Option<String>,
    /// By which id it can be taken back.
    pub(crate) undo: Option<String>,
}

/// Asks the reader what an effect would do. Changes nothing.
///
/// # Errors
/// The worker's refusal, or why there is no answer.
pub(crate) async fn plan(
    app: &App,
    entry: &Entry,
    input: &Value,
) -> Result<Box<PlanMade>, ErrorBody> {
    let request = request(app, &entry.source, &entry.connector.manifest, entry.capability(), input);
    match app.supervisor.plan(&entry.source, request).await {
        Ok(Ok(made)) => Ok(made),
        Ok(Err(error)) => Err(refusal::failed(&error, &entry.id)),
        Err(error) => Err(refusal::undispatched(&error, &entry.id, false)),
    }
}

/// Commits what the owner saw planned. Goes on when the owner's connection ends.
///
/// # Errors
/// The refusal or failure; its `effect` says whether anything was done.
pub(crate) async fn commit(
    app: &Arc<App>,
    entry: &Arc<Entry>,
    input: Value,
    state_token: Digest,
) -> Result<Done, ErrorBody> {
    let (app, entry) = (app.clone(), entry.clone());
    to_its_end(async move {
        let _running = app.limits.effect();
        recorded(&app, &entry, &input, state_token).await
    })
    .await
}

async fn recorded(
    app: &Arc<App>,
    entry: &Entry,
    input: &Value,
    state_token: Digest,
) -> Result<Done, ErrorBody> {
    let id = &entry.id;
    let request = request(app, &entry.source, &entry.connector.manifest, entry.capability(), input);
    let input_bytes = request.input.len() as u64;
    let intent = Command::OwnerIntent {
        capability: id.clone(),
        source_revision: request.revision,
        input: request.digest,
        input_bytes,
        state_token,
    };
    let receipt = app
        .ledger
        .submit(intent, Lane::Owner)
        .await
        .map_err(|error| refusal::not_recorded(&error, Some(id)))?;
    let durable = receipt.durable.ok_or_else(|| {
        let why = "The intent left no record, so nothing was done.";
        ErrorBody::new(ErrorCode::AuditUnavailable, why).about(id)
    })?;
    let audit = audit_id(durable.audit_id());
    let started = Instant::now();
    let terms = CommitTerms {
        state_token: Some(state_token),
        expect: None,
        // The owner saw what it amounts to.
        permit_rating: Verb::Execute,
    };
    let committed = app
        .supervisor
        .commit(&entry.source, request, terms, &durable)
        .await;
    let settled = match &committed {
        Err(DispatchError::Died { dispatched: true }) => Some(app.settled(&audit, id).await),
        _ => None,
    };
    let mut outcome = Outcome {
        kind: OutcomeKind::Ok,
        code: None,
        reason: None,
        input_bytes,
        output_bytes: 0,
        touched: Vec::new(),
        summary: None,
        undo: None,
        micros: u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX),
    };
    let result = match (committed, settled) {
        (_, Some(OutcomeKind::Ok)) => Ok(()),
        (_, Some(OutcomeKind::Failed | OutcomeKind::Refused)) => {
            outcome.kind = OutcomeKind::Failed;
            let died = DispatchError::Died { dispatched: false };
            Err(refusal::undispatched(&died, id, true))
        }
        (Err(error), _) => {
            let body = refusal::undispatched(&error, id, true);
            outcome.kind = effect::kind_of(&body);
            Err(body)
        }
        (Ok(Finished { result, touched }), _) => {
            outcome.touched = read::touches(&touched);
            match result {
                Ok(answer) => {
                    outcome.output_bytes = answer.output.len() as u64;
                    outcome.summary = Some(answer.summary.as_str().to_owned());
                    outcome.undo = answer.undo.as_ref().map(|undo| undo.as_str().to_owned());
                    Ok(())
                }
                Err(error) => {
                    let body = refusal::failed(&error, id);
                    outcome.kind = effect::kind_of(&body);
                    Err(body)
                }
            }
        }
    };
    if let Err(body) = &result {
        outcome.code = Some(body.code.as_str().to_owned());
        let reason = body.detail.as_ref().and_then(|d| d.get("reason"));
        outcome.reason = reason.and_then(Value::as_str).map(str::to_owned);
    }
    let (summary, undo) = (outcome.summary.clone(), outcome.undo.clone());
    let over = Command::Outcome {
        intent: audit.clone(),
        outcome,
    };
    if let Err(error) = app.ledger.submit(over, Lane::Owner).await {
        tracing::error!(%error, intent = %audit, "an outcome could not be recorded");
        return Err(refusal::unknown_outcome(id));
    }
    result.map(|()| Done {
        audit,
        summary,
        undo,
    })
}

/// Asks a source something that only the owner may ask. It leaves no event: the owner's own look at what is his.
///
/// # Errors
/// The worker's refusal, or why there is no answer.
pub(crate) async fn ask(
    app: &App,
    source: &SourceId,
    name: &str,
    input: &Value,
) -> Result<Box<RawValue>, ErrorBody> {
    let gone = || {
        ErrorBody::new(ErrorCode::SourceUnavailable, format!("The source {source} is not there."))
            .next("plexusctl sources list")
    };
    let manifest = {
        let state = app.ledger.snapshot();
        let config = state.sources.get(source).ok_or_else(gone)?;
        app.registry
            .of_kind(&config.config.kind)
            .ok_or_else(gone)?
            .manifest
            .clone()
    };
    let capability = manifest.capability(name).ok_or_else(gone)?;
    let about = plexus_protocol::CapabilityId::of(source, name).map_err(|_| gone())?;
    let request = request(app, source, &manifest, capability, input);
    let Finished { result, .. } = app
        .supervisor
        .read(source, request)
        .await
        .map_err(|error| refusal::undispatched(&error, &about, false))?;
    let answer = result.map_err(|error| refusal::failed(&error, &about))?;
    read::raw(&answer.output).map_err(|_| {
        let why = "The source gave an answer that is not JSON.";
        ErrorBody::new(ErrorCode::TransportError, why).next("plexusctl sources list")
    })
}

fn request(
    app: &App,
    source: &SourceId,
    manifest: &Manifest,
    capability: &Capability,
    input: &Value,
) -> CallRequest {
    let input = json::canonical(input);
    let state = app.ledger.snapshot();
    CallRequest {
        capability: capability.name.clone(),
        digest: Digest::of(&input),
        input: input.into(),
        constraint: None,
        deadline: Duration::from_millis(u64::from(manifest.limits_of(capability).call_ms)),
        revision: state.sources.get(source).map_or(0, |s| s.revision),
        owner: true,
        stands: Stands::default(),
        audit: None,
        progress: None,
    }
}
