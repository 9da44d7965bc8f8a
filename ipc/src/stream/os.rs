//! A stream whose readiness the runtime waits for.
#![expect(
    unsafe_code,
    reason = "the runtime cannot see that a type keeps its descriptor, nor that the system fills a buffer"
)]

use std::{io, os::unix::net::UnixStream, sync::Arc};
use tokio::io::{Interest, ReadBuf, unix::AsyncFd};

/// Has the current runtime wait for `interest` in `stream`. A descriptor is registered once: for another interest, clone
/// the stream itself.
///
/// # Errors
/// The system's.
///
/// # Panics
/// Outside a tokio runtime.
pub(super) fn registered(
    stream: Arc<UnixStream>,
    interest: Interest,
) -> io::Result<AsyncFd<Arc<UnixStream>>> {
    // SAFETY: `register_with_interest` requires that the descriptor is open, and stays the same one, for as long as the
    // `AsyncFd` lives. A `UnixStream` owns its descriptor from its making to its drop and has no way to give it up through
    // a shared reference; the `Arc` that the `AsyncFd` holds keeps it alive and always leads to the same stream.
    let registered = unsafe { AsyncFd::register_with_interest(stream, interest) };
    registered.map_err(io::Error::from)
}

/// Reads what is there into the room that `buffer` has: nothing at the end of the stream.
///
/// The room is not cleared before: a reader makes room for a whole frame, of 16 MiB at worst, and a peer that sends it byte
/// by byte would have all of it cleared for each.
pub(super) fn read(stream: &UnixStream, buffer: &mut ReadBuf<'_>) -> io::Result<()> {
    // SAFETY: `unfilled_mut` requires that nothing which is initialized is made uninitialized. `rustix::io::read` writes
    // bytes to the slice, or leaves it as it is.
    let room = unsafe { buffer.unfilled_mut() };
    let (filled, _) = rustix::io::read(stream, room)?;
    let read = filled.len();
    // SAFETY: `assume_init` requires that so many bytes after the filled part are initialized. The system has just
    // written them: `rustix::io::read` gives the beginning of the slice as initialized, as long as read(2) says it is.
    unsafe { buffer.assume_init(read) };
    buffer.advance(read);
    Ok(())
}
