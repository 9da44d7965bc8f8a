//! Things, from the owner who adds it to the agent that uses it: the real commands, the real worker in its sandbox, and the
//! fake of the app, whose database has the app's tables.

use plexus_tests::texts::{assert_contains, assert_lacks, assert_like};
use plexus_tests::{Agent, Folder, Gateway};
use rusqlite::Connection;
use serde_json::{Value, json};
use std::path::PathBuf;

const TABLES: &str = include_str!("../../workers/things/src/tables.sql");
const TODOS: &str = "things.todos.list";
const ADD: &str = "things.todos.add";
const UPDATE: &str = "things.todos.update";
const COMPLETE: &str = "things.todos.complete";
const UNDO: &str = "things.undo";
const SEEDS: &str = "TodoSeeds0000000000001";
const GARDEN: &str = "ProjectGarden000000001";
/// The fake's authorization token.
const TOKEN: &str = "fake-token-1";

/// A gateway with the fake of Things as its source `things`.
fn added(set: &[String]) -> Gateway {
    let gateway = Gateway::builder()
        .env("PLEXUS_FAKE_APPLE", "offered")
        .start();
    let mut line = vec!["sources", "add", "things-app", "--id", "things"];
    line.extend(set.iter().flat_map(|pair| ["--set", pair.as_str()]));
    let said = gateway.cli(line);
    assert!(said.expect_ok().contains("things"), "{said:?}");
    gateway
}

fn set_token(gateway: &Gateway, token: &str) -> String {
    let folder = Folder::empty();
    folder.write("token", format!("{token}\n"));
    let file = folder.path().join("token").display().to_string();
    let said = gateway.cli(["sources", "secret", "things", "token", "--file", &file]);
    assert_contains(said.expect_ok(), "things serves");
    said.stdout
}

fn titles(agent: &Agent, input: Value) -> Vec<String> {
    let reply = agent.must(TODOS, input);
    let todos = reply["output"]["todos"].as_array().expect("to-dos");
    let title = |todo: &Value| todo["title"].as_str().expect("a title").to_owned();
    todos.iter().map(title).collect()
}

/// The facts on a card, as one text each.
fn facts(plan: &Value) -> Vec<String> {
    let facts = plan["preview"]["facts"]
        .as_array()
        .unwrap_or_else(|| panic!("{plan}"));
    let part = |fact: &Value, name: &str| fact[name].as_str().expect("a text").to_owned();
    let text = |fact: &Value| format!("{}: {}", part(fact, "name"), part(fact, "value"));
    facts.iter().map(text).collect()
}

/// Approves what the agent asks for and has it done.
fn done(gateway: &Gateway, agent: &Agent, capability: &str, input: Value) -> Value {
    agent.must_approved(&gateway.owner(), capability, input)
}

#[test]
fn granted_read_lists_today() {
    let gateway = added(&[]);
    let agent = gateway.agent_with("planner", &[TODOS, "things.projects.list"]);
    assert_eq!(
        titles(&agent, json!({"list": "today"})),
        ["Buy seeds", "Put the bins out"]
    );
    let projects = agent.must("things.projects.list", json!({}));
    assert_eq!(projects["output"]["projects"][0]["id"], GARDEN);
    // What was not granted has to be asked for, and a constraint leaves out what lies elsewhere.
    agent.must_ask("things.tags.list", json!({}));
    let narrow = gateway.agent("narrow");
    let under = format!("project={GARDEN}");
    gateway.must_cli([
        "grants", "allow", "narrow", TODOS, "--window", "1h", "--under", &under,
    ]);
    assert_eq!(titles(&narrow, json!({})), ["Buy seeds"]);
    narrow
        .invoke(TODOS, json!({"project": "Another"}))
        .expect_error(401, "approval_required");
    let log = json!(gateway.owner().audit(1000)).to_string();
    assert!(log.contains(SEEDS) && !log.contains("Buy seeds"), "{log}");
}

#[test]
fn added_todo_is_shown_approved_and_read_back() {
    let gateway = added(&[]);
    let agent = gateway.agent_with("planner", &[TODOS]);
    let title = "Bread, \u{202e}daerB; 1/2 & 50% #3? +\u{1f35e}";
    let input = json!({"title": title, "notes": "rye\nnot white", "when": "today", "tags": ["Shop"], "project": GARDEN, "heading": "Spring", "checklist": ["a/b", "c&d"]});
    let item = agent.must_ask(ADD, input.clone());
    let plan = gateway.owner().plan(&item);
    assert_eq!(
        facts(&plan),
        [
            "title: Bread, <U+202E>daerB; 1/2 & 50% #3? +\u{1f35e}",
            "project: Garden (ProjectGarden000000001)",
            "heading: Spring",
            "when: today",
            "tags: Shop",
            "checklist 1: a/b",
            "checklist 2: c&d",
        ]
    );
    assert_eq!(plan["preview"]["diff"], "rye\nnot white");
    assert_eq!(
        titles(&agent, json!({"text": "bread"})).len(),
        0,
        "planning adds nothing"
    );
    gateway.owner().approve(&item, "once");
    let added = agent.must(ADD, input.clone());
    let listed = agent.must(TODOS, json!({"list": "today", "text": "bread"}));
    let todo = &listed["output"]["todos"][0];
    assert_eq!(
        (&todo["id"], &todo["title"]),
        (&added["output"]["id"], &json!(title))
    );
    assert!(todo["day"].is_string(), "{todo}");
    assert_eq!(todo["day"], added["output"]["day"], "what was set");
    let like = json!({"heading": "Spring", "checklist": 2, "tags": ["Shop"]});
    assert_like(todo, &like);
    // Once is once.
    agent.must_ask(ADD, input);
    // A tag that Things does not know would be left out without a word.
    let unknown = agent.invoke(ADD, json!({"title": "x", "tags": ["Nobody's"]}));
    let error = unknown.expect_error(400, "transport_error");
    assert_contains(&error["message"].to_string(), "there is no tag");
}

#[test]
fn completion_needs_the_token_and_is_taken_back() {
    let gateway = added(&[]);
    let agent = gateway.agent_with("planner", &[TODOS]);
    let input = json!({"id": SEEDS});
    let item = agent.must_ask(COMPLETE, input.clone());
    let card = gateway.owner().card(&item).to_string();
    assert_contains(&card, "only with its authorization token");
    assert_contains(&card, "plexusctl sources secret things token");
    // With another one than the app's nothing happens, and the answer does not say that it did.
    let said = set_token(&gateway, "wrong-token-2");
    assert_contains(&said, "these grants are revoked:");
    assert_contains(&said, "planner: things.todos.list");
    let agent = gateway.agent_with("planner-2", &[TODOS]);
    let unknown = agent.approved(&gateway.owner(), COMPLETE, input.clone());
    assert!(unknown.text().contains("sent, not verified"), "{unknown}");
    assert_eq!(unknown.at("/error/effect"), "unknown", "{unknown}");
    assert_eq!(titles(&agent, json!({"project": GARDEN})), ["Buy seeds"]);
    set_token(&gateway, TOKEN);
    let agent = gateway.agent_with("planner-3", &[TODOS]);
    let completed = done(&gateway, &agent, COMPLETE, input);
    assert!(titles(&agent, json!({"project": GARDEN})).is_empty());
    assert_eq!(
        titles(&agent, json!({"list": "logbook", "project": GARDEN})),
        ["Buy seeds"]
    );
    let undo = json!({"id": completed["undo"]});
    let item = agent.must_ask(UNDO, undo.clone());
    let card = gateway.owner().card(&item).to_string();
    assert_contains(&card, "Open the completed to-do again: Buy seeds");
    gateway.owner().approve(&item, "once");
    agent.must(UNDO, undo);
    assert_eq!(
        titles(&agent, json!({"list": "today"})),
        ["Buy seeds", "Put the bins out"]
    );
    // The token is where secrets are, and nowhere else.
    let log = gateway.cli(["audit", "export"]);
    for text in [log.all(), gateway.stderr()] {
        assert_lacks(&text, TOKEN);
        assert_lacks(&text, "wrong-token-2");
        assert_lacks(&text, "things:///");
    }
}

#[test]
fn update_and_addition_are_taken_back_as_far_as_things_can() {
    let gateway = added(&[]);
    set_token(&gateway, TOKEN);
    let agent = gateway.agent_with("planner", &[TODOS]);
    let update = json!({"id": SEEDS, "title": "Buy bulbs", "notes": "Tulips", "when": "someday", "tags": [], "deadline": "2031-02-03"});
    let item = agent.must_ask(UPDATE, update.clone());
    // What goes is shown, not its length.
    let plan = gateway.owner().plan(&item);
    let preview = &plan["preview"];
    let replaced = "@@ -1,1 +1,1 @@\n-Peas & beans\n+Tulips\n";
    assert_eq!(
        (&preview["form"], &preview["diff"]),
        (&json!("diff"), &json!(replaced))
    );
    gateway.owner().approve(&item, "once");
    let updated = agent.must(UPDATE, update);
    assert_eq!(titles(&agent, json!({"list": "someday"})), ["Buy bulbs"]);
    // The owner's command shows all that it puts back.
    let shown = gateway.cli(["undo", updated["auditId"].as_str().expect("an id")]);
    for line in [
        "  title: Buy seeds (before: Buy bulbs)",
        "  when: today (before: someday)",
        "  deadline: none (before: 2031-02-03)",
        "  tags: Shop (before: none)",
        "  │ +Peas & beans",
    ] {
        assert_contains(&shown.stdout, line);
    }
    let undo = json!({"id": updated["undo"]});
    done(&gateway, &agent, UNDO, undo.clone());
    let listed = agent.must(TODOS, json!({"list": "today", "tag": "Shop"}));
    let todo = &listed["output"]["todos"][0];
    assert_like(todo, &json!({"title": "Buy seeds", "deadline": null}));
    // A change is taken back once, and the owner is not asked whether to do it again.
    let again = agent.invoke(UNDO, undo);
    let error = again.expect_error(409, "precondition_changed");
    assert_eq!(error["detail"]["reason"], "already_undone", "{again}");
    assert_eq!(gateway.owner().pending().len(), 0, "no card");
    let added = done(&gateway, &agent, ADD, json!({"title": "Rake"}));
    assert_contains(gateway.cli(["activity"]).expect_ok(), "Rake");
    let item = agent.must_ask(UNDO, json!({"id": added["undo"]}));
    let card = gateway.owner().card(&item).to_string();
    assert_contains(&card, "marked as cancelled and stays in the Logbook");
    gateway.owner().approve(&item, "once");
    agent.must(UNDO, json!({"id": added["undo"]}));
    assert!(titles(&agent, json!({"text": "rake"})).is_empty());
    assert_eq!(
        titles(&agent, json!({"list": "logbook", "text": "rake"})),
        ["Rake"]
    );
}

/// A database as the app leaves it while it runs: the newest rows lie in the log.
struct Named {
    folder: Folder,
    app: Connection,
}

impl Named {
    fn open() -> Self {
        let folder = Folder::empty();
        let app = Connection::open(folder.path().join("main.sqlite")).expect("a database");
        app.pragma_update(None, "journal_mode", "WAL")
            .expect("a log");
        app.execute_batch(TABLES).expect("tables");
        Self { folder, app }
    }

    fn path(&self) -> PathBuf {
        self.folder.path()
    }

    fn todo(&self, number: usize) {
        let sentence = "INSERT INTO TMTask (uuid, type, title, start) VALUES (?1, 0, ?2, 1)";
        let values = [format!("Todo{number:018}"), format!("to-do {number}")];
        self.app.execute(sentence, values).expect("a row");
    }
}

#[test]
fn named_database_is_read_while_the_app_writes_it() {
    let named = Named::open();
    let gateway = added(&[format!("database={}", named.path().display())]);
    let agent = gateway.agent_with("planner", &[TODOS]);
    for number in 0..50 {
        named.todo(number);
        // What was committed just now is there.
        let reply = agent.must(TODOS, json!({"list": "anytime", "limit": 500}));
        assert_eq!(
            reply["output"]["todos"].as_array().map(Vec::len),
            Some(number + 1)
        );
    }
    // Nobody carries the URL out: what was sent is not called done.
    let input = json!({"title": "Never there"});
    let unknown = agent.approved(&gateway.owner(), ADD, input);
    assert_eq!(
        (
            unknown.at("/error/effect"),
            unknown.at("/error/detail/reason")
        ),
        (json!("unknown"), json!("not_verified")),
        "{unknown}"
    );
    // Another version of the tables gives no answer.
    named
        .app
        .execute("UPDATE Meta SET value = '99'", [])
        .expect("another version");
    let refused = agent.invoke(TODOS, json!({}));
    assert!(refused.text().contains("version 99"), "{refused}");
    let health = gateway.owner().must_get("/admin/api/health").to_string();
    assert!(health.contains("update Plexus"), "{health}");
}

#[test]
fn folder_without_database_is_refused_with_words() {
    let folder = Folder::empty();
    let gateway = Gateway::builder()
        .env("PLEXUS_FAKE_APPLE", "offered")
        .start();
    let set = format!("database={}", folder.path().display());
    let line = [
        "sources",
        "add",
        "things-app",
        "--id",
        "things",
        "--set",
        &set,
    ];
    let said = gateway.cli(line);
    said.expect_status(1);
    let why = "set database to the folder \"Things Database.thingsdatabase\"";
    assert!(said.all().contains(why), "{said:?}");
    // The control: the same folder with a database in it.
    let app = Connection::open(folder.path().join("main.sqlite")).expect("a database");
    app.execute_batch(TABLES).expect("tables");
    assert!(gateway.cli(line).expect_ok().contains("things serves"));
    // The system that has no Things and no fake.
    let plain = Gateway::start();
    let said = plain.cli(["sources", "add", "things-app", "--id", "things"]);
    assert!(said.all().contains("macOS"), "{said:?}");
}
