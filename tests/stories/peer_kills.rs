//! A peer whose relay, process and Codex are killed in mid work, while a person goes on writing in two channels: each message is
//! shown in a turn, in its channel's order, and answered once. On a cluster its nodes are killed too, one at a time.

use crate::kills::Dice;
use crate::nats::Nats;
use crate::office::{Office, Running, Seat, reply, turn_of, written_in};
use nix::sys::signal::Signal;
use plexus_channels::Id;
use plexus_tests::processes;
use plexus_tests::waiting::until;
use plexus_tests::{Length, Step, length};
use std::collections::BTreeSet;
use std::fs;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// How long they die at full length.
const LONG: Duration = Duration::from_secs(300);

/// Whether there is another death, with messages before and after it.
fn goes_on(began: Instant, deaths: u64, victims: u64) -> bool {
    match length() {
        Length::Quick => deaths < victims,
        Length::Full => deaths < 2 * victims,
        Length::Long => began.elapsed() < LONG,
    }
}
/// Most messages between two deaths.
const MESSAGES: u64 = 3;

/// A message as a turn shows it: channel and text.
type Shown = (String, String);

/// The messages of a turn's input; a digest shows what was dealt with.
fn messages(input: &str) -> Vec<Shown> {
    if input.starts_with("[event: started as ") {
        return Vec::new();
    }
    let of_line = |line: &str| {
        let (channel, said) = line.strip_prefix("[channel: ")?.split_once("] Pat: ")?;
        Some((channel.to_owned(), said.to_owned()))
    };
    input.lines().filter_map(of_line).collect()
}

#[derive(Clone, Copy, Debug)]
enum Victim {
    Relay,
    Peer,
    Codex,
    /// Of the cluster; it comes back before the next death.
    Node,
}

#[test]
fn every_message_is_answered_once_whatever_is_killed() {
    let victims = [Victim::Relay, Victim::Peer, Victim::Codex];
    killed(Office::open(), &victims);
}

#[test]
fn every_message_is_answered_once_on_a_cluster() {
    let victims = [Victim::Node, Victim::Relay, Victim::Peer, Victim::Codex];
    killed(Office::on(Some(Nats::three())), &victims);
}

#[expect(clippy::print_stdout, reason = "a long run says how much it did")]
fn killed(mut office: Office, victims: &[Victim]) {
    let mut dice = Dice::thrown();
    let seat = office.seat("Pera", "Ždera", "echoes");
    let channels = ["first", "second"].map(|name| office.channel(name, &[seat.id], None));
    // Of each turn with messages what it showed. Each message is answered in its channel by its own text.
    let shown: Arc<Mutex<Vec<Vec<Shown>>>> = Arc::default();
    let record = Arc::clone(&shown);
    seat.model.by_rule(move |request| {
        let (input, calls) = turn_of(request);
        let messages = messages(&input);
        if calls == 0 && !messages.is_empty() {
            record.lock().expect("no panic").push(messages.clone());
        }
        match messages.get(written_in(request)) {
            Some((channel, said)) => reply(channel, &format!("Heard {said}")),
            None => Step::say("Done."),
        }
    });

    let mut peer = seat.start();
    // A digest counts as read what a new channel shows in it.
    until("the end of the first turn", || {
        (seat.logged("the turn is complete") > 0).then_some(())
    });
    let mut said = [vec!["hello.".to_owned()], vec!["hello.".to_owned()]];
    let mut count = 0;
    // So that each channel has one.
    let mut last = channels.map(|channel| office.says(channel, "hello."));
    let mut says = |office: &Office, dice: &mut Dice, last: &mut [Id; 2]| {
        for _ in 0..=dice.up_to(MESSAGES - 1) {
            let at = usize::from(dice.up_to(1) == 1);
            count += 1;
            let text = format!("message {count}.");
            last[at] = office.says(channels[at], &text);
            said[at].push(text);
        }
    };
    let (began, mut deaths, mut away) = (Instant::now(), 0, None);
    while goes_on(began, deaths, victims.len() as u64) {
        let turns = shown.lock().expect("no panic").len();
        let before = heard(&office, channels, seat.id);
        says(&office, &mut dice, &mut last);
        // Sometimes at once, sometimes when a turn has been asked for, or has answered.
        let moment = dice.up_to(2);
        until("the moment of a death", || {
            tend(&mut peer, &seat);
            let has_come = match moment {
                0 => true,
                1 => shown.lock().expect("no panic").len() > turns,
                _ => heard(&office, channels, seat.id) > before,
            };
            has_come.then_some(())
        });
        let at = match length() {
            Length::Quick => deaths % victims.len() as u64,
            Length::Full | Length::Long => dice.up_to(victims.len() as u64 - 1),
        };
        deaths += 1;
        if let (Some(node), Some(servers)) = (away.take(), &mut office.servers) {
            while !servers.run(node) {}
        }
        match victims[usize::try_from(at).expect("small")] {
            Victim::Node => {
                let node = usize::try_from(dice.up_to(2)).expect("small");
                office.servers.as_mut().expect("a cluster").kill(node);
                away = Some(node);
            }
            Victim::Relay => office.restart_relay(),
            Victim::Peer => {
                peer.kill();
                peer = seat.start();
            }
            Victim::Codex => kill_codex(&peer),
        }
        says(&office, &mut dice, &mut last);
    }
    until("all watermarks", || {
        tend(&mut peer, &seat);
        let mut marks = channels.into_iter().zip(last);
        let is_reached = |(channel, last)| seat.watermark(channel) == Some(last);
        marks.all(is_reached).then_some(())
    });

    let turns = shown.lock().expect("no panic").clone();
    for (channel, said) in channels.into_iter().zip(&said) {
        // Each was shown, for the first time in the order in which it was said.
        let mut seen = BTreeSet::new();
        let first: Vec<String> = turns
            .iter()
            .flatten()
            .filter(|(of, text)| *of == channel.to_string() && seen.insert(text.clone()))
            .map(|(_, text)| text.clone())
            .collect();
        assert_eq!(first, *said);
        let answers: Vec<String> = said.iter().map(|text| format!("Heard {text}")).collect();
        assert_eq!(office.heard(channel, seat.id), answers);
    }
    drop(peer);
    let log = fs::read_to_string(&seat.log).expect("a log");
    assert!(!log.contains("Heard message"), "{log}");
    // For the report of a long run.
    println!(
        "{deaths} deaths, {count} messages, in {:.0} s",
        began.elapsed().as_secs_f64()
    );
}

fn heard(office: &Office, channels: [Id; 2], of: Id) -> usize {
    let heard = channels.map(|channel| office.heard(channel, of).len());
    heard.iter().sum()
}

/// Starts a peer again that has given up, as a service manager does.
fn tend(peer: &mut Running, seat: &Seat) {
    if peer.has_ended() {
        *peer = seat.start();
    }
}

/// Kills the Codex of a peer, where one runs.
fn kill_codex(peer: &Running) {
    let below = processes::below(peer.pid());
    for process in below.iter().filter(|process| process.name == "codex") {
        process.signal(Signal::SIGKILL);
    }
}
