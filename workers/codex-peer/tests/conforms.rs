//! The codex-peer connector against what every connector must hold. Its calls need an identity at a relay, the real Codex and its
//! keeper: the stories `codex_peer` have them.

use plexus_conformance::Subject;
use plexus_worker_codex_peer::{MANIFEST, PeerSource};
use serde_json::{Value, json};

const STORIES: &str = "it needs an identity at a relay: the stories `codex_peer`";

#[test]
fn conforms() {
    let manifest: Value = serde_json::from_str(MANIFEST).expect("JSON");
    let entries = manifest["capabilities"].as_array().expect("a list").iter();
    let calls = entries.filter(|entry| entry["kind"] == "capability");
    let subject = Subject::new(
        MANIFEST,
        include_str!("../../../sandbox-profiles/codex-peer.sb"),
        env!("CARGO_BIN_EXE_plexus-worker-codex-peer"),
    )
    .config("relay", json!("https://relay.example.org"))
    .config("displayName", json!("Pera"))
    .config("binary", json!("/usr/bin/true"))
    .config("model", json!("gpt-5.5"));
    let subject = calls.fold(subject, |subject, entry| {
        subject.elsewhere(entry["name"].as_str().expect("a name"), STORIES)
    });
    subject.conform::<PeerSource>();
}
