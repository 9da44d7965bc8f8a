//! Telling the owner's desktop that something waits: `plexusctl notify`, with a program of the test's as the desktop.

use crate::house::{House, WRITE, note};
use crate::office::Running;
use plexus_tests::folders::write_program;
use plexus_tests::texts::{assert_contains, assert_lacks, text_of};
use plexus_tests::waiting::until;
use plexus_tests::{Agent, binaries, programs};
use serde_json::json;
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// A desktop: a program that writes down each text that it is given.
struct Desktop {
    program: PathBuf,
    told: PathBuf,
}

impl Desktop {
    fn of(house: &House) -> Self {
        let (program, told) = (
            house.gateway.home().join("notifier"),
            house.gateway.home().join("told"),
        );
        let script = format!(
            "#!/bin/sh\nprintf '%s|%s\\n' \"$#\" \"$1\" >> '{}'\n",
            told.display()
        );
        write_program(&program, script);
        Self { program, told }
    }
    fn told(&self) -> Vec<String> {
        let told = std::fs::read_to_string(&self.told).unwrap_or_default();
        told.lines().map(str::to_owned).collect()
    }
    #[track_caller]
    fn until_told(&self, count: usize) -> Vec<String> {
        until(&format!("{count} notifications"), || {
            let told = self.told();
            (told.len() >= count).then_some(told)
        })
    }
}

/// As a service manager runs it: no terminal, nobody who swears to be the owner.
fn notify(house: &House, arguments: &[&str]) -> Command {
    let mut command = programs::command(&binaries::path("plexusctl"), house.gateway.home());
    command
        .env("PLEXUS_HOME", house.gateway.state())
        .arg("notify")
        .args(arguments);
    command
}

fn asks(agent: &Agent, name: &str) -> String {
    let body = json!({"id": WRITE, "input": note(name, "content of the note"), "purpose": "purpose of mine"});
    let reply = agent.invoke_body(body).json();
    text_of(&reply["error"]["pendingId"])
}

#[test]
fn the_first_at_once_then_one_reminder_then_a_count() {
    let mut house = House::open();
    let desktop = Desktop::of(&house);
    let agent = house.gateway.agent("one");
    let program = desktop.program.to_str().expect("a path").to_owned();
    let mut command = notify(
        &house,
        &["--follow", "--remind-after", "1", "--notifier", &program],
    );
    let running = command.stderr(Stdio::null()).spawn().expect("it starts");
    let mut running = Running(running);

    let first = asks(&agent, "a.txt");
    assert_eq!(
        desktop.until_told(1),
        ["1|Plexus: one asks for “Write a file”"]
    );
    let told = desktop.until_told(2);
    assert_eq!(told[1], "1|Plexus: one still waits for “Write a file”");
    let second = asks(&agent, "b.txt");
    let told = desktop.until_told(3);
    assert_eq!(told[2], "1|Plexus: 2 requests wait");
    for item in [first, second] {
        house.owner().deny(&item, "no");
    }

    // It outlives the gateway, and what begins to wait afterwards is a first one again.
    house.gateway.restart();
    let agent = house.back(&agent);
    let _ = asks(&agent, "d.txt");
    let told = desktop.until_told(4);
    assert_eq!(told[3], "1|Plexus: one asks for “Write a file”");
    assert!(
        running.0.try_wait().expect("our own child").is_none(),
        "it stays"
    );
    let all = told.concat();
    assert_lacks(&all, "content of the note");
    assert_lacks(&all, "purpose of mine");
}

#[test]
fn what_would_be_told_can_be_had_as_lines() {
    let (house, agent) = House::with_agent("one");
    assert_eq!(
        programs::run(notify(&house, &[])).expect_ok(),
        "",
        "nothing waits"
    );
    let item = asks(&agent, "a.txt");
    let said = programs::run(notify(&house, &["--json"]));
    said.expect_ok();
    assert_eq!(
        said.json(),
        json!({"kind": "first", "text": "Plexus: one asks for “Write a file”", "agentId": "one", "pendingId": item, "waiting": 1})
    );
    // Where there is no desktop, and where its program fails, the line is on standard error.
    let mut without = notify(&house, &[]);
    without.env("PATH", "");
    let mut failing = notify(&house, &["--notifier", "/nonexistent/notifier"]);
    failing.stdin(Stdio::null());
    for command in [without, failing] {
        let said = programs::run(command);
        said.expect_ok();
        assert_contains(&said.stderr, "Plexus: one asks for “Write a file”");
    }
    // A program of this name on the path is the desktop's.
    let folder = house.gateway.home().join("bin");
    std::fs::create_dir(&folder).expect("a folder");
    let desktop = Desktop::of(&house);
    let script = format!(
        "#!/bin/sh\nprintf '%s|%s|%s\\n' \"$1\" \"$2\" \"$3\" > '{}'\n",
        desktop.told.display()
    );
    let send = folder.join("notify-send");
    write_program(&send, script);
    if cfg!(target_os = "linux") {
        let mut with = notify(&house, &[]);
        with.env("PATH", format!("{}:/usr/bin:/bin", folder.display()));
        programs::run(with).expect_ok();
        assert_eq!(
            desktop.told(),
            ["--app-name=Plexus|--|Plexus: one asks for “Write a file”"]
        );
    }
}

/// A `notify-send` that shows one notification after another: the first stays until it is told to go, of the second the
/// person presses the button.
#[cfg(target_os = "linux")]
#[test]
fn button_of_a_notification_opens_the_card() {
    let house = House::open();
    let folder = house.gateway.home().join("bin");
    std::fs::create_dir(&folder).expect("a folder");
    let write = |name: &str, script: &str| {
        write_program(&folder.join(name), format!("#!/bin/sh\n{script}\n"));
    };
    let desktop = Desktop::of(&house);
    let told = desktop.told.display();
    write(
        "notify-send",
        &format!(
            r#"case "$*" in --help) echo '  -A, --action=[NAME=]Text...'; exit ;; esac
            if [ ! -e '{told}' ]; then
              trap "echo closed >> '{told}'; exit" INT
              printf '%s|%s|%s\n' "$1" "$2" "$4" >> '{told}'
              while :; do sleep 0.05; done
            fi
            printf '%s|%s|%s\n' "$1" "$2" "$4" >> '{told}'
            echo open"#
        ),
    );
    let opened = folder.join("opened");
    let kept = opened.display();
    write(
        "xdg-open",
        &format!("printf %s \"$1\" > '{kept}.new' && mv '{kept}.new' '{kept}'"),
    );
    let agent = house.gateway.agent("one");
    let mut command = notify(&house, &["--follow", "--remind-after", "1"]);
    command.env("PATH", format!("{}:/usr/bin:/bin", folder.display()));
    let _running = Running(command.stderr(Stdio::null()).spawn().expect("it starts"));
    let item = asks(&agent, "a.txt");
    let url = until("an address", || std::fs::read_to_string(&opened).ok());
    let card = format!("/admin/approvals/{item}#plx_link_");
    assert_contains(&url, &card);
    let first = "--app-name=Plexus|--action=open=Open the card|Plexus: one asks for “Write a file”";
    let second = first.replace("asks", "still waits");
    let mut told = desktop.until_told(3);
    assert_eq!(told.remove(0), first);
    told.sort();
    assert_eq!(
        told,
        [second.as_str(), "closed"],
        "one with a button at a time"
    );
    assert_eq!(
        agent.status(&item).at("/state"),
        "pending",
        "nothing is decided"
    );
}
