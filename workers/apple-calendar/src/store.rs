//! What an event is, and where events come from.
//!
//! Invariant: a store gives each occurrence of a repeated event by itself, or says that it cannot.
//!
//! Must not know: how events are shown.

use jiff::Timestamp;
use plexus_apple::Failure;
use serde::Deserialize;

/// One calendar.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Calendar {
    /// Stays when the calendar gets another name.
    pub id: String,
    /// As the person named it.
    pub name: String,
    /// The account that it belongs to.
    #[serde(default)]
    pub account: Option<String>,
}

/// One occurrence.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Event {
    /// That of the event; occurrences of one share it.
    pub id: String,
    /// Id of its calendar.
    pub calendar: String,
    /// Its title.
    pub title: String,
    /// Its beginning; of an all-day or floating event where the person is.
    pub start: Timestamp,
    /// Its end; of an all-day event the last second or the next midnight.
    pub end: Timestamp,
    /// It takes whole days.
    pub all_day: bool,
    /// The name of its zone; none where it floats.
    #[serde(default)]
    pub zone: Option<String>,
    /// Where.
    #[serde(default)]
    pub place: Option<String>,
    /// Further text.
    #[serde(default)]
    pub notes: Option<String>,
    /// `confirmed`, `tentative` or `cancelled`, where it says so.
    #[serde(default)]
    pub status: Option<String>,
    /// It is one of a series.
    #[serde(default)]
    pub repeats: bool,
    /// Names or addresses of those who take part.
    #[serde(default)]
    pub people: Vec<String>,
}

/// Events that are asked for.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// The first moment.
    pub from: Timestamp,
    /// The first moment that is not wanted any more.
    pub to: Timestamp,
    /// Ids of calendars.
    pub calendars: Vec<String>,
}

impl Wanted {
    /// Whether something from `start` to `end` is in it, if only in part.
    #[must_use]
    pub fn holds(&self, start: Timestamp, end: Timestamp) -> bool {
        start < self.to && (end > self.from || start >= self.from)
    }
}

/// Takes events one by one, each by its beginning, its id and how it is made; answers whether more are wanted.
pub type Take<'a> = &'a mut dyn FnMut(Timestamp, &str, &mut dyn FnMut() -> Event) -> bool;

/// Where events come from. Its calls block.
pub trait EventStore: Send + Sync + 'static {
    /// The name of the person's zone.
    ///
    /// # Errors
    /// The app's failure.
    fn zone(&self) -> Result<String, Failure>;

    /// Every calendar.
    ///
    /// # Errors
    /// The app's failure.
    fn calendars(&self) -> Result<Vec<Calendar>, Failure>;

    /// The events of `wanted`, in any order; what is missing from them, one sentence each.
    ///
    /// # Errors
    /// The app's failure.
    fn events(&self, wanted: &Wanted, take: Take<'_>) -> Result<Vec<String>, Failure>;
}
