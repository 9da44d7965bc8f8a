//! Starts an asynchronous call, and gives what it came to.

use crate::{
    answer::Answer,
    answers::{KeptAnswer, Key, RunFacts},
    call::CallerProof,
    events::Notice,
    given::{may_still_be_given, read_is_over},
    kernel::Kernel,
    life::perform,
    permit::Permitted,
    refusal,
    runs::{AT_ONCE, OneRun},
    terms::Terms,
    under_way::Entered,
};
use plexus_protocol::{
    AuditId, Digest, ErrorBody, ErrorCode, NextKind, RunId, Timestamp,
    body::{InvokeResponse, Progress},
};
use std::sync::Arc;
use tokio::{
    sync::watch,
    task::{JoinError, JoinHandle},
};

impl OneRun {
    /// What is permitted and about to begin.
    pub(crate) fn new(
        kernel: &Kernel,
        permitted: &Permitted,
        entered: &Entered,
        id: RunId,
    ) -> Self {
        let permit = permitted.permit();
        let terms = Terms::of(kernel, permit);
        let facts = RunFacts {
            agent: permit.agent.clone(),
            epoch: permit.agent_epoch(),
            capability: permit.capability.clone(),
            is_read: permit.is_read(),
            started: entered.call.started,
            ended: entered.call.started,
            constraint: terms.constraint.cloned(),
            read: terms.read,
            grant: terms.grant,
        };
        Self {
            id,
            is_approved: matches!(permitted.asked().caller.by, CallerProof::Approval(_)),
            facts,
            call: Some(entered.call.clone()),
            progress: entered.call.progress().clone(),
            over: watch::Sender::new(None),
        }
    }

    /// The same for its agent: what was read only as long as it may still be given. The outcome of an effect always is.
    pub fn given(&self, kernel: &Kernel) -> Option<(Timestamp, InvokeResponse)> {
        let (at, answer) = self.result()?;
        if !self.facts.is_read || !answer.ok {
            return Some((at, answer));
        }
        let given = match self.may_be_followed(kernel) {
            Ok(()) => answer,
            Err(error) => {
                let audit = AuditId::parse(&answer.audit_id).ok();
                InvokeResponse::refused(self.facts.capability.as_str(), *error, audit.as_ref())
            }
        };
        Some((at, given))
    }

    /// Whether its agent may have what it reads or streams.
    fn may_be_followed(&self, kernel: &Kernel) -> Result<(), Box<ErrorBody>> {
        if self.call.as_ref().is_some_and(|call| call.is_revoked()) {
            return Err(Box::new(read_is_over(&self.facts.capability)));
        }
        may_still_be_given(kernel, &Terms::of_run(&self.facts))
    }

    /// What it streams, from an offset on, as long as its agent may have it.
    pub fn progress(&self, kernel: &Kernel, after: u64) -> Option<Progress> {
        let may = self.may_be_followed(kernel).is_ok();
        may.then(|| self.progress.after(after))
    }
}

impl Kernel {
    /// A run that has not been forgotten. That of an approved call whose outcome was not known has what is known now, and that
    /// of an earlier launch what is kept with its item.
    pub async fn find_run(&self, id: &str) -> Option<Arc<OneRun>> {
        let Some(run) = self.runs.get(id, self.clock.now()).await else {
            let id: RunId = id.parse().ok()?;
            return self.approvals.run_of_item(self, &id).map(Arc::new);
        };
        let over = run.over.borrow();
        let is_unsettled = over
            .as_ref()
            .is_some_and(|(_, answer)| refusal::is_unsettled(answer));
        drop(over);
        if is_unsettled
            && let Some(known) = self.approvals.of_run(self, &run.id, &run.facts.capability)
        {
            run.over
                .send_modify(|over| *over = over.take().map(|(at, _)| (at, known)));
        }
        Some(run)
    }
}

/// Waits for the end of a run. Once its intent is recorded an effect has an answer on the disk, which says that its outcome
/// is not known: what a gateway that ends with the run leaves.
async fn begun_first(
    kernel: &Kernel,
    run: &OneRun,
    performed: &mut JoinHandle<Answer>,
) -> Result<Answer, JoinError> {
    let keeps = !run.facts.is_read && !run.is_approved;
    if let Some(call) = run.call.as_ref().filter(|_| keeps) {
        tokio::select! {
            over = &mut *performed => return over,
            () = call.begun() => {}
        }
        let id = &run.facts.capability;
        let mut error = refusal::unknown_outcome(id, call.intent());
        error.message = "The gateway ended while this run was under way. It is not known what it did. Do not repeat it.".into();
        let body = InvokeResponse::refused(id.as_str(), error, call.intent());
        let facts = RunFacts {
            ended: kernel.clock.now(),
            ..run.facts.clone()
        };
        let kept = KeptAnswer {
            run: Some(facts),
            ..KeptAnswer::of(&Answer::dispatched(body))
        };
        kernel.answers.keep_aside(Key::Run(&run.id), kept).await;
    }
    performed.await
}

/// Carries a run to its end, and keeps its answer: when it ended, and the answer.
pub(crate) async fn carry(
    kernel: &Arc<Kernel>,
    run: &OneRun,
    permitted: Box<Permitted>,
    entered: Entered,
    reserves: Option<Digest>,
) -> (Timestamp, Answer) {
    // A run has no caller that could go away, so even a read is carried through in a task of its own.
    let mut performed = tokio::spawn({
        let kernel = kernel.clone();
        async move { perform(&kernel, permitted, entered, None, reserves).await }
    });
    let answer = match begun_first(kernel, run, &mut performed).await {
        Ok(answer) => answer,
        Err(error) => {
            tracing::error!(name: "call.task_failed", %error, runId = %run.id, "a run ended badly");
            let (id, call) = (&run.facts.capability, run.call.as_ref());
            let intent = call.and_then(|call| call.intent());
            let body = refusal::unknown_outcome(id, intent);
            Answer::dispatched(InvokeResponse::refused(id.as_str(), body, intent))
        }
    };
    let facts = RunFacts {
        ended: kernel.clock.now(),
        ..run.facts.clone()
    };
    let ended = facts.ended;
    // What a single approval let it read has no grant whose end would be seen after a restart. The answer of an approved call
    // is kept with its item.
    if !run.is_approved && (!facts.is_read || facts.grant.is_some()) {
        let kept = KeptAnswer {
            run: Some(facts),
            ..KeptAnswer::of(&answer)
        };
        kernel.answers.keep_aside(Key::Run(&run.id), kept).await;
    }
    (ended, answer)
}

/// Begins a call in the background; an effect `reserves` its idempotency key.
pub(crate) fn start(
    kernel: &Arc<Kernel>,
    permitted: Box<Permitted>,
    entered: Entered,
    id: RunId,
    reserves: Option<Digest>,
) -> Answer {
    let permitted = Box::new(permitted.for_a_run());
    let run = Arc::new(OneRun::new(kernel, &permitted, &entered, id));
    let id = permitted.asked().id().clone();
    if !kernel.runs.enter(&run) {
        let error = ErrorBody::new(
            ErrorCode::RateLimited,
            format!("{AT_ONCE} of your runs are under way already."),
        )
        .about(&id)
        .with("retryAfterMs", 1_000)
        .then(NextKind::Retry, "wait for one of your runs to end");
        return Answer::refused(id.as_str(), error, None);
    }
    let handle = run.handle(&kernel.base, kernel.clock.now());
    let kernel = kernel.clone();
    tokio::spawn(async move {
        let (ended, answer) = carry(&kernel, &run, permitted, entered, reserves).await;
        let ok = answer.body.ok;
        run.over.send_replace(Some((ended, answer.body)));
        kernel.feed.publish(Notice::InvokeResolved {
            agent: run.facts.agent.clone(),
            epoch: run.facts.epoch,
            run: run.id.clone(),
            id: run.facts.capability.to_string(),
            ok,
        });
    });
    Answer {
        status: 202,
        body: InvokeResponse {
            run: Some(Box::new(handle)),
            ..InvokeResponse::ok(id.as_str(), None)
        },
    }
}
