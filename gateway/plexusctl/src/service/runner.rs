//! Running the service manager's command.

use plexus_client::{Exit, Stop, programs, text};
use std::{
    io,
    path::PathBuf,
    process::{Command, Stdio},
};

/// A command that is run with arguments and answers with an exit status.
pub(super) struct Runner {
    program: PathBuf,
}

/// What came of one run.
pub(super) struct ProgramOutput {
    /// Its exit status; -1 when a signal ended it.
    pub(super) status: i32,
    pub(super) stdout: String,
    pub(super) stderr: String,
}

impl Runner {
    /// A program by path, or by name as PATH has it.
    pub(super) fn new(program: impl Into<PathBuf>) -> Self {
        Self {
            program: program.into(),
        }
    }

    /// Its name, for messages and plans.
    pub(super) fn name(&self) -> String {
        self.program
            .file_name()
            .map_or(String::new(), |name| name.to_string_lossy().into_owned())
    }

    /// Runs it to its end.
    pub(super) fn run(&self, arguments: &[String]) -> Result<ProgramOutput, Stop> {
        let program = self
            .program
            .to_str()
            .and_then(programs::of_the_system)
            .ok_or_else(|| {
                io::Error::new(
                    io::ErrorKind::NotFound,
                    "it is not there, or it is not found by PATH",
                )
            });
        let output = program
            .and_then(|program| {
                Command::new(program)
                    .args(arguments)
                    .stdin(Stdio::null())
                    .output()
            })
            .map_err(|e| {
                let why = format!("{} cannot be run: {e}", self.name());
                Stop::new(Exit::Failed, "no_service_manager", why).next(
                    "start the gateway yourself: plexusd (or write the files alone: plexusctl service install \
                     --write-only)",
                )
            })?;
        Ok(ProgramOutput {
            status: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        })
    }
}

impl ProgramOutput {
    /// What it said of its failure, in a line.
    pub(super) fn said(&self) -> String {
        let said = if self.stderr.trim().is_empty() {
            &self.stdout
        } else {
            &self.stderr
        };
        text::line(said.trim().lines().next().unwrap_or("(no output)"))
    }
}
