//! The disk under runs of coding agents: a run has its bound, and all runs leave the gateway room to record.

use crate::coding_agents::{CODEX, Desk};
use crate::host_tools::{begun, ended};
use plexus_tests::small_disk::SmallDisk;
use plexus_tests::texts::assert_contains;
use plexus_tests::{Gateway, Step};
use serde_json::{Value, json};
use std::path::Path;

/// Fills so many megabytes, and stays.
fn fill(megabytes: u32) -> Step {
    Step::exec(&format!(
        "yes | head -c {megabytes}000000 > $HOME/filled; sleep 1000"
    ))
}

/// The folders of runs.
fn runs(state: &Path) -> Vec<String> {
    let listed = std::fs::read_dir(state.join("workers/codex/runs/writer")).expect("a folder");
    let names = listed.map(|entry| entry.expect("an entry").file_name().into_string());
    let names = names.map(|name| name.expect("text"));
    names.filter(|name| name.starts_with("evt-")).collect()
}

fn failed(desk: &Desk, input: &Value) -> Value {
    let reply = desk.approved("run", input).json();
    assert_eq!(reply["ok"], false, "{reply}");
    reply["error"].clone()
}

#[test]
fn run_beyond_its_disk_is_ended_in_words() {
    let desk = Desk::set(CODEX, [fill(200)], &["disk=100"]);
    let input = json!({"prompt": "Fill the disk."});
    let item = desk.asked("run", &input);
    let plan = desk.owner().plan(&item).to_string();
    assert!(plan.contains("at most 100 MiB"), "{plan}");
    desk.owner().approve(&item, "once");
    let error = desk.agent.invoke("codex.run", input).json()["error"].clone();
    assert_eq!(error["detail"]["reason"], "over_limit", "{error}");
    assert_eq!(error["effect"], "none", "{error}");
    let words = "more of the disk than the source's field disk allows";
    assert!(error["message"].to_string().contains(words), "{error}");
    assert_eq!(runs(&desk.gateway.state()), Vec::<String>::new());
    // The control: what stays below the bound comes to an answer.
    desk.model.then([
        Step::exec("yes | head -c 9000000 > nine"),
        Step::say("Made."),
    ]);
    let made = desk.run(&json!({"prompt": "Make less."}));
    assert_eq!(made["changes"]["added"], 1, "{made}");
    // Its thread fills the disk in a later turn, and is gone with what it filled.
    desk.model.then([fill(200)]);
    let thread = &made["thread"];
    let run = begun(&desk, &json!({"prompt": "Fill it now.", "thread": thread}));
    let error = ended(&desk, &run)["result"]["error"].clone();
    assert_eq!(error["detail"]["reason"], "over_limit", "{error}");
    assert_eq!(error["effect"], "partial", "{error}");
    desk.model.then([Step::say("Anew.")]);
    let anew = desk.run(&json!({"prompt": "Go on.", "thread": thread}));
    assert_ne!(&anew["thread"], thread);
    let warnings = anew["warnings"].to_string();
    assert!(warnings.contains("the run began a new one"), "{anew}");
}

#[test]
fn bound_on_the_disk_is_a_number() {
    let desk = Desk::open(CODEX, []);
    for wrong in ["disk=much", "disk=1", "disk=8192.5"] {
        let set = ["sources", "set", "codex", wrong, "--yes"];
        let said = desk.gateway.cli(set);
        said.expect_status(1);
        assert_contains(&said.stderr, "route.disk is no number of MiB");
    }
    desk.gateway
        .must_cli(["sources", "set", "codex", "disk=64", "--yes"]);
}

#[test]
fn runs_leave_the_gateway_room_on_its_disk() {
    let test = "agent_disk::runs_leave_the_gateway_room_on_its_disk";
    SmallDisk::with(test, 800 << 20, |disk| {
        let gateway = Gateway::builder().start_in(disk.home());
        let desk = Desk::at(gateway, CODEX, [fill(800)], &[]);
        let error = failed(&desk, &json!({"prompt": "Fill the disk."}));
        assert_eq!(error["detail"]["reason"], "disk_full", "{error}");
        let words = error["message"].to_string();
        assert!(words.contains("less than 512 MiB"), "{error}");
        assert_eq!(runs(&desk.gateway.state()), Vec::<String>::new());
        // The gateway never lacked room: it recorded that, and goes on.
        desk.agent.must("codex.models", json!({}));
        // Another program fills the disk: no run begins, and all else goes on.
        let filler = disk.path().join("filler");
        std::fs::write(&filler, vec![0; 400 << 20]).expect("it fits");
        let error = failed(&desk, &json!({"prompt": "Begin."}));
        assert_eq!(error["detail"]["reason"], "disk_full", "{error}");
        assert_eq!(error["effect"], "none", "{error}");
        desk.agent.must("codex.models", json!({}));
        std::fs::remove_file(&filler).expect("it is there");
        desk.model.then([Step::say("Begun.")]);
        assert_eq!(desk.run(&json!({"prompt": "Begin."}))["text"], "Begun.");
    });
}
