//! The events of a range, as an answer shows them: in order, in pages.
//!
//! Invariants: a page is bounded in events and in bytes, whatever the store holds.
//!
//! Must not know: who asks, what they may see.

use crate::store::{Event, EventQuery, EventStore};
use jiff::{Timestamp, ToSpan as _};
use plexus_apple::{
    NOTES, NoList, Page, TITLE, first_few, is_false, shortened,
    time::{Clock, Typed},
};
use plexus_ipc::text::folded;
use serde::{Deserialize, Serialize};

/// How long a range is where no end is given, and at most, in days.
const DAYS: i64 = 31;
const MOST_DAYS: i64 = 366;
/// Most people of one event in an answer.
const PEOPLE: usize = 50;

/// Input of `events.list`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Input {
    start: Option<String>,
    end: Option<String>,
    pub(crate) calendars: Option<Vec<String>>,
    text: Option<String>,
    limit: Option<usize>,
    next: Option<String>,
}

/// Output of `events.list`.
#[derive(Debug, Serialize)]
pub(crate) struct Output {
    from: String,
    to: String,
    pub(crate) events: Vec<OccurrenceView>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

/// One occurrence in an answer.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct OccurrenceView {
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

impl Input {
    fn range(&self, clock: &Clock) -> Result<(Timestamp, Timestamp), &'static str> {
        let typed = |text: &Option<String>, why| {
            let typed = text.as_deref().map(|text| clock.typed(text).ok_or(why));
            typed.transpose()
        };
        let start = typed(
            &self.start,
            "start is no date (2026-06-25) and no time (2026-06-25T09:00)",
        )?;
        let start = start.unwrap_or_else(|| Typed::Day(clock.today()));
        let end = typed(
            &self.end,
            "end is no date (2026-06-25) and no time (2026-06-25T09:00)",
        )?;
        let from = clock.moment(start).ok_or("start is out of range")?;
        let to = match end {
            Some(end) => clock.moment(end),
            // 31 days of the calendar, not of 24 hours each.
            None => match start {
                Typed::Day(day) => clock.moment(Typed::Day(day.saturating_add(DAYS.days()))),
                Typed::At(at) => at.checked_add((DAYS * 24).hours()).ok(),
            },
        };
        let to = to.ok_or("end is out of range")?;
        let seconds = to.as_second() - from.as_second();
        if to <= from {
            return Err("end is not after start");
        }
        // An hour more: a year may have a day of 25 hours without one of 23 in it.
        if seconds > MOST_DAYS * 86_400 + 3_600 {
            return Err("more than 366 days; ask for a year at a time");
        }
        Ok((from, to))
    }

    /// The answer from `store`, of these calendars.
    pub(crate) fn answer(
        &self,
        store: &dyn EventStore,
        clock: &Clock,
        calendars: Vec<String>,
        is_over: &dyn Fn() -> bool,
    ) -> Result<Output, NoList> {
        let (from, to) = self.range(clock).map_err(NoList::Invalid)?;
        let mut page = Page::new(self.limit, self.next.as_deref()).map_err(NoList::Invalid)?;
        let text = self.text.as_deref().map(folded);
        let wanted = EventQuery {
            from,
            to,
            calendars,
        };
        let listed = store.events(&wanted, &mut |start, id, make| {
            let at = start.as_millisecond();
            if page.wants(at, id) {
                let event = make();
                if text.as_ref().is_none_or(|text| says(&event, text)) {
                    page.keep((at, id.to_owned()), size(&event), event);
                }
            }
            !is_over()
        });
        let undated = listed.map_err(NoList::Failed)?;
        if is_over() {
            return Err(NoList::Over);
        }
        let warning = || {
            let ids = first_few(&undated);
            format!("{ids}: no beginning or no end; such events are in no list")
        };
        let warnings = (!undated.is_empty()).then(warning);
        let (events, next) = page.done();
        let events = events
            .into_iter()
            .map(|event| OccurrenceView::of(event, clock));
        Ok(Output {
            from: clock.shown(from, None),
            to: clock.shown(to, None),
            events: events.collect(),
            warnings: warnings.into_iter().collect(),
            next,
        })
    }
}

fn says(event: &Event, text: &str) -> bool {
    let texts = [
        Some(&event.title),
        event.place.as_ref(),
        event.notes.as_ref(),
    ];
    let mut texts = texts.into_iter().flatten();
    texts.any(|one| folded(one).contains(text))
}

/// Bytes of text that it takes in an answer, at most.
fn size(event: &Event) -> usize {
    let of =
        |text: &Option<String>, most: usize| text.as_ref().map_or(0, |t| t.len().min(4 * most));
    let people = event.people.iter().take(PEOPLE).map(String::len);
    event.title.len().min(4 * TITLE)
        + of(&event.place, TITLE)
        + of(&event.notes, NOTES)
        + people.sum::<usize>()
}

impl OccurrenceView {
    fn of(event: Event, clock: &Clock) -> Self {
        let mut cut = event.people.len() > PEOPLE;
        let mut short = |text: String, most| {
            let (text, more) = shortened(text, most);
            cut |= more;
            text
        };
        let title = short(event.title, TITLE);
        let place = event.place.map(|place| short(place, TITLE));
        let notes = event.notes.map(|notes| short(notes, NOTES));
        let people = event.people.into_iter().take(PEOPLE);
        let people = people.map(|name| short(name, TITLE)).collect();
        let floating = !event.all_day && event.zone.is_none();
        let (start, end) = match (event.all_day, floating) {
            (true, _) => {
                let end = clock.day_after(event.start, event.end);
                (clock.local(event.start).date().to_string(), end.to_string())
            }
            (_, true) => (clock.floating(event.start), clock.floating(event.end)),
            _ => {
                let zone = event.zone.as_deref();
                (clock.shown(event.start, zone), clock.shown(event.end, zone))
            }
        };
        Self {
            id: event.id,
            calendar: event.calendar,
            title,
            start,
            end,
            all_day: event.all_day,
            floating,
            time_zone: event.zone.filter(|_| !event.all_day),
            place,
            notes,
            status: event.status,
            repeats: event.repeats,
            people,
            cut,
        }
    }
}
