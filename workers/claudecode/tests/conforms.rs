//! The claudecode connector against what every connector must hold. Its effects need the real Claude Code and its keeper.

use plexus_conformance::Subject;
use plexus_worker_claudecode::{ClaudeCodeSource, MANIFEST};
use serde_json::json;
use std::fs;

const STORIES: &str = "it needs Claude Code in a cage of its own: the stories `codex`";

#[test]
fn conforms() {
    Subject::new(
        MANIFEST,
        include_str!("../../../sandbox-profiles/claudecode.sb"),
        env!("CARGO_BIN_EXE_plexus-worker-claudecode"),
    )
    .config("binary", json!("/usr/bin/true"))
    .config("model", json!("claude-opus-4-8"))
    .world(|root| fs::write(root.join("a.txt"), "a\n").unwrap())
    .elsewhere("run", STORIES)
    .elsewhere("chat", STORIES)
    .elsewhere("models", STORIES)
    .elsewhere("threads.list", STORIES)
    .elsewhere("changes.list", STORIES)
    .elsewhere("changes.read", STORIES)
    .elsewhere("changes.drop", STORIES)
    .elsewhere("apply", STORIES)
    .elsewhere("undo", STORIES)
    .conform::<ClaudeCodeSource>();
}
