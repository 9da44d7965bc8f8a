//! The command line. The doc comments here are the help.

use crate::{
    command, describe, enroll, extension, list,
    output::Printing,
    settings::{MAX_WAIT_S, Settings, Target},
    watch, whoami,
};
use clap::{
    Args, CommandFactory, Parser, Subcommand,
    error::{ContextKind, ErrorKind},
};
use plexus_client::{Exit, Stop, out, read_help, span, text};
use plexus_protocol::{CapabilityId, RunId};
use std::ffi::OsString;

/// Use the apps that this machine's owner shares with you
#[derive(Parser)]
#[command(name = "plexus", version, disable_help_subcommand = true, after_help = AFTER)]
struct Cli {
    #[command(flatten)]
    target: Target,
    #[command(subcommand)]
    command: Word,
}

const AFTER: &str = "\
A capability is called by its name: plexus obsidian.vault.read path=Projects/Plexus.md
`plexus call --help` says how to give input.

Exit status: 0 done, 1 failed, 2 not enrolled, 64 usage, 69 no gateway, 75 waiting for the owner, 77 refused";

#[derive(Subcommand)]
enum Word {
    #[command(flatten)]
    Own(Command),
    #[command(external_subcommand)]
    Capability(Vec<String>),
}

/// What was asked for.
#[derive(Subcommand, Debug, PartialEq)]
pub(crate) enum Command {
    /// Exchange a one-time code for this agent's credential
    Enroll(enroll::Enroll),
    /// Show what can be called: now, after asking the owner, or not at all
    List(list::List),
    /// Show one capability: what it does, its input, an example
    Describe(describe::Describe),
    /// Call a capability; the word `call` may be left out
    Call(Call),
    /// Wait for the owner's decision, or for a long call, and print the result
    Wait(Wait),
    /// Send a further message in a conversation; one that is over is taken up again, after asking the owner
    Continue(Continue),
    /// Cancel a run, or withdraw a request that waits for the owner
    Cancel(Cancel),
    /// Follow events: of sources, decisions, ends of runs
    Watch(watch::Watch),
    /// Write an extension: the guide, and proposing one to the owner
    Extension(extension::Extension),
    /// Show who you are to the gateway
    Whoami(whoami::Whoami),
    /// Serve MCP on stdin and stdout, for an agent that starts its tools that way
    Mcp(Mcp),
    /// Print how to use this command, for an agent's instructions
    Skill,
    /// Print a completion script
    Completion {
        /// Shell to print it for
        shell: clap_complete::Shell,
    },
}

/// Serving MCP.
#[derive(Args, Debug, PartialEq)]
pub(crate) struct Mcp {
    /// What the client puts before each tool's name: the names are made short enough for it
    #[arg(long, value_name = "TEXT", default_value = "")]
    pub(crate) prefix: String,
}

/// A call of one capability.
#[derive(Args, Debug, PartialEq)]
pub(crate) struct Call {
    /// Capability, as `plexus list` shows it
    pub(crate) capability: CapabilityId,
    /// Input: field=value, or values in the order that `plexus describe` shows
    #[arg(value_name = "INPUT", allow_negative_numbers = true)]
    pub(crate) words: Vec<String>,
    /// Whole input as a JSON object; `-` reads it from stdin
    #[arg(
        long,
        value_name = "JSON",
        conflicts_with = "words",
        allow_hyphen_values = true
    )]
    pub(crate) input: Option<String>,
    #[command(flatten)]
    pub(crate) printing: Printing,
    /// One sentence for the owner: why you ask
    #[arg(long, value_name = "TEXT")]
    pub(crate) purpose: Option<String>,
    #[command(flatten)]
    pub(crate) patience: Patience,
}

/// How long to wait for the owner.
#[derive(Args, Clone, Copy, Debug, PartialEq)]
pub(crate) struct Patience {
    /// Seconds to wait at most where the owner has to decide [default: until the owner has]
    #[arg(long, value_name = "SECONDS", value_parser = |typed: &str| span::seconds(typed, 0..=MAX_WAIT_S))]
    wait: Option<u64>,
    /// Do not wait: the same as --wait 0
    #[arg(long, hide = true, conflicts_with = "wait")]
    no_wait: bool,
}

impl Patience {
    /// Whether a time to wait is given.
    pub(crate) fn is_timed(self) -> bool {
        self.wait.is_some()
    }

    /// The time to wait.
    pub(crate) fn length(self) -> std::time::Duration {
        let seconds = match self.no_wait {
            true => 0,
            false => self.wait.unwrap_or(MAX_WAIT_S),
        };
        std::time::Duration::from_secs(seconds)
    }
}

/// Waiting for something that goes on without a command.
#[derive(Args, Debug, PartialEq)]
pub(crate) struct Wait {
    /// Request (pend_…) or run (run_…), as an earlier command printed it [default: list the requests that wait]
    pub(crate) item: Option<String>,
    #[command(flatten)]
    pub(crate) printing: Printing,
    #[command(flatten)]
    pub(crate) patience: Patience,
}

/// Going on with a conversation.
#[derive(Args, Debug, PartialEq)]
pub(crate) struct Continue {
    /// Conversation (run_…), as its answers name it
    pub(crate) conversation: RunId,
    /// What you say
    #[arg(value_name = "MESSAGE", required = true, value_parser = clap::builder::NonEmptyStringValueParser::new())]
    pub(crate) words: Vec<String>,
    #[command(flatten)]
    pub(crate) printing: Printing,
    /// One sentence for the owner, where the owner is asked: why
    #[arg(long, value_name = "TEXT")]
    pub(crate) purpose: Option<String>,
    #[command(flatten)]
    pub(crate) patience: Patience,
}

/// Cancelling what an earlier call left behind.
#[derive(Args, Debug, PartialEq)]
pub(crate) struct Cancel {
    /// Run (run_…) or request (pend_…), as the call printed it
    pub(crate) item: String,
}

// `plexus <capability> …` is read by itself: the subcommand's words come unparsed.
/// Call a capability; `plexus describe` shows its input
#[derive(Parser)]
#[command(name = "plexus")]
struct Direct {
    #[command(flatten)]
    target: Target,
    #[command(flatten)]
    call: Call,
}

type Parsed = (Command, Result<Settings, Stop>);

/// Reads the command line; prints help and usage errors itself and then returns the exit status.
pub(crate) fn parse(line: impl IntoIterator<Item = OsString>) -> Result<Parsed, Exit> {
    let line = read_help(line);
    let program = line.first().cloned().unwrap_or_default();
    let read = |target: Target| {
        let settings = Settings::read(target.clone());
        if let Ok(settings) = &settings {
            command::learn(&program, &target, settings);
        }
        settings
    };
    let (command, target) = words(line).map_err(|ended| match ended {
        LineError::Clap(error) => {
            let is_help = error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand;
            if is_help || !error.use_stderr() {
                // A closed terminal is no reason to fail differently.
                let _ = error.print();
            } else {
                let usage = error.get(ContextKind::Usage).map(ToString::to_string);
                let stop = Stop::command_line(&error.render().to_string(), usage.as_deref());
                out::say(&stop.to_string());
            }
            if error.use_stderr() {
                Exit::Usage
            } else {
                Exit::Ok
            }
        }
        LineError::NoCommand(name, target) => {
            // Whatever is wrong with them, the name is wrong first.
            let _ = read(target);
            let name = text::line(&name);
            let why = format!(
                "{name:?} is neither a command nor a capability (those have a dot in them)"
            );
            let stop = Stop::usage(why).next(command::line("list"));
            out::say(&stop.to_string());
            stop.exit
        }
    })?;
    Ok((command, read(target)))
}

#[derive(Debug)]
enum LineError {
    Clap(clap::Error),
    NoCommand(String, Target),
}

fn words(line: impl IntoIterator<Item = OsString>) -> Result<(Command, Target), LineError> {
    let cli = Cli::try_parse_from(line).map_err(LineError::Clap)?;
    match cli.command {
        Word::Own(command) => Ok((command, cli.target)),
        Word::Capability(line) => {
            let name = line.first().map_or("", String::as_str);
            if CapabilityId::parse(name).is_err() {
                return Err(LineError::NoCommand(name.to_owned(), cli.target));
            }
            let line = std::iter::once("plexus").chain(line.iter().map(String::as_str));
            let direct = Direct::try_parse_from(line).map_err(LineError::Clap)?;
            Ok((Command::Call(direct.call), direct.target.or(cli.target)))
        }
    }
}

/// The command line's grammar.
pub(crate) fn grammar() -> clap::Command {
    Cli::command()
}
