//! [`Hub`]: the connections that events are pushed on.
//!
//! Invariants: a device has one connection; a frame is queued on every connection of its recipients or that connection is
//! closed; nothing here waits for a reader; frames that wait are counted in bytes, a connection's and all.

use crate::in_flight::{InFlight, Shared};
use plexus_channels::wire::close;
use plexus_channels::{Id, limits};
use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::{mpsc, watch};
use tokio_tungstenite::tungstenite::Utf8Bytes;

/// Sockets at once.
const SOCKETS: usize = 20_000;

/// A connection, as those see it who push.
struct Connection {
    id: Id,
    device: Id,
    token: [u8; 32],
    frames: mpsc::Sender<Frame>,
    /// Bytes of the frames in its queue.
    queued: Arc<AtomicUsize>,
    close: watch::Sender<Option<u16>>,
}

/// A frame in a queue, or in several.
#[derive(Clone)]
pub(crate) struct Frame {
    text: Utf8Bytes,
    _counted: Arc<Shared>,
}

/// A connection, as its own task sees it.
pub(crate) struct Feed {
    pub(crate) id: Id,
    pub(crate) user: Id,
    pub(crate) frames: Frames,
    /// The code to close with.
    pub(crate) close: watch::Receiver<Option<u16>>,
}

/// The queue of a connection.
pub(crate) struct Frames {
    frames: mpsc::Receiver<Frame>,
    queued: Arc<AtomicUsize>,
}

impl Frames {
    /// The next frame, once there is one; none where the connection stands in the hub no more.
    pub(crate) async fn next(&mut self) -> Option<Utf8Bytes> {
        let frame = self.frames.recv().await?;
        Some(self.taken(frame))
    }

    /// The next frame that is there.
    pub(crate) fn try_next(&mut self) -> Option<Utf8Bytes> {
        let frame = self.frames.try_recv().ok()?;
        Some(self.taken(frame))
    }

    fn taken(&self, frame: Frame) -> Utf8Bytes {
        self.queued.fetch_sub(frame.text.len(), Ordering::Relaxed);
        frame.text
    }
}

/// The connections, by user.
#[derive(Default)]
pub(crate) struct Hub {
    users: Mutex<HashMap<Id, Vec<Connection>>>,
    in_flight: Arc<InFlight>,
    /// Sockets that are open, replaced ones and such that are closing among them.
    sockets: watch::Sender<usize>,
}

/// A place among the sockets that are open.
pub(crate) struct SocketSlot(Arc<Hub>);

impl Drop for SocketSlot {
    fn drop(&mut self) {
        self.0.sockets.send_modify(|sockets| *sockets -= 1);
    }
}

impl Hub {
    /// One without connections. What waits in their queues counts as in flight.
    pub(crate) fn new(in_flight: Arc<InFlight>) -> Self {
        Self {
            in_flight,
            ..Self::default()
        }
    }

    /// Opens a connection; the device's other one is closed. `first` stands before everything that is pushed.
    pub(crate) fn open(&self, user: Id, device: Id, token: [u8; 32], first: Utf8Bytes) -> Feed {
        let (frames, queue) = mpsc::channel(limits::QUEUED_FRAMES);
        let (close, closed) = watch::channel(None);
        let first = self.frame(first);
        let queued = Arc::new(AtomicUsize::new(first.text.len()));
        // An empty queue takes one frame.
        let _ = frames.try_send(first);
        let id = Id::generate();
        let mut users = self.lock();
        let connections = users.entry(user).or_default();
        connections.retain(|other| {
            let replaced = other.device == device;
            if replaced {
                other.close.send_replace(Some(close::REPLACED));
            }
            !replaced
        });
        connections.push(Connection {
            id,
            device,
            token,
            frames,
            queued: Arc::clone(&queued),
            close,
        });
        Feed {
            id,
            user,
            frames: Frames {
                frames: queue,
                queued,
            },
            close: closed,
        }
    }

    /// Forgets a connection that has ended.
    pub(crate) fn forget(&self, user: Id, id: Id) {
        let mut users = self.lock();
        if let Some(connections) = users.get_mut(&user) {
            connections.retain(|connection| connection.id != id);
            if connections.is_empty() {
                users.remove(&user);
            }
        }
    }

    fn frame(&self, text: Utf8Bytes) -> Frame {
        let counted = Arc::new(self.in_flight.shared(text.len()));
        Frame {
            text,
            _counted: counted,
        }
    }

    /// Queues a frame, which is made only where somebody is connected.
    pub(crate) fn push(&self, to: &[Id], frame: impl FnOnce() -> String) {
        let mut frame = Some(frame);
        let mut made = None;
        let share = self.in_flight.share();
        let mut users = self.lock();
        for user in to {
            let Some(connections) = users.get_mut(user) else {
                continue;
            };
            let frame = made.get_or_insert_with(|| {
                self.frame(frame.take().map(|frame| frame()).unwrap_or_default().into())
            });
            connections.retain(|connection| {
                let bytes = frame.text.len();
                // Before the frame is in the queue: its reader subtracts it.
                let before = connection.queued.fetch_add(bytes, Ordering::Relaxed);
                let fits = before == 0 || before + bytes <= share;
                let queued = fits && connection.frames.try_send(frame.clone()).is_ok();
                if !queued {
                    connection.close.send_replace(Some(close::TOO_SLOW));
                }
                queued
            });
        }
    }

    /// Closes the connections of a token that has ended.
    pub(crate) fn end_token(&self, user: Id, token: [u8; 32]) {
        let mut users = self.lock();
        if let Some(connections) = users.get_mut(&user) {
            connections.retain(|connection| {
                let ended = connection.token == token;
                if ended {
                    connection.close.send_replace(Some(close::TOKEN_ENDED));
                }
                !ended
            });
        }
    }

    /// Closes the connections of a user who was removed.
    pub(crate) fn shut_out(&self, user: Id) {
        self.close_of(&[user], close::REMOVED);
    }

    /// Closes the connections of users who may have missed something.
    pub(crate) fn interrupt(&self, of: &[Id]) {
        self.close_of(of, close::FAILED);
    }

    fn close_of(&self, of: &[Id], code: u16) {
        let mut users = self.lock();
        for connection in of.iter().filter_map(|user| users.remove(user)).flatten() {
            connection.close.send_replace(Some(code));
        }
    }

    /// Closes every connection: each may miss something.
    pub(crate) fn interrupt_all(&self) {
        self.close_all(close::FAILED);
    }

    /// Takes a place for a socket; none where there are too many.
    pub(crate) fn enter(self: &Arc<Self>) -> Option<SocketSlot> {
        let mut entered = false;
        self.sockets.send_if_modified(|sockets| {
            entered = *sockets < SOCKETS;
            *sockets += usize::from(entered);
            entered
        });
        entered.then(|| SocketSlot(Arc::clone(self)))
    }

    /// Waits until no socket is open.
    pub(crate) async fn left(&self) {
        // The sender is this hub's own.
        let _ = self
            .sockets
            .subscribe()
            .wait_for(|sockets| *sockets == 0)
            .await;
    }

    /// Closes every connection: the relay stops.
    pub(crate) fn stop(&self) {
        self.close_all(close::GOING_AWAY);
    }

    fn close_all(&self, code: u16) {
        for (_, connections) in self.lock().drain() {
            for connection in connections {
                connection.close.send_replace(Some(code));
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Id, Vec<Connection>>> {
        self.users.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slow_reader_is_closed_and_others_are_served() {
        let hub = Hub::default();
        let (user, other) = (Id::generate(), Id::generate());
        let slow = hub.open(user, Id::generate(), [1; 32], "first".into());
        let mut fast = hub.open(other, Id::generate(), [2; 32], "first".into());
        for n in 0..limits::QUEUED_FRAMES {
            hub.push(&[user, other], || n.to_string());
            assert!(fast.frames.try_next().is_some());
        }
        assert_eq!(*slow.close.borrow(), Some(close::TOO_SLOW));
        assert_eq!(*fast.close.borrow(), None);
        assert!(fast.frames.try_next().is_some(), "the last one");
    }

    #[test]
    fn slow_reader_of_large_frames_is_closed_by_their_bytes() {
        let hub = Hub::default();
        let (user, other) = (Id::generate(), Id::generate());
        let (share, frame) = (hub.in_flight.share(), "x".repeat(1 << 20));
        let slow = hub.open(user, Id::generate(), [1; 32], "first".into());
        let mut fast = hub.open(other, Id::generate(), [2; 32], "first".into());
        while fast.frames.try_next().is_some() {}
        for _ in 0..share >> 20 {
            hub.push(&[user, other], || frame.clone());
            while fast.frames.try_next().is_some() {}
        }
        assert_eq!(*slow.close.borrow(), Some(close::TOO_SLOW));
        assert_eq!(*fast.close.borrow(), None);
        drop(slow);
        assert_eq!(hub.in_flight.share(), share, "all of it is free again");
    }

    #[test]
    fn second_connection_of_device_replaces_the_first() {
        let hub = Hub::default();
        let (user, device) = (Id::generate(), Id::generate());
        let first = hub.open(user, device, [1; 32], "".into());
        let second = hub.open(user, device, [1; 32], "".into());
        let beside = hub.open(user, Id::generate(), [3; 32], "".into());
        assert_eq!(*first.close.borrow(), Some(close::REPLACED));
        // The first one's end does not take the second one's place away.
        hub.forget(user, first.id);
        hub.end_token(user, [1; 32]);
        assert_eq!(*second.close.borrow(), Some(close::TOKEN_ENDED));
        assert_eq!(*beside.close.borrow(), None);
        hub.interrupt(&[Id::ZERO, user]);
        assert_eq!(*beside.close.borrow(), Some(close::FAILED));
        let last = hub.open(user, device, [1; 32], "".into());
        hub.stop();
        assert_eq!(*last.close.borrow(), Some(close::GOING_AWAY));
    }
}
