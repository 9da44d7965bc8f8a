//! [`InFlight`]: the bytes that wait here for somebody else: bodies of requests, answers, and frames of events.
//!
//! ```text
//! request ─reserve─▶ reserved ─settle─▶ the answer's size ─read by its client, or its connection ends─▶ free
//!            └─ too much of this member is in flight: it waits 5 s, then it is refused
//! ```
//! Invariants: bytes of a request are reserved before they are read or built; no member, and no connection of events, takes
//! more than a fraction of what is free, and every member may have a little; the bytes of an answer are free when the last
//! of them has left.

use crate::refusal::Refusal;
use bytes::Bytes;
use plexus_channels::Id;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::timeout;

/// Bytes in flight, of all members together.
const ALL: usize = 256 << 20;
/// A member may hold one part in so many of what is free: 28 MiB alone, which is two of the largest pages.
const PARTS: usize = 8;
/// What a member may hold however little is free: a message on its way in, and its answer.
const ALWAYS: usize = 192 << 10;
/// How long a request waits for answers of its member to be read.
const PATIENCE: Duration = Duration::from_secs(5);

/// What is in flight.
#[derive(Default)]
pub(crate) struct InFlight {
    held: Mutex<Held>,
    freed: Notify,
}

#[derive(Default)]
struct Held {
    all: usize,
    by_member: HashMap<Id, usize>,
}

/// Bytes of a member; free again when dropped.
pub(crate) struct Reserved {
    of: Arc<InFlight>,
    member: Id,
    bytes: usize,
}

/// Bytes that several readers share; free again when the last of them drops it.
pub(crate) struct Shared {
    of: Arc<InFlight>,
    bytes: usize,
}

/// An answer with its reservation.
struct Answer {
    bytes: Vec<u8>,
    _reserved: Reserved,
}

impl InFlight {
    /// Reserves bytes of a member. Waits while the member holds too much.
    ///
    /// # Errors
    /// `rate_limited` where that stays so.
    pub(crate) async fn reserve(
        self: &Arc<Self>,
        member: Id,
        bytes: usize,
    ) -> Result<Reserved, Refusal> {
        let free = async {
            loop {
                let freed = self.freed.notified();
                if let Some(reserved) = self.try_reserve(member, bytes) {
                    return reserved;
                }
                freed.await;
            }
        };
        let reserved = timeout(PATIENCE, free).await;
        reserved.map_err(|_| Refusal::unread())
    }

    fn try_reserve(self: &Arc<Self>, member: Id, bytes: usize) -> Option<Reserved> {
        let mut held = self.lock();
        let own = held.by_member.get(&member).copied().unwrap_or(0);
        if own + bytes > held.share().max(ALWAYS) {
            return None;
        }
        held.all += bytes;
        held.by_member.insert(member, own + bytes);
        let of = Arc::clone(self);
        Some(Reserved { of, member, bytes })
    }

    /// Counts bytes that several connections of events wait to send.
    pub(crate) fn shared(self: &Arc<Self>, bytes: usize) -> Shared {
        self.lock().all += bytes;
        let of = Arc::clone(self);
        Shared { of, bytes }
    }

    /// What one member may hold now.
    pub(crate) fn share(&self) -> usize {
        self.lock().share()
    }

    fn lock(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Held {
    const fn share(&self) -> usize {
        ALL.saturating_sub(self.all) / PARTS
    }
}

impl Reserved {
    /// The bytes of an answer that was built; they are held until they have left. More than were reserved are counted, and
    /// the member's next request waits for them.
    pub(crate) fn answer(mut self, bytes: Vec<u8>) -> Bytes {
        {
            let mut held = self.of.lock();
            held.all = held.all - self.bytes + bytes.capacity();
            if let Some(own) = held.by_member.get_mut(&self.member) {
                *own = *own - self.bytes + bytes.capacity();
            }
        }
        self.bytes = bytes.capacity();
        self.of.freed.notify_waiters();
        Bytes::from_owner(Answer {
            bytes,
            _reserved: self,
        })
    }
}

impl AsRef<[u8]> for Answer {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        {
            let mut held = self.of.lock();
            held.all -= self.bytes;
            if let Some(own) = held.by_member.get_mut(&self.member) {
                *own -= self.bytes;
                if *own == 0 {
                    held.by_member.remove(&self.member);
                }
            }
        }
        self.of.freed.notify_waiters();
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.of.lock().all -= self.bytes;
        self.of.freed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use plexus_channels::wire::Code;

    #[tokio::test(start_paused = true)]
    async fn members_who_read_nothing_leave_room_for_others() {
        let flight = Arc::new(InFlight::default());
        let mut unread = Vec::new();
        for _ in 0..200 {
            let share = flight.share();
            let reserved = flight.reserve(Id::generate(), share).await;
            unread.push(reserved.expect("a share of what is free"));
        }
        assert!(flight.lock().all <= ALL + ALWAYS);
        let other = Id::generate();
        let small = flight.reserve(other, ALWAYS).await.expect("always");
        let more = flight.reserve(other, 1).await.err();
        assert_eq!(more.map(|refusal| refusal.code()), Some(Code::RateLimited));
        drop((small, unread));
        let held = flight.lock();
        assert_eq!((held.all, held.by_member.len()), (0, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn request_waits_until_an_answer_has_left() {
        let (flight, member) = (Arc::new(InFlight::default()), Id::generate());
        let share = flight.share();
        let reserved = flight.reserve(member, 1).await.expect("free");
        let answer = reserved.answer(vec![0; share / 2]);
        // The last byte of it is on its way.
        let rest = answer.slice(answer.len() - 1..);
        drop(answer);
        let refused = flight.reserve(member, share / 2).await.err();
        assert_eq!(refused.map(|r| r.code()), Some(Code::RateLimited));
        assert!(flight.reserve(Id::generate(), share / 2).await.is_ok());
        let waiting = flight.reserve(member, share / 2);
        let (waited, ()) = tokio::join!(waiting, async { drop(rest) });
        assert!(waited.is_ok());
    }
}
