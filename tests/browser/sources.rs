//! The owner's sources in the console: added, tested, changed, disabled and removed, each failure beside its field.

#[path = "../stories/obsidian_rest/app.rs"]
mod app;

use crate::scene::Scene;
use app::plugin::{KEY, Plugin};
use app::{fingerprint, tls};
use plexus_tests::texts::{assert_contains, assert_lacks};
use plexus_tests::waiting::until_true;
use plexus_tests::{Folder, browser::Browser};
use serde_json::{Value, json};

const SAVE: &str = "form.fields [type=submit]";
/// The same once it asks and takes a press.
const SURE: &str = "form.fields [data-sure-now]:not([data-fresh])";

fn source(scene: &Scene, id: &str) -> Value {
    let list = scene.owner().get("/admin/api/sources").expect_ok();
    let sources = list["sources"].as_array().expect("a list");
    let found = sources.iter().find(|source| source["id"] == id);
    found.cloned().unwrap_or(Value::Null)
}

fn fill(browser: &Browser, field: &str, text: &str) {
    browser.fill(&format!("#f-{field}"), text);
}

fn form(browser: &Browser, kind: &str) {
    browser.see("#sources").click();
    browser.see(&format!("[data-kind='{kind}']")).click();
    browser.reads("#card h2", "Add:");
}

/// Nothing went wrong but what was refused with words.
fn is_well(scene: &Scene) {
    let mut log = scene.browser.log();
    log.retain(|entry| entry["level"] == "SEVERE");
    log.retain(|entry| !entry["message"].to_string().contains("status of 422"));
    assert!(log.is_empty(), "{log:#?}");
    scene.fits();
}

fn act(browser: &Browser, id: &str, act: &str) {
    browser.click(&format!("[data-source='{id}'] [data-act='{act}']"));
}

fn change(browser: &Browser, id: &str) {
    let form = format!("[data-source='{id}'] a[href$='source-form?id={id}']");
    browser.see(&form).click();
}

#[test]
fn folder_is_added_changed_disabled_and_removed() {
    let scene = Scene::signed_in();
    let browser = &*scene.browser;
    let folder = Folder::empty();
    folder.write("a.md", "a");
    form(browser, "workspace-dir");
    let id = browser.run("return document.querySelector('#f-id').value");
    assert_eq!(id, "workspace-2", "a free one");
    // What cannot be is told beside its field, and nothing is kept of it.
    fill(browser, "id", "workspace");
    fill(browser, "path", &folder.path().display().to_string());
    browser.see(SAVE).click();
    browser.reads("[data-for=id]", "choose another");
    fill(browser, "id", "notes");
    fill(browser, "path", "a/relative/one");
    browser.see(SAVE).click();
    browser.reads("[data-for=path]", "is a path from the root of the disk");
    let missing = folder.path().join("nowhere").display().to_string();
    fill(browser, "path", &missing);
    browser.see(SAVE).click();
    browser.reads("[data-for=path]", "Not added:");
    assert_eq!(source(&scene, "notes"), Value::Null);
    scene.pictures("source");
    fill(browser, "path", &folder.path().display().to_string());
    browser.see(SAVE).click();
    browser.reads("#notes", "Added — notes");
    browser.reads("[data-source=notes]", "serves");
    assert_eq!(
        source(&scene, "notes")["route"],
        json!({"path": folder.path()})
    );
    scene.pictures("sources");

    // It is used, also after another name; another folder ends what was granted.
    let agent = scene.gateway.agent_with("a", &["notes.read"]);
    let read = || agent.invoke("notes.read", json!({"path": "a.md"}));
    read().expect_ok();
    change(browser, "notes");
    browser.reads("#card h2", "Change notes");
    fill(browser, "label", "<b>My notes</b>");
    browser.see(SAVE).click();
    browser.reads("[data-source=notes]", "<b>My notes</b>");
    read().expect_ok();
    let other = Folder::empty();
    other.write("a.md", "another");
    change(browser, "notes");
    browser.reads("form.fields", "Another value revokes the grants on it.");
    fill(browser, "path", &other.path().display().to_string());
    // That is asked first.
    browser.see(SAVE).click();
    browser.reads(SAVE, "Really save: this revokes 1 grant");
    assert_eq!(
        source(&scene, "notes")["route"],
        json!({"path": folder.path()})
    );
    browser.see(SURE).click();
    until_true("the other folder", || {
        source(&scene, "notes")["route"] == json!({"path": other.path()})
    });
    browser.reads(
        "#notes",
        "Changed — notes. Revoked grants: 1 (a: notes.read)",
    );
    browser.reads("[data-source=notes]", "<b>My notes</b>");
    read().expect_error(401, "approval_required");

    act(browser, "notes", "disable");
    browser.reads("[data-source=notes]", "disabled");
    // Who goes by keys goes on in its row, whose name describes each act.
    until_true("the focus in its row", || {
        browser.run("return document.activeElement.id") == "of-notes"
    });
    let of = browser.attribute("[data-source=notes] [data-act=remove]", "aria-describedby");
    assert_eq!(of.as_deref(), Some("of-notes"));
    assert_eq!(source(&scene, "notes")["enabled"], false);
    // Its own page, where commands that enable it lead to, does so too.
    browser.see("#card a[href='/admin/sources/notes']").click();
    let _ = browser.see("[data-page=one-source]");
    act(browser, "notes", "enable");
    browser.reads("#notes", "Enabled — notes");
    let _ = browser.see("[data-page=one-source] [data-act=disable]");
    assert_eq!(source(&scene, "notes")["enabled"], true);
    browser.see("#card a[href='/admin/sources']").click();
    let _ = browser.see("[data-page=sources] [data-source=notes] [data-act=disable]");
    act(browser, "notes", "test");
    browser.reads("[data-source=notes] [data-state]", "serves");
    // Once is not enough.
    act(browser, "notes", "remove");
    browser.reads("[data-source=notes]", "Really remove it");
    assert_eq!(source(&scene, "notes")["enabled"], true);
    browser.click("[data-source=notes] [data-act=remove]:not([data-fresh])");
    browser.loses("[data-source=notes]");
    assert_eq!(source(&scene, "notes"), Value::Null);
    // One that is gone already is not said to be disabled.
    let gone = ["sources", "remove", "workspace", "--yes"];
    scene.gateway.cli(gone).expect_ok();
    act(browser, "workspace", "disable");
    browser.reads(
        "#notes",
        "workspace: There was nothing to do: it is gone already.",
    );
    browser.loses("[data-source=workspace]");
    is_well(&scene);
}

#[test]
fn key_and_certificate_are_tested_before_they_are_kept() {
    let scene = Scene::signed_in();
    let browser = &*scene.browser;
    let app = Plugin::wrapped(tls(&["app.pem"], "app.key"));
    app.fill(&[("Log.md", "- one")]);
    form(browser, "obsidian-rest");
    fill(
        browser,
        "baseUrl",
        &format!("https://127.0.0.1:{}", app.port),
    );
    // A field that is required is asked for by the browser.
    browser.see(SAVE).click();
    assert_eq!(source(&scene, "obsidian-rest"), Value::Null);
    fill(browser, "apiKey", "another-key");
    browser.see(SAVE).click();
    let met = fingerprint("app.pem");
    browser.reads("[data-for=certificate]", &met);
    assert_eq!(source(&scene, "obsidian-rest"), Value::Null);
    fill(browser, "certificate", "no fingerprint");
    browser.see(SAVE).click();
    browser.reads("[data-for=certificate]", "route.certificate is");
    fill(browser, "certificate", &met);
    browser.see(SAVE).click();
    browser.reads("[data-for=apiKey]", "does not accept the API key");
    fill(browser, "apiKey", KEY);
    browser.see(SAVE).click();
    browser.reads("[data-source=obsidian-rest]", "serves");
    let agent = scene.gateway.agent_with("a", &["obsidian-rest.vault.read"]);
    let read = || agent.invoke("obsidian-rest.vault.read", json!({"path": "Log.md"}));
    assert_eq!(read().expect_ok()["output"]["content"], "- one");
    // The key is in no page; a form that leaves it empty leaves it as it is.
    change(browser, "obsidian-rest");
    browser.reads("form.fields", "stays as it is when it is empty");
    let value =
        browser.run("return document.querySelector('#f-apiKey').value + document.body.innerHTML");
    assert!(!value.to_string().contains(KEY));
    app.set_wrap(tls(&["other.pem"], "other.key"));
    // Another key would be another account.
    fill(browser, "apiKey", "another-key");
    browser.see(SAVE).click();
    browser.reads(SAVE, "Really save: this revokes 1 grant");
    browser.run("document.querySelector('#f-apiKey').value = ''");
    fill(browser, "certificate", &fingerprint("other.pem"));
    browser.see(SURE).click();
    browser.reads(SAVE, "Really save: this suspends 1 grant");
    browser.see(SURE).click();
    browser.reads("#notes", "Changed — obsidian-rest");
    browser.reads("#notes", "Grants suspended until you approve them: 1");
    // Both fingerprints are on the card of the source; one act lets its grants go on.
    read().expect_error(401, "approval_required");
    browser.see(".ticket").click();
    for fingerprint in [met, fingerprint("other.pem")] {
        browser.reads(".differs", &fingerprint);
    }
    browser.see("form:not([data-fresh]) [value=once]").click();
    browser.reads("#notes", "obsidian-rest");
    is_well(&scene);
}

/// A hidden folder is to agents as one that never was; what is beside it stays.
#[test]
fn folder_is_hidden_from_agents() {
    let (scene, agent) = Scene::with_agent("my-cc");
    let browser = &*scene.browser;
    scene.workspace.write("Open/a.md", "open\n");
    scene.workspace.write("Mine/a.md", "mine\n");
    let read = |path: &str| agent.invoke("workspace.read", json!({"path": path}));
    for folder in ["Open", "Mine"] {
        read(&format!("{folder}/a.md")).expect_ok();
    }
    browser.see("#sources").click();
    browser.see("[data-source=workspace] a").click();
    browser.reads("#card", "No part of it is hidden from agents.");
    let hide = "article:not([data-fresh]) [data-form-send$='/hide'] button";
    browser.fill("#hide-folder", "../up");
    browser.see(hide).click();
    browser.reads(
        "[data-form-send$='/hide'] [data-for=folders]",
        "within the source",
    );
    let on = "return document.activeElement.id";
    assert_eq!(browser.run(on), "hide-folder");
    browser.fill("#hide-folder", "Mine");
    browser.see(hide).click();
    browser.reads("#notes", "Hidden");
    browser.reads("#card .facts", "Mine");
    let hidden = read("Mine/a.md");
    let never = read("Nope/a.md");
    assert_eq!(
        hidden.at("/error").to_string(),
        never.at("/error").to_string().replace("Nope", "Mine"),
    );
    assert_eq!(hidden.at("/ok"), false, "{hidden}");
    let listed = agent.must("workspace.list", json!({})).to_string();
    assert_contains(&listed, "Open");
    assert_lacks(&listed, "Mine");
    read("Open/a.md").expect_ok();
    assert_eq!(
        source(&scene, "workspace")["hide"]["folders"],
        json!(["Mine"])
    );
    let mut log = browser.log();
    log.retain(|entry| entry["level"] == "SEVERE");
    assert!(
        log.iter()
            .all(|entry| entry["message"].to_string().contains("status of 4")),
        "{log:#?}"
    );
}

#[test]
fn found_vault_is_added_from_a_filled_form() {
    let scene = Scene::signed_in();
    let browser = &*scene.browser;
    let vault = Folder::empty();
    vault.write("My <b>notes/a.md", "a");
    let path = vault.path().join("My <b>notes");
    let list = scene.gateway.home().join(match cfg!(target_os = "macos") {
        true => "Library/Application Support/obsidian",
        false => ".config/obsidian",
    });
    std::fs::create_dir_all(&list).expect("a folder");
    let listed = json!({"vaults": {"1": {"path": path}}});
    std::fs::write(list.join("obsidian.json"), listed.to_string()).expect("a file");
    let twin =
        json!({"id": "twin", "kind": "workspace-dir", "label": "Twin", "route": {"path": path}});
    let owner = scene.owner();
    owner.post("/admin/api/sources", twin).expect_ok();
    browser.see("#sources").click();
    browser.reads("#card", "Obsidian lists a vault at");
    browser.reads("#card", "My <b>notes");
    browser.see("[data-found='my-b-notes']").click();
    browser.reads("#card h2", "Add:");
    browser.see(SAVE).click();
    browser.reads("#notes", "Added — my-b-notes");
    browser.reads("#notes", "shares a folder with twin");
    assert_eq!(
        source(&scene, "my-b-notes")["route"],
        json!({"vaultPath": path})
    );
    // It is listed as a source now, and offered no more.
    let _ = browser.see("[data-source='my-b-notes']");
    browser.loses("[data-found='my-b-notes']");
    is_well(&scene);
}
