//! Points in time as the wire writes them.

use crate::capability::FOREVER_MS;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Visitor};
use std::fmt;

/// Milliseconds since 1970-01-01T00:00:00Z. On the wire RFC 3339 UTC with milliseconds, `2026-01-31T08:15:00.000Z`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(pub u64);

/// The last moment that the wire form can write (9999-12-31); later ones are written as this one.
const LAST_MS: u64 = 253_402_207_200_000;

/// The header of an answer that has the gateway's time, sent while the machine's clock is behind it.
pub const TIME_HEADER: &str = "x-plexus-time";

/// A length of time for a person, in its largest unit: `< 1 s`, `45 s`, `12 min`, `3 h`, `6 days`. Hours and days are rounded to
/// the nearest: a week that began a while ago is a week, and not six days. A whole number of minutes below 600, or of hours
/// below 240, stays that: `90 h`.
/// A day is 24 hours.
#[must_use]
pub fn length(ms: u64) -> String {
    // A whole number stays one for a second.
    let soon = ms.saturating_add(1_000);
    let minutes = soon / 60_000;
    let hours = soon.saturating_add(1_800_000) / 3_600_000;
    let days = soon.saturating_add(43_200_000) / 86_400_000;
    let whole = |unit: u64, most: u64| soon % unit <= 1_000 && soon / unit < most;
    match (minutes, hours) {
        _ if ms < 1_000 => "< 1 s".to_owned(),
        (0, _) => format!("{} s", ms / 1_000),
        (..120, _) => format!("{minutes} min"),
        _ if whole(60_000, 600) && !whole(3_600_000, 10) => format!("{minutes} min"),
        (_, ..48) => format!("{hours} h"),
        _ if whole(3_600_000, 240) && !whole(86_400_000, 10) => format!("{hours} h"),
        _ => format!("{days} days"),
    }
}

/// How long ago something was, seen from `now`: the form of a moment in a sentence for the owner, in no time zone. Below a second
/// it is `just now`.
#[must_use]
pub fn ago(at: Timestamp, now: Timestamp) -> String {
    match now.since(at) {
        ..1_000 => "just now".to_owned(),
        ms => format!("{} ago", length(ms)),
    }
}

/// When something ends, seen from `now`: `ends in 6 days`, `ended 3 min ago`, `until revoked`.
#[must_use]
pub fn end(at: Timestamp, now: Timestamp) -> String {
    // `until-revoked` travels as a moment a century away (docs/protocol/agents.md#trust-windows).
    if at.since(now) > FOREVER_MS / 2 {
        "until revoked".to_owned()
    } else if at > now {
        match at.since(now) {
            ..1_000 => "ends now".to_owned(),
            ms => format!("ends in {}", length(ms)),
        }
    } else {
        format!("ended {}", ago(at, now))
    }
}

impl Timestamp {
    /// Later by `ms` milliseconds, saturating.
    #[must_use]
    pub fn plus(self, ms: u64) -> Self {
        Self(self.0.saturating_add(ms))
    }
    /// Milliseconds from `earlier` to this moment, 0 when `earlier` is later.
    #[must_use]
    pub fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
    /// Whole seconds since the epoch, as JWT claims count.
    #[must_use]
    pub fn seconds(self) -> u64 {
        self.0 / 1000
    }
}

impl Timestamp {
    /// The wire form. Written digit by digit: a large home has hundreds of thousands of them, and a start writes each.
    fn text(self) -> [u8; 24] {
        let (days, ms) = (
            self.0.min(LAST_MS) / 86_400_000,
            self.0.min(LAST_MS) % 86_400_000,
        );
        let (year, month, day) = date(days);
        let mut text = *b"0000-00-00T00:00:00.000Z";
        let mut put = |end: usize, width: usize, mut number: u64| {
            for digit in text[end - width..end].iter_mut().rev() {
                *digit = b'0' + (number % 10) as u8;
                number /= 10;
            }
        };
        put(4, 4, year);
        put(7, 2, month);
        put(10, 2, day);
        put(13, 2, ms / 3_600_000);
        put(16, 2, ms / 60_000 % 60);
        put(19, 2, ms / 1000 % 60);
        put(23, 3, ms % 1000);
        text
    }

    /// Reads the wire form as this version writes it; `None` for any other spelling, right or wrong.
    fn of_text(text: &str) -> Option<Self> {
        let bytes: &[u8; 24] = text.as_bytes().try_into().ok()?;
        let number = |from: usize, to: usize| {
            bytes[from..to].iter().try_fold(0, |number, digit| {
                let digit = digit.is_ascii_digit().then(|| u64::from(digit - b'0'));
                digit.map(|digit| number * 10 + digit)
            })
        };
        let days = days(number(0, 4)?, number(5, 7)?, number(8, 10)?)?;
        let seconds = number(11, 13)? * 3600 + number(14, 16)? * 60 + number(17, 19)?;
        let at = Self(days * 86_400_000 + seconds * 1000 + number(20, 23)?);
        // What a month, an hour or a mark has too much or too little comes out otherwise.
        (at.text() == *bytes).then_some(at)
    }
}

/// The first day of each month in a year that begins with March: 153 days in five months.
const fn before(month_from_march: u64) -> u64 {
    (153 * month_from_march + 2) / 5
}

/// Year, month and day of a day since 1970-01-01, in the Gregorian calendar. Counted in eras of 400 years that begin on a
/// 1 March, so that the odd day is a year's last.
fn date(days: u64) -> (u64, u64, u64) {
    // 0000-03-01 lies 719,468 days before.
    let days = days + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let late = u64::from(month >= 10);
    (
        era * 400 + year + late,
        (month + 2) % 12 + 1,
        day - before(month) + 1,
    )
}

/// The reverse, for years from 1970 on; `None` before.
fn days(year: u64, month: u64, day: u64) -> Option<u64> {
    let (year, month) = match month {
        3.. => (year, month - 3),
        _ => (year.checked_sub(1)?, (month + 9) % 12),
    };
    let (era, of_era) = (year / 400, year % 400);
    let days = era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + before(month);
    (days + day).checked_sub(719_469)
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(std::str::from_utf8(&self.text()).unwrap_or_default())
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(std::str::from_utf8(&self.text()).unwrap_or_default())
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct Text;
        impl Visitor<'_> for Text {
            type Value = Timestamp;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }
            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Timestamp, E> {
                if let Some(at) = Timestamp::of_text(text) {
                    return Ok(at);
                }
                let at: jiff::Timestamp = text.parse().map_err(E::custom)?;
                u64::try_from(at.as_millisecond())
                    .map(Timestamp)
                    .map_err(E::custom)
            }
        }
        d.deserialize_str(Text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trip() {
        let at = Timestamp(1_769_847_300_000);
        assert_eq!(at.to_string(), "2026-01-31T08:15:00.000Z");
        assert_eq!(
            serde_json::from_str::<Timestamp>("\"2026-01-31T08:15:00.000Z\"").unwrap(),
            at
        );
        assert_eq!(Timestamp(u64::MAX).to_string().len(), 24);
    }

    /// jiff is the measure: every day has its name for nine thousand years, and each name is that day's.
    #[test]
    fn days_have_the_names_that_the_calendar_gives_them() {
        // Five days and a little: over all years each day of each month is met many times, at times of day that differ.
        let step = 5 * 86_400_000 + 3_723_004;
        for ms in (0..LAST_MS).step_by(step) {
            let jiff = jiff::Timestamp::from_millisecond(ms.cast_signed()).unwrap();
            let name = jiff.strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string();
            assert_eq!(Timestamp(ms).to_string(), name);
            assert_eq!(Timestamp::of_text(&name), Some(Timestamp(ms)));
        }
    }

    #[test]
    fn other_spellings_are_read_by_the_standard_or_not_at_all() {
        let read = |text: &str| serde_json::from_value::<Timestamp>(text.into()).ok();
        let at = read("2026-01-31T08:15:00.000Z");
        assert!(at.is_some());
        assert_eq!(read("2026-01-31T09:15:00+01:00"), at);
        assert_eq!(read("2026-01-31T08:15:00Z"), at);
        for wrong in [
            "2026-02-30T08:15:00.000Z",
            "2026-00-31T08:15:00.000Z",
            "2026-01-31T24:15:00.000Z",
            "2026-01-31T08:15:00.0+0Z",
            "1969-12-31T23:59:59.999Z",
            "2026-01-31 08:15:00.000",
            "",
        ] {
            assert_eq!(Timestamp::of_text(wrong), None, "{wrong}");
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }
}
