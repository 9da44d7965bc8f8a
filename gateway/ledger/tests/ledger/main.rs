//! The ledger through its public face, with a bank for a machine: what is acknowledged is there, what is shown is
//! committed, what was changed behind its back is named.

mod archives;
mod bank;
mod copies;
mod disk;
mod export;
mod faults;
mod histories;
mod kill;
mod opening;
mod oracles;
mod panics;
#[cfg(target_os = "linux")]
mod power;
mod queries;
mod record;
mod slow;
mod starts;
mod storms;
mod tables;
mod tampering;
mod versions;
#[allow(dead_code, unreachable_pub, reason = "the stories' harness uses all")]
#[path = "../../../../tests/src/waiting.rs"]
mod waiting;
