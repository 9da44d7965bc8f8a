//! Channels and boards, with names as long as they may be, and in two windows; runs, conversations and boards that are followed
//! and ended.

use crate::scene::Scene;
use plexus_tests::relay::Relay;
use plexus_tests::scripted_codex::ScriptedCodex;
use plexus_tests::texts::{assert_contains, text_of};
use plexus_tests::waiting::{until, until_true};
use plexus_tests::{Agent, Response};
use serde_json::{Value, json};

/// Works on a copy, and goes on until it is stopped or its file is there.
const STREAM: &str = "fixture.stream";

#[test]
fn long_names_fit_and_two_windows_agree() {
    let scene = Scene::signed_in();
    let browser = &*scene.browser;
    let gateway = &scene.gateway;
    let codex = ScriptedCodex::added_to(gateway);
    let long = "A name that goes on and on, as names of plans do when nobody stops them";
    let word = "Unterwerkstattleiterbesprechungsprotokollentwurf";
    let titles = [long, word, "End"].map(str::to_owned);
    let board = codex.board(gateway, &format!("{long}: {word}"), &titles);
    let relay = Relay::start();
    relay.joined_by(gateway, &word.repeat(2)[..60]).expect_ok();
    let made = gateway
        .cli(["channels", "create", &long[..60], "--json"])
        .json();
    let channel = made["output"]["channel"].as_str().expect("an id");
    for text in ["Hello.", &word.repeat(3), long] {
        gateway.cli(["channels", "say", channel, text]).expect_ok();
    }
    let channel = format!("/channels/channels/{channel}");
    let board = format!("/boards/{board}?source=cc-master");
    for (name, page) in [
        ("runs", "/runs"),
        ("board", &board),
        ("channels", "/channels"),
        ("channel", &channel),
    ] {
        browser.go(&format!("{}{page}", scene.page()));
        for (width, height) in [(1440, 900), (390, 844)] {
            browser.size(width, height);
            let _ = browser.see("#card article h2");
            scene.fits();
            scene.picture(&format!("{name}-{width}"));
        }
    }
    // Said in one window, it is read in the other.
    let other = scene.another_browser();
    other.go(&format!("{}{channel}", scene.page()));
    other.reads("#card h2", &long[..60]);
    other.reads(".calls", "Hello.");
    other.reads(".calls", " ago");
    // A field that has the focus is not drawn again.
    browser.see("#say").click();
    browser.press("From the first window.");
    browser.click("article:not([data-fresh]) [data-form-send] button");
    browser.reads("#notes", "Said");
    browser.reads(".calls", "From the first window.");
    let typed = browser.run("return document.getElementById('say').value");
    assert_eq!(typed, "");
    until("the message in the other window", || {
        let read = other.run("return document.querySelector('.calls').textContent");
        read.as_str()?
            .contains("From the first window.")
            .then_some(())
    });
    // Half a message stays while another one comes: only the parts around it are drawn anew.
    other.see("#say").click();
    other.press("Half a mess");
    let id = made["output"]["channel"].as_str().expect("an id");
    gateway.must_cli(["channels", "say", id, "While you type."]);
    other.reads(".calls", "While you type.");
    let typed = other.run("return document.getElementById('say').value");
    assert_eq!(typed, "Half a mess");
    // A board that nothing carries offers no end of it.
    browser.go(&format!("{}{board}", scene.page()));
    browser.reads("#card", "not begun");
    assert!(browser.sees("#card button.no").is_none());
    // No title of a task leaves its box.
    let wide = browser.run(
        "return [...document.querySelectorAll('.graph rect')].filter((box) => {
           const [own, text] = [box, box.nextElementSibling].map((one) => one.getBoundingClientRect());
           return text.right > own.right;
         }).length",
    );
    assert_eq!(wide, 0);
    scene.all_is_well();
}

/// The answer to a run, once it is over.
fn answer(agent: &Agent, run: &str) -> Value {
    until("the end of a run", || {
        let path = format!("/invoke/status?runId={run}&wait=20");
        let status = agent.client().get(&path).expect_ok();
        (status["status"] != "running").then_some(status)
    })
}

/// What a run says comes while its page is open; it ends where it is stopped, on its page or in the list, and another goes on.
#[test]
fn run_is_followed_as_it_speaks_and_stopped() {
    let scene = Scene::workshop();
    let browser = &*scene.browser;
    let agents = ["speaks", "waits", "ends"].map(|id| scene.trusted(id, &[STREAM]));
    let begins = |agent: &Agent, input: Value| {
        let begun = json!({"id": STREAM, "input": input, "async": true});
        let begun = agent.client().post("/invoke", begun);
        begun.expect_status(202);
        begun.text_at("/run/runId")
    };
    #[rustfmt::skip]
    let runs = [
        begins(&agents[0], json!({"text": "x", "pieces": 100_000, "timed": true})),
        begins(&agents[1], json!({"text": "no end", "pieces": 1, "until": "never"})),
        begins(&agents[2], json!({"text": "an end", "pieces": 1, "until": "end"})),
    ];
    let under_way = || {
        let calls = scene.owner().get("/admin/api/calls").expect_ok();
        calls["calls"].as_array().expect("calls").clone()
    };
    until_true("all three", || under_way().len() == 3);
    let waits = under_way()
        .into_iter()
        .find(|call| call["agentId"] == "waits");
    let waits = waits.expect("it is under way")["id"].clone();
    let waits = waits.as_str().expect("an id");
    browser.go(&format!("{}/runs/{}", scene.page(), runs[0]));
    // The newest piece that stands there.
    let newest = || {
        let number = browser.run(
            "const all = [...(document.querySelector('#card pre')?.textContent ?? '').matchAll(/piece: (\\d+)/g)];
             return all.length ? Number(all.pop()[1]) : null",
        );
        number.as_u64()
    };
    let first = until("what it says", newest);
    browser.run("window.here = true");
    until_true("a later piece", || newest() > Some(first));
    assert_eq!(browser.run("return window.here"), true, "the page stayed");
    browser.see("#card [data-send$='/stop']").click();
    browser.reads("#notes", "Asked it to stop");
    browser.reads("#card h3", "It is over. It said:");
    assert!(browser.sees("#card [data-send$='/stop']").is_none());
    assert_eq!(
        answer(&agents[0], &runs[0])["result"]["error"]["code"],
        "cancelled"
    );
    // In the list, beside the one that goes on.
    browser.see("#card a[href='/admin/runs']").click();
    browser.reads("#card", "ends");
    let _ = browser.see(&format!("#card a[href='/admin/runs/{}']", runs[1]));
    browser.click(&format!(
        "article:not([data-fresh]) [data-send='/calls/{waits}/stop']"
    ));
    browser.loses(&format!("#card a[href='/admin/runs/{}']", runs[1]));
    assert_eq!(
        answer(&agents[1], &runs[1])["result"]["error"]["code"],
        "cancelled"
    );
    assert_eq!(under_way().len(), 1, "the third goes on");
    scene.fixture.write("end", "");
    let ended = answer(&agents[2], &runs[2]);
    assert_eq!(ended["result"]["output"]["pieces"], 1, "{ended}");
    browser.reads("#card", "No call is under way.");
    scene.all_is_well();
}

/// A call whose caller waits for it is followed from the list; once it is over its page says so, and keeps what it said.
#[test]
fn page_of_a_waited_call_says_that_it_is_over() {
    let scene = Scene::workshop();
    let browser = &*scene.browser;
    let agent = scene.trusted("waits", &[STREAM]);
    let call = json!({"id": STREAM, "input": {"text": "an end", "pieces": 1, "until": "end"}});
    let client = agent.client();
    std::thread::scope(|scope| {
        let answer = scope.spawn(|| client.post("/invoke", call));
        browser.go(&format!("{}/runs", scene.page()));
        browser.see("#card a[href^='/admin/runs/']").click();
        browser.reads("#card pre", "an end");
        let _ = browser.see("#card [data-send$='/stop']");
        scene.fixture.write("end", "");
        answer.join().expect("an answer").expect_ok();
    });
    browser.reads("#card h3", "It is over.");
    assert!(browser.sees("#card [data-send$='/stop']").is_none());
    assert!(browser.text("#card pre").contains("an end"));
    scene.fits();
}

/// The page of a channel that is left, or whose source is removed, takes no further message.
#[test]
fn page_of_a_channel_that_is_gone_says_so() {
    let scene = Scene::signed_in();
    let (browser, gateway) = (&*scene.browser, &scene.gateway);
    let relay = Relay::start();
    relay.joined_by(gateway, "Ada").expect_ok();
    let begin = |name: &str| {
        let made = gateway.cli(["channels", "create", name, "--json"]).json();
        let id = made["output"]["channel"].as_str().expect("an id");
        browser.go(&format!("{}/channels/channels/{id}", scene.page()));
        browser.reads("#card h2", name);
        let _ = browser.see("#say");
    };
    begin("left");
    gateway.must_cli(["channels", "leave", "left", "--yes"]);
    browser.reads("#card h2", "There is nothing here");
    assert!(browser.sees("#say").is_none());
    begin("removed");
    gateway.must_cli(["sources", "remove", "channels", "--yes"]);
    browser.reads("#card h2", "There is nothing here");
    assert!(browser.sees("#say").is_none());
    scene.fits();
}

/// A conversation that is ended takes no more, and another does; a board that is stopped ends its run and begins no other.
#[test]
fn conversation_and_board_are_ended() {
    let scene = Scene::signed_in();
    let (browser, gateway) = (&*scene.browser, &scene.gateway);
    let codex = ScriptedCodex::added_to(gateway);
    let agent = &codex.agent;
    let approved = |capability: &str, input: Value| -> Value {
        let asked = json!({"id": capability, "input": input, "onApproval": "run"});
        let refused = agent.invoke_body(asked);
        let error = refused.expect_error(401, "approval_required");
        let item = error["pendingId"].as_str().expect("an item").to_owned();
        gateway.owner().approve(&item, "once");
        let over = agent.status_after(&item, 60).expect_ok();
        json!({"item": item, "result": over["result"]})
    };
    let talks = ["one", "two"].map(|word| {
        let talk = approved("codex.chat", json!({"prompt": word, "turns": 4}));
        let run = talk["result"]["conversation"]["runId"].as_str();
        let run = run.unwrap_or_else(|| panic!("a conversation: {talk}"));
        (
            talk["item"].as_str().expect("an id").to_owned(),
            run.to_owned(),
        )
    });
    let says = |run: &str, message: &str| -> Response {
        let body = json!({"runId": run, "messageId": message, "text": "More."});
        agent.client().post("/invoke/input", body)
    };
    browser.see("#runs").click();
    browser.reads("#card", "turns left: 3");
    let end = format!("[data-send='/calls/{}/stop']", talks[0].0);
    browser.click(&format!("article:not([data-fresh]) {end}"));
    browser.reads("#notes", "Ended");
    browser.loses(&end);
    let refused = says(&talks[0].1, "m2").expect_error(409, "not_accepting_input");
    assert_eq!(refused["effect"], "none", "{refused}");
    // The other one takes its next turn; the script that stands in for Codex goes on with no thread.
    let taken = says(&talks[1].1, "m2").expect_ok();
    assert_eq!(taken["turn"], 2, "{taken}");
    answer(agent, taken["run"]["runId"].as_str().expect("a run"));

    gateway.cli(["sources", "add", "cc-master"]).expect_ok();
    codex.folder.write("said", "");
    let task = |id: &str, needs: &[&str]| json!({"id": id, "title": id, "prompt": "talk", "agent": "codex.run", "needs": needs});
    let tasks = [task("first", &[]), task("second", &["first"])];
    let made = approved(
        "cc-master.board.create",
        json!({"goal": "In a row.", "tasks": tasks}),
    );
    let board = text_of(&made["result"]["output"]["board"]);
    approved(
        "cc-master.orchestration.run",
        json!({"board": board, "agents": ["codex.run"], "runs": 3}),
    );
    browser.go(&format!("{}/boards/{board}?source=cc-master", scene.page()));
    browser.reads("#card tbody", "running");
    browser.reads("#card header + p", "under way");
    let stop = "#card header button.no";
    browser.click("article:not([data-fresh]) header button.no");
    browser.reads(stop, "Really end its runs");
    // Once is not enough.
    assert_contains(&browser.text("#card tbody"), "running");
    browser.see(&format!("{stop}:not([data-fresh])")).click();
    browser.reads("#notes", "Ended");
    browser.reads("#card header + p", "over, with tasks left");
    browser.loses(stop);
    browser.reads("#card tbody tr:first-child td:nth-child(2)", "failed");
    browser.reads("#card tbody tr:last-child td:nth-child(2)", "skipped");
    let mut intents = gateway.owner().audit(1_000);
    intents.retain(|event| {
        event["capabilityId"] == "codex.run" && event["detail"]["phase"] == "intent"
    });
    assert_eq!(intents.len(), 1, "no run of the second task was begun");
    let left = gateway.owner().get("/admin/api/calls").expect_ok();
    assert_eq!(left["calls"], json!([]), "{left}");
    scene.all_is_well();
}
