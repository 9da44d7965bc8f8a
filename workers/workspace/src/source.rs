//! The folder as a source: calls in, answers out, file work on blocking threads.
//!
//! The constraint is asked about the path as the disk spells it, before anything is looked at; the harness asks again
//! about everything touched, and plans a write anew in the writer before it lets it happen.

use std::{path::PathBuf, sync::Arc, time::Duration};

use plexus_ipc::text::counted;
use plexus_ipc::worker::{
    CallContext, Content, Handlers, Health, OpenError, Plan as Planned, Preview, Reply, Role,
    Secrets, Source, SourceContext, SourceError, Touched, Verdict, on_file_thread,
};
use plexus_protocol::{AuditId, Digest, Effect, Verb};
use plexus_rooted_files::{
    Anchor, FileError, HideRules, PathRule, RelPath, StateToken, WriteTarget,
    names::escape_controls,
};
use serde::Deserialize;

use crate::{
    Bounds, CallRecord, Change, ChangesInput, ChangesOutput, FileOutput, FolderOutput, Keeping,
    ListInput, Plan, ReadInput, State, Store, Undo, UndoInput, UndoOutput, Workspace,
    WorkspaceError, WriteInput, WriteOutput,
};

/// The kind under which everything in the folder is recorded, folders included: so each answer has something to judge.
const KIND: &str = "file";
/// The field that a constraint may narrow.
const FIELD: &str = "path";
/// How long a look at the folder may take before it counts as slow; a probe is answered within 2 s.
const LOOK_TIME: Duration = Duration::from_millis(500);

/// One folder, served.
#[derive(Debug)]
pub struct WorkspaceSource {
    workspace: Workspace,
    anchor: Anchor,
    /// What changes replaced; none where the worker was given no folder for it.
    store: Option<Store>,
}

/// The source's route.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Config {
    /// The folder, absolute.
    pub path: PathBuf,
    /// Whether files with a second name are served too: that name may lie outside.
    #[serde(default)]
    pub allow_hard_links: bool,
    /// What does not exist in it, for agents.
    #[serde(default)]
    pub hide: HideRules,
}

/// What a commit is handed: the write, or why there is none. The reason tells about the present content, so in the
/// writer it waits until the harness has held that content against what the agent knows.
type WriteOrNot = Result<Plan, WorkspaceError>;

impl Source for WorkspaceSource {
    type Config = Config;

    async fn open(config: Config, secrets: Secrets, role: Role) -> Result<Self, OpenError> {
        let given = SourceContext {
            source: None,
            secrets,
            role,
            scratch: None,
            egress: None,
            kept: None,
            children: None,
            pins: None,
            host: plexus_ipc::worker::Host::detached(),
        };
        Self::open_with(config, given).await
    }

    async fn open_with(config: Config, given: SourceContext) -> Result<Self, OpenError> {
        let opened = on_file_thread(move || Ok(Self::at(&config, given)));
        opened
            .await
            .map_err(|_| OpenError::internal("opening the folder failed"))?
    }

    async fn settle(&self, intent: AuditId) -> Verdict {
        // The store was gone through when this writer started: looking it up is one small read.
        match self.store.as_ref().map(|store| store.known(&intent)) {
            Some(CallRecord::Entry(_, State::Done)) => Verdict::Happened,
            Some(CallRecord::Entry(_, State::Not) | CallRecord::Never) => Verdict::DidNot,
            Some(CallRecord::Entry(_, State::Begun | State::Lost) | CallRecord::Forgotten)
            | None => Verdict::CannotTell,
        }
    }

    async fn health(&self) -> Health {
        let anchor = self.anchor.clone();
        let look = on_file_thread(move || Ok(anchor.check()));
        match tokio::time::timeout(LOOK_TIME, look).await {
            Ok(Ok(Ok(()))) => Health::Well,
            Ok(Ok(Err(adrift))) => Health::Unavailable(adrift.to_string().into()),
            Ok(Err(_)) | Err(_) => Health::Degraded("the folder's disk answers slowly".into()),
        }
    }

    fn handlers() -> Handlers<Self> {
        Handlers::new()
            .read("list", Self::list)
            .read("read", Self::read)
            .read("changes", Self::changes)
            .effect("write", Self::plan_write, Self::commit_write)
            .effect("undo", Self::plan_undo, Self::commit_undo)
    }
}

impl WorkspaceSource {
    fn at(config: &Config, given: SourceContext) -> Result<Self, OpenError> {
        let workspace = Workspace::open_with(&config.path, config.allow_hard_links)
            .map_err(|error| open_error(&error))?
            .hiding(&config.hide);
        let identity = workspace.identity().map_err(|error| open_error(&error))?;
        let anchor = Anchor::new(&config.path, identity);
        let store = given.scratch.zip(given.kept).map(|(dir, kept)| {
            let bounds = Bounds {
                bytes: u64::from(kept.mib) << 20,
                entries: kept.changes as usize,
            };
            Store::new(&dir, bounds)
        });
        if given.role == Role::Writer {
            // First: what a killed writer left tells whether its change happened.
            if let Some(store) = &store {
                store
                    .recover(&workspace.root)
                    .map_err(|error| OpenError::internal(error.to_string()))?;
            }
            workspace.remove_leftovers();
        }
        Ok(Self {
            workspace,
            anchor,
            store,
        })
    }

    /// The handle would go on serving a folder that the owner has moved away or replaced: a call does not.
    fn in_place(&self) -> Result<(), SourceError> {
        self.anchor
            .check()
            .map_err(|adrift| SourceError::unavailable(adrift.to_string()))
    }

    async fn list(
        self: Arc<Self>,
        call: CallContext,
        input: ListInput,
    ) -> Result<Reply<FolderOutput>, SourceError> {
        on_file_thread(move || {
            self.in_place()?;
            let allows = |path: &RelPath| call.allows(FIELD, path.display_id());
            let output = self
                .workspace
                .list(&input, PathRule::new(&allows), &|| call.is_over())
                .map_err(|error| failure(&error))?;
            let touched = Touched::read(KIND, output.relative_path.display_id(), None);
            let summary = format!("listed {}", output.relative_path);
            Ok(Reply::new(output, summary).touched([touched]))
        })
        .await
    }

    async fn read(
        self: Arc<Self>,
        call: CallContext,
        input: ReadInput,
    ) -> Result<Reply<FileOutput>, SourceError> {
        let allows = move |path: &RelPath| call.allows(FIELD, path.display_id());
        if let Some(output) = self.at_hand(&input, PathRule::new(&allows)) {
            return Ok(told(output));
        }
        on_file_thread(move || {
            self.in_place()?;
            let output = self.workspace.read(&input, PathRule::new(&allows));
            Ok(told(output.map_err(|error| failure(&error))?))
        })
        .await
    }

    /// A read that needs no waiting, done on the runtime's own thread: to wake another and to be woken by it costs more.
    fn at_hand(&self, input: &ReadInput, rule: PathRule<'_>) -> Option<FileOutput> {
        self.anchor.check_at_hand()?.ok()?;
        self.workspace.read_at_hand(input, rule)
    }

    async fn plan_write(
        self: Arc<Self>,
        call: CallContext,
        input: WriteInput,
    ) -> Result<Planned<WriteOrNot>, SourceError> {
        on_file_thread(move || {
            self.in_place()?;
            let allows = |path: &RelPath| call.allows(FIELD, path.display_id());
            let rule = PathRule::new(&allows);
            let place = self
                .workspace
                .place(&input, rule)
                .map_err(|error| failure(&error))?;
            match self.workspace.plan_at(place, &input, rule) {
                Ok(plan) => Ok(planned(plan)),
                Err(misfit) if call.role() == Role::Writer => {
                    let (place, error) = *misfit;
                    let runs = self.workspace.runs_unasked(place.path());
                    Ok(not_planned(&place, error, runs.is_some()))
                }
                Err(misfit) => Err(failure(&misfit.1)),
            }
        })
        .await
    }

    async fn commit_write(
        self: Arc<Self>,
        call: CallContext,
        plan: WriteOrNot,
    ) -> Result<Reply<WriteOutput>, SourceError> {
        on_file_thread(move || {
            self.in_place()?;
            let plan = plan.map_err(|error| failure(&error))?;
            let keeping = self.keeping(&call, None);
            let undo = keeping.as_ref().map(|keeping| keeping.call.clone());
            let output = self
                .workspace
                .commit(&plan, keeping)
                .map_err(|error| failure(&error))?;
            let touched = Touched::write(
                KIND,
                output.relative_path.as_str(),
                Some(wire(&output.digest)),
            );
            let reply = Reply::new(output, &plan.change().summary).touched([touched]);
            Ok(with_undo(reply, undo))
        })
        .await
    }

    async fn plan_undo(
        self: Arc<Self>,
        call: CallContext,
        input: UndoInput,
    ) -> Result<Planned<Undo>, SourceError> {
        on_file_thread(move || {
            self.in_place()?;
            let allows = |path: &RelPath| call.allows(FIELD, path.display_id());
            let undo = self
                .workspace
                .plan_undo(self.store()?, &input, PathRule::new(&allows))
                .map_err(|error| failure(&error))?;
            Ok(planned_undo(undo, input.path.is_some()))
        })
        .await
    }

    async fn commit_undo(
        self: Arc<Self>,
        call: CallContext,
        plan: Undo,
    ) -> Result<Reply<UndoOutput>, SourceError> {
        on_file_thread(move || {
            self.in_place()?;
            let keeping = self.keeping(&call, Some(plan.of().clone()));
            let undo = keeping.as_ref().map(|keeping| keeping.call.clone());
            let output = self
                .workspace
                .commit_undo(&plan, keeping)
                .map_err(|error| failure(&error))?;
            let touched = Touched::write(
                KIND,
                output.relative_path.as_str(),
                output.digest.as_ref().map(wire),
            );
            let reply = Reply::new(output, &plan.change().summary).touched([touched]);
            Ok(with_undo(reply, undo))
        })
        .await
    }

    async fn changes(
        self: Arc<Self>,
        _: CallContext,
        input: ChangesInput,
    ) -> Result<Reply<ChangesOutput>, SourceError> {
        on_file_thread(move || {
            self.in_place()?;
            let output = self
                .workspace
                .changes(self.store()?, &input)
                .map_err(|error| failure(&error))?;
            let summary = format!(
                "put together changes to {}",
                counted(output.files.len(), "file")
            );
            Ok(Reply::new(output, summary))
        })
        .await
    }

    fn store(&self) -> Result<&Store, SourceError> {
        self.store
            .as_ref()
            .ok_or_else(|| SourceError::transport("not_kept", "this worker keeps nothing"))
    }

    /// Where a change is kept. A call without an event cannot be named later.
    fn keeping(&self, call: &CallContext, undoes: Option<AuditId>) -> Option<Keeping<'_>> {
        Some(Keeping {
            store: self.store.as_ref()?,
            call: call.audit()?.clone(),
            undoes,
        })
    }
}

fn with_undo<T>(reply: Reply<T>, undo: Option<AuditId>) -> Reply<T> {
    match undo {
        Some(id) => reply.undo(id.as_str()),
        None => reply,
    }
}

fn planned_undo(undo: Undo, names_file: bool) -> Planned<Undo> {
    let absent_or = |digest: Option<plexus_rooted_files::Digest>| {
        digest.map_or_else(|| "absent".to_owned(), |digest| digest.to_string())
    };
    let change = undo.change().clone();
    let preview = Preview::new(&change.headline)
        .fact("path", undo.path().as_str())
        .fact("before", absent_or(undo.before()))
        .fact("after", absent_or(undo.after()));
    let token = Digest(*undo.state_token().as_bytes());
    // It replaces only what the change itself left; where the input names the file, the agent's knowledge counts too.
    let before = names_file.then(|| content(undo.before()));
    let touched = Touched::write(
        KIND,
        undo.path().as_str(),
        undo.before().map(|digest| wire(&digest)),
    );
    let runs = undo.runs_because();
    let planned = rated(undo, &change, preview, token, runs).touched([touched]);
    match before {
        Some(before) => planned.before(before),
        None => planned,
    }
}

/// What every change's plan says of its difference and its rating.
fn rated<P>(
    plan: P,
    change: &Change,
    mut preview: Preview,
    token: Digest,
    runs: Option<&str>,
) -> Planned<P> {
    if let Some(why) = runs {
        preview = preview.fact("runs", why);
    }
    preview = match &change.diff {
        Some(diff) => preview.diff(diff),
        None => preview.fact("diff", "not shown: not text, or too large to compare"),
    };
    preview.cut |= change.is_cut;
    let planned = Planned::new(plan, token, preview, &change.summary);
    match runs {
        Some(why) => planned
            .rating(Verb::Execute)
            .warning(format!("This amounts to running code: {why}.")),
        None => planned.rating(Verb::Write),
    }
}

fn planned(plan: Plan) -> Planned<WriteOrNot> {
    let change = plan.change().clone();
    let preview = Preview::new(&change.headline)
        .fact("path", plan.path().as_str())
        .fact(
            "before",
            plan.before()
                .map_or_else(|| "absent".to_owned(), |digest| digest.to_string()),
        )
        .fact("after", plan.after().to_string())
        .fact("bytes", plan.size().to_string());
    let touched = Touched::write(
        KIND,
        plan.path().as_str(),
        plan.before().map(|digest| wire(&digest)),
    );
    let runs = plan.runs_because();
    let digest = |token: StateToken| Digest(*token.as_bytes());
    let token = digest(plan.state_token());
    let also = plan.tokens_before_its_folders();
    let before = content(plan.before());
    rated(Ok(plan), &change, preview, token, runs)
        .also(also.into_iter().map(digest))
        .touched([touched])
        .before(before)
}

fn not_planned(place: &WriteTarget, error: WorkspaceError, runs: bool) -> Planned<WriteOrNot> {
    let summary = format!(
        "could not write {}",
        escape_controls(place.path().as_str(), false)
    );
    let touched = Touched::write(
        KIND,
        place.path().as_str(),
        place.digest().map(|digest| wire(&digest)),
    );
    let token = Digest(*place.token().as_bytes());
    let rating = if runs { Verb::Execute } else { Verb::Write };
    Planned::new(Err(error), token, Preview::new(&summary), &summary)
        .touched([touched])
        .before(content(place.digest()))
        .rating(rating)
}

fn content(digest: Option<plexus_rooted_files::Digest>) -> Content {
    digest.map_or(Content::Absent, |digest| Content::Is(wire(&digest)))
}

fn wire(digest: &plexus_rooted_files::Digest) -> Digest {
    Digest(*digest.as_bytes())
}

fn told(output: FileOutput) -> Reply<FileOutput> {
    let touched = Touched::read(
        KIND,
        output.relative_path.as_str(),
        Some(wire(&output.digest)),
    );
    let summary = format!("read {}", output.relative_path);
    Reply::new(output, summary).touched([touched])
}

fn failure(error: &WorkspaceError) -> SourceError {
    let text = error.to_string();
    match error {
        WorkspaceError::File(FileError::Permission(_)) => SourceError::denied(text),
        WorkspaceError::File(file) => SourceError::transport(file.reason(), text),
        WorkspaceError::NotFound { .. } => SourceError::transport("not_found", text),
        WorkspaceError::OddName { .. } => SourceError::transport("odd_name", text),
        WorkspaceError::InvalidInput(_) | WorkspaceError::Edit { .. } => SourceError::invalid(text),
        WorkspaceError::TooLarge { .. } => SourceError::transport("too_large", text),
        WorkspaceError::ConstraintMiss => SourceError::constraint_miss(FIELD),
        WorkspaceError::PreconditionChanged { reason, .. } => SourceError::changed(reason, text),
        WorkspaceError::NotUndoable { reason, .. } => SourceError::transport(reason, text),
        WorkspaceError::Unconfirmed(_) => SourceError::transport("io", text).effect(Effect::Done),
    }
}

fn open_error(error: &FileError) -> OpenError {
    match error {
        FileError::NotFound(_) => OpenError::unavailable("the folder is not there"),
        FileError::NotADirectory(_) => OpenError::config("the path is not a folder"),
        FileError::Permission(_) => OpenError::denied("the folder"),
        other => OpenError::internal(format!("the folder cannot be opened: {other}")),
    }
}
