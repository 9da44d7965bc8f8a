//! The owner's house: a folder is lent and taken back, the servers of a client are added, settings are changed, each by pointer
//! alone and by keyboard alone; grants are taken back together; the first page and the activity tell what happened, and what is
//! wrong.

use crate::accessible::keeps_nobody_out;
use crate::hands::Hands;
use crate::scene::{Scene, WRITE, note};
use plexus_tests::browser::key;
use plexus_tests::texts::{assert_lacks, assert_like};
use plexus_tests::waiting::{until, until_true};
use plexus_tests::{Agent, Clock, Folder};
use serde_json::{Value, json};

/// A refusal of the gateway is an error for the browser's log, and no other is there.
fn refused(scene: &Scene) {
    let log = scene.browser.log();
    let is_refusal = |entry: &Value| entry["message"].to_string().contains("status of 400");
    assert!(!log.is_empty() && log.iter().all(is_refusal), "{log:?}");
}

fn lends(keys: bool) {
    let scene = Scene::signed_in();
    let browser = &*scene.browser;
    let hands = Hands::new(browser, keys);
    let agent = scene.agent("my-cc");
    let folder = Folder::empty();
    for name in ["a.md", "b.md", "deep/c.md"] {
        folder.write(name, "bread\n");
    }
    let path = folder.path().display().to_string();
    let lent = || scene.owner().get("/admin/api/lend").expect_ok()["lent"].clone();
    hands.page("#lend", "d");
    browser.reads("#card", "Nothing is lent.");
    hands.fill("#l-path", &path);
    hands.press("[name=write]");
    hands.fill("#l-most", "2");
    hands.press("[data-steps] [value=preview]");
    let seen = "[data-previewed]";
    browser.reads(
        seen,
        &format!(
            "my-cc may list and read the files in {path}, and change them without asking 2 times"
        ),
    );
    browser.reads(seen, "The folder holds 3 files now");
    browser.reads(seen, "It may not reach anything outside of that folder");
    if !keys {
        scene.pictures("lend");
        keeps_nobody_out(browser, "a preview of a lent folder");
    }
    assert_eq!(lent(), json!([]), "nothing before it is agreed to");
    // Other terms than those that were shown are refused.
    hands.fill("#l-most", "25");
    hands.press("[data-steps]:not([data-fresh]) [value=add]");
    browser.reads("[data-steps] [data-notice]", "This is not what was shown");
    refused(&scene);
    assert_eq!(lent(), json!([]));
    hands.press("[data-steps] [value=preview]");
    browser.reads(seen, "25 times");
    if !keys {
        // Nor is a lending replaced that was made since.
        let _ = browser.see("[data-steps]:not([data-fresh]) [value=add]");
        scene.gateway.cli(["lend", "my-cc", &path]).expect_ok();
        browser.see("[data-steps] [value=add]").click();
        browser.reads("[data-steps] [data-notice]", "This is not what was shown");
        refused(&scene);
        browser.see("[data-steps] [value=preview]").click();
        browser.reads(seen, "It replaces what is lent now: reading only");
    }
    hands.press("[data-steps]:not([data-fresh]) [value=add]");
    browser.reads("#notes", "Lent — ");
    let source = lent()[0]["source"].as_str().expect("a source").to_owned();
    assert_eq!(lent()[0]["writesLeft"], 25);
    let found = agent.must(&format!("{source}.read"), json!({"path": "deep/c.md"}));
    assert!(found.to_string().contains("bread"), "{found}");
    agent.must(&format!("{source}.write"), note("d.md", "butter\n"));
    // Taken back: twice pressed, and gone.
    let back = format!("[data-send='/lend/{source}']");
    hands.press(&format!("article:not([data-fresh]) {back}"));
    browser.reads(&back, "Really take it back");
    hands.press(&format!("{back}:not([data-fresh])"));
    browser.reads("#notes", "Taken back");
    browser.reads("#card", "ended");
    agent
        .invoke(&format!("{source}.read"), json!({"path": "a.md"}))
        .expect_error(404, "unknown_capability");
    scene.all_is_well();
    hands.done("lends a folder and takes it back");
}

#[test]
fn folder_is_lent_by_pointer() {
    lends(false);
}

#[test]
fn folder_is_lent_by_keyboard() {
    lends(true);
}

/// What cannot be lent is said before anything is.
#[test]
fn folder_that_cannot_be_lent_says_why() {
    let (scene, _agent) = Scene::with_agent("my-cc");
    let browser = &*scene.browser;
    browser.see("#lend").click();
    browser.fill("#l-path", &scene.gateway.state().display().to_string());
    browser.see("[data-steps] [value=preview]").click();
    let _ = browser.see("[data-steps] [data-for=path]");
    browser.fill("#l-path", "/no/such/folder");
    browser.see("[data-steps] [value=preview]").click();
    browser.reads("[data-steps] [data-for=path]", "/no/such/folder");
    let on = "return document.activeElement.id";
    assert_eq!(browser.run(on), "l-path");
    assert!(browser.sees("[data-steps] [value=add]").is_none());
    browser.see("[name=write]").click();
    // The text is there again after another page; what it gives is chosen anew.
    browser.see("#overview").click();
    browser.reads("#card h2", "Overview");
    browser.see("#lend").click();
    until("what was typed", || {
        let typed = browser.run("return document.querySelector('#l-path')?.value");
        (typed == "/no/such/folder").then_some(())
    });
    let _ = browser.see("[name=write]:not(:checked)");
}

fn adds_servers(keys: bool) {
    let scene = Scene::signed_in();
    let browser = &*scene.browser;
    let hands = Hands::new(browser, keys);
    let folder = Folder::empty();
    folder.write("words", "Does");
    let path = folder.path().display().to_string();
    let program = plexus_tests::binaries::path("plexus-mcp-rude");
    let secret = "hush-1234-hush";
    let block = json!({"mcpServers": {
        "Rude One": {"command": program, "args": [path], "env": {"API_TOKEN": secret, "LEVEL": "1"}},
        "fetched": {"command": "npx", "args": ["-y", "@a/b"]},
        "two-headers": {"url": "https://a.example/mcp", "headers": {"A": secret, "B": secret}},
        "in-words": {"command": program, "args": ["--token", secret]},
    }});
    hands.page("#extensions", "e");
    let form = "[data-steps$='/client']";
    let seen = format!("{form} [data-previewed]");
    hands.fill("#b-block", "{\"no\": 1}");
    hands.press(&format!("{form} [value=list]"));
    browser.reads("[data-for=block]", "There is no `mcpServers` in it.");
    refused(&scene);
    if keys {
        // Typed text is replaced as a whole.
        browser.run("document.querySelector('#b-block').value = ''");
    }
    hands.fill("#b-block", &block.to_string());
    hands.press(&format!("{form} [value=list]"));
    for words in [
        "Rude One",
        "as rude-one",
        "API_TOKEN",
        "npx downloads it at each start",
        "it needs more than one header",
        "its argument --token looks like a secret",
    ] {
        browser.reads(&seen, words);
    }
    let added = || scene.owner().get("/admin/api/extensions").expect_ok()["extensions"].clone();
    assert_eq!(added(), json!([]));
    if keys {
        hands.reach(&format!("{form} [name=server]"));
        browser.press(key::SPACE);
    } else {
        hands.press(&format!("{form} [name=server]"));
    }
    hands.press(&format!("{form} [data-previewed] [value=preview]"));
    browser.reads(&seen, "What you would add: rude-one");
    if !keys {
        scene.pictures("client-servers");
        keeps_nobody_out(browser, "a preview of a client's server");
    }
    // The value of a secret is in what was pasted, and nowhere else.
    let told = browser.run("return document.querySelector('#card').textContent");
    assert!(!told.as_str().expect("text").contains(secret), "{told}");
    hands.press(&format!("{form}:not([data-fresh]) [value=add]"));
    browser.reads("#notes", "Added — rude-one");
    browser.reads(&seen, "is there already");
    assert_eq!(added()[0]["source"], "rude-one");
    let agent = scene.gateway.agent_with("a", &["rude-one.write"]);
    agent.must_ask(
        "rude-one.write",
        json!({"path": folder.path().join("made"), "text": "x"}),
    );
    scene.all_is_well();
    hands.done("adds a server of a client");
}

#[test]
fn servers_of_a_client_are_added_by_pointer() {
    adds_servers(false);
}

#[test]
fn servers_of_a_client_are_added_by_keyboard() {
    adds_servers(true);
}

fn changes_settings(keys: bool) {
    let scene = Scene::signed_in();
    let browser = &*scene.browser;
    let hands = Hands::new(browser, keys);
    let config = || scene.owner().get("/v1/config").expect_ok();
    let _agent = scene.agent("my-cc");
    hands.page("#settings", "i");
    browser.reads(
        "#card",
        "Nothing: no source reaches anything beyond its folder.",
    );
    browser.reads("#card", "network.json");
    browser.reads("#card", "plexusctl network set");
    browser.reads("#card", "my-cc");
    let told = browser.run("return document.querySelector('#card').textContent");
    assert!(!told.as_str().expect("text").contains(&scene.gateway.key()));
    if !keys {
        scene.pictures("settings");
    }
    let choose = |field: &str, value: &str, letter: &str| {
        if keys {
            hands.reach(field);
            browser.press(letter);
        } else {
            hands.press(&format!("{field} [value='{value}']"));
        }
    };
    choose("#set-auto", "yes", "y");
    choose("#set-reach", "selected", "o");
    browser.run("document.querySelector('#set-token').value = ''");
    hands.fill("#set-token", "99");
    hands.press("[data-form-send] [type=submit]");
    // What is out of bounds is not sent, or refused, and not cut to what is in them.
    assert_eq!(config()["autoAllowReads"], false);
    browser.run("document.querySelector('#set-token').value = ''");
    hands.fill("#set-token", "20");
    hands.press("[data-form-send] [type=submit]");
    browser.reads("#notes", "Settings changed");
    let now = config();
    let like =
        json!({"autoAllowReads": true, "defaultReach": "selected", "tokenLifetimeMs": 1_200_000});
    assert_like(&now, &like);
    let chosen = browser.run("return document.querySelector('#set-auto').value");
    assert_eq!(chosen, "yes", "the page shows what holds");
    scene.all_is_well();
    hands.done("changes settings");
}

#[test]
fn settings_are_changed_by_pointer() {
    changes_settings(false);
}

#[test]
fn settings_are_changed_by_keyboard() {
    changes_settings(true);
}

/// What happened between two visits, across a restart; each number leads to what it counts.
#[test]
fn first_page_tells_what_happened_meanwhile() {
    let mut scene = Scene::signed_in();
    let agent = scene.agent("my-cc");
    scene.workspace.write("a.md", "one\n");
    scene.browser.see("#overview").click();
    scene.browser.reads("#card", "Overview");
    assert!(scene.browser.sees("#lately").is_none(), "the first visit");
    scene.browser.see("#sign-out").click();
    let _ = scene.browser.see("#key");
    agent.must_approved(&scene.owner(), WRITE, note("b.md", "two\n"));
    let denied = agent.must_ask(WRITE, note("c.md", "three\n"));
    scene.owner().deny(&denied, "not now");
    agent.must("workspace.read", json!({"path": "a.md"}));
    agent.must_fail(WRITE, note("c.md", "three\n"), 403, "denied_by_owner");
    let _newcomer = scene.agent("newcomer");
    scene.gateway.restart();
    let browser = &*scene.browser;
    browser.go(&scene.link());
    let _ = browser.see("#lately");
    // The page that was open asked with the session of before.
    let _ = browser.log();
    for words in [
        "decided by you: ",
        "changes made: 1",
        "reads: 1",
        "refused: 1",
        "requests to you: 2",
        "agents connected: 1",
    ] {
        browser.reads("#lately", words);
    }
    assert!(!browser.text("#lately").contains("failed"), "none did");
    let agent = scene.gateway.back(&agent);
    agent.must("workspace.read", json!({"path": "a.md"}));
    browser.see("#overview").click();
    browser.reads(".latency", "workspace");
    scene.pictures("overview");
    browser.see("#lately [href$='what=done']").click();
    browser.reads("#card h2", "Changes that were made");
    browser.reads("#card .calls", "b.md");
    assert_eq!(
        browser.run("return document.querySelectorAll('.calls li').length"),
        1
    );
    browser.see("#overview").click();
    browser.see("#lately [href$='what=refused']").click();
    browser.reads(
        "#card .calls",
        "was refused workspace.write: you denied this before",
    );
    browser.see("#overview").click();
    browser.see("#lately [href$='what=decided']").click();
    browser.reads("#card .calls", "was denied");
    // Signed in again meanwhile: it is the same visit.
    browser.reload();
    browser.reads("#card .calls", "was denied");
    scene.all_is_well();
}

/// Grants are chosen by what they are of and when they end; two of three that are revoked together end, and the third stands.
#[test]
fn grants_are_filtered_sorted_and_many_revoked() {
    const READ: &str = "workspace.read";
    let scene = Scene::signed_in();
    let (browser, owner) = (&*scene.browser, scene.owner());
    let agents = ["one", "three", "two"].map(|id| scene.gateway.agent_with(id, &[READ]));
    owner.grant("two", "obsidian.vault.read", "1h").expect_ok();
    scene.workspace.write("a.md", "a\n");
    let read = |agent: &Agent| agent.invoke(READ, json!({"path": "a.md"}));
    browser.see("#grants").click();
    let lists = |rows: &[(&str, &str)]| {
        let wanted: Vec<String> = rows
            .iter()
            .map(|(who, what)| format!("{who}: {what}"))
            .collect();
        until_true(&format!("{wanted:?}"), || {
            browser.run("return [...document.querySelectorAll('#card [name=many]')].map((box) => box.ariaLabel)")
                == json!(wanted)
        });
    };
    let (vault, one, three, two) = (
        ("two", "obsidian.vault.read"),
        ("one", READ),
        ("three", READ),
        ("two", READ),
    );
    lists(&[one, three, vault, two]);
    #[rustfmt::skip]
    let choices = [
        ("sort", "[value=ends]", "?sort=ends", &[vault, one, three, two][..]),
        ("sort", ":nth-child(2)", "?sort=capability", &[vault, one, three, two]),
        ("source", ":nth-child(2)", "?source=obsidian&sort=capability", &[vault]),
        ("source", ":nth-child(1)", "?sort=capability", &[vault, one, three, two]),
        ("agent", ":last-child", "?agent=two&sort=capability", &[vault, two]),
    ];
    for (field, option, at, rows) in choices {
        browser.see(&format!("#g-{field} option{option}")).click();
        until_true(at, || browser.address().ends_with(&format!("/grants{at}")));
        lists(rows);
        browser.reload();
        lists(rows);
    }
    browser.see("#grants").click();
    lists(&[one, three, vault, two]);
    let revoke = "article:not([data-fresh]) form[data-many] [type=submit]";
    browser.see(revoke).click();
    browser.reads("form[data-many] [data-notice]", "Choose at least one.");
    for agent in &agents {
        read(agent).expect_ok();
    }
    for (who, what) in [one, two] {
        browser.click(&format!("[aria-label='{who}: {what}']"));
    }
    browser.see(revoke).click();
    browser.reads("#notes", "Revoked: 2");
    lists(&[three, vault]);
    for (agent, may) in agents.iter().zip([false, true, false]) {
        if may {
            read(agent).expect_ok();
        } else {
            read(agent).expect_error(401, "approval_required");
        }
    }
    let mut left: Vec<_> = owner.grants();
    left.retain(|grant| grant["capabilityId"] == READ);
    assert_eq!(left.len(), 1, "{left:#?}");
    let audit = owner.audit(100);
    let ended = audit.iter().filter(|event| {
        let kind = event["type"].as_str();
        kind.is_some_and(|kind| kind.contains("revoke"))
    });
    let ended: Vec<_> = ended.map(|event| &event["agentId"]).collect();
    assert_eq!(ended, ["two", "one"], "{audit:#?}");
    scene.all_is_well();
}

/// After two weeks away one press gives the chosen reads again, an effect has a button of its own, and a revoked grant is not
/// there.
#[test]
fn ended_grants_are_given_again() {
    const READ: &str = "workspace.read";
    const LIST: &str = "workspace.list";
    let clock = Clock::new();
    let scene = Scene::timed(&clock);
    let (browser, owner) = (&*scene.browser, scene.owner());
    let [one, two] = ["one", "two"].map(|id| scene.gateway.agent(id));
    scene.workspace.write("a.md", "a\n");
    let read = |agent: &Agent| {
        let agent = agent.another_session();
        agent.invoke(READ, json!({"path": "a.md"}))
    };
    for (who, capability, window) in [
        ("one", READ, "7d"),
        ("one", LIST, "7d"),
        ("one", WRITE, "1h"),
        ("two", READ, "7d"),
        ("two", LIST, "7d"),
    ] {
        owner.must_grant(who, capability, window);
    }
    owner.revoke("two", LIST);
    clock.show("+14d");
    browser.go(&scene.link());
    browser.see("#grants").click();
    browser.reads("#ended", WRITE);
    scene.pictures("ended-grants");
    keeps_nobody_out(browser, "grants that ended");
    let chosen =
        "return [...document.querySelectorAll('[form=renew]:checked')].map((box) => box.ariaLabel)";
    let reads = [
        "one: workspace.list",
        "one: workspace.read",
        "two: workspace.read",
    ];
    assert_eq!(browser.run(chosen), json!(reads));
    browser.click("[aria-label='two: workspace.read']");
    let effect = "article:not([data-fresh]) #ended tbody [type=submit]";
    browser.see(effect).click();
    browser.reads("#notes", "Granted again — one: workspace.write");
    let again = one.another_session();
    again.must(WRITE, note("b.md", "b\n"));
    browser.loses("#ended tbody [type=submit]");
    assert_eq!(browser.run(chosen), json!(reads[..2]), "chosen before");
    let renew = "article:not([data-fresh]) #renew [type=submit]";
    browser.see(renew).click();
    let granted = "Granted again — one: workspace.list, workspace.read";
    browser.reads("#notes", granted);
    read(&one).expect_ok();
    read(&two).expect_error(401, "approval_required");
    // The rest on the agent's own page.
    browser.go(&format!("{}/agents/two", scene.page()));
    browser.see(renew).click();
    browser.reads("#notes", "Granted again — two: workspace.read");
    browser.loses("#ended");
    read(&two).expect_ok();
    scene.all_is_well();
}

/// What happened is chosen by agent, source and outcome, page by page; back and reload lead to where one had read.
#[test]
fn activity_is_filtered_and_keeps_its_place() {
    let scene = Scene::signed_in();
    let browser = &*scene.browser;
    let (one, two) = (scene.agent("one"), scene.agent("two"));
    scene.workspace.write("a.md", "a\n");
    two.must("obsidian.vault.read", json!({"path": "Ideas.md"}));
    let item = two.must_ask(WRITE, note("no.md", "no\n"));
    scene.owner().deny(&item, "not now");
    two.must_fail(WRITE, note("no.md", "no\n"), 403, "denied_by_owner");
    scene.owner().grant("two", WRITE, "1h").expect_ok();
    two.must(WRITE, note("yes.md", "yes\n"));
    two.must("workspace.read", json!({"path": "a.md"}));
    for _ in 0..60 {
        one.must("workspace.read", json!({"path": "a.md"}));
    }
    // A part of a name leads to it.
    browser.go(&format!("{}/activity?touched=YES", scene.page()));
    browser.see(".counts a[href$='touched=yes.md']").click();
    browser.reads(".calls", "two created yes.md");
    // The number of denied requests leads to those alone.
    browser.go(&format!("{}/activity?agent=two", scene.page()));
    browser.see(".counts a[href*='only=denied']").click();
    browser.reads(".counts", "On this page: 1 denied");
    browser.reads(".calls", "was denied workspace.write by you (not now)");
    assert!(!browser.text(".calls").contains("was refused"));
    // A thing by its whole path is found as its source names it.
    let whole = scene.workspace.path().join("yes.md");
    browser.go(&format!(
        "{}/activity?touched={}",
        scene.page(),
        whole.display()
    ));
    browser.reads(".calls", "two created yes.md");
    let typed = browser.attribute("#a-touched", "value");
    assert_eq!(typed.as_deref(), Some("yes.md"));
    browser.see("#activity").click();
    let all = |of: &str| {
        let lines = browser.run("return [...document.querySelectorAll('#card .calls li')].map((one) => one.lastElementChild.textContent)");
        let lines = lines.as_array().cloned().unwrap_or_default();
        !lines.is_empty()
            && lines
                .iter()
                .all(|line| line.as_str().is_some_and(|line| line.contains(of)))
    };
    browser.reads(".calls", "one read a.md");
    // Fifty of one are newer.
    assert_lacks(&browser.text(".calls"), "two");
    browser.see("#card a.button[href*='before=']").click();
    browser.reads(".calls", "two created yes.md");
    browser.reads(".calls", "one read a.md");
    browser.click("#card p.acts a.button[href='/admin/activity']");
    browser.loses("#card p.acts a.button[href='/admin/activity']");
    #[rustfmt::skip]
    let rows = [
        ("agent", ":last-child", "?agent=two", "two", "one"),
        ("source", ":nth-child(2)", "?agent=two&source=obsidian", "Ideas.md", "yes.md"),
        ("source", ":first-child", "?agent=two", "two", "one"),
        ("only", "[value=refused]", "?agent=two&only=refused", "denied", "yes.md"),
        ("only", "[value=changed]", "?agent=two&only=changed", "yes.md", "denied"),
    ];
    for (field, option, at, of, lacks) in rows {
        browser.see(&format!("#a-{field} option{option}")).click();
        until_true(at, || {
            browser.address().ends_with(&format!("/activity{at}"))
        });
        until_true(&format!("calls of {of} alone"), || all(of));
        browser.reload();
        until_true(&format!("calls of {of} alone, loaded anew"), || all(of));
        assert!(!browser.text(".calls").contains(lacks), "{lacks} at {at}");
    }
    // How far down one had read.
    browser.see("#activity").click();
    browser.reads(".calls", "one read a.md");
    let is_at = |y: u32| {
        until_true(&format!("{y} from the top"), || {
            browser.run("return window.scrollY") == y
        });
    };
    let read_to = |y: u32| {
        browser.run(&format!(
            "window.scrollTo({{ top: {y}, behavior: 'instant' }})"
        ));
        until_true("that it is kept", || {
            browser.run("return history.state?.y ?? null") == y
        });
    };
    read_to(450);
    browser.see(".calls li:nth-child(25) a.said").click();
    browser.reads("#card h2", "read a.md");
    is_at(0);
    browser.run("history.back()");
    browser.reads("#card h2", "Activity");
    is_at(450);
    read_to(320);
    browser.reload();
    browser.reads("#card h2", "Activity");
    is_at(320);
    // A page of earlier calls reads on until it has found some.
    let limits = json!({"callsPerSecond": 1_000_000});
    scene.owner().limit("one", limits).expect_ok();
    for _ in 0..1_050 {
        one.must("workspace.read", json!({"path": "a.md"}));
    }
    let newest = scene.owner().audit(1)[0]["seq"].clone();
    browser.go(&format!(
        "{}/activity?only=denied&before={newest}",
        scene.page()
    ));
    browser.reads(".calls", "was denied workspace.write by you (not now)");
    // Where nothing fits a filter, the page leads to all.
    for (page, all) in [
        ("activity?only=unknown", "All activity"),
        ("grants?agent=nobody", "All grants"),
    ] {
        browser.go(&format!("{}/{page}", scene.page()));
        browser.reads("#card", all);
    }
    scene.all_is_well();
}

/// The first page names what is wrong, and leads there: a source that does not serve, and an effect of which nobody knows whether
/// it happened, which is said on its page.
#[test]
fn troubles_stand_on_the_first_page() {
    const COUNT: &str = "fixture.count";
    let scene = Scene::workshop();
    let (browser, owner) = (&*scene.browser, scene.owner());
    let agent = scene.trusted("one", &[COUNT]);
    let notes = Folder::empty();
    let path = notes.path().join("notes");
    std::fs::create_dir(&path).expect("a folder");
    let source =
        json!({"id": "notes", "kind": "workspace-dir", "label": "Notes", "route": {"path": path}});
    owner.post("/admin/api/sources", source).expect_ok();
    browser.see("#overview").click();
    browser.reads("#calm", "Nothing needs you.");
    std::fs::remove_dir(&path).expect("an empty folder");
    owner.get("/admin/api/health").expect_ok();
    browser.see("#sources").click();
    browser.see("#overview").click();
    let gone = format!("does not serve: the folder {} is not there", path.display());
    browser.reads(".needs .bad", &format!("notes {gone}"));
    browser.see("#health").click();
    browser.reads("#card tr:has([href])", &gone);
    browser.see("#card [href$='/source-form?id=notes']").click();
    browser.reads("#card h2", "Change notes");
    browser.see("#sources").click();
    let row = "[data-source=notes]";
    browser.reads(row, &gone);
    browser.reads(row, &format!("workspace-dir {}", path.display()));
    browser.see("#card [href$='/sources/notes']").click();
    browser.see("#role-1 summary").click();
    browser.reads("#role-1", "this system does not hide");
    browser.see("#overview").click();
    let lost = json!({"line": "lost", "die": "after"});
    agent.must_fail(COUNT, lost.clone(), 200, "outcome_unknown");
    let unknown = ".needs .bad a[href^='/admin/activity/']";
    browser.reads(
        unknown,
        "Nobody knows whether fixture.count of one was done",
    );
    assert_eq!(
        browser.run("return document.querySelectorAll('.needs .bad').length"),
        2
    );
    scene.picture("troubles");
    let effects = || scene.fixture.read("effects.log").lines().count();
    let mut done = effects();
    let again = agent.invoke(COUNT, lost);
    assert_eq!(again.at("/ok"), false, "until it is settled: {again}");
    assert_eq!(effects(), done);
    // Another call is none of it: the control.
    agent.must(COUNT, json!({"line": "other"}));
    done += 1;
    browser.see(unknown).click();
    browser.reads("#card .why", "Nobody knows whether this happened.");
    let settle = "[data-send^='/unsettled/'][data-body*='true']";
    browser.click(&format!("article:not([data-fresh]) {settle}"));
    browser.reads(settle, "Really record that it happened");
    browser.click(&format!("{settle}[data-sure-now]:not([data-fresh])"));
    browser.reads("#notes", "Recorded: it happened");
    browser.loses("[data-send^='/unsettled/']");
    let settled = owner.audited(|event| event["detail"]["happened"] == true);
    assert_eq!(settled["capabilityId"], COUNT, "{settled}");
    agent.must(COUNT, json!({"line": "lost"}));
    assert_eq!(effects(), done + 1);
    browser.see("#activity").click();
    browser.reads(".calls", "you recorded that it happened");
    // What serves again, and what was said, is no trouble any more.
    std::fs::create_dir(&path).expect("a folder");
    owner.get("/admin/api/health").expect_ok();
    browser.see("#overview").click();
    browser.reads("#calm", "Nothing needs you.");
    // A pause says for which calls it comes late.
    let line = json!({"line": "late", "wait": 4_000});
    std::thread::scope(|scope| {
        let effect = scope.spawn(|| agent.invoke(COUNT, line));
        until_true("an effect under way", || scene.fixture.has("begun"));
        browser.see("article:not([data-fresh]) #pause").click();
        let late = "Paused all agents; asked to stop, and perhaps done all the same: 1";
        browser.reads("#notes", late);
        let _ = effect.join().expect("an answer");
    });
    scene.all_is_well();
}

/// Finds something by the palette, and opens it.
fn found(scene: &Scene, sought: &str, what: &str, heading: &str) {
    let browser = &*scene.browser;
    browser.press("/");
    browser.fill("#find:focus", sought);
    browser.reads("#found", what);
    let said = browser.run("return document.getElementById('announce').textContent");
    assert!(said.to_string().contains("Found: "), "{said}");
    let link = format!(
        "return [...document.querySelectorAll('#found a')].find((link) => link.textContent.includes({})).getAttribute('href')",
        json!(what)
    );
    let link = browser.run(&link);
    let link = link.as_str().expect("an address");
    browser.see(&format!("#found [href='{link}']")).click();
    browser.reads("#card h2", heading);
}

/// The first page counts what an agent did today, in words and in columns; the palette finds it, and all else that has a page.
#[test]
fn first_page_and_palette_tell_of_an_agent() {
    let (scene, agent) = Scene::with_agent("my-cc");
    let browser = &*scene.browser;
    let _idle = scene.agent("idle");
    scene.workspace.write("a.md", "one\n");
    for _ in 0..3 {
        agent.must("workspace.read", json!({"path": "a.md"}));
    }
    let gone = agent.invoke("workspace.read", json!({"path": "gone.md"}));
    assert_eq!(gone.at("/ok"), false, "{gone}");
    agent.must_approved(&scene.owner(), WRITE, note("b.md", "two\n"));
    let denied = agent.must_ask(WRITE, note("c.md", "three\n"));
    scene.owner().deny(&denied, "not now");
    browser.see("#overview").click();
    let line = |id: &str| format!("ul.lately li:has([href='/admin/agents/{id}'])");
    let did = "3 read, 1 changed, 1 refused or failed, 1 denied by you, 2 asked";
    browser.reads(&line("my-cc"), did);
    browser.reads(".calls", "was denied workspace.write by you (not now)");
    browser.reads(&line("idle"), "nothing in 24 hours");
    let columns = |id: &str| {
        let script = format!(
            "const of = document.querySelector({}).querySelector('svg');
             return [of.getAttribute('aria-label'), [...of.querySelectorAll('path:not(.ground)')].map((path) => path.getAttribute('class')).sort()]",
            json!(line(id))
        );
        browser.run(&script)
    };
    let label = |id: &str, did: &str| format!("Calls of {id}, hour by hour: {did}");
    assert_eq!(
        columns("my-cc"),
        json!([label("my-cc", did), ["asked", "changed", "read", "refused"]])
    );
    assert_eq!(
        columns("idle"),
        json!([label("idle", "nothing in 24 hours"), []])
    );
    let calls = scene.owner().get("/admin/api/activity?only=changed");
    let call = calls.text_at("/calls/0/auditId");
    // A Mac composes letters otherwise than a keyboard.
    let folder = Folder::empty();
    let path = folder.path().display().to_string();
    let source = json!({"id": "drinks", "kind": "workspace-dir", "label": "Cafe\u{301}", "route": {"path": path}});
    let _ = scene.owner().post("/admin/api/sources", source).expect_ok();
    for (sought, what, heading) in [
        ("my-cc", "agent my-cc", "my-cc"),
        ("obsidian", "source obsidian", "obsidian"),
        ("caf\u{e9}", "source drinks", "drinks"),
        (WRITE, "capability workspace.write", "workspace"),
        (&call, "call ", "my-cc"),
    ] {
        found(&scene, sought, what, heading);
    }
    browser.reads("#card code", &call);
    // Enter opens the first for the words that were typed, however soon it comes.
    browser.press("/");
    browser.fill("#find:focus", "b.md");
    browser.press(key::ENTER);
    browser.reads("#card h2", "Activity");
    browser.reads(".calls", "created b.md");
    // The keys are all there when they are asked for, and go again.
    browser.press("?");
    let _ = browser.see("#keys.all");
    browser.press("?");
    let _ = browser.see("#keys:not(.all)");
    scene.all_is_well();
}

/// Before something is granted, and afterwards, the pages say what it amounts to: in the form that connects an agent, on its
/// page, where it is used, and on the page of its source.
#[test]
fn pages_say_what_is_allowed_and_used() {
    let scene = Scene::workshop();
    let (browser, owner) = (&*scene.browser, scene.owner());
    let agent = scene.trusted("my-cc", &["workspace.read", "workspace.list"]);
    scene.workspace.write("a.md", "one\n");
    let row = |capability: &str| format!("tr:has([data-body*='\"{capability}\"'])");
    let used = |capability: &str| format!("{} [data-label='last use']", row(capability));
    let agents_page = format!("{}/agents/my-cc", scene.page());
    browser.go(&agents_page);
    browser.reads(&used("workspace.read"), "not yet");
    agent.must("workspace.read", json!({"path": "a.md"}));
    // The page moves by itself.
    browser.reads(&used("workspace.read"), "just now");
    browser.reads(&used("workspace.list"), "not yet");
    browser.see("#grants").click();
    browser.reads(&used("workspace.read"), "just now");
    // One command below the table, and none in its rows, which leaves each cell its width.
    browser.reads(
        "#card .acts code",
        "plexusctl grants revoke AGENT CAPABILITY",
    );
    assert!(browser.sees("#card td code").is_none());
    let said = scene.gateway.cli(["grants"]);
    said.expect_ok();
    assert!(said.stdout.contains("LAST USE"), "{said}");
    assert_eq!(said.stdout.matches("not yet").count(), 1, "{said}");

    // What it has no grant of asks, with what that does; of a run none can be given.
    browser.go(&agents_page);
    let asks = "details:has(summary b)";
    browser.loses("[data-fresh]");
    let _ = browser.see(asks);
    browser.run(&format!(
        "for (const one of document.querySelectorAll({})) one.open = true",
        json!(asks)
    ));
    let texts = |selector: &str| -> Vec<String> {
        let script = format!(
            "return [...document.querySelectorAll({})].map((one) => one.textContent.trim())",
            json!(selector)
        );
        let found = browser.run(&script);
        let found = found.as_array().expect("a list").iter();
        found
            .map(|text| text.as_str().expect("a text").to_owned())
            .collect()
    };
    let list = texts(".names li");
    let of = |id: &str| list.iter().find(|line| line.contains(&format!("{id}: ")));
    assert_eq!(of("workspace.read"), None, "it is granted: {list:?}");
    let write = of(WRITE).expect("it asks");
    assert!(
        write.ends_with("workspace.write: changes things of yours"),
        "{write}"
    );
    let run = of("fixture.run").expect("it asks");
    assert!(
        run.ends_with("leaves this machine, runs code, or cannot be undone, asks each time"),
        "{run}"
    );
    browser.see("#agents").click();
    browser.see("a.button.main").click();
    let _ = browser.see("[data-form-page]");
    let choices = texts("[data-form-page] .pick");
    let of = |id: &str| {
        let found = choices
            .iter()
            .find(|line| line.contains(&format!("{id}: ")));
        found.unwrap_or_else(|| panic!("{id}: {choices:?}")).clone()
    };
    assert!(of("workspace.read").ends_with("workspace.read: reads"));
    assert!(of(WRITE).ends_with("workspace.write: changes things of yours, without asking you"));
    assert!(of("fixture.run").ends_with("asks each time"));

    // Each rule of the sandbox is on the page of its source, and no other's folder.
    let profile = owner.must_get("/admin/api/sources/workspace/profile");
    browser.go(&format!("{}/sources/workspace", scene.page()));
    let _ = browser.see("[id^=role-]");
    let reach = texts("[id^=role-]").join("\n");
    let rules = |of: &Value| -> Vec<String> {
        let all = of.as_object().expect("members").values();
        let all = all.filter_map(Value::as_array).flatten();
        all.filter_map(|rule| Some(rule["what"].as_str()?.to_owned()))
            .collect()
    };
    let roles = profile["roles"].as_array().expect("roles").iter();
    let rules: Vec<String> = roles.flat_map(rules).collect();
    assert!(rules.len() > 4, "{profile}");
    for rule in &rules {
        assert!(reach.contains(rule), "{rule}: {reach}");
    }
    let path = |folder: &Folder| folder.path().display().to_string();
    assert!(reach.contains(&path(&scene.workspace)));
    assert!(!reach.contains(&path(&scene.fixture)), "{reach}");
    // Who holds a capability: the number leads to these grants alone.
    browser.click("[href='/admin/grants?capability=workspace.read']");
    browser.reads("#card h2", "Grants");
    assert_eq!(texts("[data-label=agent]"), ["my-cc"]);
    assert_eq!(texts("[data-label=allowed]"), ["workspace.read"]);
    scene.all_is_well();
}

/// The page of a call leads to the card that allowed it and to its difference; where there is none any more, it says so.
#[test]
fn page_of_a_call_says_where_its_difference_is() {
    let scene = Scene::signed_in();
    let (browser, owner) = (&*scene.browser, scene.owner());
    let agent = scene.agent("my-cc");
    let item = agent.must_ask(WRITE, note("b.md", "two\n"));
    owner.approve(&item, "once");
    agent.must(WRITE, note("b.md", "two\n"));
    agent.must("workspace.read", json!({"path": "b.md"}));
    let call = |only: &str| {
        let calls = owner.get(&format!("/admin/api/activity?only={only}"));
        calls.text_at("/calls/0/auditId")
    };
    let page = |call: &str| format!("{}/activity/{call}", scene.page());
    let change = call("changed");
    browser.go(&page(&change));
    browser.click(&format!("[href='/admin/approvals/{item}']"));
    browser.reads("#card .verdict", "Approved");
    browser.go(&page(&change));
    browser.see("#difference [href$='/review']").click();
    browser.reads(".diff .add", "two");
    // If an agent asks to take it back, the card says so in words, and leads to it.
    let undo = agent.must_ask("workspace.undo", json!({"id": change}));
    scene.open_card(&undo);
    let takes_back = format!("#card dd [href$='/activity/{change}']");
    browser.reads(&takes_back, "created b.md");
    assert!(!browser.text("#card").contains("takes_back"));
    browser.see(&takes_back).click();
    browser.reads("#card h2", "created b.md");
    owner.deny(&undo, "no");
    // The pages with the last calls offer it, until it was done.
    let offered = format!(".calls a[href$='/activity/{change}/undo']");
    let lists = ["", "/live"].map(|at| format!("{}{at}", scene.page()));
    for at in &lists {
        browser.go(at);
        let _ = browser.see(&offered);
    }
    browser.go(&page(&change));
    browser.see("#difference [href$='/undo']").click();
    browser.reads(".diff .del", "two");
    browser.click("article:not([data-fresh]) [data-send^='/undo/']");
    browser.reads("#notes", "Taken back. See it, or take it back");
    browser.see("#notes a").click();
    let _ = browser.see("#card a[href$='/undo']");
    browser.go(&page(&change));
    browser.reads("#difference", "There is none any more: it was taken back.");
    for at in &lists {
        browser.go(at);
        browser.reads(".calls span.dim", "taken back");
        assert!(browser.sees(&offered).is_none(), "{at}");
    }
    // A refused one names what it asked for, and leads to the form that could allow it.
    let denied = agent.must_ask(WRITE, note("c.md", "three\n"));
    owner.deny(&denied, "no");
    agent.must_fail(WRITE, note("c.md", "three\n"), 403, "denied_by_owner");
    browser.go(&page(&call("refused")));
    browser.reads("#card", "What it asked for");
    browser.reads("#card .names", "c.md");
    browser.reads("#again a[href='/admin/agents/my-cc']", "Give it a grant");
    // A read has none, and says nothing of it.
    browser.go(&page(&call("read")));
    browser.reads("#card h2", "read b.md");
    assert!(browser.sees("#difference").is_none());
    // Of two changes of one file the later one alone is offered, and the pages of the earlier one lead to it.
    owner.grant("my-cc", WRITE, "1h").expect_ok();
    let [earlier, later] = ["four\n", "five\n"].map(|text| {
        agent.invoke("workspace.read", json!({"path": "d.md"}));
        agent.must(WRITE, note("d.md", text));
        call("changed")
    });
    let undo = |call: &str| format!("a[href$='/activity/{call}/undo']");
    for at in &lists {
        browser.go(at);
        let _ = browser.see(&format!(".calls {}", undo(&later)));
        assert!(browser.sees(&undo(&earlier)).is_none(), "{at}");
    }
    browser.go(&page(&earlier));
    browser.reads("#difference", "once a later change of it is taken back");
    let _ = browser.see(&undo(&later));
    assert!(browser.sees(&undo(&earlier)).is_none());
    browser.go(&format!("{}/undo", page(&earlier)));
    browser.reads("#card h2", "Cannot be taken back");
    let twice = format!("{0} ~ {0}", undo(&later));
    assert!(browser.sees(&twice).is_none(), "one way, once");
    browser.see(&undo(&later)).click();
    browser.reads(".diff .del", "five");
    scene.all_is_well();
}
