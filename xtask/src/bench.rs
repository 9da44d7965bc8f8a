//! `cargo xtask bench`: a release build under load; the measuring is done by `plexus-bench` of the tests' package.
//!
//! What one part costs alone is divan's to say, in the packages' own benches: [`PARTS`].

use crate::step::finish;
use crate::{agents, cargo, debian};
use anyhow::Result;

/// Packages with benches of their own.
const PARTS: &str =
    "cargo bench -p plexus-trust -p plexus-ledger -p plexus-ipc -p plexus-worker-obsidian";

/// Measure a release build beside a bare handler and the bare path; fails where a promise is not kept
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// One JSON object instead of tables
    #[arg(long)]
    json: bool,
    /// Only these parts: calls, flush, growth, boot, memory, worker, ledger, sources, agents; without one all but sources and
    /// agents
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
    /// Do not use wrk even where it is there
    #[arg(long)]
    own_loader: bool,
    /// Put the figures into docs/performance.md and its notes, and draw them
    #[arg(long, conflicts_with_all = ["only", "quick"])]
    write: bool,
}

/// Builds and measures.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    if !arguments.own_loader {
        // Without wrk the bench uses its own loader and says so.
        if let Err(error) = debian::ensure(&debian::WRK) {
            eprintln!("{error:#}");
        }
    }
    if arguments
        .parts
        .iter()
        .chain(&arguments.only)
        .any(|part| part == "sources")
    {
        debian::ensure(&debian::RADICALE)?;
        // Without it a search stands alone.
        if let Err(error) = debian::ensure(&debian::RIPGREP) {
            eprintln!("{error:#}");
        }
    }
    let wants_agents = |part: &String| part == "agents";
    if arguments
        .parts
        .iter()
        .chain(&arguments.only)
        .any(wants_agents)
    {
        agents::ensure()?;
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
