//! Events by a script in Calendar, where there is no EventKit.
//!
//! Invariants: the script is text of this program; it changes nothing; what Calendar cannot tell is a warning.
//!
//! Must not know: how the script is run.

use crate::store::{Calendar, Event, EventStore, Take, Wanted};
use plexus_apple::{
    Failure,
    script::{Runner, Script, ask},
};
use serde_json::json;

const SCRIPT: Script = Script {
    name: "calendar.js",
    text: include_str!("calendar.js"),
};
/// Calendar gives a series once, by the dates of its first occurrence, and finds only those that begin in the range.
const SERIES: &str = "Calendar does not work recurrences out for scripts: of repeated events only the first occurrence is listed, and those that began earlier are missing";

/// Calendar, by scripts that `R` runs.
#[derive(Debug)]
pub struct ScriptedEvents<R>(pub R);

impl<R: Runner> EventStore for ScriptedEvents<R> {
    fn zone(&self) -> Result<String, Failure> {
        ask(&self.0, SCRIPT, &json!({"op": "zone"}))
    }

    fn calendars(&self) -> Result<Vec<Calendar>, Failure> {
        ask(&self.0, SCRIPT, &json!({"op": "calendars"}))
    }

    fn events(&self, wanted: &Wanted, take: Take<'_>) -> Result<Vec<String>, Failure> {
        let input = json!({
            "op": "events",
            "from": wanted.from.as_millisecond(),
            "to": wanted.to.as_millisecond(),
            "calendars": wanted.calendars,
        });
        // Scripts are not told of zones: a time is one where the person is.
        let zone = self.zone()?;
        let events: Vec<Event> = ask(&self.0, SCRIPT, &input)?;
        for event in events {
            let zone = Some(zone.clone()).filter(|_| !event.all_day);
            let event = Event { zone, ..event };
            if wanted.holds(event.start, event.end)
                && !take(event.start, &event.id, &mut || event.clone())
            {
                break;
            }
        }
        Ok(vec![SERIES.to_owned()])
    }
}
