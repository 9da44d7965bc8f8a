//! [`Store`]: where acts are kept, and the one way in which anything here becomes durable.
//!
//! Everything that a relay knows is an *act*, appended to a *subject*: an organization's or a channel's. Acts of a subject
//! are numbered from 1. What tables there are in memory are folds of acts. [`RedbFile`] is one file of one relay;
//! [`JetStream`] a replicated log that several relays share: there, other relays append too, and [`Follow`] hears of it.
//!
//! Invariants: an act is appended only behind the one that it was decided on; acts, their rows and their snapshot are durable
//! together; [`Append::then`] is called once for each append, in the order of its subject, with [`Outcome::Durable`] only when
//! the act is durable; a subject's acts are told of in their order, those of other relays too.
//!
//! Must not know: what an act says.

mod jetstream;
mod redb_file;
mod tables;

use futures_util::future::{self, BoxFuture};
use plexus_channels::Id;
use std::sync::Weak;

pub use jetstream::{Address, JetStream};
pub use redb_file::RedbFile;

/// Ends the process where a store's thread panics: nobody would answer its callers. The next process begins with what is stored.
struct AbortOnPanic;

impl Drop for AbortOnPanic {
    fn drop(&mut self) {
        if std::thread::panicking() {
            std::process::abort();
        }
    }
}

/// Whose acts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Subject {
    /// An organization: invitations and users.
    Organization(Id),
    /// A channel: members, keys and messages.
    Channel(Id),
}

impl Subject {
    /// 17 bytes: kind and id.
    fn to_bytes(self) -> [u8; 17] {
        let (kind, id) = match self {
            Self::Organization(id) => (b'o', id),
            Self::Channel(id) => (b'c', id),
        };
        let mut bytes = [0; 17];
        bytes[0] = kind;
        bytes[1..].copy_from_slice(&id.to_bytes());
        bytes
    }
}

/// How an append ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is durable.
    Durable,
    /// It is not there and will not be: another act came before it.
    Behind,
    /// It may be there, or come to be there.
    Unknown,
}

impl Outcome {
    const fn of(taken: bool) -> Self {
        if taken { Self::Durable } else { Self::Behind }
    }
}

/// What is called when an append is over.
pub type AppendCallback = Box<dyn FnOnce(Outcome) + Send>;
/// Derived rows that change with an act: key and value, or none.
pub type Rows = Vec<(Vec<u8>, Option<Vec<u8>>)>;
/// The number of an act, and the fold of its subject up to and with it.
pub type Snapshot = (u64, Vec<u8>);

/// One act on its way to disk.
pub struct Append {
    /// Whose.
    pub subject: Subject,
    /// The number of the act that it was decided on; 0 before the first.
    pub expected: u64,
    /// Its bytes.
    pub act: Vec<u8>,
    /// Derived rows that change with it.
    pub rows: Rows,
    /// The fold of the subject up to and with an earlier act, to start from.
    pub snapshot: Option<Snapshot>,
    /// Called from the store's own thread; it must not wait for anything.
    pub then: AppendCallback,
}

/// The store takes nothing more at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the store has too much to write")]
pub struct Full;

/// The store cannot be read or opened.
#[derive(Debug, thiserror::Error)]
#[error("the store: {0}")]
pub struct StoreError(pub String);

/// Where acts are kept. Reading blocks for as long as a disk takes.
pub trait Store: Send + Sync + 'static {
    /// Queues an act.
    ///
    /// # Errors
    /// Where the queue is full; `then` is dropped without a call.
    fn append(&self, append: Append) -> Result<(), Full>;

    /// Durable acts of a subject with numbers from `first` to `last`, at most `most`, with their numbers; the lowest first, or
    /// the highest first.
    ///
    /// # Errors
    /// Where the storage fails.
    fn acts(
        &self,
        subject: Subject,
        numbers: (u64, u64),
        most: usize,
        backwards: bool,
    ) -> Result<Vec<(u64, Vec<u8>)>, StoreError>;

    /// The newest snapshot of a subject: the number of its last act, and the fold.
    ///
    /// # Errors
    /// Where the storage fails.
    fn snapshot(&self, subject: Subject) -> Result<Option<Snapshot>, StoreError>;

    /// A derived row.
    ///
    /// # Errors
    /// Where the storage fails.
    fn row(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError>;

    /// Keys of derived rows that begin so, in order, at most `most`.
    ///
    /// # Errors
    /// Where the storage fails.
    fn row_keys(&self, prefix: &[u8], most: usize) -> Result<Vec<Vec<u8>>, StoreError>;

    /// Who hears of acts that others append, from the store's own thread. A store of one relay has none to tell of.
    fn follow(&self, _: Weak<dyn Follow>) {}

    /// Waits until every act that was durable anywhere before the call can be read here; whether others append at all.
    ///
    /// # Errors
    /// Where the storage does not say in time.
    fn catch_up(&self) -> BoxFuture<'_, Result<bool, StoreError>> {
        Box::pin(future::ready(Ok(false)))
    }

    /// Whether what can be read here is the newest, or was some seconds ago.
    fn is_current(&self) -> bool {
        true
    }
}

/// Who hears of acts that other relays appended.
pub trait Follow: Send + Sync {
    /// An act that can be read, and no later one of its subject can. A snapshot is kept where one comes back.
    fn appended(&self, subject: Subject, number: u64, act: &[u8]) -> Option<Snapshot>;

    /// The store is not current any more: acts may come late.
    fn lost(&self);
}

#[cfg(test)]
pub(crate) mod conformance;
