//! `cargo xtask`: what a person types who has only this repository and a Rust toolchain.
//!
//! One file per task. A task is a list of child processes and a verdict; nothing here is linked into the product.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command speaks to the person who typed it"
)]

mod agents;
mod bench;
mod cargo;
mod debian;
mod demo;
mod dist;
mod fuzz;
mod install;
mod isolate;
mod layout;
mod mutants;
mod new_source;
mod promises;
mod rehearse;
mod rules;
mod scale;
mod start;
mod step;
mod test;
mod try_source;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// Build, start, test, show and measure Plexus.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Build what is needed and run the gateway in the foreground
    Start(start::Arguments),
    /// Run every check and every test; fails when one does
    Test(test::Arguments),
    Demo(demo::Arguments),
    /// Measure a release build beside a bare handler and the bare path
    Bench(bench::Arguments),
    /// Put the programs under a prefix and print what to add to PATH and to the service manager
    Install(install::Arguments),
    /// Make a release for this machine's kind: a tarball, its signature, a package, install.sh
    Dist(dist::Arguments),
    /// Make a new connector: crate, manifest, profile, page, registration and tests
    NewSource(new_source::Arguments),
    /// Call a connector in its cage, without a gateway, and see what the cage refuses
    Try(try_source::Arguments),
    /// Install the coding agents that the stories run, at the versions that tests/agents names
    Agents,
    /// Break one promise at a time in a copy, and see that a test notices
    Promises(promises::Arguments),
    /// Change what decides, one expression at a time, in a copy, and see that a test notices
    Mutants(mutants::Arguments),
    /// Hold the decoders of foreign bytes against inputs that reach further into their code
    Fuzz(fuzz::Arguments),
    /// Hold the rules of the repository only: edges, bans, licences, names
    Rules,
    Scale(scale::Arguments),
    RehearseMac(rehearse::Arguments),
    /// Run each test of one binary in a process of its own (used by `test`)
    #[command(hide = true)]
    Isolate(isolate::Arguments),
    /// Read the gateway's ready line and say what to do next (used by `start`)
    #[command(hide = true)]
    Greet(start::Greeting),
}

fn main() -> ExitCode {
    let verdict = match Arguments::parse().task {
        Task::Start(arguments) => start::run(&arguments),
        Task::Test(arguments) => test::run(&arguments),
        Task::Demo(arguments) => demo::run(&arguments),
        Task::Bench(arguments) => bench::run(&arguments),
        Task::Install(arguments) => install::run(&arguments),
        Task::Dist(arguments) => dist::run(&arguments),
        Task::NewSource(arguments) => new_source::run(&arguments),
        Task::Try(arguments) => try_source::run(&arguments),
        Task::Agents => agents::ensure(),
        Task::Promises(arguments) => promises::run(&arguments),
        Task::Mutants(arguments) => mutants::run(&arguments),
        Task::Fuzz(arguments) => fuzz::run(&arguments),
        Task::Rules => rules::run(),
        Task::Scale(arguments) => scale::run(&arguments),
        Task::RehearseMac(arguments) => rehearse::run(&arguments),
        Task::Isolate(arguments) => isolate::run(&arguments),
        Task::Greet(greeting) => start::greet(&greeting),
    };
    match verdict {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("cargo xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}
