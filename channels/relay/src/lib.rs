//! `plexus-relay`: keeps who may write where, and ciphertext in order. It can read neither messages nor names of channels.
//!
//! ```text
//! listen ▸ routes ▸ relay ▸ cell (decide, apply) ▸ store (durable) ▸ answer
//!                     │                              └▸ hub ▸ socket: pushes, in order, after durable
//!                     └▸ sessions, rates                          pushes: also of acts that another relay appended
//! ```
//! Everything durable is an act in a subject; `organization` and `channel` are folds of acts and pure.
//!
//! Must not know: a channel's key, a private key, a text.

mod cell;
mod challenges;
mod channel;
mod hub;
mod in_flight;
pub mod listen;
pub mod operator;
mod organization;
mod proxies;
mod pushes;
mod rates;
mod refusal;
mod relay;
mod routes;
mod sessions;
mod socket;
pub mod store;

pub use proxies::{Network, Proxies};
pub use refusal::Refusal;
pub use relay::{Relay, Terms};
