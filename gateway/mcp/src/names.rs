//! Names of tools: made from a capability's id alone, so that a name never changes with what else an agent sees.

use plexus_protocol::{CapabilityId, Digest};

/// Most characters of a tool's name. The longest prefix that a client puts before it takes the other 27 of 64.
pub(crate) const MAX_NAME: usize = 37;
/// How much of an id stands before the digest in a name that cannot be the id itself.
const KEPT: usize = 28;
/// How the names of this server's own tools begin; no capability's name does.
pub(crate) const OWN: &str = "plexus_";

/// The name of a capability as a tool: its id with `_` for each dot, where that fits and is unambiguous; else the
/// beginning of it and eight digits of the id's SHA-256.
#[must_use]
pub fn tool_name(id: &CapabilityId) -> String {
    let plain = id.as_str().replace('.', "_");
    if !id.as_str().contains('_') && plain.len() <= MAX_NAME && !plain.starts_with(OWN) {
        return plain;
    }
    let digest = Digest::of(id.as_str().as_bytes()).to_string();
    // An id is ASCII.
    format!("{}_{}", &plain[..plain.len().min(KEPT)], &digest[..8])
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

    proptest! {
        #[test]
        fn name_is_short_portable_and_unique(a in "[a-z]{1,3}[._-][a-z_.]{0,40}[a-z]", b in "[a-z]{1,3}[._-][a-z_.]{0,40}[a-z]") {
            let (Ok(a), Ok(b)) = (a.parse::<CapabilityId>(), b.parse::<CapabilityId>()) else { return Ok(()) };
            let (one, other) = (tool_name(&a), tool_name(&b));
            prop_assert!(one.len() <= MAX_NAME && one.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'_' || c == b'-'));
            prop_assert_eq!(a == b, one == other);
        }
    }
}
