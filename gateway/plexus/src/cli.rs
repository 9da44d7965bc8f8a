//! The command line. The doc comments here are the help.

use crate::{call, describe, enroll, list, settings::MAX_WAIT_S, settings::Settings, whoami};
use clap::{Args, CommandFactory, Parser, Subcommand};
use plexus_client::{Exit, Stop, out, text};
use plexus_protocol::{AgentId, CapabilityId};
use std::{ffi::OsString, path::PathBuf};

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

/// Where the gateway is and who calls.
#[derive(Args, Clone, Default, Debug, PartialEq)]
pub(crate) struct Target {
    /// Gateway to use, http://host:port or unix:/path [env: PLEXUS_GATEWAY]
    #[arg(long, value_name = "URL", global = true)]
    pub(crate) url: Option<String>,
    /// State directory [env: PLEXUS_HOME] [default: ~/.plexus]
    #[arg(long, value_name = "DIR", global = true)]
    pub(crate) home: Option<PathBuf>,
    /// Agent to act as, where several are enrolled here [env: PLEXUS_AGENT_ID]
    #[arg(long, value_name = "ID", global = true)]
    pub(crate) agent: Option<AgentId>,
}

impl Target {
    fn or(self, other: Self) -> Self {
        Self {
            url: self.url.or(other.url),
            home: self.home.or(other.home),
            agent: self.agent.or(other.agent),
        }
    }
}

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
    /// Withdraw a request that waits for the owner
    Cancel(Cancel),
    /// Show who you are to the gateway
    Whoami(whoami::Whoami),
    /// Write the manual pages into a folder
    #[command(hide = true)]
    Manual {
        /// Folder
        folder: PathBuf,
    },
    /// Print how to use this command, for an agent's instructions
    Skill,
    /// Print a completion script
    Completion {
        /// Shell to print it for
        shell: clap_complete::Shell,
    },
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

/// How an answer is printed.
#[derive(Args, Clone, Default, Debug, PartialEq)]
pub(crate) struct Printing {
    /// Print the whole answer as JSON
    #[arg(long)]
    pub(crate) json: bool,
    /// Print all of a long output; else 16 KiB of it, with the command for the rest
    #[arg(long)]
    pub(crate) full: bool,
    /// Write the output to this new file
    #[arg(long, value_name = "FILE", conflicts_with = "full")]
    pub(crate) output: Option<PathBuf>,
}

impl Printing {
    /// Whether it may be printed so.
    ///
    /// # Errors
    /// A file that exists; and any file where an agent's own command runs: the agent's rules let that one run outside of
    /// its sandbox, and so it writes nowhere that the agent chooses.
    pub(crate) fn check(&self) -> Result<(), Stop> {
        let pinned = std::env::var_os("PLEXUS_PINNED").is_some_and(|value| !value.is_empty());
        if pinned && self.output.is_some() {
            return Err(
                Stop::usage("--output is not for this command: it writes no files")
                    .next("use --full"),
            );
        }
        if let Some(path) = self.output.as_ref().filter(|path| path.exists()) {
            let path = text::line(&path.display().to_string());
            let why = format!("{path} exists; --output writes a new file");
            return Err(Stop::usage(why).next("name another file"));
        }
        Ok(())
    }
}

/// How long to wait for the owner.
#[derive(Args, Clone, Copy, Debug, PartialEq)]
pub(crate) struct Patience {
    /// Seconds to wait where the owner has to decide, up to 600
    #[arg(long, value_name = "SECONDS", default_value_t = crate::settings::WAIT.as_secs(),
        value_parser = clap::value_parser!(u64).range(0..=MAX_WAIT_S))]
    wait: u64,
    /// Do not wait: the same as --wait 0
    #[arg(long, hide = true, conflicts_with = "wait")]
    no_wait: bool,
}

impl Patience {
    /// The time to wait.
    pub(crate) fn length(self) -> std::time::Duration {
        std::time::Duration::from_secs(if self.no_wait { 0 } else { self.wait })
    }
}

/// Waiting for something that goes on without a command.
#[derive(Args, Debug, PartialEq)]
pub(crate) struct Wait {
    /// Request (pend_…) or run (run_…), as an earlier command printed it
    pub(crate) item: String,
    #[command(flatten)]
    pub(crate) printing: Printing,
    #[command(flatten)]
    pub(crate) patience: Patience,
}

/// Withdrawing a request.
#[derive(Args, Debug, PartialEq)]
pub(crate) struct Cancel {
    /// Request, as the call printed it
    pub(crate) item: plexus_protocol::PendingId,
}

/// `plexus <capability> …`, read by itself because clap hands it over unparsed.
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
    let (command, target) = words(line).map_err(|ended| match ended {
        Ended::Clap(error) => {
            // A closed terminal is no reason to fail differently.
            let _ = error.print();
            if error.use_stderr() {
                Exit::Usage
            } else {
                Exit::Ok
            }
        }
        Ended::Stop(stop) => {
            out::say(&stop.to_string());
            stop.exit
        }
    })?;
    Ok((command, Settings::read(target)))
}

#[derive(Debug)]
enum Ended {
    Clap(clap::Error),
    Stop(Stop),
}

fn words(line: impl IntoIterator<Item = OsString>) -> Result<(Command, Target), Ended> {
    let cli = Cli::try_parse_from(line).map_err(Ended::Clap)?;
    match cli.command {
        Word::Own(command) => Ok((command, cli.target)),
        Word::Capability(line) => {
            let name = line.first().map_or("", String::as_str);
            if CapabilityId::parse(name).is_err() {
                return Err(Ended::Stop(
                    Stop::usage(format!(
                        "{:?} is neither a command nor a capability (those have a dot in them)",
                        text::line(name)
                    ))
                    .next("plexus list"),
                ));
            }
            let line = std::iter::once("plexus").chain(line.iter().map(String::as_str));
            let direct = Direct::try_parse_from(line).map_err(Ended::Clap)?;
            Ok((Command::Call(direct.call), direct.target.or(cli.target)))
        }
    }
}

/// Runs a command to its end.
pub(crate) fn dispatch(command: Command, settings: &Settings) -> Result<Exit, Stop> {
    match command {
        Command::Enroll(it) => crate::block_on(enroll::run(settings, it)),
        Command::List(it) => crate::block_on(list::run(settings, it)),
        Command::Describe(it) => crate::block_on(describe::run(settings, it)),
        Command::Call(it) => crate::block_on(call::run(settings, it)),
        Command::Wait(it) => crate::block_on(call::resume(settings, it)),
        Command::Cancel(it) => crate::block_on(crate::approval::cancel(settings, it)),
        Command::Whoami(it) => crate::block_on(whoami::run(settings, it)),
        // Its files have names of ours and replace what has them, links followed: not for what an agent runs unasked.
        Command::Manual { .. } if settings.pinned => Err(Stop::usage(
            "manual is not for this command: it writes no files",
        )
        .next("plexus --help")),
        Command::Manual { folder } => clap_mangen::generate_to(Cli::command(), folder)
            .map(|()| Exit::Ok)
            .map_err(|e| Stop::new(Exit::Failed, "output", e.to_string())),
        Command::Skill => {
            let command = settings.agent.as_ref().map_or_else(
                || "plexus".to_owned(),
                |agent| match settings.pinned {
                    true => format!("plexus-{agent}"),
                    false => "plexus".to_owned(),
                },
            );
            out::data(plexus_protocol::skill::text(&command).as_bytes()).map(|()| Exit::Ok)
        }
        Command::Completion { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "plexus", &mut script);
            out::data(&script).map(|()| Exit::Ok)
        }
    }
}
