//! What the owner does through a source: planned, recorded as an intent, committed once, recorded as an outcome.
//!
//! The same path as an agent's effect, without a grant: what allows it is that the owner saw this very plan, so a commit
//! names its state token. Also the owner's questions to a source that no agent can ask.
//!
//! Invariant: nothing here is retried; once the commit frame may have been written, the answer is the worker's outcome
//! or `unknown`; past the deadline it is `unknown`, and what is recorded is still the outcome.

use super::{effect, outcome, read, refusal, settle::Committed};
use crate::{finish::to_its_end, kernel::Kernel};
use plexus_ipc::{
    manifest::{Capability, Manifest},
    message::PlanMade,
};
use plexus_ledger::Lane;
use plexus_protocol::{AuditId, CapabilityId, Digest, ErrorBody, ErrorCode, SourceId, Verb, json};
use plexus_record::audit_id;
use plexus_supervisor::{CallRequest, CommitTerms, DispatchError, Finished, Stands};
use plexus_trust::{Command, Outcome, OutcomeKind};
use serde_json::{Value, value::RawValue};
use std::{sync::Arc, time::Duration, time::Instant};
use tokio::sync::oneshot;

/// What an effect of the owner's came to.
#[derive(Debug)]
pub struct Done {
    /// The event of its intent.
    pub audit: AuditId,
    /// One line without content.
    pub summary: Option<String>,
    /// By which id it can be taken back.
    pub undo: Option<String>,
}

/// A capability of a source, as the owner reaches it: also where a lending has ended and agents have nothing.
#[derive(Clone, Debug)]
pub struct Door {
    /// The capability.
    pub id: CapabilityId,
    source: SourceId,
    manifest: Arc<Manifest>,
    revision: u64,
}

impl Door {
    /// Finds it, and wakes what rests only because a lending has ended.
    ///
    /// # Errors
    /// The source is gone, switched off or cannot be used, or has no such capability.
    pub async fn open(
        kernel: &Kernel,
        source: &SourceId,
        name: &str,
    ) -> Result<Self, Box<ErrorBody>> {
        let gone = |why: String| {
            Box::new(
                ErrorBody::new(ErrorCode::SourceUnavailable, why).next("plexusctl sources list"),
            )
        };
        let state = kernel.ledger.snapshot();
        let known = state.sources.get(source);
        let known = known.ok_or_else(|| gone(format!("The source {source} is not there.")))?;
        let connector = kernel.registry.of_kind(&known.config.kind);
        let manifest = connector.map(|connector| connector.manifest.clone());
        let manifest = manifest
            .filter(|manifest| manifest.capability(name).is_some())
            .ok_or_else(|| gone(format!("The source {source} has no {name}.")))?;
        if known
            .config
            .lent
            .as_ref()
            .is_some_and(|l| l.ended.is_some())
        {
            kernel.put_workers(known).await.map_err(gone)?;
        }
        let id = CapabilityId::of(source, name).map_err(|e| gone(e.to_string()))?;
        Ok(Self {
            id,
            source: source.clone(),
            manifest,
            revision: known.revision,
        })
    }

    /// Whether the source keeps what it replaces.
    pub fn keeps(&self) -> bool {
        self.manifest.kept.is_some()
    }

    /// The name within the source.
    fn name(&self) -> &str {
        self.id
            .as_str()
            .split_once('.')
            .map_or("", |(_, name)| name)
    }

    fn request(&self, input: &Value) -> CallRequest {
        let input = json::canonical(input);
        let name = self.name();
        let limits = |c: &Capability| self.manifest.limits_of(c).call_ms;
        let call_ms = self.manifest.capability(name).map_or(0, limits);
        CallRequest {
            capability: name.to_owned(),
            digest: Digest::of(&input),
            input: input.into(),
            constraint: None,
            deadline: Duration::from_millis(u64::from(call_ms)),
            revision: self.revision,
            owner: true,
            stands: Stands::default(),
            audit: None,
            progress: None,
            late: None,
        }
    }
}

/// Asks the reader what an effect would do. Changes nothing.
///
/// # Errors
/// The worker's refusal, or why there is no answer.
pub async fn plan(kernel: &Kernel, door: &Door, input: &Value) -> Result<Box<PlanMade>, ErrorBody> {
    match kernel
        .supervisor
        .plan(&door.source, door.request(input))
        .await
    {
        Ok(Ok(mut made)) => {
            // As on a card.
            let entry = door.manifest.capability(door.name());
            made.rating = entry.map_or(made.rating, |entry| made.rating.max(entry.rating()));
            Ok(made)
        }
        Ok(Err(error)) => Err(refusal::failed(&error, &door.id)),
        Err(error) => Err(refusal::undispatched_of_owner(&error, &door.id, false)),
    }
}

/// Commits what the owner saw planned. Goes on when the owner's connection ends.
///
/// # Errors
/// The refusal or failure; its `effect` says whether anything was done.
pub async fn commit(
    kernel: &Arc<Kernel>,
    door: &Door,
    input: Value,
    state_token: Digest,
) -> Result<Done, ErrorBody> {
    let (kernel, door) = (kernel.clone(), door.clone());
    let (late, is_late) = oneshot::channel();
    let done = to_its_end(async move {
        let _running = kernel.limits.effect();
        let late = || drop(late.send(refusal::unknown_outcome(&door.id)));
        recorded(&kernel, &door, &input, state_token, late).await
    });
    tokio::select! {
        biased;
        done = done => done,
        Ok(error) = is_late => Err(error),
    }
}

async fn recorded(
    kernel: &Arc<Kernel>,
    door: &Door,
    input: &Value,
    state_token: Digest,
    late: impl FnOnce() + Send,
) -> Result<Done, ErrorBody> {
    let id = &door.id;
    let request = door.request(input);
    let input_bytes = request.input.len() as u64;
    let intent = Command::OwnerIntent {
        capability: id.clone(),
        source_revision: request.revision,
        input: request.digest,
        input_bytes,
        state_token,
    };
    let receipt = kernel
        .ledger
        .submit(intent, Lane::Owner)
        .await
        .map_err(|error| {
            outcome::never_sent(kernel, &error);
            refusal::not_recorded(&error, Some(id))
        })?;
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
    let proof = (&durable, &audit);
    let committed = kernel
        .commit(&door.source, request, terms, proof, late)
        .await;
    // The next start asks what became of it.
    let committed = committed.ok_or_else(|| refusal::unknown_outcome(id))?;
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
    let result = match committed {
        Committed::Settled => Ok(()),
        Committed::Undone => {
            outcome.kind = OutcomeKind::Refused;
            let died = DispatchError::Died { dispatched: false };
            Err(refusal::undispatched_of_owner(&died, id, true))
        }
        Committed::Dispatch(error) => {
            let body = refusal::undispatched_of_owner(&error, id, true);
            outcome.kind = effect::kind_of(&body);
            Err(body)
        }
        Committed::Finished(Finished { result, touched }) => {
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
    if outcome::record(kernel, None, &audit, outcome)
        .await
        .is_err()
    {
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
pub async fn ask(kernel: &Kernel, door: &Door, input: &Value) -> Result<Box<RawValue>, ErrorBody> {
    let Finished { result, .. } = kernel
        .supervisor
        .read(&door.source, door.request(input))
        .await
        .map_err(|error| refusal::undispatched_of_owner(&error, &door.id, false))?;
    let answer = result.map_err(|error| refusal::failed(&error, &door.id))?;
    Ok(answer.output.into_json())
}
