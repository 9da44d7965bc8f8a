//! Two peers and a person work out a task over two channels; one peer is killed in mid turn, and nobody loses a message.

use crate::demo::tell;
use crate::office::{Office, Seat, reply, turn_of};
use nix::sys::signal::Signal;
use plexus_channels::Id;
use plexus_tests::waiting::until;
use plexus_tests::{Gate, Step};
use serde_json::json;

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

/// Waits until the person reads this of a member in a channel, and tells it.
#[track_caller]
fn hears(office: &Office, channel: Id, (name, of): (&str, Id), text: &str) {
    until(text, || {
        let heard = office.heard(channel, of);
        heard.iter().any(|said| said == text).then_some(())
    });
    tell(&format!("  {name}: {text}"));
}

#[test]
fn the_demo_of_channels() {
    tell(
        "A relay is started. A person, Pat, and two agents join by invitation; each agent is a Codex of its own.",
    );
    let office = Office::open();
    let ana = office.seat("Ana", "Antić", "names");
    let bob = office.seat("Bob", "Babić", "registers");
    let (of_ana, of_bob) = (("Ana", ana.id), ("Bob", bob.id));

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
    let asks_ana = json!({"name": "names", "member_ids": [ana.id, office.me()], "message": "Kestrel is taken by a browser. Another one?"});
    let plan = office.channel("release", &[ana.id, bob.id], None);
    let in_plan = plan.to_string();
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

    tell("Pat asks both, in the channel “release”.");
    let task = "Ana, find a name for the release. Bob, see that nobody else has it.";
    office.says(plan, task);
    tell(&format!("  Pat: {task}"));
    hears(&office, plan, of_ana, "I propose Kestrel. Bob, is it free?");

    tell("Bob's Codex is at work on that when Bob's process is killed. Pat goes on writing.");
    until("Bob's model", || {
        let requests = bob.model.requests();
        let mut turns = requests.iter().map(|request| turn_of(request).0);
        turns
            .any(|input| input.contains("I propose Kestrel"))
            .then_some(())
    });
    drop(bob_works);
    gate.open();
    office.says(plan, "No hurry.");

    tell(
        "Bob starts again. It is shown what no completed turn has shown, and opens a second channel, “names”.",
    );
    let bob_works = bob.start();
    let names = until("the second channel", || {
        office
            .channels()
            .into_iter()
            .map(|channel| channel.id)
            .find(|id| *id != plan)
    });
    hears(
        &office,
        names,
        of_bob,
        "Kestrel is taken by a browser. Another one?",
    );
    hears(&office, names, of_ana, "Then Merlin.");
    hears(&office, plan, of_bob, "Merlin is free.");

    tell("Nobody lost a message, and nobody said anything twice.");
    let said = |channel| -> Vec<String> {
        office
            .all_heard(channel)
            .into_iter()
            .map(|(_, text)| text)
            .collect()
    };
    assert_eq!(
        said(plan),
        [
            task,
            "I propose Kestrel. Bob, is it free?",
            "No hurry.",
            "Merlin is free."
        ]
    );
    assert_eq!(
        said(names),
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
