//! The palette: pages, agents, sources and capabilities whose name holds what was typed.

use super::{blocking, foreign::ForeignText, links, shell};
use crate::desk::Desk;
use askama::Template;
use axum::{
    extract::{Request, State},
    response::Response,
};
use plexus_edge::reply::{Refused, query};
use std::sync::Arc;

/// What is shown at most.
const SHOWN: usize = 12;

/// Pages by the words that somebody may look for them with.
const PAGES: [(&str, &str, &str); 13] = [
    ("Overview", "/admin", "home start today pause"),
    (
        "Approvals",
        "/admin/approvals",
        "requests cards decide deny",
    ),
    (
        "What I share",
        "/admin/sources",
        "sources connectors add folder calendar vault",
    ),
    (
        "Extensions and MCP servers",
        "/admin/extensions",
        "mcp server manifest lend install",
    ),
    ("Agents", "/admin/agents", "who connected"),
    (
        "Connect an agent",
        "/admin/connect",
        "new claude codex mcp code",
    ),
    ("Grants", "/admin/grants", "allowed revoke standing"),
    (
        "Activity",
        "/admin/activity",
        "audit log calls happened undo",
    ),
    ("Live", "/admin/live", "realtime drawing"),
    (
        "Runs and boards",
        "/admin/runs",
        "tasks stop conversations output",
    ),
    (
        "Channels",
        "/admin/channels",
        "encrypted messages relay members",
    ),
    (
        "Changes of coding agents",
        "/admin/changes",
        "change sets apply diff",
    ),
    (
        "Health",
        "/admin/health",
        "doctor sandbox workers ledger status",
    ),
];

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
    let sought = query(&request, "q")
        .unwrap_or_default()
        .trim()
        .to_lowercase();
    drop(request);
    let shown = desk.clone();
    let made = blocking(move || {
        Page {
            found: found(&shown, &sought),
        }
        .render()
    })
    .await?;
    shell::made(&desk, made)
}

fn found(desk: &Desk, sought: &str) -> Vec<Found> {
    if sought.is_empty() {
        return Vec::new();
    }
    let state = desk.ledger.snapshot();
    let catalogue = desk.catalogue.load();
    let holds = |text: &str| text.to_lowercase().contains(sought);
    let one = |what, name: &str, link| Found {
        what,
        name: ForeignText::short(name, 80),
        link,
    };
    let pages = PAGES
        .iter()
        .filter(|(name, _, words)| holds(name) || holds(words))
        .map(|(name, link, _)| one("page", name, (*link).to_owned()));
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
    let thing = [one("calls that touched", sought, links::touched(sought))];
    let all = pages.chain(agents).chain(sources).chain(capabilities);
    all.take(SHOWN).chain(thing).collect()
}
