//! Two days of one owner and two agents, slow on purpose: at terminals and over MCP. What is typed and read stands in
//! `tests/reports/two-days.md`, and is held against that page.

use crate::mcp;
use crate::orchestration::{Office, task};
use plexus_tests::texts::text_of;
use plexus_tests::{
    Agent, Gate, McpClient, Model, Step, Terminal, binaries, coding_agents, golden, programs,
    waiting::until,
};
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::sleep;
use std::time::Duration;

/// How long a person thinks before each answer: half as long again as the gateway keeps an idle connection.
const THOUGHT: Duration = Duration::from_secs(15);
const YES: &[(&str, &str)] = &[("[y/N]", "y")];
/// Lines of an answer in JSON that the page shows.
const SHOWN: usize = 5;
/// Characters of one on a single line.
const LONG: usize = 160;

/// A board of three, each after the one before.
fn tasks() -> Value {
    json!([
        task("spec", &[]),
        task("build", &["spec"]),
        task("check", &["build"]),
    ])
}

/// What the model was asked last, and how many commands it has made since.
fn turn(sent: &Value) -> (String, usize) {
    let (mut asked, mut made) = (String::new(), 0);
    for item in sent["input"].as_array().into_iter().flatten() {
        if item["type"] == "message" && item["role"] == "user" {
            (asked, made) = (item["content"].to_string(), 0);
        } else if item["type"] == "function_call_output" {
            made += 1;
        }
    }
    (asked, made)
}

/// The model of both days: what it does by what it is asked. `killed` is set once the gateway was.
fn play(model: &Model, gate: Gate, chat: Gate, killed: Arc<AtomicBool>) {
    let (mut waited, mut chatted) = (false, false);
    model.by_rule(move |sent| {
        let (asked, made) = turn(sent);
        let is = |words: &str| asked.contains(words);
        let first_try = !killed.load(Ordering::SeqCst);
        match made {
            0 if is("spelling") => Step::exec("sed -i s/two/too/ docs/b.txt && cat docs/b.txt"),
            1..=4 if is("spelling") => {
                Step::exec(&format!("sleep 15; echo 'check {made} of 4: ok'"))
            }
            _ if is("spelling") => Step::say("One word in docs/b.txt. The checks pass."),
            0 if is("Do spec.") => Step::exec("echo 'Herons are grey.' > spec.md"),
            _ if is("Do spec.") => Step::say("The spec is in spec.md."),
            0 if is("Do build.") && first_try => Step::exec("echo half > half.txt"),
            1 if is("Do build.") && !waited => {
                waited = true;
                Step::Wait(gate.clone())
            }
            0 if is("Do build.") => {
                Step::exec("ls; cat spec.md; echo \"built on: $(cat spec.md)\" > build.md")
            }
            _ if is("Do build.") => Step::say("It is in build.md."),
            0 if is("Do check.") => Step::exec("ls; cat build.md; echo more >> a.txt"),
            _ if is("Do check.") => Step::say("All is well."),
            _ if is("Which tests are missing?") => {
                Step::say("One for the empty file. Shall I add it?")
            }
            0 if is("Yes, add it.") => Step::exec("echo 'the empty file' > docs/test.txt"),
            1 if is("Yes, add it.") && !chatted => {
                chatted = true;
                Step::Wait(chat.clone())
            }
            _ if is("Yes, add it.") => Step::say("It is in docs/test.txt."),
            0 if is("And the long one?") => {
                Step::exec("cat docs/test.txt; echo 'the long file' >> docs/test.txt")
            }
            _ if is("And the long one?") => Step::say("Added to the same file."),
            _ => Step::say(&format!("That was not foreseen: {asked}")),
        }
    });
}

/// The id with this prefix that a text names first.
#[track_caller]
fn named(text: &str, prefix: &str) -> String {
    let Some(at) = text.find(prefix) else {
        panic!("{prefix}: {text}");
    };
    programs::id_at(&text[at..]).to_owned()
}

#[track_caller]
fn has(text: &str, all: &[&str]) {
    for words in all {
        assert!(text.contains(words), "{words}: {text}");
    }
}

struct Day {
    office: Office,
    gate: Gate,
    /// Holds a turn of the conversation between its act and its words.
    chat: Gate,
    killed: Arc<AtomicBool>,
    told: String,
}

impl Day {
    fn begin() -> Self {
        let day = Self {
            office: Office::open([]),
            gate: Gate::closed(),
            chat: Gate::closed(),
            killed: Arc::default(),
            told: String::new(),
        };
        let (gate, chat, killed) = (day.gate.clone(), day.chat.clone(), day.killed.clone());
        play(&day.office.desk.model, gate, chat, killed);
        day
    }

    fn tell(&mut self, line: &str, shown: &str) {
        let _ = writeln!(self.told, "{}\n", format!("{line}\n{shown}").trim_end());
    }

    /// A command of the owner, under way in a window of so many columns.
    fn owner_begins(&self, line: &str, columns: u16) -> Terminal {
        let words = words(line);
        let words = words.iter().map(String::as_str);
        Terminal::start(&self.office.desk.gateway.on_terminal(words), columns, 200)
    }

    /// A command of the owner, each of its questions answered slowly; what stood on the screen at its end.
    #[track_caller]
    fn owner(&mut self, line: &str, answers: &[(&str, &str)]) -> String {
        // Wide enough for the paths of any machine, which the page does not show.
        let mut terminal = self.owner_begins(line, 400);
        for (question, keys) in answers {
            terminal.until_shows(question);
            sleep(THOUGHT);
            terminal.keys(&format!("{keys}\r"));
        }
        terminal.end();
        let shown = terminal.picture();
        self.tell(&format!("owner $ plexusctl {line}"), &shown);
        shown
    }

    /// A command of an agent, under way.
    fn begins(&self, agent: &str, line: &str) -> Terminal {
        let words = words(line);
        let words = words.iter().map(String::as_str);
        Terminal::start(
            &self.office.desk.gateway.plexus_command(agent, words),
            120,
            200,
        )
    }

    /// What stood on the agent's screen at the end of its command.
    #[track_caller]
    fn ends(&mut self, agent: &str, line: &str, mut terminal: Terminal) -> String {
        terminal.end();
        let shown = terminal.picture();
        self.tell(&format!("{agent} $ plexus {line}"), &shown);
        shown
    }

    /// Both in one.
    #[track_caller]
    fn agent(&mut self, agent: &str, line: &str) -> String {
        let terminal = self.begins(agent, line);
        self.ends(agent, line, terminal)
    }

    /// The owner connects an agent, and it enrolls.
    fn enrolled(&mut self, agent: &str, allow: &str) {
        let connect = format!("connect {agent} --type codex --allow {allow}");
        let code = named(&self.owner(&connect, &[]), "plx_enroll_");
        let enrolled = self.agent(agent, &format!("enroll {code}"));
        has(&enrolled, &["enrolled as"]);
    }

    /// The one request that waits for the owner, once it does.
    fn asked(&self) -> String {
        self.office.desk.owner().waiting()
    }

    /// Waits until the second task of the board is under way: it has made its first command.
    fn second_task(&self) {
        until("the second task", || {
            let sent = self.office.desk.model.requests();
            let is = |(asked, made): (String, usize)| asked.contains("Do build.") && made == 1;
            sent.iter().any(|sent| is(turn(sent))).then_some(())
        });
    }

    /// Kills the gateway and starts it again.
    fn killed(&mut self) {
        let (gate, killed) = (self.gate.clone(), self.killed.clone());
        self.office.killed(|_| {
            killed.store(true, Ordering::SeqCst);
            gate.open();
        });
        self.tell("(the gateway is killed and started again)", "");
    }

    /// Holds what happened against the page, by its words: numbers, ids and times are of the day.
    #[track_caller]
    fn agrees_with(self, section: &str) {
        let desk = &self.office.desk;
        let program = binaries::path("plexus").display().to_string();
        let folder = desk.folder.path().display().to_string();
        let told = self
            .told
            .replace(&desk.gateway.state().display().to_string(), "~/.plexus")
            .replace(&format!("PLEXUS_HOME=~/.plexus {program}"), "plexus")
            .replace("PLEXUS_HOME=~/.plexus plexus", "plexus")
            .replace(&program, "plexus")
            .replace(
                &coding_agents::codex().display().to_string(),
                "/opt/codex/bin/codex",
            )
            .replace(&folder, "~/Projects/heron");
        let mut parts = told.split("plx_enroll_");
        let first = parts.next().unwrap_or_default().to_owned();
        let told = parts.fold(first, |told, part| {
            let (_, rest) = part.split_once('\n').unwrap_or_default();
            format!("{told}plx_enroll_…\n{rest}")
        });
        let told: Vec<&str> = told.lines().collect();
        let told = format!("```text\n{}\n```", shortened(&told).trim_end());
        // How often is said that it goes on depends on how fast this machine is.
        let goes_on = |line: &str| {
            let often = [
                "running for ",
                " ◂ … ",
                "plexus_wait",
                "It runs, and goes on by itself.",
            ];
            often.iter().any(|words| line.contains(words))
        };
        golden::check_told("tests/reports/two-days.md", section, &told, goes_on);
    }
}

impl Drop for Day {
    fn drop(&mut self) {
        if std::thread::panicking() {
            #[expect(clippy::print_stderr, reason = "a day that failed is told")]
            {
                eprintln!("--- the day\n{}", self.told);
            }
        }
    }
}

/// Long answers in JSON, cut.
fn shortened(lines: &[&str]) -> String {
    let mut out = String::new();
    let mut within = None;
    for line in lines {
        within = match (within, *line) {
            (None, "{") => Some(0),
            (Some(_), "}") => {
                if within >= Some(SHOWN) {
                    out.push_str("  …\n");
                }
                None
            }
            (within, _) => within.map(|count| count + 1),
        };
        if within.is_none_or(|count| count < SHOWN) {
            let is_json = line.contains(" ◂ {");
            let whole = match line.char_indices().nth(LONG).filter(|_| is_json) {
                Some((cut, _)) => format!("{}…", &line[..cut]),
                None => (*line).to_owned(),
            };
            out.push_str(&whole);
            out.push('\n');
        }
    }
    out
}

/// The words of a line, as a shell takes them.
fn words(line: &str) -> Vec<String> {
    let (mut words, mut word, mut quote) = (Vec::new(), None::<String>, None);
    for c in line.chars() {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (None, '"' | '\'') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None, ' ') => words.extend(word.take()),
            (_, c) => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    words
}

/// What is left on a screen of a run is what a person reads of it.
#[track_caller]
fn reads_well(shown: &str) {
    has(
        shown,
        &[
            "approved; it begins (run_",
            "sed -i s/two/too/",
            "check 4 of 4",
            "One word in docs/b.txt.",
        ],
    );
    let events = shown.split("\n{").next().unwrap_or_default();
    assert!(
        !events.contains("kind:") && !events.contains('{'),
        "{events}"
    );
}

#[test]
fn slow_day_at_terminals() {
    let mut day = Day::begin();
    let before = day.office.desk.folder.tree();
    day.enrolled("writer", "codex.changes.read,codex.threads.list");
    day.enrolled("planner", "cc-master.board.status");

    // A run of a minute. The owner answers wrong, then right, and looks on.
    let run = "codex.run prompt=\"Correct the spelling in docs, then run the checks\" --purpose \"you asked me to\"";
    let writing = day.begins("writer", run);
    writing.until_shows("waiting for the owner");
    day.owner("approvals", &[]);
    let shown = day.owner(
        "approvals approve",
        &[("[y/N]", "perhaps"), ("or n for no", "n")],
    );
    has(&shown, &["you did not confirm; the request still waits"]);
    let shown = day.owner("approvals approve", YES);
    let follow = format!("calls follow {}", named(&shown, "run_"));
    has(&shown, &[&format!("see it: plexusctl {follow}")]);
    writing.until_shows("check 1 of 4");
    has(&day.owner("calls", &[]), &["writer", "check 1 of 4"]);
    // In a narrow window too, with an id that can be copied.
    let mut narrow = day.owner_begins("calls", 40);
    narrow.end();
    has(&narrow.picture(), &["AGENT writer\n", "CALL call_"]);
    let [mut following, mut leaving] = [(); 2].map(|()| day.owner_begins(&follow, 120));
    following.until_shows("check 1 of 4");
    // Who leaves ends nothing.
    leaving.until_shows("check 1 of 4");
    leaving.keys("\u{3}");
    leaving.end();

    // Meanwhile the other agent plans, gives one wish up, and is told no.
    let create = format!(
        "cc-master.board.create goal=\"Ship the heron\" changeSets=one tasks='{}'",
        tasks()
    );
    let creating = day.begins("planner", &create);
    creating.until_shows("waiting for the owner");
    has(
        &day.owner("approvals approve", YES),
        &["Ship the heron", "Do build."],
    );
    let board = named(&day.ends("planner", &create, creating), "brd_");
    let wish = "codex.run prompt=\"Delete the docs\"";
    let mut wishing = day.begins("planner", wish);
    wishing.until_shows("plexus wait pend_");
    wishing.keys("\u{3}");
    let shown = day.ends("planner", wish, wishing);
    has(
        &shown,
        &["you interrupted the waiting; the request still waits"],
    );
    let item = named(&shown, "pend_");
    let deny = format!("approvals deny {} --reason \"not the docs\"", &item[..20]);
    has(&day.owner(&deny, &[]), &["denied pend_"]);
    let shown = day.agent("planner", &format!("wait {item}"));
    has(
        &shown,
        &["nothing was done", "The owner denied it: not the docs"],
    );
    reads_well(&day.ends("writer", run, writing));
    following.end();
    let shown = following.picture();
    day.tell(&format!("owner $ plexusctl {follow}"), &shown);
    has(
        &shown,
        &["check 4 of 4", "One word in docs/b.txt.", "it is over"],
    );

    // A board of three under one approval; the gateway is killed while the second task runs.
    let carry = format!(
        "cc-master.orchestration.run board={board} agents='[\"codex.run\"]' runs=5 --purpose \"the heron is due today\""
    );
    let side_by_side = json!({"board": board, "agents": ["codex.run"], "runs": 5, "parallel": 2});
    let connected = day.office.desk.owner().connect("other", &[]);
    let other = Agent::enroll(
        &day.office.desk.gateway.client(),
        connected["code"].as_str().expect("a code"),
    );
    let refused = other.must_ask("cc-master.orchestration.run", side_by_side);
    let plan = day.office.desk.owner().plan(&refused);
    has(&plan.to_string(), &["one after another"]);
    day.office.desk.owner().deny(&refused, "one copy for all");
    let carrying = day.begins("planner", &carry);
    carrying.until_shows("waiting for the owner");
    let shown = day.owner("approvals approve", YES);
    has(
        &shown,
        &[
            "one for all, and one change set at the end",
            "the heron is due today",
            "Do build.",
            &format!("see it: plexusctl board {board} --follow"),
        ],
    );
    let run = named(&shown, "pend_").replace("pend_", "run_");
    day.ends("planner", &carry, carrying);
    day.second_task();
    let goes_on = format!("it began the board, which goes on: plexusctl board {board}");
    let followed = day.office.desk.gateway.cli(["calls", "follow", &run]);
    has(followed.expect_ok(), &[&goes_on]);
    let shown = day.owner(&format!("board {board}"), &[]);
    has(&shown, &["under-way: 1 waiting, 1 running, 1 done"]);
    assert!(!shown.contains("changes apply"), "half of it: {shown}");
    day.killed();
    let done = day.office.once(&board, "done");
    let attempts = done["tasks"].as_array().expect("tasks").iter();
    let attempts: Vec<_> = attempts.map(|task| &task["attempts"]).collect();
    assert_eq!(attempts, [1, 2, 1], "{done}");
    // The run that was made again began with what the task before it made, and nothing of the one that died.
    let requests = day.office.desk.model.requests();
    let asked = requests.iter().map(Value::to_string);
    let saw: Vec<String> = asked
        .filter(|sent| sent.contains("Herons are grey"))
        .collect();
    assert!(
        !saw.is_empty() && !saw.iter().any(|sent| sent.contains("half.txt\\n")),
        "{saw:?}"
    );
    has(&saw.concat(), &["built on: Herons are grey."]);
    assert_eq!(day.office.desk.folder.tree(), before);
    day.office.all_is_over();
    let shown = day.owner(&format!("board {board}"), &[]);
    has(
        &shown,
        &[
            "done: 3 done",
            "build was run again: the gateway ended during its run",
            "check said: “All is well.”",
        ],
    );
    let set = done["tasks"][2]["changes"].as_str().expect("a change set");
    has(&shown, &[&format!("plexusctl changes apply {set}")]);
    let folder = day.office.desk.folder.path().display().to_string();
    has(
        &day.owner("changes", &[]),
        &[
            &folder,
            "for planner",
            "prompt: “Do check.",
            "purpose: “the heron is due today”",
            "2 added, 1 edited: a.txt, build.md, spec.md",
        ],
    );
    let shown = day.owner(&format!("changes apply {set}"), YES);
    assert_eq!(day.office.desk.folder.read("a.txt"), "one\nmore\n");
    assert_eq!(
        day.office.desk.folder.read("build.md"),
        "built on: Herons are grey.\n"
    );
    let undo = format!("undo {}", named(&shown, "evt_"));
    has(&shown, &[&format!("to undo it: plexusctl {undo}")]);
    has(
        &day.owner(&undo, YES),
        &["took back its changes to 3 files"],
    );
    assert_eq!(day.office.desk.folder.tree(), before);

    // A conversation, left and taken up again.
    let chat = "codex.chat prompt=\"Which tests are missing?\" turns=5 minutes=30";
    let mut chatting = day.begins("writer", chat);
    chatting.until_shows("waiting for the owner");
    day.owner("approvals approve", YES);
    chatting.until_shows("Shall I add it?");
    sleep(THOUGHT);
    chatting.keys("Yes, add it.\r");
    // What a turn does is there before it ends.
    let picture = chatting.until_shows("> docs/test.txt");
    assert!(!picture.contains("It is in docs/test.txt."), "{picture}");
    day.chat.open();
    chatting.until_shows("(3 turns left");
    sleep(THOUGHT);
    chatting.keys("\u{3}");
    chatting.until_shows("press Ctrl-C again");
    chatting.keys("\u{3}");
    let shown = day.ends("writer", chat, chatting);
    has(&shown, &["the conversation is over", "1 added, 0 edited"]);
    let conversation = named(&shown, "run_");
    let again = format!("continue {conversation} \"And the long one?\"");
    let going = day.begins("writer", &again);
    going.until_shows("waiting for the owner");
    has(
        &day.owner("approvals approve", YES),
        &["which began: Which tests"],
    );
    let shown = day.ends("writer", &again, going);
    has(&shown, &["Added to the same file.", "docs/test.txt"]);

    let shown = day.owner("activity writer", &[]);
    has(
        &shown,
        &[
            "had Codex work on a copy: “Correct the spelling",
            " 0 unknown",
        ],
    );
    let shown = day.owner("activity planner", &[]);
    has(
        &shown,
        &[
            "began to carry a board",
            "failed at codex.run, nothing was done: the gateway ended",
            " 0 unknown",
        ],
    );
    has(
        &day.owner("activity --changed", &[]),
        &[" you took back its changes"],
    );
    day.office.desk.model.finish();
    day.agrees_with("terminals");
}

/// An agent's MCP client, and what is said over it.
struct AgentClient {
    who: &'static str,
    client: McpClient,
    agent: Agent,
}

impl AgentClient {
    fn open(day: &Day, who: &'static str, allow: &[&str]) -> Self {
        let agent = day.office.desk.gateway.agent_with(who, allow);
        let client = Self::client(day, &agent);
        Self { who, client, agent }
    }

    fn client(day: &Day, agent: &Agent) -> McpClient {
        let server = mcp::server(&day.office.desk.gateway, agent);
        McpClient::greeted(server, "a client of a day").served()
    }

    /// The client is closed, and another one is opened.
    fn again(&mut self, day: &mut Day) {
        let closed = std::mem::replace(&mut self.client, Self::client(day, &self.agent));
        assert_eq!(closed.end(), 0);
        day.tell(
            &format!("({} closes its client and opens it again)", self.who),
            "",
        );
    }

    fn sends(&mut self, day: &mut Day, tool: &str, arguments: &Value) -> u64 {
        day.tell(&format!("{} ▸ {tool} {arguments}", self.who), "");
        let token = format!("{tool} of {}", self.who);
        let params =
            json!({"name": tool, "arguments": arguments, "_meta": {"progressToken": token}});
        self.client.send("tools/call", params)
    }

    /// What is heard until the answer is there; the answer.
    #[track_caller]
    fn hears(&mut self, day: &mut Day, id: u64) -> Value {
        loop {
            let heard = self.client.hear("an answer, or progress", |message| {
                message["id"] == id || message["method"] == "notifications/progress"
            });
            let Some(progress) = heard["params"]["message"].as_str() else {
                let result = heard["result"].clone();
                let Some(text) = result["content"][0]["text"].as_str() else {
                    panic!("{heard}");
                };
                day.tell(&format!("{} ◂ {text}", self.who), "");
                return result["structuredContent"].clone();
            };
            day.tell(&format!("{} ◂ … {progress}", self.who), "");
        }
    }

    /// A call that the owner approves, slowly; its answer, waited for where it is not there yet.
    #[track_caller]
    fn approved(&mut self, day: &mut Day, tool: &str, arguments: &Value) -> Value {
        let id = self.sends(day, tool, arguments);
        day.asked();
        day.owner("approvals approve", YES);
        let mut answer = self.hears(day, id);
        while answer["status"] == "running" {
            let wait = answer["nextCall"]["arguments"].clone();
            let id = self.sends(day, "plexus_wait", &wait);
            answer = self.hears(day, id);
        }
        answer
    }
}

#[test]
fn slow_day_over_mcp() {
    let mut day = Day::begin();
    let mut writer = AgentClient::open(
        &day,
        "writer",
        &["codex.changes.read", "codex.threads.list"],
    );
    let reads = ["cc-master.board.status", "codex.changes.read"];
    let mut planner = AgentClient::open(&day, "planner", &reads);

    // A run of a minute, with its words as they come.
    let run = json!({
        "prompt": "Correct the spelling in docs, then run the checks", "plexus_purpose": "you asked me to",
    });
    let done = writer.approved(&mut day, "codex_run", &run);
    assert_eq!(done["output"]["changes"]["edited"], 1, "{done}");
    has(&day.told, &["writer ◂ … approved", "check 4 of 4"]);

    // One wish is refused, and its client closes while another one waits: that is done once.
    let id = planner.sends(&mut day, "codex_run", &json!({"prompt": "Delete the docs"}));
    let item = day.asked();
    let deny = format!("approvals deny {item} --reason \"not the docs\"");
    day.owner(&deny, &[]);
    let denied = planner.hears(&mut day, id);
    assert_eq!(denied["code"], "denied_by_owner", "{denied}");
    let create = json!({"goal": "Ship the heron", "changeSets": "one", "tasks": tasks()});
    planner.sends(&mut day, "cc-master_board_create", &create);
    day.asked();
    planner.again(&mut day);
    let id = planner.sends(&mut day, "cc-master_board_create", &create);
    day.owner("approvals approve", YES);
    let made = planner.hears(&mut day, id);
    let board = text_of(&made["output"]["board"]);
    assert_eq!(day.office.desk.owner().pending(), Vec::<Value>::new());

    // The board outlives a kill, and the clients do.
    let carry = json!({
        "board": board, "agents": ["codex.run"], "runs": 5, "plexus_purpose": "the heron is due today",
    });
    planner.approved(&mut day, "cc-master_orchestration_run", &carry);
    day.second_task();
    day.killed();
    day.office.once(&board, "done");
    day.office.all_is_over();
    let id = planner.sends(&mut day, "cc-master_board_status", &json!({"board": board}));
    let status = planner.hears(&mut day, id);
    let status = &status["output"]["board"];
    assert_eq!(status["counts"], json!({"done": 3}), "{status}");
    let boards = planner.client.call("cc-master_board_status", json!({}));
    let boards = &boards["structuredContent"]["output"]["boards"];
    assert_eq!(boards.as_array().map(Vec::len), Some(1), "{boards}");

    // What the board made; and the same wish again, which is a new one.
    let set = &status["tasks"][2]["changes"];
    let apply = json!({"changes": set, "plexus_purpose": "the heron is due today"});
    let applied = planner.approved(&mut day, "codex_apply", &apply);
    assert_eq!(applied["ok"], true, "{applied}");
    assert_eq!(day.office.desk.folder.read("a.txt"), "one\nmore\n");
    let made = planner.approved(&mut day, "cc-master_board_create", &create);
    assert_ne!(made["output"]["board"], board.as_str(), "{made}");

    // A conversation, ended and taken up again.
    let chat = json!({"prompt": "Which tests are missing?", "turns": 2, "minutes": 30});
    let said = writer.approved(&mut day, "codex_chat", &chat);
    let mut message = said["nextCall"]["arguments"].clone();
    message["text"] = "Yes, add it.".into();
    day.chat.open();
    let id = writer.sends(&mut day, "plexus_continue", &message);
    let said = writer.hears(&mut day, id);
    assert_eq!(said["output"]["changes"]["added"], 1, "{said}");
    let thread = &said["output"]["thread"];
    let chat = json!({"prompt": "And the long one?", "thread": thread, "turns": 2, "minutes": 30});
    let said = writer.approved(&mut day, "codex_chat", &chat);
    assert_eq!(said["output"]["text"], "Added to the same file.", "{said}");
    day.office.desk.model.finish();
    day.agrees_with("mcp");
}
