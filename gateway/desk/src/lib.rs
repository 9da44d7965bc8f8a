//! The owner's side: routes below `/admin/api` and `/v1`, cards, the console, and what other machines are set up from.
//!
//! Invariant: every route that changes something asks for a guard of `acting`.
//!
//! Must not know: how a decision is made (the trust machine) or carried out (the calls).

mod acting;
mod acts;
mod cards;
mod console;
pub mod desk;
mod integration;
mod kept_cards;
mod owner;
mod plans;
pub mod sign_ins;
mod table;
pub mod upgrade;
mod visits;

use axum::Router;
use plexus_edge::service::OwnerRoutes;
use std::sync::Arc;

/// The owner's routes, by which listener serves them.
pub fn routes(desk: &Arc<desk::Desk>) -> OwnerRoutes {
    let stateful = |routes: Router<Arc<desk::Desk>>| routes.with_state(desk.clone());
    let owner = owner::routes(desk).merge(integration::owner_routes());
    OwnerRoutes {
        tcp: stateful(owner.clone().merge(integration::public_routes())),
        agents: stateful(integration::public_routes()),
        owner: stateful(owner.merge(owner::socket_routes(desk))),
    }
}
