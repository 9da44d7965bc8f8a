//! What is allowed: one pure machine.
//!
//! [`decide`] looks at a [`State`] and a [`Command`] and answers with the [`Event`]s that would carry it out, or with a
//! [`Refusal`]; [`State::apply`] is the only thing that changes a state, and takes nothing but an event. The ledger's
//! writer runs both on the newest state, in order, so single use, compare-and-swap and revocation are settled here and
//! nowhere else. [`authorize`] answers the same question on a snapshot, before any work is done; its [`Permit`] is
//! checked again by [`decide`] in the transaction that records the call.
//!
//! Invariants: nothing is allowed without an act of the owner; nothing after revoke, expiry, rotation, re-gating or
//! beyond a ceiling; `once` means once; time that runs backwards lengthens nothing; a folded log gives the state that
//! wrote it. `tests/model.rs` holds them against a naive model, `tests/fold.rs` the log against the rows, and
//! `tests/stories.rs` has an example of each rule.
//!
//! Must not know: HTTP, files, workers, clocks, randomness. `now` and every fresh id are arguments.

mod authorize;
mod command;
mod decide;
mod differences;
mod event;
mod moved;
pub mod pins;
mod restore;
mod rows;
mod state;
mod window;

pub use authorize::{
    AuthPath, Basis, Call, Permit, Verdict, authorize, in_reach, standing_for, visible,
};
pub use command::{
    Approve, ChildrenAsked, Command, Connect, Decision, Deliver, Entry, Extent, GrantEntry, Lend,
    Note, Outcome, Propose, Refusal, Register, Reply, RequestGrants, SessionProof, SourceSeen,
    Streamed,
};
pub use decide::decide;
pub use event::{CallFact, Event, Fact, KINDS, OutcomeKind, Touch, spell_out};
pub use pins::Stopped;
pub use plexus_protocol::{EnrollmentStatus, Reach};
pub use restore::{Part, RestoreError, needs, put_together, read_part, restore};
pub use rows::{Rows, all_rows, replay, row, touched_rows};
pub use state::{
    Agent, Approval, Ask, Bounded, BoundedState, Bounds, ChildCalls, Denial, Difference, Facts,
    Grant, Hide, Item, ItemState, Lent, OnApproval, OpenIntent, Plan, Proposal, Session, Settings,
    Source, SourceConfig, State, Target, Token, TurnLimits, Unknown, UsedKey, key_digest,
};
pub use window::{Ceiling, ceiling, class_default, grantable};

/// Pending items that one agent may have at once; more is `rate_limited` (D11).
pub const MAX_PENDING: usize = 20;
/// Items of one agent that are kept after they came to nothing or were used; the oldest give way to new ones. Far more
/// than an agent that waits for its answers has in the 48 h that they are kept at most.
pub const MAX_DECIDED: usize = 200;
/// Turns that one bounded approval may permit, the approved call among them.
pub const MAX_TURNS: u32 = 100;
/// Child calls that one bounded approval may permit side by side.
pub const MAX_PARALLEL: u32 = 8;
/// Capabilities that the child calls of one bounded approval may be of.
pub const MAX_CHILDREN: usize = 16;
/// Minutes that a bounded approval may last: a day, so that its item is there for as long as it is open.
pub const MAX_MINUTES: u32 = 24 * 60;
/// Calls that an agent may make in a second unless the owner says otherwise; as many at one moment, if it made none in
/// the second before.
pub const CALLS_PER_SECOND: u32 = 200;
/// Bytes that the log may grow by for one agent in a day unless the owner says otherwise: 64 MiB, some 100,000 reads.
pub const LEDGER_PER_DAY: u64 = 64 << 20;
/// How long an item waits for the owner, and an approved one for its use: 24 h (docs/design.md#approvals).
pub const ITEM_MS: u64 = 24 * 3_600_000;
/// How long a denial is remembered: 30 days (docs/design.md#approvals).
pub const DENIAL_MS: u64 = 30 * 24 * 3_600_000;
/// How long an idempotency key is known: 24 h (docs/protocol/agents.md#idempotency).
pub const KEY_MS: u64 = 24 * 3_600_000;
/// Idempotency keys of one agent that are known at once; the oldest that is not under way gives way.
pub const MAX_KEYS: usize = 1_000;
/// How long the owner can look at what was changed in a folder whose lending has ended, and take it back: 7 days.
pub const LENT_KEPT_MS: u64 = 7 * 24 * 3_600_000;
/// How long a session lasts: 60 min, not sliding (docs/protocol/README.md#credentials).
pub const SESSION_MS: u64 = 3_600_000;
/// Sessions that one agent may have at once; the oldest gives way, because existing commands open one each.
pub const MAX_SESSIONS: usize = 64;
/// Tokens that one agent may have at once; the oldest gives way.
pub const MAX_TOKENS: usize = 256;
/// How long after its end a token may still be exchanged: 5 min (docs/protocol/agents.md#refresh-a-token).
pub const REFRESH_GRACE_MS: u64 = 300_000;
/// How long an enrollment code lives unless connect says otherwise: 15 min (docs/protocol/README.md#credentials).
pub const CODE_MS: u64 = 900_000;
