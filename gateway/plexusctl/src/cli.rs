//! The command line. The doc comments here and in the sub-commands are the help.

use crate::{
    act::CallerContext,
    activity, agents, approvals, audit, backup, board, calls, changes, channels, config, connect,
    console, disconnect, doctor, explain, exposure, extension, grants, key, lend, logs, mcp,
    network, notify,
    owner::{Desk, each_card},
    pause, release, review,
    screen::lines::laid,
    service, sources, status, tokens, undo, uninstall, unknown, upgrade,
};
use clap::{
    Args, CommandFactory, Parser, Subcommand,
    error::{ContextKind, ContextValue, ErrorKind},
};
use plexus_client::{Exit, Home, Stop, out, read_help, shell::quote, text};
use std::{
    ffi::{OsStr, OsString},
    path::{Path, PathBuf},
};

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
    #[arg(
        long,
        value_name = "DIR",
        global = true,
        help_heading = "Options of every command"
    )]
    home: Option<PathBuf>,
    /// Print as JSON
    #[arg(long, global = true, help_heading = "Options of every command")]
    json: bool,
    /// For your own scripts: allow without a terminal what otherwise needs one
    #[arg(
        long,
        global = true,
        help_heading = "Options of every command",
        hide_short_help = true
    )]
    i_am_the_owner: bool,
}

#[derive(Subcommand)]
enum Command {
    /// Show sources, agents, pending requests and health
    #[command(after_help = "Exit status 1: something needs you, such as a request that waits")]
    Status,
    /// Enroll an agent: print its one-time code, and grant what it may do from the start
    Connect(connect::Connect),
    /// Remove what `connect --here` wrote, and revoke the agent
    Disconnect(disconnect::Disconnect),
    /// Show agents, limit one, or revoke one
    Agents(agents::Agents),
    /// Show pending requests, and approve or deny them
    Approvals(approvals::Approvals),
    /// Print a link that signs your browser in to the console, once
    Console(console::Console),
    /// Notify your desktop of pending requests
    Notify(notify::Notify),
    /// Show, give and revoke grants
    Grants(grants::Grants),
    /// Expose a capability: agents may see it and ask for it
    Expose(exposure::CapabilityArgs),
    /// Stop exposing a capability: no agent sees it
    #[command(alias = "hide")]
    Unexpose(exposure::CapabilityArgs),
    /// Cancel running calls and suspend every agent until you resume
    Pause,
    // Else the nearest word is `restore`.
    /// Name the commands that stop something
    #[command(hide = true)]
    Stop {
        /// Whatever is to be stopped
        of: Vec<String>,
    },
    /// Serve agents again after a pause
    Resume,
    /// Show, add and change sources: what agents can reach
    Sources(sources::Sources),
    /// Lend a folder to one agent for a time
    Lend(lend::Lend),
    /// Lend an MCP server to agents, tool by tool
    Mcp(mcp::Mcp),
    /// Add commands and apps of your own as sources, by a manifest
    Extension(extension::Extension),
    /// Show everything that an agent changed, as one diff per file
    Review(review::Review),
    /// Show what coding agents would change, and apply it
    Changes(changes::Changes),
    /// Undo an effect, after a preview
    Undo(undo::Undo),
    /// Show boards of tasks: progress, running tasks, what waits for you
    Board(board::Board),
    /// Talk with people and agents in end-to-end encrypted channels
    Channels(channels::Channels),
    /// Explain how a call would be decided, and by which rule
    Explain(explain::Explain),
    /// Show running calls, follow one, or stop one
    Calls(calls::Calls),
    /// Show what agents did, one line per call
    Activity(activity::Activity),
    /// Show calls with an unknown outcome, and record what you found
    Unknown(unknown::Unknown),
    /// Diagnose problems, with a command for each
    Doctor(doctor::Doctor),
    /// Show the logs of the gateway and its workers, also while it is down
    Logs(logs::Logs),
    /// Show, verify and export the audit log
    Audit(audit::Audit),
    /// Print or rotate your connection key
    Key(key::Key),
    /// Show or change where the gateway listens
    Network(network::Network),
    /// Show or change settings
    Config(config::Config),
    /// Show live tokens
    Tokens(tokens::Tokens),
    /// Run the gateway as a user service that starts with your login
    Service(service::Service),
    /// Restart the gateway on the installed version, or install a release first
    Upgrade(upgrade::Upgrade),
    /// Put the release that this program lies in under a prefix (used by its install.sh)
    #[command(hide = true)]
    Place(release::Place),
    /// Back up state and audit log into one file, also while the gateway runs
    Backup(backup::Backup),
    /// Restore a backup; its grants stay suspended until you review them
    Restore(backup::Restore),
    /// Remove Plexus from this account, and list what remains
    Uninstall(uninstall::Uninstall),
    /// Print a completion script
    Completion {
        /// Shell to print it for
        shell: clap_complete::Shell,
    },
}

/// Reads the command line; prints help and usage errors itself and then returns the exit status.
pub(crate) fn parse(line: impl IntoIterator<Item = OsString>) -> Result<Cli, Exit> {
    Cli::try_parse_from(read_help(line)).map_err(|error| {
        let is_help = error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand;
        if is_help || !error.use_stderr() {
            // A closed terminal is no reason to fail differently.
            let _ = error.print();
        } else {
            let usage = error.get(ContextKind::Usage).map(ToString::to_string);
            let mut stop = Stop::command_line(&error.render().to_string(), usage.as_deref());
            if let Some(list) = list_of(&error) {
                stop.next = format!("{list}; {}", stop.next);
            }
            out::say(&laid(&stop.to_string()));
        }
        if error.use_stderr() {
            Exit::Usage
        } else {
            Exit::Ok
        }
    })
}

/// Arguments that the list of their group of commands shows.
const LISTED: [&str; 6] = [
    "<ITEM>",
    "<CALL>",
    "<CHANGE_SET>",
    "<EVENT>",
    "<CHANNEL>",
    "<SOURCE>",
];

/// The command that lists the ids of which a line lacks one.
fn list_of(error: &clap::Error) -> Option<String> {
    let Some(ContextValue::Strings(missing)) = error.get(ContextKind::InvalidArg) else {
        return None;
    };
    let missing = missing.first()?.trim_end_matches('.');
    let grammar = Cli::command();
    // Of the line that was typed the first such word may be the value of a flag.
    let usage = error.get(ContextKind::Usage)?.to_string();
    let mut words = usage.split_whitespace();
    let group = words.find_map(|word| grammar.find_subcommand(word))?;
    let name = group.get_name();
    let is_id = LISTED.contains(&missing) || (missing, name) == ("<AGENT>", "agents");
    let is_listed = is_id && group.find_subcommand("list").is_some();
    is_listed.then(|| format!("plexusctl {name} list"))
}

impl Cli {
    /// This command, as it was typed: with the state directory where a flag named it.
    pub(crate) fn typed(&self, program: &OsStr) -> String {
        let program = quote(&Path::new(program).display().to_string());
        match &self.global.home {
            Some(home) => format!("{program} --home {}", quote(&home.display().to_string())),
            None => program,
        }
    }

    /// The line by which printed commands act on the state directory that a flag named; none for a reader of data.
    pub(crate) fn home_variable(&self) -> Option<String> {
        let home = self.global.home.as_ref().filter(|_| !self.global.json)?;
        let home = std::path::absolute(home).ok()?;
        let home = quote(&text::line(&home.display().to_string()));
        Some(format!("export PLEXUS_HOME={home}"))
    }
}

/// Runs a command to its end.
pub(crate) async fn dispatch(cli: Cli) -> Result<Exit, Stop> {
    let desk = Desk {
        home: Home::resolve(cli.global.home)?,
        json: cli.global.json,
        caller: CallerContext::look(cli.global.i_am_the_owner),
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
        Command::Unexpose(it) => exposure::run(&desk, it, false).await,
        Command::Pause => pause::run(&desk, true).await,
        Command::Stop { .. } => {
            let why = "say which: `pause` suspends every agent, `calls stop CALL` one call, and `service stop` stops the gateway";
            Err(Stop::usage(why).next("plexusctl pause"))
        }
        Command::Resume => pause::run(&desk, false).await,
        Command::Sources(it) => {
            let Some(sources) = it.asks_to_resume(&desk) else {
                return sources::run(&desk, it).await;
            };
            if sources.is_empty() {
                return approvals::approve_changes(&desk).await;
            }
            // The question is its card's.
            each_card(
                sources.to_vec(),
                async |source| match approvals::approve_change(&desk, &source).await? {
                    Some(decided) => Ok(decided),
                    None => sources::resume(&desk, &source).await,
                },
            )
            .await
        }
        Command::Lend(it) => lend::run(&desk, it).await,
        Command::Mcp(it) => mcp::run(&desk, it).await,
        Command::Extension(it) => extension::run(&desk, it).await,
        Command::Review(it) => review::run(&desk, it).await,
        Command::Changes(it) => changes::run(&desk, it).await,
        Command::Undo(it) => undo::run(&desk, it).await,
        Command::Board(it) => board::run(&desk, it).await,
        Command::Channels(it) => channels::run(&desk, it).await,
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
        Command::Tokens(it) => tokens::run(&desk, it).await,
        Command::Service(it) => service::run(&desk, it),
        Command::Upgrade(it) => upgrade::run(&desk, it).await,
        Command::Place(it) => release::run_place(&desk, &it),
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
    use std::collections::BTreeSet;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    /// Commands that have no further ones, by their names.
    fn leaves(command: &clap::Command, above: &[&str], found: &mut BTreeSet<String>) {
        let shown = command.get_subcommands().filter(|one| !one.is_hide_set());
        for one in shown {
            let named = [above, &[one.get_name()]].concat();
            match one.has_subcommands() {
                true => leaves(one, &named, found),
                false => assert!(found.insert(named.join(" "))),
            }
        }
    }

    /// Each command is on a page of the console, or among those that stay in the terminal; once.
    #[test]
    fn every_command_has_its_page_or_a_reason() {
        const MANUAL: &str = include_str!("../../../docs/console.md");
        let mut commands = BTreeSet::new();
        leaves(&Cli::command(), &[], &mut commands);
        assert!(commands.len() > 80, "{commands:?}");
        let part = |heading: &str| {
            let (_, rest) = MANUAL.split_once(heading).expect("the heading");
            rest.split("\n## ").next().unwrap_or_default()
        };
        let coded = |cell: &str| -> Vec<String> {
            let parts = cell.split('`').skip(1).step_by(2);
            parts.map(str::to_owned).collect()
        };
        for (heading, wants_page) in [
            ("## Commands and pages", true),
            ("## What it does not do", false),
        ] {
            let rows = part(heading).lines().filter(|line| line.starts_with("| `"));
            for row in rows {
                let cells: Vec<_> = row.trim_matches('|').split('|').map(str::trim).collect();
                let [command, with, place] = &cells[..] else {
                    panic!("{row}");
                };
                assert!(
                    !place.is_empty() && (!wants_page || place.starts_with("`/admin")),
                    "{row}"
                );
                let command = &coded(command)[0];
                let named = match coded(with) {
                    none if none.is_empty() => vec![command.clone()],
                    all => all.iter().map(|one| format!("{command} {one}")).collect(),
                };
                for name in named {
                    // A command whose own ones all stay together may be named alone.
                    let below = format!("{name} ");
                    let before = commands.len();
                    commands.retain(|one| *one != name && !one.starts_with(&below));
                    assert!(
                        commands.len() < before,
                        "{name} is no command, or stands twice"
                    );
                }
            }
        }
        assert!(
            commands.is_empty(),
            "without a page or a reason: {commands:?}"
        );
    }
}
