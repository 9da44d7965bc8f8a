//! Reminders by EventKit.
//!
//! Invariants: a store is made for each call; of what came of it, EventKit's thread reads the reminders that it hands to a
//! block, and the call's thread all else; a reminder is compared with the planned one on the very object that is saved.
//!
//! Must not know: who asks, how reminders are shown.
#![expect(unsafe_code, reason = "calls to Objective-C have no safe spelling")]

use crate::{
    store::{Content, Due, List, Reminder, ReminderStore, same},
    values::{ChangedFields, DueParts},
};
use block2::RcBlock;
use objc2::rc::Retained;
use objc2_event_kit::{EKAlarm, EKCalendar, EKEventStore, EKReminder};
use objc2_foundation::{
    NSArray, NSDateComponentUndefined, NSDateComponents, NSError, NSPredicate, NSString, NSTimeZone,
};
use plexus_apple::{
    App, Failure, PATIENCE,
    os::{date, entity, moment, title, with_store, zone},
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
            // SAFETY: properties of objects that this thread just got from its store; lists and sources have titles.
            let read = |list: &Retained<EKCalendar>| unsafe {
                List {
                    id: id(list),
                    name: title(list),
                    account: list.source().map(|source| title(&source)),
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
            for reminder in fetch(store, &asked, done)? {
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

/// Those of these lists that are done, or those that are not.
fn fetch(
    store: &Retained<EKEventStore>,
    lists: &NSArray<EKCalendar>,
    done: bool,
) -> Result<Vec<Reminder>, Failure> {
    let (found, hear) = mpsc::channel();
    // The block has the store: EventKit may hold reminders of it after the end of the wait.
    let asked = store.clone();
    let block = RcBlock::new(move |reminders: *mut NSArray<EKReminder>| {
        let _asked = &asked;
        // SAFETY: EventKit hands over an array that lives through this call, or nothing.
        let reminders = unsafe { reminders.as_ref() };
        let all: Option<Vec<Reminder>> =
            reminders.map(|all| all.iter().map(|one| read(&one)).collect());
        let _ = found.send(all);
    });
    let wanted = predicate(store, lists, done);
    // SAFETY: the predicate is of this store. EventKit copies the block and runs it once at most, maybe on another thread: a
    // `Sender` may be there, the store is only kept by it, and reading the reminders does not panic.
    let request = unsafe { store.fetchRemindersMatchingPredicate_completion(&wanted, &block) };
    // A little less than the caller waits, so that the thread is free again.
    match hear.recv_timeout(PATIENCE - Duration::from_secs(2)) {
        Ok(all) => all.ok_or(Failure::BadAnswer),
        Err(_) => {
            // SAFETY: the request is one of this store.
            unsafe { store.cancelFetchRequest(&request) };
            Err(Failure::Hanging)
        }
    }
}

fn predicate(
    store: &EKEventStore,
    lists: &NSArray<EKCalendar>,
    done: bool,
) -> Retained<NSPredicate> {
    // SAFETY: the lists are of this store.
    unsafe {
        match done {
            true => store
                .predicateForCompletedRemindersWithCompletionDateStarting_ending_calendars(
                    None,
                    None,
                    Some(lists),
                ),
            false => store.predicateForIncompleteRemindersWithDueDateStarting_ending_calendars(
                None,
                None,
                Some(lists),
            ),
        }
    }
}

fn find(store: &EKEventStore, id: &str) -> Option<Retained<EKReminder>> {
    // SAFETY: the store is this thread's.
    let item = unsafe { store.calendarItemWithIdentifier(&NSString::from_str(id)) };
    item?.downcast::<EKReminder>().ok()
}

fn read(reminder: &EKReminder) -> Reminder {
    // SAFETY: properties of an object that this thread got from its store, or that EventKit just handed over; it has a title.
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
                title: title(reminder),
                notes: notes.filter(|notes| !notes.is_empty()),
                due: due.map(|due| parts(&due).due(&zone())),
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

fn parts(due: &NSDateComponents) -> DueParts {
    let set = |value: isize| Some(value).filter(|value| *value != NSDateComponentUndefined);
    DueParts {
        year: set(due.year()),
        month: set(due.month()),
        day: set(due.day()),
        hour: set(due.hour()),
        minute: set(due.minute()),
        second: set(due.second()),
        zone: due.timeZone().map(|zone| zone.name().to_string()),
    }
}

/// Sets what differs between `old` and `new`.
fn fill(reminder: &EKReminder, old: Option<&Content>, new: &Content) {
    let changed = ChangedFields::between(old, new);
    // SAFETY: the reminder is this thread's, and every value is one that EventKit takes.
    unsafe {
        if let Some(title) = changed.title {
            reminder.setTitle(Some(&NSString::from_str(title)));
        }
        if let Some(notes) = changed.notes {
            reminder.setNotes(notes.map(NSString::from_str).as_deref());
        }
        if let Some(priority) = changed.priority {
            reminder.setPriority(usize::from(priority));
        }
        if let Some(due) = changed.due {
            set_due(reminder, old.and_then(|old| old.due), due);
        }
        if let Some(done) = changed.done {
            reminder.setCompleted(done);
        }
    }
}

/// Sets the due date. At a time the app announces it, as it does for one that the person types.
fn set_due(reminder: &EKReminder, before: Option<Due>, due: Option<Due>) {
    let parts = due.and_then(|due| DueParts::of(due, &zone()));
    // SAFETY: the reminder is this thread's, and its alarms with it.
    unsafe {
        let alarms = reminder.alarms().map(|alarms| alarms.to_vec());
        for alarm in alarms.unwrap_or_default() {
            let at = alarm.absoluteDate().map(|at| Due::At(moment(&at)));
            if at.is_some() && at == before {
                reminder.removeAlarm(&alarm);
            }
        }
        reminder.setDueDateComponents(parts.map(|parts| components(&parts)).as_deref());
        if let Some(Due::At(at)) = due {
            reminder.addAlarm(&EKAlarm::alarmWithAbsoluteDate(&date(at)));
        }
    }
}

fn components(parts: &DueParts) -> Retained<NSDateComponents> {
    let components = NSDateComponents::new();
    let set = |value: Option<isize>| value.unwrap_or(NSDateComponentUndefined);
    components.setYear(set(parts.year));
    components.setMonth(set(parts.month));
    components.setDay(set(parts.day));
    components.setHour(set(parts.hour));
    components.setMinute(set(parts.minute));
    components.setSecond(set(parts.second));
    let zone = parts.zone.as_deref().map(NSString::from_str);
    let zone = zone.and_then(|name| NSTimeZone::timeZoneWithName(&name));
    components.setTimeZone(zone.as_deref());
    components
}
