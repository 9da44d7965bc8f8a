//! What a step's programs say: shown as it comes, its last lines kept, its answers collected.

use super::is_interrupted;
use crate::isolate::end_tree;
use anyhow::{Context as _, Result, bail, ensure};
use serde::Serialize;
use std::collections::VecDeque;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

/// How many of the last lines a report has.
const KEPT: usize = 80;
/// How long the last lines may take after the end of who said them. Somebody who was left behind may hold the pipe.
const LAST_LINES: Duration = Duration::from_secs(5);
/// How long the removal of what a step made may take.
const CLEANING: Duration = Duration::from_secs(60);

/// A question and what the machine answers.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Answer {
    pub(super) question: String,
    pub(super) answer: String,
}

/// What the programs of a step said so far.
#[derive(Default)]
pub(super) struct Transcript {
    pub(super) last: VecDeque<String>,
    pub(super) answers: Vec<Answer>,
    until: Option<Instant>,
    cleans_up: bool,
}

enum Heard {
    Line(String),
    End(std::io::Result<ExitStatus>),
}

impl Transcript {
    /// Of a step that may take so long.
    pub(super) fn within(bound: Duration) -> Self {
        Self {
            until: Some(Instant::now() + bound),
            ..Self::default()
        }
    }

    /// How much longer the step may take.
    pub(super) fn left(&self) -> Duration {
        self.until.map_or(Duration::MAX, |until| {
            until.saturating_duration_since(Instant::now())
        })
    }

    /// Gives what removes a step's traces its own time, also after the bound or a Ctrl-C.
    pub(super) fn clean_up(&mut self) {
        self.cleans_up = true;
        self.until = Some(Instant::now() + CLEANING);
    }

    /// Shows a line and keeps it.
    pub(super) fn line(&mut self, line: &str) {
        println!("    {line}");
        if let Some(answer) = of_a_test(line) {
            self.answers.push(answer);
        }
        if self.last.len() == KEPT {
            self.last.pop_front();
        }
        self.last.push_back(line.to_owned());
    }

    /// Shows an answer and keeps it.
    pub(super) fn answer(&mut self, question: &str, answer: impl Into<String>) {
        let answer = answer.into();
        println!("    {question}: {answer}");
        self.answers.push(Answer {
            question: question.to_owned(),
            answer,
        });
    }

    /// The tests that failed.
    pub(super) fn failures(&self) -> Vec<String> {
        let failed = |answer: &&Answer| answer.answer.starts_with("FAILED");
        let failed = self.answers.iter().filter(failed);
        failed.map(|answer| answer.question.clone()).collect()
    }

    /// Runs a program to its end, or to the bound of the step, and hears both of its outputs.
    ///
    /// # Errors
    /// When it cannot be started, ends with another status than 0, or takes too long; then it and its descendants are ended.
    /// After a Ctrl-C only what cleans up is started.
    pub(super) fn hear(&mut self, command: Command) -> Result<()> {
        self.hear_each(command, Self::line)
    }

    /// The same with another use of each line. If `hear` shows and keeps it, this need not: it may be a person's own.
    ///
    /// # Errors
    /// The same.
    pub(super) fn hear_each(
        &mut self,
        mut command: Command,
        mut each: impl FnMut(&mut Self, &str),
    ) -> Result<()> {
        ensure!(self.cleans_up || !is_interrupted(), "it was interrupted");
        let name = Path::new(command.get_program()).file_name();
        let name = name.unwrap_or_default().to_string_lossy().into_owned();
        let (read, write) = std::io::pipe().context("making a pipe")?;
        command.stdin(Stdio::null()).stdout(write.try_clone()?);
        let child = command.stderr(write).spawn();
        let mut child = child.with_context(|| format!("starting {name}"))?;
        // It holds the pipe's other end.
        drop(command);
        let pid = child.id();
        let (tell, told) = mpsc::channel();
        let tell_end = tell.clone();
        thread::spawn(move || _ = tell_end.send(Heard::End(child.wait())));
        thread::spawn(move || {
            for line in BufReader::new(read).split(b'\n').map_while(Result::ok) {
                let line = String::from_utf8_lossy(&line).into_owned();
                if tell.send(Heard::Line(line)).is_err() {
                    break;
                }
            }
        });
        let (mut ended, mut late) = (None, false);
        loop {
            let most = if ended.is_some() {
                LAST_LINES
            } else {
                self.left()
            };
            match told.recv_timeout(most) {
                Ok(Heard::Line(line)) => each(self, &line),
                Ok(Heard::End(status)) => ended = Some(status?),
                Err(RecvTimeoutError::Timeout) if ended.is_none() && !late => {
                    late = true;
                    end_tree(pid)?;
                    self.until = Some(Instant::now() + LAST_LINES);
                }
                Err(_) => break,
            }
        }
        match ended {
            _ if late => bail!("{name} took too long, and was ended"),
            Some(status) if status.success() => Ok(()),
            Some(status) => bail!("{name} ended with {status}"),
            None => bail!("{name} cannot be waited for"),
        }
    }
}

/// `ok  0.1 s  module::name_of_a_test`, as `isolate` says it.
fn of_a_test(line: &str) -> Option<Answer> {
    let (verdict, rest) = line.split_once(' ')?;
    let (seconds, name) = rest.split_once(" s  ")?;
    let seconds: f64 = seconds.trim().parse().ok()?;
    let name = name.split(": ").next()?;
    (["ok", "FAILED"].contains(&verdict)).then(|| Answer {
        question: name.to_owned(),
        answer: format!("{verdict}, {seconds:.1} s"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut shell = Command::new("sh");
        shell.args(["-c", script]);
        shell
    }

    #[test]
    fn last_lines_and_tests_are_kept() {
        let mut transcript = Transcript::within(Duration::from_secs(60));
        let script = "seq 100; echo 'ok         0.1 s  a::b'; echo 'FAILED     2.0 s  c: exit status' >&2; exit 3";
        let error = transcript.hear(shell(script)).unwrap_err().to_string();
        assert!(error.ends_with("exit status: 3"), "{error}");
        assert_eq!(transcript.last.len(), KEPT);
        assert_eq!(
            transcript.last.back().unwrap(),
            "FAILED     2.0 s  c: exit status"
        );
        let answers: Vec<_> = transcript
            .answers
            .iter()
            .map(|it| (&*it.question, &*it.answer))
            .collect();
        assert_eq!(answers, [("a::b", "ok, 0.1 s"), ("c", "FAILED, 2.0 s")]);
        assert_eq!(transcript.failures(), ["c"]);
    }

    #[test]
    fn late_step_is_ended_with_its_children() {
        let mut transcript = Transcript::within(Duration::from_secs(5));
        let error = transcript
            .hear(shell("sleep 600 & echo $!; wait"))
            .unwrap_err();
        assert!(error.to_string().contains("too long"), "{error}");
        let child = transcript.last.front().expect("its number").clone();
        let mut state = Command::new("ps");
        let state = state.args(["-o", "stat=", "-p", &child]).output().unwrap();
        let state = String::from_utf8_lossy(&state.stdout).into_owned();
        assert!(state.is_empty() || state.starts_with('Z'), "{state}");
        transcript.clean_up();
        transcript.hear(shell("sleep 0.1")).unwrap();
    }

    #[test]
    fn end_is_heard_while_somebody_holds_the_pipe() {
        let mut transcript = Transcript::within(Duration::from_secs(60));
        let began = Instant::now();
        transcript
            .hear(shell("sleep 30 & echo $!; exit 0"))
            .unwrap();
        assert!(began.elapsed() < Duration::from_secs(20));
        let left: u32 = transcript.last.front().unwrap().parse().unwrap();
        end_tree(left).unwrap();
    }
}
