//! Days, times and zones, as they are typed and as answers show them.
//!
//! | | as the apps have it | in an answer |
//! |---|---|---|
//! | a day | midnight where the person is | `2026-06-25` |
//! | floating: that time wherever one is | that time where the person is | `2026-06-25T09:00:00` |
//! | in a zone | a moment and the zone's name | `2026-06-25T09:00:00+02:00` |
//!
//! Invariant: a day is never read by way of UTC; it is a day in the person's zone.
//!
//! Must not know: events, reminders.

use jiff::{
    Timestamp, ToSpan as _,
    civil::{Date, DateTime, Time},
    tz::TimeZone,
};
use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    sync::{Mutex, PoisonError},
};

/// Where zones lie, on macOS by a link.
const ZONES: &str = "/usr/share/zoneinfo";
/// Largest definition of a zone, in bytes; the largest there is has 4 KiB.
const LARGEST: u64 = 64 * 1024;

/// The person's zone, and those of their events.
#[derive(Debug)]
pub struct Clock {
    here: TimeZone,
    /// By name; `None` for one that this machine does not know.
    known: Mutex<BTreeMap<String, Option<TimeZone>>>,
}

/// What was typed for a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Typed {
    /// A whole day.
    Day(Date),
    /// A moment.
    At(Timestamp),
}

/// The moment of this many seconds after the beginning of 1970; out of range it is that beginning.
#[must_use]
pub fn since_1970(seconds: f64) -> Timestamp {
    #[expect(
        clippy::cast_possible_truncation,
        reason = "beyond the range of i64 it saturates, and is no moment"
    )]
    let milliseconds = (seconds * 1000.0) as i64;
    Timestamp::from_millisecond(milliseconds).unwrap_or(Timestamp::UNIX_EPOCH)
}

impl Clock {
    /// Of a person in the zone of this name; in UTC where this machine does not know it.
    #[must_use]
    pub fn in_zone(name: &str) -> Self {
        Self {
            here: load(name).unwrap_or(TimeZone::UTC),
            known: Mutex::default(),
        }
    }

    fn zone(&self, name: &str) -> Option<TimeZone> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(zone) = known.get(name) {
            return zone.clone();
        }
        let zone = load(name);
        known.insert(name.to_owned(), zone.clone());
        zone
    }

    /// A day, a time with its offset, or a time where the person is.
    #[must_use]
    pub fn typed(&self, text: &str) -> Option<Typed> {
        if let Ok(at) = text.parse::<Timestamp>() {
            return Some(Typed::At(at));
        }
        // The parser of dates takes the date of a time as well.
        if text.len() <= "2026-06-25".len() {
            return text.parse().ok().map(Typed::Day);
        }
        let local: DateTime = text.parse().ok()?;
        let zoned = local.to_zoned(self.here.clone()).ok()?;
        Some(Typed::At(zoned.timestamp()))
    }

    /// The moment at which what was typed begins.
    #[must_use]
    pub fn moment(&self, typed: Typed) -> Option<Timestamp> {
        match typed {
            Typed::At(at) => Some(at),
            Typed::Day(day) => {
                let midnight = day.to_zoned(self.here.clone()).ok()?;
                Some(midnight.timestamp())
            }
        }
    }

    /// Today where the person is.
    #[must_use]
    pub fn today(&self) -> Date {
        self.local(Timestamp::now()).date()
    }

    /// This moment on the person's clock.
    #[must_use]
    pub fn local(&self, at: Timestamp) -> DateTime {
        self.here.to_datetime(at)
    }

    /// A moment with the offset of `zone`, or of the person's.
    #[must_use]
    pub fn shown(&self, at: Timestamp, zone: Option<&str>) -> String {
        let named = zone.and_then(|name| self.zone(name));
        let zone = named.unwrap_or_else(|| self.here.clone());
        let (local, offset) = (zone.to_datetime(at), zone.to_offset(at));
        if offset.is_zero() {
            return format!("{}Z", text(local));
        }
        let minutes = offset.seconds() / 60;
        let sign = if minutes < 0 { '-' } else { '+' };
        let minutes = minutes.unsigned_abs();
        format!(
            "{}{sign}{:02}:{:02}",
            text(local),
            minutes / 60,
            minutes % 60
        )
    }

    /// A moment as the time that a floating thing has.
    #[must_use]
    pub fn floating(&self, at: Timestamp) -> String {
        text(self.local(at))
    }

    /// The day after the last of something that ends at `end`, which an app says as the last second, or as midnight.
    #[must_use]
    pub fn day_after(&self, start: Timestamp, end: Timestamp) -> Date {
        let local = self.local(end);
        let is_exclusive = local.time() == Time::midnight() && end > start;
        match is_exclusive {
            true => local.date(),
            false => local.date().saturating_add(1.day()),
        }
    }
}

fn text(local: DateTime) -> String {
    local.strftime("%Y-%m-%dT%H:%M:%S").to_string()
}

/// The zone of this name, from its one file.
fn load(name: &str) -> Option<TimeZone> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/_+-".contains(c);
    if name.is_empty() || name.len() > 64 || name.starts_with('/') || !name.chars().all(plain) {
        return None;
    }
    let path = Path::new(ZONES).join(name);
    let about = fs::metadata(&path).ok()?;
    if !about.is_file() || about.len() > LARGEST {
        return None;
    }
    TimeZone::tzif(name, &fs::read(path).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn seconds_are_read_to_the_millisecond_and_never_fail() {
        assert_eq!(since_1970(1.5), at("1970-01-01T00:00:01.5Z"));
        assert_eq!(since_1970(-0.25), at("1969-12-31T23:59:59.75Z"));
        for out in [f64::MAX, f64::MIN, f64::NAN, f64::INFINITY] {
            assert_eq!(since_1970(out), Timestamp::UNIX_EPOCH, "{out}");
        }
    }

    #[test]
    fn day_is_one_of_the_persons_zone() {
        let clock = Clock::in_zone("Europe/Berlin");
        let typed = clock.typed("2026-06-25").unwrap();
        assert_eq!(clock.moment(typed), Some(at("2026-06-24T22:00:00Z")));
        assert_eq!(
            clock.typed("2026-06-25T09:00"),
            Some(Typed::At(at("2026-06-25T07:00:00Z")))
        );
        assert_eq!(
            clock.typed("2026-06-25T09:00:00-04:00"),
            Some(Typed::At(at("2026-06-25T13:00:00Z")))
        );
        for wrong in [
            "",
            "today",
            "2026-13-01",
            "2026-06-25T25:00",
            "2026-06-25 x",
        ] {
            assert_eq!(clock.typed(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn moment_has_the_offset_of_its_own_zone_and_season() {
        let clock = Clock::in_zone("Europe/Berlin");
        let summer = at("2026-06-25T08:00:00Z");
        assert_eq!(clock.shown(summer, None), "2026-06-25T10:00:00+02:00");
        assert_eq!(
            clock.shown(at("2026-11-25T08:00:00Z"), None),
            "2026-11-25T09:00:00+01:00"
        );
        assert_eq!(
            clock.shown(summer, Some("America/New_York")),
            "2026-06-25T04:00:00-04:00"
        );
        assert_eq!(clock.shown(summer, Some("UTC")), "2026-06-25T08:00:00Z");
        assert_eq!(clock.floating(summer), "2026-06-25T10:00:00");
        // A name that is no zone's, and one that leads elsewhere.
        for name in ["Nowhere/At", "../../etc/passwd", "/etc/passwd", "a..b", ""] {
            assert_eq!(clock.shown(summer, Some(name)), "2026-06-25T10:00:00+02:00");
        }
    }

    #[test]
    fn last_day_is_told_for_both_ends_that_apps_use() {
        let clock = Clock::in_zone("Europe/Berlin");
        let start = at("2026-10-24T22:00:00Z");
        let expected: Date = "2026-10-26".parse().unwrap();
        // The day on which clocks go back has 25 hours.
        for end in ["2026-10-25T23:00:00Z", "2026-10-25T22:59:59Z"] {
            assert_eq!(clock.day_after(start, at(end)), expected, "{end}");
        }
        assert_eq!(clock.day_after(start, start), "2026-10-26".parse().unwrap());
    }
}
