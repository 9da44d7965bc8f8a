//! Talking on a full screen: `plexusctl channels chat`, in a real pseudo-terminal, over the real relay.

use crate::channels::{FORGED, Way, World};
use plexus_tests::Terminal;
use plexus_tests::texts::assert_contains;
use plexus_tests::waiting::until_true;
use std::sync::atomic::Ordering;

pub(crate) const ENTER: &str = "\r";
pub(crate) const TAB: &str = "\t";
const PAGE_UP: &str = "\x1b[5~";
const END: &str = "\x1b[F";
const CONTROL_C: &str = "\x03";
const CONTROL_R: &str = "\x12";

/// The chat, once it shows a channel.
pub(crate) fn chat(world: &World, channel: &str, columns: u16, rows: u16) -> Terminal {
    let line = ["channels", "chat", channel];
    let terminal = Terminal::start(&world.gateway.on_terminal(line), columns, rows);
    terminal.until_shows(&format!("members · \"{channel}\""));
    terminal
}

pub(crate) fn ends_well(mut terminal: Terminal) {
    terminal.keys(CONTROL_C);
    assert!(terminal.end().success(), "{}", terminal.picture());
    is_given_back(&terminal);
}

fn is_given_back(terminal: &Terminal) {
    assert!(!terminal.has_other_screen() && !terminal.hides_cursor() && terminal.is_cooked());
}

#[test]
fn person_talks_reads_back_and_finds_what_is_new() {
    let world = World::joined();
    let sums = world.channel("sums");
    let plans = world.channel("plans");
    for n in 1..=120 {
        world.office.says(plans, &format!("plan {n}"));
    }
    world.office.says(sums, FORGED);
    let mut terminal = chat(&world, "sums", 100, 24);
    // What is unread is counted up to a bound; what others write is text.
    let picture = terminal.until_fits("the message and the count", |picture| {
        picture.contains("    the launch is on Friday") && picture.contains("99+ \"plans\"")
    });
    assert_contains(&picture, "▸    \"sums\"");
    assert_contains(&picture, "from \"Pat\"");
    let key = &world.fingerprint_of_pat()[..9];
    assert!(picture.contains(key), "{picture}");
    let forged = |row: &str| row.contains("2026-11-23 05:31:39  you");
    let row = picture
        .lines()
        .find(|row| forged(row))
        .expect("the forged line");
    assert!(row.contains("│     2026-11-23"), "{picture}");
    assert!(picture.contains("\\u{1b}[2J\\u{202e}"), "{picture}");
    assert!(terminal.has_other_screen() && !terminal.is_cooked());
    // It counts as sent when the relay has it.
    terminal.keys("It is 4.");
    terminal.keys(ENTER);
    terminal.until_shows("sent  you");
    assert_eq!(world.heard(sums), ["It is 4."]);
    // A paste is text, with its lines.
    terminal.keys("\x1b[200~first\nsecond\x1b[201~");
    terminal.until_shows("  second");
    assert_eq!(world.heard(sums).len(), 1, "nothing is sent before Enter");
    terminal.keys(ENTER);
    until_true("the second message", || {
        world.heard(sums) == ["It is 4.", "first\nsecond"]
    });
    // What comes, comes by itself.
    world.office.says(sums, "Thank you.");
    terminal.until_shows("Thank you.");
    // The other channel: its newest messages, and further up the older ones, a page at a time.
    terminal.keys(TAB);
    let newest = terminal.until_shows("plan 120");
    assert!(newest.contains("members · \"plans\""), "{newest}");
    until_true("the first plan", || {
        terminal.keys(PAGE_UP);
        let picture = terminal.picture();
        let is_first = |row: &str| row.trim_end().ends_with("    plan 1");
        picture.contains("the beginning") && picture.lines().any(is_first)
    });
    terminal.until_shows("MORE BELOW");
    terminal.keys(END);
    terminal.until_fits("the newest plan", |picture| {
        picture.contains("plan 120") && !picture.contains("99+")
    });
    // Another size, and one without room for two panes. The key may come together with the new size: neither is lost.
    terminal.resize(40, 20);
    terminal.until_fits("one pane", |picture| {
        picture.contains("plan 120") && !picture.contains("sums")
    });
    terminal.keys("\x0c");
    terminal.until_fits("the list", |picture| {
        picture.contains("sums") && !picture.contains("plan 120")
    });
    terminal.resize(9, 4);
    terminal.resize(100, 24);
    terminal.until_fits("both", |picture| {
        picture.contains("sums") && picture.contains("plan 120")
    });
    ends_well(terminal);
    // What was on the screen is read in the next chat too; what came since is not.
    world.office.says(plans, "plan 121");
    let terminal = chat(&world, "sums", 100, 24);
    terminal.until_shows("  1 \"plans\"");
    ends_well(terminal);
}

#[test]
fn relay_that_goes_and_comes_is_shown_and_doubles_nothing() {
    let mut world = World::joined();
    let sums = world.channel("sums");
    world.office.says(sums, "hello");
    let mut terminal = chat(&world, "sums", 120, 24);
    terminal.until_shows("    hello");
    world.office.end_relay();
    terminal.until_shows("AWAY, trying again: channels");
    terminal.keys("Anybody?\r");
    terminal.until_shows("NOT SENT  you");
    world.office.start_relay();
    terminal.until_fits("the relay again", |picture| !picture.contains("AWAY"));
    assert!(world.heard(sums).is_empty());
    // The person sends it again, once.
    terminal.keys(CONTROL_R);
    terminal.until_fits("the message", |picture| {
        picture.contains("sent  you") && !picture.contains("NOT SENT")
    });
    assert_eq!(world.heard(sums), ["Anybody?"]);
    // The gateway itself goes and comes.
    world.gateway.stop();
    terminal.until_shows("NOT CONNECTED, trying again");
    world.gateway.start_again();
    terminal.until_fits("the gateway again", |picture| {
        !picture.contains("NOT CONNECTED")
    });
    world.office.says(sums, "welcome back");
    terminal.until_shows("welcome back");
    // Who leaves with a text that was not sent is told so, on the screen that stays.
    world.office.end_relay();
    terminal.until_shows("AWAY, trying again");
    terminal.keys("Too late\r");
    terminal.until_shows("NOT SENT  you");
    terminal.keys(CONTROL_C);
    assert!(!terminal.end().success());
    is_given_back(&terminal);
    let said = terminal.picture();
    assert_contains(&said, "Too late");
    assert_contains(&said, "it was not sent");
}

#[test]
fn lost_answer_is_in_doubt_until_the_message_is_seen() {
    let world = World::open();
    let way = Way::to(&world.office.address);
    world.join(&way.address).expect_ok();
    let sums = world.channel("sums");
    let mut terminal = chat(&world, "sums", 120, 24);
    way.loses_answers.store(true, Ordering::SeqCst);
    terminal.keys("Once.\r");
    // The relay has it, and here nobody knows; then it is in the history, once.
    terminal.until_fits("doubt, or the message itself", |picture| {
        picture.contains("NOT KNOWN TO BE SENT  you") || picture.contains("  sent  you")
    });
    way.loses_answers.store(false, Ordering::SeqCst);
    terminal.until_fits("the message, once", |picture| {
        picture.contains("  sent  you") && picture.matches("    Once.").count() == 1
    });
    assert!(!terminal.picture().contains("NOT KNOWN"));
    assert_eq!(world.heard(sums), ["Once."]);
    ends_well(terminal);
}

#[test]
fn chat_needs_a_person_at_a_terminal() {
    let world = World::joined();
    world.channel("sums");
    let piped = world.channels(["chat"]);
    piped.expect_status(64);
    let unsworn = plexus_tests::programs::run(world.gateway.on_terminal(["channels", "chat"]));
    unsworn.expect_status(77);
    // A text goes to no other channel than the one that was named.
    world.channel("twice");
    world.channel("twice");
    for (more, why) in [
        (&["nosuch"][..], "there is no channel nosuch"),
        (&["twice"][..], "more than one channel is twice"),
        (&["--source", "nosuch"][..], "no source nosuch has channels"),
    ] {
        let line = ["channels", "chat"].into_iter().chain(more.iter().copied());
        let mut terminal = Terminal::start(&world.gateway.on_terminal(line), 100, 24);
        assert_eq!(terminal.end().code(), Some(1), "{}", terminal.picture());
        assert_contains(&terminal.picture(), why);
        is_given_back(&terminal);
    }
    // The draft stays on the screen.
    let mut terminal = chat(&world, "sums", 80, 24);
    terminal.keys("half a word");
    terminal.until_shows("> half a word");
    terminal.keys(CONTROL_C);
    assert!(terminal.end().success(), "{}", terminal.picture());
    let said = terminal.picture();
    assert_contains(&said, "what you were writing to \"sums\" was not sent:");
    assert_contains(&said, "    half a word");
}
