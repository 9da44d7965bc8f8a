//! A day on which an agent uses every app: the page `docs/today.md` command by command, and beside it Things, a CalDAV
//! server that another client reads, and a note in the running Obsidian.
#![cfg(not(target_os = "macos"))]

use crate::caldav::radicale::{PASSWORD, Radicale, USER};
use crate::obsidian_rest::app::{
    fingerprint,
    plugin::{KEY, Plugin},
    tls,
};
use plexus_tests::programs::{self, Said};
use plexus_tests::waiting::until;
use plexus_tests::{Agent, Folder, Gateway, binaries};
use serde_json::{Value, json};
use std::path::Path;

const PAGE: &str = include_str!("../../docs/today.md");
const NOTE: &str = "# Team sync\nOpen: send Ann the draft.\n";

struct Day {
    gateway: Gateway,
    secrets: Folder,
    _vault: Folder,
}

impl Day {
    fn open() -> Self {
        let vault = plexus_tests::vault();
        vault.write("Meetings/Team sync.md", NOTE);
        let builder = Gateway::builder().vault(&vault.path());
        let gateway = builder.env("PLEXUS_FAKE_APPLE", "1").start();
        Self {
            gateway,
            secrets: Folder::empty(),
            _vault: vault,
        }
    }

    /// A command of the page.
    fn typed(&self, line: &str) -> Said {
        let (program, arguments) = line.split_once(' ').expect("a command");
        let mut shell = programs::command(Path::new("/bin/bash"), self.gateway.home());
        let owner = if program == "plexusctl" {
            " --i-am-the-owner"
        } else {
            ""
        };
        let line = format!("{}{owner} {arguments}", binaries::path(program).display());
        shell
            .args(["-c", &line])
            .env("PLEXUS_HOME", self.gateway.state())
            .env("PLEXUS_AGENT_ID", "planner");
        programs::run(shell)
    }

    fn secret(&self, field: &str, value: &str) -> String {
        self.secrets.write(field, format!("{value}\n"));
        format!("{field}={}", self.secrets.path().join(field).display())
    }

    /// Lets the page's agent in, with the commands that the page has for the owner.
    fn let_in(&self, owner: &[&str]) {
        let mut printed = String::new();
        for line in owner {
            printed = self.typed(line).expect_ok().to_owned();
        }
        let code = printed
            .split_whitespace()
            .find(|word| word.contains("plx_enroll_"));
        let code = code.map(|word| {
            word.trim_matches(|c: char| !c.is_ascii_alphanumeric() && !"_-".contains(c))
        });
        let code = code.expect("a code");
        let code = &code[code.find("plx_enroll_").expect("it")..];
        self.typed(&format!("plexus enroll {code}")).expect_ok();
    }

    /// Types a command of the agent and approves what it asks for; what its card showed.
    fn approved(&self, line: &str) -> Value {
        let owner = self.gateway.owner();
        std::thread::scope(|scope| {
            let waits = scope.spawn(|| self.typed(line));
            let item = until("a request", || {
                let pending = owner.pending();
                Some(pending.first()?["pendingId"].as_str()?.to_owned())
            });
            let plan = owner.plan(&item);
            owner.approve(&item, "once");
            waits.join().expect("a command").expect_ok();
            plan
        })
    }

    /// What the agent did, in the words of `plexusctl activity`.
    fn told(&self) -> String {
        let told = self.gateway.cli(["activity", "planner"]);
        told.expect_ok().to_owned()
    }

    fn done(&self, agent: &Agent, capability: &str, input: Value) -> Value {
        let item = agent.must_ask(capability, input.clone());
        self.gateway.owner().approve(&item, "once");
        agent.invoke(capability, input).expect_ok()
    }
}

/// The commands of each of the page's scripts.
fn scripts() -> Vec<Vec<&'static str>> {
    let scripts = PAGE.split("```sh\n").skip(1);
    let scripts = scripts.map(|rest| rest.split("```").next().expect("its end"));
    scripts.map(|script| script.lines().collect()).collect()
}

#[test]
fn agent_prepares_the_day_as_the_page_says() {
    let day = Day::open();
    let scripts = scripts();
    let lengths: Vec<_> = scripts.iter().map(Vec::len).collect();
    assert_eq!(lengths, [3, 3, 1, 3], "{scripts:?}");
    day.let_in(&scripts[0]);
    let said: Vec<_> = scripts[1]
        .iter()
        .map(|line| day.typed(line).expect_ok().to_owned())
        .collect();
    assert!(said[0].contains("Team sync"), "{said:?}");
    assert!(said[1].contains("Meetings/Team sync.md"), "{said:?}");
    assert!(said[2].contains("send Ann the draft"), "{said:?}");
    let plan = day.approved(scripts[2][0]);
    assert!(plan.to_string().contains("Send Ann the draft"), "{plan}");
    let list = "plexus apple-reminders.reminders.list";
    let listed = day.typed(list);
    assert!(
        listed.expect_ok().contains("Send Ann the draft"),
        "{listed:?}"
    );
    let told = day.told();
    assert!(
        told.contains("add a reminder") && !told.contains("Ann"),
        "{told}"
    );
    // The owner takes it back.
    let owner = day.gateway.owner();
    let intent = owner.audited(|event| {
        event["detail"]["phase"] == "intent"
            && event["capabilityId"] == "apple-reminders.reminders.create"
    });
    let intent = intent["id"].as_str().expect("an id");
    let undo = day.typed(&format!("plexusctl undo {intent} --yes"));
    assert!(undo.expect_ok().contains("remove an added reminder"));
    let listed = day.typed(list);
    assert!(
        !listed.expect_ok().contains("Send Ann the draft"),
        "{listed:?}"
    );
}

#[test]
fn note_is_changed_in_the_running_app_as_the_page_says() {
    let day = Day::open();
    let scripts = scripts();
    let app = Plugin::wrapped(tls(&["app.pem"], "app.key"));
    let note = "Meetings/Team sync.md";
    app.fill(&[(note, NOTE)]);
    day.let_in(&scripts[0]);
    day.secrets.write("key.txt", format!("{KEY}\n"));
    let key = day.secrets.path().join("key.txt").display().to_string();
    let [add, set, append] = scripts[3][..] else {
        panic!("{scripts:?}")
    };
    // The plugin of the page listens on its usual port.
    let url = format!(" --set baseUrl=https://127.0.0.1:{}", app.port);
    let added = day.typed(&(add.replace("key.txt", &key) + &url));
    let met = fingerprint("app.pem");
    assert!(added.expect_ok().contains(&met), "{added:?}");
    let set = day.typed(&set.replace("FINGERPRINT", &met));
    assert!(set.expect_ok().contains("obsidian-rest serves"), "{set:?}");
    let plan = day.approved(append);
    let diff = plan["preview"]["diff"].as_str().expect("a difference");
    let last = NOTE.lines().last().expect("a line");
    assert!(
        diff.contains(&format!(" {last}\n")) && diff.contains("+- Draft sent."),
        "{diff}"
    );
    let text = app.text(note).expect("the note");
    assert!(
        text.starts_with(NOTE) && text.contains("- Draft sent."),
        "{text}"
    );
    let told = day.told();
    assert!(
        told.contains(note) && !told.contains("Draft sent"),
        "{told}"
    );
}

#[test]
fn one_agent_uses_things_and_a_calendar_server_side_by_side() {
    let day = Day::open();
    let server = Radicale::start();
    server.calendar("home", "Home", &["VEVENT", "VTODO"]);
    let add = |line: &[&str]| {
        let added = day.gateway.cli([&["sources", "add"], line].concat());
        assert!(added.expect_ok().contains("serves"), "{added:?}");
    };
    add(&["things-app", "--id", "things"]);
    let (url, user) = (format!("url={}", server.url()), format!("user={USER}"));
    let password = day.secret("password", PASSWORD);
    add(&[
        "caldav-account",
        "--set",
        &url,
        "--set",
        &user,
        "--secret",
        &password,
    ]);
    let agent = day
        .gateway
        .agent_with("planner", &["things.todos.list", "caldav.todos.list"]);
    day.done(
        &agent,
        "things.todos.add",
        json!({"title": "Water the plants", "when": "today"}),
    );
    let todos = agent
        .invoke("things.todos.list", json!({"list": "today"}))
        .expect_ok();
    assert!(todos.to_string().contains("Water the plants"), "{todos}");
    let done = day.done(
        &agent,
        "caldav.todos.create",
        json!({"list": "home", "title": "Buy bread"}),
    );
    // Another client sees it.
    let id = done["output"]["id"].as_str().expect("an id");
    let there = server.get(id);
    assert!(there.body.contains("SUMMARY:Buy bread"), "{there:?}");
    let told = day.told();
    assert!(
        told.contains("add a to-do") && told.contains("things") && told.contains("caldav"),
        "{told}"
    );
}
