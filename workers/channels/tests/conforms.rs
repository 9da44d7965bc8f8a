//! The channels connector against what every connector must hold. Its calls need an identity at a relay: the stories `channels`
//! have both.

use plexus_conformance::Subject;
use plexus_worker_channels::{ChannelsSource, MANIFEST};
use serde_json::json;

const STORIES: &str = "it needs an identity at a relay: the stories `channels`";

#[test]
fn conforms() {
    Subject::new(
        MANIFEST,
        include_str!("../../../sandbox-profiles/channels.sb"),
        env!("CARGO_BIN_EXE_plexus-worker-channels"),
    )
    .config("relay", json!("https://relay.example.org"))
    .config("displayName", json!("Ana"))
    .elsewhere("list", STORIES)
    .elsewhere("read", STORIES)
    .elsewhere("send", STORIES)
    .elsewhere("create", STORIES)
    .elsewhere("add", STORIES)
    .elsewhere("remove", STORIES)
    .elsewhere("archive", STORIES)
    .elsewhere("rename", STORIES)
    .elsewhere("unsent", STORIES)
    .elsewhere("forget", STORIES)
    .elsewhere("leave", STORIES)
    .elsewhere("rotate", STORIES)
    .conform::<ChannelsSource>();
}
