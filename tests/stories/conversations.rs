//! Conversations with the real coding agents: one approval, several turns on one copy.

use crate::coding_agents::{CLAUDE, CODEX, Desk, Kind};
use crate::{mcp, mcp_http::Plain};
use nix::sys::signal::Signal;
use plexus_tests::events::Events;
use plexus_tests::texts::{assert_contains, assert_lacks, assert_like, text_of};
use plexus_tests::{
    Agent, Gate, McpClient, Response, Step, Terminal, programs,
    waiting::{until, until_true},
};
use serde_json::{Value, json};

const NO_CONVERSATION: &str =
    "No such conversation of yours. A single run takes no further message";

/// A desk where a conversation was approved and its first turn is over.
struct Talk {
    desk: Desk,
    item: String,
    /// As further messages name it.
    run: String,
    /// The answer to the first turn.
    first: Value,
}

impl Talk {
    fn open(kind: Kind, steps: impl IntoIterator<Item = Step>, bounds: &Value) -> Self {
        let desk = Desk::open(kind, steps);
        let chat = desk.kind.of("chat");
        let mut input = json!({"prompt": "Remember the word heron."});
        for (name, value) in bounds.as_object().into_iter().flatten() {
            input[name] = value.clone();
        }
        let asked = desk
            .agent
            .invoke_body(json!({"id": chat, "input": input, "onApproval": "run"}));
        let error = asked.expect_error(401, "approval_required");
        let item = error["pendingId"].as_str().expect("an item").to_owned();
        desk.owner().approve(&item, "once");
        let status = desk.agent.status_after(&item, 60).expect_ok();
        let first = status["result"].clone();
        let run = first["conversation"]["runId"].as_str();
        let run = run.unwrap_or_else(|| panic!("a conversation: {status}"));
        let run = run.to_owned();
        Self {
            desk,
            item,
            run,
            first,
        }
    }

    fn send(&self, message: &str, text: &str) -> Response {
        send(&self.desk.agent, &self.run, message, text)
    }

    /// One turn to its end; its answer.
    fn say(&self, message: &str, text: &str) -> Value {
        let taken = self.send(message, text).expect_ok();
        self.answer(&taken)
    }

    fn answer(&self, taken: &Value) -> Value {
        answer(&self.desk.agent, taken)
    }

    fn refused(&self, message: &str, why: &str) {
        let reply = self.send(message, "More.");
        let error = reply.expect_error(409, "not_accepting_input");
        assert_eq!(error["effect"], "none", "{error}");
        assert!(error["message"].to_string().contains(why), "{error}");
    }
}

fn send(agent: &Agent, run: &str, message: &str, text: &str) -> Response {
    let body = json!({"runId": run, "messageId": message, "text": text});
    agent.client().post("/invoke/input", body)
}

/// The answer to a turn, once it is over.
fn answer(agent: &Agent, taken: &Value) -> Value {
    let run = taken["run"]["runId"].as_str().expect("a run");
    until("the end of a turn", || {
        let path = format!("/invoke/status?runId={run}&wait=20");
        let status = agent.client().get(&path).expect_ok();
        (status["status"] != "running").then(|| status["result"].clone())
    })
}

/// A conversation whose change set was dropped keeps its copy: its next turn has all of it again.
#[test]
fn dropped_set_comes_again_with_the_next_turn() {
    let steps = [Step::exec("echo more >> a.txt"), Step::say("Edited.")];
    let talk = Talk::open(CODEX, steps, &json!({"turns": 4, "minutes": 30}));
    let desk = &talk.desk;
    let set = |answer: &Value| {
        let id = answer["output"]["changes"]["id"].as_str();
        id.unwrap_or_else(|| panic!("a change set: {answer}"))
            .to_owned()
    };
    let drops = |id: &str| desk.gateway.cli(["changes", "drop", id, "--yes"]);
    let gate = Gate::closed();
    desk.model.then([
        Step::exec("echo new > new.txt"),
        Step::Wait(gate.clone()),
        Step::say("Made."),
    ]);
    let taken = talk.send("m2", "Make one.").expect_ok();
    until_true("the turn's last request", || {
        desk.model.requests().len() == 4
    });
    let refused = drops(&set(&talk.first));
    assert_eq!(refused.status, 1, "{refused}");
    assert_contains(&refused.stderr, "run that is under way");
    gate.open();
    let second = talk.answer(&taken);
    // It goes alone: the one before it, which a list left out, is there again, and goes by itself.
    let (first, second) = (set(&talk.first), set(&second));
    let listed = || desk.gateway.cli(["changes"]).expect_ok().to_owned();
    assert_lacks(&listed(), &first);
    let dropped = drops(&second);
    assert_contains(
        dropped.expect_ok(),
        &format!("{first} is in the list again"),
    );
    assert_contains(&listed(), &first);
    let dropped = drops(&first);
    assert_lacks(dropped.expect_ok(), "again");
    assert_contains(&listed(), "No source that serves keeps a change set");
    desk.model
        .then([Step::exec("echo third > third.txt"), Step::say("Third.")]);
    let third = talk.say("m3", "And a third.");
    let changes = &third["output"]["changes"];
    assert_like(changes, &json!({"added": 2, "edited": 1}));
}

#[test]
fn codex_goes_on_in_its_copy() {
    goes_on_in_its_copy(CODEX);
}

#[test]
fn claude_goes_on_in_its_copy() {
    goes_on_in_its_copy(CLAUDE);
}

fn goes_on_in_its_copy(kind: Kind) {
    let exec = kind.exec;
    let steps = [exec("echo more >> a.txt"), Step::say("Remembered.")];
    let talk = Talk::open(kind, steps, &json!({"turns": 4, "minutes": 30}));
    let (desk, first) = (&talk.desk, &talk.first);
    assert_eq!(first["output"]["text"], "Remembered.", "{first}");
    assert_eq!(first["output"]["changes"]["edited"], 1, "{first}");
    let left = &first["conversation"];
    assert_eq!((&left["turn"], &left["turnsLeft"]), (&json!(1), &json!(3)));

    // The second turn has the first one's words and files.
    desk.model.then([
        exec("cat a.txt; echo new > new.txt"),
        Step::say("The word is heron."),
    ]);
    let taken = talk.send("m2", "Which word?").expect_ok();
    assert_like(&taken, &json!({"turn": 2, "turnsLeft": 2}));
    let second = talk.answer(&taken);
    assert_eq!(
        second["output"]["thread"], first["output"]["thread"],
        "{second}"
    );
    let seen = desk.model.results();
    assert_contains(seen.last().expect("a result"), "one\nmore");
    let sent = desk.model.requests().last().expect("a request").to_string();
    assert_contains(&sent, "heron");
    assert_contains(&sent, "Which word?");
    let changes = &second["output"]["changes"];
    assert_like(changes, &json!({"added": 1, "edited": 1}));
    assert_eq!(
        desk.folder.read("a.txt"),
        "one\n",
        "the folder itself stays"
    );

    // The same message again is the same turn, and nothing is sent to the model.
    let requests = desk.model.requests().len();
    let again = talk.send("m2", "Which word?").expect_ok();
    assert_eq!(again["turn"], 2, "{again}");
    assert_eq!(again["run"]["runId"], taken["run"]["runId"]);
    assert_eq!(desk.model.requests().len(), requests);

    // The plan of an earlier one names the set that goes on from it: on the card, and where the owner applies it.
    let early = json!({"changes": first["output"]["changes"]["id"]});
    let item = desk.asked("apply", &early);
    let warnings = desk.owner().plan(&item)["warnings"].to_string();
    let later = changes["id"].as_str().expect("an id");
    let newer = format!("Superseded by {later}, which goes on from it");
    assert_contains(&warnings, &newer);
    desk.owner().deny(&item, "not now");
    let early = text_of(&early["changes"]);
    let asked = desk.gateway.cli(["changes", "apply", &early]);
    assert_contains(&asked.stdout, &newer);
    let shown = desk.gateway.cli(["changes", &early]);
    assert_contains(&shown.stdout, &newer.replace('S', "s"));
    let shown = desk.gateway.cli(["changes", later]);
    assert!(!shown.stdout.contains("superseded"), "{shown}");

    // What was applied is no change any more; what comes after it is one to what was applied.
    let all = json!({"changes": changes["id"]});
    desk.approved("apply", &all).expect_ok();
    assert_eq!(desk.folder.read("a.txt"), "one\nmore\n");
    desk.model
        .then([exec("echo last >> a.txt"), Step::say("Added.")]);
    let third = talk.say("m3", "One more line.");
    let changes = &third["output"]["changes"];
    assert_like(changes, &json!({"added": 0, "edited": 1}));
    let all = json!({"changes": changes["id"]});
    desk.approved("apply", &all).expect_ok();
    assert_eq!(desk.folder.read("a.txt"), "one\nmore\nlast\n");

    // No run works on the conversation's copy: that is said at once, and the owner is not asked.
    let threads = desk.kind.of("threads.list");
    desk.owner().must_grant(&desk.agent.id, &threads, "1h");
    let beside = json!({"prompt": "Go on.", "thread": first["output"]["thread"]});
    let refused = desk.agent.invoke(&desk.kind.of("run"), beside);
    assert_eq!(
        refused.at("/error/code"),
        "schema_validation_failed",
        "{refused}"
    );
    assert_eq!(refused.at("/error/effect"), "none", "{refused}");
    assert_contains(&refused.text(), "belongs to a conversation");
    assert!(desk.owner().pending().is_empty());

    // The last turn, and no more.
    desk.model.then([Step::say("Bye.")]);
    let fourth = talk.say("m4", "Bye.");
    assert_eq!(fourth["conversation"]["turnsLeft"], 0, "{fourth}");
    talk.refused("m5", "every turn of it is used");
    desk.model.finish();

    // Each turn is an audited child of the first.
    let intents: Vec<_> = desk
        .owner()
        .audit(200)
        .into_iter()
        .filter(|e| e["detail"]["phase"] == "intent" && e["capabilityId"] == desk.kind.of("chat"))
        .collect();
    let turns: Vec<_> = intents
        .iter()
        .rev()
        .map(|e| e["detail"]["turn"].clone())
        .collect();
    assert_eq!(json!(turns), json!([1, 2, 3, 4]));
    let parents = intents
        .iter()
        .filter(|e| e["detail"]["parent"] == first["auditId"]);
    assert_eq!(parents.count(), 3, "{intents:?}");
}

#[test]
fn conversation_with_codex_that_is_over_is_taken_up_again() {
    over_is_taken_up_again(CODEX);
}

#[test]
fn conversation_with_claude_that_is_over_is_taken_up_again() {
    over_is_taken_up_again(CLAUDE);
}

/// A conversation that has used its turns goes on under a new approval, with its thread and its copy.
fn over_is_taken_up_again(kind: Kind) {
    let exec = kind.exec;
    let steps = [exec("echo more >> a.txt"), Step::say("Remembered.")];
    let talk = Talk::open(kind, steps, &json!({"turns": 2}));
    let desk = &talk.desk;
    let agent = &desk.agent;
    let go_on = |text: &str| {
        let words = ["continue", talk.run.as_str(), text];
        let mut command = desk.gateway.plexus_command(&agent.id, words);
        command.env("PLEXUS_PAT", &agent.pat);
        programs::run(command)
    };
    desk.model.then([Step::say("A bird.")]);
    let second = go_on("What is it?");
    assert!(second.expect_ok().contains("A bird."), "{second}");
    assert_contains(&second.stderr, "that was its last turn");
    talk.refused("m3", "every turn of it is used");

    desk.model
        .then([exec("cat a.txt"), Step::say("The word is heron.")]);
    let third = std::thread::scope(|scope| {
        let going = scope.spawn(|| go_on("Which word?"));
        let item = desk.owner().waiting();
        let plan = desk.owner().plan(&item);
        desk.owner().approve(&item, "once");
        (plan.to_string(), going.join().expect("an end"))
    });
    let (plan, third) = third;
    assert_contains(&plan, "which began: Remember the word heron.");
    assert!(third.expect_ok().contains("The word is heron."), "{third}");
    assert_contains(&third.stderr, "this conversation is over");
    // Off a terminal too the answer says how it goes on.
    assert_contains(&third.stderr, "19 turns left; go on: ");
    let seen = desk.model.results();
    assert_contains(seen.last().expect("a result"), "one\nmore");
    let sent = desk.model.requests().last().expect("a request").to_string();
    assert!(sent.contains("heron") && sent.contains("A bird."), "{sent}");
    desk.model.finish();

    let threads = desk.kind.of("threads.list");
    desk.owner().grant(&agent.id, &threads, "1h").expect_ok();
    let listed = agent.must(&threads, json!({}));
    let all = listed["output"]["threads"].as_array().expect("a list");
    let titles: Vec<_> = all.iter().map(|thread| &thread["title"]).collect();
    assert_eq!(titles, ["Remember the word heron."], "{listed}");
    // What is nobody's conversation is refused at once.
    let unknown = json!({"prompt": "Go on.", "thread": "00000000-0000-4000-8000-000000000000"});
    let refused = agent.invoke(&desk.kind.of("chat"), unknown);
    assert_eq!(refused.at("/error/effect"), "none", "{refused}");
    assert!(refused.text().contains("no such thread"), "{refused}");
    assert!(desk.owner().pending().is_empty());
}

/// Calls a tool by one of the ways to speak MCP.
type Door<'a> = &'a mut dyn FnMut(&str, Value) -> Value;

#[test]
fn conversation_goes_on_over_mcp() {
    let talk = Talk::open(CODEX, [Step::say("Remembered.")], &json!({"turns": 4}));
    let desk = &talk.desk;
    let server = mcp::server(&desk.gateway, &desk.agent);
    let mut stdio = McpClient::greeted(server, "plain");
    until_true("the list", || stdio.names().len() > 1);
    let http = Plain::at(&desk.gateway, &desk.agent);
    let mut by_stdio = |tool: &str, arguments: Value| stdio.call(tool, arguments);
    let mut by_http = |tool: &str, arguments: Value| http.call(tool, arguments);
    let doors: [Door<'_>; 2] = [&mut by_stdio, &mut by_http];

    let mut turn = 1;
    for call in doors {
        let first = call("plexus_wait", json!({"pendingId": talk.item}));
        let mut next = first["structuredContent"]["nextCall"].clone();
        assert_eq!(next["tool"], "plexus_continue", "{first}");
        assert_eq!(next["arguments"]["runId"], talk.run.as_str(), "{first}");
        turn += 1;
        next["arguments"]["turn"] = turn.into();
        next["arguments"]["text"] = "Which word?".into();
        desk.model.then([Step::say("The word is heron.")]);
        let said = call("plexus_continue", next["arguments"].clone());
        let answer = &said["structuredContent"];
        assert_eq!(answer["output"]["text"], "The word is heron.", "{said}");
        assert_eq!(answer["conversation"]["turnsLeft"], 4 - turn, "{said}");
        assert_eq!(answer["nextCall"]["arguments"]["turn"], turn + 1, "{said}");
        // The same call again is the same turn, and nothing is sent to the model.
        let requests = desk.model.requests().len();
        let again = call("plexus_continue", next["arguments"].clone());
        assert_eq!(again["structuredContent"]["auditId"], answer["auditId"]);
        assert_eq!(desk.model.requests().len(), requests);
    }

    desk.model.then([Step::say("Bye.")]);
    let last = http.call(
        "plexus_continue",
        json!({"runId": talk.run, "text": "Bye."}),
    );
    let answer = &last["structuredContent"];
    assert_eq!(answer["conversation"]["turnsLeft"], 0, "{last}");
    assert!(answer.get("nextCall").is_none(), "{last}");
    desk.model.finish();
    let more = json!({"runId": talk.run, "text": "More."});
    let stranger = desk
        .gateway
        .agent_with("stranger", &[&desk.kind.of("models")]);
    let theirs = Plain::at(&desk.gateway, &stranger).call("plexus_continue", more.clone());
    assert_eq!(
        theirs["structuredContent"]["code"], "bad_arguments",
        "{theirs}"
    );
    assert_contains(&theirs["structuredContent"].to_string(), NO_CONVERSATION);
    for refused in [
        stdio.call("plexus_continue", more.clone()),
        http.call("plexus_continue", more),
    ] {
        let why = &refused["structuredContent"];
        let like = json!({"code": "not_accepting_input", "effect": "none"});
        assert_like(why, &like);
    }
}

#[test]
fn card_says_its_bounds_and_owner_lowers_them() {
    let desk = Desk::open(CODEX, [Step::say("Hello.")]);
    let input = json!({"prompt": "Hello.", "turns": 9, "minutes": 45});
    let item = desk.agent.must_ask("codex.chat", input.clone());
    let card = desk.owner().card(&item);
    let asked = json!({"turns": 9, "minutes": 45});
    assert_eq!(card["asks"][0]["conversation"], asked, "{card}");
    let shown = desk.gateway.cli(["approvals", "show", &item]);
    let shown = shown.expect_ok();
    assert!(shown.contains("at most 9 turns"), "{shown}");
    assert!(shown.contains("8 further turns"), "{shown}");
    let more = ["approvals", "approve", &item, "--yes", "--turns", "10"];
    desk.gateway.cli(more).expect_status(1);
    let fewer = format!("approvals approve {item} --yes --turns 2 --minutes 5");
    desk.gateway.must_cli(fewer.split(' '));
    let first = desk.agent.must("codex.chat", input);
    let left = &first["conversation"];
    assert_eq!(left["turnsLeft"], 1, "{first}");

    // It is listed with what is left, and the owner ends it.
    let listed = desk.gateway.cli(["calls", "list"]);
    let listed = listed.expect_ok();
    assert_contains(listed, "1 turn");
    assert_contains(listed, "ends in ");
    let status = desk.gateway.cli(["status"]);
    assert!(status.stdout.contains("codex.chat"), "{status}");
    let run = left["runId"].as_str().expect("its name");
    desk.gateway.cli(["calls", "stop", run]).expect_ok();
    let reply = send(&desk.agent, run, "m2", "More.");
    let error = reply.expect_error(409, "not_accepting_input");
    assert!(error["message"].to_string().contains("ended"), "{error}");
    let ended = desk
        .owner()
        .audited(|e| e["detail"]["event"] == "turns.end");
    assert_eq!(ended["detail"]["used"], 1, "{ended}");
    let listed = desk.gateway.cli(["calls", "list"]);
    assert!(!listed.expect_ok().contains("codex.chat"), "{listed}");
}

#[test]
fn conversation_goes_on_after_a_restart_and_turn_is_not_repeated() {
    let gate = Gate::closed();
    let mut talk = Talk::open(CODEX, [Step::say("Remembered.")], &json!({}));
    let exec = CODEX.exec;
    talk.desk.model.then([
        exec("echo half >> a.txt"),
        Step::Wait(gate.clone()),
        Step::say("never"),
    ]);
    let requests = talk.desk.model.requests().len();
    let taken = talk.send("m2", "Work.").expect_ok();
    until_true("the turn has changed its copy", || {
        talk.desk.model.requests().len() == requests + 2
    });
    talk.desk.gateway.kill9();
    gate.open();
    talk.desk.gateway.start_again();
    let agent = Agent::with_pat(
        &talk.desk.gateway.client(),
        &talk.desk.agent.id,
        &talk.desk.agent.pat,
    );
    // The message is a turn whatever became of it; it is not sent again.
    let again = until("the end of the turn is known", || {
        let reply = send(&agent, &talk.run, "m2", "Work.");
        (reply.status == 200).then(|| reply.expect_ok())
    });
    assert_eq!(again["turn"], taken["turn"], "{again}");
    // The next one goes on with thread and copy.
    talk.desk
        .model
        .then([exec("cat a.txt"), Step::say("The word is heron.")]);
    let taken = until("the turn before is settled", || {
        let reply = send(&agent, &talk.run, "m3", "Which word?");
        (reply.status == 200).then(|| reply.expect_ok())
    });
    assert_eq!(taken["turn"], 3, "{taken}");
    let third = answer(&agent, &taken);
    assert_eq!(third["output"]["text"], "The word is heron.", "{third}");
    assert_eq!(third["output"]["thread"], talk.first["output"]["thread"]);
    let seen = talk.desk.model.results();
    assert!(seen.last().expect("a result").contains("half"), "{seen:?}");
    assert_eq!(third["output"]["changes"]["edited"], 1, "{third}");
    // Between two turns the last one is followed.
    let followed = talk.desk.gateway.cli(["calls", "follow", &talk.run]);
    let waits = "the conversation waits for the next one of 17";
    assert_contains(followed.expect_ok(), waits);
    assert_contains(&followed.stderr, "cat a.txt");
}

#[test]
fn revoke_in_the_middle_ends_turn_and_conversation() {
    let gate = Gate::closed();
    let talk = Talk::open(CODEX, [Step::say("Remembered.")], &json!({}));
    let desk = &talk.desk;
    desk.model
        .then([Step::Wait(gate.clone()), Step::say("never")]);
    let requests = desk.model.requests().len();
    talk.send("m2", "Wait.").expect_ok();
    until_true("the turn", || desk.model.requests().len() > requests);
    talk.refused("m3", "under way");
    let other = desk.gateway.agent_with("other", &["codex.changes.read"]);
    let foreign = send(&other, &talk.run, "m4", "Mine now.");
    let error = foreign.expect_error(403, "session_expired");
    assert_contains(&error["message"].to_string(), NO_CONVERSATION);
    desk.owner().revoke_agent("caller");
    until_true("the end of the turn", || {
        let calls = desk.owner().get("/admin/api/calls").expect_ok();
        calls["calls"] == json!([]) && calls["conversations"] == json!([])
    });
    gate.open();
    // The credential is gone with it, and nobody who comes back under the name has the conversation.
    let back = desk.gateway.agent_with("caller", &["codex.changes.read"]);
    let gone = send(&back, &talk.run, "m5", "Hello?");
    gone.expect_error(403, "session_expired");
}

#[test]
fn pause_suspends_a_conversation() {
    let talk = Talk::open(CODEX, [Step::say("Remembered.")], &json!({}));
    let desk = &talk.desk;
    desk.gateway.cli(["pause"]).expect_ok();
    let paused = talk.send("m2", "Which word?");
    paused.expect_error(503, "paused");
    desk.gateway.cli(["resume"]).expect_ok();
    desk.model.then([Step::say("The word is heron.")]);
    let second = talk.say("m2", "Which word?");
    assert_eq!(second["output"]["text"], "The word is heron.", "{second}");
}

/// Another target, and what is hidden from here on, end what works on a copy; the owner reads which.
#[test]
fn changed_source_ends_a_conversation_and_says_so() {
    for change in [
        &["sources", "hide", "codex", "--folder", "private"][..],
        &["sources", "set", "codex", "disk=1024", "--yes"][..],
    ] {
        let talk = Talk::open(CODEX, [Step::say("Remembered.")], &json!({}));
        let ended = format!("requests and approvals ended: {}", talk.item);
        // The control: another label ends nothing.
        let label = ["sources", "set", "codex", "--label", "Mine", "--yes"];
        let labelled = talk.desk.gateway.cli(label);
        assert!(!labelled.expect_ok().contains(&ended), "{labelled}");
        let said = talk.desk.gateway.cli(change.iter().copied());
        assert_contains(said.expect_ok(), &ended);
        talk.refused("m2", "it was ended");
    }
}

#[test]
fn key_rotation_and_withdrawal_end_a_conversation() {
    let talk = Talk::open(CODEX, [Step::say("Remembered.")], &json!({}));
    let cancel = json!({"pendingId": talk.item});
    talk.desk.agent.client().must_post("/grants/cancel", cancel);
    talk.refused("m2", "it was ended");
    let talk = Talk::open(CODEX, [Step::say("Remembered.")], &json!({}));
    let owner = talk.desk.owner();
    let open = || owner.get("/admin/api/calls").expect_ok()["conversations"].clone();
    assert_eq!(open().as_array().map(Vec::len), Some(1));
    talk.desk.gateway.cli(["key", "rotate"]).expect_ok();
    let listed = talk.desk.gateway.cli(["calls", "list"]);
    assert!(!listed.expect_ok().contains("codex.chat"), "{listed}");
    talk.send("m2", "Hello?")
        .expect_error(403, "session_expired");
}

/// An approved run says what it does while it does it: to the command that waited for the owner, in words.
fn approved_run_is_followed_as_it_goes(kind: Kind) {
    let gate = Gate::closed();
    let exec = kind.exec;
    let steps = [
        exec("echo more >> a.txt"),
        Step::Wait(gate.clone()),
        Step::say("Added a line."),
    ];
    let desk = Desk::open(kind, steps);
    let run = desk.kind.of("run");
    let read = desk.kind.of("changes.read");
    let connected = desk.owner().connect("person", &[read.as_str()]);
    let code = connected["code"].as_str().expect("a code").to_owned();
    desk.gateway.plexus("person", ["enroll", &code]).expect_ok();
    let words = [run.as_str(), "prompt=Add a line."];
    let command = desk.gateway.plexus_command("person", words);
    let mut terminal = Terminal::start(&command, 60, 40);
    terminal.until_shows("waiting for the owner");
    let item = text_of(&desk.owner().pending()[0]["pendingId"]);
    desk.owner().approve(&item, "once");
    terminal.until_shows("approved; it begins");
    terminal.until_shows("echo more >> a.txt");
    assert_lacks(&terminal.picture(), "\"kind\"");
    // The model has not answered yet, so this was shown while the run was under way.
    let named = format!("run_{}", item.trim_start_matches("pend_"));
    let listed = desk.gateway.cli(["calls", "list"]);
    assert!(listed.expect_ok().contains(&run), "{listed}");
    gate.open();
    terminal.until_shows("Added a line.");
    terminal.until_shows("\"edited\": 1");
    assert_eq!(terminal.end().code(), Some(0), "{}", terminal.picture());
    desk.model.finish();
    // What was delivered is no answer to the next wish.
    let again = desk
        .gateway
        .plexus("person", [words[0], words[1], "--wait", "0"]);
    assert_contains(&again.stderr, "the request stays with the owner");
    // Another command follows a run by the name of its request; Ctrl-C twice cancels it.
    desk.model
        .then([Step::Wait(Gate::closed()), Step::say("never")]);
    let requests = desk.model.requests().len();
    let waiting = text_of(&desk.owner().pending()[0]["pendingId"]);
    assert_ne!(waiting, item);
    let command = desk.gateway.plexus_command("person", ["wait", &waiting]);
    let mut terminal = Terminal::start(&command, 60, 40);
    desk.owner().approve(&waiting, "once");
    terminal.until_shows("approved; it begins");
    until_true("its request", || desk.model.requests().len() > requests);
    terminal.keys("\u{3}");
    terminal.until_shows("press Ctrl-C again");
    terminal.keys("\u{3}");
    terminal.until_shows("You cancelled it");
    assert_eq!(terminal.end().code(), Some(1), "{}", terminal.picture());
    // One that is over is no run that a stranger, or anybody, can follow.
    desk.agent
        .client()
        .get(&format!("/invoke/status?runId={named}"))
        .expect_error(403, "session_expired");
}

/// Over MCP by HTTP, a call with a progress token hears the approval and each act before its answer.
#[test]
fn approved_run_is_followed_over_mcp_by_http() {
    let gate = Gate::closed();
    let exec = CODEX.exec;
    let desk = Desk::open(
        CODEX,
        [
            exec("echo more >> a.txt"),
            Step::Wait(gate.clone()),
            Step::say("Added a line."),
        ],
    );
    let http = Plain::at(&desk.gateway, &desk.agent);
    let params = json!({
        "name": "codex_run", "arguments": {"prompt": "Add a line."}, "_meta": {"progressToken": "p"},
    });
    let stream = Events::of(&http.request("tools/call", params));
    let item = desk.owner().waiting();
    desk.owner().approve(&item, "once");
    let says = |words: &'static str| {
        move |event: &Value| event["params"]["message"].to_string().contains(words)
    };
    stream.wait_until("message", says("echo more >> a.txt"));
    gate.open();
    let answer = stream.wait_until("message", |event| event["id"] == 1);
    assert_eq!(
        answer["result"]["structuredContent"]["ok"], true,
        "{answer}"
    );
    // It is the agent's own, and no conversation.
    let run = format!("run_{}", item.trim_start_matches("pend_"));
    let more = http.call("plexus_continue", json!({"runId": run, "text": "More."}));
    let refused = &more["structuredContent"];
    assert_eq!(refused["code"], "bad_arguments", "{more}");
    assert_contains(&refused.to_string(), NO_CONVERSATION);
    let more = send(&desk.agent, &run, "m2", "More.");
    let error = more.expect_error(403, "session_expired");
    assert_contains(&error["message"].to_string(), NO_CONVERSATION);
    desk.model.finish();
}

#[test]
fn approved_run_of_codex_is_followed_as_it_goes() {
    approved_run_is_followed_as_it_goes(CODEX);
}

#[test]
fn approved_run_of_claude_is_followed_as_it_goes() {
    approved_run_is_followed_as_it_goes(CLAUDE);
}

/// What is typed before the line is open was typed meanwhile, and waits for an Enter at it.
#[track_caller]
fn is_asked(terminal: &Terminal) {
    until_true("the open line", || !terminal.is_cooked());
}

#[test]
fn person_talks_with_codex_at_a_terminal() {
    let exec = CODEX.exec;
    let desk = Desk::open(CODEX, [Step::say("Which file?")]);
    let connected = desk.owner().connect("person", &["codex.changes.read"]);
    let code = connected["code"].as_str().expect("a code").to_owned();
    desk.gateway.plexus("person", ["enroll", &code]).expect_ok();
    let command = desk.gateway.plexus_command("person", ["codex.chat"]);
    // A signal from elsewhere leaves the terminal as the shell had it.
    for signal in [Signal::SIGTERM, Signal::SIGHUP] {
        let mut left = Terminal::start(&command, 100, 40);
        left.until_shows("what is it about?");
        is_asked(&left);
        left.signal(signal);
        assert!(!left.end().success(), "{signal}");
        assert!(left.is_cooked(), "{signal}: {}", left.picture());
    }
    // One that draws no line is not asked at.
    let mut plain = desk.gateway.plexus_command("person", ["codex.chat"]);
    let mut plain = Terminal::start(plain.env("TERM", "dumb"), 100, 40);
    assert!(!plain.end().success(), "{}", plain.picture());
    assert_lacks(&plain.picture(), "what is it about?");

    let mut terminal = Terminal::start(&command, 100, 40);
    terminal.until_shows("what is it about?");
    is_asked(&terminal);
    // Longer than a terminal's own line, and corrected at its beginning.
    let long = "é".repeat(2_500);
    terminal.keys(&format!("dd a line {long}\u{1}A\r"));
    terminal.until_shows("waiting for the owner");
    let item = text_of(&desk.owner().pending()[0]["pendingId"]);
    desk.owner().approve(&item, "once");
    terminal.until_shows("Which file?");
    terminal.until_shows("(19 turns left");
    is_asked(&terminal);

    let sent = desk.model.requests().last().map(Value::to_string);
    assert_contains(&sent.unwrap_or_default(), &format!("Add a line {long}"));

    // The lines of a paste are one message, with what stands after its last line break.
    let gate = Gate::closed();
    let added = [exec("echo more >> a.txt"), Step::say("Added it.")];
    desk.model
        .then([Step::Wait(gate.clone())].into_iter().chain(added));
    let requests = desk.model.requests().len();
    terminal.keys("\u{1b}[200~a.txt\rand\r\rno other\u{1b}[201~");
    terminal.until_shows("no other");
    terminal.keys("\r");
    until_true("the turn", || desk.model.requests().len() > requests);
    terminal.keys("a word more\r");
    terminal.until_shows("a word more");
    gate.open();
    terminal.until_shows("Added it.");
    let sent = desk.model.requests().last().map(Value::to_string);
    assert_contains(&sent.unwrap_or_default(), r"a.txt\nand\n\nno other");
    terminal.until_shows("1 edited");
    terminal.until_shows("(18 turns left");
    // A line that was typed meanwhile stands at the prompt, and is not sent.
    terminal.until_shows("> a word more");
    is_asked(&terminal);

    // Once stops the turn, and the conversation goes on.
    let gate = Gate::closed();
    desk.model
        .then([Step::Wait(gate.clone()), Step::say("never")]);
    let requests = desk.model.requests().len();
    terminal.keys("\u{15}Wait\r");
    until_true("the turn", || desk.model.requests().len() > requests);
    terminal.keys("\u{3}");
    terminal.until_shows("stopping this turn");
    terminal.until_shows("You cancelled it");
    terminal.until_shows("(17 turns left");
    is_asked(&terminal);
    gate.open();

    // Twice leaves, and ends the conversation.
    terminal.keys("\u{3}");
    terminal.until_shows("the conversation ends then");
    terminal.keys("\u{3}");
    terminal.until_shows("the conversation is over");
    terminal.until_shows("plexus codex.apply changes=cs_");
    assert_eq!(terminal.end().code(), Some(0), "{}", terminal.picture());
    let open = desk.owner().get("/admin/api/calls").expect_ok();
    assert_eq!(open["conversations"], json!([]), "{open}");
    assert_eq!(desk.folder.read("a.txt"), "one\n");
}

/// A line that came during the last turn is no message, and no command of the shell behind.
#[test]
fn line_typed_during_the_last_turn_is_dropped() {
    let desk = Desk::open(CODEX, [Step::say("Which file?")]);
    let connected = desk.owner().connect("person", &["codex.changes.read"]);
    let code = connected["code"].as_str().expect("a code").to_owned();
    desk.gateway.plexus("person", ["enroll", &code]).expect_ok();
    let words = ["codex.chat", "prompt=Add a line", "turns=2"];
    let command = desk.gateway.plexus_command("person", words);
    let mut terminal = Terminal::start(&command, 100, 40);
    terminal.until_shows("waiting for the owner");
    let item = text_of(&desk.owner().pending()[0]["pendingId"]);
    desk.owner().approve(&item, "once");
    terminal.until_shows("(1 turn left");
    is_asked(&terminal);
    let gate = Gate::closed();
    desk.model
        .then([Step::Wait(gate.clone()), Step::say("Added it.")]);
    let requests = desk.model.requests().len();
    terminal.keys("a.txt\r");
    until_true("the turn", || desk.model.requests().len() > requests);
    terminal.keys("touch ran\r");
    terminal.until_shows("touch ran");
    gate.open();
    terminal.until_shows("were not sent: 1");
    terminal.until_shows("the conversation is over");
    assert_eq!(terminal.end().code(), Some(0), "{}", terminal.picture());
}

/// A run makes no special file, no file that others may write, and none that runs as its owner: the copy of a conversation
/// stays on the disk.
#[test]
fn copy_of_a_conversation_has_no_special_files_and_no_wide_modes() {
    // The last one renames a file so that the kernel would leave a whiteout, a character device, in its place.
    let script = "import ctypes, os; os.umask(0); os.open('empty', os.O_CREAT, 0o777); os.mkdir('wide', 0o1777); \
                  os.open('wide/file', os.O_CREAT, 0o666); os.open('old', os.O_CREAT); \
                  print('whiteout', ctypes.CDLL(None).renameat2(-100, b'old', -100, b'new', 4)); \
                  os.open('own', os.O_CREAT, 0o6777)";
    let line =
        format!("python3 -c \"{script}\" 2>&1; stat -c 'saw %a %n' empty wide wide/file; ls");
    let steps = [Step::exec(&line), Step::say("Made.")];
    let talk = Talk::open(CODEX, steps, &json!({}));
    let seen = talk.desk.model.results().concat();
    for refused in ["whiteout -1", "Operation not permitted: 'own'"] {
        assert!(seen.contains(refused), "{refused}: {seen}");
    }
    let modes = seen.lines().filter_map(|line| line.strip_prefix("saw "));
    let others = modes.map(|line| {
        line.split(' ')
            .next()
            .is_some_and(|mode| mode.ends_with(['4', '5']))
    });
    assert_eq!(others.collect::<Vec<_>>(), [true; 3], "{seen}");
    let runs = talk.desk.gateway.state().join("workers/codex/runs/writer");
    let find = |what: &[&str]| {
        let mut find = std::process::Command::new("find");
        let found = find
            .arg(&runs)
            .args(["-path", "*/root/*"])
            .args(what)
            .output();
        String::from_utf8(found.expect("find").stdout).expect("text")
    };
    assert!(
        find(&["-name", "empty"]).contains("root/empty"),
        "the copy is there"
    );
    assert_eq!(find(&["-perm", "/7022", "-not", "-type", "l"]), "");
    assert_eq!(
        find(&[
            "-not", "-type", "f", "-not", "-type", "d", "-not", "-type", "l"
        ]),
        ""
    );
}
