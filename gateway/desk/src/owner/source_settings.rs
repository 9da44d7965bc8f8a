//! Settings of the sources that run programs, in the words of the wire (docs/protocol/owner.md#sources): the authorized
//! folder, and whether runs are allowed (`realLaunch`: whether the source is enabled).
//!
//! Invariant: a change is a reconfiguration of the source, with all that goes with one; nothing is kept here.

use super::sources::{known, reconfigured};
use crate::{
    acting::Narrowing,
    desk::Desk,
    table::{Reading, Served},
};
use plexus_edge::reply::Refused;
use plexus_owner::{
    Done,
    source_settings::{AllSettings, Change, ChangedSettings, List, SourceSettings},
    sources::Reconfigure,
};
use plexus_protocol::{ErrorBody, ErrorCode};
use plexus_trust::Source;
use std::{path::Path, sync::Arc};

pub(super) fn serve(served: Served) -> Served {
    served.with(list).with(change)
}

/// A browser is no source here, so `browserControl` is absent.
async fn list(desk: Arc<Desk>, _: Reading, _: List) -> Result<AllSettings, Refused> {
    let state = desk.ledger.snapshot();
    let rows = state.sources.values().filter_map(|source| {
        let folder = folder_field(&desk, source)?;
        Some(settings(source, &folder))
    });
    Ok(AllSettings {
        sources: rows.collect(),
    })
}

/// `null` of either changes nothing, because a source has no other folder to fall back on.
async fn change(
    desk: Arc<Desk>,
    narrowing: Narrowing,
    call: Change,
) -> Result<ChangedSettings, Refused> {
    let id = call.id;
    let found = known(&desk, &id);
    let Some((source, folder)) = found.and_then(|source| {
        let folder = folder_field(&desk, &source)?;
        Some((source, folder))
    }) else {
        let why = format!("no source {id:?} runs programs in a folder");
        let error = ErrorBody::new(ErrorCode::UnknownCapability, why);
        return Err(Refused::new(error.next("plexusctl sources")));
    };
    let mut wanted = Reconfigure {
        id,
        enabled: call.real_launch.map(Some),
        ..Reconfigure::default()
    };
    if let Some(dir) = call.authorized_dir.filter(|dir| !dir.is_empty()) {
        if !Path::new(&dir).is_absolute() {
            return Err(Refused::malformed(
                "`authorizedDir` must be an absolute path",
            ));
        }
        let route = source.config.route.as_object();
        let mut route = route.cloned().unwrap_or_default();
        route.insert(folder.clone(), dir.into());
        wanted.route = Some(Some(route));
    }
    if wanted.enabled.is_some() || wanted.route.is_some() {
        reconfigured(&desk, &narrowing, &wanted).await??;
    }
    let now = known(&desk, &wanted.id).unwrap_or(source);
    Ok(ChangedSettings {
        settings: settings(&now, &folder),
        ok: Done,
    })
}

/// The route's field with the folder that a source's programs work in.
fn folder_field(desk: &Desk, source: &Source) -> Option<String> {
    let connector = desk.registry.of_source(&source.config)?;
    let manifest = &connector.offer.manifest;
    let is_run = !manifest.children.is_empty() && !source.config.is_over();
    manifest.root.clone().filter(|_| is_run)
}

fn settings(source: &Source, folder: &str) -> SourceSettings {
    let enabled = source.config.enabled;
    let dir = source.config.route.get(folder);
    let dir = dir.and_then(|dir| dir.as_str()).map(str::to_owned);
    SourceSettings {
        source_id: source.id.clone(),
        real_launch: enabled,
        persisted: enabled,
        env_fallback: None,
        env_active: false,
        authorized_dir: dir.clone(),
        authorized_dir_persisted: dir,
        authorized_dir_default: None,
    }
}
