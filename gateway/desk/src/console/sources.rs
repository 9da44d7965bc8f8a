//! The owner's sources as a page, and the form of one: fields from the schema that the catalogue serves.
//!
//! ```text
//! page: each source with its acts, what was found, the kinds to add ─▶ form ─save, secrets, test─▶ page | a remedy beside its field
//! ```
//! Invariants: no secret is in a page; what a source is called and where it lies is text.
//!
//! Must not know: how a source is checked or put in place.

use super::{
    foreign::ForeignText,
    gone,
    links::{Begin, Stretch},
    shell, words,
};
use crate::{
    acts::blocking,
    desk::Desk,
    owner::{
        kinds::form_of,
        sources::{health_now, stopped},
    },
};
use askama::Template;
use axum::{
    extract::{Request, State},
    response::Response,
};
use plexus_edge::reply::{Refused, query};
use plexus_ipc::manifest::Manifest;
use plexus_owner::{
    kinds::{FormField, GrantsAfter},
    sources::route_in_words,
};
use plexus_protocol::{PendingId, SourceId};
use plexus_sources::{
    detect::{self, Detected},
    lending::free_id,
};
use plexus_trust::Source;
use serde_json::Value;
use std::sync::Arc;

#[derive(Template)]
#[template(path = "sources.html")]
struct Page {
    sources: Vec<Row>,
    stretch: Stretch,
    found: Vec<Found>,
    kinds: Vec<Kind>,
}

/// What this machine offers to add.
struct Found {
    kind: String,
    id: String,
    label: ForeignText,
    evidence: ForeignText,
}

struct Row {
    id: String,
    label: ForeignText,
    kind: String,
    /// Its folder, or its address.
    points: ForeignText,
    enabled: bool,
    /// `ok`, `idle`, `bad` or `off`, for the style.
    class: &'static str,
    words: ForeignText,
    /// The request that decides on it, where it is stopped.
    card: Option<PendingId>,
}

struct Kind {
    kind: String,
    label: String,
    blurb: String,
    /// Why it cannot be added here.
    away: Option<ForeignText>,
}

#[derive(Template)]
#[template(path = "source.html")]
struct Form {
    kind: String,
    name: String,
    blurb: String,
    /// Of one that is there: its id.
    source: Option<String>,
    id: String,
    label: String,
    ask: bool,
    fields: Vec<Field>,
}

struct Field {
    name: String,
    title: String,
    help: String,
    example: String,
    value: String,
    secret: bool,
    /// It is the folder that the source opens.
    root: bool,
    required: bool,
    /// What another value does to the grants.
    note: &'static str,
    /// It suspends them, where nothing else is changed.
    suspends: bool,
    /// The field with which this one is not needed, by its title.
    instead: Option<String>,
}

/// All sources, and the kinds that can be added.
pub(super) async fn page(
    State(desk): State<Arc<Desk>>,
    Begin(at): Begin,
) -> Result<Response, Refused> {
    let of = desk.clone();
    shell::rendered(&desk, move || Page::of(&of, at).render()).await
}

/// The form of the source `?id=`, or of `?kind=`: empty, or filled with what was `&found=` under an id.
pub(super) async fn form(
    State(desk): State<Arc<Desk>>,
    request: Request,
) -> Result<Response, Refused> {
    let state = desk.ledger.snapshot();
    let form = match (query(&request, "id"), query(&request, "kind")) {
        (Some(id), _) => {
            let source = state.sources.get(&*id).ok_or_else(gone)?;
            let connector = desk.registry.of_source(&source.config).ok_or_else(gone)?;
            Form::of(&connector.offer.manifest, Some(source))
        }
        (None, Some(kind)) => {
            let connector = desk.registry.of_kind(&kind).ok_or_else(gone)?;
            let mut form = Form::of(&connector.offer.manifest, None);
            let is_taken = |id: &SourceId| state.sources.contains_key(id);
            if let Some(free) = free_id(&form.id, "source", |_| false, is_taken) {
                form.id = free.to_string();
            }
            if let Some(id) = query(&request, "found") {
                let of = desk.clone();
                let found = blocking(move || detected(&of)).await?;
                let found = found.into_iter().find(|found| found.id.as_str() == id);
                form.fill(&found.filter(|found| found.kind == kind).ok_or_else(gone)?);
            }
            form
        }
        (None, None) => return Err(gone()),
    };
    shell::made(&desk, form.render())
}

/// What could be added and is not yet.
fn detected(desk: &Desk) -> Vec<Detected> {
    let state = desk.ledger.snapshot();
    let mut found = detect::detect(&desk.registry, &desk.state_dir, &state);
    found.retain(|found| !found.is_configured);
    found
}

impl Page {
    fn of(desk: &Desk, at: usize) -> Self {
        let state = desk.ledger.snapshot();
        let there: Vec<_> = state
            .sources
            .values()
            .filter(|source| !source.config.is_over())
            .collect();
        let stretch = Stretch::of(at, there.len(), |from| {
            format!("/admin/sources?from={from}")
        });
        let row = |source: &Arc<Source>| {
            let (class, words) = words::serving(source.config.enabled, &health_now(desk, source));
            Row {
                id: source.id.to_string(),
                label: ForeignText::short(&source.config.label, 60),
                kind: source.config.kind.clone(),
                points: ForeignText::short(&route_in_words(source.config.route.as_object()), 300),
                enabled: source.config.enabled,
                class,
                words: ForeignText::short(&words, 400),
                card: stopped(source).and_then(|stopped| stopped.pending_id),
            }
        };
        let kind = |manifest: &Manifest| Kind {
            kind: manifest.kind.clone(),
            label: manifest.label.clone(),
            blurb: manifest.blurb.clone(),
            away: desk
                .registry
                .out_of_place(manifest)
                .map(|why| ForeignText::line(&why)),
        };
        Self {
            sources: stretch.part(there).map(row).collect(),
            stretch,
            found: detected(desk).iter().map(Found::of).collect(),
            kinds: desk.registry.manifests().map(|of| kind(&of)).collect(),
        }
    }
}

impl Found {
    fn of(found: &Detected) -> Self {
        Self {
            kind: found.kind.clone(),
            id: found.id.to_string(),
            label: ForeignText::short(&found.label, 60),
            evidence: ForeignText::short(&found.evidence, 400),
        }
    }
}

impl Form {
    /// Fills in what was found.
    fn fill(&mut self, found: &Detected) {
        self.id = found.id.to_string();
        self.label.clone_from(&found.label);
        for field in &mut self.fields {
            if let Some(value) = found.route.get(&field.name).and_then(Value::as_str) {
                value.clone_into(&mut field.value);
            }
        }
    }

    fn of(manifest: &Manifest, source: Option<&Arc<Source>>) -> Self {
        let form = form_of(manifest);
        let config = source.map(|source| &source.config);
        let title_of = |by: &str| {
            let mut fields = form.fields();
            fields
                .find(|(name, _)| *name == by)
                .map(|(_, field)| field.title)
        };
        let field = |(name, field): (&str, FormField)| {
            let value = config.and_then(|config| config.route.get(name)?.as_str());
            Field {
                name: name.to_owned(),
                example: field.example().unwrap_or_default(),
                title: field.title,
                help: field.description,
                value: value.map_or(field.default, str::to_owned),
                secret: field.write_only,
                root: field.root,
                // One that is set is left as it is; one that another field replaces may be left empty.
                instead: field.unless.as_deref().and_then(title_of),
                required: form.required.iter().any(|one| one == name)
                    && !(field.write_only && source.is_some())
                    && field.unless.is_none(),
                suspends: field.grants == GrantsAfter::Suspended,
                note: match (source, field.grants) {
                    (None, _) => "",
                    (Some(_), GrantsAfter::Suspended) => {
                        "Another value suspends the grants on it until you approve them."
                    }
                    (Some(_), GrantsAfter::Ended) => "Another value revokes the grants on it.",
                },
            }
        };
        Self {
            kind: manifest.kind.clone(),
            name: manifest.label.clone(),
            blurb: manifest.blurb.clone(),
            source: source.map(|source| source.id.to_string()),
            id: source.map_or_else(
                || manifest.connector.clone(),
                |source| source.id.to_string(),
            ),
            label: config.map_or_else(String::new, |config| config.label.clone()),
            ask: config.is_some_and(|config| config.ask),
            fields: form.fields().map(field).collect(),
        }
    }
}
