//! The way into the writer: two bounded lanes, the owner's drained first.
//!
//! `std::sync::mpsc` cannot wait on two channels at once, and an owner's revoke must not stand behind four thousand
//! calls of agents; so this is a mutex, two queues and a condition variable. The lock is held for a push or a drain
//! and never across an await; the writer is woken only when it sleeps.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Which queue a command stands in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lane {
    /// Acts of agents, and everything the gateway does for them.
    Agent,
    /// Acts of the owner: their own places, served first, and the last space on a full disk.
    Owner,
}

pub(crate) struct Queue<J> {
    lanes: Mutex<Lanes<J>>,
    wake: Condvar,
    room: [usize; 2],
}

struct Lanes<J> {
    owner: VecDeque<J>,
    agent: VecDeque<J>,
    closed: bool,
    nudged: bool,
    /// The writer sleeps, until so many wait or one of the owner's does.
    asleep_until: Option<usize>,
}

/// Why a push did not happen.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum PushError {
    Full,
    Closed,
}

/// What a [`Queue::take`] came back with.
pub(crate) enum QueueTake<J> {
    Jobs(Vec<J>),
    /// The time was up, or somebody nudged.
    Idle,
    /// Closed, and nothing is left.
    Closed,
}

impl<J> Queue<J> {
    pub(crate) fn new(agent_room: usize, owner_room: usize) -> Self {
        let lanes = Lanes {
            owner: VecDeque::new(),
            agent: VecDeque::new(),
            closed: false,
            nudged: false,
            asleep_until: None,
        };
        Self {
            lanes: Mutex::new(lanes),
            wake: Condvar::new(),
            room: [agent_room, owner_room],
        }
    }

    pub(crate) fn push(&self, lane: Lane, job: J) -> Result<(), PushError> {
        let mut lanes = self.lock();
        if lanes.closed {
            return Err(PushError::Closed);
        }
        let (queue, room) = match lane {
            Lane::Agent => (&mut lanes.agent, self.room[0]),
            Lane::Owner => (&mut lanes.owner, self.room[1]),
        };
        if queue.len() >= room {
            return Err(PushError::Full);
        }
        queue.push_back(job);
        // Notifying is a system call; a writer that is awake looks at the queue anyway.
        let wake = lanes
            .asleep_until
            .is_some_and(|many| lanes.len() >= many || lane == Lane::Owner);
        if wake {
            lanes.asleep_until = None;
        }
        drop(lanes);
        if wake {
            self.wake.notify_one();
        }
        Ok(())
    }

    /// Waits for jobs, at most `patience` (for ever if `None`), then takes at most `most`, the owner's first.
    pub(crate) fn take(&self, most: usize, patience: Option<Duration>) -> QueueTake<J> {
        let mut lanes = self.lock();
        loop {
            let jobs = lanes.drain(most);
            if !jobs.is_empty() {
                return QueueTake::Jobs(jobs);
            }
            if std::mem::take(&mut lanes.nudged) {
                return QueueTake::Idle;
            }
            if lanes.closed {
                return QueueTake::Closed;
            }
            lanes.asleep_until = Some(1);
            lanes = match patience {
                None => self
                    .wake
                    .wait(lanes)
                    .unwrap_or_else(PoisonError::into_inner),
                Some(patience) => {
                    let (lanes, waited) = self
                        .wake
                        .wait_timeout(lanes, patience)
                        .unwrap_or_else(PoisonError::into_inner);
                    if waited.timed_out()
                        && lanes.owner.is_empty()
                        && lanes.agent.is_empty()
                        && !lanes.closed
                        && !lanes.nudged
                    {
                        return QueueTake::Idle;
                    }
                    lanes
                }
            };
        }
    }

    /// Has the writer look at what is not in a lane, at once if nothing is in one. False if there is no writer any more.
    pub(crate) fn nudge(&self) -> bool {
        let mut lanes = self.lock();
        lanes.nudged = true;
        self.wake.notify_one();
        !lanes.closed
    }

    /// Waits until `company` jobs are there, or one of the owner's, at most `patience`; then takes at most `company`.
    pub(crate) fn linger(&self, company: usize, patience: Duration) -> Vec<J> {
        let mut lanes = self.lock();
        let alone = |lanes: &mut Lanes<J>| {
            let alone = lanes.len() < company && lanes.owner.is_empty() && !lanes.closed;
            lanes.asleep_until = alone.then_some(company);
            alone
        };
        lanes = self
            .wake
            .wait_timeout_while(lanes, patience, alone)
            .unwrap_or_else(PoisonError::into_inner)
            .0;
        lanes.asleep_until = None;
        lanes.drain(company)
    }

    /// Takes what is there, without waiting.
    pub(crate) fn take_now(&self, most: usize) -> Vec<J> {
        self.lock().drain(most)
    }

    /// Refuses further pushes; what is queued is still served.
    pub(crate) fn close(&self) {
        self.lock().closed = true;
        self.wake.notify_one();
    }

    pub(crate) fn len(&self) -> usize {
        self.lock().len()
    }

    fn lock(&self) -> MutexGuard<'_, Lanes<J>> {
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<J> Lanes<J> {
    fn len(&self) -> usize {
        self.owner.len() + self.agent.len()
    }

    fn drain(&mut self, most: usize) -> Vec<J> {
        let owners = most.min(self.owner.len());
        let agents = (most - owners).min(self.agent.len());
        self.owner
            .drain(..owners)
            .chain(self.agent.drain(..agents))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_owner_has_places_of_their_own_and_is_served_first() {
        let queue = Queue::new(2, 1);
        assert_eq!(queue.push(Lane::Agent, 1), Ok(()));
        assert_eq!(queue.push(Lane::Agent, 2), Ok(()));
        assert_eq!(queue.push(Lane::Agent, 3), Err(PushError::Full));
        assert_eq!(queue.push(Lane::Owner, 4), Ok(()));
        assert_eq!(queue.push(Lane::Owner, 5), Err(PushError::Full));
        assert_eq!(queue.take_now(2), [4, 1]);
        assert_eq!(queue.take_now(2), [2]);
    }

    #[test]
    fn a_nudge_is_heard_once_and_behind_what_is_queued() {
        let queue = Queue::new(1, 1);
        assert!(queue.nudge());
        assert_eq!(queue.push(Lane::Agent, 1), Ok(()));
        assert!(matches!(queue.take(1, None), QueueTake::Jobs(jobs) if jobs == [1]));
        assert!(matches!(queue.take(1, None), QueueTake::Idle));
        queue.close();
        assert!(!queue.nudge());
        assert!(matches!(queue.take(1, None), QueueTake::Idle));
        assert!(matches!(queue.take(1, None), QueueTake::Closed));
    }

    #[test]
    fn a_closed_queue_is_emptied_before_it_says_so() {
        let queue = Queue::new(1, 1);
        assert_eq!(queue.push(Lane::Agent, 1), Ok(()));
        queue.close();
        assert_eq!(queue.push(Lane::Owner, 2), Err(PushError::Closed));
        assert!(matches!(queue.take(1, None), QueueTake::Jobs(jobs) if jobs == [1]));
        assert!(matches!(queue.take(1, None), QueueTake::Closed));
    }

    #[test]
    fn a_sleeping_writer_is_woken_by_a_push_and_by_a_close() {
        let queue = Queue::new(1, 1);
        std::thread::scope(|threads| {
            let writer = threads.spawn(|| {
                let first = matches!(queue.take(1, None), QueueTake::Jobs(jobs) if jobs == [7]);
                first && matches!(queue.take(1, None), QueueTake::Closed)
            });
            while queue.lock().asleep_until.is_none() {
                std::thread::yield_now();
            }
            assert_eq!(queue.push(Lane::Agent, 7), Ok(()));
            while queue.lock().asleep_until.is_none() {
                std::thread::yield_now();
            }
            queue.close();
            assert!(writer.join().unwrap_or(false));
        });
    }

    #[test]
    fn a_lingering_writer_is_woken_by_the_company_it_waits_for_and_by_the_owner() {
        let long = Duration::from_secs(3_600);
        let queue = Queue::<i32>::new(8, 8);
        assert!(queue.linger(3, Duration::ZERO).is_empty());
        for (lane, jobs) in [(Lane::Agent, vec![1, 2, 3]), (Lane::Owner, vec![4])] {
            std::thread::scope(|threads| {
                let writer = threads.spawn(|| queue.linger(3, long));
                for job in &jobs {
                    while queue.lock().asleep_until.is_none() {
                        std::thread::yield_now();
                    }
                    assert_eq!(queue.push(lane, *job), Ok(()));
                }
                assert_eq!(writer.join().expect("woken"), jobs);
            });
        }
        // What is there already is not waited for, and no more than the company is taken.
        (1..=4).for_each(|job| assert_eq!(queue.push(Lane::Agent, job), Ok(())));
        assert_eq!(queue.linger(3, long), [1, 2, 3]);
        queue.close();
        assert_eq!(queue.linger(3, long), [4]);
    }
}
