//! The life of a call, from a body to an answer (DESIGN 4).
//!
//! ```text
//! body ─parse─▶ Asked ─authorize─▶ Permitted ─┬ read:   dispatch ─▶ InFlight ─record─▶ disclose(Durable)
//!                  └─pend─▶ item               └ effect: record ─▶ Durable ─▶ dispatch ─▶ record ─▶ answer
//! ```
//! Invariants, by types: nothing is dispatched that is not [`Permitted`]; a commit needs the `Durable` of its intent;
//! the output of a read leaves [`InFlight`] only against the `Durable` of its event. After dispatch of an effect the
//! answer is what happened or `unknown`, never an invitation to try again.
//!
//! Must not know: HTTP.

use crate::kernel::Kernel;
use crate::{
    effect,
    limits::Place,
    pend, read,
    refusal::{self, refused},
    replay, runs,
};
use bytes::Bytes;
use plexus_ipc::manifest::EntryKind;
use plexus_protocol::{
    AgentId, AuditId, CapabilityId, Digest, Effect, ErrorBody, ErrorCode, PendingId, SessionId,
    TokenId, body::InvokeResponse, json,
};
use plexus_record::audit_id;
use plexus_sources::catalogue::Entry;
use plexus_trust::{
    Call, Command, Door, Note, OnApproval, OutcomeKind, Permit, Refusal, Verdict, authorize,
};
use serde_json::Value;
use std::{sync::Arc, time::Instant};
use tokio::sync::oneshot;

/// Who calls, proven.
#[derive(Clone, Debug)]
pub struct Caller {
    /// The agent.
    pub agent: AgentId,
    /// The proof.
    pub by: By,
}

/// With what it was proven.
#[derive(Clone, Debug)]
pub enum By {
    /// A scoped token.
    Token {
        /// Its id.
        jti: TokenId,
        /// The session that it was made in.
        session: SessionId,
    },
    /// A session alone.
    Session(SessionId),
    /// The gateway itself, for what the owner approved.
    Approval(PendingId),
}

impl By {
    fn door(&self) -> Door<'_> {
        match self {
            Self::Token { jti, .. } => Door::Token(jti),
            Self::Session(session) => Door::Session(session),
            Self::Approval(item) => Door::Approved(item),
        }
    }
    /// The session, where an agent asks itself.
    pub fn session(&self) -> Option<&SessionId> {
        match self {
            Self::Token { session, .. } | Self::Session(session) => Some(session),
            Self::Approval(_) => None,
        }
    }
}

/// What is wished for, as the body says it.
pub struct Wish {
    /// The capability, as it was typed.
    pub id: String,
    /// Its input.
    pub input: Value,
    /// Why, in the agent's words.
    pub purpose: Option<String>,
    /// What an approval is to do.
    pub on_approval: OnApproval,
    /// Whether the answer is a run's handle.
    pub in_background: bool,
    /// The idempotency key.
    pub key: Option<String>,
}

/// A call of a known capability with a parsed input.
#[derive(Clone)]
pub struct Asked {
    /// Who asks.
    pub caller: Caller,
    pub(crate) entry: Arc<Entry>,
    pub(crate) input: Arc<Value>,
    /// RFC 8785: exactly what the worker gets.
    pub(crate) canonical: Bytes,
    pub(crate) digest: Digest,
}

/// A call that may go on. Made only by [`Asked::authorize`].
pub(crate) struct Permitted {
    pub(crate) asked: Asked,
    pub(crate) permit: Permit,
}

/// What [`Asked::authorize`] came to.
enum Authorized {
    Yes(Box<Permitted>),
    Pend(Box<Asked>),
}

/// An answer and the status it travels with.
pub struct Answer {
    /// HTTP's.
    pub status: u16,
    /// What the wire says.
    pub body: InvokeResponse,
}

impl Answer {
    /// A call that was not made.
    pub fn refused(id: &str, error: ErrorBody, audit: Option<&AuditId>) -> Self {
        Self {
            status: error.code.status(),
            body: InvokeResponse::refused(id, error, audit),
        }
    }
    /// Something that was dispatched is answered with 200, whatever came of it (wire §4.9).
    pub(crate) fn dispatched(body: InvokeResponse) -> Self {
        Self { status: 200, body }
    }
}

impl Asked {
    /// With the canonical form and digest of `input`.
    pub fn new(caller: Caller, entry: Arc<Entry>, input: Value) -> Self {
        let canonical = Bytes::from(json::canonical(&input));
        let digest = Digest::of(&canonical);
        Self {
            caller,
            entry,
            input: Arc::new(input),
            canonical,
            digest,
        }
    }

    /// The capability.
    pub fn id(&self) -> &CapabilityId {
        &self.entry.id
    }

    fn authorize(self, kernel: &Kernel) -> Result<Authorized, Refusal> {
        if let Some(refusal) = self.held_back(kernel) {
            return Err(refusal);
        }
        let state = kernel.ledger.snapshot();
        let call = Call {
            agent: &self.caller.agent,
            capability: &self.entry.id,
            input: &self.input,
            digest: self.digest,
        };
        let verdict = authorize(&state, call, self.caller.by.door(), kernel.clock.now());
        let late = kernel
            .late
            .refuses(&self.caller.agent, self.id(), self.digest);
        match (verdict, late) {
            (Verdict::Refuse(refusal), _) | (_, Some(refusal)) => Err(refusal),
            (Verdict::Permit(permit), None) => Ok(Authorized::Yes(Box::new(Permitted {
                permit: *permit,
                asked: self,
            }))),
            (Verdict::Pend, None) => Ok(Authorized::Pend(Box::new(self))),
        }
    }

    /// The refusal where the owner took back what this stands on and it could not be saved.
    fn held_back(&self, kernel: &Kernel) -> Option<Refusal> {
        let token = match &self.caller.by {
            By::Token { jti, .. } => Some(jti),
            By::Session(_) | By::Approval(_) => None,
        };
        kernel
            .taken_back
            .refuses(&self.caller.agent, &self.entry.id, token)
    }
}

/// Carries a call through, or says why not. Effects go on when the returned future is dropped; reads do not.
/// `place` becomes the call's own, and lasts as long as the caller of this keeps it.
pub async fn invoke(
    kernel: &Arc<Kernel>,
    caller: Caller,
    wish: Wish,
    place: &mut Option<Place>,
) -> Answer {
    let known = CapabilityId::parse(&wish.id)
        .ok()
        .and_then(|id| kernel.catalogue.load().get(&id).cloned());
    let Some(entry) = known else {
        return deny(kernel, &caller, &wish.id, Refusal::UnknownCapability).await;
    };
    match kernel.place(&caller.agent) {
        Ok(taken) => *place = Some(taken),
        Err(error) => {
            let error = error.about(&entry.id);
            return refuse(kernel, &caller, &wish.id, error).await;
        }
    }
    let asked = Asked::new(caller, entry, wish.input);

    let authorized = match asked.clone().authorize(kernel) {
        Ok(authorized) => Some(authorized),
        // What the gateway makes by itself is joined below, not made again.
        Err(Refusal::Runs { .. }) => None,
        Err(refusal) => {
            let refusal = of_skill(kernel, &asked, refusal);
            return deny(kernel, &asked.caller, asked.id().as_str(), refusal).await;
        }
    };
    let schema = asked
        .entry
        .connector
        .schemas
        .get(&asked.entry.capability().name);
    if let Some(Err(why)) = schema.map(|schema| schema.check(&asked.input)) {
        return invalid(kernel, &asked, &why).await;
    }
    // What may be read anyway is read: what was read before is for whoever has nothing else.
    let is_read = asked.entry.capability().verbs.is_read();
    let reads = is_read && matches!(authorized, Some(Authorized::Yes(_)));
    if !reads && let Some(outcome) = kernel.approvals.join_run(kernel, &asked).await {
        // It may have been waited for. Whoever may not ask any more is told nothing that was read.
        return match asked.clone().authorize(kernel) {
            Err(refusal) if is_read => {
                deny(kernel, &asked.caller, asked.id().as_str(), refusal).await
            }
            _ => outcome,
        };
    }
    let authorized = match authorized {
        Some(authorized) => authorized,
        // The run came to nothing: look once more.
        None => match asked.clone().authorize(kernel) {
            Ok(authorized) => authorized,
            Err(refusal) => return deny(kernel, &asked.caller, asked.id().as_str(), refusal).await,
        },
    };
    let granted = match authorized {
        Authorized::Yes(permitted) => permitted,
        Authorized::Pend(asked) => {
            let asking = pend::ask(kernel, *asked, wish.purpose, wish.on_approval);
            return match Box::pin(asking).await {
                pend::Asking::Waits(answer) => *answer,
                // The owner granted it while we asked: look once more.
                pend::Asking::Allowed(asked) => match asked.clone().authorize(kernel) {
                    Ok(Authorized::Yes(permitted)) => {
                        let carried = carry_out(kernel, permitted, wish.in_background, wish.key);
                        Box::pin(carried).await
                    }
                    Ok(Authorized::Pend(_)) => {
                        deny(
                            kernel,
                            &asked.caller,
                            asked.id().as_str(),
                            Refusal::GrantRequired { constraint: None },
                        )
                        .await
                    }
                    Err(refusal) => deny(kernel, &asked.caller, asked.id().as_str(), refusal).await,
                },
            };
        }
    };
    carry_out(kernel, granted, wish.in_background, wish.key).await
}

async fn carry_out(
    kernel: &Arc<Kernel>,
    permitted: Box<Permitted>,
    in_background: bool,
    key: Option<String>,
) -> Answer {
    let id = permitted.asked.id().clone();
    let claim = match key {
        None => None,
        Some(key) => match kernel
            .replays
            .claim(kernel, &permitted.permit, &key, permitted.asked.digest)
            .await
        {
            replay::Claim::First(claim) => Some(claim),
            replay::Claim::Known(answer) => return answer,
            // It may have been waited for.
            replay::Claim::Withheld(error) => {
                let caller = &permitted.asked.caller;
                return refuse(kernel, caller, id.as_str(), *error).await;
            }
            replay::Claim::OtherInput => {
                let error = ErrorBody::new(
                    ErrorCode::SchemaValidationFailed,
                    "This idempotencyKey was used with another input within the last 24 hours.",
                )
                .detail(serde_json::json!({"reason": "idempotency_key_reuse"}))
                .next("use a new idempotencyKey for a new call");
                let caller = &permitted.asked.caller;
                return refuse(kernel, caller, id.as_str(), error.about(&id)).await;
            }
        },
    };
    if in_background {
        let reserves = claim.as_ref().and_then(|claim| claim.reserves);
        let answer = runs::start(kernel, permitted, reserves);
        // The same key gets the same run.
        if let Some(claim) = claim {
            claim.settle(&answer);
        }
        return answer;
    }
    let reserves = claim.as_ref().and_then(|claim| claim.reserves);
    perform(kernel, permitted, claim, reserves).await
}

/// Runs a permitted call to its end. An effect is finished, recorded and kept for the key that it `reserves` whether or
/// not anybody waits.
pub(crate) async fn perform(
    kernel: &Arc<Kernel>,
    permitted: Box<Permitted>,
    claim: Option<replay::Claimed>,
    reserves: Option<Digest>,
) -> Answer {
    let begun = Instant::now();
    if permitted.permit.is_read() {
        // Asked for before the call: afterwards it is gone.
        let told = told(&permitted);
        let answer = read::run(kernel, *permitted).await;
        ended(kernel, true, &answer, begun, told);
        if let Some(claim) = claim {
            claim.settle(&answer);
        }
        return answer;
    }
    let id = permitted.asked.id().clone();
    let running = kernel.limits.effect();
    let (late, is_late) = oneshot::channel();
    let effect = tokio::spawn({
        let kernel = kernel.clone();
        async move {
            let told = told(&permitted);
            let keyed = reserves.map(|_| permitted.asked.caller.agent.clone());
            let mut claim = claim;
            let give_up = |answer| {
                // Whoever repeats it is told the same, as the ledger has it.
                claim = None;
                drop(late.send(answer));
            };
            let answer = effect::run(kernel.clone(), *permitted, reserves, give_up).await;
            ended(&kernel, false, &answer, begun, told);
            if let Some(agent) = keyed {
                let state = kernel.ledger.snapshot();
                kernel.replays.keep(&agent, &state, &answer).await;
            }
            // Whoever repeated it meanwhile now finds what became of it.
            drop(claim);
            drop(running);
            answer
        }
    });
    let ended = tokio::select! {
        biased;
        ended = effect => ended,
        Ok(answer) = is_late => return answer,
    };
    match ended {
        Ok(answer) => answer,
        Err(error) => {
            tracing::error!(name: "call.task_failed", %error, capability = %id, "an effect's task ended badly");
            Answer::dispatched(InvokeResponse::refused(
                id.as_str(),
                refusal::unknown_outcome(&id),
                None,
            ))
        }
    }
}

/// Who called what, where each call is logged.
fn told(permitted: &Permitted) -> Option<AgentId> {
    tracing::enabled!(tracing::Level::DEBUG).then(|| permitted.asked.caller.agent.clone())
}

/// Counts a call that was carried out, and logs it where somebody wants to know it that closely.
fn ended(kernel: &Kernel, is_read: bool, answer: &Answer, begun: Instant, told: Option<AgentId>) {
    let took = begun.elapsed();
    kernel.figures.called(is_read, answer, took);
    let Some(agent) = told else { return };
    let code = answer.body.error.as_ref().map_or("ok", |e| e.code.as_str());
    tracing::debug!(
        name: "call.ended", %agent, capability = answer.body.id.as_str(), auditId = answer.body.audit_id.as_str(), code,
        durationMs = u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
        "a call was carried out"
    );
}

/// Runs one call of an item that the owner approved with `onApproval: "run"`.
pub(crate) async fn run_approved(
    kernel: &Arc<Kernel>,
    item: &PendingId,
    agent: &AgentId,
    entry: Arc<Entry>,
    input: Value,
) -> Answer {
    let caller = Caller {
        agent: agent.clone(),
        by: By::Approval(item.clone()),
    };
    let asked = Asked::new(caller, entry, input);
    let (id, caller) = (asked.id().clone(), asked.caller.clone());
    match asked.authorize(kernel) {
        Ok(Authorized::Yes(permitted)) => perform(kernel, permitted, None, None).await,
        Ok(Authorized::Pend(_)) => {
            deny(
                kernel,
                &caller,
                id.as_str(),
                Refusal::GrantRequired { constraint: None },
            )
            .await
        }
        Err(refusal) => deny(kernel, &caller, id.as_str(), refusal).await,
    }
}

/// The answer of an approved call whose input or source is gone: it was not made.
pub(crate) fn lost(id: &CapabilityId) -> Answer {
    let error = ErrorBody::new(
        ErrorCode::SourceUnavailable,
        "The approved call was not made: its input, or its source, is no longer there.",
    )
    .about(id)
    .next("ask again");
    Answer::refused(id.as_str(), error, None)
}

/// The answer of a call that the ledger does not take: nothing was done.
pub(crate) fn unrecorded(id: &CapabilityId, why: &plexus_ledger::SubmitError<Refusal>) -> Answer {
    Answer::refused(id.as_str(), refusal::not_recorded(why, Some(id)), None)
}

/// The answer of an approved call of which only the outcome is known.
pub(crate) fn of_outcome(id: &CapabilityId, outcome: OutcomeKind) -> Answer {
    let error = match outcome {
        OutcomeKind::Ok => {
            return Answer::dispatched(InvokeResponse {
                output_omitted: true,
                ..InvokeResponse::ok(id.as_str(), None)
            });
        }
        OutcomeKind::Unknown => refusal::unknown_outcome(id),
        OutcomeKind::Failed => ErrorBody::new(
            ErrorCode::TransportError,
            "The approved call was made and failed; its answer was lost.",
        )
        .effect(Effect::Unknown)
        .about(id)
        .next("look at what it was to change before you ask again"),
        OutcomeKind::Refused => ErrorBody::new(
            ErrorCode::TransportError,
            "Nothing was done: the approved call was refused, or its owner found that it did not happen.",
        )
        .about(id)
        .next("ask again"),
    };
    Answer::dispatched(InvokeResponse::refused(id.as_str(), error, None))
}

/// A refusal before dispatch, recorded.
pub(crate) async fn deny(
    kernel: &Arc<Kernel>,
    caller: &Caller,
    id: &str,
    refusal: Refusal,
) -> Answer {
    let error = refused(&refusal, CapabilityId::parse(id).ok().as_ref());
    let mut answer = refuse(kernel, caller, id, error).await;
    if refusal == Refusal::NotCallable {
        // Clients take this for the failure of a call, as the recordings have it.
        answer.status = 200;
    }
    answer
}

/// A skill that goes with something the agent sees is in its manifest too: it learns what it called, not that there is
/// nothing.
fn of_skill(kernel: &Kernel, asked: &Asked, refusal: Refusal) -> Refusal {
    if refusal != Refusal::UnknownCapability || asked.entry.capability().kind != EntryKind::Skill {
        return refusal;
    }
    let state = kernel.ledger.snapshot();
    let seen = state.agent(&asked.caller.agent).is_some_and(|agent| {
        let catalogue = kernel.catalogue.load();
        let view = catalogue.view(&state, agent, kernel.clock.now());
        view.iter().any(|entry| entry.id == asked.entry.id)
    });
    if seen { Refusal::NotCallable } else { refusal }
}

async fn invalid(kernel: &Arc<Kernel>, asked: &Asked, why: &str) -> Answer {
    let error = ErrorBody::new(ErrorCode::SchemaValidationFailed, why)
        .about(asked.id())
        .next(format!("plexus describe {}", asked.id()));
    refuse(kernel, &asked.caller, asked.id().as_str(), error).await
}

/// Refuses a call before dispatch in these words, and records it.
pub async fn refuse(kernel: &Arc<Kernel>, caller: &Caller, id: &str, error: ErrorBody) -> Answer {
    // Boxed, as is all that few calls come to: else every call would carry, and copy, a future with room for it.
    let audit = Box::pin(note_denial(kernel, caller, id, &error)).await;
    Answer::refused(id, error, audit.as_ref())
}

/// Records a refused call. Not being able to does not turn a refusal into anything else.
async fn note_denial(
    kernel: &Arc<Kernel>,
    caller: &Caller,
    id: &str,
    error: &ErrorBody,
) -> Option<AuditId> {
    let mut about = serde_json::json!({"code": error.code});
    if let Some(session) = caller.by.session() {
        about["sessionId"] = session.as_str().into();
    }
    if let Some(detail) = &error.detail {
        about["detail"] = detail.clone();
    }
    let unrecorded = kernel.limits.records_denial(&caller.agent, error.code)?;
    if unrecorded > 0 {
        about["unrecorded"] = unrecorded.into();
    }
    let capability = CapabilityId::parse(id).ok();
    if capability.is_none() {
        about["asked"] = plexus_sources::narration::cut(id, 80).into();
    }
    let note = Note {
        kind: "invoke",
        agent: Some(caller.agent.clone()),
        capability,
        outcome: Some("denied"),
        detail: about,
    };
    let receipt = kernel.submit_for(&caller.agent, Command::Note(note)).await;
    receipt.ok()?.events.first().map(|e| audit_id(e.id))
}

/// Records how many refused calls were too many to be recorded one by one, once that is over.
pub async fn note_unrecorded(kernel: &Kernel, all: bool) {
    // Each note stands for one of them itself.
    let not_admitted = kernel
        .limits
        .not_admitted()
        .into_iter()
        .map(|(agent, refused)| {
            let about = serde_json::json!({
                "code": ErrorCode::RateLimited, "unrecorded": refused.calls + refused.ledger - 1,
                "detail": {"calls": refused.calls, "ledger": refused.ledger},
            });
            (agent, about)
        });
    let unrecorded = kernel
        .limits
        .unrecorded(all)
        .into_iter()
        .map(|(agent, unrecorded)| {
            let about =
                serde_json::json!({"code": unrecorded.code, "unrecorded": unrecorded.count - 1});
            (agent, about)
        });
    for (agent, detail) in not_admitted.chain(unrecorded) {
        kernel
            .note(Note {
                kind: "invoke",
                agent: Some(agent),
                capability: None,
                outcome: Some("denied"),
                detail,
            })
            .await;
    }
}
