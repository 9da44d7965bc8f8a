//! A hundred hostile texts in every field that reaches the owner's terminal, in every view of it: none is obeyed, none
//! passes for words of ours. What an agent fills beside its purpose and content: paths, names of members, the name of its
//! client; what lies in files: the lines that are replaced, names; what the owner typed: the reason of a no.

use crate::house::{House, READ, WRITE, note};
use crate::watching::{ESCAPE, assert_only_ours, ends_well, hostile, watch};
use plexus_tests::programs::Said;
use plexus_tests::{Agent, Folder, Gateway, Terminal, waiting::until};
use serde_json::json;
use std::time::{Duration, Instant};

/// How many requests of one agent are made: an agent that asks much is refused.
const OF_ONE_AGENT: usize = 13;
/// After every so many requests the panels are opened over the card.
const PANELS_EVERY: usize = 7;

/// What a terminal obeys, turns around, hides or joins: controls, directions, fillers, tags.
const OBEYED: &[std::ops::RangeInclusive<u32>] = &[
    0..=0x1F,
    0x7F..=0x9F,
    0xAD..=0xAD,
    0x34F..=0x34F,
    0x61C..=0x61C,
    0x115F..=0x1160,
    0x180E..=0x180E,
    0x200B..=0x200F,
    0x2028..=0x202E,
    0x2060..=0x206F,
    0x2800..=0x2800,
    0x3164..=0x3164,
    0xFE00..=0xFE0E,
    0xFEFF..=0xFEFF,
    0xFFA0..=0xFFA0,
    0xFFF9..=0xFFFB,
    0x13430..=0x1343F,
    0x1D173..=0x1D17A,
    0xE0000..=0xE0FFF,
];

/// Holds that an output has no character that a terminal obeys, but the ends of its lines, and the tabs that files are
/// full of: they stand behind a bar, and move to the right only.
#[track_caller]
fn only_text(said: &Said) -> String {
    let all = said.all();
    let obeyed = |c: char| {
        !matches!(c, '\n' | '\t') && OBEYED.iter().any(|range| range.contains(&u32::from(c)))
    };
    let found: Vec<char> = all.chars().filter(|c| obeyed(*c)).collect();
    assert!(found.is_empty(), "{found:?} in {said}");
    all
}

/// Holds that only these begin a line at its left margin: the rest is behind a blank, a label or a bar.
#[track_caller]
fn only_ours_begin(said: &str, ours: &[&str]) {
    for line in said.lines() {
        let begins = line.is_empty()
            || line.starts_with(' ')
            || ours.iter().any(|ours| line.starts_with(ours));
        assert!(begins, "{line:?} begins a line of\n{said}");
    }
}

/// The file that a request is about, named by the text where a file can be.
fn file_named(text: &str) -> String {
    match text.contains('/') || text.chars().any(char::is_control) || text.len() > 240 {
        true => "old.txt".to_owned(),
        false => format!("{text}.txt"),
    }
}

/// A session of a client with that name, or the agent's own where no client may have it.
fn session_of_a_client(agent: &Agent, name: &str) -> Agent {
    let reply = agent
        .anonymous
        .with("authorization", &format!("Bearer {}", agent.pat))
        .post(
            "/link/handshake",
            json!({"client": {"name": name, "version": name}}),
        );
    match reply.at("/sessionId").as_str() {
        Some(session) => Agent {
            session: session.to_owned(),
            ..agent.clone()
        },
        None => agent.clone(),
    }
}

/// The owner's views of what waits.
struct Views<'h> {
    house: &'h House,
    short: Terminal,
    everything: Terminal,
    /// Lines of `approvals list` with one request that is harmless.
    listed: usize,
    shown: usize,
}

impl Views<'_> {
    /// Looks at the one request that waits, in all of them.
    #[track_caller]
    fn look(&mut self, item: &str, agent: &str) {
        let _ = self.house.owner().card(item);
        let label = format!("agent: {agent}");
        for terminal in [&self.short, &self.everything] {
            let picture = terminal.until_fits(&label, |picture| {
                picture.contains(&label) && picture.contains("1 waits")
            });
            stands(&picture);
        }
        let list = only_text(&self.house.gateway.cli(["approvals", "list"]));
        assert_eq!(list.lines().count(), self.listed, "{list}");
        for more in [&[][..], &["--all"]] {
            let line = [&["approvals", "show", item], more].concat();
            let said = only_text(&self.house.gateway.cli(line));
            for (ours, times) in [("agent: ", 1), ("request: ", 1), ("wants: ", 1)] {
                let count = said.lines().filter(|line| line.starts_with(ours)).count();
                assert_eq!(count, times, "{ours}\n{said}");
            }
        }
        self.shown += 1;
        if self.shown.is_multiple_of(PANELS_EVERY) {
            self.panels();
        }
    }

    /// Opens and closes what is laid over the card.
    #[track_caller]
    fn panels(&mut self) {
        for (key, shows) in [("a", "(•) once"), ("d", "reason (the agent reads it): ")] {
            for terminal in [&mut self.short, &mut self.everything] {
                terminal.keys(key);
                let mut pressed = Instant::now();
                // A card that came to its whole length meanwhile closed the panel: again, as a person would.
                let picture = until("the panel", || {
                    let picture = terminal.picture();
                    if picture.contains(shows) {
                        return Some(picture);
                    }
                    if pressed.elapsed() > Duration::from_secs(1) {
                        terminal.keys(key);
                        pressed = Instant::now();
                    }
                    None
                });
                let lines = picture.lines();
                let rules = lines
                    .filter(|line| line.starts_with("── approve") || line.starts_with("── deny"));
                assert_eq!(rules.count(), 1, "{picture}");
                terminal.keys(ESCAPE);
                terminal.until_fits("the card alone", |picture| !picture.contains(shows));
            }
        }
    }

    #[track_caller]
    fn until_nothing_waits(&self) {
        for terminal in [&self.short, &self.everything] {
            terminal.until_shows("nothing waits");
        }
    }
}

/// Holds that a screen is still the screen: its first line, its keys, one card.
#[track_caller]
fn stands(picture: &str) {
    let lines: Vec<&str> = picture.trim_end().lines().collect();
    assert!(
        lines[0].starts_with("Plexus approvals · 1 waits"),
        "{picture}"
    );
    assert!(
        lines
            .last()
            .is_some_and(|line| line.starts_with("a approve")),
        "{picture}"
    );
    for ours in [
        "Plexus approvals",
        "agent:",
        "request:",
        "wants:",
        "differs:",
        "▸",
    ] {
        let count = lines.iter().filter(|line| line.starts_with(ours)).count();
        assert!(count <= 1, "{ours}\n{picture}");
    }
}

/// Fields of requests, on the screen, in both of its views and under its panels, and in what the commands print.
#[test]
fn no_field_of_a_request_is_obeyed_in_any_view() {
    let mut texts = hostile();
    assert!(texts.len() >= 100, "{}", texts.len());
    if plexus_tests::length() < plexus_tests::Length::Full {
        texts = texts.into_iter().step_by(3).collect();
    }
    let house = House::open();
    let owner = house.owner();
    let (short, mut everything) = (watch(&house, 120, 40), watch(&house, 80, 24));

    // How many lines a list has, and the view of everything for the rest of it.
    let agent = house.gateway.agent("harmless");
    let item = agent.must_ask(WRITE, note("a.txt", "x"));
    let _ = owner.card(&item);
    everything.until_shows("agent: harmless");
    everything.keys("v");
    everything.until_fits("everything", |picture| picture.contains("\nrequest: "));
    let listed = house
        .gateway
        .cli(["approvals", "list"])
        .all()
        .lines()
        .count();
    owner.deny(&item, "no");
    let mut views = Views {
        house: &house,
        short,
        everything,
        listed,
        shown: 0,
    };
    views.until_nothing_waits();

    let (mut named, mut reasons) = (0, 0);
    for (number, chunk) in texts.chunks(OF_ONE_AGENT).enumerate() {
        let id = format!("agent-{number}");
        let first = house.gateway.agent(&id);
        for text in chunk {
            let agent = session_of_a_client(&first, text);

            // A write: the path, the lines that it replaces; and, beside the last one, what differs.
            let path = file_named(text);
            named += usize::from(path != "old.txt");
            house
                .workspace
                .write(&path, format!("kept\n{text}\nold {text} end\n"));
            let body = json!({"id": WRITE, "input": note(&path, "kept\nnew\n"), "purpose": text});
            let reply = agent.invoke_body(body.clone()).json();
            let item = reply["error"]["pendingId"].as_str().expect("it asks");
            views.look(item, &id);
            owner.approve(item, "once");
            agent.invoke_body(body).expect_ok();
            views.until_nothing_waits();

            // A read: names of members, at two depths; then the reason of a no.
            let mut input = json!({"path": "report.txt", "of": {"a": [text]}});
            input[text.as_str()] = json!([text]);
            input["of"][text.as_str()] = json!({"b": text});
            let item = agent.must_ask(READ, input.clone());
            views.look(&item, &id);
            let line = ["approvals", "deny", &item, &format!("--reason={text}")];
            let said = house.gateway.cli(line);
            only_text(&said);
            reasons += usize::from(said.status == 0);
            if said.status != 0 {
                owner.deny(&item, "no");
            }
            views.until_nothing_waits();
            // Refused with that reason: the record now has it.
            agent.must_fail(READ, input, 403, "denied_by_owner");
        }
    }
    assert!(
        named > texts.len() / 2 && reasons > texts.len() * 9 / 10,
        "{named} paths, {reasons} reasons of {}",
        texts.len()
    );

    what_was_done(&house.gateway, texts.len().div_ceil(OF_ONE_AGENT));
    for mut terminal in [views.short, views.everything] {
        assert_only_ours(&terminal.bytes());
        terminal.keys("q");
        ends_well(terminal);
    }
}

/// Of what was done under those names.
#[track_caller]
fn what_was_done(gateway: &Gateway, agents: usize) {
    let told = only_text(&gateway.cli(["activity", "--limit", "1000"]));
    for line in told.lines() {
        let mut words = line.split_whitespace();
        let first = words.next().unwrap_or_default();
        let is_time = first.starts_with(|c: char| c.is_ascii_digit());
        let is_day = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"].contains(&first);
        assert!(is_time || is_day, "{line:?}\n{told}");
    }
    assert!(
        told.contains("\\u{202e}") || told.contains('\u{fffd}'),
        "{told}"
    );
    for number in 0..agents {
        let agent = format!("agent-{number}");
        let said = only_text(&gateway.cli(["review", &agent]));
        only_ours_begin(&said, &["workspace: ", &format!("{agent} changed ")]);
    }
    for line in [
        &["status"][..],
        &["audit", "tail", "--lines", "1000"],
        &["agents"],
        &["grants"],
        &["unknown"],
    ] {
        only_text(&gateway.cli(line.iter().copied()));
    }
}

/// Folders and sources with hostile names: what is known of calls whose end nobody knows, and the views of all sources.
#[test]
fn no_name_of_a_place_is_obeyed() {
    let gateway = Gateway::builder().fixture().start();
    let owner = gateway.owner();
    let of = |texts: &[String], most: usize, fits: &dyn Fn(&str) -> bool| -> Vec<String> {
        let names = texts
            .iter()
            .filter(|text| !text.contains('/') && fits(text));
        names.take(most).cloned().collect()
    };
    let texts = hostile();
    let unseen =
        |c: char| !c.is_control() && OBEYED.iter().any(|range| range.contains(&u32::from(c)));
    let usable = of(&texts, 6, &|text| {
        text.contains(unseen) && !text.contains(char::is_control)
    });
    let refused = of(&texts, 1, &|text| text.contains(char::is_control));
    let (mut folders, mut counts) = (Vec::new(), Vec::new());
    for (number, text) in usable.iter().chain(&refused).enumerate() {
        let (id, folder) = (format!("place-{number}"), Folder::empty());
        folder.write(&format!("{text}/state"), "0");
        let path = folder.path().join(text);
        let reply = owner.post(
            "/admin/api/sources",
            json!({"id": id, "kind": "fixture-dir", "label": text, "route": {"path": path}}),
        );
        if refused.contains(text) {
            // No cage is made around a folder with such a name.
            reply.expect_status(422);
            let reason = reply.text_at("/reason");
            assert!(reason.contains("control character"), "{reason}");
            assert!(!reason.contains(char::is_control), "{reason:?}");
            continue;
        }
        reply.expect_ok();
        folders.push(folder);
        counts.push(format!("{id}.count"));
    }
    assert_eq!(counts.len(), usable.len());
    let agent = gateway.agent_as(json!({"agentId": "one", "capabilities": counts}));
    let input = json!({"line": "lost", "die": "after"});
    for count in &counts {
        let item = agent.must_ask(count, input.clone());
        only_text(&gateway.cli(["approvals", "show", &item]));
        let _ = owner.card(&item);
        owner.approve(&item, "once");
        agent.must_fail(count, input.clone(), 200, "outcome_unknown");
    }
    let said = only_text(&gateway.cli(["unknown"]));
    only_ours_begin(&said, &["evt_"]);
    assert_eq!(said.matches("  look at ").count(), counts.len(), "{said}");
    assert!(said.contains("\\u{202e}"), "it is shown:\n{said}");
    for line in ["status", "sources", "activity", "logs", "doctor"] {
        only_text(&gateway.cli([line]));
    }
}
