//! Stories: the relay's own program, and clients as people and agents have them.

mod acts;
mod crashes;
mod dialect;
mod harness;
mod live;
mod refusals;
#[cfg(target_os = "linux")]
mod secrets;
