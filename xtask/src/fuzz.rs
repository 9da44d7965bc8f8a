//! `cargo xtask fuzz`: holds the oracles of decoders against inputs that reach further and further into their code.
//!
//! `cargo xtask test` runs the same oracles with mutants of a fixed walk. Here the build counts which branches an input
//! passes (LLVM's SanitizerCoverage, by a stable compiler), and an input that passes a new one is mutated in turn. Those
//! are kept in `target/fuzz/kept`, where the next run begins.
//!
//! Which oracles there are: the tests of the files `oracles.rs` of each package that has `plexus-mutation` among its
//! dependencies for tests.

use crate::{cargo, step};
use anyhow::{Context as _, Result, ensure};
use std::{fs, path::Path};

/// What the build counts.
const FLAGS: [&str; 5] = [
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=3",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    // Programs that no oracle starts are linked with the tests, and have nobody who counts.
    if cfg!(target_os = "macos") {
        "-Clink-arg=-Wl,-undefined,dynamic_lookup"
    } else {
        "-Clink-arg=-Wl,--unresolved-symbols=ignore-in-object-files"
    },
    "-Cdebug-assertions=yes",
];
/// For each oracle, where nobody says how many.
const SECONDS: u32 = 60;
/// The file of a package's oracles.
const ORACLES: &str = "oracles.rs";
/// The package that mutates.
const DRIVER: &str = "plexus-mutation";

/// Hold the decoders of foreign bytes against inputs that reach further into their code; fails where one breaks its promise
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Seconds for each oracle
    #[arg(long, value_name = "N", default_value_t = SECONDS)]
    seconds: u32,
    /// Only the oracles of these packages
    #[arg(long, value_name = "PACKAGE")]
    only: Vec<String>,
}

/// All of them, as `cargo xtask test --long` holds them.
pub(crate) fn all() -> Result<()> {
    let only = Vec::new();
    run(&Arguments {
        seconds: SECONDS,
        only,
    })
}

/// Builds and runs them, one after another.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let mut held = targets()?;
    let only = &arguments.only;
    held.retain(|(package, _)| only.is_empty() || only.contains(package));
    ensure!(!held.is_empty(), "no such package has an oracle");
    let target = cargo::root().join("target/fuzz");
    // Flags for a named kind of machine leave out what cargo itself runs.
    let host = cargo::host()?;
    for (package, words) in held {
        let mut command = cargo::command();
        command.args(["test", "--locked", "--target", &host, "--package", &package]);
        command.args(words);
        command
            .args(["--nocapture", "--test-threads", "1"])
            .env("CARGO_ENCODED_RUSTFLAGS", FLAGS.join("\u{1f}"))
            .env("CARGO_TARGET_DIR", &target)
            .env("CARGO_PROFILE_DEV_OPT_LEVEL", "1")
            .env("PLEXUS_FUZZ_KEPT", target.join("kept"))
            .env("PLEXUS_FUZZ_SECONDS", arguments.seconds.to_string());
        step::finish(&mut command)?;
    }
    Ok(())
}

/// Packages that have oracles, each with the words by which cargo runs them alone.
fn targets() -> Result<Vec<(String, Vec<String>)>> {
    let metadata = cargo::members()?;
    let mut held = Vec::new();
    for package in cargo::packages(&metadata) {
        let list = |member: &str| package[member].as_array().into_iter().flatten();
        if !list("dependencies").any(|one| one["name"] == DRIVER) {
            continue;
        }
        let package_name = package["name"].as_str().context("no name")?;
        let is_library = list("targets").any(|target| target["kind"][0] == "lib");
        for target in list("targets") {
            let root = Path::new(target["src_path"].as_str().context("no path")?);
            let name = target["name"].as_str().context("no name")?;
            let is_among = || root.parent().is_some_and(has_oracles);
            let words: &[&str] = match target["kind"][0].as_str() {
                Some("lib") if is_among() => &["--lib", "--", "oracles::"],
                Some("bin") if !is_library && is_among() => &["--bin", name, "--", "oracles::"],
                // Nothing else is in it.
                Some("test") if root.ends_with(ORACLES) => &["--test", name, "--"],
                Some("test") if has_module(root)? => &["--test", name, "--", "oracles::"],
                _ => continue,
            };
            let words = words.iter().map(|word| (*word).to_owned()).collect();
            held.push((package_name.to_owned(), words));
        }
    }
    Ok(held)
}

/// Whether the root of tests has oracles among its modules.
fn has_module(root: &Path) -> Result<bool> {
    let text = fs::read_to_string(root)?;
    Ok(text.lines().any(|line| line == "mod oracles;"))
}

/// Whether a file of oracles lies in a folder, or below it.
fn has_oracles(folder: &Path) -> bool {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .map(|entry| entry.path())
        .any(|path| match path.is_dir() {
            true => has_oracles(&path),
            false => path.ends_with(ORACLES),
        })
}
