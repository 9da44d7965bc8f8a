//! Puts sources in place as they are configured: a look at each, its workers, the catalogue.
//!
//! Invariants: the machine hears what was seen before a worker starts, and the catalogue changes last; a source whose code is
//! not what the owner agreed to has no workers.

use crate::{
    events::{Changed, Notice},
    kernel::Kernel,
};
use plexus_home::inspection;
use plexus_ipc::{
    manifest::FolderField,
    message::{PlanMade, Role, WorkerError},
};
use plexus_protocol::{CapabilityId, SourceId};
use plexus_sources::{
    Registry,
    catalogue::Catalogue,
    code::{self, Piece},
    configure, let_go, secrets,
};
use plexus_supervisor::{
    AgreedCode, CallRequest, Code, Compared, DispatchError, Folder, IsTarget, Spec,
};
use plexus_trust::{Command, Source, State};
use std::{path::PathBuf, sync::Arc};

/// Why nothing of a source is started whose code has changed.
const STOPPED: &str =
    "what it runs is not what you agreed to: look at its card (plexusctl approvals list)";

impl Kernel {
    /// Looks at every source, at all of them at once: shares that have gone hold up the start as long as one of them.
    pub async fn look_at_sources(self: &Arc<Self>) {
        let ids: Vec<SourceId> = self.ledger.snapshot().sources.keys().cloned().collect();
        let looks = ids.into_iter().map(|id| {
            let (kernel, of) = (self.clone(), id.clone());
            (id, async move { kernel.look_at(&of).await })
        });
        for (id, looked) in inspection::at_once(looks).await {
            if let Err(why) = looked {
                tracing::warn!(name: "source.unusable", source = %id, error = why, "a source cannot be used");
            }
        }
        self.renew_catalogue(None);
    }

    /// Looks at one source, tells the machine what was found, and puts its workers in place; then at those whose code lies
    /// where agents may write through it.
    ///
    /// # Errors
    /// Why the source cannot be used now; the machine's view of it stays as it was.
    pub async fn look_at(&self, id: &SourceId) -> Result<(), String> {
        let looked = self.look_at_one(id).await;
        if let Some(source) = self.configured(id) {
            let state = self.ledger.snapshot();
            self.look_again(code::touched(&self.registry, &state, &source))
                .await;
        }
        looked
    }

    /// Looks at sources whose code lies where another one that has changed is written, or lay there.
    pub async fn look_again(&self, touched: Vec<SourceId>) {
        for id in touched {
            if let Err(why) = self.look_at_one(&id).await {
                tracing::warn!(name: "source.unusable", source = %id, error = why, "a source cannot be used");
            }
        }
    }

    /// Nobody waits for the look: a source that changed meanwhile is looked at again.
    async fn look_at_one(&self, id: &SourceId) -> Result<(), String> {
        loop {
            let source = self.configured(id).ok_or("no such source")?;
            let seen = configure::look(&self.registry, &source, &self.state_dir).await;
            let folders = real_folders(&self.registry, &source).await;
            let turn = self.turn().await;
            if self
                .configured(id)
                .is_none_or(|now| !Arc::ptr_eq(&now, &source))
            {
                continue;
            }
            let looked = match seen {
                Ok(mut seen) => {
                    let state = self.ledger.snapshot();
                    let registry = &self.registry;
                    let changeable =
                        code::overlaps(registry, registry, &state, &source, &seen.pins);
                    seen.pins.extend(changeable);
                    let told = self.owner(Command::SourceSeen(seen)).await;
                    told.map_err(|e| e.to_string())?;
                    let source = self.configured(id).ok_or("no such source")?;
                    if source.stopped.is_some() {
                        tracing::warn!(name: "source.stopped", source = %id, "what a source runs is not what the owner agreed to; it is stopped");
                        Ok(())
                    } else if source.config.enabled {
                        let spec = self.spec(&self.registry, &source, folders)?;
                        self.supervisor.put(Arc::new(spec));
                        return Ok(());
                    } else {
                        Ok(())
                    }
                }
                Err(why) => Err(why),
            };
            let gone = self.supervisor.remove(id);
            drop(turn);
            gone.await;
            return looked;
        }
    }

    /// Compares what a source runs with what the owner agreed to; one that runs something else is looked at again, and stopped
    /// by that.
    ///
    /// # Errors
    /// There is no such source, it runs something else, or that cannot be told now.
    pub(crate) async fn compared(
        &self,
        id: &SourceId,
        role: Role,
    ) -> Result<AgreedCode, DispatchError> {
        let compared = self.supervisor.compared(id, role).await;
        if compared.as_ref().is_err_and(DispatchError::is_code_changed) {
            self.code_changed(id).await;
        }
        compared
    }

    /// Asks the reader what an effect would do.
    ///
    /// # Errors
    /// As [`Self::compared`], and the supervisor's; the inner one is the worker's.
    pub(crate) async fn plan(
        &self,
        id: &SourceId,
        call: CallRequest,
    ) -> Result<Result<Box<PlanMade>, WorkerError>, DispatchError> {
        let code = self.compared(id, Role::Reader).await?;
        self.supervisor.plan(&code, call).await
    }

    /// Not while effects of it are under way: what was found would end their worker.
    pub(crate) async fn code_changed(&self, id: &SourceId) {
        tracing::warn!(name: "source.program_changed", source = %id, "a program of a source has changed");
        let calls = self.under_way.all();
        let is_begun = calls.iter().any(|call| {
            !call.is_read && call.intent().is_some() && call.capability.parts().0 == id.as_str()
        });
        if is_begun || self.configured(id).is_none() {
            return;
        }
        if let Err(why) = self.look_at_one(id).await {
            tracing::warn!(name: "source.unusable", source = %id, error = why, "a source cannot be used");
        }
        self.renew_catalogue(None);
    }

    fn configured(&self, id: &SourceId) -> Option<Arc<Source>> {
        self.ledger.snapshot().sources.get(id).cloned()
    }

    /// Puts the workers of a source in place as it is configured.
    ///
    /// # Errors
    /// This build has no such connector.
    pub(crate) async fn put_workers(&self, source: &Source) -> Result<(), String> {
        self.supervisor.put(Arc::new(self.spec_of(source).await?));
        Ok(())
    }

    /// Replaces the workers of a source that hides more or less than it did, without a turn: one that another act has
    /// changed or stopped meanwhile is that act's to follow.
    ///
    /// # Errors
    /// As [`Self::spec_of`].
    pub async fn replace_workers(&self, source: &Source) -> Result<(), String> {
        let spec = self.spec_of(source).await?;
        self.supervisor.replace(Arc::new(spec));
        Ok(())
    }

    /// What workers of a source are started with.
    ///
    /// # Errors
    /// This build has no such connector.
    pub async fn spec_of(&self, source: &Source) -> Result<Spec, String> {
        self.spec_in(&self.registry, source).await
    }

    /// The same, of a source that another registry knows.
    ///
    /// # Errors
    /// It has no such connector.
    pub async fn spec_in(&self, registry: &Registry, source: &Source) -> Result<Spec, String> {
        self.spec(registry, source, real_folders(registry, source).await)
    }

    fn spec(
        &self,
        registry: &Registry,
        source: &Source,
        folders: Vec<(FolderField, PathBuf)>,
    ) -> Result<Spec, String> {
        let connector = registry
            .of_source(&source.config)
            .ok_or("no such connector")?;
        if source.stopped.is_some() {
            return Err(STOPPED.to_owned());
        }
        let manifest = &connector.offer.manifest;
        let folder = |(place, path): (FolderField, PathBuf)| {
            let seen = match manifest.root.as_ref() == Some(&place.field) {
                true => source.target.clone(),
                false => source.paths.get(&place.field).cloned(),
            };
            Folder {
                parameter: place.parameter,
                path,
                is_target: seen.map(|seen| Arc::new(configure::is_target(seen)) as IsTarget),
            }
        };
        let (state_dir, id) = (self.state_dir.clone(), source.id.clone());
        let files = secrets::of_source(manifest, &source.id, &source.config);
        let (kept_in, kept) = (state_dir.clone(), files.clone());
        Ok(Spec {
            source: source.id.clone(),
            offer: connector.offer.clone(),
            folders: folders.into_iter().map(folder).collect(),
            elsewhere: self.elsewhere(&source.id),
            code: code::pieces(manifest, &source.config)
                .into_iter()
                .map(|piece| held(piece, source.agreed()))
                .collect(),
            config: configure::for_worker(&source.config),
            // Read each time a worker starts, so that a changed one counts at the next start.
            secrets: Box::new(move || secrets::read(&state_dir, &id, &files)),
            keep: Box::new(move |field, was, now| secrets::keep(&kept_in, &kept, field, was, now)),
            revision: source.revision,
            uncaged: self.unsandboxed.contains(&source.id),
        })
    }

    /// The folders of all sources but this one.
    fn elsewhere(&self, id: &SourceId) -> Vec<(SourceId, PathBuf)> {
        let state = self.ledger.snapshot();
        let others = state.sources.values();
        let others = others.filter(|other| other.id != *id && !other.config.is_over());
        let folders = others.flat_map(|other| {
            let targets = other.target.iter().chain(other.paths.values());
            targets.map(|target| (other.id.clone(), PathBuf::from(&target.path)))
        });
        folders.collect()
    }

    /// Builds the catalogue anew after a change of sources or exposure, and tells who listens.
    pub fn renew_catalogue(&self, changed: Option<Changed>) {
        // A builder that is overtaken builds again, from what is recorded then.
        let before = self.catalogue.rcu(|now| {
            let state = self.ledger.snapshot();
            Catalogue::build(&state, &self.registry, now.revision + 1)
        });
        let revision = before.revision + 1;
        self.feed
            .publish(Notice::ManifestChanged { revision, changed });
    }
}

/// Something that a source runs, held against what the owner agreed to.
fn held(piece: Piece, agreed: &[String]) -> Code {
    let (child, role, path) = (
        piece.program().map(str::to_owned),
        piece.role,
        piece.path.clone(),
    );
    let agreed = agreed.to_vec();
    let compare = move || {
        Ok(match piece.look()? {
            None => Compared::Nothing,
            Some((path, rule)) if agreed.contains(&rule) => Compared::Agreed(path),
            Some((path, _)) => Compared::Differs(path),
        })
    };
    Code {
        child,
        role,
        path,
        compare: Arc::new(compare),
    }
}

/// After what may have ended lendings: stops their workers, tells who listens, and lets go of what was kept for those
/// that were there `before` and are forgotten now.
pub async fn follow_lendings(kernel: &Kernel, before: &State) {
    let state = kernel.ledger.snapshot();
    let mut removed: Vec<CapabilityId> = Vec::new();
    for source in state.sources.values() {
        let lent = source.config.lent.as_ref();
        if lent.is_some_and(|lent| lent.ended.is_some()) {
            // Also what the owner's look at it has woken since.
            kernel.supervisor.remove(&source.id).await;
            let catalogue = kernel.catalogue.load();
            let still = source.capabilities.keys();
            removed.extend(still.filter(|id| catalogue.get(id).is_some()).cloned());
        }
    }
    if !removed.is_empty() {
        kernel.renew_catalogue(Some(Changed {
            removed,
            ..Changed::default()
        }));
    }
    let was = before.sources.values();
    let was = was.filter(|s| s.config.lent.is_some() && !state.sources.contains_key(&s.id));
    for source in was {
        kernel.supervisor.remove(&source.id).await;
        // One rename, whatever its writer has put there; the sweep removes it, away from waiting calls.
        if let Err(error) = let_go::put_aside(kernel.state_dir.path(), source.id.as_str()) {
            tracing::warn!(name: "lending.left_behind", source = %source.id, %error, "what was kept for a lending cannot be put aside; it is yours to remove");
        }
    }
}

/// The folders of a source, each with its path as it was typed where it is missing, or its disk does not answer.
async fn real_folders(registry: &Registry, source: &Source) -> Vec<(FolderField, PathBuf)> {
    let places = configure::places(registry, &source.config);
    let looks = places.iter().map(|place| {
        let path = place.path.clone();
        let look = async move {
            let folder = path.clone();
            let found = inspection::at(&path, move || folder.canonicalize()).await;
            found.flatten().unwrap_or(path)
        };
        (place.field.clone(), look)
    });
    let mut real = inspection::at_once(looks).await;
    let folder = |place: FolderField| {
        let real = real.remove(&place.field);
        let real = real.unwrap_or_else(|| place.path.clone());
        (place, real)
    };
    places.into_iter().map(folder).collect()
}
