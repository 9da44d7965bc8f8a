//! Asking the owner: a call that nothing allows yet becomes an item, and the caller is told at once.
//!
//! Invariant: the reply leaves before the plan is made; nothing of a plan, nor its errors or timing, reaches the agent.
//! What it is told of an input that cannot be carried out is of another plan, within what it may read: see [`misfit`].

use super::refusal;
use crate::{
    answer::Answer,
    approvals::planner,
    call::{Asked, CallerProof},
    finish::to_its_end,
    kernel::Kernel,
    misfit::misfit,
};
use plexus_ledger::SubmitError;
use plexus_protocol::{Digest, ErrorBody, ErrorCode, PendingId, SessionId, TokenId};
use plexus_trust::{
    Ask, Command, Decision, Entry, ItemState, OnApproval, Refusal, Reply, RequestGrants,
};
use std::sync::Arc;

/// What asking came to.
pub(super) enum Asking {
    /// The caller is told; an item may wait.
    Waits(Box<Answer>),
    /// It was granted meanwhile.
    Allowed(Box<Asked>),
}

/// What the owner is asked beside the call.
#[derive(Default)]
pub(super) struct Question {
    /// Why, in the agent's words.
    pub(super) purpose: Option<String>,
    pub(super) on_approval: OnApproval,
    /// The idempotency key of an effect.
    pub(super) key: Option<Digest>,
    /// The call turned out to be more than what stands covers.
    pub(super) beyond_grant: bool,
}

fn waiting(answer: Answer) -> Asking {
    Asking::Waits(Box::new(answer))
}

pub(super) async fn ask(kernel: &Arc<Kernel>, asked: Asked, question: Question) -> Asking {
    let CallerProof::Session(session) = asked.caller.by.clone() else {
        let refusal = Refusal::GrantRequired { constraint: None };
        return waiting(crate::denial::deny(kernel, &asked, refusal).await);
    };
    if !waits_already(kernel, &asked) {
        let (agent, canonical) = (&asked.caller.agent, asked.canonical.clone());
        let checked = misfit(kernel, agent, &asked.entry, &asked.input, canonical).await;
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

/// Asks again for a call whose plan turned out to be more than what was allowed.
pub(super) async fn ask_anew(
    kernel: &Arc<Kernel>,
    asked: Asked,
    purpose: Option<String>,
) -> Answer {
    let CallerProof::Session(session) = asked.caller.by.clone() else {
        let error = refusal::refused(
            &Refusal::GrantRequired { constraint: None },
            Some(asked.id()),
        );
        return Answer::refused(asked.id().as_str(), error, None);
    };
    let question = Question {
        purpose,
        beyond_grant: true,
        ..Question::default()
    };
    match request(kernel, &asked, session, question).await {
        Err(error) => refuse(kernel, &asked, error).await,
        Ok(Decision {
            item: Some(item), ..
        }) => waits(kernel, &asked, &item),
        Ok(_) => {
            let error = refusal::refused(
                &Refusal::GrantRequired { constraint: None },
                Some(asked.id()),
            );
            Answer::refused(asked.id().as_str(), error, None)
        }
    }
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
            key: question.key,
            beyond_grant: question.beyond_grant,
            turns,
            children,
        }],
        purpose: question.purpose,
        on_approval: question.on_approval,
        asks_nobody: false,
        token: TokenId::fresh(),
        item: item.clone(),
    });
    // An item that waits already.
    if let Some(Reply::Decided(decision)) = kernel.foresee(&request)? {
        return Ok(decision);
    }
    // The input is on disk before the item that names it.
    let agent = Some(&asked.caller.agent);
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
