//! What every store on EventKit needs of macOS: consent, and Objective-C's values in Rust's.
//!
//! Invariants: a store is made for one call; it is released after all that came of it; nothing is read without full
//! access, because with less EventKit answers empty lists.
//!
//! Must not know: events, reminders.
#![expect(unsafe_code, reason = "calls to Objective-C have no safe spelling")]

use crate::{App, Consent, Failure, PATIENCE, time};
use block2::RcBlock;
use jiff::Timestamp;
use objc2::{
    DowncastTarget, msg_send,
    rc::{Retained, autoreleasepool},
    runtime::{AnyObject, Bool, NSObjectProtocol as _, Sel},
    sel,
};
use objc2_event_kit::{EKAuthorizationStatus, EKEntityType, EKEventStore};
use objc2_foundation::{NSDate, NSError, NSString, NSTimeZone};
use std::sync::mpsc;

/// Does `work` with a store that may read everything. The first time macOS asks the person.
///
/// # Errors
/// Consent is missing; what `work` answers.
pub fn with_store<T>(
    app: App,
    work: impl FnOnce(&Retained<EKEventStore>) -> Result<T, Failure>,
) -> Result<T, Failure> {
    autoreleasepool(|_| consent(app))?;
    // One from before the consent would go on holding nothing. Made outside of the pool, it is released after all that the pool
    // holds: EventKit requires that (its programming guide, "Connecting to the event store").
    // SAFETY: `new` needs nothing.
    let store = unsafe { EKEventStore::new() };
    autoreleasepool(|_| work(&store))
}

/// An object that the binding takes for always there, and that EventKit answers as nil in the field.
///
/// # Safety
/// `object` has a method `getter` that takes nothing and answers nil, or an object that it does not hand over.
#[must_use]
pub unsafe fn nullable<T: DowncastTarget>(object: &AnyObject, getter: Sel) -> Option<Retained<T>> {
    // SAFETY: every object has `performSelector:`, which answers as the method does; the caller vouches for the method. The class
    // of the answer is looked at below.
    let found: Option<Retained<AnyObject>> = unsafe { msg_send![object, performSelector: getter] };
    found?.downcast().ok()
}

/// The title of an object of EventKit; empty where it has none.
///
/// # Safety
/// `object` has a method `title` that answers nil or an object: a calendar, a source, an event, a reminder.
#[must_use]
pub unsafe fn title(object: &AnyObject) -> String {
    // SAFETY: the caller's.
    let title = unsafe { nullable::<NSString>(object, sel!(title)) };
    title.map(|title| title.to_string()).unwrap_or_default()
}

/// The kind of things that an app holds.
#[must_use]
pub const fn entity(app: App) -> EKEntityType {
    match app {
        App::Calendar => EKEntityType::Event,
        App::Reminders => EKEntityType::Reminder,
    }
}

fn consent(app: App) -> Result<(), Failure> {
    match status(app) {
        Consent::UNASKED => {}
        known => return known.judged(),
    }
    // SAFETY: `new` needs nothing.
    let store = unsafe { EKEventStore::new() };
    let (answered, answer) = mpsc::channel();
    // The block has the store: the person may answer after the end of the wait.
    let asking = store.clone();
    let block = RcBlock::new(move |_: Bool, _: *mut NSError| {
        let _asking = &asking;
        let _ = answered.send(());
    });
    let block_pointer = RcBlock::as_ptr(&block);
    // macOS 14 has the calls for full access; before it there was one consent for everything.
    let has_full_access = store.respondsToSelector(match app {
        App::Calendar => sel!(requestFullAccessToEventsWithCompletion:),
        App::Reminders => sel!(requestFullAccessToRemindersWithCompletion:),
    });
    // SAFETY: the store answers these selectors, as was asked just above. EventKit copies the block and may run it on another
    // thread: a `Sender` may be there, and the store is only kept by it.
    unsafe {
        match (has_full_access, app) {
            (true, App::Calendar) => store.requestFullAccessToEventsWithCompletion(block_pointer),
            (true, App::Reminders) => {
                store.requestFullAccessToRemindersWithCompletion(block_pointer);
            }
            #[expect(deprecated, reason = "the only call before macOS 14")]
            (false, _) => store.requestAccessToEntityType_completion(entity(app), block_pointer),
        }
    }
    // A little less than the caller waits, so that the reason is this one.
    match answer.recv_timeout(PATIENCE - std::time::Duration::from_secs(2)) {
        Ok(()) => status(app).judged(),
        Err(_) => Err(Failure::ConsentPending),
    }
}

fn status(app: App) -> Consent {
    // SAFETY: a question to the class about a kind that it knows.
    Consent(unsafe { EKEventStore::authorizationStatusForEntityType(entity(app)) }.0)
}

// The numbers that are tested on every system are Apple's.
const _: () = assert!(
    Consent::UNASKED.0 == EKAuthorizationStatus::NotDetermined.0
        && Consent::RESTRICTED.0 == EKAuthorizationStatus::Restricted.0
        && Consent::FULL.0 == EKAuthorizationStatus::FullAccess.0
        && Consent::ADD_ONLY.0 == EKAuthorizationStatus::WriteOnly.0
);

/// The name of the person's zone.
#[must_use]
pub fn zone() -> String {
    NSTimeZone::localTimeZone().name().to_string()
}

/// A moment; that of a date out of range is the epoch.
#[must_use]
pub fn moment(date: &NSDate) -> Timestamp {
    time::since_1970(date.timeIntervalSince1970())
}

/// The same for Objective-C.
#[must_use]
pub fn date(at: Timestamp) -> Retained<NSDate> {
    #[expect(
        clippy::cast_precision_loss,
        reason = "a moment in milliseconds has 47 bits"
    )]
    let seconds = at.as_millisecond() as f64 / 1000.0;
    NSDate::dateWithTimeIntervalSince1970(seconds)
}
