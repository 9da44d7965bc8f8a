//! What nothing here may be built from, and that each dependency is there once.

use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// Crates that must not come in, not even through another one.
const BANNED: &[(&str, &str)] = &[
    ("aws-lc-sys", "a C library; hashes and HMAC here are Rust"),
    ("aws-lc-rs", "a C library; hashes and HMAC here are Rust"),
    ("ring", "C and assembly; does not cross-compile"),
    ("openssl-sys", "a C library; TLS is rustls on graviola"),
    ("native-tls", "a C library; TLS is rustls on graviola"),
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
    ("getrandom", "0.4 is ours; jsonschema's ahash has 0.3"),
    ("thiserror", "2 is ours; crossterm's filedescriptor has 1"),
    ("thiserror-impl", "as thiserror"),
    // xtask signs releases with minisign, whose scrypt is of the time before.
    ("block-buffer", SIGNING),
    ("cipher", SIGNING),
    ("cpufeatures", SIGNING),
    ("crypto-common", SIGNING),
    ("digest", SIGNING),
    ("hmac", SIGNING),
    ("inout", SIGNING),
    ("sha2", SIGNING),
];
const SIGNING: &str = "the older one is of minisign's scrypt, in xtask alone";

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

/// The packages that a build on this platform really uses. The metadata names more: what a feature of a package would
/// turn on if its own dependency were there (`ring?/alloc`), which is not built.
pub(crate) fn resolved(metadata: &Value) -> impl Iterator<Item = &Value> {
    let packages: BTreeMap<&str, &Value> = list(&metadata["packages"])
        .filter_map(|package| Some((package["id"].as_str()?, package)))
        .collect();
    let edges: BTreeMap<&str, Vec<(&str, bool)>> = list(&metadata["resolve"]["nodes"])
        .filter_map(|node| {
            let id = node["id"].as_str()?;
            let package = packages.get(id)?;
            let deps = list(&node["deps"]).filter_map(|dep| {
                let to = dep["pkg"].as_str()?;
                let name = packages.get(to)?["name"].as_str()?;
                Some((to, turned_on(package, node, name)))
            });
            Some((id, deps.collect()))
        })
        .collect();
    // From packages that nobody depends on, along what is turned on.
    let dependencies: BTreeSet<&str> = edges.values().flatten().map(|(to, _)| *to).collect();
    let roots = edges.keys().filter(|id| !dependencies.contains(**id));
    let mut open: Vec<&str> = roots.copied().collect();
    let mut used = BTreeSet::new();
    while let Some(id) = open.pop() {
        if used.insert(id) {
            let along = edges.get(id).into_iter().flatten();
            open.extend(along.filter(|(_, on)| *on).map(|(to, _)| *to));
        }
    }
    list(&metadata["packages"])
        .filter(move |package| package["id"].as_str().is_some_and(|id| used.contains(id)))
}

/// Whether a package's dependency of that name is there: always, or by one of the features that are on.
fn turned_on(package: &Value, node: &Value, name: &str) -> bool {
    let mut declared = list(&package["dependencies"]).filter(|d| d["name"] == name);
    declared.any(|dependency| {
        let key = dependency["rename"].as_str().unwrap_or(name);
        let asks = |item: &Value| {
            let item = item.as_str().unwrap_or_default();
            item.strip_prefix("dep:") == Some(key)
                || item.split_once('/').is_some_and(|(of, _)| of == key)
        };
        dependency["optional"] != true
            || list(&node["features"])
                .filter_map(Value::as_str)
                .any(|feature| feature == key || list(&package["features"][feature]).any(asks))
    })
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn metadata(packages: &[(&str, &str)]) -> Value {
        let nodes = packages
            .iter()
            .map(|(n, v)| json!({"id": format!("{n}@{v}")}));
        let nodes: Vec<_> = nodes.collect();
        let package =
            |(n, v): &(&str, &str)| json!({"id": format!("{n}@{v}"), "name": n, "version": v});
        let packages: Vec<_> = packages.iter().map(package).collect();
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

    #[test]
    fn what_no_feature_turns_on_is_not_there() {
        let with = |features: Value| {
            json!({
                "packages": [
                    {"id": "tls", "name": "tls",
                     "dependencies": [{"name": "ring", "optional": true, "rename": null}],
                     "features": {"ring": ["dep:ring"], "alloc": ["ring?/alloc"], "fast": ["ring/fast"]}},
                    {"id": "ring", "name": "ring", "dependencies": [], "features": {}},
                ],
                "resolve": {"nodes": [
                    {"id": "tls", "features": features, "deps": [{"pkg": "ring"}]},
                    {"id": "ring", "features": [], "deps": []},
                ]},
            })
        };
        let names = |features| resolved(&with(features)).count();
        assert_eq!(names(json!(["alloc"])), 1);
        assert_eq!(names(json!(["alloc", "ring"])), 2);
        assert_eq!(names(json!(["fast"])), 2);
    }
}
