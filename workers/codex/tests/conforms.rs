//! The codex connector against what every connector must hold. Its effects need the real Codex and its keeper.

use plexus_conformance::Subject;
use plexus_worker_codex::{CodexSource, MANIFEST};
use serde_json::json;
use std::fs;

const STORIES: &str = "it needs Codex in a cage of its own: the stories `codex`";

#[test]
fn conforms() {
    Subject::new(
        MANIFEST,
        include_str!("../../../sandbox-profiles/codex.sb"),
        env!("CARGO_BIN_EXE_plexus-worker-codex"),
    )
    .config("binary", json!("/usr/bin/true"))
    .config("model", json!("gpt-5.5"))
    .world(|root| fs::write(root.join("a.txt"), "a\n").unwrap())
    .elsewhere("run", STORIES)
    .elsewhere("chat", STORIES)
    .elsewhere("models", STORIES)
    .elsewhere("threads.list", STORIES)
    .elsewhere("thread.read", STORIES)
    .elsewhere("session.consume", STORIES)
    .elsewhere("changes.list", STORIES)
    .elsewhere("changes.read", STORIES)
    .elsewhere("changes.drop", STORIES)
    .elsewhere("apply", STORIES)
    .elsewhere("undo", STORIES)
    .conform::<CodexSource>();
}
