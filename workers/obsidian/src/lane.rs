//! [`Lane`]: short work on files, many pieces to one wake-up of a file thread, and many answers to one wake-up of the
//! runtime.
//!
//! ```text
//! run ─▶ waiting ──a thread takes one after the other──▶ answers ──together──▶ callers
//!           └──the front waits 2 ms or more: one thread more takes from the same queue
//! ```
//! Waking a thread and being woken by it costs more than reading a note. So the thread that is at it goes on while there
//! is work, and nobody else is woken; what a slow disk or a slow walk holds up does not hold up the rest for long. For the
//! same reason the runtime is woken for several answers at once, and the callers that get them write theirs in one go.
//!
//! One task looks after all that waits, and hands out the answers: a timer for each piece would wake the runtime once a
//! piece, because each is due before anything else that it waits for.
//!
//! Invariants: each piece is run once, or not at all if its caller has gone; a panic ends its piece only; with work
//! waiting there is a thread at it, or asked for, and the task that asks for another; an answer waits for others only
//! while its thread has more to do, and no longer than [`HELP_AFTER`]: whatever is taken from the queue was seen waiting
//! there by the task, which then looks again.
//!
//! Must not know: what the work is.

use std::{
    collections::VecDeque,
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    sync::{Notify, oneshot},
    time::{Instant, sleep},
};

/// How long the front piece waits before a further thread is asked for: some 250 times what reading a short note takes.
const HELP_AFTER: Duration = Duration::from_millis(2);
/// How long answers are gathered: what a dozen short notes take.
const HOLD: Duration = Duration::from_micros(100);
/// Answers that are handed out together at most.
const TOGETHER: usize = 8;

/// The queue and the threads at it. Clones are the same.
#[derive(Clone, Default)]
pub(crate) struct Lane(Arc<Shared>);

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    /// Wakes the task that looks after the queue.
    look: Notify,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Piece>,
    /// What has been answered and not been handed out.
    answers: Vec<Answer>,
    /// When the first of them was.
    answered: Option<Instant>,
    /// Threads that take from `waiting`, those only asked for included.
    threads: usize,
    /// Whether a task looks after what waits.
    is_watched: bool,
}

/// Gives an answer to its waiter.
type Answer = Box<dyn FnOnce() + Send>;

struct Piece {
    work: Box<dyn FnOnce() -> Option<Answer> + Send>,
    since: Instant,
}

/// The work panicked.
#[derive(Debug)]
pub(crate) struct Panicked;

impl Lane {
    /// Does `work` on a file thread. To be called in a runtime with time.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Panicked> {
        let (answer, answered) = oneshot::channel();
        {
            let mut state = self.lock();
            // Only with something waiting does the task need a timer.
            let to_time = state.waiting.is_empty();
            state.waiting.push_back(Piece {
                work: Box::new(move || {
                    if answer.is_closed() {
                        return None;
                    }
                    let done = work();
                    Some(Box::new(move || {
                        let _ = answer.send(done);
                    }))
                }),
                since: Instant::now(),
            });
            if !state.is_watched {
                state.is_watched = true;
                tokio::spawn(self.clone().watch());
            } else if to_time {
                self.0.look.notify_one();
            }
            if state.threads == 0 {
                self.ask_for_thread(state);
            }
        }
        answered.await.map_err(|_| Panicked)
    }

    /// Hands out answers, and asks for a further thread when the front has waited too long. Ends when there is nothing
    /// left to do.
    async fn watch(self) {
        loop {
            let (answers, waits) = {
                let mut state = self.lock();
                state.answered = None;
                let answers = std::mem::take(&mut state.answers);
                let front = state.waiting.front().map(|piece| piece.since);
                if answers.is_empty() && front.is_none() && state.threads == 0 {
                    state.is_watched = false;
                    return;
                }
                if front.is_some_and(|since| since.elapsed() >= HELP_AFTER) {
                    self.ask_for_thread(state);
                }
                (answers, front.is_some())
            };
            for answer in answers {
                answer();
            }
            tokio::select! {
                biased;
                () = self.0.look.notified() => {}
                () = sleep(HELP_AFTER), if waits => {}
            }
        }
    }

    /// How many there can be is the runtime's to limit; each ends when nothing waits.
    fn ask_for_thread(&self, mut state: MutexGuard<'_, State>) {
        state.threads += 1;
        drop(state);
        let lane = self.clone();
        #[expect(
            clippy::disallowed_methods,
            reason = "it costs a worker the call that asked"
        )]
        tokio::task::spawn_blocking(move || lane.work_off());
    }

    fn work_off(&self) {
        let mut answer = None;
        loop {
            let mut state = self.lock();
            if let Some(answer) = answer.take() {
                state.answers.push(answer);
                state.answered.get_or_insert_with(Instant::now);
            }
            let piece = state.waiting.pop_front();
            let due = match &piece {
                None => {
                    state.threads -= 1;
                    true
                }
                Some(_) => {
                    state.answers.len() >= TOGETHER
                        || state.answered.is_some_and(|first| first.elapsed() >= HOLD)
                }
            };
            drop(state);
            if due {
                self.0.look.notify_one();
            }
            let Some(piece) = piece else { return };
            // The caller notices a panic by the answer that never comes.
            answer = catch_unwind(AssertUnwindSafe(piece.work)).unwrap_or(None);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing runs under this lock that could leave it half changed.
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Lane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Lane(…)")
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::mpsc, thread::ThreadId};

    use super::*;

    fn thread() -> ThreadId {
        std::thread::current().id()
    }

    #[tokio::test]
    async fn quick_work_shares_a_thread_and_slow_work_holds_up_nothing() {
        let lane = Lane::default();
        let (open, gate) = mpsc::channel::<()>();
        let slow = tokio::spawn({
            let lane = lane.clone();
            async move {
                lane.run(move || {
                    gate.recv().unwrap();
                    thread()
                })
                .await
            }
        });
        tokio::task::yield_now().await;
        assert_eq!(lane.lock().threads, 1, "the slow piece has its thread");
        // Answered while the slow piece is still at it, so on another thread.
        let quick = lane.run(thread).await.unwrap();
        open.send(()).unwrap();
        assert_ne!(slow.await.unwrap().unwrap(), quick);
    }

    #[tokio::test]
    async fn an_answer_is_not_held_up_by_slow_work_behind_it() {
        let lane = Lane::default();
        let (begin, head) = mpsc::channel::<()>();
        let (open, gate) = mpsc::channel::<()>();
        let (first, quick, slow) = (lane.clone(), lane.clone(), lane.clone());
        let first = tokio::spawn(async move { first.run(move || head.recv()).await });
        let quick = tokio::spawn(async move { quick.run(|| 7).await });
        let slow = tokio::spawn(async move { slow.run(move || gate.recv()).await });
        tokio::task::yield_now().await;
        // All three are in the queue, or in the hands of its thread.
        begin.send(()).unwrap();
        first.await.unwrap().unwrap().unwrap();
        assert_eq!(quick.await.unwrap().unwrap(), 7);
        assert!(!slow.is_finished(), "the control");
        open.send(()).unwrap();
        slow.await.unwrap().unwrap().unwrap();
    }

    #[tokio::test]
    async fn a_queue_is_worked_off_in_order() {
        let lane = Lane::default();
        let (say, said) = mpsc::channel();
        let mut pieces = tokio::task::JoinSet::new();
        for number in 0..200 {
            let (lane, say) = (lane.clone(), say.clone());
            pieces.spawn(async move { lane.run(move || say.send((number, thread()))).await });
        }
        while let Some(piece) = pieces.join_next().await {
            piece.unwrap().unwrap().unwrap();
        }
        drop(say);
        assert_eq!(said.iter().count(), 200);
        assert!(lane.lock().waiting.is_empty());
    }

    #[tokio::test]
    async fn a_panic_ends_its_piece_only() {
        let lane = Lane::default();
        let ended = lane.run::<()>(|| panic!("on purpose")).await;
        assert!(matches!(ended, Err(Panicked)));
        assert_eq!(lane.run(|| 7).await.unwrap(), 7);
    }

    #[tokio::test]
    async fn work_that_nobody_waits_for_is_not_begun() {
        let lane = Lane::default();
        let (open, gate) = mpsc::channel::<()>();
        let (say, said) = mpsc::channel();
        let first = tokio::spawn({
            let lane = lane.clone();
            async move { lane.run(move || gate.recv().unwrap()).await }
        });
        tokio::task::yield_now().await;
        for is_wanted in [false, true] {
            let (lane, say) = (lane.clone(), say.clone());
            let piece = tokio::spawn(async move { lane.run(move || say.send(is_wanted)).await });
            tokio::task::yield_now().await;
            if is_wanted {
                open.send(()).unwrap();
                piece.await.unwrap().unwrap().unwrap();
            } else {
                piece.abort();
                assert!(piece.await.unwrap_err().is_cancelled());
            }
        }
        first.await.unwrap().unwrap();
        drop(say);
        assert_eq!(said.iter().collect::<Vec<_>>(), [true]);
    }
}
