//! Coming in and going out.

use crate::accessible::keeps_nobody_out;
use crate::scene::{Scene, WRITE, note};
use plexus_tests::browser::{Browser, key};
use plexus_tests::texts::{assert_contains, assert_lacks};
use plexus_tests::waiting::until_true;
use plexus_tests::{Folder, programs};

#[test]
fn by_the_key() {
    let scene = Scene::open();
    let browser = &scene.browser;
    browser.go(&scene.page().replace("localhost", "127.0.0.1"));
    assert_eq!(browser.address(), scene.page(), "it lives at one name");
    scene.pictures("door");
    keeps_nobody_out(browser, "the door");
    browser.fill(
        "#key",
        "plx_live_000000000000000000000000000000000000000000000000",
    );
    browser.see("#key-form button").click();
    browser.reads("#door-why", "That is not the connection key.");
    assert!(browser.sees("#desk").is_none());
    assert!(browser.cookies().is_empty());
    browser.fill("#key", &scene.gateway.key());
    browser.press(key::ENTER);
    browser.reads("#calm", "Nothing needs you.");

    // The key stays nowhere; the cookie is out of reach of scripts and of other sites.
    let kept = browser.run("return JSON.stringify([{...localStorage}, {...sessionStorage}, document.cookie, document.querySelector('#key').value])");
    let kept = kept.as_str().expect("text");
    assert_lacks(kept, "plx_live_");
    assert_contains(kept, "plx_tab_");
    assert!(!kept.contains("plx_console_"), "{kept}");
    let cookies = browser.cookies();
    assert_eq!(cookies.len(), 1, "{cookies:?}");
    assert_eq!(cookies[0]["httpOnly"], true);
    assert_eq!(cookies[0]["sameSite"], "Strict");
    assert_eq!(cookies[0]["path"], "/admin");

    // Both tries are on record.
    let told = |event: &str| {
        scene
            .owner()
            .audit(50)
            .iter()
            .filter(|e| e["detail"]["event"] == event)
            .count()
    };
    assert_eq!(
        (told("credential.refused"), told("console.sign-in")),
        (1, 1)
    );

    browser.see("#sign-out").click();
    browser.reads("#door-why", "You are signed out.");
    assert_eq!(left(browser), "");
    assert_eq!(told("console.sign-out"), 1);
    browser.reload();
    let _ = browser.see("#key");
}

/// A sign-in on Approvals ends at the card's heading, as on any other page.
#[test]
fn focus_after_sign_in_is_on_the_card() {
    let (scene, agent) = Scene::with_agent("my-cc");
    let browser = &scene.browser;
    agent.must_ask(WRITE, note("a.md", "text\n"));
    browser.go(&format!("{}/approvals", scene.page()));
    browser.reads(".headline", "creates a.md");
    browser.see("#sign-out").click();
    browser.reads("#door-why", "You are signed out.");
    browser.press(&scene.gateway.key());
    browser.press(key::ENTER);
    until_true("the card's heading", || {
        browser.run("return document.activeElement.id") == "asks"
    });
}

#[test]
fn by_a_link_that_works_once() {
    let scene = Scene::open();
    let browser = &scene.browser;
    let link = scene.link();
    browser.go(&link);
    browser.reads("#calm", "Nothing needs you.");
    assert_eq!(
        browser.address(),
        scene.page(),
        "the link is not left in the address"
    );
    assert!(browser.run("return history.length").as_u64() <= Some(2));
    // It stays signed in when it is loaded anew, and a second tab is not by the cookie alone.
    browser.reload();
    browser.reads("#calm", "Nothing needs you.");
    let first = browser.new_tab();
    browser.go(&scene.page());
    let _ = browser.see("#key");
    // The same link again: refused, and a fresh one lets that tab in beside the first.
    browser.go("about:blank");
    browser.go(&link);
    browser.reads("#door-why", "This link was used already, or is too old.");
    browser.go("about:blank");
    browser.go(&scene.link());
    browser.reads("#calm", "Nothing needs you.");
    browser.look_at(&first);
    let agent = scene.agent("my-cc");
    agent.must_ask(WRITE, note("a.md", "a\n"));
    browser.reads(".needs", "creates a.md");
    // `--open` hands it to the desktop's browser, and `--json` says the same for programs.
    let desktop = Folder::empty();
    desktop.program("xdg-open", "#!/bin/sh\nprintf %s \"$1\" > \"$0.kept\"\n");
    let mut open = scene
        .gateway
        .on_terminal(["--i-am-the-owner", "console", "--open"]);
    open.env(
        "PATH",
        format!("{}:/usr/bin:/bin", desktop.path().display()),
    );
    let printed = programs::run(open);
    assert_eq!(desktop.read("xdg-open.kept"), printed.expect_ok().trim());
    let said = scene.gateway.cli(["--json", "console"]).json();
    assert!(
        said["url"]
            .as_str()
            .is_some_and(|url| url.starts_with(&format!("{}#plx_link_", scene.page())))
    );
    assert_eq!(said["expiresInMs"], 120_000);
}

/// A browser opens six connections to one host: tabs that nobody sees keep none.
#[test]
fn many_tabs_and_each_answers() {
    let (scene, agent) = Scene::with_agent("my-cc");
    let browser = &scene.browser;
    // The driver moves between tabs without hiding any.
    let seen = |seen: bool| {
        browser.run(&format!(
            "Object.defineProperty(document, 'hidden', {{ configurable: true, get: () => {} }});
             document.dispatchEvent(new Event('visibilitychange'));",
            !seen
        ));
    };
    browser.reads("#live", "live");
    seen(false);
    let first = browser.new_tab();
    for _ in 0..7 {
        browser.go(&scene.link());
        browser.reads("#calm", "Nothing needs you.");
        browser.reads("#live", "live");
        seen(false);
        browser.new_tab();
    }
    // One that is seen again shows what came meanwhile, and listens.
    browser.look_at(&first);
    agent.must_ask(WRITE, note("a.md", "a\n"));
    seen(true);
    browser.reads(".headline", "creates a.md");
    browser.reads("#live", "live");
    browser.see("form:not([data-fresh]) [value=deny]").click();
    browser.reads("#notes", "Denied");
}

#[test]
fn rotating_the_key_ends_it() {
    let scene = Scene::signed_in();
    let browser = &scene.browser;
    browser.reads("#live", "live");
    let unused = scene.link();
    scene.gateway.cli(["key", "rotate"]).expect_ok();
    browser.reads("#door-why", "You are signed out");
    assert_eq!(left(browser), "");
    browser.go("about:blank");
    browser.go(&unused);
    browser.reads("#door-why", "This link was used already, or is too old.");
    // Positive control: the new key opens it.
    browser.fill("#key", &scene.gateway.key());
    browser.press(key::ENTER);
    browser.reads("#calm", "Nothing needs you.");
}

#[test]
fn a_gateway_that_is_away_signs_nobody_out() {
    let mut scene = Scene::signed_in();
    scene.browser.reads("#live", "live");
    let port = scene.gateway.port();
    assert!(scene.gateway.stop().success());
    // Another test's gateway would answer here that nobody is signed in.
    let _nobody_serves = plexus_tests::listener::kept_closed(port);
    scene.browser.reads("#live", "reconnecting");
    scene.browser.reads("#glance", "no answer since ");
    assert!(!scene.browser.text("#glance").contains("running"));
    // The bar scrolls out of sight on a phone, where the end of the window says it.
    let below = |width, height| {
        scene.browser.size(width, height);
        let content = "return getComputedStyle(document.querySelector('#desk'), '::after').content";
        scene.browser.run(content).to_string()
    };
    assert!(below(390, 844).contains("does not answer"));
    assert!(!below(1440, 900).contains("does not answer"));
    assert!(scene.browser.sees("#sign-out").is_some());
}

#[test]
fn half_typed_denial_survives_the_end_of_its_session() {
    let (scene, agent) = Scene::with_agent("my-cc");
    let browser = &scene.browser;
    agent.must_ask(WRITE, note("a.md", "a\n"));
    let reason = "article:not([data-making]) #reason";
    browser.fill(reason, "not in this");
    let first = browser.new_tab();
    browser.go(&scene.link());
    browser.see("#sign-out").click();
    browser.reads("#door-why", "signed out");
    browser.look_at(&first);
    browser.reads(
        "#door-why",
        "you signed out in another tab. What you typed is back",
    );
    assert_eq!(left(browser), "");
    browser.fill("#key", &scene.gateway.key());
    browser.press(key::ENTER);
    let _ = browser.see(reason);
    let typed = browser.run("return document.querySelector('#reason').value");
    assert_eq!(typed, "not in this");
}

/// What the page still holds of the owner's.
fn left(browser: &Browser) -> String {
    let text = browser.run("return ['queue', 'card', 'glance', 'notes'].map(id => document.getElementById(id).textContent).join('')");
    text.as_str().expect("text").to_owned()
}
