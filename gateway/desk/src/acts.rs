//! What the owner's routes have in common: an act carried out and recorded, its event, its refusals.

use crate::{
    acting::{Acting, Narrowing},
    desk::Desk,
};
use axum::{
    extract::{FromRequestParts, Path, Request},
    http::request::Parts,
};
use plexus_calls::{refusal, revoke::TakenBack};
use plexus_edge::{
    authenticate::{self, Owner},
    reply::Refused,
};
use plexus_home::tasks;
use plexus_ledger::{Lane, Receipt, SubmitError};
use plexus_protocol::{Effect, ErrorBody, ErrorCode, error::system_words};
use plexus_trust::{Command, Note, Refusal, Reply};
use serde_json::Value;
use std::sync::Arc;

/// The last part of a path, percent-decoded.
pub(crate) struct Named(pub(crate) String);

impl<S: Send + Sync> FromRequestParts<S> for Named {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refused> {
        let named = Path::<String>::from_request_parts(parts, state).await;
        named
            .map(|Path(name)| Self(name))
            .map_err(|_| Refused::malformed("the path is not well formed"))
    }
}

/// Wants the owner's key, on routes outside `/admin/api`.
pub(crate) fn keyed(
    desk: &Arc<Desk>,
    request: &Request,
) -> impl Future<Output = Result<Owner, Refused>> {
    authenticate::owner(&desk.edge, request.headers(), authenticate::peer(request))
}

/// Has the machine carry out an act of the owner.
///
/// # Errors
/// The machine's refusal in the owner's terms, or that it could not be recorded.
pub(crate) async fn act(
    desk: &Desk,
    _: &Acting,
    command: Command,
) -> Result<Receipt<Reply>, Refused> {
    submit(desk, command).await
}

/// The same for an act that only takes away, which waits for no rotation of the key.
///
/// # Errors
/// As [`act`]; 500 where the command is no such act.
pub(crate) async fn narrow(
    desk: &Desk,
    _: &Narrowing,
    command: Command,
) -> Result<Receipt<Reply>, Refused> {
    must_narrow(&command)?;
    submit(desk, command).await
}

fn must_narrow(command: &Command) -> Result<(), Refused> {
    match command.narrows() {
        true => Ok(()),
        false => Err(failed(
            "The gateway took this act for one that only takes away.",
        )),
    }
}

async fn submit(desk: &Desk, command: Command) -> Result<Receipt<Reply>, Refused> {
    // What is held comes first: a later act may be meant to undo it.
    desk.save_held().await;
    desk.ledger
        .submit(command, Lane::Owner)
        .await
        .map_err(|error| match error {
            // What an agent calls a schema error is bad input like any other here (docs/protocol/errors.md).
            SubmitError::Refused(Refusal::Invalid(why)) => Refused::malformed(why),
            SubmitError::Refused(Refusal::UnknownCapability) => Refused::new(
                ErrorBody::new(
                    ErrorCode::UnknownCapability,
                    "No such capability, or its source is switched off.",
                )
                .next("plexusctl sources list"),
            ),
            SubmitError::Lost { found, .. } => {
                let reads = match found {
                    Some(true) => "the ledger reads as if it was saved, which is no proof",
                    Some(false) => "the ledger reads as if it was not saved",
                    None => "the ledger cannot be read now",
                };
                let why = format!(
                    "The change is neither saved nor lost: {reads}. Look before you repeat it."
                );
                Refused::new(
                    ErrorBody::new(ErrorCode::AuditUnavailable, why)
                        .effect(Effect::Unknown)
                        .next("plexusctl status"),
                )
            }
            SubmitError::Unavailable(_) => Refused::new(
                ErrorBody::new(
                    ErrorCode::AuditUnavailable,
                    "It could not be recorded, so nothing was done.",
                )
                .next("plexusctl status"),
            ),
            other => other.into(),
        })
}

/// Has the machine take something back; what cannot be saved is held, and the refusal says so.
pub(crate) async fn take_back(
    desk: &Desk,
    _: &Narrowing,
    command: Command,
) -> Result<TakenBack, Refused> {
    must_narrow(&command)?;
    desk.save_held().await;
    let taken = desk.take_back(command).await;
    taken.map_err(|error| Refused::new(refusal::held(&error)))
}

/// The event of an act; empty where it changed nothing.
pub(crate) fn event_of(receipt: &Receipt<Reply>) -> String {
    receipt
        .events
        .first()
        .map(|event| event.id.to_string())
        .unwrap_or_default()
}

/// Records a change that the machine has no part in, before it is made.
///
/// # Errors
/// Where it cannot be recorded it is not made.
pub(crate) async fn record(desk: &Desk, acting: &Acting, detail: Value) -> Result<(), Refused> {
    let note = Note {
        kind: "source.settings",
        agent: None,
        capability: None,
        outcome: None,
        detail,
    };
    act(desk, acting, Command::Note(note)).await.map(|_| ())
}

/// What a worker says to an act of the owner's, with the next step. What a worker found out is no bad request.
pub(crate) fn worker_refused(error: ErrorBody, next: String) -> Refused {
    let status = match error.code {
        ErrorCode::TransportError => ErrorCode::PreconditionChanged.status(),
        code => code.status(),
    };
    Refused::new(error.next(next)).status(status)
}

/// Our own failure: 500.
pub(crate) fn failed(why: impl Into<String>) -> Refused {
    let error = ErrorBody::new(ErrorCode::InternalError, system_words(&why.into()))
        .next("look at what plexusd printed");
    Refused::new(error).status(500)
}

/// Our own failure after something was done already: 500.
pub(crate) fn failed_halfway(why: impl Into<String>) -> Refused {
    let error = ErrorBody::new(ErrorCode::InternalError, system_words(&why.into()))
        .effect(Effect::Done)
        .next("look at what plexusd printed");
    Refused::new(error).status(500)
}

/// A file of the gateway could not be written, with `effect` done by then: 500.
pub(crate) fn unsaved(why: impl Into<String>, effect: Effect) -> Refused {
    let error = ErrorBody::new(ErrorCode::PersistFailed, why)
        .effect(effect)
        .next("free some space or make the state directory writable, then try again");
    Refused::new(error).status(500)
}

/// Runs what blocks on a file where that holds nobody up.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Refused> {
    tasks::blocking(work).await.map_err(|error| {
        tracing::error!(name: "http.task_failed", %error, "a blocking task ended badly");
        failed("The gateway failed on this request.")
    })
}
