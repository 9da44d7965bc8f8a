//! `plexus`: the agent's command. It lists what this agent may do, does it, and waits where the owner has to decide.
//!
//! Invariants: it holds one credential, the agent's own, and sends it only to the gateway it was told of; it writes
//! one file, that credential, and the one that `--output` names; stdout is data, everything else goes to stderr; every end that is not a success says
//! whether anything was done, why, and what next.
//!
//! Must not know: the owner's key, the owner's routes.

mod approval;
mod call;
mod cli;
mod credential;
mod cut;
mod describe;
mod enroll;
mod gateway;
mod input;
mod list;
mod manifest;
mod output;
mod run;
mod session;
mod settings;
mod whoami;

use plexus_client::{Exit, out};
use std::process::ExitCode;

fn main() -> ExitCode {
    let (command, settings) = match cli::parse(std::env::args_os()) {
        Ok(parsed) => parsed,
        Err(exit) => return exit.into(),
    };
    let ended = settings.and_then(|settings| cli::dispatch(command, &settings));
    ended
        .unwrap_or_else(|stop| {
            out::say(&stop.to_string());
            stop.exit
        })
        .into()
}

/// Runs a command on a runtime of its own: one thread is enough for one request at a time.
fn block_on<T>(
    work: impl Future<Output = Result<T, plexus_client::Stop>>,
) -> Result<T, plexus_client::Stop> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let runtime =
        runtime.map_err(|e| plexus_client::Stop::new(Exit::Failed, "system", e.to_string()))?;
    runtime.block_on(work)
}
