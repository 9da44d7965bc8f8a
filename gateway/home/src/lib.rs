//! What one installation of the gateway stands on: its state directory, its time, its network settings, inspections of
//! folders that end even where a disk does not answer, and tasks that outlast a failure.
//!
//! Must not know: who may do what, the ledger, sources, HTTP.

pub mod clock;
pub mod inspection;
pub mod network;
pub mod state_dir;
pub mod tasks;
