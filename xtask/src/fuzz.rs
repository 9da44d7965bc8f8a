//! `cargo xtask fuzz`: holds the oracles of decoders against inputs that reach further and further into their code.
//!
//! `cargo xtask test` runs the same oracles with mutants of a fixed walk. Here the build counts which branches an input
//! passes (LLVM's SanitizerCoverage, by a stable compiler), and an input that passes a new one is mutated in turn. Those
//! are kept in `target/fuzz/kept`, where the next run begins.
//!
//! Which oracles there are is asked of cargo: the tests below `oracles` in each package that has `plexus-mutation` among its
//! dependencies for tests.

use crate::{cargo, step};
use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

/// What the build counts.
const FLAGS: [&str; 5] = [
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=3",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    // Programs that no oracle starts are linked with the tests, and have nobody who counts.
    "-Clink-arg=-Wl,--unresolved-symbols=ignore-in-object-files",
    "-Cdebug-assertions=yes",
];
/// For each oracle, where nobody says how many.
const SECONDS: u32 = 60;
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
    let mut packages = packages()?;
    let only = &arguments.only;
    packages.retain(|package| only.is_empty() || only.contains(&package.name));
    ensure!(!packages.is_empty(), "no such package has an oracle");
    let target = cargo::root().join("target/fuzz");
    // Flags for a named kind of machine leave out what cargo itself runs.
    let host = cargo::host()?;
    for package in packages {
        let mut command = cargo::command();
        command.args(["test", "--locked", "--target", &host, "--package"]);
        command.arg(&package.name);
        match package.has_oracles_alone {
            true => command.args(["--test", "oracles", "--"]),
            false => command.args(["--lib", "--bins", "--tests", "--", "oracles::"]),
        };
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

/// A package with oracles.
struct Fuzzed {
    name: String,
    /// In a test target of that name; else in modules of that name.
    has_oracles_alone: bool,
}

fn packages() -> Result<Vec<Fuzzed>> {
    let metadata = cargo::members()?;
    let has = |list: &Value, name: &str| {
        let mut list = list.as_array().into_iter().flatten();
        list.any(|one| one["name"] == name)
    };
    let fuzzed = cargo::packages(&metadata).filter(|one| has(&one["dependencies"], DRIVER));
    let named = fuzzed.map(|one| {
        Ok(Fuzzed {
            name: one["name"].as_str().context("no name")?.to_owned(),
            has_oracles_alone: has(&one["targets"], "oracles"),
        })
    });
    named.collect()
}
