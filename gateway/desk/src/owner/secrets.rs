//! Secrets of sources: written, never read back (docs/protocol/owner.md#secrets).
//!
//! Invariant: a changed secret is a changed target: what was granted on the sources that use it is void before a
//! worker can start with it (docs/design.md#credentials). The value is in no event, log or answer.

use super::sources;
use crate::{
    acting::Acting,
    acts::{act, blocking, failed_halfway, record, unsaved},
    desk::Desk,
    table::Served,
};
use plexus_edge::reply::Refused;
use plexus_home::state_dir::secret_name;
use plexus_ipc::message::MAX_SECRET;
use plexus_owner::{
    Done,
    secrets::{RevokedGrant, Write, WriteResult},
};
use plexus_protocol::{Effect, SourceId};
use plexus_sources::secrets;
use plexus_trust::{Command, Grant, Source, State as TrustState};
use serde::Serialize;
use serde_json::json;
use std::{collections::BTreeSet, sync::Arc};
use zeroize::Zeroizing;

pub(super) fn serve(served: Served) -> Served {
    served.with(write)
}

pub(super) async fn write(
    desk: Arc<Desk>,
    acting: Acting,
    call: Write,
) -> Result<WriteResult, Refused> {
    let (name, value) = (call.name, Zeroizing::new(call.value));
    if value.is_empty() {
        let why = "`value` (a string that is not empty) is required";
        return Err(Refused::malformed(why));
    }
    if value.len() > MAX_SECRET {
        return Err(Refused::malformed(format!(
            "`value` is longer than {MAX_SECRET} bytes"
        )));
    }
    if !secret_name(&name) {
        return Err(Refused::malformed(
            "the name must be plain: no path, no leading dot",
        ));
    }
    let turn = desk.turn().await;
    let state = desk.ledger.snapshot();
    let users = secrets::users(&desk.registry, &state, &name);
    let of = name
        .split_once('.')
        .and_then(|(id, _)| sources::known(&desk, id));
    if let Some(source) = of.filter(|_| users.is_empty()) {
        return Err(no_such_field(&desk, &source, &name));
    }
    let path = desk.state_dir.join(&format!("secrets/{name}"));
    let was = blocking(move || std::fs::read(path).ok().map(Zeroizing::new)).await?;
    // A source that cannot do without has not served yet; another has, without it.
    let served = users.iter().any(|(_, file)| !file.required);
    let changed = match &was {
        Some(was) => was[..] != *value.as_bytes(),
        None => served,
    };
    let users: Vec<SourceId> = users.into_iter().map(|(id, _)| id).collect();
    record(&desk, &acting, json!({"event": "secret.set", "name": name, "new": was.is_none(), "changed": changed, "sources": users}))
        .await?;
    let revoked = match changed {
        true => change(&desk, &acting, &name, &users).await?,
        false => Vec::new(),
    };
    let (dir, of) = (desk.state_dir.clone(), name.clone());
    if let Err(error) = blocking(move || secrets::write(&dir, &of, value.as_bytes())).await? {
        tracing::error!(name: "secret.unsaved", %error, "a secret could not be written");
        let failed = json!({"event": "secret.failed", "name": name});
        // On a full disk it has no room either; the answer says more.
        let _ = record(&desk, &acting, failed).await;
        let is_moved = changed && !users.is_empty();
        return Err(unwritten(is_moved, revoked));
    }
    drop((turn, acting));
    for id in &users {
        if let Err(why) = sources::restart(&desk, id).await {
            tracing::warn!(name: "source.unusable", source = %id, error = why, "a source cannot be used with its new secret");
        }
        // What its server wanted, it wanted of the one before.
        desk.wanted_scopes.forget(id);
    }
    if !users.is_empty() {
        desk.renew_catalogue(None);
    }
    Ok(WriteResult {
        ok: Done,
        name,
        revoked,
    })
}

/// Moves the sources of a secret. What that revoked.
async fn change(
    desk: &Desk,
    acting: &Acting,
    name: &str,
    users: &[SourceId],
) -> Result<Vec<RevokedGrant>, Refused> {
    let before = granted(desk, &desk.ledger.snapshot(), users);
    let command = Command::SecretChanged {
        name: name.to_owned(),
    };
    act(desk, acting, command).await?;
    let after = granted(desk, &desk.ledger.snapshot(), users);
    Ok(before.difference(&after).cloned().collect())
}

/// The refusal of a write that failed: where its sources were moved (`is_moved`), `revoked` is over all the same.
fn unwritten(is_moved: bool, revoked: Vec<RevokedGrant>) -> Refused {
    let still = "The secret could not be written; the old one, if there was one, is still there.";
    if !is_moved {
        return unsaved(still, Effect::None);
    }
    let named: Vec<String> = revoked
        .iter()
        .map(|grant| format!("{} of {}", grant.capability_id, grant.agent_id))
        .collect();
    let void = match named.is_empty() {
        true => "Its sources had no grants.".to_owned(),
        false => format!(
            "The grants on its sources are revoked: {}.",
            named.join(", ")
        ),
    };
    let mut error = unsaved(format!("{still} {void}"), Effect::Partial).into_error();
    error.detail = serde_json::to_value(Unwritten { revoked }).ok();
    Refused::new(error).status(500)
}

/// The `detail` of a write or a deletion that failed.
#[derive(Serialize)]
struct Unwritten {
    revoked: Vec<RevokedGrant>,
}

/// The grants on these sources that are not over.
fn granted(desk: &Desk, state: &TrustState, sources: &[SourceId]) -> BTreeSet<RevokedGrant> {
    let now = state.time(desk.clock.now());
    let agents = state.agents.values();
    let grants = agents.flat_map(|agent| agent.grants.values().map(|grant| &**grant));
    let is_live = |grant: &&Grant| {
        let source = grant.capability.parts().0;
        !state.has_ended(grant, now) && sources.iter().any(|id| id.as_str() == source)
    };
    let revoked = |grant: &Grant| RevokedGrant {
        agent_id: grant.agent.clone(),
        capability_id: grant.capability.clone(),
    };
    grants.filter(is_live).map(revoked).collect()
}

/// Deletes a secret of a source, once what was granted on that is revoked. Whether it was there.
///
/// # Errors
/// Nothing is recorded, or the file cannot be deleted.
pub(super) async fn delete(
    desk: &Arc<Desk>,
    acting: Acting,
    source: &SourceId,
    name: String,
) -> Result<bool, Refused> {
    let turn = desk.turn().await;
    let about = json!({"event": "secret.deleted", "name": name, "sources": [source]});
    record(desk, &acting, about).await?;
    let revoked = change(desk, &acting, &name, std::slice::from_ref(source)).await?;
    let (dir, of) = (desk.state_dir.clone(), name.clone());
    let removed = blocking(move || secrets::delete(&dir, &of)).await?;
    drop((turn, acting));
    desk.wanted_scopes.forget(source);
    removed.map_err(|error| {
        let why = format!("secrets/{name} cannot be deleted: {error}");
        let mut error = failed_halfway(why).into_error();
        error.detail = serde_json::to_value(Unwritten { revoked }).ok();
        Refused::new(error).status(500)
    })
}

/// Refuses a secret that no worker would be given.
fn no_such_field(desk: &Desk, source: &Source, name: &str) -> Refused {
    let connector = desk.registry.of_source(&source.config);
    let files = connector.map_or_else(Vec::new, |c| {
        secrets::of_source(&c.offer.manifest, &source.id, &source.config)
    });
    let has = match files.iter().map(|file| &*file.name).collect::<Vec<_>>() {
        none if none.is_empty() => "none".to_owned(),
        names => names.join(", "),
    };
    Refused::malformed(format!(
        "{} has no secret {name:?}; it has {has}",
        source.id
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use plexus_protocol::{AgentId, CapabilityId};

    #[test]
    fn failed_write_says_what_is_over() {
        let grant = RevokedGrant {
            agent_id: AgentId::parse("one").unwrap(),
            capability_id: CapabilityId::parse("notes.write").unwrap(),
        };
        let error = unwritten(true, vec![grant]).into_error();
        assert_eq!(error.effect, Effect::Partial);
        assert!(error.message.contains("are revoked: "));
        let detail = error.detail.unwrap();
        let revoked = detail.pointer("/revoked/0/capabilityId");
        assert_eq!(revoked.unwrap(), "notes.write");
        let error = unwritten(false, Vec::new()).into_error();
        assert_eq!((error.effect, error.detail), (Effect::None, None));
    }
}
