//! What others have this program do instead of serving: `plexusctl` while no daemon serves (it knows the ledger, the
//! command does not), a daemon that is to yield to it.
//!
//! The answer is one line of JSON on standard output: the result, or an error object as the wire has them.

use crate::{
    arguments::{Arguments, Backup, Restore},
    launch::{Programs, flags},
    upgrade::Edition,
};
use plexus_home::{network::Network, state_dir::StateDir};
use plexus_keep::{BackupError, make, restore as restoring};
use plexus_sources::{Connector, Registry};
use serde::Serialize;
use serde_json::{Value, json};
use std::{
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

/// Makes a backup.
pub(crate) fn backup(asked: Backup) -> ExitCode {
    let made = home(asked.home).and_then(|home| {
        let copy = match asked.copy {
            Some(folder) => make::Copy::made(&home, &folder)?,
            None => make::Copy::at_rest(&home)?,
        };
        make::write(&home, &copy, asked.with_secrets, &asked.file)
    });
    tell(made)
}

/// Restores a backup.
pub(crate) fn restore(asked: &Restore) -> ExitCode {
    let restored =
        home(asked.home.clone()).and_then(|home| restoring::run(&asked.file, &home, asked.replace));
    tell(restored)
}

/// Becomes `plexusctl key print`, which decides who may see it; returns only where that failed.
#[expect(clippy::print_stderr, reason = "a one-off command")]
pub(crate) fn print_key(home: Option<PathBuf>) -> ExitCode {
    let own = std::env::current_exe().unwrap_or_default();
    let mut owners = Command::new(own.with_file_name("plexusctl"));
    owners.args(["key", "print"]);
    if let Some(home) = home {
        owners.env("PLEXUS_HOME", home);
    }
    let failed = owners.exec();
    eprintln!("plexusctl, beside this program: {failed}\n  next: plexusctl key print");
    ExitCode::FAILURE
}

fn home(given: Option<PathBuf>) -> Result<PathBuf, BackupError> {
    StateDir::place(given).map_err(|e| BackupError::Other(e.to_string()))
}

/// Verifies a copy of the ledger, an export or archives; 0 only where all of it holds.
#[expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a one-off command: its findings are its output"
)]
pub(crate) fn verify(path: &Path, json: bool) -> ExitCode {
    match (plexus_keep::verify::verify(path), json) {
        (Ok(verified), true) => println!("{}", verified.to_json()),
        (Ok(verified), false) => println!("sound: {verified}"),
        (Err(error), true) => {
            let checked = error.is_checked;
            println!(
                "{}",
                json!({"ok": false, "checked": checked, "why": error.why})
            );
            return ExitCode::FAILURE;
        }
        (Err(error), false) => {
            let found = match error.is_checked {
                true => "not sound",
                false => "not checked",
            };
            eprintln!("{found}: {}", error.why);
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

/// Says what this build is, and what would keep it from serving with `arguments`, as far as that can be told beside a
/// daemon that serves with them.
#[expect(clippy::print_stdout, reason = "a one-off command: this is its output")]
pub(crate) fn edition(arguments: &Arguments, connectors: &[Connector]) -> ExitCode {
    let mut problems = Vec::new();
    if let Err(why) = plexus_sandbox::kernel_support()
        && arguments.unsandboxed.is_empty()
    {
        problems.push(format!("workers cannot be caged here: {why}"));
    }
    let programs = Programs::find(arguments.workers.as_deref());
    if let Err(why) = &programs {
        problems.push(format!("{why:#}"));
    }
    problems.extend(of_the_state(arguments, connectors, programs.ok()));
    println!("{}", json!(Edition::own(problems)));
    ExitCode::SUCCESS
}

/// What the state directory and the folders that the flags name have in the way of a start. Nothing is made or repaired:
/// a daemon serves there.
fn of_the_state(
    arguments: &Arguments,
    connectors: &[Connector],
    programs: Option<Programs>,
) -> Vec<String> {
    let registry = match (Registry::read(connectors), programs) {
        (Ok(registry), Some(programs)) => registry.served_from(&programs.workers),
        (Ok(registry), None) => registry,
        (Err(why), _) => return vec![format!("{why:#}")],
    };
    // If there is none yet, a start makes it.
    let Ok(state_dir) = StateDir::as_it_is(arguments.home.clone()) else {
        return Vec::new();
    };
    let network = Network::load(&state_dir, arguments.public_hostname.as_deref());
    flags::named(arguments)
        .filter_map(|flag| flag.source(&registry, &state_dir).err())
        .chain(network.err())
        .map(|why| format!("{why:#}"))
        .collect()
}

#[expect(clippy::print_stdout, reason = "a one-off command: this is its output")]
fn tell(done: Result<impl Serialize, BackupError>) -> ExitCode {
    let (said, exit) = match done {
        Ok(done) => (
            serde_json::to_value(done).unwrap_or(Value::Null),
            ExitCode::SUCCESS,
        ),
        Err(error) => {
            let said = json!({"error": {
                "code": error.code(), "message": error.to_string(), "effect": "none", "next": error.next(),
            }});
            (said, ExitCode::FAILURE)
        }
    };
    println!("{said}");
    exit
}
