//! Changes: what each would be, and making it. Adding an object, completing a to-do, taking either back.
//!
//! ```text
//! plan:   look ▸ refuse, or a card and a state token
//! commit: keep what is about to happen ▸ one request with If-Match or If-None-Match ▸ keep the version that it made
//!           └ an answer that never came: ask the server what is there
//! ```
//!
//! Invariants: an object that is added is named by its intent, so that the server knows whether it happened; nothing is
//! overwritten or removed whose version is another than the plan's.
//!
//! Must not know: how a failure is told.

use crate::{
    http::Failure,
    ical::{self, Item, New},
    server::{Calendar, Expect, Object, Server},
    store::{Act, Record},
    time::CalendarTime,
    zone::Definitions,
};
use calcard::common::timezone::Tz;
use chrono::{DateTime, Local, Utc};
use plexus_ipc::worker::{ALREADY_UNDONE, Preview, Verdict};
use plexus_protocol::{AuditId, Digest, Effect};
use serde::{Deserialize, Serialize};

/// Input of `todos.create`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TodoInput {
    pub(crate) list: String,
    title: String,
    due: Option<String>,
    notes: Option<String>,
    priority: Option<u8>,
}

/// Input of `events.create`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct EventInput {
    pub(crate) calendar: String,
    title: String,
    start: String,
    end: String,
    time_zone: Option<String>,
    place: Option<String>,
    notes: Option<String>,
}

/// Input of `todos.complete`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct IdInput {
    pub(crate) id: String,
}

/// Input of `undo`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct UndoInput {
    pub(crate) id: String,
    pub(crate) list: Option<String>,
}

/// What is added.
#[derive(Clone, Debug)]
pub(crate) struct Draft {
    todo: bool,
    title: String,
    start: Option<CalendarTime>,
    end: Option<CalendarTime>,
    place: Option<String>,
    notes: Option<String>,
    priority: Option<u8>,
}

/// A change that was planned.
#[derive(Debug)]
pub(crate) struct Change {
    pub(crate) calendar: Calendar,
    pub(crate) act: Planned,
    pub(crate) title: String,
    /// The change that it takes back.
    pub(crate) takes_back: Option<AuditId>,
}

/// What a change does.
#[derive(Debug)]
pub(crate) enum Planned {
    Add(Draft),
    Complete(Object),
    /// Takes back an addition.
    Remove(Object),
    /// Takes back a completion, or that of one, with the text from before.
    Restore(Object, String),
    /// Takes back a removal: the object's id and its text.
    Again(String, String),
}

impl Planned {
    /// The begin of an addition, and its end or due date.
    pub(crate) fn times(&self) -> (Option<String>, Option<String>) {
        match self {
            Self::Add(draft) => {
                let shown = [&draft.start, &draft.end];
                shown
                    .map(|time| time.as_ref().map(CalendarTime::shown))
                    .into()
            }
            Self::Complete(_) | Self::Remove(_) | Self::Restore(..) | Self::Again(..) => {
                (None, None)
            }
        }
    }
}

/// What a change came to.
#[derive(Debug)]
pub(crate) struct ChangeResult {
    /// The object's id.
    pub(crate) id: String,
    /// The version that it has now; none where it is gone, or the server does not say.
    pub(crate) version: Option<String>,
    /// When a to-do was completed.
    pub(crate) at: Option<DateTime<Utc>>,
}

/// What is wrong with an input: the field, and a sentence.
pub(crate) type Misfit = (&'static str, &'static str);

impl TodoInput {
    pub(crate) fn draft(&self) -> Result<Draft, Misfit> {
        let when = |text: &String| match CalendarTime::typed(text, None) {
            Some(due) if due.day || !due.floats() => Ok(due),
            _ => Err((
                "due",
                "due is no date (2026-11-22) and no time with its offset (2026-11-22T09:00+01:00)",
            )),
        };
        titled(Draft {
            todo: true,
            end: self.due.as_ref().map(when).transpose()?,
            title: self.title.clone(),
            start: None,
            place: None,
            notes: self.notes.clone(),
            priority: self.priority,
        })
    }
}

impl EventInput {
    pub(crate) fn draft(&self) -> Result<Draft, Misfit> {
        let zone = match &self.time_zone {
            Some(name) => match name.parse::<Tz>() {
                Ok(Tz::Tz(zone)) => Some(Tz::Tz(zone)),
                _ => {
                    let why = "timeZone is no name of a time zone, such as Europe/Berlin";
                    return Err(("timeZone", why));
                }
            },
            None => None,
        };
        let typed = |text: &str| CalendarTime::typed(text, zone);
        let start = typed(&self.start).ok_or((
            "start",
            "start is no date (2026-11-22) and no time (2026-11-22T09:00, or with its offset 2026-11-22T09:00+01:00)",
        ))?;
        let end = typed(&self.end).ok_or((
            "end",
            "end is no date (2026-11-22) and no time (2026-11-22T09:00, or with its offset 2026-11-22T09:00+01:00)",
        ))?;
        if start.day != end.day || start.floats() != end.floats() {
            let why = "start and end are of different kinds: both dates, or both times with or without an offset";
            return Err(("end", why));
        }
        if start.is_left_out() {
            return Err((
                "start",
                "start does not exist: the clocks of this time zone go forward over it; give another time",
            ));
        }
        if end.is_left_out() {
            return Err((
                "end",
                "end does not exist: the clocks of this time zone go forward over it; give another time",
            ));
        }
        if end.instant() <= start.instant() {
            let why = match start.day {
                true => "end is not after start; of an all-day event it is the day after the last",
                false => "end is not after start",
            };
            return Err(("end", why));
        }
        titled(Draft {
            todo: false,
            title: self.title.clone(),
            start: Some(start),
            end: Some(end),
            place: self.place.clone(),
            notes: self.notes.clone(),
            priority: None,
        })
    }
}

fn titled(draft: Draft) -> Result<Draft, Misfit> {
    match draft.title.trim().is_empty() {
        true => Err(("title", "the title is empty")),
        false => Ok(draft),
    }
}

impl Change {
    pub(crate) fn add(calendar: Calendar, draft: Draft) -> Self {
        Self {
            calendar,
            title: draft.title.clone(),
            act: Planned::Add(draft),
            takes_back: None,
        }
    }

    /// Completes the to-do in `object`.
    ///
    /// # Errors
    /// A reason and a sentence, where it cannot be.
    pub(crate) fn complete(
        calendar: Calendar,
        object: Object,
    ) -> Result<Self, (&'static str, &'static str)> {
        let items = ical::todos(&object.text);
        let items = items.map_err(|_| {
            (
                "not_readable",
                "this object cannot be read; change it in another program",
            )
        })?;
        let item = match &items[..] {
            [] => return Err(("not_found", "there is no to-do with this id")),
            [item] if !item.repeats() => item,
            _ => {
                return Err((
                    "repeats",
                    "this to-do repeats: it is completed in another program",
                ));
            }
        };
        if item.is_done() {
            return Err(("already_done", "this to-do is done already"));
        }
        Ok(Self {
            title: item.title.clone(),
            calendar,
            act: Planned::Complete(object),
            takes_back: None,
        })
    }

    /// Takes back the change `id`, which `record` tells of; `now` is its object.
    ///
    /// # Errors
    /// As [`Change::complete`]; `changed_since` where somebody changed the object since, `already_undone` where that was an
    /// undo of this change (`is_undone`).
    pub(crate) fn undo(
        calendar: Calendar,
        id: AuditId,
        (record, is_undone): (Record, bool),
        now: Option<Object>,
    ) -> Result<Self, (&'static str, &'static str)> {
        if !record.done {
            let why = "this change was not made, or its answer was lost: put it right by hand";
            return Err(("not_undoable", why));
        }
        let act = match (now, record.before) {
            (Some(now), before) if record.version.as_ref() == Some(&now.etag) => match before {
                None => Planned::Remove(now),
                Some(before) => Planned::Restore(now, before),
            },
            (None, Some(before)) if matches!(record.act, Act::Remove) => {
                Planned::Again(record.object, before)
            }
            _ if is_undone => return Err(ALREADY_UNDONE),
            _ => {
                let why = "somebody changed or removed it since; nothing is taken back";
                return Err(("changed_since", why));
            }
        };
        Ok(Self {
            calendar,
            title: record.title,
            act,
            takes_back: Some(id),
        })
    }

    /// The object that is there before; none for a new one.
    pub(crate) fn object(&self) -> Option<&Object> {
        match &self.act {
            Planned::Add(_) | Planned::Again(..) => None,
            Planned::Complete(object) | Planned::Remove(object) | Planned::Restore(object, _) => {
                Some(object)
            }
        }
    }

    /// For the record: what was done, and the title of what.
    pub(crate) fn summary(&self) -> String {
        let what = match &self.act {
            Planned::Add(Draft { todo: true, .. }) => "added a to-do to",
            Planned::Add(_) => "added an event to",
            Planned::Complete(_) => "completed a to-do of",
            Planned::Remove(_) => "removed what was added to",
            Planned::Restore(..) => "put an older version back in",
            Planned::Again(..) => "put back what was removed from",
        };
        format!("{what} {}: {}", self.calendar.id, self.title)
    }

    /// For the owner.
    pub(crate) fn preview(&self) -> Preview {
        let name = &self.calendar.name;
        let mut preview = Preview::new(match &self.act {
            Planned::Add(Draft { todo: true, .. }) => {
                format!("Add a to-do to {name}: {}", self.title)
            }
            Planned::Add(_) => format!("Add an event to {name}: {}", self.title),
            Planned::Complete(_) => format!("Complete a to-do of {name}: {}", self.title),
            Planned::Remove(_) => format!("Remove what was added to {name}: {}", self.title),
            Planned::Restore(..) => format!("Put an older version back in {name}: {}", self.title),
            Planned::Again(..) => format!("Put back what was removed from {name}: {}", self.title),
        });
        let of = if matches!(&self.act, Planned::Add(Draft { todo: false, .. })) {
            "calendar"
        } else {
            "list"
        };
        preview = preview
            .fact(of, format!("{name} ({})", self.calendar.id))
            .fact("title", &self.title);
        match &self.act {
            Planned::Add(draft) => draft.told(preview),
            Planned::Complete(object) => {
                let items = ical::todos(&object.text).unwrap_or_default();
                match items.first().and_then(|item| item.due.as_ref()) {
                    Some(due) => preview.fact("due", due.on_card(&Local)),
                    None => preview,
                }
            }
            Planned::Remove(Object { text, .. })
            | Planned::Restore(_, text)
            | Planned::Again(_, text) => shown(preview, text),
        }
    }

    /// What it assumes: the list as it is called, and the version of what it changes.
    pub(crate) fn state_token(&self) -> Digest {
        // What an undo puts back is named by the undo's own input.
        let object = self.object().map(|object| (&object.id, &object.etag));
        let draft = match &self.act {
            Planned::Add(draft) => format!("{draft:?}"),
            _ => String::new(),
        };
        let calendar = (&self.calendar.id, &self.calendar.name);
        Digest::of(format!("{calendar:?} {object:?} {} {draft}", self.title).as_bytes())
    }

    /// What is about to happen, for the store.
    pub(crate) fn record(&self, intent: &AuditId, now: DateTime<Utc>) -> Record {
        let there = self.object();
        let (act, object) = match &self.act {
            Planned::Add(_) => (
                Act::Add,
                format!("{}/{}.ics", self.calendar.id, uid(intent)),
            ),
            Planned::Again(id, _) => (Act::Add, id.clone()),
            Planned::Complete(object) => (Act::Complete(now.timestamp()), object.id.clone()),
            Planned::Remove(object) => (Act::Remove, object.id.clone()),
            Planned::Restore(object, _) => (Act::Restore, object.id.clone()),
        };
        Record {
            act,
            object,
            calendar: self.calendar.id.clone(),
            title: self.title.clone(),
            from: there.map(|object| object.etag.clone()),
            before: there.map(|object| object.text.clone()),
            version: None,
            done: false,
            takes_back: self.takes_back.clone(),
        }
    }

    /// Makes it. If the answer never came, or says nothing of what was done, the server is asked what is there.
    ///
    /// # Errors
    /// Why not, and what was done. A request without an answer may be carried out later: that it was not yet is no proof.
    pub(crate) async fn make(
        &self,
        server: &Server,
        intent: &AuditId,
        record: &Record,
        now: DateTime<Utc>,
    ) -> Result<ChangeResult, (Failure, Effect)> {
        let calendar = &self.calendar;
        let unwritten = (
            Failure::Unreadable("the object cannot be written anew"),
            Effect::None,
        );
        let sent = match &self.act {
            Planned::Add(draft) => {
                let text = draft.written(&uid(intent), now).ok_or(unwritten)?;
                server
                    .put(calendar, &record.object, text, Expect::Nothing)
                    .await
            }
            Planned::Again(id, text) => {
                server
                    .put(calendar, id, text.clone(), Expect::Nothing)
                    .await
            }
            Planned::Complete(object) => {
                let text = ical::completed(&object.text, now).ok_or(unwritten)?;
                server
                    .put(calendar, &object.id, text, Expect::Version(&object.etag))
                    .await
            }
            Planned::Remove(object) => {
                let removed = server.delete(calendar, &object.id, &object.etag).await;
                removed.map(|()| None)
            }
            Planned::Restore(object, text) => {
                let expect = Expect::Version(&object.etag);
                server.put(calendar, &object.id, text.clone(), expect).await
            }
        };
        let version = match sent {
            Ok(Some(version)) => Some(version),
            Ok(None) if matches!(self.act, Planned::Remove(_)) => None,
            // The version is not worth a failure: without it the change cannot be taken back, no more.
            Ok(None) => {
                let now = server.object(calendar, &record.object).await;
                now.ok().flatten().map(|object| object.etag)
            }
            Err(failure) if failure.effect() == Effect::Unknown => {
                let answered = matches!(failure, Failure::Status(..));
                let now = server.object(calendar, &record.object).await;
                match now.map(|now| (settled(record, now.as_ref()), now)) {
                    Ok((Verdict::Happened, now)) => now.map(|object| object.etag),
                    Ok((Verdict::DidNot, _)) if answered => return Err((failure, Effect::None)),
                    _ => return Err((failure, Effect::Unknown)),
                }
            }
            Err(failure) => return Err((failure, Effect::None)),
        };
        Ok(ChangeResult {
            id: record.object.clone(),
            version,
            at: matches!(self.act, Planned::Complete(_)).then_some(now),
        })
    }
}

/// Whether a change happened, by what is there now.
pub(crate) fn settled(record: &Record, now: Option<&Object>) -> Verdict {
    if record.done {
        return Verdict::Happened;
    }
    match (&record.act, now) {
        (Act::Add, Some(_)) | (Act::Remove, None) => Verdict::Happened,
        (Act::Add, None) => Verdict::DidNot,
        (_, Some(now)) if record.from.as_ref() == Some(&now.etag) => Verdict::DidNot,
        (Act::Complete(at), Some(now)) => {
            let items = ical::todos(&now.text).unwrap_or_default();
            let completed = items.first().and_then(|item| item.completed.as_ref());
            match completed.is_some_and(|done| done.instant().timestamp() == *at) {
                true => Verdict::Happened,
                false => Verdict::CannotTell,
            }
        }
        _ => Verdict::CannotTell,
    }
}

/// What an object is called that this intent adds.
fn uid(intent: &AuditId) -> String {
    format!("plexus-{}", intent.as_str())
}

impl Draft {
    pub(crate) fn is_todo(&self) -> bool {
        self.todo
    }

    fn written(&self, uid: &str, now: DateTime<Utc>) -> Option<String> {
        let new = New {
            uid,
            todo: self.todo,
            now,
            title: &self.title,
            start: self.start.clone(),
            end: self.end.clone(),
            place: self.place.as_deref(),
            notes: self.notes.as_deref(),
            priority: self.priority,
        };
        new.written()
    }

    fn told(&self, mut preview: Preview) -> Preview {
        preview = match (&self.start, &self.end) {
            (Some(start), Some(end)) => spanned(preview, start, end),
            (None, Some(due)) => preview.fact("due", due.on_card(&Local)),
            (_, None) => preview,
        };
        let further = [
            ("place", self.place.clone()),
            ("priority", self.priority.map(|p| p.to_string())),
        ];
        for (name, value) in further {
            if let Some(value) = value {
                preview = preview.fact(name, value);
            }
        }
        noted(preview, self.notes.as_deref())
    }
}

/// When an event is: of an all-day one the days that it takes, because its end is the day after them.
fn spanned(preview: Preview, start: &CalendarTime, end: &CalendarTime) -> Preview {
    if start.day {
        let first = start.local.date();
        let last = end
            .local
            .date()
            .pred_opt()
            .map_or(first, |day| day.max(first));
        return match first == last {
            true => preview.fact("day", format!("{first} (all day)")),
            false => preview.fact("days", format!("{first} to {last} (all day)")),
        };
    }
    let preview = preview
        .fact("start", start.on_card(&Local))
        .fact("end", end.on_card(&Local));
    match start.zone_name() {
        Some(zone) => preview.fact("time_zone", zone),
        None => preview,
    }
}

/// What an undo removes or puts back: the to-do with its state, or the event; as it is written where it is neither.
fn shown(preview: Preview, text: &str) -> Preview {
    if let Some(todo) = ical::todos(text).unwrap_or_default().first() {
        let state = if todo.is_done() { "done" } else { "open" };
        let preview = match &todo.due {
            Some(due) => preview.fact("due", due.on_card(&Local)),
            None => preview,
        };
        return noted(preview.fact("state", state), todo.notes.as_deref());
    }
    let events = ical::items(text, false, &mut Definitions::default()).unwrap_or_default();
    match events.first() {
        Some(
            event @ Item {
                start: Some(start), ..
            },
        ) => noted(
            spanned(preview, start, &event.end_from(start)),
            event.notes.as_deref(),
        ),
        _ => preview.text(&text.replace('\r', "")),
    }
}

fn noted(preview: Preview, notes: Option<&str>) -> Preview {
    match notes {
        Some(notes) => preview.text(notes),
        None => preview,
    }
}

/// Output of a change.
#[derive(Debug, Serialize)]
pub(crate) struct Output {
    pub(crate) ok: bool,
    pub(crate) id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) list: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) calendar: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) due: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) start: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) end: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) completed: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) removed: Option<bool>,
}
