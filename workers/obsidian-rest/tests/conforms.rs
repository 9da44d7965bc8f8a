//! The obsidian-rest connector against what every connector must hold.

use crate::plugin::{KEY, Plugin};
use plexus_conformance::Subject;
use plexus_worker_obsidian_rest::{MANIFEST, ObsidianRestSource};
use serde_json::json;

/// The server stands for the egress too: it takes the credential as the key.
#[test]
#[rustfmt::skip]
fn conforms() {
    let server = Plugin::start();
    let (world, moved, port) = (server.clone(), server.clone(), server.port);
    let named = "Projects/50% & more.md";
    Subject::new(
        MANIFEST,
        include_str!("../../../sandbox-profiles/obsidian-rest.sb"),
        env!("CARGO_BIN_EXE_plexus-worker-obsidian-rest"),
    )
    .egress(port, KEY)
    .world(move |_| {
        world.fill(&[
            ("Projects/Plexus.md", "# Plexus\nquarterly plan\n"),
            (named, "quarterly numbers"),
            ("Private/diary.md", "quarterly worries"),
            ("Log.md", "- one"),
            (".obsidian/app.json", "{}"),
        ]);
        world.open(Some("Projects/Plexus.md"), Some("Log.md"));
    })
    .moves(move |_| {
        for path in ["Projects/Plexus.md", "Log.md"] {
            moved.put(path, "somebody else's");
        }
        moved.put("Projects/new.md", "made meanwhile");
    })
    .example("vault.list", json!({}), &["."])
    .example("vault.list", json!({"path": "Projects", "limit": 1}), &["Projects"])
    .example("vault.list", json!({"path": "Projects/", "after": "50% & more.md"}), &["Projects"])
    .example("vault.read", json!({"path": "Projects/Plexus.md", "offset": 9}), &["Projects/Plexus.md"])
    .example("vault.read", json!({"path": named}), &[named])
    .example("vault.search", json!({"query": "quarterly"}), &["Projects/Plexus.md", named, "Private/diary.md"])
    .example("vault.search", json!({"query": "quarterly", "path": "Projects", "limit": 1}), &[named])
    .example("active.read", json!({}), &["Projects/Plexus.md"])
    .example("periodic.read", json!({"period": "daily"}), &["Log.md"])
    .example("commands.list", json!({}), &["all"])
    .example("vault.write", json!({"path": "Projects/Plexus.md", "content": "# Plexus 2\n"}), &["Projects/Plexus.md"])
    .example("vault.write", json!({"path": "Projects/new.md", "content": "new", "ifDigest": "absent"}), &["Projects/new.md"])
    .example("vault.append", json!({"path": "Log.md", "content": "- two"}), &["Log.md"])
    .elsewhere("undo", "tests/served.rs and the stories take changes back")
    .outside("vault.read", json!({"path": "./Private/diary.md"}), "Projects")
    .outside("vault.search", json!({"query": "quarterly", "path": "Private"}), "Projects")
    .outside("periodic.read", json!({"period": "daily"}), "Projects")
    .conform::<ObsidianRestSource>();
}
