//! `mcp-host`: what the agent of a run starts as its tool server. It carries lines between its standard streams and the
//! run's two pipes, in the run's cage; the worker at the other end of the pipes answers them.
//!
//! Invariants: one at a time has a run's pipes; it ends with its standard input.
//!
//! Must not know: MCP, tools, who calls.

use plexus_ipc::worker::children::{ANSWERS, CALLS};
use std::{
    env,
    fs::{File, OpenOptions},
    io::{self, Read, Write},
    path::PathBuf,
    process::ExitCode,
    thread,
};

/// The argument that has the worker's program be this.
pub(crate) const ARGUMENT: &str = "mcp-host";
/// The variable with the folder of the pipes.
pub(crate) const ADDRESS: &str = "PLEXUM_MCP_SOCKET";

/// Whether this process was started as the tool server of a run; then its exit code, once that has ended.
#[must_use]
pub fn mcp_host() -> Option<ExitCode> {
    if env::args_os().nth(1)? != ARGUMENT {
        return None;
    }
    Some(match carry() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "no tools of the host: {error}");
            ExitCode::FAILURE
        }
    })
}

fn carry() -> io::Result<()> {
    let missing = || io::Error::other(format!("{ADDRESS} is not set"));
    let folder = PathBuf::from(env::var_os(ADDRESS).ok_or_else(missing)?);
    let mut calls = OpenOptions::new().write(true).open(folder.join(CALLS))?;
    let taken = |_| io::Error::other("another client of this run has them");
    calls.try_lock().map_err(taken)?;
    let answers = File::open(folder.join(ANSWERS))?;
    thread::spawn(move || pass(answers, io::stdout()));
    // What an earlier one may have left is a line of its own.
    calls.write_all(b"\n")?;
    pass(io::stdin(), calls)
}

/// Passes on what is there as soon as it is there, by reading and writing alone.
fn pass(mut from: impl Read, mut to: impl Write) -> io::Result<()> {
    let mut bytes = vec![0; 64 * 1024];
    loop {
        match from.read(&mut bytes) {
            Ok(0) => return Ok(()),
            Ok(length) => {
                to.write_all(&bytes[..length])?;
                to.flush()?;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}
