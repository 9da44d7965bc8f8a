//! The places for connections over TCP, and who has to leave when there are no more.
//!
//! ```text
//! taken ─▶ unproven ─a request that carries a live credential─▶ proven ─end─▶ gone
//!             │  ▲─────one that does not, while places are scarce──┘
//!             └─ no place left, and nobody unproven is older: told to leave ─▶ gone
//! ```
//! Invariant: a connection whose latest request carried a live credential is never told to leave, nor one whose earlier
//! request did before it has asked again while less than a quarter of the places is free. Among the others those that
//! are between requests go before those that are being answered, and the one that said something longest ago goes first.
//!
//! Must not know: HTTP; what a credential is.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

/// The places of one kind of listener. Clones are the same.
#[derive(Clone)]
pub(super) struct ConnectionLimiter(Arc<Inner>);

struct Inner {
    free: Arc<Semaphore>,
    /// Free places at which they are scarce.
    scarce: usize,
    held: Mutex<Held>,
    /// Somebody is between requests again, or gone.
    changed: Notify,
}

#[derive(Default)]
struct Held {
    unproven: HashMap<u64, Unproven>,
    /// Numbers connections, and what they do, in the order of time.
    next: u64,
    /// How many wait for a place.
    waiting: usize,
    /// How many were told to leave and have not gone yet.
    leaving: usize,
}

struct Unproven {
    /// When it came, or last began or ended a request.
    last: u64,
    answered: bool,
    leave: Arc<Leave>,
}

#[derive(Default)]
struct Leave {
    told: AtomicBool,
    notify: Notify,
}

/// One connection's place, until it goes.
pub(super) struct ConnectionSlot {
    inner: Arc<Inner>,
    id: u64,
    leave: Arc<Leave>,
    /// Given back before those who wait are told.
    permit: Option<OwnedSemaphorePermit>,
}

/// One who waits for a place, until it has one or does not want one any more.
struct Waiting<'a>(&'a Inner);

impl ConnectionLimiter {
    pub(super) fn new(most: usize) -> Self {
        Self(Arc::new(Inner {
            free: Arc::new(Semaphore::new(most)),
            scarce: most / 4,
            held: Mutex::default(),
            changed: Notify::new(),
        }))
    }

    /// A place, once there is one. `evicted` is called for each connection that is told to leave for it.
    pub(super) async fn take(&self, evicted: impl Fn()) -> ConnectionSlot {
        let waiting = Waiting::new(&self.0);
        loop {
            let changed = self.0.changed.notified();
            if let Ok(permit) = self.0.free.clone().try_acquire_owned() {
                drop(waiting);
                return self.0.clone().place(permit);
            }
            if self.0.tell_one_to_leave() {
                evicted();
            }
            changed.await;
        }
    }
}

impl<'a> Waiting<'a> {
    fn new(inner: &'a Inner) -> Self {
        inner.held().waiting += 1;
        Self(inner)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.held().waiting -= 1;
    }
}

impl Held {
    fn tick(&mut self) -> u64 {
        self.next += 1;
        self.next
    }
}

impl Inner {
    fn place(self: Arc<Self>, permit: OwnedSemaphorePermit) -> ConnectionSlot {
        let leave = Arc::<Leave>::default();
        let mut held = self.held();
        let id = held.tick();
        let who = Unproven {
            last: id,
            answered: false,
            leave: leave.clone(),
        };
        held.unproven.insert(id, who);
        drop(held);
        // Who waits finds somebody to send away.
        self.changed.notify_waiters();
        ConnectionSlot {
            inner: self,
            id,
            leave,
            permit: Some(permit),
        }
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One for each who waits, and no more.
    fn tell_one_to_leave(&self) -> bool {
        let mut held = self.held();
        if held.leaving >= held.waiting {
            return false;
        }
        let first = held
            .unproven
            .iter()
            .min_by_key(|(_, who)| (who.answered, who.last))
            .map(|(id, _)| *id);
        let Some(told) = first.and_then(|id| held.unproven.remove(&id)) else {
            return false;
        };
        held.leaving += 1;
        told.leave.told.store(true, Ordering::Relaxed);
        told.leave.notify.notify_one();
        true
    }
}

impl ConnectionSlot {
    /// A request begins; `live` looks whether it carries a credential that is. What an earlier one carried counts no
    /// more, for its agent may be revoked; but as long as places are not scarce nobody asks for a look at each call.
    pub(super) fn asked(&self, live: impl FnOnce() -> bool) {
        if self.inner.free.available_permits() > self.inner.scarce && self.is_proven() {
            return;
        }
        let live = live();
        let mut held = self.inner.held();
        let last = held.tick();
        if live {
            held.unproven.remove(&self.id);
            return;
        }
        // Who is told already goes, whatever it asks.
        if self.leave.told.load(Ordering::Relaxed) {
            return;
        }
        let who = Unproven {
            last,
            answered: true,
            leave: self.leave.clone(),
        };
        let was_proven = held.unproven.insert(self.id, who).is_none();
        drop(held);
        if was_proven {
            self.inner.changed.notify_waiters();
        }
    }

    /// The request is answered.
    pub(super) fn answered(&self) {
        let mut held = self.inner.held();
        let last = held.tick();
        if let Some(who) = held.unproven.get_mut(&self.id) {
            (who.answered, who.last) = (false, last);
        }
    }

    fn is_proven(&self) -> bool {
        !self.inner.held().unproven.contains_key(&self.id)
    }

    /// Waits until its holder has to leave.
    pub(super) async fn told_to_leave(&self) {
        self.leave.notify.notified().await;
    }
}

impl Drop for ConnectionSlot {
    fn drop(&mut self) {
        let mut held = self.inner.held();
        held.unproven.remove(&self.id);
        if self.leave.told.load(Ordering::Relaxed) {
            held.leaving -= 1;
        }
        drop(held);
        drop(self.permit.take());
        self.inner.changed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        cell::Cell,
        pin::{Pin, pin},
        task::{Context, Poll, Waker},
    };

    fn now<T>(future: Pin<&mut impl Future<Output = T>>) -> Option<T> {
        match future.poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(value) => Some(value),
            Poll::Pending => None,
        }
    }

    fn taken(places: &ConnectionLimiter) -> Option<ConnectionSlot> {
        now(pin!(places.take(|| {})))
    }

    fn is_told(place: &ConnectionSlot) -> bool {
        now(pin!(place.told_to_leave())).is_some()
    }

    #[test]
    fn the_oldest_that_showed_nothing_leaves_and_who_is_known_stays() {
        let places = ConnectionLimiter::new(4);
        let mut all: Vec<_> = (0..4).filter_map(|_| taken(&places)).collect();
        assert_eq!(all.len(), 4);
        let (known, asking, spoke) = (0, 1, 2);
        all[known].asked(|| true);
        all[known].answered();
        all[asking].asked(|| false);
        all[spoke].asked(|| false);
        all[spoke].answered();
        // What leaves: the last one never spoke, the third did, the second is being answered.
        let told = Cell::new(0);
        for n in 1..=3 {
            let mut next = pin!(places.take(|| told.set(told.get() + 1)));
            assert!(now(next.as_mut()).is_none());
            assert_eq!(told.get(), n);
            let leaves = all.pop().unwrap();
            assert!(is_told(&leaves), "{n}");
            assert!(all.iter().all(|place| !is_told(place)), "{n}");
            places.0.changed.notify_waiters();
            assert!(now(next.as_mut()).is_none());
            assert_eq!(told.get(), n, "one is enough");
            drop(leaves);
            let fresh = now(next.as_mut()).expect("its place");
            assert!(!fresh.is_proven());
            fresh.asked(|| true);
            all.insert(0, fresh);
        }
        let mut next = pin!(places.take(|| told.set(told.get() + 1)));
        assert!(now(next.as_mut()).is_none(), "only who is known is left");
        assert_eq!(told.get(), 3);
        assert!(all.iter().all(|place| place.is_proven() && !is_told(place)));
        drop(all.pop());
        assert!(
            now(next.as_mut()).is_some(),
            "who goes by itself makes room"
        );
    }

    /// It was known once: its latest request says who it is now.
    #[test]
    fn who_shows_nothing_any_more_makes_room_again() {
        let places = ConnectionLimiter::new(2);
        let (revoked, known) = (taken(&places).unwrap(), taken(&places).unwrap());
        for place in [&revoked, &known] {
            place.asked(|| true);
            place.answered();
        }
        let told = Cell::new(0);
        let mut next = pin!(places.take(|| told.set(told.get() + 1)));
        assert!(now(next.as_mut()).is_none());
        known.asked(|| true);
        assert!(now(next.as_mut()).is_none());
        assert_eq!(told.get(), 0, "the control: both are known");
        revoked.asked(|| false);
        assert!(now(next.as_mut()).is_none());
        assert_eq!(told.get(), 1);
        assert!(is_told(&revoked) && !is_told(&known));
        // It goes, whatever it asks meanwhile.
        revoked.asked(|| false);
        revoked.answered();
        assert!(revoked.is_proven(), "it is on no list");
        drop(revoked);
        assert!(now(next.as_mut()).is_some());
        assert_eq!(places.0.held().leaving, 0);
    }

    #[test]
    fn where_there_is_room_nobody_is_looked_at_twice() {
        let places = ConnectionLimiter::new(4);
        let known = taken(&places).unwrap();
        known.asked(|| true);
        let looked = Cell::new(0);
        let revoked = || {
            looked.set(looked.get() + 1);
            false
        };
        known.asked(revoked);
        assert!(looked.get() == 0 && known.is_proven());
        let stranger = taken(&places).unwrap();
        stranger.asked(revoked);
        assert_eq!(looked.get(), 1, "the control: who showed nothing yet");
        let _third = taken(&places).unwrap();
        known.asked(revoked);
        assert!(looked.get() == 2 && !known.is_proven(), "one place is left");
    }

    #[test]
    fn nobody_leaves_for_one_who_does_not_wait_any_more() {
        let places = ConnectionLimiter::new(1);
        let first = taken(&places).unwrap();
        first.asked(|| true);
        let mut waits = Box::pin(places.take(|| {}));
        assert!(now(waits.as_mut()).is_none());
        drop(waits);
        assert_eq!(places.0.held().waiting, 0);
        drop(first);
        let second = taken(&places).unwrap();
        assert!(!is_told(&second));
        let mut waits = Box::pin(places.take(|| {}));
        assert!(now(waits.as_mut()).is_none());
        drop(waits);
        assert!(is_told(&second));
        drop(second);
        assert_eq!(places.0.held().leaving, 0);
        assert!(taken(&places).is_some());
    }
}
