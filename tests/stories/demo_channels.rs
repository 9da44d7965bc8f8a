//! Two peers and a person in a terminal work out a task over two channels; one peer is killed in mid turn, and nobody loses a
//! message.

use crate::channels::World;
use crate::chatting::{ENTER, TAB, chat, ends_well};
use crate::office::{Seat, reply, turn_of};
use nix::sys::signal::Signal;
use plexus_tests::narration::tell;
use plexus_tests::texts::text_of;
use plexus_tests::waiting::until_true;
use plexus_tests::{Gate, Step, Terminal};
use serde_json::{Value, json};

/// The channel of the message with these words, in a turn's input.
fn channel_of<'a>(input: &'a str, words: &str) -> Option<&'a str> {
    let mut lines = input.lines();
    let line = lines.find(|line| line.contains(words))?;
    Some(line.strip_prefix("[channel: ")?.split_once(']')?.0)
}

/// A step on a line of this channel.
type Answer = Box<dyn FnMut(&str) -> Step + Send>;

/// A model that answers the line with these words, once a turn, by this step.
fn answers(seat: &Seat, rules: impl IntoIterator<Item = (&'static str, Answer)>) {
    let mut rules: Vec<_> = rules.into_iter().collect();
    seat.model.by_rule(move |request| {
        let (input, calls) = turn_of(request);
        // A digest shows what was dealt with before.
        let is_digest = input.starts_with("[event: started as ");
        let mut found = rules.iter_mut().filter_map(|(words, step)| {
            let channel = channel_of(&input, words).filter(|_| !is_digest)?;
            Some((step, channel))
        });
        let found = found.nth(calls);
        found.map_or_else(|| Step::say("Done."), |(step, channel)| step(channel))
    });
}

fn answer(text: &'static str) -> Answer {
    Box::new(move |channel| reply(channel, text))
}

/// Waits until the person has this of a member on the screen, and tells it.
#[track_caller]
fn sees(terminal: &Terminal, name: &str, text: &str) {
    terminal.until_shows(&format!("    {text}"));
    tell(&format!("  {name}: {text}"));
}

/// The person types a message, and sees that the relay has it.
#[track_caller]
fn types(terminal: &mut Terminal, text: &str) {
    terminal.keys(text);
    terminal.keys(ENTER);
    terminal.until_fits("the sent message", |picture| {
        let mut rows = picture.lines().skip_while(|row| !row.contains("sent  you"));
        rows.any(|row| row.contains(&format!("    {text}")))
    });
    tell(&format!("  Vera: {text}"));
}

#[test]
fn the_demo_of_channels() {
    tell(
        "A relay is started. A person, Vera, and two agents join by invitation; each agent is a Codex of its own.",
    );
    let world = World::open();
    world.join_as("Vera", &world.office.address).expect_ok();
    let office = &world.office;
    let ana = office.seat("Ana", "Antić", "names");
    let bob = office.seat("Bob", "Babić", "registers");

    // Bob's model has not answered on Ana's proposal when he is killed.
    let gate = Gate::closed();
    let mut waits = vec![gate.clone()].into_iter();
    answers(
        &ana,
        [
            ("find a name", answer("I propose Kestrel. Bob, is it free?")),
            ("Kestrel is taken", answer("Then Merlin.")),
        ],
    );
    let asks_ana = json!({"name": "names", "member_ids": [ana.id, world.me()], "message": "Kestrel is taken by a browser. Another one?"});
    let (with_ana, with_bob) = (ana.id.to_string(), bob.id.to_string());
    let create = [
        "create", "release", "--with", &with_ana, "--with", &with_bob,
    ];
    let made = world.channels(create.into_iter().chain(["--json"])).json();
    let in_plan = text_of(&made["output"]["channel"]);
    answers(
        &bob,
        [
            (
                "I propose Kestrel",
                Box::new(move |_: &str| {
                    let asks = || Step::mcp("channels", "start_discussion", asks_ana.clone());
                    waits.next().map_or_else(asks, Step::Wait)
                }) as Answer,
            ),
            (
                "Then Merlin",
                Box::new(move |_: &str| reply(&in_plan, "Merlin is free.")),
            ),
        ],
    );
    let ana_works = ana.peer();
    let bob_works = bob.peer();

    tell("Vera opens `plexusctl channels chat` and asks both, in the channel “release”.");
    let mut terminal = chat(&world, "release", 120, 30);
    let task = "Ana, find a name for the release. Bob, see that nobody else has it.";
    types(&mut terminal, task);
    sees(&terminal, "Ana", "I propose Kestrel. Bob, is it free?");

    tell("Bob's Codex is at work on that when Bob's process is killed. Vera goes on writing.");
    until_true("Bob's model", || {
        let requests = bob.model.requests();
        let mut turns = requests.iter().map(|request| turn_of(request).0);
        turns.any(|input| input.contains("I propose Kestrel"))
    });
    drop(bob_works);
    gate.open();
    types(&mut terminal, "No hurry.");

    tell(
        "Bob starts again. It is shown what no completed turn has shown, and opens a second channel, “names”.",
    );
    let bob_works = bob.start();
    terminal.until_fits("the second channel and the answer", |picture| {
        picture.contains("2 \"names\"") && picture.contains("    Merlin is free.")
    });
    terminal.keys(TAB);
    sees(
        &terminal,
        "Bob",
        "Kestrel is taken by a browser. Another one?",
    );
    sees(&terminal, "Ana", "Then Merlin.");
    terminal.keys(TAB);
    sees(&terminal, "Bob", "Merlin is free.");
    tell(&format!("Vera's screen:\n{}", terminal.picture()));
    ends_well(terminal);

    tell("Nobody lost a message, and nobody said anything twice.");
    let said = |channel| -> Vec<String> {
        let read = world.channels(["read", channel, "--json"]).json();
        let messages = read["messages"].as_array().expect("messages");
        let text = |message: &Value| message["text"].as_str().expect("a text").to_owned();
        messages.iter().map(text).collect()
    };
    assert_eq!(
        said("release"),
        [
            task,
            "I propose Kestrel. Bob, is it free?",
            "No hurry.",
            "Merlin is free."
        ]
    );
    assert_eq!(
        said("names"),
        [
            "Kestrel is taken by a browser. Another one?",
            "Then Merlin."
        ]
    );

    tell("The relay has none of these words in its files.");
    let relay = office.stored();
    for word in ["Merlin", "Kestrel", "release"] {
        assert!(
            !relay
                .windows(word.len())
                .any(|bytes| bytes == word.as_bytes()),
            "{word}"
        );
    }
    for peer in [ana_works, bob_works] {
        peer.signal(Signal::SIGTERM);
        assert_eq!(peer.ended().code(), Some(0));
    }
}
