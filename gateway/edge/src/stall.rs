//! A connection whose other end does not read what it asked for, or only crawls: without a bound it would keep its place,
//! and the answer in memory, for ever.
//!
//! ```text
//! written ─▶ moving ─the system takes no more─▶ waiting ─takes some─▶ moving
//!                                                 └─ no patience left ─▶ error, which ends the connection
//! ```
//! Invariant: waiting uses patience up and only bytes that are taken give it back, at [`RATE`]: n bytes are waited for no
//! longer than the whole patience and n / RATE seconds.
//! Invariant: what is read, and an answer that is not there yet, are waited for by others; here only bytes that are ready
//! to leave are.

use std::{
    io::{self, ErrorKind, IoSlice},
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, Sleep},
};

/// Bytes a second that the other end has to take for as long as it is waited for.
const RATE: u32 = 32 * 1024;

/// A stream whose writes end where what is ready is taken too slowly.
pub(super) struct Moving<S> {
    stream: S,
    /// The most that there is.
    patience: Duration,
    /// What is left of it.
    left: Duration,
    /// Made when it is first waited for, and used again.
    until: Option<Pin<Box<Sleep>>>,
    waiting_since: Option<Instant>,
}

impl<S> Moving<S> {
    pub(super) fn new(stream: S, patience: Duration) -> Self {
        Self {
            stream,
            patience,
            left: patience,
            until: None,
            waiting_since: None,
        }
    }

    /// Passes on what came of a write, of which `taken` says how many bytes it was, or ends the wait for one.
    fn bounded<T>(
        &mut self,
        cx: &mut Context<'_>,
        written: Poll<io::Result<T>>,
        taken: impl FnOnce(&T) -> usize,
    ) -> Poll<io::Result<T>> {
        if let Poll::Ready(written) = written {
            if let Some(since) = self.waiting_since.take() {
                self.left = self.left.saturating_sub(since.elapsed());
            }
            let taken = written.as_ref().map_or(0, taken);
            let earned = Duration::from_secs(taken as u64) / RATE;
            self.left = self.patience.min(self.left.saturating_add(earned));
            return Poll::Ready(written);
        }
        let end = *self.waiting_since.get_or_insert_with(Instant::now) + self.left;
        let until = self
            .until
            .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(end)));
        if until.deadline() != end {
            until.as_mut().reset(end);
        }
        ready!(until.as_mut().poll(cx));
        Poll::Ready(Err(ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Moving<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Moving<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.bounded(cx, written, |n| *n)
    }
    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.bounded(cx, written, |n| *n)
    }
    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(cx);
        self.bounded(cx, flushed, |()| 0)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let shut = Pin::new(&mut self.stream).poll_shutdown(cx);
        self.bounded(cx, shut, |()| 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    /// Takes as many bytes as the script says, one number a call; 0: none now.
    struct Scripted(Vec<usize>);

    impl AsyncWrite for Scripted {
        fn poll_write(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            _: &[u8],
        ) -> Poll<io::Result<usize>> {
            match self.0.pop() {
                Some(0) | None => Poll::Pending,
                Some(taken) => Poll::Ready(Ok(taken)),
            }
        }
        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    fn running<T>(work: impl Future<Output = T>) -> T {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .unwrap();
        runtime.block_on(work)
    }

    #[test]
    fn who_takes_nothing_is_left_after_a_while() {
        running(async {
            let mut stream = Moving::new(Scripted(vec![1]), Duration::from_millis(1));
            stream.write_all(&[0]).await.unwrap();
            let error = stream.write_all(&[0]).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::TimedOut);
        });
    }

    /// A byte every now and then is no reason to keep an answer.
    #[tokio::test(start_paused = true)]
    async fn who_crawls_is_left_and_who_takes_enough_is_not() {
        let patience = Duration::from_secs(15);
        let taken_by = |pause: u64, room: usize| async move {
            let (ours, mut theirs) = tokio::io::duplex(room);
            let reading = tokio::spawn(async move {
                let mut buffer = vec![0; room];
                loop {
                    tokio::time::sleep(Duration::from_secs(pause)).await;
                    if theirs.read(&mut buffer).await.unwrap() == 0 {
                        return;
                    }
                }
            });
            let began = Instant::now();
            let mut stream = Moving::new(ours, patience);
            let all = vec![0; 2 * 1024 * 1024];
            let written = stream.write_all(&all).await.map_err(|e| e.kind());
            reading.abort();
            (written, began.elapsed())
        };
        let (written, took) = taken_by(14, 1).await;
        assert_eq!(written, Err(ErrorKind::TimedOut));
        assert!(took < patience * 2, "{took:?}");
        // A little less than enough has some time more, and an end.
        let (written, took) = taken_by(2, RATE as usize).await;
        assert_eq!(written, Err(ErrorKind::TimedOut));
        assert!(took < patience * 3, "{took:?}");
        let (written, took) = taken_by(1, 2 * RATE as usize).await;
        assert_eq!(written, Ok(()));
        assert!(took > patience, "{took:?}");
    }
}
