//! Time zones, by the name that a calendar gives them, or by its own definition of one that nobody else knows.
//!
//! ```text
//! TZID ▸ a name that is known (IANA's, Windows', one at the end of a longer name)
//!      ▸ the object's own VTIMEZONE
//!      ▸ "(GMT+01.00) Sarajevo/Warsaw/Zagreb": the zone of one of its cities that has this offset, else the offset alone
//!      ▸ unknown: the time floats
//! ```
//!
//! Invariants: what a `VTIMEZONE` says of a known name is not believed: such definitions age, and can lie. One definition
//! costs at most [`CHANGES`] changes of its clock for each of at most [`PARTS`] parts.
//!
//! Must not know: events, to-dos.

use crate::repeat::rule_set;
use calcard::{
    common::{PartialDateTime, timezone::Tz},
    icalendar::{
        ICalendar, ICalendarComponent, ICalendarComponentType as Kind, ICalendarEntry,
        ICalendarProperty as Property, ICalendarValue as Value, timezone::TzResolver,
    },
};
use chrono::{Datelike as _, FixedOffset, NaiveDate, NaiveDateTime, Offset as _, TimeZone as _};
use std::{collections::BTreeMap, sync::Arc};

/// Most changes of the clock that one part of a definition has: twice a year from 1601 on is less for each.
const CHANGES: usize = 600;
/// Most parts (`STANDARD`, `DAYLIGHT`) of one definition.
const PARTS: usize = 100;
/// Numbers of the library's zones end before it.
const ZONES: u16 = 1024;
/// The year in which definitions without an end do end; the last change holds from then on.
const LAST_YEAR: i32 = 2100;

/// Which clock a time is on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Zone {
    /// The clock of its reader.
    Floating,
    Known(Tz),
    /// As an object defines it.
    Own(Arc<OwnZone>),
}

/// The clock of a `VTIMEZONE`.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct OwnZone {
    /// The offset before the first change.
    first: FixedOffset,
    /// In order: from which moment in UTC which offset holds.
    changes: Vec<(NaiveDateTime, FixedOffset)>,
}

/// What became of the name of a zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    Whole,
    /// The name says an offset and no more: daylight saving is not known.
    Offset,
    Nothing,
}

/// The zones of one object.
pub(crate) struct Zones<'a> {
    calendar: &'a ICalendar,
    by_name: TzResolver<&'a str>,
    definitions: &'a mut Definitions,
}

/// Definitions that were read already, by what they say: the objects of a calendar repeat them.
#[derive(Debug, Default)]
pub(crate) struct Definitions(BTreeMap<String, Option<Arc<OwnZone>>>);

impl Zone {
    pub(crate) const UTC: Self = Self::Known(Tz::UTC);

    /// The offset at a moment in UTC; none for what floats.
    pub(crate) fn offset_at(&self, utc: NaiveDateTime) -> FixedOffset {
        match self {
            Self::Floating => chrono::Utc.fix(),
            Self::Known(zone) => zone.offset_from_utc_datetime(&utc).fix(),
            Self::Own(own) => {
                let after = own.changes.partition_point(|(from, _)| *from <= utc);
                let last = after.checked_sub(1).and_then(|at| own.changes.get(at));
                last.map_or(own.first, |(_, offset)| *offset)
            }
        }
    }
}

impl<'a> Zones<'a> {
    pub(crate) fn of(calendar: &'a ICalendar, definitions: &'a mut Definitions) -> Self {
        Self {
            calendar,
            by_name: calendar.build_tz_resolver(),
            definitions,
        }
    }

    /// The zone of this name.
    pub(crate) fn named(&mut self, name: &str) -> (Zone, Found) {
        let offset_first = name.trim_start().starts_with('(');
        let known = self.by_name.resolve(name).or_else(|| inner(name));
        // What the library makes of an offset alone has neither minutes nor daylight saving.
        let known = known.filter(|zone| {
            !offset_first || !zone.name().is_some_and(|name| name.starts_with("Etc/GMT"))
        });
        if let Some(zone) = known {
            return (Zone::Known(zone), Found::Whole);
        }
        if let Some(own) = self.defined(name) {
            return (Zone::Own(own), Found::Whole);
        }
        match by_offset(name) {
            Some(found) => found,
            None => (Zone::Floating, Found::Nothing),
        }
    }

    fn defined(&mut self, name: &str) -> Option<Arc<OwnZone>> {
        let is_it = |entry: &ICalendarEntry| {
            entry.name == Property::Tzid
                && entry.values.first().and_then(Value::as_text) == Some(name)
        };
        let mut all = self.calendar.timezones();
        let definition = all.find(|zone| zone.entries.iter().any(is_it))?;
        let parts: Vec<&ICalendarComponent> = definition
            .component_ids
            .iter()
            .filter_map(|id| self.calendar.components.get(*id as usize))
            .collect();
        let read = self.definitions.0.entry(format!("{parts:?}"));
        read.or_insert_with(|| OwnZone::read(&parts).map(Arc::new))
            .clone()
    }
}

impl OwnZone {
    /// `None` where a part cannot be read, or has no end that is near.
    fn read(parts: &[&ICalendarComponent]) -> Option<Self> {
        let mut changes = Vec::new();
        if parts.len() > PARTS {
            return None;
        }
        for part in parts {
            if !matches!(part.component_type, Kind::Standard | Kind::Daylight) {
                continue;
            }
            let value = |name: Property| {
                let entry = part.entries.iter().find(|entry| entry.name == name)?;
                entry.values.first()
            };
            let time = |value: &Value| match value {
                Value::PartialDateTime(time) => Some((**time).clone()),
                _ => None,
            };
            let before = offset(&time(value(Property::Tzoffsetfrom)?)?)?;
            let after = offset(&time(value(Property::Tzoffsetto)?)?)?;
            let start = time(value(Property::Dtstart)?)?.to_date_time()?.date_time;
            let mut onsets = vec![start];
            match value(Property::Rrule) {
                None => {}
                Some(Value::RecurrenceRule(rule)) => {
                    let end = rule.until.as_ref().and_then(|until| until.to_date_time());
                    let mut rule = (**rule).clone();
                    let is_bounded = rule.until.take().is_some();
                    let end = end.map(|end| match end.offset {
                        Some(_) => end.date_time + before,
                        None => end.date_time,
                    });
                    if is_bounded && end.is_none() {
                        return None;
                    }
                    for onset in &rule_set(&rule.to_string(), start)? {
                        let onset = onset.naive_utc();
                        if onset.year() > LAST_YEAR || end.is_some_and(|end| onset > end) {
                            break;
                        }
                        if onsets.len() > CHANGES {
                            return None;
                        }
                        onsets.push(onset);
                    }
                }
                Some(_) => return None,
            }
            let dates = part.entries.iter().filter(|e| e.name == Property::Rdate);
            for date in dates.flat_map(|entry| &entry.values) {
                onsets.push(time(date)?.to_date_time()?.date_time);
            }
            changes.extend(
                onsets
                    .into_iter()
                    .map(|onset| (onset - before, before, after)),
            );
        }
        changes.sort_by_key(|(at, ..)| *at);
        changes.dedup();
        let first = changes.first()?.1;
        let changes = changes.into_iter().map(|(at, _, after)| (at, after));
        Some(Self {
            first,
            changes: changes.collect(),
        })
    }
}

fn offset(value: &PartialDateTime) -> Option<FixedOffset> {
    let hours = i32::from(value.tz_hour?);
    let seconds = hours * 3600 + i32::from(value.tz_minute.unwrap_or(0)) * 60;
    FixedOffset::east_opt(if value.tz_minus { -seconds } else { seconds })
}

/// The zone in a name such as `/freeassociation.sourceforge.net/Europe/Berlin`.
fn inner(name: &str) -> Option<Tz> {
    let mut slashes = name
        .char_indices()
        .filter(|(_, c)| *c == '/' && name.len() <= 128);
    slashes.find_map(|(at, _)| name[at + 1..].parse().ok())
}

/// The zone in a name such as `(GMT+01.00) Sarajevo/Warsaw/Zagreb`, as old versions of Exchange have them.
fn by_offset(name: &str) -> Option<(Zone, Found)> {
    let (offset, places) = name.trim().strip_prefix('(')?.split_once(')')?;
    let offset = offset.trim();
    let offset = offset
        .strip_prefix("GMT")
        .or_else(|| offset.strip_prefix("UTC"))?
        .trim();
    let (is_west, clock) = match offset.split_at_checked(1) {
        None => (false, "0"),
        Some(("-", clock)) => (true, clock),
        Some(("+", clock)) => (false, clock),
        Some(_) => return None,
    };
    let mut parts = clock
        .split(['.', ':'])
        .map(|part| part.trim().parse::<i32>());
    let seconds = parts.next()?.ok()? * 3600 + parts.next().unwrap_or(Ok(0)).ok()? * 60;
    let offset = FixedOffset::east_opt(if is_west { -seconds } else { seconds })?;
    // Such a name has the offset of winter.
    let winter = |zone: &Tz| {
        let on = |month| {
            NaiveDate::from_ymd_opt(2026, month, 1).map(|day| zone.offset_from_utc_date(&day))
        };
        on(1).min(on(7))
    };
    let city = places.split(['/', ',']).find_map(|place| {
        let place = place.trim().replace(' ', "_");
        let named = |zone: &Tz| {
            let name = zone.name().unwrap_or_default();
            !place.is_empty()
                && name
                    .rsplit('/')
                    .next()
                    .is_some_and(|city| city.eq_ignore_ascii_case(&place))
        };
        let mut all = (0..ZONES).filter_map(Tz::from_id);
        all.find(|zone| named(zone) && winter(zone) == Some(offset.local_minus_utc()))
    });
    Some(match city {
        Some(zone) => (Zone::Known(zone), Found::Whole),
        None => (Zone::Known(Tz::Fixed(offset)), Found::Offset),
    })
}
