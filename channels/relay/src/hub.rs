//! [`Hub`]: the connections that events are pushed on.
//!
//! Invariants: a device has one connection; a frame is queued on every connection of its recipients or that connection is
//! closed; nothing here waits for a reader.

use plexus_channels::wire::close;
use plexus_channels::{Id, limits};
use std::collections::HashMap;
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
    frames: mpsc::Sender<Utf8Bytes>,
    close: watch::Sender<Option<u16>>,
}

/// A connection, as its own task sees it.
pub(crate) struct Feed {
    pub(crate) id: Id,
    pub(crate) user: Id,
    pub(crate) frames: mpsc::Receiver<Utf8Bytes>,
    /// The code to close with.
    pub(crate) close: watch::Receiver<Option<u16>>,
}

/// The connections, by user.
#[derive(Default)]
pub(crate) struct Hub {
    users: Mutex<HashMap<Id, Vec<Connection>>>,
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
    /// Opens a connection; the device's other one is closed. `first` stands before everything that is pushed.
    pub(crate) fn open(&self, user: Id, device: Id, token: [u8; 32], first: Utf8Bytes) -> Feed {
        let (frames, queue) = mpsc::channel(limits::QUEUED_FRAMES);
        let (close, closed) = watch::channel(None);
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
            close,
        });
        Feed {
            id,
            user,
            frames: queue,
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

    /// Queues a frame, which is made only where somebody is connected.
    pub(crate) fn push(&self, to: &[Id], frame: impl FnOnce() -> String) {
        let mut frame = Some(frame);
        let mut made = None;
        let mut users = self.lock();
        for user in to {
            let Some(connections) = users.get_mut(user) else {
                continue;
            };
            let frame = made.get_or_insert_with(|| {
                Utf8Bytes::from(frame.take().map(|frame| frame()).unwrap_or_default())
            });
            connections.retain(|connection| {
                let queued = connection.frames.try_send(frame.clone()).is_ok();
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
            assert!(fast.frames.try_recv().is_ok());
        }
        assert_eq!(*slow.close.borrow(), Some(close::TOO_SLOW));
        assert_eq!(*fast.close.borrow(), None);
        assert!(fast.frames.try_recv().is_ok(), "the last one");
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
