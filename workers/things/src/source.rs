//! Things as a source: calls in, answers out; what is well and what is not.
//!
//! ```text
//! commit: keep what is about to happen ▸ hand the URL over ▸ read back until it holds ─▶ done, with the to-do's version
//!                                                               └─ 5 s ─▶ sent, not verified: effect unknown
//! ```
//!
//! Invariants: a constraint is asked about an id before anything of it is read; all that blocks is on a file thread; a change
//! of a to-do that exists is not planned without the token.
//!
//! Must not know: SQL, scripts, what a URL looks like.

use crate::{
    change::{AREA, AddInput, Change, PROJECT, TODO, Target, UpdateInput, cannot},
    database::Database,
    failure::Failure,
    item::{Container, Project, Tag, Todo, View},
    opener::Opener,
    reads::Reads,
    store::{Act, Record, Store},
};
use chrono::{Local, NaiveDate, Utc};
use plexus_ipc::text::{counted, folded};
use plexus_ipc::worker::{
    CallContext, Handlers, Health, NoInput, OpenError, Plan, Reply, Role, Secret, Secrets, Source,
    SourceContext, SourceError, Touched, Verdict, on_file_thread,
};
use plexus_protocol::{AuditId, Effect};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::{
    collections::BTreeSet,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

/// To-dos of an answer, where the agent does not say how many, and their text in bytes.
const LIMIT: usize = 100;
const ANSWER: usize = 512 * 1024;
/// How long a change is looked for after it was sent, and how often. Things tells nobody that it has carried a URL out.
const VERIFY: Duration = Duration::from_secs(5);
const EVERY: Duration = Duration::from_millis(200);

/// Things, served.
#[derive(Debug)]
pub struct ThingsSource {
    reads: Arc<Reads>,
    opener: Box<dyn Opener>,
    has_token: bool,
    /// Of a writer.
    token: Option<Secret>,
    /// `None` where the worker was given no folder for it.
    store: Option<Store>,
    /// What the owner can do about the last failure.
    ailing: Mutex<Option<String>>,
    /// The source's id, for words that name a command.
    id: String,
}

/// The source's route.
#[derive(Debug, Deserialize)]
pub struct Config {
    /// The folder of the database; absent or empty: Things is asked by Apple events.
    #[serde(default)]
    pub database: PathBuf,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct TodosInput {
    list: Option<View>,
    project: Option<String>,
    area: Option<String>,
    tag: Option<String>,
    text: Option<String>,
    limit: Option<usize>,
    next: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ProjectsInput {
    area: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct IdInput {
    id: String,
}

#[derive(Debug, Serialize)]
struct Todos {
    todos: Vec<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

#[derive(Debug, Serialize)]
struct Projects {
    projects: Vec<Project>,
}

#[derive(Debug, Serialize)]
struct Areas {
    areas: Vec<Container>,
}

#[derive(Debug, Serialize)]
struct Tags {
    tags: Vec<Tag>,
}

#[derive(Debug, Serialize)]
struct Output {
    ok: bool,
    id: String,
    /// The day that it was set to, where the change set one.
    #[serde(skip_serializing_if = "Option::is_none")]
    day: Option<NaiveDate>,
    #[serde(skip_serializing_if = "Option::is_none")]
    deadline: Option<NaiveDate>,
}

impl Source for ThingsSource {
    type Config = Config;

    async fn open(_: Config, _: Secrets, _: Role) -> Result<Self, OpenError> {
        Err(OpenError::internal("a folder for changes is missing"))
    }

    async fn open_with(config: Config, mut given: SourceContext) -> Result<Self, OpenError> {
        let id = given.name();
        let token = given.secrets.take("token");
        let has_token = token.is_some();
        let token = token.filter(|_| given.role == Role::Writer);
        let changes = given
            .scratch
            .as_ref()
            .map(|scratch| scratch.join("changes"));
        let store = changes.clone().map(Store::new);
        let (prepared, kept, role) = (store.clone(), given.kept, given.role);
        let opened = on_file_thread(move || {
            if let (Role::Writer, Some(store), Some(kept), Some(folder)) =
                (role, prepared, kept, changes)
                && std::fs::create_dir_all(folder)
                    .and_then(|()| store.prune(kept))
                    .is_err()
            {
                return Ok(Err(OpenError::internal(
                    "what is kept for undo cannot be read",
                )));
            }
            Ok(surfaces(&config.database, given.scratch, role))
        });
        let opened = opened
            .await
            .map_err(|error| OpenError::internal(error.to_string()))?;
        let (reads, opener) = opened?;
        let reads = Arc::new(reads);
        Ok(Self {
            reads,
            opener,
            has_token,
            token,
            store,
            ailing: Mutex::default(),
            id,
        })
    }

    async fn settle(&self, intent: AuditId) -> Verdict {
        let Some(store) = self.store.clone() else {
            return Verdict::CannotTell;
        };
        let reads = Arc::clone(&self.reads);
        let look = move || Ok(settled(&reads, &store, &intent));
        on_file_thread(look).await.unwrap_or(Verdict::CannotTell)
    }

    async fn health(&self) -> Health {
        let ailing = self.ailing.lock().unwrap_or_else(PoisonError::into_inner);
        ailing
            .clone()
            .map_or(Health::Well, |why| Health::Unavailable(why.into()))
    }

    fn handlers() -> Handlers<Self> {
        Handlers::new()
            .read("todos.list", Self::todos)
            .read("projects.list", Self::projects)
            .read("areas.list", Self::areas)
            .read("tags.list", Self::tags)
            .effect("todos.add", Self::plan_add, Self::commit)
            .effect("todos.update", Self::plan_update, Self::commit)
            .effect("todos.complete", Self::plan_complete, Self::commit)
            .effect("undo", Self::plan_undo, Self::commit)
    }
}

type Surfaces = (Reads, Box<dyn Opener>);

/// How Things is read and written here.
#[cfg(target_os = "macos")]
fn surfaces(
    database: &std::path::Path,
    _: Option<PathBuf>,
    _: Role,
) -> Result<Surfaces, OpenError> {
    let reads = match database.as_os_str().is_empty() {
        true => Reads::Script(crate::script::Script::system()),
        false => Reads::Database(checked(database)?),
    };
    Ok((reads, Box::new(crate::opener::System)))
}

/// The fake.
#[cfg(not(target_os = "macos"))]
fn surfaces(
    database: &std::path::Path,
    scratch: Option<PathBuf>,
    role: Role,
) -> Result<Surfaces, OpenError> {
    if !database.as_os_str().is_empty() {
        return Ok((
            Reads::Database(checked(database)?),
            Box::new(crate::fake::Nobody),
        ));
    }
    let made = crate::fake::open(scratch.as_deref(), role == Role::Writer);
    let (fake, hand) = made.map_err(|error| OpenError::internal(format!("the fake: {error}")))?;
    Ok((Reads::Fake(fake), Box::new(hand)))
}

fn checked(folder: &std::path::Path) -> Result<Database, OpenError> {
    let database = Database::find(folder).map_err(|failure| failure.open_error())?;
    match database.check() {
        // It is read again with each call.
        Ok(()) | Err(Failure::Moving) => Ok(database),
        Err(failure) => Err(failure.open_error()),
    }
}

/// The day that it is where the person is.
fn today() -> NaiveDate {
    Local::now().date_naive()
}

impl ThingsSource {
    /// Reads on a file thread, and takes note of how Things is.
    async fn ask<T: Send + 'static>(
        self: &Arc<Self>,
        read: impl FnOnce(&Self) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, SourceError> {
        let source = Arc::clone(self);
        on_file_thread(move || {
            let result = read(&source);
            if !matches!(result, Err(Failure::Over)) {
                let why = result.as_ref().err().and_then(Failure::remedy);
                *source.ailing.lock().unwrap_or_else(PoisonError::into_inner) = why;
            }
            result.map_err(|failure| failure.told())
        })
        .await
    }

    async fn todos(
        self: Arc<Self>,
        call: CallContext,
        input: TodosInput,
    ) -> Result<Reply<Todos>, SourceError> {
        for (field, id) in [(PROJECT, &input.project), (AREA, &input.area)] {
            id.as_ref().map_or(Ok(()), |id| call.require(field, id))?;
        }
        let (view, asking) = (input.list, call.clone());
        let all = self
            .ask(move |source| source.reads.todos(view, today(), &|| asking.is_over()))
            .await?;
        on_file_thread(move || input.answer(&call, &all)).await
    }

    async fn projects(
        self: Arc<Self>,
        call: CallContext,
        input: ProjectsInput,
    ) -> Result<Reply<Projects>, SourceError> {
        input
            .area
            .as_ref()
            .map_or(Ok(()), |id| call.require(AREA, id))?;
        let mut projects = self.ask(|source| source.reads.projects()).await?;
        projects.retain(|project| {
            let area = project.area.as_ref().map_or("", |area| &area.id);
            input.area.as_ref().is_none_or(|id| id == area)
                && call.allows(PROJECT, &project.id)
                && call.allows(AREA, area)
        });
        let touched: Vec<_> = projects
            .iter()
            .flat_map(|project| {
                let area = project
                    .area
                    .as_ref()
                    .map(|area| Touched::read(AREA, &area.id, None));
                std::iter::once(Touched::read(PROJECT, &project.id, None)).chain(area)
            })
            .collect();
        let summary = format!("listed {}", counted(projects.len(), "project"));
        Ok(Reply::new(Projects { projects }, summary).touched(unique(touched)))
    }

    async fn areas(
        self: Arc<Self>,
        call: CallContext,
        _: NoInput,
    ) -> Result<Reply<Areas>, SourceError> {
        let mut areas = self.ask(|source| source.reads.areas()).await?;
        areas.retain(|area| call.allows(AREA, &area.id));
        let touched: Vec<_> = areas
            .iter()
            .map(|area| Touched::read(AREA, &area.id, None))
            .collect();
        let summary = format!("listed {}", counted(areas.len(), "area"));
        Ok(Reply::new(Areas { areas }, summary).touched(touched))
    }

    async fn tags(self: Arc<Self>, _: CallContext, _: NoInput) -> Result<Reply<Tags>, SourceError> {
        let tags = self.ask(|source| source.reads.tags()).await?;
        let summary = format!("listed {}", counted(tags.len(), "tag"));
        Ok(Reply::new(Tags { tags }, summary).touched([Touched::read("tags", "all", None)]))
    }

    /// The project or the area that an input names.
    async fn target(
        self: &Arc<Self>,
        call: &CallContext,
        project: Option<String>,
        area: Option<String>,
    ) -> Result<Target, SourceError> {
        let missing = |what| {
            SourceError::transport(
                "not_found",
                format!("there is no open {what} with this id; {what}s.list has them"),
            )
        };
        match (project, area) {
            (None, None) => Ok(Target::default()),
            (Some(_), Some(_)) => Err(SourceError::invalid(
                "name the project or the area, not both",
            )),
            (Some(id), None) => {
                call.require(PROJECT, &id)?;
                let projects = self.ask(|source| source.reads.projects()).await?;
                let found = projects
                    .into_iter()
                    .find(|project| project.id == id)
                    .ok_or_else(|| missing("project"))?;
                let project = Some(Container {
                    id: found.id,
                    title: found.title,
                });
                Ok(Target {
                    project,
                    area: found.area,
                })
            }
            (None, Some(id)) => {
                call.require(AREA, &id)?;
                let areas = self.ask(|source| source.reads.areas()).await?;
                let area = Some(
                    areas
                        .into_iter()
                        .find(|area| area.id == id)
                        .ok_or_else(|| missing("area"))?,
                );
                Ok(Target {
                    project: None,
                    area,
                })
            }
        }
    }

    /// Refuses tags that Things would leave out without a word.
    async fn known_tags(self: &Arc<Self>, tags: &[String]) -> Result<(), SourceError> {
        if tags.is_empty() {
            return Ok(());
        }
        let known = self.ask(|source| source.reads.tags()).await?;
        match tags
            .iter()
            .find(|tag| tag.contains(',') || known.iter().all(|one| one.name != **tag))
        {
            Some(tag) => Err(SourceError::transport(
                "not_found",
                format!(
                    "there is no tag {tag:?}; tags.list has them, and only the owner makes new ones"
                ),
            )),
            None => Ok(()),
        }
    }

    /// The to-do that a change is about.
    async fn todo(self: &Arc<Self>, call: &CallContext, id: &str) -> Result<Todo, SourceError> {
        let missing = || SourceError::transport("not_found", "there is no to-do with this id");
        call.require(TODO_FIELD, id)?;
        if !(16..=40).contains(&id.len()) || !id.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
            return Err(missing());
        }
        if !self.has_token {
            return Err(SourceError::transport(
                "no_token",
                format!(
                    "Things changes a to-do only with its authorization token; the owner sets it: plexusctl sources secret {} token",
                    self.id
                ),
            ));
        }
        let asked = id.to_owned();
        let todo = self
            .ask(move |source| source.reads.todo(&asked))
            .await?
            .ok_or_else(missing)?;
        call.require(PROJECT, todo.project_id())?;
        call.require(AREA, todo.area_id())?;
        Ok(todo)
    }

    async fn plan_add(
        self: Arc<Self>,
        call: CallContext,
        mut input: AddInput,
    ) -> Result<Plan<Change>, SourceError> {
        // Before anything is looked at: such an input fits nowhere.
        let fields = input.fields(today()).map_err(SourceError::invalid)?;
        let target = self
            .target(&call, input.project.take(), input.area.take())
            .await?;
        self.known_tags(&input.tags).await?;
        Change::add(fields, target)
            .map(Change::plan)
            .map_err(SourceError::invalid)
    }

    async fn plan_update(
        self: Arc<Self>,
        call: CallContext,
        mut input: UpdateInput,
    ) -> Result<Plan<Change>, SourceError> {
        let fields = input.fields(today()).map_err(SourceError::invalid)?;
        let todo = self.todo(&call, &input.id).await?;
        let target = self
            .target(&call, input.project.take(), input.area.take())
            .await?;
        self.known_tags(input.tags.as_deref().unwrap_or_default())
            .await?;
        Change::update(fields, todo, target)
            .map(Change::plan)
            .map_err(SourceError::invalid)
    }

    async fn plan_complete(
        self: Arc<Self>,
        call: CallContext,
        input: IdInput,
    ) -> Result<Plan<Change>, SourceError> {
        let todo = self.todo(&call, &input.id).await?;
        Change::complete(todo).map(Change::plan).map_err(cannot)
    }

    async fn plan_undo(
        self: Arc<Self>,
        call: CallContext,
        input: IdInput,
    ) -> Result<Plan<Change>, SourceError> {
        let unknown = || {
            SourceError::transport(
                "not_undoable",
                "no change of this id is kept, or it was never read back",
            )
        };
        let kept = Store::find(self.store.as_ref(), &input.id).await?;
        let (intent, record, is_undone) = kept.ok_or_else(unknown)?;
        let id = record
            .id
            .clone()
            .filter(|_| record.version.is_some())
            .ok_or_else(unknown)?;
        let todo = self.todo(&call, &id).await?;
        Change::undo(intent, (record, is_undone), todo)
            .map(Change::plan)
            .map_err(cannot)
    }

    async fn commit(
        self: Arc<Self>,
        call: CallContext,
        change: Change,
    ) -> Result<Reply<Output>, SourceError> {
        let intent = call.audit().cloned();
        let intent = intent.ok_or_else(|| SourceError::internal("a change without an intent"))?;
        let mut record = change.record(Utc::now().timestamp());
        Store::keep(self.store.as_ref(), &intent, &record, None).await?;
        let (id, fields, second) = (record.id.clone(), record.fields.clone(), record.second);
        let opened = self.ask(move |source| {
            let url = match (&id, &source.token) {
                (None, _) => fields.add(second),
                (Some(id), Some(token)) => fields.update(id, token),
                (Some(_), None) => return Err(Failure::Answer("no token".into())),
            };
            // After that long it may have been handed over.
            Ok(source.opener.open(&url))
        });
        match opened.await? {
            Ok(()) | Err(Failure::Timeout) => {}
            Err(failure) => return Err(failure.told()),
        }
        let todo = self.verified(&record).await?;
        let version = todo.version();
        (record.id, record.version) = (Some(todo.id.clone()), Some(version));
        let of = change.takes_back.as_ref();
        let kept = Store::keep(self.store.as_ref(), &intent, &record, of).await;
        let is_kept = kept.is_ok() && self.store.is_some();
        let touched = change.touched(Some(&todo.id), Some(version));
        let output = Output {
            ok: true,
            id: todo.id,
            day: record.fields.when.and(todo.day),
            deadline: record.fields.deadline.and(todo.deadline),
        };
        let reply = Reply::new(output, change.summary()).touched(touched);
        Ok(match is_kept && record.act != Act::Undo {
            true => reply.undo(intent.as_str()),
            false => reply,
        })
    }

    /// The to-do once Things has it as it was sent.
    async fn verified(self: &Arc<Self>, record: &Record) -> Result<Todo, SourceError> {
        let look = async {
            let mut every = tokio::time::interval(EVERY);
            loop {
                every.tick().await;
                let (record, day) = (record.clone(), today());
                // A failure to read is no news about what was sent.
                if let Ok(Some(todo)) = self
                    .ask(move |source| seen(&source.reads, &record, day))
                    .await
                {
                    return todo;
                }
            }
        };
        tokio::time::timeout(VERIFY, look).await.map_err(|_| {
            let why = "sent, not verified: reading back did not show it within 5 s. Things may not run, may ask the owner to enable its URLs, or may have refused; do not repeat it";
            SourceError::transport("not_verified", why).effect(Effect::Unknown)
        })
    }
}

/// The to-do of a change, where Things has it as it was sent. Blocks.
fn seen(reads: &Reads, record: &Record, today: NaiveDate) -> Result<Option<Todo>, Failure> {
    let todo = match &record.id {
        Some(id) => reads.todo(id)?,
        None => {
            let mut made = reads.made(&record.title, record.second)?;
            // Of two, neither is known to be ours.
            made.pop().filter(|_| made.is_empty())
        }
    };
    Ok(todo.filter(|todo| record.fields.hold(todo, today)))
}

/// Whether a change happened, by what Things has now; from then on it can be taken back. Blocks.
fn settled(reads: &Reads, store: &Store, intent: &AuditId) -> Verdict {
    let mut record = match store.get(intent) {
        Ok(Some(record)) => record,
        // It is kept before the URL is handed over.
        Ok(None) => return Verdict::DidNot,
        Err(_) => return Verdict::CannotTell,
    };
    // One that was read back happened, whatever became of the to-do since.
    if record.version.is_none() {
        let Ok(Some(todo)) = seen(reads, &record, today()) else {
            // What is not there now may come: Things carries a URL out when it runs.
            return Verdict::CannotTell;
        };
        record.version = Some(todo.version());
        record.id = Some(todo.id);
    }
    let _ = store.put_done(intent, &record, record.takes_back.as_ref());
    Verdict::Happened
}

/// The field that names one to-do.
const TODO_FIELD: &str = "id";

impl TodosInput {
    fn answer(&self, call: &CallContext, all: &[Todo]) -> Result<Reply<Todos>, SourceError> {
        let text = self.text.as_deref().map(folded);
        let wanted = |todo: &&Todo| {
            self.project
                .as_ref()
                .is_none_or(|id| id == todo.project_id())
                && self.area.as_ref().is_none_or(|id| id == todo.area_id())
                && self.tag.as_ref().is_none_or(|tag| todo.tags.contains(tag))
                && text.as_ref().is_none_or(|text| todo.says(text))
                && call.allows(PROJECT, todo.project_id())
                && call.allows(AREA, todo.area_id())
        };
        let found: Vec<&Todo> = all.iter().filter(wanted).collect();
        let begin = match &self.next {
            None => 0,
            Some(id) => {
                let last = found.iter().position(|todo| todo.id == *id);
                let gone = || {
                    SourceError::transport(
                        "changed",
                        "the to-do of next is not in the list any more: list again without next",
                    )
                };
                last.ok_or_else(gone)? + 1
            }
        };
        let (mut todos, mut touched, mut bytes, mut last) = (Vec::new(), Vec::new(), 0, None);
        for todo in &found[begin..] {
            if todos.len() == self.limit.unwrap_or(LIMIT) || bytes > ANSWER {
                break;
            }
            if call.is_over() {
                return Err(Failure::Over.told());
            }
            let shown = serde_json::to_value(todo.shown())
                .map_err(|_| SourceError::internal("a to-do that is no JSON"))?;
            bytes += todo.title.len() + todo.notes.len().min(16_000);
            touched.push(Touched::read(TODO, &todo.id, Some(todo.version())));
            touched.extend(
                todo.project
                    .as_ref()
                    .map(|place| Touched::read(PROJECT, &place.id, None)),
            );
            touched.extend(
                todo.area
                    .as_ref()
                    .map(|place| Touched::read(AREA, &place.id, None)),
            );
            todos.push(shown);
            last = Some(todo.id.clone());
        }
        let next = last.filter(|_| begin + todos.len() < found.len());
        let summary = format!("listed {}", counted(todos.len(), "to-do"));
        Ok(Reply::new(Todos { todos, next }, summary).touched(unique(touched)))
    }
}

/// Each of them once.
fn unique(touched: Vec<Touched>) -> Vec<Touched> {
    let mut seen = BTreeSet::new();
    let new = |one: &Touched| seen.insert((one.kind.clone(), one.id.clone()));
    touched.into_iter().filter(new).collect()
}
