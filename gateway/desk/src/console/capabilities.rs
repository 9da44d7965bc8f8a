//! Capabilities as a page: those that agents see, or those that they do not, each with its switch.

use super::{
    foreign::ForeignText,
    links::{Begin, Stretch},
    shell, words,
};
use crate::desk::Desk;
use askama::Template;
use axum::{
    extract::{Request, State},
    response::Response,
};
use plexus_edge::reply::{Refused, query};
use std::sync::Arc;

#[derive(Template)]
#[template(path = "capabilities.html")]
struct Page {
    rows: Vec<Row>,
    is_hidden: bool,
    stretch: Stretch,
}

struct Row {
    id: String,
    source: String,
    label: ForeignText,
    does: String,
}

/// Those that are exposed, or with `?show=hidden` the others.
pub(super) async fn page(
    State(desk): State<Arc<Desk>>,
    Begin(from): Begin,
    request: Request,
) -> Result<Response, Refused> {
    let is_hidden = query(&request, "show").as_deref() == Some("hidden");
    drop(request);
    let shown = desk.clone();
    shell::rendered(&desk, move || {
        let state = shown.ledger.snapshot();
        let catalogue = shown.catalogue.load();
        let of = |id: &_| state.exposed(id) != is_hidden;
        let found: Vec<_> = catalogue.iter().filter(|entry| of(&entry.id)).collect();
        let show = if is_hidden { "hidden" } else { "exposed" };
        let stretch = Stretch::of(from, found.len(), |from| {
            format!("/admin/capabilities?show={show}&from={from}")
        });
        Page {
            rows: stretch.part(found).map(|entry| Row::of(entry)).collect(),
            is_hidden,
            stretch,
        }
        .render()
    })
    .await
}

impl Row {
    fn of(entry: &plexus_sources::catalogue::Entry) -> Self {
        Self {
            id: entry.id.to_string(),
            source: entry.source.to_string(),
            label: ForeignText::short(&entry.capability().label, 80),
            does: words::consequence(entry),
        }
    }
}
