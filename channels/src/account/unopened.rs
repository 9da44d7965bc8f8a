//! [`Unopened`]: messages that did not open and were told of. No watermark says that: their ids are the relay's word alone.

use crate::Id;
use std::collections::VecDeque;

/// The last messages that did not open, each told of once.
#[derive(Debug)]
pub struct Unopened {
    told: VecDeque<(Id, Id)>,
    most: usize,
}

impl Unopened {
    /// None yet. Beyond `most`, the one that was told of first is forgotten, and would be told of again.
    #[must_use]
    pub const fn new(most: usize) -> Self {
        Self {
            told: VecDeque::new(),
            most,
        }
    }

    /// Whether a message of a channel was not told of yet; from now on it was.
    pub fn is_first(&mut self, channel_id: Id, message_id: Id) -> bool {
        let at = (channel_id, message_id);
        if self.told.contains(&at) {
            return false;
        }
        if self.told.len() >= self.most {
            self.told.pop_front();
        }
        self.told.push_back(at);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_told_once_and_the_oldest_is_forgotten() {
        let [low, middle, high] = [1, 2, 3].map(|number| Id::from_parts(number, 0));
        let mut unopened = Unopened::new(2);
        // The age counts, and not the order of their ids.
        assert!(unopened.is_first(low, high) && unopened.is_first(low, low));
        assert!(!unopened.is_first(low, high) && !unopened.is_first(low, low));
        assert!(
            unopened.is_first(high, low),
            "the same id in another channel"
        );
        assert!(!unopened.is_first(low, low));
        assert!(unopened.is_first(low, high), "it was forgotten");
        assert!(unopened.is_first(middle, middle));
        assert!(unopened.is_first(high, low), "and so was this one");
    }
}
