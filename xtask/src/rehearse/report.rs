//! The file that is sent back: for people in Markdown, for programs as JSON. It names no person, no host and no home folder.

use super::transcript::{Answer, Transcript};
use anyhow::{Context as _, Result};
use serde::Serialize;
use std::fmt::{self, Write as _};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// How many answers of a step the page lists; of more it says how many there are, and which failed.
const LISTED: usize = 30;

/// What became of a step.
#[derive(Default, Serialize)]
#[serde(tag = "outcome", content = "why", rename_all = "camelCase")]
pub(super) enum Outcome {
    #[default]
    NotRun,
    Passed,
    Failed(String),
    NotHere(String),
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotRun => f.write_str("not run"),
            Self::Passed => f.write_str("passed"),
            Self::Failed(why) => write!(f, "FAILED: {why}"),
            Self::NotHere(why) => write!(f, "not here: {why}"),
        }
    }
}

#[derive(Default, Serialize)]
struct ReportedStep {
    name: String,
    does: String,
    on_linux: String,
    #[serde(flatten)]
    outcome: Outcome,
    seconds: f64,
    answers: Vec<Answer>,
    /// Of one that failed.
    last_lines: Vec<String>,
}

/// All steps, in order.
#[derive(Serialize)]
pub(super) struct Report {
    system: &'static str,
    version: &'static str,
    steps: Vec<ReportedStep>,
    #[serde(skip)]
    private: Private,
}

impl Report {
    /// Of steps that have not run: name, purpose, and what of it runs on Linux.
    pub(super) fn new<'s>(steps: impl Iterator<Item = (&'s str, &'s str, &'s str)>) -> Self {
        let steps = steps.map(|(name, does, on_linux)| ReportedStep {
            name: name.to_owned(),
            does: does.to_owned(),
            on_linux: on_linux.to_owned(),
            ..ReportedStep::default()
        });
        Self {
            system: std::env::consts::OS,
            version: env!("CARGO_PKG_VERSION"),
            steps: steps.collect(),
            private: Private::of_this_machine(),
        }
    }

    /// Notes what became of a step.
    pub(super) fn note(
        &mut self,
        name: &str,
        outcome: Outcome,
        took: Duration,
        transcript: Transcript,
    ) {
        let private = &self.private;
        let Some(step) = self.steps.iter_mut().find(|step| step.name == name) else {
            return;
        };
        step.last_lines = match outcome {
            Outcome::Failed(_) => transcript
                .last
                .iter()
                .map(|line| private.removed(line))
                .collect(),
            _ => Vec::new(),
        };
        step.outcome = match outcome {
            Outcome::Failed(why) => Outcome::Failed(private.removed(&why)),
            Outcome::NotHere(why) => Outcome::NotHere(private.removed(&why)),
            other => other,
        };
        step.seconds = (took.as_secs_f64() * 10.0).round() / 10.0;
        step.answers = transcript.answers;
        for answer in &mut step.answers {
            answer.answer = private.removed(&answer.answer);
        }
    }

    /// Replaces the file whole, and the JSON beside it where that is wanted.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(super) fn write(&self, path: &Path, json: bool) -> Result<()> {
        replace(path, &self.page())?;
        if json {
            let text = serde_json::to_string_pretty(self).context("writing JSON")?;
            replace(&path.with_extension("json"), &text)?;
        }
        Ok(())
    }

    /// The steps that failed.
    pub(super) fn failed(&self) -> Vec<&str> {
        let failed = |step: &&ReportedStep| matches!(step.outcome, Outcome::Failed(_));
        let failed = self.steps.iter().filter(failed);
        failed.map(|step| step.name.as_str()).collect()
    }

    /// One line a step.
    pub(super) fn summary(&self) -> String {
        let mut text = String::new();
        for step in &self.steps {
            let first = step.outcome.to_string();
            let first = first.lines().next().unwrap_or_default();
            let seconds = step.seconds;
            _ = writeln!(text, "  {:<10} {seconds:>7.1} s  {first}", step.name);
        }
        text
    }

    fn page(&self) -> String {
        let mut page = format!(
            "# Rehearsal on {}, Plexus {}\n\n| step | outcome | s | does | on Linux |\n|---|---|---|---|---|\n",
            self.system, self.version
        );
        for step in &self.steps {
            let outcome = step.outcome.to_string().replace('|', "\\|");
            let outcome = outcome.lines().next().unwrap_or_default();
            _ = writeln!(
                page,
                "| {} | {outcome} | {:.1} | {} | {} |",
                step.name, step.seconds, step.does, step.on_linux
            );
        }
        for step in &self.steps {
            let is_listed = step.answers.len() <= LISTED;
            let shown: Vec<&Answer> = step
                .answers
                .iter()
                .filter(|it| is_listed || it.answer.starts_with("FAILED"))
                .collect();
            if step.answers.is_empty() && step.last_lines.is_empty() {
                continue;
            }
            _ = writeln!(page, "\n## {}\n", step.name);
            if !is_listed {
                let (all, failed) = (step.answers.len(), shown.len());
                _ = writeln!(page, "- {all} tests, {failed} of them failed");
            }
            for answer in shown {
                _ = writeln!(page, "- {}: {}", answer.question, answer.answer);
            }
            if !step.last_lines.is_empty() {
                let lines = step.last_lines.join("\n").replace("```", "'''");
                _ = writeln!(page, "\n```text\n{lines}\n```");
            }
        }
        page
    }
}

fn replace(path: &Path, text: &str) -> Result<()> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    std::fs::write(&beside, text)
        .and_then(|()| std::fs::rename(&beside, path))
        .with_context(|| format!("writing {}", path.display()))
}

/// What a report must not hold, and what it holds instead; the longest first.
struct Private(Vec<(String, &'static str)>);

impl Private {
    fn of_this_machine() -> Self {
        let variable = |name| std::env::var(name).unwrap_or_default();
        let host = Command::new("hostname").output();
        let host = host.map(|host| String::from_utf8_lossy(&host.stdout).trim().to_owned());
        let host = host.unwrap_or_default();
        let short = host.split('.').next().unwrap_or_default().to_owned();
        let root = crate::cargo::root().display().to_string();
        Self::new([
            (root, "PLEXUS"),
            (variable("HOME"), "~"),
            (variable("USER"), "USER"),
            (host, "HOST"),
            (short, "HOST"),
        ])
    }

    fn new(all: impl IntoIterator<Item = (String, &'static str)>) -> Self {
        let mut all: Vec<_> = all.into_iter().collect();
        // A short word is in many others, and these say nothing of anybody.
        all.retain(|(word, _)| {
            word.len() > 2 && !["root", "/root", "localhost"].contains(&&**word)
        });
        all.sort_by_key(|(word, _)| std::cmp::Reverse(word.len()));
        Self(all)
    }

    fn removed(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for (word, instead) in &self.0 {
            text = replaced(&text, word, instead);
        }
        text
    }
}

/// The text with each whole word replaced; one that is part of another stays.
fn replaced(text: &str, word: &str, instead: &str) -> String {
    let (mut out, mut rest) = (String::new(), text);
    while let Some((before, after)) = rest.split_once(word) {
        let begins = word.starts_with('/') || !before.ends_with(char::is_alphanumeric);
        let is_whole = begins && !after.starts_with(char::is_alphanumeric);
        out.extend([before, if is_whole { instead } else { word }]);
        rest = after;
    }
    out + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        let steps = [("one", "does one", "the same"), ("two", "does two", "not")];
        let mut report = Report::new(steps.into_iter());
        report.private = Private::new([
            ("/Users/jane/plexus".to_owned(), "PLEXUS"),
            ("/Users/jane".to_owned(), "~"),
            ("jane".to_owned(), "USER"),
            ("Janes-Mac".to_owned(), "HOST"),
            ("me".to_owned(), "SHORT"),
        ]);
        report
    }

    #[test]
    fn report_has_each_step_and_names_nobody() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("report.md");
        let mut report = report();
        report.write(&path, true).unwrap();
        let read = || std::fs::read_to_string(&path).unwrap();
        assert!(read().contains("| two | not run | 0.0 | does two | not |"));
        let mut said = Transcript::default();
        said.line("at /Users/jane/plexus/x of jane on Janes-Mac, named me, to janet");
        said.line("FAILED     1.5 s  a::b: exit status: 101");
        let why = "a | b\nin /Users/jane/Library".to_owned();
        report.note(
            "one",
            Outcome::Failed(why),
            Duration::from_millis(1540),
            said,
        );
        let gone = Outcome::NotHere("no /Users/jane/x".to_owned());
        report.note("two", gone, Duration::ZERO, Transcript::default());
        report.write(&path, true).unwrap();
        let page = read();
        for line in [
            "| one | FAILED: a \\| b | 1.5 | does one | the same |",
            "| two | not here: no ~/x | 0.0 | does two | not |",
            "- a::b: FAILED, 1.5 s",
            "at PLEXUS/x of USER on HOST, named me, to janet",
        ] {
            assert!(page.lines().any(|l| l == line), "{line}\n{page}");
        }
        let json = std::fs::read_to_string(folder.path().join("report.json")).unwrap();
        for text in [&page, &json] {
            assert!(!text.replace("janet", "").contains("ane"), "{text}");
        }
        let json: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(json["steps"][0]["outcome"], "failed");
        assert_eq!(json["steps"][1]["why"], "no ~/x");
        assert_eq!(report.failed(), ["one"]);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2);
    }

    #[test]
    fn of_many_tests_those_that_failed_are_listed() {
        let mut report = report();
        let mut said = Transcript::default();
        for number in 0..=LISTED {
            let verdict = if number == 7 { "FAILED" } else { "ok" };
            said.line(&format!("{verdict} 0.1 s  test_{number}"));
        }
        report.note("one", Outcome::Passed, Duration::ZERO, said);
        let page = report.page();
        assert!(
            page.contains("- 31 tests, 1 of them failed\n- test_7: FAILED, 0.1 s\n"),
            "{page}"
        );
    }
}
