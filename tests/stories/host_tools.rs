//! The host's tools in runs of coding agents: the real programs in the cages of their runs call what the owner granted to
//! their nested agent, and wait for the owner as any agent does.

use crate::coding_agents::{CLAUDE, CODEX, Desk, Kind};
use plexus_tests::texts::{assert_contains, assert_like};
use plexus_tests::{
    Folder, Gate, Owner, Step,
    waiting::{until, until_true},
};
use serde_json::{Value, json};

const READ: &str = "workspace.read";
const WRITE: &str = "workspace.write";

/// A call of a tool of the host's, as the model of this agent writes it.
fn tool(kind: &Kind, name: &str, arguments: Value) -> Step {
    let server = match kind.id {
        // Codex writes an underscore for what is no letter of a name.
        "codex" => "plexum_host_caller",
        _ => "plexum-host-caller",
    };
    Step::Call(format!("mcp__{server}__{name}"), arguments)
}

fn nested(kind: &Kind) -> String {
    format!("caller.via.{}", kind.id)
}

/// A desk with a second folder as a workspace, and the nested agent connected to these of its capabilities alone.
fn desk(kind: Kind, allowed: &[&str]) -> (Desk, Folder) {
    desk_with(kind, allowed, &[])
}

fn desk_with(kind: Kind, allowed: &[&str], more: &[&str]) -> (Desk, Folder) {
    let desk = Desk::set(kind, [], more);
    let other = Folder::empty();
    other.write("heron.txt", "grey\n");
    let path = other.path().display().to_string();
    let added = desk.gateway.cli([
        "sources",
        "add",
        "workspace-dir",
        &path,
        "--id",
        "workspace",
    ]);
    added.expect_ok();
    if !allowed.is_empty() {
        let agent = nested(&desk.kind);
        let mut words = vec!["connect", &agent, "--reach", "selected"];
        words.extend(allowed.iter().flat_map(|id| ["--allow", id]));
        desk.gateway.cli(words).expect_ok();
    }
    (desk, other)
}

/// Begins a run that the owner has approved; its id.
pub(crate) fn begun(desk: &Desk, input: &Value) -> String {
    let item = desk.asked("run", input);
    desk.owner().approve(&item, "once");
    let begun = desk
        .agent
        .invoke_body(json!({"id": desk.kind.of("run"), "input": input, "async": true}));
    begun.expect_status(202);
    begun.text_at("/run/runId")
}

pub(crate) fn ended(desk: &Desk, run: &str) -> Value {
    let path = format!("/invoke/status?runId={run}&wait=30");
    desk.agent.client().get(&path).expect_ok()
}

/// The item of the nested agent that waits.
fn waits(owner: &Owner, agent: &str) -> String {
    until("the call of the nested agent", || {
        let items = owner.pending();
        let item = items.into_iter().find(|item| item["agentId"] == agent)?;
        Some(item["pendingId"].as_str().expect("an id").to_owned())
    })
}

#[test]
fn nested_codex_reads_what_it_was_granted() {
    nested_agent_reads_what_it_was_granted(CODEX);
}

#[test]
fn nested_claude_reads_what_it_was_granted() {
    nested_agent_reads_what_it_was_granted(CLAUDE);
}

fn nested_agent_reads_what_it_was_granted(kind: Kind) {
    let (desk, _other) = desk(kind, &[READ]);
    let file = json!({"path": "heron.txt"});
    desk.model.then([
        tool(&desk.kind, "workspace_read", file.clone()),
        tool(
            &desk.kind,
            "workspace_write",
            json!({"path": "x.txt", "content": "x"}),
        ),
        Step::say("Grey."),
    ]);
    let input = json!({"prompt": "Which colour has the heron?"});
    let item = desk.asked("run", &input);
    let plan = desk.owner().plan(&item);
    let agent = nested(&desk.kind);
    let facts = plan["preview"]["facts"].to_string();
    assert!(facts.contains(&format!("{agent} may {READ};")), "{plan}");
    desk.owner().approve(&item, "once");
    let done = desk.agent.must(&desk.kind.of("run"), input);
    assert_eq!(done["output"]["text"], "Grey.", "{done}");
    desk.model.finish();
    let results = desk.model.results();
    assert!(results[0].contains("grey"), "{results:?}");
    let recorded = desk
        .owner()
        .audited(|event| event["agentId"] == agent && event["capabilityId"] == READ);
    assert_eq!(recorded["outcome"], "ok", "{recorded}");
    // What it was not granted is no tool of its, and asks nobody.
    assert!(!results[1].contains("ok\":true"), "{results:?}");
    let asked = |event: &Value| event["agentId"] == agent && event["capabilityId"] == WRITE;
    assert!(!desk.owner().audit(200).iter().any(asked));

    // The next turn of the thread has its tools as well.
    desk.model.then([
        tool(&desk.kind, "workspace_read", file),
        Step::say("Still grey."),
    ]);
    let again = json!({"prompt": "And now?", "thread": done["output"]["thread"]});
    let again = desk.run(&again);
    assert_eq!(again["thread"], done["output"]["thread"], "{again}");
    let results = desk.model.results();
    assert_contains(results.last().expect("a result"), "grey");
}

#[test]
fn nested_agent_without_a_grant_has_no_tools() {
    let (desk, _other) = desk(CODEX, &[]);
    desk.model.then([
        tool(&desk.kind, "workspace_read", json!({"path": "heron.txt"})),
        Step::say("No such tool."),
    ]);
    let input = json!({"prompt": "Read."});
    let item = desk.asked("run", &input);
    let plan = desk.owner().plan(&item);
    let told = "none; plexusctl connect caller.via.codex --reach selected --allow CAPABILITY";
    assert_contains(&plan["preview"]["facts"].to_string(), told);
    desk.owner().approve(&item, "once");
    desk.agent.must(&desk.kind.of("run"), input);
    let results = desk.model.results();
    assert!(!results[0].contains("grey"), "{results:?}");
}

#[test]
fn nested_codex_write_waits_for_the_owner_and_is_done_once() {
    nested_write_waits_for_the_owner_and_is_done_once(CODEX);
}

#[test]
fn nested_claude_write_waits_for_the_owner_and_is_done_once() {
    nested_write_waits_for_the_owner_and_is_done_once(CLAUDE);
}

fn nested_write_waits_for_the_owner_and_is_done_once(kind: Kind) {
    let (desk, other) = desk(kind, &[WRITE]);
    let write = json!({"path": "new.txt", "content": "from the run"});
    desk.model.then([
        tool(&desk.kind, "workspace_write", write),
        Step::say("Written."),
    ]);
    let run = begun(&desk, &json!({"prompt": "Write it."}));
    let agent = nested(&desk.kind);
    let item = waits(&desk.owner(), &agent);
    assert!(!other.has("new.txt"));
    let card = desk.owner().card(&item);
    assert_eq!(card["agentId"], agent, "{card}");
    // A follower of the run sees that it waits.
    let path = format!("/invoke/status?runId={run}&after=0");
    until_true("word of the waiting call", || {
        let going = desk.agent.client().get(&path).expect_ok();
        assert_eq!(going["status"], "running", "{going}");
        going["progress"].to_string().contains(&item)
    });
    desk.owner().approve(&item, "once");
    let done = ended(&desk, &run);
    assert_eq!(done["result"]["output"]["text"], "Written.", "{done}");
    desk.model.finish();
    assert_eq!(other.read("new.txt"), "from the run");
    let results = desk.model.results();
    assert!(results[0].contains("\"ok\":true"), "{results:?}");
    let outcomes = desk.owner().audit(200).into_iter().filter(|event| {
        event["agentId"] == agent
            && event["capabilityId"] == WRITE
            && event["detail"]["phase"] == "outcome"
    });
    assert_eq!(outcomes.count(), 1);

    // A denial is an answer too.
    desk.model.then([
        tool(
            &desk.kind,
            "workspace_write",
            json!({"path": "b.txt", "content": "b"}),
        ),
        Step::say("Denied."),
    ]);
    let run = begun(&desk, &json!({"prompt": "Write another."}));
    let item = waits(&desk.owner(), &agent);
    desk.owner().deny(&item, "not this one");
    assert_eq!(ended(&desk, &run)["result"]["output"]["text"], "Denied.");
    let results = desk.model.results();
    assert_contains(results.last().expect("a result"), "not this one");
    assert!(!other.has("b.txt"));
}

#[test]
fn waiting_call_is_withdrawn_when_its_run_ends() {
    let (desk, other) = desk(CODEX, &[WRITE]);
    let write = json!({"path": "late.txt", "content": "late"});
    desk.model
        .then([tool(&desk.kind, "workspace_write", write)]);
    let run = begun(&desk, &json!({"prompt": "Write it."}));
    let item = waits(&desk.owner(), "caller.via.codex");
    desk.gateway.cli(["calls", "stop", &run]).expect_ok();
    assert_eq!(ended(&desk, &run)["result"]["error"]["code"], "cancelled");
    let late = json!({"action": "approve", "trustWindow": {"kind": "once"}});
    let late = desk.owner().decide(&item, late);
    late.expect_error(404, "unknown_capability");
    assert!(!other.has("late.txt"));
    // Nobody listens at the run's pipes any more: a program that had survived would be told so.
    let runs = desk.gateway.state().join("workers/codex/runs/writer");
    let folder = std::fs::read_dir(&runs)
        .expect("runs")
        .flatten()
        .find(|entry| entry.file_name().to_string_lossy().starts_with("evt-"))
        .expect("the run's folder");
    let calls = folder.path().join("host/calls");
    use std::os::unix::fs::OpenOptionsExt as _;
    let opened = std::fs::File::options()
        .write(true)
        .custom_flags(nix::libc::O_NONBLOCK)
        .open(calls);
    assert_eq!(opened.unwrap_err().raw_os_error(), Some(nix::libc::ENXIO));
}

#[test]
fn codex_run_that_waits_for_the_owner_keeps_its_changes_at_a_stop() {
    waiting_run_keeps_its_changes_at_a_stop(CODEX);
}

#[test]
fn claude_run_that_waits_for_the_owner_keeps_its_changes_at_a_stop() {
    waiting_run_keeps_its_changes_at_a_stop(CLAUDE);
}

fn waiting_run_keeps_its_changes_at_a_stop(kind: Kind) {
    let (mut desk, other) = desk(kind, &[WRITE]);
    let half = (desk.kind.exec)("echo half >> a.txt");
    let write = json!({"path": "late.txt", "content": "late"});
    let write = tool(&desk.kind, "workspace_write", write);
    let gate = Gate::closed();
    let steps = [half, write, Step::Wait(gate.clone()), Step::say("never")];
    desk.model.then(steps);
    let run = begun(&desk, &json!({"prompt": "Write it."}));
    let item = waits(&desk.owner(), &nested(&desk.kind));
    desk.stop_keeps_half(&run);
    gate.open();
    // It is withdrawn.
    let late = json!({"action": "approve", "trustWindow": {"kind": "once"}});
    let late = desk.owner().decide(&item, late);
    late.expect_error(404, "unknown_capability");
    assert!(!other.has("late.txt"));
}

#[test]
fn item_of_two_runs_outlives_the_first_to_end() {
    let (desk, other) = desk(CODEX, &[WRITE]);
    let write = || {
        let write = json!({"path": "new.txt", "content": "from a run"});
        tool(&CODEX, "workspace_write", write)
    };
    desk.model.then([write(), write()]);
    let runs = ["One.", "Two."].map(|prompt| begun(&desk, &json!({"prompt": prompt})));
    let item = waits(&desk.owner(), "caller.via.codex");
    for run in &runs {
        let path = format!("/invoke/status?runId={run}&after=0");
        until_true("the run waits", || {
            let going = desk.agent.client().get(&path).expect_ok();
            going["progress"].to_string().contains(&item)
        });
    }
    desk.gateway.cli(["calls", "stop", &runs[0]]).expect_ok();
    let stopped = ended(&desk, &runs[0]);
    assert_eq!(stopped["result"]["error"]["code"], "cancelled", "{stopped}");
    desk.model.then([Step::say("Written.")]);
    desk.owner().approve(&item, "once");
    let done = ended(&desk, &runs[1]);
    assert_eq!(done["result"]["output"]["text"], "Written.", "{done}");
    assert_eq!(other.read("new.txt"), "from a run");
}

#[test]
fn turn_without_its_tool_server_fails() {
    // The owner's own arguments take the server away: Codex says nothing of it and ends well.
    let more = ["extraArgs=-c mcp_servers={}"];
    let (desk, _other) = desk_with(CODEX, &[READ], &more);
    desk.model.then([Step::say("I have no tools.")]);
    let input = json!({"prompt": "Read."});
    let item = desk.asked("run", &input);
    desk.owner().approve(&item, "once");
    let failed = desk.agent.invoke("codex.run", input).json();
    let like = json!({"error": {"detail": {"reason": "no_host_tools"}, "effect": "none"}});
    assert_like(&failed, &like);
    desk.model.finish();
}
