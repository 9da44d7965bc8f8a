//! One source as a page: how it does, what agents see of it and who holds it, what is hidden, and what its workers may
//! reach.

use super::{
    foreign::ForeignText,
    gone,
    links::{Begin, Stretch},
    shell, words,
};
use crate::{
    acts::Named,
    desk::Desk,
    owner::{grants, profile, sign_ins::token_endpoint, sources},
    table::Reading,
};
use askama::Template;
use axum::{extract::State, response::Response};
use plexus_edge::reply::Refused;
use plexus_ipc::manifest::EntryKind;
use plexus_owner::{
    profile::{AllowedAction, Profile, RoleReach, WorkerRole},
    sources::SourceRow,
};
use plexus_protocol::{MAX_SCOPES_TEXT, PendingId};
use std::{collections::BTreeMap, sync::Arc};

/// Rules that are shown.
const RULES: usize = 30;

#[derive(Template)]
#[template(path = "one_source.html")]
struct Page {
    id: String,
    label: ForeignText,
    kind: String,
    class: &'static str,
    state: ForeignText,
    enabled: bool,
    asks: bool,
    /// What it runs is not what the owner agreed to.
    stopped: bool,
    /// The request that decides on that; none where the owner has.
    card: Option<PendingId>,
    lent: Option<ForeignText>,
    route: Vec<(ForeignText, ForeignText)>,
    capabilities: Vec<CapabilityRow>,
    stretch: Stretch,
    hidden: Vec<(&'static str, Vec<ForeignText>)>,
    /// What its workers may reach; or why that cannot be told.
    reach: Result<Vec<RoleView>, ForeignText>,
    unsandboxed: bool,
    /// What its server wants beyond that.
    wanted: Option<ForeignText>,
    /// Its server is one that the owner signs in at.
    signs_in: bool,
}

struct CapabilityRow {
    id: String,
    label: ForeignText,
    about: ForeignText,
    does: String,
    exposed: bool,
    grants: usize,
}

struct RoleView {
    name: &'static str,
    may: Vec<(&'static str, Vec<ForeignText>)>,
}

/// One source.
pub(super) async fn page(
    State(desk): State<Arc<Desk>>,
    Named(id): Named,
    Begin(from): Begin,
) -> Result<Response, Refused> {
    let listed = sources::list(desk.clone(), Reading, plexus_owner::sources::List {}).await?;
    let row = listed
        .sources
        .into_iter()
        .find(|row| row.source.id.as_str() == id);
    let row = row.ok_or_else(gone)?;
    let granted = grants::list(desk.clone(), Reading, plexus_owner::grants::List {}).await?;
    let profile = profile::show(desk.clone(), Reading, plexus_owner::profile::Show { id }).await;
    let shown = desk.clone();
    shell::rendered(&desk, move || {
        let mut held: BTreeMap<&str, usize> = BTreeMap::new();
        for grant in &granted.grants {
            *held.entry(grant.capability_id.as_str()).or_default() += 1;
        }
        Page::of(&shown, &row, &held, profile, from).render()
    })
    .await
}

impl Page {
    fn of(
        desk: &Desk,
        row: &SourceRow,
        held: &BTreeMap<&str, usize>,
        profile: Result<Profile, Refused>,
        from: usize,
    ) -> Self {
        let source = &row.source;
        let (class, state) = words::serving(source.enabled, &row.health);
        let trust = desk.ledger.snapshot();
        let catalogue = desk.catalogue.load();
        let own = catalogue.iter().filter(|entry| {
            entry.source == source.id && entry.capability().kind == EntryKind::Capability
        });
        let own: Vec<_> = own.collect();
        let stretch = Stretch::of(from, own.len(), |from| {
            format!("/admin/sources/{}?from={from}", source.id)
        });
        let capabilities: Vec<_> = stretch
            .part(own)
            .map(|entry| CapabilityRow {
                id: entry.id.to_string(),
                label: ForeignText::short(&entry.capability().label, 80),
                about: ForeignText::short(entry.summary(), 240),
                does: words::consequence(entry),
                exposed: trust.exposed(&entry.id),
                grants: held.get(entry.id.as_str()).copied().unwrap_or(0),
            })
            .collect();
        let connector = desk.registry.of_kind(&source.kind);
        let hide = source.hide.clone().unwrap_or_default();
        let hidden = [
            ("Folders", hide.folders),
            ("Paths like", hide.globs),
            ("Notes with the tag", hide.tags),
        ];
        let plain = |value: &serde_json::Value| match value.as_str() {
            Some(text) => text.to_owned(),
            None => value.to_string(),
        };
        Self {
            id: source.id.to_string(),
            label: ForeignText::short(&source.label, 120),
            kind: source.kind.clone(),
            class,
            state: ForeignText::short(&state, 400),
            enabled: source.enabled,
            asks: source.approval == Some(plexus_owner::sources::Approval::Ask),
            stopped: row.stopped.is_some(),
            card: row.stopped.as_ref().and_then(|of| of.pending_id.clone()),
            lent: source
                .lent
                .as_ref()
                .map(|lent| ForeignText::short(lent.agent.as_str(), 60)),
            route: source
                .route
                .iter()
                .flatten()
                .take(RULES)
                .map(|(name, value)| {
                    (
                        ForeignText::short(name, 40),
                        ForeignText::short(&plain(value), 300),
                    )
                })
                .collect(),
            capabilities,
            stretch,
            hidden: hidden
                .into_iter()
                .filter(|(_, rules)| !rules.is_empty())
                .map(|(what, rules)| {
                    (
                        what,
                        rules
                            .iter()
                            .map(|rule| ForeignText::short(rule, 200))
                            .collect(),
                    )
                })
                .collect(),
            wanted: row
                .health
                .wanted_scope
                .as_ref()
                .map(|wanted| match wanted.is_empty() {
                    true => ForeignText::short("it does not say what", 40),
                    false => ForeignText::short(&wanted.to_string(), MAX_SCOPES_TEXT),
                }),
            signs_in: connector.is_some_and(|it| token_endpoint(&it.offer.manifest).is_some()),
            unsandboxed: desk.unsandboxed.contains(&source.id),
            reach: match profile {
                Ok(profile) => Ok(profile.roles.iter().map(RoleView::of).collect()),
                Err(refused) => {
                    let error = refused.into_error();
                    let message = error.message.trim_end_matches('.');
                    Err(ForeignText::short(words::found(message), 400))
                }
            },
        }
    }
}

impl RoleView {
    fn of(role: &RoleReach) -> Self {
        let told = |rules: &[AllowedAction]| {
            rules
                .iter()
                .take(RULES)
                .map(|rule| ForeignText::short(&rule.what, 240))
                .collect::<Vec<_>>()
        };
        let may = [
            ("may read", &role.may_read),
            ("may change", &role.may_write),
            ("may run", &role.may_run),
            ("may talk to", &role.may_talk_to),
            ("may also", &role.may_also),
        ];
        Self {
            name: match role.role {
                WorkerRole::Reader => "The worker that reads and plans",
                WorkerRole::Writer => "The worker that changes something",
            },
            may: {
                let beyond = role.not_hidden.iter().take(RULES);
                let beyond = beyond.map(|what| ForeignText::short(what, 240)).collect();
                let may = may.into_iter().map(|(word, rules)| (word, told(rules)));
                may.chain([("this system does not hide", beyond)]).collect()
            },
        }
    }
}
