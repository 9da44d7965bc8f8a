//! What a connector's workers may say unasked.
//!
//! Must not know: who listens.

use super::{Audience, Manifest, ManifestError, invalid};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// Most topics of a manifest.
const MAX_TOPICS: usize = 16;

/// A kind of event. An agent gets one where it holds the capability, and its grant allows what the event is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EventTopic {
    /// Its name.
    pub topic: String,
    /// The read that shows an agent the same.
    pub capability: String,
    /// One sentence for people and agents.
    pub describe: String,
}

impl Manifest {
    /// The read that an event of `topic` stands for.
    #[must_use]
    pub fn capability_of(&self, topic: &str) -> Option<&str> {
        let topic = self.events.iter().find(|event| event.topic == topic)?;
        Some(&topic.capability)
    }

    pub(super) fn check_events(&self) -> Result<(), ManifestError> {
        if self.events.len() > MAX_TOPICS {
            return Err(invalid("events", "more than 16 topics"));
        }
        let mut topics = BTreeSet::new();
        for event in &self.events {
            let at = || format!("event {:?}", event.topic);
            if !super::check::plain_name(&event.topic) {
                return Err(invalid(at(), "not 1 to 64 of a-z, 0-9 and '-'"));
            }
            if !topics.insert(&event.topic) {
                return Err(invalid(at(), "twice"));
            }
            if event.describe.trim().is_empty() {
                return Err(invalid(at(), "describe is empty"));
            }
            let of = self.capability(&event.capability);
            let is_read = |entry: &&super::Capability| {
                entry.callable() && entry.is_read() && entry.audience == Audience::Agents
            };
            if of.filter(is_read).is_none() {
                return Err(invalid(at(), "names no read of this manifest for agents"));
            }
        }
        Ok(())
    }
}
