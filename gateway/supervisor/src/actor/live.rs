//! A worker that is up: its calls under way, its probes, its stop.
//!
//! ```text
//! Serving ─stop─▶ Asked ─time─▶ Termed ─time─▶ Killed        in each: end of stream ─▶ over
//!    └─missed probe, memory, overdue call─▶ Termed
//! ```
//!
//! Invariants: an answer that belongs to no call under way, or is not of its kind or size, ends the worker; a slot
//! is the owner's alone; one probe is out at a time. While it stops, answers are still taken. What it may say unasked
//! has a bound.
//!
//! Must not know: what follows its end.

use super::super::{
    Context,
    call::{DispatchError, Finished, Job, Question, Reply, Unavailable},
    egress::Egress,
    notice::{Cause, HostCall, Notice},
    process::Process,
    queue::Queue,
    start::Started,
    stderr::Stderr,
    turns::{First, Turns},
};
use super::unasked::Unasked;
use nix::sys::signal::Signal;
use plexus_ipc::{
    frame::FrameError,
    gateway::{ConnectionError, Receiver, Sender},
    message::{
        self, Chunk, Done, Failure, FromWorker, Health, HostAsk, Planned, ToWorker, Verdict,
        WorkerError,
    },
    text::Payload,
    worker::serve::CHECK_WITHIN,
};
use std::{collections::BTreeMap, future::pending, pin::Pin, sync::Arc, time::Duration};
use tokio::time::{Instant, Sleep, sleep_until, timeout};

/// Calls under way in one worker; the last slot is the owner's.
pub const UNDER_WAY: usize = 64;
/// How long the queue to a worker may be full. It holds more than [`UNDER_WAY`] calls and their cancellations, so this
/// passes only if the worker has stopped to read.
const SEND_WITHIN: Duration = Duration::from_secs(2);
/// A probe that is noticed this much after its deadline was missed by the gateway, not by the worker.
const OWN_LATENESS: Duration = Duration::from_millis(500);
/// Sleep of the machine that excuses a probe.
const NAP: Duration = Duration::from_millis(500);
/// Threads at which a worker is ended: the harness makes nine, a connector one or two of its own. No limit of the
/// kernel's counts those of one process.
const THREADS: u64 = 64;
/// How long after its deadline a call may stay without a word before its worker counts as broken.
const OVERDUE: Duration = Duration::from_secs(30);

/// Pieces of progress of calls that are over, from one probe to the next, at which a worker is ended.
const STRAYS: u32 = 1_000;

pub(super) struct Live<P: Process> {
    context: Arc<Context<P>>,
    process: P,
    out: Sender,
    inbox: Receiver<P::Stream>,
    /// Ends with it.
    _stderr: Stderr,
    /// Its way to the network, which is worth nothing without it.
    egress: Option<Arc<Egress>>,
    /// By id, which is the order in which they were handed in.
    under_way: BTreeMap<u64, Box<Job>>,
    /// How many of them are agents'.
    agents: usize,
    answered: bool,
    /// Pieces of progress of no call, since the last probe.
    strays: u32,
    unasked: Unasked,
    resident: bool,
    pub(super) revision: u64,
    /// Bytes at which it is ended.
    memory: u64,
    last_call: Instant,
    probe: Probing,
    stop: Option<Stopping>,
    timer: Pin<Box<Sleep>>,
    turns: Turns,
}

struct Probing {
    nonce: u64,
    /// When the next one is due; while one is out, when its answer is.
    due: Instant,
    /// The machine's sleep when the one that is out was sent.
    out: Option<Duration>,
    /// The owner asked, and no check has been sent since.
    asked: bool,
    /// What the one that is out may take.
    within: Duration,
}

struct Stopping {
    cause: Cause,
    step: Step,
    due: Instant,
}

enum Step {
    Asked,
    Termed,
    Killed,
}

/// Whether the worker is not to blame for a probe without answer: the machine slept for `nap` since it was sent, or the
/// gateway itself looked `late` after its deadline.
fn excused(nap: Duration, late: Duration) -> bool {
    nap > NAP || late > OWN_LATENESS
}

/// What happened.
pub(super) enum LiveEvent {
    Message(Result<Option<FromWorker>, ConnectionError>),
    Time,
    /// A call of its own has its answer, or will have none.
    HostAnswer(u64, Option<Payload>),
    /// Its egress is gone.
    EgressGone,
}

/// A worker that is over.
pub(super) struct Parts<P> {
    pub(super) process: P,
    pub(super) egress: Option<Arc<Egress>>,
    /// Its calls without answer.
    pub(super) jobs: BTreeMap<u64, Box<Job>>,
    /// Whether it ever answered.
    pub(super) answered: bool,
}

/// What the actor has to do about it.
pub(super) enum NextStep {
    GoOn,
    /// The worker answered a call.
    Answered,
    Probed(Health),
    /// It is being stopped.
    Stopping,
    /// It is to be ended and reaped.
    Over(Cause),
}

impl<P: Process> Live<P> {
    pub(super) fn new(started: Started<P>, context: Arc<Context<P>>) -> Self {
        let now = Instant::now();
        let due = now + context.pace.probe_every;
        Self {
            revision: started.spec.revision,
            memory: started.memory,
            context,
            process: started.process,
            out: started.out,
            inbox: started.inbox,
            _stderr: started.stderr,
            egress: started.egress,
            under_way: BTreeMap::new(),
            agents: 0,
            answered: false,
            strays: 0,
            resident: started.spec.offer.manifest.resident,
            unasked: Unasked::new(Arc::clone(&started.spec)),
            last_call: now,
            probe: Probing {
                nonce: 0,
                due,
                out: None,
                asked: false,
                within: Duration::ZERO,
            },
            stop: None,
            timer: Box::pin(sleep_until(due)),
            turns: Turns::default(),
        }
    }

    pub(super) fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// What is left of it.
    pub(super) fn into_parts(self) -> Parts<P> {
        Parts {
            process: self.process,
            egress: self.egress,
            jobs: self.under_way,
            answered: self.answered,
        }
    }

    /// Waits for the worker or for time. Cancelling it loses nothing.
    pub(super) async fn next(&mut self) -> LiveEvent {
        let due = self.stop.as_ref().map_or(self.probe.due, |stop| stop.due);
        if self.timer.deadline() != due {
            self.timer.as_mut().reset(due);
        }
        // A worker that never stops talking does not keep time from passing.
        let first = self.turns.first(self.inbox.next(), &mut self.timer);
        let egress = self.egress.as_ref().filter(|_| self.stop.is_none());
        let egress_gone = async {
            match egress {
                Some(egress) => egress.gone().await,
                None => pending().await,
            }
        };
        let first = tokio::select! {
            biased;
            () = egress_gone => return LiveEvent::EgressGone,
            (id, answer) = self.unasked.answered() => return LiveEvent::HostAnswer(id, answer),
            first = first => first,
        };
        match first {
            First::One(message) => LiveEvent::Message(message),
            First::Other(()) => LiveEvent::Time,
        }
    }

    pub(super) async fn on(&mut self, said: LiveEvent) -> NextStep {
        match said {
            LiveEvent::Message(Ok(Some(message))) => self.message(message),
            LiveEvent::Message(Ok(None)) => NextStep::Over(self.cause(Cause::Exited)),
            // A process that dies with words unread resets its stream: that is an end, not a breach.
            LiveEvent::Message(Err(ConnectionError::Frame(FrameError::Io(_)))) => {
                NextStep::Over(self.cause(Cause::Exited))
            }
            LiveEvent::Message(Err(error)) => {
                NextStep::Over(self.cause(Cause::Broke(error.to_string())))
            }
            LiveEvent::Time if self.stop.is_some() => self.escalate(),
            LiveEvent::Time => self.tick().await,
            // One that is given up has nobody who waits.
            LiveEvent::HostAnswer(_, None) => NextStep::GoOn,
            LiveEvent::HostAnswer(id, Some(response)) => {
                match self.send(ToWorker::HostAnswer { id, response }).await {
                    Ok(()) => NextStep::GoOn,
                    Err(_) => self.terminate(Cause::Exited),
                }
            }
            // The next one comes with a port and a credential of its own.
            LiveEvent::EgressGone => self.terminate(Cause::Egress),
        }
    }

    /// The reason it was stopped for, if it was, else `cause`.
    fn cause(&mut self, cause: Cause) -> Cause {
        self.stop.take().map_or(cause, |stop| stop.cause)
    }

    // Calls

    /// Sends what waits, as far as there are slots.
    pub(super) async fn pump(&mut self, queue: &mut Queue) {
        while self.stop.is_none() && self.under_way.len() < UNDER_WAY {
            let Some(mut job) = queue.pop(self.agents < UNDER_WAY - 1) else {
                return;
            };
            let now = Instant::now();
            if job.until <= now {
                job.answer(Err(DispatchError::Deadline { dispatched: false }));
                continue;
            }
            if !job.stands.holds() {
                job.answer(Err(DispatchError::TakenBack));
                continue;
            }
            match self.send(job.message(now)).await {
                Ok(()) => {
                    self.last_call = now;
                    self.agents += usize::from(!job.owner);
                    self.under_way.insert(job.id, job);
                }
                Err(ConnectionError::Frame(FrameError::Length { .. } | FrameError::Encode)) => {
                    job.answer(Err(DispatchError::Unavailable {
                        reason: Unavailable::Unsendable,
                        message: "the call is too large to be sent to a worker".into(),
                        told: "The call is too large to be sent to the source.",
                    }));
                }
                // It was not queued, so it was not sent; the end of the stream is about to be heard.
                Err(_) => {
                    queue.put_back(job);
                    self.terminate(Cause::Exited);
                    return;
                }
            }
        }
    }

    async fn send(&self, message: ToWorker) -> Result<(), ConnectionError> {
        match timeout(SEND_WITHIN, self.out.send(message)).await {
            Ok(sent) => sent,
            Err(_) => Err(FrameError::Closed.into()),
        }
    }

    /// Nobody waits for the call any more. It keeps its slot until the worker has let go of it.
    pub(super) async fn cancel(&mut self, id: u64) {
        let Some(job) = self.under_way.get_mut(&id) else {
            return;
        };
        job.reply = None;
        self.unasked.over(id);
        if matches!(job.question, Question::Read(_) | Question::Plan(_)) {
            self.say_of(id, ToWorker::Cancel { id }).await;
        }
    }

    pub(super) async fn late(&mut self, id: u64) {
        if let Some(job) = self.under_way.get_mut(&id) {
            job.answer(Err(DispatchError::Deadline { dispatched: true }));
            if !job.is_effect() {
                self.cancel(id).await;
            }
        }
    }

    fn take(&mut self, id: u64) -> Option<Box<Job>> {
        let job = self.under_way.remove(&id)?;
        self.agents -= usize::from(!job.owner);
        self.unasked.over(id);
        Some(job)
    }

    // What it says

    fn message(&mut self, message: FromWorker) -> NextStep {
        let said = match message {
            FromWorker::Done(done) => self.done(*done),
            FromWorker::Planned(planned) => self.planned(*planned),
            FromWorker::Settled { id, verdict } => self.settled(id, verdict),
            FromWorker::Progress(progress) => match self.progress(progress.id, progress.chunk) {
                Ok(()) => return NextStep::GoOn,
                Err(why) => Err(why),
            },
            FromWorker::Event(_) | FromWorker::HostCall(message::HostCall { call: None, .. })
                if self.stop.is_some() =>
            {
                return NextStep::GoOn;
            }
            FromWorker::Event(event) => match self.unasked.event(*event) {
                Ok(notice) => return self.notify(notice),
                Err(why) => Err(why),
            },
            FromWorker::HostCall(call) => {
                let job = call.call.and_then(|id| self.under_way.get(&id));
                match self.unasked.call(call, job.map(|job| &**job)) {
                    // A request that waits for the owner is still taken back.
                    Ok(HostCall { ask, reply, .. })
                        if self.stop.is_some() && !matches!(ask, HostAsk::Withdraw { .. }) =>
                    {
                        drop(reply.send(Unasked::ends()));
                        return NextStep::GoOn;
                    }
                    Ok(call) => return self.notify(Some(Notice::HostCall(Box::new(call)))),
                    Err(why) => Err(why),
                }
            }
            FromWorker::Probed { nonce, health } => return self.probed(nonce, health),
            FromWorker::Hello { .. }
            | FromWorker::Described { .. }
            | FromWorker::Opened { .. }
            | FromWorker::OpenFailed(_) => Err("an introduction after the first"),
        };
        match said {
            Ok(()) => {
                self.answered = true;
                NextStep::Answered
            }
            Err(why) => NextStep::Over(self.cause(Cause::Broke(why.to_owned()))),
        }
    }

    fn notify(&self, notice: Option<Notice>) -> NextStep {
        if let Some(notice) = notice {
            self.context.notify(notice);
        }
        NextStep::GoOn
    }

    fn done(&mut self, done: Done) -> Result<(), &'static str> {
        let job = self.under_way.get(&done.id).ok_or("an answer to no call")?;
        if !matches!(job.question, Question::Read(_) | Question::Commit(_)) {
            return Err("an answer of another kind than the call");
        }
        if done
            .result
            .as_ref()
            .is_ok_and(|answer| answer.output.len() > job.most)
        {
            return Err("an output beyond the limit");
        }
        let Done {
            id,
            result,
            touched,
        } = done;
        self.heed(result.as_ref().err());
        self.answer(id, Reply::Finished(Finished { result, touched }))
    }

    fn planned(&mut self, planned: Planned) -> Result<(), &'static str> {
        let job = self.under_way.get(&planned.id).ok_or("a plan of no call")?;
        if !matches!(job.question, Question::Plan(_)) {
            return Err("a plan where none was asked for");
        }
        self.heed(planned.result.as_ref().err());
        self.answer(planned.id, Reply::Planned(planned.result.map(Box::new)))
    }

    /// Tells of a failure that is the owner's to put right, for any caller.
    fn heed(&self, error: Option<&WorkerError>) {
        if let Some(Failure::ScopeMissing { wanted }) = error.map(|error| &error.code) {
            self.context.notify(self.unasked.scope_missing(wanted));
        }
    }

    fn settled(&mut self, id: u64, verdict: Verdict) -> Result<(), &'static str> {
        let job = self.under_way.get(&id).ok_or("a verdict on no call")?;
        if !matches!(job.question, Question::Settle(_)) {
            return Err("a verdict where none was asked for");
        }
        self.answer(id, Reply::Settled(verdict))
    }

    fn answer(&mut self, id: u64, reply: Reply) -> Result<(), &'static str> {
        let mut job = self.take(id).ok_or("an answer to no call")?;
        job.answer(Ok(reply));
        Ok(())
    }

    /// That of a call that is over is dropped: a task that a cancelled read left behind may still report.
    fn progress(&mut self, id: u64, chunk: Chunk) -> Result<(), &'static str> {
        let Some(job) = self.under_way.get_mut(&id) else {
            self.strays += 1;
            return match self.strays > STRAYS {
                true => Err("a flood of progress of no call"),
                false => Ok(()),
            };
        };
        match job.progress.pass(id, chunk) {
            true => Ok(()),
            false => Err("progress beyond its credit"),
        }
    }

    /// The call may stream so many bytes more.
    pub(super) async fn credit(&mut self, id: u64, bytes: u32) {
        if let Some(job) = self.under_way.get_mut(&id) {
            job.progress.give(bytes);
            self.say_of(id, ToWorker::Credit { id, bytes }).await;
        }
    }

    /// Says `message` about a call that is under way, unless the worker is being stopped.
    pub(super) async fn say_of(&mut self, id: u64, message: ToWorker) {
        let wanted = self.stop.is_none() && self.under_way.contains_key(&id);
        // One that does not read any more is not waited for again with the next.
        if wanted && self.send(message).await.is_err() {
            self.terminate(Cause::Exited);
        }
    }

    fn probed(&mut self, nonce: u64, health: Health) -> NextStep {
        if self.probe.out.is_none() || nonce != self.probe.nonce {
            return NextStep::Over(self.cause(Cause::Broke("an answer to no probe".to_owned())));
        }
        self.answered = true;
        self.probe.out = None;
        self.probe.due = Instant::now();
        if !self.probe.asked {
            self.probe.due += self.context.pace.probe_every;
        }
        NextStep::Probed(health)
    }

    // Time

    /// Has the worker ask its app as soon as no probe is out.
    pub(super) fn check_now(&mut self) {
        self.probe.asked = true;
        if self.probe.out.is_none() {
            self.probe.due = Instant::now();
        }
    }

    /// Whether the owner waits for a check that was not sent yet.
    pub(super) fn owes_check(&self) -> bool {
        self.probe.asked
    }

    async fn tick(&mut self) -> NextStep {
        let now = Instant::now();
        if let Some(slept) = self.probe.out {
            let late = now.saturating_duration_since(self.probe.due);
            if !excused(self.process.slept().saturating_sub(slept), late) {
                return self.terminate(Cause::Mute);
            }
            tracing::debug!(name: "worker.probe_excused", pid = self.pid(), durationMs = u64::try_from(late.as_millis()).unwrap_or(u64::MAX), "a missed probe is excused");
            self.probe.out = Some(self.process.slept());
            self.probe.due = now + self.probe.within;
            return NextStep::GoOn;
        }
        if let Some(held) = self.process.held() {
            if held.memory > self.memory {
                return self.terminate(Cause::Memory);
            }
            if held.threads > THREADS {
                return self.terminate(Cause::Threads);
            }
        }
        if self.under_way.values().any(|job| job.until + OVERDUE < now) {
            return self.terminate(Cause::Overdue);
        }
        let idle = self.under_way.is_empty() && !self.resident;
        if idle && now >= self.last_call + self.context.pace.idle {
            // Nothing is under way, so nobody is told this.
            self.stop(Cause::Idle, &DispatchError::ShuttingDown).await;
            return NextStep::Stopping;
        }
        self.strays = 0;
        let dropped = self.unasked.dropped();
        self.notify(dropped);
        self.probe.nonce += 1;
        self.probe.out = Some(self.process.slept());
        self.probe.within = self.context.pace.probe_within;
        let nonce = self.probe.nonce;
        let message = match std::mem::take(&mut self.probe.asked) {
            true => {
                self.probe.within += CHECK_WITHIN;
                ToWorker::Check { nonce }
            }
            false => ToWorker::Probe { nonce },
        };
        self.probe.due = now + self.probe.within;
        match self.send(message).await {
            Ok(()) => NextStep::GoOn,
            Err(_) => self.terminate(Cause::Exited),
        }
    }

    // Stop

    /// Asks the worker to finish its commits and end. What changes nothing is answered with `refusal` now.
    pub(super) async fn stop(&mut self, cause: Cause, refusal: &DispatchError) {
        for job in self.under_way.values_mut().filter(|job| !job.is_effect()) {
            job.answer(Err(refusal.clone()));
        }
        if self.stop.is_some() {
            return;
        }
        let effects = self.under_way.values().any(|job| job.is_effect());
        let pace = &self.context.pace;
        let patience = if effects {
            pace.effects_within
        } else {
            pace.stop_within
        };
        let asked = self.send(ToWorker::Stop).await;
        self.stop = Some(Stopping {
            cause,
            step: Step::Asked,
            due: Instant::now() + patience,
        });
        if asked.is_err() {
            self.escalate();
        }
    }

    /// Ends a worker that cannot be asked.
    fn terminate(&mut self, cause: Cause) -> NextStep {
        self.stop = Some(Stopping {
            cause,
            step: Step::Asked,
            due: Instant::now(),
        });
        self.escalate()
    }

    fn escalate(&mut self) -> NextStep {
        let Some(stop) = &mut self.stop else {
            return NextStep::GoOn;
        };
        match stop.step {
            Step::Asked => {
                self.process.signal(Signal::SIGTERM);
                stop.step = Step::Termed;
            }
            Step::Termed => {
                self.process.signal(Signal::SIGKILL);
                stop.step = Step::Killed;
            }
            // Its stream should have ended. Whatever holds it open, the calls go on without it.
            Step::Killed => return NextStep::Over(self.cause(Cause::Exited)),
        }
        stop.due = Instant::now() + self.context.pace.signal_within;
        NextStep::Stopping
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nap_or_our_own_lateness_excuses_a_missed_probe_and_nothing_else_does() {
        let ms = Duration::from_millis;
        assert!(!excused(ms(0), ms(3)));
        assert!(!excused(ms(20), ms(20)), "two clocks are not read at once");
        assert!(excused(ms(60_000), ms(3)));
        assert!(excused(ms(0), ms(900)));
    }
}
