//! Changes: what each would be, and making it. Adding, completing and changing a reminder, and taking either back.
//!
//! ```text
//! plan:   find the list and the reminder ▸ refuse, or a card and a state token
//! commit: keep what is about to happen ▸ the store compares and saves ▸ keep what it made
//! settle: done ▸ happened; else the store is asked what is there
//! ```
//!
//! Invariants: nothing is changed or removed that is another than the plan's, to its last modification; an undo compares
//! what the person sees, because accounts touch what they synchronise.
//!
//! Must not know: calls, how a failure is told.

use crate::{
    kept::{KeptChanges, Record},
    list::due as shown,
    store::{Content, Due, List, Reminder, ReminderStore},
};
use jiff::{SignedDuration, Timestamp};
use plexus_apple::{
    Failure,
    time::{Clock, Typed},
};
use plexus_ipc::worker::{ALREADY_UNDONE, Preview, Verdict};
use plexus_protocol::{AuditId, Digest};
use serde::{Deserialize, Serialize};

/// How far the clock of an account may be behind this machine's.
const TOLERANCE: SignedDuration = SignedDuration::from_secs(60);

/// Input of `reminders.create`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct CreateInput {
    pub(crate) list: Option<String>,
    title: String,
    due: Option<String>,
    notes: Option<String>,
    priority: Option<u8>,
}

/// Input of `reminders.complete` and of `undo`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct IdInput {
    pub(crate) id: String,
    pub(crate) list: Option<String>,
}

/// Input of `reminders.update`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct UpdateInput {
    pub(crate) id: String,
    title: Option<String>,
    due: Option<String>,
    notes: Option<String>,
    priority: Option<u8>,
    #[serde(default)]
    clear: Vec<Field>,
    pub(crate) list: Option<String>,
}

/// A field that can be empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Field {
    Due,
    Notes,
    Priority,
}

/// Output of a change.
#[derive(Debug, Serialize)]
pub(crate) struct Output {
    pub(crate) ok: bool,
    pub(crate) id: String,
    pub(crate) list: String,
    /// The date that the change set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) due: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) completed: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) removed: Option<bool>,
}

/// A change that was planned.
#[derive(Clone, Debug)]
pub(crate) struct Change {
    pub(crate) list: List,
    pub(crate) act: Act,
    /// The change that it takes back.
    pub(crate) takes_back: Option<AuditId>,
}

/// What a change does.
#[derive(Clone, Debug)]
pub(crate) enum Act {
    Add(Content),
    Complete(Reminder),
    Update(Reminder, Content),
    /// Takes back an addition.
    Remove(Reminder),
    /// Takes back a completion or an update.
    Restore(Reminder, Content),
}

/// What is wrong with an input: the field, and a sentence.
pub(crate) type Misfit = (&'static str, &'static str);

fn typed(clock: &Clock, text: &str) -> Result<Due, Misfit> {
    match clock.typed(text).ok_or((
        "due",
        "due is no date (2026-12-04) and no time (2026-12-04T09:00)",
    ))? {
        Typed::Day(day) => Ok(Due::Day(day)),
        Typed::At(at) => Ok(Due::At(at)),
    }
}

fn titled(title: String) -> Result<String, Misfit> {
    match title.trim().is_empty() {
        true => Err(("title", "the title is empty")),
        false => Ok(title),
    }
}

impl CreateInput {
    /// What is to be added.
    pub(crate) fn content(&self, clock: &Clock) -> Result<Content, Misfit> {
        let due = self.due.as_ref().map(|due| typed(clock, due));
        Ok(Content {
            title: titled(self.title.clone())?,
            notes: self.notes.clone().filter(|notes| !notes.is_empty()),
            due: due.transpose()?,
            priority: self.priority.unwrap_or(0),
            done: false,
        })
    }
}

impl UpdateInput {
    /// What the input alone shows to be wrong.
    pub(crate) fn check(&self, clock: &Clock) -> Result<(), Misfit> {
        self.due.as_ref().map(|due| typed(clock, due)).transpose()?;
        self.title.clone().map(titled).transpose()?;
        Ok(())
    }

    /// What `old` is to be.
    pub(crate) fn content(self, old: &Content, clock: &Clock) -> Result<Content, &'static str> {
        let mut new = old.clone();
        if let Some(title) = self.title {
            new.title = titled(title).map_err(|(_, why)| why)?;
        }
        if let Some(due) = self.due {
            new.due = Some(typed(clock, &due).map_err(|(_, why)| why)?);
        }
        if let Some(notes) = self.notes {
            new.notes = Some(notes).filter(|notes| !notes.is_empty());
        }
        if let Some(priority) = self.priority {
            new.priority = priority;
        }
        for field in self.clear {
            match field {
                Field::Due => new.due = None,
                Field::Notes => new.notes = None,
                Field::Priority => new.priority = 0,
            }
        }
        match new == *old {
            true => Err("it is like that already: name what is to change"),
            false => Ok(new),
        }
    }
}

impl Change {
    /// Whether it says when the reminder is due.
    pub(crate) fn sets_due(&self) -> bool {
        match &self.act {
            Act::Add(new) => self.takes_back.is_none() && new.due.is_some(),
            Act::Update(old, new) => new.due.is_some() && new.due != old.content.due,
            Act::Complete(_) | Act::Remove(_) | Act::Restore(..) => false,
        }
    }

    pub(crate) fn new(list: List, act: Act) -> Self {
        Self {
            list,
            act,
            takes_back: None,
        }
    }

    /// Completes `old`.
    ///
    /// # Errors
    /// A reason and a sentence, where it cannot be.
    pub(crate) fn complete(
        list: List,
        old: Reminder,
    ) -> Result<Self, (&'static str, &'static str)> {
        if old.repeats {
            return Err((
                "repeats",
                "this reminder repeats: the person completes it in Reminders",
            ));
        }
        if old.content.done {
            return Err(("already_done", "this reminder is done already"));
        }
        Ok(Self::new(list, Act::Complete(old)))
    }

    /// Makes `old` what `new` says.
    pub(crate) fn update(
        list: List,
        old: Reminder,
        new: Content,
    ) -> Result<Self, (&'static str, &'static str)> {
        if old.repeats && old.content.due != new.due {
            return Err((
                "repeats",
                "this reminder repeats: the person moves it in Reminders",
            ));
        }
        if old.content.due == Some(Due::Unread) && old.content.due != new.due {
            return Err((
                "not_taken",
                "its due date cannot be read, so undo could not put it back: the person changes it in Reminders",
            ));
        }
        Ok(Self::new(list, Act::Update(old, new)))
    }

    /// Takes back the change `id`, which `record` tells of; `now` is its reminder.
    ///
    /// # Errors
    /// As [`Change::complete`]; `changed_since` where somebody changed the reminder since, `already_undone` where that was an
    /// undo of this change (`is_undone`).
    pub(crate) fn undo(
        list: List,
        id: AuditId,
        (record, is_undone): (Record, bool),
        now: Option<Reminder>,
    ) -> Result<Self, (&'static str, &'static str)> {
        if !record.done {
            let why = "this change was not made, or its answer was lost: put it right by hand";
            return Err(("not_undoable", why));
        }
        let act = match (now, record.before) {
            (Some(now), before) if Some(&now.content) == record.after.as_ref() => match before {
                None => Act::Remove(now),
                Some(before) => Act::Restore(now, before),
            },
            (None, Some(_)) if record.after.is_none() && is_undone => return Err(ALREADY_UNDONE),
            // An addition that was taken back comes again, under another id.
            (None, Some(before)) if record.after.is_none() => Act::Add(before),
            _ if is_undone => return Err(ALREADY_UNDONE),
            _ => {
                let why = "somebody changed or removed it since; nothing is taken back";
                return Err(("changed_since", why));
            }
        };
        Ok(Self {
            list,
            act,
            takes_back: Some(id),
        })
    }

    /// The reminder that is there before; none for a new one.
    pub(crate) fn old(&self) -> Option<&Reminder> {
        match &self.act {
            Act::Add(_) => None,
            Act::Complete(old) | Act::Update(old, _) | Act::Remove(old) | Act::Restore(old, _) => {
                Some(old)
            }
        }
    }

    /// What it is to be; none where it is removed.
    fn result(&self) -> Option<Content> {
        match &self.act {
            Act::Add(new) | Act::Update(_, new) | Act::Restore(_, new) => Some(new.clone()),
            Act::Complete(old) => Some(Content {
                done: true,
                ..old.content.clone()
            }),
            Act::Remove(_) => None,
        }
    }

    /// For the record: what was done, and the title of what.
    pub(crate) fn summary(&self) -> String {
        let what = match &self.act {
            Act::Add(_) => "added a reminder",
            Act::Complete(_) => "completed a reminder",
            Act::Update(..) => "changed a reminder",
            Act::Remove(_) => "removed an added reminder",
            Act::Restore(..) => "put a reminder back as it was",
        };
        format!("{what}: {}", self.title())
    }

    fn title(&self) -> &str {
        let title = match (&self.act, self.old()) {
            (Act::Add(new), _) => &new.title,
            (_, Some(old)) => &old.content.title,
            (_, None) => &self.list.name,
        };
        if title.is_empty() {
            "(no title)"
        } else {
            title
        }
    }

    /// For the owner.
    pub(crate) fn preview(&self, clock: &Clock) -> Preview {
        let name = &self.list.name;
        let title = self.title();
        let headline = match &self.act {
            Act::Add(_) => format!("Add a reminder to {name}: {title}"),
            Act::Complete(_) => format!("Complete a reminder of {name}: {title}"),
            Act::Update(..) => format!("Change a reminder of {name}: {title}"),
            Act::Remove(_) => format!("Remove an added reminder from {name}: {title}"),
            Act::Restore(..) => format!("Put a reminder of {name} back as it was: {title}"),
        };
        let list = match &self.list.account {
            Some(account) => format!("{name} ({account})"),
            None => name.clone(),
        };
        let mut preview = Preview::new(headline).fact("list", list);
        let old = self.old().map(|old| &old.content);
        let new = self.result();
        let new = new.as_ref();
        let changes = matches!(self.act, Act::Update(..) | Act::Restore(..));
        // A value as it is, or what becomes of it.
        let mut fact = |name: &str, of: &dyn Fn(&Content) -> Option<String>, always: bool| {
            let (old, new) = (old.and_then(of), new.and_then(of));
            let value = match (changes, old, new) {
                (true, old, new) if old != new => {
                    let text = |value: Option<String>| value.unwrap_or_else(|| "none".to_owned());
                    Some(format!("{} \u{2192} {}", text(old), text(new)))
                }
                (true, old, _) => old.filter(|_| always),
                (false, old, new) => new.or(old),
            };
            if let Some(value) = value {
                preview = std::mem::take(&mut preview).fact(name, value);
            }
        };
        fact("title", &|content| Some(content.title.clone()), true);
        fact(
            "due",
            &|content| content.due.map(|due| on_card(&shown(clock, due))),
            false,
        );
        fact("priority", &|content| priority(content.priority), false);
        fact(
            "done",
            &|content| content.done.then(|| "yes".to_owned()),
            false,
        );
        let notes = |content: Option<&Content>| content.and_then(|content| content.notes.clone());
        match (changes, notes(old), notes(new)) {
            (true, old, new) if old != new => {
                preview.replaced(&old.unwrap_or_default(), &new.unwrap_or_default())
            }
            (false, None, Some(new)) => preview.text(&new),
            _ => preview,
        }
    }

    /// What it assumes: the list as it is called, and the reminder to its last modification.
    pub(crate) fn state_token(&self) -> Digest {
        let list = (&self.list.id, &self.list.name, &self.list.account);
        let new = self.result();
        Digest::of(format!("{list:?} {:?} {new:?}", self.old()).as_bytes())
    }

    /// Makes it; the reminder as it is then, or as it was where it is removed.
    pub(crate) fn make(
        &self,
        store: &dyn ReminderStore,
        kept: Option<&KeptChanges>,
        intent: &AuditId,
    ) -> Result<(Reminder, bool), Failure> {
        let begun = Timestamp::now();
        let mut record = Record {
            list: self.list.id.clone(),
            id: self.old().map(|old| old.id.clone()),
            before: self.old().map(|old| old.content.clone()),
            after: self.result(),
            begun,
            known: vec![],
            takes_back: self.takes_back.clone(),
            done: false,
        };
        if matches!(self.act, Act::Add(_)) {
            let list = [self.list.id.clone()];
            store.reminders(&list, false, &mut |one| {
                if is_recent(&one, begun) {
                    record.known.push(one.id);
                }
                true
            })?;
        }
        let keep = |record: &Record| kept.map(|kept| kept.put(intent, record)).transpose();
        keep(&record).map_err(|_| Failure::Store)?;
        let made = match &self.act {
            Act::Add(new) => store.add(&self.list.id, new)?,
            Act::Complete(old) => {
                let done = Content {
                    done: true,
                    ..old.content.clone()
                };
                store.set(old, &done)?
            }
            Act::Update(old, new) | Act::Restore(old, new) => store.set(old, new)?,
            Act::Remove(old) => {
                store.remove(old)?;
                old.clone()
            }
        };
        record.done = true;
        record.id = Some(made.id.clone());
        if record.after.is_some() {
            // As the store understood it.
            record.after = Some(made.content.clone());
        }
        let of = self.takes_back.as_ref();
        let is_kept = kept.is_some_and(|kept| kept.put_done(intent, &record, of).is_ok());
        Ok((made, is_kept))
    }
}

fn priority(number: u8) -> Option<String> {
    let word = match number {
        0 => return None,
        1..=4 => "high",
        5 => "medium",
        _ => "low",
    };
    Some(format!("{word} ({number})"))
}

/// Whether it may be one that was added since `begun`.
fn is_recent(one: &Reminder, begun: Timestamp) -> bool {
    let since = begun.saturating_sub(TOLERANCE).unwrap_or(begun);
    one.created.is_none_or(|created| created >= since)
}

/// Whether a change happened, by what is there now.
///
/// No mark of ours is in the reminder: lists are shared and synchronised, and people would see it. An added reminder is
/// known by being new, not one of those that were there before, and as it was asked for.
pub(crate) fn settled(store: &dyn ReminderStore, record: &Record) -> Result<Verdict, Failure> {
    if record.done {
        return Ok(Verdict::Happened);
    }
    let Some(id) = &record.id else {
        let lists: Vec<String> = store.lists()?.into_iter().map(|list| list.id).collect();
        let (mut as_asked, mut others) = (false, false);
        for done in [false, true] {
            store.reminders(&lists, done, &mut |one| {
                if is_recent(&one, record.begun) && !record.known.contains(&one.id) {
                    let is_it = Some(&one.content) == record.after.as_ref();
                    as_asked |= is_it;
                    // Without a date of its own, only its likeness speaks for it.
                    others |= !is_it && one.created.is_some();
                }
                !as_asked
            })?;
        }
        return Ok(match (as_asked, others) {
            (true, _) => Verdict::Happened,
            (false, false) => Verdict::DidNot,
            // It may be the added one, changed by somebody since.
            (false, true) => Verdict::CannotTell,
        });
    };
    let now = store.reminder(id)?.map(|now| now.content);
    Ok(match now {
        now if now == record.after => Verdict::Happened,
        now if now == record.before => Verdict::DidNot,
        _ => Verdict::CannotTell,
    })
}

/// A moment as a card shows it: whole seconds are left out.
fn on_card(moment: &str) -> String {
    let moment = moment.replacen('T', " ", 1);
    ["+", "-"].iter().fold(moment, |moment, sign| {
        moment.replacen(&format!(":00{sign}"), &format!(" {sign}"), 1)
    })
}
