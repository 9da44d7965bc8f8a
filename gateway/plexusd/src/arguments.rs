//! What the daemon is started with. The doc comments are the help.

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum};
use plexus_protocol::SourceId;
use std::{convert::Infallible, ffi::OsStr, path::PathBuf};

/// What to do.
pub(crate) enum Action {
    /// Serve until told to stop.
    Serve(Arguments),
    /// Check a copy of a ledger, or an export.
    Verify {
        /// The copy.
        file: PathBuf,
        /// Print the result as one line of JSON.
        json: bool,
    },
    /// Say what this build is, and whether it would serve with these arguments.
    Edition(Arguments),
    /// Look for what is wrong.
    Examine(Examine),
    /// Make a backup of a state directory.
    Backup(Backup),
    /// Put a state directory back from a backup.
    Restore(Restore),
    /// Print the connection key of a state directory.
    PrintKey(Option<PathBuf>),
}

/// What to look at; `plexusctl doctor` types it.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Examine {
    /// State directory [default: ~/.plexus]
    #[arg(long, env = "PLEXUS_HOME", value_name = "DIR")]
    pub(crate) home: Option<PathBuf>,
    /// Folder with the workers and the launcher, as the daemon has it
    #[arg(long, value_name = "DIR")]
    pub(crate) workers: Option<PathBuf>,
    /// The sources of a running daemon, as JSON [default: from the ledger]
    #[arg(long, value_name = "JSON")]
    pub(crate) sources: Option<String>,
    /// A profile to try in the place of a connector's own, as CONNECTOR=FILE
    #[arg(long, value_name = "CONNECTOR=FILE")]
    pub(crate) profile: Vec<String>,
}

impl Examine {
    /// The text to try for a connector, if one was named and can be read.
    pub(crate) fn profile_of(&self, connector: &str) -> Option<String> {
        let mut named = self
            .profile
            .iter()
            .filter_map(|given| given.split_once('='));
        let (_, file) = named.rfind(|(name, _)| *name == connector)?;
        std::fs::read_to_string(file).ok()
    }
}

/// How to back up; `plexusctl backup` types it.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Backup {
    /// File to make
    pub(crate) file: PathBuf,
    /// State directory [default: ~/.plexus]
    #[arg(long, env = "PLEXUS_HOME", value_name = "DIR")]
    pub(crate) home: Option<PathBuf>,
    /// A copy of the ledger that the running gateway made for this; it is removed
    #[arg(long, value_name = "DIR")]
    pub(crate) copy: Option<PathBuf>,
    /// With the connection key and the secrets of sources
    #[arg(long)]
    pub(crate) with_secrets: bool,
}

/// How to restore; `plexusctl restore` types it.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Restore {
    /// A backup
    pub(crate) file: PathBuf,
    /// State directory [default: ~/.plexus]
    #[arg(long, env = "PLEXUS_HOME", value_name = "DIR")]
    pub(crate) home: Option<PathBuf>,
    /// Put it in the place of a state that is there, which is kept beside it
    #[arg(long)]
    pub(crate) replace: bool,
}

/// The local capability gateway for AI agents
#[derive(Parser)]
#[command(name = "plexusd", version, args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(flatten)]
    serve: Arguments,
    /// Print your connection key instead of serving, as `plexusctl key print` does
    #[arg(long)]
    print_key: bool,
    #[command(subcommand)]
    command: Option<OneOff>,
}

#[derive(Subcommand)]
enum OneOff {
    /// Check a copy of the ledger, or an export, and name the first bad event
    Verify {
        /// A copy of ledger.redb, or a file made by `plexusctl audit export`
        file: PathBuf,
        /// Print one line of JSON
        #[arg(long)]
        json: bool,
    },
    /// What a running gateway asks of the program that is to take over from it
    #[command(hide = true)]
    Edition(Arguments),
    /// What `plexusctl doctor` types
    #[command(hide = true)]
    Examine(Examine),
    /// What `plexusctl backup` types
    #[command(hide = true)]
    Backup(Backup),
    /// What `plexusctl restore` types
    #[command(hide = true)]
    Restore(Restore),
}

/// How to serve.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Arguments {
    /// State directory [default: ~/.plexus]
    #[arg(long, env = "PLEXUS_HOME", value_name = "DIR")]
    pub(crate) home: Option<PathBuf>,
    /// Port on 127.0.0.1 and ::1; 0 takes a free one
    #[arg(long, env = "PLEXUS_PORT", default_value_t = plexus_protocol::DEFAULT_PORT)]
    pub(crate) port: u16,
    /// An Obsidian vault to offer as the source "obsidian"
    #[arg(long, value_name = "DIR")]
    pub(crate) vault: Option<PathBuf>,
    /// A folder to offer as the source "workspace"
    #[arg(long, env = "PLEXUS_WORKSPACE_DIR", value_name = "DIR")]
    pub(crate) workspace: Option<PathBuf>,
    /// Folder with the workers and the launcher [default: libexec/plexus beside this program, or its own folder]
    #[arg(long, value_name = "DIR")]
    pub(crate) workers: Option<PathBuf>,
    /// Capabilities that an agent sees if its connect names no reach
    #[arg(long, value_enum, value_name = "REACH")]
    pub(crate) default_reach: Option<DefaultReach>,
    /// A label of your own for this gateway
    #[arg(long, env = "PLEXUS_INSTANCE", value_name = "LABEL")]
    pub(crate) instance: Option<String>,
    /// A host name under which a proxy of yours publishes this gateway
    #[arg(long, env = "PLEXUS_PUBLIC_HOSTNAME", value_name = "NAME")]
    pub(crate) public_hostname: Option<String>,
    /// Serve sources of macOS on any system, for tests: their workers have a fake of what is not there
    #[arg(
        long,
        env = "PLEXUS_FAKE_APPLE",
        value_parser = FakeApple::read,
        num_args = 0..=1,
        require_equals = true,
        default_value = "0",
        default_missing_value = "1",
        hide = true
    )]
    pub(crate) fake_apple: FakeApple,
    /// Run this source's workers WITHOUT A SANDBOX: they can read, change and send what you can; may be given again
    #[arg(
        long = "unsandboxed-i-understand",
        value_name = "SOURCE",
        hide_short_help = true
    )]
    pub(crate) unsandboxed: Vec<SourceId>,
    /// End with status 0 where no further try could succeed: launchd starts a job again on any other
    #[arg(long, hide_short_help = true)]
    pub(crate) under_launchd: bool,
}

/// `PLEXUS_FAKE_APPLE`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FakeApple {
    /// Sources of macOS serve there alone.
    Off,
    /// They can be added here.
    Offered,
    /// The start adds one of each app.
    Added,
}

impl FakeApple {
    /// Never fails; clap wants a parser that may.
    fn read(word: &str) -> Result<Self, Infallible> {
        Ok(match word.to_ascii_lowercase().as_str() {
            "" | "0" | "n" | "no" | "f" | "false" | "off" => Self::Off,
            "offered" => Self::Offered,
            _ => Self::Added,
        })
    }
}

/// `--default-reach`.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum DefaultReach {
    /// Every exposed capability
    Exposed,
    /// Only what it was connected to
    Selected,
}

pub(crate) fn parse() -> Action {
    let command = without_empty_variables(<Cli as CommandFactory>::command());
    let cli = Cli::from_arg_matches(&command.get_matches()).unwrap_or_else(|error| error.exit());
    match cli.command {
        Some(OneOff::Verify { file, json }) => Action::Verify { file, json },
        Some(OneOff::Edition(serve)) => Action::Edition(serve),
        Some(OneOff::Examine(asked)) => Action::Examine(asked),
        Some(OneOff::Backup(backup)) => Action::Backup(backup),
        Some(OneOff::Restore(restore)) => Action::Restore(restore),
        None if cli.print_key => Action::PrintKey(cli.serve.home),
        None => Action::Serve(cli.serve),
    }
}

/// An environment variable that is set and empty counts as unset, for each sub-command too.
fn without_empty_variables(command: clap::Command) -> clap::Command {
    let is_empty = |name: &OsStr| std::env::var_os(name).is_some_and(|value| value.is_empty());
    command
        .mut_args(|argument| match argument.get_env() {
            Some(name) if is_empty(name) => argument.env(None::<&'static str>),
            _ => argument,
        })
        .mut_subcommands(without_empty_variables)
}
