//! An extension that an agent proposes, in the console: all that it may touch is in the page, with long lists folded.

use crate::accessible::keeps_nobody_out;
use crate::scene::Scene;
use plexus_tests::{Agent, Folder};
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

const JOURNAL: &str = include_str!("../../docs/extensions/journal.json");

/// The owner's own: a manifest is pasted, looked at, and added as it was seen.
#[test]
fn pasted_manifest_is_looked_at_before_it_is_added() {
    let scene = Scene::signed_in();
    let browser = &*scene.browser;
    let pages = Folder::empty();
    pages.write("monday.md", "bread and butter\n");
    browser.see("#extensions").click();
    browser.reads("#card", "None is installed.");
    let form = "[data-steps$='/manifest']";
    // What is no manifest is told in the page, and nothing is added.
    browser.fill("#m-manifest", "{\"source\": 7}");
    browser.see(&format!("{form} [value=preview]")).click();
    browser.reads("#card", "It cannot be added");
    browser.fill("#m-manifest", JOURNAL);
    browser.fill("#m-folders", &format!("pages={}", pages.path().display()));
    browser.see(&format!("{form} [value=preview]")).click();
    browser.reads(
        &format!("{form} [data-previewed]"),
        "What you would add: journal",
    );
    browser.reads(
        &format!("{form} [data-previewed]"),
        &pages.path().display().to_string(),
    );
    scene.pictures("extension-add");
    keeps_nobody_out(browser, "a preview of a manifest");
    let added = || scene.owner().get("/admin/api/extensions").expect_ok()["extensions"].clone();
    assert_eq!(added(), json!([]));
    // Another folder than the one that was shown: the digest is not of this.
    let other = Folder::empty();
    browser.fill("#m-folders", &format!("pages={}", other.path().display()));
    browser.click(&format!("{form}:not([data-fresh]) [value=add]"));
    let _ = browser.see(&format!("{form} [data-notice]"));
    assert_eq!(added(), json!([]));
    browser.fill("#m-folders", &format!("pages={}", pages.path().display()));
    browser.see(&format!("{form} [value=preview]")).click();
    browser.click(&format!("{form}:not([data-fresh]) [value=add]"));
    browser.reads("#notes", "Added — journal");
    browser.reads("#card", "What agents see of it");
    let agent = scene.gateway.agent_with("a", &["journal.find"]);
    let found = agent.must("journal.find", json!({"text": "butter"}));
    assert!(found.to_string().contains("monday.md"), "{found}");
    // Removed where it was added: twice pressed, and gone.
    browser.see("#extensions").click();
    let remove = "[data-send='/extensions/journal']";
    browser.see(remove).click();
    browser.reads(remove, "Really remove it");
    browser.see(&format!("{remove}:not([data-fresh])")).click();
    browser.reads("#notes", "Removed — journal");
    assert_eq!(added(), json!([]));
}

/// A server is started in its sandbox to be looked at; what is not lent is said with the reason.
#[test]
fn server_is_looked_at_before_it_is_lent() {
    let scene = Scene::signed_in();
    let browser = &*scene.browser;
    let folder = Folder::empty();
    folder.write("words", "Does");
    let (program, path) = (
        plexus_tests::binaries::path("plexus-mcp-rude")
            .display()
            .to_string(),
        folder.path().display().to_string(),
    );
    browser.see("#extensions").click();
    let form = "[data-steps$='/server']";
    browser.fill("#s-name", "rude");
    browser.fill("#s-program", &program);
    browser.fill("#s-arguments", &path);
    browser.fill("#s-folders", &path);
    browser.see(&format!("{form} [value=preview]")).click();
    let seen = format!("{form} [data-previewed]");
    browser.reads(&seen, "What you would add: rude");
    browser.reads(&seen, "Not lent");
    scene.fits();
    keeps_nobody_out(browser, "a preview of a server");
    // A tool that is classed as a read is one once it was looked at so.
    browser.see("#reads summary").click();
    browser.see("#reads [value=peek]").click();
    let _ = browser.see(&format!("{form} [value=add]:disabled"));
    // Another look at the form takes no ticks along: they may be of another server's tools.
    // The button may lie below the bar, from where a person scrolls.
    browser.run("document.querySelector(\"[data-steps$='/server'] [value=preview]\").scrollIntoView({ block: 'center' })");
    browser.see(&format!("{form} [value=preview]")).click();
    browser.see("#reads:not([open]) summary").click();
    let _ = browser.see("#reads [value=peek]:not(:checked)");
    browser.see("#reads [value=peek]").click();
    browser.see("#reads [value=preview]").click();
    let _ = browser.see("#reads [value=peek]:checked");
    browser.click(&format!("{form}:not([data-fresh]) [value=add]"));
    browser.reads("#notes", "Added — rude");
    let lent = scene.owner().get("/admin/api/extensions/rude").expect_ok();
    assert_eq!(lent["reads"], json!(["peek"]));
    let agent = scene.gateway.agent_with("a", &["rude.write"]);
    agent.must_ask(
        "rude.write",
        json!({"path": folder.path().join("made"), "text": "x"}),
    );
    browser.see("#approvals").click();
    browser.reads("#card", "rude");
}

#[test]
fn whole_surface_is_in_the_page_and_long_lists_are_folded() {
    let (scene, agent) = Scene::with_agent("my-cc");
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
        "text of at most 1 MiB within 30 s",
        "it is added as shown",
    ] {
        assert!(page.contains(part), "{part}");
    }
    scene.pictures("extension");
    keeps_nobody_out(browser, "a card of an extension");
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
    let (scene, agent) = Scene::with_agent("my-cc");
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
