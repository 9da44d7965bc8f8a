//! The stories of `relay` on NATS JetStream, and those of several relays.

#[path = "../relay/acts.rs"]
mod acts;
mod chaos;
#[path = "../relay/crashes.rs"]
mod crashes;
#[allow(dead_code, reason = "the stories of `relay` use all of it")]
#[path = "../relay/harness.rs"]
mod harness;
#[path = "../relay/live.rs"]
mod live;
#[allow(dead_code, reason = "the store's own tests use all of it")]
#[path = "../relay/nats.rs"]
mod nats;
#[path = "../relay/refusals.rs"]
mod refusals;
#[path = "../relay/removal.rs"]
mod removal;
#[cfg(target_os = "linux")]
#[path = "../relay/secrets.rs"]
mod secrets;
mod shared;

/// Where the relays of these stories keep everything.
const ON_NATS: bool = true;
