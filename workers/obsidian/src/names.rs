//! [`Names`]: the index of a vault's file names, kept from call to call. Nothing watches the vault: the cage has no
//! inotify, and a watch would have to be trusted.
//!
//! ```text
//! none ──first walk, waited for──▶ fresh ──1 s──▶ ageing: served, a walk begins beside ──2 s──▶ old: waited for
//!                                    ▲                                │                               │
//!                                    └───────────── the walk ends ────┴───────────────────────────────┘
//! ```
//! What is promised:
//! - [`Names::recent`] is at most 2 s behind the vault, or eight walks' time where a walk takes more than a quarter of a
//!   second. While reads come in, no read waits: walks begin early enough. The first read waits, and the first after a
//!   pause; given a patience it takes the old index after that, marked so.
//! - [`Names::renewed`] is from a walk that began after the call did: what was in the vault before the call is in it. A
//!   name that is not found, or is found but gone, is asked for there.
//! - One walk at a time, for all callers. It rests three times as long as it took, one second at most, so misses cost at
//!   most a quarter of a core.
//! - At most 200,000 entries and 32 MiB of paths are kept; what lies beyond has no name, only a path. Twice that for the
//!   time of a walk.
//!
//! A walk has a thread of its own, so that readers who wait on all file threads cannot keep it from running.
//!
//! Must not know: rules. The index has every name; the code that takes one out judges it.

use std::{
    fmt,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use plexus_rooted_files::FileError;

use crate::{NoteIndex, VaultError};

/// An index of this age is renewed while it is used.
const RENEW_AFTER: Duration = Duration::from_secs(1);
/// An index of this age is not used, unless patience ends.
const OLD_AFTER: Duration = Duration::from_secs(2);
/// The same two ages, in times of a walk, where that is more: a vault of slow walks is not walked all the time.
const RENEW_WALKS: u32 = 4;
const OLD_WALKS: u32 = 8;
/// How long no walk begins after one, in times of that one, and at most.
const REST_WALKS: u32 = 3;
const MAX_REST: Duration = Duration::from_secs(1);

/// How soon one who waits for a walk notices that nobody waits for the answer any more.
const ASK_AGAIN: Duration = Duration::from_millis(50);

/// The index and who renews it. Clones are the same.
#[derive(Clone)]
pub(crate) struct Names(Arc<Shared>);

/// What makes an index.
type Walk = dyn Fn() -> Result<NoteIndex, FileError> + Send + Sync;

struct Shared {
    walk: Box<Walk>,
    state: Mutex<State>,
    /// A walk ended.
    ended: Condvar,
}

#[derive(Default)]
struct State {
    kept: Option<CachedIndex>,
    /// Walks begun and ended, ever. One more begun than ended: one is under way.
    begun: u64,
    ended: u64,
    /// Why the last walk gave no index, if it gave none.
    failure: Option<Failure>,
    /// Until when the last walk rests.
    rests_until: Option<Instant>,
}

struct CachedIndex {
    index: Arc<NoteIndex>,
    begun: Instant,
    took: Duration,
}

impl CachedIndex {
    fn is_ageing(&self, age: Duration) -> bool {
        age > RENEW_AFTER.max(self.took * RENEW_WALKS)
    }
    fn is_old(&self, age: Duration) -> bool {
        age > OLD_AFTER.max(self.took * OLD_WALKS)
    }
}

#[derive(Clone)]
enum Failure {
    File(FileError),
    Broken,
}

/// An index, and whether it is older than promised.
pub(crate) struct Recent {
    pub(crate) index: Arc<NoteIndex>,
    pub(crate) is_old: bool,
}

impl Names {
    /// Names that `walk` gathers, when they are first needed.
    pub(crate) fn new(
        walk: impl Fn() -> Result<NoteIndex, FileError> + Send + Sync + 'static,
    ) -> Self {
        Self(Arc::new(Shared {
            walk: Box::new(walk),
            state: Mutex::default(),
            ended: Condvar::new(),
        }))
    }

    /// The index as it is, or a new one if it is old at `now`. With `patience` a walk is not waited for longer than that
    /// when there is an old index to take instead.
    ///
    /// # Errors
    /// Those of the walk, if one was waited for; [`FileError::Over`] soon after `is_over` says that nobody waits.
    pub(crate) fn recent(
        &self,
        now: Instant,
        patience: Option<Duration>,
        is_over: &dyn Fn() -> bool,
    ) -> Result<Recent, VaultError> {
        let mut state = self.lock();
        // One that is under way will do; so the count is taken before one is begun here.
        let wanted = state.ended + 1;
        let mut old = None;
        if let Some(kept) = &state.kept {
            let age = now.saturating_duration_since(kept.begun);
            let index = Arc::clone(&kept.index);
            let is_old = kept.is_old(age);
            if kept.is_ageing(age) && state.may_begin(now) {
                state = self.begin(state);
            }
            if !is_old {
                return Ok(Recent { index, is_old });
            }
            old = Some(index);
        }
        match (
            self.wait(state, wanted, patience.filter(|_| old.is_some()), is_over),
            old,
        ) {
            (Some(index), _) => Ok(Recent {
                index: index?,
                is_old: false,
            }),
            (None, Some(index)) => Ok(Recent {
                index,
                is_old: true,
            }),
            (None, None) => Err(VaultError::WalkBroken),
        }
    }

    /// The index as it is, where [`Names::recent`] would give it out at once and begin no walk.
    pub(crate) fn at_hand(&self, now: Instant) -> Option<Recent> {
        let state = self.lock();
        let kept = state.kept.as_ref()?;
        let age = now.saturating_duration_since(kept.begun);
        let may_begin = kept.is_ageing(age) && state.may_begin(now);
        (!kept.is_old(age) && !may_begin).then(|| Recent {
            index: Arc::clone(&kept.index),
            is_old: false,
        })
    }

    /// An index of the vault as it is now or later.
    pub(crate) fn renewed(&self, is_over: &dyn Fn() -> bool) -> Result<Arc<NoteIndex>, VaultError> {
        let state = self.lock();
        // One that is under way may have passed the place already.
        let wanted = state.begun + 1;
        self.wait(state, wanted, None, is_over)
            .unwrap_or(Err(VaultError::WalkBroken))
    }

    /// Waits until as many walks have ended, or `is_over`, beginning them as rest allows. `None`: the patience ended first.
    fn wait<'a>(
        &'a self,
        mut state: MutexGuard<'a, State>,
        wanted: u64,
        patience: Option<Duration>,
        is_over: &dyn Fn() -> bool,
    ) -> Option<Result<Arc<NoteIndex>, VaultError>> {
        let until = patience.map(|patience| Instant::now() + patience);
        while state.ended < wanted {
            if is_over() {
                return Some(Err(FileError::Over.into()));
            }
            let now = Instant::now();
            if until.is_some_and(|until| until <= now) {
                return None;
            }
            if state.may_begin(now) {
                state = self.begin(state);
                continue;
            }
            let rest = state.rests_until.filter(|_| !state.is_walking());
            let next = [until, rest].into_iter().flatten().min();
            let time = next.map_or(ASK_AGAIN, |next| {
                next.saturating_duration_since(now).min(ASK_AGAIN)
            });
            let waited = self.0.ended.wait_timeout(state, time);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        Some(match (&state.failure, &state.kept) {
            (None, Some(kept)) => Ok(Arc::clone(&kept.index)),
            (Some(Failure::File(error)), _) => Err(error.clone().into()),
            (Some(Failure::Broken), _) | (None, None) => Err(VaultError::WalkBroken),
        })
    }

    /// Begins a walk on a thread of its own, or here if there can be no thread.
    fn begin<'a>(&'a self, mut state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        state.begun += 1;
        drop(state);
        let shared = Arc::clone(&self.0);
        let thread = thread::Builder::new().name("names".to_owned());
        if thread.spawn(move || shared.walk()).is_err() {
            self.0.walk();
        }
        self.lock()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock()
    }
}

impl State {
    const fn is_walking(&self) -> bool {
        self.begun > self.ended
    }

    fn may_begin(&self, now: Instant) -> bool {
        !self.is_walking() && self.rests_until.is_none_or(|until| until <= now)
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // No invariant spans two assignments under this lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn walk(&self) {
        // Told when it is dropped, so also when the walk panics.
        let mut ending = Ending {
            shared: self,
            begun: Instant::now(),
            outcome: Err(Failure::Broken),
        };
        ending.outcome = (self.walk)().map_err(Failure::File);
    }
}

/// A walk that is under way; tells everyone when it ends, however it ends.
struct Ending<'a> {
    shared: &'a Shared,
    begun: Instant,
    outcome: Result<NoteIndex, Failure>,
}

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        let took = self.begun.elapsed();
        let outcome = std::mem::replace(&mut self.outcome, Err(Failure::Broken));
        let outcome = outcome.map(Arc::new);
        let mut state = self.shared.lock();
        state.ended += 1;
        state.rests_until = Some(Instant::now() + (took * REST_WALKS).min(MAX_REST));
        let previous = match outcome {
            Ok(index) => {
                state.failure = None;
                let begun = self.begun;
                state.kept.replace(CachedIndex { index, begun, took })
            }
            Err(failure) => {
                state.failure = Some(failure);
                None
            }
        };
        drop(state);
        self.shared.ended.notify_all();
        // Freed outside the lock: it is large.
        drop(previous);
    }
}

impl fmt::Debug for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Names(…)")
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{
        atomic::{AtomicBool, AtomicUsize, Ordering},
        mpsc::{Receiver, Sender, channel},
    };

    use plexus_rooted_files::RelPath;

    use super::*;

    /// Walks that say when they begin, and end when they are told what they found.
    struct Stage {
        names: Names,
        begins: Receiver<()>,
        finds: Sender<Result<&'static str, FileError>>,
    }

    fn stage() -> Stage {
        let (begin, begins) = channel();
        let (finds, found) = channel::<Result<&str, FileError>>();
        let found = Mutex::new(found);
        let names = Names::new(move || {
            begin.send(()).unwrap();
            let found = found.lock().unwrap().recv().unwrap();
            Ok(NoteIndex::new(vec![RelPath::parse(found?).unwrap()]))
        });
        Stage {
            names,
            begins,
            finds,
        }
    }

    impl Stage {
        fn ask(
            &self,
            ask: impl FnOnce(&Names) -> String + Send + 'static,
        ) -> thread::JoinHandle<String> {
            let names = self.names.clone();
            thread::spawn(move || ask(&names))
        }

        /// As many walks have ended; waiting for more would begin one.
        fn settle(&self, walks: u64) {
            let state = self.names.lock();
            let waited = self
                .names
                .0
                .ended
                .wait_while(state, |state| state.ended < walks);
            drop(waited.unwrap());
        }
    }

    fn what(index: &NoteIndex) -> String {
        ["one", "two", "three"]
            .into_iter()
            .filter(|name| index.find(name, &RelPath::root()).is_some())
            .collect()
    }

    fn recent(names: &Names, now: Instant) -> String {
        names
            .recent(now, None, &|| false)
            .map_or_else(|error| error.to_string(), |recent| what(&recent.index))
    }

    #[test]
    fn first_reads_share_one_walk() {
        let stage = stage();
        let reads = [0, 1, 2].map(|_| stage.ask(|names| recent(names, Instant::now())));
        stage.begins.recv().unwrap();
        stage.finds.send(Ok("one")).unwrap();
        for read in reads {
            assert_eq!(read.join().unwrap(), "one");
        }
        assert_eq!(stage.names.lock().begun, 1);
    }

    #[test]
    fn an_ageing_index_is_served_while_it_is_renewed_and_an_old_one_is_not() {
        let stage = stage();
        stage.finds.send(Ok("one")).unwrap();
        let start = Instant::now();
        assert_eq!(recent(&stage.names, start), "one");
        assert_eq!(recent(&stage.names, start), "one");
        assert_eq!(stage.names.lock().begun, 1, "fresh: no walk");
        let ageing = start + Duration::from_millis(1_500);
        assert_eq!(recent(&stage.names, ageing), "one", "does not wait");
        assert_eq!(recent(&stage.names, ageing), "one");
        assert_eq!(stage.names.lock().begun, 2, "one walk beside");
        stage.finds.send(Ok("two")).unwrap();
        stage.settle(2);
        assert_eq!(recent(&stage.names, ageing), "two");
        let old = start + Duration::from_secs(60);
        // Twice: a walk begun for age may end before this one asks.
        stage.finds.send(Ok("three")).unwrap();
        stage.finds.send(Ok("three")).unwrap();
        assert_eq!(recent(&stage.names, old), "three", "waits");
    }

    #[test]
    fn patience_ends_with_the_old_index_marked() {
        let stage = stage();
        stage.finds.send(Ok("one")).unwrap();
        assert_eq!(recent(&stage.names, Instant::now()), "one");
        let old = Instant::now() + Duration::from_secs(60);
        let served = stage
            .names
            .recent(old, Some(Duration::from_millis(1)), &|| false)
            .unwrap();
        assert_eq!((what(&served.index).as_str(), served.is_old), ("one", true));
        stage.finds.send(Ok("two")).unwrap();
        stage.settle(2);
        let served = stage
            .names
            .recent(Instant::now(), Some(Duration::ZERO), &|| false)
            .unwrap();
        assert_eq!(
            (what(&served.index).as_str(), served.is_old),
            ("two", false),
            "control"
        );
    }

    #[test]
    fn waiting_ends_when_over_while_the_walk_goes_on() {
        let stage = stage();
        let is_over = Arc::new(AtomicBool::new(false));
        let waits = [true, false].map(|is_renewed| {
            let is_over = Arc::clone(&is_over);
            stage.ask(move |names| {
                let is_over = || is_over.load(Ordering::Relaxed);
                let index = if is_renewed {
                    names.renewed(&is_over)
                } else {
                    let recent = names.recent(Instant::now(), None, &is_over);
                    recent.map(|recent| recent.index)
                };
                index.map_or_else(|error| error.to_string(), |index| what(&index))
            })
        });
        stage.begins.recv().unwrap();
        is_over.store(true, Ordering::Relaxed);
        for wait in waits {
            assert_eq!(wait.join().unwrap(), FileError::Over.to_string());
        }
        assert!(stage.names.lock().is_walking());
        stage.finds.send(Ok("one")).unwrap();
        assert_eq!(recent(&stage.names, Instant::now()), "one", "control");
    }

    #[test]
    fn a_renewed_index_is_from_a_walk_that_began_later() {
        let stage = stage();
        let first = stage.ask(|names| recent(names, Instant::now()));
        stage.begins.recv().unwrap();
        // Asked while the first walk is under way: it may have passed the new note's folder already.
        let (asked, ask) = channel();
        let miss = stage.ask(move |names| {
            asked.send(()).unwrap();
            names
                .renewed(&|| false)
                .map_or_else(|error| error.to_string(), |index| what(&index))
        });
        ask.recv().unwrap();
        stage.finds.send(Ok("one")).unwrap();
        assert_eq!(first.join().unwrap(), "one");
        stage.begins.recv().unwrap();
        stage.finds.send(Ok("two")).unwrap();
        assert_eq!(miss.join().unwrap(), "two");
    }

    #[test]
    fn a_walk_that_fails_or_panics_is_said_and_the_next_one_may_succeed() {
        let stage = stage();
        let error = FileError::Permission(RelPath::root());
        stage.finds.send(Err(error.clone())).unwrap();
        assert_eq!(recent(&stage.names, Instant::now()), error.to_string());
        stage.finds.send(Ok("not/../a path")).unwrap();
        assert_eq!(
            recent(&stage.names, Instant::now()),
            VaultError::WalkBroken.to_string()
        );
        stage.finds.send(Ok("one")).unwrap();
        assert_eq!(recent(&stage.names, Instant::now()), "one");
    }

    #[test]
    fn misses_walk_no_more_than_a_quarter_of_the_time() {
        let walks = Arc::new(AtomicUsize::new(0));
        let took = Duration::from_millis(20);
        let names = Names::new({
            let walks = Arc::clone(&walks);
            move || {
                walks.fetch_add(1, Ordering::Relaxed);
                let begun = Instant::now();
                while begun.elapsed() < took {
                    std::hint::spin_loop();
                }
                Ok(NoteIndex::new(Vec::new()))
            }
        });
        let begun = Instant::now();
        for _ in 0..3 {
            names.renewed(&|| false).unwrap();
        }
        assert_eq!(
            walks.load(Ordering::Relaxed),
            3,
            "each miss has its own walk"
        );
        assert!(
            begun.elapsed() >= took * (1 + 4 + 4),
            "{:?}",
            begun.elapsed()
        );
    }
}
