//! The connected pair that a gateway and one worker talk over. No path leads to it.
//!
//! A runtime is told when the peer has written, and is not told each time the peer has read: what is written has room
//! almost always, and to hear of it cost each side a wake-up for every message. Only who met a full stream asks to be told.
//!
//! Invariant: both ends are close-on-exec; the starter of the worker puts its end at [`WORKER_FD`] on purpose.

mod os;

use std::{
    io::{self, IoSlice, Write as _},
    os::{
        fd::{OwnedFd, RawFd},
        unix::net::UnixStream,
    },
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf, unix::AsyncFd};

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

/// The half of a stream that is read; the stream is open as long as either half lives.
#[derive(Debug)]
pub struct ReadHalf(AsyncFd<Arc<UnixStream>>);

/// The half that is written. Dropping it ends the stream for the peer only with the other half.
#[derive(Debug)]
pub struct WriteHalf {
    stream: Arc<UnixStream>,
    /// There while the stream is full: a second descriptor, whose readiness to be written is waited for.
    full: Option<AsyncFd<Arc<UnixStream>>>,
}

/// Takes one end of a pair into the current tokio runtime: the half to read and the half to write.
///
/// # Errors
/// The system's, when `end` cannot be waited for.
///
/// # Panics
/// Outside a tokio runtime.
pub fn split(end: OwnedFd) -> io::Result<(ReadHalf, WriteHalf)> {
    let end = UnixStream::from(end);
    end.set_nonblocking(true)?;
    let stream = Arc::new(end);
    let read = os::registered(Arc::clone(&stream), Interest::READABLE)?;
    Ok((ReadHalf(read), WriteHalf { stream, full: None }))
}

impl AsyncRead for ReadHalf {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            let mut there = ready!(self.0.poll_read_ready(cx))?;
            match os::read(self.0.get_ref(), buf) {
                // That the room was not filled says nothing: a read ends where the peer has sent descriptors along, with
                // more behind them that nobody would be told of again.
                Ok(()) => return Poll::Ready(Ok(())),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => there.clear_ready(),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }
}

impl WriteHalf {
    /// Writes by `write`, which would rather fail than wait.
    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        mut write: impl FnMut(&UnixStream) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        loop {
            let room = match &self.full {
                Some(full) => Some(ready!(full.poll_write_ready(cx))?),
                None => None,
            };
            match write(&self.stream) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => match room {
                    Some(mut room) => room.clear_ready(),
                    None => {
                        let again = self.stream.try_clone().map(Arc::new);
                        let full =
                            again.and_then(|again| os::registered(again, Interest::WRITABLE));
                        self.full = Some(full.inspect_err(|_| {
                            // Descriptors have run out. Half a frame is on its way: nobody may wait for the rest.
                            let _ = self.stream.shutdown(std::net::Shutdown::Both);
                        })?);
                    }
                },
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                done => {
                    self.full = None;
                    return Poll::Ready(done);
                }
            }
        }
    }
}

impl AsyncWrite for WriteHalf {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.get_mut().poll(cx, |mut stream| stream.write(buf))
    }
    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.get_mut()
            .poll(cx, |mut stream| stream.write_vectored(bufs))
    }
    fn is_write_vectored(&self) -> bool {
        true
    }
    /// Nothing is kept back.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.stream.shutdown(std::net::Shutdown::Write))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    /// Both ends of a pair, split.
    fn ends() -> [(ReadHalf, WriteHalf); 2] {
        let (one, other) = pair().expect("descriptors");
        [one, other].map(|end| split(end).expect("a stream"))
    }

    #[tokio::test]
    async fn more_than_fits_is_written_as_the_peer_reads_and_nothing_is_waited_for_afterwards() {
        let [(_read, mut write), (mut peer, _write)] = ends();
        let sent: Vec<u8> = (0..4_000_000_u32).map(|at| at as u8).collect();
        let mut heard = vec![0; sent.len()];
        let reading = async {
            // After the writer has filled the stream.
            tokio::task::yield_now().await;
            peer.read_exact(&mut heard).await
        };
        let (written, read) = tokio::join!(write.write_all(&sent), reading);
        written.expect("written");
        read.expect("read");
        assert_eq!(heard, sent);
        assert!(write.full.is_none(), "it is no longer full");
    }

    #[tokio::test]
    async fn a_full_stream_waits_for_the_peer() {
        let [(_read, mut write), (mut peer, _write)] = ends();
        let mut filled = 0;
        let full = std::future::poll_fn(|cx| {
            loop {
                match Pin::new(&mut write).poll_write(cx, &[7; 65_536]) {
                    Poll::Ready(written) => filled += written.expect("open"),
                    Poll::Pending => return Poll::Ready(true),
                }
            }
        });
        assert!(full.await);
        assert!(write.full.is_some());
        let (more, read) = tokio::join!(write.write(&[8]), async {
            let mut heard = vec![0; filled];
            peer.read_exact(&mut heard).await.map(|_| heard)
        });
        assert_eq!(more.expect("there is room"), 1);
        assert!(read.expect("read").iter().all(|byte| *byte == 7));
        assert_eq!(peer.read_u8().await.expect("the rest"), 8);
    }

    #[tokio::test]
    async fn an_end_is_read_also_where_it_came_with_the_last_bytes() {
        let [(mut read, write), (peer_read, mut peer)] = ends();
        peer.write_all(b"bye").await.expect("written");
        drop((peer, peer_read));
        let mut heard = Vec::new();
        read.read_to_end(&mut heard).await.expect("read");
        assert_eq!(heard, b"bye");
        let mut write = write;
        let refused = write.write(b"more").await.expect_err("nobody is there");
        assert_eq!(refused.kind(), io::ErrorKind::BrokenPipe);
    }

    #[tokio::test]
    async fn what_did_not_fit_is_read_next() {
        let [(mut read, _write), (_read, mut peer)] = ends();
        peer.write_all(b"two words").await.expect("written");
        for word in [&b"two"[..], b" wo", b"rds"] {
            let mut heard = [0; 3];
            assert_eq!(read.read(&mut heard).await.expect("read"), 3);
            assert_eq!(heard, word);
        }
    }

    /// The system ends a read at the bytes that descriptors came with, and has told of all of them once.
    #[tokio::test]
    async fn what_comes_behind_descriptors_is_heard() {
        use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};
        use std::os::fd::AsRawFd as _;
        let [(mut read, _write), (_read, peer)] = ends();
        let along = [peer.stream.as_raw_fd()];
        for _ in 0..3 {
            let word = [IoSlice::new(b"word")];
            let rights = [ControlMessage::ScmRights(&along)];
            let fd = peer.stream.as_raw_fd();
            let sent = sendmsg::<()>(fd, &word, &rights, MsgFlags::empty(), None);
            assert_eq!(sent.expect("sent"), 4);
        }
        let mut heard = [0; 12];
        read.read_exact(&mut heard).await.expect("read");
        assert_eq!(&heard, b"wordwordword");
    }

    /// Room for a large frame is not touched before its bytes come.
    #[tokio::test]
    async fn room_that_is_not_needed_is_left_alone() {
        let [(mut read, _write), (_read, mut peer)] = ends();
        peer.write_all(b"word").await.expect("written");
        let mut room = [std::mem::MaybeUninit::new(7); 64];
        let mut buffer = ReadBuf::uninit(&mut room);
        let reading = std::future::poll_fn(|cx| Pin::new(&mut read).poll_read(cx, &mut buffer));
        reading.await.expect("read");
        assert_eq!(buffer.filled(), b"word");
        assert_eq!(buffer.initialized().len(), 4, "no more than was read");
    }

    #[tokio::test]
    async fn what_comes_after_a_pause_is_heard() {
        let [(mut read, _write), (_read, mut peer)] = ends();
        for word in [&b"one"[..], b"two", b"three"] {
            let mut heard = vec![0; 32];
            let hearing = read.read(&mut heard);
            let saying = async {
                // After the reader has come to wait.
                tokio::task::yield_now().await;
                peer.write_all(word).await
            };
            let (length, said) = tokio::join!(hearing, saying);
            said.expect("written");
            assert_eq!(&heard[..length.expect("read")], word);
        }
    }
}
