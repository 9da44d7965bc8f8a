//! The gateway's end of one worker's stream.
//!
//! Invariants: what the [`Receiver`] yields was allowed in its phase and role, and an output in it can travel on as it
//! is (see [`crate::text::Output`]); after its first error nothing more is read; a message that the table forbids is
//! not sent. Which call an answer belongs to is the supervisor's to know.
//!
//! Must not know: processes, queues, restarts.

use crate::frame::{FrameError, FrameReader, FrameSender, MAX_FRAME, writer};
use crate::message::{FromWorker, Phase, Role, ToWorker};
use crate::stream::{self, ReadHalf};
use std::{
    io,
    os::fd::OwnedFd,
    sync::{Arc, Mutex, PoisonError},
};
use tokio::io::{AsyncRead, AsyncWrite};

/// Why a worker must be ended, or a message was not sent.
#[derive(Debug, thiserror::Error)]
pub enum ConnectionError {
    /// The frames are broken, or the stream is.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// A message out of place.
    #[error("{message} is not allowed from or to a {role} while it is {phase:?}")]
    OutOfPlace {
        /// The message's name.
        message: &'static str,
        /// The phase.
        phase: Phase,
        /// The role.
        role: Role,
    },
}

/// The phase, which both halves move: the worker's messages forwards, our `Stop` to its end.
#[derive(Clone, Debug)]
struct SharedPhase {
    role: Role,
    phase: Arc<Mutex<Phase>>,
}

impl SharedPhase {
    fn phase(&self) -> Phase {
        *self.phase.lock().unwrap_or_else(PoisonError::into_inner)
    }
    /// Moves from a phase where `allowed` holds to the one that `then` gives.
    fn step(
        &self,
        message: &'static str,
        allowed: impl FnOnce(Phase) -> bool,
        then: impl FnOnce(Phase) -> Phase,
    ) -> Result<(), ConnectionError> {
        let mut at = self.phase.lock().unwrap_or_else(PoisonError::into_inner);
        if !allowed(*at) {
            return Err(ConnectionError::OutOfPlace {
                message,
                phase: *at,
                role: self.role,
            });
        }
        *at = then(*at);
        Ok(())
    }
}

/// Says things to the worker. Clones share the queue; the worker sees the end of the stream when the last one and the
/// [`Receiver`] are gone and what was queued is written.
#[derive(Clone, Debug)]
pub struct Sender {
    frames: FrameSender<ToWorker>,
    place: SharedPhase,
}

/// Hears what the worker says, on a stream of `R`.
#[derive(Debug)]
pub struct Receiver<R = ReadHalf> {
    frames: FrameReader<R, FromWorker>,
    place: SharedPhase,
}

/// Takes the gateway's end of a [`stream::pair`] whose other end a worker of `role` holds, and starts the task that
/// writes to it on the current tokio runtime.
///
/// # Errors
/// The system's.
///
/// # Panics
/// Outside a tokio runtime.
pub fn connect(end: OwnedFd, role: Role) -> io::Result<(Sender, Receiver)> {
    let (read, write) = stream::split(end)?;
    Ok(over(read, write, role))
}

/// As [`connect`], over a stream that is there already.
///
/// # Panics
/// Outside a tokio runtime.
pub fn over<R, W>(read: R, write: W, role: Role) -> (Sender, Receiver<R>)
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin + Send + 'static,
{
    let (frames, task) = writer(write, MAX_FRAME);
    tokio::spawn(async move {
        if let Err(error) = task.await {
            // The reader sees the end of the same stream and reports it.
            tracing::debug!(%error, "cannot write to the worker");
        }
    });
    let place = SharedPhase {
        role,
        phase: Arc::new(Mutex::new(Phase::Starting)),
    };
    let sender = Sender {
        frames,
        place: place.clone(),
    };
    let receiver = Receiver {
        frames: FrameReader::new(read, MAX_FRAME),
        place,
    };
    (sender, receiver)
}

impl Sender {
    /// Queues `message`. Waits while the worker does not read and the queue is full.
    ///
    /// # Errors
    /// [`ConnectionError::OutOfPlace`] and [`FrameError::Length`]: nothing was sent and the worker is as it was.
    /// [`FrameError::Closed`]: the stream is gone; a message queued before may or may not have arrived.
    pub async fn send(&self, message: ToWorker) -> Result<(), ConnectionError> {
        let role = self.place.role;
        let stops = matches!(message, ToWorker::Stop);
        self.place.step(
            message.name(),
            |phase| message.permitted(phase, role),
            |phase| if stops { Phase::Stopping } else { phase },
        )?;
        if matches!(message, ToWorker::Start(_)) {
            self.frames.send_secret(&message).await?;
        } else {
            self.frames.send(&message).await?;
        }
        Ok(())
    }

    /// Where the worker's start has come to.
    #[must_use]
    pub fn phase(&self) -> Phase {
        self.place.phase()
    }
}

impl<R: AsyncRead + Unpin> Receiver<R> {
    /// The next message, or `None` when the worker closed its end. Cancelling it loses nothing.
    ///
    /// # Errors
    /// Any [`ConnectionError`]: the worker is to be ended.
    pub async fn next(&mut self) -> Result<Option<FromWorker>, ConnectionError> {
        let Some(message) = self.frames.next().await? else {
            return Ok(None);
        };
        let role = self.place.role;
        self.place.step(
            message.name(),
            |phase| message.permitted(phase, role),
            |phase| message.then(phase),
        )?;
        Ok(Some(message))
    }
}
