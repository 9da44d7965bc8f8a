//! Effects whose caller has been answered `unknown` and whose outcome is not recorded yet.

use plexus_protocol::{AgentId, AuditId, CapabilityId, Digest};
use plexus_trust::Refusal;
use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

/// Calls of agents that are past their deadline while their worker has not said what became of them.
#[derive(Default)]
pub struct LateEffects(Mutex<BTreeMap<AuditId, (AgentId, CapabilityId, Digest)>>);

impl LateEffects {
    /// From here on the same call is not made again, until what is returned is dropped.
    pub(super) fn holds(
        &self,
        intent: &AuditId,
        call: (AgentId, CapabilityId, Digest),
    ) -> impl Drop + Send + use<'_> {
        struct Held<'a>(&'a LateEffects, AuditId);
        impl Drop for Held<'_> {
            fn drop(&mut self) {
                let mut late = self.0.0.lock().unwrap_or_else(PoisonError::into_inner);
                late.remove(&self.1);
            }
        }
        let mut late = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        late.insert(intent.clone(), call);
        Held(self, intent.clone())
    }

    /// The refusal of a call that was made before and may still happen.
    pub(super) fn refuses(
        &self,
        agent: &AgentId,
        id: &CapabilityId,
        input: Digest,
    ) -> Option<Refusal> {
        let late = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut late = late.iter();
        let same = |call: &(AgentId, CapabilityId, Digest)| {
            call.2 == input && call.1 == *id && call.0 == *agent
        };
        let (intent, _) = late.find(|(_, call)| same(call))?;
        let intent = intent.clone();
        Some(Refusal::OutcomeUnknown { intent })
    }
}
