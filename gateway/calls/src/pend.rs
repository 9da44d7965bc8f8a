//! Asking the owner: a call that nothing allows yet becomes an item, and the caller is told at once.
//!
//! Invariant: the reply leaves before the plan is made; nothing of a plan, nor its errors or timing, reaches the agent.
//! What it is told of an input that cannot be carried out is of another plan, within what it may read: see [`misfit`].

use crate::{
    answer::Answer,
    approvals::planner,
    call::{Asked, CallerProof},
    finish::to_its_end,
    kernel::Kernel,
    misfit::misfit,
};
use plexus_ledger::SubmitError;
use plexus_protocol::{ErrorBody, ErrorCode, NextKind, PendingId, SessionId, TokenId};
use plexus_trust::{
    Ask, Basis, Command, Decision, Entry, Extent, ItemState, MAX_PENDING, Permit, Refusal, Reply,
    RequestGrants,
};
use std::sync::Arc;

/// What asking came to.
pub(super) enum Asking {
    /// The caller is told; an item may wait.
    Waits(Box<Answer>),
    /// It was granted meanwhile.
    Allowed(Box<Asked>),
}

/// Facts of the call that the owner is asked for.
pub(super) struct Question {
    /// The call lies outside of the agent's grant, or turned out to be more than that covers.
    pub(super) beyond_grant: bool,
    /// Its source has found that it can be carried out.
    pub(super) fits: bool,
}

fn waiting(answer: Answer) -> Asking {
    Asking::Waits(Box::new(answer))
}

pub(super) async fn ask(kernel: &Arc<Kernel>, asked: Asked, question: Question) -> Asking {
    let CallerProof::Session(session) = asked.caller.by.clone() else {
        let refusal = Refusal::GrantRequired { constraint: None };
        return waiting(crate::denial::deny(kernel, &asked, refusal).await);
    };
    if !question.fits && !waits_already(kernel, &asked) {
        let (agent, canonical) = (&asked.caller.agent, asked.canonical.clone());
        let of = (&*asked.entry, &*asked.input);
        let checked = misfit(kernel, agent, of, canonical, question.beyond_grant).await;
        if let Some(error) = checked {
            return waiting(crate::denial::refuse(kernel, &asked, error).await);
        }
    }
    match request(kernel, &asked, session, question).await {
        Err(error) => waiting(refuse(kernel, &asked, error).await),
        Ok(decision) => match decision.item {
            Some(item) => waiting(waits(kernel, &asked, &item)),
            None if !decision.scopes.is_empty() => Asking::Allowed(Box::new(asked)),
            None => {
                let denied = decision.denied.into_iter().next();
                let refusal = denied.map_or(Refusal::UnknownCapability, |(_, reason)| {
                    Refusal::Denied { reason }
                });
                waiting(crate::denial::deny(kernel, &asked, refusal).await)
            }
        },
    }
}

/// Whether the owner was asked for this call before, and has not answered.
fn waits_already(kernel: &Kernel, asked: &Asked) -> bool {
    let state = kernel.ledger.snapshot();
    let items = state.agent(&asked.caller.agent).map(|agent| &agent.items);
    let mut items = items.into_iter().flat_map(|items| items.values());
    items.any(|item| {
        let is_it = |ask: &Ask| ask.capability == *asked.id() && ask.input == Some(asked.digest);
        item.state == ItemState::Pending && item.asks.iter().any(is_it)
    })
}

/// Why a call was refused that goes on as a question, as its record has it.
pub(super) const OUTSIDE: &str = "outside";

/// Whether the owner is asked for what lies outside of the grant that allows `permit`: where the agent calls with its session
/// and waits, and may ask. A token stands for what was asked for with it, and an approval for what the owner saw.
pub(super) fn may_ask(kernel: &Kernel, permit: &Permit) -> bool {
    let by_session = permit.session.is_some() && permit.token.is_none();
    let is_narrowed = permit.constraint.is_some() && matches!(permit.basis, Basis::Grant(_));
    by_session && is_narrowed && {
        let state = kernel.ledger.snapshot();
        let now = state.time(kernel.clock.now());
        let agent = state.agent(&permit.agent);
        let items = agent.into_iter().flat_map(|agent| agent.items.values());
        items.filter(|item| item.waits(now)).count() < MAX_PENDING
    }
}

/// The answer of the same call, where the owner approved it and the gateway makes it by itself.
pub(super) async fn joined(kernel: &Arc<Kernel>, asked: &Asked) -> Option<Answer> {
    let outcome = kernel.approvals.join_run(kernel, asked, asked.key).await?;
    // It may have been waited for. An agent that may not ask any more gets nothing that was read.
    Some(match asked.clone().authorize(kernel) {
        Err(refusal) if asked.entry.capability().verbs.is_read() => {
            crate::denial::deny(kernel, asked, refusal).await
        }
        _ => outcome,
    })
}

/// Asks for a call that turned out to be more than what was allowed. One that lies outside of a grant joins what the owner has
/// said yes to already; one that fits may be that very call, under way. It has done nothing; `event` is the record of that, if any.
pub(super) async fn ask_beyond(
    kernel: &Arc<Kernel>,
    asked: Asked,
    fits: bool,
    event: String,
) -> Answer {
    if !fits && let Some(answer) = joined(kernel, &asked).await {
        return answer;
    }
    let question = Question {
        beyond_grant: true,
        fits,
    };
    let mut answer = match ask(kernel, asked, question).await {
        Asking::Waits(answer) => *answer,
        Asking::Allowed(asked) => {
            let why = "The owner approved this call just now.";
            let error = ErrorBody::new(ErrorCode::Busy, why)
                .about(asked.id())
                .then(NextKind::Retry, "repeat the call");
            crate::denial::refuse(kernel, &*asked, error).await
        }
    };
    if answer.body.audit_id.is_empty() {
        answer.body.audit_id = event;
    }
    answer
}

/// Input, item and plan belong together: the three are done whether or not the caller waits.
async fn request(
    kernel: &Arc<Kernel>,
    asked: &Asked,
    session: SessionId,
    question: Question,
) -> Result<Decision, SubmitError<Refusal>> {
    let (kernel, asked) = (kernel.clone(), asked.clone());
    to_its_end(async move { put(&kernel, &asked, session, question).await }).await
}

async fn put(
    kernel: &Arc<Kernel>,
    asked: &Asked,
    session: SessionId,
    question: Question,
) -> Result<Decision, SubmitError<Refusal>> {
    let item = PendingId::fresh();
    let input = (asked.digest, asked.canonical.len() as u64);
    let (turns, children) = asked.entry.turns(&asked.input);
    let request = Command::Request(RequestGrants {
        agent: Some(asked.caller.agent.clone()),
        session,
        entries: vec![Entry {
            id: asked.id().to_string(),
            wanted: true,
            verbs: None,
            wish: None,
            constraint: None,
            input: Some(input),
            key: asked.key,
            beyond_grant: question.beyond_grant,
            turns,
            children,
        }],
        purpose: asked.purpose.clone(),
        on_approval: asked.on_approval,
        extent: Extent::Anything,
        token: TokenId::fresh(),
        item: item.clone(),
    });
    let agent = Some(&asked.caller.agent);
    // An item that waits already.
    if let Some(Reply::Decided(decision)) = kernel.foresee(&request)? {
        if let Some(waiting) = &decision.item {
            let input = (asked.id(), &asked.canonical);
            kernel.keep_lost_inputs(waiting, agent, &[input]).await?;
        }
        return Ok(decision);
    }
    // The input is on disk before the item that names it.
    kernel
        .keep_input(&item, agent, asked.id(), &asked.canonical)
        .await?;
    let reply = kernel.submit_for(&asked.caller.agent, request).await;
    let decision = match reply {
        Ok(receipt) => match receipt.reply {
            Reply::Decided(decision) => Ok(decision),
            _ => Err(SubmitError::Unavailable(
                "a request was answered with something else".into(),
            )),
        },
        Err(error) => Err(error),
    };
    match &decision {
        Ok(Decision {
            item: Some(kept), ..
        }) if *kept == item => planner::start(kernel, &item),
        _ => kernel.approvals.drop_input(&item),
    }
    decision
}

async fn refuse(kernel: &Arc<Kernel>, asked: &Asked, error: SubmitError<Refusal>) -> Answer {
    match error {
        SubmitError::Refused(refusal) => crate::denial::deny(kernel, asked, refusal).await,
        other => crate::denial::unrecorded(asked.id(), &other),
    }
}

fn waits(kernel: &Kernel, asked: &Asked, item: &PendingId) -> Answer {
    let base = &kernel.base;
    let error = ErrorBody::new(
        ErrorCode::ApprovalRequired,
        format!("The owner has to approve this call of {}.", asked.id()),
    )
    .about(asked.id())
    .with("pendingId", item.as_str())
    .with("approvalUrl", format!("{base}/admin"))
    .with(
        "grantStatusUrl",
        format!("{base}/grants/status?pendingId={item}"),
    )
    .wait_for(item);
    Answer::refused(asked.id().as_str(), error, None)
}
