//! Programs of npm and PyPI that the stories and the bench run, at the versions of lock files: the real coding agents, MCP
//! servers and SDKs, and another gateway for MCP servers.

use crate::step::finish_unheard;
use crate::{cargo, debian};
use anyhow::{Context, Result};
use std::fs;
use std::path::Path;
use std::process::Command;

/// What says which versions; `.npmrc` keeps install scripts from running.
const FILES: [&str; 3] = ["package.json", ".npmrc", "package-lock.json"];
/// The copy of the lock file beside what was installed by it.
const INSTALLED: &str = "installed.json";

/// The lists of Python's packages, each with the folder of `target` that they are installed in.
const PYTHON: [(&str, &str); 2] = [
    ("requirements.txt", "agents-python"),
    ("requirements-before.txt", "agents-python-before"),
];

/// Installs the coding agents below `target/agents` and what is in Python beside, unless just these are there.
///
/// # Errors
/// When npm or pip is missing and cannot be installed, or fails.
pub(crate) fn ensure() -> Result<()> {
    install("agents")?;
    // The Python of a Mac is older than the SDK takes.
    let mut lists = PYTHON.iter().filter(|_| cfg!(target_os = "linux"));
    lists.try_for_each(|(list, name)| install_python(list, name))
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
    let lock = from.join(FILES[2]);
    if is_installed(&lock, &to) {
        return Ok(());
    }
    debian::ensure(&debian::NPM)?;
    fs::create_dir_all(&to).with_context(|| format!("making target/{name}"))?;
    for file in FILES {
        fs::copy(from.join(file), to.join(file)).with_context(|| format!("copying {file}"))?;
    }
    finish_unheard(Command::new("npm").arg("ci").current_dir(&to))?;
    note_installed(&lock, &to)
}

/// Installs the packages of the list `tests/agents/<list>` in `target/<name>`, for the system's Python.
fn install_python(list: &str, name: &str) -> Result<()> {
    let list = cargo::root().join("tests/agents").join(list);
    let to = cargo::root().join("target").join(name);
    if is_installed(&list, &to) {
        return Ok(());
    }
    debian::ensure_all([&debian::PYTHON, &debian::PIP])?;
    if to.exists() {
        // pip leaves a package that is there as it is.
        fs::remove_dir_all(&to).with_context(|| format!("removing target/{name}"))?;
    }
    let mut pip = Command::new("/usr/bin/python3");
    pip.args(["-m", "pip", "install", "--disable-pip-version-check"])
        .args(["--require-hashes", "--only-binary", ":all:", "--no-deps"])
        .arg("--target")
        .arg(&to)
        .arg("-r")
        .arg(&list);
    finish_unheard(&mut pip)?;
    note_installed(&list, &to)
}

/// Whether `lock` is what was installed in `folder`.
fn is_installed(lock: &Path, folder: &Path) -> bool {
    let lock = fs::read(lock).ok();
    lock.is_some() && lock == fs::read(folder.join(INSTALLED)).ok()
}

/// Notes it, last, so that the copy stands for a whole installation.
fn note_installed(lock: &Path, folder: &Path) -> Result<()> {
    fs::copy(lock, folder.join(INSTALLED)).context("noting what is installed")?;
    Ok(())
}
