//! What the owner does with a request.

use crate::scene::{Scene, WRITE, note};

#[test]
fn approve_once() {
    let scene = Scene::signed_in();
    let agent = scene.agent("my-cc");
    let item = agent.must_ask(WRITE, note("Projects/new.md", "one\ntwo\n"));
    let browser = &scene.browser;
    browser.reads("#card h2", "Write a file");
    browser.reads(".headline", "Projects/new.md");
    browser.reads(".diff .add", "one");
    scene.picture("first");
    browser.see("form:not([data-fresh]) [value=once]").click();
    browser.reads("#notes", "Approved once");
    assert_eq!(scene.state_of(&agent, &item), "approved");
    assert!(!scene.workspace.has("Projects/new.md"));
    agent.invoke(WRITE, note("Projects/new.md", "one\ntwo\n")).expect_ok();
    assert_eq!(scene.workspace.read("Projects/new.md"), "one\ntwo\n");
    scene.all_is_well();
}
