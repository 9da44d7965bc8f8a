//! The writer's part of retention: when to have an archive written, naming it in a commit, and taking what it holds out of
//! the file, a little at a time.
//!
//! ```text
//! Still ──more than is kept, and a checkpoint──▶ Writing (a thread) ──whole──▶ `audit.sealed` committed ──▶ Removing ──▶ Still
//!            └── failed: a minute's rest (the ledger is as it was)
//! ```
//! Invariants: callers never wait for an archive to be written; for a removal they wait no longer than for one commit.
//! On a full disk nothing is sealed or removed: both need room first.
//! What was begun is taken up again after a restart: the file says what is archived and still here.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use crate::archive::seal::{self, SealError, Task};
use crate::archive::{self, Archive, SealStep};
use crate::event::hex;
use crate::machine::{FORGOTTEN, Machine, SEALED};
use crate::store::{Change, StoreError};
use crate::writer::Writer;
use crate::writer::batch::Batch;

/// Events that one commit takes out of the file while nobody calls.
const REMOVE_IDLE: u64 = 1_000;
/// The same between calls, and how long after the one before: see docs/audit.md for what it costs them.
const REMOVE_BUSY: u64 = 100;
const BREATH: Duration = Duration::from_millis(50);
/// An archive is begun when so many events more than are kept are there, at most: a file worth its name.
const STEP: u64 = 25_000;
/// How many times [`crate::Options::retry`] is waited after a failure.
const REST: u32 = 60;

/// The owner's wish to give archives up.
pub(crate) struct Forget {
    pub(crate) through: String,
    pub(crate) ack: oneshot::Sender<Result<Vec<Archive>, ForgetError>>,
}

/// Why no archive was given up.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ForgetError {
    /// No archive has this name, or it was given up before.
    #[error("there is no such archive")]
    Unknown,
    /// Its events are still being taken out of the ledger.
    #[error("its events are still being moved out of the ledger")]
    TooSoon,
    /// It could not be recorded.
    #[error("it could not be recorded: {0}")]
    Unavailable(String),
}

/// What the writer knows of its archives.
#[derive(Default)]
pub(super) struct Archiving {
    /// Number of the first event in the file.
    first: u64,
    /// Number of the last archived one.
    sealed: u64,
    under_way: Option<UnderWay>,
    /// No archive can be made before the log has come so far.
    not_before: u64,
    /// Nothing is tried before this moment.
    rest: Option<Instant>,
    last_removal: Option<Instant>,
}

struct UnderWay {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Result<Option<Archive>, SealError>>,
}

impl<M: Machine> Writer<M> {
    /// Reads from the file just opened what is archived. A file of which that cannot be read gets no further archives.
    pub(super) fn know_archives(&mut self) {
        let known = self.shared.store.read().and_then(|view| {
            let last = view.archives()?.last().map_or(0, |archive| archive.last);
            Ok((view.first_seq()?, last))
        });
        match known {
            Ok((first, sealed)) => {
                (self.archiving.first, self.archiving.sealed) = (first, sealed);
                self.archiving.not_before = 0;
            }
            Err(error) => {
                tracing::error!(name: "archive.unlisted", %error, "the list of archives cannot be read; nothing is archived");
                self.archiving.not_before = u64::MAX;
            }
        }
    }

    /// Number of the first event in the file.
    pub(super) fn first_here(&self) -> u64 {
        self.archiving.first.max(1)
    }

    /// Whether there is something to do that waits for a quiet moment.
    pub(super) fn has_to_archive(&self) -> bool {
        self.may_archive()
            && (self.archiving.under_way.is_some() || self.has_to_remove() || self.due().is_some())
    }

    fn may_archive(&self) -> bool {
        let rests = self
            .archiving
            .rest
            .is_some_and(|until| Instant::now() < until);
        self.closed.is_none() && self.full.is_none() && !rests
    }

    fn has_to_remove(&self) -> bool {
        self.archiving.first <= self.archiving.sealed
    }

    /// The last event that may go, where enough may for an archive. The owner may change at any moment what is kept: it is
    /// read once.
    fn due(&self) -> Option<u64> {
        let keep = self.shared.keep.load(Ordering::Relaxed);
        let every = self.terms.checkpoint_every;
        let step = (keep / 10).clamp(every, every.max(STEP));
        let here = self.head.seq - self.archiving.sealed.min(self.head.seq);
        let enough = here > keep.saturating_add(step) && self.head.seq >= self.archiving.not_before;
        // One event at least stays before the last checkpoint: a start holds that against it.
        enough.then(|| (self.head.seq - keep).min(self.checkpoint.saturating_sub(2)))
    }

    /// Gives up what the owner wishes to.
    fn forget(&mut self) {
        let forgets = self.shared.forgets.lock();
        let forgets = std::mem::take(&mut *forgets.unwrap_or_else(PoisonError::into_inner));
        for Forget { through, ack } in forgets {
            // The caller may have gone; what was recorded stays recorded.
            let _ = ack.send(self.forget_through(&through));
        }
    }

    fn forget_through(&mut self, through: &str) -> Result<Vec<Archive>, ForgetError> {
        let unavailable =
            |error: &dyn std::fmt::Display| ForgetError::Unavailable(error.to_string());
        if let Some((why, _)) = &self.closed {
            return Err(ForgetError::Unavailable(why.clone()));
        }
        let view = self.shared.store.read().map_err(|e| unavailable(&e))?;
        let list = view.archives().map_err(|e| unavailable(&e))?;
        let last = list.iter().position(|a| a.file == through && !a.forgotten);
        let last = last.ok_or(ForgetError::Unknown)?;
        let (mut gone, folder) = (list[..=last].to_vec(), view.archive_folder().to_owned());
        drop(view);
        gone.retain(|archive| !archive.forgotten);
        if gone
            .iter()
            .any(|archive| archive.last >= self.archiving.first)
        {
            return Err(ForgetError::TooSoon);
        }
        if self.full.is_some() {
            // An act of the owner, and one that makes room.
            self.ballast.free();
        }
        let mut batch = Batch::<M>::after(self.head, M::State::default());
        for archive in &mut gone {
            archive.forgotten = true;
            let members = archive::forgotten_members(archive);
            batch
                .seal_own(FORGOTTEN, (self.terms.clock)(), &members)
                .map_err(ForgetError::Unavailable)?;
        }
        self.commit_own(batch, &gone)
            .map_err(|error| unavailable(&error))?;
        for archive in &gone {
            // One that stays behind is removed with the next that is sealed: no event speaks for it any more.
            if let Err(error) = std::fs::remove_file(folder.join(&archive.file)) {
                tracing::warn!(name: "archive.left_behind", %error, path = %archive.file, "an archive that was given up is still there");
            }
        }
        self.list();
        Ok(gone)
    }

    /// Does the next thing, while nobody calls.
    pub(super) fn archive(&mut self, now: Instant) {
        self.forget();
        if !self.may_archive() {
            return;
        }
        if self.archiving.under_way.is_some() {
            self.take_over();
        } else if self.has_to_remove() {
            self.remove(REMOVE_IDLE, now);
        } else if let Some(upto) = self.due() {
            self.begin_sealing(upto);
        }
    }

    /// Does a little of it, while calls keep coming.
    pub(super) fn archive_between(&mut self, now: Instant) {
        self.forget();
        if !self.may_archive() {
            return;
        }
        let breathes = |last: Instant| now.duration_since(last) >= BREATH;
        if self.archiving.under_way.is_some() {
            self.take_over();
        } else if !self.has_to_remove() {
            if let Some(upto) = self.due() {
                self.begin_sealing(upto);
            }
        } else if self.archiving.last_removal.is_none_or(breathes) {
            self.remove(REMOVE_BUSY, now);
        }
    }

    fn begin_sealing(&mut self, upto: u64) {
        if upto <= self.archiving.sealed {
            self.archiving.not_before = self.checkpoint + self.terms.checkpoint_every;
            return;
        }
        let stop = Arc::new(AtomicBool::new(false));
        let task = Task {
            upto,
            stop: Arc::clone(&stop),
            watch: Arc::clone(&self.terms.sealing),
        };
        let shared = Arc::clone(&self.shared);
        let spawned = std::thread::Builder::new()
            .name("archive".to_owned())
            .spawn(move || seal::write(&shared.store, &task));
        match spawned {
            Ok(thread) => self.archiving.under_way = Some(UnderWay { stop, thread }),
            Err(error) => self.rest_after(&error),
        }
    }

    fn rest_after(&mut self, error: &dyn std::fmt::Display) {
        tracing::warn!(name: "archive.postponed", %error, "old events were not archived; they stay in the ledger, and it is tried again");
        self.archiving.rest = Some(Instant::now() + self.terms.retry * REST);
    }

    /// Names the archive, if it is whole.
    fn take_over(&mut self) {
        let Some(under_way) = self
            .archiving
            .under_way
            .take_if(|under_way| under_way.thread.is_finished())
        else {
            return;
        };
        match under_way.thread.join() {
            Ok(Ok(Some(archive))) => self.record(&archive),
            Ok(Ok(None)) => {
                // No checkpoint among the events that may go: there will be one among the next.
                self.archiving.not_before = self.head.seq + self.terms.checkpoint_every;
            }
            Ok(Err(error)) => self.rest_after(&error),
            Err(_) => self.rest_after(&"the thread panicked"),
        }
    }

    fn record(&mut self, archive: &Archive) {
        // The file may have been closed and read again meanwhile.
        let follows = archive.first == self.archiving.sealed + 1
            && self.shared.store.read().is_ok_and(|view| {
                let last = view.event(archive.last).ok().flatten();
                last.is_some_and(|event| hex(&event.hash()) == archive.head)
            });
        if !follows {
            return self.rest_after(&"the ledger was opened again meanwhile");
        }
        if let Err(error) = (self.terms.sealing)(SealStep::Record) {
            return self.rest_after(&error);
        }
        let mut batch = Batch::<M>::after(self.head, M::State::default());
        let at = (self.terms.clock)();
        if let Err(error) = batch.seal_own(SEALED, at, &archive.line()) {
            return self.rest_after(&error);
        }
        if self
            .commit_own(batch, std::slice::from_ref(archive))
            .is_err()
        {
            return;
        }
        self.archiving.sealed = archive.last;
        tracing::info!(name: "archive.sealed", path = %archive.file, sequence = archive.last, "old events were archived");
        self.list();
    }

    /// Makes the ledger's own events durable, with the entries of the archives that they are about.
    fn commit_own(&mut self, batch: Batch<M>, archives: &[Archive]) -> Result<(), StoreError> {
        let index = self.indexed(&batch.marks);
        let change = Change {
            events: &batch.records,
            index: &index,
            archives,
            ..Change::default()
        };
        if let Err(failure) = self.shared.store.commit(&change) {
            self.archive_failed(&failure.error);
            return Err(failure.error);
        }
        self.head = batch.head;
        self.tell(batch.records);
        Ok(())
    }

    /// Writes the list beside the archives. It repeats what the ledger says; without it nothing is lost.
    pub(super) fn list(&self) {
        let written = (self.terms.sealing)(SealStep::List).map_err(StoreError::from);
        let written = written.and_then(|()| {
            let view = self.shared.store.read()?;
            archive::write_list(view.archive_folder(), view.archives()?).map_err(StoreError::from)
        });
        if let Err(error) = written {
            tracing::warn!(name: "archive.list_unsaved", %error, "the list of archives could not be written");
        }
    }

    /// Takes up to `most` archived events out of the file.
    fn remove(&mut self, most: u64, now: Instant) {
        if let Err(error) = (self.terms.sealing)(SealStep::Remove) {
            return self.rest_after(&error);
        }
        let (first, sealed) = (self.archiving.first, self.archiving.sealed);
        let last = sealed.min(first + most - 1);
        match self.shared.store.remove(first..=last) {
            Ok(()) => {
                self.archiving.first = last + 1;
                self.archiving.last_removal = Some(now);
            }
            Err(error) => self.archive_failed(&error),
        }
    }

    fn archive_failed(&mut self, error: &StoreError) {
        tracing::error!(name: "ledger.file_failed", %error, detail = "archives", "a commit about archives failed; the ledger reopens");
        self.full = error.is_full().then(Instant::now).or(self.full);
        self.rest_after(error);
        self.shared.store.close();
        self.reopen();
    }

    /// Ends an archive that is being written; the next launch begins it anew.
    pub(super) fn stop_sealing(&mut self) {
        if let Some(under_way) = self.archiving.under_way.take() {
            under_way.stop.store(true, Ordering::Relaxed);
            let _ = under_way.thread.join();
        }
    }
}
