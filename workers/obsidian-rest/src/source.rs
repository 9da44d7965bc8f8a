//! The vault as a source: calls in, answers out; what a failure means to an agent and to the owner.
//!
//! ```text
//! health: well ◀── an answer ──▶ unavailable, with what to do ── every 15 s: is it back? ─▶ …
//! ```
//!
//! Invariants: a path is held against the constraint before a request names it; a note that the plugin chose (the open
//! one, a period's, a hit) is held against it before an agent hears of it. The source opens while Obsidian is closed.
//!
//! Must not know: how requests are made.

use crate::{
    api::{Api, Failure, Found, Note},
    path::Paths,
    read::{
        ActiveInput, Commands, Folder, ListInput, Part, PeriodicInput, ReadInput, Search,
        SearchInput,
    },
    write::{
        AppendInput, NoChange, NotMade, Planned, Record, UndoInput, Undone, WriteInput,
        WriteOutput, text_of,
    },
};
use hyper::StatusCode;
use plexus_egress_client::{EgressClient, NoAnswer};
use plexus_ipc::text::counted;
use plexus_ipc::worker::{
    ALREADY_UNDONE, CallContext, Content, Handlers, Health, KeptChanges, NoInput, OpenError, Plan,
    Reply, Role, Secrets, Source, SourceContext, SourceError, Touched, Verdict, on_file_thread,
};
use plexus_protocol::{AuditId, Digest, Verb};
use plexus_rooted_files::{FileError, HideRules, RelPath};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

/// The kinds that everything is recorded under.
const NOTE: &str = "note";
const COMMANDS: &str = "commands";
/// The field that a constraint may narrow.
const FIELD: &str = "path";
/// How long the plugin may take for one request, to the last byte of its answer.
const WITHIN: Duration = Duration::from_secs(25);
/// Largest answer, in MiB.
const MOST: usize = 24;
/// How long the first check may take: a source that waits for it is being opened.
const FIRST_CHECK: Duration = Duration::from_secs(5);
/// From one check of an app that does not serve to the next.
const CHECK_AGAIN: Duration = Duration::from_secs(15);

/// One vault, served.
#[derive(Debug)]
pub struct ObsidianRestSource {
    api: Arc<Api>,
    paths: Paths,
    /// What changes were; none where the worker was given no folder for it.
    kept: Option<KeptChanges<Record>>,
    app: Arc<Mutex<AppHealth>>,
}

/// What is wrong with the app, and when that was last checked.
#[derive(Debug)]
struct AppHealth {
    /// For the commands in words to the owner.
    source: String,
    why: Option<String>,
    checked: Instant,
}

/// The source's route, as far as the worker needs it.
#[derive(Debug, Deserialize)]
pub struct Config {
    /// What does not exist in the vault, for agents.
    #[serde(default)]
    pub hide: HideRules,
}

impl Source for ObsidianRestSource {
    type Config = Config;

    async fn open(_: Config, _: Secrets, _: Role) -> Result<Self, OpenError> {
        Err(OpenError::config(
            "Obsidian is reached through an egress alone",
        ))
    }

    async fn open_with(config: Config, given: SourceContext) -> Result<Self, OpenError> {
        let source = given.name();
        let client = given.egress.as_ref();
        let client = client.and_then(|egress| EgressClient::new(egress, WITHIN, MOST));
        let client = client.ok_or_else(|| OpenError::config("baseUrl names no host"))?;
        let kept = given.scratch.map(KeptChanges::new);
        if let (Role::Writer, Some(kept), Some(most)) = (given.role, kept.clone(), given.kept) {
            let pruned = on_file_thread(move || Ok(kept.prune(most))).await;
            if !matches!(pruned, Ok(Ok(()))) {
                return Err(OpenError::internal(
                    "the folder of kept changes cannot be read",
                ));
            }
        }
        let opened = Self {
            api: Arc::new(Api(client)),
            paths: Paths::new(&config.hide),
            kept,
            app: Arc::new(Mutex::new(AppHealth {
                source,
                why: None,
                checked: Instant::now(),
            })),
        };
        let check = tokio::time::timeout(FIRST_CHECK, opened.api.check()).await;
        note(&opened.app, &check.unwrap_or(Err(NoAnswer::Stalled.into())));
        Ok(opened)
    }

    async fn settle(&self, intent: AuditId) -> Verdict {
        let Some(changes) = self.kept.clone() else {
            return Verdict::CannotTell;
        };
        let of = intent.clone();
        let mut record = match on_file_thread(move || Ok(changes.get(&of))).await {
            Ok(Ok(Some(record))) => record,
            // It is kept before the request leaves.
            Ok(Ok(None)) => return Verdict::DidNot,
            Ok(Err(_)) | Err(_) => return Verdict::CannotTell,
        };
        let Ok(there) = self.api.get(&record.path).await else {
            return Verdict::CannotTell;
        };
        let verdict = record.verdict(&there);
        if matches!(verdict, Verdict::Happened) {
            // From now on it can be taken back: the note is what it makes of it.
            record.done = true;
            let of = record.takes_back.as_ref();
            let _ = KeptChanges::keep(self.kept.as_ref(), &intent, &record, of).await;
        }
        verdict
    }

    async fn health(&self) -> Health {
        let mut app = self.app.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(why) = app.why.clone() else {
            return Health::Well;
        };
        if app.checked.elapsed() > CHECK_AGAIN {
            app.checked = Instant::now();
            let (api, app) = (Arc::clone(&self.api), Arc::clone(&self.app));
            tokio::spawn(async move { note(&app, &api.check().await) });
        }
        Health::Unavailable(why.into())
    }

    async fn check(&self) -> Health {
        let (api, app) = (Arc::clone(&self.api), Arc::clone(&self.app));
        // It goes on where nobody waits for it any more: the next probe has its answer.
        let checked = tokio::spawn(async move {
            let checked = api.check().await;
            note(&app, &checked);
            // A failure that a call would report of one note is one of the app here.
            if let Err(failure) = checked {
                let mut app = app.lock().unwrap_or_else(PoisonError::into_inner);
                app.why.get_or_insert_with(|| failure.to_string());
            }
        });
        match checked.await {
            Ok(()) => self.health().await,
            Err(_) => Health::Degraded("the check of the app failed".into()),
        }
    }

    fn handlers() -> Handlers<Self> {
        Handlers::new()
            .read("vault.list", Self::list)
            .read("vault.read", Self::read)
            .read("vault.search", Self::search)
            .read("active.read", Self::active)
            .read("periodic.read", Self::periodic)
            .read("commands.list", Self::commands)
            .effect("vault.write", Self::plan_write, Self::commit)
            .effect("vault.append", Self::plan_append, Self::commit)
            .effect("undo", Self::plan_undo, Self::commit_undo)
    }
}

impl ObsidianRestSource {
    /// Notes how the app is, and says what a failure means to an agent.
    fn noted<T>(&self, result: Result<T, Failure>) -> Result<T, SourceError> {
        note(&self.app, &result);
        result.map_err(|failure| agent_error(&failure))
    }

    /// The path of a file that this call may name.
    fn file(&self, call: &CallContext, text: &str) -> Result<RelPath, SourceError> {
        allowed(call, self.paths.file(text))
    }

    async fn list(
        self: Arc<Self>,
        call: CallContext,
        input: ListInput,
    ) -> Result<Reply<Folder>, SourceError> {
        let path = allowed(&call, self.paths.folder(&input.path))?;
        let names = self.noted(self.api.names(&path).await)?;
        let names = names.ok_or_else(|| {
            let why = format!("{path} is no folder with files in it; vault.list has the names");
            SourceError::transport("not_found", why)
        })?;
        let touched = Touched::read(NOTE, path.display_id(), None);
        on_file_thread(move || {
            let folder = input.answer(path, names, &self.paths);
            let summary = format!("listed {}", counted(folder.len(), "name"));
            Ok(Reply::new(folder, summary).touched([touched]))
        })
        .await
    }

    async fn read(
        self: Arc<Self>,
        call: CallContext,
        input: ReadInput,
    ) -> Result<Reply<Part>, SourceError> {
        let path = self.file(&call, &input.path)?;
        match self.noted(self.api.get(&path).await)? {
            Found::File(bytes) => {
                on_file_thread(move || reply(Part::of(path, &bytes, input.offset, None)?)).await
            }
            Found::Folder => Err(no_change(&path, NoChange::Folder)),
            Found::Nothing => Err(file_error(&FileError::NotFound(path))),
        }
    }

    async fn search(
        self: Arc<Self>,
        call: CallContext,
        input: SearchInput,
    ) -> Result<Reply<Search>, SourceError> {
        let within = self.paths.folder(&input.path);
        let within = within.map_err(|error| file_error(&error))?;
        if !within.is_root() {
            call.require(FIELD, within.display_id())?;
        }
        let found = self.noted(self.api.search(&input.query).await)?;
        on_file_thread(move || {
            let allows = |path: &RelPath| call.allows(FIELD, path.display_id());
            let search = input.answer(found, &self.paths, &within, allows)?;
            let mut notes: Vec<&str> = search
                .hits
                .iter()
                .map(|hit| hit.relative_path.as_str())
                .collect();
            notes.sort_unstable();
            notes.dedup();
            let touched: Vec<_> = notes
                .iter()
                .map(|id| Touched::read(NOTE, id, None))
                .collect();
            let summary = format!(
                "searched: {} in {}",
                counted(search.hits.len(), "hit"),
                counted(touched.len(), "note")
            );
            Ok(Reply::new(search, summary).touched(touched))
        })
        .await
    }

    async fn active(
        self: Arc<Self>,
        call: CallContext,
        input: ActiveInput,
    ) -> Result<Reply<Part>, SourceError> {
        let note = self.noted(self.api.active().await)?;
        self.chosen(
            &call,
            note,
            input.offset,
            "no note that agents may know of is open",
        )
        .await
    }

    async fn periodic(
        self: Arc<Self>,
        call: CallContext,
        input: PeriodicInput,
    ) -> Result<Reply<Part>, SourceError> {
        let note = self.noted(self.api.periodic(&input.period).await)?;
        let none = "there is no such note: it is not written yet, Obsidian has no such period, or the plugin no longer offers this (from 5.0.2 on); read it by its path";
        self.chosen(&call, note, input.offset, none).await
    }

    /// A note that the plugin chose.
    async fn chosen(
        &self,
        call: &CallContext,
        note: Option<Note>,
        offset: usize,
        none: &'static str,
    ) -> Result<Reply<Part>, SourceError> {
        let shown = note.and_then(|note| Some((self.paths.in_answer(&note.path)?, note)));
        let (path, note) = shown.ok_or_else(|| SourceError::transport("not_found", none))?;
        call.require(FIELD, path.as_str())?;
        let modified = Some(note.stat.mtime);
        on_file_thread(move || reply(Part::of(path, note.content.as_bytes(), offset, modified)?))
            .await
    }

    async fn commands(
        self: Arc<Self>,
        _: CallContext,
        _: NoInput,
    ) -> Result<Reply<Commands>, SourceError> {
        let commands = Commands::of(self.noted(self.api.commands().await)?);
        let summary = format!("listed {}", counted(commands.commands.len(), "command"));
        Ok(Reply::new(commands, summary).touched([Touched::read(COMMANDS, "all", None)]))
    }

    /// The text that a change begins with.
    async fn before(&self, path: &RelPath) -> Result<Option<String>, SourceError> {
        let there = self.noted(self.api.get(path).await)?;
        text_of(there).map_err(|why| no_change(path, why))
    }

    async fn plan_write(
        self: Arc<Self>,
        call: CallContext,
        input: WriteInput,
    ) -> Result<Plan<Planned>, SourceError> {
        let path = self.file(&call, &input.path)?;
        let before = self.before(&path).await?;
        let expected = input.if_digest.as_deref();
        let change = Planned::write(path.clone(), before, input.content, expected);
        plan(change.map_err(|why| no_change(&path, why))?, true).await
    }

    async fn plan_append(
        self: Arc<Self>,
        call: CallContext,
        input: AppendInput,
    ) -> Result<Plan<Planned>, SourceError> {
        let path = self.file(&call, &input.path)?;
        let before = self.before(&path).await?;
        let change = Planned::append(path.clone(), before, input.content);
        plan(change.map_err(|why| no_change(&path, why))?, true).await
    }

    async fn plan_undo(
        self: Arc<Self>,
        call: CallContext,
        input: UndoInput,
    ) -> Result<Plan<Planned>, SourceError> {
        let unknown = || SourceError::transport("not_undoable", "no change of this id is kept");
        let kept = KeptChanges::find(self.kept.as_ref(), &input.id).await?;
        let (id, record, is_undone) = kept.ok_or_else(unknown)?;
        // What is hidden since does not exist, changes of it included.
        let path = allowed(&call, self.paths.file(record.path.as_str()))?;
        if input
            .path
            .as_ref()
            .is_some_and(|named| named != path.as_str())
        {
            return Err(SourceError::invalid(
                "the change of this id is of another note",
            ));
        }
        let now = self.before(&path).await?;
        let undo = Planned::undo((record, is_undone), id, now);
        plan(
            undo.map_err(|why| no_change(&path, why))?,
            input.path.is_some(),
        )
        .await
    }

    async fn commit(
        self: Arc<Self>,
        call: CallContext,
        change: Planned,
    ) -> Result<Reply<WriteOutput>, SourceError> {
        let (made, undo) = self.make(&call, &change).await?;
        let text = made.unwrap_or_default();
        let written = WriteOutput {
            ok: true,
            relative_path: change.path.clone(),
            bytes: text.len(),
            digest: Digest::of(text.as_bytes()),
        };
        let digest = Some(written.digest);
        answered(written, &change, digest, undo).await
    }

    async fn commit_undo(
        self: Arc<Self>,
        call: CallContext,
        change: Planned,
    ) -> Result<Reply<Undone>, SourceError> {
        let (made, undo) = self.make(&call, &change).await?;
        let digest = made.map(|text| Digest::of(text.as_bytes()));
        let undone = Undone {
            ok: true,
            relative_path: change.path.clone(),
            removed: digest.is_none(),
            digest,
        };
        answered(undone, &change, digest, undo).await
    }

    /// Makes a change; the text that it left, and the id that takes it back.
    async fn make(
        &self,
        call: &CallContext,
        change: &Planned,
    ) -> Result<(Option<String>, Option<AuditId>), SourceError> {
        let intent = call.audit().cloned();
        let intent = intent.ok_or_else(|| SourceError::internal("a change without an intent"))?;
        let mut record = change.record();
        KeptChanges::keep(self.kept.as_ref(), &intent, &record, None).await?;
        let made = match change.make(&self.api, &record).await {
            Ok(made) => made,
            Err(NotMade::Moved) => return Err(no_change(&change.path, NoChange::Changed)),
            Err(NotMade::Failed(failure, effect)) => {
                let failed = self.noted::<()>(Err(failure));
                return Err(failed
                    .err()
                    .unwrap_or_else(|| SourceError::internal("no failure"))
                    .effect(effect));
            }
        };
        note(&self.app, &Ok(()));
        record.done = true;
        let of = change.takes_back.as_ref();
        let kept = KeptChanges::keep(self.kept.as_ref(), &intent, &record, of).await;
        let is_kept = kept.is_ok();
        Ok((made, (is_kept && self.kept.is_some()).then_some(intent)))
    }
}

/// A path, where it is one and the constraint lets it pass.
fn allowed(call: &CallContext, path: Result<RelPath, FileError>) -> Result<RelPath, SourceError> {
    // Asked first, so that a constraint tells nothing of what is hidden.
    if let Ok(path) | Err(FileError::NotFound(path)) = &path {
        call.require(FIELD, path.display_id())?;
    }
    path.map_err(|error| file_error(&error))
}

fn reply(part: Part) -> Result<Reply<Part>, SourceError> {
    let touched = Touched::read(NOTE, part.path().as_str(), Some(part.digest()));
    let summary = format!("read {}", part.path());
    Ok(Reply::new(part, summary).touched([touched]))
}

/// A plan with its difference, which takes long for a long note. If the input `names` the note, a standing grant covers
/// the note as the agent last read or wrote it; an undo without a path is held against what its change left.
async fn plan(change: Planned, names: bool) -> Result<Plan<Planned>, SourceError> {
    on_file_thread(move || {
        let shown = change.change();
        let (token, preview) = (change.state_token(), change.preview(&shown));
        let touched = Touched::write(NOTE, change.path.as_str(), change.replaces());
        let replaces = change.replaces().map_or(Content::Absent, Content::Is);
        let runs = change.runs();
        let mut plan = Plan::new(change, token, preview, &shown.summary).touched([touched]);
        if names {
            plan = plan.before(replaces);
        }
        Ok(match runs {
            Some(why) => plan
                .rating(Verb::Execute)
                .warning(format!("This amounts to running code: {why}.")),
            None => plan,
        })
    })
    .await
}

/// The answer to a change that was made.
async fn answered<T: Serialize + Send + 'static>(
    output: T,
    change: &Planned,
    digest: Option<Digest>,
    undo: Option<AuditId>,
) -> Result<Reply<T>, SourceError> {
    let change = change.clone();
    on_file_thread(move || {
        let touched = Touched::write(NOTE, change.path.as_str(), digest);
        let reply = Reply::new(output, change.change().summary).touched([touched]);
        Ok(match undo {
            Some(id) => reply.undo(id.as_str()),
            None => reply,
        })
    })
    .await
}

fn file_error(error: &FileError) -> SourceError {
    SourceError::transport(error.reason(), error.to_string())
}

fn no_change(path: &RelPath, why: NoChange) -> SourceError {
    let words = format!("{path}: {why}");
    match why {
        NoChange::Folder => SourceError::transport("not_a_file", words),
        NoChange::NotText => SourceError::transport("not_text", words),
        NoChange::TooLarge => SourceError::transport("too_large", words),
        NoChange::NotMade => SourceError::transport("not_undoable", words),
        NoChange::Changed => SourceError::changed("changed", words),
        NoChange::ChangedSince => SourceError::changed("changed_since", words),
        NoChange::Undone => SourceError::changed(ALREADY_UNDONE.0, words),
    }
}

/// What the owner can do about it; `None` where the app serves.
fn remedy(failure: &Failure, source: &str) -> Option<String> {
    Some(match failure {
        Failure::NoAnswer(NoAnswer::Certificate { met, pinned }) => match pinned {
            None => format!(
                "no certificate is pinned yet. Compare the SHA-256 fingerprint of the one that was met with Obsidian's own, then pin it: plexusctl sources set {source} certificate={met} (or add the source with --set certificate=FINGERPRINT)"
            ),
            Some(pinned) => format!(
                "the certificate is not the pinned one ({pinned}). If you made a new one in Obsidian, compare its fingerprint, then pin it: plexusctl sources set {source} certificate={met}"
            ),
        },
        Failure::NoAnswer(NoAnswer::NoWay(words)) if words.contains("does not answer") => {
            "Obsidian does not answer: start it with this vault, and see that its plugin Local REST API is on".to_owned()
        }
        Failure::NoAnswer(NoAnswer::NoWay(words)) => format!("Obsidian cannot be reached: {words}"),
        Failure::NoAnswer(NoAnswer::Stalled | NoAnswer::Broken) => {
            "Obsidian took the request and gave no answer: look at the app, it may be busy or show a dialog".to_owned()
        }
        Failure::Status(StatusCode::UNAUTHORIZED, _) => format!(
            "the plugin does not accept the API key (401): copy the key from its settings, then: plexusctl sources secret {source} apiKey"
        ),
        Failure::Status(status, _) if status.is_server_error() => format!(
            "the plugin fails ({}): look at Obsidian, or restart it",
            status.as_u16()
        ),
        Failure::NoAnswer(NoAnswer::TooLarge(_)) | Failure::Status(..) | Failure::Unreadable(_) => {
            return None;
        }
    })
}

fn note<T>(app: &Mutex<AppHealth>, result: &Result<T, Failure>) {
    let mut app = app.lock().unwrap_or_else(PoisonError::into_inner);
    let why = result.as_ref().err();
    app.why = why.and_then(|failure| remedy(failure, &app.source));
    app.checked = Instant::now();
}

/// The failure for the agent.
fn agent_error(failure: &Failure) -> SourceError {
    match failure {
        Failure::NoAnswer(NoAnswer::NoWay(_)) => SourceError::unavailable(
            "Obsidian cannot be reached; ask the owner to start it, and to look at plexusctl status",
        ),
        Failure::NoAnswer(NoAnswer::Certificate { .. }) => SourceError::unavailable(
            "Obsidian's certificate is not the one that the owner pinned; tell the owner: plexusctl status says what to do",
        ),
        Failure::Status(StatusCode::UNAUTHORIZED, _) => SourceError::unavailable(
            "the plugin does not accept the API key; tell the owner: plexusctl status says what to do",
        ),
        Failure::NoAnswer(NoAnswer::Stalled) => {
            SourceError::transport("timeout", "Obsidian did not answer in time")
        }
        Failure::NoAnswer(NoAnswer::TooLarge(_)) => SourceError::transport(
            "too_large",
            "Obsidian's answer is larger than 24 MiB; ask for less",
        ),
        Failure::NoAnswer(NoAnswer::Broken) | Failure::Unreadable(_) => SourceError::transport(
            "bad_answer",
            format!("no whole answer of Obsidian: {failure}"),
        ),
        Failure::Status(StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE, wait) => {
            SourceError::transport(
                "rate_limited",
                "Obsidian asks to wait before the next request",
            )
            .detail(json!({"retryAfterSeconds": wait}))
        }
        Failure::Status(StatusCode::METHOD_NOT_ALLOWED, _) => SourceError::transport(
            "not_offered",
            "the plugin does not do this with this path, or not in its version",
        ),
        Failure::Status(status, _) if status.is_server_error() => {
            SourceError::transport("server_error", failure.to_string())
        }
        Failure::Status(..) => SourceError::transport("refused", failure.to_string()),
    }
}
