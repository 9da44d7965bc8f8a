//! Runs each test of one test binary in a process of its own, as cargo-nextest does: tests change limits, filters, umask,
//! environment and working directory of their process. `cargo xtask test` names this task as cargo's runner where nextest
//! is not installed.

use anyhow::{Context, Result, bail, ensure};
use std::ffi::OsString;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError, mpsc};
use std::thread;
use std::time::{Duration, Instant};

/// How long one test may take, as nextest's settings say: one that hangs holds up neither the others nor the report.
const PATIENCE: Duration = Duration::from_secs(900);

/// Run each test of one binary in a process of its own (used by `test`)
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Run the tests that are marked `ignore` as well
    #[arg(long)]
    include_ignored: bool,
    /// The binary, as cargo built it
    binary: PathBuf,
    /// Only tests whose names begin with one of these
    only: Vec<String>,
}

/// Runs what follows as an ordinary user: the owner of the files of the user who starts it, without the rights of root.
const ORDINARY: [&str; 5] = [
    "unshare",
    "--user",
    "--map-user=1000",
    "--map-group=1000",
    "--",
];

/// Whether this machine can: it has user namespaces.
pub(crate) fn can_be_ordinary() -> bool {
    let mut tried = Command::new(ORDINARY[0]);
    tried.args(&ORDINARY[1..]).arg("true");
    tried.stdout(Stdio::null()).stderr(Stdio::null());
    tried.status().is_ok_and(|status| status.success())
}

/// This task as a command; `xtask` is this program. `whole`: with tests marked `ignore`.
pub(crate) fn runner(xtask: &Path, whole: bool) -> Vec<OsString> {
    let mut runner = vec![xtask.into(), "isolate".into()];
    if whole {
        runner.push("--include-ignored".into());
    }
    runner
}

/// A command as an ordinary user, also where root starts it.
pub(crate) fn as_ordinary(command: Vec<OsString>) -> Vec<OsString> {
    let ordinary = ORDINARY.map(OsString::from);
    ordinary.into_iter().chain(command).collect()
}

/// Makes `cargo test` run its binaries by this command.
pub(crate) fn run_by(cargo: &mut Command, runner: &[OsString]) {
    // Not a variable: a test that starts cargo itself would inherit it.
    let words: Vec<_> = runner.iter().map(|word| word.to_string_lossy()).collect();
    cargo.arg("--config");
    cargo.arg(format!(
        "target.'cfg(all())'.runner = {}",
        serde_json::json!(words)
    ));
}

/// How many tests run at once: three for each processor. Most of a story is waiting for time-outs, disks and other programs.
pub(crate) fn at_once() -> usize {
    3 * thread::available_parallelism().map_or(1, usize::from)
}

/// Runs the tests, [`at_once`]; prints a line for each, and the output of each that fails.
///
/// # Errors
/// When a test failed, or the binary does not list its tests.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let binary = &arguments.binary;
    let mut tests = list(binary)?;
    let only = &arguments.only;
    tests.retain(|test| only.is_empty() || only.iter().any(|begin| test.starts_with(begin)));
    // A name that fits none any more would leave a step that tests nothing.
    let idle = |begin: &&String| !tests.iter().any(|test| test.starts_with(*begin));
    if let Some(begin) = only.iter().find(idle) {
        bail!("no test of {} begins with {begin}", binary.display());
    }
    let next = AtomicUsize::new(0);
    let failed = Mutex::new(Vec::new());
    let work = |worker: usize| {
        // A file, not a pipe: a process that a test leaves behind would keep a pipe open.
        let output = binary.with_extension(format!("output-{worker}"));
        while let Some(test) = tests.get(next.fetch_add(1, Ordering::Relaxed)) {
            let began = Instant::now();
            let verdict = run_alone(binary, test, arguments.include_ignored, &output);
            let seconds = began.elapsed().as_secs_f64();
            match verdict {
                Ok(()) => println!("ok     {seconds:>7.1} s  {test}"),
                Err(error) => {
                    println!("FAILED {seconds:>7.1} s  {test}: {error:#}");
                    let mut failed = failed.lock().unwrap_or_else(PoisonError::into_inner);
                    failed.push(test.as_str());
                }
            }
        }
        // No file exists if other workers ran all tests.
        let _ = std::fs::remove_file(output);
    };
    thread::scope(|scope| {
        for worker in 0..at_once() {
            let work = &work;
            scope.spawn(move || work(worker));
        }
    });
    let failed = failed.into_inner().unwrap_or_else(PoisonError::into_inner);
    let name = binary.display();
    ensure!(
        failed.is_empty(),
        "{} of {} tests failed in {name}: {}",
        failed.len(),
        tests.len(),
        failed.join(", ")
    );
    println!("{} tests passed in {name}", tests.len());
    Ok(())
}

/// The names of the tests.
fn list(binary: &Path) -> Result<Vec<String>> {
    let answer = Command::new(binary)
        .args(["--list", "--format", "terse"])
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("starting {}", binary.display()))?;
    ensure!(
        answer.status.success(),
        "{} does not list its tests",
        binary.display()
    );
    let text = String::from_utf8(answer.stdout).context("reading the list of tests")?;
    let names = text.lines().filter_map(|line| line.strip_suffix(": test"));
    Ok(names.map(str::to_owned).collect())
}

/// Runs one test with its output in a file; the error holds that output.
fn run_alone(binary: &Path, test: &str, whole: bool, output: &Path) -> Result<()> {
    let file = File::create(output).with_context(|| format!("making {}", output.display()))?;
    let mut child = Command::new(binary)
        .args([test, "--exact", "--nocapture"])
        .args(whole.then_some("--include-ignored"))
        .stdin(Stdio::null())
        .stdout(file.try_clone()?)
        .stderr(file)
        .spawn()?;
    let (pid, (ended, end)) = (child.id(), mpsc::channel());
    thread::spawn(move || ended.send(child.wait()));
    let patience = if whole { Duration::MAX } else { PATIENCE };
    let status = match end.recv_timeout(patience) {
        Ok(status) => status?,
        Err(_) => {
            end_tree(pid)?;
            end.recv()??
        }
    };
    if !status.success() {
        let output = std::fs::read(output)?;
        bail!("{status}\n{}", String::from_utf8_lossy(&output));
    }
    Ok(())
}

/// Kills a process that this one started and all that descend from it, the youngest first.
pub(crate) fn end_tree(root: u32) -> Result<()> {
    let listed = Command::new("ps").args(["-axo", "pid=,ppid="]).output()?;
    let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
    let pairs = listed.lines().filter_map(|line| {
        let (pid, parent) = line.trim().split_once(char::is_whitespace)?;
        Some((pid.parse::<u32>().ok()?, parent.trim().parse::<u32>().ok()?))
    });
    let pairs: Vec<_> = pairs.collect();
    let mut tree = vec![root];
    let mut at = 0;
    while let Some(parent) = tree.get(at).copied() {
        let of = pairs.iter().filter(|pair| pair.1 == parent);
        tree.extend(of.map(|pair| pair.0));
        at += 1;
    }
    let numbers = tree.iter().rev().map(u32::to_string);
    Command::new("kill").arg("-KILL").args(numbers).output()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{fs::Permissions, os::unix::fs::PermissionsExt as _};

    #[test]
    fn failed_test_is_named_and_others_still_run() {
        let folder = tempfile::tempdir().unwrap();
        let binary = folder.path().join("binary");
        let script = "#!/bin/sh\ncd \"${0%/*}\"\ncase \"$*\" in\n\
            '--list --format terse') printf 'one: test\\nbad: test\\nfast: benchmark\\ntwo: test\\n' ;;\n\
            'bad --exact --nocapture') kill -9 $$ ;;\n\
            *' --exact --nocapture') echo $$ >\"$1.ran\" ;;\n\
            *) exit 9 ;;\nesac\n";
        std::fs::write(&binary, script).unwrap();
        std::fs::set_permissions(&binary, Permissions::from_mode(0o755)).unwrap();
        let arguments = |only: &[&str]| Arguments {
            include_ignored: false,
            binary: binary.clone(),
            only: only.iter().map(|&begin| begin.to_owned()).collect(),
        };
        assert!(run(&arguments(&["o"])).is_ok(), "the bad one is left out");
        let error = run(&arguments(&["o", "gone"])).unwrap_err().to_string();
        assert!(error.ends_with("begins with gone"), "{error}");
        let error = run(&arguments(&[])).unwrap_err().to_string();
        assert!(error.starts_with("1 of 3 tests failed"), "{error}");
        assert!(error.ends_with(": bad"), "{error}");
        let ran = |test: &str| std::fs::read(folder.path().join(format!("{test}.ran"))).unwrap();
        assert_ne!(ran("one"), ran("two"), "each has a process of its own");
    }
}
