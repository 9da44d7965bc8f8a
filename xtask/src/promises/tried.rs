//! Building and running the named tests of a copy, and what came of each.
//!
//! A test that did not run at all (renamed, filtered, another platform's) is neither green nor red: it is missing, and the
//! command fails. So is one that did not end in time: a hang is noticed by a person with patience, not by a suite.

use super::breakage::Test;
use super::scratch::Scratch;
use anyhow::{Context, Result};
use std::io::Read as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// How long a test may take. The longest takes a minute; broken ones wait for what does not come.
const PATIENCE: Duration = Duration::from_secs(600);

/// What a test said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Green,
    Red,
    Missing,
}

/// Builds what the tests of one target run: every program of the workspace where they start programs.
///
/// # Errors
/// Where cargo cannot be started. `Ok(Some(errors))`: it does not compile.
pub(crate) fn build(
    scratch: &Scratch,
    targets: impl IntoIterator<Item = (impl AsRef<str>, impl AsRef<str>)>,
) -> Result<Option<String>> {
    let mut built_programs = false;
    for (package, target) in targets {
        if package.as_ref() == "plexus-tests" && !built_programs {
            built_programs = true;
            let mut programs = scratch.cargo();
            programs.args(["build", "--quiet", "--locked", "--workspace", "--bins"]);
            if let Some(errors) = failed(&mut programs)? {
                return Ok(Some(errors));
            }
        }
        // What a package's tests start may be an example; cargo leaves those out where one target is asked for.
        let mut examples = scratch.cargo();
        examples.args(["build", "--quiet", "--locked", "--examples"]);
        if let Some(errors) = failed(examples.args(["-p", package.as_ref()]))? {
            return Ok(Some(errors));
        }
        let mut tests = cargo_test(scratch, package.as_ref(), target.as_ref());
        if let Some(errors) = failed(tests.arg("--no-run"))? {
            return Ok(Some(errors));
        }
    }
    Ok(None)
}

/// Runs a test that [`build`] has built, alone in its process.
///
/// # Errors
/// Where cargo cannot be started.
pub(crate) fn run(scratch: &Scratch, test: &Test) -> Result<Verdict> {
    let mut command = cargo_test(scratch, &test.package, &test.target);
    command.args(["--", "--include-ignored", "--exact", &test.name]);
    Ok(verdict(&output(&mut command)?))
}

fn cargo_test(scratch: &Scratch, package: &str, target: &str) -> Command {
    let mut command = scratch.cargo();
    command.args(["test", "--locked", "-p", package]);
    match target.split_once(':') {
        None if target == "lib" => command.arg("--lib"),
        None => command.args(["--test", target]),
        Some((_, program)) => command.args(["--bin", program]),
    };
    // The same cases in every run, and the shortest form: a promise that only `--long` holds is not held every day.
    command
        .env("PROPTEST_RNG_SEED", "1")
        .env_remove("PLEXUS_TEST_LENGTH");
    command
}

/// What libtest's last line says of the one test.
fn verdict(said: &str) -> Verdict {
    let result = said.lines().rfind(|line| line.starts_with("test result: "));
    match result {
        Some(line) if line.contains(" 1 passed; 0 failed;") => Verdict::Green,
        Some(line) if line.contains(" 0 passed; 1 failed;") => Verdict::Red,
        _ => Verdict::Missing,
    }
}

/// What a failed build says; none where it succeeds.
fn failed(command: &mut Command) -> Result<Option<String>> {
    let done = command.output().context("running cargo")?;
    Ok((!done.status.success()).then(|| String::from_utf8_lossy(&done.stderr).into_owned()))
}

/// What it says on stdout, until it ends or patience does.
fn output(command: &mut Command) -> Result<String> {
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .context("running cargo")?;
    let mut stdout = child.stdout.take().context("no stdout")?;
    let reader = std::thread::spawn(move || {
        let mut said = Vec::new();
        // What came before an error counts.
        let _ = stdout.read_to_end(&mut said);
        String::from_utf8_lossy(&said).into_owned()
    });
    let began = Instant::now();
    while child.try_wait()?.is_none() {
        if began.elapsed() > PATIENCE {
            child.kill()?;
            child.wait()?;
            // Its tests may hold the pipe; what they say no longer counts.
            return Ok(String::new());
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(reader.join().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_test_that_did_not_run_is_neither_green_nor_red() {
        let line = |word: &str, passed: u32, failed: u32, ignored: u32| {
            format!(
                "\ntest result: {word}. {passed} passed; {failed} failed; {ignored} ignored; 0 measured; 9 filtered out"
            )
        };
        assert_eq!(verdict(&line("ok", 1, 0, 0)), Verdict::Green);
        assert_eq!(verdict(&line("FAILED", 0, 1, 0)), Verdict::Red);
        for said in [
            line("ok", 0, 0, 0),
            line("ok", 0, 0, 1),
            line("ok", 2, 0, 0),
            String::new(),
        ] {
            assert_eq!(verdict(&said), Verdict::Missing, "{said}");
        }
    }
}
