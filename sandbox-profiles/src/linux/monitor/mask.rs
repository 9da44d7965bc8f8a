//! The mask of modes of a coding agent, which the launcher has set so that others may not write what is made.
//!
//! A mask that lets them is pretended: the call answers the mask that there is, which stays. Tools set none at all to learn
//! which one they have.

use nix::errno::Errno;
use seccompiler::BackendError;

use super::super::os::notify::Notice;
use super::super::syscalls::{Calls, not_set};
use super::status_of;

/// The masks that let others write.
pub(super) fn lets_others_write(calls: Calls) -> Result<Calls, BackendError> {
    calls.when(libc::SYS_umask, &[not_set(0, libc::S_IWOTH as i32)])
}

/// The mask that the caller has.
pub(super) fn of(notice: &Notice) -> nix::Result<i64> {
    let mask = status_of(notice.thread, "Umask:")?;
    i64::from_str_radix(&mask, 8).map_err(|_| Errno::ESRCH)
}
