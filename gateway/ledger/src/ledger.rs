//! Opening and closing the ledger, and the handle everyone holds.
//!
//! Opening: take the file's lock, know its format, fold what came after the last checkpoint and compare it with the
//! rows, count the launch, start the writer. Whatever does not hold refuses the start: rows that no event explains
//! could be grants that no owner gave.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use redb::DatabaseError;
use tokio::sync::{broadcast, oneshot};

use crate::archive::{self, Archive, ArchiveState, SealWatch};
use crate::ballast::Ballast;
use crate::check::{self, Loaded, Verified};
use crate::event::Recorded;
use crate::finding::{CheckError, Finding, Unknown};
use crate::heads::{self, Heads};
use crate::machine::Machine;
use crate::queue::{Lane, PushError, Queue};
use crate::recent::recent;
use crate::sole::Sole;
use crate::store::{
    FORMAT, FORMATS, Opener, Store, StoreError, View, is_full, open_file, sync_folder,
};
use crate::writer::{Forget, ForgetError};
use crate::writer::{Job, Receipt, SubmitError, Terms, Writer};

/// Milliseconds since the epoch, trusted not to run backwards within a launch. Called once per command.
pub type Clock = Arc<dyn Fn() -> u64 + Send + Sync>;

/// The ledger's own files in the state directory.
pub(crate) const LEDGER_FILE: &str = "ledger.redb";
pub(crate) const HEADS_FILE: &str = "audit-heads.jsonl";
const BALLAST_FILE: &str = "ledger.ballast";

/// What one commit took, for measurements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Committed {
    /// Events in it.
    pub records: usize,
    /// From the first write to the end of the flush.
    pub took: Duration,
    /// How long the writer had waited for company; zero where flushes are fast.
    pub lingered: Duration,
}

/// Is told of each commit of commands, on the writer's thread: it must not block.
pub type Observer = Arc<dyn Fn(Committed) + Send + Sync>;

/// Which events [`Ledger::subscribe`] tells of. Asked on the writer's thread after each commit: it must not block.
pub type Audience = Arc<dyn Fn(&Recorded) -> bool + Send + Sync>;

/// What a ledger is opened with.
#[derive(Clone)]
pub struct Options {
    /// The time of decisions and records.
    pub clock: Clock,
    /// Commands that may wait in the agents' lane; one more is [`SubmitError::Busy`].
    pub queue: usize,
    /// The same for the owner's lane.
    pub owner_queue: usize,
    /// Events a subscriber may be behind before it misses some.
    pub subscriber_lag: usize,
    /// Events from one checkpoint to the next: bounds what a boot folds.
    pub checkpoint_every: u64,
    /// Events that one row of the index is about: 1 to 256.
    pub index_run: usize,
    /// Bytes set aside for the owner's acts on a full disk; 0 for none.
    pub ballast: u64,
    /// Least time between two tries to reopen a closed ledger, or to find room on a full disk.
    pub retry: Duration,
    /// Events that stay in the file; older ones go into archives. [`Ledger::keep`] changes it.
    pub keep: u64,
    /// Asked before each step of sealing. Only tests of failing storage give one that ever refuses.
    pub sealing: SealWatch,
    /// How long nothing must be recorded before a commit of its own puts the file in order, so that a start after a kill
    /// need not walk through all of it. It costs two flushes.
    pub settle_after: Duration,
    /// Name of this build, left in the file for the words of a refusal.
    pub build: String,
    /// How the file is opened. Only tests of failing storage give another.
    pub opener: Opener,
    /// Who is told of commits.
    pub observer: Observer,
    /// Which events subscribers are told of. To wake one for each costs as much as to record it.
    pub audience: Audience,
}

impl Options {
    /// The numbers of the design.
    #[must_use]
    pub fn new(clock: Clock) -> Self {
        Self {
            clock,
            queue: 4096,
            owner_queue: 64,
            subscriber_lag: 4096,
            checkpoint_every: 10_000,
            index_run: crate::index::RUN,
            ballast: 16 << 20,
            retry: Duration::from_secs(1),
            keep: u64::MAX,
            sealing: Arc::new(|_| Ok(())),
            settle_after: Duration::from_secs(5),
            build: env!("CARGO_PKG_VERSION").to_owned(),
            opener: Arc::new(open_file),
            observer: Arc::new(|_| {}),
            audience: Arc::new(|_| true),
        }
    }
}

/// How long the parts of an opening took.
#[derive(Clone, Copy, Debug, Default)]
pub struct Times {
    /// Until the file was open; after a kill redb walks through it.
    pub file: Duration,
    /// The rows, and the events since the last checkpoint.
    pub check: Duration,
    /// The rest: the launch's own commit, the heads, the space set aside.
    pub rest: Duration,
}

/// What was found when the ledger was opened.
#[derive(Clone, Debug)]
pub struct BootReport {
    /// How long it took.
    pub times: Times,
    /// Number of this launch, from 1.
    pub launch: u64,
    /// False if the last stop was a crash or a kill.
    pub clean: bool,
    /// The file had to be walked through before it could be used: the last stop was a kill at work, not at rest.
    pub walked: bool,
    /// What was checked: the events since the last checkpoint, all rows. `checked.head.at` is the latest recorded
    /// time, below which the caller's clock should not start.
    pub checked: Verified,
    /// `audit-heads.jsonl` knows of events that the ledger lacks: it was cut short or put back. The owner must hear, at
    /// this start and at later ones: the last lines and those that something went back behind are compared each time, until
    /// the log has archived what was recorded in their place. A file of heads that is begun anew takes this one along.
    pub rolled_back: Option<Finding>,
    /// Archives that are not where they should be, or not as long. A start needs none; a full check does.
    pub archives_astray: Vec<Archive>,
    /// Why no space is set aside for the owner's acts. If the disk is full, agents' commands are refused until
    /// there is room for it.
    pub no_ballast: Option<String>,
}

/// Why the ledger was not opened. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has it open.
    #[error("the ledger is in use: another plexusd runs on this state directory; stop it first")]
    InUse,
    /// A daemon has ended before it had made up for a failed flush. Only an opening settles that; a copy would
    /// trust what may be on no disk.
    #[error(
        "a flush of the ledger has failed, and its daemon ended before it had made up for that (ledger.unsure lies \
         there): what can be read now may not be on the disk; start plexusd once, which settles it"
    )]
    Unsure,
    /// Written by another version.
    #[error(
        "the ledger has format {found}, this build knows format {FORMAT}: start the version that wrote it, or put \
         back the copy made before the upgrade"
    )]
    Format {
        /// The format found; 0 if the file is a database of something else.
        found: u64,
    },
    /// Whole, but a later version wrote what this one cannot read, and would lose.
    #[error(
        "a later plexusd{} wrote to this ledger ({unknown}): start that version again, or restore a copy made before \
         the upgrade", .by.as_ref().map(|by| format!(" ({by})")).unwrap_or_default()
    )]
    Later {
        /// What cannot be read.
        unknown: Unknown,
        /// The build that opened the ledger last.
        by: Option<String>,
    },
    /// The file is empty or missing although events were recorded.
    #[error(
        "ledger.redb is {how}, and {known}: put the file back, or restore a backup: plexusctl restore --replace FILE. To \
         begin anew without all that you decided, move {known_by} away"
    )]
    Gone {
        /// `empty` or `missing`.
        how: &'static str,
        /// How the events are known.
        known: String,
        /// The files that know of them.
        known_by: &'static str,
    },
    /// Log and rows contradict each other.
    #[error(
        "the ledger does not hold together: {0}. Keep a copy, run `plexusd verify` on it, restore a good one"
    )]
    Damaged(Finding),
    /// Not readable as a ledger.
    #[error("the ledger cannot be read: {0}")]
    Store(#[from] StoreError),
    /// A file beside the ledger, or the writer's thread.
    #[error("{what}: {error}")]
    Io {
        /// What was being done.
        what: &'static str,
        /// What went wrong.
        error: io::Error,
    },
}

/// A ledger is made in the state directory `dir` only where nothing is known of an earlier one.
///
/// # Errors
/// [`OpenError::Gone`]; the heads cannot be read.
pub fn check_present(dir: &Path) -> Result<(), OpenError> {
    let how = match std::fs::metadata(dir.join(LEDGER_FILE)) {
        Ok(found) if found.len() == 0 => "empty",
        Err(error) if error.kind() == io::ErrorKind::NotFound => "missing",
        // The opening says why it cannot be read.
        Ok(_) | Err(_) => return Ok(()),
    };
    let noted = read_heads(dir)?;
    let mut archived = std::fs::read_dir(dir.join(archive::FOLDER))
        .into_iter()
        .flatten()
        .flatten();
    let is_archived = archived.any(|file| {
        let name = file.file_name();
        name.to_str().and_then(Archive::range).is_some()
    });
    let of_heads = |seq: u64| format!("audit-heads.jsonl knows of {seq} events");
    let (known, known_by) = match (noted.last(), is_archived) {
        (Some(last), false) => (of_heads(last.seq), "audit-heads.jsonl"),
        (Some(last), true) => (of_heads(last.seq), "audit-heads.jsonl and archive/"),
        (None, true) => ("archive/ has older events".to_owned(), "archive/"),
        (None, false) => return Ok(()),
    };
    Err(OpenError::Gone {
        how,
        known,
        known_by,
    })
}

fn read_heads(dir: &Path) -> Result<Vec<heads::Noted>, OpenError> {
    heads::read(&dir.join(HEADS_FILE)).map_err(|error| OpenError::Io {
        what: "reading audit-heads.jsonl",
        error,
    })
}

/// What redb cannot make out it calls invalid or too short: that is the content, not the opening.
fn is_content(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof
    )
}

impl From<DatabaseError> for OpenError {
    fn from(error: DatabaseError) -> Self {
        match error {
            DatabaseError::DatabaseAlreadyOpen => Self::InUse,
            DatabaseError::Storage(redb::StorageError::Io(error)) if !is_content(&error) => {
                Self::Io {
                    what: "opening the ledger's file to read and write",
                    error,
                }
            }
            other => Self::Store(other.into()),
        }
    }
}

impl OpenError {
    /// A check's end, with what the file says of who wrote it.
    pub(crate) fn found(error: CheckError, view: &View) -> Self {
        match Self::from(error) {
            Self::Later { unknown, .. } => Self::Later {
                unknown,
                by: view.build(),
            },
            other => other,
        }
    }

    /// Whether a disk, a quota or the largest file size is exhausted.
    #[must_use]
    pub fn is_full(&self) -> bool {
        match self {
            Self::Store(error) => error.is_full(),
            Self::Io { error, .. } => is_full(error),
            Self::InUse
            | Self::Unsure
            | Self::Format { .. }
            | Self::Later { .. }
            | Self::Gone { .. }
            | Self::Damaged(_) => false,
        }
    }

    /// Whether another try on the same files would end the same way.
    #[must_use]
    pub fn lasts(&self) -> bool {
        match self {
            Self::Format { .. } | Self::Later { .. } | Self::Gone { .. } | Self::Damaged(_) => true,
            Self::Store(StoreError::Redb(_)) => !self.is_the_systems() && !self.is_full(),
            Self::InUse | Self::Unsure | Self::Store(_) | Self::Io { .. } => false,
        }
    }

    /// Whether the system could not do what was asked, which says nothing of what the ledger holds: no room, no right.
    #[must_use]
    pub fn is_the_systems(&self) -> bool {
        match self {
            Self::Io { .. } => true,
            Self::Store(StoreError::Redb(e)) => {
                matches!(&**e, redb::Error::Io(error) if !is_content(error))
            }
            _ => false,
        }
    }
}

/// Whether the ledger records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Condition {
    /// It does.
    Open,
    /// Only acts of the owner.
    DiskFull,
    /// It does not, for this reason.
    Closed(String),
}

/// What the handle and the writer share.
pub(crate) struct Shared<M: Machine> {
    pub(crate) queue: Queue<Job<M>>,
    pub(crate) state: ArcSwap<M::State>,
    pub(crate) condition: ArcSwap<Condition>,
    pub(crate) events: broadcast::Sender<Arc<Recorded>>,
    /// Events that stay in the file.
    pub(crate) keep: AtomicU64,
    /// Archives that the owner gives up: the writer takes them when it is nudged.
    pub(crate) forgets: Mutex<Vec<Forget>>,
    pub(crate) store: Store,
}

/// The ledger. Clones are the same ledger; when the last one goes it is closed as by [`Ledger::close`].
pub struct Ledger<M: Machine>(Arc<Inner<M>>);

struct Inner<M: Machine> {
    shared: Arc<Shared<M>>,
    writer: Mutex<Option<JoinHandle<bool>>>,
    heads: PathBuf,
}

impl<M: Machine> Clone for Ledger<M> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<M: Machine> Ledger<M> {
    /// Opens the ledger in the state directory `dir` (which exists and is the owner's alone), making it if there is
    /// none. Blocks on the file.
    ///
    /// # Errors
    /// [`OpenError`]; a damaged ledger is refused, not repaired.
    pub fn open(dir: &Path, options: Options) -> Result<(Self, BootReport), OpenError> {
        let began = Instant::now();
        let sole = locked(dir)?;
        let heads = dir.join(HEADS_FILE);
        let io = |what| move |error| OpenError::Io { what, error };
        check_present(dir)?;
        let mut noted = read_heads(dir)?;
        let store = Store::new(dir.join(LEDGER_FILE), options.opener);
        let ballast = Ballast::new(dir.join(BALLAST_FILE), options.ballast);
        let booted = match boot::<M>(&store, &options.build) {
            // The launch itself must be recorded; on a full disk the owner's space is what is left for it.
            Err(error) if error.is_full() && ballast.free() => {
                store.close();
                boot::<M>(&store, &options.build)
            }
            booted => booted,
        };
        let Booted {
            launch,
            clean,
            loaded,
            file,
            check,
        } = booted?;
        let view = store.read()?;
        let archives_astray = view
            .archives()?
            .iter()
            .filter(|archive| {
                let place = ArchiveState::of(view.archive_folder(), archive);
                !matches!(place, ArchiveState::There | ArchiveState::Forgotten)
            })
            .cloned()
            .collect();
        // A start needs no archive: what those have is compared by a check of everything.
        let first = view.first_seq()?;
        let telling = heads::telling(&mut noted).iter();
        let contradicted = check::contradicted(&view, telling.filter(|line| line.seq >= first))?;
        let (contradicts, rolled_back) = match contradicted {
            Some((line, finding)) => (Some(line.clone()), Some(finding)),
            None => (None, None),
        };
        drop(view);
        let no_ballast = ballast.ensure_for_start().err();
        let full = no_ballast.as_ref().is_some_and(is_full);
        let no_ballast = no_ballast.map(|error| error.to_string());
        let rest = began.elapsed().saturating_sub(file + check);
        let report = BootReport {
            times: Times { file, check, rest },
            launch,
            clean,
            walked: store.was_walked(),
            checked: loaded.verified,
            rolled_back,
            archives_astray,
            no_ballast,
        };

        let shared = Arc::new(Shared {
            queue: Queue::new(options.queue, options.owner_queue),
            state: ArcSwap::from_pointee(M::State::default()),
            condition: ArcSwap::from_pointee(Condition::Open),
            events: broadcast::Sender::new(options.subscriber_lag),
            keep: AtomicU64::new(options.keep),
            forgets: Mutex::default(),
            store,
        });
        let terms = Terms {
            clock: options.clock,
            checkpoint_every: options.checkpoint_every.max(2),
            index_run: options.index_run.max(1),
            retry: options.retry,
            sealing: options.sealing,
            settle_after: options.settle_after,
            observer: options.observer,
            audience: options.audience,
        };
        let noter = Heads::open(&heads, contradicts).map_err(io("opening audit-heads.jsonl"))?;
        // The files' names must outlive a power cut as surely as what is in them.
        sync_folder(dir).map_err(io("syncing the state directory"))?;
        let writer = Writer::new(
            Arc::clone(&shared),
            terms,
            launch,
            noter,
            ballast,
            loaded,
            full,
        );
        let thread = std::thread::Builder::new()
            .name("ledger".to_owned())
            .spawn(move || {
                let clean = writer.run();
                // Not when the file is closed: a writer may wait for its disk to be mended.
                drop(sole);
                clean
            })
            .map_err(io("starting the ledger's writer"))?;
        Ok((
            Self(Arc::new(Inner {
                shared,
                writer: Mutex::new(Some(thread)),
                heads,
            })),
            report,
        ))
    }

    /// The newest committed state. Never blocks.
    #[must_use]
    pub fn snapshot(&self) -> Arc<M::State> {
        self.shared().state.load_full()
    }

    /// Has the writer decide the command on the newest state and record its events. It is queued by the call itself:
    /// the future holds no command, only the wait. The answer comes after the commit. Dropping the future does not take
    /// the command back.
    ///
    /// # Errors
    /// [`SubmitError`] says for each case whether something was written.
    pub fn submit(
        &self,
        command: M::Command,
        lane: Lane,
    ) -> impl Future<Output = Result<Receipt<M::Reply>, SubmitError<M::Refusal>>> + Send + use<M>
    {
        let (ack, answer) = oneshot::channel();
        let queued = self.shared().queue.push(lane, Job { command, lane, ack });
        async move {
            match queued {
                Ok(()) => {}
                Err(PushError::Full) => return Err(SubmitError::Busy),
                Err(PushError::Closed) => {
                    return Err(SubmitError::Unavailable("the ledger is closed".to_owned()));
                }
            }
            // The writer went while it had the command: it can have been before, in or after the commit.
            let gone = || SubmitError::Lost {
                reason: "the writer has stopped".to_owned(),
                found: None,
                event: None,
            };
            answer.await.unwrap_or_else(|_| Err(gone()))
        }
    }

    /// Events from now on that [`Options::audience`] lets through, each after its commit. Who falls behind misses events and is told how many; the writer
    /// waits for nobody.
    #[must_use]
    pub fn subscribe(&self) -> broadcast::Receiver<Arc<Recorded>> {
        self.shared().events.subscribe()
    }

    /// Whether it records now, and how many commands wait.
    #[must_use]
    pub fn condition(&self) -> (Condition, usize) {
        (
            Condition::clone(&self.shared().condition.load()),
            self.shared().queue.len(),
        )
    }

    /// Checks log against rows and against `audit-heads.jsonl`, while the writer goes on: all of it if `full`, else
    /// what came after the last checkpoint. Blocks on the file.
    ///
    /// # Errors
    /// [`CheckError::Found`] with the first thing that is wrong.
    pub fn verify(&self, full: bool) -> Result<Verified, CheckError> {
        // Before the view: a head noted later would look like a log cut short.
        let noted = heads::read(&self.0.heads).map_err(|e| StoreError::from(redb::Error::Io(e)))?;
        let view = self.shared().store.read()?;
        verify_view::<M>(&view, &noted, full)
    }

    /// Has about so many events stay in the file, from now on; older ones go into archives when the writer has time, some
    /// tens of thousands at once. Those that are archived stay so.
    pub fn keep(&self, events: u64) {
        self.shared().keep.store(events, Ordering::Relaxed);
    }

    /// The archives, oldest first, and whether each is there. Reads no archive's content.
    ///
    /// # Errors
    /// When the storage cannot be read.
    pub fn archives(&self) -> Result<Vec<(Archive, ArchiveState)>, StoreError> {
        let view = self.shared().store.read()?;
        let place = |archive: &Archive| ArchiveState::of(view.archive_folder(), archive);
        let list = view.archives()?.iter();
        Ok(list.map(|a| (a.clone(), place(a))).collect())
    }

    /// Gives up the archive `through` and every one before it, for ever: an event says so of each, then the files are
    /// removed. The chain is provable from there on, the rows only since the last checkpoint. Gives those given up.
    ///
    /// # Errors
    /// [`ForgetError`]; nothing was given up, unless it is [`ForgetError::Unavailable`] after a failed commit.
    pub async fn forget_archives(&self, through: String) -> Result<Vec<Archive>, ForgetError> {
        let (ack, answer) = oneshot::channel();
        let forget = Forget { through, ack };
        let gone = || ForgetError::Unavailable("the ledger is closed".to_owned());
        {
            let forgets = self.shared().forgets.lock();
            let mut forgets = forgets.unwrap_or_else(PoisonError::into_inner);
            // The closer of the queue empties the list after that.
            if !self.shared().queue.nudge() {
                return Err(gone());
            }
            forgets.push(forget);
        }
        answer.await.unwrap_or_else(|_| Err(gone()))
    }

    /// Number of the first event that the file itself has.
    ///
    /// # Errors
    /// When the storage cannot be read.
    pub fn first_in_file(&self) -> Result<u64, StoreError> {
        self.shared().store.read()?.first_seq()
    }

    /// Serves what is queued, writes a checkpoint and the last head, closes the file. Blocks until it is done; a
    /// second call does nothing. True if the stop was clean.
    pub fn close(&self) -> bool {
        self.0.close()
    }

    pub(crate) fn heads_file(&self) -> &Path {
        &self.0.heads
    }

    pub(crate) fn shared(&self) -> &Shared<M> {
        &self.0.shared
    }
}

/// Takes the lock of the state directory `dir`.
///
/// # Errors
/// [`OpenError::InUse`] while somebody has it, [`OpenError::Io`] where there are no locks.
pub(crate) fn locked(dir: &Path) -> Result<Sole, OpenError> {
    let sole = Sole::of(dir).map_err(|error| OpenError::Io {
        what: "locking the state directory",
        error,
    })?;
    sole.ok_or(OpenError::InUse)
}

struct Booted<M: Machine> {
    launch: u64,
    clean: bool,
    loaded: Loaded<M>,
    file: Duration,
    check: Duration,
}

/// Opens, recognises, checks, and only then writes: a refused ledger stays as it was found. One of an earlier format is
/// copied first.
fn boot<M: Machine>(store: &Store, build: &str) -> Result<Booted<M>, OpenError> {
    let began = Instant::now();
    store.open()?;
    let file = began.elapsed();
    let began = Instant::now();
    let view = store.read()?;
    let clean = view.clean()?;
    match view.format()? {
        Some(format) if FORMATS.contains(&format) => {
            let loaded = recent::<M>(&view).map_err(|error| OpenError::found(error, &view))?;
            let check = began.elapsed();
            drop(view);
            if format != FORMAT {
                store.copy_before(format).map_err(|error| OpenError::Io {
                    what: "keeping a copy of the ledger before its format changes",
                    error,
                })?;
                tracing::info!(name: "ledger.migrated", "the ledger has a new format; a copy of the old one lies beside it");
            }
            Ok(Booted {
                launch: store.begin_launch(build)?,
                clean,
                loaded,
                file,
                check,
            })
        }
        Some(found) => Err(OpenError::Format { found }),
        None => {
            drop(view);
            let launch = store.begin_launch(build)?;
            Ok(Booted {
                launch,
                clean,
                loaded: recent::<M>(&store.read()?)?,
                file,
                check: Duration::ZERO,
            })
        }
    }
}

impl<M: Machine> Inner<M> {
    fn close(&self) -> bool {
        self.shared.queue.close();
        let writer = self
            .writer
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        writer.is_some_and(|writer| writer.join().unwrap_or(false))
    }
}

impl<M: Machine> Drop for Inner<M> {
    fn drop(&mut self) {
        self.close();
    }
}

pub(crate) fn verify_view<M: Machine>(
    view: &View,
    noted: &[heads::Noted],
    full: bool,
) -> Result<Verified, CheckError> {
    let whole = if full {
        Some(check::full::<M>(view)?)
    } else {
        None
    };
    // Also after a full check: it does not see the values kept for the last checkpoint.
    let recent = recent::<M>(view)?.verified;
    let heads = check::heads(view, noted)?;
    Ok(Verified {
        heads,
        ..whole.unwrap_or(recent)
    })
}
