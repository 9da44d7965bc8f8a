//! One call at a time to one app, each bounded in time.
//!
//! ```text
//! ask ─▶ wait for the turn ─▶ a file thread asks the app ─▶ answer
//!              │                       └── 30 s ──▶ the worker's process ends; the gateway starts a new one
//!              └── 15 s in all ──▶ Hanging; the thread keeps the turn until the app answers
//! ```
//!
//! Invariants: the apps answer on one thread of their own, so no second call reaches one before the first is over; a
//! caller waits 15 s at most; a call that never returns ends its process, because no thread can be taken back; what is
//! wrong with the app is kept until an answer comes.
//!
//! Must not know: what is asked.

use crate::{App, Failure};
use plexus_ipc::worker::{Health, SourceError};
use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};
use tokio::sync::{Mutex as Turn, oneshot};

/// How long an app has for one call.
pub const PATIENCE: Duration = Duration::from_secs(15);
/// From one check of an app that does not answer to the next.
const CHECK_AGAIN: Duration = Duration::from_secs(30);

/// The way to one app. Clones are the same.
#[derive(Clone, Debug)]
pub struct Queue {
    app: App,
    patience: Duration,
    turn: Arc<Turn<()>>,
    /// What is done about a call that still runs after twice the patience.
    give_up: fn(),
    ailment: Arc<Mutex<Option<(Failure, Instant)>>>,
}

impl Queue {
    /// To this app.
    #[must_use]
    pub fn new(app: App) -> Self {
        Self {
            app,
            patience: PATIENCE,
            turn: Arc::default(),
            give_up: end_process,
            ailment: Arc::default(),
        }
    }

    /// Asks the app on a file thread.
    ///
    /// # Errors
    /// Its failure; [`Failure::Hanging`] where it does not answer in time.
    pub async fn ask<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, Failure> {
        let turn = Arc::clone(&self.turn);
        let (give_up, limit) = (self.give_up, self.patience * 2);
        let asked = async move {
            let turn = turn.lock_owned().await;
            let (running, over) = oneshot::channel::<()>();
            let work = move || {
                let answer = work();
                drop((turn, running));
                answer
            };
            tokio::spawn(async move {
                // Its other end is dropped when the call is over, also by a panic.
                if tokio::time::timeout(limit, over).await.is_err() {
                    give_up();
                }
            });
            #[expect(
                clippy::disallowed_methods,
                reason = "it costs a worker the call that asked"
            )]
            let done = tokio::task::spawn_blocking(work).await;
            done.unwrap_or(Err(Failure::BadAnswer))
        };
        let answer = tokio::time::timeout(self.patience, asked).await;
        let answer = answer.unwrap_or(Err(Failure::Hanging));
        let mut ailment = self.ailment.lock().unwrap_or_else(PoisonError::into_inner);
        *ailment = match &answer {
            Err(failure) if failure.is_ailment() => Some((failure.clone(), Instant::now())),
            _ => None,
        };
        drop(ailment);
        answer
    }

    /// As [`Queue::ask`], with the failure as the agent is told.
    ///
    /// # Errors
    /// [`Failure::told`].
    pub async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, SourceError> {
        self.ask(work)
            .await
            .map_err(|failure| failure.told(self.app))
    }

    /// What is known of the app. If it did not answer, `check` is asked again from time to time.
    pub fn health<T: Send + 'static>(
        &self,
        check: impl FnOnce() -> Result<T, Failure> + Send + 'static,
    ) -> Health {
        let mut ailment = self.ailment.lock().unwrap_or_else(PoisonError::into_inner);
        let Some((failure, checked)) = ailment.as_mut() else {
            return Health::Well;
        };
        if checked.elapsed() > CHECK_AGAIN {
            *checked = Instant::now();
            let queue = self.clone();
            tokio::spawn(async move { queue.ask(check).await });
        }
        Health::Unavailable(failure.words(self.app).into())
    }

    /// As [`Queue::health`], with the app asked now. It goes on where nobody waits for it any more: the next probe has its
    /// answer.
    pub async fn check<T: Send + 'static>(
        &self,
        check: impl FnOnce() -> Result<T, Failure> + Send + 'static,
    ) -> Health {
        let queue = self.clone();
        let asked = tokio::spawn(async move { queue.ask(check).await.map(drop) });
        match asked.await {
            Ok(Ok(())) => Health::Well,
            Ok(Err(failure)) => Health::Unavailable(failure.words(self.app).into()),
            Err(_) => Health::Degraded("the check of the app failed".into()),
        }
    }
}

/// Ends this process, with the thread that does not come back.
fn end_process() {
    tracing::error!(
        "the app has not let go of a call for 30 s; the worker ends, and the gateway starts another"
    );
    std::process::exit(1);
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{
        atomic::{AtomicUsize, Ordering},
        mpsc,
    };
    use tokio::sync::Notify;

    const SHORT: Duration = Duration::from_millis(250);

    fn queue(give_up: fn()) -> Queue {
        Queue {
            patience: SHORT,
            give_up,
            ..Queue::new(App::Calendar)
        }
    }

    #[tokio::test]
    async fn app_that_hangs_is_an_error_and_the_next_call_waits_its_turn() {
        let queue = queue(|| {});
        let (release, hold) = mpsc::channel::<()>();
        let first = queue.ask(move || {
            let _ = hold.recv();
            Ok(1)
        });
        assert_eq!(first.await, Err(Failure::Hanging));
        // The thread still has the turn.
        assert_eq!(queue.ask(|| Ok(2)).await, Err(Failure::Hanging));
        let health = queue.health(|| Ok(()));
        assert!(
            matches!(&health, Health::Unavailable(why) if why.contains("did not answer")),
            "{health:?}"
        );
        release.send(()).unwrap();
        let patient = Queue {
            patience: PATIENCE,
            ..queue.clone()
        };
        assert_eq!(patient.ask(|| Ok(3)).await, Ok(3));
        assert_eq!(queue.health(|| Ok(())), Health::Well);
    }

    #[tokio::test]
    async fn check_asks_the_app_and_health_does_not() {
        let queue = queue(|| {});
        let health = queue.health::<()>(|| Err(Failure::ConsentDenied));
        assert_eq!(health, Health::Well);
        let denied = Health::Unavailable(Failure::ConsentDenied.words(App::Calendar).into());
        let checked = queue.check::<()>(|| Err(Failure::ConsentDenied)).await;
        assert_eq!(checked, denied);
        assert_eq!(queue.health(|| Ok(())), denied, "it is remembered");
        assert_eq!(queue.check(|| Ok(())).await, Health::Well);
        assert_eq!(queue.health(|| Ok(())), Health::Well);
    }

    #[tokio::test]
    async fn call_that_never_returns_ends_the_process() {
        static GIVEN_UP: Notify = Notify::const_new();
        static TIMES: AtomicUsize = AtomicUsize::new(0);
        let queue = queue(|| {
            TIMES.fetch_add(1, Ordering::SeqCst);
            GIVEN_UP.notify_one();
        });
        // The control: calls that return, or panic, end nothing.
        assert_eq!(queue.ask(|| Ok(1)).await, Ok(1));
        let panics = queue.ask::<()>(|| std::panic::resume_unwind(Box::new(())));
        assert_eq!(panics.await, Err(Failure::BadAnswer));
        let begun = Instant::now();
        let (release, hold) = mpsc::channel::<()>();
        let hangs = queue.ask(move || {
            let _ = hold.recv();
            Ok(())
        });
        assert_eq!(hangs.await, Err(Failure::Hanging));
        tokio::time::timeout(PATIENCE, GIVEN_UP.notified())
            .await
            .expect("the process is ended");
        assert!(begun.elapsed() >= SHORT * 2, "{:?}", begun.elapsed());
        assert_eq!(TIMES.load(Ordering::SeqCst), 1);
        drop(release);
    }
}
