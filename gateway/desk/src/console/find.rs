//! The palette: pages, agents, sources and capabilities whose name holds what was typed, and the call of this id.

use super::{foreign::ForeignText, links, pages::PAGES, shell, words::said};
use crate::{desk::Desk, owner::activity};
use askama::Template;
use axum::{
    extract::{Request, State},
    response::Response,
};
use plexus_edge::reply::{Refused, query};
use plexus_ipc::text::folded;
use plexus_owner::activity::{ActivityCall, ActivityRow};
use std::sync::Arc;

/// What is shown at most.
const SHOWN: usize = 12;

#[derive(Template)]
#[template(path = "found.html")]
struct Page {
    found: Vec<Found>,
}

struct Found {
    what: &'static str,
    name: ForeignText,
    link: String,
}

/// What `?q=` finds.
pub(super) async fn page(
    State(desk): State<Arc<Desk>>,
    request: Request,
) -> Result<Response, Refused> {
    let sought = folded(query(&request, "q").unwrap_or_default().trim());
    drop(request);
    // Each id of a call begins so; nothing else is looked for in the log.
    let call = match sought.starts_with("evt_") {
        true => activity::one(&desk, &sought).await?,
        false => None,
    };
    let shown = desk.clone();
    shell::rendered(&desk, move || {
        Page {
            found: found(&shown, &sought, call.as_ref().map(ActivityRow::call)),
        }
        .render()
    })
    .await
}

fn found(desk: &Desk, sought: &str, call: Option<&ActivityCall>) -> Vec<Found> {
    if sought.is_empty() {
        return Vec::new();
    }
    let state = desk.ledger.snapshot();
    let catalogue = desk.catalogue.load();
    let holds = |text: &str| folded(text).contains(sought);
    let one = |what, name: &str, link| Found {
        what,
        name: ForeignText::short(name, 80),
        link,
    };
    let pages = |by_name: bool| {
        let pages = PAGES.iter().filter(move |page| {
            let is_named = holds(page.name);
            !page.name.is_empty() && is_named == by_name && (is_named || holds(page.words))
        });
        pages.map(move |page| one("page", page.name, page.address.to_owned()))
    };
    let agents = state.agents.keys().filter(|id| holds(id.as_str()));
    let agents = agents.map(|id| one("agent", id.as_str(), format!("/admin/agents/{id}")));
    let sources = state.sources.values();
    let sources = sources.filter(|source| holds(source.id.as_str()) || holds(&source.config.label));
    let sources = sources.map(|source| {
        one(
            "source",
            source.id.as_str(),
            format!("/admin/sources/{}", source.id),
        )
    });
    let capabilities = catalogue.iter();
    let capabilities = capabilities
        .filter(|entry| holds(entry.id.as_str()) || holds(&entry.capability().label))
        .map(|entry| {
            one(
                "capability",
                entry.id.as_str(),
                format!("/admin/sources/{}", entry.source),
            )
        });
    let call = call.map(|call| {
        let link = format!("/admin/activity/{}", call.audit_id);
        one("call", &said(call), link)
    });
    let thing = [one("calls that touched", sought, links::touched(sought))];
    // A name comes before a page that is only known by the word too.
    let all = call
        .into_iter()
        .chain(pages(true))
        .chain(agents)
        .chain(sources)
        .chain(pages(false))
        .chain(capabilities);
    all.take(SHOWN).chain(thing).collect()
}
