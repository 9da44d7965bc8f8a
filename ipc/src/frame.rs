//! Frames: a `u32` in little-endian byte order, then that many bytes of msgpack with named fields.
//!
//! Invariants: a length is checked before anything is reserved for it; a frame is exactly one value with nothing after
//! it; decoding is a pure function of bytes. The first frame that breaks a rule is the last that is read.
//!
//! Reading and writing make few system calls: a read takes what is there, however many frames that is; a writer sends
//! what has queued up since its last write in one call.
//!
//! Must not know: which messages are allowed when.

use crate::text::NOT_JSON;
use bytes::{Buf, BytesMut};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::{
    io::{self, IoSlice},
    marker::PhantomData,
};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;
use zeroize::Zeroizing;

/// Largest frame, in bytes without its length (docs/design.md#workers).
pub const MAX_FRAME: usize = 16 * 1024 * 1024;
/// Bytes of a frame's length.
pub const PREFIX: usize = 4;
/// Deepest nesting of a message: that of JSON inside one (64) and of the message around it.
const MAX_DEPTH: usize = 96;
/// What a reader makes room for at once, in bytes.
const READ_AHEAD: usize = 32 * 1024;
/// A read buffer that grew beyond this is given back, in bytes.
const KEEP: usize = 1024 * 1024;
/// Frames that wait for a writer before senders wait too.
const QUEUE: usize = 256;
/// Frames that leave in one system call.
const TOGETHER: usize = 64;

/// Why a stream of frames ended badly.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// A length of 0, or beyond the bound.
    #[error("a frame of {length} bytes, where 1 to {bound} are allowed")]
    Length {
        /// The length, in bytes.
        length: usize,
        /// The bound, in bytes.
        bound: usize,
    },
    /// The bytes are no message. The text does not quote them.
    #[error("a frame that is no message: {0}")]
    Decode(&'static str),
    /// The message cannot be written as msgpack.
    #[error("a message that cannot be encoded")]
    Encode,
    /// The stream ended inside a frame.
    #[error("the stream ended inside a frame")]
    Truncated,
    /// The other task that writes or reads this stream is gone.
    #[error("the stream is closed")]
    Closed,
    /// The system's word.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// `message` as a frame: its length and its bytes.
///
/// # Errors
/// [`FrameError::Length`] beyond `bound`; [`FrameError::Encode`] for a path that is not UTF-8.
pub fn encode<M: Serialize>(message: &M, bound: usize) -> Result<Vec<u8>, FrameError> {
    let mut frame = Vec::with_capacity(512);
    encode_into(&mut frame, message, bound)?;
    Ok(frame)
}

fn encode_into<M: Serialize>(
    frame: &mut Vec<u8>,
    message: &M,
    bound: usize,
) -> Result<(), FrameError> {
    frame.extend_from_slice(&[0; PREFIX]);
    rmp_serde::encode::write_named(frame, message).map_err(|_| FrameError::Encode)?;
    let length = frame.len() - PREFIX;
    match u32::try_from(length) {
        Ok(prefix) if length <= bound => {
            frame[..PREFIX].copy_from_slice(&prefix.to_le_bytes());
            Ok(())
        }
        _ => Err(FrameError::Length { length, bound }),
    }
}

/// The message in a frame's bytes, without the length.
///
/// # Errors
/// [`FrameError::Decode`] unless `body` is exactly one message.
pub fn decode<M: DeserializeOwned>(body: &[u8]) -> Result<M, FrameError> {
    // Borrows from `body`, so that a payload is copied once.
    let mut reader = rmp_serde::Deserializer::from_read_ref(body);
    reader.set_max_depth(MAX_DEPTH);
    let message = M::deserialize(&mut reader).map_err(|error| FrameError::Decode(kind(&error)))?;
    // The reader does not say how much is left, but a scalar's first byte can be missing only at the end.
    match bool::deserialize(&mut reader) {
        Err(rmp_serde::decode::Error::InvalidMarkerRead(_)) => Ok(message),
        Ok(_) | Err(_) => Err(FrameError::Decode("bytes after the message")),
    }
}

/// What is wrong, in words of ours: the decoder's own text may quote a peer.
fn kind(error: &rmp_serde::decode::Error) -> &'static str {
    use rmp_serde::decode::Error as E;
    match error {
        E::InvalidMarkerRead(_) | E::InvalidDataRead(_) => "it ends early",
        E::DepthLimitExceeded => "it is nested too deep",
        E::Utf8Error(_) => "a text is not UTF-8",
        E::LengthMismatch(_) | E::TypeMismatch(_) | E::OutOfRange => "a value of another type",
        E::Syntax(why) if why == NOT_JSON => NOT_JSON,
        E::Uncategorized(_) | E::Syntax(_) => "a field is missing, unknown, or out of bounds",
    }
}

/// The length of the frame that `buffer` begins with, or `None` while fewer than [`PREFIX`] bytes are there.
///
/// # Errors
/// [`FrameError::Length`].
pub fn length(buffer: &[u8], bound: usize) -> Result<Option<usize>, FrameError> {
    let Some(prefix) = buffer.first_chunk::<PREFIX>() else {
        return Ok(None);
    };
    let length = u32::from_le_bytes(*prefix) as usize;
    if length == 0 || length > bound {
        return Err(FrameError::Length { length, bound });
    }
    Ok(Some(length))
}

/// Reads messages of type `M`.
#[derive(Debug)]
pub struct FrameReader<R, M> {
    stream: R,
    buffer: BytesMut,
    bound: usize,
    message: PhantomData<fn() -> M>,
}

impl<R: AsyncRead + Unpin, M: DeserializeOwned> FrameReader<R, M> {
    /// Reads frames of at most `bound` bytes.
    pub fn new(stream: R, bound: usize) -> Self {
        Self {
            stream,
            buffer: BytesMut::new(),
            bound,
            message: PhantomData,
        }
    }

    /// The next message, or `None` at an end of stream between two frames. Cancelling it loses nothing.
    ///
    /// # Errors
    /// Any [`FrameError`]; the stream is of no use after one.
    pub async fn next(&mut self) -> Result<Option<M>, FrameError> {
        loop {
            let missing = match length(&self.buffer, self.bound)? {
                Some(length) if self.buffer.len() >= PREFIX + length => {
                    let message = decode(&self.buffer[PREFIX..PREFIX + length]);
                    self.buffer.advance(PREFIX + length);
                    if self.buffer.is_empty() && self.buffer.capacity() > KEEP {
                        self.buffer = BytesMut::new();
                    }
                    return message.map(Some);
                }
                Some(length) => PREFIX + length - self.buffer.len(),
                None => PREFIX,
            };
            self.buffer.reserve(missing.max(READ_AHEAD));
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                return if self.buffer.is_empty() {
                    Ok(None)
                } else {
                    Err(FrameError::Truncated)
                };
            }
        }
    }
}

/// A frame on its way out.
enum Outgoing {
    Plain(Vec<u8>),
    /// Wiped when it has been written.
    Secret(Zeroizing<Vec<u8>>),
}

impl Outgoing {
    fn bytes(&self) -> &[u8] {
        match self {
            Self::Plain(frame) => frame,
            Self::Secret(frame) => frame,
        }
    }
}

/// Queues messages of type `M` for the writer that [`writer`] made with it. Clones share the queue.
pub struct FrameSender<M> {
    queue: mpsc::Sender<Outgoing>,
    bound: usize,
    message: PhantomData<fn(M)>,
}

impl<M> Clone for FrameSender<M> {
    fn clone(&self) -> Self {
        Self {
            queue: self.queue.clone(),
            bound: self.bound,
            message: PhantomData,
        }
    }
}

impl<M> std::fmt::Debug for FrameSender<M> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FrameSender").finish_non_exhaustive()
    }
}

impl<M: Serialize> FrameSender<M> {
    /// Queues `message`; waits while the peer does not read and the queue is full.
    ///
    /// # Errors
    /// [`FrameError::Closed`] when the writer has ended; those of [`encode`], after which nothing was queued.
    pub async fn send(&self, message: &M) -> Result<(), FrameError> {
        let frame = Outgoing::Plain(encode(message, self.bound)?);
        self.queue.send(frame).await.map_err(|_| FrameError::Closed)
    }

    /// As [`FrameSender::send`], for a message that holds secrets: the frame is wiped once it is written.
    ///
    /// # Errors
    /// As [`FrameSender::send`].
    pub async fn send_secret(&self, message: &M) -> Result<(), FrameError> {
        // Room for everything at once: a buffer that grows leaves copies behind.
        let mut frame = Zeroizing::new(Vec::with_capacity(512 * 1024));
        encode_into(&mut frame, message, self.bound)?;
        self.queue
            .send(Outgoing::Secret(frame))
            .await
            .map_err(|_| FrameError::Closed)
    }

    /// Queues `message` unless the queue is full. Says whether it did; for what may be lost.
    pub fn offer(&self, message: &M) -> bool {
        encode(message, self.bound)
            .is_ok_and(|frame| self.queue.try_send(Outgoing::Plain(frame)).is_ok())
    }

    /// The same queue, without keeping its writer going.
    #[must_use]
    pub fn downgrade(&self) -> WeakFrameSender<M> {
        WeakFrameSender {
            queue: self.queue.downgrade(),
            bound: self.bound,
            message: PhantomData,
        }
    }
}

/// A [`FrameSender`] that its writer does not wait for.
pub struct WeakFrameSender<M> {
    queue: mpsc::WeakSender<Outgoing>,
    bound: usize,
    message: PhantomData<fn(M)>,
}

impl<M> std::fmt::Debug for WeakFrameSender<M> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WeakFrameSender").finish_non_exhaustive()
    }
}

impl<M: Serialize> WeakFrameSender<M> {
    /// As [`FrameSender::send`].
    ///
    /// # Errors
    /// [`FrameError::Closed`] also when every sender is gone.
    pub async fn send(&self, message: &M) -> Result<(), FrameError> {
        let queue = self.queue.upgrade().ok_or(FrameError::Closed)?;
        let sender = FrameSender {
            queue,
            bound: self.bound,
            message: PhantomData,
        };
        sender.send(message).await
    }

    /// As [`FrameSender::offer`]; false when every sender is gone.
    pub fn offer(&self, message: &M) -> bool {
        self.queue.upgrade().is_some_and(|queue| {
            FrameSender {
                queue,
                bound: self.bound,
                message: PhantomData,
            }
            .offer(message)
        })
    }
}

/// Makes a queue and the task that writes it to `stream`: spawn the future. It ends well when every sender is gone and
/// everything is written.
pub fn writer<W, M>(
    stream: W,
    bound: usize,
) -> (
    FrameSender<M>,
    impl Future<Output = io::Result<()>> + Send + use<W, M>,
)
where
    W: AsyncWrite + Unpin + Send,
{
    let (queue, frames) = mpsc::channel(QUEUE);
    let sender = FrameSender {
        queue,
        bound,
        message: PhantomData,
    };
    (sender, write_all(stream, frames))
}

async fn write_all<W: AsyncWrite + Unpin>(
    mut stream: W,
    mut frames: mpsc::Receiver<Outgoing>,
) -> io::Result<()> {
    let mut batch = Vec::with_capacity(TOGETHER);
    while frames.recv_many(&mut batch, TOGETHER).await > 0 {
        if let [one] = batch.as_slice() {
            stream.write_all(one.bytes()).await?;
        } else {
            let mut slices: Vec<_> = batch.iter().map(|f| IoSlice::new(f.bytes())).collect();
            let mut rest = slices.as_mut_slice();
            while !rest.is_empty() {
                let written = stream.write_vectored(rest).await?;
                if written == 0 {
                    return Err(io::ErrorKind::WriteZero.into());
                }
                IoSlice::advance_slices(&mut rest, written);
            }
        }
        batch.clear();
    }
    stream.flush().await
}
