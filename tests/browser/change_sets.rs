//! A change set in the console: seen as a difference, applied in part, refused by name where a file changed.

use crate::accessible::keeps_nobody_out;
use crate::scene::Scene;
use plexus_tests::{Folder, Model, Step, coding_agents::codex};
use serde_json::json;

const PLAN: &str = "#card article:not([data-fresh]) [value=preview]";
const APPLY: &str = "#card form:not([data-fresh]) [value=add]";
const DROP: &str = "[data-send^='/changes/']";
const EDITS: &str = "for n in 1 2 3 4 5; do echo more >> part-$n.txt; done; rm old.txt";

/// Has codex work on a copy of a folder; the id of what it changed.
fn made(scene: &Scene, folder: &Folder, model: &Model) -> String {
    let secrets = Folder::empty();
    secrets.write("key", "sk-story\n");
    let path = folder.path().display().to_string();
    let key = format!("key={}", secrets.path().join("key").display());
    let binary = format!("binary={}", codex().display());
    let server = format!("server={}", model.base());
    let mut words = vec!["sources", "add", "codex-folder", &path, "--id", "codex"];
    words.extend(["--secret", &key, "--set", &binary, "--set", &server]);
    words.extend(["--set", "model=gpt-5.5"]);
    scene.gateway.cli(words).expect_ok();
    let agent = scene.gateway.agent_with("caller", &["codex.models"]);
    let input =
        json!({"prompt": "Say more in each part, and remove what is old.", "maxTokens": 200_000});
    let item = agent.must_ask("codex.run", input.clone());
    scene.browser.reads("#card", "has Codex work on a copy");
    scene
        .browser
        .reads("#card", "it runs code, so each call is approved by itself");
    scene.picture("run-card");
    scene.owner().approve(&item, "once");
    let done = agent.must("codex.run", input);
    let id = done["output"]["changes"]["id"].as_str().expect("an id");
    id.to_owned()
}

#[test]
fn change_set_is_seen_and_applied_in_part() {
    let model = Model::start([Step::exec(EDITS), Step::say("Edited five, removed one.")]);
    let scene = Scene::signed_in();
    let browser = &*scene.browser;
    let folder = Folder::empty();
    for part in 1..=5 {
        folder.write(&format!("part-{part}.txt"), "one\n");
    }
    folder.write("old.txt", "old\n");
    let id = made(&scene, &folder, &model);

    browser.see("#changes").click();
    browser.reads("#card h2", "Changes of coding agents");
    browser.reads("#card", "caller");
    browser.see(&format!("[data-set='{id}']")).click();
    browser.reads("#card h2", "what a run would change");
    let count = |selector: &str| {
        browser.run(&format!(
            "return document.querySelectorAll(\"{selector}\").length"
        ))
    };
    assert_eq!(count("#card tr.add"), 5);
    assert_eq!(count("#card tr.del"), 1);
    assert_eq!(count("#card [name=path]:checked"), 6);
    scene.pictures("change-set");

    // Two of them stay out.
    for path in ["part-4.txt", "part-5.txt"] {
        browser.see(&format!("[name=path][value='{path}']")).click();
    }
    // The first press shows the plan, and applies nothing.
    browser.see(PLAN).click();
    browser.reads(
        "[data-previewed]",
        "applies a change set: 0 added, 3 edited, 1 removed",
    );
    browser.reads("[data-previewed]", "part-3.txt");
    assert_eq!(folder.read("part-3.txt"), "one\n");
    keeps_nobody_out(browser, "the plan of a change set");
    browser.see(APPLY).click();
    browser.reads("#notes", "Applied — changed 4 files");
    browser.reads("#card", "applied");
    browser.reads(
        "#notes a[href^='/admin/activity/']",
        "See it, or take it back",
    );
    assert_eq!(folder.read("part-3.txt"), "one\nmore\n");
    assert_eq!(folder.read("part-4.txt"), "one\n");
    assert!(!folder.has("old.txt"));
    assert_eq!(count("#card [name=path]:checked"), 2);
    scene.all_is_well();

    // Somebody was faster: before the second press, and before the first.
    browser.see(PLAN).click();
    let apply = browser.see(APPLY);
    folder.write("part-4.txt", "mine\n");
    apply.click();
    browser.reads("#card [data-notice]", "part-4.txt changed since");
    browser.see(PLAN).click();
    browser.loses("#card [value=add]");
    browser.reads("#card [data-notice]", "part-4.txt changed since");
    assert_eq!(folder.read("part-4.txt"), "mine\n");
    assert_eq!(folder.read("part-5.txt"), "one\n");
    // The page shows both changes of that file.
    browser.see("#changes").click();
    browser.see(&format!("[data-set='{id}']")).click();
    browser.reads("#card", "changed since the run began +1 −1");
    browser.reads("#card", "changed by the run +1 −0");
    browser.reads("#card", "mine");
    scene.fits();

    // A set that is applied in part names its call, which takes it back; without that it goes, by a second press.
    browser.reads("#card", "To drop it, first take back what is applied of it");
    browser.loses(DROP);
    let mut made = scene.owner().must_get("/admin/api/activity?only=changed");
    let applied = made["calls"][0]["auditId"].take();
    let applied = applied.as_str().expect("the change of what was applied");
    let link = format!("#card .acts [href='/admin/activity/{applied}']");
    let _ = browser.see(&link);
    scene.gateway.cli(["undo", applied, "--yes"]).expect_ok();
    browser.see("#changes").click();
    browser.see(&format!("[data-set='{id}']")).click();
    browser.click(&format!("#card article:not([data-fresh]) {DROP}"));
    browser.reads(DROP, "Really drop it for good");
    browser.click(&format!("{DROP}[data-sure-now]:not([data-fresh])"));
    browser.reads("#notes", "Dropped");
    browser.reads("#card", "No change set is kept.");
    assert_eq!(folder.read("part-3.txt"), "one\n");
}

#[test]
fn file_that_tools_run_is_applied_by_a_second_press() {
    let line = "mkdir -p .vscode; echo '{}' > .vscode/tasks.json; mv a.txt b.txt";
    let model = Model::start([Step::exec(line), Step::say("Done.")]);
    let scene = Scene::signed_in();
    let browser = &*scene.browser;
    let folder = Folder::empty();
    folder.write("a.txt", "one\n");
    made(&scene, &folder, &model);
    browser.see("#changes").click();
    browser.see("[data-set]").click();
    browser.reads("#card", "amounts to running code");
    browser.reads("#card", "It was a.txt, and its content stays");
    browser.see(PLAN).click();
    browser.reads("[data-previewed]", "This amounts to running code");
    assert!(!folder.has(".vscode/tasks.json"));
    browser.see(APPLY).click();
    browser.reads("#notes", "Applied");
    assert!(folder.has(".vscode/tasks.json"));
    scene.all_is_well();
}
