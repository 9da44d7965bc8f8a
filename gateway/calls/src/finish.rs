//! Work that goes on when its caller has gone.
//!
//! A handler's future is dropped as soon as its connection ends. What is several steps that belong together (keep an
//! input, record the item, have it planned) must not stop between two of them.

/// Carries `work` to its end whether or not anybody waits for it; a panic in it is the caller's.
pub async fn to_its_end<T: Send + 'static>(work: impl Future<Output = T> + Send + 'static) -> T {
    match tokio::spawn(work).await {
        Ok(done) => done,
        Err(ended) => match ended.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // The runtime goes, and the caller with it.
            Err(_) => std::future::pending().await,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_caller_that_goes_stops_nothing() {
        let (begun, is_begun) = tokio::sync::oneshot::channel();
        let (go_on, may_go_on) = tokio::sync::oneshot::channel::<()>();
        let (done, is_done) = tokio::sync::oneshot::channel();
        let mut caller = Box::pin(to_its_end(async move {
            let _ = begun.send(());
            let _ = may_go_on.await;
            let _ = done.send(());
        }));
        tokio::select! {
            () = &mut caller => unreachable!("nobody let it go on"),
            begun = is_begun => assert!(begun.is_ok()),
        }
        drop(caller);
        go_on.send(()).unwrap();
        assert!(is_done.await.is_ok());
    }
}
