//! Waiting for two things at once, fairly and without dice.
//!
//! Invariant: of two that are both always ready, each is taken every other time; the order in which they are looked at
//! depends on nothing but what was taken before, so a history can be played again.
//!
//! Must not know: what is waited for.

use std::{future::poll_fn, pin::pin, task::Poll};

/// Whose turn it is to be looked at first.
#[derive(Debug, Default)]
pub(super) struct Turns {
    other: bool,
}

/// Which of the two came.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum First<A, B> {
    One(A),
    Other(B),
}

impl Turns {
    /// Waits for the first of the two; drops the second. Cancelling it loses nothing that cancelling them does not.
    pub(super) async fn first<A, B>(
        &mut self,
        one: impl Future<Output = A>,
        other: impl Future<Output = B>,
    ) -> First<A, B> {
        let (mut one, mut other) = (pin!(one), pin!(other));
        let other_first = self.other;
        let first = poll_fn(|cx| {
            if other_first && let Poll::Ready(out) = other.as_mut().poll(cx) {
                return Poll::Ready(First::Other(out));
            }
            if let Poll::Ready(out) = one.as_mut().poll(cx) {
                return Poll::Ready(First::One(out));
            }
            if !other_first && let Poll::Ready(out) = other.as_mut().poll(cx) {
                return Poll::Ready(First::Other(out));
            }
            Poll::Pending
        })
        .await;
        self.other = matches!(first, First::One(_));
        first
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::{pending, ready};

    #[tokio::test]
    async fn neither_of_two_that_are_always_ready_keeps_the_other_waiting() {
        let mut turns = Turns::default();
        for _ in 0..3 {
            let first = turns.first(ready(1), ready(2)).await;
            assert_eq!(first, First::One(1));
            let first = turns.first(ready(1), ready(2)).await;
            assert_eq!(first, First::Other(2));
        }
    }

    #[tokio::test]
    async fn whoever_is_alone_is_taken_out_of_turn() {
        let mut turns = Turns::default();
        for _ in 0..3 {
            assert_eq!(turns.first(ready(1), pending::<()>()).await, First::One(1));
        }
        for _ in 0..3 {
            let first = turns.first(pending::<()>(), ready(2)).await;
            assert_eq!(first, First::Other(2));
        }
    }
}
