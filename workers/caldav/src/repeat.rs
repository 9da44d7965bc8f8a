//! The occurrences of an event in a range: its rule, its further dates, its exceptions, its changed occurrences.
//!
//! Rules are worked out here and not by the server (its `expand`): some servers leave that out without a word, others
//! tell the occurrences in UTC, which loses the zone. The rule is worked out on the clock of the event's own zone.
//!
//! Invariants: a rule costs at most [`STEPS`] occurrences from its beginning, and all rules of a call what is left of
//! theirs; one object has at most [`EACH`] occurrences in the range, so that no series displaces the others. What is beyond
//! is told as missing, never silently left out.
//!
//! Must not know: servers, answers.

use crate::{
    ical::Item,
    time::{CalendarTime, Range},
};
use calcard::{common::PartialDateTime, icalendar::ICalendarRecurrenceRule};
use chrono::{NaiveDateTime, TimeDelta, TimeZone as _};
use rrule::{RRule, RRuleSet, Tz, Unvalidated};

/// Most occurrences of one rule that are stepped through, wanted or not: 137 years of days.
const STEPS: usize = 50_000;
/// Most occurrences of one object in a range: one for every four hours of a year.
const EACH: usize = 2_000;
/// Most of all rules of one call.
pub(crate) const BUDGET: usize = 1_000_000;

/// One occurrence.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Occurrence<'a> {
    pub(crate) item: &'a Item,
    pub(crate) start: CalendarTime,
    pub(crate) end: CalendarTime,
    pub(crate) repeats: bool,
}

/// What became of an object's rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Worked {
    Whole,
    /// There are more occurrences than are stepped through, or than one object may have.
    Short,
    /// The rule is none, or of another calendar than the Gregorian: only the first occurrence is told.
    NoRule,
}

/// The occurrences in `range` of the events of one object, which are one series or one event.
pub(crate) fn occurrences<'a>(
    items: &'a [Item],
    range: &Range,
    budget: &mut usize,
) -> (Vec<Occurrence<'a>>, Worked) {
    let mut found = Vec::new();
    let mut worked = Worked::Whole;
    let changed: Vec<CalendarTime> = items.iter().filter_map(|item| item.instead_of).collect();
    for item in items {
        let Some(start) = item.start else {
            continue;
        };
        let mut starts = vec![start];
        if item.instead_of.is_none() {
            if let Some(rule) = &item.rule {
                match by_rule(rule, item, &start, range, budget) {
                    Some((by_rule, whole)) => {
                        starts = by_rule;
                        if !whole {
                            worked = Worked::Short;
                        }
                    }
                    None => worked = Worked::NoRule,
                }
            }
            starts.extend(item.further.iter().map(|date| match start.day {
                true => CalendarTime::on(date.local.date()),
                false => *date,
            }));
            starts.retain(|start| {
                !changed
                    .iter()
                    .chain(&item.except)
                    .any(|date| same(date, start))
            });
        }
        starts.sort_by_key(CalendarTime::instant);
        starts.dedup_by_key(|start| start.instant());
        for start in starts {
            if let Some(end) = item.end_from(&start)
                && range.holds(&start, &end)
            {
                if found.len() == EACH {
                    return (found, Worked::Short);
                }
                let repeats = item.repeats();
                found.push(Occurrence {
                    item,
                    start,
                    end,
                    repeats,
                });
            }
        }
    }
    (found, worked)
}

/// Whether an exception names this occurrence. Some programs name only its day.
fn same(date: &CalendarTime, start: &CalendarTime) -> bool {
    match date.day || date.floats() != start.floats() {
        true => date.local.date() == start.local.date() && (date.day || date.local == start.local),
        false => date.instant() == start.instant(),
    }
}

/// The starts by the rule whose occurrences reach into the range, and whether they are all.
fn by_rule(
    rule: &ICalendarRecurrenceRule,
    item: &Item,
    start: &CalendarTime,
    range: &Range,
    budget: &mut usize,
) -> Option<(Vec<CalendarTime>, bool)> {
    if rule.rscale.is_some() || rule.skip.is_some() {
        return None;
    }
    let on_clock = |local: NaiveDateTime| Tz::UTC.from_utc_datetime(&local);
    let mut rule = rule.clone();
    if let Some(until) = &rule.until {
        rule.until = Some(until_on_clock(until, start)?);
    }
    let ends = rule.until.is_some() || rule.count.is_some();
    let first = on_clock(start.local);
    let rule: RRule<Unvalidated> = rule.to_string().parse().ok()?;
    let set = RRuleSet::new(first)
        .rrule(rule.validate(first).ok()?)
        .limit();
    // No clock is further from UTC than 14 hours.
    let day = TimeDelta::days(1);
    let length = item.end_from(start)?.local - start.local;
    let from = range.from.instant.naive_utc().min(range.from.local);
    let from = from.checked_sub_signed(length + day)?;
    let last = range.to.instant.naive_utc().max(range.to.local) + day;
    let mut starts = Vec::new();
    for (steps, occurrence) in (&set).into_iter().enumerate() {
        let local = occurrence.naive_utc();
        if local > last {
            return Some((starts, true));
        }
        if steps == STEPS || *budget == 0 {
            return Some((starts, false));
        }
        *budget -= 1;
        let start = CalendarTime { local, ..*start };
        let is_held = |end| range.holds(&start, &end);
        if local >= from && item.end_from(&start).is_some_and(is_held) {
            if starts.len() == EACH {
                return Some((starts, false));
            }
            starts.push(start);
        }
    }
    // A rule without an end that ends has been given up by the library, which looks 100,000 steps ahead.
    Some((starts, ends))
}

/// The end of a rule on the clock of its event, marked as UTC: that is how the rule is worked out.
fn until_on_clock(until: &PartialDateTime, start: &CalendarTime) -> Option<PartialDateTime> {
    let read = until.to_date_time()?;
    let local = match (until.has_time(), read.tz()) {
        // The whole of that day.
        (false, _) => read.date_time + TimeDelta::days(1) - TimeDelta::seconds(1),
        (true, Some(zone)) if !start.floats() => {
            let moment = CalendarTime {
                local: read.date_time,
                zone,
                day: false,
            }
            .instant();
            moment.with_timezone(&start.zone).naive_local()
        }
        (true, _) => read.date_time,
    };
    Some(PartialDateTime::from_utc_timestamp(
        local.and_utc().timestamp(),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ical, time::Bound};

    fn worked(event: &str, from: &str, to: &str) -> (Vec<String>, Worked) {
        let text = format!("BEGIN:VCALENDAR\nBEGIN:VEVENT\n{event}\nEND:VEVENT\nEND:VCALENDAR\n");
        let items = ical::items(&text, false).unwrap();
        let range = Range {
            from: Bound::typed(from).unwrap(),
            to: Bound::typed(to).unwrap(),
        };
        let (found, worked) = occurrences(&items, &range, &mut BUDGET.clone());
        let mut starts: Vec<_> = found.iter().map(|o| o.start.shown()).collect();
        starts.sort();
        (starts, worked)
    }

    fn starts(event: &str, from: &str, to: &str) -> Vec<String> {
        let (starts, worked) = worked(event, from, to);
        assert_eq!(worked, Worked::Whole, "{event}");
        starts
    }

    const BERLIN: &str =
        "DTSTART;TZID=Europe/Berlin:20261023T090000\nDTEND;TZID=Europe/Berlin:20261023T100000";

    #[test]
    fn series_keeps_its_hour_when_the_clocks_change() {
        let days = starts(
            &format!("{BERLIN}\nRRULE:FREQ=DAILY;COUNT=5"),
            "2026-10-24",
            "2026-10-27",
        );
        assert_eq!(
            days,
            [
                "2026-10-24T09:00:00+02:00",
                "2026-10-25T09:00:00+01:00",
                "2026-10-26T09:00:00+01:00"
            ]
        );
    }

    #[test]
    fn last_occurrence_is_counted_when_until_names_it_in_utc() {
        let until = |until: &str| {
            let event = format!("{BERLIN}\nRRULE:FREQ=DAILY;UNTIL={until}");
            starts(&event, "2026-10-01", "2026-11-30").len()
        };
        // 2026-10-26 09:00 in Berlin is 08:00 in UTC.
        assert_eq!(
            (
                until("20261026T080000Z"),
                until("20261026T075959Z"),
                until("20261026")
            ),
            (4, 3, 4)
        );
    }

    #[test]
    fn exceptions_further_dates_and_changed_occurrences() {
        let event = format!(
            "{BERLIN}\nSEQUENCE:0\nRRULE:FREQ=WEEKLY;COUNT=4\nEXDATE;TZID=Europe/Berlin:20261030T090000\nRDATE;TZID=Europe/Berlin:20261101T120000\n\
             END:VEVENT\nBEGIN:VEVENT\nSEQUENCE:7\nRECURRENCE-ID:20261106T080000Z\nDTSTART;TZID=Europe/Berlin:20261107T180000"
        );
        assert_eq!(
            starts(&event, "2026-10-01", "2026-12-01"),
            [
                "2026-10-23T09:00:00+02:00",
                "2026-11-01T12:00:00+01:00",
                "2026-11-07T18:00:00+01:00",
                "2026-11-13T09:00:00+01:00"
            ]
        );
        // Named by its day, as some programs do.
        let by_day =
            "DTSTART:20261101T090000\nRRULE:FREQ=DAILY;COUNT=3\nEXDATE;VALUE=DATE:20261102";
        assert_eq!(
            starts(by_day, "2026-10-01", "2026-12-01"),
            ["2026-11-01T09:00:00", "2026-11-03T09:00:00"]
        );
    }

    #[test]
    fn all_day_series_has_days() {
        let event = "DTSTART;VALUE=DATE:20240229\nRRULE:FREQ=YEARLY";
        assert_eq!(starts(event, "2026-01-01", "2029-01-01"), ["2028-02-29"]);
        // Three days long: the one that began before the range reaches into it.
        let long = "DTSTART;VALUE=DATE:20261101\nDTEND;VALUE=DATE:20261104\nRRULE:FREQ=WEEKLY";
        assert_eq!(starts(long, "2026-11-10", "2026-11-11"), ["2026-11-08"]);
    }

    #[test]
    fn endless_and_impossible_rules_end_and_say_so() {
        let (found, short) = worked(
            "DTSTART:19700101T000000Z\nRRULE:FREQ=SECONDLY",
            "2026-11-22",
            "2026-11-23",
        );
        assert_eq!((found.len(), short), (0, Worked::Short));
        let (found, short) = worked(
            "DTSTART:20261122T000000Z\nRRULE:FREQ=SECONDLY",
            "2026-11-22",
            "2026-11-23",
        );
        assert_eq!((found.len(), short), (EACH, Worked::Short));
        assert_eq!(found[EACH - 1], "2026-11-22T00:33:19Z", "the first ones");
        let (found, whole) = worked(
            "DTSTART:20261122T000000Z\nRRULE:FREQ=SECONDLY;COUNT=2000",
            "2026-11-22",
            "2026-11-23",
        );
        assert_eq!((found.len(), whole), (EACH, Worked::Whole));
        let never = "DTSTART:20260101T000000Z\nRRULE:FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=30";
        assert_eq!(
            worked(never, "2026-01-01", "2027-01-01"),
            (vec![], Worked::Short)
        );
        let none = "DTSTART:20261122T000000Z\nRRULE:FREQ=DAILY;BYHOUR=99";
        assert_eq!(worked(none, "2026-11-22", "2026-11-23").0.len(), 1);
        let hebrew = "DTSTART:20261122T000000Z\nRRULE:RSCALE=HEBREW;FREQ=YEARLY";
        assert_eq!(worked(hebrew, "2026-11-22", "2026-11-23").1, Worked::NoRule);
    }
}
