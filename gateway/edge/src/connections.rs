//! The slots for the connections of one kind of listener, and who is evicted when there are no more.
//!
//! ```text
//! taken ─▶ evictable ─a request with a live credential, whose holder has less than its share─▶ held ─end─▶ gone
//!             │  ▲─────────────one without, while slots are scarce─────────────────────────────┘
//!             └─ no slot is free, and this one's latest request is the oldest ─▶ evicted ─▶ gone
//! ```
//! Invariants: a connection whose latest request carried a live credential is never evicted while its holder has no more
//! than a quarter of the slots, nor one whose earlier request did before it has asked again while less than a quarter
//! is free; nobody holds more than a quarter.
//!
//! Must not know: HTTP; what a credential is.

use plexus_protocol::AgentId;
use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

/// The slots of one kind of listener. Clones are the same.
#[derive(Clone)]
pub(super) struct ConnectionLimiter(Arc<Inner>);

/// Whose live credential a request carries.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Holder {
    Owner,
    Agent(AgentId),
}

struct Inner {
    free: Arc<Semaphore>,
    /// A quarter of the slots: most of one holder, and free slots at which they are scarce.
    quarter: usize,
    slots: Mutex<Slots>,
    /// Numbers connections and requests in the order of time.
    next: AtomicU64,
    /// There is somebody to evict again.
    changed: Notify,
}

#[derive(Default)]
struct Slots {
    evictable: HashMap<u64, Arc<Latest>>,
    /// Whose each other connection is.
    held: HashMap<u64, Holder>,
    /// How many each of them has.
    shares: HashMap<Holder, usize>,
}

/// The state of a connection that is read without the lock of all. Only its own requests write it, one after the other.
#[derive(Default)]
struct Latest {
    /// When it came or last began a request.
    request: AtomicU64,
    is_held: AtomicBool,
    evict: Notify,
}

impl Slots {
    fn let_go(&mut self, id: u64) {
        let Some(holder) = self.held.remove(&id) else {
            return;
        };
        if let Some(count) = self.shares.get_mut(&holder) {
            *count -= 1;
            if *count == 0 {
                self.shares.remove(&holder);
            }
        }
    }

    /// False where the holder has its share already.
    fn hold(&mut self, id: u64, holder: Holder, most: usize) -> bool {
        let count = self.shares.get(&holder).copied().unwrap_or_default();
        if count >= most {
            return false;
        }
        self.evictable.remove(&id);
        self.shares.insert(holder.clone(), count + 1);
        self.held.insert(id, holder);
        true
    }
}

/// One connection's slot, until it goes.
pub(super) struct ConnectionSlot {
    inner: Arc<Inner>,
    id: u64,
    latest: Arc<Latest>,
    _permit: Option<OwnedSemaphorePermit>,
}

impl ConnectionLimiter {
    pub(super) fn new(most: usize) -> Self {
        Self(Arc::new(Inner {
            free: Arc::new(Semaphore::new(most)),
            quarter: (most / 4).max(1),
            slots: Mutex::default(),
            next: AtomicU64::default(),
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
        let (id, latest) = (inner.next(), Arc::<Latest>::default());
        latest.request.store(id, Relaxed);
        inner.slots().evictable.insert(id, latest.clone());
        inner.changed.notify_waiters();
        ConnectionSlot {
            inner: inner.clone(),
            id,
            latest,
            // Nobody closes the semaphore.
            _permit: permit.ok(),
        }
    }
}

impl Inner {
    fn slots(&self) -> MutexGuard<'_, Slots> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn next(&self) -> u64 {
        self.next.fetch_add(1, Relaxed)
    }

    fn evict_one(&self) -> bool {
        let mut slots = self.slots();
        let evictable = slots.evictable.iter();
        let oldest = evictable.min_by_key(|(_, latest)| latest.request.load(Relaxed));
        let oldest = oldest.map(|(id, _)| *id);
        let evicted = oldest.and_then(|id| slots.evictable.remove(&id));
        evicted
            .inspect(|latest| latest.evict.notify_one())
            .is_some()
    }
}

impl ConnectionSlot {
    /// A request begins; `live` says whose live credential it carries. What an earlier one carried counts no more, for
    /// its agent may be revoked; but as long as slots are not scarce nobody asks for a check at each call.
    pub(super) fn asked(&self, live: impl FnOnce() -> Option<Holder>) {
        if self.inner.free.available_permits() > self.inner.quarter && self.is_held() {
            return;
        }
        let live = live();
        self.latest.request.store(self.inner.next(), Relaxed);
        if live.is_none() && !self.is_held() {
            return;
        }
        let mut slots = self.inner.slots();
        slots.let_go(self.id);
        let is_held = live.is_some_and(|holder| slots.hold(self.id, holder, self.inner.quarter));
        self.latest.is_held.store(is_held, Relaxed);
        if !is_held
            && slots
                .evictable
                .insert(self.id, self.latest.clone())
                .is_none()
        {
            drop(slots);
            self.inner.changed.notify_waiters();
        }
    }

    fn is_held(&self) -> bool {
        self.latest.is_held.load(Relaxed)
    }

    /// Waits until this connection is evicted.
    pub(super) async fn evicted(&self) {
        self.latest.evict.notified().await;
    }
}

impl Drop for ConnectionSlot {
    fn drop(&mut self) {
        let mut slots = self.inner.slots();
        slots.evictable.remove(&self.id);
        slots.let_go(self.id);
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

    fn agent(id: &str) -> Option<Holder> {
        AgentId::parse(id).ok().map(Holder::Agent)
    }

    fn is_evicted(slot: &ConnectionSlot) -> bool {
        now(pin!(slot.evicted())).is_some()
    }

    #[test]
    fn oldest_that_showed_nothing_is_evicted_and_a_known_one_stays() {
        let slots = ConnectionLimiter::new(4);
        let mut all: Vec<_> = (0..4).filter_map(|_| taken(&slots)).collect();
        assert_eq!(all.len(), 4);
        all[0].asked(|| agent("first"));
        all[1].asked(|| None);
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
            assert!(!fresh.is_held());
            fresh.asked(|| agent(&format!("fresh-{n}")));
            all.push(fresh);
        }
        let mut next = pin!(slots.take(|| evictions.set(evictions.get() + 1)));
        assert!(now(next.as_mut()).is_none(), "only who is known is left");
        assert_eq!(evictions.get(), 3);
        assert!(all.iter().all(|slot| slot.is_held() && !is_evicted(slot)));
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
        revoked.asked(|| agent("one"));
        known.asked(|| agent("two"));
        let evictions = Cell::new(0);
        let mut next = pin!(slots.take(|| evictions.set(evictions.get() + 1)));
        assert!(now(next.as_mut()).is_none());
        known.asked(|| agent("two"));
        assert!(now(next.as_mut()).is_none());
        assert_eq!(evictions.get(), 0, "the control: both are known");
        revoked.asked(|| None);
        assert!(now(next.as_mut()).is_none());
        assert_eq!(evictions.get(), 1);
        assert!(is_evicted(&revoked) && !is_evicted(&known));
        drop(revoked);
        assert!(now(next.as_mut()).is_some());
    }

    #[test]
    fn what_one_agent_has_beyond_its_share_makes_room() {
        let slots = ConnectionLimiter::new(8);
        let all: Vec<_> = (0..8).filter_map(|_| taken(&slots)).collect();
        for slot in &all {
            slot.asked(|| agent("greedy"));
        }
        let held = || all.iter().filter(|slot| slot.is_held()).count();
        assert_eq!(held(), 2);
        let mut next = pin!(slots.take(|| {}));
        assert!(now(next.as_mut()).is_none());
        assert!(is_evicted(&all[2]), "the first beyond its share");
        all[7].asked(|| None);
        all[0].asked(|| None);
        assert_eq!(held(), 1, "its share has room again");
        all[7].asked(|| agent("greedy"));
        assert_eq!(held(), 2);
    }

    #[test]
    fn known_connection_is_checked_again_only_where_slots_are_scarce() {
        let slots = ConnectionLimiter::new(4);
        let known = taken(&slots).unwrap();
        known.asked(|| agent("one"));
        let checked = Cell::new(0);
        let revoked = || {
            checked.set(checked.get() + 1);
            None
        };
        known.asked(revoked);
        assert!(checked.get() == 0 && known.is_held());
        let unknown = taken(&slots).unwrap();
        unknown.asked(revoked);
        assert_eq!(checked.get(), 1, "the control: who showed nothing yet");
        let _third = taken(&slots).unwrap();
        known.asked(revoked);
        assert!(checked.get() == 2 && !known.is_held(), "one slot is left");
    }
}
