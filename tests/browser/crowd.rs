//! Two browsers, the terminal and the command decide the same fifty requests at once.

use crate::scene::{Scene, WRITE, note};
use plexus_tests::Terminal;
use plexus_tests::browser::Browser;
use plexus_tests::crowd::{NO, YES, browser, command, decided_once, terminal};
use serde_json::{Value, json};

/// How many wait.
const ITEMS: usize = 50;

#[test]
fn fifty_items_are_decided_once_each_whoever_decides() {
    let scene = Scene::signed_in();
    let other = scene.another_browser();
    let owner = scene.owner();
    let agents = ["one", "two", "three"].map(|id| scene.agent(id));
    let items: Vec<String> = (0..ITEMS)
        .map(|number| {
            agents[number % agents.len()].must_ask(WRITE, note(&format!("file-{number}.md"), "x"))
        })
        .collect();
    for item in &items {
        let _ = owner.card(item);
    }
    scene.browser.reads("#glance", "50 waiting");
    other.reads("#glance", "50 waiting");
    let watch = scene.gateway.on_terminal(["approvals", "watch"]);
    let mut screen = Terminal::start(&watch, 120, 40);
    let views = vec![
        browser("a browser", &scene.browser, YES, true),
        browser("another browser", &other, NO, false),
        command(&scene.gateway),
        terminal(&mut screen, ITEMS),
    ];
    let states = decided_once(&owner, &items, views);
    for verdict in [YES, NO] {
        assert!(
            states.values().any(|state| state == verdict),
            "somebody decided each way"
        );
    }
    // All views agree: the agents', the browsers', the command's, the screen's.
    for (number, item) in items.iter().enumerate() {
        let seen = scene.state_of(&agents[number % agents.len()], item);
        assert_eq!(seen, states[item].as_str(), "{item}");
    }
    for page in [&*scene.browser, &other] {
        assert_eq!(cards(page, &items), json!(states));
    }
    let listed = scene.gateway.cli(["--json", "approvals", "list"]).json();
    assert_eq!(listed["pending"], json!([]));
    screen.until_shows("nothing waits");
    screen.keys("q");
    assert!(screen.end().success());
}

/// What the page's own cards say of each item.
fn cards(page: &Browser, items: &[String]) -> Value {
    page.run_async(&format!(
        "const headers = {{ 'x-plexus-tab': sessionStorage.getItem('plexus-tab') }};
         return Object.fromEntries(await Promise.all({}.map(async (id) => {{
           const card = await (await fetch(`/admin/console/pending/${{id}}`, {{ headers }})).text();
           return [id, /data-state=\"(\\w+)\"/.exec(card)[1]];
         }})))",
        json!(items)
    ))
}
