//! The real coding agents that the stories run: from their packages, at the versions of `tests/agents/package-lock.json`.

use crate::step::finish;
use crate::{cargo, debian};
use anyhow::{Context, Result};
use std::fs;
use std::process::Command;

/// What says which versions; `.npmrc` keeps install scripts from running.
const FILES: [&str; 3] = ["package.json", ".npmrc", "package-lock.json"];

/// Installs them below `target/agents`, unless just these are there.
///
/// # Errors
/// When npm is missing and cannot be installed, or fails.
pub(crate) fn ensure() -> Result<()> {
    let (from, to) = (
        cargo::root().join("tests/agents"),
        cargo::root().join("target/agents"),
    );
    let read = |path: &std::path::Path| fs::read(path).ok();
    let lock = FILES[2];
    // Copied last, so that it stands for a whole installation.
    if read(&from.join(lock)) == read(&to.join("installed.json")) {
        return Ok(());
    }
    debian::ensure(&debian::NPM)?;
    fs::create_dir_all(&to).context("making target/agents")?;
    for file in FILES {
        fs::copy(from.join(file), to.join(file)).with_context(|| format!("copying {file}"))?;
    }
    finish(Command::new("npm").arg("ci").current_dir(&to))?;
    fs::copy(from.join(lock), to.join("installed.json")).context("noting what is installed")?;
    Ok(())
}
