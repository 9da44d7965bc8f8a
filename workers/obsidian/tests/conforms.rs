//! The Obsidian connector against what every connector must hold.

use plexus_conformance::Subject;
use plexus_worker_obsidian::{MANIFEST, ObsidianSource};
use serde_json::json;
use std::fs;

#[test]
fn conforms() {
    Subject::new(
        MANIFEST,
        include_str!("../../../sandbox-profiles/obsidian.sb"),
        env!("CARGO_BIN_EXE_plexus-worker-obsidian"),
    )
    .world(|root| {
        fs::create_dir(root.join("Projects")).unwrap();
        fs::write(
            root.join("Projects/Plexus.md"),
            "---\ntags: [work]\nstatus: open\n---\n# Plexus\n\nSee [[Ideas#One]] and ![[missing]].\n",
        )
        .unwrap();
        fs::write(root.join("Ideas.md"), "# Ideas\n\none word #work\n").unwrap();
    })
    .example("vault.read", json!({"path": "Projects/Plexus.md"}), &["Projects/Plexus.md"])
    .example("vault.read", json!({"path": "[[Ideas]]"}), &["Ideas.md"])
    .example("vault.read", json!({"path": "Projects"}), &["Projects"])
    .example("vault.search", json!({"query": "word"}), &["Ideas.md"])
    .example("vault.search", json!({"tag": "work", "path": "Projects"}), &["Projects/Plexus.md"])
    .outside("vault.read", json!({"path": "Ideas"}), "Projects")
    .outside("vault.read", json!({"path": "[[Ideas]]"}), "Projects")
    .outside("vault.read", json!({"path": "Projects/../Ideas.md"}), "Projects")
    .conform::<ObsidianSource>();
}
