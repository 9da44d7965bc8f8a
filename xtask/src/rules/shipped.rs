//! The box is whole: each program of the workspace ships, or is named here as one that does not; each connector has a worker
//! that ships and a line in the gateway's list.
//!
//! What ships is the workspace's `default-members`: `start`, `install` and `dist` build and install just those.

use crate::cargo;
use anyhow::{Context, Result};
use serde_json::Value;

/// Packages whose programs test and build the others.
const UNSHIPPED: [&str; 4] = [
    "plexus-bench",
    "plexus-conformance",
    "plexus-tests",
    "xtask",
];
/// Where the gateway lists its connectors.
const REGISTRY: &str = "gateway/plexusd/src/shipped.rs";

/// The gateway's list of connectors, as text.
pub(crate) fn registered() -> Result<String> {
    let file = cargo::root().join(REGISTRY);
    std::fs::read_to_string(&file).with_context(|| format!("reading {}", file.display()))
}

/// One line for each program that would be missing from an install, or too much in it.
pub(crate) fn breaches(metadata: &Value, connectors: &[String], registry: &str) -> Vec<String> {
    let mut breaches = Vec::new();
    // A dependency of others has an origin.
    let ours = || cargo::packages(metadata).filter(|package| package["source"].is_null());
    for package in ours().filter(|package| cargo::programs_of(package).next().is_some()) {
        let name = package["name"].as_str().unwrap_or_default();
        match (cargo::ships(metadata, package), UNSHIPPED.contains(&name)) {
            (true, false) | (false, true) => {}
            (false, false) => breaches.push(format!(
                "{name} has a program that no install would have: add it to `default-members` of Cargo.toml"
            )),
            (true, true) => breaches.push(format!(
                "{name} is for tests, and `default-members` of Cargo.toml would ship it"
            )),
        }
    }
    for connector in connectors {
        let worker = cargo::worker(connector);
        if !ours()
            .flat_map(cargo::programs_of)
            .any(|name| name == worker)
        {
            breaches.push(format!(
                "workers/{connector} has a manifest and no program {worker}"
            ));
        }
        if !registry.contains(&format!("connector!(\"{connector}\"")) {
            breaches.push(format!(
                "workers/{connector} has a manifest and no line in {REGISTRY}"
            ));
        }
    }
    breaches
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn program_that_no_install_has_is_a_breach() {
        let package = |name: &str, program: &str| {
            json!({"id": name, "name": name, "source": null, "targets": [
            {"kind": ["bin"], "name": program}, {"kind": ["lib"], "name": "a_library"}]})
        };
        let of = |shipped: &[&str], registry: &str| {
            let packages = [
                package("plexusd", "plexusd"),
                package("plexus-worker-notes", "plexus-worker-notes"),
                package("plexus-relay", "plexus-relay"),
                package("plexus-tests", "plexus-lines"),
                json!({"id": "serde", "name": "serde", "source": "registry", "targets": []}),
            ];
            let metadata = json!({"packages": packages, "workspace_default_members": shipped});
            breaches(&metadata, &["notes".to_owned()], registry)
        };
        let whole = ["plexusd", "plexus-worker-notes", "plexus-relay"];
        let registry = "connector!(\"notes\"),";
        assert_eq!(of(&whole, registry), Vec::<String>::new());
        let says = |shipped: &[&str], words: &str| {
            let found = of(shipped, registry);
            assert!(found[0].starts_with(words), "{found:?}");
        };
        says(&whole[..2], "plexus-relay has a program");
        says(&["plexusd", "plexus-relay"], "plexus-worker-notes has");
        assert_eq!(of(&whole, "connector!(\"notes-two\"),").len(), 1);
        let too_much = [&whole[..], &["plexus-tests"]].concat();
        says(&too_much, "plexus-tests is for tests");
    }
}
