//! Rules of the repository that no compiler holds: who may depend on whom, what may be depended on, which files may import
//! each other, which read JSON by name, how files are called, that each test is run, that each program ships, that links of
//! pages lead somewhere, that pages have their form, stay short and name tests that exist, that no phrase comes back that was
//! misread, that what comes next is one command, that a test says which refusal it means, that what only macOS compiles is
//! short.
//!
//! Read from `cargo metadata`, so that nothing has to be installed; `deny.toml` says the same to cargo-deny.

mod asserts;
mod by_name;
mod circles;
mod dependencies;
mod edges;
mod lengths;
mod licences;
mod links;
mod named_tests;
mod names;
mod next_lines;
mod pages;
mod shipped;
mod targets;
mod wording;

use crate::cargo;
use anyhow::{Context, Result, bail};
use std::path::Path;

/// The platforms whose dependencies are looked at.
const PLATFORMS: &[&str] = &["x86_64-unknown-linux-gnu", "aarch64-apple-darwin"];

/// Where tests lie.
const WITH_TESTS: &[&str] = &[
    "channels",
    "gateway",
    "ipc",
    "sandbox-profiles",
    "tests",
    "workers",
    "xtask",
];

/// Each Rust file at or below these places, by its path from `root`, with its text.
fn rust_files(root: &Path, places: &[&str]) -> Result<Vec<(String, String)>> {
    let mut files = Vec::new();
    let mut open: Vec<_> = places.iter().map(|place| root.join(place)).collect();
    while let Some(path) = open.pop() {
        let reading = || format!("reading {}", path.display());
        if path.is_dir() {
            for entry in path.read_dir().with_context(reading)? {
                open.push(entry?.path());
            }
        } else if path.extension().is_some_and(|kind| kind == "rs") {
            let text = std::fs::read_to_string(&path).with_context(reading)?;
            let named = path.strip_prefix(root).unwrap_or(&path).to_string_lossy();
            files.push((named.into_owned(), text));
        }
    }
    Ok(files)
}

/// `cargo xtask rules`.
pub(crate) fn run() -> Result<()> {
    check()?;
    println!("the rules hold");
    Ok(())
}

/// Checks every rule.
///
/// # Errors
/// With one line for each breach.
pub(crate) fn check() -> Result<()> {
    let mut breaches = Vec::new();
    let root = cargo::root();
    let everywhere = PLATFORMS
        .iter()
        .map(|platform| cargo::metadata(platform))
        .collect::<Result<Vec<_>>>()?;
    for metadata in everywhere.iter().take(1) {
        breaches.extend(edges::breaches(metadata));
        breaches.extend(targets::breaches(metadata)?);
        breaches.extend(shipped::breaches(
            metadata,
            &cargo::connectors()?,
            &shipped::registered()?,
        ));
    }
    breaches.extend(shipped::kept_from_a_system(&shipped::manifests()?));
    breaches.extend(dependencies::breaches(&everywhere));
    breaches.extend(licences::breaches(&everywhere));
    let sources = rust_files(&root, WITH_TESTS)?;
    breaches.extend(asserts::breaches(&sources));
    breaches.extend(by_name::breaches(&root)?);
    breaches.extend(circles::breaches(&root)?);
    breaches.extend(lengths::breaches(&root)?);
    breaches.extend(names::breaches(&root)?);
    breaches.extend(next_lines::breaches(&root)?);
    breaches.extend(wording::breaches(&root)?);
    let pages = links::pages(&root)?;
    breaches.extend(links::breaches(&root, &pages));
    breaches.extend(pages::breaches(&root, &pages));
    breaches.extend(named_tests::breaches(&root, &pages, &sources));
    if breaches.is_empty() {
        return Ok(());
    }
    breaches.sort();
    breaches.dedup();
    bail!(
        "{} breach(es):\n  {}",
        breaches.len(),
        breaches.join("\n  ")
    )
}
