//! One call at a time to one app, each bounded in time.
//!
//! ```text
//! ask ─▶ wait for the turn ─▶ a file thread asks the app ─▶ answer
//!              └── 15 s in all ──▶ Hanging; the thread keeps the turn until the app answers
//! ```
//!
//! Invariants: the apps answer on one thread of their own, so no second call reaches one before the first is over; a
//! caller waits 15 s at most; what is wrong with the app is kept until an answer comes.
//!
//! Must not know: what is asked.

use crate::{App, Failure};
use plexus_ipc::worker::{Health, SourceError};
use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};
use tokio::sync::Mutex as Turn;

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
    ailment: Arc<Mutex<Option<(Failure, Instant)>>>,
}

impl Queue {
    /// To this app.
    #[must_use]
    pub fn new(app: App) -> Self {
        Self::with_patience(app, PATIENCE)
    }

    fn with_patience(app: App, patience: Duration) -> Self {
        Self {
            app,
            patience,
            turn: Arc::default(),
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
        let asked = async move {
            let turn = turn.lock_owned().await;
            let work = move || {
                let answer = work();
                drop(turn);
                answer
            };
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

    /// What is known of the app. Where it did not answer, `check` is asked again from time to time.
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
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    #[tokio::test]
    async fn app_that_hangs_is_an_error_and_the_next_call_waits_its_turn() {
        let queue = Queue::with_patience(App::Calendar, Duration::from_millis(50));
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
}
