//! Boards whose tasks build on one another: what a run begins with, what is made again after a kill, and what the owner gets
//! of it. The real Codex in the cage of its runs.

use crate::orchestration::{CREATE, Office, RUN, state, task};
use crate::prompts::slowly;
use nix::sys::signal::Signal;
use plexus_tests::{Gate, Step, waiting::until};
use serde_json::{Value, json};

/// What a person types and reads, one after the other.
#[derive(Default)]
struct Transcript(String);

impl Transcript {
    fn add(&mut self, typed: &str, shown: &str) -> String {
        let shown = shown.trim_end();
        self.0.push_str(&format!("$ {typed}\n{shown}\n\n"));
        shown.to_owned()
    }
}

/// A board of three under one approval, the gateway killed while the second task runs, one change set at the end: a slow
/// person reads it, applies it and takes it back.
#[test]
fn board_of_three_outlives_a_kill_and_is_applied_at_once() {
    let gate = Gate::closed();
    let mut office = Office::open([
        Step::exec("echo 'Herons are grey.' > spec.md"),
        Step::say("The spec is in spec.md."),
        Step::exec("echo half > half.txt"),
        Step::Wait(gate.clone()),
        Step::say("Lost."),
    ]);
    let before = office.desk.folder.tree();
    let tasks = [
        task("spec", &[]),
        task("build", &["spec"]),
        task("check", &["build"]),
    ];
    let create = json!({"goal": "Ship the heron.", "tasks": tasks, "changeSets": "one"});
    let id = office.approved(CREATE, &create);
    let input = json!({"board": id, "agents": ["codex.run"], "runs": 5, "parallel": 2});
    let side_by_side = office.agent().must_ask(RUN, input);
    let refused = office.desk.owner().plan(&side_by_side);
    assert!(
        refused.to_string().contains("one after another"),
        "{refused}"
    );
    let run = json!({"board": id, "agents": ["codex.run"], "runs": 5});
    let asked = json!({"id": RUN, "input": run, "purpose": "the heron is due today"});
    let asked = office
        .agent()
        .invoke_body(asked)
        .expect_error(401, "approval_required");
    let item = asked["pendingId"].as_str().expect("an item").to_owned();

    let mut told = Transcript::default();
    let cli = |office: &Office, told: &mut Transcript, line: &str| {
        let said = office.desk.gateway.cli(line.split(' '));
        told.add(&format!("plexusctl {line}"), said.expect_ok())
    };
    // The card is whole once its plan is made.
    let _ = office.desk.owner().plan(&item);
    let card = cli(&office, &mut told, &format!("approvals show {item}"));
    for words in [
        "one for all, and one change set at the end",
        "the heron is due today",
        "Do build.",
    ] {
        assert!(card.contains(words), "{words}: {card}");
    }
    let approve = ["approvals", "approve", &item];
    let shown = slowly(office.desk.gateway.on_terminal(approve), &[("[y/N]", "y")]);
    told.add(&format!("plexusctl approvals approve {item}"), &shown);
    office.agent().invoke(RUN, run).expect_ok();
    office.requests(4);
    let shown = cli(&office, &mut told, &format!("board {id}"));
    assert!(
        shown.contains("under-way: 1 waiting, 1 running, 1 done"),
        "{shown}"
    );

    office.killed(|desk| {
        gate.open();
        desk.model.instead([
            Step::exec("ls; cat spec.md; echo \"built on: $(cat spec.md)\" > build.md"),
            Step::say("It is in build.md."),
            Step::exec("ls; cat build.md; echo more >> a.txt"),
            Step::say("All is well."),
        ]);
    });
    told.add("(the gateway was killed and started again)", "");
    let board = office.once(&id, "done");
    office.desk.model.finish();
    let attempts = board["tasks"].as_array().expect("tasks").iter();
    let attempts: Vec<_> = attempts.map(|task| &task["attempts"]).collect();
    assert_eq!(attempts, [1, 2, 1], "{board}");
    // The run that was made again began with what the task before it made, and nothing of the one that died.
    let requests = office.desk.model.requests();
    let asked = requests.iter().map(Value::to_string);
    let saw: Vec<String> = asked
        .filter(|sent| sent.contains("Herons are grey"))
        .collect();
    assert!(
        !saw.is_empty() && !saw.iter().any(|sent| sent.contains("half.txt\\n")),
        "{saw:?}"
    );
    let last = office.desk.model.results().join("\n");
    assert!(last.contains("built on: Herons are grey."), "{last}");
    assert_eq!(office.desk.folder.tree(), before);
    office.all_is_over();

    // The board, the audit log and what is unknown say the same.
    let shown = cli(&office, &mut told, &format!("board {id}"));
    for words in [
        "done: 3 done",
        "build was run again: the gateway ended during its run",
        "check said: “All is well.”",
    ] {
        assert!(shown.contains(words), "{words}: {shown}");
    }
    cli(&office, &mut told, "unknown");
    let activity = cli(&office, &mut told, "activity");
    assert!(!activity.contains("NOT KNOWN"), "{activity}");
    assert!(activity.contains(" 0 unknown"), "{activity}");
    let cut_off = "failed at codex.run, nothing was done: the gateway ended";
    assert!(activity.contains(cut_off), "{activity}");

    // One change set has all of it, and says where it comes from.
    let listed = cli(&office, &mut told, "changes");
    assert_eq!(
        listed.matches("\ncs_").count() + usize::from(listed.starts_with("cs_")),
        1,
        "{listed}"
    );
    let folder = office.desk.folder.path().display().to_string();
    for words in [
        &*folder,
        "for caller",
        "prompt: “Do check.",
        "purpose: “the heron is due today”",
        "2 added, 1 edited: a.txt, build.md, spec.md",
        "applied: no",
    ] {
        assert!(listed.contains(words), "{words}: {listed}");
    }
    let set = board["tasks"][2]["changes"].as_str().expect("a change set");
    assert!(
        shown.contains(&format!("plexusctl changes apply {set}")),
        "{shown}"
    );
    let line = format!("changes apply {set}");
    let yes = [("apply this? [y/N]", "y")];
    let shown = slowly(office.desk.gateway.on_terminal(line.split(' ')), &yes);
    told.add(&format!("plexusctl {line}"), &shown);
    assert!(shown.contains("prompt: “Do check."), "{shown}");
    assert_eq!(office.desk.folder.read("a.txt"), "one\nmore\n");
    assert_eq!(
        office.desk.folder.read("build.md"),
        "built on: Herons are grey.\n"
    );
    let (_, undo) = shown
        .rsplit_once("to undo it: plexusctl ")
        .expect("the way back");
    let undo = undo.trim();
    let yes = [("do this? [y/N]", "y")];
    let back = slowly(office.desk.gateway.on_terminal(undo.split(' ')), &yes);
    told.add(&format!("plexusctl {undo}"), &back);
    assert_eq!(office.desk.folder.tree(), before);
    #[expect(
        clippy::print_stdout,
        reason = "the transcript, for who asks with --nocapture"
    )]
    {
        println!("{}", told.0);
    }
}

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
    assert!(
        plan.to_string()
            .contains("with what the tasks that it needs changed"),
        "{plan}"
    );
    assert_eq!(plan["warnings"], json!([]), "{plan}");
    office.desk.owner().approve(&item, "once");
    office.agent().invoke(RUN, run).expect_ok();
    let board = office.once(&id, "done");
    let seen = office.desk.model.results().join("\n");
    assert_eq!(seen.matches("base\n").count(), 3, "{seen}");
    assert!(
        seen.contains("b.txt") && !seen.contains("old.txt"),
        "{seen}"
    );
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
    let early = cli(&["changes", "apply", set(3), "--yes"]);
    assert!(
        early.stderr.contains(&format!("builds on {}", set(0))),
        "{early}"
    );
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
        let processes = office.desk.gateway.workers();
        let found: Vec<_> = processes
            .iter()
            .filter(|process| name.starts_with(&process.name))
            .collect();
        assert!(!found.is_empty(), "{name}: {processes:?}");
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
    until("the end of what it started", || {
        let left = office.desk.gateway.workers();
        left.iter()
            .all(|process| process.name != "codex")
            .then_some(())
    });
}
