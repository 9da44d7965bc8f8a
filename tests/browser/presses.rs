//! Presses and keys while something else happens: each does what it was meant for, and nothing else.

use crate::scene::{Scene, WRITE, note};
use plexus_tests::Folder;
use plexus_tests::browser::{Browser, key};
use plexus_tests::texts::assert_contains;
use plexus_tests::waiting::until_true;
use serde_json::{Value, json};

/// Has the focus.
fn focused(browser: &Browser) -> Value {
    browser.run("const on = document.activeElement; return on.value || on.id || on.tagName")
}

/// Waits until no key was pressed for so long that what is pressed next is no typing.
fn pause(browser: &Browser) {
    browser.run("window.quiet = performance.now() + 1100");
    until_true("a pause", || {
        browser.run("return performance.now() > window.quiet") == true
    });
}

/// The form goes while its owner types into it, and another request takes its place: the rest of the sentence decides nothing.
#[test]
fn rest_of_a_sentence_decides_no_other_request() {
    let scene = Scene::signed_in();
    let folder = Folder::empty();
    let caller = scene.gateway.lend_rude(&folder);
    let writer = scene.agent("my-cc");
    let schema = json!({"type": "object", "properties": {"city": {"type": "string"}}});
    let input = json!({"asked": {"message": "Where to?", "requestedSchema": schema}});
    let first = caller.must_ask("rude.ask", input.clone());
    scene.owner().approve(&first, "once");
    let other = scene.another_browser();
    std::thread::scope(|scope| {
        let call = scope.spawn(|| caller.invoke("rude.ask", input.clone()));
        let browser = &*scene.browser;
        let asked = scene.owner().waits("question");
        let asked = asked["pendingId"].as_str().expect("an id");
        let item = writer.must_ask(WRITE, note("a.md", "text\n"));
        for window in [browser, &other] {
            window.go(&format!("{}/approvals/{asked}", scene.page()));
            window.fill("form:not([data-fresh]) [data-value=city]", "B");
        }
        let reply = other.see("form:not([data-fresh]) [value=reply]");
        scope.spawn(move || until_true("an answer", || reply.pressed()));
        let card = format!("#card article[data-id='{item}'] form:not([data-fresh])");
        until_true("the other request", || {
            browser.press("x");
            browser.sees(&card).is_some()
        });
        browser.press("a");
        browser.press(key::ENTER);
        browser.press("d yes");
        browser.press(key::ENTER);
        assert_eq!(scene.state_of(&writer, &item), "pending");
        assert_eq!(focused(browser), "asks", "the heading");
        // The control: after a pause the same keys are what they are on any card.
        pause(browser);
        browser.press("a");
        assert_eq!(focused(browser), "once");
        browser.press(key::ENTER);
        browser.reads("#notes", "Approved once");
        assert_eq!(scene.state_of(&writer, &item), "approved");
        call.join().expect("a call").expect_ok();
    });
}

/// Enter that ends a word of an input method is no answer.
#[test]
fn enter_of_an_input_method_denies_nothing() {
    let (scene, agent) = Scene::with_agent("my-cc");
    let browser = &scene.browser;
    let item = agent.must_ask(WRITE, note("a.md", "text\n"));
    scene.open_card(&item);
    browser.fill("form:not([data-fresh]) #reason", "いい");
    scene.count_posts();
    browser.run(
        "document.getElementById('reason').dispatchEvent(new KeyboardEvent('keydown',
           { key: 'Enter', isComposing: true, bubbles: true, cancelable: true }));",
    );
    assert_eq!(browser.run("return window.sent"), 0);
    browser.press(key::ENTER);
    browser.reads("#notes", "Denied");
    assert_eq!(browser.run("return window.sent"), 1);
    assert_eq!(agent.status(&item).at("/reason"), "いい");
    scene.all_is_well();
}

/// A page that is drawn anew at each event leaves the button that is held, and is drawn once it was let go.
#[test]
fn button_that_is_held_stays_under_the_pointer() {
    let (scene, agent) = Scene::with_agent("my-cc");
    let browser = &scene.browser;
    browser.go(&scene.page());
    let _ = browser.see("article:not([data-fresh]) [data-send$='/pause']");
    let at = browser.run(
        "const button = document.querySelector(\"[data-send$='/pause']\");
         button.scrollIntoView({ block: 'center', behavior: 'instant' });
         const box = button.getBoundingClientRect();
         window.article = document.querySelector('#card article');
         return [Math.round(box.x + box.width / 2), Math.round(box.y + box.height / 2)];",
    );
    let of = |n: usize| at[n].as_i64().expect("a number");
    browser.hold_at(of(0), of(1));
    let _item = agent.must_ask(WRITE, note("a.md", "text\n"));
    until_true("word of the request", || {
        browser.run("return document.title.startsWith('(1)')") == true
    });
    // By then the page would have been drawn anew.
    pause(browser);
    assert_eq!(browser.run("return window.article.isConnected"), true);
    browser.let_go();
    browser.reads("#glance", "paused");
    until_true("a page that was drawn anew", || {
        browser.run("return !window.article.isConnected") == true
    });
    scene.all_is_well();
}

/// A form that shows how things are sends what was changed in it, and takes nothing back that was changed elsewhere.
#[test]
fn settings_of_two_windows_both_hold() {
    let scene = Scene::signed_in();
    let browser = &scene.browser;
    browser.go(&format!("{}/settings", scene.page()));
    let _ = browser.see("#set-token");
    let config = || scene.owner().get("/v1/config").expect_ok();
    let elsewhere = json!({"autoAllowReads": true, "maxTrustWindowMs": 86_400_000});
    scene.owner().put("/v1/config", elsewhere).expect_ok();
    let send = "article:not([data-fresh]) [data-form-send] [type=submit]";
    browser.see(send).click();
    browser.reads("#card", "Nothing is changed in this form.");
    browser.run("document.querySelector('#set-token').value = ''");
    browser.fill("#set-token", "20");
    browser.run("window.article = document.querySelector('#card article')");
    browser.see(send).click();
    browser.reads("#notes", "Settings changed");
    until_true("the focus where it was, on the page as it is now", || {
        browser
            .run("return !window.article.isConnected && document.activeElement.type === 'submit'")
            == true
    });
    let now = config();
    assert_eq!(
        [
            &now["autoAllowReads"],
            &now["maxTrustWindowMs"],
            &now["tokenLifetimeMs"]
        ],
        [&json!(true), &json!(86_400_000), &json!(1_200_000)],
    );
    scene.all_is_well();
}

/// A sign-in on a page that is older than the gateway loads the gateway's.
#[test]
fn page_of_another_version_is_loaded_anew() {
    let scene = Scene::open();
    let browser = &scene.browser;
    browser.go(&scene.page());
    let _ = browser.see("#key");
    browser.run("document.documentElement.dataset.page = 'of before'");
    browser.press(&scene.gateway.key());
    browser.press(key::ENTER);
    browser.reads("#card", "Nothing needs you");
    let page = browser.run("return document.documentElement.dataset.page");
    assert_eq!(page.as_str().expect("a digest").len(), 64, "{page}");
    scene.all_is_well();
}

/// Each narrowing that was typed is of the grant.
#[test]
fn two_narrowings_are_both_of_the_grant() {
    let scene = Scene::apple();
    let browser = &scene.browser;
    let agent = scene.agent("my-cc");
    let add = json!({"title": "one", "project": "ProjectGarden000000001"});
    let item = agent.must_ask("things.todos.add", add.clone());
    scene.open_card(&item);
    browser.see(".longer summary").click();
    browser.see("[name=window][value='1h']").click();
    for (field, value) in [
        ("project", "ProjectGarden000000001"),
        ("area", "AreaHome00000000000001"),
    ] {
        browser.fill(&format!("[data-narrow={field}]"), value);
    }
    let sum = "only where project is “ProjectGarden000000001”, only where area is “AreaHome00000000000001”";
    browser.reads("[data-sum]", sum);
    browser.see("form:not([data-fresh]) [value=window]").click();
    browser.reads("#notes", "Allowed for 1 hour");
    let grants = scene.owner().get("/admin/api/grants").expect_ok();
    let constraint = json!({
        "allow": {"field": "project", "values": ["ProjectGarden000000001"]},
        "match": [{"field": "area", "op": "eq", "value": "AreaHome00000000000001"}],
    });
    assert_contains(&grants.to_string(), &constraint.to_string());
    // The project is in the area.
    agent.must("things.todos.add", add);
    let outside = agent.invoke("things.todos.add", json!({"title": "two"}));
    outside.expect_error(401, "approval_required");
    scene.all_is_well();
}
