//! The edge: listeners, who may come in, the agents' routes, and what an answer looks like. One file per resource.
//!
//! ```text
//! connection ▸ guard (Host, Origin) ▸ route ▸ owner's key on owner routes ▸ body ▸ the route's own credential ▸ act
//! ```
//! Invariants: the guard comes before everything, unknown routes included; agent routes and owner routes are two
//! routers, and each Unix socket serves one of them; a refusal is always the wire's error shape.
//!
//! Must not know: the owner's routes and the console, beyond a router that it serves.

pub mod address;
pub mod agent;
pub mod authenticate;
mod body;
pub mod browser;
pub mod connection_key;
mod connections;
pub mod edge;
pub mod ends;
pub mod grant_reply;
pub mod guard;
pub mod kept_discovery;
pub mod key_lock;
pub mod listen;
pub mod mcp_agents;
pub mod reply;
pub mod revocation;
pub mod service;
pub mod sessions;
pub mod sse;
pub mod stream;
pub mod throttle;
pub mod token;
mod unread;

#[cfg(test)]
#[expect(
    unreachable_pub,
    reason = "the daemon's own list, which the tests read"
)]
#[path = "../../plexusd/src/shipped.rs"]
mod shipped;
