//! What a process brings along and must not keep: descriptors, limits, capabilities, the modes of what it makes.

use std::io;

use nix::sys::prctl;

use super::{CageError, os};
use crate::launch::{Limits, STREAM};

/// Closes all descriptors above 3, keeps others from writing what it will make, and empties every set of capabilities.
pub(super) fn give_up() -> Result<(), CageError> {
    os::close_from(STREAM + 1).map_err(failed("close inherited descriptors"))?;
    crate::launch::narrow_umask();
    prctl::set_no_new_privs().map_err(|errno| failed("set no_new_privs")(errno.into()))?;
    os::drop_capabilities().map_err(failed("drop capabilities"))
}

/// Applies `limits` to this process, for good.
pub(super) fn limit(limits: &Limits) -> Result<(), CageError> {
    limits.apply().map_err(failed("set limits"))
}

fn failed(what: &'static str) -> impl Fn(io::Error) -> CageError {
    move |source| CageError::Rights { what, source }
}
