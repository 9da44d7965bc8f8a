//! Reminders by EventKit.
//!
//! Invariants: a store is made for each call and stays on its thread; a reminder is compared with the planned one on the
//! very object that is saved.
//!
//! Must not know: who asks, how reminders are shown.
#![expect(unsafe_code, reason = "calls to Objective-C have no safe spelling")]

use crate::store::{Content, Due, List, Reminder, ReminderStore, same};
use block2::RcBlock;
use jiff::{Timestamp, civil};
use objc2::rc::Retained;
use objc2_event_kit::{EKAlarm, EKCalendar, EKEventStore, EKReminder};
use objc2_foundation::{
    NSArray, NSDateComponentUndefined, NSDateComponents, NSError, NSString, NSTimeZone,
};
use plexus_apple::{
    App, Failure, PATIENCE,
    os::{date, entity, moment, with_store, zone},
    time::{Clock, Typed},
};
use std::{sync::mpsc, time::Duration};

/// The person's own lists.
#[derive(Debug)]
pub(crate) struct EventKit;

fn calendars(store: &EKEventStore) -> Vec<Retained<EKCalendar>> {
    // SAFETY: the store is this thread's, and the kind is one that it knows.
    unsafe { store.calendarsForEntityType(entity(App::Reminders)) }.to_vec()
}

fn id(list: &EKCalendar) -> String {
    // SAFETY: a property of an object that this thread got from its store.
    unsafe { list.calendarIdentifier() }.to_string()
}

fn failed(error: &Retained<NSError>) -> Failure {
    Failure::Failed(i64::try_from(error.code()).unwrap_or_default())
}

impl ReminderStore for EventKit {
    fn zone(&self) -> Result<String, Failure> {
        Ok(zone())
    }

    fn lists(&self) -> Result<Vec<List>, Failure> {
        with_store(App::Reminders, |store| {
            // SAFETY: the store is this thread's.
            let usual = unsafe { store.defaultCalendarForNewReminders() }.map(|list| id(&list));
            // SAFETY: properties of objects that this thread just got from its store.
            let read = |list: &Retained<EKCalendar>| unsafe {
                List {
                    id: id(list),
                    name: list.title().to_string(),
                    account: list.source().map(|source| source.title().to_string()),
                    default: usual.as_ref() == Some(&id(list)),
                    writable: list.allowsContentModifications(),
                }
            };
            Ok(calendars(store).iter().map(read).collect())
        })
    }

    fn reminders(
        &self,
        lists: &[String],
        done: bool,
        take: &mut dyn FnMut(Reminder) -> bool,
    ) -> Result<(), Failure> {
        with_store(App::Reminders, |store| {
            let mut asked = calendars(store);
            asked.retain(|list| lists.contains(&id(list)));
            // EventKit takes an empty list for all of them.
            if asked.is_empty() {
                return Ok(());
            }
            let asked = NSArray::from_retained_slice(&asked);
            let (found, hear) = mpsc::channel();
            let block = RcBlock::new(move |reminders: *mut NSArray<EKReminder>| {
                // SAFETY: EventKit hands over an array that lives through this call, or nothing.
                let reminders = unsafe { reminders.as_ref() };
                let all: Option<Vec<Reminder>> =
                    reminders.map(|all| all.iter().map(|one| read(&one)).collect());
                let _ = found.send(all);
            });
            // SAFETY: the lists are of this store, the predicate is used with it at once, and EventKit copies the block.
            unsafe {
                let predicate = match done {
                    true => store
                        .predicateForCompletedRemindersWithCompletionDateStarting_ending_calendars(
                            None,
                            None,
                            Some(&asked),
                        ),
                    false => store
                        .predicateForIncompleteRemindersWithDueDateStarting_ending_calendars(
                            None,
                            None,
                            Some(&asked),
                        ),
                };
                store.fetchRemindersMatchingPredicate_completion(&predicate, &block);
            }
            // A little less than the caller waits, so that the thread is free again.
            let heard = hear.recv_timeout(PATIENCE - Duration::from_secs(2));
            let heard = heard.map_err(|_| Failure::Hanging)?;
            for reminder in heard.ok_or(Failure::BadAnswer)? {
                if !take(reminder) {
                    break;
                }
            }
            Ok(())
        })
    }

    fn reminder(&self, id: &str) -> Result<Option<Reminder>, Failure> {
        with_store(App::Reminders, |store| {
            Ok(find(store, id).map(|reminder| read(&reminder)))
        })
    }

    fn add(&self, list: &str, content: &Content) -> Result<Reminder, Failure> {
        with_store(App::Reminders, |store| {
            let all = calendars(store);
            let list = all.iter().find(|one| id(one) == list);
            let list = list.ok_or(Failure::Gone)?;
            // SAFETY: the reminder and its list are of this store.
            unsafe {
                let reminder = EKReminder::reminderWithEventStore(store);
                reminder.setCalendar(Some(list));
                fill(&reminder, None, content);
                let saved = store.saveReminder_commit_error(&reminder, true);
                saved.map_err(|error| failed(&error))?;
                Ok(read(&reminder))
            }
        })
    }

    fn set(&self, old: &Reminder, new: &Content) -> Result<Reminder, Failure> {
        with_store(App::Reminders, |store| {
            let reminder = find(store, &old.id).ok_or(Failure::Changed)?;
            same(old, Some(read(&reminder)))?;
            fill(&reminder, Some(&old.content), new);
            // SAFETY: the reminder is of this store.
            let saved = unsafe { store.saveReminder_commit_error(&reminder, true) };
            saved.map_err(|error| failed(&error))?;
            Ok(read(&reminder))
        })
    }

    fn remove(&self, old: &Reminder) -> Result<(), Failure> {
        with_store(App::Reminders, |store| {
            let reminder = find(store, &old.id).ok_or(Failure::Changed)?;
            same(old, Some(read(&reminder)))?;
            // SAFETY: the reminder is of this store.
            let removed = unsafe { store.removeReminder_commit_error(&reminder, true) };
            removed.map_err(|error| failed(&error))
        })
    }
}

fn find(store: &EKEventStore, id: &str) -> Option<Retained<EKReminder>> {
    // SAFETY: the store is this thread's.
    let item = unsafe { store.calendarItemWithIdentifier(&NSString::from_str(id)) };
    item?.downcast::<EKReminder>().ok()
}

fn read(reminder: &EKReminder) -> Reminder {
    // SAFETY: properties of an object that this thread got from its store, or that EventKit just handed over.
    unsafe {
        let notes = reminder.notes().map(|notes| notes.to_string());
        let due = reminder.dueDateComponents();
        Reminder {
            id: reminder.calendarItemIdentifier().to_string(),
            list: reminder
                .calendar()
                .map(|list| id(&list))
                .unwrap_or_default(),
            content: Content {
                title: reminder.title().to_string(),
                notes: notes.filter(|notes| !notes.is_empty()),
                due: due.map(|due| due_of(&due).unwrap_or(Due::Unread)),
                priority: u8::try_from(reminder.priority()).unwrap_or(0),
                done: reminder.isCompleted(),
            },
            completed: reminder.completionDate().map(|at| moment(&at)),
            repeats: reminder.hasRecurrenceRules(),
            created: reminder.creationDate().map(|at| moment(&at)),
            modified: reminder.lastModifiedDate().map(|at| moment(&at)),
        }
    }
}

/// A day, where no hour is set; else the moment in the zone of the components, or the person's.
fn due_of(due: &NSDateComponents) -> Option<Due> {
    let part = |value: isize| i8::try_from(value).ok();
    let year = i16::try_from(due.year()).ok()?;
    let day = civil::Date::new(year, part(due.month())?, part(due.day())?).ok()?;
    if due.hour() == NSDateComponentUndefined {
        return Some(Due::Day(day));
    }
    // A minute that is not set is none.
    let small = |value: isize| part(value).unwrap_or(0);
    let time = civil::Time::new(
        small(due.hour()),
        small(due.minute()),
        small(due.second()),
        0,
    );
    let name = due
        .timeZone()
        .map_or_else(zone, |zone| zone.name().to_string());
    let clock = Clock::in_zone(&name);
    let typed = clock.typed(&civil::DateTime::from_parts(day, time.ok()?).to_string());
    match typed {
        Some(Typed::At(at)) => Some(Due::At(at)),
        _ => None,
    }
}

/// Sets what differs between `old` and `new`.
fn fill(reminder: &EKReminder, old: Option<&Content>, new: &Content) {
    let is = |same: fn(&Content, &Content) -> bool| old.is_some_and(|old| same(old, new));
    // SAFETY: the reminder is this thread's, and every value is one that EventKit takes.
    unsafe {
        if !is(|old, new| old.title == new.title) {
            reminder.setTitle(Some(&NSString::from_str(&new.title)));
        }
        if !is(|old, new| old.notes == new.notes) {
            let notes = new.notes.as_deref().map(NSString::from_str);
            reminder.setNotes(notes.as_deref());
        }
        if !is(|old, new| old.priority == new.priority) {
            reminder.setPriority(usize::from(new.priority));
        }
        if !is(|old, new| old.due == new.due) {
            let before = old.and_then(|old| old.due);
            set_due(reminder, before, new.due);
        }
        if !is(|old, new| old.done == new.done) && (old.is_some() || new.done) {
            reminder.setCompleted(new.done);
        }
    }
}

/// Sets the due date. At a time the app announces it, as it does for one that the person types.
fn set_due(reminder: &EKReminder, before: Option<Due>, due: Option<Due>) {
    // SAFETY: the reminder is this thread's, and its alarms with it.
    unsafe {
        let alarms = reminder.alarms().map(|alarms| alarms.to_vec());
        for alarm in alarms.unwrap_or_default() {
            let at = alarm.absoluteDate().map(|at| Due::At(moment(&at)));
            if at.is_some() && at == before {
                reminder.removeAlarm(&alarm);
            }
        }
        let components = due.and_then(components);
        reminder.setDueDateComponents(components.as_deref());
        if let Some(Due::At(at)) = due {
            reminder.addAlarm(&EKAlarm::alarmWithAbsoluteDate(&date(at)));
        }
    }
}

/// As the app has them; none of what cannot be read, which no change sets.
fn components(due: Due) -> Option<Retained<NSDateComponents>> {
    let components = NSDateComponents::new();
    let here = zone();
    let local = |at: Timestamp| Clock::in_zone(&here).local(at);
    let day = match due {
        Due::Unread => return None,
        Due::Day(day) => day,
        Due::At(at) => {
            let time = local(at).time();
            components.setHour(isize::from(time.hour()));
            components.setMinute(isize::from(time.minute()));
            components.setSecond(isize::from(time.second()));
            let named = NSTimeZone::timeZoneWithName(&NSString::from_str(&here));
            components.setTimeZone(named.as_deref());
            local(at).date()
        }
    };
    components.setYear(isize::from(day.year()));
    components.setMonth(isize::from(day.month()));
    components.setDay(isize::from(day.day()));
    Some(components)
}
