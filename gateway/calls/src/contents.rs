//! What each agent has last read or written where, through Plexus: what its standing writes are held against
//! (docs/design.md#trust).
//!
//! In memory only: after a restart an agent reads again. Bounded: 1,000 things an agent, the oldest go first.
//!
//! Invariant: what one program under an agent's name has read counts for no other: another credential is another epoch,
//! and a call of an earlier one that still ends teaches nothing.

use plexus_ipc::message::Touched;
use plexus_protocol::{AgentId, Digest, SourceId};
use plexus_trust::Touch;
use std::{
    collections::{HashMap, VecDeque},
    sync::{Mutex, PoisonError},
};

const MOST: usize = 1_000;

/// Digests of what each agent last read or wrote, 1,000 an agent, in memory.
#[derive(Default)]
pub struct Contents(Mutex<HashMap<AgentId, AgentDigests>>);

/// A program: an agent, and the epoch of its credential.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reader<'a> {
    pub(crate) agent: &'a AgentId,
    pub(crate) epoch: u64,
}

#[derive(Default)]
struct AgentDigests {
    epoch: u64,
    digests: HashMap<(SourceId, String), Digest>,
    /// In the order of first learning.
    order: VecDeque<(SourceId, String)>,
}

impl Contents {
    /// The digest that `reader` knows of this thing.
    pub(crate) fn known(&self, reader: Reader<'_>, source: &SourceId, id: &str) -> Option<Digest> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known
            .get(reader.agent)
            .filter(|known| known.epoch == reader.epoch)?
            .digests
            .get(&(source.clone(), id.to_owned()))
            .copied()
    }

    pub(crate) fn learn(&self, reader: Reader<'_>, source: &SourceId, touched: &[Touched]) {
        self.take(
            reader,
            source,
            touched
                .iter()
                .filter_map(|t| Some((t.id.as_str(), t.digest?))),
        );
    }

    pub(crate) fn learn_touches(&self, reader: Reader<'_>, source: &SourceId, touched: &[Touch]) {
        self.take(
            reader,
            source,
            touched
                .iter()
                .filter_map(|t| Some((t.id.as_str(), t.digest?))),
        );
    }

    /// A code was made: another program may redeem it, also where no credential ended with it.
    pub fn forget(&self, agent: &AgentId) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.remove(agent);
    }

    fn take<'a>(
        &self,
        reader: Reader<'_>,
        source: &SourceId,
        things: impl Iterator<Item = (&'a str, Digest)>,
    ) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known = all.entry(reader.agent.clone()).or_default();
        if known.epoch > reader.epoch {
            return;
        }
        if known.epoch < reader.epoch {
            *known = AgentDigests {
                epoch: reader.epoch,
                ..AgentDigests::default()
            };
        }
        for (id, digest) in things {
            let key = (source.clone(), id.to_owned());
            if let Some(seen) = known.digests.get_mut(&key) {
                *seen = digest;
                continue;
            }
            known.digests.insert(key.clone(), digest);
            known.order.push_back(key);
            if known.digests.len() > MOST
                && let Some(oldest) = known.order.pop_front()
            {
                known.digests.remove(&oldest);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounded_and_per_credential() {
        let (contents, source) = (Contents::default(), SourceId::parse("w").unwrap());
        let (a, b) = (AgentId::parse("a").unwrap(), AgentId::parse("b").unwrap());
        let reader = |agent, epoch| Reader { agent, epoch };
        let ids: Vec<String> = (0..=MOST).map(|n| n.to_string()).collect();
        let digests = || {
            let all = ids.iter();
            all.map(|id| (id.as_str(), Digest::of(id.as_bytes())))
        };
        contents.take(reader(&a, 7), &source, digests());
        let one = Some(Digest::of(b"1"));
        assert_eq!(contents.known(reader(&a, 7), &source, "0"), None);
        assert_eq!(contents.known(reader(&a, 7), &source, "1"), one);
        assert_eq!(contents.known(reader(&b, 7), &source, "1"), None);
        assert_eq!(contents.known(reader(&a, 8), &source, "1"), None);
        contents.take(reader(&a, 8), &source, digests().take(1));
        // A call of the earlier credential that ends now.
        contents.take(reader(&a, 7), &source, digests());
        assert_eq!(contents.known(reader(&a, 8), &source, "1"), None);
        assert!(contents.known(reader(&a, 8), &source, "0").is_some());
    }
}
