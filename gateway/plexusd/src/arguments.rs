//! What the daemon is started with. The doc comments are the help.

use clap::{Parser, Subcommand, ValueEnum};
use std::path::PathBuf;

/// What to do.
pub(crate) enum Action {
    /// Serve until told to stop.
    Serve(Arguments),
    /// Check a copy of a ledger, or an export.
    Verify {
        /// The copy.
        file: PathBuf,
    },
}

/// The local capability gateway for AI agents
#[derive(Parser)]
#[command(name = "plexusd", version, args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(flatten)]
    serve: Arguments,
    #[command(subcommand)]
    command: Option<OneOff>,
}

#[derive(Subcommand)]
enum OneOff {
    /// Check a copy of the ledger, or an export, and name the first bad event
    Verify {
        /// A copy of ledger.redb, or a file made by `plexusctl audit export`
        file: PathBuf,
    },
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
    /// What an agent sees whose connect does not say
    #[arg(long, value_enum, value_name = "REACH")]
    pub(crate) default_reach: Option<DefaultReach>,
    /// A label of your own for this gateway
    #[arg(long, env = "PLEXUS_INSTANCE", value_name = "LABEL")]
    pub(crate) instance: Option<String>,
    /// A host name under which a proxy of yours publishes this gateway
    #[arg(long, env = "PLEXUS_PUBLIC_HOSTNAME", value_name = "NAME")]
    pub(crate) public_hostname: Option<String>,
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
    let cli = Cli::parse();
    match cli.command {
        Some(OneOff::Verify { file }) => Action::Verify { file },
        None => Action::Serve(cli.serve),
    }
}
