//! What an agent does next: as data beside the words of each refusal, and as a line that this very reader can run.

use crate::house::{House, READ, WRITE};
use plexus_tests::programs::{Said, command, run};
use plexus_tests::texts::assert_contains;
use plexus_tests::{Response, binaries};
use serde_json::{Value, json};
use std::path::Path;

/// The action of a refusal, whose words are there beside it.
#[track_caller]
fn action(refused: &Response) -> Value {
    let error = refused.json()["error"].clone();
    assert!(error["next"].is_string(), "{error}");
    error["nextAction"].clone()
}

#[test]
fn refusals_say_what_next_as_data() {
    let (house, agent) = House::with_reader("careful");
    let gone = agent.invoke("workspace.nothing", json!({}));
    assert_eq!(
        action(&gone)["kind"],
        "look_up",
        "an id that is not in view names the list"
    );
    let unfit = agent.invoke(READ, json!({"path": 7}));
    assert_eq!(action(&unfit), json!({"kind": "look_up", "id": READ}));
    let missing = agent.invoke(READ, json!({"path": "nobody.md"}));
    assert_eq!(action(&missing), json!({"kind": "read_first", "id": READ}));
    let outside = agent.invoke(READ, json!({"path": "../etc/passwd"}));
    assert_eq!(action(&outside), json!({"kind": "look_up", "id": READ}));

    let input = json!({"path": "new.md", "content": "first line"});
    let body = json!({"id": WRITE, "input": input});
    let asks = agent.invoke_body(body.clone());
    let item = asks.json()["error"]["pendingId"].clone();
    assert_eq!(
        action(&asks),
        json!({"kind": "wait", "id": WRITE, "pendingId": item})
    );
    let id = item.as_str().expect("an item");
    house.owner().deny(id, "not there");
    let denied = agent.invoke_body(body);
    assert_eq!(action(&denied), json!({"kind": "stop", "id": WRITE}));

    house.gateway.cli(["pause"]).expect_ok();
    let paused = agent.invoke(READ, json!({"path": "notes/today.md"}));
    assert_eq!(action(&paused)["kind"], "stop");
    house.gateway.cli(["resume"]).expect_ok();
    // The control: a call that succeeds has none.
    let done = agent.invoke(READ, json!({"path": "notes/today.md"}));
    assert!(done.expect_ok().get("error").is_none());
}

/// A line in the shell of somebody who knows no more than their PATH.
fn shell(house: &House, path: &str, line: &str) -> Said {
    let mut shell = command(Path::new("/bin/sh"), house.gateway.home());
    shell.env("PATH", path).arg("-c").arg(line);
    run(shell)
}

/// The line that a command said to run next.
#[track_caller]
fn next(said: &Said) -> String {
    let mut lines = said.stderr.lines();
    let Some(line) = lines.find_map(|line| line.strip_prefix("next: ")) else {
        panic!("{said}");
    };
    line.to_owned()
}

/// Two agents with launchers, so that the bare command is nobody's: Claude Code has its own on the PATH, Codex knows its
/// path, and a third types flags.
#[test]
fn printed_line_runs_as_its_reader_types_it() {
    let house = House::open();
    for kind in ["claude-code", "codex"] {
        let connect = ["connect", "--type", kind, "--here", "--yes"];
        house.gateway.cli(connect).expect_ok();
    }
    let (home, state) = (house.gateway.home(), house.gateway.state());
    let plugin = home.join(".claude/skills/plexus-claude-code/bin");
    let claudes = format!("{}:/usr/bin:/bin", plugin.display());
    let codex = state.join("agents/codex/bin/plexus-codex");
    let plexus = binaries::path("plexus");
    let flags = format!(
        "{} --home {} --agent codex",
        plexus.display(),
        state.display()
    );
    let callers = [
        (&*claudes, "plexus-claude-code".to_owned()),
        ("/usr/bin:/bin", codex.display().to_string()),
        ("/usr/bin:/bin", flags),
    ];
    // The control: a bare command is refused where two agents are enrolled.
    let bare = format!("PLEXUS_HOME={} {} list", state.display(), plexus.display());
    shell(&house, "/usr/bin:/bin", &bare).expect_status(64);
    for (n, (path, typed)) in callers.into_iter().enumerate() {
        let call = format!("{typed} {WRITE} path=new-{n}.md content=x --wait 0");
        let asked = shell(&house, path, &call);
        let wait = next(asked.expect_status(75));
        assert!(wait.starts_with(&format!("{typed} wait pend_")), "{asked}");
        let json = shell(&house, path, &format!("{call} --json")).json();
        assert_eq!(json["error"]["next"], wait.as_str(), "{json}");
        let still = shell(&house, path, &format!("{wait} --wait 0"));
        assert_eq!(next(still.expect_status(75)), wait);
        let item = wait.rsplit(' ').next().expect("an id");
        house.owner().approve(item, "once");
        shell(&house, path, &wait).expect_ok();
        assert_eq!(house.workspace.read(&format!("new-{n}.md")), "x");

        let unfit = shell(
            &house,
            path,
            &format!("{typed} {READ} --input '{{\"path\":7}}'"),
        );
        shell(&house, path, &next(unfit.expect_status(1))).expect_ok();
        for gone in [
            "describe workspace.nothing",
            "workspace.nothing",
            "nonsense",
        ] {
            let gone = shell(&house, path, &format!("{typed} {gone}"));
            shell(&house, path, &next(&gone)).expect_ok();
        }
        let skill = shell(&house, path, &format!("{typed} skill"));
        assert_contains(skill.expect_ok(), &format!("`{typed} list`"));
    }
    // Who is enrolled beside others is told to say who it is.
    let connected = house.owner().connect("third", &[READ]);
    let code = connected["code"].as_str().expect("a code");
    let enroll = format!(
        "{} --home {} enroll {code}",
        plexus.display(),
        state.display()
    );
    let enrolled = shell(&house, "/usr/bin:/bin", &enroll);
    shell(&house, "/usr/bin:/bin", &next(&enrolled)).expect_ok();
}

/// Who speaks HTTP may have no command at all.
#[test]
fn next_of_the_wire_is_a_request() {
    let (house, agent) = House::with_reader("careful");
    let next = |refused: Response| {
        let error = refused.json()["error"].clone();
        let path = error["next"]
            .as_str()
            .and_then(|next| next.strip_prefix("GET "));
        let path = path.unwrap_or_else(|| panic!("{error}"));
        agent.client().get(path).expect_ok()
    };
    let item = agent.invoke(WRITE, json!({"path": "new.md", "content": "x"}));
    let id = item.json()["error"]["pendingId"].clone();
    house
        .owner()
        .deny(id.as_str().expect("an item"), "not there");
    assert_eq!(next(item)["state"], "denied");
    for refused in [
        agent.invoke("workspace.nothing", json!({})),
        agent.invoke(READ, json!({"path": 7})),
        agent.invoke("workspace.how-to-use", json!({})),
    ] {
        assert!(next(refused)["manifest"].is_object());
    }
}

/// The owner's command says `--home` again where it was typed.
#[test]
fn owners_next_line_runs_as_it_is() {
    let house = House::open();
    let program = binaries::path("plexusctl");
    let home = house.gateway.state();
    let typed = format!("{} --home {}", program.display(), home.display());
    let missing = "pend_00000000-0000-4000-8000-000000000000";
    let shown = shell(
        &house,
        "/usr/bin:/bin",
        &format!("{typed} approvals show {missing}"),
    );
    let line = next(shown.expect_status(1));
    assert_eq!(line, format!("{typed} approvals list"));
    shell(&house, "/usr/bin:/bin", &line).expect_ok();
    // The control: without the flag it is another home.
    shell(
        &house,
        "/usr/bin:/bin",
        &line.replace(&typed, &program.display().to_string()),
    )
    .expect_status(69);
}
