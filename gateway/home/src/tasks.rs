//! Work of the daemon that one failure must not end: blocking calls on threads of the pool, and tasks that last as long as
//! the process.
//!
//! Invariants: a system that gives no thread is an error of the one who asked, never a panic; a lasting task that panics
//! is logged and started again.
//!
//! Must not know: what the work is.

use std::{
    future::{Future, poll_fn},
    io::{self, ErrorKind},
    panic::{AssertUnwindSafe, catch_unwind},
    pin::pin,
    task::Poll,
    time::Duration,
};
use tokio::{
    task::JoinHandle,
    time::{Instant, sleep},
};

/// The wait before a lasting task is started again, at first and at most.
const BACKOFF: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// Runs `work`, which may block, on a thread of the pool.
///
/// # Errors
/// The system gives no thread now (`WouldBlock`), or the work panicked.
pub async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> io::Result<T> {
    begin_blocking(work)?.await.map_err(io::Error::other)
}

/// The same, begun now: its end wakes nobody who does not wait for it.
///
/// # Errors
/// The system gives no thread now (`WouldBlock`).
pub fn begin_blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> io::Result<JoinHandle<T>> {
    // tokio panics where the system refuses the first thread of its pool.
    #[expect(clippy::disallowed_methods, reason = "its panic is caught here")]
    let task = catch_unwind(AssertUnwindSafe(|| tokio::task::spawn_blocking(work)));
    task.map_err(|_| io::Error::new(ErrorKind::WouldBlock, "the system gives no thread"))
}

/// The result of `work`; none where it panicked.
pub async fn unless_panicked<T>(work: impl Future<Output = T>) -> Option<T> {
    let mut work = pin!(work);
    poll_fn(
        |cx| match catch_unwind(AssertUnwindSafe(|| work.as_mut().poll(cx))) {
            Ok(polled) => polled.map(Some),
            // Never polled again: none is its last answer.
            Err(_) => Poll::Ready(None),
        },
    )
    .await
}

/// Goes on until what `begin` gives has ended by itself. If that panics, it is begun again after 1 s, later after 60 s at
/// most. `name` is for the log.
pub async fn until_ended<F: Future<Output = ()>>(name: &'static str, mut begin: impl FnMut() -> F) {
    let mut pause = BACKOFF.0;
    loop {
        let begun = Instant::now();
        if unless_panicked(begin()).await.is_some() {
            return;
        }
        if begun.elapsed() > BACKOFF.1 {
            pause = BACKOFF.0;
        }
        let again = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX);
        tracing::error!(name: "daemon.task_failed", detail = name, durationMs = again, "a task of the daemon panicked; it starts again");
        sleep(pause).await;
        pause = (pause * 2).min(BACKOFF.1);
    }
}

/// Starts a task that is [`until_ended`]. Aborting the handle ends it.
pub fn lasting<F>(name: &'static str, begin: impl FnMut() -> F + Send + 'static) -> JoinHandle<()>
where
    F: Future<Output = ()> + Send + 'static,
{
    tokio::spawn(until_ended(name, begin))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use tokio::sync::{Mutex, mpsc};

    #[tokio::test(start_paused = true)]
    async fn lasting_task_survives_panics_and_keeps_its_queue() {
        let (send, queue) = mpsc::channel(4);
        let (heard, mut hears) = mpsc::channel(4);
        let queue = Arc::new(Mutex::new(queue));
        let task = lasting("a test", move || {
            let (queue, heard) = (Arc::clone(&queue), heard.clone());
            async move {
                while let Some(number) = queue.lock().await.recv().await {
                    assert_ne!(number, 2, "a panic in the middle");
                    heard.send(number).await.unwrap();
                }
            }
        });
        for number in 1..=3 {
            send.send(number).await.unwrap();
        }
        assert_eq!(hears.recv().await, Some(1));
        assert_eq!(hears.recv().await, Some(3), "it was begun again");
        drop(send);
        task.await.unwrap();
    }
}
