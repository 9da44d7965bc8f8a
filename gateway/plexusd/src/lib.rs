//! The gateway daemon: the one door between a person's agents and their apps.
//!
//! ```text
//! agents, owner ──▶ http ──▶ invoke ──▶ trust + ledger (who may, what happened)
//!                    │         └──────▶ supervisor ──▶ one caged worker per source and role
//!                    └──▶ approvals (what waits for the owner), sources (what there is)
//! ```
//! `launch` is the composition root: it builds every part in order and nothing else does; `app` is what it built. The daemon opens no vault, runs
//! no script and parses no app's data; a worker sees no credential and no grant.

mod arguments;
mod examine;
mod launch;
mod log;
mod one_off;
mod os;
mod refused;
mod shipped;

pub use shipped::SHIPPED;
mod upgrade;

use plexus_sources::Connector;
use std::process::ExitCode;

/// Runs the daemon, or the one-off that its arguments name, with these connectors. Returns when it is over.
#[must_use]
pub fn run(connectors: &[Connector]) -> ExitCode {
    match arguments::parse() {
        arguments::Action::Serve(arguments) => launch::serve(arguments, connectors),
        arguments::Action::Verify { file, json } => one_off::verify(&file, json),
        arguments::Action::Edition(serve) => one_off::edition(&serve, connectors),
        arguments::Action::Examine(asked) => examine::run(&asked, connectors),
        arguments::Action::Backup(backup) => one_off::backup(backup),
        arguments::Action::Restore(restore) => one_off::restore(&restore),
        arguments::Action::PrintKey(home) => one_off::print_key(home),
    }
}
