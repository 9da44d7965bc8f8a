//! What nothing here may be built from, and that each dependency is there once.

use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// Crates that must not come in, not even through another one.
const BANNED: &[(&str, &str)] = &[
    ("aws-lc-sys", "a C library; hashes and HMAC here are Rust"),
    ("aws-lc-rs", "a C library; hashes and HMAC here are Rust"),
    ("ring", "C and assembly; does not cross-compile"),
    ("openssl-sys", "a C library; Plexus speaks no TLS"),
    ("native-tls", "Plexus speaks no TLS"),
    ("cmake", "builds C"),
    (
        "rsa",
        "open timing advisory without a fix; tokens are HS256 only",
    ),
];

/// Crates that may be there in more than one version, each with who needs it.
const TWICE: &[(&str, &str)] = &[
    (
        "syn",
        "derive macros moved to 3 at different times; not in any binary",
    ),
    (
        "getrandom",
        "0.4 is ours; jsonschema's ahash has 0.3 and jsonwebtoken's `signature` 0.2",
    ),
    (
        "rand_core",
        "0.6 is jsonwebtoken's `signature`, which we give no random numbers",
    ),
    // Named by the metadata for a feature of heapless that nobody asks for; neither is built.
    ("defmt", "faster-hex (gix) names 0.3 and 1.2; not built"),
    ("bitflags", "2 is ours; defmt names 1.3, and is not built"),
];

/// One line for each ban or duplicate.
pub(crate) fn breaches(everywhere: &[Value]) -> Vec<String> {
    let mut versions: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for metadata in everywhere {
        for package in resolved(metadata) {
            let text = |key: &str| package[key].as_str().unwrap_or_default().to_owned();
            versions
                .entry(text("name"))
                .or_default()
                .insert(text("version"));
        }
    }
    let mut breaches = Vec::new();
    for (name, why) in BANNED {
        if versions.contains_key(*name) {
            breaches.push(format!("{name} is banned: {why}"));
        }
    }
    for (name, versions) in &versions {
        if versions.len() > 1 && !TWICE.iter().any(|(known, _)| known == name) {
            let versions: Vec<_> = versions.iter().map(String::as_str).collect();
            breaches.push(format!(
                "{name} is there in versions {}",
                versions.join(", ")
            ));
        }
    }
    for (name, _) in TWICE {
        if versions
            .get(*name)
            .is_none_or(|versions| versions.len() < 2)
        {
            breaches.push(format!(
                "{name} is there once now: take it off the list of exceptions"
            ));
        }
    }
    breaches
}

/// The packages that a build on this platform really uses.
pub(crate) fn resolved(metadata: &Value) -> impl Iterator<Item = &Value> {
    let used: BTreeSet<&str> = metadata["resolve"]["nodes"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|node| node["id"].as_str())
        .collect();
    metadata["packages"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(move |package| package["id"].as_str().is_some_and(|id| used.contains(id)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn metadata(packages: &[(&str, &str)]) -> Value {
        let nodes: Vec<_> = packages
            .iter()
            .map(|(n, v)| json!({"id": format!("{n}@{v}")}))
            .collect();
        let packages: Vec<_> = packages
            .iter()
            .map(|(n, v)| json!({"id": format!("{n}@{v}"), "name": n, "version": v}))
            .collect();
        json!({"resolve": {"nodes": nodes}, "packages": packages})
    }

    #[test]
    fn bans_and_duplicates_are_found_and_exceptions_must_be_needed() {
        let twice: Vec<_> = TWICE
            .iter()
            .flat_map(|(name, _)| [(*name, "1.0.0"), (*name, "2.0.0")])
            .collect();
        assert_eq!(breaches(&[metadata(&twice)]), Vec::<String>::new());
        let mut bad = twice.clone();
        bad.extend([("ring", "0.17.0"), ("serde", "1.0.0"), ("serde", "2.0.0")]);
        bad.retain(|package| *package != ("syn", "1.0.0"));
        assert_eq!(breaches(&[metadata(&bad)]).len(), 3);
    }
}
