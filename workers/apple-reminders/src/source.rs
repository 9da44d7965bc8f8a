//! Reminders as a source: calls in, answers out.
//!
//! ```text
//! open: one question to the app, at which macOS asks the person for consent ─▶ served | why not
//! ```
//!
//! Invariants: a constraint is asked about a list's id before anything of the list is told; under a constraint an id that is
//! not there sounds as one that is not allowed.
//!
//! Must not know: how reminders are found, what a change compares.

use crate::{
    change::{Act, Change, CreateInput, IdInput, Misfit, Output, UpdateInput, settled},
    kept::KeptChanges,
    list,
    store::{List, Reminder, ReminderStore},
};
use plexus_apple::{App, Failure, NameMatch, Queue, is_false, named, time::Clock};
use plexus_ipc::text::counted;
use plexus_ipc::worker::{
    CallContext, Content, Handlers, Health, NoInput, OpenError, Plan, Reply, Role, Secrets, Source,
    SourceContext, SourceError, Touched, Verdict, on_file_thread,
};
use plexus_protocol::AuditId;
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::{path::PathBuf, sync::Arc};

const APP: App = App::Reminders;
/// The kinds that everything is recorded under, and the fields that a constraint may narrow.
const LIST: &str = "list";
const REMINDER: &str = "reminder";
const FIELD: &str = "list";
const ID: &str = "id";

/// The person's lists, served.
pub struct AppleRemindersSource {
    store: Arc<dyn ReminderStore>,
    queue: Queue,
    /// What changes were; none where the worker was given no folder for it.
    kept: Option<KeptChanges>,
}

impl std::fmt::Debug for AppleRemindersSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AppleRemindersSource")
            .finish_non_exhaustive()
    }
}

/// The source's route. The owner fills in nothing.
#[derive(Debug, Default, Deserialize)]
pub struct Config {
    /// For tests: reminders that the fake has beside its usual ones.
    #[serde(default)]
    pub further: usize,
    /// For tests: where the fake's lists lie if the worker has no folder of its own.
    #[serde(default)]
    pub fixture: Option<PathBuf>,
}

#[derive(Debug, Serialize)]
struct Lists {
    lists: Vec<ListedList>,
}

#[derive(Debug, Serialize)]
struct ListedList {
    id: String,
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    account: Option<String>,
    #[serde(skip_serializing_if = "is_false")]
    default: bool,
    writable: bool,
}

#[cfg(target_os = "macos")]
fn store(_: Config, _: Option<PathBuf>) -> Arc<dyn ReminderStore> {
    Arc::new(crate::os::EventKit)
}

#[cfg(not(target_os = "macos"))]
fn store(config: Config, scratch: Option<PathBuf>) -> Arc<dyn ReminderStore> {
    let file = scratch.map(|folder| folder.join(crate::fake::FILE));
    let file = file.or(config.fixture);
    Arc::new(crate::fake::FakeReminders::new(file, config.further))
}

impl Source for AppleRemindersSource {
    type Config = Config;

    async fn open(config: Config, _: Secrets, _: Role) -> Result<Self, OpenError> {
        let source = Self {
            store: store(config, None),
            queue: Queue::new(APP),
            kept: None,
        };
        source.answers().await
    }

    async fn open_with(config: Config, given: SourceContext) -> Result<Self, OpenError> {
        let kept = given.scratch.clone().map(KeptChanges::new);
        if let (Role::Writer, Some(changes), Some(bound)) = (given.role, kept.clone(), given.kept) {
            let pruned = on_file_thread(move || Ok(changes.prune(bound))).await;
            if !matches!(pruned, Ok(Ok(()))) {
                return Err(OpenError::internal("what is kept for undo cannot be read"));
            }
        }
        let source = Self {
            store: store(config, given.scratch),
            queue: Queue::new(APP),
            kept,
        };
        source.answers().await
    }

    async fn settle(&self, intent: AuditId) -> Verdict {
        let Some(kept) = self.kept.clone() else {
            return Verdict::CannotTell;
        };
        let store = Arc::clone(&self.store);
        let asked = self.queue.ask(move || {
            // It is kept before the store is asked.
            match kept.get(&intent).map_err(|_| Failure::Store)? {
                None => Ok(Verdict::DidNot),
                Some(mut record) => {
                    let verdict = settled(&*store, &record)?;
                    if matches!(verdict, Verdict::Happened) {
                        // From now on it can be taken back, but for an addition: nobody knows its id.
                        record.done |= record.id.is_some();
                        let _ = kept.put_done(&intent, &record, record.takes_back.as_ref());
                    }
                    Ok(verdict)
                }
            }
        });
        asked.await.unwrap_or(Verdict::CannotTell)
    }

    async fn health(&self) -> Health {
        let store = Arc::clone(&self.store);
        self.queue.health(move || store.lists())
    }

    async fn check(&self) -> Health {
        let store = Arc::clone(&self.store);
        self.queue.check(move || store.lists()).await
    }

    fn handlers() -> Handlers<Self> {
        Handlers::new()
            .read("lists.list", Self::lists)
            .read("reminders.list", Self::reminders)
            .effect("reminders.create", Self::plan_create, Self::commit)
            .effect("reminders.complete", Self::plan_complete, Self::commit)
            .effect("reminders.update", Self::plan_update, Self::commit)
            .effect("undo", Self::plan_undo, Self::commit)
    }
}

impl AppleRemindersSource {
    /// Itself, where the app answers.
    async fn answers(self) -> Result<Self, OpenError> {
        let store = Arc::clone(&self.store);
        match self.queue.ask(move || store.lists()).await {
            Ok(_) => Ok(self),
            Err(failure) => Err(failure.open_error(APP)),
        }
    }

    /// Asks the store.
    async fn ask<T: Send + 'static>(
        &self,
        work: impl FnOnce(&dyn ReminderStore) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, SourceError> {
        let store = Arc::clone(&self.store);
        self.queue.read(move || work(&*store)).await
    }

    async fn clock(&self) -> Result<Clock, SourceError> {
        self.ask(|store| Ok(Clock::in_zone(&store.zone()?))).await
    }

    /// The list that `given` names, or the default one, where the call may know of it.
    async fn list(&self, call: &CallContext, given: Option<&str>) -> Result<List, SourceError> {
        let all = self.ask(ReminderStore::lists).await?;
        let id = match given {
            None => all
                .iter()
                .find(|list| list.default)
                .map(|list| list.id.as_str()),
            Some(given) => {
                let pairs = all
                    .iter()
                    .map(|list| (list.id.as_str(), list.name.as_str()));
                match named(pairs, given) {
                    NameMatch::One(id) => Some(id),
                    NameMatch::Nobody => None,
                    NameMatch::Several(ids) => {
                        call.require(FIELD, given)?;
                        let ids = format!(
                            "{} lists have this name; give an id: {}",
                            ids.len(),
                            ids.join(", ")
                        );
                        return Err(SourceError::transport("ambiguous", ids));
                    }
                }
            }
        };
        // Under a constraint, a list that is not there sounds as one that is not allowed.
        call.require(FIELD, id.or(given).unwrap_or_default())?;
        let found = id.and_then(|id| all.iter().find(|list| list.id == id));
        found.cloned().ok_or_else(|| {
            SourceError::transport(
                "not_found",
                "there is no list with this id or name; lists.list has them",
            )
        })
    }

    /// The reminder of this id with its list, where the call may know of it. `given` is a list that it must be in.
    async fn reminder(
        &self,
        call: &CallContext,
        id: &str,
        given: Option<&str>,
    ) -> Result<(List, Reminder), SourceError> {
        call.require(ID, id)?;
        let wanted = id.to_owned();
        let found = self.ask(move |store| store.reminder(&wanted)).await?;
        let id = found.as_ref().map_or("", |reminder| &reminder.list);
        call.require(FIELD, id)?;
        let reminder = found.ok_or_else(|| Failure::Gone.told(APP))?;
        let list = self.list(call, Some(&reminder.list)).await?;
        self.is_of(call, &list, given).await?;
        Ok((list, reminder))
    }

    /// Holds that `list` is the one that `given` names.
    async fn is_of(
        &self,
        call: &CallContext,
        list: &List,
        given: Option<&str>,
    ) -> Result<(), SourceError> {
        let Some(given) = given else { return Ok(()) };
        match self.list(call, Some(given)).await?.id == list.id {
            true => Ok(()),
            false => Err(SourceError::invalid("it is in another list")),
        }
    }

    async fn lists(
        self: Arc<Self>,
        call: CallContext,
        _: NoInput,
    ) -> Result<Reply<Lists>, SourceError> {
        let mut lists = self.ask(ReminderStore::lists).await?;
        lists.retain(|list| call.allows(FIELD, &list.id));
        let touched: Vec<_> = lists
            .iter()
            .map(|list| Touched::read(LIST, &list.id, None))
            .collect();
        let summary = format!("listed {}", counted(lists.len(), "list"));
        let listed = |list: List| ListedList {
            id: list.id,
            name: list.name,
            account: list.account,
            default: list.default,
            writable: list.writable,
        };
        let lists = lists.into_iter().map(listed).collect();
        Ok(Reply::new(Lists { lists }, summary).touched(touched))
    }

    async fn reminders(
        self: Arc<Self>,
        call: CallContext,
        input: list::Input,
    ) -> Result<Reply<list::Output>, SourceError> {
        let lists: Vec<String> = match &input.list {
            Some(given) => vec![self.list(&call, Some(given)).await?.id],
            None => {
                let all = self.ask(ReminderStore::lists).await?;
                let allowed = all.into_iter().filter(|list| call.allows(FIELD, &list.id));
                allowed.map(|list| list.id).collect()
            }
        };
        let touched: Vec<_> = lists
            .iter()
            .map(|id| Touched::read(LIST, id, None))
            .collect();
        let listed = self.ask(move |store| {
            let clock = Clock::in_zone(&store.zone()?);
            Ok(input.answer(store, &clock, &lists, &|| call.is_over()))
        });
        let output = listed.await?.map_err(|why| why.told(APP))?;
        let reminders: Vec<_> = output
            .reminders
            .iter()
            .map(|one| Touched::read(REMINDER, &one.id, Some(one.version)))
            .collect();
        let summary = format!("listed {}", counted(output.reminders.len(), "reminder"));
        Ok(Reply::new(output, summary)
            .touched(touched)
            .touched(reminders))
    }

    async fn plan_create(
        self: Arc<Self>,
        call: CallContext,
        input: CreateInput,
    ) -> Result<Plan<Change>, SourceError> {
        let clock = self.clock().await?;
        // Before any list is looked at: such an input fits nowhere.
        let content = input.content(&clock).map_err(misfit)?;
        let list = writable(self.list(&call, input.list.as_deref()).await?)?;
        Ok(planned(Change::new(list, Act::Add(content)), &clock))
    }

    async fn plan_complete(
        self: Arc<Self>,
        call: CallContext,
        input: IdInput,
    ) -> Result<Plan<Change>, SourceError> {
        let (list, old) = self
            .reminder(&call, &input.id, input.list.as_deref())
            .await?;
        let change = Change::complete(writable(list)?, old).map_err(cannot)?;
        Ok(planned(change, &self.clock().await?))
    }

    async fn plan_update(
        self: Arc<Self>,
        call: CallContext,
        input: UpdateInput,
    ) -> Result<Plan<Change>, SourceError> {
        let clock = self.clock().await?;
        input.check(&clock).map_err(misfit)?;
        let (list, old) = self
            .reminder(&call, &input.id, input.list.as_deref())
            .await?;
        let new = input.content(&old.content, &clock);
        let new = new.map_err(SourceError::invalid)?;
        let change = Change::update(writable(list)?, old, new).map_err(cannot)?;
        Ok(planned(change, &clock))
    }

    async fn plan_undo(
        self: Arc<Self>,
        call: CallContext,
        input: IdInput,
    ) -> Result<Plan<Change>, SourceError> {
        let unknown = || SourceError::transport("not_undoable", "no change of this id is kept");
        let kept = KeptChanges::find(self.kept.as_ref(), &input.id).await?;
        let (intent, record, is_undone) = kept.ok_or_else(unknown)?;
        let list = self.list(&call, Some(&record.list)).await?;
        self.is_of(&call, &list, input.list.as_deref()).await?;
        let id = record.id.clone().unwrap_or_default();
        let now = self.ask(move |store| store.reminder(&id)).await?;
        // Moved to another list, it is another one.
        let now = now.filter(|now| now.list == list.id);
        let change = Change::undo(writable(list)?, intent, (record, is_undone), now);
        let change = change.map_err(cannot)?;
        Ok(planned(change, &self.clock().await?))
    }

    async fn commit(
        self: Arc<Self>,
        call: CallContext,
        change: Change,
    ) -> Result<Reply<Output>, SourceError> {
        let intent = call.audit().cloned();
        let intent = intent.ok_or_else(|| SourceError::internal("a change without an intent"))?;
        let clock = self.clock().await?;
        let (store, kept) = (Arc::clone(&self.store), self.kept.clone());
        let (change, made) = (Arc::new(change), intent.clone());
        let making = Arc::clone(&change);
        let made = self
            .queue
            .ask(move || making.make(&*store, kept.as_ref(), &made))
            .await;
        let (made, undoable) =
            made.map_err(|failure| failure.told(APP).effect(failure.effect()))?;
        let removed = matches!(change.act, Act::Remove(_));
        let version = (!removed).then(|| made.version());
        let touched = [
            Touched::write(LIST, &made.list, None),
            Touched::write(REMINDER, &made.id, version),
        ];
        let completed = made
            .completed
            .filter(|_| matches!(change.act, Act::Complete(_)));
        let due = made.content.due.filter(|_| change.sets_due());
        let output = Output {
            ok: true,
            id: made.id,
            list: made.list,
            due: due.map(|due| list::due(&clock, due)),
            completed: completed.map(|at| clock.shown(at, None)),
            removed: change.takes_back.is_some().then_some(removed),
        };
        let reply = Reply::new(output, change.summary()).touched(touched);
        Ok(match undoable {
            true => reply.undo(intent.as_str()),
            false => reply,
        })
    }
}

/// `list`, where its account takes changes.
fn writable(list: List) -> Result<List, SourceError> {
    match list.writable {
        true => Ok(list),
        false => Err(Failure::ReadOnly.told(APP)),
    }
}

fn misfit((field, why): Misfit) -> SourceError {
    SourceError::invalid(why).detail(json!({"field": field}))
}

fn cannot((reason, why): (&str, &str)) -> SourceError {
    match reason {
        "changed_since" | "already_undone" => SourceError::changed(reason, why),
        _ => SourceError::transport(reason, why),
    }
}

fn planned(change: Change, clock: &Clock) -> Plan<Change> {
    let (token, preview) = (change.state_token(), change.preview(clock));
    let summary = change.summary();
    let mut touched = vec![Touched::write(LIST, &change.list.id, None)];
    let before = change.old().map(Reminder::version);
    if let Some(old) = change.old() {
        touched.push(Touched::write(REMINDER, &old.id, before));
    }
    // A standing grant covers a reminder as the agent last listed it. An undo is held against what the change left.
    let content = match &change.act {
        Act::Complete(_) | Act::Update(..) => before.map(Content::Is),
        Act::Add(_) => Some(Content::Absent),
        Act::Remove(_) | Act::Restore(..) => None,
    };
    let plan = Plan::new(change, token, preview, summary).touched(touched);
    match content {
        Some(content) => plan.before(content),
        None => plan,
    }
}
