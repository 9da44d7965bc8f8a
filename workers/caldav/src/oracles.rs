//! Any bytes as what a server answers: its XML, and the objects of its calendars.

use crate::{
    dav,
    ical::{self, completed, items, todos},
    zone::Definitions,
};
use plexus_mutation::{Accepted, hold};

fn corpus(name: &str) -> String {
    format!("{}/tests/corpus/{name}", env!("CARGO_MANIFEST_DIR"))
}

/// An answer names an address for each of its parts, and is no more than it was.
fn answer(bytes: &[u8]) -> Accepted {
    let Ok(found) = dav::resources(bytes) else {
        return false;
    };
    for resource in &found {
        assert!(resource.href.len() <= bytes.len());
        let _ = dav::components(resource);
        let _ = dav::writable(resource);
        for property in &resource.properties {
            assert!(!property.name().is_empty());
            assert!(property.text.len() <= bytes.len());
        }
    }
    true
}

/// An object has events and to-dos, or it is none; a to-do that is completed is one, and completed again it stays so.
fn object(bytes: &[u8]) -> Accepted {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return false;
    };
    let now = "2026-11-22T12:00:00Z".parse().expect("a time");
    let events = items(text, false, &mut Definitions::default());
    for event in events.iter().flatten() {
        if let Some(start) = &event.start {
            let _ = event.end_from(start);
        }
        let _ = format!("{event:?}");
    }
    let before = todos(text);
    if let (Ok(before), Some(after)) = (&before, completed(text, now)) {
        assert!(after.len() <= text.len() + 1024, "four lines are added");
        let again = completed(&after, now).expect("it has its to-do still");
        assert_eq!(again, after, "it is completed already");
        if let (Ok(after), true) = (todos(&after), before.len() == 1) {
            assert!(after.iter().all(ical::Item::is_done), "{text}");
        }
    }
    events.is_ok() && before.is_ok()
}

#[test]
fn an_answer_is_a_tree_or_none() {
    let words: &[&[u8]] = &[
        b"<D:response>",
        b"</D:response>",
        b"<D:href>/a/</D:href>",
        b"<D:propstat><D:prop>",
        b" xmlns:D=\"DAV:\"",
        b" xmlns=\"urn:ietf:params:xml:ns:caldav\"",
        b"<![CDATA[",
        b"]]>",
        b"&#x0;",
        b"&amp;",
        b"<!--",
        b"<?xml encoding=\"utf-16\"?>",
    ];
    hold(corpus("answers"), words, answer);
}

#[test]
fn an_object_is_read_or_none() {
    let words: &[&[u8]] = &[
        b"\r\n ",
        b"\r\nBEGIN:VEVENT\r\n",
        b"\r\nEND:VEVENT\r\n",
        b"\r\nBEGIN:VTODO\r\n",
        b"\r\nEND:VTODO\r\n",
        b"\r\nBEGIN:VTIMEZONE\r\n",
        b"\r\nRRULE:FREQ=SECONDLY;COUNT=99999\r\n",
        b"\r\nRDATE;VALUE=PERIOD:20260101T000000Z/PT1H\r\n",
        b"\r\nEXDATE;TZID=Europe/Berlin:20260329T023000\r\n",
        b"\r\nRECURRENCE-ID;RANGE=THISANDFUTURE:20260101T000000Z\r\n",
        b"\r\nDURATION:-PT1H\r\n",
        b"\r\nSTATUS:COMPLETED\r\n",
        b"T235960Z",
        b"00010101T000000",
        b"99991231T235959Z",
        b";TZID=\"",
        b"\xef\xbb\xbf",
    ];
    hold(corpus("objects"), words, object);
}
