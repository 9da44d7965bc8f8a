//! The account as a source: calls in, answers out; what a failure means to an agent and to the owner.
//!
//! ```text
//! health: well ◀── an answer ──▶ unavailable, with what to do ── every 30 s: is it back? ─▶ …
//! ```
//!
//! Invariants: a constraint is asked about a calendar's id before anything of it is asked of the server or taken from what
//! is kept; calendars that the owner did not name do not exist; iCalendar is parsed on a file thread, because probes are
//! answered meanwhile.
//!
//! Must not know: how requests are made, what an object looks like.

use crate::{
    cache::{Cache, Question},
    http::{Failure, Http},
    read::{Answered, Events, EventsInput, NoList, Todos, TodosInput, warnings},
    server::{Calendar, Calendars, LeftOut, Listing, Object, Server},
    store::{Act, Store},
    write::{Change, EventInput, IdInput, Misfit, Output, Planned, TodoInput, UndoInput, settled},
};
use chrono::{Local, Utc};
use hyper::StatusCode;
use plexus_ipc::text::counted;
use plexus_ipc::worker::{
    CallContext, Content, Handlers, Health, NoInput, OpenError, Plan, Reply, Role, Secrets, Source,
    SourceContext, SourceError, Touched, Verdict, on_file_thread,
};
use plexus_protocol::{AuditId, Digest, Effect};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// The kinds that everything is recorded under, and the fields that a constraint may narrow.
const CALENDAR: &str = "calendar";
const EVENT: &str = "event";
const TODO: &str = "todo";
const OF_EVENTS: &str = "calendars";
const OF_EVENT: &str = "calendar";
const OF_TODOS: &str = "list";
const OF_ONE: &str = "id";
/// No constraint is about it: the object's own id has been judged.
const JUDGED: &str = "";
/// From one look at a server that does not serve to the next.
const LOOK_AGAIN: Duration = Duration::from_secs(30);
/// Time that one calendar may take. With less, none is asked any more once one was silent for that long.
const ASKING: Duration = Duration::from_secs(26);
/// Most ids of calendars that the owner is shown beside a name that is none.
const NAMED: usize = 8;
/// Of a calendar that the owner named.
const LOST_ABSENT: &str = "nothing of it is listed: the account shows no calendar of this name";
/// Text of objects that one call may hold, in bytes.
const HELD: usize = 48 * 1024 * 1024;

/// One account, served.
#[derive(Debug)]
pub struct CaldavSource {
    server: Arc<Server>,
    /// Ids or names of the calendars that exist for agents; empty: all.
    only: Vec<String>,
    /// What changes were; none where the worker was given no folder for it.
    store: Option<Store>,
    cache: Cache,
    ailing: Arc<Mutex<Ailing>>,
    /// The source's id, for words that name a command.
    id: String,
}

/// What is wrong with the server, and when that was last looked at.
#[derive(Debug, Default)]
struct Ailing {
    /// The source's id, for words that name a command.
    source: String,
    why: Option<String>,
    /// Names of the owner that are no calendar's, or that there is none, in a sentence.
    absent: Option<String>,
    looked: Option<Instant>,
}

impl Ailing {
    fn health(&self) -> Health {
        match (&self.why, &self.absent) {
            (Some(why), _) => Health::Unavailable(why.as_str().into()),
            (None, Some(absent)) => Health::Degraded(absent.as_str().into()),
            (None, None) => Health::Well,
        }
    }
}

/// The source's route.
#[derive(Debug, Deserialize)]
pub struct Config {
    /// The server, as the owner typed it; the egress has read its host from it.
    pub url: String,
    /// The user's name.
    pub user: String,
    /// Ids or names of calendars, separated by commas.
    #[serde(default)]
    pub calendars: String,
}

#[derive(Debug, Serialize)]
struct Listed {
    calendars: Vec<ListedCalendar>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<String>,
}

#[derive(Debug, Serialize)]
struct ListedCalendar {
    id: String,
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    color: Option<String>,
    events: bool,
    todos: bool,
    writable: bool,
}

impl Source for CaldavSource {
    type Config = Config;

    async fn open(_: Config, _: Secrets, _: Role) -> Result<Self, OpenError> {
        Err(OpenError::config(
            "a server is reached by way of an egress alone",
        ))
    }

    async fn open_with(config: Config, given: SourceContext) -> Result<Self, OpenError> {
        let id = given.name();
        let http = given
            .egress
            .and_then(|egress| Http::new(&egress, &config.user));
        let http = http.ok_or_else(|| OpenError::config("url names no server"))?;
        let found = Server::find(http, config.url.trim()).await;
        let server = found.map_err(|failure| open_error(&failure, &id))?;
        let store = given.scratch.map(Store::new);
        if let (Role::Writer, Some(store), Some(kept)) = (given.role, store.clone(), given.kept) {
            let pruned = on_file_thread(move || Ok(store.prune(kept))).await;
            if !matches!(pruned, Ok(Ok(()))) {
                return Err(OpenError::internal("what is kept for undo cannot be read"));
            }
        }
        let only = config.calendars.split(',').map(str::trim);
        let opened = Self {
            server: Arc::new(server),
            only: only
                .filter(|name| !name.is_empty())
                .map(str::to_owned)
                .collect(),
            store,
            cache: Cache::default(),
            ailing: Arc::new(Mutex::new(Ailing {
                source: id.clone(),
                ..Ailing::default()
            })),
            id,
        };
        // The names are the owner's: a mistyped one is told when the source is added or changed.
        if !opened.only.is_empty() {
            opened.look().await;
        }
        Ok(opened)
    }

    async fn settle(&self, intent: AuditId) -> Verdict {
        let Some(store) = &self.store else {
            return Verdict::CannotTell;
        };
        let Ok(kept) = store.get(&intent) else {
            return Verdict::CannotTell;
        };
        // It is kept before the request leaves.
        let Some(record) = kept else {
            return Verdict::DidNot;
        };
        let Ok(calendars) = self.server.calendars().await else {
            return Verdict::CannotTell;
        };
        let Some(calendar) = calendars.all.iter().find(|c| c.id == record.calendar) else {
            return Verdict::CannotTell;
        };
        let Ok(now) = self.server.object(calendar, &record.object).await else {
            return Verdict::CannotTell;
        };
        let verdict = settled(&record, now.as_ref());
        if let (Verdict::Happened, Some(of)) = (&verdict, &record.takes_back) {
            store.mark_undone(&intent, of);
        }
        verdict
    }

    async fn health(&self) -> Health {
        let mut ailing = self.ailing();
        let is_due = ailing.looked.is_none_or(|at| at.elapsed() > LOOK_AGAIN);
        if ailing.why.is_some() && is_due {
            ailing.looked = Some(Instant::now());
            let (server, ailing) = (Arc::clone(&self.server), Arc::clone(&self.ailing));
            tokio::spawn(async move { note(&ailing, &server.check().await) });
        }
        ailing.health()
    }

    async fn check(&self) -> Health {
        self.look().await;
        self.ailing().health()
    }

    fn handlers() -> Handlers<Self> {
        Handlers::new()
            .read("calendars.list", Self::calendars)
            .read("events.list", Self::events)
            .read("todos.list", Self::todos)
            .effect("todos.create", Self::plan_todo, Self::commit)
            .effect("todos.complete", Self::plan_complete, Self::commit)
            .effect("events.create", Self::plan_event, Self::commit)
            .effect("undo", Self::plan_undo, Self::commit)
    }
}

impl CaldavSource {
    fn ailing(&self) -> MutexGuard<'_, Ailing> {
        self.ailing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks the server for the calendars, and takes note of how it is and of names that are no calendar's. It goes on
    /// where nobody waits for it any more: the next probe has its answer.
    async fn look(&self) {
        let (server, ailing) = (Arc::clone(&self.server), Arc::clone(&self.ailing));
        let (only, id) = (self.only.clone(), self.id.clone());
        let looked = tokio::spawn(async move {
            let found = server.calendars().await;
            note(&ailing, &found);
            let mut ailing = ailing.lock().unwrap_or_else(PoisonError::into_inner);
            match &found {
                Ok(found) => ailing.absent = absent_words(&only, found, &id),
                // A failure that a call would report of one object is one of the account here.
                Err(failure) => {
                    ailing.why.get_or_insert_with(|| failure.to_string());
                }
            }
        });
        if looked.await.is_err() {
            self.ailing().why = Some("the check of the server failed: test it again".to_owned());
        }
    }

    /// Takes note of how the server is, and tells a failure.
    fn heard<T>(&self, result: Result<T, Failure>) -> Result<T, SourceError> {
        note(&self.ailing, &result);
        result.map_err(|failure| told(&failure))
    }

    /// The calendars that exist for this call, and those of them that cannot be listed.
    async fn visible(
        &self,
        call: &CallContext,
        field: &str,
    ) -> Result<(Vec<Calendar>, Vec<LeftOut>), SourceError> {
        self.visible_of(self.server.calendars().await, call, field)
    }

    /// The same with their versions, for a call that reads what they hold.
    async fn readable(
        &self,
        call: &CallContext,
        field: &str,
    ) -> Result<(Vec<Calendar>, Vec<LeftOut>), SourceError> {
        self.visible_of(self.server.versioned_calendars().await, call, field)
    }

    fn visible_of(
        &self,
        all: Result<Calendars, Failure>,
        call: &CallContext,
        field: &str,
    ) -> Result<(Vec<Calendar>, Vec<LeftOut>), SourceError> {
        let found = self.heard(all)?;
        let absent: Vec<_> = absent(&self.only, &found).cloned().collect();
        self.ailing().absent = absent_words(&self.only, &found, &self.id);
        let Calendars { mut all, mut lost } = found;
        let exists = |id: &str, name: &str| {
            let mut only = self.only.iter();
            (self.only.is_empty() || only.any(|only| only == id || only == name))
                && call.allows(field, id)
        };
        lost.extend(absent.into_iter().map(|only| (only, LOST_ABSENT)));
        all.retain(|calendar| exists(&calendar.id, &calendar.name));
        lost.retain(|(id, _)| exists(id, id));
        Ok((all, lost))
    }

    /// The calendar with this id, of things of this kind, as [`one_of`] has it.
    async fn calendar(
        &self,
        call: &CallContext,
        field: &str,
        id: &str,
        kind: &str,
    ) -> Result<Calendar, SourceError> {
        call.require(field, id)?;
        one_of(self.visible(call, field).await?.0, id, kind)
    }

    /// The calendar that an object's id names, of things of this kind, and that object.
    async fn object(
        &self,
        call: &CallContext,
        field: &str,
        id: &str,
        kind: &str,
    ) -> Result<(Calendar, Option<Object>), SourceError> {
        let (calendar, _) = id
            .rsplit_once('/')
            .ok_or_else(|| SourceError::invalid("an id has the list's id, a / and a name"))?;
        let calendar = self.calendar(call, field, calendar, kind).await?;
        let object = self.heard(self.server.object(&calendar, id).await)?;
        Ok((calendar, object))
    }

    async fn calendars(
        self: Arc<Self>,
        call: CallContext,
        _: NoInput,
    ) -> Result<Reply<Listed>, SourceError> {
        let (visible, lost) = self.visible(&call, OF_EVENTS).await?;
        let touched: Vec<_> = visible
            .iter()
            .map(|c| Touched::read(CALENDAR, &c.id, None))
            .collect();
        let summary = format!("listed {}", counted(visible.len(), "calendar"));
        let listed = |c: Calendar| ListedCalendar {
            id: c.id,
            name: c.name,
            color: c.color,
            events: c.events,
            todos: c.todos,
            writable: c.writable,
        };
        let calendars = visible.into_iter().map(listed).collect();
        let listed = Listed {
            calendars,
            warnings: warnings(&lost),
        };
        Ok(Reply::new(listed, summary).touched(touched))
    }

    /// What these calendars answer, and what was touched by that. A calendar of the same version as when it was asked last is
    /// not asked again; one that fails is named in the answer, unless none answers.
    async fn objects(
        &self,
        call: &CallContext,
        calendars: &[Calendar],
        component: &'static str,
        between: Option<(String, String)>,
    ) -> Result<(Answered, Vec<Touched>), SourceError> {
        let (mut all, mut held, mut touched) = (Answered::default(), 0_usize, Vec::new());
        let (mut first, mut has_stalled) = (None, false);
        for calendar in calendars {
            let question = Question {
                calendar: calendar.id.clone(),
                component,
                between: between.clone(),
            };
            let answered = match has_stalled && call.remaining() < ASKING {
                true => Err(Failure::Stalled),
                false => self.answer(calendar, question).await,
            };
            let bytes = |objects: &Arc<[Object]>| -> usize {
                objects.iter().map(|one| one.text.len()).sum()
            };
            let (objects, left_out) = match answered {
                Ok((objects, left_out)) if held + bytes(&objects) <= HELD => (objects, left_out),
                Err(failure) if failure.is_of_account() => return self.heard(Err(failure)),
                other => {
                    let failure = other.err().unwrap_or(Failure::TooLarge);
                    has_stalled |= failure == Failure::Stalled;
                    let why = told(&failure);
                    let words = why.message.as_str();
                    all.failed
                        .push(format!("{}: nothing of it is listed: {words}", calendar.id));
                    first.get_or_insert(why);
                    continue;
                }
            };
            held += bytes(&objects);
            all.objects.push((calendar.id.clone(), objects));
            all.left_out.extend(left_out);
            touched.push(Touched::read(CALENDAR, &calendar.id, None));
        }
        match first {
            Some(why) if all.objects.is_empty() => Err(why),
            _ => Ok((all, touched)),
        }
    }

    async fn answer(
        &self,
        calendar: &Calendar,
        question: Question,
    ) -> Result<(Arc<[Object]>, Vec<LeftOut>), Failure> {
        let version = calendar.version.as_deref();
        let kept = version.and_then(|version| self.cache.get(&question, version));
        if let Some(kept) = kept {
            return Ok((kept, Vec::new()));
        }
        let Listing { objects, left_out } = self.server.objects(calendar, &question).await?;
        // What was not answered may be there the next time.
        if let Some(version) = version.filter(|_| left_out.is_empty()) {
            self.cache.keep(question, version.to_owned(), &objects);
        }
        Ok((objects, left_out))
    }

    async fn events(
        self: Arc<Self>,
        call: CallContext,
        input: EventsInput,
    ) -> Result<Reply<Events>, SourceError> {
        let range = input.range(&Local).map_err(SourceError::invalid)?;
        let wanted = input.calendars.clone();
        for id in wanted.iter().flatten() {
            call.require(OF_EVENTS, id)?;
        }
        let (mut calendars, mut lost) = self.readable(&call, OF_EVENTS).await?;
        calendars.retain(|c| c.events);
        if let Some(wanted) = wanted {
            if let Some(missing) = wanted
                .iter()
                .find(|id| calendars.iter().all(|c| c.id != **id))
            {
                let why = format!("there is no calendar {missing:?}; calendars.list has their ids");
                return Err(SourceError::transport("not_found", why));
            }
            calendars.retain(|c| wanted.contains(&c.id));
            lost.clear();
        }
        let (mut answered, touched) = self
            .objects(&call, &calendars, "VEVENT", Some(range.asked()))
            .await?;
        answered.left_out.extend(lost);
        on_file_thread(move || {
            let output = input
                .answer(&range, &Local, &answered, &|| call.is_over())
                .map_err(no_list)?;
            let ids = output.events.iter().map(|event| event.id.as_str());
            let ids = ids.collect::<BTreeSet<_>>().into_iter();
            let events: Vec<_> = ids.map(|id| Touched::read(EVENT, id, None)).collect();
            let summary = format!("listed {}", counted(output.events.len(), "event"));
            Ok(Reply::new(output, summary).touched(touched).touched(events))
        })
        .await
    }

    async fn todos(
        self: Arc<Self>,
        call: CallContext,
        input: TodosInput,
    ) -> Result<Reply<Todos>, SourceError> {
        let before = input.before().map_err(SourceError::invalid)?;
        if let Some(id) = &input.list {
            call.require(OF_TODOS, id)?;
        }
        let (calendars, lost) = self.readable(&call, OF_TODOS).await?;
        let (calendars, lost) = match &input.list {
            Some(id) => (vec![one_of(calendars, id, TODO)?], Vec::new()),
            None => (calendars, lost),
        };
        let calendars: Vec<_> = calendars.into_iter().filter(|c| c.todos).collect();
        let (mut answered, touched) = self.objects(&call, &calendars, "VTODO", None).await?;
        answered.left_out.extend(lost);
        on_file_thread(move || {
            let output = input
                .answer(before.as_ref(), &Local, &answered, &|| call.is_over())
                .map_err(no_list)?;
            let todos = output
                .todos
                .iter()
                .map(|todo| Touched::read(TODO, &todo.id, Some(version(&todo.etag))));
            let todos: Vec<_> = todos.collect();
            let summary = format!("listed {}", counted(output.todos.len(), "to-do"));
            Ok(Reply::new(output, summary).touched(touched).touched(todos))
        })
        .await
    }

    async fn plan_todo(
        self: Arc<Self>,
        call: CallContext,
        input: TodoInput,
    ) -> Result<Plan<Change>, SourceError> {
        let draft = input.draft().map_err(misfit)?;
        let list = self.calendar(&call, OF_TODOS, &input.list, TODO).await?;
        Ok(planned(Change::add(writable(list)?, draft)))
    }

    async fn plan_event(
        self: Arc<Self>,
        call: CallContext,
        input: EventInput,
    ) -> Result<Plan<Change>, SourceError> {
        let draft = input.draft().map_err(misfit)?;
        let calendar = self
            .calendar(&call, OF_EVENT, &input.calendar, EVENT)
            .await?;
        Ok(planned(Change::add(writable(calendar)?, draft)))
    }

    async fn plan_complete(
        self: Arc<Self>,
        call: CallContext,
        input: IdInput,
    ) -> Result<Plan<Change>, SourceError> {
        call.require(OF_ONE, &input.id)?;
        let (calendar, object) = self.object(&call, JUDGED, &input.id, TODO).await?;
        let missing = || SourceError::transport("not_found", "there is no to-do with this id");
        let (calendar, object) = (writable(calendar)?, object.ok_or_else(missing)?);
        Change::complete(calendar, object)
            .map(planned)
            .map_err(|why| cannot(&why))
    }

    async fn plan_undo(
        self: Arc<Self>,
        call: CallContext,
        input: UndoInput,
    ) -> Result<Plan<Change>, SourceError> {
        let unknown = || SourceError::transport("not_undoable", "no change of this id is kept");
        let kept = Store::find(self.store.as_ref(), &input.id).await?;
        let (intent, record, is_undone) = kept.ok_or_else(unknown)?;
        if input.list.is_some_and(|list| list != record.calendar) {
            return Err(SourceError::invalid(
                "the change of this id is in another list",
            ));
        }
        let (calendar, now) = self
            .object(&call, OF_TODOS, &record.object, CALENDAR)
            .await?;
        Change::undo(writable(calendar)?, intent, (record, is_undone), now)
            .map(planned)
            .map_err(|why| cannot(&why))
    }

    async fn commit(
        self: Arc<Self>,
        call: CallContext,
        change: Change,
    ) -> Result<Reply<Output>, SourceError> {
        let intent = call.audit().cloned();
        let intent = intent.ok_or_else(|| SourceError::internal("a change without an intent"))?;
        let now = Utc::now();
        let mut record = change.record(&intent, now);
        Store::keep(self.store.as_ref(), &intent, &record, None).await?;
        let made = change.make(&self.server, &intent, &record, now).await;
        let made = match made {
            Ok(made) => {
                note(&self.ailing, &Ok(()));
                made
            }
            Err((failure, effect)) => {
                let error = told(&failure).effect(effect);
                note::<()>(&self.ailing, &Err(failure));
                return Err(error);
            }
        };
        record.version.clone_from(&made.version);
        record.done = true;
        let is_undo = change.takes_back.is_some();
        let of = change.takes_back.as_ref();
        let kept = Store::keep(self.store.as_ref(), &intent, &record, of).await;
        let is_kept = kept.is_ok();
        let undoable = is_kept && (made.version.is_some() || matches!(record.act, Act::Remove));
        let (todo, calendar) = (kind(&change) == TODO, change.calendar.id.clone());
        let digest = made.version.as_deref().map(version);
        let touched = [
            Touched::write(CALENDAR, &calendar, None),
            Touched::write(kind(&change), &made.id, digest),
        ];
        let (list, calendar) = match todo || is_undo {
            true => (Some(calendar), None),
            false => (None, Some(calendar)),
        };
        let (start, end) = change.act.times();
        let (due, end) = if todo { (end, None) } else { (None, end) };
        let output = Output {
            ok: true,
            id: made.id,
            list,
            calendar,
            due,
            start,
            end,
            completed: made
                .at
                .map(|at| at.to_rfc3339_opts(chrono::SecondsFormat::Secs, true)),
            removed: is_undo.then_some(matches!(change.act, Planned::Remove(_))),
        };
        let reply = Reply::new(output, change.summary()).touched(touched);
        Ok(if undoable {
            reply.undo(intent.as_str())
        } else {
            reply
        })
    }
}

/// The names among `only` that are no calendar's.
fn absent<'a>(only: &'a [String], found: &'a Calendars) -> impl Iterator<Item = &'a String> {
    only.iter().filter(|only| {
        let is_named = |c: &Calendar| c.id == **only || c.name == **only;
        !found.all.iter().any(is_named) && !found.lost.iter().any(|(id, _)| id == *only)
    })
}

/// The same for the owner, with the ids that there are and the command, or that there are none; `None` where each name is a
/// calendar's.
fn absent_words(only: &[String], found: &Calendars, source: &str) -> Option<String> {
    if found.all.is_empty() && found.lost.is_empty() {
        return Some(
            "the account has no calendar and no list: agents find nothing there".to_owned(),
        );
    }
    let absent: Vec<_> = absent(only, found).map(String::as_str).collect();
    if absent.is_empty() {
        return None;
    }
    let ids: Vec<_> = found
        .all
        .iter()
        .take(NAMED)
        .map(|c| c.id.as_str())
        .collect();
    let more = if found.all.len() > NAMED {
        " and more"
    } else {
        ""
    };
    Some(format!(
        "the account has no calendar {}; it has {}{more}: plexusctl sources set {source} calendars=NAMES",
        absent.join(", "),
        ids.join(", "),
    ))
}

/// The calendar with this id among `all` that has things of `kind`; of any, for [`CALENDAR`]. One without them is refused as
/// one that does not exist: an agent that may list only events cannot tell which lists of to-dos there are, nor the reverse,
/// except that a warning names each that cannot be listed, whose kind is not known.
fn one_of(all: Vec<Calendar>, id: &str, kind: &str) -> Result<Calendar, SourceError> {
    let (has, what): (fn(&Calendar) -> bool, _) = match kind {
        TODO => (|c| c.todos, "list of to-dos"),
        EVENT => (|c| c.events, "calendar of events"),
        _ => (|_| true, "calendar or list"),
    };
    let found = all.into_iter().find(|c| c.id == id && has(c));
    found.ok_or_else(|| {
        SourceError::transport(
            "not_found",
            format!("there is no {what} with this id; calendars.list has them"),
        )
    })
}

/// `calendar`, where the account may change it.
fn writable(calendar: Calendar) -> Result<Calendar, SourceError> {
    match calendar.writable {
        true => Ok(calendar),
        false => Err(SourceError::transport(
            "read_only",
            "the account may read this calendar and not change it",
        )),
    }
}

fn kind(change: &Change) -> &'static str {
    let text = match &change.act {
        Planned::Complete(_) => return TODO,
        Planned::Add(draft) => return if draft.is_todo() { TODO } else { EVENT },
        Planned::Remove(object) | Planned::Restore(object, _) => &object.text,
        Planned::Again(_, text) => text,
    };
    match crate::ical::todos(text).is_ok_and(|todos| !todos.is_empty()) {
        true => TODO,
        false => EVENT,
    }
}

fn planned(change: Change) -> Plan<Change> {
    let (token, preview, summary) = (change.state_token(), change.preview(), change.summary());
    let mut touched = vec![Touched::write(CALENDAR, &change.calendar.id, None)];
    let before = change.object().map(|object| version(&object.etag));
    if let Some(object) = change.object() {
        touched.push(Touched::write(kind(&change), &object.id, before));
    }
    // A standing grant to complete covers the to-do as the agent last listed it. An undo is held against what the
    // change itself left.
    let content = match &change.act {
        Planned::Complete(_) => before.map(Content::Is),
        Planned::Add(_) => Some(Content::Absent),
        Planned::Remove(_) | Planned::Restore(..) | Planned::Again(..) => None,
    };
    let plan = Plan::new(change, token, preview, summary).touched(touched);
    match content {
        Some(content) => plan.before(content),
        None => plan,
    }
}

fn version(etag: &str) -> Digest {
    Digest::of(etag.as_bytes())
}

/// An input that no list could take; said before any is looked at.
fn misfit((field, why): Misfit) -> SourceError {
    SourceError::invalid(why).detail(json!({"field": field}))
}

fn cannot((reason, why): &(&str, &str)) -> SourceError {
    match *reason {
        "changed_since" | "already_undone" => SourceError::changed(reason, why),
        _ => SourceError::transport(reason, why),
    }
}

fn no_list(why: NoList) -> SourceError {
    match why {
        NoList::Over => SourceError::cancelled(Effect::None),
        NoList::TooMany => SourceError::transport(
            "too_large",
            "more than 20,000 of them: ask for a shorter range or for one calendar",
        ),
        NoList::Next => SourceError::invalid("next is not that of an answer"),
    }
}

/// What the owner can do about it; `None` where the server serves.
fn remedy(failure: &Failure, source: &str) -> Option<String> {
    let why = match failure {
        Failure::NoWay(words) if words.contains("proven its name") => {
            "the server's certificate is not accepted: for a server of your own, add the source with ca: the file of its authority, or the server's own certificate".to_owned()
        }
        Failure::NoWay(words) if words.contains("speaks no TLS") => {
            "the server speaks no TLS at this port: name its port of TLS, or begin its URL with http:// where it runs on this machine".to_owned()
        }
        Failure::NoWay(words) => format!("the server cannot be reached: {words}"),
        Failure::Status(StatusCode::UNAUTHORIZED, _) => {
            format!("the server does not accept user and password (401): add the source with another user, or set a new app password: plexusctl sources secret {source} password")
        }
        Failure::Status(status, _) if status.is_server_error() => {
            format!("the server fails ({}): try again later, or look at the server", status.as_u16())
        }
        Failure::Stalled | Failure::Broken => format!("{failure}: try again later, or look at the server"),
        Failure::Elsewhere(_) | Failure::NoCalendars(_) => failure.to_string(),
        Failure::Status(..) | Failure::TooLarge | Failure::Unreadable(_) => return None,
    };
    Some(why)
}

fn note<T>(ailing: &Mutex<Ailing>, result: &Result<T, Failure>) {
    let mut ailing = ailing.lock().unwrap_or_else(PoisonError::into_inner);
    let failure = result.as_ref().err();
    ailing.why = failure.and_then(|failure| remedy(failure, &ailing.source));
    ailing.looked = Some(Instant::now());
}

/// As an agent is told.
fn told(failure: &Failure) -> SourceError {
    let waits = |wait: &Option<u64>| match wait {
        Some(seconds) => format!("the server asks to wait {seconds} s before the next request"),
        None => "the server asks to wait before the next request".to_owned(),
    };
    match failure {
        Failure::Status(StatusCode::UNAUTHORIZED, _) => SourceError::unavailable(
            "the server does not accept the account's password; tell the owner",
        ),
        Failure::Status(StatusCode::FORBIDDEN, _) => {
            SourceError::denied("the server forbids this to the account")
        }
        Failure::Status(StatusCode::NOT_FOUND | StatusCode::GONE, _) => SourceError::transport(
            "not_found",
            "the server has nothing there any more; list again",
        ),
        Failure::Status(StatusCode::CONFLICT, _) => SourceError::transport(
            "conflict",
            "the server refuses it as it is (409); list again before another try",
        ),
        Failure::Status(StatusCode::PRECONDITION_FAILED, _) => SourceError::changed(
            "changed",
            "somebody changed it meanwhile; nothing was done; list again",
        ),
        Failure::Status(StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE, wait) => {
            SourceError::transport("rate_limited", waits(wait))
                .detail(json!({"retryAfterSeconds": wait}))
        }
        Failure::Status(..) => SourceError::transport("server_error", failure.to_string()),
        Failure::Stalled => SourceError::transport("timeout", failure.to_string()),
        Failure::TooLarge => SourceError::transport("too_large", failure.to_string()),
        Failure::Broken | Failure::Unreadable(_) => {
            SourceError::transport("bad_answer", failure.to_string())
        }
        Failure::Elsewhere(_) => {
            SourceError::unavailable("the server sends on to another host; tell the owner")
        }
        Failure::NoWay(_) | Failure::NoCalendars(_) => {
            SourceError::unavailable("the server cannot be used now; tell the owner")
        }
    }
}

/// As the owner is told who adds the source.
fn open_error(failure: &Failure, source: &str) -> OpenError {
    let why = remedy(failure, source).unwrap_or_else(|| failure.to_string());
    match failure {
        Failure::Elsewhere(_) | Failure::NoCalendars(_) => OpenError::config(why),
        failure if failure.is(StatusCode::UNAUTHORIZED) => OpenError::config(why),
        _ => OpenError::unavailable(why),
    }
}
