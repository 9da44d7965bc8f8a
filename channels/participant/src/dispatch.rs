//! [`Dispatcher`]: which messages go into which turn of the agent. A pure machine: events in, commands out.
//!
//! ```text
//! Boot ─Started─▶ Turn(digest) ─Completed─▶ Idle ─a channel is due─▶ Fetching ─Page─▶ Idle
//!                   └─Failed─▶ Over          └─the buffer holds entries─▶ Turn ─Completed─▶ Idle
//!                                                                          └─Failed─▶ Gated(n) ─n × 5 s─▶ Turn;  n = 7 ─▶ Over
//! ```
//! A channel is *due* when the relay may hold messages of it that no push brings: after each new connection, and when the
//! buffer was full. Messages of a due channel come from its history alone, so that none is passed over. A message that did not
//! open is a line and no more: its id is the relay's word alone, and would keep true messages out.
//!
//! Invariants: one turn at a time; the watermark of a channel rises only when a turn has completed, to the greatest
//! message of that turn that opened; within a channel messages enter turns in the order of their ids; a message enters a
//! second turn only where the first one failed; the buffer is bounded; after [`Event::Stop`] no command comes.
//!
//! Must not know: clocks, sockets, the relay's protocol, what a line says.

use crate::lines;
use plexus_channels::Id;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

/// Bytes of one turn's input, unless one entry alone is longer.
const TURN_BYTES: usize = 64 << 10;
/// Bytes in the buffer beyond which messages are left at the relay.
const BUFFER_BYTES: usize = 1 << 20;
/// Failures of one batch that end the process.
pub(crate) const FAILURES: u32 = 7;
/// The first pause after a failure; each further one is as much longer.
const PAUSE: Duration = Duration::from_secs(5);

/// A channel and one of its messages.
pub type Mark = (Id, Id);

/// An event of the world outside.
#[derive(Clone, Debug)]
pub(crate) enum Event {
    /// The first connection is bound; the digest shows these messages, and these channels have unread ones after an id.
    Started {
        digest: String,
        shown: Vec<Mark>,
        unread: Vec<Mark>,
    },
    /// A later connection is bound. These are all channels, each with where to begin if it was not known before.
    Bound {
        offline: Duration,
        channels: Vec<Mark>,
    },
    /// The relay pushed a message, and it opened; no line where it is the agent's own.
    Pushed {
        channel: Id,
        message: Id,
        line: Option<String>,
    },
    /// The relay pushed a message that could not be opened now.
    Missed { channel: Id, message: Id },
    /// The agent is a member now; earlier messages than this one are not for it.
    Joined { channel: Id, after: Id },
    /// The agent is no member any more.
    Left { channel: Id },
    /// Something else that the model should know.
    Line(String),
    /// A page of history, the answer to [`Command::Fetch`] of this number.
    Page {
        fetch: u64,
        messages: Vec<Paged>,
        more: bool,
        /// It ends before the newest message that the relay named.
        is_short: bool,
    },
    /// The turn completed.
    Completed,
    /// The turn failed, or ended without a word.
    Failed,
    /// The pause is over.
    Timer,
    /// The process ends.
    Stop,
}

/// A message of a page.
#[derive(Clone, Debug)]
pub(crate) struct Paged {
    pub(crate) message: Id,
    /// None for the agent's own, and for one that was told before.
    pub(crate) line: Option<String>,
    /// Whether it opened.
    pub(crate) is_open: bool,
}

/// An act that the caller carries out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Command {
    /// Begin a turn with this input.
    Turn(String),
    /// Read a page of the channel's history after an id.
    Fetch { fetch: u64, channel: Id, after: Id },
    /// Write these watermarks to disk.
    Keep(Vec<Mark>),
    /// Send [`Event::Timer`] after this pause.
    Wait(Duration),
    /// End the process as a failure.
    GiveUp(&'static str),
}

#[derive(Clone, Debug)]
struct Entry {
    marks: Vec<Mark>,
    text: String,
}

#[derive(Debug, PartialEq, Eq)]
enum DispatchState {
    Boot,
    Idle,
    Fetching {
        channel: Id,
        after: Id,
        pushed: Option<Id>,
    },
    Turn {
        digest: bool,
    },
    Gated,
    Over,
}

/// The machine.
#[derive(Debug)]
pub(crate) struct Dispatcher {
    stage: DispatchState,
    buffer: VecDeque<Entry>,
    bytes: usize,
    /// The entries of the turn that runs.
    batch: Vec<Entry>,
    /// Entries at the front of the buffer that a failed turn has shown.
    failed: usize,
    failures: u32,
    watermarks: BTreeMap<Id, Id>,
    /// The greatest message of each channel that is in the buffer, in a turn or behind one.
    cursors: BTreeMap<Id, Id>,
    /// Due channels, each with how far its history has been read.
    due: BTreeMap<Id, Id>,
    fetches: u64,
    /// Messages before the first one that history brings.
    heading: Option<String>,
    /// A line was left out, and the buffer says so.
    overfull: bool,
}

impl Dispatcher {
    pub(crate) const fn new() -> Self {
        Self {
            stage: DispatchState::Boot,
            buffer: VecDeque::new(),
            bytes: 0,
            batch: Vec::new(),
            failed: 0,
            failures: 0,
            watermarks: BTreeMap::new(),
            cursors: BTreeMap::new(),
            due: BTreeMap::new(),
            fetches: 0,
            heading: None,
            overfull: false,
        }
    }

    /// The messages that the turn under way shows; a turn of events alone shows none.
    pub(crate) fn shown(&self) -> Vec<Mark> {
        let marks = self.batch.iter().flat_map(|entry| &entry.marks);
        marks.copied().collect()
    }

    /// Takes an event; answers with what is to be done, in this order.
    pub(crate) fn take(&mut self, event: Event) -> Vec<Command> {
        let mut commands = Vec::new();
        if self.stage == DispatchState::Over {
            return commands;
        }
        match event {
            Event::Started {
                digest,
                shown,
                unread,
            } => {
                self.cursors.extend(shown.iter().chain(&unread).copied());
                self.watermarks.extend(unread.iter().copied());
                keep(&unread, &mut commands);
                self.due.extend(unread.iter().copied());
                self.heading = Some(lines::unread());
                self.batch = vec![Entry {
                    marks: shown,
                    text: digest.clone(),
                }];
                self.stage = DispatchState::Turn { digest: true };
                commands.push(Command::Turn(digest));
            }
            Event::Bound { offline, channels } => self.bound(offline, &channels, &mut commands),
            Event::Pushed {
                channel,
                message,
                line,
            } => self.pushed(channel, message, line),
            Event::Missed { channel, message } => {
                if !self.is_due(channel, message) {
                    self.due.insert(channel, Id::ZERO);
                }
            }
            Event::Joined { channel, after } => {
                self.watermarks.insert(channel, after);
                let cursor = self.cursors.entry(channel).or_default();
                *cursor = after.max(*cursor);
                keep(&[(channel, after)], &mut commands);
            }
            Event::Left { channel } => {
                self.watermarks.remove(&channel);
                self.due.remove(&channel);
            }
            Event::Line(line) => self.line(line),
            Event::Page {
                fetch,
                messages,
                more,
                is_short,
            } => {
                if let DispatchState::Fetching {
                    channel,
                    after,
                    pushed,
                } = self.stage
                    && fetch == self.fetches
                {
                    self.page((channel, after, pushed), messages, more);
                    if is_short {
                        self.line(lines::withheld(channel));
                    }
                    self.stage = DispatchState::Idle;
                }
            }
            Event::Completed => self.completed(&mut commands),
            Event::Failed => self.failed(&mut commands),
            Event::Timer => {
                if self.stage == DispatchState::Gated {
                    self.begin(&mut commands);
                }
            }
            Event::Stop => self.stage = DispatchState::Over,
        }
        if self.stage == DispatchState::Idle {
            self.go_on(&mut commands);
        }
        commands
    }

    fn bound(&mut self, offline: Duration, channels: &[Mark], commands: &mut Vec<Command>) {
        let members: BTreeSet<Id> = channels.iter().map(|(channel, _)| *channel).collect();
        self.watermarks
            .retain(|channel, _| members.contains(channel));
        // A channel of the digest has its watermark when that turn is completed.
        let in_digest = |channel: &Id| {
            let mut marks = self.batch.iter().flat_map(|entry| &entry.marks);
            marks.any(|(shown, _)| shown == channel)
        };
        let known = |channel: &Id| self.watermarks.contains_key(channel) || in_digest(channel);
        let new: Vec<Mark> = channels
            .iter()
            .filter(|(channel, _)| !known(channel))
            .copied()
            .collect();
        self.watermarks.extend(new.iter().copied());
        keep(&new, commands);
        // Messages that were pushed and not shown yet come again, in their place among the missed ones.
        let (shown, rest) = (self.failed, std::mem::take(&mut self.buffer));
        let kept = rest.into_iter().enumerate();
        let kept = kept.filter(|(at, entry)| *at < shown || entry.marks.is_empty());
        self.buffer = kept.map(|(_, entry)| entry).collect();
        self.bytes = self.buffer.iter().map(|entry| entry.text.len()).sum();
        self.cursors = self.watermarks.clone();
        let in_turns = self.batch.iter().chain(&self.buffer);
        for (channel, message) in in_turns.flat_map(|entry| &entry.marks) {
            let cursor = self.cursors.entry(*channel).or_default();
            *cursor = (*message).max(*cursor);
        }
        self.due = members.into_iter().map(|id| (id, Id::ZERO)).collect();
        self.heading = Some(lines::backfill(offline));
        if matches!(self.stage, DispatchState::Fetching { .. }) {
            self.stage = DispatchState::Idle;
        }
    }

    fn pushed(&mut self, channel: Id, message: Id, line: Option<String>) {
        if self.is_due(channel, message) {
        } else if self.bytes > BUFFER_BYTES {
            self.due.insert(channel, Id::ZERO);
        } else {
            self.append(channel, message, line);
        }
    }

    /// Whether the channel's history will bring the message. One that is pushed while a page is read may not be in it.
    fn is_due(&mut self, channel: Id, message: Id) -> bool {
        if let DispatchState::Fetching {
            channel: fetched,
            pushed,
            ..
        } = &mut self.stage
            && *fetched == channel
        {
            *pushed = (*pushed).max(Some(message));
        }
        let Some(read) = self.due.get_mut(&channel) else {
            return false;
        };
        // A message that did not open had an id behind this one: it is read again from the cursor.
        if message <= *read {
            *read = Id::ZERO;
        }
        true
    }

    /// Appends a message unless it came before.
    fn append(&mut self, channel: Id, message: Id, line: Option<String>) {
        let cursor = self.cursors.entry(channel).or_default();
        if message <= *cursor {
            return;
        }
        *cursor = message;
        if let Some(text) = line {
            let marks = vec![(channel, message)];
            self.enter(Entry { marks, text });
        }
    }

    fn enter(&mut self, entry: Entry) {
        self.bytes += entry.text.len();
        self.buffer.push_back(entry);
    }

    fn line(&mut self, text: String) {
        let is_full = self.bytes > BUFFER_BYTES;
        if !(is_full && std::mem::replace(&mut self.overfull, is_full)) {
            let text = if is_full { lines::left_out() } else { text };
            let marks = Vec::new();
            self.enter(Entry { marks, text });
        }
        self.overfull = is_full;
    }

    fn page(
        &mut self,
        (channel, after, pushed): (Id, Id, Option<Id>),
        messages: Vec<Paged>,
        more: bool,
    ) {
        let before = self.buffer.len();
        let read = messages.last().map_or(after, |last| last.message);
        for paged in messages {
            match (paged.is_open, paged.line) {
                (true, line) => self.append(channel, paged.message, line),
                (false, Some(text)) => {
                    let marks = Vec::new();
                    self.enter(Entry { marks, text });
                }
                (false, None) => {}
            }
        }
        if self.buffer.len() > before
            && let Some(text) = self.heading.take()
        {
            self.bytes += text.len();
            let marks = Vec::new();
            self.buffer.push_front(Entry { marks, text });
        }
        let is_behind = pushed > self.cursors.get(&channel).copied();
        // A page that brings nothing ends the history, whatever the relay says of more.
        if is_behind {
            self.due.insert(channel, Id::ZERO);
        } else if read > after && more {
            self.due.insert(channel, read);
        } else {
            self.due.remove(&channel);
        }
        if self.due.is_empty() {
            self.heading = None;
        }
    }

    fn completed(&mut self, commands: &mut Vec<Command>) {
        if !matches!(self.stage, DispatchState::Turn { .. }) {
            return;
        }
        let mut marks: BTreeMap<Id, Id> = BTreeMap::new();
        for (channel, message) in self.batch.drain(..).flat_map(|entry| entry.marks) {
            let mark = marks.entry(channel).or_default();
            *mark = message.max(*mark);
        }
        self.watermarks
            .extend(marks.iter().map(|(channel, message)| (*channel, *message)));
        keep(&marks.into_iter().collect::<Vec<_>>(), commands);
        self.failures = 0;
        self.stage = DispatchState::Idle;
    }

    fn failed(&mut self, commands: &mut Vec<Command>) {
        let DispatchState::Turn { digest } = self.stage else {
            return;
        };
        self.failures += 1;
        if digest || self.failures == FAILURES {
            self.stage = DispatchState::Over;
            commands.push(Command::GiveUp(match digest {
                true => "the first turn failed",
                false => "a turn failed seven times",
            }));
            return;
        }
        self.failed = self.batch.len();
        for entry in self.batch.drain(..).rev() {
            self.bytes += entry.text.len();
            self.buffer.push_front(entry);
        }
        self.stage = DispatchState::Gated;
        commands.push(Command::Wait(PAUSE * self.failures));
    }

    fn go_on(&mut self, commands: &mut Vec<Command>) {
        if self.bytes < TURN_BYTES
            && let Some((channel, read)) = self.due.first_key_value()
        {
            let (channel, read) = (*channel, *read);
            let after = self.cursors.get(&channel).copied().unwrap_or_default();
            let after = after.max(read);
            self.fetches += 1;
            self.stage = DispatchState::Fetching {
                channel,
                after,
                pushed: None,
            };
            commands.push(Command::Fetch {
                fetch: self.fetches,
                channel,
                after,
            });
        } else if !self.buffer.is_empty() {
            self.begin(commands);
        }
    }

    /// A turn of what is in the buffer: all that a failed turn had, then as much as fits.
    fn begin(&mut self, commands: &mut Vec<Command>) {
        let mut input = String::new();
        if self.failures > 0 {
            input = lines::retry(self.failures);
        }
        while let Some(entry) = self.buffer.front() {
            let is_again = self.batch.len() < self.failed;
            let fits = input.len() + entry.text.len() < TURN_BYTES;
            if !(is_again || fits || self.batch.is_empty()) {
                break;
            }
            if !input.is_empty() {
                input.push('\n');
            }
            input.push_str(&entry.text);
            self.bytes -= entry.text.len();
            self.batch.extend(self.buffer.pop_front());
        }
        self.failed = 0;
        self.stage = DispatchState::Turn { digest: false };
        commands.push(Command::Turn(input));
    }
}

/// So that the next process knows where to go on.
fn keep(marks: &[Mark], commands: &mut Vec<Command>) {
    if !marks.is_empty() {
        commands.push(Command::Keep(marks.to_vec()));
    }
}

#[cfg(test)]
mod tests;
