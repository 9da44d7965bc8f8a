//! From the desktop's tray into the console: each entry opens the page that it names, signed in.

use crate::scene::{Scene, WRITE, note};
use plexus_tests::desktop::Desktop;
use plexus_tests::waiting::{ended, until};
use plexus_tests::{Folder, binaries, programs};
use std::fs;

#[test]
fn tray_opens_card_and_console_signed_in() {
    let scene = Scene::open();
    let browser = &scene.browser;
    let agent = scene.agent("my-cc");
    let item = agent.must_ask(WRITE, note("a.md", "a\n"));
    // What the tray hands to the desktop's browser.
    let folder = Folder::empty();
    folder.program(
        "xdg-open",
        "#!/bin/sh\nprintf %s \"$1\" > \"$0.new\" && mv \"$0.new\" \"$0.kept\"\n",
    );
    let opened = || {
        let kept = folder.path().join("xdg-open.kept");
        let url = until("an address", || fs::read_to_string(&kept).ok());
        fs::remove_file(&kept).expect("the address");
        url
    };
    let mut desktop = Desktop::start();
    let mut command = programs::command(&binaries::path("plexus-tray"), scene.gateway.home());
    command
        .env("PATH", format!("{}:/usr/bin:/bin", folder.path().display()))
        .env("DBUS_SESSION_BUS_ADDRESS", &desktop.address)
        .env("PLEXUS_HOME", scene.gateway.state());
    let mut running = command.spawn().expect("it starts");
    let mut icon = desktop.item();

    // Control: without the link nobody is let in.
    let card = format!("{}/approvals/{item}", scene.page());
    browser.go(&card);
    let _ = browser.see("#key");
    desktop.choose(&mut icon, "my-cc: “Write a file”");
    let url = opened();
    assert!(url.starts_with(&format!("{card}#plx_link_")), "{url}");
    browser.go("about:blank");
    browser.go(&url);
    browser.reads("#card h2", "Write a file");
    assert_eq!(browser.address(), card);
    assert!(!scene.workspace.has("a.md"), "opened is not approved");

    desktop.click(&icon);
    assert!(opened().starts_with(&format!("{}/approvals#plx_link_", scene.page())));
    scene.owner().deny(&item, "no");
    let idle = "Plexus: nothing needs you";
    desktop.until(&mut icon, idle, |shown| shown.title == idle);
    desktop.choose(&mut icon, "Open the console");
    let url = opened();
    assert!(
        url.starts_with(&format!("{}#plx_link_", scene.page())),
        "{url}"
    );
    browser.go("about:blank");
    browser.go(&url);
    browser.reads("#calm", "Nothing needs you.");
    desktop.choose(&mut icon, "Quit (the gateway goes on)");
    assert!(ended("the tray", &mut running).success());
}
