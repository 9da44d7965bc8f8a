//! The sentences that macOS shows when it asks for consent: without one it refuses and does not ask. It holds the program
//! that started a worker responsible, or the worker, so both have the same.

use std::collections::BTreeMap;

const PLEXUSD: &str = include_str!("../../../gateway/plexusd/Info.plist");
const CALENDAR: &str = include_str!("../../apple-calendar/Info.plist");
const REMINDERS: &str = include_str!("../../apple-reminders/Info.plist");

/// The sentences by the consent that they are for.
fn sentences(plist: &str) -> BTreeMap<&str, &str> {
    let keys = plist.split("<key>").skip(1);
    let usage = keys.filter_map(|rest| {
        let (key, rest) = rest.split_once("</key>")?;
        let (_, rest) = rest.split_once("<string>")?;
        let (sentence, _) = rest.split_once("</string>")?;
        Some((key.strip_suffix("UsageDescription")?, sentence))
    });
    usage.collect()
}

#[test]
fn programs_have_a_sentence_for_each_consent() {
    let (gateway, calendar, reminders) = (
        sentences(PLEXUSD),
        sentences(CALENDAR),
        sentences(REMINDERS),
    );
    let keys = |of: &BTreeMap<&'static str, &'static str>| of.keys().copied().collect::<Vec<_>>();
    // The first of each is for systems before macOS 14.
    assert_eq!(keys(&calendar), ["NSCalendars", "NSCalendarsFullAccess"]);
    assert_eq!(keys(&reminders), ["NSReminders", "NSRemindersFullAccess"]);
    // Things is asked by Apple events.
    assert_eq!(
        keys(&gateway),
        [
            "NSAppleEvents",
            "NSCalendars",
            "NSCalendarsFullAccess",
            "NSReminders",
            "NSRemindersFullAccess"
        ]
    );
    for (key, sentence) in calendar.iter().chain(&reminders) {
        assert_eq!(gateway[key], *sentence, "{key}");
    }
    for (key, sentence) in &gateway {
        assert!(
            sentence.starts_with("Plexus ") && sentence.ends_with('.'),
            "{key}: {sentence}"
        );
    }
}
