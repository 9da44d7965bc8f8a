//! Where a source points now and where it pointed before, in words: for the card of an agent that lost its grants by it.
//!
//! Invariant: a secret is named by its field; no value of one comes here.

use crate::{Difference, Item, Source, SourceConfig, SourceSeen, State, Target};
use plexus_protocol::{SourceId, Timestamp};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// What a value is and what it was, where they differ.
pub(crate) fn difference(what: &str, is: Option<&str>, was: Option<&str>) -> Option<String> {
    let shown = |value: Option<&str>| value.unwrap_or("not set").to_owned();
    (is != was).then(|| format!("{what} is {}, it was {}", shown(is), shown(was)))
}

impl SourceConfig {
    /// How it differs from `was` in what a grant on it stands on, one sentence each.
    pub(crate) fn moved_from(&self, was: &Self) -> Vec<String> {
        let mut words = Vec::new();
        let mut compare = |what: &str, is: Option<&str>, was: Option<&str>| {
            words.extend(difference(what, is, was));
        };
        compare("its kind", Some(&self.kind), Some(&was.kind));
        let fields = |config: &Self| match &config.route {
            Value::Object(fields) => fields.clone(),
            _ => serde_json::Map::new(),
        };
        let (is_now, was_then) = (fields(self), fields(was));
        for field in is_now
            .keys()
            .chain(was_then.keys())
            .collect::<BTreeSet<_>>()
        {
            let text = |value: &Value| {
                value
                    .as_str()
                    .map_or_else(|| value.to_string(), str::to_owned)
            };
            let (is, was) = (is_now.get(field).map(text), was_then.get(field).map(text));
            compare(field, is.as_deref(), was.as_deref());
        }
        let secret = "the name of its secret";
        compare(
            secret,
            self.secret_ref.as_deref(),
            was.secret_ref.as_deref(),
        );
        let reads = |config: &Self| Some(if config.ask { "on" } else { "off" });
        compare("asking for each read", reads(self), reads(was));
        let from = |config: &Self| Some(config.provenance.as_str());
        compare("where it comes from", from(self), from(was));
        words
    }
}

impl SourceSeen {
    /// How what is at its places differs from what was there, one sentence each.
    pub(crate) fn moved_from(&self, was: &Source) -> Vec<String> {
        let compare = |what: &str, is: &Target, was: &Target| {
            let elsewhere = difference(what, Some(&is.path), Some(&was.path));
            if elsewhere.is_some() {
                return elsewhere;
            }
            let another = format!(
                "{what} is another one than it was, in the same place, {}",
                is.path
            );
            (!is.same(was)).then_some(another)
        };
        let folder = self.target.as_ref().zip(was.target.as_ref());
        let folder = folder.and_then(|(is, was)| compare("its folder", is, was));
        let fields = self.paths.iter();
        let fields = fields.filter_map(|(field, is)| compare(field, is, was.paths.get(field)?));
        folder.into_iter().chain(fields).collect()
    }
}

impl Item {
    /// The changes of sources by which the agent lost grants of what this asks for, as long as the owner has not allowed
    /// it anew.
    pub fn moves<'s>(
        &self,
        state: &'s State,
    ) -> impl Iterator<Item = (&'s SourceId, &'s Difference)> {
        let mut since: BTreeMap<&str, Timestamp> = BTreeMap::new();
        for ask in &self.asks {
            if let Some(at) = ask.voided {
                let first = since.entry(ask.capability.parts().0).or_insert(at);
                *first = at.min(*first);
            }
        }
        let sources = since.into_iter();
        let known = sources.filter_map(|(id, since)| Some((state.sources.get(id)?, since)));
        known.flat_map(|(source, since)| {
            let moves = source.moved.iter().filter(move |moved| moved.at >= since);
            moves.map(|moved| (&source.id, moved))
        })
    }
}
