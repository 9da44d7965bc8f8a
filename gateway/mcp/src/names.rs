//! Names of tools: made from a capability's id alone, and what its client puts before all of them, so that a name never changes with what else an agent sees, but for ids
//! that are made to share one.
//!
//! Invariants: two capabilities of a list have two names, also for a client that takes `-` for `_`; a name that several would
//! have is none's, so that no client's rule for one lets another through.

use plexus_protocol::{CapabilityId, Digest};
use std::collections::{HashMap, HashSet};

/// Most characters of a tool's name together with what its client puts before it: some models take no more.
const WITH_PREFIX: usize = 64;
/// Most characters of a tool's name where nobody says what is put before it.
const MAX_NAME: usize = 37;
/// Fewest characters that a name may have, whatever is put before it.
const MIN_NAME: usize = 24;
/// Digits of the digest in a name that cannot be the id itself, and in one that another id would share.
const DIGITS: usize = 8;
const MORE_DIGITS: usize = 16;
/// How the names of this server's own tools begin; no capability's name does.
pub(crate) const OWN: &str = "plexus_";

/// How long the names of a list may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NameLength(usize);

impl Default for NameLength {
    fn default() -> Self {
        Self(MAX_NAME)
    }
}

impl NameLength {
    /// What a client leaves that puts `prefix` before each name: 64 characters with it, and 24 at least.
    #[must_use]
    pub fn beside(prefix: &str) -> Self {
        let left = WITH_PREFIX.saturating_sub(prefix.chars().count());
        Self(left.clamp(MIN_NAME, MAX_NAME))
    }

    /// The name of a capability as a tool: its id with `_` for each dot, where that fits and is unambiguous; else the
    /// beginning of it and eight digits of the id's SHA-256.
    fn name(self, id: &CapabilityId) -> String {
        let plain = id.as_str().replace('.', "_");
        let is_plain = !id.as_str().contains('_') && plain.len() <= self.0;
        match is_plain && !plain.starts_with(OWN) && !ends_in_digits(&plain) {
            true => plain,
            false => self.with_digest(id, DIGITS),
        }
    }

    fn with_digest(self, id: &CapabilityId, digits: usize) -> String {
        let plain = id.as_str().replace('.', "_");
        let digest = Digest::of(id.as_str().as_bytes()).to_string();
        let kept = plain.len().min(self.0 - digits - 1);
        // An id is ASCII.
        format!("{}_{}", &plain[..kept], &digest[..digits])
    }
}

/// The name of a capability as a tool, where nobody says what is put before it.
#[must_use]
pub fn tool_name(id: &CapabilityId) -> String {
    NameLength::default().name(id)
}

/// The names of the tools of one list, by id; longer digests for ids that share one. An id whose longer name is taken as well
/// has none.
pub(crate) fn tool_names<'i>(
    ids: impl Iterator<Item = &'i CapabilityId>,
    length: NameLength,
) -> HashMap<CapabilityId, String> {
    let mut ids: Vec<_> = ids.collect();
    ids.sort();
    ids.dedup();
    let mut counts = HashMap::<String, usize>::new();
    for id in &ids {
        *counts.entry(as_clients_read(&length.name(id))).or_default() += 1;
    }
    let mut taken: HashSet<String> = counts.keys().cloned().collect();
    let mut names = HashMap::new();
    for id in ids {
        let name = length.name(id);
        if counts.get(&as_clients_read(&name)) == Some(&1) {
            names.insert(id.clone(), name);
            continue;
        }
        let longer = length.with_digest(id, MORE_DIGITS);
        if taken.insert(as_clients_read(&longer)) {
            names.insert(id.clone(), longer);
        }
    }
    names
}

/// Whether a name ends as one with a digest does.
fn ends_in_digits(name: &str) -> bool {
    let last = name.rsplit(['_', '-']).next().unwrap_or_default();
    let is_digit = |b: u8| matches!(b, b'0'..=b'9' | b'a'..=b'f');
    [DIGITS, MORE_DIGITS].contains(&last.len()) && last.bytes().all(is_digit)
}

/// A name as a client keeps it that writes `_` for what is no letter, and may not tell cases apart.
fn as_clients_read(name: &str) -> String {
    name.to_ascii_lowercase().replace('-', "_")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn name(id: &str) -> String {
        tool_name(&id.parse().unwrap())
    }

    #[test]
    fn short_id_reads_as_it_is() {
        assert_eq!(name("obsidian.vault.read"), "obsidian_vault_read");
        assert_eq!(name("workspace.how-to-use"), "workspace_how-to-use");
    }

    #[test]
    fn ambiguous_or_long_id_gets_a_digest() {
        assert_ne!(name("a.b_c"), name("a.b.c"));
        assert!(name("a.b_c").starts_with("a_b_c_"));
        assert_ne!(name("plexus.wait"), "plexus_wait");
        let long = name("a-very-long-source.a-very-long-capability.read");
        assert_eq!(long.len(), MAX_NAME);
        assert!(long.starts_with("a-very-long-source_a-very-lo_"), "{long}");
    }

    #[test]
    fn name_and_prefix_keep_to_what_models_take() {
        let id: CapabilityId = "obsidian-rest.properties.set-by-name".parse().unwrap();
        for (prefix, expected) in [
            ("", 36),
            ("mcp__plexus__", 36),
            ("mcp__plugin_plexus-my-cc_plexus__", 64 - 33),
            (&*"x".repeat(200), MIN_NAME),
        ] {
            let name = NameLength::beside(prefix).name(&id);
            assert_eq!(name.len(), expected, "{name}");
        }
        // Two that begin alike have two names, however short.
        let ids = [
            "a-long-source.a-long-thing.one",
            "a-long-source.a-long-thing.two",
        ];
        let ids = ids.map(|id| id.parse().unwrap());
        let names = tool_names(ids.iter(), NameLength::beside(&"x".repeat(64)));
        assert_ne!(names[&ids[0]], names[&ids[1]]);
    }

    #[test]
    fn name_with_anothers_digest_is_not_taken() {
        let victim = name("x.y_z");
        let digits = victim.strip_prefix("x_y_z_").expect("a digest");
        for imitation in [format!("x.y.z.{digits}"), format!("x.y.z-{digits}")] {
            assert_ne!(name(&imitation).replace('-', "_"), victim, "{imitation}");
        }
        assert_eq!(name("x.y.z.deadbee"), "x_y_z_deadbee", "the control");
    }

    #[test]
    fn ids_that_share_a_name_get_longer_digests() {
        let mut seen = HashMap::new();
        // 32 bits: found after some 80,000.
        let (one, other) = (0..)
            .find_map(|n| {
                let id: CapabilityId = format!("an-even-longer-source.capability.{n}")
                    .parse()
                    .unwrap();
                let other = seen.insert(tool_name(&id), id.clone());
                other.map(|other| (id, other))
            })
            .unwrap();
        assert_eq!(tool_name(&one), tool_name(&other));
        let honest: CapabilityId = "a.b_c".parse().unwrap();
        let names = tool_names([&one, &other, &honest].into_iter(), NameLength::default());
        assert_eq!(names.len(), 3);
        assert_ne!(names[&one], names[&other]);
        for id in [&one, &other] {
            assert!(
                names[id].len() <= MAX_NAME && names[id] != tool_name(id),
                "{names:?}"
            );
        }
        assert_eq!(names[&honest], tool_name(&honest));
        // The same for a client that keeps `-` as `_`, and for cases.
        let close = ["a.b-c", "a.b.c", "a.B.c"].map(|id| id.parse().unwrap());
        let read: HashSet<_> = tool_names(close.iter(), NameLength::default())
            .values()
            .map(|name| as_clients_read(name))
            .collect();
        assert_eq!(read.len(), 3, "{read:?}");
    }

    /// Any id of few letters, so that two are often alike.
    fn id() -> impl Strategy<Value = CapabilityId> {
        let text = "[a-z]{1,3}([_-][a-z])?\\.[a-z_.]{0,40}[a-z]";
        text.prop_filter_map("an id", |id| id.parse().ok())
    }

    proptest! {
        #[test]
        fn name_is_short_portable_and_unique(a in id(), b in id()) {
            let (one, other) = (tool_name(&a), tool_name(&b));
            prop_assert!(one.len() <= MAX_NAME && one.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'_' || c == b'-'));
            prop_assert_eq!(a == b, one == other);
            // Its neighbours: another sign, and another end.
            for near in [a.as_str().replace('_', "."), format!("{a}z")] {
                if let Ok(near) = near.parse::<CapabilityId>() {
                    prop_assert_eq!(a == near, one == tool_name(&near));
                }
            }
        }
    }
}
