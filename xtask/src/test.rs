//! `cargo xtask test`: everything that has to hold, in one command. `.ci/run` types the same.

use crate::step::{Steps, present};
use crate::{agents, cargo, debian, fuzz, isolate, mutants, promises, rules};
use anyhow::{Context as _, Result, bail, ensure};
use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, SystemTime};

/// The platforms that cannot be run here but must compile: the first in each run, both in a long one.
const APPLE: [&str; 2] = ["aarch64-apple-darwin", "x86_64-apple-darwin"];

/// Where a test that this machine cannot run says so (`plexus_tests::not_run`).
const NOT_RUN: &str = "PLEXUS_TESTS_NOT_RUN";

/// From which number property and mutation tests make their cases, and destructive tests choose their moments.
const SEED: &str = "PLEXUS_SEED";
/// The same for the library of the property tests.
const PROPERTIES: &str = "PROPTEST_RNG_SEED";

/// Set by the hosts of CI; a test that this machine cannot run is a failure there.
const CI: &str = "CI";

/// The stories, as cargo's arguments.
const STORIES: [&str; 4] = ["--package", "plexus-tests", "--test", "stories"];

/// Stories that a release build and `--quick` run: the first steps, an effect, an undo, a kill, a revoke.
const SMOKE: [&str; 5] = [
    "first_day::",
    "invoke::",
    "undo::",
    "kills::a_killed_write",
    "revoke::",
];

/// What root could do in any case, so that an ordinary user runs it beside [`SMOKE`]: files, sockets, runs and their end,
/// backups, cages.
const BESIDE_SMOKE: [&str; 5] = [
    "approved_runs::",
    "backup::",
    "run_reach::",
    "app_sockets::",
    "cage::",
];

/// Run every check and every test; fails when one does
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Run the unit tests and some stories only; leave out the other platform and the documentation; within a minute where
    /// everything is built
    #[arg(long)]
    quick: bool,
    /// Run the tests that are marked `ignore` too, repeat the destructive ones as often as their promises say, run some
    /// stories on a release build, break the promises, and change what decides; takes three hours
    #[arg(long, conflicts_with = "quick")]
    long: bool,
}

/// Runs all steps, then says which failed.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let seed = seed(std::env::var_os(SEED).as_deref(), SystemTime::now())?;
    println!("seed {seed}: {SEED}={seed} makes the same cases again");
    let xtask = cargo::binaries("debug")?.join("xtask");
    let mut steps = Steps::default();
    let quick = arguments.quick;
    // It waits for the network, and the next steps for the processors.
    let installing = thread::spawn(move || {
        let packages = debian::ensure_all(debian::TESTS);
        let agents = if quick { Ok(()) } else { agents::ensure() };
        packages.and(agents)
    });
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
    steps.run(
        "packages of the system, coding agents of the stories",
        || {
            let installed = installing.join();
            installed.unwrap_or_else(|_| bail!("the installation panicked"))
        },
    );
    let repetitions = match (arguments.quick, arguments.long) {
        (true, _) => "quick",
        (_, true) => "long",
        _ => "full",
    };
    let not_run = cargo::root().join("target/tests-not-run.txt");
    // The last run's, or none.
    let _ = std::fs::remove_file(&not_run);
    let mut tests = |name: &str, mut command: Command| {
        command
            .env("PLEXUS_TEST_LENGTH", repetitions)
            .env(NOT_RUN, &not_run)
            .env(SEED, seed.to_string())
            .env(PROPERTIES, seed.to_string());
        steps.tests(name, &mut command);
    };
    match (
        present("cargo-nextest", &["nextest", "--version"]),
        arguments.quick,
    ) {
        (true, true) => tests(
            "unit tests and some stories",
            quick_nextest(&cargo::units()?),
        ),
        (true, false) => {
            // As on a machine without nextest, and before nextest builds examples itself. It is how the product is used, too:
            // CI's user is root, who may read, write and signal what an ordinary user may not.
            match isolate::can_be_ordinary() {
                true => {
                    tests(
                        "cage tests, as an ordinary user and without nextest",
                        as_ordinary_user(&xtask, &["--test", "cage"], &[]),
                    );
                    tests(
                        "some stories, as an ordinary user",
                        as_ordinary_user(
                            &xtask,
                            &["--test", "stories"],
                            &[SMOKE, BESIDE_SMOKE].concat(),
                        ),
                    );
                }
                // All of them run below too, as the user who runs this.
                false => tests(
                    "cage tests, without nextest; as an ordinary user not: there are no user namespaces",
                    without_nextest(&xtask, &["--test", "cage"], false, &[]),
                ),
            }
            let mut nextest = nextest();
            if arguments.long {
                nextest.args(["--run-ignored", "all", "--profile", "long"]);
            }
            tests("tests", nextest);
        }
        (false, true) => {
            let units = cargo::units()?;
            let units: Vec<&str> = units.iter().map(String::as_str).collect();
            tests("unit tests", without_nextest(&xtask, &units, false, &[]));
            let stories = without_nextest(&xtask, &STORIES, false, &SMOKE);
            tests("some stories", stories);
        }
        (false, false) => tests(
            "tests",
            // The units too: whatever cargo tests.
            without_nextest(&xtask, &["--tests"], arguments.long, &[]),
        ),
    }
    if arguments.long {
        let mut build = cargo::command();
        build.args(["build", "--locked", "--workspace", "--release"]);
        build.args(["--bins", "--examples"]);
        tests("build of the release profile", build);
        tests("stories on the release profile", {
            let mut stories = vec!["--release"];
            stories.extend(STORIES);
            without_nextest(&xtask, &stories, false, &SMOKE)
        });
    }
    if !arguments.quick {
        steps.child(
            "documentation",
            cargo::command()
                .args(["doc", "--locked", "--workspace", "--no-deps"])
                .env("RUSTDOCFLAGS", "-D warnings"),
        );
        let platforms = if arguments.long {
            &APPLE[..]
        } else {
            &APPLE[..1]
        };
        for platform in platforms {
            steps.run(&format!("lints for {platform}"), || {
                // Rustup may be missing where the toolchain comes from a distribution; the check then says so itself.
                let _ = Command::new("rustup")
                    .args(["target", "add", platform])
                    .status();
                let for_all = ["--locked", "--workspace", "--target", platform];
                let mut lints = cargo::command();
                lints.arg("clippy").args(for_all);
                lints.args(["--lib", "--bins", "--", "-D", "warnings"]);
                crate::step::finish(&mut lints)?;
                // What tests the product has to compile, where there is time.
                if arguments.long {
                    let mut check = cargo::command();
                    check.arg("check").args(for_all).arg("--all-targets");
                    crate::step::finish(&mut check)?;
                }
                Ok(())
            });
        }
    }
    if arguments.long {
        steps.run("promises, broken one at a time", promises::all);
        steps.run("mutants of what decides", || {
            mutants::run(&mutants::Arguments::default())
        });
        steps.run("decoders, by what inputs reach of them", fuzz::all);
    }
    let left_out = std::fs::read_to_string(not_run).unwrap_or_default();
    let is_ci = std::env::var_os(CI).is_some_and(|word| !word.is_empty());
    steps.run("every test could run here", || all_ran(&left_out, is_ci));
    let verdict = steps.summary();
    if arguments.quick {
        println!(
            "  left to `cargo xtask test`: all other tests, the documentation, the other platform"
        );
    }
    if !arguments.long {
        println!(
            "  left to --long: the tests that are marked `ignore`, the release profile, the promises, macOS on Intel and its tests"
        );
    }
    for line in left_out.lines() {
        println!("  NOT RUN here: {line}");
    }
    println!("  seed {seed}: {SEED}={seed} makes the same cases again");
    verdict
}

/// The seed that is given, else the number of the day since 1970: other cases each day, the same for everybody.
///
/// # Errors
/// When what is given is no number.
fn seed(given: Option<&OsStr>, now: SystemTime) -> Result<u64> {
    const DAY: u64 = 24 * 60 * 60;
    let Some(given) = given else {
        let since = now.duration_since(SystemTime::UNIX_EPOCH);
        return Ok(since.as_ref().map_or(0, Duration::as_secs) / DAY);
    };
    let number = given.to_str().and_then(|text| text.parse().ok());
    number.with_context(|| format!("{SEED} is a number: {}", given.display()))
}

/// # Errors
/// In CI, when a test says that this machine cannot run it; the summary has the lines. Parts of a test, such as a control
/// that this kernel does not offer, are said and do not count.
fn all_ran(left_out: &str, is_ci: bool) -> Result<()> {
    let whole = |line: &&str| !line.starts_with("in part: ");
    let many = left_out.lines().filter(whole).count();
    ensure!(
        many == 0 || !is_ci,
        "{many} NOT RUN; {CI} is set, so that counts as a failure"
    );
    Ok(())
}

/// Every test of the workspace.
fn nextest() -> Command {
    let mut command = cargo::command();
    command
        .args(["nextest", "run", "--locked", "--workspace"])
        .args(["--no-fail-fast", "--test-threads"])
        .arg(isolate::at_once().to_string());
    command
}

/// The unit tests and [`SMOKE`].
fn quick_nextest(units: &[String]) -> Command {
    let mut command = nextest();
    // Named, so that a change of one crate links no other test.
    command.args(units).args(["--test", "stories"]);
    let smoke = SMOKE.join("|");
    command.args([
        "-E",
        &format!(
            "kind(lib) | kind(bin) | package(plexus-tests) & binary(stories) & test(/^({smoke})/)"
        ),
    ]);
    command
}

/// `cargo test` of these targets, each test in a process of its own; `whole`: those that are marked `ignore` as well;
/// `only`: the tests whose names begin so, all where it is empty.
fn without_nextest(xtask: &Path, targets: &[&str], whole: bool, only: &[&str]) -> Command {
    cargo_test(&isolate::runner(xtask, whole), targets, only)
}

/// The same as an ordinary user, without those that are marked `ignore`.
fn as_ordinary_user(xtask: &Path, targets: &[&str], only: &[&str]) -> Command {
    let runner = isolate::as_ordinary(isolate::runner(xtask, false));
    cargo_test(&runner, targets, only)
}

fn cargo_test(runner: &[OsString], targets: &[&str], only: &[&str]) -> Command {
    let mut command = cargo::command();
    command.args(["test", "--locked", "--no-fail-fast"]);
    if !targets.contains(&"--package") {
        command.arg("--workspace");
    }
    isolate::run_by(&mut command, runner);
    command.args(targets).arg("--").args(only);
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seed_is_the_day_or_the_one_given() {
        let day = |n: u64| SystemTime::UNIX_EPOCH + Duration::from_secs(n * 86_400 + 86_399);
        assert_eq!(seed(None, day(20_780)).unwrap(), 20_780);
        assert_eq!(seed(None, day(20_781)).unwrap(), 20_781);
        assert_eq!(seed(Some(OsStr::new("7")), day(20_780)).unwrap(), 7);
        let refused = seed(Some(OsStr::new("x")), day(20_780)).unwrap_err();
        assert_eq!(refused.to_string(), "PLEXUS_SEED is a number: x");
    }

    #[test]
    fn left_out_test_fails_ci_alone() {
        assert!(all_ran("", true).is_ok());
        assert!(all_ran("disks: no tmpfs\n", false).is_ok());
        assert!(all_ran("in part: probes: no SCTP\n", true).is_ok());
        let error = all_ran("disks: no tmpfs\n", true).unwrap_err().to_string();
        assert!(error.starts_with("1 NOT RUN"), "{error}");
    }
}
