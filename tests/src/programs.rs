//! Running the owner's and the agent's command as a person or a model does, and reading what they say.

use crate::waiting::{PATIENCE, within};
use serde_json::Value;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

/// What a command said.
#[derive(Clone, Debug)]
pub struct Said {
    /// The command line, for messages.
    pub typed: String,
    /// The exit status; -1 when a signal ended it.
    pub status: i32,
    /// Standard output: data.
    pub stdout: String,
    /// Standard error: talk.
    pub stderr: String,
}

impl Said {
    /// Holds exit status 0; gives standard output.
    #[track_caller]
    pub fn expect_ok(&self) -> &str {
        self.expect_status(0);
        &self.stdout
    }
    /// Holds the exit status.
    #[track_caller]
    pub fn expect_status(&self, status: i32) -> &Self {
        assert_eq!(self.status, status, "{self}");
        self
    }
    /// Standard output as JSON.
    #[must_use]
    #[track_caller]
    pub fn json(&self) -> Value {
        match serde_json::from_str(&self.stdout) {
            Ok(value) => value,
            Err(error) => panic!("{self}\n{error}"),
        }
    }
    /// Both outputs.
    #[must_use]
    pub fn all(&self) -> String {
        format!("{}{}", self.stdout, self.stderr)
    }
}

impl std::fmt::Display for Said {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} ended with {}\n--- stdout\n{}--- stderr\n{}",
            self.typed, self.status, self.stdout, self.stderr
        )
    }
}

/// A command with nothing of this process's environment but the path, and `home` as the person's folder.
#[must_use]
pub fn command(program: &Path, home: &Path) -> Command {
    let mut command = Command::new(program);
    command
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("HOME", home)
        .env("NO_COLOR", "1")
        .current_dir(home)
        .stdin(Stdio::null());
    command
}

/// The id that a text begins with.
#[must_use]
pub fn id_at(text: &str) -> &str {
    let is_id = |c: char| c.is_ascii_alphanumeric() || "_-".contains(c);
    &text[..text.find(|c| !is_id(c)).unwrap_or(text.len())]
}

/// Runs a command to its end.
///
/// # Panics
/// When it cannot be started, or takes much longer than a command does.
#[must_use]
#[track_caller]
pub fn run(command: Command) -> Said {
    run_within(PATIENCE * 5, command)
}

/// As [`run`], for one that takes longer.
///
/// # Panics
/// When it cannot be started, or does not end within `bound`.
#[must_use]
#[track_caller]
pub fn run_within(bound: Duration, mut command: Command) -> Said {
    let typed = format!(
        "{} {}",
        command.get_program().to_string_lossy(),
        command
            .get_args()
            .map(|argument| argument.to_string_lossy())
            .collect::<Vec<_>>()
            .join(" ")
    );
    let Output {
        status,
        stdout,
        stderr,
    } = within(bound, &typed, move || command.output())
        .unwrap_or_else(|error| panic!("{typed}: {error}"));
    Said {
        typed,
        status: status.code().unwrap_or(-1),
        stdout: String::from_utf8_lossy(&stdout).into_owned(),
        stderr: String::from_utf8_lossy(&stderr).into_owned(),
    }
}
