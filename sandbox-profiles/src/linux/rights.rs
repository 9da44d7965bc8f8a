//! What a process brings along and must not keep: descriptors, limits, capabilities, the modes of what it makes.

use std::io;

use nix::sys::prctl;
use nix::sys::stat::{Mode, umask};

use super::{CageError, os};
use crate::launch::Limits;

/// The gateway's stream: the only descriptor beside the standard three that a worker keeps. Whatever is open at
/// this number came over an exec, so it will survive the next one.
const STREAM: i32 = 3;

/// Closes all descriptors above 3, applies `limits`, keeps others from writing what it will make, and empties every set
/// of capabilities.
pub(super) fn give_up(limits: &Limits) -> Result<(), CageError> {
    os::close_from(STREAM + 1).map_err(failed("close inherited descriptors"))?;
    limits.apply().map_err(failed("set limits"))?;
    // A write beyond the limit is an error the worker can report, not a signal that ends it.
    os::ignore_file_size_signal().map_err(failed("ignore SIGXFSZ"))?;
    // What it is now can only be learned by setting it; this process has one thread.
    umask(umask(Mode::empty()) | Mode::S_IWOTH);
    prctl::set_no_new_privs().map_err(|errno| failed("set no_new_privs")(errno.into()))?;
    os::drop_capabilities().map_err(failed("drop capabilities"))
}

fn failed(what: &'static str) -> impl Fn(io::Error) -> CageError {
    move |source| CageError::Rights { what, source }
}
