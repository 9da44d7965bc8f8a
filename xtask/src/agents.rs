//! Programs of npm that the stories and the bench run, at the versions of a lock file: the real coding agents, and another
//! gateway for MCP servers.

use crate::step::finish_unheard;
use crate::{cargo, debian};
use anyhow::{Context, Result};
use std::fs;
use std::process::Command;

/// What says which versions; `.npmrc` keeps install scripts from running.
const FILES: [&str; 3] = ["package.json", ".npmrc", "package-lock.json"];

/// Installs the coding agents below `target/agents`, unless just these are there.
///
/// # Errors
/// When npm is missing and cannot be installed, or fails.
pub(crate) fn ensure() -> Result<()> {
    install("agents")
}

/// Installs the other gateway that the bench measures, below `target/beside`.
///
/// # Errors
/// The same.
pub(crate) fn ensure_beside() -> Result<()> {
    install("beside")
}

/// Installs what `tests/<name>` names below `target/<name>`.
fn install(name: &str) -> Result<()> {
    let (from, to) = (
        cargo::root().join("tests").join(name),
        cargo::root().join("target").join(name),
    );
    let read = |path: &std::path::Path| fs::read(path).ok();
    let lock = FILES[2];
    // Copied last, so that it stands for a whole installation.
    if read(&from.join(lock)) == read(&to.join("installed.json")) {
        return Ok(());
    }
    debian::ensure(&debian::NPM)?;
    fs::create_dir_all(&to).with_context(|| format!("making target/{name}"))?;
    for file in FILES {
        fs::copy(from.join(file), to.join(file)).with_context(|| format!("copying {file}"))?;
    }
    finish_unheard(Command::new("npm").arg("ci").current_dir(&to))?;
    fs::copy(from.join(lock), to.join("installed.json")).context("noting what is installed")?;
    Ok(())
}
