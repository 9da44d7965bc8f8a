//! Calls that wait for a worker. The queue outlives the worker.
//!
//! Invariants: bounded; the owner's calls go first and agents cannot fill the owner's lane; within a lane the order is
//! that of arrival, and what a dead worker left goes in front. Whether an effect happened is asked once for each that
//! has no outcome, so those questions have their bound elsewhere: one that found no room would leave its effect unknown.
//!
//! Must not know: workers.

use super::call::{DispatchError, Job, Question};
use std::{collections::VecDeque, time::Duration};

/// Calls of agents that may wait for one worker.
pub const AGENTS_WAITING: usize = 256;
/// Calls of the owner that may wait for one worker.
pub const OWNER_WAITING: usize = 16;
/// What a refused caller is told to wait.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Three lanes.
#[derive(Debug, Default)]
pub(super) struct Queue {
    owner: VecDeque<Box<Job>>,
    verdicts: VecDeque<Box<Job>>,
    agents: VecDeque<Box<Job>>,
}

impl Queue {
    pub(super) fn is_empty(&self) -> bool {
        self.owner.is_empty() && self.verdicts.is_empty() && self.agents.is_empty()
    }

    /// Where the call waits, and how many may.
    fn lane(&mut self, job: &Job) -> (&mut VecDeque<Box<Job>>, usize) {
        if matches!(job.question, Question::Settle(_)) {
            (&mut self.verdicts, usize::MAX)
        } else if job.owner {
            (&mut self.owner, OWNER_WAITING)
        } else {
            (&mut self.agents, AGENTS_WAITING)
        }
    }

    /// Takes a new call in, or answers it with `Busy`.
    pub(super) fn push(&mut self, mut job: Box<Job>) {
        let (lane, most) = self.lane(&job);
        if lane.len() < most {
            lane.push_back(job);
        } else {
            job.answer(Err(DispatchError::Busy {
                retry_after: RETRY_AFTER,
            }));
        }
    }

    /// Puts a call back that was taken in before: in front, whatever waits.
    pub(super) fn put_back(&mut self, job: Box<Job>) {
        self.lane(&job).0.push_front(job);
    }

    /// The next call; one of an agent only if `agents` may go.
    pub(super) fn pop(&mut self, agents: bool) -> Option<Box<Job>> {
        let first = self.owner.pop_front();
        let first = first.or_else(|| self.verdicts.pop_front());
        first.or_else(|| {
            if agents {
                self.agents.pop_front()
            } else {
                None
            }
        })
    }

    /// Takes the call out.
    pub(super) fn remove(&mut self, id: u64) -> Option<Box<Job>> {
        [&mut self.owner, &mut self.verdicts, &mut self.agents]
            .into_iter()
            .find_map(|lane| {
                let at = lane.iter().position(|job| job.id == id)?;
                lane.remove(at)
            })
    }

    /// Answers everything that waits.
    pub(crate) fn refuse(&mut self, error: &DispatchError) {
        while let Some(mut job) = self.pop(true) {
            job.answer(Err(error.clone()));
        }
    }
}
