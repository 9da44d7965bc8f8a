//! Bodies that no route reads to their end. Most clients read no answer before they have sent all of their body, and a
//! connection that is closed over unread bytes is reset: its client never sees the answer. So the rest of a refused
//! request's body is read before the refusal leaves, on every listener and route.
//!
//! Invariants: a body is read up to [`DRAINED`] bytes and [`BODY_TIME`] after its head, as one that a route wants; none of
//! the rest is kept. A client that asks first (`Expect`) has sent nothing and is answered at once; so is one that
//! announces more than [`DRAINED`].
//!
//! Must not know: why a request was refused.

use crate::reply::BODY_TIME;
use axum::{
    BoxError,
    body::{Body, HttpBody},
    extract::Request,
    http::header,
};
use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::{Frame, SizeHint};
use std::{
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, ready},
};
use tokio::time::{Instant, timeout_at};

/// Bytes of one body that are read although it is too large or its request is refused.
const DRAINED: usize = 16 * 1024 * 1024;

/// A body that was let go before its end, and how much of it had come.
type Left<B> = Arc<Mutex<Option<(B, usize)>>>;

/// The part of one request's body that the routes leave.
pub(crate) struct Unread<B> {
    left: Left<B>,
    until: Instant,
}

/// Makes a request for the routes; where the rest of its body is to be read, with what they leave of it.
pub(crate) fn watched<B>(request: hyper::Request<B>) -> (Request, Option<Unread<B>>)
where
    B: HttpBody<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<BoxError>,
{
    let is_empty = request.body().is_end_stream();
    let is_huge = request.body().size_hint().lower() > DRAINED as u64;
    if is_empty || is_huge || request.headers().contains_key(header::EXPECT) {
        return (request.map(Body::new), None);
    }
    let left = Left::default();
    let unread = Unread {
        left: left.clone(),
        until: Instant::now() + BODY_TIME,
    };
    let watched = request.map(|body| {
        Body::new(WatchedBody {
            body: Some(body),
            came: 0,
            left,
        })
    });
    (watched, Some(unread))
}

impl<B: HttpBody<Data = Bytes> + Unpin> Unread<B> {
    /// Reads the rest and drops it.
    pub(crate) async fn drain(self) {
        let left = self
            .left
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        let Some((mut body, mut came)) = left else {
            return;
        };
        let reading = async {
            while came <= DRAINED
                && let Some(Ok(frame)) = body.frame().await
            {
                came += frame.data_ref().map_or(0, Bytes::len);
            }
        };
        // The answer leaves also if the rest is late.
        let _ = timeout_at(self.until, reading).await;
    }
}

/// A body that comes back when it is dropped before its end.
struct WatchedBody<B: HttpBody> {
    body: Option<B>,
    came: usize,
    left: Left<B>,
}

impl<B: HttpBody<Data = Bytes> + Unpin> HttpBody for WatchedBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let Some(body) = &mut self.body else {
            return Poll::Ready(None);
        };
        let frame = ready!(Pin::new(body).poll_frame(context));
        if let Some(Ok(frame)) = &frame {
            self.came += frame.data_ref().map_or(0, Bytes::len);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(B::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        let none = || SizeHint::with_exact(0);
        self.body.as_ref().map_or_else(none, B::size_hint)
    }
}

impl<B: HttpBody> Drop for WatchedBody<B> {
    fn drop(&mut self) {
        if let Some(body) = self.body.take().filter(|body| !body.is_end_stream()) {
            let mut left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
            *left = Some((body, self.came));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reply::tests::Pieces;
    use std::time::Duration;

    /// How long it takes to drain a body of which a route has read `read` pieces.
    async fn drained(pieces: usize, read: usize) -> Duration {
        let (request, unread) = watched(hyper::Request::new(Pieces(pieces)));
        let mut body = request.into_body();
        for _ in 0..read {
            body.frame().await.unwrap().unwrap();
        }
        drop(body);
        let began = Instant::now();
        unread.unwrap().drain().await;
        began.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn rest_of_a_body_is_read_within_bytes_and_time() {
        for (pieces, read) in [(64, 0), (64, 3), (64, 64), (usize::MAX - 1, 0)] {
            assert_eq!(drained(pieces, read).await, Duration::ZERO, "{pieces}");
        }
        assert_eq!(drained(usize::MAX, 0).await, BODY_TIME, "it never comes");
    }

    #[test]
    fn client_that_asks_first_is_not_asked_for_its_body() {
        let mut request = hyper::Request::new(Pieces(1));
        let asks = header::HeaderValue::from_static("100-continue");
        request.headers_mut().insert(header::EXPECT, asks);
        assert!(watched(request).1.is_none());
        let empty = hyper::Request::new(http_body_util::Empty::<Bytes>::new());
        assert!(watched(empty).1.is_none());
    }
}
