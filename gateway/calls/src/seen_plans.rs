//! The things that the plans which the owner saw last would change: the intent of an effect of the owner names them.
//!
//! They are in memory alone: after a restart such an intent names nothing. It must not know how a plan is made.

use plexus_protocol::{CapabilityId, Digest};
use plexus_trust::Touch;
use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
};

/// How many of them are remembered.
const SEEN: usize = 8;

/// A plan by its capability, the digest of its input and its state token, and the things that it would change.
type Seen = ((CapabilityId, Digest, Digest), Vec<Touch>);

/// The last plans, the latest first.
#[derive(Default)]
pub struct SeenPlans(Mutex<VecDeque<Seen>>);

impl SeenPlans {
    fn all(&self) -> MutexGuard<'_, VecDeque<Seen>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn note(&self, plan: (CapabilityId, Digest, Digest), touched: Vec<Touch>) {
        let mut all = self.all();
        all.push_front((plan, touched));
        all.truncate(SEEN);
    }

    /// The things of a plan; none of one that is not remembered.
    pub(crate) fn touched(&self, plan: &(CapabilityId, Digest, Digest)) -> Vec<Touch> {
        let all = self.all();
        let seen = all.iter().find(|(of, _)| of == plan);
        seen.map(|(_, touched)| touched.clone()).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use plexus_protocol::Verb;

    #[test]
    fn last_plans_are_remembered_each_by_its_input() {
        let seen = SeenPlans::default();
        let plan = |input: u8| {
            let id = CapabilityId::parse("codex.apply").unwrap();
            (id, Digest::of(&[input]), Digest::of(b"state"))
        };
        let touch = |id: u8| Touch {
            kind: "file".to_owned(),
            id: id.to_string(),
            access: Verb::Write,
            digest: None,
        };
        for input in 0..9 {
            seen.note(plan(input), vec![touch(input)]);
        }
        assert_eq!(seen.touched(&plan(0)), []);
        assert_eq!(seen.touched(&plan(1)), [touch(1)]);
        assert_eq!(seen.touched(&plan(8)), [touch(8)]);
    }
}
