//! Every page of the console: where it lies, what it is called, and what fills it. The navigation, the palette and the
//! routes are made of this one list.
//!
//! Invariant: what fills a page lies at the page's own path below `/admin/console` (docs/decisions/0129).

use super::{
    activity, agents, capabilities, change_sets, channels, extensions, grants, health, lend, live,
    one_source, overview, review, runs, settings,
    shell::{Section, Tab},
    since, sources,
};
use crate::desk::Desk;
use axum::{
    Router,
    routing::{MethodRouter, get},
};
use std::sync::Arc;

/// A page.
pub(super) struct Page {
    /// Its address; one of many of a kind has the name of its part in braces.
    pub(super) address: &'static str,
    /// What the palette calls it; empty of one that is reached from another page alone.
    pub(super) name: &'static str,
    /// Further words by which somebody may look for it.
    pub(super) words: &'static str,
    /// Its place in the navigation.
    pub(super) tab: Option<Tab>,
    /// What fills it; none of the requests, which the script shows.
    fill: Option<fn() -> MethodRouter<Arc<Desk>>>,
}

const fn page(
    address: &'static str,
    name: &'static str,
    words: &'static str,
    fill: fn() -> MethodRouter<Arc<Desk>>,
) -> Page {
    Page {
        address,
        name,
        words,
        tab: None,
        fill: Some(fill),
    }
}

impl Page {
    const fn tab(self, section: &'static str, id: &'static str, label: [&'static str; 3]) -> Self {
        let tab = Some(Tab { section, id, label });
        Self { tab, ..self }
    }
}

const SHARE: &str = "What I share";
const TRUST: &str = "Who I trust";
const PAST: &str = "What happened";
const GATEWAY: &str = "This gateway";

/// All of them, in the order of the navigation.
#[rustfmt::skip]
pub(super) const PAGES: &[Page] = &[
    page("/admin", "Overview", "home start today pause latency", || get(overview::page)).tab("", "overview", ["", "O", "verview"]),
    Page { address: "/admin/approvals", name: "Approvals", words: "requests cards decide deny",
        tab: Some(Tab { section: "", id: "approvals", label: ["A", "p", "provals"] }), fill: None },
    page("/admin/since", "", "", || get(since::page)),
    page("/admin/sources", "What I share", "sources connectors add folder calendar vault", || get(sources::page)).tab(SHARE, "sources", ["", "S", "ources"]),
    page("/admin/source-form", "", "", || get(sources::form)),
    page("/admin/sources/{id}", "", "", || get(one_source::page)),
    page("/admin/capabilities", "Capabilities", "exposed hidden expose unexpose", || get(capabilities::page)),
    page("/admin/lend", "Lend a folder", "lending folder repository take back end", || get(lend::page)).tab(SHARE, "lend", ["Len", "d", ""]),
    page("/admin/extensions", "Extensions and MCP servers", "mcp server manifest lend install mcpServers", || get(extensions::page)).tab(SHARE, "extensions", ["", "E", "xtensions"]),
    page("/admin/agents", "Agents", "who connected", || get(agents::page)).tab(TRUST, "agents", ["", "A", "gents"]),
    page("/admin/connect", "Connect an agent", "new claude codex mcp code", || get(agents::form).post(agents::connect)),
    page("/admin/agents/{id}", "", "", || get(agents::show)),
    page("/admin/agents/{id}/review", "", "", || get(review::page)),
    page("/admin/grants", "Grants", "allowed revoke standing renew ended expired", || get(grants::page)).tab(TRUST, "grants", ["", "G", "rants"]),
    page("/admin/activity", "Activity", "audit log calls happened undo", || get(activity::page)).tab(PAST, "activity", ["Ac", "t", "ivity"]),
    page("/admin/activity/{id}", "", "", || get(activity::show)),
    page("/admin/activity/{id}/undo", "", "", || get(activity::take_back)),
    page("/admin/live", "Live", "realtime drawing", || get(live::page)).tab(PAST, "nav-live", ["", "L", "ive"]),
    page("/admin/runs", "Runs and boards", "tasks stop conversations output", || get(runs::page)).tab(PAST, "runs", ["", "R", "uns"]),
    page("/admin/runs/{id}", "", "", || get(runs::show)),
    page("/admin/boards/{id}", "", "", || get(runs::board)),
    page("/admin/changes", "Changes of coding agents", "change sets apply diff", || get(change_sets::list)).tab(PAST, "changes", ["", "C", "hanges"]),
    page("/admin/changes/{id}", "", "", || get(change_sets::show)),
    page("/admin/channels", "Channels", "encrypted messages relay members", || get(channels::page)).tab(PAST, "channels", ["Cha", "n", "nels"]),
    page("/admin/channels/{source}/{channel}", "", "", || get(channels::show)),
    page("/admin/health", "Health", "doctor sandbox workers ledger status", || get(health::page)).tab(GATEWAY, "health", ["", "H", "ealth"]),
    page("/admin/settings", "Settings", "config network egress hosts limits notifications token", || get(settings::page)).tab(GATEWAY, "settings", ["Sett", "i", "ngs"]),
];

/// Where what fills the page of an address lies, below `/admin/console`.
fn inside(address: &str) -> &str {
    match address.strip_prefix("/admin") {
        Some("") | None => "/overview",
        Some(rest) => rest,
    }
}

/// The routes of what fills them.
pub(super) fn routes() -> Router<Arc<Desk>> {
    let filled = PAGES
        .iter()
        .filter_map(|page| Some((page.address, page.fill?)));
    filled.fold(Router::new(), |router, (address, fill)| {
        router.route(inside(address), fill())
    })
}

/// The navigation.
pub(super) fn navigation() -> Vec<Section> {
    let mut sections: Vec<Section> = Vec::new();
    for page in PAGES {
        let Some(tab) = &page.tab else { continue };
        match sections.last_mut() {
            Some(section) if section.title == tab.section => section.tabs.push((page.address, tab)),
            _ => sections.push(Section {
                title: tab.section,
                tabs: vec![(page.address, tab)],
            }),
        }
    }
    sections
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn letters_ids_and_headings_stand_once() {
        let sections = navigation();
        let titles: BTreeSet<_> = sections.iter().map(|section| section.title).collect();
        assert_eq!(titles.len(), sections.len(), "pages of a heading are apart");
        let tabs: Vec<_> = sections.iter().flat_map(|section| &section.tabs).collect();
        let letters: BTreeSet<_> = tabs
            .iter()
            .map(|(_, tab)| tab.label[1].to_lowercase())
            .collect();
        let ids: BTreeSet<_> = tabs.iter().map(|(_, tab)| tab.id).collect();
        assert_eq!((letters.len(), ids.len()), (tabs.len(), tabs.len()));
    }

    /// `docs/console.md` names every page that has a name, and no other.
    #[test]
    fn manual_names_every_page() {
        const MANUAL: &str = include_str!("../../../../docs/console.md");
        for page in PAGES.iter().filter(|page| !page.name.is_empty()) {
            assert!(
                MANUAL.contains(&format!("`{}`", page.address)),
                "{}",
                page.address
            );
        }
        let known: BTreeSet<_> = PAGES.iter().map(|page| page.address).collect();
        for named in MANUAL
            .split('`')
            .filter(|named| named.starts_with("/admin"))
        {
            assert!(known.contains(named), "{named} is no page");
        }
    }
}
