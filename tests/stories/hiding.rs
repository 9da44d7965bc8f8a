//! What the owner hides of a source does not exist for agents, and coming back is the owner's to confirm.

use crate::house::{House, READ, WRITE, note};
use plexus_tests::texts::{assert_contains, assert_lacks, list_of};
use plexus_tests::{
    Agent, Terminal,
    folders::{CANARY, SAFE_WORD},
    waiting::{until, until_true},
};
use serde_json::{Value, json};
use std::{
    fs::OpenOptions, os::unix::fs::OpenOptionsExt, sync::mpsc::TryRecvError, thread::sleep,
    time::Duration,
};

const VAULT_READ: &str = "obsidian.vault.read";
const SEARCH: &str = "obsidian.vault.search";

fn hide(house: &House, source: &str, body: Value) -> Value {
    let path = format!("/admin/api/sources/{source}/hide");
    house.owner().post(&path, body).expect_ok()
}

/// A refusal without what the caller said itself.
fn told(agent: &Agent, id: &str, path: &str, input: Value) -> String {
    let reply = agent.invoke(id, input);
    let error = reply.json()["error"].to_string();
    error.replace(path, "PATH")
}

#[test]
fn hidden_notes_do_not_exist() {
    let (house, one) = House::with_writer("one", &[WRITE]);
    house.vault.write("Open.md", "see [[Ideas]] and [[Open]]\n");
    let read = |path: &str| told(&one, VAULT_READ, path, json!({ "path": path }));
    // The control: it is there.
    one.must(VAULT_READ, json!({"path": "Projects/Secret.md"}));
    let found = one.must(SEARCH, json!({"query": SAFE_WORD}));
    assert_eq!(
        found["output"]["hits"].as_array().expect("hits").len(),
        1,
        "{found}"
    );

    let reply = hide(
        &house,
        "obsidian",
        json!({"globs": ["Secret*"], "tags": ["#work"], "folders": ["Daily/"]}),
    );
    assert_eq!(
        reply["hide"],
        json!({"folders": ["Daily"], "globs": ["Secret*"], "tags": ["work"]})
    );
    assert_eq!(
        reply["suspendedGrants"], 0,
        "what becomes narrower asks nobody"
    );
    // A slip is seen by who makes it: the rule is kept for what may come, and nothing is there now.
    hide(&house, "obsidian", json!({"folders": ["Dayli"]}));
    // One text in place of a list would hide nothing, and say `ok`.
    let slip = json!({"folders": "Projects", "tags": ["home"]});
    let refused = house.owner().post("/admin/api/sources/obsidian/hide", slip);
    refused.expect_error(400, "internal_error");
    let listed = house.gateway.cli(["sources", "hide", "obsidian"]);
    let said = "folder Dayli\n  glob Secret*\n  tag work\nnothing is there now: folder Dayli";
    assert_contains(listed.expect_ok(), said);
    // Without flags all of it is named again, and nothing is hidden.
    let bare = ["--tag", "work", "Daily", "Pri*", "#home"];
    let bare = ["sources", "hide", "obsidian"].into_iter().chain(bare);
    let bare = house.gateway.cli(bare);
    bare.expect_status(64);
    let meant = "hide obsidian --tag work --folder Daily --glob 'Pri*' --tag '#home'\n";
    assert_contains(&bare.stderr, meant);
    for hidden in [
        "Projects/Secret.md",
        "Projects/Plexus.md",
        "Ideas.md",
        "Daily/2026-01-31.md",
    ] {
        assert_eq!(read(hidden), read("Projects/Nothing.md"), "{hidden}");
    }
    let found = one.must(SEARCH, json!({"query": SAFE_WORD}));
    assert_eq!(found["output"]["hits"], json!([]), "{found}");
    let listed = one.must(VAULT_READ, json!({}));
    let names: Vec<&str> = list_of(&listed["output"]["entries"])
        .iter()
        .filter_map(|e| e["name"].as_str())
        .collect();
    assert_eq!(names, ["Open.md", "Projects"], "{listed}");
    // A link to one leads nowhere.
    let open = one.must(VAULT_READ, json!({"path": "Open.md"}));
    assert_eq!(open["output"]["links"][0]["target"], Value::Null, "{open}");
    assert_eq!(open["output"]["links"][1]["target"], "Open.md");

    // Less hidden: what was granted on less rests until the owner says that it reaches this too.
    let reply = hide(
        &house,
        "obsidian",
        json!({"globs": ["Secret*"], "remove": true}),
    );
    assert_eq!(reply["suspendedGrants"], 2, "{reply}");
    let asks = one.invoke(VAULT_READ, json!({"path": "Open.md"}));
    asks.expect_error(401, "approval_required");
    // A blank line stands between a refusal and the next card.
    let both = ["sources", "resume", "obsidian", "obsidian"];
    let both = house.gateway.on_terminal(both);
    let mut terminal = Terminal::start(&both, 100, 120);
    for asked in 1..=2 {
        until_true("the question", || {
            terminal.picture().matches("[y/N]").count() == asked
        });
        sleep(Duration::from_millis(400));
        terminal.keys("n\r");
    }
    assert!(!terminal.end().success());
    let rows = terminal.rows();
    let second = rows.iter().rposition(|row| *row == rows[0]);
    let before = second.and_then(|at| rows.get(at.checked_sub(1)?));
    assert_eq!(before.map(String::as_str), Some(""), "{rows:#?}");
    // At a terminal its card is shown first, and the question is about that card.
    for (keys, decides) in [("n\r", false), ("\u{3}", false), ("y\r", true)] {
        let line = ["sources", "resume", "obsidian"];
        // Without a name it is each that waits.
        let line = &line[..if decides { 2 } else { 3 }];
        let resume = house.gateway.on_terminal(line.iter().copied());
        let mut terminal = Terminal::start(&resume, 100, 60);
        terminal.until_shows("[y/N]");
        assert_contains(&terminal.picture(), "its 2 grants on obsidian are resumed");
        let shows = "it shows glob Secret*, which it hid before";
        assert_contains(&terminal.picture(), shows);
        assert_lacks(&terminal.picture(), "what its worker may reach");
        // Nobody reads a card faster.
        sleep(Duration::from_millis(400));
        terminal.keys(keys);
        assert_eq!(terminal.end().success(), decides, "{}", terminal.picture());
        let picture = terminal.picture();
        match keys {
            "n\r" => {
                assert_contains(&picture, "you did not confirm; the request still waits");
                let denies = "to deny it (its 2 grants on obsidian are revoked)";
                assert_contains(&picture, denies);
            }
            // No answer: the way on is not named either.
            "\u{3}" => {
                assert_contains(&picture, "nothing was decided; the request still waits");
                assert_lacks(&picture, "to deny it");
            }
            _ => {}
        }
        // The resumed grant answers what was asked while it was suspended.
        assert_eq!(house.owner().pending().is_empty(), decides);
    }
    let unnamed = house.gateway.cli(["sources", "resume"]);
    assert_contains(&unnamed.expect_status(64).stderr, "name the sources");
    let again = house.gateway.cli(["sources", "resume", "obsidian"]);
    assert_contains(
        again.expect_ok(),
        "nothing to resume: obsidian waits for no decision of yours",
    );
    let read = one.must(VAULT_READ, json!({"path": "Projects/Secret.md"}));
    assert_contains(read["output"]["content"].as_str().expect("text"), CANARY);
    // The grants of one that is disabled are suspended, and come back with it alone.
    let cli = |line: &[&str]| house.gateway.cli(line.iter().copied());
    let off = cli(&["sources", "disable", "obsidian"]);
    let counted = "obsidian no longer serves; the 2 grants on it are suspended";
    assert_contains(off.expect_ok(), counted);
    let disabled = cli(&["sources", "resume", "obsidian"]);
    assert_contains(
        disabled.expect_ok(),
        "obsidian is disabled: plexusctl sources enable obsidian",
    );
}

/// A secret's file is a pipe that nobody writes into: the change of that secret holds its turn as long as the test likes.
#[test]
fn hiding_waits_for_no_other_act() {
    let (house, one) = House::with_writer("one", &[WRITE]);
    let secret = house.gateway.state().join("secrets/slow");
    nix::unistd::mkfifo(&secret, nix::sys::stat::Mode::S_IRWXU).expect("a pipe");
    let client = house.owner().client;
    let post = |path: &str, body: Value| {
        let request = client.request("POST", path).json(body);
        let (done, answer) = std::sync::mpsc::channel();
        std::thread::spawn(move || done.send(request.send().status));
        answer
    };
    let slow = post("/admin/api/secrets/slow", json!({"value": "s"}));
    // Only where somebody reads it can a pipe be opened for writing at once.
    let pipe = until("the act to read the pipe", || {
        let mut pipe = OpenOptions::new();
        let pipe = pipe.write(true).custom_flags(nix::libc::O_NONBLOCK);
        pipe.open(&secret).ok()
    });
    let waits = post("/admin/api/sources/workspace/enable", json!({}));
    let hidden = post(
        "/admin/api/sources/obsidian/hide",
        json!({"folders": ["Projects"]}),
    );
    let answer = hidden.recv_timeout(Duration::from_secs(20));
    let gone = told(
        &one,
        VAULT_READ,
        "PATH",
        json!({"path": "Projects/Secret.md"}),
    );
    let others = [slow.try_recv(), waits.try_recv()];
    drop(pipe);
    assert_eq!(answer, Ok(200));
    assert!(gone.contains("not_found"), "{gone}");
    assert_eq!(others, [Err(TryRecvError::Empty); 2], "the control");
    let late = [slow, waits].map(|act| act.recv_timeout(Duration::from_secs(20)));
    assert_eq!(late, [Ok(200), Ok(200)]);
}

#[test]
fn hidden_files_cannot_be_written_or_brought_back_and_say_nothing_of_themselves() {
    let (mut house, one) = House::with_writer("one", &[WRITE]);
    house.workspace.write("private/there.md", "old\n");
    let write = |one: &Agent, path: &str| told(one, WRITE, path, note(path, "x\n"));
    one.must(READ, json!({"path": "private/there.md"}));
    let done = one.must(WRITE, note("private/there.md", "new\n"));
    let undo = done["undo"].as_str().expect("an id").to_owned();

    hide(&house, "workspace", json!({"folders": ["private"]}));
    assert_eq!(
        write(&one, "private/there.md"),
        write(&one, "private/nothing.md")
    );
    assert!(write(&one, "private/there.md").contains("not_found"));
    assert!(
        write(&one, "PRIVATE/there.md").contains("not_found"),
        "no other spelling either"
    );
    assert_eq!(house.workspace.read("private/there.md"), "new\n");
    assert!(!house.workspace.has("private/nothing.md") && !house.workspace.has("PRIVATE"));
    let listed = one.must("workspace.list", json!({})).to_string();
    assert!(!listed.contains("private\""), "{listed}");
    // It outlives a restart.
    house.gateway.restart();
    let back = house.back(&one);
    assert_eq!(
        write(&back, "private/there.md"),
        write(&back, "private/nothing.md")
    );
    // Its undo is as unknown as one that never was.
    let undone = |id: &str| told(&back, "workspace.undo", id, json!({ "id": id }));
    let never = undone("evt_ffffffff-ffff-8000-8000-00000000000f");
    assert_contains(&never, "no change of this id");
    assert_eq!(undone(&undo), never);
    // The control: elsewhere it writes, and the owner still sees what was changed there.
    back.must(WRITE, note("public.md", "x\n"));
    let review = house.gateway.cli(["review", "one"]);
    assert_contains(review.expect_ok(), "private/there.md");
}

#[test]
fn the_command_says_what_is_hidden_and_refuses_what_it_cannot_hide() {
    let house = House::open();
    let cli = |arguments: &[&str]| house.gateway.cli(arguments.iter().copied());
    let line = "sources hide workspace --folder private/ --glob *.key";
    let said = house.gateway.cli(line.split(' '));
    assert_eq!(
        said.expect_ok(),
        "for agents these do not exist in workspace:\n  folder private\n  glob *.key\nnothing is there now: folder private\n"
    );
    assert_eq!(cli(&["sources", "hide", "workspace"]).stdout, said.stdout);
    #[rustfmt::skip]
    let rows = [
        (&["sources", "hide", "workspace", "--tag", "x"][..], "cannot hide tags"),
        (&["sources", "hide", "workspace", "--folder", "../up"][..], "within the source"),
        (&["sources", "unhide", "workspace", "--folder", "other"][..], "does not hide"),
    ];
    for (arguments, why) in rows {
        let said = cli(arguments);
        assert_ne!(said.status, 0, "{said:?}");
        assert!(said.stderr.contains(why), "{said:?}");
    }
    assert_eq!(cli(&["sources", "unhide", "workspace"]).status, 64);
    cli(&["sources", "unhide", "workspace", "--folder", "private"]).expect_ok();
    // It outlives a change of everything else.
    let client = house.owner().client;
    client.must_post(
        "/admin/api/sources/workspace/reconfigure",
        json!({"label": "Mine"}),
    );
    let listed = client.get("/admin/api/sources").expect_ok();
    let of = list_of(&listed["sources"])
        .iter()
        .find(|s| s["id"] == "workspace");
    assert_eq!(of.expect("it")["hide"]["globs"], json!(["*.key"]));
}
