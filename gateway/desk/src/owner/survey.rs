//! Sources that are installed, and a look at one that is not there yet.
//!
//! Must not know: whether it is a server or an extension by manifest.

use crate::desk::Desk;
use plexus_edge::reply::Refused;
use plexus_ipc::offer::Offer;
use plexus_protocol::{ErrorBody, ErrorCode, SourceId};
use plexus_sources::{
    Registry, code,
    configure::{SourceRequest, look},
    extensions::id_taken,
    labels::NamesRead,
};
use plexus_trust::Source;
use serde_json::{Map, Value};

pub(super) fn is_installed(desk: &Desk, id: &str) -> bool {
    desk.registry
        .installed()
        .iter()
        .any(|(there, _)| there == id)
}

/// # Errors
/// The program of its workers is not installed.
pub(super) fn has_worker(desk: &Desk, offer: &Offer) -> Result<(), Refused> {
    let without = desk.registry.without_worker(offer);
    without.map_or(Ok(()), |why| {
        Err(Refused::new(ErrorBody::new(
            ErrorCode::SourceUnavailable,
            why,
        )))
    })
}

/// Why nothing of `kind` is added under an id: a source of another kind has it, or it is kept.
pub(super) fn unfree(desk: &Desk, id: &SourceId, kind: &str) -> Option<String> {
    let there = desk.ledger.snapshot().sources.get(id).cloned()?;
    match there.config.is_over() {
        true => Some(KEPT_ID.to_owned()),
        false => (there.config.kind != kind).then(|| id_taken(id)),
    }
}

/// Why no source is added under the id of a lending that is over.
pub(super) const KEPT_ID: &str =
    "this id is kept for what was changed in a lent folder; choose another";

/// Why a third party's `label` for the source `id` imitates another source that is there.
pub(super) fn imitated(desk: &Desk, id: &SourceId, label: &str) -> Option<String> {
    let state = desk.ledger.snapshot();
    let mut others = state.sources.values();
    let read = NamesRead::of([label, id.as_str()]);
    let other = others.find(|other| {
        let names = [other.config.label.as_str(), other.id.as_str()];
        other.id != *id && !other.config.is_over() && read.imitate(names)
    })?;
    Some(format!(
        "its label {label:?} or its id {id} looks like the source {} ({:?}) that is there: choose another, or give that one another label: plexusctl sources set {} --label LABEL",
        other.id, other.config.label, other.id
    ))
}

/// A source that is not there yet, as `body` would configure it, with its folders and programs as they are now.
pub(super) async fn surveyed(
    desk: &Desk,
    only: &Registry,
    body: &Value,
    id: SourceId,
) -> Result<Source, String> {
    let empty = Map::new();
    let wanted = SourceRequest {
        body: body.as_object().unwrap_or(&empty),
    };
    let (_, config) = wanted
        .inspect(only, &desk.state_dir)
        .await
        .map_err(|objection| objection.why)?;
    // The revision is of no look before: nothing that is left of one answers for this one.
    let mut source = Source::new(id, config, desk.clock.now().0);
    let seen = look(only, &source, &desk.state_dir).await?;
    (source.paths, source.base) = (seen.paths, seen.base);
    let mut named = source.clone();
    if let Some(id) = body["id"].as_str().and_then(|id| SourceId::parse(id).ok()) {
        named.id = id;
    }
    let state = desk.ledger.snapshot();
    let changeable = code::overlaps(only, &desk.registry, &state, &named, &seen.pins);
    source.pins = Some([seen.pins, changeable].concat());
    Ok(source)
}
