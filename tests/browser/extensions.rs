//! An extension that an agent proposes, in the console: all that it may touch is in the page, with long lists folded.

use crate::scene::{LOOKS, Scene};
use plexus_tests::Agent;
use serde_json::{Value, json};

const APPROVE: &str = "form:not([data-fresh]) [value=once]";

/// An app of many requests, with a secret and a long description.
fn app(url: &str) -> Value {
    let request = |n: usize| {
        let words = match n {
            0 => (0..40)
                .map(|line| format!("Line {line} of it.\n"))
                .collect(),
            n => format!("Reads <b>state</b> {n}."),
        };
        json!({
            "name": format!("state-{n}"), "kind": "capability", "label": format!("State {n}"), "describe": words,
            "grants": [if n == 1 { "write" } else { "read" }], "transport": "local-rest",
            "route": {"baseUrl": url, "path": format!("/api/{n}/{{entity}}"), "method": if n == 1 { "PUT" } else { "GET" }},
            "io": {"input": {"type": "object", "properties": {"entity": {"type": "string"}}, "required": ["entity"]}},
        })
    };
    json!({
        "manifest": "plexus-extension/0.1", "source": "app", "label": "App", "transport": "local-rest",
        "secrets": [{"name": "token", "attach": "bearer"}],
        "capabilities": (0..60).map(request).collect::<Vec<_>>(),
    })
}

fn propose(agent: &Agent, manifest: &Value) -> String {
    let body = json!({"manifest": manifest, "purpose": "read what the app knows"});
    let reply = agent.client().post("/extensions", body).expect_ok();
    reply["pendingId"].as_str().expect("an item").to_owned()
}

#[test]
fn whole_surface_is_in_the_page_and_long_lists_are_folded() {
    let scene = Scene::signed_in();
    let agent = scene.agent("my-cc");
    let browser = &*scene.browser;
    let item = propose(&agent, &app("http://127.0.0.1:8123"));
    browser.reads("#card h2", "add the extension app");
    // Folded or not, it is there.
    let page = browser.run("return document.querySelector('#card').textContent");
    let page = page.as_str().expect("text");
    for n in 0..60 {
        for part in [
            format!("app.state-{n}"),
            format!("http://127.0.0.1:8123/api/{n}/{{entity}}"),
        ] {
            assert!(page.contains(&part), "{part}");
        }
    }
    for part in [
        "Line 39 of it.",
        "<b>state</b> 59",
        "PUT /api/1/*",
        "token: sent to http://127.0.0.1:8123 as Authorization: Bearer",
        "not encrypted",
        "plexusctl sources secret app token",
        "text of at most 1048576 bytes within 30000 ms",
        "it is added as shown",
    ] {
        assert!(page.contains(part), "{part}");
    }
    for (dark, width, height, name) in LOOKS {
        browser.size(width, height);
        browser.dark(dark);
        scene.picture(&format!("extension-{name}"));
        scene.fits();
    }
    // What is folded says how much it is, and opens.
    let is_seen = |words: &str| {
        let script = format!(
            "return [...document.querySelectorAll('#card summary, #card pre')].some(x => x.textContent.includes({}) && x.checkVisibility())",
            json!(words)
        );
        browser.run(&script) == json!(true)
    };
    assert!(is_seen("app.state-23") && !is_seen("app.state-59") && !is_seen("Line 39 of it."));
    browser.reads("#card .rest > summary", "more");
    for (folded, seen) in [
        ("36 more capabilities", "app.state-59"),
        ("app.state-0 ", "40 lines"),
        ("40 lines", "Line 39 of it."),
    ] {
        let open = format!(
            "const all = [...document.querySelectorAll('#card summary')].filter(x => x.checkVisibility() && x.textContent.includes({})); all[0].click(); return all.length",
            json!(folded)
        );
        assert!(browser.run(&open).as_u64() > Some(0), "{folded}");
        assert!(is_seen(seen), "{seen}");
    }
    scene.picture("extension-open");
    browser.see(APPROVE).click();
    browser.reads("#notes", "plexusctl sources secret app token");
    assert_eq!(scene.state_of(&agent, &item), "approved");
    scene.all_is_well();
}

#[test]
fn secret_is_kept_for_another_host_by_a_box_of_its_own() {
    let scene = Scene::signed_in();
    let agent = scene.agent("my-cc");
    let browser = &*scene.browser;
    let secret = scene.gateway.state().join("secrets/app.token");
    let set = || {
        let body = json!({"value": "hush"});
        let owner = scene.owner();
        owner.post("/admin/api/secrets/app.token", body).expect_ok();
    };
    let approved = |url: &str, keep: bool| {
        let item = propose(&agent, &app(url));
        // The page opens the one that waits. A press for each look would begin anew before so long a card is there.
        let _ = browser.see(&format!("article[data-id='{item}']"));
        if secret.exists() {
            browser.reads(
                "#card .pick",
                &format!("the secret token will go to {url}. Otherwise it is deleted."),
            );
            scene.picture("extension-secret");
        }
        if keep {
            browser.see("[data-keep]").click();
        }
        browser.see(APPROVE).click();
        browser.reads("#queue", "Nothing waits");
        assert_eq!(scene.state_of(&agent, &item), "approved");
    };
    approved("http://127.0.0.1:8123", false);
    set();
    approved("http://127.0.0.1:8124", true);
    assert!(secret.exists());
    approved("http://127.0.0.1:8125", false);
    assert!(!secret.exists());
    scene.all_is_well();
}
