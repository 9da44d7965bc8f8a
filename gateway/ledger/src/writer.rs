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

use std::collections::{BTreeSet, HashSet, VecDeque};
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use crate::ballast::Ballast;
use crate::check::{self, CheckError, Loaded};
use crate::digest::RowDigest;
use crate::event::{EventId, Head, Recorded};
use crate::heads::Heads;
use crate::ledger::{Clock, Condition, OpenError, Shared};
use crate::machine::{CHECKPOINT, Machine};
use crate::queue::{Lane, Taken};
use crate::store::{Change, CommitFailure, RowChange, StoreError};

/// Records after which a commit takes no further command: beyond it throughput no longer grows. Measured: LIMITS,
/// "One commit" (1 record 160 µs, 256 records 540 µs).
const MOST: usize = 256;
/// A faster commit is not worth waiting for company: lingering then costs more than it brings. Measured as well.
const SLOW_COMMIT: Duration = Duration::from_millis(1);
/// How long nothing must come before the index is brought up to date.
const IDLE: Duration = Duration::from_millis(50);
/// Events that one index commit takes in.
const INDEX_STEP: u64 = 1_000;

/// Proof that a command's events are committed, and which. Made by the ledger's writer only; neither `Clone` nor
/// `Copy`, so it can be spent once.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "what may now be done is done by handing this on"]
pub struct Durable {
    launch: u64,
    sequence: u64,
    audit_id: EventId,
}

impl Durable {
    /// Number of this opening of the ledger by a daemon: each launch has a higher one.
    #[must_use]
    pub fn launch(&self) -> u64 {
        self.launch
    }
    /// Sequence of the command's first event: no two proofs of a launch have the same.
    #[must_use]
    pub fn sequence(&self) -> u64 {
        self.sequence
    }
    /// Id of the command's first event.
    #[must_use]
    pub fn audit_id(&self) -> EventId {
        self.audit_id
    }
}

/// One event of a receipt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventRef {
    /// Position in the log.
    pub seq: u64,
    /// The audit id.
    pub id: EventId,
    /// When, in milliseconds since the epoch.
    pub at: u64,
}

/// The answer to a command that was decided and, if it had events, committed.
#[derive(Debug)]
pub struct Receipt<R> {
    /// What `decide` answered.
    pub reply: R,
    /// The proof; `None` exactly when the command had no events.
    pub durable: Option<Durable>,
    /// The events, in order.
    pub events: Vec<EventRef>,
}

/// Why a command has no receipt.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum SubmitError<R> {
    /// The machine's refusal. Nothing was recorded.
    #[error("refused")]
    Refused(R),
    /// The lane is full. Nothing was done; try again soon.
    #[error("too many commands are waiting")]
    Busy,
    /// The ledger cannot record now. Nothing was written.
    #[error("the ledger cannot record: {0}")]
    Unavailable(String),
    /// A commit failed while it was made: neither saved nor lost.
    #[error("neither saved nor lost: {reason}")]
    Lost {
        /// What failed.
        reason: String,
        /// What the reopened ledger reads: whether the events are in it. `None`: it could not be reopened. Also
        /// `true` is no proof, because a flush that failed may have left bytes in memory that are not on disk.
        found: Option<bool>,
    },
}

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
    pub(crate) index_behind: u64,
    pub(crate) retry: Duration,
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
    checkpoint: u64,
    indexed: u64,
    index_stuck: bool,
    last_commit: Duration,
    last_callers: usize,
    /// Set while the file is closed: why, and when it was last tried.
    closed: Option<(String, Instant)>,
    /// Set while the last space is the owner's: when room was last looked for.
    full: Option<Instant>,
}

/// What a batch of commands would change.
struct Batch<M: Machine> {
    state: M::State,
    head: Head,
    records: Vec<Arc<Recorded>>,
    touched: BTreeSet<String>,
    decided: Vec<Decided<M>>,
}

enum Decided<M: Machine> {
    Done(M::Reply, Range<usize>),
    Refused(M::Refusal),
    /// The machine gave an event that cannot be written down.
    Unwritable(String),
}

impl<M: Machine> Writer<M> {
    pub(crate) fn new(
        shared: Arc<Shared<M>>,
        terms: Terms,
        launch: u64,
        heads: Heads,
        ballast: Ballast,
        loaded: Loaded<M>,
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
            checkpoint: 0,
            indexed: 0,
            index_stuck: false,
            last_commit: Duration::ZERO,
            last_callers: 0,
            closed: None,
            full: None,
        };
        writer.install(loaded);
        writer
    }

    /// Serves until the queue is closed and empty. True if the stop was clean.
    pub(crate) fn run(mut self) -> bool {
        let _gone = CloseOnExit(Arc::clone(&self.shared));
        loop {
            match self.shared.queue.take(MOST, self.patience()) {
                Taken::Jobs(jobs) => self.serve(jobs),
                Taken::Idle => {
                    self.heads.note(&self.head);
                    self.index();
                }
                Taken::Closed => return self.stop(),
            }
        }
    }

    /// How long to wait for a command before doing what can wait; for ever if there is nothing of the kind.
    fn patience(&self) -> Option<Duration> {
        let work = self.heads.is_behind(&self.head) || self.behind() >= INDEX_STEP;
        (work && self.closed.is_none()).then_some(IDLE)
    }

    fn serve(&mut self, mut jobs: Vec<Job<M>>) {
        if self.last_commit > SLOW_COMMIT && self.last_callers > 1 {
            // Where a flush is slow, callers that were just answered come back a moment later; without this wait they
            // and those now in hand would for ever miss each other's flush.
            std::thread::sleep(self.last_commit / 10);
            jobs.extend(self.shared.queue.take_now(MOST.saturating_sub(jobs.len())));
        }
        let mut jobs = VecDeque::from(self.admit(jobs));
        while !jobs.is_empty() {
            self.serve_batch(&mut jobs);
        }
        if self.behind() >= self.terms.index_behind {
            self.index();
        }
    }

    /// Answers what cannot be served now.
    fn admit(&mut self, jobs: Vec<Job<M>>) -> Vec<Job<M>> {
        let owner_waits = jobs.iter().any(|job| job.lane == Lane::Owner);
        if self
            .closed
            .as_ref()
            .is_some_and(|(_, tried)| owner_waits || tried.elapsed() >= self.terms.retry)
        {
            self.reopen();
        }
        if let Some((reason, _)) = &self.closed {
            for job in jobs {
                job.answer(Err(SubmitError::Unavailable(reason.clone())));
            }
            return Vec::new();
        }
        if self
            .full
            .is_some_and(|tried| tried.elapsed() >= self.terms.retry)
        {
            self.full = self.ballast.ensure().err().map(|_| Instant::now());
            self.report();
        }
        if self.full.is_none() {
            return jobs;
        }
        let (owner, agents): (Vec<_>, Vec<_>) =
            jobs.into_iter().partition(|job| job.lane == Lane::Owner);
        for job in agents {
            job.answer(Err(SubmitError::Unavailable("the disk is full".to_owned())));
        }
        owner
    }

    /// Decides and commits the first of `jobs`; leaves the rest and what is to be tried again.
    fn serve_batch(&mut self, jobs: &mut VecDeque<Job<M>>) {
        let Ok(mut batch) = catch_unwind(AssertUnwindSafe(|| self.decide(jobs))) else {
            tracing::error!("the machine panicked; nothing of its batch was recorded");
            for job in jobs.drain(..) {
                job.answer(Err(SubmitError::Unavailable("internal error".to_owned())));
            }
            return;
        };
        let mine: Vec<_> = jobs.drain(..batch.decided.len()).collect();
        if !batch.records.is_empty() {
            let started = Instant::now();
            if let Err(failure) = self.commit(&mut batch) {
                for job in self.fail(mine, batch, failure).into_iter().rev() {
                    jobs.push_front(job);
                }
                return;
            }
            self.last_commit = started.elapsed();
            self.last_callers = mine.len();
            self.shared.state.store(Arc::new(batch.state));
        }
        for (job, decided) in mine.into_iter().zip(batch.decided) {
            let answer = match decided {
                Decided::Done(reply, records) => Ok(self.receipt(reply, &batch.records[records])),
                Decided::Refused(refusal) => Err(SubmitError::Refused(refusal)),
                Decided::Unwritable(why) => Err(SubmitError::Unavailable(why)),
            };
            job.answer(answer);
        }
        self.tell(batch.records);
    }

    fn decide(&self, jobs: &VecDeque<Job<M>>) -> Batch<M> {
        let mut batch = Batch {
            state: M::State::clone(&self.shared.state.load()),
            head: self.head,
            records: Vec::new(),
            touched: BTreeSet::new(),
            decided: Vec::with_capacity(jobs.len()),
        };
        for job in jobs {
            if batch.records.len() >= MOST {
                break;
            }
            // A clock that was set back does not make the log run backwards.
            let now = (self.terms.clock)().max(batch.head.at);
            let decided = match M::decide(&batch.state, &job.command, now) {
                Ok((events, reply)) => match batch.record(&events, now) {
                    Ok(records) => Decided::Done(reply, records),
                    Err(why) => Decided::Unwritable(why),
                },
                Err(refusal) => Decided::Refused(refusal),
            };
            batch.decided.push(decided);
        }
        batch
    }

    /// Makes the batch durable, with a checkpoint at its end if one is due. On success the writer stands behind it.
    fn commit(&mut self, batch: &mut Batch<M>) -> Result<(), CommitFailure> {
        let before = self.shared.state.load();
        let mut digest = self.digest;
        let mut rows = Vec::new();
        for key in std::mem::take(&mut batch.touched) {
            let (old, new) = (M::row(&before, &key), M::row(&batch.state, &key));
            if old != new {
                old.iter().for_each(|value| digest.remove(&key, value));
                new.iter().for_each(|value| digest.add(&key, value));
                rows.push(RowChange { key, old, new });
            }
        }
        let due = batch.head.seq + 1 - self.checkpoint >= self.terms.checkpoint_every;
        let mut change = Change::default();
        if due {
            change.checkpoint = Some(batch.seal_checkpoint(&digest).map_err(unwritable)?);
        } else {
            change.first_touched = (0..rows.len())
                .filter(|at| !self.kept.contains(&rows[*at].key))
                .collect();
        }
        change.events = &batch.records;
        change.rows = &rows;
        self.shared.store.commit(&change)?;
        match change.checkpoint {
            Some(seq) => {
                self.checkpoint = seq;
                self.kept.clear();
            }
            None => self.kept.extend(rows.into_iter().map(|row| row.key)),
        }
        (self.digest, self.head) = (digest, batch.head);
        Ok(())
    }

    fn receipt(&self, reply: M::Reply, records: &[Arc<Recorded>]) -> Receipt<M::Reply> {
        let events: Vec<_> = records
            .iter()
            .map(|r| EventRef {
                seq: r.seq(),
                id: r.id(),
                at: r.at(),
            })
            .collect();
        let durable = events.first().map(|first| Durable {
            launch: self.launch,
            sequence: first.seq,
            audit_id: first.id,
        });
        Receipt {
            reply,
            durable,
            events,
        }
    }

    /// Tells those who listen, and the file of heads. Neither can hold the writer up.
    fn tell(&mut self, records: Vec<Arc<Recorded>>) {
        if self.shared.events.receiver_count() > 0 {
            for record in records {
                let _ = self.shared.events.send(record);
            }
        }
        self.heads.note(&self.head);
    }

    /// Closes, reopens, answers by what is read, and gives back the owner's commands if they can be tried again.
    fn fail(&mut self, jobs: Vec<Job<M>>, batch: Batch<M>, failure: CommitFailure) -> Vec<Job<M>> {
        let reason = failure.error.to_string();
        tracing::error!(error = %reason, attempted = failure.attempted, "a commit failed; the ledger reopens");
        let full = failure.error.is_full();
        let mut freed = false;
        if full {
            self.full = Some(Instant::now());
            freed = jobs.iter().any(|job| job.lane == Lane::Owner) && self.ballast.free();
        }
        self.shared.store.close();
        self.reopen();
        let found = self.closed.is_none().then(|| self.head == batch.head);
        let nothing = !failure.attempted || (full && found == Some(false));
        let mut again = Vec::new();
        for (job, decided) in jobs.into_iter().zip(batch.decided) {
            let recorded = matches!(&decided, Decided::Done(_, records) if !records.is_empty());
            if nothing && freed && self.closed.is_none() && job.lane == Lane::Owner {
                again.push(job);
            } else if nothing || !recorded {
                job.answer(Err(SubmitError::Unavailable(reason.clone())));
            } else {
                job.answer(Err(SubmitError::Lost {
                    reason: reason.clone(),
                    found,
                }));
            }
        }
        if found == Some(true) {
            self.tell(batch.records);
        }
        again
    }

    /// Opens the file again and takes over what it says.
    fn reopen(&mut self) {
        let mut opened = self.load();
        if opened.as_ref().is_err_and(OpenError::is_full) {
            self.full = Some(Instant::now());
            if self.ballast.free() {
                opened = self.load();
            }
        }
        match opened {
            Ok(loaded) => {
                self.closed = None;
                self.install(loaded);
            }
            Err(error) => {
                tracing::error!(%error, "the ledger stays closed");
                self.shared.store.close();
                self.closed = Some((error.to_string(), Instant::now()));
            }
        }
        self.report();
    }

    fn load(&self) -> Result<Loaded<M>, OpenError> {
        self.shared.store.open()?;
        Ok(check::recent::<M>(&self.shared.store.read()?)?)
    }

    fn install(&mut self, loaded: Loaded<M>) {
        self.head = loaded.head;
        self.digest = loaded.digest;
        self.kept = loaded.kept;
        self.checkpoint = loaded.checkpoint;
        self.indexed = loaded.indexed;
        self.shared.state.store(Arc::new(loaded.state));
    }

    fn report(&self) {
        let condition = match (&self.closed, self.full) {
            (Some((reason, _)), _) => Condition::Closed(reason.clone()),
            (None, Some(_)) => Condition::DiskFull,
            (None, None) => Condition::Open,
        };
        self.shared.condition.store(Arc::new(condition));
    }

    fn behind(&self) -> u64 {
        if self.index_stuck {
            0
        } else {
            self.head.seq.saturating_sub(self.indexed)
        }
    }

    /// Brings the index one step nearer to the head.
    fn index(&mut self) {
        if self.closed.is_some()
            || self.full.is_some()
            || self.behind() < INDEX_STEP.min(self.terms.index_behind)
        {
            return;
        }
        let upto = self.head.seq.min(self.indexed + INDEX_STEP);
        let written = catch_unwind(AssertUnwindSafe(|| {
            let mut rows = Vec::new();
            self.shared
                .store
                .read()?
                .walk(self.indexed + 1, |seq, stored| {
                    let event = crate::store::read(seq, stored)?;
                    rows.extend(
                        crate::query::terms::<M>(&event)?
                            .into_iter()
                            .map(|term| (term, seq)),
                    );
                    Ok(seq < upto)
                })?;
            self.shared.store.index(&rows, upto)
        }));
        match written {
            Ok(Ok(())) => self.indexed = upto,
            Ok(Err(StoreError::Redb(error))) => {
                tracing::error!(%error, "the index could not be written; the ledger reopens");
                self.shared.store.close();
                self.reopen();
            }
            Ok(Err(_)) | Err(_) => {
                // Queries still scan what is not indexed; trying again would fail again.
                tracing::error!(
                    from = self.indexed + 1,
                    "an event cannot be indexed; the index stays where it is"
                );
                self.index_stuck = true;
            }
        }
    }

    /// The last checkpoint, the mark of a clean stop, the last head.
    fn stop(mut self) -> bool {
        if self.closed.is_some() {
            return false;
        }
        let mut batch = Batch::<M> {
            state: M::State::default(),
            head: self.head,
            records: Vec::new(),
            touched: BTreeSet::new(),
            decided: Vec::new(),
        };
        let mut change = Change {
            clean: Some(true),
            ..Change::default()
        };
        if self.head.seq > self.checkpoint {
            match batch.seal_checkpoint(&self.digest) {
                Ok(seq) => change.checkpoint = Some(seq),
                Err(why) => tracing::error!(why, "no checkpoint at this stop"),
            }
        }
        change.events = &batch.records;
        let clean = match self.shared.store.commit(&change) {
            Ok(()) => {
                self.head = batch.head;
                true
            }
            Err(failure) => {
                tracing::error!(error = %failure.error, "the stop is not clean");
                false
            }
        };
        self.heads.finish(&self.head);
        self.shared.store.close();
        clean
    }
}

impl<M: Machine> Batch<M> {
    /// Writes the events down and applies them; all or none.
    fn record(&mut self, events: &[M::Event], now: u64) -> Result<Range<usize>, String> {
        let (first, start) = (self.records.len(), self.head);
        for event in events {
            let sealed = match M::event_type(event) {
                CHECKPOINT => Err(format!("`{CHECKPOINT}` is the ledger's own type")),
                kind => self.seal(kind, now, |into| M::encode(event, into)),
            };
            if let Err(why) = sealed {
                tracing::error!(why, "an event cannot be written down");
                self.records.truncate(first);
                self.head = start;
                return Err(why);
            }
        }
        for (event, record) in events.iter().zip(&self.records[first..]) {
            M::apply(&mut self.state, event, record.id(), now);
            self.touched.extend(M::touched_rows(event, record.id()));
        }
        Ok(first..self.records.len())
    }

    fn seal(
        &mut self,
        kind: &str,
        now: u64,
        members: impl FnOnce(&mut Vec<u8>),
    ) -> Result<(), String> {
        let record = Recorded::seal(&self.head.hash, self.head.seq + 1, now, kind, members)?;
        self.head = Head::of(&record);
        self.records.push(Arc::new(record));
        Ok(())
    }

    fn seal_checkpoint(&mut self, digest: &RowDigest) -> Result<u64, String> {
        let members = format!(r#"{{"rows":"{}"}}"#, digest.hex());
        self.seal(CHECKPOINT, self.head.at, |into| {
            into.extend_from_slice(members.as_bytes());
        })?;
        Ok(self.head.seq)
    }
}

fn unwritable(why: String) -> CommitFailure {
    CommitFailure {
        error: StoreError::Unreadable { seq: 0, why },
        attempted: false,
    }
}

/// Whatever ends the writer, nobody may go on waiting for it.
struct CloseOnExit<M: Machine>(Arc<Shared<M>>);

impl<M: Machine> Drop for CloseOnExit<M> {
    fn drop(&mut self) {
        self.0.queue.close();
        drop(self.0.queue.take_now(usize::MAX));
        self.0.store.close();
        self.0.condition.store(Arc::new(Condition::Closed(
            "the writer has stopped".to_owned(),
        )));
    }
}

impl From<CheckError> for OpenError {
    fn from(error: CheckError) -> Self {
        match error {
            CheckError::Found(finding) => Self::Damaged(finding),
            CheckError::Store(error) => Self::Store(error),
        }
    }
}
