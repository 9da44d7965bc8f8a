//! What the owner does through a source: the same life as an agent's effect, without a grant. The owner saw this very
//! plan, so a commit names its state token. Also the owner's questions to a source.

use super::refusal;
use crate::{
    commit::{self, Commit, NoOutcome},
    finish::to_its_end,
    kernel::Kernel,
    touches,
    under_way::{CallFacts, Principal},
};
use plexus_ipc::{
    manifest::{Capability, Channels, Manifest},
    message::{PlanMade, Role},
};
use plexus_protocol::{
    AuditId, CapabilityId, Digest, ErrorBody, ErrorCode, SourceId, Verb, Verbs, json,
};
use plexus_supervisor::{CallRequest, CommitTerms, Finished, Spec, Stands};
use plexus_trust::{Command, Source};
use serde::de::DeserializeOwned;
use serde_json::{Value, value::RawValue};
use std::{sync::Arc, time::Duration};
use tokio::sync::oneshot;

/// What an effect of the owner's came to.
#[derive(Debug)]
pub struct OwnerResult {
    /// The event of its intent.
    pub audit: AuditId,
    /// One line without content.
    pub summary: Option<String>,
    /// By which id it can be taken back.
    pub undo: Option<String>,
    /// What the source answered.
    pub output: Box<RawValue>,
}

/// A capability that a manifest names for the owner's own use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Upkeep {
    /// The effect that takes an earlier one back.
    Undo,
    /// The read that lists what effects have changed.
    Changes,
    /// The read that lists the change sets that wait to be applied.
    ChangeSets,
    /// The read that shows one of them.
    ChangeSet,
    /// The effect that applies one of them.
    Apply,
    /// The effect that drops one of them.
    Drop,
    /// The read that shows boards of tasks.
    Boards,
    /// A part in conversations.
    Channels(Talk),
}

/// How the owner takes part in conversations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Talk {
    /// The read that lists them.
    List,
    /// The read of who is in one.
    Members,
    /// The read of messages.
    Read,
    /// The effect that sends one.
    Send,
    /// The effect that makes a channel.
    Create,
    /// The effect that adds a user to one.
    Add,
    /// The effect that removes a user from one.
    Remove,
    /// The effect that archives one, or opens it again.
    Archive,
    /// The effect that gives one another name.
    Rename,
    /// The effect that leaves one.
    Leave,
    /// The effect that renews the key of one.
    Rotate,
    /// The read of messages that were kept and refused later.
    Unsent,
    /// The effect that forgets one of these.
    Forget,
}

impl Talk {
    fn named(self, channels: &Channels) -> Option<&str> {
        match self {
            Self::List => Some(&channels.list),
            Self::Members => Some(&channels.members),
            Self::Read => Some(&channels.read),
            Self::Send => channels.send.as_deref(),
            Self::Create => channels.create.as_deref(),
            Self::Add => channels.add.as_deref(),
            Self::Remove => channels.remove.as_deref(),
            Self::Archive => channels.archive.as_deref(),
            Self::Rename => channels.rename.as_deref(),
            Self::Leave => Some(&channels.leave),
            Self::Rotate => Some(&channels.rotate),
            Self::Unsent => channels.unsent.as_deref(),
            Self::Forget => channels.forget.as_deref(),
        }
    }
}

impl Upkeep {
    /// What a manifest calls it.
    fn named(self, manifest: &Manifest) -> Option<&str> {
        let sets = manifest.change_sets.as_ref();
        match self {
            Self::Undo => manifest.undo.as_deref(),
            Self::Changes => manifest.changes.as_deref(),
            Self::ChangeSets => sets.map(|sets| &*sets.list),
            Self::ChangeSet => sets.map(|sets| &*sets.read),
            Self::Apply => sets.map(|sets| &*sets.apply),
            Self::Drop => sets.and_then(|sets| sets.drop.as_deref()),
            Self::Boards => manifest.boards.as_deref(),
            Self::Channels(talk) => manifest.channels.as_ref().and_then(|c| talk.named(c)),
        }
    }
}

/// A capability of a source, as the owner reaches it: also where a lending has ended and agents have nothing.
#[derive(Clone, Debug)]
pub struct OwnerCapability {
    /// The capability.
    pub id: CapabilityId,
    source: SourceId,
    manifest: Arc<Manifest>,
    revision: u64,
}

impl OwnerCapability {
    /// Finds it, and wakes what rests only because a lending has ended.
    ///
    /// # Errors
    /// The source is gone, switched off or cannot be used, or has no such capability.
    pub async fn open(
        kernel: &Kernel,
        source: &SourceId,
        upkeep: Upkeep,
    ) -> Result<Self, Box<ErrorBody>> {
        let gone = |why: String| {
            Box::new(
                ErrorBody::new(ErrorCode::SourceUnavailable, why).next("plexusctl sources list"),
            )
        };
        let state = kernel.ledger.snapshot();
        let known = state.sources.get(source);
        let known = known
            .ok_or_else(|| gone(format!("The source {source} is not there, or was removed.")))?;
        if !known.config.enabled && !known.config.is_over() {
            let why = format!("The source {source} is disabled.");
            let error = ErrorBody::new(ErrorCode::SourceUnavailable, why);
            return Err(Box::new(
                error.next(format!("plexusctl sources enable {source}")),
            ));
        }
        let connector = kernel.registry.of_source(&known.config);
        let manifest = connector.map(|connector| connector.offer.manifest.clone());
        let named = manifest.and_then(|manifest| {
            let name = upkeep.named(&manifest)?.to_owned();
            Some((name, manifest))
        });
        let (name, manifest) = named.ok_or_else(|| {
            gone(match upkeep {
                Upkeep::Undo => {
                    format!("The source {source} keeps nothing that could be put back.")
                }
                Upkeep::Changes => format!("The source {source} does not list what was changed."),
                Upkeep::ChangeSets | Upkeep::ChangeSet | Upkeep::Apply => {
                    format!("The source {source} makes no change sets.")
                }
                Upkeep::Drop => format!("The source {source} has no way to drop a change set."),
                Upkeep::Boards => format!("The source {source} has no boards."),
                Upkeep::Channels(Talk::List | Talk::Members | Talk::Read) => {
                    format!("The source {source} has no channels.")
                }
                Upkeep::Channels(_) => format!(
                    "The source {source} has no channels in which you could do that: it speaks there by itself, or not at all."
                ),
            })
        })?;
        if known
            .config
            .lent
            .as_ref()
            .is_some_and(|l| l.ended.is_some())
        {
            kernel.put_workers(known).await.map_err(gone)?;
        }
        let id = CapabilityId::of(source, &name).map_err(|e| gone(e.to_string()))?;
        Ok(Self {
            id,
            source: source.clone(),
            manifest,
            revision: known.revision,
        })
    }

    fn verbs(&self) -> Verbs {
        self.entry()
            .map_or_else(Verbs::default, |entry| entry.verbs)
    }

    fn entry(&self) -> Option<&Capability> {
        self.manifest.capability(self.id.parts().1)
    }

    fn request(&self, input: &Value) -> CallRequest {
        let input = json::canonical(input);
        let (_, name) = self.id.parts();
        let limits = |c: &Capability| self.manifest.limits_of(c).call_ms;
        let call_ms = self.entry().map_or(0, limits);
        CallRequest {
            capability: name.to_owned(),
            digest: Digest::of(&input),
            input: input.into(),
            constraint: None,
            deadline: Duration::from_millis(u64::from(call_ms)),
            revision: self.revision,
            origin: None,
            owner: true,
            stands: Stands::default(),
            audit: None,
            progress: None,
            cancel: None,
            late: None,
        }
    }
}

/// Asks the reader what an effect would do. Changes nothing.
///
/// # Errors
/// The worker's refusal, or why there is no answer.
pub async fn plan(
    kernel: &Kernel,
    capability: &OwnerCapability,
    input: &Value,
) -> Result<Box<PlanMade>, ErrorBody> {
    let request = capability.request(input);
    let input = request.digest;
    match kernel.plan(&capability.source, request).await {
        Ok(Ok(mut made)) => {
            // As on a card.
            let entry = capability.entry();
            made.rating = entry.map_or(made.rating, |entry| made.rating.max(entry.rating()));
            let touched = touches::reported(&made.touched);
            let plan = (capability.id.clone(), input, made.state_token);
            kernel.seen_plans.note(plan, touched);
            Ok(made)
        }
        Ok(Err(error)) => Err(refusal::failed_of_owner(&error, &capability.id)),
        Err(error) => Err(refusal::undispatched_of_owner(
            &error,
            &capability.id,
            false,
        )),
    }
}

/// Commits what the owner saw planned. Goes on when the owner's connection ends. `guard` is dropped as soon as the intent is
/// durable: what is slow comes after it.
///
/// # Errors
/// The refusal or failure; its `effect` says whether anything was done.
pub async fn commit(
    kernel: &Arc<Kernel>,
    capability: &OwnerCapability,
    input: Value,
    state_token: Digest,
    guard: impl Send + 'static,
) -> Result<OwnerResult, ErrorBody> {
    let (kernel, capability) = (kernel.clone(), capability.clone());
    let (late, is_late) = oneshot::channel();
    let done = to_its_end(async move {
        let late = |_: &AuditId| drop(late.send(refusal::unknown_outcome(&capability.id, None)));
        carried(&kernel, &capability, &input, (state_token, guard), late).await
    });
    tokio::select! {
        biased;
        done = done => done,
        Ok(error) = is_late => Err(error),
    }
}

async fn carried(
    kernel: &Arc<Kernel>,
    capability: &OwnerCapability,
    input: &Value,
    (state_token, guard): (Digest, impl Send),
    late: impl FnOnce(&AuditId) + Send,
) -> Result<OwnerResult, ErrorBody> {
    let id = &capability.id;
    let request = capability.request(input);
    let entered = kernel.under_way.enter(CallFacts {
        turn_of: None,
        workflow: None,
        principal: Principal::Owner,
        capability: id.clone(),
        is_read: false,
        input: request.digest,
        started: kernel.clock.now(),
        run: None,
    });
    let commit = Commit {
        call: &entered.call,
        source: &capability.source,
        intent: Command::OwnerIntent {
            capability: id.clone(),
            verbs: capability.verbs(),
            source_revision: request.revision,
            input: request.digest,
            input_bytes: request.input.len() as u64,
            state_token,
            about: (kernel.seen_plans).touched(&(id.clone(), request.digest, state_token)),
        },
        request,
        terms: CommitTerms {
            state_token: Some(state_token),
            expect: None,
            conversation: None,
            // The owner saw what it amounts to.
            permit_rating: Verb::Execute,
        },
        permit: None,
        unread: false,
        until_intended: Box::new(guard),
    };
    let over = match commit::commit(kernel, commit, late).await {
        Ok(over) => over,
        Err(NoOutcome::ProgramChanged) => return Err(refusal::program_changed(id)),
        Err(NoOutcome::NotIntended(error)) => return Err(refusal::not_recorded(&error, Some(id))),
        Err(NoOutcome::Open(_)) => return Err(refusal::unknown_outcome(id, None)),
    };
    if !over.recorded {
        return Err(refusal::unknown_outcome(id, None));
    }
    let output = over.result.map_err(|failed| failed.error)?;
    Ok(OwnerResult {
        output,
        audit: over.intent,
        summary: over.outcome.summary,
        undo: over.outcome.undo,
    })
}

/// Asks a source that is not configured, and ends its workers. Goes on when the owner's connection ends.
///
/// # Errors
/// The worker's refusal, or why there is no answer.
pub async fn ask_once(
    kernel: &Arc<Kernel>,
    spec: Spec,
    capability: &str,
    input: Value,
) -> Result<Box<RawValue>, ErrorBody> {
    let source = spec.source.clone();
    let id = CapabilityId::of(&source, capability);
    let capability = OwnerCapability {
        id: id.map_err(|why| ErrorBody::new(ErrorCode::InternalError, why.to_string()))?,
        manifest: spec.offer.manifest.clone(),
        revision: spec.revision,
        source,
    };
    let kernel = kernel.clone();
    to_its_end(async move {
        kernel.supervisor.put(Arc::new(spec));
        let asked = read(&kernel, &capability, &input).await;
        kernel.supervisor.remove(&capability.source).await;
        asked
    })
    .await
}

/// Asks a source for what the manifest of its kind lets the owner alone read.
///
/// # Errors
/// This build has no such kind; the worker's refusal, or why there is no answer.
pub async fn listing(
    kernel: &Kernel,
    source: &Source,
    capability: &str,
) -> Result<Box<RawValue>, ErrorBody> {
    let internal = |why: String| ErrorBody::new(ErrorCode::InternalError, why);
    let connector = kernel.registry.of_source(&source.config);
    let connector = connector.ok_or_else(|| internal("no such connector".to_owned()))?;
    let id = CapabilityId::of(&source.id, capability);
    let capability = OwnerCapability {
        id: id.map_err(|why| internal(why.to_string()))?,
        source: source.id.clone(),
        manifest: connector.offer.manifest.clone(),
        revision: source.revision,
    };
    read(kernel, &capability, &Value::Object(Default::default())).await
}

/// Asks a source something for the owner. It leaves no event: the owner's own look at what is his.
///
/// # Errors
/// As [`OwnerCapability::open`]; the worker's refusal, or why there is no answer that can be read.
pub async fn ask<T: DeserializeOwned>(
    kernel: &Kernel,
    source: &SourceId,
    upkeep: Upkeep,
    input: &Value,
) -> Result<T, ErrorBody> {
    let capability = OwnerCapability::open(kernel, source, upkeep).await;
    let answer = read(kernel, &capability.map_err(|error| *error)?, input).await?;
    serde_json::from_str(answer.get()).map_err(|_| {
        let why = "the source answered what cannot be read";
        ErrorBody::new(ErrorCode::SourceUnavailable, why)
    })
}

async fn read(
    kernel: &Kernel,
    capability: &OwnerCapability,
    input: &Value,
) -> Result<Box<RawValue>, ErrorBody> {
    let read = async {
        let code = kernel.compared(&capability.source, Role::Reader).await?;
        kernel
            .supervisor
            .read(&code, capability.request(input))
            .await
    };
    let Finished { result, .. } = read
        .await
        .map_err(|error| refusal::undispatched_of_owner(&error, &capability.id, false))?;
    let answer = result.map_err(|error| refusal::failed_of_owner(&error, &capability.id))?;
    Ok(answer.output.into_json())
}
