//! The places for connections: how many there may be, and whose they are.
//!
//! ```text
//! accepted ─▶ stranger ─its credential─▶ holds a place of that credential's share ─end─▶ gone
//!                └─ there are more strangers than may be: the oldest ─▶ closed
//! ```
//! Invariants: accepting waits for nobody; no credential takes from the share of another; a connection counts for the
//! credential of its latest request.
//!
//! Must not know: HTTP; what a credential is.

use plexus_ipc::{
    egress::{AuditId, limits},
    message::Role,
};
use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::{
    sync::{Notify, OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

/// Connections that have shown no credential yet.
const STRANGERS: usize = limits::STRANGERS;
/// Connections of one credential.
const SHARE: usize = limits::SHARE;
/// Connections of all credentials.
const ALL: usize = limits::CONNECTIONS;
/// How long one beyond its share waits until another of the same credential ends.
const WAIT: Duration = Duration::from_secs(10);

/// Holder credential it is: a role's own, or that of one call.
pub(crate) type Holder = (Role, Option<AuditId>);

/// See the module.
#[derive(Debug)]
pub(crate) struct Places {
    all: Arc<Semaphore>,
    shares: Mutex<HashMap<Holder, Arc<Semaphore>>>,
    strangers: Mutex<Strangers>,
}

#[derive(Debug, Default)]
struct Strangers {
    /// By number, which grows: what closes the connection.
    all: BTreeMap<u64, Arc<Notify>>,
    next: u64,
}

/// One connection's, until it is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    places: Arc<Places>,
    id: u64,
    close: Arc<Notify>,
    held: Mutex<Option<(Holder, [OwnedSemaphorePermit; 2])>>,
}

impl Places {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            all: Arc::new(Semaphore::new(ALL)),
            shares: Mutex::default(),
            strangers: Mutex::default(),
        })
    }

    /// A connection that was accepted just now.
    pub(crate) fn arrive(self: &Arc<Self>) -> Place {
        let close = Arc::<Notify>::default();
        let mut strangers = locked(&self.strangers);
        let id = strangers.next;
        strangers.next += 1;
        strangers.all.insert(id, Arc::clone(&close));
        if strangers.all.len() > STRANGERS
            && let Some((_, oldest)) = strangers.all.pop_first()
        {
            oldest.notify_one();
        }
        drop(strangers);
        Place {
            places: Arc::clone(self),
            id,
            close,
            held: Mutex::default(),
        }
    }

    async fn take(&self, whose: &Holder) -> Option<[OwnedSemaphorePermit; 2]> {
        let share = {
            let mut shares = locked(&self.shares);
            // Those of which no place is held or waited for.
            shares.retain(|_, share| Arc::strong_count(share) > 1);
            let share = shares.entry(whose.clone());
            let share = share.or_insert_with(|| Arc::new(Semaphore::new(SHARE)));
            Arc::clone(share)
        };
        let own = share.acquire_owned().await.ok()?;
        let one = Arc::clone(&self.all).acquire_owned().await.ok()?;
        Some([own, one])
    }
}

impl Place {
    /// Counts the connection for `whose`; false where that one's share has been used up for ten seconds.
    pub(crate) async fn is_had_by(&self, whose: Holder) -> bool {
        {
            let mut held = locked(&self.held);
            if held.as_ref().is_some_and(|(of, _)| *of == whose) {
                return true;
            }
            *held = None;
        }
        let Ok(Some(permits)) = timeout(WAIT, self.places.take(&whose)).await else {
            return false;
        };
        locked(&self.places.strangers).all.remove(&self.id);
        *locked(&self.held) = Some((whose, permits));
        true
    }

    /// Waits until the connection is to be closed, because there are too many strangers.
    pub(crate) async fn closed(&self) {
        self.close.notified().await;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        locked(&self.places.strangers).all.remove(&self.id);
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        pin::pin,
        task::{Context, Poll, Waker},
    };

    fn call(n: usize) -> Holder {
        let id = AuditId::parse(&format!("evt_01234567-89ab-8def-8123-{n:012x}"));
        (Role::Writer, Some(id.unwrap()))
    }

    #[tokio::test(start_paused = true)]
    async fn one_credential_takes_nothing_from_another() {
        let places = Places::new();
        let mut greedy = Vec::new();
        for _ in 0..SHARE {
            let place = places.arrive();
            assert!(place.is_had_by(call(1)).await);
            assert!(place.is_had_by(call(1)).await, "its next request");
            greedy.push(place);
        }
        assert!(!places.arrive().is_had_by(call(1)).await, "the control");
        let other = places.arrive();
        assert!(other.is_had_by(call(2)).await);
        assert!(
            places.arrive().is_had_by((Role::Writer, None)).await,
            "the worker's own"
        );
        let next = places.arrive();
        let mut waits = pin!(next.is_had_by(call(1)));
        let mut context = Context::from_waker(Waker::noop());
        assert!(waits.as_mut().poll(&mut context).is_pending());
        drop(greedy.pop());
        assert_eq!(waits.as_mut().poll(&mut context), Poll::Ready(true));
    }

    #[tokio::test(start_paused = true)]
    async fn oldest_stranger_makes_room_and_no_other() {
        let places = Places::new();
        let known = places.arrive();
        assert!(known.is_had_by(call(1)).await);
        let strangers: Vec<_> = (0..=STRANGERS).map(|_| places.arrive()).collect();
        let is_closed = async |place: &Place| timeout(Duration::ZERO, place.closed()).await.is_ok();
        assert!(is_closed(&strangers[0]).await);
        assert!(!is_closed(&known).await);
        for place in &strangers[1..] {
            assert!(!is_closed(place).await);
        }
        drop(strangers);
        let _few: Vec<_> = (0..STRANGERS).map(|_| places.arrive()).collect();
        assert!(!is_closed(&places.arrive()).await, "the control: a new one");
    }

    #[tokio::test]
    async fn share_that_nobody_holds_is_forgotten() {
        let places = Places::new();
        for n in 0..100 {
            assert!(places.arrive().is_had_by(call(n)).await);
        }
        assert!(locked(&places.shares).len() <= 1);
    }
}
