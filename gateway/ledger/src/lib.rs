//! Everything durable in Plexus: state rows and the hash-chained audit log, changed together.
//!
//! ```text
//! submit ─▶ two lanes ─▶ writer: decide ▸ seal ▸ apply, up to 256 records ─▶ one redb commit
//!                                    ┌───────────────────────────────────────────┘
//!                                    └▶ swap the snapshot ▸ acknowledge ▸ broadcast ▸ note the head
//! ```
//! Promises: an acknowledged command is on disk. Rows are what the events lead to: checked at each boot since the last
//! checkpoint and by `verify` from the first event. Nothing is shown before it is committed. A commit that failed is
//! reported as neither saved nor lost, after the file was read again.
//!
//! A later version may give rows and events more members. It reads the older ones as they are; an earlier version refuses
//! what it does not know ([`OpenError::Later`]) instead of losing it.
//!
//! Generic over a [`Machine`]: this crate knows no grant, no agent's right, no HTTP. Truncation since the last line of
//! `audit-heads.jsonl`, and one who recomputes the whole unkeyed chain, are not found.

mod archive;
mod ballast;
mod check;
mod copy;
mod digest;
mod event;
mod finding;
mod heads;
mod index;
mod ledger;
mod machine;
mod query;
mod queue;
mod reading;
mod recent;
mod sole;
mod store;
mod verify;
mod writer;

pub use archive::{Archive, ArchiveState, SealStep, SealWatch};
pub use check::Verified;
pub use copy::{Closed, Copied, copy_at_rest, hold_closed};
pub use event::{EventId, Head, NotAnEventId, Recorded};
pub use finding::{CheckError, Finding, Unknown};
pub use ledger::{
    Audience, BootReport, Clock, Committed, Condition, Ledger, Observer, OpenError, Options, Times,
    check_present,
};
pub use machine::{
    CHECKPOINT, Decision, DecodeError, FORGOTTEN, IndexTerm, Machine, Restored, Rows, SEALED,
};
pub use queue::Lane;
pub use store::{FORMATS, Opener, StoreError};
pub use verify::{VerifiedArchives, VerifiedExport, verify_archives, verify_export, verify_file};
pub use writer::{Durable, EventRef, ForgetError, Receipt, SubmitError};
