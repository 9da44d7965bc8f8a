//! Boards of tasks, carried by runs of the real Codex under one approval of the owner.

use crate::coding_agents::{CODEX, Desk};
use nix::sys::signal::Signal;
use plexus_tests::texts::{assert_contains, text_of};
use plexus_tests::{
    Agent, Gate, Step, Terminal,
    waiting::{ended, lines, until, until_true},
};
use serde_json::{Value, json};
use std::process::Stdio;

pub(crate) const CREATE: &str = "cc-master.board.create";
const STATUS: &str = "cc-master.board.status";
pub(crate) const RUN: &str = "cc-master.orchestration.run";
const DISPATCH: &str = "cc-master.agent.dispatch";
const LAUNCH: &str = "cc-master.session.launch";
const STOP: &str = "cc-master.board.stop";

/// A desk with Codex and boards.
pub(crate) struct Office {
    pub(crate) desk: Desk,
}

impl Office {
    pub(crate) fn open(steps: impl IntoIterator<Item = Step>) -> Self {
        let desk = Desk::open(CODEX, steps);
        let added = desk.gateway.cli(["sources", "add", "cc-master"]);
        assert!(added.expect_ok().contains("cc-master serves"), "{added:?}");
        desk.owner().must_grant("caller", STATUS, "until-revoked");
        Self { desk }
    }

    pub(crate) fn agent(&self) -> &Agent {
        &self.desk.agent
    }

    /// Has the owner approve a call, and makes it; the board that it answers.
    pub(crate) fn approved(&self, capability: &str, input: &Value) -> String {
        let done = self
            .agent()
            .must_approved(&self.desk.owner(), capability, input.clone());
        let board = done["output"]["board"].as_str();
        board
            .unwrap_or_else(|| panic!("a board: {done}"))
            .to_owned()
    }

    pub(crate) fn board(&self, id: &str) -> Value {
        let status = self.agent().invoke(STATUS, json!({"board": id}));
        status.expect_ok()["output"]["board"].clone()
    }

    /// The board, once its state is that.
    pub(crate) fn once(&self, id: &str, state: &str) -> Value {
        until(&format!("a board that is {state}"), || {
            let board = self.board(id);
            (board["state"] == state).then_some(board)
        })
    }

    /// Kills the gateway with all that it started; `meanwhile` comes before it is back.
    pub(crate) fn killed(&mut self, meanwhile: impl FnOnce(&Desk)) {
        self.desk.gateway.kill9();
        meanwhile(&self.desk);
        self.desk.gateway.start_again();
        let agent = &self.desk.agent;
        self.desk.agent = self.desk.gateway.back(agent);
    }

    /// Waits until the model was asked so often.
    pub(crate) fn requests(&self, count: usize) {
        until_true("a request to the model", || {
            self.desk.model.requests().len() == count
        });
    }

    /// Holds that no approval is open, and that nobody is to say what became of a call.
    #[track_caller]
    pub(crate) fn all_is_over(&self) {
        let calls = self.desk.owner().get("/admin/api/calls").expect_ok();
        assert_eq!(calls["conversations"], json!([]), "{calls}");
        let unknown = self.desk.gateway.cli(["unknown"]);
        assert_contains(unknown.expect_ok(), "no call has an unknown");
    }

    /// The intents of runs, oldest first.
    pub(crate) fn runs(&self) -> Vec<Value> {
        let mut events = self.desk.owner().audit(1000);
        events.retain(|e| e["capabilityId"] == "codex.run" && e["detail"]["phase"] == "intent");
        events.reverse();
        events
    }
}

pub(crate) fn task(id: &str, needs: &[&str]) -> Value {
    json!({"id": id, "title": format!("The {id} task"), "prompt": format!("Do {id}."), "agent": "codex.run", "needs": needs})
}

pub(crate) fn state<'b>(board: &'b Value, task: &str) -> &'b str {
    let mut tasks = board["tasks"].as_array().expect("tasks").iter();
    let found = tasks.find(|one| one["id"] == task);
    found.and_then(|one| one["state"].as_str()).unwrap_or("")
}

/// No card: no approval could make such a board.
#[test]
fn board_with_circular_needs_is_refused_at_once() {
    let office = Office::open([]);
    for (tasks, words) in [
        (
            [task("a", &["b"]), task("b", &["a"])],
            "wait for each other",
        ),
        ([task("a", &[]), task("b", &["c"])], "not on the board"),
    ] {
        let reply = office
            .agent()
            .invoke(CREATE, json!({"goal": "Never.", "tasks": tasks}));
        let error = reply.expect_error(422, "schema_validation_failed");
        assert!(error["message"].to_string().contains(words), "{reply}");
    }
    assert_eq!(office.desk.owner().pending().len(), 0, "no card");
}

#[test]
fn orchestration_survives_a_killed_gateway() {
    let gate = Gate::closed();
    let mut office = Office::open([
        Step::exec("echo spec > spec.txt"),
        Step::say("The spec says heron."),
        Step::Wait(gate.clone()),
        Step::say("Lost."),
    ]);
    let tasks = [
        task("spec", &[]),
        task("build", &["spec"]),
        task("check", &["build", "spec"]),
    ];
    let create = json!({"goal": "Ship the heron.", "tasks": tasks});
    let item = office.agent().must_ask(CREATE, create.clone());
    let plan = office.desk.owner().plan(&item);
    let shown = plan["preview"]["diff"].as_str().expect("an outline");
    assert_contains(
        shown,
        "build (codex.run, after spec):\n    The build task\n    Do build.\n",
    );
    office.desk.owner().approve(&item, "once");
    let made = office.agent().must(CREATE, create);
    let id = text_of(&made["output"]["board"]);
    assert_eq!(office.board(&id)["state"], "new");

    // One approval, and the second run is under way.
    let run = json!({"board": id, "agents": ["codex.run"], "runs": 5, "minutes": 60});
    assert_eq!(office.approved(RUN, &run), id);
    until_true("the second run", || office.desk.model.requests().len() == 3);
    let board = office.board(&id);
    assert_eq!(
        ["spec", "build", "check"].map(|task| state(&board, task)),
        ["done", "running", "waiting"],
        "{board}"
    );
    let drawn = office.desk.gateway.cli(["board", &id]);
    let drawn = drawn.expect_ok();
    assert_contains(drawn, "Ship the heron.");
    assert_contains(drawn, "under-way");

    // The run that was cut off is made again, and the board goes on under the same approval.
    office.killed(|desk| {
        gate.open();
        desk.model.instead([
            Step::say("It is built."),
            Step::exec("cat spec.txt || echo ABSENT"),
            Step::say("It is checked."),
        ]);
    });
    let board = office.once(&id, "done");
    office.desk.model.finish();
    let attempts: Vec<_> = board["tasks"].as_array().expect("tasks").iter().collect();
    let attempts: Vec<_> = attempts.iter().map(|task| &task["attempts"]).collect();
    assert_eq!(attempts, [1, 2, 1], "{board}");
    assert_eq!(board["tasks"][2]["message"], "It is checked.");
    // Its run had the answers of both, and the file that the first one made; the folder has not.
    let sent = office
        .desk
        .model
        .requests()
        .last()
        .expect("a request")
        .to_string();
    assert_contains(&sent, "The spec says heron.");
    assert_contains(&sent, "It is built.");
    let seen = office.desk.model.results();
    let seen = seen.last().expect("a result");
    assert!(seen.contains("spec") && !seen.contains("ABSENT"), "{seen}");
    assert!(!office.desk.folder.path().join("spec.txt").exists());
    assert_eq!(board["tasks"][0]["files"], 1, "{board}");

    // Each run is on record as a child of the orchestration that made it.
    let runs = office.runs();
    assert_eq!(runs.len(), 4);
    let orchestrations: Vec<Value> = office.desk.owner().audit(1000);
    let orchestrations: Vec<_> = orchestrations
        .iter()
        .filter(|e| e["capabilityId"] == RUN && e["detail"]["phase"] == "intent")
        .map(|e| &e["id"])
        .collect();
    let parents: Vec<_> = runs.iter().map(|e| &e["detail"]["parent"]).collect();
    let [only] = orchestrations[..] else {
        panic!("one orchestration: {orchestrations:?}")
    };
    assert_eq!(parents, [only; 4]);
    office.all_is_over();
    assert!(
        runs.iter()
            .all(|e| e["detail"]["via"] == "cc-master" && e["agentId"] == "caller"),
        "{runs:?}"
    );

    let drawn = office.desk.gateway.cli(["board", &id]);
    let drawn = drawn.expect_ok();
    for words in [
        "done: 3 done",
        "· build",
        "build was run again: the gateway ended during its run",
        "plexusctl changes apply cs_",
    ] {
        assert!(drawn.contains(words), "{words}: {drawn}");
    }
    let listed = office.desk.gateway.cli(["board"]);
    assert!(listed.expect_ok().contains(&id), "{listed:?}");
}

/// An office whose first two turns wait, each for a gate.
fn two_gated() -> (Office, [Gate; 2]) {
    let gates = [Gate::closed(), Gate::closed()];
    let office = Office::open([
        Step::Wait(gates[0].clone()),
        Step::say("One."),
        Step::Wait(gates[1].clone()),
        Step::say("Two."),
    ]);
    (office, gates)
}

#[test]
fn independent_tasks_run_side_by_side_and_stop() {
    let (office, gates) = two_gated();
    let tasks = [
        task("left", &[]),
        task("right", &[]),
        task("join", &["left", "right"]),
    ];
    let id = office.approved(CREATE, &json!({"goal": "Both.", "tasks": tasks}));
    let hears = office.agent().events();
    let run = json!({"board": id, "agents": ["codex.run"], "runs": 3, "parallel": 2});
    office.approved(RUN, &run);
    // Both are asked before any is answered.
    until_true("two runs side by side", || {
        office.desk.model.requests().len() == 2
    });
    let heard = hears.wait_until("source_event", |data| {
        data["payload"]["tasks"]["running"] == 2
    });
    assert_eq!(heard["payload"]["board"], json!(id));
    let twice = office
        .agent()
        .must_ask(RUN, json!({"board": id, "agents": ["codex.run"]}));
    let plan = office.desk.owner().plan(&twice);
    assert_contains(&plan["error"].to_string(), "under way already");

    // Stopped by its agent, both runs end, and the third is not made.
    office.approved(STOP, &json!({"board": id}));
    let board = office.once(&id, "unfinished");
    assert_eq!(board["why"], "it was stopped", "{board}");
    assert_eq!(state(&board, "left"), "failed", "{board}");
    assert_eq!(office.desk.model.requests().len(), 2);
    office.all_is_over();
    for gate in gates {
        gate.open();
    }

    // One task alone.
    office.desk.model.then([Step::say("Left.")]);
    let one = json!({"board": id, "task": "left", "agents": ["codex.run"]});
    office.approved(DISPATCH, &one);
    let board = office.once(&id, "unfinished");
    assert_eq!(
        ["left", "right", "join"].map(|task| state(&board, task)),
        ["done", "failed", "skipped"],
        "{board}"
    );

    // And one run without a board of the agent's own.
    office.desk.model.then([Step::say("Launched.")]);
    let launched = office.approved(
        LAUNCH,
        &json!({"prompt": "Say it.", "agents": ["codex.run"]}),
    );
    let board = office.once(&launched, "done");
    assert_eq!(board["tasks"][0]["message"], "Launched.", "{board}");
    assert_eq!(office.runs().len(), 4);
    office.all_is_over();
}

#[test]
fn pause_suspends_a_board_and_revoke_ends_its_runs() {
    let gate = Gate::closed();
    let office = Office::open([
        Step::Wait(gate.clone()),
        Step::say("First."),
        Step::say("Second."),
    ]);
    let tasks = [task("one", &[]), task("two", &[]), task("three", &["two"])];
    let id = office.approved(CREATE, &json!({"goal": "In a row.", "tasks": tasks}));
    let run = json!({"board": id, "agents": ["codex.run"], "runs": 2});
    office.approved(RUN, &run);
    until_true("the first run", || office.desk.model.requests().len() == 1);
    office.desk.gateway.cli(["pause"]).expect_ok();
    gate.open();
    let owner = office.desk.owner();
    let path = format!("/admin/api/boards/{id}");
    let seen = |state: &str| {
        until(&format!("a board that is {state}"), || {
            let board = owner.get(&path).expect_ok()["board"].clone();
            (board["state"] == state).then_some(board)
        })
    };
    // As every call, the run ends with the pause; its task waits with the board, and has not failed.
    let waits = |board: &Value| ["one", "two", "three"].map(|task| state(board, task).to_owned());
    until_true("a task that waits", || {
        let board = owner.get(&path).expect_ok()["board"].clone();
        board["state"] == "suspended" && waits(&board) == ["ready", "ready", "waiting"]
    });
    assert_eq!(office.desk.model.requests().len(), 1);
    office.desk.model.instead([Step::say("First.")]);
    office.desk.gateway.cli(["resume"]).expect_ok();
    // The approval permits two runs: the one that the pause ended, and the one that made up for it.
    let board = seen("unfinished");
    assert_eq!(board["why"], "the approval's runs are used up", "{board}");
    assert_eq!(waits(&board), ["done", "ready", "waiting"], "{board}");
    assert_eq!(
        board["tasks"][0]["again"], "a pause ended its run",
        "{board}"
    );
    office.desk.model.finish();
    office.all_is_over();

    // What is left goes on under a new approval, which a revoke ends with its run.
    let gate = Gate::closed();
    office
        .desk
        .model
        .then([Step::Wait(gate.clone()), Step::say("Lost.")]);
    office.approved(RUN, &json!({"board": id, "agents": ["codex.run"]}));
    office.requests(3);
    owner.revoke_agent("caller");
    let board = seen("unfinished");
    // Not before: the run could end by itself first, and be done.
    gate.open();
    let error = board["tasks"][1]["error"].as_str().unwrap_or_default();
    assert!(error.contains("revoked what allowed it"), "{board}");
    assert_eq!(waits(&board), ["done", "failed", "skipped"], "{board}");
    assert_eq!(office.desk.model.requests().len(), 3);
    office.all_is_over();
}

#[test]
fn owner_follows_a_board_and_stops_it() {
    let (office, gates) = two_gated();
    let tasks = [
        task("one", &[]),
        task("two", &["one"]),
        task("three", &["two"]),
    ];
    let id = office.approved(CREATE, &json!({"goal": "In a row.", "tasks": tasks}));
    let cli = |arguments: &[&str]| office.desk.gateway.cli(arguments.iter().copied());
    // Nothing carries it yet.
    cli(&["board", &id, "--stop"]).expect_status(1);
    let run = json!({"board": id, "agents": ["codex.run"], "runs": 3});
    office.approved(RUN, &run);
    let requests = |count: usize| {
        until_true("a request to the model", || {
            office.desk.model.requests().len() == count
        });
    };
    requests(1);
    let mut follow = office.desk.gateway.on_terminal(["board", &id, "--follow"]);
    let mut person = Terminal::start(&follow, 120, 40);
    person.until_shows("following; Ctrl-C leaves, and the board goes on");
    let follow = follow.stdin(Stdio::null()).stdout(Stdio::piped());
    let mut follow = follow.spawn().expect("the command");
    let mut shown = lines(follow.stdout.take().expect("its output"));
    let mut shows = |words: &str| {
        assert!(shown.any(|line| line.contains(words)), "it shows {words}");
    };
    shows("In a row.");
    shows("under-way: 2 waiting, 1 running");
    let named = format!(" is task one: plexusctl board {id}");
    until_true("the call's task", || {
        cli(&["calls", "list"]).expect_ok().contains(&named)
    });
    gates[0].open();
    requests(2);
    shows("under-way: 1 waiting, 1 running, 1 done");
    let stopped = cli(&["board", &id, "--stop"]);
    let stopped = stopped.expect_ok();
    for words in [
        "2 runs used, 1 left",
        "asked to stop, and perhaps done all the same: codex.run (evt_",
    ] {
        assert!(stopped.contains(words), "{words}: {stopped}");
    }
    // It ends by itself once the board is over.
    shows("unfinished: 1 done, 1 failed, 1 skipped");
    assert!(ended("the command", &mut follow).success());
    assert!(person.end().success(), "{}", person.picture());
    let board = office.board(&id);
    assert_eq!(
        ["one", "two", "three"].map(|task| state(&board, task)),
        ["done", "failed", "skipped"],
        "{board}"
    );
    let calls = office.desk.owner().get("/admin/api/calls").expect_ok();
    assert_eq!(calls["conversations"], json!([]), "{calls}");
    assert_eq!(office.runs().len(), 2);
    cli(&["board", &id, "--stop"]).expect_status(1);
    gates[1].open();
}

#[test]
fn damaged_board_is_named_and_the_others_are_served() {
    let mut office = Office::open([Step::say("Done.")]);
    let board = |goal: &str| json!({"goal": goal, "tasks": [task("one", &[])]});
    let whole = office.approved(CREATE, &board("Whole."));
    let cut = office.approved(CREATE, &board("Cut."));
    let file = format!("workers/cc-master/boards/{cut}.json");
    std::fs::write(office.desk.gateway.state().join(file), "{\"id\":").expect("written");
    office.desk.gateway.kill9();
    office.desk.gateway.start_again();
    let agent = &office.desk.agent;
    office.desk.agent = office.desk.gateway.back(agent);
    let listed = until("the boards", || {
        let reply = office.agent().invoke(STATUS, json!({}));
        (reply.at("/ok") == true).then(|| reply.at("/output"))
    });
    assert_eq!(listed["boards"][0]["id"], json!(whole), "{listed}");
    assert_eq!(listed["unread"][0]["board"], json!(cut), "{listed}");
    let said = office.desk.gateway.cli(["board"]);
    assert_contains(said.expect_ok(), &format!("{cut} cannot be read"));
    let asked = office.agent().invoke(STATUS, json!({"board": cut}));
    let refused = asked.expect_error(200, "transport_error");
    assert!(refused.to_string().contains("damaged"), "{refused}");
    // The other one is carried.
    office.approved(
        RUN,
        &json!({"board": whole, "agents": ["codex.run"], "runs": 1}),
    );
    office.once(&whole, "done");
}

#[test]
fn board_ends_at_the_tokens_of_its_approval() {
    let office = Office::open([Step::say("One.")]);
    office.desk.model.by_rule(|_| Step::exec("sleep 1"));
    let tasks = json!([
        task("one", &[]),
        task("two", &["one"]),
        task("three", &["two"])
    ]);
    let id = office.approved(CREATE, &json!({"goal": "Thrifty.", "tasks": tasks}));
    // An answer of the story's model is 110 tokens.
    let input = json!({"board": id, "agents": ["codex.run"], "maxTokens": 150});
    let item = office.agent().must_ask(RUN, input.clone());
    let plan = office.desk.owner().plan(&item).to_string();
    assert!(plan.contains("150 tokens in all runs together"), "{plan}");
    office.desk.owner().approve(&item, "once");
    office.agent().must(RUN, input);
    let board = office.once(&id, "unfinished");
    let states = ["one", "two", "three"].map(|task| state(&board, task));
    assert_eq!(states, ["done", "failed", "skipped"], "{board}");
    assert_contains(&board.to_string(), "ended at its maxTokens");
    // The control: an approval without a limit carries the rest.
    office.desk.model.by_rule(|_| Step::say("Done."));
    office.approved(RUN, &json!({"board": id, "agents": ["codex.run"]}));
    office.once(&id, "done");
}

/// Codex and Claude Code on one board, where the graph allows at once; money bounds the program that counts it.
#[test]
fn codex_and_claude_share_a_board_that_money_bounds() {
    let office = Office::open([]);
    let desk = &office.desk;
    let secrets = plexus_tests::Folder::empty();
    secrets.write("key", "sk-story\n");
    let path = desk.folder.path().display().to_string();
    let secret = format!("key={}", secrets.path().join("key").display());
    let binary = format!("binary={}", plexus_tests::coding_agents::claude().display());
    let server = format!("server={}", desk.model.base());
    let add = [
        "sources",
        "add",
        "claudecode-folder",
        &path,
        "--id",
        "claudecode",
    ];
    let with = ["--secret", &secret, "--set", &binary, "--set", &server];
    desk.gateway.cli(add.into_iter().chain(with)).expect_ok();
    let by = |id: &str, agent: &str, needs: &[&str]| {
        let mut task = task(id, needs);
        task["agent"] = agent.into();
        task
    };
    let tasks = [
        by("left", "codex.run", &[]),
        by("right", "claudecode.run", &[]),
        by("join", "claudecode.run", &["left", "right"]),
    ];
    let id = office.approved(CREATE, &json!({"goal": "Both kinds.", "tasks": tasks}));
    let both = ["codex.run", "claudecode.run"];
    let gates = [Gate::closed(), Gate::closed()];
    desk.model.then([
        Step::Wait(gates[0].clone()),
        Step::say("The egret is white."),
        Step::Wait(gates[1].clone()),
        Step::say("The heron is grey."),
        Step::say("Joined."),
    ]);
    let run = json!({"board": id, "agents": both, "parallel": 2});
    office.approved(RUN, &run);
    until_true("both kinds side by side", || {
        desk.model.requests().len() == 2
    });
    let kinds = desk.model.requests();
    let of_claude = kinds.iter().filter(|sent| sent["messages"].is_array());
    assert_eq!(of_claude.count(), 1, "one of each");
    gates.iter().for_each(Gate::open);
    let board = office.once(&id, "done");
    assert_eq!(board["tasks"][2]["message"], "Joined.", "{board}");
    let sent = desk.model.requests().last().expect("a request").to_string();
    assert_contains(&sent, "egret is white");
    assert_contains(&sent, "heron is grey");

    // Claude alone: the money of the approval ends the board.
    let dear = [
        by("one", "claudecode.run", &[]),
        by("two", "claudecode.run", &["one"]),
    ];
    let id = office.approved(CREATE, &json!({"goal": "Dear.", "tasks": dear}));
    desk.model.by_rule(|_| Step::bash("true"));
    let input = json!({"board": id, "agents": ["claudecode.run"], "maxCost": 0.001});
    let item = office.agent().must_ask(RUN, input.clone());
    let plan = desk.owner().plan(&item).to_string();
    assert_contains(&plan, "0.001 US dollars in all runs together");
    desk.owner().approve(&item, "once");
    office.agent().must(RUN, input);
    let board = office.once(&id, "unfinished");
    assert_contains(&board.to_string(), "ended at its maxCost");
    assert_ne!(state(&board, "two"), "done", "{board}");
}

#[test]
fn board_that_two_sources_answer_for_is_asked_of_the_one_that_is_named() {
    let office = Office::open([]);
    let id = office.approved(
        CREATE,
        &json!({"goal": "Mine.", "tasks": [task("one", &[])]}),
    );
    let cli = |words: &[&str]| {
        office
            .desk
            .gateway
            .cli(["board", &id].iter().chain(words).copied())
    };
    assert!(cli(&[]).expect_ok().contains("of cc-master"), "the control");
    let add = ["sources", "add", "cc-master", "--id", "another"];
    office.desk.gateway.cli(add).expect_ok();
    let state = office.desk.gateway.state();
    let [mine, theirs] =
        ["cc-master", "another"].map(|of| state.join("workers").join(of).join("boards"));
    std::fs::create_dir_all(&theirs).expect("a folder");
    let file = format!("{id}.json");
    let text = std::fs::read_to_string(mine.join(&file)).expect("the board");
    std::fs::write(theirs.join(&file), text.replace("Mine.", "Theirs.")).expect("written");
    for words in [&[][..], &["--stop"]] {
        let refused = format!("{:?}", cli(words));
        assert!(refused.contains("name one of them"), "{refused}");
    }
    for (source, goal) in [("cc-master", "Mine."), ("another", "Theirs.")] {
        let said = cli(&["--source", source]);
        assert!(said.expect_ok().contains(goal), "{said:?}");
        // The beginning of an id stands for it.
        let short = ["board", &id[..10], "--source", source];
        let said = office.desk.gateway.cli(short);
        assert!(said.expect_ok().contains(goal), "{said:?}");
    }
    let other = format!("{id}0");
    for none in ["brd_abcdefg", &*other] {
        let said = office.desk.gateway.cli(["board", none]);
        let why = format!("why: No source has a board \"{none}\".\n");
        assert_contains(&said.expect_status(1).stderr, &why);
    }
}

/// The workers of boards and of runs are killed in the middle of a run. It changed a copy alone, so nobody is asked what became of
/// it: the board makes it again, and board, `unknown` and `activity` say so alike.
#[test]
fn killed_workers_leave_no_unknown_outcome_on_a_board() {
    let gate = Gate::closed();
    let office = Office::open([Step::Wait(gate.clone()), Step::say("Lost.")]);
    let tasks = [task("spec", &[]), task("build", &["spec"])];
    let id = office.approved(CREATE, &json!({"goal": "Ship it.", "tasks": tasks}));
    let run = json!({"board": id, "agents": ["codex.run"], "runs": 3, "minutes": 60});
    office.approved(RUN, &run);
    office.requests(1);
    let again = [Step::say("The spec says heron."), Step::say("It is built.")];
    office.desk.model.instead(again);
    // The kernel keeps 15 bytes of a name: those of `codex` and of `cc-master`.
    let all = office.desk.gateway.workers().into_iter();
    let victims: Vec<_> = all
        .filter(|process| process.name == "plexus-worker-c")
        .collect();
    assert!(victims.len() >= 4, "{victims:?}");
    victims
        .iter()
        .for_each(|victim| victim.signal(Signal::SIGKILL));
    gate.open();
    let board = office.once(&id, "done");
    office.desk.model.finish();
    let attempts = [0, 1].map(|at| board["tasks"][at]["attempts"].as_u64());
    assert_eq!(attempts, [Some(2), Some(1)], "{board}");
    let why = "the worker of its source stopped during its run";
    assert_eq!(board["tasks"][0]["again"], why, "{board}");
    office.all_is_over();
    let said = office.desk.gateway.cli(["activity"]);
    let said = said.expect_ok();
    let line = "failed at codex.run, nothing was done: its worker stopped";
    assert_contains(said, line);
    assert_contains(said, "0 unknown, 1 failed");
}
