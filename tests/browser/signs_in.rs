//! An MCP server whose users sign in is lent in the browser: by pointer alone and by keyboard alone. Another tab signs in; the page
//! of the form goes on by itself.

use crate::hands::Hands;
use crate::scene::Scene;
use plexus_tests::oauth_web::{Lie, OAuthWeb};
use serde_json::json;

const FORM: &str = "[data-steps$='/server']";

fn begins(hands: &Hands<'_>, url: &str) {
    hands.page("#extensions", "e");
    hands.fill("#s-name", "notes");
    hands.fill("#s-url", url);
    hands.press(&format!("{FORM} [value=preview]"));
    hands.browser.reads("[data-previewed]", "Sign in for notes");
}

fn signs_in(keys: bool) {
    let web = OAuthWeb::start(Lie::None);
    let scene = Scene::signed_in();
    let browser = &*scene.browser;
    let hands = Hands::new(browser, keys);
    let added = || scene.owner().get("/admin/api/extensions").expect_ok()["extensions"].clone();
    begins(&hands, &web.url());
    let seen = format!("{FORM} [data-previewed]");
    for words in [
        "http://127.0.0.1",
        "notes:read",
        "10 minutes at most",
        "Waiting for you.",
    ] {
        browser.reads(&seen, words);
    }
    if !keys {
        scene.pictures("sign-in");
    }
    assert_eq!((web.tokens(), added()), ((0, 0), json!([])));
    hands.press(&format!("{seen} a[target=_blank]"));
    browser.reads(&seen, "What you would add: notes");
    hands.press(&format!("{FORM}:not([data-fresh]) [value=add]"));
    browser.reads("#notes", "Added — notes");
    browser.reads("#card", "Your sign-in at its server");
    assert_eq!(web.tokens(), (1, 0));
    let agent = scene.gateway.agent_with("a", &["notes.act"]);
    agent.must_approved(&scene.owner(), "notes.act", json!({"what": "tea"}));
    // The page holds no token, also not where none is seen.
    let page = browser.run("return document.documentElement.outerHTML");
    let page = page.as_str().expect("text");
    assert!(web.good().iter().all(|token| !page.contains(token)));
    scene.all_is_well();
    hands.done("signs in at a server and lends it");

    // Signed in again, as somebody else perhaps: what was granted ends.
    hands.press("#sign-in [value=preview]");
    browser.reads("#sign-in", "Sign in for notes");
    hands.press("#sign-in a[target=_blank]");
    browser.reads("#notes", "Signed in — notes");
    assert_eq!(web.tokens(), (2, 0));
    let grants =
        |scene: &Scene| scene.owner().get("/admin/api/grants").expect_ok()["grants"].clone();
    assert_eq!(grants(&scene), json!([]));
    if keys {
        let out = "[data-send='/sources/notes/sign-in']";
        hands.press(&format!("article:not([data-fresh]) {out}"));
        browser.reads(out, "Really delete the sign-in");
        hands.press(&format!("{out}:not([data-fresh])"));
        browser.reads("#notes", "Deleted, and ended by its server — notes");
    } else {
        web.is_away(true);
        hands.page("#extensions", "e");
        let out = "[data-send='/extensions/notes']";
        hands.press(&format!("article:not([data-fresh]) {out}"));
        browser.reads(out, "Really remove it");
        hands.press(&format!("{out}:not([data-fresh])"));
        browser.reads("#notes", "Its server could not be reached");
    }
    assert!(
        !scene
            .gateway
            .state()
            .join("secrets/notes.authorization")
            .exists()
    );
    scene.all_is_well();
    hands.done("signs in again, and out");
}

#[test]
fn server_is_signed_in_at_by_pointer() {
    signs_in(false);
}

#[test]
fn server_is_signed_in_at_by_keyboard() {
    signs_in(true);
}

/// What comes back from elsewhere is taken for nothing, and the form says so; begun again, it is made.
#[test]
fn sign_in_that_comes_back_from_elsewhere_is_said_in_the_form() {
    let web = OAuthWeb::start(Lie::CameFrom("https://evil.example<b>".to_owned()));
    let scene = Scene::signed_in();
    let browser = &*scene.browser;
    let hands = Hands::new(browser, false);
    begins(&hands, &web.url());
    let link = format!("{FORM} [data-previewed] a[target=_blank]");
    hands.press(&link);
    browser.reads(
        "form > [data-notice]",
        "The browser came back from https://evil.example<b>",
    );
    assert!(browser.sees(&link).is_none(), "nothing waits any more");
    assert_eq!(web.tokens(), (0, 0));
    // Begun twice, the second counts: the first page is of no use any more.
    let good = OAuthWeb::start(Lie::None);
    browser.run("document.querySelector('#s-url').value = ''");
    hands.fill("#s-url", &good.url());
    let look = format!("{FORM} > .acts [value=preview]");
    let address = || {
        browser.run(&format!(
            "return document.querySelector({})?.href",
            json!(link)
        ))
    };
    hands.press(&look);
    browser.reads("[data-previewed]", "Waiting for you.");
    let first = address();
    hands.press(&look);
    let differs = || address().is_string() && address() != first;
    plexus_tests::waiting::until_true("another sign-in", differs);
    hands.press(&link);
    browser.reads("[data-previewed]", "What you would add: notes");
    assert_eq!(good.tokens(), (1, 0));
}
