//! [`Numbers`]: the numbers of messages that were opened, so that none is taken for a new one under another id.
//!
//! ```text
//! opened above the watermark ─meet─▶ its number has this id ─pass─▶ the greatest one of its device is kept
//! ```
//! The encryption covers the number that the sender gave to a message, and not the id that the relay gives to it. Behind an
//! honest relay the numbers of a device rise with the ids of its messages. So above a watermark no number comes again that is
//! not greater than all that the watermark has passed, and none has two ids.
//!
//! Invariants: a message is no repeat of itself, in whatever order and however often it comes; a number that was passed stays
//! passed.
//!
//! Must not know: where a watermark comes from, what a message says.

use crate::Id;
use crate::wire::Message;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Messages above their watermarks that are remembered. The buffer of a participant holds fewer, and what is behind them is read
/// again.
const MOST: usize = 100_000;

/// A message as its device has numbered it, and as the relay has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Numbered {
    /// Where it is.
    pub channel_id: Id,
    /// The device that sealed it.
    pub device_id: Id,
    /// The number that the device gave to it.
    pub seq: u64,
    /// The id that the relay gave to it.
    pub message_id: Id,
}

impl From<&Message> for Numbered {
    fn from(message: &Message) -> Self {
        Self {
            channel_id: message.channel_id,
            device_id: message.sender_device_id,
            seq: message.seq,
            message_id: message.message_id,
        }
    }
}

/// What an identity knows of the numbers of others.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Numbers {
    /// By channel and device: the greatest number that the watermark of the channel has passed.
    passed: BTreeMap<Id, BTreeMap<Id, u64>>,
    /// By channel, device and number: the id under which a message above the watermark was opened first.
    #[serde(skip)]
    met: BTreeMap<(Id, Id, u64), Id>,
}

impl Numbers {
    /// Whether a message that lies above this watermark of its channel is one that was opened before, under another id.
    #[must_use]
    pub fn is_repeat(&self, of: Numbered, watermark: Option<Id>) -> bool {
        if watermark >= Some(of.message_id) {
            return false;
        }
        let passed = self.passed.get(&of.channel_id);
        let passed = passed.and_then(|devices| devices.get(&of.device_id));
        let met = self.met.get(&(of.channel_id, of.device_id, of.seq));
        passed.is_some_and(|passed| of.seq <= *passed) || met.is_some_and(|id| *id != of.message_id)
    }

    /// Remembers a message that was opened above this watermark, and is dealt with when the watermark reaches it.
    pub fn meet(&mut self, of: Numbered, watermark: Option<Id>) {
        if watermark < Some(of.message_id) && self.met.len() < MOST {
            let at = (of.channel_id, of.device_id, of.seq);
            self.met.entry(at).or_insert(of.message_id);
        }
    }

    /// Takes the numbers of a channel as used that its watermark has passed.
    pub fn pass(&mut self, channel_id: Id, watermark: Id) {
        let least = (channel_id, Id::ZERO, 0);
        let of_channel = self.met.range(least..);
        let of_channel = of_channel.take_while(|((channel, ..), _)| *channel == channel_id);
        let passed = of_channel.filter(|(_, message)| **message <= watermark);
        let passed: Vec<(Id, Id, u64)> = passed.map(|(at, _)| *at).collect();
        for at in passed {
            self.met.remove(&at);
            let (_, device, seq) = at;
            let devices = self.passed.entry(channel_id).or_default();
            let greatest = devices.entry(device).or_default();
            *greatest = seq.max(*greatest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: u64) -> Id {
        Id::from_parts(number, 0)
    }

    fn numbered(seq: u64, message: u64) -> Numbered {
        Numbered {
            channel_id: id(1),
            device_id: id(2),
            seq,
            message_id: id(message),
        }
    }

    /// As another process finds it.
    fn restarted(numbers: &Numbers) -> Numbers {
        let kept = serde_json::to_string(numbers).expect("it is JSON");
        serde_json::from_str(&kept).expect("it is read")
    }

    #[test]
    fn passed_number_is_refused_after_restart() {
        let mut numbers = Numbers::default();
        let mark = Some(id(10));
        for (seq, message) in [(4, 11), (7, 12), (9, 13)] {
            assert!(!numbers.is_repeat(numbered(seq, message), mark));
            numbers.meet(numbered(seq, message), mark);
        }
        numbers.pass(id(1), id(12));
        let (numbers, mark) = (restarted(&numbers), Some(id(12)));
        for seq in [4, 5, 7] {
            assert!(numbers.is_repeat(numbered(seq, 40), mark), "{seq}");
        }
        // It was not dealt with: it comes again, under whatever id.
        assert!(!numbers.is_repeat(numbered(9, 13), mark));
        // What lies below the watermark is history, and stays readable; so do others' messages and other channels.
        assert!(!numbers.is_repeat(numbered(4, 11), mark));
        let of_another = Numbered {
            device_id: id(3),
            ..numbered(4, 40)
        };
        let elsewhere = Numbered {
            channel_id: id(9),
            ..numbered(4, 40)
        };
        assert!(!numbers.is_repeat(of_another, mark));
        assert!(!numbers.is_repeat(elsewhere, mark));
    }

    #[test]
    fn message_above_the_watermark_has_one_id() {
        let mut numbers = Numbers::default();
        let mark = Some(id(10));
        numbers.meet(numbered(5, 20), mark);
        // Again, and in whatever order, it is itself.
        numbers.meet(numbered(4, 19), mark);
        assert!(!numbers.is_repeat(numbered(5, 20), mark));
        assert!(!numbers.is_repeat(numbered(4, 19), mark));
        // Between the two, and behind them, it is a repeat.
        for message in [18, 21] {
            assert!(numbers.is_repeat(numbered(4, message), mark), "{message}");
            assert!(numbers.is_repeat(numbered(5, message), mark), "{message}");
        }
        // A first id of many that is too high holds up nothing but itself.
        numbers.meet(numbered(6, 1 << 40), mark);
        assert!(!numbers.is_repeat(numbered(7, 21), mark));
    }

    #[test]
    fn remembered_messages_are_bounded() {
        let mut numbers = Numbers::default();
        for seq in 1..=MOST as u64 + 5 {
            numbers.meet(numbered(seq, seq), None);
        }
        assert_eq!(numbers.met.len(), MOST);
        numbers.pass(id(1), id(10));
        assert_eq!(numbers.met.len(), MOST - 10);
        // The next ones have room.
        let last = numbered(MOST as u64 + 5, MOST as u64 + 5);
        numbers.meet(last, None);
        numbers.pass(id(1), last.message_id);
        assert!(numbers.met.is_empty());
        assert!(numbers.is_repeat(numbered(last.seq, 1 << 40), Some(last.message_id)));
    }
}
