//! Slots for plans that are being made.

use plexus_protocol::{AgentId, CapabilityId, PendingId};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

/// Plans that one source makes for one agent at a time.
const AT_ONCE: usize = 4;

pub(super) type Key = (PendingId, CapabilityId);

/// The plans that are being made.
#[derive(Clone, Default)]
pub(crate) struct PlanSlots(Arc<Mutex<UnderWay>>);

/// Given back when it goes.
pub(crate) struct PlanSlot {
    of: PlanSlots,
    key: Key,
}

impl PlanSlots {
    /// A place for the plan of an ask that has none, if its agent has one left.
    pub(super) fn take(
        &self,
        item: &PendingId,
        agent: &AgentId,
        id: &CapabilityId,
    ) -> Option<PlanSlot> {
        let taker = (agent.clone(), id.parts().0.to_owned());
        let key = (item.clone(), id.clone());
        let mut taken = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let full = taken.values().filter(|other| **other == taker).count() >= AT_ONCE;
        if full || taken.contains_key(&key) {
            return None;
        }
        taken.insert(key.clone(), taker);
        drop(taken);
        let of = self.clone();
        Some(PlanSlot { of, key })
    }
}

impl Drop for PlanSlot {
    fn drop(&mut self) {
        let mut taken = self.of.0.lock().unwrap_or_else(PoisonError::into_inner);
        taken.remove(&self.key);
    }
}

/// Whose each is, and the source that makes it.
pub(super) type UnderWay = HashMap<Key, (AgentId, String)>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_agents_plans_take_few_places_and_none_twice() {
        let (places, write) = (
            PlanSlots::default(),
            CapabilityId::parse("w.write").unwrap(),
        );
        let (a, b) = (AgentId::parse("a").unwrap(), AgentId::parse("b").unwrap());
        let first = PendingId::fresh();
        let mut taken = vec![places.take(&first, &a, &write).unwrap()];
        assert!(places.take(&first, &a, &write).is_none(), "under way");
        taken.extend((0..20).filter_map(|_| places.take(&PendingId::fresh(), &a, &write)));
        assert_eq!(taken.len(), AT_ONCE);
        let elsewhere = CapabilityId::parse("v.write").unwrap();
        let other = places.take(&PendingId::fresh(), &a, &elsewhere);
        assert!(other.is_some(), "each source has its own");
        assert!(places.take(&PendingId::fresh(), &b, &write).is_some());
        taken.swap_remove(0);
        assert!(places.take(&first, &a, &write).is_some(), "given back");
    }
}
