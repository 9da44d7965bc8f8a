//! Somebody who has never seen it, from the first page and without a terminal: connects an agent, adds a calendar server,
//! decides a card, finds out who read a note, and revokes. Once by pointer alone, once by keyboard alone; each task
//! within twelve activations (a click, Enter, Space, or a shortcut). Tab and what is typed are counted apart. The card is
//! that of an agent at a terminal, and is filmed.

#[path = "../../workers/caldav/tests/radicale.rs"]
mod radicale;

use crate::accessible::keeps_nobody_out;
use crate::film::{self, Told};
use crate::hands::Hands;
use crate::scene::{Scene, WRITE, note};
use plexus_tests::browser::key;
use plexus_tests::programs::{self, Said};
use plexus_tests::terminal::Shell;
use plexus_tests::texts::assert_contains;
use plexus_tests::waiting::until_true;
use plexus_tests::{Agent, Folder, McpClient, binaries, tls};
use radicale::{PASSWORD, Radicale, USER};
use serde_json::{Value, json};
use std::path::Path;
use tempfile::TempDir;

/// What the agent may do at once.
const READ: &str = "obsidian.vault.read";

#[test]
fn by_pointer_alone() {
    owns_the_house(false);
}

#[test]
fn by_keyboard_alone() {
    owns_the_house(true);
}

fn owns_the_house(keys: bool) {
    let scene = Scene::open();
    let browser = &*scene.browser;
    browser.go(&scene.link());
    browser.reads("#calm", "Nothing needs you.");
    let hands = Hands::new(browser, keys);
    let person = TempDir::with_prefix("plx").expect("a folder");
    let (agent, mut terminal) = connects_an_agent(&scene, &hands, &person);
    adds_a_calendar(&scene, &hands);
    decides_a_card(&scene, &hands, &mut terminal);
    finds_who_read_a_note(&hands);
    revokes(&scene, &hands, &agent);
    scene.all_is_well();
}

fn connects_an_agent(scene: &Scene, hands: &Hands<'_>, person: &TempDir) -> (Agent, Shell) {
    let browser = hands.browser;
    hands.page("#agents", "a");
    hands.press("a.button.main");
    hands.fill("#c-id", "my-cc");
    // The sources, by name: the first is the vault.
    hands.press("#c-1 summary");
    hands.press(&format!("[name=capabilities][value='{READ}']"));
    hands.press("[data-form-page] [type=submit]");
    browser.reads("#card h2", "my-cc is connected");
    browser.reads(".steps", "It has not used its code yet.");
    hands.done("connect an agent");
    scene.picture("connected-wide-light");
    if !hands.keys {
        keeps_nobody_out(browser, "the page after connecting");
    }
    let command = browser.text("#copy-1");
    let home = scene.gateway.state();
    assert_contains(
        &command,
        &format!(
            "/integration/my-cc/install.sh | PLEXUS_HOME={} PLEXUS_ENROLL_CODE=",
            home.display()
        ),
    );
    let code = command.split('"').nth(1).expect("a code in quotes");
    let terminal = film::enrolled(scene, person, code);
    browser.reads(".steps", "It used its code.");
    let pat = scene.gateway.state_file("agents/my-cc.pat");
    let agent = Agent::with_pat(&scene.gateway.client(), "my-cc", pat.trim());
    let _ = agent.must(READ, json!({"path": "Ideas.md"}));
    browser.reads(".steps", "read Ideas.md");
    (agent, terminal)
}

fn adds_a_calendar(scene: &Scene, hands: &Hands<'_>) {
    let server = Radicale::tls(&tls("server.pem"), &tls("server.key"), &tls("ca.pem"));
    server.calendar("work", "Work", &["VEVENT", "VTODO"]);
    hands.page("#sources", "s");
    hands.press("[data-kind='caldav-account']");
    hands.fill("#f-url", &server.url());
    hands.fill("#f-user", USER);
    hands.fill("#f-password", PASSWORD);
    hands.fill("#f-ca", &tls("ca.pem").display().to_string());
    hands.press("form.fields [type=submit]");
    hands.browser.reads("#notes", "Added — caldav");
    hands.browser.reads("[data-source=caldav]", "serves");
    hands.done("add a calendar");
    let listed = scene.owner().get("/admin/api/sources").expect_ok();
    assert_contains(&listed.to_string(), "caldav-account");
}

fn decides_a_card(scene: &Scene, hands: &Hands<'_>, agent: &mut Shell) {
    hands.page("#overview", "o");
    hands.browser.reads("#calm", "Nothing needs you.");
    let mut told = Told::begin(agent, hands.browser);
    told.answers("plexus obsidian.vault.read path=Ideas.md", "# Ideas");
    told.asks("plexus workspace.write path=plan.md content=\"- bake bread\" --purpose \"a plan for today\"");
    hands.browser.reads(".needs", "creates plan.md");
    hands.press(".needs a");
    hands.browser.reads(".headline", "creates plan.md");
    hands.browser.reads("#card .who", "my-cc");
    hands.browser.reads(".diff .add", "bake bread");
    told.looks();
    assert!(!scene.workspace.has("plan.md"));
    let _ = hands.browser.see("#card form:not([data-fresh])");
    if hands.keys {
        hands.browser.press("a");
        until_true("the focus of the button", || {
            hands.has_focus("[value=once]")
        });
        hands.activations.set(hands.activations.get() + 1);
    }
    hands.press("[value=once]");
    hands.browser.reads("#notes", "Approved once");
    hands.done("decide a card");
    told.ends("plan.md");
    assert!(scene.workspace.has("plan.md"));
    hands.browser.size(1440, 900);
}

fn finds_who_read_a_note(hands: &Hands<'_>) {
    hands.page("#activity", "t");
    hands.fill("#a-touched", "Ideas.md");
    hands.press("[data-filter] [type=submit]");
    until_true("the address of what was asked for", || {
        hands.browser.address().ends_with("?touched=Ideas.md")
    });
    hands.browser.reads(".calls", "my-cc read Ideas.md");
    hands.done("find who read a note");
    // The address is enough: loaded anew it shows the same, and back leads where one was.
    hands.browser.reload();
    hands.browser.reads(".calls", "my-cc read Ideas.md");
    hands.browser.run("history.back()");
    until_true("the page before", || {
        !hands.browser.address().contains("touched")
    });
    let _ = hands.browser.see("#a-touched");
}

fn revokes(scene: &Scene, hands: &Hands<'_>, agent: &Agent) {
    hands.page("#agents", "a");
    hands.press("td a.agent[href='/admin/agents/my-cc']");
    hands.browser.reads("#card h2", "my-cc");
    let revoke = "[data-send='/agents/revoke']";
    hands.press(revoke);
    hands.browser.reads(revoke, "Really revoke");
    let _ = agent.must(READ, json!({"path": "Ideas.md"}));
    let _ = hands.browser.see(&format!("{revoke}:not([data-fresh])"));
    hands.press(revoke);
    hands.browser.reads("#notes", "Revoked — my-cc");
    hands.browser.reads("#card", "revoked");
    // Neither a code nor a loan is for it any more.
    hands
        .browser
        .reads("#card [href='/admin/connect']", "Connect an agent");
    assert!(hands.browser.sees("#card [href^='/admin/lend']").is_none());
    hands.done("revoke");
    agent
        .invoke(READ, json!({"path": "Ideas.md"}))
        .expect_status(401);
    let listed = scene.owner().get("/admin/api/grants").expect_ok();
    assert_eq!(listed["grants"], json!([]));
}

/// Every page, in every look: it fits its width, and its policy refuses nothing of it.
#[test]
fn each_page_in_each_look() {
    let scene = Scene::open();
    let browser = &*scene.browser;
    let agent = scene.agent("claude");
    let other = scene.agent("a-script-with-a-rather-long-name");
    scene.workspace.write("Projects/plan.md", "a plan\n");
    for agent in [&agent, &other] {
        let _ = agent.must("workspace.read", json!({"path": "Projects/plan.md"}));
    }
    let item = agent.must_ask(WRITE, note("today.md", "one line\n"));
    let _ = scene.owner().card(&item);
    scene.owner().approve(&item, "once");
    let done = agent.must(WRITE, note("today.md", "one line\n"));
    let event = done["auditId"].as_str().expect("an event").to_owned();
    let waits = agent.must_ask(WRITE, note("tomorrow.md", &"more\n".repeat(30)));
    let _ = scene.owner().card(&waits);
    browser.go(&scene.link());
    browser.reads(".needs", "creates tomorrow.md");
    let pages = [
        ("overview", String::new(), "Overview"),
        ("shared", "/sources".to_owned(), "What I share"),
        (
            "one-source",
            "/sources/workspace".to_owned(),
            "What agents see of it",
        ),
        ("extensions", "/extensions".to_owned(), "Add an MCP server"),
        (
            "channels",
            "/channels".to_owned(),
            "To be in one, add a source",
        ),
        ("agents", "/agents".to_owned(), "Agents"),
        ("agent", "/agents/claude".to_owned(), "May, without asking"),
        ("connect", "/connect".to_owned(), "Connect an agent"),
        ("grants", "/grants".to_owned(), "Grants"),
        ("activity", "/activity".to_owned(), "read Projects/plan.md"),
        ("call", format!("/activity/{event}"), "today.md"),
        ("undo", format!("/activity/{event}/undo"), "Take back"),
        ("live", "/live".to_owned(), "Who reaches what"),
        ("runs", "/runs".to_owned(), "Under way"),
        ("changes", "/changes".to_owned(), "Changes of coding agents"),
        ("health", "/health".to_owned(), "Health"),
    ];
    for (name, path, words) in pages {
        browser.go(&format!("{}{path}", scene.page()));
        browser.reads("#card", words);
        scene.pictures(name);
        browser.dark(false);
        browser.size(1440, 900);
    }
    scene.all_is_well();
}

/// What is half filled in stays, whatever happens meanwhile; an agent of that name ends only if that is said.
#[test]
fn what_is_in_hand_stays_and_nobody_is_replaced_by_the_way() {
    let scene = Scene::open();
    let browser = &*scene.browser;
    let agent = scene.agent("claude");
    scene.workspace.write("a.md", "a\n");
    let read = || agent.must("workspace.read", json!({"path": "a.md"}));
    let _ = read();
    browser.go(&scene.link());
    browser.see("#agents").click();
    browser.see("td a.agent").click();
    browser.see("#give summary").click();
    browser.click("#give-what option[value='workspace.write']");
    browser.fill("#give-under", "Notes");
    browser.see("#card section:last-of-type h3").click();
    let other = scene.another_browser();
    other.go(&format!("{}/agents/claude", scene.page()));
    other.reads("#card", "May, without asking");
    // What happened since is seen on the next page, and not by taking this one away.
    let _ = read();
    scene.owner().must_grant("claude", "workspace.undo", "1h");
    // Another page of the same has it by then: the control.
    other.reads("#card", "workspace.undo");
    let filled = browser.run("return document.querySelector('#give-under').value + document.querySelector('#give-what').value");
    assert_eq!(filled, "Notesworkspace.write");
    browser.see("#give [type=submit]").click();
    browser.reads("#card", "path at or below Notes");
    // Another of the same name.
    browser.see("#agents").click();
    browser.see("a.button.main").click();
    browser.fill("#c-id", "claude");
    browser.see("[data-form-page] [type=submit]").click();
    browser.reads("[data-for=id]", "claude is connected already");
    let _ = read();
    browser.see("[name=replace]").click();
    browser.see("[data-form-page] [type=submit]").click();
    browser.reads("#card h2", "claude is connected");
    browser.reads(".steps", "It has called nothing yet.");
    agent
        .invoke("workspace.read", json!({"path": "a.md"}))
        .expect_status(401);
}

/// A link points at one request, loaded anew and beside others that wait.
#[test]
fn an_address_is_of_one_request() {
    let (scene, agent) = Scene::with_agent("claude");
    let browser = &*scene.browser;
    let ask = |name: &str| agent.must_ask(WRITE, note(name, "text\n"));
    let (_, second) = (ask("a.md"), ask("b.md"));
    browser.reads(".headline", "creates a.md");
    let address = format!("{}/approvals/{second}", scene.page());
    browser.go(&address);
    browser.reads(".headline", "creates b.md");
    browser.reload();
    browser.reads(".headline", "creates b.md");
    assert_eq!(browser.address(), address);
    browser.go(&format!(
        "{}/approvals/pend_00000000-0000-4000-8000-000000000009",
        scene.page()
    ));
    browser.reads("#notes", "There is no such request any more.");
    browser.reads(".headline", "creates a.md");
}

/// Rows move while the pointer is on its way: what is pressed is never another row than the one that was there.
#[test]
fn a_row_that_moves_takes_no_act() {
    let scene = Scene::open();
    let browser = &*scene.browser;
    let names: Vec<String> = (0..12).map(|n| format!("agent-{n:02}")).collect();
    let connected: Vec<Agent> = names.iter().map(|name| scene.agent(name)).collect();
    drop(connected);
    browser.go(&scene.link());
    browser.see("#grants").click();
    browser.reads("#card", "agent-11");
    // Revoked one after the other elsewhere; here somebody presses the first row's button all the while, as it stands.
    for name in &names[..10] {
        let _ = browser.see("article:not([data-fresh]) [data-send='/revoke']");
        browser.run(
            "window.pressed = null;
             const first = document.querySelector('[data-send=\"/revoke\"]');
             const spot = first.getBoundingClientRect();
             window.aim = [spot.x + spot.width / 2, spot.y + spot.height / 2];
             const ask = window.before ?? (window.before = window.fetch);
             window.fetch = (path, how) => { if (path.endsWith('/revoke')) window.pressed = how.body; return ask(path, how); };
             new MutationObserver((_, watch) => {
               watch.disconnect();
               const hit = document.elementFromPoint(...window.aim)?.closest('[data-send]');
               window.tried = (window.tried ?? 0) + Number(Boolean(hit));
               hit?.click();
             }).observe(document.querySelector('#card'), { childList: true });",
        );
        scene.owner().revoke_agent(name);
        browser.loses(&format!("td a.agent[href$='{name}']"));
        assert_eq!(
            browser.run("return window.pressed"),
            Value::Null,
            "the row below {name} was pressed for it"
        );
    }
    assert_eq!(
        browser.run("return window.tried"),
        10,
        "something was under the pointer each time"
    );
    // Positive control: pressed once it has come to rest, it is done.
    browser.click("article:not([data-fresh]) [data-send='/revoke']");
    browser.reads("#notes", "Revoked");
}

/// What a page shows changes under the owner's eyes, and stays where it is in hand.
#[test]
fn pages_follow_what_happens() {
    let scene = Scene::open();
    let browser = &*scene.browser;
    let agent = scene.agent("claude");
    scene.workspace.write("a.md", "a\n");
    scene.workspace.write("b.md", "b\n");
    let read = |path: &str| agent.must("workspace.read", json!({"path": path}));
    browser.go(&scene.link());
    browser.reads("#card", "Latest calls");
    let _ = read("a.md");
    browser.reads(".calls", "claude read a.md");
    browser.see("#grants").click();
    browser.reads("#card", "workspace.read");
    // One that is chosen stays chosen, whatever happens meanwhile.
    browser.see("[name=many]").click();
    let _ = read("b.md");
    scene.owner().must_grant("claude", "workspace.write", "1h");
    browser.see("#activity").click();
    browser.reads(".calls", "claude read b.md");
    browser.see("#grants").click();
    browser.reads("#card", "workspace.write");
    browser.click("article:not([data-fresh]) [data-body*='workspace.write']");
    browser.reads("#notes", "Revoked — claude: workspace.write");
    browser.loses("[data-body*='workspace.write']");
    agent.must_ask(WRITE, note("c.md", "c\n"));
    // All agents at once: and nobody is served until it is taken back.
    browser.see("#overview").click();
    browser.see("#pause").click();
    browser.reads("#card", "All agents are paused");
    agent.must_fail("workspace.read", json!({"path": "a.md"}), 503, "paused");
    browser.see("article:not([data-fresh]) #pause").click();
    browser.reads("#notes", "Agents are served again");
    assert!(!browser.text("#notes").contains("Paused"), "it is over");
    let _ = read("a.md");
    // A grant that nobody asked for, within a folder.
    browser.see("#agents").click();
    browser.see("td a.agent").click();
    browser.see("#give summary").click();
    assert_eq!(
        browser.run("return document.querySelector('#give-what').value"),
        "",
        "nothing is chosen by the way"
    );
    browser.click("#give-what option[value='workspace.write']");
    browser.fill("#give-under", "Notes");
    browser.see("#give [type=submit]").click();
    browser.reads("#notes", "Granted to claude: workspace.write");
    browser.reads("#card", "path at or below Notes");
    agent.must(WRITE, note("Notes/d.md", "d\n"));
    // What it did is taken back from its own page.
    browser.see("#activity").click();
    browser.see(".calls .changed a[href$='/undo']").click();
    browser.reads("#card h2", "Take back");
    browser.see("[data-send^='/undo/']").click();
    browser.reads("#notes", "Taken back");
    assert!(!scene.workspace.path().join("Notes/d.md").exists());
    // What such a call would come to now, and all that the agent changed.
    browser.see(".calls .changed a.agent ~ a.said").click();
    browser.reads("#again", "it would run: You granted it");
    browser.see("#card dd a.agent").click();
    browser.see("a[href$='/review']").click();
    browser.reads("#card h2", "What claude changed");
    browser.reads("#card", "every change to it was undone");
    browser.see("#card header a[href$='since=7d']").click();
    browser.reads("#card header b:not(.agent)", "7 days");
    // What is hidden does not exist for agents.
    browser.go(&format!("{}/sources/workspace", scene.page()));
    browser.see("[id='x-workspace.read']").click();
    browser.reads("#notes", "Hidden — workspace.read");
    assert!(!agent.sees().contains(&"workspace.read".to_owned()));
    let again = "article:not([data-fresh]) [id='x-workspace.read']";
    browser.see(again).click();
    browser.reads("#notes", "Shown — workspace.read");
    // The palette finds what has a name.
    browser.press("/");
    browser.press("heal");
    browser.reads("#found", "Health");
    browser.press(key::ENTER);
    browser.reads("#card h2", "Health");
    // A page of this name comes before one that knows the word.
    browser.press("/");
    browser.press("lend");
    browser.reads("#found li:first-child", "Lend a folder");
    browser.go(&format!("{}/nowhere", scene.page()));
    browser.reads("#card h2", "There is nothing here");
    browser.reads("#card", "The console has no page at this address.");
    let _ = browser.see("#card a[href='/admin']");
    let mut log = browser.log();
    log.retain(|entry| entry["level"] == "SEVERE");
    log.retain(|entry| !entry["message"].to_string().contains("status of 404"));
    assert!(log.is_empty(), "{log:#?}");
}

/// Each kind of agent works by what its page prints: the commands are run, the settings are read, and the page sees it come.
#[test]
fn each_kind_works_by_what_is_printed() {
    let scene = Scene::open();
    let browser = &*scene.browser;
    scene.workspace.write("plan.md", "a plan\n");
    browser.go(&scene.link());
    browser.reads("#calm", "Nothing needs you.");
    for kind in ["in-context", "codex", "mcp", "script"] {
        let id = format!("my-{kind}");
        browser.go(&format!("{}/connect", scene.page()));
        browser.see(&format!("[name=kind][value='{kind}']")).click();
        browser.fill("#c-id", &id);
        browser.see("#c-2 summary").click();
        // What each may do is said before it is chosen.
        for (capability, words) in [
            ("workspace.read", "workspace.read: reads"),
            (
                WRITE,
                "workspace.write: changes things of yours, without asking you",
            ),
        ] {
            browser.reads(&format!("label:has([value='{capability}'])"), words);
        }
        browser.click("[name=capabilities][value='workspace.read']");
        let is_trusted = kind == "script";
        if is_trusted {
            browser.click(&format!("[name=standing][value='{WRITE}']"));
        }
        browser.see("[data-form-page] [type=submit]").click();
        browser.reads("#card h2", &format!("{id} is connected"));
        browser.reads(".steps", "It has not used its code yet.");
        let printed = browser.run(
            "return [...document.querySelectorAll('#card pre.type:not(#copy-settings)')].map((one) => one.textContent)",
        );
        let printed = printed.as_array().expect("commands").iter();
        let commands: Vec<&str> = printed.filter_map(Value::as_str).collect();
        let machine = Machine::of(&scene);
        for command in &commands {
            machine.types(command).expect_ok();
        }
        browser.reads(".steps", "It used its code.");
        let path = json!({"path": "plan.md"});
        match kind {
            "mcp" => {
                let settings: Value =
                    serde_json::from_str(&browser.text("#copy-settings")).expect("JSON");
                let server = &settings["mcpServers"]["plexus"];
                let program = server["command"].as_str().expect("a program");
                let mut command = programs::command(Path::new(program), scene.gateway.home());
                let arguments = server["args"].as_array().expect("arguments").iter();
                command.args(arguments.map(|one| one.as_str().expect("text")));
                let mut client = McpClient::greeted(command, "a client").served();
                let read = client.call("workspace_read", path);
                assert_contains(&read.to_string(), "a plan");
            }
            _ => {
                // The program that took the code, asked for something.
                let enroll = commands.last().expect("a command");
                let (program, _) = enroll.split_once(" enroll ").expect("a code");
                let read = format!("{program} workspace.read path=plan.md");
                assert_contains(machine.types(&read).expect_ok(), "a plan");
                if is_trusted {
                    let write = format!("{program} {WRITE} path=new.md content=new");
                    machine.types(&write).expect_ok();
                    assert_eq!(scene.workspace.read("new.md"), "new");
                }
            }
        }
        if ["codex", "script"].contains(&kind) {
            assert_contains(&machine.project.read("AGENTS.md"), "<!-- BEGIN PLEXUS -->");
        }
        if kind == "in-context" {
            let instruction = browser.text("#card details pre.raw");
            assert_contains(&instruction, "plexus");
        }
        let did = if is_trusted {
            "created new.md"
        } else {
            "read plan.md"
        };
        browser.reads(".steps", did);
        browser.reads("#card .names", "workspace.read");
        // What was not chosen asks: the control.
        let held = scene.owner().grants();
        let own = held.iter().filter(|grant| grant["agentId"] == id.as_str());
        assert_eq!(own.count(), if is_trusted { 2 } else { 1 }, "{held:#?}");
    }
    // The list has the words of the form.
    browser.see("#agents").click();
    for (id, sort) in [
        ("my-in-context", "One without a shell"),
        ("my-codex", "Codex, an MCP client or a script"),
    ] {
        browser.reads(&format!("td:has([href='/admin/agents/{id}'])"), sort);
    }
    scene.all_is_well();
}

/// Where an agent works: a project, and a person's `plexus` on the path.
struct Machine<'s> {
    scene: &'s Scene,
    project: Folder,
}

impl<'s> Machine<'s> {
    fn of(scene: &'s Scene) -> Self {
        let project = Folder::empty();
        project.write(".git/HEAD", "ref: refs/heads/main\n");
        Self { scene, project }
    }
    fn types(&self, line: &str) -> Said {
        let mut shell = programs::command(Path::new("/bin/bash"), self.scene.gateway.home());
        let path = format!("{}:/usr/bin:/bin", binaries::folder().display());
        shell
            .env("PATH", path)
            .current_dir(self.project.path())
            .args(["-e", "-o", "pipefail", "-c", line]);
        programs::run(shell)
    }
}
