//! The gateway daemon.

pub mod supervisor;
