//! A source asks the owner during a call, and gets the answer once that is recorded.
//!
//! Invariants: an answer goes to the call that asked; the audit log has its digest and no value.
//!
//! Must not know: HTTP, how a source asks, what the forms hold.

use crate::{
    kernel::{Kernel, of_ours},
    questions::{Answer, ClaimedQuestion, Open, form},
};
use plexus_ipc::message::{MAX_QUESTION_WAIT, Question, Wants};
use plexus_ledger::SubmitError;
use plexus_protocol::{PendingId, SourceId, json};
use plexus_supervisor::HostCaller;
use plexus_trust::Refusal;
use serde_json::{Value, json as object};
use std::time::Duration;
use tokio::sync::oneshot;

/// Asks the owner, and waits for the answer: `{"action": "accept", "content"}`, or `decline`, or `cancel` where nobody
/// answered in time or nobody could be asked; with `why` where that is not the owner's word.
pub(crate) async fn asked(
    kernel: &Kernel,
    source: &SourceId,
    caller: Option<HostCaller>,
    question: Question,
    seconds: u16,
) -> Value {
    let cancelled = |why: &str| object!({"action": "cancel", "why": why});
    let Some(HostCaller::Call { origin, .. }) = caller else {
        return cancelled("no call is under way");
    };
    let call = kernel.under_way.numbered(origin);
    let call = call.filter(|call| call.cancelled_by().is_none());
    let Some((call, agent)) =
        call.and_then(|call| Some((call.clone(), call.principal.agent()?.clone())))
    else {
        return cancelled("no agent's call is under way");
    };
    let about = object!({"source": source, "agentId": agent, "capability": call.capability});
    if let Some(found) = form::secret_word(&question) {
        let place = match found.field {
            Some(field) => format!("its field {field}"),
            None => "what it says".to_owned(),
        };
        let why = format!(
            "{place} speaks of {:?}, as what asks for a password or another secret does",
            found.word
        );
        let event = object!({"event": "question.refused", "reason": "secret", "why": why});
        kernel.remark(with(&about, event)).await;
        return object!({"action": "decline", "why": why});
    }
    if let Wants::Url { url } = &question.wants
        && !form::is_plain(url)
    {
        let why = "its URL is not https, or names its host in a way that misleads";
        let event = object!({"event": "question.refused", "reason": "page", "why": why});
        kernel.remark(with(&about, event)).await;
        return object!({"action": "decline", "why": why});
    }
    let id = PendingId::fresh();
    let wait = Duration::from_secs(seconds.min(MAX_QUESTION_WAIT).into());
    let now = kernel.ledger.snapshot().time(kernel.clock.now());
    let (answer, answered) = oneshot::channel();
    let open = Open {
        source: source.clone(),
        agent,
        capability: call.capability.clone(),
        question,
        asked: now,
        until: now.plus(u64::from(seconds.min(MAX_QUESTION_WAIT)) * 1_000),
        answer,
    };
    let digest = json::digest(&form::shown(&open.question));
    let Some(waits) = kernel.questions.put(&id, open) else {
        return cancelled("too many questions wait for the owner");
    };
    let event = object!({"event": "question.asked", "pendingId": id, "question": digest});
    if kernel.unasked(of_ours(with(&about, event))).await.is_err() {
        return cancelled("it could not be recorded");
    }
    let with_owner = call.wait_for_owner();
    let told = tokio::select! {
        told = answered => told.ok(),
        () = tokio::time::sleep(wait) => None,
        () = kernel.ending() => None,
    };
    drop((with_owner, waits));
    match told {
        Some(Answer::Accept(content)) => object!({"action": "accept", "content": content}),
        Some(Answer::Decline) => object!({"action": "decline"}),
        None => {
            let event = object!({"event": "question.lapsed", "pendingId": id});
            kernel.remark(with(&about, event)).await;
            cancelled("the owner did not answer in time")
        }
    }
}

fn with(about: &Value, event: Value) -> Value {
    let members = [event, about.clone()]
        .into_iter()
        .filter_map(|part| match part {
            Value::Object(members) => Some(members),
            _ => None,
        });
    Value::Object(members.flatten().collect())
}

impl ClaimedQuestion {
    /// Records the answer, and then gives it. Whether the call still waited for it.
    ///
    /// # Errors
    /// It could not be recorded; then it is not given.
    pub async fn answer(
        self,
        kernel: &Kernel,
        answer: Answer,
    ) -> Result<bool, SubmitError<Refusal>> {
        let (action, digest) = match &answer {
            Answer::Accept(content) => ("accept", Some(json::digest(&object!(content)))),
            Answer::Decline => ("decline", None),
        };
        let event = object!({
            "event": "question.answered", "pendingId": self.id, "source": self.open.source,
            "agentId": self.open.agent, "capability": self.open.capability, "action": action, "answer": digest,
        });
        kernel.owner(of_ours(event)).await?;
        Ok(self.open.answer.send(answer).is_ok())
    }
}
