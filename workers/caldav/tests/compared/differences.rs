//! The differences that have an explanation. Any other fails the test.

use super::{Times, made::Made};
use chrono::{DateTime, NaiveTime};

/// Versions before 3 of the other implementation read a time that comes twice as the second one and add days as hours; those
/// from 3 on add hours as if no clock changed. Ours are those of RFC 5545 (3.3.5, 3.3.6; `odd::time_that_the_clock_shows_twice_keeps_its_length`).
const CLOCK: &str = "hours around a change of the clock";
/// A rule of times that ends on a day (`UNTIL=20260305`), which RFC 5545 (3.3.10) forbids and programs write. The other
/// implementation ends it as the day begins in UTC; ours has the whole day, as they mean it (`repeat::last_occurrence_is_counted_when_until_names_it_in_utc`).
const LAST_DAY: &str = "a day as the end of times";

const DAY: i64 = 86_400;

/// Why both may differ in this event; `None` where nobody knows.
pub(crate) fn explanation(made: &Made, ours: &Times, theirs: &Times) -> Option<&'static str> {
    let (mut mine, other): (Vec<_>, Vec<_>) = (
        ours.difference(theirs).collect(),
        theirs.difference(ours).collect(),
    );
    let before = mine.len();
    mine.retain(|times| !is_of_last_day(made, times));
    let without = before - mine.len();
    let pairs = mine.iter().zip(&other);
    let is_clock = mine.len() == other.len()
        && pairs
            .clone()
            .all(|(a, b)| is_near(&a[0], &b[0]) && is_near(&a[1], &b[1]) && is_of_change(made, a));
    match (is_clock, mine.is_empty(), without) {
        (true, true, 1..) => Some(LAST_DAY),
        (true, false, _) => Some(CLOCK),
        _ => None,
    }
}

fn is_of_last_day(made: &Made, [start, _]: &[String; 2]) -> bool {
    let Some(day) = made.last_day else {
        return false;
    };
    // No clock is further from UTC than 14 hours.
    let begin = day.and_time(NaiveTime::MIN).and_utc().timestamp();
    let start = seconds(start).or_else(|| seconds(&format!("{start}Z")));
    start.is_some_and(|start| start > begin - DAY && start < begin + 2 * DAY)
}

/// Days of 2026 on which the clocks of a zone change.
fn changes(zone: &str) -> [&'static str; 2] {
    match zone {
        "Europe/Berlin" | "W. Europe Standard Time" => ["2026-03-29", "2026-10-25"],
        "America/New_York" => ["2026-03-08", "2026-11-01"],
        "Australia/Sydney" => ["2026-04-05", "2026-10-04"],
        "Own Place" => ["2026-04-05", "2026-11-01"],
        "Own Dates" => ["2026-05-10", "2026-09-06"],
        _ => ["", ""],
    }
}

fn seconds(time: &str) -> Option<i64> {
    Some(DateTime::parse_from_rfc3339(time).ok()?.timestamp())
}

fn is_near(a: &str, b: &str) -> bool {
    let both = seconds(a).zip(seconds(b));
    both.is_some_and(|(a, b)| (a - b).abs() <= 3_600)
}

/// Whether an occurrence, or the first one, whose length a series has, is near a change of its clock.
fn is_of_change(made: &Made, [start, end]: &[String; 2]) -> bool {
    let days: Vec<i64> = changes(made.zone)
        .iter()
        .filter_map(|day| seconds(&format!("{day}T00:00:00Z")))
        .collect();
    let has_change = |start: i64, end: i64| {
        let mut days = days.iter();
        days.any(|day| start < day + 2 * DAY && end > day - DAY)
    };
    let span = seconds(start).zip(seconds(end));
    has_change(made.start, made.start + DAY)
        || span.is_some_and(|(start, end)| has_change(start, end))
}
