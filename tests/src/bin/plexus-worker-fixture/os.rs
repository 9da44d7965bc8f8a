//! Bytes past the harness: what no honest worker does.
#![expect(
    unsafe_code,
    reason = "the harness owns the stream and gives it to nobody"
)]

use std::os::fd::BorrowedFd;

/// Puts bytes of no frame on the stream to the gateway.
pub(crate) fn write_to_gateway(bytes: &[u8]) {
    // SAFETY: `borrow_raw` requires that the descriptor stays open while it is borrowed. Descriptor 3 is the stream
    // that the harness keeps open for as long as it serves, and this runs in a call that it serves.
    let stream = unsafe { BorrowedFd::borrow_raw(plexus_ipc::stream::WORKER_FD) };
    // A full stream means that the gateway has much to read before: also a way to be no answer.
    let _ = nix::unistd::write(stream, bytes);
}
