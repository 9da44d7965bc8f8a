//! The life of a call, from a body to an answer (docs/design.md#the-life-of-a-call).
//!
//! ```text
//! body ─parse─▶ Asked ─authorize─▶ Permitted ─┬ read:   dispatch ─▶ InFlight ─record─▶ disclose(Durable)
//!                  └─pend─▶ item               └ effect: record ─▶ Durable ─▶ dispatch ─▶ record ─▶ answer
//! ```
//! Where each kind of call goes from here:
//!
//! - a read: `invoke` ▸ `carry_out` ▸ `perform` ▸ `read::run`, whose one record lets the output out;
//! - an agent's effect: the same way to `perform` ▸ `effect::run` ▸ `commit::commit`: intent, dispatch, outcome;
//! - an approval: `pend::ask` makes the item and its call ends there; the owner's decision leads through
//!   `approvals/run.rs` to `run_approved` ▸ `perform`;
//! - a cancel: `enter` puts the call among those under way, where the agent, the owner, a pause or a revoke cancels it
//!   (`under_way.rs`): a read is dropped; an effect's worker is asked to stop, and its answer is the outcome;
//! - the owner's own effect: `own.rs` enters it as `Principal::Owner` ▸ the same `commit::commit`, without a grant.
//!
//! Invariants, by types: nothing is dispatched that is not `Permitted`; a commit needs the `Durable` of its intent;
//! the output of a read leaves `InFlight` only against the `Durable` of its event. After dispatch of an effect the
//! answer is what happened or `unknown`, never an invitation to try again.
//!
//! Must not know: HTTP.

use crate::{
    answer::Answer,
    background,
    call::{Asked, Caller, CallerProof, InvokeRequest},
    denial::{RefusedCall, deny, invalid, of_skill, refuse},
    effect,
    kernel::Kernel,
    limits::CallSlot,
    member_reads, pend,
    permit::{Authorized, Permitted},
    read, refusal, replay,
    runs::OneRun,
    under_way::{CallFacts, CallUnderWay, Entered, Principal},
    workflow::Workflow,
};
use plexus_protocol::{
    AgentId, CapabilityId, Digest, ErrorBody, ErrorCode, RunId, SourceId, body::InvokeResponse,
};
use plexus_trust::{Refusal, key_digest};
use std::{sync::Arc, time::Instant};
use tokio::sync::oneshot;

/// Carries a call through, or says why not. Effects go on when the returned future is dropped; reads do not.
/// `place` becomes the call's own, and lasts as long as the caller of this keeps it.
pub async fn invoke(
    kernel: &Arc<Kernel>,
    caller: Caller,
    wish: InvokeRequest,
    place: &mut Option<CallSlot>,
) -> Answer {
    let known = CapabilityId::parse(&wish.id)
        .ok()
        .and_then(|id| kernel.catalogue.load().get(&id).cloned());
    let Some(entry) = known else {
        return deny(kernel, (&caller, &*wish.id), Refusal::UnknownCapability).await;
    };
    match kernel.place(&caller.agent) {
        Ok(taken) => *place = Some(taken),
        Err(error) => {
            let error = error.about(&entry.id);
            let call = RefusedCall::from((&caller, &*wish.id)).with(&wish.input);
            return refuse(kernel, call, error).await;
        }
    }
    let is_read = entry.capability().verbs.is_read();
    let key = wish.key.as_deref().filter(|_| !is_read);
    let key = key.map(|key| key_digest(&entry.id, key));
    let asked = Asked {
        purpose: wish.purpose,
        on_approval: wish.on_approval,
        key,
        ..Asked::new(caller, entry, wish.input)
    };
    let run = wish.in_background.then(RunId::fresh);
    // From here on a revoke cancels it.
    let entered = enter(kernel, &asked, run);

    let authorized = match asked.clone().authorize(kernel) {
        Ok(authorized) => Some(authorized),
        // What the gateway makes by itself is joined below, not made again.
        Err(Refusal::Runs { .. }) => None,
        Err(refusal) => {
            let refusal = of_skill(kernel, &asked, refusal);
            return deny(kernel, &asked, refusal).await;
        }
    };
    if let Err(why) = asked.entry.check(&asked.input) {
        return invalid(kernel, &asked, &why).await;
    }
    kernel.lately.note(&asked.caller.agent, asked.id());
    // What may be read anyway is read: what was read before is for a caller that has nothing else.
    let reads = is_read && matches!(authorized, Some(Authorized::Yes(_)));
    if key.is_some_and(|key| kernel.approvals.is_of_another_call(kernel, &asked, key)) {
        return key_reuse(kernel, &asked).await;
    }
    if !reads && let Some(outcome) = pend::joined(kernel, &asked).await {
        return outcome;
    }
    if let Some(error) = member_reads::stopped_by(kernel, &asked) {
        return refuse(kernel, &asked, error).await;
    }
    let authorized = match authorized {
        Some(authorized) => authorized,
        // The run came to nothing: look once more.
        None => match asked.clone().authorize(kernel) {
            Ok(authorized) => authorized,
            Err(refusal) => return deny(kernel, &asked, refusal).await,
        },
    };
    let granted = match authorized {
        Authorized::Yes(permitted) => permitted,
        Authorized::Pend {
            asked,
            beyond_grant,
        } => {
            let question = pend::Question {
                beyond_grant,
                fits: false,
            };
            return match Box::pin(pend::ask(kernel, *asked, question)).await {
                pend::Asking::Waits(answer) => *answer,
                // The owner granted it while we asked: look once more.
                pend::Asking::Allowed(asked) => match asked.clone().authorize(kernel) {
                    Ok(Authorized::Yes(permitted)) => {
                        let carried = carry_out(kernel, permitted, entered, wish.key);
                        Box::pin(carried).await
                    }
                    Ok(Authorized::Pend { .. }) => {
                        deny(kernel, &*asked, Refusal::GrantRequired { constraint: None }).await
                    }
                    Err(refusal) => deny(kernel, &*asked, refusal).await,
                },
            };
        }
    };
    carry_out(kernel, granted, entered, wish.key).await
}

/// A call's place among those that are under way. One that goes on as a run stands on its grant, whatever becomes of the
/// token that it came with.
pub(crate) fn enter(kernel: &Kernel, asked: &Asked, run: Option<RunId>) -> Entered {
    let agent = &asked.caller.agent;
    let state = kernel.ledger.snapshot();
    let token = match &asked.caller.by {
        CallerProof::Token { jti, .. } if run.is_none() => Some(jti.clone()),
        _ => None,
    };
    let turn_of = match &asked.caller.by {
        CallerProof::Turn(item) => Some(item.clone()),
        _ => None,
    };
    kernel.under_way.enter(CallFacts {
        turn_of,
        workflow: Workflow::of(&asked.entry, &asked.canonical),
        principal: Principal::Agent {
            id: agent.clone(),
            epoch: state.agent(agent).map_or(0, |agent| agent.epoch),
            token,
        },
        capability: asked.id().clone(),
        is_read: asked.entry.capability().verbs.is_read(),
        input: asked.digest,
        started: kernel.clock.now(),
        run,
    })
}

async fn carry_out(
    kernel: &Arc<Kernel>,
    permitted: Box<Permitted>,
    entered: Entered,
    key: Option<String>,
) -> Answer {
    let claim = match key {
        None => None,
        Some(key) => match kernel
            .replays
            .claim(kernel, permitted.permit(), &key, permitted.asked().digest)
            .await
        {
            replay::Claim::First(claim) => Some(claim),
            replay::Claim::Known(answer) => return answer,
            // It may have been waited for.
            replay::Claim::Withheld(error) => {
                return refuse(kernel, permitted.asked(), *error).await;
            }
            replay::Claim::OtherInput => return key_reuse(kernel, permitted.asked()).await,
        },
    };
    if let Some(run) = entered.call.run.clone() {
        let reserves = claim.as_ref().and_then(|claim| claim.reserves);
        let answer = background::start(kernel, permitted, entered, run, reserves);
        // The same key gets the same run.
        if let Some(claim) = claim {
            claim.settle(&answer);
        }
        return answer;
    }
    let reserves = claim.as_ref().and_then(|claim| claim.reserves);
    perform(kernel, permitted, entered, claim, reserves).await
}

/// A key that stands for another call.
async fn key_reuse(kernel: &Arc<Kernel>, asked: &Asked) -> Answer {
    let error = ErrorBody::new(
        ErrorCode::SchemaValidationFailed,
        "This idempotencyKey was used with another input within the last 24 hours.",
    )
    .detail(serde_json::json!({"reason": "idempotency_key_reuse"}))
    .next("use a new idempotencyKey for a new call");
    refuse(kernel, asked, error.about(asked.id())).await
}

/// Runs a permitted call to its end. An effect is finished, recorded and kept for the key that it `reserves` whether or
/// not anybody waits.
pub(crate) async fn perform(
    kernel: &Arc<Kernel>,
    permitted: Box<Permitted>,
    entered: Entered,
    claim: Option<replay::Claimed>,
    reserves: Option<Digest>,
) -> Answer {
    let begun = Instant::now();
    if permitted.permit().is_read() {
        // Asked for before the call: afterwards it is gone.
        let told = told(&permitted);
        let answer = read::run(kernel, &entered.call, *permitted).await;
        ended(kernel, &entered.call, &answer, begun, told);
        if let Some(claim) = claim {
            claim.settle(&answer);
        }
        return answer;
    }
    let id = permitted.asked().id().clone();
    let (late, is_late) = oneshot::channel();
    let call = Arc::clone(&entered.call);
    let effect = tokio::spawn({
        let kernel = kernel.clone();
        async move {
            let told = told(&permitted);
            let keyed = reserves.map(|_| permitted.asked().caller.agent.clone());
            let mut claim = claim;
            let give_up = |answer| {
                // A repeated call has the same answer, as the ledger has it.
                claim = None;
                drop(late.send(answer));
            };
            // Boxed: the future of a task is copied eight times between its start and its end.
            let run = effect::run(&kernel, &entered.call, *permitted, reserves, give_up);
            let answer = Box::pin(run).await;
            ended(&kernel, &entered.call, &answer, begun, told);
            if let Some(agent) = keyed {
                let state = kernel.ledger.snapshot();
                kernel.replays.keep(&agent, &state, &answer).await;
            }
            // A call that repeated it meanwhile now finds what became of it.
            drop(claim);
            drop(entered);
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
                // Its intent is open, and listed for the owner once that is over.
                refusal::unknown_outcome(&id, None),
                call.intent(),
            ))
        }
    }
}

/// Who called what, where each call is logged.
fn told(permitted: &Permitted) -> Option<AgentId> {
    tracing::enabled!(tracing::Level::DEBUG).then(|| permitted.asked().caller.agent.clone())
}

/// Counts a call that was carried out, and logs it where somebody wants to know it that closely.
fn ended(
    kernel: &Kernel,
    call: &CallUnderWay,
    answer: &Answer,
    begun: Instant,
    told: Option<AgentId>,
) {
    let took = begun.elapsed();
    kernel.metrics.called(call.is_read, answer, took);
    if let Ok(id) = CapabilityId::parse(answer.body.id.as_str())
        && let Ok(source) = SourceId::parse(id.parts().0)
    {
        let took = call.without_owner(took);
        kernel.latencies.note(source, took, kernel.clock.now());
    }
    let Some(agent) = told else { return };
    let code = answer.body.error.as_ref().map_or("ok", |e| e.code.as_str());
    tracing::debug!(
        name: "call.ended", %agent, capability = answer.body.id.as_str(), auditId = answer.body.audit_id.as_str(), code,
        durationMs = u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
        "a call was carried out"
    );
}

/// Runs one call of an item that the owner approved with `onApproval: "run"`, under the key that it came with.
pub(crate) async fn run_approved(
    kernel: &Arc<Kernel>,
    asked: Asked,
    entered: Entered,
    key: Option<Digest>,
) -> Answer {
    if let Some(error) = member_reads::stopped_by(kernel, &asked) {
        return refuse(kernel, &asked, error).await;
    }
    match asked.clone().authorize(kernel) {
        Ok(Authorized::Yes(permitted)) => {
            let CallerProof::Approval(item) = &asked.caller.by else {
                return perform(kernel, permitted, entered, None, None).await;
            };
            // A client that waits for the owner follows it from here on.
            let run = OneRun::new(kernel, &permitted, &entered, item.conversation());
            let run = Arc::new(run);
            kernel.runs.enter(&run);
            kernel.approvals.note_change();
            let (ended, answer) = background::carry(kernel, &run, permitted, entered, key).await;
            run.over.send_replace(Some((ended, answer.body.clone())));
            answer
        }
        Ok(Authorized::Pend { .. }) => {
            let refusal = Refusal::GrantRequired { constraint: None };
            deny(kernel, &asked, refusal).await
        }
        Err(refusal) => deny(kernel, &asked, refusal).await,
    }
}
