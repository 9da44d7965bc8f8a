//! Reminders as an answer shows them: in order, in pages.
//!
//! Invariant: a page is bounded in reminders and in bytes, whatever the store holds.
//!
//! Must not know: who asks, what they may see.

use crate::store::{Due, Reminder, ReminderStore};
use jiff::Timestamp;
use plexus_apple::{NOTES, NoList, Page, TITLE, first_few, is_false, shortened, time::Clock};
use plexus_protocol::Digest;
use serde::{Deserialize, Serialize};

/// Input of `reminders.list`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Input {
    pub(crate) list: Option<String>,
    due_after: Option<String>,
    due_before: Option<String>,
    #[serde(default)]
    completed: bool,
    limit: Option<usize>,
    next: Option<String>,
}

/// Output of `reminders.list`.
#[derive(Debug, Serialize)]
pub(crate) struct Output {
    pub(crate) reminders: Vec<ReminderView>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

/// One reminder in an answer.
#[derive(Debug, Serialize)]
pub(crate) struct ReminderView {
    pub(crate) id: String,
    list: String,
    title: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    due: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    notes: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    priority: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    completed: Option<String>,
    #[serde(skip_serializing_if = "is_false")]
    repeats: bool,
    #[serde(skip_serializing_if = "is_false")]
    cut: bool,
    /// For what the gateway knows of who read what.
    #[serde(skip)]
    pub(crate) version: Digest,
}

impl Input {
    /// The answer from `store`, of these lists.
    pub(crate) fn answer(
        &self,
        store: &dyn ReminderStore,
        clock: &Clock,
        lists: &[String],
        is_over: &dyn Fn() -> bool,
    ) -> Result<Output, NoList> {
        let bound = |text: &Option<String>, why| {
            let moment = |text: &str| clock.moment(clock.typed(text)?);
            let bound = text.as_deref().map(|text| moment(text).ok_or(why));
            bound.transpose().map_err(NoList::Invalid)
        };
        let after = bound(
            &self.due_after,
            "dueAfter is no date (2026-12-04) and no time (2026-12-04T09:00)",
        )?;
        let before = bound(
            &self.due_before,
            "dueBefore is no date (2026-12-04) and no time (2026-12-04T09:00)",
        )?;
        let in_time = |due: Option<Timestamp>| match due {
            Some(due) => {
                after.is_none_or(|after| due >= after) && before.is_none_or(|before| due < before)
            }
            None => after.is_none() && before.is_none(),
        };
        let mut page = Page::new(self.limit, self.next.as_deref()).map_err(NoList::Invalid)?;
        let mut unread = Vec::new();
        let taken = store.reminders(lists, self.completed, &mut |reminder| {
            let due = reminder.content.due.and_then(|due| moment(clock, due));
            let at = due.map_or(i64::MAX, Timestamp::as_millisecond);
            if reminder.content.due == Some(Due::Unread) {
                unread.push(reminder.id.clone());
            }
            if in_time(due) && page.wants(at, &reminder.id) {
                let notes = reminder.content.notes.as_ref().map_or(0, String::len);
                let bytes = reminder.content.title.len().min(4 * TITLE) + notes.min(4 * NOTES);
                page.keep((at, reminder.id.clone()), bytes, reminder);
            }
            !is_over()
        });
        taken.map_err(NoList::Failed)?;
        if is_over() {
            return Err(NoList::Over);
        }
        let (reminders, next) = page.done();
        let warning = || {
            let ids = first_few(&unread);
            format!(
                "{ids}: a due date that cannot be read; such reminders are listed only without bounds of time"
            )
        };
        let warnings = (!unread.is_empty()).then(warning);
        let reminders = reminders
            .into_iter()
            .map(|one| ReminderView::of(one, clock));
        Ok(Output {
            reminders: reminders.collect(),
            warnings: warnings.into_iter().collect(),
            next,
        })
    }
}

fn moment(clock: &Clock, due: Due) -> Option<Timestamp> {
    match due {
        Due::At(at) => Some(at),
        Due::Day(day) => clock.moment(plexus_apple::time::Typed::Day(day)),
        Due::Unread => None,
    }
}

/// A due date as people read it.
pub(crate) fn due(clock: &Clock, due: Due) -> String {
    match due {
        Due::Day(day) => day.to_string(),
        Due::At(at) => clock.shown(at, None),
        Due::Unread => "a date that cannot be read".to_owned(),
    }
}

impl ReminderView {
    fn of(reminder: Reminder, clock: &Clock) -> Self {
        let version = reminder.version();
        let due_date = reminder.content.due;
        let (title, title_cut) = shortened(reminder.content.title, TITLE);
        let notes = reminder.content.notes.map(|notes| shortened(notes, NOTES));
        let cut = title_cut || notes.as_ref().is_some_and(|(_, cut)| *cut);
        Self {
            id: reminder.id,
            list: reminder.list,
            title,
            due: due_date
                .filter(|one| *one != Due::Unread)
                .map(|one| due(clock, one)),
            notes: notes.map(|(notes, _)| notes),
            priority: Some(reminder.content.priority).filter(|priority| *priority > 0),
            completed: reminder.completed.map(|at| clock.shown(at, None)),
            repeats: reminder.repeats,
            cut,
            version,
        }
    }
}
