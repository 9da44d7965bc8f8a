//! `plexusctl`: the owner's command. It shows what agents may do and what they ask, and carries out the owner's acts.
//!
//! Invariants: it talks to the owner's socket and nothing else, and has `curl` fetch a release ([`release`]); the connection key leaves its file only for that
//! socket, or for `key print`; an approval names the digest of the card that was shown; an act that gives agents more
//! needs a person (see [`act`]); every text that is not ours is escaped before it is shown; what is written or run
//! outside of the state directory is shown first ([`service`], [`uninstall`]).
//!
//! Must not know: an agent's credential, the agents' routes.

mod act;
mod activity;
mod agents;
mod approvals;
mod audit;
mod backup;
mod board;
mod calls;
mod changes;
mod channels;
mod cli;
mod config;
mod connect;
mod console;
mod diff;
mod disconnect;
mod doctor;
mod ended;
mod explain;
mod exposure;
mod extension;
mod grants;
mod installed;
mod integration;
mod key;
mod lend;
mod logs;
mod mcp;
mod moment;
mod network;
mod notify;
mod owner;
mod pause;
mod programs;
mod prompt;
mod release;
mod review;
mod screen;
mod service;
mod sheet;
mod sources;
mod standing;
mod status;
mod table;
mod terms;
mod tokens;
mod undo;
mod uninstall;
mod unknown;
mod upgrade;

use plexus_client::{Exit, Stop, out};
use std::process::ExitCode;

fn main() -> ExitCode {
    let program = std::env::args_os().next().unwrap_or_default();
    let cli = match cli::parse(std::env::args_os()) {
        Ok(cli) => cli,
        Err(exit) => return exit.into(),
    };
    let typed = cli.typed(&program);
    let home_variable = cli.home_variable();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let ended = runtime
        .map_err(|e| Stop::new(Exit::Failed, "system", e.to_string()))
        .and_then(|runtime| runtime.block_on(cli::dispatch(cli)));
    let exit = ended.unwrap_or_else(|mut stop| {
        if stop.next.is_empty() && matches!(&*stop.code, "no_answer" | "connection_lost") {
            stop.next = "see whether the gateway answers: plexusctl status; and what was done: plexusctl activity".to_owned();
        }
        // Ours or the gateway's, and it can be typed as it is.
        stop.next = stop.next.replace("plexusctl ", &format!("{typed} "));
        out::say(&screen::lines::laid(&stop.to_string()));
        stop.exit
    });
    if let Some(variable) = home_variable.filter(|_| out::has_named_commands()) {
        out::say(&format!(
            "for the commands above to act on this home: {variable}"
        ));
    }
    exit.into()
}
