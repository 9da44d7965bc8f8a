//! Messages between a worker and its keeper, each whole and with the descriptors that belong to it.
//!
//! Linux has a socket that keeps messages apart. macOS has none: there each message has its length in front, as four bytes, and
//! no read goes beyond the message that it is in, so descriptors are never taken for another message's.
//!
//! Invariants: no message is longer than [`MAX_MESSAGE`]; what is longer, or ends early, is an error after which the socket is of
//! no more use.
//!
//! Must not know: what the messages say.

use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    self, AddressFamily, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockType,
    recvmsg, sendmsg, setsockopt, socketpair, sockopt,
};

use crate::children::MAX_MESSAGE;
use crate::os;

/// The kind of socket between the two on this system.
pub const KIND: SockType = if cfg!(target_os = "linux") {
    SockType::SeqPacket
} else {
    SockType::Stream
};
/// The length in front of a message.
const LENGTH: usize = 4;
/// Most descriptors of a message: the three streams of a program and its two pipes.
const MOST_ALONG: usize = 5;
/// How long the rest of a message may take, in milliseconds. The other side reads at once, and has room for two messages.
const PATIENCE: u16 = 2_000;

/// Two ends of a new socket.
///
/// # Errors
/// The system's.
pub fn pair() -> nix::Result<(OwnedFd, OwnedFd)> {
    pair_of(KIND)
}

fn pair_of(kind: SockType) -> nix::Result<(OwnedFd, OwnedFd)> {
    let (one, other) = socketpair(AddressFamily::Unix, kind, None, SockFlag::empty())?;
    for end in [&one, &other] {
        fcntl(end, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC))?;
        if kind == SockType::Stream {
            // Else a long message waits for its reader several times.
            setsockopt(end, sockopt::SndBuf, &(2 * MAX_MESSAGE))?;
            setsockopt(end, sockopt::RcvBuf, &(2 * MAX_MESSAGE))?;
        }
    }
    Ok((one, other))
}

/// Sends one message, whole or not at all.
///
/// # Errors
/// `WouldBlock` where there is no room; the system's.
pub fn send(socket: BorrowedFd<'_>, message: &[u8], along: &[OwnedFd]) -> io::Result<()> {
    send_as(KIND, socket, message, along)
}

fn send_as(
    kind: SockType,
    socket: BorrowedFd<'_>,
    message: &[u8],
    along: &[OwnedFd],
) -> io::Result<()> {
    let length = u32::try_from(message.len()).map_err(io::Error::other)?;
    let length = length.to_le_bytes();
    let front: &[u8] = if kind == SockType::Stream {
        &length
    } else {
        &[]
    };
    let whole = [front, message].concat();
    let numbers: Vec<RawFd> = along.iter().map(AsRawFd::as_raw_fd).collect();
    let rights = [ControlMessage::ScmRights(&numbers)];
    let rights = if numbers.is_empty() { &[][..] } else { &rights };
    // Nobody who reads is an error and no signal: Rust's runtime ignores SIGPIPE.
    let put = |part: &[u8], rights: &[ControlMessage<'_>]| match rights {
        // A leaf worker on Linux has no other call.
        [] => socket::send(socket.as_raw_fd(), part, MsgFlags::MSG_DONTWAIT),
        rights => {
            let parts = [IoSlice::new(part)];
            sendmsg::<()>(
                socket.as_raw_fd(),
                &parts,
                rights,
                MsgFlags::MSG_DONTWAIT,
                None,
            )
        }
    };
    let mut sent = put(&whole, rights)?;
    while sent < whole.len() {
        let mut waited = [PollFd::new(socket, PollFlags::POLLOUT)];
        match poll(&mut waited, PollTimeout::from(PATIENCE)) {
            Ok(0) => return Err(io::ErrorKind::TimedOut.into()),
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno.into()),
        }
        match put(whole.get(sent..).unwrap_or_default(), &[]) {
            Ok(more) => sent += more,
            Err(Errno::EAGAIN | Errno::EINTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(())
}

/// A message, and what came with it.
pub type Packet = (Vec<u8>, Vec<OwnedFd>);

/// What has come of a message so far.
#[derive(Debug)]
pub struct Inbox {
    kind: SockType,
    came: Vec<u8>,
    along: Vec<OwnedFd>,
}

impl Default for Inbox {
    fn default() -> Self {
        Self::of(KIND)
    }
}

impl Inbox {
    fn of(kind: SockType) -> Self {
        Self {
            kind,
            came: Vec::new(),
            along: Vec::new(),
        }
    }

    /// The next message; `None` where the other side has closed its end.
    ///
    /// # Errors
    /// `WouldBlock` where none has come whole; `InvalidData` for one that is too long, `UnexpectedEof` for one that ends early; the
    /// system's.
    pub fn receive(&mut self, socket: BorrowedFd<'_>) -> io::Result<Option<Packet>> {
        if self.kind == SockType::SeqPacket {
            // One more, to see what is too long.
            let came = self.read(socket, MAX_MESSAGE + 1)?;
            return Ok((came > 0).then_some(self.taken()?));
        }
        loop {
            let missing = match self.came.first_chunk::<LENGTH>() {
                None => LENGTH - self.came.len(),
                Some(length) => {
                    let length = u32::from_le_bytes(*length) as usize;
                    if length > MAX_MESSAGE {
                        return Err(io::ErrorKind::InvalidData.into());
                    }
                    LENGTH + length - self.came.len()
                }
            };
            if missing == 0 {
                self.came.drain(..LENGTH);
                return self.taken().map(Some);
            }
            if self.read(socket, missing)? == 0 {
                return match self.came.is_empty() {
                    true => Ok(None),
                    false => Err(io::ErrorKind::UnexpectedEof.into()),
                };
            }
        }
    }

    fn taken(&mut self) -> io::Result<Packet> {
        let packet = (
            std::mem::take(&mut self.came),
            std::mem::take(&mut self.along),
        );
        match packet.0.len() <= MAX_MESSAGE {
            true => Ok(packet),
            false => Err(io::ErrorKind::InvalidData.into()),
        }
    }

    /// Reads once, `most` bytes at most.
    #[expect(unsafe_code, reason = "descriptors come as numbers")]
    fn read(&mut self, socket: BorrowedFd<'_>, most: usize) -> io::Result<usize> {
        let mut bytes = vec![0; most];
        let mut parts = [IoSliceMut::new(&mut bytes)];
        let mut space = nix::cmsg_space!([RawFd; MOST_ALONG]);
        let flags = MsgFlags::MSG_DONTWAIT | CLOSE_ON_EXEC;
        let message = recvmsg::<()>(socket.as_raw_fd(), &mut parts, Some(&mut space), flags)?;
        for along in message.cmsgs()? {
            if let ControlMessageOwned::ScmRights(numbers) = along {
                for number in numbers {
                    // SAFETY: a number of the message that was received just above, taken once.
                    let descriptor = unsafe { os::sent(number) };
                    fcntl(&descriptor, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC))?;
                    self.along.push(descriptor);
                }
            }
        }
        if self.along.len() > MOST_ALONG {
            self.along.clear();
            return Err(io::ErrorKind::InvalidData.into());
        }
        let came = message.bytes;
        self.came.extend(bytes.get(..came).unwrap_or_default());
        Ok(came)
    }
}

#[cfg(target_os = "linux")]
const CLOSE_ON_EXEC: MsgFlags = MsgFlags::MSG_CMSG_CLOEXEC;
/// macOS has no such flag: each descriptor is marked after it came. Nothing that receives starts programs at the same time.
#[cfg(not(target_os = "linux"))]
const CLOSE_ON_EXEC: MsgFlags = MsgFlags::empty();

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::io::{Read as _, Write as _};
    use std::os::fd::AsFd as _;

    const BOTH: [SockType; 2] = [SockType::SeqPacket, SockType::Stream];

    /// A pipe's end to read, with a word in the pipe.
    fn with_word(word: &str) -> OwnedFd {
        let (read, write) = nix::unistd::pipe().unwrap();
        File::from(write).write_all(word.as_bytes()).unwrap();
        read
    }

    fn words(along: Vec<OwnedFd>) -> Vec<String> {
        let read = |end: OwnedFd| io::read_to_string(File::from(end)).unwrap();
        along.into_iter().map(read).collect()
    }

    #[test]
    fn message_arrives_whole_with_its_own_descriptors() {
        for kind in BOTH {
            let (ours, theirs) = pair_of(kind).unwrap();
            let put = |message: &[u8], words: &[&str]| {
                let along: Vec<OwnedFd> = words.iter().map(|word| with_word(word)).collect();
                send_as(kind, ours.as_fd(), message, &along).unwrap();
            };
            put(b"none", &[]);
            put(b"two", &["a", "b"]);
            put(b"one", &["c"]);
            put(b"five", &["d", "e", "f", "g", "h"]);
            let mut inbox = Inbox::of(kind);
            let mut next = || {
                let (message, along) = inbox.receive(theirs.as_fd()).unwrap().unwrap();
                (String::from_utf8(message).unwrap(), words(along).concat())
            };
            let expected = [("none", ""), ("two", "ab"), ("one", "c"), ("five", "defgh")];
            for (message, words) in expected {
                assert_eq!(next(), (message.to_owned(), words.to_owned()), "{kind:?}");
            }
            let none = inbox.receive(theirs.as_fd()).unwrap_err();
            assert_eq!(none.kind(), io::ErrorKind::WouldBlock);
            drop(ours);
            assert!(inbox.receive(theirs.as_fd()).unwrap().is_none());
        }
    }

    #[test]
    fn longest_messages_arrive_and_a_longer_one_is_refused() {
        for kind in BOTH {
            let (ours, theirs) = pair_of(kind).unwrap();
            let writer = std::thread::spawn(move || {
                for more in [0, 0, 0, 0, 1] {
                    let message = vec![7; MAX_MESSAGE + more];
                    while let Err(error) = send_as(kind, ours.as_fd(), &message, &[]) {
                        assert_eq!(error.kind(), io::ErrorKind::WouldBlock, "there is no room");
                        std::thread::yield_now();
                    }
                }
            });
            let mut inbox = Inbox::of(kind);
            let mut came = 0;
            let refused = loop {
                match inbox.receive(theirs.as_fd()) {
                    Ok(packet) => {
                        assert_eq!(packet.unwrap().0.len(), MAX_MESSAGE);
                        came += 1;
                    }
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                        std::thread::yield_now();
                    }
                    Err(error) => break error,
                }
            };
            assert_eq!((came, refused.kind()), (4, io::ErrorKind::InvalidData));
            // Of one that is sent in parts the rest waits for nobody.
            drop(theirs);
            _ = writer.join();
        }
    }

    #[test]
    fn message_that_ends_early_is_no_message() {
        let (ours, theirs) = pair_of(SockType::Stream).unwrap();
        let mut ours = File::from(ours);
        ours.write_all(&[9, 0, 0, 0, 1, 2]).unwrap();
        let mut inbox = Inbox::of(SockType::Stream);
        let early = |inbox: &mut Inbox| inbox.receive(theirs.as_fd()).unwrap_err().kind();
        assert_eq!(early(&mut inbox), io::ErrorKind::WouldBlock);
        drop(ours);
        assert_eq!(early(&mut inbox), io::ErrorKind::UnexpectedEof);
        assert_eq!(File::from(theirs).read(&mut [0]).unwrap(), 0);
    }
}
