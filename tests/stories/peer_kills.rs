//! Two peers whose relay, processes and Codexes are killed in mid work, while a person goes on writing in two channels: each
//! peer is shown each message in its channel's order, again only where a turn was not complete, and answers it once. On a
//! cluster its nodes are killed too, one at a time.

use crate::kills::Dice;
use crate::nats::Nats;
use crate::office::{Office, Running, Seat, reply, turn_of, written_in};
use nix::sys::signal::Signal;
use plexus_channels::Id;
use plexus_tests::processes;
use plexus_tests::waiting::until_true;
use plexus_tests::{Length, Step, length};
use std::collections::{BTreeMap, BTreeSet};
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

/// Deaths after which both catch up: a turn that dies is begun again with all that was said since, and takes longer each time.
const CALM: u64 = 8;

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

/// One of the peers.
struct Member {
    seat: Seat,
    peer: Running,
    /// Of each turn with messages what it showed.
    shown: Arc<Mutex<Vec<Vec<Shown>>>>,
    /// Turns that were complete when the peer died, before the disk knew it.
    forgotten: usize,
}

impl Member {
    /// A peer that answers each message in its channel by its own text, once its first turn is over.
    fn start(seat: Seat) -> Self {
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
        let peer = seat.start();
        let member = Self {
            seat,
            peer,
            shown,
            forgotten: 0,
        };
        // A digest counts as read what a new channel shows in it.
        until_true("the end of the first turn", || member.complete() > 0);
        member
    }

    fn begun(&self) -> usize {
        self.seat.logged("a turn begins")
    }

    fn complete(&self) -> usize {
        self.seat.logged("the turn is complete")
    }

    /// The turns with messages so far.
    fn turns(&self) -> Vec<Vec<Shown>> {
        self.shown.lock().expect("no panic").clone()
    }

    /// Starts the peer again if it has given up, as a service manager does.
    fn tend(&mut self) {
        if self.peer.has_ended() {
            self.peer = self.seat.start();
        }
    }

    /// Kills the peer, and starts it again. `ids` are those of the person's messages, by channel and text.
    fn kill(&mut self, ids: &BTreeMap<Shown, Id>) {
        self.peer.kill();
        let is_unknown = |shown: &Shown| {
            let channel = shown.0.parse().expect("an id");
            self.seat.watermark(channel) < ids.get(shown).copied()
        };
        let last = self.turns().pop().unwrap_or_default();
        let was_complete = self.begun() == self.complete();
        self.forgotten += usize::from(was_complete && last.iter().any(is_unknown));
        self.peer = self.seat.start();
    }

    /// Kills the Codex of the peer, where one runs.
    fn kill_codex(&self) {
        let below = processes::below(self.peer.pid());
        for process in below.iter().filter(|process| process.name == "codex") {
            process.signal(Signal::SIGKILL);
        }
    }

    /// Holds what the peer was shown and what it answered against what was said: the turns that showed a message again, and
    /// those that were begun and were not complete.
    #[track_caller]
    fn check(mut self, office: &Office, said: &BTreeMap<Id, Vec<String>>) -> (usize, usize) {
        // Nothing more is begun.
        self.peer.kill();
        let turns = self.turns();
        for (channel, said) in said {
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
            assert_eq!(office.heard(*channel, self.seat.id), answers);
        }
        let mut seen = BTreeSet::new();
        let is_repeat = |turn: &&Vec<Shown>| {
            let new = turn.iter().filter(|shown| seen.insert((*shown).clone()));
            new.count() < turn.len()
        };
        let repeats = turns.iter().filter(is_repeat).count();
        let incomplete = self.begun() - self.complete() + self.forgotten;
        assert!(
            repeats <= incomplete,
            "{repeats} turns showed a message again, and {incomplete} were not complete"
        );
        let log = fs::read_to_string(&self.seat.log).expect("a log");
        assert!(!log.contains("Heard message"), "{log}");
        (repeats, incomplete)
    }
}

#[expect(clippy::print_stdout, reason = "a long run says how much it did")]
fn killed(mut office: Office, victims: &[Victim]) {
    let mut dice = Dice::thrown();
    let seats = [("Pera", "Ždera"), ("Zora", "Brzić")];
    let seats = seats.map(|(first, last)| office.seat(first, last, "echoes"));
    let ids = seats.each_ref().map(|seat| seat.id);
    let channels = ["first", "second"].map(|name| office.channel(name, &ids, None));
    let mut members = seats.map(Member::start);

    let mut said: BTreeMap<Id, Vec<String>> = BTreeMap::new();
    let mut sent: BTreeMap<Shown, Id> = BTreeMap::new();
    let mut count = 0;
    let mut say = |office: &Office, sent: &mut BTreeMap<Shown, Id>, at: usize| {
        count += 1;
        let (channel, text) = (channels[at], format!("message {count}."));
        let id = office.says(channel, &text);
        sent.insert((channel.to_string(), text.clone()), id);
        said.entry(channel).or_default().push(text);
    };
    // So that each channel has one.
    for at in 0..channels.len() {
        say(&office, &mut sent, at);
    }
    let (began, mut deaths, mut away) = (Instant::now(), 0, None);
    while goes_on(began, deaths, victims.len() as u64) {
        let turns = |members: &[Member; 2]| -> usize {
            members.iter().map(|member| member.turns().len()).sum()
        };
        let (shown, answered) = (turns(&members), heard(&office, channels, ids));
        for _ in 0..=dice.up_to(MESSAGES - 1) {
            say(&office, &mut sent, usize::from(dice.up_to(1) == 1));
        }
        // Sometimes at once, sometimes when a turn has been asked for, or has answered.
        let moment = dice.up_to(2);
        until_true("the moment of a death", || {
            members.iter_mut().for_each(Member::tend);
            match moment {
                0 => true,
                1 => turns(&members) > shown,
                _ => heard(&office, channels, ids) > answered,
            }
        });
        let at = match length() {
            Length::Quick => deaths % victims.len() as u64,
            Length::Full | Length::Long => dice.up_to(victims.len() as u64 - 1),
        };
        deaths += 1;
        if let (Some(node), Some(servers)) = (away.take(), &mut office.servers) {
            servers.restart(node);
            servers.catch_up(node);
        }
        let member = &mut members[usize::from(dice.up_to(1) == 1)];
        match victims[usize::try_from(at).expect("small")] {
            Victim::Node => {
                let node = usize::try_from(dice.up_to(2)).expect("small");
                office.servers.as_mut().expect("a cluster").kill(node);
                away = Some(node);
            }
            Victim::Relay => office.restart_relay(),
            Victim::Peer => member.kill(&sent),
            Victim::Codex => member.kill_codex(),
        }
        for _ in 0..=dice.up_to(MESSAGES - 1) {
            say(&office, &mut sent, usize::from(dice.up_to(1) == 1));
        }
        if deaths % CALM == 0 {
            caught_up(&mut members, channels, &sent);
        }
    }
    caught_up(&mut members, channels, &sent);

    let counts = members.map(|member| member.check(&office, &said));
    let [(a, of_a), (b, of_b)] = counts;
    // For the report of a long run.
    println!(
        "{deaths} deaths, {count} messages, in {:.0} s; {} turns showed a message again, {} were not complete",
        began.elapsed().as_secs_f64(),
        a + b,
        of_a + of_b
    );
}

/// Waits until both peers have dealt with all that was said.
fn caught_up(members: &mut [Member; 2], channels: [Id; 2], sent: &BTreeMap<Shown, Id>) {
    let last = channels.map(|channel| {
        let of_channel = sent
            .iter()
            .filter(|((of, _), _)| *of == channel.to_string());
        of_channel.map(|(_, id)| *id).max()
    });
    until_true("all watermarks", || {
        let is_done = |member: &mut Member| {
            member.tend();
            let mut marks = channels.into_iter().zip(last);
            marks.all(|(channel, last)| member.seat.watermark(channel) >= last)
        };
        members.iter_mut().all(is_done)
    });
}

fn heard(office: &Office, channels: [Id; 2], of: [Id; 2]) -> usize {
    let pairs = channels
        .into_iter()
        .flat_map(|channel| of.map(|peer| (channel, peer)));
    pairs
        .map(|(channel, peer)| office.heard(channel, peer).len())
        .sum()
}
