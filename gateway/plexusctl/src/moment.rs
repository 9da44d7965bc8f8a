//! Moments, as a person writes and reads them: in the time zone of this machine.

use jiff::{Timestamp as Instant, ToSpan, Zoned, civil, tz::TimeZone};
use plexus_client::span;
use plexus_protocol::Timestamp;

/// Which end of a span a moment is. A day as the last one is meant to its end.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum End {
    /// `--since`
    First,
    /// `--until`
    Last,
}

/// A moment as it was typed; what it means depends on when that is.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Moment {
    /// So long ago, in milliseconds.
    Ago(u64),
    /// The day that is so many before today.
    DaysBefore(u8),
    Day(civil::Date),
    /// Wall clock of this machine.
    Local(civil::DateTime),
    /// Today at.
    Today(civil::Time),
    Exactly(Timestamp),
}

/// Reads `yesterday`, `today`, `now`, `2h`, `10:42`, `2026-11-19`, `2026-11-19T10:42` or a moment with its zone.
///
/// # Errors
/// One sentence that says the forms.
pub(crate) fn parse(text: &str) -> Result<Moment, String> {
    match text {
        "now" => return Ok(Moment::Ago(0)),
        "today" => return Ok(Moment::DaysBefore(0)),
        "yesterday" => return Ok(Moment::DaysBefore(1)),
        _ => {}
    }
    if let Ok(ms) = span::parse(text) {
        return Ok(Moment::Ago(ms));
    }
    if let Ok(at) = serde_json::from_value(text.into()) {
        return Ok(Moment::Exactly(at));
    }
    if let Ok(day) = civil::Date::strptime("%Y-%m-%d", text) {
        return Ok(Moment::Day(day));
    }
    let mut times = ["%H:%M", "%H:%M:%S"].iter();
    if let Some(at) = times.find_map(|form| civil::Time::strptime(form, text).ok()) {
        return Ok(Moment::Today(at));
    }
    // The last one is as `plexusctl logs` shows it.
    let forms = [
        "%Y-%m-%dT%H:%M",
        "%Y-%m-%d %H:%M",
        "%Y-%m-%dT%H:%M:%S",
        "%Y-%m-%d %H:%M:%S",
    ];
    forms
        .iter()
        .find_map(|form| civil::DateTime::strptime(form, text).ok())
        .map(Moment::Local)
        .ok_or_else(|| {
            format!(
                "{text:?} is not a moment: write yesterday, today, 2h, 10:42, 2026-11-19 or 2026-11-19T10:42"
            )
        })
}

impl Moment {
    /// The moment that is meant, seen from `now`. Of a wall time that a change of clocks skips or repeats it is the one with
    /// the longer span: the earlier as the first end, the later as the last. Beyond what can be written it is the nearest.
    pub(crate) fn at(&self, end: End, now: &Zoned) -> Timestamp {
        let beginning = |day: civil::Date| {
            let day = match end {
                End::First => day,
                End::Last => day.saturating_add(1.day()),
            };
            let at = day.to_zoned(now.time_zone().clone());
            at.map_or(beyond(day.year()), |at| at.timestamp())
        };
        let local = |at: civil::DateTime| {
            let ambiguous = now.time_zone().to_ambiguous_zoned(at);
            let zoned = match end {
                End::First => ambiguous.earlier(),
                End::Last => ambiguous.later(),
            };
            zoned.map_or(beyond(at.year()), |at| at.timestamp())
        };
        let at = match self {
            Self::Ago(ms) => return Timestamp(milliseconds(now.timestamp()).saturating_sub(*ms)),
            Self::Exactly(at) => return *at,
            Self::DaysBefore(days) => beginning(now.date().saturating_sub(i64::from(*days).days())),
            Self::Day(day) => beginning(*day),
            Self::Local(at) => local(*at),
            Self::Today(at) => local(now.date().to_datetime(*at)),
        };
        Timestamp(milliseconds(at))
    }
}

/// The end of time that a moment of this year lies beyond.
fn beyond(year: i16) -> Instant {
    match year {
        ..1970 => Instant::UNIX_EPOCH,
        _ => Instant::MAX,
    }
}

fn milliseconds(at: Instant) -> u64 {
    u64::try_from(at.as_millisecond()).unwrap_or(0)
}

/// This moment, in the zone of this machine (`TZ`, `/etc/localtime`; UTC where neither can be read).
pub(crate) fn now() -> Zoned {
    // Not `Zoned::now`, which panics beyond the year 9999.
    local(span::machine_now(), &TimeZone::system())
}

/// `at` in `zone`.
pub(crate) fn local(at: Timestamp, zone: &TimeZone) -> Zoned {
    let ms = i64::try_from(at.0).unwrap_or(i64::MAX);
    let at = Instant::from_millisecond(ms).unwrap_or(Instant::MAX);
    at.to_zoned(zone.clone())
}

/// `Thu 2026-11-19`.
pub(crate) fn day(at: &Zoned) -> String {
    at.strftime("%a %Y-%m-%d").to_string()
}

/// `10:42`.
pub(crate) fn minute(at: &Zoned) -> String {
    at.strftime("%H:%M").to_string()
}

/// `10:42` where that is the day of `now`, and otherwise `Thu 2026-11-19 10:42`.
pub(crate) fn read(at: Timestamp, now: &Zoned) -> String {
    let at = local(at, now.time_zone());
    match day(&at) {
        its if its == day(now) => minute(&at),
        its => format!("{its} {}", minute(&at)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_person_writes() {
        let zone = TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap();
        let noon = civil::date(2026, 11, 20).at(12, 0, 0, 0);
        let now = noon.to_zoned(zone).unwrap();
        #[rustfmt::skip]
        let rows = [
            ("now", "2026-11-20T11:00:00.000Z", "2026-11-20T11:00:00.000Z"),
            ("2h", "2026-11-20T09:00:00.000Z", "2026-11-20T09:00:00.000Z"),
            ("today", "2026-11-19T23:00:00.000Z", "2026-11-20T23:00:00.000Z"),
            ("yesterday", "2026-11-18T23:00:00.000Z", "2026-11-19T23:00:00.000Z"),
            ("2026-07-01", "2026-06-30T22:00:00.000Z", "2026-07-01T22:00:00.000Z"),
            ("10:42", "2026-11-20T09:42:00.000Z", "2026-11-20T09:42:00.000Z"),
            ("2026-11-19T10:42", "2026-11-19T09:42:00.000Z", "2026-11-19T09:42:00.000Z"),
            // The clock skips 02:00 to 03:00, and shows it twice.
            ("2026-03-29 02:30:00", "2026-03-29T00:30:00.000Z", "2026-03-29T01:30:00.000Z"),
            ("2026-10-25T02:30", "2026-10-25T00:30:00.000Z", "2026-10-25T01:30:00.000Z"),
            ("10:42:07", "2026-11-20T09:42:07.000Z", "2026-11-20T09:42:07.000Z"),
            ("9999-12-31", "9999-12-30T22:00:00.000Z", "9999-12-30T22:00:00.000Z"),
            ("2026-11-19T10:42:00Z", "2026-11-19T10:42:00.000Z", "2026-11-19T10:42:00.000Z"),
        ];
        for (text, since, until) in rows {
            let moment = parse(text).unwrap();
            assert_eq!(moment.at(End::First, &now).to_string(), since, "{text}");
            assert_eq!(moment.at(End::Last, &now).to_string(), until, "{text}");
        }
        for bad in ["", "tomorrow", "2026-13-01", "25:00", "2026-11-19T", "-2h"] {
            let why = parse(bad).map(|_| ()).unwrap_err();
            assert!(
                why.starts_with(&format!("{bad:?} is not a moment")),
                "{why}"
            );
        }
    }

    #[test]
    fn what_a_person_reads() {
        let zone = TimeZone::posix("EST5").unwrap();
        let at = serde_json::from_str("\"2026-11-20T03:04:05.000Z\"").unwrap();
        let at = local(at, &zone);
        assert_eq!(
            (day(&at), minute(&at)),
            ("Thu 2026-11-19".into(), "22:04".into())
        );
        local(Timestamp(u64::MAX), &zone);
    }
}
