//! The supervisor with real processes under the real launcher.
//!
//! The workers are examples of this package (`plexus-worker-tame` behaves, `plexus-worker-rude` breaks one rule), which
//! `cargo test -p plexusd` builds. A test waits for notices, answers and files, never for time.

#[path = "supervisor/commits.rs"]
mod commits;
#[path = "supervisor/ends.rs"]
mod ends;
#[path = "supervisor/proof.rs"]
mod proof;
#[path = "supervisor/reads.rs"]
mod reads;
#[path = "supervisor/stage.rs"]
mod stage;
#[path = "supervisor/starts.rs"]
mod starts;
#[allow(dead_code, unreachable_pub, reason = "the stories' harness uses all")]
#[path = "../../../tests/src/waiting.rs"]
mod waiting;
