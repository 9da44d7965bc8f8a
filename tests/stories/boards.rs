//! Boards whose tasks build on one another: what a run begins with, what is made again after a kill, and what the owner gets
//! of it. The real Codex in the cage of its runs.

use crate::orchestration::{CREATE, Office, RUN, state, task};
use nix::sys::signal::Signal;
use plexus_tests::texts::{assert_contains, assert_lacks};
use plexus_tests::{Gate, Step, waiting::until_true};
use serde_json::{Value, json};
use std::fs;

/// Each task has its own change set and sees those of the tasks that it needs; they are applied in their order.
#[test]
fn task_sees_what_the_tasks_that_it_needs_made() {
    let office = Office::open([]);
    // By what a run is asked, because two of them are side by side.
    office.desk.model.by_rule(|sent| {
        let of = |words: &str| sent.to_string().contains(words);
        let is_told = of("function_call_output");
        match (is_told, of("Do join."), of("Do left."), of("Do right.")) {
            (true, true, ..) => Step::say("Joined."),
            (true, ..) => Step::say("Done."),
            (false, true, ..) => {
                Step::exec("cat base.txt left.txt right.txt && ls docs; echo join >> base.txt")
            }
            (false, _, true, _) => Step::exec("cat base.txt > left.txt; rm docs/old.txt"),
            (false, _, _, true) => Step::exec("cat base.txt > right.txt"),
            _ => Step::exec("echo base > base.txt; chmod +x base.txt"),
        }
    });
    let tasks = [
        task("base", &[]),
        task("left", &["base"]),
        task("right", &["base"]),
        task("join", &["left", "right"]),
    ];
    let id = office.approved(CREATE, &json!({"goal": "Both.", "tasks": tasks}));
    let run = json!({"board": id, "agents": ["codex.run"], "parallel": 2});
    let item = office.agent().must_ask(RUN, run.clone());
    let plan = office.desk.owner().plan(&item);
    assert_contains(
        &plan.to_string(),
        "with what the tasks that it needs changed",
    );
    assert_eq!(plan["warnings"], json!([]), "{plan}");
    office.desk.owner().approve(&item, "once");
    office.agent().must(RUN, run);
    let board = office.once(&id, "done");
    let seen = office.desk.model.results().join("\n");
    assert_eq!(seen.matches("base\n").count(), 3, "{seen}");
    assert_contains(&seen, "b.txt");
    assert_lacks(&seen, "old.txt");
    let set = |task: usize| {
        board["tasks"][task]["changes"]
            .as_str()
            .expect("a change set")
    };
    let files = |task: usize| &board["tasks"][task]["files"];
    assert_eq!(
        [0, 1, 2, 3].map(files),
        [1, 2, 1, 1],
        "each its own: {board}"
    );

    // One that comes too early names the one to begin with, and nothing is done.
    let cli = |line: &[&str]| office.desk.gateway.cli(line.iter().copied());
    let shown = cli(&["changes", set(3)]);
    let first = format!("begin with: plexusctl changes apply {}", set(0));
    assert!(shown.expect_ok().contains(&first), "{shown}");
    assert_contains(&shown.stdout, "\n  builds on: cs_");
    let early = cli(&["changes", "apply", set(3), "--yes"]);
    assert_contains(&early.stderr, &format!("builds on {}", set(0)));
    // No agent learns of that one.
    let input = json!({"changes": set(3)});
    let other = &["codex.changes.read"];
    let other = office.desk.gateway.agent_with("other", other);
    let read = other.must("codex.changes.read", input.clone());
    assert_lacks(&read.to_string(), set(0));
    let early = other.invoke("codex.apply", input);
    let error = early.expect_error(409, "precondition_changed");
    assert_contains(&error.to_string(), "builds on another change set, ");
    assert_lacks(&early.text(), set(0));
    assert!(!office.desk.folder.has("base.txt"));
    for task in [0, 1, 2, 3] {
        cli(&["changes", "apply", set(task), "--yes"]).expect_ok();
    }
    assert_eq!(office.desk.folder.read("base.txt"), "base\njoin\n");
    assert_eq!(office.desk.folder.read("left.txt"), "base\n");
    assert!(!office.desk.folder.has("docs/old.txt"));
    let shown = cli(&["board", &id]);
    assert_eq!(shown.expect_ok().matches("; applied").count(), 4, "{shown}");
}

/// A change set that a board under way may begin with stays; then each goes before what it builds on.
#[test]
fn set_that_a_board_needs_is_not_dropped() {
    let gate = Gate::closed();
    let office = Office::open([
        Step::exec("echo base > base.txt"),
        Step::say("Done."),
        Step::Wait(gate.clone()),
        Step::exec("echo more >> base.txt"),
        Step::say("Done."),
    ]);
    let tasks = [task("base", &[]), task("next", &["base"])];
    let id = office.approved(CREATE, &json!({"goal": "Both.", "tasks": tasks}));
    office.approved(
        RUN,
        &json!({"board": id, "agents": ["codex.run"], "runs": 4}),
    );
    office.requests(3);
    let set = |board: &Value, task: usize| {
        let set = board["tasks"][task]["changes"].as_str();
        set.unwrap_or_else(|| panic!("a change set: {board}"))
            .to_owned()
    };
    let base = set(&office.board(&id), 0);
    let drops = |set: &str| office.desk.gateway.cli(["changes", "drop", set, "--yes"]);
    let early = drops(&base);
    assert_contains(&early.stderr, &format!("board {id} is under way"));
    gate.open();
    let next = set(&office.once(&id, "done"), 1);
    let needed = drops(&base);
    assert_contains(&needed.stderr, &format!("plexusctl changes drop {next}"));
    // Boards that do not answer may need it.
    let boards = office.desk.gateway.state().join("workers/cc-master/boards");
    let away = boards.with_extension("away");
    fs::rename(&boards, &away).expect("a folder");
    fs::write(&boards, "").expect("a file");
    let silent = drops(&next);
    for words in [
        "cc-master does not say whether",
        "sources disable cc-master",
    ] {
        assert_contains(&silent.stderr, words);
    }
    fs::remove_file(&boards).expect("a file");
    fs::rename(&away, &boards).expect("a folder");
    // So may one that cannot be read until its file is repaired.
    let kept = boards.join(format!("{id}.json"));
    let whole = fs::read(&kept).expect("a board");
    fs::write(&kept, "{").expect("written");
    let unread = format!("its board {id} cannot be read, until you repair or remove its file: ");
    assert_contains(&drops(&next).stderr, &unread);
    fs::write(&kept, whole).expect("written");
    drops(&next).expect_ok();
    drops(&base).expect_ok();
    office.all_is_over();
}

/// Two tasks that make different things of one file: the one that needs both does not begin, and says which.
#[test]
fn task_that_needs_two_versions_of_a_file_fails_by_name() {
    let office = Office::open([]);
    office.desk.model.by_rule(
        |sent| match sent.to_string().contains("function_call_output") {
            true => Step::say("Done."),
            false if sent.to_string().contains("Do left.") => Step::exec("echo left > a.txt"),
            false => Step::exec("echo right > a.txt"),
        },
    );
    let tasks = [
        task("left", &[]),
        task("right", &[]),
        task("join", &["left", "right"]),
    ];
    let id = office.approved(CREATE, &json!({"goal": "Both.", "tasks": tasks}));
    office.approved(
        RUN,
        &json!({"board": id, "agents": ["codex.run"], "runs": 5}),
    );
    let board = office.once(&id, "unfinished");
    assert_eq!(
        ["left", "right", "join"].map(|task| state(&board, task)),
        ["done", "done", "failed"],
        "{board}"
    );
    let error = board["tasks"][2]["error"].as_str().expect("an error");
    assert!(error.contains("make different things of a.txt"), "{error}");
    // So does the owner's apply of the second one.
    let [left, right] = [0, 1].map(|task| board["tasks"][task]["changes"].as_str().expect("a set"));
    assert!(error.contains(left) && error.contains(right), "{error}");
    let apply = |set: &str| office.desk.gateway.cli(["changes", "apply", set, "--yes"]);
    apply(left).expect_ok();
    let refused = apply(right);
    assert_contains(&refused.stderr, &format!("as the change set {left} has it"));
    // No agent learns of that one, its own or not.
    let other = &["codex.changes.read"];
    let other = office.desk.gateway.agent_with("other", other);
    for agent in [&other, office.agent()] {
        let reply = agent.invoke("codex.apply", json!({"changes": right}));
        let error = reply.expect_error(409, "precondition_changed");
        let message = error["message"].to_string();
        assert_contains(&message, "a.txt changed since;");
        assert!(!message.contains("evt_"), "{reply}");
        assert!(!reply.text().contains(left), "{reply}");
    }
    assert_eq!(office.desk.model.requests().len(), 4, "it never asked");
    office.all_is_over();
}

/// The program, and then the worker, of a run are killed: the task is run again. A third death fails it.
#[test]
fn killed_run_is_made_again_by_itself() {
    let gates = [(); 5].map(|()| Gate::closed());
    let steps = gates.iter().map(|gate| Step::Wait(gate.clone()));
    let steps: Vec<Step> = steps.flat_map(|wait| [wait, Step::say("One.")]).collect();
    let office = Office::open([]);
    office.desk.model.then(steps);
    let tasks = json!([task("one", &[])]);
    let id = office.approved(CREATE, &json!({"goal": "Through all.", "tasks": tasks}));
    office.approved(
        RUN,
        &json!({"board": id, "agents": ["codex.run"], "runs": 9}),
    );
    let killed = |name: &str| {
        let found = office.desk.gateway.processes(name);
        assert!(!found.is_empty(), "{name}");
        found
            .iter()
            .for_each(|process| process.signal(Signal::SIGKILL));
    };
    office.requests(1);
    killed("codex");
    office.requests(2);
    let again = |board: &Value| board["tasks"][0]["again"].clone();
    let board = office.board(&id);
    assert_eq!(
        again(&board),
        "the program of its run was killed",
        "{board}"
    );
    killed("plexus-worker-codex");
    office.requests(3);
    let board = office.board(&id);
    assert_eq!(
        again(&board),
        "the worker of its source stopped during its run",
        "{board}"
    );
    killed("codex");
    let board = office.once(&id, "unfinished");
    assert_eq!(board["tasks"][0]["attempts"], 3, "{board}");
    let error = board["tasks"][0]["error"].as_str().expect("an error");
    assert!(error.ends_with("3 runs of it ended so"), "{error}");
    assert_eq!(office.desk.model.requests().len(), 3);
    office.all_is_over();
    gates.iter().for_each(Gate::open);

    // The control: a new approval counts anew.
    office.desk.model.instead([Step::say("One.")]);
    office.approved(
        RUN,
        &json!({"board": id, "agents": ["codex.run"], "runs": 1}),
    );
    office.once(&id, "done");
    until_true("the end of what it started", || {
        let left = office.desk.gateway.workers();
        left.iter().all(|process| process.name != "codex")
    });
}
