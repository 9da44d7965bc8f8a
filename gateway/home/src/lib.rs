//! What one installation of the gateway stands on: its state directory, its time, its network settings, and inspections
//! of folders that end even where a disk does not answer.
//!
//! Must not know: who may do what, the ledger, sources, HTTP.

pub mod clock;
pub mod inspection;
pub mod network;
pub mod state_dir;
