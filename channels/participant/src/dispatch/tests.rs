//! The dispatcher as a machine: its commands after sequences of events.

use super::*;
use plexus_channels::state::{Numbered, Numbers};

const ME: u64 = 0;

fn id(number: u64) -> Id {
    Id::from_parts(number, 0)
}

fn started(unread: &[Mark]) -> (Dispatcher, Vec<Command>) {
    let mut machine = Dispatcher::new();
    let commands = machine.take(Event::Started {
        digest: "digest".into(),
        shown: Vec::new(),
        unread: unread.to_vec(),
    });
    (machine, commands)
}

/// A machine that has nothing to do.
fn idle() -> Dispatcher {
    let (mut machine, _) = started(&[]);
    assert_eq!(machine.take(Event::Completed), []);
    machine
}

fn pushed(message: u64, line: &str) -> Event {
    Event::Pushed {
        channel: id(1),
        message: id(message),
        line: Some(line.into()),
    }
}

/// A message of a page that opened.
fn paged(message: Id, line: Option<String>) -> Paged {
    Paged {
        message,
        line,
        is_open: true,
    }
}

#[test]
fn messages_wait_for_the_turn_and_drain_into_one() {
    let mut machine = idle();
    assert_eq!(
        machine.take(pushed(1, "a")),
        [Command::Turn("a".to_owned())]
    );
    assert_eq!(machine.take(pushed(2, "b")), []);
    assert_eq!(machine.take(pushed(2, "again")), []);
    assert_eq!(machine.take(pushed(3, "c")), []);
    let own = Event::Pushed {
        channel: id(1),
        message: id(4),
        line: None,
    };
    assert_eq!(machine.take(own), []);
    assert_eq!(
        machine.take(Event::Completed),
        [
            Command::Keep(vec![(id(1), id(1))]),
            Command::Turn("b\nc".into())
        ]
    );
    assert_eq!(
        machine.take(Event::Completed),
        [Command::Keep(vec![(id(1), id(3))])]
    );
}

#[test]
fn seventh_failure_of_turn_ends_process() {
    let mut machine = idle();
    machine.take(pushed(1, "a"));
    for failures in 1..FAILURES {
        assert_eq!(
            machine.take(Event::Failed),
            [Command::Wait(Duration::from_secs(5 * u64::from(failures)))]
        );
        // Messages that come meanwhile wait, and go out together.
        assert_eq!(machine.take(pushed(1 + u64::from(failures), "b")), []);
        let commands = machine.take(Event::Timer);
        let [Command::Turn(input)] = &*commands else {
            panic!("{commands:?}")
        };
        let first = format!("[event: retry {failures}/7 of a previously failed turn");
        assert!(input.starts_with(&first), "{input}");
        let rest: Vec<_> = input.lines().skip(1).collect();
        assert_eq!(
            rest.join(""),
            "a".to_owned() + &"b".repeat(failures as usize)
        );
    }
    assert_eq!(
        machine.take(Event::Failed),
        [Command::GiveUp("a turn failed seven times")]
    );
    assert_eq!(machine.take(Event::Timer), []);
}

#[test]
fn reconnect_in_the_digest_turn_keeps_no_watermark() {
    let mut machine = Dispatcher::new();
    let shown = vec![(id(1), id(9))];
    machine.take(Event::Started {
        digest: "digest".into(),
        shown: shown.clone(),
        unread: Vec::new(),
    });
    let commands = machine.take(Event::Bound {
        offline: Duration::ZERO,
        channels: vec![(id(1), Id::ZERO)],
    });
    let keeps = |command: &Command| matches!(command, Command::Keep(_));
    assert!(!commands.iter().any(keeps), "{commands:?}");
    let commands = machine.take(Event::Completed);
    assert_eq!(commands.first(), Some(&Command::Keep(shown)));
}

#[test]
fn failed_digest_ends_the_process() {
    let (mut machine, _) = started(&[]);
    assert_eq!(
        machine.take(Event::Failed),
        [Command::GiveUp("the first turn failed")]
    );
}

#[test]
fn stop_ends_a_retry() {
    let mut machine = idle();
    machine.take(pushed(1, "a"));
    machine.take(Event::Failed);
    assert_eq!(machine.take(Event::Stop), []);
    assert_eq!(machine.take(Event::Timer), []);
    assert_eq!(machine.take(pushed(2, "b")), []);
}

#[test]
fn gap_is_read_after_retry_behind_heading() {
    let mut machine = idle();
    machine.take(Event::Joined {
        channel: id(1),
        after: id(4),
    });
    machine.take(pushed(5, "a"));
    machine.take(Event::Failed);
    machine.take(pushed(6, "b"));
    let bound = Event::Bound {
        offline: Duration::from_secs(9),
        channels: vec![(id(1), id(0))],
    };
    assert_eq!(machine.take(bound), []);
    // Messages that were pushed before come out of the history.
    let commands = machine.take(Event::Timer);
    assert!(matches!(&*commands, [Command::Turn(input)] if input.ends_with("\na")));
    let fetch = Command::Fetch {
        fetch: 1,
        channel: id(1),
        after: id(5),
    };
    assert_eq!(
        machine.take(Event::Completed),
        [Command::Keep(vec![(id(1), id(5))]), fetch]
    );
    // One that is pushed while the page is on its way is fetched too.
    assert_eq!(machine.take(pushed(8, "d")), []);
    let page = |fetch, messages: &[(u64, &str)]| Event::Page {
        fetch,
        messages: messages
            .iter()
            .map(|(message, line)| paged(id(*message), Some((*line).to_owned())))
            .collect(),
        more: false,
        is_short: false,
    };
    let again = Command::Fetch {
        fetch: 2,
        channel: id(1),
        after: id(7),
    };
    assert_eq!(machine.take(page(1, &[(6, "b"), (7, "c")])), [again]);
    let input = "[event: WebSocket reconnected after 9s offline; missed messages follow]\nb\nc\nd";
    assert_eq!(
        machine.take(page(2, &[(8, "d")])),
        [Command::Turn(input.into())]
    );
}

#[test]
fn gap_without_a_message_makes_no_turn() {
    let mut machine = idle();
    let bound = Event::Bound {
        offline: Duration::from_secs(9),
        channels: vec![(id(1), id(3))],
    };
    let commands = machine.take(bound);
    assert_eq!(commands[0], Command::Keep(vec![(id(1), id(3))]));
    let own = Event::Page {
        fetch: 1,
        messages: vec![paged(id(4), None)],
        more: true,
        is_short: false,
    };
    assert!(matches!(&*machine.take(own), [Command::Fetch { after, .. }] if *after == id(4)));
    let nothing = Event::Page {
        fetch: 2,
        messages: Vec::new(),
        more: true,
        is_short: false,
    };
    assert_eq!(machine.take(nothing), []);
}

#[test]
fn message_that_does_not_open_sets_no_mark() {
    let mut machine = idle();
    let channels = vec![(id(1), id(3))];
    let offline = Duration::ZERO;
    machine.take(Event::Bound { offline, channels });
    let unopened = |message, line: Option<&str>| Paged {
        message: id(message),
        line: line.map(str::to_owned),
        is_open: false,
    };
    let lie = 1 << 40;
    let page = Event::Page {
        fetch: 1,
        messages: vec![
            unopened(4, Some("unclear")),
            paged(id(5), Some("a".into())),
            unopened(lie, Some("false")),
        ],
        more: true,
        is_short: false,
    };
    // The history is read on behind it; the watermark and the next push do not know of it.
    let after = id(lie);
    let channel = id(1);
    let fetch = |fetch, after| Command::Fetch {
        fetch,
        channel,
        after,
    };
    assert_eq!(machine.take(page), [fetch(2, after)]);
    let short = Event::Page {
        fetch: 2,
        messages: vec![unopened(lie + 1, None)],
        more: false,
        is_short: true,
    };
    let commands = machine.take(short);
    let [Command::Turn(input)] = &*commands else {
        panic!("{commands:?}")
    };
    let withheld = lines::withheld(id(1));
    assert!(
        input.ends_with(&format!("\nunclear\na\nfalse\n{withheld}")),
        "{input}"
    );
    assert_eq!(
        machine.take(Event::Completed),
        [Command::Keep(vec![(id(1), id(5))])]
    );
    assert_eq!(machine.take(pushed(6, "b")), [Command::Turn("b".into())]);
}

#[test]
fn full_buffer_leaves_messages_at_the_relay() {
    let mut machine = idle();
    machine.take(pushed(1, "a"));
    let long = "x".repeat(TURN_BYTES);
    for message in 2..10_000 {
        assert_eq!(machine.take(pushed(message, &long)), []);
        assert_eq!(machine.take(Event::Line("y".repeat(1_000))), []);
    }
    assert!(machine.bytes < BUFFER_BYTES + 2 * TURN_BYTES);
    let last = machine.buffer.back().expect("a line").text.clone();
    assert_eq!(last, lines::left_out());
    let mut next = 2;
    let mut commands = machine.take(Event::Completed);
    while next < 10_000 {
        let command = commands.pop().expect("it goes on");
        commands = match command {
            Command::Turn(input) => {
                next += input.lines().filter(|line| **line == long).count() as u64;
                machine.take(Event::Completed)
            }
            Command::Fetch { fetch, after, .. } => {
                let from = after.millis() + 1;
                let messages = from..10_000.min(from + 200);
                let messages = messages.map(|m| paged(id(m), Some(long.clone())));
                machine.take(Event::Page {
                    fetch,
                    messages: messages.collect(),
                    more: from + 200 < 10_000,
                    is_short: false,
                })
            }
            other => panic!("{other:?}"),
        };
    }
}

/// Steps of a linear congruential generator: the same world for the same seed.
struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

/// The view of a relay and of a model, as simply as can be.
#[derive(Default)]
struct World {
    /// The messages of each channel: who sent them.
    channels: BTreeMap<Id, Vec<(Id, u64)>>,
    clock: u64,
    connected: bool,
    saved: BTreeMap<Id, Id>,
    numbers: Numbers,
    /// Messages that this process has opened, or that lie below a watermark: the channel and the place in it.
    opened: BTreeSet<(Id, usize)>,
    /// The turn that runs.
    turn: Option<String>,
    /// A page that is under way, with what the relay had when it was asked for, if it was read then.
    fetch: Option<(u64, Id, Id, Option<Event>)>,
    waits: bool,
    failures: u32,
    /// Shown in a turn that completed, in order.
    consumed: Vec<Mark>,
}

impl World {
    fn line(channel: Id, message: Id) -> String {
        format!("{channel} {message}")
    }

    fn marks(input: &str) -> Vec<Mark> {
        let parse = |line: &str| {
            let (channel, message) = line.split_once(' ')?;
            Some((channel.parse().ok()?, message.parse().ok()?))
        };
        input.lines().filter_map(parse).collect()
    }

    /// Whether a message of a channel opens under this id, as the account judges it.
    fn opens(&mut self, channel: Id, at: usize, message: Id) -> bool {
        let (truth, sender) = self.channels[&channel][at];
        let of = Numbered {
            channel_id: channel,
            device_id: id(sender),
            seq: at as u64 + 1,
            message_id: message,
        };
        let mark = self.saved.get(&channel).copied();
        if self.numbers.is_repeat(of, mark) {
            assert_ne!(message, truth, "a true message is refused");
            return false;
        }
        self.numbers.meet(of, mark);
        self.opened.insert((channel, at));
        true
    }

    /// An old message of a channel under a new id, as a page of a relay that lies has it.
    fn repeat(&mut self, channel: Id, message: Id) -> Option<Paged> {
        let known = self.opened.iter().filter(|(c, _)| *c == channel);
        let known: Vec<usize> = known.map(|(_, at)| *at).collect();
        let at = *known.get(message.millis() as usize % known.len().max(1))?;
        let (truth, sender) = self.channels[&channel][at];
        let is_open = self.opens(channel, at, message);
        let line = match is_open {
            true if sender == ME => None,
            true => Some(Self::line(channel, truth)),
            false => Some("[event: line]".into()),
        };
        Some(Paged {
            message,
            line,
            is_open,
        })
    }

    fn obey(&mut self, commands: Vec<Command>) {
        for command in commands {
            match command {
                Command::Turn(input) => {
                    assert!(self.turn.is_none() && !self.waits, "one turn at a time");
                    let marks = Self::marks(&input);
                    assert!(
                        input == "digest" || !marks.is_empty() || input.contains("[event: line"),
                        "a turn of nothing: {input}"
                    );
                    self.turn = Some(input);
                }
                Command::Fetch {
                    fetch,
                    channel,
                    after,
                } => {
                    let early = (fetch % 2 == 0).then(|| self.page(fetch, channel, after));
                    self.fetch = Some((fetch, channel, after, early));
                }
                Command::Keep(marks) => {
                    for (channel, message) in marks {
                        let kept = self.saved.entry(channel).or_default();
                        *kept = message.max(*kept);
                        self.numbers.pass(channel, *kept);
                    }
                }
                Command::Wait(_) => self.waits = true,
                Command::GiveUp(why) => panic!("{why}"),
            }
        }
    }

    fn start(&mut self) -> Dispatcher {
        self.turn = None;
        (self.connected, self.waits, self.fetch, self.failures) = (true, false, None, 0);
        // The next process has what is on disk.
        let kept = serde_json::to_string(&self.numbers).expect("it is JSON");
        self.numbers = serde_json::from_str(&kept).expect("it is read");
        let (channels, saved) = (&self.channels, &self.saved);
        self.opened
            .retain(|(channel, at)| saved.get(channel) >= Some(&channels[channel][*at].0));
        let saved = |channel: &Id| self.saved.get(channel).copied().unwrap_or_default();
        let unread = self.channels.keys().map(|c| (*c, saved(c))).collect();
        let mut machine = Dispatcher::new();
        let commands = machine.take(Event::Started {
            digest: "digest".into(),
            shown: Vec::new(),
            unread,
        });
        self.obey(commands);
        machine
    }

    fn step(&mut self, machine: &mut Dispatcher, chance: &mut Chance) {
        let channels: Vec<Id> = self.channels.keys().copied().collect();
        let event = match chance.below(14) {
            0..=4 => {
                let channel = channels[chance.below(channels.len() as u64) as usize];
                self.clock += 1;
                let (message, sender) = (id(self.clock), chance.below(4));
                let messages = self.channels.get_mut(&channel).expect("it is there");
                messages.push((message, sender));
                let at = messages.len() - 1;
                if !self.connected {
                    return;
                }
                if chance.below(12) == 0 {
                    Event::Missed { channel, message }
                } else {
                    self.opens(channel, at, message);
                    let line = (sender != ME).then(|| Self::line(channel, message));
                    Event::Pushed {
                        channel,
                        message,
                        line,
                    }
                }
            }
            5 => {
                self.connected = false;
                return;
            }
            6 | 7 if !self.connected => {
                self.connected = true;
                Event::Bound {
                    offline: Duration::from_secs(1),
                    channels: channels.iter().map(|c| (*c, Id::ZERO)).collect(),
                }
            }
            8 if self.connected && chance.below(2) == 0 => {
                let channel = channels[chance.below(channels.len() as u64) as usize];
                self.clock += 1;
                match self.repeat(channel, id(self.clock)) {
                    Some(Paged {
                        message,
                        line,
                        is_open: true,
                    }) => Event::Pushed {
                        channel,
                        message,
                        line,
                    },
                    _ => Event::Line("[event: line]".into()),
                }
            }
            8 => Event::Line("[event: line]".into()),
            9 if self.turn.is_some() && self.failures < 5 => {
                let input = self.turn.take().unwrap_or_default();
                if input == "digest" {
                    self.turn = Some(input);
                    return;
                }
                self.failures += 1;
                Event::Failed
            }
            10 | 11 => match self.turn.take() {
                Some(input) => {
                    self.failures = 0;
                    self.consumed.extend(Self::marks(&input));
                    Event::Completed
                }
                None => return,
            },
            12 if self.waits => {
                self.waits = false;
                Event::Timer
            }
            13 if self.connected => match self.fetch.take() {
                Some((fetch, channel, after, early)) => {
                    early.unwrap_or_else(|| self.page(fetch, channel, after))
                }
                None => return,
            },
            _ => return,
        };
        let commands = machine.take(event);
        self.obey(commands);
    }

    fn page(&mut self, fetch: u64, channel: Id, after: Id) -> Event {
        let all = self.channels[&channel].iter().enumerate();
        let all = all.filter(|(_, (message, _))| *message > after);
        let all: Vec<_> = all.map(|(at, message)| (at, *message)).collect();
        let mut messages = Vec::new();
        for (at, (message, sender)) in all.iter().take(3) {
            self.opens(channel, *at, *message);
            let line = (*sender != ME).then(|| Self::line(channel, *message));
            messages.push(paged(*message, line));
        }
        if let Some(last) = messages.last().filter(|_| !fetch.is_multiple_of(4)) {
            // Between the last of the page and the first of the next one.
            let behind = Id::from_parts(last.message.millis(), 1);
            messages.extend(self.repeat(channel, behind));
        }
        let more = all.len() > 3;
        if !more && fetch.is_multiple_of(3) {
            // A relay that lies of a message that is not there.
            messages.push(Paged {
                message: id(1 << 40),
                line: Some("[event: line]".into()),
                is_open: false,
            });
        }
        Event::Page {
            fetch,
            messages,
            more,
            is_short: false,
        }
    }

    /// Everything that can still happen, happens.
    fn drain(&mut self, machine: &mut Dispatcher) {
        if !self.connected {
            self.connected = true;
            let channels = self.channels.keys().map(|c| (*c, Id::ZERO)).collect();
            let offline = Duration::ZERO;
            let commands = machine.take(Event::Bound { offline, channels });
            self.obey(commands);
        }
        loop {
            let event = if let Some(input) = self.turn.take() {
                self.consumed.extend(Self::marks(&input));
                Event::Completed
            } else if std::mem::take(&mut self.waits) {
                Event::Timer
            } else if let Some((fetch, channel, after, early)) = self.fetch.take() {
                early.unwrap_or_else(|| self.page(fetch, channel, after))
            } else {
                return;
            };
            let commands = machine.take(event);
            self.obey(commands);
        }
    }
}

#[test]
fn every_message_is_consumed_in_order_whatever_fails() {
    for seed in 0..400 {
        let mut chance = Chance(seed);
        let mut world = World::default();
        for channel in 1..=3 {
            world.channels.insert(id(1_000_000 + channel), Vec::new());
        }
        let mut machine = world.start();
        for _ in 0..600 {
            if chance.below(60) == 0 {
                machine = world.start();
            }
            world.step(&mut machine, &mut chance);
        }
        world.drain(&mut machine);
        for (channel, messages) in &world.channels {
            let of = world.consumed.iter().filter(|(c, _)| c == channel);
            let consumed: Vec<Id> = of.map(|(_, message)| *message).collect();
            let sent = messages.iter().filter(|(_, sender)| *sender != ME);
            let sent: Vec<Id> = sent.map(|(message, _)| *message).collect();
            assert_eq!(consumed, sent, "seed {seed}: each once, in order");
            assert!(world.saved.get(channel) >= sent.last(), "seed {seed}");
        }
    }
}
