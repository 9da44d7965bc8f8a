//! What the ledger keeps durable, seen from outside: one trait, implemented once by the daemon.
//!
//! Invariant: a state is exactly its rows. What `all_rows(s)` says, read and restored, and a fold of the events that led to
//! `s` give states with the same rows; `verify` holds the machine to that.
//! Invariant: a row is read by itself. It may need another one ([`Machine::needs`]) to be there, but says the same whatever
//! that one says: so rows are read in parts, on several threads, and a check can read again only those that changed.
//! A row keeps the bytes of the version that wrote it until an event changes it again. So `replay` works on bytes, for
//! ever, and `restore` on meaning: a member that a later version added has its default in an older row.
//! Must not know: what a command means, who sent it, or what an event permits.

use std::collections::BTreeMap;

use crate::event::EventId;

/// Rows as they are stored: key → bytes.
pub type Rows = BTreeMap<String, Vec<u8>>;

/// A deterministic machine whose events are the audit log and whose state is the rows beside it.
///
/// All functions are pure and quick: they run on the writer's thread, between two commits. Times are milliseconds
/// since the epoch. A panic in any of them fails the batch it happened in and nothing else.
pub trait Machine: Sized + Send + Sync + 'static {
    /// The state; `clone` must be cheap (shared structure), because each commit makes one. `default` is the state
    /// before the first event.
    type State: Clone + Default + Send + Sync + 'static;
    /// A wish to change the state.
    type Command: Send + 'static;
    /// A fact: what changed, or what is to be remembered.
    type Event: Send + 'static;
    /// What `decide` answers beside the events.
    type Reply: Send + 'static;
    /// Why `decide` would not.
    type Refusal: Send + 'static;
    /// What some rows say.
    type Part: Send;

    /// Decides a command on the newest state. The first event is the one that the call's receipt is named after.
    /// No events means that nothing is recorded.
    ///
    /// # Errors
    /// The refusal is handed to the caller; it leaves no record.
    fn decide(state: &Self::State, command: &Self::Command, now: u64) -> Decision<Self>;

    /// Makes the event part of the state. `id` and `at` are its recorded id and time.
    fn apply(state: &mut Self::State, event: &Self::Event, id: EventId, at: u64);

    /// The `type` member: ASCII letters, digits, `.`, `-` and `_`. [`CHECKPOINT`] is the ledger's own.
    fn event_type(event: &Self::Event) -> &'static str;

    /// Appends the event's own members as one compact JSON object (`{}` if it has none), without `seq`, `id`, `time`
    /// and `type`.
    fn encode(event: &Self::Event, into: &mut Vec<u8>);

    /// The inverse of [`encode`](Machine::encode): `members` is the object it wrote.
    ///
    /// # Errors
    /// When the members are not an event of this type.
    fn decode(event_type: &str, members: &[u8]) -> Result<Self::Event, DecodeError>;

    /// Carries a stored event over to rows as they are stored: what [`apply`](Machine::apply) does, but in the bytes
    /// that the event brings, whichever version wrote it. `members` is as for [`decode`](Machine::decode).
    ///
    /// # Errors
    /// When the members are not an event of this machine.
    fn replay(rows: &mut Rows, id: EventId, members: &[u8]) -> Result<(), DecodeError>;

    /// Keys of the rows this event may have changed; empty for plain reads. A key left out is a bug that `verify`
    /// reports as a differing row.
    fn touched_rows(event: &Self::Event, id: EventId) -> Vec<String>;

    /// The row as it is in `state`, in canonical bytes, or `None` if there is none.
    fn row(state: &Self::State, key: &str) -> Option<Vec<u8>>;

    /// Every row of the state, in any order, each key once.
    fn all_rows(state: &Self::State) -> Vec<(String, Vec<u8>)>;

    /// Reads some of the rows, each by itself.
    ///
    /// # Errors
    /// When a row is not one of this machine's, or holds more than this version knows and would lose.
    fn read<'r>(rows: impl Iterator<Item = (&'r str, &'r [u8])>)
    -> Result<Self::Part, DecodeError>;

    /// The state made of all rows: the parts they were read in, in the order of their keys.
    ///
    /// # Errors
    /// When a row is there without the one it needs.
    fn restore(parts: Vec<Self::Part>) -> Result<Restored<Self>, DecodeError>;

    /// The key of the row without which this one cannot be there.
    fn needs(key: &str) -> Option<String>;

    /// What the event can be found by. Any number, in any order.
    fn index_terms(event: &Self::Event) -> Vec<IndexTerm>;

    /// Bytes that [`encode`](Machine::encode) writes, and wrote in every version, for each event that `term` names: in
    /// archives only events with them are looked at. `None`: all are.
    fn text_of(_term: &IndexTerm) -> Option<String> {
        None
    }
}

/// What [`Machine::restore`] makes.
pub struct Restored<M: Machine> {
    /// The state.
    pub state: M::State,
    /// Keys of the rows that this version would write in other bytes than they were read from, would not write, or would
    /// write although there is none.
    pub otherwise: Vec<String>,
}

/// What [`Machine::decide`] comes to: events and a reply, or a refusal.
pub type Decision<M> =
    Result<(Vec<<M as Machine>::Event>, <M as Machine>::Reply), <M as Machine>::Refusal>;

/// The `type` of the event that the ledger itself writes: a digest of the rows at that point of the log.
pub const CHECKPOINT: &str = "checkpoint";
/// The `type` of the event that the ledger itself writes when events have been put into an archive.
pub const SEALED: &str = "audit.sealed";
/// The `type` of the event that the ledger itself writes when the owner gives an archive up.
pub const FORGOTTEN: &str = "audit.forgotten";

/// Whether events of this type are the ledger's, and none of the machine's.
pub(crate) fn is_own(event_type: &str) -> bool {
    [CHECKPOINT, SEALED, FORGOTTEN].contains(&event_type)
}

/// Something an event can be found by.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum IndexTerm {
    /// The agent whose act it was.
    Agent(String),
    /// A thing that was read or changed.
    Touched(String),
}

impl IndexTerm {
    /// The first two parts of the index row's key. The numbers are in files: they never change.
    pub(crate) fn key(&self) -> (u8, &str) {
        match self {
            Self::Agent(id) => (0, id),
            Self::Touched(id) => (1, id),
        }
    }
}

/// Stored bytes that the machine cannot read; the text says what was wrong with them.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct DecodeError(pub String);
