//! `plexus`: the agent's command. It lists what this agent may do, does it, and waits where the owner has to decide.
//!
//! Invariants: it holds one credential, the agent's own, and sends it only to the gateway it was told of; it writes
//! one file, that credential, the one that `--output` names, and for `plexus mcp` the list of tools in the person's cache
//! folder; stdout is data, everything else goes to stderr; every end that is not a success says
//! whether anything was done, why, and what next.
//!
//! Must not know: the owner's key, the owner's routes.

mod approval;
mod call;
mod chat;
mod cli;
mod command;
mod credential;
mod describe;
mod enroll;
mod extension;
mod gateway;
mod input;
mod list;
mod manifest;
mod mcp;
mod output;
mod run;
mod session;
mod settings;
mod warning;
mod watch;
mod whoami;

use cli::Command;
use plexus_client::{Exit, Stop, out};
use settings::Settings;
use std::process::ExitCode;

fn main() -> ExitCode {
    let (command, settings) = match cli::parse(std::env::args_os()) {
        Ok(parsed) => parsed,
        Err(exit) => return exit.into(),
    };
    dispatch(command, settings)
        .unwrap_or_else(|stop| {
            out::say(&stop.to_string());
            stop.exit
        })
        .into()
}

/// Runs a command to its end.
fn dispatch(command: Command, settings: Result<Settings, Stop>) -> Result<Exit, Stop> {
    // Its client starts it once, so it says what is missing instead of ending.
    if let Command::Mcp(it) = &command {
        return block_on(mcp::run(settings, it));
    }
    let settings = &settings?;
    match command {
        Command::Enroll(it) => block_on(enroll::run(settings, it)),
        Command::List(it) => block_on(list::run(settings, it)),
        Command::Describe(it) => block_on(describe::run(settings, it)),
        Command::Call(it) => block_on(call::run(settings, it)),
        Command::Wait(it) => block_on(call::resume(settings, it)),
        Command::Continue(it) => block_on(call::go_on(settings, &it)),
        Command::Cancel(it) => block_on(call::cancel(settings, &it)),
        Command::Extension(it) => block_on(extension::run(settings, it)),
        Command::Watch(it) => block_on(watch::run(settings, it)),
        // Served above.
        Command::Mcp(_) => Ok(Exit::Ok),
        Command::Whoami(it) => block_on(whoami::run(settings, it)),
        Command::Skill => {
            let text = plexus_protocol::skill::text(command::name());
            out::data(text.as_bytes()).map(|()| Exit::Ok)
        }
        Command::Completion { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut cli::grammar(), "plexus", &mut script);
            out::data(&script).map(|()| Exit::Ok)
        }
    }
}

/// Runs a command on a runtime of its own: one thread is enough for one request at a time.
fn block_on<T>(work: impl Future<Output = Result<T, Stop>>) -> Result<T, Stop> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let runtime = runtime.map_err(|e| Stop::new(Exit::Failed, "system", e.to_string()))?;
    runtime.block_on(work)
}
