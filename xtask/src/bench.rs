//! `cargo xtask bench`: a release build under load; the measuring is done by `plexus-bench` (`tests/bench`). Channels
//! have no gateway in them: their part is the relay's own example `relay_bench`, and builds nothing else.
//!
//! What one part costs alone is divan's to say, in the packages' own benches: [`PARTS`].

use crate::step::finish;
use crate::{agents, cargo, debian};
use anyhow::{Result, ensure};

/// Packages with benches of their own.
const PARTS: &str =
    "cargo bench -p plexus-trust -p plexus-ledger -p plexus-ipc -p plexus-worker-obsidian";
/// The part that is measured without a gateway.
const CHANNELS: &str = "channels";

/// Measure a release build beside a bare handler and the bare path; fails where a promise is not kept
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// One JSON object instead of tables
    #[arg(long)]
    json: bool,
    /// Only these parts: calls, flush, growth, boot, memory, worker, ledger, sources, agents, mcp, console, gate; without
    /// one all but sources, agents, mcp, console and gate. Or the part channels, by itself
    #[arg(value_name = "PART", conflicts_with_all = ["only", "write"])]
    parts: Vec<String>,
    /// The same, one by one
    #[arg(long, value_name = "NAME")]
    only: Vec<String>,
    /// One short round and a small large home: to see that it works, not how fast
    #[arg(long)]
    quick: bool,
    /// Seconds for each cell of each round
    #[arg(long, default_value_t = 3, value_name = "S")]
    seconds: u64,
    /// Rounds; the cells of one round are measured one after the other, the best round of each counts
    #[arg(long, default_value_t = 3, value_name = "N")]
    rounds: u32,
    /// Of channels: messages that the large store holds, 1,000,000 without it
    #[arg(long, value_name = "N")]
    messages: Option<u64>,
    /// Of channels: seconds that everything may take, 300 without it
    #[arg(long, value_name = "S")]
    budget: Option<u64>,
    /// Do not use wrk even where it is there
    #[arg(long)]
    own_loader: bool,
    /// Put the figures into docs/performance.md and its notes, and draw them
    #[arg(long, conflicts_with_all = ["only", "quick"])]
    write: bool,
}

/// Builds and measures.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let is_named = |name: &str| {
        let mut named = arguments.parts.iter().chain(&arguments.only);
        named.any(|part| part == name)
    };
    if is_named(CHANNELS) {
        return channels(arguments);
    }
    ensure!(
        arguments.messages.is_none() && arguments.budget.is_none(),
        "--messages and --budget are of the part {CHANNELS}"
    );
    if !arguments.own_loader {
        // Without wrk the bench uses its own loader and says so.
        if let Err(error) = debian::ensure(&debian::WRK) {
            eprintln!("{error:#}");
        }
    }
    if is_named("sources") {
        debian::ensure(&debian::RADICALE)?;
        // Without it a search stands alone.
        if let Err(error) = debian::ensure(&debian::RIPGREP) {
            eprintln!("{error:#}");
        }
    }
    if is_named("agents") || is_named("mcp") {
        agents::ensure()?;
    }
    if is_named("mcp") {
        // Without it the tools of lent servers stand beside the servers alone.
        if let Err(error) = agents::ensure_beside() {
            eprintln!("{error:#}");
        }
    }
    // In one go, so that all of it is built once: two builds would choose features twice.
    let mut build = cargo::command();
    build.args(["build", "--locked", "--release", "--workspace"]);
    finish(build.args(["--exclude", "xtask", "--bins", "--examples"]))?;
    let binaries = cargo::binaries("release")?;
    let mut bench = std::process::Command::new(binaries.join("plexus-bench"));
    bench
        .args(["--seconds", &arguments.seconds.to_string()])
        .args(["--rounds", &arguments.rounds.to_string()]);
    for part in arguments.parts.iter().chain(&arguments.only) {
        bench.args(["--only", part]);
    }
    for (wanted, option) in [
        (arguments.json, "--json"),
        (arguments.quick, "--quick"),
        (arguments.own_loader, "--own-loader"),
    ] {
        if wanted {
            bench.arg(option);
        }
    }
    if arguments.write {
        bench.arg("--write").arg(cargo::root());
    }
    finish(&mut bench)?;
    if !arguments.json {
        eprintln!("\nthe parts alone: {PARTS}");
    }
    Ok(())
}

/// Builds and measures the relay.
fn channels(arguments: &Arguments) -> Result<()> {
    ensure!(
        arguments.parts.len() + arguments.only.len() == 1 && !arguments.write,
        "the part {CHANNELS} is measured by itself, and --write does not write it; type: cargo xtask bench {CHANNELS}"
    );
    debian::ensure(&debian::NATS)?;
    let mut build = cargo::command();
    build.args(["build", "--locked", "--release", "-p", "plexus-relay"]);
    finish(build.args(["--bins", "--examples"]))?;
    let program = cargo::binaries("release")?.join("examples/relay_bench");
    let mut bench = std::process::Command::new(program);
    bench
        .args(["--seconds", &arguments.seconds.to_string()])
        .args(["--rounds", &arguments.rounds.to_string()]);
    for (option, value) in [
        ("--messages", arguments.messages),
        ("--budget", arguments.budget),
    ] {
        if let Some(value) = value {
            bench.args([option, &value.to_string()]);
        }
    }
    for (wanted, option) in [(arguments.json, "--json"), (arguments.quick, "--quick")] {
        if wanted {
            bench.arg(option);
        }
    }
    finish(&mut bench)
}
