//! A day on which one agent uses every app of one gateway: the page `docs/today.md` command by command, the note in the
//! running Obsidian included, and after it Things and a CalDAV server that another client reads.
#![cfg(not(target_os = "macos"))]

use crate::caldav::radicale::{PASSWORD, Radicale, USER};
use crate::obsidian_rest::app::{
    fingerprint,
    plugin::{KEY, Plugin},
    tls,
};
use plexus_tests::programs::{self, Said};
use plexus_tests::texts::assert_contains;
use plexus_tests::{Folder, Gateway, binaries};
use serde_json::Value;
use std::path::Path;

const PAGE: &str = include_str!("../../docs/today.md");
const NOTE_PATH: &str = "Meetings/Team sync.md";
const NOTE: &str = "# Team sync\nOpen: send Ann the draft.\n";

struct Day {
    gateway: Gateway,
    secrets: Folder,
    _vault: Folder,
}

impl Day {
    fn open() -> Self {
        let vault = plexus_tests::vault();
        vault.write(NOTE_PATH, NOTE);
        let builder = Gateway::builder().vault(&vault.path());
        let gateway = builder.env("PLEXUS_FAKE_APPLE", "offered").start();
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

    /// The path of a file with this secret.
    fn secret(&self, name: &str, value: &str) -> String {
        self.secrets.write(name, format!("{value}\n"));
        self.secrets.path().join(name).display().to_string()
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

    /// Types a command of the agent and approves what it asks for; what its card showed, and what the agent was answered.
    fn approved(&self, line: &str) -> (Value, String) {
        let owner = self.gateway.owner();
        std::thread::scope(|scope| {
            let waits = scope.spawn(|| self.typed(line));
            let item = owner.waiting();
            let plan = owner.plan(&item);
            owner.approve(&item, "once");
            let said = waits.join().expect("a command");
            (plan, said.expect_ok().to_owned())
        })
    }
}

/// The commands of each of the page's scripts.
fn scripts() -> Vec<Vec<&'static str>> {
    let scripts = PAGE.split("```sh\n").skip(1);
    let scripts = scripts.map(|rest| rest.split("```").next().expect("its end"));
    scripts.map(|script| script.lines().collect()).collect()
}

#[test]
fn agent_uses_every_app_of_a_day() {
    let day = Day::open();
    let scripts = scripts();
    let lengths: Vec<_> = scripts.iter().map(Vec::len).collect();
    assert_eq!(lengths, [3, 3, 1, 3], "{scripts:?}");
    day.let_in(&scripts[0]);
    day.reads_calendar_and_notes(&scripts[1]);
    day.makes_a_reminder_that_is_taken_back(scripts[2][0]);
    day.changes_a_note_in_the_running_app(&scripts[3]);
    day.files_a_todo_in_things();
    day.files_a_todo_on_a_calendar_server();
    // All of it, in words: what was changed by its title, and no content.
    let told = day.gateway.cli(["activity", "planner"]);
    let told = told.expect_ok();
    for words in [
        "apple-calendar",
        NOTE_PATH,
        "added a reminder: ",
        "obsidian-rest",
        "added a to-do: Water the plants",
        "things",
        "caldav",
    ] {
        assert!(told.contains(words), "{words} in {told}");
    }
    for content in ["team sync", "Draft sent"] {
        assert!(!told.contains(content), "{content} in {told}");
    }
}

impl Day {
    fn reads_calendar_and_notes(&self, script: &[&str]) {
        let said: Vec<_> = script
            .iter()
            .map(|line| self.typed(line).expect_ok().to_owned())
            .collect();
        assert!(said[0].contains("Team sync"), "{said:?}");
        assert!(said[1].contains(NOTE_PATH), "{said:?}");
        assert!(said[2].contains("send Ann the draft"), "{said:?}");
    }

    fn makes_a_reminder_that_is_taken_back(&self, line: &str) {
        let (plan, _) = self.approved(line);
        assert!(plan.to_string().contains("Send Ann the draft"), "{plan}");
        let is_listed = || {
            let listed = self.typed("plexus apple-reminders.reminders.list");
            listed.expect_ok().contains("Send Ann the draft")
        };
        assert!(is_listed());
        let intent = self.gateway.owner().audited(|event| {
            event["detail"]["phase"] == "intent"
                && event["capabilityId"] == "apple-reminders.reminders.create"
        });
        let intent = intent["id"].as_str().expect("an id");
        let undo = self.typed(&format!("plexusctl undo {intent} --yes"));
        assert!(undo.expect_ok().contains("removed an added reminder"));
        assert!(!is_listed());
    }

    fn changes_a_note_in_the_running_app(&self, script: &[&str]) {
        let app = Plugin::wrapped(tls(&["app.pem"], "app.key"));
        app.fill(&[(NOTE_PATH, NOTE)]);
        let key = self.secret("key.txt", KEY);
        let [add, set, append] = script[..] else {
            panic!("{script:?}")
        };
        // The plugin of the page listens on its usual port.
        let url = format!(" --set baseUrl=https://127.0.0.1:{}", app.port);
        let added = self.typed(&(add.replace("key.txt", &key) + &url));
        let met = fingerprint("app.pem");
        assert!(added.expect_ok().contains(&met), "{added:?}");
        let set = self.typed(&set.replace("FINGERPRINT", &met));
        assert!(set.expect_ok().contains("obsidian-rest serves"), "{set:?}");
        let (plan, _) = self.approved(append);
        let diff = plan["preview"]["diff"].as_str().expect("a difference");
        let last = NOTE.lines().last().expect("a line");
        assert_contains(diff, &format!(" {last}\n"));
        assert_contains(diff, "+- Draft sent.");
        let text = app.text(NOTE_PATH).expect("the note");
        assert!(
            text.starts_with(NOTE) && text.contains("- Draft sent."),
            "{text}"
        );
    }

    fn files_a_todo_in_things(&self) {
        let added = self.typed("plexusctl sources add things-app --id things");
        assert!(added.expect_ok().contains("serves"), "{added:?}");
        let add = "plexus things.todos.add title=\"Water the plants\" when=today --purpose \"as they asked\"";
        let (plan, _) = self.approved(add);
        assert!(plan.to_string().contains("Water the plants"), "{plan}");
        let (_, todos) = self.approved("plexus things.todos.list list=today");
        assert!(todos.contains("Water the plants"), "{todos}");
    }

    fn files_a_todo_on_a_calendar_server(&self) {
        let server = Radicale::start();
        server.calendar("home", "Home", &["VEVENT", "VTODO"]);
        let (url, password) = (server.url(), self.secret("password", PASSWORD));
        let added = self.typed(&format!(
            "plexusctl sources add caldav-account --set url={url} --set user={USER} --secret password={password}"
        ));
        assert!(added.expect_ok().contains("serves"), "{added:?}");
        let add = "plexus caldav.todos.create list=home title=\"Buy bread\" --purpose \"as they asked\" --json";
        let (plan, done) = self.approved(add);
        assert!(plan.to_string().contains("Buy bread"), "{plan}");
        // Another client sees it.
        let done: Value = serde_json::from_str(&done).expect("JSON");
        let id = done["output"]["id"].as_str().expect("an id");
        let there = server.get(id);
        assert!(there.body.contains("SUMMARY:Buy bread"), "{there:?}");
        let activity = self.typed("plexusctl activity");
        assert!(activity.expect_ok().contains("Buy bread"), "{activity}");
    }
}
