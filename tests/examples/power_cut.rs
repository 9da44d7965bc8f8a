//! A disk that forgets at a power cut what was not synced: loaded before a daemon, it notes each sync of what lies on a
//! `plexus_power_cut::Disk`.

#[cfg(target_os = "linux")]
pub use plexus_power_cut::os::{fdatasync, fsync};
