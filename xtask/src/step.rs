//! A list of steps: each is announced, timed, and counted in a summary; one that fails does not hide the next.

use anyhow::{Result, anyhow, bail};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// The steps taken so far.
#[derive(Default)]
pub(crate) struct Steps {
    done: Vec<(String, Duration, Result<()>)>,
}

impl Steps {
    /// Runs `work` under `name`.
    pub(crate) fn run(&mut self, name: &str, work: impl FnOnce() -> Result<()>) {
        println!("\n==> {name}");
        let began = Instant::now();
        let verdict = work();
        let took = began.elapsed();
        match &verdict {
            Ok(()) => println!("    ok, {:.1} s", took.as_secs_f64()),
            Err(error) => println!("    FAILED after {:.1} s: {error:#}", took.as_secs_f64()),
        }
        self.done.push((name.to_owned(), took, verdict));
    }

    /// Runs a child process under `name`; its output goes to the terminal.
    pub(crate) fn child(&mut self, name: &str, command: &mut Command) {
        self.run(name, || finish(command));
    }

    /// Prints the summary.
    ///
    /// # Errors
    /// When a step failed.
    pub(crate) fn summary(self) -> Result<()> {
        println!("\nsummary");
        let mut failed = Vec::new();
        let mut total = Duration::ZERO;
        for (name, took, verdict) in self.done {
            let word = if verdict.is_ok() { "ok" } else { "FAILED" };
            println!("  {word:<6} {:>7.1} s  {name}", took.as_secs_f64());
            total += took;
            if verdict.is_err() {
                failed.push(name);
            }
        }
        println!("         {:>7.1} s  in all", total.as_secs_f64());
        if failed.is_empty() {
            return Ok(());
        }
        bail!("failed: {}", failed.join(", "))
    }
}

/// Runs a child process to its end.
///
/// # Errors
/// When it cannot be started or ends with another status than 0.
pub(crate) fn finish(command: &mut Command) -> Result<()> {
    let status = command
        .status()
        .map_err(|error| anyhow!("{}: {error}", command.get_program().to_string_lossy()))?;
    if status.success() {
        return Ok(());
    }
    bail!(
        "{} ended with {status}",
        command.get_program().to_string_lossy()
    )
}

/// The same beside other steps: its output is kept for the error.
///
/// # Errors
/// As [`finish`]; the message ends with what it said.
pub(crate) fn finish_unheard(command: &mut Command) -> Result<()> {
    let program = command.get_program().to_string_lossy().into_owned();
    let ended = command.stdin(Stdio::null()).output();
    let ended = ended.map_err(|error| anyhow!("{program}: {error}"))?;
    if ended.status.success() {
        return Ok(());
    }
    let said = [ended.stdout, ended.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    bail!("{program} ended with {}:\n{said}", ended.status)
}

/// Whether a program can be started at all; its output is thrown away.
pub(crate) fn present(program: &str, arguments: &[&str]) -> bool {
    Command::new(program)
        .args(arguments)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}
