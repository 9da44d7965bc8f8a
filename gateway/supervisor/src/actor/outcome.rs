//! What follows when a worker came up, did not come up, or went: the edges of the diagram that the worker draws.
//!
//! Must not know: what callers ask for.

use super::{
    super::{
        call::{DispatchError, Job, Unavailable},
        notice::{Cause, Health, Notice, SourceHealth, WorkerState},
        process::Process,
        start::{self, Exit, StartError, Started},
    },
    Actor, After, ProcessState, READ_RETRIES, START_ATTEMPTS,
    live::{self, Live, LiveEvent},
    replaced,
};
use std::{collections::BTreeMap, sync::Arc};
use tokio::time::Instant;

/// How calls are refused while a start fails so.
pub(crate) fn refusal(error: &StartError) -> DispatchError {
    DispatchError::Unavailable {
        reason: match error {
            StartError::Open(_) => Unavailable::CannotOpen,
            StartError::Program(_) => Unavailable::CodeChanged,
            _ => Unavailable::CannotStart,
        },
        message: error.to_string(),
        told: error.told(),
    }
}

impl<P: Process> Actor<P> {
    pub(super) async fn started(&mut self, started: Started<P>) {
        let Started {
            ref process,
            ref cage,
            ref health,
            ref spec,
            ..
        } = started;
        let revision = spec.revision;
        let pid = process.pid();
        self.context.notify(Notice::Started {
            source: self.spec.source.clone(),
            role: self.role,
            pid,
            cage: (**cage).clone(),
            build: plexus_ipc::BUILD,
        });
        let (cage, health) = (Arc::clone(cage), health.clone());
        let mut live = Box::new(Live::new(started, Arc::clone(&self.context)));
        let mut is_checked = false;
        // Called off too late: it is up already.
        let off = match self.ending {
            Some(ending) => Some(ending.cause()),
            None if revision != self.spec.revision => Some(Cause::Replaced),
            None => None,
        };
        if let Some(cause) = off {
            live.stop(cause, &replaced()).await;
        } else if !self.probes.is_empty() {
            // The owner who asked meanwhile wants its check, which its start is not.
            live.check_now();
            is_checked = true;
        }
        self.stage = ProcessState::Up(live);
        self.state(WorkerState::Ready, Some(pid));
        self.show(|view| view.cage = Some(cage));
        self.health(health.into());
        if !is_checked {
            self.answer_probes();
        }
    }

    pub(super) fn start_failed(&mut self, error: StartError) {
        let stage = std::mem::replace(&mut self.stage, ProcessState::Stopped);
        self.stop_stage();
        // What an older revision came to is not held against the present one.
        let present = matches!(stage, ProcessState::Starting { revision, .. } if revision == self.spec.revision);
        if !present || matches!(error, StartError::CalledOff) {
            return;
        }
        self.failures += 1;
        let (message, told, refusal) = (error.to_string(), error.told(), refusal(&error));
        let lasts = error.lasts();
        // The owner sets a secret once its source is there: till then a resident worker that nobody asked for is no news.
        let is_unasked = self.queue.is_empty() && self.probes.is_empty();
        let is_early = is_unasked && error.lacks_secret() && self.failures < START_ATTEMPTS;
        if is_early {
            tracing::debug!(name: "worker.not_started", source = %self.spec.source, role = %self.role, %error, attempts = self.failures, "a worker did not start");
        } else {
            tracing::warn!(name: "worker.not_started", source = %self.spec.source, role = %self.role, %error, attempts = self.failures, "a worker did not start");
        }
        // A failed source is reported once, until it recovers or fails for another reason.
        if !is_early && (self.failures <= START_ATTEMPTS || message != self.reported) {
            self.reported.clone_from(&message);
            self.context.notify(Notice::StartFailed {
                source: self.spec.source.clone(),
                role: self.role,
                why: error,
                attempts: self.failures,
            });
        }
        self.health(SourceHealth::of(Health::Unavailable, Some((message, told))));
        if lasts {
            self.queue.refuse(&refusal);
        }
        self.back_off(refusal);
    }

    /// Waits before the next start; after too many failures in a row answers everything with `refusal` meanwhile, and
    /// waits longer each time, unless a call comes after the first pause.
    fn back_off(&mut self, refusal: DispatchError) {
        self.answer_probes();
        if self.ending.is_some() {
            return;
        }
        let pace = &self.context.pace;
        let doubled = |times| 2_u32.saturating_pow(times);
        let pause = match self.failures.checked_sub(START_ATTEMPTS) {
            Some(further) => {
                self.queue.refuse(&refusal);
                self.refusal = Some(refusal);
                let pause = pace.failed_pause.saturating_mul(doubled(further));
                pause.min(pace.longest_pause)
            }
            None => pace.backoff * doubled(self.failures.saturating_sub(1)),
        };
        let now = Instant::now();
        self.stage = ProcessState::Waiting {
            until: now + pause,
            calls_from: now + pace.failed_pause,
        };
        let failed = self.refusal.is_some();
        self.state(
            if failed {
                WorkerState::Failed
            } else {
                WorkerState::Backoff
            },
            None,
        );
    }

    pub(super) async fn heard(&mut self, said: LiveEvent) {
        let ProcessState::Up(live) = &mut self.stage else {
            return;
        };
        match live.on(said).await {
            live::NextStep::GoOn => {}
            live::NextStep::Answered => self.failures = 0,
            live::NextStep::Probed(health) => {
                let is_answered = !live.owes_check();
                self.failures = 0;
                self.health(health.into());
                if is_answered {
                    self.answer_probes();
                }
            }
            live::NextStep::Stopping => self.state_of_stopping(),
            live::NextStep::Over(cause) => self.over(cause),
        }
    }

    fn state_of_stopping(&mut self) {
        if let ProcessState::Up(live) = &self.stage {
            let pid = live.pid();
            self.state(WorkerState::Stopping, Some(pid));
        }
    }

    /// The stream has ended or is not to be trusted any more: the group dies now; its calls go on, or are answered when it and its
    /// runs are over.
    fn over(&mut self, cause: Cause) {
        let ProcessState::Up(live) = std::mem::replace(&mut self.stage, ProcessState::Stopped)
        else {
            return;
        };
        let revision = live.revision;
        let live::Parts {
            process,
            egress,
            jobs,
            answered,
        } = live.into_parts();
        let pid = process.pid();
        let died = self.put_back(jobs);
        self.stage = ProcessState::Reaping {
            reaping: Box::pin(async move {
                let exit = Exit(process.end(start::REAP_WITHIN).await);
                if let Some(egress) = egress {
                    egress.release().await;
                }
                exit
            }),
            after: After {
                pid,
                died,
                cause,
                answered,
                revision,
            },
        };
        self.state(WorkerState::Stopping, Some(pid));
    }

    /// Reads go back to the front of the queue, in their order; answers with what may have had an effect.
    fn put_back(&mut self, jobs: BTreeMap<u64, Box<Job>>) -> Vec<Job> {
        let mut died = Vec::new();
        for mut job in jobs.into_values().rev() {
            job.deaths += 1;
            if job.reply.is_none() {
                // Cancelled, late, or refused when the worker was asked to stop.
            } else if job.is_effect() || job.deaths > READ_RETRIES {
                died.push(*job);
            } else {
                self.queue.put_back(job);
            }
        }
        died
    }

    pub(super) fn reaped(&mut self, exit: Exit) {
        let ProcessState::Reaping { after, .. } =
            std::mem::replace(&mut self.stage, ProcessState::Stopped)
        else {
            return;
        };
        let After {
            pid,
            died,
            cause,
            answered,
            revision,
        } = after;
        for mut job in died {
            job.answer(Err(DispatchError::Died { dispatched: true }));
        }
        let asked_for = cause.asked_for();
        if asked_for {
            tracing::debug!(name: "worker.ended", source = %self.spec.source, role = %self.role, pid, %cause, %exit, "a worker ended");
        } else {
            tracing::warn!(name: "worker.ended", source = %self.spec.source, role = %self.role, pid, %cause, %exit, "a worker ended");
        }
        let message = format!("its worker ended: {cause}");
        self.context.notify(Notice::Ended {
            source: self.spec.source.clone(),
            role: self.role,
            pid,
            cause,
            exit,
        });
        self.stop_stage();
        // What an older revision came to is not held against the present one.
        let present = revision == self.spec.revision;
        if asked_for {
            self.failures = 0;
        }
        if self.ending.is_some() || asked_for || !present {
            return;
        }
        if answered {
            self.show(|view| view.restarts += 1);
            self.begin();
        } else {
            self.failures += 1;
            let told = "The source's worker ended before it had answered.";
            let why = Some((message.clone(), told));
            self.health(SourceHealth::of(Health::Unavailable, why));
            self.back_off(DispatchError::Unavailable {
                reason: Unavailable::CannotStart,
                message,
                told,
            });
        }
    }
}
