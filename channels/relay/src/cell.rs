//! [`Cell`]: one subject in memory: its fold, and the way of its next act to disk.
//!
//! ```text
//! loaded ──act decided, applied, queued──▶ ahead of the disk ──durable──▶ answered, pushed
//!   │                                           ├──another relay's act came first──▶ ended: overtaken; decided again
//!   │                                           └──perhaps not durable──▶ ended: left; the next caller loads another
//!   └──an act of another relay, in its turn──▶ followed
//! ```
//! Acts are decided one after the other on what the one before left, and queued in that order, without waiting for the disk:
//! callers of one channel share flushes.
//!
//! Invariants: nobody is answered, with success or refusal, from a fold that is ahead of the disk, before the disk has
//! caught up; a push leaves after its act is durable, in the order of the acts; of an act that may be durable or not its
//! readers are told by the end of their connections.

use crate::refusal::Refusal;
use crate::store::{Append, Outcome, Rows, Snapshot, Store, StoreError, Subject};
use plexus_channels::Id;
use plexus_channels::crypto::random;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::watch;

/// Bits of an act's number in its id, between the moment and the random bits.
const NUMBER_BITS: u32 = 40;
/// Acts that a load reads at once.
const CHUNK: usize = 1_024;

/// What acts add up to.
pub(crate) trait Fold: Default + Serialize + DeserializeOwned + Send + 'static {
    type Act: Serialize + DeserializeOwned;
    /// After how many acts a snapshot is worth its bytes.
    const SNAPSHOT_EVERY: u64;

    /// Takes an act that was decided. `number` is its place in the subject.
    fn apply(&mut self, id: Id, number: u64, act: &Self::Act);
}

/// How far a cell is on disk, and whether it is over.
#[derive(Clone, Copy, Debug)]
struct Progress {
    /// The number of the last act on disk.
    durable: u64,
    end: Option<End>,
}

/// Why a cell is over.
#[derive(Clone, Copy, Debug)]
enum End {
    /// Acts ahead of the disk lost to one that came before them.
    Overtaken,
    /// It is not known whether acts ahead of the disk are there.
    Failed,
}

struct Inner<F> {
    fold: F,
    /// The number of the last act, on disk or on its way.
    number: u64,
    last: Id,
    snapshot: u64,
}

/// What is run when an act is durable, or when that is not known.
pub(crate) type Settled = Box<dyn FnOnce(Outcome) + Send>;

/// A subject in memory.
pub(crate) struct Cell<F> {
    subject: Subject,
    inner: Mutex<Inner<F>>,
    progress: watch::Sender<Progress>,
}

impl<F: Fold> Cell<F> {
    /// Reads a subject; a fold of nothing where there is none.
    pub(crate) fn load(store: &dyn Store, subject: Subject) -> Result<Self, StoreError> {
        let mut inner = Inner {
            fold: F::default(),
            number: 0,
            last: Id::ZERO,
            snapshot: 0,
        };
        if let Some((number, bytes)) = store.snapshot(subject)? {
            let damaged = |why| StoreError(format!("{subject:?}: {why}"));
            let (last, fold) = rmp_serde::from_slice(&bytes).map_err(damaged)?;
            inner = Inner {
                fold,
                number,
                last,
                snapshot: number,
            };
        }
        inner.read_on(store, subject)?;
        let (progress, _) = watch::channel(Progress {
            durable: inner.number,
            end: None,
        });
        Ok(Self {
            subject,
            inner: Mutex::new(inner),
            progress,
        })
    }

    /// Reads acts that came while the cell was loaded. Only for one that nobody else has.
    pub(crate) fn read_on(&mut self, store: &dyn Store) -> Result<(), StoreError> {
        let subject = self.subject;
        let inner = self.inner.get_mut().unwrap_or_else(PoisonError::into_inner);
        inner.read_on(store, subject)?;
        let durable = inner.number;
        self.progress
            .send_modify(|progress| progress.durable = durable);
        Ok(())
    }

    /// Takes an act that another relay appended, and shows the fold with it; none where this cell cannot go on with it.
    pub(crate) fn follow<T>(
        &self,
        (number, id): (u64, Id),
        act: &F::Act,
        look: impl FnOnce(&F) -> T,
    ) -> Option<(T, Option<Snapshot>)> {
        let mut inner = self.lock();
        let Progress { durable, end } = *self.progress.borrow();
        if end.is_some() {
            return None;
        }
        // It was loaded with the act.
        if durable >= number {
            return Some((look(&inner.fold), None));
        }
        if inner.number + 1 != number || durable != inner.number {
            self.end(End::Overtaken);
            return None;
        }
        let snapshot = self.snapshot_due(&mut inner);
        inner.fold.apply(id, number, act);
        (inner.number, inner.last) = (number, id);
        self.progress
            .send_modify(|progress| progress.durable = number);
        Some((look(&inner.fold), snapshot))
    }

    /// Whether there was ever an act, on disk or on its way.
    pub(crate) fn exists(&self) -> bool {
        self.lock().number > 0
    }

    /// Whether an append has failed, or was overtaken.
    pub(crate) fn is_over(&self) -> bool {
        self.progress.borrow().end.is_some()
    }

    /// The first reason stays.
    fn end(&self, end: End) {
        self.progress.send_modify(|progress| {
            progress.end.get_or_insert(end);
        });
    }

    /// Looks at the fold, and answers when all that it shows is on disk.
    pub(crate) async fn read<T>(
        &self,
        look: impl FnOnce(&F) -> Result<T, Refusal>,
    ) -> Result<T, Refusal> {
        let (found, number) = {
            let inner = self.lock();
            (look(&inner.fold), inner.number)
        };
        self.caught_up(number).await?;
        found
    }

    /// Looks at the fold as it is, ahead of the disk or not.
    pub(crate) fn peek<T>(&self, look: impl FnOnce(&F) -> T) -> T {
        look(&self.lock().fold)
    }

    /// Decides on an act, and answers when it is on disk; where nothing has to happen, when all that this rests on is.
    ///
    /// `decide` gets the id that the act will have. `answer` sees the fold after the act, and the act; what it returns beside
    /// the answer is run from the store's thread once the append is over. The answer comes with whether there was an act.
    pub(crate) async fn act<T>(
        self: &Arc<Self>,
        store: &dyn Store,
        now: u64,
        decide: impl FnOnce(&F, Id) -> Result<Option<(F::Act, Rows)>, Refusal>,
        answer: impl FnOnce(&F, Id, Option<&F::Act>) -> (T, Settled),
    ) -> Result<(bool, T), Refusal> {
        let decided = {
            let mut inner = self.lock();
            if let Some(end) = self.progress.borrow().end {
                return Err(end.refusal());
            }
            let number = inner.number + 1;
            let id = next_id(inner.last, number, now);
            match decide(&inner.fold, id) {
                Err(refusal) => Err((refusal, inner.number)),
                Ok(None) => {
                    let (answer, _) = answer(&inner.fold, id, None);
                    Ok((false, answer, inner.number))
                }
                Ok(Some((act, rows))) => {
                    let bytes = encode(id, &act);
                    let snapshot = self.snapshot_due(&mut inner);
                    let expected = inner.number;
                    inner.fold.apply(id, number, &act);
                    (inner.number, inner.last) = (number, id);
                    let (answer, settled) = answer(&inner.fold, id, Some(&act));
                    let cell = Arc::clone(self);
                    let append = Append {
                        subject: self.subject,
                        expected,
                        act: bytes,
                        rows,
                        snapshot,
                        then: Box::new(move |outcome| {
                            settled(outcome);
                            match outcome {
                                Outcome::Durable => cell.progress.send_modify(|progress| {
                                    progress.durable = number;
                                }),
                                Outcome::Behind => cell.end(End::Overtaken),
                                Outcome::Unknown => cell.end(End::Failed),
                            }
                        }),
                    };
                    if store.append(append).is_err() {
                        // The fold is ahead for good: what comes next has to be decided on another one.
                        self.end(End::Failed);
                        return Err(Refusal::rate_limited(1));
                    }
                    Ok((true, answer, number))
                }
            }
        };
        match decided {
            Ok((acted, answer, number)) => {
                self.caught_up(number).await?;
                Ok((acted, answer))
            }
            Err((refusal, number)) => {
                self.caught_up(number).await?;
                Err(refusal)
            }
        }
    }

    /// The fold before the next act, when it is time for a snapshot.
    fn snapshot_due(&self, inner: &mut Inner<F>) -> Option<(u64, Vec<u8>)> {
        if inner.number - inner.snapshot < F::SNAPSHOT_EVERY {
            return None;
        }
        inner.snapshot = inner.number;
        let fold = rmp_serde::to_vec(&(inner.last, &inner.fold));
        Some((inner.number, fold.ok()?))
    }

    async fn caught_up(&self, number: u64) -> Result<(), Refusal> {
        let mut progress = self.progress.subscribe();
        let reached = progress.wait_for(|now| now.durable >= number || now.end.is_some());
        let reached = *reached.await.map_err(|_| Refusal::unavailable())?;
        match reached.end {
            Some(end) if reached.durable < number => Err(end.refusal()),
            _ => Ok(()),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner<F>> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<F: Fold> Inner<F> {
    fn read_on(&mut self, store: &dyn Store, subject: Subject) -> Result<(), StoreError> {
        loop {
            let acts = store.acts(subject, (self.number + 1, u64::MAX), CHUNK, false)?;
            if acts.is_empty() {
                return Ok(());
            }
            for (number, bytes) in acts {
                let act = decode::<F::Act>(&bytes);
                let (id, act) =
                    act.ok_or_else(|| StoreError(format!("{subject:?}: {number} is damaged")))?;
                self.fold.apply(id, number, &act);
                (self.number, self.last) = (number, id);
            }
        }
    }
}

impl End {
    const fn refusal(self) -> Refusal {
        match self {
            Self::Overtaken => Refusal::overtaken(),
            Self::Failed => Refusal::unavailable(),
        }
    }
}

/// An id above the last one, whatever the clock says: the later of both moments, the act's number, random bits.
fn next_id(last: Id, number: u64, now: u64) -> Id {
    let millis = now.max(last.millis());
    let number = u128::from(number) & ((1 << NUMBER_BITS) - 1);
    let random = u128::from_be_bytes(random()) & ((1 << NUMBER_BITS) - 1);
    Id::from_parts(millis, number << NUMBER_BITS | random)
}

/// The number of the act that has this id, if it is the id of an act.
pub(crate) const fn number_of(id: Id) -> u64 {
    (id.low() >> NUMBER_BITS) as u64
}

/// An act as it is stored: its id, and its fields as MessagePack.
fn encode(id: Id, act: &impl Serialize) -> Vec<u8> {
    let mut bytes = id.to_bytes().to_vec();
    rmp_serde::encode::write(&mut bytes, act).expect("acts are numbers, strings and bytes");
    bytes
}

/// The id of a stored act.
pub(crate) fn id_of(bytes: &[u8]) -> Option<Id> {
    Some(Id::from_bytes(*bytes.first_chunk()?))
}

/// A stored act.
pub(crate) fn decode<A: DeserializeOwned>(bytes: &[u8]) -> Option<(Id, A)> {
    let (id, act) = bytes.split_first_chunk::<16>()?;
    Some((Id::from_bytes(*id), rmp_serde::from_slice(act).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Full;
    use futures_util::FutureExt as _;
    use plexus_channels::wire::Code;
    use proptest::prelude::*;
    use serde::Deserialize;
    use std::pin::pin;
    use std::sync::atomic::{AtomicU64, Ordering};

    #[derive(Default, Serialize, Deserialize)]
    struct Sum(u64);

    impl Fold for Sum {
        type Act = u64;
        const SNAPSHOT_EVERY: u64 = 2;

        fn apply(&mut self, _: Id, _: u64, act: &u64) {
            self.0 += act;
        }
    }

    /// A disk that takes what it was given when it is told to.
    #[derive(Default)]
    struct Slow(Mutex<Vec<Append>>);

    impl Slow {
        fn settle(&self, outcome: Outcome) -> Vec<Option<Snapshot>> {
            let appends: Vec<Append> = self.0.lock().expect("no panic").drain(..).collect();
            let settled = appends.into_iter().map(|append| {
                (append.then)(outcome);
                append.snapshot
            });
            settled.collect()
        }
    }

    impl Store for Slow {
        fn append(&self, append: Append) -> Result<(), Full> {
            let mut queue = self.0.lock().expect("no panic");
            if queue.len() == 3 {
                return Err(Full);
            }
            queue.push(append);
            Ok(())
        }
        fn acts(
            &self,
            _: Subject,
            _: (u64, u64),
            _: usize,
            _: bool,
        ) -> Result<Vec<(u64, Vec<u8>)>, StoreError> {
            Ok(Vec::new())
        }
        fn snapshot(&self, _: Subject) -> Result<Option<Snapshot>, StoreError> {
            Ok(None)
        }
        fn row(&self, _: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
            Ok(None)
        }
        fn row_keys(&self, _: &[u8], _: usize) -> Result<Vec<Vec<u8>>, StoreError> {
            Ok(Vec::new())
        }
    }

    fn cell() -> (Slow, Arc<Cell<Sum>>) {
        let store = Slow::default();
        let cell = Cell::load(&store, Subject::Channel(Id::ZERO)).expect("loads");
        (store, Arc::new(cell))
    }

    async fn add(
        store: &Slow,
        cell: &Arc<Cell<Sum>>,
        act: Option<u64>,
        pushed: &Arc<AtomicU64>,
    ) -> Result<(bool, u64), Refusal> {
        let pushed = Arc::clone(pushed);
        let decide = |_: &Sum, _: Id| Ok(act.map(|act| (act, Rows::new())));
        let answer = |sum: &Sum, _: Id, _: Option<&u64>| {
            let sum = sum.0;
            let push = move |outcome| {
                let shown = if outcome == Outcome::Durable { sum } else { 99 };
                pushed.store(shown, Ordering::Relaxed);
            };
            (sum, Box::new(push) as Settled)
        };
        cell.act(store, 1, decide, answer).await
    }

    #[tokio::test]
    async fn nobody_is_answered_before_the_disk_has_caught_up() {
        let ((store, cell), pushed) = (cell(), Arc::default());
        let mut first = pin!(add(&store, &cell, Some(1), &pushed));
        let mut second = pin!(add(&store, &cell, Some(2), &pushed));
        assert!(first.as_mut().now_or_never().is_none());
        assert!(second.as_mut().now_or_never().is_none());
        let mut read = pin!(cell.read(|sum| Ok(sum.0)));
        let mut refusal = pin!(cell.read(|_| Err::<(), _>(Refusal::not_found())));
        let mut nothing = pin!(add(&store, &cell, None, &pushed));
        assert!(read.as_mut().now_or_never().is_none());
        assert!(refusal.as_mut().now_or_never().is_none());
        assert!(nothing.as_mut().now_or_never().is_none());
        assert_eq!(pushed.load(Ordering::Relaxed), 0);
        store.settle(Outcome::Durable);
        assert_eq!(first.await.ok(), Some((true, 1)));
        assert_eq!(second.await.ok(), Some((true, 3)));
        assert_eq!(read.await.ok(), Some(3));
        assert_eq!(refusal.await.err().map(|r| r.code()), Some(Code::NotFound));
        assert_eq!(nothing.await.ok(), Some((false, 3)));
        assert_eq!(pushed.load(Ordering::Relaxed), 3);
        // The next act carries a snapshot of what was before it.
        let mut third = pin!(add(&store, &cell, Some(4), &pushed));
        assert!(third.as_mut().now_or_never().is_none());
        let snapshots = store.settle(Outcome::Durable);
        let (number, fold) = snapshots[0].clone().expect("a snapshot");
        let (_, sum): (Id, Sum) = rmp_serde::from_slice(&fold).expect("a fold");
        assert_eq!((number, sum.0), (2, 3));
        assert!(third.await.is_ok());
    }

    #[tokio::test]
    async fn failed_or_refused_append_breaks_the_cell() {
        for full in [false, true] {
            let ((store, cell), pushed) = (cell(), Arc::default());
            let mut first = pin!(add(&store, &cell, Some(1), &pushed));
            assert!(first.as_mut().now_or_never().is_none());
            if full {
                let mut others = [2, 3].map(|n| Box::pin(add(&store, &cell, Some(n), &pushed)));
                for other in &mut others {
                    assert!(other.now_or_never().is_none());
                }
                let refused = add(&store, &cell, Some(4), &pushed).await;
                assert_eq!(refused.err().map(|r| r.code()), Some(Code::RateLimited));
            } else {
                store.settle(Outcome::Unknown);
            }
            assert!(cell.is_over());
            for refused in [first.await, add(&store, &cell, Some(5), &pushed).await] {
                assert_eq!(refused.err().map(|r| r.code()), Some(Code::Unavailable));
            }
            assert_eq!(
                cell.read(|sum| Ok(sum.0)).await.err().map(|r| r.code()),
                Some(Code::Unavailable)
            );
            // What is taken after all is pushed; of what is not, the readers are told.
            store.settle(if full {
                Outcome::Durable
            } else {
                Outcome::Unknown
            });
            assert_eq!(pushed.load(Ordering::Relaxed), if full { 6 } else { 99 });
            assert!(cell.is_over());
        }
    }

    #[tokio::test]
    async fn act_of_another_relay_overtakes_what_is_ahead_of_it() {
        let ((store, cell), pushed) = (cell(), Arc::default());
        let follow = |number, act| cell.follow((number, Id::generate()), &act, |sum| sum.0);
        assert_eq!(follow(1, 5), Some((5, None)));
        assert_eq!(follow(1, 5), Some((5, None)), "it is there already");
        assert_eq!(cell.read(|sum| Ok(sum.0)).await.ok(), Some(5));
        // The second act here and the second act there: theirs is in the log.
        let mut own = pin!(add(&store, &cell, Some(1), &pushed));
        assert!(own.as_mut().now_or_never().is_none());
        assert_eq!(follow(2, 7), None);
        store.settle(Outcome::Behind);
        assert!(own.await.is_err_and(|refusal| refusal.is_overtaken()));
        assert!(cell.is_over());
    }

    #[tokio::test]
    async fn durable_act_is_answered_although_the_next_is_overtaken() {
        let ((store, cell), pushed) = (cell(), Arc::default());
        let mut first = pin!(add(&store, &cell, Some(1), &pushed));
        let mut second = pin!(add(&store, &cell, Some(2), &pushed));
        assert!(first.as_mut().now_or_never().is_none());
        assert!(second.as_mut().now_or_never().is_none());
        let mut appends = store
            .0
            .lock()
            .expect("no panic")
            .drain(..)
            .collect::<Vec<_>>();
        let (last, begun) = (appends.pop().expect("two"), appends.pop().expect("two"));
        (begun.then)(Outcome::Durable);
        (last.then)(Outcome::Behind);
        assert_eq!(first.await.ok(), Some((true, 1)));
        assert!(second.await.is_err_and(|refusal| refusal.is_overtaken()));
    }

    proptest! {
        #[test]
        fn ids_rise_whatever_the_clock_says(clock in prop::collection::vec(0_u64..1 << 47, 1..50)) {
            let mut last = Id::ZERO;
            for (number, now) in (1_u64..).zip(clock) {
                let id = next_id(last, number, now);
                prop_assert!(id > last);
                prop_assert_eq!(number_of(id), number);
                prop_assert!(id.millis() >= now);
                last = id;
            }
        }
    }
}
