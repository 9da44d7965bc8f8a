//! What an event is, and where events come from.
//!
//! Invariant: a store gives each occurrence of a repeated event by itself.
//!
//! Must not know: how events are shown.

use jiff::Timestamp;
use plexus_apple::Failure;

/// One calendar.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Calendar {
    /// Stays when the calendar gets another name.
    pub(crate) id: String,
    /// As the person named it.
    pub(crate) name: String,
    /// The account that it belongs to.
    pub(crate) account: Option<String>,
}

/// One occurrence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Event {
    /// That of the event; occurrences of one share it.
    pub(crate) id: String,
    /// Id of its calendar.
    pub(crate) calendar: String,
    /// Its title; empty where it has none.
    pub(crate) title: String,
    /// Its beginning; of an all-day or floating event where the person is.
    pub(crate) start: Timestamp,
    /// Its end; of an all-day event the last second or the next midnight.
    pub(crate) end: Timestamp,
    /// It takes whole days.
    pub(crate) all_day: bool,
    /// The name of its zone; none where it floats.
    pub(crate) zone: Option<String>,
    /// Where.
    pub(crate) place: Option<String>,
    /// Further text.
    pub(crate) notes: Option<String>,
    /// `confirmed`, `tentative` or `cancelled`, where it says so.
    pub(crate) status: Option<String>,
    /// It is one of a series.
    pub(crate) repeats: bool,
    /// Names or addresses of those who take part.
    pub(crate) people: Vec<String>,
}

/// Events that are asked for.
#[derive(Clone, Debug)]
pub(crate) struct EventQuery {
    /// The first moment.
    pub(crate) from: Timestamp,
    /// The first moment that is not wanted any more.
    pub(crate) to: Timestamp,
    /// Ids of calendars.
    pub(crate) calendars: Vec<String>,
}

impl EventQuery {
    /// Whether something from `start` to `end` is in it, if only in part.
    #[must_use]
    pub(crate) fn holds(&self, start: Timestamp, end: Timestamp) -> bool {
        start < self.to && (end > self.from || start >= self.from)
    }
}

/// Takes events one by one, each by its beginning, its id and how it is made; answers whether more are wanted.
pub(crate) type Take<'a> = &'a mut dyn FnMut(Timestamp, &str, &mut dyn FnMut() -> Event) -> bool;

/// Where events come from. Its calls block.
pub(crate) trait EventStore: Send + Sync + 'static {
    /// The name of the person's zone.
    fn zone(&self) -> Result<String, Failure>;

    /// Every calendar.
    fn calendars(&self) -> Result<Vec<Calendar>, Failure>;

    /// Hands over the events of `wanted`, in any order, until `take` wants no more. Answers the ids of those that it met and could
    /// not hand over: without a beginning or an end.
    fn events(&self, wanted: &EventQuery, take: Take<'_>) -> Result<Vec<String>, Failure>;
}
