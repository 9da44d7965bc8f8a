//! What the gateway and its workers say to each other, and the harness that a worker runs in.
//!
//! Purpose: one place for the frames, the messages, the table of who may say what when, and the checks that stand
//! between a message and a connector. [`gateway`] is the end that `plexusd` holds, [`worker`] the end that a connector
//! is built on; both read the same [`manifest`]. [`egress`] is what the gateway and `plexus-egress` say to each other.
//!
//! ```text
//! gateway                                   worker (role: reader or writer)
//!   Start ────────────────────────────────▶  gives up exec and fork, attacks its own cage
//!   ◀──────────────────────────────── Hello  what it is, what the attack found
//!   ◀──────────────────────────── Described  the digest of the manifest it was built with
//!   ◀───────────────── Opened │ OpenFailed   the source
//!   Read, Plan │ Commit, Settle, Credit ──▶
//!   Cancel ───────────────────────────────▶
//!   ◀─────── Progress, Planned, Done, Settled
//!   Probe, Check ──▶ ◀────────────── Probed  at any time after Described
//!   Stop ─────────────────────────────────▶  finishes its commits, ends
//! ```
//!
//! Invariants: a frame is bounded before it is read; what cannot be decoded, or is not allowed in this phase and role,
//! ends the worker; no message has a field that could hold a credential of an agent or the owner.
//!
//! Must not know: HTTP, grants, the ledger, any connector.

pub mod egress;
pub mod frame;
pub mod gateway;
pub mod manifest;
pub mod message;
pub mod offer;
pub mod sign_in_step;
pub mod stream;
pub mod text;
pub mod worker;

/// Version of the messages; raised with every change to them, because two builds never talk to each other.
pub const IPC_VERSION: u32 = 13;

/// What both ends must agree on: the workspace's version and [`IPC_VERSION`]. Travels in `Hello`.
pub const BUILD: &str = concat!(env!("CARGO_PKG_VERSION"), "+ipc.", 13);

#[cfg(test)]
mod tests {
    #[test]
    fn build_names_the_ipc_version() {
        assert!(super::BUILD.ends_with(&format!("+ipc.{}", super::IPC_VERSION)));
    }
}
