//! The core of an MCP server: what the capabilities of one agent look like as tools, and the life of one call.
//!
//! ```text
//! message ─▶ Server ─▶ Action::Send ───────────────────────▶ the client
//!              ▲  └──▶ Action::Call, Follow, Look, Cancel ─▶ the host ─▶ the gateway
//!              └────── Answer ◀──────────────────────────────┘
//! ```
//! It speaks two eras of MCP at once: the handshake (`2025-06-18`, `2025-11-25`) and the stateless one (`2026-07-28`).
//! A request that carries a protocol version in its `_meta` is of the second.
//!
//! Invariants:
//! - The host decides when anything happens: the core reads no clock, opens nothing and starts nothing.
//! - A request gets at most one response; a cancelled one gets none.
//! - A cancelled call never withdraws what waits for the owner; `tasks/cancel` alone does.
//! - Text and structured content of a result each say all of it: clients show a model only one of them.
//! - "Nothing was done" is said only where the gateway has just said so.
//!
//! Must not know: sockets, HTTP, credentials, files, an async runtime.

mod client;
pub mod cut;
mod example;
mod heard;
mod host;
mod http;
pub mod message;
mod names;
mod results;
mod schema;
mod search;
mod server;
mod tools;
pub mod value;

pub use client::LEGACY;
pub use example::is_example;
pub use heard::CallNews;
pub use host::{Action, Answer, Call, CallNumber, Item, Message, Moment, Waiting, broken_id};
pub use http::{Headers, Posted};
pub use names::{NameLength, tool_name};
pub use results::{REPLAYED, RESULT_LOST, Refusal, holds_off};
pub use search::MAX_LISTED;
pub use server::Server;
pub use tools::{NotAManifest, View};
