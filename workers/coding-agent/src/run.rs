//! One run: a copy of the folder, one turn of a coding agent on it in a cage of its own, and what that changed.
//!
//! ```text
//! copy ─▶ turn ─┬▶ completed ─▶ every process has ended ─▶ change set, the copy goes
//!               ├▶ failed, or the agent went without a word ─▶ an error that names the change set of what it did until then
//!               ├▶ beyond its tokens or its time ─▶ interrupted, then ended ─▶ change set of what it did until then
//!               └▶ cancelled ─▶ interrupted, then ended ─▶ an error that names the change set of what it did until then
//! ```
//! Invariants: the folder itself is only read; the key of the model server never comes here: the agent has a credential that
//! opens the source's egress for its call and nothing else.
//!
//! Must not know: how a change set is applied, agents, grants.

mod conversation;

use crate::{
    ModelServer, NamedValues, Program, ToolCall,
    change_set::{ChangeSet, Limit, Origin, SetError, Sets},
    credential::without_credentials,
    host::{Asker, HostTools, Waiting},
    ignored::Ignoring,
    onto::{Onto, OntoError},
    sessions::{ThreadFolder, caller},
    snapshot::{MOST_IGNORED, Snapshot, SnapshotError, empty_folder, tidy},
    threads::{Thread, Threads, title_of},
};
use plexus_agent_lines::{Turn, TurnEnd, TurnProgress, Usage};
use plexus_ipc::message::Failure;
use plexus_ipc::worker::{
    CallContext, EGRESS_CREDENTIAL, SourceError,
    children::{Child, ChildError, Children, Ending, KEEP_FREE, PIPES},
    on_file_thread,
};
use plexus_protocol::{Effect, Timestamp};
use plexus_rooted_files::{FileError, MOST_NAMED, Policy, RelPath, Root};
use serde_json::json;
use std::{
    fmt, fs, io,
    marker::PhantomData,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};
use tokio::{
    io::AsyncReadExt as _,
    sync::OwnedMutexGuard,
    time::{Instant, sleep, sleep_until, timeout},
};
use uuid::Uuid;

/// What a turn says that ended without a word of its model server.
const NO_ANSWER: &str = "no answer of the model server was counted by then; tell the owner to look at it if that happens again";
/// Time of a call that is kept for what comes after the turn.
const RESERVE: Duration = Duration::from_secs(120);
/// How long an interrupted agent has to end by itself.
const GRACE: Duration = Duration::from_secs(5);
/// The same where its worker is to end, which waits 4 s for the answer, with a change set.
const STOP_GRACE: Duration = Duration::from_secs(2);
/// Of what an agent says on standard error, the end that is kept, in bytes.
const LAST_WORDS: usize = 2048;
/// Most calls of a turn that are events.
const MOST_CALLS: usize = 500;
/// How long a program may take to say its version, and most of it, in bytes.
const VERSION_WITHIN: Duration = Duration::from_secs(10);
const LONGEST_VERSION: u64 = 100;
/// Characters of a prompt that a change set remembers.
const PROMPT_KEPT: usize = 1000;
/// How long the folder of a run that nobody goes on with is kept.
const KEPT: Duration = Duration::from_secs(7 * 24 * 3600);

/// What runs are made with.
#[derive(Debug)]
pub(crate) struct Runs<P> {
    /// The folder that is copied, with what it hides.
    pub(crate) root: Arc<Root>,
    pub(crate) ignoring: Arc<Ignoring>,
    /// Where the keeper has the folders of the runs.
    pub(crate) dir: PathBuf,
    pub(crate) children: Children,
    pub(crate) model: ModelServer,
    pub(crate) sets: Sets,
    pub(crate) threads: Arc<Threads>,
    pub(crate) waiting: Arc<Waiting>,
    /// The source's id, for words that name a command.
    pub(crate) source: String,
    pub(crate) program: PhantomData<P>,
}

/// What is asked of a coding agent.
#[derive(Clone, Debug)]
pub struct Task {
    /// In the caller's words.
    pub prompt: String,
    /// One that the owner allows.
    pub model: String,
    /// What its program calls that; none: the program chooses.
    pub program_model: Option<String>,
    /// Whether the caller named the model.
    pub(crate) names_model: bool,
    /// The conversation to go on with.
    pub thread: Option<String>,
    /// The folder of the copy that it works in; none: the copy itself, or the folder of the thread.
    pub(crate) cwd: Option<RelPath>,
    /// Most tokens of the turn.
    pub(crate) max_tokens: Option<u64>,
    /// Most that the turn may cost, in US dollars.
    pub max_cost: Option<f64>,
    /// Most answers of the model.
    pub max_turns: Option<u32>,
    /// Most seconds of the turn; none: what its call leaves.
    pub(crate) max_seconds: Option<u64>,
    /// The program's own tools that it may use; none: those that it usually may.
    pub allowed_tools: Option<Vec<String>>,
    /// Whether its approval is one for applying what it changes too.
    pub(crate) applies: bool,
    /// What earlier runs changed that the copy begins with.
    pub(crate) onto: Onto,
}

/// What a run came to.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) thread: String,
    pub(crate) text: String,
    pub(crate) usage: Usage,
    /// In US dollars, where the agent says so.
    pub(crate) cost: Option<f64>,
    /// The limit that ended it before its answer was whole.
    pub(crate) limit: Option<Limit>,
    /// With its id, where anything changed.
    pub(crate) changes: ChangeSet,
    pub(crate) id: Option<String>,
    /// What the agent's own record says of its calls.
    pub(crate) calls: Vec<ToolCall>,
    pub(crate) warnings: Vec<String>,
}

/// Why a run came to nothing. The folder is as it was.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RunError {
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    #[error(transparent)]
    Set(#[from] SetError),
    #[error(transparent)]
    Onto(#[from] OntoError),
    #[error("it could not be started: {0}")]
    Child(#[from] ChildError),
    #[error("the files of the run: {0}")]
    Io(#[from] io::Error),
    /// In the agent's words.
    #[error("the turn failed: {0}")]
    Turn(String),
    /// With the end of its standard error, and with its version.
    #[error(
        "it ended without an answer ({how}){words}; {version}; repeat the call, and where it ends so again tell the owner to look at the source's program"
    )]
    Silent {
        /// Something killed it that was not its run's limit or its caller.
        killed: bool,
        how: String,
        words: String,
        version: String,
    },
    /// Of a run with the key that is a secret of this source.
    #[error(
        "the model server does not accept the key (401); tell the owner to set it anew: plexusctl sources secret {0} key"
    )]
    Key(String),
    /// Of a run with a copy of the owner's sign-in.
    #[error(
        "the model server does not accept the owner's sign-in (401); tell the owner to start the program once, which renews it, or to sign in again"
    )]
    SignIn,
    #[error(
        "the time of the run was over before its program began; repeat the call, and tell the owner if it happens again"
    )]
    OutOfTime,
    #[error("the run was ended: its processes {0}; ask for less at once")]
    OverLimit(&'static str),
    #[error(
        "the run was ended: it filled more of the disk than the source's field disk allows; its copy and its thread are gone"
    )]
    OverDisk,
    #[error(
        "the run was ended: less than {} MiB of the disk of Plexus' folder are free; its copy and its thread are gone. Free some, and repeat the call",
        KEEP_FREE >> 20
    )]
    DiskFull,
    #[error("it did not take up the tools that the owner granted to it")]
    NoTools,
    #[error(transparent)]
    Host(#[from] SourceError),
    #[error(
        "there is no folder {0} to work in: name one that the source's folder has and does not ignore"
    )]
    NoFolder(RelPath),
    #[error("this thread works in {0}: repeat the call without cwd, or begin a new thread")]
    OtherFolder(String),
    #[error("it went on with a thread that is not its own")]
    OtherThread,
    #[error("this thread belongs to a conversation, whose copy no other run works on")]
    InConversation,
    #[error("there is no such conversation any more; ask for a new one, without a thread")]
    NoConversation,
    #[error("the first turn of this conversation never began; ask for a new conversation")]
    NotBegun,
    /// The thread of the turn is known, and another one can go on with it.
    #[error("{why}; {next}")]
    Begun {
        why: Box<RunError>,
        thread: String,
        /// How to go on.
        next: String,
    },
    /// The turn had begun.
    #[error("{0}; its thread has the message, and its next turn goes on from there")]
    CutOff(Box<RunError>),
    /// The turn had begun, and its thread is gone.
    #[error(transparent)]
    ThreadGone(Box<RunError>),
    #[error("cancelled")]
    Cancelled,
    /// Cancelled, with the change set of what it did until then.
    #[error("what it did until then is in the change set {0}")]
    Stopped(String),
    /// The same of a turn that failed.
    #[error("{}", until_then(.set, .why))]
    Failed { why: Box<RunError>, set: String },
    #[error("{0}")]
    FileThread(String),
}

/// Why a turn failed that left a change set. The set comes first: a message that is too long is cut at its end.
fn until_then(set: &str, why: &dyn fmt::Display) -> String {
    format!("what it did until then is in the change set {set}: {why}")
}

/// Why a turn was interrupted.
#[derive(Clone, Copy, PartialEq)]
enum Stop {
    Cancelled,
    OutOfTime,
    Spent,
}

/// Where a turn is at work, and for whom.
#[derive(Clone, Copy)]
struct TurnContext<'a> {
    /// The name of its run's folder.
    run: &'a str,
    /// The folder of its copy that it works in; none: the copy itself.
    cwd: Option<&'a RelPath>,
    /// The agent whose it is; none: the owner's own.
    agent: Option<&'a str>,
    /// What its change set counts from beyond the folder, and what it was asked.
    onto: &'a Onto,
    prompt: &'a str,
}

/// What is left of a turn when all its processes have ended.
struct EndedTurn {
    turn: Turn,
    ending: Ending,
    stop: Option<Stop>,
    /// What its thread, or the turn alone, is known to have used.
    used: Usage,
    last_words: String,
}

/// A turn that was asked for.
struct Spoken {
    ended: EndedTurn,
    /// The thread that it went on with.
    began: Option<Thread>,
    /// Where the agent's record of that thread ended before.
    from: u64,
}

impl<P: Program> Runs<P> {
    /// Carries one run out.
    pub(crate) async fn run(&self, call: &CallContext, task: &Task) -> Result<Outcome, RunError> {
        let mut warnings = Vec::new();
        let agent = caller(call).await?;
        let mut known = self.known(task, agent.as_deref())?;
        if task.thread.is_some() && known.is_none() {
            warnings
                .push("this source has no such thread any more; the run began a new one".into());
        }
        let run = known
            .as_ref()
            .map_or_else(|| fresh_name(call), |thread| thread.run.clone());
        if conversation::has(&run) {
            return Err(RunError::InConversation);
        }
        let alone = self.turn_alone(call, &run).await?;
        // The turn before this one has used more.
        if known.is_some() {
            known = self.known(task, agent.as_deref())?;
        }
        let cwd = cwd_of(task, known.as_ref())?;
        let copy = self.dir.join(&run).join("root");
        let mut before = self.copy(call, copy.clone()).await?;
        if !task.onto.sets.is_empty() {
            let of = agent.clone();
            (before, warnings) = self
                .begin_onto((call, task), of, copy.clone(), before, warnings)
                .await?;
        }
        if let Some(cwd) = &cwd
            && !copy.join(cwd.as_str()).is_dir()
        {
            return Err(RunError::NoFolder(cwd.clone()));
        }
        warnings.extend(words_on(&before));
        prepare_home(&self.home(&run), P::SETTINGS)?;
        if call.is_cancelled() {
            return Err(RunError::Cancelled);
        }

        let place = TurnContext {
            run: &run,
            cwd: cwd.as_ref(),
            agent: agent.as_deref(),
            onto: &task.onto,
            prompt: &task.prompt,
        };
        let goes_on = known.is_some();
        if goes_on {
            self.threads.note_turn(call.audit())?;
        }
        let mut is_kept = false;
        let turn = async {
            let spoken = self.speak(call, task, place, known, &mut warnings).await?;
            let made = (copy, before, false);
            self.outcome(call, spoken, place, made, (warnings, &mut is_kept))
                .await
        };
        let done = turn.await;
        self.let_go(call, &run, is_kept, alone).await;
        done.map_err(|error| match goes_on {
            true => error.cut_off(),
            false => error,
        })
    }

    /// Removes the copy of a run that has ended, or tidies one that stays. A call that was cancelled is answered meanwhile:
    /// at a stop there is little time. The folder is `alone` until then.
    async fn let_go(&self, call: &CallContext, run: &str, goes: bool, alone: OwnedMutexGuard<()>) {
        let copy = self.dir.join(run).join("root");
        let let_go = on_file_thread(move || {
            let _alone = alone;
            let gone = match goes {
                true => empty_folder(&copy),
                false => {
                    tidy(&copy);
                    Ok(())
                }
            };
            gone.map_err(|error| SourceError::transport("io", error.to_string()))
        });
        let let_go = async move {
            if let Err(error) = let_go.await {
                tracing::warn!(%error, "the copy of a run cannot be let go of");
            }
        };
        tokio::select! {
            _ = tokio::spawn(let_go) => {}
            () = call.cancelled() => {}
        }
    }

    /// Waits until no other turn uses the folder of a run; none does while what comes back lasts.
    async fn turn_alone(
        &self,
        call: &CallContext,
        run: &str,
    ) -> Result<OwnedMutexGuard<()>, RunError> {
        tokio::select! {
            turn = self.threads.turn(run) => Ok(turn),
            () = call.cancelled() => Err(RunError::Cancelled),
            () = sleep(call.remaining().saturating_sub(RESERVE)) => Err(RunError::OutOfTime),
        }
    }

    /// One turn of a thread, or of a new one where the agent has that thread no more.
    async fn speak(
        &self,
        call: &CallContext,
        task: &Task,
        place: TurnContext<'_>,
        known: Option<Thread>,
        warnings: &mut Vec<String>,
    ) -> Result<Spoken, RunError> {
        let from = self.recorded_end(known.as_ref()).await?;
        let ended = self.turn(call, task, place, known.as_ref()).await?;
        let unheard = ended.stop.is_none() && ended.turn.thread().is_none();
        if known.is_none() || !unheard || !ended.last_words.contains(P::NO_THREAD) {
            let began = known;
            return Ok(Spoken { ended, began, from });
        }
        warnings.push(format!(
            "{} has this thread no more; the run began a new one",
            P::NAME
        ));
        Ok(Spoken {
            ended: self.turn(call, task, place, None).await?,
            began: None,
            from: 0,
        })
    }

    /// The outcome of a turn that has ended; its thread is written down, and noted whether what it changed is kept.
    async fn outcome(
        &self,
        call: &CallContext,
        spoken: Spoken,
        place: TurnContext<'_>,
        (copy, before, goes_on): (PathBuf, Snapshot, bool),
        (mut warnings, is_kept): (Vec<String>, &mut bool),
    ) -> Result<Outcome, RunError> {
        let Spoken { ended, began, from } = spoken;
        let TurnContext {
            run, cwd, agent, ..
        } = place;
        // The keeper has removed all that the run had.
        if let Ending::TooMuchDisk | Ending::DiskFull = ended.ending {
            return Err(self.failure(ended).await);
        }
        let mut origin = Origin {
            agent: agent.map(str::to_owned),
            made: now(),
            conversation: goes_on.then(|| run.to_owned()),
            call: call.audit().cloned(),
            prompt: place.prompt.chars().take(PROMPT_KEPT).collect(),
            onto: place.onto.clone(),
            unfinished: !matches!(ended.turn.end, Some(TurnEnd::Completed(_))),
            limit: None,
        };
        let Some(thread) = ended.turn.thread().map(str::to_owned) else {
            let why = self.no_answer(ended).await;
            let made = (copy, before, origin);
            return Err(self.half_done(call, why, made, is_kept).await);
        };
        let total = match (&ended.turn.end, ended.stop) {
            (
                Some(TurnEnd::Completed(total) | TurnEnd::TooDear(total) | TurnEnd::TooLong(total)),
                _,
            ) => *total,
            (_, Some(Stop::Spent)) => ended.used,
            _ => self.used(run, &thread, ended.turn.used).await,
        };
        let earlier = began
            .as_ref()
            .filter(|began| P::COUNTS_THREADS && began.id == thread);
        let usage = total.since(earlier.map(|began| began.usage).unwrap_or_default());
        let since = began.as_ref().map(|began| began.began);
        let noted = Thread {
            id: thread.clone(),
            run: run.to_owned(),
            cwd: cwd.cloned(),
            title: began.map_or_else(|| title_of(place.prompt), |began| began.title),
            usage: total,
            agent: agent.map(str::to_owned),
            began: since.unwrap_or_else(now),
            last: now(),
        };
        let limit = match (&ended.turn.end, ended.stop) {
            (Some(TurnEnd::Completed(_)), _) => None,
            (Some(TurnEnd::TooDear(_)), _) => Some(Limit::Cost),
            (Some(TurnEnd::TooLong(_)), _) => Some(Limit::Turns),
            (_, Some(Stop::Spent)) => Some(Limit::Tokens),
            (_, Some(Stop::OutOfTime)) => Some(Limit::Seconds),
            _ => {
                let (why, made) = (self.no_answer(ended).await, (copy, before, origin));
                let why = Box::new(self.half_done(call, why, made, is_kept).await);
                return Err(match self.threads.put(&noted) {
                    Ok(()) => RunError::begun(why, thread, conversation::has(run)),
                    Err(error) => {
                        tracing::warn!(%error, "the thread of an unfinished run is not kept");
                        *why
                    }
                });
            }
        };
        origin.limit = limit;
        warnings.extend(limit.map(Limit::words));
        if limit == Some(Limit::Seconds) && usage.total() == 0 {
            warnings.push(NO_ANSWER.into());
        }
        let calls = self.recorded(call, run, &thread, from).await?;
        self.threads.put(&noted)?;
        let (changes, id, lacks) = self.changes(call, copy, before, origin).await?;
        *is_kept = true;
        warnings.extend(lacks);
        let said = ended.turn.warnings.iter();
        warnings.extend(said.map(|said| without_credentials(said)));
        Ok(Outcome {
            thread,
            text: without_credentials(ended.turn.text.trim_end()),
            usage,
            cost: ended.turn.cost,
            limit,
            changes,
            id,
            calls,
            warnings,
        })
    }

    /// Why there is no answer, with the change set of what the run did until then, where it changed anything.
    async fn half_done(
        &self,
        call: &CallContext,
        why: RunError,
        (copy, before, origin): (PathBuf, Snapshot, Origin),
        is_kept: &mut bool,
    ) -> RunError {
        let kept = self.changes(call, copy, before, origin).await;
        *is_kept = kept.is_ok();
        let kept = kept.inspect_err(|error| {
            tracing::warn!(%error, "what an unfinished run did is not kept");
        });
        match (kept.ok().and_then(|(_, id, _)| id), why) {
            (None, why) => why,
            (Some(set), RunError::Cancelled) => RunError::Stopped(set),
            (Some(set), why) => RunError::Failed {
                why: Box::new(why),
                set,
            },
        }
    }

    /// Why there is no answer.
    async fn no_answer(&self, ended: EndedTurn) -> RunError {
        match ended.stop {
            Some(Stop::Cancelled) => RunError::Cancelled,
            _ => self.failure(ended).await,
        }
    }

    /// The same of a turn that nobody cancelled.
    async fn failure(&self, ended: EndedTurn) -> RunError {
        match ended.failure(self.versions()).await {
            // It may have tried to renew what it has, which no run can.
            RunError::Turn(why)
                if self.model.signs_in
                    && (is_unauthorized(&why) || why.contains("/oauth/token")) =>
            {
                RunError::SignIn
            }
            RunError::Turn(why) if is_unauthorized(&why) => RunError::Key(self.source.clone()),
            error => error,
        }
    }

    /// Which version Plexus knows, and which one the program says it is.
    async fn versions(&self) -> String {
        let version = timeout(VERSION_WITHIN, self.version()).await;
        let version = version.ok().and_then(Result::ok).unwrap_or_default();
        let found = match version.lines().next().map(str::trim) {
            None | Some("") => "does not say its version".to_owned(),
            Some(line) => format!("says {line:?}"),
        };
        let (name, tried) = (P::NAME, P::VERSION);
        let is_known = version
            .split(|c: char| c.is_whitespace() || c == 'v')
            .any(|word| word == tried);
        match is_known {
            true => format!("it is {name} {tried}, which Plexus knows"),
            false => format!("Plexus knows {name} {tried}, and this program {found}"),
        }
    }

    /// What the program says of its version, in the sandbox of a run.
    async fn version(&self) -> Result<String, RunError> {
        let run = format!("version-{}", Uuid::new_v4());
        let mut child = self.children.start("version", &run, &[], &[]).await?;
        let mut said = Vec::new();
        if let Some(output) = child.stdout.take() {
            output.take(LONGEST_VERSION).read_to_end(&mut said).await?;
        }
        Ok(String::from_utf8_lossy(&said).into_owned())
    }

    /// Removes the folders of runs that nobody went on with. For a writer that starts.
    pub(crate) fn prune(dir: &Path) -> io::Result<()> {
        let mut failed = None;
        for entry in fs::read_dir(dir)? {
            let entry = entry?;
            let name = entry.file_name();
            let is_run = name
                .to_str()
                .is_some_and(|name| name.starts_with("evt-") || conversation::has(name));
            // Of the folder itself, which no run can write to; each turn makes a new copy in it.
            let used = entry.metadata().and_then(|meta| meta.modified())?;
            // A clock that was set back makes nothing old.
            let age = SystemTime::now().duration_since(used).unwrap_or_default();
            if is_run && age >= KEPT {
                let removed = fs::remove_dir_all(entry.path());
                failed = failed.or(removed.err());
            }
        }
        failed.map_or(Ok(()), Err)
    }

    /// The thread to go on with, where it is the caller's.
    fn known(&self, task: &Task, agent: Option<&str>) -> io::Result<Option<Thread>> {
        let known = match &task.thread {
            Some(id) => self.threads.get(id)?,
            None => None,
        };
        Ok(known.filter(|known| known.agent.as_deref() == agent))
    }

    /// Where the agent's record of a thread ends.
    async fn recorded_end(&self, thread: Option<&Thread>) -> Result<u64, RunError> {
        let Some(thread) = thread else { return Ok(0) };
        let (id, path) = (thread.id.clone(), self.threads.scratch_of(&thread.run));
        let end = on_file_thread(move || {
            let folder = ThreadFolder::open(&id, path);
            Ok(folder.map_or(0, |folder| P::record_end(&folder)))
        });
        Ok(end.await?)
    }

    /// What a thread is known to have used: as its record says, else as the lines of its turn do. A record that cannot be read
    /// costs no change set.
    async fn used(&self, run: &str, thread: &str, lines: Usage) -> Usage {
        let (id, path) = (thread.to_owned(), self.threads.scratch_of(run));
        let used = on_file_thread(move || {
            let folder = ThreadFolder::open(&id, path);
            Ok(folder.ok().and_then(|folder| P::used(&folder)))
        });
        used.await.ok().flatten().unwrap_or(lines)
    }

    /// What the agent recorded of the turn's calls; each is an event.
    async fn recorded(
        &self,
        call: &CallContext,
        run: &str,
        thread: &str,
        from: u64,
    ) -> Result<Vec<ToolCall>, RunError> {
        let (id, path, over) = (
            thread.to_owned(),
            self.threads.scratch_of(run),
            call.clone(),
        );
        let recorded = on_file_thread(move || {
            let folder = ThreadFolder::open(&id, path);
            let calls = |folder| P::recorded(&folder, from, &|| is_over(&over));
            Ok(folder.map(calls).unwrap_or_default())
        });
        let recorded = recorded.await?;
        let events = recorded.iter().take(MOST_CALLS).map(|recorded| {
            let mut event = json!(recorded);
            event["kind"] = "call".into();
            TurnProgress::Event(event)
        });
        show(call, events.collect()).await;
        Ok(recorded)
    }

    fn home(&self, run: &str) -> PathBuf {
        self.dir.join(run).join("scratch/agent")
    }

    async fn copy(&self, call: &CallContext, to: PathBuf) -> Result<Snapshot, RunError> {
        let (root, ignoring) = (self.root.clone(), self.ignoring.clone());
        on_files(call, move |is_over| {
            empty_folder(&to)?;
            Ok(Snapshot::copy(&root, &to, &ignoring, is_over)?)
        })
        .await
    }

    /// Puts what earlier runs changed onto a copy that was just made.
    async fn begin_onto(
        &self,
        (call, task): (&CallContext, &Task),
        agent: Option<String>,
        copy: PathBuf,
        mut before: Snapshot,
        mut warnings: Vec<String>,
    ) -> Result<(Snapshot, Vec<String>), RunError> {
        let (root, sets, onto) = (self.root.clone(), self.sets.clone(), task.onto.clone());
        let put = on_files(call, move |_| {
            let of = (&sets, agent.as_deref());
            let changed = onto.put(of, &root, &copy, &mut before)?;
            Ok((before, changed))
        });
        let (before, changed) = put.await?;
        if !changed.is_empty() {
            warnings.push(format!(
                "changed in the folder since an earlier run, whose version the copy has: {}",
                names_of(&changed)
            ));
        }
        Ok((before, warnings))
    }

    /// The copy as it became, kept, and words for what of it is not.
    async fn changes(
        &self,
        call: &CallContext,
        copy: PathBuf,
        before: Snapshot,
        origin: Origin,
    ) -> Result<(ChangeSet, Option<String>, Vec<String>), RunError> {
        let (root, sets, late) = (self.root.clone(), self.sets.clone(), call.clone());
        on_files(call, move |_| {
            let made = Root::open(&copy, Policy::default()).map_err(SnapshotError::from)?;
            let made = before.rules.unshared(made);
            // Also of a run that was cancelled.
            let is_late = || late.remaining().is_zero();
            let after = Snapshot::of_copy(&made, &before.rules, &is_late)?;
            let mut set = ChangeSet::between(&before, &after, &copy)?;
            set.origin = Some(origin);
            let id = match set.files.is_empty() {
                true => None,
                false => Some(sets.keep(&set, &root, &made)?),
            };
            Ok((set, id, words_beyond(&after)))
        })
        .await
    }

    /// One turn, to the end of every process of it.
    async fn turn(
        &self,
        call: &CallContext,
        task: &Task,
        place: TurnContext<'_>,
        thread: Option<&Thread>,
    ) -> Result<EndedTurn, RunError> {
        let run = place.run;
        let asker = Asker::Call(call.clone());
        let tools = HostTools::of(&asker, None).await?;
        let address = self.dir.join(run).join(PIPES);
        let server = tools.as_ref().map(|tools| tools.server(address));
        let server = server.transpose()?;
        let model = self.model.of_call(call)?;
        let mut arguments = P::arguments(task, &model, server.as_ref());
        arguments.push(("prompt", task.prompt.clone()));
        arguments.extend(thread.map(|thread| ("thread", thread.id.clone())));
        let environment = P::environment(&self.home(run), &model);
        let program = if thread.is_some() {
            "resumed-turn"
        } else {
            "turn"
        };
        let (arguments, environment) = (pairs(&arguments), pairs(&environment));
        let folder = (run, place.cwd.map(RelPath::as_str));
        let started = self
            .children
            .start_in(program, folder, &arguments, &environment);
        let mut child = started.await?;
        drop(child.stdin.take());
        let serving = tools
            .zip(child.host.take())
            .map(|(tools, pipes)| tools.serve(&asker, self.waiting.clone(), pipes));
        let ended = self.listen(call, &mut child, place, (thread, task));
        let ended = ended.await;
        if ended.is_err() {
            // Nobody else has this folder before all of it has ended.
            child.end();
            child.wait().await?;
        }
        let had_tools = match serving {
            Some(serving) => serving.end(call).await,
            None => true,
        };
        match ended {
            // An agent whose tool server did not come up may answer without a word of it.
            Ok(EndedTurn {
                turn, stop: None, ..
            }) if !had_tools && matches!(turn.end, Some(TurnEnd::Completed(_))) => {
                Err(RunError::NoTools)
            }
            ended => ended,
        }
    }

    async fn listen(
        &self,
        call: &CallContext,
        child: &mut Child,
        place: TurnContext<'_>,
        (asked, task): (Option<&Thread>, &Task),
    ) -> Result<EndedTurn, RunError> {
        let most = task.max_tokens;
        let (Some(mut output), Some(mut error)) = (child.stdout.take(), child.stderr.take()) else {
            return Err(io::Error::other("a program without pipes").into());
        };
        let mut turn = Turn::default();
        let (mut out, mut err) = (vec![0; 64 * 1024], vec![0; 4096]);
        let (mut out_open, mut err_open) = (true, true);
        let mut last_words = Vec::new();
        let mut stop = None;
        let before = match (most, asked) {
            (Some(_), Some(thread)) => self.used(place.run, &thread.id, Usage::default()).await,
            _ => Usage::default(),
        };
        let mut used = before;
        let left = call.remaining().saturating_sub(RESERVE);
        let asked_for = task.max_seconds.map_or(left, Duration::from_secs);
        let mut until = Instant::now() + left.min(asked_for);
        let (mut is_cancelled, mut is_stopped, mut ending) = (false, false, None);
        while ending.is_none() || out_open || err_open {
            tokio::select! {
                read = output.read(&mut out), if out_open => {
                    let read = read?;
                    out_open = read > 0;
                    let was_known = turn.thread().is_some();
                    let shown = turn.feed(P::take, &out[..read]);
                    if let (false, Some(thread)) = (was_known, turn.thread()) {
                        self.begun(thread, place, asked)?;
                    }
                    let has_more = !shown.is_empty();
                    show(call, shown).await;
                    let counts = most.filter(|_| has_more && turn.end.is_none());
                    if let (Some(most), Some(thread), None) = (counts, turn.thread(), stop) {
                        used = self.used(place.run, thread, turn.used).await;
                        if used.since(before).total() > most {
                            stop = Some(Stop::Spent);
                            until = Instant::now() + GRACE;
                            child.interrupt();
                        }
                    }
                }
                read = error.read(&mut err), if err_open => {
                    let read = read?;
                    err_open = read > 0;
                    last_words.extend_from_slice(&err[..read]);
                    let beyond = last_words.len().saturating_sub(LAST_WORDS);
                    last_words.drain(..beyond);
                }
                ended = child.wait(), if ending.is_none() => ending = Some(ended?.0),
                () = call.cancelled(), if !is_cancelled && ending.is_none() => {
                    is_cancelled = true;
                    until = until.min(Instant::now() + GRACE);
                    if stop.is_none() {
                        stop = Some(Stop::Cancelled);
                        child.interrupt();
                    }
                }
                () = call.stopped(), if !is_stopped && ending.is_none() => {
                    is_stopped = true;
                    until = until.min(Instant::now() + STOP_GRACE);
                }
                () = sleep_until(until), if ending.is_none() => {
                    match stop {
                        Some(_) => child.end(),
                        None => child.interrupt(),
                    }
                    stop = stop.or(Some(Stop::OutOfTime));
                    until = Instant::now() + GRACE;
                }
            }
        }
        Ok(EndedTurn {
            turn,
            ending: ending.unwrap_or(Ending::Signaled(0)),
            stop,
            used,
            last_words: String::from_utf8_lossy(&last_words).trim().to_owned(),
        })
    }

    /// A thread is there from its first line on: what comes after may be killed. A run names no thread but its own.
    fn begun(
        &self,
        thread: &str,
        TurnContext {
            run,
            cwd,
            agent,
            prompt,
            ..
        }: TurnContext<'_>,
        asked: Option<&Thread>,
    ) -> Result<(), RunError> {
        let known = self.threads.get(thread)?;
        let is_other = asked.is_some_and(|asked| asked.id != thread)
            || known.as_ref().is_some_and(|known| known.run != run);
        if is_other {
            return Err(RunError::OtherThread);
        }
        if known.is_none() {
            self.threads.put(&Thread {
                id: thread.to_owned(),
                run: run.to_owned(),
                cwd: cwd.cloned(),
                title: title_of(prompt),
                usage: Usage::default(),
                agent: agent.map(str::to_owned),
                began: now(),
                last: now(),
            })?;
            self.threads.mirror(thread, run)?;
        }
        Ok(())
    }
}

impl Limit {
    fn words(self) -> String {
        format!(
            "the run was ended at its {}; what it did until then is in the change set, and thread goes on with it",
            self.name()
        )
    }
}

impl EndedTurn {
    /// Why there is no answer. `versions` is awaited where neither the turn nor the keeper says.
    async fn failure(self, versions: impl Future<Output = String>) -> RunError {
        let killed = self.stop.is_none() && matches!(self.ending, Ending::Signaled(_));
        let how = match (self.turn.end, self.ending) {
            (_, Ending::TooMuchMemory) => {
                return RunError::OverLimit("held more memory together than a run may");
            }
            (_, Ending::TooManyProcesses) => return RunError::OverLimit("were too many"),
            (_, Ending::TooManyThreads) => {
                return RunError::OverLimit("had more than 2,048 threads together");
            }
            (_, Ending::TooMuchDisk) => return RunError::OverDisk,
            (_, Ending::DiskFull) => return RunError::DiskFull,
            (Some(TurnEnd::Failed(why)), _) => return RunError::Turn(why),
            (_, _) if self.stop == Some(Stop::OutOfTime) => "its time was over".to_owned(),
            (_, Ending::Exited(status)) => format!("exit status {status}"),
            (_, Ending::Signaled(signal)) => format!("signal {signal}"),
        };
        let words = match &*self.last_words {
            "" => String::new(),
            words => format!(": {words}"),
        };
        RunError::Silent {
            killed,
            how,
            words,
            version: versions.await,
        }
    }
}

/// The folder that a turn works in: that of its thread, which its program looks for its memory by.
fn cwd_of(task: &Task, known: Option<&Thread>) -> Result<Option<RelPath>, RunError> {
    let Some(thread) = known else {
        return Ok(task.cwd.clone());
    };
    if task.cwd.is_some() && task.cwd != thread.cwd {
        let of_thread = thread.cwd.as_ref().map(RelPath::as_str);
        let of_thread = of_thread.unwrap_or("the source's own folder");
        return Err(RunError::OtherFolder(of_thread.to_owned()));
    }
    Ok(thread.cwd.clone())
}

fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let ms = since.unwrap_or_default().as_millis();
    Timestamp(u64::try_from(ms).unwrap_or(u64::MAX))
}

/// An agent's home, without those of its `settings` that a run left for the next one.
///
/// # Errors
/// What a run made cannot be removed.
pub fn prepare_home(home: &Path, settings: &[&str]) -> io::Result<()> {
    let kind = |path: &Path| match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        meta => meta.map(|meta| Some(meta.file_type())),
    };
    // A run may have put a link to the owner's own folder in its place.
    if kind(home)?.is_some_and(|kind| !kind.is_dir()) {
        fs::remove_file(home)?;
    }
    fs::create_dir_all(home)?;
    for settings in settings.iter().map(|settings| home.join(settings)) {
        match kind(&settings)? {
            None => {}
            Some(kind) if kind.is_dir() => fs::remove_dir_all(&settings)?,
            Some(_) => fs::remove_file(&settings)?,
        }
    }
    Ok(())
}

/// Whether the agent says that the server does not have the model.
fn is_about_the_model(why: &str) -> bool {
    let why = why.to_lowercase();
    why.contains("model")
        && [
            "not supported",
            "does not exist",
            "not found",
            "selected model",
        ]
        .iter()
        .any(|words| why.contains(words))
}

/// Whether the agent says that its model server knows no such key.
fn is_unauthorized(why: &str) -> bool {
    why.contains("401 Unauthorized") || why.contains("(status 401)")
}

/// Whether the agent says that its model server answered so.
fn is_status(why: &str, status: &str) -> bool {
    why.starts_with(&format!("unexpected status {status}"))
        || why.starts_with(&format!("exceeded retry limit, last status: {status}"))
        || why.ends_with(&format!("(status {status})"))
}

fn pairs(named: &NamedValues) -> Vec<(&str, &str)> {
    let pairs = named.iter().map(|(name, value)| (*name, value.as_str()));
    pairs.collect()
}

/// Passes on what a turn shows. What cannot be passed on is no reason to end it.
async fn show(call: &CallContext, shown: Vec<TurnProgress>) {
    for piece in shown {
        match piece {
            TurnProgress::Text(text) => call.progress(without_credentials(&text)).await,
            TurnProgress::Event(event) if event.to_string().contains(EGRESS_CREDENTIAL) => {}
            TurnProgress::Event(event) => {
                if call.progress_event(&event).await.is_err() {
                    let cut = json!({"kind": event["kind"], "cut": true});
                    let _ = call.progress_event(&cut).await;
                }
            }
        }
    }
}

/// Whether the work on files for a call is to end.
fn is_over(call: &CallContext) -> bool {
    call.is_cancelled() || call.remaining().is_zero()
}

/// Work on files for a call, which looks whether it is to end.
async fn on_files<T: Send + 'static>(
    call: &CallContext,
    work: impl FnOnce(&dyn Fn() -> bool) -> Result<T, RunError> + Send + 'static,
) -> Result<T, RunError> {
    let of = call.clone();
    let worked = on_file_thread(move || Ok(work(&|| is_over(&of)))).await;
    match worked.map_err(|error| RunError::FileThread(error.message.to_string()))? {
        Err(RunError::Snapshot(SnapshotError::File(FileError::Over))) if call.is_cancelled() => {
            Err(RunError::Cancelled)
        }
        worked => worked,
    }
}

/// What a copy lacks.
fn words_on(copied: &Snapshot) -> Vec<String> {
    let mut words = words_on_omitted(copied, "not in the copy");
    if !copied.ignored.is_empty() {
        let ignored = names_of(&copied.ignored);
        words.push(format!("not in the copy, because it is ignored: {ignored}"));
    }
    if let Some(why) = copied.history {
        words.push(format!("the history of the folder is {}", why.words()));
    }
    if !copied.repositories.is_empty() {
        let named = names_of(&copied.repositories);
        words.push(format!(
            "not in the copy, because version control keeps its own there: {named}"
        ));
    }
    words.extend(words_on_unread(copied, "the copy"));
    words
}

/// What of a copy as its run left it is in no change set.
fn words_beyond(made: &Snapshot) -> Vec<String> {
    let mut words = words_on_omitted(made, "in no change set");
    if !made.ignored.is_empty() {
        let ignored = names_of(&made.ignored);
        words.push(format!(
            "the run made what is ignored, and no change set has it: {ignored}"
        ));
    }
    words.extend(words_on_unread(made, "any change set"));
    words
}

/// What is no file that could be read: how much, and the first that has a name.
fn words_on_omitted(found: &Snapshot, are: &str) -> Vec<String> {
    if found.omitted == 0 {
        return Vec::new();
    }
    let named = &found.omitted_names;
    let more = found.omitted.saturating_sub(named.len());
    let named = match (named.is_empty(), more) {
        (true, _) => String::new(),
        (false, 0) => format!(": {}", names_of(named)),
        (false, more) => format!(": {} and {more} more", names_of(named)),
    };
    vec![format!(
        "{} links, special files, unreadable folders, files with a second name and names that cannot be used are {are}{named}",
        found.omitted
    )]
}

/// The first files that are not where they would be.
fn words_on_unread(found: &Snapshot, of: &str) -> impl Iterator<Item = String> {
    let left_out = found.left_out.iter().take(10);
    left_out.map(move |path| format!("{path} is not in {of}: too large, or not readable"))
}

/// The first of these ignored paths, and how many more there are.
pub(crate) fn names_of(paths: &[RelPath]) -> String {
    let named: Vec<_> = paths.iter().take(MOST_NAMED).map(RelPath::as_str).collect();
    match paths.len() - named.len() {
        0 => named.join(", "),
        _ if paths.len() > MOST_IGNORED => {
            let more = MOST_IGNORED - named.len();
            format!("{} and more than {more} more", named.join(", "))
        }
        more => format!("{} and {more} more", named.join(", ")),
    }
}

/// A run that begins a thread has the name of its call.
fn fresh_name(call: &CallContext) -> String {
    let name = call.audit().map(|id| id.as_str().replace('_', "-"));
    name.unwrap_or_else(|| format!("evt-{}", Uuid::new_v4()))
}

impl RunError {
    /// The same of a turn that its thread has. In an open conversation the thread alone would ask the owner for another one.
    pub(crate) fn begun(why: Box<Self>, thread: String, talks: bool) -> Self {
        let next = match talks {
            false => format!("to go on, name its thread {thread}"),
            true => format!(
                "to go on, send the conversation its next message; once it is over, name its thread {thread}"
            ),
        };
        Self::Begun { why, thread, next }
    }

    /// The same where a turn has begun that its thread or copy remembers. A program that was never started said nothing.
    fn cut_off(self) -> Self {
        match self {
            Self::Child(_) => self,
            Self::OverDisk | Self::DiskFull => Self::ThreadGone(Box::new(self)),
            Self::Begun { why, thread, next } => Self::Begun {
                why: Box::new(why.cut_off()),
                thread,
                next,
            },
            _ => Self::CutOff(Box::new(self)),
        }
    }
}

impl From<&RunError> for SourceError {
    fn from(error: &RunError) -> Self {
        let words = without_credentials(&error.to_string());
        match error {
            RunError::CutOff(why) => {
                let told = Self::from(&**why);
                let detail = told.detail;
                // Of a stop alone it is not known whether another turn follows.
                let words = match &**why {
                    RunError::Stopped(_) => why.to_string(),
                    _ => words,
                };
                let told = Self::new(told.code, words).effect(Effect::Partial);
                Self { detail, ..told }
            }
            RunError::Begun { why, thread, next } => {
                let told = Self::from(&**why);
                let words = match **why {
                    RunError::Cancelled => without_credentials(next),
                    _ => without_credentials(&format!("{}; {next}", told.message)),
                };
                let mut detail = told.detail.unwrap_or_else(|| json!({}));
                detail["thread"] = without_credentials(thread).into();
                let told = Self::new(told.code, words).effect(told.effect);
                told.detail(detail)
            }
            RunError::Cancelled => Self::cancelled(Effect::None),
            RunError::Stopped(id) => {
                Self::new(Failure::Cancelled, words).detail(json!({"changes": id}))
            }
            RunError::Failed { why, set } => {
                let told = Self::from(&**why);
                let words = until_then(set, &told.message);
                let told = Self::new(told.code, words).effect(told.effect);
                told.detail(json!({"changes": set}))
            }
            RunError::Snapshot(SnapshotError::TooLarge | SnapshotError::TooDeep)
            | RunError::Set(SetError::TooMany) => Self::transport("too_large", words),
            RunError::Turn(why) if is_status(why, "429") => Self::transport(
                "rate_limited",
                "the model server takes no more for now (429); repeat the call in some minutes",
            ),
            RunError::Turn(why) if is_about_the_model(why) => {
                Self::transport("model_refused", words)
            }
            RunError::Turn(_) => {
                let words =
                    format!("{words}; repeat the call, and tell the owner if it fails again");
                Self::transport("turn_failed", words)
            }
            RunError::Key(_) | RunError::SignIn => Self::transport("key_refused", words),
            RunError::InConversation
            | RunError::NoConversation
            | RunError::NotBegun
            | RunError::OtherFolder(_) => Self::invalid(words),
            RunError::NoFolder(_) | RunError::Onto(OntoError::Set(SetError::Unknown)) => {
                Self::transport("not_found", words)
            }
            RunError::Onto(OntoError::Conflict { .. }) => Self::transport("conflict", words),
            RunError::Silent { killed: true, .. } => Self::transport("agent_killed", words),
            RunError::Silent { .. } | RunError::OtherThread => {
                Self::transport("agent_failed", words)
            }
            RunError::NoTools => Self::transport("no_host_tools", words),
            RunError::Host(error) => error.clone(),
            RunError::OutOfTime | RunError::Snapshot(SnapshotError::File(FileError::Over)) => {
                Self::transport("out_of_time", words)
            }
            RunError::OverLimit(_) => Self::transport("over_limit", words),
            RunError::OverDisk => Self::transport("over_limit", words),
            RunError::DiskFull => Self::transport("disk_full", words),
            RunError::ThreadGone(why) => Self::from(&**why).effect(Effect::Partial),
            RunError::Snapshot(SnapshotError::Copy(full))
            | RunError::Set(SetError::Io(full))
            | RunError::Onto(OntoError::Copy(full))
                if full.kind() == io::ErrorKind::StorageFull =>
            {
                Self::transport("disk_full", words)
            }
            RunError::Child(_) => Self::unavailable(words),
            RunError::Snapshot(_) | RunError::Set(_) | RunError::Onto(_) | RunError::Io(_) => {
                Self::transport("io", words)
            }
            RunError::FileThread(_) => Self::internal(words),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_failure_names_its_change_set() {
        let failed = || RunError::Failed {
            why: Box::new(RunError::Turn("why ".repeat(1000))),
            set: "cs_1".to_owned(),
        };
        for error in [failed(), failed().cut_off()] {
            let error = SourceError::from(&error);
            assert!(error.message.to_string().contains("cs_1"), "{error:?}");
        }
    }

    #[test]
    fn cancelled_run_names_its_thread() {
        let begun = |why| RunError::begun(Box::new(why), "t1".to_owned(), false);
        let set = || RunError::Stopped("cs_1".to_owned());
        let kept = json!({"changes": "cs_1", "thread": "t1"});
        for (error, effect, detail) in [
            (begun(set()), Effect::None, kept.clone()),
            (begun(set()).cut_off(), Effect::Partial, kept),
            (
                begun(RunError::Cancelled),
                Effect::None,
                json!({"thread": "t1"}),
            ),
        ] {
            let error = SourceError::from(&error);
            assert_eq!(error.code, Failure::Cancelled, "{error:?}");
            assert_eq!((error.effect, error.detail), (effect, Some(detail)));
            let words = "to go on, name its thread t1";
            assert!(error.message.to_string().ends_with(words));
        }
        let talk = RunError::begun(Box::new(set()), "t1".to_owned(), true).cut_off();
        let told = SourceError::from(&talk).message.to_string();
        let words = "cs_1; to go on, send the conversation its next message; once it is over, name its thread t1";
        assert!(told.ends_with(words), "{told}");
    }
}
