//! The caldav connector against what every connector must hold, on a real server.

use crate::radicale::{PASSWORD, Radicale, USER};
use plexus_conformance::Subject;
use plexus_worker_caldav::{CaldavSource, MANIFEST};
use serde_json::json;
use std::rc::Rc;

/// Radicale stands for the egress too: it takes the credential as the password.
#[test]
fn conforms() {
    let server = Rc::new(Radicale::start());
    let (world, moved, port) = (Rc::clone(&server), Rc::clone(&server), server.port);
    let days = json!({"start": "2026-11-22", "end": "2026-12-22"});
    Subject::new(
        MANIFEST,
        include_str!("../../../sandbox-profiles/caldav.sb"),
        env!("CARGO_BIN_EXE_plexus-worker-caldav"),
    )
    .config("url", json!(server.url()))
    .config("user", json!(USER))
    .egress(port, PASSWORD)
    .world(move |_| {
        for id in ["work", "home"] {
            world.delete(&format!("{id}/"));
            world.calendar(id, "Both alike", &["VEVENT", "VTODO"]);
        }
        world.put("work/daily.ics", "VEVENT", "UID:daily\nDTSTART;TZID=Europe/Berlin:20261101T090000\nDTEND;TZID=Europe/Berlin:20261101T100000\nSUMMARY:Stand-up\nLOCATION:here\nDESCRIPTION:notes\nSTATUS:CONFIRMED\nRRULE:FREQ=DAILY\nATTENDEE;CN=Ann:mailto:ann@example.org");
        world.put("home/day.ics", "VEVENT", "UID:day\nDTSTART;VALUE=DATE:20261124\nSUMMARY:All day");
        world.put("home/floats.ics", "VEVENT", "UID:floats\nDTSTART:20261124T090000\nSUMMARY:Floats");
        world.put("home/bread.ics", "VTODO", "UID:bread\nSUMMARY:Bread\nDUE;VALUE=DATE:20261123\nDESCRIPTION:rye\nPRIORITY:1");
        world.put("work/report.ics", "VTODO", "UID:report\nSUMMARY:Report\nSTATUS:COMPLETED\nCOMPLETED:20261101T000000Z");
    })
    .moves(move |_| {
        moved.rename("home", "Another name");
        moved.put("home/bread.ics", "VTODO", "UID:bread\nSUMMARY:Bread and butter");
    })
    .example("calendars.list", json!({}), &["work", "home"])
    .example("events.list", days, &["work", "home", "work/daily.ics", "home/day.ics", "home/floats.ics"])
    .example("events.list", json!({"start": "2026-11-22T00:00+01:00", "calendars": ["work"], "text": "stand", "limit": 3}), &["work", "work/daily.ics"])
    .example("todos.list", json!({}), &["work", "home", "home/bread.ics"])
    .example("todos.list", json!({"list": "work", "completed": true}), &["work", "work/report.ics"])
    .example("todos.create", json!({"list": "home", "title": "Milk", "due": "2026-11-23", "notes": "two", "priority": 5}), &["home"])
    .example("todos.complete", json!({"id": "home/bread.ics"}), &["home", "home/bread.ics"])
    .example("events.create", json!({"calendar": "home", "title": "Dentist", "start": "2026-11-23T09:00:00", "end": "2026-11-23T10:00:00", "timeZone": "Europe/Berlin", "place": "there", "notes": "x"}), &["home"])
    .elsewhere("undo", "tests/served.rs and the stories take changes back")
    .outside("events.list", json!({"calendars": ["home"]}), "work")
    .outside("todos.complete", json!({"id": "home/bread.ics"}), "work")
    .conform::<CaldavSource>();
}
