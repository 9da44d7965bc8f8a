//! Calendar and Reminders, from the owner who adds them to the agent that uses them: the real commands and coding agents,
//! on the workers' fakes, which serve where there is no Mac.
#![cfg(not(target_os = "macos"))]

use plexus_tests::coding_agents::{ask_claude, ask_codex, claude};
use plexus_tests::texts::{assert_contains, assert_lacks, list_of};
use plexus_tests::waiting::until_true;
use plexus_tests::{Agent, Folder, Gateway, Model, Step, binaries, programs};
use serde_json::{Value, json};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

const CALENDARS: &str = "apple-calendar.calendars.list";
const EVENTS: &str = "apple-calendar.events.list";
const REMINDERS: &str = "apple-reminders.reminders.list";
const CREATE: &str = "apple-reminders.reminders.create";
const COMPLETE: &str = "apple-reminders.reminders.complete";
const UNDO: &str = "apple-reminders.undo";

/// A person with both apps, and a gateway that has them as sources.
struct Desk {
    gateway: Gateway,
}

impl Desk {
    fn open() -> Self {
        let gateway = Gateway::builder()
            .env("PLEXUS_FAKE_APPLE", "offered")
            .start();
        Self::with(gateway)
    }
    fn with(gateway: Gateway) -> Self {
        for kind in ["apple-calendar", "apple-reminders"] {
            let added = gateway.cli(["sources", "add", kind]);
            let said = added.expect_ok();
            assert!(said.contains(&format!("{kind} serves: ")), "{said}");
        }
        // Where a person's shell and the installers look for the gateway's state.
        symlink(gateway.state(), gateway.home().join(".plexus")).expect("a link");
        Self { gateway }
    }
    fn agent(&self, capabilities: &[&str]) -> Agent {
        self.gateway.agent_with("planner", capabilities)
    }
    /// What somebody else does to the lists: the fake's own file.
    fn edit(&self, change: impl FnOnce(&mut Value)) {
        let file = self
            .gateway
            .state()
            .join("workers/apple-reminders/fake-reminders");
        let text = std::fs::read(&file).expect("the fake's lists");
        let mut world: Value = serde_json::from_slice(&text).expect("JSON");
        change(&mut world);
        std::fs::write(file, world.to_string()).expect("a file");
    }
    /// The person's home, and a folder that a coding agent works in.
    fn project(&self) -> (PathBuf, Folder) {
        let project = Folder::empty();
        project.write(".git/HEAD", "ref: refs/heads/main\n");
        (self.gateway.home().to_owned(), project)
    }
    /// Connects an agent as the tutorial does, by one call with the owner's key, and runs one command of the answer.
    fn connect(&self, id: &str, kind: &str, capabilities: &[&str], folder: &Path, command: &str) {
        let body = json!({"agentId": id, "agentType": kind, "capabilities": capabilities});
        self.gateway.owner().connect_as(body).expect_ok();
        let path = format!("/integration/{id}");
        let material = self.gateway.owner().get(&path).expect_ok();
        let command = material[command].as_str().expect("a command");
        let code = material["enrollCode"].as_str().expect("a code");
        // The generic kind is enrolled by a second command.
        let enroll = material["enrollCommand"].as_str();
        let enroll = enroll.filter(|_| kind == "generic").unwrap_or(":");
        let line = format!("export PLEXUS_ENROLL_CODE={code}; {command}; {enroll}");
        self.shell(folder, &line);
    }
    fn shell(&self, folder: &Path, line: &str) {
        let mut shell = programs::command(Path::new("/bin/bash"), self.gateway.home());
        let plexus = binaries::path("plexus");
        let folders =
            [plexus.parent(), claude().parent()].map(|one| one.expect("a folder").to_owned());
        let path = format!(
            "{}:{}:/usr/bin:/bin",
            folders[0].display(),
            folders[1].display()
        );
        shell.env("PATH", path).current_dir(folder);
        shell.env("CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC", "1");
        shell.args(["-e", "-o", "pipefail", "-c", line]);
        programs::run(shell).expect_ok();
    }
    /// The one item that waits, once it does; approved by another process, which looked at the card.
    fn approve_elsewhere(&self) {
        let item = self.gateway.owner().waiting();
        let card = self.gateway.owner().card(&item);
        let digest = card["cardDigest"].as_str().expect("a digest");
        let line = ["approvals", "approve", &item, "--card", digest];
        self.gateway.cli(line).expect_ok();
    }
}

fn titles(agent: &Agent, input: Value) -> Vec<String> {
    let reply = agent.must(REMINDERS, input);
    let all = list_of(&reply["output"]["reminders"]).clone();
    let title = |one: &Value| one["title"].as_str().expect("a title").to_owned();
    all.iter().map(title).collect()
}

/// The facts on a card, as one text each.
fn facts(plan: &Value) -> Vec<String> {
    let facts = plan["preview"]["facts"].as_array();
    let facts = facts.unwrap_or_else(|| panic!("{plan}"));
    let text = |fact: &Value| format!("{}: {}", fact["name"], fact["value"]).replace('"', "");
    facts.iter().map(text).collect()
}

#[test]
fn apps_of_a_mac_are_not_added_elsewhere_without_a_fake() {
    let gateway = Gateway::start();
    for (kind, label) in [
        ("apple-calendar", "Apple Calendar (read-only)"),
        ("apple-reminders", "Apple Reminders"),
    ] {
        let why = format!("{label} serves on macOS only, and this is Linux");
        let refused = gateway.cli(["sources", "add", kind]);
        assert_ne!(refused.status, 0, "{refused}");
        assert_contains(&refused.all(), &why);
        assert!(gateway.cli(["sources", "kinds"]).expect_ok().contains(&why));
    }
    // The control: with the fake both are added, and it says what they offer.
    let desk = Desk::open();
    let listed = desk.gateway.cli(["sources", "kinds"]);
    assert_lacks(listed.expect_ok(), "serves on macOS only");
    desk.agent(&[CALENDARS]).must(CALENDARS, json!({}));
}

/// `PLEXUS_FAKE_APPLE=1 cargo xtask start`, and nothing else: the fakes are sources, and each answers.
#[test]
fn fakes_are_sources_from_the_start() {
    let mut gateway = Gateway::builder().env("PLEXUS_FAKE_APPLE", "1").start();
    let todos = "things.todos.list";
    let agent = gateway.agent_with("planner", &[EVENTS, REMINDERS, todos]);
    let day = json!({"start": "2026-06-25", "end": "2026-06-26"});
    let reply = agent.invoke(EVENTS, day).expect_ok();
    assert!(reply.to_string().contains("Team sync"), "{reply}");
    for (capability, list) in [(REMINDERS, "reminders"), (todos, "todos")] {
        let reply = agent.invoke(capability, json!({})).expect_ok();
        let listed = reply["output"][list].as_array().expect("a list");
        assert!(!listed.is_empty(), "{reply}");
    }
    agent
        .approved(&gateway.owner(), CREATE, json!({"title": "Follow up"}))
        .expect_ok();
    // What the owner decided of one holds at the next start, and one under another id is not joined by a second.
    gateway.must_cli(["sources", "disable", "apple-reminders"]);
    gateway.must_cli(["sources", "remove", "apple-calendar"]);
    let other = ["sources", "add", "apple-calendar", "--id", "days"];
    gateway.cli(other).expect_ok();
    gateway.restart();
    let sources = gateway.owner().client.get("/admin/api/sources").expect_ok();
    let sources = sources["sources"].as_array().expect("a list");
    let known = |source: &Value| (source["id"].clone(), source["enabled"].clone());
    let mut known: Vec<_> = sources.iter().map(known).collect();
    known.sort_by_key(|(id, _)| id.to_string());
    let id = |id: &str, enabled: bool| (json!(id), json!(enabled));
    assert_eq!(
        known,
        [
            id("apple-reminders", false),
            id("days", true),
            id("things", true)
        ]
    );
}

#[test]
fn granted_read_lists_events_and_a_constraint_narrows_it() {
    let desk = Desk::open();
    let agent = desk.agent(&[CALENDARS, EVENTS]);
    let day = json!({"start": "2026-06-26", "end": "2026-06-27"});
    let reply = agent.must(EVENTS, day.clone());
    let events = reply["output"]["events"].as_array().expect("events");
    let told: Vec<_> = events.iter().map(|e| (&e["title"], &e["start"])).collect();
    assert_eq!(
        json!(told),
        json!([
            ("Summer festival", "2026-06-26"),
            ("Team sync", "2026-06-26T10:00:00+02:00"),
            ("Call with New York", "2026-06-26T09:00:00-04:00"),
            ("An invitation of a stranger", "2026-06-26T18:00:00+02:00")
        ])
    );
    // Nobody can write, whatever they ask for.
    let ids = agent.sees();
    assert!(
        ids.iter()
            .all(|id| !id.starts_with("apple-calendar.events.c")),
        "{ids:?}"
    );
    agent
        .invoke("apple-calendar.events.create", json!({}))
        .expect_error(404, "unknown_capability");
    let narrow = desk.gateway.agent("narrow");
    let line = format!("grants allow narrow {EVENTS} --window 1h --under calendars=home");
    desk.gateway.must_cli(line.split(' '));
    let reply = narrow.must(EVENTS, day);
    let events = reply["output"]["events"].as_array().expect("events");
    assert_eq!(events.len(), 1, "{reply}");
    let refused = narrow.invoke(EVENTS, json!({"calendars": ["work"]}));
    refused.expect_error(401, "approval_required");
    // The audit log knows who read which event, and holds no title.
    let read = desk.gateway.owner().audited(|event| {
        event["capabilityId"] == EVENTS && event["outcome"] == "ok" && event["agentId"] == "planner"
    });
    assert!(read.to_string().contains("team-sync"), "{read}");
    let log = json!(desk.gateway.owner().audit(1000)).to_string();
    assert!(!log.contains("Team sync"));
}

#[test]
fn reminder_is_shown_approved_listed_and_taken_back() {
    let desk = Desk::open();
    let agent = desk.agent(&[REMINDERS]);
    let title = "Follow up,\u{202e}\u{7} 1/2 & #3";
    let input = json!({"list": "Reminders", "title": title, "due": "2026-06-26T09:00", "notes": "with\nAnn", "priority": 1});
    let item = agent.must_ask(CREATE, input.clone());
    let plan = desk.gateway.owner().plan(&item);
    assert_eq!(
        facts(&plan),
        [
            "list: Reminders (iCloud)",
            // What turns text round, or is no letter, is shown and obeyed by nobody.
            "title: Follow up,\u{fffd}\u{fffd} 1/2 & #3",
            "due: 2026-06-26 09:00 +02:00",
            "priority: high (1)"
        ]
    );
    assert_eq!(plan["preview"]["diff"], "with\nAnn");
    assert_eq!(
        titles(&agent, json!({"list": "reminders"})).len(),
        2,
        "planning adds nothing"
    );
    desk.gateway.owner().approve(&item, "once");
    let done = agent.must(CREATE, input.clone());
    assert!(
        done["output"]["id"].is_string() && done["output"]["list"] == "reminders",
        "{done}"
    );
    assert!(titles(&agent, json!({"list": "reminders"})).contains(&title.to_owned()));
    // Once is once.
    agent.must_ask(CREATE, input);
    let undo = done["undo"].as_str().expect("an id").to_owned();
    let item = agent.must_ask(UNDO, json!({"id": undo}));
    let headline = desk.gateway.owner().plan(&item)["preview"]["headline"].to_string();
    assert_contains(&headline, "Remove an added reminder from Reminders");
    desk.gateway.owner().approve(&item, "once");
    let undone = agent.must(UNDO, json!({"id": undo}));
    assert_eq!(undone["output"]["removed"], true);
    assert_eq!(titles(&agent, json!({"list": "reminders"})).len(), 2);

    let said = desk.gateway.cli(["activity", "planner"]);
    let said = said.expect_ok();
    for words in [
        "added a reminder: Follow up",
        "removed an added reminder: Follow up",
        "apple-reminders, approved by you",
    ] {
        assert!(said.contains(words), "{words:?} is missing:\n{said}");
    }
}

#[test]
fn reminder_that_fits_nowhere_is_told_at_once() {
    let desk = Desk::open();
    let agent = desk.gateway.agent("blind");
    let update = "apple-reminders.reminders.update";
    for (capability, input, field) in [
        (CREATE, json!({"title": "Call", "due": "tomorrow"}), "due"),
        (CREATE, json!({"title": " "}), "title"),
        (update, json!({"id": "milk", "due": "2026-02-30"}), "due"),
    ] {
        let reply = agent.invoke(capability, input);
        let error = reply.expect_error(422, "schema_validation_failed");
        assert_eq!(error["detail"]["field"], field, "{reply}");
    }
    assert_eq!(desk.gateway.owner().pending().len(), 0, "no card");
    // The control, and one of which only who may read the list is told.
    agent.must_ask(CREATE, json!({"title": "Call", "due": "2026-12-01"}));
    agent.must_ask(update, json!({"id": "none", "title": "Call"}));
    agent.must_ask(CREATE, json!({"list": "Groceries", "title": "Call"}));
    // Ids of lists stand in every answer of either read.
    for (id, read) in [("one", REMINDERS), ("two", "apple-reminders.lists.list")] {
        let reader = desk.gateway.agent_with(id, &[read]);
        for (list, reason) in [
            ("Groceries", "ambiguous"),
            ("Nowhere", "not_found"),
            ("groceries-2", "read_only"),
        ] {
            let reply = reader.invoke(CREATE, json!({"list": list, "title": "Call"}));
            let error = reply.expect_error(400, "transport_error");
            assert_eq!(error["detail"]["reason"], reason, "{id}: {reply}");
            assert!(error["pendingId"].is_null(), "{reply}");
        }
    }
}

#[test]
fn completion_of_what_somebody_changed_is_refused() {
    let desk = Desk::open();
    let agent = desk.agent(&[REMINDERS]);
    let input = json!({"id": "milk"});
    // A first change, so that the fake's lists are on the disk.
    let other = json!({"id": "dentist"});
    agent.must_approved(&desk.gateway.owner(), COMPLETE, other);

    let item = agent.must_ask(COMPLETE, input.clone());
    let _seen = desk.gateway.owner().card(&item);
    desk.gateway.owner().approve(&item, "once");
    // Between the approval and the call.
    desk.edit(|world| {
        let all = world["reminders"].as_array_mut().expect("reminders");
        let milk = all
            .iter_mut()
            .find(|one| one["id"] == "milk")
            .expect("milk");
        milk["title"] = json!("Buy oat milk");
        milk["modified"] = json!("2026-06-03T08:00:00Z");
    });
    let refused = agent.invoke(COMPLETE, input.clone());
    let refused = refused.expect_error(200, "precondition_changed");
    assert_eq!(refused["effect"], "none", "{refused}");
    let open = json!({"list": "groceries"});
    assert_eq!(titles(&agent, open.clone()), ["Buy oat milk"]);
    // The control: seen as it is now, it is completed; and the owner takes that back.
    let done = agent.must_approved(&desk.gateway.owner(), COMPLETE, input);
    assert!(titles(&agent, open.clone()).is_empty());
    let path = format!(
        "/admin/api/undo/{}",
        done["auditId"].as_str().expect("an id")
    );
    let client = desk.gateway.owner().client;
    let plan = client.get(&path).expect_ok();
    let token = json!({"stateToken": plan["stateToken"]});
    client.post(&path, token).expect_ok();
    assert_eq!(titles(&agent, open), ["Buy oat milk"]);
}

#[test]
fn standing_completion_covers_what_the_agent_has_listed() {
    let desk = Desk::open();
    let wanted = json!({"agentId": "planner", "capabilities": [REMINDERS, COMPLETE], "standing": [COMPLETE]});
    let agent = desk.gateway.agent_as(wanted);
    let complete = |id: &str| agent.invoke(COMPLETE, json!({"id": id}));
    complete("milk").expect_error(200, "precondition_changed");
    titles(&agent, json!({"list": "groceries"}));
    complete("milk").expect_ok();
    complete("dentist").expect_error(200, "precondition_changed");
}

#[test]
fn missing_consent_tells_agent_and_owner_where_to_give_it() {
    let desk = Desk::open();
    let agent = desk.agent(&[REMINDERS]);
    agent.must_approved(&desk.gateway.owner(), COMPLETE, json!({"id": "dentist"}));
    desk.edit(|world| world["fails"] = json!("consent_denied"));
    let pane = "System Settings > Privacy & Security > Reminders";
    let refused = agent.invoke(REMINDERS, json!({}));
    assert!(
        refused.at("/ok") == false && refused.to_string().contains(pane),
        "{refused}"
    );
    until_true("the owner's view of it", || {
        let health = desk.gateway.owner().get("/admin/api/health").expect_ok();
        health.to_string().contains(pane)
    });
    desk.edit(|world| world["fails"] = Value::Null);
    agent.must(REMINDERS, json!({}));
}

const DAY: &str = "--input '{\"start\":\"2026-06-25\",\"end\":\"2026-06-26\"}' --json";
const FOLLOW_UP: &str =
    "--input '{\"list\":\"Reminders\",\"title\":\"Follow up on Team sync\"}' --json";

/// The tutorial's second part: Codex with the shared command, its sandbox off, a read and a write that waits.
#[test]
fn codex_reads_the_day_and_creates_a_reminder() {
    let desk = Desk::open();
    let (home, project) = desk.project();
    desk.connect(
        "codex",
        "generic",
        &[EVENTS],
        &project.path(),
        "setupCommand",
    );
    // The command on the person's PATH.
    let launcher = desk.gateway.state().join("agents/codex/bin/plexus");
    std::fs::create_dir_all(home.join(".local/bin")).expect("a folder");
    symlink(&launcher, home.join(".local/bin/plexus")).expect("a link");
    let profile = "export PATH=\"$HOME/.local/bin:$PATH\"\n";
    std::fs::write(home.join(".profile"), profile).expect("a file");
    assert!(project.read("AGENTS.md").contains("BEGIN PLEXUS"));

    let model = Model::start([
        Step::exec("plexus list --json"),
        Step::exec(&format!("plexus {EVENTS} {DAY}")),
        Step::exec(&format!("plexus {CREATE} {FOLLOW_UP}")),
        Step::say("The reminder is there."),
    ]);
    let task = "Use the plexus command: run 'plexus list' to see what's available, read today's events with apple-calendar.events.list, \
        then create a follow-up reminder for the first event with apple-reminders.reminders.create. Use --json.";
    let blunt = ["--dangerously-bypass-approvals-and-sandbox"];
    let folder = project.path();
    let went = std::thread::scope(|scope| {
        let talking = scope.spawn(|| ask_codex(&model, &home, &folder, &blunt, task));
        desk.approve_elsewhere();
        talking.join().expect("a conversation")
    });
    went.expect_ok();
    model.finish();
    let results = model.results();
    assert_contains(&results[0], EVENTS);
    assert_contains(&results[0], CREATE);
    assert!(results[1].contains("Team sync"), "{results:#?}");
    assert!(results[2].contains("\"ok\""), "{results:#?}");
    let agent = desk.agent(&[REMINDERS]);
    assert!(titles(&agent, json!({})).contains(&"Follow up on Team sync".to_owned()));
}

/// The tutorial's first part: Claude Code with its compiled plugin, installed by one command.
#[test]
fn claude_code_lists_the_day_and_creates_a_reminder() {
    let vault = plexus_tests::vault();
    let builder = Gateway::builder().vault(&vault.path());
    let desk = Desk::with(builder.env("PLEXUS_FAKE_APPLE", "offered").start());
    let (home, project) = desk.project();
    let reads = ["obsidian.vault.read", EVENTS];
    desk.connect(
        "my-cc",
        "claude-code",
        &reads,
        &project.path(),
        "installCommand",
    );
    let model = Model::start([
        Step::bash("plexus-my-cc list"),
        Step::bash("plexus-my-cc obsidian.vault.read path=Projects/Plexus.md"),
        Step::bash(
            "plexus-my-cc obsidian.vault.read --input '{\"path\":\"Projects/Plexus.md\"}' --json",
        ),
        Step::bash(&format!(
            "plexus-my-cc {EVENTS} start=2026-06-25 end=2026-06-26"
        )),
        Step::bash(&format!(
            "plexus-my-cc {CREATE} {FOLLOW_UP} --purpose 'so that it is not forgotten'"
        )),
        Step::say("The reminder is there."),
    ]);
    let folder = project.path();
    let went = std::thread::scope(|scope| {
        let talking = scope.spawn(|| {
            let tools = ["--allowedTools", "Bash"];
            ask_claude(&model, &home, &folder, &tools, "Plan my day via Plexus")
        });
        desk.approve_elsewhere();
        talking.join().expect("a conversation")
    });
    went.expect_ok();
    model.finish();
    let results = model.results();
    assert_contains(&results[0], EVENTS);
    assert_contains(&results[0], CREATE);
    assert_contains(&results[1], "A gateway. See");
    assert_contains(&results[2], "A gateway. See");
    assert!(results[3].contains("Team sync"), "{results:#?}");
    let agent = desk.agent(&[REMINDERS]);
    assert!(titles(&agent, json!({})).contains(&"Follow up on Team sync".to_owned()));
}

/// What recorded gateways of protocol 0.1 say of each entry: label, verbs, how it is reached, how much harm it can do, window.
#[test]
fn entries_are_those_of_recorded_gateways() {
    let desk = Desk::open();
    let document = desk.gateway.client().get("/.well-known/plexus").expect_ok();
    let listed = document["capabilities"].as_array().expect("entries");
    #[rustfmt::skip]
    let rows = [
        (CALENDARS, "List Apple Calendar calendars", Some("read")),
        (EVENTS, "List Apple Calendar events in a date window", Some("read")),
        ("apple-calendar.how-to-use", "How to use Apple Calendar (read-only)", None),
        ("apple-reminders.lists.list", "List Apple Reminders lists", Some("read")),
        (REMINDERS, "List Apple Reminders", Some("read")),
        (CREATE, "Create an Apple Reminder", Some("write")),
        (COMPLETE, "Complete an Apple Reminder", Some("write")),
        ("apple-reminders.skill.how-to-use", "How to use Apple Reminders", None),
    ];
    for (id, label, verb) in rows {
        let entry = listed.iter().find(|entry| entry["id"] == id);
        let entry = entry.unwrap_or_else(|| panic!("{id} is not listed"));
        let (sensitivity, days) = match verb {
            Some("write") => ("elevated", 1),
            _ => ("low", 7),
        };
        let expected = json!({
            "label": label, "kind": if verb.is_some() { "capability" } else { "skill" },
            "grants": verb.into_iter().collect::<Vec<_>>(), "transport": if verb.is_some() { "ipc" } else { "skill" },
            "provenance": "managed", "sensitivity": sensitivity,
            "recommendedTrustWindow": {"kind": format!("{days}d"), "ms": days * 86_400_000_u64}
        });
        for (member, value) in expected.as_object().expect("members") {
            assert_eq!(&entry[member], value, "{member} of {id}");
        }
    }
    // A recorded client asks for a grant that stands, and calls with its token alone.
    let agent = desk.agent(&[EVENTS]);
    let granted = agent.ask(json!({EVENTS: "allow"})).expect_ok();
    assert_eq!(
        granted["scopes"],
        json!([{"id": EVENTS, "verbs": ["read"]}])
    );
    assert_eq!(
        granted["trustWindow"],
        json!({"kind": "7d", "ms": 604_800_000})
    );
    let day = json!({"start": "2026-06-25", "end": "2026-06-26"});
    let reply = agent.invoke_with(&granted, EVENTS, day).expect_ok();
    assert_eq!(reply["output"]["events"][0]["title"], "Team sync");
}
