//! The slots for connections over TCP, and who is evicted when there are no more.
//!
//! ```text
//! taken ─▶ unproven ─a request that carries a live credential─▶ proven ─end─▶ gone
//!             │  ▲─────one that does not, while slots are scarce───┘
//!             └─ no slot is free, and this one's latest request is the oldest ─▶ evicted ─▶ gone
//! ```
//! Invariant: a connection whose latest request carried a live credential is never evicted, nor one whose earlier
//! request did before it has asked again while less than a quarter of the slots is free.
//!
//! Must not know: HTTP; what a credential is.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

/// The slots of one kind of listener. Clones are the same.
#[derive(Clone)]
pub(super) struct ConnectionLimiter(Arc<Inner>);

struct Inner {
    free: Arc<Semaphore>,
    /// Free slots at which they are scarce.
    scarce: usize,
    unproven: Mutex<Unproven>,
    /// There is somebody to evict again.
    changed: Notify,
}

#[derive(Default)]
struct Unproven {
    /// By connection: when it came or last began a request, and what evicts it.
    all: HashMap<u64, (u64, Arc<Notify>)>,
    /// Numbers connections and requests in the order of time.
    next: u64,
}

impl Unproven {
    fn put(&mut self, id: u64, evict: Arc<Notify>) -> bool {
        self.next += 1;
        self.all.insert(id, (self.next, evict)).is_none()
    }
}

/// One connection's slot, until it goes.
pub(super) struct ConnectionSlot {
    inner: Arc<Inner>,
    id: u64,
    evict: Arc<Notify>,
    _permit: Option<OwnedSemaphorePermit>,
}

impl ConnectionLimiter {
    pub(super) fn new(most: usize) -> Self {
        Self(Arc::new(Inner {
            free: Arc::new(Semaphore::new(most)),
            scarce: most / 4,
            unproven: Mutex::default(),
            changed: Notify::new(),
        }))
    }

    /// A slot, once there is one. `evicted` is called for a connection that is evicted for it.
    pub(super) async fn take(&self, evicted: impl Fn()) -> ConnectionSlot {
        let inner = &self.0;
        let permit = loop {
            let changed = inner.changed.notified();
            let free = inner.free.clone();
            if free.available_permits() == 0 && inner.evict_one() {
                evicted();
                break free.acquire_owned().await;
            }
            tokio::select! {
                biased;
                permit = free.acquire_owned() => break permit,
                () = changed => {}
            }
        };
        let evict = Arc::<Notify>::default();
        let mut unproven = inner.unproven();
        let id = unproven.next;
        unproven.put(id, evict.clone());
        drop(unproven);
        inner.changed.notify_waiters();
        ConnectionSlot {
            inner: inner.clone(),
            id,
            evict,
            // Nobody closes the semaphore.
            _permit: permit.ok(),
        }
    }
}

impl Inner {
    fn unproven(&self) -> MutexGuard<'_, Unproven> {
        self.unproven.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn evict_one(&self) -> bool {
        let mut unproven = self.unproven();
        let oldest = unproven.all.iter().min_by_key(|(_, (last, _))| *last);
        let oldest = oldest.map(|(id, _)| *id);
        let evicted = oldest.and_then(|id| unproven.all.remove(&id));
        evicted.inspect(|(_, evict)| evict.notify_one()).is_some()
    }
}

impl ConnectionSlot {
    /// A request begins; `live` says whether it carries a credential that is. What an earlier one carried counts no
    /// more, for its agent may be revoked; but as long as slots are not scarce nobody asks for a check at each call.
    pub(super) fn asked(&self, live: impl FnOnce() -> bool) {
        if self.inner.free.available_permits() > self.inner.scarce && self.is_proven() {
            return;
        }
        let live = live();
        let mut unproven = self.inner.unproven();
        if live {
            unproven.all.remove(&self.id);
        } else if unproven.put(self.id, self.evict.clone()) {
            drop(unproven);
            self.inner.changed.notify_waiters();
        }
    }

    fn is_proven(&self) -> bool {
        !self.inner.unproven().all.contains_key(&self.id)
    }

    /// Waits until this connection is evicted.
    pub(super) async fn evicted(&self) {
        self.evict.notified().await;
    }
}

impl Drop for ConnectionSlot {
    fn drop(&mut self) {
        self.inner.unproven().all.remove(&self.id);
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

    fn taken(slots: &ConnectionLimiter) -> Option<ConnectionSlot> {
        now(pin!(slots.take(|| {})))
    }

    fn is_evicted(slot: &ConnectionSlot) -> bool {
        now(pin!(slot.evicted())).is_some()
    }

    #[test]
    fn oldest_that_showed_nothing_is_evicted_and_a_known_one_stays() {
        let slots = ConnectionLimiter::new(4);
        let mut all: Vec<_> = (0..4).filter_map(|_| taken(&slots)).collect();
        assert_eq!(all.len(), 4);
        all[0].asked(|| true);
        all[1].asked(|| false);
        let evictions = Cell::new(0);
        // The third and the fourth never spoke, the second did.
        for (n, at) in [(1, 2), (2, 2), (3, 1)] {
            let mut next = pin!(slots.take(|| evictions.set(evictions.get() + 1)));
            assert!(now(next.as_mut()).is_none());
            assert_eq!(evictions.get(), n);
            let leaves = all.remove(at);
            assert!(is_evicted(&leaves), "{n}");
            assert!(all.iter().all(|slot| !is_evicted(slot)), "{n}");
            slots.0.changed.notify_waiters();
            assert!(now(next.as_mut()).is_none());
            assert_eq!(evictions.get(), n, "one is enough");
            drop(leaves);
            let fresh = now(next.as_mut()).expect("its slot");
            assert!(!fresh.is_proven());
            fresh.asked(|| true);
            all.push(fresh);
        }
        let mut next = pin!(slots.take(|| evictions.set(evictions.get() + 1)));
        assert!(now(next.as_mut()).is_none(), "only who is known is left");
        assert_eq!(evictions.get(), 3);
        assert!(all.iter().all(|slot| slot.is_proven() && !is_evicted(slot)));
        drop(all.pop());
        assert!(
            now(next.as_mut()).is_some(),
            "who goes by itself makes room"
        );
    }

    /// It was known once: its latest request says who it is now.
    #[test]
    fn one_that_shows_nothing_any_more_is_evicted_again() {
        let slots = ConnectionLimiter::new(2);
        let (revoked, known) = (taken(&slots).unwrap(), taken(&slots).unwrap());
        for slot in [&revoked, &known] {
            slot.asked(|| true);
        }
        let evictions = Cell::new(0);
        let mut next = pin!(slots.take(|| evictions.set(evictions.get() + 1)));
        assert!(now(next.as_mut()).is_none());
        known.asked(|| true);
        assert!(now(next.as_mut()).is_none());
        assert_eq!(evictions.get(), 0, "the control: both are known");
        revoked.asked(|| false);
        assert!(now(next.as_mut()).is_none());
        assert_eq!(evictions.get(), 1);
        assert!(is_evicted(&revoked) && !is_evicted(&known));
        drop(revoked);
        assert!(now(next.as_mut()).is_some());
    }

    #[test]
    fn known_connection_is_checked_again_only_where_slots_are_scarce() {
        let slots = ConnectionLimiter::new(4);
        let known = taken(&slots).unwrap();
        known.asked(|| true);
        let checked = Cell::new(0);
        let revoked = || {
            checked.set(checked.get() + 1);
            false
        };
        known.asked(revoked);
        assert!(checked.get() == 0 && known.is_proven());
        let unknown = taken(&slots).unwrap();
        unknown.asked(revoked);
        assert_eq!(checked.get(), 1, "the control: who showed nothing yet");
        let _third = taken(&slots).unwrap();
        known.asked(revoked);
        assert!(checked.get() == 2 && !known.is_proven(), "one slot is left");
    }
}
