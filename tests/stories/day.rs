//! A day on which an agent uses every app: the page `docs/today.md` command by command, and beside it Things, a CalDAV
//! server that another client reads, and a note in the running Obsidian.
#![cfg(not(target_os = "macos"))]

use crate::caldav::radicale::{PASSWORD, Radicale, USER};
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

    /// Approves the next thing that an agent asks for.
    fn approve(&self) {
        let owner = self.gateway.owner();
        let item = until("a request", || {
            let pending = owner.pending();
            Some(pending.first()?["pendingId"].as_str()?.to_owned())
        });
        owner.approve(&item, "once");
    }

    fn done(&self, agent: &Agent, capability: &str, input: Value) -> Value {
        let item = agent.must_ask(capability, input.clone());
        self.gateway.owner().approve(&item, "once");
        agent.invoke(capability, input).expect_ok()
    }
}

/// The commands in the page's scripts.
fn commands() -> Vec<&'static str> {
    let scripts = PAGE.split("```sh\n").skip(1);
    let scripts = scripts.map(|rest| rest.split("```").next().expect("its end"));
    scripts.flat_map(str::lines).collect()
}

#[test]
fn agent_prepares_the_day_as_the_page_says() {
    let day = Day::open();
    let commands = commands();
    assert_eq!(commands.len(), 7, "{commands:?}");
    let (owner, agent) = commands.split_at(3);
    let mut printed = String::new();
    for line in owner {
        printed = day.typed(line).expect_ok().to_owned();
    }
    let code = printed
        .split_whitespace()
        .find(|word| word.contains("plx_enroll_"));
    let code = code
        .map(|word| word.trim_matches(|c: char| !c.is_ascii_alphanumeric() && !"_-".contains(c)));
    let code = code.expect("a code").to_owned();
    let code = &code[code.find("plx_enroll_").expect("it")..];
    day.typed(&format!("plexus enroll {code}")).expect_ok();

    let (reads, create) = agent.split_at(3);
    let said: Vec<_> = reads
        .iter()
        .map(|line| day.typed(line).expect_ok().to_owned())
        .collect();
    assert!(said[0].contains("Team sync"), "{said:?}");
    assert!(said[1].contains("Meetings/Team sync.md"), "{said:?}");
    assert!(said[2].contains("send Ann the draft"), "{said:?}");
    let created = std::thread::scope(|scope| {
        let waits = scope.spawn(|| day.typed(create[0]));
        day.approve();
        waits.join().expect("a command")
    });
    created.expect_ok();
    let listed = day.typed("plexus apple-reminders.reminders.list");
    assert!(
        listed.expect_ok().contains("Send Ann the draft"),
        "{listed:?}"
    );
    let activity = day.gateway.cli(["activity", "planner"]);
    let told = activity.expect_ok();
    assert!(
        told.contains("add a reminder") && !told.contains("Ann"),
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
    let told = day.gateway.cli(["activity", "planner"]);
    let told = told.expect_ok();
    assert!(told.contains("things") && told.contains("caldav"), "{told}");
}
