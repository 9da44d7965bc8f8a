//! An agent's effect: what it is held against, and what becomes of one that amounts to more than its permit covers.

use super::{bounded, change_author, pend, read, refusal};
use crate::{
    answer::Answer,
    call::CallerProof,
    commit::{self, Beyond, Commit, NoOutcome},
    contents::Reader,
    denial::RefusedCall,
    kernel::Kernel,
    member_reads,
    permit::Permitted,
    touches,
    under_way::CallUnderWay,
};
use plexus_ipc::message::Content;
use plexus_ledger::SubmitError;
use plexus_protocol::{AuditId, Digest, body::InvokeResponse};
use plexus_supervisor::CommitTerms;
use plexus_trust::{Basis, Command, Refusal};
use std::sync::Arc;

/// `late` is told the answer when the deadline has passed and the outcome is not known yet; nobody waits then for what
/// is returned.
pub(super) async fn run(
    kernel: &Arc<Kernel>,
    call: &Arc<CallUnderWay>,
    permitted: Permitted,
    key: Option<Digest>,
    late: impl FnOnce(Answer) + Send,
) -> Answer {
    let (asked, permit) = permitted.into_parts();
    let id = asked.id().clone();
    if permit.state_token.is_none() && is_anothers(kernel, &asked).await {
        return beyond(kernel, asked, String::new()).await;
    }
    if let (Some(workflow), Basis::Item(item)) = (&call.workflow, &permit.basis) {
        let state = kernel.ledger.snapshot();
        match kernel.approvals.members_planned(&state, item, &id) {
            Some(planned) => workflow.hold_to(planned),
            None => {
                let error = member_reads::plans_are_gone(&id, item);
                let refused = RefusedCall::from(&asked).on(&permit.basis);
                return crate::denial::refuse(kernel, refused, error).await;
            }
        }
    }
    let reader = Reader {
        agent: &asked.caller.agent,
        epoch: permit.agent_epoch(),
    };
    let held = held_against(kernel, &asked, reader, permit.state_token.is_some());
    let digest = match held {
        Some((Content::Is(digest), _)) => Some(digest),
        _ => None,
    };
    let unknown = |intent: &AuditId| {
        let error = refusal::unknown_outcome(&id, Some(intent));
        Answer::dispatched(InvokeResponse::refused(id.as_str(), error, Some(intent)))
    };
    let commit = Commit {
        call,
        source: &asked.entry.source,
        intent: Command::Intent {
            permit: permit.clone(),
            input_bytes: asked.canonical.len() as u64,
            about: touches::about(
                kernel,
                &asked.entry,
                Some(&asked.input),
                Some(&permit.basis),
                digest,
            ),
            key,
        },
        request: read::call_request(call, &asked, &permit),
        terms: CommitTerms {
            conversation: bounded::item_of(&kernel.ledger.snapshot(), &permit)
                .map(|item| bounded::name_of(&item)),
            state_token: permit.state_token,
            expect: held.map(|(content, _)| content),
            permit_rating: permit.rating,
        },
        permit: Some(&permit),
        unread: held.is_some_and(|(_, known)| !known),
        until_intended: Box::new(()),
    };
    let over = match commit::commit(kernel, commit, |intent| late(unknown(intent))).await {
        Ok(over) => over,
        Err(NoOutcome::Open(intent)) => return unknown(&intent),
        Err(NoOutcome::ProgramChanged) => {
            let error = refusal::program_changed(&id);
            let refused = RefusedCall::from(&asked).on(&permit.basis);
            return crate::denial::refuse(kernel, refused, error).await;
        }
        Err(NoOutcome::NotIntended(SubmitError::Refused(refusal))) => {
            let refused = RefusedCall::from(&asked).on(&permit.basis);
            return crate::denial::deny(kernel, refused, refusal).await;
        }
        Err(NoOutcome::NotIntended(error)) => return crate::denial::unrecorded(&id, &error),
    };
    if !over.recorded {
        return unknown(&over.intent);
    }
    let event = || over.intent.to_string();
    if let Err(failed) = &over.result {
        // Its card says how it is rated.
        if let Some(Beyond::Rating) = failed.beyond {
            return beyond(kernel, asked, event()).await;
        }
        if failed.asks {
            return pend::ask_beyond(kernel, asked, false, event()).await;
        }
    }
    let left = bounded::of_permit(kernel, &permit);
    let mut answer = match over.result {
        Ok(output) => {
            let touched = &over.outcome.touched;
            kernel
                .contents
                .learn_touches(reader, &asked.entry.source, touched);
            Answer::dispatched(InvokeResponse {
                output: Some(output).filter(|_| !over.is_answer_lost),
                output_omitted: over.is_answer_lost,
                undo: over.outcome.undo,
                ..InvokeResponse::ok(id.as_str(), Some(&over.intent))
            })
        }
        Err(failed) => {
            let error = refusal::settled_by(call.failure(failed.error), &over.intent);
            let body = InvokeResponse::refused(id.as_str(), error, Some(&over.intent));
            let status = failed.status.unwrap_or(200);
            Answer { status, body }
        }
    };
    if let Some(left) = left {
        (answer.body.conversation, answer.body.children) = left.parts();
    }
    answer
}

/// What a write is held against whose plan the owner did not see, a standing one or one with any input: the agent's own
/// knowledge of what is there. With it, whether it had any.
fn held_against(
    kernel: &Kernel,
    asked: &crate::call::Asked,
    reader: Reader<'_>,
    planned: bool,
) -> Option<(Content, bool)> {
    if let Some(given) = asked
        .input
        .get("ifDigest")
        .and_then(|v| v.as_str())
        .and_then(Content::parse)
    {
        return Some((given, true));
    }
    if planned {
        return None; // an approved plan is held against its state token
    }
    let field = asked
        .entry
        .capability()
        .constrainable
        .iter()
        .find(|c| c.touched.is_some())?;
    let id = asked.input.get(&field.field)?.as_str()?;
    match kernel.contents.known(reader, &asked.entry.source, id) {
        Some(digest) => Some((Content::Is(digest), true)),
        // Never read here: it may create, and nothing else.
        None => Some((Content::Absent, false)),
    }
}

/// Whether it takes back what this agent did not do: only the owner who saw the plan allows that.
async fn is_anothers(kernel: &Kernel, asked: &crate::call::Asked) -> bool {
    let undoes =
        change_author::change(kernel, &asked.caller.agent, &asked.entry, &asked.canonical).await;
    undoes.is_some_and(|whose| whose != change_author::ChangeAuthor::Own)
}

/// More than the permit covers: nothing was done, and a new item waits. `event` is the record of that, if there is one.
async fn beyond(kernel: &Arc<Kernel>, asked: crate::call::Asked, event: String) -> Answer {
    let mut purpose = asked.purpose.clone();
    let session = match &asked.caller.by {
        CallerProof::Token { session, .. } | CallerProof::Session(session) => session.clone(),
        CallerProof::Grant => {
            let refusal = Refusal::GrantRequired { constraint: None };
            return crate::denial::deny(kernel, &asked, refusal).await;
        }
        CallerProof::Approval(item) | CallerProof::Turn(item) => {
            let state = kernel.ledger.snapshot();
            let known = state
                .item(item)
                .map(|i| (i.session.clone(), i.purpose.clone()));
            match known {
                Some((session, of_item)) => {
                    purpose = purpose.or(of_item);
                    session
                }
                None => {
                    return Answer::refused(
                        asked.id().as_str(),
                        refusal::unknown_outcome(asked.id(), None),
                        None,
                    );
                }
            }
        }
    };
    let caller = crate::call::Caller {
        agent: asked.caller.agent.clone(),
        by: CallerProof::Session(session),
    };
    let asked = crate::call::Asked {
        caller,
        purpose,
        ..asked
    };
    pend::ask_beyond(kernel, asked, true, event).await
}
