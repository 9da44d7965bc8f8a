//! The owner's console at `/admin`: sign-in, a page for each thing that an owner wants to know or decide, and the cards.
//!
//! ```text
//! browser ─GET─▶ shell: page, style, script; nothing of the owner's
//!         ─key or one-time link─▶ door: cookie + the tab's secret
//!         ─cookie + secret─▶ view (state, list) · card (one request) · events (what changed) · decision
//!                         ├▶ pages(): what fills the page of the same path
//!                         └▶ /api: the owner's table, for the acts of the pages
//!         ─back from a sign-in at a server─▶ signed-in: a word; nothing of the owner's
//! ```
//! Invariants: see `door` for who comes in, `foreign` for text that is not ours. A decision goes through the same
//! handler as `plexusctl`'s and names the digest of the card that was rendered; so does an act on a source. Every answer is
//! bounded.
//!
//! Must not know: how a decision is made or carried out.

mod activity;
mod agents;
mod assets;
mod capabilities;
mod card;
mod change;
mod change_sets;
mod channels;
mod diff;
pub(crate) mod door;
mod extensions;
mod find;
mod foreign;
mod glance;
mod grants;
mod health;
mod lend;
mod links;
mod live;
mod one_source;
mod overview;
mod pages;
mod plan;
mod review;
mod runs;
mod settings;
mod sheet;
pub(crate) mod shell;
mod sign_in;
mod since;
mod sources;
mod together;
mod words;

pub use together::RequestSets;

use crate::{
    acting::Narrowing,
    acts::{blocking, failed},
    cards,
    desk::Desk,
    owner::{self, approvals, calls, proposal_cards, sign_ins},
    table,
};
use askama::Template;
use axum::{
    Extension, Router,
    extract::{Path, RawPathParams, Request, State},
    middleware::from_fn_with_state,
    response::Response,
    routing::{get, post},
};
use links::Begin;
use plexus_edge::{
    browser,
    reply::{self, Refused},
    sessions::Visitor,
    sse::{self, Opened},
};
use plexus_owner::{
    Method,
    pending::{self, Decide, DecisionOutcome},
};
use plexus_protocol::{CapabilityId, ErrorBody, ErrorCode, PendingId, json};
use serde::{Serialize, de::DeserializeOwned};
use std::sync::Arc;

/// Everything below `/admin` that is the console's.
pub(crate) fn routes(desk: &Arc<Desk>) -> Router<Arc<Desk>> {
    // An act of a page is a call of the owner's table.
    let table = owner::served().only(|row| ACTS.contains(&(row.method, row.route())));
    let inside = Router::new()
        .nest("/api", table.routes())
        .merge(pages())
        .route("/sign-out", post(door::sign_out))
        .route("/view", get(view))
        .route("/events", get(events))
        .route("/pending/{id}", get(show).post(decide))
        .route("/together", post(together::decide))
        .route("/pending/{id}/end", post(end))
        .route("/pending/{id}/everything", get(everything))
        .route("/pending/{id}/diff/{capability}", get(more))
        .route_layer(from_fn_with_state(desk.clone(), door::signed_in));
    let shell = get(|desk: State<Arc<Desk>>, request: Request| {
        shell::page(desk, request, pages::navigation())
    });
    Router::new()
        .route("/admin", shell.clone())
        .route("/admin/", shell.clone())
        .route("/admin/{*rest}", shell)
        .route("/admin/console.css", get(shell::style))
        .route("/admin/console.js", get(shell::script))
        .route("/admin/console/sign-in", post(door::sign_in))
        .route(sign_ins::CAME_BACK, get(sign_ins::came_back))
        .nest("/admin/console", inside)
}

/// The calls of the owner's table that pages send: no other is made with a session.
const ACTS: [(Method, &str); 30] = [
    (Method::Get, "/sources"),
    (Method::Post, "/sources"),
    (Method::Delete, "/sources/{id}"),
    (Method::Post, "/sources/{id}/enable"),
    (Method::Post, "/sources/{id}/disable"),
    (Method::Post, "/sources/{id}/reconfigure"),
    (Method::Post, "/sources/{id}/hide"),
    (Method::Post, "/sources/{id}/resume"),
    (Method::Get, "/sign-ins/{id}"),
    (Method::Delete, "/sources/{source}/sign-in"),
    (Method::Get, "/health"),
    (Method::Post, "/secrets/{name}"),
    (Method::Post, "/exposure/{id}"),
    (Method::Delete, "/extensions/{id}"),
    (Method::Delete, "/lend/{id}"),
    (Method::Post, "/agents/revoke"),
    (Method::Post, "/agents/{id}/limits"),
    (Method::Get, "/grants"),
    (Method::Post, "/revoke"),
    (Method::Post, "/pause"),
    (Method::Delete, "/pending/{id}/denial"),
    (Method::Post, "/pending/{id}/plan"),
    (Method::Post, "/calls/{id}/stop"),
    (Method::Post, "/boards/{id}/stop"),
    (Method::Delete, "/changes/{id}"),
    (Method::Get, "/undo/{id}"),
    (Method::Post, "/undo/{id}"),
    (Method::Post, "/unsettled/{id}"),
    (Method::Get, "/channels"),
    (Method::Post, "/channels/{source}/{channel}/messages"),
];

/// What fills the pages, and the parts and forms of them.
fn pages() -> Router<Arc<Desk>> {
    pages::routes()
        .route("/together/{id}", get(together::page))
        .merge(extensions::form::<extensions::ServerForm>("server"))
        .merge(extensions::form::<extensions::ManifestForm>("manifest"))
        .merge(extensions::client_form())
        .merge(sign_in::form())
        .route("/connect/of", get(agents::offered))
        .route("/agents/{id}/give", post(agents::give))
        .route("/agents/{id}/arrival", get(agents::arrival))
        .route("/grants/renew", post(grants::renew))
        .route("/runs/{id}/said", get(runs::said))
        .route("/channels/{source}/{channel}/said", get(channels::said))
        .route(
            "/channels/{source}/{channel}/members",
            get(channels::members),
        )
        .route("/changes/{id}/rows", get(change_sets::rows))
        .route("/changes/{id}/preview", post(change_sets::preview))
        .route("/changes/{id}/add", post(change_sets::apply))
        .route("/lend/preview", post(lend::preview))
        .route("/lend/add", post(lend::add))
        .route("/settings/change", post(settings::change))
        .route("/find", get(find::page))
}

/// The list and the state of the gateway.
async fn view(State(desk): State<Arc<Desk>>) -> Result<Response, Refused> {
    let made = blocking(move || glance::view(&desk, &desk.ledger.snapshot())).await?;
    let view = made.map_err(|error| failed(error.to_string()))?;
    Ok(reply::ok(&view))
}

/// What changes, as it does.
async fn events(
    State(desk): State<Arc<Desk>>,
    Extension(who): Extension<Visitor>,
    request: Request,
) -> Response {
    let since = sse::since(request.headers());
    sse::response(
        desk.edge.clone(),
        Opened::Console(who),
        since,
        "plexus console event stream",
    )
}

/// One request as a card.
async fn show(
    State(desk): State<Arc<Desk>>,
    Extension(who): Extension<Visitor>,
    Path(id): Path<String>,
) -> Result<Response, Refused> {
    let id = PendingId::parse(&id).map_err(|_| gone())?;
    let at = browser::present(&desk);
    let by = match desk.console.decided_in(&id, at) {
        Some(by) if by == Visitor::TERMINAL => " in a terminal",
        Some(by) if by == who => " in this browser",
        Some(by) if desk.console.stands(by, at) => " in another browser",
        // Of a session that has ended it may have been this browser; decided before a start, it is of none.
        Some(_) | None => "",
    };
    // Code that is again what was agreed to has no card.
    approvals::compared_rarely(&desk, &id).await?;
    let proposed = proposed(&desk, &id).await?;
    let shown = desk.clone();
    let card = blocking(move || {
        let state = shown.ledger.snapshot();
        let now = state.time(shown.clock.now());
        let item = state.item(&id).filter(|_| proposed.is_none());
        if let Some(item) = item {
            return card::Card::of(&shown, &state, item, by)?.render().ok();
        }
        let Some(item) = proposed.or_else(|| cards::of_source(&shown, &state, &id)) else {
            return change::decided(&shown, &state, &id, by, now);
        };
        let denies = state.denied_by(&id, now).next().is_some();
        sheet::of_item(&item, denies, now)
    })
    .await?
    .ok_or_else(gone)?;
    Ok(shell::typed(&desk, card.into(), "text/html; charset=utf-8"))
}

/// The card, as it is now, of an item that proposes an extension.
async fn proposed(desk: &Arc<Desk>, id: &PendingId) -> Result<Option<pending::Item>, Refused> {
    let item = desk.ledger.snapshot().item(id).cloned();
    match item.filter(|item| item.register.is_some()) {
        Some(item) => Ok(Some(proposal_cards::look(desk, &item).await?.item())),
        None => Ok(None),
    }
}

/// The owner's decision: the one handler of all decisions, remembered as made here.
async fn decide(
    State(desk): State<Arc<Desk>>,
    Extension(who): Extension<Visitor>,
    narrowing: Narrowing,
    in_path: RawPathParams,
    request: Request,
) -> Result<Response, Refused> {
    let call: Decide = table::read(&desk, &in_path, request).await?;
    let item = PendingId::parse(&call.id).map_err(|_| gone())?;
    let done = approvals::decide_as(&desk, &narrowing, call, who).await?;
    let notes = match &done.outcome {
        DecisionOutcome::Granted {
            granted,
            also_answered,
            denials_ended,
            ..
        } => {
            let state = desk.ledger.snapshot();
            let now = state.time(desk.clock.now());
            let agent = state.item(&item).map(|item| &item.agent);
            agent.map_or_else(Vec::new, |agent| {
                words::beside_grant(&state, agent, granted, (also_answered, *denials_ended), now)
            })
        }
        DecisionOutcome::Resumed { also_answered, .. } => words::also_answered("", also_answered)
            .into_iter()
            .collect(),
        DecisionOutcome::Registered {
            secrets_missing, ..
        } => secrets_missing.iter().map(words::secret_missing).collect(),
        _ => Vec::new(),
    };
    Ok(reply::ok(&Noted { done, notes }))
}

/// The answer to an act of a page, with what the page says of it besides.
#[derive(Serialize)]
struct Noted<T> {
    #[serde(flatten)]
    done: T,
    notes: Vec<String>,
}

/// Ends the conversation that an item's approval opened.
async fn end(
    State(desk): State<Arc<Desk>>,
    narrowing: Narrowing,
    Path(id): Path<String>,
) -> Result<Response, Refused> {
    let item = PendingId::parse(&id).map_err(|_| gone())?;
    let ended = calls::end(&desk, &narrowing, item).await?;
    Ok(reply::accepted(&ended))
}

/// More of a diff.
async fn more(
    State(desk): State<Arc<Desk>>,
    Path((id, capability)): Path<(String, String)>,
    Begin(from): Begin,
) -> Result<Response, Refused> {
    let (Ok(id), Ok(of)) = (PendingId::parse(&id), CapabilityId::parse(&capability)) else {
        return Err(gone());
    };
    fragment(desk, move |desk| {
        card::diff_page(desk, &desk.ledger.snapshot(), &id, &of, from)
    })
    .await
}

/// All that a card's digest covers.
async fn everything(
    State(desk): State<Arc<Desk>>,
    Path(id): Path<String>,
    Begin(from): Begin,
) -> Result<Response, Refused> {
    let id = PendingId::parse(&id).map_err(|_| gone())?;
    let whole = proposed(&desk, &id).await?;
    fragment(desk, move |desk| {
        card::everything(desk, &desk.ledger.snapshot(), &id, whole, from)
    })
    .await
}

/// What a form of a page sends. A member that it does not have is refused.
async fn sent<T: DeserializeOwned>(request: Request) -> Result<T, Refused> {
    let members = reply::object_body(request).await?;
    json::read_value(members.into()).map_err(|why| Refused::malformed(why.to_string()))
}

async fn fragment(
    desk: Arc<Desk>,
    make: impl FnOnce(&Desk) -> Option<String> + Send + 'static,
) -> Result<Response, Refused> {
    let of = desk.clone();
    let made = blocking(move || make(&of)).await?.ok_or_else(gone)?;
    Ok(shell::typed(&desk, made.into(), "text/html; charset=utf-8"))
}

fn gone() -> Refused {
    Refused::new(
        ErrorBody::new(
            ErrorCode::UnknownCapability,
            "There is nothing of this name here, or not any more.",
        )
        .next("/admin"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_pages_send_is_in_the_table() {
        for (method, path) in ACTS {
            let of = |row: &plexus_owner::Tabled| row.method == method && row.route() == path;
            assert!(plexus_owner::TABLE.iter().any(of), "{method:?} {path}");
        }
    }
}
