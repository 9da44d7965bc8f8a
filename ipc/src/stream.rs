//! The connected pair that a gateway and one worker talk over. No path leads to it.
//!
//! Invariant: both ends are close-on-exec; whoever starts the worker puts its end at [`WORKER_FD`] on purpose.

use interprocess::os::unix::uds_local_socket::tokio::Stream;
use std::{
    io,
    os::{
        fd::{OwnedFd, RawFd},
        unix::net::UnixStream,
    },
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// The descriptor at which a worker finds its end.
pub const WORKER_FD: RawFd = 3;

/// Makes a connected pair: the gateway's end, the worker's end.
///
/// # Errors
/// The system's, when descriptors have run out.
pub fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    let (gateway, worker) = UnixStream::pair()?;
    Ok((gateway.into(), worker.into()))
}

/// Half of a stream; the other half is open as long as either lives.
#[derive(Debug)]
pub struct Half(Arc<Stream>);

/// Takes one end of a pair into the current tokio runtime: the half to read and the half to write.
///
/// # Errors
/// The system's, when `end` is no stream socket.
///
/// # Panics
/// Outside a tokio runtime.
pub fn split(end: OwnedFd) -> io::Result<(Half, Half)> {
    let end = UnixStream::from(end);
    end.set_nonblocking(true)?;
    let stream = Arc::new(Stream::try_from(OwnedFd::from(end))?);
    Ok((Half(Arc::clone(&stream)), Half(stream)))
}

impl AsyncRead for Half {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut &*self.0).poll_read(cx, buf)
    }
}

impl AsyncWrite for Half {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut &*self.0).poll_write(cx, buf)
    }
    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut &*self.0).poll_write_vectored(cx, bufs)
    }
    fn is_write_vectored(&self) -> bool {
        self.0.is_write_vectored()
    }
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut &*self.0).poll_flush(cx)
    }
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut &*self.0).poll_shutdown(cx)
    }
}
