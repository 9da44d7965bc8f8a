//! The harness of the black-box tests: real binaries, a temporary home, raw HTTP.
//!
//! A test is a story: it starts a [`Gateway`], acts as the [`Owner`] and as [`Agent`]s, and looks at answers, at the
//! files of the person and at the audit log. Nothing here shares code with the daemon: what the stories know of the wire
//! they know as a client written by somebody else would.
//!
//! Two things are held for every answer, whatever the story: the three questions of a refusal, and the shapes that
//! existing clients read (module [`answers`]).
//!
//! Invariant: a process is ended only by the pid that this harness started, and every gateway that goes leaves none behind.
#![expect(
    clippy::print_stderr,
    reason = "a failed test shows what the gateway said, or what stood on the screen; a demo is told"
)]

pub mod agent;
pub mod answers;
pub mod bearer_proxy;
pub mod binaries;
pub mod browser;
pub mod cage;
pub mod clock;
pub mod coding_agents;
pub mod console;
pub mod crowd;
#[cfg(target_os = "linux")]
pub mod desktop;
pub mod earlier;
pub mod editions;
pub mod events;
pub mod fault;
pub mod folders;
pub mod gateway;
pub mod golden;
pub mod home_app;
pub mod http;
pub mod kept;
pub mod listener;
pub mod log_lines;
pub mod mcp;
pub mod mcp_web;
pub mod model;
pub mod narration;
pub mod not_run;
pub mod oauth_web;
pub mod owner;
pub mod processes;
pub mod programs;
pub mod registry;
pub mod relay;
pub mod routes;
pub mod scripted_codex;
#[cfg(target_os = "linux")]
pub mod small_disk;
pub mod terminal;
pub mod texts;
pub mod waiting;

pub use agent::Agent;
pub use clock::{Clock, Machine};
pub use fault::Fault;
pub use folders::{Folder, tls, vault, workspace};
pub use gateway::{Builder, Gateway};
pub use http::{Client, Request, Response};
pub use listener::Listener;
pub use mcp::McpClient;
pub use model::{Gate, Model, Step};
pub use owner::Owner;
pub use terminal::Terminal;

/// How often a test repeats what it does: `PLEXUS_TEST_LENGTH`, which `cargo xtask test` sets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Length {
    /// Once or a few times: while one works on it (`--quick`, or the variable unset).
    Quick,
    /// As often as its subject asks for within the minutes that CI has (no option).
    Full,
    /// As often as its promise says, however long that takes (`--long`).
    Long,
}

/// The length that was asked for.
///
/// # Panics
/// On a word that is none.
#[must_use]
pub fn length() -> Length {
    match std::env::var("PLEXUS_TEST_LENGTH").as_deref() {
        Err(_) | Ok("quick") => Length::Quick,
        Ok("full") => Length::Full,
        Ok("long") => Length::Long,
        Ok(other) => panic!("PLEXUS_TEST_LENGTH is quick, full or long, not {other:?}"),
    }
}

/// From which a test chooses its cases: `PLEXUS_SEED`, which `cargo xtask test` sets to the number of the day.
///
/// # Panics
/// On a word that is no number.
#[must_use]
pub fn seed() -> Option<u64> {
    let given = std::env::var("PLEXUS_SEED").ok()?;
    Some(given.parse().expect("PLEXUS_SEED is a number"))
}
