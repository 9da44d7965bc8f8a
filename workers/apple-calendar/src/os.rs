//! Events by EventKit, which works recurrences out itself.
//!
//! Invariants: a store is made for each call and stays on its thread; nothing here saves or removes; whatever Apple may
//! give as nil is read by [`nullable`].
//!
//! Must not know: how events are shown.
#![expect(unsafe_code, reason = "calls to Objective-C have no safe spelling")]

use crate::{
    store::{Calendar, Event, EventQuery, EventStore, Take},
    values::{CANCELLED, CONFIRMED, TENTATIVE, filled, person, status},
};
use jiff::Timestamp;
use objc2::{rc::Retained, runtime::Sel, sel};
use objc2_event_kit::{EKCalendar, EKEvent, EKEventStatus, EKEventStore, EKParticipant};
use objc2_foundation::{NSArray, NSDate, NSString, NSURL};
use plexus_apple::{
    App, Failure,
    os::{date, entity, moment, nullable, title, with_store, zone},
};

/// The person's own calendars.
#[derive(Debug)]
pub(crate) struct EventKit;

// The numbers that are tested on every system are Apple's.
const _: () = assert!(
    CONFIRMED == EKEventStatus::Confirmed.0
        && TENTATIVE == EKEventStatus::Tentative.0
        && CANCELLED == EKEventStatus::Canceled.0
);

fn calendars(store: &EKEventStore) -> Vec<Retained<EKCalendar>> {
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
            // SAFETY: properties of objects that this thread just got from its store; calendars and sources have titles.
            let read = |calendar: &EKCalendar| unsafe {
                Calendar {
                    id: calendar.calendarIdentifier().to_string(),
                    name: title(calendar),
                    account: calendar.source().map(|source| title(&source)),
                }
            };
            Ok(calendars(store).iter().map(|one| read(one)).collect())
        })
    }

    fn events(&self, wanted: &EventQuery, take: Take<'_>) -> Result<Vec<String>, Failure> {
        with_store(App::Calendar, |store| {
            let mut asked = calendars(store);
            // SAFETY: a property of objects that this thread just got from its store.
            let id = |one: &EKCalendar| unsafe { one.calendarIdentifier() }.to_string();
            asked.retain(|one| wanted.calendars.contains(&id(one)));
            // EventKit takes an empty list for all of them.
            if asked.is_empty() {
                return Ok(Vec::new());
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
            let mut undated = Vec::new();
            for event in &found {
                let id = event_id(&event);
                let Some((start, end)) = times(&event) else {
                    undated.push(id);
                    continue;
                };
                let mut make = || read(&event, &id, (start, end));
                if wanted.holds(start, end) && !take(start, &id, &mut make) {
                    break;
                }
            }
            Ok(undated)
        })
    }
}

fn event_id(event: &EKEvent) -> String {
    // SAFETY: properties of an object that this thread just got from its store.
    let id = unsafe {
        event
            .eventIdentifier()
            .unwrap_or_else(|| event.calendarItemIdentifier())
    };
    id.to_string()
}

/// Beginning and end, where it has both.
fn times(event: &EKEvent) -> Option<(Timestamp, Timestamp)> {
    // SAFETY: both methods take nothing and answer a date, or nil.
    let date = |getter: Sel| unsafe { nullable::<NSDate>(event, getter) };
    let at = |getter: Sel| Some(moment(&*date(getter)?));
    Some((at(sel!(startDate))?, at(sel!(endDate))?))
}

fn read(event: &EKEvent, id: &str, (start, end): (Timestamp, Timestamp)) -> Event {
    let text = |text: Option<Retained<NSString>>| filled(text.map(|text| text.to_string()));
    // SAFETY: properties of an object that this thread just got from its store; an event has a title.
    unsafe {
        let people = event.attendees().map(|people| people.to_vec());
        let people = people.unwrap_or_default();
        let calendar = event.calendar();
        Event {
            id: id.to_owned(),
            calendar: calendar
                .map(|calendar| calendar.calendarIdentifier().to_string())
                .unwrap_or_default(),
            title: title(event),
            start,
            end,
            all_day: event.isAllDay(),
            zone: event.timeZone().map(|zone| zone.name().to_string()),
            place: text(event.location()),
            notes: text(event.notes()),
            status: status(event.status().0).map(str::to_owned),
            repeats: event.hasRecurrenceRules() || event.isDetached(),
            people: people.iter().filter_map(|one| name(one)).collect(),
        }
    }
}

fn name(participant: &EKParticipant) -> Option<String> {
    // SAFETY: properties of an object that this thread just got from its store; `URL` takes nothing and answers an object, or nil.
    let (name, url) = unsafe {
        (
            participant.name(),
            nullable::<NSURL>(participant, sel!(URL)),
        )
    };
    let url = url.and_then(|url| url.absoluteString());
    person(
        name.map(|name| name.to_string()),
        url.map(|url| url.to_string()),
    )
}
