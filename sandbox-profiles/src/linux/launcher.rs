//! The launcher's command line: that of `sandbox-exec -p`, with four limits in front.
//!
//! Exit statuses, beyond which the status is the worker's: 64 usage, 65 the profile is refused, 69 the kernel
//! cannot enforce it, 71 a step failed, 126 the worker cannot be executed. One line on stderr says why.

use std::ffi::{OsStr, OsString};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use super::{CageError, enter, go_without};
use crate::launch::{Limits, UNCAGED};
use crate::profile::{Profile, ProfileError};
use crate::ruleset::{Parameters, Ruleset};

/// Runs the launcher. Returns only to refuse: on success this process has become the worker.
pub fn launcher(arguments: impl Iterator<Item = OsString>) -> ExitCode {
    let Err(refusal) = launch(arguments);
    say(&refusal);
    ExitCode::from(refusal.status())
}

#[expect(
    clippy::print_stderr,
    reason = "the gateway logs what a launcher says on stderr"
)]
fn say(refusal: &Refusal) {
    eprintln!("plexus-sandbox-exec: {refusal}");
}

fn launch(arguments: impl Iterator<Item = OsString>) -> Result<std::convert::Infallible, Refusal> {
    let call = Call::parse(arguments)?;
    match &call.profile {
        None => go_without(&call.limits)?,
        Some(profile) => {
            let ruleset = Ruleset::evaluate(&Profile::parse(profile)?, &call.parameters)?;
            enter(&ruleset, &call.limits)?;
        }
    }
    let error = Command::new(&call.worker).args(&call.arguments).exec();
    Err(Refusal::Exec {
        worker: call.worker,
        error,
    })
}

/// Why there is no worker.
#[derive(Debug, thiserror::Error)]
enum Refusal {
    #[error(
        "{0}; usage: [--limit-files N] [--limit-file-size BYTES] [--limit-memory BYTES] [--limit-addresses BYTES] \
         -p PROFILE [-D KEY=VALUE]... [--] WORKER [ARG]..."
    )]
    Usage(String),
    #[error("profile refused: {0}")]
    Profile(#[from] ProfileError),
    #[error("{0}")]
    Cage(#[from] CageError),
    #[error("cannot execute {}: {error}", .worker.display())]
    Exec {
        worker: PathBuf,
        error: std::io::Error,
    },
}

impl Refusal {
    /// From `sysexits.h`, and 126 as shells have it.
    fn status(&self) -> u8 {
        match self {
            Self::Usage(_) => 64,
            Self::Profile(_) | Self::Cage(CageError::Path { .. }) => 65,
            Self::Cage(CageError::Unsupported(_)) => 69,
            Self::Cage(_) => 71,
            Self::Exec { .. } => 126,
        }
    }
}

#[derive(Debug)]
struct Call {
    /// Nothing where it was asked for by name that there be no cage.
    profile: Option<String>,
    parameters: Parameters,
    limits: Limits,
    worker: PathBuf,
    arguments: Vec<OsString>,
}

impl Call {
    fn parse(mut arguments: impl Iterator<Item = OsString>) -> Result<Self, Refusal> {
        let mut profile = None;
        let mut parameters = Parameters::new();
        let mut limits = Limits::default();
        let mut uncaged = None;
        let worker = loop {
            let argument = next(&mut arguments, "no worker given")?;
            match argument.to_str() {
                Some("-p") => set_once(
                    &mut profile,
                    text(next(&mut arguments, "-p needs a profile")?)?,
                    "-p",
                )?,
                Some("-D") => parameter(
                    &text(next(&mut arguments, "-D needs KEY=VALUE")?)?,
                    &mut parameters,
                )?,
                Some(UNCAGED) => set_once(&mut uncaged, (), UNCAGED)?,
                Some("--limit-files") => set_once(
                    &mut limits.files,
                    number(arguments.next().as_deref())?,
                    "--limit-files",
                )?,
                Some("--limit-file-size") => set_once(
                    &mut limits.file_size,
                    number(arguments.next().as_deref())?,
                    "--limit-file-size",
                )?,
                Some("--limit-memory") => set_once(
                    &mut limits.memory,
                    number(arguments.next().as_deref())?,
                    "--limit-memory",
                )?,
                Some("--limit-addresses") => set_once(
                    &mut limits.addresses,
                    number(arguments.next().as_deref())?,
                    "--limit-addresses",
                )?,
                Some("--") => break next(&mut arguments, "no worker given")?,
                Some(joined) if joined.starts_with("-D") => {
                    parameter(&joined["-D".len()..], &mut parameters)?;
                }
                Some(option) if option.starts_with('-') => {
                    return Err(Refusal::Usage(format!("unknown option {option}")));
                }
                _ => break argument,
            }
        };
        // A bare name would be looked up in PATH, which is whoever set it.
        if !Path::new(&worker).is_absolute() {
            return Err(Refusal::Usage(
                "the worker must be an absolute path".to_owned(),
            ));
        }
        match (&profile, uncaged) {
            (Some(_), None) | (None, Some(())) => {}
            (None, None) => return Err(Refusal::Usage("no profile given".to_owned())),
            (Some(_), Some(())) => {
                return Err(Refusal::Usage(format!("a profile and {UNCAGED}")));
            }
        }
        Ok(Self {
            profile,
            parameters,
            limits,
            worker: worker.into(),
            arguments: arguments.collect(),
        })
    }
}

fn next(
    arguments: &mut impl Iterator<Item = OsString>,
    missing: &str,
) -> Result<OsString, Refusal> {
    arguments
        .next()
        .ok_or_else(|| Refusal::Usage(missing.to_owned()))
}

fn text(argument: OsString) -> Result<String, Refusal> {
    argument
        .into_string()
        .map_err(|argument| Refusal::Usage(format!("{} is not UTF-8", argument.display())))
}

fn number(argument: Option<&OsStr>) -> Result<u64, Refusal> {
    let parsed = argument
        .and_then(OsStr::to_str)
        .and_then(|digits| digits.parse().ok());
    parsed.ok_or_else(|| Refusal::Usage("a limit needs a number".to_owned()))
}

fn parameter(assignment: &str, parameters: &mut Parameters) -> Result<(), Refusal> {
    let (key, value) = assignment
        .split_once('=')
        .ok_or_else(|| Refusal::Usage(format!("{assignment} is not KEY=VALUE")))?;
    match parameters.insert(key.to_owned(), value.to_owned()) {
        None => Ok(()),
        Some(_) => Err(Refusal::Usage(format!("{key} is given twice"))),
    }
}

fn set_once<T>(slot: &mut Option<T>, value: T, option: &str) -> Result<(), Refusal> {
    match slot.replace(value) {
        None => Ok(()),
        Some(_) => Err(Refusal::Usage(format!("{option} is given twice"))),
    }
}
