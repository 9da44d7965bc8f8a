//! What each agent has last read or written where, through Plexus: what its standing writes are held against (DESIGN 5).
//!
//! In memory only: after a restart an agent reads again. Bounded: 1 000 things an agent, the oldest go first.

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
pub struct Contents(Mutex<HashMap<AgentId, Known>>);

#[derive(Default)]
struct Known {
    digests: HashMap<(SourceId, String), Digest>,
    /// In the order of first learning.
    order: VecDeque<(SourceId, String)>,
}

impl Contents {
    /// The digest that `agent` knows of this thing.
    pub fn known(&self, agent: &AgentId, source: &SourceId, id: &str) -> Option<Digest> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known
            .get(agent)?
            .digests
            .get(&(source.clone(), id.to_owned()))
            .copied()
    }

    pub(crate) fn learn(&self, agent: &AgentId, source: &SourceId, touched: &[Touched]) {
        self.take(
            agent,
            source,
            touched
                .iter()
                .filter_map(|t| Some((t.id.as_str(), t.digest?))),
        );
    }

    pub(crate) fn learn_touches(&self, agent: &AgentId, source: &SourceId, touched: &[Touch]) {
        self.take(
            agent,
            source,
            touched
                .iter()
                .filter_map(|t| Some((t.id.as_str(), t.digest?))),
        );
    }

    /// An agent that ended knows nothing.
    pub fn forget(&self, agent: &AgentId) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(agent);
    }

    /// Every credential has ended.
    pub fn forget_all(&self) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clear();
    }

    fn take<'a>(
        &self,
        agent: &AgentId,
        source: &SourceId,
        things: impl Iterator<Item = (&'a str, Digest)>,
    ) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for (id, digest) in things {
            let known = all.entry(agent.clone()).or_default();
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
    fn bounded_and_per_agent() {
        let (contents, source) = (Contents::default(), SourceId::parse("w").unwrap());
        let (a, b) = (AgentId::parse("a").unwrap(), AgentId::parse("b").unwrap());
        let ids: Vec<String> = (0..=MOST).map(|n| n.to_string()).collect();
        contents.take(
            &a,
            &source,
            ids.iter()
                .map(|id| (id.as_str(), Digest::of(id.as_bytes()))),
        );
        assert_eq!(contents.known(&a, &source, "0"), None);
        assert_eq!(contents.known(&a, &source, "1"), Some(Digest::of(b"1")));
        assert_eq!(contents.known(&b, &source, "1"), None);
        contents.forget(&a);
        assert_eq!(contents.known(&a, &source, "1"), None);
    }
}
