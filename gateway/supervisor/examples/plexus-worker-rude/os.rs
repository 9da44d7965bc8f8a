//! The one thing that this worker cannot do safely.
#![expect(
    unsafe_code,
    reason = "owning the inherited descriptor has no safe spelling"
)]

use std::os::{fd::FromRawFd, unix::net::UnixStream};

/// The stream at descriptor 3.
pub(crate) fn stream() -> UnixStream {
    // SAFETY: `from_raw_fd` requires an open descriptor that nobody else owns. The supervisor put it there, and this is
    // called once, first in `main`, before anything else was opened.
    unsafe { UnixStream::from_raw_fd(3) }
}
