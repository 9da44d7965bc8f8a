//! iCalendar in: what an object says of events and to-dos. And out: new objects, and the one change of an old one.
//!
//! A new object is written by the library. An old one is not: a rewrite by a library loses what that library does not
//! know, so [`completed`] changes four lines of the text and keeps every other byte.
//!
//! Invariants: an object beyond [`LARGEST`] is not parsed; each text that is kept has a bound; no text that is written
//! can begin a line.
//!
//! Must not know: servers, ranges.

use crate::time::CalendarTime;
use calcard::{
    Entry, Parser,
    icalendar::{
        ICalendar, ICalendarComponent, ICalendarComponentType as Kind, ICalendarDuration,
        ICalendarEntry, ICalendarParameterName as Parameter, ICalendarProperty as Property,
        ICalendarRecurrenceRule, ICalendarValue as Value, timezone::TzResolver,
    },
};
use chrono::{DateTime, TimeDelta, Utc};
use std::fmt::Write as _;

/// Largest object that is parsed, in bytes.
pub(crate) const LARGEST: usize = 1024 * 1024;
/// Longest title and place that are told, in characters.
const LINE: usize = 500;
/// Longest notes that are told, in characters.
const NOTES: usize = 4_000;
/// Most people of an event that are told.
const PEOPLE: usize = 50;
/// Most events or to-dos of one object: a series has one for each changed occurrence.
const ITEMS: usize = 2_000;
/// Most single dates of one series, each way.
const DATES: usize = 5_000;

/// An event or a to-do, as one component says it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Item {
    pub(crate) title: String,
    pub(crate) place: Option<String>,
    pub(crate) notes: Option<String>,
    pub(crate) status: Option<String>,
    pub(crate) people: Vec<String>,
    pub(crate) priority: Option<i64>,
    pub(crate) start: Option<CalendarTime>,
    end: Option<CalendarTime>,
    duration: Option<ICalendarDuration>,
    pub(crate) due: Option<CalendarTime>,
    pub(crate) completed: Option<CalendarTime>,
    pub(crate) rule: Option<ICalendarRecurrenceRule>,
    pub(crate) further: Vec<CalendarTime>,
    pub(crate) except: Vec<CalendarTime>,
    /// The occurrence that it stands for.
    pub(crate) instead_of: Option<CalendarTime>,
    /// A text of it is longer than what is told.
    pub(crate) cut: bool,
    /// A zone of it has a name that nobody knows, so its times are told as floating.
    pub(crate) lost_zone: bool,
}

/// Why an object says nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unread {
    TooLarge,
    NotCalendar,
}

/// The events, or to-dos, of an object.
pub(crate) fn items(text: &str, todos: bool) -> Result<Vec<Item>, Unread> {
    if text.len() > LARGEST {
        return Err(Unread::TooLarge);
    }
    let calendar = parsed(text).ok_or(Unread::NotCalendar)?;
    let zones = calendar.build_tz_resolver();
    let wanted = if todos { Kind::VTodo } else { Kind::VEvent };
    let components = calendar
        .components
        .iter()
        .filter(|c| c.component_type == wanted);
    let items: Vec<_> = components
        .take(ITEMS + 1)
        .map(|c| item(c, &zones))
        .collect();
    if items.len() > ITEMS {
        return Err(Unread::TooLarge);
    }
    Ok(items)
}

fn parsed(text: &str) -> Option<ICalendar> {
    match Parser::new(text).entry() {
        Entry::ICalendar(calendar) => Some(calendar),
        _ => None,
    }
}

fn item(component: &ICalendarComponent, zones: &TzResolver<&str>) -> Item {
    let mut item = Item::default();
    for entry in &component.entries {
        let Some(value) = entry.values.first() else {
            continue;
        };
        match &entry.name {
            Property::Summary => item.title = item.told(text(entry), LINE),
            Property::Location => item.place = Some(item.told(text(entry), LINE)),
            Property::Description => item.notes = Some(item.told(text(entry), NOTES)),
            Property::Status => item.status = value.as_text().map(str::to_lowercase),
            Property::Priority => {
                item.priority = value.as_integer().filter(|p| (1..=9).contains(p));
            }
            Property::Attendee if item.people.len() < PEOPLE => {
                let name = entry
                    .parameter(&Parameter::Cn)
                    .and_then(|name| name.as_text());
                let address = entry.calendar_address().unwrap_or_default();
                let person = match name.filter(|name| *name != address) {
                    Some(name) => format!("{name} <{address}>"),
                    None => address.to_owned(),
                };
                let person = item.told(person, LINE);
                item.people.push(person);
            }
            Property::Attendee => item.cut = true,
            Property::Dtstart => item.start = item.when(entry, value, zones),
            Property::Dtend => item.end = item.when(entry, value, zones),
            Property::Due => item.due = item.when(entry, value, zones),
            Property::Completed => item.completed = item.when(entry, value, zones),
            Property::RecurrenceId => item.instead_of = item.when(entry, value, zones),
            Property::Duration => {
                if let Value::Duration(duration) = value {
                    item.duration = Some(duration.clone());
                }
            }
            Property::Rrule => {
                if let Value::RecurrenceRule(rule) = value {
                    item.rule = Some((**rule).clone());
                }
            }
            Property::Rdate => {
                let dates: Vec<_> = entry
                    .values
                    .iter()
                    .filter_map(|v| item.when(entry, v, zones))
                    .collect();
                item.further.extend(dates);
            }
            Property::Exdate => {
                let dates: Vec<_> = entry
                    .values
                    .iter()
                    .filter_map(|v| item.when(entry, v, zones))
                    .collect();
                item.except.extend(dates);
            }
            _ => {}
        }
        if item.further.len() > DATES || item.except.len() > DATES {
            item.cut = true;
            item.further.truncate(DATES);
            item.except.truncate(DATES);
        }
    }
    item
}

fn text(entry: &ICalendarEntry) -> String {
    let texts: Vec<_> = entry.values.iter().filter_map(Value::as_text).collect();
    texts.join(",")
}

impl Item {
    fn told(&mut self, mut text: String, most: usize) -> String {
        if let Some((at, _)) = text.char_indices().nth(most) {
            text.truncate(at);
            self.cut = true;
        }
        text
    }

    fn when(
        &mut self,
        entry: &ICalendarEntry,
        value: &Value,
        zones: &TzResolver<&str>,
    ) -> Option<CalendarTime> {
        let (when, zone_is_known) = CalendarTime::of(entry, value, zones)?;
        self.lost_zone |= !zone_is_known;
        Some(when)
    }

    /// Its end, where it starts at `start`: by its own end, its duration, or what goes without saying.
    pub(crate) fn end_from(&self, start: &CalendarTime) -> Option<CalendarTime> {
        if let (Some(own), Some(end)) = (&self.start, &self.end) {
            let length = match start.floats() {
                true => end.local - own.local,
                false => end.instant() - own.instant(),
            };
            let end_zone = if end.floats() { start.zone } else { end.zone };
            let end = start.later(length.max(TimeDelta::zero()))?;
            // A flight ends in the zone where it lands.
            let local = match end.floats() {
                true => end.local,
                false => end.instant().with_timezone(&end_zone).naive_local(),
            };
            return Some(CalendarTime {
                local,
                zone: end_zone,
                ..end
            });
        }
        match &self.duration {
            Some(d) if !d.neg => {
                let days = u64::from(d.weeks) * 7 + u64::from(d.days);
                let seconds =
                    i64::from(d.hours) * 3600 + i64::from(d.minutes) * 60 + i64::from(d.seconds);
                start
                    .days_later(days)?
                    .later(TimeDelta::try_seconds(seconds)?)
            }
            _ if start.day => start.days_later(1),
            _ => Some(*start),
        }
    }

    pub(crate) fn is_done(&self) -> bool {
        self.completed.is_some()
            || matches!(self.status.as_deref(), Some("completed" | "cancelled"))
    }

    pub(crate) fn repeats(&self) -> bool {
        self.rule.is_some() || !self.further.is_empty() || self.instead_of.is_some()
    }
}

/// A new object with one component.
#[derive(Debug)]
pub(crate) struct New<'a> {
    pub(crate) uid: &'a str,
    pub(crate) todo: bool,
    pub(crate) now: DateTime<Utc>,
    pub(crate) title: &'a str,
    pub(crate) start: Option<CalendarTime>,
    /// The end of an event, the due date of a to-do.
    pub(crate) end: Option<CalendarTime>,
    pub(crate) place: Option<&'a str>,
    pub(crate) notes: Option<&'a str>,
    pub(crate) priority: Option<u8>,
}

impl New<'_> {
    /// As it is sent; with the definition of its zone, where it has one.
    pub(crate) fn written(&self) -> Option<String> {
        let kind = if self.todo { "VTODO" } else { "VEVENT" };
        let stamp = self.now.format("%Y%m%dT%H%M%SZ");
        let mut text = format!(
            "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:-//Plexus//CalDAV//EN\r\nBEGIN:{kind}\r\nUID:{}\r\nDTSTAMP:{stamp}\r\nCREATED:{stamp}\r\n",
            self.uid
        );
        let mut line = |name: &str, value: String| {
            let _ = write!(text, "{name}{value}\r\n");
        };
        line("SUMMARY", format!(":{}", escaped(self.title)));
        if let Some(start) = &self.start {
            line("DTSTART", start.written());
        }
        if let Some(end) = &self.end {
            line(if self.todo { "DUE" } else { "DTEND" }, end.written());
        }
        for (name, value) in [("LOCATION", self.place), ("DESCRIPTION", self.notes)] {
            if let Some(value) = value.filter(|value| !value.is_empty()) {
                line(name, format!(":{}", escaped(value)));
            }
        }
        if let Some(priority) = self.priority {
            line("PRIORITY", format!(":{priority}"));
        }
        if self.todo {
            line("STATUS", ":NEEDS-ACTION".into());
        }
        let _ = write!(text, "END:{kind}\r\nEND:VCALENDAR\r\n");
        let mut calendar = parsed(&text)?;
        calendar.add_missing_timezones();
        Some(calendar.to_string())
    }
}

/// A text as a value: nothing in it ends the line, and what no calendar may hold is left out.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 8);
    for c in text.replace("\r\n", "\n").chars() {
        match c {
            '\\' | ';' | ',' => out.extend(['\\', c]),
            '\n' | '\u{85}' | '\u{2028}' | '\u{2029}' => out.push_str("\\n"),
            '\t' => out.push(' '),
            c if c.is_control() => {}
            c => out.push(c),
        }
    }
    out
}

/// `text` with its one to-do completed at `now`; `None` where it has not exactly one.
pub(crate) fn completed(text: &str, now: DateTime<Utc>) -> Option<String> {
    const REPLACED: [&str; 4] = ["STATUS", "COMPLETED", "PERCENT-COMPLETE", "LAST-MODIFIED"];
    let stamp = now.format("%Y%m%dT%H%M%SZ");
    let end = if text.contains("\r\n") { "\r\n" } else { "\n" };
    let mut out = String::with_capacity(text.len() + 128);
    let mut open: Vec<String> = Vec::new();
    let (mut todos, mut dropping) = (0, false);
    for line in text.split_inclusive('\n') {
        // What goes on from the line before goes where that went.
        if line.starts_with([' ', '\t']) {
            if !dropping {
                out.push_str(line);
            }
            continue;
        }
        let (name, value) = line
            .trim_end()
            .split_once(':')
            .unwrap_or((line.trim_end(), ""));
        let name = name
            .split(';')
            .next()
            .unwrap_or_default()
            .to_ascii_uppercase();
        let in_todo = open.last().is_some_and(|kind| kind == "VTODO");
        match name.as_str() {
            "BEGIN" => {
                open.push(value.to_ascii_uppercase());
                todos += usize::from(value.eq_ignore_ascii_case("VTODO"));
            }
            "END" => {
                if in_todo {
                    let _ = write!(
                        out,
                        "STATUS:COMPLETED{end}PERCENT-COMPLETE:100{end}COMPLETED:{stamp}{end}LAST-MODIFIED:{stamp}{end}"
                    );
                }
                open.pop();
            }
            _ => {}
        }
        dropping = in_todo && REPLACED.contains(&name.as_str());
        if !dropping {
            out.push_str(line);
        }
    }
    (todos == 1 && open.is_empty()).then_some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: &str = "2026-11-22T12:00:00Z";

    #[test]
    fn completion_changes_four_lines_and_keeps_every_other_byte() {
        let before = "BEGIN:VCALENDAR\r\nX-WR:1\r\nBEGIN:VTODO\r\nUID:a\r\nSTATUS:IN-\r\n PROCESS\r\nX-ODD;A=\"b:c\":kept,\r\n  folded\r\n\
            BEGIN:VALARM\r\nSTATUS:alarm's own\r\nEND:VALARM\r\nlast-modified:20200101T000000Z\r\nEND:VTODO\r\nEND:VCALENDAR\r\n";
        let after = completed(before, AT.parse().unwrap()).unwrap();
        let expected = "BEGIN:VCALENDAR\r\nX-WR:1\r\nBEGIN:VTODO\r\nUID:a\r\nX-ODD;A=\"b:c\":kept,\r\n  folded\r\n\
            BEGIN:VALARM\r\nSTATUS:alarm's own\r\nEND:VALARM\r\nSTATUS:COMPLETED\r\nPERCENT-COMPLETE:100\r\nCOMPLETED:20261122T120000Z\r\n\
            LAST-MODIFIED:20261122T120000Z\r\nEND:VTODO\r\nEND:VCALENDAR\r\n";
        assert_eq!(after, expected);
        assert!(items(&after, true).unwrap()[0].is_done());
        for not_one in [
            "BEGIN:VCALENDAR\nEND:VCALENDAR\n",
            "BEGIN:VTODO\nEND:VTODO\nBEGIN:VTODO\nEND:VTODO\n",
            "BEGIN:VTODO\nUID:a\n",
        ] {
            assert_eq!(completed(not_one, AT.parse().unwrap()), None, "{not_one}");
        }
    }

    #[test]
    fn written_text_is_read_back_and_begins_no_line() {
        let title = "a/b & c+d % # ? é 📅, ; \\ \u{202e}x\nEND:VTODO";
        let notes = "one\r\ntwo\tBEGIN:VALARM\u{0}".repeat(30);
        let new = New {
            uid: "plexus-evt_1",
            todo: true,
            now: AT.parse().unwrap(),
            title,
            start: None,
            end: CalendarTime::typed("2026-11-23", None),
            place: None,
            notes: Some(&notes),
            priority: Some(1),
        };
        let text = new.written().unwrap();
        assert!(text.lines().all(|line| line.len() <= 75), "{text}");
        assert_eq!(text.matches("\nEND:VTODO").count(), 1, "{text}");
        let [item] = &items(&text, true).unwrap()[..] else {
            panic!("{text}");
        };
        assert_eq!(item.title, title);
        let clean = notes
            .replace("\r\n", "\n")
            .replace('\t', " ")
            .replace('\0', "");
        assert_eq!(item.notes.as_deref(), Some(clean.as_str()));
        assert_eq!(
            item.due.map(|due| due.shown()).as_deref(),
            Some("2026-11-23")
        );
        assert!(!item.is_done() && item.priority == Some(1));
    }

    #[test]
    fn written_event_defines_its_zone() {
        let zone = "Europe/Berlin".parse().ok();
        let new = New {
            uid: "u",
            todo: false,
            now: AT.parse().unwrap(),
            title: "t",
            start: CalendarTime::typed("2026-11-23T09:00", zone),
            end: CalendarTime::typed("2026-11-23T10:00", zone),
            place: Some("here"),
            notes: None,
            priority: None,
        };
        let text = new.written().unwrap();
        assert!(
            text.contains("BEGIN:VTIMEZONE") && text.contains("TZOFFSETTO:+0100"),
            "{text}"
        );
        let item = &items(&text, false).unwrap()[0];
        let start = item.start.unwrap();
        assert_eq!(start.shown(), "2026-11-23T09:00:00+01:00");
        assert_eq!(
            item.end_from(&start).unwrap().shown(),
            "2026-11-23T10:00:00+01:00"
        );
    }

    #[test]
    fn hostile_objects_are_bounded() {
        let long = format!(
            "BEGIN:VCALENDAR\nBEGIN:VEVENT\nSUMMARY:{}\nEND:VEVENT\nEND:VCALENDAR\n",
            "x".repeat(100_000)
        );
        let [item] = &items(&long, false).unwrap()[..] else {
            panic!("one");
        };
        assert!(item.cut && item.title.len() == LINE);
        assert_eq!(
            items(&"x".repeat(LARGEST + 1), false).err(),
            Some(Unread::TooLarge)
        );
        assert_eq!(items("<html>", false).err(), Some(Unread::NotCalendar));
        let many = format!(
            "BEGIN:VCALENDAR\n{}END:VCALENDAR\n",
            "BEGIN:VEVENT\nEND:VEVENT\n".repeat(ITEMS + 1)
        );
        assert_eq!(items(&many, false).err(), Some(Unread::TooLarge));
        // Deep, as far as an object may be: no stack is used for it.
        let deep = "BEGIN:VEVENT\n".repeat(LARGEST / 13 - 1);
        assert_eq!(items(&deep, false).err(), Some(Unread::TooLarge));
        assert!(completed(&deep, AT.parse().unwrap()).is_none());
    }

    #[test]
    fn zone_is_known_by_name_whatever_its_definition_says() {
        let with = |tzid: &str| {
            let text = format!(
                "BEGIN:VCALENDAR\nBEGIN:VTIMEZONE\nTZID:{tzid}\nBEGIN:STANDARD\nDTSTART:19700101T000000\nTZOFFSETFROM:+1200\nTZOFFSETTO:+1200\nEND:STANDARD\nEND:VTIMEZONE\n\
                 BEGIN:VEVENT\nDTSTART;TZID={tzid}:20261122T090000\nEND:VEVENT\nEND:VCALENDAR\n"
            );
            let item = items(&text, false).unwrap().remove(0);
            (item.start.unwrap().shown(), item.lost_zone)
        };
        assert_eq!(
            with("Europe/Berlin"),
            ("2026-11-22T09:00:00+01:00".into(), false)
        );
        assert_eq!(
            with("W. Europe Standard Time").0,
            "2026-11-22T09:00:00+01:00"
        );
        assert_eq!(
            with("/freeassociation.sourceforge.net/Europe/Berlin").0,
            "2026-11-22T09:00:00+01:00"
        );
        assert_eq!(with("Nowhere/Town"), ("2026-11-22T09:00:00".into(), true));
    }
}
