//! iCalendar in: what an object says of events and to-dos. And out: new objects, and the one change of an old one.
//!
//! A new object is written by the library. An old one is not: a rewrite by a library loses what that library does not
//! know, so [`completed`] changes four lines of the text and keeps every other byte.
//!
//! Invariants: an object beyond [`LARGEST`] is not parsed; each text that is kept has a bound; no text that is written
//! can begin a line.
//!
//! Must not know: servers, ranges.

use crate::{
    time::CalendarTime,
    zone::{Definitions, Found, Zones},
};
use calcard::{
    Entry, Parser,
    common::PartialDateTime,
    icalendar::{
        ICalendar, ICalendarComponent, ICalendarComponentType as Kind, ICalendarDuration,
        ICalendarEntry, ICalendarParameterName as Parameter, ICalendarPeriod as Period,
        ICalendarProperty as Property, ICalendarValue as Value,
    },
};
use chrono::{DateTime, TimeDelta, Utc};
use std::{collections::BTreeSet, fmt::Write as _};

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
/// Most rules of one series.
const RULES: usize = 16;

/// An event or a to-do, as one component says it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Item {
    uid: String,
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
    /// As they are written, in upper case: the library takes the size of a number for the number.
    pub(crate) rules: Vec<String>,
    /// Each with its own end, where it has one.
    pub(crate) further: Vec<(CalendarTime, Option<CalendarTime>)>,
    pub(crate) except: Vec<CalendarTime>,
    /// The occurrence that it stands for.
    pub(crate) instead_of: Option<CalendarTime>,
    /// A text of it is longer than what is told.
    pub(crate) cut: bool,
    pub(crate) flaws: BTreeSet<Flaw>,
}

/// What of an event or a to-do is not told, or not as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Flaw {
    /// No start, or one that is no time.
    Start,
    /// An end that is no time, or is before the start.
    End,
    /// A due date, or one of completion, that is no time.
    Date,
    /// A further date of a series that is no time.
    FurtherDate,
    /// An exception that cannot be read or is not worked out.
    Exception,
    /// A change of one occurrence and all that follow.
    Following,
    /// More single dates than are kept.
    Dates,
    /// A property twice that may be there once.
    Twice,
    /// A zone of a name that nobody knows, and without a definition: its times are told as floating.
    Zone,
    /// A zone of which the offset alone is known.
    Offset,
    /// There are more occurrences than are stepped through, or than one object may have.
    Short,
    /// A rule is none, or of another calendar than the Gregorian: only the first occurrence is told.
    Rule,
    /// A rule counts or steps by less than one.
    Number,
}

/// Why an object says nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unread {
    TooLarge,
    NotCalendar,
}

/// The events, or to-dos, of an object.
pub(crate) fn items(
    text: &str,
    todos: bool,
    definitions: &mut Definitions,
) -> Result<Vec<Item>, Unread> {
    if text.len() > LARGEST {
        return Err(Unread::TooLarge);
    }
    let (wanted, name) = match todos {
        true => (Kind::VTodo, "VTODO"),
        false => (Kind::VEvent, "VEVENT"),
    };
    let mut rules = rules(text, name).into_iter();
    let mut items = Vec::new();
    for calendar in parsed(text).ok_or(Unread::NotCalendar)? {
        let mut zones = Zones::of(&calendar, definitions);
        for component in &calendar.components {
            if component.component_type != wanted {
                continue;
            }
            if items.len() == ITEMS {
                return Err(Unread::TooLarge);
            }
            let rules = rules.next().ok_or(Unread::NotCalendar)?;
            items.push(item(component, rules, todos, &mut zones));
        }
    }
    // The two readings of the lines are of the same components, or one of them is wrong.
    match rules.next() {
        None => Ok(items),
        Some(_) => Err(Unread::NotCalendar),
    }
}

/// The to-dos of one object.
pub(crate) fn todos(text: &str) -> Result<Vec<Item>, Unread> {
    items(text, true, &mut Definitions::default())
}

/// The calendars in an object, which are one where it is as it should be.
fn parsed(text: &str) -> Option<Vec<ICalendar>> {
    let mut parser = Parser::new(text);
    let mut all = Vec::new();
    loop {
        match parser.entry() {
            Entry::ICalendar(calendar) => all.push(calendar),
            Entry::Eof if !all.is_empty() => return Some(all),
            _ => return None,
        }
    }
}

/// The rules of each component of this name, as they are written.
fn rules(text: &str, wanted: &str) -> Vec<Vec<String>> {
    let text = text
        .replace('\r', "")
        .replace("\n ", "")
        .replace("\n\t", "");
    let (mut open, mut all) = (Vec::new(), Vec::<Vec<String>>::new());
    for line in text.lines() {
        let Some((head, value)) = line.split_once(':') else {
            continue;
        };
        let name = head.split(';').next().unwrap_or_default();
        match name
            .trim()
            .trim_start_matches('\u{feff}')
            .to_ascii_uppercase()
            .as_str()
        {
            "BEGIN" => {
                let is_wanted = value.trim().eq_ignore_ascii_case(wanted);
                if is_wanted {
                    all.push(Vec::new());
                }
                open.push(is_wanted.then(|| all.len() - 1));
            }
            "END" => drop(open.pop()),
            "RRULE" => {
                let of = open.last().copied().flatten();
                if let Some(rules) = of.and_then(|at| all.get_mut(at)) {
                    rules.push(value.trim().to_uppercase());
                }
            }
            _ => {}
        }
    }
    all
}

fn item(
    component: &ICalendarComponent,
    rules: Vec<String>,
    is_todo: bool,
    zones: &mut Zones<'_>,
) -> Item {
    const ONCE: [Property; 10] = [
        Property::Summary,
        Property::Location,
        Property::Description,
        Property::Status,
        Property::Dtstart,
        Property::Dtend,
        Property::Due,
        Property::Duration,
        Property::Completed,
        Property::RecurrenceId,
    ];
    let mut item = Item {
        rules,
        ..Item::default()
    };
    let mut seen = Vec::new();
    for entry in &component.entries {
        let value = entry.values.first();
        if ONCE.contains(&entry.name) {
            if seen.contains(&&entry.name) {
                item.flaws.insert(Flaw::Twice);
            } else {
                seen.push(&entry.name);
            }
        }
        match &entry.name {
            Property::Uid => item.uid = text(entry),
            Property::Summary => item.title = item.told(text(entry), LINE),
            Property::Location => item.place = Some(item.told(text(entry), LINE)),
            Property::Description => item.notes = Some(item.told(text(entry), NOTES)),
            Property::Status => item.status = value.and_then(Value::as_text).map(str::to_lowercase),
            Property::Priority => {
                let number = value.and_then(Value::as_integer);
                item.priority = number.filter(|p| (1..=9).contains(p));
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
            // Of a to-do it says when one may begin.
            Property::Dtstart => item.start = item.when(entry, value, zones, Flaw::Start),
            Property::Dtend => item.end = item.when(entry, value, zones, Flaw::End),
            Property::Due => item.due = item.when(entry, value, zones, Flaw::Date),
            Property::Completed => item.completed = item.when(entry, value, zones, Flaw::Date),
            Property::RecurrenceId => {
                item.instead_of = item.when(entry, value, zones, Flaw::Exception);
                if entry.parameter(&Parameter::Range).is_some() {
                    item.flaws.insert(Flaw::Following);
                }
            }
            Property::Duration => match value {
                Some(Value::Duration(duration)) if !duration.neg => {
                    item.duration = Some(duration.clone());
                }
                _ => drop(item.flaws.insert(Flaw::End)),
            },
            Property::Rdate => {
                for value in &entry.values {
                    let date = item.further_date(entry, value, zones);
                    item.further.extend(date);
                }
            }
            Property::Exdate => {
                for value in &entry.values {
                    let date = item.when(entry, Some(value), zones, Flaw::Exception);
                    item.except.extend(date);
                }
            }
            Property::Exrule => drop(item.flaws.insert(Flaw::Exception)),
            _ => {}
        }
        if item.further.len() > DATES || item.except.len() > DATES {
            item.flaws.insert(Flaw::Dates);
            item.further.truncate(DATES);
            item.except.truncate(DATES);
        }
    }
    if item.rules.len() > RULES {
        item.flaws.insert(Flaw::Short);
        item.rules.truncate(RULES);
    }
    item.finish(is_todo);
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

    /// The moment in a value; where there is none, `flaw` says so.
    fn when(
        &mut self,
        entry: &ICalendarEntry,
        value: Option<&Value>,
        zones: &mut Zones<'_>,
        flaw: Flaw,
    ) -> Option<CalendarTime> {
        let read = match value {
            Some(Value::PartialDateTime(value)) => CalendarTime::of(value, entry.tz_id(), zones),
            _ => None,
        };
        let flaw = match &read {
            None => Some(flaw),
            Some((_, Found::Nothing)) => Some(Flaw::Zone),
            Some((_, Found::Offset)) => Some(Flaw::Offset),
            Some((_, Found::Whole)) => None,
        };
        self.flaws.extend(flaw);
        read.map(|(when, _)| when)
    }

    fn further_date(
        &mut self,
        entry: &ICalendarEntry,
        value: &Value,
        zones: &mut Zones<'_>,
    ) -> Option<(CalendarTime, Option<CalendarTime>)> {
        let mut time = |time: PartialDateTime| {
            let value = Value::PartialDateTime(Box::new(time));
            self.when(entry, Some(&value), zones, Flaw::FurtherDate)
        };
        match value {
            Value::Period(Period::Range { start, end }) => {
                let start = time(start.clone())?;
                Some((start, time(end.clone())))
            }
            Value::Period(Period::Duration { start, duration }) => {
                let start = time(start.clone())?;
                let end = after(&start, duration);
                Some((start, end))
            }
            value => {
                let start = self.when(entry, Some(value), zones, Flaw::FurtherDate)?;
                Some((start, None))
            }
        }
    }

    /// What follows from all properties together.
    fn finish(&mut self, is_todo: bool) {
        if is_todo {
            // To-dos without a start are the usual ones.
            if self.flaws.remove(&Flaw::Start) {
                self.flaws.insert(Flaw::Date);
            }
            if let (None, Some(start), Some(duration)) = (&self.due, &self.start, &self.duration) {
                self.due = after(start, duration);
            }
            return;
        }
        if self.start.is_none() {
            self.flaws.insert(Flaw::Start);
            self.start.clone_from(&self.instead_of);
        }
        if let (Some(start), Some(end)) = (&self.start, &self.end)
            && end.clone().or_in(&start.zone).instant() < start.instant()
        {
            self.flaws.insert(Flaw::End);
        }
    }

    /// Its end, where it starts at `start`: by its own end, its duration, or what goes without saying. It is not before the
    /// start, and of a day it is the day after at least.
    pub(crate) fn end_from(&self, start: &CalendarTime) -> CalendarTime {
        let end = match (&self.start, &self.end, &self.duration) {
            (Some(own), Some(end), _) if start.floats() => {
                let length = (end.local - own.local).max(TimeDelta::zero());
                // A part of a day is that day.
                let part = length - TimeDelta::days(length.num_days());
                let rest = match start.day && !part.is_zero() {
                    true => TimeDelta::days(1) - part,
                    false => TimeDelta::zero(),
                };
                start.later(length + rest)
            }
            (Some(own), Some(end), _) => {
                let end = end.clone().or_in(&own.zone);
                let length = (end.instant() - own.instant()).max(TimeDelta::zero());
                let moment = start.instant().checked_add_signed(length);
                // A flight ends in the zone where it lands.
                moment.and_then(|moment| CalendarTime::moment(moment, &end.zone))
            }
            (_, _, Some(duration)) => after(start, duration),
            _ => None,
        };
        let end = end.unwrap_or_else(|| start.clone());
        match start.day && end.local <= start.local {
            true => start.days_later(1).unwrap_or(end),
            false => end,
        }
    }

    pub(crate) fn is_done(&self) -> bool {
        self.completed.is_some()
            || matches!(self.status.as_deref(), Some("completed" | "cancelled"))
    }

    pub(crate) fn repeats(&self) -> bool {
        !self.rules.is_empty() || !self.further.is_empty() || self.instead_of.is_some()
    }

    /// Whether it is of the same event or series.
    pub(crate) fn is_of(&self, other: &Self) -> bool {
        self.uid == other.uid
    }
}

/// The moment a duration after `start`: its days by the calendar, the rest by the clock.
fn after(start: &CalendarTime, duration: &ICalendarDuration) -> Option<CalendarTime> {
    let days = u64::from(duration.weeks) * 7 + u64::from(duration.days);
    let seconds = i64::from(duration.hours) * 3600
        + i64::from(duration.minutes) * 60
        + i64::from(duration.seconds);
    let end = start.days_later(days)?;
    match seconds {
        0 => Some(end),
        seconds => end.later(TimeDelta::try_seconds(seconds)?),
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
        let mut calendar = parsed(&text)?.pop()?;
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

    fn read(text: &str, todos: bool) -> Result<Vec<Item>, Unread> {
        items(text, todos, &mut Definitions::default())
    }

    #[test]
    fn completion_changes_four_lines_and_keeps_every_other_byte() {
        let before = "BEGIN:VCALENDAR\r\nX-WR:1\r\nBEGIN:VTODO\r\nUID:a\r\nSTATUS:IN-\r\n PROCESS\r\nX-ODD;A=\"b:c\":kept,\r\n  folded\r\n\
            BEGIN:VALARM\r\nSTATUS:alarm's own\r\nEND:VALARM\r\nlast-modified:20200101T000000Z\r\nEND:VTODO\r\nEND:VCALENDAR\r\n";
        let after = completed(before, AT.parse().unwrap()).unwrap();
        let expected = "BEGIN:VCALENDAR\r\nX-WR:1\r\nBEGIN:VTODO\r\nUID:a\r\nX-ODD;A=\"b:c\":kept,\r\n  folded\r\n\
            BEGIN:VALARM\r\nSTATUS:alarm's own\r\nEND:VALARM\r\nSTATUS:COMPLETED\r\nPERCENT-COMPLETE:100\r\nCOMPLETED:20261122T120000Z\r\n\
            LAST-MODIFIED:20261122T120000Z\r\nEND:VTODO\r\nEND:VCALENDAR\r\n";
        assert_eq!(after, expected);
        assert!(read(&after, true).unwrap()[0].is_done());
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
        let [item] = &read(&text, true).unwrap()[..] else {
            panic!("{text}");
        };
        assert_eq!(item.title, title);
        let clean = notes
            .replace("\r\n", "\n")
            .replace('\t', " ")
            .replace('\0', "");
        assert_eq!(item.notes.as_deref(), Some(clean.as_str()));
        assert_eq!(
            item.due.as_ref().map(CalendarTime::shown).as_deref(),
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
        let item = &read(&text, false).unwrap()[0];
        let start = item.start.as_ref().unwrap();
        assert_eq!(start.shown(), "2026-11-23T09:00:00+01:00");
        assert_eq!(item.end_from(start).shown(), "2026-11-23T10:00:00+01:00");
    }

    #[test]
    fn hostile_objects_are_bounded() {
        let long = format!(
            "BEGIN:VCALENDAR\nBEGIN:VEVENT\nSUMMARY:{}\nEND:VEVENT\nEND:VCALENDAR\n",
            "x".repeat(100_000)
        );
        let [item] = &read(&long, false).unwrap()[..] else {
            panic!("one");
        };
        assert!(item.cut && item.title.len() == LINE);
        assert_eq!(
            read(&"x".repeat(LARGEST + 1), false).err(),
            Some(Unread::TooLarge)
        );
        assert_eq!(read("<html>", false).err(), Some(Unread::NotCalendar));
        let many = format!(
            "BEGIN:VCALENDAR\n{}END:VCALENDAR\n",
            "BEGIN:VEVENT\nEND:VEVENT\n".repeat(ITEMS + 1)
        );
        assert_eq!(read(&many, false).err(), Some(Unread::TooLarge));
        // Deep, as far as an object may be: no stack is used for it.
        let deep = "BEGIN:VEVENT\n".repeat(LARGEST / 13 - 1);
        assert_eq!(read(&deep, false).err(), Some(Unread::TooLarge));
        assert!(completed(&deep, AT.parse().unwrap()).is_none());
    }

    #[test]
    fn zone_is_known_by_name_whatever_its_definition_says() {
        let with = |tzid: &str| {
            let text = format!(
                "BEGIN:VCALENDAR\nBEGIN:VTIMEZONE\nTZID:{tzid}\nBEGIN:STANDARD\nDTSTART:19700101T000000\nTZOFFSETFROM:+1200\nTZOFFSETTO:+1200\nEND:STANDARD\nEND:VTIMEZONE\n\
                 BEGIN:VEVENT\nDTSTART;TZID={tzid}:20261122T090000\nEND:VEVENT\nEND:VCALENDAR\n"
            );
            let item = read(&text, false).unwrap().remove(0);
            let lost = item.flaws.contains(&Flaw::Zone);
            (item.start.unwrap().shown(), lost)
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
        // Of a name that nobody knows the definition is all there is.
        assert_eq!(
            with("Nowhere/Town"),
            ("2026-11-22T09:00:00+12:00".into(), false)
        );
    }
}
