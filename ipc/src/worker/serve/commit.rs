//! A commit: planned again in the writer, compared with what was approved, then done.

use super::server::{Shared, Unfinished, judged, panicked, until_over, wrong_kind};
use super::{guarded, judge};
use crate::message::{Commit, Content, Failure, MAX_TOUCHED, Stamp};
use crate::text::Output;
use crate::worker::handlers::{Handler, Plan, Reply};
use crate::worker::{CallContext, Source, SourceError};
use plexus_protocol::Effect;
use std::{collections::BTreeSet, future::pending, sync::Arc};

/// Sequences that are remembered one by one; what is older than all of them counts as seen.
const REMEMBERED: usize = 4_096;

/// The durable intents that this worker has been shown.
#[derive(Debug)]
pub(super) struct SeenIntents {
    launch: u64,
    /// Everything below counts as seen.
    floor: u64,
    above: BTreeSet<u64>,
}

impl SeenIntents {
    pub(super) fn new(launch: u64) -> Self {
        Self {
            launch,
            floor: 0,
            above: BTreeSet::new(),
        }
    }

    /// Admits each intent of this launch once. This catches mistakes of the gateway's; a hostile worker is bounded by
    /// its cage alone.
    pub(super) fn admit(&mut self, stamp: Stamp) -> Result<(), SourceError> {
        if stamp.launch != self.launch {
            return Err(SourceError::refused(
                "launch",
                "the intent was recorded by another launch of the gateway",
            ));
        }
        if stamp.sequence < self.floor || !self.above.insert(stamp.sequence) {
            return Err(SourceError::refused(
                "replayed",
                "this intent was committed before",
            ));
        }
        if self.above.len() > REMEMBERED
            && let Some(oldest) = self.above.pop_first()
        {
            self.floor = oldest + 1;
        }
        Ok(())
    }
}

impl<S: Source> Shared<S> {
    pub(super) async fn commit(
        &self,
        ctx: &CallContext,
        commit: &Commit,
    ) -> Result<Reply<Output>, Unfinished> {
        let (entry, handler) = self.entry(&commit.call)?;
        let Handler::Effect(run) = handler else {
            return Err(wrong_kind().into());
        };
        let planning = async {
            // A long-running effect would hold up all others; its source compares at the moment of effect.
            let turn = if entry.long_running {
                None
            } else if let Ok(turn) = self.commit_turn.try_acquire() {
                Some(turn)
            } else {
                ctx.progress("waits for another call of this source\n")
                    .await;
                self.commit_turn.acquire().await.ok()
            };
            let plan = run(
                Arc::clone(&self.source),
                ctx.clone(),
                commit.call.input.clone(),
            )
            .await?;
            Ok((plan, turn))
        };
        let (plan, _turn) = until_over(ctx, planning).await?;
        let plan = judged(entry, ctx, plan)?;
        approved(commit, &plan)?;
        if ctx.remaining().is_zero() {
            return Err(SourceError::new(
                Failure::DeadlineExceeded,
                "its time passed before it began",
            )
            .into());
        }
        // From here on nothing drops it: neither a deadline nor a cancel, which its handler may heed.
        ctx.begin();
        let planned = plan.touched;
        let stopped = async {
            self.stopping.wait().await;
            if entry.long_running {
                ctx.stop();
            }
            pending().await
        };
        let done = tokio::select! {
            done = guarded((plan.plan)(Arc::clone(&self.source), ctx.clone())) => done,
            done = stopped => done,
        };
        let reply = match done {
            Some(Ok(reply)) => reply,
            Some(Err(error)) => return Err(unfinished(error, planned)),
            None => return Err(unfinished(panicked(Effect::Unknown), planned)),
        };
        if reply.touched.len() > MAX_TOUCHED {
            return Err(unfinished(
                SourceError::transport("too_large", "it touched more than can be recorded")
                    .effect(Effect::Done),
                planned,
            ));
        }
        judge::output(&self.manifest.limits_of(entry), &reply)
            .map_err(|error| unfinished(error.effect(Effect::Done), reply.touched.clone()))?;
        Ok(reply)
    }
}

/// A failed commit touched what its plan names, unless it says that nothing was done.
fn unfinished(error: SourceError, planned: Vec<crate::message::Touched>) -> Unfinished {
    let touched = match error.effect {
        Effect::None => Vec::new(),
        Effect::Partial | Effect::Done | Effect::Unknown => planned,
    };
    Unfinished { error, touched }
}

/// Holds the plan that was made here against what the permit allows and what was known when it was given.
fn approved<F>(commit: &Commit, plan: &Plan<F>) -> Result<(), SourceError> {
    if plan.rating > commit.permit_rating {
        return Err(SourceError::new(
            Failure::RatingExceeded {
                rating: plan.rating,
            },
            "this input amounts to more than the grant allows",
        ));
    }
    if commit
        .state_token
        .is_some_and(|token| token != plan.state_token && !plan.also.contains(&token))
    {
        return Err(SourceError::changed(
            "plan_changed",
            "it would no longer do what the owner saw",
        ));
    }
    match (commit.expect, plan.before) {
        // The owner saw what would be replaced.
        (None, _) if commit.state_token.is_some() => Ok(()),
        (Some(expected), Some(found)) if expected == found => Ok(()),
        (None, None | Some(Content::Absent)) => Ok(()),
        (None | Some(Content::Absent), Some(Content::Is(_))) => Err(SourceError::changed(
            "unread",
            "something is there that this agent has not read",
        )),
        (Some(Content::Is(_)), Some(Content::Absent)) => Err(SourceError::changed(
            "gone",
            "what the agent read is no longer there",
        )),
        (Some(_), Some(_)) => Err(SourceError::changed(
            "changed",
            "it was changed since the agent read it",
        )),
        (Some(_), None) => Err(SourceError::changed(
            "not_comparable",
            "the source cannot say what is there now",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_forgotten_counts_as_seen() {
        let mut seen = SeenIntents::new(1);
        let last = REMEMBERED as u64 * 3;
        let stamp = |sequence| Stamp {
            launch: 1,
            sequence,
        };
        let mut admit = |sequence| seen.admit(stamp(sequence)).is_ok();
        // Every other one, so that there are gaps.
        assert!((0..=last).step_by(2).all(&mut admit));
        assert!((0..=last).step_by(2).all(|sequence| !admit(sequence)));
        assert!(admit(last - 1), "late and remembered as not seen");
        assert!(!admit(1), "too late to tell");
        assert!(seen.above.len() <= REMEMBERED);
    }
}
