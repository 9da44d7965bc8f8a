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
    ical::{Flaw, Item},
    time::{CalendarTime, Range},
};
use calcard::common::PartialDateTime;
use chrono::{DateTime, NaiveDateTime, TimeDelta, TimeZone as _, Utc};
use rrule::{RRule, RRuleSet, Tz, Unvalidated};
use std::collections::BTreeSet;

/// Most occurrences of one rule that are stepped through, wanted or not: 137 years of days.
const STEPS: usize = 50_000;
/// Most occurrences of one object in a range: one for every four hours of a year.
const EACH: usize = 2_000;
/// Most of all rules of one call.
pub(crate) const BUDGET: usize = 1_000_000;

/// One occurrence.
#[derive(Clone, Debug)]
pub(crate) struct Occurrence<'a> {
    pub(crate) item: &'a Item,
    pub(crate) start: CalendarTime,
    pub(crate) end: CalendarTime,
    pub(crate) repeats: bool,
}

/// The occurrences in `range` of the events of one object, which are one series or one event; and what of its rules is not
/// in them.
pub(crate) fn occurrences<'a>(
    items: &'a [Item],
    range: &Range,
    budget: &mut usize,
) -> (Vec<Occurrence<'a>>, BTreeSet<Flaw>) {
    let mut found = Vec::new();
    let mut flaws = BTreeSet::new();
    for item in items {
        let Some(start) = &item.start else {
            continue;
        };
        // Its own start is one, whatever its rules say (RFC 5545, 3.8.5.3).
        let mut starts = vec![(start.clone(), None)];
        if item.instead_of.is_none() {
            for rule in &item.rules {
                match by_rule(rule, item, start, range, budget) {
                    Some((by_rule, flaw)) => {
                        starts.extend(by_rule.into_iter().map(|start| (start, None)));
                        flaws.extend(flaw);
                    }
                    None => drop(flaws.insert(Flaw::Rule)),
                }
            }
            let further = item.further.iter().map(|(date, end)| match date.day {
                true => (
                    start.shifted(date.local.date().and_time(start.local.time())),
                    None,
                ),
                false => (date.clone().or_in(&start.zone), end.clone()),
            });
            starts.extend(further);
            let changed = items.iter().filter(|other| other.is_of(item));
            let changed: Vec<_> = changed
                .filter_map(|other| other.instead_of.as_ref())
                .collect();
            starts.retain(|(start, _)| {
                let mut removed = changed.iter().copied().chain(&item.except);
                !removed.any(|date| same(date, start))
            });
        }
        starts.sort_by_key(|(start, _)| start.instant());
        starts.dedup_by_key(|(start, _)| start.instant());
        for (start, end) in starts {
            let end = end.unwrap_or_else(|| item.end_from(&start));
            if range.holds(&start, &end) {
                if found.len() == EACH {
                    flaws.insert(Flaw::Short);
                    return (found, flaws);
                }
                found.push(Occurrence {
                    item,
                    start,
                    end,
                    repeats: item.repeats(),
                });
            }
        }
    }
    (found, flaws)
}

/// Whether an exception names this occurrence. Some programs name only its day.
fn same(date: &CalendarTime, start: &CalendarTime) -> bool {
    match date.day || date.floats() != start.floats() {
        true => date.local.date() == start.local.date() && (date.day || date.local == start.local),
        false => date.instant() == start.instant(),
    }
}

/// The starts by the rule whose occurrences reach into the range, and what is wrong with them; `None` where it is no rule.
fn by_rule(
    rule: &str,
    item: &Item,
    start: &CalendarTime,
    range: &Range,
    budget: &mut usize,
) -> Option<(Vec<CalendarTime>, Option<Flaw>)> {
    let (mut parts, mut until, mut flaw) = (Vec::new(), None, None);
    for part in rule.split(';').filter(|part| !part.trim().is_empty()) {
        let (name, value) = part.split_once('=')?;
        match (name.trim(), value.trim()) {
            ("UNTIL", value) => until = Some(Until::read(value, start)?),
            // KDE writes COUNT=-1 for a rule without an end.
            ("COUNT" | "INTERVAL", value) if value.parse::<i64>().is_ok_and(|n| n < 1) => {
                flaw = Some(Flaw::Number);
            }
            ("RSCALE", "GREGORIAN") | ("SKIP", "OMIT") => {}
            (name, value) => parts.push(format!("{name}={value}")),
        }
    }
    let ends = until.is_some() || parts.iter().any(|part| part.starts_with("COUNT="));
    let set = rule_set(&parts.join(";"), start.local)?;
    // No clock is further from UTC than 14 hours.
    let day = TimeDelta::days(1);
    let length = item.end_from(start).local - start.local;
    let from = range.from.instant.naive_utc().min(range.from.local);
    let from = from.checked_sub_signed(length + day)?;
    let last = range.to.instant.naive_utc().max(range.to.local) + day;
    let mut starts = Vec::new();
    for (steps, occurrence) in (&set).into_iter().enumerate() {
        let start = start.shifted(occurrence.naive_utc());
        if start.local > last || until.as_ref().is_some_and(|until| until.is_before(&start)) {
            return Some((starts, flaw));
        }
        if steps == STEPS || *budget == 0 || starts.len() == EACH {
            return Some((starts, Some(Flaw::Short)));
        }
        *budget -= 1;
        if start.local >= from && range.holds(&start, &item.end_from(&start)) {
            starts.push(start);
        }
    }
    // A rule without an end that ends has been given up by the library, which looks 100,000 steps ahead.
    let flaw = if ends { flaw } else { Some(Flaw::Short) };
    Some((starts, flaw))
}

/// The occurrences of a rule on the clock of what starts at `first`, marked as UTC; `None` where it is no rule.
pub(crate) fn rule_set(rule: &str, first: NaiveDateTime) -> Option<RRuleSet> {
    let first = Tz::UTC.from_utc_datetime(&first);
    let rule: RRule<Unvalidated> = rule.parse().ok()?;
    let rule = rule.validate(first).ok()?;
    Some(RRuleSet::new(first).rrule(rule).limit())
}

/// The end of a rule.
enum Until {
    /// On the clock of the event.
    Local(NaiveDateTime),
    Moment(DateTime<Utc>),
}

impl Until {
    fn read(text: &str, start: &CalendarTime) -> Option<Self> {
        let mut value = PartialDateTime::default();
        let is_time = value.parse_timestamp(&mut text.as_bytes().iter().peekable(), false);
        let read = value.to_date_time().filter(|_| is_time)?;
        Some(match (value.has_time(), read.offset) {
            // The whole of that day.
            (false, _) => Self::Local(read.date_time + TimeDelta::days(1) - TimeDelta::seconds(1)),
            (true, Some(offset)) if !start.floats() => {
                Self::Moment(read.date_time.checked_sub_offset(offset)?.and_utc())
            }
            (true, _) => Self::Local(read.date_time),
        })
    }

    fn is_before(&self, start: &CalendarTime) -> bool {
        match self {
            Self::Local(until) => *until < start.local,
            Self::Moment(until) => *until < start.instant(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ical, time::Bound, zone::Definitions};

    fn worked(event: &str, from: &str, to: &str) -> (Vec<String>, Vec<Flaw>) {
        let text = format!("BEGIN:VCALENDAR\nBEGIN:VEVENT\n{event}\nEND:VEVENT\nEND:VCALENDAR\n");
        let items = ical::items(&text, false, &mut Definitions::default()).unwrap();
        let range = Range {
            from: Bound::typed(from, &Utc).unwrap(),
            to: Bound::typed(to, &Utc).unwrap(),
        };
        let (found, mut flaws) = occurrences(&items, &range, &mut BUDGET.clone());
        flaws.extend(items.iter().flat_map(|item| &item.flaws));
        let mut starts: Vec<_> = found.iter().map(|o| o.start.shown()).collect();
        starts.sort();
        (starts, flaws.into_iter().collect())
    }

    fn starts(event: &str, from: &str, to: &str) -> Vec<String> {
        let (starts, flaws) = worked(event, from, to);
        assert_eq!(flaws, [], "{event}");
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
        assert_eq!((found.len(), short), (0, vec![Flaw::Short]));
        let (found, short) = worked(
            "DTSTART:20261122T000000Z\nRRULE:FREQ=SECONDLY",
            "2026-11-22",
            "2026-11-23",
        );
        assert_eq!((found.len(), short), (EACH, vec![Flaw::Short]));
        assert_eq!(found[EACH - 1], "2026-11-22T00:33:19Z", "the first ones");
        let (found, whole) = worked(
            "DTSTART:20261122T000000Z\nRRULE:FREQ=SECONDLY;COUNT=2000",
            "2026-11-22",
            "2026-11-23",
        );
        assert_eq!((found.len(), whole), (EACH, vec![]));
        let never = "DTSTART:20260101T000000Z\nRRULE:FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=30";
        assert_eq!(
            worked(never, "2026-01-01", "2027-01-01"),
            (vec!["2026-01-01T00:00:00Z".to_owned()], vec![Flaw::Short])
        );
        let none = "DTSTART:20261122T000000Z\nRRULE:FREQ=DAILY;BYHOUR=99";
        assert_eq!(worked(none, "2026-11-22", "2026-11-23").0.len(), 1);
        let hebrew = "DTSTART:20261122T000000Z\nRRULE:RSCALE=HEBREW;FREQ=YEARLY";
        assert_eq!(
            worked(hebrew, "2026-11-22", "2026-11-23").1,
            vec![Flaw::Rule]
        );
    }
}
