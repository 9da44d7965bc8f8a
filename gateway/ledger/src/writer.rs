//! The one thread that decides, records and acknowledges.
//!
//! ```text
//! Open ──commit failed──▶ closing ──reopened, re-read──▶ Open
//!   │                        └──cannot be reopened──▶ Closed ──next command, at most once a second──▶ closing
//!   └──no space──▶ DiskFull (the owner only) ──ballast is back──▶ Open
//! ```
//! Invariants: commands are decided in order, each on the state that the one before it left. A snapshot, an answer or
//! a broadcast never shows what is not committed; a refusal that rests on an uncommitted event waits for its commit.
//! A [`Durable`] is made here and nowhere else, after the commit.
//! Must not know: what is decided.

mod archiving;
mod batch;
mod indexing;
mod receipt;
mod recovery;

use std::collections::{HashSet, VecDeque};
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use crate::archive::SealWatch;
use crate::ballast::Ballast;
use crate::check::{Loaded, Older};
use crate::digest::RowDigest;
use crate::event::{Head, Recorded};
use crate::heads::Heads;
use crate::index::Run;
use crate::ledger::{Audience, Clock, Committed, Condition, Observer, Shared};
use crate::machine::Machine;
use crate::queue::{Lane, QueueTake};
use crate::store::{Change, CommitFailure, StoreError};
use crate::writer::archiving::Archiving;
use crate::writer::batch::{Batch, Decided};

pub(crate) use archiving::Forget;
pub use archiving::ForgetError;
pub use receipt::{Durable, EventRef, Receipt, SubmitError};

/// Records after which a commit takes no further command. Measured on ext4 with one fdatasync a commit: 160 µs for one
/// record, 320 for 64, 540 for 256; larger batches only make callers wait.
const MOST: usize = 256;
/// A faster commit is not worth waiting for company: lingering then costs more than it brings. Measured as well.
const SLOW_COMMIT: Duration = Duration::from_millis(1);
/// Nor is one that took less than so much for each caller: they come back one after the other, 30 to 80 µs of processor
/// each, and waiting for all of them costs more than the second flush that it saves. A commit may be slow because the
/// processors are busy, too.
const COMING_BACK: Duration = Duration::from_micros(50);
/// How long company is waited for after a slow commit, at most, for each moment that it took: as a numerator and a
/// denominator. Seen with flushes of 4.5 ms: of 64 callers that were answered together the first is back after 1 ms and the
/// last after 3 to 6, on two processors. With less patience a second flush was spent on the last ones: with four fifths
/// two of five flushes in a slow hour, with a fifth every other one.
const LINGER: (u32, u32) = (5, 4);
/// However slow the last commit was: a disk that stalled once is no reason to keep callers waiting.
const LONGEST_LINGER: Duration = Duration::from_millis(20);
/// How long nothing must come before the index is brought up to date.
const IDLE: Duration = Duration::from_millis(50);
/// How many times [`Terms::retry`] pass before room on a full disk is looked for though no command comes: who is refused for
/// want of room may never come as far as here, and each look takes what little room there is for a moment.
const UNASKED: u32 = 10;

pub(crate) type Answer<M> =
    Result<Receipt<<M as Machine>::Reply>, SubmitError<<M as Machine>::Refusal>>;

pub(crate) struct Job<M: Machine> {
    pub(crate) command: M::Command,
    pub(crate) lane: Lane,
    pub(crate) ack: oneshot::Sender<Answer<M>>,
}

impl<M: Machine> Job<M> {
    fn answer(self, answer: Answer<M>) {
        // The caller may have gone; what was recorded stays recorded.
        let _ = self.ack.send(answer);
    }
}

/// The numbers the writer works with; [`crate::Options`] explains them.
pub(crate) struct Terms {
    pub(crate) clock: Clock,
    pub(crate) checkpoint_every: u64,
    pub(crate) index_run: usize,
    pub(crate) retry: Duration,
    pub(crate) sealing: SealWatch,
    pub(crate) settle_after: Duration,
    pub(crate) observer: Observer,
    pub(crate) audience: Audience,
}

/// Who was there when a slow commit ended. If a flush is slow, callers that were just answered come back a moment later;
/// if nobody waited, they and those who had come meanwhile would for ever miss each other's flush.
struct Crowd {
    /// Those that it answered, and those that had come meanwhile.
    callers: usize,
    /// How long the next commit waits for them.
    until: Instant,
}

impl Crowd {
    /// After a commit that answered so many and ended `now`, while others `queued`.
    fn after(answered: usize, queued: usize, took: Duration, now: Instant) -> Option<Self> {
        let callers = answered + queued;
        let all_back = COMING_BACK * u32::try_from(callers).unwrap_or(u32::MAX);
        (answered > 1 && took > SLOW_COMMIT.max(all_back)).then(|| Self {
            callers,
            until: now + (took * LINGER.0 / LINGER.1).min(LONGEST_LINGER),
        })
    }
}

/// Stretches of the log that no row is about: after a kill, in a copy, in a file of an earlier version.
#[derive(Default)]
enum Unindexed {
    /// Nobody has looked since the file was opened.
    #[default]
    Unknown,
    /// The newest last.
    Known(Vec<Range<u64>>),
}

pub(crate) struct Writer<M: Machine> {
    shared: Arc<Shared<M>>,
    terms: Terms,
    launch: u64,
    heads: Heads,
    ballast: Ballast,
    head: Head,
    digest: RowDigest,
    kept: HashSet<String>,
    /// What the file still has from an earlier version; it goes as events change it.
    older: Older,
    checkpoint: u64,
    /// The row of the index that the next events go into.
    run: Run,
    /// What older events lack of the index.
    unindexed: Unindexed,
    /// When rows were made up for last while calls kept coming.
    made_up: Option<Instant>,
    archiving: Archiving,
    crowd: Option<Crowd>,
    /// Set while the file would have to be walked through after a kill: since the last commit.
    unsettled: Option<Instant>,
    lingered: Duration,
    /// Set while the file is closed: why, and when it was last tried.
    closed: Option<(String, Instant)>,
    /// Set while the last space is the owner's: when room was last looked for.
    full: Option<Instant>,
}

impl<M: Machine> Writer<M> {
    pub(crate) fn new(
        shared: Arc<Shared<M>>,
        terms: Terms,
        launch: u64,
        heads: Heads,
        ballast: Ballast,
        loaded: Loaded<M>,
        full: bool,
    ) -> Self {
        let mut writer = Self {
            shared,
            terms,
            launch,
            heads,
            ballast,
            head: Head::START,
            digest: RowDigest::default(),
            kept: HashSet::new(),
            older: Older::new(),
            checkpoint: 0,
            run: Run::from(1),
            unindexed: Unindexed::default(),
            made_up: None,
            archiving: Archiving::default(),
            crowd: None,
            unsettled: Some(Instant::now()),
            lingered: Duration::ZERO,
            closed: None,
            full: full.then(Instant::now),
        };
        writer.install(loaded);
        writer.report();
        writer
    }

    /// Serves until the queue is closed and empty. True if the stop was clean.
    pub(crate) fn run(mut self) -> bool {
        let _gone = CloseOnExit(Arc::clone(&self.shared));
        loop {
            match self.shared.queue.take(MOST, self.patience()) {
                QueueTake::Jobs(jobs) => self.serve(jobs),
                QueueTake::Idle => {
                    self.look_for_room(self.terms.retry * UNASKED);
                    self.heads.note(&self.head);
                    self.index();
                    self.archive(Instant::now());
                    self.settle();
                }
                QueueTake::Closed => return self.stop(),
            }
        }
    }

    /// How long to wait for a command before doing what can wait; for ever if there is nothing of the kind.
    fn patience(&self) -> Option<Duration> {
        if self.closed.is_some() {
            return None;
        }
        if self.heads.is_behind(&self.head) || self.has_to_index() || self.has_to_archive() {
            return Some(IDLE);
        }
        if let Some(tried) = self.full {
            let wait = (self.terms.retry * UNASKED).saturating_sub(tried.elapsed());
            return Some(wait.max(IDLE));
        }
        let since = self.unsettled?;
        Some(
            self.terms
                .settle_after
                .saturating_sub(since.elapsed())
                .max(IDLE),
        )
    }

    /// Makes the start after a kill as cheap as the one after a clean stop, once nothing has come for a while.
    fn settle(&mut self) {
        let due = |since: Instant| since.elapsed() >= self.terms.settle_after;
        let waits = self.closed.is_some() || self.full.is_some();
        if waits || !self.unsettled.is_some_and(due) {
            return;
        }
        match self.shared.store.settle() {
            Ok(()) => self.unsettled = None,
            Err(error) => self.file_failed(&error, "the file could not be settled"),
        }
    }

    /// What a commit that nobody waits for does when it fails.
    fn file_failed(&mut self, error: &StoreError, what: &'static str) {
        tracing::error!(name: "ledger.file_failed", %error, detail = what, "the ledger reopens");
        self.full = error.is_full().then(Instant::now).or(self.full);
        self.shared.store.close();
        self.reopen();
    }

    fn serve(&mut self, mut jobs: Vec<Job<M>>) {
        if let Some(Crowd { callers, until }) = self.crowd.take()
            && jobs.iter().all(|job| job.lane == Lane::Agent)
        {
            let waited = Instant::now();
            let company = callers.min(MOST).saturating_sub(jobs.len());
            let patience = until.saturating_duration_since(waited);
            jobs.extend(self.shared.queue.linger(company, patience));
            self.lingered = waited.elapsed();
        }
        let mut jobs = VecDeque::from(self.admit(jobs));
        while !jobs.is_empty() {
            if !self.serve_batch(&mut jobs) {
                jobs = self.admit(jobs.into()).into();
            }
        }
        let now = Instant::now();
        self.index_between(now);
        self.archive_between(now);
    }

    /// Decides, commits and answers the first of `jobs`; leaves the rest, and what is to be tried again. False if the
    /// storage failed.
    fn serve_batch(&mut self, jobs: &mut VecDeque<Job<M>>) -> bool {
        let before = self.shared.state.load_full();
        let decide =
            || Batch::<M>::decide(self.head, &before, jobs, &self.older, &self.terms.clock);
        let Ok(mut batch) = catch_unwind(AssertUnwindSafe(decide)) else {
            tracing::error!(name: "ledger.machine_panicked", "the machine panicked; nothing of its batch was recorded");
            for job in jobs.drain(..) {
                job.answer(Err(SubmitError::Unavailable("internal error".to_owned())));
            }
            return true;
        };
        let mine: Vec<_> = jobs.drain(..batch.decided.len()).collect();
        if !batch.records.is_empty() {
            let started = Instant::now();
            if let Err(failure) = self.commit(&mut batch) {
                for job in self.fail(mine, batch, failure).into_iter().rev() {
                    jobs.push_front(job);
                }
                return false;
            }
            let now = Instant::now();
            let took = now.duration_since(started);
            self.unsettled = Some(now);
            self.crowd = Crowd::after(mine.len(), self.shared.queue.len(), took, now);
            (self.terms.observer)(Committed {
                records: batch.records.len(),
                took,
                lingered: std::mem::take(&mut self.lingered),
            });
            self.shared.state.store(Arc::new(batch.state));
        }
        for (job, decided) in mine.into_iter().zip(batch.decided) {
            let answer = match decided {
                Decided::Done(reply, records) => Ok(Receipt::after_commit(
                    reply,
                    self.launch,
                    &batch.records[records],
                )),
                Decided::Refused(refusal) => Err(SubmitError::Refused(refusal)),
                Decided::Unwritable(why) => Err(SubmitError::Unavailable(why)),
            };
            job.answer(answer);
        }
        self.tell(batch.records);
        true
    }

    /// Makes the batch durable, with a checkpoint at its end if one is due. On success the writer stands behind it.
    fn commit(&mut self, batch: &mut Batch<M>) -> Result<(), CommitFailure> {
        let digest = batch.digest(self.digest);
        let checkpoint = batch.head.seq + 1 - self.checkpoint >= self.terms.checkpoint_every;
        if checkpoint {
            batch
                .seal_checkpoint(&digest, batch.head.at)
                .map_err(CommitFailure::before)?;
        }
        let new = |at: &usize| !self.kept.contains(&batch.rows[*at].key);
        let first_touched = if checkpoint {
            Vec::new()
        } else {
            (0..batch.rows.len()).filter(new).collect()
        };
        let index = self.indexed(&batch.marks);
        let change = Change {
            events: &batch.records,
            rows: &batch.rows,
            first_touched,
            checkpoint,
            index: &index,
            ..Change::default()
        };
        self.shared.store.commit(&change)?;
        for row in &batch.rows {
            self.older.remove(&row.key);
        }
        if checkpoint {
            self.checkpoint = batch.head.seq;
            self.kept.clear();
        } else {
            self.kept.extend(batch.rows.drain(..).map(|row| row.key));
        }
        (self.digest, self.head) = (digest, batch.head);
        Ok(())
    }

    /// Tells those who listen, and the file of heads. Neither can hold the writer up.
    fn tell(&mut self, records: Vec<Arc<Recorded>>) {
        if self.shared.events.receiver_count() > 0 {
            let told = |record: &Arc<Recorded>| (self.terms.audience)(record);
            for record in records.into_iter().filter(told) {
                let _ = self.shared.events.send(record);
            }
        }
        self.heads.note(&self.head);
    }

    /// The last checkpoint, the mark of a clean stop, the last head.
    fn stop(mut self) -> bool {
        self.stop_sealing();
        if self.closed.is_some() {
            return false;
        }
        let mut batch = Batch::<M>::after(self.head, M::State::default());
        let checkpoint = self.head.seq > self.checkpoint
            && batch
                .seal_checkpoint(&self.digest, (self.terms.clock)())
                .inspect_err(|why| tracing::error!(name: "ledger.no_checkpoint", error = why, "no checkpoint at this stop"))
                .is_ok();
        let mut index = self.indexed(&batch.marks);
        // Whatever is in hand: the next launch has nothing to make up for.
        index.extend((!self.run.is_empty()).then(|| self.run.finish()));
        let change = Change {
            events: &batch.records,
            checkpoint,
            clean: Some(true),
            index: &index,
            ..Change::default()
        };
        let stopped = self.shared.store.commit(&change);
        match &stopped {
            Ok(()) => self.head = batch.head,
            Err(failure) => {
                tracing::error!(name: "ledger.stop_unclean", error = %failure.error, "the stop is not clean");
            }
        }
        self.heads.finish(&self.head);
        self.shared.store.close();
        stopped.is_ok()
    }
}

/// Whatever ends the writer, nobody may go on waiting for it. A panic, but for one of the machine's in a decision, leaves
/// nobody who records: the process ends, and the next one believes what it reads.
struct CloseOnExit<M: Machine>(Arc<Shared<M>>);

impl<M: Machine> Drop for CloseOnExit<M> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            tracing::error!(name: "ledger.writer_panicked", "the ledger's writer panicked; the process ends");
            std::process::abort();
        }
        self.0.queue.close();
        drop(self.0.queue.take_now(usize::MAX));
        let forgets = self.0.forgets.lock();
        forgets.unwrap_or_else(PoisonError::into_inner).clear();
        self.0.store.close();
        self.0.condition.store(Arc::new(Condition::Closed(
            "the writer has stopped".to_owned(),
        )));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn company_is_waited_for_where_a_flush_is_longer_than_its_way_back() {
        let now = Instant::now();
        let waits = |answered, queued, micros| {
            Crowd::after(answered, queued, Duration::from_micros(micros), now).is_some()
        };
        assert!(waits(2, 0, 1_001) && !waits(2, 0, 1_000), "a fast disk");
        assert!(!waits(1, 63, 20_000), "one caller has no company");
        assert!(waits(40, 24, 3_201) && !waits(40, 24, 3_200), "a crowd");
        let stalled = Crowd::after(2, 0, Duration::from_secs(9), now).expect("a slow commit");
        assert_eq!(stalled.until, now + LONGEST_LINGER);
    }
}
