//! The launcher on macOS: the keeper of a worker's programs, the monitor of a run, and the proof of a run's cage. Whatever needs
//! none of them is started by Apple's launcher without ours.
//!
//! Type-checked alone; no Mac has run it.

use std::convert::Infallible;
use std::ffi::OsString;
use std::io;
use std::path::Path;
use std::process::{Command, exit};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::{CageError, monitor};
use crate::call::{Cage, Call, Refusal, prove};
use crate::children::{KEEPER_FD, KeeperSettings};
use crate::keeper::Keeper;
use crate::launch::{SANDBOX_EXEC, STREAM, sandbox_exec_line};
use crate::{os, packets};

/// Returns only to refuse.
pub(crate) fn launch(mut call: Call) -> Result<Infallible, Refusal> {
    match (call.cage.take(), call.kept.take(), call.prove.take()) {
        (Some(cage), Some(kept), None) => keep(&call, cage, kept),
        (Some(cage), None, targets) if call.stays => monitor::watch(&call, cage, targets.as_ref()),
        // From inside of a cage: see `monitor`.
        (None, None, Some(targets)) => prove(&targets).map(|()| exit(0)),
        _ => Err(Refusal::Usage(
            "this system has /usr/bin/sandbox-exec; use that".to_owned(),
        )),
    }
}

/// Starts the worker, and serves it as its keeper until both have ended. The worker answers to the system as this process does:
/// what the person consented to is the worker's to use.
#[expect(unsafe_code, reason = "a descriptor is known by its number")]
fn keep(call: &Call, cage: Cage, kept: KeeperSettings) -> Result<Infallible, Refusal> {
    os::close_inherited(KEEPER_FD);
    // Two numbers mean something to the worker; nothing of this process's own gets one of them.
    let reserved = os::reserve(KEEPER_FD).map_err(failed("reserve descriptors"))?;
    let (control, asks) = packets::pair().map_err(failed("make a way to the keeper"))?;
    os::hear_of_children().map_err(failed("hear of the worker's end"))?;
    drop(reserved);
    // SAFETY: the line before has let go of the reserved number, and nothing was opened since.
    unsafe { os::place(&asks, KEEPER_FD) }.map_err(failed("hand over the keeper"))?;
    let worker = Command::new(SANDBOX_EXEC)
        .args(line(&cage, &call.worker))
        .args(&call.arguments)
        .spawn()
        .map_err(|error| Refusal::Exec {
            worker: call.worker.clone(),
            error,
        })?;
    drop(asks);
    // The worker alone has its streams.
    os::close_inherited(STREAM);
    let worker = Pid::from_raw(worker.id().cast_signed());
    let ended = os::keep_stderr_alone()
        .and_then(|()| Keeper::new(worker, control, kept))
        .and_then(Keeper::keep);
    // Nobody would end it later. It is not reaped yet, so the number is its own.
    let ended = ended.inspect_err(|_| _ = kill(worker, Signal::SIGKILL));
    let passed = ended.and_then(os::pass_on);
    passed.map_err(|source| failed("keep the worker's programs")(source).into())
}

/// The arguments of Apple's launcher.
pub(super) fn line(cage: &Cage, program: &Path) -> Vec<OsString> {
    let parameters: Vec<_> = cage.parameters.clone().into_iter().collect();
    sandbox_exec_line(&cage.profile, &parameters, program)
}

pub(super) fn failed<E: Into<io::Error>>(what: &'static str) -> impl Fn(E) -> CageError {
    move |source| CageError {
        what,
        source: source.into(),
    }
}
