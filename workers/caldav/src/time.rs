//! Dates, times and zones, as calendars have them and as answers tell them.
//!
//! | | in a calendar | in an answer |
//! |---|---|---|
//! | a day | `20261122` | `2026-11-22` |
//! | floating: that time wherever one is | `20261122T090000` | `2026-11-22T09:00:00` |
//! | in a zone | `TZID=Europe/Berlin:20261122T090000` | `2026-11-22T09:00:00+01:00` |
//! | UTC | `20261122T080000Z` | `2026-11-22T08:00:00Z` |
//!
//! A zone is one of [`crate::zone`].
//!
//! Must not know: events, to-dos.

use crate::zone::{Found, Zone, Zones};
use calcard::common::{PartialDateTime, timezone::Tz};
use chrono::{
    DateTime, Days, FixedOffset, NaiveDate, NaiveDateTime, NaiveTime, Offset as _, SecondsFormat,
    TimeDelta, TimeZone, Utc,
};

/// A moment as a calendar has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CalendarTime {
    pub(crate) local: NaiveDateTime,
    /// Floating for days and floating times.
    pub(crate) zone: Zone,
    pub(crate) day: bool,
    /// Of a time that the clock shows twice: the second one.
    second: bool,
}

impl CalendarTime {
    /// What a value says, in the zone of this name; and what became of that name.
    pub(crate) fn of(
        value: &PartialDateTime,
        name: Option<&str>,
        zones: &mut Zones<'_>,
    ) -> Option<(Self, Found)> {
        let mut value = value.clone();
        // A leap second is the second before it (RFC 5545, 3.3.12), and 24:00 is midnight (ISO 8601).
        if value.second == Some(60) {
            value.second = Some(59);
        }
        let is_next = (value.hour, value.minute, value.second) == (Some(24), Some(0), Some(0));
        if is_next {
            value.hour = Some(0);
        }
        let read = value.to_date_time()?;
        let local = read
            .date_time
            .checked_add_days(Days::new(u64::from(is_next)))?;
        let day = !value.has_time();
        let (zone, found) = match (read.tz(), name) {
            (Some(zone), _) => (Zone::Known(zone), Found::Whole),
            (None, Some(name)) if !day => zones.named(name),
            (None, _) => (Zone::Floating, Found::Whole),
        };
        Some((Self::at(local, zone, day), found))
    }

    fn at(local: NaiveDateTime, zone: Zone, day: bool) -> Self {
        Self {
            local,
            zone,
            day,
            second: false,
        }
    }

    /// This moment on the clock of `zone`, which does not float.
    pub(crate) fn moment(moment: DateTime<Utc>, zone: &Zone) -> Option<Self> {
        let utc = moment.naive_utc();
        let local = utc.checked_add_offset(zone.offset_at(utc))?;
        let mut at = Self::at(local, zone.clone(), false);
        at.second = at.instant() != moment;
        Some(at)
    }

    /// What an agent typed: a day, a time with its offset, a time in `zone`, or a floating one; seconds may be left out.
    pub(crate) fn typed(text: &str, zone: Option<Tz>) -> Option<Self> {
        if let Ok(date) = text.parse::<NaiveDate>() {
            return Some(Self::on(date));
        }
        if let Some(time) = with_offset(text) {
            return Some(Self::at(time.naive_utc(), Zone::UTC, false));
        }
        let local = ["%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M"];
        let local = local
            .iter()
            .find_map(|form| NaiveDateTime::parse_from_str(text, form).ok())?;
        Some(Self::at(
            local,
            zone.map_or(Zone::Floating, Zone::Known),
            false,
        ))
    }

    pub(crate) fn on(date: NaiveDate) -> Self {
        Self::at(date.and_time(NaiveTime::MIN), Zone::Floating, true)
    }

    /// The moment; of a day or a floating time as if in UTC. A time that is left out when clocks go forward is read with
    /// the offset before (RFC 5545, 3.3.5), one that comes twice is the first, unless it is known to be the second.
    pub(crate) fn instant(&self) -> DateTime<Utc> {
        moment_of(self.local, self.second, |utc| self.zone.offset_at(utc))
    }

    /// The moment for a person in `here`, on whose clock days begin and floating times are.
    pub(crate) fn instant_in(&self, here: &impl TimeZone) -> DateTime<Utc> {
        match self.floats() {
            true => first_shown(self.local, here),
            false => self.instant(),
        }
    }

    /// Whether the clock of its zone leaves this time out, as it goes forward.
    pub(crate) fn is_left_out(&self) -> bool {
        let shown = self.instant().naive_utc();
        let shown = shown.checked_add_offset(self.zone.offset_at(shown));
        !self.floats() && shown != Some(self.local)
    }

    /// Whether it has no place on the time line of itself.
    pub(crate) fn floats(&self) -> bool {
        self.zone == Zone::Floating
    }

    /// A floating time, or the midnight of a day, as one of `zone`; another as it is.
    pub(crate) fn or_in(mut self, zone: &Zone) -> Self {
        if self.floats() {
            self.day &= *zone == Zone::Floating;
            self.zone = zone.clone();
        }
        self
    }

    /// Later by `by`, which for a day is whole days.
    pub(crate) fn later(&self, by: TimeDelta) -> Option<Self> {
        if self.floats() {
            let local = self.local.checked_add_signed(by)?;
            return Some(Self {
                local,
                ..self.clone()
            });
        }
        Self::moment(self.instant().checked_add_signed(by)?, &self.zone)
    }

    pub(crate) fn days_later(&self, days: u64) -> Option<Self> {
        let local = self.local.checked_add_days(Days::new(days))?;
        Some(self.shifted(local))
    }

    /// The same on another place of its clock.
    pub(crate) fn shifted(&self, local: NaiveDateTime) -> Self {
        Self::at(local, self.zone.clone(), self.day)
    }

    /// As answers tell it.
    pub(crate) fn shown(&self) -> String {
        if self.day {
            return self.local.date().to_string();
        }
        if self.floats() {
            return self.local.format("%Y-%m-%dT%H:%M:%S").to_string();
        }
        let moment = self.instant();
        let offset = self.zone.offset_at(moment.naive_utc());
        let local = moment.with_timezone(&offset);
        local.to_rfc3339_opts(SecondsFormat::Secs, true)
    }

    /// As the owner is shown it, who is `here`: a floating time says that it is one, one of no place is on the owner's clock.
    pub(crate) fn on_card(&self, here: &impl TimeZone) -> String {
        match &self.zone {
            Zone::Floating if !self.day => format!("{} (in no time zone)", self.shown()),
            Zone::Known(zone) if zone.is_utc() => {
                let local = self.instant().with_timezone(here).fixed_offset();
                local.to_rfc3339_opts(SecondsFormat::Secs, true)
            }
            _ => self.shown(),
        }
    }

    /// The name of its zone, where it is one that people use.
    pub(crate) fn zone_name(&self) -> Option<String> {
        match &self.zone {
            Zone::Known(zone @ Tz::Tz(name)) if !zone.is_utc() => Some(name.name().to_owned()),
            Zone::Known(_) | Zone::Own(_) | Zone::Floating => None,
        }
    }

    /// As a calendar has it, behind the property's name.
    pub(crate) fn written(&self) -> String {
        if self.day {
            return format!(";VALUE=DATE:{}", self.local.format("%Y%m%d"));
        }
        let time = self.local.format("%Y%m%dT%H%M%S");
        match self.zone_name() {
            Some(name) => format!(";TZID={name}:{time}"),
            None if self.floats() => format!(":{time}"),
            None => format!(":{}Z", self.instant().format("%Y%m%dT%H%M%S")),
        }
    }
}

/// A time with its offset (RFC 3339); the seconds may be left out.
fn with_offset(text: &str) -> Option<DateTime<FixedOffset>> {
    let whole = DateTime::parse_from_rfc3339(text).ok();
    whole.or_else(|| {
        let (minute, offset) = text.split_at_checked("2026-11-22T09:00".len())?;
        DateTime::parse_from_rfc3339(&format!("{minute}:00{offset}")).ok()
    })
}

/// The moment at which a clock with these offsets shows this time, as [`CalendarTime::instant`] says.
fn moment_of(
    local: NaiveDateTime,
    is_second: bool,
    offset_at: impl Fn(NaiveDateTime) -> FixedOffset,
) -> DateTime<Utc> {
    let near = |day: Option<NaiveDateTime>| offset_at(day.unwrap_or(local));
    let before = near(local.checked_sub_days(Days::new(1)));
    let after = near(local.checked_add_days(Days::new(1)));
    let with = |offset| local.checked_sub_offset(offset).unwrap_or(local);
    let is_shown =
        |moment: &NaiveDateTime| moment.checked_add_offset(offset_at(*moment)) == Some(local);
    let shown = [before, after].map(with).into_iter().filter(is_shown);
    let moment = match is_second {
        true => shown.max(),
        false => shown.min(),
    };
    moment.unwrap_or_else(|| with(before)).and_utc()
}

/// When clocks of `here` show this time first. Not by chrono's own search, which for this machine's zone takes the moment at
/// which clocks go back for one that still shows the time before.
fn first_shown(local: NaiveDateTime, here: &impl TimeZone) -> DateTime<Utc> {
    moment_of(local, false, |utc| {
        here.offset_from_utc_datetime(&utc).fix()
    })
}

/// From one moment to before another.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Range {
    pub(crate) from: Bound,
    pub(crate) to: Bound,
}

/// One end of a [`Range`]: on the time line, and on the asker's clock.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bound {
    pub(crate) instant: DateTime<Utc>,
    pub(crate) local: NaiveDateTime,
}

impl Bound {
    /// A day, which begins at midnight in the zone of the person, or a time with its offset.
    pub(crate) fn typed(text: &str, here: &impl TimeZone) -> Option<Self> {
        if let Some(time) = with_offset(text) {
            return Some(Self {
                instant: time.to_utc(),
                local: time.naive_local(),
            });
        }
        let day = CalendarTime::typed(text, None).filter(|when| when.day)?;
        Some(Self {
            instant: first_shown(day.local, here),
            local: day.local,
        })
    }

    /// As answers tell it, on its own clock.
    pub(crate) fn shown(&self) -> String {
        let ahead = (self.local - self.instant.naive_utc()).num_seconds();
        let offset = i32::try_from(ahead).ok().and_then(FixedOffset::east_opt);
        let at = self.instant.with_timezone(&offset.unwrap_or(Utc.fix()));
        at.to_rfc3339_opts(SecondsFormat::Secs, true)
    }

    pub(crate) fn later(&self, by: TimeDelta) -> Option<Self> {
        Some(Self {
            instant: self.instant.checked_add_signed(by)?,
            local: self.local.checked_add_signed(by)?,
        })
    }

    /// Whether `when` is before it.
    pub(crate) fn is_after(&self, when: &CalendarTime) -> bool {
        match when.floats() {
            true => when.local < self.local,
            false => when.instant() < self.instant,
        }
    }
}

impl Range {
    /// Whether something from `start` to `end` is in it, if only in part. What takes no time is in it at its moment.
    pub(crate) fn holds(&self, start: &CalendarTime, end: &CalendarTime) -> bool {
        let begins = !self.from.is_after(start);
        self.to.is_after(start) && (begins || !self.from.is_after(end) && !self.from.is(end))
    }

    /// As a server is asked: a day wider on each side, because it reads days and floating times in a zone of its own.
    pub(crate) fn asked(&self) -> (String, String) {
        let day = TimeDelta::days(1);
        let text = |moment: DateTime<Utc>| moment.format("%Y%m%dT%H%M%SZ").to_string();
        let before = self.from.instant.checked_sub_signed(day);
        let after = self.to.instant.checked_add_signed(day);
        (
            text(before.unwrap_or(self.from.instant)),
            text(after.unwrap_or(self.to.instant)),
        )
    }
}

impl Bound {
    fn is(&self, when: &CalendarTime) -> bool {
        match when.floats() {
            true => when.local == self.local,
            false => when.instant() == self.instant,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn berlin(text: &str) -> CalendarTime {
        CalendarTime::typed(text, "Europe/Berlin".parse().ok()).unwrap()
    }

    #[test]
    fn each_form_is_told_and_written_as_what_it_is() {
        #[rustfmt::skip]
        let rows = [
            (CalendarTime::typed("2026-11-22", None).unwrap(), "2026-11-22", ";VALUE=DATE:20261122"),
            (CalendarTime::typed("2026-11-22T09:00", None).unwrap(), "2026-11-22T09:00:00", ":20261122T090000"),
            (berlin("2026-11-22T09:00:00"), "2026-11-22T09:00:00+01:00", ";TZID=Europe/Berlin:20261122T090000"),
            (berlin("2026-07-01T09:00:00"), "2026-07-01T09:00:00+02:00", ";TZID=Europe/Berlin:20260701T090000"),
            (CalendarTime::typed("2026-11-22T09:00:00+01:00", None).unwrap(), "2026-11-22T08:00:00Z", ":20261122T080000Z"),
        ];
        for (when, shown, written) in rows {
            assert_eq!(
                (when.shown().as_str(), when.written().as_str()),
                (shown, written)
            );
        }
        // On a card, who reads it is spared the sum.
        let auckland: Tz = "Pacific/Auckland".parse().unwrap();
        for (when, shown) in [
            ("2026-11-22T09:00+01:00", "2026-11-22T21:00:00+13:00"),
            ("2026-11-22T09:00", "2026-11-22T09:00:00 (in no time zone)"),
            ("2026-11-22", "2026-11-22"),
        ] {
            let when = CalendarTime::typed(when, None).unwrap();
            assert_eq!(when.on_card(&auckland), shown);
        }
        assert_eq!(
            berlin("2026-11-22T09:00").on_card(&auckland),
            "2026-11-22T09:00:00+01:00"
        );
        for (text, shown) in [
            ("2026-11-22T09:00+01:00", "2026-11-22T08:00:00Z"),
            ("2026-11-22T15:00Z", "2026-11-22T15:00:00Z"),
        ] {
            assert_eq!(CalendarTime::typed(text, None).unwrap().shown(), shown);
        }
        for text in [
            "",
            "tomorrow",
            "2026-11-22T09+01:00",
            "2026-13-01",
            "2026-11-22 09:00",
            "2026-11-22T25:00:00",
        ] {
            assert_eq!(CalendarTime::typed(text, None), None, "{text}");
        }
    }

    #[test]
    fn clock_changes_leave_out_and_repeat_an_hour() {
        // 2026-03-29 has no 02:30 in Berlin; 2026-10-25 has two.
        assert_eq!(
            berlin("2026-03-29T02:30:00").shown(),
            "2026-03-29T03:30:00+02:00"
        );
        assert_eq!(
            berlin("2026-10-25T02:30:00").shown(),
            "2026-10-25T02:30:00+02:00"
        );
        for (time, is_left_out) in [
            ("2026-03-29T01:59:59", false),
            ("2026-03-29T02:00", true),
            ("2026-03-29T02:59:59", true),
            ("2026-03-29T03:00", false),
            ("2026-10-25T02:30", false),
        ] {
            assert_eq!(berlin(time).is_left_out(), is_left_out, "{time}");
        }
        let day = berlin("2026-03-28T12:00:00");
        assert_eq!(
            day.days_later(1).unwrap().shown(),
            "2026-03-29T12:00:00+02:00"
        );
        assert_eq!(
            day.later(TimeDelta::days(1)).unwrap().shown(),
            "2026-03-29T13:00:00+02:00"
        );
    }

    #[test]
    fn day_begins_at_the_persons_midnight() {
        for (zone, text, begins) in [
            ("Europe/Berlin", "2026-11-22", "2026-11-22T00:00:00+01:00"),
            ("Europe/Berlin", "2026-07-01", "2026-07-01T00:00:00+02:00"),
            ("Europe/Berlin", "2026-11-22T09:00Z", "2026-11-22T09:00:00Z"),
            // Its clocks go forward at midnight.
            ("Africa/Cairo", "2026-04-24", "2026-04-24T01:00:00+03:00"),
            // They go back at the end of the day before; in Havana this day begins twice.
            ("Africa/Cairo", "2026-10-30", "2026-10-30T00:00:00+02:00"),
            ("America/Havana", "2026-11-01", "2026-11-01T00:00:00-04:00"),
        ] {
            let here: Tz = zone.parse().unwrap();
            let instant = Bound::typed(text, &here).unwrap().instant;
            assert_eq!(
                instant,
                DateTime::parse_from_rfc3339(begins).unwrap(),
                "{zone} {text}"
            );
        }
        let here: Tz = "Europe/Berlin".parse().unwrap();
        let begins = Bound::typed("2026-11-22", &here).unwrap().shown();
        assert_eq!(begins, "2026-11-22T00:00:00+01:00");
        assert_eq!(
            Bound::typed("2026-11-22", &Utc).unwrap().shown(),
            "2026-11-22T00:00:00Z"
        );
        assert!(
            Bound::typed("2026-11-22T09:00", &Utc).is_none(),
            "no offset"
        );
    }

    #[test]
    fn range_compares_days_by_the_clock_and_times_by_the_line() {
        let range = Range {
            from: Bound::typed("2026-11-22T00:00:00+13:00", &Utc).unwrap(),
            to: Bound::typed("2026-11-23T00:00:00+13:00", &Utc).unwrap(),
        };
        let holds = |start: &str, end: &str| {
            range.holds(
                &CalendarTime::typed(start, None).unwrap(),
                &CalendarTime::typed(end, None).unwrap(),
            )
        };
        assert!(holds("2026-11-22", "2026-11-23") && !holds("2026-11-21", "2026-11-22"));
        assert!(!holds("2026-11-23", "2026-11-24") && holds("2026-11-20", "2026-11-25"));
        assert!(holds("2026-11-22T23:00:00", "2026-11-22T23:30:00"));
        assert!(holds("2026-11-21T11:00:00Z", "2026-11-21T12:00:00Z"));
        assert!(!holds("2026-11-22T11:00:00Z", "2026-11-22T12:00:00Z"));
        assert!(
            !holds("2026-11-21T10:00:00Z", "2026-11-21T11:00:00Z"),
            "it ends as the range begins"
        );
        assert!(
            holds("2026-11-21T11:00:00Z", "2026-11-21T11:00:00Z"),
            "it takes no time"
        );
    }
}
