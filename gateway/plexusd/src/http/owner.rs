//! What only the owner may reach: `/admin/api/*` (also under `/v1`), `/v1/*`, `/metrics` and the console's page.
//!
//! Invariants: everything but `/v1/health`, the versions and the page asks for the key first, wrong methods and
//! unknown paths below the prefixes included; every change is an event of the machine or a note, recorded before it
//! takes effect; no answer holds the key, a secret or an agent's credential, but the fresh code of a connect and the
//! fresh key of a rotation.
//!
//! Must not know: how a decision is made (the machine) or carried out (invoke, supervisor).

mod activity;
mod agents;
pub(crate) mod approvals;
mod audit;
mod body;
mod catalogue;
mod copy;
mod explain;
mod grants;
mod lend;
mod limits;
mod metrics;
mod network;
mod profile;
mod review;
mod secrets;
mod settings;
mod sources;
mod status;
mod undo;
mod unsettled;
mod upgrade;
mod v1;

use super::{
    acting::{Acting, Narrowing},
    authenticate::{self, Owner},
    reply::Refused,
};
use crate::{app::App, console, invoke::refusal};
use axum::{
    Router,
    extract::{FromRequestParts, Path, Request},
    http::request::Parts,
    middleware::from_fn_with_state,
    routing::{delete, get, post, put},
};
use plexus_ledger::{Lane, Receipt, SubmitError};
use plexus_protocol::{Effect, ErrorBody, ErrorCode};
use plexus_trust::{Command, Note, Refusal, Reply};
use serde_json::Value;
use std::sync::Arc;

pub(super) fn routes(app: &Arc<App>) -> Router<Arc<App>> {
    let keyed_layer = || from_fn_with_state(app.clone(), authenticate::owner_only);
    let management = management().route_layer(keyed_layer());
    Router::new()
        .nest("/admin/api", management.clone())
        .nest("/v1/admin/api", management)
        .route("/v1/health", get(v1::health))
        .route("/v1/status", get(v1::status))
        .route(
            "/v1/config",
            get(settings::show).merge(put(settings::change).route_layer(keyed_layer())),
        )
        .route("/v1/connection-key/rotate", post(v1::rotate))
        .route("/v1/events", get(v1::events))
        .route("/metrics", get(metrics::show))
        .merge(console::routes(app))
}

/// What is not asked for over TCP, key or no key: it takes who may open the owner's socket.
pub(super) fn socket_routes(app: &Arc<App>) -> Router<Arc<App>> {
    let keyed = from_fn_with_state(app.clone(), authenticate::owner_only);
    let upgrade = || post(upgrade::change_over).route_layer(keyed.clone());
    Router::new()
        .route("/admin/api/upgrade", upgrade())
        .route("/v1/admin/api/upgrade", upgrade())
}

fn management() -> Router<Arc<App>> {
    Router::new()
        .route("/agents", get(agents::list))
        .route("/agents/connect", post(agents::connect))
        .route("/agents/revoke", post(agents::revoke))
        .route("/agents/enrollments", get(agents::enrollments))
        .route("/agents/{id}/subset", get(agents::subset))
        .route("/agents/{id}/code", post(agents::new_code))
        .route(
            "/agents/{id}/limits",
            get(limits::show).post(limits::change),
        )
        .route("/pending", get(approvals::list))
        .route(
            "/pending/{id}",
            get(approvals::show).post(approvals::decide),
        )
        .route("/pending/{id}/plan", post(approvals::plan_again))
        .route("/lend", get(lend::list).post(lend::lend))
        .route("/lend/{id}", delete(lend::end))
        .route("/review/{agent}", get(review::show))
        .route("/undo/{id}", get(undo::show).post(undo::take_back))
        .route("/unsettled", get(unsettled::list))
        .route("/unsettled/{id}", post(unsettled::settle))
        .route("/grants", get(grants::list).put(grants::give))
        .route("/tokens", get(grants::tokens))
        .route("/revoke", post(grants::revoke))
        .route("/capabilities", get(catalogue::capabilities))
        .route("/exposure", get(catalogue::exposure))
        .route("/exposure/{id}", post(catalogue::expose))
        .route("/default-grant/{id}", post(catalogue::tick))
        .route("/health", get(catalogue::health))
        .route("/sources", get(sources::list).post(sources::add))
        .route("/sources/detect", get(sources::detected))
        .route("/connectors", get(sources::connectors))
        .route("/sources/{id}", delete(sources::remove))
        .route("/sources/{id}/profile", get(profile::show))
        .route("/sources/{id}/hide", post(sources::hide))
        .route("/sources/{id}/enable", post(sources::enable))
        .route("/sources/{id}/disable", post(sources::disable))
        .route("/sources/{id}/reconfigure", post(sources::reconfigure))
        .route("/sources/{id}/resume", post(sources::resume))
        .route("/activity", get(activity::list))
        .route("/audit", get(audit::list))
        .route("/audit/verify", get(audit::verify))
        .route("/audit/archives", get(audit::archives))
        .route("/audit/archives/forget", post(audit::forget))
        .route("/audit/export", get(audit::export))
        .route("/audit/{id}", get(audit::show))
        .route("/backup/copy", post(copy::make))
        .route("/secrets/{name}", post(secrets::write))
        .route("/interfaces", get(network::interfaces))
        .route("/network", get(network::show).post(network::change))
        .route("/explain", post(explain::explain))
        .route("/status", get(status::show))
        .route("/pause", post(settings::pause))
        .route("/console/link", post(console::door::link))
}

/// The last part of a path, percent-decoded.
struct Named(String);

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
fn keyed(app: &Arc<App>, request: &Request) -> impl Future<Output = Result<Owner, Refused>> {
    authenticate::owner(app, request.headers(), authenticate::peer(request))
}

/// Has the machine carry out an act of the owner.
///
/// # Errors
/// The machine's refusal in the owner's terms, or that it could not be recorded.
pub(super) async fn act(
    app: &App,
    _: &Acting,
    command: Command,
) -> Result<Receipt<Reply>, Refused> {
    // What is held comes first: a later act may be meant to undo it.
    app.save_held().await;
    app.ledger
        .submit(command, Lane::Owner)
        .await
        .map_err(|error| match error {
            // What an agent calls a schema error is bad input like any other here (wire §5.5).
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
            other => other.into(),
        })
}

/// Has the machine take something back; what cannot be saved is held, and the refusal says so.
async fn take_back(app: &App, _: &Narrowing, command: Command) -> Result<Receipt<Reply>, Refused> {
    app.save_held().await;
    let taken = app.take_back(command).await;
    taken.map_err(|error| Refused::new(refusal::held(&error)))
}

/// The event of an act; empty where it changed nothing (wire §4.9).
fn event_of(receipt: &Receipt<Reply>) -> String {
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
async fn record(app: &App, acting: &Acting, detail: Value) -> Result<(), Refused> {
    let note = Note {
        kind: "source.settings",
        agent: None,
        capability: None,
        outcome: None,
        detail,
    };
    act(app, acting, Command::Note(note)).await.map(|_| ())
}

/// Our own failure: 500.
fn failed(why: impl Into<String>) -> Refused {
    let error = ErrorBody::new(ErrorCode::InternalError, why).next("look at what plexusd printed");
    Refused::new(error).status(500)
}

/// Our own failure after something was done already: 500.
fn failed_halfway(why: impl Into<String>) -> Refused {
    let error = ErrorBody::new(ErrorCode::InternalError, why)
        .effect(Effect::Done)
        .next("look at what plexusd printed");
    Refused::new(error).status(500)
}

/// Runs what blocks on a file where that holds nobody up.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Refused> {
    tokio::task::spawn_blocking(work).await.map_err(|error| {
        tracing::error!(name: "http.task_failed", %error, "a blocking task ended badly");
        failed("The gateway failed on this request.")
    })
}
