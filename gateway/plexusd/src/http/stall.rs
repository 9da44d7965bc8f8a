//! A connection whose other end does not read what it asked for: without a bound it would keep its place for ever.
//!
//! ```text
//! written ─▶ moving ─the system takes no more─▶ waiting ─takes some─▶ moving
//!                                                 └─ PATIENCE ─▶ error, which ends the connection
//! ```
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

/// A stream whose writes end after so long without a byte that is taken.
pub(super) struct Moving<S> {
    stream: S,
    patience: Duration,
    /// Made when it is first waited for, and used again.
    until: Option<Pin<Box<Sleep>>>,
    waiting: bool,
}

impl<S> Moving<S> {
    pub(super) fn new(stream: S, patience: Duration) -> Self {
        Self {
            stream,
            patience,
            until: None,
            waiting: false,
        }
    }

    /// Passes on what came of a write, or ends the wait for one.
    fn bounded<T>(
        &mut self,
        cx: &mut Context<'_>,
        written: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.waiting = false;
            return written;
        }
        let end = Instant::now() + self.patience;
        let until = match &mut self.until {
            Some(until) => {
                if !self.waiting {
                    until.as_mut().reset(end);
                }
                until
            }
            none => none.insert(Box::pin(tokio::time::sleep_until(end))),
        };
        self.waiting = true;
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
        self.bounded(cx, written)
    }
    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.bounded(cx, written)
    }
    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(cx);
        self.bounded(cx, flushed)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let shut = Pin::new(&mut self.stream).poll_shutdown(cx);
        self.bounded(cx, shut)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncWriteExt;

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

    /// However slowly: the time counts from the last byte that was taken, not from the first.
    #[test]
    fn who_takes_something_has_the_whole_time_again() {
        running(async {
            let mut stream = Moving::new(Scripted(vec![0, 1, 0, 0]), Duration::from_hours(1));
            let mut cx = Context::from_waker(std::task::Waker::noop());
            let mut write = |stream: &mut Moving<Scripted>| {
                Pin::new(stream).poll_write(&mut cx, &[0]).is_pending()
            };
            let deadline = |stream: &Moving<Scripted>| stream.until.as_ref().unwrap().deadline();
            assert!(write(&mut stream));
            let first = deadline(&stream);
            assert!(write(&mut stream));
            assert_eq!(deadline(&stream), first, "it waits on");
            assert!(!write(&mut stream));
            assert!(write(&mut stream));
            assert!(deadline(&stream) > first);
        });
    }
}
