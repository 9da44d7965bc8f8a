//! The folder as a source: calls in, answers out, file work on blocking threads.
//!
//! The constraint is asked about the path as the disk spells it, before anything is looked at; the harness asks again
//! about everything touched, and plans a write anew in the writer before it lets it happen.

use std::{path::PathBuf, sync::Arc, time::Duration};

use plexus_ipc::worker::{
    CallContext, Content, Handlers, Health, OpenError, Plan as Planned, Preview, Reply, Role,
    Secrets, Source, SourceError, Touched,
};
use plexus_protocol::{Digest, Effect, Verb};
use plexus_rooted_files::{Anchor, FileError, PathRule, Place, RelPath, names::escape_controls};
use serde::Deserialize;

use crate::{
    FileOutput, FolderOutput, ListInput, Plan, ReadInput, Workspace, WorkspaceError, WriteInput,
    WriteOutput,
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
}

/// What a commit is handed: the write, or why there is none. The reason tells about the present content, so in the
/// writer it waits until the harness has held that content against what the agent knows.
type WriteOrNot = Result<Plan, WorkspaceError>;

impl Source for WorkspaceSource {
    type Config = Config;

    async fn open(config: Config, _: Secrets, role: Role) -> Result<Self, OpenError> {
        on_blocking_thread(move || {
            let workspace = Workspace::open_with(&config.path, config.allow_hard_links)?;
            let anchor = Anchor::new(&config.path, workspace.identity()?);
            if role == Role::Writer {
                workspace.remove_leftovers();
            }
            Ok(Self { workspace, anchor })
        })
        .await
        .map_err(|_| OpenError::internal("opening the folder failed"))?
        .map_err(|error: FileError| open_error(&error))
    }

    async fn health(&self) -> Health {
        let anchor = self.anchor.clone();
        let look = on_blocking_thread(move || anchor.check());
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
            .effect("write", Self::plan_write, Self::commit_write)
    }
}

impl WorkspaceSource {
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
        on_blocking_thread(move || {
            self.in_place()?;
            let allows = |path: &RelPath| call.allows(FIELD, path.display_id());
            let output = self
                .workspace
                .list(&input, PathRule::new(&allows))
                .map_err(|error| failure(&error))?;
            let touched = Touched::read(KIND, output.relative_path.display_id(), None);
            let summary = format!("listed {}", output.relative_path);
            Ok(Reply::new(output, summary).touched([touched]))
        })
        .await?
    }

    async fn read(
        self: Arc<Self>,
        call: CallContext,
        input: ReadInput,
    ) -> Result<Reply<FileOutput>, SourceError> {
        on_blocking_thread(move || {
            self.in_place()?;
            let allows = |path: &RelPath| call.allows(FIELD, path.display_id());
            let output = self
                .workspace
                .read(&input, PathRule::new(&allows))
                .map_err(|error| failure(&error))?;
            let touched = Touched::read(
                KIND,
                output.relative_path.as_str(),
                Some(wire(&output.digest)),
            );
            let summary = format!("read {}", output.relative_path);
            Ok(Reply::new(output, summary).touched([touched]))
        })
        .await?
    }

    async fn plan_write(
        self: Arc<Self>,
        call: CallContext,
        input: WriteInput,
    ) -> Result<Planned<WriteOrNot>, SourceError> {
        on_blocking_thread(move || {
            self.in_place()?;
            let allows = |path: &RelPath| call.allows(FIELD, path.display_id());
            let place = self
                .workspace
                .place(&input, PathRule::new(&allows))
                .map_err(|error| failure(&error))?;
            match Plan::on(place, &input) {
                Ok(plan) => Ok(planned(plan)),
                Err(misfit) if call.role() == Role::Writer => Ok(not_planned(&misfit.0, misfit.1)),
                Err(misfit) => Err(failure(&misfit.1)),
            }
        })
        .await?
    }

    async fn commit_write(
        self: Arc<Self>,
        _: CallContext,
        plan: WriteOrNot,
    ) -> Result<Reply<WriteOutput>, SourceError> {
        on_blocking_thread(move || {
            self.in_place()?;
            let plan = plan.map_err(|error| failure(&error))?;
            let output = self
                .workspace
                .commit(&plan)
                .map_err(|error| failure(&error))?;
            let touched = Touched::write(
                KIND,
                output.relative_path.as_str(),
                Some(wire(&output.digest)),
            );
            Ok(Reply::new(output, &plan.change().summary).touched([touched]))
        })
        .await?
    }
}

fn planned(plan: Plan) -> Planned<WriteOrNot> {
    let change = plan.change().clone();
    let mut preview = Preview::new(&change.headline)
        .fact("path", plan.path().as_str())
        .fact(
            "before",
            plan.before()
                .map_or_else(|| "absent".to_owned(), |digest| digest.to_string()),
        )
        .fact("after", plan.after().to_string())
        .fact("bytes", plan.size().to_string());
    if let Some(why) = plan.runs_because() {
        preview = preview.fact("runs", why);
    }
    preview = match &change.diff {
        Some(diff) => preview.diff(diff),
        None => preview.fact("diff", "not shown: not text, or too large to compare"),
    };
    preview.cut |= change.is_cut;
    let touched = Touched::write(
        KIND,
        plan.path().as_str(),
        plan.before().map(|digest| wire(&digest)),
    );
    let rating = if plan.runs_because().is_some() {
        Verb::Execute
    } else {
        Verb::Write
    };
    let warning = plan
        .runs_because()
        .map(|why| format!("This amounts to running code: {why}."));
    let token = Digest(*plan.state_token().as_bytes());
    let before = content(plan.before());
    let mut planned = Planned::new(Ok(plan), token, preview, &change.summary)
        .touched([touched])
        .before(before)
        .rating(rating);
    if let Some(warning) = warning {
        planned = planned.warning(warning);
    }
    planned
}

fn not_planned(place: &Place, error: WorkspaceError) -> Planned<WriteOrNot> {
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
    let rating = if crate::runs_unasked(place.path()).is_some() {
        Verb::Execute
    } else {
        Verb::Write
    };
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

async fn on_blocking_thread<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, SourceError> {
    // A panic may come after the rename: it is not known whether anything was done.
    tokio::task::spawn_blocking(work).await.map_err(|_| {
        SourceError::internal("the work on the folder panicked").effect(Effect::Unknown)
    })
}

fn failure(error: &WorkspaceError) -> SourceError {
    let text = error.to_string();
    match error {
        WorkspaceError::File(FileError::Permission(_)) => SourceError::denied(text),
        WorkspaceError::File(file) => SourceError::transport(file.reason(), text),
        WorkspaceError::InvalidInput(_) | WorkspaceError::Edit { .. } => SourceError::invalid(text),
        WorkspaceError::ConstraintMiss => SourceError::constraint_miss(FIELD),
        WorkspaceError::PreconditionChanged { reason, .. } => SourceError::changed(reason, text),
        WorkspaceError::Unconfirmed(_) => SourceError::transport("io", text).effect(Effect::Done),
    }
}

fn open_error(error: &FileError) -> OpenError {
    match error {
        FileError::NotFound(_) => OpenError::unavailable("the folder is not there"),
        FileError::NotADirectory(_) => OpenError::config("the path is not a folder"),
        FileError::Permission(_) => {
            OpenError::denied("the system does not let Plexus read the folder")
        }
        other => OpenError::internal(format!("the folder cannot be opened: {other}")),
    }
}
