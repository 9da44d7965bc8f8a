//! The things that the plans which the owner saw last would change: the intent of an effect of the owner names them.
//!
//! Nothing of it is kept: after a restart such an intent names nothing. It must not know how a plan is made.

use plexus_protocol::{CapabilityId, Digest};
use plexus_trust::Touch;
use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
};

/// How many of them are remembered.
const SEEN: usize = 8;

/// A plan by its capability and state token, and the things that it would change.
type Seen = (CapabilityId, Digest, Vec<Touch>);

/// The last plans, the latest first.
#[derive(Default)]
pub struct SeenPlans(Mutex<VecDeque<Seen>>);

impl SeenPlans {
    fn all(&self) -> MutexGuard<'_, VecDeque<Seen>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn note(&self, id: &CapabilityId, token: Digest, touched: Vec<Touch>) {
        let mut all = self.all();
        all.push_front((id.clone(), token, touched));
        all.truncate(SEEN);
    }

    /// The things of a plan; none of one that is not remembered.
    pub(crate) fn touched(&self, id: &CapabilityId, token: Digest) -> Vec<Touch> {
        let all = self.all();
        let seen = all.iter().find(|(of, seen, _)| of == id && *seen == token);
        seen.map(|(.., touched)| touched.clone())
            .unwrap_or_default()
    }
}
