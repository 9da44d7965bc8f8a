//! Deciding on a terminal: `plexusctl approvals watch`, in a real pseudo-terminal, by keyboard.

use crate::house::{House, WRITE, note};
use nix::sys::signal::Signal;
use plexus_tests::texts::{assert_contains, assert_lacks};
use plexus_tests::{Agent, Terminal, waiting::until_true};
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::fs::Permissions;
use std::io::{Read as _, Write as _};
use std::net::Shutdown;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

const UP: &str = "\x1b[A";
const DOWN: &str = "\x1b[B";
const TAB: &str = "\t";
const ENTER: &str = "\r";
pub(crate) const ESCAPE: &str = "\x1b";

/// The watch, once it shows what waits.
pub(crate) fn watch(house: &House, columns: u16, rows: u16) -> Terminal {
    let terminal = Terminal::start(
        &house.gateway.on_terminal(["approvals", "watch"]),
        columns,
        rows,
    );
    terminal.until_fits("the list", |picture| {
        picture.contains("nothing waits") || picture.contains("wait")
    });
    terminal
}

/// Types keys until the screen answers them: what is typed before a card can be read is told to be typed again.
pub(crate) fn answer(terminal: &mut Terminal, keys: &str, shows: &str) {
    terminal.keys(keys);
    let picture = terminal.until_fits(shows, |picture| {
        picture.contains(shows) || picture.contains("press it again")
    });
    if !picture.contains(shows) {
        // Enter means nothing where there is no panel, so pressing it once too often is no harm.
        until_true("an answer that is heard", || {
            terminal.keys(ENTER);
            terminal.picture().contains(shows)
        });
    }
}

pub(crate) fn ends_well(mut terminal: Terminal) {
    assert!(terminal.end().success(), "{}", terminal.picture());
    assert!(is_given_back(&terminal));
}

fn quits(mut terminal: Terminal) {
    terminal.keys("q");
    ends_well(terminal);
}

/// Opens the answers of the card, of which once is chosen.
fn opens_answers(terminal: &mut Terminal) {
    terminal.keys("a");
    terminal.until_shows("(•) once");
}

fn is_given_back(terminal: &Terminal) -> bool {
    !terminal.has_other_screen() && !terminal.hides_cursor() && terminal.is_cooked()
}

fn asks(agent: &Agent, name: &str, content: &str) -> String {
    agent.must_ask(WRITE, note(name, content))
}

#[test]
fn a_card_is_read_and_approved_once() {
    let (house, agent) = House::with_agent("one");
    let mut terminal = watch(&house, 120, 40);
    terminal.until_shows("nothing waits");

    // It comes by itself, with all that a decision needs.
    let item = asks(&agent, "fresh.txt", "first\nsecond\n");
    let picture = terminal.until_shows("creates fresh.txt");
    for said in [
        "1 waits",
        "agent: one",
        "wants: workspace.write",
        "┃ +first",
        "once: this one call",
        "a approve",
    ] {
        assert!(picture.contains(said), "{said}\n{picture}");
    }
    assert_eq!(
        terminal.colour_of(|row| row.contains("+second")),
        Some(vt100::Color::Idx(2)),
        "what is added is green"
    );
    assert!(terminal.has_other_screen() && !terminal.is_cooked());

    // `a` alone decides nothing; once is what Enter gives.
    terminal.keys("a");
    terminal.until_shows("(•) once: this one call, exactly as shown");
    assert_eq!(agent.status(&item).json()["state"], "pending");
    answer(&mut terminal, ENTER, "approved pend_");
    assert_eq!(agent.status(&item).json()["state"], "approved");
    terminal.until_shows("nothing waits");
    agent.must(WRITE, note("fresh.txt", "first\nsecond\n"));
    assert!(house.owner().grants().is_empty(), "nothing stands");

    // The next card says what differs.
    let third = asks(&agent, "fresh.txt", "first\nthird\n");
    let picture = terminal.until_shows("differs: from the call that you approved");
    // Of a text with several lines its size: its lines would read as a part of the plan.
    assert_contains(
        &picture,
        "/content: 2 lines, 12 bytes (was 2 lines, 13 bytes)",
    );

    // Of another file, that it is another one.
    house.owner().deny(&third, "no");
    asks(&agent, "other.txt", "first\nfourth\n");
    let picture = terminal.until_shows("another path (was fresh.txt)");
    assert_lacks(&picture, "/content:");
    quits(terminal);
}

#[test]
fn a_denial_has_a_reason_that_was_typed() {
    let (house, agent) = House::with_agent("one");
    let item = asks(&agent, "a.txt", "x");
    let mut terminal = watch(&house, 80, 24);
    terminal.until_shows("creates a.txt");
    terminal.keys("d");
    terminal.until_shows("reason (the agent reads it)");
    // What is typed is text here: the keys of the card are letters like any other. A paste is text too.
    terminal.keys("not q a\x7fd today\x1b[200~, please\nthanks\x1b[201~");
    terminal.until_shows("not q d today, please thanks");
    answer(&mut terminal, ENTER, "denied pend_");
    let status = agent.status(&item).json();
    assert_eq!(status["state"], "denied");
    let again = agent.ask_to(WRITE, note("a.txt", "x")).json();
    assert_contains(&again.to_string(), "not q d today, please thanks");
    terminal.keys("\x03");
    ends_well(terminal);
}

#[test]
fn a_window_is_chosen_and_narrowed() {
    let (house, agent) = House::with_agent("one");
    let item = asks(&agent, "notes/a.txt", "x");
    let mut terminal = watch(&house, 100, 30);
    terminal.until_shows("creates notes/a.txt");
    opens_answers(&mut terminal);
    // Escape goes back and decides nothing.
    terminal.keys(ESCAPE);
    terminal.until_fits("the card alone", |picture| !picture.contains("(•)"));
    opens_answers(&mut terminal);
    terminal.keys(DOWN);
    terminal.until_shows("(•) 1h: every call of");
    terminal.keys(DOWN);
    terminal.until_shows("(•) 1d");
    // The windows go round among themselves: nothing longer is chosen on the way to the fields.
    terminal.keys(TAB);
    terminal.until_shows("only where path is at or below: ▏");
    terminal.keys("notes");
    terminal.until_shows("at or below: notes▏");
    terminal.keys(TAB);
    terminal.until_shows("at most how many calls: ▏");
    terminal.until_shows("(•) 1d");
    terminal.keys("x");
    terminal.until_shows("calls: x▏");
    answer(&mut terminal, ENTER, "is a whole number");
    assert_eq!(agent.status(&item).json()["state"], "pending");
    terminal.keys("\x7f2");
    terminal.until_shows("calls: 2▏");
    answer(&mut terminal, ENTER, "approved pend_");
    let grants = house.owner().grants();
    assert_eq!(grants[0]["trustWindow"]["kind"], "1d", "{grants:#?}");
    assert_eq!(
        grants[0]["constraint"],
        json!({"pathPrefix": {"field": "path", "allow": ["notes"]}, "maxCalls": 2})
    );
    quits(terminal);
}

/// What cannot be chosen says why, and Enter on it approves nothing.
#[test]
fn a_window_above_the_ceiling_cannot_be_chosen() {
    let (house, agent) = House::with_agent("one");
    let item = asks(&agent, ".envrc", "x");
    let mut terminal = watch(&house, 120, 40);
    let picture = terminal.until_shows("creates .envrc");
    assert_eq!(picture.matches("WARNING").count(), 1, "{picture}");
    opens_answers(&mut terminal);
    terminal.keys(DOWN);
    terminal.until_shows("×  1h: what this would write is run or obeyed");
    answer(&mut terminal, ENTER, "run or obeyed by programs of yours");
    assert_eq!(agent.status(&item).json()["state"], "pending");
    terminal.keys(UP);
    terminal.until_fits("once again", |picture| picture.contains("(•) once"));
    answer(&mut terminal, ENTER, "approved pend_");
    quits(terminal);
}

/// Leaves the answer that was interrupted, and reads what came.
fn read_again(terminal: &mut Terminal) {
    terminal.keys(ESCAPE);
    terminal.until_fits("the keys of a card", |picture| {
        picture.contains("a approve")
    });
    // Nobody reads a card faster.
    thread::sleep(Duration::from_millis(400));
}

#[test]
fn a_card_that_changed_under_the_cursor_is_not_approved() {
    let (house, agent) = House::with_agent("one");
    let owner = house.owner();
    let item = asks(&agent, "a.txt", "x");
    let mut terminal = watch(&house, 100, 30);
    terminal.until_shows("creates a.txt");
    opens_answers(&mut terminal);
    // The card now says something else, and nothing on the feed told of it.
    owner.must_put("/v1/config", json!({"allowUntilRevoked": false}));
    terminal.keys(ENTER);
    terminal.until_fits("that it changed", |picture| {
        picture.contains("card_changed") || picture.contains("has changed")
    });
    assert_eq!(agent.status(&item).json()["state"], "pending");
    assert!(owner.grants().is_empty());
    // Read again, it can be decided.
    terminal.until_shows("not until-revoked: your settings");
    read_again(&mut terminal);
    opens_answers(&mut terminal);
    answer(&mut terminal, ENTER, "approved pend_");
    quits(terminal);
}

#[test]
fn what_was_decided_elsewhere_goes_from_the_screen() {
    let (house, agent) = House::with_agent("one");
    let owner = house.owner();
    let (first, second) = (asks(&agent, "a.txt", "x"), asks(&agent, "b.txt", "x"));
    let mut terminal = watch(&house, 100, 30);
    terminal.until_shows("creates a.txt");
    opens_answers(&mut terminal);
    owner.deny(&first, "no");
    // The panel that was open was about the other one: it closes, and Enter decides nothing.
    terminal.until_fits("the other card alone", |picture| {
        picture.contains("was denied")
            && picture.contains("creates b.txt")
            && !picture.contains("(•)")
    });
    terminal.keys("a");
    terminal.keys(ENTER);
    read_again(&mut terminal);
    terminal.keys("?");
    terminal.until_shows("any other key: back");
    assert_eq!(agent.status(&second).json()["state"], "pending");
    terminal.keys("?");
    terminal.until_shows("1 waits");
    quits(terminal);
}

#[test]
fn a_small_terminal_has_all_of_it_by_scrolling_and_a_resize_keeps_it() {
    let (house, agent) = House::with_agent("one");
    let long: String = (0..60).map(|n| format!("line {n}\n")).collect();
    let item = asks(&agent, "long.txt", &long);
    // Later lines would come in above what is seen already.
    let plan = house.gateway.owner().plan(&item);
    assert!(plan["preview"].is_object(), "{plan}");
    let mut terminal = watch(&house, 40, 12);
    terminal.until_shows("MORE BELOW");
    terminal.until_shows("agent: one");
    let mut seen = String::new();
    for _ in 0..200 {
        let before = terminal.picture();
        seen.push_str(&before);
        // The answers stand at the end.
        if before.contains("1h, 1d, 7d") {
            break;
        }
        terminal.keys(DOWN);
        terminal.until_fits("the next line", |picture| picture != before);
    }
    for n in 0..60 {
        assert!(
            seen.contains(&format!("+line {n}")),
            "line {n} is never seen"
        );
    }
    assert!(seen.contains("1h, 1d, 7d"), "the answers are below");

    terminal.resize(120, 40);
    terminal
        .until_shows("a approve · d deny · ←→ next · ? help · q quit · ↑↓ scroll · v all of it");
    for says in ["v short card", "v all of it"] {
        terminal.keys("v");
        terminal.until_shows(says);
    }
    terminal.keys("\x1b[H");
    terminal.until_shows("agent: one");
    terminal.resize(40, 12);
    // Drawn by the program, which has heard of it then: crossterm leaves a key that comes in one instant with a change of
    // size where it is until the next one.
    terminal.until_fits("the small screen again", |picture| {
        picture.contains("lines 1–7 of") && !picture.contains("q quit")
    });
    // The keys are more than it has rows.
    terminal.keys("?");
    terminal.until_shows("keys · MORE BELOW");
    for _ in 0..40 {
        let before = terminal.picture();
        if before.contains("202e") {
            break;
        }
        terminal.keys(DOWN);
        terminal.until_fits("the next row", |picture| picture != before);
    }
    assert!(terminal.picture().contains("202e"), "the end of the keys");
    terminal.keys("x");
    terminal.until_fits("the card again", |picture| picture.contains("lines 1–7 of"));
    // Approving works here too, beside the first lines of the card.
    terminal.keys("a");
    let panel = terminal.until_shows("(•) once");
    assert_contains(&panel, "does: Creates one file");
    answer(&mut terminal, ENTER, "approved pend_");
    assert_eq!(agent.status(&item).json()["state"], "approved");
    quits(terminal);
}

#[test]
fn the_terminal_is_given_back_however_it_ends() {
    let house = House::open();
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP] {
        let mut terminal = watch(&house, 80, 24);
        terminal.until_shows("nothing waits");
        assert!(!is_given_back(&terminal), "it was taken");
        terminal.signal(signal);
        terminal.end();
        assert!(is_given_back(&terminal), "{signal}");
    }
    // If the key does not fit any more, the reason is read on the screen that stays.
    let agent = house.gateway.agent("one");
    let mut terminal = watch(&house, 80, 24);
    terminal.until_shows("nothing waits");
    let other: String = house.gateway.key().chars().rev().take(48).collect();
    let path = house.gateway.state().join("connection-key");
    std::fs::write(path, format!("plx_live_{other}\n")).expect("another key");
    asks(&agent, "a.txt", "x");
    assert_eq!(terminal.end().code(), Some(77), "{}", terminal.picture());
    assert!(is_given_back(&terminal) && terminal.picture().contains("connection key"));
}

/// As `| head -1` leaves them: without a further line to print.
#[test]
fn followers_end_once_their_reader_has_gone() {
    let house = House::open();
    for line in [
        &["approvals", "watch"][..],
        &["audit", "tail", "--follow"],
        &["logs", "--follow"],
        &["notify", "--follow", "--json"],
    ] {
        let mut command = house.gateway.on_terminal(line.iter().copied());
        command.stdin(Stdio::null()).stderr(Stdio::null());
        command.stdout(Stdio::piped());
        let mut follower = command.spawn().expect("it starts");
        drop(follower.stdout.take());
        let mut has_ended = || follower.try_wait().expect("our child").is_some();
        until_true(&format!("{line:?} ends"), &mut has_ended);
        let ended = follower.wait().expect("it has ended");
        assert!(ended.success(), "{line:?}: {ended}");
    }
}

#[test]
fn without_colours_and_without_a_screen() {
    let (house, agent) = House::with_agent("one");
    asks(&agent, "a.txt", "x");
    let mut plain = house.gateway.on_terminal(["approvals", "watch"]);
    plain.env("NO_COLOR", "1");
    let terminal = Terminal::start(&plain, 80, 24);
    terminal.until_shows("creates a.txt");
    assert!(!terminal.is_coloured());
    quits(terminal);

    // Line by line, as it is for scripts, and on a terminal that has no screen.
    for (arguments, term) in [
        (vec!["approvals", "watch", "--lines"], "xterm"),
        (vec!["approvals", "watch"], "dumb"),
    ] {
        let mut command = house.gateway.on_terminal(arguments);
        command.env("TERM", term);
        let mut terminal = Terminal::start(&command, 80, 24);
        terminal.until_shows("let one do this?  y approve once");
        assert!(!terminal.has_other_screen());
        terminal.keys("q\n");
        assert!(terminal.end().success());
    }

    // An agent that runs it is shown what waits, and no keys.
    let mut marked = house.gateway.on_terminal(["approvals", "watch"]);
    marked.env("CLAUDECODE", "1");
    let mut terminal = Terminal::start(&marked, 80, 24);
    let picture = terminal.until_shows("creates a.txt");
    assert!(
        !terminal.has_other_screen() && !picture.contains("y approve"),
        "{picture}"
    );
    terminal.signal(Signal::SIGINT);
    terminal.end();
}

/// A call that is approved while agents are paused is not being done, and neither watch says so.
#[test]
fn run_approved_while_paused_waits_for_resume() {
    let (house, agent) = House::with_agent("one");
    for name in ["a.txt", "b.txt"] {
        let call = json!({"id": WRITE, "input": note(name, "x"), "onApproval": "run"});
        let asked = agent.invoke_body(call);
        asked.expect_error(401, "approval_required");
    }
    house.gateway.cli(["pause"]).expect_ok();
    let resumes = "it is done when you resume";
    let mut terminal = watch(&house, 160, 40);
    terminal.until_shows("creates a.txt");
    opens_answers(&mut terminal);
    answer(&mut terminal, ENTER, resumes);
    quits(terminal);

    let lines = house.gateway.on_terminal(["approvals", "watch", "--lines"]);
    let mut terminal = Terminal::start(&lines, 160, 40);
    terminal.until_shows("let one do this?  y approve once");
    until_true("an answer that is heard", || {
        terminal.keys("y\n");
        terminal.picture().contains(resumes)
    });
    terminal.keys("q\n");
    assert!(terminal.end().success());
    for name in ["a.txt", "b.txt"] {
        assert!(!house.workspace.path().join(name).exists(), "{name}");
    }
    house.gateway.cli(["resume"]).expect_ok();
    for name in ["a.txt", "b.txt"] {
        until_true("it is done", || house.workspace.path().join(name).exists());
    }
}

/// The gateway goes and comes back; the screen says so and goes on.
#[test]
fn a_gateway_that_restarts_is_found_again() {
    let (mut house, agent) = House::with_agent("one");
    let terminal = watch(&house, 100, 30);
    terminal.until_shows("nothing waits");
    house.gateway.stop();
    terminal.until_shows("NOT CONNECTED");
    house.gateway.start_again();
    let agent = house.back(&agent);
    asks(&agent, "a.txt", "x");
    let picture = terminal.until_shows("creates a.txt");
    assert!(!picture.contains("NOT CONNECTED"), "{picture}");
    quits(terminal);
}

/// Line by line as well: the card that waited is asked anew, and a yes decides it.
#[test]
fn a_card_that_outlives_the_connection_is_asked_again() {
    let (mut house, agent) = House::with_agent("one");
    let item = asks(&agent, "a.txt", "x");
    let mut terminal = Terminal::start(
        &house.gateway.on_terminal(["approvals", "watch", "--lines"]),
        120,
        60,
    );
    terminal.until_shows(QUESTION);
    house.gateway.stop();
    terminal.until_shows("; trying again");
    house.gateway.start_again();
    let agent = house.back(&agent);
    terminal.until_fits("the question again", |picture| {
        picture.matches(QUESTION).count() == 2 && picture.matches("creates a.txt").count() == 2
    });
    yes(&mut terminal, "approved pend_");
    assert_eq!(agent.status(&item).json()["state"], "approved");
    terminal.keys("q\n");
    assert!(terminal.end().success());
}

pub(crate) const QUESTION: &str = "let one do this?  y approve once";

/// A yes in a line, typed again as often as it was told to come too early.
fn yes(terminal: &mut Terminal, shows: &str) {
    let said = |terminal: &Terminal, what: &str| {
        let all = terminal.bytes();
        String::from_utf8_lossy(&all).matches(what).count()
    };
    let early = |terminal: &Terminal| said(terminal, "press it again");
    until_true(shows, || {
        let before = early(terminal);
        terminal.keys("y\n");
        until_true(shows, || {
            said(terminal, shows) > 0 || early(terminal) > before
        });
        said(terminal, shows) > 0
    });
}

/// What was decided is told by the item where the answer to the decision was lost, and asked again where it waits.
#[test]
fn a_decision_whose_answer_is_lost_is_told_by_its_item() {
    let (house, agent) = House::with_agent("one");
    let item = asks(&agent, "a.txt", "x");
    let relay = Relay::to(&house, [Fault::Request, Fault::Answer]);

    let mut terminal = Terminal::start(&relay.watch(&house, &["--lines"]), 120, 70);
    terminal.until_shows(QUESTION);
    yes(&mut terminal, "is not known yet");
    terminal.until_shows("still waits");
    assert_eq!(agent.status(&item).json()["state"], "pending");
    yes(&mut terminal, "is approved, as you decided");
    assert_eq!(agent.status(&item).json()["state"], "approved");
    terminal.keys("q\n");
    assert!(terminal.end().success());
    assert_lacks(&terminal.picture(), "elsewhere");
}

/// One that was late, and was carried out after its item was seen to wait, is nobody else's either.
#[test]
fn a_decision_that_is_carried_out_late_is_told_by_its_item() {
    let (house, agent) = House::with_agent("one");
    let item = asks(&agent, "a.txt", "x");
    let (release, held) = channel();
    let relay = Relay::to(&house, [Fault::Late(held)]);
    // Each key that comes too early adds lines: the first card stays in the picture all the same.
    let mut terminal = Terminal::start(&relay.watch(&house, &["--lines"]), 120, 2_000);
    terminal.until_shows(QUESTION);
    yes(&mut terminal, "is not known yet");
    terminal.until_fits("the question again", |picture| {
        picture.contains("still waits") && picture.matches("request: pend_").count() >= 2
    });
    drop(release);
    terminal.until_shows("is approved, as you decided");
    assert_eq!(agent.status(&item).json()["state"], "approved");
    assert!(!terminal.picture().contains("elsewhere"));
    terminal.keys("q\n");
    assert!(terminal.end().success());
}

/// The same on the screen.
#[test]
fn the_screen_does_not_call_its_own_decision_somebody_elses() {
    let (house, agent) = House::with_agent("one");
    let item = asks(&agent, "a.txt", "x");
    let relay = Relay::to(&house, [Fault::Request, Fault::Answer]);
    let mut terminal = Terminal::start(&relay.watch(&house, &[]), 120, 40);
    terminal.until_shows("creates a.txt");
    opens_answers(&mut terminal);
    answer(&mut terminal, ENTER, "still waits: your decision");
    assert_eq!(agent.status(&item).json()["state"], "pending");
    opens_answers(&mut terminal);
    answer(&mut terminal, ENTER, "is approved, as you decided");
    assert_eq!(agent.status(&item).json()["state"], "approved");
    terminal.until_shows("nothing waits");
    quits(terminal);
}

/// Who leaves right after Enter is told what became of it, on the screen that stays.
#[test]
fn leaving_waits_for_the_decision_under_way() {
    let (house, agent) = House::with_agent("one");
    for (name, leaves) in [("a.txt", "q"), ("b.txt", "\x03")] {
        let item = asks(&agent, name, "x");
        let mut terminal = watch(&house, 120, 40);
        terminal.until_shows(&format!("creates {name}"));
        opens_answers(&mut terminal);
        // A number that is none is complained of only where the card was there long enough to be decided.
        terminal.keys("\x1b[Z");
        terminal.keys("x");
        terminal.until_shows("calls: x▏");
        answer(&mut terminal, ENTER, "is a whole number");
        // In one write: the decision is not even sent when the end is wished.
        terminal.keys(&format!("\x7f{ENTER}{leaves}"));
        assert!(terminal.end().success(), "{}", terminal.picture());
        assert!(is_given_back(&terminal));
        let picture = terminal.picture();
        assert!(picture.contains(&format!("approved {item}")), "{picture}");
        assert_eq!(agent.status(&item).json()["state"], "approved");
    }
}

/// A gateway that does not answer holds nobody: it is said that nothing is known.
#[test]
fn leaving_ends_although_no_answer_comes() {
    let (house, agent) = House::with_agent("one");
    asks(&agent, "a.txt", "x");
    let (release, held) = channel();
    let relay = Relay::to(&house, [Fault::Held(held)]);
    let mut terminal = Terminal::start(&relay.watch(&house, &[]), 120, 40);
    terminal.until_shows("creates a.txt");
    opens_answers(&mut terminal);
    answer(&mut terminal, ENTER, "sending …");
    terminal.keys("q");
    let status = terminal.end();
    assert_eq!(status.code(), Some(1), "{}", terminal.picture());
    assert!(is_given_back(&terminal) && terminal.picture().contains("is not known"));
    drop(release);
}

/// With `--json` nothing is shown before the end, so nobody is asked for a yes to it.
#[test]
fn with_json_nobody_is_asked_for_a_yes_to_what_was_not_shown() {
    let (house, agent) = House::with_agent("one");
    let item = asks(&agent, "a.txt", "x");
    house.owner().approve(&item, "once");
    let written = agent.must(WRITE, note("a.txt", "x"));
    let event = written["auditId"].as_str().expect("an id");
    let item = asks(&agent, "b.txt", "x");
    let lines: [&[&str]; 3] = [
        &["--json", "approvals", "approve", &item],
        &["--json", "undo", event],
        &["--json", "connect", "--type", "claude-code", "--here"],
    ];
    for line in lines {
        let command = house.gateway.on_terminal(line.iter().copied());
        let mut terminal = Terminal::start(&command, 120, 40);
        let status = terminal.end();
        let picture = terminal.picture();
        assert_eq!(status.code(), Some(64), "{line:?} {picture}");
        assert!(
            !picture.contains("[y/N]") && picture.contains("--yes"),
            "{line:?} {picture}"
        );
    }
    assert_eq!(agent.status(&item).json()["state"], "pending");
    assert_eq!(house.workspace.read("a.txt"), "x");
    let card = house.owner().card(&item);
    let digest = card["cardDigest"].as_str().expect("a digest");
    let named = ["--json", "approvals", "approve", &item, "--card", digest];
    let mut terminal = Terminal::start(&house.gateway.on_terminal(named), 120, 40);
    assert!(terminal.end().success(), "{}", terminal.picture());
    assert_eq!(agent.status(&item).json()["state"], "approved");
}

/// The owner's socket of a gateway, with somebody in between who loses or holds what concerns a decision.
struct Relay {
    home: tempfile::TempDir,
}

/// What becomes of a decision.
enum Fault {
    /// It does not arrive.
    Request,
    /// Its sender is cut off; it arrives only after this is dropped.
    Late(Receiver<()>),
    /// It is carried out, and its answer does not arrive.
    Answer,
    /// It is carried out, and its answer arrives only after this is dropped.
    Held(Receiver<()>),
}

impl Relay {
    /// The first decision has the first fault; after the last one nothing goes wrong.
    fn to(house: &House, faults: impl IntoIterator<Item = Fault>) -> Self {
        let home = tempfile::tempdir().expect("a folder");
        let key = home.path().join("connection-key");
        std::fs::write(&key, house.gateway.key()).expect("the key");
        std::fs::set_permissions(&key, Permissions::from_mode(0o600)).expect("its mode");
        let folder = home.path().join("run/owner");
        std::fs::create_dir_all(&folder).expect("a folder");
        let listener = UnixListener::bind(folder.join("owner.sock")).expect("a socket");
        let there = house.gateway.state().join("run/owner/owner.sock");
        let faults = Arc::new(Mutex::new(faults.into_iter().collect::<VecDeque<_>>()));
        thread::spawn(move || {
            while let Ok((here, _)) = listener.accept() {
                let Ok(there) = UnixStream::connect(&there) else {
                    continue;
                };
                let faults = faults.clone();
                let again = (here.try_clone(), there.try_clone());
                let (Ok(mut back), Ok(mut answers)) = again else {
                    continue;
                };
                let (fault, next) = channel();
                thread::spawn(move || pass_on(here, there, &faults, &fault));
                thread::spawn(move || {
                    let mut bytes = [0; 65_536];
                    while let Ok(count @ 1..) = answers.read(&mut bytes) {
                        match next.try_recv() {
                            Ok(Fault::Held(until)) => {
                                let _ = until.recv();
                            }
                            Ok(_) => break,
                            Err(_) => {}
                        }
                        if back.write_all(&bytes[..count]).is_err() {
                            break;
                        }
                    }
                    let _ = (
                        back.shutdown(Shutdown::Both),
                        answers.shutdown(Shutdown::Both),
                    );
                });
            }
        });
        Self { home }
    }

    /// The watch, through it.
    fn watch(&self, house: &House, more: &[&'static str]) -> Command {
        let line = [&["approvals", "watch"], more].concat();
        let mut command = house.gateway.on_terminal(line);
        command.env("PLEXUS_HOME", self.home.path());
        command
    }
}

/// Requests, until one of them has the fault that it is not passed on.
fn pass_on(
    mut here: UnixStream,
    mut there: UnixStream,
    faults: &Mutex<VecDeque<Fault>>,
    of_answer: &Sender<Fault>,
) {
    let mut bytes = [0; 65_536];
    while let Ok(count @ 1..) = here.read(&mut bytes) {
        if bytes.starts_with(b"POST /admin/api/pending/") {
            let fault = faults.lock().expect("no thread panicked").pop_front();
            match fault {
                Some(Fault::Request) => break,
                Some(Fault::Late(until)) => {
                    let _ = here.shutdown(Shutdown::Both);
                    let _ = until.recv();
                    // The reader of the answer ends the connection.
                    let _ = there.write_all(&bytes[..count]);
                    return;
                }
                Some(fault) => of_answer.send(fault).expect("the other thread is there"),
                None => {}
            }
        }
        if there.write_all(&bytes[..count]).is_err() {
            break;
        }
    }
    let _ = (
        here.shutdown(Shutdown::Both),
        there.shutdown(Shutdown::Both),
    );
}

/// Texts that would move the cursor, hide, turn around, grow over other lines, or look like the card.
pub(crate) fn hostile() -> Vec<String> {
    let mut texts: Vec<String> = [
        "\x1b[2J\x1b[H",
        "\x1b]0;owned\x07",
        "\x1b]52;c;cm0gLXJm\x07",
        "\x1b[?1049l",
        "\x1b[31m",
        "\x1bc",
        "\x1b[5n",
        "\x1bP+q544e\x1b\\",
        "\x1b_G\x1b\\",
        "\x1b^x\x1b\\",
        "\x1b[6n",
        "\x1b[>c",
        "\x1b[1;1H",
        "\x1b[999A",
        "\x1b#8",
        "\u{9b}2J",
        "\u{9d}0;x\u{9c}",
        "\u{90}x\u{9c}",
        "\u{85}",
        "\r",
        "\n",
        "\x08\x08\x08",
        "\x7f",
        "\x0b",
        "\x0c",
        "\x0e",
        "\x0f",
        "\x07",
        "\u{202e}",
        "\u{202d}",
        "\u{2066}",
        "\u{2067}",
        "\u{2068}",
        "\u{2069}",
        "\u{200e}",
        "\u{200f}",
        "\u{061c}",
        "\u{200b}",
        "\u{200c}",
        "\u{200d}",
        "\u{2060}",
        "\u{feff}",
        "\u{ad}",
        "\u{034f}",
        "\u{180e}",
        "\u{3164}",
        "\u{115f}",
        "\u{1160}",
        "\u{ffa0}",
        "\u{2800}",
        "\u{2028}",
        "\u{2029}",
        "\u{fff9}",
        "\u{fffb}",
        "\u{e0001}",
        "\u{e0041}",
        "\u{1d173}",
        "\u{13430}",
        "\u{fe00}",
        "\u{fe0f}\u{fe0f}\u{fe0f}",
        "\u{206a}",
        "\u{206f}",
        "agent: the-owner",
        "\nagent: the-owner",
        "\r\nrequest: pend_0",
        "    ┃ +harmless",
        "  WARNING: none",
        "once: this one call, exactly as shown",
        "(•) until-revoked: nothing at all",
        "── approve ──",
        "▸ other  fixture.read",
        "Enter approve · ↑↓ how long",
        "Plexus approvals · nothing waits",
        "↪ agent: me",
        "a approve · d deny",
        "\t\t\t\t",
        "漢字漢字漢字漢字漢字漢字漢字漢字漢字漢字漢字漢字",
        "👩‍👩‍👧‍👦👍🏽🇩🇪",
        "✔\u{fe0f}✔\u{fe0f}",
        "ﷺﷺﷺ",
        "ก\u{e33}\u{e48}",
        "𒐫𒐫𒐫",
        "if you approve: nothing happens",
        "differs: nothing",
        "' ; rm -rf ~ ; '",
        "$(touch /tmp/x)",
        "`id`",
        "%s%n%x",
        "\\x1b[2J",
        "\\u{1b}[2J",
        "<script>alert(1)</script>",
        "{{7*7}}",
        "\"}],\"state\":\"approved\"",
        "../../../etc/passwd",
        "-rf",
        "--yes",
    ]
    .map(str::to_owned)
    .into();
    texts.push("a\u{301}".repeat(3) + &"\u{301}".repeat(200));
    texts.push("x".repeat(200));
    texts.extend(["\x1b[?2004l", "\x1b[8;1;1t", "\x1b[0m\x1b[7m"].map(str::to_owned));
    texts.push("🅰".repeat(60));
    texts
}

/// None of a hundred hostile texts is obeyed, in any field that an agent fills; the card stays what it is.
#[test]
fn hostile_texts_are_shown_and_not_obeyed() {
    let texts = hostile();
    assert!(texts.len() >= 100, "{}", texts.len());
    let house = House::open();
    let owner = house.owner();
    let mut terminals = [watch(&house, 120, 40), watch(&house, 40, 12)];
    // Each screen has to end a decision on it before the next: so that it was really drawn.
    let mut seen = 0;
    for (number, chunk) in texts.chunks(13).enumerate() {
        let agent = house.gateway.agent(&format!("agent-{number}"));
        for text in chunk {
            let content = format!("begin{text}end\n{text}\n");
            let body = json!({"id": WRITE, "input": {"path": "out.txt", "content": content}, "purpose": format!("p{text}q")});
            let reply = agent.invoke_body(body).json();
            let Some(item) = reply["error"]["pendingId"].as_str() else {
                // A text that is no valid input was refused before it reached anybody.
                assert!(reply["error"]["code"].is_string(), "{reply}");
                continue;
            };
            seen += 1;
            let card = owner.card(item);
            for terminal in &mut terminals {
                look(terminal, &card);
            }
            owner.deny(item, "no");
            for terminal in &terminals {
                terminal.until_shows("nothing waits");
            }
        }
    }
    assert!(seen > texts.len() / 2, "{seen} of them were shown");
    for mut terminal in terminals {
        let bytes = terminal.bytes();
        assert_only_ours(&bytes);
        terminal.keys("q");
        ends_well(terminal);
    }
}

/// Waits for a card and holds that the screen is still the screen: its first line, its keys, one card and no more.
fn look(terminal: &mut Terminal, card: &Value) {
    let agent = format!("agent: {}", card["agentId"].as_str().expect("an agent"));
    let picture = terminal.until_fits(&agent, |picture| {
        picture.contains(&agent) && picture.contains("1 waits")
    });
    let lines: Vec<&str> = picture.lines().collect();
    assert!(
        lines[0].starts_with("Plexus approvals · 1 waits"),
        "{picture}"
    );
    let count = |start: &str| lines.iter().filter(|line| line.starts_with(start)).count();
    for (ours, times) in [
        ("Plexus approvals", 1),
        ("agent:", 1),
        ("request:", 1),
        ("▸", 1),
        ("differs:", 0),
        ("once:", 0),
    ] {
        assert!(count(ours) <= times, "{ours}\n{picture}");
    }
    assert!(
        picture
            .trim_end()
            .lines()
            .last()
            .is_some_and(|line| line.starts_with("a approve")),
        "{picture}"
    );
}

/// Every escape sequence that was written is one that a drawing needs: moving, colours, modes that were taken and given
/// back. A title, a clipboard, a question to the terminal or a character set is none of these.
pub(crate) fn assert_only_ours(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let mut rest = text.as_ref();
    while let Some(at) = rest.find('\x1b') {
        rest = &rest[at + 1..];
        let Some(sequence) = rest.strip_prefix('[') else {
            panic!(
                "an escape that is no sequence: {:?}",
                rest.chars().take(20).collect::<String>()
            );
        };
        let end = sequence
            .find(|c: char| ('@'..='~').contains(&c))
            .expect("an end");
        let (parameters, last) = (&sequence[..end], &sequence[end..=end]);
        let known = match last {
            "m" | "H" | "J" | "K" => true,
            "h" | "l" => ["?1049", "?25", "?2004", "?2026"].contains(&parameters),
            _ => false,
        };
        assert!(
            known,
            "an escape sequence that no drawing needs: {parameters:?}{last}"
        );
    }
    let unseen = |c: char| {
        (c.is_control() && !matches!(c, '\x1b' | '\n' | '\r'))
            || ('\u{200b}'..='\u{200f}').contains(&c)
            || ('\u{202a}'..='\u{202e}').contains(&c)
            || ('\u{2066}'..='\u{2069}').contains(&c)
    };
    assert!(!text.contains(unseen));
}
