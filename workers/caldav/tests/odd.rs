//! Objects as programs really write them, right and wrong: each is listed as the standard or common practice says, and what
//! is not listed, or not as it is, is named in a warning.

use crate::hostile::{multistatus, object, reader, serve};
use plexus_conformance::served::texts;
use serde_json::{Value, json};

const ZONE: &str = "time zone is not known";
const OFFSET: &str = "by an offset alone";

/// What lies in one object, as a server sends it.
fn whole(kind: &str, before: &str, lines: &str) -> String {
    format!("BEGIN:VCALENDAR\n{before}BEGIN:{kind}\nUID:a\n{lines}\nEND:{kind}\nEND:VCALENDAR\n")
}

async fn asked(capability: &str, input: Value, text: &str) -> Value {
    let text = text.replace('&', "&amp;");
    let report = multistatus(&object("a.ics", &text));
    let port = serve(move |method, _| (method == "REPORT").then(|| report.clone()));
    let mut worker = reader(port).await;
    let answer = worker.answer(capability, input).await;
    worker.stop().await;
    answer
}

/// Start and end of what is listed of January to December 2026, and the warnings.
async fn listed(text: &str) -> (Vec<String>, String) {
    let input = json!({"start": "2026-01-01", "end": "2027-01-01"});
    let answer = asked("events.list", input, text).await;
    let times = |event: &Value| {
        let part = |name: &str| event[name].as_str().unwrap().to_owned();
        format!("{} {}", part("start"), part("end"))
    };
    let events = answer["events"].as_array().unwrap().iter().map(times);
    (events.collect(), answer["warnings"].to_string())
}

/// A table, a row a line: the lines of an event, ` | ` between them; ` => ` what is listed of it, `, ` between them; ` ! ` what a
/// warning says of it, and nothing where there is none. A row that begins with `#` is a remark.
async fn expect(table: &str, shown: impl Fn(&str) -> String) {
    let rows = table.lines().map(str::trim);
    let rows: Vec<_> = rows
        .filter(|row| !row.is_empty() && !row.starts_with('#'))
        .collect();
    let mut wrong = Vec::new();
    for row in &rows {
        let (lines, rest) = row.split_once(" =>").expect("what is listed");
        let (times, warning) = rest.split_once(" !").unwrap_or((rest, ""));
        let times = times
            .split(", ")
            .map(str::trim)
            .filter(|time| !time.is_empty());
        let times: Vec<String> = times.map(&shown).collect();
        let (found, warnings) = listed(&whole("VEVENT", "", &lines.replace(" | ", "\n"))).await;
        let is_warned = match warning.trim() {
            "" => warnings == "null",
            warning => warnings.contains(warning) && warnings.contains("cal/a.ics"),
        };
        if found != times || !is_warned {
            wrong.push(format!("{row}\n   {found:?}\n   {warnings}"));
        }
    }
    assert!(!rows.is_empty() && wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test]
async fn odd_times_are_shown_or_named() {
    let table = "
        # The control.
        DTSTART:20260105T090000Z | DTEND:20260105T100000Z => 2026-01-05T09:00:00Z 2026-01-05T10:00:00Z
        DTSTART:20260105T235960Z => 2026-01-05T23:59:59Z 2026-01-05T23:59:59Z
        DTSTART:20260105T240000Z | DTEND:20260106T010000Z => 2026-01-06T00:00:00Z 2026-01-06T01:00:00Z
        SUMMARY:nothing else => ! no start that can be read
        DTSTART: => ! no start that can be read
        DTSTART:20260230T090000Z => ! no start that can be read
        DTSTART:20260105T250000Z => ! no start that can be read
        DTSTART:2026-01-05T09:00:00Z => ! no start that can be read
        DTSTART:20260105T090000Z | DTEND:20260199T100000Z => 2026-01-05T09:00:00Z 2026-01-05T09:00:00Z ! its end cannot be read
        DTSTART:20260105T090000Z | DTEND:20260105T080000Z => 2026-01-05T09:00:00Z 2026-01-05T09:00:00Z ! its end cannot be read
        DTSTART:20260105T090000Z | DURATION:-PT1H => 2026-01-05T09:00:00Z 2026-01-05T09:00:00Z ! its end cannot be read
        DTSTART:20260105T090000Z | DURATION:an hour => 2026-01-05T09:00:00Z 2026-01-05T09:00:00Z ! its end cannot be read
        DTSTART:20260105T090000Z | DTSTART:20260106T090000Z => 2026-01-06T09:00:00Z 2026-01-06T09:00:00Z ! says something twice
        # An end of a day is the day after its last, whatever the object says.
        DTSTART;VALUE=DATE:20260105 | DTEND;VALUE=DATE:20260105 => 2026-01-05 2026-01-06
        DTSTART;VALUE=DATE:20260105 | DURATION:PT0S => 2026-01-05 2026-01-06
        DTSTART;VALUE=DATE:20260105 | DTEND:20260106T120000 => 2026-01-05 2026-01-07
        # An end without a zone is on the clock of the start.
        DTSTART;TZID=Europe/Berlin:20260105T090000 | DTEND:20260105T100000 => 2026-01-05T09:00:00+01:00 2026-01-05T10:00:00+01:00";
    expect(table, str::to_owned).await;
}

#[tokio::test]
async fn time_that_the_clock_shows_twice_keeps_its_length() {
    let table = "
        BERLIN:20261025T023000 | DURATION:PT1H => 2026-10-25T02:30:00+02:00 2026-10-25T02:30:00+01:00
        BERLIN:20261025T013000 | DURATION:PT2H => 2026-10-25T01:30:00+02:00 2026-10-25T02:30:00+01:00
        BERLIN:20261025T023000 | DURATION:PT2H => 2026-10-25T02:30:00+02:00 2026-10-25T03:30:00+01:00
        BERLIN:20260328T120000 | DURATION:P1D => 2026-03-28T12:00:00+01:00 2026-03-29T12:00:00+02:00
        BERLIN:20260328T120000 | DURATION:PT24H => 2026-03-28T12:00:00+01:00 2026-03-29T13:00:00+02:00
        # 02:30 on the clock comes before the end of the rule, which is in the hour that comes again.
        BERLIN:20261024T023000 | DURATION:PT1H | RRULE:FREQ=DAILY;UNTIL=20261025T010000Z => \
            2026-10-24T02:30:00+02:00 2026-10-24T03:30:00+02:00, 2026-10-25T02:30:00+02:00 2026-10-25T02:30:00+01:00";
    let table = table.replace("BERLIN", "DTSTART;TZID=Europe/Berlin");
    expect(&table, str::to_owned).await;
}

#[tokio::test]
async fn odd_rules_are_worked_out_or_named() {
    let table = "
        # A Monday, and a rule of its own for Thursdays.
        RRULE:FREQ=WEEKLY;BYDAY=MO;COUNT=2 | RRULE:FREQ=WEEKLY;BYDAY=TH;COUNT=2 => 5, 8, 12, 15
        # The start is off the rule.
        RRULE:FREQ=WEEKLY;BYDAY=WE;COUNT=2 => 5, 7, 14
        # The fiftieth Monday from the end of the year, which has 52.
        RRULE:FREQ=YEARLY;BYDAY=-50MO;COUNT=1 => 5, 19
        RRULE:FREQ=WEEKLY;UNTIL=20260120;COUNT=-1 => 5, 12, 19 ! COUNT or INTERVAL below 1
        RRULE:FREQ=WEEKLY;INTERVAL=0;COUNT=2 => 5, 12 ! COUNT or INTERVAL below 1
        RRULE:FREQ=WEEKLY;INTERVAL=-2;COUNT=2 => 5, 12 ! COUNT or INTERVAL below 1
        RRULE:FREQ=NEVER => 5 ! its rule cannot be read
        RRULE: => 5 ! its rule cannot be read
        RRULE:FREQ=MONTHLY;BYMONTHDAY=300 => 5 ! its rule cannot be read
        RRULE:FREQ=DAILY;BYHOUR=-1 => 5 ! its rule cannot be read
        RRULE:FREQ=DAILY;COUNT=2;X-EVERY=SUN => 5 ! its rule cannot be read
        RRULE:FREQ=DAILY;UNTIL=soon => 5 ! its rule cannot be read
        RRULE:FREQ=DAILY;UNTIL=20250101 => 5
        RRULE:RSCALE=GREGORIAN;FREQ=DAILY;COUNT=2;SKIP=OMIT => 5, 6
        rrule:freq=daily; |  count=2 => 5, 6
        RRULE:FREQ=DAILY;COUNT=3 | EXRULE:FREQ=DAILY;INTERVAL=2 => 5, 6, 7 ! an exception of it cannot be read";
    let table = table.replace("\n        R", "\n DTSTART;VALUE=DATE:20260105 | R");
    let table = table.replace("\n        r", "\n DTSTART;VALUE=DATE:20260105 | r");
    let day = |day: &str| {
        let day: u32 = day.parse().expect("a day");
        format!("2026-01-{day:02} 2026-01-{:02}", day + 1)
    };
    expect(&table, day).await;
}

#[tokio::test]
async fn odd_dates_of_a_series_are_shown_or_named() {
    // FIRST, and DAILY with what changes an occurrence of it.
    let table = "
        FIRST | RDATE;VALUE=PERIOD:20260110T120000Z/20260110T150000Z,20260111T120000Z/PT2H => \
            5th, 2026-01-10T12:00:00Z 2026-01-10T15:00:00Z, 2026-01-11T12:00:00Z 2026-01-11T14:00:00Z
        FIRST | RDATE:20260106T090000Z,20260199T090000Z => 5th, 6th ! a further date of it cannot be read
        FIRST | RRULE:FREQ=DAILY;COUNT=2 | EXDATE:20260199T090000Z => 5th, 6th ! an exception of it cannot be read
        # What changes an occurrence without a time of its own stands at the occurrence's.
        DAILY | UID:a | RECURRENCE-ID:20260106T090000Z | DURATION:PT1H => 5th, 6th ! no start that can be read
        DAILY | UID:a | RECURRENCE-ID;RANGE=THISANDFUTURE:20260106T090000Z | DTSTART:20260106T090000Z | DURATION:PT1H => \
            5th, 6th ! all later ones
        # A change of another series removes nothing of this one.
        DAILY | UID:b | RECURRENCE-ID:20260106T090000Z | DTSTART:20260107T090000Z => \
            5th, 6th, 2026-01-07T09:00:00Z 2026-01-07T09:00:00Z
        # A second calendar in the object.
        FIRST | END:VEVENT | END:VCALENDAR | BEGIN:VCALENDAR | BEGIN:VEVENT | DTSTART:20260106T090000Z | DURATION:PT1H => 5th, 6th";
    let table = table
        .replace(
            "DAILY |",
            "FIRST | RRULE:FREQ=DAILY;COUNT=2 | END:VEVENT | BEGIN:VEVENT |",
        )
        .replace("FIRST", "DTSTART:20260105T090000Z | DTEND:20260105T100000Z")
        .replace("5th", "2026-01-05T09:00:00Z 2026-01-05T10:00:00Z")
        .replace("6th", "2026-01-06T09:00:00Z 2026-01-06T10:00:00Z");
    expect(&table, str::to_owned).await;
}

const DEFINED: &str = "BEGIN:VTIMEZONE\nTZID:NAME\nBEGIN:STANDARD\nDTSTART:16010101T030000\nRRULE:FREQ=YEARLY;BYMONTH=10;BYDAY=-1SU\n\
    TZOFFSETFROM:+0230\nTZOFFSETTO:+0130\nEND:STANDARD\nBEGIN:DAYLIGHT\nDTSTART:16010101T020000\nRRULE:FREQ=YEARLY;BYMONTH=3;BYDAY=-1SU\n\
    TZOFFSETFROM:+0130\nTZOFFSETTO:+0230\nEND:DAYLIGHT\nEND:VTIMEZONE\n";

#[tokio::test]
async fn own_definition_of_a_zone_counts() {
    // No zone of the world has this offset, and a summer of its own.
    for name in [
        "Customized Time Zone",
        "Büro Nord",
        "(GMT+01.30) Nowhere/Town",
    ] {
        let event = format!(
            "DTSTART;TZID=\"{name}\":20261024T090000\nDURATION:PT1H\nRRULE:FREQ=DAILY;COUNT=2"
        );
        let defined = DEFINED.replace("NAME", name);
        let (times, warnings) = listed(&whole("VEVENT", &defined, &event)).await;
        assert_eq!(
            times,
            [
                "2026-10-24T09:00:00+02:30 2026-10-24T10:00:00+02:30",
                "2026-10-25T09:00:00+01:30 2026-10-25T10:00:00+01:30"
            ],
            "{name}"
        );
        assert_eq!(warnings, "null", "{name}");
    }
    // One that cannot be worked out, and none at all.
    let hostile = DEFINED.replace("NAME", "X").replace("YEARLY", "SECONDLY");
    let bare = "BEGIN:VTIMEZONE\nTZID:X\nEND:VTIMEZONE\n";
    let event = "DTSTART;TZID=X:20261024T090000";
    for before in [hostile.as_str(), bare, ""] {
        let (times, warnings) = listed(&whole("VEVENT", before, event)).await;
        assert_eq!(times, ["2026-10-24T09:00:00 2026-10-24T09:00:00"]);
        assert!(warnings.contains(ZONE), "{warnings}");
    }
}

#[tokio::test]
async fn name_with_an_offset_keeps_daylight_saving_or_warns() {
    for (name, summer, warning) in [
        ("(GMT+01.00) Sarajevo/Warsaw/Zagreb", "+02:00", ""),
        ("(UTC+01:00) Sarajevo, Skopje, Warsaw, Zagreb", "+02:00", ""),
        ("(GMT-05.00) Eastern Time (US & Canada)", "-04:00", ""),
        (
            "(UTC+05:30) Chennai, Kolkata, Mumbai, New Delhi",
            "+05:30",
            "",
        ),
        ("(GMT+10.00) Nowhere/Hobart", "+10:00", ""),
        ("(GMT+05.30) Somewhere", "+05:30", OFFSET),
        ("(GMT+02.00) Somewhere/New York", "+02:00", OFFSET),
        ("(GMT) Somewhere", "Z", OFFSET),
        ("(GMT+99.00) Somewhere", "", ZONE),
    ] {
        let event = format!("DTSTART;TZID=\"{name}\":20260705T090000");
        let (times, warnings) = listed(&whole("VEVENT", "", &event)).await;
        let time = format!("2026-07-05T09:00:00{summer}");
        assert_eq!(times, [format!("{time} {time}")], "{name}");
        assert_eq!(warnings == "null", warning.is_empty(), "{name}: {warnings}");
        assert!(warnings.contains(warning), "{name}: {warnings}");
    }
}

#[tokio::test]
async fn object_that_holds_no_calendar_is_named() {
    let one = whole("VEVENT", "", "DTSTART:20260105T090000Z");
    for (text, is_one) in [
        ("", false),
        ("no calendar", false),
        ("BEGIN:VCALENDAR\nEND:VCALENDAR\ntrailing text", false),
        (&format!("\u{feff}{one}"), true),
    ] {
        let (times, warnings) = listed(text).await;
        assert_eq!(times.len(), usize::from(is_one), "{text}");
        assert_eq!(warnings == "null", is_one, "{text}: {warnings}");
    }
}

#[tokio::test]
async fn things_of_one_moment_are_each_on_a_page() {
    for (kind, capability, list, input) in [
        (
            "VEVENT",
            "events.list",
            "events",
            json!({"limit": 2, "start": "2026-01-01"}),
        ),
        ("VTODO", "todos.list", "todos", json!({"limit": 2})),
    ] {
        let one = |at: usize| {
            format!(
                "BEGIN:{kind}\nUID:a\nRECURRENCE-ID:2026010{at}T090000Z\nDTSTART:20260105T090000Z\nDUE:20260105T100000Z\nSUMMARY:{at}\nEND:{kind}\n"
            )
        };
        let all: String = (1..=5).map(one).collect();
        let all = format!("BEGIN:VCALENDAR\n{all}END:VCALENDAR\n");
        let report = multistatus(&object("a.ics", &all));
        let port = serve(move |method, _| (method == "REPORT").then(|| report.clone()));
        let mut worker = reader(port).await;
        let pages = worker.pages(capability, input).await;
        let titles: Vec<_> = pages
            .iter()
            .flat_map(|page| texts(&page[list], "title"))
            .collect();
        assert_eq!(titles, ["1", "2", "3", "4", "5"], "{kind}");
        assert_eq!(pages.len(), 3, "{kind}");
        let refused = worker
            .refused(capability, json!({"next": "nonsense"}))
            .await;
        assert_eq!(refused, "invalid_input");
        worker.stop().await;
    }
}

#[tokio::test]
async fn odd_todos_are_shown_or_named() {
    let unread = "a date of it cannot be read";
    for (lines, due, warning) in [
        ("DUE;VALUE=DATE:20260110", json!("2026-01-10"), ""),
        (
            "DTSTART:20260105T090000Z\nDURATION:P2D",
            json!("2026-01-07T09:00:00Z"),
            "",
        ),
        ("DUE:20260105T240000Z", json!("2026-01-06T00:00:00Z"), ""),
        ("SUMMARY:none", Value::Null, ""),
        ("DUE:tomorrow", Value::Null, unread),
        ("COMPLETED:yesterday", Value::Null, unread),
        ("DTSTART:some day", Value::Null, unread),
        (
            "DUE;TZID=Nowhere:20260110T090000",
            json!("2026-01-10T09:00:00"),
            ZONE,
        ),
    ] {
        let answer = asked("todos.list", json!({}), &whole("VTODO", "", lines)).await;
        let [todo] = &answer["todos"].as_array().unwrap()[..] else {
            panic!("{lines}: {answer}");
        };
        assert_eq!(todo["due"], due, "{lines}");
        let warnings = answer["warnings"].to_string();
        assert_eq!(
            warnings == "null",
            warning.is_empty(),
            "{lines}: {warnings}"
        );
        assert!(warnings.contains(warning), "{lines}: {warnings}");
    }
    // Two in one object are two.
    let two = "SUMMARY:one\nEND:VTODO\nBEGIN:VTODO\nUID:b\nSUMMARY:two";
    let answer = asked("todos.list", json!({}), &whole("VTODO", "", two)).await;
    assert_eq!(answer["todos"].as_array().unwrap().len(), 2, "{answer}");
}
