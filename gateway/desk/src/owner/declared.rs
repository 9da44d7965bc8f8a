//! Extensions by manifest: what one is and may reach, shown before it is there; adding, comparing (docs/protocol/compatibility.md).
//!
//! ```text
//! preview: manifest, folders ─▶ programs and folders as they are now ─▶ surface, digest ─▶ shown
//! add: the same again ─▶ the digest that was shown? ─▶ extensions/<id>.json ─▶ source, still the same? ─▶ grants resumed ─▶ look
//! ```
//! Invariants: a preview starts no program and changes nothing; what is added is what was shown; grants are resumed only on
//! what the owner agreed to.
//!
//! Must not know: what a command does.

use super::{
    Narrowing,
    extensions::{not_added, not_as_shown, undigested, uninstall},
    inspected::{Inspected, NO_MANIFEST, surface_of},
    sources::{added, agreed_as_shown, known, restart, why_stopped},
};
use crate::{
    acts::{blocking, failed, failed_halfway, unsaved},
    desk::Desk,
};
use plexus_calls::approvals::change;
use plexus_edge::reply::Refused;
use plexus_owner::{
    Done,
    extensions::{
        AddedExtension, AgreedExtension, DeclaredPreview, ExtensionPreview, ExtensionRow,
        InvalidManifest, ManifestDraft,
    },
};
use plexus_protocol::{Effect, ErrorBody, ErrorCode, SourceId, json as strict};
use plexus_sources::Registered;
use plexus_sources::{
    extensions::{differences, manifest::Agreed, stored, surface, whole_surface},
    naming::is_by_manifest,
};
use plexus_trust::Source;
use serde_json::{Value, json};
use std::{collections::BTreeSet, sync::Arc};

/// What a manifest would add.
pub(super) async fn preview(
    desk: &Arc<Desk>,
    draft: &ManifestDraft,
) -> Result<ExtensionPreview, Refused> {
    let inspected = match Inspected::of(desk, draft).await? {
        Err(reasons) => return Ok(invalid(reasons)),
        Ok(inspected) => inspected,
    };
    let (if_approved, if_kept) = inspected.consequences(desk);
    Ok(ExtensionPreview::Declared(Box::new(DeclaredPreview {
        ok: Done,
        valid: Done,
        reasons: [],
        surface: surface_of(&inspected.surface())?,
        digest: inspected.agreement(),
        if_approved,
        moved_secrets: inspected.secrets.offered(),
        if_kept,
        changes: inspected.changes(),
    })))
}

/// The answer to a manifest that is not valid.
pub(super) fn invalid(reasons: Vec<String>) -> ExtensionPreview {
    ExtensionPreview::Invalid(InvalidManifest {
        ok: Done,
        valid: false,
        reasons,
        surface: (),
    })
}

/// Adds what a preview showed.
pub(super) async fn add(
    desk: &Arc<Desk>,
    narrowing: &Narrowing,
    draft: &ManifestDraft,
    digest: Option<String>,
    keeps: Vec<String>,
) -> Result<AddedExtension, Refused> {
    let Some(manifest) = &draft.manifest else {
        return Err(not_added(desk, 400, "", NO_MANIFEST.to_owned()));
    };
    let inspected = match Inspected::of(desk, draft).await? {
        Ok(inspected) => inspected,
        Err(reasons) => {
            let capabilities = manifest.get("capabilities").and_then(Value::as_array);
            let status = match capabilities.map(Vec::len) {
                // Other gateways answer so where nothing would come of it.
                Some(0) => 422,
                _ => 200,
            };
            return Err(not_added(desk, status, draft.source(), reasons.join("; ")));
        }
    };
    if inspected.agreement() != digest.ok_or_else(undigested)? {
        let id = &inspected.source.id;
        let why = format!(
            "{id}, its folders or its programs are not what you were shown; preview it again."
        );
        let error = ErrorBody::new(ErrorCode::PreconditionChanged, why);
        return Err(Refused::new(error.next("plexusctl extension preview FILE")));
    }
    let keeps = keeps.into_iter().collect();
    Ok(AddedExtension {
        ok: Done,
        registered: inspected.put(desk, narrowing, &keeps).await?,
        revision: desk.catalogue.load().revision,
        secrets_missing: inspected.secrets.missing(&keeps),
        source: inspected.source.id,
    })
}

impl Inspected {
    /// Adds just this, or puts it in place of what the owner agreed to before. The capabilities that are there then.
    ///
    /// # Errors
    /// It is not as it was shown, and others.
    pub(super) async fn put(
        &self,
        desk: &Arc<Desk>,
        narrowing: &Narrowing,
        keeps: &BTreeSet<String>,
    ) -> Result<Vec<String>, Refused> {
        self.secrets.check(keeps)?;
        let id = self.source.id.clone();
        drop(narrowing.wider(desk).await?);
        // Before anything can be sent to the new host.
        self.secrets.settle(desk, narrowing, keeps).await?;
        let (here, of, text) = (desk.clone(), id.clone(), self.agreed.text());
        let installed =
            blocking(move || here.registry.install(&here.state_dir, &of, &text)).await?;
        installed.map_err(|why| unsaved(format!("it cannot be kept: {why:#}"), Effect::None))?;
        let is_new = self.before.is_none();
        let mut body = self.body.clone();
        if let Some(file) = self.secrets.reference(keeps) {
            body.insert("secretRef".into(), json!(file));
        }
        let (code, folders) = (self.source.found(), &self.source.paths);
        let answer = added(desk, narrowing, body, code).await;
        if known(desk, id.as_str()).is_none() {
            uninstall(desk, &id).await?;
            answer??;
            return Err(failed("the source is gone"));
        }
        // One that cannot be used now is there all the same.
        let unusable = answer?.err();
        if !is_new {
            // Its workers still have the manifest of before.
            let restarted = restart(desk, &id).await;
            restarted.map_err(|why| {
                failed_halfway(format!("it is changed, and does not serve: {why}"))
            })?;
        }
        if let Err(why) = agreed_as_shown(desk, narrowing, &id, (code, folders)).await? {
            let why =
                unusable.map_or_else(|| why.clone(), |refusal| format!("{why}; {}", refusal.why));
            let error = not_as_shown(desk, narrowing, &id, is_new, &why).await?;
            return Err(Refused::new(error.next("plexusctl extension preview FILE")));
        }
        desk.renew_catalogue(Some(Default::default()));
        let is_enabled = known(desk, id.as_str()).is_some_and(|source| source.config.enabled);
        if is_enabled && !self.secrets.missing(keeps).is_empty() {
            // It does not start, and its status says why.
            desk.supervisor.probe(&id).await;
        }
        desk.remark(json!({"event": "extension.agreed", "source": id, "digest": self.agreement()}))
            .await;
        Ok(capabilities(&self.agreed))
    }
}

/// What the owner agreed to, and what is otherwise now.
pub(super) async fn show(desk: &Arc<Desk>, source: &Source) -> Result<AgreedExtension, Refused> {
    let agreed = kept(desk, &source.id).await?.as_pinned(source.agreed());
    let offer = desk.registry.of_source(&source.config);
    let offer = offer.ok_or_else(|| failed("this build has no such extension"))?;
    let then = whole_surface(&agreed, &offer.offer, &source.paths);
    let mut changes = match agreed.manifest.programs().await {
        Ok(programs) => {
            let now = Agreed {
                programs,
                ..agreed.clone()
            };
            differences(&then, &surface(&now, &source.paths))
        }
        Err(reasons) => reasons,
    };
    let card = change::card(
        &desk.ledger.snapshot(),
        &desk.catalogue.load(),
        source,
        desk.clock.now(),
    );
    if source.stopped.is_some() {
        changes.push("it is stopped until you agree again".to_owned());
    } else if card.is_some() {
        changes.push("grants on it are suspended until you agree again".to_owned());
    }
    Ok(AgreedExtension {
        ok: Done,
        source: source.id.clone(),
        surface: surface_of(&then)?,
        manifest: json!(agreed.manifest),
        suspended: card.is_some(),
        changes,
    })
}

/// The ids of what agents may ask for.
fn capabilities(agreed: &Agreed) -> Vec<String> {
    let declared = &agreed.manifest;
    let texts = declared.skills.iter().map(|skill| &*skill.name);
    let names = declared.callable().chain(texts);
    names
        .map(|name| format!("{}.{name}", declared.source))
        .collect()
}

pub(super) async fn kept(desk: &Arc<Desk>, id: &SourceId) -> Result<Agreed, Refused> {
    let (here, of) = (desk.clone(), id.clone());
    let text = blocking(move || stored(&here.state_dir, &of)).await?;
    let text = text.map_err(|error| failed(format!("extensions/{id}.json: {error}")))?;
    strict::parse_as(text.as_bytes()).map_err(|why| failed(format!("extensions/{id}.json: {why}")))
}

/// What of a lent server the owner is asked about, and agents do not see until then.
pub(super) fn hidden(desk: &Desk, id: &SourceId) -> Vec<String> {
    let held = desk.registry.proposal(id);
    let changes = held.iter().flat_map(|held| &held.changes);
    changes.map(|change| change.about.clone()).collect()
}

/// A row of the list.
pub(super) fn row(desk: &Desk, id: &str, read: Result<Arc<Registered>, String>) -> ExtensionRow {
    let configured = known(desk, id);
    let kind = match (&read, &configured) {
        (Ok(read), _) => read.offer.manifest.kind.clone(),
        (Err(_), Some(source)) => source.config.kind.clone(),
        (Err(_), None) => String::new(),
    };
    let ids: Option<Vec<_>> = configured
        .as_ref()
        .map(|source| source.capabilities.keys().cloned().collect());
    let label = configured
        .as_ref()
        .map_or(id, |source| &source.config.label);
    let transport = match (&read, is_by_manifest(&kind)) {
        (Ok(read), _) => read.offer.manifest.transport.as_str(),
        (Err(_), true) => "cli",
        (Err(_), false) => "mcp",
    };
    let hidden = configured
        .as_ref()
        .map_or_else(Vec::new, |source| hidden(desk, &source.id));
    let pins = read
        .iter()
        .filter_map(|read| read.offer.manifest.mcp.as_ref());
    let withheld = pins.flat_map(|pins| pins.withheld.keys());
    let withheld = withheld.filter(|name| !hidden.contains(*name));
    let withheld = withheld.cloned().collect();
    ExtensionRow {
        source: id.to_owned(),
        label: label.to_owned(),
        tools: ids.as_ref().map(Vec::len),
        capabilities: ids.unwrap_or_default(),
        transport: transport.to_owned(),
        name: id.to_owned(),
        configured: configured.is_some(),
        hidden,
        withheld,
        unusable: read.err().or_else(|| why_stopped(configured.as_deref()?)),
    }
}
