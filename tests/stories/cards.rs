//! What stands on a card beside the call itself: what each answer would allow, and what the call differs in from the
//! last one that the owner approved.

use crate::house::{COUNT, House, READ, WRITE, Workshop, note};
use plexus_tests::texts::{assert_contains, assert_lacks, list_of};
use plexus_tests::{Agent, Owner, Terminal, waiting::until_true};
use serde_json::{Value, json};
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;
use std::thread::sleep;
use std::time::Duration;

/// One window of a card's `choices`.
fn choice<'c>(card: &'c Value, window: &str) -> &'c Value {
    let all = card["choices"].as_array().expect("choices");
    let found = all.iter().find(|choice| choice["window"] == window);
    found.unwrap_or_else(|| panic!("no {window} in {card}"))
}

fn write(agent: &Agent, owner: &Owner, content: &str) -> Value {
    owner.card(&agent.must_ask(WRITE, note("notes/a.md", content)))
}

#[test]
fn every_card_says_what_each_answer_would_allow() {
    let (house, agent) = House::with_agent("one");
    let owner = house.owner();
    let card = write(&agent, &owner, "x");
    let windows: Vec<_> = list_of(&card["choices"])
        .iter()
        .map(|c| &c["window"])
        .collect();
    assert_eq!(windows, ["once", "1h", "1d", "7d", "until-revoked"]);
    assert_eq!(
        *choice(&card, "once"),
        json!({"window": "once", "words": "this one call, exactly as shown", "default": true})
    );
    for window in ["1h", "1d", "7d", "until-revoked"] {
        let choice = choice(&card, window);
        assert!(
            choice["refused"].is_null() && choice["default"] == false,
            "{choice}"
        );
        let words = choice["words"].as_str().expect("words");
        for said in [
            "every call of “",
            "whatever it changes",
            "without asking you",
            "must have read",
        ] {
            assert!(words.contains(said), "{words}");
        }
    }
    assert_eq!(card["narrow"], json!(["path"]));

    // A read without an input, and one that the agent itself narrowed.
    let wish = json!({"decision": "allow", "constraint": {"pathPrefix": {"field": "path", "allow": ["notes"]}}});
    let item = agent.ask(json!({READ: wish})).at("/pendingId");
    let card = owner.card(item.as_str().expect("an item"));
    let once = choice(&card, "once");
    assert_eq!(once["anyInput"], true);
    assert_contains(
        once["words"].as_str().expect("words"),
        "only where path at or below notes",
    );
    let hour = choice(&card, "1h")["words"]
        .as_str()
        .expect("words")
        .to_owned();
    assert_contains(
        &hour,
        "whatever it reads, only where path at or below notes",
    );
    assert_lacks(&hour, "must have read");

    // A window that the owner's settings do not have.
    owner.must_put("/v1/config", json!({"allowUntilRevoked": false}));
    let card = owner.card(item.as_str().expect("an item"));
    assert!(
        choice(&card, "until-revoked")["refused"]
            .as_str()
            .is_some_and(|why| why.contains("settings"))
    );
    assert!(choice(&card, "7d")["refused"].is_null());
}

/// Above a ceiling nothing but `once` can be chosen, and the card says why.
#[test]
fn a_window_above_the_ceiling_says_why_it_cannot_be_chosen() {
    let (house, agent) = House::with_agent("one");
    let owner = house.owner();
    // What a tool of the owner's would run.
    let card = owner.card(&agent.must_ask(WRITE, note(".envrc", "x")));
    assert!(choice(&card, "once")["refused"].is_null());
    for window in ["1h", "1d", "7d", "until-revoked"] {
        let why = choice(&card, window)["refused"]
            .as_str()
            .expect("a reason")
            .to_owned();
        assert!(why.contains("run or obeyed by programs of yours"), "{why}");
    }
    let sentence = card["pendingNarration"][0]["summary"]
        .as_str()
        .expect("a sentence");
    assert!(sentence.contains("for this one request only"), "{sentence}");
    assert_eq!(
        card["asks"][0]["windows"].as_array().map(Vec::len),
        Some(1),
        "the older form agrees"
    );
    owner.approve(card["pendingId"].as_str().expect("an item"), "once");

    // A plan that failed can be allowed for no time at all.
    let workshop = Workshop::open();
    let agent = workshop.gateway.agent("one");
    let item = agent.must_ask(COUNT, json!({"line": "x", "plan": "fails"}));
    let card = workshop.owner().card(&item);
    // Nor limited by what the call does not have, or by what is no text.
    assert_eq!(card["narrow"], json!(["line", "plan"]));
    let choices = card["choices"].as_array().expect("choices");
    assert!(
        choices.iter().all(|c| c["default"] == false
            && c["refused"]
                .as_str()
                .is_some_and(|why| why.contains("deny it"))),
        "{card}"
    );
}

#[test]
fn a_card_says_what_differs_from_the_last_approved_call() {
    let (mut house, agent) = House::with_agent("one");
    let owner = house.owner();
    let first = write(&agent, &owner, "one\n");
    assert_eq!(
        first.get("differs"),
        Some(&Value::Null),
        "there was none before"
    );

    // One that was denied is not compared with; one that was approved is, from the next item on.
    owner.deny(first["pendingId"].as_str().expect("an item"), "no");
    let second = write(&agent, &owner, "two\n");
    assert_eq!(second["differs"], Value::Null);
    let waiting = write(&agent, &owner, "waits since before\n");
    owner.approve(second["pendingId"].as_str().expect("an item"), "once");
    assert_eq!(
        owner.card(waiting["pendingId"].as_str().expect("an item")),
        waiting,
        "a card does not change under its reader"
    );

    let third = write(&agent, &owner, "three\n");
    assert_eq!(
        third["differs"]["changes"],
        json!([{"path": "/content", "was": "two\n", "now": "three\n"}])
    );
    assert!(third["differs"]["since"].is_string());
    assert_ne!(third["cardDigest"], second["cardDigest"]);

    // Of the same agent only, and the same capability.
    let other = house.gateway.agent("other");
    assert_eq!(write(&other, &owner, "three\n")["differs"], Value::Null);
    assert_eq!(
        owner.card(&agent.must_ask(READ, json!({"path": "notes/a.md"})))["differs"],
        Value::Null
    );

    // It survives a restart, lies where only the owner reads, and is told to nobody else.
    let kept: Vec<_> = std::fs::read_dir(house.gateway.state().join("pending"))
        .expect("the folder")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| {
            path.extension()
                .is_some_and(|e| e == "approved" || e == "differs")
        })
        .collect();
    assert_eq!(kept.len(), 2, "{kept:?}");
    for path in kept {
        assert_eq!(
            std::fs::metadata(&path)
                .expect("a file")
                .permissions()
                .mode()
                & 0o777,
            0o600
        );
    }
    let log = serde_json::to_string(&owner.audit(1000)).expect("events");
    assert_lacks(&log, "three\\\\n");
    assert_lacks(&log, "waits since before");
    let item = third["pendingId"].as_str().expect("an item").to_owned();
    let told = agent.status(&item);
    assert_lacks(&String::from_utf8_lossy(&told.body), "differs");
    let elsewhere = agent.must_ask(WRITE, note("notes/b.md", "three\n"));
    assert_eq!(
        owner.card(&elsewhere)["differs"]["changes"],
        json!([{"path": "/path", "was": "notes/a.md", "now": "notes/b.md", "form": "thing"}]),
        "another file is not compared line by line"
    );
    owner.deny(&elsewhere, "no");
    house.gateway.restart();
    let owner = house.owner();
    assert_eq!(owner.card(&item)["differs"], third["differs"]);
    owner.approve(&item, "once");

    // The agent goes, and what was kept of it goes with its item.
    owner.revoke_agent("one");
    house.gateway.restart();
    let pending = house.gateway.state().join("pending");
    until_true("the end of what was kept of an agent that is gone", || {
        let mut names = std::fs::read_dir(&pending)
            .expect("the folder")
            .map(|e| e.expect("an entry").file_name());
        names.all(|name| !name.to_string_lossy().starts_with("last.one."))
    });
}

/// As many as may wait, all at once at a start.
#[test]
fn a_start_makes_every_plan_again() {
    const BOTH: &str = "fixture.both";
    let (mut workshop, agent) = Workshop::with_reader("one");
    for n in 0..5 {
        let item = agent.must_ask(COUNT, json!({"line": format!("withdrawn {n}")}));
        agent
            .client()
            .must_post("/grants/cancel", json!({"pendingId": item}));
    }
    let mut asked: Vec<_> = (0..19)
        .map(|n| agent.must_ask(COUNT, json!({"line": n.to_string()})))
        .collect();
    let input = json!({"input": {"line": "of several"}});
    let several =
        json!({"grants": {COUNT: "allow", BOTH: "allow"}, "intents": {COUNT: input, BOTH: input}});
    let of_several = agent.client().put("/grants", several.clone());
    asked.push(of_several.text_at("/pendingId"));
    let whole = |owner: &Owner| {
        for item in &asked {
            let card = owner.card(item);
            for ask in list_of(&card["asks"]) {
                assert!(ask["plan"]["preview"].is_object(), "{ask} of {card}");
            }
        }
    };
    whole(&workshop.owner());
    workshop.gateway.restart();
    whole(&workshop.owner());

    // One whose input was lost is whole again once its agent asks the same again, by a call or for a grant.
    let by_grant =
        json!({"grants": {COUNT: "allow"}, "intents": {COUNT: {"input": {"line": "1"}}}});
    let lost = [(0, COUNT), (1, COUNT), (19, COUNT), (19, BOTH)];
    for (number, id) in lost {
        let input = format!("pending/{}.{id}.input", asked[number]);
        let input = workshop.gateway.state().join(input);
        assert!(input.is_file(), "{}", input.display());
        std::fs::write(input, "").expect("the input");
    }
    workshop.gateway.restart();
    let owner = workshop.owner();
    for item in [&asked[0], &asked[1], &asked[19]] {
        let lost = owner.card(item).to_string();
        assert_contains(&lost, "until its agent asks the same again");
    }
    let back = workshop.gateway.back(&agent);
    assert_eq!(back.must_ask(COUNT, json!({"line": "0"})), asked[0]);
    let joined = back.client().put("/grants", by_grant);
    assert_eq!(joined.text_at("/pendingId"), asked[1]);
    let joined = back.client().put("/grants", several);
    assert_eq!(joined.text_at("/pendingId"), asked[19]);
    whole(&owner);
}

/// A narrow window, and an agent whose lines are as long as it takes for their ends to begin a row of it.
#[test]
fn no_text_reaches_the_left_margin_of_a_narrow_window() {
    const COLUMNS: u16 = 60;
    const FORGED: &str = "request: pend_00000000-0000-4000-8000-000000000000";
    let house = House::open();
    let lines = (45..COLUMNS.into()).map(|pad: usize| format!("{:pad$}{FORGED}\n", "x"));
    let content: String = lines.collect();
    let agent = house.gateway.agent("my_cc");
    let item = agent.must_ask(WRITE, note("a.txt", &content));
    let forged_rows = |terminal: &Terminal| {
        let rows = terminal.rows().into_iter();
        rows.filter(|row| row.starts_with(FORGED)).count()
    };

    // The control: the same card, left to a terminal of that width.
    let printed = house.gateway.cli(["approvals", "show", &item]);
    house.workspace.write("card.txt", printed.expect_ok());
    let mut cat = Command::new("cat");
    cat.arg(house.workspace.path().join("card.txt"));
    let mut shown = Terminal::start(&cat, COLUMNS, 400);
    assert!(shown.end().success());
    assert_ne!(forged_rows(&shown), 0, "{}", shown.picture());

    // A terminal that does not know its columns breaks no row.
    let command = house.gateway.on_terminal(["approvals", "show", &item]);
    let unknown = Terminal::start(&command, 0, 400);
    unknown.until_shows(&format!("request: {item}"));

    let command = house.gateway.on_terminal(["approvals", "approve", &item]);
    let mut terminal = Terminal::start(&command, COLUMNS, 400);
    let card = terminal.until_shows("[y/N]");
    assert_eq!(forged_rows(&terminal), 0, "{card}");
    assert_contains(&card, &format!("request: {item}"));
    // Neither yes nor no.
    terminal.keys("maybe\r");
    terminal.until_shows("type y for yes, or n for no");
    // Nobody reads a card faster, so nothing that is typed before is an answer to it.
    sleep(Duration::from_millis(400));
    terminal.keys("y\r");
    assert!(terminal.end().success(), "{}", terminal.picture());
    agent.invoke(WRITE, note("a.txt", &content)).expect_ok();

    // What can be taken back is found without its id, and is shown in the same way.
    let listed = house.gateway.cli(["undo"]);
    let listed = listed.expect_ok();
    assert_contains(listed, "created a.txt");
    let id = listed
        .split_whitespace()
        .find(|word| word.starts_with("evt_"));
    // A beginning of its id is enough where the plan is shown and asked about.
    let begins = &id.expect("its id")["evt_".len()..][..18];
    let unasked = house.gateway.cli(["undo", begins, "--yes"]);
    assert_eq!(unasked.status, 64, "{unasked:?}");
    assert_contains(&unasked.stderr, "an effect is named by its whole id only");
    let undo = ["undo", begins];
    let mut terminal = Terminal::start(&house.gateway.on_terminal(undo), COLUMNS, 400);
    let plan = terminal.until_shows("[y/N]");
    assert_eq!(forged_rows(&terminal), 0, "{plan}");
    terminal.keys("n\r");
    assert!(!terminal.end().success());
    assert_eq!(house.workspace.read("a.txt"), content);
}

/// At a terminal the beginning of an id names a request, because its card stands above the question. A command that asks
/// nobody names it whole.
#[test]
fn request_is_approved_by_its_beginning_where_its_card_was_shown() {
    let (house, agent) = House::with_agent("one");
    let owner = house.owner();
    let first = agent.must_ask(WRITE, note("first.md", "one"));
    let second = agent.must_ask(WRITE, note("second.md", "two"));
    let beginning = |item: &str| item["pend_".len()..][..8].to_owned();
    let typed = |words: &[&str]| {
        let mut command = house.gateway.on_terminal(["approvals", "approve"]);
        command.args(words);
        Terminal::start(&command, 100, 60)
    };
    for refused in [
        vec!["--i-am-the-owner"],
        vec!["--i-am-the-owner", &beginning(&first)],
        vec!["--yes", &beginning(&first)],
    ] {
        let mut terminal = typed(&refused);
        assert_eq!(terminal.end().code(), Some(64), "{}", terminal.picture());
        assert_contains(&terminal.picture(), "by its whole id only");
    }
    assert_eq!(owner.pending().len(), 2);
    let mut shown = typed(&[&beginning(&second)]);
    let card = shown.until_shows("[y/N]");
    assert_contains(&card, "second.md");
    assert_lacks(&card, "first.md");
    sleep(Duration::from_millis(300));
    shown.keys("y\n");
    assert!(shown.end().success(), "{}", shown.picture());
    agent.must(WRITE, note("second.md", "two"));
    assert_eq!(agent.must_ask(WRITE, note("first.md", "one")), first);
    // The control: whole, nobody has to be asked.
    let mut whole = typed(&["--i-am-the-owner", "--yes", &first]);
    assert!(whole.end().success(), "{}", whole.picture());
    agent.must(WRITE, note("first.md", "one"));
}

/// Files that each make the same folder are what an agent asks for that begins something; the first that is written makes it.
#[test]
fn files_of_one_new_folder_are_each_written_as_approved() {
    let (house, agent) = House::with_agent("one");
    let names = ["new/a.md", "new/deep/b.md", "new/deep/c.md", "new/d.md"];
    let items = names.map(|name| agent.must_ask(WRITE, note(name, name)));
    for item in &items {
        house.owner().approve(item, "once");
    }
    // The last is somebody else's by then.
    agent.must(WRITE, note(names[0], names[0]));
    house.workspace.write(names[3], "mine");
    let refused = agent.invoke(WRITE, note(names[3], names[3]));
    refused.expect_error(200, "precondition_changed");
    for name in &names[1..3] {
        agent.must(WRITE, note(name, name));
    }
    for name in &names[..3] {
        assert_eq!(house.workspace.read(name), *name);
    }
    assert_eq!(house.workspace.read(names[3]), "mine");

    // A folder that was there, and is another one now, is not what the owner saw.
    let item = agent.must_ask(WRITE, note("new/deep/e.md", "e"));
    house.owner().approve(&item, "once");
    let at = |name: &str| house.workspace.path().join(name);
    std::fs::rename(at("new"), at("old")).expect("a folder");
    std::fs::create_dir_all(at("new/deep")).expect("a folder");
    let refused = agent.invoke(WRITE, note("new/deep/e.md", "e"));
    refused.expect_error(200, "precondition_changed");
    assert!(!house.workspace.has("new/deep/e.md"));
}

/// Its input and its plan go with its decision: a list that was begun before it shows it whole, or not at all.
#[test]
fn listed_card_is_whole_while_others_decide() {
    let house = House::open();
    let (owner, agent) = (house.owner(), house.gateway.agent("one"));
    let items: Vec<String> = (0..20)
        .map(|number| agent.must_ask(WRITE, note(&format!("{number}.md"), "x")))
        .collect();
    for item in &items {
        let _ = owner.card(item);
    }
    let other = owner.clone();
    let listed = std::thread::scope(|scope| {
        let denies = scope.spawn(|| {
            for item in &items {
                other.deny(item, "not today");
            }
        });
        let mut listed = Vec::new();
        while !denies.is_finished() {
            listed.extend(owner.pending());
        }
        listed
    });
    for card in listed {
        assert!(card["cardDigest"].is_string(), "{card}");
    }
    assert!(owner.pending().is_empty());
}
