//! Channels and boards, with names as long as they may be, and in two windows.

use crate::scene::Scene;
use plexus_tests::relay::Relay;
use plexus_tests::scripted_codex::ScriptedCodex;
use plexus_tests::waiting::until;

#[test]
fn long_names_fit_and_two_windows_agree() {
    let scene = Scene::signed_in();
    let browser = &*scene.browser;
    let gateway = &scene.gateway;
    let codex = ScriptedCodex::added_to(gateway);
    let long = "A name that goes on and on, as names of plans do when nobody stops them";
    let word = "Unterwerkstattleiterbesprechungsprotokollentwurf";
    let titles = [long, word, "End"].map(str::to_owned);
    let board = codex.board(gateway, &format!("{long}: {word}"), &titles);
    let relay = Relay::start();
    relay.joined_by(gateway, &word.repeat(2)[..60]).expect_ok();
    let made = gateway
        .cli(["channels", "create", &long[..60], "--json"])
        .json();
    let channel = made["output"]["channel"].as_str().expect("an id");
    for text in ["Hello.", &word.repeat(3), long] {
        gateway.cli(["channels", "say", channel, text]).expect_ok();
    }
    let channel = format!("/channels/channels/{channel}");
    let board = format!("/boards/{board}?source=cc-master");
    for (name, page) in [
        ("runs", "/runs"),
        ("board", &board),
        ("channels", "/channels"),
        ("channel", &channel),
    ] {
        browser.go(&format!("{}{page}", scene.page()));
        for (width, height) in [(1440, 900), (390, 844)] {
            browser.size(width, height);
            let _ = browser.see("#card article h2");
            scene.fits();
            scene.picture(&format!("{name}-{width}"));
        }
    }
    // Said in one window, it is read in the other.
    let other = scene.another_browser();
    other.go(&format!("{}{channel}", scene.page()));
    other.reads("#card h2", &long[..60]);
    other.reads(".calls", "Hello.");
    other.reads(".calls", " ago");
    // A field that has the focus is not drawn again.
    browser.see("#say").click();
    browser.press("From the first window.");
    browser
        .see("article:not([data-fresh]) [data-form-send] button")
        .click();
    browser.reads("#notes", "Said");
    browser.reads(".calls", "From the first window.");
    let typed = browser.run("return document.getElementById('say').value");
    assert_eq!(typed, "");
    until("the message in the other window", || {
        let read = other.run("return document.querySelector('.calls').textContent");
        read.as_str()?
            .contains("From the first window.")
            .then_some(())
    });
    // Half a message stays while another one comes: only the parts around it are drawn anew.
    other.see("#say").click();
    other.press("Half a mess");
    let id = made["output"]["channel"].as_str().expect("an id");
    gateway
        .cli(["channels", "say", id, "While you type."])
        .expect_ok();
    other.reads(".calls", "While you type.");
    let typed = other.run("return document.getElementById('say').value");
    assert_eq!(typed, "Half a mess");
    // A board that nothing carries offers no end of it.
    browser.go(&format!("{}{board}", scene.page()));
    browser.reads("#card", "not begun");
    assert!(browser.sees("#card button.no").is_none());
    // No title of a task leaves its box.
    let wide = browser.run(
        "return [...document.querySelectorAll('.graph rect')].filter((box) => {
           const [own, text] = [box, box.nextElementSibling].map((one) => one.getBoundingClientRect());
           return text.right > own.right;
         }).length",
    );
    assert_eq!(wide, 0);
    scene.all_is_well();
}
