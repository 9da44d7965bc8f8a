//! Events by EventKit, which works recurrences out itself.
//!
//! Invariants: a store is made for each call and stays on its thread; nothing here saves or removes.
//!
//! Must not know: how events are shown.
#![expect(unsafe_code, reason = "calls to Objective-C have no safe spelling")]

use crate::store::{Calendar, Event, EventQuery, EventStore, Take};
use objc2_event_kit::{EKCalendar, EKEvent, EKEventStatus, EKEventStore, EKParticipant};
use objc2_foundation::NSArray;
use plexus_apple::{
    App, Failure,
    os::{date, entity, moment, with_store, zone},
};

/// The person's own calendars.
#[derive(Debug)]
pub(crate) struct EventKit;

fn calendars(store: &EKEventStore) -> Vec<objc2::rc::Retained<EKCalendar>> {
    // SAFETY: the store is this thread's, and the kind is one that it knows.
    let all = unsafe { store.calendarsForEntityType(entity(App::Calendar)) };
    all.to_vec()
}

impl EventStore for EventKit {
    fn zone(&self) -> Result<String, Failure> {
        Ok(zone())
    }

    fn calendars(&self) -> Result<Vec<Calendar>, Failure> {
        with_store(App::Calendar, |store| {
            // SAFETY: properties of objects that this thread just got from its store.
            let read = |calendar: &EKCalendar| unsafe {
                Calendar {
                    id: calendar.calendarIdentifier().to_string(),
                    name: calendar.title().to_string(),
                    account: calendar.source().map(|source| source.title().to_string()),
                }
            };
            Ok(calendars(store).iter().map(|one| read(one)).collect())
        })
    }

    fn events(&self, wanted: &EventQuery, take: Take<'_>) -> Result<(), Failure> {
        with_store(App::Calendar, |store| {
            let mut asked = calendars(store);
            // SAFETY: a property of objects that this thread just got from its store.
            let id = |one: &EKCalendar| unsafe { one.calendarIdentifier() }.to_string();
            asked.retain(|one| wanted.calendars.contains(&id(one)));
            // EventKit takes an empty list for all of them.
            if asked.is_empty() {
                return Ok(());
            }
            let asked = NSArray::from_retained_slice(&asked);
            let (from, to) = (date(wanted.from), date(wanted.to));
            // SAFETY: the calendars are of this store, and the predicate is used with it at once.
            let found = unsafe {
                let predicate = store.predicateForEventsWithStartDate_endDate_calendars(
                    &from,
                    &to,
                    Some(&asked),
                );
                store.eventsMatchingPredicate(&predicate)
            };
            for event in &found {
                // SAFETY: properties of an object that this thread just got from its store.
                let (start, end, id) = unsafe {
                    let id = event
                        .eventIdentifier()
                        .unwrap_or_else(|| event.calendarItemIdentifier());
                    (
                        moment(&event.startDate()),
                        moment(&event.endDate()),
                        id.to_string(),
                    )
                };
                if wanted.holds(start, end) && !take(start, &id, &mut || read(&event, &id)) {
                    break;
                }
            }
            Ok(())
        })
    }
}

fn read(event: &EKEvent, id: &str) -> Event {
    // SAFETY: properties of an object that this thread just got from its store.
    unsafe {
        let text = |text: Option<objc2::rc::Retained<objc2_foundation::NSString>>| {
            text.map(|text| text.to_string())
                .filter(|text| !text.is_empty())
        };
        let people = event.attendees().map(|people| people.to_vec());
        let status = match event.status() {
            EKEventStatus::Confirmed => Some("confirmed"),
            EKEventStatus::Tentative => Some("tentative"),
            EKEventStatus::Canceled => Some("cancelled"),
            _ => None,
        };
        Event {
            id: id.to_owned(),
            calendar: event
                .calendar()
                .map(|calendar| calendar.calendarIdentifier().to_string())
                .unwrap_or_default(),
            title: event.title().to_string(),
            start: moment(&event.startDate()),
            end: moment(&event.endDate()),
            all_day: event.isAllDay(),
            zone: event.timeZone().map(|zone| zone.name().to_string()),
            place: text(event.location()),
            notes: text(event.notes()),
            status: status.map(str::to_owned),
            repeats: event.hasRecurrenceRules() || event.isDetached(),
            people: people
                .unwrap_or_default()
                .iter()
                .filter_map(|one| name(one))
                .collect(),
        }
    }
}

fn name(person: &EKParticipant) -> Option<String> {
    // SAFETY: properties of an object that this thread just got from its store.
    let (name, url) = unsafe { (person.name(), person.URL()) };
    let address = || {
        let url = url.absoluteString()?.to_string();
        Some(
            url.strip_prefix("mailto:")
                .map(str::to_owned)
                .unwrap_or(url),
        )
    };
    name.map(|name| name.to_string()).or_else(address)
}
