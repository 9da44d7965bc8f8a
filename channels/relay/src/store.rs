//! [`Store`]: where acts are kept, and the one way in which anything here becomes durable.
//!
//! Everything that a relay knows is an *act*, appended to a *subject*: an organization's or a channel's. Acts of a subject
//! are numbered from 1. What tables there are in memory are folds of acts. A store that is a log of messages with subjects
//! and an expected sequence (NATS JetStream) fits the same trait: `append` is one message, `rows` a bucket of keys and values
//! that is a fold as well, `snapshot` an object that saves reading.
//!
//! Invariants: an act is appended only behind the one that it was decided on; acts, their rows and their snapshot are durable
//! together; [`Append::then`] is called once for each append, in the order of its subject, and with `true` only when the act
//! is durable.
//!
//! Must not know: what an act says.

mod redb_file;

use plexus_channels::Id;

pub use redb_file::RedbFile;

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

/// What is called when an append is over.
pub type Then = Box<dyn FnOnce(bool) + Send>;

/// One act on its way to disk.
pub struct Append {
    /// Whose.
    pub subject: Subject,
    /// The number of the act that it was decided on; 0 before the first.
    pub expected: u64,
    /// Its bytes.
    pub act: Vec<u8>,
    /// Derived rows that change with it: key and value, or none.
    pub rows: Vec<(Vec<u8>, Option<Vec<u8>>)>,
    /// The fold of the subject up to and with an earlier act, to start from.
    pub snapshot: Option<(u64, Vec<u8>)>,
    /// Called from the store's own thread; it must not wait for anything.
    pub then: Then,
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
    fn snapshot(&self, subject: Subject) -> Result<Option<(u64, Vec<u8>)>, StoreError>;

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
}

#[cfg(test)]
pub(crate) mod conformance;
