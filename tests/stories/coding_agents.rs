//! Coding agents as sources: the real programs in the cages of their runs, a scripted model behind the source's egress, and
//! a folder that stays as it is until a change set is applied.

use crate::host_tools::{begun, ended};
use crate::house::{House, WRITE, note};
use plexus_protocol::Digest;
use plexus_tests::texts::{assert_contains, assert_lacks, assert_like};
use plexus_tests::{
    Agent, Folder, Gate, Gateway, Model, Owner, Response, Step, coding_agents as programs,
    waiting::until_true,
};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

const KEY: &str = "sk-story-7f41c0de";

/// A coding agent.
pub(crate) struct Kind {
    /// The source and, with `-folder`, its kind.
    pub(crate) id: &'static str,
    binary: fn() -> PathBuf,
    /// What each of its runs may reach.
    profile: &'static str,
    /// A step that runs a command.
    pub(crate) exec: fn(&str) -> Step,
}

pub(crate) const CODEX: Kind = Kind {
    id: "codex",
    binary: programs::codex,
    profile: include_str!("../../sandbox-profiles/children/codex.sb"),
    exec: Step::exec,
};
pub(crate) const CLAUDE: Kind = Kind {
    id: "claudecode",
    binary: programs::claude,
    profile: include_str!("../../sandbox-profiles/children/claude.sb"),
    exec: Step::bash,
};

impl Kind {
    pub(crate) fn of(&self, capability: &str) -> String {
        format!("{}.{capability}", self.id)
    }
}

pub(crate) struct Desk {
    pub(crate) kind: Kind,
    pub(crate) gateway: Gateway,
    pub(crate) folder: Folder,
    pub(crate) model: Model,
    pub(crate) agent: Agent,
}

impl Desk {
    /// A folder that a coding agent may work on copies of, and an agent that may ask for that.
    pub(crate) fn open(kind: Kind, steps: impl IntoIterator<Item = Step>) -> Self {
        Self::set(kind, steps, &[])
    }

    /// The same with further fields.
    pub(crate) fn set(kind: Kind, steps: impl IntoIterator<Item = Step>, more: &[&str]) -> Self {
        Self::at(Gateway::start(), kind, steps, more)
    }

    /// The same at a gateway that is there.
    pub(crate) fn at(
        gateway: Gateway,
        kind: Kind,
        steps: impl IntoIterator<Item = Step>,
        more: &[&str],
    ) -> Self {
        Self::with_model(gateway, kind, Model::start(steps), more)
    }

    /// The same with this model server.
    pub(crate) fn with_model(gateway: Gateway, kind: Kind, model: Model, more: &[&str]) -> Self {
        let folder = Folder::empty();
        for (path, text) in [
            ("a.txt", "one\n"),
            ("docs/b.txt", "two\n"),
            ("docs/old.txt", "old\n"),
        ] {
            folder.write(path, text);
        }
        let secrets = Folder::empty();
        secrets.write("key", format!("{KEY}\n"));
        let mut set = vec![
            format!("binary={}", (kind.binary)().display()),
            format!("server={}", model.base()),
        ];
        if kind.id == "codex" && !more.iter().any(|field| field.starts_with("model=")) {
            // What Codex chooses itself has other tools: `Step::script`.
            set.push("model=gpt-5.5".to_owned());
        }
        let secret = format!("key={}", secrets.path().join("key").display());
        let path = folder.path().display().to_string();
        let folders = format!("{}-folder", kind.id);
        let mut words = vec!["sources", "add", &folders, &path, "--id", kind.id];
        words.extend(["--secret", &secret]);
        let set = set.iter().map(String::as_str).chain(more.iter().copied());
        words.extend(set.flat_map(|set| ["--set", set]));
        let added = gateway.cli(words);
        assert_contains(added.expect_ok(), &format!("{} serves", kind.id));
        let agent = gateway.agent_with(
            "caller",
            &[
                &kind.of("changes.read"),
                &kind.of("models"),
                &kind.of("threads.list"),
            ],
        );
        Self {
            kind,
            gateway,
            folder,
            model,
            agent,
        }
    }

    pub(crate) fn owner(&self) -> Owner {
        self.gateway.owner()
    }

    /// What the audit log says of the sandboxes of runs.
    fn cages(&self) -> Vec<Value> {
        let mut all = self.owner().audit(1000);
        all.retain(|event| event["detail"]["event"] == "run.cage");
        all.into_iter()
            .map(|mut event| event["detail"].take())
            .collect()
    }

    /// Asks, has the owner approve, and calls.
    pub(crate) fn approved(&self, capability: &str, input: &Value) -> Response {
        let item = self.asked(capability, input);
        self.owner().approve(&item, "once");
        self.agent.invoke(&self.kind.of(capability), input.clone())
    }

    /// Asks; the item that waits for the owner.
    pub(crate) fn asked(&self, capability: &str, input: &Value) -> String {
        self.agent
            .must_ask(&self.kind.of(capability), input.clone())
    }

    /// Asks for what cannot be carried out as things are: told at once, in `words`, and the owner has no card.
    #[track_caller]
    fn misfits(&self, capability: &str, input: Value, words: &str) {
        let reply = self.agent.invoke(&self.kind.of(capability), input);
        let error = reply.expect_error(409, "precondition_changed");
        assert!(error["message"].to_string().contains(words), "{reply}");
        assert!(error["pendingId"].is_null(), "{reply}");
        assert_eq!(self.owner().pending().len(), 0, "no card");
    }

    /// The copy of a run that has this file.
    pub(crate) fn copy_with(&self, name: &str) -> Option<PathBuf> {
        let runs = format!("workers/{}/runs/writer", self.kind.id);
        let copies = std::fs::read_dir(self.gateway.state().join(runs)).ok()?;
        let mut copies = copies.flatten().map(|run| run.path().join("root"));
        copies.find(|copy| copy.join(name).exists())
    }

    /// Puts so many small files into the folder, which are copied for a while.
    pub(crate) fn fill(&self, count: u32) {
        for number in 0..count {
            self.folder
                .write(&format!("many/{}/{number}", number % 200), "x");
        }
    }

    /// Stops the gateway while a run is under way, which keeps `echo half >> a.txt` in a change set.
    #[track_caller]
    pub(crate) fn stop_keeps_half(&mut self, run: &str) {
        let ended = self.stopped_at(run);
        let error = &ended["result"]["error"];
        assert_eq!(error["code"], "cancelled", "{ended}");
        let message = error["message"].to_string();
        assert_contains(&message, "The gateway was stopped: ");
        self.has_half(error);
    }

    /// Stops the gateway while a run is under way, and starts it again; how the run ended.
    #[track_caller]
    pub(crate) fn stopped_at(&mut self, run: &str) -> Value {
        assert!(self.gateway.stop().success());
        self.gateway.start_again();
        let agent = self.gateway.back(&self.agent);
        let path = format!("/invoke/status?runId={run}&wait=20");
        let ended = agent.client().get(&path).expect_ok();
        assert_lacks(
            &self.gateway.stderr(),
            "was under way when the daemon ended",
        );
        ended
    }

    /// Holds that the change set that an error names has that line.
    #[track_caller]
    pub(crate) fn has_half(&self, error: &Value) {
        let set = error["detail"]["changes"].as_str().expect("a change set");
        assert!(error["message"].to_string().contains(set), "{error}");
        let shown = self.gateway.cli(["changes", set]);
        assert_contains(shown.expect_ok(), "+half");
    }

    pub(crate) fn run(&self, input: &Value) -> Value {
        self.approved("run", input).expect_ok()["output"].clone()
    }

    fn listed(folder: &Path) -> Vec<String> {
        let listed = std::process::Command::new("find")
            .args([".", "-type", "f"])
            .current_dir(folder)
            .output()
            .expect("find");
        let mut paths: Vec<_> = String::from_utf8(listed.stdout)
            .expect("text")
            .lines()
            .map(str::to_owned)
            .collect();
        paths.sort();
        paths
    }
}

/// What the first run does.
fn steps(kind: &Kind) -> [Step; 2] {
    let line =
        "echo more >> a.txt; rm docs/old.txt; echo new > docs/new.txt; ln -s /etc/passwd link; env";
    [(kind.exec)(line), Step::say("Changed three files.")]
}

#[test]
fn codex_run_changes_nothing_until_it_is_applied() {
    run_changes_nothing_until_it_is_applied(CODEX);
}

#[test]
fn claude_run_changes_nothing_until_it_is_applied() {
    run_changes_nothing_until_it_is_applied(CLAUDE);
}

/// A prompt that is written like a difference is no change that the owner is shown.
#[test]
fn prompt_like_a_diff_is_shown_as_text() {
    let desk = Desk::open(CODEX, []);
    let prompt = "@@ -1,2 +1,1 @@\n-and delete the tests\n+Fix the typo.\n";
    let item = desk.asked("run", &json!({"prompt": prompt}));
    let plan = desk.owner().plan(&item);
    assert_eq!(plan["preview"]["form"], "text", "{plan}");
    assert_eq!(plan["preview"]["diff"], prompt, "{plan}");
    let page = |gateway: &Gateway, item: &str| {
        gateway.console_page(&format!("/admin/console/pending/{item}"))
    };
    let shown = page(&desk.gateway, &item);
    assert!(shown.contains("-and delete the tests"), "{shown}");
    for drawn in ["class=\"del\"", "class=\"add\"", "removed:"] {
        assert!(!shown.contains(drawn), "{drawn}: {shown}");
    }
    let card = |gateway: &Gateway, item: &str| {
        gateway
            .cli(["approvals", "show", item])
            .expect_ok()
            .to_owned()
    };
    let told = card(&desk.gateway, &item);
    let line = told
        .lines()
        .find(|line| line.contains("and delete the tests"));
    assert!(
        line.is_some_and(|line| line.trim_start().starts_with('│')),
        "{told}"
    );

    // The control: a change of a file is drawn as one.
    let house = House::open();
    house.workspace.write("a.md", "old\n");
    let agent = house.reader("writer");
    let written = agent.must_ask(WRITE, note("a.md", "new\n"));
    assert_eq!(house.owner().plan(&written)["preview"]["form"], "diff");
    let shown = page(&house.gateway, &written);
    for drawn in ["class=\"del\"", "class=\"add\"", "removed:"] {
        assert!(shown.contains(drawn), "{drawn}: {shown}");
    }
    let told = card(&house.gateway, &written);
    let line = told.lines().find(|line| line.contains("new"));
    assert!(line.is_some_and(|line| !line.contains('│')), "{told}");
}

fn run_changes_nothing_until_it_is_applied(kind: Kind) {
    let steps = steps(&kind);
    let desk = Desk::open(kind, steps);
    let prompt = "Change some files.";
    let item = desk.asked("run", &json!({"prompt": prompt}));
    let plan = desk.owner().plan(&item);
    assert_eq!(plan["preview"]["diff"], prompt, "{plan}");
    assert!(plan.to_string().contains("3 files"), "{plan}");
    desk.owner().approve(&item, "once");
    let before = Desk::listed(&desk.folder.path());
    let run = desk.kind.of("run");
    let done = desk.agent.invoke(&run, json!({"prompt": prompt}));
    let done = done.expect_ok();
    desk.model.finish();
    let output = &done["output"];
    assert_eq!(output["text"], "Changed three files.", "{output}");
    let changes = &output["changes"];
    assert_eq!(
        [&changes["added"], &changes["edited"], &changes["removed"]],
        [1, 1, 1],
        "{changes}"
    );
    assert_eq!(changes["omitted"], 1, "the link");
    assert_contains(
        &output["warnings"].to_string(),
        "names that cannot be used are in no change set: link",
    );
    let id = changes["id"].as_str().expect("an id");
    let left_out = "left out: 1 link, special or unreadable file of the run";
    for line in [&["changes"][..], &["changes", id]] {
        assert_contains(desk.gateway.cli(line.iter().copied()).expect_ok(), left_out);
    }
    assert_eq!(Desk::listed(&desk.folder.path()), before);
    assert_eq!(desk.folder.read("a.txt"), "one\n");

    // The audit log holds what the run could reach, under the run's own event.
    let cages = desk.cages();
    let [cage] = &cages[..] else {
        panic!("{cages:#?}");
    };
    assert_eq!(cage["call"], done["auditId"], "{cage}");
    assert_eq!(cage["source"], desk.kind.id);
    let host = desk.model.base();
    let host = host.split("//").nth(1).expect("a host");
    assert_eq!(cage["hosts"], json!([host]));
    let programs = cage["programs"].as_array().expect("a list");
    assert!(!programs.is_empty(), "{cage}");
    for program in programs {
        assert_eq!(program["program"], json!((desk.kind.binary)()));
        let profile = Digest::of(desk.kind.profile.as_bytes());
        assert_eq!(program["profile"], profile.to_string(), "{cage}");
    }
    let told = desk.gateway.cli(["audit", "tail", "-n", "100"]);
    assert!(told.expect_ok().contains(" under the profile "), "{told:?}");

    // The key went to the model server, and neither the agent nor its commands had it.
    let sent = desk.model.credentials();
    let key = |sent: &String| sent.strip_prefix("Bearer ").unwrap_or(sent) == KEY;
    assert!(!sent.is_empty() && sent.iter().all(key), "{sent:?}");
    let environment = &desk.model.results()[0];
    assert!(!environment.contains(KEY), "{environment}");
    // Codex keeps its credential for the egress from them too.
    let is_kept = !environment.contains("PLEXUS_EGRESS_KEY");
    assert!(is_kept || desk.kind.id != "codex", "{environment}");

    // Each difference is there to be read, and applying shows all of them on its card.
    let id = &changes["id"];
    let read = desk
        .agent
        .must(&desk.kind.of("changes.read"), json!({"changes": id}));
    let files = read["output"]["files"].as_array().expect("files").clone();
    let told: Vec<_> = files
        .iter()
        .map(|file| {
            (
                file["path"].as_str().unwrap(),
                file["kind"].as_str().unwrap(),
            )
        })
        .collect();
    assert_eq!(
        told,
        [
            ("a.txt", "edited"),
            ("docs/new.txt", "added"),
            ("docs/old.txt", "removed")
        ]
    );
    assert_contains(files[0]["diff"].as_str().unwrap(), "+more");
    let some = json!({"changes": id, "paths": ["a.txt", "docs/old.txt"]});
    let item = desk.asked("apply", &some);
    let plan = desk.owner().plan(&item);
    let diff = plan["preview"]["diff"].as_str().expect("a difference");
    assert_contains(diff, "+more");
    assert_contains(diff, "-old");
    assert_lacks(diff, "new");
    desk.owner().approve(&item, "once");
    let applied = desk.agent.must(&desk.kind.of("apply"), some.clone());
    // What is applied costs the owner no second card.
    desk.misfits("apply", some, "applied already");
    assert_eq!(desk.folder.read("a.txt"), "one\nmore\n");
    assert_eq!(
        Desk::listed(&desk.folder.path()),
        ["./a.txt", "./docs/b.txt"]
    );

    // Applying runs no program.
    assert_eq!(desk.cages().len(), 1);

    // Taken back, the folder is as it was.
    let undo = json!({"id": applied["auditId"]});
    desk.approved("undo", &undo).expect_ok();
    assert_eq!(desk.folder.read("a.txt"), "one\n");
    assert_eq!(Desk::listed(&desk.folder.path()), before);
    // What no approval could carry out is told at once, and the owner is not asked.
    desk.misfits("undo", undo, "taken back already");
}

#[test]
fn file_changed_since_the_run_is_left_alone() {
    let desk = Desk::open(CODEX, steps(&CODEX));
    let done = desk.run(&json!({"prompt": "Change some files."}));
    let id = &done["changes"]["id"];
    desk.folder.write("a.txt", "somebody else's\n");
    let whole = json!({"changes": id});
    desk.misfits("apply", whole.clone(), "a.txt changed since");
    let refused = desk.agent.invoke(&desk.kind.of("apply"), whole).json();
    let next = refused["error"]["next"].to_string();
    assert_contains(&next, "the same call would be refused again");
    assert!(desk.folder.path().join("docs/old.txt").exists());
    // The other files can still come.
    let others = json!({"changes": id, "paths": ["docs/new.txt"]});
    desk.approved("apply", &others).expect_ok();
    assert_eq!(desk.folder.read("docs/new.txt"), "new\n");
    assert_eq!(desk.folder.read("a.txt"), "somebody else's\n");
}

#[test]
fn codex_thread_goes_on_in_a_fresh_copy() {
    thread_goes_on_in_a_fresh_copy(CODEX);
}

#[test]
fn claude_thread_goes_on_in_a_fresh_copy() {
    thread_goes_on_in_a_fresh_copy(CLAUDE);
}

fn thread_goes_on_in_a_fresh_copy(kind: Kind) {
    let steps = steps(&kind);
    let desk = Desk::open(kind, steps);
    let first = desk.run(&json!({"prompt": "Remember the word heron."}));
    desk.model.then([
        (desk.kind.exec)("cat a.txt; ls docs"),
        Step::say("The word is heron."),
    ]);
    let again = json!({"prompt": "Which word?", "thread": first["thread"]});
    let second = desk.run(&again);
    assert_eq!(second["thread"], first["thread"], "{second}");
    assert_eq!(second["warnings"], json!([]), "{second}");
    assert!(second["changes"]["id"].is_null(), "{second}");
    // What the model was sent has both turns; its commands saw the folder as it is.
    let sent = desk.model.requests().last().expect("a request").to_string();
    assert_contains(&sent, "heron");
    assert_contains(&sent, "Which word?");
    let seen = desk.model.results();
    let seen = seen.last().expect("a result");
    assert_contains(seen, "one");
    assert_lacks(seen, "more");
    assert_contains(seen, "old.txt");
    // Of each turn its own tokens.
    assert_eq!(
        first["usage"]["outputTokens"], second["usage"]["outputTokens"],
        "{first} {second}"
    );
    // The owner sees what each cost, and its change set.
    let told = desk.gateway.cli(["activity"]);
    for run in [&first, &second] {
        let usage = ["inputTokens", "outputTokens"].map(|kind| run["usage"][kind].as_u64());
        let tokens: u64 = usage.into_iter().flatten().sum();
        let cost = run["cost"].as_f64();
        let cost = cost.map(|cost| format!(", {cost:.4} US dollars"));
        let cost = cost.unwrap_or_default();
        assert_contains(told.expect_ok(), &format!("; {tokens} tokens{cost}; "));
        if let Some(set) = run["changes"]["id"].as_str() {
            assert_contains(told.expect_ok(), &format!(" changed: {set} ("));
        }
    }

    // A thread that nobody knows is begun anew, and the answer says so.
    desk.model.then([Step::say("Hello.")]);
    let unknown = json!({"prompt": "Hello", "thread": "00000000-0000-4000-8000-000000000000"});
    let third = desk.run(&unknown);
    assert_ne!(third["thread"], unknown["thread"]);
    assert_contains(third["warnings"][0].as_str().unwrap(), "no such thread");
}

#[test]
fn commands_of_a_run_reach_nothing_else() {
    let desk = Desk::open(CODEX, []);
    let state = desk.gateway.state().canonicalize().expect("it is there");
    let port = desk.gateway.port();
    let folder = desk.folder.path();
    let attempts = [
        format!("cat {}/connection-key", state.display()),
        format!("cat {}/secrets/codex.key", state.display()),
        format!("cat {}/a.txt", folder.display()),
        format!("echo x > {}/planted.txt", folder.display()),
        format!("(echo > /dev/tcp/127.0.0.1/{port})"),
        // macOS has none.
        #[cfg(target_os = "linux")]
        "cat /proc/1/status".to_owned(),
    ];
    let steps = attempts
        .iter()
        .map(|attempt| Step::exec(&format!("{attempt} || echo KEPT")));
    desk.model.then(steps.chain([Step::say("tried")]));
    desk.run(&json!({"prompt": "Try."}));
    desk.model.finish();
    let results = desk.model.results();
    for (attempt, result) in attempts.iter().zip(&results) {
        assert!(result.contains("KEPT"), "{attempt}: {result}");
        let control = std::process::Command::new("bash")
            .args(["-c", attempt])
            .output();
        assert!(control.expect("a shell").status.success(), "{attempt}");
    }
    assert_eq!(results.len(), attempts.len());
}

#[test]
fn cancelled_run_keeps_its_changes_in_a_set() {
    let (desk, run, gate) = half_way();
    desk.gateway.cli(["calls", "stop", &run]).expect_ok();
    let ended = ended(&desk, &run);
    let error = &ended["result"]["error"];
    assert_eq!(error["code"], "cancelled", "{ended}");
    assert_eq!(error["effect"], "none", "{ended}");
    let next = error["next"].to_string();
    assert!(next.contains("this call was stopped"), "{ended}");
    gate.open();
    assert_eq!(desk.folder.read("a.txt"), "one\n");
    // Its change set has what it did until then.
    desk.has_half(error);
    let call = ended["result"]["auditId"].as_str().expect("its event");
    let page = desk
        .gateway
        .console_page(&format!("/admin/console/activity/{call}"));
    assert_contains(&page, "if it changed anything, line by line in its");
    // Wherever it is told: not that nothing was done, and that the set is of half a run.
    let set = error["detail"]["changes"].as_str().expect("its set");
    let kept = format!("what it did until then is in the change set {set}");
    for said in [&["activity"][..], &["audit", "tail", "--lines", "50"]] {
        let said = desk.gateway.cli(said.iter().copied());
        let said = said.expect_ok();
        assert_contains(said, &kept);
        assert_lacks(said, "nothing was done");
    }
    let unfinished = "its run was ended before it was finished";
    for line in [&["changes"][..], &["changes", set]] {
        let said = desk.gateway.cli(line.iter().copied());
        assert_contains(said.expect_ok(), unfinished);
    }
    let page = format!("/admin/console/changes/{set}");
    assert_contains(&desk.gateway.console_page(&page), unfinished);
    // Another run goes on with its thread, which the error names.
    let thread = error["detail"]["thread"].as_str().expect("its thread");
    assert_contains(&error["message"].to_string(), thread);
    desk.model.instead([Step::say("Going on.")]);
    let again = desk.run(&json!({"prompt": "Go on.", "thread": thread}));
    assert_eq!(again["thread"], thread, "{again}");
    let item = desk.asked("apply", &json!({"changes": set}));
    let warnings = desk.owner().plan(&item)["warnings"].to_string();
    assert_contains(&warnings, "may be half done");
    // The undo of it is whole.
    desk.owner().approve(&item, "once");
    let apply = json!({"changes": set});
    let applied = desk.agent.must(&desk.kind.of("apply"), apply);
    let undo = [
        "undo",
        applied["auditId"].as_str().expect("its event"),
        "--yes",
    ];
    let undone = desk.gateway.cli(undo);
    assert_lacks(undone.expect_ok(), "may be half done");
    assert_contains(&undone.stdout, "-half");
}

#[test]
fn run_that_is_stopped_while_its_folder_is_copied_is_cancelled() {
    let desk = Desk::open(CODEX, []);
    desk.fill(8_000);
    let run = begun(&desk, &json!({"prompt": "Never begun."}));
    until_true("its copy", || desk.copy_with("many").is_some());
    desk.gateway.cli(["calls", "stop", &run]).expect_ok();
    let error = ended(&desk, &run)["result"]["error"].clone();
    assert_eq!(error["code"], "cancelled", "{error}");
    assert_eq!(error["effect"], "none", "{error}");
    assert!(desk.model.requests().is_empty(), "it was copied too soon");
}

/// A run that has changed a file and waits, and what lets it go on.
fn half_way() -> (Desk, String, Gate) {
    let gate = Gate::closed();
    let half = Step::exec("echo half >> a.txt");
    let steps = [half, Step::Wait(gate.clone()), Step::say("never")];
    let desk = Desk::open(CODEX, steps);
    let run = begun(&desk, &json!({"prompt": "Wait."}));
    // The model is asked once more, so the command is over.
    until_true("the command", || desk.model.requests().len() == 2);
    (desk, run, gate)
}

#[test]
fn run_whose_source_changes_keeps_its_changes() {
    let (desk, run, gate) = half_way();
    desk.gateway
        .must_cli(["sources", "set", "codex", "disk=1024", "--yes"]);
    let error = ended(&desk, &run)["result"]["error"].clone();
    gate.open();
    assert_eq!(error["code"], "cancelled", "{error}");
    let words = "ts source was disabled, changed or removed";
    assert_contains(&error["message"].to_string(), words);
    desk.has_half(&error);
    let told = desk.gateway.cli(["activity", "--only", "failed"]);
    assert_contains(told.expect_ok(), words);
}

/// Its source is in no catalogue when its end is recorded.
#[test]
fn run_whose_source_is_disabled_names_its_set() {
    let (desk, run, gate) = half_way();
    desk.gateway.must_cli(["sources", "disable", "codex"]);
    let error = ended(&desk, &run)["result"]["error"].clone();
    gate.open();
    let set = error["detail"]["changes"].as_str().expect("its set");
    let told = desk.gateway.cli(["activity", "--only", "failed"]);
    let kept = format!("what it did until then is in the change set {set}");
    assert_contains(told.expect_ok(), &kept);
    assert_lacks(&told.stdout, "nothing was done");
    desk.gateway.must_cli(["sources", "enable", "codex"]);
    desk.has_half(&error);
}

#[test]
fn run_that_a_stop_ends_keeps_its_changes() {
    let (mut desk, run, gate) = half_way();
    desk.stop_keeps_half(&run);
    gate.open();
}

#[test]
fn second_name_and_link_are_no_removal() {
    let line =
        "ln docs/b.txt again; rm a.txt; ln -s docs/b.txt a.txt; mkdir x; touch x/y; chmod 0 x";
    let desk = Desk::open(CODEX, [Step::exec(line), Step::say("linked")]);
    let first = desk.run(&json!({"prompt": "Link."}));
    let changes = &first["changes"];
    assert_eq!(changes["removed"], 0, "{first}");
    assert!(
        changes["omitted"]
            .as_u64()
            .is_some_and(|omitted| omitted >= 3),
        "{first}"
    );
    // What it left does not keep the thread from going on.
    desk.model
        .then([Step::exec("cat a.txt"), Step::say("read")]);
    let again = json!({"prompt": "Read.", "thread": first["thread"]});
    assert_eq!(desk.run(&again)["thread"], first["thread"]);
    let seen = desk.model.results();
    assert!(seen.last().expect("a result").contains("one"), "{seen:?}");
}

/// A file that becomes a folder went; its change set says so, and can be applied in two parts.
#[test]
fn file_that_became_a_folder_is_told_as_removed() {
    let line = "rm a.txt; mkdir a.txt; echo in > a.txt/in.txt";
    let steps = || [Step::exec(line), Step::say("Changed.")];
    let desk = Desk::open(CODEX, steps());
    let output = desk.run(&json!({"prompt": "Change."}));
    let changes = &output["changes"];
    let counts = ["added", "removed", "omitted"].map(|count| &changes[count]);
    assert_eq!(counts, [1, 1, 0], "{changes}");
    let part = |path: &str| json!({"changes": changes["id"], "paths": [path]});
    let both = json!({"changes": changes["id"]});
    let reply = desk.agent.invoke(&desk.kind.of("apply"), both);
    let error = reply.expect_error(422, "schema_validation_failed");
    let words = error["message"].to_string();
    assert!(words.contains("apply that removal first"), "{reply}");
    for path in ["a.txt", "a.txt/in.txt"] {
        desk.approved("apply", &part(path)).expect_ok();
    }
    assert_eq!(desk.folder.read("a.txt/in.txt"), "in\n");

    // Half of it is not applied with the approval of a run.
    let desk = Desk::open(CODEX, steps());
    let output = desk.run(&json!({"prompt": "Change.", "mode": "direct"}));
    assert_eq!(output["applied"]["files"], 0, "{output}");
    assert_eq!(desk.folder.read("a.txt"), "one\n");
}

/// Folders in folders beyond what is walked: told before the owner is asked, and of a run.
#[test]
fn folders_too_deep_are_told_in_their_own_words() {
    let words = "more than 64 deep";
    let deep = "mkdir -p $(printf 'd/%.0s' $(seq 400)); touch $(printf 'd/%.0s' $(seq 400))x";
    let desk = Desk::open(CODEX, [Step::exec(deep), Step::say("Made.")]);
    let refused = desk.approved("run", &json!({"prompt": "Deep."})).json();
    assert_eq!(
        refused["error"]["detail"]["reason"], "too_large",
        "{refused}"
    );
    let told = refused["error"]["message"].to_string();
    assert!(told.contains(words), "{refused}");
    desk.folder.write(&format!("{}x", "d/".repeat(100)), "x");
    // Said at once, and the owner is not asked.
    let run = desk
        .agent
        .invoke(&desk.kind.of("run"), json!({"prompt": "Look."}));
    let error = run.expect_error(400, "transport_error");
    assert!(error["message"].to_string().contains(words), "{error}");
    assert!(desk.owner().pending().is_empty());
}

#[test]
fn edited_script_is_rated_as_running_code() {
    let desk = Desk::open(
        CODEX,
        [
            Step::exec("echo 'echo evil' >> tool; echo x >> a.txt"),
            Step::say("edited"),
        ],
    );
    desk.folder.program("tool", "#!/bin/sh\n");
    let id = desk.run(&json!({"prompt": "Edit."}))["changes"]["id"].clone();
    let item = desk.asked("apply", &json!({"changes": id, "paths": ["a.txt"]}));
    assert_eq!(desk.owner().plan(&item)["rating"], "write");
    let item = desk.asked("apply", &json!({"changes": id}));
    let plan = desk.owner().plan(&item);
    assert_eq!(plan["rating"], "execute", "{plan}");
    assert!(plan["warnings"].to_string().contains("tool"), "{plan}");
}

/// The owner's settings of a source that runs programs, by the routes of the wire.
#[test]
fn source_settings_change_folder_and_launch() {
    let desk = Desk::open(CODEX, []);
    let client = &desk.owner().client;
    let route = "/admin/api/source-settings";
    let listed = client.get(route).expect_ok();
    let row = &listed["sources"][0];
    let folder = desk.folder.path().display().to_string();
    let like = json!({"sourceId": "codex", "realLaunch": true, "authorizedDir": folder});
    assert_like(row, &like);
    let put = |id: &str, body: Value| client.put(&format!("{route}/{id}"), body);
    put("codex", json!({"authorizedDir": "x"})).expect_error(400, "internal_error");
    put("codex", json!({"realLaunch": "yes"})).expect_error(400, "internal_error");
    put("workspace", json!({"realLaunch": true})).expect_error(404, "unknown_capability");
    assert_eq!(client.get(route).expect_ok(), listed, "nothing changed");

    let models = || desk.agent.invoke("codex.models", json!({}));
    models().expect_ok();
    let off = put("codex", json!({"realLaunch": false})).expect_ok();
    let like = json!({"ok": true, "realLaunch": false, "authorizedDir": folder});
    assert_like(&off, &like);
    let refused = models();
    assert_ne!(refused.at("/ok"), json!(true), "{refused:?}");
    let on = put("codex", json!({"realLaunch": true})).expect_ok();
    assert_eq!(on["persisted"], json!(true));
    models().expect_ok();

    // Last, because another folder ends what was granted.
    let other = Folder::empty();
    let dir = other.path().display().to_string();
    let changed = put("codex", json!({"authorizedDir": dir})).expect_ok();
    assert_eq!(changed["authorizedDirPersisted"], json!(dir));
}

#[test]
fn ignored_build_folder_is_neither_copied_nor_applied() {
    let desk = Desk::open(
        CODEX,
        [
            Step::exec(
                "cat .env dist/kept.js; ls; mkdir -p target; echo o > target/new.o; echo code > made.rs; echo made.rs > .gitignore",
            ),
            Step::say("Built."),
        ],
    );
    desk.folder.write(".gitignore", "target/\n.env\ndist/\n");
    desk.folder.write(".env", "SECRET=heron\n");
    desk.folder.write("dist/kept.js", "kept\n");
    // 3 GB that are ignored, in files that a copy would take.
    for number in 0..200 {
        let name = format!("target/debug/{number}.rlib");
        desk.folder.write(&name, "");
        let file = std::fs::File::options()
            .write(true)
            .open(desk.folder.path().join(&name));
        file.expect("the file").set_len(15 << 20).expect("longer");
    }
    let set = ["sources", "set", "codex", "copyIgnored=dist", "--yes"];
    desk.gateway.cli(set).expect_ok();
    let input = json!({"prompt": "Build it."});
    let item = desk.asked("run", &input);
    let plan = desk.owner().plan(&item).to_string();
    for words in [
        "5 files",
        ".env, target (3145728013 bytes), which are ignored",
    ] {
        assert!(plan.contains(words), "{words}: {plan}");
    }
    desk.owner().approve(&item, "once");
    let output = desk.agent.must("codex.run", input)["output"].clone();
    let seen = desk.model.results().join("\n");
    assert!(seen.contains("kept") && seen.contains("a.txt"), "{seen}");
    assert!(!seen.contains("heron") && !seen.contains("debug"), "{seen}");
    let changes = &output["changes"];
    assert_like(changes, &json!({"added": 1, "removed": 0}));
    // What it writes into its own rules hides nothing.
    let paths = [0, 1].map(|at| &changes["files"][at]["path"]);
    assert_eq!(paths, [".gitignore", "made.rs"], "{output}");
    let warnings = output["warnings"].to_string();
    for words in [
        "not in the copy, because it is ignored: .env, target",
        "the run made what is ignored, and no change set has it: target",
    ] {
        assert!(warnings.contains(words), "{words}: {warnings}");
    }
    assert!(desk.folder.path().join("target/debug/7.rlib").exists());
}

/// A run with a program of the owner's outside `/usr`, called by `command` of its path; another one beside it stays closed.
fn uses_further_programs(kind: Kind, command: fn(&Path) -> String) {
    let (tools, other) = (Folder::empty(), Folder::empty());
    let script = "#!/bin/sh\necho found a heron\n";
    let [heron, beside] = [&tools, &other].map(|folder| folder.program("heron", script));
    let [named, beside] = [command(&heron), beside.display().to_string()];
    let exec = kind.exec;
    let steps = [
        exec(&named),
        Step::say("None."),
        exec(&named),
        exec(&beside),
        Step::say("One."),
    ];
    let desk = Desk::open(kind, steps);
    // The control: without the field it reaches none.
    desk.run(&json!({"prompt": "Look."}));
    let seen = desk.model.results().join("\n");
    assert!(!seen.contains("found a heron"), "{seen}");
    let id = desk.kind.id;
    let set = |folder: &Path| {
        let field = format!("tools={}", folder.display());
        desk.gateway.cli(["sources", "set", id, &field, "--yes"])
    };
    set(&tools.path()).expect_ok();
    let input = json!({"prompt": "Look again."});
    let item = desk.asked("run", &input);
    let plan = desk.owner().plan(&item).to_string();
    let folder = tools.path().display().to_string();
    assert_contains(&plan, "further programs");
    assert_contains(&plan, &folder);
    desk.owner().approve(&item, "once");
    let run = desk.kind.of("run");
    desk.agent.must(&run, input);
    let seen = desk.model.results();
    let found: Vec<_> = seen
        .iter()
        .map(|seen| seen.contains("found a heron"))
        .collect();
    assert_eq!(found, [true, false], "{seen:?}");
    desk.model.finish();
    // What lies above the gateway's own state is none of a run's.
    let state = desk.gateway.state();
    let home = state.parent().expect("a folder").to_owned();
    let elsewhere = Folder::empty();
    let path = elsewhere.path().display().to_string();
    let other = ["sources", "add", "workspace-dir", &path, "--id", "papers"];
    desk.gateway.cli(other).expect_ok();
    elsewhere.write("bin/heron", "");
    for (folder, words) in [
        (state.join("workers"), "Plexus' own folder, or above one"),
        (home, "it is your home folder"),
        (
            elsewhere.path().join("bin"),
            "the folder of the source papers",
        ),
        (
            elsewhere.path().join("bin/heron"),
            "the folder of the source papers",
        ),
    ] {
        drop(set(&folder));
        let told = format!("{:?}", desk.gateway.cli(["sources", "test", id]));
        assert!(told.contains(words), "{words}: {told}");
    }
    // By a link: the card says where it leads.
    let links = Folder::empty();
    let link = links.path().join("link");
    std::os::unix::fs::symlink(tools.path(), &link).expect("a link");
    set(&link).expect_ok();
    let plan = desk
        .owner()
        .plan(&desk.asked("run", &json!({"prompt": "By a link."})));
    let shown = format!("{} (all of {folder})", link.display());
    assert!(plan.to_string().contains(&shown), "{shown}: {plan}");
}

#[test]
fn codex_run_uses_further_programs_by_path() {
    uses_further_programs(CODEX, |program| program.display().to_string());
}

#[test]
fn claude_run_uses_further_programs_by_name() {
    uses_further_programs(CLAUDE, |_| "heron".to_owned());
}
