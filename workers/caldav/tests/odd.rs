//! Objects as programs really write them, right and wrong: each is listed as the standard or common practice says, and what
//! is not listed, or not as it is, is named in a warning.

use crate::hostile::{multistatus, object, reader, serve};
use plexus_conformance::served::{output, refusal};
use serde_json::{Value, json};

const RULE: &str = "its rule cannot be read";
const START: &str = "no start that can be read";
const END: &str = "its end cannot be read";
const NUMBER: &str = "COUNT or INTERVAL below 1";
const ZONE: &str = "time zone is not known";
const OFFSET: &str = "by an offset alone";
const EXCEPTION: &str = "an exception of it cannot be read";

/// What lies in one object, as a server sends it.
fn whole(kind: &str, before: &str, lines: &str) -> String {
    format!("BEGIN:VCALENDAR\n{before}BEGIN:{kind}\nUID:a\n{lines}\nEND:{kind}\nEND:VCALENDAR\n")
}

async fn asked(capability: &str, input: Value, text: &str) -> Value {
    let text = text.replace('&', "&amp;");
    let report = multistatus(&object("a.ics", &text));
    let port = serve(move |method, _| (method == "REPORT").then(|| report.clone()));
    let mut worker = reader(port).await;
    let answer = output(&worker.read(capability, input).await);
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

async fn expect(cases: &[(&str, &[&str], &str)]) {
    let mut wrong = Vec::new();
    for (lines, times, warning) in cases {
        let (found, warnings) = listed(&whole("VEVENT", "", lines)).await;
        let is_warned = match warning.is_empty() {
            true => warnings == "null",
            false => warnings.contains(warning) && warnings.contains("cal/a.ics"),
        };
        if found != *times || !is_warned {
            wrong.push(format!("{lines}\n   {found:?}\n   {warnings}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test]
async fn odd_times_are_shown_or_named() {
    expect(&[
        // The control.
        (
            "DTSTART:20260105T090000Z\nDTEND:20260105T100000Z",
            &["2026-01-05T09:00:00Z 2026-01-05T10:00:00Z"],
            "",
        ),
        (
            "DTSTART:20260105T235960Z",
            &["2026-01-05T23:59:59Z 2026-01-05T23:59:59Z"],
            "",
        ),
        (
            "DTSTART:20260105T240000Z\nDTEND:20260106T010000Z",
            &["2026-01-06T00:00:00Z 2026-01-06T01:00:00Z"],
            "",
        ),
        ("SUMMARY:nothing else", &[], START),
        ("DTSTART:", &[], START),
        ("DTSTART:20260230T090000Z", &[], START),
        ("DTSTART:20260105T250000Z", &[], START),
        ("DTSTART:2026-01-05T09:00:00Z", &[], START),
        (
            "DTSTART:20260105T090000Z\nDTEND:20260199T100000Z",
            &["2026-01-05T09:00:00Z 2026-01-05T09:00:00Z"],
            END,
        ),
        (
            "DTSTART:20260105T090000Z\nDTEND:20260105T080000Z",
            &["2026-01-05T09:00:00Z 2026-01-05T09:00:00Z"],
            END,
        ),
        (
            "DTSTART:20260105T090000Z\nDURATION:-PT1H",
            &["2026-01-05T09:00:00Z 2026-01-05T09:00:00Z"],
            END,
        ),
        (
            "DTSTART:20260105T090000Z\nDURATION:an hour",
            &["2026-01-05T09:00:00Z 2026-01-05T09:00:00Z"],
            END,
        ),
        (
            "DTSTART:20260105T090000Z\nDTSTART:20260106T090000Z",
            &["2026-01-06T09:00:00Z 2026-01-06T09:00:00Z"],
            "says something twice",
        ),
        // An end of a day is the day after its last, whatever the object says.
        (
            "DTSTART;VALUE=DATE:20260105\nDTEND;VALUE=DATE:20260105",
            &["2026-01-05 2026-01-06"],
            "",
        ),
        (
            "DTSTART;VALUE=DATE:20260105\nDURATION:PT0S",
            &["2026-01-05 2026-01-06"],
            "",
        ),
        (
            "DTSTART;VALUE=DATE:20260105\nDTEND:20260106T120000",
            &["2026-01-05 2026-01-07"],
            "",
        ),
        // An end without a zone is on the clock of the start.
        (
            "DTSTART;TZID=Europe/Berlin:20260105T090000\nDTEND:20260105T100000",
            &["2026-01-05T09:00:00+01:00 2026-01-05T10:00:00+01:00"],
            "",
        ),
    ])
    .await;
}

#[tokio::test]
async fn time_that_the_clock_shows_twice_keeps_its_length() {
    let berlin = |start: &str, rest: &str| format!("DTSTART;TZID=Europe/Berlin:{start}\n{rest}");
    expect(&[
        (
            &berlin("20261025T023000", "DURATION:PT1H"),
            &["2026-10-25T02:30:00+02:00 2026-10-25T02:30:00+01:00"],
            "",
        ),
        (
            &berlin("20261025T013000", "DURATION:PT2H"),
            &["2026-10-25T01:30:00+02:00 2026-10-25T02:30:00+01:00"],
            "",
        ),
        (
            &berlin("20261025T023000", "DURATION:PT2H"),
            &["2026-10-25T02:30:00+02:00 2026-10-25T03:30:00+01:00"],
            "",
        ),
        (
            &berlin("20260328T120000", "DURATION:P1D"),
            &["2026-03-28T12:00:00+01:00 2026-03-29T12:00:00+02:00"],
            "",
        ),
        (
            &berlin("20260328T120000", "DURATION:PT24H"),
            &["2026-03-28T12:00:00+01:00 2026-03-29T13:00:00+02:00"],
            "",
        ),
        // 02:30 on the clock comes before the end of the rule, which is in the hour that comes again.
        (
            &berlin(
                "20261024T023000",
                "DURATION:PT1H\nRRULE:FREQ=DAILY;UNTIL=20261025T010000Z",
            ),
            &[
                "2026-10-24T02:30:00+02:00 2026-10-24T03:30:00+02:00",
                "2026-10-25T02:30:00+02:00 2026-10-25T02:30:00+01:00",
            ],
            "",
        ),
    ])
    .await;
}

#[tokio::test]
async fn odd_rules_are_worked_out_or_named() {
    let day = |days: &[u32]| -> Vec<String> {
        let one = |day| format!("2026-01-{day:02} 2026-01-{:02}", day + 1);
        days.iter().map(one).collect()
    };
    let start = "DTSTART;VALUE=DATE:20260105";
    let cases: [(&str, &[u32], &str); 15] = [
        // A Monday, and a rule of its own for Thursdays.
        (
            "RRULE:FREQ=WEEKLY;BYDAY=MO;COUNT=2\nRRULE:FREQ=WEEKLY;BYDAY=TH;COUNT=2",
            &[5, 8, 12, 15],
            "",
        ),
        // The start is off the rule.
        ("RRULE:FREQ=WEEKLY;BYDAY=WE;COUNT=2", &[5, 7, 14], ""),
        (
            "RRULE:FREQ=WEEKLY;UNTIL=20260120;COUNT=-1",
            &[5, 12, 19],
            NUMBER,
        ),
        ("RRULE:FREQ=WEEKLY;INTERVAL=0;COUNT=2", &[5, 12], NUMBER),
        ("RRULE:FREQ=WEEKLY;INTERVAL=-2;COUNT=2", &[5, 12], NUMBER),
        ("RRULE:FREQ=NEVER", &[5], RULE),
        ("RRULE:", &[5], RULE),
        ("RRULE:FREQ=MONTHLY;BYMONTHDAY=300", &[5], RULE),
        ("RRULE:FREQ=DAILY;BYHOUR=-1", &[5], RULE),
        ("RRULE:FREQ=DAILY;COUNT=2;X-EVERY=SUN", &[5], RULE),
        ("RRULE:FREQ=DAILY;UNTIL=soon", &[5], RULE),
        ("RRULE:FREQ=DAILY;UNTIL=20250101", &[5], ""),
        (
            "RRULE:RSCALE=GREGORIAN;FREQ=DAILY;COUNT=2;SKIP=OMIT",
            &[5, 6],
            "",
        ),
        ("rrule:freq=daily;\n count=2", &[5, 6], ""),
        (
            "RRULE:FREQ=DAILY;COUNT=3\nEXRULE:FREQ=DAILY;INTERVAL=2",
            &[5, 6, 7],
            EXCEPTION,
        ),
    ];
    let mut wrong = Vec::new();
    for (rules, days, warning) in cases {
        let (found, warnings) = listed(&whole("VEVENT", "", &format!("{start}\n{rules}"))).await;
        let is_warned = match warning.is_empty() {
            true => warnings == "null",
            false => warnings.contains(warning),
        };
        if found != day(days) || !is_warned {
            wrong.push(format!("{rules}: {found:?} {warnings}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test]
async fn odd_dates_of_a_series_are_shown_or_named() {
    let start = "DTSTART:20260105T090000Z\nDTEND:20260105T100000Z";
    let first = "2026-01-05T09:00:00Z 2026-01-05T10:00:00Z";
    let second = "2026-01-06T09:00:00Z 2026-01-06T10:00:00Z";
    let next = |lines: &str| format!("{start}\n{lines}");
    let change = |lines: &str| {
        format!("{start}\nRRULE:FREQ=DAILY;COUNT=2\nEND:VEVENT\nBEGIN:VEVENT\n{lines}")
    };
    expect(&[
        (
            &next("RDATE;VALUE=PERIOD:20260110T120000Z/20260110T150000Z,20260111T120000Z/PT2H"),
            &[
                first,
                "2026-01-10T12:00:00Z 2026-01-10T15:00:00Z",
                "2026-01-11T12:00:00Z 2026-01-11T14:00:00Z",
            ],
            "",
        ),
        (
            &next("RDATE:20260106T090000Z,20260199T090000Z"),
            &[first, second],
            "a further date of it cannot be read",
        ),
        (
            &next("RRULE:FREQ=DAILY;COUNT=2\nEXDATE:20260199T090000Z"),
            &[first, second],
            EXCEPTION,
        ),
        // What changes an occurrence without a time of its own stands at the occurrence's.
        (
            &change("UID:a\nRECURRENCE-ID:20260106T090000Z\nDURATION:PT1H"),
            &[first, second],
            START,
        ),
        (
            &change("UID:a\nRECURRENCE-ID;RANGE=THISANDFUTURE:20260106T090000Z\nDTSTART:20260106T090000Z\nDURATION:PT1H"),
            &[first, second],
            "all later ones",
        ),
        // A change of another series removes nothing of this one.
        (
            &change("UID:b\nRECURRENCE-ID:20260106T090000Z\nDTSTART:20260107T090000Z"),
            &[first, second, "2026-01-07T09:00:00Z 2026-01-07T09:00:00Z"],
            "",
        ),
        // A second calendar in the object.
        (
            &format!("{start}\nEND:VEVENT\nEND:VCALENDAR\nBEGIN:VCALENDAR\nBEGIN:VEVENT\nDTSTART:20260106T090000Z\nDURATION:PT1H"),
            &[first, second],
            "",
        ),
    ])
    .await;
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
        let (times, warnings) =
            listed(&whole("VEVENT", &DEFINED.replace("NAME", name), &event)).await;
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
    for before in [hostile.as_str(), bare, ""] {
        let (times, warnings) =
            listed(&whole("VEVENT", before, "DTSTART;TZID=X:20261024T090000")).await;
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
    for (text, is_one) in [
        ("", false),
        ("no calendar", false),
        ("BEGIN:VCALENDAR\nEND:VCALENDAR\ntrailing text", false),
        (
            "\u{feff}BEGIN:VCALENDAR\nBEGIN:VEVENT\nDTSTART:20260105T090000Z\nEND:VEVENT\nEND:VCALENDAR\n",
            true,
        ),
    ] {
        let (times, warnings) = listed(text).await;
        assert_eq!(times.len(), usize::from(is_one), "{text}");
        assert_eq!(warnings == "null", is_one, "{text}: {warnings}");
    }
}

#[tokio::test]
async fn things_of_one_moment_are_each_on_a_page() {
    for (kind, capability, list) in [
        ("VEVENT", "events.list", "events"),
        ("VTODO", "todos.list", "todos"),
    ] {
        let one = |at: usize| {
            format!(
                "BEGIN:{kind}\nUID:a\nRECURRENCE-ID:2026010{at}T090000Z\nDTSTART:20260105T090000Z\nDUE:20260105T100000Z\nSUMMARY:{at}\nEND:{kind}\n"
            )
        };
        let all: String = (1..=5).map(one).collect();
        let report = multistatus(&object(
            "a.ics",
            &format!("BEGIN:VCALENDAR\n{all}END:VCALENDAR\n"),
        ));
        let port = serve(move |method, _| (method == "REPORT").then(|| report.clone()));
        let mut worker = reader(port).await;
        let (mut titles, mut next) = (Vec::new(), Value::Null);
        loop {
            let mut input = json!({"limit": 2});
            if capability == "events.list" {
                input["start"] = json!("2026-01-01");
            }
            if !next.is_null() {
                input["next"] = next;
            }
            let page = output(&worker.read(capability, input).await);
            for thing in page[list].as_array().unwrap() {
                titles.push(thing["title"].as_str().unwrap().to_owned());
            }
            next = page["next"].clone();
            if next.is_null() {
                break;
            }
        }
        assert_eq!(titles, ["1", "2", "3", "4", "5"], "{kind}");
        let input = json!({"next": "nonsense"});
        let refused = worker.read(capability, input).await;
        assert_eq!(refusal(&refused.0), "invalid_input");
        worker.stop().await;
    }
}

#[tokio::test]
async fn odd_todos_are_shown_or_named() {
    for (lines, due, warning) in [
        ("DUE;VALUE=DATE:20260110", json!("2026-01-10"), ""),
        (
            "DTSTART:20260105T090000Z\nDURATION:P2D",
            json!("2026-01-07T09:00:00Z"),
            "",
        ),
        ("DUE:20260105T240000Z", json!("2026-01-06T00:00:00Z"), ""),
        ("SUMMARY:none", Value::Null, ""),
        ("DUE:tomorrow", Value::Null, "a date of it cannot be read"),
        (
            "COMPLETED:yesterday",
            Value::Null,
            "a date of it cannot be read",
        ),
        (
            "DTSTART:some day",
            Value::Null,
            "a date of it cannot be read",
        ),
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
