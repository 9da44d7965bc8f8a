//! Rules of the repository that no compiler holds: who may depend on whom, what may be depended on, which files may import
//! each other, which read JSON by name, how files are called, that each test is run, that each program ships, that links of
//! pages lead somewhere, that what comes next is one command.
//!
//! Read from `cargo metadata`, so that nothing has to be installed; `deny.toml` says the same to cargo-deny.

mod by_name;
mod circles;
mod dependencies;
mod edges;
mod licences;
mod links;
mod names;
mod next_lines;
mod shipped;
mod targets;

use crate::cargo;
use anyhow::{Result, bail};

/// The platforms whose dependencies are looked at.
const PLATFORMS: &[&str] = &["x86_64-unknown-linux-gnu", "aarch64-apple-darwin"];

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
    breaches.extend(dependencies::breaches(&everywhere));
    breaches.extend(licences::breaches(&everywhere));
    breaches.extend(by_name::breaches(&cargo::root())?);
    breaches.extend(circles::breaches(&cargo::root())?);
    breaches.extend(names::breaches(&cargo::root())?);
    breaches.extend(next_lines::breaches(&cargo::root())?);
    breaches.extend(links::breaches(&cargo::root())?);
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
