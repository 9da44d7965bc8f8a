//! What every store on EventKit needs of macOS: consent, and Objective-C's values in Rust's.
//!
//! Invariants: a store is made for one call, on the thread that uses it; nothing is read without full access, because
//! with less EventKit answers empty lists.
//!
//! Must not know: events, reminders.
#![expect(unsafe_code, reason = "calls to Objective-C have no safe spelling")]

use crate::{App, Failure, PATIENCE};
use block2::RcBlock;
use jiff::Timestamp;
use objc2::{
    rc::{Retained, autoreleasepool},
    runtime::{Bool, NSObjectProtocol as _},
    sel,
};
use objc2_event_kit::{EKAuthorizationStatus, EKEntityType, EKEventStore};
use objc2_foundation::{NSDate, NSError, NSTimeZone};
use std::sync::mpsc;

/// Does `work` with a store that may read everything. The first time macOS asks the person.
///
/// # Errors
/// Consent is missing; what `work` answers.
pub fn with_store<T>(
    app: App,
    work: impl FnOnce(&EKEventStore) -> Result<T, Failure>,
) -> Result<T, Failure> {
    autoreleasepool(|_| {
        consent(app)?;
        // One from before the consent would go on holding nothing.
        // SAFETY: `new` needs nothing, and the store stays on this thread.
        let store = unsafe { EKEventStore::new() };
        work(&store)
    })
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
        EKAuthorizationStatus::NotDetermined => {}
        known => return judged(known),
    }
    // SAFETY: `new` needs nothing, and the store stays on this thread.
    let store = unsafe { EKEventStore::new() };
    let (answered, answer) = mpsc::channel();
    let block = RcBlock::new(move |_: Bool, _: *mut NSError| {
        let _ = answered.send(());
    });
    let block_pointer = RcBlock::as_ptr(&block);
    // macOS 14 has the calls for full access; before it there was one consent for everything.
    let has_full_access = store.respondsToSelector(match app {
        App::Calendar => sel!(requestFullAccessToEventsWithCompletion:),
        App::Reminders => sel!(requestFullAccessToRemindersWithCompletion:),
    });
    // SAFETY: the store answers these selectors, as was asked just above; EventKit copies the block, and this one lives
    // until the answer or the end of the wait.
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
        Ok(()) => judged(status(app)),
        Err(_) => Err(Failure::ConsentPending),
    }
}

fn status(app: App) -> EKAuthorizationStatus {
    // SAFETY: a question to the class about a kind that it knows.
    unsafe { EKEventStore::authorizationStatusForEntityType(entity(app)) }
}

fn judged(status: EKAuthorizationStatus) -> Result<(), Failure> {
    match status {
        EKAuthorizationStatus::FullAccess => Ok(()),
        EKAuthorizationStatus::WriteOnly => Err(Failure::AddOnly),
        EKAuthorizationStatus::Restricted => Err(Failure::Restricted),
        EKAuthorizationStatus::NotDetermined => Err(Failure::ConsentPending),
        _ => Err(Failure::ConsentDenied),
    }
}

/// The name of the person's zone.
#[must_use]
pub fn zone() -> String {
    NSTimeZone::localTimeZone().name().to_string()
}

/// A moment; that of a date out of range is the epoch.
#[must_use]
pub fn moment(date: &NSDate) -> Timestamp {
    #[expect(
        clippy::cast_possible_truncation,
        reason = "beyond the range of i64 it saturates, and is no moment"
    )]
    let milliseconds = (date.timeIntervalSince1970() * 1000.0) as i64;
    Timestamp::from_millisecond(milliseconds).unwrap_or(Timestamp::UNIX_EPOCH)
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
