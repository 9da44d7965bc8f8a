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
mod body;
pub(crate) mod calls;
mod catalogue;
pub(crate) mod changes;
mod channels;
mod copy;
mod declared;
mod definitions;
mod explain;
mod extensions;
pub(crate) mod grants;
mod inspected;
pub(crate) mod kinds;
mod lend;
pub(crate) mod limits;
mod metrics;
mod network;
pub(crate) mod profile;
pub(crate) mod proposal_cards;
pub(crate) mod proposals;
mod questions;
mod review;
mod secrets;
mod server_manifests;
mod servers;
mod settings;
mod source_settings;
pub(crate) mod sources;
pub(crate) mod status;
mod stored_secrets;
mod survey;
pub(crate) mod undo;
mod unsettled;
mod upgrade;
mod v1;

pub use activity::CallTally;

use crate::{
    acting::{Acting, Narrowing},
    console,
    desk::Desk,
    table::Served,
};
use axum::{
    Router,
    middleware::from_fn_with_state,
    routing::{delete, get, post, put},
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
    let upgrade = || post(upgrade::change_over).route_layer(keyed.clone());
    Router::new()
        .route("/admin/api/upgrade", upgrade())
        .route("/v1/admin/api/upgrade", upgrade())
}

/// The calls of the owner's table: for whoever has the key, and for a browser that is signed in.
pub(crate) fn served() -> Served {
    let parts = [
        activity::serve,
        agents::serve,
        approvals::serve,
        boards::serve,
        calls::serve,
        catalogue::serve,
        changes::serve,
        explain::serve,
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
    ];
    parts
        .into_iter()
        .fold(Served::default(), |served, part| part(served))
}

fn management() -> Router<Arc<Desk>> {
    let (router, _) = served().finish();
    router
        .route("/channels", get(channels::list))
        .route(
            "/channels/{source}",
            get(channels::people).post(channels::create),
        )
        .route("/channels/{source}/{channel}", get(channels::members))
        .route(
            "/channels/{source}/{channel}/messages",
            get(channels::messages).post(channels::say),
        )
        .route("/channels/{source}/{channel}/members", post(channels::add))
        .route(
            "/channels/{source}/{channel}/members/{user}",
            delete(channels::remove),
        )
        .route(
            "/channels/{source}/{channel}/archive",
            post(channels::archive),
        )
        .route("/channels/{source}/unsent", get(channels::unsent))
        .route(
            "/channels/{source}/unsent/{message}",
            delete(channels::forget),
        )
        .route("/channels/{source}/{channel}/name", put(channels::rename))
        .route("/channels/{source}/{channel}/leave", post(channels::leave))
        .route(
            "/channels/{source}/{channel}/rotate",
            post(channels::rotate),
        )
        .route("/unsettled", get(unsettled::list))
        .route("/unsettled/{id}", post(unsettled::settle))
        .route("/extensions", get(extensions::list).post(extensions::add))
        .route("/extensions/preview", post(extensions::preview))
        .route("/extensions/authoring-guide", get(extensions::guide))
        .route(
            "/extensions/{id}",
            get(extensions::show).delete(extensions::remove),
        )
        .route("/audit", get(audit::list))
        .route("/audit/verify", get(audit::verify))
        .route("/audit/archives", get(audit::archives))
        .route("/audit/archives/forget", post(audit::forget))
        .route("/audit/export", get(audit::export))
        .route("/audit/{id}", get(audit::show))
        .route("/backup/copy", post(copy::make))
        .route("/console/link", post(console::door::link))
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
        let (_, mut rows) = served().finish();
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
