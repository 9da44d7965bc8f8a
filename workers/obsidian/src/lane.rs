//! [`Lane`]: short work on files, many pieces to one wake-up of a file thread.
//!
//! ```text
//! run ─▶ waiting ──a thread takes one after the other──▶ answered
//!           └──the front waits 2 ms or more: one thread more takes from the same queue
//! ```
//! Waking a thread and being woken by it costs more than reading a note. So the thread that is at it goes on while there
//! is work, and nobody else is woken; what a slow disk or a slow walk holds up does not hold up the rest for long.
//!
//! One task looks after all that waits: a timer for each piece would wake the runtime once a piece, because each is due
//! before anything else that it waits for.
//!
//! Invariants: each piece is run once, or not at all if its caller has gone; a panic ends its piece only; with work
//! waiting there is a thread at it, or asked for, and the task that asks for another.
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
    sync::oneshot,
    time::{Instant, sleep},
};

/// How long the front piece waits before a further thread is asked for: some 250 times what reading a short note takes.
const HELP_AFTER: Duration = Duration::from_millis(2);

/// The queue and the threads at it. Clones are the same.
#[derive(Clone, Default)]
pub(crate) struct Lane(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    waiting: VecDeque<Piece>,
    /// Threads that take from `waiting`, those only asked for included.
    threads: usize,
    /// Whether a task looks after what waits.
    is_watched: bool,
}

struct Piece {
    work: Box<dyn FnOnce() + Send>,
    since: Instant,
}

/// The work panicked.
#[derive(Debug)]
pub(crate) struct Panicked;

impl Lane {
    /// Does `work` on a file thread. To be called in a runtime with time.
    ///
    /// # Errors
    /// [`Panicked`].
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Panicked> {
        let (answer, answered) = oneshot::channel();
        {
            let mut state = self.lock();
            state.waiting.push_back(Piece {
                work: Box::new(move || {
                    if !answer.is_closed() {
                        let _ = answer.send(work());
                    }
                }),
                since: Instant::now(),
            });
            if !state.is_watched {
                state.is_watched = true;
                tokio::spawn(self.clone().watch());
            }
            if state.threads == 0 {
                self.ask_for_thread(state);
            }
        }
        answered.await.map_err(|_| Panicked)
    }

    /// Asks for a further thread when the front has waited too long. Ends when nothing waits.
    async fn watch(self) {
        loop {
            sleep(HELP_AFTER).await;
            let mut state = self.lock();
            let Some(front) = state.waiting.front() else {
                state.is_watched = false;
                return;
            };
            if front.since.elapsed() >= HELP_AFTER {
                self.ask_for_thread(state);
            }
        }
    }

    /// How many there can be is the runtime's to limit; each ends when nothing waits.
    fn ask_for_thread(&self, mut state: MutexGuard<'_, State>) {
        state.threads += 1;
        drop(state);
        let lane = self.clone();
        tokio::task::spawn_blocking(move || lane.work_off());
    }

    fn work_off(&self) {
        loop {
            let mut state = self.lock();
            let Some(piece) = state.waiting.pop_front() else {
                state.threads -= 1;
                return;
            };
            drop(state);
            // The caller notices by the answer that never comes.
            let _ = catch_unwind(AssertUnwindSafe(piece.work));
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing runs under this lock that could leave it half changed.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
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
        lane.run(|| panic!("on purpose")).await.unwrap_err();
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
