//! Stories: the relay's own program on one file, and clients as people and agents have them.

mod acts;
mod crashes;
mod dialect;
mod harness;
#[cfg(target_os = "linux")]
mod hostile;
mod keys;
mod liar;
mod lies;
mod live;
#[allow(dead_code, reason = "the stories of `relay_on_nats` use it")]
mod nats;
mod participants;
mod refusals;
mod removal;
#[cfg(target_os = "linux")]
mod secrets;

/// Where the relays of these stories keep everything.
const ON_NATS: bool = false;
