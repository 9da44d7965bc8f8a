//! Calendar as a source: calls in, answers out.
//!
//! ```text
//! open: one question to the app, at which macOS asks the person for consent ─▶ served | why not
//! ```
//!
//! Invariant: a constraint is asked about a calendar's id before any of its events is read.
//!
//! Must not know: how events are found, what they look like.

use crate::{
    list::{Input, Output},
    store::{Calendar, EventStore},
};
use plexus_apple::{App, NameMatch, Queue, named, time::Clock};
use plexus_ipc::text::counted;
use plexus_ipc::worker::{
    CallContext, Handlers, Health, NoInput, OpenError, Reply, Role, Secrets, Source, SourceError,
    Touched,
};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeSet, sync::Arc};

/// The kinds that everything is recorded under, and the field that a constraint may narrow.
const CALENDAR: &str = "calendar";
const EVENT: &str = "event";
const FIELD: &str = "calendars";

/// The person's calendars, served.
pub struct AppleCalendarSource {
    store: Arc<dyn EventStore>,
    queue: Queue,
}

impl std::fmt::Debug for AppleCalendarSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AppleCalendarSource")
            .finish_non_exhaustive()
    }
}

/// The source's route. The owner fills in nothing.
#[derive(Debug, Default, Deserialize)]
pub struct Config {
    /// For tests: events of June 2026 that the fake has beside its usual ones.
    #[serde(default)]
    pub further: usize,
    /// For tests: the fake has an event without a title, and one without a date.
    #[serde(default)]
    pub bare: bool,
}

#[derive(Debug, Serialize)]
struct Calendars {
    calendars: Vec<ListedCalendar>,
}

#[derive(Debug, Serialize)]
struct ListedCalendar {
    id: String,
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    account: Option<String>,
}

#[cfg(target_os = "macos")]
fn store(_: &Config) -> Arc<dyn EventStore> {
    Arc::new(crate::os::EventKit)
}

#[cfg(not(target_os = "macos"))]
fn store(config: &Config) -> Arc<dyn EventStore> {
    Arc::new(crate::fake::FakeEvents::new(config.further, config.bare))
}

impl Source for AppleCalendarSource {
    type Config = Config;

    async fn open(config: Config, _: Secrets, _: Role) -> Result<Self, OpenError> {
        let source = Self {
            store: store(&config),
            queue: Queue::new(App::Calendar),
        };
        let asked = Arc::clone(&source.store);
        let answer = source.queue.ask(move || asked.calendars()).await;
        match answer {
            Ok(_) => Ok(source),
            Err(failure) => Err(failure.open_error(App::Calendar)),
        }
    }

    async fn health(&self) -> Health {
        let store = Arc::clone(&self.store);
        self.queue.health(move || store.calendars())
    }

    async fn check(&self) -> Health {
        let store = Arc::clone(&self.store);
        self.queue.check(move || store.calendars()).await
    }

    fn handlers() -> Handlers<Self> {
        Handlers::new()
            .read("calendars.list", Self::calendars)
            .read("events.list", Self::events)
    }
}

impl AppleCalendarSource {
    async fn all(&self) -> Result<Vec<Calendar>, SourceError> {
        let store = Arc::clone(&self.store);
        self.queue.read(move || store.calendars()).await
    }

    async fn calendars(
        self: Arc<Self>,
        call: CallContext,
        _: NoInput,
    ) -> Result<Reply<Calendars>, SourceError> {
        let mut calendars = self.all().await?;
        calendars.retain(|calendar| call.allows(FIELD, &calendar.id));
        let touched: Vec<_> = calendars
            .iter()
            .map(|calendar| Touched::read(CALENDAR, &calendar.id, None))
            .collect();
        let summary = format!("listed {}", counted(calendars.len(), "calendar"));
        let listed = |calendar: Calendar| ListedCalendar {
            id: calendar.id,
            name: calendar.name,
            account: calendar.account,
        };
        let calendars = calendars.into_iter().map(listed).collect();
        Ok(Reply::new(Calendars { calendars }, summary).touched(touched))
    }

    async fn events(
        self: Arc<Self>,
        call: CallContext,
        input: Input,
    ) -> Result<Reply<Output>, SourceError> {
        let all = self.all().await?;
        let calendars: Vec<String> = match &input.calendars {
            Some(given) => {
                let found = given.iter().map(|given| find(&call, &all, given));
                found.collect::<Result<_, _>>()?
            }
            None => {
                let allowed = all.iter().filter(|one| call.allows(FIELD, &one.id));
                allowed.map(|one| one.id.clone()).collect()
            }
        };
        let touched: Vec<_> = calendars
            .iter()
            .map(|id| Touched::read(CALENDAR, id, None))
            .collect();
        let store = Arc::clone(&self.store);
        let listed = self.queue.read(move || {
            let clock = Clock::in_zone(&store.zone()?);
            Ok(input.answer(&*store, &clock, calendars, &|| call.is_over()))
        });
        let output = listed.await?.map_err(|why| why.told(App::Calendar))?;
        let ids = output.events.iter().map(|event| event.id.as_str());
        let ids = ids.collect::<BTreeSet<_>>().into_iter();
        let events: Vec<_> = ids.map(|id| Touched::read(EVENT, id, None)).collect();
        let summary = format!("listed {}", counted(output.events.len(), "event"));
        Ok(Reply::new(output, summary).touched(touched).touched(events))
    }
}

/// The calendar that an agent named.
fn find(call: &CallContext, all: &[Calendar], given: &str) -> Result<String, SourceError> {
    let pairs = all.iter().map(|one| (one.id.as_str(), one.name.as_str()));
    match named(pairs, given) {
        NameMatch::One(id) => {
            call.require(FIELD, id)?;
            Ok(id.to_owned())
        }
        other => {
            // Under a constraint, a name that is not there sounds as one that is not allowed.
            call.require(FIELD, given)?;
            Err(match other {
                NameMatch::Several(ids) => SourceError::transport(
                    "ambiguous",
                    format!(
                        "{} calendars have this name; give an id: {}",
                        ids.len(),
                        ids.join(", ")
                    ),
                ),
                _ => SourceError::transport(
                    "not_found",
                    "there is no calendar with this id or name; calendars.list has them",
                ),
            })
        }
    }
}
