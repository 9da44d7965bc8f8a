//! A list of steps: each is announced, timed, and counted in a summary; one that fails does not hide the next.

use anyhow::{Context, Result, anyhow, bail};
use std::io::{BufRead, BufReader, IsTerminal, Read, Write};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

/// How many lines of what failed the summary says again.
const SAID_AGAIN: usize = 40;
/// How many lines after a panic say why.
const PANIC: usize = 4;

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

    /// The same for a child process that runs tests: the summary says which failed. Where CI keeps the end of an output only,
    /// that is all that is left of it.
    pub(crate) fn tests(&mut self, name: &str, command: &mut Command) {
        // At a terminal, the tests' own picture of how far they are is worth more.
        match std::io::stdout().is_terminal() {
            true => self.child(name, command),
            false => self.run(name, || finish_tests(command)),
        }
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
            if let Err(error) = verdict {
                for line in format!("{error:#}").lines().take(SAID_AGAIN) {
                    println!("           {line}");
                }
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

/// The same; the error also has the lines that say which tests failed, and why.
fn finish_tests(command: &mut Command) -> Result<()> {
    let program = command.get_program().to_string_lossy().into_owned();
    let started = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut child = started.with_context(|| program.clone())?;
    let (sender, said) = mpsc::channel();
    let outputs: [Option<Box<dyn Read + Send>>; 2] = [
        child.stdout.take().map(|output| Box::new(output) as _),
        child.stderr.take().map(|output| Box::new(output) as _),
    ];
    for output in outputs.into_iter().flatten() {
        let sender = sender.clone();
        thread::spawn(move || pass_on(output, &sender));
    }
    drop(sender);
    let status = child.wait()?;
    // The rest of the output comes before the next step's. A process that a test leaves behind keeps the pipes open.
    let patience = Duration::from_secs(2);
    let lines: Vec<String> = std::iter::from_fn(|| said.recv_timeout(patience).ok()).collect();
    if status.success() {
        return Ok(());
    }
    bail!("{program} ended with {status}\n{}", lines.join("\n"))
}

/// Prints what is read, and sends on what speaks of failures.
fn pass_on(output: impl Read, failures: &mpsc::Sender<String>) {
    let mut lines = BufReader::new(output).split(b'\n');
    let mut more = 0;
    while let Some(Ok(line)) = lines.next() {
        let mut stdout = std::io::stdout().lock();
        // If nobody reads any more, the tests go on.
        let _ = stdout
            .write_all(&line)
            .and_then(|()| stdout.write_all(b"\n"));
        drop(stdout);
        let line = String::from_utf8_lossy(&line);
        if line.contains(" panicked at ") {
            more = PANIC;
        }
        if more > 0 || line.trim_start().starts_with("FAIL") {
            more = more.saturating_sub(1);
            let _ = failures.send(line.into_owned());
        }
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failed_test_is_named_again_with_its_words() {
        let script = "echo fine; echo 'FAILED 0.1 s one'; echo 'thread one panicked at a.rs:1:'; \
            for n in 1 2 3 4 5; do echo why $n; done; exit 3";
        let error = finish_tests(Command::new("sh").args(["-c", script])).unwrap_err();
        let error = error.to_string();
        assert!(
            error.contains("exit status: 3\nFAILED 0.1 s one\nthread one"),
            "{error}"
        );
        assert!(
            error.contains("why 3") && !error.contains("why 4"),
            "{error}"
        );
        assert!(!error.contains("fine"), "{error}");
        assert!(finish_tests(Command::new("sh").args(["-c", "echo FAIL"])).is_ok());
    }

    #[test]
    fn process_left_behind_holds_nobody_up() {
        let began = Instant::now();
        let script = "sleep 9 & echo FAIL one; exit 1";
        let error = finish_tests(Command::new("sh").args(["-c", script])).unwrap_err();
        assert!(error.to_string().ends_with("FAIL one"), "{error}");
        assert!(began.elapsed() < Duration::from_secs(8));
    }
}
