//! The command line. The doc comments here and in the sub-commands are the help.

use crate::{
    act::Hands, activity, agents, approvals, audit, backup, calls, config, connect, console,
    disconnect, doctor, explain, exposure, grants, key, lend, logs, network, notify, owner::Desk,
    pause, review, service, sources, status, tokens, undo, uninstall, unknown, upgrade,
};
use clap::{Args, CommandFactory, Parser, Subcommand};
use plexus_client::{Exit, Home, Stop, out};
use std::{ffi::OsString, path::PathBuf};

/// See and decide what agents may do on this machine
#[derive(Parser)]
#[command(name = "plexusctl", version, disable_help_subcommand = true, after_help = AFTER)]
pub(crate) struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

const AFTER: &str = "\
Exit status: 0 done, 1 failed, 64 usage, 69 no gateway, 77 refused";

#[derive(Args)]
struct Global {
    /// State directory [env: PLEXUS_HOME] [default: ~/.plexus]
    #[arg(long, value_name = "DIR", global = true)]
    home: Option<PathBuf>,
    /// Print as JSON
    #[arg(long, global = true)]
    json: bool,
    /// For scripts of the owner's own: do without a terminal what otherwise needs one
    #[arg(long, global = true, hide_short_help = true)]
    i_am_the_owner: bool,
}

#[derive(Subcommand)]
enum Command {
    /// Show what is shared, who may do what, what waits, and whether all is well
    Status,
    /// Give an agent a one-time code and what it may do at once
    Connect(connect::Connect),
    /// Undo what `connect --here` wrote, and end the agent
    Disconnect(disconnect::Disconnect),
    /// Show agents, or end one
    Agents(agents::Agents),
    /// Show what waits for you, and decide it
    Approvals(approvals::Approvals),
    /// Print a link that signs your browser in to the console, once
    Console(console::Console),
    /// Tell your desktop when something waits
    Notify(notify::Notify),
    /// Show what is allowed, allow more, or take it back
    Grants(grants::Grants),
    /// Let agents see a capability and ask for it
    Expose(exposure::CapabilityArgs),
    /// Hide a capability from all agents
    Hide(exposure::CapabilityArgs),
    /// Serve no agent until you resume
    Pause,
    /// Serve agents again
    Resume,
    /// Show, add and change what agents can reach
    Sources(sources::Sources),
    /// Lend a folder to one agent for a time
    Lend(lend::Lend),
    /// Show all that an agent changed, as one difference for each file
    Review(review::Review),
    /// Take an effect back, after showing what that changes
    Undo(undo::Undo),
    /// Say what would happen to a call, and which rule decides
    Explain(explain::Explain),
    /// Show the calls that are under way, or cancel one
    Calls(calls::Calls),
    /// Show what agents did, one line a call
    Activity(activity::Activity),
    /// Show calls of which nobody knows whether they happened, and say what you found
    Unknown(unknown::Unknown),
    /// Look for what is wrong, and say for each thing what to type
    Doctor(doctor::Doctor),
    /// Read what the gateway and its workers said, also while it is down
    Logs(logs::Logs),
    /// Read and check the record of everything that happened
    Audit(audit::Audit),
    /// Show or replace your connection key
    Key(key::Key),
    /// Show or change where the gateway listens
    Network(network::Network),
    /// Show or change settings
    Config(config::Config),
    /// Show live tokens
    Tokens,
    /// Run the gateway as a service of your own, which starts with your login
    Service(service::Service),
    /// Let the running gateway give way to the program that was installed in its place
    Upgrade(upgrade::Upgrade),
    /// Copy decisions and record into one file, also while the gateway runs
    Backup(backup::Backup),
    /// Put a backup back; nothing in it counts until you have looked
    Restore(backup::Restore),
    /// Remove Plexus from this account, and say what stays
    Uninstall(uninstall::Uninstall),
    /// Print a completion script
    Completion {
        /// Shell to print it for
        shell: clap_complete::Shell,
    },
}

/// Reads the command line; prints help and usage errors itself and then returns the exit status.
pub(crate) fn parse(line: impl IntoIterator<Item = OsString>) -> Result<Cli, Exit> {
    Cli::try_parse_from(line).map_err(|error| {
        // A closed terminal is no reason to fail differently.
        let _ = error.print();
        if error.use_stderr() {
            Exit::Usage
        } else {
            Exit::Ok
        }
    })
}

/// Runs a command to its end.
pub(crate) async fn dispatch(cli: Cli) -> Result<Exit, Stop> {
    let desk = Desk {
        home: Home::resolve(cli.global.home)?,
        json: cli.global.json,
        hands: Hands::look(cli.global.i_am_the_owner),
    };
    match cli.command {
        Command::Status => status::run(&desk).await,
        Command::Connect(it) => connect::run(&desk, it).await,
        Command::Disconnect(it) => disconnect::run(&desk, it).await,
        Command::Agents(it) => agents::run(&desk, it).await,
        Command::Approvals(it) => approvals::run(&desk, it).await,
        Command::Console(it) => console::run(&desk, it).await,
        Command::Notify(it) => notify::run(&desk, it).await,
        Command::Grants(it) => grants::run(&desk, it).await,
        Command::Expose(it) => exposure::run(&desk, it, true).await,
        Command::Hide(it) => exposure::run(&desk, it, false).await,
        Command::Pause => pause::run(&desk, true).await,
        Command::Resume => pause::run(&desk, false).await,
        Command::Sources(it) => sources::run(&desk, it).await,
        Command::Lend(it) => lend::run(&desk, it).await,
        Command::Review(it) => review::run(&desk, it).await,
        Command::Undo(it) => undo::run(&desk, it).await,
        Command::Explain(it) => explain::run(&desk, it).await,
        Command::Calls(it) => calls::run(&desk, it).await,
        Command::Activity(it) => activity::run(&desk, it).await,
        Command::Unknown(it) => unknown::run(&desk, it).await,
        Command::Doctor(it) => doctor::run(&desk, it).await,
        Command::Logs(it) => logs::run(&desk, it).await,
        Command::Audit(it) => audit::run(&desk, it).await,
        Command::Key(it) => key::run(&desk, it).await,
        Command::Network(it) => network::run(&desk, it).await,
        Command::Config(it) => config::run(&desk, it).await,
        Command::Tokens => tokens::run(&desk).await,
        Command::Service(it) => service::run(&desk, it),
        Command::Upgrade(it) => upgrade::run(&desk, it).await,
        Command::Backup(it) => backup::make(&desk, it).await,
        Command::Restore(it) => backup::put_back(&desk, &it),
        Command::Uninstall(it) => uninstall::run(&desk, it).await,
        Command::Completion { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "plexusctl", &mut script);
            out::data(&script).map(|()| Exit::Ok)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }
}
