//! The life of a call, of every caller: parsed, authorized, waiting for the owner or not, recorded, dispatched, answered.
//!
//! [`kernel::Kernel`] holds what every call needs. `life` carries a call from a body to an answer; `read`, `effect` and
//! `own` are its three kinds, and `commit` is what the last two share; `under_way` lists the calls that run, with their
//! `progress`; `pend` and `approvals` hold what waits for the owner, `bounded` what is left of an approval of several
//! calls; `runs` and `replay` find `answers` that are kept.
//!
//! Must not know: HTTP.

pub mod activation;
pub mod answer;
pub mod answers;
pub mod approvals;
mod ask_owner;
mod background;
pub mod bounded;
pub mod call;
pub mod change_author;
pub mod children;
mod commit;
pub mod contents;
pub mod conversation;
mod definitions;
pub mod denial;
mod effect;
pub mod events;
pub mod finish;
pub mod follow;
mod given;
mod host_calls;
pub mod host_sessions;
pub mod kernel;
pub mod lately;
pub mod latency;
pub mod life;
pub mod limits;
pub mod member_reads;
pub mod members;
pub mod metrics;
pub mod misfit;
mod outcome;
pub mod own;
mod pend;
mod permit;
pub mod progress;
pub mod proposals;
pub mod questions;
mod read;
pub mod refusal;
pub mod replay;
pub mod revocations;
pub mod revoke;
mod run_cage;
pub mod runs;
pub mod seen_plans;
pub mod settle;
pub mod shares;
mod source_events;
mod terms;
mod touches;
pub mod under_way;
pub mod used;
pub mod wanted_scopes;
pub mod worker_events;
mod workflow;

#[cfg(test)]
#[expect(
    unreachable_pub,
    reason = "the daemon's own list, which the tests read"
)]
#[path = "../../plexusd/src/shipped.rs"]
mod shipped;
