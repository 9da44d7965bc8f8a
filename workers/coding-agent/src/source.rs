//! The folder as a source: calls in, answers out; what a failure means to an agent and to the owner.
//!
//! Invariants: a run may name only the models that the owner lists; a path is judged by its constraint before it is shown.
//!
//! Must not know: how a coding agent is started, how a change set is kept.

use crate::{
    ModelServer, Program,
    apply::{ApplyError, AtOnce, Folder, Plan, Standing},
    change_set::{
        ChangeKind, ChangeSet, Counts, FileChange, FoundSets, Limit, Origin, SetError, Sets,
        keep_listed, may_hide, renames, superseding,
    },
    ignored::Ignoring,
    onto::Onto,
    program_check::ProgramCheck,
    run::{Outcome, RunError, Runs, Task, names_of},
    sessions::no_thread,
    snapshot::{FileFacts, Snapshot},
    threads::{Thread, Threads, title_of},
};
use plexus_agent_lines::Usage;
use plexus_ipc::message::MAX_SUMMARY;
use plexus_ipc::text::counted;
use plexus_ipc::worker::{
    ALREADY_UNDONE, CallContext, Handlers, Health, NoInput, OpenError, Plan as Planned, Preview,
    Reply, Role, Secrets, Source, SourceContext, SourceError, Touched, Verdict, on_file_thread,
};
use plexus_protocol::{AuditId, Digest, Effect, Timestamp, Verb};
use plexus_rooted_files::{
    Anchor, Change, Digest as FileDigest, FileError, HiddenPaths, HideRules, Kind, Policy, RelPath,
    Root,
};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet},
    marker::PhantomData,
    path::PathBuf,
    sync::Arc,
};

/// The kind that files are recorded under, and the field that a constraint may narrow.
const KIND: &str = "file";
const FIELD: &str = "path";
/// Files that the answer of a run lists; `changes.read` has all.
const LISTED: usize = 200;
/// Change sets that the owner's list looks at.
const MOST_SETS: usize = 200;
/// Files that tools run which a card warns of one by one.
const MOST_WARNINGS: usize = 8;
/// What is said of a run with `mode=direct` that ended at a limit: its files may be cut in the middle.
const HALF_DONE: &str = "nothing was applied, because the run ended at its limit: look at its change set, and apply what is good of it";
/// In place of the words for a change set that cannot be read.
const UNREAD: &str = "its contents cannot be shown";
/// What the card of an apply says of a run that did not come to its end.
const UNFINISHED: &str =
    "Its run was ended before it was finished: what it changes may be half done.";
/// What the card of a run says that has a copy of the owner's sign-in.
const SIGN_IN: &str =
    "the run has a copy of your own sign-in, without what renews it; its commands can read it";
/// The model that the program chooses.
const DEFAULT: &str = "default";
/// Most of an answer with differences, in bytes.
const LONGEST_ANSWER: usize = 2 * 1024 * 1024;

/// One folder that a coding agent works on copies of.
#[derive(Debug)]
pub struct CodingAgent<P> {
    root: Arc<Root>,
    ignoring: Arc<Ignoring>,
    anchor: Anchor,
    /// The folder, as the owner named it.
    path: PathBuf,
    sets: Option<Sets>,
    folder: Option<Folder>,
    /// In a writer with a keeper and an egress.
    runs: Option<Runs<P>>,
    /// In a reader with a keeper: the owner asks it how the source does.
    check: Option<Arc<ProgramCheck>>,
    threads: Option<Arc<Threads>>,
    binary: String,
    login: String,
    tools: String,
    disk: String,
    /// One of what runs share that may hold what is hidden.
    shares_hidden: Option<RelPath>,
    pub(crate) model: String,
    pub(crate) models: Vec<String>,
    /// What the program calls a model, where that is something else.
    model_names: BTreeMap<String, String>,
}

/// The source's route.
#[derive(Debug, Deserialize)]
pub struct Config {
    /// The folder, absolute.
    pub path: PathBuf,
    /// The program.
    pub binary: String,
    /// The model of runs that name none; empty, or `default`: the program chooses.
    #[serde(default)]
    pub model: String,
    /// Further models, separated by commas.
    #[serde(default)]
    pub models: String,
    /// What the program calls models, as `model=name`, separated by commas.
    #[serde(default, rename = "modelArgs")]
    pub model_args: String,
    /// Where the model is served.
    #[serde(default)]
    pub server: String,
    /// Whether runs have a copy of the owner's own sign-in: `copy`, or the file. The keeper's to give.
    #[serde(default)]
    pub login: String,
    /// Further programs that runs may use, separated by commas: the keeper's to give, and the card's to say.
    #[serde(default)]
    pub tools: String,
    /// The same with the folder of each, as the card shows them.
    #[serde(default, rename = "toolFolders")]
    pub tool_folders: String,
    /// How many MiB a run may hold on the disk: the keeper's to hold it to, and the card's to say.
    #[serde(default)]
    pub disk: String,
    /// Files and folders that runs have although they are ignored: patterns, separated by commas.
    #[serde(default, rename = "copyIgnored")]
    pub copy_ignored: String,
    /// Folders in it that runs read in place, separated by commas: the keeper's to link, and the card's to say.
    #[serde(default)]
    pub share: String,
    /// What does not exist in it, for agents.
    #[serde(default)]
    pub hide: HideRules,
}

/// Input of `run`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RunInput {
    prompt: String,
    cwd: Option<String>,
    model: Option<String>,
    thread: Option<String>,
    #[serde(default)]
    mode: RunMode,
    #[serde(default, rename = "maxTokens")]
    max_tokens: Option<u64>,
    #[serde(default, rename = "maxCost")]
    max_cost: Option<f64>,
    #[serde(default, rename = "maxTurns")]
    max_turns: Option<u32>,
    #[serde(default, rename = "maxSeconds")]
    max_seconds: Option<u64>,
    #[serde(default, rename = "allowedTools")]
    allowed_tools: Option<Vec<String>>,
    #[serde(default)]
    onto: Vec<String>,
    #[serde(default)]
    join: bool,
}

/// What becomes of that which a run changes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum RunMode {
    /// It is a change set.
    #[default]
    Staged,
    /// It is applied with the run's approval, as far as that reaches.
    Direct,
}

/// Input of `chat`. How long the conversation may be is the gateway's to hold it to.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ChatInput {
    prompt: String,
    model: Option<String>,
    thread: Option<String>,
    #[serde(default, rename = "turns")]
    _turns: Option<u32>,
    #[serde(default, rename = "minutes")]
    _minutes: Option<u32>,
    #[serde(default, rename = "maxTokens")]
    max_tokens: Option<u64>,
    #[serde(default, rename = "maxCost")]
    max_cost: Option<f64>,
}

/// Output of `run`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct RunOutput {
    thread: String,
    text: String,
    usage: Usage,
    /// In US dollars.
    #[serde(skip_serializing_if = "Option::is_none")]
    cost: Option<f64>,
    /// Which limit of the input ended it.
    #[serde(skip_serializing_if = "Option::is_none")]
    limit: Option<Limit>,
    changes: Changes,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    calls: Vec<CallView>,
    #[serde(skip_serializing_if = "Option::is_none")]
    more_calls: Option<usize>,
    /// Of a run that applies at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    applied: Option<AppliedAtOnce>,
    warnings: Vec<String>,
}

/// What came into the folder with the run's approval.
#[derive(Debug, Serialize)]
struct AppliedAtOnce {
    files: usize,
    /// What stays in the change set.
    left: Vec<LeftOut>,
    #[serde(skip_serializing_if = "Option::is_none")]
    more: Option<usize>,
}

#[derive(Debug, Serialize)]
struct LeftOut {
    path: RelPath,
    why: String,
}

/// A call of a turn in short.
#[derive(Debug, Serialize)]
struct CallView {
    id: String,
    name: String,
}

/// A change set in short.
#[derive(Debug, Serialize)]
struct Changes {
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    digest: Option<FileDigest>,
    #[serde(flatten)]
    counts: Counts,
    omitted: usize,
    files: Vec<FileOutput>,
    #[serde(skip_serializing_if = "Option::is_none")]
    more: Option<usize>,
}

/// What becomes of one file.
#[derive(Debug, Serialize)]
struct FileOutput {
    path: RelPath,
    kind: ChangeKind,
    /// The removed file whose content it has.
    #[serde(skip_serializing_if = "Option::is_none")]
    from: Option<RelPath>,
    #[serde(skip_serializing_if = "Option::is_none")]
    before: Option<Side>,
    #[serde(skip_serializing_if = "Option::is_none")]
    after: Option<Side>,
    #[serde(skip_serializing_if = "Option::is_none")]
    executable: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    diff: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cut: Option<bool>,
    /// What somebody else made of it since the run began: for the owner, whose folder it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    meanwhile: Option<String>,
    #[serde(rename = "meanwhileCut", skip_serializing_if = "Option::is_none")]
    meanwhile_cut: Option<bool>,
    /// In `changes.read`: how far it has come.
    #[serde(skip_serializing_if = "Option::is_none")]
    state: Option<Standing>,
    /// For the owner: the call that applied it, where somebody has changed it since.
    #[serde(skip_serializing_if = "Option::is_none")]
    applied: Option<AuditId>,
    /// There too: what is to be applied first.
    #[serde(skip_serializing_if = "Option::is_none")]
    on: Option<String>,
    /// There too: why applying it would be running code.
    #[serde(skip_serializing_if = "Option::is_none")]
    runs: Option<&'static str>,
}

/// One content.
#[derive(Debug, Serialize)]
struct Side {
    digest: FileDigest,
    bytes: u64,
}

/// Input of `changes.read`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ChangesInput {
    changes: String,
    path: Option<String>,
    after: Option<String>,
}

/// Output of `changes.read`.
#[derive(Debug, Serialize)]
struct ChangesOutput {
    id: String,
    /// For the owner.
    #[serde(skip_serializing_if = "Option::is_none")]
    about: Option<About>,
    files: Vec<FileOutput>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<Next>,
}

/// Output of `changes.list`.
#[derive(Debug, Serialize)]
struct ListOutput {
    sets: Vec<ListedSet>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    unread: Vec<UnreadSet>,
    #[serde(skip_serializing_if = "Option::is_none")]
    more: Option<usize>,
}

/// A change set as the owner's list has it.
#[derive(Debug, Serialize)]
struct ListedSet {
    id: String,
    #[serde(flatten)]
    about: About,
    #[serde(flatten)]
    counts: Counts,
    /// The first of its files.
    first: Vec<RelPath>,
    /// Files of it that the owner or an agent brought into the folder, and nobody took back.
    applied: usize,
    /// The calls that did.
    calls: BTreeSet<AuditId>,
}

/// A change set that cannot be read.
#[derive(Debug, Serialize)]
struct UnreadSet {
    id: String,
    why: String,
}

/// Where a change set comes from, as the owner reads it.
#[derive(Debug, Default, Serialize)]
struct About {
    #[serde(skip_serializing_if = "Option::is_none")]
    agent: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    made: Option<Timestamp>,
    /// The event of its run.
    #[serde(skip_serializing_if = "Option::is_none")]
    call: Option<AuditId>,
    /// The beginning of what that was asked.
    #[serde(skip_serializing_if = "String::is_empty")]
    prompt: String,
    /// The change sets that it builds on, which are to be applied before it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    onto: Vec<String>,
    /// Its run was ended before it came to its end.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    unfinished: bool,
    /// The limit that ended it.
    #[serde(skip_serializing_if = "Option::is_none")]
    limit: Option<Limit>,
    /// The newest change set that goes on from it, where it is shown alone.
    #[serde(rename = "supersededBy", skip_serializing_if = "Option::is_none")]
    superseded_by: Option<String>,
    /// Links and special files of the run, which it does not have.
    omitted: usize,
}

impl About {
    fn of(origin: Option<Origin>, omitted: usize) -> Self {
        let unknown = Self {
            omitted,
            ..Self::default()
        };
        origin.map_or(unknown, |origin| Self {
            agent: origin.agent,
            made: Some(origin.made),
            call: origin.call,
            prompt: origin.prompt,
            onto: match origin.onto.join {
                true => Vec::new(),
                false => origin.onto.sets,
            },
            unfinished: origin.unfinished,
            limit: origin.limit,
            omitted,
            ..Self::default()
        })
    }
}

/// Where to go on.
#[derive(Debug, Serialize)]
struct Next {
    after: RelPath,
}

/// Input of `apply`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ApplyInput {
    changes: String,
    paths: Option<Vec<String>>,
}

/// Input of `changes.drop`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct DropInput {
    changes: String,
}

/// Output of `changes.drop`.
#[derive(Debug, Serialize)]
struct DropOutput {
    ok: bool,
}

/// Input of `undo`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct UndoInput {
    id: String,
}

/// Output of `apply` and `undo`.
#[derive(Debug, Serialize)]
struct Applied {
    ok: bool,
    applied: Vec<FileOutput>,
    /// What an undo left as it is.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    left: Vec<LeftOut>,
}

impl<P: Program> Source for CodingAgent<P> {
    type Config = Config;

    async fn open(_: Config, _: Secrets, _: Role) -> Result<Self, OpenError> {
        Err(OpenError::internal("opened with all that it is given"))
    }

    async fn open_with(config: Config, given: SourceContext) -> Result<Self, OpenError> {
        let opened = on_file_thread(move || Ok(Self::at(config, given)));
        opened
            .await
            .map_err(|_| OpenError::internal("opening the folder failed"))?
    }

    async fn settle(&self, intent: AuditId) -> Verdict {
        let folder = self.folder.as_ref();
        let dropped = folder.zip(self.threads.as_ref());
        if let Some(dropped) = dropped.and_then(|(at, noted)| at.was_dropped(&intent, noted)) {
            return match dropped {
                true => Verdict::Happened,
                false => Verdict::DidNot,
            };
        }
        match folder.map(|folder| folder.happened(&intent)) {
            Some(Some(true)) => Verdict::Happened,
            // Its thread, its conversation's copy or a change set has more or less of it.
            Some(Some(false))
                if self.threads.iter().any(|threads| threads.had_turn(&intent))
                    || self.sets.iter().any(|sets| sets.has_of(&intent)) =>
            {
                Verdict::CannotTell
            }
            // A run changes nothing that is the owner's, so one without a record did not happen.
            Some(Some(false)) => Verdict::DidNot,
            Some(None) | None => Verdict::CannotTell,
        }
    }

    async fn health(&self) -> Health {
        match (self.anchor.check(), &self.check) {
            (Err(adrift), _) => Health::Unavailable(adrift.to_string().into()),
            (Ok(()), Some(check)) => check.last().unwrap_or(Health::Well),
            (Ok(()), None) => Health::Well,
        }
    }

    async fn check(&self) -> Health {
        match (self.health().await, &self.check) {
            (Health::Well | Health::Degraded(_), Some(check)) => check.check().await,
            (health, _) => health,
        }
    }

    fn handlers() -> Handlers<Self> {
        let handlers = Handlers::new()
            .effect("run", Self::plan_run, Self::commit_run)
            .effect("chat", Self::plan_chat, Self::commit_chat)
            .read("models", Self::list_models)
            .read("threads.list", Self::list_threads)
            .read("changes.list", Self::list_changes)
            .read("changes.read", Self::changes)
            .effect("changes.drop", Self::plan_drop, Self::commit_drop)
            .effect("apply", Self::plan_apply, Self::commit)
            .effect("undo", Self::plan_undo, Self::commit);
        P::handlers(handlers)
    }
}

impl<P: Program> CodingAgent<P> {
    fn at(config: Config, given: SourceContext) -> Result<Self, OpenError> {
        let source = given.name();
        let root = Root::open(&config.path, Policy::default());
        let root = root.map_err(|error| open_error(&error))?;
        let identity = root.identity().map_err(|error| open_error(&error))?;
        let anchor = Anchor::new(&config.path, identity);
        // One that is no path keeps the writer from its start, so no run has it.
        let paths = listed(&config.share).filter_map(|path| {
            let path = RelPath::parse(path.trim_end_matches('/'));
            path.ok().filter(|path| !path.is_root())
        });
        let shared: Vec<_> = paths.collect();
        let hidden = HiddenPaths::new(&config.hide);
        let mut shares = shared.iter();
        let shares_hidden = shares.find(|path| hidden.may_hide_in(path)).cloned();
        let ignoring = Arc::new(Ignoring {
            // What is hidden is no reason to copy what it says to leave out.
            rules: Root::open(&config.path, Policy::default())
                .map_err(|error| open_error(&error))?,
            copied: listed(&config.copy_ignored).collect(),
            shared,
            history: Some(config.path.clone()).filter(|_| config.hide.is_empty()),
        });
        let root = match config.hide.is_empty() {
            true => root,
            false => root.hiding(Arc::new(hidden)),
        };
        let root = Arc::new(root);
        let sets = given.scratch.as_deref().map(Sets::in_folder);
        let folder = given.scratch.as_deref().zip(sets.clone());
        let folder = folder.map(|(dir, sets)| Folder::new(root.clone(), sets, dir));
        let runs = given.scratch.as_ref().map(|dir| dir.join("runs/writer"));
        let check = given
            .children
            .clone()
            .filter(|_| given.role == Role::Reader);
        let check = check.map(|children| ProgramCheck::new(children, config.binary.clone()));
        let parts = runs.zip(given.children.zip(given.egress));
        let threads = given
            .scratch
            .as_deref()
            .map(Threads::in_folder)
            .map(Arc::new);
        let parts = parts.zip(sets.clone().zip(threads.clone()));
        let runs = parts.filter(|_| given.role == Role::Writer).map(
            |((dir, (children, egress)), (sets, threads))| Runs {
                root: root.clone(),
                ignoring: ignoring.clone(),
                dir,
                children,
                model: ModelServer::new(egress, &config.server, &config.login),
                sets,
                threads,
                waiting: Arc::default(),
                source,
                program: PhantomData,
            },
        );
        if let Some(runs) = &runs {
            // A run may have made what cannot be removed; that is no reason not to serve.
            let pruned = runs.sets.prune().and_then(|()| Runs::<P>::prune(&runs.dir));
            let pruned = pruned.and_then(|()| runs.prune_conversations());
            let pruned = pruned.and_then(|()| folder.iter().try_for_each(Folder::prune));
            if let Err(error) = pruned {
                tracing::warn!(%error, "old runs cannot be removed");
            }
            root.remove_leftovers();
        }
        Ok(Self {
            root,
            ignoring,
            anchor,
            path: config.path,
            sets,
            folder,
            runs,
            check: check.map(Arc::new),
            threads,
            model_names: config
                .model_args
                .split(',')
                .filter_map(|pair| {
                    let (model, name) = pair.split_once('=')?;
                    Some((model.trim().to_owned(), name.trim().to_owned()))
                })
                .collect(),
            binary: config.binary,
            login: config.login,
            disk: config.disk,
            shares_hidden,
            tools: match config.tool_folders.is_empty() {
                true => config.tools,
                false => config.tool_folders,
            },
            models: listed(&config.models).collect(),
            model: match config.model.trim() {
                "" => DEFAULT.to_owned(),
                model => model.to_owned(),
            },
        })
    }

    /// The handle would go on serving a folder that the owner has moved away or replaced: a call does not.
    fn in_place(&self) -> Result<(), SourceError> {
        let checked = self.anchor.check();
        checked.map_err(|adrift| SourceError::unavailable(adrift.to_string()))
    }

    /// The folders that runs read in place, for a card.
    fn shared(&self) -> Result<Option<String>, SourceError> {
        if let Some(path) = &self.shares_hidden {
            return Err(SourceError::unavailable(format!(
                "the source's field share names {path}, in which something may be hidden from agents; share another folder, or end the hiding"
            )));
        }
        let named = self
            .ignoring
            .shared
            .iter()
            .map(|path| match self.root.kind(path) {
                Ok(Kind::Dir) => path.to_string(),
                _ => format!("{path} (not there)"),
            });
        let named: Vec<_> = named.collect();
        Ok((!named.is_empty()).then(|| format!("{}; it cannot change them", named.join(", "))))
    }

    async fn plan_chat(
        self: Arc<Self>,
        call: CallContext,
        input: ChatInput,
    ) -> Result<Planned<Task>, SourceError> {
        let goes_on = self.goes_on(input.thread.as_deref())?;
        if goes_on.is_none() && input.thread.is_some() {
            return Err(no_thread());
        }
        if goes_on.is_some_and(|thread| !thread.in_conversation()) {
            return Err(SourceError::invalid(
                "this thread is of a run: go on with it by run and its thread",
            ));
        }
        let input = RunInput {
            prompt: input.prompt,
            cwd: None,
            model: input.model,
            thread: input.thread,
            mode: RunMode::Staged,
            max_tokens: input.max_tokens,
            max_cost: input.max_cost,
            max_turns: None,
            max_seconds: None,
            allowed_tools: None,
            onto: Vec::new(),
            join: false,
        };
        self.plan(call, input).await
    }

    /// The thread that a call is to go on with, of any agent: a plan is not told who asks. Its run goes on with the
    /// caller's own alone.
    fn goes_on(&self, thread: Option<&str>) -> Result<Option<Thread>, SourceError> {
        thread.map_or(Ok(None), |thread| self.known_thread(thread))
    }

    async fn plan_run(
        self: Arc<Self>,
        call: CallContext,
        input: RunInput,
    ) -> Result<Planned<Task>, SourceError> {
        let goes_on = self.goes_on(input.thread.as_deref())?;
        if goes_on.is_some_and(|thread| thread.in_conversation()) {
            return Err((&RunError::InConversation).into());
        }
        self.plan(call, input).await
    }

    async fn commit_chat(
        self: Arc<Self>,
        call: CallContext,
        task: Task,
    ) -> Result<Reply<RunOutput>, SourceError> {
        let Some(conversation) = call.conversation() else {
            // Approved without its bounds on a card: one turn, which nothing follows.
            return self.commit_run(call, task).await;
        };
        self.in_place()?;
        let done = self.runs()?.turn_of(&call, &task, conversation).await;
        told::<P>(&task.prompt, done)
    }

    async fn plan(
        self: Arc<Self>,
        call: CallContext,
        input: RunInput,
    ) -> Result<Planned<Task>, SourceError> {
        let names_model = input.model.is_some();
        let model = input.model.unwrap_or_else(|| self.model.clone());
        if model != self.model && !self.models.contains(&model) {
            let models = [std::slice::from_ref(&self.model), &*self.models].concat();
            let why = format!("the owner allows these models: {}", models.join(", "));
            return Err(SourceError::transport("model_refused", why));
        }
        on_file_thread(move || {
            self.in_place()?;
            let cwd = input.cwd.as_deref().map(|cwd| self.folder_in(cwd));
            let cwd = cwd.transpose()?.flatten();
            let task = Task {
                prompt: input.prompt,
                program_model: self.name_of(&model),
                model,
                names_model,
                thread: input.thread,
                cwd,
                max_tokens: input.max_tokens,
                max_cost: input.max_cost,
                max_turns: input.max_turns,
                max_seconds: input.max_seconds,
                allowed_tools: input.allowed_tools,
                applies: input.mode == RunMode::Direct,
                onto: Onto {
                    sets: input.onto,
                    join: input.join,
                },
            };
            if task.applies && !task.onto.sets.is_empty() {
                let why = "onto is for runs whose changes wait: leave mode out";
                return Err(SourceError::invalid(why));
            }
            let (will, did, changes) = match input.mode {
                RunMode::Staged => (
                    "",
                    "",
                    "none to the folder itself: applying them asks again",
                ),
                RunMode::Direct => (
                    " and applies what it changed",
                    " and applied what it changed",
                    "documents, and source files that were there, come into the folder with this approval, without another \
                     card: code that you later build or run is included. New source files, settings and all else that tools \
                     may run ask again; plexusctl undo takes them back",
                ),
            };
            let headline = format!("has {} work on a copy of the folder{will}", P::NAME);
            let mut preview = Preview::new(headline)
                .fact("folder", self.path.to_string_lossy())
                .fact("program", &self.binary)
                .fact("model", self.model_words(&task));
            if let Some(folder) = self.works_in(&task)? {
                preview = preview.fact("works in", folder.as_str());
            }
            if !self.login.is_empty() {
                preview = preview.fact("sign-in", SIGN_IN);
            }
            if !self.tools.trim().is_empty() {
                preview = preview.fact("further programs", &self.tools);
            }
            if let Some(shared) = self.shared()? {
                preview = preview.fact("reads in place", shared);
            }
            // A writer plans it once more, and the card is made by then: it need not look through the folder.
            if call.role() == Role::Reader {
                let found = Snapshot::size(&self.root, &self.ignoring, &|| call.is_over());
                let found = found.map_err(|error| SourceError::from(&RunError::from(error)))?;
                let (files, bytes) = (found.files, found.bytes);
                let files = counted(files, "file");
                preview = preview.fact("copies", format!("{files}, {bytes} bytes"));
                if let Some(why) = found.history {
                    preview = preview.fact("history", why.words());
                }
                if !found.ignored.is_empty() {
                    let at_least = if found.ignores_more { "more than " } else { "" };
                    let (names, bytes) = (names_of(&found.ignored), found.ignored_bytes);
                    let words = format!("{names} ({at_least}{bytes} bytes), which are ignored");
                    preview = preview.fact("leaves out", words);
                }
            }
            preview = preview.fact("disk", format!("at most {} MiB, its copy included", self.disk));
            if let Some(most) = task.max_tokens {
                preview = preview.fact("ends after", format!("{most} tokens a turn"));
            }
            if let Some(most) = task.max_cost {
                preview = preview.fact("ends after", format!("{most} US dollars a turn"));
            }
            if let Some(most) = task.max_turns {
                preview = preview.fact("ends after", format!("{most} answers of the model"));
            }
            if let Some(most) = task.max_seconds {
                preview = preview.fact("ends after", format!("{most} seconds a turn"));
            }
            if let Some(tools) = &task.allowed_tools {
                preview = preview.fact("its own tools", tools.join(", "));
            }
            if let Some(thread) = &task.thread {
                let title = self.known_thread(thread)?.map(|known| known.title);
                let title = title.filter(|title| !title.is_empty());
                let began = title.map(|title| format!(", which began: {title}"));
                let began = began.unwrap_or_default();
                preview = preview.fact("goes on with", format!("{thread}{began}"));
            }
            for set in &task.onto.sets {
                let head = self.sets()?.head(set);
                let head = head.map_err(|error| failed(&error.into()))?;
                preview = preview.fact("begins with", format!("{set}: {}", head.words()));
            }
            if task.onto.join {
                preview = preview.fact("change set", "one, which has theirs too");
            }
            let preview = preview
                .fact("changes", changes)
                .text(&task.prompt);
            // What it works on is a copy, so it assumes nothing of the folder.
            let model = task.program_model.as_deref().unwrap_or_default();
            let token = Digest::of(format!("{}\n{model}", self.binary).as_bytes());
            let planned = Planned::new(
                task,
                token,
                preview,
                format!("had {} work on a copy{did}", P::NAME),
            );
            Ok(planned.rating(Verb::Execute))
        })
        .await
    }

    async fn commit_run(
        self: Arc<Self>,
        call: CallContext,
        task: Task,
    ) -> Result<Reply<RunOutput>, SourceError> {
        self.in_place()?;
        let threads = self.threads()?.clone();
        // Until what it changed is applied, where it applies that.
        let _at_work = threads.at_work(call.audit(), task.onto.sets.clone());
        let done = self.runs()?.run(&call, &task).await;
        match done {
            Ok(mut done) if task.applies && done.limit.is_some() => {
                done.warnings.push(HALF_DONE.into());
                told::<P>(&task.prompt, Ok(done))
            }
            Ok(done) if task.applies && call.is_cancelled() => {
                let stopped = done.id.map_or(RunError::Cancelled, RunError::Stopped);
                let (why, thread) = (Box::new(stopped), done.thread);
                Err((&RunError::begun(why, thread, false)).into())
            }
            Ok(done) if task.applies => self.apply_at_once(call, &task.prompt, done).await,
            done => told::<P>(&task.prompt, done),
        }
    }

    /// Applies what a run changed, in the call that its approval permits.
    async fn apply_at_once(
        self: Arc<Self>,
        call: CallContext,
        prompt: &str,
        done: Outcome,
    ) -> Result<Reply<RunOutput>, SourceError> {
        let id = call
            .audit()
            .ok_or_else(|| SourceError::internal("a commit without an event"))?
            .clone();
        let (set, this, event) = (done.id.clone(), self.clone(), id.clone());
        let thread = done.thread.clone();
        // The turn is over, and its thread has it: where nothing was applied the answer is the run's, with the reason.
        let at_once = on_file_thread(move || {
            let none = AtOnce {
                applied: Vec::new(),
                left: Vec::new(),
            };
            let Some(set) = set else {
                return Ok((none, None));
            };
            let folder = match this.in_place().and_then(|()| this.folder()) {
                Ok(folder) => folder,
                Err(error) => return Ok((none, Some(error.to_string()))),
            };
            match folder.apply_at_once(&set, &event, &|| call.is_over()) {
                Ok(at_once) => Ok((at_once, None)),
                Err(error @ (ApplyError::Partly { .. } | ApplyError::NotKept(_))) => {
                    Err(half_applied(&error, set, thread))
                }
                Err(error) => Ok((none, Some(error.to_string()))),
            }
        });
        let (AtOnce { applied, left }, why) = at_once.await?;
        let (changed, landed) = (files_in(&done.changes.files), files_in(&applied));
        let waiting = match why {
            Some(_) => changed,
            None => files_left(&done.changes.files, &left),
        };
        let used = used(done.usage, done.cost);
        let came = format!("; {used}{}", came_of(changed, landed, waiting));
        let summary = had_work::<P>(prompt, &came);
        let mut output = answer(done)?;
        let why = why.map(|why| format!("nothing was applied: {why}"));
        output.warnings.extend(why);
        output.applied = Some(AppliedAtOnce {
            files: landed,
            more: left.len().checked_sub(LISTED).filter(|more| *more > 0),
            left: left_out(left),
        });
        let reply =
            Reply::new(output, summary).touched(applied.iter().map(touched).collect::<Vec<_>>());
        Ok(match applied.is_empty() {
            true => reply,
            false => reply.undo(id.as_str()),
        })
    }

    /// What the program calls a model; none: it chooses.
    fn name_of(&self, model: &str) -> Option<String> {
        let named = self.model_names.get(model).map(String::as_str);
        let named = named.or(Some(model).filter(|model| *model != DEFAULT));
        named.map(str::to_owned)
    }

    fn model_words(&self, task: &Task) -> String {
        match &task.program_model {
            Some(_) => task.model.clone(),
            None => format!("the one that {} chooses", P::NAME),
        }
    }

    /// The folder below the source's that a caller names; none: the source's own.
    fn folder_in(&self, cwd: &str) -> Result<Option<RelPath>, SourceError> {
        let path = RelPath::parse(cwd.trim_end_matches('/'));
        let path = path.map_err(|error| SourceError::invalid(format!("cwd: {error}")))?;
        // A hidden one does not exist.
        match self.root.kind(&path) {
            Ok(Kind::Dir) => Ok(Some(path).filter(|path| !path.is_root())),
            Ok(Kind::File) | Err(FileError::NotFound(_) | FileError::NotADirectory(_)) => {
                Err((&RunError::NoFolder(path)).into())
            }
            Err(error) => Err(failed(&error.into())),
        }
    }

    /// Where a run works, as far as a plan can tell: a thread keeps the folder that it began in.
    fn works_in(&self, task: &Task) -> Result<Option<RelPath>, SourceError> {
        let Some(id) = task.thread.as_ref().filter(|_| task.cwd.is_none()) else {
            return Ok(task.cwd.clone());
        };
        let known = self.threads()?.get(id);
        let known = known.map_err(|error| failed(&error.into()))?;
        Ok(known.and_then(|thread| thread.cwd))
    }

    fn runs(&self) -> Result<&Runs<P>, SourceError> {
        self.runs.as_ref().ok_or_else(|| {
            SourceError::unavailable("this worker has nobody who would start programs")
        })
    }

    async fn list_changes(
        self: Arc<Self>,
        _: CallContext,
        _: NoInput,
    ) -> Result<Reply<ListOutput>, SourceError> {
        on_file_thread(move || {
            let sets = self.sets()?.newest(MOST_SETS);
            let (found, more) = sets.map_err(|error| failed(&error.into()))?;
            let FoundSets {
                mut sets,
                mut unread,
            } = found;
            let folder = self.folder()?;
            let history = folder.history();
            let history = history.map_err(|error| failed(&error.into()))?;
            let mut calls = BTreeMap::new();
            let (stored, hiding) = (self.sets()?, may_hide(&sets));
            // First of all: one that cannot be read takes none out of the list.
            sets.retain(|(id, _)| {
                let applied = folder.calls_of(id, &history);
                // No other one is read whole for a list.
                let applied = applied.and_then(|applied| match hiding.contains(id) {
                    true => stored.get(id).map(|_| applied),
                    false => Ok(applied),
                });
                match applied {
                    Ok(applied) => {
                        calls.insert(id.clone(), applied);
                        true
                    }
                    // Gone since it was listed.
                    Err(SetError::Unknown) => false,
                    // Its head alone can be read.
                    Err(error) => {
                        unread.push((id.clone(), error));
                        false
                    }
                }
            });
            keep_listed(&mut sets);
            let sets = sets.into_iter().map(|(id, head)| {
                let applied = calls.remove(&id).unwrap_or_default();
                ListedSet {
                    about: About::of(head.origin, head.omitted),
                    counts: head.counts,
                    first: head.first,
                    applied: applied.len(),
                    calls: applied.into_iter().collect(),
                    id,
                }
            });
            let unread = unread.into_iter().map(|(id, why)| UnreadSet {
                id,
                why: why.to_string(),
            });
            let output = ListOutput {
                sets: sets.collect(),
                unread: unread.collect(),
                more: Some(more).filter(|more| *more > 0),
            };
            let summary = format!("listed {} change sets", output.sets.len());
            Ok(Reply::new(output, summary))
        })
        .await
    }

    async fn changes(
        self: Arc<Self>,
        call: CallContext,
        input: ChangesInput,
    ) -> Result<Reply<ChangesOutput>, SourceError> {
        on_file_thread(move || {
            let sets = self.sets()?;
            let set = sets
                .get(&input.changes)
                .map_err(|error| failed(&error.into()))?;
            let wanted = |change: &&FileChange| {
                input
                    .path
                    .as_ref()
                    .is_none_or(|path| change.path.as_str() == path)
                    && input
                        .after
                        .as_ref()
                        .is_none_or(|after| change.path.as_str() > after.as_str())
            };
            if let Some(path) = &input.path {
                call.require(FIELD, path)?;
            }
            // What the owner hides now exists no more, whatever a run saw.
            let is_there =
                |path: &RelPath| !self.root.is_hidden(path) && call.allows(FIELD, path.as_str());
            let renamed = renames(&set.files);
            let mut history = None;
            let (mut files, mut next, mut length) = (Vec::<FileOutput>::new(), None, 0);
            for change in set.files.iter().filter(wanted) {
                if !is_there(&change.path) {
                    continue;
                }
                if call.is_over() {
                    return Err(SourceError::cancelled(Effect::None));
                }
                let content = |facts: &Option<FileFacts>| match facts {
                    None => Ok(None),
                    Some(facts) => sets.content(&input.changes, &facts.digest),
                };
                let sides = content(&change.before).and_then(|a| Ok((a, content(&change.after)?)));
                let (before, after) = sides.map_err(|error| failed(&error.into()))?;
                let from = renamed.get(&change.path).map(|from| &from.path);
                let from = from.filter(|from| is_there(from));
                let mut file = with_diff(change, from, before.as_deref(), after.as_deref());
                // A place that cannot be looked at is no longer as the run found it.
                let standing = self.folder()?.standing(change);
                let (state, runs) = standing.unwrap_or((Standing::Changed, None));
                (file.state, file.runs) = (Some(state), runs);
                if call.is_owners() && state == Standing::Changed {
                    if history.is_none() {
                        // A record that cannot be read leaves out this remark alone.
                        history = Some(self.folder()?.history().unwrap_or_default());
                    }
                    let calls = history.iter().flatten().rev();
                    let mut calls = calls.filter(|(_, applied)| applied.set == input.changes);
                    let last = calls.find_map(|(call, applied)| {
                        let mut files = applied.files.iter();
                        Some((call, files.find(|file| file.path == change.path)?.after))
                    });
                    file.applied = last
                        .filter(|(_, after)| *after == change.after)
                        .map(|(call, _)| call.clone());
                }
                if call.is_owners() && state == Standing::Changed && file.applied.is_none() {
                    let origin = set.origin.as_ref();
                    file.on = self.folder()?.builds_on(origin, &change.path);
                }
                if call.is_owners() && state == Standing::Changed && file.on.is_none() {
                    let (facts, was) = match file.applied {
                        Some(_) => (change.after, &after),
                        None => (change.before, &before),
                    };
                    let folder = self.folder()?;
                    let made = folder.meanwhile(&change.path, facts, was.as_deref());
                    file.shows_meanwhile(made.ok().flatten());
                }
                let texts = [&file.diff, &file.meanwhile];
                length += texts
                    .iter()
                    .filter_map(|text| Some(text.as_ref()?.len()))
                    .sum::<usize>();
                length += change.path.as_str().len() + 512;
                if length > LONGEST_ANSWER && !files.is_empty() {
                    next = files.last().map(|file| Next {
                        after: file.path.clone(),
                    });
                    break;
                }
                files.push(file);
            }
            let touched: Vec<_> = files
                .iter()
                .map(|file| Touched::read(KIND, file.path.as_str(), None))
                .collect();
            let summary = format!("showed changes to {}", counted(files.len(), "file"));
            let about = call.is_owners().then(|| {
                // The first stretch says it; the others need not read all sets again.
                let all = match input.after {
                    None => sets.all().unwrap_or_default().sets,
                    Some(_) => Vec::new(),
                };
                About {
                    superseded_by: superseding(&input.changes, &all).map(str::to_owned),
                    ..About::of(set.origin, set.omitted)
                }
            });
            let output = ChangesOutput {
                id: input.changes,
                about,
                files,
                next,
            };
            Ok(Reply::new(output, summary).touched(touched))
        })
        .await
    }

    async fn plan_drop(
        self: Arc<Self>,
        _: CallContext,
        input: DropInput,
    ) -> Result<Planned<String>, SourceError> {
        on_file_thread(move || {
            let id = input.changes;
            let planned = self.folder()?.plan_drop(&id);
            let head = planned.map_err(|error| failed(&error))?.head;
            let words = head.map_or_else(|| UNREAD.to_owned(), |head| head.words());
            let preview = Preview::new(format!("drops a change set for good: {words}"));
            // A change set is never changed.
            let token = Digest::of(id.as_bytes());
            let summary = format!("dropped the change set {id}");
            Ok(Planned::new(id, token, preview, summary))
        })
        .await
    }

    async fn commit_drop(
        self: Arc<Self>,
        call: CallContext,
        id: String,
    ) -> Result<Reply<DropOutput>, SourceError> {
        on_file_thread(move || {
            let event = call
                .audit()
                .ok_or_else(|| SourceError::internal("a commit without an event"))?;
            let folder = self.folder()?;
            let dropped = folder.carry_out_drop(&id, event, self.threads()?);
            let dropped = dropped.map_err(|error| failed(&error))?;
            let again = match &*dropped.again {
                [] => String::new(),
                [one] => format!("; {one} is in the list again"),
                [one, more @ ..] => {
                    format!("; {one} and {} more are in the list again", more.len())
                }
            };
            let counts = dropped.head.map(|head| head.counts.words());
            let counts = counts.unwrap_or_else(|| UNREAD.to_owned());
            let summary = format!("dropped the change set {id}: {counts}{again}");
            Ok(Reply::new(DropOutput { ok: true }, summary))
        })
        .await
    }

    async fn plan_apply(
        self: Arc<Self>,
        call: CallContext,
        input: ApplyInput,
    ) -> Result<Planned<Plan>, SourceError> {
        on_file_thread(move || {
            self.in_place()?;
            let folder = self.folder()?;
            let plan = folder.plan(&input.changes, input.paths.as_deref(), &|| call.is_over());
            let plan = plan.map_err(|error| match call.is_owners() {
                true => {
                    let paths = input.paths.as_deref();
                    failed(&folder.for_owner(&input.changes, paths, error))
                }
                false => failed(&error),
            })?;
            Ok(self.planned(plan, "applies a change set", "applied a change set"))
        })
        .await
    }

    async fn plan_undo(
        self: Arc<Self>,
        call: CallContext,
        input: UndoInput,
    ) -> Result<Planned<Plan>, SourceError> {
        on_file_thread(move || {
            self.in_place()?;
            let plan = self.folder()?.plan_undo(&input.id, &|| call.is_over());
            let plan = plan.map_err(|error| failed(&error))?;
            let (will, did) = ("takes applied changes back", "took applied changes back");
            Ok(self.planned(plan, will, did))
        })
        .await
    }

    async fn commit(
        self: Arc<Self>,
        call: CallContext,
        plan: Plan,
    ) -> Result<Reply<Applied>, SourceError> {
        on_file_thread(move || {
            self.in_place()?;
            let id = call
                .audit()
                .ok_or_else(|| SourceError::internal("a commit without an event"))?;
            let left = left_out(plan.left.clone());
            let takes_back = plan.takes_back;
            let files = self
                .folder()?
                .commit(plan, id)
                .map_err(|error| failed(&error))?;
            let touched: Vec<_> = files.iter().map(touched).collect();
            let changed = match takes_back {
                true => "took back its changes to",
                false => "changed",
            };
            let summary = format!("{changed} {}", counted(files_in(&files), "file"));
            let applied = outputs(&files).collect();
            let reply = Reply::new(
                Applied {
                    ok: true,
                    applied,
                    left,
                },
                summary,
            );
            Ok(reply.touched(touched).undo(id.as_str()))
        })
        .await
    }

    /// The card of an apply or of its undo: where, what for, and each file.
    fn planned(&self, plan: Plan, will: &str, did: &str) -> Planned<Plan> {
        let counts = Counts::of(plan.files()).words();
        let mut preview =
            Preview::new(format!("{will}: {counts}")).fact("folder", self.path.to_string_lossy());
        let head = self
            .sets
            .as_ref()
            .and_then(|sets| sets.head(&plan.set).ok());
        let origin = head.and_then(|head| head.origin);
        // An undo leaves nothing half done that the apply did not.
        let unfinished =
            !plan.takes_back && origin.as_ref().is_some_and(|origin| origin.unfinished);
        if let Some(origin) = origin
            && !origin.prompt.is_empty()
        {
            // Each change set of a conversation has what the turns before it changed.
            let whose = match origin.conversation {
                Some(_) => "prompt of its last turn",
                None => "prompt of its run",
            };
            preview = preview.fact(whose, title_of(&origin.prompt));
        }
        let all = self.sets.as_ref().filter(|_| !plan.takes_back);
        let all = all.and_then(|sets| sets.all().ok()).unwrap_or_default();
        // A warning, because it stands wherever a plan is shown; a fact does not beside a difference.
        let later = superseding(&plan.set, &all.sets).map(|later| {
            format!("Superseded by {later}, which goes on from it: plexusctl changes {later}")
        });
        for file in plan.files() {
            preview = preview.fact("file", file.path.as_str());
        }
        for (path, why) in plan.left.iter().take(MOST_WARNINGS) {
            preview = preview.fact("leaves as it is", format!("{path}: {why}"));
        }
        if let Some(more) = plan
            .left
            .len()
            .checked_sub(MOST_WARNINGS)
            .filter(|more| *more > 0)
        {
            preview = preview.fact("leaves as they are", format!("{more} more files"));
        }
        let mut preview = preview.diff(&plan.diff);
        preview.cut |= plan.cut;
        let all: Vec<_> = plan.files().map(touched).collect();
        let token = Digest(*plan.token.as_bytes());
        let runs = plan.runs.clone();
        let mut planned =
            Planned::new(plan, token, preview, format!("{did}: {counts}")).touched(all);
        if let Some(later) = later {
            planned = planned.warning(later);
        }
        if unfinished {
            planned = planned.warning(UNFINISHED);
        }
        for (path, why) in runs.iter().take(MOST_WARNINGS) {
            planned = planned.warning(format!("This amounts to running code: {path}, {why}."));
        }
        planned.rating(match runs.is_empty() {
            true => Verb::Write,
            false => Verb::Execute,
        })
    }

    fn sets(&self) -> Result<&Sets, SourceError> {
        self.sets.as_ref().ok_or_else(nothing_kept)
    }

    pub(crate) fn threads(&self) -> Result<&Arc<Threads>, SourceError> {
        self.threads.as_ref().ok_or_else(nothing_kept)
    }

    fn folder(&self) -> Result<&Folder, SourceError> {
        self.folder.as_ref().ok_or_else(nothing_kept)
    }
}

/// The words of a field that separates them by commas.
fn listed(field: &str) -> impl Iterator<Item = String> {
    let words = field.split(',').map(str::trim);
    words.filter(|word| !word.is_empty()).map(str::to_owned)
}

/// The first of what stays as it is.
fn left_out(left: Vec<(RelPath, String)>) -> Vec<LeftOut> {
    let listed = left.into_iter().take(LISTED);
    listed.map(|(path, why)| LeftOut { path, why }).collect()
}

fn nothing_kept() -> SourceError {
    SourceError::transport("not_kept", "this worker keeps nothing")
}

fn touched(change: &FileChange) -> Touched {
    let digest = change.after.map(|after| Digest(*after.digest.as_bytes()));
    Touched::write(KIND, change.path.as_str(), digest)
}

/// `had Codex work on a copy: “Fix the typo”` and then `came`, which no long prompt cuts off.
fn had_work<P: Program>(prompt: &str, came: &str) -> String {
    let before = format!("had {} work on a copy: “", P::NAME);
    let room = MAX_SUMMARY.saturating_sub(before.len() + came.len() + "…”".len());
    let mut title = title_of(prompt);
    if title.len() > room {
        title.truncate(title.floor_char_boundary(room));
        title.push('…');
    }
    format!("{before}{title}”{came}")
}

/// `3150 tokens, 0.0125 US dollars; `: what a turn used, as far as its program says so.
fn used(usage: Usage, cost: Option<f64>) -> String {
    let tokens = Some(usage.total()).filter(|tokens| *tokens > 0);
    let tokens = tokens.map(|tokens| counted(tokens, "token"));
    let cost = cost.map(|cost| format!("{cost:.4} US dollars"));
    let used: Vec<_> = tokens.into_iter().chain(cost).collect();
    match used.is_empty() {
        true => String::new(),
        false => format!("{}; ", used.join(", ")),
    }
}

/// How many files these changes are of; one that only got another name is one.
fn files_in(changes: &[FileChange]) -> usize {
    Counts::of(changes).files()
}

/// The same of those that were left out.
fn files_left(changes: &[FileChange], left: &[(RelPath, String)]) -> usize {
    let left: BTreeSet<_> = left.iter().map(|(path, _)| path).collect();
    let changes = changes.iter().filter(|file| left.contains(&file.path));
    Counts::of(changes).files()
}

/// How far the files came that a run with `mode=direct` changed. Those in the folder come last: their names follow.
fn came_of(changed: usize, applied: usize, waiting: usize) -> String {
    let files = |count| counted(count, "file");
    match (applied, waiting) {
        (0, 0) => format!("{} changed", files(changed)),
        (applied, 0) => format!("changed {} in the folder itself", files(applied)),
        (0, waiting) => format!("applied none, left {} in the change set", files(waiting)),
        (applied, waiting) => format!(
            "left {} in the change set, changed {} in the folder itself",
            files(waiting),
            files(applied)
        ),
    }
}

/// The answer to a turn.
fn told<P: Program>(
    prompt: &str,
    done: Result<Outcome, RunError>,
) -> Result<Reply<RunOutput>, SourceError> {
    let done = done.map_err(|error| SourceError::from(&error))?;
    let limit = done
        .limit
        .map(|limit| format!(", ended at its {}", limit.name()));
    let set = done.id.as_ref().map(|id| format!(": {id}"));
    let came = format!(
        "{}; {}{} changed{}",
        limit.unwrap_or_default(),
        used(done.usage, done.cost),
        counted(files_in(&done.changes.files), "file"),
        set.unwrap_or_default()
    );
    let summary = had_work::<P>(prompt, &came);
    Ok(Reply::new(answer(done)?, summary))
}

fn answer(done: Outcome) -> Result<RunOutput, SourceError> {
    let ChangeSet { files, omitted, .. } = &done.changes;
    let digest = done.id.as_ref().map(|_| done.changes.digest());
    let changes = Changes {
        digest: digest.transpose().map_err(|error| failed(&error.into()))?,
        counts: Counts::of(files),
        omitted: *omitted,
        files: outputs(files).take(LISTED).collect(),
        more: files.len().checked_sub(LISTED).filter(|more| *more > 0),
        id: done.id,
    };
    Ok(RunOutput {
        thread: done.thread,
        text: done.text,
        usage: done.usage,
        cost: done.cost,
        limit: done.limit,
        changes,
        more_calls: done
            .calls
            .len()
            .checked_sub(LISTED)
            .filter(|more| *more > 0),
        calls: done
            .calls
            .into_iter()
            .take(LISTED)
            .map(|call| CallView {
                id: call.id,
                name: call.name,
            })
            .collect(),
        applied: None,
        warnings: done.warnings,
    })
}

impl FileOutput {
    fn shows_meanwhile(&mut self, made: Option<Change>) {
        if let Some(made) = made {
            self.meanwhile_cut = made.is_cut.then_some(true);
            // Its mode alone, where nothing differs.
            self.meanwhile = made.diff.filter(|diff| !diff.is_empty());
        }
    }
}

fn outputs(files: &[FileChange]) -> impl Iterator<Item = FileOutput> {
    let renamed = renames(files);
    let from = move |change: &FileChange| renamed.get(&change.path).map(|from| &from.path);
    files.iter().map(move |change| output(change, from(change)))
}

fn output(change: &FileChange, from: Option<&RelPath>) -> FileOutput {
    let side = |facts: FileFacts| Side {
        digest: facts.digest,
        bytes: facts.bytes,
    };
    let is_mode = change.kind() == ChangeKind::Mode;
    FileOutput {
        path: change.path.clone(),
        kind: change.kind(),
        from: from.cloned(),
        before: change.before.map(side),
        after: change.after.map(side),
        executable: change
            .after
            .map(|after| after.executable)
            .filter(|on| *on || is_mode),
        diff: None,
        cut: None,
        meanwhile: None,
        meanwhile_cut: None,
        applied: None,
        state: None,
        on: None,
        runs: None,
    }
}

fn with_diff(
    change: &FileChange,
    from: Option<&RelPath>,
    before: Option<&[u8]>,
    after: Option<&[u8]>,
) -> FileOutput {
    let mut file = output(change, from);
    // What was there when the run began may have changed before it ended; then nobody can say.
    let is_whole =
        before.is_some() == change.before.is_some() && after.is_some() == change.after.is_some();
    if is_whole && change.kind() != ChangeKind::Mode {
        let shown = Change::between(&change.path, before, after, ("", ""));
        file.diff = shown.diff;
        file.cut = shown.is_cut.then_some(true);
    }
    file
}

fn failed(error: &ApplyError) -> SourceError {
    let words = error.to_string();
    match error {
        ApplyError::Set(SetError::Unknown) => SourceError::transport("not_found", words),
        ApplyError::NotInSet(_) | ApplyError::Nothing | ApplyError::InPlaceOf { .. } => {
            SourceError::invalid(words)
        }
        // The same call would be refused again: the words say which other one helps.
        ApplyError::Changed(_) | ApplyError::ChangedBy { .. } | ApplyError::BuildsOn { .. } => {
            SourceError::changed("outdated", words)
        }
        ApplyError::ChangedSince { .. } => SourceError::changed("changed_since", words),
        ApplyError::AlreadyApplied(_) | ApplyError::IsApplied(_) | ApplyError::WasApplied => {
            SourceError::changed("already_applied", words)
        }
        ApplyError::IsBuiltOn(_) | ApplyError::PerhapsBuiltOn(_) => {
            SourceError::changed("conflict", words)
        }
        ApplyError::InUse(_) => SourceError::changed("busy", words),
        ApplyError::AlreadyUndone => SourceError::changed(ALREADY_UNDONE.0, words),
        ApplyError::NotUndoable => SourceError::transport("not_undoable", words),
        ApplyError::TooMuch | ApplyError::NotShown(_) => SourceError::transport("too_large", words),
        ApplyError::Hidden(_) => SourceError::transport("hidden", words),
        ApplyError::Over => SourceError::cancelled(Effect::None),
        ApplyError::NotKept(_) => SourceError::transport("io", words).effect(Effect::Done),
        ApplyError::NotSynced(_) => SourceError::transport("io", words).effect(Effect::Unknown),
        ApplyError::Partly { done: 0, .. } => SourceError::transport("io", words),
        ApplyError::Partly { .. } => SourceError::transport("io", words).effect(Effect::Partial),
        ApplyError::File(FileError::Permission(_)) => SourceError::denied(words),
        ApplyError::File(file) => SourceError::transport(file.reason(), words),
        ApplyError::Set(_) | ApplyError::Io(_) => SourceError::transport("io", words),
    }
}

/// Why a run that applies at once stopped in the middle of that, with the change set that has all of it, and its thread.
fn half_applied(error: &ApplyError, set: String, thread: String) -> SourceError {
    let why = Box::new(RunError::Host(failed(error)));
    let why = Box::new(RunError::Failed { why, set });
    (&RunError::begun(why, thread, false)).into()
}

fn open_error(error: &FileError) -> OpenError {
    match error {
        FileError::NotFound(_) => OpenError::unavailable("the folder is not there"),
        FileError::NotADirectory(_) => OpenError::config("the path is not a folder"),
        FileError::Permission(_) => OpenError::denied("the folder"),
        other => OpenError::internal(format!("the folder cannot be opened: {other}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_applied_run_names_its_change_set() {
        let partly = ApplyError::Partly {
            path: RelPath::parse("b.txt").unwrap(),
            why: "no".to_owned(),
            done: 1,
            all: 2,
        };
        let told = half_applied(&partly, "cs_1".to_owned(), "t1".to_owned());
        assert_eq!(told.effect, Effect::Partial);
        let detail = serde_json::json!({"changes": "cs_1", "thread": "t1"});
        assert_eq!(told.detail, Some(detail));
        let words = "the change set cs_1: b.txt could not be changed: no; 1 of 2 files are changed";
        assert!(told.message.to_string().contains(words), "{told:?}");
    }

    #[test]
    fn renamed_file_counts_as_one() {
        let side = |text: &str| FileFacts {
            digest: FileDigest::of(text.as_bytes()),
            bytes: text.len() as u64,
            executable: false,
        };
        let change = |path: &str, before: Option<FileFacts>, after: Option<FileFacts>| FileChange {
            path: RelPath::parse(path).unwrap(),
            before,
            after,
        };
        let files = [
            change("edited", Some(side("1")), Some(side("2"))),
            change("new", None, Some(side("same"))),
            change("old", Some(side("same")), None),
        ];
        assert_eq!(files_in(&files), 2);
        let left = |paths: &[&str]| {
            let left = paths.iter().map(|path| RelPath::parse(path).unwrap());
            let left: Vec<_> = left.map(|path| (path, String::new())).collect();
            files_left(&files, &left)
        };
        assert_eq!(
            [left(&["new", "old"]), left(&["new"]), left(&[])],
            [1, 1, 0]
        );
    }
}
