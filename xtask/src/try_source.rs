//! `cargo xtask try NAME CAPABILITY INPUT`: builds the worker and its cage, and runs one call in it without a gateway.

use crate::cargo;
use anyhow::{Context, Result, ensure};
use std::ffi::OsString;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

/// Call a connector in its cage, without a gateway, and see what the cage refuses
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// The connector: a folder of workers/
    name: String,
    /// CAPABILITY INPUT [--root DIR] [--config FIELD=VALUE] [--secret FIELD=FILE] [--commit] [--within SECONDS] [--json]
    #[arg(
        trailing_var_arg = true,
        allow_hyphen_values = true,
        value_name = "WORDS"
    )]
    rest: Vec<OsString>,
}

/// Builds what is needed, then becomes `plexus-try`.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let name = &arguments.name;
    let known = cargo::connectors()?;
    ensure!(
        known.contains(name),
        "there is {}; cargo xtask new-source makes another",
        known.join(", ")
    );
    let mut build = cargo::command();
    build
        .args(["build", "--quiet", "--bins", "-p", "plexus-sandbox"])
        .args(["-p", "plexus-conformance", "-p", &cargo::worker(name)]);
    let status = build.status().context("running cargo build")?;
    ensure!(status.success(), "the build failed; its errors are above");
    let binaries = cargo::binaries("debug")?;
    let error = Command::new(binaries.join("plexus-try"))
        .arg(name)
        .args(&arguments.rest)
        .arg("--programs")
        .arg(&binaries)
        .exec();
    Err(error).context("starting plexus-try")
}
