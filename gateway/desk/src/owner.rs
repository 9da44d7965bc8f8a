//! What only the owner may reach: `/admin/api/*` (also under `/v1`), `/v1/*`, `/metrics` and the console's page.
//!
//! Invariants: everything but `/v1/health`, the versions and the page asks for the key first, wrong methods and
//! unknown paths below the prefixes included; every change is an event of the machine or a note, recorded before it
//! takes effect; no answer holds the key, a secret or an agent's credential, but the fresh code of a connect and the
//! fresh key of a rotation.
//!
//! Must not know: how a decision is made (the machine) or carried out (invoke, supervisor).

pub(crate) mod activity;
pub(crate) mod agents;
pub(crate) mod approvals;
mod audit;
pub(crate) mod boards;
pub(crate) mod calls;
mod catalogue;
pub(crate) mod changes;
pub(crate) mod channels;
mod copy;
mod declared;
mod definitions;
mod dropping;
pub(crate) mod explain;
pub(crate) mod extensions;
pub(crate) mod grants;
mod inspected;
pub(crate) mod kinds;
pub(crate) mod lend;
pub(crate) mod limits;
mod metrics;
pub(crate) mod network;
pub(crate) mod profile;
pub(crate) mod proposal_cards;
pub(crate) mod proposals;
mod questions;
pub(crate) mod review;
mod secrets;
mod server_manifests;
mod servers;
pub(crate) mod settings;
pub(crate) mod sign_ins;
mod source_settings;
pub(crate) mod sources;
pub(crate) mod status;
mod stored_secrets;
mod survey;
pub(crate) mod undo;
mod unsettled;
mod upgrade;
mod v1;

pub use activity::{CallTally, Past};

use crate::{
    acting::{Acting, Narrowing},
    console,
    desk::Desk,
    table::Served,
};
use axum::{
    Router,
    middleware::from_fn_with_state,
    routing::{get, post, put},
};
use plexus_edge::authenticate;
use plexus_protocol::SourceId;
use serde::{Deserialize as _, de::DeserializeOwned};
use serde_json::{Map, Value, json};
use std::sync::Arc;

pub(super) fn routes(desk: &Arc<Desk>) -> Router<Arc<Desk>> {
    let keyed_layer = || from_fn_with_state(desk.edge.clone(), authenticate::owner_only);
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
        .merge(console::routes(desk))
}

/// What is not asked for over TCP, key or no key: it takes who may open the owner's socket.
pub(super) fn socket_routes(desk: &Arc<Desk>) -> Router<Arc<Desk>> {
    let keyed = from_fn_with_state(desk.edge.clone(), authenticate::owner_only);
    let router = served_on_socket().routes().route_layer(keyed);
    Router::new()
        .nest("/admin/api", router.clone())
        .nest("/v1/admin/api", router)
}

/// The calls of the owner's table that are served on the owner's socket alone.
fn served_on_socket() -> Served {
    upgrade::serve(Served::default())
}

/// The calls of the owner's table that are served on every listener.
pub(crate) fn served() -> Served {
    let parts = [
        activity::serve,
        agents::serve,
        approvals::serve,
        audit::serve,
        boards::serve,
        calls::serve,
        catalogue::serve,
        changes::serve,
        channels::serve,
        console::door::serve,
        copy::serve,
        dropping::serve,
        explain::serve,
        extensions::serve,
        sign_ins::serve,
        grants::serve,
        kinds::serve,
        lend::serve,
        limits::serve,
        network::serve,
        profile::serve,
        review::serve,
        secrets::serve,
        settings::serve,
        source_settings::serve,
        sources::serve,
        status::serve,
        undo::serve,
        unsettled::serve,
    ];
    parts
        .into_iter()
        .fold(Served::default(), |served, part| part(served))
}

fn management() -> Router<Arc<Desk>> {
    let router = served().routes();
    // What answers with something else than one JSON value.
    router
        .route("/audit/export", get(audit::export))
        .route("/extensions/authoring-guide", get(extensions::guide))
}

/// An item of what a worker answered, with the source that has it. A worker that breaks its contract costs its own items,
/// never the list of all sources.
///
/// # Errors
/// Where it is no object, or not of its type.
fn of_source<T: DeserializeOwned>(item: &Value, source: &SourceId) -> Result<T, serde_json::Error> {
    let mut item = Map::deserialize(item)?;
    item.insert("source".to_owned(), json!(source));
    serde_json::from_value(item.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use plexus_owner::TABLE;

    #[test]
    fn each_row_of_the_table_is_served() {
        let mut rows = served().rows();
        rows.extend(served_on_socket().rows());
        rows.sort();
        let mut table = TABLE.to_vec();
        table.sort();
        assert_eq!(rows, table);
    }

    #[test]
    fn item_of_a_worker_is_an_object_or_nothing() {
        let source = SourceId::parse("codex").expect("an id");
        let of = |item: &Value| of_source::<Value>(item, &source).ok();
        let named = of(&json!({"id": "a", "source": "other"}));
        assert_eq!(named, Some(json!({"id": "a", "source": "codex"})));
        for foreign in [json!("a"), json!([1]), json!(7), json!(true), json!(null)] {
            assert_eq!(of(&foreign), None, "{foreign}");
        }
    }
}
