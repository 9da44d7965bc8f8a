//! `cargo xtask test`: everything that has to hold, in one command. `.ci/run` types the same.

use crate::step::{Steps, present};
use crate::{agents, cargo, debian, isolate, promises, rules};
use anyhow::Result;
use std::path::Path;
use std::process::Command;

/// The platform that cannot be run here but must compile.
const APPLE: &str = "aarch64-apple-darwin";

/// Where a test that this machine cannot run says so (`plexus_tests::not_run`).
const NOT_RUN: &str = "PLEXUS_TESTS_NOT_RUN";

/// From which number property tests make their cases. Fixed, so that a change is judged by what it changed; the long
/// form goes where nobody has looked yet, and a test that fails prints its case.
const SEED: &str = "PROPTEST_RNG_SEED";

/// Run every check and every test; fails when one does
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Leave out the other platform and the documentation, and repeat the destructive tests fewer times
    #[arg(long)]
    quick: bool,
    /// Run the tests that are marked `ignore` too, repeat the destructive ones as often as their promises say, and break
    /// the promises; takes two hours
    #[arg(long, conflicts_with = "quick")]
    long: bool,
}

/// Runs all steps, then says which failed.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let xtask = cargo::binaries("debug")?.join("xtask");
    let mut steps = Steps::default();
    steps.run("packages of the system", || {
        debian::ensure(&debian::FAKETIME)?;
        debian::ensure(&debian::CURL)?;
        debian::ensure(&debian::GIT)?;
        debian::ensure(&debian::RADICALE)?;
        debian::ensure(&debian::NATS)?;
        debian::ensure(&debian::PYTHON)?;
        debian::BROWSER.iter().try_for_each(debian::ensure)
    });
    steps.run("coding agents of the stories", agents::ensure);
    steps.child("format", cargo::command().args(["fmt", "--all", "--check"]));
    steps.run(
        "rules: edges, bans, versions, licences, names",
        rules::check,
    );
    steps.child(
        "lints",
        cargo::command()
            .args(["clippy", "--locked", "--workspace", "--all-targets"])
            .args(["--", "-D", "warnings"]),
    );
    steps.child(
        "build",
        // Tests start examples too, and `cargo test` builds none where targets are named.
        cargo::command()
            .args(["build", "--locked", "--workspace"])
            .args(["--bins", "--examples"]),
    );
    let repetitions = match (arguments.quick, arguments.long) {
        (true, _) => "quick",
        (_, true) => "long",
        _ => "full",
    };
    let not_run = cargo::root().join("target/tests-not-run.txt");
    // The last run's, or none.
    let _ = std::fs::remove_file(&not_run);
    let seed = (!arguments.long && std::env::var_os(SEED).is_none()).then_some((SEED, "1"));
    let mut tests = |name: &str, mut command: Command| {
        command
            .env("PLEXUS_TEST_LENGTH", repetitions)
            .env(NOT_RUN, &not_run)
            .envs(seed);
        steps.child(name, &mut command);
    };
    if present("cargo-nextest", &["nextest", "--version"]) {
        // One suite as on a machine without nextest, and before nextest builds examples itself.
        tests(
            "cage tests without nextest",
            without_nextest(&xtask, &["--test", "cage"], false),
        );
        let mut nextest = cargo::command();
        nextest.args([
            "nextest",
            "run",
            "--locked",
            "--workspace",
            "--no-fail-fast",
            "--test-threads",
            &isolate::at_once().to_string(),
        ]);
        if arguments.long {
            nextest.args(["--run-ignored", "all"]);
        }
        tests("tests", nextest);
    } else {
        tests(
            "tests",
            without_nextest(&xtask, &["--bins", "--lib", "--tests"], arguments.long),
        );
    }
    if !arguments.quick {
        steps.child(
            "documentation",
            cargo::command()
                .args(["doc", "--locked", "--workspace", "--no-deps"])
                .env("RUSTDOCFLAGS", "-D warnings"),
        );
        steps.run("the other platform compiles", || {
            // Rustup may be missing where the toolchain comes from a distribution; the check then says so itself.
            let _ = Command::new("rustup")
                .args(["target", "add", APPLE])
                .status();
            crate::step::finish(cargo::command().args([
                "check",
                "--locked",
                "--workspace",
                "--all-targets",
                "--target",
                APPLE,
            ]))
        });
    }
    if arguments.long {
        steps.run("promises, broken one at a time", promises::all);
    }
    let verdict = steps.summary();
    if !arguments.long {
        println!("  left to --long: the tests that are marked `ignore`, the promises");
    }
    for line in std::fs::read_to_string(not_run).unwrap_or_default().lines() {
        println!("  NOT RUN here: {line}");
    }
    verdict
}

/// `cargo test` of these targets, each test in a process of its own; `whole`: those that are marked `ignore` as well.
fn without_nextest(xtask: &Path, targets: &[&str], whole: bool) -> Command {
    let mut command = cargo::command();
    command.args(["test", "--locked", "--workspace", "--no-fail-fast"]);
    isolate::as_runner(&mut command, xtask, whole);
    command.args(targets);
    command
}
