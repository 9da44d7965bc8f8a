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

/// Connectors that are offered on one system alone, with why.
const ONE_SYSTEM: [(&str, &str, &str); 3] = [
    ("apple-calendar", "macos", "Calendar is there alone"),
    ("apple-reminders", "macos", "Reminders is there alone"),
    ("things", "macos", "Things is there alone"),
];

/// Each connector with its manifest.
pub(crate) fn manifests() -> Result<Vec<(String, Value)>> {
    let read = |connector: String| {
        let file = cargo::root().join("workers").join(&connector);
        let file = file.join("manifest.json");
        let text = std::fs::read(&file).with_context(|| format!("reading {}", file.display()))?;
        Ok((connector, serde_json::from_slice(&text)?))
    };
    cargo::connectors()?.into_iter().map(read).collect()
}

/// One line for each connector that its manifest keeps from a system without a reason here, and for each reason without one.
pub(crate) fn kept_from_a_system(manifests: &[(String, Value)]) -> Vec<String> {
    let is_offered = |manifest: &Value, system: &str| match manifest["platforms"].as_array() {
        Some(systems) => systems.iter().any(|one| one == system),
        None => true,
    };
    let mut breaches = Vec::new();
    for (connector, manifest) in manifests {
        for system in ["linux", "macos"] {
            let mut known = ONE_SYSTEM.iter();
            let known = known.any(|(name, on, _)| name == connector && *on != system);
            let offered = is_offered(manifest, system);
            if offered == known {
                breaches.push(format!(
                    "workers/{connector}/manifest.json {} {system}, and ONE_SYSTEM in xtask/src/rules/shipped.rs says otherwise",
                    if offered { "offers it on" } else { "keeps it from" }
                ));
            }
        }
    }
    breaches
}

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

    #[test]
    fn manifest_of_one_system_without_a_reason_is_a_breach() {
        let of = |connector: &str, manifest: Value| {
            kept_from_a_system(&[(connector.to_owned(), manifest)])
        };
        let linux = json!({"platforms": ["linux"]});
        let macos = json!({"platforms": ["macos"]});
        assert_eq!(of("notes", json!({})), [""; 0]);
        assert_eq!(
            of("notes", json!({"platforms": ["macos", "linux"]})),
            [""; 0]
        );
        assert_eq!(of("things", macos.clone()), [""; 0]);
        for (connector, manifest, count) in [
            ("notes", &linux, 1),
            ("notes", &macos, 1),
            ("things", &linux, 2),
            ("things", &json!({}), 1),
        ] {
            let found = of(connector, manifest.clone());
            assert_eq!(found.len(), count, "{found:?}");
        }
        assert_eq!(kept_from_a_system(&manifests().unwrap()), [""; 0]);
    }
}
