//! What the writer does when the storage does not do its part: a failed commit, a closed file, a full disk.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::check::Loaded;
use crate::finding::CheckError;
use crate::index::Run;
use crate::ledger::{Condition, OpenError};
use crate::machine::Machine;
use crate::queue::Lane;
use crate::recent::recent;
use crate::store::CommitFailure;
use crate::writer::batch::{Batch, Decided};
use crate::writer::{Job, SubmitError, Unindexed, Writer};

impl<M: Machine> Writer<M> {
    /// Answers what cannot be served now; gives back the rest.
    pub(super) fn admit(&mut self, jobs: Vec<Job<M>>) -> Vec<Job<M>> {
        let owner_waits = jobs.iter().any(|job| job.lane == Lane::Owner);
        let due = |tried: Instant| tried.elapsed() >= self.terms.retry;
        if self
            .closed
            .as_ref()
            .is_some_and(|(_, tried)| owner_waits || due(*tried))
        {
            self.reopen();
        }
        if let Some((reason, _)) = &self.closed {
            for job in jobs {
                job.answer(Err(SubmitError::Unavailable(reason.clone())));
            }
            return Vec::new();
        }
        // Not while the owner waits: setting the space aside would take it from them.
        if !owner_waits {
            self.look_for_room(self.terms.retry);
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

    /// Sets the owner's space aside again once there is room for it, if the last look was so long ago.
    pub(super) fn look_for_room(&mut self, ago: Duration) {
        if self.full.is_some_and(|tried| tried.elapsed() >= ago) {
            let room = self.ballast.ensure_with_room();
            self.full = room.err().map(|_| Instant::now());
            self.report();
        }
    }

    /// Gives the owner's space back to the disk. That the disk is full is told first: what agents leave there otherwise
    /// must not take it.
    fn free_the_owners_space(&self) -> bool {
        self.report();
        self.ballast.free()
    }

    /// Closes, reopens, answers by what is read, and gives back the owner's commands if they can be tried again.
    pub(super) fn fail(
        &mut self,
        jobs: Vec<Job<M>>,
        batch: Batch<M>,
        failure: CommitFailure,
    ) -> Vec<Job<M>> {
        let reason = failure.error.to_string();
        tracing::error!(name: "ledger.commit_failed", error = %reason, attempted = failure.attempted, "a commit failed; the ledger reopens");
        let full = failure.error.is_full();
        let mut freed = false;
        if full {
            self.full = Some(Instant::now());
            freed = jobs.iter().any(|job| job.lane == Lane::Owner) && self.free_the_owners_space();
        }
        self.shared.store.close();
        self.reopen();
        let found = self.closed.is_none().then(|| self.head == batch.head);
        let nothing = !failure.attempted || (full && found == Some(false));
        let mut again = Vec::new();
        for (job, decided) in jobs.into_iter().zip(batch.decided) {
            let event = match &decided {
                Decided::Done(_, records) => batch.records[records.clone()].first(),
                Decided::Refused(_) | Decided::Unwritable(_) => None,
            };
            if nothing && freed && self.closed.is_none() && job.lane == Lane::Owner {
                again.push(job);
            } else if let Some(event) = event.filter(|_| !nothing) {
                job.answer(Err(SubmitError::Lost {
                    reason: reason.clone(),
                    found,
                    event: Some(event.id()),
                }));
            } else {
                job.answer(Err(SubmitError::Unavailable(reason.clone())));
            }
        }
        if found == Some(true) {
            self.tell(batch.records);
        }
        again
    }

    /// Opens the file again and takes over what it says.
    pub(super) fn reopen(&mut self) {
        let mut opened = self.load();
        if opened.as_ref().is_err_and(OpenError::is_full) {
            self.full = Some(Instant::now());
            if self.free_the_owners_space() {
                opened = self.load();
            }
        }
        match opened {
            Ok(loaded) => {
                self.closed = None;
                self.install(loaded);
            }
            Err(error) => {
                tracing::error!(name: "ledger.closed", %error, "the ledger stays closed");
                self.shared.store.close();
                self.closed = Some((error.to_string(), Instant::now()));
            }
        }
        self.report();
    }

    fn load(&self) -> Result<Loaded<M>, OpenError> {
        self.shared.store.open()?;
        Ok(recent::<M>(&self.shared.store.read()?)?)
    }

    pub(super) fn install(&mut self, loaded: Loaded<M>) {
        self.head = loaded.head;
        self.digest = loaded.digest;
        self.kept = loaded.kept;
        self.older = loaded.older;
        self.checkpoint = loaded.checkpoint;
        self.run = Run::from(loaded.head.seq + 1);
        self.unindexed = Unindexed::default();
        self.know_archives();
        self.unsettled = Some(Instant::now());
        self.shared.state.store(Arc::new(loaded.state));
    }

    pub(super) fn report(&self) {
        let condition = match (&self.closed, self.full) {
            (Some((reason, _)), _) => Condition::Closed(reason.clone()),
            (None, Some(_)) => Condition::DiskFull,
            (None, None) => Condition::Open,
        };
        self.shared.condition.store(Arc::new(condition));
    }
}

impl From<CheckError> for OpenError {
    fn from(error: CheckError) -> Self {
        match error {
            CheckError::Found(finding) => Self::Damaged(finding),
            CheckError::Later(unknown) => Self::Later { unknown, by: None },
            CheckError::Store(error) => Self::Store(error),
        }
    }
}
