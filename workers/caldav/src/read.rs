//! What the calendars and lists hold, as answers tell it: in order, in pages, with what could not be read named.
//!
//! Invariant: a page is bounded in bytes; what is left out is in `next` or in `warnings`.
//!
//! Must not know: who asks, what they may see.

use crate::{
    ical::{self, Flaw, Item},
    repeat::{self, Occurrence},
    server::{LeftOut, Object},
    time::{Bound, CalendarTime, Range},
    zone::Definitions,
};
use chrono::{Local, NaiveDate, TimeDelta, TimeZone, Utc};
use plexus_ipc::text::folded;
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// How long a range is where no end is given, and at most, in days.
const DAYS: i64 = 31;
const MOST_DAYS: i64 = 366;
/// Things in an answer where no number is given.
const LIMIT: usize = 200;
/// Text of one answer, in bytes; as JSON it may take six times as much.
const PAGE: usize = 512 * 1024;
/// Most occurrences, or to-dos, that one call sorts.
const MOST: usize = 20_000;
/// Most ids in a warning.
const NAMED: usize = 5;

/// Input of `events.list`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct EventsInput {
    start: Option<String>,
    end: Option<String>,
    pub(crate) calendars: Option<Vec<String>>,
    text: Option<String>,
    limit: Option<usize>,
    next: Option<String>,
}

/// Input of `todos.list`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct TodosInput {
    pub(crate) list: Option<String>,
    due_before: Option<String>,
    #[serde(default)]
    completed: bool,
    limit: Option<usize>,
    next: Option<String>,
}

/// Output of `events.list`.
#[derive(Debug, Serialize)]
pub(crate) struct Events {
    from: String,
    to: String,
    pub(crate) events: Vec<Event>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

/// One occurrence.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Event {
    pub(crate) id: String,
    calendar: String,
    title: String,
    start: String,
    end: String,
    #[serde(skip_serializing_if = "is_false")]
    all_day: bool,
    #[serde(skip_serializing_if = "is_false")]
    floating: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    time_zone: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    place: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    notes: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<String>,
    #[serde(skip_serializing_if = "is_false")]
    repeats: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    people: Vec<String>,
    #[serde(skip_serializing_if = "is_false")]
    cut: bool,
}

/// Output of `todos.list`.
#[derive(Debug, Serialize)]
pub(crate) struct Todos {
    pub(crate) todos: Vec<Todo>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

/// One to-do.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Todo {
    pub(crate) id: String,
    list: String,
    title: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    due: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    notes: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    priority: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    completed: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<String>,
    #[serde(skip_serializing_if = "is_false")]
    repeats: bool,
    #[serde(skip_serializing_if = "is_false")]
    cut: bool,
    /// Its version, for what the gateway knows of who read what.
    #[serde(skip)]
    pub(crate) etag: String,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde hands over a reference"
)]
fn is_false(flag: &bool) -> bool {
    !flag
}

/// What the calendars answered that were asked.
#[derive(Debug, Default)]
pub(crate) struct Answered {
    /// The objects of each, with its id.
    pub(crate) objects: Vec<(String, Arc<[Object]>)>,
    pub(crate) left_out: Vec<LeftOut>,
    /// A sentence for each calendar that did not answer.
    pub(crate) failed: Vec<String>,
}

/// Why there is no list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoList {
    /// Nobody waits for it any more.
    Over,
    TooMany,
    /// `next` is that of no answer.
    Next,
}

impl EventsInput {
    /// The range that is asked for, by a person whose days are those of `here`.
    pub(crate) fn range(&self, here: &impl TimeZone) -> Result<Range, &'static str> {
        let typed = |text: &str| Bound::typed(text, here);
        let today = || Utc::now().with_timezone(here).date_naive().to_string();
        let start = self.start.clone().unwrap_or_else(today);
        let from = typed(&start).ok_or(
            "start is no date (2026-11-22) and no time with its offset (2026-11-22T09:00+01:00)",
        )?;
        let to = match &self.end {
            Some(text) => typed(text).ok_or(
                "end is no date (2026-11-22) and no time with its offset (2026-11-22T09:00+01:00)",
            )?,
            None => {
                let days = TimeDelta::days(DAYS);
                // The clocks may change between two days of the person; a time keeps its offset.
                let to = match start.parse::<NaiveDate>() {
                    Ok(day) => day
                        .checked_add_signed(days)
                        .and_then(|day| typed(&day.to_string())),
                    Err(_) => from.later(days),
                };
                to.ok_or("start is too late")?
            }
        };
        let length = to.instant - from.instant;
        if length <= TimeDelta::zero() {
            return Err("end is not after start");
        }
        // Days are an hour longer or shorter as clocks change.
        if length.min(to.local - from.local) > TimeDelta::days(MOST_DAYS) {
            return Err("more than 366 days; ask for a year at a time");
        }
        Ok(Range { from, to })
    }

    /// The answer, from what the calendars answered that were asked, in the order of a day of `here`.
    pub(crate) fn answer(
        &self,
        range: &Range,
        here: &impl TimeZone,
        answered: &Answered,
        is_over: &dyn Fn() -> bool,
    ) -> Result<Events, NoList> {
        let mut unread = Unread::of(&answered.left_out);
        let parsed = parse(answered, false, &mut unread, is_over)?;
        let wanted = self.text.as_deref().map(folded);
        let mut budget = repeat::BUDGET;
        let mut found = Vec::new();
        for one in &parsed {
            if is_over() {
                return Err(NoList::Over);
            }
            let (occurrences, flaws) = repeat::occurrences(&one.items, range, &mut budget);
            for flaw in flaws {
                unread.add(words(flaw), one.id);
            }
            let said = |item: &Item| {
                let texts = [Some(&item.title), item.place.as_ref(), item.notes.as_ref()];
                let holds = |word: &String| {
                    let mut texts = texts.iter().flatten();
                    texts.any(|text| folded(text).contains(word))
                };
                wanted.as_ref().is_none_or(holds)
            };
            let occurrences = occurrences.into_iter().filter(|o| said(o.item));
            found.extend(occurrences.map(|o| (o.start.instant_in(here).timestamp(), one, o)));
            if found.len() > MOST {
                return Err(NoList::TooMany);
            }
        }
        let found = keyed(found, |one| one.id);
        let found = found
            .iter()
            .map(|(key, one, occurrence)| (*key, move || Event::of(one, occurrence)));
        let size = |e: &Event| {
            e.title.len()
                + e.place.as_ref().map_or(0, String::len)
                + e.notes.as_ref().map_or(0, String::len)
                + e.people.iter().map(String::len).sum::<usize>()
        };
        let (events, next) = page(found, self.limit, self.next.as_deref(), size)?;
        Ok(Events {
            from: range.from.shown(),
            to: range.to.shown(),
            events,
            warnings: unread.warnings(&answered.failed),
            next,
        })
    }
}

impl TodosInput {
    /// The end of what is asked for.
    ///
    /// # Errors
    /// Where it is no moment.
    pub(crate) fn before(&self) -> Result<Option<Bound>, &'static str> {
        let typed = |text: &String| {
            Bound::typed(text, &Local).ok_or("dueBefore is no date (2026-11-22) and no time with its offset (2026-11-22T09:00+01:00)")
        };
        self.due_before.as_ref().map(typed).transpose()
    }

    /// The answer, from what the lists answered that were asked, in the order of a day of `here`.
    pub(crate) fn answer(
        &self,
        before: Option<&Bound>,
        here: &impl TimeZone,
        answered: &Answered,
        is_over: &dyn Fn() -> bool,
    ) -> Result<Todos, NoList> {
        let mut unread = Unread::of(&answered.left_out);
        let parsed = parse(answered, true, &mut unread, is_over)?;
        let mut found: Vec<(i64, &Parsed<'_>, &Item)> = Vec::new();
        for one in &parsed {
            for item in &one.items {
                let due_in_time = before
                    .is_none_or(|before| item.due.as_ref().is_some_and(|due| before.is_after(due)));
                if item.is_done() == self.completed && due_in_time {
                    let due = item.due.as_ref().map(|due| due.instant_in(here));
                    found.push((due.map_or(i64::MAX, |due| due.timestamp()), one, item));
                }
            }
            if found.len() > MOST {
                return Err(NoList::TooMany);
            }
        }
        let found = keyed(found, |one| one.id);
        let found = found
            .iter()
            .map(|(key, one, item)| (*key, move || Todo::of(one, item)));
        let size = |t: &Todo| t.title.len() + t.notes.as_ref().map_or(0, String::len);
        let (todos, next) = page(found, self.limit, self.next.as_deref(), size)?;
        Ok(Todos {
            todos,
            warnings: unread.warnings(&answered.failed),
            next,
        })
    }
}

/// An object that was read.
struct Parsed<'a> {
    calendar: &'a str,
    id: &'a str,
    etag: &'a str,
    items: Vec<Item>,
}

fn parse<'a>(
    answered: &'a Answered,
    todos: bool,
    unread: &mut Unread<'a>,
    is_over: &dyn Fn() -> bool,
) -> Result<Vec<Parsed<'a>>, NoList> {
    let (mut parsed, mut definitions) = (Vec::new(), Definitions::default());
    let objects = answered.objects.iter();
    for (calendar, object) in objects.flat_map(|(id, all)| all.iter().map(move |one| (id, one))) {
        if is_over() {
            return Err(NoList::Over);
        }
        match ical::items(&object.text, todos, &mut definitions) {
            Ok(items) => {
                for flaw in items.iter().flat_map(|item| &item.flaws) {
                    unread.add(words(*flaw), &object.id);
                }
                parsed.push(Parsed {
                    calendar,
                    id: &object.id,
                    etag: &object.etag,
                    items,
                });
            }
            Err(ical::Unread::TooLarge) => unread.add("it is too large to be read", &object.id),
            Err(ical::Unread::NotCalendar) => unread.add("it is no calendar object", &object.id),
        }
    }
    Ok(parsed)
}

impl Event {
    fn of(
        one: &Parsed<'_>,
        Occurrence {
            item,
            start,
            end,
            repeats,
        }: &Occurrence<'_>,
    ) -> Self {
        Self {
            id: one.id.to_owned(),
            calendar: one.calendar.to_owned(),
            title: item.title.clone(),
            start: start.shown(),
            end: end.shown(),
            all_day: start.day,
            floating: start.floats() && !start.day,
            time_zone: start.zone_name(),
            place: item.place.clone(),
            notes: item.notes.clone(),
            status: item.status.clone(),
            repeats: *repeats,
            people: item.people.clone(),
            cut: item.cut,
        }
    }
}

impl Todo {
    fn of(one: &Parsed<'_>, item: &Item) -> Self {
        Self {
            id: one.id.to_owned(),
            list: one.calendar.to_owned(),
            title: item.title.clone(),
            due: item.due.as_ref().map(CalendarTime::shown),
            notes: item.notes.clone(),
            priority: item.priority,
            completed: item.completed.as_ref().map(CalendarTime::shown),
            status: item.status.clone(),
            repeats: item.repeats(),
            cut: item.cut,
            etag: one.etag.to_owned(),
        }
    }
}

/// A place in a list: a moment, an object's id, and a number among those that have both in common.
type Key<'a> = (i64, &'a str, usize);

/// `found` in order, each with its place.
fn keyed<'a, T, U>(
    mut found: Vec<(i64, T, U)>,
    id: impl Fn(&T) -> &'a str,
) -> Vec<(Key<'a>, T, U)> {
    found.sort_by(|a, b| (a.0, id(&a.1)).cmp(&(b.0, id(&b.1))));
    let mut last = (i64::MIN, "", 0);
    let key = |(at, one, thing): (i64, T, U)| {
        let same = (last.0, last.1) == (at, id(&one));
        last = (at, id(&one), if same { last.2 + 1 } else { 0 });
        (last, one, thing)
    };
    found.into_iter().map(key).collect()
}

/// The place that `next` of an answer names.
fn place(next: &str) -> Option<Key<'_>> {
    let mut parts = next.splitn(3, ' ');
    let (at, number) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
    Some((at, parts.next()?, number))
}

/// What of `found`, which is in order, follows `after` and fits; and where the next page goes on.
///
/// # Errors
/// `after` is of no page.
fn page<'a, T, Make: FnOnce() -> T>(
    found: impl Iterator<Item = (Key<'a>, Make)>,
    limit: Option<usize>,
    after: Option<&str>,
    size: impl Fn(&T) -> usize,
) -> Result<(Vec<T>, Option<String>), NoList> {
    let after = after
        .map(|text| place(text).ok_or(NoList::Next))
        .transpose()?;
    let limit = limit.unwrap_or(LIMIT);
    let (mut all, mut bytes, mut last) = (Vec::new(), 0, None::<Key<'_>>);
    for (key, make) in found.filter(|(key, _)| after.is_none_or(|after| *key > after)) {
        if all.len() >= limit || bytes > PAGE {
            let next = last.map(|(at, id, number)| format!("{at} {number} {id}"));
            return Ok((all, next));
        }
        let one = make();
        bytes += size(&one);
        all.push(one);
        last = Some(key);
    }
    Ok((all, None))
}

/// What an agent is told of a flaw, behind the ids of the objects that have it.
fn words(flaw: Flaw) -> &'static str {
    match flaw {
        Flaw::Start => {
            "it has no start that can be read; it is listed only where it changes an occurrence of a series, at that occurrence's time"
        }
        Flaw::End => {
            "its end cannot be read or is before its start; it is listed without its length"
        }
        Flaw::Date => "a date of it cannot be read; it is listed without that date",
        Flaw::FurtherDate => "a further date of it cannot be read; an occurrence is missing",
        Flaw::Exception => {
            "an exception of it cannot be read; an occurrence may be listed that does not take place"
        }
        Flaw::Following => {
            "a change of one occurrence and all later ones is listed for the one occurrence alone"
        }
        Flaw::Dates => "it has more than 5,000 single dates; occurrences are missing",
        Flaw::Twice => "it says something twice; only the last is reported",
        Flaw::Zone => "its time zone is not known; its times are reported without one",
        Flaw::Offset => {
            "its time zone is known by an offset alone; in summer its times may be an hour off"
        }
        Flaw::Short => "it repeats more often than is worked out; occurrences are missing",
        Flaw::Rule => "its rule cannot be read; only its first occurrence is reported",
        Flaw::Number => "its rule has a COUNT or INTERVAL below 1; it is read without that",
    }
}

/// What an agent is told of what cannot be listed.
pub(crate) fn warnings(left_out: &[LeftOut]) -> Vec<String> {
    Unread::of(left_out).warnings(&[])
}

/// What could not be read, by the reason.
struct Unread<'a>(BTreeMap<&'static str, BTreeSet<&'a str>>);

impl<'a> Unread<'a> {
    fn of(left_out: &'a [LeftOut]) -> Self {
        let mut unread = Self(BTreeMap::new());
        for (id, why) in left_out {
            unread.add(why, id);
        }
        unread
    }

    fn add(&mut self, why: &'static str, id: &'a str) {
        self.0.entry(why).or_default().insert(id);
    }

    /// After `failed`, a sentence for each reason.
    fn warnings(&self, failed: &[String]) -> Vec<String> {
        let line = |(why, ids): (&&str, &BTreeSet<&str>)| {
            let named: Vec<&str> = ids.iter().copied().take(NAMED).collect();
            let more = match ids.len().saturating_sub(NAMED) {
                0 => String::new(),
                more => format!(" and {more} more"),
            };
            format!("{}{more}: {why}", named.join(", "))
        };
        let failed = failed.iter().cloned();
        failed.chain(self.0.iter().map(line)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use calcard::common::timezone::Tz;
    use serde_json::json;

    #[test]
    fn range_without_end_is_31_days_of_the_person() {
        let here: Tz = "Europe/Berlin".parse().unwrap();
        #[rustfmt::skip]
        let rows = [
            ("2026-03-10", "2026-03-10T00:00:00+01:00", "2026-04-10T00:00:00+02:00"),
            ("2026-10-10", "2026-10-10T00:00:00+02:00", "2026-11-10T00:00:00+01:00"),
            ("2026-03-10T09:00+01:00", "2026-03-10T09:00:00+01:00", "2026-04-10T09:00:00+01:00"),
        ];
        for (start, from, to) in rows {
            let input: EventsInput = serde_json::from_value(json!({"start": start})).unwrap();
            let range = input.range(&here).unwrap();
            let shown = (range.from.shown(), range.to.shown());
            assert_eq!(shown, (from.to_owned(), to.to_owned()), "{start}");
        }
    }

    #[test]
    fn days_and_floating_times_are_ordered_where_the_person_is() {
        let object = |(id, lines): (&str, &str)| Object {
            id: format!("work/{id}"),
            etag: String::new(),
            text: format!("BEGIN:VCALENDAR\n{lines}\nEND:VCALENDAR\n"),
        };
        let answered = |objects: [(&str, &str); 4]| Answered {
            objects: vec![("work".to_owned(), objects.map(object).into())],
            ..Answered::default()
        };
        let events = answered([
            (
                "day",
                "BEGIN:VEVENT\nDTSTART;VALUE=DATE:20270401\nEND:VEVENT",
            ),
            (
                "floating",
                "BEGIN:VEVENT\nDTSTART:20270401T093000\nEND:VEVENT",
            ),
            (
                "nine",
                "BEGIN:VEVENT\nDTSTART;TZID=Pacific/Auckland:20270401T090000\nEND:VEVENT",
            ),
            (
                "ten",
                "BEGIN:VEVENT\nDTSTART;TZID=Pacific/Auckland:20270401T100000\nEND:VEVENT",
            ),
        ]);
        let todos = answered([
            ("day", "BEGIN:VTODO\nDUE;VALUE=DATE:20270401\nEND:VTODO"),
            ("floating", "BEGIN:VTODO\nDUE:20270401T093000\nEND:VTODO"),
            ("nine", "BEGIN:VTODO\nDUE:20270331T200000Z\nEND:VTODO"),
            ("ten", "BEGIN:VTODO\nDUE:20270331T210000Z\nEND:VTODO"),
        ]);
        let here: Tz = "Pacific/Auckland".parse().unwrap();
        let input = json!({"start": "2027-04-01", "end": "2027-04-02"});
        let input: EventsInput = serde_json::from_value(input).unwrap();
        let range = input.range(&here).unwrap();
        let listed = input.answer(&range, &here, &events, &|| false).unwrap();
        let order: Vec<_> = listed.events.iter().map(|e| e.id.as_str()).collect();
        let expected = ["work/day", "work/nine", "work/floating", "work/ten"];
        assert_eq!(order, expected);
        let input: TodosInput = serde_json::from_value(json!({})).unwrap();
        let listed = input.answer(None, &here, &todos, &|| false).unwrap();
        let order: Vec<_> = listed.todos.iter().map(|t| t.id.as_str()).collect();
        assert_eq!(order, expected);
    }
}
