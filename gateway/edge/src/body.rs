//! Bodies of agents' requests: how much of one is kept, and for whom.

use crate::{
    authenticate,
    edge::Edge,
    reply::{BODY, Refused, STRANGERS_BODY, declared, read},
};
use axum::{body::Bytes, extract::Request};

/// Reads a body of at most [`BODY`] bytes, if the head shows a credential that is live. Of a stranger it is kept only up
/// to [`STRANGERS_BODY`]: `None` beyond, where what comes is read and let go, so that who sends it hears the answer.
pub(crate) async fn body_of(edge: &Edge, request: Request) -> Result<Option<Bytes>, Refused> {
    let short = declared(&request).is_some_and(|length| length <= STRANGERS_BODY as u64);
    let kept = if short || authenticate::proves(edge, request.headers()).is_some() {
        BODY
    } else {
        STRANGERS_BODY
    };
    read(request, BODY, kept).await
}
